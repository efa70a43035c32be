"""A listed equity option chain as a market to margin books on: the stock, and calls and puts at every quoted strike."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import numpy as np

from portfolio_margin.io.dividends import NONE, Dividends
from portfolio_margin.io.equity_chain import EquityChain
from portfolio_margin.io.tables import refuse
from pricing.arrays import FloatArray
from pricing.errors import ConfigError
from pricing.instruments import Exercise, Instruments, Kind, Payoff
from pricing.market import UNDATED, Market

SHARES_PER_CONTRACT = 100.0
MARGIN_CURRENCY = "USD"
# Between a forward and the spot carried at the rate: a dividend that is not known and a stale price, and a year's
# dividends or fee for borrowing. Twice what is usual in large companies is told, what only distress explains refused.
LARGEST_GAP, LARGEST_GAP_RATE = 0.05, 0.5
TOLD_GAP, TOLD_GAP_RATE = 0.01, 0.1


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

    A strike quoted on both sides gives a call and a put at its mid vol; other quotes are left out, DataError where none
    is left. ConfigError where the spot contradicts the forwards, see `forward_gaps`.
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
    moment = int(valuation_time.timestamp() * 1000)
    ahead = dividends.after(moment)
    _check_spot(chain, underlying, spot, rate, ahead)
    market = Market(
        valuation_time=moment,
        underlying_id=np.array([underlying]),
        spot=np.array([spot]),
        expiry_underlying=np.zeros(undated + 1, dtype=np.int64),
        expiry_time=np.append(chain.expiry_ms, UNDATED),
        forward=np.append(chain.forwards.forward, spot),
        discount=np.append(np.exp(-rate * chain.expiries.tau), 1.0),
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


def forward_gaps(chain: EquityChain, spot: float, rate: float, ahead: Dividends) -> tuple[FloatArray, FloatArray]:
    """(X,) ln of each forward less that of the spot carried at the rate, and what known dividends explain of it."""
    paid = np.array([ahead.amount[ahead.time_ms < time].sum() for time in chain.expiry_ms]) / spot
    return np.log(chain.forwards.forward / spot) - rate * chain.expiries.tau, paid


def _check_spot(chain: EquityChain, underlying: str, spot: float, rate: float, ahead: Dividends) -> None:
    if not 0.0 < spot < np.inf:
        return  # the market refuses it
    gap, paid = forward_gaps(chain, spot, rate, ahead)
    explained = LARGEST_GAP + LARGEST_GAP_RATE * chain.expiries.tau + paid
    beyond = np.flatnonzero(np.abs(gap) > explained)
    if len(beyond):
        x = beyond[0]
        day = chain.expiry_ms[x].astype("datetime64[ms]").astype("datetime64[D]")
        raise ConfigError(
            f"spot = {spot:g} of {underlying}: the quotes of {day} imply a forward of {chain.forwards.forward[x]:.6g}, "
            f"{np.expm1(gap[x]):+.1%} from spot and rate, further from the spot than dividends or a fee for borrowing "
            f"explain ({np.expm1(explained[x]):.1%}); check the price, its moment and the rate"
        )


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
