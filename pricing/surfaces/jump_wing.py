"""Jump-wing SVI (Gatheral and Jacquier 2014, eq. 3.5) and its exact maps to and from raw SVI (lemma 3.2).

v        at-the-money variance, per year
psi      at-the-money skew, d vol / dk times sqrt(tau)
p, c     slopes of the put and the call wing, over the at-the-money deviation sqrt(v tau)
v_tilde  smallest variance, per year

These are the numbers traders read. They depend on tau: convert with the expiry's own.
"""


def from_raw(xp, a, b, rho, m, sigma, tau):
    """Jump-wing v psi p c v_tilde of a raw slice; w > 0 at the money, tau > 0."""
    root = xp.sqrt(m * m + sigma * sigma)
    at_the_money = a + b * (root - rho * m)
    deviation = xp.sqrt(at_the_money)
    skew = 0.5 * b * (rho - m / root) / deviation
    lowest = a + b * sigma * xp.sqrt((1.0 - rho) * (1.0 + rho))
    return at_the_money / tau, skew, b * (1.0 - rho) / deviation, b * (1.0 + rho) / deviation, lowest / tau


def to_raw(xp, v, psi, p, c, v_tilde, tau):
    """Raw a b rho m sigma of a jump-wing slice; p, c >= 0, p + c > 0, v >= v_tilde.

    With beta = m / sqrt(m^2 + sigma^2), (v - v_tilde) tau = b sqrt(m^2 + sigma^2) [1 - rho beta - sqrt((1 - rho^2)
    (1 - beta^2))]; multiplied out the bracket is (rho - beta)^2 over its conjugate, so nothing is special at m = 0
    and nothing cancels. psi = 0 means v = v_tilde: these five numbers then say nothing about sigma, and m, sigma
    and a are NaN. The same where no slice has them (|beta| > 1).
    """
    deviation = xp.sqrt(v * tau)
    b = 0.5 * deviation * (c + p)
    rho = (c - p) / (c + p)
    apart = 4.0 * psi / (c + p)
    beta = rho - apart
    bend = xp.sqrt((1.0 - beta) * (1.0 + beta))
    root_rho = 2.0 * xp.sqrt(c * p) / (c + p)
    reach = (v - v_tilde) * tau / b * (1.0 - rho * beta + root_rho * bend) / (apart * apart)
    sigma = bend * reach
    return v_tilde * tau - b * sigma * root_rho, b, rho, beta * reach, sigma
