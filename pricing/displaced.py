"""The displaced model as Black-76 in other variables: forward and strike, both plus a displacement (Rubinstein 1983).

What rounding takes from the two sums is multiplied by the derivatives and put back into the price.
"""

# At deviations of this and less pricing/small_deviations.py is asked.
SMALLEST_USUAL = 1.0e-4


def two_sum(a, b):
    """a + b as a sum of two doubles (Knuth 1969, TwoSum)."""
    total = a + b
    shift = total - a
    return total, (a - (total - shift)) + (b - shift)


def exact_vol_of(inversion):
    """A compiled loop's way from the vol at the doubles of the two sums to that at the exact ones.

    inversion   the module of Black-76
    """

    def exact_vol(xp, vol, shifted, raised, tau, sign, forward, strike, displacement):
        _, forward_rest = two_sum(forward, displacement)
        _, strike_rest = two_sum(strike, displacement)
        shares = forward_rest / shifted, strike_rest / raised
        return inversion.vol_at_exact_terms(xp, vol, shifted, raised, tau, sign, *shares)

    return exact_vol


def usual_greeks_of(formula):
    """A compiled loop's short way for one row: whether that is enough, and the nine Greeks.

    formula   the module of Black-76
    """

    def usual_greeks(xp, forward, strike, tau, vol, discount, displacement, sign):
        shifted, forward_rest = two_sum(forward, displacement)
        raised, strike_rest = two_sum(strike, displacement)
        terms = formula.usual_terms(xp, shifted, raised, tau, vol)
        enough, row = formula.usual_greeks(xp, terms, xp.log(discount), shifted, raised, tau, vol, discount, sign)
        price, delta, gamma, vega, theta, rho, vanna, volga, charm = row
        by_strike = xp.fused(-shifted, delta, price) / raised
        price = xp.fused(by_strike, strike_rest, xp.fused(delta, forward_rest, price))
        # The rate moves the forward, not the displacement.
        rho = xp.fused(-tau * displacement, delta, rho)
        usual = enough & (terms[0] > SMALLEST_USUAL) & xp.usual_row(shifted, raised, tau, vol, discount, sign)
        usual = usual & xp.moderate(forward, 1e100) & xp.moderate(strike, 1e100) & xp.moderate(displacement, 1e100)
        return usual, (price, delta, gamma, vega, theta, rho, vanna, volga, charm)

    return usual_greeks
