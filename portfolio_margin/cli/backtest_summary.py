"""The summary of a back-test as a table for people: one row a set and group of books."""

from __future__ import annotations

import numpy as np

from portfolio_margin.backtest.run import BackTest
from portfolio_margin.cli.output import Column


def summary_columns(found: BackTest) -> list[Column]:
    """The summary as columns of a table for people."""
    table = found.summary()

    def percent(name: str, digits: int = 2) -> list[str]:
        return ["" if np.isnan(value) else f"{100 * value:.{digits}f}" for value in table[name]]

    shown = [Column("set", list(table["set"]), right=False), Column("books", list(table["books"]), right=False)]
    shown += [Column("number", [str(n) for n in table["count"]])]
    shown += [Column("coverage [%]", percent("coverage")), Column("worst book [%]", percent("worst_coverage"))]
    shown += [Column("all together [%]", percent("joint_coverage"))]
    counts = {
        "failing": "failing",
        "kupiec_rejects": "Kupiec",
        "clustered": "cluster",
        "yellow": "yellow",
        "red": "red",
    }
    shown += [Column(header, [str(n) for n in table[name]]) for name, header in counts.items()]
    shown += [Column("ES rejected", [str(n) for n in table["shortfall_rejects"]], keep=False)]
    shown += [Column("largest shortfall [% of price]", percent("largest_shortfall"))]
    shown += [Column("mean margin [%]", percent("mean_margin"))]
    shown += [Column("peak / trough", [f"{v:.2f}" for v in table["peak_to_trough"]])]
    shown += [Column(f"{n} d rise [%]", percent(f"rise_{n}d", 1), keep=False) for n in (1, 5, 30)]
    shown += [Column("at floor [%]", percent("share_at_floor", 1), keep=False)]
    return shown
