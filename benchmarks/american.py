"""American options: 5,000 unrelated contracts, beside QuantLib's QdFp engine and pybaw in the same run."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.contestants import Table, first_results, installed, machine, show_errors, show_times, timed, version
from pricing.american import american_greeks, american_price

SPOT = 100.0
QUANTLIB, PYBAW = "QuantLib QdFp fast", "pybaw loop"
REFERENCE_ROWS, GREEK_ROWS = 100, 200
COMPILE = (
    "import time, numba; s = time.perf_counter(); "
    "from pricing.american import american_price, american_greeks; "
    "american_price(100.0, 100.0, 1.0, 0.2, -1, 0.05); p = time.perf_counter(); "
    "american_greeks(100.0, 100.0, 1.0, 0.2, -1, 0.05); print(p - s, time.perf_counter() - p)"
)


def contracts(size: int, seed: int = 7) -> tuple[np.ndarray, ...]:
    """spot, strike, tau, vol, sign, rate, yield: 7-730 days, vol 10-90 %, rate and yield up to 8 %, strikes 60-165."""
    random = np.random.default_rng(seed)
    strike = SPOT * np.exp(random.normal(0.0, 0.2, size))
    days = random.integers(7, 731, size)
    vol, rates = random.uniform(0.1, 0.9, size), random.uniform(0.0, 0.08, (2, size))
    return np.full(size, SPOT), strike, days / 365, vol, random.choice([-1.0, 1.0], size), *rates


def quantlib_options(columns: tuple[np.ndarray, ...], scheme_name: str) -> list[Any]:
    """One option with a process and an engine of its own for each row, so that pricing is all that is left to do."""
    import QuantLib as ql

    today = ql.Date(1, 1, 2026)
    ql.Settings.instance().evaluationDate = today
    days, calendar = ql.Actual365Fixed(), ql.NullCalendar()
    scheme = getattr(ql.QdFpAmericanEngine, scheme_name)()
    options = []
    for spot, strike, tau, vol, sign, rate, payout in zip(*(column.tolist() for column in columns), strict=True):
        process = ql.BlackScholesMertonProcess(
            ql.QuoteHandle(ql.SimpleQuote(spot)),
            ql.YieldTermStructureHandle(ql.FlatForward(today, payout, days)),
            ql.YieldTermStructureHandle(ql.FlatForward(today, rate, days)),
            ql.BlackVolTermStructureHandle(ql.BlackConstantVol(today, calendar, vol, days)),
        )
        kind = ql.Option.Call if sign > 0 else ql.Option.Put
        exercise = ql.AmericanExercise(today, today + round(365 * tau))
        option = ql.VanillaOption(ql.PlainVanillaPayoff(kind, strike), exercise)
        option.setPricingEngine(ql.QdFpAmericanEngine(process, scheme))
        options.append(option)
    return options


def compile_seconds() -> dict[str, list[float]]:
    """Seconds of the first price and the first Greeks in a new process: with an empty cache, and with a full one."""
    with tempfile.TemporaryDirectory() as folder:
        times = []
        for _ in range(2):
            done = subprocess.run(
                [sys.executable, "-c", COMPILE],
                check=True,
                capture_output=True,
                text=True,
                env={**os.environ, "NUMBA_CACHE_DIR": folder},
            )
            times.append([float(word) for word in done.stdout.split()])
    cold, cached = times
    print(f"  first price and first Greeks in a new process: {cold[0]:.1f} s and {cold[1]:.1f} s")
    print(f"  the same from the cache: {cached[0]:.2f} s and {cached[1]:.2f} s")
    return {"cold": cold, "cached": cached}


def pybaw_prices(pybaw: Any, rows: list[tuple[Any, ...]]) -> np.ndarray:
    """The approximation of Barone-Adesi and Whaley; it has no vector form."""
    return np.array([pybaw.baw_price(*row) for row in rows])


def pybaw_rows(columns: tuple[np.ndarray, ...]) -> list[tuple[Any, ...]]:
    """spot, strike, discount, forward, total deviation, flag."""
    spot, strike, tau, vol, sign, rate, payout = columns
    numbers = (spot, strike, np.exp(-rate * tau), spot * np.exp((rate - payout) * tau), vol * np.sqrt(tau))
    return list(zip(*(number.tolist() for number in numbers), np.where(sign > 0, "c", "p").tolist(), strict=True))


def reference_difference(columns: tuple[np.ndarray, ...], exact: np.ndarray) -> float:
    """Largest difference of our accurate prices from QuantLib's high-precision scheme, on the first rows."""
    some = tuple(column[:REFERENCE_ROWS] for column in columns)
    theirs = [option.NPV() for option in quantlib_options(some, "highPrecisionScheme")]
    return float(np.abs(np.array(theirs) - exact[:REFERENCE_ROWS]).max())


def run(contracts_count: int, rounds: int, output: Path | None = None) -> dict[str, Any]:
    """Times and errors on one thread; prints a table, and writes JSON where a path is given."""
    columns = contracts(contracts_count)
    exact = american_price(*columns, accuracy="accurate")
    calls: dict[str, Callable[..., Any]] = {
        'american_price(accuracy="fast")': lambda: american_price(*columns, accuracy="fast", threads=1),
        "american_price()": lambda: american_price(*columns, threads=1),
    }
    ours, fresh, distributions = tuple(calls), {}, {}
    if installed("QuantLib"):
        # An option that has its value keeps it: each round gets new ones.
        fresh[QUANTLIB] = lambda: quantlib_options(columns, "fastScheme")
        calls[QUANTLIB] = lambda options=None: np.array([o.NPV() for o in options or fresh[QUANTLIB]()])
        distributions[QUANTLIB] = "QuantLib"
    if pybaw := installed("pybaw"):
        rows = pybaw_rows(columns)
        calls[PYBAW], distributions[PYBAW] = lambda: pybaw_prices(pybaw, rows), "pybaw"
    values = first_results(calls)
    table: Table = dict(timed(calls, rounds, {}, fresh).items())
    for name, line in table.items():
        error = np.abs(values[name] - exact)
        line["errors"] = {"largest error": float(error.max()), "rms": float(np.sqrt(np.mean(error**2)))}
        line["version"], line["ours"] = version(distributions.get(name, "")), name in ours
    title = f"American: {contracts_count:,} unrelated contracts on a spot of 100, one thread, {rounds} rounds"
    show_times(title, table, ours[0])
    show_errors("errors against our accurate prices", table)
    apart = reference_difference(columns, exact) if QUANTLIB in table else None
    if apart is not None:
        print(f"  those against QuantLib's high-precision scheme, {REFERENCE_ROWS} rows: {apart:.1e}")
    seconds = compile_seconds()
    job = {"job": "american", "size": contracts_count, "threads": 1, "rounds": rounds, "contestants": table}
    job |= {"reference": apart, "greeks, microseconds a contract": greeks_micros(columns), "compile": seconds}
    about = machine()
    versions = {name: version(name) for name in ("numpy", "numba", "QuantLib", "pybaw") if version(name)}
    result = {"machine": about, "versions": {"python": about["python"], **versions}, "races": [job]}
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return result


def greeks_micros(columns: tuple[np.ndarray, ...]) -> float:
    """Processor time of all nine Greeks of a contract."""
    few = tuple(column[:GREEK_ROWS] for column in columns)
    american_greeks(*few)
    start = time.process_time()
    american_greeks(*few)
    micros = (time.process_time() - start) / GREEK_ROWS * 1e6
    print(f"  all nine Greeks, default accuracy: {micros:,.0f} us a contract")
    return micros


def main() -> None:
    """`python -m benchmarks.american [--contracts 5000 --rounds 5 --json FILE]`."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.american", description=__doc__)
    parser.add_argument("--contracts", type=int, default=5_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, default=None)
    given = parser.parse_args()
    run(given.contracts, given.rounds, given.json)


if __name__ == "__main__":
    main()
