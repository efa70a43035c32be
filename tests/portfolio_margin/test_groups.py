"""Groups of a book are its expiries: whatever asks a model about a book refuses others, with one sentence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from portfolio_margin import (
    Book,
    MarginEngine,
    Target,
    compare,
    explain,
    hedge,
    margin,
    market_derivatives,
    near_scenarios,
    position_margins,
    quantity_derivatives,
    what_if,
)
from portfolio_margin.liquidation.cuts import cut_all_accounts
from portfolio_margin.liquidation.plan import Costs
from portfolio_margin.liquidation.policies import delta_hedge_first, largest_contributor, proportional
from portfolio_margin.models import worst_case
from portfolio_margin.segregated import segregated_margins
from pricing import ConfigError, DataError
from tests.portfolio_margin.books import ARRAYS, GRID, INSTRUMENTS, MARKET

MODEL = worst_case.Model()
ROW = ARRAYS.index_of()
CALL = "BTC-7D-68000-C"
HELD = {"USD": 1e5, CALL: -5.0, "BTC-60D-68000-C": 3.0, "ETH-7D-2050-P": -10.0}
COSTS = Costs.of(ARRAYS, 0.0005 * ARRAYS.notional)


def book_by(group_of_instrument: Any) -> Book:
    return Book.from_arrays(["a"] * len(HELD), [ROW[name] for name in HELD], list(HELD.values()), group_of_instrument)


RIGHT, WRONG = book_by(INSTRUMENTS.expiry_idx), book_by(np.zeros(len(INSTRUMENTS)))
STATEMENT = margin(RIGHT, ARRAYS, MARKET, MODEL)
USES: dict[str, Callable[[Book], Any]] = {
    "compare": lambda b: compare(b, MARKET, {"it": MODEL}, instruments=INSTRUMENTS, scenario_set=GRID),
    "explain": lambda b: explain(STATEMENT, b, ARRAYS, "a"),
    "position_margins": lambda b: position_margins(STATEMENT, b, ARRAYS, "a"),
    "what_if": lambda b: what_if(b, ARRAYS, MARKET, MODEL, account="a", orders=[(CALL, 1.0)]),
    "hedge": lambda b: hedge(b, ARRAYS, MARKET, MODEL, "a", Target("available_funds", 0.0), instruments=[CALL]),
    "engine": lambda b: MarginEngine.start(b, MODEL, INSTRUMENTS, MARKET, GRID),
    "engine on arrays": lambda b: MarginEngine.from_arrays(b, MODEL, ARRAYS),
    "quantity_derivatives": lambda b: quantity_derivatives(b, ARRAYS, MODEL, "a", np.array([ROW[CALL]])),
    "near_scenarios": lambda b: near_scenarios(b, ARRAYS, MODEL, "a", 1.0),
    "market_derivatives": lambda b: market_derivatives(b, INSTRUMENTS, MARKET, MODEL, GRID, "a"),
    "segregated_margins": lambda b: segregated_margins(b, ARRAYS, MODEL),
    "delta_hedge_first": lambda b: delta_hedge_first.plan(b, ARRAYS, MODEL, COSTS),
    "largest_contributor": lambda b: largest_contributor.plan(b, ARRAYS, MODEL, COSTS),
    "proportional": lambda b: proportional.plan(b, ARRAYS, MODEL, COSTS),
    "cut_all_accounts": lambda b: cut_all_accounts(b, ARRAYS, MODEL, COSTS),
}


@pytest.mark.parametrize("name", USES)
def test_other_groups_are_refused(name: str) -> None:
    with pytest.raises((DataError, ConfigError), match=r"row a, group = 0: .*belongs to group -1: .*expiry_idx"):
        USES[name](WRONG)
    USES[name](RIGHT)
