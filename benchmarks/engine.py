"""MarginEngine: one order, orders in batch, fills and ticks, beside asking for the margin of everybody again."""

from __future__ import annotations

import argparse
import gc
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import cycle
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks import goals
from benchmarks.contestants import machine
from benchmarks.exchange import DAY_MS
from benchmarks.goals import ARITHMETIC, CHECK, HOLDERS, NARROW, WHAT_IF, WIDE
from benchmarks.parts import write_figures
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
RARE = 40
SPOT = (68_000.0, 150.0)
LATENCIES, ORDERS = 20_000, 200_000
# Calls one after another whose mean is one round of orders one by one, and how many times more rounds jobs of
# milliseconds get than those of seconds: the machine beside them shows in few.
STRETCH, MORE = 2_000, 8


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
    taken, _ = best(lambda: _arithmetic(terms)(None), 20)
    return _arithmetic(max(1, round(terms * seconds / taken)))


def tell(title: str, seconds: np.ndarray) -> dict[str, float]:
    """One line: half of the calls are within p50, and so on; the figures in microseconds.

    The mean is that of all calls, "stretch" that of the best STRETCH in a row: late calls count in both.
    """
    p50, p99, p999 = (float(value) for value in np.percentile(seconds, [50, 99, 99.9]) * 1e6)
    print(f"  {title:<44}{p50:>10.2f}{p99:>10.2f}{p999:>10.2f}{p99 / p50:>8.2f}{1e6 / p50:>14,.0f}")
    stretches = np.array_split(seconds, max(1, len(seconds) // STRETCH))
    mean, stretch = 1e6 * float(seconds.mean()), 1e6 * min(float(part.mean()) for part in stretches)
    return {"p50": p50, "p99": p99, "p99.9": p999, "mean": mean, "stretch": stretch}


def best(call: Callable[[], Any], rounds: int) -> tuple[float, float]:
    """Best of some rounds, seconds on the clock and of processor time, after one that may compile."""
    return best_of_each({"": call}, rounds)[""]


def best_of_each(calls: dict[str, Callable[[], Any]], rounds: int) -> dict[str, tuple[float, float]]:
    """`best` of several in alternating rounds."""
    for call in calls.values():
        call()
    clock, busy = ({name: [np.inf] for name in calls} for _ in range(2))
    for _ in range(rounds):
        for name, call in calls.items():
            before = time.perf_counter(), time.process_time()
            call()
            clock[name].append(time.perf_counter() - before[0])
            busy[name].append(time.process_time() - before[1])
    return {name: (min(clock[name]), min(busy[name])) for name in calls}


class Orders(NamedTuple):
    """Random orders: rows of accounts and of contracts, and quantities."""

    account: np.ndarray
    instrument: np.ndarray
    quantity: np.ndarray

    @classmethod
    def random(cls, count: int, accounts: int, contracts: int) -> Orders:
        """So many, of contracts of the first underlying."""
        random = np.random.default_rng(4)
        rows, wanted = random.integers(0, accounts, count), 1 + random.integers(0, contracts, count)
        return cls(rows, wanted, 0.1 * random.integers(1, 30, count) * random.choice([-1, 1], count))


def run(
    contracts: int, scenarios: int, accounts: int, positions: int, rounds: int
) -> tuple[dict[str, Any], Callable[[], Any]]:
    """Time single orders, batches, fills and ticks for one number of accounts; what was measured, and a tick that few
    accounts feel."""
    instruments, market = venue(contracts)
    model = worst_case.Model(worst_case.Params(netting="joint"))
    held = book(instruments, contracts, accounts, positions)
    state = start(held, model, instruments, market, moves(market, scenarios))
    orders = Orders.random(ORDERS, accounts, contracts)
    shape = f"{accounts:,} accounts x {positions} positions, {len(instruments):,} instruments x {scenarios} scenarios"
    print(f"\nengine: {shape}")
    found: dict[str, Any] = {"accounts": accounts, "latencies": single_orders(state, held, orders)}
    found["checks"] = batches(state, accounts, orders, rounds)
    ticks = (_moved(market, 1, 1.001), _moved(market, 1, 1.002))
    wide = (_moved(market, 0, 1.001), _moved(market, 0, 1.002))
    narrow = _turns(state, ticks)
    contestants = {
        f"{NARROW}: {RARE} contracts": narrow,
        f"{WIDE}: {contracts:,} contracts": _turns(state, wide),
        "revalue and margin of everybody": lambda: margin(
            held, revalue(instruments, market, state.arrays.scenario_set), market, model
        ),
    }
    seconds = best_of_each(contestants, rounds)
    report(f"tick of one underlying: {shape}", {n: clock for n, (clock, _) in seconds.items()}, next(iter(contestants)))
    report("the same by processor time", {n: busy for n, (_, busy) in seconds.items()}, next(iter(contestants)))
    found["ticks"] = {name.partition(":")[0]: _milliseconds(times) for name, times in seconds.items()}
    return found, narrow


def _milliseconds(times: tuple[float, float]) -> dict[str, float]:
    return {name: 1e3 * seconds for name, seconds in zip(("best", "processor"), times, strict=True)}


def single_orders(state: Any, held: Book, orders: Orders) -> dict[str, dict[str, float]]:
    """Latencies of one order after the other from Python, microseconds."""
    engine, names = MarginEngine(state), state.listing.instruments.instrument_id
    numbers = list(zip(*(column[:LATENCIES].tolist() for column in orders), strict=True))

    def made(order: tuple[int, int, float]) -> tuple[str, list[tuple[str, float]]]:
        return str(order[0]), [(str(names[order[1]]), order[2])]

    asked = [made(order) for order in numbers]
    fills = [PositionsChanged((Fill(account, *given[0]),)) for account, given in asked]
    print(f"  {'one call from Python':<44}{'p50 us':>10}{'p99 us':>10}{'p99.9 us':>10}{'99/50':>8}{'a second':>14}")
    usual = float(np.median(latencies({"": lambda order: engine.what_if(*order)}, numbers, LATENCIES // 10, made)[""]))
    asks = {
        WHAT_IF: lambda order: engine.what_if(*order),
        "engine.what_if, the same once more": lambda order: engine.what_if(*order),
        ARITHMETIC: _as_long_as(usual),
    }
    found = latencies(asks, numbers, LATENCIES, made)
    found["engine.apply of a fill"] = latencies({"": engine.apply}, fills, LATENCIES // 10)[""]
    one, market, model = held.accounts(0, 1), state.listing.market, state.policy.model
    alone = {"": lambda order: what_if(one, state.arrays, market, model, "0", order[1])}
    found["what_if of a book of one account"] = latencies(alone, asked, LATENCIES // 100)[""]
    return {title: tell(title, seconds) for title, seconds in found.items()}


def batches(state: Any, accounts: int, orders: Orders, rounds: int) -> dict[str, dict[str, float]]:
    """Nanoseconds an order of a batch: of the kernel on one thread and on two, and of the call."""
    engine, policy, count = MarginEngine(state), state.policy, len(orders.account)
    given, kept = (*orders, accounts), state.ledger.buffers.kept
    calls: dict[str, Callable[[], Any]] = {}
    if policy.kernels is not None:
        for threads in (1, 2):
            name = f"its kernel, {threads} thread(s)"
            calls[name] = lambda t=threads: policy.kernels.check_orders(policy.table, state.buffers, given, t, kept)
    calls[CHECK] = lambda: engine.check(*orders)
    print(f"  {f'a batch of {count:,} orders':<44}{'ns an order':>12}{'of processor':>14}{'a second':>16}")
    found = {}
    for name, times in best_of_each(calls, rounds * MORE).items():
        clock, busy = (1e9 * seconds / count for seconds in times)
        print(f"  {name:<44}{clock:>12.0f}{busy:>14.0f}{1e9 / clock:>16,.0f}")
        found[name] = {"best": clock, "processor": busy}
    return found


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


def run_all(contracts: int, scenarios: int, accounts: int, positions: int, rounds: int) -> dict[str, Any]:
    """From a hundredth of the accounts up to all of them; what was measured."""
    counts = sorted({max(accounts // 100, HOLDERS), max(accounts // 10, HOLDERS), accounts})
    load = os.getloadavg()[0]
    runs, narrow = zip(*(run(contracts, scenarios, count, positions, rounds) for count in counts), strict=True)
    # Side by side, since a ratio of two moments of a busy machine says nothing.
    ticks = {f"among {count:,} accounts": tick for count, tick in zip(counts, narrow, strict=True)}
    times = best_of_each(ticks, rounds * MORE)
    report(NARROW, {name: clock for name, (clock, _) in times.items()}, next(iter(ticks)))
    for found, both in zip(runs, times.values(), strict=True):
        found["ticks"][NARROW] = _milliseconds(both)
    goals.of_full_size(accounts)
    return {"machine": machine(), "load": load, "runs": list(runs)}


def main() -> None:
    """Parse the sizes, run, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engine", description=__doc__)
    parser.add_argument("--contracts", type=int, default=2_000)
    parser.add_argument("--scenarios", type=int, default=64)
    parser.add_argument("--accounts", type=int, default=goals.ACCOUNTS, help="a tenth and a hundredth run as well")
    parser.add_argument("--positions", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, default=None, help="file for the figures")
    sizes = parser.parse_args()
    found = run_all(sizes.contracts, sizes.scenarios, sizes.accounts, sizes.positions, sizes.rounds)
    write_figures(sizes.json, found)


if __name__ == "__main__":
    main()
