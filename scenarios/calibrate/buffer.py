"""A buffer on top of what is calculated, used up before a rise is charged and restored slowly afterwards.

Delegated Regulation (EU) 153/2013, article 28 (1) (a): a buffer of 25 % of the calculated margin at least, which may be
used up for a time while calculated requirements rise significantly. For one number in force and one calculated c:

    in_force[t] = clip(in_force[t-1] (1 + restored[t]), c[t], (1 + buffer) c[t])
    restored    = (1 + buffer)^(refit_days / restore_days) - 1 on the day of a fit, 0 between; and 0 where c has risen
                  by more than that since the fit before

Three things follow. A rise that the buffer holds changes nothing in force. What is in force is never below what is
calculated, nor above that with its whole buffer, so a fall passes as it is calculated, once the buffer is whole. And
where what is in force rises by more than `restored`, the buffer is used up. The first number has its whole buffer.

One number, `restore_days`, says how slowly a buffer comes back and which rises are significant: those faster than that.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from pricing.arrays import FloatArray
from scenarios.calibrate.levels import Side, level_path
from scenarios.calibrate.moves import as_relative
from scenarios.calibrate.settings import Settings


def in_force(calculated: ArrayLike, settings: Settings) -> FloatArray:
    """(T,) what is in force along a path of (T,) calculated numbers, 0 or more; the same where there is no buffer.

    calculated  oldest first; fits are on row 0 and every `refit_days` after it
    """
    asked = np.asarray(calculated, dtype=np.float64)
    held = (1.0 + settings.buffer) * asked
    every, most = int(settings.refit_days), restored_share(settings)
    for t in range(1, len(asked)):
        calm = t % every == 0 and asked[t] <= (1.0 + most) * asked[t - every]
        before = held[t - 1] * (1.0 + most if calm else 1.0)
        held[t] = min(max(before, asked[t]), held[t])
    return held


def path_in_force(current: ArrayLike, settings: Settings) -> FloatArray:
    """(T,) relative moves in force of a path of `level_path`, (T,) in logarithm; NaN where it is."""
    moves = as_relative(np.maximum(np.asarray(current, dtype=np.float64), 0.0))
    first = int(settings.least_days)
    return np.concatenate([moves[:first], in_force(moves[first:], settings)])


def in_force_after(
    returns: ArrayLike, current: float, settings: Settings, side: Side = Side.BOTH, days: ArrayLike | None = None
) -> float:
    """The relative move in force on the day after a history, of which this is calculated, in logarithm.

    The whole history is walked, fits counted from `least_days`, so that whoever has it finds the same; between two of
    these fits nothing is restored.
    """
    if settings.buffer == 0.0:
        return float(as_relative(max(current, 0.0)))
    path = level_path(returns, settings, side, days)[0]
    path[-1] = current
    return float(path_in_force(path, settings)[-1])


def restored_share(settings: Settings) -> float:
    """Largest rise from one fit to the next that restores a buffer, a share of what is in force."""
    return float((1.0 + settings.buffer) ** (settings.refit_days / settings.restore_days) - 1.0)


def drawn(held: float, calculated: float, settings: Settings) -> float:
    """Share of the buffer that is used up, 0 to 1; 0 where there is none."""
    whole = settings.buffer * calculated
    return min(max(1.0 - (held - calculated) / whole, 0.0), 1.0) if whole > 0.0 else 0.0
