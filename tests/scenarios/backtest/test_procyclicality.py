"""Measures of procyclicality against published vectors and by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pricing import ConfigError
from scenarios.backtest import procyclicality as tools
from tests.vectors import literature_vectors


@pytest.mark.reference
def test_measures(report_vectors: Any) -> None:
    errors = []
    for vector in literature_vectors("apc_metrics"):
        path, days = vector["inputs"]["margin_series"], vector["inputs"]["n_days"]
        found = {
            "peak_to_trough": tools.peak_to_trough(path),
            "n_day_max_rel_increase": tools.largest_relative_increase(path, days),
            "n_day_max_increase": tools.largest_increase(path, days),
            "std_of_log_changes": tools.deviation_of_changes(path),
        }
        for name, wanted in vector["expected"].items():
            errors.append(abs(found[name] / wanted - 1.0))
            assert errors[-1] <= vector["tolerance"][name]["rel"]
    report_vectors(len(errors), max(errors), "relative")


def test_a_margin_that_only_falls_calls_for_nothing() -> None:
    assert tools.largest_increase([3.0, 2.0, 1.0], 1) == 0.0
    assert tools.largest_relative_increase([3.0, 2.0, 1.0], 2) == 0.0
    assert tools.share_at_floor([3.0, 2.0, 2.0, 4.0], 2.0) == 0.5


@pytest.mark.parametrize(("path", "days"), [([1.0, 2.0], 2), ([1.0, 0.0], 1), ([1.0, 2.0], 0), ([[1.0]], 1)])
def test_what_is_no_series_of_margins_is_refused(path: list[float], days: int) -> None:
    with pytest.raises(ConfigError, match="needs a series"):
        tools.largest_increase(path, days)


def test_all_measures_of_a_series() -> None:
    found = tools.procyclicality([2.0, 4.0, 3.0, 6.0], [True, False, False, False], steps_per_day=2, days=(1, 30))
    assert found.peak_to_trough == 3.0
    assert found.rises[0] == pytest.approx(0.5)
    assert np.isnan(found.rises[1])
    assert found.share_at_floor == 0.25
    assert np.isnan(tools.procyclicality([1.0, 0.0, 1.0]).peak_to_trough)
