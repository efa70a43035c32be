"""The page of a back-test for people who decide: verdict, parameters, evidence, procyclicality, limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from portfolio_margin.backtest.run import BackTest, Tested
from portfolio_margin.cli.backtest_summary import summary_columns
from portfolio_margin.plots.backtest import (
    coverage_map,
    exceedances,
    mean_excess_plot,
    parameter_paths,
    quantile_plot,
)
from portfolio_margin.report import Column, Section, html_page

# Books of the pictures of every set.
PICTURED = ("long future", "short strangle 30d")
LEAST_COVERED = 12


def page(found: BackTest, identity: Mapping[str, Any]) -> str:
    """The page. identity is what reproduces it."""
    subtitle = (
        f"{identity['first']} to {identity['last']}, {len(found.rows):,} margins of {len(found.plan.books)} books, "
        f"positions held {found.plan.horizon_days} d, {100 * found.plan.confidence:g} % coverage claimed"
    )
    sections = [
        _verdict(found),
        _parameters(found, identity),
        *(_evidence(found, tested) for tested in found.sets),
        _tails(found),
        _least_covered(found),
        _procyclicality(found),
        _limits(found, identity),
    ]
    return html_page(f"Back-test of margins on {identity['underlying']}", subtitle, sections)


def _verdict(found: BackTest) -> Section:
    lines = []
    for tested in found.sets:
        lines.append(_sentence(found, tested))
    shown = summary_columns(found)
    table = [Column(column.header, column.texts, is_text=not column.right) for column in shown]
    lines.append(
        "A book fails where Kupiec's test at 5 % finds more breaches than claimed, or the count is in the red zone "
        "of the Basel traffic light; tests are on losses that do not overlap. Of 200 right margins about 5 would "
        "be rejected on that side by chance, and books share one history, so they fail together. Peak over trough "
        "and rises are of the margin in money of one unit, the median of the books. All together is the share of "
        "moments at which no book of the row lost more than its margin."
    )
    return Section("Verdict", lines, [table], [("coverage of every book by its kind", coverage_map(found))])


def _sentence(found: BackTest, tested: Tested) -> str:
    """What a committee should take home of one set."""
    books = found.plan.books
    failing = [n for n, one in enumerate(tested.verdicts) if one.words.startswith("fails")]
    row = tested.worst()
    worst = tested.verdicts[row]
    deepest = max(range(len(books)), key=lambda n: tested.verdicts[n].size.largest)
    size = tested.verdicts[deepest].size
    said = f"fails on {len(failing) or 'none'} of {len(books)} books"
    least = f"least covered is {books.name[row]} with {100 * worst.coverage:.2f} %"
    if size.largest <= 0.0:
        return f"{tested.name}: {said}; {least}; no loss ever exceeded its margin."
    moment = found.plan.given.time_ms[found.rows[size.place]].astype("datetime64[ms]").astype("datetime64[D]")
    return (
        f"{tested.name}: {said}; {least}; largest shortfall {100 * size.largest:.1f} % of the price, on "
        f"{books.name[deepest]} from {moment}."
    )


def _parameters(found: BackTest, identity: Mapping[str, Any]) -> Section:
    rows = [(name, key, value) for name, chosen in identity["sets"].items() for key, value in _flat(chosen)]
    table = [
        Column("set", [name for name, _, _ in rows], is_text=True),
        Column("parameter", [key for _, key, _ in rows], is_text=True),
        Column("value", [str(value) for _, _, value in rows]),
    ]
    last = [(tested.name, tested.daily) for tested in found.sets if tested.daily is not None]
    today = [
        Column("set", [name for name, _ in last], is_text=True),
        *(
            Column(f"{word} [%]", [f"{100 * getattr(path, field)[-1]:.2f}" for _, path in last])
            for field, word in (("price_range", "price range"), ("vol_up", "vol up"), ("vol_down", "vol down"))
        ),
    ]
    notes = [
        "Sets that are fitted were fitted anew along the history with what was known on the day, fixed ones never "
        "move; a rule whose parameters change when later days are cut off is refused before anything is computed.",
        "First what each set says on the last day, then everything it was given. Dotted lines are without the tools "
        "against procyclicality (floor, buffer, stressed weight, limits per day).",
    ]
    pictures = [("price ranges through time", parameter_paths(found))] if last else []
    return Section("Parameters", notes, [today, table] if last else [table], pictures)


def _flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, value in values.items():
        found += _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else [(f"{prefix}{name}", value)]
    return found


def _evidence(found: BackTest, tested: Tested) -> Section:
    books = found.plan.books
    families = list(dict.fromkeys(books.family.tolist()))
    own = [[one for one, name in zip(tested.verdicts, books.family, strict=True) if name == f] for f in families]

    def texts(pattern: str, pick: Any) -> list[str]:
        return [format(pick(group), pattern) for group in own]

    table = [
        Column("books", families, is_text=True),
        Column("number", texts("d", len)),
        Column("coverage [%]", texts(".2f", lambda g: 100 * np.mean([v.coverage for v in g]))),
        Column("least [%]", texts(".2f", lambda g: 100 * min(v.coverage for v in g))),
        Column("failing", texts("d", lambda g: sum(v.words.startswith("fails") for v in g))),
        Column("Kupiec p, least", texts(".3f", lambda g: min(v.kupiec.p_value for v in g))),
        Column("independence p, least", texts(".3f", lambda g: min(v.christoffersen.independence.p_value for v in g))),
        Column("most breaches of 250", texts("d", lambda g: max(v.worst_year for v in g))),
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
        "breaches of the last 250 losses on the zones of the traffic light. The last book is the least covered one."
    )
    return Section(f"Evidence: {tested.name}", [note], [table], pictures)


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
    moments = found.plan.given.time_ms[found.rows].astype("datetime64[ms]").astype("datetime64[D]")
    table = [
        Column("set", [tested.name for tested, _ in rows], is_text=True),
        Column("book", [books.name[n] for _, n in rows], is_text=True),
        Column("coverage [%]", [f"{100 * v.coverage:.2f}" for v in verdicts]),
        Column("breaches", [str(v.breaches_apart) for v in verdicts]),
        Column("clusters", [str(v.size.clusters) for v in verdicts]),
        Column("largest shortfall [% of price]", [f"{100 * v.size.largest:.2f}" for v in verdicts]),
        Column("of margin [%]", [f"{100 * v.size.largest_share:.0f}" for v in verdicts]),
        Column("from", [str(moments[v.size.place]) if v.size.place >= 0 else "" for v in verdicts], is_text=True),
        Column("verdict", [v.words for v in verdicts], is_text=True),
    ]
    return Section("Least covered books", [f"The {LEAST_COVERED} least covered of every set."], [table])


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
        "of one unit moves with the price as well, which a fixed range does too."
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
    if identity["findings"]:
        notes.append("Told of the files: " + "; ".join(identity["findings"]) + ".")
    return Section("Limits", notes)
