"""Inverse (coin-settled) payoffs: what a value in quote currency is worth in coin.

An inverse contract is an ordinary one whose price is divided by the forward at the same moment: the
venue pays coins. This is a change of numeraire, not a pricing model, so it serves every model.

Options (Alexander and Imeraj 2021, arXiv 2107.12041): C = V / F.
Futures: N quote units bought at F0 and sold at F1 pay N (1/F0 - 1/F1) = q (F1 - F0) / F1 coins with
q = N / F0 coins at the mark. It is linear in the size, not in the price.
"""


def coin_value(value, forward):
    """Value in coin of a contract worth `value` in quote currency."""
    return value / forward


def coin_greeks(greeks, forward, strike, tau):
    """Greeks in coin, by name, from those in quote currency with respect to the forward; strike and tau as arrays.

    Every derivative of C = V/F by the quotient rule: C_F = (V_F - C)/F, C_FF = (V_FF - 2 C_F)/F,
    C_FFF = (V_FFF - 3 C_FF)/F, and the same for vega (vanna, zomma) and for the decay (charm, color). rho is that
    of the quote value at the forward as it stands. What `greeks` lacks of the third order the result lacks.
    """
    coin = {name: greeks[name] / forward for name in ("price", "vega", "theta", "rho", "volga")}
    coin["delta_pa"] = premium_adjusted_delta(greeks["delta"], greeks["rho"], forward, strike, tau)
    coin["delta"] = coin["delta_pa"] / forward
    coin["gamma"] = (greeks["gamma"] - 2.0 * coin["delta"]) / forward
    coin["vanna"] = (greeks["vanna"] - coin["vega"]) / forward
    coin["charm"] = (greeks["charm"] - coin["theta"]) / forward
    if "speed" in greeks:
        coin["veta"] = greeks["veta"] / forward
        coin["speed"] = (greeks["speed"] - 3.0 * coin["gamma"]) / forward
        coin["zomma"] = (greeks["zomma"] - 2.0 * coin["vanna"]) / forward
        coin["color"] = (greeks["color"] - 2.0 * coin["charm"]) / forward
        coin["ultima"] = greeks["ultima"] / forward
    return {**{name: coin[name] for name in greeks}, "delta_pa": coin["delta_pa"]}


def premium_adjusted_delta(delta, rho, forward, strike, tau):
    """Coins of forward that hedge one option whose premium was paid in coin: delta - V/F = s D K/F N(s d2).

    The difference would cancel deep in the money; rho is tau F times what it leaves, and at tau = 0 it is delta K/F.
    """
    alive = tau > 0.0
    return alive * (rho / (tau + (1.0 - alive))) / forward + (1.0 - alive) * delta * (strike / forward)


def coins_at_mark(quote_amount, forward):
    """Coins that a futures position of `quote_amount` quote units stands for at the mark."""
    return quote_amount / forward
