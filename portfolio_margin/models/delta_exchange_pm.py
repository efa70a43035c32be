"""delta_exchange_pm: Delta Exchange's portfolio margin, with the numbers it does not publish as parameters.

per underlying: initial = max(risk margin, margin floor), maintenance = 0.8 x that
risk margin   worst loss over price moves with vols up, unchanged, down
margin floor  of futures, short options and long options, each a share of their notional

The venue subtracts the cash flow of closing everything at mark; here that is the value of options in the equity.
Source: docs/models/delta_exchange_pm.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType

import numpy as np

from portfolio_margin import grid_units, risk_units
from portfolio_margin.balances_owed import (
    CHARGE,
    BalanceRates,
    balance_lines,
    scenario_rates,
    with_balances,
)
from portfolio_margin.book import Book
from portfolio_margin.collateral import moved_assets
from portfolio_margin.dollars import is_own_money
from portfolio_margin.grid_units import Grid
from portfolio_margin.lacking import gather
from portfolio_margin.requirement import Contribution, ParameterSet, Requirement, Traits, european_on_coins
from portfolio_margin.risk_units import UnitRows, Units, spot_value, whole_ticks
from pricing.arrays import BoolArray, FloatArray, StrArray
from pricing.instruments import Kind
from scenarios.risk_arrays import RiskArrays
from scenarios.shocks import MarketRows, ScenarioSet, check_bounds

FLOORS = ("futures_floor", "short_option_floor", "long_option_floor")
VENUE = "Delta Exchange"


@dataclass(frozen=True)
class Params:
    """Parameters; those without a default are not published.

    grids              "btc" -> Grid of price moves and vol shocks, "any" for underlyings that are not named
    futures_floor      share of the notional of futures and perpetuals, 0 to 1
    short_option_floor, long_option_floor   share of the notional of options sold and bought, 0 to 1
    mm_factor          maintenance per unit of initial margin, 0.01 to 1
    """

    grids: Mapping[str, Grid] = field(default_factory=dict)
    futures_floor: float | None = None
    short_option_floor: float | None = None
    long_option_floor: float | None = None
    mm_factor: float = 0.8

    def __post_init__(self) -> None:
        grid_units.check_grids(self.grids)
        grid_units.check_rates(self, FLOORS, 1.0)
        check_bounds(self, {"mm_factor": (0.01, 1.0)})
        object.__setattr__(self, "grids", MappingProxyType({str(k).lower(): v for k, v in self.grids.items()}))


@dataclass(frozen=True)
class Model:
    """Delta Exchange's portfolio margin."""

    params: Params
    parameter_set: ParameterSet = field(default_factory=ParameterSet)
    model_id: str = field(default="delta_exchange_pm", init=False)
    traits: Traits = field(default=Traits(proportional=("scan",), ours=(CHARGE,)), init=False)

    def scenario_set(self, market: MarketRows) -> ScenarioSet:
        """The grid of every underlying; ConfigError where one has none, with all else that is not given."""
        floors = partial(grid_units.given, self.params, FLOORS, VENUE)
        moves: ScenarioSet
        (moves,) = gather((partial(grid_units.scenario_set, self.params.grids, market),), (floors,))
        return moves

    def not_covered(self, arrays: RiskArrays) -> StrArray:
        """(N,) options with early exercise and contracts on stocks; what lacks parameters is refused."""
        return european_on_coins(arrays, "Delta Exchange")

    def debts_covered(self, arrays: RiskArrays) -> BoolArray:
        """(N,) dollars, where the margin currency is one, and coins that rise in some scenario."""
        return is_own_money(arrays) | moved_assets(arrays)

    def haircut(self, arrays: RiskArrays) -> FloatArray:
        """(N,) all of what is no dollar: the venue margins in stablecoins."""
        return grid_units.haircuts_of_coins(arrays, 1.0)

    def requirement(
        self, book: Book, arrays: RiskArrays, *, backend: str = "numba", threads: int | None = None
    ) -> Requirement:
        """Requirement of every account; "margin_floor" is what it adds to the scan."""
        rows = self._rows(arrays)
        found = risk_units.requirement(book, arrays, rows, self._charges, backend=backend, threads=threads)
        return with_balances(found, book, arrays, self._balances(arrays))

    def excess_rates(self, arrays: RiskArrays) -> FloatArray | None:
        """(N,) 0: worst loss and floor are never more together than apart, and coins held stand against nothing."""
        return np.zeros(len(arrays))

    def contributions(self, book: Book, arrays: RiskArrays) -> list[Contribution]:
        """The scan position by position, the floor by underlying."""
        lines = risk_units.contributions(book, arrays, self._rows(arrays), self._charges)
        return lines + balance_lines(book, arrays, self._balances(arrays))

    def _balances(self, arrays: RiskArrays) -> BalanceRates:
        """Rates of coins in the price moves of the grid; held, they do not count, and so stand against nothing."""
        return scenario_rates(arrays, arrays.rows, np.array([1.0, self.params.mm_factor]), self.haircut(arrays))

    def _charges(self, units: Units) -> dict[str, FloatArray]:
        floor = units.gross[:, 0] + units.short[:, 0]
        parts = {"scan": units.scan, "margin_floor": np.maximum(floor - units.scan, 0.0)}
        return {name: values[:, None] * [1.0, self.params.mm_factor] for name, values in parts.items()}

    def _rows(self, arrays: RiskArrays) -> UnitRows:
        futures, short, long = grid_units.given(self.params, FLOORS, VENUE)
        value, option = spot_value(arrays), arrays.kind == Kind.OPTION
        # A short option has the floor of a long one in the sum over sizes already.
        size = np.where(option, long, futures) * value
        sold = np.where(option, short - long, 0.0) * value
        net, sizes, shorts = (whole_ticks(amounts, arrays) for amounts in (arrays.pnl, size[:, None], sold[:, None]))
        return UnitRows(net, sizes, shorts, len(arrays.scenario_set))
