"""Reader of SPAN XML risk parameter files (.spn, format 4.00), plain, gzip or zip.

The file streams: an element becomes a row as soon as it ends and is then forgotten, so that memory is that of the
tables. Runs of options are read by pattern (`span_runs`). What is wrong is said with line, byte and element path.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn
from xml.etree import ElementTree

import numpy as np

from portfolio_margin.io.span_elements import (
    ACCOUNT_TYPE,
    ADJUSTMENT,
    ARRAY,
    ARRAY_TAGS,
    CLEARING_ORG,
    COMMODITY,
    CONTRACT,
    CONTRACT_TAGS,
    CONVERSION,
    CURRENCY,
    DELTA_POINT,
    DELTA_SPREAD,
    EXCHANGE,
    FAMILY,
    FAMILY_KINDS,
    LEVEL,
    LINK,
    NUMBER,
    OPTION,
    PERIOD_LEG,
    POINT_DEF,
    POINT_IN_TIME,
    RATE,
    REFUSED,
    SCAN_LEG,
    SCAN_POINT,
    SCAN_RATE,
    SCAN_SPREAD,
    SERIES,
    SPAN_FILE,
    SPOT_RATE,
    SPREAD_SCOPES,
    TAKEN_FOR,
    TIER,
    TIER_LEG,
    TIER_TAGS,
    WHOLE,
)
from portfolio_margin.io.span_finish import add_underlying_periods, check_tables, header_of
from portfolio_margin.io.span_leaves import Leaves, check_leaf, check_mixed, number
from portfolio_margin.io.span_places import Step, open_at_error, place_of, steps_to
from portfolio_margin.io.span_rows import PlaceOfRun, handed_over, new_rows
from portfolio_margin.io.span_runs import Run, UnlikeAnyRun, pieces
from portfolio_margin.io.span_source import (
    CHUNK,
    BadRecord,
    opened,
    refuse_doctype,
    refuse_record,
)
from portfolio_margin.span.assumed import assumptions, shown
from portfolio_margin.span.tables import SCENARIOS, Arrays, RiskParameterFile
from pricing.errors import DataError

Element = ElementTree.Element
# What stands for a run in what the parser gets.
RUN_ELEMENT = b"<opt/>"
# A spread that is left out would lower a margin, so files with these are refused.
NO_SPREADS = {
    "rpLeg": "spreads between relative periods are not read",
    "pmpsRate": "charges by month and spread are not read",
    "dSpread": "spreads inside spreads are not read",
}
# Of a contract that is no option: what is its own and not that of its period.
OWN_COLUMNS = frozenset({"contract_id", "period_idx", "price", "delta", "vol", "value"})


def read_spn(path: str | Path, *, by_pattern: bool = True) -> tuple[RiskParameterFile, tuple[str, ...]]:
    """The tables of an XML risk parameter file, and what of it is not computed here, one text a line.

    by_pattern  read runs of options by pattern, several times faster; the tables and messages are the same

    Raises DataError with the place of what is wrong: text that is no XML, a file cut short, a number that is none,
    an element that the format does not know, a reference that leads nowhere.
    """
    refuse_doctype(path)
    if by_pattern:
        try:
            return _read(path, pieces, placed=False)
        except (DataError, UnlikeAnyRun, ElementTree.ParseError):
            # Element by element then, which says what is wrong with its place.
            pass
    try:
        return _read(path, blocks, placed=True)
    except ElementTree.ParseError as error:
        refuse_syntax(str(path), error)


def refuse_syntax(file: str, error: ElementTree.ParseError) -> NoReturn:
    """Raise a DataError about text that is no XML, or stops too early."""
    line, column = error.position
    said = str(error).split(":")[0]
    cut = said in ("no element found", "unclosed token")
    remedy = "the file is cut short" if cut else "is no well-formed XML"
    inside = open_at_error(file)
    place = f"line {line}, column {column + 1}" + (f", in {inside}" if inside else "")
    refuse_record(file, place, "XML", said, remedy)


def blocks(stream: Any) -> Iterator[bytes | Run]:
    """A file as blocks of bytes, in which nothing is read by pattern."""
    while content := stream.read(CHUNK):
        yield content


def _read(
    path: str | Path, split: Callable[[Any], Iterator[bytes | Run]], placed: bool
) -> tuple[RiskParameterFile, tuple[str, ...]]:
    reader = _Reader(str(path), placed)
    parser: Any = ElementTree.XMLPullParser()
    with opened(path) as stream:
        for piece in split(stream):
            run = piece if isinstance(piece, Run) else None
            reader.run = run
            parser.feed(piece if isinstance(piece, bytes) else RUN_ELEMENT)
            _take_all(reader, parser)
            if run is not None and reader.run is not None:
                # In a comment, say: the parser saw no element there.
                raise UnlikeAnyRun
        parser.close()
        _take_all(reader, parser)
    file = reader.finished()
    return file, (*reader.notes(), *assumptions(file))


def numbered(element: Element) -> Iterator[tuple[Element, Step]]:
    """Children, each with its tag and its number among those of that tag, from 1."""
    counts: Counter[str] = Counter()
    for child in element:
        counts[child.tag] += 1
        yield child, (child.tag, counts[child.tag])


def _take_all(reader: _Reader, parser: Any) -> None:
    for _, element in parser.read_events():
        handler = reader.handlers.get(element.tag)
        if handler is not None:
            reader.take(handler, element)


class _Reader:
    """Rows under construction. Children of an element end before it does, so they belong to the next row.

    placed  whether what is wrong is said with its place, for which the file is walked through once more
    """

    def __init__(self, file: str, placed: bool) -> None:
        self.file, self.placed = file, placed
        self.rows = new_rows()
        self.losses, self.deltas = array("d"), array("d")
        self.array_contract, self.array_rate = array("q"), array("q")
        self.header: dict[str, Any] = {}
        self.ended: Counter[str] = Counter()
        self.leaves = Leaves()
        self.unstated: dict[str, list[str]] = {}
        self.without_spreads: list[str] = []
        self.family_rows: dict[tuple[str, int, str], int] = {}
        self.tag = ""
        self.run: Run | None = None
        self.handlers = {
            "spanFile": self._span_file,
            "definitions": self._definitions,
            "pointInTime": self._point_in_time,
            "clearingOrg": self._clearing_org,
            "exchange": self._exchange,
            "series": self._series,
            "opt": self._option,
            "ccDef": self._commodity,
            **dict.fromkeys(SPREAD_SCOPES, self._spread_list),
            **dict.fromkeys(FAMILY_KINDS, self._family),
            **dict.fromkeys(CONTRACT_TAGS.values(), self._contract),
            **dict.fromkeys(REFUSED, self._refused),
        }

    def take(self, handler: Any, element: Element) -> None:
        """Hand an element over and forget it; what is wrong with it is said with its place."""
        self.tag = tag = element.tag
        try:
            handler(element)
        except BadRecord as error:
            steps = () if error.at is None else steps_to(element, error.at)
            place = self._place(tag, self.ended[tag], steps)
            refuse_record(self.file, place, error.field, error.value, error.remedy)
        self.ended[tag] += 1
        # A clearing organisation and a point in time are read after their children are gone.
        element.clear()

    def _place(self, tag: str, ordinal: int, steps: tuple[Step, ...] = ()) -> str | None:
        return place_of(self.file, tag, ordinal, steps) if self.placed else None

    def _add(self, table: str, values: dict[str, Any], *steps: tuple[str, int]) -> int:
        """A row; steps lead to it from the element that is being read."""
        return self.rows[table].add((self.tag, self.ended[self.tag], steps), values)

    def _run(self, run: Run) -> None:
        """Many options at once, in place of the one element that the parser saw."""
        self.run = None
        contracts = self.rows["contracts"]
        first, before = len(contracts), self.ended[self.tag]
        period = array("q", [len(self.rows["periods"])]) * run.options
        contracts.extend([PlaceOfRun(self.tag, first, before)] * run.options, {**run.columns, "period_idx": period})
        self.losses.frombytes(run.loss.tobytes())
        self.deltas.frombytes(run.delta.tobytes())
        self.array_contract.frombytes((run.owner + first).tobytes())
        self.array_rate.frombytes(run.rate.tobytes())
        self.ended[self.tag] += run.options - 1

    def _option(self, element: Element) -> None:
        if self.run is not None:
            self._run(self.run)
            return
        values = self.leaves.values(element, OPTION) | self.leaves.aliases(element)
        values["period_idx"] = len(self.rows["periods"])
        self._arrays(element, self._add("contracts", values))

    def _arrays(self, element: Element, contract: int) -> None:
        for ra in element.findall("ra"):
            check_mixed(ra)
            for value in ra:
                check_leaf(value, f"ra/{value.tag}")
            texts = [child.text for child in ra]
            if tuple(child.tag for child in ra) != ARRAY_TAGS:
                self.leaves.values(ra, ARRAY)
                count = sum(child.tag == "a" for child in ra)
                remedy = f"an array is r, {SCENARIOS} values a and d, in this order"
                raise BadRecord("ra/a", f"{count} values", remedy, ra)
            joined = "".join(text or "" for text in texts)
            # Python reads 1_0 and digits of other scripts as numbers.
            if "_" in joined or not joined.isascii():
                self._bad_array(ra)
            try:
                rate = int(texts[0] or "")
                losses = list(map(float, texts[1:-1]))  # type: ignore[arg-type]
                delta = float(texts[-1])  # type: ignore[arg-type]
            except (ValueError, TypeError):
                self._bad_array(ra)
            self.losses.extend(losses)
            self.deltas.append(delta)
            self.array_contract.append(contract)
            self.array_rate.append(rate)

    def _bad_array(self, ra: Element) -> NoReturn:
        names = ["ra/r", *(f"ra/a[{n}]" for n in range(1, SCENARIOS + 1)), "ra/d"]
        for name, value in zip(names, ra, strict=True):
            try:
                number(value.text, WHOLE if name == "ra/r" else NUMBER)
            except ValueError:
                raise BadRecord(name, value.text, "must be a number", value) from None
        raise AssertionError("a number that is none reads as one")

    def _period(self, element: Element, values: dict[str, Any]) -> None:
        values["family_idx"] = len(self.rows["families"])
        period = self._add("periods", values)
        for n, rate in enumerate(element.findall("scanRate"), 1):
            self._add("scan_rates", {**self.leaves.values(rate, SCAN_RATE), "period_idx": period}, ("scanRate", n))

    def _series(self, element: Element) -> None:
        self._period(element, self.leaves.values(element, SERIES))

    def _contract(self, element: Element) -> None:
        values = self.leaves.values(element, CONTRACT)
        values["period_idx"] = len(self.rows["periods"])
        self._period(element, {key: value for key, value in values.items() if key not in ("vol", "contract_id")})
        own = {key: value for key, value in values.items() if key in OWN_COLUMNS} | self.leaves.aliases(element)
        self._arrays(element, self._add("contracts", own))

    def _family(self, element: Element) -> None:
        values = self.leaves.values(element, FAMILY)
        self._add(
            "families", {**values, "kind": FAMILY_KINDS[element.tag], "exchange_idx": len(self.rows["exchanges"])}
        )

    def _exchange(self, element: Element) -> None:
        values = self.leaves.values(element, EXCHANGE)
        code = values["code"]
        row = self._add("exchanges", values)
        families = self.rows["families"].columns
        for index, exchange in enumerate(families["exchange_idx"]):
            if exchange == row:
                key = (code, families["family_id"][index], families["kind"][index])
                if key in self.family_rows:
                    raise BadRecord("pfId", key[1], f"two {key[2]} families of {code} have this number")
                self.family_rows[key] = index

    def _commodity(self, element: Element) -> None:
        values = self.leaves.values(element, COMMODITY)
        row = self._add("commodities", values)
        for tag, (column, _) in TAKEN_FOR.items():
            if values.get(column, "") == "":
                self.unstated.setdefault(tag, []).append(values["code"])
        self._points(element, row)
        for child, step in numbered(element):
            tag = child.tag
            if tag == "pfLink":
                self._link(child, row, step)
            elif tag == "adjRate":
                self._add("adjustments", {**self.leaves.values(child, ADJUSTMENT), "commodity_idx": row}, step)
            elif tag == "spotRate":
                self._add("spot_rates", {**self.leaves.values(child, SPOT_RATE), "commodity_idx": row}, step)
            elif tag == "dSpread":
                self._spread(child, "intra", row, step)
            elif tag in TIER_TAGS:
                self._tiers(child, TIER_TAGS[tag], row, step)

    def _link(self, element: Element, row: int, step: Step) -> None:
        values = self.leaves.values(element, LINK)
        exchange, family, kind = values["exchange"], values["family_id"], values.get("kind", "")
        found = self.family_rows.get((exchange, family, kind))
        if found is None and not kind:
            found = next((r for (e, f, _), r in self.family_rows.items() if (e, f) == (exchange, family)), None)
        if found is None and kind in ("IRS", "CDS"):
            return
        if found is None:
            raise BadRecord("pfLink", f"{exchange} {kind} {family}", "no such product family", element)
        self._add("links", {**values, "commodity_idx": row, "family_idx": found}, step)

    def _tiers(self, element: Element, purpose: str, commodity: int, step: Step) -> None:
        check_mixed(element)
        if not len(element):
            raise BadRecord(element.tag, None, "holds no tier", element)
        for child, own in numbered(element):
            if child.tag != "tier":
                self.leaves.other(child.tag, child, TIER)
                continue
            values = {**self.leaves.values(child, TIER), "purpose": purpose, "commodity_idx": commodity}
            row = self._add("tiers", values, step, own)
            for n, rate in enumerate(child.findall("rate"), 1):
                self._add("tier_rates", {**self.leaves.values(rate, RATE), "tier_idx": row}, step, own, ("rate", n))

    def _spread_list(self, element: Element) -> None:
        check_mixed(element)
        if not len(element):
            self.without_spreads.append(element.tag)
        for child, step in numbered(element):
            if child.tag in ("dSpread", "sSpread"):
                self._spread(child, SPREAD_SCOPES[element.tag], -1, step)
            else:
                self.leaves.other(child.tag, child, COMMODITY)

    def _spread(self, element: Element, scope: str, commodity: int, step: Step) -> None:
        delta = element.tag == "dSpread"
        for tag, remedy in NO_SPREADS.items():
            if (unread := element.find(tag)) is not None:
                raise BadRecord(tag, element.findtext("spread"), remedy, unread)
        values = self.leaves.values(element, DELTA_SPREAD if delta else SCAN_SPREAD)
        values |= {"scope": scope, "commodity_idx": commodity, "kind": "delta" if delta else "scan"}
        row = self._add("spreads", values, step)
        for n, rate in enumerate(element.findall("rate"), 1):
            values = {**self.leaves.values(rate, RATE), "spread_idx": row, "leg": -1}
            self._add("spread_rates", values, step, ("rate", n))
        for child, own in numbered(element):
            record, kind = {"tLeg": (TIER_LEG, "tier"), "pLeg": (PERIOD_LEG, "period"), "sLeg": (SCAN_LEG, "scan")}.get(
                child.tag, (None, "")
            )
            if record is None:
                continue
            values = {**self.leaves.values(child, record), "kind": kind, "spread_idx": row}
            leg = self._add("spread_legs", values, step, own)
            for n, rate in enumerate(child.findall("rate"), 1):
                values = {**self.leaves.values(rate, RATE), "spread_idx": row, "leg": leg}
                self._add("spread_rates", values, step, own, ("rate", n))

    def _points(self, element: Element, commodity: int) -> None:
        for n, definition in enumerate(element.findall("pointDef"), 1):
            point_set = self.leaves.values(definition, POINT_DEF)["point_set"]
            if definition.find("scanPointDef") is None:
                raise BadRecord("pointDef", None, "holds no scanPointDef", definition)
            for tag, table, record in (
                ("scanPointDef", "scan_points", SCAN_POINT),
                ("deltaPointDef", "delta_points", DELTA_POINT),
            ):
                for k, point in enumerate(definition.findall(tag), 1):
                    values = {**self.leaves.values(point, record), "commodity_idx": commodity, "point_set": point_set}
                    self._add(table, values, ("pointDef", n), (tag, k))

    def _clearing_org(self, element: Element) -> None:
        if "clearing_org" in self.header:
            raise BadRecord("ec", element.findtext("ec"), "a second clearing organisation; give one a file")
        stated = self.leaves.values(element, CLEARING_ORG)
        if stated.get("look_ahead_years", 0.0) < 0.0:
            stated_at = element.find("lookAheadYears")
            raise BadRecord("lookAheadYears", stated["look_ahead_years"], "must be 0 or more", stated_at)
        self.header |= stated
        self._points(element, -1)
        for tag, table, record in (
            ("curConv", "conversions", CONVERSION),
            ("pbRateDef", "levels", LEVEL),
        ):
            for n, child in enumerate(element.findall(tag), 1):
                self._add(table, self.leaves.values(child, record), (tag, n))

    def _point_in_time(self, element: Element) -> None:
        if "date" in self.header:
            raise BadRecord("date", element.findtext("date"), "a second point in time; give one a file")
        self.header |= self.leaves.values(element, POINT_IN_TIME)

    def _definitions(self, element: Element) -> None:
        check_mixed(element)
        for child, step in numbered(element):
            if child.tag == "currencyDef":
                self._add("currencies", self.leaves.values(child, CURRENCY), step)
            elif child.tag == "acctTypeDef":
                self._add("account_types", self.leaves.values(child, ACCOUNT_TYPE), step)
            else:
                self.leaves.other(child.tag, child, COMMODITY)

    def _span_file(self, element: Element) -> None:
        self.header |= self.leaves.values(element, SPAN_FILE)

    def _refused(self, element: Element) -> None:
        raise BadRecord(element.tag, element.findtext("name"), "files with business functions are not read")

    def notes(self) -> tuple[str, ...]:
        """What stands in the file and is not computed, and what it does not say."""
        told = list(self.leaves.notes())
        told += [f"{tag} of the file is empty: no spreads between commodities" for tag in self.without_spreads]
        told += [f"{shown(codes)}: no {tag} is stated, {TAKEN_FOR[tag][1]} is taken"
                 for tag, codes in self.unstated.items()]  # fmt: skip
        commodities = self.rows["commodities"].columns
        scaled = [c for c, e in zip(commodities["code"], commodities["risk_exponent"], strict=True) if e != 0]
        if scaled:
            told.append(
                f"risk exponents of {shown(scaled)} are not applied: amounts of XML files are taken as they stand"
            )
        return tuple(told)

    def finished(self) -> RiskParameterFile:
        """The tables, checked."""
        if not self.ended["spanFile"]:
            refuse_record(self.file, "line 1", "root element", None, "must be spanFile")
        if "clearing_org" not in self.header:
            place = self._place("spanFile", 0)
            refuse_record(self.file, place, "clearingOrg", None, "the file has no clearing organisation")
        add_underlying_periods(self.rows)
        tables = {name: rows.frozen() for name, rows in self.rows.items()}
        arrays = Arrays(
            contract_idx=np.asarray(handed_over(self.array_contract), dtype=np.int64),
            rate=np.asarray(handed_over(self.array_rate), dtype=np.int64),
            loss=np.asarray(handed_over(self.losses), dtype=np.float64).reshape(-1, SCENARIOS),
            composite_delta=np.asarray(handed_over(self.deltas), dtype=np.float64),
        )
        file = RiskParameterFile(header=header_of(self.header), arrays=arrays, **tables)  # type: ignore[arg-type]
        check_tables(self.file, file, self.rows, self.placed)
        return file
