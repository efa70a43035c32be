"""Coverage tests against published vectors, R's values and the binomial law itself."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, chi2

from pricing import ConfigError, DataError
from scenarios.backtest import coverage
from tests.vectors import literature_vectors, worked_examples


def close(found: float, wanted: float, tolerance: Any) -> float:
    """The error, after checking it against the tolerance of the vector."""
    error = abs(found - wanted)
    assert error <= tolerance.get("abs", 0.0) + tolerance.get("rel", 0.0) * abs(wanted)
    return error


@pytest.mark.reference
def test_kupiec_vectors(report_vectors: Any) -> None:
    errors = []
    for vector in literature_vectors("kupiec_pof"):
        i, e, t = vector["inputs"], vector["expected"], vector["tolerance"]
        found = coverage.kupiec(i["exceptions"], i["n_obs"], i["probability"])
        errors += [close(found.statistic, e["lr_uc"], t["lr_uc"]), close(found.p_value, e["p_value"], t["p_value"])]
    for example in worked_examples("backtest: Kupiec proportion of failures"):
        for days, count, probability, ratio, p in example["expected"]["T_x_p_LR_pvalue"]:
            found = coverage.kupiec(count, days, probability)
            errors += [
                close(found.statistic, ratio, example["tolerance"]),
                close(found.p_value, p, example["tolerance"]),
            ]
    report_vectors(len(errors), max(errors), "absolute")


@pytest.mark.reference
def test_kupiec_nonrejection_regions(report_vectors: Any) -> None:
    vectors = literature_vectors("kupiec_pof_nonrejection")
    for vector in vectors:
        i, e = vector["inputs"], vector["expected"]
        found = coverage.kupiec_bounds(i["n_obs"], i["probability"], i["test_level"])
        assert found == (e["lower_exclusive"], e["upper_exclusive"])
    report_vectors(len(vectors), 0.0, "counts")


@pytest.mark.reference
def test_christoffersen_vectors(report_vectors: Any) -> None:
    errors = []
    for vector in literature_vectors("christoffersen"):
        i, e, t = vector["inputs"], vector["expected"], vector["tolerance"]
        hits = i["violations"]
        found = coverage.christoffersen(hits, i["probability"])
        uncovered = coverage.kupiec(sum(hits), len(hits), i["probability"])
        errors += [close(uncovered.statistic, e["lr_uc"], t["lr_uc"])]
        errors += [close(found.conditional.statistic, e["lr_cc"], t["lr_cc"])]
    for example in worked_examples("backtest: Christoffersen independence"):
        i, e, t = example["inputs"], example["expected"], example["tolerance"]
        hits = np.isin(np.arange(i["T"]), i["hit_days"])
        found = coverage.christoffersen(hits, 0.01)
        assert [list(row) for row in found.transitions] == e["transitions"]
        errors += [
            close(found.independence.statistic, e["LR_ind"], t),
            close(found.independence.p_value, e["p_value"], t),
        ]
        errors += [close(coverage.kupiec(6, i["T"], 0.01).statistic, e["LR_pof"], t)]
    report_vectors(len(errors), max(errors), "absolute")


@pytest.mark.reference
def test_traffic_light_vectors(report_vectors: Any) -> None:
    errors = []
    for vector in literature_vectors("basel_traffic_light"):
        i, e, t = vector["inputs"], vector["expected"], vector["tolerance"]
        found = coverage.traffic_light(i["exceptions"], i["n_obs"], i["confidence"])
        assert found.zone == e["zone"]
        assert found.multiplier_1996 == pytest.approx(e["multiplier_1996"], abs=1e-12)
        assert found.multiplier_mar == pytest.approx(e["multiplier_mar"], abs=1e-12)
        name = "cumulative_probability_pct"
        errors.append(close(100.0 * found.cumulative, e[name], t[name]))
    report_vectors(len(errors), max(errors), "percent")


def test_zones_of_250_days() -> None:
    zones = [coverage.traffic_light(count).zone for count in range(12)]
    assert zones == ["green"] * 5 + ["yellow"] * 5 + ["red"] * 2
    assert math.isnan(coverage.traffic_light(3, 500).multiplier_mar)


@given(st.integers(1, 400), st.floats(0.0, 1.0), st.floats(0.001, 0.5))
def test_kupiec_is_the_ratio_of_two_binomial_likelihoods(days: int, share: float, probability: float) -> None:
    count = round(share * days)
    wanted = 2.0 * (binom.logpmf(count, days, count / days) - binom.logpmf(count, days, probability))
    found = coverage.kupiec(count, days, probability)
    assert found.statistic == pytest.approx(wanted, abs=1e-8)
    assert found.p_value == pytest.approx(chi2.sf(found.statistic, 1), abs=1e-12)


@given(st.lists(st.booleans(), min_size=2, max_size=60))
def test_independence_against_counting_by_hand(hits: list[bool]) -> None:
    pairs = list(pairwise(hits))

    def likelihood(chances: dict[bool, float]) -> float:
        total = 0.0
        for before, after in pairs:
            chance = chances[before] if after else 1.0 - chances[before]
            total += math.log(chance)
        return total

    def share(rows: list[tuple[bool, bool]]) -> float:
        return sum(after for _, after in rows) / len(rows) if rows else 0.0

    pooled = share(pairs)
    apart = {state: share([row for row in pairs if row[0] == state]) for state in (False, True)}
    wanted = 2.0 * (likelihood(apart) - likelihood(dict.fromkeys((False, True), pooled)))
    found = coverage.christoffersen(hits, 0.01).independence
    assert found.statistic == pytest.approx(max(wanted, 0.0), abs=1e-9)


def test_breaches_cluster_are_seen_and_scattered_ones_are_not() -> None:
    clustered, scattered = np.zeros(500, dtype=bool), np.zeros(500, dtype=bool)
    clustered[100:105] = True
    scattered[50::100] = True
    assert coverage.christoffersen(clustered, 0.01).independence.p_value < 1e-4
    assert coverage.christoffersen(scattered, 0.01).independence.p_value > 0.5


def test_a_loss_equal_to_the_margin_is_covered_and_no_number_is_no_day() -> None:
    assert coverage.breaches([1.0, 1.1, -5.0], [1.0, 1.0, 0.0]).tolist() == [False, True, False]
    with pytest.raises(DataError, match="row 1, margin = nan"):
        coverage.breaches([0.0, 0.0], [1.0, math.nan])
    for bad in ((5, 4, 0.01), (-1, 4, 0.01), (1, 4, 1.0)):
        with pytest.raises(ConfigError):
            coverage.kupiec(*bad)
    assert coverage.rolling_count([1, 0, 1, 1], 2).tolist() == [1, 1, 1, 2]
