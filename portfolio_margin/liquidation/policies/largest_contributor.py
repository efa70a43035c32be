"""largest_contributor: close what contributes most to the maintenance margin, as Deribit does for portfolio margin.

Step after step, until the buffer is there: of the contract with the largest contribution as much as restores it, or as
much as helps; the next contract where the first cannot be traded or closing it does not help; where none helps, the
delta is reduced with a future or perpetual if that lowers the maintenance margin. Deribit, portfolio margin liquidation
since 1 August 2023, as its help pages describe the order; sizes and costs are ours, and so is the last resort: where
two scenarios are equally bad and no trade helps alone, everything is cut by the same share.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from portfolio_margin.book import Book
from portfolio_margin.liquidation.closing import (
    FINE_SLICES,
    close_largest,
    close_out,
    convert_assets,
    cut_all,
    hedge_delta,
    run,
)
from portfolio_margin.liquidation.plan import Costs, LiquidationPlan
from portfolio_margin.liquidation.trials import open_case
from portfolio_margin.requirement import MarginModel
from scenarios.risk_arrays import RiskArrays
from scenarios.shocks import check_bounds


@dataclass(frozen=True)
class Params:
    """buffer: share of the maintenance margin that is restored above it, 0 to 10."""

    buffer: float = 0.15

    def __post_init__(self) -> None:
        check_bounds(self, {"buffer": (0.0, 10.0)})


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
    cut = partial(cut_all, slices=FINE_SLICES)
    return run(case, "largest_contributor", (close_largest, hedge_delta, cut, convert_assets, close_out))
