"""Histories made of a GARCH and of its own residuals, for the uncertainty of what takes more than a block to see.

Blocks hold the memory of a history up to their length, and a history has few blocks as long as volatility remembers:
resampled, the calm of a calm history stays calm. Histories made by the fitted recursion from its residuals, drawn one
by one, have bursts of volatility of their own, as many and as long as the recursion says (Pascual, Romo and Ruiz
2006). Each is fitted anew, which has the uncertainty of the parameters in it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from pricing.arrays import FloatArray
from scenarios.calibrate.bootstrap import Figure, band
from scenarios.calibrate.settings import Settings
from scenarios.calibrate.volatility import Filter, fit_garch, residuals, simulate

# Days before a made history begins, in which it forgets the variance that it started from.
BEFORE = 250


class MadeHistories(NamedTuple):
    """Histories as long as the one they are made of.

    fitted   the GARCH of that one
    returns  (D,T) log returns
    fits     the GARCH of each, () where they were not wanted
    """

    fitted: Filter
    returns: FloatArray
    fits: tuple[Filter, ...]

    @property
    def memory(self) -> float:
        """Days in which a surprise in the variance decays by the factor e, as the fit has it."""
        return 1.0 / (1.0 - self.fitted.persistence)


def make_histories(returns: ArrayLike, settings: Settings, refit: bool = True) -> MadeHistories:
    """`draws` histories of a history of (T,) log returns, oldest first.

    refit  whether the GARCH of each is wanted

    ConfigError for a history that is too short.
    """
    moves = np.asarray(returns, dtype=np.float64)
    fitted = fit_garch(moves)
    z = residuals(moves, fitted)
    # The recursion takes the scale of the residuals for 1.
    z = z / np.sqrt(np.mean(z * z))
    random = np.random.default_rng(int(settings.seed))
    drawn = z[random.integers(0, len(z), (int(settings.draws), BEFORE + len(moves)))]
    made = np.ascontiguousarray(simulate(fitted, drawn)[:, BEFORE:])
    fits = tuple(fit_garch(path, fitted) for path in made) if refit else ()
    return MadeHistories(fitted, made, fits)


def garch_bands(made: MadeHistories, settings: Settings) -> dict[str, Figure]:
    """Bands of omega, alpha, beta and of the long-run deviation of a step, from histories that were fitted anew."""
    level, fitted, fits = settings.band, made.fitted, made.fits
    names = ("omega", "alpha", "beta")
    figures = {name: band(getattr(fitted, name), [getattr(f, name) for f in fits], level) for name in names}
    deviations = [np.sqrt(f.long_run_variance) for f in fits]
    figures["long_run_deviation"] = band(float(np.sqrt(fitted.long_run_variance)), deviations, level)
    return figures
