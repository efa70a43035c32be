"""What a margin supposes may happen from each day on, and how it makes one number of the books' P&L in it.

A model of a walk has `moves(rows)`, what may happen from rows of the history on, and `requirement(pnl)`, the margin of
the books' P&L under it. Both know nothing of what came after the row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from pricing.arrays import FloatArray, IntArray
from pricing.errors import ConfigError
from scenarios.backtest.history import History
from scenarios.backtest.parameters import Path
from scenarios.backtest.revaluation import CALENDAR_DAYS, DYNAMICS, Moves
from scenarios.families.grid import TAIL_MOVES
from scenarios.families.span import PRICE_STEPS, VOL_SIGNS
from scenarios.shocks import ScenarioSet, VolDynamics

MEASURES = ("value_at_risk", "expected_shortfall")


class Model(Protocol):
    """A margin along a history."""

    def moves(self, rows: IntArray) -> Moves:
        """What may happen from each row on, (n,S) each."""
        ...

    def requirement(self, pnl: FloatArray) -> FloatArray:
        """(B,n) margin of the P&L (B,n,S) of the books, 0 or more."""
        ...


@dataclass(frozen=True)
class Layout:
    """Scenarios as multiples of a price range and of vol shocks, (S,) each.

    price      multiple of the range
    tail       relative move in place of it, 0 for none: of such a scenario the share weight range/|tail| counts
    vol        +1 vol up, -1 vol down, 0 as it is
    days       calendar days that pass
    weight     share that counts; of a tail the factor of that share
    """

    price: FloatArray
    tail: FloatArray
    vol: FloatArray
    days: FloatArray
    weight: FloatArray


def grid_layout(
    horizon_days: float,
    buckets: int = 4,
    tail_moves: tuple[float, ...] = TAIL_MOVES,
    passing: bool = True,
    tail_factor: float = 1.0,
) -> Layout:
    """The layout of `families.grid`: buckets each with vol up, as it is and down, then tails with vol up.

    horizon_days  days that pass, beside none
    buckets       on each side, 1 to 50
    tail_moves    relative moves beyond the range, of which a share counts; () for none
    passing       False: no time passes in any scenario
    tail_factor   of the share of a tail that counts
    """
    if not 1 <= buckets <= 50:
        raise ConfigError(f"buckets = {buckets!r}: must be 1 to 50")
    days = (0.0, horizon_days) if passing else (0.0,)
    steps = np.arange(-buckets, buckets + 1) / buckets
    price, vol, day = (column.ravel() for column in np.meshgrid(steps, (-1.0, 0.0, 1.0), days, indexing="ij"))
    tail, late = (column.ravel() for column in np.meshgrid(np.array(tail_moves), days, indexing="ij"))
    return Layout(
        price=np.concatenate([price, np.zeros(len(tail))]),
        tail=np.concatenate([np.zeros(len(price)), tail]),
        vol=np.concatenate([vol, np.ones(len(tail))]),
        days=np.concatenate([day, late]),
        weight=np.concatenate([np.ones(len(price)), np.full(len(tail), tail_factor)]),
    )


def span_layout(horizon_days: float, extreme: float = 2.0, cover: float = 0.35) -> Layout:
    """The 16 scenarios of SPAN: thirds of the range with vol up and down, and an extreme move of which a part counts.

    horizon_days  days that pass in every scenario
    extreme       ranges of the extreme move
    cover         share of it that counts
    """
    return Layout(
        price=np.concatenate([PRICE_STEPS, [extreme, -extreme]]),
        tail=np.zeros(16),
        vol=np.concatenate([VOL_SIGNS, [0.0, 0.0]]),
        days=np.full(16, float(horizon_days)),
        weight=np.concatenate([np.ones(14), np.full(2, cover)]),
    )


@dataclass(frozen=True)
class WorstCase:
    """The worst loss over scenarios that are others from day to day.

    path      parameters, known on each day
    day_of    (T,) the day of the path that was the last to end on or before each row of the history
    tables    (K,S) the scenarios of every set there was
    table_of  (D,) which of them is in force after each day; -1 where none is yet
    dynamics  how vols answer, in every one of them
    """

    path: Path
    day_of: IntArray
    tables: Moves
    table_of: IntArray
    dynamics: VolDynamics = DYNAMICS

    def moves(self, rows: IntArray) -> Moves:
        """What may happen from each row on, (n,S) each; NaN where there are no parameters yet."""
        place = self.table_of[self.day_of[rows]]
        price = np.where((place < 0)[:, None], np.nan, self.tables.price[place])
        return Moves(price, self.tables.vol[place], self.tables.days[place], self.tables.weight[place])

    def requirement(self, pnl: FloatArray) -> FloatArray:
        """(B,n) the worst loss, 0 where nothing is lost."""
        return np.asarray(np.maximum(-pnl.min(axis=2), 0.0))


def over_layout(path: Path, day_of: IntArray, layout: Layout) -> WorstCase:
    """The worst loss over a layout whose ranges follow a path."""
    reach = path.price_range[:, None]
    is_tail = layout.tail != 0.0
    price = np.where(is_tail, layout.tail, np.maximum(layout.price * reach, -0.999))
    beyond = np.minimum(1.0, layout.weight * reach / np.where(is_tail, np.abs(layout.tail), 1.0))
    vol = np.where(layout.vol > 0.0, path.vol_up[:, None], -path.vol_down[:, None]) * np.abs(layout.vol)
    weight = np.where(is_tail, beyond, layout.weight)
    tables = Moves(price, vol, np.broadcast_to(layout.days, price.shape), weight)
    known = np.isfinite(reach[:, 0]) & np.isfinite(path.vol_up) & np.isfinite(path.vol_down)
    return WorstCase(path, day_of, tables, np.where(known, np.arange(len(known)), -1))


def over_sets(path: Path, day_of: IntArray, sets: Sequence[ScenarioSet], set_of: IntArray) -> WorstCase:
    """The worst loss over whole sets of scenarios of one underlying, as a margin model takes them.

    path    what there is to tell of them
    sets    (K,) of equally many scenarios with the same dynamics, without skew, shifts and floors of their own
    set_of  (D,) which of them is in force after each day; -1 where none is yet
    """
    other = ("vol_shift", "skew", "vol_floor", "basis_move", "expiry_vol_move", "expiry_vol_shift")
    odd = [n for n, one in enumerate(sets) if any(np.any(getattr(one, name)) for name in other)]
    if odd or not sets or len({len(one.label) for one in sets}) != 1:
        raise ConfigError(f"sets of scenarios ({len(sets)}): need equally many relative moves; others: {odd}")
    if any(one.dynamics != sets[0].dynamics for one in sets):
        raise ConfigError(f"sets of scenarios ({len(sets)}): need the same dynamics of vols in all of them")
    columns = (
        [one.price_move[:, 0] for one in sets],
        [one.vol_move[:, 0] for one in sets],
        [one.time_step_years * CALENDAR_DAYS for one in sets],
        [one.weight for one in sets],
    )
    return WorstCase(path, day_of, Moves(*(np.array(column) for column in columns)), set_of, sets[0].dynamics)


@dataclass(frozen=True)
class Historical:
    """Historical simulation: what happened over the latest horizons happens again, scaled to the vol of the day.

    given         the history, a row a step
    horizon       steps
    window        horizons taken, 20 to 4,000, one every `stride` steps
    stride        steps from one to the next
    confidence    of the quantile or of the tail, 0.5 to 0.9999
    measure       "value_at_risk" or "expected_shortfall" (the mean of the tail)
    scaled        whether each move is multiplied by the vol of the day over that of the row it began at
    vol_level     (T,) the vol that scales, known on each row: by default the stand-in
    """

    given: History
    horizon: int
    window: int = 500
    stride: int = 1
    confidence: float = 0.99
    measure: str = "value_at_risk"
    scaled: bool = True

    def __post_init__(self) -> None:
        if self.measure not in MEASURES:
            raise ConfigError(f"measure = {self.measure!r}: must be one of {', '.join(MEASURES)}")
        if not 20 <= self.window <= 4000 or not 0.5 <= self.confidence <= 0.9999 or self.stride < 1 or self.horizon < 1:
            raise ConfigError(
                f"window = {self.window!r}, confidence = {self.confidence!r}: must be 20 to 4,000 and 0.5 to 0.9999"
            )

    @property
    def first(self) -> int:
        """The first row with a whole window behind it."""
        return self.horizon + (self.window - 1) * self.stride

    def moves(self, rows: IntArray) -> Moves:
        """The latest horizons that had ended by each row."""
        starts = rows[:, None] - self.horizon - self.stride * np.arange(self.window)
        if starts.min(initial=0) < 0:
            raise ConfigError(f"window = {self.window!r}: row {int(rows.min())} has fewer horizons behind it")
        own = self.given
        ratio = own.stand_in[rows][:, None] / own.stand_in[starts] if self.scaled else 1.0
        price = np.log(own.price)
        moved = (price[starts + self.horizon] - price[starts]) * ratio
        ends = starts + self.horizon
        both = (own.indexed[starts] & own.indexed[ends]).astype(np.bool_)
        known, proxy = np.log(own.vol), np.log(own.stand_in)
        changed = np.where(both, known[ends] - known[starts], proxy[ends] - proxy[starts])
        passed = np.broadcast_to((own.time_ms[ends] - own.time_ms[starts]) / 86_400_000.0, moved.shape)
        return Moves(np.expm1(np.clip(moved, -3.0, 3.0)), np.expm1(changed), passed, np.ones(moved.shape))

    def requirement(self, pnl: FloatArray) -> FloatArray:
        """(B,n) the loss that a share 1 - confidence of the scenarios reaches, or the mean of those losses."""
        beyond = max(1, round((1.0 - self.confidence) * pnl.shape[2]))
        worst = np.partition(pnl, beyond - 1, axis=2)[:, :, :beyond]
        found = worst.max(axis=2) if self.measure == "value_at_risk" else worst.mean(axis=2)
        return np.asarray(np.maximum(-found, 0.0))
