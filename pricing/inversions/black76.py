"""Implied volatility of Black-76 by a fixed number of steps, at the limit of double precision.

With f = min(F, K), k = max(F, K), x = ln(k/f), s = vol sqrt(tau), h = x/s, t = s/2 and the Mills ratio
M(z) = N(-z)/phi(z), the out-of-the-money value per f and its distance from the maximum are

    c = phi(h - t) [M(h - t) - M(h + t)],      1 - c = phi(t - h) [M(t - h) + M(t + h)].

A first value of s, right to a few percent anywhere, is refined by two Householder steps of third order
(four times the digits each) on ln c, or on ln(1 - c) where h < t, because c alone says nothing there.
Jaeckel, Let's Be Rational (2013), splits the plane likewise. Logarithms are taken of quotients near one
and the exponent is subtracted, so no exponential is needed and tiny prices do not underflow.

Where s and x are small, M(h - t) - M(h + t) cancels. From M(z + u) = exp(z u + u^2/2) [M(z) - integral
of exp(-z v - v^2/2) over 0 < v < u], with y = x/2 = h t,

    M(h - t) - M(h + t) = s exp(t^2/2) E,   E = (sinh y / y) (1 - h M(h)) - t^2 R(t^2, y^2),
    sinh y / y - t^2 R = integral over 0 < v < 1 of exp(-t^2 v^2/2) cosh(y (1 - v)),

and R is a short double power series. An error in E moves ln s by no more than itself.
"""

SQRT_TWO_PI = 2.5066282746310002
NEAR = 1.0  # the series of E serves s and x below it
TINY = 1.0e-200  # of c; below it c is scaled up by SCALE, so that no quotient overflows
SCALE = 2.0**500
LN_SCALE = 346.57359027997264
SMALLEST_PRICE = 2.2250738585072014e-308  # below it doubles lose digits
SMALLEST_SQUARED = 1.0e-100  # of c at the money; its square vanishes beside 1
# price + ULP_FACTOR * price is always the next double above price.
ULP_FACTOR = 2.0**-53 * (1.0 + 2.0**-52)
# Within four roundings of an end of the price's range nobody can tell on which side of it a price lies.
INSIDE, OUTSIDE = 1.0 - 2.0**-50, 1.0 + 2.0**-50
# A further step would move s by some 200 times the fourth power of the last one: 1e-15, relative.
LARGEST_LAST_STEP = 5.0e-5
FARTHEST_INSIDE = 30.0  # deviations in the money; the price no longer tells the vol of such an option
FARTHEST = 1.0e10  # of the arguments of the Mills ratio, which is 1/x long before

# First value of s. Rational fits of this project; D is Abramowitz and Stegun (1964), 26.2.23.
SHARE = 0.6  # assumed share of N(-d1) in 1 - c
CLOSE = 1.0e-4  # spread/c below which the option counts as at the money
A0, A1, A2, A3, A4 = (
    0.3989598190372132,
    0.015017950861026608,
    0.04066027778875737,
    0.011339705981391337,
    0.007273724194429177,
)
B1, B2, B3, B4, B5 = (
    0.03898922646812905,
    0.09468947330775197,
    0.042932421812271714,
    0.008978385524047516,
    0.005129021777698616,
)
C0, C1, C2, C3, C4 = 1.2555504, 0.79796347, 0.21391935, 1.44510238, 0.79907105
D0, D1, D2, D3, D4, D5 = 2.515517, 0.802853, 0.010328, 1.432788, 0.189269, 0.001308
J1, J2, J3, J4, J5 = 0.14497776, 0.01368426, 3.43158415, 0.55577875, 0.02758637

# pricing.errors.Status; a formula imports nothing.
OK = 0.0
BELOW_INTRINSIC = 1.0
ABOVE_MAXIMUM = 2.0
NOT_CONVERGED = 3.0
NOT_DETERMINED = 6.0


def implied_vol(xp, price, forward, strike, tau, discount, sign, resolution, steps=1):
    """The vol and a status, one of the constants above; the vol means nothing unless the status is OK.

    forward, strike, tau, discount > 0, all finite. NOT_DETERMINED where the spacing of doubles at
    `price` moves vol by more than resolution * max(1, vol), and at both ends of the price's range.
    The four stages are apart so that a kernel can run each over a block of rows: together they are longer than
    what a processor looks ahead, and one row would wait for the other. `steps` come before the last one.
    """
    logarithm, x, value, rest = measured(xp, price, forward, strike, discount, sign)
    deviation = first_deviation(xp, logarithm, x, value, rest)
    for _ in range(steps):
        deviation = refined_deviation(xp, deviation, x, value, rest)
    contract = (price, forward, strike, tau, discount, sign)
    return vol_and_status(xp, (deviation, x, value, rest), contract, resolution)


def measured(xp, price, forward, strike, discount, sign):
    """What a first value is a function of, x, the value out of the money and the distance from the maximum.

    The two are per min(F, K). Where the value is tiny it is scaled up by SCALE, and negative as a sign of that.
    The first is the logarithm of `_guess`, negative as a sign of an option at the money.
    """
    difference, inside, time_value, complement, _, _ = _targets(xp, price, forward, strike, discount, sign)
    low = xp.minimum(forward, strike)
    per_low = 1.0 / low
    x = xp.log_ratio(xp.maximum(forward, strike), low)
    time_value = xp.where(inside, time_value, 0.5 * low)
    tiny = time_value < TINY * low
    value = xp.where(tiny, time_value * SCALE, time_value) * per_low
    rest = xp.where(inside, complement, 0.5 * low) * per_low
    spread = xp.abs(difference) * per_low
    high = rest < 0.5
    logarithm = xp.log_ratio(xp.where(high, 1.0, spread + value), xp.where(high, SHARE * rest, value))
    logarithm = xp.where(high, 2.0 * logarithm, logarithm + xp.where(tiny, LN_SCALE, 0.0))
    logarithm = xp.where((spread < CLOSE * value) & (rest >= 0.5), -1.0, logarithm)
    return logarithm, x, xp.where(tiny, -value, value), rest


def first_deviation(xp, logarithm, x, value, rest):
    """A first value of s."""
    return _guess(xp, logarithm, x, xp.abs(value), rest)


def refined_deviation(xp, deviation, x, value, rest):
    """The deviation after one step."""
    refined, _, _, _ = _refined(xp, deviation, x, xp.abs(value), xp.where(value < 0.0, LN_SCALE, 0.0), rest)
    return refined


def vol_and_status(xp, stage, contract, resolution):
    """The vol after another step, and its status, from what the first stage gave and the second refined."""
    deviation, x, value, rest = stage
    price, forward, strike, tau, discount, sign = contract
    log_scale = xp.where(value < 0.0, LN_SCALE, 0.0)
    deviation, last_step, slope, by_value = _refined(xp, deviation, x, xp.abs(value), log_scale, rest)
    _, inside, time_value, complement, below, above = _targets(xp, price, forward, strike, discount, sign)
    # At the money c = s / sqrt(2 pi) up to the cube of s, whose square would be lost for the smallest.
    c = time_value / xp.minimum(forward, strike)
    linear = (x == 0.0) & (c < SMALLEST_SQUARED)
    deviation = xp.where(linear, SQRT_TWO_PI * c, deviation)
    last_step, slope = xp.where(linear, 0.0, last_step), xp.where(linear, 1.0, slope)
    inside = inside & ((c >= SMALLEST_PRICE) | (x > 0.0))
    vol = deviation / xp.sqrt(tau)
    # d price / d s = discount * target / (s * slope), with the target whose logarithm was fitted.
    spacing = (price + price * ULP_FACTOR) - price
    target = xp.where(inside, xp.where(by_value, time_value, complement), 1.0)
    determined = inside & (spacing * slope * vol <= resolution * xp.maximum(vol, 1.0) * (discount * target))
    converged = xp.abs(last_step) <= LARGEST_LAST_STEP
    status = xp.where(determined, xp.where(converged, OK, NOT_CONVERGED), NOT_DETERMINED)
    return vol, xp.where(below, BELOW_INTRINSIC, xp.where(above, ABOVE_MAXIMUM, status))


def vol_at_exact_terms(xp, vol, forward, strike, tau, sign, forward_share, strike_share):
    """The vol of the same price at forward (1 + forward_share) and strike (1 + strike_share); shares are roundings.

    By dV/dF and dV/dK over vega, of which F n(d1) = K n(d2) leaves N(s d1)/n(d1) and N(s d2)/n(d2).
    """
    root = xp.sqrt(tau)
    s = vol * root
    x = xp.log_ratio(forward, strike)
    d1, d2 = x / s + 0.5 * s, x / s - 0.5 * s
    return vol - sign * (_tail_ratio(xp, sign * d1) * forward_share - _tail_ratio(xp, sign * d2) * strike_share) / root


def _tail_ratio(xp, d):
    """N(d) / n(d), up to d = FARTHEST_INSIDE."""
    distance = xp.minimum(xp.abs(d), FARTHEST)
    mills = xp.mills_ratio(distance)
    inside = xp.minimum(distance, FARTHEST_INSIDE)
    return xp.where(d > 0.0, SQRT_TWO_PI * xp.exp(0.5 * inside * inside) - mills, mills)


def _targets(xp, price, forward, strike, discount, sign):
    """F - K, whether the price is inside its range, value out of the money, distance from the maximum, below, above."""
    maximum = xp.where(sign > 0.0, forward, strike)
    # forward - strike as a sum of two doubles (Knuth 1969, TwoSum): the intrinsic value is subtracted exactly.
    difference = forward - strike
    shift = difference - forward
    lost = (forward - (difference - shift)) - (strike + shift)
    in_the_money = sign * difference > 0.0
    below = price < discount * xp.maximum(sign * difference, 0.0) * INSIDE
    above = price > discount * maximum * OUTSIDE
    undiscounted = xp.where(below | above, 0.0, price) / discount
    time_value = xp.where(in_the_money, (undiscounted - sign * difference) - sign * lost, undiscounted)
    complement = maximum - undiscounted
    inside = (time_value > 0.0) & (complement > 0.0) & (price >= SMALLEST_PRICE)
    return difference, inside, time_value, complement, below, above


def _refined(xp, s, x, value, log_scale, rest):
    """One Householder step: s, the step relative to s, |d ln s / d ln(target)|, whether the target is c."""
    inverse = 1.0 / s
    h = x * inverse
    t = 0.5 * s
    near = (s < NEAR) & (x < NEAR)
    by_value = near | (h > t)
    gap = xp.abs(h - t)
    low = xp.minimum(xp.where(near, h, gap), FARTHEST)
    mills_low, rest_low, mills_high, _ = xp.mills_and_rest_of_two(low, xp.minimum(h + t, FARTHEST))
    t_squared = xp.where(near, t * t, 0.0)
    difference = _near_difference(xp, rest_low, t_squared, xp.where(near, 0.25 * x * x, 0.0))
    bracket = xp.where(by_value, mills_low - mills_high, mills_low + mills_high)
    body = xp.where(near, s * difference, bracket)
    exponent = xp.where(near, 0.5 * (h * h - x), 0.5 * gap * gap)
    error = xp.log_ratio(body, SQRT_TWO_PI * xp.where(by_value, value, rest)) - exponent
    error = xp.where(by_value, error + log_scale, error)

    # Derivatives in units of s: 1/u with u = s d(ln target)/ds, g = s d(ln phi(h - t))/ds.
    half = 0.5 * t_squared
    growth = 1.0 + half * (1.0 + half * (0.5 + half * (1.0 / 6.0 + half * (1.0 / 24.0 + half * (1.0 / 120.0)))))
    slope = xp.where(near, difference * growth, bracket * inverse)
    signed = xp.where(by_value, slope, -slope)
    h_squared = h * h
    quarter = t * t
    g = h_squared - quarter
    # The two ratios of derivatives, g - u and g^2 - 3 h^2 - t^2 - 3 g u + 2 u^2, times newton u and its square.
    second = g * signed - 1.0
    third = (g * g - 3.0 * h_squared - quarter) * signed * signed - 3.0 * g * signed + 2.0
    damping = 1.0 / (1.0 - error * (second - error * third * (1.0 / 6.0)))
    step = -error * signed * (1.0 - 0.5 * error * second) * damping
    return s + s * step, step, slope, by_value


def _near_difference(xp, rest, a, b):
    """E of the head of this file for a = t^2 and b = y^2 up to 1/4, to 1e-16; rest is 1 - h M(h)."""
    sinh_ratio = 1.0 + b * (
        1.0 / 6.0
        + b * (1.0 / 120.0 + b * (1.0 / 5040.0 + b * (1.0 / 362880.0 + b * (1.0 / 39916800.0 + b / 6227020800.0))))
    )
    # Coefficient of a^n b^m: -(-1/2)^(n+1) (2n+2)! / ((n+1)! (2n+2m+3)!).
    r = 1.0 / 3530096640.0
    r = r * a + (-1.0 / 175472640.0 - b / 60011642880.0)
    r = r * a + (1.0 / 9676800.0 + b / 2632089600.0)
    r = r * a + (-1.0 / 599040.0 - b * (1.0 / 125798400.0 + b / 34217164800.0))
    r = r * a + (1.0 / 42240.0 + b * (1.0 / 6589440.0 + b * (1.0 / 1383782400.0 + b / 376388812800.0)))
    r = r * a + (-1.0 / 3456.0 - b * (1.0 / 380160.0 + b * (1.0 / 59304960.0 + b / 12454041600.0)))
    r = r * a + (
        1.0 / 336.0 + b * (1.0 / 24192.0 + b * (1.0 / 2661120.0 + b * (1.0 / 415134720.0 + b / 87178291200.0)))
    )
    r = r * a + (
        -1.0 / 40.0 - b * (1.0 / 1680.0 + b * (1.0 / 120960.0 + b * (1.0 / 13305600.0 + b * (1.0 / 2075673600.0))))
    )
    r = r * a + (
        1.0 / 6.0
        + b * (1.0 / 120.0 + b * (1.0 / 5040.0 + b * (1.0 / 362880.0 + b * (1.0 / 39916800.0 + b / 6227020800.0))))
    )
    return sinh_ratio * rest - a * r


def _guess(xp, logarithm, x, value, rest):
    """s to a few percent at worst: to 1e-3 or better where it is most often needed.

    Below the middle of the price range: the implied normal deviation by a rational fit in
    q = sqrt(ln(1 + spread/c)), then x/h_normal = h + t at leading order far from the money and
    1 - s^2/24 near it (Hagan et al. 2002), both of which ln(sinh y / y) joins. Above: N(d) = c with a
    guessed share of the second term, corrected once, and s = d + sqrt(d^2 + 2x).
    """
    high = rest < 0.5
    close = logarithm < 0.0
    logarithm = xp.abs(logarithm)
    q = logarithm * xp.rsqrt(logarithm)

    q_low = xp.where(close, 0.0, q)
    numerator = A0 + q_low * (A1 + q_low * (A2 + q_low * (A3 + q_low * A4)))
    denominator = 1.0 + q_low * (B1 + q_low * (B2 + q_low * (B3 + q_low * (B4 + q_low * B5))))
    scale = logarithm * numerator
    wide = 24.0 + x * (J3 + x * (J4 + x * J5))
    q_high = xp.where(high, q, 2.0)
    spread_of_d = 1.0 + q_high * (D3 + q_high * (D4 + q_high * D5))
    # One division for three, here and below: divisions are most of the time of a first value.
    inverse = 1.0 / (scale * wide * spread_of_d)
    normal = xp.where(close, value, x) * denominator * (inverse * wide * spread_of_d)
    joined = normal * normal * (1.0 + x * (J1 + x * J2)) * (inverse * scale * spread_of_d)
    left = xp.maximum(1.0 - 4.0 * joined, SMALLEST_PRICE)
    below = 1.0 + left * xp.rsqrt(left)

    d = q_high - (D0 + q_high * (D1 + q_high * D2)) * (inverse * scale * wide)
    outer = d * d + 2.0 * x
    over_d, under_d = _rough_mills(xp, d)
    over_outer, under_outer = _rough_mills(xp, outer * xp.rsqrt(outer))
    inverse = 1.0 / (below * under_d * under_outer)
    mills_d = over_d * (inverse * below * under_outer)
    part = SHARE * (mills_d + over_outer * (inverse * below * under_d))
    v = (mills_d - part) * (1.0 / (mills_d + part))
    d = d - 2.0 * v * (1.0 + v * v * (1.0 / 3.0)) * mills_d
    outer = d * d + 2.0 * x
    return xp.where(high, d + outer * xp.rsqrt(outer), 2.0 * normal * (inverse * under_d * under_outer))


def _rough_mills(xp, z):
    """Numerator and denominator of the Mills ratio to 2e-4 on z > 0.3."""
    return C0 + z * (C1 + z * C2), 1.0 + z * (C3 + z * (C4 + z * C2))
