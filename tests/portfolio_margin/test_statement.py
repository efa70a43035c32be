"""The margin statement: every column by plain arithmetic, rounding in the house's favour, statuses."""

from __future__ import annotations

import math
from dataclasses import replace
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from portfolio_margin import AccountStatus, MarginStatement, load_sample, margin
from portfolio_margin.backends import figures
from portfolio_margin.models import span, worst_case
from portfolio_margin.requirement import Requirement
from portfolio_margin.statement import account_status, down, health, ratio, up, up_to_what_covers
from pricing import DataError, NumericalError
from scenarios import revalue
from tests.portfolio_margin.books import ARRAYS, BACKENDS, BOOK, INSTRUMENTS, MARKET, Held, book_of, loose
from tests.portfolio_margin.engines import check_statement, engine_state

MODEL = worst_case.Model()
STATEMENT = margin(BOOK, ARRAYS, MARKET, MODEL)
CENT = Decimal("0.01")


def of(held: Held, params: worst_case.Params | None = None) -> MarginStatement:
    return margin(book_of({"a": held}), ARRAYS, MARKET, worst_case.Model(params or worst_case.Params()))


def cents(amount: float, rounding: str) -> float:
    """An amount, free of binary noise beyond a tick, to the cent in exact decimals."""
    return float(round(Decimal(repr(float(amount))), 8).quantize(CENT, rounding=rounding))


def test_every_column_from_plain_arithmetic() -> None:
    """Positions times values, haircuts on long coins, the model's requirement: to the cent, account by account."""
    required = MODEL.requirement(BOOK, ARRAYS)
    cut = MODEL.haircut(ARRAYS)
    for a, positions in enumerate(loose(BOOK)):
        worth = [round(q * ARRAYS.value[row], 6) for row, q in positions]
        assets = [w for (row, _), w in zip(positions, worth, strict=True) if ARRAYS.is_collateral[row]]
        lost = sum(w - round((1 - cut[row]) * w, 6) for (row, q), w in zip(positions, worth, strict=True) if q > 0)
        assert STATEMENT.equity[a] == pytest.approx(cents(sum(worth), ROUND_FLOOR), abs=0.0101)
        assert STATEMENT.collateral_value_before_haircut[a] == pytest.approx(sum(assets), abs=0.0101)
        assert STATEMENT.haircut[a] == pytest.approx(lost, abs=0.0101)
        assert STATEMENT.initial_margin[a] == cents(required.initial[a], ROUND_CEILING)
        assert STATEMENT.maintenance_margin[a] == cents(required.maintenance[a], ROUND_CEILING)
        balance = Decimal(repr(float(STATEMENT.equity[a]))) - Decimal(repr(float(STATEMENT.haircut[a])))
        assert STATEMENT.margin_balance[a] == float(balance)
        for name, need in (("available_funds", "initial_margin"), ("excess_liquidity", "maintenance_margin")):
            assert getattr(STATEMENT, name)[a] == float(balance - Decimal(repr(float(getattr(STATEMENT, need)[a]))))


def test_a_coin_by_hand() -> None:
    """0.12345678 coins at 68,000: 8,395.06104 dollars, of which a haircut of five per cent takes 419.753052."""
    statement = of({"BTC": 0.12345678, "BTC-PERPETUAL": 100.0}, worst_case.Params(short_option_minimum=0.0))
    assert statement.equity[0] == statement.collateral_value_before_haircut[0] == 8_395.06
    assert statement.haircut[0] == 419.76
    assert statement.margin_balance[0] == 7_975.30
    assert statement.mm_rate[0] == statement.maintenance_margin[0] / 7_975.30
    # A sixteenth hundredth of the coin after its haircut and of a thousand dollars of the perpetual.
    assert statement.initial_margin[0] == pytest.approx(0.16 * (8_395.06104 - 419.753052 + 1_000.0), abs=0.0101)


def test_what_is_not_finite_is_no_statement() -> None:
    class Endless(worst_case.Model):
        def requirement(self, *arguments: Any, **options: Any) -> Requirement:
            required = super().requirement(*arguments, **options)
            return required._replace(initial=required.initial * math.inf)

    with pytest.raises(NumericalError, match="nothing is reported"), np.errstate(invalid="ignore"):
        margin(BOOK, ARRAYS, MARKET, Endless())


def test_delta_is_the_sum_over_positions() -> None:
    for a, positions in enumerate(loose(BOOK)[:20]):
        assert STATEMENT.delta_total[a] == pytest.approx(sum(q * ARRAYS.delta[row] for row, q in positions), abs=1e-3)


@pytest.mark.parametrize(
    ("amount", "lower", "upper"),
    [
        (1.0, 1.0, 1.0),
        (0.011, 0.01, 0.02),
        (-0.011, -0.02, -0.01),
        (0.1 + 0.2, 0.3, 0.3),  # a little more than 0.3 in binary, which is no money
        (1.15 * 100, 115.0, 115.0),  # a little less than 115
        (0.29 * 100, 29.0, 29.0),
        (1e9 + 0.001, 1e9, 1e9 + 0.01),
        (0.010001, 0.01, 0.02),  # one millionth is a tick, and money
        (0.0, 0.0, 0.0),
        (-0.0, 0.0, 0.0),
    ],
)
def test_amounts_are_rounded_against_the_account(amount: float, lower: float, upper: float) -> None:
    values = np.array([amount])
    assert (down(values)[0], up(values)[0]) == (lower, upper)
    assert not np.signbit(down(values)[0]) or lower < 0


def test_statuses_begin_where_they_say() -> None:
    """Balance against initial 100 and maintenance 80: a level that is exactly met is met."""
    balance = np.array([100.0, 99.99, 88.01, 87.99, 80.0, 79.99, -0.5, -5.0])
    count = len(balance)
    # What haircuts take is not lost: equity decides on bankruptcy.
    equity = np.where(balance < -1, balance, balance + 1.0)
    codes = account_status(equity, balance, np.full(count, 100.0), np.full(count, 80.0))
    expected = "NORMAL MARGIN_CALL MARGIN_CALL REDUCE_ONLY REDUCE_ONLY LIQUIDATION LIQUIDATION BANKRUPT"
    assert [AccountStatus(code).name for code in codes] == expected.split()
    # Nothing held and nothing owed is nobody's trouble.
    assert account_status(*np.zeros((4, 1)))[0] == AccountStatus.NORMAL


def test_what_is_exactly_met_is_met_whatever_is_below_a_cent() -> None:
    """Options that are paid for may require just their value: no rounding may liquidate them."""
    value = np.array([123.456, 123.451, 123.4501])
    assert account_status(value, value, value, value / 1.2).tolist() == [AccountStatus.NORMAL] * 3
    assert account_status(value, value, value, value).tolist() == [AccountStatus.REDUCE_ONLY] * 3
    assert account_status(value, value, value + 0.006, value + 0.006).tolist() == [AccountStatus.LIQUIDATION] * 3


def test_all_statuses_of_real_accounts() -> None:
    need = of({"BTC-PERPETUAL": 1_000.0}).initial_margin[0]
    shares = {"a": 1.1, "b": 0.95, "c": 0.85, "d": 0.5, "e": -0.1}
    book = book_of({n: {"BTC-PERPETUAL": 1_000.0, "USD": round(f * need, 2)} for n, f in shares.items()})
    statement = margin(book, ARRAYS, MARKET, MODEL)
    assert statement.status.tolist() == [0, 1, 2, 3, 4]
    assert statement.below_maintenance.tolist() == [False, False, False, True, True]
    names = ["NORMAL", "MARGIN_CALL", "REDUCE_ONLY", "LIQUIDATION", "BANKRUPT"]
    assert statement.columns()["status"].tolist() == names


def test_rates_say_how_near_liquidation_is() -> None:
    """mm_rate is 1 at liquidation and small when safe, health its inverse; both defined where something is zero."""
    needed, balance = np.array([50.0, 50.0, 50.0, 0.0, 0.0, 0.0]), np.array([100.0, 50.0, 0.0, 10.0, 0.0, -1.0])
    assert ratio(needed, balance).tolist() == [0.5, 1.0, math.inf, 0.0, 0.0, math.inf]
    statement = of({"BTC-PERPETUAL": 1_000.0, "USD": 5_000.0})
    assert statement.mm_rate[0] == statement.maintenance_margin[0] / 5_000.0
    assert statement.health[0] == 5_000.0 / statement.maintenance_margin[0]
    assert of({"USD": 1.0}).health[0] == math.inf
    assert of({"USD": -1.0}).mm_rate[0] == math.inf
    assert health(np.array([100.0, -5.0, 1.0, 0.0, -0.01]), np.array([50.0, 50.0, 0.0, 0.0, 0.0])).tolist() == [
        2.0, -0.1, math.inf, math.inf, -math.inf,
    ]  # fmt: skip


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_health_of_a_debt_without_a_requirement_is_the_worst(backend: str) -> None:
    """In a statement as in what an engine keeps of each account."""
    accounts = {"debt": {"USD": -1.0}, "short": {"BTC-PERPETUAL": 1_000.0}, "cash": {"USD": 1.0}, "none": {"USD": 0.0}}
    statement = margin(book_of(accounts), ARRAYS, MARKET, MODEL, backend=backend)
    health_of = dict(zip(statement.account.tolist(), statement.health.tolist(), strict=True))
    assert health_of["debt"] == -math.inf and health_of["cash"] == health_of["none"] == math.inf
    assert -math.inf < health_of["short"] <= 0.0
    assert statement.account[np.argmin(statement.health)] == "debt"
    check_statement(engine_state(MODEL, accounts, backend=backend), statement)


def test_columns_stand_in_one_order() -> None:
    columns = STATEMENT.columns()
    assert list(columns)[:10] == [
        "as_of_ms", "account", "margin_mode", "currency", "equity", "collateral_value_before_haircut", "haircut",
        "uncounted_option_value", "margin_balance", "initial_margin",
    ]  # fmt: skip
    assert all(len(values) == len(BOOK) for values in columns.values())
    frame = STATEMENT.frame()
    assert list(frame.columns) == list(columns)
    assert frame.attrs == STATEMENT.identity()
    assert frame.worst_scenario.tolist() == [
        "" if s < 0 else ARRAYS.scenario_set.label[s] for s in STATEMENT.worst_scenario
    ]
    assert of({"USD": 1.0}).columns()["worst_scenario"].tolist() == [""]
    # Charges are rounded up one by one: together at most a cent each above the total.
    charges = sum(columns[f"charge_{name}"] for name in STATEMENT.charges)
    assert np.all(charges >= STATEMENT.initial_margin - 1e-9)
    assert np.all(charges <= STATEMENT.initial_margin + 0.01 * len(STATEMENT.charges) + 1e-9)


def test_the_input_hash_follows_who_revalued_and_not_who_added_up() -> None:
    """Arrays of two backends may differ by a tick, so their digests do; of the same arrays all make the same hash."""
    scenarios = ARRAYS.scenario_set
    by_numpy, by_numba = (revalue(INSTRUMENTS, MARKET, scenarios, backend=name) for name in ("numpy", "numba"))
    assert by_numpy.digest != by_numba.digest and by_numpy.market_digest == by_numba.market_digest
    assert revalue(INSTRUMENTS, MARKET, scenarios, backend="numpy", threads=1).digest == by_numpy.digest
    for arrays in (by_numpy, by_numba):
        assert len({margin(BOOK, arrays, MARKET, MODEL, backend=name).input_hash for name in ("numpy", "numba")}) == 1
    assert margin(BOOK, by_numpy, MARKET, MODEL).input_hash != margin(BOOK, by_numba, MARKET, MODEL).input_hash


def test_hashes_follow_parameters_and_inputs() -> None:
    def hashes(book=BOOK, arrays=ARRAYS, model=MODEL):  # type: ignore[no-untyped-def]
        statement = margin(book, arrays, MARKET, model)
        return statement.parameters_hash, statement.input_hash

    base = hashes()
    assert hashes() == base
    for change in (
        {"haircut": 0.06},
        {"initial_factor": 1.1},
        {"netting": "joint"},
        {"haircut_by_asset": {"BTC": 0.1}},
    ):
        other = hashes(model=worst_case.Model(worst_case.Params(**change)))
        assert other[0] != base[0]
        assert other[1] == base[1]
    quantity = BOOK.quantity.copy()
    quantity[0] += 0.5
    for table in ({"book": replace(BOOK, quantity=quantity)}, {"arrays": replace(ARRAYS, digest="another")}):
        other = hashes(**table)
        assert other[0] == base[0]
        assert other[1] != base[1]


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_backend_prints_the_same_statement(backend: str) -> None:
    for threads in (1, 2):
        other = margin(BOOK, ARRAYS, MARKET, MODEL, backend=backend, threads=threads)
        for name, values in STATEMENT.columns().items():
            if name == "delta_total":  # for information, to four decimals
                assert other.delta_total == pytest.approx(values, abs=1.01e-4)
            else:
                assert np.array_equal(other.columns()[name], values), name
        assert other.identity() == STATEMENT.identity()


def test_what_was_left_out_is_always_listed() -> None:
    assert STATEMENT.identity()["positions_excluded"] == []
    statement = margin(BOOK, ARRAYS, MARKET, MODEL, positions_excluded=("a: X",))
    assert statement.identity()["positions_excluded"] == ["a: X"]


def test_arrays_and_market_belong_together() -> None:
    with pytest.raises(DataError, match="valuation_time"):
        margin(BOOK, ARRAYS, replace(MARKET, valuation_time=MARKET.valuation_time + 1), MODEL)
    with pytest.raises(DataError, match="currency"):
        margin(BOOK, replace(ARRAYS, currency="EUR"), MARKET, MODEL)
    with pytest.raises(DataError, match="another market of the same time"):
        margin(BOOK, ARRAYS, replace(MARKET, forward=MARKET.forward * 1.0001), MODEL)
    without = margin(BOOK, ARRAYS, None, MODEL)
    assert without.initial_margin.tobytes() == STATEMENT.initial_margin.tobytes()


@example(6_799_999_996, 340_000_000)
@given(st.integers(-(10**12), 10**12), st.integers(-(10**12), 10**12))
def test_differences_of_whole_cents_are_whole_cents(first: int, second: int) -> None:
    """Up to ten thousand million of money: noise of doubles is no money, whatever the size of the amounts."""
    assume(
        abs(first - second) >= (abs(first) + abs(second)) / 4
    )  # what cancels more leaves the noise of larger amounts
    amount = np.array([first / 100 - second / 100])
    assert down(amount)[0] == up(amount)[0] == (first - second) / 100


def test_what_is_no_whole_cent_goes_to_the_house() -> None:
    amounts = np.array([64_599_999.954, 0.0149, 1e-7, -0.0101, 999_999_999.9951])
    assert down(amounts).tolist() == [64_599_999.95, 0.01, 0.0, -0.02, 999_999_999.99]
    assert up(amounts).tolist() == [64_599_999.96, 0.02, 0.01, -0.01, 1_000_000_000.0]


AMOUNTS = st.integers(0, 10**12).map(lambda ticks: ticks / 1e6)


@given(equity=AMOUNTS, need=AMOUNTS, lost=AMOUNTS)
@example(equity=12_699.255, need=12_699.255000114441, lost=0.0)
@example(equity=100.009, need=100.005, lost=0.001)
@example(equity=100.005, need=0.0, lost=100.005)
@example(equity=100.0, need=100.000011, lost=0.0)
def test_who_lacks_nothing_lacks_no_cent(equity: float, need: float, lost: float) -> None:
    """Of ticks of a millionth: what is covered is covered after rounding, and a lack never becomes a smaller one."""
    have, wanted, cut = (np.array([amount]) for amount in (equity, need, lost))
    haircut = up_to_what_covers(cut, have, down(have))
    balance, left = down(down(have) - haircut), have - cut
    required = up_to_what_covers(wanted, left, balance)
    available = Decimal(repr(float(down(balance - required)[0])))
    exact = Decimal(repr(equity)) - Decimal(repr(lost)) - Decimal(repr(need))
    assert (available >= 0) if exact >= 0 else (available <= exact + Decimal("0.00001"))
    assert available <= max(exact, Decimal(0)) + Decimal("0.00001")
    assert required[0] >= 0


def test_what_is_endless_is_covered_by_nothing() -> None:
    with np.errstate(invalid="ignore"):
        rounded = up_to_what_covers(np.array([math.inf]), np.array([1.0]), np.array([1.0]))
    assert not np.isfinite(rounded[0])


def test_options_that_cover_their_risk_leave_nothing_to_pay() -> None:
    """SPAN asks for no more than the value of options bought in full: funds of such accounts of the sample are 0."""
    sample = load_sample()
    model = span.Model(span.Params())
    arrays = revalue(sample.instruments, sample.market, model.scenario_set(sample.market))
    statement = margin(sample.book, arrays, sample.market, model)
    paid = ["butterfly-02", "delta-hedged-gamma-01", "delta-hedged-gamma-02", "long-straddle-01", "long-strangle-01"]
    rows = [sample.book.row_of(account) for account in paid]
    assert statement.available_funds[rows].tolist() == [0.0] * len(paid)
    assert statement.excess_liquidity[rows].tolist() == [0.0] * len(paid)
    assert statement.initial_margin[rows].tolist() == statement.margin_balance[rows].tolist()


def test_the_order_kernels_round_alike() -> None:
    """Bit by bit, about the border between what is covered and what is not."""
    random = np.random.default_rng(5)
    cover = random.integers(0, 10**11, 4_000) / 1e6
    amount = cover + random.choice([-1.0, -1e-2, -1e-5, -1e-6, 0.0, 1e-7, 1e-6, 2e-5, 1e-2, 1.0], len(cover))
    expected = up_to_what_covers(amount, cover, down(cover))
    found = [
        figures._up_to_what_covers(*numbers, 0.01, 100.0) for numbers in zip(amount, cover, down(cover), strict=True)
    ]
    assert expected.tolist() == found
    assert (expected < up(amount)).any()
    assert (expected == up(amount)).any()
