"""The linear program behind a hedge: trades in lots, and a requirement known by the planes that support it from below.

Variables are lots bought b and sold s, x = b - s, and the requirement r:

    minimise   cost_weight (p b + q s) + margin_weight r
    subject to r >= c_k + g_k x                       for every plane k found so far
               r + spent (p b + q s) <= ceiling       in a hedge
               low <= G x <= high                     Greek bands
               p b + q s <= total cost
               0 <= b <= most bought, 0 <= s <= most sold, whole where asked for

A worst loss over scenarios is such a requirement: its planes are the scenarios, and a plane that supports it at a trade
is the active scenario there (the form of scenario programs: Rockafellar and Uryasev, Journal of Risk 2, 2000; planes
added where a solution violates them: Kelley, Journal of SIAM 8, 1960). Solved by HiGHS through scipy.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from pricing.arrays import BoolArray, FloatArray
from pricing.errors import NumericalError

# Money in the program is in thousandths of the notional of the account, so that no number is very large or small.
UNIT_SHARE = 1e-3
# The largest weight in the objective, where the least is 1.
MOST_APART = 1e4
SOLVED, STOPPED, INFEASIBLE = 0, 1, 2


class Plane(NamedTuple):
    """r >= constant + gradient x, margin currency; gradient (n,) by lot; label of the scenario that is active."""

    constant: float
    gradient: FloatArray
    label: str

    def at(self, lots: FloatArray) -> float:
        """Its height at a trade (n,)."""
        return float(self.constant + self.gradient @ lots)


class Bands(NamedTuple):
    """low <= by_lot x <= high: (B,n), (B,), (B,); what the account has already is taken off low and high."""

    by_lot: FloatArray
    low: FloatArray
    high: FloatArray


class Answer(NamedTuple):
    """What the solver says.

    lots   (n,) bought less sold; None where there is nothing that satisfies the program
    bound  lower bound of the objective, in margin currency; -inf where none is known, inf where infeasible
    status SOLVED, STOPPED at its limit of branches or time, INFEASIBLE
    """

    lots: FloatArray | None
    bound: float
    status: int


class Stated(NamedTuple):
    """A program as a solver takes it, over (b, s, r): minimise objective, low <= matrix <= high, lower <= . <= upper.

    unit   margin currency of one of the objective
    """

    objective: FloatArray
    matrix: FloatArray
    low: FloatArray
    high: FloatArray
    lower: FloatArray
    upper: FloatArray
    unit: float


@dataclass
class Program:
    """The program of one account; planes are added as they are found.

    buy_cost, sell_cost (n,)      margin currency per lot
    most_bought, most_sold (n,)   lots
    bands       Greek bands; total_cost the most that trades may cost, inf for no limit
    spent       1 where costs count against the ceiling, else 0
    scale       notional of the account, margin currency
    nodes, gap   limits of the solver
    """

    buy_cost: FloatArray
    sell_cost: FloatArray
    most_bought: FloatArray
    most_sold: FloatArray
    bands: Bands
    total_cost: float
    spent: float
    scale: float
    nodes: int
    gap: float
    planes: list[Plane] = field(default_factory=list)

    def cost(self, lots: FloatArray) -> float:
        """Margin currency that trades (n,) cost."""
        return float(self.buy_cost @ np.maximum(lots, 0.0) + self.sell_cost @ np.maximum(-lots, 0.0))

    def allows(self, lots: FloatArray) -> bool:
        """Whether sizes, costs and Greek bands allow trades (n,)."""
        slack = 1e-9
        inside = np.all(lots <= self.most_bought + slack) and np.all(-lots <= self.most_sold + slack)
        greeks = self.bands.by_lot @ lots
        room = 1e-9 * (1.0 + np.abs(self.bands.by_lot) @ np.abs(lots))
        kept = np.all(greeks >= self.bands.low - room) and np.all(greeks <= self.bands.high + room)
        return bool(inside and kept and self.cost(lots) <= self.total_cost * (1.0 + 1e-12))

    def height(self, lots: FloatArray) -> float:
        """The highest plane at trades (n,)."""
        return max(plane.at(lots) for plane in self.planes)

    def solve(
        self,
        ceiling: float,
        *,
        whole: BoolArray,
        cost_weight: float = 1.0,
        margin_weight: float = 0.0,
        seconds: float = np.inf,
    ) -> Answer:
        """The best trades by the planes known.

        ceiling  of the requirement and, where `spent`, the costs together; inf for none
        whole    (n,) True where lots must be whole
        cost_weight, margin_weight   of costs and of the requirement in what is minimised
        seconds  after which the solver stops with what it has
        """
        from scipy.optimize import Bounds, LinearConstraint, milp

        stated = self.stated(ceiling, cost_weight, margin_weight)
        unit = stated.unit
        found = milp(
            stated.objective,
            integrality=np.append(np.concatenate([whole, whole]), False).astype(int),
            bounds=Bounds(stated.lower, stated.upper),
            constraints=LinearConstraint(stated.matrix, stated.low, stated.high),
            options={
                "node_limit": int(self.nodes),
                "mip_rel_gap": self.gap,
                "time_limit": max(seconds, 0.0),
                # HiGHS keeps to its time far better without: with it a program of a second was seen to take 47.
                "presolve": not np.isfinite(seconds),
            },
        )
        if found.status == 2:
            return Answer(None, np.inf, INFEASIBLE)
        if found.x is None and "limit reached" in found.message:
            # Branches or time ran out before any whole lots were found; scipy has no status for it.
            return Answer(None, -np.inf, STOPPED)
        if found.status not in (0, 1) and found.x is None:
            raise NumericalError(f"the solver of the hedge program failed: {found.message}")
        dual = getattr(found, "mip_dual_bound", None)
        bound = found.fun if dual is None and found.status == 0 else dual
        bound = -np.inf if bound is None or not np.isfinite(bound) else float(bound) * unit
        status = SOLVED if found.status == 0 else STOPPED
        if found.x is None:
            return Answer(None, bound, status)
        count = len(self.buy_cost)
        lots = found.x[:count] - found.x[count : 2 * count]
        return Answer(np.where(whole, np.rint(lots), lots) + 0.0, bound, status)

    def stated(self, ceiling: float, cost_weight: float, margin_weight: float) -> Stated:
        """The program in numbers, for a solver; arguments as `solve` takes them."""
        unit = UNIT_SHARE * self.scale
        cost = np.concatenate([self.buy_cost, self.sell_cost]) / unit
        matrix, low, high = self._rows(ceiling, cost, unit)
        objective = np.append((cost_weight + margin_weight * self.spent) * cost, margin_weight)
        # Solvers take what is gained by less than 1e-7 for nothing: the cheapest lot must not be.
        weights = objective[objective > 0.0]
        size = max(float(weights.min()), float(weights.max()) / MOST_APART) if len(weights) else 1.0
        return Stated(
            objective=objective / size,
            matrix=matrix,
            low=low,
            high=high,
            lower=np.append(np.zeros(len(cost)), -np.inf),
            upper=np.concatenate([self.most_bought, self.most_sold, [np.inf]]),
            unit=unit * size,
        )

    def _rows(self, ceiling: float, cost: FloatArray, unit: float) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Rows of the program over (b, s, r), each divided by its largest coefficient."""
        rows, low, high = [], [], []
        for plane in self.planes:
            gradient = plane.gradient / unit
            rows.append(np.concatenate([gradient, -gradient, [-1.0]]))
            low.append(-np.inf)
            high.append(-plane.constant / unit)
        if np.isfinite(ceiling):
            rows.append(np.append(self.spent * cost, 1.0))
            low.append(-np.inf)
            high.append(ceiling / unit)
        if np.isfinite(self.total_cost):
            rows.append(np.append(cost, 0.0))
            low.append(-np.inf)
            high.append(self.total_cost / unit)
        for by_lot, least, most in zip(*self.bands, strict=True):
            rows.append(np.concatenate([by_lot, -by_lot, [0.0]]))
            low.append(least)
            high.append(most)
        matrix = np.array(rows)
        largest = np.abs(matrix).max(axis=1)
        # A band of what no contract has: 0 is inside or outside.
        largest[largest == 0.0] = 1.0
        return matrix / largest[:, None], np.array(low) / largest, np.array(high) / largest
