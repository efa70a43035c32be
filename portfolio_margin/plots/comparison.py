"""Heat map of margins: accounts down, models across, on a logarithmic scale."""

from __future__ import annotations

from typing import Any

import numpy as np

from portfolio_margin.compare import Comparison
from portfolio_margin.io.frames import frame
from portfolio_margin.plots.picture import Picture, new_axes
from pricing.errors import ConfigError

SCALES = ("amount", "notional")
MOST_ACCOUNTS = 120
INCHES_PER_ACCOUNT = 0.19
INCHES_PER_MODEL = 1.0
# A share of notional below this is no longer told apart.
SMALLEST_SHARE = 1e-5
UNITS = ((1e9, "G"), (1e6, "M"), (1e3, "k"))


def margin_map(result: Comparison, scale: str = "notional", title: str = "") -> Picture:
    """Initial margin of every account under every model as colours, with the numbers in the cells.

    scale  "notional": as a share of the notional of what the account holds, which tells strict from lenient models;
           "amount": in the margin currency
    The frame: model, account, initial_margin, notional, value (NaN where nothing is required or held).
    Accounts without any requirement are left out of the picture; ConfigError for more than 120 accounts.
    """
    if scale not in SCALES:
        raise ConfigError(f"scale = {scale!r}: must be one of {', '.join(SCALES)}")
    shown = np.flatnonzero((result.initial > 0).any(axis=0))
    if len(shown) > MOST_ACCOUNTS:
        raise ConfigError(f"{len(shown)} accounts: a picture holds {MOST_ACCOUNTS}; choose some with --account")
    initial, notional = result.initial[:, shown], result.notional[shown]
    currency = next(iter(result.statements.values())).currency
    with np.errstate(divide="ignore", invalid="ignore"):
        value = initial / notional if scale == "notional" else initial
    value = np.where((initial > 0) & np.isfinite(value), value, np.nan)
    unit = "share of notional" if scale == "notional" else currency
    figure, axes = new_axes(title or f"initial margin, {unit}", "", "")
    _draw(figure, axes, value, scale, unit)
    axes.set_xticks(range(len(result.model)), result.model, rotation=35, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(shown)), result.account[shown].tolist(), fontsize="x-small")
    models, accounts = value.shape
    return Picture(
        figure,
        frame(
            {
                "model": np.repeat(np.array(result.model, dtype=np.str_), accounts),
                "account": np.tile(result.account[shown], models),
                "initial_margin": initial.ravel(),
                "notional": np.tile(notional, models),
                "value": value.ravel(),
            }
        ),
    )


def _draw(figure: Any, axes: Any, value: np.ndarray, scale: str, unit: str) -> None:
    from matplotlib.colors import LogNorm

    models, accounts = value.shape
    figure.set_size_inches(3.6 + INCHES_PER_MODEL * models, 1.9 + INCHES_PER_ACCOUNT * max(accounts, 4))
    known = value[np.isfinite(value)]
    low, high = (known.min(), known.max()) if len(known) else (0.1, 1.0)
    norm = LogNorm(max(low, SMALLEST_SHARE if scale == "notional" else 1.0), max(high, 2 * low), clip=True)
    image = axes.imshow(np.ma.masked_invalid(value.T), aspect="auto", cmap="viridis", norm=norm)
    figure.colorbar(image, label=unit, fraction=0.04, pad=0.02)
    axes.grid(visible=False)
    for (model, account), number in np.ndenumerate(value):
        dark = np.isfinite(number) and norm(number) < 0.6
        text = _cell(float(number), scale)
        axes.text(model, account, text, ha="center", va="center", fontsize=6, color="white" if dark else "black")


def _cell(number: float, scale: str) -> str:
    if not np.isfinite(number):
        return "–"
    if scale == "notional":
        return f"{100 * number:.2g} %" if number < 1 else f"{100 * number:.0f} %"
    for size, letter in UNITS:
        if number >= size:
            return f"{number / size:.3g} {letter}"
    return f"{number:.0f}"
