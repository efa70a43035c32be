"""Prices, Greeks and implied vols of a million options beside the peers that are installed.

`python -m benchmarks.pricing [--rows N --rounds N --threads N --json FILE]` prints medians, best times, ratios of
medians, errors against 60 digits and the time to compile, and writes all of it as JSON. `make bench-peers` runs it
in an environment of its own that holds the peers.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

import numba
import numpy as np

from benchmarks import compile as compilation
from benchmarks.accuracy import exact_greeks, exact_prices, exact_vols, greek_errors, price_errors, vol_errors
from benchmarks.contestants import (
    FIGURES,
    GREEK_FIELDS,
    Columns,
    Peer,
    fewer_threads,
    machine,
    race,
    show_errors,
    version,
)
from benchmarks.formula_peers import formula_peers
from benchmarks.package_peers import package_greeks, package_prices, package_vols, packages
from benchmarks.timing import best_seconds
from pricing import Status, greeks, implied_vol, price
from pricing.backends import implied_numba as solver
from pricing.backends import numba as kernels
from pricing.greek_names import GREEK_NAMES
from pricing.inversions import black76 as inversion
from pricing.models import black76

REPORT = Path("build/bench-pricing.json")
DISTRIBUTIONS = ("numpy", "scipy", "numba", "torch", "jax", "QuantLib", "iv-engine", "lbriv", "pyvolr", "vollib",
                 "fast-vollib", "py-vollib-vectorized", "quantkit-rs", "vanilla-option-pricers")  # fmt: skip


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


def prices(settings: Any, found: dict[str, Any]) -> dict[str, Any]:
    """Prices: kernel, public function, peers; and their errors."""
    columns = contracts(settings.rows)
    out = np.empty(settings.rows)
    ours = {
        "price(out=...)": Peer(lambda c, t: price(*c[:4], c[5], c[4], out=out)),
        "price()": Peer(lambda c, t: price(*c[:4], c[5], c[4])),
        "its kernel": Peer(lambda c, t: kernels.value(black76, c, t, out)),
    }
    peers = formula_peers(greeks=False) | package_prices(found)
    table, results = race("price", ours, peers, columns, settings)
    truth = exact_prices(columns)
    for name, line in table.items():
        line["errors"] = price_errors(truth, np.asarray(results[name]))
    show_errors("errors against 60 digits", table)
    return {"job": "price", "size": settings.rows, "contestants": table}


def many_greeks(settings: Any, found: dict[str, Any]) -> dict[str, Any]:
    """Price and seven Greeks in one pass, and all eight, beside our price alone."""
    columns = contracts(settings.rows)
    out = tuple(np.empty(settings.rows) for _ in range(kernels.GREEKS))
    value, named = np.empty(settings.rows), dict(zip(GREEK_NAMES, out, strict=True))
    seven, without_charm = {name: named[name] for name in GREEK_FIELDS}, (*out[:-1], None)
    by_name = {"fields": tuple(GREEK_NAMES)}
    ours = {
        "greeks(only=..., out=...), 8 outputs": Peer(
            lambda c, t: greeks(*c[:4], c[5], c[4], only=GREEK_FIELDS, out=seven).values()
        ),
        "its kernel": Peer(lambda c, t: kernels.greeks(black76, c, t, out=without_charm)[:-1]),
        "greeks(out=...), 9 outputs": Peer(lambda c, t: greeks(*c[:4], c[5], c[4], out=named).values(), **by_name),
        "the kernel of 9 outputs": Peer(lambda c, t: kernels.greeks(black76, c, t, out=out), **by_name),
        "greeks()": Peer(lambda c, t: greeks(*c[:4], c[5], c[4]).values(), **by_name),
        "greeks(order=3), 14 outputs": Peer(lambda c, t: greeks(*c[:4], c[5], c[4], order=3).values(), **by_name),
        "the kernel of the price alone": Peer(lambda c, t: (kernels.value(black76, c, t, value),), fields=("price",)),
    }
    peers = formula_peers(greeks=True) | package_greeks(found)
    table, results = race("price and seven Greeks", ours, peers, columns, settings)
    truth = exact_greeks(columns)
    for name, line in table.items():
        peer = {**ours, **peers}[name]
        known = [i for i, field in enumerate(peer.fields) if field in truth.scales]
        fields, values = tuple(peer.fields[i] for i in known), list(results[name])
        line["errors"] = greek_errors(truth, peer._replace(fields=fields), tuple(values[i] for i in known))
        line["outputs"] = len(values)
    show_errors("largest errors against 60 digits, in natural scales", table)
    alone = table["the kernel of the price alone"]
    shares = {}
    for title, name in (("seven Greeks", "its kernel"), ("eight Greeks", "the kernel of 9 outputs")):
        by_time = {f"by {figure} time": table[name][figure] / alone[figure] for figure in FIGURES}
        shares[title] = by_time | {"in cache": cached_share(8 if title == "seven Greeks" else 9)}
        shown = ", ".join(f"{share:.2f} {figure}" for figure, share in shares[title].items())
        print(f"  price and {title} over the price alone: {shown}")
    return {"job": "greeks", "size": settings.rows, "contestants": table, "over the price alone": shares}


def cached_share(outputs: int, rows: int = 4_096, rounds: int = 400) -> float:
    """Best time of price and Greeks over that of the price alone, for columns that stay in the second cache."""
    columns, value = contracts(rows), np.empty(rows)
    out = tuple(np.empty(rows) if place < outputs else None for place in range(kernels.GREEKS))
    calls = {
        "value": lambda: kernels.value(black76, columns, 1, value),
        "greeks": lambda: kernels.greeks(black76, columns, 1, out=out),
    }
    best = best_seconds(calls, rounds)
    return best["greeks"] / best["value"]


def implied(settings: Any, found: dict[str, Any]) -> dict[str, Any]:
    """Implied vols of the four families, failures, and roundings from the exact root."""
    columns, vols = quotes(settings.rows)
    ours = {
        # At its usual resolution ours refuses what a rounding of the price moves by more than 1e-10 of itself; the race
        # counts rows that tell ten times less.
        "implied_vol()": Peer(lambda c, t: implied_vol(*c[:4], c[5], c[4], resolution=1e-9)[0]),
        "its kernel": Peer(lambda c, t: solver.implied_vol(inversion, c, 1e-10, t)),
    }
    table, results = race("implied vol", ours, package_vols(found), columns, settings)
    status = results["its kernel"][1]
    truth = exact_vols(columns, vols)
    for name, line in table.items():
        if name != "its kernel":
            line["errors"] = vol_errors(truth, np.asarray(results[name], dtype=float))
    show_errors("failures and largest error", table)
    print(f"    rows with status OK at the usual resolution: {np.mean(status == Status.OK):.6f}")
    return {"job": "implied_vol", "size": settings.rows, "contestants": table}


def run(settings: Any) -> dict[str, Any]:
    """Everything, as one dictionary."""
    usual, numba.config.NUMBA_NUM_THREADS = numba.config.NUMBA_NUM_THREADS, settings.threads
    fewer_threads(settings.threads)
    about = machine()
    versions = {"python": about["python"], **{name: version(name) for name in DISTRIBUTIONS if version(name)}}
    print("versions:", *(f"{name} {number}" for name, number in versions.items()))
    found = packages()
    try:
        races = [prices(settings, found), many_greeks(settings, found), implied(settings, found)]
        for each in races:
            each |= {"threads": settings.threads, "rounds": settings.rounds}
        return {"machine": about, "versions": versions, "races": races, "compile": compilation.run()}
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
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--json", type=Path, default=REPORT)
    settings = parser.parse_args()
    run_and_write(settings.rows, settings.rounds, settings.threads, settings.json)


if __name__ == "__main__":
    main()
