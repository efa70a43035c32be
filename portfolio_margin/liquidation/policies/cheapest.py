"""cheapest: the cheapest closings and hedges that restore the buffer, and never worse than the simple policies.

The cheapest trades are a convex program over scenarios and costs where the requirement is convex (Rockafellar and
Uryasev, Journal of Risk 2, 2000, for worst losses), solved in whole lots and verified by full recomputation. Beside it
stand the plans of the simple rules at the same buffer; the cheapest plan of all that restores the buffer is taken, and
where none does, the one that leaves least missing. Own rule.
"""

from __future__ import annotations

from dataclasses import dataclass

from portfolio_margin.book import Book
from portfolio_margin.liquidation.cheapest_trades import cheapest_trades
from portfolio_margin.liquidation.closing import HEDGE_FIRST, LARGEST_FIRST, cut_once, run
from portfolio_margin.liquidation.plan import DEFAULT_BUFFER, Costs, LiquidationPlan, Outcome
from portfolio_margin.liquidation.trials import open_case
from portfolio_margin.requirement import MarginModel
from portfolio_margin.statement import AccountStatus
from pricing.errors import ConfigError
from scenarios.risk_arrays import RiskArrays
from scenarios.shocks import check_bounds

NAME = "cheapest"
# From best to worst, as they are declared.
OUTCOMES = tuple(Outcome)


@dataclass(frozen=True)
class Params:
    """Parameters, with bounds.

    buffer  share of the maintenance margin that is restored above it, 0 to 10
    slices  equal parts of the proportional plan that it is compared with, whole, 1 to 10,000
    """

    buffer: float = DEFAULT_BUFFER
    slices: int = 5

    def __post_init__(self) -> None:
        check_bounds(self, {"buffer": (0.0, 10.0), "slices": (1, 10_000)})
        if self.slices != int(self.slices):
            raise ConfigError(f"slices = {self.slices!r}: must be a whole number")


def plan(
    book: Book,
    arrays: RiskArrays,
    model: MarginModel,
    costs: Costs,
    params: Params | None = None,
    *,
    backend: str = "numba",
) -> LiquidationPlan:
    """The plan for the one account of `book`.

    backend  as for `margin`

    Raises what `margin` and `trials.open_case` raise.
    """
    rules = params or Params()
    case = open_case(book, arrays, model, costs, rules.buffer, backend)
    if case.margins.status != AccountStatus.LIQUIDATION:
        return run(case, NAME, ())
    found = cheapest_trades(case)
    simple = (LARGEST_FIRST, HEDGE_FIRST, cut_once(case, int(rules.slices)))
    plans = [run(case, NAME, (lambda now: found if now is case else None,))] if found is not None else []
    plans += [run(case, NAME, way) for way in simple]
    return min(plans, key=lambda one: rank(one, rules.buffer))


def rank(found: LiquidationPlan, buffer: float) -> tuple[int, float, float, int]:
    """What plans are compared by, the best first: how they end, what is missing then, what they cost, how many trades.

    buffer  share of the maintenance margin that is restored above it
    """
    missing = max(found.after.shortfall(buffer), 0.0)
    trades = sum(len(step.trades) for step in found.steps)
    return OUTCOMES.index(found.outcome), round(missing, 2), round(found.cost + found.penalty, 2), trades
