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


def coin_greeks(value, delta, gamma, vega, forward):
    """dC/dF, d2C/dF2 and dC/dvol in coin, from Greeks in quote currency with respect to the forward."""
    coin = value / forward
    coin_delta = (delta - coin) / forward
    coin_gamma = (gamma - 2.0 * coin_delta) / forward
    return coin_delta, coin_gamma, vega / forward


def premium_adjusted_delta(value, delta, forward):
    """Coins of forward that hedge one option whose premium was paid in coin: delta - V/F."""
    return delta - value / forward


def coins_at_mark(quote_amount, forward):
    """Coins that a futures position of `quote_amount` quote units stands for at the mark."""
    return quote_amount / forward
