"""What a committee may conclude of a back-test, a line a set: adequate or not, what it costs, what stays open."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from portfolio_margin.backtest.run import BackTest, Tested
from portfolio_margin.cli.backtest_words import RISES, counted

RULE = (
    "Adequate is a set none of whose books fails, doubtful one of which a book is in the yellow zone of its whole "
    "count; what fails a book stands in How to read the tables. Adequate says nothing of what it costs: "
    "over-margined is a book whose breaches are fewer than claimed."
)


def conclusions(found: BackTest, seen: Sequence[int]) -> list[str]:
    """A line a set, then the rule.

    seen  rows in sample of each set, 0 where there are none
    """
    lines = [_line(found, tested, rows) for tested, rows in zip(found.sets, seen, strict=True)]
    return [*lines, RULE]


def _line(found: BackTest, tested: Tested, seen: int) -> str:
    verdicts, claimed = tested.verdicts, f"{100 * found.plan.confidence:g} %"
    said = [f"{tested.name}: {_adequate(tested, claimed)}"]
    if seen:
        said.append(f"{seen:,} of {len(found.rows):,} rows are in sample, of which no adequacy follows")
    few = sum(one.kupiec_side < 0 for one in verdicts)
    said.append(f"over-margined on {few} (Kupiec: too few breaches)" if few else "over-margined on none")
    if tested.name != found.sets[0].name:
        said.append(_procyclical(found, tested.name))
    zones = [one.worst_light.zone for one in verdicts]
    yellow, red = (zones.count(zone) or "none" for zone in ("yellow", "red"))
    said.append(f"worst 250 losses in yellow on {yellow} and in red on {red}")
    clustered = sum("cluster" in one.words for one in verdicts)
    said.append(f"breaches come in clusters on {clustered or 'none'}")
    deep = [one for one in verdicts if one.shortfall_rejected]
    lost = sum(one.breaches > 0 for one in deep)
    said.append(f"ES rejected on {len(deep)}, of which {lost or 'none'} ever lost more than the margin" if deep
                else "ES rejected on none")  # fmt: skip
    return f"{'; '.join(said)}."


def _adequate(tested: Tested, claimed: str) -> str:
    """By the rule: how many fail, else how many are doubtful."""
    failing, doubtful = (sum(one.words.startswith(word) for one in tested.verdicts) for word in ("fails", "doubtful"))
    books = counted(len(tested.verdicts), "book", "books")
    if failing:
        return f"not adequate at {claimed}, {failing} of {books} {'fails' if failing == 1 else 'fail'}"
    if doubtful:
        return f"doubtful at {claimed}, none of {books} fails, {doubtful} in the yellow zone"
    return f"adequate at {claimed}, none of {books} fails"


def _procyclical(found: BackTest, name: str) -> str:
    """In which of the four measures a set is better and worse than the first, medians of all books in money."""
    table, first = found.summary(), found.sets[0].name
    own, other = (int(np.flatnonzero((table["set"] == n) & (table["books"] == "all"))[0]) for n in (name, first))
    sides: dict[int, list[str]] = {-1: [], 1: []}
    for field, word in RISES.items():
        digits = 2 if field == "peak_to_trough" else 3  # the same where they print the same
        side = int(np.sign(round(table[field][own], digits) - round(table[field][other], digits)))
        sides.get(side, []).append(word)
    better, worse = (", ".join(sides[side]) or "none" for side in (-1, 1))
    return f"procyclicality against {first} better in {better}, worse in {worse} of the four"
