"""Spreads: how deltas of contract periods meet, what they are charged inside a commodity, credited between commodities.

Deltas are (D,A): contract periods, the nearest first within a commodity, by accounts; long positive. A leg on side A
takes long deltas and one on side B short ones, and the other way round when the spread is formed a second time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from pricing.arrays import BoolArray, FloatArray, IntArray, StrArray

NEAREST, PROPORTIONAL = "nearest", "proportional"
FLAT, WEIGHTED, PERCENT = "F", "W", "P"
# Risks that differ by less than this share of the losses are alike.
ALIKE = 1e-9


class Leg(NamedTuple):
    """One leg of a spread.

    commodity  -> U
    periods    rows of the deltas it may take
    sign       +1 for side A, -1 for side B
    ratio      deltas per spread
    rate       charge or credit of this leg
    tier       row of the price risks by tier, -1 where that of the commodity counts
    number     of the tier in the file that the leg is on; 0 for all periods, -1 where it is on one
    """

    commodity: int
    periods: IntArray
    sign: float
    ratio: float
    rate: float
    tier: int = -1
    number: int = -1


class Spread(NamedTuple):
    """One spread between deltas.

    method   FLAT money per spread, WEIGHTED share of the price risk of the deltas, PERCENT share of a contract's value
    rate     money per spread (FLAT), share (WEIGHTED), money per spread of the far leg's value (PERCENT). Charges
             inside a commodity, credits between commodities
    legs     two at least, with different deltas each
    """

    method: str
    rate: float
    legs: tuple[Leg, ...]


class FormedSpread(NamedTuple):
    """A spread inside a commodity as accounts have formed it, with one side long; (A,) each.

    direction  +1 where side A is long, -1 where it is short
    spreads    number of spreads
    each       money per spread
    charge     both multiplied, rounded to the unit of money
    taken      by leg, (periods, A) deltas that it takes
    """

    direction: float
    spreads: FloatArray
    each: FloatArray
    charge: FloatArray
    taken: tuple[FloatArray, ...]


class ScanSpread(NamedTuple):
    """A credit by scanning commodities together.

    target, legs  -> U
    rate          (legs + 1,) share of gains that counts, the target's last
    required      (legs + 1,) True where the spread is not formed without the leg, the target's last
    fewest        legs that must be held, 1 at least
    """

    target: int
    legs: tuple[int, ...]
    rate: FloatArray
    required: tuple[bool, ...]
    fewest: int


class SpotCharge(NamedTuple):
    """Charges of one contract period in its delivery month.

    commodity, period  -> U, row of the deltas
    spread, outright   margin currency per delta used in spreads, and per delta left
    """

    commodity: int
    period: int
    spread: float
    outright: float


def spread_name(spread: Spread, period_code: StrArray) -> str:
    """Tiers and periods of its legs, side A against side B: "201604 against 2 x tier 2 (201606..201612)"."""
    sides = []
    for sign in (1.0, -1.0):
        legs = []
        for leg in spread.legs:
            if leg.sign == sign:
                codes = dict.fromkeys(str(period_code[row]) for row in leg.periods[[0, -1]])
                periods = "..".join(codes)
                place = periods if leg.number < 1 else f"tier {leg.number} ({periods})"
                legs.append(("" if leg.ratio == 1.0 else f"{leg.ratio:g} x ") + place)
        sides.append(" and ".join(legs))
    return " against ".join(side for side in sides if side)


def months_paired(spread: Spread, formed: FormedSpread, account: int, period_code: StrArray) -> str:
    """Deltas by month that one account has paired, long against short, and what a spread costs:
    "2 of 201604 and 1 of 201605 against 3 of 201606, 11 each"."""
    sides: dict[float, list[str]] = {1.0: [], -1.0: []}
    for leg, taken in zip(spread.legs, formed.taken, strict=True):
        for period in np.flatnonzero(taken[:, account]).tolist():
            month = str(period_code[leg.periods[period]])
            sides[leg.sign * formed.direction].append(f"{taken[period, account]:g} of {month}")
    paired = " against ".join(" and ".join(months) for months in sides.values() if months)
    return f"{paired}, {formed.each[account]:.6g} each"


def rounded(amount: FloatArray, unit: float) -> FloatArray:
    """Amounts rounded to whole units of money, halves away from 0; as they are where the unit is 0."""
    if unit == 0.0:
        return amount
    return np.sign(amount) * np.floor(np.abs(amount) / unit + 0.5) * unit


def form_intra_spreads(
    left: FloatArray, spreads: Sequence[Spread], weighted: FloatArray, attribution: str, unit: float = 0.0
) -> tuple[FloatArray, FloatArray]:
    """Charge of the spreads inside commodities, in the order given.

    left         (D,A) deltas left, changed in place
    weighted     (U,A) price risk of one delta
    attribution  "nearest" takes the deltas of a tier from its nearest periods first, "proportional" from all alike
    unit         money that the charge of each spread is rounded to, 0 for none

    Returns the charge (U,A) and the deltas used (D,A), not negative.
    """
    charge, used = np.zeros(weighted.shape), np.zeros(left.shape)
    for spread in spreads:
        for formed in formed_spreads(left, spread, weighted, attribution, unit):
            for leg, taken in zip(spread.legs, formed.taken, strict=True):
                used[leg.periods] += taken
            charge[spread.legs[0].commodity] += formed.charge
    return charge, used


def formed_spreads(
    left: FloatArray, spread: Spread, weighted: FloatArray, attribution: str, unit: float = 0.0
) -> Iterator[FormedSpread]:
    """The spreads of one kind, side A long and then short; arguments as of `form_intra_spreads`."""
    for direction in (1.0, -1.0):
        count = _gross_count(left, spread, direction)
        if count.any():
            taken = tuple(_take(left, leg, direction, count, attribution) for leg in spread.legs)
            price_risk = weighted[spread.legs[0].commodity] if spread.method == WEIGHTED else np.ones(len(count))
            each = spread.rate * price_risk
            yield FormedSpread(direction, count, each, rounded(count * each, unit), taken)


def formed_between(
    left: FloatArray, spread: Spread, free: BoolArray, attribution: str
) -> Iterator[tuple[FloatArray, tuple[FloatArray, ...]]]:
    """Spreads between commodities from their net deltas, side A long and then short: their number, and the share that
    they take of the net deltas of each leg, (A,) each.

    left         (D,A) deltas left, changed in place; the net delta of a leg is their sum over its periods
    free         (A,) True where the account may form the spread
    attribution  of deltas to periods
    """
    for direction in (1.0, -1.0):
        count = np.where(free, _net_count(left, spread, direction), 0.0)
        if not count.any():
            continue
        shares = []
        for leg in spread.legs:
            net = np.abs(left[leg.periods].sum(axis=0))
            shares.append(np.where(count > 0.0, count * leg.ratio / np.where(net > 0.0, net, 1.0), 0.0))
            _take(left, leg, direction, count, attribution)
        yield count, tuple(shares)


def spot_charges(left: FloatArray, used: FloatArray, charges: Sequence[SpotCharge], commodities: int) -> FloatArray:
    """(U,A) charge of the delivery months: so much per delta left, so much per delta used in spreads."""
    total = np.zeros((commodities, left.shape[1]))
    for charge in charges:
        total[charge.commodity] += np.abs(left[charge.period]) * charge.outright + used[charge.period] * charge.spread
    return total


def scan_together(parts: Sequence[Mapping[int, FloatArray]], rate: FloatArray) -> dict[int, FloatArray]:
    """Losses of commodities scanned together, of whose gains only a share counts, by number of the scan tier.

    parts  of each commodity: number of the tier, 0 where all its months are scanned as one, -> (A,16) losses
    rate   (commodities,) share of gains that counts

    Tiers of one number are scanned together and those of others apart, as they are without a credit. Where only some of
    the commodities have tiers, the others join the tier to whose risk they add most, so that the credit is the least;
    the first of several alike.
    """
    tiers: dict[int, FloatArray] = {}
    whole: FloatArray | None = None
    for own, share in zip(parts, rate, strict=True):
        for number, loss in own.items():
            counted = np.where(loss > 0.0, loss, loss * share)
            if number:
                tiers[number] = tiers[number] + counted if number in tiers else counted
            else:
                whole = counted if whole is None else whole + counted
    if whole is None:
        return tiers
    if not tiers:
        return {0: whole}
    numbers = sorted(tiers)
    added = np.array([_worst(tiers[number] + whole) - _worst(tiers[number]) for number in numbers])
    # The nearest of several alike, whatever the last digits of sums say.
    most = added.max(axis=0) - ALIKE * np.abs(whole).max(axis=1)
    chosen = np.argmax(added >= most, axis=0)
    return {
        number: np.where((chosen == place)[:, None], tiers[number] + whole, tiers[number])
        for place, number in enumerate(numbers)
    }


def _worst(loss: FloatArray) -> FloatArray:
    worst: FloatArray = np.maximum(loss.max(axis=1), 0.0)
    return worst


def _gross_count(left: FloatArray, spread: Spread, direction: float) -> FloatArray:
    """(A,) spreads that can be formed from the deltas of one sign in each leg's periods."""
    count = np.full(left.shape[1], np.inf)
    for leg in spread.legs:
        pool = np.maximum(left[leg.periods] * (direction * leg.sign), 0.0).sum(axis=0)
        np.minimum(count, pool / leg.ratio, out=count)
    return np.where(np.isfinite(count), count, 0.0)


def _net_count(left: FloatArray, spread: Spread, direction: float) -> FloatArray:
    """(A,) spreads that can be formed from the net deltas of the legs."""
    count = np.full(left.shape[1], np.inf)
    for leg in spread.legs:
        net = left[leg.periods].sum(axis=0) * (direction * leg.sign)
        np.minimum(count, np.maximum(net, 0.0) / leg.ratio, out=count)
    return np.where(np.isfinite(count), count, 0.0)


def _take(left: FloatArray, leg: Leg, direction: float, count: FloatArray, attribution: str) -> FloatArray:
    """Take the deltas of a leg, (periods,A); from the nearest periods on, or from all in proportion."""
    sign = direction * leg.sign
    pool = np.maximum(left[leg.periods] * sign, 0.0)
    wanted = count * leg.ratio
    if attribution == NEAREST:
        taken, missing = np.empty_like(pool), wanted
        for period, own in enumerate(pool):
            np.minimum(missing, own, out=taken[period])
            missing = missing - taken[period]
    else:
        total = pool.sum(axis=0)
        taken = pool * np.minimum(wanted / np.where(total > 0.0, total, 1.0), 1.0)
    left[leg.periods] -= taken * sign
    return taken
