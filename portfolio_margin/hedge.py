"""hedge: the cheapest trades that bring the margin of an account to a target, verified by computing it anew."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from portfolio_margin.book import Book
from portfolio_margin.dollars import money_step
from portfolio_margin.hedge_candidates import best_of, cheapest_completion, refuted, without_needless
from portfolio_margin.hedge_columns import spread
from portfolio_margin.hedge_enumeration import cheapest_listed, listed
from portfolio_margin.hedge_planes import ROUNDING, rounding
from portfolio_margin.hedge_program import Bands, Program
from portfolio_margin.hedge_result import Hedge, HedgeTrade, trades_of
from portfolio_margin.hedge_search import Found, Search, Verify, active
from portfolio_margin.hedge_subsets import fewer_contracts, named_subsets
from portfolio_margin.hedge_terms import (
    CEILINGS,
    FLOORS,
    Costs,
    Limits,
    Target,
    contract_rows,
    trade_terms,
)
from portfolio_margin.margin import margin
from portfolio_margin.requirement import MarginModel, check_scenarios
from portfolio_margin.sensitivities import what_if, with_orders
from portfolio_margin.trial_margins import Trials, prepare_trials
from pricing.arrays import FloatArray
from pricing.errors import ConfigError, InfeasibleError
from pricing.market import Market
from scenarios.risk_arrays import RiskArrays

# Of the notional of the account: planes this near to the highest one bind.
BINDING = 1e-5
# Ticks that exact sums of a statement may be off the requirement of real numbers: those of the assets held.
TICKS = 16.0
UNPROVEN = (
    "the requirement is not proven convex in the quantities here: the trades are verified by recomputation and are the "
    "best found, and no bound is proven"
)
NO_BANDS = Bands(np.zeros((0, 0)), np.zeros(0), np.zeros(0))


@dataclass(frozen=True)
class Desk:
    """One account, its market and model: what trades are judged by.

    book      of the one account
    arrays, market, model, backend   as `margin` takes them
    trials    of the contracts that may be traded
    """

    book: Book
    arrays: RiskArrays
    market: Market | None
    model: MarginModel
    backend: str
    trials: Trials

    def orders(self, lots: FloatArray) -> list[tuple[str, float]]:
        """Whole lots as orders."""
        held = np.flatnonzero(np.rint(lots))
        amounts = np.round(np.rint(lots[held]) * self.trials.step[held], 12)
        return [(str(name), float(q)) for name, q in zip(self.trials.names[held], amounts, strict=True)]

    def measured(self, lots: FloatArray, measure: str, cost: float) -> float:
        """A measure of the account after whole lots, by its margin anew; floors after their cost."""
        after = with_orders(self.book, self.arrays, self.orders(lots))
        statement = margin(after, self.arrays, self.market, self.model, backend=self.backend)
        value = float(getattr(statement, measure)[0])
        return value - cost if measure in FLOORS else value


def open_desk(
    book: Book,
    arrays: RiskArrays,
    market: Market | None,
    model: MarginModel,
    account: str,
    instruments: Sequence[str] | None,
    backend: str,
) -> Desk:
    """The desk of one account. DataError where the account or a contract is unknown."""
    own = book.select(account)
    check_scenarios(model, arrays)
    look_up = getattr(model, "for_arrays", None)
    fitted: MarginModel = model if look_up is None else look_up(arrays)
    rows = contract_rows(arrays, fitted, instruments)
    return Desk(own, arrays, market, fitted, backend, prepare_trials(own, arrays, fitted, rows))


def program_of(desk: Desk, costs: Costs, limits: Limits, *, bands: Bands = NO_BANDS, spent: bool) -> Program:
    """The program of a desk, without planes."""
    terms = trade_terms(desk.arrays, desk.trials.rows, costs, limits, desk.trials.scale)
    count = len(desk.trials.rows)
    return Program(
        buy_cost=terms.buy_cost,
        sell_cost=terms.sell_cost,
        most_bought=terms.most_bought,
        most_sold=terms.most_sold,
        bands=bands if len(bands.low) else Bands(np.zeros((0, count)), np.zeros(0), np.zeros(0)),
        total_cost=np.inf if limits.total_cost is None else float(limits.total_cost),
        spent=1.0 if spent else 0.0,
        scale=desk.trials.scale,
        nodes=limits.nodes,
        gap=limits.gap,
    )


def hedge(
    book: Book,
    arrays: RiskArrays,
    market: Market | None,
    model: MarginModel,
    account: str,
    target: Target,
    *,
    instruments: Sequence[str] | None = None,
    costs: Costs | None = None,
    limits: Limits | None = None,
    backend: str = "numba",
) -> Hedge:
    """The cheapest trades that bring the margin of one account to the target.

    book, arrays, market, model, backend   as `margin` takes them
    account      whose margin it is
    target       what must hold after the trades
    instruments  contracts that may be traded; None: all that the model has a rule for
    costs        Costs() where None; limits   Limits() where None

    Trades are whole lots at the mark, their cost comes on top. They meet the target by full recomputation. Where the
    requirement is convex in the quantities, as its model declares, they are the cheapest to within `gap`; where it is
    not declared or found not to be, they are the cheapest found, and `convex` says so. No trades at all are the
    cheapest under every model, since none costs less than nothing: the gap is 0 where the target is met already, and
    where whole lots within the limits are so few that all are looked at.

    Raises DataError for unknown accounts and contracts, ConfigError for targets, costs and limits out of their bounds,
    InfeasibleError with the nearest value found where no trades within the limits meet the target.
    Source: docs/hedging.md.
    """
    asked = _Asked(target, costs or Costs(), limits or Limits())
    if asked.limits.time_limit is not None:
        raise ConfigError("time_limit: only optimise_book takes one; a hedge is searched until it is finished")
    desk = open_desk(book, arrays, market, model, account, instruments, backend)
    search = _search_of(desk, asked)
    if _missed(desk, search, target, nothing := np.zeros(len(desk.trials.rows))) <= 0.0:
        return _result(desk, search, asked, Found(nothing, 0.0), 0.0)
    best, bound = _found(desk, search, asked)
    if best is None:
        raise _infeasible(desk, search, asked, (search.proven or search.listed) and bool(np.isposinf(bound)))
    return _result(desk, search, asked, best, bound)


class _Asked(NamedTuple):
    """What a hedge is asked for."""

    target: Target
    costs: Costs
    limits: Limits

    @property
    def ceiling(self) -> float:
        """What the requirement, less the margin balance for a floor, must not exceed."""
        return self.target.amount if self.target.measure in CEILINGS else -self.target.amount


def _search_of(desk: Desk, asked: _Asked) -> Search:
    program = program_of(desk, asked.costs, asked.limits, spent=asked.target.measure in FLOORS)
    return Search(desk.trials, program, asked.target.measure, desk.backend)


def _missed(desk: Desk, search: Search, target: Target, lots: FloatArray) -> float:
    """By how much whole lots miss the target when the margin is computed anew."""
    return target.missed_by(desk.measured(lots, target.measure, search.program.cost(lots)))


def _found(desk: Desk, search: Search, asked: _Asked) -> tuple[Found | None, float]:
    """The cheapest trades, None where none are found, and the lower bound: of all there are, where those are few."""

    def verify(lots: FloatArray) -> float:
        return _missed(desk, search, asked.target, lots)

    every = listed(search)
    if every is not None:
        search.listed = True
        best = cheapest_listed(search, every, _ceiling(desk, asked), verify)
        if best is None:
            lots, least = every.least
            # A statement may be off it by more than by its cents where the model rounds otherwise.
            search.least = lots, least if search.proven else -np.inf
            return None, np.inf
        # For the scenario that binds there.
        search.support(best.lots)
        return best, best.cost
    best, bound = _searched(desk, search, asked, {})
    if best is not None and not (search.proven and search.gap_closed(best.cost, bound)):
        best = search.polish(best, asked.ceiling, verify)
    return best, bound


def _ceiling(desk: Desk, asked: _Asked) -> float:
    """The ceiling, and what sums may be above it."""
    nothing = np.zeros((1, len(desk.trials.rows)))
    # What a statement meets to the cent must not be out of reach by the last bit of a sum.
    return asked.ceiling + float(rounding(desk.trials, nothing)[0]) + TICKS * float(desk.arrays.tick or 0.0)


def _searched(
    desk: Desk, search: Search, asked: _Asked, known: dict[bytes, Found | None]
) -> tuple[Found | None, float]:
    """The cheapest trades found in the contracts of a desk, None where none are, and the lower bound of all.

    known  what was found of fewer contracts, by their rows; added to

    Where nothing is proven, or the gap stays open, the subsets of `named_subsets` are searched by themselves, the same
    way, and what is found of each is where a search among all begins: so more to choose from never costs more.
    """
    nothing, ceiling = np.zeros(len(desk.trials.rows)), _ceiling(desk, asked)

    def verify(lots: FloatArray) -> float:
        return _missed(desk, search, asked.target, lots)

    search.support(nothing)
    best = search.try_directions(ceiling, verify)
    bound = search.relax(ceiling)
    if np.isfinite(bound) or not search.convex:
        best, whole_bound = search.whole(ceiling, verify, best)
        bound = max(bound, whole_bound)
    if search.proven and best is not None and search.gap_closed(best.cost, bound):
        best = without_needless(search, search.polish(best, ceiling, verify), verify)
        search.convex = not refuted(search, best, bound)
        return best, bound
    starts = [best, cheapest_completion(search, nothing, ceiling, verify, np.inf if best is None else best.cost)]
    if search.proven and np.isposinf(bound) and not any(starts):
        best = _from_smallest(desk, search, ceiling, verify)
        # Planes that hold say that there is none: where there is, that was an error of the solver.
        search.convex = best is None
        return best, bound
    for few in named_subsets(desk.trials):
        part = replace(desk, trials=fewer_contracts(desk.trials, desk.book, desk.arrays, few))
        key = part.trials.rows.tobytes()
        if key not in known:
            known[key] = _searched(part, _search_of(part, asked), asked, known)[0]
        smaller = known[key]
        if smaller is not None:
            starts.append(Found(spread(smaller.lots, few, len(nothing)), smaller.cost))
    best = best_of(search, [found for found in starts if found is not None], ceiling, verify)
    if best is None:
        best = _from_smallest(desk, search, ceiling, verify)
    if best is not None and refuted(search, best, bound):
        # The planes hold, so that this is an error of the solver: nothing is claimed of its answer.
        search.convex = False
    return best, bound


def _from_smallest(desk: Desk, search: Search, ceiling: float, verify: Verify) -> Found | None:
    """The cheapest trades that the least requirement found leads to; None where it does not meet the target.

    Planes that are not the requirement's own, where nothing is proven, may leave a program without a solution while
    there is one. Looking for the least contradicts them.
    """
    lots, _ = smallest(desk, search)
    if verify(lots) > 0.0:
        return None
    search.convex = search.declared and search.convex
    least = Found(lots, search.program.cost(lots))
    cheaper, _ = search.whole(ceiling, verify, least)
    return best_of(search, [least, cheaper or least], ceiling, verify)


def _result(desk: Desk, search: Search, asked: _Asked, best: Found, bound: float) -> Hedge:
    proven = (search.proven or search.listed) and np.isfinite(bound)
    # A bound is a sum of binary fractions: never above a cost that was reached, nor below it by the last bits.
    lower = min(max(bound, 0.0), best.cost) if proven else np.nan
    lower = best.cost if best.cost - lower <= ROUNDING * best.cost else lower
    if best.cost == 0.0:
        # No trade costs less than nothing (`trade_terms`), so that nothing can be cheaper, whatever the requirement.
        lower = 0.0
    gap = (best.cost - lower) / best.cost if best.cost > 0.0 else 0.0
    target = asked.target
    return assemble(desk, search, asked.costs, best.lots, (target.measure, target.amount), (lower, gap))


def assemble(
    desk: Desk,
    search: Search,
    costs: Costs,
    lots: FloatArray,
    asked: tuple[str, float],
    proven: tuple[float, float],
) -> Hedge:
    """The result of trades; asked is measure and target, proven the lower bound and the gap."""
    terms = trade_terms(desk.arrays, desk.trials.rows, costs, Limits(), desk.trials.scale)
    margins = what_if(
        desk.book, desk.arrays, desk.market, desk.model, desk.trials.account, desk.orders(lots), backend=desk.backend
    )
    binding: tuple[str, ...] = ()
    if search.program.planes:
        reach = active(search.program, lots, BINDING * desk.trials.scale)
        labels = [plane.label for plane, near in zip(search.program.planes, reach, strict=True) if near and plane.label]
        binding = tuple(dict.fromkeys(labels))
    return Hedge(
        account=desk.trials.account,
        currency=desk.arrays.currency,
        model_id=desk.model.model_id,
        measure=asked[0],
        target=asked[1],
        trades=trades_of(desk.trials, terms, lots),
        cost=search.program.cost(lots),
        lower_bound=proven[0],
        gap=proven[1],
        convex=search.proven,
        margins=margins,
        binding=binding,
        planes=len(search.program.planes),
        rounds=search.rounds,
        notes=_notes(search, proven[1], margins.positions_excluded),
    )


def _notes(search: Search, gap: float, excluded: tuple[str, ...]) -> tuple[str, ...]:
    notes = []
    if not search.proven and np.isnan(gap):
        notes.append(UNPROVEN)
    elif np.isfinite(gap) and gap > 10.0 * search.program.gap:
        notes.append(f"the search ended before it was finished: cheaper trades may save up to {100 * gap:.2g} %")
    if excluded:
        notes.append("the model has no rule for some positions of the account: the target is of the others")
    return tuple(notes)


def _infeasible(desk: Desk, search: Search, asked: _Asked, proven: bool) -> InfeasibleError:
    """The error that says what can be reached: the least of the requirement within the limits.

    proven  whether the program has shown that there are no trades
    """
    target = asked.target
    lots, least = smallest(desk, search)
    value = desk.measured(lots, target.measure, search.program.cost(lots))
    ceiling = target.measure in CEILINGS
    side, name, beyond = ("at most", "smallest", "lower") if ceiling else ("at least", "largest", "higher")
    limit = least if ceiling else -least
    # Below the least plane by no more than a statement rounds: nothing smaller exists.
    sure = abs(value - limit) <= 3.0 * money_step(desk.arrays) + search.near
    known = f"none {beyond} than {limit:,.2f} is possible" if np.isfinite(limit) else ""
    reached = f"the {name} is {value:,.2f}" if sure else f"the {name} found is {value:,.2f}"
    reached += f", {known}" if known and not sure else ""
    none = "no trades within the limits bring" if proven else "no trades were found within the limits that bring"
    advice, deposit = _advice(desk, asked, value)
    message = (
        f"{desk.trials.account}: {none} {target.measure} to {side} {target.amount:,.2f} "
        f"{desk.arrays.currency}; {reached}. {advice}"
    )
    return InfeasibleError(message, value, desk.orders(lots), deposit)


def _advice(desk: Desk, asked: _Asked, reached: float) -> tuple[str, float]:
    """What would help an account that no trades found bring to its target, and what a deposit must be, NaN for none.

    reached  the best value found; where an asset that is owed costs margin, closing all that hedges it may do worse

    An account whose equity is below the target of its funds cannot trade its way there: trades at the mark leave equity
    as it is, their costs take from it, and a margin is never below 0.
    """
    target, allow = asked.target, "larger sizes or more cost"
    mine = np.isin(rows := contract_rows(desk.arrays, desk.model, None), desk.book.instrument_idx)
    held = replace(desk, trials=prepare_trials(desk.book, desk.arrays, desk.model, rows[mine]))
    # A side that nobody quotes is closed at the half spread.
    quotes = {name: pair for name, pair in asked.costs.quotes.items() if None not in pair}
    program = program_of(held, replace(asked.costs, quotes=quotes), Limits(), spent=False)
    lots = -held.trials.held_lots()
    cost = program.cost(lots)
    left = held.measured(lots, target.measure, cost)
    closing = f"closing everything at these prices, for {cost:,.2f}, leaves {target.measure} at {left:,.2f}"
    if target.missed_by(left) <= 0.0:
        return f"C{closing[1:]}: allow the contracts that are held, {allow}", np.nan
    if target.measure in CEILINGS:
        return f"Even {closing}; allow more contracts, {allow}", np.nan
    missing, least = target.missed_by(left), min(target.missed_by(left), target.missed_by(reached))
    deposit = f"a deposit of {missing:,.2f} is missing even then"
    if least < missing:
        deposit += f", and one of {least:,.2f} with the trades found"
    equity = float(margin(desk.book, desk.arrays, desk.market, desk.model, backend=desk.backend).equity[0])
    if equity < target.amount and desk.model.traits.options_counted:
        return f"No trades can do it: equity is {equity:,.2f}. C{closing[1:]}: {deposit}", least
    return f"C{closing[1:]}: {deposit}. Or allow more contracts, {allow}", least


def smallest(desk: Desk, search: Search) -> tuple[FloatArray, float]:
    """Whole lots of the least requirement found, and the least there can be, -inf where none is proven."""
    if search.least is not None:
        return search.least
    bound = search.relax(np.inf, cost_weight=0.0, margin_weight=1.0)
    points = [lots for lots, _ in search.seen]
    rounded = [np.trunc(lots) for lots in points] + [np.rint(lots) for lots in points]
    allowed = [lots for lots in rounded if search.program.allows(lots)] or [np.zeros(len(desk.trials.rows))]
    costs = np.array([search.program.cost(lots) for lots in allowed])
    values = search.values(np.array(allowed)) + search.program.spent * costs
    search.least = allowed[int(np.argmin(values))], bound if search.proven else -np.inf
    return search.least


__all__ = ["Costs", "Hedge", "HedgeTrade", "Limits", "Target", "hedge"]
