"""What is claimed of convexity: bounds and gaps against brute force under every model, and declarations tried out."""

from __future__ import annotations

import itertools
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portfolio_margin import Book, GreekProfile, Hedge, Limits, greek_profile, hedge_enumeration, margin, optimise_book
from portfolio_margin.convexity import OF_FUNDS, declared_convex
from portfolio_margin.hedge_terms import MEASURES, Costs, trade_terms
from portfolio_margin.models import worst_case
from portfolio_margin.optimise import account_greeks
from portfolio_margin.requirement import MarginModel
from portfolio_margin.sensitivities import with_orders
from pricing.errors import ConfigError
from scenarios import RiskArrays, revalue
from scenarios.families import grid
from tests.portfolio_margin.books import CONTRACTS, GRID, INSTRUMENTS, MARKET, ROW, Held, book_of, quantity
from tests.portfolio_margin.test_contracts import MODELS, model_of

DECLARING = ("derive_pmrm", "worst_case")
PROFILE = greek_profile(INSTRUMENTS, MARKET, {})
MOST = 3
OPEN = GreekProfile({}, PROFILE.by_contract)
# A cheaper trade that no trade of the program comes near.
PART_WAY: Held = {"ETH-7D-1640-P": -5.4, "ETH-60D-1230-P": 0.4, "BTC-60D-61200-C": -1.6, "USD": 1e4}


@cache
def arrays_of(name: str) -> RiskArrays:
    wanted = model_of(name).scenario_set(MARKET)
    return revalue(INSTRUMENTS, MARKET, GRID if wanted is None else wanted)


def margins_after(
    book: Book, arrays: RiskArrays, model: MarginModel, names: list[str], points: np.ndarray
) -> np.ndarray:
    """(K,) initial margin after whole lots (K,n), by one statement of an account each."""
    account: list[str] = []
    row: list[int] = []
    held: list[float] = []
    step = [quantity(name, 1) for name in names]
    for number, lots in enumerate(points):
        orders = [(name, round(int(n) * s, 12)) for name, n, s in zip(names, lots, step, strict=True) if n]
        after = with_orders(book, arrays, orders)
        account += [f"{number:06}"] * len(after.quantity)
        row += after.instrument_idx.tolist()
        held += after.quantity.tolist()
    every = [f"{number:06}" for number in range(len(points))]
    trials = Book.from_arrays(account, row, held, INSTRUMENTS.expiry_idx, accounts=every)
    return np.asarray(margin(trials, arrays, MARKET, model).initial_margin)


def brute_force(name: str, held: Held, names: list[str], price: float, profile: GreekProfile) -> tuple[float, Hedge]:
    """The least cost + price x margin of all whole lots up to MOST inside the bands, and what optimise_book finds."""
    model, arrays, book = model_of(name), arrays_of(name), book_of({"a": held})
    found = optimise_book(
        book, arrays, MARKET, model, "a", profile, instruments=names, objective=("initial_margin", price),
        limits=Limits(size={n: quantity(n, MOST) for n in names}, gap=0.0),
    )  # fmt: skip
    rows = np.array([ROW[n] for n in names])
    terms = trade_terms(arrays, rows, Costs(), Limits(), 1e12)
    lots = np.array(list(itertools.product(range(-MOST, MOST + 1), repeat=len(names))))
    inside = np.ones(len(lots), dtype=np.bool_)
    for greek, (low, high) in profile.bands.items():
        paid = [with_orders(book, arrays, [(n, quantity(n, 1))]) for n in names]
        now = account_greeks(book, profile)[greek]
        by_lot = np.array([account_greeks(after, profile)[greek] - now for after in paid])
        inside &= (now + lots @ by_lot >= low - 1e-6) & (now + lots @ by_lot <= high + 1e-6)
    cost = np.maximum(lots, 0) @ terms.buy_cost + np.maximum(-lots, 0) @ terms.sell_cost
    objective = cost + price * margins_after(book, arrays, model, names, lots)
    return float(objective[inside].min()), found


@pytest.fixture(autouse=True)
def by_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """What programs claim: a list of all trades needs no claims."""
    monkeypatch.setattr(hedge_enumeration, "MOST_LISTED", 0)


@pytest.mark.parametrize("name", MODELS)
def test_no_bound_is_above_the_best_of_all_whole_lots(name: str) -> None:
    """And what is found is the best of them, to the rounding of amounts: also where nothing is proven."""
    random = np.random.default_rng(11)
    reason = np.asarray(model_of(name).not_covered(arrays_of(name)))
    contracts = [c for c in CONTRACTS if reason[ROW[c]] == ""]
    for price in (0.3,):
        held = {c: quantity(c, int(random.integers(-60, 61)) or 5) for c in random.choice(contracts, 3, replace=False)}
        held["USD"] = 1e4
        names = [str(c) for c in random.choice(contracts, 2, replace=False)]
        best, found = brute_force(name, held, names, price, OPEN)
        reached = found.cost + price * found.margins.post["initial_margin"]
        assert reached == pytest.approx(best, rel=1e-6, abs=0.05)
        if found.convex:
            assert found.lower_bound <= best + 0.05
            assert found.gap >= 0.0
        else:
            assert np.isnan(found.lower_bound) and np.isnan(found.gap)
            assert "no bound is proven" in found.notes[0]
        assert not found.convex or name in DECLARING


@pytest.mark.parametrize("price", [0.05, 1.0])
def test_a_cheaper_trade_beyond_the_program_is_found_and_nothing_is_claimed(price: float) -> None:
    profile = GreekProfile({"delta_cash": (-104_472.96, -55_485.44)}, PROFILE.by_contract)
    best, found = brute_force("derive_pmrm2", PART_WAY, ["BTC-7D-54400-P", "BTC-7D-47600-C"], price, profile)
    assert found.cost + price * found.margins.post["initial_margin"] == pytest.approx(best, abs=0.02)
    assert found.trades
    assert not found.convex
    assert np.isnan(found.lower_bound)


# Haircuts and factors that bend requirements more than the defaults do.
BENT = worst_case.Model(worst_case.Params(haircut=0.6, initial_factor=1.3, short_option_minimum=0.05))
JOINT = worst_case.Model(worst_case.Params(netting="joint", haircut=0.3))
steps = st.dictionaries(st.sampled_from(CONTRACTS), st.integers(-200, 200).map(lambda n: 2 * n), max_size=5)
coins = st.dictionaries(st.sampled_from(["BTC", "ETH", "USD"]), st.integers(-50, 50).map(lambda n: n / 8), max_size=3)
DECLARED: dict[str, Any] = {"derive_pmrm": None, "worst_case": None, "bent": BENT, "joint": JOINT}


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("name", DECLARED)
@settings(max_examples=60, deadline=None)
@given(steps, coins, steps, coins)
def test_what_is_declared_convex_is(
    name: str, measure: str, first: dict[str, int], money: Held, second: dict[str, int], other: Held
) -> None:
    """Half way between two books the requirement, less the balance for funds, is at most the mean of theirs."""
    model = DECLARED[name] or model_of(name)
    arrays = arrays_of(name if DECLARED[name] is None else "worst_case")
    reason = np.asarray(model.not_covered(arrays))
    ends = []
    for lots, held in ((first, money), (second, other)):
        end = {c: quantity(c, n) for c, n in lots.items()} | held
        ends.append({c: q for c, q in end.items() if reason[ROW[c]] == ""})
    one, two = ends
    middle = {c: 0.5 * (one.get(c, 0.0) + two.get(c, 0.0)) for c in one | two}
    turning = np.zeros(len(arrays), dtype=np.bool_)
    for c in (one | two).keys() & {"BTC", "ETH", "USD"}:
        turning[ROW[c]] = one.get(c, 0.0) * two.get(c, 0.0) < 0.0
    if not declared_convex(model, arrays, turning, measure):
        assert name != "derive_pmrm"
        return
    statement = margin(book_of({"a": one, "b": middle, "c": two}), arrays, MARKET, model)
    values = -getattr(statement, measure) if measure in OF_FUNDS else getattr(statement, measure)
    rounding = 0.05 + 1e-6 * sum(abs(q / quantity(c, 1)) for c, q in middle.items() if c in CONTRACTS)
    assert values[1] <= 0.5 * (values[0] + values[2]) + rounding


def test_a_haircut_on_long_balances_only_is_not_convex() -> None:
    """A coin owed and a coin held, beside a long perpetual: half way the requirement is above both their means."""
    model = worst_case.Model()
    held = {f"{coins:+}": {"BTC-PERPETUAL": 20_000.0, "BTC": coins} for coins in (-1.0, 0.0, 1.0)}
    arrays = arrays_of("worst_case")
    owed, none, long = margin(book_of(held), arrays, MARKET, model).initial_margin
    assert none > 0.5 * (owed + long) + 1.0
    turning = arrays.instrument_id == "BTC"
    assert not declared_convex(model, arrays, turning, "initial_margin")
    assert declared_convex(model, arrays, turning, "available_funds")
    assert declared_convex(model, arrays, np.zeros(len(arrays), np.bool_), "initial_margin")
    # A fall that weighs more than the coin is worth bends funds the other way, too.
    deep = revalue(INSTRUMENTS, MARKET, grid.scenarios(grid.Params(price_range=0.5), MARKET))
    fall = float(-(deep.rows[turning] / deep.value_rows[turning]).min())
    for factor, holds in ((0.99 / fall, True), (1.01 / fall, False)):
        model = worst_case.Model(worst_case.Params(initial_factor=factor, maintenance_factor=factor))
        assert declared_convex(model, deep, turning, "available_funds") == holds
        assert declared_convex(model, deep, turning, "excess_liquidity") == holds


def test_models_that_do_not_declare_are_taken_for_not_convex() -> None:
    nothing = np.zeros(len(INSTRUMENTS), np.bool_)
    for name in MODELS:
        assert declared_convex(model_of(name), arrays_of(name), nothing, "initial_margin") == (name in DECLARING)
    with pytest.raises(ConfigError, match="objective measure"):
        optimise_book(
            book_of({"a": PART_WAY}), arrays_of("span"), MARKET, model_of("span"), "a", OPEN, objective=("equity", 1.0)
        )
