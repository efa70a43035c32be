"""calibrate --report: one file that stands alone; its pictures hold the numbers that were found."""

from __future__ import annotations

import hashlib
import html
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scenarios.calibrate.grid_nodes import GridTerms, fit_grid
from scenarios.calibrate.joint_moves import shrunk_correlation
from scenarios.calibrate.tails import Tail, fit_tail, mean_excess, stability
from tests.portfolio_margin import test_cli
from tests.portfolio_margin.test_cli import check_fails
from tests.portfolio_margin.test_cli_calibrate_grid import ARGUMENTS, BOTH, COLUMNS, written

pytest.importorskip("matplotlib")
run = test_cli.run


def test_a_page_that_stands_alone(run: Any, tmp_path: Path) -> None:
    written(tmp_path)
    done = run(*BOTH, *COLUMNS, "--report", "page.html", "--csv")
    assert done.code == 0, done.err
    page = html.unescape((tmp_path / "page.html").read_text())
    headings = ["Parameters", "Evidence: BTC", "Evidence: ETH", "Vol shocks by tenor", "Correlation",
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
    marked = next(line for line in picture.figure.axes[0].lines if line.get_label() == "chosen")
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


def test_shocks_over_tenors_and_correlations() -> None:
    from portfolio_margin.plots import correlation_matrix, tenor_shocks

    shown = tenor_shocks([7, 30], {"up": [0.6, 0.4], "down": [0.3, 0.2]}, {"up": [0.5, 0.45]}).frame
    assert shown["kind"].tolist() == ["charged"] * 4 + ["fitted"] * 2 and shown["shock"].tolist()[-2:] == [0.5, 0.45]
    found = shrunk_correlation(np.random.default_rng(1).standard_normal((50, 3)))
    cells = correlation_matrix(["a", "b", "c"], found).frame
    row = cells[(cells["underlying"] == "a") & (cells["other"] == "c")].iloc[0]
    assert (row["shrunk"], row["sample"]) == (found.correlation[0, 2], found.sample[0, 2])
