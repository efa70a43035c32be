"""Risk units: models that margin every underlying of an account by itself and add the underlyings up.

A model gives rows of three sorts: of the position (net), of its size whatever its side (gross), of options sold
(short). Their sums by account and underlying, and by expiry inside it, are what its charges are computed from; the
first columns of `net` are the scenarios, the worst of which is the scan.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from decimal import localcontext

import numpy as np

from portfolio_margin.blocks import BLOCK_NUMBERS, Block, blocks
from portfolio_margin.book import Book
from portfolio_margin.contributions import exact_amounts, position_line, position_ticks
from portfolio_margin.requirement import EXACT, Contribution, Requirement
from pricing.arrays import FloatArray, IntArray
from pricing.instruments import Kind
from scenarios.risk_arrays import RiskArrays

SCAN = "scan"


@dataclass(frozen=True)
class UnitRows:
    """Rows of a model by contract, ticks per unit; 0 for collateral.

    net        (N,S+K) scenarios and further columns, summed with the sign of the position
    gross      (N,J) summed over sizes, at least one column
    short      (N,L) summed over sizes of options sold, at least one column
    scenarios  S
    """

    net: FloatArray
    gross: FloatArray
    short: FloatArray
    scenarios: int


@dataclass(frozen=True)
class Units:
    """Sums of consecutive accounts, R units: an underlying of an account each; amounts in ticks.

    first, last       accounts of the block
    account           (R,) counted from `first`
    underlying        (R,) -> U
    scan, column      (R,) worst loss over the scenarios, 0 or more, and where
    net, gross, short (R,...) sums; net without the scenarios
    expiry, unit      (Q,) -> X and -> R of the expiries inside the units
    net_by_expiry     (Q,K) the sums of `net` before they are added up over expiries
    tick_size         margin currency per tick
    """

    first: int
    last: int
    account: IntArray
    underlying: IntArray
    scan: FloatArray
    column: IntArray
    net: FloatArray
    gross: FloatArray
    short: FloatArray
    expiry: IntArray
    unit: IntArray
    net_by_expiry: FloatArray
    tick_size: float

    def over_expiries(self, values: FloatArray) -> FloatArray:
        """(R,) values of the expiries added up by unit."""
        total = np.zeros(len(self.account))
        np.add.at(total, self.unit, values)
        return total


Charges = Callable[[Units], dict[str, FloatArray]]


def requirement(
    book: Book,
    arrays: RiskArrays,
    rows: UnitRows,
    charges: Charges,
    *,
    backend: str = "numba",
    threads: int | None = None,
) -> Requirement:
    """Requirement of every account; `charges` gives (R,2) initial and maintenance part in ticks by name."""
    amounts: dict[str, FloatArray] = {}
    largest, scenario = np.zeros(len(book)), np.full(len(book), -1)
    for units in unit_sums(book, arrays, rows, backend, threads):
        here = slice(units.first, units.last)
        for name, values in charges(units).items():
            ticks = np.zeros((units.last - units.first, 2))
            np.add.at(ticks, units.account, values)
            amounts.setdefault(name, np.zeros((len(book), 2)))[here] = ticks * arrays.tick_size
        np.maximum.at(largest[here], units.account, units.scan)
        top = (units.scan > 0.0) & (units.scan == largest[here][units.account])
        order = np.flatnonzero(top)[::-1]
        scenario[here][units.account[order]] = units.column[order]
    if not amounts:
        amounts = dict.fromkeys(charges(_no_units(arrays, rows)), np.zeros((len(book), 2)))
    total = np.sum(list(amounts.values()), axis=0)
    return Requirement(total[:, 0], total[:, 1], scenario, amounts)


def contributions(book: Book, arrays: RiskArrays, rows: UnitRows, charges: Charges) -> list[Contribution]:
    """The requirement of the one account of `book`: the scan position by position, other charges by underlying."""
    product = position_ticks(book, arrays, rows.net)
    owner = arrays.underlying_idx[book.instrument_idx]
    lines: list[Contribution] = []
    with localcontext(EXACT):
        for units in unit_sums(book, arrays, rows, "numpy", 1):
            for name, values in charges(units).items():
                for r in np.flatnonzero(values.any(axis=1)):
                    u, column = int(units.underlying[r]), int(units.column[r])
                    underlying = str(arrays.underlying_id[u])
                    if name == SCAN:
                        share = float(values[r, 0] / units.scan[r]), float(values[r, 1] / units.scan[r])
                        label = str(arrays.scenario_set.label[column])
                        for p in np.flatnonzero((owner == u) & (product[:, column] != 0.0)):
                            loss = exact_amounts(-float(product[p, column]), arrays, share)
                            line = position_line(
                                book, arrays, int(p), name, loss, netting_set=underlying, scenario=label
                            )
                            lines.append(line)
                        continue
                    initial, _ = exact_amounts(float(values[r, 0]), arrays, (1.0, 1.0))
                    maintenance, _ = exact_amounts(float(values[r, 1]), arrays, (1.0, 1.0))
                    lines.append(Contribution(name, underlying, "", "of the underlying", 0.0, "", initial, maintenance))
    return lines


def unit_sums(book: Book, arrays: RiskArrays, rows: UnitRows, backend: str, threads: int | None) -> Iterator[Units]:
    """Sums of all accounts, block after block."""
    option = (arrays.kind == Kind.OPTION)[book.instrument_idx]
    size = np.abs(book.quantity)
    sold = np.where(option & (book.quantity < 0.0), size, 0.0)
    accounts = BLOCK_NUMBERS // max(rows.net.shape[1], 1)

    def sums(quantity: FloatArray, values: FloatArray) -> Iterator[Block]:
        held = replace(book, quantity=quantity + 0.0)
        numbers = accounts * values.shape[1]
        return blocks(held, arrays, values, by="expiry", backend=backend, threads=threads, numbers=numbers)

    triples = zip(sums(book.quantity, rows.net), sums(size, rows.gross), sums(sold, rows.short), strict=True)
    for net, gross, short in triples:
        yield _units(net, gross.ticks, short.ticks, rows.scenarios, arrays)


def _units(net: Block, gross: FloatArray, short: FloatArray, scenarios: int, arrays: RiskArrays) -> Units:
    """Expiries of a block put together to units; cash that no underlying moves has none."""
    inside = net.key >= 0
    expiry, account = net.key[inside], net.account[inside]
    owner = arrays.terms.expiry_underlying[expiry]
    opens = np.ones(len(expiry), dtype=np.bool_)
    opens[1:] = (np.diff(account) != 0) | (np.diff(owner) != 0)
    first = np.flatnonzero(opens)
    ticks = net.ticks[inside]

    def added(values: FloatArray) -> FloatArray:
        return np.add.reduceat(values, first, axis=0) if len(first) else values[:0]

    sums = added(ticks)
    cells = sums[:, :scenarios]
    column = np.argmin(cells, axis=1)
    return Units(
        first=net.first,
        last=net.last,
        account=account[first],
        underlying=owner[first],
        scan=np.maximum(-cells[np.arange(len(cells)), column], 0.0),
        column=column,
        net=sums[:, scenarios:],
        gross=added(gross[inside]),
        short=added(short[inside]),
        expiry=expiry,
        unit=np.cumsum(opens) - 1,
        net_by_expiry=ticks[:, scenarios:],
        tick_size=net.tick_size,
    )


def _no_units(arrays: RiskArrays, rows: UnitRows) -> Units:
    none, index = np.zeros((0, rows.net.shape[1])), np.zeros(0, np.int64)
    block = Block(0, 0, index, index, none, arrays.tick_size)
    return _units(block, none[:, : rows.gross.shape[1]], none[:, : rows.short.shape[1]], rows.scenarios, arrays)


def whole_ticks(amounts: FloatArray, arrays: RiskArrays) -> FloatArray:
    """(N,K) amounts in margin currency per contract as ticks per unit; 0 for collateral, whole where rounded."""
    rows = np.where(arrays.is_collateral[:, None], 0.0, amounts * (arrays.unit / arrays.tick_size)[:, None])
    return rows if arrays.tick is None else np.rint(rows) + 0.0


def spot_value(arrays: RiskArrays) -> FloatArray:
    """(N,) what the underlying of one contract costs at the spot, margin currency.

    A contract that pays in coin is of so many coins, those of an inverse future counted at its mark.
    """
    forward = np.append(arrays.terms.forward, 1.0)[arrays.expiry_idx]
    at_spot = np.append(arrays.terms.spot, 1.0)[arrays.underlying_idx] / forward
    return np.asarray(arrays.notional * np.where(arrays.terms.is_inverse, 1.0, at_spot))


def vega_per_contract(arrays: RiskArrays) -> FloatArray:
    """(N,) gain for a vol 1.00 higher, margin currency per contract; Black-76, 0 for all but options."""
    terms, option = arrays.terms, arrays.kind == Kind.OPTION
    expiry = np.maximum(arrays.expiry_idx, 0)
    forward, tau = terms.forward[expiry], arrays.years_to_expiry[expiry]
    deviation = np.where(option & (tau > 0.0) & (terms.vol > 0.0), terms.vol * np.sqrt(tau), np.inf)
    strike = np.where(option, terms.strike, forward)
    d1 = np.log(forward / strike) / deviation + np.where(np.isinf(deviation), 0.0, deviation) / 2.0
    density = np.exp(-0.5 * d1 * d1) / np.sqrt(2.0 * np.pi)
    price = terms.fx[terms.currency_idx] * np.where(terms.is_inverse, 1.0, forward) * terms.discount[expiry]
    vega = terms.multiplier * price * density * np.sqrt(tau)
    return np.where(np.isinf(deviation), 0.0, vega)
