"""How the trades of a hedge are found: planes are added where the program's trades cost more margin than it believed.

Where a requirement is convex in the quantities every plane holds everywhere, so that what the program minimises is a
lower bound of the cost. That is claimed only where the model declares it and gives the planes (see `hedge_planes`), and
it is looked at all the same: a plane that lies above the requirement at any trade evaluated proves that it does not
hold. Elsewhere planes are differences beside the trades, and nothing is claimed. A plane that is contradicted is
lowered to what was found, and where the program's trades still miss the target, the target is tightened by what they
miss.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np

from portfolio_margin.convexity import INITIAL
from portfolio_margin.hedge_columns import MOST_COLUMNS, WIDER, relaxed, whole_lots
from portfolio_margin.hedge_planes import ROUNDING, Reach, rounding, supported, supporting_plane
from portfolio_margin.hedge_program import INFEASIBLE, SOLVED, Plane, Program
from portfolio_margin.hedge_terms import CEILINGS
from portfolio_margin.search_watch import Watch
from portfolio_margin.trial_margins import FINE, TrialMargins, Trials, slopes, trial_margins
from pricing.arrays import BoolArray, FloatArray
from pricing.instruments import Kind

MOST_RELAXED_ROUNDS = 60
MOST_WHOLE_ROUNDS = 15
# Where nothing can be proven, a few programs are enough to find what polishing cannot.
MOST_UNPROVEN_ROUNDS = 5
# Of the notional of the account: what the program may miss a ceiling by before trades are checked exactly; by planes
# that are exact and by differences.
NEAR_EXACT, NEAR = 1e-9, 1e-7
# Of the notional: a plane of differences this far above the requirement contradicts it: it knows no kinks nearer.
CONTRADICTION = 1e-5
# Shares of a direction that is tried as a whole.
SHARES = np.append(2.0 ** -np.arange(10.0, 1.0, -1.0), np.arange(0.3, 1.05, 0.05))
POLISHING_ROUNDS = 200
# Shares of a trade by which it is made smaller; a lot at least.
LESS = np.append(4.0 ** -np.arange(14.0), 0.0)


class Found(NamedTuple):
    """Trades that meet the target by full recomputation, and what they cost."""

    lots: FloatArray
    cost: float


Verify = Callable[[FloatArray], float]


@dataclass
class Search:
    """The search of one hedge.

    trials, program   of the account
    measure     of the target
    backend     of the kernels
    weight      how often a floor counts the margin: 1 + a buffer
    convex      False once a plane was contradicted; until then planes are used as if they held
    rounds      programs solved
    seen        trades evaluated, and the requirement there
    watch       who is told how far it is, and says how long it may go on
    least       trades of the least requirement found and the least there can be, once somebody asked
    listed      whether all trades within the limits were looked at
    """

    trials: Trials
    program: Program
    measure: str
    backend: str = "numba"
    weight: float = 1.0
    convex: bool = True
    rounds: int = 0
    seen: list[tuple[FloatArray, float]] = field(default_factory=list)
    watch: Watch = field(default_factory=Watch)
    least: tuple[FloatArray, float] | None = None
    listed: bool = False

    @cached_property
    def reach(self) -> Reach:
        """What may be held after trades within the limits."""
        return Reach.of(self.trials, self.program)

    @cached_property
    def declared(self) -> bool:
        """Whether the model declares convex what the ceiling is on, within the limits, and gives its exact planes."""
        return supported(self.trials, self.reach, self.measure)

    @property
    def proven(self) -> bool:
        """Whether bounds are claimed: the model declares its requirement convex, and no plane was contradicted."""
        return self.convex and self.declared

    @property
    def near(self) -> float:
        """Margin currency that the program may miss a ceiling by."""
        return (NEAR_EXACT if self.proven else NEAR) * self.trials.scale

    def values(self, points: FloatArray) -> FloatArray:
        """(K,) what a ceiling is on, after trades (K,n): a margin, less the margin balance for a floor."""
        return self.measured(trial_margins(self.trials, points, backend=self.backend))

    def measured(self, found: TrialMargins) -> FloatArray:
        """(K,) what the ceiling is on, of margins after trades."""
        margin = found.initial if self.measure in INITIAL else found.maintenance
        return margin if self.measure in CEILINGS else self.weight * margin - found.balance

    def support(self, lots: FloatArray) -> float:
        """The requirement at trades (n,), and its plane there among those of the program."""
        # Trades are evaluated in whole fine steps; the plane must be that of the same.
        lots = np.rint(lots / FINE) * FINE
        found = trial_margins(self.trials, lots[None, :], backend=self.backend)
        value = float(self.measured(found)[0])
        worst = int(found.worst_scenario[0])
        label = "" if worst < 0 else str(self.trials.arrays.scenario_set.label[worst])
        self._observe(lots[None, :], np.array([value]))
        plane = self._exact(lots, value, label) if self.proven else None
        points, values = (np.array(column) for column in zip(*self.seen, strict=True))
        plane = self._by_differences(lots, value, label) if plane is None else plane
        self.program.planes.append(self._lowered(plane, points, values))
        return value

    def _exact(self, lots: FloatArray, value: float, label: str) -> Plane | None:
        """The plane that the model gives; None where it is not that of the requirement, and nothing is proven then."""
        plane = supporting_plane(self.trials, self.reach, self.measure, self.weight, lots, label)
        self.convex = bool(abs(plane.at(lots) - value) <= rounding(self.trials, lots[None, :])[0])
        return plane if self.convex else None

    def _by_differences(self, lots: FloatArray, value: float, label: str) -> Plane:
        by_lot = slopes(self.trials, lots, backend=self.backend)
        margin = by_lot["initial" if self.measure in INITIAL else "maintenance"]
        gradient = margin if self.measure in CEILINGS else self.weight * margin - by_lot["balance"]
        return Plane(value - float(gradient @ lots), gradient, label)

    def _observe(self, points: FloatArray, values: FloatArray) -> None:
        """Keep trades (K,n) evaluated, and lower every plane that lies above one: no convex requirement has that."""
        self.seen.extend(zip(points, values.tolist(), strict=True))
        self._lower_all(points, values)

    def _lower_all(self, points: FloatArray, values: FloatArray) -> None:
        for k, plane in enumerate(self.program.planes):
            self.program.planes[k] = self._lowered(plane, points, values)

    def _lowered(self, plane: Plane, points: FloatArray, values: FloatArray) -> Plane:
        over = plane.constant + points @ plane.gradient - values
        allowed = rounding(self.trials, points) if self.proven else CONTRADICTION * self.trials.scale
        if np.all(over <= allowed):
            return plane
        self.convex = False
        return plane._replace(constant=plane.constant - float(over.max()))

    def relax(self, ceiling: float, *, cost_weight: float = 1.0, margin_weight: float = 0.0) -> float:
        """Add planes until trades that need not be whole agree with them; the lower bound of the objective.

        inf where no such trades satisfy the program.
        """
        weights = {"cost_weight": cost_weight, "margin_weight": margin_weight}
        bound = -np.inf
        centre = np.zeros(len(self.trials.rows))
        for _ in range(MOST_RELAXED_ROUNDS):
            if not self.convex or self.watch.over():
                return bound
            answer = relaxed(self.program, ceiling, **weights).answer
            self.rounds += 1
            self.watch.step(programs=1)
            if answer.status == INFEASIBLE or answer.lots is None:
                return np.inf
            bound = max(bound, answer.bound)
            believed = self.program.height(answer.lots)
            value = self.support(answer.lots)
            spent = self.program.spent * self.program.cost(answer.lots)
            close = value <= believed + self.near if margin_weight else value + spent <= ceiling + self.near
            if close:
                return bound
            # Half way to trades tried before, which keeps the program from leaping from one end to the other.
            centre = 0.5 * (centre + answer.lots)
            self.support(centre)
        return bound

    def whole(
        self, ceiling: float, verify: Verify, best: Found | None, *, weights: tuple[float, float] = (1.0, 0.0)
    ) -> tuple[Found | None, float]:
        """The best whole lots that `verify` finds no fault with, and the lower bound of the objective.

        verify   by how much trades miss the target when everything is computed anew; 0 or less where they meet it
        best     trades known before, None for none
        """
        bound, tightened, most, refused = -np.inf, 0.0, MOST_COLUMNS, None
        for turn in range(MOST_WHOLE_ROUNDS):
            if not self.convex and turn >= MOST_UNPROVEN_ROUNDS:
                return best, bound
            answer, outside = whole_lots(
                self.program, ceiling - tightened, cost_weight=weights[0], margin_weight=weights[1], most=most
            )
            self.rounds += 1
            if tightened == 0.0:
                bound = max(bound, answer.bound)
            if answer.lots is None:
                return best, bound
            missed = verify(answer.lots) if self.program.allows(answer.lots) else np.inf
            if missed <= 0.0:
                cost = self.program.cost(answer.lots)
                best = Found(answer.lots, cost) if best is None or cost < best.cost else best
                if self.gap_closed(best.cost, bound) or not np.isfinite(outside) or not self.proven:
                    return best, bound
                most *= WIDER
                continue
            if best is not None and self.gap_closed(best.cost, bound):
                return best, bound
            believed = self.program.height(answer.lots)
            value = self.support(answer.lots)
            if value <= believed + self.near:
                # The program already knew: what is missed is rounding, or a requirement that is not convex.
                more = missed if np.isfinite(missed) else self.near
                # The same trades once more: what the solver tolerates is more than what they miss.
                again = refused is not None and np.array_equal(refused, answer.lots)
                tightened, refused = max(tightened + more, 2.0 * tightened if again else 0.0), answer.lots
            elif answer.status != SOLVED:
                bound = max(bound, answer.bound) if tightened == 0.0 else bound
        return best, bound

    def gap_closed(self, cost: float, bound: float) -> bool:
        """Whether a cost is as near to a lower bound as was asked for."""
        return bool(cost - bound <= max(self.program.gap, ROUNDING) * max(abs(cost), 1e-12))

    def directions(self) -> list[FloatArray]:
        """(n,) trades tried as a whole: futures against the delta, of all and by underlying; what is held, closed."""
        trials, arrays = self.trials, self.trials.arrays
        kind, owner = arrays.kind[trials.rows], arrays.underlying_idx[trials.rows]
        linear = (kind == Kind.FUTURE) | (kind == Kind.PERPETUAL)
        by_lot = arrays.delta[trials.rows] * trials.step
        held = arrays.delta[trials.column] * trials.base
        column_owner = arrays.underlying_idx[trials.column]
        found: list[FloatArray] = []
        for u in np.unique(owner[linear & (by_lot != 0)]):
            total = float(held[column_owner == u].sum())
            for k in np.flatnonzero(linear & (owner == u) & (by_lot != 0)):
                hedge = np.zeros(len(trials.rows))
                hedge[k] = -total / by_lot[k]
                found.append(hedge)
        if len(found) > 1:
            cheapest: dict[int, FloatArray] = {}
            for hedge in found:
                u = int(owner[np.flatnonzero(hedge)[0]]) if hedge.any() else -1
                if u not in cheapest or self.program.cost(hedge) < self.program.cost(cheapest[u]):
                    cheapest[u] = hedge
            found.append(np.sum(list(cheapest.values()), axis=0))
        found.append(-trials.held_lots())
        return [hedge for hedge in found if np.any(np.rint(hedge))]

    def shares(self) -> list[FloatArray]:
        """(n,) whole lots: shares of every direction."""
        return [np.rint(share * direction) for direction in self.directions() for share in SHARES]

    def singles(self) -> list[FloatArray]:
        """(n,) lots of one contract each, bought and sold, from one lot in fourfold steps up to its limit."""
        found = []
        for k, limits in enumerate(zip(self.program.most_sold, self.program.most_bought, strict=True)):
            for side, most in zip((-1.0, 1.0), limits, strict=True):
                rungs = 4.0 ** np.arange(0.0, np.log2(max(most, 1.0)) / 2.0)
                for size in np.unique(np.minimum(np.append(rungs, [1.0, most]), most)):
                    lots = np.zeros(len(self.program.buy_cost))
                    lots[k] = side * size
                    found.append(lots)
        return found

    def probe(self, points: FloatArray) -> FloatArray:
        """(K,) the requirement at trades (K,n), which may contradict planes; they are not kept."""
        found = self.values(points)
        self._lower_all(points, found)
        return found

    def try_directions(self, ceiling: float, verify: Verify) -> Found | None:
        """The cheapest share of a direction that meets the target; None where none does."""
        return self.try_all(self.shares(), ceiling, verify)

    def try_all(self, points: list[FloatArray], ceiling: float, verify: Verify) -> Found | None:
        """The cheapest of trades (n,) that meets the target; None where none does."""
        allowed = [lots for lots in points if self.program.allows(lots)]
        if not allowed:
            return None
        costs = np.array([self.program.cost(lots) for lots in allowed])
        found = self.values(np.array(allowed))
        self._observe(np.array(allowed), found)
        values = found + self.program.spent * costs
        order = np.argsort(costs, kind="stable")
        for k in order[values[order] <= ceiling + self.near]:
            if verify(allowed[k]) <= 0.0:
                return Found(allowed[k], float(costs[k]))
        return None

    def polish(self, best: Found, ceiling: float, verify: Verify) -> Found:
        """The same trades made smaller, one contract at a time, as long as the target is met."""
        for _ in range(POLISHING_ROUNDS):
            traded = np.flatnonzero(best.lots)
            points = []
            for k in traded:
                for less in np.unique(np.maximum(np.floor(np.abs(best.lots[k]) * LESS), 1.0)):
                    point = best.lots.copy()
                    point[k] -= np.sign(point[k]) * less
                    points.append(point)
            found = self._cheapest(points, ceiling, verify, best)
            if found is None:
                return best
            best = found
        return best

    def _cheapest(self, points: list[FloatArray], ceiling: float, verify: Verify, best: Found) -> Found | None:
        cheaper = [lots for lots in points if self.program.cost(lots) < best.cost and self.program.allows(lots)]
        if not cheaper:
            return None
        costs = np.array([self.program.cost(lots) for lots in cheaper])
        values = self.values(np.array(cheaper)) + self.program.spent * costs
        order = np.argsort(costs, kind="stable")
        for k in order[values[order] <= ceiling + self.near]:
            if verify(cheaper[k]) <= 0.0:
                return Found(cheaper[k], float(costs[k]))
        return None


def active(program: Program, lots: FloatArray, near: float) -> BoolArray:
    """(K,) planes that reach the requirement at trades (n,) to within `near`."""
    heights = np.array([plane.at(lots) for plane in program.planes])
    return heights >= heights.max(initial=-np.inf) - near
