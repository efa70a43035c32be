"""Contestants of a race: who takes part, how each is called, timing side by side and the table that is printed.

A contestant that does not install, does not import or fails when it is first called is named and left out.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import platform
import statistics
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from benchmarks.timing import every_second

LOOP_ROWS = 20_000  # for Python loops, and what errors are measured on
SLOW_ROWS = 200_000  # for vector code that takes half a second and more for a million rows
FIGURES = ("median", "best", "processor")
GREEK_FIELDS = ("price", "delta", "gamma", "vega", "theta", "rho", "vanna", "volga")
Columns = tuple[np.ndarray, ...]
Table = dict[str, dict[str, Any]]


def unchanged(columns: Columns) -> Any:
    """The columns as they are."""
    return columns


class Peer(NamedTuple):
    """A contestant.

    run           called with what `prepare` returned and the number of threads; this is what is timed
    rows          at most so many rows, its time scaled up to all; None for all
    distribution  by which it is installed
    prepare       brings the columns into the form that its documentation asks for; not timed
    fields        names of the results, for Greeks
    units         what to multiply its results with to have raw units, where they are others
    """

    run: Callable[[Any, int], Any]
    rows: int | None = None
    distribution: str = ""
    prepare: Callable[[Columns], Any] = unchanged
    fields: tuple[str, ...] = GREEK_FIELDS
    units: dict[str, float] = {}  # noqa: RUF012


def installed(name: str) -> ModuleType | None:
    """The module, or None where it is missing or does not import."""
    try:
        return importlib.import_module(name)
    except Exception as error:
        reason = str(error).splitlines()[0][-80:] if str(error) else ""
        print(f"  {name}: left out ({type(error).__name__}: {reason})")
        return None


def version(distribution: str) -> str:
    """Its version, or nothing where it is ours or missing."""
    if not distribution:
        return ""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return ""


def fewer_threads(threads: int) -> None:
    """Tell libraries that ask the environment how many threads to use; before they are imported."""
    os.environ["RAYON_NUM_THREADS"] = str(threads)  # quantkit-rs, pyvolr, iv-engine
    os.environ["NPROC"] = str(threads)  # the pool of jax
    if threads == 1:
        os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_cpu_multi_thread_eigen=false"


def machine() -> dict[str, Any]:
    """Date, processor, cores and Python."""
    processor = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if information.exists():
        lines = [line for line in information.read_text(encoding="utf-8").splitlines() if line.startswith("model name")]
        processor = lines[0].split(":", 1)[1].strip() if lines else processor
    today = datetime.now(UTC).date().isoformat()
    return {"date": today, "processor": processor, "cores": os.cpu_count(), "python": platform.python_version()}


def first_results(contestants: dict[str, Callable[[], Any]]) -> dict[str, Any]:
    """What each returns the first time, which compiles; one that fails is named and taken out of the race."""
    results = {}
    for name in list(contestants):
        try:
            results[name] = contestants[name]()
        except Exception as error:
            reason = str(error).splitlines()[0][:80] if str(error) else ""
            print(f"  {name}: left out, it fails ({type(error).__name__}: {reason})")
            del contestants[name]
    return results


def timed(
    contestants: dict[str, Callable[..., Any]], rounds: int, scale: dict[str, float], fresh: Any = None
) -> dict[str, dict[str, float]]:
    """Milliseconds of each in alternating rounds: median and best on the clock, best of processor time."""
    table = {}
    for name, times in every_second(contestants, rounds, fresh).items():
        clock, busy = zip(*times, strict=True)
        unit = 1e3 * scale.get(name, 1.0)
        table[name] = {
            "median": unit * statistics.median(clock),
            "best": unit * min(clock),
            "processor": unit * min(busy),
        }
    return table


def show_times(title: str, table: Table, first: str) -> None:
    """Add the ratios to the first contestant, and print all of it from the fastest to the slowest."""
    print(f"\n{title}; ms, and times our first")
    print(f"  {'contestant':<44}{'median':>10}{'best':>10}{'processor':>11}{'median':>10}{'best':>9}{'processor':>11}")
    for name, line in sorted(table.items(), key=lambda item: item[1]["best"]):
        line["ratios"] = {figure: line[figure] / table[first][figure] for figure in FIGURES}
        label = f"{name} {line['version']}".strip()
        milliseconds = f"{line['median']:>10.2f}{line['best']:>10.2f}{line['processor']:>11.2f}"
        ratios = "".join(
            f"{line['ratios'][figure]:>{width}.2f}" for figure, width in zip(FIGURES, (10, 9, 11), strict=True)
        )
        print(f"  {label:<44}{milliseconds}{ratios}")


def show_errors(title: str, table: Table) -> None:
    """Print one line of figures a contestant."""
    print(f"  {title}")
    for name, line in table.items():
        if line.get("errors"):
            print(f"    {name:<42}" + "   ".join(f"{key} {value:.3g}" for key, value in line["errors"].items()))


def race(
    title: str, ours: dict[str, Peer], peers: dict[str, Peer], columns: Columns, settings: Any
) -> tuple[Table, dict[str, Any]]:
    """Time everyone in alternating rounds; the table of times, and what each returned."""
    rows = len(columns[0])
    everyone = {**ours, **peers}
    parts = {name: peer.prepare(tuple(column[: peer.rows] for column in columns)) for name, peer in everyone.items()}
    calls = {name: (lambda n=name, p=peer: p.run(parts[n], settings.threads)) for name, peer in everyone.items()}
    scale = {name: rows / min(rows, peer.rows or rows) for name, peer in everyone.items()}
    results = first_results(calls)
    table: Table = dict(timed(calls, settings.rounds, scale).items())
    for name, line in table.items():
        line["version"] = version(everyone[name].distribution)
        line["ours"] = name in ours
    show_times(
        f"{title}: {rows:,} rows, {settings.threads} thread(s), {settings.rounds} rounds", table, next(iter(ours))
    )
    return table, results
