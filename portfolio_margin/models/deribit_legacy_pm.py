"""deribit_legacy_pm: Deribit's portfolio margin before the risk matrix, for backtests; all its numbers are parameters.

per coin, in coin: worst loss over prices and vols + contingencies
vol shock      (30 / days)^vega_power x vol_range, up and down
short options  coins per option sold net, calls and puts of one strike and expiry netted first
all options    share of the coins of all options, long and short
futures        share of what futures of different expiries offset: the smaller of all long and all short

Source: docs/models/deribit_legacy_pm.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import localcontext

import numpy as np

from portfolio_margin import risk_units
from portfolio_margin.balances_owed import CHARGE
from portfolio_margin.book import Book
from portfolio_margin.collateral import segregated_assets
from portfolio_margin.contributions import exact_amounts
from portfolio_margin.currency_debts import (
    CurrencyCells,
    cells_by_currency,
    coins_or_money,
    currency_debt_lines,
    with_currency_debts,
)
from portfolio_margin.deribit_matrix import coin_of
from portfolio_margin.deribit_vectors import in_ticks, no_segregated_rule, own_currency
from portfolio_margin.order_bounds import Excess, Reach, debts_ceiling
from portfolio_margin.requirement import EXACT, Contribution, ParameterSet, Requirement, Traits
from portfolio_margin.risk_units import UnitRows, Units, spot_value, whole_ticks
from pricing.arrays import BoolArray, FloatArray, StrArray
from pricing.errors import ConfigError
from pricing.instruments import Kind
from scenarios.risk_arrays import RiskArrays
from scenarios.shocks import MarketRows, ScenarioSet, VolDynamics, check_bounds, make, product


@dataclass(frozen=True)
class Params:
    """Parameters; eras differ in all of them, see the model's page.

    price_range        largest price move, 0.01 to 0.9
    vol_range          relative vol shock at 30 days, 0 to 5
    vega_power         of 30 / days, 0 to 1
    initial_factor     initial margin per unit of maintenance margin, 1 to 5
    short_option_rate  coins per coin of options sold net by strike, 0 to 1
    option_rate        coins per coin of options, long and short, 0 to 1
    futures_rate       coins per coin of futures that offset each other, 0 to 1
    buckets            price moves on each side, 1 to 50
    """

    price_range: float
    vol_range: float
    vega_power: float
    initial_factor: float
    short_option_rate: float
    option_rate: float
    futures_rate: float
    buckets: int = 4

    def __post_init__(self) -> None:
        shares = ("vega_power", "short_option_rate", "option_rate", "futures_rate")
        bounds = {"price_range": (0.01, 0.9), "vol_range": (0.0, 5.0), "initial_factor": (1.0, 5.0)}
        check_bounds(self, {**bounds, **dict.fromkeys(shares, (0.0, 1.0)), "buckets": (1, 50)})
        if self.buckets != int(self.buckets):
            raise ConfigError(f"buckets = {self.buckets!r}: must be a whole number")


@dataclass(frozen=True)
class Model:
    """Deribit's portfolio margin of 2017 to 2022, per coin."""

    params: Params
    parameter_set: ParameterSet = field(default_factory=ParameterSet)
    model_id: str = field(default="deribit_legacy_pm", init=False)
    traits: Traits = field(default=Traits(proportional=("scan", "all_options", "futures"), ours=(CHARGE,)), init=False)

    def scenario_set(self, market: MarketRows) -> ScenarioSet:
        """Prices from the lowest, vols up, the same and down."""
        steps = np.arange(-self.params.buckets, self.params.buckets + 1) / self.params.buckets
        price, vol, _ = product(steps * self.params.price_range, [1.0, 0.0, -1.0], [0.0])
        names = [
            f"price {100 * p:+.1f}% vol {('down', 'same', 'up')[int(v) + 1]}" for p, v in zip(price, vol, strict=True)
        ]
        powers = VolDynamics(short_power=self.params.vega_power, long_power=self.params.vega_power)
        return make(names, price, vol * self.params.vol_range, dynamics=powers)

    def not_covered(self, arrays: RiskArrays) -> StrArray:
        """(N,) early exercise, contracts on stocks, and assets that no segregated account is of, such as tokens."""
        return no_segregated_rule(arrays)

    def debts_covered(self, arrays: RiskArrays) -> BoolArray:
        """(N,) dollars, where the margin currency is one, and coins that the grid moves."""
        return coins_or_money(arrays, self._currencies(arrays))

    def haircut(self, arrays: RiskArrays) -> FloatArray:
        """(N,) none on the coins accounts are margined in; all of an asset that no segregated account is of."""
        return np.where(segregated_assets(arrays) != "", 1.0, 0.0)

    def requirement(
        self, book: Book, arrays: RiskArrays, *, backend: str = "numba", threads: int | None = None
    ) -> Requirement:
        """Requirement of every account."""
        found = risk_units.requirement(
            book, arrays, self._rows(arrays), self._charges, backend=backend, threads=threads
        )
        strikes = np.zeros(len(book))
        for account, _, _, ticks in self._strikes(book, arrays):
            strikes[account] += ticks
        amounts = (strikes * arrays.tick_size)[:, None] * [self.params.initial_factor, 1.0]
        charges = {**found.charges, "short_options": amounts}
        total = np.sum(list(charges.values()), axis=0)
        required = Requirement(total[:, 0], total[:, 1], found.worst_scenario, charges)
        view, factors = self._currencies(arrays), (float(self.params.initial_factor), 1.0)
        return with_currency_debts(required, book, arrays, view, factors, backend=backend, threads=threads)

    def order_excess(self, arrays: RiskArrays, reach: Reach) -> tuple[Excess, ...]:
        """What a future offsets of another part; a ceiling of what debts cost."""
        future = (arrays.kind != Kind.OPTION) & ~arrays.is_collateral
        offset = self.params.initial_factor * self.params.futures_rate * np.abs(spot_value(arrays))
        debts = debts_ceiling(arrays, self._currencies(arrays), reach, float(self.params.initial_factor))
        return (Excess(np.where(future, offset, 0.0), {CHARGE: debts}),)

    def contributions(self, book: Book, arrays: RiskArrays) -> list[Contribution]:
        """The scan position by position, short options by strike, the other contingencies by coin."""
        lines = risk_units.contributions(book, arrays, self._rows(arrays), self._charges)
        with localcontext(EXACT):
            for _, expiry, strike, ticks in self._strikes(book, arrays):
                amounts = exact_amounts(ticks, arrays, (float(self.params.initial_factor), 1.0))
                name = str(arrays.underlying_id[arrays.terms.expiry_underlying[expiry]])
                place = str(arrays.expiry_name[expiry])
                lines.append(Contribution("short_options", name, place, f"strike {strike:g}", 0.0, "", *amounts))
        factors = (float(self.params.initial_factor), 1.0)
        return lines + currency_debt_lines(book, arrays, self._currencies(arrays), factors)

    def _currencies(self, arrays: RiskArrays) -> CurrencyCells:
        """The scenarios by currency, nothing of what no segregated account is of."""
        moves = np.broadcast_to(arrays.scenario_set.price_move, (arrays.rows.shape[1], len(arrays.underlying_id))).T
        own = in_ticks(own_currency(arrays), arrays)
        coins = [coin_of(str(name)) for name in arrays.underlying_id]
        return cells_by_currency(arrays, own, moves, coins, segregated_assets(arrays) == "")

    def _charges(self, units: Units) -> dict[str, FloatArray]:
        long = np.maximum(units.net_by_expiry[:, 0], 0.0)
        short = np.maximum(-units.net_by_expiry[:, 0], 0.0)
        offset = np.minimum(units.over_expiries(long), units.over_expiries(short))
        parts = {
            "scan": units.scan,
            "all_options": self.params.option_rate * units.gross[:, 0],
            "futures": self.params.futures_rate * offset,
        }
        return {name: values[:, None] * [self.params.initial_factor, 1.0] for name, values in parts.items()}

    def _rows(self, arrays: RiskArrays) -> UnitRows:
        value, option = spot_value(arrays), arrays.kind == Kind.OPTION
        cells = own_currency(arrays) * (arrays.tick_size / arrays.unit)[:, None]
        net = np.column_stack([cells, np.where(option, 0.0, value)])
        gross = whole_ticks(np.where(option, value, 0.0)[:, None], arrays)
        return UnitRows(whole_ticks(net, arrays), gross, np.zeros_like(gross), len(arrays.scenario_set))

    def _strikes(self, book: Book, arrays: RiskArrays) -> Iterator[tuple[int, int, float, float]]:
        """Account, expiry row, strike and charge in ticks of every strike that is sold net."""
        row = book.instrument_idx
        option = np.flatnonzero((arrays.kind == Kind.OPTION)[row] & (book.quantity != 0.0))
        account = np.repeat(np.arange(len(book)), np.diff(book.position_ptr))[option]
        row, quantity = row[option], book.quantity[option]
        strikes, strike = np.unique(arrays.terms.strike[row], return_inverse=True)
        code = (account * len(arrays.expiry_name) + arrays.expiry_idx[row]) * max(len(strikes), 1) + strike
        known, first, place = np.unique(code, return_index=True, return_inverse=True)
        value = spot_value(arrays)[row] * self.params.short_option_rate
        net = np.bincount(place, quantity * value, len(known)) if len(known) else np.zeros(0)
        ticks = np.maximum(-net, 0.0) / arrays.tick_size
        ticks = ticks if arrays.tick is None else np.rint(ticks)
        for k in np.flatnonzero(ticks > 0.0):
            p = first[k]
            yield int(account[p]), int(arrays.expiry_idx[row[p]]), float(strikes[strike[p]]), float(ticks[k])
