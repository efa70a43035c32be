"""Prices, Greeks and implied vols of a million options beside the peers that are installed.

`python -m benchmarks.pricing [--rows N --rounds N --threads N --json FILE]` prints medians, best times, ratios of
medians, errors against 60 digits and the time to compile, and writes all of it as JSON. `make bench-peers` runs it
in an environment of its own that holds the peers.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
from pathlib import Path
from typing import Any

import mpmath as mp
import numba
import numpy as np

from benchmarks import compile as compilation
from benchmarks.pricing_peers import Columns, Peer, greek_peers, implied_peers, price_peers, version
from benchmarks.timing import every_second
from pricing import Status, greeks, implied_vol, price
from pricing.backends import implied_numba as solver
from pricing.backends import numba as kernels
from pricing.inversions import black76 as inversion
from pricing.models import black76
from pricing.price import GREEK_NAMES
from tests.naive import exact
from tests.naive.implied_vol import exact_vol

REPORT = Path("build/bench-pricing.json")
CHECKED_ROWS = 1_000
FIGURES = ("median", "best", "processor")
SMALLEST_SHARE = 1e-12  # of the forward: smaller prices do not enter the relative error, as in the published table


def contracts(rows: int) -> Columns:
    """forward, strike, tau (1 hour to 2 years), vol (5 % to 200 %), discount, sign: calls and puts at random."""
    random = np.random.default_rng(1)
    forward, tau = random.uniform(50, 150, rows), 10 ** random.uniform(-3.94, 0.3, rows)
    vol = random.uniform(0.05, 2.0, rows)
    strike = forward * np.exp(random.normal(0, 1, rows) * vol * np.sqrt(tau))
    return forward, strike, tau, vol, np.exp(-random.uniform(0, 0.05, rows) * tau), random.choice([-1.0, 1.0], rows)


def quotes(rows: int) -> tuple[Columns, np.ndarray]:
    """price, forward, strike, tau, discount, sign of the four families, out of the money, and the vols.

    70 % core; 10 % four to thirty deviations out; 10 % minutes to a day at vols of 1 % to 10 %; 10 % vols of 2 to 6.
    """
    random = np.random.default_rng(2)
    family = np.searchsorted([0.7, 0.8, 0.9], random.uniform(size=rows), side="right")
    forward = random.uniform(50, 150, rows)
    tau, vol = 10 ** random.uniform(-3, 0.3, rows), random.uniform(0.05, 2, rows)
    tau = np.where(family == 2, 10 ** random.uniform(-5.7, -2.56, rows), tau)
    vol = np.where(family == 2, random.uniform(0.01, 0.1, rows), np.where(family == 3, 3.0 * vol, vol))
    vol = np.where((family == 3) & (vol < 2.0), 2.0 + vol, vol)
    side = random.choice([-1.0, 1.0], rows)
    distance = np.where(family == 1, random.uniform(4, 30, rows) * side, random.normal(0, 1.5, rows))
    strike = forward * np.exp(distance * vol * np.sqrt(tau))
    discount, sign = np.exp(-random.uniform(0, 0.05, rows) * tau), np.where(strike > forward, 1.0, -1.0)
    value = price(forward, strike, tau, vol, sign, discount)
    return (value, forward, strike, tau, discount, sign), vol


def price_errors(columns: Columns, values: np.ndarray) -> dict[str, float]:
    """Largest error over max(F, K), and relative out of the money, on rows spread over the whole."""
    forward, strike, tau, vol, discount, sign = columns
    absolute, relative = 0.0, 0.0
    for row in np.linspace(0, len(values) - 1, CHECKED_ROWS).astype(int):
        with mp.workdps(60):
            terms = (mp.mpf(float(column[row])) for column in (forward, strike, tau, vol))
            truth = mp.mpf(float(discount[row])) * exact.black(*terms, int(sign[row]))
            off = float(abs(mp.mpf(float(values[row])) - truth))
            absolute = max(absolute, off / max(forward[row], strike[row]))
            if sign[row] * (forward[row] - strike[row]) <= 0 and truth > SMALLEST_SHARE * forward[row]:
                relative = max(relative, off / float(truth))
    return {"error / max(F, K)": absolute, "relative error out of the money": relative}


def vol_errors(columns: Columns, vols: np.ndarray, found: np.ndarray) -> dict[str, float]:
    """Failures among all rows, and the largest distance from the exact root in roundings of the price."""
    value, forward, strike, tau, discount, sign = columns
    # One rounding of the price moves these by less than 1e-9: the prices say what the vol is.
    d1 = np.log(forward / strike) / (vols * np.sqrt(tau)) + 0.5 * vols * np.sqrt(tau)
    with np.errstate(divide="ignore", over="ignore"):
        movement = np.spacing(value) / (discount * forward * np.exp(-0.5 * d1 * d1) * 0.39894228 * np.sqrt(tau))
    firm = movement < 1e-9
    failures = int(np.sum(firm & ~(np.abs(found - vols) <= 1e-4 * vols)))
    roundings = 0.0
    for row in np.flatnonzero(firm)[:: max(1, int(firm.sum()) // CHECKED_ROWS)]:
        if np.isfinite(found[row]):
            terms = (float(column[row]) for column in (value, forward, strike, tau, discount, sign))
            truth, slope = exact_vol(*terms, start=float(vols[row]))
            moved = float(slope) * np.spacing(value[row]) + np.spacing(vols[row])
            roundings = max(roundings, abs(float(found[row] - truth)) / moved)
    return {"rows that tell their vol": int(firm.sum()), "failures": failures, "roundings": roundings}


def race(title: str, ours: dict[str, Peer], peers: dict[str, Peer], columns: Columns, settings: Any) -> dict[str, Any]:
    """Time everyone in alternating rounds and print medians, best times and ratios of medians to our first."""
    rows = len(columns[0])
    everyone = {**ours, **peers}
    parts = {name: tuple(column[: peer.rows] for column in columns) for name, peer in everyone.items()}
    calls = {name: (lambda n=name, p=peer: p.run(parts[n], settings.threads)) for name, peer in everyone.items()}
    scale = {name: rows / len(parts[name][0]) for name in everyone}
    seconds = every_second(calls, settings.rounds)
    table: dict[str, dict[str, Any]] = {}
    for name, times in seconds.items():
        clock, busy = zip(*times, strict=True)
        unit = 1e3 * scale[name]
        figures = {"median": unit * statistics.median(clock), "best": unit * min(clock), "processor": unit * min(busy)}
        table[name] = {**figures, "version": version(everyone[name].distribution)}
    first = table[next(iter(ours))]
    print(f"\n{title}: {rows:,} rows, {settings.threads} thread(s), {settings.rounds} rounds; ms, and times our first")
    print(f"  {'contestant':<40}{'median':>9}{'best':>9}{'processor':>11}{'median':>10}{'best':>8}{'processor':>11}")
    for name, line in sorted(table.items(), key=lambda item: item[1]["best"]):
        line["ratios"] = {figure: line[figure] / first[figure] for figure in FIGURES}
        label = f"{name} {line['version']}".strip()
        milliseconds = f"{line['median']:>9.2f}{line['best']:>9.2f}{line['processor']:>11.2f}"
        ratios = "".join(
            f"{line['ratios'][figure]:>{width}.2f}" for figure, width in zip(FIGURES, (10, 8, 11), strict=True)
        )
        print(f"  {label:<40}{milliseconds}{ratios}")
    return table


def show(title: str, errors: dict[str, dict[str, float]]) -> None:
    """Print one line of figures a contestant."""
    print(f"  {title}")
    for name, figures in errors.items():
        print(f"    {name:<42}" + "   ".join(f"{key} {value:.3g}" for key, value in figures.items()))


def prices(settings: Any) -> dict[str, Any]:
    """Prices: kernel, public function, peers; and their errors."""
    columns = contracts(settings.rows)
    forward, strike, tau, vol, discount, sign = columns
    out = np.empty(settings.rows)
    ours = {
        "price(out=...)": Peer(lambda c, t: price(*c[:4], c[5], c[4], out=out)),
        "price()": Peer(lambda c, t: price(*c[:4], c[5], c[4])),
        "its kernel": Peer(lambda c, t: kernels.value(black76, c, t, out)),
    }
    peers = price_peers()
    table = race("price", ours, peers, columns, settings)
    values = {"price()": price(forward, strike, tau, vol, sign, discount)}
    values |= {name: np.asarray(peer.run(columns, settings.threads)) for name, peer in peers.items() if not peer.rows}
    errors = {name: price_errors(columns, value) for name, value in values.items()}
    show("errors against 60 digits", errors)
    return {"times": table, "errors": errors}


def many_greeks(settings: Any) -> dict[str, Any]:
    """Price and seven Greeks in one pass (ours holds an eighth, charm), beside our price alone."""
    columns = contracts(settings.rows)
    named = {name: np.empty(settings.rows) for name in GREEK_NAMES}
    value, out = np.empty(settings.rows), tuple(np.empty(settings.rows) for _ in range(kernels.GREEKS))
    ours = {
        "greeks(out=...), 9 outputs": Peer(lambda c, t: greeks(*c[:4], c[5], c[4], out=named)),
        "its kernel": Peer(lambda c, t: kernels.greeks(black76, c, t, out=out)),
        "greeks()": Peer(lambda c, t: greeks(*c[:4], c[5], c[4])),
        "greeks(order=3), 14 outputs": Peer(lambda c, t: greeks(*c[:4], c[5], c[4], order=3)),
        "the kernel of the price alone": Peer(lambda c, t: kernels.value(black76, c, t, value)),
    }
    table = race("price and seven Greeks", ours, greek_peers(), columns, settings)
    alone, kernel = table["the kernel of the price alone"], table["its kernel"]
    shares = {f"by {figure} time": kernel[figure] / alone[figure] for figure in FIGURES}
    print("  nine outputs over the price alone: " + ", ".join(f"{share:.2f} {name}" for name, share in shares.items()))
    return {"times": table, "over the price alone": shares}


def implied(settings: Any) -> dict[str, Any]:
    """Implied vols of the four families, failures, and roundings from the exact root."""
    columns, vols = quotes(settings.rows)
    value, forward, strike, tau, discount, sign = columns
    ours = {
        "implied_vol()": Peer(lambda c, t: implied_vol(*c[:4], c[5], c[4])),
        "its kernel": Peer(lambda c, t: solver.implied_vol(inversion, c, 1e-10, t)),
    }
    peers = implied_peers()
    table = race("implied vol", ours, peers, columns, settings)
    found, status = implied_vol(value, forward, strike, tau, sign, discount, resolution=1e-9)
    results = {"implied_vol(resolution=1e-9)": found}
    results |= {name: np.asarray(peer.run(columns, settings.threads)) for name, peer in peers.items() if not peer.rows}
    errors = {name: vol_errors(columns, vols, np.asarray(result, dtype=float)) for name, result in results.items()}
    show("failures and largest error", errors)
    print(f"    rows with status OK at the usual resolution: {np.mean(status == Status.OK):.6f}")
    return {"times": table, "errors": errors}


def run(settings: Any) -> dict[str, Any]:
    """Everything, as one dictionary."""
    usual, numba.config.NUMBA_NUM_THREADS = numba.config.NUMBA_NUM_THREADS, settings.threads
    distributions = ("numpy", "scipy", "numba", "torch", "QuantLib", "iv-engine", "lbriv", "pyvolr")
    machine = {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count()}
    versions = {name: version(name) for name in distributions if version(name)}
    print("versions: python", platform.python_version(), *(f"{name} {number}" for name, number in versions.items()))
    try:
        return {
            "settings": {"rows": settings.rows, "rounds": settings.rounds, "threads": settings.threads},
            "machine": machine,
            "versions": {"python": platform.python_version(), **versions},
            "price": prices(settings),
            "greeks": many_greeks(settings),
            "implied_vol": implied(settings),
            "compile": compilation.run(),
        }
    finally:
        numba.config.NUMBA_NUM_THREADS = usual


def run_and_write(rows: int, rounds: int, threads: int = os.cpu_count() or 1, path: Path = REPORT) -> None:
    """Run with these sizes and write the figures as JSON."""
    result = run(argparse.Namespace(rows=rows, rounds=rounds, threads=threads))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1), encoding="utf-8")
    print(f"\nwritten to {path}")


def main() -> None:
    """Parse the sizes, run, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pricing", description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--json", type=Path, default=REPORT)
    settings = parser.parse_args()
    run_and_write(settings.rows, settings.rounds, settings.threads, settings.json)


if __name__ == "__main__":
    main()
