"""Black-76: European option on a forward, in the forward's own numeraire (Black 1976, eq. 16).

value = D [ s F N(s d1) - s K N(s d2) ],  d1 = ln(F/K)/v + v/2,  d2 = d1 - v,  v = vol sqrt(tau).

Computed as intrinsic value plus the out-of-the-money option. With f = min(F, K), k = max(F, K), x = ln(k/f),
h = x/v, t = v/2, the Mills ratio M(z) = N(-z)/phi(z) and G(z) = 1 - z M(z), that option is worth per f

    c = phi(h - t) [M(h - t) - M(h + t)],  or  1 - phi(t - h) [M(t - h) + M(t + h)]  where h < t,

because f phi(h - t) = k phi(h + t): one exponential serves both cumulative normals. The difference of the Mills
ratios is taken in the form that does not cancel, with a = h - t and b = h + t:

    a < 1:   M(a) - M(b);
    else:    v/(ab) - G(a)/a + G(b)/b, because M(z) = 1/z - G(z)/z;
    small v and x:   v exp(t^2/2) [ (sinh y / y) G(h) - t^2 R(t^2, y^2) ],  y = h t = x/2,

the last from M(z + u) = exp(z u + u^2/2) [M(z) - integral of exp(-z w - w^2/2) over 0 < w < u], where R is a short
double power series (sinh y / y - t^2 R = integral over 0 < w < 1 of exp(-t^2 w^2/2) cosh(y (1 - w))). The exponent
-(h - t)^2/2 reaches -690, so the roundings of x, sqrt(tau), v, h, their difference and its square are carried
along to first order. What is left is below 1e-13 of the price, down to prices of 1e-300.

`usual_value` and `usual_greeks` are a short way for options within 8 deviations: there the roundings of the exponent
and M(a) - M(b) for all but the smallest v stay below 6e-14 of the price by themselves (the exponent: a^2 roundings;
the difference: a / v roundings), and the first of the two series can end earlier. They say of each option whether
that is enough; a compiled loop takes the long way for the others.

tau = 0 or vol = 0 gives the discounted intrinsic value and the limits of the Greeks; one that grows without bound
there (at the money: gamma, speed, zomma, color, and at tau = 0 theta and charm) is given without the unbounded part.
"""

INVERSE_SQRT_TWO_PI = 0.3989422804014327
NEAR = 0.25  # the series serve v and x below it
SMALLEST_VARIANCE = 1.0e-290  # of the logarithm; at and below it the option has its value at expiry
LARGEST_VARIANCE = 1.0e6  # beyond it a call is worth its forward anyhow
LARGEST_DEVIATION = 1.0e3
SOONEST = 1.0e-290  # years; at and below it the Greeks are those at expiry
LARGEST = 1.0e100  # of vol and of tau, so that their product stays finite
# What the short way is good for: deviations, and those per v; the v in which the shorter series serves.
FARTHEST_USUAL = 8.0
FARTHEST_PER_V = 50.0
CLOSE = 0.0625
FARTHEST = 100.0  # deviations from the money; phi is 0 there


def value(xp, forward, strike, tau, vol, discount, sign):
    """Value of one unit, in the currency the forward is quoted in."""
    _, _, _, _, _, time_value, _, _, _ = _state(xp, forward, strike, tau, vol)
    # One side for the money itself, here and for min and max: automatic derivatives there need that all agree on it.
    above = forward > strike
    inside = xp.where(above == (sign > 0.0), sign * (forward - strike), 0.0)
    return discount * xp.fused(time_value, xp.where(above, strike, forward), inside)


def greeks(xp, forward, strike, tau, vol, discount, sign):
    """Raw derivatives: value, delta, gamma, vega, theta, rho, vanna, volga, charm.

    delta, gamma and vanna are with respect to the forward; vega, vanna, volga per 1.00 of vol; theta
    and charm per year of passing time at a constant discount rate -ln(D)/tau; rho per 1.00 of rate,
    the forward moving with the rate at a fixed spot (dV/dr with F = S exp(r tau)), which is
    sign * tau * K * D * N(sign d2).
    """
    state = _state(xp, forward, strike, tau, vol)
    first, _ = _derivatives(xp, forward, strike, tau, discount, sign, state)
    return first


def greeks_to_third_order(xp, forward, strike, tau, vol, discount, sign):
    """What `greeks` gives, then veta, speed, zomma, color, ultima.

    veta and color are the changes of vega and gamma per year of passing time, speed d gamma/dF,
    zomma d gamma/dvol, ultima d volga/dvol.
    """
    state = _state(xp, forward, strike, tau, vol)
    first, shared = _derivatives(xp, forward, strike, tau, discount, sign, state)
    _, _, gamma, vega, _, _, _, _, _ = first
    alive, per_deviation, d1, d2, rate, half_life, per_vol, root, per_forward = shared
    product = d1 * d2
    veta = vega * (rate - (1.0 + product) * half_life)
    speed = -gamma * per_forward * (1.0 + d1 * per_deviation)
    zomma = gamma * (product - 1.0) * per_vol
    color = gamma * (rate + (1.0 - product) * half_life)
    # At vol = 0 at the money d1/vol = -d2/vol = sqrt(tau)/2 is all that is left.
    bend = (product * (1.0 - product) + d1 * d1 + d2 * d2) * per_vol * per_vol
    ultima = -vega * xp.where(alive, bend, 0.25 * root * root)
    return (*first, veta, speed, zomma, color, ultima)


def usual_terms(xp, forward, strike, tau, vol):
    """v, 1/v and |ln(F/K)|: what the rest of the short way begins with.

    A compiled loop takes this for some rows before the rest for the same rows: two short chains of operations, of
    which a processor works on several rows at once, take less time than a long one.
    """
    variance = vol * vol * tau
    per_s = xp.rsqrt(variance)
    return variance * per_s, per_s, xp.log_ratio(xp.maximum(forward, strike), xp.minimum(forward, strike))


def usual_value(xp, terms, forward, strike, discount, sign):
    """`value` without what only far and faint options need, and whether that is enough for this one."""
    usual, state = _usual_state(xp, terms)
    _, _, time_value, _, _, _, _ = state
    return usual, discount * xp.fused(
        time_value, xp.minimum(forward, strike), xp.maximum(sign * (forward - strike), 0.0)
    )


def usual_greeks(xp, terms, log_discount, forward, strike, tau, vol, discount, sign):
    """`greeks` from `usual_terms` and ln(D), as short as `usual_value`, and whether that is enough.

    F N(s d1) and K N(s d2) are built from the smaller of F and K, so that the quotient of the two is never needed;
    sqrt(tau) and 1/tau are products of the vol and 1/v.
    """
    s, per_s, _ = terms
    usual, (a, b, time_value, weight, mills_a, mills_b, beyond) = _usual_state(xp, terms)
    call_outside = forward <= strike
    outside = call_outside == (sign > 0.0)
    low, high = xp.minimum(forward, strike), xp.maximum(forward, strike)
    spread = weight * low
    # min(F, K) N at h + t, at h - t, and what is left of it. Fused where it is, as in the state.
    far = spread * mills_b
    near = xp.fused(time_value, low, far)
    rest = xp.where(beyond, low - near, spread * mills_a)
    near_leg, far_leg = xp.where(outside, near, rest), xp.where(outside, far, xp.fused(-spread, mills_b, high))
    forward_leg = xp.where(call_outside, near_leg, far_leg)
    strike_leg = xp.where(call_outside, far_leg, near_leg)
    per_root = vol * per_s
    per_tau, root = per_root * per_root, tau * per_root
    per_vol, per_forward, signed_discount = root * per_s, 1.0 / forward, discount * sign
    price = discount * xp.fused(time_value, low, xp.maximum(sign * (forward - strike), 0.0))
    delta = signed_discount * forward_leg * per_forward
    spread = discount * spread
    density = spread * per_forward
    gamma = density * per_s * per_forward
    vega = spread * root
    theta = per_tau * xp.fused(-log_discount, price, -(spread * (0.5 * s)))
    rho = signed_discount * tau * strike_leg
    turn = density * xp.where(call_outside, b, -a)
    vanna = turn * per_vol
    volga = vega * a * b * per_vol  # d1 d2 is a b on either side
    charm = per_tau * xp.fused(-log_discount, delta, -0.5 * turn)
    return usual, (price, delta, gamma, vega, theta, rho, vanna, volga, charm)


def _derivatives(xp, forward, strike, tau, discount, sign, state):
    """The nine of `greeks` from `_state`, and what the third order shares with them."""
    alive, deviation, per_deviation, a, b, time_value, weight, lower, complement = state
    call_outside = forward <= strike
    low, high = xp.minimum(forward, strike), xp.maximum(forward, strike)
    d1 = xp.where(call_outside, -a, b)
    d2 = xp.where(call_outside, -b, a)
    # N of the side that is out of the money, for the smaller and the larger of F and K.
    ratio = low / high
    inner, outer = time_value + lower, lower * ratio
    outside = call_outside == (sign > 0.0)
    towards, away = xp.where(outside, inner, complement), xp.where(outside, outer, 1.0 - outer)
    cumulative_1 = xp.where(call_outside, towards, away)
    cumulative_2 = xp.where(call_outside, away, towards)
    root, per_tau, rate = _rates_of_time(xp, tau, discount)
    half_life = 0.5 * per_tau
    per_vol = xp.where(alive, root * per_deviation, 0.0)
    per_forward = 1.0 / forward
    density = discount * weight * xp.where(call_outside, 1.0, ratio)
    price = discount * xp.fused(time_value, low, xp.maximum(sign * (forward - strike), 0.0))
    delta = discount * sign * cumulative_1
    gamma = xp.where(alive, density * per_deviation * per_forward, 0.0)
    spread = discount * weight * low
    vega = spread * root
    theta = xp.fused(rate, price, xp.where(alive, -spread * deviation * half_life, 0.0))
    rho = sign * tau * strike * discount * cumulative_2
    vanna = -density * xp.where(alive, d2 * per_vol, -0.5 * root)
    volga = vega * d1 * d2 * per_vol
    charm = rate * delta + density * d2 * half_life
    first = (price, delta, gamma, vega, theta, rho, vanna, volga, charm)
    return first, (alive, per_deviation, d1, d2, rate, half_life, per_vol, root, per_forward)


def _rates_of_time(xp, tau, discount):
    """sqrt(tau), 1/tau and the rate -ln(D)/tau; 0 each where the option has expired."""
    dated = tau > SOONEST
    per_root = xp.rsqrt(xp.where(dated, tau, 1.0))
    root = xp.where(dated, tau * per_root, 0.0)
    per_tau = xp.where(dated, per_root * per_root, 0.0)
    return root, per_tau, -xp.log(discount) * per_tau


def _state(xp, forward, strike, tau, vol):
    """Whether the option lives, v, 1/v, h - t, h + t, c, phi(h - t), phi(h - t) M(h + t), 1 - N(t - h).

    c is per min(F, K), as are the tails, and undiscounted. All is 0 or a limit where the option does not live.
    """
    vol, tau = xp.minimum(vol, LARGEST), xp.minimum(tau, LARGEST)
    square = vol * vol
    variance = square * tau
    alive = variance > SMALLEST_VARIANCE
    bounded = alive & (variance < LARGEST_VARIANCE)
    # Guarded before the root, so that its derivative at expiry is 0 and not infinite.
    safe_variance = xp.where(bounded, variance, xp.where(alive, LARGEST_VARIANCE, 1.0))
    per_s = xp.rsqrt(safe_variance)
    s = xp.where(bounded, safe_variance * per_s, xp.where(alive, LARGEST_DEVIATION, 1.0))
    lost = xp.product_minus(square, tau, variance) + tau * xp.product_minus(vol, vol, square)
    lost = xp.where(bounded, lost - xp.product_minus(s, s, safe_variance), 0.0)
    s_error = 0.5 * lost * per_s * per_s

    above = forward > strike
    low, high = xp.where(above, strike, forward), xp.where(above, forward, strike)
    x, x_rest = xp.log_ratio_parts(high, low)
    ratio = x * per_s
    close = ratio < FARTHEST
    h = xp.where(close, ratio, FARTHEST)
    a, b, weight = _density(xp, h, 0.5 * s, (x_rest - xp.product_minus(h, s, x)) * per_s, s_error)
    weight = xp.where(close & alive, weight, xp.where(x > 0.0, 0.0, INVERSE_SQRT_TWO_PI))

    near = (s < NEAR) & (x < NEAR)
    distance = xp.abs(a)
    mills_a, rest_a, mills_b, rest_b = xp.mills_and_rest_of_two(xp.where(near, h, distance), b)
    inside = distance < 1.0
    far = xp.where(inside, 1.0, distance)
    per_product = 1.0 / (far * b)
    split = xp.where(inside, mills_a - mills_b, (s - rest_a * b + rest_b * far) * per_product)
    bracket = xp.where(near, s * _near_difference(xp, rest_a, 0.25 * s * s, x), split)
    beyond = near | (a > 0.0)
    lower = weight * mills_b
    time_value = xp.where(beyond, weight * bracket, xp.fused(-weight, mills_a + mills_b, 1.0))
    time_value = xp.where(alive, xp.maximum(time_value, 0.0), 0.0)
    lower = xp.where(alive, lower, xp.where(x > 0.0, 0.0, 0.5))
    left = 1.0 - time_value - lower
    complement = xp.where(beyond, left, xp.where(alive, weight * mills_a, left))
    a, b = xp.where(alive, a, 0.0), xp.where(alive, b, 0.0)
    return alive, s, per_s, a, b, time_value, weight, lower, complement


def _usual_state(xp, terms):
    """Whether the option is a usual one, h - t, h + t, c, phi(h - t), M(|h - t|) or M(h), M(h + t), and whether c is
    a difference; without the roundings that far options feel.

    Usual is what lies within 8 deviations and where the Mills ratios differ by more than their last digits.
    """
    s, per_s, x = terms
    h = x * per_s
    t = 0.5 * s
    a, b = h - t, h + t
    weight = INVERSE_SQRT_TWO_PI * xp.exp(-0.5 * a * a)
    near = (s < CLOSE) & (x < NEAR)
    mills_a, mills_b = xp.mills_of_two(xp.where(near, h, xp.abs(a)), b)
    beyond = near | (a > 0.0)
    near_difference = s * _close_difference(xp, 1.0 - h * mills_a, t * t, x)
    bracket = xp.where(near, near_difference, xp.where(a > 0.0, mills_a - mills_b, mills_a + mills_b))
    # Fused where it is: left to the compiler, rows in vectors and the rows after the last one could differ.
    time_value = xp.where(beyond, weight * bracket, xp.fused(-weight, bracket, 1.0))
    usual = (a < FARTHEST_USUAL) & (near | (a < FARTHEST_PER_V * s))
    return usual, (a, b, time_value, weight, mills_a, mills_b, beyond)


def _density(xp, h, t, h_error, s_error):
    """h - t, h + t and phi(h - t), for the exact h = h + h_error - h s_error and t = t + t s_error."""
    a, b = h - t, h + t
    back = a - h
    error = (h - (a - back)) - (t + back) + h_error - b * s_error
    square = a * a
    square_error = xp.product_minus(a, a, square) + 2.0 * a * error
    return a, b, INVERSE_SQRT_TWO_PI * xp.exp(-0.5 * square) * (1.0 - 0.5 * square_error)


def _near_difference(xp, rest, t_squared, x):
    """(M(h - t) - M(h + t)) / v for v and x below NEAR, to 1e-16; rest is G(h)."""
    a, b = t_squared, 0.25 * x * x
    sinh_ratio = 1.0 + b * (1.0 / 6.0 + b * (1.0 / 120.0 + b * (1.0 / 5040.0 + b / 362880.0)))
    # Coefficient of a^n b^m: -(-1/2)^(n+1) (2n+2)! / ((n+1)! (2n+2m+3)!).
    r = -1.0 / 599040.0
    r = r * a + (1.0 / 42240.0 + b / 6589440.0)
    r = r * a + (-1.0 / 3456.0 - b * (1.0 / 380160.0 + b / 59304960.0))
    r = r * a + (1.0 / 336.0 + b * (1.0 / 24192.0 + b / 2661120.0))
    r = r * a + (-1.0 / 40.0 - b * (1.0 / 1680.0 + b * (1.0 / 120960.0 + b / 13305600.0)))
    r = r * a + (1.0 / 6.0 + b * (1.0 / 120.0 + b * (1.0 / 5040.0 + b * (1.0 / 362880.0 + b / 39916800.0))))
    half = 0.5 * a
    growth = 1.0 + half * (1.0 + half * (0.5 + half * (1.0 / 6.0 + half * (1.0 / 24.0 + half / 120.0))))
    return growth * (sinh_ratio * rest - a * r)


def _close_difference(xp, rest, t_squared, x):
    """`_near_difference` for v below CLOSE."""
    b = 0.25 * x * x
    sinh_ratio = 1.0 + b * (1.0 / 6.0 + b * (1.0 / 120.0 + b * (1.0 / 5040.0 + b / 362880.0)))
    r = 1.0 / 336.0
    r = r * t_squared + (-1.0 / 40.0 - b * (1.0 / 1680.0))
    r = r * t_squared + (1.0 / 6.0 + b * (1.0 / 120.0 + b * (1.0 / 5040.0 + b / 362880.0)))
    half = 0.5 * t_squared
    growth = 1.0 + half * (1.0 + half * (0.5 + half * (1.0 / 6.0)))
    return growth * (sinh_ratio * rest - t_squared * r)
