"""Fair timing of contestants side by side: alternating rounds, the best of each."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any


def best_seconds(contestants: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Best time of each contestant; rounds alternate, so that a busy neighbour hits all alike."""
    for contestant in contestants.values():
        contestant()
    best = dict.fromkeys(contestants, float("inf"))
    for _ in range(rounds):
        for name, contestant in contestants.items():
            start = time.perf_counter()
            contestant()
            best[name] = min(best[name], time.perf_counter() - start)
    return best


def report(title: str, seconds: dict[str, float], ours: str) -> None:
    """Print a table of times and of each contestant's time over ours."""
    print(f"\n{title}")
    print(f"  {'contestant':<44}{'ms':>12}{'over ours':>12}")
    for name, value in sorted(seconds.items(), key=lambda item: item[1]):
        print(f"  {name:<44}{1e3 * value:>12.3f}{value / seconds[ours]:>12.2f}")


def every_second(
    contestants: dict[str, Callable[..., Any]], rounds: int, fresh: dict[str, Callable[[], Any]] | None = None
) -> dict[str, list[tuple[float, float]]]:
    """All times of each contestant in alternating rounds.

    Seconds on the clock and of processor time, over all threads: a busy neighbour lengthens the first only.
    Each is called once untimed right before, so that it finds its own data in the caches as far as they go there and
    not those of the contestant before it. What a contestant in `fresh` needs is made anew for each round instead,
    untimed, and handed to it. The first call of each is the caller's: it may compile.
    """
    fresh = fresh or {}
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, contestant in contestants.items():
            given = (fresh[name](),) if name in fresh else ()
            if not given:
                contestant()
            start, busy = time.perf_counter(), time.process_time()
            contestant(*given)
            seconds[name].append((time.perf_counter() - start, time.process_time() - busy))
    return seconds
