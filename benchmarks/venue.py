"""A whole venue and one portfolio beside their peers, the bound of the second-level cache, and scaling curves.

`python -m benchmarks.venue [--accounts N --threads N --rounds N --json FILE --figure FILE]`. Every race is one run in
alternating rounds, ratios are to our first contestant of it. Peers that take seconds run on fewer accounts or legs and
are scaled up; one that is not installed is named and left out.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numba
import numpy as np

from benchmarks import exchange, goals, venue_peers
from benchmarks.contestants import first_results, machine, show_times, timed
from benchmarks.parts import write_figures
from benchmarks.timing import best_seconds
from benchmarks.venue_peers import Job, Portfolio
from portfolio_margin import Book, load_parameters, worst_loss
from portfolio_margin.aggregate import kernel_positions, kernel_table
from portfolio_margin.backends import numba as kernels
from portfolio_margin.models import derive_pmrm2
from pricing.xp import numba as XP
from scenarios import RiskArrays, portfolio_pnl, revalue
from scenarios.backends import portfolio_numba
from scenarios.legs import Grid

POSITIONS = 20
CACHE_BYTES = 2**20
REPEATS = 50
# Rounds of both races are short beside what the machine does at times, so that there are so many times more of them.
MORE, MORE_OF_ONE = 3, 10
# Of accounts, by the least number that is timed; and legs of loops in Python.
SHARE_OF_ACCOUNTS = {
    "duckdb": 0.1,
    "pandas merge + groupby": 0.02,
    "torch embedding_bag": 0.2,
    "scipy CSR, blocks": 0.2,
}
LOOP_LEGS = {"QuantLib blackFormula loop": 50, "QuantLib instruments": 10}
LARGEST = goals.ACCOUNTS
USUAL = {"contracts": 2_000, "scenarios": 64, "accounts": 50_000}
CURVES: dict[str, tuple[int, ...]] = {
    "accounts": (1_000, 10_000, 100_000, 1_000_000),
    "scenarios": (16, 27, 64, 128, 256, 512, 1_024, 2_048),
    "contracts": (100, 500, 2_000, 5_000, 20_000),
}


@numba.njit(nogil=True, fastmath=True)
def _read(values: Any, times: int) -> float:
    XP.vector_loop()
    total = 0.0
    for _ in range(times):
        for n in range(len(values)):
            total += values[n]
        values[0] = total * 0.0
    return total


def cache_read_rate(threads: int) -> float:
    """Bytes a second that all threads together read from an array of 1 MiB each, best of many."""
    arrays, times = [np.ones(CACHE_BYTES // 8) for _ in range(threads)], 300
    _read(arrays[0], 1)

    def run() -> None:
        XP.run_in_threads(
            lambda part: [_read(arrays[n], times) for n in range(part.start, part.stop)], threads, threads, 1
        )

    return threads * times * CACHE_BYTES / best_seconds({"read": run}, 10)["read"]


def venue_job(contracts: int, scenarios: int, accounts: int) -> tuple[Any, Any, Any, RiskArrays, Book]:
    """Contracts, market and scenarios of a venue, its risk arrays and its book, grouped by expiry."""
    instruments, market = exchange.options(contracts)
    moves = exchange.scenario_set(market, scenarios)
    loose = exchange.book(contracts, accounts, POSITIONS)
    owner = np.repeat(np.arange(accounts), POSITIONS)
    columns = (loose.instrument_idx, loose.quantity, instruments.expiry_idx)
    book = Book.from_codes(loose.account_id, owner, *columns)
    return instruments, market, moves, revalue(instruments, market, moves), book


def race_accounts(accounts: int, threads: int, rounds: int) -> dict[str, Any]:
    """Worst loss of every account: 2,000 contracts, 64 scenarios."""
    instruments, market, moves, arrays, grouped = venue_job(2_000, 64, accounts)
    book = exchange.book(2_000, accounts, POSITIONS)
    positions, table = kernel_positions(book, arrays, "joint"), kernel_table(arrays, arrays.rows, None)
    job = Job(book, arrays.pnl, POSITIONS)
    model = derive_pmrm2.Model(*load_parameters("derive_pmrm2", at=market.valuation_time))
    derive_arrays = revalue(instruments, market, model.scenario_set(market))
    peers: dict[str, Callable[[Job], Callable[[], Any]]] = {
        "plain numba loop": lambda some: venue_peers.numba_loop(some, threads),
        "scipy CSR, blocks": venue_peers.scipy_blocks,
        "torch embedding_bag": lambda some: venue_peers.torch_bags(some, threads),
        "duckdb": lambda some: venue_peers.duckdb_query(some, threads),
        "pandas merge + groupby": venue_peers.pandas_frames,
    }
    calls: dict[str, Callable[[], Any]] = {
        "account kernel": lambda: kernels.worst_loss(positions, table, threads)[0] * arrays.tick_size,
        "worst_loss()": lambda: worst_loss(book, arrays, threads=threads)[0],
        "whole tick: revalue(), worst_loss()": lambda: worst_loss(
            book, revalue(instruments, market, moves, threads=threads), threads=threads
        )[0],
        "worst_loss(netting='per_underlying')": lambda: worst_loss(
            grouped, arrays, netting="per_underlying", threads=threads
        )[0],
        "derive_pmrm2 requirement()": lambda: model.requirement(grouped, derive_arrays, threads=threads).initial,
    }
    scale: dict[str, float] = {}
    for name, peer in peers.items():
        some = job.first(max(1, int(accounts * SHARE_OF_ACCOUNTS.get(name, 1.0))))
        _join(calls, name, lambda peer=peer, some=some: peer(some))
        scale[name] = accounts / len(some.book)
    title = f"worst loss of {accounts:,} accounts x {POSITIONS}, 2,000 contracts x 64 scenarios, {threads} thread(s)"
    answers = first_results(calls)
    rows = _race(title, calls, scale, threads, rounds * MORE)
    ours = answers["account kernel"]
    off = {
        name: np.abs(answers[name] - ours[: len(answers[name])]).max() / ours.max() for name in peers if name in answers
    }
    print("  largest difference of a peer, of the largest loss: " + ", ".join(f"{n} {v:.0e}" for n, v in off.items()))
    # A row in single precision, or of 16 bits, and the cache line of the scenario that is summed exactly.
    single, packed = (accounts * POSITIONS * (64 * size + 64) for size in (4, 2))
    rate, best = cache_read_rate(threads), rows["account kernel"]["best"]
    bound = 1e3 * single / rate
    print(
        f"  bound of the second-level cache: {bound:.1f} ms for {single / 1e9:.1f} GB of rows in single precision; the "
        f"kernel takes {best / bound:.2f} times as long (goal: at most {goals.CACHE_BOUND:g}), and "
        f"{best * rate / (1e3 * packed):.2f} times as long as its own {packed / 1e9:.1f} GB in 16 bits would take"
    )
    goals.of_full_size(accounts)
    return {"title": title, "contestants": rows, "cache_bound_ms": bound}


def portfolio(legs: int = 500) -> Portfolio:
    """Options over twelve expiries, 16 price moves x 4 vol moves x 2 times."""
    random = np.random.default_rng(1)
    tau = np.sort(random.choice(np.geomspace(2, 400, 12), legs)) / 365
    forward = 68_000.0 * (1 + 0.03 * tau)
    moves = (np.linspace(-0.16, 0.16, 16), np.array([-0.25, 0.0, 0.25, 0.5]), np.array([0.0, 1.0 / 365.0]))
    strike, vol = np.round(68_000 * np.exp(random.normal(0, 0.35, legs)), -2), random.uniform(0.4, 1.2, legs)
    sign, quantity = np.where(random.random(legs) < 0.5, 1.0, -1.0), 0.1 * random.integers(-50, 50, legs)
    return Portfolio(forward, strike, tau, vol, sign, quantity, moves)


def race_portfolio(threads: int, rounds: int) -> dict[str, Any]:
    """One portfolio of 500 legs under 128 scenarios, market in, margin out."""
    held = portfolio()
    price, vol, step = held.moves
    count = len(held.forward)
    legs = np.array(held[:6])
    grid = Grid(1.0 + price, np.log1p(price), 1.0 + vol, step)
    calls: dict[str, Callable[[], Any]] = {
        "portfolio_pnl()": lambda: portfolio_pnl(*held, threads=threads).pnl,
        "its kernel": lambda: portfolio_numba.grid_pnl(legs, grid, threads),
    }
    _join(calls, "numpy broadcast", lambda: venue_peers.numpy_broadcast(held))
    _join(calls, "torch broadcast", lambda: venue_peers.torch_broadcast(held, threads))
    loops = {
        "QuantLib blackFormula loop": venue_peers.quantlib_formula,
        "QuantLib instruments": venue_peers.quantlib_instruments,
    }
    for name, loop in loops.items():
        _join(calls, name, lambda loop=loop, name=name: loop(held, LOOP_LEGS[name]))
    scale = {name: count / LOOP_LEGS[name] for name in loops}
    title = f"one portfolio of {count} legs x {len(price) * len(vol) * len(step)} scenarios, {threads} thread(s)"
    answers = first_results(calls)
    size = np.abs(held.quantity) @ held.forward
    off = {
        name: np.abs(np.ravel(answers[name]) - np.ravel(answers["portfolio_pnl()"])).max() / size
        for name in ("numpy broadcast", "torch broadcast")
        if name in answers
    }
    # Many times in a row: of jobs this short the first call after another contestant is one of cold caches.
    for name in calls.keys() - loops.keys():
        calls[name], scale[name] = partial(_repeated, calls[name]), 1.0 / REPEATS
    rows = _race(title, calls, scale, threads, rounds * MORE_OF_ONE)
    print("  largest difference, of the gross size: " + ", ".join(f"{n} {v:.0e}" for n, v in off.items()))
    return {"title": title, "contestants": rows}


def _repeated(call: Callable[[], Any]) -> None:
    for _ in range(REPEATS):
        call()


def _join(calls: dict[str, Callable[[], Any]], name: str, make: Callable[[], Callable[[], Any]]) -> None:
    try:
        calls[name] = make()
    except ImportError as error:
        print(f"  {name}: left out, {error} is not installed")


def _race(
    title: str, calls: dict[str, Callable[[], Any]], scale: dict[str, float], threads: int, rounds: int
) -> dict[str, Any]:
    table: dict[str, dict[str, Any]] = {**timed(calls, rounds, scale)}
    for line in table.values():
        line["version"] = ""
    show_times(title, table, next(iter(table)))
    for name in table:
        if text := goals.goal_text([{"threads": threads, "races": [{"contestants": table}]}], 0, name):
            print(f"  {name}: {text}")
    return table


def curve(name: str, sizes: Iterable[int], threads: int, rounds: int) -> list[dict[str, float]]:
    """Best milliseconds of revaluation and of the worst loss as one size grows and the others stay."""
    points = []
    for size in sizes:
        usual = {**USUAL, name: size}
        *inputs, arrays, _ = venue_job(usual["contracts"], usual["scenarios"], 1)
        book = exchange.book(usual["contracts"], usual["accounts"], POSITIONS)
        jobs = {"revalue": partial(revalue, *inputs), "worst_loss": partial(worst_loss, book, arrays)}
        seconds = best_seconds({key: partial(job, threads=threads) for key, job in jobs.items()}, rounds)
        products = usual["accounts"] * POSITIONS * usual["scenarios"]
        points.append(
            {name: size, "revalue_ms": 1e3 * seconds["revalue"], "worst_loss_ms": 1e3 * seconds["worst_loss"],
             "ns_per_product": 1e9 * seconds["worst_loss"] / products}
        )  # fmt: skip
    others = ", ".join(f"{size:,} {other}" for other, size in USUAL.items())
    print(f"\nas {name} grow (else {others}), {threads} thread(s)")
    print(f"  {name:>12}{'revalue ms':>14}{'worst_loss ms':>16}{'ns a product':>15}")
    for point in points:
        figures = point["revalue_ms"], point["worst_loss_ms"], point["ns_per_product"]
        print(f"  {point[name]:>12,}{figures[0]:>14.2f}{figures[1]:>16.2f}{figures[2]:>15.3f}")
    return points


def draw(curves: dict[str, list[dict[str, float]]], path: Path, threads: int, date: str) -> None:
    """The curves as a picture, where matplotlib is installed."""
    try:
        import matplotlib.pyplot as plt
        from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
    except ImportError:
        print("  no figure: matplotlib is not installed")
        return
    figure, panels = plt.subplots(1, len(curves), figsize=(4 * len(curves), 3.6), layout="constrained")
    for panel, (name, points) in zip(panels, curves.items(), strict=True):
        for key in ("worst_loss_ms", "revalue_ms"):
            panel.loglog([p[name] for p in points], [p[key] for p in points], marker="o", label=key.removesuffix("_ms"))
        others = ", ".join(f"{size:,} {other}" for other, size in USUAL.items() if other != name)
        panel.set_title(others, fontsize="small")
        panel.set(xlabel=name, ylabel="ms")
        for axis in (panel.xaxis, panel.yaxis):
            axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if axis is panel.yaxis else (1.0,)))
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
            axis.set_minor_formatter(NullFormatter())
        panel.grid(alpha=0.3)
        panel.legend(frameon=False)
    figure.suptitle(
        f"revalue and worst_loss, {POSITIONS} positions an account, {threads} thread{'s' * (threads > 1)}, {date}"
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    plt.close(figure)
    print(f"  figure: {path}")


def sizes_up_to(sizes: Iterable[int], largest: int) -> list[int]:
    """Those below a largest one, and that."""
    return [*(size for size in sizes if size < largest), largest]


def all_curves(threads: int, rounds: int, largest: int) -> dict[str, list[dict[str, float]]]:
    """Every curve, of accounts up to a largest number of them."""
    wanted = {**CURVES, "accounts": sizes_up_to(CURVES["accounts"], largest)}
    return {name: curve(name, sizes, threads, rounds) for name, sizes in wanted.items()}


def run(accounts: int, threads: int, rounds: int, figure: Path | None = None, largest: int = LARGEST) -> dict[str, Any]:
    """All races, of so many accounts, and curves, of accounts up to `largest`; what was measured."""
    load = os.getloadavg()[0]
    races = [race_accounts(accounts, threads, rounds), race_portfolio(threads, rounds)]
    curves, about = all_curves(threads, rounds, largest), machine()
    if figure is not None:
        draw(curves, figure, threads, about["date"])
    return {"machine": about, "load": load, "threads": threads, "races": races, "curves": curves}


def main() -> None:
    """Parse the sizes and run everything."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.venue", description=__doc__)
    parser.add_argument("--accounts", type=int, default=1_000_000)
    parser.add_argument("--largest", type=int, default=LARGEST, help="accounts that the curve of them goes up to")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, default=None, help="file for the figures")
    parser.add_argument("--figure", type=Path, default=Path("build/venue-scaling.png"))
    chosen = parser.parse_args()
    found = run(chosen.accounts, chosen.threads, chosen.rounds, chosen.figure, chosen.largest)
    write_figures(chosen.json, found)


if __name__ == "__main__":
    main()
