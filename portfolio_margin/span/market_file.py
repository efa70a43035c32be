"""A risk parameter file for a market of ours: any SPAN reader can take its arrays, and the `span` model its rules.

Every underlying is a combined commodity. Options are on the forward of their expiry, which stands in the file as a
physical, so that their value is Black-76 on what the scenarios move; a contract value factor turns price points into
margin currency, for contracts settled in coin as well.
"""

from __future__ import annotations

from itertools import product
from typing import Any, NamedTuple

import numpy as np

from portfolio_margin.span.columns import Columns
from portfolio_margin.span.recompute import Terms, composite_delta
from portfolio_margin.span.rule_tables import (
    Adjustments,
    Commodities,
    Links,
    SpotRates,
    SpreadLegs,
    SpreadRates,
    Spreads,
    TierRates,
    Tiers,
)
from portfolio_margin.span.tables import (
    PERPETUAL,
    SCENARIOS,
    AccountTypes,
    Arrays,
    Contracts,
    Conversions,
    Currencies,
    DeltaPoints,
    Exchanges,
    Families,
    Header,
    Periods,
    RequirementLevels,
    RiskParameterFile,
    ScanPoints,
    ScanRates,
)
from pricing.arrays import FloatArray, IntArray
from pricing.errors import ConfigError
from pricing.instruments import Exercise, Kind
from pricing.market import UNDATED
from scenarios.risk_arrays import RiskArrays

EXCHANGE = "PM"
STEPS = ("0", "0", "1/3", "1/3", "-1/3", "-1/3", "2/3", "2/3", "-2/3", "-2/3", "1", "1", "-1", "-1")
DELTA_MOVES = np.array([-3, -2, -1, 0, 1, 2, 3]) / 3.0
DELTA_WEIGHTS = np.array([0.037, 0.111, 0.217, 0.270, 0.217, 0.111, 0.037])
FAMILY_KINDS = ("PHY", "FUT", "OOP")


class MarketRules(NamedTuple):
    """What a market of ours does not say itself.

    spread_charge         of a spread of one long against one short delta of another period, as a share of the price
                          scan range
    short_option_minimum  per short option, as a share of the price scan range of a contract
    initial_ratio         initial over maintenance margin
    """

    spread_charge: float
    short_option_minimum: float
    initial_ratio: float


class _Rows(NamedTuple):
    """Contracts that the file holds, in its order: by underlying, kind and period."""

    row: IntArray
    underlying: IntArray
    kind: IntArray
    factor: FloatArray
    forward: FloatArray
    price_scan: FloatArray


class MarketFile(NamedTuple):
    """A file of a market, and where in it the rows of its risk arrays are.

    file      the tables
    contract  (N,) -> contracts of the file, -1 for collateral
    left_out  assets other than the margin currency, for which the format has no place: coins, stocks, other money
    """

    file: RiskParameterFile
    contract: IntArray
    left_out: tuple[str, ...]


def market_file(arrays: RiskArrays, rules: MarketRules, created: str = "") -> MarketFile:
    """The file of risk arrays under the 16 SPAN scenarios.

    created  moment of writing, YYYYMMDDhhmm, "" for that of the market

    ConfigError where the arrays were made under other scenarios.
    """
    if not is_span_set(arrays):
        raise ConfigError("a SPAN file needs risk arrays under the 16 SPAN scenarios: choose the model span")
    chosen = _rows(arrays)
    tables: dict[str, Any] = {name: _Columns() for name in ("families", "periods", "scan_rates", "contracts")}
    losses, deltas = _contracts(arrays, chosen, tables)
    contract = np.full(len(arrays), -1, dtype=np.int64)
    for place, row in enumerate(tables["contracts"].rows):
        if row["source"] >= 0:
            contract[row["source"]] = place
    arrays_of = Arrays(
        contract_idx=np.arange(len(losses)),
        rate=np.ones(len(losses), dtype=np.int64),
        loss=np.array(losses).reshape(-1, SCENARIOS),
        composite_delta=np.array(deltas),
    )
    moment = np.datetime64(arrays.valuation_time, "ms").astype("datetime64[m]").item()
    scan, delta = _points(arrays)
    file = RiskParameterFile(
        header=_header(arrays, created or moment.strftime("%Y%m%d%H%M"), moment.strftime("%Y%m%d"),
                       moment.strftime("%H%M")),
        currencies=_table(Currencies, code=[arrays.currency], symbol=[""], name=[arrays.currency], decimals=[2]),
        account_types=_table(AccountTypes, is_customer=[True], code=["H"], name=["Hedger"], is_net_margin=[True],
                             priority=["1"]),
        conversions=_table(Conversions, from_currency=[], to_currency=[], factor=[]),
        levels=_table(RequirementLevels, rate=[1, 2], is_customer=[True, True], account_type=["H", "H"],
                      is_maintenance=[True, False], bond_class=["CORE", "CORE"]),
        scan_points=scan,
        delta_points=delta,
        exchanges=_table(Exchanges, code=[EXCHANGE], name=["portfolio-margin"]),
        families=tables["families"].table(Families),
        periods=tables["periods"].table(Periods),
        scan_rates=tables["scan_rates"].table(ScanRates),
        contracts=tables["contracts"].table(Contracts),
        arrays=arrays_of,
        **_rule_tables(arrays, chosen, rules, tables["families"]),
    )  # fmt: skip
    asset = arrays.is_collateral & (arrays.instrument_id != arrays.currency)
    return MarketFile(file, contract, tuple(arrays.instrument_id[asset].tolist()))


def is_span_set(arrays: RiskArrays) -> bool:
    """Whether risk arrays were made under the 16 SPAN scenarios, by the vol moves of their pairs."""
    moves = arrays.scenario_set
    if len(moves) != SCENARIOS or not np.all(moves.price_move[:2] == 0.0):
        return False
    vol = moves.vol_move + moves.vol_shift
    paired = np.all(moves.price_move[0:14:2] == moves.price_move[1:14:2]) and np.all(vol[0:14:2] == -vol[1:14:2])
    return bool(paired and np.all(vol[14:] == 0.0) and np.all(moves.price_move[14] == -moves.price_move[15]))


class _Columns:
    """Rows of one table while it is filled."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def add(self, **values: Any) -> int:
        self.rows.append(values)
        return len(self.rows) - 1

    def table(self, kind: type[Columns]) -> Any:
        fill: dict[str, Any] = {"StrArray": "", "IntArray": -1, "FloatArray": np.nan, "BoolArray": False}
        kinds = {name: str(f.type) for name, f in kind.__dataclass_fields__.items()}  # type: ignore[attr-defined]
        return kind.from_rows({name: [row.get(name, fill[t]) for row in self.rows] for name, t in kinds.items()})


def _table(table: type[Columns], /, **columns: list[Any]) -> Any:
    return table.from_rows(columns)


def _rows(arrays: RiskArrays) -> _Rows:
    kind, terms = arrays.kind, arrays.terms
    held = ~arrays.is_collateral
    order = np.flatnonzero(held)
    file_kind = np.where(kind == Kind.OPTION, 2, 1)
    order = order[np.lexsort((order, arrays.expiry_idx[order], file_kind[order], arrays.underlying_idx[order]))]
    forward = terms.forward[arrays.expiry_idx[order]]
    moves = arrays.scenario_set.price_move
    share = moves[10] if moves.shape[1] > 1 else np.repeat(moves[10], len(terms.spot))
    factor = arrays.notional[order] / forward
    underlying = arrays.underlying_idx[order]
    return _Rows(order, underlying, file_kind[order], factor, forward, share[underlying] * forward * factor)


def _period(arrays: RiskArrays, row: int) -> str:
    time = int(arrays.terms.expiry_time[arrays.expiry_idx[row]])
    if time == UNDATED:
        return PERPETUAL
    text: str = np.datetime64(time, "ms").astype("datetime64[D]").item().strftime("%Y%m%d")
    return text


def _contracts(arrays: RiskArrays, chosen: _Rows, tables: dict[str, Any]) -> tuple[list[FloatArray], list[float]]:
    """Fill families, periods, scan rates and contracts; returns losses and composite deltas of the contracts."""
    terms = arrays.terms
    delta = _deltas(arrays, chosen)
    losses: list[FloatArray] = []
    deltas: list[float] = []
    position = {int(row): n for n, row in enumerate(chosen.row.tolist())}
    out = (losses, deltas)
    mine = [chosen.row[chosen.underlying == underlying].tolist() for underlying in range(len(terms.spot))]
    forwards = [
        _forward_family(arrays, underlying, rows, tables, out) if rows else (-1, {})
        for underlying, rows in enumerate(mine)
    ]
    # The format wants physicals first, then futures, then options.
    for kind, underlying, inverse in product((1, 2), range(len(mine)), (True, False)):
        alike = [row for row in mine[underlying] if chosen.kind[position[row]] == kind]
        rows = [row for row in alike if terms.is_inverse[row] == inverse]
        if rows:
            # Linear contracts beside those settled in coin are a family of another code.
            suffix = "" if inverse or len(rows) == len(alike) else "_LINEAR"
            family = _family(arrays, underlying, FAMILY_KINDS[kind], tables, suffix)
            _fill(arrays, chosen, (rows, position, delta), family, forwards[underlying], tables, out)
    return losses, deltas


def _fill(
    arrays: RiskArrays,
    chosen: _Rows,
    listed: tuple[list[int], dict[int, int], FloatArray],
    family: int,
    forwards: tuple[int, dict[int, int]],
    tables: dict[str, Any],
    out: tuple[list[FloatArray], list[float]],
) -> None:
    """Periods, scan rates and contracts of one family; a future is a period of its own."""
    rows, position, delta = listed
    terms, moves = arrays.terms, arrays.scenario_set
    value, years = arrays.value, arrays.years_to_expiry
    unit = arrays.tick_size / arrays.unit
    opened: dict[tuple[int, float], int] = {}
    for row in rows:
        n, expiry = position[row], int(arrays.expiry_idx[row])
        factor, option = float(chosen.factor[n]), bool(chosen.kind[n] == 2)
        key = (expiry if option else -1 - row, factor)
        if key not in opened:
            opened[key] = _open_period(arrays, family, row, factor, float(years[expiry]), forwards, tables)
            underlying = int(chosen.underlying[n])
            relative = float(moves.vol_move[0, min(underlying, moves.vol_move.shape[1] - 1)])
            shift = float(moves.vol_shift[0, min(underlying, moves.vol_shift.shape[1] - 1)])
            vols = {"vol_scan": shift} if shift or not option else {"vol_scan_relative": relative}
            tables["scan_rates"].add(period_idx=opened[key], rate=1, price_scan=float(chosen.price_scan[n]), **vols)
        own = {"right": "C" if terms.sign[row] > 0 else "P", "strike": float(terms.strike[row]),
               "vol": float(terms.vol[row])} if option else {}  # fmt: skip
        price = float(value[row] / factor) if option else float(chosen.forward[n])
        tables["contracts"].add(period_idx=opened[key], contract_id=row + 1, price=price, delta=float(delta[n]),
                                source=row, own_name=str(arrays.instrument_id[row]),
                                quantity_step=float(arrays.quantity_step[row]), **own)  # fmt: skip
        out[0].append(-arrays.rows[row] * unit[row] + 0.0)
        out[1].append(float(delta[n]))


def _forward_family(
    arrays: RiskArrays,
    underlying: int,
    mine: list[int],
    tables: dict[str, Any],
    out: tuple[list[FloatArray], list[float]],
) -> tuple[int, dict[int, int]]:
    """The physicals that options and futures are on: the forward of every expiry. Family number, contract by expiry."""
    family = _family(arrays, underlying, FAMILY_KINDS[0], tables)
    moves = arrays.scenario_set
    column = min(underlying, moves.price_move.shape[1] - 1)
    numbers: dict[int, int] = {}
    for row in mine:
        expiry = int(arrays.expiry_idx[row])
        if expiry in numbers:
            continue
        forward = float(arrays.terms.forward[expiry])
        numbers[expiry] = len(numbers) + 1
        period = tables["periods"].add(family_idx=family, period=_period(arrays, row), contract_value_factor=1.0,
                                       delta_scale=1.0)  # fmt: skip
        scan = forward * float(moves.price_move[10, column])
        tables["scan_rates"].add(period_idx=period, rate=1, price_scan=scan, vol_scan=0.0)
        tables["contracts"].add(period_idx=period, contract_id=numbers[expiry], price=forward, delta=1.0, source=-1)
        out[0].append(-forward * moves.price_move[:, column] * moves.weight + 0.0)
        out[1].append(1.0)
    return int(tables["families"].rows[family]["family_id"]), numbers


def _family(arrays: RiskArrays, underlying: int, kind: str, tables: dict[str, Any], suffix: str = "") -> int:
    code = str(arrays.underlying_id[underlying])
    american = np.any(arrays.terms.exercise[arrays.underlying_idx == underlying] != Exercise.EUROPEAN)
    option = kind == "OOP"
    number = len(tables["families"].rows) + 1
    values: dict[str, Any] = {
        "exchange_idx": 0, "family_id": number, "code": code + suffix, "name": code, "kind": kind,
        "commodity": underlying, "currency": arrays.currency, "contract_value_factor": 1.0,
        "valuation": "FUT" if kind == "FUT" else "EQTY", "price_method": "STD", "settlement": "CASH",
    }  # fmt: skip
    if option:
        values |= {"exercise": "AMER" if american else "EURO", "price_model": "BS", "cabinet": 0.0}
    if kind != "PHY":
        values |= {"underlying_exchange": EXCHANGE, "underlying_family_id": underlying_family(tables, code),
                   "underlying_code": code, "underlying_kind": "PHY", "underlying_side": "B",
                   "underlying_ratio": 1.0}  # fmt: skip
    row: int = tables["families"].add(**values)
    return row


def underlying_family(tables: dict[str, Any], code: str) -> int:
    """Number of the physicals of a code."""
    return next(
        int(row["family_id"]) for row in tables["families"].rows if row["code"] == code and row["kind"] == "PHY"
    )


def _open_period(
    arrays: RiskArrays, family: int, row: int, factor: float, years: float, forwards: tuple[int, dict[int, int]],
    tables: dict[str, Any],
) -> int:  # fmt: skip
    expiry = int(arrays.expiry_idx[row])
    discount = float(arrays.terms.discount[expiry])
    rate = -np.log(discount) / years if years > 0 else 0.0
    code = _period(arrays, row)
    own = {"strike_value_factor": factor, "dividend_yield": rate} if arrays.kind[row] == Kind.OPTION else {}
    number: int = tables["periods"].add(
        family_idx=family, period=code, settlement_date=code if code != PERPETUAL else "", years=years,
        contract_value_factor=factor, delta_scale=factor, underlying_exchange=EXCHANGE,
        underlying_family_id=forwards[0], underlying_contract_id=forwards[1][expiry], underlying_side="B",
        underlying_ratio=1.0, rate=rate, rate_kind=0.0, rate_compounding=0.0, rate_expiry=0.0, **own,
    )  # fmt: skip
    return number


def _deltas(arrays: RiskArrays, chosen: _Rows) -> FloatArray:
    """Composite deltas by the price of a contract, in the order of the file; 1 of futures."""
    terms, row = arrays.terms, chosen.row
    result = np.ones(len(row))
    option = np.flatnonzero(chosen.kind == 2)
    if not len(option):
        return result
    expiry = arrays.expiry_idx[row[option]]
    years = arrays.years_to_expiry[expiry]
    with np.errstate(divide="ignore", invalid="ignore"):
        rate = np.where(years > 0, -np.log(terms.discount[expiry]) / years, 0.0)
    zeros = np.zeros(len(option))
    values = Terms(
        underlying=chosen.forward[option], strike=terms.strike[row[option]], years=years, vol=terms.vol[row[option]],
        rate=rate, carry=zeros, sign=terms.sign[row[option]], factor=chosen.factor[option],
        price_scan=chosen.price_scan[option], vol_scan=zeros, vol_scan_relative=zeros,
    )  # fmt: skip
    passed = float(arrays.scenario_set.time_step_years[0])
    result[option] = composite_delta(values, DELTA_MOVES, DELTA_WEIGHTS, passed)
    return result


def _points(arrays: RiskArrays) -> tuple[ScanPoints, DeltaPoints]:
    moves = arrays.scenario_set
    column = int(np.argmax(moves.price_move[10]))
    multiple = moves.price_move[:, column] / moves.price_move[10, column]
    exact = np.array([_fraction(step) for step in STEPS])
    multiple[:14] = exact[:, 0] / exact[:, 1]
    vol = np.array([1.0, -1.0] * 7 + [0.0, 0.0])
    numbers = np.arange(1, SCENARIOS + 1)
    paired = np.where(numbers < 15, numbers + np.where(numbers % 2, 1, -1), numbers)
    whole = np.ones(SCENARIOS)
    top, bottom = np.append(exact[:, 0], multiple[14:]), np.append(exact[:, 1], [1.0, 1.0])
    scan = ScanPoints(
        commodity_idx=np.full(SCENARIOS, -1), point_set=np.ones(SCENARIOS, dtype=np.int64), point=numbers,
        price=multiple, price_numerator=top, price_denominator=bottom, vol=vol, vol_numerator=vol,
        vol_denominator=whole, weight=moves.weight, paired=paired,
    )  # fmt: skip
    count = len(DELTA_MOVES)
    still, ones = np.zeros(count), np.ones(count)
    delta = DeltaPoints(
        commodity_idx=np.full(count, -1), point_set=np.ones(count, dtype=np.int64), point=np.arange(1, count + 1),
        price=DELTA_MOVES, price_numerator=np.round(DELTA_MOVES * 3), price_denominator=3 * ones, vol=still,
        vol_numerator=still, vol_denominator=ones, weight=DELTA_WEIGHTS,
    )  # fmt: skip
    return scan, delta


def _fraction(text: str) -> tuple[float, float]:
    top, _, bottom = text.partition("/")
    return float(top), float(bottom or 1)


def _header(arrays: RiskArrays, created: str, date: str, time: str) -> Header:
    return Header(
        file_format="4.00", created=created, date=date, is_settlement=False, qualifier="final", time=time, run="",
        clearing_org=EXCHANGE, name="portfolio-margin", is_contract_scale=False, is_net_margin=True,
        finalize_method="", option_delta_method="PERIOD", cap_option_value=False,
        look_ahead_years=float(arrays.scenario_set.time_step_years[0]),
    )  # fmt: skip


def _rule_tables(arrays: RiskArrays, chosen: _Rows, rules: MarketRules, families: _Columns) -> dict[str, Any]:
    """Commodities, one tier each, a spread of long against short deltas, short option minimums, ratios."""
    codes = arrays.underlying_id.tolist()
    count = len(codes)
    each = np.arange(count)
    scan = np.zeros(count)
    minimum = np.zeros(count)
    share = arrays.scenario_set.price_move[10]
    for underlying in range(count):
        # Of one delta: the price scan range of the spot.
        scan[underlying] = share[min(underlying, len(share) - 1)] * arrays.terms.spot[underlying]
        options = (chosen.underlying == underlying) & (chosen.kind == 2)
        minimum[underlying] = np.median(chosen.price_scan[options]) if options.any() else 0.0
    links = sorted((row["commodity"], n) for n, row in enumerate(families.rows))
    purposes = ("intra", "inter", "som")
    tiers = [(c, purpose) for c in range(count) for purpose in purposes]
    som = [n for n, (_, purpose) in enumerate(tiers) if purpose == "som"]
    text = [""] * count
    return {
        "commodities": _table(
            Commodities, code=codes, name=codes, currency=[arrays.currency] * count, risk_exponent=[0] * count,
            cap_option_value=[False] * count, procedure=["NORMAL"] * count,
            weighted_price_risk_method=["NORMAL"] * count, spot_method=["NONE"] * count,
            minimum_method=["GROSS"] * count, combination_method=["NONE"] * count,
        ),
        "links": _table(
            Links, commodity_idx=[c for c, _ in links], family_idx=[f for _, f in links],
            delta_scale=[1.0] * len(links), combination_method=["NONE"] * len(links), basis_risk=["0"] * len(links),
            array_precision=[""] * len(links), option_delta_method=["PERIOD"] * len(links),
        ),
        "adjustments": _table(
            Adjustments, commodity_idx=list(np.repeat(each, 2)), rate=[1, 2] * count, base_rate=[1] * (2 * count),
            factor=[1.0, rules.initial_ratio] * count,
        ),
        "tiers": _table(
            Tiers, commodity_idx=[c for c, _ in tiers], purpose=[p for _, p in tiers], number=[0] * len(tiers),
            start=[""] * len(tiers), end=[""] * len(tiers),
        ),
        "tier_rates": _table(
            TierRates, tier_idx=som, rate=[1] * count, value=list(minimum * rules.short_option_minimum)
        ),
        "spreads": _table(
            Spreads, scope=["intra"] * count, commodity_idx=list(each), kind=["delta"] * count,
            number=["1"] * count, charge_method=["F"] * count, target_required=text, legs_required=text,
        ),
        "spread_rates": _table(
            SpreadRates, spread_idx=list(each), leg=[-1] * count, rate=[1] * count,
            value=list(scan * rules.spread_charge),
        ),
        "spread_legs": _table(
            SpreadLegs, spread_idx=[c for c in range(count) for _ in "AB"],
            commodity=[code for code in codes for _ in "AB"], kind=["tier"] * (2 * count), tier=[0] * (2 * count),
            period=[""] * (2 * count), side=["A", "B"] * count, ratio=[1.0] * (2 * count),
            is_target=[""] * (2 * count), is_required=[""] * (2 * count),
        ),
        "spot_rates": _table(SpotRates, commodity_idx=[], rate=[], period=[], spread=[], outright=[]),
    }  # fmt: skip
