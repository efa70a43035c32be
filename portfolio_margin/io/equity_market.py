"""A listed equity option chain as a market to margin books on: the stock, and calls and puts at every quoted strike."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import numpy as np

from portfolio_margin.io.dividends import NONE, Dividends
from portfolio_margin.io.equity_chain import EquityChain
from portfolio_margin.io.tables import refuse
from pricing.errors import ConfigError
from pricing.instruments import Exercise, Instruments, Kind, Payoff
from pricing.market import UNDATED, Market

SHARES_PER_CONTRACT = 100.0
MARGIN_CURRENCY = "USD"


def equity_market(
    chain: EquityChain,
    underlying: str,
    *,
    spot: float,
    valuation_time: datetime,
    rate: float = 0.0,
    exercise: Exercise = Exercise.AMERICAN,
    shares_per_contract: float = SHARES_PER_CONTRACT,
    every_strike: bool = False,
    fx: Mapping[str, float] | None = None,
    dividends: Dividends = NONE,
) -> tuple[Instruments, Market]:
    """Instruments and market of a chain that `read_equity_chain` has read.

    underlying           name of the stock; its row has this name, options UNDERLYING-YYYY-MM-DD-STRIKE-C or -P
    spot                 price of the stock, US dollars
    valuation_time, rate as the chain was read with
    exercise             of the options
    shares_per_contract  what one option is on
    every_strike         also list strikes that are not quoted on both sides, without a vol: for a market that is to
                         have slices
    fx                   US dollars per unit of further currencies, which can be held
    dividends            known ones in cash, from `read_dividends`; those before the valuation time do not count

    A strike quoted on both sides gives a call and a put at its mid vol; other quotes are left out. DataError where
    none is left.
    """
    quotes = chain.quotes
    vol = 0.5 * (quotes.bid_vol + quotes.ask_vol)
    good = np.isfinite(vol) & (quotes.bid_vol > 0) & (quotes.ask_vol >= quotes.bid_vol)
    if not good.any():
        refuse(chain.source, "bid", "none", "no option is quoted on both sides")
    days = chain.expiry_ms.astype("datetime64[ms]").astype("datetime64[D]").astype(str)
    undated = len(days)
    currencies = {MARGIN_CURRENCY: 1.0, **_checked(fx or {}, underlying)}
    rows: list[dict[str, Any]] = [
        {**_row(name, Kind.CASH, -1, -1, 1e-8), "currency_idx": c} for c, name in enumerate(currencies)
    ]
    rows.append(_row(underlying, Kind.SPOT, 0, undated, 1e-4))
    vols = [np.nan] * len(rows)
    taken, vol = good | every_strike, np.where(good, vol, np.nan)
    listed = zip(quotes.expiry_idx[taken].tolist(), quotes.strike[taken].tolist(), vol[taken].tolist(), strict=True)
    for (x, strike), mid in sorted({(x, strike): mid for x, strike, mid in listed}.items()):
        for sign, letter in ((1.0, "C"), (-1.0, "P")):
            row = _row(f"{underlying}-{days[x]}-{strike:g}-{letter}", Kind.OPTION, 0, x, 1.0)
            terms = {"strike": strike, "sign": sign, "multiplier": shares_per_contract, "exercise": int(exercise)}
            rows.append({**row, **terms})
            vols.append(mid)
    discount = np.exp(-rate * chain.expiries.tau)
    moment = int(valuation_time.timestamp() * 1000)
    ahead = dividends.after(moment)
    market = Market(
        valuation_time=moment,
        underlying_id=np.array([underlying]),
        spot=np.array([spot]),
        expiry_underlying=np.zeros(undated + 1, dtype=np.int64),
        expiry_time=np.append(chain.expiry_ms, UNDATED),
        forward=np.append(chain.forwards.forward, spot),
        discount=np.append(discount, 1.0),
        svi=np.full((undated + 1, 5), np.nan),
        mark_vol=np.array(vols),
        currency_id=np.array(list(currencies)),
        fx=np.array(list(currencies.values())),
        currency_underlying=np.full(len(currencies), -1),
        dividend_underlying=np.zeros_like(ahead.time_ms),
        dividend_time=ahead.time_ms,
        dividend=ahead.amount,
    )
    return Instruments(**{name: np.array([row[name] for row in rows]) for name in rows[0]}), market


def _checked(fx: Mapping[str, float], underlying: str) -> Mapping[str, float]:
    taken = sorted({MARGIN_CURRENCY, underlying} & set(fx))
    if taken:
        raise ConfigError(f"--fx {taken[0]} (fx= in Python): the market has it already; leave it out")
    return fx


def _row(name: str, kind: Kind, underlying: int, expiry: int, step: float) -> dict[str, Any]:
    return {
        "instrument_id": name,
        "kind": int(kind),
        "payoff": int(Payoff.LINEAR),
        "underlying_idx": underlying,
        "expiry_idx": expiry,
        "strike": np.nan,
        "sign": 1.0,
        "exercise": int(Exercise.EUROPEAN),
        "multiplier": 1.0,
        "quantity_step": step,
        "currency_idx": 0,
    }
