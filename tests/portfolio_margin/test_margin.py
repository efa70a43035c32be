"""Books, worst loss, margin, explanation, what-if: naive twins, equal bits, and the laws of a margin."""

from __future__ import annotations

import itertools
import math
import pkgutil
from dataclasses import replace
from decimal import Decimal, localcontext
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import portfolio_margin.models
from portfolio_margin import AccountStatus, Book, account_pnl, explain, margin, what_if, worst_loss
from portfolio_margin.aggregate import kernel_table
from portfolio_margin.explain import EXACT
from portfolio_margin.models import worst_case
from pricing import ConfigError, DataError, Kind, NumericalError
from scenarios import RiskArrays, revalue
from scenarios.families import grid
from scenarios.shocks import make
from tests.examples import market_and_instruments, random_book
from tests.naive import portfolio_margin as naive
from tests.vectors import literature_vectors

MODELS = [module.name for module in pkgutil.iter_modules(portfolio_margin.models.__path__)]
BACKENDS = ("numpy", "numba", "jax")
INSTRUMENTS, MARKET = market_and_instruments()
ARRAYS = revalue(INSTRUMENTS, MARKET, grid.scenarios(grid.Params(), MARKET))
BOOK = random_book(INSTRUMENTS, accounts=120)
MODEL = worst_case.Model()
ROW = INSTRUMENTS.index_of()


def book_of(accounts: dict[str, dict[str, float]]) -> Book:
    rows = [(name, ROW[i], q) for name, held in accounts.items() for i, q in held.items()]
    columns = zip(*rows, strict=True) if rows else ([], [], [])
    names, instrument, quantity = (list(column) for column in columns)
    return Book.from_arrays(
        np.array(names, dtype=np.str_), instrument, quantity, INSTRUMENTS.expiry_idx, accounts=list(accounts)
    )


def loose(book: Book) -> list[list[tuple[int, float]]]:
    ptr = book.position_ptr
    pairs = list(zip(book.instrument_idx.tolist(), book.quantity.tolist(), strict=True))
    return [pairs[ptr[a] : ptr[a + 1]] for a in range(len(book))]


def test_naive_twins() -> None:
    haircut = MODEL.haircut(ARRAYS)
    table = kernel_table(ARRAYS, ARRAYS.rows, haircut)._asdict()
    accounts = loose(BOOK)[:25]
    sums = naive.account_sums(accounts, table)
    ours = account_pnl(BOOK, ARRAYS, haircut=haircut)[:25]
    assert np.array_equal(ours, np.array(sums, dtype=np.float64) * ARRAYS.tick_size)
    for netting, sets in (("joint", [0] * len(ARRAYS)), ("per_underlying", ARRAYS.underlying_idx.tolist())):
        loss, scenario = worst_loss(BOOK, ARRAYS, netting=netting, haircut=haircut)
        for a, (ticks, where) in enumerate(naive.worst_loss(accounts, table, sets)):
            assert loss[a] == ticks * ARRAYS.tick_size
            assert scenario[a] == where


@pytest.mark.parametrize("netting", ["joint", "per_underlying"])
def test_every_backend_thread_and_order_gives_the_same_bits(netting: str) -> None:
    random = np.random.default_rng(1)
    reference = worst_loss(BOOK, ARRAYS, netting=netting, backend="numpy")
    pnl = account_pnl(BOOK, ARRAYS, backend="numpy")
    names = BOOK.account_id[np.repeat(np.arange(len(BOOK)), np.diff(BOOK.position_ptr))]
    for _ in range(3):
        order = random.permutation(len(names))
        book = Book.from_arrays(names[order], BOOK.instrument_idx[order], BOOK.quantity[order], INSTRUMENTS.expiry_idx)
        for backend in BACKENDS:
            for threads in (1, 2):
                loss, scenario = worst_loss(book, ARRAYS, netting=netting, backend=backend, threads=threads)
                assert np.array_equal(loss, reference[0])
                assert np.array_equal(scenario, reference[1])
                assert np.array_equal(account_pnl(book, ARRAYS, backend=backend, threads=threads), pnl)


def test_many_accounts_cross_block_borders() -> None:
    contract = np.flatnonzero(~INSTRUMENTS.is_collateral)
    random = np.random.default_rng(3)
    accounts, each = 9_000, 8
    instrument = np.concatenate([random.choice(contract, each, replace=False) for _ in range(accounts)])
    quantity = random.integers(-50, 50, accounts * each) * INSTRUMENTS.quantity_step[instrument]
    book = Book.from_arrays(np.repeat(np.arange(accounts), each), instrument, quantity, INSTRUMENTS.expiry_idx)
    results = [worst_loss(book, ARRAYS, netting="per_underlying", backend=b) for b in BACKENDS]
    assert all(np.array_equal(results[0][0], other[0]) for other in results)
    assert all(np.array_equal(results[0][1], other[1]) for other in results)


quantities = st.lists(st.integers(-500, 500), min_size=6, max_size=6)
CONTRACTS = [
    "BTC-7D-68000-C",
    "BTC-60D-54400-P",
    "BTC-PERPETUAL",
    "BTC-60D",
    "BTC-7D-81600-C",
    "BTC-60D-95200-C",
]


def held(steps: list[int], factor: int = 1) -> dict[str, float]:
    return {n: factor * s * float(INSTRUMENTS.quantity_step[ROW[n]]) for n, s in zip(CONTRACTS, steps, strict=False)}


@settings(max_examples=40, deadline=None)
@given(quantities, quantities, st.integers(2, 9))
def test_coherent_within_a_netting_set(first: list[int], second: list[int], factor: int) -> None:
    together = [a + b for a, b in zip(first, second, strict=True)]
    book = book_of(
        {
            "first": held(first),
            "second": held(second),
            "sum": held(together),
            "scaled": held(first, factor),
            "opposite": held([-s for s in first]),
        }
    )
    for backend in ("numpy", "numba"):
        loss, _ = worst_loss(book, ARRAYS, backend=backend)
        of = dict(zip(book.account_id.tolist(), np.rint(loss / ARRAYS.tick_size), strict=True))
        assert of["sum"] <= of["first"] + of["second"]
        assert of["scaled"] == factor * of["first"]
        assert of["first"] + of["opposite"] >= 0


def test_added_and_removed_positions_leave_no_trace() -> None:
    base = book_of({"a": held([1, 2, 3, 4, 5, 6])})
    noisy = Book.from_arrays(
        ["a"] * len(CONTRACTS), [ROW[n] for n in CONTRACTS], [7.3 + q - 7.3 for q in held([1, 2, 3, 4, 5, 6]).values()],
        INSTRUMENTS.expiry_idx,
    )  # fmt: skip
    assert np.array_equal(worst_loss(base, ARRAYS)[0], worst_loss(noisy, ARRAYS)[0])


def test_netting_and_haircut_are_monotone() -> None:
    joint, _ = worst_loss(BOOK, ARRAYS, netting="joint")
    apart, _ = worst_loss(BOOK, ARRAYS, netting="per_underlying")
    assert np.all(apart >= joint)
    balances = [
        margin(BOOK, ARRAYS, MARKET, worst_case.Model(worst_case.Params(haircut=h))).margin_balance
        for h in (0.0, 0.1, 0.5, 1.0)
    ]
    assert all(np.all(low >= high) for low, high in itertools.pairwise(balances))


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_contract_of_a_margin_model(name: str, backend: str) -> None:
    model = __import__(f"portfolio_margin.models.{name}", fromlist=["Model"]).Model()
    required = model.requirement(BOOK, ARRAYS, backend=backend)
    assert np.all(required.initial >= required.maintenance)
    assert np.all(required.maintenance >= 0)
    assert sum(required.charges.values()) == pytest.approx(np.column_stack([required.initial, required.maintenance]))
    empty = model.requirement(book_of({"nobody": {}}), ARRAYS, backend=backend)
    assert (empty.initial.tolist(), empty.maintenance.tolist(), empty.worst_scenario.tolist()) == ([0.0], [0.0], [-1])
    nothing = model.requirement(book_of({}), ARRAYS, backend=backend)
    assert len(nothing.initial) == 0
    more = {f"more-{usd}": {**held([3, -4, 5, -6, 7, -8]), "USD": usd} for usd in (0.01, 1e5, 1e6)}
    excess = margin(book_of(more), ARRAYS, MARKET, model, backend=backend).excess_liquidity
    assert np.all(np.diff(excess) > 0)


def test_offsetting_positions_lose_nothing() -> None:
    model = worst_case.Model(worst_case.Params(short_option_minimum=0.0))
    book = book_of({"flat": {CONTRACTS[0]: 0.0, "USD": 5.0}})
    assert model.requirement(book, ARRAYS).initial.tolist() == [0.0]
    # A conversion: long call, short put of one strike against the future of that expiry moves by rounding only.
    strike = {"BTC-60D-68000-C": 1.0, "BTC-60D-68000-P": -1.0}
    loss = worst_loss(book_of({"a": strike, "b": {n: -q for n, q in strike.items()}}), ARRAYS)[0]
    assert loss.min() >= 0


def test_short_option_minimum_is_a_floor() -> None:
    far = {"BTC-7D-95200-C": -0.1}
    rate = 0.01
    model = worst_case.Model(worst_case.Params(short_option_minimum=rate))
    required = model.requirement(book_of({"a": far}), ARRAYS)
    floor = rate * 0.1 * ARRAYS.notional[ROW["BTC-7D-95200-C"]]
    scan = worst_loss(book_of({"a": far}), ARRAYS)[0][0]
    assert required.initial[0] == pytest.approx(max(scan, floor), abs=1e-5)


def test_covered_call_never_loses_more_than_the_coin() -> None:
    book = book_of({"covered": {"BTC-60D-74800-C": -1.0, "BTC": 1.0}, "coin": {"BTC": 1.0}})
    statement = margin(book, ARRAYS, MARKET, worst_case.Model(worst_case.Params(haircut=0.0)))
    covered, coin = (statement.initial_margin[book.row_of(name)] for name in ("covered", "coin"))
    # A short call gains when the coin falls; tails only count in part.
    assert covered <= MARKET.spot[0] * 0.25
    assert coin == pytest.approx(0.16 * MARKET.spot[0], abs=0.02)


@pytest.mark.parametrize(
    "values",
    [
        {"netting": "gross"},
        {"initial_factor": 0.9},
        {"maintenance_factor": 0.0},
        {"maintenance_factor": 1.2},
        {"short_option_minimum": -0.1},
        {"haircut": 1.5},
        {"haircut": math.nan},
        {"haircut_by_asset": {"BTC": 2.0}},
    ],
)
def test_parameters_have_bounds(values: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        worst_case.Params(**values)


def test_parameters_at_their_bounds() -> None:
    for values in (
        {"initial_factor": 5.0, "maintenance_factor": 5.0, "short_option_minimum": 1.0, "haircut": 1.0},
        {"initial_factor": 1.0, "maintenance_factor": 0.01, "short_option_minimum": 0.0, "haircut": 0.0},
    ):
        statement = margin(BOOK, ARRAYS, MARKET, worst_case.Model(worst_case.Params(**values)))
        assert np.all(statement.initial_margin >= statement.maintenance_margin)
        assert np.all(np.isfinite(statement.initial_margin))


def test_a_misspelt_haircut_is_not_lost() -> None:
    with pytest.raises(ConfigError, match="BTCC"):
        margin(BOOK, ARRAYS, MARKET, worst_case.Model(worst_case.Params(haircut_by_asset={"BTCC": 0.2})))


def test_statement_identities() -> None:
    s = margin(BOOK, ARRAYS, MARKET, MODEL)
    assert s.margin_balance == pytest.approx(s.equity - s.haircut, abs=0.011)
    assert s.available_funds == pytest.approx(s.margin_balance - s.initial_margin, abs=0.011)
    assert s.excess_liquidity == pytest.approx(s.margin_balance - s.maintenance_margin, abs=0.011)
    required = MODEL.requirement(BOOK, ARRAYS)
    # Requirements go up and equity down, by less than a cent.
    assert np.all(s.initial_margin - required.initial > -1e-8)
    assert np.all(s.initial_margin - required.initial < 0.01)
    frame = s.frame()
    assert len(frame) == len(BOOK)
    assert frame.attrs["model_id"] == "worst_case"
    assert frame.attrs["positions_excluded"] == []
    for row, code in enumerate(s.status):
        balance = s.margin_balance[row]
        if code == AccountStatus.NORMAL:
            assert balance >= s.initial_margin[row]
        if code == AccountStatus.LIQUIDATION:
            assert balance < s.maintenance_margin[row]
        assert s.below_maintenance[row] == (balance < s.maintenance_margin[row])


def test_all_statuses() -> None:
    need = margin(book_of({"x": {"BTC-PERPETUAL": 1000.0}}), ARRAYS, MARKET, MODEL).initial_margin[0]
    shares = {"a": 1.1, "b": 0.95, "c": 0.85, "d": 0.5, "e": -0.1}
    book = book_of({n: {"BTC-PERPETUAL": 1000.0, "USD": round(f * need, 2)} for n, f in shares.items()})
    assert margin(book, ARRAYS, MARKET, MODEL).status.tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("netting", ["joint", "per_underlying"])
@pytest.mark.parametrize("minimum", [0.0, 0.003, 0.5])
def test_explanation_sums_exactly(netting: str, minimum: float) -> None:
    params = worst_case.Params(
        netting=netting, short_option_minimum=minimum, initial_factor=1.1, maintenance_factor=0.7
    )
    statement = margin(BOOK, ARRAYS, MARKET, worst_case.Model(params))
    with localcontext(EXACT):
        for account in BOOK.account_id[:40]:
            lines = explain(statement, BOOK, ARRAYS, str(account)).lines
            for depth in range(5):
                check_level(lines, depth)


def check_level(lines: Any, depth: int) -> None:
    """Every line of a depth is the exact sum of its children."""
    for position, line in enumerate(lines):
        if line.depth != depth:
            continue
        children = []
        for other in lines[position + 1 :]:
            if other.depth <= depth:
                break
            if other.depth == depth + 1:
                children.append(other)
        if children:
            assert sum((c.initial for c in children), Decimal(0)) == line.initial
            assert sum((c.maintenance for c in children), Decimal(0)) == line.maintenance


def test_explanation_refuses_another_book() -> None:
    statement = margin(BOOK, ARRAYS, MARKET, MODEL)
    other = book_of({str(BOOK.account_id[0]): {"BTC-PERPETUAL": 12_345.0}})
    with pytest.raises(DataError):
        explain(statement, other, ARRAYS, str(BOOK.account_id[0]))
    with pytest.raises(DataError, match="did you mean"):
        explain(statement, BOOK, ARRAYS, "account-00003")


def test_what_if_equals_a_rebuilt_book() -> None:
    account = str(BOOK.account_id[5])
    orders = [("BTC-7D-68000-C", -2.0), ("ETH-60D-2050-P", 0.3), ("BTC-PERPETUAL", 100.0), ("BTC-7D-68000-C", 0.5)]
    orders = [order for order in orders if order[0] in ROW]
    result = what_if(BOOK, ARRAYS, MARKET, MODEL, account, orders)
    statement = margin(BOOK, ARRAYS, MARKET, MODEL)
    assert result.pre["initial_margin"] == statement.initial_margin[5]
    assert result.change["equity"] == pytest.approx(0.0, abs=0.02)
    positions = dict(loose(BOOK)[5])
    for name, quantity in orders:
        positions[ROW[name]] = positions.get(ROW[name], 0.0) + quantity
        cash = int(ARRAYS.cash_row[ROW[name]])
        if ARRAYS.value[ROW[name]]:
            positions[cash] = positions.get(cash, 0.0) - quantity * ARRAYS.value[ROW[name]] / ARRAYS.value[cash]
    rebuilt = Book.from_arrays(
        [account] * len(positions), list(positions), list(positions.values()), INSTRUMENTS.expiry_idx
    )
    after = margin(rebuilt, ARRAYS, MARKET, MODEL)
    assert result.post["initial_margin"] == after.initial_margin[0]
    assert result.post["margin_balance"] == pytest.approx(after.margin_balance[0], abs=0.011)


@pytest.mark.parametrize(
    ("order", "text"),
    [
        (("BTC-7D-68000-X", 1.0), "did you mean"),
        (("BTC-7D-68000-C", 0.05), "multiples of 0.1"),
        (("BTC-7D-68000-C", math.nan), "finite"),
    ],
)
def test_bad_orders_are_named(order: tuple[str, float], text: str) -> None:
    with pytest.raises(DataError, match=text):
        what_if(BOOK, ARRAYS, MARKET, MODEL, str(BOOK.account_id[0]), [order])


def test_bad_books_are_refused() -> None:
    with pytest.raises(DataError, match="finite"):
        Book.from_arrays(["a"], [0], [math.nan])
    with pytest.raises(DataError, match="twice"):
        Book.from_arrays(["a", "a"], [0, 0], [1.0, 2.0])
    with pytest.raises(DataError, match="no such instrument"):
        Book.from_arrays(["a"], [-1], [1.0])
    with pytest.raises(DataError, match="one row a position"):
        Book.from_arrays(["a", "b"], [0], [1.0])
    with pytest.raises(DataError, match="hold only"):
        worst_loss(Book.from_arrays(["a"], [len(ARRAYS)], [1.0]), ARRAYS)
    with pytest.raises(ConfigError, match="groups"):
        worst_loss(Book.from_arrays(["a"], [0], [1.0]), ARRAYS, netting="per_underlying")


@pytest.mark.parametrize("backend", BACKENDS)
def test_quantities_off_their_step_and_sums_too_large(backend: str) -> None:
    off = Book.from_arrays(["a", "b"], [ROW["BTC-7D-68000-C"]] * 2, [0.1, 0.15])
    with pytest.raises(DataError, match=r"b.*0\.15.*multiples of 0\.1"):
        worst_loss(off, ARRAYS, backend=backend)
    huge = Book.from_arrays(["whale"], [ROW["BTC-7D-68000-C"]], [1e8])
    with pytest.raises(NumericalError, match="whale"):
        worst_loss(huge, ARRAYS, backend=backend)


def test_arrays_of_another_moment_are_refused() -> None:
    with pytest.raises(DataError, match="valuation_time"):
        margin(BOOK, ARRAYS, replace(MARKET, valuation_time=MARKET.valuation_time + 1), MODEL)


def test_integer_accounts_keep_their_order() -> None:
    book = Book.from_arrays([10, 9, 100], [2, 2, 2], [1.0, 2.0, 3.0])
    assert book.account_id.tolist() == ["9", "10", "100"]
    assert book.row_of("100") == 2
    assert book.select("9").quantity.tolist() == [2.0]


@pytest.mark.reference
def test_literature_worst_scenario_euler(report_vectors: Any) -> None:
    errors = []
    for v in literature_vectors("worst_scenario_euler"):
        pnl, positions = np.array(v["inputs"]["pnl_per_unit"]).T, v["inputs"]["positions"]
        count, scenarios = pnl.shape
        arrays = RiskArrays(
            instrument_id=np.array([f"i{n}" for n in range(count)]),
            kind=np.full(count, int(Kind.OPTION)),
            underlying_idx=np.zeros(count),
            expiry_idx=np.zeros(count),
            cash_row=np.full(count, -1),
            quantity_step=np.full(count, 0.1),
            underlying_id=np.array(["U"]),
            expiry_name=np.array(["U-X"]),
            rows=pnl * 0.1,
            value_rows=np.zeros(count),
            delta=np.zeros(count),
            notional=np.zeros(count),
            tick=None,
            scenario_set=make([f"s{n}" for n in range(scenarios)], np.zeros((scenarios, 1))),
            valuation_time=0,
            currency="USD",
            digest="",
        )
        book = Book.from_arrays(["a"] * count, np.arange(count), positions, np.zeros(count, int))
        loss, scenario = worst_loss(book, arrays)
        model = worst_case.Model(worst_case.Params(netting="joint", short_option_minimum=0.0))
        shares = [float(c.initial) for c in model.contributions(book, arrays)]
        assert scenario[0] == v["expected"]["worst_index"]
        errors.append(abs(loss[0] / v["expected"]["margin"] - 1))
        errors.append(float(np.abs(np.array(shares) - v["expected"]["contributions"]).max()))
        errors.append(float(np.abs(-arrays.pnl[:, scenario[0]] - v["expected"]["subgradient"]).max()))
    report_vectors(len(errors), max(errors))
    assert max(errors) < 1e-12
