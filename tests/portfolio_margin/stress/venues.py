"""A small venue and paths for the tests of a stress."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np

from portfolio_margin import Book
from portfolio_margin.models import worst_case
from portfolio_margin.stress.path import StressPath
from portfolio_margin.stress.run import Venue
from pricing.instruments import Instruments
from pricing.market import Market
from scenarios.families import grid
from scenarios.shocks import ScenarioSet
from tests.portfolio_margin.books import ARRAYS, INSTRUMENTS, MARKET, Held, book_of, in_steps

MODEL = worst_case.Model()


def scenarios(market: Market) -> ScenarioSet:
    return grid.scenarios(grid.Params(buckets=2, days=(0.0,)), market)


def venue_of(book: Book, **more: Any) -> Venue:
    given = {"model": MODEL, "scenarios": scenarios, "backend": "numpy", **more}
    return Venue(book, INSTRUMENTS, MARKET, given["model"], given["scenarios"], given["backend"])


def path_of(price: list[float], vol: list[float] | None = None, hours: float = 12.0, eth: float = 1.0) -> StressPath:
    """BTC by these factors, ETH by their power; one vol for both."""
    factors = np.array(price)
    levels = np.ones(len(price)) if vol is None else np.array(vol)
    return StressPath(
        name="test",
        source="made up",
        hours=hours * np.arange(len(price)),
        underlying_id=np.array(["BTC", "ETH"]),
        price=np.column_stack([factors, factors**eth]),
        tenor_days=np.array([30.0]),
        vol=np.repeat(levels[:, None, None], 2, axis=1),
        token=np.zeros(0, dtype=np.str_),
        peg=np.zeros((len(price), 0)),
    )


def with_token(book_row: float) -> Venue:
    """A venue of one account that is long a perpetual and holds so much USDC, which is worth a dollar."""
    columns = {f.name: getattr(INSTRUMENTS, f.name) for f in fields(INSTRUMENTS)}
    cash = {name: np.append(column, column[0]) for name, column in columns.items()}
    cash["instrument_id"] = np.append(columns["instrument_id"], "USDC")
    cash["currency_idx"][-1] = len(MARKET.currency_id)
    instruments = Instruments(**cash)
    market = replace(
        MARKET,
        mark_vol=np.append(MARKET.mark_vol, np.nan),
        currency_id=np.append(MARKET.currency_id, "USDC"),
        fx=np.append(MARKET.fx, 1.0),
        currency_underlying=np.append(MARKET.currency_underlying, -1),
    )
    rows = [instruments.index_of()[name] for name in ("BTC-PERPETUAL", "USDC")]
    book = Book.from_arrays(["a", "a"], rows, [68_000.0, book_row], instruments.expiry_idx)
    return Venue(book, instruments, market, MODEL, scenarios, "numpy")


def random_accounts(steps: list[dict[str, int]], cover: list[int]) -> dict[str, Held]:
    """Accounts with cash such that the margin balance is a share, in percent, of the initial margin."""
    from portfolio_margin import margin

    named = {f"a{number}": {**in_steps(held), "USD": 0.0} for number, held in enumerate(steps)}
    book = book_of(named)
    arrays = venue_of(book).arrays(MARKET)
    statement = margin(book, arrays, MARKET, MODEL, backend="numpy")
    for row, name in enumerate(statement.account.tolist()):
        percent = cover[int(name[1:]) % len(cover)]
        wanted = percent / 100.0 * float(statement.initial_margin[row])
        named[name]["USD"] = round(wanted - float(statement.margin_balance[row]), 2)
    return named


__all__ = ["ARRAYS", "INSTRUMENTS", "MARKET", "path_of", "random_accounts", "venue_of"]
