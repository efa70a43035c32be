"""run: a path of the market over all accounts of a venue, with the liquidation of accounts in the loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from portfolio_margin.book import Book
from portfolio_margin.in_parts import Each, in_this_process
from portfolio_margin.liquidation.plan import Costs
from portfolio_margin.liquidation.states import States
from portfolio_margin.requirement import MarginModel
from portfolio_margin.statement import AccountStatus
from portfolio_margin.stress import balances as ledger
from portfolio_margin.stress.balances import TICK, Balances, House
from portfolio_margin.stress.closing import served
from portfolio_margin.stress.fates import NEVER, Fates, Round, after_step, no_fates
from portfolio_margin.stress.log import mark_of, payment_of
from portfolio_margin.stress.measured import Measured, put
from portfolio_margin.stress.moved import expired, market_at, variation
from portfolio_margin.stress.path import StressPath
from portfolio_margin.stress.pushes import Pushes
from portfolio_margin.stress.result import Result, StepRow, followed_by
from portfolio_margin.stress.rules import Rules
from portfolio_margin.stress.sections import (
    Behind,
    BookPart,
    Late,
    Moment,
    Section,
    Setting,
    Source,
    check_accounts,
    joined,
    mark_section,
    measure_accounts,
    offer_section,
    open_section,
    trade_section,
)
from portfolio_margin.stress.stated import stated, with_states
from portfolio_margin.stress.trading import Done, Tally, by_account, in_ticks, slippage_of, together
from pricing.arrays import BoolArray, FloatArray, IntArray
from pricing.errors import DataError, Problem
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
    sources     where its accounts are in partitions, in order of account; None: in `book`
    each        who evaluates the partitions
    paid        by partition, (A,) margin currency that accounts pay in before the start; None: nothing
    """

    book: Book
    instruments: Instruments
    market: Market
    model: MarginModel
    scenarios: Callable[[Market], ScenarioSet]
    backend: str = "numba"
    threads: int | None = None
    sources: tuple[Source, ...] | None = None
    each: Each = in_this_process
    paid: tuple[FloatArray, ...] | None = None

    def arrays(self, market: Market) -> RiskArrays:
        """Risk arrays of a market under the scenarios of the model, or the venue's."""
        own = self.model.scenario_set(market)
        return revalue(self.instruments, market, own or self.scenarios(market), backend=self.backend)

    def setting(self, rules: Rules) -> Setting:
        """What all partitions share."""
        how = (self.model, rules, self.backend, self.threads)
        return Setting(self.instruments, self.market, self.arrays(self.market), *how)

    def ask(self, compute: Callable[..., Any], *shared: Any) -> list[Any]:
        """compute(shared, section) of every partition at the start, in order of account."""
        sections = self.sections()
        return self.each(compute, shared, sections, range(len(sections)))

    def sections(self) -> tuple[Section, ...]:
        """The partitions at the start, after what their accounts pay in."""
        sources = (BookPart(self.book),) if self.sources is None else self.sources
        sections = tuple(Section(source) for source in sources)
        if self.paid is None:
            return sections
        return tuple(section.then(payment_of(own)) for section, own in zip(sections, self.paid, strict=True))


class State(NamedTuple):
    """Between two things that happen: what is held, booked and true.

    sections, books   what has happened by partition, and what everybody is worth
    market, moment    as they are; pushed (U,) log price by forced trades, those of earlier steps by time in pushes
    closed      (A,) accounts that were closed: they hold nothing but cash
    lowest      ticks that the fund has had at any time, the least
    uncovered   ticks that closed accounts owe still
    """

    sections: tuple[Section, ...]
    books: Balances
    market: Market
    moment: Moment
    pushed: FloatArray
    closed: BoolArray
    lowest: int
    pushes: Pushes
    uncovered: int = 0


def _silent(name: str) -> None:
    """Nobody is told."""


def run(
    venue: Venue,
    path: StressPath,
    rules: Rules | None = None,
    tell: Callable[[str], None] = _silent,
    *,
    follow: int | None = None,
) -> Result:
    """The stress of a venue along a path.

    tell    is called with a text after every step, for a bar
    follow  row of an account of which the result has a line of its own, step by step

    Deterministic: the same venue, path and rules give the same numbers. Value is conserved to the tick in every step,
    which is asserted, and so is that the books are what the positions are worth.

    DataError where the path does not move an underlying of the market, ConfigError for rules out of their bounds.
    """
    how = rules or Rules()
    engine, state = opened(venue, path.for_underlyings(venue.market.underlying_id.tolist()), how)
    opening, rows = state.books, []
    fates = no_fates(opening.trader, int(opening.house[House.FUND]))
    known: States | None = None
    traced: list[tuple[FloatArray, ...]] = []
    own: list[tuple[Any, ...]] = []
    for step in range(len(path)):
        state, row, tally, margins = engine.step(state, step, opening)
        known = stated(known, (tally.before or margins, margins), state.market.valuation_time, how.states)
        rows.append(with_states(row, known))
        fates = after_step(fates, step, tally.touched, tally.rounds)
        if follow is not None:
            own.append(_line(follow, venue, state.market, fates, (tally, margins)))
        traced.append((state.market.spot, engine.vol_factor(step, state.pushed), state.pushed))
        tell(f"hour {path.hours[step]:g}")
    if known is None:
        raise AssertionError("a path without steps")
    price, vol, pushed = (np.stack(column) for column in zip(*traced, strict=True))
    names = venue.market.underlying_id
    currency = state.moment.arrays.currency
    end, fund = state.books, TICK * float(opening.house[House.FUND])
    floor = how.waterfall.fund_floor
    needed, beside = (
        TICK * float(drawn + floor if drawn else 0)
        for drawn in (int(opening.house[House.FUND]) - lowest for lowest in (state.lowest, fates.fund_beside))
    )
    followed = None if follow is None else followed_by(follow, own)
    columns = (price, vol, pushed, names, fates, known, end, opening, fund, needed, beside)
    return Result(path, currency, tuple(rows), *columns, engine.digests, followed)


def _line(row: int, venue: Venue, market: Market, fates: Fates, found: tuple[Tally, Measured]) -> tuple[Any, ...]:
    """What `followed_by` takes of an account in a step: margins before and after what was done in it, whether it was
    liquidated, and how many of the contracts that it held at the start have expired by now, while it has any."""
    tally, margins = found
    held = np.zeros(len(venue.instruments), dtype=np.bool_)
    if row < len(venue.book) and fates.closed[row] == NEVER:
        held[venue.book.accounts(row, row + 1).instrument_idx] = True
    gone = held & expired(venue.instruments, venue.market, market.valuation_time)
    first = tally.before or margins
    figures = (*(column[row] for column in margins[:4]), *(column[row] for column in first[1:4]))
    return (*figures, tally.touched[row], int(gone.sum()))


def opened(venue: Venue, path: StressPath, rules: Rules) -> tuple[Engine, State]:
    """The engine of a stress, and everything before the first step.

    DataError for accounts that name a policy and are not there, and as `prepare_holdings`.
    """
    setting = venue.setting(rules)
    sections = venue.sections()
    found = venue.each(open_section, (setting,), sections, range(len(sections)))
    lost = sorted(set(rules.named).difference(*(part.named for part in found)))
    if lost:
        raise DataError([Problem("stress", None, "account", name, "no such account") for name in lost])
    bounds = np.cumsum([0, *(len(part.equity) for part in found)])
    known = [len(section.log.entries) for section in sections]
    digests = tuple(part.digest for part in found if part.digest)
    engine = Engine(venue, path, rules, setting, bounds, known, digests)
    books = ledger.open_balances(np.concatenate([part.equity for part in found]), rules.fund)
    moment = Moment(setting.start, None)
    pushed, closed = np.zeros(len(venue.market.spot)), np.zeros(int(bounds[-1]), dtype=np.bool_)
    before = int(books.house[House.FUND]), Pushes.none(len(pushed))
    return engine, State(sections, books, venue.market, moment, pushed, closed, *before)


@dataclass(frozen=True)
class Engine:
    """A venue in a stress: what stays as it is from step to step.

    venue, rules   as given
    path     with its underlyings in the order of the market
    setting  what all partitions share
    bounds   (K+1,) first account of each of the K partitions
    known    of each partition, how many entries of its log whoever computes it has seen: says what is sent, not what
             comes out
    digests  of the rows of each partition
    """

    venue: Venue
    path: StressPath
    rules: Rules
    setting: Setting
    bounds: IntArray
    known: list[int]
    digests: tuple[str, ...]

    def ask(
        self, compute: Callable[..., Any], shared: tuple[Any, ...], state: State, *columns: Sequence[Any]
    ) -> list[tuple[int, Any]]:
        """What partitions answer, in order and with their numbers: all of them, or those that a first column has
        something for.

        columns  one item a partition

        What is sent of a partition is what is new in its log; who has not kept what was before is sent all of it.
        """
        every, given = state.sections, (self.setting, *shared)
        asked = [k for k in range(len(every)) if not columns or len(columns[0][k])]

        def answers(numbers: list[int], known: Sequence[int]) -> list[Any]:
            parts = [(every[k].since(known[k]), *(column[k] for column in columns)) for k in numbers]
            return self.venue.each(compute, given, parts, numbers)

        found = dict(zip(asked, answers(asked, self.known), strict=True))
        behind = [k for k in asked if isinstance(found[k], Behind)]
        if behind:
            found |= zip(behind, answers(behind, [0] * len(every)), strict=True)
        for k in asked:
            self.known[k] = len(every[k].log.entries)
        return list(found.items())

    def by_section(self, rows: IntArray) -> list[IntArray]:
        """Accounts in rising rows, by partition and row in it."""
        cuts = np.searchsorted(rows, self.bounds)
        return [rows[cuts[k] : cuts[k + 1]] - self.bounds[k] for k in range(len(self.known))]

    def cut(self, column: Any) -> list[Any]:
        """A column of accounts (A,) by partition."""
        return [column[low:high] for low, high in pairwise(self.bounds.tolist())]

    def step(self, state: State, step: int, opening: Balances) -> tuple[State, StepRow, Tally, Measured]:
        """The state after a step, its row, what happened in it, and the margins of all at its end."""
        hours = float(self.path.hours[step])
        passed = hours - float(self.path.hours[step - 1]) if step else hours
        pushed = state.pushes.at(hours, self.rules.impact)
        tally = Tally(np.zeros(len(state.closed), dtype=np.bool_), np.zeros(len(pushed)))
        with np.errstate(invalid="ignore"):
            time = passed if step else self.rules.first_hours
            tally.capacity = self.rules.demand * time if time else 0.0
        carried = pushed
        state, margins = self.marked(state, hours, pushed)
        tally.before = margins
        for _ in range(int(self.rules.rounds)):
            below = np.flatnonzero(margins.status >= AccountStatus.LIQUIDATION)
            if not len(below):
                break
            costs = self.costs(state, step)
            done = self.traded(state, margins, below, costs, tally)
            if done is None:
                break
            state, pushed = self.carried_out(state, done, costs, tally, carried, step, opening)
            if np.any(np.abs(pushed - state.pushed) > SMALLEST_PUSH):
                state, margins = self.marked(state, hours, pushed)
            else:
                state = state._replace(pushed=pushed)
                changed = done.touched | done.over
                state, margins = self.measured_again(state, margins, changed)
        state = state._replace(pushes=state.pushes.after(hours, state.pushed - carried))
        self.audit(state, opening.total, tally.touched)
        return state, self.row(state, hours, margins, tally), tally, margins

    def marked(self, state: State, hours: float, pushed: FloatArray) -> tuple[State, Measured]:
        """At the prices of a time and a push: gains are paid, what has expired is settled, the books are at the mark;
        and margins at the prices that the venue sees."""
        market = self.market(hours, pushed)
        gains = variation(self.venue.instruments, state.market, market)
        gone = expired(self.venue.instruments, self.venue.market, market.valuation_time)
        moment = Moment(self.venue.arrays(market), self.late(state.pushes, market, hours))
        mark = mark_of(gains, gone, moment.arrays)
        state = state._replace(sections=tuple(section.then(mark) for section in state.sections))
        found = [part for _, part in self.ask(mark_section, (moment,), state)]
        books = ledger.marked(state.books, np.concatenate([part.worth for part in found]))
        state = state._replace(books=books, market=market, moment=moment, pushed=pushed)
        return state, joined([part.margins for part in found])

    def late(self, earlier: Pushes, now: Market, hours: float) -> Late | None:
        """What the venue sees where that is behind: prices, vols, and what forced trades have done to them; not the
        clock. The trades of this step are later than anything it sees."""
        delay = self.rules.delay_hours
        if not delay > 0.0:
            return None
        seen = self.market(hours, earlier.at(hours - delay, self.rules.impact), delay)
        return Late(self.venue.arrays(seen), variation(self.venue.instruments, now, seen))

    def measured_again(self, state: State, margins: Measured, changed: BoolArray) -> tuple[State, Measured]:
        """Margins at the same prices, of the accounts (A,) that have changed."""
        rows = np.flatnonzero(changed)
        found = self.ask(measure_accounts, (state.moment,), state, self.by_section(rows))
        return state, put(margins, rows, joined([part for _, part in found]))

    def market(self, hours: float, pushed: FloatArray, delay_hours: float = 0.0) -> Market:
        """The market at a time, pushed by forced trades; late by so many hours."""
        beta = self.rules.impact.vol_beta
        return market_at(self.venue.market, self.venue.instruments, self.path, hours, pushed, beta, delay_hours)

    def vol_factor(self, step: int, pushed: FloatArray) -> FloatArray:
        """(U,) factor on the vol of 30 days."""
        where, tenors = np.log(REFERENCE_DAYS), np.log(self.path.tenor_days)
        path = [np.exp(np.interp(where, tenors, np.log(row))) for row in self.path.vol[step]]
        return np.array(path) * np.exp(-self.rules.impact.vol_beta * np.minimum(pushed, 0.0))

    def costs(self, state: State, step: int) -> Costs:
        """What trading costs now; spreads widen with the vol of the market, by underlying."""
        seen = state.moment.seen
        wider = np.append(np.maximum(self.vol_factor(step, state.pushed), 1.0), 1.0)
        trading = self.rules.cost * seen.notional * wider[seen.underlying_idx]
        # What is exchanged costs a share of what it is worth.
        trading = np.where(seen.is_collateral, self.rules.cost * seen.value, trading)
        return Costs.of(seen, trading, np.where(seen.is_collateral, 0.0, self.rules.penalty * seen.notional))

    def traded(self, state: State, margins: Measured, below: IntArray, costs: Costs, tally: Tally) -> Done | None:
        """The trades of a round before their costs; None where there are none."""
        shared, rows = (state.moment, costs), self.by_section(below)
        status = [margins.status[mine + low] for mine, low in zip(rows, self.bounds[:-1].tolist(), strict=True)]
        count, mass = np.zeros(len(state.closed), dtype=np.int64), []
        for k, (offering, slices) in self.ask(offer_section, shared, state, rows, status):
            mass.append(offering + self.bounds[k])
            count[mass[-1]] = slices
        share = count / int(self.rules.slices)
        # Bidders put up the margin of what they take over.
        taken, margin = served(margins, np.concatenate(mass), share * margins.maintenance, tally.capacity)
        found = self.ask(trade_section, shared, state, rows, self.cut(share), self.cut(taken))
        if not any(np.any(part.touched) or np.any(part.over) for _, part in found):
            return None
        tally.capacity = max(tally.capacity - margin, 0.0)
        under = np.zeros(len(state.closed), dtype=np.bool_)
        under[below] = True
        return together(state.sections, under, [(k, int(self.bounds[k]), part) for k, part in found])

    def carried_out(
        self,
        state: State,
        done: Done,
        costs: Costs,
        tally: Tally,
        carried: FloatArray,
        step: int,
        opening: Balances,
    ) -> tuple[State, FloatArray]:
        """The state after the trades of a round, their charges and who bears what is owed; and the push of prices."""
        account, row, amount, closes = done.trades
        arrays, traded = state.moment.arrays, np.abs(amount)
        owner, sold = arrays.underlying_idx[row], -amount * arrays.delta[row]
        by_name = np.bincount(owner[owner >= 0], sold[owner >= 0], minlength=len(carried)).astype(np.float64)
        factor, names = self.vol_factor(step, state.pushed), self.venue.market.underlying_id
        pushed = carried + self.rules.impact.moved(tally.sold + by_name, names, factor)
        slippage = slippage_of(owner, sold, by_name, pushed - state.pushed, self.rules.impact.exponent)
        size = len(state.closed)
        cost = in_ticks(by_account(account, traded * costs.trading[row] + slippage, size))
        wanted = in_ticks(by_account(account, np.where(closes, traded * costs.penalty[row], 0.0), size))
        books = ledger.moved(state.books, cost, House.LIQUIDATORS)
        penalty = np.minimum(wanted, np.maximum(books.trader, 0))
        books = ledger.penalised(books, penalty, self.rules.waterfall)
        sections = self.paid(done.sections, -(TICK * (cost + penalty)))
        before = books.trader
        closed = done.below & ~done.beside
        tally.bankrupt += int(np.count_nonzero(closed & ~state.closed & (before < 0)))
        books, losses = ledger.cover(books, closed, opening.trader, self.rules.waterfall)
        sections = self.paid(sections, TICK * (books.trader - before))
        tally.losses.append(losses._replace(deficit=losses.deficit - state.uncovered))
        # What was owed before this round already, of accounts closed earlier, is no new shortfall.
        still = np.where(state.closed, np.maximum(-state.books.trader, 0), 0)
        owed = np.where(closed, np.maximum(np.maximum(-before, 0) - still, 0), 0)
        after = int(books.house[House.FUND])
        tally.rounds.append(Round(cost, penalty, owed, closed | done.converted, after))
        tally.touched |= done.touched
        tally.touched[done.exchanging] = True
        tally.sold = tally.sold + by_name
        tally.costs += int(cost.sum())
        tally.penalties += int(penalty.sum())
        lowest = min(state.lowest, int(books.house[House.FUND]))
        gone = state.closed | closed | done.converted
        state = state._replace(sections=sections, books=books, closed=gone, lowest=lowest, uncovered=losses.uncovered)
        return state, pushed

    def paid(self, sections: tuple[Section, ...], amounts: Any) -> tuple[Section, ...]:
        """After accounts were paid (A,) of the margin currency, below 0: paid it."""
        pairs = zip(sections, self.cut(amounts), strict=True)
        return tuple(section.then(payment_of(own)) if np.any(own) else section for section, own in pairs)

    def audit(self, state: State, total: int, touched: BoolArray) -> None:
        """Who was closed holds nothing, nothing came from nowhere, and the books of who was touched (A,) are what the
        positions are worth; the others were marked at that."""
        if state.books.total != total:
            raise AssertionError(f"value was not conserved: {state.books.total - total} ticks")
        rows = self.by_section(np.flatnonzero(touched | state.closed))
        for k, (beside, worth) in self.ask(check_accounts, (state.moment,), state, rows):
            wrong = np.flatnonzero(state.closed[self.bounds[k] : self.bounds[k + 1]] & beside)
            if len(wrong):
                raise AssertionError(f"account {wrong[0] + self.bounds[k]} was closed and holds something")
            booked = state.books.trader[rows[k] + self.bounds[k]]
            gap = int(np.abs(np.round(worth / TICK).astype(np.int64) - booked).max(initial=0))
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
