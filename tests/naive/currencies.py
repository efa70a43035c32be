"""What it costs to owe one currency and hold another where each is margined by itself, in plain Python."""

from __future__ import annotations

from typing import Any

# coin, settlement ("coin" or "dollars"), value in dollars now, gain in each cell in what it settles in, at the index;
# of a balance held the share that does not count; the unit that the model margins it in, the coin if none is named.
Piece = dict[str, Any]


def legs(pieces: list[Piece], moves: dict[str, list[float]]) -> dict[str, dict[str, Any]]:
    """Of each coin: equity in it, what it and what is paid in dollars gain in each cell."""
    found: dict[str, dict[str, Any]] = {}
    for piece in pieces:
        if piece["coin"] is None:
            continue
        count = len(moves[piece["coin"]])
        leg = found.setdefault(
            piece["coin"],
            {"equity": 0.0, "haircut": 0.0, "cells": [0.0] * count, "dollar_cells": [0.0] * count, "units": {}},
        )
        column = "cells" if piece["settle"] == "coin" else "dollar_cells"
        leg["equity"] += piece["value"] if piece["settle"] == "coin" else 0.0
        leg["haircut"] += max(0.0, piece["value"]) * piece.get("haircut", 0.0)
        leg[column] = [a + b for a, b in zip(leg[column], piece["gains"], strict=True)]
        unit = leg["units"].setdefault((piece.get("unit", piece["coin"]), column), [0.0] * count)
        unit[:] = [a + b for a, b in zip(unit, piece["gains"], strict=True)]
    return found


def currency_charge(pieces: list[Piece], moves: dict[str, list[float]]) -> float:
    """The charge of one account."""
    if len({piece["coin"] if piece["settle"] == "coin" else "dollars" for piece in pieces}) < 2:
        return 0.0
    dollars = sum(piece["value"] for piece in pieces if piece["settle"] == "dollars")
    lacking = others = lacking_then = held_then = 0.0
    gaps = {True: 0.0, False: 0.0}
    for coin, leg in legs(pieces, moves).items():
        worth = [(leg["equity"] + gain) * (1.0 + m) for gain, m in zip(leg["cells"], moves[coin], strict=True)]
        together = [w + gain for w, gain in zip(worth, leg["dollar_cells"], strict=True)]
        own, of_dollars = (
            sum(max(0.0, -min(gains)) for (_, which), gains in leg["units"].items() if which == column)
            for column in ("cells", "dollar_cells")
        )
        dollars -= of_dollars
        owed, spare = min(worth) < 0.0, leg["equity"] - leg["haircut"] - own
        gaps[owed] += max(0.0, leg["equity"] - min(together) - own - of_dollars - leg["haircut"])
        if owed:
            lacking += max(0.0, -spare)
            lacking_then -= min(worth)
        else:
            others += max(0.0, spare)
            held_then += min(worth)
    lacking, others, lacking_then = lacking + max(0.0, -dollars), others + max(0.0, dollars), lacking_then - dollars
    return gaps[True] * part(others, lacking) + gaps[False] * part(lacking_then, held_then)


def part(amount: float, whole: float) -> float:
    if whole <= 0.0:
        return 1.0 if amount > 0.0 else 0.0
    return min(1.0, max(0.0, amount / whole))


def worst_worth(pieces: list[Piece], moves: dict[str, list[float]]) -> float:
    """What the account is worth at least, every coin in the cell that is worst for it."""
    total = sum(piece["value"] for piece in pieces if piece["settle"] == "dollars")
    for coin, leg in legs(pieces, moves).items():
        total += min(
            (leg["equity"] + gain) * (1.0 + m) + other
            for gain, other, m in zip(leg["cells"], leg["dollar_cells"], moves[coin], strict=True)
        )
    return total
