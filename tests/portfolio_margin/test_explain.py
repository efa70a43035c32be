"""explain: from the requirement down to charge, netting set, expiry, position and scenario."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal, localcontext

import numpy as np
import pytest

from portfolio_margin import explain, margin, worst_loss
from portfolio_margin.models import worst_case
from pricing import DataError
from scenarios import revalue
from tests.portfolio_margin.books import ARRAYS, BOOK, GRID, INSTRUMENTS, MARKET, ROW, Held, book_of
from tests.portfolio_margin.test_contracts import check_tree

MODEL = worst_case.Model()


def explained(held: Held, params: worst_case.Params | None = None):  # type: ignore[no-untyped-def]
    book = book_of({"a": held})
    statement = margin(book, ARRAYS, MARKET, worst_case.Model(params or worst_case.Params()))
    explanation = explain(statement, book, ARRAYS, "a")
    check_tree(explanation, statement, "a")
    return explanation


@pytest.mark.parametrize("netting", ["joint", "per_underlying"])
@pytest.mark.parametrize("minimum", [0.0, 0.003, 0.5])
def test_every_account_adds_up_exactly(netting: str, minimum: float) -> None:
    """Also where the floor binds, and with factors that no double holds."""
    params = worst_case.Params(
        netting=netting, short_option_minimum=minimum, initial_factor=1.1, maintenance_factor=0.7
    )
    statement = margin(BOOK, ARRAYS, MARKET, worst_case.Model(params))
    bound = 0
    for account in BOOK.account_id[:40]:
        explanation = explain(statement, BOOK, ARRAYS, str(account))
        check_tree(explanation, statement, str(account))
        charges = {line.name for line in explanation.lines if line.level == "charge"}
        bound += "short_option_minimum" in charges
        assert charges <= set(statement.charges)
    fewest, most = {0.0: (0, 0), 0.003: (0, 10), 0.5: (30, 40)}[minimum]
    assert fewest <= bound <= most


def test_a_contribution_is_the_loss_in_the_worst_scenario() -> None:
    held = {"BTC-7D-68000-C": -2.0, "BTC-PERPETUAL": 100.0, "ETH-60D-2050-P": 3.0, "BTC": 0.5}
    explanation = explained(held, worst_case.Params(short_option_minimum=0.0))
    cut = MODEL.haircut(ARRAYS)
    for line in explanation.lines:
        if line.level != "position":
            continue
        row, column = ROW[line.name], GRID.label.tolist().index(line.scenario)
        loss = -held[line.name] * (1 - cut[row]) * ARRAYS.pnl[row, column]
        assert float(line.initial) == pytest.approx(loss, abs=1e-5)
        assert line.maintenance == line.initial * Decimal("0.8")
        assert line.quantity == held[line.name]


@pytest.mark.parametrize("netting", ["joint", "per_underlying"])
def test_contributions_are_the_requirement_to_the_tick(netting: str) -> None:
    """Also of balances of any decimals, whose products are rounded one by one."""
    params = worst_case.Params(netting=netting, short_option_minimum=0.0, maintenance_factor=0.7)
    loss, _ = worst_loss(BOOK, ARRAYS, netting=netting, haircut=worst_case.Model(params).haircut(ARRAYS))
    for account, lost in zip(BOOK.account_id[:60], np.rint(loss / ARRAYS.tick_size), strict=False):
        lines = worst_case.Model(params).contributions(BOOK.select(str(account)), ARRAYS)
        exact = int(lost) * Decimal("0.000001")
        assert sum(line.initial for line in lines) == exact
        assert sum(line.maintenance for line in lines) == exact * Decimal("0.7")


def test_balance_and_status_are_the_statement_s() -> None:
    need = margin(book_of({"x": {"BTC-PERPETUAL": 1_000.0}}), ARRAYS, MARKET, MODEL).initial_margin[0]
    held = {"BTC-PERPETUAL": 1_000.0, "BTC": 0.5 * need / MARKET.spot[0]}
    book = book_of({"rich": {"USD": 1e6}, "strapped": held})
    statement = margin(book, ARRAYS, MARKET, MODEL)
    explanation = explain(statement, book, ARRAYS, "strapped")
    assert explanation.margin_balance == statement.margin_balance[1] < statement.equity[1]
    assert (explanation.status, explanation.account) == ("LIQUIDATION", "strapped")


def test_large_amounts_and_long_factors_are_not_rounded() -> None:
    """Fifteen digits of ticks times sixteen of a factor: more than a double, or the usual decimal, holds."""
    params = worst_case.Params(initial_factor=1.1234567890123456, maintenance_factor=0.1234567890123456)
    held = {"BTC-PERPETUAL": -500_000_001.0, "BTC-7D-68000-C": -12_345.6, "ETH-PERPETUAL": 123_456_789.0}
    explanation = explained(held, params)
    loss, _ = worst_loss(book_of({"a": held}), ARRAYS, netting="per_underlying")
    with localcontext(prec=200):
        exact = round(loss[0] / 1e-6) * Decimal("0.000001") * Decimal(repr(params.initial_factor))
        assert sum(line.initial for line in explanation.lines if line.level == "position") == exact


def test_netting_sets_have_scenarios_of_their_own() -> None:
    explanation = explained({"BTC-PERPETUAL": -100.0, "ETH-PERPETUAL": 2_000.0})
    sets = {line.name: line.scenario for line in explanation.lines if line.level == "netting_set"}
    assert set(sets) == {"BTC", "ETH"}
    assert sets["BTC"].startswith("S+") and sets["ETH"].startswith("S-")
    # A line over several scenarios names none.
    assert [line.scenario for line in explanation.lines if line.level == "charge"] == [""]
    joint = explained({"BTC-PERPETUAL": -100.0, "ETH-PERPETUAL": 2_000.0}, worst_case.Params(netting="joint"))
    assert [line.name for line in joint.lines if line.level == "netting_set"] == ["account"]


def test_levels_stand_in_order() -> None:
    explanation = explained({"BTC-7D-68000-C": -2.0, "BTC-60D-68000-C": 1.0, "BTC": 0.5})
    levels = [line.level for line in explanation.lines]
    assert levels[:5] == ["requirement", "charge", "netting_set", "expiry", "position"]
    assert levels[-1] == "rounding"
    expiries = [line.name for line in explanation.lines if line.level == "expiry"]
    assert expiries == ["BTC-2026-03-05", "BTC-2026-04-27", "BTC-undated"]
    depth = {"requirement": 0, "charge": 1, "netting_set": 2, "expiry": 3, "position": 4, "rounding": 1}
    assert all(line.depth == depth[line.level] for line in explanation.lines)


def test_a_binding_floor_shows_what_it_adds() -> None:
    held = {"BTC-7D-95200-C": -0.4, "BTC-60D-95200-C": -0.1, "BTC-7D-40800-P": 0.3}
    explanation = explained(held, worst_case.Params(short_option_minimum=0.5))
    floor = {line.name: line for line in explanation.lines if line.level == "position"}
    notional = ARRAYS.notional[ROW["BTC-7D-95200-C"]]
    assert float(floor["BTC-7D-95200-C"].initial) == pytest.approx(0.5 * 0.4 * notional, abs=1e-5)
    assert "less scan loss" in floor
    scan = worst_loss(book_of({"a": held}), ARRAYS)[0][0]
    assert float(floor["less scan loss"].initial) == pytest.approx(-scan, abs=1e-6)


def test_without_ticks_it_adds_up_too() -> None:
    """Exact products of doubles have hundreds of digits; none is rounded on the way."""
    exact = revalue(INSTRUMENTS, MARKET, GRID, tick=None)
    for params in (worst_case.Params(), worst_case.Params(short_option_minimum=0.5, initial_factor=1.1)):
        statement = margin(BOOK, exact, MARKET, worst_case.Model(params))
        for account in BOOK.account_id[:10]:
            check_tree(explain(statement, BOOK, exact, str(account)), statement, str(account))


def test_who_needs_nothing_has_nothing_to_explain() -> None:
    for held in ({}, {"USD": 10.0}, {"BTC-PERPETUAL": 0.0}):
        explanation = explained(held)
        assert [line.level for line in explanation.lines] == ["requirement", "rounding"]
        assert all(line.initial == 0 for line in explanation.lines)


def test_the_frame_is_the_lines() -> None:
    explanation = explained({"BTC-7D-68000-C": -2.0, "BTC": 0.5})
    frame = explanation.frame()
    assert len(frame) == len(explanation.lines)
    assert frame.initial.tolist() == [line.initial for line in explanation.lines]
    assert frame.attrs["account"] == "a"
    assert (explanation.model_id, explanation.currency) == ("worst_case", "USD")


def test_another_book_or_other_arrays_are_refused() -> None:
    statement = margin(BOOK, ARRAYS, MARKET, MODEL)
    account = str(BOOK.account_id[0])
    with pytest.raises(DataError, match="initial_margin"):
        explain(statement, book_of({account: {"BTC-PERPETUAL": 12_345.0}}), ARRAYS, account)
    with pytest.raises(DataError, match="another book"):
        explain(statement, book_of({"a": {"BTC": 1.0}, account: {}}), ARRAYS, account)
    with pytest.raises(DataError, match="another book"):
        explain(statement, book_of({"zzz": {"BTC": 1.0}}), ARRAYS, "zzz")
    doubled = replace(ARRAYS, rows=ARRAYS.rows * 2)
    with pytest.raises(DataError, match="positions and arrays give"):
        explain(statement, BOOK, doubled, account)
    with pytest.raises(DataError, match="did you mean"):
        explain(statement, BOOK, ARRAYS, "account-00003")


@pytest.mark.parametrize("params", [{"initial_factor": np.float64(1.1)}, {"maintenance_factor": np.float64(0.5)}])
def test_factors_from_an_array(params: dict[str, float]) -> None:
    plain = {name: float(value) for name, value in params.items()}
    assert explained({"BTC": 1.0}, worst_case.Params(**params)) == explained({"BTC": 1.0}, worst_case.Params(**plain))


def test_a_tick_from_an_array() -> None:
    arrays = revalue(INSTRUMENTS, MARKET, GRID, tick=np.float64(1e-6))
    statement = margin(BOOK, arrays, MARKET, MODEL)
    account = str(BOOK.account_id[0])
    found = explain(statement, BOOK, arrays, account)
    assert found == explain(margin(BOOK, ARRAYS, MARKET, MODEL), BOOK, ARRAYS, account)
