"""Histories made of a GARCH and of its own residuals, for the uncertainty of what takes more than a block to see.

Blocks hold the memory of a history up to their length, and a history has few blocks as long as volatility remembers:
resampled, the calm of a calm history stays calm. Histories made by the fitted recursion from its residuals, drawn one
by one, have bursts of volatility of their own, as many and as long as the recursion says (Pascual, Romo and Ruiz
2006). Each is fitted anew.

A calm history has a fit that remembers too little, and histories made of that fit are as calm as itself. So others are
made, each of parameters of its own, by what refitted parameters differ from those they were made of, turned about: the
basic bootstrap (Davison and Hinkley 1997, section 5.2), of the logarithm of the memory and of alpha. With them the
uncertainty of the parameters is in the bands of what no filter takes out.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from pricing.arrays import FloatArray
from scenarios.calibrate.bootstrap import Figure, band
from scenarios.calibrate.settings import Settings
from scenarios.calibrate.volatility import Filter, fit_garch, residuals, simulate, simulate_each

# Days before a made history begins, in which it forgets the variance that it started from.
BEFORE = 250
# The longest memory, days, and the least alpha that a history is made of.
LONGEST, LEAST_ALPHA = 1_000.0, 1e-3
# Paths, and days of each, that a quantile of one set of parameters is read from.
PATHS, DAYS = 12, 2_000


class MadeHistories(NamedTuple):
    """Histories as long as the one they are made of.

    fitted   the GARCH of that one
    returns  (D,T) log returns, made of it
    fits     the GARCH of each
    varied   (D,T) log returns, each row made of parameters of its own
    beyond   (D,PATHS,DAYS) log returns of the same parameters without an end, from which their truth is read
    """

    fitted: Filter
    returns: FloatArray
    fits: tuple[Filter, ...]
    varied: FloatArray
    beyond: FloatArray

    @property
    def memory(self) -> float:
        """Days in which a surprise in the variance decays by the factor e, as the fit has it."""
        return 1.0 / (1.0 - self.fitted.persistence)


def make_histories(returns: ArrayLike, settings: Settings) -> MadeHistories:
    """`draws` histories of a history of (T,) log returns, oldest first.

    ConfigError for a history that is too short.
    """
    moves = np.asarray(returns, dtype=np.float64)
    fitted = fit_garch(moves)
    z = residuals(moves, fitted)
    # The recursion takes the scale of the residuals for 1.
    z = z / np.sqrt(np.mean(z * z))
    random, draws = np.random.default_rng(int(settings.seed)), int(settings.draws)

    def drawn(rows: int, days: int) -> FloatArray:
        return np.asarray(z[random.integers(0, len(z), (rows, BEFORE + days))])

    made = np.ascontiguousarray(simulate(fitted, drawn(draws, len(moves)))[:, BEFORE:])
    fits = tuple(fit_garch(path, fitted) for path in made)
    others = [turned_about(fitted, fit) for fit in fits]
    varied = np.ascontiguousarray(simulate_each(others, drawn(draws, len(moves)))[:, BEFORE:])
    without_end = simulate_each([other for other in others for _ in range(PATHS)], drawn(draws * PATHS, DAYS))
    beyond = np.ascontiguousarray(without_end[:, BEFORE:]).reshape(draws, PATHS, DAYS)
    return MadeHistories(fitted, made, fits, varied, beyond)


def turned_about(fitted: Filter, fit: Filter) -> Filter:
    """A GARCH of the same long-run variance that differs from `fitted` the other way than `fit` does: in alpha, and in
    the logarithm of the memory 1/(1 - persistence)."""
    memory, other = (min(1.0 / (1.0 - f.persistence), LONGEST) for f in (fitted, fit))
    persistence = 1.0 - 1.0 / min(max(memory * memory / other, 1.0 + 2.0 * LEAST_ALPHA), LONGEST)
    alpha = min(max(2.0 * fitted.alpha - fit.alpha, LEAST_ALPHA), persistence)
    variance = fitted.long_run_variance
    return Filter(variance * (1.0 - persistence), alpha, persistence - alpha, variance, float("nan"))


def garch_bands(made: MadeHistories, settings: Settings) -> dict[str, Figure]:
    """Bands of omega, alpha, beta and of the long-run deviation of a step, from histories that were fitted anew."""
    level, fitted, fits = settings.band, made.fitted, made.fits
    names = ("omega", "alpha", "beta")
    figures = {name: band(getattr(fitted, name), [getattr(f, name) for f in fits], level) for name in names}
    deviations = [np.sqrt(f.long_run_variance) for f in fits]
    figures["long_run_deviation"] = band(float(np.sqrt(fitted.long_run_variance)), deviations, level)
    return figures
