"""Prevention: how large the fund, or how far a parameter, would have had to be for the fund to be enough."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

from portfolio_margin.stress.path import StressPath
from portfolio_margin.stress.result import Result
from portfolio_margin.stress.rules import Rules
from portfolio_margin.stress.run import Venue, run
from portfolio_margin.stress.sections import missing_margin
from pricing.errors import ConfigError

# A fund, in margin currency, that no path exhausts; in ticks it is far below 2^53.
AMPLE = 1e13


class Trial(NamedTuple):
    """A value of the parameter, and what the fund then could not bear: taken from others or owed at the end; beside it
    the shortfall, and what of it accounts owed that were below 0 before the path."""

    value: float
    beyond: float
    shortfall: float = 0.0
    before: float = 0.0


@dataclass(frozen=True)
class Prevention:
    """What a change of one parameter would have prevented.

    parameter   its name
    value       the smallest tried from which on the fund is enough, NaN where the largest is not
    trials      in the order tried
    """

    parameter: str
    value: float
    trials: tuple[Trial, ...]


def beyond_fund(result: Result) -> float:
    """What a stress took from other accounts, and what is owed at its end; margin currency."""
    return result.total("deleveraged") + result.total("socialised") + result.rows[-1].owed


def with_ample_fund(venue: Venue, path: StressPath, rules: Rules) -> Result:
    """The stress with a fund that is never exhausted."""
    return run(venue, path, replace(rules, fund=AMPLE))


def fund_needed(venue: Venue, path: StressPath, rules: Rules) -> float:
    """The smallest fund at the start that bears every shortfall of a path, margin currency, by a run with a fund that
    is never exhausted; NaN where even that leaves something owed, by accounts that are not closed at the end."""
    return with_ample_fund(venue, path, rules).fund_needed


def prevented_by(
    parameter: str, stress: Callable[[float], Result], low: float, high: float, tolerance: float
) -> Prevention:
    """The value of a parameter, from low to high, from which on a stress leaves nothing beyond the fund.

    parameter  name
    stress     the result at a value
    low, high  bounds; low is tried first, high next
    tolerance  above 0; the answer is at most so much too large

    By bisection, which supposes that more of it helps: a stress that is not monotone has an answer too, the one
    that the bisection meets. Values between the bounds are round to a digit beyond the tolerance, so that the answer as
    it is written is one that was run.
    """
    if not low < high or not tolerance > 0.0:
        raise ConfigError(f"{parameter}: low = {low!r} must be below high = {high!r}, tolerance above 0")
    trials: list[Trial] = []

    def enough(value: float) -> bool:
        found = stress(value)
        trials.append(Trial(value, beyond_fund(found), found.total("shortfall"), found.shortfall_before))
        return trials[-1].beyond <= 0.0

    if enough(low):
        return Prevention(parameter, low, tuple(trials))
    if not enough(high):
        return Prevention(parameter, float("nan"), tuple(trials))
    digits = 1 - math.floor(math.log10(tolerance))
    while high - low > tolerance:
        middle = round(0.5 * (low + high), digits)
        low, high = (low, middle) if enough(middle) else (middle, high)
    return Prevention(parameter, high, tuple(trials))


def topped_up(venue: Venue) -> Venue:
    """The venue after its margin calls at the start were answered: whoever has equity above 0 and less than the initial
    margin pays in what is missing, in the margin currency."""
    return replace(venue, paid=tuple(venue.ask(missing_margin, venue.setting(Rules()))))
