"""What others offer for the jobs of benchmarks/pricing.py; a peer that is not installed is left out and named.

Every contestant takes the columns (forward, strike, tau, vol, discount, sign) or, for implied vols, (price, forward,
strike, tau, discount, sign) and the number of threads. Those that are Python loops take a part of the rows only,
and their time is scaled up.
"""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from scipy.special import ndtr

LOOP_ROWS = 20_000
INVERSE_SQRT_TWO_PI = 0.3989422804014327
Columns = tuple[np.ndarray, ...]


class Peer(NamedTuple):
    """A contestant: how it is called, on how many rows at most, and by which distribution it is installed."""

    run: Callable[[Columns, int], Any]
    rows: int | None = None
    distribution: str = ""


def installed(name: str) -> ModuleType | None:
    """The module, or None where it is missing or does not import."""
    try:
        return importlib.import_module(name)
    except Exception as error:
        print(f"  {name}: left out ({type(error).__name__}: {str(error).splitlines()[0][:80] if str(error) else ''})")
        return None


def version(distribution: str) -> str:
    """Its version, or nothing where it is ours or missing."""
    if not distribution:
        return ""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return ""


def numpy_price(columns: Columns, threads: int) -> np.ndarray:
    """The textbook formula in numpy and scipy."""
    forward, strike, tau, vol, discount, sign = columns
    deviation = vol * np.sqrt(tau)
    d1 = np.log(forward / strike) / deviation + 0.5 * deviation
    return discount * sign * (forward * ndtr(sign * d1) - strike * ndtr(sign * (d1 - deviation)))


def numpy_greeks(columns: Columns, threads: int) -> tuple[np.ndarray, ...]:
    """Price and seven Greeks in numpy and scipy, shared terms computed once."""
    forward, strike, tau, vol, discount, sign = columns
    root = np.sqrt(tau)
    deviation = vol * root
    d1 = np.log(forward / strike) / deviation + 0.5 * deviation
    d2 = d1 - deviation
    first, second = ndtr(sign * d1), ndtr(sign * d2)
    density = discount * INVERSE_SQRT_TWO_PI * np.exp(-0.5 * d1 * d1)
    rate = -np.log(discount) / tau
    price = discount * sign * (forward * first - strike * second)
    vega = density * forward * root
    theta = rate * price - 0.5 * density * forward * vol / root
    rho = sign * tau * strike * discount * second
    gamma = density / (forward * deviation)
    return price, discount * sign * first, gamma, vega, theta, rho, -density * d2 / vol, vega * d1 * d2 / vol


def torch_price(torch: Any) -> Callable[[Columns, int], Any]:
    """The textbook formula in eager torch."""

    def run(columns: Columns, threads: int) -> Any:
        torch.set_num_threads(threads)
        forward, strike, tau, vol, discount, sign = (torch.from_numpy(column) for column in columns)
        deviation = vol * torch.sqrt(tau)
        d1 = torch.log(forward / strike) / deviation + 0.5 * deviation
        cdf = torch.special.ndtr
        return discount * sign * (forward * cdf(sign * d1) - strike * cdf(sign * (d1 - deviation)))

    return run


def torch_greeks(torch: Any) -> Callable[[Columns, int], Any]:
    """Price and seven Greeks in eager torch, shared terms computed once."""

    def run(columns: Columns, threads: int) -> Any:
        torch.set_num_threads(threads)
        forward, strike, tau, vol, discount, sign = (torch.from_numpy(column) for column in columns)
        root = torch.sqrt(tau)
        deviation = vol * root
        d1 = torch.log(forward / strike) / deviation + 0.5 * deviation
        d2 = d1 - deviation
        first, second = torch.special.ndtr(sign * d1), torch.special.ndtr(sign * d2)
        density = discount * INVERSE_SQRT_TWO_PI * torch.exp(-0.5 * d1 * d1)
        rate = -torch.log(discount) / tau
        price = discount * sign * (forward * first - strike * second)
        vega = density * forward * root
        theta = rate * price - 0.5 * density * forward * vol / root
        rho = sign * tau * strike * discount * second
        gamma = density / (forward * deviation)
        return price, discount * sign * first, gamma, vega, theta, rho, -density * d2 / vol, vega * d1 * d2 / vol

    return run


def quantlib_price(ql: Any) -> Callable[[Columns, int], Any]:
    """A loop over blackFormula."""

    def run(columns: Columns, threads: int) -> Any:
        forward, strike, tau, vol, discount, sign = columns
        kinds = [ql.Option.Call if s > 0 else ql.Option.Put for s in sign]
        terms = zip(kinds, strike.tolist(), forward.tolist(), (vol * np.sqrt(tau)).tolist(), discount.tolist(),
                    strict=True)  # fmt: skip
        return np.array([ql.blackFormula(*row) for row in terms])

    return run


def quantlib_implied(ql: Any) -> Callable[[Columns, int], Any]:
    """A loop over blackFormulaImpliedStdDev with its defaults; NaN where it raises."""

    def one(kind: Any, strike: float, forward: float, price: float, discount: float) -> float:
        try:
            return ql.blackFormulaImpliedStdDev(kind, strike, forward, price, discount)
        except RuntimeError:
            return np.nan

    def run(columns: Columns, threads: int) -> Any:
        price, forward, strike, tau, discount, sign = columns
        kinds = [ql.Option.Call if s > 0 else ql.Option.Put for s in sign]
        terms = zip(kinds, strike.tolist(), forward.tolist(), price.tolist(), discount.tolist(), strict=True)
        return np.array([one(*row) for row in terms]) / np.sqrt(tau)

    return run


def iv_engine_price(engine: Any) -> Callable[[Columns, int], Any]:
    """iv-engine prices calls and puts in separate calls, undiscounted."""

    def run(columns: Columns, threads: int) -> Any:
        forward, strike, tau, vol, discount, sign = columns
        result = np.empty(len(sign))
        for call in (True, False):
            rows = (sign > 0) == call
            terms = (forward[rows], strike[rows], tau[rows], vol[rows])
            result[rows] = engine.black_prices(*terms, is_call=call, parallel=threads > 1)
        return discount * result

    return run


def iv_engine_implied(engine: Any) -> Callable[[Columns, int], Any]:
    """iv-engine inverts calls and puts in separate calls, undiscounted."""

    def run(columns: Columns, threads: int) -> Any:
        price, forward, strike, tau, discount, sign = columns
        result, undiscounted = np.empty(len(sign)), price / discount
        for call in (True, False):
            rows = (sign > 0) == call
            terms = (undiscounted[rows], forward[rows], strike[rows], tau[rows])
            result[rows] = engine.implied_volatilities(*terms, is_call=call, parallel=threads > 1)
        return result

    return run


def lbriv_implied(lbriv: Any) -> Callable[[Columns, int], Any]:
    """lbriv inverts one strike and one side a call: everything in units of the strike."""

    def run(columns: Columns, threads: int) -> Any:
        price, forward, strike, tau, discount, sign = columns
        result, scaled, moneyness = np.empty(len(sign)), price / (discount * strike), forward / strike
        for side in (1, -1):
            rows = sign == side
            result[rows] = lbriv.vectorized_implied_vol(scaled[rows], moneyness[rows], 1.0, side)
        return result / np.sqrt(tau)

    return run


def pyvolr_implied(pyvolr: Any) -> Callable[[Columns, int], Any]:
    """pyvolr takes flags and a rate."""

    def run(columns: Columns, threads: int) -> Any:
        price, forward, strike, tau, discount, sign = columns
        flags = np.where(sign > 0, "c", "p")
        return pyvolr.implied_vol(price, flags, forward, strike, tau, -np.log(discount) / tau, on_error="ignore")

    return run


def price_peers() -> dict[str, Peer]:
    """Who else prices."""
    peers = {"numpy + scipy": Peer(numpy_price, None, "numpy")}
    if torch := installed("torch"):
        peers["torch eager"] = Peer(torch_price(torch), None, "torch")
    if engine := installed("iv_engine"):
        peers["iv-engine"] = Peer(iv_engine_price(engine), None, "iv-engine")
    if ql := installed("QuantLib"):
        peers["QuantLib blackFormula loop"] = Peer(quantlib_price(ql), LOOP_ROWS, "QuantLib")
    return peers


def greek_peers() -> dict[str, Peer]:
    """Who else computes the price and seven Greeks."""
    peers = {"numpy + scipy, shared terms": Peer(numpy_greeks, None, "numpy")}
    if torch := installed("torch"):
        peers["torch eager, shared terms"] = Peer(torch_greeks(torch), None, "torch")
    return peers


def implied_peers() -> dict[str, Peer]:
    """Who else inverts."""
    peers = {}
    if engine := installed("iv_engine"):
        peers["iv-engine"] = Peer(iv_engine_implied(engine), None, "iv-engine")
    if lbriv := installed("lbriv"):
        peers["lbriv"] = Peer(lbriv_implied(lbriv), None, "lbriv")
    if pyvolr := installed("pyvolr.black76"):
        peers["pyvolr"] = Peer(pyvolr_implied(pyvolr), None, "pyvolr")
    if ql := installed("QuantLib"):
        peers["QuantLib ImpliedStdDev loop"] = Peer(quantlib_implied(ql), LOOP_ROWS, "QuantLib")
    return peers
