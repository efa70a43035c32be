"""Linear contracts: cash, spot, futures and perpetuals are worth their forward, in its currency."""


def value(xp, forward, strike, tau, vol, discount, sign):
    """Value of one unit; strike, tau, vol, discount and sign do not matter."""
    return forward + 0.0 * vol


def greeks(xp, forward, strike, tau, vol, discount, sign):
    """value, delta, gamma, vega, theta, rho, vanna, volga, charm: a delta of 1 and nothing else."""
    zero = 0.0 * (forward + vol)
    return forward + zero, 1.0 + zero, zero, zero, zero, zero, zero, zero, zero


def greeks_to_third_order(xp, forward, strike, tau, vol, discount, sign):
    """What `greeks` gives, then veta, speed, zomma, color, ultima: nothing more."""
    zero = 0.0 * (forward + vol)
    return forward + zero, 1.0 + zero, zero, zero, zero, zero, zero, zero, zero, zero, zero, zero, zero, zero
