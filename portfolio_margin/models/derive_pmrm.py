"""derive_pmrm: portfolio margin of Derive, first version (PMRM): options, one perpetual, the coin, cash.

worst       = min(basis contingency, scenarios), 0 at most; see portfolio_margin/derive_portfolio.py
static      = spot x (|perpetuals| x perp_percent + coins x base_percent + naked shorts x option_percent)
maintenance = -worst + static
initial     = (static - worst) x (im_factor + max(0, peg_loss_threshold - stable price) x peg_loss_factor) + confidence
confidence  = spot x conf_margin x sum of (1 - c) x size over what is seen with a confidence c below conf_threshold

Options are worth their undiscounted Black-76 price; a shocked expiry value above 0 counts with the static discount
base_static_discount x exp(-T (r x rate_mult_scale + rate_add_scale)), r not below 0.

Source: Derive v2, PMRM and PMRMLib at 7736900d (2026-01-21), read and run by others; in our own words.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from portfolio_margin.book import Book
from portfolio_margin.contributions import ScenarioLosses
from portfolio_margin.convexity import Support
from portfolio_margin.derive_contributions import scenario_losses
from portfolio_margin.derive_feeds import (
    Feeds,
    NetMargin,
    confidence_of,
    contracts_of,
    doubt_ceiling,
    not_at_derive,
    short_confidence,
    total_of,
)
from portfolio_margin.derive_managers import charges_by_account, contributions
from portfolio_margin.derive_portfolio import (
    Portfolio,
    Rule,
    by_expiry,
    exposures,
    portfolios,
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
from portfolio_margin.derive_support import naked_rates, revaluation_rates, scan_rates, size_rates
from portfolio_margin.order_bounds import Excess, Reach
from portfolio_margin.requirement import Contribution, ParameterSet, Requirement, Traits, covered
from pricing.arrays import BoolArray, FloatArray, StrArray
from pricing.errors import ConfigError
from scenarios.of_arrays import of_arrays
from scenarios.risk_arrays import RiskArrays
from scenarios.shocks import MarketRows, ScenarioSet, check_bounds

# The venue's own bounds: three times the spot; a hundredth of a day to a hundred days.
MOST_SPOT_SHOCK = 3.0
DTE_FLOORS = (864.0, 8_640_000.0)
CHARGES = ("scan", "perpetual", "base", "option", "depeg", "confidence")


@dataclass(frozen=True)
class OtherContingency:
    """peg_loss_threshold 0 to 100, peg_loss_factor 0 to 20, conf_threshold 0 to 1, conf_margin 0 to 20, and shares of
    spot: base_percent, perp_percent and option_percent, each 0 to 1."""

    peg_loss_threshold: float
    peg_loss_factor: float
    conf_threshold: float
    conf_margin: float
    base_percent: float
    perp_percent: float
    option_percent: float

    def __post_init__(self) -> None:
        bounds = {"peg_loss_threshold": (0.0, 100.0), "peg_loss_factor": (0.0, 20.0), "conf_threshold": (0.0, 1.0)}
        shares = dict.fromkeys(("base_percent", "perp_percent", "option_percent"), (0.0, 1.0))
        check_bounds(self, {**bounds, "conf_margin": (0.0, 20.0), **shares})


@dataclass(frozen=True)
class Margin:
    """im_factor 1 to 4, base_static_discount 0 to 1, rate_mult_scale and rate_add_scale 0 to 20."""

    im_factor: float
    base_static_discount: float
    rate_mult_scale: float
    rate_add_scale: float

    def __post_init__(self) -> None:
        bounds = {"im_factor": (1.0, 4.0), "base_static_discount": (0.0, 1.0)}
        check_bounds(self, {**bounds, "rate_mult_scale": (0.0, 20.0), "rate_add_scale": (0.0, 20.0)})


@dataclass(frozen=True)
class Params:
    """Parameters by the venue's groups basis_contingency, other_contingency, margin and vol_shock; all of them have
    bounds. feeds is the market's side: its oracles.

    scenarios  1 to 40, spot_shock at most 3, without dampening or tilts of vol
    vol_shock  its dte_floor_sec 864 to 8,640,000
    """

    scenarios: tuple[Scenario, ...]
    basis_contingency: BasisContingency
    other_contingency: OtherContingency
    margin: Margin
    vol_shock: VolShock
    feeds: Feeds = field(default_factory=Feeds)

    def __post_init__(self) -> None:
        check_scenario_list(self.scenarios)
        if not DTE_FLOORS[0] <= self.vol_shock.dte_floor_sec <= DTE_FLOORS[1]:
            raise ConfigError(
                f"dte_floor_sec = {self.vol_shock.dte_floor_sec!r}: must be seconds, {DTE_FLOORS[0]:g} to "
                f"{DTE_FLOORS[1]:g} in PMRM"
            )
        for scenario in self.scenarios:
            if scenario.spot_shock > MOST_SPOT_SHOCK:
                raise ConfigError(f"spot_shock = {scenario.spot_shock!r}: must be at most {MOST_SPOT_SHOCK:g} in PMRM")
            if scenario.dampening_factor != 1.0 or scenario.vol_shock not in ("up", "none", "down"):
                raise ConfigError(f"scenarios: {scenario} is of PMRM_2; PMRM has no dampening and no tilts of vol")
        if self.vol_shock.min_vol_up_shock != 0.0:
            raise ConfigError("vol_shock min_vol_up_shock is of PMRM_2; PMRM has no floor of vols")


class Counted(NamedTuple):
    """Money that charges are made of, by account or by position: worst loss, notionals, confidence contingency."""

    loss: FloatArray
    perpetual: FloatArray
    base: FloatArray
    naked: FloatArray
    confidence: FloatArray


@dataclass(frozen=True)
class Model:
    """Portfolio margin of Derive, PMRM."""

    params: Params
    parameter_set: ParameterSet = field(default_factory=ParameterSet)
    model_id: str = field(default="derive_pmrm", init=False)
    traits: Traits = field(default=Traits(proportional=("perpetual",)), init=False)

    def scenario_set(self, market: MarketRows) -> ScenarioSet:
        """The scenarios of the parameters, then the two basis moves."""
        return scenario_table(self.params.scenarios, self.params.basis_contingency, self.params.vol_shock, market)

    def not_covered(self, arrays: RiskArrays) -> StrArray:
        """(N,) why a contract has no rule here: dated futures, early exercise, stocks, assets beside the coin."""
        contracts, reason = contracts_of(arrays), not_at_derive(arrays)
        other = contracts.asset & ~contracts.coin
        return np.where(other, "PMRM takes cash and the coin of the underlying only", reason)

    def debts_covered(self, arrays: RiskArrays) -> BoolArray:
        """(N,) the coin, which moves in the scenarios; all else is not taken."""
        return np.asarray(contracts_of(arrays).coin & arrays.is_collateral)

    def haircut(self, arrays: RiskArrays) -> FloatArray:
        """(N,) 1 for assets that the venue does not take; what it asks for others is among the charges."""
        return np.where(arrays.is_collateral & (self.not_covered(arrays) != ""), 1.0, 0.0)

    @of_arrays
    def rule(self, arrays: RiskArrays) -> Rule:
        """How the scenarios are counted on these arrays."""
        margin, basis, terms = self.params.margin, self.params.basis_contingency, arrays.terms
        contracts, years = contracts_of(arrays), arrays.years_to_expiry
        rate_years = np.maximum(-np.log(terms.discount), 0.0)
        decay = rate_years * margin.rate_mult_scale + years * margin.rate_add_scale
        dampening, skew = dampening_of(self.params.scenarios)
        fx = terms.fx[terms.currency_idx]
        coin = contracts.asset & contracts.coin
        return Rule(
            dampening=dampening,
            skew=skew,
            discount_long=by_expiry(margin.base_static_discount * np.exp(-decay), arrays, 1.0),
            discount_short=np.ones(len(years) + 1),
            restate=by_expiry(1.0 / terms.discount, arrays, 1.0),
            basis_weight=by_expiry(basis.add_factor + basis.mult_factor * years, arrays, 0.0),
            mark=np.where(coin, contracts.spot / (fx * self.params.feeds.stable_price), 1.0),
            moving=coin,
        )

    def portfolios(
        self, book: Book, arrays: RiskArrays, *, backend: str = "numba", threads: int | None = None
    ) -> list[Portfolio]:
        """P&L of every scenario, contingencies and expiries of every account, in blocks of accounts."""
        seen, _ = covered(self, book, arrays)
        return list(portfolios(seen, arrays, self.rule(arrays), backend=backend, threads=threads))

    def requirement(
        self, book: Book, arrays: RiskArrays, *, backend: str = "numba", threads: int | None = None
    ) -> Requirement:
        """Requirement of every account, initial and maintenance part of every charge."""
        charges, worst, revaluation = charges_by_account(self, CHARGES, book, arrays, backend, threads)
        total = total_of(charges, len(book))
        return Requirement(total[:, 0], total[:, 1], worst, charges, revaluation)

    def convex(self, arrays: RiskArrays, turning: BoolArray, measure: str) -> bool:
        """Whether the requirement is convex in the quantities, less the margin balance for a measure of funds.

        It is, as long as no oracle is in doubt and nothing is unsettled: both step when the first perpetual is held.
        """
        return self.params.feeds.quiet

    def support(self, arrays: RiskArrays, quantity: FloatArray, long: BoolArray) -> Support:
        """Rates of every charge for quantity (N,), with quiet oracles; no asset that is taken has a haircut."""
        rule, contracts, other = self.rule(arrays), contracts_of(arrays), self.params.other_contingency
        charged = (
            scan_rates(arrays, quantity, rule)
            + other.perp_percent * size_rates(quantity, contracts, contracts.perpetual)
            + other.base_percent * size_rates(quantity, contracts, contracts.asset)
            + other.option_percent * naked_rates(arrays, quantity, contracts)
        )
        peg = max(0.0, other.peg_loss_threshold - self.params.feeds.stable_price) * other.peg_loss_factor
        return Support((self.params.margin.im_factor + peg) * charged, charged, revaluation_rates(arrays, rule))

    def order_excess(self, arrays: RiskArrays, reach: Reach) -> tuple[Excess, ...]:
        """Nothing, since funds are concave and grow in proportion with the book; where an oracle is in doubt, its
        contingency at the lowest confidence of every position at its largest."""
        other = self.params.other_contingency
        amount = doubt_ceiling(self.params.feeds, arrays, other.conf_threshold, other.conf_margin, reach.size)
        return (Excess(np.zeros(len(arrays)), {}, amount),)

    def net_margin(
        self, book: Book, arrays: RiskArrays, *, backend: str = "numba", threads: int | None = None
    ) -> NetMargin:
        """Equity less requirement of every account as the venue states it, cash included; of what it has rules for."""
        book, _ = covered(self, book, arrays)
        required = self.requirement(book, arrays, backend=backend, threads=threads)
        rule, feeds = self.rule(arrays), self.params.feeds
        value, trusted = venue_value(book, arrays, rule, feeds, backend=backend, threads=threads)
        static = required.maintenance - required.charges["scan"][:, 1]
        return NetMargin(value - required.initial, value - required.maintenance, value, value + trusted - static)

    def contributions(self, book: Book, arrays: RiskArrays) -> list[Contribution]:
        """Every position's part of every charge."""
        return contributions(self, self.requirement(book, arrays, backend="numpy"), book, arrays)

    def scenario_losses(self, book: Book, arrays: RiskArrays) -> list[ScenarioLosses]:
        """By underlying of the one account of `book`; see `near_scenarios`."""
        return scenario_losses(self.portfolios(book, arrays), arrays)

    def by_position(self, part: Portfolio, arrays: RiskArrays) -> Counted:
        """(P,) notionals of the positions of a block; loss and naked shorts are not of single positions."""
        other = self.params.other_contingency
        seen = exposures(part, arrays, confidence_of(self.params.feeds, arrays, with_rates=True))
        doubted = seen.option | seen.perpetual | seen.asset
        in_doubt = seen.notional * short_confidence(seen.confidence, other.conf_threshold) * other.conf_margin
        nothing = np.zeros(len(seen.notional))
        return Counted(
            loss=nothing,
            perpetual=np.where(seen.perpetual, seen.notional, 0.0),
            base=np.where(seen.asset, seen.notional, 0.0),
            naked=nothing,
            confidence=np.where(doubted, in_doubt, 0.0),
        )

    def charges_of(self, counted: Counted) -> dict[str, FloatArray]:
        """(...,2) initial and maintenance part of every charge."""
        other, feeds = self.params.other_contingency, self.params.feeds
        static = {
            "scan": counted.loss,
            "perpetual": counted.perpetual * other.perp_percent,
            "base": counted.base * other.base_percent,
            "option": counted.naked * other.option_percent,
        }
        factors = np.array([self.params.margin.im_factor, 1.0])
        charges = {name: values[:, None] * factors for name, values in static.items()}
        peg = max(0.0, other.peg_loss_threshold - feeds.stable_price) * other.peg_loss_factor
        initial = np.array([1.0, 0.0])
        charges["depeg"] = sum(static.values(), np.zeros(len(counted.loss)))[:, None] * peg * initial
        charges["confidence"] = counted.confidence[:, None] * initial
        return {name: values + 0.0 for name, values in charges.items()}
