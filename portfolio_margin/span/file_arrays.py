"""RiskArrays from a risk parameter file: the arrays of record are the file's own, turned to gains in one currency."""

from __future__ import annotations

from collections import Counter
from dataclasses import fields
from typing import NamedTuple

import numpy as np

from portfolio_margin.span.checks import scenario_rows
from portfolio_margin.span.columns import Columns
from portfolio_margin.span.contracts import ContractView, look_ahead_years
from portfolio_margin.span.days import MILLISECONDS_PER_DAY, day_ms, misdated
from portfolio_margin.span.repeats import repeated_contracts
from portfolio_margin.span.tables import FUTURES_LIKE, RiskParameterFile
from pricing.arrays import FloatArray, IntArray, StrArray
from pricing.digest import hash_parts
from pricing.errors import DataError, Problem
from pricing.instruments import Exercise, Kind, Payoff
from pricing.market import UNDATED
from scenarios.revalue import to_ticks
from scenarios.risk_arrays import DEFAULT_TICK, RiskArrays
from scenarios.shocks import ScenarioSet, make
from scenarios.terms import Terms

# A scenario set describes relative moves, and none takes all of a price; the losses are the file's in any case.
LOWEST_MOVE = -0.999999


class FileArrays(NamedTuple):
    """Risk arrays of a file and how their rows belong to it.

    arrays    the contracts that can be held, and one row of cash a currency
    contract  (N,) -> contracts of the file, -1 for cash
    left_out  names of contracts that cannot be held, and why
    """

    arrays: RiskArrays
    contract: IntArray
    left_out: dict[str, str]


class _Rows(NamedTuple):
    """Contracts that become rows, (M,) each, sorted by commodity and period."""

    contract: IntArray
    commodity: IntArray
    expiry: IntArray
    price: FloatArray
    factor: FloatArray
    fx: FloatArray


def file_arrays(
    file: RiskParameterFile,
    *,
    rate: int = 1,
    currency: str | None = None,
    tick: float | None = DEFAULT_TICK,
    apply_exponent: bool = False,
) -> FileArrays:
    """Risk arrays of every contract of a combined commodity.

    rate      number of the arrays, where a contract has several
    currency  margin currency; by default the one most combined commodities are in
    tick      margin currency per tick, None for no rounding
    apply_exponent  multiply arrays by ten to the risk exponent of their commodity; see `Choices.risk_exponent`

    Amounts in other currencies are converted by the file's own rates. Futures are worth 0, options paid by premium
    and physicals their price. DataError where a conversion is missing, or a contract stands in the tables twice.
    """
    twice = [Problem("SPAN file", r.row + 1, r.field, r.value.item(), r.remedy) for r in repeated_contracts(file)]
    if twice:
        raise DataError(twice)
    view = ContractView(file)
    currency = currency or _usual_currency(file)
    fx_of = conversions(file, currency)
    array_row = _array_rows(file, rate)
    left_out = _left_out(file, view, array_row)
    kept = np.flatnonzero(np.array([str(name) not in left_out for name in view.name], dtype=bool))
    order = np.lexsort((kept, view.period[kept], view.commodity[kept]))
    chosen = kept[order]
    expiry, expiry_name, expiry_commodity = _expiries(file, view, chosen)
    forward = _forwards(file, view, chosen, expiry, len(expiry_name))
    fx = np.array([fx_of[str(code)] for code in view.currency[chosen]]) if len(chosen) else np.empty(0)
    rows = _Rows(chosen, view.commodity[chosen], expiry, file.contracts.price[chosen], view.factor[chosen], fx)
    return FileArrays(
        _arrays(
            file,
            view,
            rows,
            (expiry_name, expiry_commodity, forward),
            fx_of,
            (array_row, currency, tick, apply_exponent),
        ),
        np.concatenate([chosen, np.full(len(fx_of), -1)]).astype(np.int64),
        left_out,
    )


def conversions(file: RiskParameterFile, currency: str) -> dict[str, float]:
    """Margin currency per unit of every currency that contracts or commodities are in, the margin currency first."""
    known = {currency: 1.0}
    table = file.conversions
    for source, target, factor in zip(table.from_currency, table.to_currency, table.factor, strict=True):
        if target == currency:
            known.setdefault(str(source), float(factor))
        elif source == currency:
            known.setdefault(str(target), 1.0 / float(factor))
    wanted = {*file.commodities.currency.tolist(), *file.families.currency.tolist()} - {""}
    missing = sorted(wanted - set(known))
    if missing:
        remedy = f"the file states no rate to {currency}; take another margin currency"
        raise DataError([
            Problem("SPAN file", _first_in(file, name), "currency conversion", name, remedy) for name in missing
        ])  # fmt: skip
    return {name: factor for name, factor in known.items() if name in wanted or name == currency}


def _first_in(file: RiskParameterFile, currency: str) -> str:
    """The first commodity or family in a currency, to be named in a message."""
    for what, table in (("combined commodity", file.commodities), ("product family", file.families)):
        for code, own in zip(table.code.tolist(), table.currency.tolist(), strict=True):
            if own == currency:
                return f"{what} {code}"
    raise AssertionError("a currency that nothing is in is not wanted")


def _usual_currency(file: RiskParameterFile) -> str:
    if not len(file.commodities):
        raise DataError([Problem("SPAN file", None, "combined commodities", 0, "the file has none")])
    counts = Counter(file.commodities.currency.tolist())
    return min(counts, key=lambda code: (-counts[code], code))


def _array_rows(file: RiskParameterFile, rate: int) -> IntArray:
    """(contracts,) row of the array with this rate, -1 where there is none."""
    row = np.full(len(file.contracts), -1, dtype=np.int64)
    mine = np.flatnonzero(file.arrays.rate == rate)
    row[file.arrays.contract_idx[mine]] = mine
    return row


def _left_out(file: RiskParameterFile, view: ContractView, array_row: IntArray) -> dict[str, str]:
    price, kind = file.contracts.price, view.kind
    physical = ~view.is_option & ~np.isin(kind, (*FUTURES_LIKE, "CMB"))
    checks = (
        (view.commodity < 0, "its family belongs to no combined commodity"),
        (array_row < 0, "it has no array of this rate"),
        (physical & ~(price > 0), "a physical without a price above 0 cannot be held"),
    )
    found: dict[str, str] = {}
    for bad, reason in checks:
        for row in np.flatnonzero(bad):
            found.setdefault(str(view.name[row]), reason)
    return found


def _expiries(file: RiskParameterFile, view: ContractView, chosen: IntArray) -> tuple[IntArray, StrArray, IntArray]:
    """Expiry row of each contract, names of the rows and their commodities; the first row of each is undated."""
    codes = file.commodities.code
    names: list[str] = []
    owners: list[int] = []
    index = np.empty(len(chosen), dtype=np.int64)
    known: dict[tuple[int, str], int] = {}
    dated = view.is_option | np.isin(view.kind, FUTURES_LIKE)
    for position, row in enumerate(chosen.tolist()):
        commodity = int(view.commodity[row])
        period = str(view.period[row]) if dated[row] else ""
        for key in ((commodity, ""), (commodity, period)):
            if key not in known:
                known[key] = len(names)
                names.append(f"{codes[commodity]}-{key[1] or 'undated'}")
                owners.append(commodity)
        index[position] = known[commodity, period]
    return index, np.array(names, dtype=np.str_), np.array(owners, dtype=np.int64)


def _forwards(
    file: RiskParameterFile, view: ContractView, chosen: IntArray, expiry: IntArray, count: int
) -> FloatArray:
    """(X,) price of the future of each period, else of what its options are on; 1 where there is neither."""
    forward = np.full(count, np.nan)
    underlying = view.underlying_price
    for prices, wanted in (
        (file.contracts.price, ~view.is_option),
        (underlying, np.ones(len(underlying), dtype=bool)),
    ):
        rows = np.flatnonzero(wanted[chosen])[::-1]
        value = prices[chosen[rows]]
        good = value > 0
        target = expiry[rows[good]]
        empty = np.isnan(forward[target])
        forward[target[empty]] = value[good][empty]
    return forward


def _arrays(
    file: RiskParameterFile,
    view: ContractView,
    rows: _Rows,
    expiries: tuple[StrArray, IntArray, FloatArray],
    fx_of: dict[str, float],
    how: tuple[IntArray, str, float | None, bool],
) -> RiskArrays:
    array_row, currency, tick, apply_exponent = how
    expiry_name, expiry_commodity, forward = expiries
    spot = _spots(len(file.commodities), expiry_commodity, forward)
    forward = np.where(np.isnan(forward), spot[expiry_commodity] if len(expiry_commodity) else forward, forward)
    cash = len(fx_of)
    exponent = 10.0 ** (file.commodities.risk_exponent[rows.commodity] * apply_exponent)
    loss = file.arrays.loss[array_row[rows.contract]] * (exponent * rows.fx)[:, None]
    value = np.where(view.pays_premium[rows.contract], rows.price * rows.factor * rows.fx, 0.0)
    names = np.concatenate([view.name[rows.contract], np.array(list(fx_of), dtype=np.str_)])
    kind = np.concatenate([_kinds(view, rows.contract), np.full(cash, int(Kind.CASH))])
    contract = (kind != Kind.CASH) & (kind != Kind.SPOT)
    stated = file.contracts.quantity_step[rows.contract]
    step = np.concatenate([np.where(np.isfinite(stated), stated, 1.0), np.ones(cash)])
    unit = np.where(contract, step, 1.0)[:, None]
    base = np.concatenate([value, list(fx_of.values())])
    pnl = np.vstack([-loss, np.zeros((cash, 16))])
    delta = file.arrays.composite_delta[array_row[rows.contract]]
    notional = rows.factor * forward[rows.expiry] * rows.fx
    terms = _terms(file, view, rows, (expiry_commodity, forward, spot), fx_of)
    return RiskArrays(
        instrument_id=names,
        kind=kind,
        underlying_idx=np.concatenate([rows.commodity, np.full(cash, -1)]),
        expiry_idx=np.concatenate([rows.expiry, np.full(cash, -1)]),
        cash_row=np.concatenate([_cash_rows(view, rows, fx_of), np.arange(cash) + len(rows.contract)]),
        quantity_step=step,
        underlying_id=file.commodities.code,
        expiry_name=expiry_name,
        rows=to_ticks(pnl, unit, tick, contract, names),
        value_rows=to_ticks(base[:, None], unit, tick, contract, names)[:, 0],
        delta=np.concatenate([delta * notional, np.zeros(cash)]),
        notional=np.concatenate([notional, list(fx_of.values())]),
        terms=terms,
        tick=tick,
        scenario_set=_scenario_set(file, view, rows, spot),
        valuation_time=valuation_time_ms(file),
        currency=currency,
        digest=file_digest(file, [currency, tick, apply_exponent]),
        notes=(f"arrays of {file.header.clearing_org} of {file.header.date}",),
    )


def _kinds(view: ContractView, contract: IntArray) -> IntArray:
    kind = view.kind[contract]
    settled = np.isin(kind, (*FUTURES_LIKE, "CMB"))
    return np.where(view.is_option[contract], int(Kind.OPTION), np.where(settled, int(Kind.FUTURE), int(Kind.SPOT)))


def _spots(count: int, expiry_commodity: IntArray, forward: FloatArray) -> FloatArray:
    """(U,) first price there is of each commodity, 1 where there is none."""
    spot = np.full(count, np.nan)
    for row in range(len(forward) - 1, -1, -1):
        if forward[row] > 0:
            spot[expiry_commodity[row]] = forward[row]
    return np.where(np.isnan(spot), 1.0, spot)


def _cash_rows(view: ContractView, rows: _Rows, fx_of: dict[str, float]) -> IntArray:
    place = {code: len(rows.contract) + position for position, code in enumerate(fx_of)}
    return np.array([place[str(code)] for code in view.currency[rows.contract]], dtype=np.int64)


def _terms(
    file: RiskParameterFile,
    view: ContractView,
    rows: _Rows,
    market: tuple[IntArray, FloatArray, FloatArray],
    fx_of: dict[str, float],
) -> Terms:
    expiry_commodity, forward, spot = market
    cash = len(fx_of)
    contracts, period = file.contracts, file.contracts.period_idx[rows.contract]
    option = view.is_option[rows.contract]
    american = file.families.exercise[view.family[rows.contract]] == "AMER"
    position = {code: place for place, code in enumerate(fx_of)}
    currency = [position[str(code)] for code in view.currency[rows.contract]]
    vol = np.where(contracts.vol[rows.contract] > 0, contracts.vol[rows.contract], file.periods.vol[period])
    expiry_time = np.full(len(forward), UNDATED, dtype=np.int64)
    moments = np.array([_expiry_ms(text) for text in file.periods.settlement_date[period].tolist()], dtype=np.int64)
    expiry_time[rows.expiry] = np.where(_kinds(view, rows.contract) == Kind.SPOT, UNDATED, moments)
    return Terms(
        strike=np.concatenate([np.where(option, contracts.strike[rows.contract], np.nan), np.full(cash, np.nan)]),
        sign=np.concatenate([np.where(contracts.right[rows.contract] == "P", -1.0, 1.0), np.ones(cash)]),
        multiplier=np.concatenate([rows.factor, np.ones(cash)]),
        vol=np.concatenate([np.where(option, np.nan_to_num(vol), 0.0), np.zeros(cash)]),
        payoff=np.full(len(option) + cash, int(Payoff.LINEAR)),
        exercise=np.concatenate([np.where(option & american, int(Exercise.AMERICAN), 0), np.zeros(cash)]),
        currency_idx=np.concatenate([currency, np.arange(cash)]).astype(np.int64),
        spot=spot,
        expiry_underlying=expiry_commodity,
        expiry_time=expiry_time,
        forward=forward,
        discount=np.ones(len(forward)),
        fixed_share=np.zeros(len(forward)),
        currency_id=np.array(list(fx_of), dtype=np.str_),
        fx=np.array(list(fx_of.values())),
        currency_underlying=np.full(cash, -1),
    )


def _scenario_set(file: RiskParameterFile, view: ContractView, rows: _Rows, spot: FloatArray) -> ScenarioSet:
    """The scenarios as relative moves by commodity, from the largest scan range of each; they describe the rows."""
    count = len(file.commodities)
    scan, relative, absolute = np.zeros(count), np.zeros(count), np.zeros(count)
    scans = file.scan_rates
    of_period = np.zeros(len(file.periods))
    of_period[rows_period(file, rows.contract)] = rows.factor
    owner = np.full(len(file.periods), -1, dtype=np.int64)
    owner[rows_period(file, rows.contract)] = rows.commodity
    for row in range(len(scans)):
        period = scans.period_idx[row]
        commodity = owner[period]
        if commodity < 0:
            continue
        move = scans.price_scan[row] / (of_period[period] * spot[commodity])
        if np.isnan(move):
            move = scans.price_scan_percent[row] / 100.0
        scan[commodity] = max(scan[commodity], np.nan_to_num(move))
        relative[commodity] = max(relative[commodity], np.nan_to_num(scans.vol_scan_relative[row]))
        absolute[commodity] = max(absolute[commodity], np.nan_to_num(scans.vol_scan[row]))
    points = file.scan_points
    # Where commodities have scenarios of their own, the rows are theirs and this describes the first ones.
    first = scenario_rows(file, int(points.commodity_idx[0]) if len(points) else -1)
    return make(
        label=[f"SPAN-{number:02d}" for number in range(1, 17)],
        price_move=np.maximum(points.price[first][:, None] * scan, LOWEST_MOVE),
        vol_move=points.vol[first][:, None] * relative,
        vol_shift=points.vol[first][:, None] * absolute,
        time_step_years=np.full(16, look_ahead_years(file)),
        weight=points.weight[first],
    )


def rows_period(file: RiskParameterFile, contract: IntArray) -> IntArray:
    """Period row of contracts."""
    return file.contracts.period_idx[contract]


def valuation_time_ms(file: RiskParameterFile) -> int:
    """The last millisecond UTC of the business date of a settlement file; the time it states within the day, if any.

    Midnight would be of the day after, and parameter sets are those that are valid on the business date.
    """
    head = file.header
    day, wrong = day_ms(head.date), misdated("time", head.time)
    if day is None:
        raise DataError([Problem("SPAN file", None, "date", head.date, misdated("date", head.date))])
    if head.time and wrong:
        raise DataError([Problem("SPAN file", None, "time", head.time, wrong)])
    if head.time:
        digits = head.time.replace(":", "")
        return day + (int(digits[:2]) * 60 + int(digits[2:4])) * 60_000
    return day + (MILLISECONDS_PER_DAY - 1 if head.is_settlement else 0)


def _expiry_ms(text: str) -> int:
    day = day_ms(text)
    return int(UNDATED) if day is None else day


def file_digest(file: RiskParameterFile, how: list[object]) -> str:
    """Hash of all tables of a file and of how arrays are made of them."""
    parts: list[object] = [[str(value) for value in vars(file.header).values()]]
    for f in fields(file):
        table = getattr(file, f.name)
        if isinstance(table, Columns):
            parts += [getattr(table, column.name) for column in fields(table)]  # type: ignore[arg-type]
    return hash_parts([*parts, *how])
