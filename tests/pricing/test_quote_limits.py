"""Limits that decide about a quote or a slice, each just inside and just outside."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest

from pricing import butterfly_free
from pricing.arbitrage import butterfly_minimum
from pricing.errors import DataError
from pricing.fit import Expiries, SliceStatus, fit
from pricing.forwards import implied_forwards
from pricing.price import price
from pricing.quotes import Quotes, QuoteUse, quotes_from_prices, select_quotes, without_outliers
from tests.vectors import data_file

COUNT = 30


def quotes_with(errors: np.ndarray) -> tuple[Quotes, np.ndarray]:
    """Quotes 1 vol point wide, and fitted vols that miss their mids by `errors` widths."""
    k, tau, forward = np.linspace(-0.2, 0.2, COUNT), np.full(COUNT, 0.25), np.full(COUNT, 100.0)
    mid = np.full(COUNT, 0.3)
    quotes = Quotes(
        expiry_idx=np.zeros(COUNT, dtype=np.int64),
        strike=100.0 * np.exp(k),
        sign=np.where(k >= 0, 1.0, -1.0),
        forward=forward,
        tau=tau,
        bid_vol=mid - 0.005,
        ask_vol=mid + 0.005,
        mark_vol=np.full(COUNT, np.nan),
    )
    return quotes, mid + 0.01 * errors


def rejected(errors: np.ndarray) -> int:
    quotes, fitted = quotes_with(errors)
    chosen = select_quotes(quotes, quotes.tau)
    return int((without_outliers(quotes, chosen, fitted).use == QuoteUse.OUTLIER).sum())


@pytest.mark.parametrize(("usual", "limit"), [(0.01, 2.0), (0.5, 6.0 * 1.4826 * 0.5)])
def test_an_outlier_is_beyond_two_widths_and_six_deviations(usual: float, limit: float) -> None:
    """1.4826 times the median is the standard deviation of a normal law; with small errors the two widths decide."""
    for share, expected in ((0.99, 0), (1.01, 1)):
        errors = np.full(COUNT, usual)
        errors[7] = share * limit
        assert rejected(errors) == expected, (usual, share)


@pytest.mark.parametrize(("count", "expected"), [(6, 6), (7, 0)])
def test_no_more_than_a_fifth_are_outliers(count: int, expected: int) -> None:
    errors = np.full(COUNT, 0.01)
    errors[:count] = 10.0
    assert rejected(errors) == expected


@pytest.mark.parametrize(("widths", "rejects"), [(1.4, 0), (1.6, 1)])
def test_a_pair_is_rejected_beyond_one_and_a_half_widths(widths: float, rejects: int) -> None:
    """Five pairs about a forward of 100, each telling it to 0.2; one of them is moved."""
    strike = np.array([96.0, 98.0, 100.0, 102.0, 104.0])
    call, put = (np.asarray(price(100.0, strike, 0.25, 0.3, sign)) for sign in (1, -1))
    call[4] += 0.2 * widths
    value = np.concatenate([call, put])
    sign = np.repeat([1.0, -1.0], 5)
    found = implied_forwards(np.zeros(10), np.tile(strike, 2), sign, value - 0.05, value + 0.05, np.ones(1))
    moved = 0.0 if rejects else 0.2 * widths / 5.0
    assert found.forward[0] == pytest.approx(100.0 + moved, abs=1e-9)


def test_a_wing_of_slope_2_is_the_last_that_is_free() -> None:
    """Lee's bound may be met with equality, on either side, and never passed."""
    for side in (1.0, -1.0):
        for slope, free in ((2.0, True), (2.0 + 1e-9, False)):
            slices = np.array([[1.0, slope / 1.5, 0.5 * side, -2.0 * side, 1.0]])
            assert bool(butterfly_free(slices)[0]) is free, (side, slope)


@pytest.mark.data
def test_no_slice_of_spy_is_left_with_arbitrage() -> None:
    """By vega and without outliers the penalised search stopped short of freedom on two of its slices."""
    from portfolio_margin.io.equity_chain import read_equity_chain

    moment = datetime(2025, 9, 25, 20, 0, tzinfo=UTC)
    file = data_file("equity_chain/spy_chain_cboe_20250925.csv.gz")
    for rate in (0.0, 0.042):
        chain = read_equity_chain(file, valuation_time=moment, rate=rate)
        near = chain.quotes.expiry_idx < 2
        columns = {name: getattr(chain.quotes, name)[near] for name in Quotes.__dataclass_fields__}
        expiries = Expiries(np.zeros(2, dtype=np.int64), chain.expiries.tau[:2])
        done = fit(Quotes(**columns), expiries, weighting="vega", reject_outliers=True)
        assert not np.any(done.diagnostics.status == SliceStatus.ARBITRAGE)
        assert np.all(butterfly_free(done.svi))
        assert np.all(butterfly_minimum(done.svi).value >= 0)
        assert np.all(done.diagnostics.rmse_vega < 0.7)


def chain_prices() -> tuple[list[np.ndarray], np.ndarray]:
    """Contracts of calls and puts at 11 strikes around a forward of 100, and their prices at a vol of 0.25."""
    strike, sign = np.tile(np.linspace(75.0, 125.0, 11), 2), np.repeat([1.0, -1.0], 11)
    forward, tau = np.full(22, 100.0), np.full(22, 0.5)
    return [np.zeros(22), strike, sign, forward, tau], price(forward, strike, tau, 0.25, sign)


def test_prices_are_in_the_currency_of_the_forward_unless_said_to_be_in_coin() -> None:
    contracts, value = chain_prices()
    quotes = quotes_from_prices(*contracts, value, value)
    assert quotes.bid_vol == pytest.approx(0.25, abs=1e-9)
    in_coin = quotes_from_prices(*contracts, value / 100.0, value / 100.0, model="inverse")
    assert in_coin.bid_vol == pytest.approx(0.25, abs=1e-9)


def test_prices_of_the_other_model_are_refused_by_name() -> None:
    contracts, value = chain_prices()
    with pytest.raises(DataError, match=r"row 0, bid = 2\d\.\d+: more coin than the option can pay.*'black76'"):
        quotes_from_prices(*contracts, value, value, model="inverse")
    with pytest.raises(DataError, match=r"ask = 0\.01\d+: of what exercise would pay.*model = 'inverse'"):
        quotes_from_prices(*contracts, value / 100.0, value / 100.0)


def test_the_most_that_an_option_can_pay_in_coin_bounds_its_bid_and_not_its_ask() -> None:
    """1 for a call, K/F for a put; asks beyond it stand in real books and give an empty side."""
    columns = ([0, 0], [100.0, 100.0], [1.0, -1.0], [50.0, 50.0], [0.5, 0.5])
    quotes = quotes_from_prices(*columns, [np.nan, np.nan], [1.0, 2.0], model="inverse")
    assert np.isnan(quotes.ask_vol).all()
    for row, most in ((0, 1.0), (1, 2.0)):
        bid = [np.nan, np.nan]
        bid[row] = np.nextafter(most, 0.0)
        quotes_from_prices(*columns, bid, bid, model="inverse")
        bid[row] = most
        with pytest.raises(DataError, match=f"row {row}, bid"):
            quotes_from_prices(*columns, bid, bid, model="inverse")
