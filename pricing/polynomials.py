"""Polynomials with rational coefficients: signs and real roots without rounding, by bisection and Sturm's theorem.

Coefficients stand lowest power first; a `Polynomial` has whole ones, the last of them not 0.
"""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from math import comb, gcd, lcm

Polynomial = list[int]
# Parts of the half line that are looked at before Sturm's theorem is asked, which takes longer than all of them.
BISECTIONS = 64


def product(left: list[Fraction], right: list[Fraction]) -> list[Fraction]:
    """left times right."""
    found = [Fraction(0)] * (len(left) + len(right) - 1)
    for i, x in enumerate(left):
        for j, y in enumerate(right):
            found[i + j] += x * y
    return found


def total(left: list[Fraction], right: list[Fraction]) -> list[Fraction]:
    """left plus right."""
    longer, shorter = (left, right) if len(left) >= len(right) else (right, left)
    return [x + (shorter[i] if i < len(shorter) else 0) for i, x in enumerate(longer)]


def whole(coefficients: list[Fraction]) -> Polynomial:
    """A positive multiple of the polynomial with whole coefficients and no common factor."""
    common = lcm(*(value.denominator for value in coefficients))
    return primitive([int(value * common) for value in coefficients])


def primitive(coefficients: Polynomial) -> Polynomial:
    """Without zeros at the top and without a common factor."""
    while coefficients and coefficients[-1] == 0:
        coefficients = coefficients[:-1]
    common = gcd(*coefficients) if coefficients else 1
    return [value // common for value in coefficients]


def never_negative(polynomial: Polynomial) -> bool:
    """Whether a polynomial is >= 0 for all positive arguments, without rounding."""
    while polynomial and polynomial[0] == 0:  # a root at 0 is outside the open half line
        polynomial = polynomial[1:]
    if not polynomial or min(polynomial) >= 0:
        return True
    if polynomial[0] < 0 or polynomial[-1] < 0:
        return False
    settled = _by_bisection(polynomial)
    if settled is not None:
        return settled
    # Roots of even multiplicity do not change the sign: f = prod f_i^i, take the f_i with odd i (Yun's algorithm).
    derivative = _derivative(polynomial)
    common = _greatest_common(polynomial, derivative)
    if len(common) == 1:
        return _positive_roots(polynomial) == 0
    rest, multiplicity = _quotient(polynomial, common), 1
    while len(rest) > 1:
        shared = _greatest_common(rest, common)
        factor = _quotient(rest, shared)
        if multiplicity % 2 and len(factor) > 1 and _positive_roots(factor) > 0:
            return False
        rest, common, multiplicity = shared, _quotient(common, shared), multiplicity + 1
    return True


def _by_bisection(polynomial: Polynomial) -> bool | None:
    """Whether it is >= 0 for all positive arguments; None where so many parts do not tell, as beside a double root.

    With x = t / (1 - t) the half line is the unit interval, on which (1 - t)^n f has the coefficients of f over
    binomials in Bernstein's form. Where none of them is negative the function is not; the first and the last are its
    values at the ends; those of both halves are found by de Casteljau's sums (Lane and Riesenfeld 1981).
    """
    n = len(polynomial) - 1
    common = lcm(*(comb(n, power) for power in range(n + 1)))
    parts = [[value * (common // comb(n, power)) for power, value in enumerate(polynomial)]]
    for _ in range(BISECTIONS):
        if not parts:
            return True
        row = parts.pop()
        if min(row) >= 0:
            continue
        if row[0] < 0 or row[-1] < 0:
            return False
        low, high = [row[0] << n], [row[-1] << n]
        for scale in reversed(range(n)):
            row = [left + right for left, right in pairwise(row)]
            low.append(row[0] << scale)
            high.append(row[-1] << scale)
        parts += [low, high[::-1]]
    return None


def sample_points(polynomial: Polynomial) -> list[Fraction]:
    """Points with no root among them, at least one below, between and above any two distinct real roots."""
    if len(polynomial) < 2:
        return [Fraction(0)]
    chain = _sturm_chain(polynomial)
    # Cauchy: every root is smaller than 1 + max |coefficient| / |leading one|.
    bound = Fraction(2 + max(abs(value) for value in polynomial[:-1]) // abs(polynomial[-1]))
    points, intervals = [-bound, bound], [(-bound, bound)]
    while intervals:
        low, high = intervals.pop()
        if _changes_at(chain, low) - _changes_at(chain, high) <= 1:
            continue
        middle = (low + high) / 2
        while value_at(polynomial, middle) == 0:
            middle = (low + 2 * middle) / 3
        points.append(middle)
        intervals += [(low, middle), (middle, high)]
    return sorted(points)


def value_at(polynomial: Polynomial, x: Fraction) -> Fraction:
    """The polynomial at a rational number, exactly."""
    value = Fraction(0)
    for coefficient in reversed(polynomial):
        value = value * x + coefficient
    return value


def _positive_roots(polynomial: Polynomial) -> int:
    """Number of distinct roots above 0, by Sturm's theorem; no root at 0."""
    chain = _sturm_chain(polynomial)
    return _sign_changes([part[0] for part in chain]) - _sign_changes([part[-1] for part in chain])


def _sturm_chain(polynomial: Polynomial) -> list[Polynomial]:
    chain = [polynomial, _derivative(polynomial)]
    while len(chain[-1]) > 1:
        remainder = _remainder(chain[-2], chain[-1])
        if not remainder:
            break
        chain.append([-value for value in remainder])
    return chain


def _changes_at(chain: list[Polynomial], x: Fraction) -> int:
    values = [value_at(part, x) for part in chain]
    return _sign_changes([(value > 0) - (value < 0) for value in values])


def _sign_changes(values: Polynomial) -> int:
    signs = [value > 0 for value in values if value]
    return sum(first != second for first, second in pairwise(signs))


def _derivative(polynomial: Polynomial) -> Polynomial:
    return [power * value for power, value in enumerate(polynomial)][1:]


def _remainder(dividend: Polynomial, divisor: Polynomial) -> Polynomial:
    """A positive multiple of the remainder, with whole coefficients."""
    rest, lead = list(dividend), abs(divisor[-1])
    sign = 1 if divisor[-1] > 0 else -1
    while len(rest) >= len(divisor):
        factor, shift = sign * rest[-1], len(rest) - len(divisor)
        rest = [lead * value for value in rest]
        for power, value in enumerate(divisor):
            rest[power + shift] -= factor * value
        rest = rest[:-1]
    return primitive(rest)


def _greatest_common(left: Polynomial, right: Polynomial) -> Polynomial:
    while right:
        left, right = right, _remainder(left, right)
    return left


def _quotient(dividend: Polynomial, divisor: Polynomial) -> Polynomial:
    """dividend / divisor where it leaves no remainder, up to a positive factor."""
    rest = [Fraction(value) for value in dividend]
    found = [Fraction(0)] * (len(dividend) - len(divisor) + 1)
    for shift in range(len(found) - 1, -1, -1):
        found[shift] = rest[shift + len(divisor) - 1] / divisor[-1]
        for power, value in enumerate(divisor):
            rest[power + shift] -= found[shift] * value
    return whole(found)
