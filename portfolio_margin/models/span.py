"""span: the SPAN requirement, from an exchange's risk parameter file or from scan ranges of one's own.

risk of a combined commodity = max(scan + intra-commodity spreads + delivery - inter-commodity credits, short option
minimum); maintenance and initial margin are that risk times the factors of the file. Net option value lowers the
requirement of its currency, not below 0: since our equity holds the value of options already, the requirement of a
statement is what SPAN requires plus that value, so that the excess is the same.

Source: CME SPAN (public description of CME Clearing, advisories 09-81 and 10-409); see docs/models/span.md.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal, localcontext
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from portfolio_margin.balances_owed import CHARGE
from portfolio_margin.book import Book
from portfolio_margin.collateral import haircuts
from portfolio_margin.contributions import ScenarioLosses, position_line
from portfolio_margin.order_bounds import Excess, Reach
from portfolio_margin.requirement import EXACT, Contribution, ParameterSet, Requirement, Traits
from portfolio_margin.span.ceilings import span_excess
from portfolio_margin.span.choices import KNOWN, Choices
from portfolio_margin.span.debts import debt_lines, debts_charged, with_debts
from portfolio_margin.span.holdings import Holdings, holdings, position_losses
from portfolio_margin.span.market_file import MarketFile, MarketRules, is_span_set, market_file
from portfolio_margin.span.requirement import (
    AFTER_VALUE,
    BEFORE_VALUE,
    CommodityRisk,
    Totals,
    commodity_risk,
    intra_by_spread,
    totals,
)
from portfolio_margin.span.rules import SpanRules, rules_of
from portfolio_margin.span.spreads import NEAREST, PROPORTIONAL, months_paired, spread_name
from portfolio_margin.span.tables import RiskParameterFile
from pricing.arrays import BoolArray, FloatArray, IntArray, StrArray
from pricing.errors import ConfigError
from pricing.instruments import Kind
from scenarios.families import span as family
from scenarios.of_arrays import of_arrays
from scenarios.risk_arrays import RiskArrays
from scenarios.shocks import MarketRows, ScenarioSet, check_bounds

CHARGES = ("scan", "intra_spread", "delivery", "inter_credit", "short_option_minimum", "exposure", "option_value")
# Charges are rounded to multiples of it, about 1e-6: sums of them are exact, so that they add up in any order.
QUANTUM = 2.0**-20
NOT_SCANNED = "an asset held as such is not scanned, but collateral"
NO_HAIRCUT = "no haircut, so that nothing stands against its price unless money is owed"
ACCOUNT_TYPE = re.compile(r"[A-Za-z0-9]{0,4}")
CHOICES = {
    **KNOWN,
    "vol_scan": ("relative", "absolute"),
    "attribution": (NEAREST, PROPORTIONAL),
    "initial_ratio_applies": (BEFORE_VALUE, AFTER_VALUE),
}


@dataclass(frozen=True)
class Params(Choices):
    """Parameters, with their bounds: those of `Choices`, which are about a risk parameter file, and these. The first
    block is for markets without a file.

    price_scan            price scan range, share of the spot, 0.001 to 0.3
    vol_scan_range        vol scan range, 0 to 0.95: a share of the vol, or vol points
    vol_scan              "relative" or "absolute"
    extreme_multiplier    scan ranges of the extreme move, 1 to 3
    cover_fraction        share of the extreme loss that counts, 0 to 1
    look_ahead_years      time that passes in every scenario, 0 to 0.1
    spread_charge         of a long against a short delta of another period, share of the price scan range, 0 to 1
    short_option_minimum  per short option, share of the price scan range of a contract, 0 to 1
    initial_ratio         initial over maintenance margin, 1 to 5

    attribution           spreads between tiers take deltas from the "nearest" periods first, or "proportional"
    initial_ratio_applies "before_option_value" or "after_option_value"
    rounding_unit         money that scan risks and the amount of every spread are rounded to, 0 (not) to 1000

    exposure_rate         charged beside the risk: share of the notional of futures and short options, 0 to 1 (NSE: 0.02
                          on indices, 0.035 on shares); nothing of it is in a risk parameter file
    exposure_by_commodity combined commodity -> rate, 0 to 1, in place of `exposure_rate`

    haircut               of every asset but the margin currency, 0 to 1
    haircut_by_asset      asset -> haircut, 0 to 1, in place of `haircut`
    """

    price_scan: float = 0.15
    vol_scan_range: float = 0.25
    vol_scan: str = "relative"
    extreme_multiplier: float = 2.0
    cover_fraction: float = 0.35
    look_ahead_years: float = 0.004
    spread_charge: float = 0.1
    short_option_minimum: float = 0.02
    initial_ratio: float = 1.1
    attribution: str = NEAREST
    initial_ratio_applies: str = BEFORE_VALUE
    rounding_unit: float = 0.0
    exposure_rate: float = 0.0
    exposure_by_commodity: Mapping[str, float] = field(default_factory=dict)
    haircut: float = 0.05
    haircut_by_asset: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_bounds(
            self,
            {
                "price_scan": (0.001, 0.3),
                "vol_scan_range": (0.0, 0.95),
                "extreme_multiplier": (1.0, 3.0),
                "cover_fraction": (0.0, 1.0),
                "look_ahead_years": (0.0, 0.1),
                "spread_charge": (0.0, 1.0),
                "short_option_minimum": (0.0, 1.0),
                "initial_ratio": (1.0, 5.0),
                "exposure_rate": (0.0, 1.0),
                "rounding_unit": (0.0, 1000.0),
                "haircut": (0.0, 1.0),
            },
        )
        for name, known in CHOICES.items():
            if getattr(self, name) not in known:
                raise ConfigError(f"{name} = {getattr(self, name)!r}: must be one of {', '.join(map(repr, known))}")
        if not isinstance(self.account_type, str) or not ACCOUNT_TYPE.fullmatch(self.account_type):
            raise ConfigError(f"account_type = {self.account_type!r}: must be a type of the file, such as H")
        for name, of in (("haircut_by_asset", "asset"), ("exposure_by_commodity", "combined commodity")):
            object.__setattr__(self, name, _shares(name, of, getattr(self, name)))

    @property
    def how(self) -> dict[str, Any]:
        """What the algorithm itself leaves open."""
        return {"attribution": self.attribution, "rounding_unit": self.rounding_unit}

    @property
    def market_rules(self) -> MarketRules:
        """Rules for a market without a file."""
        return MarketRules(self.spread_charge, self.short_option_minimum, self.initial_ratio)


def _shares(name: str, of: str, given: object) -> Mapping[str, float]:
    """A mapping to numbers from 0 to 1, made unchangeable."""
    if not isinstance(given, Mapping):
        raise ConfigError(f"{name} = {given!r}: must be a mapping from {of} to a number")
    for key, value in given.items():
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not number or not 0.0 <= value <= 1.0:
            raise ConfigError(f"{name} {key} = {value!r}: must be a number from 0 to 1")
    return MappingProxyType(dict(given))


def parameter_set_of(file: RiskParameterFile, file_name: str = "", changed: tuple[str, ...] = ()) -> ParameterSet:
    """Where the rules of a file come from: its clearing organisation, business date and, where given, its name."""
    head = file.header
    day = f"{head.date[:4]}-{head.date[4:6]}-{head.date[6:8]}"
    stated = (head.clearing_org, day, head.qualifier, head.time, head.run, file_name)
    return ParameterSet(
        name=" ".join(text for text in stated if text),
        valid_from=day,
        source=head.name or head.clearing_org,
        note=f"risk parameter file created {head.created}" if head.created else "risk parameter file",
        changed=changed,
    )


class _Parts(NamedTuple):
    """Charges of a block by commodity, (U,A,2) each but the last, which is by account; multiples of QUANTUM."""

    by_commodity: dict[str, FloatArray]
    option_value: FloatArray
    risk: CommodityRisk
    totals: Totals


@dataclass(frozen=True)
class Model:
    """The SPAN margin model: parameters, and a risk parameter file where there is one.

    params, parameter_set, model_id, traits   see `portfolio_margin.requirement.MarginModel`
    file       the risk parameter file; None: rules of the parameters, for risk arrays under the scenarios of the model
    prepared   rules looked up before for risk arrays of this digest, see `for_arrays`
    """

    params: Params = field(default_factory=Params)
    parameter_set: ParameterSet = field(default_factory=ParameterSet)
    file: RiskParameterFile | None = None
    prepared: tuple[str, SpanRules] | None = None
    model_id: str = field(default="span", init=False)
    traits: Traits = field(
        default=Traits(credits=("inter_credit",), of_equity=("option_value",), rows_by_name=True, ours=(CHARGE,)),
        init=False,
    )

    def __post_init__(self) -> None:
        if self.file is not None and not self.parameter_set.valid_from:
            object.__setattr__(self, "parameter_set", parameter_set_of(self.file, changed=self.parameter_set.changed))

    def scenario_set(self, market: MarketRows) -> ScenarioSet | None:
        """The 16 scenarios from the scan ranges of the parameters; None with a file, whose arrays are its own."""
        if self.file is not None:
            return None
        ranges = {str(u): self.params.price_scan * float(s) for u, s in zip(market.underlying_id, market.spot,
                                                                            strict=True)}  # fmt: skip
        params = family.Params(
            price_scan_range=ranges,
            vol_scan_range=self.params.vol_scan_range,
            vol_scan=self.params.vol_scan,
            extreme_multiplier=self.params.extreme_multiplier,
            cover_fraction=self.params.cover_fraction,
            look_ahead_years=self.params.look_ahead_years,
        )
        return family.scenarios(params, market)

    def not_covered(self, arrays: RiskArrays) -> StrArray:
        """(N,) contracts that belong to no combined commodity of the file, and stocks and coins, which SPAN does not
        scan.
        """
        rules = self.rules(arrays).covered
        moving = (arrays.kind == Kind.SPOT) | ((arrays.kind == Kind.CASH) & np.any(arrays.rows != 0.0, axis=1))
        missing = ~arrays.is_collateral & ~rules
        reason = np.where(missing, "no contract of a combined commodity of the SPAN file", "")
        kept = [f"{NOT_SCANNED}; haircut {share:.4g}" if share > 0 else f"{NOT_SCANNED}; {NO_HAIRCUT}"
                for share in self.haircut(arrays).tolist()]  # fmt: skip
        return np.where(moving & ~rules, np.array(kept, dtype=np.str_), reason)

    def debts_covered(self, arrays: RiskArrays) -> BoolArray:
        """(N,) assets of a combined commodity of the file, and those that move or have a haircut: debts cost it."""
        return debts_charged(arrays, self.rules(arrays), self.haircut(arrays))

    @of_arrays
    def haircut(self, arrays: RiskArrays) -> FloatArray:
        """(N,) share of a long balance of collateral that does not count."""
        return haircuts(arrays, self.params.haircut, self.params.haircut_by_asset)

    def rules(self, arrays: RiskArrays) -> SpanRules:
        """The rules for the rows of risk arrays. ConfigError where arrays and model do not belong together."""
        if self.prepared is not None and self.prepared[0] == arrays.digest:
            return self.prepared[1]
        if self.file is not None:
            return rules_of(self.file, arrays, self.params)
        made = self.market_file(arrays)
        return rules_of(made.file, arrays, replace(self.params, account_type=""), made.contract)

    def for_arrays(self, arrays: RiskArrays) -> Model:
        """The same model with the rules for these arrays looked up once and for all."""
        return replace(self, prepared=(arrays.digest, self.rules(arrays)))

    def market_file(self, arrays: RiskArrays) -> MarketFile:
        """The risk parameter file of a market without one.

        ConfigError where its arrays have other scenarios, or were made from a file, whose rules they do not hold.
        """
        if not arrays.market_digest:
            raise ConfigError(
                "these risk arrays were made from a risk parameter file and hold none of its rules: span needs the "
                "file itself"
            )
        if not is_span_set(arrays):
            raise ConfigError(
                "span needs the 16 SPAN scenarios: revalue(instruments, market, model.scenario_set(market))"
            )
        return market_file(arrays, self.params.market_rules)

    def requirement(
        self, book: Book, arrays: RiskArrays, *, backend: str = "numba", threads: int | None = None
    ) -> Requirement:
        """Requirement of every account, by the charges of CHARGES; credits are negative."""
        rules = self.rules(arrays)
        charges = {name: np.zeros((len(book), 2)) for name in CHARGES}
        worst = np.full(len(book), -1, dtype=np.int64)
        for first, last, held in holdings(book, arrays, rules, backend=backend, threads=threads):
            risk = commodity_risk(rules, held, **self.params.how)
            parts = self._parts(rules, risk)
            for name, amounts in parts.by_commodity.items():
                charges[name][first:last] = amounts.sum(axis=0)
            charges["option_value"][first:last] = parts.option_value
            worst[first:last] = _worst(risk)
        total = np.asarray(sum(charges.values()))
        required = Requirement(total[:, 0], total[:, 1], worst, charges)
        return with_debts(required, book, arrays, rules, self.haircut(arrays), backend=backend, threads=threads)

    def order_excess(self, arrays: RiskArrays, reach: Reach) -> tuple[Excess, ...]:
        """Ceilings of all that is beside the scan; nothing where a spread has none, see `span.ceilings`."""
        after = self.params.initial_ratio_applies == AFTER_VALUE
        unit = self.params.rounding_unit
        return span_excess(arrays, self.rules(arrays), self.haircut(arrays), reach, unit, after)

    def contributions(self, book: Book, arrays: RiskArrays) -> list[Contribution]:
        """Losses of the positions in the active scenario of their commodity, then every other charge by commodity."""
        rules = self.rules(arrays)
        lines: list[Contribution] = []
        with localcontext(EXACT):
            for _, _, held in holdings(book, arrays, rules):
                risk = commodity_risk(rules, held, **self.params.how)
                parts = self._parts(rules, risk)
                for commodity in range(len(rules.code)):
                    lines += self._scan_lines(book, arrays, rules, commodity, parts.by_commodity["scan"])
                    charged = {name: parts.by_commodity[name][commodity, 0] for name in CHARGES[1:-1]}
                    lines += self._spread_lines(rules, held, parts.risk, commodity, charged.pop("intra_spread"))
                    for name, amounts in charged.items():
                        lines += _line(name, str(rules.code[commodity]), amounts)
                lines += _line("option_value", "account", parts.option_value[0])
        return lines + debt_lines(book, arrays, rules, self.haircut(arrays))

    def scenario_losses(self, book: Book, arrays: RiskArrays) -> list[ScenarioLosses]:
        """By commodity, and by part that is scanned apart, of the one account of `book`; see `near_scenarios`."""
        rules = self.rules(arrays)
        gains, found = position_losses(book, arrays, rules), []
        for commodity, code in enumerate(rules.code):
            parts = _parts_scanned(book, rules, commodity)
            for number, mine in enumerate(parts, start=1):
                name = str(code) if len(parts) == 1 else f"{code} part {number}"
                if len(mine):
                    found.append(
                        ScenarioLosses(name, arrays.scenario_set.label, -gains[mine].sum(axis=0) * arrays.tick_size)
                    )
        return found

    def _parts(self, rules: SpanRules, risk: CommodityRisk) -> _Parts:
        """Charges by commodity, rounded so that their sums are exact, and what option value adds."""
        factors = rules.factors[:, None, :]
        credit = risk.super_credit + risk.inter_credit
        amounts = {
            "scan": risk.scan[..., None] * factors,
            "intra_spread": risk.intra[..., None] * factors,
            "delivery": risk.delivery[..., None] * factors,
            "inter_credit": -credit[..., None] * factors,
        }
        rounded = {name: _quantized(values) for name, values in amounts.items()}
        before = sum(rounded.values())
        floor = _quantized(risk.minimum[..., None] * factors)
        rounded["short_option_minimum"] = np.maximum(floor - before, 0.0)
        rates = np.array([self._exposure_rate(str(code)) for code in rules.code])
        rounded["exposure"] = _quantized((risk.exposure * rates[:, None])[..., None] + np.zeros(2))
        found = totals(rules, risk, initial_ratio=self.params.initial_ratio_applies)
        charged = (before + rounded["short_option_minimum"]).sum(axis=0)
        value = _quantized(np.maximum(found.requirement + found.option_value - found.risk, 0.0))
        # Rounding must not put initial below maintenance margin.
        required = charged + value
        value[:, 0] += np.maximum(required[:, 1] - required[:, 0], 0.0)
        return _Parts(rounded, value, risk, found)

    def _spread_lines(
        self, rules: SpanRules, held: Holdings, risk: CommodityRisk, commodity: int, total: FloatArray
    ) -> list[Contribution]:
        """Charge of every spread inside a commodity, by its tiers, the months paired and their number, and what
        rounding leaves."""
        if not np.any(total != 0.0):
            return []
        code, rest, lines = str(rules.code[commodity]), [Decimal(float(amount)) for amount in total], []
        factors = [Decimal(repr(float(f))) for f in rules.factors[commodity]]
        charged = intra_by_spread(rules, held, risk.weighted_price, **self.params.how)
        formed = [(spread, one) for spread, found in zip(rules.intra, charged, strict=True) for one in found]
        for spread, one in formed:
            if spread.legs[0].commodity == commodity and one.charge[0] != 0.0:
                parts = [Decimal(float(one.charge[0])) * factor for factor in factors]
                rest = [left - part for left, part in zip(rest, parts, strict=True)]
                place, months = spread_name(spread, rules.period_code), months_paired(spread, one, 0, rules.period_code)
                count = float(one.spreads[0])
                lines.append(Contribution("intra_spread", code, place, months, count, "", parts[0], parts[1]))
        if any(rest):
            lines.append(Contribution("intra_spread", code, "rounding", "", 0.0, "", rest[0], rest[1]))
        return lines

    def _exposure_rate(self, code: str) -> float:
        return float(self.params.exposure_by_commodity.get(code, self.params.exposure_rate))

    def _scan_lines(
        self,
        book: Book,
        arrays: RiskArrays,
        rules: SpanRules,
        commodity: int,
        scan: FloatArray,
    ) -> list[Contribution]:
        total = scan[commodity, 0]
        if not np.any(total != 0.0):
            return []
        name = str(rules.code[commodity])
        gains = position_losses(book, arrays, rules)
        factors = [Decimal(repr(float(f))) for f in rules.factors[commodity]]
        tick = Decimal(repr(float(arrays.tick_size)))
        lines, sums = [], [Decimal(0), Decimal(0)]
        for mine in _parts_scanned(book, rules, commodity):
            active = int(np.argmin(gains[mine].sum(axis=0)))
            if gains[mine, active].sum() >= 0.0:
                continue
            label = str(arrays.scenario_set.label[active])
            for position in mine.tolist():
                loss = Decimal(float(-gains[position, active]) + 0.0) * tick
                amounts = (loss * factors[0], loss * factors[1])
                sums = [sums[0] + amounts[0], sums[1] + amounts[1]]
                lines.append(position_line(book, arrays, position, "scan", amounts, netting_set=name, scenario=label))
        rest = (Decimal(float(total[0])) - sums[0], Decimal(float(total[1])) - sums[1])
        if any(rest):
            lines.append(Contribution("scan", name, "rounding", "", 0.0, "", *rest))
        return lines


def _parts_scanned(book: Book, rules: SpanRules, commodity: int) -> list[IntArray]:
    """Positions of a commodity, of each part that is scanned apart where it has such parts."""
    mine = rules.commodity[book.instrument_idx] == commodity
    parts = np.flatnonzero(rules.scan_commodity == commodity)
    if not len(parts):
        return [np.flatnonzero(mine)]
    period = rules.period[book.instrument_idx]
    return [np.flatnonzero(mine & rules.scan_tier[part][period]) for part in parts]


def _quantized(values: FloatArray) -> FloatArray:
    return np.rint(values / QUANTUM) * QUANTUM + 0.0


def _worst(risk: CommodityRisk) -> np.ndarray:
    """(A,) active scenario of the commodity with the largest scan risk, -1 where none loses."""
    if not len(risk.scan):
        return np.full(risk.scan.shape[1], -1, dtype=np.int64)
    largest = np.argmax(risk.scan, axis=0)
    accounts = np.arange(risk.scan.shape[1])
    return np.where(risk.scan[largest, accounts] > 0.0, risk.active[largest, accounts], -1)


def _line(charge: str, netting_set: str, amounts: FloatArray) -> list[Contribution]:
    if not np.any(amounts != 0.0):
        return []
    initial, maintenance = (Decimal(float(amount)) for amount in amounts)
    return [Contribution(charge, netting_set, "", "", 0.0, "", initial, maintenance)]
