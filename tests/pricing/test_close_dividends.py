"""Calls and puts with several large dividends close to each other: a dense grid, and what must hold."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest

from pricing import dividend_induction, price
from pricing.dividends import CONVENTIONS, american_with_dividends
from tests.naive.dividends import call_with_dividends, put_with_dividends

DAY, MINUTE = 1.0 / 365.0, 1.0 / 525_600.0
STRIKES = np.linspace(60.0, 150.0, 10)


class Case(NamedTuple):
    tau: float
    vol: float
    rate: float
    dates: np.ndarray
    amounts: np.ndarray


# Of the first a wrong range made 1 of 16 in dividends, of the second a price that rises with the strike.
CASES = [
    Case(10 * DAY, 0.2, 0.04, np.array([8.0, 9.0]) * DAY, np.array([1.0, 15.0])),
    Case(0.25, 0.10, 0.04, np.array([30.0, 60.0, 90.0]) * DAY, np.array([1.0, 1.0, 1.0])),
    Case(1.0, 0.047, 0.01, np.array([0.0559, 0.0701, 0.8281]), np.array([6.683, 10.803, 3.522])),
    Case(0.1, 0.178, 0.04, np.array([0.0123, 0.0150, 0.0634]), np.array([3.366, 1.287, 8.459])),
]


def drawn(count: int, seed: int) -> list[Case]:
    """Two to four dividends of 0.2 to 15 on a spot of 100, some a day, an hour or a minute apart, vols of 3-50 %."""
    random, cases = np.random.default_rng(seed), []
    for _ in range(count):
        tau, several = random.choice([10 * DAY, 0.1, 0.3, 1.0, 2.0]), random.integers(2, 5)
        dates = np.sort(random.uniform(0.02, 0.95, several)) * tau
        if random.random() < 0.4:
            dates[1] = dates[0] + random.choice([DAY / 2, DAY / 24, MINUTE])
        amounts, vol = np.exp(random.uniform(np.log(0.2), np.log(15.0), several)), random.uniform(np.log(0.03), -0.7)
        cases.append(Case(tau, float(np.exp(vol)), random.choice([0.0, 0.01, 0.04, 0.08]), np.sort(dates), amounts))
    return cases


def values(case: Case, convention: str = "escrowed", sign: int = 1, **change: float) -> dict[str, np.ndarray]:
    terms = {"spot": 100.0, "vol": case.vol} | change
    return american_with_dividends(
        terms["spot"], STRIKES, case.tau, terms["vol"], sign, case.rate, case.dates, case.amounts, convention=convention
    )


def escrowed_european(case: Case, sign: int) -> np.ndarray:
    worth = float(np.sum(case.amounts * np.exp(-case.rate * case.dates)))
    discount = np.exp(-case.rate * case.tau)
    return price((100.0 - worth) / discount, STRIKES, case.tau, case.vol, sign, discount)


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_calls_against_a_dense_grid(convention: str) -> None:
    for case in CASES[:2] + drawn(2, seed=2):
        ours = values(case, convention)["price"]
        pairs = list(zip(case.dates.tolist(), case.amounts.tolist(), strict=True))
        for n in (4, 6):
            terms = (100.0, float(STRIKES[n]), case.tau, case.vol, case.rate, pairs, convention == "escrowed")
            assert ours[n] == pytest.approx(call_with_dividends(*terms), abs=1e-3), (case, STRIKES[n])


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_what_must_hold_of_calls(convention: str) -> None:
    for case in CASES + drawn(3, seed=5):
        ours = values(case, convention)
        paid, delta = ours["price"], ours["delta"]
        assert np.all(paid >= 0.0)
        assert np.all(paid >= 100.0 - STRIKES - 1e-6)
        assert np.diff(paid).max() < 1e-6, case
        assert np.diff(paid, 2).min() > -1e-6, case
        assert -1e-7 < delta.min() <= delta.max() < 1.0 + 1e-7, case
        assert np.all(values(case, convention, vol=1.1 * case.vol)["price"] >= paid - 1e-6), case
        if convention == "escrowed":
            assert np.all(paid >= escrowed_european(case, 1) - 1e-6), case
            assert np.all(
                paid
                <= price(
                    100.0 * np.exp(case.rate * case.tau), STRIKES, case.tau, case.vol, 1, np.exp(-case.rate * case.tau)
                )
                + 1e-6
            ), case
        step = 0.02
        up, down = (values(case, convention, spot=100.0 + move)["price"] for move in (step, -step))
        assert delta == pytest.approx((up - down) / (2.0 * step), abs=0.02), case


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_finer_changes_little(convention: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """1e-8 of the spot where dividends are days apart, or less."""
    cases = CASES
    ours = [values(case, convention)["price"] for case in cases]
    finer = {"FEWEST_TERMS": 96, "TERMS_A_DEVIATION": 2.0, "MOST_TERMS": 512, "SMOOTH_POINTS": 72, "BEND_POINTS": 48}
    for name, value in finer.items():
        monkeypatch.setattr(dividend_induction, name, value)
    monkeypatch.setattr(dividend_induction, "FAR", 8.2)
    for case, before in zip(cases, ours, strict=True):
        assert values(case, convention)["price"] == pytest.approx(before, abs=1e-8 * 100), case


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("vol", [0.1, 0.4])
def test_one_dividend_is_two_a_minute_apart(sign: int, vol: float) -> None:
    one = Case(0.5, vol, 0.04, np.array([0.3]), np.array([6.0]))
    two = one._replace(dates=np.array([0.3 - MINUTE, 0.3]), amounts=np.array([2.0, 4.0]))
    # A minute's interest on the strike, and less.
    assert values(two, sign=sign)["price"] == pytest.approx(values(one, sign=sign)["price"], abs=3e-5)


def test_puts() -> None:
    """The same of puts: a tree, and what must hold."""
    for place, case in enumerate(CASES + drawn(4, seed=3)):
        ours = values(case, sign=-1)
        paid, delta = ours["price"], ours["delta"]
        assert np.all(paid >= np.maximum(STRIKES - 100.0, escrowed_european(case, -1)) - 1e-5), case
        assert np.diff(paid).min() > -1e-5, case
        assert np.diff(paid, 2).min() > -1e-5, case
        assert -1.0 - 1e-7 <= delta.min() <= delta.max() <= 1e-7, case
        assert np.all(values(case, sign=-1, vol=1.1 * case.vol)["price"] >= paid - 1e-5), case
        if place < 2:
            pairs = list(zip(case.dates.tolist(), case.amounts.tolist(), strict=True))
            tree = put_with_dividends(100.0, 100.0, case.tau, case.vol, case.rate, pairs)
            assert paid[4] == pytest.approx(tree, abs=1e-2), case
