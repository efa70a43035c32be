"""Implied volatility of the Bachelier model by a fixed number of steps, at the limit of double precision.

With v = vol sqrt(tau), h = |F - K|/v and G(h) = 1 - h M(h), M the Mills ratio, the value out of the money is
c = v phi(h) G(h). A first value of v, right to 1e-4, comes from a rational function of q = sqrt(ln(1 + |F - K|/c));
two Householder steps of third order (four times the digits each) on ln c follow. d ln c / d ln v = 1/G, so an
error in G moves ln v by at most itself. Jaeckel, Implied normal volatility (2017), solves the same equation.
"""

SQRT_TWO_PI = 2.5066282746310002
TINY = 1.0e-200  # of |F - K|; a value below it is scaled up by SCALE, so that no quotient overflows
SCALE = 2.0**500
LN_SCALE = 346.57359027997264
CLOSE = 1.0e-4  # |F - K|/c below which the option counts as at the money
SMALLEST_PRICE = 2.2250738585072014e-308  # below it doubles lose digits
# price + ULP_FACTOR * price is always the next double above price.
ULP_FACTOR = 2.0**-53 * (1.0 + 2.0**-52)
INSIDE = 1.0 - 2.0**-50  # within four roundings of its lower end nobody can tell on which side a price lies
LARGEST_LAST_STEP = 5.0e-5  # a further step would move v by some 200 times its fourth power

# h of q, of this project: largest relative error 6e-5.
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

SIGNED_PRICES = True  # forward and strike may be 0 or below

# pricing.errors.Status; a formula imports nothing.
OK = 0.0
BELOW_INTRINSIC = 1.0
NOT_CONVERGED = 3.0
NOT_DETERMINED = 6.0


def implied_vol(xp, price, forward, strike, tau, discount, sign, resolution, steps=1):
    """The vol, in price units, and a status, one of the constants above; the vol means nothing unless it is OK.

    tau, discount > 0, all finite. NOT_DETERMINED where the spacing of doubles at `price` moves vol by more than
    resolution * vol, and at the lower end of the price's range; there is no upper one. In stages, as for Black-76.
    """
    logarithm, distance, value, rest = measured(xp, price, forward, strike, discount, sign)
    deviation = first_deviation(xp, logarithm, distance, value, rest)
    for _ in range(steps):
        deviation = refined_deviation(xp, deviation, distance, value, rest)
    contract = (price, forward, strike, tau, discount, sign)
    return vol_and_status(xp, (deviation, distance, value, rest), contract, resolution)


def measured(xp, price, forward, strike, discount, sign):
    """ln(1 + |F - K|/c), negative at the money as a sign of that, |F - K|, and twice the value out of the money.

    Where the value is tiny it is scaled up by SCALE, and negative as a sign of that.
    """
    distance, inside, time_value, _ = _targets(xp, price, forward, strike, discount, sign)
    time_value = xp.where(inside, time_value, 0.5 * distance + SMALLEST_PRICE)
    tiny = time_value < TINY * distance
    value = xp.where(tiny, time_value * SCALE, time_value)
    log_scale = xp.where(tiny, LN_SCALE, 0.0)
    logarithm = xp.log_ratio(distance + value, value) + log_scale
    marked = xp.where(tiny, -value, value)
    return xp.where(distance < CLOSE * value, -1.0, logarithm), distance, marked, marked


def first_deviation(xp, logarithm, distance, value, rest):
    """A first value of v."""
    close = logarithm < 0.0
    length = xp.abs(logarithm)
    q = xp.where(close, 0.0, length * xp.rsqrt(length))
    ratio = (A0 + q * (A1 + q * (A2 + q * (A3 + q * A4)))) / (1.0 + q * (B1 + q * (B2 + q * (B3 + q * (B4 + q * B5)))))
    return xp.where(close, xp.abs(value), distance) / (length * ratio)


def refined_deviation(xp, deviation, distance, value, rest):
    """The deviation after one step."""
    refined, _, _ = _refined(xp, deviation, distance, xp.abs(value), xp.where(value < 0.0, LN_SCALE, 0.0))
    return refined


def vol_and_status(xp, stage, contract, resolution):
    """The vol after another step, and its status, from what the first stage gave and the second refined."""
    deviation, distance, value, _ = stage
    price, forward, strike, tau, discount, sign = contract
    log_scale = xp.where(value < 0.0, LN_SCALE, 0.0)
    deviation, last_step, slope = _refined(xp, deviation, distance, xp.abs(value), log_scale)
    _, inside, time_value, below = _targets(xp, price, forward, strike, discount, sign)
    vol = deviation / xp.sqrt(tau)
    # d ln v / d price = slope / (discount * value).
    spacing = (price + price * ULP_FACTOR) - price
    determined = inside & (spacing * slope <= resolution * (discount * time_value))
    converged = xp.abs(last_step) <= LARGEST_LAST_STEP
    status = xp.where(determined, xp.where(converged, OK, NOT_CONVERGED), NOT_DETERMINED)
    return vol, xp.where(below, BELOW_INTRINSIC, status)


def _targets(xp, price, forward, strike, discount, sign):
    """|F - K|, whether the price is inside its range, the value out of the money, whether the price is below."""
    # forward - strike as a sum of two doubles (Knuth 1969, TwoSum): the intrinsic value is subtracted exactly.
    difference = forward - strike
    shift = difference - forward
    lost = (forward - (difference - shift)) - (strike + shift)
    in_the_money = sign * difference > 0.0
    below = price < discount * xp.maximum(sign * difference, 0.0) * INSIDE
    undiscounted = xp.where(below, 0.0, price) / discount
    time_value = xp.where(in_the_money, (undiscounted - sign * difference) - sign * lost, undiscounted)
    inside = (time_value > 0.0) & (price >= SMALLEST_PRICE)
    return xp.abs(difference), inside, time_value, below


def _refined(xp, v, distance, value, log_scale):
    """One Householder step: v, the step relative to v, and d ln v / d ln c = G(h)."""
    h = distance / v
    _, slope = xp.mills_and_rest(h)
    h_square = h * h
    error = xp.log_ratio(v * slope, SQRT_TWO_PI * value) - 0.5 * h_square + log_scale
    # Derivatives in units of v: u = d ln c/d ln v, g = d ln phi(h)/d ln v.
    u = 1.0 / slope
    newton = -error * slope
    second = h_square - u
    third = h_square * h_square - 3.0 * h_square - 3.0 * h_square * u + 2.0 * u * u
    step = newton * (1.0 + 0.5 * newton * second) / (1.0 + newton * (second + newton * third * (1.0 / 6.0)))
    return v + v * step, step, slope
