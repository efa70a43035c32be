"""Slices and diagnostics of a fitted surface as one frame, one row an expiry."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from portfolio_margin.io.frames import frame
from pricing.fit import Expiries, QuoteUse, SliceStatus, Surface

if TYPE_CHECKING:
    import pandas as pd

UNITS = {"rmse": "vol points", "rmse_mid": "vol points", "rmse_vega": "vol points", "tau": "years ACT/365"}
PER_EXPIRY = (
    "converged", "far_count", "k_low", "k_high", "rmse", "rmse_mid", "rmse_vega", "rmse_unconstrained", "inside_count",
    "inside_share", "minimum_g", "minimum_g_k", "minimum_g_unconstrained", "minimum_total_variance", "crosses_previous",
    "calendar_gap", "calendar_gap_k", "calendar_gap_quoted",
)  # fmt: skip


def surface_frame(surface: Surface, expiries: Expiries, names: Sequence[str] | None = None) -> pd.DataFrame:
    """Everything a fit says about each expiry; columns as in `FitDiagnostics`, quotes by what became of them.

    Its attrs hold the units, and under "warnings" what `FitDiagnostics.warnings` says.

    names  (X,) of the expiry rows, such as `Market.expiry_name`; numbers where not given
    """
    done = surface.diagnostics
    columns = {
        "expiry": list(names) if names is not None else np.arange(len(expiries)),
        "underlying_idx": expiries.underlying_idx,
        "tau": expiries.tau,
        "status": [SliceStatus(code).name for code in done.status],
        **{f"quotes_{use.name.lower()}": done.quote_count[:, use] for use in QuoteUse},
        "at_bound": done.bounds_reached,
        **{name: getattr(done, name) for name in PER_EXPIRY},
        **{f"wing_slope_{side}": done.wing_slope[:, i] for i, side in enumerate(("left", "right"))},
        **{f"calendar_slope_gap_{side}": done.calendar_slope_gap[:, i] for i, side in enumerate(("left", "right"))},
        **{name: surface.svi[:, i] for i, name in enumerate(("a", "b", "rho", "m", "sigma"))},
    }
    return frame(columns, {"units": UNITS, "warnings": done.warnings(names)})
