"""bybit_pm: Bybit's portfolio margin as far as it can be read, with the tables that cannot as parameters.

per underlying: maintenance = maximum loss over a grid of price and vol + contingencies, initial = maintenance x factor
short options        coefficient x index x coins of options sold net of options bought
perpetuals, futures  factor x index x coins, whatever their side

The contingencies for spreads of vega, of delta and between stablecoins are not readable in full: the model runs only
when told to leave them out. Source: docs/models/bybit_pm.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType

import numpy as np

from portfolio_margin import grid_units, risk_units
from portfolio_margin.balances_owed import CHARGE
from portfolio_margin.book import Book
from portfolio_margin.collateral import moved_assets
from portfolio_margin.currency_debts import CurrencyCells, cells_in_dollars, currency_debt_lines, with_currency_debts
from portfolio_margin.deribit_matrix import coin_of
from portfolio_margin.dollars import is_own_money
from portfolio_margin.grid_units import Grid
from portfolio_margin.lacking import gather
from portfolio_margin.order_bounds import Excess, Reach, debts_ceiling
from portfolio_margin.requirement import Contribution, ParameterSet, Requirement, Traits, european_on_coins
from portfolio_margin.risk_units import UnitRows, Units, spot_value, whole_ticks
from pricing.arrays import BoolArray, FloatArray, StrArray
from pricing.errors import ConfigError
from pricing.instruments import Kind
from scenarios.risk_arrays import RiskArrays
from scenarios.shocks import MarketRows, ScenarioSet, check_bounds

# What every requirement needs; collateral needs coin_haircut beside it.
NEEDED = ("short_option_coefficient", "futures_factor", "initial_factor")
VENUE = "Bybit in a form that could be read"
RATES = ("short_option_coefficient", "futures_factor", "coin_haircut")
SPREADS = ("", "left_out")


@dataclass(frozen=True)
class Params:
    """Parameters; those without a value are not readable in the venue's articles.

    grids                     "btc" -> Grid of price moves and vol shocks, "any" for underlyings that are not named
    short_option_coefficient  share of the index per coin of net short options, 0 to 1
    futures_factor            share of the index per coin of perpetuals and futures, 0 to 1
    initial_factor            initial margin per unit of maintenance margin, 1 to 5
    coin_haircut              of assets that are no dollar, 0 to 1
    spreads                   "left_out" to go on without the contingencies for spreads, "" to be refused
    """

    grids: Mapping[str, Grid] = field(default_factory=dict)
    short_option_coefficient: float | None = None
    futures_factor: float | None = None
    initial_factor: float | None = None
    coin_haircut: float | None = None
    spreads: str = ""

    def __post_init__(self) -> None:
        grid_units.check_grids(self.grids)
        grid_units.check_rates(self, RATES, 1.0)
        if self.initial_factor is not None:
            check_bounds(self, {"initial_factor": (1.0, 5.0)})
        if self.spreads not in SPREADS:
            raise ConfigError(f"spreads = {self.spreads!r}: must be left_out, or empty")
        object.__setattr__(self, "grids", MappingProxyType({str(k).lower(): v for k, v in self.grids.items()}))


@dataclass(frozen=True)
class Model:
    """Bybit's portfolio margin."""

    params: Params
    parameter_set: ParameterSet = field(default_factory=ParameterSet)
    model_id: str = field(default="bybit_pm", init=False)
    traits: Traits = field(
        default=Traits(proportional=("scan", "short_options", "futures"), ours=(CHARGE,)), init=False
    )

    def scenario_set(self, market: MarketRows) -> ScenarioSet:
        """The grid of every underlying; ConfigError where one has none, with all else that is not given."""
        rates = partial(grid_units.given, self.params, (*NEEDED, "coin_haircut"), VENUE)
        moves: ScenarioSet
        (moves,) = gather((partial(grid_units.scenario_set, self.params.grids, market),), (self._check_spreads, rates))
        return moves

    def not_covered(self, arrays: RiskArrays) -> StrArray:
        """(N,) options with early exercise and contracts on stocks; what lacks parameters is refused."""
        return european_on_coins(arrays, "Bybit")

    def debts_covered(self, arrays: RiskArrays) -> BoolArray:
        """(N,) dollars, where the margin currency is one, and coins that rise in some scenario."""
        return is_own_money(arrays) | moved_assets(arrays)

    def haircut(self, arrays: RiskArrays) -> FloatArray:
        """(N,) that of coins; ConfigError where it is not given."""
        (share,) = grid_units.given(self.params, ("coin_haircut",), VENUE)
        return grid_units.haircuts_of_coins(arrays, share)

    def requirement(
        self, book: Book, arrays: RiskArrays, *, backend: str = "numba", threads: int | None = None
    ) -> Requirement:
        """Requirement of every account."""
        rows = self._rows(arrays)
        found = risk_units.requirement(book, arrays, rows, self._charges, backend=backend, threads=threads)
        view, factors = self._currencies(arrays), self._factors
        return with_currency_debts(found, book, arrays, view, factors, backend=backend, threads=threads)

    def order_excess(self, arrays: RiskArrays, reach: Reach) -> tuple[Excess, ...]:
        """A ceiling of what debts cost; the scan and the contingencies are never more together than apart."""
        debts = debts_ceiling(arrays, self._currencies(arrays), reach, self._factors[0])
        return (Excess(np.zeros(len(arrays)), {CHARGE: debts}),)

    def contributions(self, book: Book, arrays: RiskArrays) -> list[Contribution]:
        """The scan position by position, the contingencies by underlying."""
        lines = risk_units.contributions(book, arrays, self._rows(arrays), self._charges)
        return lines + currency_debt_lines(book, arrays, self._currencies(arrays), self._factors)

    @property
    def _factors(self) -> tuple[float, float]:
        (initial,) = grid_units.given(self.params, ("initial_factor",), VENUE)
        return float(initial), 1.0

    def _currencies(self, arrays: RiskArrays) -> CurrencyCells:
        """Coins beside the scan, in the price moves of the grid."""
        coins = [coin_of(str(name)) for name in arrays.underlying_id]
        return cells_in_dollars(arrays, arrays.rows, coins, self.haircut(arrays), is_own_money(arrays))

    def _charges(self, units: Units) -> dict[str, FloatArray]:
        factor = self.params.initial_factor
        parts = {
            "scan": units.scan,
            "short_options": np.maximum(-units.net[:, 0], 0.0),
            "futures": units.gross[:, 0],
        }
        return {name: values[:, None] * [factor, 1.0] for name, values in parts.items()}

    def _check_spreads(self) -> None:
        if self.params.spreads != "left_out":
            raise ConfigError(
                "spreads: the contingencies for spreads of vega, delta and stablecoins could not be read in full; "
                "give spreads=left_out to compute the margin without them"
            )

    def _rows(self, arrays: RiskArrays) -> UnitRows:
        _, (coefficient, futures, _) = gather(
            (self._check_spreads, lambda: grid_units.given(self.params, NEEDED, VENUE))
        )
        value, option = spot_value(arrays), arrays.kind == Kind.OPTION
        net = np.column_stack([arrays.pnl, np.where(option, coefficient * value, 0.0)])
        size = whole_ticks(np.where(option, 0.0, futures * value)[:, None], arrays)
        return UnitRows(whole_ticks(net, arrays), size, np.zeros_like(size), len(arrays.scenario_set))
