"""StressPath: how prices, the vol surface and the pegs of dollars move in a stress, step by step, as factors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from pricing.arrays import FloatArray, StrArray, freeze_fields
from pricing.errors import DataError, Problem

MOST_STEPS = 10_000
# A move beyond these is a slip of units, not a crash.
SMALLEST, LARGEST = 1e-3, 1e3
# What a vol of 30 days does is done by others to this power of 30 / days: up to 30 days, and beyond.
SHORT_POWER, LONG_POWER = 0.30, 0.13
LOWEST_VOL = 0.1


@dataclass(frozen=True)
class StressPath:
    """Factors on what the market is at the start; the first row is the first step, which may move already.

    name, source   what it is called, and where its numbers come from
    hours          (T,) since the start, 0 or more, rising
    underlying_id  (U,) names
    price          (T,U) factor on spot and forwards
    tenor_days     (K,) days to expiry that vols are given at, rising
    vol            (T,U,K) factor on the vol of options with so many days to go; between tenors straight in log days,
                   beyond them that of the nearest
    token          (D,) names of dollars that lose their peg; none by default
    peg            (T,D) factor on what they are worth

    Raises DataError naming step and field of every factor that is none.
    """

    name: str
    source: str
    hours: FloatArray
    underlying_id: StrArray
    price: FloatArray
    tenor_days: FloatArray
    vol: FloatArray
    token: StrArray
    peg: FloatArray

    def __post_init__(self) -> None:
        strings = dict.fromkeys(("underlying_id", "token"), np.str_)
        floats = dict.fromkeys(("hours", "price", "tenor_days", "vol", "peg"), np.float64)
        freeze_fields(self, {**strings, **floats})
        problems = self._shape_problems() or self._value_problems()
        if problems:
            raise DataError(problems)

    def __len__(self) -> int:
        return len(self.hours)

    def _shape_problems(self) -> list[Problem]:
        steps, names = self.hours.shape, self.underlying_id.shape
        wanted = {
            "price": (*steps, *names),
            "vol": (*steps, *names, *self.tenor_days.shape),
            "peg": (*steps, *self.token.shape),
        }
        problems = [
            Problem(self.name, None, field, getattr(self, field).shape, f"needs the shape {shape}")
            for field, shape in wanted.items()
            if getattr(self, field).shape != shape
        ]
        if not 1 <= len(self.hours) <= MOST_STEPS or not len(self.underlying_id) or not len(self.tenor_days):
            remedy = f"needs 1 to {MOST_STEPS} steps, an underlying and a tenor at least"
            problems.append(Problem(self.name, None, "hours", len(self.hours), remedy))
        return problems

    def _value_problems(self) -> list[Problem]:
        problems: list[Problem] = []
        rises = np.append(self.hours[0] >= 0, np.diff(self.hours) > 0) & np.isfinite(self.hours)
        for step in np.flatnonzero(~rises):
            problems.append(Problem(self.name, int(step) + 1, "hours", float(self.hours[step]), "must rise from 0"))
        for field in ("price", "vol", "peg"):
            values = getattr(self, field)
            bad = ~((values >= SMALLEST) & (values <= LARGEST))
            for place in np.argwhere(bad):
                names = self.token if field == "peg" else self.underlying_id
                remedy = f"must be a factor on the start, {SMALLEST:g} to {LARGEST:g}"
                label = f"{field} of {names[place[1]]}"
                problems.append(Problem(self.name, int(place[0]) + 1, label, float(values[tuple(place)]), remedy))
        days = self.tenor_days
        if not (np.all(days > 0) and np.all(np.diff(days) > 0)):
            problems.append(Problem(self.name, None, "tenor_days", days.tolist(), "must be above 0 and rise"))
        return problems

    def at(self, hours: float) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Price (U,), vol (U,K) and peg (D,) factors at a time, straight in logarithms between steps; before the first
        step nothing has moved."""
        if hours < self.hours[0]:
            return np.ones(len(self.underlying_id)), np.ones(self.vol.shape[1:]), np.ones(len(self.token))
        return tuple(_between(self.hours, getattr(self, name), hours) for name in ("price", "vol", "peg"))  # type: ignore[return-value]

    def refined(self, hours: float) -> StressPath:
        """The same path with steps in between, none longer than `hours`: the market does not jump, or by less."""
        if not hours > 0:
            raise DataError([Problem(self.name, None, "refined", hours, "must be a number of hours above 0")])
        # Counted first, as numbers: there may be more than fit in memory, or in an integer.
        with np.errstate(over="ignore"):
            steps = 1.0 + float(np.sum(np.maximum(1.0, np.ceil(np.diff(self.hours) / hours - 1e-9))))
        if steps > MOST_STEPS:
            remedy = f"would make {steps:.6g} steps, of {MOST_STEPS:,} at most"
            raise DataError([Problem(self.name, None, "refined", hours, remedy)])
        times = [self.hours[:1]]
        for before, after in zip(self.hours[:-1], self.hours[1:], strict=True):
            count = max(1, int(np.ceil((after - before) / hours - 1e-9)))
            times.append(before + (after - before) * np.arange(1, count + 1) / count)
        every = np.concatenate(times)
        columns = [np.stack(column) for column in zip(*(self.at(float(time)) for time in every), strict=True)]
        return replace(self, hours=every, price=columns[0], vol=columns[1], peg=columns[2])

    def for_underlyings(self, names: Sequence[str]) -> StressPath:
        """The same with its underlyings in this order. DataError naming every one that the path has no price of."""
        row_of = {str(name): row for row, name in enumerate(self.underlying_id)}
        unknown = [str(name) for name in names if str(name) not in row_of]
        if unknown:
            remedy = "the path has no price of it: it moves " + ", ".join(row_of)
            raise DataError([Problem(self.name, None, "underlying", name, remedy) for name in unknown])
        rows = [row_of[str(name)] for name in names]
        return replace(self, underlying_id=self.underlying_id[rows], price=self.price[:, rows], vol=self.vol[:, rows])


def by_tenor(level: FloatArray, days: FloatArray) -> FloatArray:
    """(...,K) factors on the vols of so many days (K,) of the factor (...,1) on that of 30 days, where one is known."""
    power = np.where(days <= 30.0, (30.0 / days) ** SHORT_POWER, (30.0 / days) ** LONG_POWER)
    return np.asarray(np.maximum(1.0 + (level - 1.0) * power, LOWEST_VOL))


def _between(times: FloatArray, factors: FloatArray, moment: float) -> FloatArray:
    after = int(np.clip(np.searchsorted(times, moment), 0, len(times) - 1))
    before = after - 1 if times[after] > moment else after
    if after == before:
        return np.array(factors[after])
    share = (moment - times[before]) / (times[after] - times[before])
    return np.asarray(factors[before] ** (1.0 - share) * factors[after] ** share)
