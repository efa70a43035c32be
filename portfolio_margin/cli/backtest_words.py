"""What the page of a back-test says in sentences: of every set, of each against the first, and of its columns."""

from __future__ import annotations

import numpy as np

from portfolio_margin.backtest.run import BackTest, Tested

RISES = {"peak_to_trough": "peak over trough", "rise_1d": "1 d", "rise_5d": "5 d", "rise_30d": "30 d"}


def counted(count: int, one: str, many: str) -> str:
    """A number with its noun: "1 breach", "2 breaches"."""
    return f"{count:,} {one if count == 1 else many}"


def close_of(found: BackTest, row: int) -> str:
    """When the margin of a tested row was asked for: the close of a day, or a moment in UTC."""
    stamp = str(found.plan.given.stamps([int(found.rows[row])])[0])
    return stamp if found.plan.given.steps_per_day == 1 else f"{stamp}Z"


def sentence(found: BackTest, tested: Tested) -> str:
    """What a committee should take home of one set."""
    books, verdicts = found.plan.books, tested.verdicts
    failing = sum(one.words.startswith("fails") for one in verdicts)
    many, few = (sum(one.kupiec_side == side for one in verdicts) for side in (1, -1))
    said = [f"{tested.name}: fails on {failing or 'none'} of {counted(len(books), 'book', 'books')}"]
    sides = f", {many or 'none'} for too many breaches and {few or 'none'} for fewer than claimed" if many + few else ""
    said.append(f"Kupiec's test rejects {many + few or 'none'}{sides}")
    said.append(_shortfalls(found, tested))
    row = tested.worst()
    said.append(f"least covered is {books.name[row]} with {100 * verdicts[row].coverage:.2f} %, {verdicts[row].words}")
    deepest = max(range(len(books)), key=lambda n: verdicts[n].size.largest)
    size = verdicts[deepest].size
    if size.largest <= 0.0:
        return f"{'; '.join(said)}; no loss ever exceeded its margin."
    when = "from the close of " if found.plan.given.steps_per_day == 1 else "from "
    return (
        f"{'; '.join(said)}; largest shortfall {100 * size.largest:.1f} % of the price, on {books.name[deepest]} "
        f"{when}{close_of(found, size.place)} on."
    )


def _shortfalls(found: BackTest, tested: Tested) -> str:
    """How many books the test of shortfall rejects, which of them do not fail, and the worst one."""
    rejected = [n for n, one in enumerate(tested.verdicts) if one.shortfall_rejected]
    if not rejected:
        return "the test of expected shortfall rejects none"
    worst = min(rejected, key=lambda n: tested.verdicts[n].shortfall.second)
    holding = sum(tested.verdicts[n].words.startswith("holds") for n in rejected)
    covered = sum(tested.verdicts[n].breaches == 0 for n in rejected)
    name, depth = found.plan.books.name[worst], tested.verdicts[worst].shortfall.second
    return (
        f"the test of expected shortfall rejects {len(rejected)}, of which {holding or 'none'} hold by their number of "
        f"breaches and {covered or 'none'} had no breach at all, the worst {name} (Z2 {depth:.2f})"
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
            f"{_pair(table['mean_margin'], a, b)} of the price."
        )
        lines.append(_procyclical(table, (name, a), (first, b)))
    return lines


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
        "A book fails where Kupiec's test at 5 % finds more breaches than claimed, or their number is in the red zone "
        "of the Basel traffic light. Too few are rejected as well: such a book holds, with more margin than the "
        f"{100 * confidence:g} % that was claimed. Of {books} right margins about {0.025 * books:.2g} would be "
        "rejected on either side by chance, and books share one history, so they fail together.",
        "In clusters: breaches follow one another more often than chance would have it (Christoffersen, 5 %), so that "
        "a margin that is right on average is short for days on end. ES rejected: losses beyond the margin are deeper, "
        "or more, than those of a normal law with the margin as its quantile (Acerbi and Szekely, Z2 at 5 %). Neither "
        "makes a book fail; both stand in its verdict. The reading is hard on bought options, which lose most of a "
        "premium most of the time: they are rejected without having lost more than their margin once.",
        "All together is the share of moments at which no book of the row lost more than its margin. Peak over trough "
        "and rises are of the margin in money of one unit, the median of the books.",
    ]
