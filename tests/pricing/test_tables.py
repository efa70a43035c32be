"""Instruments and Market: frozen, checked at construction, every bad row named."""

from __future__ import annotations

import math
from dataclasses import FrozenInstanceError, fields, replace
from typing import Any

import numpy as np
import pytest

from pricing import DataError, Exercise, Instruments, Kind, Market, MarketLimits, Payoff, price, resolve
from pricing import arrays as limits
from pricing.arrays import freeze
from pricing.errors import PROBLEMS_SHOWN, Problem
from tests.examples import market_and_instruments

INSTRUMENTS, MARKET = market_and_instruments(strikes=3)
OPTION = int(np.flatnonzero(INSTRUMENTS.is_option)[0])
CASH = INSTRUMENTS.index_of()["USD"]


def refused(table: Instruments | Market, **change: Any) -> list[Problem]:
    with pytest.raises(DataError) as caught:
        replace(table, **change)
    assert all(problem.field and problem.remedy for problem in caught.value.problems)
    return list(caught.value.problems)


def with_row(values: np.ndarray, row: int, value: Any) -> np.ndarray:
    changed = values.astype(np.result_type(values, type(value)) if values.dtype.kind in "if" else values.dtype)
    changed[row] = value
    return changed


@pytest.mark.parametrize("table", [INSTRUMENTS, MARKET], ids=["instruments", "market"])
def test_tables_are_frozen(table: Instruments | Market) -> None:
    for field in fields(table):
        value = getattr(table, field.name)
        with pytest.raises(FrozenInstanceError):
            setattr(table, field.name, value)
        if isinstance(value, np.ndarray):
            assert value.flags.c_contiguous
            with pytest.raises(ValueError, match="read-only"):
                value[...] = value


def test_a_table_does_not_follow_its_source() -> None:
    spot = np.array([68_000.0, 2_050.0])
    market = replace(MARKET, spot=spot)
    spot[0] = 1.0
    assert market.spot[0] == 68_000.0
    base = np.arange(10.0)
    view = freeze(base[2:4], np.float64)
    base[:] = -1.0
    assert view.tolist() == [2.0, 3.0]


def test_frozen_arrays_have_the_layout_of_kernels() -> None:
    column = freeze(np.asfortranarray(np.arange(6, dtype=np.int32).reshape(2, 3)), np.float64)
    assert column.dtype == np.float64
    assert column.flags.c_contiguous
    assert not column.flags.writeable


@pytest.mark.parametrize(
    ("field", "row", "value"),
    [
        ("kind", OPTION, 9),
        ("kind", OPTION, -1),
        ("payoff", OPTION, 2),
        ("exercise", OPTION, 3),
        ("strike", OPTION, math.nan),
        ("strike", OPTION, 0.0),
        ("strike", OPTION, -5.0),
        ("strike", OPTION, math.inf),
        ("sign", OPTION, 0.0),
        ("sign", OPTION, math.nan),
        ("multiplier", OPTION, 0.0),
        ("multiplier", OPTION, math.inf),
        ("quantity_step", OPTION, 0.0),
        ("quantity_step", OPTION, math.nan),
        ("expiry_idx", OPTION, -1),
        ("underlying_idx", OPTION, -1),
        ("currency_idx", CASH, -1),
    ],
)
def test_bad_terms_are_named(field: str, row: int, value: float) -> None:
    problems = refused(INSTRUMENTS, **{field: with_row(getattr(INSTRUMENTS, field), row, value)})
    assert [(p.file, p.row, p.field) for p in problems] == [("instruments", INSTRUMENTS.instrument_id[row], field)]


def test_every_bad_row_is_listed_at_once() -> None:
    strike = INSTRUMENTS.strike.copy()
    strike[INSTRUMENTS.is_option] = math.nan
    step = np.zeros(len(INSTRUMENTS))
    problems = refused(INSTRUMENTS, strike=strike, quantity_step=step)
    assert sum(p.field == "strike" for p in problems) == INSTRUMENTS.is_option.sum()
    assert sum(p.field == "quantity_step" for p in problems) == len(INSTRUMENTS)


def test_a_long_list_is_cut_and_counted() -> None:
    many = [Problem("f", row, "x", 1.0, "y") for row in range(PROBLEMS_SHOWN + 7)]
    error = DataError(many)
    assert len(error.problems) == PROBLEMS_SHOWN + 7
    assert str(error).splitlines()[-1] == "... and 7 more with x: y"
    assert str(error).splitlines()[0] == "f, row 0, x = 1.0: y"
    assert str(DataError(many[:PROBLEMS_SHOWN])).splitlines() == [str(problem) for problem in many[:PROBLEMS_SHOWN]]


def test_a_long_list_hides_no_kind() -> None:
    many = [Problem("f", row, "x", row, f"unknown; did you mean {row}?") for row in range(300)]
    rare = [Problem("f", row, "x", "NOPE", f"account 'a{row}' has it in row {row}") for row in range(300, 305)]
    last = [Problem("f", 305, "y", None, "missing")]
    lines = str(DataError([*many, *rare, *last])).splitlines()
    shown = [line for line in lines if not line.startswith("...")]
    assert len(shown) == PROBLEMS_SHOWN
    assert sum("has it" in line for line in shown) == 3 and str(last[0]) in shown
    assert lines[PROBLEMS_SHOWN:] == [
        f"... and {300 - PROBLEMS_SHOWN + 4} more with x: unknown",
        "... and 2 more with x: account ... has it in row ...",
    ]
    kinds = [Problem("f", row, f"field-{row // 4}", 1, "bad") for row in range(4 * 100)]
    lines = str(DataError(kinds)).splitlines()
    assert lines[:3] == [str(problem) for problem in kinds[:3]]
    assert len(lines) == 300 + 100


def test_a_name_listed_twice_is_named_once() -> None:
    names = INSTRUMENTS.instrument_id.copy()
    names[[3, 4, 5]] = names[6]
    (problem,) = refused(INSTRUMENTS, instrument_id=names)
    assert (problem.field, problem.row) == ("instrument_id", names[6])


@pytest.mark.parametrize("field", [f.name for f in fields(Instruments)])
def test_columns_have_one_length(field: str) -> None:
    (problem,) = refused(INSTRUMENTS, **{field: getattr(INSTRUMENTS, field)[:-1]})
    assert "shape" in problem.remedy


def test_limits_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pricing.instruments.MAX_INSTRUMENTS", len(INSTRUMENTS) - 1)
    monkeypatch.setattr("pricing.market.MAX_EXPIRIES", len(MARKET.forward) - 1)
    assert "at most" in refused(INSTRUMENTS)[0].remedy
    assert "at most" in refused(MARKET)[0].remedy
    assert (limits.MAX_INSTRUMENTS, limits.MAX_EXPIRIES) == (200_000, 4_096)


def test_kinds_of_contracts() -> None:
    row = INSTRUMENTS.index_of()
    assert INSTRUMENTS.is_settled[row["BTC-PERPETUAL"]]
    assert INSTRUMENTS.is_settled[row["BTC-60D"]]
    assert INSTRUMENTS.is_collateral[[row["USD"], row["BTC"], row["ETH"]]].all()
    assert (INSTRUMENTS.is_option.sum(), INSTRUMENTS.is_collateral.sum(), INSTRUMENTS.is_settled.sum()) == (24, 3, 4)
    assert (Kind.CASH, Kind.OPTION, Payoff.INVERSE, Exercise.AMERICAN) == (0, 4, 1, 1)


@pytest.mark.parametrize(
    ("field", "row", "value", "name"),
    [
        ("spot", 1, math.nan, "ETH"),
        ("spot", 0, 0.0, "BTC"),
        ("spot", 0, math.inf, "BTC"),
        ("forward", 2, -1.0, "BTC-undated"),
        ("forward", 0, math.nan, "BTC-2026-03-05"),
        ("discount", 1, 0.0, "BTC-2026-04-27"),
        ("discount", 1, math.inf, "BTC-2026-04-27"),
        ("fx", 2, math.nan, "ETH"),
        ("fx", 1, -3.0, "BTC"),
        ("mark_vol", 4, -0.1, 4),
        ("mark_vol", 4, math.inf, 4),
        ("currency_underlying", 1, 2, "BTC"),
        ("currency_underlying", 1, -3, "BTC"),
        ("expiry_underlying", 5, 2, "5"),
        ("svi", 0, [math.nan, 0.1, 0.0, 0.0, 0.1], "BTC-2026-03-05"),
        ("svi", 2, [math.nan, math.nan, math.nan, math.nan, 0.1], "BTC-undated"),
        ("svi", 0, [math.inf, 0.1, 0.0, 0.0, 0.1], "BTC-2026-03-05"),
    ],
)
def test_bad_market_rows_are_named(field: str, row: int, value: Any, name: Any) -> None:
    changed = getattr(MARKET, field).copy()
    changed[row] = value
    problems = {(p.file, p.field, p.row) for p in refused(MARKET, **{field: changed})}
    assert ("market", field, name) in problems
    # Of a coin whose spot or fx is wrong it is also said that the two contradict each other.
    assert problems <= {("market", field, name), ("market", "fx", name)}


def test_rows_of_one_underlying_stand_together() -> None:
    (problem,) = refused(MARKET, expiry_underlying=[0, 1, 0, 1, 1, 1])
    assert "sort" in problem.remedy


def test_the_margin_currency_comes_first() -> None:
    (problem,) = refused(MARKET, fx=np.array([1.1, 68_000.0, 2_050.0]))
    assert (problem.field, problem.row) == ("fx", 0)


@pytest.mark.parametrize(
    "field", ["spot", "expiry_underlying", "expiry_time", "discount", "svi", "fx", "currency_underlying"]
)
def test_market_columns_have_one_length(field: str) -> None:
    problems = refused(MARKET, **{field: getattr(MARKET, field)[:-1]})
    assert [(p.field, "shape" in p.remedy) for p in problems] == [(field, True)]


FX = np.array([1.0, 68_000.0, 2_050.0])


def test_a_coin_has_the_price_of_its_underlying_unless_another_is_declared() -> None:
    staked = with_row(FX, 2, 2_460.0)
    (problem,) = refused(MARKET, fx=staked)
    assert (problem.field, problem.row) == ("fx", "ETH") and "fx_basis_limit" in problem.remedy
    declared = replace(MARKET, fx=staked, fx_basis_limit=[0.01, 0.01, 0.25])
    assert declared.fx[2] == 2_460.0
    # What is declared holds for one currency and up to its limit only.
    for change in ({"fx": with_row(staked, 1, 69_000.0)}, {"fx": with_row(staked, 2, 2_600.0)}):
        (problem,) = refused(declared, **change)
        assert problem.field == "fx"
    assert replace(MARKET, fx=with_row(FX, 2, 1e-6), fx_basis_limit=[0.0, 0.0, np.inf]).fx[2] == 1e-6
    for limit in (-0.1, np.nan):
        assert {p.field for p in refused(MARKET, fx_basis_limit=with_row(np.full(3, 0.01), 1, limit))} == {
            "fx_basis_limit"
        }


def test_a_declaration_changes_no_digest() -> None:
    assert [p.field for p in refused(MARKET, fx_basis_limit=[0.1, 0.1])] == ["fx_basis_limit"]
    declared = replace(MARKET, fx_basis_limit=[0.1, 0.1, np.inf], limits=MarketLimits(max_vol=20.0))
    assert declared.digest == MARKET.digest
    fewer = replace(MARKET, currency_id=["USD"], fx=[1.0], currency_underlying=[-1])
    assert len(fewer.fx_basis_limit) == 1


@pytest.mark.parametrize(
    ("limit", "field", "row", "value"),
    [
        ("undated_slack", "forward", 2, 34_000.0),
        ("carry_slack", "forward", 0, 34_000.0),
        ("max_rate", "forward", 1, 200_000.0),
        ("carry_slack", "discount", 0, 0.3),
        ("max_discount", "discount", 1, 2.5),
        ("max_vol", "mark_vol", OPTION, 3_247.0),
        ("max_vol", "svi", 1, (50.0, 0.0, 0.0, 0.0, 0.1)),
    ],
)
@pytest.mark.parametrize("wide", [1e6, math.inf])
def test_a_declared_limit_admits_what_the_usual_one_refuses(
    limit: str, field: str, row: int, value: Any, wide: float
) -> None:
    change = {field: getattr(MARKET, field).copy()}
    change[field][row] = value
    assert {problem.field for problem in refused(MARKET, **change)} == {field}
    others = {"max_rate": 1e6} if limit == "max_discount" else {}
    market = replace(MARKET, **change, limits=MarketLimits(**{limit: wide}, **others))
    assert np.all(getattr(market, field)[row] == value)


def test_a_live_option_without_vol_is_admitted_where_declared() -> None:
    """A venue that takes a vol of 0 prices at what exercise pays; a vol of 0.1 % is admitted by the same limit."""
    low = MarketLimits(min_vol=0.0)
    assert {p.field for p in refused(MARKET, mark_vol=with_row(MARKET.mark_vol, OPTION, 0.001))} == {"mark_vol"}
    assert replace(MARKET, mark_vol=with_row(MARKET.mark_vol, OPTION, 0.001), limits=low).mark_vol[OPTION] == 0.001
    without = replace(MARKET, mark_vol=with_row(MARKET.mark_vol, OPTION, 0.0))
    with pytest.raises(DataError, match="live option"):
        resolve(INSTRUMENTS, without)
    inputs = resolve(INSTRUMENTS, replace(without, limits=low))
    assert inputs.vol[OPTION] == 0.0
    forward, strike = inputs.forward[OPTION], inputs.strike[OPTION]
    for backend in ("numpy", "numba", "jax"):
        found = price(forward, strike, inputs.tau[OPTION], 0.0, inputs.sign[OPTION], backend=backend)
        assert found == pytest.approx(max(inputs.sign[OPTION] * (forward - strike), 0.0))


def test_limits_are_numbers_above_0() -> None:
    for value in (0.0, -1.0, math.nan, "wide", True):
        with pytest.raises(DataError, match="max_vol"):
            MarketLimits(max_vol=value)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="0 or more"):
        MarketLimits(min_vol=-0.1)
    assert {problem.field for problem in refused(MARKET, limits=2.0)} == {"limits"}


def test_an_expiry_is_named_for_people() -> None:
    assert MARKET.expiry_name[:3] == ["BTC-2026-03-05", "BTC-2026-04-27", "BTC-undated"]
