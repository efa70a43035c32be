"""What the page of a calibration says in words: which figure counts and why, and where a set leaves its history."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from portfolio_margin.cli.calibrated_vols import (
    CALCULATED,
    CHAINS,
    FLOOR,
    LEAST,
    MOST,
    factor_counts,
    range_counts,
    vol_lines,
)
from portfolio_margin.cli.calibration_report import Evidence
from portfolio_margin.cli.calibration_sources import days_told
from scenarios.calibrate.settings import VOL_LOW_POWER, Settings, least_vol_move
from scenarios.calibrate.tail_weights import TailWeights
from scenarios.calibrate.tails import Stability


def counted(evidence: Evidence, settings: Settings) -> Iterator[tuple[str, str, str]]:
    """Underlying, parameter, and which of calculated, floor, least, chains and most it is."""
    vols = {
        (line.underlying, line.side): line.counts for line in vol_lines(evidence.found, evidence.surfaces, settings)
    }
    needs = max(evidence.found, key=lambda name: evidence.found[name].tail.used)
    most = evidence.found[needs].tail
    for name, one in evidence.found.items():
        yield name, "price range", range_counts(one, settings)
        yield name, "vol up", vols[name, "up"]
        yield name, "vol down", vols[name, "down"]
        yield name, "factor of far moves", factor_counts(one, settings) if one.tail.used == most.used else f"of {needs}"


def why_in_force(settings: Settings, chains: bool) -> list[str]:
    """What a figure in force may be besides the estimate; chains, whether there were any."""
    log_least, horizon = least_vol_move(settings), settings.horizon_days
    usual = Settings()
    kinds = [
        CALCULATED + (f" (with what is left of its buffer of {100 * settings.buffer:g} %)" if settings.buffer else ""),
        *([f"{FLOOR} (the quantile of the unfiltered history)"] if settings.floor == "history" else []),
        *([f"{CHAINS} (the vol shock at 30 days that they say)"] if chains else []),
        f"{LEAST} (of the settings)",
    ]
    vix = " but of the VIX, 1990 to 2019" if settings.vol_low == usual.vol_low else ""
    coin = (
        ": that of a tail that falls with the power 2.5, the lightest found of Bitcoin (Begusic and others 2018)"
        if settings.tail_low == usual.tail_low
        else ""
    )
    return [
        "A figure in force may be outside the band of its estimate: it is the largest of these: "
        f"{', '.join(kinds)}; and {MOST} is where the settings cut it. The column says which counts.",
        f"The least of a vol shock is not of this history{vix}. It is a rise of {100 * settings.vol_low:g} % "
        f"in a day, its logarithm times days^{VOL_LOW_POWER:g}: over {days_told(horizon)} "
        f"{100 * np.expm1(log_least):.2f} % up and, of the same size in logarithm, {-100 * np.expm1(-log_least):.2f} % "
        "down, so that an index of few years does not say that worse cannot come.",
        f"The factor of far moves is at least {100 * settings.tail_low:.2f} %{coin}. It is one for all underlyings, "
        "the largest.",
    ]


def beside_history(evidence: Evidence, settings: Settings) -> list[str]:
    """Where a least or a most counts the set does not follow the history; nothing where none does."""
    said = []
    for which in (LEAST, MOST):
        names = [f"{name} {parameter}" for name, parameter, counts in counted(evidence, settings) if counts == which]
        if names:
            said.append(
                f"The {which} of the settings counts for {', '.join(names)}: there the set does not follow the "
                f"history, and will not before what is calculated is {'more' if which == LEAST else 'less'} than that."
            )
    return said


def threshold_told(found: Stability, tail: TailWeights, settings: Settings) -> str:
    """By how much the quantile moves over the thresholds that are shown."""
    chosen = tail.tail.quantile(settings.confidence)
    text = f"The dashed line is the threshold of the settings, with {100 * settings.tail_share:g} % of the moves above."
    if len(found.quantile) == 0:
        return text
    low, high = float(found.quantile.min()), float(found.quantile.max())
    return (
        f"{text} Over the thresholds shown the quantile at {100 * settings.confidence:g} % is {100 * low:.2f} to "
        f"{100 * high:.2f} % in logarithm, {100 * (low / chosen - 1.0):+.1f} to {100 * (high / chosen - 1.0):+.1f} % "
        f"beside that of the threshold chosen, and the shape {found.shape.min():.3f} to {found.shape.max():.3f}: the "
        "less they move, the less the choice of a threshold matters."
    )
