"""The page of a back-test for people who decide: verdict, parameters, evidence, procyclicality, limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from portfolio_margin.backtest.run import BackTest, Tested
from portfolio_margin.backtest.sets import Set
from portfolio_margin.cli.backtest_conclusion import conclusions
from portfolio_margin.cli.backtest_sets import labelled
from portfolio_margin.cli.backtest_settings import all_settings, parameters, reproduction
from portfolio_margin.cli.backtest_summary import cost_columns, coverage_columns
from portfolio_margin.cli.backtest_words import close_of, compared, explained, sentence
from portfolio_margin.plots.backtest import coverage_map, exceedances, mean_excess_plot, quantile_plot
from portfolio_margin.plots.backtest_parameters import worst_losses_together
from portfolio_margin.report import Column, Section, html_page
from scenarios.backtest.adequacy import CLUSTER_GAP
from scenarios.backtest.revaluation import DYNAMICS
from scenarios.backtest.verdict import Verdict

# Books of the pictures of every set.
PICTURED = ("long future", "short strangle 30d")
LEAST_COVERED = 12


def page(found: BackTest, sets: Mapping[str, Set], identity: Mapping[str, Any], made: Sequence[tuple[str, str]]) -> str:
    """The page.

    sets      that were tested, by name
    identity  what reproduces the result
    made      how the page was made, `provenance.made_rows`
    """
    seen = [int(chosen.get("rows_in_sample", 0)) for chosen in identity["sets"].values()]
    found, sets = labelled(found, sets)
    subtitle = (
        f"{identity['first']} to {identity['last']}, {len(found.rows):,} margins of {len(found.plan.books)} books, "
        f"positions held {found.plan.horizon_days} d, {100 * found.plan.confidence:g} % coverage claimed"
    )
    sections = [
        Section("Conclusion", conclusions(found, seen)),
        _verdict(found, seen, identity["notes"]),
        _explained(found),
        parameters(found, sets),
        *(_evidence(found, tested) for tested in found.sets),
        _tails(found),
        _together(found),
        _least_covered(found),
        _procyclicality(found),
        _limits(found, identity),
        reproduction(identity, made),
        all_settings(identity),
    ]
    return html_page(f"Back-test of margins on {identity['underlying']}", subtitle, sections)


def _verdict(found: BackTest, seen: Sequence[int], notes: Sequence[str]) -> Section:
    lines = [sentence(found, tested, rows) for tested, rows in zip(found.sets, seen, strict=True)]
    lines += [*compared(found), *notes]
    tables = [
        [Column(column.header, column.texts, is_text=not column.right) for column in shown]
        for shown in (coverage_columns(found), cost_columns(found))
    ]
    return Section("Verdict", lines, tables)


def _explained(found: BackTest) -> Section:
    pictures = [("coverage of every book by its kind", coverage_map(found))]
    return Section("How to read the tables", explained(found), pictures=pictures)


def _together(found: BackTest) -> Section:
    share = 100 * (1.0 - found.plan.confidence)
    notes = [
        "Which books have their worst losses at the same moments, by side and kind. A book's worst moments are those "
        f"of its largest losses, {share:g} % of all. A cell is the share of them that two books have in common, the "
        f"mean over pairs of different books: {share:g} % where they have nothing to do with each other, 100 % where "
        "they are one risk. Margins that net such books, and a fund that all draw on, rest on it being low."
    ]
    return Section("Correlation of worst scenarios", notes, pictures=[
        ("how often books of two kinds have their worst losses together", worst_losses_together(found))])  # fmt: skip


def _evidence(found: BackTest, tested: Tested) -> Section:
    books = found.plan.books
    families = list(dict.fromkeys(books.family.tolist()))
    own = [[one for one, name in zip(tested.verdicts, books.family, strict=True) if name == f] for f in families]

    def texts(pattern: str, pick: Any) -> list[str]:
        return [format(pick(group), pattern) for group in own]

    table = [
        Column("books", families, is_text=True),
        Column("number", texts("d", len)),
        Column("coverage, all [%]", texts(".2f", lambda g: 100 * np.mean([v.coverage for v in g]))),
        Column("least, all [%]", texts(".2f", lambda g: 100 * min(v.coverage for v in g))),
        Column("failing", texts("d", lambda g: sum(v.words.startswith("fails") for v in g))),
        Column("Kupiec p, least", [_least_kupiec(group) for group in own], is_text=True),
        Column("independence p, least", texts(".3f", lambda g: min(v.christoffersen.independence.p_value for v in g))),
        Column("most breaches of 250, apart", [_most_of_250(group) for group in own], is_text=True),
        Column("Z2, least", texts(".2f", lambda g: min(v.shortfall.second for v in g))),
        Column("largest shortfall [%]", texts(".2f", lambda g: 100 * max(v.size.largest for v in g))),
        Column("mean margin [%]", texts(".2f", lambda g: 100 * np.mean([v.efficiency.mean_margin for v in g]))),
        Column("margin / mean loss", texts(".1f", lambda g: np.median([v.efficiency.over_mean_loss for v in g]))),
    ]
    names = books.name.tolist()
    shown = dict.fromkeys([*(name for name in PICTURED if name in names), names[tested.worst()]])
    pictures = [(f"P&L of {book} and margin of {tested.name}", exceedances(found, tested.name, book)) for book in shown]
    note = (
        "Shares of the price. Pictures: P&L of the horizon, the margin below it, breaches in red; under it the "
        "breaches of the last 250 losses on the zones of Basel's traffic light, which are for 250; the zone of a "
        "verdict is of the whole count. Losses in pictures do not overlap; coverage, breach sizes and margins of "
        "the table are of all. The last book is the least covered one."
    )
    return Section(f"Evidence: {tested.name}", [note], [table], pictures)


def _least_kupiec(group: Sequence[Verdict]) -> str:
    """The least probability, and on which side of the claim its breaches are."""
    one = min(group, key=lambda v: v.kupiec.p_value)
    claimed = (1.0 - one.confidence) * one.apart
    side = "too many" if one.breaches_apart > claimed else "too few"
    return f"{one.kupiec.p_value:.3f}, {side if one.kupiec_side else 'neither side'}"


def _most_of_250(group: Sequence[Verdict]) -> str:
    """The most breaches of 250 losses, and their zone."""
    worst = max(group, key=lambda v: v.worst_250)
    return f"{worst.worst_250}, {worst.worst_light.zone}"


def _tails(found: BackTest) -> Section:
    books = [book for book in PICTURED if all(book in tested.kept for tested in found.sets)]
    pictures = [(f"losses over margin of {book}", quantile_plot(found, book)) for book in books]
    pictures += [(f"mean excess of {book}", mean_excess_plot(found, book)) for book in books]
    notes = [
        "Losses over the margin of their day against a normal law whose quantile the margin is: points above the "
        "line at the right are a tail that is fatter than normal, points above 1 are breaches.",
        "Mean excess: a line that rises is a tail of Pareto kind, a flat one exponential, one that falls is bounded.",
    ]
    return Section("Tails", notes, pictures=pictures)


def _least_covered(found: BackTest) -> Section:
    books = found.plan.books
    rows = [(tested, n) for tested in found.sets for n in _lowest(tested)]
    verdicts = [tested.verdicts[n] for tested, n in rows]
    when = "from the close of" if found.plan.given.steps_per_day == 1 else "from"
    table = [
        Column("set", [tested.name for tested, _ in rows], is_text=True),
        Column("book", [books.name[n] for _, n in rows], is_text=True),
        Column("coverage, all [%]", [f"{100 * v.coverage:.2f}" for v in verdicts]),
        Column("breaches, all", [str(v.breaches) for v in verdicts]),
        Column("in so many clusters", [str(v.size.clusters) for v in verdicts]),
        Column("breaches, apart", [str(v.breaches_apart) for v in verdicts]),
        Column("zone of whole count", [v.light.zone for v in verdicts], is_text=True),
        Column("most of 250", [_most_of_250([v]) for v in verdicts], is_text=True),
        Column("largest shortfall [% of price]", [f"{100 * v.size.largest:.2f}" for v in verdicts]),
        Column("of margin [%]", [f"{100 * v.size.largest_share:.0f}" for v in verdicts]),
        Column(when, [close_of(found, v.size.place) if v.size.place >= 0 else "" for v in verdicts], is_text=True),
        Column("verdict", [v.words for v in verdicts], is_text=True),
    ]
    note = (
        f"The {LEAST_COVERED} least covered of every set. Of all losses: coverage, breaches, and clusters, which are "
        f"breaches fewer than {CLUSTER_GAP} rows from the next; apart: breaches of losses that do not overlap, "
        "which are tested."
    )
    return Section("Least covered books", [note], [table])


def _lowest(tested: Tested) -> Sequence[int]:
    order = np.argsort([one.coverage for one in tested.verdicts], kind="stable")
    return [int(n) for n in order[:LEAST_COVERED]]


def _procyclicality(found: BackTest) -> Section:
    names = found.plan.books.name.tolist()
    rows = [(tested.name, book, tested.verdicts[names.index(book)]) for tested in found.sets for book in PICTURED
            if book in names]  # fmt: skip
    table = [Column("set", [name for name, _, _ in rows], is_text=True), Column("book", [b for _, b, _ in rows], True)]
    for word, pick in (("share of price", "share"), ("money", "money")):
        table.append(Column(f"peak / trough, {word}", [f"{getattr(v, pick).peak_to_trough:.2f}" for *_, v in rows]))
        for n, days in enumerate((1, 5, 30)):
            texts = [f"{100 * getattr(v, pick).rises[n]:.1f}" for *_, v in rows]
            table.append(Column(f"{days} d rise, {word} [%]", texts))
    floors = ["" if np.isnan(v.share.share_at_floor) else f"{100 * v.share.share_at_floor:.1f}" for *_, v in rows]
    table.append(Column("at floor [%]", floors))
    notes = [
        "Largest rises of the margin over 1, 5 and 30 days, and its largest over its smallest. In money the margin "
        "of one unit moves with the price as well, which a fixed range does too. At floor is the share of the rows on "
        "which a floor makes the price range, and of the price range only: whether vol shocks and the factor of far "
        "moves stand at their least is in Parameters."
    ]
    return Section("Procyclicality", notes, [table])


def _limits(found: BackTest, identity: Mapping[str, Any]) -> Section:
    share = identity["share_with_vol_index"]
    notes = [
        "Positions stand still over the horizon; nobody is liquidated earlier, and closing costs nothing. Liquidity, "
        "concentration and jumps within a bar are no part of this test.",
        f"On {100 * share:.0f} % of the rows the vol is that of an index, on the others a stand-in made of past "
        f"prices "
        "only: option books on those rows test the arithmetic of the margin more than the market of vols.",
        f"Losses take the move of a vol of other than 30 days as that of 30 days times (30 / days)^"
        f"{DYNAMICS.short_power:.2f} up to 30 days and ^{DYNAMICS.long_power:.2f} beyond, whatever powers a set has: "
        "one with other powers is held against these.",
        "One vol a day for all strikes, scaled by days to expiry; no skew moves, no interest. Wings are cheaper "
        "than in the market, both in margin and in loss.",
        "Options are bought anew on every row of the history, a day or a bar of it, at the same days to expiry and "
        "distance from the money, so an expiry itself, and holding a position into it, is not tested.",
        "Breaches are few: of 1,000 losses 99 % coverage has 10, and between 5 and 16 no test at 5 % sees a "
        "difference.",
        "Expected shortfall is tested on the margin read as a normal quantile, which a margin does not claim by "
        "itself.",
        "Parameters that were chosen with this history in mind are not out of sample, whatever the walk does.",
    ]
    if found.plan.given.steps_per_day > 1:
        notes.append(
            "Bars that the source lacks are skipped: a horizon is counted in bars, and is longer where some are "
            "missing."
        )
    told = [_base_names(line, identity) for line in identity["findings"]]
    return Section("Limits", notes, [[Column("told of the files", told, is_text=True)]] if told else [])


def _base_names(line: str, identity: Mapping[str, Any]) -> str:
    """What is told of a file, which is named without its folders."""
    for path in (identity["history"], identity["vol_history"]):
        if path:
            line = line.replace(str(path), str(path).replace("\\", "/").rpartition("/")[2])
    return line
