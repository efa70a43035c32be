"""What the books refuse: amounts that are not exact, and accounts in a role that is not theirs."""

from __future__ import annotations

import numpy as np
import pytest

from portfolio_margin.liquidation import auction, auction_books, ledger, waterfall
from portfolio_margin.liquidation.ledger import Entry, Reason
from pricing import DataError, NumericalError

NO_TICKS = (1.9, 2.0, float("nan"), float("inf"), "1")


def test_books_are_in_whole_ticks_that_are_exact() -> None:
    books = ledger.open_ledger({"a": 100, "b": 50}, {"m": 0}, insurance_fund=10)
    for bad in NO_TICKS:
        with pytest.raises(DataError, match=r"row 1, ticks = .*whole"):
            ledger.post(books, [Entry("a", "b", bad, Reason.FILL)])  # type: ignore[arg-type]
    for bad in (*NO_TICKS, -1, 2**53 + 1, 2**64):
        with pytest.raises(DataError, match=r"ledger, insurance_fund = .*whole ticks"):
            ledger.open_ledger({"a": 1}, insurance_fund=bad)  # type: ignore[arg-type]
    for size in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(DataError, match="ledger, tick = "):
            ledger.open_ledger({"a": 1}, tick=size)


@pytest.mark.parametrize("ticks", [2**53 + 1, 2**62, 2**63 - 1, 2**64, 2**70])
def test_no_entry_wraps(ticks: int) -> None:
    """To and fro, often enough for the sums of any width to come back to where they were."""
    books = ledger.open_ledger({"a": 0, "b": 0})
    once, back = Entry("a", "b", ticks, Reason.FILL), Entry("b", "a", ticks, Reason.FILL)
    for entries in ([once], [once, once], [once, once, Entry("a", "b", 2, Reason.FILL)], [once, once, back, back]):
        with pytest.raises(NumericalError, match=r"2\^53"):
            ledger.post(books, entries)


def test_sums_of_many_large_amounts_are_exact() -> None:
    books = ledger.open_ledger({"a": 2**53, "b": 0}, insurance_fund=2**53)
    over = [Entry("a", "b", 2**53, Reason.FILL)] * 2**11  # 2^64 in all, which 64 bits take for nothing
    with pytest.raises(NumericalError):
        ledger.post(books, over)
    there = [Entry("a", "b", 2**53, Reason.FILL), Entry("b", "a", 2**53, Reason.FILL)] * 2
    assert ledger.post(books, there).balance.tolist() == books.balance.tolist()
    rich = ledger.open_ledger({f"trader-{n}": 2**53 for n in range(2**11)})
    assert rich.total == 2**64
    assert ledger.open_ledger({"poor": -(2**53), "rich": 2**53 - 1}).total == -1


def test_a_fund_takes_over_what_it_can_bear() -> None:
    books = ledger.open_ledger({"a": -100, "b": 5}, {"m": 0}, insurance_fund=180)
    after = waterfall.take_over(books, "a", "insurance_fund", fund_floor=80)
    assert after.balance_of("insurance_fund") == 80
    with pytest.raises(DataError, match="balance = -100: owes more than the 99 ticks"):
        waterfall.take_over(books, "a", "insurance_fund", fund_floor=81)
    assert waterfall.take_over(books, "b", "insurance_fund", fund_floor=200).balance_of("insurance_fund") == 185
    assert waterfall.take_over(books, "a", "m").balance_of("m") == -100  # a liquidator is the venue's to judge
    with pytest.raises(DataError, match=r"fund_floor = 0\.5"):
        waterfall.take_over(books, "a", "insurance_fund", fund_floor=0.5)  # type: ignore[arg-type]


def test_everybody_keeps_to_his_role() -> None:
    """Only traders are closed and bear losses, only liquidators close: no way around the floor of the fund."""
    books = ledger.open_ledger({"a": -100, "b": 50}, {"m": 100}, insurance_fund=80)
    params = waterfall.Params(fund_floor=80)

    def others(*names: str) -> waterfall.Others:
        return waterfall.Others(np.array(names, dtype=np.str_), np.full(len(names), 80))

    running, standing = auction.Auction(0), auction.Standing(-100.0, 50.0)
    bid = auction.bid(running, standing, auction.Params(), 0, 0.5, 0.0)
    fund, fees = "insurance_fund", "fee_income"
    for call, name, wanted in (
        (lambda: waterfall.settle(books, "a", "m", params, others("b", fund)), fund, "trader"),
        (lambda: waterfall.settle(books, "a", "m", params, others("m")), "m", "trader"),
        (lambda: waterfall.settle(books, fund, "m", params, others()), fund, "trader"),
        (lambda: waterfall.settle(books, "a", "b", params, others()), "b", "liquidator"),
        (lambda: waterfall.settle(books, "a", fund, params, others()), fund, "liquidator"),
        (lambda: waterfall.socialise(books, "a", 5, params, others(fees)), fees, "trader"),
        (lambda: waterfall.take_over(books, "a", fees), fees, "liquidator or insurance_fund"),
        (lambda: waterfall.take_over(books, "a", "b"), "b", "liquidator or insurance_fund"),
        (lambda: waterfall.take_over(books, fund, "m"), fund, "trader"),
        (lambda: auction_books.post_fee(books, "m", 1.0), "m", "trader"),
        (
            lambda: auction_books.post_bid(books, "a", fund, (running, standing), bid, params, others()),
            fund,
            "liquidator",
        ),
    ):
        with pytest.raises(DataError, match=f"account = '{name}': must be {wanted} here"):
            call()
    with pytest.raises(DataError, match="account = 'b': must be other accounts"):
        waterfall.socialise(books, "b", 5, params, others("b"))
