"""The SPAN algorithm beside a plain-Python twin, the properties it must have, and small sums by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portfolio_margin import Book
from portfolio_margin.models import span
from portfolio_margin.span.checks import findings
from portfolio_margin.span.choices import Choices
from portfolio_margin.span.file_arrays import FileArrays, conversions, file_arrays
from portfolio_margin.span.holdings import holdings
from portfolio_margin.span.requirement import (
    AFTER_VALUE,
    CommodityRisk,
    Totals,
    commodity_risk,
    totals,
    totals_by_currency,
)
from portfolio_margin.span.rules import SpanRules, rules_of
from portfolio_margin.span.scan import scan_risk, weighted_price_risk
from portfolio_margin.span.tables import RiskParameterFile
from pricing import ConfigError, DataError
from tests.naive import span as naive
from tests.portfolio_margin.span_examples import PAIRS, Exchange, exchange_with_every_rule, future_losses

FILE = exchange_with_every_rule()
# BB states its amounts in tens.
MADE = file_arrays(FILE, apply_exponent=True)
RULES = rules_of(FILE, MADE.arrays, Choices(risk_exponent="apply"))
CONTRACTS = len(FILE.contracts)
Held = dict[int, int]
held_positions = st.dictionaries(st.integers(0, CONTRACTS - 1), st.integers(-40, 40), max_size=9)
PAIRED = np.array(PAIRS) - 1


def book_of(accounts: list[dict[int, Any]], made: FileArrays = MADE) -> Book:
    """Positions by contract of the file."""
    row_of = {int(contract): row for row, contract in enumerate(made.contract) if contract >= 0}
    names = [f"{number:04d}" for number in range(len(accounts))]
    listed = [(n, row_of[c], q) for n, held in zip(names, accounts, strict=True) for c, q in held.items()]
    name, row, quantity = (list(column) for column in zip(*listed, strict=True)) if listed else ([], [], [])
    return Book.from_arrays(np.array(name, dtype=np.str_), row, np.array(quantity, dtype=float),
                            made.arrays.expiry_idx, accounts=names)  # fmt: skip


def risk_of(
    accounts: list[dict[int, Any]], rules: SpanRules = RULES, made: FileArrays = MADE, **how: Any
) -> tuple[CommodityRisk, Totals]:
    book = book_of(accounts, made)
    ((_, _, held),) = holdings(book, made.arrays, rules, backend="numpy")
    risk = commodity_risk(rules, held, **how)
    return risk, totals(rules, risk)


def check_twin(file: RiskParameterFile, held: Held, attribution: str, exponent: bool = True) -> None:
    made = MADE if file is FILE and exponent else file_arrays(file, apply_exponent=exponent)
    rules = rules_of(file, made.arrays, Choices(risk_exponent="apply" if exponent else "none"))
    risk, total = risk_of([held], rules, made, attribution=attribution)
    account = naive.Account(
        file, {c: float(q) for c, q in held.items()}, conversions(file, "USD"), attribution, exponent
    )
    results = account.computed()
    names = ("scan", "time", "volatility", "price", "weighted_price", "net_delta", "super_credit", "intra",
             "delivery", "inter_credit", "minimum", "risk", "option_value")  # fmt: skip
    size = 1.0 + max(abs(value) for result in results.values() for value in result.values())
    for row, code in enumerate(rules.code):
        for name in names:
            ours, theirs = float(getattr(risk, name)[row, 0]), results[str(code)][name]
            assert ours == pytest.approx(theirs, abs=1e-9 * size), (code, name)
        if abs(results[str(code)]["scan"]) > 0:
            assert risk.active[row, 0] == results[str(code)]["active"]
    expected = naive.requirement(file, results, 1.0)
    assert total.requirement[0, 1] == pytest.approx(expected, abs=1e-9 * size)


@settings(max_examples=150, deadline=None)
@given(held_positions, st.sampled_from(["nearest", "proportional"]))
def test_the_algorithm_is_its_naive_twin(held: Held, attribution: str) -> None:
    check_twin(FILE, held, attribution)


@pytest.mark.parametrize("seed", range(3, 9))
def test_the_twin_agrees_on_other_exchanges_and_large_books(seed: int) -> None:
    file = exchange_with_every_rule(seed)
    random = np.random.default_rng(seed)
    held = {int(c): int(q) for c, q in enumerate(random.integers(-30, 31, len(file.contracts)))}
    check_twin(file, held, "nearest", exponent=bool(seed % 2))


@settings(max_examples=60, deadline=None)
@given(held_positions, st.integers(2, 9))
def test_a_multiple_of_an_account_needs_the_multiple(held: Held, factor: int) -> None:
    """No step exists in the algorithm: every part is positively homogeneous."""
    risk, total = risk_of([held, {c: factor * q for c, q in held.items()}])
    for name in ("scan", "intra", "delivery", "inter_credit", "super_credit", "minimum", "risk", "option_value"):
        once, scaled = getattr(risk, name).T
        np.testing.assert_allclose(scaled, factor * once, rtol=1e-9, atol=1e-6)
    np.testing.assert_allclose(total.requirement[1], factor * total.requirement[0], rtol=1e-9, atol=1e-6)


@settings(max_examples=60, deadline=None)
@given(held_positions)
def test_no_requirement_is_below_the_short_option_minimum(held: Held) -> None:
    risk, total = risk_of([held])
    assert np.all(risk.risk >= risk.minimum)
    assert np.all(risk.minimum >= 0)
    owed = np.minimum(risk.option_value, 0.0).sum()
    assert total.requirement[0, 1] >= -1e-9
    if not np.any(risk.option_value > 0):
        assert total.requirement[0, 1] >= risk.minimum.sum() - owed - 1e-6


@settings(max_examples=60, deadline=None)
@given(held_positions, st.integers(0, CONTRACTS - 1), st.integers(1, 40))
def test_offsetting_positions_scan_to_less_than_each_alone(held: Held, contract: int, size: int) -> None:
    """Scan risk is convex: what is held against itself has none, and a sum never scans to more than its parts."""
    risk, _ = risk_of([{contract: size}, {contract: -size}, held, {**held, contract: held.get(contract, 0) + size}])
    alone, against, other, together = risk.scan.T
    assert np.all(together <= alone + other + 1e-9)
    nothing, _ = risk_of([{contract: 0}])
    assert np.all(nothing.scan == 0) and np.all(nothing.risk == 0)
    half, _ = risk_of([{contract: 2 * size}, {contract: size}])
    assert np.all(half.scan[:, 1] <= half.scan[:, 0] + 1e-9)
    assert np.all(alone >= 0) and np.all(against >= 0)


@settings(max_examples=40, deadline=None)
@given(held_positions, st.randoms(use_true_random=False))
def test_the_order_of_positions_does_not_matter(held: Held, random: Any) -> None:
    items = list(held.items())
    random.shuffle(items)
    first, second = risk_of([held]), risk_of([dict(items)])
    for ours, theirs in zip((*first[0], *first[1]), (*second[0], *second[1]), strict=True):
        assert ours.tobytes() == theirs.tobytes()


@settings(max_examples=30, deadline=None)
@given(st.lists(held_positions, min_size=2, max_size=5))
def test_accounts_in_one_block_do_not_touch_each_other(accounts: list[Held]) -> None:
    together, _ = risk_of(accounts)
    for number, held in enumerate(accounts):
        alone, _ = risk_of([held])
        assert together.risk[:, number].tolist() == alone.risk[:, 0].tolist()


def test_parts_of_scan_risk_by_hand() -> None:
    """Long call: the first two scenarios mean, half the difference to the pair, the rest."""
    loss = np.array([[4.0, 8, -20, -16, 30, 34, -50, -46, 60, 70, -80, -75, 90, 110, -60, 40]])
    found = scan_risk(loss, PAIRED)
    assert (found.risk[0], found.active[0]) == (110.0, 13)
    assert (found.time[0], found.volatility[0], found.price[0]) == (6.0, 10.0, 94.0)


def test_where_every_scenario_gains() -> None:
    loss = -np.array([[4.0, 8, *([20.0] * 14)]])
    found = scan_risk(loss, PAIRED)
    assert (found.risk[0], found.time[0], found.volatility[0]) == (0.0, -6.0, 2.0)
    assert found.price[0] == 0.0 - -6.0 - 2.0


def test_the_first_of_equal_losses_is_active() -> None:
    found = scan_risk(future_losses(90.0)[None], PAIRED)
    assert (found.risk[0], found.active[0]) == (90.0, 12)
    assert found.volatility[0] == 0.0


@pytest.mark.parametrize(("method", "expected"), [(0, 25.0), (1, 20.0), (2, 20.0)])
def test_weighted_price_risk(method: int, expected: float) -> None:
    given = (np.array([100.0]), np.array([-4.0]), np.array([method]), np.array([20.0]))
    assert weighted_price_risk(*given)[0] == expected
    assert weighted_price_risk(given[0], np.array([0.0]), *given[2:])[0] == 0.0
    assert weighted_price_risk(-given[0], given[1], np.array([0]), given[3])[0] == 0.0


def two_months(method: str = "F", rate: float = 30.0, **commodity: Any) -> tuple[Exchange, int]:
    exchange = Exchange()
    row = exchange.commodity("A", **commodity)
    family = exchange.family(row, "FUT", 10.0)
    for month in ("202603", "202606"):
        exchange.future(family, month, 100.0, 80.0)
    exchange.spread("intra", [("A", 0, "A", 1), ("A", 0, "B", 1)], rate, method, commodity=row)
    return exchange, row


def risk_in(exchange: Exchange, held: dict[int, float], choices: Choices | None = None) -> CommodityRisk:
    file = exchange.built()
    made = file_arrays(file)
    return risk_of([held], rules_of(file, made.arrays, choices), made)[0]


def test_a_calendar_spread_is_charged_once() -> None:
    exchange, row = two_months()
    exchange.add("spot_rates", commodity_idx=row, rate=1, period="202603", spread=1.0, outright=2.0)
    found = risk_in(exchange, {0: 5.0, 1: -3.0})
    assert found.scan[0, 0] == 2 * 80.0
    assert found.intra[0, 0] == 3 * 30.0
    assert found.delivery[0, 0] == 3 * 1.0 + 2 * 2.0
    assert found.risk[0, 0] == 160.0 + 90.0 + 7.0


def test_a_percent_charge_needs_a_decision() -> None:
    exchange, _ = two_months("P", 1.75)
    with pytest.raises(ConfigError, match="percent"):
        risk_in(exchange, {0: 1.0})
    found = risk_in(exchange, {0: 2.0, 1: -2.0}, Choices(percent_of="far_leg_value"))
    assert found.intra[0, 0] == pytest.approx(2 * 0.0175 * 100.0 * 10.0)


def test_option_value_and_its_caps() -> None:
    """Long options of one commodity help another of the currency, unless their use is capped at their own risk."""
    for capped, expected in ((False, 80.0 + 6.0 - 25.0), (True, 80.0)):
        exchange = Exchange()
        first = exchange.commodity("A", cap_option_value=capped)
        period = exchange.period(exchange.family(first, "OOP"), "202603", 10.0)
        exchange.contract(period, np.full(16, 2.0), 0.5, 25.0 / 3, "C", 100.0)
        second = exchange.commodity("B")
        exchange.future(exchange.family(second, "FUT"), "202603", 100.0, 80.0)
        file = exchange.built()
        made = file_arrays(file)
        risk, total = risk_of([{0: 3.0, 1: 1.0}], rules_of(file, made.arrays), made)
        assert risk.risk[:, 0].tolist() == [6.0, 80.0]
        assert total.requirement[0, 1] == pytest.approx(expected)


def test_two_contracts_of_one_name_keep_both() -> None:
    exchange, row = two_months()
    again = exchange.future(exchange.family(row, "FUT", 10.0), "202603", 100.0, 50.0)
    exchange.future(exchange.family(row, "FUT", 10.0), "202609", 100.0, 40.0)
    made = file_arrays(exchange.built())
    assert [name for name in made.arrays.instrument_id.tolist() if "202603" in name] == [
        "A-FUT-202603#1", f"A-FUT-202603#{again + 1}",
    ]  # fmt: skip
    assert "A-FUT-202609" in made.arrays.instrument_id.tolist()


def test_a_physical_without_price_or_array_is_left_out() -> None:
    exchange, row = two_months()
    cash = exchange.family(row, "PHY")
    exchange.contract(exchange.period(cash, "00000S", 0.0), np.zeros(16), 1.0, np.nan)
    exchange.contract(exchange.period(cash, "00001S", 0.0), np.zeros(16), 1.0, 5.0)
    exchange.owners.pop(), exchange.losses.pop(), exchange.deltas.pop()
    file = exchange.built()
    assert findings(file) == []
    made = file_arrays(file)
    assert set(made.left_out) == {"A-PHY-00000S", "A-PHY-00001S"}
    assert len(made.arrays) == 3


def test_a_file_without_scenarios_is_refused() -> None:
    exchange, _ = two_months()
    for column in exchange.rows["scan_points"].columns.values():
        del column[:]
    exchange.rows["scan_points"].places.clear()
    with pytest.raises(DataError, match="no scenarios"):
        file_arrays(exchange.built())


def test_tiers_for_scanning_add_up() -> None:
    """Long the near against short the far month: no risk together, both scan ranges apart."""
    exchange, row = two_months()
    exchange.add("tiers", commodity_idx=row, purpose="scan", number=1, start="202603", end="202603")
    exchange.add("tiers", commodity_idx=row, purpose="scan", number=2, start="202606", end="202612")
    held = {0: 5.0, 1: -3.0}
    assert risk_in(exchange, held).scan[0, 0] == 8 * 80.0
    assert risk_in(exchange, held, Choices(scan_tiers="together")).scan[0, 0] == 2 * 80.0
    file = exchange.built()
    made = file_arrays(file)
    model = span.Model(file=file)
    lines = [line for line in model.contributions(book_of([held], made), made.arrays) if line.charge == "scan"]
    assert [(line.scenario, float(line.initial)) for line in lines] == [("SPAN-13", 400.0), ("SPAN-11", 240.0)]


def test_caps_of_option_value_by_choice() -> None:
    for choice, expected in (("file", FILE.commodities.cap_option_value.tolist()), ("always", [True] * 4),
                             ("never", [False] * 4)):  # fmt: skip
        rules = rules_of(FILE, MADE.arrays, Choices(option_value_cap=choice))
        assert rules.cap_option_value.tolist() == expected


def test_amounts_rounded_to_whole_money() -> None:
    """Scan risk and every spread by themselves, halves up."""
    exchange, _ = two_months("F", 30.25)
    file = exchange.built()
    made = file_arrays(file)
    rules = rules_of(file, made.arrays)
    exact, _ = risk_of([{0: 5.0, 1: -2.0}], rules, made)
    whole, _ = risk_of([{0: 5.0, 1: -2.0}], rules, made, rounding_unit=1.0)
    assert (exact.intra[0, 0], whole.intra[0, 0]) == (60.5, 61.0)
    tens, _ = risk_of([{0: 5.0, 1: -2.0}], rules, made, rounding_unit=100.0)
    assert (tens.scan[0, 0], tens.intra[0, 0]) == (200.0, 100.0)


def test_a_period_by_its_code_before_those_that_begin_with_it() -> None:
    exchange = Exchange()
    row = exchange.commodity("A")
    family = exchange.family(row, "FUT", 10.0)
    for month in ("202603", "20260315", "202606"):
        exchange.future(family, month, 100.0, 80.0)
    exchange.spread("intra", [("A", "202603", "A", 1), ("A", "202606", "B", 1)], 30.0, commodity=row)
    assert risk_in(exchange, {1: 5.0, 2: -5.0}).intra[0, 0] == 0.0
    assert risk_in(exchange, {0: 5.0, 2: -5.0}).intra[0, 0] == 150.0


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"haircut_by_asset": {"USD": 2.0}}, "haircut_by_asset"),
        ({"exposure_by_commodity": {"A": -0.1}}, "exposure_by_commodity"),
        ({"exposure_by_commodity": 3}, "exposure_by_commodity"),
        ({"attribution": "furthest"}, "attribution"),
        ({"account_type": "a long text"}, "account_type"),
        ({"price_scan": 0.31}, "price_scan"),
        ({"rounding_unit": -1.0}, "rounding_unit"),
    ],
)
def test_parameters_that_are_refused(change: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        span.Params(**change)


def test_currencies_do_not_help_each_other() -> None:
    """Long options in euros leave what is required in dollars as it is."""
    euros = [row for row, c in enumerate(FILE.contracts.contract_id) if FILE.contracts.right[row] and
             FILE.families.currency[FILE.periods.family_idx[FILE.contracts.period_idx[row]]] == "EUR"]  # fmt: skip
    future = next(row for row in range(CONTRACTS) if FILE.contracts.right[row] == "")
    risk, total = risk_of([{future: 10}, {future: 10, euros[0]: 10_000}])
    groups = totals_by_currency(RULES, risk)
    assert set(groups) == {"USD", "EUR"}
    dollars = groups["USD"].requirement
    assert dollars[0].tolist() == dollars[1].tolist()
    other = groups["EUR"]
    assert other.option_value[1, 0] > 0
    np.testing.assert_allclose(other.requirement[1], np.maximum(other.risk[1] - other.option_value[1], 0.0))
    np.testing.assert_allclose(sum(group.requirement for group in groups.values()), total.requirement)


def test_levels_of_the_file() -> None:
    """Initial margin by a chain of adjustments, and a single factor that is maintenance or both."""
    exchange, row = two_months()
    exchange.level(2, maintenance=False)
    exchange.add("adjustments", commodity_idx=row, rate=1, base_rate=1, factor=0.9)
    exchange.add("adjustments", commodity_idx=row, rate=2, base_rate=1, factor=1.35)
    file = exchange.built()
    rules = rules_of(file, file_arrays(file).arrays)
    assert rules.factors[0] == pytest.approx([0.9 * 1.35, 0.9])
    alone, row = two_months()
    alone.add("adjustments", commodity_idx=row, rate=1, base_rate=1, factor=0.75)
    file = alone.built()
    made = file_arrays(file)
    assert rules_of(file, made.arrays).factors[0].tolist() == [1.0, 0.75]
    assert rules_of(file, made.arrays, Choices(adjustment="both")).factors[0].tolist() == [0.75, 0.75]
    with pytest.raises(ConfigError, match="account_type"):
        rules_of(file, made.arrays, Choices(account_type="S"))


def test_the_initial_ratio_before_or_after_option_value() -> None:
    exchange, row = two_months()
    exchange.level(2, maintenance=False)
    exchange.add("adjustments", commodity_idx=row, rate=2, base_rate=1, factor=1.5)
    period = exchange.period(exchange.family(row, "OOP"), "202603", 10.0)
    exchange.contract(period, np.full(16, 2.0), 0.5, 20.0, "C", 100.0)
    file = exchange.built()
    made = file_arrays(file)
    rules = rules_of(file, made.arrays)
    book = book_of([{0: 1.0, 2: 1.0}], made)
    ((_, _, held),) = holdings(book, made.arrays, rules)
    risk = commodity_risk(rules, held)
    assert risk.risk[0, 0] == 82.0
    assert totals(rules, risk).requirement[0].tolist() == [103.0, 62.0]
    small = held._replace(option_value=np.array([[20.0]]))
    risk = commodity_risk(rules, small)
    assert totals(rules, risk).requirement[0].tolist() == [82.0 * 1.5 - 20.0, 82.0 - 20.0]
    assert totals(rules, risk, initial_ratio=AFTER_VALUE).requirement[0].tolist() == [62.0 * 1.5, 62.0]


def test_statement_and_span_requirement_leave_the_same_excess() -> None:
    """Equity holds the option value, so the model requires it on top of what SPAN requires."""
    model = span.Model(span.Params(risk_exponent="apply"), file=FILE)
    random = np.random.default_rng(0)
    accounts = [{int(c): int(q) for c, q in zip(random.permutation(CONTRACTS)[:8], random.integers(-9, 10, 8),
                                                 strict=True)} for _ in range(40)]  # fmt: skip
    _, total = risk_of(accounts)
    required = model.requirement(book_of(accounts), MADE.arrays)
    expected = np.maximum(total.requirement + total.option_value, 0.0)
    np.testing.assert_allclose(required.maintenance, expected[:, 1], atol=1e-5)
    np.testing.assert_allclose(required.initial, expected[:, 0], atol=1e-5)
    prepared = model.for_arrays(MADE.arrays).requirement(book_of(accounts), MADE.arrays)
    assert prepared.initial.tobytes() == required.initial.tobytes()
