"""Greeks of contracts, positions and accounts.

A contract's Greeks are per unit of underlying. Multiplier and quantity enter once, in `position_greeks`, where
amounts also become margin currency; sums over positions follow from there.
"""

from __future__ import annotations

import itertools

import numpy as np

from portfolio_margin.book import Book
from pricing.arrays import DAYS_PER_YEAR, FloatArray, IntArray, row_problems
from pricing.cash_dividends import with_dividends
from pricing.errors import ConfigError, DataError, UnsolvedError
from pricing.greek_names import GREEK_NAMES, trader_units
from pricing.instruments import Exercise, Instruments, Kind
from pricing.market import Market
from pricing.price import default_threads, load_backend
from pricing.resolve import PricingInputs, model_columns, models_of, resolve

UNITS = ("trader", "raw")
REFERENCE_DAYS = 30.0

CONTRACT_UNIT = {
    "price": "quote ccy",
    "price_coin": "coin",
    "delta": "",
    "delta_pa": "coin",
    "gamma": "/ 1 quote ccy",
    "vega": "quote ccy / 1 vol pt",
    "theta": "quote ccy / day",
    "rho": "quote ccy / 1 %",
    "vanna": "delta / 1 vol pt",
    "volga": "vega / 1 vol pt",
    "charm": "delta / day",
}
# Sums of these mean something inside one underlying only.
UNDERLYING_UNIT = {
    "delta": "units",
    "delta_pa": "units",
    "gamma": "units / 1 quote ccy",
    "vanna": "units / 1 vol pt",
    "charm": "units / day",
}
# Sums of these mean something over any positions; "ccy" is the margin currency.
CASH_UNIT = {
    "delta_cash": "ccy",
    "gamma_cash_1pct": "ccy / 1 %",
    "vega": "ccy / 1 vol pt",
    "vega_norm": "ccy / 1 vol pt of 30 d",
    "theta": "ccy / day",
    "rho": "ccy / 1 %",
    "volga": "ccy / 1 vol pt^2",
}
POSITION_UNIT = {**UNDERLYING_UNIT, **CASH_UNIT}


def contract_greeks(
    instruments: Instruments, market: Market, *, units: str = "trader", backend: str = "numba"
) -> dict[str, FloatArray]:
    """Greeks of one unit of underlying of every contract, each (N,), in quote currency.

    Options by their pricing model on the forward of their expiry; for coin-settled options these are the
    Greeks of the quote-currency value, `price_coin` is the price in coin (NaN elsewhere). Everything else has a
    delta of 1 for the unit it stands for, 0 where no underlying moves it.
    delta_pa  premium-adjusted delta: delta less the coins the contract itself is worth; what is left to hedge
              for someone who counts in coin. Equal to delta where no coin is held: linear contracts, futures.
    units     "trader": vega and vanna per vol point, volga per vol point squared, theta and charm per day,
              rho per 1 %, theta of a day or the remaining life and no more than the value; "raw": per 1.00, per year.

    UnsolvedError naming every contract whose exercise boundary is not found; DataError those with early exercise on
    shares that pay known dividends in cash.
    """
    if units not in UNITS:
        raise ConfigError(f"units = {units!r}: must be one of {', '.join(UNITS)}")
    inputs = resolve(instruments, market)
    paying = with_dividends(instruments, market)
    if paying.any():
        remedy = (
            "its share pays known dividends before expiry, with which there are price, delta and gamma alone "
            "(american_with_dividends): leave the dividends out for Greeks by the yield of the forward"
        )
        names = instruments.instrument_id
        raise DataError(row_problems("instruments", "exercise", paying, instruments.exercise, remedy, names))
    named = _by_model(instruments, inputs, backend)
    paid_in_coin = (inputs.inverse > 0) & (inputs.settled == 0)
    coin_balance = (instruments.kind == Kind.CASH) & (market.currency_underlying[inputs.currency_idx] >= 0)
    named["delta"] = np.where(instruments.kind == Kind.CASH, coin_balance.astype(np.float64), named["delta"])
    coin = named["price"] / inputs.forward
    held = np.where(paid_in_coin, coin, np.where(coin_balance, 1.0, 0.0))
    if units == "trader":
        named = trader_units(named, inputs.tau)
    named["delta_pa"] = named["delta"] - held
    named["price_coin"] = np.where(paid_in_coin, coin, np.nan)
    return {name: named[name] for name in CONTRACT_UNIT}


def position_greeks(
    book: Book, instruments: Instruments, market: Market, contract: dict[str, FloatArray]
) -> dict[str, FloatArray]:
    """Greeks of every position of the book, each (P,), from `contract_greeks` in trader units.

    Units are in `POSITION_UNIT`. In units of underlying: delta, delta_pa, gamma, vanna, charm. In margin
    currency, an inverse contract at fx / forward: delta_cash (for a relative move of 1.00), gamma_cash_1pct
    (change of delta_cash for a move of 1 %, gamma alone), vega, theta, rho, volga, and vega_norm = vega *
    sqrt(30 / days), which makes vegas of different expiries comparable. delta_cash sums to the statement's
    delta_total.
    """
    inputs = resolve(instruments, market)
    row = book.instrument_idx
    units_held = book.quantity * inputs.multiplier[row]
    fx = market.fx[inputs.currency_idx]
    rate = (fx / np.where(inputs.inverse > 0, inputs.forward, 1.0))[row]
    coin_balance = (instruments.kind == Kind.CASH) & (market.currency_underlying[inputs.currency_idx] >= 0)
    # One unit of a coin balance moves with the coin itself, whose price is its fx.
    unit_price = np.where(coin_balance, 1.0, inputs.forward)[row]
    days = inputs.tau[row] * DAYS_PER_YEAR
    norm = np.sqrt(np.divide(REFERENCE_DAYS, days, out=np.zeros(len(row)), where=days > 0))
    result = {name: units_held * contract[name][row] for name in UNDERLYING_UNIT}
    # What is paid in the margin currency loses its coin value as the coin's price in quote currency rises.
    still = (inputs.inverse > 0) & (market.currency_underlying[inputs.currency_idx] < 0)
    moving = np.where(still[row], result["delta_pa"], result["delta"])
    result["delta_cash"] = moving * unit_price * rate
    result["gamma_cash_1pct"] = result["gamma"] * unit_price**2 * rate / 100.0
    for name in ("vega", "theta", "rho", "volga"):
        result[name] = units_held * contract[name][row] * rate
    result["vega_norm"] = result["vega"] * norm
    return {name: result[name] + 0.0 for name in POSITION_UNIT}


def sums_by(key: IntArray, positions: dict[str, FloatArray], count: int) -> dict[str, FloatArray]:
    """Sums of position Greeks (P,) over equal keys (P,) in [0, count), each (count,)."""
    return {
        name: np.asarray(np.bincount(key, weights=values, minlength=count), dtype=np.float64)
        for name, values in positions.items()
    }


def account_rows(book: Book) -> IntArray:
    """(P,) -> A, the account of each position."""
    return np.repeat(np.arange(len(book)), np.diff(book.position_ptr))


def _by_model(instruments: Instruments, inputs: PricingInputs, backend: str) -> dict[str, FloatArray]:
    """Raw Greeks of each row by its own pricing model."""
    module = load_backend("pricing", backend)
    names, models = models_of(instruments)
    table = np.empty((len(GREEK_NAMES), len(instruments)))
    # An option on the future has no carry, and without its column rho moves the future with the rate.
    on_future = instruments.exercise == Exercise.AMERICAN_ON_FUTURE
    for name, future in itertools.product(models, (False, True)):
        mask = (names == name) & (on_future == future)
        if not mask.any():
            continue
        model = models[name]
        columns = model_columns(model, inputs.rows(mask))[: 6 if future else None]
        try:
            table[:, mask] = module.greeks(model, columns, default_threads(int(mask.sum())))
        except UnsolvedError as error:
            raise error.named("instruments", instruments.instrument_id[mask]) from None
    return dict(zip(GREEK_NAMES, table, strict=True))
