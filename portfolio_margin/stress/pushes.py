"""Pushes: what forced trades have moved prices by, trade time by trade time, and what is left of it at any other."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from portfolio_margin.stress.rules import Impact
from pricing.arrays import FloatArray

# Times of steps and delays are sums of decimal hours.
SAME_HOURS = 1e-9


class Pushes(NamedTuple):
    """Moves of log prices by forced trades; each fades from its own time on, whatever steps lie in between.

    hours  (K,) when, since the start, rising
    moved  (K,U) log price, of the trades of that time alone
    """

    hours: FloatArray
    moved: FloatArray

    @classmethod
    def none(cls, underlyings: int) -> Pushes:
        """Before any trade."""
        return cls(np.zeros(0), np.zeros((0, underlyings)))

    def after(self, hours: float, moved: FloatArray) -> Pushes:
        """With those of a time (U,), later than all."""
        return Pushes(np.append(self.hours, hours), np.vstack([self.moved, moved]))

    def at(self, hours: float, impact: Impact) -> FloatArray:
        """(U,) log price that is left of them at a time, by the permanent and the fading part of each; what was done at
        that very time is in it whole, what is done later is not."""
        done = self.hours <= hours + SAME_HOURS
        left = impact.remembered(np.maximum(hours - self.hours[done], 0.0))
        return np.asarray((left[:, None] * self.moved[done]).sum(axis=0))
