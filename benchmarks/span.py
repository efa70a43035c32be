"""SPAN: reading a risk parameter file, beside the bare parser; margin of accounts, beside the plain-Python twin."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from benchmarks import goals
from benchmarks.contestants import machine, show_times, timed
from benchmarks.parts import write_figures
from benchmarks.timing import best_seconds, report
from portfolio_margin import Book
from portfolio_margin.io.span_write import write_spn
from portfolio_margin.io.span_xml import read_spn
from portfolio_margin.models import span
from portfolio_margin.span.file_arrays import FileArrays, file_arrays
from portfolio_margin.span.tables import RiskParameterFile
from tests.naive.span import Account
from tests.portfolio_margin.span_examples import exchange_with_every_rule, large_exchange

FUTURES, SERIES, STRIKES = 3, 6, 55
# Megabytes; what getrusage says of a new process counts the one it came from.
PEAK = (
    "import sys; from pathlib import Path; from portfolio_margin.io.span_xml import read_spn; read_spn(sys.argv[1]); "
    "lines = Path('/proc/self/status').read_text().splitlines(); "
    "print(next(int(line.split()[1]) / 1024 for line in lines if line.startswith('VmHWM')))"
)


def bare_parse(path: Path) -> None:
    """What the parser of the standard library takes to go through the file and forget it."""
    for _, element in ElementTree.iterparse(path):
        if element.tag == "opt":
            element.clear()


def peak_megabytes(path: Path) -> float:
    """Largest resident memory of a process that reads the file and does nothing else."""
    return float(subprocess.run([sys.executable, "-c", PEAK, str(path)], capture_output=True, text=True).stdout)


def book_of(made: FileArrays, accounts: int, positions: int) -> Book:
    """Accounts with random contracts, both signs."""
    random = np.random.default_rng(3)
    contracts = np.flatnonzero(made.contract >= 0)
    stride = max(len(contracts) // positions, 1)
    rows = contracts[random.integers(0, stride, (accounts, positions)) + stride * np.arange(positions) % len(contracts)]
    quantity = random.integers(1, 50, (accounts, positions)) * random.choice([-1, 1], (accounts, positions))
    names = np.repeat([f"account-{a:06d}" for a in range(accounts)], positions)
    return Book.from_arrays(names, rows.ravel(), quantity.ravel().astype(float), made.arrays.expiry_idx)


def race_reading(commodities: int, rounds: int) -> dict[str, Any]:
    """Time and memory of reading a file; commodities = 212 is the size of an NSE Clearing file, 2.2 million values."""
    file = large_exchange(commodities, FUTURES, SERIES, STRIKES)
    with tempfile.TemporaryDirectory() as folder:
        path, small = Path(folder) / "large.spn", Path(folder) / "small.spn"
        write_spn(path, file)
        write_spn(small, large_exchange(1, 1, 1, 1))
        contestants: dict[str, Callable[[], Any]] = {
            "read_spn": lambda: read_spn(path),
            "bare iterparse": lambda: bare_parse(path),
        }
        # A way that takes as long as all other rounds has fewer of its own.
        slow = {"read_spn, element by element": lambda: read_spn(path, by_pattern=False)}
        measured = timed(contestants, rounds, {}) | timed(slow, max(1, rounds // 5), {})
        table = {name: {**line, "version": ""} for name, line in measured.items()}
        size, values = path.stat().st_size / 1e6, 16 * len(file.arrays)
        show_times(f"SPAN file of {size:.0f} MB, {values:,} array values", table, "read_spn")
        for name, line in table.items():
            clock, busy = 1e3 * size / line["best"], 1e3 * size / line["processor"]
            print(f"  {name:<44}{clock:>10.1f} MB/s, {busy:.1f} MB a second of processor time")
        grown = peak_megabytes(path) - peak_megabytes(small)
    arrays = sum(column.nbytes for column in vars(file.arrays).values()) / 2**20
    ratio = f"{grown / arrays:.2f} x the {arrays:.0f} MB of arrays"
    print(f"  memory at its peak: {grown:.0f} MB beyond that of a small file, {ratio}")
    if values < goals.VALUES:
        print(f"  {values:,} values: the goals are of {goals.VALUES:,} (212 commodities)")
    return {"values": values, "megabytes": size, "contestants": table, "peak_mb": grown, "arrays_mb": arrays}


def run(commodities: int, accounts: int, positions: int, rounds: int) -> dict[str, Any]:
    """Time both; what was measured of reading."""
    load = os.getloadavg()[0]
    found = race_reading(commodities, rounds)
    _margins("large exchange", large_exchange(commodities, FUTURES, SERIES, STRIKES), accounts // 20, positions, rounds)
    _margins("every rule", exchange_with_every_rule(), accounts, min(positions, 8), rounds)
    return {"machine": machine(), "load": load, **found}


def _margins(name: str, file: RiskParameterFile, accounts: int, positions: int, rounds: int) -> None:
    made = file_arrays(file)
    model = span.Model(file=file).for_arrays(made.arrays)
    book = book_of(made, accounts, positions)
    first = book.select(str(book.account_id[0]))
    contracts = made.contract[first.instrument_idx].tolist()
    held = dict(zip(contracts, first.quantity.tolist(), strict=True))
    seconds = best_seconds({"all accounts": lambda: model.requirement(book, made.arrays)}, rounds)
    each = seconds["all accounts"] / accounts
    contestants = {"span, one account of many": each}
    if len(file.contracts) < 1_000:
        twin = best_seconds({"twin": lambda: Account(file, held, {"USD": 1.0, "EUR": 1.25}).computed()}, 2)
        contestants["plain-Python twin, one account"] = twin["twin"]
    title = f"SPAN margin, {name}: {accounts:,} accounts x {positions} positions, {1 / each:,.0f} accounts a second"
    report(title, contestants, "span, one account of many")


def main() -> None:
    """Parse the sizes, run, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.span", description=__doc__)
    parser.add_argument("--commodities", type=int, default=212, help="212 make the 2.2 million values of NSE Clearing")
    parser.add_argument("--accounts", type=int, default=20_000)
    parser.add_argument("--positions", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, default=None, help="file for the figures")
    sizes = parser.parse_args()
    write_figures(sizes.json, run(sizes.commodities, sizes.accounts, sizes.positions, sizes.rounds))


if __name__ == "__main__":
    main()
