"""Reader of positional SPAN risk parameter files (.pa2) in the expanded unpacked format U2.

Both kinds of array records are read: 81 and 82 with five digits a value, 83 and 84 with eight. The standard format of
80 bytes and the Paris expanded format are read where the places of their fields are given. What is wrong is said with
line and bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from portfolio_margin.io.span_formats import layout_of
from portfolio_margin.io.span_layout import NEEDED, PASSED_OVER, Layout
from portfolio_margin.io.span_records import (
    Lines,
    Records,
    decode,
    key_bytes,
    read_lines,
    unknown_records,
)
from portfolio_margin.io.span_rows import Rows, new_rows
from portfolio_margin.io.span_rules import add_commodity_rules, add_inter_spreads
from portfolio_margin.io.span_source import refuse_record
from portfolio_margin.io.span_stated import agreed, check_flags, told_of_records
from portfolio_margin.span.assumed import assumptions
from portfolio_margin.span.checks import findings
from portfolio_margin.span.days import misdated
from portfolio_margin.span.tables import FUTURES_LIKE, OPTION_TYPES, SCENARIOS, Arrays, Header, RiskParameterFile
from pricing.arrays import FloatArray, IntArray
from pricing.errors import DataError, Problem

# Eighths as their first digit: .125 .25 .375 .5 .625 .75 .875; 4 and 9 do not occur.
EIGHTHS = np.array([0.0, 0.125, 0.25, 0.375, np.nan, 0.5, 0.625, 0.75, 0.875, np.nan])
QUALIFIERS = {"E": "early", "F": "final", "C": "complete"}
ACCOUNT_TYPES = (("M", "member"), ("H", "hedger"), ("S", "speculator"))
MOVES = np.array([0, 0, 1, 1, -1, -1, 2, 2, -2, -2, 3, 3, -3, -3]) / 3.0
DELTA_MOVES = (-1.0, -2 / 3, -1 / 3, 0.0, 1 / 3, 2 / 3, 1.0)
DELTA_WEIGHTS = (0.037, 0.111, 0.217, 0.270, 0.217, 0.111, 0.037)
EXPIRED_VOL = 99.999999
# What stands in the second of the two records of a contract.
SECOND_RECORD = frozenset({"price", "strike", "composite delta", *(f"array value {n}" for n in range(10, 17))})
Key = tuple[str, str, str]


def read_pa2(path: str | Path, layout: Layout | None = None) -> tuple[RiskParameterFile, tuple[str, ...]]:
    """The tables of a positional risk parameter file, and what of it is not computed here, one text a line.

    layout  places of fields in a format other than U2, as of `span_formats.read_layout`

    Raises DataError with line and bytes: another format, an unknown record, a field that is no number, an array
    without its second half, a reference that leads nowhere.
    """
    file = str(path)
    lines = read_lines(path)
    places = layout_of(file, lines, layout)
    problems = unknown_records(file, lines)
    if problems:
        raise DataError(problems)
    reader = _Reader(file, lines, places)
    tables = reader.tables()
    told = (*_notes(lines), *told_of_records(reader.each, reader.refuse), *_empty_periods(tables))
    return tables, (*told, *assumptions(tables))


def settlement_price(raw: FloatArray, decimals: FloatArray, alignment: np.ndarray) -> FloatArray:
    """Prices from their digits.

    decimals   digits behind the point
    alignment  "C": the digits behind the point are 32nds and an eighth of a 32nd; "0": the last digit is an
               eighth of the unit before it; blank: plain decimals. NaN where an eighth is none.
    """
    plain = raw / 10.0**decimals
    with np.errstate(invalid="ignore"):
        size, sign = np.abs(raw), np.where(raw < 0, -1.0, 1.0)
        last = np.where(np.isfinite(size), size % 10, 0).astype(np.int64)
        eighths = (size // 10 + EIGHTHS[last]) / 10.0 ** (decimals - 1)
        whole = size // 10.0**decimals
        behind = size - whole * 10.0**decimals
        thirty_seconds = behind // 10.0 ** (decimals - 2)
        rest = np.where(decimals > 2, EIGHTHS[last], 0.0)
        parts = whole + (thirty_seconds + rest) / 32.0
    return np.where(alignment == "C", sign * parts, np.where(alignment == "0", sign * eighths, plain))


class _Reader:
    """The records of a file on their way into tables."""

    def __init__(self, file: str, lines: Lines, layout: Layout) -> None:
        self.file, self.lines, self.layout = file, lines, layout
        self.rows: dict[str, Rows] = new_rows()
        self.families: dict[Key, int] = {}
        self.exchanges: dict[str, int] = {}
        self.decimals: dict[Key, float] = {}
        self.periods: dict[tuple[int, str, str], int] = {}

    def records(self, kind: str) -> Records:
        found = decode(self.file, self.lines, kind, self.layout)
        for name in NEEDED.get(kind, ()):
            absent = np.flatnonzero(np.isnan(found.columns[name]))
            if len(absent):
                self.refuse(int(found.line[absent[0]]), f"record {kind} {name}", None, "must not be blank")
        return found

    def each(self, kind: str) -> Iterator[tuple[int, dict[str, Any]]]:
        found = self.records(kind)
        return zip(found.line.tolist(), found.rows(), strict=True)

    def refuse(self, line: int, field: str, value: object, remedy: str) -> None:
        refuse_record(self.file, f"line {line}", field, value, remedy)

    def tables(self) -> RiskParameterFile:
        """Everything, checked."""
        head = self._head()
        for line, record in self.each("T"):
            values = {"from_currency": record["from_currency"], "to_currency": record["to_currency"]}
            self.rows["conversions"].add(line, {**values, "factor": record["rate"]})
        for line, record in self.each("1"):
            self.exchanges[record["exchange"]] = self.rows["exchanges"].add(line, {"code": record["exchange"]})
        self._families()
        self._commodities()
        look_ahead = self._periods()
        arrays = self._contracts()
        self._levels(head["gross_net"] != "G")
        self._underlyings()
        add_commodity_rules(self.rows, self.each, self.refuse)
        add_inter_spreads(self.rows, self.each, self.refuse)
        tables = {name: rows.frozen() for name, rows in self.rows.items()}
        header = Header(
            file_format=head["format"],
            created=head["created"],
            date=head["date"],
            is_settlement=head["settle_flag"] == "S",
            qualifier=QUALIFIERS.get(head["file_id"][:1], head["file_id"]),
            time=head["time"],
            run="",
            clearing_org=head["complex"],
            name="",
            is_contract_scale=False,
            is_net_margin=head["gross_net"] == "N",
            finalize_method="",
            option_delta_method="",
            cap_option_value=head["limit_option_value"] == "Y",
            look_ahead_years=look_ahead,
        )
        file = RiskParameterFile(header=header, arrays=arrays, **tables)  # type: ignore[arg-type]
        self._check(file)
        return file

    def _head(self) -> dict[str, Any]:
        found = self.records("0")
        for line, record in self.each("0"):
            check_flags("0", line, record, self.refuse)
        head = agreed("0", self.each, self.refuse, of="")[""]
        for column in ("date", "created", "time"):
            wrong = misdated(column, head[column]) if head[column] or column == "date" else ""
            if wrong:
                self.refuse(int(found.line[0]), f"record 0 {column}", head[column], wrong)
        return head

    def _families(self) -> None:
        for line, record in self.each("P"):
            key = (record["exchange"], record["product"], record["kind"])
            if key in self.families:
                self.refuse(line, "product", "/".join(key), "a P record of this product came before")
            if key[0] not in self.exchanges:
                self.refuse(line, "exchange", key[0], "no record of type 1 names this exchange")
            if key[2] in OPTION_TYPES and np.isnan(record["strike_decimals"]):
                self.refuse(line, "record P strike_decimals", None, "must not be blank of an option")
            power = 0.0 if np.isnan(record["value_factor_exponent"]) else record["value_factor_exponent"]
            values = {
                "exchange_idx": self.exchanges[key[0]],
                "family_id": len(self.families) + 1,
                "code": key[1],
                "name": record["long_name"] or record["name"],
                "kind": key[2],
                "currency": record["currency"],
                "contract_value_factor": record["value_factor"] * 10.0**power,
                "price_decimals": _digits(record["settle_decimals"]),
                "price_format": record["settle_alignment"],
                "strike_decimals": _digits(record["strike_decimals"]),
                "strike_format": record["strike_alignment"],
                "valuation": record["valuation"],
                "price_method": record["quote_method"],
                "settlement": record["settlement"],
                "exercise": record["exercise"],
                "cabinet": record["cabinet"],
            }
            self.families[key] = self.rows["families"].add(line, values)

    def _commodities(self) -> None:
        """Combined commodities and their families; a repeated record of type 2 adds families."""
        known: dict[str, int] = {}
        said = agreed("2", self.each, self.refuse)
        for line, record in self.each("2"):
            check_flags("2", line, record, self.refuse)
            code, stated = record["cc"], said[record["cc"]]
            if code not in known:
                known[code] = self.rows["commodities"].add(
                    line,
                    {
                        "code": code,
                        "name": code,
                        "currency": stated["currency"],
                        "risk_exponent": int(_number_or_zero(stated["risk_exponent"])),
                        "cap_option_value": stated["limit_option_value"] == "Y",
                        "procedure": "NORMAL",
                        "combination_method": {"S": "SPLIT", "D": "DELTASPLIT"}.get(stated["combination"], "NONE"),
                    },
                )
            self._check_decimals(line, record)
            for block in range(1, 7):
                key = (record["exchange"], record[f"product_{block}"], record[f"kind_{block}"])
                if not key[1]:
                    continue
                if key not in self.families:
                    self.refuse(line, "product", "/".join(key), "no record of type P states its prices")
                places = record[f"decimals_{block}"]
                # Arrays and scan ranges are digits: times ten to the exponent of the commodity.
                exponent = self.rows["commodities"].columns["risk_exponent"][known[code]]
                self.decimals[key] = (0.0 if np.isnan(places) else places) - exponent
                values = {"commodity_idx": known[code], "family_idx": self.families[key], "delta_scale": 1.0}
                precision = {"array_precision": str(round(self.decimals[key])), "combination_method": "NONE"}
                self.rows["links"].add(line, {**values, **precision})

    def _check_decimals(self, line: int, record: dict[str, Any]) -> None:
        """Refuse a decimal locator that is blank beside others: all blank are 0, but of several one was lost."""
        blocks = [block for block in range(1, 7) if record[f"product_{block}"]]
        bare = [block for block in blocks if np.isnan(record[f"decimals_{block}"])]
        if bare and len(bare) < len(blocks):
            remedy = "must not be blank where other products of the record state theirs"
            self.refuse(line, f"record 2 decimals_{bare[0]}", None, remedy)

    def _periods(self) -> float:
        """Periods and scan ranges from the array parameters; returns the look-ahead, years."""
        looks, extremes = set(), {}
        for line, record in self.each("B"):
            key = (record["exchange"], record["product"], record["kind"])
            if key not in self.families:
                self.refuse(line, "product", "/".join(key), "no record of type P states its prices")
            check_flags("B", line, record, self.refuse)
            future, option = _period(record, "future"), _period(record, "option")
            period = self._period_row(line, self.families[key], future, option, record)
            power = 10.0 ** _power(record, "price_scan_exponent")
            scale = power * 10.0 ** -self.decimals.get(key, 0.0)
            relative = record["vol_scan_quote"] in ("P", "")
            vol_scan = record["vol_scan"] * 10.0 ** _power(record, "vol_scan_exponent")
            scan = {"period_idx": period, "rate": 1, "price_scan": record["price_scan"] * scale}
            percent = {"vol_scan_relative": vol_scan / 100.0} if relative else {"vol_scan": vol_scan}
            if record["price_scan_quote"] == "P":
                scan = {"period_idx": period, "rate": 1, "price_scan_percent": record["price_scan"] * power}
            self.rows["scan_rates"].add(line, {**scan, **percent})
            looks.add(record["look_ahead"])
            extremes[record["extreme_multiplier"], record["extreme_cover"]] = line
        if len(extremes) > 1:
            line = max(extremes.values())
            self.refuse(line, "extreme move", sorted(extremes), "one multiplier and cover for all records is read")
        for multiplier, cover in extremes:
            self._points(extremes[multiplier, cover], multiplier, cover)
        return looks.pop() if len(looks) == 1 else float("nan")

    def _points(self, line: int, multiplier: float, cover: float) -> None:
        moves = [*MOVES, multiplier, -multiplier]
        for point, move in enumerate(moves, 1):
            inner = point < 15
            vol = 0.0 if not inner else 1.0 if point % 2 else -1.0
            values = {"commodity_idx": -1, "point_set": 1, "point": point, "price": move, "vol": vol}
            paired = point if not inner else point + 1 if point % 2 else point - 1
            self.rows["scan_points"].add(line, {**values, "weight": 1.0 if inner else cover, "paired": paired})
        # Positional files do not state how composite deltas are averaged; CME does it like this.
        for point, (move, weight) in enumerate(zip(DELTA_MOVES, DELTA_WEIGHTS, strict=True), 1):
            values = {"commodity_idx": -1, "point_set": 1, "point": point, "price": move, "vol": 0.0}
            self.rows["delta_points"].add(None, {**values, "weight": weight})

    def _period_row(self, line: int, family: int, future: str, option: str, record: dict[str, Any]) -> int:
        if (family, future, option) in self.periods:
            self.refuse(line, "period", f"{future} {option}", "a B record of this period came before")
        vol = record["base_vol"] * 10.0 ** _power(record, "base_vol_exponent")
        factor = record["value_factor"] * 10.0 ** _power(record, "value_factor_exponent")
        values = {
            "family_idx": family,
            "period": option or future,
            "underlying_period": future if option else "",
            # Zeros state no day.
            "settlement_date": record["expiry"].strip("0") and record["expiry"],
            "years": record["years"],
            # The vol of a contract that is no option is its own.
            "vol": vol if option and record["base_vol"] < EXPIRED_VOL else np.nan,
            "contract_value_factor": factor if factor > 0 else np.nan,
            "delta_scale": record["delta_scale"],
            "rate": record["rate"],
            "dividend_yield": record["dividend"],
        }
        row = self.rows["periods"].add(line, values)
        self.periods[family, future, option] = row
        return row

    def _contracts(self) -> Arrays:
        parts = [self._array_pair("81", "82"), self._array_pair("83", "84")]
        owners, losses, deltas = (np.concatenate(columns) for columns in zip(*parts, strict=True))
        order = np.argsort(owners, kind="stable")
        return Arrays(
            contract_idx=owners[order],
            rate=np.ones(len(order), dtype=np.int64),
            loss=losses[order],
            composite_delta=deltas[order],
        )

    def _array_pair(self, first: str, second: str) -> tuple[Any, Any, Any]:
        """Contracts of two kinds of records that together make an array, each right behind the other."""
        one, two = self.records(first), self.records(second)
        self._check_pairs(one, two, first, second)
        columns, tail = one.columns, two.columns
        keys = list(zip(columns["exchange"].tolist(), columns["product"].tolist(), columns["kind"].tolist(),
                        strict=True))  # fmt: skip
        unknown = [n for n, key in enumerate(keys) if key not in self.families]
        if unknown:
            self.refuse(
                int(one.line[unknown[0]]), "product", "/".join(keys[unknown[0]]), "no P record states its prices"
            )
        family = np.array([self.families[key] for key in keys], dtype=np.int64)
        scale = 10.0 ** -np.array([self.decimals.get(key, 0.0) for key in keys])
        values = [columns[f"value_{n}"] for n in range(1, 10)] + [tail[f"value_{n}"] for n in range(10, SCENARIOS + 1)]
        losses = np.stack(values, axis=1) * scale[:, None] if keys else np.empty((0, SCENARIOS))
        prices = self._prices(family, columns, tail)
        owners = self._add_contracts(one, two, family, prices)
        return owners, losses, tail["composite_delta"]

    def _check_pairs(self, one: Records, two: Records, first: str, second: str) -> None:
        follows = np.isin(one.line + 1, two.line)
        alone = one.line[~follows]
        if len(alone):
            self.refuse(
                int(alone[0]), "record", first, f"its {second} must follow: the file is cut or lines are missing"
            )
        orphans = two.line[~np.isin(two.line - 1, one.line)]
        if len(orphans):
            self.refuse(int(orphans[0]), "record", second, f"must follow its {first}")
        values = self.layout[first]["value_1"]
        last = values.first - 1 if values is not None else 2
        keys = [key_bytes(self.lines, records.line, last) for records in (one, two)]
        differ = np.flatnonzero((keys[0] != keys[1]).any(axis=1))
        if len(differ):
            self.refuse(int(two.line[differ[0]]), "record", second, f"bytes 3-{last} differ from those of its {first}")

    def _prices(self, family: Any, columns: Any, tail: Any) -> dict[str, FloatArray]:
        """Settlement prices and strikes, by the decimals and fractions that the family states."""
        stated = self.rows["families"].columns

        def of(name: str) -> FloatArray:
            listed = np.array([float(text or 0) for text in stated[name]])
            return listed[family] if len(family) else np.empty(0)

        formats = {name: np.array(stated[name], dtype=np.str_) for name in ("price_format", "strike_format")}
        raw = tail["settlement"]
        if "precise_settlement" in columns:
            precise = (columns["precise"] == "Y") & np.isfinite(columns["precise_settlement"])
            raw = np.where(precise, columns["precise_settlement"], raw)
        empty = len(family) == 0
        price = settlement_price(raw, of("price_decimals"), formats["price_format"][family] if not empty else raw)
        strike = settlement_price(
            tail["strike"], of("strike_decimals"), formats["strike_format"][family] if not empty else raw
        )
        return {"price": price, "strike": strike}

    def _add_contracts(self, one: Records, two: Records, family: IntArray, prices: dict[str, FloatArray]) -> IntArray:
        """Rows of the contracts of pairs of records, and of periods that no record of type B described."""
        columns, tail = one.columns, two.columns
        lines = one.line.tolist()
        future = np.char.add(columns["future_month"], columns["future_day"]).tolist()
        option = np.char.add(columns["option_month"], columns["option_day"]).tolist()
        period = []
        for line, key in zip(lines, zip(family.tolist(), future, option, strict=True), strict=True):
            if key not in self.periods:
                under = key[1] if key[2] else ""
                values = {"family_idx": key[0], "period": key[2] or key[1], "underlying_period": under}
                self.periods[key] = self.rows["periods"].add(line, values)
            period.append(self.periods[key])
        first = len(self.rows["contracts"])
        factor = tail["value_factor"] * 10.0 ** np.nan_to_num(tail["value_factor_exponent"])
        vol = tail["implied_vol"] * 10.0 ** np.nan_to_num(tail["implied_vol_exponent"])
        own = {
            "period_idx": period,
            "contract_id": list(range(first + 1, first + 1 + len(lines))),
            "right": columns["right"].tolist(),
            "strike": np.where(np.isin(columns["kind"], OPTION_TYPES), prices["strike"], np.nan).tolist(),
            "price": prices["price"].tolist(),
            "delta": tail["current_delta"].tolist(),
            "vol": vol.tolist(),
            "contract_value_factor": np.where(factor > 0, factor, np.nan).tolist(),
        }
        self.rows["contracts"].extend(lines, own)
        return np.arange(first, first + len(lines))

    def _underlyings(self) -> None:
        """The future that an option is on: of the same combined commodity, by its month."""
        families, periods = self.rows["families"].columns, self.rows["periods"].columns
        contracts, links = self.rows["contracts"].columns, self.rows["links"].columns
        owner = dict(zip(links["family_idx"], links["commodity_idx"], strict=True))
        future_of: dict[tuple[int, str], tuple[int, int]] = {}
        for period, number in zip(contracts["period_idx"], contracts["contract_id"], strict=True):
            family = periods["family_idx"][period]
            if families["kind"][family] in FUTURES_LIKE and family in owner:
                future_of.setdefault((owner[family], periods["period"][period]), (family, number))
        for row, (family, month) in enumerate(zip(periods["family_idx"], periods["underlying_period"], strict=True)):
            found = future_of.get((owner.get(family, -1), month)) if month else None
            if found is not None:
                periods["underlying_family_id"][row] = families["family_id"][found[0]]
                periods["underlying_exchange"][row] = self.codes[families["exchange_idx"][found[0]]]
                periods["underlying_contract_id"][row] = found[1]
                periods["underlying_side"][row], periods["underlying_ratio"][row] = "B", 1.0

    @property
    def codes(self) -> list[str]:
        """Codes of the exchanges in their order."""
        return self.rows["exchanges"].columns["code"]

    def _levels(self, is_net: bool) -> None:
        """Maintenance is rate 1 to 3, initial 4 to 6: of members, hedgers and speculators."""
        for maintenance in (True, False):
            for place, (code, name) in enumerate(ACCOUNT_TYPES, 1):
                values = {"is_customer": code != "M", "account_type": code, "is_maintenance": maintenance}
                rate = place if maintenance else place + len(ACCOUNT_TYPES)
                self.rows["levels"].add(None, {**values, "rate": rate, "bond_class": "CORE"})
                if maintenance:
                    kind = {"is_customer": code != "M", "code": code, "name": name, "is_net_margin": is_net}
                    self.rows["account_types"].add(None, {**kind, "priority": str(place)})

    def _check(self, file: RiskParameterFile) -> None:
        if not len(file.contracts):
            self.refuse(len(self.lines.start), "contracts", 0, "the file holds none: it is cut short")
        problems = []
        for finding in findings(file):
            arrays = finding.table == "arrays"
            row = int(file.arrays.contract_idx[finding.row]) if arrays else finding.row
            line = self.rows["contracts" if arrays else finding.table].places[row]
            if finding.table in ("arrays", "contracts") and finding.field in SECOND_RECORD:
                line += 1
            value = finding.value.item() if hasattr(finding.value, "item") else finding.value
            place = None if line is None else f"line {line}"
            problems.append(Problem(self.file, place, finding.field, value, finding.remedy))
        if problems:
            raise DataError(problems)


def _notes(lines: Lines) -> tuple[str, ...]:
    counts = {kind: int(np.sum(lines.identifier == kind)) for kind in sorted(PASSED_OVER)}
    return tuple(f"{count} records of type {kind}: not computed here" for kind, count in counts.items() if count)


def _empty_periods(file: RiskParameterFile) -> tuple[str, ...]:
    """A line where periods have array parameters and no contract: nothing marks the end of a positional file."""
    empty = np.setdiff1d(np.arange(len(file.periods)), file.contracts.period_idx)
    if not len(empty):
        return ()
    first = f"{file.families.code[file.periods.family_idx[empty[0]]]} {file.periods.period[empty[0]]}"
    return (f"{len(empty)} periods of records B have no contract, first {first}: the file may be cut short",)


def _digits(value: float) -> str:
    return "" if np.isnan(value) else str(int(value))


def _number_or_zero(value: float) -> float:
    return 0.0 if np.isnan(value) else value


def _power(record: dict[str, Any], name: str) -> float:
    return _number_or_zero(record[name])


def _joined(month: object, day: object) -> str:
    return f"{month}{day}"


def _period(record: dict[str, Any], which: str) -> str:
    return _joined(record[f"{which}_month"], record[f"{which}_day"])
