"""Strategy-based margin written from its text: every way to cut a small account into strategies, the cheapest one.

An option is (right, strike, days, long, value per share); all are on 100 shares. Amounts beside the positions' value.
"""

from __future__ import annotations

from functools import cache
from itertools import combinations

Option = tuple[str, float, float, bool, float]


def cheapest(options: list[Option], shares: int, spot: float, rate: float, side: str, most_legs: int) -> float:
    """Requirement of single contracts, each listed once, and lots of a hundred shares (sign: long or short)."""
    stock_rate = 0.5 if side == "initial" else 0.25 if shares > 0 else max(0.30, 5.0 / spot)
    if side == "initial" and shares < 0:
        stock_rate = max(0.5, 0.30, 5.0 / spot)

    @cache
    def best(left: frozenset[int], lots: int) -> float:
        if not left:
            return lots * 100 * stock_rate * spot
        first, rest = min(left), sorted(left)[1:]
        total = float("inf")
        for size in range(most_legs):
            for others in combinations(rest, size):
                legs = [options[n] for n in (first, *others)]
                after = left - {first, *others}
                if (asked := alone_or_spread(legs, spot, rate)) is not None:
                    total = min(total, asked + best(after, lots))
                if lots and (hedged := with_stock(legs, shares > 0, spot, stock_rate, side)) is not None:
                    total = min(total, hedged + best(after, lots - 1))
        return total

    return best(frozenset(range(len(options))), abs(shares) // 100)


def naked(option: Option, spot: float, rate: float) -> float:
    right, strike, *_ = option
    away = max(strike - spot, 0) if right == "C" else max(spot - strike, 0)
    return 100 * max(rate * spot - away, 0.1 * (spot if right == "C" else strike))


def alone_or_spread(legs: list[Option], spot: float, rate: float) -> float | None:
    """One option, a straddle, or a spread of two or four legs; None for what is no strategy."""
    if len(legs) == 1:
        return 100 * legs[0][4] if legs[0][3] else naked(legs[0], spot, rate)
    sold, bought = [leg for leg in legs if not leg[3]], [leg for leg in legs if leg[3]]
    if len(legs) == 2 and not bought:
        if {leg[0] for leg in legs} != {"C", "P"}:
            return None
        return max((naked(leg, spot, rate) + 100 * leg[4], naked(leg, spot, rate)) for leg in legs)[1]
    if len(sold) != len(bought):
        return None
    if sorted(leg[0] for leg in sold) != sorted(leg[0] for leg in bought):
        return None
    if min(leg[2] for leg in bought) < max(leg[2] for leg in sold):
        return None
    prices = [0.0, 10 * spot, *(leg[1] for leg in legs)]
    worst = max(0.0, max(sum(payoff(s, p) for s in sold) - sum(payoff(b, p) for b in bought) for p in prices))
    return max(0.0, 100 * (worst + sum(b[4] for b in bought) - sum(s[4] for s in sold)))


def payoff(option: Option, price: float) -> float:
    return max(price - option[1] if option[0] == "C" else option[1] - price, 0.0)


def with_stock(legs: list[Option], long_stock: bool, spot: float, stock_rate: float, side: str) -> float | None:
    """A hundred shares and one or two options."""
    shape = "".join(sorted(("+" if leg[3] else "-") + leg[0] for leg in legs))
    value = sum(leg[4] if leg[3] else -leg[4] for leg in legs)
    sold = [leg for leg in legs if not leg[3]]
    inside = sum(payoff(leg, spot) for leg in sold)
    # Stock behind a call that was sold is worth its strike at most.
    worth = min([spot, *(leg[1] for leg in sold if leg[0] == "C")]) if long_stock else spot
    initial = stock_rate * worth + inside + value
    strike = legs[0][1]
    if len(legs) == 1:
        hedge = "+P" if long_stock else "+C"
        cover = "-C" if long_stock else "-P"
        if shape == cover:
            kept = stock_rate * (min(spot, strike) if long_stock else spot)
            asked = initial if side == "initial" else kept + inside + value
        elif shape == hedge:
            away = max(spot - strike if long_stock else strike - spot, 0.0)
            asked = initial if side == "initial" else min(0.1 * strike + away, stock_rate * spot) + value
        else:
            return None
        return 100 * max(asked, 0.0)
    if len(legs) != 2 or legs[0][2] != legs[1][2] or shape != ("+P-C" if long_stock else "+C-P"):
        return None
    held = next(leg for leg in legs if leg[3])
    if held[1] == sold[0][1]:
        kept = 0.1 * strike
    elif long_stock and held[1] < sold[0][1]:
        kept = min(0.1 * held[1] + max(spot - held[1], 0.0), 0.25 * sold[0][1])
    else:
        return None
    return 100 * max(initial if side == "initial" else kept + inside + value, 0.0)
