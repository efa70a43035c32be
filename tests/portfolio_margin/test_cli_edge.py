"""The command `edge` on the sample: the same edge in every form, pictures with their frames, and bad input."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from portfolio_margin.cli.edge import bound_text
from portfolio_margin.edge.contour import contour
from portfolio_margin.edge.payoff import payoff
from portfolio_margin.edge.prices import Span, liquidation_prices
from portfolio_margin.plots import edge_contour, payoff_prices, payoff_with_marks
from portfolio_margin.plots.edge import shaded
from tests.portfolio_margin import test_cli
from tests.portfolio_margin.edge.cases import linear_case
from tests.portfolio_margin.test_cli import check_fails

run = test_cli.run
QUICK = ("--paths", "1000", "--steps", "4")


def test_a_condor_has_an_edge_on_both_sides(run: Any) -> None:
    document = json.loads(run("edge", "iron-condor-07", *QUICK, "--json").out)
    rows = list(csv.DictReader(run("edge", "iron-condor-07", *QUICK, "--csv").out.splitlines()))
    prices = document["prices"]
    assert [p["side"] for p in prices] == ["into", "into"] == [row["side"] for row in rows]
    assert prices[0]["price"] < document["spot"] < prices[1]["price"]
    assert [float(row["price"]) for row in rows] == [p["price"] for p in prices]
    margins = json.loads(run("margin", "--account", "iron-condor-07", "--json").out)["accounts"][0]
    for name in ("margin_balance", "maintenance_margin"):
        assert float(document[name]) == pytest.approx(float(margins[name]), abs=0.02)
    assert document["model_id"] == "worst_case" and document["positions_excluded"] == []
    assert 0.0 <= document["breach_probability"] <= document["upper_bound"] < 0.01
    today = [point for point in document["contour"] if point["vol_multiple"] == 1.0]
    assert [point["price"] for point in today] == pytest.approx([p["price"] for p in prices])


def test_the_table_says_what_was_searched_and_what_decides(run: Any) -> None:
    done = run("edge", "iron-condor-07", *QUICK, "--horizon-days", "2", "--sticky", "strike")
    assert done.code == 0
    for text in ("vols sticky by strike", "band: safe", "breach within 2 days", "seed 1", "of 100", "edge above"):
        assert text in done.out, done.out
    gone = run("edge", "perpetual-long-liquidated", *QUICK)
    assert "band: liquidation" in gone.out and "out of" in gone.out
    # Of an account beyond its edge: how far, and where it would be on this side again.
    price = json.loads(run("edge", "perpetual-long-liquidated", *QUICK, "--json").out)["prices"][0]["price"]
    assert f"it would be above again with ETH beyond {price:.8g} (+" in gone.out and "breach within" not in gone.out
    safe = run("edge", "box-01", *QUICK)
    assert "so below 0.003 with 95 % confidence" in safe.out


def test_an_expiry_that_breaches_is_told_with_the_margins_on_both_sides(run: Any) -> None:
    done = run("edge", "box-02", *QUICK)
    document = json.loads(run("edge", "box-02", *QUICK, "--json").out)
    (expiry,) = document["expiries"]
    assert document["band"] == "watch" and document["days_cause"] == expiry["expiries"] == ["ETH-2026-03-27"]
    assert document["days"] == expiry["days"] and expiry["breach"]
    assert float(expiry["maintenance_margin_after"]) > float(expiry["margin_balance_after"])
    assert "breach in 28.9 days though no price moves: the settlement of ETH-2026-03-27" in done.out
    # What a simulation says beyond all models is not told as known, and the vol comes with its origin.
    assert 0.0 < document["upper_bound"] < 1e-9 and "below 1e-9, which no model" in done.out
    assert "times the paths" not in done.out
    assert "over 1 day, at the money, slices ETH-2026-02-27 and ETH-2026-02-28" in document["vol_from"]
    given = run("edge", "box-02", *QUICK, "--vol", "0.9")
    assert "vol 90.0 %, as given" in given.out


@pytest.mark.parametrize(
    ("paths", "text"),
    [(1_000, "0.003"), (7_000, "0.00043"), (8_192, "0.00037"), (20_000, "0.00015"), (100_000, "0.00003")],
)
def test_a_bound_is_never_told_smaller_than_it_is(paths: int, text: str) -> None:
    told = Fraction(bound_text(3.0 / paths))
    assert told == Fraction(text)
    # Not below the rule of three, and above it by less than a tenth.
    assert Fraction(3, paths) <= told <= Fraction(33, 10 * paths)


def test_a_model_of_a_venue(run: Any) -> None:
    document = json.loads(run("edge", "short-strangle-02", *QUICK, "--model", "derive_pmrm", "--json").out)
    assert document["model_id"] == "derive_pmrm" and len(document["prices"]) >= 2


def test_pictures_are_written_and_their_frames_are_the_numbers(run: Any, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    done = run("edge", "short-strangle-02", *QUICK, "--plots", "pictures")
    assert done.code == 0 and "wrote 2 pictures" in done.err
    for name in ("contour", "payoff"):
        assert (tmp_path / "pictures" / f"{name}-short-strangle-02.png").stat().st_size > 10_000
    case = linear_case(4_000.0, {"U-1000-C": -10.0, "U-1000-P": -10.0})
    prices = liquidation_prices(case, Span(0.2, 3.0, 121))
    around = contour(case, prices.span, [0.8, 1.0, 1.25])
    boundary = edge_contour(around, prices).frame
    along_price = boundary["along"] == "price"
    today = along_price & (boundary["vol_multiple"] == 1.0)
    assert boundary.loc[today, "price"].to_numpy() == pytest.approx(prices.price)
    shown_vols = around.columns.vol[(around.columns.vol >= 0.8) & (around.columns.vol <= 1.25)]
    assert len(shown_vols) > 0
    assert boundary.loc[~along_price, "vol_multiple"].to_numpy() == pytest.approx(shown_vols)
    shown = payoff_prices(prices)
    assert shown[0] < prices.price[0] / prices.spot and shown[-1] > prices.price[-1] / prices.spot
    curves = payoff(case, shown)
    frame = payoff_with_marks(curves, prices).frame
    now = frame[frame["curve"] == "now"]
    change = np.flatnonzero(np.diff(now["liquidated"].to_numpy().astype(int)))
    # Shading ends where the marks are, whichever side of 0 the excess of a mark is rounded to.
    ends = [(shown[0] * prices.spot, prices.price[0]), (prices.price[1], shown[-1] * prices.spot)]
    at_mark = np.isin(curves.price, prices.price)
    for rounding in (1e-9, -1e-9):
        excess = np.where(at_mark, rounding, curves.excess)
        assert np.ravel(shaded(replace(curves, excess=excess), prices)) == pytest.approx(np.ravel(ends), rel=1e-14)
    assert len(change) == 2 and set(frame["curve"]) == {"now", "tomorrow", "at first expiry"}


@pytest.mark.parametrize(
    ("arguments", "texts"),
    [
        (("nobody",), ("nobody", "no such account")),
        (("iron-condor-07", "--underlying", "BTX"), ("underlying = 'BTX'", "BTC")),
        (("iron-condor-07", "--low", "2"), ("span = 2.0 to 5.0",)),
        (("iron-condor-07", "--horizon-days", "60"), ("horizon_days = 60.0", "at most 28.9")),
        (("iron-condor-07", "--paths", "3"), ("paths = 3",)),
        (("iron-condor-07", "--vol", "0.00001"), ("vol = 1e-05",)),
        (("covered-call-01", "--model", "tims"), ("no product class for BTC",)),
    ],
)
def test_bad_input_is_named(run: Any, arguments: tuple[str, ...], texts: tuple[str, ...]) -> None:
    check_fails(run("edge", *arguments), *texts)


def test_arrays_alone_are_not_enough(run: Any) -> None:
    assert run("arrays", "--output", "a.npz").code == 0
    check_fails(run("edge", "box-01", "--arrays", "a.npz"), "needs --market, not --arrays")
