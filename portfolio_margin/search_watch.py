"""How far a search for trades is, told while it runs, and how long it may go on.

The clock belongs to whoever asks: a search knows only how many seconds are left. Without a limit of time the same
question has the same answer; with one, what was found until then, which another run may not have reached.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

# Of the time that is left, what one program is given: HiGHS looks at its clock between dives only, and may take several
# times as much.
PROGRAM_SHARE = 0.25


class SearchProgress(NamedTuple):
    """What a search has found and proven so far, margin currency.

    best      least objective of trades evaluated, NaN where none are known yet
    bound     no trades have less, NaN where that is not proven
    programs  linear and integer programs solved
    tried     trades evaluated one by one
    """

    best: float
    bound: float
    programs: int
    tried: int

    @property
    def gap(self) -> float:
        """Share of the best that better trades may save at most; NaN where nothing is proven."""
        return (self.best - min(self.bound, self.best)) / max(abs(self.best), 1e-12)


def forever() -> float:
    """No limit of time."""
    return np.inf


def unheard(progress: SearchProgress) -> None:
    """Nobody is told."""


@dataclass
class Watch:
    """What a search tells and asks of the world outside.

    left    () -> seconds that are left
    tell    called with what is known after every step
    ended   True once something was left undone for lack of time
    best, bound, programs, tried   as in `SearchProgress`
    """

    left: Callable[[], float] = forever
    tell: Callable[[SearchProgress], None] = unheard
    ended: bool = False
    best: float = np.nan
    bound: float = np.nan
    programs: int = 0
    tried: int = 0

    def over(self) -> bool:
        """Whether no time is left for what comes next, which is left undone then."""
        self.ended = self.ended or not self.left() > 0.0
        return self.ended

    def share(self) -> float:
        """Seconds for one program, which leave some for what comes after it."""
        return PROGRAM_SHARE * self.left()

    def found(self, best: float) -> None:
        """Trades with this objective are known."""
        self.best = best if np.isnan(self.best) else min(best, self.best)

    def step(self, *, programs: int = 0, tried: int = 0) -> None:
        """Tell what is known after so many more programs and trades."""
        self.programs += programs
        self.tried += tried
        self.tell(SearchProgress(self.best, self.bound, self.programs, self.tried))
