"""Which files and days the figures of `calibrate --model worst_case` are of, and where one file serves several."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from portfolio_margin.cli.output import Column
from portfolio_margin.io.calibrated import CalibrationHistory, day_numbers
from portfolio_margin.io.history import CheckedHistory
from scenarios.calibrate.levels import newest
from scenarios.calibrate.moves import log_returns
from scenarios.calibrate.settings import Settings

SOURCES_TITLE = "histories, as far back as the settings take them"


class Source(NamedTuple):
    """A history that figures are of.

    underlying  its name
    what        "price" or "vol index"
    file        as it was given
    first, last   day of the first and of the last change that is taken, YYYY-MM-DD
    changes     so many from one row to the next are taken
    horizons    overlapping ones of these changes
    """

    underlying: str
    what: str
    file: str
    first: str
    last: str
    changes: int
    horizons: int


def sources(histories: Mapping[str, CalibrationHistory], settings: Settings) -> list[Source]:
    """Price and vol index of every underlying."""
    return [
        _source(name, what, one, settings)
        for name, history in histories.items()
        for what, one in (("price", history.price), ("vol index", history.vol))
    ]


def shared_vols(histories: Mapping[str, CalibrationHistory]) -> list[str]:
    """A sentence for every file of a vol index that serves several underlyings."""
    users: dict[str, list[str]] = {}
    for name, history in histories.items():
        users.setdefault(history.vol.source, []).append(name)
    return [
        f"vol index: {file}, the same for {' and '.join(names)}: the vol shocks of all of them are of this one index"
        for file, names in users.items()
        if len(names) > 1
    ]


def source_columns(histories: Mapping[str, CalibrationHistory], settings: Settings) -> list[Column]:
    """The table for people."""
    rows = sources(histories, settings)
    return [
        Column("underlying", [row.underlying for row in rows], right=False),
        Column("history", [row.what for row in rows], right=False),
        Column("file", [row.file for row in rows], right=False),
        Column("from", [row.first for row in rows], right=False),
        Column("to", [row.last for row in rows], right=False),
        Column("changes", [f"{row.changes:,}" for row in rows]),
        Column(f"horizons of {days_told(settings.horizon_days)}", [f"{row.horizons:,}" for row in rows]),
    ]


def days_told(count: float) -> str:
    """So many days, in words."""
    return "1 day" if count == 1 else f"{count:g} days"


def _source(name: str, what: str, one: CheckedHistory, settings: Settings) -> Source:
    count = len(newest(log_returns(one.close), settings, day_numbers(one.date)))
    first, last = str(one.date[len(one.date) - count]), str(one.date[-1])
    return Source(name, what, one.source, first, last, count, count - int(settings.horizon_days) + 1)
