"""SSVI (Gatheral and Jacquier 2014, section 4) and extended SSVI (Hendriks and Martini 2019): slices of three numbers.

w(k) = theta/2 [ 1 + rho phi k + sqrt((phi k + rho)^2 + 1 - rho^2) ],  k = ln(K/F),

theta = w(0) > 0, rho in (-1, 1), phi > 0; psi = theta phi. SSVI has one rho and one function phi(theta) for all
expiries, extended SSVI a rho and a psi of each. Every slice is a raw SVI slice.
"""


def total_variance(xp, k, theta, rho, phi):
    """Total variance at log-moneyness k; parameters broadcast against k."""
    x = phi * k
    return 0.5 * theta * (1.0 + rho * x + xp.sqrt((x + rho) * (x + rho) + 1.0 - rho * rho))


def to_raw(xp, theta, rho, phi):
    """Raw a b rho m sigma of the slice."""
    square = (1.0 - rho) * (1.0 + rho)
    return 0.5 * theta * square, 0.5 * theta * phi, rho, -rho / phi, xp.sqrt(square) / phi


def parameter_derivatives(xp, k, theta, rho, psi):
    """d total variance / d (theta, rho, psi) at log-moneyness k."""
    phi = psi / theta
    x = phi * k
    root = xp.sqrt((x + rho) * (x + rho) + 1.0 - rho * rho)
    by_phi = 0.5 * theta * k * (rho + (x + rho) / root)
    by_theta = 0.5 * (1.0 + rho * x + root) - by_phi * phi / theta
    return by_theta, 0.5 * theta * x * (1.0 + 1.0 / root), by_phi / theta


def power_law(xp, theta, eta, gamma):
    """phi(theta) = eta / (theta^gamma (1 + theta)^(1 - gamma)) (Gatheral and Jacquier 2014, eq. 4.10).

    0 < gamma <= 1/2 and eta (1 + |rho|) <= 2 make every surface with an increasing theta free of static arbitrage.
    """
    return eta * xp.exp(-gamma * xp.log(theta) - (1.0 - gamma) * xp.log(1.0 + theta))


def heston_like(xp, theta, rate):
    """phi(theta) = [1 - (1 - exp(-x)) / x] / x, x = rate theta (Gatheral and Jacquier 2014, example 4.1).

    rate >= (1 + |rho|) / 4 makes every surface with an increasing theta free of static arbitrage.
    """
    x = rate * theta
    small = x < 0.1
    near, far = xp.where(small, x, 0.0), xp.where(small, 1.0, x)
    series = 1.0
    for factor in (10.0, 9.0, 8.0, 7.0, 6.0, 5.0, 4.0, 3.0):
        series = 1.0 - near / factor * series
    series = 0.5 * series
    return xp.where(small, series, (1.0 - (1.0 - xp.exp(-far)) / far) / far)


def sufficient_psi(xp, theta, rho):
    """Largest psi of the sufficient butterfly conditions (Gatheral and Jacquier 2014, theorem 4.2).

    psi (1 + |rho|) <= 4 and psi^2 (1 + |rho|) <= 4 theta; the exact bound is about twice as large at small theta.
    """
    steep = 1.0 + xp.abs(rho)
    return xp.minimum(4.0 / steep, 2.0 * xp.sqrt(theta / steep))


def wing_ratio(xp, rho_earlier, rho_later):
    """Smallest psi_later / psi_earlier for which both wings of the later slice are at least as steep."""
    return xp.maximum((1.0 + rho_earlier) / (1.0 + rho_later), (1.0 - rho_earlier) / (1.0 - rho_later))


def calendar_margin(xp, earlier, later):
    """At least 0 where two slices (theta, rho, psi) meet the sufficient calendar conditions, else below 0.

    theta2 >= theta1, psi1 wing_ratio <= psi2 <= psi1 theta2 / theta1 (Mingone 2022; Pasquazzi 2023 on why the last
    one is needed). The smallest of the three, each relative to its bound.
    """
    theta1, rho1, psi1 = earlier
    theta2, rho2, psi2 = later
    growth = theta2 / theta1
    lowest = psi1 * wing_ratio(xp, rho1, rho2)
    return xp.minimum(xp.minimum(growth - 1.0, psi2 / lowest - 1.0), psi1 * growth / psi2 - 1.0)


def wing_margin(xp, earlier, later):
    """As `calendar_margin` with the conditions on theta and on both wings only: necessary, not sufficient."""
    theta1, rho1, psi1 = earlier
    theta2, rho2, psi2 = later
    return xp.minimum(theta2 / theta1 - 1.0, psi2 / (psi1 * wing_ratio(xp, rho1, rho2)) - 1.0)
