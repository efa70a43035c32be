"""Writer of SPAN XML risk parameter files (.spn, format 4.00), which any SPAN reader can take.

Numbers are written in the fewest digits that read back as the same number; what is absent in a table is left out.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import numpy as np

from portfolio_margin.io.atomic import write_whole
from portfolio_margin.io.span_elements import (
    ACCOUNT_TYPE,
    ADJUSTMENT,
    ALIAS_TYPES,
    CLEARING_ORG,
    COMMODITY,
    CONTRACT_TAGS,
    CONVERSION,
    CURRENCY,
    DELTA_POINT,
    DELTA_SPREAD,
    FAMILY,
    FLAG,
    KIND_TAGS,
    LEVEL,
    LINK,
    NUMBER,
    OPTION,
    PERIOD,
    PERIOD_LEG,
    POINT_IN_TIME,
    RATE,
    SCAN_LEG,
    SCAN_POINT,
    SCAN_RATE,
    SCAN_SPREAD,
    SPOT_RATE,
    TEXT,
    TIER,
    TIER_LEG,
    TIER_TAGS,
    Leaf,
)
from portfolio_margin.span.columns import Columns
from portfolio_margin.span.tables import OPTION_TYPES, RiskParameterFile
from pricing.arrays import IntArray
from pricing.errors import DataError, Problem

# The order of elements in the format.
OPTION_ORDER = ("cId", "o", "k", "p", "pq", "d", "v", "cvf", "svf", "val", "sc")
CONTRACT_ORDER = ("cId", "pe", "p", "d", "v", "cvf", "val", "sc", "divRate", "setlDate", "t", "undC", "intrRate")
SERIES_ORDER = ("pe", "v", "volSrc", "setlDate", "t", "cvf", "svf", "sc", "undC", "intrRate", "divRate")
FAMILY_ORDER = ("pfId", "pfCode", "name", "exercise", "currency", "cvf", "priceDl", "priceFmt", "strikeDl",
                "strikeFmt", "cab", "valueMeth", "priceMeth", "setlMeth", "priceModel", "undPf")  # fmt: skip


# Texts that the format wants even where there is nothing to say.
REQUIRED = frozenset({"symbol", "name", "priority", "finalizeMeth"})


def write_spn(path: str | Path, file: RiskParameterFile) -> None:
    """Write a risk parameter file as XML, whole or not at all; gzip where the name ends in .gz."""
    name = str(path).lower()
    if not name.endswith((".spn", ".spn.gz")):
        raise DataError([Problem(str(path), None, "file type", Path(path).suffix, "a SPAN file ends in .spn")])
    content = spn_bytes(file)
    write_whole(path, gzip.compress(content, mtime=0) if name.endswith(".gz") else content)


def spn_bytes(file: RiskParameterFile) -> bytes:
    """The XML text of a risk parameter file, UTF-8."""
    return "\n".join(_Writer(file).lines()).encode("utf-8") + b"\n"


def plain_number(value: float) -> str:
    """The shortest decimal that reads back as the same number, without an exponent."""
    text = repr(value + 0.0)
    if text.endswith(".0"):
        return text[:-2]
    return text if "e" not in text else np.format_float_positional(value, trim="-")


FORMATS: dict[str, Callable[[Any], str | None]] = {
    TEXT: lambda value: escape(value) or None,
    NUMBER: lambda value: plain_number(value) if value == value else None,
    FLAG: lambda value: str(int(value)),
}


def _whole(value: int) -> str | None:
    return str(value)


class _Row:
    """One row of a table as elements, in the order of the leaves or of the tags given."""

    def __init__(
        self, table: Columns, leaves: dict[str, Leaf], order: tuple[str, ...] = (), absent: tuple[str, ...] = ()
    ) -> None:
        tops = [tag.partition("/")[0] for tag in leaves]
        ordered = [tag for top in (order or dict.fromkeys(tops)) for tag in leaves if tag.partition("/")[0] == top]
        self.plan = []
        for tag in ordered:
            leaf = leaves[tag]
            if hasattr(table, leaf.column):
                values = getattr(table, leaf.column).tolist()
                self.plan.append((tag, values, FORMATS.get(leaf.kind, _whole), leaf.column in absent))

    def text(self, row: int) -> str:
        parts: list[str] = []
        group: str = ""
        for tag, values, form, absent in self.plan:
            value = values[row]
            text = None if absent and value == -1 else form(value)
            if text is None and tag in REQUIRED:
                text = ""
            if text is None:
                continue
            top, _, inner = tag.partition("/")
            wanted = top if inner else ""
            if wanted != group:
                parts.append((f"</{group}>" if group else "") + (f"<{wanted}>" if wanted else ""))
                group = wanted
            name = inner or top
            parts.append(f"<{name}>{text}</{name}>")
        return "".join(parts) + (f"</{group}>" if group else "")


def _by(index: IntArray, count: int) -> list[IntArray]:
    """Rows of a table by the row of another that they belong to, in their own order."""
    order = np.argsort(index, kind="stable")
    bounds = np.searchsorted(index[order], np.arange(count + 1))
    return [order[bounds[row] : bounds[row + 1]] for row in range(count)]


class _Writer:
    """The tables grouped by parent, each row ready to be written."""

    def __init__(self, file: RiskParameterFile) -> None:
        self.file = file
        underlying = ("underlying_family_id", "underlying_contract_id")
        self.family = _Row(file.families, FAMILY.leaves, FAMILY_ORDER, underlying)
        self.series = _Row(file.periods, {**PERIOD, "v": Leaf("vol", NUMBER)}, SERIES_ORDER, underlying)
        self.single = _Row(file.periods, PERIOD, CONTRACT_ORDER, underlying)
        self.option = _Row(file.contracts, OPTION.leaves, OPTION_ORDER)
        own = {"p": Leaf("price", NUMBER), "d": Leaf("delta", NUMBER), "v": Leaf("vol", NUMBER)}
        self.contract = _Row(file.contracts, own)
        self.aliases = [
            (kind, getattr(file.contracts, leaf.column).tolist(), FORMATS[leaf.kind])
            for kind, leaf in ALIAS_TYPES.items()
        ]
        self.value = _Row(file.contracts, {"val": Leaf("value", NUMBER)})
        self.scan = _Row(file.scan_rates, SCAN_RATE.leaves)
        self.families_of = _by(file.families.exchange_idx, len(file.exchanges))
        self.periods_of = _by(file.periods.family_idx, len(file.families))
        self.contracts_of = _by(file.contracts.period_idx, len(file.periods))
        self.scans_of = _by(file.scan_rates.period_idx, len(file.periods))
        self.arrays_of = _by(file.arrays.contract_idx, len(file.contracts))
        self.points: dict[str, tuple[Any, _Row]] = {
            "scanPointDef": (file.scan_points, _Row(file.scan_points, SCAN_POINT.leaves, POINT_ORDER)),
            "deltaPointDef": (file.delta_points, _Row(file.delta_points, DELTA_POINT.leaves, POINT_ORDER)),
        }
        self.commodity = _Row(file.commodities, COMMODITY.leaves, COMMODITY_ORDER)
        self.link = _Row(file.links, {tag: leaf for tag, leaf in LINK.leaves.items() if tag not in LINK_KEYS})
        self.tier, self.tier_rate = _Row(file.tiers, TIER.leaves), _Row(file.tier_rates, RATE.leaves)
        self.delta_spread = _Row(file.spreads, DELTA_SPREAD.leaves)
        self.scan_spread = _Row(file.spreads, SCAN_SPREAD.leaves)
        self.spread_rate = _Row(file.spread_rates, RATE.leaves)
        self.legs = {kind: _Row(file.spread_legs, leaves, order) for kind, (_, leaves, order) in LEGS.items()}
        self.legs_of = _by(file.spread_legs.spread_idx, len(file.spreads))
        self.rates_of = _by(file.spread_rates.spread_idx, len(file.spreads))
        self.losses = file.arrays.loss.tolist()
        self.deltas = file.arrays.composite_delta.tolist()
        self.rates = file.arrays.rate.tolist()

    def lines(self) -> Iterator[str]:
        """The file, one record a line."""
        file = self.file
        yield '<?xml version="1.0" encoding="UTF-8"?>'
        yield "<spanFile>"
        yield from _header_lines(file, (("fileFormat", "file_format"), ("created", "created")))
        yield "<definitions>"
        yield from _records("currencyDef", _Row(file.currencies, CURRENCY.leaves), len(file.currencies))
        types = _Row(file.account_types, ACCOUNT_TYPE.leaves, ("isCust", "acctType", "name", "isNetMargin", "priority"))
        yield from _records("acctTypeDef", types, len(file.account_types))
        yield "</definitions>"
        yield "<pointInTime>"
        order = ("date", "isSetl", "setlQualifier", "time", "run")
        yield from _header_lines(file, [(tag, POINT_IN_TIME.leaves[tag].column) for tag in order])
        yield "<clearingOrg>"
        tags = ("ec", "name", "isContractScale", "isNetMargin", "finalizeMeth", "oopDeltaMeth", "capAnov",
                "lookAheadYears")  # fmt: skip
        yield from _header_lines(file, [(tag, CLEARING_ORG.leaves[tag].column) for tag in tags])
        yield from _records("curConv", _Row(file.conversions, CONVERSION.leaves), len(file.conversions))
        levels = _Row(file.levels, LEVEL.leaves, ("r", "isCust", "acctType", "isM", "pbc"))
        yield from _records("pbRateDef", levels, len(file.levels))
        yield from self._points(-1)
        for exchange in range(len(file.exchanges)):
            yield from self._exchange(exchange)
        for commodity in range(len(file.commodities)):
            yield from self._commodity(commodity)
        for tag, scope in (("superSpreads", "super"), ("interSpreads", "inter")):
            rows = np.flatnonzero(file.spreads.scope == scope)
            if len(rows):
                yield f"<{tag}>"
                for row in rows:
                    yield self._spread(int(row))
                yield f"</{tag}>"
        yield "</clearingOrg>"
        yield "</pointInTime>"
        yield "</spanFile>"

    def _exchange(self, exchange: int) -> Iterator[str]:
        codes = self.file.exchanges
        yield f"<exchange><exch>{escape(codes.code[exchange])}</exch><name>{escape(codes.name[exchange])}</name>"
        for family in self.families_of[exchange].tolist():
            kind = str(self.file.families.kind[family])
            tag = KIND_TAGS[kind]
            yield f"<{tag}>{self.family.text(family)}"
            for period in self.periods_of[family].tolist():
                if kind in OPTION_TYPES:
                    yield f"<series>{self.series.text(period)}{self._scans(period)}"
                    for contract in self.contracts_of[period].tolist():
                        number, rest = self.option.text(contract).partition("</cId>")[::2]
                        option = f"{number}</cId>{self._alias(contract)}{rest}"
                        yield f"<opt>{option}{self._arrays(contract)}</opt>"
                    yield "</series>"
                else:
                    yield self._single(CONTRACT_TAGS[kind], period)
            yield f"</{tag}>"
        yield "</exchange>"

    def _single(self, tag: str, period: int) -> str:
        """A period with its one contract: number, period, price and so on, in the order of the format."""
        contract = int(self.contracts_of[period][0])
        number = self.file.contracts.contract_id[contract]
        text = self.single.text(period)
        begin, after_period = text.partition("</pe>")[::2] if text.startswith("<pe>") else ("", text)
        period_text = begin + "</pe>" if begin else ""
        factor, rest = after_period.partition("</cvf>")[::2] if after_period.startswith("<cvf>") else ("", after_period)
        factor = factor + "</cvf>" if factor else ""
        own = self.contract.text(contract) + factor + self.value.text(contract)
        tail = self._scans(period) + self._arrays(contract)
        return f"<{tag}><cId>{number}</cId>{self._alias(contract)}{period_text}{own}{rest}{tail}</{tag}>"

    def _alias(self, contract: int) -> str:
        """What the contract is called, and traded in, where the file comes from."""
        parts = []
        for kind, values, form in self.aliases:
            text = form(values[contract])
            if text is not None:
                parts.append(f"<alias><aType>{kind}</aType><aVal>{text}</aVal></alias>")
        return "".join(parts)

    def _scans(self, period: int) -> str:
        return "".join(f"<scanRate>{self.scan.text(row)}</scanRate>" for row in self.scans_of[period].tolist())

    def _arrays(self, contract: int) -> str:
        parts = []
        for row in self.arrays_of[contract].tolist():
            losses = "</a><a>".join(map(plain_number, self.losses[row]))
            parts.append(f"<ra><r>{self.rates[row]}</r><a>{losses}</a><d>{plain_number(self.deltas[row])}</d></ra>")
        return "".join(parts)

    def _points(self, commodity: int) -> Iterator[str]:
        scans = self.file.scan_points
        for point_set in dict.fromkeys(scans.point_set[scans.commodity_idx == commodity].tolist()):
            yield f"<pointDef><r>{point_set}</r>"
            for tag, (table, row) in self.points.items():
                mine = (table.commodity_idx == commodity) & (table.point_set == point_set)
                for index in np.flatnonzero(mine).tolist():
                    yield f"<{tag}>{row.text(index)}</{tag}>"
            yield "</pointDef>"

    def _commodity(self, commodity: int) -> Iterator[str]:
        file = self.file
        yield f"<ccDef>{self.commodity.text(commodity)}"
        yield from self._points(commodity)
        for row in np.flatnonzero(file.links.commodity_idx == commodity).tolist():
            family = file.links.family_idx[row]
            exchange = file.exchanges.code[file.families.exchange_idx[family]]
            yield (
                f"<pfLink><exch>{escape(exchange)}</exch><pfId>{file.families.family_id[family]}</pfId>"
                f"<pfCode>{escape(file.families.code[family])}</pfCode><pfType>{file.families.kind[family]}</pfType>"
                f"{self.link.text(row)}</pfLink>"
            )
        yield from _owned("adjRate", file.adjustments, ADJUSTMENT.leaves, ("r", "baseR", "val"), commodity)
        yield from self._tiers(commodity)
        mine = (file.spreads.scope == "intra") & (file.spreads.commodity_idx == commodity)
        yield from (self._spread(int(spread)) for spread in np.flatnonzero(mine))
        yield from _owned("spotRate", file.spot_rates, SPOT_RATE.leaves, ("r", "pe", "sprd", "outr"), commodity)
        yield "</ccDef>"

    def _tiers(self, commodity: int) -> Iterator[str]:
        tiers, rates = self.file.tiers, self.file.tier_rates
        for tag, purpose in TIER_TAGS.items():
            rows = np.flatnonzero((tiers.commodity_idx == commodity) & (tiers.purpose == purpose)).tolist()
            if rows:
                yield f"<{tag}>"
                for row in rows:
                    mine = np.flatnonzero(rates.tier_idx == row).tolist()
                    inner = "".join(f"<rate>{self.tier_rate.text(r)}</rate>" for r in mine)
                    yield f"<tier>{self.tier.text(row)}{inner}</tier>"
                yield f"</{tag}>"

    def _spread(self, spread: int) -> str:
        file = self.file
        delta = file.spreads.kind[spread] == "delta"
        text = (self.delta_spread if delta else self.scan_spread).text(spread) + self._rates(spread, -1)
        for leg in self.legs_of[spread].tolist():
            kind = str(file.spread_legs.kind[leg])
            name = LEGS[kind][0]
            text += f"<{name}>{self.legs[kind].text(leg)}{self._rates(spread, leg)}</{name}>"
        tag = "dSpread" if delta else "sSpread"
        return f"<{tag}>{text}</{tag}>"

    def _rates(self, spread: int, leg: int) -> str:
        rows = [row for row in self.rates_of[spread].tolist() if self.file.spread_rates.leg[row] == leg]
        return "".join(f"<rate>{self.spread_rate.text(row)}</rate>" for row in rows)


POINT_ORDER = ("point", "priceScanDef", "volScanDef", "weight", "pairedPoint")
COMMODITY_ORDER = ("cc", "name", "currency", "riskExponent", "capAnov", "procMeth", "wfprMeth", "spotMeth", "somMeth",
                   "cmbMeth")  # fmt: skip
LINK_KEYS = frozenset({"exch", "pfId", "pfCode", "pfType"})
LEGS: dict[str, tuple[str, dict[str, Leaf], tuple[str, ...]]] = {
    "tier": ("tLeg", TIER_LEG.leaves, ("cc", "tn", "rs", "i")),
    "period": ("pLeg", PERIOD_LEG.leaves, ("cc", "pe", "rs", "i")),
    "scan": ("sLeg", SCAN_LEG.leaves, ("cc", "isTarget", "isRequired", "i")),
}


def _records(tag: str, row: _Row, count: int) -> Iterator[str]:
    return (f"<{tag}>{row.text(index)}</{tag}>" for index in range(count))


def _owned(tag: str, table: Any, leaves: dict[str, Leaf], order: tuple[str, ...], commodity: int) -> Iterator[str]:
    row = _Row(table, leaves, order)
    return (f"<{tag}>{row.text(int(index))}</{tag}>" for index in np.flatnonzero(table.commodity_idx == commodity))


def _header_lines(file: RiskParameterFile, tags: Any) -> Iterator[str]:
    for tag, column in tags:
        value = getattr(file.header, column)
        if isinstance(value, bool):
            yield f"<{tag}>{int(value)}</{tag}>"
        elif isinstance(value, float):
            yield from [f"<{tag}>{plain_number(value)}</{tag}>"] if value == value else []
        elif value or tag in REQUIRED:
            yield f"<{tag}>{escape(value)}</{tag}>"
