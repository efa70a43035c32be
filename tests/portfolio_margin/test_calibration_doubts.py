"""What `calibrate` tells of a filter that filters nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from portfolio_margin.cli.calibration_report import Evidence, doubts
from scenarios.calibrate.settings import Settings
from scenarios.calibrate.underlying import Calibrated, calibrate_underlying
from scenarios.calibrate.volatility import degenerate
from scenarios.shocks import VolDynamics

SETTINGS = Settings(draws=20)


@pytest.fixture(scope="module")
def found() -> Calibrated:
    """Moves without any memory, of which the likelihood finds none."""
    moves = 0.01 * np.random.default_rng(0).standard_normal(1500)
    return calibrate_underlying(moves, 3.0 * moves, (moves, 3.0 * moves), 0.6, SETTINGS)


def test_a_garch_at_a_bound_is_told_and_one_inside_is_not(found: Calibrated) -> None:
    sound = found._replace(garch=found.garch._replace(alpha=0.08, beta=0.9))
    for one, count in ((found._replace(garch=found.garch._replace(alpha=1e-9)), 1), (sound, 0)):
        evidence = Evidence({"X": one}, {}, None, {}, None, {}, VolDynamics())  # type: ignore[arg-type]
        told = [said for said in doubts(evidence, SETTINGS) if said.startswith("X, garch at a bound, alpha = 1.0e-09")]
        assert len(told) == count
        assert bool(degenerate(one.garch)) == bool(count)


def test_a_range_that_its_bound_cuts_is_told(found: Calibrated) -> None:
    asked = max(found.range.held, found.range.floor)
    settings = replace(SETTINGS, range_high=0.5 * asked)
    cut = found._replace(range=found.range._replace(chosen=settings.range_high))
    for one, chosen, count in ((cut, settings, 1), (found, SETTINGS, 0)):
        evidence = Evidence({"X": one}, {}, None, {}, None, {}, VolDynamics())  # type: ignore[arg-type]
        told = [said for said in doubts(evidence, chosen) if "cuts it, so that it may cover fewer than 99 %" in said]
        assert len(told) == count
