"""Bachelier: European option on a forward that moves by a normal law; vol is in price units (Bachelier 1900).

value = D [ s (F - K) N(s d) + v phi(d) ],  d = (F - K)/v,  v = vol sqrt(tau).

Forward and strike may have any sign. Computed as intrinsic value plus the option that is out of the money, which is
v phi(h) G(h) with h = |d| and G(h) = 1 - h M(h), M the Mills ratio; xp gives G without subtracting. F - K is taken
as a sum of two doubles, and the roundings of v, h and its square are carried along to first order, because the
exponent -h^2/2 reaches -690. tau = 0 or vol = 0 gives the discounted intrinsic value and the limits of the Greeks;
one that grows without bound there (at the money: gamma, zomma, color, and at tau = 0 theta and veta) is given
without the unbounded part.
"""

INVERSE_SQRT_TWO_PI = 0.3989422804014327
SIGNED_PRICES = True  # forward and strike may be 0 or below
SMALLEST_VARIANCE = 1.0e-290  # at and below it the option has its value at expiry
FARTHEST = 100.0  # deviations from the money; phi is 0 there
SOONEST = 1.0e-290  # years; at and below it the Greeks are those at expiry
LARGEST = 1.0e100  # of vol and of tau, so that their product stays finite


def value(xp, forward, strike, tau, vol, discount, sign):
    """Value of one unit, in the currency the forward is quoted in."""
    _, _, _, _, time_value, _, _ = _state(xp, forward, strike, tau, vol)
    return discount * xp.fused(sign, _inside(xp, forward, strike, sign), time_value)


def greeks(xp, forward, strike, tau, vol, discount, sign):
    """Raw derivatives: value, delta, gamma, vega, theta, rho, vanna, volga, charm.

    As for Black-76, with vol in price units per sqrt(year): rho is dV/dr with F = S exp(r tau), which is
    tau (F delta - V).
    """
    first, _ = _derivatives(xp, forward, strike, tau, vol, discount, sign)
    return first


def greeks_to_third_order(xp, forward, strike, tau, vol, discount, sign):
    """What `greeks` gives, then veta, speed, zomma, color, ultima."""
    first, shared = _derivatives(xp, forward, strike, tau, vol, discount, sign)
    _, _, gamma, vega, _, _, _, _, _ = first
    per_deviation, d, rate, half_life, per_vol = shared
    square = d * d
    veta = vega * (rate - (1.0 + square) * half_life)
    speed = -gamma * d * per_deviation
    zomma = gamma * (square - 1.0) * per_vol
    color = gamma * (rate + (1.0 - square) * half_life)
    ultima = vega * square * (square - 3.0) * per_vol * per_vol
    return (*first, veta, speed, zomma, color, ultima)


def _inside(xp, forward, strike, sign):
    """forward - strike where the option is in the money, else 0.

    At the money a call is inside and a put is not, as for `_state`: automatic derivatives then agree on the side.
    """
    difference = forward - strike
    return xp.where((difference >= 0.0) == (sign > 0.0), difference, 0.0)


def _derivatives(xp, forward, strike, tau, vol, discount, sign):
    """The nine of `greeks`, and what the third order shares with them."""
    alive, deviation, per_deviation, h, time_value, density, tail = _state(xp, forward, strike, tau, vol)
    above = forward > strike
    d = xp.where(above, h, -h)
    cumulative = xp.where(above == (sign > 0.0), 1.0 - tail, tail)
    dated = tau > SOONEST
    per_root = xp.rsqrt(xp.where(dated, tau, 1.0))
    root = xp.where(dated, tau * per_root, 0.0)
    per_tau = xp.where(dated, per_root * per_root, 0.0)
    half_life = 0.5 * per_tau
    rate = -xp.log(discount) * per_tau
    per_vol = xp.where(alive, root * per_deviation, 0.0)
    weight = discount * density
    price = discount * xp.fused(sign, _inside(xp, forward, strike, sign), time_value)
    delta = discount * sign * cumulative
    gamma = xp.where(alive, weight * per_deviation, 0.0)
    vega = weight * root
    theta = xp.fused(rate, price, xp.where(alive, -weight * deviation * half_life, 0.0))
    rho = tau * xp.fused(forward, delta, -price)
    vanna = -weight * d * per_vol
    volga = vega * d * d * per_vol
    charm = rate * delta + weight * d * half_life
    first = (price, delta, gamma, vega, theta, rho, vanna, volga, charm)
    return first, (per_deviation, d, rate, half_life, per_vol)


def _state(xp, forward, strike, tau, vol):
    """Whether the option lives, v, 1/v, h, the value out of the money, phi(h) and N(-h), undiscounted."""
    vol, tau = xp.minimum(vol, LARGEST), xp.minimum(tau, LARGEST)
    square = vol * vol
    variance = square * tau
    alive = variance > SMALLEST_VARIANCE
    # Guarded before the root, so that its derivative at expiry is 0 and not infinite.
    safe_variance = xp.where(alive, variance, 1.0)
    per_v = xp.rsqrt(safe_variance)
    v = safe_variance * per_v
    lost = xp.product_minus(square, tau, variance) + tau * xp.product_minus(vol, vol, square)
    v_error = xp.where(alive, 0.5 * (lost - xp.product_minus(v, v, safe_variance)) * per_v * per_v, 0.0)

    # forward - strike as a sum of two doubles (Knuth 1969, TwoSum).
    difference = forward - strike
    shift = difference - forward
    lost = (forward - (difference - shift)) - (strike + shift)
    above = difference >= 0.0
    distance = xp.where(above, difference, -difference)
    lost = xp.where(above, lost, -lost)
    ratio = distance * per_v
    close = ratio < FARTHEST
    h = xp.where(close, ratio, FARTHEST)
    h_error = (lost - xp.product_minus(h, v, distance)) * per_v - h * v_error
    h_square = h * h
    square_error = xp.product_minus(h, h, h_square) + 2.0 * h * h_error
    density = INVERSE_SQRT_TWO_PI * xp.exp(-0.5 * h_square) * (1.0 - 0.5 * square_error)
    density = xp.where(close & alive, density, xp.where(distance > 0.0, 0.0, INVERSE_SQRT_TWO_PI))
    mills, rest = xp.mills_and_rest(h)
    time_value = xp.where(alive, v * density * rest, 0.0)
    tail = xp.where(alive, density * mills, xp.where(distance > 0.0, 0.0, 0.5))
    return alive, v, per_v, xp.where(alive, h, 0.0), time_value, density, tail
