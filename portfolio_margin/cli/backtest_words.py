"""What the page of a back-test says in sentences: of every set, of each against the first, and of its columns."""

from __future__ import annotations

import numpy as np
from scipy.special import bdtrc

from portfolio_margin.backtest.run import BackTest, Tested
from scenarios.backtest.coverage import traffic_light
from scenarios.backtest.verdict import WINDOW

RISES = {"peak_to_trough": "peak over trough", "rise_1d": "1 d", "rise_5d": "5 d", "rise_30d": "30 d"}


def counted(count: int, one: str, many: str) -> str:
    """A number with its noun: "1 breach", "2 breaches"."""
    return f"{count:,} {one if count == 1 else many}"


def close_of(found: BackTest, row: int) -> str:
    """When the margin of a tested row was asked for: the close of a day, or a moment in UTC."""
    stamp = str(found.plan.given.stamps([int(found.rows[row])])[0])
    return stamp if found.plan.given.steps_per_day == 1 else f"{stamp}Z"


def sentence(found: BackTest, tested: Tested, seen: int = 0) -> str:
    """What a committee should take home of one set.

    seen  rows in sample, the first ones
    """
    books, verdicts = found.plan.books, tested.verdicts
    failing = sum(one.words.startswith("fails") for one in verdicts)
    many, few = (sum(one.kupiec_side == side for one in verdicts) for side in (1, -1))
    of = counted(len(books), "book", "books")
    said = [f"{tested.name}: {_in_sample(found, tested, seen)}fails on {failing or 'none'} of {of}"]
    sides = f", {many or 'none'} for too many breaches and {few or 'none'} for fewer than claimed" if many + few else ""
    said.append(f"Kupiec's test rejects {many + few or 'none'}{sides}")
    said += [_worst_250(tested), _shortfalls(found, tested)]
    row = tested.worst()
    said.append(f"least covered is {books.name[row]} with {100 * verdicts[row].coverage:.2f} % ({verdicts[row].words})")
    said.append(_mean_margin(found, tested))
    named = _named(found)
    deepest = max(range(len(books)), key=lambda n: verdicts[n].size.largest)
    if verdicts[deepest].size.largest <= 0.0:
        return f"{'; '.join(said)}; no loss ever exceeded its margin."
    said.append(f"largest shortfall {_deepest(found, tested, deepest)}")
    if deepest not in named and named:
        mildest = max(named, key=lambda n: verdicts[n].size.largest)
        none = verdicts[mildest].size.largest <= 0.0
        said[-1] += " (a random book holds several units of the underlying)"
        said.append("of the named books " + ("none" if none else _deepest(found, tested, mildest)))
    return f"{'; '.join(said)}."


def _deepest(found: BackTest, tested: Tested, book: int) -> str:
    """The largest shortfall of a book, with its share of the margin and its time."""
    size, when = tested.verdicts[book].size, "the close of " if found.plan.given.steps_per_day == 1 else ""
    share = (
        f"at worst {100 * size.largest_share:.0f} % of its margin" if np.isfinite(size.largest_share) else "margin 0"
    )
    return (
        f"{100 * size.largest:.1f} % of the price, {share}, on {found.plan.books.name[book]} from "
        f"{when}{close_of(found, size.place)} on"
    )


def _named(found: BackTest) -> list[int]:
    """Books that are not random ones, which hold several units."""
    return np.flatnonzero(found.plan.books.family != "random").tolist()


def _mean_margin(found: BackTest, tested: Tested) -> str:
    margins = np.array([one.efficiency.mean_margin for one in tested.verdicts])
    named = _named(found)
    beside = (
        f", of the {len(named)} named books {100 * margins[named].mean():.1f} %" if len(named) < len(margins) else ""
    )
    return f"mean margin {100 * margins.mean():.1f} % of the price{beside}"


def _in_sample(found: BackTest, tested: Tested, seen: int) -> str:
    """How many rows a set's maker saw, and how often all books together were covered on them and after."""
    count = len(found.rows)
    if not seen:
        return ""
    hit = np.any(list(tested.breached.values()), axis=0)
    if seen == count:
        return f"all {count:,} rows are in sample, so that none of this tests it out of sample; "
    return (
        f"{seen:,} of {count:,} rows are in sample; all books together are covered on "
        f"{100 * (1 - hit[:seen].mean()):.2f} % of these and on {100 * (1 - hit[seen:].mean()):.2f} % of the "
        f"{count - seen:,} after them; "
    )


def _worst_250(tested: Tested) -> str:
    """How many books had 250 losses in a row in yellow or red."""
    zones = [one.worst_light.zone for one in tested.verdicts]
    yellow, red = (zones.count(zone) or "none" for zone in ("yellow", "red"))
    return f"the worst {WINDOW} losses in a row are in yellow on {yellow}, in red on {red}"


def _shortfalls(found: BackTest, tested: Tested) -> str:
    """How many books the test of shortfall rejects, which of them do not fail, and the worst one."""
    rejected = [n for n, one in enumerate(tested.verdicts) if one.shortfall_rejected]
    if not rejected:
        return "the test of expected shortfall rejects none"
    worst = min(rejected, key=lambda n: tested.verdicts[n].shortfall.second)
    holding = sum(tested.verdicts[n].words.startswith("holds") for n in rejected)
    covered = sum(tested.verdicts[n].breaches == 0 for n in rejected)
    lost = len(rejected) - covered
    name, depth = found.plan.books.name[worst], tested.verdicts[worst].shortfall.second
    return (
        f"the test of expected shortfall rejects {len(rejected)}, of which {covered or 'none'} never lost more than "
        f"the margin and {lost or 'none'} did, while {holding or 'none'} hold by the number of breaches, the worst "
        f"{name} (Z2 {depth:.2f})"
    )


def compared(found: BackTest) -> list[str]:
    """Every set against the first: coverage and what it costs, then procyclicality."""
    table = found.summary()
    rows = {name: n for n, (name, books) in enumerate(zip(table["set"], table["books"], strict=True)) if books == "all"}
    first, *others = rows
    lines = []
    for name in others:
        a, b = rows[name], rows[first]
        lines.append(
            f"Coverage of {name} against {first}: {_pair(table['coverage'], a, b)} on average, the least covered book "
            f"{_pair(table['worst_coverage'], a, b)}, all books together {_pair(table['joint_coverage'], a, b)}, "
            f"failing {table['failing'][a]} against {table['failing'][b]}, for a mean margin of "
            f"{_pair(table['mean_margin'], a, b)} of the price{_named_margins(found, (name, first))}."
        )
        lines.append(_procyclical(table, (name, a), (first, b)))
    return lines


def _named_margins(found: BackTest, names: tuple[str, str]) -> str:
    """Mean margins of two sets on the books that are not random ones; "" where all are."""
    named = _named(found)
    if not named or len(named) == len(found.plan.books):
        return ""
    of = {tested.name: [tested.verdicts[n].efficiency.mean_margin for n in named] for tested in found.sets}
    return f", of the named books {_pair(np.array([np.mean(of[name]) for name in names]), 0, 1)}"


def _procyclical(table: dict[str, np.ndarray], own: tuple[str, int], other: tuple[str, int]) -> str:
    (name, a), (first, b) = own, other
    said, higher = [], []
    for field, word in RISES.items():
        plain = field == "peak_to_trough"
        texts = [f"{v:.2f}" if plain else f"{100 * v:.1f} %" for v in (table[field][a], table[field][b])]
        said.append(f"{word} {texts[0]} against {texts[1]}")
        if texts[0] != texts[1] and table[field][a] > table[field][b]:
            higher.append(word)
    verdict = f"higher in {', '.join(higher)}" if higher else "higher in none of the four"
    return f"Procyclicality of {name} against {first}, medians of all books in money: {', '.join(said)}; {verdict}."


def _pair(column: np.ndarray, a: int, b: int) -> str:
    return f"{100 * column[a]:.2f} % against {100 * column[b]:.2f} %"


def explained(found: BackTest) -> list[str]:
    """What the columns of coverage and of tests are of, and what a rejection means."""
    apart, rows = found.sets[0].verdicts[0].apart, len(found.rows)
    confidence, books = found.plan.confidence, len(found.plan.books)
    losses = (
        f"All {rows:,} losses are apart: none overlaps another."
        if apart == rows
        else f"Coverage, breaches and clusters marked all are of all {rows:,} losses, one from every row, which "
        f"overlap; tests, zones and breaches marked apart are of the {apart:,} that do not."
    )
    return [
        losses,
        "A book fails where Kupiec's test at 5 % finds more breaches than claimed, or their number over the whole "
        "history is in the red zone of the traffic light, scaled to as many losses. Too few are rejected as well: such "
        f"a book holds, with more margin than the {100 * confidence:g} % that was claimed. Of {books} right "
        f"margins about {0.025 * books:.2g} would be "
        "rejected on either side by chance, and books share one history, so they fail together.",
        "In clusters: breaches follow one another more often than chance would have it (Christoffersen, 5 %), so that "
        "a margin that is right on average is short for days on end. ES rejected: losses beyond the margin are deeper, "
        "or more, than those of a normal law with the margin as its quantile (Acerbi and Szekely, Z2 at 5 %). Neither "
        "makes a book fail; both stand in its verdict. The reading is hard on bought options, which lose most of a "
        f"premium most of the time. {_rejected(found)}",
        _lights(found),
        "All together is the share of moments at which no book of the row lost more than its margin. Peak over trough "
        "and rises are of the margin in money of one unit, the median of the books.",
    ]


def _rejected(found: BackTest) -> str:
    """How many books of all sets the test of shortfall rejects, with and without a loss beyond the margin."""
    deep = [one for tested in found.sets for one in tested.verdicts if one.shortfall_rejected]
    if not deep:
        return "Here none is rejected."
    lost = sum(one.breaches > 0 for one in deep)
    return (
        f"Here {len(deep)} are rejected, every set counted: {len(deep) - lost or 'none'} without having lost more than "
        f"the margin once, {lost or 'none'} with such losses."
    )


def _lights(found: BackTest) -> str:
    """Which zones are told: of the whole count, and of the worst 250 losses."""
    one = found.sets[0].verdicts[0]
    days = WINDOW * found.plan.horizon_days
    zones = [traffic_light(n, WINDOW, found.plan.confidence).zone for n in range(WINDOW + 1)]
    yellow, red, chance = zones.index("yellow"), zones.index("red"), _chance(found.plan.confidence)
    return (
        f"Yellow and red are told twice. Zone of the whole count: of the breaches among all {one.apart:,} losses that "
        f"are apart; it makes a book doubtful or fail. Most of 250: of the {WINDOW} losses that Basel's light is for, "
        f"here {days} days of the history, the worst in a row; {yellow} breaches are yellow, {red} red. It makes no "
        f"book fail, and a verdict says it where it is the worse of the two. A right margin is in yellow or red in "
        f"{chance:.0f} % of such stretches taken singly, and in the worst of many far more often."
    )


def _chance(confidence: float) -> float:
    """In percent: that 250 losses of a right margin are not in green."""
    zones = [traffic_light(n, WINDOW, confidence).zone for n in range(WINDOW + 1)]
    return 100.0 * float(bdtrc(zones.index("yellow") - 1, WINDOW, 1.0 - confidence))
