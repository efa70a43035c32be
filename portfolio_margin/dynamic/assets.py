"""Collateral: how much of a balance counts, by its size, for initial and for maintenance margin, and what may break.

Value of a long balance, after the haircut that the model has for it, is cut into tiers; in each a share of it counts:

  counted(V) = integral from 0 to V of share of the tier

so that a haircut rises with size (concentration) without a cliff, and a last tier of share 0 is a cap. What does not
count of a balance is a charge, "collateral_limit", that takes back what the margin balance has of it, and it is not in
the scenarios either: a coin that is beyond its cap neither helps nor hurts.

  eligible   "both"; "maintenance": it backs what is held and opens nothing, all of it a charge on initial margin;
             "none": a charge on both
  scenarios  "inside": it moves with the book, and hedges it; "outside": it counts at today's value less its haircut,
             loses nothing in any scenario and hedges nothing
  depeg      share that a break of its peg or a wrong price of it may cost, of what counts of a balance held and of all
             that is owed: a charge, and the rule for what is owed of an asset that no scenario moves

One coin more adds what counts of it and costs at most its largest fall in the scenarios, in `initial_factor` of it, and
its peg. So more collateral never lowers available funds where initial_factor x largest fall + depeg is at most 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from portfolio_margin.book import Book
from portfolio_margin.dollars import money_of_amounts
from pricing.arrays import BoolArray, FloatArray
from pricing.errors import ConfigError
from scenarios.risk_arrays import RiskArrays
from scenarios.shocks import check_bounds, list_of_numbers

ELIGIBLE = ("both", "maintenance", "none")
SCENARIOS = ("inside", "outside")


@dataclass(frozen=True)
class Asset:
    """How one asset counts, with bounds.

    tiers      values at which tiers begin, rising from 0, in margin currency, or the quote currency of a coin of margin
    shares     share of each tier that counts, falling from 1, to 0
    eligible   "both", "maintenance" or "none"
    scenarios  "inside" or "outside"
    depeg      share of what counts of a long balance, and of a short one, that is charged, 0 to 1
    """

    tiers: tuple[float, ...] = (0.0,)
    shares: tuple[float, ...] = (1.0,)
    eligible: str = "both"
    scenarios: str = "inside"
    depeg: float = 0.0

    def __post_init__(self) -> None:
        check_bounds(self, {"depeg": (0.0, 1.0)})
        for name, known in (("eligible", ELIGIBLE), ("scenarios", SCENARIOS)):
            if getattr(self, name) not in known:
                raise ConfigError(f"{name} = {getattr(self, name)!r}: must be one of {', '.join(known)}")
        tiers, shares = (list_of_numbers(name, getattr(self, name)) for name in ("tiers", "shares"))
        if not len(tiers) or tiers[0] != 0.0 or not np.all(np.diff(tiers) > 0.0):
            raise ConfigError(f"tiers = {self.tiers!r}: must rise from 0")
        falling = shares.shape == tiers.shape and shares[0] == 1.0 and bool(np.all(np.diff(shares) <= 0.0))
        if not falling or shares[-1] < 0.0:
            raise ConfigError(f"shares = {self.shares!r}: one for every tier, falling from 1, none below 0")


class Counted(NamedTuple):
    """A book as its collateral counts on one side.

    book   with the quantities that stand in the scenarios
    limit  (P,) what does not count of every position, margin currency after the haircut
    depeg  (P,) what a broken peg may cost, margin currency
    """

    book: Book
    limit: FloatArray
    depeg: FloatArray


class Sides(NamedTuple):
    """What counts for initial and for maintenance margin; `alike` where that is the same."""

    initial: Counted
    maintenance: Counted
    alike: bool


def both_sides(book: Book, arrays: RiskArrays, haircut: FloatArray, assets: Mapping[str, Asset]) -> Sides:
    """`counted` on either side."""
    first, second = (counted(book, arrays, haircut, assets, side) for side in ("initial", "maintenance"))
    # What does not count decides all the rest.
    return Sides(first, second, np.array_equal(first.limit, second.limit))


def counted_value(value: FloatArray, asset: Asset) -> FloatArray:
    """(...) what counts of balances worth so much, 0 or more, by the tiers alone."""
    worth = np.asarray(value, dtype=np.float64)
    starts, shares = np.asarray(asset.tiers, dtype=np.float64), np.asarray(asset.shares, dtype=np.float64)
    ends = np.append(starts[1:], np.inf)
    inside = np.clip(worth[..., None], starts, ends) - starts
    return np.asarray((inside * shares).sum(axis=-1))


def counted(book: Book, arrays: RiskArrays, haircut: FloatArray, assets: Mapping[str, Asset], side: str) -> Counted:
    """The book on one side, "initial" or "maintenance".

    haircut  (N,) share of a long balance that the model does not count
    ConfigError for a name that is no asset of these arrays.
    """
    quantity, limit, depeg = book.quantity.copy(), np.zeros(len(book.quantity)), np.zeros(len(book.quantity))
    for name, row in rows_of(arrays, assets).items():
        asset = assets[name]
        here = np.flatnonzero((book.instrument_idx == row) & (book.quantity > 0.0))
        each = float(arrays.value[row]) * (1.0 - float(haircut[row]))
        value = book.quantity[here] * each
        scaled = replace(asset, tiers=tuple(tier * _money(arrays) for tier in asset.tiers))
        kept = counted_value(value, scaled) if _eligible(asset, side) else np.zeros(len(here))
        limit[here] = value - kept
        share = np.where(value > 0.0, kept / np.where(value > 0.0, value, 1.0), 0.0)
        quantity[here] *= share if asset.scenarios == "inside" else 0.0
        owed = np.flatnonzero((book.instrument_idx == row) & (book.quantity < 0.0))
        depeg[here], depeg[owed] = asset.depeg * kept, -asset.depeg * book.quantity[owed] * float(arrays.value[row])
    return Counted(replace(book, quantity=quantity), limit, depeg)


def pegged(arrays: RiskArrays, assets: Mapping[str, Asset]) -> BoolArray:
    """(N,) assets that have a depeg charge, which is a rule for owing them."""
    found = np.zeros(len(arrays), dtype=np.bool_)
    for name, row in rows_of(arrays, assets).items():
        found[row] = assets[name].depeg > 0.0
    return found


def outside_scenarios(arrays: RiskArrays, assets: Mapping[str, Asset]) -> tuple[BoolArray, FloatArray]:
    """(N,) assets held that count and that scenarios do not move; (N,) what their peg takes of what counts."""
    found, pegs = np.zeros(len(arrays), dtype=np.bool_), np.zeros(len(arrays))
    for name, row in rows_of(arrays, assets).items():
        asset = assets[name]
        found[row], pegs[row] = asset.scenarios == "outside" and asset.eligible != "none", asset.depeg
    return found, pegs


def uncounted(arrays: RiskArrays, assets: Mapping[str, Asset]) -> BoolArray:
    """(N,) assets that count for nothing."""
    found = np.zeros(len(arrays), dtype=np.bool_)
    for name, row in rows_of(arrays, assets).items():
        found[row] = assets[name].eligible == "none"
    return found


def rows_of(arrays: RiskArrays, assets: Mapping[str, Asset]) -> dict[str, int]:
    """Row of every asset named. ConfigError for a name that is none: a misspelt cap must not be lost."""
    named = arrays.is_collateral & (arrays.instrument_id != arrays.currency)
    known = {str(arrays.instrument_id[row]): int(row) for row in np.flatnonzero(named)}
    unknown = sorted(set(assets) - set(known))
    if unknown:
        there = ", ".join(sorted(known)) or "none"
        raise ConfigError(f"assets {', '.join(unknown)}: no asset here beside the margin currency; there are {there}")
    return {name: known[name] for name in assets}


def _eligible(asset: Asset, side: str) -> bool:
    return asset.eligible == "both" or asset.eligible == side


def _money(arrays: RiskArrays) -> float:
    return float(money_of_amounts(arrays)[0]) if len(arrays.underlying_id) else 1.0
