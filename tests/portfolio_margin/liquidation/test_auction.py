"""Auctions against the contracts: every event of every published auction, then what any auction must do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portfolio_margin.liquidation import auction as a
from portfolio_margin.liquidation import curves
from pricing import ConfigError, DataError
from tests.bounds import check_bounds_of_numbers
from tests.vectors import literature_vectors, reference_json, worked_examples

FILE = "derive-auction.json"
RATIO_TOLERANCE = 1e-12
REFUSED = {
    "DA_SolventAuctionEnded": a.BidStatus.RUN_OUT,
    "DA_AuctionShouldBeTerminated": a.BidStatus.NOTHING_TO_TAKE,
}
NAMES = {
    "starting_mtm_percentage": "starting_share",
    "fast_auction_cutoff_percentage": "cutoff_share",
    "fast_auction_length_sec": "fast_s",
    "slow_auction_length_sec": "slow_s",
    "insolvent_auction_length_sec": "insolvent_s",
    "liquidator_fee_rate": "fee_rate",
    "buffer_margin_percentage": "buffer",
}


def params_of(named: Any, small_account: float = 0.0) -> a.Params:
    given = named if isinstance(named, dict) else reference_json(FILE)["header"]["param_sets"][named]
    return a.Params(**{NAMES[name]: value for name, value in given.items()}, small_account=small_account)


class Replay:
    """One published auction, event by event; the largest error as a share of what is allowed."""

    def __init__(self, vector: dict[str, Any]) -> None:
        self.ident = vector["id"]
        self.params = params_of(vector["params"], vector["mtm_cutoff"])
        initial = vector["initial"]
        self.allowed = 1e-12 * max(abs(value) for value in initial.values()) + 1e-9
        self.funds = float(vector["security_module_funds"])
        opened = a.Standing(initial["maintenance_margin"], initial["mark_to_market"])
        self.auction, self.standing, fee = a.start(opened, self.params, 0)
        self.share, self.numbers = 0.0, 0
        self.money("fee", fee, vector["expected"]["liquidation_fee"])

    def compare(self, name: str, found: float, expected: float, allowed: float) -> None:
        self.numbers += 1
        self.share = max(self.share, abs(found - expected) / allowed)
        assert abs(found - expected) <= allowed, f"{self.ident} {name}: {found!r}, expected {expected!r}"

    def money(self, name: str, found: float, expected: float) -> None:
        self.compare(name, found, expected, self.allowed)

    def state(self, place: str, expected: dict[str, Any]) -> None:
        self.money(f"{place} MM", self.standing.maintenance, expected["maintenance_margin"])
        self.money(f"{place} MtM", self.standing.mark_to_market, expected["mark_to_market"])
        self.money(f"{place} BM", a.buffer_margin(self.standing, self.params.buffer), expected["buffer_margin"])
        self.money(f"{place} R", self.auction.reserved_cash, expected["reserved_cash"])
        assert self.auction.insolvent == expected["insolvent"], f"{self.ident} {place}"
        assert self.auction.ongoing == expected["ongoing"], f"{self.ident} {place}"

    def quote(self, event: dict[str, Any]) -> None:
        t = event["t"]
        place = f"quote at {t}"
        self.state(place, event)
        self.money(f"{place} price", a.quote(self.auction, self.standing, self.params, t), event["bid_price"])
        ends = a.should_end(self.auction, self.standing, self.params, t)
        assert ends == event["can_terminate"], f"{self.ident} {place}"
        if "discount" in event:
            paid = a.share_paid(self.auction, self.params, t)
            largest = a.largest_fraction(self.standing, self.auction.reserved_cash, paid, self.params)
            self.compare(f"{place} discount", paid, event["discount"], RATIO_TOLERANCE)
            self.compare(f"{place} largest", largest, event["max_proportion"], RATIO_TOLERANCE)

    def bid(self, event: dict[str, Any]) -> None:
        t, before = event["t"], (self.auction, self.standing)
        done = a.bid(self.auction, self.standing, self.params, t, event["requested_percent"], self.funds)
        if "reverts" in event:
            assert done.status is REFUSED[event["reverts"]], self.ident
            assert (done.auction, done.standing) == before and done.share == 0.0
            return
        assert done.status is a.BidStatus.ACCEPTED, self.ident
        self.compare(f"bid at {t} share", done.share, event["final_percent"], RATIO_TOLERANCE)
        self.money(f"bid at {t} paid", done.cash_from_bidder, event["cash_from_bidder"])
        self.money(f"bid at {t} received", done.cash_to_bidder, event["cash_to_bidder"])
        self.money(f"bid at {t} module", done.from_module, event["paid_by_security_module"])
        self.money(f"bid at {t} socialised", done.socialised, event["socialised_loss"])
        self.auction, self.standing, self.funds = done.auction, done.standing, self.funds - done.from_module
        self.state(f"after bid at {t}", event["after"])

    def run(self, event: dict[str, Any]) -> None:
        kind = event["kind"]
        if kind == "state_change":
            self.standing = a.Standing(event["maintenance_margin"], event["mark_to_market"])
        elif kind == "convert_to_insolvent":
            self.auction = a.convert_to_insolvent(self.auction, self.standing, self.params, event["t"])
            self.state("converted", event["after"])
        else:
            {"quote": self.quote, "bid": self.bid}[kind](event)


@pytest.mark.reference
@pytest.mark.parametrize("kind", ["solvent", "insolvent", "convert"])
def test_published_auctions(kind: str, report_vectors: Callable[..., None]) -> None:
    vectors = [v for v in reference_json(FILE)["auctions"] if v["kind"] == kind]
    share, numbers = 0.0, 0
    for vector in vectors:
        replay = Replay(vector)
        for event in vector["expected"]["events"]:
            replay.run(event)
        share, numbers = max(share, replay.share), numbers + replay.numbers
    assert vectors and numbers > 20 * len(vectors)
    assert share <= 1.0
    report_vectors(len(vectors), share, f"of what is allowed, {numbers:,} numbers", f"Derive auctions, {kind}")


@pytest.mark.reference
def test_published_discounts(report_vectors: Callable[..., None]) -> None:
    vectors, largest, points = reference_json(FILE)["discount_curves"], 0.0, 0
    for vector in vectors:
        rules = params_of(vector["params"])
        times = [point["elapsed_sec"] for point in vector["points"]]
        curve = (rules.starting_share, rules.cutoff_share, rules.fast_s, rules.slow_s)
        found = curves.two_phase_share(times, *curve)
        gaps = [abs(x - point["discount"]) for x, point in zip(found, vector["points"], strict=True)]
        assert max(gaps) <= RATIO_TOLERANCE, vector["id"]
        largest, points = max(largest, *gaps), points + len(gaps)
    report_vectors(len(vectors), largest, f"in {points} points", "Derive discount curves")


@pytest.mark.reference
def test_published_sizes(report_vectors: Callable[..., None]) -> None:
    (vector,) = literature_vectors("auction_max_fraction")
    given_, rules = vector["inputs"], a.Params(buffer=0.0)
    standing = a.Standing(given_["buffer_margin"], given_["mark_to_market"])
    found = a.largest_fraction(standing, given_["reserved_cash"], given_["bid_fraction"], rules)
    gap = abs(found - vector["expected"]["max_fraction"])
    assert gap <= vector["tolerance"]["max_fraction"]["abs"]
    report_vectors(1, gap, label="auction_max_fraction")


@pytest.mark.reference
def test_published_bid_prices(report_vectors: Callable[..., None]) -> None:
    vectors, largest = literature_vectors("auction_bid_price"), 0.0
    for vector in vectors:
        given_, expected = vector["inputs"], vector["expected"]
        standing = a.Standing(-1.0, given_["mark_to_market"])
        price = a.bid_price(standing, given_["reserved_cash"], given_["bid_fraction"])
        for found, name in ((price, "full_price"), (0.1 * price, "ten_percent_price")):
            gap = abs(found - expected[name])
            assert gap <= vector["tolerance"][name]["abs"], vector["id"]
            largest = max(largest, gap)
    report_vectors(len(vectors), largest, label="auction_bid_price")


@pytest.mark.reference
def test_the_venues_own_simulations(report_vectors: Callable[..., None]) -> None:
    """Solvent simulations of the venue; its insolvent ones follow an older rule and are marked as no target."""
    largest, actions = 0.0, 0
    for example in (e for e in worked_examples("Derive Dutch auction") if e["verified"]):
        p, rel = example["inputs"]["params"], example["tolerance"]["rel"]
        rules = a.Params(p["start_pct"], p["fast_cutoff"], p["fast_len_s"], p["slow_len_s"], 3600, p["fee_rate"],
                         p["buffer_pct"])  # fmt: skip
        running, first = a.Auction(0), example["inputs"]["actions"][0]
        if first["t"] == 0:  # what the auction opened with is what the first bid found and the fee
            fee = example["expected"]["start_fee"]
            assert a.start(a.Standing(first["mm"] + fee, first["mtm"] + fee), rules, 0)[2] == pytest.approx(
                fee, rel=rel
            )
        for action, expected in zip(example["inputs"]["actions"], example["expected"]["actions"], strict=True):
            standing = a.Standing(action["mm"], action["mtm"])
            running = running._replace(reserved_cash=action["reserved_cash_before"], ongoing=True)
            done = a.bid(running, standing, rules, action["t"], action["want"], 0.0)
            paid = a.share_paid(running, rules, action["t"])
            found = {
                "buffer_margin": a.buffer_margin(standing, rules.buffer),
                "discount": paid,
                "max_fraction": a.largest_fraction(standing, running.reserved_cash, paid, rules),
                "cash_from_bidder": done.cash_from_bidder,
                "post_mtm": done.standing.mark_to_market,
                "post_mm": done.standing.maintenance,
            }
            for name, value in found.items():
                gap = abs(value - expected[name]) / abs(expected[name])
                assert gap <= rel, f"{example['id']} {name}: {value}, expected {expected[name]}"
                largest = max(largest, gap)
            actions += 1
    report_vectors(actions, largest, "relative", "Derive Dutch auction")


money = st.integers(-(10**7), 10**7).map(lambda n: n / 100)
accounts = st.tuples(money, st.integers(1, 10**7)).map(lambda x: a.Standing(x[0] - x[1] / 100, x[0]))
short_accounts = accounts.filter(lambda s: s.maintenance < 0)
share = st.integers(1, 1000).map(lambda n: n / 1000)


@given(short_accounts, st.integers(0, 44_099), share)
def test_what_bids_pay_is_what_the_account_gets(opened: a.Standing, t: int, wanted: float) -> None:
    """Mark to market after a solvent bid is what was left plus cash; the largest bid restores the buffer exactly."""
    rules = a.Params()
    running, standing, fee = a.start(opened, rules, 0)
    assert standing.mark_to_market == pytest.approx(opened.mark_to_market - fee)
    done = a.bid(running, standing, rules, t, wanted, 1e6)
    scale = 1e-9 + 1e-12 * sum(abs(value) for value in standing)
    if done.status is not a.BidStatus.ACCEPTED:
        assert done.standing == standing
        return
    if running.insolvent:
        assert done.from_module + done.socialised == pytest.approx(done.cash_to_bidder)
        assert done.cash_from_bidder == 0.0 and done.from_module <= 1e6
        return
    left = standing.mark_to_market * (1 - done.share) + done.cash_from_bidder
    assert done.standing.mark_to_market == pytest.approx(left, abs=scale)
    if done.share < wanted:
        assert abs(a.buffer_margin(done.standing, rules.buffer)) <= scale
        assert not done.auction.ongoing


@given(short_accounts, share)
def test_a_bid_is_worth_what_is_left_to_the_next_one(opened: a.Standing, wanted: float) -> None:
    """Two bids at one moment take the same as one: the reserved cash keeps the price where it was."""
    rules = a.Params(fee_rate=0.0)
    running, standing, _ = a.start(opened, rules, 0)
    if running.insolvent:
        return
    whole = a.largest_fraction(standing, 0.0, 0.95, rules)
    first = a.bid(running, standing, rules, 0, wanted * whole * 0.999, 0.0)
    second = a.bid(first.auction, first.standing, rules, 0, 1.0, 0.0)
    once = a.bid(running, standing, rules, 0, 1.0, 0.0)
    scale = 1e-6 + 1e-9 * sum(abs(value) for value in standing)
    assert second.standing.mark_to_market == pytest.approx(once.standing.mark_to_market, abs=scale)
    total = first.cash_from_bidder + second.cash_from_bidder
    assert total == pytest.approx(once.cash_from_bidder, abs=scale)


@given(st.integers(0, 4000), st.integers(1, 10**6))
def test_insolvent_payouts_rise_to_the_margin(t: int, requirement: int) -> None:
    rules, standing = a.Params(), a.Standing(-50.0 - requirement, -50.0)
    running, _, fee = a.start(standing, rules, 0)
    price = a.quote(running, standing, rules, t)
    assert fee == 0.0 and standing.maintenance <= price <= -50.0
    assert price >= a.quote(running, standing, rules, t + 1)
    assert t < 3600 or price == standing.maintenance


def test_rules_are_bounded() -> None:
    check_bounds_of_numbers(a.Params(), lambda **change: a.Params(**{**vars(a.Params()), **change}))
    with pytest.raises(ConfigError, match="cutoff_share"):
        a.Params(starting_share=0.5, cutoff_share=0.6)
    with pytest.raises(ConfigError, match="fast_s"):
        a.Params(fast_s=1.5)  # type: ignore[arg-type]


def test_what_is_no_auction_is_refused() -> None:
    rules, short = a.Params(), a.Standing(-10.0, 50.0)
    with pytest.raises(DataError, match="maintenance"):
        a.start(a.Standing(0.0, 50.0), rules, 0)
    for bad in (a.Standing(-1.0, float("nan")), a.Standing(float("nan"), 1.0), a.Standing(float("-inf"), 1.0)):
        with pytest.raises(DataError, match="auction, m"):
            a.start(bad, rules, 0)
    running, standing, _ = a.start(short, rules, 0)
    for wanted, funds, field in ((0.0, 0.0, "share"), (1.1, 0.0, "share"), (0.5, -1.0, "module_funds")):
        with pytest.raises(DataError, match=field):
            a.bid(running, standing, rules, 0, wanted, funds)
    with pytest.raises(DataError, match="at_s"):
        a.convert_to_insolvent(running, standing, rules, 44_099)
    with pytest.raises(DataError, match="maintenance"):
        a.convert_to_insolvent(running, a.Standing(1.0, 50.0), rules, 44_100)
    over = running._replace(ongoing=False)
    assert a.bid(over, standing, rules, 0, 0.5, 0.0).status is a.BidStatus.NOT_ONGOING


SOLVENT, INSOLVENT = a.Auction(0), a.Auction(0, insolvent_s=100)
UNDER, SHORT = a.Standing(-100.0, -50.0), a.Standing(-100.0, 50.0)
NOT_FINITE = (float("nan"), float("inf"), float("-inf"))
STEPS: dict[str, Callable[[a.Auction, a.Standing, Any], object]] = {
    "bid": lambda auction, standing, at_s: a.bid(auction, standing, a.Params(), at_s, 0.5, 1e9),
    "quote": lambda auction, standing, at_s: a.quote(auction, standing, a.Params(), at_s),
    "should_end": lambda auction, standing, at_s: a.should_end(auction, standing, a.Params(), at_s),
    "convert": lambda auction, standing, at_s: a.convert_to_insolvent(auction, standing, a.Params(), at_s),
}


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize(("running", "standing"), [(SOLVENT, SHORT), (INSOLVENT, UNDER)])
def test_no_step_takes_amounts_that_are_not_finite(step: str, running: a.Auction, standing: a.Standing) -> None:
    for bad in NOT_FINITE:
        for name in standing._fields:
            with pytest.raises(DataError, match=f"auction, {name} = "):
                STEPS[step](running, standing._replace(**{name: bad}), 44_100)
        with pytest.raises(DataError, match="auction, reserved_cash = "):
            STEPS[step](running._replace(reserved_cash=bad), standing, 44_100)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize(("running", "standing"), [(SOLVENT, SHORT), (INSOLVENT, UNDER)])
def test_no_step_is_before_the_start_or_between_seconds(step: str, running: a.Auction, standing: a.Standing) -> None:
    started = running.insolvent_s or running.started_s
    for bad in (*NOT_FINITE, started - 1, started + 0.5, started + curves.LONGEST_SECONDS + 1):
        with pytest.raises(DataError, match="auction, at_s = "):
            STEPS[step](running, standing, bad)


def test_an_auction_starts_at_a_whole_second() -> None:
    for bad in (*NOT_FINITE, 0.5):
        with pytest.raises(DataError, match="auction, at_s = "):
            a.start(SHORT, a.Params(), bad)  # type: ignore[arg-type]
    assert a.quote(INSOLVENT, UNDER, a.Params(), 100) == -50.0
