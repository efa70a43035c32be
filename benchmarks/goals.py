"""The speed goals of a venue, of one portfolio, of one order and of a SPAN file, and what was measured of each.

Peers are to take at least so many times as long as ours, jobs of our own at most so many times as long as another one.
Whether that holds is told by the clock and by processor time over all threads: where ours runs on two threads and a
peer on one, the second thread is a merit of the clock only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from benchmarks.report import number

# Where fewer are asked for, what is printed about a goal holds for another job.
ACCOUNTS, VALUES, HOLDERS = 1_000_000, 2_200_000, 500
# What `benchmarks.engine` calls the jobs that have goals.
WHAT_IF, ARITHMETIC, CHECK = "engine.what_if", "arithmetic alone, about as long", "engine.check"
NARROW, WIDE = f"apply, {HOLDERS} accounts hold it", "apply, all accounts hold it"
# Times ours, the first contestant of the race.
PEERS = {
    "scipy CSR, blocks": 10.0, "plain numba loop": 2.5, "duckdb": 30.0, "pandas merge + groupby": 100.0,
    "QuantLib instruments": 300.0, "QuantLib blackFormula loop": 70.0, "torch broadcast": 5.0, "numpy broadcast": 8.0,
}  # fmt: skip


class AtMost(NamedTuple):
    """A job of ours that is to take at most `times` as long as `other`; public calls are held against public calls."""

    times: float
    other: str


OWN = {
    "portfolio_pnl()": AtMost(1.5, "its kernel"),
    "whole tick: revalue(), worst_loss()": AtMost(1.5, "account kernel"),
    "worst_loss(netting='per_underlying')": AtMost(3.0, "worst_loss()"),
    "derive_pmrm2 requirement()": AtMost(3.0, "worst_loss()"),
}
CACHE_BOUND = 2.0
TAIL, SINGLE_CHECKS, BATCH_CHECKS = 4.0, 1e5, 5e6
# Among a hundred times as many accounts, of which as many hold something as before.
TICK_GROWTH = 2.0
SPAN_RATE, SPAN_MEMORY = 20.0, 3.0


def of_full_size(accounts: int) -> bool:
    """Whether so many accounts are those of the goals; says so where they are not."""
    if accounts < ACCOUNTS:
        print(f"  {accounts:,} accounts: the goals are of {ACCOUNTS:,} (--accounts {ACCOUNTS})")
    return accounts >= ACCOUNTS


class Figure(NamedTuple):
    """What was measured on so many threads: by the clock, and by processor time where that can tell."""

    threads: int
    clock: float
    processor: float | None = None


def verdict(figures: Sequence[Figure], reached: Callable[[float], bool]) -> str:
    """Whether a goal is met, by the clock and by processor time, and on which threads where not on all."""
    texts = []
    for values in ([f.clock for f in figures], [f.processor for f in figures if f.processor is not None]):
        met = [reached(value) for value in values]
        some = " and ".join(str(f.threads) for f, good in zip(figures, met, strict=False) if good)
        if met:
            texts.append("met" if all(met) else f"met on {some} thread(s)" if any(met) else "missed")
    if len(set(texts)) == 1:
        return texts[0]
    return f"{texts[0]} by the clock, {texts[1]} by processor time"


def peer_figures(runs: Sequence[dict[str, Any]], race: int, name: str) -> list[Figure]:
    """Times ours that a contestant took."""
    found = []
    for run in runs:
        if line := run["races"][race]["contestants"].get(name):
            found.append(Figure(run["threads"], line["ratios"]["best"], line["ratios"]["processor"]))
    return found


def own_figures(runs: Sequence[dict[str, Any]], race: int, name: str) -> list[Figure]:
    """Times as long as the job that one of ours is held against."""
    found = []
    for run in runs:
        lines = run["races"][race]["contestants"]
        if name in lines:
            one, other = lines[name], lines[OWN[name].other]
            ratios = (one[key] / other[key] for key in ("best", "processor"))
            found.append(Figure(run["threads"], *ratios))
    return found


def goal_text(runs: Sequence[dict[str, Any]], race: int, name: str) -> str:
    """The goal of a contestant and whether it is met; nothing where there is none."""
    if name in PEERS and (found := peer_figures(runs, race, name)):
        return f"{PEERS[name]:g}, {verdict(found, lambda value: value >= PEERS[name])}"
    if name in OWN and (found := own_figures(runs, race, name)):
        times, other = OWN[name]
        shown = " and ".join(number(figure.clock) for figure in found)
        return f"at most {times:g} x {other}: {shown}, {verdict(found, lambda value: value <= times)}"
    return ""


def measured(figures: Sequence[Figure]) -> str:
    """The figures as a text: by the clock, and processor time in parentheses."""
    return ", ".join(f"{number(f.clock)} ({number(f.processor or f.clock)}) on {f.threads}" for f in figures)


def table(runs: Sequence[dict[str, Any]], engine: dict[str, Any], span: dict[str, Any]) -> list[str]:
    """Markdown: every goal with what was measured."""
    rows = [
        "Ratios by the clock, those of processor time in parentheses, on 1 and on all threads.", "",
        "| job | goal | measured | verdict |", "|---|---|---|---|",
    ]  # fmt: skip
    found = [*portfolio_rows(runs), *account_rows(runs), *order_rows(engine), *span_rows(span)]
    return [*rows, *("| " + " | ".join(row) + " |" for row in found), ""]


def _race_rows(runs: Sequence[dict[str, Any]], race: int, job: str) -> list[tuple[str, ...]]:
    rows = []
    for name in dict.fromkeys(name for run in runs for name in run["races"][race]["contestants"]):
        if name in PEERS:
            figures, goal = peer_figures(runs, race, name), PEERS[name]
            good = verdict(figures, lambda value, goal=goal: value >= goal)  # type: ignore[misc]
            rows.append((f"{job}: {name}", f"{goal:g} x ours", measured(figures), good))
        elif name in OWN:
            figures, (times, other) = own_figures(runs, race, name), OWN[name]
            good = verdict(figures, lambda value, goal=times: value <= goal)  # type: ignore[misc]
            rows.append((f"{job}: {name}", f"at most {times:g} x {other}", measured(figures), good))
    return rows


def portfolio_rows(runs: Sequence[dict[str, Any]]) -> list[tuple[str, ...]]:
    """Goals of one portfolio, market in and margin out."""
    return _race_rows(runs, 1, "one portfolio")


def account_rows(runs: Sequence[dict[str, Any]]) -> list[tuple[str, ...]]:
    """Goals of the worst losses of all accounts, and the bound of the second-level cache."""
    bound = []
    for run in runs:
        race = run["races"][0]
        bound.append(Figure(run["threads"], race["contestants"]["account kernel"]["best"] / race["cache_bound_ms"]))
    text = ", ".join(f"{number(figure.clock)} on {figure.threads}" for figure in bound)
    good = verdict(bound, lambda value: value <= CACHE_BOUND)
    goal = f"at most {CACHE_BOUND:g} x the bound of the second-level cache"
    return [*_race_rows(runs, 0, "all accounts"), ("all accounts: account kernel", goal, text, good)]


def order_rows(engine: dict[str, Any]) -> list[tuple[str, ...]]:
    """Goals of one order, of orders in batch and of a tick, of the largest venue that was measured."""
    few, most = engine["runs"][0], engine["runs"][-1]
    asked, alone = most["latencies"][WHAT_IF], most["latencies"][ARITHMETIC]
    tail, machine = (line["p99"] / line["p50"] for line in (asked, alone))
    rate, batch = 1e6 / asked["stretch"], most["checks"][CHECK]
    kernel = most["checks"].get("its kernel, 1 thread(s)", batch)
    tick, before, wide = (run["ticks"][name]["best"] for run, name in ((most, NARROW), (few, NARROW), (most, WIDE)))
    busy = most["ticks"][NARROW]["processor"] / few["ticks"][NARROW]["processor"]
    growth = Figure(1, tick / before, busy)
    return [
        (
            "what-if of one order from Python", f"p99 at most {TAIL:g} x p50",
            f"p50 {number(asked['p50'])} us, p99 {number(asked['p99'])} us, {number(tail)} x; arithmetic alone, about "
            f"as long, {number(machine)} x", verdict([Figure(1, tail)], lambda value: value <= TAIL),
        ),
        (
            "checks one by one", f"{SINGLE_CHECKS:,.0f} a second",
            f"{rate:,.0f} by the mean of the best stretch, {1e6 / asked['mean']:,.0f} by that of all calls, "
            f"{1e6 / asked['p50']:,.0f} by p50",
            verdict([Figure(1, rate)], lambda value: value >= SINGLE_CHECKS),
        ),
        (
            "checks in batch", f"{BATCH_CHECKS:,.0f} a second",
            f"{1e9 / batch['best']:,.0f}; {number(kernel['processor'])} ns of processor time an order on 1 thread",
            verdict([Figure(1, 1e9 / batch["best"])], lambda value: value >= BATCH_CHECKS),
        ),
        (
            f"tick of one underlying that {HOLDERS} accounts hold",
            f"cost follows those: among {most['accounts'] // few['accounts']} times as many accounts at most "
            f"{TICK_GROWTH:g} x",
            f"{number(tick)} ms among {most['accounts']:,}, {number(before)} ms among {few['accounts']:,}: "
            f"{number(growth.clock)} x ({number(busy)}); where all hold {number(wide)} ms",
            verdict([growth], lambda value: value <= TICK_GROWTH),
        ),
    ]  # fmt: skip


def span_rows(span: dict[str, Any]) -> list[tuple[str, ...]]:
    """Goals of reading a SPAN file."""
    line = span["contestants"]["read_spn"]
    clock, busy = (1e3 * span["megabytes"] / line[key] for key in ("best", "processor"))
    share = span["peak_mb"] / span["arrays_mb"]
    size = f"SPAN file of {span['megabytes']:.0f} MB, {span['values']:,} values"
    return [
        (
            size, f"{SPAN_RATE:g} MB/s", f"{number(clock)} ({number(busy)}), {line['best'] / 1e3:.1f} s",
            verdict([Figure(1, clock, busy)], lambda value: value >= SPAN_RATE),
        ),
        (
            "its memory", f"at most {SPAN_MEMORY:g} x the arrays", f"{share:.2f}",
            verdict([Figure(1, share)], lambda value: value <= SPAN_MEMORY),
        ),
    ]  # fmt: skip
