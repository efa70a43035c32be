"""delta_hedge_first: hedge the delta before anything is closed.

Step after step, until the buffer is there: a trade in the future or perpetual of the underlying with the largest delta,
of the size that restores the buffer or lowers the margin most; where no hedge helps, the contract that contributes most
to the maintenance margin is closed; where two scenarios are equally bad and neither helps alone, everything is cut by
the same share. A hedge costs little and keeps the options of the account, but it does not remove gamma and vega: what
is left of those is closed afterwards. Own rule; venues describe the idea (Deribit before 2023: futures first, staying
near delta neutral).
"""

from __future__ import annotations

from portfolio_margin.book import Book
from portfolio_margin.liquidation.closing import HEDGE_FIRST, Buffer, run
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
    return run(case, "delta_hedge_first", HEDGE_FIRST)
