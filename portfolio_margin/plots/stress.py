"""Pictures of a stress: what happened step by step, and who bore the losses."""

from __future__ import annotations

from typing import Any

import numpy as np

from portfolio_margin.io.frames import frame
from portfolio_margin.plots.picture import Picture, new_axes
from portfolio_margin.stress.result import Followed, Result
from pricing.arrays import FloatArray

UNITS = ((1e9, "billion "), (1e6, "million "), (1e3, "thousand "))
BEARERS = (
    ("from_fund", "insurance fund", "tab:blue"),
    ("deleveraged", "deleveraging", "tab:orange"),
    ("socialised", "socialised loss", "tab:red"),
    ("uncovered", "nobody", "black"),
)


def timeline(result: Result, title: str = "") -> Picture:
    """Prices, accounts liquidated, the fund with the shortfall by who bore it, and margin in force over the hours of a
    stress; of an account that was followed its balance and margins, before and after it was liquidated in a step.

    A figure of a step is drawn from its hour to the next one, that of the last for as long as most steps take. The
    frame is that of the result, one row a step.
    """
    table = result.frame()
    figure, first = new_axes(title or f"stress by {result.path.name}", "", "price [start = 1]")
    count = 4 if result.followed is None else 5
    figure.set_size_inches(9.5, 2.3 * count)
    first.remove()
    prices, accounts, losses, money, *own = figure.subplots(count, 1, sharex=True)
    prices.set(title=title or f"stress by {result.path.name}", ylabel="start = 1")
    hours = table["hours"].to_numpy()
    for u, name in enumerate(result.underlying_id):
        colour = f"C{u}"
        start = result.price[0, u] / (
            result.path.for_underlyings([str(name)]).price[0, 0] * np.exp(result.pushed[0, u])
        )
        prices.plot(hours, table[f"price_{name}"] / start, color=colour, label=f"{name} price")
        prices.plot(hours, table[f"vol_{name}"], color=colour, linestyle=":", label=f"{name} vol, 30 days")
    _accounts(accounts, result)
    _losses(losses, result)
    size, word = _unit(table["equity"].to_numpy().max(initial=0.0))
    for name, label, colour in (("equity", "equity", "tab:green"), ("initial_margin", "initial margin", "tab:purple"),
                                ("maintenance_margin", "maintenance margin", "tab:brown")):  # fmt: skip
        money.plot(hours, table[name] / size, color=colour, label=label)
    money.set(ylabel=f"all accounts\n[{word}{result.currency}]", ylim=(0.0, None))
    if result.followed is not None:
        _follow(own[0], hours, result.followed, result.currency)
    (own[0] if own else money).set_xlabel("hours")
    for axes in (prices, accounts, losses, money, *own):
        axes.grid(visible=True, alpha=0.3)
        axes.legend(fontsize="small", loc="center left", bbox_to_anchor=(1.0, 0.5))
    return Picture(figure, table)


def _edges(result: Result) -> FloatArray:
    """(T+1,) hours between which the figures of steps are drawn: the last step is as wide as most are."""
    hours = result.path.hours
    width = float(np.median(np.diff(hours))) if len(hours) > 1 else 1.0
    return np.append(hours, hours[-1] + width)


def _accounts(axes: Any, result: Result) -> None:
    """Accounts liquidated, waiting and bankrupt, step by step."""
    edges = _edges(result)
    columns = (("liquidated", "liquidated", "tab:blue"), ("waiting", "below maintenance still", "tab:orange"),
               ("bankrupt", "bankrupt", "tab:red"))  # fmt: skip
    for name, label, colour in columns:
        axes.stairs([getattr(row, name) for row in result.rows], edges, color=colour, baseline=None, label=label)
    axes.set(ylabel="accounts")
    axes.yaxis.get_major_locator().set_params(integer=True)


def _losses(axes: Any, result: Result) -> None:
    """The fund over time with its level before the start, and the shortfall so far by who bore it, that of accounts
    below 0 before the path as a line."""
    edges = _edges(result)
    borne = {name: np.cumsum([getattr(row, name) for row in result.rows]) for name, _, _ in BEARERS[:3]}
    fund = np.array([row.fund for row in result.rows])
    size, word = _unit(max(result.fund, float(fund.max()), float(sum(borne.values()).max())))  # type: ignore[union-attr]
    bottom = np.zeros(len(fund))
    for name, label, colour in BEARERS[:3]:
        if not np.any(borne[name]):
            continue
        top = bottom + borne[name] / size
        given = {"baseline": bottom, "fill": True, "color": colour, "alpha": 0.45}
        axes.stairs(top, edges, label=f"shortfall so far,\nborne by {label}", **given)
        bottom = top
    axes.stairs(fund / size, edges, color="black", baseline=None, linewidth=1.4, label="fund")
    axes.plot(edges[0], result.fund / size, "o", color="black", markersize=5, clip_on=False, label="fund before")
    if result.shortfall_before:
        axes.axhline(result.shortfall_before / size, color="tab:gray", linestyle="--", linewidth=1.0,
                     label="of it by accounts below 0\nbefore the path")  # fmt: skip
    axes.set(ylabel=f"fund, shortfall\n[{word}{result.currency}]", ylim=(0.0, None))


def _follow(axes: Any, hours: Any, own: Followed, currency: str) -> None:
    """The account that was followed. Where it was liquidated, its figures fall from those before to those after, and a
    mark says so; another says that a contract of it expired since the step before, a reason beside prices."""
    size, word = _unit(float(np.abs([own.balance_before, own.initial_before, own.maintenance_before]).max(initial=0.0)))
    # Both at the same hour: what liquidation did stands as a vertical stroke.
    times = np.repeat(hours, 2)
    for before, after, label, colour in (
        (own.balance_before, own.balance, "margin balance", "tab:green"),
        (own.initial_before, own.initial, "initial margin", "tab:purple"),
        (own.maintenance_before, own.maintenance, "maintenance margin", "tab:brown"),
    ):
        axes.plot(times, np.column_stack([before, after]).ravel() / size, color=colour, label=label)
    marks = ((own.traded, own.balance_before, "v", "tab:red", "liquidated"),
             (own.expired, own.maintenance_before, "D", "tab:blue", "contract expired"))  # fmt: skip
    for rows, heights, shape, colour, label in marks:
        if rows.any():
            axes.plot(hours[rows], heights[rows] / size, shape, color=colour, markersize=5, label=label)
    axes.axhline(0.0, color="black", linewidth=0.6)
    axes.set(ylabel=f"this account\n[{word}{currency}]")


def loss_waterfall(result: Result, title: str = "") -> Picture:
    """What bankrupt accounts owed, of accounts below 0 before the path and of others, and who bore how much of it, as
    steps down to what nobody did.

    The frame: bearer, amount, share of the shortfall; its first two rows are the parts of the shortfall, the others
    who bore it.
    """
    shortfall, before = result.total("shortfall"), result.shortfall_before
    amounts = [result.total(name) for name, _, _ in BEARERS[:3]] + [result.rows[-1].uncovered]
    size, word = _unit(shortfall)
    heading = title or f"who bore the shortfall of {_whose(result)}"
    figure, axes = new_axes(heading, "", f"[{word}{result.currency}]")
    labels = ["below 0 before\nthe path", "made by\nthe path", *(label for _, label, _ in BEARERS)]
    parts = [before, shortfall - before]
    for place, (amount, bottom) in enumerate(zip(parts, (0.0, before), strict=True)):
        axes.bar(place, amount / size, bottom=bottom / size, color="tab:gray", alpha=1.0 - 0.4 * place)
        _tell(axes, place, (bottom + amount) / size, amount / size)
    left = shortfall
    for place, (amount, (_, _, colour)) in enumerate(zip(amounts, BEARERS, strict=True), start=len(parts)):
        axes.bar(place, amount / size, bottom=(left - amount) / size, color=colour)
        axes.plot([place - 1.4, place + 0.4], [left / size, left / size], color="gray", linewidth=0.8)
        _tell(axes, place, left / size, amount / size)
        left -= amount
    axes.set_xticks(range(len(labels)), labels)
    axes.grid(visible=False, axis="x")
    axes.set_ylim(0.0, 1.12 * max(shortfall / size, 1e-9))
    every = np.array([*parts, *amounts])
    columns = {"bearer": np.array([label.replace("\n", " ") for label in labels]), "amount": every}
    columns["share"] = every / shortfall if shortfall else np.zeros(len(every))
    return Picture(figure, frame(columns, {"currency": result.currency}))


def _whose(result: Result) -> str:
    """What a shortfall is of: the path, what was before it, or both."""
    before, total = result.shortfall_before, result.total("shortfall")
    if not before:
        return result.path.name
    return f"{result.path.name}: {100 * before / total:.0f} % is owed from before the path"


def _tell(axes: Any, place: float, height: float, amount: float) -> None:
    axes.text(place, height, f"{amount:,.1f}", ha="center", va="bottom", fontsize="small")


def _unit(largest: float) -> tuple[float, str]:
    return next(((size, word) for size, word in UNITS if largest >= size), (1.0, ""))
