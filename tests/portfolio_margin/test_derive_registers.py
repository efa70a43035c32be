"""The parts of derive_pmrm2's kernel: gains of an expiry in registers and charges by a formula, beside their twins."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numba
import numpy as np
import pytest

from portfolio_margin import Book
from portfolio_margin.backends import derive_lanes, lanes
from portfolio_margin.backends.charges_numba import Charged
from portfolio_margin.backends.derive_parts import most_at_once
from portfolio_margin.derive_scenarios import Scenario
from portfolio_margin.models import derive_pmrm2
from scenarios import revalue
from tests.examples import random_book
from tests.naive import derive_gains as naive
from tests.portfolio_margin.books import INSTRUMENTS, MARKET
from tests.portfolio_margin.test_derive_at_once import MODEL, PARAMS, assert_same_bits

KINDS = {
    "plain": (1.0, 1.0, 1.0),
    "at one": (0.93, 1.07, 1.0),
    "restated": (0.93, 1.07, 0.99),
    "one side": (1.0, 1.1, 1.0),
}


def folds(scenarios: int) -> Any:
    """A kernel that adds one expiry after the other to the gains of one account."""
    width, folded = derive_lanes.width_of(scenarios), derive_lanes.folded_width(scenarios)
    fold, vector = derive_lanes.operations(width, folded), lanes.operations(width)
    opened, ends, restated, at_one, plain, lowest = fold
    zeros, add_row, store = vector.zeros, vector.add_row, lanes.operations(folded).store

    @numba.njit(error_model="numpy")
    def run(rows: Any, factors: Any, special: int, tick: float, discounts: Any, kind: int, out: Any) -> Any:
        table = lanes.address(factors, 0)
        gains, found = opened(table), (0.0, 0.0, 0.0, 0.0)
        for n in range(rows.shape[0]):
            total = add_row(zeros(), rows, n, 1.0)
            found = ends(total)
            marked, (long, short, again) = found[2] * tick, discounts
            if kind == 0:
                gains = plain(gains, total, table, special, tick)
            elif kind == 1:
                gains = at_one(gains, total, table, special, tick, marked, long, short)
            else:
                gains = restated(gains, total, table, special, tick, marked, long, short, again)
        store(gains, out)
        return lowest(gains), found

    return run


@pytest.mark.parametrize("scenarios", [1, 12, 33, 40])
def test_gains_of_expiries_are_those_of_the_twin(scenarios: int) -> None:
    random = np.random.default_rng(scenarios)
    run, tick = folds(scenarios), 1e-6
    ticks = random.integers(-(10**9), 10**9, (6, scenarios + derive_lanes.ENDS)).astype(np.float64)
    rows = lanes.aligned(derive_lanes.columns_of(ticks, scenarios))
    for damped in (False, True):
        dampening = np.where(damped & (random.random(scenarios) < 0.4), random.random(scenarios), 1.0)
        tilts = damped & (random.random(scenarios) < 0.4)
        factors, special = derive_lanes.factors_of(dampening, tilts)
        for kind, discounts in enumerate(KINDS.values()):
            out = np.empty(factors.shape[1])
            least, ends = run(rows, factors, special, tick, discounts, min(kind, 2), out)
            expected = [0.0] * scenarios
            for row in ticks:
                marked, now = float(row[scenarios + 2]) * tick, row[:scenarios].tolist()
                expected = naive.folded(expected, now, tick, marked, discounts, (dampening.tolist(), tilts.tolist()))
            assert out[:scenarios].tolist() == expected and np.all(np.isinf(out[scenarios:]))
            assert least == (min(expected), expected.index(min(expected)))
            assert list(ends) == ticks[-1, scenarios:].tolist()


def test_charges_are_those_of_the_twin_and_of_numpy() -> None:
    random, rates, count = np.random.default_rng(3), MODEL._rates(), 200
    columns = [random.uniform(0.0, 1e6, count) * (random.random(count) < 0.7) for _ in range(5)]
    charged = Charged(derive_pmrm2.charge_parts, rates, len(derive_pmrm2.CHARGES), count)
    charged.fill(0, 120, tuple(column[:120] for column in columns))
    charged.fill(120, count, tuple(column[120:] for column in columns))
    twin = naive.charged(derive_pmrm2.charge_parts, [column.tolist() for column in columns], rates)
    found = np.concatenate([charged.charges, charged.total[None]]).transpose(1, 0, 2)
    assert found.tolist() == [[list(pair) for pair in account] for account in twin]
    whole = MODEL.charges_of(derive_pmrm2.Counted(*columns, np.zeros(count)))
    for name, amounts in zip(derive_pmrm2.CHARGES, charged.charges, strict=True):
        assert amounts.tobytes() == whole[name].tobytes()
    assert not charged.lifted


def test_an_account_asked_for_less_initial_margin_is_noticed() -> None:
    rates = (0.5, 1.0, *MODEL._rates()[2:])
    charged = Charged(derive_pmrm2.charge_parts, rates, len(derive_pmrm2.CHARGES), 2)
    nothing = np.zeros(2)
    charged.fill(0, 1, (nothing,) * 5)
    assert not charged.lifted
    charged.fill(1, 2, (np.array([10.0]), *(nothing,) * 4))
    assert charged.lifted


@pytest.mark.parametrize("scenarios", [1, 40])
def test_any_number_of_scenarios(scenarios: int) -> None:
    shocks = np.linspace(0.5, 1.6, scenarios).tolist()
    listed = tuple(Scenario(shock, "up" if n % 2 else "down", 0.5 + n % 3) for n, shock in enumerate(shocks))
    model = derive_pmrm2.Model(replace(PARAMS, scenarios=listed))
    arrays = revalue(INSTRUMENTS, MARKET, model.scenario_set(MARKET))
    assert_same_bits(model, random_book(INSTRUMENTS, accounts=40), arrays=arrays)


def test_rates_below_zero_restate_what_options_are_worth() -> None:
    market = replace(MARKET, discount=np.where(MARKET.expiry_time > MARKET.valuation_time, 1.02, 1.0))
    arrays = revalue(INSTRUMENTS, market, MODEL.scenario_set(market))
    assert np.any(MODEL.rule(arrays).restate < 1.0)
    assert_same_bits(MODEL, random_book(INSTRUMENTS, accounts=60), arrays=arrays)


@pytest.mark.parametrize("accounts", [0, 1, 15, 16, 17, 50])
def test_scratch_holds_the_positions_of_so_many_accounts(accounts: int) -> None:
    random, at_once, first = np.random.default_rng(accounts), 16, 2
    account_ptr = np.append(0, np.cumsum(random.integers(0, 4, accounts + 3)))
    group_ptr = np.append(0, np.cumsum(random.integers(1, 5, account_ptr[-1])))
    last = first + accounts
    windows = [account_ptr[[a, min(a + at_once, last)]] for a in range(first, last, at_once)]
    groups = max((high - low for low, high in windows), default=0)
    positions = max((group_ptr[high] - group_ptr[low] for low, high in windows), default=0)
    assert most_at_once(first, last, at_once, account_ptr, group_ptr) == (positions, groups)


def test_an_empty_book_asks_for_nothing() -> None:
    nobody = Book.from_arrays(np.zeros(0, np.str_), [], [], INSTRUMENTS.expiry_idx)
    assert_same_bits(MODEL, nobody)
