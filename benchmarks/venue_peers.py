"""How others compute the worst loss of every account, and the gains of one portfolio; in the forms they recommend."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numba
import numpy as np
from scipy import sparse
from scipy.special import ndtr

from benchmarks.contestants import installed
from portfolio_margin import Book

BLOCK_ACCOUNTS = 20_000


class Job(NamedTuple):
    """Accounts with equally many positions, and the P&L (N,S) of one contract; loss (A,) is the answer."""

    book: Book
    pnl: np.ndarray
    positions: int

    def first(self, accounts: int) -> Job:
        """The same with the first accounts only."""
        return self._replace(book=self.book.accounts(0, min(accounts, len(self.book))))


def scipy_blocks(job: Job) -> Callable[[], np.ndarray]:
    """CSR times dense in blocks of accounts, then the least of each row."""
    shape = (len(job.book), len(job.pnl))
    matrix = sparse.csr_array((job.book.quantity, job.book.instrument_idx, job.book.position_ptr), shape=shape)

    def run() -> np.ndarray:
        blocks = range(0, shape[0], BLOCK_ACCOUNTS)
        losses = [-np.minimum((matrix[low : low + BLOCK_ACCOUNTS] @ job.pnl).min(axis=1), 0.0) for low in blocks]
        return np.concatenate(losses)

    return run


@numba.njit(nogil=True, parallel=True)
def _plain_loop(ptr: Any, instrument: Any, quantity: Any, pnl: Any, loss: Any) -> None:
    for block in numba.prange((len(loss) + 1023) // 1024):
        total = np.empty(pnl.shape[1])
        for a in range(block * 1024, min(len(loss), (block + 1) * 1024)):
            total[:] = 0.0
            for p in range(ptr[a], ptr[a + 1]):
                row, held = pnl[instrument[p]], quantity[p]
                for s in range(len(total)):
                    total[s] += held * row[s]
            lowest = 0.0
            for s in range(len(total)):
                lowest = min(lowest, total[s])
            loss[a] = -lowest


@contextlib.contextmanager
def _parallel_threads(threads: int) -> Iterator[None]:
    """Run numba's parallel loops on so many threads, at most what the process was started with."""
    before = numba.get_num_threads()
    numba.set_num_threads(max(1, min(threads, numba.config.NUMBA_NUM_THREADS)))
    try:
        yield
    finally:
        numba.set_num_threads(before)


def numba_loop(job: Job, threads: int) -> Callable[[], np.ndarray]:
    """The loop one writes: sums in an array, then its least; quantities unchecked, nothing rounded."""
    ptr, loss = job.book.position_ptr, np.empty(len(job.book))

    def run() -> np.ndarray:
        # When it is called: how many threads numba takes is a setting of the process.
        with _parallel_threads(threads):
            _plain_loop(ptr, job.book.instrument_idx, job.book.quantity, job.pnl, loss)
        return loss

    return run


def pandas_frames(job: Job) -> Callable[[], np.ndarray]:
    """Positions joined with the table of gains, multiplied, added up by account."""
    pandas = installed("pandas")
    if pandas is None:
        raise ImportError("pandas")
    columns = [f"s{n}" for n in range(job.pnl.shape[1])]
    gains = pandas.DataFrame(job.pnl, columns=columns)
    account = np.repeat(np.arange(len(job.book)), job.positions)
    held = pandas.DataFrame({"account": account, "instrument": job.book.instrument_idx, "quantity": job.book.quantity})

    def run() -> np.ndarray:
        joined = held.merge(gains, left_on="instrument", right_index=True)
        products = joined[columns].mul(joined["quantity"], axis=0)
        return np.asarray(-products.groupby(joined["account"]).sum().min(axis=1).clip(upper=0.0))

    return run


def duckdb_query(job: Job, threads: int) -> Callable[[], np.ndarray]:
    """One query: join, sums by account, least of the sums."""
    duckdb, pandas = installed("duckdb"), installed("pandas")
    if duckdb is None or pandas is None:
        raise ImportError("duckdb")
    names = [f"s{n}" for n in range(job.pnl.shape[1])]
    gains = pandas.DataFrame(job.pnl, columns=names).assign(instrument=np.arange(len(job.pnl)))
    account = np.repeat(np.arange(len(job.book)), job.positions)
    held = pandas.DataFrame({"account": account, "instrument": job.book.instrument_idx, "quantity": job.book.quantity})
    connection = duckdb.connect(config={"threads": threads})
    for name, frame in (("gains", gains), ("held", held)):
        connection.register(f"{name}_frame", frame)
        connection.execute(f"create table {name} as select * from {name}_frame")
    sums = ", ".join(f"sum(quantity * {name}) as {name}" for name in names)
    least = f"least(0.0, {', '.join(names)})"
    inner = f"select account, {sums} from held join gains using (instrument) group by account"
    query = f"select -{least} as loss from ({inner}) order by account"

    def run() -> np.ndarray:
        return np.asarray(connection.execute(query).fetchnumpy()["loss"])

    return run


def torch_bags(job: Job, threads: int) -> Callable[[], np.ndarray]:
    """embedding_bag with weights, then the least of each row."""
    torch = installed("torch")
    if torch is None:
        raise ImportError("torch")
    table = torch.from_numpy(job.pnl.copy())
    index, weight = torch.from_numpy(job.book.instrument_idx.copy()), torch.from_numpy(job.book.quantity.copy())
    offsets = torch.from_numpy(job.book.position_ptr[:-1].copy())
    bag = torch.nn.functional.embedding_bag

    def run() -> np.ndarray:
        torch.set_num_threads(threads)
        sums = bag(index, table, offsets, mode="sum", per_sample_weights=weight)
        return np.asarray(-sums.min(dim=1).values.clamp(max=0.0))

    return run


class Portfolio(NamedTuple):
    """One portfolio for `portfolio_pnl`: (N,) columns, and the moves."""

    forward: np.ndarray
    strike: np.ndarray
    tau: np.ndarray
    vol: np.ndarray
    sign: np.ndarray
    quantity: np.ndarray
    moves: tuple[np.ndarray, np.ndarray, np.ndarray]


def _shocked(held: Portfolio) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Forward, vol x root of time, (N,V,T,M)."""
    price, vol, step = held.moves
    column = (slice(None), None, None, None)
    forward = held.forward[column] * (1.0 + price)
    left = np.maximum(held.tau[column] - step[:, None], 1e-12)
    return forward, held.vol[column] * (1.0 + vol)[:, None, None] * np.sqrt(left), held.strike[column]


def numpy_broadcast(held: Portfolio) -> Callable[[], np.ndarray]:
    """What one writes in numpy and scipy: everything broadcast."""

    def run() -> np.ndarray:
        forward, deviation, strike = _shocked(held)
        sign = held.sign[:, None, None, None]
        d1 = np.log(forward / strike) / deviation + 0.5 * deviation
        value = sign * (forward * ndtr(sign * d1) - strike * ndtr(sign * (d1 - deviation)))
        root = held.vol * np.sqrt(held.tau)
        d1 = np.log(held.forward / held.strike) / root + 0.5 * root
        base = held.sign * (held.forward * ndtr(held.sign * d1) - held.strike * ndtr(held.sign * (d1 - root)))
        return np.tensordot(held.quantity, value - base[:, None, None, None], axes=1)

    return run


def torch_broadcast(held: Portfolio, threads: int) -> Callable[[], np.ndarray]:
    """The same in torch, eagerly."""
    torch = installed("torch")
    if torch is None:
        raise ImportError("torch")
    price, vol, step = (torch.from_numpy(np.ascontiguousarray(part)) for part in held.moves)
    columns = (torch.from_numpy(np.ascontiguousarray(part))[:, None, None, None] for part in held[:6])
    forward, strike, tau, sigma, sign, quantity = columns
    half = 0.5**0.5

    def value(forward: Any, deviation: Any) -> Any:
        d1 = torch.log(forward / strike) / deviation + 0.5 * deviation
        first, second = (torch.erfc(-sign * d * half) for d in (d1, d1 - deviation))
        return 0.5 * sign * (forward * first - strike * second)

    def run() -> np.ndarray:
        torch.set_num_threads(threads)
        left = torch.clamp(tau - step[:, None], min=1e-12)
        after = value(forward * (1.0 + price), sigma * (1.0 + vol)[:, None, None] * torch.sqrt(left))
        before = value(forward, sigma * torch.sqrt(tau))
        return np.asarray((quantity * (after - before)).sum(dim=0))

    return run


def quantlib_formula(held: Portfolio, legs: int) -> Callable[[], float]:
    """blackFormula of the first legs in every scenario, one call each."""
    quantlib = installed("QuantLib")
    if quantlib is None:
        raise ImportError("QuantLib")
    forward, deviation, _ = (np.broadcast_arrays(*_shocked(held))[n][:legs] for n in range(3))
    kinds = [quantlib.Option.Call if sign > 0 else quantlib.Option.Put for sign in held.sign[:legs]]

    def run() -> float:
        total = 0.0
        for n, kind in enumerate(kinds):
            strike, held_here = float(held.strike[n]), float(held.quantity[n])
            prices, roots = forward[n].ravel().tolist(), deviation[n].ravel().tolist()
            for price, root in zip(prices, roots, strict=True):
                total += held_here * quantlib.blackFormula(kind, strike, price, root)
        return total

    return run


def quantlib_instruments(held: Portfolio, legs: int) -> Callable[[], float]:
    """VanillaOption objects of the first legs whose quotes are moved, scenario by scenario."""
    quantlib = installed("QuantLib")
    if quantlib is None:
        raise ImportError("QuantLib")
    today = quantlib.Date(2, 1, 2026)
    quantlib.Settings.instance().evaluationDate = today
    day = quantlib.Actual365Fixed()
    flat = quantlib.YieldTermStructureHandle(quantlib.FlatForward(today, 0.0, day))
    options, quotes = [], []
    for n in range(legs):
        spot, vol = quantlib.SimpleQuote(float(held.forward[n])), quantlib.SimpleQuote(float(held.vol[n]))
        surface = quantlib.BlackConstantVol(today, quantlib.NullCalendar(), quantlib.QuoteHandle(vol), day)
        process = quantlib.BlackScholesMertonProcess(
            quantlib.QuoteHandle(spot), flat, flat, quantlib.BlackVolTermStructureHandle(surface)
        )
        kind = quantlib.Option.Call if held.sign[n] > 0 else quantlib.Option.Put
        expiry = today + max(2, round(float(held.tau[n]) * 365))
        option = quantlib.VanillaOption(
            quantlib.PlainVanillaPayoff(kind, float(held.strike[n])), quantlib.EuropeanExercise(expiry)
        )
        option.setPricingEngine(quantlib.AnalyticEuropeanEngine(process))
        options.append(option)
        quotes.append((spot, vol, float(held.forward[n]), float(held.vol[n]), float(held.quantity[n])))
    price, vol_moves, steps = held.moves
    scenarios = [(1.0 + p, 1.0 + v) for v in vol_moves.tolist() for _ in steps.tolist() for p in price.tolist()]

    def run() -> float:
        total = 0.0
        for growth, factor in scenarios:
            for option, (spot, vol, forward, sigma, quantity) in zip(options, quotes, strict=True):
                spot.setValue(forward * growth)
                vol.setValue(sigma * factor)
                total += quantity * option.NPV()
        return total

    return run
