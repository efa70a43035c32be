"""portfolio_pnl: one portfolio of options along a grid of price, vol and time moves, from arrays.

What `revalue` and a worst loss do for a venue with tables, names, ticks and digests, for those who have the numbers at
hand and want the answer within a fraction of a millisecond. Nothing is rounded to ticks: no margin of record.
"""

from __future__ import annotations

import functools
import importlib
import math
from types import ModuleType
from typing import NamedTuple, NoReturn

import numpy as np
from numpy.typing import ArrayLike

from pricing.arrays import MAX_SCENARIOS, FloatArray, IntArray
from pricing.columns import check_rows, flat_table, numbers
from pricing.errors import ConfigError, DataError, Problem
from pricing.price import check_threads
from scenarios.legs import (
    DISCOUNT,
    FORWARD,
    LARGEST_DISCOUNT,
    LARGEST_PRICE,
    LARGEST_QUANTITY,
    LARGEST_VOL,
    LONGEST,
    QUANTITY,
    SMALLEST_PRICE,
    STRIKE,
    TAU,
    Grid,
)

NAME = "portfolio_pnl"
MOVES = ("price moves", "vol moves", "time steps")
BACKENDS = ("numpy", "numba")
JUST_ABOVE = math.nextafter(-1.0, 0.0)
# Of what a portfolio holds at forward or strike, whichever is more: sums are off by less, and what is less is no loss.
ROUNDING = 2.0**-50
SIZES = f"must be above {SMALLEST_PRICE:g} and below {LARGEST_PRICE:g}"


class PortfolioPnl(NamedTuple):
    """What the portfolio gains.

    pnl    (V,T,M) by vol move, time step and price move, in the currency of the forward, gain positive
    loss   the worst loss; 0 where it is within the rounding of the portfolio's size
    worst  (vol move, time step, price move) of the worst loss, the first one of equals; None where nothing is lost
    """

    pnl: FloatArray
    loss: float
    worst: tuple[int, int, int] | None


def portfolio_pnl(
    forward: ArrayLike,
    strike: ArrayLike,
    tau: ArrayLike,
    vol: ArrayLike,
    sign: ArrayLike,
    quantity: ArrayLike,
    moves: tuple[ArrayLike, ArrayLike, ArrayLike],
    discount: ArrayLike = 1.0,
    *,
    backend: str = "numba",
    threads: int | None = None,
) -> PortfolioPnl:
    """P&L of European options on forwards under every combination of moves, and the worst of them (Black-76).

    forward, strike   (N,) price of the forward and strike, one currency
    tau, vol    (N,) years to expiry, 0 or more; vol per 1/sqrt(year), 0 or more
    sign        (N,) +1 call, -1 put
    quantity    (N,) units of the underlying, + long
    moves       (price moves (M,) above -1, vol moves (V,) -1 or more, both relative; time steps (T,) years, 0 or more)
    discount    (N,) of the expiry; its rate stays as time passes
    backend     "numba", or "numpy" for the reference
    threads     at most so many, None for all cores on large work; small work stays on one. Never changes a result

    Arguments broadcast. DataError names what is out of bounds, ConfigError more than 4,096 scenarios.
    """
    check_threads(threads)
    if backend not in BACKENDS:
        raise ConfigError(f"backend = {backend!r}: must be one of {', '.join(BACKENDS)}")
    plain: object = discount
    undiscounted = isinstance(plain, float) and plain == 1.0
    named = {"forward": forward, "strike": strike, "tau": tau, "vol": vol, "sign": sign, "quantity": quantity}
    table = flat_table(NAME, named if undiscounted else {**named, "discount": discount})
    if not table.size:
        raise DataError([Problem(NAME, None, "forward", 0, "must hold a leg at least")])
    price_moves, vol_moves, steps = _checked_moves(moves)
    order = _ascending_order(price_moves)
    ascending = price_moves if order is None else price_moves[order]
    grid = Grid(1.0 + ascending, np.log1p(ascending), 1.0 + vol_moves, steps)
    legs = table if undiscounted else _with_later(table, steps)
    shape = (len(vol_moves), len(steps), len(price_moves))
    pnl, unfit = _kernels(backend).grid_pnl(legs, grid, threads)
    if unfit:
        _refuse(dict(zip((*named, "discount"), table, strict=False)))
    if order is not None:
        pnl = pnl.reshape(shape)[..., np.argsort(order)].ravel()
    lowest = int(pnl.argmin())
    loss, cells = -pnl.item(lowest), pnl.reshape(shape)
    if loss <= 0.0 or loss <= ROUNDING * _size(table):
        return PortfolioPnl(cells, 0.0, None)
    rest, move = divmod(lowest, shape[2])
    return PortfolioPnl(cells, loss, (rest // shape[1], rest % shape[1], move))


def _size(table: FloatArray) -> float:
    """What the legs are at forward or strike, whichever is more, added up."""
    return float(np.abs(table[QUANTITY]) @ np.maximum(table[FORWARD], table[STRIKE]))


def _ascending_order(moves: FloatArray) -> IntArray | None:
    """Places of moves in ascending order, None where they are in it."""
    listed = moves.tolist()
    return None if listed == sorted(listed) else np.argsort(moves, kind="stable")


@functools.cache
def _kernels(backend: str) -> ModuleType:
    return importlib.import_module(f"scenarios.backends.portfolio_{backend}")


def _with_later(table: FloatArray, steps: FloatArray) -> FloatArray:
    """The table of legs, fit or not, and their discounts as time passes; without discounts where all are 1."""
    tau, discount = table[TAU], table[DISCOUNT]
    if np.count_nonzero(discount == 1.0) == len(tau):
        return table[:DISCOUNT]
    # What is not fit is refused by what sees it next.
    with np.errstate(all="ignore"):
        left = np.maximum(tau - steps[:, None], 0.0)
        later = discount ** np.divide(left, tau, out=np.ones_like(left), where=tau > 0.0)
    return np.concatenate((table, later))


def _checked_moves(moves: tuple[ArrayLike, ArrayLike, ArrayLike]) -> tuple[FloatArray, FloatArray, FloatArray]:
    if len(moves) != len(MOVES):
        raise ConfigError(f"moves = {len(moves)} arrays: must be price moves, vol moves and time steps")
    price, vol, step = map(_column, MOVES, moves)
    within = _within(price, JUST_ABOVE, 100.0) and _within(vol, -1.0, 100.0) and _within(step, 0.0, 100.0)
    if not within:
        bounds = {
            "price moves": ((price > -1.0) & (price <= 100.0), "must be above -1 and at most 100"),
            "vol moves": ((vol >= -1.0) & (vol <= 100.0), "must be -1 to 100"),
            "time steps": ((step >= 0.0) & (step <= 100.0), "must be 0 to 100 years"),
        }
        check_rows(NAME, dict(zip(MOVES, (price, vol, step), strict=True)), bounds)
    count = len(price) * len(vol) * len(step)
    if count > MAX_SCENARIOS:
        raise ConfigError(f"moves make {count:,} scenarios: at most {MAX_SCENARIOS:,}")
    return price, vol, step


def _column(name: str, given: ArrayLike) -> FloatArray:
    column = numbers(NAME, name, given)
    column = column if column.ndim else column.reshape(1)
    if column.ndim != 1 or not column.size:
        raise DataError([Problem(NAME, None, name, column.shape, "must be one array with a number at least")])
    return column


def _within(column: FloatArray, least: float, most: float) -> bool:
    """Whether all are numbers from least to most. Python's own functions take less time on few than calls of numpy."""
    listed = column.tolist()
    # Comparisons may pass by what is not a number; a sum never does.
    return least <= min(listed) and max(listed) <= most and not math.isnan(sum(listed))


def _refuse(columns: dict[str, FloatArray]) -> NoReturn:
    """DataError naming the legs out of bounds, which kernels have seen; bounds are far inside what formulas take."""
    forward, strike, tau, vol = (columns[name] for name in ("forward", "strike", "tau", "vol"))
    bounds = {
        "forward": ((forward > SMALLEST_PRICE) & (forward < LARGEST_PRICE), SIZES),
        "strike": ((strike > SMALLEST_PRICE) & (strike < LARGEST_PRICE), SIZES),
        "tau": ((tau >= 0.0) & (tau <= LONGEST), f"must be 0 to {LONGEST:,g} years"),
        "vol": ((vol >= 0.0) & (vol <= LARGEST_VOL), f"must be 0 to {LARGEST_VOL:,g}"),
        "sign": (np.abs(columns["sign"]) == 1.0, "must be 1 for a call or -1 for a put"),
        "quantity": (
            np.abs(columns["quantity"]) <= LARGEST_QUANTITY,
            f"must be at most {LARGEST_QUANTITY:g}, long or short",
        ),
    }
    if "discount" in columns:
        due = columns["discount"]
        bounds["discount"] = (
            (due > 0.0) & (due <= LARGEST_DISCOUNT),
            f"must be above 0 and at most {LARGEST_DISCOUNT:,g}",
        )
    check_rows(NAME, columns, bounds)
    raise AssertionError("a kernel and this list of bounds differ")
