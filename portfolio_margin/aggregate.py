"""aggregate: positions meet risk arrays. P&L and worst loss of every account, exact to the tick."""

from __future__ import annotations

import numpy as np

from portfolio_margin.book import Book
from portfolio_margin.kernel_inputs import EXACT_LIMIT, NO_FAULTS, Faults, Positions, Table
from pricing.arrays import FloatArray, IntArray, freeze
from pricing.errors import ConfigError, DataError, NumericalError, Problem
from pricing.price import check_threads, default_threads, load_backend
from scenarios.of_arrays import of_arrays
from scenarios.risk_arrays import RiskArrays

PARALLEL_PRODUCTS = 1_000_000
NETTING = ("joint", "per_underlying")
# Read-only like the column of the arrays: a writeable one would be another signature to compile.
NO_SETS = freeze(np.zeros(0), np.int64)


def worst_loss(
    book: Book,
    arrays: RiskArrays,
    *,
    netting: str = "joint",
    haircut: FloatArray | None = None,
    backend: str = "numba",
    threads: int | None = None,
) -> tuple[FloatArray, IntArray]:
    """Worst loss of every account over the scenarios, and the scenario it happens in.

    netting  "joint": one worst scenario for the whole account; "per_underlying": the worst scenario of
             each underlying on its own, losses added, gains of one never offsetting another
    haircut  (N,) share of a long collateral balance that does not count, or None
    Returns (A,) margin currency, 0 or more, and (A,) -> S of the netting set that loses most, -1 where
    nothing is lost. Exactly equal for every backend, number of threads and order of positions.
    """
    positions = kernel_positions(book, arrays, netting)
    table = kernel_table(arrays, arrays.rows, haircut)
    module = load_backend("portfolio_margin", backend)
    loss, scenario, found = module.worst_loss(positions, table, threads_for(book, arrays.rows.shape[1], threads))
    check_faults(book, arrays, found)
    loss *= arrays.tick_size
    return loss, scenario


def account_pnl(
    book: Book,
    arrays: RiskArrays,
    *,
    haircut: FloatArray | None = None,
    backend: str = "numba",
    threads: int | None = None,
) -> FloatArray:
    """(A,S) P&L of every account in every scenario, margin currency, gain positive."""
    return account_sums(book, arrays, arrays.rows, haircut=haircut, backend=backend, threads=threads)


def account_sums(
    book: Book,
    arrays: RiskArrays,
    rows: FloatArray,
    *,
    haircut: FloatArray | None = None,
    backend: str = "numba",
    threads: int | None = None,
) -> FloatArray:
    """(A,K) sums over positions of any rows (N,K) in ticks per unit; in margin currency."""
    positions = kernel_positions(book, arrays, "joint")
    table = kernel_table(arrays, rows, haircut)
    module = load_backend("portfolio_margin", backend)
    sums, found = module.account_sums(positions, table, threads_for(book, rows.shape[1], threads))
    check_faults(book, arrays, found)
    return np.asarray(sums * arrays.tick_size)


def kernel_positions(book: Book, arrays: RiskArrays, netting: str | None) -> Positions:
    """The book as the kernels take it, with the netting set of each group; without any where `netting` is None."""
    if netting is not None and netting not in NETTING:
        raise ConfigError(f"netting = {netting!r}: must be one of {', '.join(NETTING)}")
    last = book.last_instrument
    if last >= len(arrays):
        raise DataError([Problem("book", None, "instrument_idx", last, f"the risk arrays hold only {len(arrays)}")])
    netting_set = np.zeros(0 if netting is None else len(book.group_key), dtype=np.int64)
    row_set = _one_set(arrays) if netting is not None else NO_SETS
    if netting == "per_underlying":
        if not book.is_grouped:
            raise ConfigError(
                "netting per underlying needs a book with groups: "
                "Book.from_arrays(..., group_of_instrument=instruments.expiry_idx)"
            )
        # Groups are sorted by expiry row and expiry rows by underlying, so sets stand together.
        first = book.instrument_idx[book.group_ptr[:-1]]
        row_set = arrays.underlying_idx
        netting_set = row_set[first]
    columns = book.account_ptr, book.group_ptr, netting_set, book.instrument_idx, book.quantity, row_set
    return Positions(*columns, book.kept)


@of_arrays
def kernel_table(arrays: RiskArrays, rows: FloatArray, haircut: FloatArray | None) -> Table:
    """Rows as the kernels take them."""
    asset = arrays.is_collateral
    weight = np.ones(len(arrays)) if haircut is None else 1.0 - _checked(haircut, arrays)
    return Table(
        rows=np.ascontiguousarray(rows),
        unit=arrays.unit,
        contract=~asset,
        long_weight=np.where(asset, weight, 1.0),
        magnitude=np.abs(rows).max(axis=1),
        rounded=arrays.tick is not None,
        kept={},
    )


def _checked(haircut: FloatArray, arrays: RiskArrays) -> FloatArray:
    """One finite number for each row; ConfigError."""
    found = np.asarray(haircut, dtype=np.float64)
    if found.shape != (len(arrays),):
        raise ConfigError(
            f"haircut = an array of shape {found.shape}: must be one number for each of {len(arrays)} rows"
        )
    for row in np.flatnonzero(~np.isfinite(found))[:1]:
        raise ConfigError(f"haircut of {arrays.instrument_id[row]} = {found[row]}: must be a finite number")
    return found


@of_arrays
def _one_set(arrays: RiskArrays) -> IntArray:
    """(N,) netting set of each row where there is one."""
    return np.zeros(len(arrays), np.int64)


def check_faults(book: Book, arrays: RiskArrays, found: Faults, account: IntArray | None = None) -> None:
    """DataError for quantities off their step, NumericalError for sums that ticks cannot hold exactly.

    account  (R,) account of each row of `found`; None where rows are accounts
    """
    if found is NO_FAULTS:
        return
    account = np.arange(len(book)) if account is None else account
    apart = found.misplaced[found.misplaced >= 0]
    if len(apart):
        names = arrays.instrument_id[book.instrument_idx[apart]]
        remedy = "stands in a group of another underlying: build the book with group_of_instrument=expiry_idx"
        accounts = book.account_id[np.searchsorted(book.position_ptr, apart, side="right") - 1]
        raise DataError(
            [Problem("book", str(a), "group", str(n), remedy) for a, n in zip(accounts, names, strict=True)]
        )
    bad = found.off_step[found.off_step >= 0]
    if len(bad):
        raise DataError([_off_step_problem(book, arrays, int(position)) for position in bad])
    infinite = np.flatnonzero(~np.isfinite(found.magnitude))
    if len(infinite):
        raise NumericalError(_not_finite(book, arrays, int(account[infinite[0]])))
    if arrays.tick is not None and len(found.magnitude) and found.magnitude.max() > EXACT_LIMIT:
        row = int(np.argmax(found.magnitude))
        name = book.account_id[account[row]]
        needed = arrays.tick * 2.0 ** np.ceil(np.log2(found.magnitude[row] / EXACT_LIMIT) + 1)
        remedy = f"revalue with tick={needed:.1e} or more" if needed <= 1.0 else "no tick up to 1 would fit"
        largest = _largest(book, arrays, int(account[row]))
        raise NumericalError(
            f"account {name} is too large for exact sums at tick {arrays.tick:g} ({largest}): {remedy}"
        )


def _not_finite(book: Book, arrays: RiskArrays, account: int) -> str:
    """Why a sum of an account is not finite: a risk array, or the largest of its quantities."""
    held = slice(book.position_ptr[account], book.position_ptr[account + 1])
    name = f"account {book.account_id[account]}"
    if not np.all(np.isfinite(arrays.rows[book.instrument_idx[held]])):
        return f"{name} holds a contract whose risk array is not finite"
    return f"{name}: a quantity of {_largest(book, arrays, account)} is too large for exact sums"


def _largest(book: Book, arrays: RiskArrays, account: int) -> str:
    """The quantity of most units that an account holds, and of what."""
    held = slice(book.position_ptr[account], book.position_ptr[account + 1])
    row, quantity = book.instrument_idx[held], book.quantity[held]
    largest = int(np.argmax(np.abs(quantity / arrays.unit[row])))
    return f"{quantity[largest]:g} {arrays.instrument_id[row[largest]]}"


def _off_step_problem(book: Book, arrays: RiskArrays, position: int) -> Problem:
    row = book.instrument_idx[position]
    account = int(np.searchsorted(book.position_ptr, position, side="right")) - 1
    remedy = f"{arrays.instrument_id[row]} trades in whole multiples of {arrays.quantity_step[row]:g}"
    return Problem("book", str(book.account_id[account]), "quantity", float(book.quantity[position]), remedy)


def threads_for(book: Book, columns: int, threads: int | None) -> int:
    """Threads for sums over a book: as asked for, else one where there is little to add."""
    check_threads(threads)
    if threads is not None:
        return threads
    return default_threads(len(book.quantity) * columns, PARALLEL_PRODUCTS)
