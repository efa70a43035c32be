"""Many slices at once in compiled code: against a naive twin, the trust-region search, and false minima."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from pricing.arbitrage import butterfly_minimum
from pricing.backends import slices_numba
from pricing.butterfly import butterfly_free
from pricing.errors import ConfigError, DataError
from pricing.fit import Expiries, Quotes, SliceStatus, fit
from pricing.slice_fit import SliceData, fit_slice, fit_slices, raw_from_wings, wing_jacobian
from pricing.surfaces import svi, wings
from tests.naive import slices as naive
from tests.pricing.test_fit import TYPICAL, one_expiry, quotes_on, snapshots


def noisy_slices(count: int, seed: int, hard: bool = False, quotes: int = 30) -> list[SliceData]:
    """Quotes over three deviations with noise of 0.4 % of vol and more in the wings; hard: bends of any width."""
    random = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        tau = random.uniform(0.02, 1.0)
        deviation = random.uniform(0.3, 1.0) * np.sqrt(tau)
        slopes = random.uniform(0.02, 1.2, 2) if hard else random.uniform(0.1, 0.8, 2)
        m, sigma = (random.uniform(-2.5, 2.5), random.uniform(0.03, 2.5)) if hard else random.uniform((-0.7, 0.3), 1.5)
        shape = [
            deviation**2 * random.uniform(0.4, 1.0),
            *np.sqrt(deviation * slopes),
            m * deviation,
            sigma * deviation,
        ]
        z = np.sort(random.uniform(-3.0, 3.0, quotes))
        vol = np.sqrt(svi.total_variance(np, deviation * z, *raw_from_wings(np.array(shape))) / tau)
        vol = np.maximum(vol + 0.004 * (1.0 + np.abs(z)) * random.standard_normal(quotes), 0.02)
        found.append(SliceData(deviation * z, vol * vol * tau, 1.0 / (2.0 * vol * tau)))
    return found


def columns(slices: list[SliceData]) -> tuple[np.ndarray, ...]:
    first = np.concatenate([[0], np.cumsum([len(one.k) for one in slices])])
    return (*(np.concatenate(column) for column in zip(*slices, strict=True)), first)


@pytest.mark.parametrize("hard", [False, True])
def test_against_the_naive_twin(hard: bool) -> None:
    slices = noisy_slices(3, 1, hard)
    for found, (raw, cost) in zip(fit_slices(slices), naive.fit_slices(*columns(slices)), strict=True):
        assert found.converged
        assert found.cost == pytest.approx(cost, rel=1e-6)
        assert np.allclose(found.raw, raw, rtol=1e-2, atol=1e-4)


def test_a_refit_with_penalties_against_the_naive_twin() -> None:
    """Bends so narrow that g falls below 0: one penalty on what it lacks, from the least-squares slices."""
    slices = [
        one for one in noisy_slices(40, 7, hard=True) if butterfly_minimum(fit_slices([one])[0].raw).value < -0.02
    ]
    start = np.array([fit_slices([one])[0].wings for one in slices])
    watched = start[:, 3:4] + start[:, 4:5] * np.sinh(np.linspace(-6.0, 6.0, 48))
    penalty = np.full(watched.shape, 1.0)
    penalty[:, -3:] = 0.0
    *quotes, first = columns(slices)
    wings, cost, _ = slices_numba.polish_slices(tuple(quotes), first, watched, penalty, start)
    twin = naive.polish_slices(quotes, first, watched, penalty, start)
    assert len(slices) >= 3
    assert cost == pytest.approx([value for _, value in twin], rel=1e-6)
    assert np.allclose(
        raw_from_wings(wings), raw_from_wings(np.array([point for point, _ in twin])), rtol=1e-2, atol=1e-4
    )


def chain_of(slices: list[SliceData]) -> tuple[Quotes, Expiries]:
    """The same slices as quotes of vols, 1 % to either side, each of an underlying of its own."""
    row = np.repeat(np.arange(len(slices)), [len(one.k) for one in slices])
    k, w, weight, _ = columns(slices)
    tau = (0.5 / weight) ** 2 / w
    vol, strike = np.sqrt(w / tau), np.exp(k)
    sides = 0.99 * vol, 1.01 * vol, np.full(len(k), np.nan)
    quotes = Quotes(row, strike, np.where(strike >= 1.0, 1.0, -1.0), np.ones(len(k)), tau, *sides)
    return quotes, Expiries(np.arange(len(slices)), tau[np.flatnonzero(np.diff(row, prepend=-1))])


def test_slices_with_butterflies_are_repaired_alike(report_vectors: Callable[..., None]) -> None:
    """The compiled repair against the trust-region one, on bends of any width; free by the exact decision."""
    quotes, expiries = chain_of(noisy_slices(60, 5, hard=True))
    one, other = fit(quotes, expiries, backend="numpy"), fit(quotes, expiries, backend="numba")
    repaired = one.diagnostics.status == SliceStatus.REPAIRED
    assert repaired.sum() >= 5
    assert np.array_equal(one.diagnostics.status, other.diagnostics.status)
    assert butterfly_free(other.svi).all()
    apart = 100.0 * np.abs(one.diagnostics.fitted_vol - other.diagnostics.fitted_vol)
    assert apart.max() < 0.02
    assert np.allclose(one.diagnostics.rmse, other.diagnostics.rmse, rtol=1e-3)
    report_vectors(int(repaired.sum()), apart.max(), "vol points between the backends' repairs")


def test_a_surface_of_many_slices_is_that_of_each() -> None:
    """What is computed for all slices at once is what each alone gives: slices, verdicts, errors."""
    slices = noisy_slices(70, 6, hard=True)  # more than one block of the arbitrage measures
    quotes, expiries = chain_of(slices)
    done = fit(quotes, expiries)
    for x in (0, 33, 69):
        alone = fit(*chain_of(slices[x : x + 1]))
        assert np.array_equal(alone.svi[0], done.svi[x])
        for name in ("status", "minimum_g", "rmse", "rmse_unconstrained", "minimum_g_unconstrained", "far_count"):
            assert getattr(alone.diagnostics, name)[0] == getattr(done.diagnostics, name)[x]


def test_what_fit_slices_refuses() -> None:
    good = noisy_slices(1, 8)[0]
    with pytest.raises(DataError, match=r"fit_slices.*row 1.*k = 4.*needs 5 quotes"):
        fit_slices([good, SliceData(*(column[:4] for column in good))])
    with pytest.raises(DataError, match="must be of one length"):
        fit_slices([SliceData(good.k, good.w[:-1], good.weight)])
    broken = good.w.copy()
    broken[3] = np.nan
    with pytest.raises(DataError, match=r"row 1.*w\[3\] = nan.*above 0"):
        fit_slices([good, good._replace(w=broken)])
    with pytest.raises(ConfigError, match="threads = 0"):
        fit_slices([good], threads=0)
    assert fit_slices([]) == []
    lists = SliceData(*(column.tolist() for column in good))  # type: ignore[arg-type]
    assert np.array_equal(fit_slices([lists])[0].wings, fit_slices([good])[0].wings)


@pytest.mark.parametrize("hard", [False, True])
def test_no_slice_is_stuck(hard: bool, report_vectors: Callable[..., None]) -> None:
    """Never above the minimum that the search from the finer grid finds, and no slice but at a minimum."""
    slices = noisy_slices(60, 2, hard)
    searched = np.array([fit_slice(one).cost for one in slices])
    found = fit_slices(slices, threads=2)
    excess = np.array([one.cost for one in found]) / searched - 1.0
    assert excess.max() < 1e-6
    assert sum(one.converged for one in found) >= len(slices) - 2
    report_vectors(len(slices), excess.max(), "of the cost", f"test_no_slice_is_stuck {'hard' if hard else 'usual'}")


def test_slices_of_unequal_length_and_without_noise() -> None:
    slices = [*noisy_slices(2, 3, quotes=9), *noisy_slices(2, 4, quotes=200)]
    k = np.linspace(-0.4, 0.5, 17)
    exact = SliceData(k, svi.total_variance(np, k, *TYPICAL), np.ones(17))
    found = fit_slices([*slices, exact])
    alone = [fit_slices([one])[0] for one in slices]
    assert all(np.array_equal(one.wings, other.wings) for one, other in zip(found, alone, strict=False))
    assert np.allclose(found[-1].raw, TYPICAL, rtol=1e-6, atol=1e-8)


def test_the_formula_is_that_of_raw_svi() -> None:
    point, k = np.array([0.03, 0.4, 0.5, 0.1, 0.3]), np.linspace(-1.5, 1.5, 13)
    w, *by = wings.total_variance_and_derivatives(np, k, *point)
    assert np.allclose(w, svi.total_variance(np, k, *raw_from_wings(point)), rtol=1e-14)
    assert np.allclose(np.stack(by, axis=1), wing_jacobian(k, point)[0][:, 1:], rtol=1e-12, atol=1e-15)


@pytest.mark.data
def test_a_surface_by_the_kernel_is_the_same_surface() -> None:
    (_, quotes, expiries), *_ = snapshots("daily_20251230_20260415.parquet", 36)
    one, other = fit(quotes, expiries, backend="numpy"), fit(quotes, expiries)
    assert np.array_equal(one.diagnostics.status, other.diagnostics.status)
    used = np.isfinite(one.diagnostics.target_vol)
    near = np.abs(one.diagnostics.fitted_vol - other.diagnostics.fitted_vol)[used]
    assert np.quantile(near, 0.99) < 1e-4
    assert np.allclose(one.diagnostics.rmse_vega, other.diagnostics.rmse_vega, atol=0.01)


def test_a_backend_that_does_not_exist() -> None:
    with pytest.raises(ConfigError, match="must be one of numpy, numba"):
        fit(quotes_on(TYPICAL, np.linspace(-0.4, 0.4, 17)), one_expiry(), backend="jax")
