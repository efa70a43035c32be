"""expiries: an account as time passes and no price moves, through the settlement of everything it holds.

An account may be safe today and at every price near today's, and be liquidated on a day that is known: when the leg
that covers another one expires. Spots slide along the forward curve, dated forwards and the vols of contracts stay,
what expires is settled at its forward (see `holdings`) and the rest is margined anew.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from scipy.optimize import brentq

from portfolio_margin.book import Book
from portfolio_margin.edge.holdings import cash_rows, expiring, groups_of, holdings
from portfolio_margin.edge.levels import Case, Levels, levels_where_ruled
from portfolio_margin.edge.moved import Mover, States
from portfolio_margin.held import rows_only
from pricing.arrays import DAYS_PER_YEAR
from pricing.errors import DataError, Problem
from pricing.instruments import Kind

DAYS_TRIED = 17
DAY_TOLERANCE_YEARS = 1e-7


@dataclass(frozen=True)
class Expiry:
    """What the settlement of one moment does to an account, no price having moved.

    days           until then
    names          of the expiries, underlying and date
    contracts      how many kinds of contract are settled
    before, after  levels (1,) just before the settlement and just after it; NaN where the model has no rule
    """

    days: float
    names: tuple[str, ...]
    contracts: int
    before: Levels
    after: Levels

    @property
    def breaches(self) -> bool:
        """Whether the settlement itself takes the account below its maintenance margin."""
        return bool(self.before.excess[0] >= 0.0 and self.after.excess[0] < 0.0)


@dataclass(frozen=True)
class Ageing:
    """What time alone does to an account.

    days           until it is below maintenance margin, 0 where it is now, inf where it does not come to it
    cause          the expiry whose settlement takes it there; None where decay does, or nothing
    days_searched  how far ahead was looked
    expiries       every settlement until then, the first first, also those after a breach
    without_rule   why no more was looked at: what the model has no rule for, a line a position
    """

    days: float
    cause: Expiry | None
    days_searched: float
    expiries: tuple[Expiry, ...]
    without_rule: tuple[str, ...]


def ageing(case: Case, most_days: float = 365.0) -> Ageing:
    """The account until `most_days`, its last expiry, or as far as the model has rules for what is then held.

    Between two settlements decay is sampled at 17 times, closer together at the end, where it is fastest, and solved
    between two. A breach that is over again before the next sample is not found.
    """
    most, passed, found = most_days / DAYS_PER_YEAR, 0.0, np.inf
    cause: Expiry | None = None
    expiries: list[Expiry] = []
    while True:
        latest = min(most - passed, case.first_expiry_years)
        years, searched, reasons = _decay(case, latest, np.isinf(found))
        found = min(found, passed + years)
        passed += searched
        if reasons or case.first_expiry_years > latest or np.isinf(case.first_expiry_years):
            break
        settlement, case, reasons = _settlement(case, passed * DAYS_PER_YEAR)
        expiries.append(settlement)
        if settlement.breaches and np.isinf(found):
            found, cause = passed, settlement
        if reasons or np.isinf(case.first_expiry_years):
            break
    return Ageing(found * DAYS_PER_YEAR, cause, passed * DAYS_PER_YEAR, tuple(expiries), reasons)


def settled(case: Case, price: float = 1.0, vol: float = 1.0) -> Case:
    """The account after its first expiry, in the market of that moment.

    price, vol  multiples of today's at which it settles
    DataError where what a contract pays has no cash row to go to.
    """
    years, mover = case.first_expiry_years, case.mover
    _check_payers(case)
    states = States(np.array([price]), np.array([vol]), years, settled=True)
    (market,) = mover.markets(states)
    gone = mover.market.expiry_time <= mover.moment(years) + 1
    market = replace(market, valuation_time=int(mover.market.expiry_time[gone].max()))
    rows, quantity = holdings(case.own, mover, states)
    book = Book.from_arrays(
        np.full(len(rows), case.account), rows, quantity[0], groups_of(case.own, mover.instruments.expiry_idx)
    )
    kept = np.unique(np.concatenate([rows, np.flatnonzero(mover.instruments.kind == Kind.CASH)]))
    own, table, small = rows_only(book, mover.instruments, market, kept)
    return replace(case, own=own, mover=Mover.of(table, small, mover.underlying, mover.sticky), at_once=1)


def _decay(case: Case, latest: float, wanted: bool) -> tuple[float, float, tuple[str, ...]]:
    """Years until decay alone, up to `latest`, brings the account below, inf where it does not; how far was looked; and
    what the model has no rule for there.

    wanted  whether the moment is looked for, or only how far the rules go
    """
    reasons: tuple[str, ...] = ()

    def excess(years: float) -> float:
        nonlocal reasons
        level, reasons = levels_where_ruled(case, np.ones(1), 1.0, years)
        return float(level.excess[0])

    before, found = excess(0.0), np.inf
    if before < 0.0 and wanted:
        found = 0.0
    tried = DAYS_TRIED if np.isinf(found) and wanted else 2
    for first, last in pairwise(latest * (1.0 - np.linspace(1.0, 0.0, tried) ** 2)):
        after = excess(float(last))
        if np.isnan(after):
            return found, float(first), reasons
        if after < 0.0 and np.isinf(found) and wanted:
            root = first if before == 0.0 else brentq(excess, float(first), float(last), xtol=DAY_TOLERANCE_YEARS)
            found = float(root)
        before = after
    return found, latest, ()


def _settlement(case: Case, days: float) -> tuple[Expiry, Case, tuple[str, ...]]:
    """The first expiry of a case, the case after it, and what the model has no rule for then."""
    years, mover = case.first_expiry_years, case.mover
    before, _ = levels_where_ruled(case, np.ones(1), 1.0, years)
    rows = case.own.instrument_idx[case.own.quantity != 0.0]
    rows = rows[expiring(mover, years)[rows]]
    names = [mover.market.expiry_name[x] for x in np.unique(mover.instruments.expiry_idx[rows])]
    later = settled(case)
    after, reasons = levels_where_ruled(later, np.ones(1))
    return Expiry(days, tuple(names), len(np.unique(rows)), before, after), later, reasons


def _check_payers(case: Case) -> None:
    table, rows = case.mover.instruments, case.own.instrument_idx
    pays = expiring(case.mover, case.first_expiry_years)[rows] & table.is_option[rows]
    lost = rows[pays & (cash_rows(table)[rows] < 0)]
    if len(lost):
        remedy = "its settlement currency is not among the instruments, so what it pays at expiry cannot be booked"
        names = table.instrument_id[lost]
        raise DataError([Problem("instruments", None, "instrument", str(name), remedy) for name in names])
