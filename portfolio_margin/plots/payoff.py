"""Payoff of one account along the price of one underlying: now, tomorrow, and at expiry."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np

from portfolio_margin.aggregate import account_sums
from portfolio_margin.book import Book
from portfolio_margin.edge.prices import LiquidationPrices
from portfolio_margin.io.frames import frame
from portfolio_margin.plots.edge import BELOW, mark_prices
from portfolio_margin.plots.picture import Picture, grouped, new_axes
from pricing.arrays import DAYS_PER_YEAR, MILLISECONDS_PER_YEAR, BoolArray, FloatArray
from pricing.errors import DataError, Problem
from pricing.instruments import Instruments, Kind
from pricing.market import Market
from scenarios.revalue import revalue
from scenarios.shocks import make

PRICES = 161
STYLES = ("-", "--", "-.", ":")


def payoff(
    book: Book,
    instruments: Instruments,
    market: Market,
    account: str,
    underlying: str,
    *,
    span: float = 0.5,
    marks: LiquidationPrices | None = None,
    title: str = "",
) -> Picture:
    """P&L of what an account holds of one underlying over its price; vols and other underlyings do not move.

    span   how far the price goes each way, a share of it, above 0 and below 1
    marks  liquidation prices of the account along this underlying, vols sticky by strike as those of the curves: each
           is marked on the curve of now, and where the account is liquidated is shaded
    Lines are "now", "tomorrow", and where options are held, "at expiry" of the first and of the last of them; contracts
    that have expired by then count as what they paid at that price. Coins that pay or are held move with the price.
    The frame, one row a point: price, line, days (from now), pnl (margin currency); with marks also liquidated, whether
    the account is at that price now. DataError for an unknown name, a span out of bounds, or marks of another account
    or underlying.
    """
    if marks is not None and (marks.account, marks.underlying, marks.sticky) != (account, underlying, "strike"):
        found = f"{marks.account} along {marks.underlying}, vols sticky by {marks.sticky}"
        remedy = f"must be of {account} along {underlying}, by strike"
        raise DataError([Problem("payoff", None, "marks", found, remedy)])
    names = market.underlying_id.tolist()
    if underlying not in names or not 0.0 < span < 1.0:
        name, value = ("underlying", underlying) if underlying not in names else ("span", span)
        raise DataError([Problem("payoff", None, name, value, f"of {', '.join(names)}; a span is between 0 and 1")])
    u = names.index(underlying)
    account_book = book.select(account)
    account_book = account_book.keep(instruments.underlying_idx[account_book.instrument_idx] == u)
    own, table, market = _held(account_book, instruments, market)
    days = _horizons(own, table, market)
    move = np.linspace(-span, span, PRICES)
    moves = np.zeros((len(days) * PRICES, len(names)))
    moves[:, u] = np.tile(move, len(days))
    steps = np.repeat(np.array(list(days.values())) / DAYS_PER_YEAR, PRICES)
    labels = [f"{line} {n}" for line in days for n in range(PRICES)]
    arrays = revalue(table, market, make(labels, moves, time_step_years=steps), tick=None)
    pnl = account_sums(own, arrays, arrays.rows)[0].reshape(len(days), PRICES)
    price = market.spot[u] * (1.0 + move)
    heading = title or f"{account}: P&L along the price of {underlying}, vols unchanged"
    figure, axes = new_axes(heading, f"price of {underlying}", f"P&L [{arrays.currency}]")
    for style, line, values in zip(STYLES, days, pnl, strict=False):
        axes.plot(price, values, style, label=line)
    axes.axhline(0.0, color="black", linewidth=0.8)
    axes.axvline(float(market.spot[u]), color="grey", linewidth=0.8, label="price now")
    columns = {"price": np.tile(price, len(days)), "line": np.repeat(list(days), PRICES)}
    after: FloatArray = np.repeat(list(days.values()), PRICES)
    columns |= {"days": after, "pnl": pnl.ravel()}
    if marks is not None:
        columns["liquidated"] = np.tile(_shade(axes, marks, price), len(days))
        mark_prices(axes, marks, price, pnl[0])
    axes.set_xlim(price[0], price[-1])
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(grouped)
    axes.legend(fontsize="small")
    return Picture(figure, frame(columns))


def _shade(axes: Any, marks: LiquidationPrices, price: FloatArray) -> BoolArray:
    """Shade where the account is liquidated; (P,) which of the prices lie there."""
    there = np.zeros(len(price), dtype=np.bool_)
    for number, (low, high) in enumerate(marks.ranges):
        # A name that begins with an underscore is left out of the legend.
        axes.axvspan(low, high, color=BELOW, alpha=0.10, label="_" * (number > 0) + "liquidated", linewidth=0)
        there |= (price > low) & (price < high)
    return there


def _held(own: Book, instruments: Instruments, market: Market) -> tuple[Book, Instruments, Market]:
    """The book on a table of what it holds and the cash, with the market of that table."""
    kept = np.unique(np.concatenate([own.instrument_idx, np.flatnonzero(instruments.kind == Kind.CASH)]))
    columns = {f.name: getattr(instruments, f.name)[kept] for f in fields(instruments)}
    moved = replace(own, instrument_idx=np.searchsorted(kept, own.instrument_idx))
    return moved, Instruments(**columns), replace(market, mark_vol=market.mark_vol[kept])


def _horizons(own: Book, instruments: Instruments, market: Market) -> dict[str, float]:
    """Name of each line -> days from now."""
    held = own.instrument_idx[own.quantity != 0]
    option = held[instruments.kind[held] == Kind.OPTION]
    times = np.unique(market.expiry_time[instruments.expiry_idx[option]])
    horizons = {"now": 0.0, "tomorrow": 1.0}
    for time in dict.fromkeys([*times[:1].tolist(), *times[-1:].tolist()]):
        day = np.datetime64(int(time), "ms").astype("datetime64[D]")
        left = (time - market.valuation_time) / MILLISECONDS_PER_YEAR * DAYS_PER_YEAR
        horizons[f"at expiry, {day}"] = max(float(left), 0.0)
    return horizons
