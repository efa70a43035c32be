"""Raw SVI written by its wings, for least squares: smallest w, square roots of the wing slopes, m and sigma.

w(k) = v + P^2 (r - x) / 2 + Q^2 (r + x) / 2 - sigma P Q,   x = k - m,  r = sqrt(x^2 + sigma^2).

Every admissible slice is a point of a box in v > 0 and 0 <= P, Q <= sqrt(2), and w is a polynomial in P and Q.
"""


def total_variance_and_derivatives(xp, k, lowest, left, right, m, sigma):
    """w at log-moneyness k, and dw / d (P, Q, m, sigma); dw / dv is 1."""
    x = k - m
    root = xp.sqrt(x * x + sigma * sigma)
    inverse = 1.0 / root
    tilt = x * inverse
    steep_left, steep_right, cross = left * left, right * right, left * right
    w = lowest + 0.5 * (steep_left * (root - x) + steep_right * (root + x)) - sigma * cross
    by_left = left * (root - x) - sigma * right
    by_right = right * (root + x) - sigma * left
    by_m = 0.5 * (steep_left * (1.0 - tilt) - steep_right * (1.0 + tilt))
    by_sigma = 0.5 * (steep_left + steep_right) * sigma * inverse - cross
    return w, by_left, by_right, by_m, by_sigma
