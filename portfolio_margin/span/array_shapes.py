"""Arrays that no contract has: a value that contradicts those of the scenarios beside it.

Settlement prices are no measure of this: Takasbank computes arrays from theoretical values, which leave the settlement
price by up to a scan range. What one array says in its 16 scenarios must be the value of one contract, though:

- a call is worth no less at a higher price, a put no less at a lower one, and either no less at a higher vol;
- between two prices none gains or loses more than the price moves, times what carry can add to it;
- a future gains what its price moves.

Sources: Merton (1973), "Theory of rational option pricing", theorems 1, 2, 4 and 8: bounds that need no model.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from portfolio_margin.span.contracts import ContractView
from portfolio_margin.span.tables import FUTURES_LIKE, SCENARIOS, RiskParameterFile
from pricing.arrays import BoolArray, FloatArray, IntArray

# A move of the spot carried to an expiry is a larger one of the future: in NSE's arrays 1.0007 of the scan range.
CARRY = 1.25
# Of the scan range, what trees and single precision leave: 3e-7 in Takasbank's arrays.
NOISE = 0.01
# Arrays that are looked at together, so that they stay in the caches.
BLOCK = 4096
# Decimals that are looked for, where the file states none, to find out what an array is rounded to.
DECIMALS = range(7)


class Misshapen(NamedTuple):
    """An array value that cannot be: row of the arrays, scenario from 1, the value, and why."""

    row: int
    scenario: int
    value: float
    remedy: str


class _Scenarios(NamedTuple):
    """Moves of the price and the vol, in scan ranges, and weights, (16,) each; and pairs that are enough to compare."""

    price: FloatArray
    vol: FloatArray
    weight: FloatArray
    neighbours: list[tuple[int, int]]


class _Arrays(NamedTuple):
    """Some arrays of one kind, scenarios first.

    row     (R,) of the arrays
    value   (16,R) change of the value of one contract, without the weight of the scenario
    move    (16,R) change of the price in money; in scan ranges where the file states none
    scaled  (R,) whether it is money
    slack   (16,R) what rounding and noise leave of a value
    worth   (R,) the price of the contract in money
    """

    row: IntArray
    value: FloatArray
    move: FloatArray
    scaled: BoolArray
    slack: FloatArray
    worth: FloatArray


def misshapen(file: RiskParameterFile) -> list[Misshapen]:
    """One finding for every array with values that contradict each other, about the value that does so most."""
    if not len(file.arrays) or not np.isfinite(file.arrays.loss).all():
        return []
    view, points = ContractView(file), file.scan_points
    commodity = view.commodity[file.arrays.contract_idx]
    found: list[Misshapen] = []
    own = [int(c) for c in np.unique(points.commodity_idx) if c >= 0]
    for owner in (*own, -1):
        rows = np.flatnonzero(points.commodity_idx == owner)[:SCENARIOS]
        mine = np.flatnonzero(commodity == owner if owner >= 0 else ~np.isin(commodity, own))
        if len(rows) == SCENARIOS and len(mine):
            moves = (points.price[rows], points.vol[rows], points.weight[rows])
            found += _of(file, view, mine, _Scenarios(*moves, _neighbours(*moves)))
    return sorted(found)


def _of(file: RiskParameterFile, view: ContractView, rows: IntArray, scenarios: _Scenarios) -> list[Misshapen]:
    contract = file.arrays.contract_idx[rows]
    right = file.contracts.right[contract]
    future = np.isin(file.families.kind, FUTURES_LIKE)[view.family[contract]]
    found: list[Misshapen] = []
    with np.errstate(invalid="ignore", over="ignore"):
        for kind, wanted in (("C", right == "C"), ("P", right == "P"), ("F", future)):
            # To what digit an array is rounded is looked up only where it matters.
            chosen = rows[wanted]
            parts = [chosen[first : first + BLOCK] for first in range(0, len(chosen), BLOCK)]
            bad = [_contradictory(_arrays(file, view, part, scenarios, rounded=False), scenarios, kind)
                   for part in parts]  # fmt: skip
            chosen = chosen[np.concatenate(bad)] if bad else chosen
            if len(chosen):
                found += _worst_of_each(_arrays(file, view, chosen, scenarios, rounded=True), scenarios, kind)
    return found


def _arrays(
    file: RiskParameterFile, view: ContractView, rows: IntArray, scenarios: _Scenarios, *, rounded: bool
) -> _Arrays:
    arrays = file.arrays
    contract = arrays.contract_idx[rows]
    up, down = _scan_ranges(file, arrays.rate[rows], file.contracts.period_idx[contract])
    known = up > 0
    up, down = (np.where(known, scan, 1.0) for scan in (up, np.where(down > 0, down, up)))
    price_move = scenarios.price[:, None]
    move = price_move * np.where(price_move > 0, up, down)
    loss = arrays.loss[rows]
    weight = np.where(scenarios.weight > 0, scenarios.weight, np.nan)[:, None]
    slack = NOISE * np.where(known, up, 0.0) + (_last_digits(file, view, contract, loss) if rounded else 0.0)
    value = np.ascontiguousarray(loss.T) / -weight
    return _Arrays(rows, value, move, known, slack / weight, file.contracts.price[contract] * view.factor[contract])


def _scan_ranges(file: RiskParameterFile, rate: IntArray, period: IntArray) -> tuple[FloatArray, FloatArray]:
    """(R,) money, up and down, of the rate of each array in its period; NaN where none is stated."""
    scans = file.scan_rates
    up, down = np.full(len(rate), np.nan), np.full(len(rate), np.nan)
    for number in np.unique(rate).tolist():
        of_period = np.full(len(file.periods), -1, dtype=np.int64)
        stated = np.flatnonzero(scans.rate == number)
        of_period[scans.period_idx[stated]] = stated
        row = of_period[period]
        mine = (rate == number) & (row >= 0)
        up[mine], down[mine] = scans.price_scan[row[mine]], scans.price_scan_down[row[mine]]
    return up, down


def _last_digits(file: RiskParameterFile, view: ContractView, contract: IntArray, loss: FloatArray) -> FloatArray:
    """(R,) unit that losses are rounded to: as the family states, else the one that all of the array are whole in."""
    stated = np.full(len(file.families), np.nan)
    texts = file.links.array_precision.tolist()
    stated[file.links.family_idx] = [float(text) if text.lstrip("-").isdigit() else np.nan for text in texts]
    unit = 10.0 ** -stated[view.family[contract]]
    found = np.zeros(len(contract))
    for decimals in reversed(DECIMALS):
        whole = np.all(np.abs(np.round(loss, decimals) - loss) <= 1e-9 * np.maximum(np.abs(loss), 1.0), axis=1)
        found = np.where(whole, 10.0**-decimals, found)
    return np.where(np.isnan(unit), found, unit)


def _contradictory(arrays: _Arrays, scenarios: _Scenarios, kind: str) -> BoolArray:
    """(R,) whether two scenarios of an array cannot both be true."""
    bad = np.zeros(len(arrays.row), dtype=bool)
    for one, other in scenarios.neighbours:
        bad |= _contradict(arrays, scenarios, kind, one, other)
    return bad


def _worst_of_each(arrays: _Arrays, scenarios: _Scenarios, kind: str) -> list[Misshapen]:
    """Of every contradictory array the scenario that contradicts most others, of several the largest by size."""
    counts = np.zeros(arrays.value.shape)
    for one in range(SCENARIOS):
        for other in range(SCENARIOS):
            bad = _contradict(arrays, scenarios, kind, one, other)
            counts[one] += bad
            counts[other] += bad
    what = {"C": "a call", "P": "a put", "F": "a future"}[kind]
    remedy = f"contradicts the other values: {what} moves with its price, and by no more than the price"
    found = []
    for row in np.flatnonzero(counts.any(axis=0)).tolist():
        most = np.flatnonzero(counts[:, row] == counts[:, row].max())
        scenario = int(most[np.argmax(np.abs(arrays.value[most, row]))])
        loss = float(-arrays.value[scenario, row] * scenarios.weight[scenario])
        found.append(Misshapen(int(arrays.row[row]), scenario + 1, loss, remedy))
    return found


def _contradict(arrays: _Arrays, scenarios: _Scenarios, kind: str, one: int, other: int) -> BoolArray:
    """(R,) whether the value in one scenario is too low beside that in another of no higher vol, or for a future."""
    gain = arrays.value[one] - arrays.value[other]
    slack = arrays.slack[one] + arrays.slack[other]
    move = arrays.move[one] - arrays.move[other]
    if kind == "F":
        # A price does not fall below 0 in a scenario, where it was above.
        least = np.minimum(np.abs(move), _floored(arrays, one, other)) * np.sign(move) / CARRY
        off = (gain - np.where(move > 0, least, CARRY * move) < -slack) | (
            gain - np.where(move > 0, CARRY * move, least) > slack
        )
        return np.asarray(off & arrays.scaled)
    toward = move if kind == "C" else -move
    fall = np.where(arrays.scaled, CARRY * np.maximum(-toward, 0.0), np.where(toward < 0, np.inf, 0.0))
    if scenarios.vol[one] < scenarios.vol[other]:
        return np.zeros(len(gain), dtype=bool)
    return np.asarray(gain < -fall - slack)


def _floored(arrays: _Arrays, one: int, other: int) -> FloatArray:
    """(R,) money between the prices of two scenarios, where none is below 0."""
    price = np.where(arrays.worth > 0, arrays.worth, np.inf)
    return np.abs(np.maximum(arrays.move[one], -price) - np.maximum(arrays.move[other], -price))


def _neighbours(price: FloatArray, vol: FloatArray, weight: FloatArray) -> list[tuple[int, int]]:
    """Pairs of scenarios with none between them, by price and vol: the others follow from these."""
    # (16,16,16): one scenario, another of no higher vol, and what may stand between them.
    one, other = (np.s_[:, None, None], np.s_[None, :, None])
    low, high = np.minimum(price[one], price[other]), np.maximum(price[one], price[other])
    between = (low <= price) & (price <= high) & (vol[other] <= vol) & (vol <= vol[one])
    alike = (price == price[one]) & (vol == vol[one]) | (price == price[other]) & (vol == vol[other])
    chosen = (vol[:, None] >= vol) & ~(between & ~alike).any(axis=2) & (weight[:, None] > 0) & (weight > 0)
    np.fill_diagonal(chosen, False)
    return [(one_row, other_row) for one_row, other_row in np.argwhere(chosen).tolist()]
