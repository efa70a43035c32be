"""Black-Scholes-Merton as Black-76 in other variables: F = S exp((r - q) tau), D = exp(-r tau).

Black and Scholes (1973), Merton (1973, eq. 40 for the dividend yield q). Greeks with respect to the spot S follow
from those with respect to the forward by the chain rule: with c = dF/dS = exp(b tau), b = r - q, every derivative by
S carries a factor c, and as time passes at a constant spot the forward slides by -b F and c by -b c a year.
"""

# At deviations of this and less pricing/small_deviations.py is asked.
SMALLEST_USUAL = 1.0e-4


def forward_of(xp, spot, rate, dividend_yield, tau):
    """The forward and what its double lacks, as a share of it; right to 1e-17 while |b| tau is below some 100."""
    forward = spot * xp.exp((rate - dividend_yield) * tau)
    return forward, lacking_share(xp, forward, spot, rate, dividend_yield, tau)


def lacking_share(xp, forward, spot, rate, dividend_yield, tau):
    """What a forward lacks of the exact one, as a share of it."""
    carry = rate - dividend_yield
    shift = carry - rate
    carry_rest = (rate - (carry - shift)) - (dividend_yield + shift)
    growth = carry * tau
    growth_rest = xp.product_minus(carry, tau, growth) + carry_rest * tau
    logarithm, logarithm_rest = xp.log_ratio_parts(forward, spot)
    return (growth - logarithm) + (growth_rest - logarithm_rest)


def discount_of(xp, rate, tau):
    """The discount factor of a continuously compounded rate."""
    return xp.exp(-rate * tau)


def spot_greeks(greeks, growth, forward, tau, carry):
    """Greeks with respect to the spot, by name, from those with respect to the forward, growth times the spot.

    rho moves the rate at a constant spot and yield; dividend_rho is dV/dq. theta, charm, veta and color are the
    changes per year at a constant spot. `greeks` holds the nine of second order, or the fourteen of third; its charm is
    with yield times delta in the place of rate times delta: of the two, r - b = q is what is left.
    """
    c, slide = growth, carry * forward
    spot_terms = dict(greeks)
    spot_terms["delta"] = c * greeks["delta"]
    spot_terms["gamma"] = c * c * greeks["gamma"]
    spot_terms["vanna"] = c * greeks["vanna"]
    spot_terms["theta"] = greeks["theta"] - slide * greeks["delta"]
    spot_terms["charm"] = c * (greeks["charm"] - slide * greeks["gamma"])
    if "speed" in greeks:
        spot_terms["veta"] = greeks["veta"] - slide * greeks["vanna"]
        spot_terms["speed"] = c * c * c * greeks["speed"]
        spot_terms["zomma"] = c * c * greeks["zomma"]
        spot_terms["color"] = c * c * (greeks["color"] - slide * greeks["speed"] - 2.0 * carry * greeks["gamma"])
    spot_terms["dividend_rho"] = -tau * forward * greeks["delta"]
    return spot_terms


def exact_vol_of(inversion):
    """A compiled loop's way from the vol at the double of the forward to that at the exact one.

    inversion   the module of Black-76
    """

    def exact_vol(xp, vol, forward, strike, tau, sign, spot, rate, dividend_yield):
        share = lacking_share(xp, forward, spot, rate, dividend_yield, tau)
        return inversion.vol_at_exact_terms(xp, vol, forward, strike, tau, sign, share, 0.0)

    return exact_vol


def usual_greeks_of(formula):
    """A compiled loop's short way for one row: whether that is enough, and the nine Greeks by the spot.

    formula   the module of Black-76
    """

    def usual_greeks(xp, spot, strike, tau, vol, rate, dividend_yield, sign):
        forward, share = forward_of(xp, spot, rate, dividend_yield, tau)
        discount = discount_of(xp, rate, tau)
        terms = formula.usual_terms(xp, forward, strike, tau, vol)
        enough, row = formula.usual_greeks(xp, terms, -rate * tau, forward, strike, tau, vol, discount, sign)
        price, delta, gamma, vega, theta, rho, vanna, volga, charm = row
        price = xp.fused(delta, forward * share, price)
        carry = rate - dividend_yield
        c, slide = forward / spot, carry * forward
        theta = xp.fused(-slide, delta, theta)
        # Of the rate times delta that charm has by the forward, and carry times delta, the yield is what is left.
        s, per_s, _ = terms
        per_root = vol * per_s
        turning = -0.5 * vanna * vol * (per_root * per_root)
        charm = c * xp.fused(dividend_yield, delta, xp.fused(-slide, gamma, turning))
        usual = enough & (s > SMALLEST_USUAL) & xp.usual_row(forward, strike, tau, vol, discount, sign)
        usual = usual & xp.usual_row(spot, strike, tau, vol, discount, sign) & xp.moderate(rate, 1e3)
        usual = (
            usual & xp.moderate(dividend_yield, 1e3) & xp.moderate(carry * tau, 100.0) & xp.moderate(rate * tau, 100.0)
        )
        return usual, (price, c * delta, c * c * gamma, vega, theta, rho, c * vanna, volga, charm)

    return usual_greeks
