"""resolve: contract terms meet the market; what does not fit is named, nothing is guessed."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pricing import UNDATED, ConfigError, DataError, Instruments, Kind, Payoff, resolve
from pricing.resolve import load_model, model_names, slice_vol, years_to_expiry
from tests.examples import DAY_MS, NOW_MS, market_and_instruments

INSTRUMENTS, MARKET = market_and_instruments()
ROW = INSTRUMENTS.index_of()
OPTION = ROW["BTC-7D-68000-C"]
INPUTS = resolve(INSTRUMENTS, MARKET)


def changed(table: Any, field: str, row: int, value: Any) -> Any:
    column = getattr(table, field).copy()
    column[row] = value
    return replace(table, **{field: column})


def refused(instruments: Instruments, market: Any) -> list[tuple[Any, str]]:
    with pytest.raises(DataError) as caught:
        resolve(instruments, market)
    return [(problem.row, problem.field) for problem in caught.value.problems]


def test_years_are_actual_over_365() -> None:
    assert years_to_expiry(MARKET).tolist() == [7 / 365, 60 / 365, 0.0] * 2
    later = replace(MARKET, valuation_time=NOW_MS + DAY_MS // 2)
    assert years_to_expiry(later)[0] == 6.5 / 365
    assert years_to_expiry(replace(MARKET, valuation_time=NOW_MS + 8 * DAY_MS))[0] == -1 / 365
    assert MARKET.expiry_time[2] == UNDATED


def test_every_column_is_the_market_s() -> None:
    for name in ("BTC-7D-68000-C", "ETH-60D-2050-P"):
        n = ROW[name]
        x = INSTRUMENTS.expiry_idx[n]
        assert INPUTS.forward[n] == MARKET.forward[x]
        assert INPUTS.discount[n] == MARKET.discount[x]
        assert INPUTS.tau[n] == years_to_expiry(MARKET)[x]
        assert INPUTS.strike[n] == INSTRUMENTS.strike[n]
        assert INPUTS.expiry_idx[n] == x
        assert (INPUTS.inverse[n], INPUTS.settled[n], INPUTS.multiplier[n]) == (1.0, 0.0, 1.0)


def test_linear_contracts_need_no_vol() -> None:
    for name in ("USD", "BTC", "BTC-PERPETUAL", "BTC-60D"):
        n = ROW[name]
        assert (INPUTS.tau[n], INPUTS.vol[n], INPUTS.discount[n], INPUTS.strike[n]) == (0.0, 0.0, 1.0, 1.0)
    # Cash is worth itself and moves by its fx alone.
    assert INPUTS.forward[ROW["BTC"]] == 1.0
    assert INPUTS.expiry_idx[ROW["BTC"]] == len(MARKET.forward)
    # Ten quote units stand for so many coins at the mark.
    assert INPUTS.multiplier[ROW["BTC-PERPETUAL"]] == 10.0 / MARKET.spot[0]
    assert INPUTS.multiplier[ROW["BTC-60D"]] == 10.0 / MARKET.forward[1]


def test_the_mark_vol_comes_before_the_slice() -> None:
    marked = changed(MARKET, "mark_vol", OPTION, 0.77)
    assert resolve(INSTRUMENTS, marked).vol[OPTION] == 0.77
    unmarked = changed(MARKET, "mark_vol", OPTION, math.nan)
    x = INSTRUMENTS.expiry_idx[OPTION]
    a, b, rho, m, sigma = MARKET.svi[x]
    k = math.log(INSTRUMENTS.strike[OPTION] / MARKET.forward[x])
    w = a + b * (rho * (k - m) + math.hypot(k - m, sigma))
    assert resolve(INSTRUMENTS, unmarked).vol[OPTION] == pytest.approx(math.sqrt(w / INPUTS.tau[OPTION]), rel=1e-14)


def test_a_slice_is_usable_where_its_variance_is_positive() -> None:
    flat = np.array([0.04, 0.0, 0.0, 0.0, 1.0])
    strike, forward = np.array([50.0, 100.0]), np.array([100.0, 100.0])
    assert slice_vol(strike, forward, np.array([1.0, 0.25]), flat).tolist() == [0.2, 0.4]
    below = np.array([-0.04, 0.0, 0.0, 0.0, 1.0])
    assert np.all(np.isnan(slice_vol(strike, forward, np.ones(2), below)))
    assert np.all(np.isnan(slice_vol(strike, forward, np.zeros(2), flat)))
    assert np.all(np.isnan(slice_vol(strike, forward, np.ones(2), np.full(5, np.nan))))


def test_what_has_no_vol_is_named() -> None:
    svi = MARKET.svi.copy()
    svi[0] = np.nan
    missing = np.flatnonzero((INSTRUMENTS.expiry_idx == 0) & INSTRUMENTS.is_option & np.isnan(MARKET.mark_vol))
    assert refused(INSTRUMENTS, replace(MARKET, svi=svi)) == [(INSTRUMENTS.instrument_id[n], "vol") for n in missing]


def test_expiry_to_the_millisecond() -> None:
    """At its expiry a contract is worth its intrinsic value; a millisecond later it is refused, by name."""
    at = resolve(INSTRUMENTS, replace(MARKET, valuation_time=int(MARKET.expiry_time[0])))
    gone = (INSTRUMENTS.expiry_idx == 0) | (INSTRUMENTS.expiry_idx == 3)
    assert np.all(at.tau[gone] == 0)
    assert np.all(at.vol[gone] == 0)
    after = refused(INSTRUMENTS, replace(MARKET, valuation_time=int(MARKET.expiry_time[0]) + 1))
    assert after == [(name, "expiry_time") for name in INSTRUMENTS.instrument_id[gone]]


@pytest.mark.parametrize(
    ("field", "value"),
    [("expiry_idx", 6), ("underlying_idx", 2), ("currency_idx", 3), ("expiry_idx", 4), ("expiry_idx", 2)],
    ids=["no such expiry", "no such underlying", "no such currency", "another underlying's", "undated"],
)
def test_references_outside_the_market_are_named(field: str, value: int) -> None:
    problems = refused(changed(INSTRUMENTS, field, OPTION, value), MARKET)
    assert (INSTRUMENTS.instrument_id[OPTION], field) in problems


@pytest.mark.parametrize("currency", [0, 2], ids=["USD", "ETH"])
def test_an_inverse_contract_is_paid_in_its_own_coin(currency: int) -> None:
    """value / forward times the fx of another currency is off by the ratio of two prices."""
    assert refused(changed(INSTRUMENTS, "currency_idx", OPTION, currency), MARKET)


def test_a_coin_belongs_to_its_underlying() -> None:
    """A coin whose fx moves with an underlying stands in that underlying's netting set, or it is refused."""
    assert refused(changed(INSTRUMENTS, "expiry_idx", ROW["BTC"], -1), MARKET)


def test_mark_vols_are_one_per_contract() -> None:
    assert refused(INSTRUMENTS, replace(MARKET, mark_vol=MARKET.mark_vol[:-1])) == [(None, "mark_vol")]


def test_a_mask_selects_rows() -> None:
    mask = INSTRUMENTS.is_option
    rows = INPUTS.rows(mask)
    for column, part in zip(INPUTS, rows, strict=True):
        assert np.array_equal(part, column[mask])
        assert part.flags.c_contiguous


def test_models_are_files() -> None:
    assert load_model("black76").__name__ == "pricing.models.black76"
    for name in ("nothing", "../x", "", "a.b", "black76 "):
        with pytest.raises(ConfigError):
            load_model(name)
    assert set(model_names(INSTRUMENTS)) == {"black76", "linear"}
    american = replace(INSTRUMENTS, exercise=np.where(INSTRUMENTS.is_option, 1, 0))
    assert model_names(american)[OPTION] == "american"


def test_cash_alone_resolves() -> None:
    """A market without underlyings or expiries, as of somebody who holds nothing but cash."""
    cash = Instruments(
        instrument_id=np.array(["USD"]),
        kind=np.array([Kind.CASH]),
        payoff=np.array([Payoff.LINEAR]),
        underlying_idx=np.array([-1]),
        expiry_idx=np.array([-1]),
        strike=np.array([np.nan]),
        sign=np.ones(1),
        exercise=np.zeros(1),
        multiplier=np.ones(1),
        quantity_step=np.full(1, 0.01),
        currency_idx=np.zeros(1),
    )
    nothing = np.zeros(0)
    market = replace(
        MARKET,
        underlying_id=np.zeros(0, np.str_),
        spot=nothing,
        expiry_underlying=nothing,
        expiry_time=nothing,
        forward=nothing,
        discount=nothing,
        svi=np.zeros((0, 5)),
        mark_vol=np.full(1, np.nan),
        currency_id=np.array(["USD"]),
        fx=np.ones(1),
        currency_underlying=np.array([-1]),
    )
    inputs = resolve(cash, market)
    assert (inputs.forward[0], inputs.tau[0], inputs.expiry_idx[0]) == (1.0, 0.0, 0)
