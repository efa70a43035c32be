"""Days and times as SPAN files print them: YYYYMMDD, hhmm."""

from __future__ import annotations

import re
from datetime import UTC, datetime

MILLISECONDS_PER_DAY = 86_400_000
# Hours and minutes, then seconds, with colons or without.
TIME_OF_DAY = re.compile(r"([01][0-9]|2[0-3]):?[0-5][0-9](:?[0-5][0-9])?", re.ASCII)
# Columns that hold a day, or a day and perhaps a time, or a time.
DAYS, MOMENTS, TIMES = ("date", "settlement_date"), ("created",), ("time",)


def day_ms(text: str) -> int | None:
    """ms UTC at which a day YYYYMMDD begins; None for a text that is no day of the calendar."""
    if len(text) != 8 or not (text.isascii() and text.isdigit()):
        return None
    try:
        begins = datetime(int(text[:4]), int(text[4:6]), int(text[6:]), tzinfo=UTC)
    except ValueError:
        return None
    return round(begins.timestamp()) * 1000


def misdated(column: str, text: str) -> str:
    """What a column of days or times must hold, where its text is none; "" where it is, and for other columns."""
    if column in DAYS and day_ms(text) is None:
        return "must be a day of the calendar, YYYYMMDD"
    if column in TIMES and not TIME_OF_DAY.fullmatch(text):
        return "must be a time of day, hhmm"
    if column in MOMENTS and (day_ms(text[:8]) is None or not (text[8:] == "" or TIME_OF_DAY.fullmatch(text[8:]))):
        return "must be a day and a time, YYYYMMDDhhmm"
    return ""
