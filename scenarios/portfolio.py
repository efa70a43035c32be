"""portfolio_pnl: one portfolio of options along a grid of price, vol and time moves, from arrays.

What `revalue` and a worst loss do for a venue with tables, names, ticks and digests, for those who have the numbers at
hand and want the answer within a fraction of a millisecond. Nothing is rounded to ticks: no margin of record.
"""

from __future__ import annotations

import importlib
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from pricing.arrays import MAX_SCENARIOS, FloatArray
from pricing.columns import check_rows, flat_columns, numbers
from pricing.errors import ConfigError, DataError, Problem
from pricing.price import check_threads, default_threads
from scenarios.legs import Grid, Legs

NAME = "portfolio_pnl"
BACKENDS = ("numpy", "numba")
SIZES = "must be above 1e-100 and below 1e100"


class PortfolioPnl(NamedTuple):
    """What the portfolio gains.

    pnl    (V,T,M) by vol move, time step and price move, in the currency of the forward, gain positive
    loss   the worst loss, 0 or more
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
    threads     None for one on small work and all cores on large; never changes a result

    Arguments broadcast. DataError names what is out of bounds, ConfigError more than 4,096 scenarios.
    """
    check_threads(threads)
    if backend not in BACKENDS:
        raise ConfigError(f"backend = {backend!r}: must be one of {', '.join(BACKENDS)}")
    named = {"forward": forward, "strike": strike, "tau": tau, "vol": vol, "sign": sign, "quantity": quantity}
    columns, _ = flat_columns(NAME, {**named, "discount": discount})
    price_moves, vol_moves, steps = _checked_moves(moves)
    grid = Grid(1.0 + price_moves, np.log1p(price_moves), 1.0 + vol_moves)
    _check(columns)
    now = columns["tau"][:, None]
    left = np.maximum(now - np.append(steps, 0.0), 0.0)
    due = columns["discount"][:, None]
    if np.all(due == 1.0):
        later = np.ones_like(left)
    else:
        later = due ** np.divide(left, now, out=np.ones_like(left), where=now > 0.0)
    terms = {name: columns[name] for name in ("forward", "strike", "vol", "sign", "quantity")}
    legs = Legs(**terms, tau=left, discount=later)
    shape = (len(vol_moves), len(steps), len(price_moves))
    workers = default_threads(len(left) * shape[0] * shape[1] * shape[2]) if threads is None else threads
    pnl: FloatArray = importlib.import_module(f"scenarios.backends.portfolio_{backend}").grid_pnl(legs, grid, workers)
    lowest = int(np.argmin(pnl))
    loses = bool(pnl[lowest] < 0.0)
    row, step, move = (int(place) for place in np.unravel_index(lowest, shape))
    return PortfolioPnl(pnl.reshape(shape), -float(pnl[lowest]) if loses else 0.0, (row, step, move) if loses else None)


def _checked_moves(moves: tuple[ArrayLike, ArrayLike, ArrayLike]) -> tuple[FloatArray, FloatArray, FloatArray]:
    names = ("price moves", "vol moves", "time steps")
    if len(moves) != len(names):
        raise ConfigError(f"moves = {len(moves)} arrays: must be price moves, vol moves and time steps")
    checked = []
    for name, given in zip(names, moves, strict=True):
        column = np.atleast_1d(numbers(NAME, name, given))
        if column.ndim != 1 or not column.size:
            raise DataError([Problem(NAME, None, name, column.shape, "must be one array with a number at least")])
        checked.append(column)
    price, vol, step = checked
    bounds = {
        "price moves": ((price > -1.0) & (price <= 100.0), "must be above -1 and at most 100"),
        "vol moves": ((vol >= -1.0) & (vol <= 100.0), "must be -1 to 100"),
        "time steps": ((step >= 0.0) & (step <= 100.0), "must be 0 to 100 years"),
    }
    check_rows(NAME, dict(zip(names, checked, strict=True)), bounds)
    count = len(price) * len(vol) * len(step)
    if count > MAX_SCENARIOS:
        raise ConfigError(f"moves make {count:,} scenarios: at most {MAX_SCENARIOS:,}")
    return price, vol, step


def _check(columns: dict[str, FloatArray]) -> None:
    """DataError for legs out of bounds; all of them are far inside what the formulas take."""
    if not len(columns["forward"]):
        raise DataError([Problem(NAME, None, "forward", 0, "must hold a leg at least")])
    forward, strike, tau, vol = (columns[name] for name in ("forward", "strike", "tau", "vol"))
    bounds = {
        "forward": ((forward > 1e-100) & (forward < 1e100), SIZES),
        "strike": ((strike > 1e-100) & (strike < 1e100), SIZES),
        "tau": ((tau >= 0.0) & (tau <= 1_000.0), "must be 0 to 1,000 years"),
        "vol": ((vol >= 0.0) & (vol <= 1_000.0), "must be 0 to 1,000"),
        "sign": (np.abs(columns["sign"]) == 1.0, "must be 1 for a call or -1 for a put"),
        "quantity": (True, "must be a finite number"),
        "discount": ((columns["discount"] > 0.0) & (columns["discount"] <= 1e6), "must be above 0"),
    }
    check_rows(NAME, columns, bounds)
