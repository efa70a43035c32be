"""Lee's moment formula: how steep the wings of total variance may be (Lee 2004, theorems 3.2 and 3.4)."""


def wing_slope(xp, moment):
    """Largest slope of total variance in |k|: 2 - 4 (sqrt(p^2 + p) - p), p >= 0.

    p is the largest for which E[S^(1+p)] is finite on the right wing, E[S^-p] on the left. Written without the
    cancellation at large p.
    """
    root = xp.sqrt(moment * moment + moment) + moment
    positive = moment > 0.0
    return xp.where(positive, 2.0 * moment / xp.where(positive, root * root, 1.0), 2.0)


def moment(xp, slope):
    """The moment p = 1 / (2 slope) + slope / 8 - 1/2 at which a wing of this slope diverges; slope in (0, 2]."""
    return 0.5 / slope + 0.125 * slope - 0.5
