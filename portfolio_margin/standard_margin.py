"""Standard margin of crypto venues: every position by itself, as a share of its underlying's price.

A short option costs a share of the underlying less what it is out of the money, at least a smaller share, plus its
mark; a future a rate that grows with the size of the position. Long options cost nothing, and no option counts in the
margin balance: what a short one was sold for is cash, and its mark is asked for as margin.
Deribit's form, which others have taken over with shares of their own; sources in the models' pages.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import localcontext
from functools import partial
from types import MappingProxyType
from typing import ClassVar, NamedTuple, TypeVar

import numpy as np

from portfolio_margin.aggregate import account_sums
from portfolio_margin.balances_owed import (
    CHARGE,
    BalanceRates,
    balance_lines,
    charged_when_owed,
    paid_in_money,
    share_rates,
    with_balances,
)
from portfolio_margin.book import Book
from portfolio_margin.contributions import exact_amounts, position_line, position_ticks
from portfolio_margin.dollars import is_dollar
from portfolio_margin.lacking import gather
from portfolio_margin.nearest import did_you_mean_or_known
from portfolio_margin.order_bounds import Excess, Reach, backing_ceiling
from portfolio_margin.requirement import (
    EXACT,
    Contribution,
    ParameterSet,
    Requirement,
    Traits,
    early_exercise,
    european_on_coins,
    of_stocks,
)
from pricing.arrays import BoolArray, FloatArray, StrArray
from pricing.errors import ConfigError
from pricing.instruments import Kind
from scenarios.of_arrays import of_arrays
from scenarios.risk_arrays import RiskArrays
from scenarios.shocks import MarketRows, ScenarioSet, check_bounds

CHARGES = ("short_options", "futures")
ANY = "any"


@dataclass(frozen=True)
class OptionRates:
    """Shares of the underlying's price that a short option costs.

    initial          initial margin of an option at the money, 0 to 2; what it is out of the money is taken off
    initial_minimum  the least of it, 0 to 2
    maintenance      maintenance margin, 0 to 2
    put_mark         of a put, maintenance margin is at least this share of its mark, 0 to 2
    liquidation      fee of closing that is added to the maintenance margin, 0 to 2
    """

    initial: float = 0.15
    initial_minimum: float = 0.1
    maintenance: float = 0.075
    put_mark: float = 0.075
    liquidation: float = 0.0

    def __post_init__(self) -> None:
        names = ("initial", "initial_minimum", "maintenance", "put_mark", "liquidation")
        check_bounds(self, dict.fromkeys(names, (0.0, 2.0)))


@dataclass(frozen=True)
class FutureRates:
    """Shares of the value of a future or perpetual that a position costs.

    initial, maintenance   of a small position, 0 to 1; maintenance at most initial
    initial_per_coin, maintenance_per_coin   growth of the two shares for every coin of the position, 0 to 1
    """

    initial: float
    maintenance: float
    initial_per_coin: float = 0.0
    maintenance_per_coin: float = 0.0

    def __post_init__(self) -> None:
        names = ("initial", "maintenance", "initial_per_coin", "maintenance_per_coin")
        check_bounds(self, dict.fromkeys(names, (0.0, 1.0)))
        if self.maintenance > self.initial or self.maintenance_per_coin > self.initial_per_coin:
            raise ConfigError(
                f"maintenance = {self.maintenance!r}, maintenance_per_coin = {self.maintenance_per_coin!r}: "
                f"must not exceed initial = {self.initial!r}, initial_per_coin = {self.initial_per_coin!r}"
            )


@dataclass(frozen=True)
class Params:
    """Rates by coin, for every coin that has such contracts; "any" stands for coins that are not named.

    options  "btc" -> OptionRates
    futures  "btc" -> FutureRates, of futures and perpetuals; none where the venue publishes none
    """

    options: Mapping[str, OptionRates]
    futures: Mapping[str, FutureRates] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, kind in (("options", OptionRates), ("futures", FutureRates)):
            table = getattr(self, name)
            if not isinstance(table, Mapping) or not all(isinstance(value, kind) for value in table.values()):
                raise ConfigError(f"{name} = {table!r}: must be a mapping from coin to {kind.__name__}")
            object.__setattr__(self, name, MappingProxyType({str(k).lower(): v for k, v in table.items()}))


@dataclass(frozen=True)
class PositionByPosition(ABC):
    """What models of this form have in common; a model adds its name, its venue and its haircuts."""

    venue: ClassVar[str]
    params: Params
    parameter_set: ParameterSet = field(default_factory=ParameterSet)
    traits: Traits = field(
        default=Traits(proportional=("short_options",), options_counted=False, ours=(CHARGE,)), init=False
    )

    def scenario_set(self, market: MarketRows) -> ScenarioSet | None:
        """None: the model looks at no scenario."""
        return None

    def not_covered(self, arrays: RiskArrays) -> StrArray:
        """(N,) options with early exercise and contracts on stocks; a coin without rates is refused."""
        return european_on_coins(arrays, self.venue)

    def debts_covered(self, arrays: RiskArrays) -> BoolArray:
        """(N,) dollars, where the margin currency is one, and coins with rates of options."""
        return charged_when_owed(self._balances(arrays))

    @abstractmethod
    def haircut(self, arrays: RiskArrays) -> FloatArray:
        """(N,) share of a balance of collateral that does not count, in [0, 1]."""

    def requirement(
        self, book: Book, arrays: RiskArrays, *, backend: str = "numba", threads: int | None = None
    ) -> Requirement:
        """Requirement of every account, its settlement currencies added up."""
        found = requirement(book, arrays, self.params, backend=backend, threads=threads)
        return with_balances(found, book, arrays, *self._balances_of(book, arrays))

    def order_excess(self, arrays: RiskArrays, reach: Reach) -> tuple[Excess, ...]:
        """Ceilings of the futures, where a rate grows with size, and of balances, where a coin held stands against
        money owed: every position at its largest. All else is never more together than apart."""
        ceilings, balances = {}, self._balances(arrays)
        if any(rates.initial_per_coin > 0.0 for rates in self.params.futures.values()):
            largest = replace(reach.book, quantity=reach.size[reach.book.instrument_idx])
            ticks = future_ticks(largest, arrays, self.params)[:, 0]
            ceilings["futures"] = float(ticks.sum()) * arrays.tick_size
        if np.any(balances.backing):
            ceilings[CHARGE] = backing_ceiling(arrays, balances, reach, need=np.inf)
        return (Excess(np.zeros(len(arrays)), ceilings),)

    def contributions(self, book: Book, arrays: RiskArrays) -> list[Contribution]:
        """Position by position."""
        lines = contributions(book, arrays, self.params)
        return lines + balance_lines(book, arrays, *self._balances_of(book, arrays))

    def _balances_of(self, book: Book, arrays: RiskArrays) -> tuple[BalanceRates, FloatArray | None]:
        """Rates of coins, and what every position is asked for where coins held may have to stand for it."""
        rates = self._balances(arrays)
        if not np.any((book.quantity > 0.0)[:, None] & (rates.backing[book.instrument_idx] > 0.0)):
            return rates, None
        return rates, asked_ticks(book, arrays, self.params)

    @of_arrays
    def _balances(self, arrays: RiskArrays) -> BalanceRates:
        """Rates of coins: a coin owed is a short call of strike 0, one that stands against what is owed costs as much;
        none of a coin without rates."""
        shares = np.zeros((len(arrays), 2))
        for row in np.flatnonzero(arrays.is_coin):
            rates = rates_or_none(str(arrays.underlying_id[arrays.underlying_idx[row]]), self.params.options)
            if rates is not None:
                maintained = rates.maintenance + rates.liquidation
                shares[row] = max(rates.initial, rates.initial_minimum, maintained), maintained
        return share_rates(arrays, shares, self.haircut(arrays), put_marks(arrays, self.params.options))


def dollars_only(arrays: RiskArrays) -> FloatArray:
    """(N,) haircuts of a venue that takes no collateral but dollars."""
    return np.where(arrays.is_collateral & ~is_dollar(arrays), 1.0, 0.0)


Kinds = TypeVar("Kinds", OptionRates, FutureRates)


def requirement(
    book: Book, arrays: RiskArrays, params: Params, *, backend: str = "numba", threads: int | None = None
) -> Requirement:
    """Requirement of every account; charges "short_options" and "futures"."""
    short = book.holding(_short_quantity(book, arrays))
    rows, ticks = gather((lambda: option_rows(arrays, params, book), lambda: future_ticks(book, arrays, params)))
    options = account_sums(short, arrays, rows, backend=backend, threads=threads)
    # Whole ticks add up exactly in any order.
    account = np.repeat(np.arange(len(book)), np.diff(book.position_ptr))
    futures = np.zeros((len(book), 2))
    np.add.at(futures, account, ticks)
    amounts = dict(zip(CHARGES, (options, futures * arrays.tick_size), strict=True))
    total = amounts["short_options"] + amounts["futures"]
    return Requirement(total[:, 0], total[:, 1], np.full(len(book), -1), amounts)


def asked_ticks(book: Book, arrays: RiskArrays, params: Params) -> FloatArray:
    """(P,2) initial and maintenance margin of every position, in whole ticks."""
    short = book.holding(_short_quantity(book, arrays))
    options = position_ticks(short, arrays, option_rows(arrays, params, book))
    return options + future_ticks(book, arrays, params)


def contributions(book: Book, arrays: RiskArrays, params: Params) -> list[Contribution]:
    """What every position of the one account of `book` costs."""
    short = book.holding(_short_quantity(book, arrays))
    ticks = {
        "short_options": position_ticks(short, arrays, option_rows(arrays, params, book)),
        "futures": future_ticks(book, arrays, params),
    }
    lines = []
    with localcontext(EXACT):
        for charge, amounts in ticks.items():
            for p in np.flatnonzero(amounts.any(axis=1)):
                initial, _ = exact_amounts(float(amounts[p, 0]), arrays, (1.0, 1.0))
                maintenance, _ = exact_amounts(float(amounts[p, 1]), arrays, (1.0, 1.0))
                lines.append(position_line(book, arrays, int(p), charge, (initial, maintenance)))
    return lines


def option_rows(arrays: RiskArrays, params: Params, book: Book) -> FloatArray:
    """(N,2) initial and maintenance margin of one short option per unit, in whole ticks rounded up; 0 for others, and
    for options on coins of which the book holds none, which need no rates.

    initial = max(initial - out of the money / index, initial_minimum) S + mark, at least the maintenance margin, which
    is maintenance S + mark, of a put max(maintenance S, put_mark mark) + mark, with liquidation S on top. S is the
    price of what one contract is of: one coin where it pays in coin.
    """
    return _option_rows(arrays, params, _underlyings_held(arrays, _kinds(arrays).option, book))


@of_arrays
def _option_rows(arrays: RiskArrays, params: Params, held: bytes) -> FloatArray:
    """(N,2) `option_rows` of a book that holds options on these underlyings."""
    option = _kinds(arrays).option
    table = _columns(arrays, params.options, _of_coins_held(arrays, option, held), OptionRates(0.0, 0.0, 0.0, 0.0))
    initial, least, maintenance, put_mark, liquidation = table.T
    index = _index(arrays)
    strike = np.where(option, arrays.terms.strike, index)
    out_of_the_money = np.maximum(arrays.terms.sign * (strike - index), 0.0) / index
    value, put = arrays.value, arrays.terms.sign < 0.0
    base = _base(arrays, index)
    maintained = maintenance * base
    maintained = np.where(put, np.maximum(maintained, put_mark * value), maintained) + value + liquidation * base
    first = np.maximum(initial - out_of_the_money, least) * base + value
    rows = np.where(option[:, None], np.column_stack([np.maximum(first, maintained), maintained]), 0.0)
    return _ticks(rows * arrays.unit[:, None], arrays)


def put_marks(arrays: RiskArrays, rates: Mapping[str, OptionRates]) -> FloatArray:
    """(N,2) what `put_mark` adds to the margin of one short put paid in money, in ticks, not rounded; else 0."""
    puts = paid_in_money(arrays) & (arrays.kind == Kind.OPTION) & (arrays.terms.sign < 0.0)
    puts &= ~early_exercise(arrays) & ~of_stocks(arrays)
    rows = np.zeros((len(arrays), 2))
    if not np.any(puts):
        return rows
    index, value = _index(arrays), arrays.value
    base, out_of_the_money = _base(arrays, index), np.maximum(index - arrays.terms.strike, 0.0) / index
    for underlying in np.unique(arrays.underlying_idx[puts]):
        mine = puts & (arrays.underlying_idx == underlying)
        known = rates_or_none(str(arrays.underlying_id[underlying]), rates)
        if known is not None:
            first = (np.maximum(known.initial - out_of_the_money, known.initial_minimum) - known.liquidation) * base
            plain = known.maintenance * base
            marked = np.maximum(plain, known.put_mark * value)
            added = np.column_stack([np.maximum(first, marked) - np.maximum(first, plain), marked - plain])
            rows[mine] = added[mine]
    return np.asarray(rows / arrays.tick_size)


def future_ticks(book: Book, arrays: RiskArrays, params: Params) -> FloatArray:
    """(P,2) initial and maintenance margin of every position in futures, in whole ticks rounded up.

    (rate + rate per coin x |coins|) x |coins| x price of a coin; coins of an inverse contract are counted at its mark,
    the price of a linear one is the index.
    """
    row, terms = (
        book.instrument_idx,
        _future_terms(arrays, params, _underlyings_held(arrays, _kinds(arrays).future, book)),
    )
    coins, price = np.abs(book.quantity) * terms.coins[row], terms.price[row]
    initial, maintenance, initial_growth, maintenance_growth = terms.rates[row].T
    shares = np.column_stack([initial + initial_growth * coins, maintenance + maintenance_growth * coins])
    return _ticks(shares * (coins * price)[:, None], arrays)


class _FutureTerms(NamedTuple):
    """(N,) coins per contract, 0 of what is no future, and price of one; (N,4) rates by field of FutureRates."""

    coins: FloatArray
    price: FloatArray
    rates: FloatArray


@of_arrays
def _future_terms(arrays: RiskArrays, params: Params, held: bytes) -> _FutureTerms:
    """What futures are charged by where a book holds some on these underlyings."""
    future, terms = _kinds(arrays).future, arrays.terms
    rates = _columns(arrays, params.futures, _of_coins_held(arrays, future, held), FutureRates(0.0, 0.0))
    forward = np.append(terms.forward, 1.0)[arrays.expiry_idx]
    per_contract = np.where(terms.is_inverse, terms.multiplier / forward, terms.multiplier)
    price = terms.fx[terms.currency_idx] * np.where(terms.is_inverse, 1.0, _index(arrays))
    return _FutureTerms(np.where(future, per_contract, 0.0), price, rates)


class _Kinds(NamedTuple):
    """(N,) options and futures that there are rules for."""

    option: BoolArray
    future: BoolArray


@of_arrays
def _kinds(arrays: RiskArrays) -> _Kinds:
    stock = of_stocks(arrays)
    future = (arrays.kind == Kind.FUTURE) | (arrays.kind == Kind.PERPETUAL)
    return _Kinds((arrays.kind == Kind.OPTION) & ~early_exercise(arrays) & ~stock, future & ~stock)


def _underlyings_held(arrays: RiskArrays, wanted: BoolArray, book: Book) -> bytes:
    """(U,) whether the book holds a contract wanted on each underlying, as bytes, which results are kept by."""
    held = book.instrument_idx[book.quantity != 0.0]
    there = np.zeros(len(arrays.underlying_id), dtype=np.bool_)
    there[arrays.underlying_idx[held[wanted[held]]]] = True
    return there.tobytes()


def _of_coins_held(arrays: RiskArrays, wanted: BoolArray, held: bytes) -> BoolArray:
    """(N,) of the contracts wanted those on underlyings held."""
    there = np.append(np.frombuffer(held, dtype=np.bool_), False)
    return np.asarray(wanted & there[arrays.underlying_idx])


def _columns(arrays: RiskArrays, rates: Mapping[str, Kinds], wanted: np.ndarray, none: Kinds) -> FloatArray:
    """(N,R) rates of each contract by its coin, zeros where not wanted. ConfigError for a coin without rates."""
    option, needed = isinstance(none, OptionRates), np.unique(arrays.underlying_idx[wanted])
    given = gather(partial(_rates_of, str(arrays.underlying_id[u]), rates, option) for u in needed)
    found: dict[int, Kinds] = dict(zip(needed.tolist(), given, strict=True))
    listed = [*(found.get(u, none) for u in range(len(arrays.underlying_id))), none]
    by_underlying = np.array([list(vars(row).values()) for row in listed], dtype=np.float64)
    return np.asarray(by_underlying[np.where(wanted, arrays.underlying_idx, -1)])


def rates_or_none(underlying: str, rates: Mapping[str, Kinds]) -> Kinds | None:
    """Of the coin of an underlying, those of "any" where it has none of its own, None where there are neither."""
    return rates.get(underlying.lower().partition("_")[0], rates.get(ANY))


def _rates_of(underlying: str, rates: Mapping[str, Kinds], kind_is_option: bool) -> Kinds:
    coin, found = underlying.lower().partition("_")[0], rates_or_none(underlying, rates)
    if found is None:
        known = did_you_mean_or_known(coin, list(rates)) if rates else ": the parameter set has none"
        kind = "options" if kind_is_option else "futures"
        raise ConfigError(f"no {kind}.{coin} among the parameters, which contracts on {underlying} need{known}")
    return found


def _index(arrays: RiskArrays) -> FloatArray:
    """(N,) index of the underlying, 1 for cash that none moves."""
    return np.append(arrays.terms.spot, 1.0)[arrays.underlying_idx]


def _base(arrays: RiskArrays, index: FloatArray) -> FloatArray:
    """(N,) margin currency that the underlying of one contract costs: coins, or coins times index."""
    price = np.where(arrays.terms.is_inverse, 1.0, index)
    return np.asarray(arrays.terms.multiplier * arrays.terms.fx[arrays.terms.currency_idx] * price)


def _ticks(amounts: FloatArray, arrays: RiskArrays) -> FloatArray:
    """Amounts in ticks; rounded up where the arrays are rounded, but for the noise of a product of doubles."""
    if arrays.tick is None:
        return amounts
    return np.asarray(np.ceil(np.round(amounts / arrays.tick, 6)) + 0.0)


def _short_quantity(book: Book, arrays: RiskArrays) -> FloatArray:
    option = arrays.kind[book.instrument_idx] == Kind.OPTION
    return np.where(option, np.maximum(-book.quantity, 0.0), 0.0) + 0.0
