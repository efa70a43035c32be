"""MarginEngine: one order, orders in batch, fills and ticks, beside asking for the margin of everybody again."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import cycle
from typing import Any

import numpy as np

from benchmarks.exchange import DAY_MS
from benchmarks.timing import report
from portfolio_margin import Book, margin
from portfolio_margin.engine import MarginEngine, apply
from portfolio_margin.events import Fill, MarketUpdated, PositionsChanged
from portfolio_margin.ledger import Positions, book_of
from portfolio_margin.models import worst_case
from portfolio_margin.sensitivities import what_if
from portfolio_margin.state import start
from pricing import UNDATED, Instruments, Kind, Market
from scenarios import ScenarioSet, revalue
from scenarios.families import grid

NOW_MS = 1_772_098_865_000
EXPIRIES = 6
RARE, HOLDERS = 40, 500
SPOT = (68_000.0, 150.0)
LATENCIES = 20_000


def venue(contracts: int, seed: int = 1) -> tuple[Instruments, Market]:
    """Cash and options on two underlyings, the second of which, with few contracts, few accounts hold."""
    random = np.random.default_rng(seed)
    expiry = np.concatenate([np.sort(random.integers(0, EXPIRIES, contracts)), np.full(RARE, EXPIRIES + 1)])
    owner = np.repeat([0, 1], [contracts, RARE])
    strike = np.array(SPOT)[owner] * np.round(np.exp(random.normal(0, 0.35, len(owner))), 2)
    count = len(owner) + 1
    instruments = Instruments(
        instrument_id=np.array(["USD", *(f"O{row:06d}" for row in range(len(owner)))]),
        kind=np.append(int(Kind.CASH), np.full(len(owner), int(Kind.OPTION))),
        payoff=np.zeros(count),
        underlying_idx=np.append(-1, owner),
        expiry_idx=np.append(-1, expiry),
        strike=np.append(np.nan, strike),
        sign=np.append(1.0, random.choice([-1.0, 1.0], len(owner))),
        exercise=np.zeros(count),
        multiplier=np.ones(count),
        quantity_step=np.append(1e-2, np.full(len(owner), 0.1)),
        currency_idx=np.zeros(count),
    )
    days = np.geomspace(2, 300, EXPIRIES)
    dated = NOW_MS + (days * DAY_MS).astype(np.int64)
    market = Market(
        valuation_time=NOW_MS,
        underlying_id=np.array(["BTC", "RARE"]),
        spot=np.array(SPOT),
        expiry_underlying=np.append(np.zeros(EXPIRIES + 1), [1, 1]),
        expiry_time=np.concatenate([dated, [UNDATED], dated[:1], [UNDATED]]),
        forward=np.repeat(SPOT, [EXPIRIES + 1, 2]),
        discount=np.ones(EXPIRIES + 3),
        svi=np.full((EXPIRIES + 3, 5), np.nan),
        mark_vol=np.append(np.nan, random.uniform(0.4, 1.2, len(owner))),
        currency_id=np.array(["USD"]),
        fx=np.ones(1),
        currency_underlying=np.array([-1]),
    )
    return instruments, market


def moves(market: Market, scenarios: int) -> ScenarioSet:
    """As many price and vol moves as asked for."""
    full = grid.scenarios(grid.Params(buckets=-(-scenarios // 6), days=(0.0,), tail_moves=()), market)
    columns = ("label", "price_move", "vol_move", "vol_shift", "time_step_years", "weight", "tier")
    return ScenarioSet(**{name: getattr(full, name)[:scenarios] for name in columns}, dynamics=full.dynamics)


def book(instruments: Instruments, contracts: int, accounts: int, positions: int, seed: int = 2) -> Book:
    """Accounts with cash and distinct random contracts of the first underlying; HOLDERS of them also of the second."""
    random = np.random.default_rng(seed)
    stride = contracts // positions
    instrument = np.zeros((accounts, positions + 1), np.int64)
    instrument[:, 1:] = 1 + random.integers(0, stride, (accounts, positions)) + stride * np.arange(positions)
    steps = random.integers(1, 50, instrument.shape) * random.choice([-1, 1], instrument.shape)
    quantity = 0.1 * steps
    quantity[:, 0] = 1e7
    holders = np.linspace(0, accounts - 1, HOLDERS).astype(np.int64)
    instrument[holders, -1] = 1 + contracts + random.integers(0, RARE, len(holders))
    pointer = np.arange(accounts + 1) * (positions + 1)
    names = np.arange(accounts).astype(np.str_)
    held = Positions(pointer, instrument.ravel(), quantity.ravel())
    return book_of(names, held, instruments.expiry_idx)


def latencies(
    asks: dict[str, Callable[[Any], Any]], given: Sequence[Any], count: int, made: Callable[[Any], Any] = lambda g: g
) -> dict[str, np.ndarray]:
    """Seconds of each of `count` calls of each, in turn with what is given; call by call one after another, so that
    whatever else the machine does hits all alike. The collector of cycles rests, as a bot has it.

    made  what is asked for, from what is given, right before it is asked for and untimed: an order that comes in was
          made a moment ago, and does not lie in memory where nobody has looked for long
    """
    clock, taken = time.perf_counter, {name: np.empty(count) for name in asks}
    for ask in asks.values():
        for value in given[:200]:
            ask(made(value))
    turns = [(ask, taken[name]) for name, ask in asks.items()]
    gc.collect()
    gc.disable()
    try:
        for place, numbers in zip(range(count), cycle(given), strict=False):
            value = made(numbers)
            for ask, seconds in turns:
                before = clock()
                ask(value)
                seconds[place] = clock() - before
    finally:
        gc.enable()
    return taken


def _arithmetic(terms: int) -> Callable[[Any], float]:
    """A call that reads no memory: so many sums and products of numbers, which only the machine makes late."""

    def compute(_: Any) -> float:
        total = 0.0
        for _ in range(terms):
            total = total * 0.5 + 1.0
        return total

    return compute


def _as_long_as(seconds: float) -> Callable[[Any], float]:
    """Arithmetic that takes about so long."""
    terms = 1_000
    taken = best(lambda: _arithmetic(terms)(None), 20)
    return _arithmetic(max(1, round(terms * seconds / taken)))


def tell(title: str, seconds: np.ndarray) -> None:
    """One line: half of the calls are within p50, and so on."""
    p50, p99, p999 = np.percentile(seconds, [50, 99, 99.9]) * 1e6
    print(f"  {title:<44}{p50:>10.2f}{p99:>10.2f}{p999:>10.2f}{p99 / p50:>8.2f}{1e6 / p50:>14,.0f}")


def best(call: Callable[[], Any], rounds: int) -> float:
    """Best of some rounds, after one that may compile."""
    call()
    found = np.inf
    for _ in range(rounds):
        before = time.perf_counter()
        call()
        found = min(found, time.perf_counter() - before)
    return found


def run(contracts: int, scenarios: int, accounts: int, positions: int, rounds: int, orders: int = 200_000) -> None:
    """Time single orders, batches, fills and ticks for one number of accounts."""
    instruments, market = venue(contracts)
    model = worst_case.Model(worst_case.Params(netting="joint"))
    held = book(instruments, contracts, accounts, positions)
    state = start(held, model, instruments, market, moves(market, scenarios))
    engine = MarginEngine(state)
    random = np.random.default_rng(4)
    rows = random.integers(0, accounts, orders)
    wanted = 1 + random.integers(0, contracts, orders)
    sizes = 0.1 * random.integers(1, 30, orders) * random.choice([-1, 1], orders)
    names = instruments.instrument_id
    numbers = list(zip(rows[:LATENCIES].tolist(), wanted.tolist(), sizes.tolist(), strict=False))

    def made(order: tuple[int, int, float]) -> tuple[str, list[tuple[str, float]]]:
        return str(order[0]), [(str(names[order[1]]), order[2])]

    asked = [made(order) for order in numbers]
    fills = [PositionsChanged((Fill(account, *given[0]),)) for account, given in asked]
    shape = f"{accounts:,} accounts x {positions} positions, {len(instruments):,} instruments x {scenarios} scenarios"
    print(f"\nengine: {shape}")
    print(f"  {'one call from Python':<44}{'p50 us':>10}{'p99 us':>10}{'p99.9 us':>10}{'99/50':>8}{'a second':>14}")
    usual = float(np.median(latencies({"": lambda order: engine.what_if(*order)}, numbers, LATENCIES // 10, made)[""]))
    asks = {
        "engine.what_if": lambda order: engine.what_if(*order),
        "engine.what_if, the same once more": lambda order: engine.what_if(*order),
        "arithmetic alone, about as long": _as_long_as(usual),
    }
    found = latencies(asks, numbers, LATENCIES, made)
    for title, seconds in found.items():
        tell(title, seconds)
    tell("engine.apply of a fill", latencies({"": engine.apply}, fills, LATENCIES // 10)[""])
    arrays = state.arrays
    one = held.accounts(0, 1)
    alone = {"": lambda order: what_if(one, arrays, market, model, "0", order[1])}
    tell("what_if of a book of one account", latencies(alone, asked, LATENCIES // 100)[""])
    kernels, policy = state.policy.kernels, state.policy
    if kernels is not None:
        for threads in (1, 2):
            given = (rows, wanted, sizes, accounts)
            taken = best(lambda g=given, t=threads: kernels.check_orders(policy.table, state.buffers, g, t), rounds)
            name = f"check of {orders:,} orders, {threads} thread(s)"
            print(f"  {name:<44}{1e9 * taken / orders:>10.0f} ns an order, {orders / taken:>12,.0f} a second")
    taken = best(lambda: engine.check(rows, wanted, sizes), rounds)
    name = f"engine.check of {orders:,} orders"
    print(f"  {name:<44}{1e9 * taken / orders:>10.0f} ns an order, {orders / taken:>12,.0f} a second")
    ticks = (_moved(market, 1, 1.001), _moved(market, 1, 1.002))
    wide = (_moved(market, 0, 1.001), _moved(market, 0, 1.002))
    contestants = {
        f"apply, tick of {RARE} contracts, {HOLDERS} holders": _turns(state, ticks),
        f"apply, tick of {contracts:,} contracts, all hold": _turns(state, wide),
        "revalue and margin of everybody": lambda: margin(
            held, revalue(instruments, market, arrays.scenario_set), market, model
        ),
    }
    seconds = {name: best(call, rounds) for name, call in contestants.items()}
    report(f"tick of one underlying: {shape}", seconds, next(iter(contestants)))


def _moved(market: Market, underlying: int, factor: float) -> Market:
    spot = np.where(np.arange(len(market.spot)) == underlying, market.spot * factor, market.spot)
    forward = np.where(market.expiry_underlying == underlying, market.forward * factor, market.forward)
    return replace(market, spot=spot, forward=forward)


def _turns(state: Any, markets: Sequence[Market]) -> Callable[[], Any]:
    """Ticks to one market and the next in turn, each from the state the last one left."""
    events = cycle([MarketUpdated(market) for market in markets])
    held = [state]

    def tick() -> None:
        held[0], _ = apply(held[0], next(events))

    return tick


def run_all(contracts: int, scenarios: int, accounts: int, positions: int, rounds: int) -> None:
    """From a hundredth of the accounts up to all of them."""
    for count in sorted({max(accounts // 100, HOLDERS), max(accounts // 10, HOLDERS), accounts}):
        run(contracts, scenarios, count, positions, rounds)
