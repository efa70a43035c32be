"""Plain-Python twin of unit_pnl: one option or future, one scenario at a time."""

from __future__ import annotations

from tests.naive.pricing import value


def unit_pnl(contract: dict[str, float], moves: list[dict[str, float]]) -> list[float]:
    """P&L in margin currency of one contract in each scenario.

    contract: forward strike tau vol discount sign multiplier fx inverse settled linear
    moves: forward tau vol discount fx weight after the shock
    """

    def worth(forward: float, tau: float, vol: float, discount: float) -> float:
        if contract["linear"]:
            return forward
        return value(forward, contract["strike"], tau, vol, discount, contract["sign"])

    before = worth(contract["forward"], contract["tau"], contract["vol"], contract["discount"])
    result = []
    for move in moves:
        after = worth(move["forward"], move["tau"], move["vol"], move["discount"])
        rate_after = move["fx"] / (move["forward"] if contract["inverse"] else 1.0)
        rate_before = contract["fx"] / (contract["forward"] if contract["inverse"] else 1.0)
        gain = (after - before) * rate_after if contract["settled"] else after * rate_after - before * rate_before
        result.append(move["weight"] * contract["multiplier"] * gain)
    return result


def portfolio_pnl(
    legs: list[dict[str, float]], price_moves: list[float], vol_moves: list[float], time_steps: list[float]
) -> list[float]:
    """P&L of all legs together in each scenario, by vol move, then time step, then price move.

    legs: forward strike tau vol sign quantity discount
    """
    result = []
    for vol_move in vol_moves:
        for step in time_steps:
            for price_move in price_moves:
                total = 0.0
                for leg in legs:
                    left = max(leg["tau"] - step, 0.0)
                    later = leg["discount"] ** (left / leg["tau"]) if leg["tau"] > 0.0 else 1.0
                    forward, vol = leg["forward"] * (1.0 + price_move), leg["vol"] * (1.0 + vol_move)
                    after = value(forward, leg["strike"], left, vol, later, leg["sign"])
                    before = value(leg["forward"], leg["strike"], leg["tau"], leg["vol"], leg["discount"], leg["sign"])
                    total += leg["quantity"] * (after - before)
                result.append(total)
    return result
