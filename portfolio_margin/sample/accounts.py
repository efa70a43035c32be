"""The accounts of the sample exchange: names that say what they hold, sized by what the market lists.

Nothing here is random: strikes are chosen by delta or moneyness, and cash is what makes the margin balance a stated
multiple of initial margin, so that the same accounts make sense on any day's market.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from portfolio_margin.book import Book
from portfolio_margin.margin import margin
from portfolio_margin.models import worst_case
from portfolio_margin.sample import equity_accounts
from portfolio_margin.sample.account import BANKRUPT_SHARE, NO_COVER, Account
from portfolio_margin.sample.strategies import (
    CALL,
    PUT,
    Listing,
    box,
    calendar,
    delta_hedge,
    iron_condor,
    quoted_strip,
    spread,
    straddle,
    strangle,
    synthetic,
    together,
)
from pricing.errors import DataError, Problem
from pricing.instruments import Exercise, Instruments, Kind
from pricing.market import Market
from scenarios.families import grid
from scenarios.revalue import revalue

WEEK, MONTH, QUARTER, HALF_YEAR = 7.0, 29.0, 120.0, 200.0
BTC, ETH = "BTC", "ETH"
# Round sums, so that the last digits of a fit move no balance.
DEPOSIT_STEP = 100.0
IDLE_CASH = 25_000.0


class Holding(NamedTuple):
    """One row of the positions or of the collateral file."""

    account: str
    name: str
    quantity: float


def accounts(listing: Listing) -> list[Account]:
    """Every account of the sample, or those on each stock of a market that is one of stocks."""
    stocks = equity_accounts.stocks_of(listing.instruments, listing.market)
    if stocks:
        return [account for stock in stocks for account in equity_accounts.accounts(listing, stock)]
    return [*_income(listing), *_spreads(listing), *_volatility(listing), *_linear(listing), *_mixed(listing)]


def holdings(instruments: Instruments, market: Market) -> tuple[list[Holding], list[Holding]]:
    """Positions and collateral of every account on a market, funded to its cover."""
    _check_listed(instruments, market)
    wanted = accounts(Listing.of(instruments, market))
    positions = [Holding(a.name, name, quantity) for a in wanted for name, quantity in a.legs.items()]
    coins = [Holding(a.name, coin, amount) for a in wanted for coin, amount in a.coins.items()]
    book = book_of(instruments, positions, coins, [a.name for a in wanted])
    # Early exercise is compiled: on numpy the options of one stock take twenty seconds.
    backend = "numba" if np.any(instruments.exercise != Exercise.EUROPEAN) else "numpy"
    arrays = revalue(instruments, market, grid.scenarios(grid.Params(), market), backend=backend)
    statement = margin(book, arrays, market, worst_case.Model(), backend="numpy")
    collateral = []
    for account in wanted:
        row = book.row_of(account.name)
        # Where few strikes are listed, the legs of a spread may be one contract and cancel: the account stays.
        cover = account.cover if account.legs or account.coins else NO_COVER
        amount = _deposit(cover, float(statement.initial_margin[row]), float(statement.margin_balance[row]))
        collateral += [holding for holding in coins if holding.account == account.name]
        collateral += [Holding(account.name, str(market.currency_id[0]), amount)] if amount else []
    return positions, collateral


def _check_listed(instruments: Instruments, market: Market) -> None:
    """DataError where the market lacks a kind of contract that the accounts hold, and is not one of stocks."""
    if equity_accounts.stocks_of(instruments, market):
        return
    problems = []
    for coin in (BTC, ETH):
        mine = np.flatnonzero(market.underlying_id == coin)
        for kind in (Kind.OPTION, Kind.FUTURE, Kind.PERPETUAL):
            if not len(mine) or not np.any((instruments.underlying_idx == mine[0]) & (instruments.kind == kind)):
                remedy = f"the accounts of the sample hold {coin} {kind.name.lower()}s and this market lists none"
                problems.append(Problem("market", None, "underlying", coin, remedy))
    if problems:
        raise DataError(problems)


def files_of(positions: list[Holding], collateral: list[Holding]) -> tuple[bytes, bytes]:
    """The positions file and the collateral file."""
    return _text("account,instrument,quantity", positions), _text("account,currency,amount", collateral)


def _text(header: str, rows: list[Holding]) -> bytes:
    lines = [header, *(f"{row.account},{row.name},{row.quantity:.10g}" for row in rows)]
    return ("\n".join(lines) + "\n").encode()


def idle_accounts(instruments: Instruments, market: Market) -> list[str]:
    """Accounts whose contracts cancel on a market, which lists too few strikes for them."""
    wanted = accounts(Listing.of(instruments, market))
    return [account.name for account in wanted if account.cover != NO_COVER and not (account.legs or account.coins)]


def book_of(
    instruments: Instruments, positions: list[Holding], collateral: list[Holding], accounts: list[str] | None = None
) -> Book:
    """The book that the two files describe; `accounts` names further ones that may hold nothing."""
    row_of = instruments.index_of()
    rows = [*positions, *collateral]
    return Book.from_arrays(
        [row.account for row in rows],
        [row_of[row.name] for row in rows],
        [row.quantity for row in rows],
        group_of_instrument=instruments.expiry_idx,
        accounts=accounts,
    )


def _deposit(cover: float, initial: float, balance: float) -> float:
    """Margin currency that lifts a margin balance to `cover` times initial margin, in round hundreds."""
    if cover == NO_COVER:
        return IDLE_CASH
    amount = DEPOSIT_STEP * round((cover * initial - balance) / DEPOSIT_STEP)
    return max(amount, 0.0) if cover > NO_COVER else amount


def _income(market: Listing) -> Iterator[Account]:
    """Sellers of options: covered, strangled, naked."""
    for number, (coin, days, delta, coins) in enumerate(
        [(BTC, MONTH, 0.30, 10.0), (ETH, MONTH, 0.25, 200.0), (BTC, QUARTER, 0.20, 25.0)], start=1
    ):
        legs = {market.option(coin, days, CALL, delta): -coins}
        yield Account(f"covered-call-{number:02d}", legs, {coin: coins}, 1.0)
    legs = {market.option(BTC, MONTH, PUT, 0.25): -5.0}
    yield Account("cash-secured-put-01", legs, {}, 8.0)
    sizes = [(BTC, MONTH, 0.15, -10.0, 1.8), (ETH, MONTH, 0.20, -150.0, 1.4), (BTC, QUARTER, 0.10, -20.0, 1.25)]
    for number, (coin, days, delta, size, cover) in enumerate(sizes, start=1):
        yield Account(f"short-strangle-{number:02d}", strangle(market, coin, days, delta, size), {}, cover)
    yield Account("short-strangle-stressed", strangle(market, BTC, WEEK, 0.25, -12.0), {}, 0.95)
    wings = together(strangle(market, BTC, MONTH, 0.03, -60.0), strangle(market, BTC, QUARTER, 0.05, -30.0))
    yield Account("naked-wing-seller-01", wings, {BTC: 4.0}, 1.15)
    yield Account("naked-call-seller-01", {market.option(ETH, MONTH, CALL, 0.05): -800.0}, {}, 0.84)
    yield Account("naked-wing-seller-underwater", strangle(market, BTC, WEEK, 0.08, -80.0), {BTC: 1.0}, 0.70)
    yield Account("short-straddle-bankrupt", straddle(market, ETH, WEEK, -400.0), {}, BANKRUPT_SHARE)


def _spreads(market: Listing) -> Iterator[Account]:
    """Books whose loss is bounded by their wings."""
    condors = [
        (BTC, MONTH, (0.80, 0.90, 1.10, 1.20), 5.0),
        (ETH, MONTH, (0.80, 0.90, 1.10, 1.20), 100.0),
        (BTC, QUARTER, (0.70, 0.85, 1.15, 1.30), 5.0),
        (ETH, HALF_YEAR, (0.70, 0.85, 1.15, 1.30), 100.0),
        (BTC, WEEK, (0.88, 0.94, 1.06, 1.12), 8.0),
        (ETH, QUARTER, (0.60, 0.80, 1.20, 1.40), 100.0),
        (BTC, MONTH, (0.70, 0.82, 1.18, 1.32), 5.0),
        (ETH, WEEK, (0.85, 0.95, 1.05, 1.15), 150.0),
    ]
    for number, (coin, days, wings, size) in enumerate(condors, start=1):
        yield Account(f"iron-condor-{number:02d}", iron_condor(market, coin, days, wings, size), {}, 1.2 + 0.2 * number)
    yield Account("box-01", box(market, BTC, QUARTER, (0.8, 1.2), 10.0), {BTC: 1.0}, 1.5)
    yield Account("box-02", box(market, ETH, MONTH, (0.9, 1.1), -100.0), {}, 2.0)
    vertical = {
        "bull-call-spread-01": (BTC, MONTH, CALL, (1.0, 1.15), (8.0, -8.0)),
        "bear-put-spread-01": (BTC, QUARTER, PUT, (0.95, 0.80), (8.0, -8.0)),
        "credit-put-spread-01": (ETH, MONTH, PUT, (0.90, 0.80), (-120.0, 120.0)),
        "call-ratio-01": (BTC, MONTH, CALL, (1.05, 1.20), (5.0, -10.0)),
        "put-backspread-01": (ETH, QUARTER, PUT, (1.0, 0.80), (-50.0, 100.0)),
        "butterfly-01": (BTC, MONTH, CALL, (0.90, 1.0, 1.10), (10.0, -20.0, 10.0)),
        "butterfly-02": (ETH, QUARTER, PUT, (0.80, 1.0, 1.20), (150.0, -300.0, 150.0)),
    }
    for name, terms in vertical.items():
        yield Account(name, spread(market, *terms), {}, 1.6)
    yield Account("calendar-01", calendar(market, BTC, (MONTH, QUARTER), CALL, 1.05, 8.0), {}, 1.7)
    yield Account("calendar-02", calendar(market, ETH, (WEEK, MONTH), PUT, 0.95, 100.0), {}, 1.3)


def _volatility(market: Listing) -> Iterator[Account]:
    """Books that hold volatility with or without a hedge of their delta."""
    yield Account("long-straddle-01", straddle(market, BTC, MONTH, 6.0), {}, 1.5)
    yield Account("long-strangle-01", strangle(market, ETH, QUARTER, 0.20, 120.0), {}, 1.5)
    for number, (coin, days, size, cover) in enumerate(
        [(BTC, MONTH, 12.0, 1.5), (ETH, WEEK, 250.0, 1.3), (BTC, WEEK, -6.0, 1.2), (ETH, QUARTER, -120.0, 0.75)],
        start=1,
    ):
        legs = straddle(market, coin, days, size)
        hedged = together(legs, delta_hedge(market, legs, {}))
        yield Account(f"delta-hedged-gamma-{number:02d}", hedged, {}, cover)
    reversal = {market.option(BTC, QUARTER, PUT, 0.25): -6.0, market.option(BTC, QUARTER, CALL, 0.25): 6.0}
    yield Account("risk-reversal-01", reversal, {}, 1.6)
    collar = {market.option(BTC, QUARTER, PUT, 0.25): 10.0, market.option(BTC, QUARTER, CALL, 0.25): -10.0}
    yield Account("collar-01", collar, {BTC: 10.0}, 1.0)
    yield Account("protective-put-01", {market.option(ETH, MONTH, PUT, 0.30): 150.0}, {ETH: 150.0}, 1.0)


def _linear(market: Listing) -> Iterator[Account]:
    """Futures and perpetuals, alone and against something."""
    for number, (coin, coins, cover) in enumerate([(BTC, 5.0, 1.5), (ETH, -80.0, 1.3), (BTC, -3.0, 0.97)], start=1):
        name = market.perpetual(coin)
        side = "long" if coins > 0 else "short"
        yield Account(f"perpetual-{side}-{number:02d}", {name: market.contracts(name, coins)}, {}, cover)
    future = market.future(BTC, QUARTER)
    yield Account("cash-and-carry-01", {future: market.contracts(future, -20.0)}, {BTC: 20.0}, 1.0)
    near, far = market.future(ETH, MONTH), market.future(ETH, HALF_YEAR)
    roll = {near: market.contracts(near, -300.0), far: market.contracts(far, 300.0)}
    yield Account("future-roll-01", roll, {}, 3.0)
    synthetic_future = synthetic(market, BTC, MONTH, 1.0, 10.0)
    yield Account("synthetic-future-01", synthetic_future, {}, 1.3)
    conversion = together(synthetic_future, delta_hedge(market, synthetic_future, {}))
    yield Account("conversion-01", conversion, {}, 2.0)
    yield Account("coin-only-01", {}, {BTC: 3.0, ETH: 40.0}, 1.0)
    yield Account("empty", {}, {}, NO_COVER)


def _mixed(market: Listing) -> Iterator[Account]:
    """Larger books over several expiries and both underlyings."""
    relative = together(straddle(market, BTC, MONTH, -5.0), straddle(market, ETH, MONTH, 160.0))
    hedge = delta_hedge(market, relative, {})
    yield Account("cross-underlying-01", together(relative, hedge), {}, 1.4)
    days = (WEEK, MONTH, QUARTER, HALF_YEAR)
    makers = [
        ((0.10, 0.25, 0.40), (1.5, -2.0, 0.8, -1.2, 2.5), (-20.0, 35.0, -15.0, 10.0, -12.0), {BTC: 0.5}, 1.8),
        ((0.08, 0.20, 0.35), (-6.0, 4.5, -3.0, 5.5, -4.0), (90.0, -60.0, -75.0, 45.0, 20.0), {BTC: 1.0}, 1.3),
        ((0.15, 0.30, 0.45), (9.0, -12.0, -7.0, 15.0, -8.0), (-200.0, 120.0, 150.0, -90.0, 60.0), {ETH: 50.0}, 1.15),
    ]
    for number, (deltas, btc, eth, coins, cover) in enumerate(makers, start=1):
        legs = together(quoted_strip(market, BTC, days, deltas, btc), quoted_strip(market, ETH, days, deltas, eth))
        hedged = together(legs, delta_hedge(market, legs, coins))
        yield Account(f"market-maker-{number:02d}", hedged, coins, cover)
    fund = together(
        strangle(market, BTC, QUARTER, 0.15, -15.0),
        strangle(market, BTC, HALF_YEAR, 0.10, 20.0),
        iron_condor(market, ETH, MONTH, (0.8, 0.9, 1.1, 1.2), -150.0),
    )
    yield Account("volatility-fund-01", fund, {BTC: 5.0}, 1.6)
    tail = together(
        {market.option(BTC, QUARTER, PUT, 0.05): 40.0, market.option(BTC, QUARTER, CALL, 0.05): 20.0},
        {market.perpetual(BTC): market.contracts(market.perpetual(BTC), 2.0)},
    )
    yield Account("tail-buyer-01", tail, {}, 1.5)
    leveraged = market.perpetual(ETH)
    yield Account("perpetual-long-liquidated", {leveraged: market.contracts(leveraged, 500.0)}, {ETH: 10.0}, 0.6)
