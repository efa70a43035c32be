"""A stress over small venues: value is conserved, who bears what, and what each rule does."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from portfolio_margin import AccountStatus, margin
from portfolio_margin.liquidation import waterfall
from portfolio_margin.stress.path import StressPath
from portfolio_margin.stress.prevention import fund_needed
from portfolio_margin.stress.result import Result, followed_by
from portfolio_margin.stress.rules import Impact, Rules
from portfolio_margin.stress.run import opened, run
from pricing import ConfigError, DataError
from tests.portfolio_margin.books import ARRAYS, BOOK, MARKET, Held, book_of, contracts_held
from tests.portfolio_margin.stress.venues import MODEL, path_of, random_accounts, venue_of, with_token

QUIET = Impact(coefficient=0.0)
CRASH = path_of([1.0, 0.93, 0.82, 0.68, 0.75], [1.0, 1.2, 1.6, 2.2, 1.9], eth=1.3)
BEARERS = ("from_fund", "deleveraged", "socialised")


def perpetual_long(name: str, coins: float, cover: float) -> dict[str, Held]:
    """One account long a BTC perpetual of 10 USD a contract, with cash of so much of its notional."""
    notional = coins * float(MARKET.spot[0])
    return {name: {"BTC-PERPETUAL": round(notional / 10.0), "USD": round(cover * notional, 2)}}


def stressed(accounts: dict[str, Held], path: StressPath = CRASH, **rules: Any) -> Result:
    given_rules = {"impact": QUIET, "cost": 0.0005, "penalty": 0.001, **rules}
    return run(venue_of(book_of(accounts)), path, Rules(**given_rules))


books_of_accounts = st.lists(contracts_held, min_size=1, max_size=6)
RULES = st.fixed_dictionaries(
    {
        "fund": st.sampled_from([0.0, 1e3, 1e7]),
        "penalty": st.sampled_from([0.0, 0.003]),
        "demand": st.sampled_from([np.inf, 500.0]),
        "delay_hours": st.sampled_from([0.0, 5.0]),
        "impact": st.sampled_from([QUIET, Impact(daily_volume=1e7)]),
        "waterfall": st.builds(
            waterfall.Params,
            deleveraging=st.sampled_from(["pro_rata", "none"]),
            socialising=st.sampled_from(["equity", "profit", "none"]),
        ),
    }
)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(books_of_accounts, st.lists(st.integers(60, 200), min_size=1, max_size=4), RULES)
def test_value_is_conserved(steps: list[dict[str, int]], cover: list[int], rules: dict[str, Any]) -> None:
    """To the tick, in every step (the run asserts it), and over all of them; every loss has one who bore it."""
    result = run(venue_of(book_of(random_accounts(steps, cover))), CRASH, Rules(**rules))
    assert result.balances.total == result.opening.total
    borne = sum(result.total(name) for name in BEARERS) + result.rows[-1].uncovered
    assert result.total("shortfall") == pytest.approx(borne, abs=0.005)
    assert all(row.fund >= 0.0 and row.owed >= row.uncovered - 0.005 for row in result.rows)
    fees = result.balances.house - result.opening.house
    market, liquidators, fund, venue = (0.01 * fees).tolist()
    assert liquidators + venue + fund + result.total("from_fund") == pytest.approx(
        result.total("costs") + result.total("penalties"), abs=0.01
    )
    taken = result.total("deleveraged") + result.total("socialised")
    if rules["fund"] == 1e7:
        assert taken == 0.0
    assert result.survived == (taken == 0.0 and result.rows[-1].owed == 0.0)
    gained = result.rows[-1].equity - 0.01 * result.opening.trader.sum()
    assert gained == pytest.approx(-market - liquidators - venue - fund, abs=0.01)
    parts = {"cost": "costs", "penalty": "penalties", "owed": "shortfall"}
    for own, total in parts.items():
        assert 0.01 * getattr(result.fates, own).sum() == pytest.approx(result.total(total), abs=0.005)
    assert result.shortfall_before <= result.total("shortfall") + 0.005


def test_what_each_account_met_by_hand() -> None:
    """One owes before anything moves, one is closed by the crash, one is cut in the last step, one is safe."""
    spot = float(MARKET.spot[0])
    accounts = perpetual_long("broke", 1.0, -0.1) | perpetual_long("thin", 1.0, 0.25) | {"rich": {"USD": 1e6}}
    venue = venue_of(book_of(accounts))
    rules = Rules(impact=QUIET, cost=0.0, penalty=0.0, fund=1e7)
    result = run(venue, path_of([1.0, 0.9, 0.6]), rules)
    table = result.accounts(venue.book.account_id)
    assert table["account"].tolist() == ["thin", "broke"]
    assert table["below_0_before"].tolist() == [False, True] and table["bankrupt"].all()
    assert table["liquidated_hours"][1] == table["closed_hours"][1] == 0.0 and table["closed_hours"][0] == 24.0
    assert result.accounts_below_before == 1 and result.owed_before == pytest.approx(0.1 * spot, abs=11.0)
    assert result.shortfall_before == pytest.approx(result.owed_before, abs=0.02)
    assert table["shortfall"].sum() == pytest.approx(result.total("shortfall"), abs=0.01)
    assert result.fund_needed == pytest.approx(result.total("shortfall"), abs=0.01)
    assert result.fund_needed_beside == pytest.approx(table["shortfall"][0], abs=0.01)
    alone = run(venue_of(book_of({name: held for name, held in accounts.items() if name != "broke"})), CRASH, rules)
    assert alone.accounts_below_before == 0 and alone.fund_needed == alone.fund_needed_beside


def test_states_follow_the_margins_of_a_stress() -> None:
    """An account alone: cut to its buffer it is out of liquidation, and may only reduce until there is more room."""
    result = stressed(perpetual_long("x", 1.0, 0.3), path_of([1.0, 0.79, 0.79, 1.2]), fund=1e7)
    assert [row.liquidated for row in result.rows][1] == 1 and result.rows[0].reduce_only == 0
    assert [row.reduce_only for row in result.rows] == [0, 1, 1, 0]
    assert not any(row.in_liquidation for row in result.rows)
    waiting = stressed(perpetual_long("x", 1.0, 0.3), path_of([1.0, 0.79, 0.79, 1.2]), demand=0.0)
    assert [row.in_liquidation for row in waiting.rows] == [0, 1, 1, 0]


def test_the_same_again() -> None:
    accounts = random_accounts([{"BTC-60D-68000-P": -90, "ETH-PERPETUAL": 300}, {"BTC-PERPETUAL": 250}], [104])
    first, again = (stressed(accounts, impact=Impact(daily_volume=1e7)) for _ in range(2))
    assert first.rows == again.rows and np.array_equal(first.balances.trader, again.balances.trader)


def test_an_account_that_is_safe_only_gains_and_loses_at_the_mark() -> None:
    """Its equity at the end is that of the market at the end, plus what its future has paid; computed by hand."""
    accounts = {"safe": {"BTC-PERPETUAL": 1_000.0, "BTC-60D-68000-P": 2.0, "BTC": 3.0, "USD": 1e6}}
    result = stressed(accounts)
    assert not result.liquidated.any() and result.survived
    venue = venue_of(book_of(accounts))
    market = opened(venue, CRASH, Rules(impact=QUIET))[0].market(float(CRASH.hours[-1]), np.zeros(2))
    arrays = venue.arrays(market)
    row = arrays.index_of()
    coins = 3.0
    forwards = [float(MARKET.forward[ARRAYS.expiry_idx[row["BTC-PERPETUAL"]]])]
    forwards += [float(f) * forwards[0] for f in CRASH.price[:, 0]]
    for before, after in pairwise(forwards):
        coins += 1_000.0 * 10.0 * (1.0 / before - 1.0 / after)
    expected = 1e6 + coins * float(market.spot[0]) + 2.0 * float(arrays.value[row["BTC-60D-68000-P"]])
    assert result.rows[-1].equity == pytest.approx(expected, abs=0.03)


def test_who_falls_below_maintenance_is_cut_and_no_other() -> None:
    accounts = {**perpetual_long("thin", 10.0, 0.14), **perpetual_long("thick", 10.0, 0.60)}
    result = stressed(accounts, path_of([1.0, 0.97]))
    thick, thin = result.liquidated
    assert thin and not thick
    assert [row.liquidated for row in result.rows] == [0, 1]
    # The share of slices that restores the buffer is closed: the books hold less margin.
    assert result.rows[1].maintenance_margin < result.rows[0].maintenance_margin
    assert result.rows[1].waiting == 0 and result.total("shortfall") == 0.0


def test_the_order_of_the_waterfall() -> None:
    """First the fund, then profits, then equity; nobody gives more than he has."""
    loser = perpetual_long("loser", 20.0, 0.15)
    winner = {"winner": {"BTC-PERPETUAL": -loser["loser"]["BTC-PERPETUAL"], "USD": 2e6}}
    bystander = {"bystander": {"USD": 1e6}}
    path = path_of([1.0, 0.7])
    free = stressed({**loser, **winner, **bystander}, path, fund=1e7, cost=0.0, penalty=0.0)
    owed = free.total("shortfall")
    assert owed > 1e5 and free.total("from_fund") == owed and free.fund_needed == pytest.approx(owed)
    half = stressed({**loser, **winner, **bystander}, path, fund=round(owed / 2, 2), cost=0.0, penalty=0.0)
    assert half.total("from_fund") == pytest.approx(owed / 2, abs=0.01)
    assert half.total("deleveraged") == pytest.approx(owed / 2, abs=0.01) and half.total("socialised") == 0.0
    rules = waterfall.Params(deleveraging="none")
    shared = stressed({**loser, **winner, **bystander}, path, cost=0.0, penalty=0.0, waterfall=rules)
    assert shared.total("socialised") == pytest.approx(owed, abs=0.01)
    paid = free.balances.trader - shared.balances.trader
    rich = free.balances.trader[[0, 2]].astype(float)
    assert paid[[0, 2]] == pytest.approx(100 * owed * rich / rich.sum(), abs=1.0)
    nobody = waterfall.Params(deleveraging="none", socialising="none")
    alone = stressed({**loser, **winner, **bystander}, path, cost=0.0, penalty=0.0, waterfall=nobody)
    assert alone.rows[-1].uncovered == pytest.approx(owed) and alone.rows[-1].owed == pytest.approx(owed)
    assert not alone.survived


def test_a_loss_is_counted_once_also_where_it_stays_owed() -> None:
    nobody = waterfall.Params(deleveraging="none", socialising="none")
    result = stressed(perpetual_long("loser", 20.0, 0.15), path_of([1.0, 0.7, 0.69, 0.68]), waterfall=nobody)
    assert [row.shortfall > 0 for row in result.rows] == [False, True, False, False]
    assert result.total("shortfall") == pytest.approx(result.rows[-1].uncovered)


def test_a_fund_that_is_just_enough() -> None:
    accounts = {**perpetual_long("first", 20.0, 0.15), **perpetual_long("second", 5.0, 0.3)}
    path = path_of([1.0, 0.8, 0.6])
    needed = stressed(accounts, path, fund=1e7).fund_needed
    assert needed > 0
    assert stressed(accounts, path, fund=needed).survived
    assert not stressed(accounts, path, fund=needed - 1.0).survived


@pytest.mark.parametrize("demand", [np.inf, 40_000.0])
@pytest.mark.parametrize("policy", ["proportional", "largest_contributor"])
@pytest.mark.parametrize("delay", [0.0, 6.0])
def test_who_is_closed_whole_is_done_with(demand: float, policy: str, delay: float) -> None:
    """Buying back options costs coins, which are bought as well: whatever prices do then, nobody gains or loses."""
    sold = {"short": {"BTC-60D-68000-C": -5.0, "BTC-60D-68000-P": -5.0, "BTC": 0.3, "USD": 1_000.0}}
    book = book_of({**sold, "bystander": {"USD": 1e6}})
    rules = {"fund": 1e7, "rounds": 1, "impact": QUIET, "delay_hours": delay, "named": {"short": policy}}
    ends = []
    for factor in (0.5, 1.0, 1.5):
        path = path_of([0.98, 1.0, 1.0, 1.0, factor], hours=6.0)
        result = run(venue_of(book), path, Rules(**rules, demand=demand))
        first = next(step for step, row in enumerate(result.rows) if row.bankrupt)
        assert result.total("bankrupt") == 1.0 and first < 4
        assert all(row.shortfall == row.owed == row.liquidated == 0 for row in result.rows[first + 1 :])
        assert all(row.equity == pytest.approx(1e6, abs=0.03) for row in result.rows[first:])
        ends.append(result.rows[-1].fund)
    assert ends[0] == ends[1] == ends[2] < 1e7


def test_an_account_is_closed_once_also_where_its_debt_stays() -> None:
    nobody = waterfall.Params(deleveraging="none", socialising="none")
    path = path_of([1.0, 0.7, 0.6, 0.8])
    result = stressed(perpetual_long("loser", 20.0, 0.15), path, waterfall=nobody, rounds=5)
    assert [row.bankrupt for row in result.rows] == [0, 1, 0, 0]


def test_a_fund_for_a_path_that_was_not_survived() -> None:
    accounts = {**perpetual_long("first", 20.0, 0.15), **perpetual_long("second", 5.0, 0.3)}
    venue, path = venue_of(book_of(accounts)), path_of([1.0, 0.8, 0.6])
    rules = Rules(fund=1e3, impact=QUIET, waterfall=waterfall.Params(fund_floor=50_000))
    assert np.isnan(run(venue, path, rules).fund_needed)
    needed = fund_needed(venue, path, rules)
    assert run(venue, path, replace(rules, fund=needed)).survived
    assert not run(venue, path, replace(rules, fund=round(needed - 0.01, 2))).survived
    assert np.isnan(fund_needed(venue, path, replace(rules, demand=0.0)))


def test_forced_sales_push_the_price_and_pull_others_along() -> None:
    many = {}
    for number in range(12):
        many |= perpetual_long(f"a{number:02d}", 20.0, 0.165 + 0.01 * number)
    path = path_of([1.0, 0.95, 0.95])
    calm, pushed = (
        stressed(many, path, impact=Impact(coefficient=c, daily_volume=1e7, permanent=1.0)) for c in (0.0, 1.0)
    )
    assert np.all(calm.pushed == 0.0) and np.all(pushed.pushed[1:, 0] < -0.001) and np.all(pushed.pushed[:, 1] == 0.0)
    assert pushed.price[1, 0] < calm.price[1, 0] and pushed.vol[1, 0] > calm.vol[1, 0]
    assert pushed.liquidated.sum() > calm.liquidated.sum()
    assert pushed.total("costs") > calm.total("costs")


def test_impact_by_hand() -> None:
    impact = Impact(coefficient=2.0, daily_volume=1e8, daily_vol={"BTC": 0.02, "ETH": 0.03}, permanent=0.5)
    names = np.array(["BTC", "ETH"])
    moved = impact.moved(np.array([1e6, -4e6]), names, np.array([1.5, 1.0]))
    assert moved == pytest.approx([-2.0 * 0.03 * 0.1, 2.0 * 0.03 * 0.2])
    linear = replace(impact, exponent=1.0).moved(np.array([1e6, 0.0]), names, np.ones(2))
    assert linear == pytest.approx([-2.0 * 0.02 * 0.01, 0.0])
    assert impact.remembered(np.array([24.0, 0.0])) == pytest.approx([0.75, 1.0])
    assert impact.moved(np.array([1e30, 0.0]), names, np.ones(2))[0] == -impact.most
    with pytest.raises(DataError, match="daily_vol = 'SOL': no number"):
        impact.moved(np.zeros(1), np.array(["SOL"]), np.ones(1))


def test_where_bidders_are_few_accounts_wait() -> None:
    many = {}
    for number in range(6):
        many |= perpetual_long(f"a{number}", 10.0, 0.12)
    path = path_of([1.0, 1.0, 1.0, 1.0, 1.0, 1.0])
    at_once, slowly = (stressed(many, path, demand=demand, first_hours=12.0) for demand in (np.inf, 4_000.0))
    assert at_once.rows[0].liquidated == 6 and at_once.rows[0].waiting == 0
    waiting = [row.waiting for row in slowly.rows]
    assert waiting[0] > 0 and waiting == sorted(waiting, reverse=True) and waiting[-1] == 0
    nobody = stressed(many, path, demand=0.0)
    assert not nobody.liquidated.any() and nobody.rows[-1].waiting == 6


def test_collateral_that_loses_its_peg() -> None:
    """Prices stay, a dollar of collateral is worth 88 cents: who was covered is not, and its token is sold with it."""
    still = path_of([1.0, 1.0, 1.0])
    venue = with_token(100_000.0)
    rules = Rules(impact=QUIET, cost=0.0, penalty=0.0)
    calm = run(venue, still, rules)
    path = replace(still, token=np.array(["USDC"]), peg=np.array([[1.0], [0.88], [0.88]]))
    depegged = run(venue, path, rules)
    assert not calm.liquidated.any() and depegged.liquidated.all()
    lost = calm.rows[-1].equity - depegged.rows[-1].equity
    assert lost == pytest.approx(0.12 * 100_000.0, abs=0.02)


def test_one_that_is_too_large_for_a_step_does_not_block_the_rest() -> None:
    """An account that owes coins is bought out of them bit by bit, with as much as there is a bid for."""
    many = {"debtor": {"BTC": -10.0, "USD": 700_000.0}, **perpetual_long("later", 1.0, 0.12)}
    path = path_of([1.0] + [1.05] * 8)
    result = stressed(many, path, demand=2_000.0, first_hours=12.0)
    owing = [row.maintenance_margin for row in result.rows[1:]]
    assert result.liquidated.all() and owing == sorted(owing, reverse=True) and result.rows[-1].waiting == 0


def test_late_prices_cost_the_fund() -> None:
    accounts = perpetual_long("thin", 10.0, 0.19)
    path = path_of([1.0, 0.95, 0.90, 0.85, 0.80, 0.80, 0.80], hours=6.0)
    now, late = (stressed(accounts, path, delay_hours=hours, fund=1e7) for hours in (0.0, 12.0))
    assert [row.liquidated for row in now.rows].index(1) < [row.liquidated for row in late.rows].index(1)
    assert now.total("shortfall") == 0.0 < late.total("shortfall")


def test_a_gap_costs_more_than_a_slide() -> None:
    accounts = perpetual_long("thin", 10.0, 0.16)
    gap = path_of([1.0, 0.75], hours=24.0)
    jumped, slid = (stressed(accounts, path, fund=1e7) for path in (gap, gap.refined(1.0)))
    assert len(slid.rows) == 25 and jumped.total("shortfall") > slid.total("shortfall") == 0.0


def test_contracts_expire_on_the_way() -> None:
    """A put that ends in the money is paid in coin and gone; margin is left for the coins, owned and owed."""
    accounts = {"a": {"BTC-7D-68000-P": 2.0, "USD": 1e5}, "b": {"BTC-7D-68000-P": -2.0, "USD": 1e6}}
    path = path_of([1.0, 0.8, 0.9], hours=96.0)
    result = stressed(accounts, path)
    assert 0.0 < result.rows[2].maintenance_margin < 0.2 * result.rows[1].maintenance_margin
    forward = 0.9 * float(MARKET.forward[ARRAYS.expiry_idx[ARRAYS.index_of()["BTC-7D-68000-P"]]])
    gain = 2.0 * (68_000.0 - forward) / forward * 0.9 * float(MARKET.spot[0])
    assert 0.01 * result.balances.trader[0] == pytest.approx(1e5 + gain, rel=1e-4)
    assert 0.01 * result.balances.trader[1] == pytest.approx(1e6 - gain, rel=1e-4)


def test_margins_in_force_are_those_of_a_statement() -> None:
    """At the start, of accounts that need nothing done."""
    rich = {str(name): {"USD": 1e9} for name in BOOK.account_id[:3]}
    held = {"x": {"BTC-60D-68000-P": -2.0, "ETH-60D-2050-C": 4.0, "BTC": 1.0, "USD": 1e6}}
    result = stressed({**rich, **held}, path_of([1.0]))
    venue = venue_of(book_of({**rich, **held}))
    statement = margin(venue.book, venue.arrays(MARKET), MARKET, MODEL, backend="numpy")
    assert np.all(statement.status == AccountStatus.NORMAL)
    assert result.rows[0].initial_margin == pytest.approx(statement.initial_margin.sum())
    assert result.rows[0].maintenance_margin == pytest.approx(statement.maintenance_margin.sum())
    assert result.rows[0].equity == pytest.approx(statement.equity.sum(), abs=0.05)


@pytest.mark.parametrize("policy", ["largest_contributor", "delta_hedge_first", "cheapest", "proportional"])
def test_accounts_that_name_a_policy(policy: str) -> None:
    short = {"BTC-60D-54400-P": -3.0, "BTC-60D-81600-C": -3.0}
    accounts = random_accounts([{}, {"BTC-PERPETUAL": 300}], [100, 82])
    accounts["named"] = {**short, "USD": 30_000.0}
    result = stressed(accounts, path_of([1.0, 0.9]), named={"named": policy}, fund=1e7)
    assert result.liquidated.any() and result.balances.total == result.opening.total
    with pytest.raises(DataError, match="nobody"):
        stressed(accounts, path_of([1.0]), named={"nobody": policy})


@pytest.mark.parametrize(
    "rules, message",
    [
        ({"buffer": -1.0}, "buffer"),
        ({"slices": 1.5}, "slices = 1.5: must be a whole number"),
        ({"demand": -1.0}, "demand = -1.0: must be 0 or more"),
        ({"demand": float("nan")}, "demand"),
        ({"rounds": 0}, "rounds"),
    ],
)
def test_rules_have_bounds(rules: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Rules(**rules)


def test_impact_has_bounds() -> None:
    for given_number in ({"daily_volume": 0.0}, {"daily_vol": {"BTC": 3.0}}, {"exponent": 2.0}, {"coefficient": -1.0}):
        with pytest.raises(ConfigError, match=next(iter(given_number))):
            Impact(**given_number)  # type: ignore[arg-type]


def test_a_followed_account_changes_nothing_and_its_line_is_that_of_a_venue_of_one() -> None:
    """Alone at a venue without impact an account is what all accounts are; beside others it goes the same way."""
    long, short = perpetual_long("long", 1.0, 0.3), {"short": {"BTC-PERPETUAL": -2_000, "USD": 90_000.0}}
    both = venue_of(book_of(long | short))
    rules = Rules(impact=QUIET, cost=0.0005, penalty=0.001, fund=1e7)
    plain, alone = run(both, CRASH, rules), stressed(long, fund=1e7)
    for name in ("long", "short"):
        row = both.book.row_of(name)
        result = run(both, CRASH, rules, follow=row)
        assert (result.rows, result.balances.trader.tolist()) == (plain.rows, plain.balances.trader.tolist())
        own = result.followed
        assert own is not None and own.row == row and own.traded.any() == result.liquidated[row]
        assert list(result.frame().filter(like="account_")) == list(own.columns())
        if name == "long":
            for column in ("equity", "initial", "maintenance"):
                total = [getattr(step, column if column == "equity" else f"{column}_margin") for step in alone.rows]
                assert getattr(own, column).tolist() == pytest.approx(total, abs=0.01)
            assert own.traded.tolist() == [step.liquidated == 1 for step in alone.rows] and own.traded.any()
            short_before = own.balance_before < own.maintenance_before
            assert short_before[own.traded].all() and (own.maintenance < own.maintenance_before)[own.traded].all()
            assert own.balance_before[~own.traded].tolist() == own.balance[~own.traded].tolist()
        assert not own.expired.any()
    assert plain.followed is None and not list(plain.frame().filter(like="account_"))


def test_a_line_says_in_which_step_contracts_expired() -> None:
    """By how many of those held have expired by then; of an account that was closed none is left to expire."""
    figures = (1.0,) * 7
    found = followed_by(3, [(*figures, False, gone) for gone in (0, 2, 2, 3, 0)])
    assert found.row == 3 and found.expired.tolist() == [False, True, False, True, False]
