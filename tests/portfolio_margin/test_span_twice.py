"""What stands twice in a risk parameter file, and array values that contradict each other: refused with their place."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from portfolio_margin.io.span_file import read_span_file
from portfolio_margin.io.span_write import spn_bytes
from portfolio_margin.span.array_shapes import misshapen
from portfolio_margin.span.checks import findings
from portfolio_margin.span.file_arrays import file_arrays
from portfolio_margin.span.tables import RiskParameterFile
from pricing import DataError, price
from tests.portfolio_margin.pa2_example import lines
from tests.portfolio_margin.span_examples import (
    MOVES,
    VOLS,
    WEIGHTS,
    Exchange,
    exchange_with_every_rule,
    future_losses,
    option_losses,
)
from tests.portfolio_margin.test_span_bounds import refused
from tests.vectors import data_file

EVERY = spn_bytes(exchange_with_every_rule()).decode()


def twice(tag: str, renumbered: bool = False, zeros: bool = True) -> Callable[[str], str]:
    """The first element of a tag twice, the second one without losses, and with another number."""

    def change(text: str) -> str:
        found = re.search(rf"<{tag}>.*?</{tag}>", text, re.DOTALL)
        assert found
        second = re.sub(r"<a>[^<]*</a>", "<a>0</a>", found[0]) if zeros else found[0]
        if renumbered:
            second = re.sub(r"(<(?:opt|fut)><cId>)", r"\g<1>9", second)
        return text[: found.end()] + second + text[found.end() :]

    return change


@pytest.mark.parametrize(
    ("tag", "renumbered", "said"),
    [
        ("opt", False, "contract number = 5: a second contract of this number"),
        ("opt", True, "strike = 90.0: a second contract of these terms"),
        ("fut", False, "period = '202603': a second period of this code"),
        ("fut", True, "period = '202603': a second period of this code"),
        ("series", False, "period = '202605': a second period of this code"),
        ("series", True, "period = '202605': a second period of this code"),
        ("curConv", False, "currency conversion = 'EUR': a second one"),
        ("deltaPointDef", False, "point = 1: a second one"),
    ],
)
def test_of_two_that_are_alike_none_counts(tag: str, renumbered: bool, said: str, tmp_path: Path) -> None:
    line = refused(twice(tag, renumbered)(EVERY), tmp_path)
    assert said in line
    assert re.search(r"line \d+, byte \d+, spanFile/pointInTime/clearingOrg", line)
    assert tag in line or said.endswith("one")


@pytest.mark.parametrize("first", ["FUT", "OOF"])
def test_a_contract_twice_in_a_positional_file(first: str, tmp_path: Path) -> None:
    rows = lines()
    place = next(n for n, row in enumerate(rows) if row[:2] == "81" and row[25:28] == first)
    rows[place + 2 : place + 2] = rows[place : place + 2]
    assert "a second contract of these terms" in (line := refused("\n".join([*rows, ""]), tmp_path, "x.pa2"))
    assert f"line {place + 3}" in line or f"line {place + 4}" in line


def test_a_contract_twice_in_tables_made_by_hand() -> None:
    exchange = Exchange()
    family = exchange.family(exchange.commodity("A"), "OOP")
    period = exchange.period(family, "202603", 10.0)
    for losses in (option_losses(10.0, 0.5, 1.0), np.zeros(16)):
        exchange.contract(period, losses, 0.5, 1.0, "C", 100.0)
    with pytest.raises(DataError, match=r"SPAN file, row 2, strike = 100.0: a second contract of these terms"):
        file_arrays(exchange.built())


def test_what_is_alike_in_name_only_may_stand_twice() -> None:
    """An adjusted contract of the same strike delivers another amount."""
    exchange = Exchange()
    family = exchange.family(exchange.commodity("A"), "OOP")
    for factor in (100.0, 103.0):
        period = exchange.period(family, "202603", 10.0, contract_value_factor=factor)
        exchange.contract(period, option_losses(10.0, 0.5, 1.0), 0.5, 1.0, "C", 100.0)
    assert findings(exchange.built()) == []


def one_contract(
    kind: str, losses: np.ndarray, price_scan: float, right: str = "", **values: float
) -> RiskParameterFile:
    exchange = Exchange()
    family = exchange.family(exchange.commodity("A"), "FUT" if kind == "FUT" else "OOP")
    period = exchange.period(family, "202603", price_scan)
    exchange.contract(period, losses, -0.5 if right == "P" else 0.5, 5.0, right, 100.0 if right else np.nan)
    return exchange.built()


@pytest.mark.parametrize("scenario", range(16))
@pytest.mark.parametrize("right", ["C", "P"])
def test_every_value_of_an_option_is_bound_by_the_others(right: str, scenario: int) -> None:
    """One value far off, to either side, in an array that is sound by Black-Scholes."""
    price_scan, sign = 12.0, 1.0 if right == "C" else -1.0
    now = price(100.0, 100.0, 0.1, 0.3, sign)
    then = price(100.0 + MOVES * price_scan, 100.0, 0.09, 0.3 * (1 + 0.28 * VOLS), sign)
    losses = np.round((now - then) * WEIGHTS, 6)
    assert misshapen(one_contract("OOP", losses, price_scan, right)) == []
    for off in (-1e7, -2.5 * price_scan, 2.5 * price_scan, 1e9):
        broken = losses.copy()
        broken[scenario] += off
        (found,) = misshapen(one_contract("OOP", broken, price_scan, right))
        assert (found.row, found.scenario) == (0, scenario + 1)
        assert found.value == pytest.approx(broken[scenario])


@pytest.mark.parametrize("scenario", range(16))
def test_every_value_of_a_future_is_bound_by_the_others(scenario: int) -> None:
    for off in (-1e7, -1.0, 1.0, 1e9):
        losses = future_losses(10.0)
        losses[scenario] += 10.0 * off
        (found,) = misshapen(one_contract("FUT", losses, 10.0))
        assert found.scenario == scenario + 1


def test_values_that_are_rounded_are_sound() -> None:
    """To whole money of a scan range of three: a third of what it moves is what rounding takes."""
    for scan in (2.0, 3.0, 5.0):
        assert misshapen(one_contract("FUT", np.round(future_losses(scan)), scan)) == []
        for delta in (0.05, 0.3, 0.5, 0.97):
            assert misshapen(one_contract("OOP", np.round(option_losses(scan, delta, 0.3)), scan, "C")) == []


def test_without_a_scan_range_the_order_is_left() -> None:
    losses = option_losses(10.0, 0.5, 1.0)
    assert misshapen(one_contract("OOP", losses, 0.0, "C")) == []
    losses[10], losses[12] = losses[12], losses[10]
    assert misshapen(one_contract("OOP", losses, 0.0, "C"))


@pytest.mark.data
@pytest.mark.parametrize("value", ["1e9", "-1e7", "260"])
def test_wrong_digits_in_the_genuine_file(value: str, tmp_path: Path) -> None:
    """The first option of the file is worth 163 and moves by 90."""
    genuine = data_file("span/takasbank_20160517.spn.gz")
    assert misshapen(read_span_file(genuine)[0]) == []
    path = tmp_path / "x.spn"
    text = gzip.decompress(genuine.read_bytes()).decode("latin-1")
    place = text.index("<a>", text.index("<opt>")) + 3
    path.write_text(text[:place] + value + text[text.index("<", place) :], encoding="latin-1")
    with pytest.raises(DataError, match=rf"opt/ra/a, .*, array value 1 = {float(value)}: contradicts the other values"):
        read_span_file(path)


@pytest.mark.data
def test_a_genuine_array_that_time_moves_as_well() -> None:
    """NSE's NIFTY future gains 8.72 by two days passing, and moves by 1.0007 of its scan range."""
    cases = json.loads(data_file("span/span_expected_values.json").read_text())
    case = next(value for key, value in cases.items() if key.startswith("nse_nifty_future"))
    losses = np.array(case["risk_array_inr_per_unit_long_loss_positive"])
    assert misshapen(one_contract("FUT", losses, case["price_scan"])) == []
    losses[4] = -losses[4]
    assert misshapen(one_contract("FUT", losses, case["price_scan"]))[0].scenario == 5
