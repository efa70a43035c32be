"""run: a path of the market over all accounts of a venue, with the liquidation of accounts in the loop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from portfolio_margin.aggregate import account_sums
from portfolio_margin.book import Book
from portfolio_margin.liquidation.plan import Costs
from portfolio_margin.requirement import MarginModel
from portfolio_margin.statement import AccountStatus, up
from portfolio_margin.stress import balances as ledger
from portfolio_margin.stress.balances import TICK, Balances, House, Losses
from portfolio_margin.stress.closing import Desk, Round, accounts_of, plan_round
from portfolio_margin.stress.holdings import Holdings, prepare_holdings
from portfolio_margin.stress.measured import Measured, measured, put
from portfolio_margin.stress.moved import expired, market_at, variation
from portfolio_margin.stress.path import StressPath
from portfolio_margin.stress.result import Result, StepRow
from portfolio_margin.stress.rules import Rules
from pricing.arrays import BoolArray, FloatArray, IntArray
from pricing.instruments import Instruments
from pricing.market import Market
from scenarios.revalue import revalue
from scenarios.risk_arrays import RiskArrays
from scenarios.shocks import ScenarioSet

# A push of prices below this waits for the next step; so much log price is a tenth of a percent.
SMALLEST_PUSH = 1e-3
# Equity is rounded down at every mark, a premium in coin to the nearest tick of the arrays.
AUDIT_TICKS = 3
REFERENCE_DAYS = 30.0


@dataclass(frozen=True)
class Venue:
    """A venue at the start of a stress.

    book, instruments, market   its accounts, contracts and prices
    model       margin model
    scenarios   the scenario set of a market, for models that have none of their own
    backend, threads   as for `margin`
    """

    book: Book
    instruments: Instruments
    market: Market
    model: MarginModel
    scenarios: Callable[[Market], ScenarioSet]
    backend: str = "numba"
    threads: int | None = None

    def arrays(self, market: Market) -> RiskArrays:
        """Risk arrays of a market under the scenarios of the model, or the venue's."""
        own = self.model.scenario_set(market)
        return revalue(self.instruments, market, own or self.scenarios(market), backend=self.backend)


class State(NamedTuple):
    """Between two things that happen: what is held, booked and true.

    held, books      positions, and what everybody is worth
    market, arrays   as they are; pushed (U,) log price by forced trades
    closed      (A,) accounts that were closed: they hold nothing but cash
    lowest      ticks that the fund has had at any time, the least
    uncovered   ticks that closed accounts owe still
    """

    held: Holdings
    books: Balances
    market: Market
    arrays: RiskArrays
    pushed: FloatArray
    closed: BoolArray
    lowest: int
    uncovered: int = 0


@dataclass
class Tally:
    """What happens within a step."""

    touched: BoolArray
    sold: FloatArray
    bankrupt: int = 0
    costs: int = 0
    penalties: int = 0
    capacity: float = 0.0
    losses: list[Losses] = field(default_factory=list)

    def sum(self, name: str) -> float:
        """Margin currency of a kind of loss."""
        return TICK * sum(getattr(loss, name) for loss in self.losses)


def _silent(name: str) -> None:
    """Nobody is told."""


def run(venue: Venue, path: StressPath, rules: Rules | None = None, tell: Callable[[str], None] = _silent) -> Result:
    """The stress of a venue along a path.

    tell  is called with a text after every step, for a bar

    Deterministic: the same venue, path and rules give the same numbers. Value is conserved to the tick in every step,
    which is asserted, and so is that the books are what the positions are worth.

    DataError where the path does not move an underlying of the market, ConfigError for rules out of their bounds.
    """
    how = rules or Rules()
    engine = Engine(venue, path.for_underlyings(venue.market.underlying_id.tolist()), how)
    state = engine.opened()
    opening, rows = state.books, []
    liquidated = np.zeros(len(venue.book), dtype=np.bool_)
    traced: list[tuple[FloatArray, ...]] = []
    for step in range(len(path)):
        state, row, touched = engine.step(state, step, opening)
        rows.append(row)
        liquidated |= touched
        traced.append((state.market.spot, engine.vol_factor(step, state.pushed), state.pushed))
        tell(f"hour {path.hours[step]:g}")
    price, vol, pushed = (np.stack(column) for column in zip(*traced, strict=True))
    names = venue.market.underlying_id
    currency = state.arrays.currency
    end, fund = state.books, TICK * float(opening.house[House.FUND])
    drawn = opening.house[House.FUND] - state.lowest
    needed = TICK * float(drawn + how.waterfall.fund_floor if drawn else 0)
    return Result(path, currency, tuple(rows), price, vol, pushed, names, liquidated, end, opening, fund, needed)


@dataclass(frozen=True)
class Engine:
    """A venue, a path with its underlyings in order, and rules."""

    venue: Venue
    path: StressPath
    rules: Rules

    def opened(self) -> State:
        """Before the first step."""
        arrays = self.venue.arrays(self.venue.market)
        held = prepare_holdings(self.venue.book, arrays, tuple(self.rules.named))
        books = ledger.open_balances(held.equity(arrays, self.venue.threads), self.rules.fund)
        pushed, closed = np.zeros(len(self.venue.market.spot)), np.zeros(len(held), dtype=np.bool_)
        return State(held, books, self.venue.market, arrays, pushed, closed, int(books.house[House.FUND]))

    def step(self, state: State, step: int, opening: Balances) -> tuple[State, StepRow, BoolArray]:
        """The state after a step, its row, and the accounts (A,) that were traded."""
        hours = float(self.path.hours[step])
        passed = hours - float(self.path.hours[step - 1]) if step else hours
        pushed = state.pushed * self.rules.impact.remembered(passed)
        tally = Tally(np.zeros(len(state.held), dtype=np.bool_), np.zeros(len(pushed)))
        with np.errstate(invalid="ignore"):
            time = passed if step else self.rules.first_hours
            tally.capacity = self.rules.demand * time if time else 0.0
        carried = pushed
        state, margins, seen = self.marked(self.moved(state, hours, pushed), hours)
        for _ in range(int(self.rules.rounds)):
            if not np.any(margins.status >= AccountStatus.LIQUIDATION):
                break
            desk = self.desk(state, seen, step)
            done = plan_round(desk, margins, tally.capacity)
            if not np.any(done.touched) and not np.any(done.closed):
                break
            state, pushed = self.carried_out(state, desk, done, margins, tally, carried, step, opening)
            if np.any(np.abs(pushed - state.pushed) > SMALLEST_PUSH):
                state, margins, seen = self.marked(self.moved(state, hours, pushed), hours)
            else:
                state = state._replace(pushed=pushed)
                margins, seen = self.measured_again(state, seen, margins, done.touched | done.closed, hours)
        self.audit(state, opening.total, tally.touched)
        return state, self.row(state, hours, margins, tally), tally.touched

    def moved(self, state: State, hours: float, pushed: FloatArray) -> State:
        """At the prices of a time and a push: gains are paid, what has expired is settled."""
        market = self.market(hours, pushed)
        arrays = self.venue.arrays(market)
        held = state.held.paid(variation(self.venue.instruments, state.market, market))
        held = held.without(expired(self.venue.instruments, self.venue.market, market.valuation_time), arrays)
        return state._replace(held=held, market=market, arrays=arrays, pushed=pushed)

    def market(self, hours: float, pushed: FloatArray) -> Market:
        """The market at a time, pushed by forced trades."""
        beta = self.rules.impact.vol_beta
        return market_at(self.venue.market, self.venue.instruments, self.path, hours, pushed, beta)

    def vol_factor(self, step: int, pushed: FloatArray) -> FloatArray:
        """(U,) factor on the vol of 30 days."""
        where, tenors = np.log(REFERENCE_DAYS), np.log(self.path.tenor_days)
        path = [np.exp(np.interp(where, tenors, np.log(row))) for row in self.path.vol[step]]
        return np.array(path) * np.exp(-self.rules.impact.vol_beta * np.minimum(pushed, 0.0))

    def marked(self, state: State, hours: float) -> tuple[State, Measured, tuple[Holdings, RiskArrays]]:
        """With the books at the mark, and what `measured` gives."""
        margins, seen = self.measured(state, hours)
        same = seen[1] is state.arrays
        worth = margins.worth if same else state.held.equity(state.arrays, self.venue.threads)
        return state._replace(books=ledger.marked(state.books, worth)), margins, seen

    def measured(self, state: State, hours: float) -> tuple[Measured, tuple[Holdings, RiskArrays]]:
        """Margins at the prices that the venue sees, which may be behind, and what is held at these."""
        seen, arrays = state.held, state.arrays
        if self.rules.delay_hours > 0.0:
            market = self.market(max(hours - self.rules.delay_hours, 0.0), state.pushed)
            # The price is behind, the clock is not.
            late = _at_time(market, state.market)
            arrays = self.venue.arrays(late)
            seen = state.held.paid(variation(self.venue.instruments, state.market, late))
        how = {"backend": self.venue.backend, "threads": self.venue.threads}
        return measured(seen.book, arrays, self.venue.model, **how), (seen, arrays)  # type: ignore[arg-type]

    def measured_again(
        self, state: State, seen: tuple[Holdings, RiskArrays], margins: Measured, changed: BoolArray, hours: float
    ) -> tuple[Measured, tuple[Holdings, RiskArrays]]:
        """Margins at the same prices, of the accounts (A,) that have changed."""
        if self.rules.delay_hours > 0.0:
            return self.measured(state, hours)
        rows = np.flatnonzero(changed)
        how = {"backend": self.venue.backend, "threads": self.venue.threads}
        part = measured(accounts_of(state.held.book, rows), seen[1], self.venue.model, **how)  # type: ignore[arg-type]
        return put(margins, rows, part), (state.held, seen[1])

    def desk(self, state: State, seen: tuple[Holdings, RiskArrays], step: int) -> Desk:
        """What a round is decided with; spreads widen with the vol of the market, by underlying."""
        wider = np.append(np.maximum(self.vol_factor(step, state.pushed), 1.0), 1.0)
        notional = seen[1].notional
        trading = self.rules.cost * notional * wider[seen[1].underlying_idx]
        # What is exchanged costs a share of what it is worth.
        trading = np.where(seen[1].is_collateral, self.rules.cost * seen[1].value, trading)
        costs = Costs.of(seen[1], trading, np.where(seen[1].is_collateral, 0.0, self.rules.penalty * notional))
        how = (self.rules, costs, self.venue.backend, self.venue.threads)
        return Desk(seen[0], seen[1], self.venue.model, *how)

    def carried_out(
        self,
        state: State,
        desk: Desk,
        done: Round,
        margins: Measured,
        tally: Tally,
        carried: FloatArray,
        step: int,
        opening: Balances,
    ) -> tuple[State, FloatArray]:
        """The state after the trades of a round, their charges and who bears what is owed; and the push of prices."""
        arrays, free = state.arrays, np.zeros(len(state.held))
        held = state.held.traded(done.place, done.amount, arrays, free)
        # At the prices that are paid, which the venue may see late: nothing of what the contracts pay in coin is left.
        goes, exchanged = held.assets_going(state.held, done.converted)
        place, amount = np.append(done.place, goes), np.append(done.amount, exchanged)
        row, traded = held.rows[place], np.abs(amount)
        owner, sold = arrays.underlying_idx[row], -amount * arrays.delta[row]
        by_name = np.bincount(owner[owner >= 0], sold[owner >= 0], minlength=len(carried)).astype(np.float64)
        factor, names = self.vol_factor(step, state.pushed), self.venue.market.underlying_id
        pushed = carried + self.rules.impact.moved(tally.sold + by_name, names, factor)
        slippage = _slippage(owner, sold, by_name, pushed - state.pushed, self.rules.impact.exponent)
        cost = _ticks(held.by_account(place, traded * desk.costs.trading[row] + slippage))
        closing = amount * state.held.quantity[place] < 0.0
        wanted = _ticks(held.by_account(place, np.where(closing, traded * desk.costs.penalty[row], 0.0)))
        books = ledger.moved(state.books, cost, House.LIQUIDATORS)
        penalty = np.minimum(wanted, np.maximum(books.trader, 0))
        books = ledger.penalised(books, penalty, self.rules.waterfall)
        held = held.traded(goes, exchanged, arrays, np.asarray(TICK * (cost + penalty)))
        before = books.trader
        closed = done.below & ~held.beside_cash()
        tally.bankrupt += int(np.count_nonzero(closed & ~state.closed & (before < 0)))
        books, losses = ledger.cover(books, closed, opening.trader, self.rules.waterfall)
        held = _in_cash(held, books.trader - before)
        tally.losses.append(losses._replace(deficit=losses.deficit - state.uncovered))
        tally.touched |= done.touched
        tally.touched[held.account[goes]] = True
        tally.sold = tally.sold + by_name
        tally.costs += int(cost.sum())
        tally.penalties += int(penalty.sum())
        tally.capacity = max(tally.capacity - done.taken, 0.0)
        lowest = min(state.lowest, int(books.house[House.FUND]))
        gone = state.closed | closed | (done.converted >= 1.0)
        state = state._replace(held=held, books=books, closed=gone, lowest=lowest, uncovered=losses.uncovered)
        return state, pushed

    def audit(self, state: State, total: int, touched: BoolArray) -> None:
        """Who was closed holds nothing, nothing came from nowhere, and the books of who was touched (A,) are what the
        positions are worth; the others were marked at that."""
        if np.any(state.closed & state.held.beside_cash()):
            name = state.held.book.account_id[np.argmax(state.closed & state.held.beside_cash())]
            raise AssertionError(f"account {name} was closed and holds something")
        if state.books.total != total:
            raise AssertionError(f"value was not conserved: {state.books.total - total} ticks")
        rows = np.flatnonzero(touched)
        book, table = accounts_of(state.held.book, rows), state.arrays.value_rows[:, None]
        worth = account_sums(book, state.arrays, table, threads=self.venue.threads)[:, 0]
        gap = int(np.abs(np.round(worth / TICK).astype(np.int64) - state.books.trader[rows]).max(initial=0))
        if gap > AUDIT_TICKS:
            raise AssertionError(f"the books are {gap} ticks off what an account is worth")

    def row(self, state: State, hours: float, margins: Measured, tally: Tally) -> StepRow:
        """The row of a step."""
        trader = state.books.trader
        return StepRow(
            hours=hours,
            liquidated=int(np.count_nonzero(tally.touched)),
            bankrupt=tally.bankrupt,
            waiting=int(np.count_nonzero(margins.status >= AccountStatus.LIQUIDATION)),
            shortfall=tally.sum("deficit"),
            from_fund=tally.sum("from_fund"),
            deleveraged=tally.sum("deleveraged"),
            socialised=tally.sum("socialised"),
            uncovered=TICK * state.uncovered,
            costs=TICK * tally.costs,
            penalties=TICK * tally.penalties,
            fund=TICK * float(state.books.house[House.FUND]),
            equity=TICK * float(trader.sum()),
            owed=TICK * float(np.maximum(-trader, 0).sum()),
            initial_margin=float(margins.initial.sum()),
            maintenance_margin=float(margins.maintenance.sum()),
        )


def _at_time(late: Market, now: Market) -> Market:
    """Late prices at the present time: the same forwards and vols, less time to go."""
    return replace(now, spot=late.spot, forward=late.forward, fx=late.fx, fx_basis_limit=late.fx_basis_limit)


def _in_cash(held: Holdings, ticks: IntArray) -> Holdings:
    """After accounts were paid (A,) ticks, below 0: paid them."""
    if not np.any(ticks):
        return held
    quantity = held.quantity.copy()
    quantity[held.cash] += TICK * ticks
    return held.holding(quantity)


def _ticks(amounts: FloatArray) -> IntArray:
    """Whole ticks, rounded up: what is charged."""
    return np.asarray(np.rint(up(amounts) / TICK)).astype(np.int64)


def _slippage(owner: IntArray, sold: FloatArray, by_name: FloatArray, push: FloatArray, exponent: float) -> FloatArray:
    """What it costs, trade by trade, to go with the crowd while the price gives way: the average of the way, which is
    1 / (1 + exponent) of it. Who trades against the crowd pays nothing for it."""
    crowd = np.append(np.sign(by_name), 0.0)[owner]
    rate = np.append(np.abs(push), 0.0)[owner] / (1.0 + exponent)
    return np.asarray(np.where(sold * crowd > 0.0, np.abs(sold) * rate, 0.0))
