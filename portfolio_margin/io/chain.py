"""Rows of a Deribit chain into one Snapshot: instruments, market, quotes.

The market of a snapshot says what its rows say: forward per expiry = median of the rows' own underlying prices,
spot = median of their index, discount 1, the venue's mark vol per option, no slices (`with_surface` adds them).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from portfolio_margin.io.chain_consistency import check_consistency
from portfolio_margin.io.chain_rows import (
    FUTURE_STEP,
    NO_TIME,
    ChainRows,
    Findings,
    check_rows,
    records_of,
    with_known_terms,
)
from portfolio_margin.io.symbols import FUTURE, OPTION, PERPETUAL, SymbolRecord, format_symbol, parse_symbol
from pricing.arrays import MILLISECONDS_PER_YEAR, FloatArray, IntArray, freeze_fields
from pricing.errors import ConfigError, DataError, Problem
from pricing.instruments import Exercise, Instruments, Kind, Payoff
from pricing.market import UNDATED, Market
from pricing.quotes import Quotes, quotes_from_prices

MARGIN_CURRENCY = "USD"
REFUSE, EXCLUDE = "refuse", "exclude"
KINDS = {OPTION: Kind.OPTION, FUTURE: Kind.FUTURE, PERPETUAL: Kind.PERPETUAL}
SYNTHETIC = "SYN."


@dataclass(frozen=True)
class ChainQuotes:
    """Option prices of a snapshot, one row per option: row i belongs to row i of the instruments.

    bid, ask, mark   settlement currency per unit of underlying (coin for inverse options), NaN = none
    forward, index_price   quote currency per unit, the row's own
    mark_vol         per sqrt(year), decimal, NaN = none
    time_ms          ms UTC of the row's own prices
    """

    bid: FloatArray
    ask: FloatArray
    mark: FloatArray
    forward: FloatArray
    index_price: FloatArray
    mark_vol: FloatArray
    time_ms: IntArray

    def __post_init__(self) -> None:
        floats = dict.fromkeys(("bid", "ask", "mark", "forward", "index_price", "mark_vol"), np.float64)
        freeze_fields(self, {**floats, "time_ms": np.int64})

    def __len__(self) -> int:
        return len(self.mark)


@dataclass(frozen=True)
class Snapshot:
    """One moment of a venue.

    source       what it was read from
    instruments  options first, by underlying, expiry, strike and type; then futures, perpetuals, cash
    market       without slices
    quotes       of the options
    excluded     rows left out on purpose, and why
    notes        what was added or assumed, for people
    left_out     the contracts that the rows left out are about, and why
    """

    source: str
    instruments: Instruments
    market: Market
    quotes: ChainQuotes
    excluded: tuple[Problem, ...]
    notes: tuple[str, ...]
    left_out: Mapping[str, str]


class _Listed(NamedTuple):
    """The contracts of a snapshot in the order of its instruments; position is the row of the source or -1."""

    name: list[str]
    record: list[SymbolRecord]
    position: IntArray
    multiplier: FloatArray
    quantity_step: FloatArray


def build_snapshot(
    rows: ChainRows,
    findings: Findings,
    source: str,
    *,
    valuation_time: int | None = None,
    on_bad_row: str = REFUSE,
    fx: Mapping[str, float] | None = None,
    notes: Sequence[str] = (),
) -> Snapshot:
    """The snapshot these rows describe.

    source          what messages and statements call it
    valuation_time  ms UTC, by default the median time of the rows
    on_bad_row      "refuse": DataError listing every bad row. "exclude": leave the bad ones out and list them
                    in `Snapshot.excluded`; problems that are no single row's are refused all the same
    fx              USD per unit of currencies that are no underlying coin, such as USDC or EUR; each can be held
    notes           what the reader added or assumed, for people
    """
    if on_bad_row not in (REFUSE, EXCLUDE):
        raise ConfigError(f'on_bad_row = {on_bad_row!r}: must be "refuse" or "exclude"')
    records = records_of(rows, findings)
    rows = with_known_terms(rows, records)
    timed = rows.time_ms[rows.time_ms != NO_TIME]
    if valuation_time is None:
        valuation_time = int(np.median(timed)) if len(timed) else 0
    check_rows(rows, records, valuation_time, findings)
    check_consistency(rows, records, valuation_time, findings)
    kept, out = _keep(rows, records, findings, on_bad_row)
    excluded = tuple(problem for _, problem in out)
    left_out = {str(rows.instrument[i]): f"{problem.field} = {problem.value!r}: {problem.remedy}" for i, problem in out}
    rows, named = rows.take(kept), [record for i in kept if (record := records[i]) is not None]
    listed = _listed(rows, named)
    settle = sorted({record.settle for record in listed.record})
    spot_of = _spots(rows, listed)
    market, expiry_of = _market(rows, listed, spot_of, (valuation_time, settle, dict(fx or {})))
    instruments = _instruments(listed, market, expiry_of)
    options = listed.position[: int(np.sum(instruments.is_option))]
    quotes = ChainQuotes(*(getattr(rows, name)[options] for name in ChainQuotes.__dataclass_fields__))
    vol = market.mark_vol.copy()
    vol[: len(options)] = quotes.mark_vol
    added = [*notes, *_notes(listed, market, fx or {})]
    return Snapshot(source, instruments, replace(market, mark_vol=vol), quotes, excluded, tuple(added), left_out)


def with_surface(snapshot: Snapshot, svi: FloatArray) -> Snapshot:
    """The snapshot with raw SVI slices (X,5), NaN rows where there is none, in its market."""
    return replace(snapshot, market=replace(snapshot.market, svi=svi))


def vol_quotes(snapshot: Snapshot) -> Quotes:
    """The option quotes as vols, for `pricing.fit`: each row at its own forward and its own time."""
    instruments, quotes, market = snapshot.instruments, snapshot.quotes, snapshot.market
    options = slice(len(quotes))
    expiry, sign = instruments.expiry_idx[options], instruments.sign[options]
    strike, inverse = instruments.strike[options], instruments.payoff[options] == Payoff.INVERSE
    tau = (market.expiry_time[expiry] - quotes.time_ms) / MILLISECONDS_PER_YEAR
    columns = (expiry, strike, sign, quotes.forward, tau, quotes.bid, quotes.ask, quotes.mark_vol)
    parts = [
        quotes_from_prices(*(column[where] for column in columns), model=model)
        for model, where in (("inverse", inverse), ("black76", ~inverse))
        if np.any(where)
    ]
    order = np.argsort(np.concatenate([np.flatnonzero(inverse), np.flatnonzero(~inverse)]))
    joined = {
        name: np.concatenate([getattr(part, name) for part in parts])[order] for name in Quotes.__dataclass_fields__
    }
    return Quotes(**joined)


def _keep(
    rows: ChainRows, records: list[SymbolRecord | None], findings: Findings, on_bad_row: str
) -> tuple[IntArray, list[tuple[int, Problem]]]:
    """Positions of the rows that stay, and what is said of the others by position."""
    if findings.problems and (on_bad_row == REFUSE or any(i is None for i, _ in findings.problems)):
        raise DataError(findings.in_order())
    out = sorted([(i, p) for i, p in findings.problems if i is not None] + findings.skipped, key=lambda entry: entry[0])
    leave = {i for i, _ in out}
    kept = np.array([i for i in range(len(records)) if i not in leave], dtype=np.int64)
    if not any(record is not None and record.kind == OPTION for record in (records[i] for i in kept)):
        file = rows.file[0] if rows.file else "chain"
        nothing = Problem(file, None, "rows", len(kept), "no option left that can be used")
        raise DataError([nothing, *(problem for _, problem in out)])
    return kept, out


def _underlying(record: SymbolRecord) -> str:
    """BTC for coin-settled contracts, BTC_USDC for linear ones: each has its own index."""
    return record.underlying if record.inverse else f"{record.underlying}_{record.quote}"


def _listed(rows: ChainRows, records: list[SymbolRecord]) -> _Listed:
    """Options, futures, perpetuals; where the source lists options only, the futures their forwards were read
    from and one perpetual per underlying are added with the venue's terms."""
    names, records = rows.instrument.tolist(), list(records)
    position = list(range(len(names)))
    multiplier, step = rows.multiplier.tolist(), rows.quantity_step.tolist()
    if all(record.kind == OPTION for record in records):
        for record in _implied_futures(rows, records):
            if record.multiplier is None:
                continue
            names.append(format_symbol(record))
            records.append(record)
            position.append(-1)
            multiplier.append(record.multiplier)
            step.append(FUTURE_STEP)
    rank = {OPTION: 0, FUTURE: 1, PERPETUAL: 2}

    def key(i: int) -> tuple[object, ...]:
        record = records[i]
        strike = 0.0 if record.strike is None else record.strike
        return (rank[record.kind], _underlying(record), record.expiry_ms or 0, strike, record.option_type or "")

    order = sorted(range(len(names)), key=key)
    return _Listed(
        [names[i] for i in order],
        [records[i] for i in order],
        np.array([position[i] for i in order], dtype=np.int64),
        np.array([multiplier[i] for i in order]),
        np.array([step[i] for i in order]),
    )


def _implied_futures(rows: ChainRows, records: list[SymbolRecord]) -> list[SymbolRecord]:
    """The listed futures that option rows name as their underlying, and the perpetuals of coin-settled coins."""
    found = []
    for name in sorted({str(name) for name in rows.underlying_name if name and not name.startswith(SYNTHETIC)}):
        try:
            record = parse_symbol(name, "deribit")
        except DataError:  # index_price: the forward is the index, there is no such future
            continue
        if record.kind == FUTURE:
            found.append(record)
    coins = sorted({record.underlying for record in records if record.inverse})
    return found + [parse_symbol(f"{coin}-PERPETUAL", "deribit") for coin in coins]


def _spots(rows: ChainRows, listed: _Listed) -> dict[str, float]:
    """Median index of every underlying."""
    index: dict[str, list[float]] = {}
    for record, position in zip(listed.record, listed.position, strict=True):
        values = index.setdefault(_underlying(record), [])
        if position >= 0 and np.isfinite(rows.index_price[position]):
            values.append(float(rows.index_price[position]))
    problems = [
        Problem(rows.file[0], None, "index", name, "no row of this underlying has an index price")
        for name, values in index.items()
        if not values
    ]
    if problems:
        raise DataError(problems)
    return {name: float(np.median(index[name])) for name in sorted(index)}


def _market(
    rows: ChainRows, listed: _Listed, spot_of: dict[str, float], terms: tuple[int, list[str], dict[str, float]]
) -> tuple[Market, dict[tuple[str, int], int]]:
    """The market without mark vols, and the expiry row of every (underlying, time)."""
    valuation_time, settle, fx = terms
    underlyings = list(spot_of)
    _check_fx(fx, spot_of)
    forward = _forwards(rows, listed, spot_of)
    pairs = sorted(forward)
    currencies = [MARGIN_CURRENCY, *sorted({*settle, *fx} - {MARGIN_CURRENCY})]
    rates = {MARGIN_CURRENCY: 1.0, **fx, **spot_of}
    problems = [
        Problem(
            rows.file[0],
            None,
            "fx",
            name,
            f"no USD rate of this settlement currency; give --fx {name}=RATE (fx= in Python)",
        )
        for name in currencies
        if name not in rates
    ]
    if problems:
        raise DataError(problems)
    market = Market(
        valuation_time=valuation_time,
        underlying_id=np.array(underlyings, dtype=np.str_),
        spot=np.array(list(spot_of.values())),
        expiry_underlying=np.array([underlyings.index(name) for name, _ in pairs]),
        expiry_time=np.array([moment for _, moment in pairs]),
        forward=np.array([forward[pair] for pair in pairs]),
        discount=np.ones(len(pairs)),
        svi=np.full((len(pairs), 5), np.nan),
        mark_vol=np.full(len(listed.name) + len(currencies), np.nan),
        currency_id=np.array(currencies, dtype=np.str_),
        fx=np.array([rates[name] for name in currencies]),
        currency_underlying=np.array([underlyings.index(name) if name in underlyings else -1 for name in currencies]),
    )
    return market, {pair: row for row, pair in enumerate(pairs)}


def _check_fx(fx: Mapping[str, float], spot_of: Mapping[str, float]) -> None:
    """A stated rate stands still in every scenario: none for a coin that has an index, nor for the margin currency."""
    coins = {name.partition("_")[0]: f"it has its own index in this chain, {spot:g}" for name, spot in spot_of.items()}
    coins[MARGIN_CURRENCY] = "it is the margin currency, whose rate is 1"
    bad = [
        f"--fx {name}={rate:g} (fx= in Python): {coins[name]}; leave it out"
        for name, rate in fx.items()
        if name in coins
    ]
    if bad:
        raise ConfigError("\n".join(bad))


def _forwards(rows: ChainRows, listed: _Listed, spot_of: dict[str, float]) -> dict[tuple[str, int], float]:
    """By (underlying, expiry): median forward of its options; the mark of its future where there are none; spot."""
    quoted: dict[tuple[str, int], list[float]] = {(name, UNDATED): [spot] for name, spot in spot_of.items()}
    marks: dict[tuple[str, int], float] = {}
    for record, position in zip(listed.record, listed.position, strict=True):
        pair = (_underlying(record), record.expiry_ms or UNDATED)
        if record.kind == OPTION:
            quoted.setdefault(pair, []).append(float(rows.forward[position]))
        elif record.kind == FUTURE and position >= 0:
            marks[pair] = float(rows.mark[position])
    return {**marks, **{pair: float(np.median(values)) for pair, values in quoted.items()}}


def _instruments(listed: _Listed, market: Market, expiry_of: dict[tuple[str, int], int]) -> Instruments:
    """The contracts, and one cash row per currency that rides on the undated row of its coin."""
    underlyings, currencies = list(market.underlying_id), list(market.currency_id)
    cash = len(currencies)
    coin = market.currency_underlying
    undated = [-1 if u < 0 else expiry_of[(str(underlyings[u]), UNDATED)] for u in coin]
    records = listed.record
    contract_underlying = [underlyings.index(_underlying(record)) for record in records]
    contract_expiry = [expiry_of[(_underlying(record), record.expiry_ms or UNDATED)] for record in records]
    payoff = [Payoff.INVERSE if record.inverse else Payoff.LINEAR for record in records]
    strike = [np.nan if record.strike is None else record.strike for record in records]
    return Instruments(
        instrument_id=np.array([*listed.name, *currencies], dtype=np.str_),
        kind=np.array([*(KINDS[record.kind] for record in records), *[Kind.CASH] * cash]),
        payoff=np.array([*payoff, *[Payoff.LINEAR] * cash]),
        underlying_idx=np.array([*contract_underlying, *coin]),
        expiry_idx=np.array([*contract_expiry, *undated]),
        strike=np.array([*strike, *[np.nan] * cash]),
        sign=np.array([*(-1.0 if record.option_type == "P" else 1.0 for record in records), *[1.0] * cash]),
        exercise=np.full(len(records) + cash, Exercise.EUROPEAN),
        multiplier=np.concatenate([listed.multiplier, np.ones(cash)]),
        quantity_step=np.concatenate([listed.quantity_step, np.ones(cash)]),
        currency_idx=np.array([*(currencies.index(record.settle) for record in records), *range(cash)]),
    )


def _notes(listed: _Listed, market: Market, fx: Mapping[str, float]) -> list[str]:
    added = [name for name, position in zip(listed.name, listed.position, strict=True) if position < 0]
    notes = [f"cash rows added: {', '.join(map(str, market.currency_id))}"]
    if fx:
        notes.append(f"at the rate given in every scenario: {', '.join(sorted(fx))}")
    if added:
        notes.append(f"the source lists options only; added with the venue's contract sizes: {', '.join(added)}")
    return notes
