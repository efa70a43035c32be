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
