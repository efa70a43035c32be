"""backtest --report: what the page says in words and tables is what the result says in numbers."""

from __future__ import annotations

import hashlib
import html
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from portfolio_margin.backtest.bands import last_day_bands
from portfolio_margin.backtest.plan import Plan
from portfolio_margin.backtest.run import BackTest, back_test
from portfolio_margin.backtest.sets import Calibration, Fixed, Limited
from portfolio_margin.cli.backtest_conclusion import conclusions
from portfolio_margin.cli.backtest_sets import labelled
from portfolio_margin.cli.backtest_settings import parameters
from portfolio_margin.cli.backtest_words import compared, counted, explained, sentence
from scenarios.backtest.books import standard_books
from scenarios.backtest.history import History
from scenarios.calibrate import Settings, price_range
from scenarios.calibrate.moves import log_returns
from tests.portfolio_margin import test_cli
from tests.portfolio_margin.test_cli_backtest import ARGUMENTS, written
from tests.scenarios.backtest.histories import walked

run = test_cli.run
SETS = """
[sets.still]
kind = "fixed"
price_range = 0.04

[sets.fitted]
kind = "calibrated"
settings = { draws = 20, vol_low = 0.03 }
"""


@pytest.fixture(scope="module")
def found() -> BackTest:
    plan = Plan(walked(420), standard_books(30), confidence=0.95, horizon_days=2, least_days=150)
    return back_test(plan, {"still": Fixed(0.04), "wide": Fixed(0.5), "apc": Limited()})


def test_a_page_of_numbers_that_stand_in_the_result(run: Any, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    written(tmp_path)
    (tmp_path / "sets.toml").write_text(SETS)
    done = run(*ARGUMENTS, "--params", "sets.toml", "--horizon", "2", "--report", "page.html", "--json")
    assert done.code == 0, done.err
    document, page = json.loads(done.out), html.unescape((tmp_path / "page.html").read_text())
    tables = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", text) for text in re.findall("<table>(.*?)</table>", page, re.S)]
    assert "which counts" in tables[3] and "the least factor of far moves is 0.667, 2/3" in page
    assert page.index("<h2>Conclusion") < page.index("<h2>Verdict") and "fitted: the least vol shocks are 3.8" in page
    assert "ES rejected" in tables[0] and "peak / trough" not in tables[0]
    assert "peak / trough" in tables[1] and len(tables[0]) // 7 <= 13 and len(tables[1]) // 7 <= 10
    for row in document["summary"]:
        assert row["kupiec_too_many"] + row["kupiec_too_few"] == row["kupiec_rejects"]
        assert f"{100 * row['coverage']:.2f}" in tables[0] and f"{100 * row['mean_margin']:.2f}" in tables[1]
    assert "Correlation of worst scenarios" in page and '<img alt="how often books of two kinds' in page
    # What makes the page again: command, files, seed, version; what is in force, with its band.
    for name in ("btc.csv", "vol.csv", "sets.toml"):
        digest = hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
        assert document["sha256"][name] == digest and digest in page
    assert "portfolio-margin backtest --history btc.csv --vol-history vol.csv" in page
    assert f"portfolio-margin {document['engine_version']}" in page and "seed of the random books" in page
    assert "21, 10 % of the range apart" in page and "90 % band from" in page
    # Of the settings in sight those of a walk and those that differ; everything else is behind a click.
    before, _, after = page.partition("<details>")
    assert "settings.draws" in before and "settings.stress_days" not in before and "settings.stress_days" in after


def test_days_are_those_of_the_file(run: Any, tmp_path: Path) -> None:
    """A bar of a day is known at midnight, and is named by its own day: Friday's margin is not Saturday's."""
    written(tmp_path)
    prices = [line.split(",") for line in (tmp_path / "btc.csv").read_text().splitlines()[1:]]
    kept = [(day, price) for day, price in prices if np.is_busday(np.datetime64(day))]
    (tmp_path / "btc.csv").write_text("date,close\n" + "\n".join(map(",".join, kept)) + "\n")
    (tmp_path / "sets.toml").write_text('[sets.low]\nkind = "fixed"\nprice_range = 0.02\n')
    arguments = (*ARGUMENTS[:3], "--least-days", "150", "--books", "4", "--params", "sets.toml")
    done = run(*arguments, "--json")
    assert done.code == 0, done.err
    document, close = json.loads(done.out), np.array([float(price) for _, price in kept])
    assert (document["first"], document["last"]) == (kept[151][0], kept[-1][0])
    short = next(row for row in document["rows"] if row["book"] == "short future")
    worst = 150 + int(np.argmax(close[151:] / close[150:-1]))
    assert short["breaches"] > 0 and short["largest_shortfall_time"] == kept[worst][0]
    shown = run(*arguments)
    assert f"{kept[151][0]} to {kept[-1][0]}: " in shown.out and "losses of one day each" in shown.out


def test_stamps_of_days_and_of_hours() -> None:
    midnights = np.datetime64("2024-01-06T00:00", "ms").astype(np.int64) + 86_400_000 * np.arange(3)
    given = History(midnights, np.ones(3), np.ones(3), np.ones(3), np.zeros(3))
    assert given.stamps([0, 2]).astype(str).tolist() == ["2024-01-05", "2024-01-07"]
    hours = replace(given, time_ms=midnights[0] + 3_600_000 * np.arange(3), steps_per_day=24)
    assert hours.stamps([0, 1]).astype(str).tolist() == ["2024-01-06T00:00", "2024-01-06T01:00"]


def test_what_is_said_of_a_set_counts_both_sides(found: BackTest) -> None:
    tight, wide = found.sets[0], found.sets[1]
    for tested in (tight, wide):
        said = sentence(found, tested)
        apart, claimed = tested.verdicts[0].apart, 0.05 * tested.verdicts[0].apart
        rejected = [one.breaches_apart > claimed for one in tested.verdicts if one.kupiec.p_value < 0.05]
        counts = [str(count or "none") for count in (sum(rejected), len(rejected) - sum(rejected))]
        assert f"rejects {len(rejected)}, {counts[0]} for too many breaches and {counts[1]} for fewer" in said
        deep = [one for one in tested.verdicts if one.shortfall_p < 0.05]
        assert f"expected shortfall rejects {len(deep) or 'none'}" in said and apart == 134
    assert sum(one.kupiec_side > 0 for one in tight.verdicts) and sum(one.kupiec_side < 0 for one in wide.verdicts)
    assert "holds" not in sentence(found, tight).partition("least covered")[2].split(";")[0]
    assert all(("ES rejected" in one.words) == (one.shortfall_p < 0.05) for one in tight.verdicts)


def test_rejections_of_shortfall_are_counted_and_not_claimed(found: BackTest) -> None:
    """Books that the test rejects may have lost more than their margin: the page says how many of each there are."""
    deep = [one for tested in found.sets for one in tested.verdicts if one.shortfall_p < 0.05]
    lost = sum(one.breaches > 0 for one in deep)
    assert lost > 0
    counts = f"{len(deep) - lost or 'none'} without having lost more than the margin once, {lost} with such losses."
    assert explained(found)[2].endswith(f"Here {len(deep)} are rejected, every set counted: {counts}")
    for tested, line in zip(found.sets, conclusions(found, [0, 0, 0]), strict=False):
        own = [one for one in tested.verdicts if one.shortfall_p < 0.05]
        hit = sum(one.size.largest > 0.0 for one in own)
        if not own:
            assert line.endswith("ES rejected on none.") and "shortfall rejects none;" in sentence(found, tested)
            continue
        assert f"ES rejected on {len(own)}, of which {hit or 'none'} ever lost more than the margin." in line
        never, did = len(own) - hit or "none", hit or "none"
        said = f"rejects {len(own)}, of which {never} never lost more than the margin and {did} did"
        assert said in sentence(found, tested)


def test_a_conclusion_follows_the_rule(found: BackTest) -> None:
    still, wide, apc, rule = conclusions(found, [0, 0, 100])
    failing = sum(one.words.startswith("fails") for one in found.sets[0].verdicts)
    assert still.startswith(f"still: not adequate at 95 %, {failing} of 30 books fail; over-margined on ")
    assert wide.startswith("wide: adequate at 95 %, none of 30 books fails; over-margined on ")
    assert "procyclicality" not in still and "procyclicality against still better in " in wide
    assert f"100 of {len(found.rows)} rows are in sample, of which no adequacy follows" in apc
    assert rule.startswith("Adequate is a set none of whose books fails")
    higher = compared(found)[3].partition("higher in ")[2].rstrip(".").replace("none of the four", "none")
    assert f", worse in {higher} of the four" in apc


def test_the_light_of_250_is_counted_beside_that_of_the_whole_count(found: BackTest) -> None:
    table, summary = found.table(), found.summary()
    for name in ("still", "wide", "apc"):
        zones = table["worst_250_zone"][table["set"] == name].tolist()
        row = int(np.flatnonzero((summary["set"] == name) & (summary["books"] == "all"))[0])
        counts = [int(summary[f"worst_{zone}"][row]) for zone in ("yellow", "red")]
        assert counts == [zones.count("yellow"), zones.count("red")]
        said = [str(count or "none") for count in counts]
        tested = next(one for one in found.sets if one.name == name)
        assert f"250 losses in a row are in yellow on {said[0]}, in red on {said[1]};" in sentence(found, tested)
        line = conclusions(found, [0, 0, 0])[("still", "wide", "apc").index(name)]
        assert f"; worst 250 losses in yellow on {said[0]} and in red on {said[1]};" in line
    # Basel 1996 at 99 %: 89.2 % of years have four breaches or fewer. Here 95 % are claimed.
    assert "here 500 days of the history" in explained(found)[3]
    assert (
        "A right margin is in yellow or red in 11 % of such stretches"
        in explained(replace(found, plan=replace(found.plan, confidence=0.99)))[3]
    )


def test_named_books_stand_beside_random_ones() -> None:
    """A library with random books: the largest shortfall and the mean margin of the others are told as well."""
    books = standard_books(120)
    found = back_test(Plan(walked(420), books, 0.95, 2, 150), {"still": Fixed(0.04)})
    named = [v for v, family in zip(found.sets[0].verdicts, books.family, strict=True) if family != "random"]
    largest = max(v.size.largest for v in named)
    said = sentence(found, found.sets[0])
    assert largest < max(v.size.largest for v in found.sets[0].verdicts)
    assert f"of the named books {100 * largest:.1f} % of the price, at worst " in said
    mean = np.mean([v.efficiency.mean_margin for v in named])
    assert f"of the {len(named)} named books {100 * mean:.1f} %" in said and "holds several units" in said


def test_every_set_is_held_against_the_first(found: BackTest) -> None:
    lines = compared(found)
    assert [line.split(" ")[:4] for line in lines] == [
        [what, "of", name, "against"] for name in ("wide", "apc") for what in ("Coverage", "Procyclicality")
    ]
    table = found.summary()
    own, first = (int(np.flatnonzero((table["set"] == n) & (table["books"] == "all"))[0]) for n in ("apc", "still"))
    coverage = [f"{100 * table['coverage'][row]:.2f} %" for row in (own, first)]
    assert f"{coverage[0]} against {coverage[1]} on average" in lines[2]
    measures = {"peak over trough": "peak_to_trough", "1 d": "rise_1d", "5 d": "rise_5d", "30 d": "rise_30d"}
    higher = [word for word, field in measures.items() if table[field][own] > table[field][first]]
    assert lines[3].endswith(f"; higher in {', '.join(higher) or 'none of the four'}.")
    assert counted(1, "breach", "breaches") == "1 breach" and counted(1_200, "breach", "breaches") == "1,200 breaches"


def test_one_breach_is_one() -> None:
    pytest.importorskip("matplotlib")
    from portfolio_margin.plots import exceedances

    given = walked(420)
    falls = np.sort(1.0 - given.price[151:] / given.price[150:-1])
    plan = Plan(given, standard_books(2), least_days=150)
    between = back_test(plan, {"one": Fixed(float(falls[-2:].mean())), "two": Fixed(float(falls[-3:-1].mean()))})
    for name, said in (("one", "1 breach of 269 losses"), ("two", "2 breaches of 269 losses")):
        legend = exceedances(between, name, "long future").figure.legends[0]
        assert f"{said} that do not overlap" in [text.get_text() for text in legend.get_texts()]


def test_bands_of_the_last_day_are_those_of_a_calibration() -> None:
    given, settings = walked(420), Settings(draws=20)
    chosen = Calibration(settings)
    plan = Plan(given, standard_books(2), horizon_days=2, least_days=150)
    found = back_test(plan, {"fitted": chosen})
    bands = last_day_bands(found, "fitted", chosen)
    known = replace(settings, horizon_days=2, least_days=150)
    days = (given.time_ms[1:] - 1) // 86_400_000
    expected = price_range(log_returns(given.price), known, days=days).methods["none", "pareto"]
    assert bands["price_range"][:3] == pytest.approx(expected[:3], rel=1e-9)
    path = found.sets[0].daily
    assert path is not None and set(bands) == {"price_range", "vol_up", "vol_down", "tail_factor"}
    # What is in force is the estimate with what is left of the buffer, or the floor.
    assert bands["price_range"].value <= path.price_range[-1] * 1.1
    assert all(0.0 < one.low <= one.value <= one.high for one in bands.values())
    # Least of two days: 1.28^(2^0.35), of the VIX before 2020, and its inverse; 2/3 of far moves. The range has none.
    up = 100.0 * (1.28 ** (2.0**0.35) - 1.0)
    table = {column.header: column.cells for column in parameters(found, {"fitted": chosen}).tables[1]}
    assert table["in force"][1:3] == [f"{up:.2f}", f"{100.0 * up / (100.0 + up):.2f}"]
    assert table["which counts"] == [table["which counts"][0], "least", "least", "least"]
    assert table["which counts"][0] in ("calculated", "floor") and table["at its least [% of days]"][0] == "0.0"
    days = found.days[found.days >= found.rows[0]][: len(found.rows)]
    shares = [np.mean(column[days] < low) for column, low in ((path.vol_up, 0.36981), (path.tail_factor, 0.66667))]
    assert [table["at its least [% of days]"][n] for n in (1, 3)] == [f"{100 * share:.1f}" for share in shares]
    free = Calibration(replace(settings, vol_low=0.01, tail_low=0.0))
    without = back_test(plan, {"fitted": free})
    table = {column.header: column.cells for column in parameters(without, {"fitted": free}).tables[1]}
    assert table["which counts"][1:] == ["calculated"] * 3 and labelled(without, {"fitted": free})[0] == without
