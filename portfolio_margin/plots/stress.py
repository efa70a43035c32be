"""Pictures of a stress: what happened step by step, and who bore the losses."""

from __future__ import annotations

from typing import Any

import numpy as np

from portfolio_margin.io.frames import frame
from portfolio_margin.plots.picture import Picture, new_axes
from portfolio_margin.stress.result import Followed, Result

UNITS = ((1e9, "billion "), (1e6, "million "), (1e3, "thousand "))
BEARERS = (
    ("from_fund", "insurance fund", "tab:blue"),
    ("deleveraged", "deleveraging", "tab:orange"),
    ("socialised", "socialised", "tab:red"),
    ("uncovered", "uncovered", "black"),
)


def timeline(result: Result, title: str = "") -> Picture:
    """Prices, accounts liquidated, shortfall by who bore it, fund and margin in force over the hours of a stress, and
    of an account that was followed its balance and margins, with marks where it was liquidated.

    The frame is that of the result, one row a step.
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
    accounts.step(hours, table["liquidated"], where="post", color="tab:blue", label="liquidated")
    accounts.step(hours, table["waiting"], where="post", color="tab:orange", label="waiting for a bid")
    accounts.step(hours, table["bankrupt"], where="post", color="tab:red", label="closed owing")
    accounts.set(ylabel="accounts")
    accounts.yaxis.get_major_locator().set_params(integer=True)
    size, word = _unit(table[["fund", "shortfall"]].to_numpy().max(initial=0.0))
    bottom = np.zeros(len(hours))
    for name, label, colour in BEARERS[:3]:
        if not np.any(table[name]):
            continue
        top = bottom + np.cumsum(table[name].to_numpy()) / size
        losses.fill_between(hours, bottom, top, step="post", color=colour, alpha=0.6, label=label)
        bottom = top
    losses.step(hours, table["fund"] / size, where="post", color="black", label="fund left")
    losses.set(ylabel=f"losses borne, fund\n[{word}{result.currency}]")
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


def _follow(axes: Any, hours: Any, own: Followed, currency: str) -> None:
    """The account that was followed, at the end of every step; where it was liquidated, a mark."""
    size, word = _unit(float(np.abs([own.balance, own.initial, own.maintenance]).max(initial=0.0)))
    for values, label, colour in ((own.balance, "margin balance", "tab:green"), (own.initial, "initial margin",
                                  "tab:purple"), (own.maintenance, "maintenance margin", "tab:brown")):  # fmt: skip
        axes.plot(hours, values / size, color=colour, label=label)
    if own.traded.any():
        axes.plot(hours[own.traded], own.balance[own.traded] / size, "v", color="tab:red", label="liquidated")
    axes.axhline(0.0, color="black", linewidth=0.6)
    axes.set(ylabel=f"this account\n[{word}{currency}]")


def loss_waterfall(result: Result, title: str = "") -> Picture:
    """What closed accounts owed, and who bore how much of it, as steps down to what nobody did.

    The frame: bearer, amount, share of the shortfall.
    """
    shortfall = result.total("shortfall")
    amounts = [result.total(name) for name, _, _ in BEARERS[:3]] + [result.rows[-1].uncovered]
    size, word = _unit(shortfall)
    heading = title or f"who bore the shortfall of {result.path.name}"
    figure, axes = new_axes(heading, "", f"[{word}{result.currency}]")
    labels = ["shortfall", *(label for _, label, _ in BEARERS)]
    axes.bar(0, shortfall / size, color="tab:gray")
    _tell(axes, 0, shortfall / size, shortfall / size)
    left = shortfall
    for place, (amount, (_, _, colour)) in enumerate(zip(amounts, BEARERS, strict=True), start=1):
        axes.bar(place, amount / size, bottom=(left - amount) / size, color=colour)
        axes.plot([place - 1.4, place + 0.4], [left / size, left / size], color="gray", linewidth=0.8)
        _tell(axes, place, left / size, amount / size)
        left -= amount
    axes.set_xticks(range(len(labels)), labels)
    axes.grid(visible=False, axis="x")
    axes.set_ylim(0.0, 1.12 * max(shortfall / size, 1e-9))
    share = [amount / shortfall if shortfall else 0.0 for amount in (shortfall, *amounts)]
    columns = {"bearer": np.array(labels), "amount": np.array([shortfall, *amounts]), "share": np.array(share)}
    return Picture(figure, frame(columns, {"currency": result.currency}))


def _tell(axes: Any, place: float, height: float, amount: float) -> None:
    axes.text(place, height, f"{amount:,.1f}", ha="center", va="bottom", fontsize="small")


def _unit(largest: float) -> tuple[float, str]:
    return next(((size, word) for size, word in UNITS if largest >= size), (1.0, ""))
