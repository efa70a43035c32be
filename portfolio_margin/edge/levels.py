"""levels: equity and requirements of one account in moved markets, under any margin model.

In every market all is computed anew as `margin` does it: the model's own scenarios, the risk arrays, the requirement,
the haircuts; amounts are not rounded. Variation margin that futures and perpetuals have paid on the way is in the
cash of the account.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from portfolio_margin.book import Book
from portfolio_margin.collateral import equity
from portfolio_margin.edge.holdings import check_cash, groups_of, holdings
from portfolio_margin.edge.moved import Mover, States
from portfolio_margin.edge.stack import Stack, most_states, stacked
from portfolio_margin.held import rows_only
from portfolio_margin.nearest import did_you_mean_or_known
from portfolio_margin.requirement import MarginModel, covered
from pricing.arrays import FloatArray
from pricing.errors import ConfigError, DataError, NumericalError, Problem
from pricing.instruments import Instruments, Kind
from pricing.market import Market
from pricing.resolve import resolve
from scenarios.revalue import revalue
from scenarios.risk_arrays import RiskArrays
from scenarios.shocks import ScenarioSet

# Doubles in the risk arrays of one stack, 32 MB.
NUMBERS_AT_ONCE = 4_000_000
# States on which a stack is tried out before it is relied on, and what it may be off by, of the notional.
TRIED = States(np.array([0.6, 0.97, 1.0, 1.1, 1.8]), np.array([1.2, 1.0, 1.0, 0.8, 1.5]))
AGREEMENT = 1e-9


class Levels(NamedTuple):
    """(K,) each, margin currency, not rounded.

    equity       value of everything, as the venue marks it
    balance      the margin balance: equity less haircuts and the option value that the model does not count
    initial, maintenance   requirements
    """

    equity: FloatArray
    balance: FloatArray
    initial: FloatArray
    maintenance: FloatArray

    @property
    def excess(self) -> FloatArray:
        """(K,) balance less maintenance: below 0 the account is liquidated."""
        return np.asarray(self.balance - self.maintenance)


@dataclass(frozen=True)
class Case:
    """One account whose edge is looked for.

    account       its name
    own           its book on the rows of `mover.instruments`: what it holds, and all cash
    mover         the market and how it is moved
    model         the margin model
    scenario_set  of a model without scenarios of its own
    scale         gross notional and equity of the account, margin currency: what differences are small against
    at_once       states that one revaluation takes; 1 where they cannot be stacked
    """

    account: str
    own: Book
    mover: Mover
    model: MarginModel
    scenario_set: ScenarioSet
    scale: float
    at_once: int

    @property
    def underlying(self) -> str:
        """Name of the underlying that moves."""
        return str(self.mover.market.underlying_id[self.mover.underlying])

    @property
    def spot(self) -> float:
        """Its price today, quote currency per unit."""
        return float(self.mover.market.spot[self.mover.underlying])

    @property
    def first_expiry_years(self) -> float:
        """Years to the first expiry among the contracts held; inf where none expires."""
        table = self.mover.instruments
        held = self.own.instrument_idx[self.own.quantity != 0]
        dated = held[(table.kind[held] == Kind.OPTION) | (table.kind[held] == Kind.FUTURE)]
        return float(self.mover.years_left[table.expiry_idx[dated]].min(initial=np.inf))


def open_case(
    book: Book,
    instruments: Instruments,
    market: Market,
    model: MarginModel,
    scenario_set: ScenarioSet,
    account: str,
    underlying: str | None = None,
    *,
    sticky: str = "moneyness",
) -> Case:
    """The case of one account.

    scenario_set  as for `market_derivatives`
    underlying    the one that moves; None for the one whose contracts have the largest gross notional
    sticky        "moneyness" or "strike": what vols do as the price moves, see `moved.Mover`

    DataError for an account or underlying that is not there, positions that the model has no rule for (a margin of the
    rest has no edge of the account), and a contract whose variation margin has no cash row to go to.
    """
    own, table, small = _held(book.select(account), instruments, market)
    notional = np.abs(own.quantity) * _notional(table, small)[own.instrument_idx]
    chosen = _underlying(table, small, own, notional, underlying)
    mover = Mover.of(table, small, chosen, sticky)
    check_cash(own, table)
    today = Case(str(account), own, mover, model, scenario_set, 1.0, 1)
    here = States(np.ones(1), np.ones(1))
    now, reasons, arrays = _one_by_one(today, here)
    if reasons:
        raise DataError(_excluded(today, reasons, here))
    case = replace(today, scale=max(float(notional.sum()), abs(float(now.equity[0])), 1.0))
    # A coin as margin currency is one for all states, so that they have no common market.
    if case.model.traits.rows_by_name or str(small.currency_id[0]) in small.underlying_id:
        return case
    at_once = most_states(mover, len(arrays.scenario_set), NUMBERS_AT_ONCE)
    return replace(case, at_once=at_once) if at_once > 1 and _agrees(case) else case


def levels(case: Case, price: FloatArray, vol: FloatArray | float = 1.0, years: float = 0.0) -> Levels:
    """Levels of the account in K moved markets; price and vol broadcast and are flattened.

    price  multiple of today's price, above 0
    vol    multiple of today's vols, above 0
    years  that have passed, no later than the first expiry held, which is not settled yet

    DataError for states outside these bounds and where the model has no rule for a position in one of them.
    """
    found, states, reasons = _tried(case, price, vol, years)
    if reasons:
        raise DataError(_excluded(case, reasons, states))
    return found


def levels_where_ruled(
    case: Case, price: FloatArray, vol: FloatArray | float = 1.0, years: float = 0.0, *, settled: bool = False
) -> tuple[Levels, tuple[str, ...]]:
    """The same with NaN in states in which the model has no rule for a position, and why, one line a position.

    settled  whether what expires at that moment has been settled, at the forwards of each state
    """
    found, states, reasons = _tried(case, price, vol, years, settled)
    return found, tuple(f"{problem.value}: {problem.remedy}" for problem in _excluded(case, reasons, states))


def account_at(case: Case, price: float) -> tuple[Book, RiskArrays]:
    """The account, and the risk arrays of what it holds, after the price has moved and futures have paid.

    price  multiple of today's, above 0

    Amounts are in whole ticks as in any risk arrays: what `margin` or a liquidation policy takes.
    """
    states = States(np.array([price]), np.ones(1))
    _check_states(case, states)
    (market,) = case.mover.markets(states)
    moves = case.model.scenario_set(market)
    arrays = revalue(case.mover.instruments, market, case.scenario_set if moves is None else moves)
    rows, quantity = holdings(case.own, case.mover, states)
    names = np.full(len(rows), case.account)
    return Book.from_arrays(names, rows, quantity[0], groups_of(case.own, arrays.expiry_idx)), arrays


def _tried(
    case: Case, price: FloatArray, vol: FloatArray | float, years: float, settled: bool = False
) -> tuple[Levels, States, dict[int, tuple[str, ...]]]:
    """Levels, the states they are of, and by state what the model has no rule for."""
    both = np.broadcast_arrays(np.asarray(price, dtype=np.float64), np.asarray(vol, dtype=np.float64))
    states = States(both[0].ravel(), both[1].ravel(), float(years), settled)
    _check_states(case, states)
    parts: list[Levels] = []
    reasons: dict[int, tuple[str, ...]] = {}
    for first in range(0, len(states), case.at_once):
        part = states.part(first, min(first + case.at_once, len(states)))
        found, unseen = _at_once(case, part) if case.at_once > 1 else _one_by_one(case, part)[:2]
        parts.append(found)
        reasons |= {first + k: lines for k, lines in unseen.items()}
    if not parts:
        return Levels(*(np.zeros(0),) * len(Levels._fields)), states, reasons
    return Levels(*(np.concatenate(column) for column in zip(*parts, strict=True))), states, reasons


def _one_by_one(case: Case, states: States) -> tuple[Levels, dict[int, tuple[str, ...]], RiskArrays]:
    """Levels, each in a market of its own; what has no rule, by state; and the risk arrays of the last."""
    rows, quantity = holdings(case.own, case.mover, states)
    found: list[Levels] = []
    reasons: dict[int, tuple[str, ...]] = {}
    for k, market in enumerate(case.mover.markets(states)):
        moves = case.model.scenario_set(market)
        arrays = revalue(case.mover.instruments, market, case.scenario_set if moves is None else moves, tick=None)
        groups = groups_of(case.own, arrays.expiry_idx)
        book = Book.from_arrays(np.zeros(len(rows), np.int64), rows, quantity[k], groups)
        level, unseen = _levels(case, book, arrays)
        found.append(level)
        if unseen:
            reasons[k] = unseen[0]
    return Levels(*(np.concatenate(column) for column in zip(*found, strict=True))), reasons, arrays


def _at_once(case: Case, states: States) -> tuple[Levels, dict[int, tuple[str, ...]]]:
    """The same in one market that holds them all."""
    stack = stacked(case.mover, states)
    names = case.mover.market
    moves = case.model.scenario_set(stack.rows(names.underlying_id))
    arrays = revalue(
        stack.instruments, stack.market, stack.spread(case.scenario_set) if moves is None else moves, tick=None
    )
    arrays = _under_old_names(case, stack, arrays)
    rows, quantity = holdings(case.own, case.mover, states)
    owner = np.repeat(np.arange(len(states)), len(rows))
    place = stack.contracts.place(np.tile(rows, len(states)), owner)
    book = Book.from_arrays(owner, place, quantity.ravel(), groups_of(case.own, arrays.expiry_idx))
    return _levels(case, book, arrays)


def _under_old_names(case: Case, stack: Stack, arrays: RiskArrays) -> RiskArrays:
    """The risk arrays of a stack as models know them: every copy under the name of what it is a copy of."""
    market, table = case.mover.market, case.mover.instruments
    expiry_name = np.array(market.expiry_name, dtype=np.str_)
    return replace(
        arrays,
        instrument_id=table.instrument_id[stack.contracts.origin],
        underlying_id=market.underlying_id[stack.underlyings.origin],
        expiry_name=expiry_name[stack.expiries.origin],
        terms=replace(arrays.terms, currency_id=market.currency_id[stack.currencies.origin]),
    )


def _levels(case: Case, book: Book, arrays: RiskArrays) -> tuple[Levels, dict[int, tuple[str, ...]]]:
    """Levels of every account of the book, which are named by their numbers, and by account what has no rule.

    Those who hold something without a rule have NaN.
    """
    model: MarginModel = case.model.for_arrays(arrays) if hasattr(case.model, "for_arrays") else case.model
    seen, lines = covered(model, book, arrays)
    required = model.requirement(seen, arrays)
    held = equity(book, arrays, model.haircut(arrays), options_counted=model.traits.options_counted)
    marked = held.equity if required.revaluation is None else held.equity + required.revaluation
    found = Levels(marked, marked - held.haircut - held.uncounted, required.initial, required.maintenance)
    if not all(np.all(np.isfinite(column)) for column in found):
        raise NumericalError(f"{case.account}: a margin in a moved market came out as no finite number")
    if not lines:
        return found, {}
    unseen: dict[int, tuple[str, ...]] = {}
    for line in lines:
        name, _, rest = line.partition(" ")
        number = book.row_of(name)
        unseen[number] = (*unseen.get(number, ()), rest)
    ruled = ~np.isin(np.arange(len(book)), list(unseen))
    return Levels(*(np.where(ruled, column, np.nan) for column in found)), unseen


def _excluded(case: Case, reasons: dict[int, tuple[str, ...]], states: States) -> list[Problem]:
    """One problem a position, at the price nearest to today's at which the model has no rule for it."""
    problems: dict[str, Problem] = {}
    for number in sorted(reasons, key=lambda k: abs(float(np.log(states.price[k])))):
        for line in reasons[number]:
            name, _, reason = line.partition(": ")
            price = states.price[number]
            place = "" if price == 1.0 else f" with {case.underlying} at {price * case.spot:,.6g}"
            remedy = f"{reason}{place}: the edge is of a whole account, so there is none"
            problems.setdefault(name, Problem("book", case.account, "instrument", name, remedy))
    return list(problems.values())


def _check_states(case: Case, states: States) -> None:
    problems = []
    for name, values in (("price", states.price), ("vol", states.vol)):
        for k in np.flatnonzero(~((values > 0.0) & np.isfinite(values))):
            problems.append(Problem("states", int(k), name, float(values[k]), "must be a multiple above 0"))
    latest = case.first_expiry_years
    if not 0.0 <= states.years <= latest:
        remedy = f"must be 0 or more, and at most {latest:.6g}, when the first contract held expires"
        problems.append(Problem("states", None, "years", states.years, remedy))
    if problems:
        raise DataError(problems)


def _agrees(case: Case) -> bool:
    """Whether a stack gives what single markets give, on a few states."""
    single, together = _one_by_one(case, TRIED)[0], _at_once(case, TRIED)[0]
    near = AGREEMENT * case.scale
    return all(np.allclose(a, b, rtol=0.0, atol=near, equal_nan=True) for a, b in zip(single, together, strict=True))


def _underlying(table: Instruments, market: Market, own: Book, notional: FloatArray, wanted: str | None) -> int:
    names = market.underlying_id.tolist()
    if wanted is not None:
        if wanted not in names:
            remedy = "no such underlying" + did_you_mean_or_known(wanted, names)
            raise DataError([Problem("market", None, "underlying", wanted, remedy)])
        return names.index(wanted)
    if not names:
        raise ConfigError("the market has no underlying: no price moves, so there is no edge")
    owner = table.underlying_idx[own.instrument_idx]
    by_underlying = np.bincount(owner[owner >= 0], notional[owner >= 0], minlength=len(names))
    return int(np.argmax(by_underlying))


def _notional(table: Instruments, market: Market) -> FloatArray:
    """(N,) margin currency per contract."""
    inputs = resolve(table, market)
    price = np.where(inputs.inverse > 0, 1.0, inputs.forward)
    return np.asarray(inputs.multiplier * price * market.fx[inputs.currency_idx])


def _held(own: Book, instruments: Instruments, market: Market) -> tuple[Book, Instruments, Market]:
    """The book of one account on a table of what it holds and the cash, that table, and the market of these rows."""
    kept = np.unique(np.concatenate([own.instrument_idx, np.flatnonzero(instruments.kind == Kind.CASH)]))
    return rows_only(own, instruments, market, kept)
