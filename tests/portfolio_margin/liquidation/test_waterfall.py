"""Ledger, loss sharing and waterfall: published shares, naive twins, and value that is conserved to the tick."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portfolio_margin.liquidation import auction, auction_books, deleverage, ledger, loss_sharing, waterfall
from portfolio_margin.liquidation.ledger import Entry, Reason
from pricing import ConfigError, DataError, NumericalError
from tests.bounds import check_bounds_of_numbers
from tests.naive import liquidation as naive
from tests.portfolio_margin.liquidation.vectors_of import Answer, check
from tests.vectors import literature_vectors, worked_examples

TICKS = 1_000
AUCTION = auction.Params()


def position_scores(i: dict[str, Any]) -> dict[str, Any]:
    held = i["side"] * i["quantity"]
    found = deleverage.scores(i["entry"], i["mark"], held, i["bankruptcy_price"])
    return {"pnl_fraction": found.profit, "effective_leverage": found.leverage, "score": found.score}


def queues(i: dict[str, Any]) -> dict[str, Any]:
    columns = {name: np.array([a[name] for a in i["accounts"]]) for name in i["accounts"][0]}
    held = columns["side"] * columns["quantity"]
    score = deleverage.scores(columns["entry"], columns["mark"], held, columns["bankruptcy_price"]).score
    longs, shorts = (deleverage.queue(score, held, side) for side in (True, False))
    return {"long_queue": columns["id"][longs].tolist(), "short_queue": columns["id"][shorts].tolist()}


def haircuts_by(rule: Callable[..., tuple[np.ndarray, int]]) -> Answer:
    def answer(i: dict[str, Any]) -> dict[str, Any]:
        profits = [round(profit * TICKS) for profit in i["unrealised_profits"]]
        shares, left = rule(round(i["shortfall"] * TICKS), profits)
        return {"haircuts": shares / TICKS, "uncovered": left / TICKS}

    return answer


def taken_over(i: dict[str, Any]) -> dict[str, Any]:
    position, realised, unrealised = loss_sharing.average_cost(i["fills"], i["mark"])
    return {"position": position, "realised": realised, "unrealised": unrealised}


ANSWERS: dict[str, Answer] = {
    "adl_score": position_scores,
    "adl_order": queues,
    "pro_rata_haircut": haircuts_by(loss_sharing.pro_rata_haircut),
    "queue_haircut": haircuts_by(loss_sharing.queue_haircut),
    "perp_loss_per_base": lambda i: {
        "loss_per_base": loss_sharing.loss_per_contract(i["loss"], i["total_long"], abs(i["total_short"]))
    },
    "takeover_pnl": taken_over,
}


@pytest.mark.reference
@pytest.mark.parametrize(
    "kind", ["adl_score", "adl_order", "pro_rata_haircut", "queue_haircut", "perp_loss_per_base", "takeover_pnl"]
)
def test_published(kind: str, report_vectors: Callable[..., None]) -> None:
    check(literature_vectors(kind), ANSWERS[kind], report_vectors, kind)


@pytest.mark.reference
def test_published_withdrawals(report_vectors: Callable[..., None]) -> None:
    """The example of the page; its formula is the same rule for a total that is stated after the loss."""
    (example,) = worked_examples("Paradex socialised loss")
    given_, expected = example["inputs"], example["expected"]
    uncovered = given_["bankruptcies"] - given_["insurance_fund"]
    found = loss_sharing.withdrawal_haircut(
        given_["bankruptcies"], given_["insurance_fund"], given_["total_exchange_balance"]
    )
    charged = found * given_["withdrawal"]
    numbers = {"exchange_bankruptcy": uncovered, "factor": found, "charged": charged,
               "paid": given_["withdrawal"] - charged}  # fmt: skip
    gaps = [abs(numbers[name] - value) for name, value in expected.items()]
    assert max(gaps) <= example["tolerance"]["abs"]
    left = given_["total_exchange_balance"] - uncovered
    assert uncovered / (left + uncovered) == found
    report_vectors(1, max(gaps), label="Paradex socialised loss")


ticks = st.integers(0, 10**12)
weights = st.lists(st.integers(0, 10**12), min_size=1, max_size=12)


@given(ticks, weights.filter(any))
def test_shares_equal_their_exact_twin(amount: int, given_: list[int]) -> None:
    shares = loss_sharing.apportion(amount, given_).tolist()
    assert shares == naive.apportion(amount, given_)
    assert sum(shares) == amount
    assert all(abs(share - Fraction(amount * w, sum(given_))) < 1 for share, w in zip(shares, given_, strict=True))


@given(ticks, weights, st.data())
def test_capped_shares_leave_nothing_that_somebody_can_bear(
    amount: int, given_: list[int], data: st.DataObject
) -> None:
    caps = data.draw(st.lists(ticks, min_size=len(given_), max_size=len(given_)))
    shares, left = loss_sharing.capped_shares(amount, given_, caps)
    assert shares.sum() + left == amount and left >= 0
    assert np.all((shares >= 0) & (shares <= caps))
    bearing = [cap for cap, weight in zip(caps, given_, strict=True) if weight]
    assert left == max(amount - sum(bearing), 0)


@given(ticks, weights)
def test_every_profit_is_cut_alike(shortfall: int, profits: list[int]) -> None:
    shares, left = loss_sharing.pro_rata_haircut(shortfall, profits)
    total = sum(profits)
    assert left == max(shortfall - total, 0)
    if total:
        cut = min(Fraction(shortfall, total), Fraction(1))
        assert all(abs(share - cut * profit) < 1 for share, profit in zip(shares.tolist(), profits, strict=True))


@given(ticks, weights, st.randoms())
def test_queues_equal_their_twin(shortfall: int, profits: list[int], random: Any) -> None:
    order = list(range(len(profits)))
    random.shuffle(order)
    shares, left = loss_sharing.queue_haircut(shortfall, profits, order)
    assert shares.tolist() == naive.queue_haircut(shortfall, profits, order)
    assert left == shortfall - shares.sum()


def test_of_equal_scores_the_earlier_row_goes_first() -> None:
    assert deleverage.queue([1.0, 2.0, 2.0, 1.0], [1, 1, 1, 1], long=True).tolist() == [1, 2, 0, 3]
    assert deleverage.queue([1.0, 2.0], [1, -1], long=False).tolist() == [1]
    assert deleverage.closed_in_order(7, [4, 2, 5]).tolist() == [4, 2, 1]
    beyond = deleverage.scores([100.0, 100.0], [90.0, 90.0], [1.0, 1.0], [95.0, 50.0])
    assert beyond.leverage[0] == np.inf and beyond.score[0] == 0.0 and beyond.score[1] < 0


def test_concentration_is_what_the_largest_bear() -> None:
    assert loss_sharing.concentration([1, 1, 2]) == 0.5
    assert loss_sharing.concentration([0, 0]) == 0.0
    assert loss_sharing.concentration(np.ones(300, dtype=np.int64)) == pytest.approx(0.01)


# -- the books ------------------------------------------------------------------------------------

amount = st.integers(-(10**9), 10**9)
small = st.integers(0, 10**9)
rules = st.builds(
    waterfall.Params,
    to_liquidator=st.integers(0, 5),
    to_fund=st.integers(0, 5),
    to_venue=st.integers(1, 5),
    fund_floor=st.integers(0, 10**6),
    deleveraging=st.sampled_from(waterfall.DELEVERAGING),
    profit_share=st.sampled_from([0.0, 0.5, 1.0]),
    socialising=st.sampled_from(waterfall.SOCIALISING),
)


@st.composite
def venues(draw: st.DrawFn) -> tuple[ledger.Ledger, waterfall.Others]:
    equities = draw(st.lists(amount, min_size=0, max_size=6))
    names = [f"winner-{n}" for n in range(len(equities))]
    traders = {"short": draw(amount), **dict(zip(names, equities, strict=True))}
    books = ledger.open_ledger(traders, {"maker": draw(small), "backstop": 0}, insurance_fund=draw(small))
    column = st.lists(small, min_size=len(names), max_size=len(names))
    profit, interest, score = (np.array(draw(column), dtype=np.int64) for _ in range(3))
    others = waterfall.Others(np.array(names, dtype=np.str_), profit, score / 7.0, interest)
    return books, others


@settings(max_examples=200)
@given(venues(), rules, small, small)
def test_value_is_conserved_to_the_tick(
    venue: tuple[ledger.Ledger, waterfall.Others], params: waterfall.Params, cost: int, penalty: int
) -> None:
    books, others = venue
    done = waterfall.settle(books, "short", "maker", params, others, cost=cost, penalty=penalty)
    after = done.ledger
    assert after.total == books.total
    assert done.deficit == done.from_fund + done.deleveraged + done.socialised + done.uncovered
    assert after.balance_of("short") == max(books.balance_of("short") - cost - done.penalty, -done.uncovered)
    assert after.balance_of("socialised_loss") == 0
    assert after.balance_of("insurance_fund") >= min(params.fund_floor, books.balance_of("insurance_fund"))
    assert done.penalty in (0, penalty) or done.penalty == books.balance_of("short") - cost
    for name in others.account:  # nobody is made bankrupt by somebody else's loss, nobody gains by it
        before, now = books.balance_of(name), after.balance_of(name)
        assert min(before, 0) <= now <= before
    replayed = ledger.post(books, after.entries)
    assert np.array_equal(replayed.balance, after.balance) and sum(e.ticks for e in after.entries) >= 0
    if params.socialising == "equity":
        able = sum(max(after.balance_of(name), 0) for name in others.account)
        assert done.uncovered == 0 or able == 0


@given(venues(), st.sampled_from(["backstop", "insurance_fund"]))
def test_a_take_over_leaves_nothing_behind(venue: tuple[ledger.Ledger, waterfall.Others], backstop: str) -> None:
    books, _ = venue
    if backstop == "insurance_fund" and books.balance_of("short") + books.balance_of("insurance_fund") < 0:
        with pytest.raises(DataError, match="take over, row short, balance = -"):
            waterfall.take_over(books, "short", backstop)
        return
    after = waterfall.take_over(books, "short", backstop)
    assert after.total == books.total and after.balance_of("short") == 0
    assert after.balance_of(backstop) == books.balance_of(backstop) + books.balance_of("short")


@settings(max_examples=150)
@given(venues(), rules, st.integers(-(10**7), 10**7), st.integers(1, 10**7), st.lists(st.integers(1, 1000), max_size=4))
def test_auctions_conserve_value(
    venue: tuple[ledger.Ledger, waterfall.Others], params: waterfall.Params, worth: int, asked: int, bids: list[int]
) -> None:
    """Bids at any moments, solvent and insolvent: the account ends with what the auction says, to a tick a bid."""
    books, others = venue
    equity = worth / 100
    standing = auction.Standing(equity - (asked + max(worth, 0)) / 100, equity)
    running, standing, fee = auction.start(standing, AUCTION, 0)
    extra = worth - books.balance_of("short")
    moved = (
        Entry("maker", "short", extra, Reason.CLOSING)
        if extra >= 0
        else Entry("short", "maker", -extra, Reason.CLOSING)
    )
    books = auction_books.post_fee(ledger.post(books, [moved]), "short", fee)
    total, now = books.total, 0
    for share in bids:
        now += 15_000
        if not running.insolvent and now >= 44_100 and standing.maintenance < 0 and running.ongoing:
            running = auction.convert_to_insolvent(running, standing, AUCTION, now)
        funds = max(books.balance_of("insurance_fund"), 0) / 100
        done = auction.bid(running, standing, AUCTION, now, share / 1000, funds)
        if done.status is not auction.BidStatus.ACCEPTED:
            with pytest.raises(DataError, match="refused"):
                auction_books.post_bid(books, "short", "backstop", (running, standing), done, params, others)
            continue
        books, unpaid = auction_books.post_bid(books, "short", "backstop", (running, standing), done, params, others)
        running, standing = done.auction, done.standing
        assert books.total == total and unpaid >= 0 and books.balance_of("socialised_loss") == 0
    assert abs(books.balance_of("short") - 100 * standing.mark_to_market) <= len(bids) + 1.01


def by_hand() -> tuple[ledger.Ledger, waterfall.Others]:
    books = ledger.open_ledger({"short": -900, "a": 1000, "b": 500, "c": -50}, {"maker": 0}, insurance_fund=250)
    names = np.array(["a", "b", "c"])
    return books, waterfall.Others(names, np.array([300, 100, 80]), np.array([0.1, 0.9, 0.5]), np.array([1, 3, 1]))


@pytest.mark.parametrize(
    ("change", "fund", "a", "b"),
    [
        # Of 900: 250 of the fund, all profits (400), 250 by equity: 700 and 400 are left of them. An odd tick is the
        # earlier account's where two have the same claim to it.
        ({}, 0, 700 - 159, 400 - 91),
        ({"deleveraging": "queue", "fund_floor": 100}, 100, 700 - 223, 400 - 127),
        ({"deleveraging": "none", "socialising": "open_interest"}, 0, 1000 - 163, 500 - 487),
        ({"deleveraging": "none", "socialising": "profit"}, 0, 1000 - 488, 500 - 162),
        ({"profit_share": 0.5, "socialising": "none"}, 0, 850, 450),
    ],
)
def test_a_deficit_is_borne_in_order(change: dict[str, Any], fund: int, a: int, b: int) -> None:
    books, others = by_hand()
    done = waterfall.settle(books, "short", "maker", waterfall.Params(**change), others)
    assert [done.ledger.balance_of(name) for name in ("insurance_fund", "a", "b", "c")] == [fund, a, b, -50]
    assert done.uncovered == (900 - 250 - 200 if change.get("socialising") == "none" else 0)


def test_a_penalty_is_never_more_than_what_is_left() -> None:
    books = ledger.open_ledger({"short": 100}, {"maker": 0}, insurance_fund=0)
    nobody = waterfall.Others(np.array([], dtype=np.str_), np.array([], dtype=np.int64))
    params = waterfall.Params(to_liquidator=2, to_fund=1, to_venue=1)
    done = waterfall.settle(books, "short", "maker", params, nobody, cost=40, penalty=500)
    assert done.penalty == 60 and done.deficit == 0
    assert [done.ledger.balance_of(n) for n in ("short", "maker", "insurance_fund", "fee_income")] == [0, 70, 15, 15]
    columns = done.ledger.columns()
    assert columns["reason"].tolist() == ["closing", "penalty", "penalty", "penalty"]
    assert columns["amount"].sum() == pytest.approx(1.0)


def test_rounding_is_in_favour_of_the_house() -> None:
    assert ledger.to_ticks([0.011, 0.01, -0.011], 0.01, up=True).tolist() == [2, 1, -1]
    assert ledger.to_ticks([0.019, 0.03, -0.011], 0.01, up=False).tolist() == [1, 3, -2]
    assert ledger.amounts(ledger.open_ledger({"x": 123})).tolist() == pytest.approx([1.23, 0.0, 0.0, 0.0])
    with pytest.raises(NumericalError):
        ledger.to_ticks(1e15, 0.01, up=True)


def test_bad_books_are_refused() -> None:
    books, others = by_hand()
    with pytest.raises(DataError, match="insurance_fund"):
        ledger.open_ledger({"insurance_fund": 1})
    with pytest.raises(DataError, match=r"1\.5"):
        ledger.open_ledger({"a": 1.5})  # type: ignore[dict-item]
    with pytest.raises(DataError, match="row 2, source = 'nobody'"):
        ledger.post(books, [Entry("a", "b", 1, Reason.CLOSING), Entry("nobody", "b", 1, Reason.CLOSING)])
    with pytest.raises(DataError, match="ticks = -1"):
        ledger.post(books, [Entry("a", "b", -1, Reason.CLOSING)])
    with pytest.raises(NumericalError):
        ledger.post(books, [Entry("a", "b", 2**53, Reason.CLOSING)])
    with pytest.raises(DataError, match="cost = -5"):
        waterfall.settle(books, "short", "maker", waterfall.Params(), others, cost=-5)
    with pytest.raises(DataError, match="another account"):
        waterfall.settle(books, "a", "maker", waterfall.Params(), others)
    with pytest.raises(DataError, match="no such account"):
        waterfall.settle(books, "nobody", "maker", waterfall.Params(), others)
    with pytest.raises(DataError, match="profit"):
        replace(others, profit=np.array([1]))


@pytest.mark.parametrize(
    ("call", "field"),
    [
        (lambda: loss_sharing.apportion(1.5, [1]), "amount"),  # type: ignore[arg-type]
        (lambda: loss_sharing.apportion(1, [0, 0]), "weight above 0"),
        (lambda: loss_sharing.apportion(1, [0.5, 1.0]), "weights"),
        (lambda: loss_sharing.capped_shares(5, [1, 1], [1]), "caps"),
        (lambda: loss_sharing.pro_rata_haircut(5, [50.5]), "profits"),
        (lambda: loss_sharing.queue_haircut(-5, [50]), "shortfall"),
        (lambda: loss_sharing.loss_per_contract(1.0, 0.0, 0.0), "longs"),
        (lambda: loss_sharing.loss_per_contract(np.nan, 1.0, 0.0), "loss"),
        (lambda: loss_sharing.withdrawal_haircut(1.0, 0.0, 0.0), "claims"),
        (lambda: loss_sharing.average_cost([(np.nan, 1.0)], 1.0), "price"),
        (lambda: deleverage.closed_in_order(2, [1.5]), "sizes"),
        (lambda: deleverage.scores([1.0, 0.0], [1.0, 1.0], [1.0, 1.0], [0.0, 0.0]), "row 1, entry"),
        (lambda: deleverage.scores([1.0], [np.nan], [1.0], [0.0]), "mark"),
        (lambda: waterfall.Others(np.array(["a"]), np.array([1]), np.array([np.nan])), "score"),
        (lambda: waterfall.Others(np.array(["a", "a"]), np.array([1, 1])), "account"),
    ],
)
def test_bad_losses_are_named(call: Callable[[], object], field: str) -> None:
    with pytest.raises(DataError, match=field):
        call()


def test_rules_are_bounded() -> None:
    check_bounds_of_numbers(waterfall.Params(), lambda **change: replace(waterfall.Params(), **change))
    with pytest.raises(ConfigError, match="to_liquidator"):
        waterfall.Params(to_liquidator=0, to_fund=0)
