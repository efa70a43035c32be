"""paradex_pm: Paradex's portfolio margin.

scan           worst weighted loss of 24 scenarios of price and vol, per underlying
minimum delta  (unhedged factor x |net delta| + hedged factor x (gross - |net|) / 2) x spot
initial        max(scan, minimum delta) + funding of the next 8 hours + fees of closing, added over underlyings
maintenance    mmf_factor x max(scan, minimum delta) + funding + fees

Source: docs/models/paradex_pm.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from decimal import localcontext
from functools import partial
from types import MappingProxyType
from typing import TypeVar

import numpy as np

from portfolio_margin.balances_owed import (
    CHARGE,
    BalanceRates,
    balance_lines,
    charged_when_owed,
    scenario_rates,
    with_balances,
)
from portfolio_margin.blocks import BLOCK_NUMBERS, Block, blocks
from portfolio_margin.book import Book
from portfolio_margin.contributions import exact_amounts, position_line, position_ticks
from portfolio_margin.dollars import is_dollar
from portfolio_margin.lacking import gather
from portfolio_margin.nearest import did_you_mean_or_known
from portfolio_margin.order_bounds import per_contract
from portfolio_margin.requirement import EXACT, Contribution, ParameterSet, Requirement, Traits, european_on_coins
from portfolio_margin.risk_units import spot_value
from pricing.arrays import MILLISECONDS_PER_YEAR, BoolArray, FloatArray, StrArray
from pricing.errors import ConfigError
from pricing.instruments import Kind
from pricing.market import UNDATED
from scenarios.dynamics import tenor_scale
from scenarios.risk_arrays import RiskArrays
from scenarios.shocks import MarketRows, ScenarioSet, VolDynamics, check_bounds, make

CHARGES = ("scan", "minimum_delta", "funding", "fees")
ANY = "any"
# The settlement price is an average over so many years before expiry, 30 minutes.
AVERAGING = 1_800_000 / MILLISECONDS_PER_YEAR
Kept = TypeVar("Kept")


@dataclass(frozen=True)
class Asset:
    """What the venue's portfolio-margin-config states per base asset, under its own names.

    scenarios                 (spot_shock, vol_shock, weight) each, weight 0 to 1
    hedged_margin_factor, unhedged_margin_factor   of the minimum delta, 0 to 1
    mmf_factor                maintenance per unit of max(scan, minimum delta), 0.01 to 1
    vega_power_short_dte, vega_power_long_dte      of 30 / days to expiry, below 30 days and from there on, 0 to 1
    dte_floor_days            days below which vol shocks grow no more, 0.001 to 30
    min_vol_shock_up          a vol that is shocked up is at least this, 0 to 10
    """

    scenarios: tuple[tuple[float, float, float], ...]
    hedged_margin_factor: float
    unhedged_margin_factor: float
    mmf_factor: float = 0.5
    vega_power_short_dte: float = 0.3
    vega_power_long_dte: float = 0.13
    dte_floor_days: float = 1.0
    min_vol_shock_up: float = 0.4

    def __post_init__(self) -> None:
        shares = ("hedged_margin_factor", "unhedged_margin_factor", "vega_power_short_dte", "vega_power_long_dte")
        bounds = {"mmf_factor": (0.01, 1.0), "dte_floor_days": (0.001, 30.0), "min_vol_shock_up": (0.0, 10.0)}
        check_bounds(self, {**dict.fromkeys(shares, (0.0, 1.0)), **bounds})
        for row in self.scenarios:
            spot, vol, weight = row
            if not (-1.0 < spot <= 100.0 and -10.0 <= vol <= 10.0 and 0.0 <= weight <= 1.0):
                raise ConfigError(
                    f"scenarios {row!r}: spot_shock above -1 to 100, vol_shock from -10 to 10, weight from 0 to 1"
                )
        if not self.scenarios:
            raise ConfigError("scenarios = (): needs at least one")


@dataclass(frozen=True)
class Params:
    """Parameters by base asset; "any" stands for assets that are not named.

    assets                "btc" -> Asset; as many scenarios for each
    funding_rate_8h       "btc" -> funding of 8 hours per unit of spot that a long pays, -1 to 1; market data that a
                          snapshot lacks
    perpetual_fee_rate    share of the mark that closing a perpetual or future costs, 0 to 1
    option_fee_rate       share of the spot that closing an option costs, 0 to 1
    option_fee_cap        of its mark at most, 0 to 1
    """

    assets: Mapping[str, Asset]
    funding_rate_8h: Mapping[str, float]
    perpetual_fee_rate: float
    option_fee_rate: float
    option_fee_cap: float = 0.125

    def __post_init__(self) -> None:
        names = ("perpetual_fee_rate", "option_fee_rate", "option_fee_cap")
        check_bounds(self, dict.fromkeys(names, (0.0, 1.0)))
        if not isinstance(self.assets, Mapping) or not all(isinstance(a, Asset) for a in self.assets.values()):
            raise ConfigError(f"assets = {self.assets!r}: must be a mapping from base asset to Asset")
        if len({len(asset.scenarios) for asset in self.assets.values()}) > 1:
            raise ConfigError("assets: every base asset needs the same number of scenarios")
        if not isinstance(self.funding_rate_8h, Mapping):
            raise ConfigError(f"funding_rate_8h = {self.funding_rate_8h!r}: must be a mapping from base asset to rate")
        for name, rate in self.funding_rate_8h.items():
            if isinstance(rate, bool) or not isinstance(rate, (int, float)) or not -1.0 <= rate <= 1.0:
                raise ConfigError(f"funding_rate_8h {name} = {rate!r}: must be a number from -1 to 1")
        for name in ("assets", "funding_rate_8h"):
            table = {str(key).lower(): value for key, value in getattr(self, name).items()}
            object.__setattr__(self, name, MappingProxyType(table))

    def asset(self, underlying: str) -> Asset:
        """Of the base of an underlying. ConfigError where it is missing."""
        return _of_base(self.assets, "assets", underlying)

    def funding(self, underlying: str) -> float:
        """8-hour funding rate of the base of an underlying. ConfigError where it is missing."""
        return _of_base(self.funding_rate_8h, "funding_rate_8h", underlying)


@dataclass(frozen=True)
class Model:
    """Paradex's portfolio margin."""

    params: Params
    parameter_set: ParameterSet = field(default_factory=ParameterSet)
    model_id: str = field(default="paradex_pm", init=False)
    traits: Traits = field(default=Traits(proportional=("scan", "funding", "fees"), ours=(CHARGE,)), init=False)

    def scenario_set(self, market: MarketRows) -> ScenarioSet:
        """The scenarios of each base asset; ConfigError where one has no parameters, or no funding beside that."""
        names = [str(name) for name in market.underlying_id]
        assets = gather(
            (partial(self.params.asset, name) for name in names), (partial(self.params.funding, name) for name in names)
        )
        tables = np.array([asset.scenarios for asset in assets], dtype=np.float64).reshape(len(assets), -1, 3)
        left = np.where(market.expiry_time == UNDATED, market.valuation_time, market.expiry_time)
        tau = np.maximum((left - market.valuation_time) / MILLISECONDS_PER_YEAR, 0.0)
        growth = np.ones(len(tau))
        for u, asset in enumerate(assets):
            here = market.expiry_underlying == u
            powers = VolDynamics(asset.vega_power_short_dte, asset.vega_power_long_dte, asset.dte_floor_days)
            growth[here] = tenor_scale(tau[here], powers)
        vol_shock = tables[:, :, 1].T
        floor = np.array([asset.min_vol_shock_up for asset in assets])
        return make(
            [f"scenario {k + 1}" for k in range(tables.shape[1])],
            np.ascontiguousarray(tables[:, :, 0].T),
            expiry_vol_move=vol_shock[:, market.expiry_underlying] * growth,
            vol_floor=np.where(vol_shock > 0.0, floor, 0.0),
        )

    def not_covered(self, arrays: RiskArrays) -> StrArray:
        """(N,) options with early exercise and contracts on stocks; what lacks parameters is refused."""
        return european_on_coins(arrays, "Paradex")

    def debts_covered(self, arrays: RiskArrays) -> BoolArray:
        """(N,) dollars, where the margin currency is one, and coins that rise in some scenario."""
        return charged_when_owed(self._balances(arrays))

    def haircut(self, arrays: RiskArrays) -> FloatArray:
        """(N,) all of what is no dollar: other balances need margin of their full value."""
        return np.where(arrays.is_collateral & ~is_dollar(arrays), 1.0, 0.0)

    def requirement(
        self, book: Book, arrays: RiskArrays, *, backend: str = "numba", threads: int | None = None
    ) -> Requirement:
        """Requirement of every account; "minimum_delta" is what it adds to the scan."""
        factor = self._factors(arrays)
        amounts = {name: np.zeros((len(book), 2)) for name in CHARGES}
        largest, scenario = np.zeros(len(book)), np.full(len(book), -1)
        for sums, sizes in self._sums(book, arrays, backend, threads):
            here, u = slice(sums.first, sums.last), np.maximum(sums.key, 0)
            scan, column = _worst(sums.ticks[:, :-2])
            floor = self._minimum_delta(sums.ticks[:, -2], sizes.ticks[:, 0], arrays)[np.arange(len(u)), u]
            both = np.column_stack([np.ones(len(u)), factor[u]])
            parts = {"scan": scan[:, None] * both, "minimum_delta": np.maximum(floor - scan, 0.0)[:, None] * both}
            parts["funding"] = np.repeat(np.maximum(sums.ticks[:, -1:], 0.0), 2, axis=1)
            parts["fees"] = np.repeat(sizes.ticks[:, 1:], 2, axis=1)
            for name, values in parts.items():
                amounts[name][here] = sums.by_account(values) * arrays.tick_size
            np.maximum.at(largest[here], sums.account, scan)
            rows = np.flatnonzero((scan > 0.0) & (scan == largest[here][sums.account]))[::-1]
            scenario[here][sums.account[rows]] = column[rows]
        total = np.sum(list(amounts.values()), axis=0)
        required = Requirement(total[:, 0], total[:, 1], scenario, amounts)
        return with_balances(required, book, arrays, self._balances(arrays))

    def excess_rates(self, arrays: RiskArrays) -> FloatArray:
        """(N,) 0: a worst loss, sizes and |net delta| are never more together than apart. Where a hedged pair costs
        more than twice an unhedged leg, what it costs more of the delta: u |net| + h (gross - |net|) / 2 falls with
        |net| then."""
        assets = [self.params.asset(str(name)) for name in arrays.underlying_id]
        more = np.array([max(a.hedged_margin_factor - 2.0 * a.unhedged_margin_factor, 0.0) for a in assets] + [0.0])
        rates = more[arrays.underlying_idx] * np.abs(per_contract(arrays, self._rows(arrays)[:, -2:-1])[:, 0])
        return np.asarray(np.where(arrays.is_collateral, 0.0, rates))

    def contributions(self, book: Book, arrays: RiskArrays) -> list[Contribution]:
        """Positions in the worst scenario of their underlying, what the minimum delta adds, funding and fees."""
        product = position_ticks(book, arrays, self._rows(arrays))
        sizes = position_ticks(_absolute(book), arrays, self._size_rows(arrays))
        owner, factor = arrays.underlying_idx[book.instrument_idx], self._factors(arrays)
        lines: list[Contribution] = []
        with localcontext(EXACT):
            for u in np.unique(owner[owner >= 0]):
                here = np.flatnonzero(owner == u)
                name, both = str(arrays.underlying_id[u]), (1.0, float(factor[u]))
                sums = product[here].sum(axis=0)
                loss, column = _worst(sums[None, :-2])
                label = str(arrays.scenario_set.label[column[0]])
                floor = self._minimum_delta(sums[-2:-1], sizes[here, 0].sum(keepdims=True), arrays)[0, u]
                for p in here if loss[0] > 0.0 else ():
                    amounts = exact_amounts(-float(product[p, column[0]]), arrays, both)
                    lines.append(position_line(book, arrays, int(p), "scan", amounts, netting_set=name, scenario=label))
                if floor > loss[0]:
                    amounts = exact_amounts(float(floor - loss[0]), arrays, both)
                    lines.append(Contribution("minimum_delta", name, "", "above the scan", 0.0, "", *amounts))
                for p in here[product[here, -1] != 0.0] if sums[-1] > 0.0 else ():
                    amounts = exact_amounts(float(product[p, -1]), arrays, (1.0, 1.0))
                    lines.append(position_line(book, arrays, int(p), "funding", amounts, netting_set=name))
                for p in here[sizes[here, 1] != 0.0]:
                    amounts = exact_amounts(float(sizes[p, 1]), arrays, (1.0, 1.0))
                    lines.append(position_line(book, arrays, int(p), "fees", amounts, netting_set=name))
        return lines + balance_lines(book, arrays, self._balances(arrays))

    def _balances(self, arrays: RiskArrays) -> BalanceRates:
        """Rates of coins in the weighted scenarios; held, they do not count, and so stand against nothing."""
        owner = np.maximum(arrays.underlying_idx, 0)
        factors = np.column_stack([np.ones(len(arrays)), self._factors(arrays)[owner]])
        return scenario_rates(arrays, arrays.rows * self._weights(arrays)[owner], factors, self.haircut(arrays))

    def _weights(self, arrays: RiskArrays) -> FloatArray:
        """(U,S) share of the P&L of each scenario that counts."""
        assets = [self.params.asset(str(name)) for name in arrays.underlying_id]
        return np.array([[row[2] for row in asset.scenarios] for asset in assets]).reshape(len(assets), -1)

    def _sums(self, book: Book, arrays: RiskArrays, backend: str, threads: int | None) -> Iterator[tuple[Block, Block]]:
        """By underlying: scenarios, delta, funding of the positions; gross delta and fees of their sizes."""
        rows, sizes = self._rows(arrays), self._size_rows(arrays)
        each = BLOCK_NUMBERS // rows.shape[1]
        first = blocks(
            book, arrays, rows, by="underlying", backend=backend, threads=threads, numbers=each * rows.shape[1]
        )
        second = blocks(
            _absolute(book), arrays, sizes, by="underlying", backend=backend, threads=threads, numbers=each * 2
        )
        return zip(first, second, strict=True)

    def _rows(self, arrays: RiskArrays) -> FloatArray:
        """(N,S+2) weighted P&L, delta at spot and 8-hour funding in ticks per unit; 0 for collateral.

        In the averaging period an option counts with the share of it that is left.
        """
        contract = ~arrays.is_collateral
        weight = self._weights(arrays)
        expiry = np.maximum(arrays.expiry_idx, 0)
        left = np.minimum(arrays.years_to_expiry / AVERAGING, 1.0)
        left = np.where(arrays.terms.fixed_share > 0.0, 1.0, left)[expiry]
        left = np.where(arrays.kind == Kind.OPTION, left, 1.0)
        owner = np.maximum(arrays.underlying_idx, 0)
        delta = arrays.delta * arrays.unit / arrays.tick_size
        perpetual = arrays.kind == Kind.PERPETUAL
        needed = np.unique(arrays.underlying_idx[perpetual])
        rate = np.zeros(len(arrays.underlying_id))
        rate[needed] = gather(partial(self.params.funding, str(arrays.underlying_id[u])) for u in needed)
        spot = spot_value(arrays) * arrays.unit / arrays.tick_size
        funding = np.where(perpetual, spot * rate[owner], 0.0)
        rows = np.column_stack([arrays.rows * weight[owner] * left[:, None], delta, funding])
        return _whole(np.where(contract[:, None], rows, 0.0), arrays)

    def _size_rows(self, arrays: RiskArrays) -> FloatArray:
        """(N,2) size of the delta and fee of closing, in ticks per unit; 0 for collateral."""
        spot = spot_value(arrays)
        option_fee = np.minimum(self.params.option_fee_rate * spot, self.params.option_fee_cap * arrays.value)
        fee = np.where(arrays.kind == Kind.OPTION, option_fee, self.params.perpetual_fee_rate * arrays.notional)
        sizes = np.column_stack([np.abs(arrays.delta), fee]) * arrays.unit[:, None] / arrays.tick_size
        return _whole(np.where(arrays.is_collateral[:, None], 0.0, sizes), arrays)

    def _minimum_delta(self, net: FloatArray, gross: FloatArray, arrays: RiskArrays) -> FloatArray:
        """(R,U) minimum delta requirement in ticks, from deltas valued at spot, by the factors of every underlying."""
        assets = [self.params.asset(str(name)) for name in arrays.underlying_id]
        unhedged, hedged = (
            np.array([getattr(asset, f"{side}_margin_factor") for asset in assets]) for side in ("unhedged", "hedged")
        )
        size = np.abs(net)[:, None]
        return np.asarray(unhedged * size + hedged * np.maximum(gross[:, None] - size, 0.0) / 2.0)

    def _factors(self, arrays: RiskArrays) -> FloatArray:
        return np.array([self.params.asset(str(name)).mmf_factor for name in arrays.underlying_id], dtype=np.float64)


def _of_base(table: Mapping[str, Kept], name: str, underlying: str) -> Kept:
    base = underlying.lower().partition("_")[0]
    if base not in table and ANY not in table:
        known = did_you_mean_or_known(base, list(table)) if table else ""
        raise ConfigError(f"no {name}.{base} among the parameters, which {underlying} needs{known}")
    return table[base] if base in table else table[ANY]


def _absolute(book: Book) -> Book:
    return replace(book, quantity=np.abs(book.quantity))


def _worst(ticks: FloatArray) -> tuple[FloatArray, np.ndarray]:
    column = np.argmin(ticks, axis=1)
    return np.maximum(-ticks[np.arange(len(ticks)), column], 0.0), column


def _whole(rows: FloatArray, arrays: RiskArrays) -> FloatArray:
    return rows if arrays.tick is None else np.rint(rows) + 0.0
