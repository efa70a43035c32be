"""largest_contributor: close what contributes most to the maintenance margin, as Deribit does for portfolio margin.

Step after step, until the buffer is there: of the contract with the largest contribution as much as restores it, or as
much as helps; the next contract where the first cannot be traded or closing it does not help; where none helps, the
delta is reduced with a future or perpetual if that lowers the maintenance margin. Deribit, portfolio margin liquidation
since 1 August 2023, as its help pages describe the order; sizes and costs are ours, and so is the last resort: where
two scenarios are equally bad and no trade helps alone, everything is cut by the same share.
"""

from __future__ import annotations

from portfolio_margin.book import Book
from portfolio_margin.liquidation.closing import LARGEST_FIRST, Buffer, run
from portfolio_margin.liquidation.plan import Costs, LiquidationPlan
from portfolio_margin.liquidation.trials import open_case
from portfolio_margin.requirement import MarginModel
from scenarios.risk_arrays import RiskArrays

Params = Buffer


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
    case = open_case(book, arrays, model, costs, (params or Params()).buffer, backend)
    return run(case, "largest_contributor", LARGEST_FIRST)
