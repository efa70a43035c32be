"""optimise_book: the smallest margin of an account whose Greeks stay where they are wanted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from types import MappingProxyType
from typing import NamedTuple, TypeAlias

import numpy as np

from portfolio_margin.book import Book
from portfolio_margin.greeks import contract_greeks, position_greeks
from portfolio_margin.hedge import Desk, assemble, open_desk, program_of
from portfolio_margin.hedge_columns import spread, whole_lots
from portfolio_margin.hedge_enumeration import listed, smallest_listed
from portfolio_margin.hedge_program import Bands
from portfolio_margin.hedge_result import Hedge
from portfolio_margin.hedge_search import MOST_UNPROVEN_ROUNDS, MOST_WHOLE_ROUNDS, POLISHING_ROUNDS, Search
from portfolio_margin.hedge_subsets import fewer_contracts, held_with_some
from portfolio_margin.hedge_terms import CEILINGS, Costs, Limits
from portfolio_margin.nearest import did_you_mean_or_known
from portfolio_margin.requirement import MarginModel
from portfolio_margin.search_watch import Watch, forever
from portfolio_margin.trial_margins import Trials
from pricing.arrays import FloatArray
from pricing.errors import ConfigError, InfeasibleError
from pricing.instruments import Instruments
from pricing.market import Market
from scenarios.risk_arrays import RiskArrays
from scenarios.shocks import check_bounds

# Trades evaluated to improve what a program found, and contracts that are tried two at a time.
MOST_PROBED = 60_000
MOST_PAIRED = 12
# Trades evaluated before the clock is looked at again.
AT_ONCE = 1_000
GREEKS = ("delta_cash", "gamma_cash_1pct", "vega", "vega_norm", "theta", "rho", "volga")


# An objective and the lots that reach it, None where none are known.
Best: TypeAlias = tuple[float, FloatArray] | None


@dataclass(frozen=True)
class GreekProfile:
    """Where the Greeks of an account must be after the trades.

    bands        Greek of GREEKS -> (low, high) of the whole account, margin currency in the units of
                 `portfolio_margin.greeks`; -inf or inf for an open side
    by_contract  Greek -> (N,) of one contract long
    """

    bands: Mapping[str, tuple[float, float]]
    by_contract: Mapping[str, FloatArray]

    def __post_init__(self) -> None:
        for name, band in self.bands.items():
            if name not in self.by_contract:
                raise ConfigError(f"band of {name!r}: no such Greek{did_you_mean_or_known(name, list(GREEKS))}")
            if len(band) != 2 or not band[0] <= band[1]:
                raise ConfigError(f"band of {name} = {band!r}: must be (low, high) with low at most high")
        object.__setattr__(self, "bands", MappingProxyType(dict(self.bands)))

    def rows(self, trials: Trials) -> Bands:
        """The bands by lot, less what the account has already."""
        by_lot, low, high = [], [], []
        for name, (least, most) in self.bands.items():
            each = self.by_contract[name]
            now = float(trials.base @ each[trials.column])
            # What paid premiums carry of the Greek, such as the delta of coins, counts with the trade.
            by_lot.append(trials.per_lot @ each[trials.column])
            low.append(least - now)
            high.append(most - now)
        return Bands(np.array(by_lot).reshape(len(low), len(trials.rows)), np.array(low), np.array(high))


def greek_profile(
    instruments: Instruments, market: Market, bands: Mapping[str, tuple[float, float]], *, backend: str = "numba"
) -> GreekProfile:
    """A profile with the Greeks of every contract; bands as in `GreekProfile`."""
    everything = Book.from_arrays(
        ["one of each"] * len(instruments), np.arange(len(instruments)), np.ones(len(instruments))
    )
    contract = contract_greeks(instruments, market, backend=backend)
    greeks = position_greeks(everything, instruments, market, contract)
    return GreekProfile(bands, {name: greeks[name] for name in GREEKS})


def account_greeks(book: Book, profile: GreekProfile) -> dict[str, float]:
    """The Greeks of the one account of a book, by name."""
    return {name: float(book.quantity @ each[book.instrument_idx]) for name, each in profile.by_contract.items()}


def optimise_book(
    book: Book,
    arrays: RiskArrays,
    market: Market | None,
    model: MarginModel,
    account: str,
    profile: GreekProfile,
    *,
    instruments: Sequence[str] | None = None,
    costs: Costs | None = None,
    limits: Limits | None = None,
    objective: tuple[str, float] = ("initial_margin", 1.0),
) -> Hedge:
    """The trades after which the margin of an account, and what they cost, are smallest, its Greeks inside their bands.

    book, arrays, market, model   as `margin` takes them
    account      whose margin it is
    profile      the bands
    instruments  contracts that may be traded; None: all that the model has a rule for
    costs        Costs() where None; limits   Limits() where None
    objective    (measure, price): minimised are costs + price x measure, measure "initial_margin" or
                 "maintenance_margin", price 0 or more: what a unit of margin is worth in units of cost

    Trades are whole lots. `gap` is that of the objective; see `hedge` about convexity. Where it is open, shares of
    hedges of the delta and sizes of single contracts are tried too, and the best of all is improved by one contract and
    by two at a time until nothing is gained. What `Limits.time_limit` cuts short is verified the same way, its gap is
    that of what was proven by then, and `finished` is False. Raises what `hedge` raises; InfeasibleError where no
    trades within the limits bring the Greeks inside their bands, or none were found in time.
    """
    measure, price = objective
    if measure not in CEILINGS:
        raise ConfigError(f"objective measure = {measure!r}: must be one of {', '.join(CEILINGS)}")
    check_bounds(_Price(price), {"price": (0.0, 1e6)})
    limits = limits or Limits()
    watch = Watch(_clock(limits.time_limit), limits.progress)
    asked = _Asked(profile, costs or Costs(), limits, measure, price, watch)
    desk = open_desk(book, arrays, market, model, account, instruments, "numba")
    search, best, bound = _found(desk, asked)
    if best is None:
        bands = ", ".join(f"{name} in [{low:,.2f}, {high:,.2f}]" for name, (low, high) in profile.bands.items())
        raise InfeasibleError(f"{account}: {_none_found(asked)} its Greeks inside {bands}", np.nan)
    reached, lots = best
    # Neither costs nor margins are below 0.
    lower = 0.0 if reached == 0.0 else min(bound if search.listed else _claimed(search, bound), reached)
    gap = (reached - lower) / max(abs(reached), 1e-12) if np.isfinite(lower) else np.nan
    found = assemble(desk, search, asked.costs, lots, ("", np.nan), (lower, gap))
    if not watch.ended:
        return found
    note = f"the search was ended after {limits.time_limit:g} s: the trades are the best found by then"
    return replace(found, finished=False, notes=(note, *found.notes))


def _clock(time_limit: float | None) -> Callable[[], float]:
    """() -> seconds left of the limit, from now on."""
    if time_limit is None:
        return forever
    from portfolio_margin.io.clock import countdown

    return countdown(time_limit)


def _none_found(asked: _Asked) -> str:
    if asked.watch.ended:
        return f"in {asked.limits.time_limit:g} s, the time limit, no trades were found that bring"
    return "no trades within the limits bring"


@dataclass(frozen=True)
class _Price:
    price: float


class _Asked(NamedTuple):
    """What a book is optimised for."""

    profile: GreekProfile
    costs: Costs
    limits: Limits
    measure: str
    price: float
    watch: Watch


def _found(desk: Desk, asked: _Asked) -> tuple[Search, Best, float]:
    """The least objective and its trades, and the lower bound: of all trades there are, where those are few."""
    search = _search_of(desk, asked)
    every = listed(search)
    if every is None:
        return _searched(desk, asked)
    search.listed = True

    def measured(lots: FloatArray, cost: float) -> float:
        return desk.measured(lots, asked.measure, cost)

    found = smallest_listed(search, every, asked.price, measured)
    # For the scenario that binds there.
    search.support(found.lots)
    _told(search, (found.cost, found.lots))
    return search, (found.cost, found.lots), found.cost


def _searched(desk: Desk, asked: _Asked, *, parts: bool = True) -> tuple[Search, Best, float]:
    """A search among the contracts of a desk, the best objective and whole lots found, and the lower bound of all.

    parts  whether fewer contracts are searched by themselves where the gap stays open: a descent among many ends
           sooner, at a book that no change of two contracts improves, and begins at the best of what is found of fewer
    """
    search, price = _search_of(desk, asked), asked.price
    program, watch = search.program, asked.watch
    nothing = np.zeros(len(desk.trials.rows))
    value = search.support(nothing)
    best = _told(search, (price * value, nothing) if program.allows(nothing) else None)
    if np.isfinite(watch.left()):
        # A program may take all the time there is: what is looked at in a moment comes before.
        best = _descended(search, price, best)
    bound = search.relax(np.inf, cost_weight=1.0, margin_weight=price)
    best, bound = _whole(search, price, best, bound, tells_bound=parts)
    watch.bound = _claimed(search, bound) if parts else watch.bound
    if search.proven and best is not None and best[0] - bound <= program.gap * abs(best[0]):
        return search, best, bound
    for few in held_with_some(desk.trials) if parts else ():
        if watch.over():
            break
        part = replace(desk, trials=fewer_contracts(desk.trials, desk.book, desk.arrays, few))
        smaller = _searched(part, asked, parts=False)[1]
        if smaller is not None and (best is None or smaller[0] < best[0]):
            best = smaller[0], spread(smaller[1], few, len(nothing))
    return search, _descended(search, price, best), bound


def _search_of(desk: Desk, asked: _Asked) -> Search:
    program = program_of(desk, asked.costs, asked.limits, bands=asked.profile.rows(desk.trials), spent=False)
    return Search(desk.trials, program, asked.measure, watch=asked.watch)


def _claimed(search: Search, bound: float) -> float:
    """A bound, NaN where none is proven."""
    return bound if search.proven and np.isfinite(bound) else np.nan


def _told(search: Search, best: Best) -> Best:
    """The same, once it was told."""
    if best is not None:
        search.watch.found(best[0])
    search.watch.step()
    return best


def _whole(search: Search, price: float, best: Best, bound: float, *, tells_bound: bool) -> tuple[Best, float]:
    """The best objective and whole lots found, and the lower bound of the objective.

    tells_bound  whether that is the bound of all contracts, which is told
    """
    watch = search.watch
    for turn in range(MOST_WHOLE_ROUNDS):
        watch.bound = _claimed(search, bound) if tells_bound else watch.bound
        if (not search.convex and turn >= MOST_UNPROVEN_ROUNDS) or watch.over():
            break
        answer = whole_lots(search.program, np.inf, margin_weight=price, left=watch.share).answer
        search.rounds += 1
        bound = max(bound, answer.bound)
        watch.step(programs=1)
        if answer.lots is None:
            break
        value = search.support(answer.lots)
        reached = search.program.cost(answer.lots) + price * value
        if search.program.allows(answer.lots) and (best is None or reached < best[0]):
            best = _told(search, (reached, answer.lots))
        if best is not None and best[0] - bound <= search.program.gap * max(abs(best[0]), search.near):
            break
    return best, bound


def _descended(search: Search, price: float, best: Best) -> Best:
    """The best of directions and single contracts, then of every change by one or two contracts that improves it."""
    if search.watch.over():
        return best
    nothing = np.zeros(len(search.trials.rows))
    moves = search.singles()
    probed = 0
    points = [nothing, *search.shares(), *moves]
    for _ in range(POLISHING_ROUNDS):
        found = _best_of(search, price, points, best)
        probed += len(points)
        if found is best or found is None or probed >= MOST_PROBED or search.watch.over():
            return found
        best = found
        # Two at a time, since a Greek at the edge of its band lets no single contract move.
        points = [found[1] + move for move in (*moves, *_pairs(search, found[1]))]
    return best


def _pairs(search: Search, lots: FloatArray) -> list[FloatArray]:
    """(n,) one lot of each of two contracts, of those traded and the first others."""
    order = np.argsort(lots == 0.0, kind="stable")[:MOST_PAIRED]
    one = np.eye(len(lots))
    return [a * one[i] + b * one[j] for i, j in combinations(order.tolist(), 2) for a in (-1, 1) for b in (-1, 1)]


def _best_of(search: Search, price: float, points: list[FloatArray], best: Best) -> Best:
    """`best`, or the best of trades (n,), of those looked at in time, where one is better by more than rounding."""
    allowed = [lots for lots in points if search.program.allows(lots)]
    reached: list[float] = []
    for start in range(0, len(allowed), AT_ONCE):
        if search.watch.over():
            break
        some = allowed[start : start + AT_ONCE]
        reached += (price * search.probe(np.array(some)) + np.array([search.program.cost(n) for n in some])).tolist()
        search.watch.step(tried=len(some))
    if not reached:
        return best
    least = int(np.argmin(reached))
    if best is not None and reached[least] >= best[0] - search.near:
        return best
    return _told(search, (reached[least], allowed[least]))
