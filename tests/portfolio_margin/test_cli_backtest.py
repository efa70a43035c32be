"""The back-test as anybody would run it: files in, table, page and pictures out."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from portfolio_margin.backtest import run as running
from portfolio_margin.backtest import sets
from portfolio_margin.backtest.plan import Plan
from portfolio_margin.io.backtest_history import read_history
from pricing import ConfigError, DataError
from scenarios.backtest import parameters
from scenarios.backtest.books import standard_books
from scenarios.backtest.history import price_moves
from scenarios.calibrate import Settings, scan_range, tail_weights, vol_shock
from scenarios.calibrate.moves import log_returns
from tests.portfolio_margin.test_cli import check_fails, run  # noqa: F401 - a fixture
from tests.scenarios.backtest.histories import changed_after, walked

SETS = """
[sets.still]
kind = "fixed"
price_range = 0.06

[sets.fitted]
kind = "quantile"
every_days = 10
scenarios = { layout = "span" }
[sets.fitted.fit]
confidence = 0.98
buffer = 0.25

[sets.again]
kind = "historical"
window = 100
"""
ARGUMENTS = ("backtest", "--history", "btc.csv", "--vol-history", "vol.csv", "--least-days", "150", "--books", "30")


def written(folder: Path, days: int = 420) -> None:
    """Prices of days and a vol index over the second half of them."""
    given = walked(days)
    day = np.datetime64("2020-01-01") + np.arange(days)
    rows = [f"{d},{p!r}" for d, p in zip(day, given.price.tolist(), strict=True)]
    (folder / "btc.csv").write_text("date,close\n" + "\n".join(rows) + "\n")
    index = [f"{d},{100 * v!r}" for d, v, own in zip(day, given.vol.tolist(), given.indexed, strict=True) if own]
    (folder / "vol.csv").write_text("date,close\n" + "\n".join(index) + "\n")
    (folder / "sets.toml").write_text(SETS)


def test_sets_side_by_side(run: Any, tmp_path: Path) -> None:  # noqa: F811
    written(tmp_path)
    done = run(*ARGUMENTS, "--params", "sets.toml", "--json")
    assert done.code == 0, done.err
    document = json.loads(done.out)
    assert list(document["sets"]) == ["still", "fitted", "again"]
    assert len(document["rows"]) == 3 * 30 and document["books"] == 30
    still = next(row for row in document["rows"] if (row["set"], row["book"]) == ("still", "long future"))
    given = walked(420)
    tested = np.arange(150, 419)
    lost = -price_moves(given, tested, 1)
    assert still["observations"] == len(tested)
    assert still["breaches"] == int((lost > 0.06).sum())
    assert still["share_peak_to_trough"] == 1.0
    assert still["money_peak_to_trough"] == pytest.approx(given.price[tested].max() / given.price[tested].min())
    linear = next(row for row in document["summary"] if (row["set"], row["books"]) == ("still", "linear"))
    both = np.mean(np.abs(lost) <= 0.06)
    assert linear["joint_coverage"] == pytest.approx(both) and linear["joint_coverage"] < linear["coverage"]
    groups = [(row["set"], row["books"]) for row in document["summary"]]
    assert groups[:3] == [("still", "linear"), ("still", "options"), ("still", "all")]


def test_a_page_and_a_table_of_files(run: Any, tmp_path: Path) -> None:  # noqa: F811
    pytest.importorskip("matplotlib")
    written(tmp_path)
    done = run(*ARGUMENTS, "--set", "fixed", "--set", "apc", "--report", "page.html", "--output", "table.csv")
    assert done.code == 0, done.err
    page = (tmp_path / "page.html").read_text()
    for word in ("Verdict", "Parameters", "Evidence: apc", "Tails", "Procyclicality", "Limits", "dynamic.rise_per_day"):
        assert word in page
    pictures = ["coverage of every book", "price ranges through time", "losses over margin of long future"]
    for said in (*pictures, "P&amp;L of long future and margin of apc", "mean excess of long future"):
        assert f'<img alt="{said}' in page
    assert "http" not in page.replace("http-equiv", "")
    assert len((tmp_path / "table.csv").read_text().splitlines()) == 1 + 2 * 30
    plain = run(*ARGUMENTS, "--set", "ewma")
    assert plain.code == 0 and "ewma" in plain.out and "least covered is" in plain.out


def test_margin_models_side_by_side(run: Any, tmp_path: Path) -> None:  # noqa: F811
    """The models of the engine beside a set; the worst case over the grid is the fixed set but for its floors."""
    written(tmp_path, 260)
    table = '[sets.still]\nkind = "fixed"\n[sets.worst]\nkind = "model"\nvalues = { short_option_minimum = 0.0 }\n'
    equity = '[sets.tims]\nkind = "model"\nmodel = "tims"\nvalues = { default_class = "equity" }\n'
    (tmp_path / "models.toml").write_text(table + equity)
    done = run(*ARGUMENTS, "--params", "models.toml", "--json")
    assert done.code == 0, done.err
    rows = {(row["set"], row["book"]): row for row in json.loads(done.out)["rows"]}
    for book in ("long future", "short future"):
        still, worst, tims = (rows[name, book]["mean_margin"] for name in ("still", "worst", "tims"))
        assert worst == pytest.approx(still, abs=1e-3) and tims > 0.05
    (tmp_path / "models.toml").write_text('[sets.worst]\nkind = "model"\nmodel = "worst"\n')
    check_fails(run(*ARGUMENTS, "--params", "models.toml"), "worst_case")


def test_what_is_wrong_is_said(run: Any, tmp_path: Path) -> None:  # noqa: F811
    written(tmp_path)
    check_fails(run(*ARGUMENTS, "--set", "quantil"), "no such set")
    check_fails(run(*ARGUMENTS, "--report", "page.txt"), "name it .html")
    check_fails(run(*ARGUMENTS, "--from", "soon"), "--from soon")
    check_fails(run(*ARGUMENTS, "--least-days", "500"), "the rules need 500")
    short = run(*ARGUMENTS, "--least-days", "50", "--set", "fixed", "--set", "calibrated")
    check_fails(short, "--least-days 50 --horizon 1, set calibrated: least_days = 50: must be a number from 100")
    (tmp_path / "bad.toml").write_text('[sets.a]\nkind = "guess"\n')
    check_fails(run(*ARGUMENTS, "--params", "bad.toml"), "needs kind")
    (tmp_path / "bad.toml").write_text('[sets.a]\nkind = "fixed"\nprice_range = 2.0\n')
    check_fails(run(*ARGUMENTS, "--params", "bad.toml"), "price_range=2.0")


def test_hours_and_an_index_that_is_known_when_its_day_has_ended(tmp_path: Path) -> None:
    hours = np.datetime64("2024-01-01T00", "h") + np.arange(96)
    rows = [f"{h}:00:00Z,{100 + n}" for n, h in enumerate(hours)]
    (tmp_path / "h.csv").write_text("open,close\n" + "\n".join(rows) + "\n")
    (tmp_path / "v.csv").write_text("date,close\n2024-01-01,50\n2024-01-02,60\n2024-01-03,70\n")
    given, told = read_history(tmp_path / "h.csv", tmp_path / "v.csv", price_columns=("open", "close"))
    assert given.steps_per_day == 24 and given.days_per_year == 365.0
    assert given.days().tolist() == [23, 47, 71, 95]
    assert given.indexed[:23].sum() == 0 and given.vol[[23, 46, 47, 95]] == pytest.approx([0.5, 0.5, 0.6, 0.7])
    assert told == ()
    days, _ = read_history(tmp_path / "h.csv", tmp_path / "v.csv", price_columns=("open", "close"), daily=True)
    assert days.steps_per_day == 1 and days.price.tolist() == [123.0, 147.0, 171.0, 195.0]
    assert days.vol == pytest.approx([0.5, 0.6, 0.7, 0.7]) and days.time_ms.tolist() == given.time_ms[23::24].tolist()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("2024-01-01,1\n2024-01-01,2\n2024-01-03,3\n", "row 3, date .* the same time as the row before"),
        ("2024-01-02,1\n2024-01-01,2\n2024-01-03,3\n", "row 3, date .* sort the rows by time"),
        ("2024-01-01,1\nyesterday,2\n2024-01-03,3\n", "row 3, date = 'yesterday'"),
        ("2024-01-01,1\n2024-01-02,0\n2024-01-03,3\n", "row 3, close .* a number above 0"),
        ("2024-01-01,1\n2024-01-02,2\n", "three prices"),
        ("2024-01-01,1\n2024-01-02,2\n2024-01-30,3\n", "row 4, date .* no price for more than 10 days"),
        ("2024-01-01T00:00Z,1\n2024-01-02T00:00,2\n2024-01-03T00:00Z,3\n", "some times have a time zone"),
        ("".join(f"2024-01-{d:02d},{100 + d % 3 if d < 15 else 10 + d % 3}\n" for d in range(1, 29)), "like a split"),
    ],
)
def test_bad_histories_are_named(rows: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("date,close\n" + rows)
    with pytest.raises(DataError, match=message):
        read_history(tmp_path / "p.csv")


def test_what_is_told_of_a_history(run: Any, tmp_path: Path) -> None:  # noqa: F811
    """The same findings as a calibration has, on the terminal and in the result."""
    written(tmp_path)
    rows = (tmp_path / "btc.csv").read_text().splitlines()
    (tmp_path / "btc.csv").write_text("\n".join([*rows[:200], *rows[203:]]) + "\n")
    done = run(*ARGUMENTS, "--set", "fixed", "--json")
    told = "btc.csv: days are missing, 2020-07-17 to 2020-07-21; a return over a gap counts as one of a day"
    assert done.code == 0 and told in done.err
    found = json.loads(done.out)["findings"]
    assert found[0] == told and ["2020-08-27 is near 5:4" in line for line in found[1:]] == [True]


def test_days_to_accept_seeds_and_constants(run: Any, tmp_path: Path) -> None:  # noqa: F811
    written(tmp_path)
    check_fails(run(*ARGUMENTS, "--accept", "hello"), "accept = 'hello': must be a day of the calendar")
    check_fails(run(*ARGUMENTS, "--accept", "1999-12-31"), "accept = '1999-12-31': a day without a row")
    check_fails(run(*ARGUMENTS, "--seed", "-1"), "--seed")
    still = [row.partition(",")[0] + ",5.0" for row in (tmp_path / "btc.csv").read_text().splitlines()[1:]]
    (tmp_path / "btc.csv").write_text("date,close\n" + "\n".join(still) + "\n")
    check_fails(run(*ARGUMENTS), "btc.csv, close = 5.0: the same on every row")


def test_rows_of_the_future_are_refused_or_cut(run: Any, tmp_path: Path) -> None:  # noqa: F811
    """As in a calibration: a row of next year is a slip, unless a last day leaves it out."""
    written(tmp_path)
    later = np.datetime64("now", "D") + 40
    last = (tmp_path / "btc.csv").read_text().splitlines()[-1][:10]
    days = [str(later + n) for n in range(3)]
    (tmp_path / "vol.csv").write_text((tmp_path / "vol.csv").read_text() + "".join(f"{day},55.0\n" for day in days))
    check_fails(run(*ARGUMENTS), f"vol.csv, row 212, date = '{days[0]}'", "in the future")
    done = run(*ARGUMENTS, "--until", last, "--set", "fixed", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["last"] == last


def test_the_result_says_what_was_used(run: Any, tmp_path: Path) -> None:  # noqa: F811
    """Horizon and first day of the back-test, not those that a set has by itself."""
    written(tmp_path)
    kinds = ("calibrated", "quantile", "ewma", "apc", "fixed")
    done = run(*ARGUMENTS, *(word for kind in kinds for word in ("--set", kind)), "--horizon", "2", "--json")
    assert done.code == 0, done.err
    document = json.loads(done.out)
    used = document["sets"]
    assert (used["calibrated"]["settings"]["horizon_days"], used["calibrated"]["settings"]["least_days"]) == (2, 150)
    assert (used["ewma"]["ewma"]["horizon_days"], used["ewma"]["ewma"]["least_days"]) == (2, 150)
    assert (used["apc"]["dynamic"]["horizon_days"], used["apc"]["dynamic"]["least_days"]) == (2.0, 150)
    assert used["quantile"]["fit"]["horizon_days"] == 2 and document["days_per_year"] == 365.0
    assert sets.as_used(sets.Fixed(), 150, 2) == sets.Fixed()


def test_the_length_of_a_year_is_of_what_is_known_before_the_first_margin(tmp_path: Path) -> None:
    """Days of trading 60 times, and then every day: what is known of the first does not change with what follows."""
    day = np.datetime64("2024-01-01") + np.arange(900)
    weekday = (day.astype(np.int64) + 3) % 7 < 5
    kept = day[weekday | (np.arange(900) > 100)]
    price = 100.0 * np.exp(np.cumsum(np.random.default_rng(4).normal(0.0, 0.02, len(kept))))
    for rows in (slice(0, 90), slice(None)):
        lines = [f"{d},{p!r}" for d, p in zip(kept[rows], price[rows].tolist(), strict=True)]
        (tmp_path / "p.csv").write_text("date,close\n" + "\n".join(lines) + "\n")
        assert read_history(tmp_path / "p.csv", known_days=60).history.days_per_year == 252.0
    assert read_history(tmp_path / "p.csv", known_days=600).history.days_per_year == 365.0


@pytest.mark.parametrize("kind", [kind for kind in sets.KINDS if kind != "model"])
def test_no_set_looks_ahead(kind: str) -> None:
    given = walked(330)
    books = standard_books(12)
    chosen = sets.Simulated(window=100) if kind == "historical" else sets.KINDS[kind]()
    before = running.back_test(Plan(given, books, least_days=100), {kind: chosen})
    after = running.back_test(Plan(changed_after(given, 260), books, least_days=100), {kind: chosen})
    known = before.rows <= 260
    for book, margin in before.sets[0].kept.items():
        if book in after.sets[0].kept:
            assert np.array_equal(margin[known], after.sets[0].kept[book][known])


def test_the_calibrated_set_is_what_a_calibration_of_the_day_says() -> None:
    """On days of a new fit range and shocks are those of `calibrate`, from nothing but what was known; vols are of the
    index from the day on which it alone has enough of them."""
    given, chosen = walked(420, index_from=0.4), sets.Calibration(Settings(vol_low=0.03))
    path, known = chosen.rule(150, 2)(given), replace(chosen.settings, horizon_days=2, least_days=150)
    assert np.isnan(path.price_range[:150]).all() and np.isfinite(path.price_range[150:]).all()
    for day in (150, 170, 410):
        returns = log_returns(given.price[: day + 1])
        assert path.price_range[day] == scan_range(returns, known)
        found = tail_weights(returns, path.price_range[day], 5.0, replace(known, draws=20))
        assert path.tail_factor[day] == found.used
    own = 168
    for day, vols in (
        (150, given.stand_in[:151]),
        (310, given.stand_in[:311]),
        (own + 170, given.vol[own : own + 171]),
    ):
        shocks = vol_shock(log_returns(vols), replace(known, draws=20))
        assert (path.vol_up[day], path.vol_down[day]) == (shocks.up, shocks.down)
    bare = chosen.bare(150, 2)(given)
    assert (bare.price_range[150:] < path.price_range[150:]).all() and not bare.at_floor.any()
    floored = sets.Calibration(Settings(range_low=0.5)).rule(150, 2)(given)
    assert floored.at_floor[150:].all() and (floored.price_range[150:] == 0.5).all()


def test_a_rule_that_looks_ahead_is_not_tested(monkeypatch: pytest.MonkeyPatch) -> None:
    given = walked(330)

    def knowing(self: sets.Fixed, least_days: int, horizon_days: int) -> parameters.Rule:
        return lambda own: parameters.fixed(min(0.9, float(own.price[-1] / own.price.max())), 0.5, 0.25)(own)

    monkeypatch.setattr(sets.Fixed, "rule", knowing)
    with pytest.raises(ConfigError, match="it looks ahead"):
        running.back_test(Plan(given, standard_books(4), least_days=100), {"knowing": sets.Fixed()})


def test_pictures_show_what_was_counted() -> None:
    pytest.importorskip("matplotlib")
    from portfolio_margin import plots
    from portfolio_margin.plots import coverage_map, exceedances, mean_excess_plot, parameter_paths, quantile_plot

    given = walked(420)
    chosen = {"ewma": sets.Filtered(), "apc": sets.Limited()}
    found = running.back_test(Plan(given, standard_books(12), least_days=100), chosen)
    book = "long future"
    shown = exceedances(found, "ewma", book).frame
    verdict = found.sets[0].verdicts[found.plan.books.name.tolist().index(book)]
    assert shown["breach"].sum() == verdict.breaches and shown["count"].max() == verdict.worst_250
    ratio = quantile_plot(found, book).frame
    assert (ratio[ratio["set"] == "ewma"]["loss"] > 1.0).sum() == verdict.breaches
    excess = mean_excess_plot(found, book).frame
    losses = found.lost[:, 0][found.lost[:, 0] > 0.0]
    assert excess["mean_excess"].iloc[0] == pytest.approx(losses.mean()) and excess["count"].min() >= 9
    paths = parameter_paths(found).frame
    off = paths[(paths["set"] == "apc") & (paths["tools"] == "off")]["price_range"].to_numpy()
    on = paths[(paths["set"] == "apc") & (paths["tools"] == "on")]["price_range"].to_numpy()
    assert on.shape == off.shape and not np.array_equal(on, off)
    panels = [axes for axes in parameter_paths(found).figure.axes if axes.axison]
    assert [axes.get_title() for axes in panels] == ["ewma", "apc"]
    assert [len(axes.lines) for axes in panels] == [1, 2] and panels[1].lines[1].get_linestyle() == "--"
    assert len(coverage_map(found).frame) == 2 * 12
    together = plots.worst_losses_together(found).frame.set_index(["books", "other"])["together"]
    assert together["long futures", "short futures"] == 0.0 and np.isnan(together["long futures", "long futures"])
    names, count = found.plan.books.name.tolist(), round(0.01 * len(found.lost))
    worst = [set(np.argsort(-found.lost[:, n], kind="stable")[:count].tolist()) for n in range(len(names))]
    long, short = (worst[names.index(f"{side} future")] for side in ("long", "short"))
    straddles = [one for one, name in zip(worst, names, strict=True) if name.startswith("short straddle")]
    for side, own in (("long futures", long), ("short futures", short)):
        assert together[side, "short straddle"] == pytest.approx(np.mean([len(own & s) / count for s in straddles]))
    with pytest.raises(ConfigError, match="no margins of it"):
        exceedances(found, "fixed", book)


def test_bars_of_a_market_with_sessions_are_refused_and_its_days_taken(run: Any, tmp_path: Path) -> None:  # noqa: F811
    """Seven bars a day: a horizon of 24 of them is more than three days."""
    day = np.datetime64("2020-01-06T13:00") + np.arange(400) * np.timedelta64(1, "D")
    day = day[np.is_busday(day.astype("datetime64[D]"))]
    bars = (day[:, None] + np.arange(7) * np.timedelta64(1, "h")).ravel()
    price = 100.0 * np.exp(np.cumsum(np.random.default_rng(1).normal(0.0, 0.004, len(bars))))
    rows = "".join(f"{moment}Z,{close!r}\n" for moment, close in zip(bars, price.tolist(), strict=True))
    (tmp_path / "bars.csv").write_text("date,close\n" + rows)
    command = ("backtest", "--history", "bars.csv", "--least-days", "150", "--books", "4", "--set", "fixed")
    check_fails(run(*command), "bars.csv", "date = '7 bars on a day of 24': a horizon counts bars", "--daily")
    taken = run(*command, "--daily", "--json")
    assert taken.code == 0, taken.err
    assert json.loads(taken.out)["steps_per_day"] == 1
