"""American options: 5,000 unrelated contracts, beside the fast scheme of QuantLib's QdFp engine in the same run."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.timing import report
from pricing.american import american_greeks, american_price

SPOT = 100.0
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


def quantlib_options(columns: tuple[np.ndarray, ...]) -> list[Any]:
    """One option with a process and an engine of its own for each row, so that pricing is all that is left to do."""
    import QuantLib as ql

    today = ql.Date(1, 1, 2026)
    ql.Settings.instance().evaluationDate = today
    days, calendar = ql.Actual365Fixed(), ql.NullCalendar()
    scheme = ql.QdFpAmericanEngine.fastScheme()
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


def compile_seconds() -> tuple[list[float], list[float]]:
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
    return times[0], times[1]


def run(contracts_count: int, rounds: int, output: Path | None = None) -> dict[str, Any]:
    """Time and error on one thread, in processor time, so that other work on the machine does not count.

    Prints a table, and writes JSON where a path is given.
    """
    import QuantLib as ql

    columns = contracts(contracts_count)
    exact = american_price(*columns, accuracy="accurate")
    ours = {f"ours, {accuracy}": accuracy for accuracy in ("fast", "default")}
    seconds = dict.fromkeys((*ours, "QuantLib QdFp fast"), float("inf"))
    values = {}
    american_price(*columns, accuracy="fast", threads=1)
    for _ in range(rounds):
        options = quantlib_options(columns)
        start = time.process_time()
        values["QuantLib QdFp fast"] = np.array([option.NPV() for option in options])
        seconds["QuantLib QdFp fast"] = min(seconds["QuantLib QdFp fast"], time.process_time() - start)
        for name, accuracy in ours.items():
            for _ in range(5 if accuracy == "fast" else 1):
                start = time.process_time()
                values[name] = american_price(*columns, accuracy=accuracy, threads=1)
                seconds[name] = min(seconds[name], time.process_time() - start)
    few = tuple(column[:200] for column in columns)
    american_greeks(*few)
    start = time.process_time()
    american_greeks(*few)
    greeks_micros = (time.process_time() - start) / 200 * 1e6
    report(f"American: {contracts_count:,} unrelated contracts on a spot of 100, one thread", seconds, "ours, fast")
    errors = {name: np.abs(value - exact) for name, value in values.items()}
    for name, error in errors.items():
        rate = contracts_count / seconds[name]
        print(f"  {name:<30}{rate:>12,.0f}/s  largest error {error.max():.1e}  rms {np.sqrt((error**2).mean()):.1e}")
    cold, warm = compile_seconds()
    print(f"  all nine Greeks, default accuracy: {greeks_micros:,.0f} us a contract")
    print(f"  first price and first Greeks in a new process: {cold[0]:.1f} s and {cold[1]:.1f} s")
    print(f"  the same from the cache: {warm[0]:.2f} s and {warm[1]:.2f} s")
    result = {
        "job": "american",
        "contracts": contracts_count,
        "versions": {"QuantLib": ql.__version__, "numpy": np.__version__},
        "seconds": seconds,
        "largest_error": {name: float(error.max()) for name, error in errors.items()},
        "rms_error": {name: float(np.sqrt((error**2).mean())) for name, error in errors.items()},
        "ratio_to_quantlib_fast": seconds["QuantLib QdFp fast"] / seconds["ours, fast"],
        "first_price_and_greeks_seconds": {"cold": cold, "cached": warm},
    }
    if output is not None:
        output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return result


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
