"""Raw SVI (Gatheral 2004; Gatheral and Jacquier 2014, eq. 3.1): total variance of one expiry.

w(k) = a + b [ rho (k - m) + sqrt((k - m)^2 + sigma^2) ],  k = ln(K/F),  w = vol^2 tau.
"""


def total_variance(xp, k, a, b, rho, m, sigma):
    """Total variance at log-moneyness k; parameters broadcast against k."""
    x = k - m
    return a + b * (rho * x + xp.sqrt(x * x + sigma * sigma))


def derivatives(xp, k, a, b, rho, m, sigma):
    """w, dw/dk and d2w/dk2 at log-moneyness k."""
    x = k - m
    root = xp.sqrt(x * x + sigma * sigma)
    w = a + b * (rho * x + root)
    slope = b * (rho + x / root)
    curvature = b * sigma * sigma / (root * root * root)
    return w, slope, curvature


def butterfly_g(xp, k, a, b, rho, m, sigma):
    """Durrleman's function; negative means a butterfly arbitrage (Gatheral and Jacquier 2014, eq. 2.1)."""
    w, slope, curvature = derivatives(xp, k, a, b, rho, m, sigma)
    inner = 1.0 - k * slope / (2.0 * w)
    return inner * inner - 0.25 * slope * slope * (1.0 / w + 0.25) + 0.5 * curvature


def wing_slopes(a, b, rho, m, sigma):
    """Slopes of w at k -> -inf and k -> +inf, as positive numbers; Lee (2004) bounds both by 2."""
    return b * (1.0 - rho), b * (1.0 + rho)


def minimum_total_variance(xp, a, b, rho, m, sigma):
    """Smallest total variance of the slice; a slice is usable where it is above 0."""
    return a + b * sigma * xp.sqrt(1.0 - rho * rho)
