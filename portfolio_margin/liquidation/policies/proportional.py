"""proportional: every position is cut by the same share.

The smallest number of slices that restores the buffer; where none does, the number that leaves least missing. Each
position is cut in whole quantity steps, rounded up, so the account keeps its shape up to those. Paradex cuts in
multiples of 20 % until margin / equity is below 90 %, a buffer of 1/9, and charges a share of the maintenance margin
given up (`Costs.penalty_share`). Derive hands over a share of everything, collateral as well, in an auction:
`auction.py` has its closed form, which holds where margins are homogeneous; here the margin of the cut account is
recomputed.
"""

from __future__ import annotations

from dataclasses import dataclass

from portfolio_margin.book import Book
from portfolio_margin.liquidation.closing import cut_once, run
from portfolio_margin.liquidation.plan import DEFAULT_BUFFER, Costs, LiquidationPlan
from portfolio_margin.liquidation.trials import open_case
from portfolio_margin.requirement import MarginModel
from pricing.errors import ConfigError
from scenarios.risk_arrays import RiskArrays
from scenarios.shocks import check_bounds


@dataclass(frozen=True)
class Params:
    """Parameters, with bounds.

    buffer  share of the maintenance margin that is restored above it, 0 to 10
    slices  equal parts that the account is cut into, whole, 1 to 10,000
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
    """The plan for the one account of `book`: one cut, then conversions of assets where the cut was not enough.

    backend  as for `margin`

    Raises what `margin` and `trials.open_case` raise.
    """
    rules = params or Params()
    case = open_case(book, arrays, model, costs, rules.buffer, backend)
    return run(case, "proportional", cut_once(case, int(rules.slices)))
