"""The summary of a back-test as two tables for people, each one row a set and group of books."""

from __future__ import annotations

import numpy as np

from portfolio_margin.backtest.run import BackTest
from portfolio_margin.cli.output import Column


def coverage_columns(found: BackTest) -> list[Column]:
    """Coverage and tests: coverage of all losses, tests and counts of books by those that do not overlap."""
    table = found.summary()
    shown = [*_named(found), Column("number", [str(n) for n in table["count"]], keep=False)]
    headers = {"coverage": "coverage [%]", "worst_coverage": "worst book [%]", "joint_coverage": "all together [%]"}
    shown += [Column(header, _percent(table[name])) for name, header in headers.items()]
    counts = {
        "failing": ("failing", True),
        "kupiec_too_many": ("Kupiec: too many", True),
        "kupiec_too_few": ("Kupiec: too few", False),
        "clustered": ("in clusters", False),
        "shortfall_rejects": ("ES rejected", True),
    }
    columns = [Column(text, [str(n) for n in table[name]], keep=keep) for name, (text, keep) in counts.items()]
    for place, (text, prefix) in enumerate((("yellow / red", ""), ("worst 250: yellow / red", "worst_")), 3):
        pairs = zip(table[f"{prefix}yellow"], table[f"{prefix}red"], strict=True)
        columns.insert(place, Column(text, [f"{yellow} / {red}" for yellow, red in pairs]))
    return shown + columns


def cost_columns(found: BackTest) -> list[Column]:
    """What the margin missed at most, what it cost, and how procyclical it was."""
    table = found.summary()
    shown = [*_named(found), Column("largest shortfall [% of price]", _percent(table["largest_shortfall"]))]
    shown += [Column("mean margin [%]", _percent(table["mean_margin"]))]
    shown += [Column("peak / trough", [f"{v:.2f}" for v in table["peak_to_trough"]])]
    shown += [Column(f"{n} d rise [%]", _percent(table[f"rise_{n}d"], 1)) for n in (1, 5, 30)]
    return [*shown, Column("at floor [%]", _percent(table["share_at_floor"], 1), keep=False)]


def _named(found: BackTest) -> list[Column]:
    table = found.summary()
    return [Column(name, list(table[name]), right=False) for name in ("set", "books")]


def _percent(values: np.ndarray, digits: int = 2) -> list[str]:
    return ["" if np.isnan(value) else f"{100 * value:.{digits}f}" for value in values]
