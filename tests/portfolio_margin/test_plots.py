"""Pictures of surfaces: the frames hold what is shown, and the files are pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from portfolio_margin.io.surface_frame import surface_frame
from portfolio_margin.plots import butterfly, exercise, fan, residuals, smile
from pricing.american import exercise_boundary
from pricing.fit import Expiries, Quotes, Surface, fit
from pricing.surfaces import svi
from tests.pricing.test_fit import TYPICAL, joined, quotes_on

pytest.importorskip("matplotlib")

K = np.linspace(-0.4, 0.4, 17)
LATER = np.array([0.02, 0.09, -0.2, 0.02, 0.15])


@pytest.fixture(scope="module")
def fitted() -> tuple[Quotes, Expiries, Surface]:
    quotes = joined(quotes_on(TYPICAL, K, 0.1, 0.01), quotes_on(LATER, K, 0.4, 0.01, expiry=1))
    expiries = Expiries(np.zeros(3), np.array([0.1, 0.4, 0.7]))
    return quotes, expiries, fit(quotes, expiries)


def test_smile(fitted: tuple[Quotes, Expiries, Surface], tmp_path: Path) -> None:
    quotes, expiries, surface = fitted
    picture = smile(quotes, expiries, surface, 1, "a smile")
    assert np.allclose(picture.frame["k"], K)
    assert np.allclose(picture.frame["fitted_vol"], np.sqrt(svi.total_variance(np, K, *LATER) / 0.4), atol=1e-6)
    assert set(picture.frame["use"]) == {"MID"}
    picture.save(tmp_path / "smile.png")
    assert (tmp_path / "smile.png").read_bytes()[:4] == b"\x89PNG"


def test_fan_and_butterfly(fitted: tuple[Quotes, Expiries, Surface]) -> None:
    _, expiries, surface = fitted
    for picture, name in ((fan(expiries, surface), "total_variance"), (butterfly(expiries, surface), "g")):
        assert picture.frame["expiry_idx"].unique().tolist() == [0, 1]
        assert len(picture.figure.axes[0].lines) >= 2
        first = picture.frame[picture.frame["expiry_idx"] == 0]
        formula = svi.total_variance if name == "total_variance" else svi.butterfly_g
        assert np.allclose(first[name], formula(np, first["k"].to_numpy(), *surface.svi[0]))


def test_residuals(fitted: tuple[Quotes, Expiries, Surface]) -> None:
    quotes, expiries, surface = fitted
    found = residuals(quotes, expiries, surface).frame
    assert len(found) == 34
    assert np.allclose(found["half_width"], 1.0)
    assert np.abs(found["error"]).max() < 1e-3
    assert len(residuals(quotes, expiries, surface, underlying=1).frame) == 0


def test_an_expiry_without_a_slice(fitted: tuple[Quotes, Expiries, Surface]) -> None:
    assert len(smile(*fitted, 2).frame) == 0


def test_frame_of_diagnostics(fitted: tuple[Quotes, Expiries, Surface]) -> None:
    _, expiries, surface = fitted
    found = surface_frame(surface, expiries, ["near", "middle", "far"])
    assert found["status"].tolist() == ["FITTED", "FITTED", "NO_QUOTES"]
    assert found.filter(like="quotes_").sum(axis=1).tolist() == [17, 17, 0]
    assert np.allclose(found.loc[1, ["a", "b", "rho", "m", "sigma"]].astype(float), surface.svi[1])
    assert found.loc[1, "calendar_gap"] > 0
    per_expiry = {name for name, value in vars(surface.diagnostics).items() if len(value) == 3} - {"quote_count"}
    assert {name for name in per_expiry if surface.diagnostics.__dict__[name].ndim == 1} <= set(found.columns)


def test_exercise(tmp_path: Path) -> None:
    """One boundary, two that meet before the longest life, and none."""
    put = exercise(100.0, 1.0, 0.2, -1, 0.05)
    assert put.frame["boundary"].is_monotonic_decreasing
    assert put.frame["boundary"].iloc[-1] == float(exercise_boundary(100.0, 1.0, 0.2, -1, 0.05))
    assert put.frame["far_boundary"].isna().all()
    both = exercise(100.0, 3.0, 0.2, -1, -0.005, -0.01)
    met = both.frame["tau"] > 1.1991
    assert both.frame.loc[met, ["boundary", "far_boundary"]].isna().all(axis=None)
    assert (both.frame.loc[~met, "boundary"] > both.frame.loc[~met, "far_boundary"]).all()
    assert len(both.figure.axes[0].lines) == 3
    assert exercise(100.0, 1.0, 0.2, 1, 0.05).frame["boundary"].isna().all()
    both.save(tmp_path / "exercise.png")
    assert (tmp_path / "exercise.png").read_bytes()[:4] == b"\x89PNG"
