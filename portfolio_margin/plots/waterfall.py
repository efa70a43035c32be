"""Waterfall of one account: from its equity through haircuts and every charge to the funds that are left."""

from __future__ import annotations

import numpy as np

from portfolio_margin.io.frames import frame
from portfolio_margin.plots.picture import Picture, grouped, new_axes
from portfolio_margin.statement import MarginStatement
from pricing.errors import DataError, Problem

PARTS = ("initial", "maintenance")
COLORS = {"level": "tab:blue", "down": "tab:red", "up": "tab:green"}


def margin_waterfall(statement: MarginStatement, account: str, part: str = "initial", title: str = "") -> Picture:
    """Equity, less haircut, options not counted and every charge of the initial or maintenance part, to what is left.

    The frame, one row a bar: step, amount (margin currency; what the bar adds, or the level it shows), below and above
    (its ends), kind: "level", "down" or "up". Charges of nothing have no bar; "rounding" is what rounding up to the
    money step adds to them. DataError where the statement has no such account.
    """
    found = np.flatnonzero(statement.account == account)
    if not len(found) or part not in PARTS:
        name, value = ("account", account) if part in PARTS else ("part", part)
        raise DataError([Problem("statement", None, name, value, f"none of it; parts are {', '.join(PARTS)}")])
    row, column = int(found[0]), PARTS.index(part)
    required = float((statement.initial_margin, statement.maintenance_margin)[column][row])
    charges = {name: -float(amounts[row, column]) for name, amounts in statement.charges.items()}
    equity, balance = float(statement.equity[row]), float(statement.margin_balance[row])
    rounding = -(required + sum(charges.values()))
    uncounted = float(statement.uncounted_option_value[row])
    moves = {"haircut": balance + uncounted - equity, "option value not counted": -uncounted}
    steps = [
        ("equity", equity, True),
        *((n, a, False) for n, a in moves.items() if a),
        ("margin balance", balance, True),
    ]
    steps += [
        (name, amount, False) for name, amount in [*charges.items(), ("rounding", rounding)] if abs(amount) >= 0.005
    ]
    left = (statement.available_funds, statement.excess_liquidity)[column]
    steps.append((("available funds", "excess liquidity")[column], float(left[row]), True))
    level, rows = 0.0, []
    for name, amount, absolute in steps:
        start, end = (0.0, amount) if absolute else (level, level + amount)
        kind = "level" if absolute else "down" if amount < 0 else "up"
        rows.append((name, amount, min(start, end), max(start, end), kind))
        level = end
    columns = dict(zip(("step", "amount", "below", "above", "kind"), map(list, zip(*rows, strict=True)), strict=True))
    heading = title or f"{account}: {part} margin under {statement.model.model_id}"
    figure, axes = new_axes(heading, "", statement.currency)
    colors = [COLORS[kind] for kind in columns["kind"]]
    sizes = np.subtract(columns["above"], columns["below"])
    axes.bar(range(len(rows)), sizes, bottom=columns["below"], color=colors, width=0.65)
    axes.axhline(0.0, color="black", linewidth=0.8)
    for place, (amount, above) in enumerate(zip(columns["amount"], columns["above"], strict=True)):
        axes.annotate(
            f"{amount:,.0f}" if abs(amount) >= 1 else f"{amount:,.2f}",
            (place, above),
            (0, 3),
            textcoords="offset points",
            ha="center",
            fontsize="small",
        )
    names = [name.replace("_", " ") for name in columns["step"]]
    axes.set_xticks(range(len(rows)), names, rotation=30, ha="right", rotation_mode="anchor")
    axes.grid(visible=False, axis="x")
    axes.yaxis.set_major_formatter(grouped)
    # Room above and below the bars for their numbers.
    axes.use_sticky_edges = False
    axes.margins(y=0.1)
    return Picture(figure, frame(columns))
