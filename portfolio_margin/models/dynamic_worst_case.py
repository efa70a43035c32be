"""dynamic_worst_case: the worst loss under moves that follow the market, and charges that follow the position.

scan                  worst loss under the moves of the ten years, per underlying, collateral included
volatility_regime     what the moves of today add to it
crowding              what wider moves against a crowded side add
oracle                what the doubt about the price adds
short_option_minimum  what a floor by notional of options sold adds to the sum of these
near_expiry           short gamma close to expiry
concentration         what a position of this size needs beyond proportion
liquidity             cost of closing what is left after hedging
basis                 forwards that do not move alike
balances_owed         assets outside the scenarios that stand against money owed
collateral_limit      what does not count of collateral by its size or kind
depeg                 what a broken peg of collateral may cost
requirement           factor x sum of them, without a factor of the last two; balances_owed has it already

The first four are tiers of one scenario set, each with moves at least as wide as the one before: the worst loss up to a
tier, less that up to the tier before. Every part is a file in portfolio_margin/dynamic; docs/dynamic-margin.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np

from portfolio_margin.balances_owed import CHARGE, BalanceRates, balance_lines, scenario_rates, with_balances
from portfolio_margin.book import Book
from portfolio_margin.collateral import haircuts, moved_assets
from portfolio_margin.dynamic import concentration, crowding, liquidity, near_expiry, oracle
from portfolio_margin.dynamic.assets import (
    Asset,
    both_sides,
    outside_scenarios,
    pegged,
    rows_of,
    uncounted,
    venue_steps,
    with_totals,
)
from portfolio_margin.dynamic.closing import Closing
from portfolio_margin.dynamic.explanation import contribution_lines
from portfolio_margin.dynamic.measured import measured, tables_of
from portfolio_margin.dynamic.moves import TIERS, Moves, nested_scenarios
from portfolio_margin.dynamic.tier_losses import tier_losses
from portfolio_margin.dynamic.underlying import Underlying
from portfolio_margin.lacking import gather
from portfolio_margin.order_bounds import Excess, Reach, backing_ceiling, turning_rates
from portfolio_margin.requirement import Contribution, ParameterSet, Requirement, Traits, everything
from pricing.arrays import BoolArray, FloatArray, StrArray
from pricing.errors import ConfigError
from scenarios.of_arrays import of_arrays
from scenarios.risk_arrays import RiskArrays
from scenarios.shocks import MarketRows, ScenarioSet, check_bounds

PARTS = {
    "moves": Moves,
    "crowding": crowding.Params,
    "oracle": oracle.Params,
    "near_expiry": near_expiry.Params,
    "concentration": concentration.Params,
    "liquidity": liquidity.Params,
}
CHARGES_OF_ASSETS = {"limit": "collateral_limit", "depeg": "depeg"}


@dataclass(frozen=True)
class Params:
    """Parameters, with their bounds; those of the parts are bounded where they are defined.

    underlyings           underlying -> Underlying: what the rules say of it today, `dynamic/rule.py`
    moves                 layout of the scenarios
    crowding, oracle, near_expiry, concentration, liquidity   of the parts of the requirement
    initial_factor        initial margin per unit of requirement, 1 to 5
    maintenance_factor    maintenance margin per unit of requirement, 0.01 to 1
    short_option_minimum  share of the notional of each short option, 0 to 1
    haircut               of every asset but the margin currency, 0 to 1
    haircut_by_asset      asset -> haircut, 0 to 1, in place of `haircut`
    assets                asset -> Asset: tiers by size, eligibility, scenarios and peg of it; others count in full
    """

    underlyings: Mapping[str, Underlying]
    moves: Moves = field(default_factory=Moves)
    crowding: crowding.Params = field(default_factory=crowding.Params)
    oracle: oracle.Params = field(default_factory=oracle.Params)
    near_expiry: near_expiry.Params = field(default_factory=near_expiry.Params)
    concentration: concentration.Params = field(default_factory=concentration.Params)
    liquidity: liquidity.Params = field(default_factory=liquidity.Params)
    initial_factor: float = 1.25
    maintenance_factor: float = 1.0
    short_option_minimum: float = 0.003
    haircut: float = 0.05
    haircut_by_asset: Mapping[str, float] = field(default_factory=dict)
    assets: Mapping[str, Asset] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shares = dict.fromkeys(("short_option_minimum", "haircut"), (0.0, 1.0))
        check_bounds(self, {"initial_factor": (1.0, 5.0), "maintenance_factor": (0.01, 1.0), **shares})
        for name, kind in PARTS.items():
            if not isinstance(getattr(self, name), kind):
                raise ConfigError(f"{name} = {getattr(self, name)!r}: must be {kind.__module__}.{kind.__name__}(...)")
        for name, wanted in (("underlyings", Underlying), ("assets", Asset)):
            table = getattr(self, name)
            if not isinstance(table, Mapping) or not all(isinstance(value, wanted) for value in table.values()):
                raise ConfigError(f"{name} = {table!r}: must be a mapping from {name[:-1]} to {wanted.__name__}")
        if not isinstance(self.haircut_by_asset, Mapping):
            raise ConfigError(f"haircut_by_asset = {self.haircut_by_asset!r}: must be a mapping from asset to haircut")
        for name, value in self.haircut_by_asset.items():
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0.0 <= value <= 1.0:
                raise ConfigError(f"haircut_by_asset {name} = {value!r}: must be a number from 0 to 1")
        for name, state in self.underlyings.items():
            if state.oracle_age_seconds > self.oracle.max_age_seconds:
                raise ConfigError(
                    f"underlyings.{name}.oracle_age_seconds = {state.oracle_age_seconds!r}: the price is older than "
                    f"oracle.max_age_seconds = {self.oracle.max_age_seconds!r}, so there is no margin from it"
                )
        for name in ("underlyings", "haircut_by_asset", "assets"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))

    def states(self, underlying_id: StrArray) -> list[Underlying]:
        """The state of every underlying (U,). ConfigError naming all that are missing."""

        def state(name: str) -> Underlying:
            if name not in self.underlyings:
                known = ", ".join(self.underlyings) or "none"
                raise ConfigError(
                    f"no underlyings.{name} among the parameters; there are {known}. A set that is calibrated needs a "
                    f"--history of each underlying: calibrate --history {name}=FILE beside the others"
                )
            return self.underlyings[name]

        return gather(partial(state, str(name)) for name in underlying_id)


@dataclass(frozen=True)
class Model:
    """Dynamic worst case; its parameters have no defaults, since they are of one day."""

    params: Params
    parameter_set: ParameterSet = field(default_factory=ParameterSet)
    model_id: str = field(default="dynamic_worst_case", init=False)
    traits: Traits = field(default=Traits(proportional=(*TIERS, "near_expiry", "basis")), init=False)

    def scenario_set(self, market: MarketRows) -> ScenarioSet:
        """The tiers of moves, one after the other."""
        p = self.params
        return nested_scenarios(p.states(market.underlying_id), p.moves, p.crowding, p.oracle)

    def not_covered(self, arrays: RiskArrays) -> StrArray:
        """(N,) nothing: a worst loss is a rule for every contract; an underlying without a state is refused."""
        return everything(arrays)

    def debts_covered(self, arrays: RiskArrays) -> BoolArray:
        """(N,) assets that a scenario moves or that have a depeg charge; a fixed rate of exchange loses nowhere."""
        return np.asarray(moved_assets(arrays) | pegged(arrays, self.params.assets))

    @of_arrays
    def haircut(self, arrays: RiskArrays) -> FloatArray:
        """(N,) share of a long balance of collateral that does not count."""
        return haircuts(arrays, self.params.haircut, self.params.haircut_by_asset)

    def venue_steps(self, book: Book, arrays: RiskArrays) -> dict[str, int]:
        """What counts of every asset with a `venue_cap` over the accounts of a book, whole money steps."""
        return venue_steps(book, arrays, self.haircut(arrays), self.params.assets)

    def with_venue_totals(self, arrays: RiskArrays, steps: Mapping[str, int]) -> Model:
        """The model with the totals of a whole venue, sums of `venue_steps`."""
        assets = with_totals(arrays, self.params.assets, steps)
        return replace(self, params=replace(self.params, assets=assets))

    def requirement(
        self, book: Book, arrays: RiskArrays, *, backend: str = "numba", threads: int | None = None
    ) -> Requirement:
        """Requirement of every account, part by part as the head of this file has them."""
        p, haircut = self.params, self.haircut(arrays)
        sides = both_sides(book, arrays, haircut, p.assets)
        given = (sides.initial.book, self.closing(arrays), haircut, p.short_option_minimum)
        tables = self._tables(arrays) if backend == "numba" and len(arrays.underlying_id) else None
        found = measured(*given, backend=backend, threads=threads, tables=tables)
        initial = maintenance = found.tiers
        if not sides.alike:
            maintenance = tier_losses(sides.maintenance.book, arrays, haircut, backend=backend, threads=threads)
        market = np.stack([initial.added, maintenance.added], axis=2)  # (A, tiers, 2)
        parts = {name: market[:, k] for k, name in enumerate(TIERS)}
        parts["short_option_minimum"] = np.maximum(found.floor[:, None] - market.sum(axis=1), 0.0)
        for name in ("near_expiry", "concentration", "liquidity", "basis"):
            parts[name] = getattr(found, name)[:, None]
        factors = np.array(self._factors)
        charges = {name: amount * factors for name, amount in parts.items()}
        for name, charge in CHARGES_OF_ASSETS.items():
            columns = (_by_account(book, getattr(side, name)) for side in (sides.initial, sides.maintenance))
            charges[charge] = np.column_stack(list(columns))
        total = sum(charges.values(), np.zeros((len(book), 2)))
        required = Requirement(total[:, 0], total[:, 1], initial.worst, charges)
        return with_balances(required, book, arrays, self.balance_rates(arrays))

    def order_excess(self, arrays: RiskArrays, reach: Reach) -> tuple[Excess, ...]:
        """Ceilings of concentration, liquidity and coins outside the scenarios; of an asset with rules of its own, its
        value and its largest moves. All other charges are never more together than apart."""
        factor, closing = self.params.initial_factor, self.closing(arrays)
        size, cost = closing.ceilings(reach)
        ceilings = {"concentration": factor * size, "liquidity": factor * cost}
        ceilings[CHARGE] = backing_ceiling(arrays, self.balance_rates(arrays), reach)
        rates = turning_rates(arrays, self.haircut(arrays), factor)
        for row in rows_of(arrays, self.params.assets).values():
            moves = float(np.abs(arrays.rows[row]).max(initial=0.0)) * arrays.tick_size / float(arrays.unit[row])
            rates[row] = abs(float(arrays.value[row])) + factor * moves
        return (Excess(rates, ceilings),)

    def contributions(self, book: Book, arrays: RiskArrays) -> list[Contribution]:
        """Positions in the worst scenario of every tier, by expiry, and of the contracts alone; buckets of vega."""
        return contribution_lines(
            book,
            arrays,
            self.haircut(arrays),
            self.closing(arrays),
            self.params.assets,
            self.params.short_option_minimum,
            self._factors,
        ) + balance_lines(book, arrays, self.balance_rates(arrays))

    @of_arrays
    def balance_rates(self, arrays: RiskArrays) -> BalanceRates:
        """What assets outside the scenarios cost as far as they stand against something owed, contracts among it: their
        largest fall in any scenario, beyond haircut and peg. Balances owed are inside whatever the asset is."""
        p, haircut, factors = self.params, self.haircut(arrays), np.array(self._factors)
        outside, pegs = outside_scenarios(arrays, p.assets)
        rates = scenario_rates(arrays, arrays.rows, factors, haircut + (1.0 - haircut) * pegs)
        counts = ~uncounted(arrays, p.assets)[:, None]
        return rates._replace(
            owed=np.zeros_like(rates.owed),
            backing=np.where(outside[:, None] & counts, rates.backing, 0.0),
            left=np.where(counts, rates.left, 0.0),
            contracts=~arrays.is_collateral,
        )

    def closing(self, arrays: RiskArrays) -> Closing:
        """The charges that depend on the contracts alone, and what they are computed from."""
        p = self.params
        return Closing(arrays, p.states(arrays.underlying_id), p.near_expiry, p.concentration, p.liquidity)

    @of_arrays
    def _tables(self, arrays: RiskArrays) -> Any:
        """What the compiled pass takes beside a book."""
        return tables_of(self.closing(arrays), self.haircut(arrays), self.params.short_option_minimum)

    @property
    def _factors(self) -> tuple[float, float]:
        return self.params.initial_factor, self.params.maintenance_factor


def _by_account(book: Book, values: FloatArray) -> FloatArray:
    """(A,) values of positions (P,) added up, in the order of the book."""
    some = np.flatnonzero(values)
    account = np.searchsorted(book.position_ptr, some, side="right") - 1
    return np.bincount(account, values[some], minlength=len(book)).astype(np.float64)
