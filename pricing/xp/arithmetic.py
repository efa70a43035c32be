"""The primitives of the formulas in plain arithmetic, which LLVM turns into vectors.

A call into a mathematical library inside a loop stops vectorisation, so exp, log_ratio and the Mills ratio are written
out; their errors are 1 to 2 units in the last place. Everything here is traced by `pricing.xp.tracing`.
"""

from __future__ import annotations

import numpy as np

from pricing.xp.coefficients import MILLS_DENOMINATOR, MILLS_NUMERATOR, MILLS_REST
from pricing.xp.tracing import bits_float, float_bits, fused, where

LOG2_E = 1.4426950408889634
LN2_HIGH = 0.6931471803691238
LN2_LOW = 1.9082149292705877e-10
LN2 = 0.6931471805599453
ROUND_MAGIC = 6755399441055744.0  # 1.5 * 2^52: adding it leaves the nearest integer in the low bits
EXP_LOWEST = -708.0
FAR = 1.0e20  # beyond it the Mills ratio is 1/x to the last digit
INVERSE_SQRT_TWO_PI = 0.3989422804014327
HALF_AN_EXPONENT = 1 << 51
RSQRT_MAGIC = 0x5FE6EB50C7B537A9
# Numbers as bits: infinity, 1, all but the sign, everything.
INFINITY = 0x7FF0000000000000
ONE = 0x3FF0000000000000
MAGNITUDE = 0x7FFFFFFFFFFFFFFF
ALL_BITS = -1
WIDEST = 965 << 52
MINUS_ZERO = -(1 << 63)
SMALLEST_USUAL, LARGEST_USUAL, LARGEST_VARIANCE = (
    int(bits) for bits in np.array([1.0e-100, 1.0e100, 1.0e4]).view(np.int64)
)
SMALLEST_QUOTE, LARGEST_QUOTE = (int(bits) for bits in np.array([1.0e-150, 1.0e150]).view(np.int64))
SMALLEST_DISCOUNT, LARGEST_DISCOUNT = (int(bits) for bits in np.array([1.0e-50, 1.0e50]).view(np.int64))

P0, P1, P2, P3, P4, P5, P6, P7, P8, P9, P10 = MILLS_NUMERATOR
G0, G1, G2, G3, G4, G5, G6, G7, G8, G9 = MILLS_REST
Q0, Q1, Q2, Q3, Q4, Q5, Q6, Q7, Q8, Q9, Q10, Q11 = MILLS_DENOMINATOR


def minimum(a, b):
    return where(a < b, a, b)


def maximum(a, b):
    return where(a > b, a, b)


def abs(x):
    return where(x >= 0.0, x, -x)


def sqrt(x):
    return x**0.5


def rsqrt(x):
    """1/sqrt(x) for normal positive x, to two roundings: two cubic steps and one of Newton, no division."""
    y = bits_float(RSQRT_MAGIC - (float_bits(x) >> 1))
    z = x * y * y
    y = y * (1.875 + z * (0.375 * z - 1.25))
    z = x * y * y
    y = y * (1.875 + z * (0.375 * z - 1.25))
    return y + 0.5 * y * (1.0 - x * y * y)


def exp(x):
    """exp(x) for x <= 708; below -708 it is 0."""
    bounded = where(x > EXP_LOWEST, x, EXP_LOWEST)
    shifted = bounded * LOG2_E + ROUND_MAGIC
    whole = shifted - ROUND_MAGIC
    r = (bounded - whole * LN2_HIGH) - whole * LN2_LOW
    # Taylor to degree 13 on |r| <= ln(2)/2: truncation 4e-18.
    y = r * r
    even = (((1.0 / 479001600.0 * y + 1.0 / 3628800.0) * y + 1.0 / 40320.0) * y + 1.0 / 720.0) * y + 1.0 / 24.0
    odd = (((1.0 / 6227020800.0 * y + 1.0 / 39916800.0) * y + 1.0 / 362880.0) * y + 1.0 / 5040.0) * y + 1.0 / 120.0
    odd = odd * y + 1.0 / 6.0
    mantissa = 1.0 + (r + y * ((0.5 + y * even) + r * odd))
    scale = bits_float((float_bits(shifted) + 1023) << 52)
    return where(x > EXP_LOWEST, mantissa * scale, 0.0)


def _nearest_exponent(numerator, denominator):
    """The power of two nearest to a quotient, without dividing: bits read as integers are logarithms to 0.09.

    What is left of the quotient lies between 2/3 and 3/2.
    """
    return (float_bits(numerator) - float_bits(denominator) + HALF_AN_EXPONENT) >> 52


def _artanh_tail(s):
    """2 artanh(s) - 2 s on |s| <= 0.2: eleven terms leave 1e-18."""
    z = s * s
    # Even and odd terms apart: two chains half as long keep the processor busier than one.
    y = z * z
    even = ((((2.0 / 23.0 * y + 2.0 / 19.0) * y + 2.0 / 15.0) * y + 2.0 / 11.0) * y + 2.0 / 7.0) * y + 2.0 / 3.0
    odd = (((2.0 / 21.0 * y + 2.0 / 17.0) * y + 2.0 / 13.0) * y + 2.0 / 9.0) * y + 2.0 / 5.0
    return s * z * (even + z * odd)


def product_minus(a, b, c):
    """a b - c, rounded once: what rounding took from c, where c is about a b."""
    return fused(a, b, -c)


def log_ratio_parts(numerator, denominator):
    """ln(numerator/denominator) for normal positive numbers as a sum of two, right to 1e-17 of the logarithm."""
    exponent = _nearest_exponent(numerator, denominator)
    scaled = denominator * bits_float((exponent + 1023) << 52)
    difference = numerator - scaled
    total = numerator + scaled
    inverse = 1.0 / total
    s = difference * inverse
    s = where(s < 1.0, s, 1.0)
    lost = where(difference >= 0.0, (numerator - total) + scaled, (scaled - total) + numerator)
    rest = -(fused(s, total, -difference) + s * lost) * inverse
    whole = exponent * LN2_HIGH
    high = whole + 2.0 * s
    low = ((whole - high) + 2.0 * s) + (exponent * LN2_LOW + fused(2.0, rest, _artanh_tail(s)))
    logarithm = high + low
    return logarithm, (high - logarithm) + low


def log_ratio(numerator, denominator):
    """ln(numerator/denominator) for normal positive numbers; the quotient itself is never rounded."""
    exponent = _nearest_exponent(numerator, denominator)
    scaled = denominator * bits_float((exponent + 1023) << 52)
    s = (numerator - scaled) / (numerator + scaled)
    # Fused where it is: left to the compiler, the code around would decide on the last digit.
    return exponent * LN2 + fused(2.0, s, _artanh_tail(s))


def log(x):
    return log_ratio(x, 1.0)


def mills_ratio(x):
    """N(-x) / phi(x) for x >= 0."""
    t = where(x < FAR, x, FAR)
    y = t * t
    p = ((((P10 * y + P8) * y + P6) * y + P4) * y + P2) * y + P0
    p = p + t * ((((P9 * y + P7) * y + P5) * y + P3) * y + P1)
    q = ((((Q10 * y + Q8) * y + Q6) * y + Q4) * y + Q2) * y + Q0
    q = q + t * (((((Q11 * y + Q9) * y + Q7) * y + Q5) * y + Q3) * y + Q1)
    return p / q


def _mills_polynomials(x):
    # Even and odd powers apart, as above.
    y = x * x
    p = ((((P10 * y + P8) * y + P6) * y + P4) * y + P2) * y + P0
    p = p + x * ((((P9 * y + P7) * y + P5) * y + P3) * y + P1)
    g = (((G8 * y + G6) * y + G4) * y + G2) * y + G0
    g = g + x * ((((G9 * y + G7) * y + G5) * y + G3) * y + G1)
    q = ((((Q10 * y + Q8) * y + Q6) * y + Q4) * y + Q2) * y + Q0
    q = q + x * (((((Q11 * y + Q9) * y + Q7) * y + Q5) * y + Q3) * y + Q1)
    return p, g, q


def _mills_fraction(x):
    y = x * x
    p = ((((P10 * y + P8) * y + P6) * y + P4) * y + P2) * y + P0
    p = p + x * ((((P9 * y + P7) * y + P5) * y + P3) * y + P1)
    q = ((((Q10 * y + Q8) * y + Q6) * y + Q4) * y + Q2) * y + Q0
    q = q + x * (((((Q11 * y + Q9) * y + Q7) * y + Q5) * y + Q3) * y + Q1)
    return p, q


def mills_of_two(x, y):
    """`mills_ratio` of two numbers up to 1e10, with one division."""
    p, q = _mills_fraction(x)
    v, w = _mills_fraction(y)
    inverse = 1.0 / (q * w)
    return p * (inverse * w), v * (inverse * q)


def mills_and_rest(x):
    """M = N(-x) / phi(x) and 1 - x M for x >= 0, both to a few roundings of themselves."""
    p, g, q = _mills_polynomials(where(x < FAR, x, FAR))
    inverse = 1.0 / q
    return p * inverse, g * inverse


def mills_and_rest_of_two(x, y):
    """`mills_and_rest` of two numbers up to 1e10, with one division."""
    p, g, q = _mills_polynomials(x)
    u, v, w = _mills_polynomials(y)
    inverse = 1.0 / (q * w)
    first, second = inverse * w, inverse * q
    return p * first, g * first, u * second, v * second


def normal_cdf(x):
    distance = where(x >= 0.0, x, -x)
    tail = INVERSE_SQRT_TWO_PI * exp(-0.5 * x * x) * mills_ratio(distance)
    return where(x >= 0.0, 1.0 - tail, tail)


def fit_row(forward, strike, tau, vol, discount, sign, signed):
    """Whether a row is within the bounds of `pricing.bounds`, seen from the bits: kernels assume finite numbers.

    forward and strike above 0 and up to 1e150, or of any sign where `signed`; tau and vol from 0 to 1e100; discount
    from 1e-50 to 1e50; sign 1 or -1.
    """
    mask = where(signed, MAGNITUDE, ALL_BITS)
    least = where(signed, -1, 0)
    f, k = float_bits(forward) & mask, float_bits(strike) & mask
    t, v, d = float_bits(tau), float_bits(vol), float_bits(discount)
    prices = (f > least) & (f <= LARGEST_QUOTE) & (k > least) & (k <= LARGEST_QUOTE)
    # A quotient beyond 2^965, a little over 1e290, leaves no exponent for its logarithm.
    prices = prices & (signed | ((f - k < WIDEST) & (k - f < WIDEST)))
    # Minus zero is zero, though its bits are those of the smallest integer.
    lasting = ((t >= 0) & (t <= LARGEST_USUAL)) | (t == MINUS_ZERO)
    moving = ((v >= 0) & (v <= LARGEST_USUAL)) | (v == MINUS_ZERO)
    rest = lasting & moving & (d >= SMALLEST_DISCOUNT) & (d <= LARGEST_DISCOUNT)
    return prices & rest & ((float_bits(sign) & MAGNITUDE) == ONE)


def usual_row(forward, strike, tau, vol, discount, sign):
    """Whether all numbers of a row are positive, finite and far from the ends of the range, seen from the bits."""
    f, k, v, d = float_bits(forward), float_bits(strike), float_bits(vol), float_bits(discount)
    variance = float_bits(vol * vol * tau)
    prices = (f > SMALLEST_USUAL) & (f < LARGEST_USUAL) & (k > SMALLEST_USUAL) & (k < LARGEST_USUAL)
    terms = (variance > SMALLEST_USUAL) & (variance < LARGEST_VARIANCE)
    terms = terms & (v > 0) & (v < LARGEST_USUAL) & (float_bits(tau) < LARGEST_USUAL)
    return prices & terms & (d >= SMALLEST_DISCOUNT) & (d <= LARGEST_DISCOUNT) & ((float_bits(sign) & MAGNITUDE) == ONE)


def moderate(x, bound):
    """Whether |x| < bound, seen from the bits."""
    return (float_bits(x) & MAGNITUDE) < float_bits(bound)


def is_marked(value):
    """Whether `nan_unless` put a NaN here."""
    return float_bits(value) == ALL_BITS


def fit_quote(price, forward, strike, tau, discount, sign, signed):
    """Whether the numbers of a quote are finite and between 1e-150 and 1e150 as `implied_vol` asks, from the bits."""
    mask = where(signed, MAGNITUDE, ALL_BITS)
    least = where(signed, 0, SMALLEST_QUOTE)
    f, k, t = float_bits(forward) & mask, float_bits(strike) & mask, float_bits(tau)
    d, p = float_bits(discount), float_bits(price) & MAGNITUDE
    prices = (f >= least) & (f <= LARGEST_QUOTE) & (k >= least) & (k <= LARGEST_QUOTE) & (p <= LARGEST_QUOTE)
    rest = (((t >= 0) & (t <= LARGEST_QUOTE)) | (t == MINUS_ZERO)) & (d >= SMALLEST_QUOTE) & (d <= LARGEST_QUOTE)
    return prices & rest & ((float_bits(sign) & MAGNITUDE) == ONE)


def nan_unless(fit, value):
    """The value, or NaN; joined as bits, because kernels assume that there is no NaN."""
    return bits_float(float_bits(value) | where(fit, 0, ALL_BITS))
