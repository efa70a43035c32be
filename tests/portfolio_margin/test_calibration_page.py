"""calibrate --report: one file that stands alone; its pictures hold the numbers that were found."""

from __future__ import annotations

import hashlib
import html
import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from portfolio_margin.cli.calibration_page import _tenors
from portfolio_margin.cli.calibration_report import Evidence
from portfolio_margin.cli.calibration_words import beside_history, counted, threshold_told, why_in_force
from scenarios.calibrate.bootstrap import Figure
from scenarios.calibrate.grid_nodes import GridTerms, fit_grid
from scenarios.calibrate.joint_moves import shrunk_correlation
from scenarios.calibrate.settings import Settings
from scenarios.calibrate.tails import Tail, fit_tail, mean_excess, stability
from scenarios.calibrate.underlying import calibrate_underlying
from scenarios.shocks import VolDynamics
from tests.portfolio_margin import test_cli, test_cli_calibrate_grid
from tests.portfolio_margin.test_cli import check_fails
from tests.portfolio_margin.test_cli_calibrate_grid import ARGUMENTS, BOTH, COLUMNS, written

pytest.importorskip("matplotlib")
run = test_cli.run
calibrated_once = test_cli_calibrate_grid.calibrated_once


def test_a_page_that_stands_alone(run: Any, tmp_path: Path) -> None:
    written(tmp_path)
    done = run(*BOTH, *COLUMNS, "--report", "page.html", "--csv")
    assert done.code == 0, done.err
    page = html.unescape((tmp_path / "page.html").read_text())
    headings = ["Parameters", "Histories", "Evidence: BTC", "Evidence: ETH", "Vol shocks by tenor", "Correlation",
                "Error of the grid", "Limits", "How this page was made", "All settings"]  # fmt: skip
    assert re.findall("<h2>(.*?)</h2>", page) == headings
    pictures = [f"{what} of {name}" for name in ("BTC", "ETH") for what in ("mean excess", "threshold stability")]
    for said in (*pictures, "moves of ETH against their Pareto tail", "grid error curve", "correlations of daily"):
        assert f'<img alt="{said}' in page
    assert "http" not in page.replace("http-equiv", "")
    rows = [
        dict(zip(done.out.splitlines()[0].split(","), line.split(","), strict=True))
        for line in done.out.splitlines()[1:]
    ]
    used = next(
        r for r in rows if r["underlying"] == "ETH" and r["parameter"] == "price_range" and r["way"] == "pareto"
    )
    cells = [f"{100 * float(used[name]):.2f}" for name in ("value", "low", "high")]
    assert "".join(f"<td>{cell}</td>" for cell in cells) in page
    for name in ("btc.csv", "eth.csv", "vol.csv", "settings.toml"):
        assert hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() in page
    assert "calibrate --model worst_case --history BTC=btc.csv --history ETH=eth.csv" in page
    assert 'draws</td><td class="text">20</td>' in page and "0.25  (default)" in page


@pytest.fixture(scope="module")
def evidence() -> Evidence:
    """Of two underlyings, the vol of the second so calm that the least counts; no chains."""
    random = np.random.default_rng(7)
    found = {}
    for name, scale in (("BTC", 0.12), ("ETH", 0.02)):
        price, vol = 0.03 * random.standard_t(4, 700), scale * random.standard_t(5, 700)
        found[name] = calibrate_underlying(price, vol, (price, vol), 5.0, SETTINGS)
    return Evidence(found, {}, None, {}, None, {}, VolDynamics())  # type: ignore[arg-type]


SETTINGS = Settings(draws=20)


def test_which_figure_counts_is_that_of_what_is_in_force(evidence: Evidence) -> None:
    """What is said to count, and nothing else that is known, is what the set has."""
    counts = {(name, parameter): what for name, parameter, what in counted(evidence, SETTINGS)}
    least = np.expm1(np.log(1.28) * 2.0**0.35)
    assert counts["ETH", "vol up"] == counts["ETH", "vol down"] == "least"
    assert evidence.found["ETH"].vol.up == pytest.approx(least)
    assert counts["BTC", "vol up"] != "least" and evidence.found["BTC"].vol.up > least
    one = evidence.found["BTC"]
    known = {"calculated, with its buffer": one.range.held, "floor": one.range.floor}
    assert one.range.chosen == pytest.approx(known[counts["BTC", "price range"]]) == pytest.approx(max(known.values()))
    said = " ".join(beside_history(evidence, SETTINGS))
    assert "ETH vol up, ETH vol down" in said and "BTC vol up" not in said
    heavy = one._replace(tail=one.tail._replace(factor=one.tail.factor._replace(value=0.9), used=0.9))
    for tail, told in ((heavy, "calculated"), (one, "of X")):
        both = evidence._replace(found={"X": heavy, "Y": tail})
        assert [what for *_, what in counted(both, SETTINGS)][-1] == told
    why = " ".join(why_in_force(SETTINGS, True))
    assert (
        f"{100 * least:.2f} % up" in why and "VIX" in why and "Begusic" in why and "buffer" in why and "chains" in why
    )
    other = " ".join(why_in_force(Settings(vol_low=0.1, tail_low=0.5, buffer=0.0, floor="none"), False))
    assert not any(word in other for word in ("VIX", "Begusic", "buffer", "floor", "chains"))


def test_the_quantile_over_thresholds_is_told_as_it_moves(evidence: Evidence) -> None:
    one = evidence.found["BTC"]
    text = threshold_told(one.stability, one.tail, SETTINGS)
    low, high = one.stability.quantile.min(), one.stability.quantile.max()
    assert f"{100 * low:.2f} to {100 * high:.2f} % in logarithm" in text and "10 % of the moves above" in text
    # The threshold of the settings is among those shown, so that its quantile is inside.
    assert low <= one.tail.tail.quantile(0.99) * (1.0 + 1e-9) and one.tail.tail.quantile(0.99) <= high * (1.0 + 1e-9)


def test_fitted_shocks_by_tenor_stand_beside_charged_ones(evidence: Evidence) -> None:
    """Each by its own law: the level at 30 days times the root of 30 over the days."""
    figure = SimpleNamespace(shock=Figure(0.4, 0.3, 0.5), short_power=Figure(0.5, 0, 1), long_power=Figure(0.5, 0, 1))
    both = evidence._replace(surfaces={"BTC": SimpleNamespace(up=figure, down=figure)})  # type: ignore[dict-item]
    (_, fitted), only = _tenors(both).tables, _tenors(evidence).tables
    assert len(only) == 1 and list(fitted[0].cells) == ["BTC up", "BTC down"]
    cells = {column.header: column.cells[0] for column in fitted[1:]}
    assert cells["30 d [%]"] == "40.0" and float(cells["90 d [%]"]) == pytest.approx(40.0 / 3.0**0.5, abs=0.05)
    assert float(cells["7 d [%]"]) == pytest.approx(40.0 * (30.0 / 7.0) ** 0.5, abs=0.05)


def test_a_page_says_whose_vol_index_it_is_and_what_never_was(run: Any, tmp_path: Path) -> None:
    written(tmp_path, 400)
    parameters = (tmp_path / "settings.toml").read_text().replace("draws = 20", "draws = 20\nbuffer = 0.0")
    (tmp_path / "settings.toml").write_text(parameters)
    done = run(*BOTH, *COLUMNS, "--report", "page.html", "--json")
    assert done.code == 0, done.err
    page, document = html.unescape((tmp_path / "page.html").read_text()), json.loads(done.out)
    shared = "vol index: vol.csv, the same for BTC and ETH"
    assert shared in page and shared in done.err and any(shared in line for line in document["findings"])
    assert [(row["underlying"], row["what"], row["changes"]) for row in document["histories"]] == [
        (name, what, 399) for name in ("BTC", "ETH") for what in ("price", "vol index")
    ]
    for name in ("BTC", "ETH"):
        text = (tmp_path / f"{name.lower()}.csv").read_text().splitlines()[1:]
        closes = np.array([float(line.split(",")[1]) for line in text])
        moves = closes[2:] / closes[:-2] - 1.0
        tail = document["evidence"]["underlyings"][name]["tail"]
        assert (tail["largest_fall"], tail["largest_rise"]) == (pytest.approx(moves.min()), pytest.approx(moves.max()))
        assert f"fall was {100 * moves.min():.1f} %, the largest rise {100 * moves.max():+.1f} %" in page
    assert "of 398 horizons, in sample" in page and "with its buffer" not in page and "buffer used up" not in page
    assert "vol shocks at 30 days" in page and "worst_case grants none" in page and "stand still" not in page
    shown = run(*BOTH, *COLUMNS).out
    assert (
        "grid error at the vols of the grid [%]" in shown
        and "grid error with vols between those of the grid [%]" in shown
    )


def test_pages_that_cannot_be_are_refused(run: Any, tmp_path: Path) -> None:
    written(tmp_path, 300)
    check_fails(
        run(*ARGUMENTS, *COLUMNS, "--report", "page.txt"), "--report page.txt: a report is a page; name it .html"
    )
    other = ("calibrate", "--history", "BTC=btc.csv", "--vol-history", "BTC=vol.csv", "--report", "page.html")
    check_fails(run(*other), "--report has no effect with --model dynamic_worst_case; it is for worst_case")
    (tmp_path / "prices.html").write_text("date,close\n")
    more = ("--history", "ETH=prices.html", "--vol-history", "ETH=vol.csv", "--report", "prices.html")
    check_fails(run(*ARGUMENTS, *more), "prices.html is an input of this command")


def test_the_error_curve_is_that_of_the_fit() -> None:
    from portfolio_margin.plots import grid_error_curve

    fit = fit_grid(GridTerms(0.16, 0.6, 0.5, 0.25, 0.3), 0.06)
    picture = grid_error_curve(fit, 0.06)
    assert picture.frame["equal"].to_numpy() == pytest.approx(0.25 / np.arange(1, 6))  # a quarter of the widest gap
    labels = [line.get_label() for line in picture.figure.axes[0].lines]
    assert "equal buckets" in labels and "fitted nodes" not in labels  # the one line would hide the other
    marked = next(
        line for line in picture.figure.axes[0].lines if line.get_label() == "chosen, at the vols of the grid"
    )
    assert (marked.get_xdata()[0], marked.get_ydata()[0]) == (5, pytest.approx(100.0 * fit.error))


def test_pictures_of_tails_hold_what_was_found() -> None:
    """Quantiles of a tail of a known law lie on the line; thresholds are those asked for."""
    from portfolio_margin.plots import tail_quantile_plot, threshold_mean_excess, threshold_stability

    shape, scale, count = 0.2, 0.03, 4_000
    ranks = (np.arange(count) + 0.5) / count
    sizes = 0.05 + scale * (ranks**-shape - 1.0) / shape
    frame = tail_quantile_plot(sizes, Tail(0.05, shape, scale, count, count, 0.0)).frame
    assert len(frame) == count and frame["move"].to_numpy() == pytest.approx(frame["pareto"].to_numpy(), rel=1e-9)
    fitted = fit_tail(sizes, float(np.quantile(sizes, 0.9)))
    assert len(tail_quantile_plot(sizes, fitted).frame) == fitted.exceedances == 400
    levels = np.quantile(sizes, [0.6, 0.8, 0.9])
    excess, stable = mean_excess(sizes, levels), stability(sizes, levels, 0.99)
    assert np.array_equal(threshold_mean_excess(excess).frame["mean_excess"], excess.mean)
    assert np.array_equal(threshold_stability(stable).frame["shape"], stable.shape)
    for picture in (threshold_mean_excess(excess, "", 0.07), threshold_stability(stable, "", 0.07)):
        for axes in picture.figure.axes:
            marks = [line for line in axes.lines if line.get_label() == "chosen, 7.00 %"]
            assert len(marks) == 1 and marks[0].get_xdata()[0] == pytest.approx(7.0)
        assert "in logarithm" in picture.figure.axes[-1].get_xlabel()


def test_shocks_over_tenors_and_correlations() -> None:
    from portfolio_margin.plots import correlation_matrix, tenor_shocks

    shown = tenor_shocks([7, 30], {"up": [0.6, 0.4], "down": [0.3, 0.2]}, {"up": [0.5, 0.45]}).frame
    assert shown["kind"].tolist() == ["charged"] * 4 + ["fitted"] * 2 and shown["shock"].tolist()[-2:] == [0.5, 0.45]
    lines = tenor_shocks([7, 30], {"BTC up": [0.6, 0.4], "ETH up": [0.6, 0.4]}, {}).figure.axes[0].lines
    assert [line.get_linestyle() for line in lines] == ["-", "--"]  # equal lines, and both are seen
    found = shrunk_correlation(np.random.default_rng(1).standard_normal((50, 3)))
    cells = correlation_matrix(["a", "b", "c"], found).frame
    row = cells[(cells["underlying"] == "a") & (cells["other"] == "c")].iloc[0]
    assert (row["shrunk"], row["sample"]) == (found.correlation[0, 2], found.sample[0, 2])
