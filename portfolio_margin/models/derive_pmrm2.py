"""derive_pmrm2: portfolio margin of Derive, second version (PMRM_2): options, one perpetual, several collaterals, cash.

worst       = min(basis contingency, scenarios), 0 at most; see portfolio_margin/derive_portfolio.py
mm          = spot x (|perpetuals| x mm_perp_percent + naked shorts x mm_option_percent) + collateral x mm_haircut
im          = the same with im_perp_percent, im_option_percent and im_haircut + confidence
maintenance = -worst x mm_factor + mm
initial     = -worst x (im_factor + max(0, peg_loss_threshold - stable price) x peg_loss_factor) + im + mm

Options are worth their Black-76 price discounted at a rate not below 0. A shocked expiry value above 0 counts with
long_base exp(-T (r long_mult + long_add)), another with min(exp(rT), short_base exp(T (r short_mult + short_add))).
Source: Derive v2, PMRM_2 and PMRMLib_2 at 7736900d (2026-01-21), read and run by others; in our own words.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from portfolio_margin.book import Book
from portfolio_margin.contributions import ScenarioLosses
from portfolio_margin.derive_contributions import scenario_losses
from portfolio_margin.derive_feeds import (
    Feeds,
    NetMargin,
    confidence_of,
    contracts_of,
    doubt_ceiling,
    not_at_derive,
    short_confidence,
    summed,
    total_of,
    with_floor,
)
from portfolio_margin.derive_managers import charges_by_account, contributions
from portfolio_margin.derive_portfolio import (
    Asked,
    Portfolio,
    Rule,
    by_expiry,
    charged_at_once,
    exposures,
    portfolios,
    scan_rows,
    venue_value,
)
from portfolio_margin.derive_scenarios import (
    BasisContingency,
    Scenario,
    VolShock,
    check_scenario_list,
    dampening_of,
    scenario_table,
)
from portfolio_margin.order_bounds import Excess, Reach, per_contract
from portfolio_margin.requirement import Contribution, ParameterSet, Requirement, Traits, covered
from pricing.arrays import BoolArray, FloatArray, IntArray, StrArray
from pricing.errors import ConfigError
from scenarios.of_arrays import of_arrays
from scenarios.risk_arrays import RiskArrays
from scenarios.shocks import MarketRows, ScenarioSet, VolDynamics, check_bounds

CHARGES = ("scan", "perpetual", "option", "collateral", "depeg", "confidence")
# The venue takes a width of 0 for an expired option nowhere; this keeps a tilt finite.
SMALLEST_WIDTH = 1e-9


@dataclass(frozen=True)
class Collateral:
    """mm_haircut and im_haircut (on top of it) 0 to 1 of the value; is_risk_cancelling: it moves
    with its underlying in the scenarios; without, its value is taken as it is."""

    mm_haircut: float
    im_haircut: float
    is_risk_cancelling: bool = False

    def __post_init__(self) -> None:
        check_bounds(self, {"mm_haircut": (0.0, 1.0), "im_haircut": (0.0, 1.0)})
        if not isinstance(self.is_risk_cancelling, bool):
            raise ConfigError(f"is_risk_cancelling = {self.is_risk_cancelling!r}: must be true or false")


@dataclass(frozen=True)
class OtherContingency:
    """peg_loss_threshold 0 to 100, peg_loss_factor 0 to 20, conf_threshold 0 to 1, conf_margin 0 to 20, and shares of
    spot, each 0 to 3, as the venue's own examples have: im_* are asked of initial margin on top of mm_*."""

    peg_loss_threshold: float
    peg_loss_factor: float
    conf_threshold: float
    conf_margin: float
    mm_perp_percent: float
    im_perp_percent: float
    mm_option_percent: float
    im_option_percent: float

    def __post_init__(self) -> None:
        bounds = {"peg_loss_threshold": (0.0, 100.0), "peg_loss_factor": (0.0, 20.0), "conf_threshold": (0.0, 1.0)}
        shares = ("mm_perp_percent", "im_perp_percent", "mm_option_percent", "im_option_percent")
        check_bounds(self, {**bounds, "conf_margin": (0.0, 20.0), **dict.fromkeys(shares, (0.0, 3.0))})


@dataclass(frozen=True)
class Margin:
    """im_factor and mm_factor 0.1 to 10; rate scales 0 to 20; static discounts at 0 years: long_base_static_discount
    and short_base_static_discount 0 to 4."""

    im_factor: float
    mm_factor: float
    short_rate_mult_scale: float
    long_rate_mult_scale: float
    short_rate_add_scale: float
    long_rate_add_scale: float
    short_base_static_discount: float
    long_base_static_discount: float

    def __post_init__(self) -> None:
        scales = ("short_rate_mult_scale", "long_rate_mult_scale", "short_rate_add_scale", "long_rate_add_scale")
        bounds = {"im_factor": (0.1, 10.0), "mm_factor": (0.1, 10.0), **dict.fromkeys(scales, (0.0, 20.0))}
        bases = dict.fromkeys(("short_base_static_discount", "long_base_static_discount"), (0.0, 4.0))
        check_bounds(self, {**bounds, **bases})


@dataclass(frozen=True)
class SkewShock:
    """Caps of a tilt of vols, linear_base_cap and abs_base_cap (0 to 10) plus linear_c_base and abs_c_base (-10 to 10)
    times sqrt(T); its width: min_k_star and width_scale 0 to 10, vol_param_static 0 to 10, vol_param_scale -20 to 20.
    See VolDynamics of scenarios/shocks.py."""

    linear_base_cap: float
    abs_base_cap: float
    linear_c_base: float
    abs_c_base: float
    min_k_star: float
    width_scale: float
    vol_param_static: float
    vol_param_scale: float

    def __post_init__(self) -> None:
        positive = ("linear_base_cap", "abs_base_cap", "min_k_star", "width_scale", "vol_param_static")
        slopes = dict.fromkeys(("linear_c_base", "abs_c_base"), (-10.0, 10.0))
        check_bounds(self, {**dict.fromkeys(positive, (0.0, 10.0)), **slopes, "vol_param_scale": (-20.0, 20.0)})

    def dynamics(self, minimum_vol_up: float) -> VolDynamics:
        """The tilts as a scenario set takes them, with the floor of up shocks."""
        return VolDynamics(
            minimum_vol_up=minimum_vol_up,
            linear_cap=self.linear_base_cap,
            linear_cap_slope=self.linear_c_base,
            absolute_cap=self.abs_base_cap,
            absolute_cap_slope=self.abs_c_base,
            skew_width_min=max(self.min_k_star, SMALLEST_WIDTH),
            skew_width_scale=self.width_scale,
            skew_width_vol=self.vol_param_static,
            skew_width_vol_slope=self.vol_param_scale,
        )


@dataclass(frozen=True)
class Params:
    """Parameters by the venue's groups basis_contingency, other_contingency, margin, vol_shock and skew_shock; all of
    them have bounds. feeds is the market's side: its oracles.

    scenarios   1 to 40, at most one linear and one abs tilt of vols
    collateral  asset -> haircuts; an asset that is not listed is worth nothing
    """

    scenarios: tuple[Scenario, ...]
    basis_contingency: BasisContingency
    other_contingency: OtherContingency
    margin: Margin
    vol_shock: VolShock
    skew_shock: SkewShock
    collateral: Mapping[str, Collateral] = field(default_factory=dict)
    feeds: Feeds = field(default_factory=Feeds)

    def __post_init__(self) -> None:
        check_scenario_list(self.scenarios)
        if not isinstance(self.collateral, Mapping):
            raise ConfigError(f"collateral = {self.collateral!r}: must be haircuts by asset")
        for name, asset in self.collateral.items():
            if not isinstance(asset, Collateral):
                raise ConfigError(f"collateral {name} = {asset!r}: must be Collateral(...)")
        object.__setattr__(self, "collateral", MappingProxyType(dict(sorted(self.collateral.items()))))


class Counted(NamedTuple):
    """Money that charges are made of, by account or by position: worst loss, notionals, haircuts, confidence."""

    loss: FloatArray
    perpetual: FloatArray
    naked: FloatArray
    mm_haircut: FloatArray
    im_haircut: FloatArray
    confidence: FloatArray


@dataclass(frozen=True)
class Model:
    """Portfolio margin of Derive, PMRM_2."""

    params: Params
    parameter_set: ParameterSet = field(default_factory=ParameterSet)
    model_id: str = field(default="derive_pmrm2", init=False)
    traits: Traits = field(default=Traits(proportional=("perpetual",)), init=False)

    def scenario_set(self, market: MarketRows) -> ScenarioSet:
        """The scenarios of the parameters, then the two basis moves."""
        p = self.params
        dynamics = p.skew_shock.dynamics(p.vol_shock.min_vol_up_shock)
        return scenario_table(p.scenarios, p.basis_contingency, p.vol_shock, market, dynamics)

    def not_covered(self, arrays: RiskArrays) -> StrArray:
        """(N,) why a contract has no rule here: dated futures, early exercise, stocks, assets without a haircut."""
        contracts, reason = contracts_of(arrays), not_at_derive(arrays)
        listed = np.isin(arrays.instrument_id, list(self.params.collateral))
        return np.where(contracts.asset & ~listed, "no haircut among the parameters (collateral)", reason)

    def debts_covered(self, arrays: RiskArrays) -> BoolArray:
        """(N,) assets that cancel risk, which move in the scenarios, and those that a haircut is charged on."""
        return self._risk_cancelling(arrays) | (self._haircuts(arrays).sum(axis=1) > 0.0)

    def haircut(self, arrays: RiskArrays) -> FloatArray:
        """(N,) 1 for assets without a haircut of the venue; those of others are charges, as two margins share them."""
        return np.where(arrays.is_collateral & (self.not_covered(arrays) != ""), 1.0, 0.0)

    @of_arrays
    def rule(self, arrays: RiskArrays) -> Rule:
        """How the scenarios are counted on these arrays."""
        margin, basis, discount = self.params.margin, self.params.basis_contingency, arrays.terms.discount
        contracts, years = contracts_of(arrays), arrays.years_to_expiry
        rate_years = np.maximum(-np.log(discount), 0.0)
        decay = rate_years * margin.long_rate_mult_scale + years * margin.long_rate_add_scale
        growth = rate_years * margin.short_rate_mult_scale + years * margin.short_rate_add_scale
        long = margin.long_base_static_discount * np.exp(-decay)
        short = np.minimum(np.exp(rate_years), margin.short_base_static_discount * np.exp(growth))
        dampening, skew = dampening_of(self.params.scenarios)
        return Rule(
            dampening=dampening,
            skew=skew,
            discount_long=by_expiry(long, arrays, 1.0),
            discount_short=by_expiry(short, arrays, 1.0),
            restate=by_expiry(np.minimum(discount, 1.0) / discount, arrays, 1.0),
            basis_weight=by_expiry(basis.add_factor + basis.mult_factor * years, arrays, 0.0),
            mark=np.where(contracts.asset, 1.0 / self.params.feeds.stable_price, 1.0),
            moving=self._risk_cancelling(arrays),
        )

    @of_arrays
    def _risk_cancelling(self, arrays: RiskArrays) -> np.ndarray:
        names = [name for name, asset in self.params.collateral.items() if asset.is_risk_cancelling]
        chosen = np.isin(arrays.instrument_id, names) & arrays.is_collateral
        still = np.flatnonzero(chosen & (arrays.underlying_idx < 0))
        if len(still):
            raise ConfigError(
                f"collateral {arrays.instrument_id[still[0]]}: is_risk_cancelling needs an asset that an underlying of "
                "this market moves"
            )
        return chosen

    @of_arrays
    def _haircuts(self, arrays: RiskArrays) -> FloatArray:
        """(N,2) of maintenance margin, and what initial margin has on top; 0 for what is not listed."""
        haircuts = np.zeros((len(arrays), 2))
        for name, asset in self.params.collateral.items():
            haircuts[arrays.instrument_id == name] = asset.mm_haircut, asset.im_haircut
        return haircuts

    def portfolios(
        self, book: Book, arrays: RiskArrays, *, backend: str = "numba", threads: int | None = None
    ) -> list[Portfolio]:
        """P&L of every scenario, contingencies and expiries of every account, in blocks of accounts."""
        seen, _ = covered(self, book, arrays)
        return list(portfolios(seen, arrays, self.rule(arrays), backend=backend, threads=threads))

    def requirement(
        self, book: Book, arrays: RiskArrays, *, backend: str = "numba", threads: int | None = None
    ) -> Requirement:
        """Requirement of every account. "floor" is what initial margin would be below maintenance."""
        found = self._at_once(book, arrays, threads) if backend == "numba" else None
        if found is not None:
            return found
        return _required(*charges_by_account(self, CHARGES, book, arrays, backend, threads))

    def _at_once(self, book: Book, arrays: RiskArrays, threads: int | None) -> Requirement | None:
        """The same requirement by one pass over the positions; None where that is not enough."""
        if not self.params.feeds.quiet or not book.is_grouped:
            return None
        asked = Asked(charge_parts, self._rates(), CHARGES)
        found = charged_at_once(book, arrays, self.rule(arrays), *self._assets(arrays), asked, threads)
        if found is None:
            return None
        totals, charges, total = found
        return Requirement(total[:, 0], total[:, 1], totals.worst, charges, totals.revalued)

    @of_arrays
    def _assets(self, arrays: RiskArrays) -> tuple[FloatArray, FloatArray]:
        """(N,) price of an asset at the venue, and (N,2) the two haircuts."""
        return np.abs(arrays.value) / self.params.feeds.stable_price, self._haircuts(arrays)

    def order_excess(self, arrays: RiskArrays, reach: Reach) -> tuple[Excess, ...]:
        """What the two discounts of an expiry's value are apart where that bends the wrong way: the long one above the
        short one, and either way under a tilt of vols; where an oracle is in doubt, its contingency at the most."""
        other, margin, rule = self.params.other_contingency, self.params.margin, self.rule(arrays)
        rows = per_contract(arrays, scan_rows(arrays, rule))
        key = arrays.expiry_idx
        apart = rule.discount_long[key] - rule.discount_short[key]
        bent = np.where(rule.skew, np.abs(apart)[:, None], np.maximum(apart, 0.0)[:, None]) * rule.dampening
        shocked = np.abs(rows[:, :-2] + rows[:, -2:-1]) * rule.restate[key][:, None]
        peg = max(0.0, other.peg_loss_threshold - self.params.feeds.stable_price) * other.peg_loss_factor
        rates = np.max(bent * shocked, axis=1, initial=0.0) * max(margin.im_factor + peg, margin.mm_factor)
        amount = doubt_ceiling(self.params.feeds, arrays, other.conf_threshold, other.conf_margin, reach.size)
        return (Excess(rates, {}, amount),)

    def net_margin(
        self, book: Book, arrays: RiskArrays, *, backend: str = "numba", threads: int | None = None
    ) -> NetMargin:
        """Equity less requirement of every account as the venue states it, cash included; of what it has rules for."""
        book, _ = covered(self, book, arrays)
        required = self.requirement(book, arrays, backend=backend, threads=threads)
        rule, feeds = self.rule(arrays), self.params.feeds
        value, trusted = venue_value(book, arrays, rule, feeds, backend=backend, threads=threads)
        initial = required.initial - required.charges["floor"][:, 0]
        static = required.maintenance - required.charges["scan"][:, 1]
        trusted_margin = value + trusted * self.params.margin.mm_factor - static
        return NetMargin(value - initial, value - required.maintenance, value, trusted_margin)

    def contributions(self, book: Book, arrays: RiskArrays) -> list[Contribution]:
        """Every position's part of every charge; the floor of initial margin is a line of the account."""
        return contributions(self, self.requirement(book, arrays, backend="numpy"), book, arrays)

    def scenario_losses(self, book: Book, arrays: RiskArrays) -> list[ScenarioLosses]:
        """By underlying of the one account of `book`; see `near_scenarios`."""
        return scenario_losses(self.portfolios(book, arrays), arrays)

    def by_position(self, part: Portfolio, arrays: RiskArrays) -> Counted:
        """(P,) money of the positions of a block; loss and naked shorts are not of single positions."""
        other, row = self.params.other_contingency, part.own.instrument_idx
        confidence = confidence_of(self.params.feeds, arrays, with_rates=True)
        seen = exposures(part, arrays, confidence)
        price, haircuts = self._assets(arrays)
        value = np.where(seen.asset, np.abs(part.own.quantity) * price[row], 0.0)
        spot = self._spot_confidence(part, confidence.spot)
        doubt = np.where(seen.asset, np.minimum(confidence.asset[row], spot), seen.confidence)
        size = np.where(seen.option | seen.perpetual, seen.notional, value)
        nothing = np.zeros(len(value))
        return Counted(
            loss=nothing,
            perpetual=np.where(seen.perpetual, seen.notional, 0.0),
            naked=nothing,
            mm_haircut=value * haircuts[row, 0],
            im_haircut=value * haircuts[row, 1],
            confidence=size * short_confidence(doubt, other.conf_threshold) * other.conf_margin,
        )

    def _spot_confidence(self, part: Portfolio, spot: FloatArray) -> FloatArray:
        """(P,) of the underlying a position belongs to; for what belongs to none, the lowest of the account's.

        At the venue an account has one underlying, and all its collateral is seen with that confidence. An account that
        holds nothing but such collateral is seen with the lowest of the market.
        """
        own = np.append(spot, 1.0)[part.underlying]
        lowest = np.ones(part.last - part.first)
        np.minimum.at(lowest, part.account, own)
        alone = summed(part.account, part.underlying >= 0, len(lowest)) == 0
        lowest[alone] = spot.min(initial=1.0)
        return np.where(part.underlying >= 0, own, lowest[part.account])[part.of_position]

    def charges_of(self, counted: Counted) -> dict[str, FloatArray]:
        """(...,2) initial and maintenance part of every charge but the floor."""
        parts = zip(CHARGES, charge_parts(*counted, self._rates()), strict=True)
        return {name: np.column_stack(pair) + 0.0 for name, pair in parts}

    def _rates(self) -> tuple[float, ...]:
        """What `charge_parts` multiplies with."""
        other, margin = self.params.other_contingency, self.params.margin
        peg = max(0.0, other.peg_loss_threshold - self.params.feeds.stable_price) * other.peg_loss_factor
        perpetual, option = (
            (other.mm_perp_percent, other.im_perp_percent),
            (other.mm_option_percent, other.im_option_percent),
        )
        return (margin.im_factor, margin.mm_factor, peg, *perpetual, *option)


def charge_parts(loss, perpetual, naked, mm_haircut, im_haircut, confidence, rates):  # type: ignore[no-untyped-def]
    """Initial and maintenance part of each of CHARGES, from numbers or arrays: numba compiles this as it stands.

    Where initial margin asks for more on top of maintenance, it is their sum.
    """
    im_factor, mm_factor, peg, mm_perpetual, im_perpetual, mm_option, im_option = rates
    return (
        (loss * im_factor, loss * mm_factor),
        (perpetual * mm_perpetual + perpetual * im_perpetual, perpetual * mm_perpetual),
        (naked * mm_option + naked * im_option, naked * mm_option),
        (mm_haircut + im_haircut, mm_haircut),
        (loss * peg, 0.0 * loss),
        (confidence, 0.0 * confidence),
    )


def _required(charges: dict[str, FloatArray], worst: IntArray, revaluation: FloatArray) -> Requirement:
    """The charges with the last one, "floor", and their totals."""
    charges = with_floor(charges, len(worst))
    total = total_of(charges, len(worst))
    return Requirement(total[:, 0], total[:, 1], worst, charges, revaluation)
