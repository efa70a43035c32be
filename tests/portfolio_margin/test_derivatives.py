"""Derivatives of the requirement: against unit P&L, against the margin computed anew, and nearly active scenarios."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from portfolio_margin import account_pnl, load_sample, margin
from portfolio_margin.derivatives import (
    SVI_PARAMETERS,
    TIME_STEP,
    market_derivatives,
    quantity_derivatives,
    scenario_derivatives,
    with_price,
    with_time,
)
from portfolio_margin.derive_contributions import BASIS
from portfolio_margin.greeks import contract_greeks, position_greeks
from portfolio_margin.models import worst_case
from portfolio_margin.near import near_scenarios
from portfolio_margin.requirement import covered
from pricing import ConfigError, DataError
from pricing.arrays import MILLISECONDS_PER_YEAR
from pricing.market import UNDATED
from pricing.resolve import years_to_expiry
from scenarios import revalue
from tests.portfolio_margin import books
from tests.portfolio_margin.hedge_examples import sample_under
from tests.portfolio_margin.test_contracts import model_of

JOINT = worst_case.Model(worst_case.Params(netting="joint", short_option_minimum=0.0, haircut=0.0))
ACCOUNT = "iron-condor-07"


def test_by_quantity_it_is_the_loss_of_the_active_scenario() -> None:
    """Of futures, which cost nothing: -unit P&L in the worst scenario, bought and sold alike away from kinks."""
    book, arrays, market, _ = sample_under("worst_case")
    rows = np.array([arrays.index_of()[name] for name in ("BTC-PERPETUAL", "ETH-PERPETUAL", "BTC-27MAR26")])
    worst = int(margin(book, arrays, market, JOINT).worst_scenario[book.row_of(ACCOUNT)])
    found = quantity_derivatives(book, arrays, JOINT, ACCOUNT, rows)
    assert found.bought[:, 0] == pytest.approx(-arrays.pnl[rows, worst], rel=1e-5, abs=1e-6)
    assert found.sold == pytest.approx(found.bought, rel=1e-5, abs=1e-6)
    assert found.bought[:, 1] == pytest.approx(0.8 * found.bought[:, 0], rel=1e-5, abs=1e-6)


def test_a_kink_has_two_slopes() -> None:
    """Of an account without positions any trade adds margin: buying raises it, and so does selling."""
    flat = books.book_of({"flat": {"USD": 1e6}})
    rows = np.array([books.ROW[name] for name in books.CONTRACTS if name.endswith("PERPETUAL")])
    found = quantity_derivatives(flat, books.ARRAYS, JOINT, "flat", rows)
    assert np.all(found.bought > 0)
    assert np.all(found.sold < 0)


def test_by_market_jax_gives_what_the_margin_computed_anew_does() -> None:
    """The change of the loss in the active scenario by jax, of the requirement by central differences."""
    sample, scenario_set = load_sample(), sample_under("worst_case")[1].scenario_set
    arrays = sample_under("worst_case")[1]
    worst = int(margin(sample.book, arrays, sample.market, JOINT).worst_scenario[sample.book.row_of(ACCOUNT)])
    world = (sample.book, sample.instruments, sample.market)
    anew = market_derivatives(*world, JOINT, scenario_set, ACCOUNT)
    exact = scenario_derivatives(*world, scenario_set, ACCOUNT)
    scale = np.abs(anew.price[:, 0]).max()
    assert scale > 0
    assert -exact.price[:, worst] == pytest.approx(anew.price[:, 0], rel=1e-5, abs=1e-6 * scale)
    with_slice = np.isfinite(anew.svi[:, 0, 0])
    assert with_slice.any()
    assert np.array_equal(with_slice, np.isfinite(exact.svi[:, 0, 0]))
    for k, name in enumerate(SVI_PARAMETERS):
        one, other = -exact.svi[with_slice, k, worst], anew.svi[with_slice, k, 0]
        assert one == pytest.approx(other, rel=1e-4, abs=1e-6 * scale), name
    assert -exact.time[worst] == pytest.approx(anew.time[0], rel=1e-4, abs=1e-6 * scale)
    assert anew.price[:, 1] == pytest.approx(0.8 * anew.price[:, 0])


@pytest.mark.parametrize("account", [ACCOUNT, "market-maker-03"])
def test_equity_loses_theta_as_time_passes(account: str) -> None:
    """With forwards and vols held, on a market of slices."""
    sample, scenario_set = load_sample(), sample_under("worst_case")[1].scenario_set
    world = (sample.instruments, sample.market)
    own = sample.book.select(account)
    theta = position_greeks(own, *world, contract_greeks(*world, units="trader"))["theta"].sum()
    found = market_derivatives(sample.book, *world, JOINT, scenario_set, account)
    assert abs(theta) > 1.0
    assert found.time[2] == pytest.approx(365.0 * theta, rel=1e-3)


def test_what_expires_within_the_step_has_no_time_left() -> None:
    """Total variance ends at nothing, and what has expired before is left alone."""
    market = books.MARKET
    last = with_time(market, float(market.expiry_time.min() - 30_000 - market.valuation_time) / MILLISECONDS_PER_YEAR)
    for years in (TIME_STEP, -TIME_STEP):
        moved = with_time(last, years)
        gone = years_to_expiry(moved) <= 0.0
        dated = market.expiry_time != UNDATED
        assert np.array_equal(moved.svi[gone & dated, 0], np.zeros((gone & dated).sum()))
        kept = ~gone & np.isfinite(last.svi[:, 0])
        share = years_to_expiry(moved)[kept] / years_to_expiry(last)[kept]
        assert moved.svi[kept, 1] == pytest.approx(last.svi[kept, 1] * share)
        assert np.array_equal(moved.svi[:, 2:], last.svi[:, 2:], equal_nan=True)
        assert np.array_equal(moved.svi[~dated], last.svi[~dated], equal_nan=True)


def test_mark_vols_move_with_their_slice() -> None:
    """An option at a mark vol of its own: a higher slice makes one sold dearer, by equity and by margin."""
    name = next(n for n in books.CONTRACTS if n.startswith("BTC-60D-") and n.endswith("C"))
    book = books.book_of({"short": {name: -1.0, "USD": 1e6}})
    found = market_derivatives(book, books.INSTRUMENTS, books.MARKET, JOINT, books.GRID, "short")
    expiry = int(books.INSTRUMENTS.expiry_idx[books.ROW[name]])
    assert found.svi[expiry, 0, 2] < 0
    assert np.isnan(np.delete(found.svi[:, 0, 2], expiry)).all()


def test_nearly_active_scenarios_are_those_within_the_distance() -> None:
    book, arrays, _, _ = sample_under("worst_case")
    loss = -account_pnl(book.select(ACCOUNT), arrays)[0]
    found = near_scenarios(book, arrays, JOINT, ACCOUNT, 500.0)
    assert set(found.label) == set(arrays.scenario_set.label[loss >= loss.max() - 500.0])
    assert found.gap[0] == 0.0
    assert np.all(np.diff(found.gap) >= 0)
    assert found.loss + found.gap == pytest.approx(loss.max())
    assert len(near_scenarios(book, arrays, JOINT, ACCOUNT, 0.0).label) >= 1
    assert near_scenarios(book, arrays, JOINT, ACCOUNT, np.float32(500.0)).label.tolist() == found.label.tolist()
    for distance in (float("nan"), float("inf"), -1.0, "5", True):
        with pytest.raises(ConfigError, match="distance = "):
            near_scenarios(book, arrays, JOINT, ACCOUNT, distance)


SCANS = {"worst_case": "scan", "span": "scan", "derive_pmrm": "scan", "derive_pmrm2": "scan"}
SCANS |= {"deribit_spm": "worst_case", "deribit_xpm": "worst_case"}


@pytest.mark.parametrize("name", SCANS)
def test_nearly_active_scenarios_are_those_that_the_requirement_is_of(name: str) -> None:
    """Whatever `explain` measures a netting set in stands first of the set; their worst losses are what is scanned."""
    book, arrays, _, model = sample_under(name)
    charged, lost, several = [], [], 0
    for account in book.account_id.tolist():
        own, _ = covered(model, book.select(account), arrays)
        lines = [c for c in model.contributions(own, arrays) if c.charge == SCANS[name] and c.scenario and c.initial]
        active = {(c.netting_set, BASIS if c.scenario.startswith("basis") else c.scenario) for c in lines}
        found = near_scenarios(book, arrays, model, account, 0.0)
        assert set(zip(found.netting_set.tolist(), found.label.tolist(), strict=True)) >= active
        assert set(found.netting_set.tolist()) == {netting_set for netting_set, _ in active}
        worst = sum(max(0.0, float(one.loss.max())) for one in model.scenario_losses(own, arrays))
        scanned = model.requirement(own, arrays).charges[SCANS[name]][0]
        assert (worst > 0.0) == (scanned[0] > 0.0)
        charged.append(scanned)
        lost.append(worst)
        several += len(set(found.netting_set.tolist())) > 1
        wider = near_scenarios(book, arrays, model, account, 100.0)
        assert len(wider.label) >= len(found.label)
        assert np.all((wider.gap >= 0.0) & (wider.gap <= 100.0) & (wider.loss > -100.0))
    assert several > 0
    factors = charged[np.argmax(lost)] / max(lost)
    assert np.array(charged) == pytest.approx(np.outer(lost, factors), rel=1e-12, abs=1e-5)  # SPAN rounds to 1e-6


def test_a_model_without_losses_by_netting_set_names_no_near_scenarios() -> None:
    book, arrays, _, _ = sample_under("worst_case")
    with pytest.raises(ConfigError, match="tims has no losses by netting set"):
        near_scenarios(book, arrays, model_of("tims"), ACCOUNT, 1.0)


def test_rows_that_are_none_are_refused() -> None:
    book, arrays, _, model = sample_under("worst_case")
    contract = int(np.flatnonzero(~arrays.is_collateral)[0])
    for row in (-1, len(arrays), 99_999):
        with pytest.raises(DataError, match=rf"row 2, rows = {row}: must be rows of the risk arrays"):
            quantity_derivatives(book, arrays, model, ACCOUNT, np.array([contract, row]))


@pytest.mark.parametrize("rows", [5, None, "x", [[0]], [2**70]])
def test_rows_that_are_no_row_of_numbers_are_refused(rows: Any) -> None:
    book, arrays, _, model = sample_under("worst_case")
    with pytest.raises(DataError, match=r"rows = .*: must be"):
        quantity_derivatives(book, arrays, model, ACCOUNT, rows)
    assert quantity_derivatives(book, arrays, model, ACCOUNT, []).bought.shape == (0, 2)  # type: ignore[arg-type]


@pytest.mark.parametrize("rows", [[3, 3], [3.0], [True], ["BTC-PERPETUAL"], "USD"])
def test_rows_that_are_not_of_contracts_each_once_are_refused(rows: Any) -> None:
    book, arrays, _, model = sample_under("worst_case")
    given = np.array([arrays.index_of()[rows]] if isinstance(rows, str) else rows)
    with pytest.raises(DataError, match="of contracts and each once"):
        quantity_derivatives(book, arrays, model, ACCOUNT, given)


def test_a_market_is_moved_by_name_or_row() -> None:
    market = books.MARKET
    for move in (0.01, np.float32(0.5), -0.99):
        by_name, by_row = with_price(market, "ETH", move), with_price(market, np.int64(1), move)
        assert by_name.spot.tolist() == by_row.spot.tolist() == [market.spot[0], market.spot[1] * (1.0 + move)]
        assert np.array_equal(by_name.forward, by_row.forward)
    for underlying in (2, -1, "XRP", True, 1.0, None):
        with pytest.raises(DataError, match=r"underlying = .*: must be one of BTC, ETH, or a row from 0 to 1"):
            with_price(market, underlying, 0.01)
    for move in (float("nan"), float("inf"), -1.0, "1", None):
        with pytest.raises(ConfigError, match="move = "):
            with_price(market, "BTC", move)
    for years in (float("nan"), float("-inf"), "1", None, 10**400):
        with pytest.raises(ConfigError, match="years = "):
            with_time(market, years)


def test_contracts_without_a_formula_are_refused() -> None:
    from dataclasses import replace

    from pricing.instruments import Exercise

    early = np.where(books.INSTRUMENTS.is_option, int(Exercise.AMERICAN_ON_FUTURE), 0)
    linear = replace(books.INSTRUMENTS, exercise=early, payoff=np.zeros(len(early)))
    name = next(n for n in books.CONTRACTS if n.endswith("C"))
    book = books.book_of({"a": {name: 1.0}})
    with pytest.raises(ConfigError, match="american has none"):
        scenario_derivatives(book, linear, books.MARKET, books.GRID, "a")


def test_the_sample_arrays_are_of_the_sample() -> None:
    sample = load_sample()
    arrays = revalue(sample.instruments, sample.market, sample_under("worst_case")[1].scenario_set)
    assert arrays.digest == sample_under("worst_case")[1].digest
