"""Historical sets: what is taken, what is stressed, what stands in for vols that were not known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pricing import ConfigError
from scenarios.calibrate.history_set import history_params
from scenarios.calibrate.settings import Settings
from scenarios.families import historical
from tests.examples import market_and_instruments

RANDOM = np.random.default_rng(3)
DATES = (np.datetime64("2023-01-01") + np.arange(900)).astype(np.str_)
BTC = RANDOM.normal(0.0, 0.02, 900)
BTC[100:160] *= 6.0
RETURNS = {"BTC": BTC, "ETH": 1.2 * BTC + RANDOM.normal(0.0, 0.005, 900)}
VOL = np.where(np.arange(900) < 400, np.nan, -1.5 * BTC + RANDOM.normal(0.0, 0.002, 900))
VOLS = {"BTC": VOL, "ETH": VOL}
SETTINGS = Settings(stress_periods=1, scenarios=300)


@pytest.mark.parametrize("name", ["none", "ewma", "garch"])
def test_a_set_for_the_family(name: str) -> None:
    params, periods = history_params(DATES, RETURNS, VOLS, replace(SETTINGS, filter=name))
    assert params.horizons == 300 and params.dates[-1] == DATES[-1]
    assert params.returns["BTC"] == pytest.approx(BTC[-301:], abs=1e-5)
    assert len(periods) == 1 and abs(periods[0].first - 100) <= 3
    first = periods[0].first
    assert params.stress_returns["BTC"][0] == pytest.approx(BTC[first] + BTC[first + 1], abs=1e-5)
    assert len(params.stress_dates) == 59 and params.stress_dates[0] == DATES[first + 1]
    # The vol was not known then: what the price explains.
    assert params.stress_vol_returns["BTC"] == pytest.approx(
        -1.5 * np.array(params.stress_returns["BTC"]), rel=0.1, abs=0.01
    )
    assert (params.method, params.filter) == (("plain", "ewma") if name == "none" else ("scaled", name))
    _, market = market_and_instruments()
    moves = historical.scenarios(params, market)
    assert len(moves) == 1 + 300 + 59


def test_vols_that_are_not_known_are_refused() -> None:
    holed = VOL.copy()
    holed[700] = np.nan
    for vols in (holed, np.where(np.arange(900) < 800, np.nan, VOL)):
        with pytest.raises(ConfigError, match="in a row at the end"):
            history_params(DATES, RETURNS, {"BTC": vols, "ETH": vols}, SETTINGS)
