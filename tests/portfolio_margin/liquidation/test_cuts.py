"""Many accounts cut at once against the policy that cuts one: the same slices, costs and margins."""

from __future__ import annotations

import numpy as np
import pytest

from portfolio_margin import AccountStatus, Book, margin
from portfolio_margin.liquidation.closing import cut_all
from portfolio_margin.liquidation.cuts import cut_all_accounts
from portfolio_margin.liquidation.plan import Costs
from portfolio_margin.liquidation.trials import open_case
from portfolio_margin.models import worst_case
from pricing import ConfigError
from tests.portfolio_margin.books import ARRAYS, BOOK, INSTRUMENTS, MARKET, loose

MODEL = worst_case.Model()
COSTS = Costs.of(ARRAYS, 0.0005 * ARRAYS.notional, 0.001 * ARRAYS.notional)


def short_book(share: float) -> Book:
    """The random book with cash such that every account has a share of its maintenance margin."""
    statement = margin(BOOK, ARRAYS, MARKET, MODEL, backend="numpy")
    missing = share * statement.maintenance_margin - statement.margin_balance
    rows = []
    for name, positions, cash in zip(BOOK.account_id, loose(BOOK), missing, strict=True):
        held = dict(positions)
        held[0] = round(held.get(0, 0.0) + float(cash), 2)
        rows += [(str(name), row, quantity) for row, quantity in held.items()]
    columns = [list(column) for column in zip(*rows, strict=True)]
    return Book.from_arrays(np.array(columns[0]), columns[1], columns[2], INSTRUMENTS.expiry_idx)


@pytest.mark.parametrize(("share", "penalty_share"), [(0.9, 0.0), (0.6, 0.1), (1.05, 0.0), (-0.2, 0.0)])
def test_many_at_once_are_each_by_itself(share: float, penalty_share: float) -> None:
    book = short_book(share).accounts(0, 40)
    costs = Costs(COSTS.trading, COSTS.penalty, penalty_share, COSTS.tradable)
    found = cut_all_accounts(book, ARRAYS, MODEL, costs, 0.1, 5, backend="numpy")
    before = margin(book, ARRAYS, MARKET, MODEL, backend="numpy")
    anew = margin(found.book, ARRAYS, MARKET, MODEL, backend="numpy")
    assert np.array_equal(anew.equity, found.equity) and np.array_equal(anew.margin_balance, found.balance)
    assert np.array_equal(anew.maintenance_margin, found.maintenance)
    assert found.book.account_id.tolist() == book.account_id.tolist()
    liquidated = before.status == AccountStatus.LIQUIDATION
    assert np.all((found.slices > 0) <= liquidated)
    for row, name in enumerate(book.account_id):
        alone = None
        if liquidated[row]:
            alone = cut_all(open_case(book.select(str(name)), ARRAYS, MODEL, costs, 0.1, "numpy"), 5)
        if alone is None:
            assert found.slices[row] == 0 and found.cost[row] == found.penalty[row] == 0.0
            assert found.equity[row] == before.equity[row]
            continue
        after = alone.step.after
        expected = (alone.step.cost, alone.step.penalty, after.equity, after.balance, after.maintenance)
        ours = (found.cost[row], found.penalty[row], found.equity[row], found.balance[row], found.maintenance[row])
        assert ours == pytest.approx(expected, abs=0.011), name
        assert found.restored[row] == (after.shortfall(0.1) <= 0.0)
    # Below 0 there are accounts with equity that haircuts take the balance of; the others are bankrupt.
    assert liquidated.any() == (share < 1) and liquidated.all() == (0 < share < 1)


def test_accounts_keep_their_order() -> None:
    """Accounts that are numbers are sorted by size, and ten comes after nine."""
    held = np.repeat(np.arange(12), 1)
    book = Book.from_arrays(held, np.full(12, 2), np.full(12, 100.0), INSTRUMENTS.expiry_idx)
    found = cut_all_accounts(book, ARRAYS, MODEL, COSTS, backend="numpy")
    assert found.book.account_id.tolist() == book.account_id.tolist() == [str(n) for n in range(12)]


def test_bounds_are_named() -> None:
    with pytest.raises(ConfigError, match="buffer"):
        cut_all_accounts(BOOK, ARRAYS, MODEL, COSTS, buffer=-1.0)
    for slices in (0, 10**6):
        with pytest.raises(ConfigError, match="slices"):
            cut_all_accounts(BOOK, ARRAYS, MODEL, COSTS, slices=slices)
