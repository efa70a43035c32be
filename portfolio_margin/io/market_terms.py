"""Do the contracts of a market file say what their names say, and are their vols of one kind?

A name that a venue's grammar reads states strike, type, date and settlement; a file that states them otherwise
margins another contract than the one that is held. Names that no grammar reads are taken as they are.
"""

from __future__ import annotations

import numpy as np

from portfolio_margin.io.symbols import FUTURE, GRAMMARS, OPTION, PERPETUAL, SymbolRecord
from pricing.arrays import row_problems
from pricing.errors import Problem
from pricing.instruments import Instruments, Kind, Payoff
from pricing.market import UNDATED, Market
from pricing.market_limits import VOL_RATIO

KIND_OF = {OPTION: Kind.OPTION, FUTURE: Kind.FUTURE, PERPETUAL: Kind.PERPETUAL}


def contradictions(instruments: Instruments, market: Market) -> list[Problem]:
    """Every contract whose terms are not those of its name, and every vol far from the others of its expiry."""
    problems = []
    for row in np.flatnonzero(~instruments.is_collateral):
        name = str(instruments.instrument_id[row])
        nearest: list[tuple[str, object, str]] | None = None
        for parse, _ in GRAMMARS.values():
            record = parse(name)
            if record is None or record.kind not in KIND_OF:
                continue
            found = _differences(record, instruments, market, int(row))
            nearest = found if nearest is None or len(found) < len(nearest) else nearest
            if not found:  # one reading that agrees is enough
                break
        problems += [Problem("instruments", name, *difference) for difference in nearest or []]
    return problems + _stray_vols(instruments, market)


def _differences(
    record: SymbolRecord, instruments: Instruments, market: Market, row: int
) -> list[tuple[str, object, str]]:
    """(field, value, remedy) of every term that this reading of the name contradicts."""
    expiry = instruments.expiry_idx[row]
    time = market.expiry_time[expiry] if expiry >= 0 else UNDATED
    date = None if time == UNDATED else str(np.datetime64(int(time), "ms").astype("datetime64[D]"))
    underlying = instruments.underlying_idx[row]
    named_date = None
    if record.expiry_ms is not None:
        named_date = str(np.datetime64(record.expiry_ms, "ms").astype("datetime64[D]"))
    stated = {
        "kind": (Kind(instruments.kind[row]).name.lower(), KIND_OF[record.kind].name.lower()),
        "strike": (_number(instruments.strike[row]), record.strike),
        "option_type": ("C" if instruments.sign[row] > 0 else "P", record.option_type),
        "expiry": (date, named_date),
        "payoff": (Payoff(instruments.payoff[row]).name.lower(), "inverse" if record.inverse else "linear"),
        "currency": (str(market.currency_id[instruments.currency_idx[row]]), record.settle),
        "multiplier": (float(instruments.multiplier[row]), record.multiplier),
        "underlying": (str(market.underlying_id[underlying]) if underlying >= 0 else "", record.underlying),
    }
    for name, untold in (("option_type", record.option_type), ("multiplier", record.multiplier)):
        if untold is None:  # the name does not say
            del stated[name]
    differs = {name: pair for name, pair in stated.items() if pair[0] != pair[1]}
    if "underlying" in differs and str(differs["underlying"][0]).startswith(record.underlying):
        del differs["underlying"]  # BTC_USDC, BTC/USD: an index of that coin
    return [(name, value, f"the name of the contract says {named}") for name, (value, named) in differs.items()]


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _stray_vols(instruments: Instruments, market: Market) -> list[Problem]:
    vol = market.mark_vol
    given = instruments.is_option & (vol > 0)
    typical = np.full(len(vol), np.nan)
    for expiry in np.unique(instruments.expiry_idx[given]):
        here = given & (instruments.expiry_idx == expiry)
        typical[here] = np.median(vol[here])
    with np.errstate(invalid="ignore"):
        stray = given & ((vol > VOL_RATIO * typical) | (vol * VOL_RATIO < typical))
    remedy = f"more than {VOL_RATIO:g} times apart from the median vol of its expiry: a slip of the decimal point?"
    return row_problems("instruments", "mark_vol", stray, vol, remedy, instruments.instrument_id)
