"""Natural SVI (Gatheral and Jacquier 2014, eq. 3.2) and its exact maps to and from raw SVI (eq. 3.3, 3.4).

w(k) = delta + omega/2 [ 1 + zeta rho (k - mu) + sqrt((zeta (k - mu) + rho)^2 + 1 - rho^2) ],  k = ln(K/F).
"""


def total_variance(xp, k, delta, mu, rho, omega, zeta):
    """Total variance at log-moneyness k; parameters broadcast against k; zeta > 0, |rho| < 1."""
    x = zeta * (k - mu)
    return delta + 0.5 * omega * (1.0 + rho * x + xp.sqrt((x + rho) * (x + rho) + 1.0 - rho * rho))


def to_raw(xp, delta, mu, rho, omega, zeta):
    """Raw a b rho m sigma of a natural slice; zeta > 0, |rho| < 1."""
    square = (1.0 - rho) * (1.0 + rho)
    return delta + 0.5 * omega * square, 0.5 * omega * zeta, rho, mu - rho / zeta, xp.sqrt(square) / zeta


def from_raw(xp, a, b, rho, m, sigma):
    """Natural delta mu rho omega zeta of a raw slice; sigma > 0, |rho| < 1 (a wing slope of 0 has no natural form)."""
    square = (1.0 - rho) * (1.0 + rho)
    root = xp.sqrt(square)
    return a - b * sigma * root, m + rho * sigma / root, rho, 2.0 * b * sigma / root, root / sigma
