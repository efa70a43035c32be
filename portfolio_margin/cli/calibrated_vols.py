"""Where the figures of `calibrate --model worst_case` come from: what is calculated, what they are at least, and which
of these counts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from portfolio_margin.cli.output import Column
from scenarios.calibrate.settings import Settings, least_vol_move
from scenarios.calibrate.surface_shocks import SurfaceShocks
from scenarios.calibrate.underlying import Calibrated

SIDES = ("up", "down")
BUFFERED, CALCULATED = "calculated, with its buffer", "calculated"
FLOOR, LEAST, CHAINS, MOST = "floor", "least", "chains", "most"
VOL_TITLE = "vol shocks at 30 days: the largest of what is calculated and what they are at least"


class VolLine(NamedTuple):
    """One shock, relative moves of the 30-day vol over the horizon, all above 0.

    underlying  its name
    side        "up" or "down"
    calculated  by filter and tail of the settings
    held        that with what is left of its buffer
    floor       unfiltered quantile; NaN where the settings have none
    least       of `vol_low`, whatever the history says
    chains      level fitted to chains; NaN where there were none
    charged     what the set has
    counts      which of the others that is
    """

    underlying: str
    side: str
    calculated: float
    held: float
    floor: float
    least: float
    chains: float
    charged: float
    counts: str


def vol_lines(
    found: Mapping[str, Calibrated], surfaces: Mapping[str, SurfaceShocks], settings: Settings
) -> list[VolLine]:
    """Up and down of every underlying."""
    return [_line(name, side, one, surfaces.get(name), settings) for name, one in found.items() for side in SIDES]


def vol_columns(lines: list[VolLine], settings: Settings) -> list[Column]:
    """The table for people; buffers, chains and floors have a column where there are any."""
    shown = [
        Column("underlying", [line.underlying for line in lines], right=False),
        Column("side", [line.side for line in lines], right=False),
        Column("calculated [%]", [f"{100 * line.calculated:.2f}" for line in lines]),
    ]
    if settings.buffer > 0.0:
        shown.append(Column("with its buffer [%]", [f"{100 * line.held:.2f}" for line in lines]))
    for name in ("floor", "least", "chains"):
        values = [getattr(line, name) for line in lines]
        if not np.all(np.isnan(values)):
            shown.append(Column(f"{name} [%]", ["" if np.isnan(x) else f"{100 * x:.2f}" for x in values]))
    shown.append(Column("in force [%]", [f"{100 * line.charged:.2f}" for line in lines]))
    shown.append(Column("which counts", [line.counts for line in lines], right=False))
    return shown


def range_counts(one: Calibrated, settings: Settings) -> str:
    """Which of calculated, floor and the bounds of the settings a price range is."""
    low, high = settings.range_low, settings.range_high
    known = {_calculated(settings): one.range.held, FLOOR: one.range.floor, LEAST: low}
    if settings.floor != "history":
        del known[FLOOR]
    counts = max(known, key=lambda what: known[what])
    return MOST if high < known[counts] * (1.0 - 1e-9) else counts


def range_cut(one: Calibrated, settings: Settings) -> str:
    """What the upper bound of the settings takes off a price range; "" where it is nothing."""
    if range_counts(one, settings) != MOST:
        return ""
    asked = max(one.range.held, one.range.floor)
    return f"{100 * asked:.2f} % is asked for and range_high = {settings.range_high:g} cuts it"


def factor_counts(one: Calibrated, settings: Settings) -> str:
    """Whether a factor of far moves is the fitted one, the least of the settings, or 1, the most."""
    if one.tail.factor.value < settings.tail_low:
        return LEAST
    return MOST if one.tail.factor.value > 1.0 else CALCULATED


def _calculated(settings: Settings) -> str:
    return BUFFERED if settings.buffer > 0.0 else CALCULATED


def _line(name: str, side: str, one: Calibrated, surface: SurfaceShocks | None, settings: Settings) -> VolLine:
    vol, up = one.vol, side == "up"
    methods, charged, held = (
        (vol.up_methods, vol.up, vol.up_held) if up else (vol.down_methods, vol.down, vol.down_held)
    )
    low, high = least_vol_move(settings), float(np.log1p(settings.vol_high))
    least, most = (float(np.expm1(x) if up else -np.expm1(-x)) for x in (low, max(low, high)))
    floor = methods["none", "sample"].value if settings.floor == "history" else float("nan")
    chains = float("nan") if surface is None else (surface.up if up else surface.down).shock.value
    known = {_calculated(settings): held, FLOOR: floor, LEAST: least, CHAINS: chains}
    counts = max((what for what, value in known.items() if not np.isnan(value)), key=lambda what: known[what])
    if charged < known[counts] * (1.0 - 1e-9):  # cut at vol_high
        counts = MOST
    calculated = methods[settings.filter, settings.tail].value
    return VolLine(name, side, calculated, held, floor, least, chains, min(charged, most), counts)
