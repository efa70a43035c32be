"""tims: customer portfolio margin as OCC's TIMS computes it, the risk-based margin of FINRA 4210(g) and Cboe 10.4.

Every position is valued at ten points between the ends of its product class's range, prices only. With P the P&L of a
class group (an underlying, or several that net fully) at a point,

class group      P                                       full netting inside
product group    sum of min(P, 0) + offset max(P, 0)     gains count by the offset of the product group
portfolio group  the same over its product groups        by the offset of the portfolio group
requirement      sum over portfolio groups of max(L + sum over class groups of (M - own worst loss)+, sum of M)

with L the worst loss of the portfolio group and M the minimum per contract x contracts of a class group: without
offsets, the sum over class groups of max(worst loss, M).

Sources: SEC releases 34-46576 (2002) and 34-54919 (2006) for points and ranges; the minimum of 0.375 per unit of the
multiplier is confirmed by Cboe's printed examples of 2007. Offsets are not public in readable form: parameters.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal, localcontext
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from portfolio_margin.blocks import Block, blocks
from portfolio_margin.book import Book
from portfolio_margin.collateral import haircuts
from portfolio_margin.contributions import exact_amounts, position_line, position_ticks
from portfolio_margin.product_classes import check_product_classes, classes_of, is_stock, without_class
from portfolio_margin.requirement import EXACT, Contribution, ParameterSet, Requirement, Traits
from pricing.arrays import BoolArray, FloatArray, IntArray, StrArray
from pricing.errors import ConfigError
from pricing.instruments import Kind
from scenarios.risk_arrays import RiskArrays
from scenarios.shocks import MarketRows, ScenarioSet, check_bounds, make

RANGES: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        "broad_index_high_cap": (-0.08, 0.06),
        "broad_index": (-0.10, 0.10),
        "narrow_index": (-0.15, 0.15),
        "equity": (-0.15, 0.15),
        "major_currency": (-0.06, 0.06),
        "currency": (-0.20, 0.20),
    }
)
LEVELS = ("class_group", "portfolio_group")
NO_GROUPS: Mapping[str, str] = MappingProxyType({})
NO_OFFSETS: Mapping[str, float] = MappingProxyType({})


@dataclass(frozen=True)
class Params:
    """Parameters, with their bounds.

    ranges             class -> largest fall and rise, relative: -0.99 to 0 and 0 to 10
    product_class      underlying -> class
    default_class      class of underlyings not named; "" for none: their contracts are left out and named
    points             valuation points, an even number from 2 to 100
    spacing            "halves": as many falls as rises, each side in equal steps from its end towards 0;
                       "range": equal steps from end to end
    class_group        underlying -> class group, inside which everything nets; an underlying not named is its own
    product_group      class group -> product group; one not named is its own
    product_offset     product group -> share of a class group's gain that offsets losses of others, 0 to 1
    portfolio_group    product group -> portfolio group; one not named is its own
    portfolio_offset   portfolio group -> share of a product group's gain that offsets losses of others, 0 to 1
    contract_minimum   quote currency per unit of the multiplier of each contract, long or short, 0 to 100
    minimum_level      "class_group": every class group requires its minimum at least, as the rule has it;
                       "portfolio_group": the minimum is one of the portfolio group, its loss after offsets counts
    initial_factor     initial margin per unit of requirement, 1 to 5 (house rules; the rule itself has 1)
    haircut            of every asset but the margin currency, 0 to 1
    """

    ranges: Mapping[str, tuple[float, float]] = field(default_factory=lambda: RANGES)
    product_class: Mapping[str, str] = field(default_factory=dict)
    default_class: str = ""
    points: int = 10
    spacing: str = "halves"
    class_group: Mapping[str, str] = field(default_factory=lambda: NO_GROUPS)
    product_group: Mapping[str, str] = field(default_factory=lambda: NO_GROUPS)
    product_offset: Mapping[str, float] = field(default_factory=lambda: NO_OFFSETS)
    portfolio_group: Mapping[str, str] = field(default_factory=lambda: NO_GROUPS)
    portfolio_offset: Mapping[str, float] = field(default_factory=lambda: NO_OFFSETS)
    contract_minimum: float = 0.375
    minimum_level: str = LEVELS[0]
    initial_factor: float = 1.0
    haircut: float = 1.0

    def __post_init__(self) -> None:
        bounds = {"points": (2, 100), "contract_minimum": (0.0, 100.0), "initial_factor": (1.0, 5.0)}
        check_bounds(self, {**bounds, "haircut": (0.0, 1.0)})
        if self.points % 2:
            raise ConfigError(f"points = {self.points!r}: must be an even whole number")
        if self.spacing not in ("halves", "range"):
            raise ConfigError(f"spacing = {self.spacing!r}: must be halves or range")
        if self.minimum_level not in LEVELS:
            raise ConfigError(f"minimum_level = {self.minimum_level!r}: must be {' or '.join(LEVELS)}")
        _check_ranges(self.ranges)
        check_product_classes(self.product_class, self.default_class, self.ranges)
        for name in ("class_group", "product_group", "portfolio_group"):
            _check_mapping(name, getattr(self, name), str)
        for name in ("product_offset", "portfolio_offset"):
            _check_mapping(name, getattr(self, name), (int, float))
            for group, share in getattr(self, name).items():
                if isinstance(share, bool) or not 0.0 <= share <= 1.0:
                    raise ConfigError(f"{name} {group} = {share!r}: must be a number from 0 to 1")
        for name in _MAPPINGS:
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))


_MAPPINGS = (
    "ranges",
    "product_class",
    "class_group",
    "product_group",
    "product_offset",
    "portfolio_group",
    "portfolio_offset",
)


class Level(NamedTuple):
    """One level of netting: owner of each member of the level below, and what share of the gain of a member counts.

    owner (M,) -> groups of this level, offset (M,) share of a positive P&L of each member
    """

    owner: IntArray
    offset: FloatArray


class Netting(NamedTuple):
    """From underlyings to class, product and portfolio groups, and the names of the first and the last."""

    levels: tuple[Level, Level, Level]
    classes: list[str]
    portfolio: list[str]

    def portfolio_of_class(self) -> IntArray:
        """(class groups,) portfolio group of each."""
        return self.levels[2].owner[self.levels[1].owner]

    def portfolio_of(self, underlying: IntArray) -> IntArray:
        """Portfolio group of underlyings."""
        for level in self.levels:
            underlying = level.owner[underlying]
        return underlying


@dataclass(frozen=True)
class Model:
    """Customer portfolio margin."""

    params: Params = field(default_factory=Params)
    parameter_set: ParameterSet = field(default_factory=ParameterSet)
    model_id: str = field(default="tims", init=False)
    traits: Traits = field(default=Traits(proportional=("scan", "contract_minimum")), init=False)

    def scenario_set(self, market: MarketRows) -> ScenarioSet:
        """The valuation points of every underlying by its class; one without a class stands still."""
        return make(_labels(self.params), _moves(self.params, market.underlying_id))

    def not_covered(self, arrays: RiskArrays) -> StrArray:
        """(N,) names contracts whose underlying has no product class."""
        return without_class(arrays, self._classes(arrays.underlying_id), self.params.ranges)

    def debts_covered(self, arrays: RiskArrays) -> BoolArray:
        """(N,) stock, which is margined as a position."""
        return is_stock(arrays, self._classes(arrays.underlying_id))

    def haircut(self, arrays: RiskArrays) -> FloatArray:
        """(N,) share of foreign currencies and of coins without a class that does not count; stock is margined."""
        stock = is_stock(arrays, self._classes(arrays.underlying_id))
        return np.where(stock, 0.0, haircuts(arrays, self.params.haircut, {}))

    def requirement(
        self, book: Book, arrays: RiskArrays, *, backend: str = "numba", threads: int | None = None
    ) -> Requirement:
        """Requirement of every account; charges "scan" and "contract_minimum" (what it adds)."""
        own = self._positions(book, arrays)
        netting, minimum = self.netting(arrays.underlying_id), self._minimum_rows(arrays)
        scan, added, worst = np.zeros(len(book)), np.zeros(len(book)), np.full(len(book), -1)
        for block in blocks(own, arrays, by="underlying", backend=backend, threads=threads):
            here = slice(block.first, block.last)
            floor = _minimum_of(own.accounts(block.first, block.last), arrays, minimum, netting)
            by_class = self.params.minimum_level == "class_group"
            scan[here], added[here], worst[here] = _netted(block, netting, floor, by_class)
        factors = np.array([self.params.initial_factor, 1.0]) * arrays.tick_size
        charges = {"scan": scan[:, None] * factors, "contract_minimum": added[:, None] * factors}
        total = charges["scan"] + charges["contract_minimum"]
        return Requirement(total[:, 0], total[:, 1], worst, charges)

    def excess_rates(self, arrays: RiskArrays) -> FloatArray | None:
        """(N,) 0 where every class group is a portfolio group of its own: worst losses and minimums are never more
        together than apart. Offsets between groups and minimums by group are, so nothing is stated then."""
        portfolio = self.netting(arrays.underlying_id).portfolio_of_class()
        return np.zeros(len(arrays)) if len(np.unique(portfolio)) == len(portfolio) else None

    def contributions(self, book: Book, arrays: RiskArrays) -> list[Contribution]:
        """Each position's loss at the worst point of its portfolio group, gains by their offsets; what the minimum
        adds."""
        own = self._positions(book, arrays)
        netting, factors = self.netting(arrays.underlying_id), (self.params.initial_factor, 1.0)
        ticks, underlying = position_ticks(own, arrays), arrays.underlying_idx[own.instrument_idx]
        minimum = position_ticks(_gross(own), arrays, self._minimum_rows(arrays)[:, None])[:, 0]
        portfolio, lines = netting.portfolio_of(underlying), []
        classes = [netting.classes[c] for c in netting.levels[0].owner[underlying]]
        with localcontext(EXACT):
            for group in np.unique(portfolio):
                held = np.flatnonzero(portfolio == group)
                point, share = _worst_point(ticks[held], underlying[held], netting)
                name, label = netting.portfolio[group], str(arrays.scenario_set.label[point])
                losses = [-Decimal(float(ticks[p, point])) * s for p, s in zip(held, share, strict=True)]
                scan = max(sum(losses, Decimal(0)), Decimal(0))
                for p, loss in zip(held, losses, strict=True) if scan > 0 else ():
                    amounts = exact_amounts(loss, arrays, factors)
                    lines.append(position_line(own, arrays, int(p), "scan", amounts, netting_set=name, scenario=label))
                for row, amount, text in self._minimum_lines(held, ticks, minimum, classes, scan):
                    amounts = exact_amounts(amount, arrays, factors)
                    lines.append(
                        Contribution("contract_minimum", name, "", f"less {text}", 0.0, "", *amounts)
                        if row < 0
                        else position_line(own, arrays, row, "contract_minimum", amounts, netting_set=name)
                    )
        return lines

    def _minimum_lines(
        self, held: IntArray, ticks: FloatArray, minimum: FloatArray, classes: list[str], scan: Decimal
    ) -> list[tuple[int, Decimal, str]]:
        """What the minimum adds to one portfolio group: (position, ticks, ""), and (-1, ticks, what is taken off)."""
        groups: dict[str, list[int]] = {}
        for p in held:
            groups.setdefault(classes[p], []).append(int(p))
        least = {p: Decimal(float(minimum[p])) for p in map(int, held) if minimum[p] > 0}
        own = {name: max(Decimal(float(-ticks[rows].sum(axis=0).min())), Decimal(0)) for name, rows in groups.items()}
        total = {name: sum((least.get(p, Decimal(0)) for p in rows), Decimal(0)) for name, rows in groups.items()}
        lacking = [name for name in groups if self.params.minimum_level == "class_group" and total[name] > own[name]]
        lacks = sum((total[name] - own[name] for name in lacking), Decimal(0))
        if sum(total.values(), Decimal(0)) - scan > lacks:
            return [*((p, amount, "") for p, amount in least.items()), (-1, -scan, "scan loss")]
        lines: list[tuple[int, Decimal, str]] = []
        for name in lacking:
            lines += [(p, least[p], "") for p in groups[name] if p in least]
            lines.append((-1, -own[name], f"worst loss of {name}"))
        return lines

    def netting(self, underlying_id: StrArray) -> Netting:
        """Groups of every level, from the parameters; what they do not name stands alone."""
        p = self.params
        names = [str(name) for name in underlying_id]
        group = [p.class_group.get(name, name) for name in names]
        first, classes = _level(group, [1.0] * len(group))
        product = [p.product_group.get(name, name) for name in classes]
        second, products = _level(product, [p.product_offset.get(name, 0.0) for name in product])
        portfolio = [p.portfolio_group.get(name, name) for name in products]
        third, portfolios = _level(portfolio, [p.portfolio_offset.get(name, 0.0) for name in portfolio])
        return Netting((first, _alone_in_full(second), _alone_in_full(third)), classes, portfolios)

    def _positions(self, book: Book, arrays: RiskArrays) -> Book:
        """Contracts and stock; other assets bear no risk here and are cut by their haircut."""
        borne = ~arrays.is_collateral | is_stock(arrays, self._classes(arrays.underlying_id))
        return book.keep(borne[book.instrument_idx] & (book.quantity != 0))

    def _classes(self, underlying_id: StrArray) -> StrArray:
        return classes_of(underlying_id, self.params.product_class, self.params.default_class)

    def _minimum_rows(self, arrays: RiskArrays) -> FloatArray:
        """(N,) minimum of one contract per unit, in whole ticks rounded up; 0 for stock and cash."""
        terms = arrays.terms
        settled = (arrays.kind == Kind.FUTURE) | (arrays.kind == Kind.PERPETUAL)
        forward = np.append(terms.forward, 1.0)[arrays.expiry_idx]
        # One inverse future or perpetual stands for its multiplier over the forward in coins.
        units = np.where(settled & terms.is_inverse, terms.multiplier / forward, terms.multiplier)
        # The minimum is in quote currency: what a linear contract settles in, and so much of a coin at its spot.
        spot = np.append(terms.spot, 1.0)[arrays.underlying_idx]
        money = terms.fx[terms.currency_idx] / np.where(terms.is_inverse, spot, 1.0)
        rows = self.params.contract_minimum * units * money * arrays.unit / arrays.tick_size
        if arrays.tick is not None:
            rows = np.ceil(rows - 1e-9 * rows)
        return np.where(arrays.is_collateral, 0.0, rows)


def _moves(params: Params, underlying_id: StrArray) -> FloatArray:
    """(S,U) relative moves, from the lowest price to the highest."""
    ends = {**params.ranges, "": (0.0, 0.0)}
    chosen = classes_of(underlying_id, params.product_class, params.default_class)
    low, high = (np.array([ends[str(name)][side] for name in chosen]) for side in (0, 1))
    if params.spacing == "range":
        share = np.linspace(0.0, 1.0, params.points)[:, None]
        return low + share * (high - low)
    half = params.points // 2
    step = np.arange(1, half + 1)[:, None] / half
    return np.vstack([step[::-1] * low, step * high])


def _labels(params: Params) -> list[str]:
    if params.spacing == "range":
        return [f"point {row} of {params.points}" for row in range(1, params.points + 1)]
    half = params.points // 2
    falls = [f"down {row} of {half}" for row in range(half, 0, -1)]
    return [*falls, *(f"up {row} of {half}" for row in range(1, half + 1))]


def _gross(book: Book) -> Book:
    return replace(book, quantity=np.abs(book.quantity))


def _level(names: list[str], offset: list[float]) -> tuple[Level, list[str]]:
    groups = sorted(set(names))
    owner = np.array([groups.index(name) for name in names], dtype=np.int64)
    return Level(owner, np.array(offset, dtype=np.float64)), groups


def _alone_in_full(level: Level) -> Level:
    """A member that is alone in its group passes its gain on whole: there is nothing it could offset here."""
    members = np.bincount(level.owner, minlength=len(level.owner))
    return level._replace(offset=np.where(members[level.owner] == 1, 1.0, level.offset))


def _merged(ids: IntArray, values: FloatArray) -> tuple[IntArray, FloatArray]:
    """Rows of equal ids added up; ids rising."""
    found, place = np.unique(ids, return_inverse=True)
    total = np.zeros((len(found), values.shape[1]))
    np.add.at(total, place.ravel(), values)
    return found, total


def _up(ids: IntArray, values: FloatArray, level: Level, offset: bool = True) -> tuple[IntArray, FloatArray]:
    """Rows by account and member to rows by account and group; ids are account x groups + group."""
    members = len(level.owner)
    account, member = np.divmod(ids, members)
    counted = np.where(values > 0, values * level.offset[member, None], values) if offset else values
    groups = int(level.owner.max(initial=0)) + 1
    return _merged(account * groups + level.owner[member], counted)


def _netted(
    block: Block, netting: Netting, floor: FloatArray, by_class: bool
) -> tuple[FloatArray, FloatArray, IntArray]:
    """Scan loss, what the minimum adds, and worst point of every account of a block, in ticks.

    floor (accounts, class groups) minimum; by_class: each class group must reach its own.
    """
    accounts, groups = len(block), len(netting.portfolio)
    ids, values = block.account * len(netting.levels[0].owner) + block.key, block.ticks
    owner = netting.portfolio_of_class()
    lack, least = np.zeros((accounts, max(groups, 1))), np.zeros((accounts, max(groups, 1)))
    for number, level in enumerate(netting.levels):
        ids, values = _up(ids, values, level)
        if number == 0:
            row, column = np.divmod(ids, max(len(netting.classes), 1))
            own = np.maximum(-values.min(axis=1, initial=0.0), 0.0)
            np.add.at(least, (row, owner[column]), floor[row, column])
            if by_class:
                np.add.at(lack, (row, owner[column]), np.maximum(floor[row, column] - own, 0.0))
    account, group = np.divmod(ids, max(groups, 1))
    point = np.argmin(values, axis=1) if len(values) else np.zeros(0, np.int64)
    loss = np.maximum(-values[np.arange(len(values)), point], 0.0)
    scan, added, worst = np.zeros(accounts), np.zeros(accounts), np.full(accounts, -1)
    np.add.at(scan, account, loss)
    np.add.at(added, account, np.maximum(least[account, group] - loss, lack[account, group]))
    # Later writes win, so that the group that loses most names the point; equal losses keep the first group.
    order = np.lexsort((-np.arange(len(loss)), loss))
    order = order[loss[order] > 0]
    worst[account[order]] = point[order]
    return scan, added, worst


def _minimum_of(book: Book, arrays: RiskArrays, rows: FloatArray, netting: Netting) -> FloatArray:
    """(accounts, class groups) sum of the minimum over contracts, long and short, in ticks."""
    account = np.repeat(np.arange(len(book)), np.diff(book.position_ptr))
    row = book.instrument_idx
    units = np.abs(book.quantity) / arrays.unit[row]
    steps = np.where(arrays.is_collateral[row], units, np.rint(units))
    total = np.zeros((len(book), max(len(netting.classes), 1)))
    np.add.at(total, (account, netting.levels[0].owner[arrays.underlying_idx[row]]), steps * rows[row])
    return total


def _worst_point(ticks: FloatArray, underlying: IntArray, netting: Netting) -> tuple[int, list[Decimal]]:
    """Worst point of the positions of one portfolio group, and the share each position's P&L has in the loss."""
    ids, values, path = underlying, ticks, []
    for level in netting.levels:
        ids, values = _merged(ids, values)
        path.append((level, ids, values))
        ids, values = level.owner[ids], np.where(values > 0, values * level.offset[ids, None], values)
    ids, values = _merged(ids, values)
    point = int(np.argmin(values[0]))
    share = [Decimal(1)] * len(underlying)
    member = underlying
    for level, found, sums in path:
        for p, name in enumerate(member):
            if sums[np.searchsorted(found, name), point] > 0:
                share[p] *= Decimal(repr(float(level.offset[name])))
        member = level.owner[member]
    return point, share


def _check_ranges(ranges: object) -> None:
    _check_mapping("ranges", ranges, (tuple, list))
    for name, ends in ranges.items():  # type: ignore[attr-defined]
        if len(ends) != 2 or not all(isinstance(e, (int, float)) and not isinstance(e, bool) for e in ends):
            raise ConfigError(f"ranges {name} = {ends!r}: must be the largest fall and the largest rise")
        if not (-0.99 <= ends[0] <= 0.0 <= ends[1] <= 10.0):
            raise ConfigError(f"ranges {name} = {ends!r}: must be from -0.99 to 0 and from 0 to 10")


def _check_mapping(name: str, value: object, kind: type | tuple[type, ...]) -> None:
    if not isinstance(value, Mapping) or not all(isinstance(item, kind) for item in value.values()):
        raise ConfigError(f"{name} = {value!r}: must be a mapping with a value for every name")
