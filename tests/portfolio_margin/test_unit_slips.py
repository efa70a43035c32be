"""Percent for shares, moves for factors, days for seconds: refused, naming parameter, value and bounds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from portfolio_margin import load_parameters
from portfolio_margin.derive_scenarios import Scenario
from pricing import ConfigError

SPM = load_parameters("deribit_spm")[0].currency_pair["btc_usd"]
PMRM, PMRM2 = (load_parameters(name)[0] for name in ("derive_pmrm", "derive_pmrm2"))


@pytest.mark.parametrize(
    ("group", "name", "slip", "meant"),
    [
        (PMRM.other_contingency, "perp_percent", 3.0, 0.03),
        (PMRM.other_contingency, "option_percent", 1.5, 0.015),
        (PMRM2.other_contingency, "mm_perp_percent", 4.0, 0.04),
        (Scenario(1.0), "spot_shock", -0.18, 0.82),
        (SPM, "volatility_range_up", 0.005, 0.5),
        (SPM, "volatility_range_up", 50.0, 0.5),
        (SPM, "volatility_range_down", 0.0025, 0.25),
        (SPM, "volatility_range_down", 25.0, 0.25),
    ],
)
def test_a_slip_of_units_is_refused(group: Any, name: str, slip: float, meant: float) -> None:
    assert getattr(replace(group, **{name: meant}), name) == meant
    with pytest.raises(ConfigError, match=name):
        replace(group, **{name: slip})
