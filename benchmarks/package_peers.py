"""Packages that price and invert, each in the fastest form that its documentation shows.

Input that a package wants in another form (flags, rates, total vols, calls apart from puts, lists) is brought there
beforehand and not timed; what it returns is brought back into the order of rows, which is. Columns are (forward,
strike, tau, vol, discount, sign) and for implied vols (price, forward, strike, tau, discount, sign).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np

from benchmarks.contestants import SLOW_ROWS, Columns, Peer, installed
from benchmarks.loop_peers import (
    quantlib_greeks,
    quantlib_implied,
    quantlib_price,
    vollib_functions,
    vollib_greeks,
    vollib_implied,
    vollib_price,
)
from benchmarks.peer_columns import (
    FIVE,
    FIVE_FORWARD_HELD,
    TRADER_UNITS,
    Sides,
    by_side,
    joined,
    quotes_with_flags,
    rate_of,
    with_flags,
)

WIDEST_VOLS = (1e-9, 1e3)


# py_vollib_vectorized: "black" is not discounted whatever the rate says.


def _vectorized_price(package: Any) -> Peer:
    def prepare(columns: Columns) -> Any:
        flags, *numbers = with_flags(columns)
        return flags.tolist(), *numbers

    def run(prepared: Any, threads: int) -> Any:
        *given, discount = prepared
        return discount * package.vectorized_black(*given, return_as="numpy")

    return Peer(run, SLOW_ROWS, "py-vollib-vectorized", prepare)


def _vectorized_implied(package: Any) -> Peer:
    def prepare(columns: Columns) -> Any:
        *numbers, flags = quotes_with_flags(columns)
        return *numbers, flags.tolist()

    def run(prepared: Any, threads: int) -> Any:
        return package.vectorized_implied_volatility(*prepared, model="black", on_error="ignore", return_as="numpy")

    return Peer(run, SLOW_ROWS, "py-vollib-vectorized", prepare)


# fast-vollib: flags, a backend by name; vega and rho per 1 %, theta per day.


def _fast_vollib_price(package: Any, backend: str) -> Peer:
    def run(prepared: Any, threads: int) -> Any:
        numba.set_num_threads(threads)
        return package.fast_black(*prepared[:-1], return_as="numpy", backend=backend)

    return Peer(run, None, "fast-vollib", with_flags)


def _fast_vollib_greeks(package: Any, backend: str) -> Peer:
    """Price and all five Greeks are two calls."""

    def run(prepared: Any, threads: int) -> Any:
        numba.set_num_threads(threads)
        price = package.fast_black(*prepared[:-1], return_as="numpy", backend=backend)
        found = package.get_all_greeks(*prepared[:-1], model="black", return_as="dict", backend=backend)
        return price, *(found[name] for name in FIVE[1:])

    return Peer(run, None, "fast-vollib", with_flags, FIVE, TRADER_UNITS)


def _fast_vollib_implied(package: Any, backend: str) -> Peer:
    def run(prepared: Any, threads: int) -> Any:
        numba.set_num_threads(threads)
        return package.fast_implied_volatility(
            *prepared, on_error="ignore", model="black", return_as="numpy", backend=backend
        )

    return Peer(run, SLOW_ROWS, "fast-vollib", quotes_with_flags)


def _fast_vollib_jackel() -> Peer:
    """Its other solver, on undiscounted prices."""
    from fast_vollib.jackel import jackel_iv_black

    def prepare(columns: Columns) -> Any:
        price, forward, strike, tau, discount, sign = columns
        return price / discount, forward, strike, tau, sign > 0

    def run(prepared: Any, threads: int) -> Any:
        numba.set_num_threads(threads)
        return jackel_iv_black(*prepared)

    return Peer(run, SLOW_ROWS, "fast-vollib", prepare)


# quantkit-rs: Black-Scholes-Merton with the rate as dividend yield is Black-76; one side a call.


def _quantkit_terms(columns: Columns) -> Sides:
    forward, strike, tau, vol, discount, sign = columns
    rate = rate_of(tau, discount)
    return by_side((forward, strike, rate, vol, tau, rate), sign)


def _quantkit_price(quantkit: Any) -> Peer:
    def run(sides: Any, threads: int) -> Any:
        return joined([(rows, quantkit.bs_price_batch(*terms[:5], call, terms[5])) for call, rows, terms in sides])

    return Peer(run, SLOW_ROWS, "quantkit-rs", _quantkit_terms)


def _quantkit_greeks(quantkit: Any) -> Peer:
    """Price and five Greeks are two calls a side."""

    def run(sides: Any, threads: int) -> Any:
        prices, greeks = [], []
        for call, rows, terms in sides:
            prices.append((rows, quantkit.bs_price_batch(*terms[:5], call, terms[5])))
            greeks.append((rows, quantkit.bs_greeks_batch(*terms[:5], call, terms[5])))
        return joined(prices), *(joined([(rows, found[name]) for rows, found in greeks]) for name in FIVE[1:])

    return Peer(run, SLOW_ROWS, "quantkit-rs", _quantkit_terms, FIVE)


def _quantkit_implied(quantkit: Any) -> Peer:
    def prepare(columns: Columns) -> Any:
        price, forward, strike, tau, discount, sign = columns
        rate = rate_of(tau, discount)
        return by_side((price, forward, strike, rate, tau, rate), sign)

    def run(sides: Any, threads: int) -> Any:
        return joined(
            [(rows, quantkit.implied_vol_batch(*terms[:5], call, terms[5], "nan")) for call, rows, terms in sides]
        )

    return Peer(run, SLOW_ROWS, "quantkit-rs", prepare)


# iv-engine: undiscounted, one side a call, one Greek a call.


def _iv_engine_terms(columns: Columns) -> Any:
    forward, strike, tau, vol, discount, sign = columns
    return by_side((forward, strike, tau, vol), sign), discount


def _iv_engine_price(engine: Any) -> Peer:
    def run(prepared: Any, threads: int) -> Any:
        sides, discount = prepared
        return discount * joined(
            [(rows, engine.black_prices(*terms, call, threads > 1)) for call, rows, terms in sides]
        )

    return Peer(run, None, "iv-engine", _iv_engine_terms)


def _iv_engine_greeks(engine: Any) -> Peer:
    """Price and delta by side; gamma, vega, vanna and vomma are those of both sides."""
    of_a_side, of_both = (
        (engine.black_prices, engine.deltas),
        (
            engine.gammas,
            engine.vegas,
            engine.vannas,
            engine.vommas,
        ),
    )

    def prepare(columns: Columns) -> Any:
        return *_iv_engine_terms(columns), columns[:4]

    def run(prepared: Any, threads: int) -> Any:
        (sides, discount, terms), parallel = prepared, threads > 1
        first = [
            joined([(rows, function(*side, call, parallel)) for call, rows, side in sides]) for function in of_a_side
        ]
        return tuple(discount * values for values in (*first, *(function(*terms, parallel) for function in of_both)))

    return Peer(run, None, "iv-engine", prepare, ("price", "delta", "gamma", "vega", "vanna", "volga"))


def _iv_engine_implied(engine: Any) -> Peer:
    def prepare(columns: Columns) -> Any:
        price, forward, strike, tau, discount, sign = columns
        return by_side((price / discount, forward, strike, tau), sign)

    def run(sides: Any, threads: int) -> Any:
        return joined([(rows, engine.implied_volatilities(*terms, call, threads > 1)) for call, rows, terms in sides])

    return Peer(run, None, "iv-engine", prepare)


def _lbriv_implied(lbriv: Any) -> Peer:
    """lbriv inverts one strike and one side a call, to a total vol: everything in units of the strike."""

    def prepare(columns: Columns) -> Any:
        price, forward, strike, tau, discount, sign = columns
        return by_side((price / (discount * strike), forward / strike, np.sqrt(tau)), sign)

    def run(sides: Any, threads: int) -> Any:
        return joined(
            [
                (rows, lbriv.vectorized_implied_vol(scaled, moneyness, 1.0, 1 if call else -1) / root)
                for call, rows, (scaled, moneyness, root) in sides
            ]
        )

    return Peer(run, None, "lbriv", prepare)


# pyvolr: signs and a rate; its rho holds the forward.


def _pyvolr_terms(columns: Columns) -> Any:
    forward, strike, tau, vol, discount, sign = columns
    return sign, forward, strike, tau, rate_of(tau, discount), vol


def _pyvolr_price(black76: Any) -> Peer:
    return Peer(lambda terms, _: black76.price(*terms), SLOW_ROWS, "pyvolr", _pyvolr_terms)


def _pyvolr_greeks(black76: Any) -> Peer:
    def run(terms: Any, threads: int) -> Any:
        found = black76.greeks(*terms)
        return black76.price(*terms), *(found[name] for name in FIVE[1:])

    return Peer(run, SLOW_ROWS, "pyvolr", _pyvolr_terms, FIVE_FORWARD_HELD)


def _pyvolr_implied(black76: Any) -> Peer:
    def prepare(columns: Columns) -> Any:
        price, forward, strike, tau, discount, sign = columns
        return price, sign, forward, strike, tau, rate_of(tau, discount)

    return Peer(lambda terms, _: black76.implied_vol(*terms, on_error="ignore"), SLOW_ROWS, "pyvolr", prepare)


# vanilla-option-pricers: scalar functions for numba loops, here over all threads; bounds of vols set wide.


def _compiled(loop: Callable[..., None]) -> Callable[[Any, int], Any]:
    def run(columns: Any, threads: int) -> Any:
        numba.set_num_threads(threads)
        out = np.empty(len(columns[0]))
        loop(columns, out)
        return out

    return run


def _pricers_price(package: Any) -> Peer:
    price = package.compute_bsm_vanilla_price

    @numba.njit(parallel=True)
    def loop(columns, out):
        forward, strike, tau, vol, discount, sign = columns
        for i in numba.prange(len(out)):
            if sign[i] > 0:
                out[i] = price(forward[i], strike[i], tau[i], vol[i], "C", discount[i])
            else:
                out[i] = price(forward[i], strike[i], tau[i], vol[i], "P", discount[i])

    return Peer(_compiled(loop), None, "vanilla-option-pricers")


def _pricers_implied(package: Any) -> Peer:
    infer, (low, high) = package.infer_bsm_implied_vol, WIDEST_VOLS

    @numba.njit(parallel=True)
    def loop(columns, out):
        price, forward, strike, tau, discount, sign = columns
        for i in numba.prange(len(out)):
            if sign[i] > 0:
                out[i] = infer(forward[i], tau[i], strike[i], price[i], discount[i], "C", 1e-8, low, high)
            else:
                out[i] = infer(forward[i], tau[i], strike[i], price[i], discount[i], "P", 1e-8, low, high)

    return Peer(_compiled(loop), None, "vanilla-option-pricers")


MODULES = ("QuantLib", "py_vollib_vectorized", "fast_vollib", "quantkit", "iv_engine", "lbriv", "pyvolr.black76",
           "vanilla_option_pricers")  # fmt: skip


def packages() -> dict[str, Any]:
    """Every package that is installed, by the name of its module; the others are named and left out."""
    vollib = vollib_functions()
    found = {"vollib": vollib} if vollib else {}
    return found | {name: module for name in MODULES if (module := installed(name))}


def package_prices(found: dict[str, Any]) -> dict[str, Peer]:
    """Who else prices."""
    peers = {
        "iv-engine": ("iv_engine", _iv_engine_price),
        "fast-vollib, numba": ("fast_vollib", lambda package: _fast_vollib_price(package, "numba")),
        "fast-vollib, jax": ("fast_vollib", lambda package: _fast_vollib_price(package, "jax")),
        "vanilla-option-pricers, numba loop": ("vanilla_option_pricers", _pricers_price),
        "py_vollib_vectorized": ("py_vollib_vectorized", _vectorized_price),
        "quantkit-rs": ("quantkit", _quantkit_price),
        "pyvolr": ("pyvolr.black76", _pyvolr_price),
        "QuantLib blackFormula loop": ("QuantLib", quantlib_price),
        "vollib loop": ("vollib", vollib_price),
    }
    return {name: make(found[module]) for name, (module, make) in peers.items() if module in found}


def package_greeks(found: dict[str, Any]) -> dict[str, Peer]:
    """Who else computes Greeks; how many of the eight fields is stated with the errors."""
    peers = {
        "fast-vollib, numba": ("fast_vollib", lambda package: _fast_vollib_greeks(package, "numba")),
        "iv-engine": ("iv_engine", _iv_engine_greeks),
        "quantkit-rs": ("quantkit", _quantkit_greeks),
        "pyvolr": ("pyvolr.black76", _pyvolr_greeks),
        "QuantLib BlackCalculator loop": ("QuantLib", quantlib_greeks),
        "vollib loop": ("vollib", vollib_greeks),
    }
    return {name: make(found[module]) for name, (module, make) in peers.items() if module in found}


def package_vols(found: dict[str, Any]) -> dict[str, Peer]:
    """Who else inverts."""
    peers = {
        "iv-engine": ("iv_engine", _iv_engine_implied),
        "lbriv": ("lbriv", _lbriv_implied),
        "vanilla-option-pricers, numba loop": ("vanilla_option_pricers", _pricers_implied),
        "fast-vollib, numba": ("fast_vollib", lambda package: _fast_vollib_implied(package, "numba")),
        "fast-vollib, jackel": ("fast_vollib", lambda package: _fast_vollib_jackel()),
        "py_vollib_vectorized": ("py_vollib_vectorized", _vectorized_implied),
        "pyvolr": ("pyvolr.black76", _pyvolr_implied),
        "quantkit-rs": ("quantkit", _quantkit_implied),
        "QuantLib ImpliedStdDev loop": ("QuantLib", quantlib_implied),
        "vollib loop": ("vollib", vollib_implied),
    }
    return {name: make(found[module]) for name, (module, make) in peers.items() if module in found}
