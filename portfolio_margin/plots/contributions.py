"""What every position of an account contributes to its requirement."""

from __future__ import annotations

import numpy as np

from portfolio_margin.io.frames import frame
from portfolio_margin.plots.picture import Picture, grouped, new_axes
from portfolio_margin.position_margin import OTHER, PositionMargins

MOST_BARS = 25
INCHES_PER_BAR = 0.26


def contribution_bars(parts: PositionMargins, part: str = "initial", title: str = "") -> Picture:
    """Exact shares of the initial or maintenance margin, the largest first; what no position is charged with is last.

    Shares add up to the requirement: in the worst scenario a hedge has a negative one. Of more than 25 positions the
    smallest are one bar. The frame, one row a bar: position, share (margin currency), standalone (what the position
    would need by itself, NaN where there is no such number).
    """
    table = parts.columns()
    share = np.array([float(value) for value in table[f"share_{part}"]])
    alone = np.array([np.nan if value is None else value for value in table[f"standalone_{part}"]], dtype=np.float64)
    names = [str(name) for name in table["instrument"]]
    order = np.argsort(-np.abs(share[:-1]), kind="stable")
    shown, rest = order[:MOST_BARS], order[MOST_BARS:]
    position = [names[row] for row in shown]
    amounts, standalone = share[shown].tolist(), alone[shown].tolist()
    if len(rest):
        position.append(f"{len(rest)} more positions")
        amounts.append(float(share[rest].sum()))
        standalone.append(np.nan)
    if share[-1]:
        position.append(OTHER)
        amounts.append(float(share[-1]))
        standalone.append(np.nan)
    heading = title or f"{parts.account}: {part} margin by position"
    figure, axes = new_axes(heading, parts.currency, "")
    figure.set_size_inches(8.0, max(2.6, 1.4 + INCHES_PER_BAR * len(position)))
    place = np.arange(len(position))
    size = np.array(amounts)
    for rows, color, label in (
        (size > 0, "tab:red", "share, adds to it"),
        (size < 0, "tab:green", "share, takes from it"),
    ):
        if rows.any():
            axes.barh(place[rows], size[rows], height=0.6, color=color, label=label)
    axes.plot(standalone, place, "|", color="black", markersize=11, label="by itself")
    axes.set_yticks(place, position, fontsize="small")
    axes.axvline(0.0, color="black", linewidth=0.8)
    axes.grid(visible=False, axis="y")
    axes.xaxis.set_major_formatter(grouped)
    axes.set_ylim(len(position) - 0.4, -0.6)
    axes.figure.legend(fontsize="small", loc="outside lower center", ncols=3)
    return Picture(figure, frame({"position": position, "share": amounts, "standalone": standalone}))
