"""SPAN: reading a risk parameter file, beside the bare parser; margin of accounts, beside the plain-Python twin."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

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


def run(commodities: int, accounts: int, positions: int, rounds: int) -> None:
    """Time both; commodities = 212 is the size of an NSE Clearing file, 2.2 million array values."""
    file = large_exchange(commodities, FUTURES, SERIES, STRIKES)
    with tempfile.TemporaryDirectory() as folder:
        path, small = Path(folder) / "large.spn", Path(folder) / "small.spn"
        write_spn(path, file)
        write_spn(small, large_exchange(1, 1, 1, 1))
        contestants = {
            "read_spn": lambda: read_spn(path),
            "read_spn, element by element": lambda: read_spn(path, by_pattern=False),
            "bare iterparse": lambda: bare_parse(path),
        }
        seconds = best_seconds(contestants, max(1, rounds // 2))
        size = path.stat().st_size / 1e6
        report(f"SPAN file of {size:.0f} MB, {16 * len(file.arrays):,} array values", seconds, "read_spn")
        print("  " + ", ".join(f"{name} {size / value:.1f} MB/s" for name, value in seconds.items()))
        grown = peak_megabytes(path) - peak_megabytes(small)
        arrays = sum(column.nbytes for column in vars(file.arrays).values()) / 2**20
        ratio = f"{grown / arrays:.2f} x the {arrays:.0f} MB of arrays"
        print(f"  memory at its peak: {grown:.0f} MB beyond that of a small file, {ratio}")
    _margins("large exchange", file, accounts // 20, positions, rounds)
    _margins("every rule", exchange_with_every_rule(), accounts, min(positions, 8), rounds)


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
