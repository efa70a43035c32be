"""Ladder of a liquidation: margin balance and maintenance margin of an account, rung by rung as it is closed."""

from __future__ import annotations

from typing import Any

import numpy as np

from portfolio_margin.io.frames import frame
from portfolio_margin.liquidation.plan import LiquidationPlan
from portfolio_margin.plots.picture import Picture, grouped, new_axes
from pricing.arrays import FloatArray
from scenarios.risk_arrays import RiskArrays

# Trades that a rung names, and rungs that a picture shows; of more the first and the last.
MOST_NAMED, MOST_RUNGS = 1, 30
INCHES_PER_RUNG = 0.32
HEADROOM_COLOR, MISSING_COLOR = "tab:green", "tab:red"


def liquidation_ladder(
    plan: LiquidationPlan, arrays: RiskArrays, buffer: float | None = None, title: str = ""
) -> Picture:
    """What is closed, from top to bottom, and after each step the maintenance margin as a bar and the balance as a dot.

    arrays  those that the plan was made with: names of what is traded
    buffer  of the policy, a share of the maintenance margin: a tick on every bar then shows what has to be restored

    A bar is red where the balance is below it. Of more than 30 rungs those in the middle are left out.
    The frame, one row a rung, all of them: step (0: before anything is closed), trades (in words), cost, penalty,
    equity, margin_balance, initial_margin, maintenance_margin (margin currency, after the step).
    """
    after = np.array([margins[:4] for margins in (plan.before, *(step.after for step in plan.steps))], dtype=np.float64)
    words = ["before", *(_words(step.trades, arrays) for step in plan.steps)]
    columns: dict[str, Any] = {"step": np.arange(len(words)), "trades": np.array(words)}
    columns |= {name: np.array([0.0, *(getattr(step, name) for step in plan.steps)]) for name in ("cost", "penalty")}
    names = ("equity", "margin_balance", "initial_margin", "maintenance_margin")
    columns |= dict(zip(names, after.T, strict=True))
    shown = _shown(len(words))
    heading = title or f"{plan.account}: liquidation by {plan.policy}, {plan.outcome.value}"
    figure, axes = new_axes("", f"after the step [{plan.currency}]", "")
    figure.suptitle(heading)
    figure.set_size_inches(8.0, max(2.8, 1.5 + INCHES_PER_RUNG * len(shown)))
    _draw(axes, [f"{row}  {words[row]}" if row else words[0] for row in shown], after[shown], buffer)
    if len(shown) < len(words):
        gap = MOST_RUNGS // 2 - 0.5
        axes.axhline(gap, color="grey", linewidth=0.8, linestyle=":")
        left_out = f"{len(words) - len(shown)} steps left out"
        place = {"xycoords": ("axes fraction", "data"), "ha": "right", "va": "bottom", "fontsize": "small"}
        axes.annotate(left_out, (1.0, gap), **place)
    attributes = {"account": plan.account, "policy": plan.policy, "outcome": plan.outcome.value}
    return Picture(figure, frame(columns, {**attributes, "currency": plan.currency}))


def _draw(axes: Any, names: list[str], after: FloatArray, buffer: float | None) -> None:
    """Bars and dots of rungs; columns of `after` are equity, balance, initial, maintenance."""
    place, balance, maintenance = np.arange(len(after)), after[:, 1], after[:, 3]
    short = balance < maintenance
    for rows, color, label in (
        (short, MISSING_COLOR, "maintenance margin, not covered"),
        (~short, HEADROOM_COLOR, "maintenance margin, covered"),
    ):
        if rows.any():
            axes.barh(place[rows], maintenance[rows], height=0.6, color=color, alpha=0.55, label=label)
    if buffer is not None:
        label = f"with a buffer of {100 * buffer:.3g} %"
        axes.plot((1.0 + buffer) * maintenance, place, "|", color="tab:blue", markersize=12, mew=2, label=label)
    axes.plot(balance, place, "o-", color="black", markersize=4, linewidth=0.8, label="margin balance")
    axes.axvline(0.0, color="black", linewidth=0.8)
    axes.set_yticks(place, names, fontsize="small")
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")
    axes.xaxis.set_major_formatter(grouped)
    axes.figure.legend(fontsize="small", loc="outside lower center", ncols=2)


def _words(trades: tuple[Any, ...], arrays: RiskArrays) -> str:
    """Trades of a step: the first ones by name, then how many more."""
    told = [f"{t.action.value} {t.quantity:+.6g} {arrays.instrument_id[t.row]}" for t in trades[:MOST_NAMED]]
    more = len(trades) - len(told)
    return ", ".join([*told, *([f"{more} more"] if more else [])])


def _shown(count: int) -> np.ndarray:
    """Rungs of the picture."""
    rows = np.arange(count)
    half = MOST_RUNGS // 2
    return rows if count <= MOST_RUNGS else np.concatenate([rows[:half], rows[-half:]])
