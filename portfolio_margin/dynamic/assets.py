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

A venue may cap what counts of an asset over all its accounts (`venue_cap`). What counts by the tiers is added up over
them, in whole money steps, and where that is more than the cap every account keeps the same share of its own:

  counted(V) x min(1, cap / total)

so that the share depends on sums of whole numbers alone: not on the order of accounts, nor on the parts they are
computed in. The total is taken first and stands among the parameters (`venue_total`), since an account is margined
without the others.

One coin more adds what counts of it and costs at most its largest fall in the scenarios, in `initial_factor` of it, and
its peg. So more collateral never lowers available funds where initial_factor x largest fall + depeg is at most 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from portfolio_margin.book import Book
from portfolio_margin.dollars import money_of_amounts, money_step
from pricing.arrays import BoolArray, FloatArray
from pricing.errors import ConfigError
from scenarios.risk_arrays import RiskArrays
from scenarios.shocks import check_bounds, list_of_numbers

ELIGIBLE = ("both", "maintenance", "none")
SCENARIOS = ("inside", "outside")
LARGEST_CAP = 1e18


@dataclass(frozen=True)
class Asset:
    """How one asset counts, with bounds.

    tiers      values at which tiers begin, rising from 0, in margin currency, or the quote currency of a coin of margin
    shares     share of each tier that counts, falling from 1, to 0
    eligible   "both", "maintenance" or "none"
    scenarios  "inside" or "outside"
    depeg      share of what counts of a long balance, and of a short one, that is charged, 0 to 1
    venue_cap    most that counts of it over all accounts of the venue, in the money of `tiers`, 0 to 1e18; None: all
    venue_total  what counts of it by the tiers over all accounts, in the same money, 0 to 1e18; None: not taken yet
    """

    tiers: tuple[float, ...] = (0.0,)
    shares: tuple[float, ...] = (1.0,)
    eligible: str = "both"
    scenarios: str = "inside"
    depeg: float = 0.0
    venue_cap: float | None = None
    venue_total: float | None = None

    def __post_init__(self) -> None:
        given = [name for name in ("venue_cap", "venue_total") if getattr(self, name) is not None]
        check_bounds(self, {"depeg": (0.0, 1.0), **dict.fromkeys(given, (0.0, LARGEST_CAP))})
        for name, known in (("eligible", ELIGIBLE), ("scenarios", SCENARIOS)):
            if getattr(self, name) not in known:
                raise ConfigError(f"{name} = {getattr(self, name)!r}: must be one of {', '.join(known)}")
        tiers, shares = (list_of_numbers(name, getattr(self, name)) for name in ("tiers", "shares"))
        if not len(tiers) or tiers[0] != 0.0 or not np.all(np.diff(tiers) > 0.0):
            raise ConfigError(f"tiers = {self.tiers!r}: must rise from 0")
        falling = shares.shape == tiers.shape and shares[0] == 1.0 and bool(np.all(np.diff(shares) <= 0.0))
        if not falling or shares[-1] < 0.0:
            raise ConfigError(f"shares = {self.shares!r}: one for every tier, falling from 1, none below 0")

    @property
    def venue_share(self) -> float:
        """Share of what counts by the tiers that every account keeps. ConfigError where the total is not taken yet."""
        if self.venue_cap is None:
            return 1.0
        if self.venue_total is None:
            raise ConfigError(
                f"venue_cap = {self.venue_cap!r}: the total over all accounts must be taken first, "
                "venue_caps.of_venue(model, book, arrays)"
            )
        return min(1.0, self.venue_cap / self.venue_total) if self.venue_total > 0.0 else 1.0


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
    limit, depeg = np.zeros(len(book.quantity)), np.zeros(len(book.quantity))
    if not assets:
        return Counted(book, limit, depeg)
    quantity = book.quantity.copy()
    for name, row in rows_of(arrays, assets).items():
        asset = assets[name]
        here = np.flatnonzero((book.instrument_idx == row) & (book.quantity > 0.0))
        each = float(arrays.value[row]) * (1.0 - float(haircut[row]))
        value = book.quantity[here] * each
        kept = np.zeros(len(here))
        if _eligible(asset, side):
            kept = _by_tiers(value, asset, arrays) * asset.venue_share
        limit[here] = value - kept
        share = np.where(value > 0.0, kept / np.where(value > 0.0, value, 1.0), 0.0)
        quantity[here] *= share if asset.scenarios == "inside" else 0.0
        owed = np.flatnonzero((book.instrument_idx == row) & (book.quantity < 0.0))
        depeg[here], depeg[owed] = asset.depeg * kept, -asset.depeg * book.quantity[owed] * float(arrays.value[row])
    return Counted(book.holding(quantity), limit, depeg)


def venue_steps(book: Book, arrays: RiskArrays, haircut: FloatArray, assets: Mapping[str, Asset]) -> dict[str, int]:
    """What counts by the tiers over the accounts of a book, in whole money steps, of every asset with a `venue_cap`.

    haircut  (N,) share of a long balance that the model does not count
    Sums of the parts of a book are those of the whole. An asset that counts nowhere has a total of 0.
    """
    step, found = money_step(arrays), {}
    for name, row in rows_of(arrays, assets).items():
        asset = assets[name]
        if asset.venue_cap is None:
            continue
        here = (book.instrument_idx == row) & (book.quantity > 0.0)
        value = book.quantity[here] * float(arrays.value[row]) * (1.0 - float(haircut[row]))
        kept = _by_tiers(value, asset, arrays) if asset.eligible != "none" else np.zeros(0)
        found[name] = sum(np.rint(kept / step).astype(np.int64).tolist())
    return found


def with_totals(arrays: RiskArrays, assets: Mapping[str, Asset], steps: Mapping[str, int]) -> dict[str, Asset]:
    """The assets with their totals over all accounts.

    steps  of every asset with a cap, as `venue_steps` gives them, added up
    """
    unit = money_step(arrays) / _money(arrays)
    totals = {name: steps[name] * unit for name, asset in assets.items() if asset.venue_cap is not None}
    return {name: replace(a, venue_total=totals[name]) if name in totals else a for name, a in assets.items()}


def _by_tiers(value: FloatArray, asset: Asset, arrays: RiskArrays) -> FloatArray:
    """(...) what counts by the tiers of balances worth so much, margin currency."""
    scale = _money(arrays)
    return counted_value(value, replace(asset, tiers=tuple(tier * scale for tier in asset.tiers)))


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
