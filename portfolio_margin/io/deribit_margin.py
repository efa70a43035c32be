"""Deribit's margin calls: parameters from `public/pme/get_params`, and the reply of `private/pme/simulate` made again.

A simulate reply states everything its numbers depend on: parameters, positions, index and mark prices. `simulate`
takes these, computes the rest by the model deribit_spm, and returns a document of the same form, so that the two can be
compared field by field. What depends on orders (MMP, open orders, spot orders) is an input.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from portfolio_margin.book import Book
from portfolio_margin.deribit_matrix import CurrencyPair, CurrencyRisk, Params, coin_of
from portfolio_margin.deribit_vectors import CHARGES, Portfolio, aggregated, requirement
from portfolio_margin.io.json_text import parsed_json
from portfolio_margin.io.parameters import Layer, build
from portfolio_margin.io.symbols import FUTURE, OPTION, PERPETUAL, SymbolRecord, parse_symbol
from portfolio_margin.io.tables import read_bytes, refuse
from portfolio_margin.models import deribit_spm
from pricing.arrays import FloatArray
from pricing.errors import DataError, Problem
from pricing.instruments import Exercise, Instruments, Kind, Payoff
from pricing.market import UNDATED, Market
from scenarios.revalue import revalue
from scenarios.risk_arrays import RiskArrays

# Models that take these parameters.
MODEL_NAMES = ("deribit_spm", "deribit_xpm")
TABLES = {"currency_pair": CurrencyPair, "currency": CurrencyRisk}
GENERAL = ("mm_factor", "buckets_count")
# Stated beside the parameters: when, and how many vols a price move has, which the model takes for granted.
STAMP, VOL_CASES = "timestamp", "vol_scenarios_count"
# When an answer was sent, in microseconds, beside the answer itself.
SENT = "usOut"
# Beyond the year 33,000, in microseconds too, a number is no time.
LATEST = 10**18
ORDERS = ("mmp_margin", "open_orders_margin", "spot_margin")
# Decimals that the venue rounds the worst case to before it adds the shocks, and the initial margin at the end.
DECIMALS = 9
# Largest relative difference between what rows of one expiry state as its forward.
SAME_FORWARD = 1e-3
KINDS = {PERPETUAL: Kind.PERPETUAL, FUTURE: Kind.FUTURE, OPTION: Kind.OPTION}


def reply_time(path: str | Path) -> int | None:
    """ms UTC of a saved reply: when its parameters were in force, or when it was sent; None where it states neither."""
    document = _document(path)
    found = _parameters_of(document)
    general = found.get("general") if isinstance(found, Mapping) else None
    stated = general.get(STAMP) if isinstance(general, Mapping) else None
    if stated is None and isinstance(document, Mapping):
        sent = _moment(document.get(SENT))
        return None if sent is None else sent // 1000
    return _moment(stated)


def _moment(value: Any) -> int | None:
    """A whole number that may be a time, else None."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < LATEST else None


def _parameters_of(document: Any) -> Any:
    """The parameters inside what the venue sends around them."""
    found = document
    for step in ("result", "model_params"):
        found = found[step] if isinstance(found, Mapping) and step in found else found
    return found


def margin_parameters(document: Any, file: str = "get_params") -> dict[str, Any]:
    """Parameters in a reply of `public/pme/get_params`, or in the `model_params` of a simulate reply, by our names.

    DataError for what is no such reply, and for a field that no rule of ours uses: it would be lost.
    """
    found = _parameters_of(document)
    if not isinstance(found, Mapping) or not {"general", *TABLES} <= set(found):
        refuse(file, "content", _shortened(found), "needs the objects general, currency and currency_pair")
    general = dict(_object(file, found, "general"))
    tables = {name: _object(file, found, name) for name in TABLES}
    problems = [
        Problem(file, None, "field", name, "unknown; the models know general, currency and currency_pair")
        for name in found
        if name not in ("general", *TABLES)
    ]
    if general.pop(VOL_CASES, 3) != 3:
        problems.append(Problem(file, None, VOL_CASES, found["general"][VOL_CASES], "must be 3: vol up, same and down"))
    general.pop(STAMP, None)
    problems += _unknown(file, "general", general, GENERAL)
    for name, kind in TABLES.items():
        problems += _one_spelling(file, name, tables[name])
        for key, values in tables[name].items():
            problems += _unknown(file, f"{name}.{key}", values, tuple(field.name for field in fields(kind)))
    if problems:
        raise DataError(problems)
    return {**general, **{name: {key: dict(values) for key, values in tables[name].items()} for name in TABLES}}


def read_margin_parameters(path: str | Path) -> dict[str, Any]:
    """The same from a saved reply."""
    return margin_parameters(_document(path), str(path))


def params_from(document: Any, file: str = "get_params", **more: Any) -> Params:
    """Params of the two models from a reply; more, parameters that the venue does not state, such as days_floor."""
    params: Params = build(Params, Layer(file, margin_parameters(document, file)), Layer("", more))
    return params


@dataclass(frozen=True)
class Simulation:
    """Everything behind one simulated account, to look further into it.

    model, instruments, market, arrays, book   one account, one contract a coin
    document  the reply
    """

    model: deribit_spm.Model
    instruments: Instruments
    market: Market
    arrays: RiskArrays
    book: Book
    document: dict[str, Any]


def simulate(reply: Any, file: str = "simulate", **more: Any) -> Simulation:
    """The reply of `private/pme/simulate` for what it states as inputs; more, as for `params_from`.

    Used of the reply: model_params, portfolio.position, ticker, index_price, and of margins only what orders add. An
    option's ticker needs mark_iv, in percent as everywhere at the venue, and underlying_price unless the future of its
    expiry is held too. DataError where something is missing, or rows of one expiry have different forwards.
    """
    given = reply.get("result", reply) if isinstance(reply, Mapping) else reply
    names = ("model_params", "portfolio", "ticker", "index_price")
    if not isinstance(given, Mapping) or not set(names) <= set(given):
        refuse(file, "content", _shortened(given), f"needs the objects {', '.join(names)}")
    model = deribit_spm.Model(params_from(given, file, **more))
    held = _object(file, _object(file, given, "portfolio"), "position", "portfolio.")
    positions = {name: _number(file, held, name, "portfolio.position") for name in held}
    records = {name: parse_symbol(name, venue="deribit") for name in positions}
    settle = _one_settlement(records, file)
    instruments, market = _market(records, given, settle, file)
    book = Book.from_arrays(
        ["account"] * len(records), np.arange(len(records)), list(positions.values()), instruments.expiry_idx
    )
    arrays = revalue(instruments, market, model.scenario_set(market), backend="numpy", tick=None)
    added = _orders(given, settle.lower(), file)
    document = {name: given[name] for name in names} | _vectors(model, arrays, book, settle)
    document["margins"] = {settle.lower(): _margins(model, arrays, book, document, added)}
    return Simulation(model, instruments, market, arrays, book, document)


def _orders(given: Mapping[str, Any], settle: str, file: str) -> dict[str, float]:
    """What orders add to the margin of a currency; nothing where the reply says nothing of them."""
    found, where = given, ""
    for step in ("margins", settle, "initial_margin_details"):
        if step not in found:
            return dict.fromkeys(ORDERS, 0.0)
        found, where = _object(file, found, step, where), f"{where}{step}."
    return {name: _number(file, found, name, where[:-1]) if name in found else 0.0 for name in ORDERS}


def _vectors(model: deribit_spm.Model, arrays: RiskArrays, book: Book, settle: str) -> dict[str, Any]:
    """Risk vectors by instrument, and by coin before and after limits and dampener."""
    portfolio = model.portfolio(arrays)
    (vectors,) = portfolio.vectors
    held = np.zeros(len(arrays))
    held[book.instrument_idx] = book.quantity
    cells = vectors.rows / arrays.unit[:, None] * held[:, None]
    family = portfolio.terms.family[arrays.underlying_idx]
    known = np.unique(family)
    sums = np.array([cells[family == u].sum(axis=0) for u in known])
    after = aggregated(sums, known, vectors, portfolio.terms, 1.0)
    names = [f"{coin_of(str(arrays.underlying_id[u]))}_{settle.lower()}" for u in known]

    def tables(keys: list[str], rows: FloatArray) -> dict[str, Any]:
        return {key: _tables(row, portfolio) for key, row in zip(keys, rows, strict=True)}

    return {
        "initial_risk_vectors": tables(arrays.instrument_id.tolist(), cells),
        "pre_aggregated_risk_vectors": tables(names, sums),
        "aggregated_risk_vectors": tables(names, after),
    }


def _tables(row: FloatArray, portfolio: Portfolio) -> dict[str, list[float]]:
    extended = portfolio.terms.extended
    return {"standard": row[~extended].tolist(), "extended": row[extended].tolist()}


def _margins(
    model: deribit_spm.Model, arrays: RiskArrays, book: Book, document: Mapping[str, Any], orders: dict[str, float]
) -> dict[str, Any]:
    """The margins object of one currency, rounded where the venue rounds."""
    required = requirement(book, arrays, model.portfolio(arrays), backend="numpy", threads=1)
    charges = {name: float(parts[0, 0]) for name, parts in required.charges.items()}
    matrix = round(charges["worst_case"], DECIMALS) + sum(charges[name] for name in CHARGES if name != "worst_case")
    column = int(required.worst_scenario[0])
    bucket = _bucket(model, arrays, column) if column >= 0 else None
    # A charge of ours is no field of the venue's; in one currency it is 0.
    details = {**{name: charges[name] for name in CHARGES}, "worst_case_bucket": bucket}
    return {
        "initial_margin": round(matrix + sum(orders.values()), DECIMALS),
        "maintenance_margin": model.params.mm_factor * matrix,
        "initial_margin_details": {
            "risk_matrix_margin": matrix,
            "risk_matrix_margin_details": details,
            **orders,
        },
    }


def _bucket(model: deribit_spm.Model, arrays: RiskArrays, column: int) -> dict[str, Any]:
    """Where the worst cell stands: 1-based, the bucket counted from the lowest price."""
    standard = len(arrays.scenario_set) - len(model.params.extended_moves)
    move = float(arrays.scenario_set.price_move[column, 0])
    side = "left" if move < 0 else "right" if move > 0 else "center"
    if column < standard:
        return {"bucket": column // 3 + 1, "side": side, "source": "standard", "index": column + 1}
    index = column - standard + 1
    return {"bucket": index, "side": side, "source": "extended", "index": index}


def _one_settlement(records: Mapping[str, SymbolRecord], file: str) -> str:
    spot = [name for name, record in records.items() if record.kind not in KINDS]
    settles = sorted({record.settle for record in records.values()})
    if spot:
        refuse(file, "position", spot[0], "no contract: spot is no position of a portfolio")
    if len(settles) != 1:
        refuse(file, "position", ", ".join(settles) or "none", "needs positions of one settlement currency")
    return settles[0]


def _market(
    records: Mapping[str, SymbolRecord], given: Mapping[str, Any], settle: str, file: str
) -> tuple[Instruments, Market]:
    """Contracts of one coin each and their market, in the settlement currency alone."""
    general = _object(file, _parameters_of(given), "general")
    moment = _moment(general.get(STAMP))
    if moment is None:
        refuse(file, f"general.{STAMP}", general.get(STAMP), "must be a whole number, ms UTC")
    ticker, index_price = _object(file, given, "ticker"), _object(file, given, "index_price")
    quoted = {name: _object(file, ticker, name, "ticker.") if name in ticker else {} for name in records}
    named = {name: _underlying(record) for name, record in records.items()}
    underlyings = sorted(set(named.values()))
    spot = {u: _number(file, index_price, _index_name(u), "index_price") for u in underlyings}
    forward = {(u, UNDATED): spot[u] for u in underlyings} | _forwards(records, named, quoted, file)
    vols = [
        _number(file, quoted[name], "mark_iv", name) / 100.0 if record.kind == OPTION else np.nan
        for name, record in records.items()
    ]
    pairs = sorted(forward, key=lambda pair: (underlyings.index(pair[0]), pair[1]))
    rows = [(named[name], record.expiry_ms or UNDATED) for name, record in records.items()]
    # An inverse future of as many dollars as one coin costs is one coin.
    priced = zip(rows, records.values(), strict=True)
    coins = np.array([forward[row] if r.inverse and r.kind != OPTION else 1.0 for row, r in priced])
    instruments = Instruments(
        instrument_id=np.array(list(records)),
        kind=np.array([KINDS[r.kind] for r in records.values()]),
        payoff=np.array([Payoff.INVERSE if r.inverse else Payoff.LINEAR for r in records.values()]),
        underlying_idx=np.array([underlyings.index(u) for u, _ in rows]),
        expiry_idx=np.array([pairs.index(row) for row in rows]),
        strike=np.array([np.nan if r.strike is None else r.strike for r in records.values()]),
        sign=np.array([-1.0 if r.option_type == "P" else 1.0 for r in records.values()]),
        exercise=np.full(len(rows), int(Exercise.EUROPEAN)),
        multiplier=coins,
        quantity_step=np.full(len(rows), 10.0**-DECIMALS),
        currency_idx=np.zeros(len(rows), np.int64),
    )
    market = Market(
        valuation_time=moment,
        underlying_id=np.array(underlyings),
        spot=np.array(list(spot.values())),
        expiry_underlying=np.array([underlyings.index(u) for u, _ in pairs]),
        expiry_time=np.array([time for _, time in pairs]),
        forward=np.array([forward[pair] for pair in pairs]),
        discount=np.ones(len(pairs)),
        svi=np.full((len(pairs), 5), np.nan),
        mark_vol=np.array(vols),
        currency_id=np.array([settle]),
        fx=np.ones(1),
        currency_underlying=np.array([-1]),
    )
    return instruments, market


def _forwards(
    records: Mapping[str, SymbolRecord], named: Mapping[str, str], ticker: Mapping[str, Any], file: str
) -> dict[tuple[str, int], float]:
    """Forward of every underlying and expiry, whatever the order of the positions.

    It is the mark of the future of the expiry, or of the perpetual; without one, the underlying_price of the options,
    the middle one of those stated. All that is stated of an expiry must agree within SAME_FORWARD, and an option
    without any of it is refused: the index is no forward.
    """
    futures: dict[tuple[str, int], float] = {}
    stated: dict[tuple[str, int], dict[str, float]] = {}
    for name, record in sorted(records.items()):
        of, pair = ticker.get(name, {}), (named[name], record.expiry_ms or UNDATED)
        if record.kind != OPTION:
            futures[pair] = _number(file, of, "mark_price", name)
        elif "underlying_price" in of:
            stated.setdefault(pair, {})[name] = _number(file, of, "underlying_price", name)
    forward = {pair: float(np.median(list(prices.values()))) for pair, prices in stated.items()} | futures
    for pair, prices in stated.items():
        for name, price in prices.items():
            if not abs(price - forward[pair]) <= SAME_FORWARD * abs(forward[pair]):
                remedy = f"other rows of this expiry say {forward[pair]:g}: they must be of one moment"
                refuse(file, "underlying_price", price, remedy, name)
    for name, record in sorted(records.items()):
        if (named[name], record.expiry_ms or UNDATED) not in forward:
            remedy = "must be a number: no future of this expiry is held that would give its forward"
            refuse(file, "underlying_price", None, remedy, name)
    return forward


def _underlying(record: SymbolRecord) -> str:
    return record.underlying if record.inverse else f"{record.underlying}_{record.quote}"


def _index_name(underlying: str) -> str:
    name = underlying.lower()
    return name if "_" in name else f"{name}_usd"


def _number(file: str, table: Mapping[str, Any], field: str, row: str) -> float:
    value = table.get(field)
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not np.isfinite(value):
        refuse(file, field, value, "must be a number", row)
    return float(value)


def _unknown(file: str, where: str, values: Any, known: tuple[str, ...]) -> list[Problem]:
    if not isinstance(values, Mapping):
        return [Problem(file, None, where, _short(values), "must be an object")]
    remedy = (
        f"unknown in {where}, and no rule of ours uses it: leave it out to go on without; known: {', '.join(known)}"
    )
    problems = [Problem(file, None, "field", name, remedy) for name in values if name not in known]
    lacking = [name for name in known if name not in values]
    return problems + [Problem(file, None, "field", name, f"missing in {where}") for name in lacking]


def _document(path: str | Path) -> Any:
    return parsed_json(str(path), read_bytes(path))


def _object(file: str, table: Mapping[str, Any], field: str, where: str = "") -> Mapping[str, Any]:
    """An object inside another one. DataError where it is anything else, or not there."""
    value = table.get(field)
    if not isinstance(value, Mapping):
        refuse(file, f"{where}{field}", _short(value), "must be an object")
    return value


def _one_spelling(file: str, where: str, names: Mapping[str, Any]) -> list[Problem]:
    """A problem for every name that differs from another one by upper and lower case only: they are one to a model."""
    known: dict[str, str] = {}
    problems = []
    for name in names:
        other = known.setdefault(name.lower(), name)
        if other != name:
            remedy = f"{other} is the same to the models, and only one counts: leave one out"
            problems.append(Problem(file, None, where, name, remedy))
    return problems


def _short(value: object) -> object:
    """A value as it is, or the beginning of a long one."""
    return value if len(repr(value)) <= 60 else _shortened(value)


def _shortened(value: object) -> str:
    text = ", ".join(value) if isinstance(value, Mapping) else repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."
