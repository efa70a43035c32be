"""The parts of a dynamic requirement by position, expiry and bucket, in exact decimals."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal, localcontext

import numpy as np

from portfolio_margin.book import Book
from portfolio_margin.charges import short_option_rows
from portfolio_margin.contributions import exact_amounts, position_line, position_ticks, underlying_name
from portfolio_margin.dynamic.assets import Asset, both_sides
from portfolio_margin.dynamic.closing import Closing, Part
from portfolio_margin.dynamic.moves import TIERS
from portfolio_margin.dynamic.tier_losses import worst_by_tier
from portfolio_margin.requirement import EXACT, Contribution
from pricing.arrays import FloatArray, IntArray
from scenarios.risk_arrays import RiskArrays

FLOOR = "short_option_minimum"


@dataclass(frozen=True)
class _Account:
    """What lines of one account are made of: its book, the arrays, factors of initial and maintenance margin.

    held  (P,) quantities that the lines name, where those of the book are what counts of them; None for the same
    """

    book: Book
    arrays: RiskArrays
    factors: tuple[float, float]
    held: FloatArray | None = None

    def of_positions(
        self, charge: str, ticks: FloatArray, rows: IntArray, name: str, scenario: str = "", times: float = 1.0
    ) -> list[Contribution]:
        """A line for every row of the book that adds to a charge: ticks (P,) times a factor."""
        lines = []
        for p in rows[ticks[rows] != 0.0]:
            amounts = exact_amounts(Decimal(float(ticks[p])) * Decimal(times), self.arrays, self.factors)
            line = position_line(self.book, self.arrays, int(p), charge, amounts, netting_set=name, scenario=scenario)
            lines.append(line if self.held is None else replace(line, quantity=float(self.held[p])))
        return lines

    def of_set(self, charge: str, ticks: float | Decimal, name: str, text: str) -> list[Contribution]:
        """A line of a whole netting set, none where it is 0."""
        amounts = exact_amounts(ticks, self.arrays, self.factors)
        return [Contribution(charge, name, "", text, 0.0, "", *amounts)] if ticks else []

    def underlyings(self) -> Iterator[tuple[int, IntArray, str]]:
        """Underlying, -1 for what none moves, its rows of the book and its name."""
        owner = self.arrays.underlying_idx[self.book.instrument_idx]
        for u in np.unique(owner):
            here = np.flatnonzero(owner == u)
            yield int(u), here, underlying_name(self.arrays, int(self.book.instrument_idx[here[0]]))


def contribution_lines(
    book: Book,
    arrays: RiskArrays,
    haircut: FloatArray,
    closing: Closing,
    assets: Mapping[str, Asset],
    short_option_minimum: float,
    factors: tuple[float, float],
) -> list[Contribution]:
    """Lines of the one account of `book`; arguments as the model has them, haircut (N,)."""
    account = _Account(book, arrays, factors)
    sides = both_sides(book, arrays, haircut, assets)
    initial, maintenance = factors
    # Where collateral counts otherwise for the two margins, each has lines of its own, with nothing in the other.
    seen = [(sides.initial, (initial, 0.0), (1.0, 0.0)), (sides.maintenance, (0.0, maintenance), (0.0, 1.0))]
    seen = [(sides.initial, factors, (1.0, 1.0))] if sides.alike else seen
    lines: list[Contribution] = []
    with localcontext(EXACT):
        for side, rates, ones in seen:
            found, scanned = _tier_lines(_Account(side.book, arrays, rates, book.quantity), haircut)
            lines += found + _floor_lines(_Account(book, arrays, rates), short_option_minimum, scanned)
            for charge, amounts in (("collateral_limit", side.limit), ("depeg", side.depeg)):
                lines += _asset_lines(_Account(book, arrays, ones), charge, amounts)
        lines += _near_expiry_lines(account, closing)
        return lines + _closing_lines(account, closing)


def _tier_lines(account: _Account, haircut: FloatArray) -> tuple[list[Contribution], Decimal]:
    """Lines of the four tiers, and the sum of their ticks."""
    arrays = account.arrays
    product = position_ticks(account.book, arrays, haircut=haircut)
    lines: list[Contribution] = []
    total = Decimal(0)
    for _, here, name in account.underlyings():
        loss, where = worst_by_tier(product[here].sum(axis=0)[None, :], arrays.scenario_set.tier)
        before, narrower = 0.0, np.zeros(len(product))
        for charge, now, column in zip(TIERS, loss[0], where[0], strict=True):
            if now > before:
                label = str(arrays.scenario_set.label[column])
                # What a position loses in the wider moves beyond what it has lost in the narrower ones.
                lines += account.of_positions(charge, narrower - product[:, column], here, name, label)
                before, narrower = float(now), product[:, column]
        total += Decimal(before)
    return lines, total


def _floor_lines(account: _Account, rate: float, scanned: Decimal) -> list[Contribution]:
    rows = short_option_rows(account.arrays, rate)
    charged = np.maximum(-position_ticks(account.book, account.arrays, rows[:, None])[:, 0], 0.0)
    if sum((Decimal(float(value)) for value in charged), Decimal(0)) <= scanned:
        return []
    lines = account.of_positions(FLOOR, charged, np.arange(len(charged)), "account")
    return lines + account.of_set(FLOOR, -scanned, "account", "less worst losses")


def _asset_lines(account: _Account, charge: str, amounts: FloatArray) -> list[Contribution]:
    """Lines of amounts (P,) in margin currency."""
    lines: list[Contribution] = []
    for _, here, name in account.underlyings():
        lines += account.of_positions(charge, amounts / account.arrays.tick_size, here, name)
    return lines


def _near_expiry_lines(account: _Account, closing: Closing) -> list[Contribution]:
    product = position_ticks(account.book, account.arrays, closing.gap_rows[:, None])[:, 0]
    expiry = account.arrays.expiry_idx[account.book.instrument_idx]
    lines: list[Contribution] = []
    for _, here, name in account.underlyings():
        for x in np.unique(expiry[here]):
            rows = here[expiry[here] == x]
            if product[rows].sum() < 0.0:
                lines += account.of_positions("near_expiry", -product, rows, name)
    return lines


def _closing_lines(account: _Account, closing: Closing) -> list[Contribution]:
    arrays = account.arrays
    if not len(closing.states):
        return []
    product = position_ticks(account.book, arrays, closing.net_rows)
    gross = closing.gross(account.book, backend="numpy", threads=1)
    legs = closing.curve(account.book, backend="numpy", threads=1).legs
    lines: list[Contribution] = []
    for u, here, name in account.underlyings():
        if u < 0:
            continue
        part = closing.part(product[here].sum(axis=0)[None, :], np.array([u]), gross[0, [u]], legs[0, [u]])
        column, more = int(part.column[0]), float(part.multiplier[0] - 1.0)
        if part.loss[0] > 0.0 and more > 0.0:
            label = str(arrays.scenario_set.label[column])
            lines += account.of_positions("concentration", -product[:, column], here, name, label, more)
        lines += _cost_lines(account, closing, part, name)
        lines += _basis_lines(account, closing, u, here, name)
    return lines


def _basis_lines(account: _Account, closing: Closing, u: int, here: IntArray, name: str) -> list[Contribution]:
    """The turn of all annualised bases alike, and the move of every forward by itself."""
    arrays = account.arrays
    rate_move, move = (float(moves[u]) for moves in closing.basis_moves)
    delta = position_ticks(account.book, arrays, closing.delta_rows[:, None])[here, 0]
    expiry = arrays.expiry_idx[account.book.instrument_idx[here]]
    sums = {int(x): float(delta[expiry == x].sum()) for x in np.unique(expiry)}
    turn = sum(float(arrays.years_to_expiry[x]) * ticks for x, ticks in sums.items() if x >= 0)
    lines = account.of_set("basis", rate_move * abs(turn), name, f"all forwards of {name}, by their time to expiry")
    for x, ticks in sums.items():
        lines += account.of_set(
            "basis", move * abs(ticks), name, f"forward of {arrays.expiry_name[x]} against the others"
        )
    return lines


def _cost_lines(account: _Account, closing: Closing, part: Part, name: str) -> list[Contribution]:
    lines = account.of_set("liquidity", float(part.hedge[0]), name, f"delta of {name}")
    lines += account.of_set("liquidity", float(part.legs[0]), name, f"futures of {name} against other contracts")
    width = len(closing.cost.deltas)
    for k, cost in enumerate(part.options[0]):
        days, delta = closing.cost.days[k // width], closing.cost.deltas[k % width]
        lines += account.of_set("liquidity", float(cost), name, f"vega of {name} near {days:g} days, delta {delta:g}")
    return lines
