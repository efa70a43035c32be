"""Pictures of surfaces: the frames hold what is shown, and the files are pictures."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from portfolio_margin.io.surface_frame import surface_frame
from portfolio_margin.plots import Picture, butterfly, exercise, fan, residuals, smile
from pricing.american import exercise_boundary
from pricing.errors import DataError
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


def test_what_is_not_there_is_refused(fitted: tuple[Quotes, Expiries, Surface]) -> None:
    quotes, expiries, surface = fitted
    for call in (
        lambda: fan(expiries, surface, 9),
        lambda: butterfly(expiries, surface, 9),
        lambda: residuals(quotes, expiries, surface, 9),
    ):
        with pytest.raises(DataError, match="underlying_idx = 9: no slice of this underlying"):
            call()
    for row in (999, -1):
        with pytest.raises(DataError, match=f"expiry = {row}: there are 3 expiry rows"):
            smile(quotes, expiries, surface, row)


def test_what_a_smile_shows(fitted: tuple[Quotes, Expiries, Surface]) -> None:
    """Only kinds of quotes that are there stand in the legend; unused ones are hollow, cut bars have an arrow."""
    quotes, expiries, surface = fitted
    assert legend(smile(quotes, expiries, surface, 1)) == {"bid to ask", "mid", "slice"}
    assert smile(quotes, expiries, surface, 1).figure.axes[0].get_title() == "smile, 146.0 days to expiry"
    bid, ask, mark = (column.copy() for column in (quotes.bid_vol, quotes.ask_vol, quotes.mark_vol))
    bid[3], ask[3] = ask[3], bid[3]  # crossed
    bid[5], mark[5] = np.nan, np.nan  # one side
    bid[7], ask[7] = 0.62 * ask[7], 1.2 * ask[7]  # cut off by the picture
    mixed = replace(quotes, bid_vol=bid, ask_vol=ask, mark_vol=mark)
    shown = smile(mixed, expiries, fit(mixed, expiries), 0)
    wanted = {"bid to ask", "mid", "slice", "not used: crossed", "not used: one sided", "goes on below"}
    assert wanted <= legend(shown)


def test_lines_by_expiry_have_colours_of_their_own() -> None:
    """Thirteen expiries, thirteen colours, and a label of each."""
    tau = np.linspace(0.05, 1.25, 13)
    quotes = joined(*(quotes_on(TYPICAL * [t, t, 1, 1, 1], K, t, 0.01, expiry=x) for x, t in enumerate(tau)))
    expiries = Expiries(np.zeros(13), tau)
    surface = fit(quotes, expiries)
    for picture in (fan(expiries, surface), butterfly(expiries, surface)):
        axes = picture.figure.axes[0]
        assert len({tuple(line.get_color()) for line in axes.lines[:13]}) == 13
        assert len(axes.get_legend().get_texts()) == 13


def test_ticks_of_residuals_are_plain_numbers(fitted: tuple[Quotes, Expiries, Surface]) -> None:
    quotes, expiries, _ = fitted
    for factor in (1.005, 1.2, 8.0):
        bid, ask = quotes.bid_vol.copy(), quotes.ask_vol.copy()
        bid[2::5], ask[2::5] = factor * bid[2::5], factor * ask[2::5]
        wrong = replace(quotes, bid_vol=bid, ask_vol=ask)
        picture = residuals(wrong, expiries, fit(wrong, expiries))
        picture.figure.canvas.draw()
        labels = [label.get_text() for label in picture.figure.axes[0].get_yticklabels()]
        assert len(labels) >= 5
        assert all(re.fullmatch(r"[-\u2212]?[0-9]+(\.[0-9]{1,2})?", label) for label in labels), labels


def legend(picture: Picture) -> set[str]:
    """The labels of a picture's legend."""
    return {text.get_text() for text in picture.figure.axes[0].get_legend().get_texts()}


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
