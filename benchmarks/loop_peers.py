"""Packages whose functions take one option at a time, in Python loops from arrays to arrays: QuantLib and vollib.

Taking the arrays apart is part of a loop's time; it is done in the fastest way there is, list by list.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.contestants import LOOP_ROWS, Columns, Peer, installed
from benchmarks.peer_columns import FIVE, FIVE_FORWARD_HELD, TRADER_UNITS, quotes_with_flags, with_flags


def _quantlib_kinds(ql: Any, sign: np.ndarray) -> list[Any]:
    call, put = ql.Option.Call, ql.Option.Put
    return [call if s > 0 else put for s in sign.tolist()]


def quantlib_price(ql: Any) -> Peer:
    def arguments(columns: Columns) -> Any:
        forward, strike, tau, vol, discount, sign = columns
        lists = (column.tolist() for column in (strike, forward, vol * np.sqrt(tau), discount))
        return list(zip(_quantlib_kinds(ql, sign), *lists, strict=True))

    def run(columns: Columns, threads: int) -> Any:
        return np.array([ql.blackFormula(*row) for row in arguments(columns)])

    return Peer(run, LOOP_ROWS, "QuantLib")


def quantlib_greeks(ql: Any) -> Peer:
    """BlackCalculator: price and five Greeks."""

    def arguments(columns: Columns) -> Any:
        forward, strike, tau, vol, discount, sign = columns
        pairs = zip(_quantlib_kinds(ql, sign), strike.tolist(), strict=True)
        payoffs = [ql.PlainVanillaPayoff(kind, k) for kind, k in pairs]
        lists = (column.tolist() for column in (forward, vol * np.sqrt(tau), discount, tau))
        return list(zip(payoffs, *lists, strict=True))

    def one(payoff: Any, forward: float, deviation: float, discount: float, tau: float) -> tuple[float, ...]:
        of = ql.BlackCalculator(payoff, forward, deviation, discount)
        return (of.value(), of.deltaForward(), of.gammaForward(), of.vega(tau), of.theta(forward, tau), of.rho(tau))

    def run(columns: Columns, threads: int) -> Any:
        return tuple(np.array([one(*row) for row in arguments(columns)]).T)

    return Peer(run, LOOP_ROWS, "QuantLib", fields=FIVE)


def quantlib_implied(ql: Any) -> Peer:
    """blackFormulaImpliedStdDev with its defaults; NaN where it raises."""

    def arguments(columns: Columns) -> Any:
        price, forward, strike, tau, discount, sign = columns
        lists = (column.tolist() for column in (strike, forward, price, discount))
        return list(zip(_quantlib_kinds(ql, sign), *lists, strict=True)), np.sqrt(tau)

    def one(*row: Any) -> float:
        try:
            return ql.blackFormulaImpliedStdDev(*row)
        except RuntimeError:
            return np.nan

    def run(columns: Columns, threads: int) -> Any:
        rows, root = arguments(columns)
        return np.array([one(*row) for row in rows]) / root

    return Peer(run, LOOP_ROWS, "QuantLib")


# vollib: scalar functions in a loop, vega and rho per 1 %, theta per day.


def _vollib_rows(columns: Columns) -> Any:
    flags, *numbers, _ = with_flags(columns)
    return list(zip(flags.tolist(), *(number.tolist() for number in numbers), strict=True))


def vollib_functions() -> Any:
    """Its functions as they are now: py_vollib_vectorized puts its own in their places when it is imported."""
    if not (black := installed("vollib.black")):
        return None
    from vollib.black.greeks import analytical
    from vollib.black.implied_volatility import implied_volatility

    greeks = tuple(getattr(analytical, name) for name in ("delta", "gamma", "vega", "theta", "rho"))
    return {"price": black.black, "greeks": (black.black, *greeks), "implied_vol": implied_volatility}


def vollib_price(vollib: Any) -> Peer:
    price = vollib["price"]
    return Peer(lambda columns, _: np.array([price(*row) for row in _vollib_rows(columns)]), LOOP_ROWS, "vollib")


def vollib_greeks(vollib: Any) -> Peer:
    def run(columns: Columns, threads: int) -> Any:
        rows = _vollib_rows(columns)
        return tuple(np.array([function(*row) for row in rows]) for function in vollib["greeks"])

    return Peer(run, LOOP_ROWS, "vollib", fields=FIVE_FORWARD_HELD, units=TRADER_UNITS)


def vollib_implied(vollib: Any) -> Peer:
    """NaN where it raises, which it does for prices out of bounds."""
    invert = vollib["implied_vol"]

    def arguments(columns: Columns) -> Any:
        price, forward, strike, tau, rate, flags = quotes_with_flags(columns)
        return list(zip(*(column.tolist() for column in (price, forward, strike, rate, tau, flags)), strict=True))

    def one(*row: Any) -> float:
        try:
            return invert(*row)
        except Exception:
            return np.nan

    return Peer(lambda columns, _: np.array([one(*row) for row in arguments(columns)]), LOOP_ROWS, "vollib")
