"""A margin model that uses everything a model may: its own scenarios, several charges, a credit, groups, a gap.

scan   = sum over expiries of the worst loss among the price scenarios, each expiry on its own
tilt   = sum over expiries of the worst loss among skew and basis scenarios
length = short_rate x notional of short options whose time to expiry is above `long_days`
credit = - credit_share of the scan of expiries beyond the first of each account
The model has no rule for spot assets, and none for futures where futures are off.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal, localcontext

import numpy as np

from portfolio_margin.blocks import Block, blocks
from portfolio_margin.book import Book
from portfolio_margin.collateral import haircuts, moved_assets
from portfolio_margin.contributions import exact_amounts, position_line, position_ticks
from portfolio_margin.requirement import EXACT, Contribution, ParameterSet, Requirement, Traits
from pricing import Kind
from pricing.arrays import DAYS_PER_YEAR, BoolArray, FloatArray, StrArray
from scenarios import RiskArrays, ScenarioSet, VolDynamics
from scenarios.shocks import MarketRows, Skew, check_bounds, make

PRICES = 5


@dataclass(frozen=True)
class Params:
    """price_range 0.01 to 0.9, initial_factor 1 to 3, short_rate 0 to 1, credit_share 0 to 0.5, long_days 0 to 1000."""

    price_range: float = 0.15
    initial_factor: float = 1.3
    short_rate: float = 0.01
    credit_share: float = 0.25
    long_days: float = 30.0
    futures: str = "on"

    def __post_init__(self) -> None:
        bounds = {"price_range": (0.01, 0.9), "initial_factor": (1.0, 3.0), "short_rate": (0.0, 1.0)}
        check_bounds(self, {**bounds, "credit_share": (0.0, 0.5), "long_days": (0.0, 1000.0)})
        if self.futures not in ("on", "off"):
            from pricing import ConfigError

            raise ConfigError(f"futures = {self.futures!r}: must be on or off")


@dataclass(frozen=True)
class Model:
    """The model; see the module."""

    params: Params = field(default_factory=Params)
    parameter_set: ParameterSet = field(default_factory=ParameterSet)
    model_id: str = field(default="toy_model", init=False)
    traits: Traits = field(default=Traits(proportional=("scan", "tilt", "length"), credits=("credit",)), init=False)

    def scenario_set(self, market: MarketRows) -> ScenarioSet:
        """Five prices, two tilts, a move of dated forwards alone."""
        prices = np.linspace(-1, 1, PRICES) * self.params.price_range
        return make(
            [*(f"P{100 * move:+.1f}" for move in prices), "linear", "absolute", "basis"],
            np.append(prices, np.zeros(3)),
            dynamics=VolDynamics(linear_cap=0.25, absolute_cap=0.2, absolute_cap_slope=-0.1, skew_width_vol=0.6),
            skew=np.array([Skew.NONE] * PRICES + [Skew.LINEAR, Skew.ABSOLUTE, Skew.NONE]),
            basis_move=np.append(np.zeros(PRICES + 2), 0.02),
        )

    def not_covered(self, arrays: RiskArrays) -> StrArray:
        """(N,) reasons."""
        off = (arrays.kind == Kind.FUTURE) & (self.params.futures == "off")
        text = np.where(off, "futures are off", "")
        return np.where(arrays.kind == Kind.SPOT, "no rule for spot", text)

    def debts_covered(self, arrays: RiskArrays) -> BoolArray:
        """(N,) coins, which move in the scenarios."""
        return moved_assets(arrays)

    def haircut(self, arrays: RiskArrays) -> FloatArray:
        """(N,) 5 % of coins."""
        return haircuts(arrays, 0.05, {})

    def requirement(
        self, book: Book, arrays: RiskArrays, *, backend: str = "numba", threads: int | None = None
    ) -> Requirement:
        """Requirement of every account, block after block."""
        totals = {name: np.zeros(len(book)) for name in ("scan", "tilt", "length", "credit")}
        worst = np.full(len(book), -1)
        rows = np.column_stack([arrays.rows, self._length_rows(arrays)])
        for block in self._blocks(book, arrays, rows, backend, threads):
            here = slice(block.first, block.last)
            scan, scenario = _worst(block.ticks[:, :PRICES])
            tilt, _ = _worst(block.ticks[:, PRICES:-1])
            later = np.append(False, np.diff(block.account) == 0) if len(scan) else np.zeros(0, bool)
            totals["scan"][here] = block.by_account(scan)
            totals["tilt"][here] = block.by_account(tilt)
            totals["credit"][here] = -block.by_account(np.where(later, scan, 0.0))
            order = np.lexsort((-np.arange(len(scan)), scan))
            order = order[scan[order] > 0]
            worst[block.first + block.account[order]] = scenario[order]
        for block in self._blocks(self._short(book, arrays), arrays, rows[:, -1:], backend, threads):
            totals["length"][block.first : block.last] = -block.by_account(block.ticks[:, 0])
        factors = np.array([self.params.initial_factor, 1.0])
        share = {"credit": self.params.credit_share}
        charges = {
            name: (ticks * share.get(name, 1.0) * arrays.tick_size)[:, None] * factors + 0.0
            for name, ticks in totals.items()
        }
        total = sum(charges.values())
        return Requirement(total[:, 0], total[:, 1], worst, charges)

    def contributions(self, book: Book, arrays: RiskArrays) -> list[Contribution]:
        """Every expiry in its own worst scenario; short options; the credit by expiry."""
        lines: list[Contribution] = []
        product = position_ticks(book, arrays)
        short = position_ticks(book, arrays, self._length_rows(arrays)[:, None])[:, 0]
        option = (arrays.kind == Kind.OPTION)[book.instrument_idx]
        factors, seen = (self.params.initial_factor, 1.0), 0
        with localcontext(EXACT):
            for first, last in zip(book.group_ptr[:-1], book.group_ptr[1:], strict=True):
                for name, columns in (("scan", slice(0, PRICES)), ("tilt", slice(PRICES, None))):
                    loss, where = _worst(product[first:last, columns].sum(axis=0)[None, :])
                    column = int(where[0]) + (columns.start or 0)
                    for position in range(first, last) if loss[0] > 0 else ():
                        amounts = exact_amounts(-float(product[position, column]), arrays, factors)
                        label = str(arrays.scenario_set.label[column])
                        lines.append(position_line(book, arrays, position, name, amounts, scenario=label))
                    if name == "scan" and seen and loss[0] > 0:
                        share = Decimal(repr(self.params.credit_share))
                        amounts = exact_amounts(-Decimal(float(loss[0])) * share, arrays, factors)
                        lines.append(Contribution("credit", "account", str(first), "later expiry", 0.0, "", *amounts))
                seen += 1
            for position in np.flatnonzero(option & (book.quantity < 0) & (short != 0)):
                amounts = exact_amounts(-float(short[position]), arrays, factors)
                lines.append(position_line(book, arrays, int(position), "length", amounts))
        return lines

    def _blocks(
        self, book: Book, arrays: RiskArrays, rows: FloatArray, backend: str, threads: int | None
    ) -> Iterator[Block]:
        # Small, so that the tests see more than one block.
        return blocks(book, arrays, rows, by="expiry", backend=backend, threads=threads, numbers=500)

    def _length_rows(self, arrays: RiskArrays) -> FloatArray:
        far = arrays.years_to_expiry * DAYS_PER_YEAR > self.params.long_days
        charged = (arrays.kind == Kind.OPTION) & far[np.maximum(arrays.expiry_idx, 0)]
        rows = self.params.short_rate * arrays.notional * arrays.unit / arrays.tick_size
        return np.where(charged, np.ceil(rows), 0.0)

    def _short(self, book: Book, arrays: RiskArrays) -> Book:
        option = (arrays.kind == Kind.OPTION)[book.instrument_idx]
        return book.keep(option & (book.quantity < 0))


def _worst(ticks: FloatArray) -> tuple[FloatArray, np.ndarray]:
    """(R,) worst loss, 0 or more, and its column."""
    scenario = np.argmin(ticks, axis=1)
    return np.maximum(-ticks[np.arange(len(ticks)), scenario], 0.0), scenario
