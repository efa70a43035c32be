"""Black-76: European option on a forward, in the forward's own numeraire (Black 1976, eq. 16).

value = D [ s F N(s d1) - s K N(s d2) ],  d1 = ln(F/K)/v + v/2,  d2 = d1 - v,  v = vol sqrt(tau).

Computed as intrinsic value plus the out-of-the-money option. With f = min(F, K), k = max(F, K),
a1 = -|ln(F/K)|/v + v/2 and a2 = a1 - v, one has f phi(a1) = k phi(a2), so both cumulative normals
come from one exponential and two Mills ratios M(x) = N(-x)/phi(x). Nothing cancels deep in or out
of the money. tau = 0 or vol = 0 gives the discounted intrinsic value and the limits of the Greeks.
"""

INVERSE_SQRT_TWO_PI = 0.3989422804014327


def value(xp, forward, strike, tau, vol, discount, sign):
    """Value of one unit, in the currency the forward is quoted in."""
    # Guarded before the root, so that its derivative at expiry is 0 and not infinite.
    total = vol * xp.where(tau > 0.0, xp.sqrt(xp.where(tau > 0.0, tau, 1.0)), 0.0)
    deviation = xp.where(total > 0.0, total, 1.0)
    low = xp.minimum(forward, strike)
    high = xp.maximum(forward, strike)
    a1 = xp.log_ratio(low, high) / deviation + 0.5 * deviation
    a2 = a1 - deviation
    weight = low * (INVERSE_SQRT_TWO_PI * xp.exp(-0.5 * a1 * a1))
    upper = weight * xp.mills_ratio(xp.abs(a1))
    lower = weight * xp.mills_ratio(-a2)
    out_of_the_money = xp.where(a1 < 0.0, upper, low - upper) - lower
    time_value = xp.where(total > 0.0, xp.maximum(out_of_the_money, 0.0), 0.0)
    return discount * (xp.maximum(sign * (forward - strike), 0.0) + time_value)


def greeks(xp, forward, strike, tau, vol, discount, sign):
    """Raw derivatives: value, delta, gamma, vega, theta, rho, vanna, volga, charm.

    delta, gamma and vanna are with respect to the forward; vega, vanna, volga per 1.00 of vol; theta
    and charm per year of passing time at a constant discount rate -ln(D)/tau; rho per 1.00 of rate,
    the forward moving with the rate at a fixed spot (dV/dr with F = S exp(r tau)), which is
    sign * tau * K * D * N(sign d2).
    """
    total = vol * xp.sqrt(tau)
    alive = total > 0.0
    deviation = xp.where(alive, total, 1.0)
    moneyness = xp.log_ratio(forward, strike)
    d1 = moneyness / deviation + 0.5 * deviation
    d2 = d1 - deviation
    payoff_sign = xp.where(forward > strike, 1.0, xp.where(forward < strike, -1.0, 0.0))
    cumulative_1 = xp.where(alive, xp.normal_cdf(sign * d1), 0.5 + 0.5 * sign * payoff_sign)
    cumulative_2 = xp.where(alive, xp.normal_cdf(sign * d2), 0.5 + 0.5 * sign * payoff_sign)
    density = xp.where(alive, INVERSE_SQRT_TWO_PI * xp.exp(-0.5 * d1 * d1), 0.0)
    safe_tau = xp.where(tau > 0.0, tau, 1.0)
    safe_vol = xp.where(alive, vol, 1.0)
    rate = xp.where(tau > 0.0, -xp.log(discount) / safe_tau, 0.0)
    root = xp.sqrt(tau)
    price = value(xp, forward, strike, tau, vol, discount, sign)
    delta = discount * sign * cumulative_1
    gamma = discount * density / (forward * deviation)
    vega = discount * forward * density * root
    theta = rate * price - 0.5 * gamma * forward * forward * safe_vol * safe_vol
    rho = sign * tau * strike * discount * cumulative_2
    vanna = -discount * density * d2 / safe_vol
    volga = vega * d1 * d2 / safe_vol
    charm = rate * delta + discount * density * d2 / (2.0 * safe_tau)
    return price, delta, gamma, vega, theta, rho, vanna, volga, charm
