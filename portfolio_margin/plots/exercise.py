"""The exercise boundary of one American option over the time that is left."""

from __future__ import annotations

import numpy as np

from portfolio_margin.io.frames import frame
from portfolio_margin.plots.picture import Picture, new_axes
from pricing.american import exercise_boundary
from pricing.arrays import DAYS_PER_YEAR

TIMES = 201


def exercise(
    strike: float,
    tau: float,
    vol: float,
    sign: float,
    rate: float,
    dividend_yield: float = 0.0,
    *,
    accuracy: str = "default",
    title: str = "",
) -> Picture:
    """Spot at which exercise is optimal over the days to expiry, up to tau years; terms as in `exercise_boundary`.

    The region in which the option is exercised is shaded. The frame, one row a time: tau (years left), boundary, and
    far_boundary, where exercise ends again for rates that make two; NaN where nothing is exercised.
    """
    # Boundaries move like the root of the time that is left.
    left = tau * np.linspace(0.0, 1.0, TIMES)[1:] ** 2
    near, far = (
        exercise_boundary(strike, left, vol, sign, rate, dividend_yield, accuracy=accuracy, far=far)
        for far in (False, True)
    )
    kind = "call" if sign > 0 else "put"
    heading = (
        title
        or f"early exercise: {kind}, strike {strike:g}, vol {vol:.0%}, rate {rate:.2%}, yield {dividend_yield:.2%}"
    )
    figure, axes = new_axes(heading, "days to expiry", "spot")
    days = DAYS_PER_YEAR * left
    axes.plot(days, near, color="tab:blue", label="boundary")
    axes.axhline(strike, color="black", linewidth=0.8, linestyle=":", label="strike")
    shown = near[np.isfinite(near)]
    edge = far
    if np.isfinite(far).any():
        axes.plot(days, far, color="tab:orange", label="second boundary")
    elif len(shown):
        # Nothing ends the region: it is shaded as far as the picture goes.
        edge = np.full_like(near, max(shown.max(), strike) * 1.1 if sign > 0 else min(shown.min(), strike) * 0.9)
    axes.fill_between(days, near, edge, where=np.isfinite(near), color="tab:blue", alpha=0.12, label="exercised")
    axes.legend()
    return Picture(figure, frame({"tau": left, "boundary": near, "far_boundary": far}))
