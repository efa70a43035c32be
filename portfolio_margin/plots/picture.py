"""A picture and its frame, drawn without any global state."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pricing.errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd


class Picture(NamedTuple):
    """A matplotlib figure and the tidy frame it shows, one row a point."""

    figure: Any
    frame: pd.DataFrame

    def save(self, path: str | Path) -> None:
        """Write the figure; the ending says the format, .png or .svg or .pdf."""
        self.figure.savefig(path)

    def _repr_png_(self) -> bytes:
        """What a notebook shows where a picture stands in the last line of a cell."""
        content = BytesIO()
        self.figure.savefig(content, format="png")
        return content.getvalue()


def new_axes(title: str, across: str, up: str) -> tuple[Any, Any]:
    """A figure with one pair of axes. ConfigError where matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ConfigError("pictures need matplotlib: install portfolio-margin[plot]") from error
    figure = Figure(figsize=(8.0, 5.0), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    axes.set(title=title, xlabel=across, ylabel=up)
    axes.grid(visible=True, alpha=0.3)
    axes.set_axisbelow(True)
    return figure, axes


def grouped(value: float, place: int | None = None) -> str:
    """An amount on an axis, thousands apart."""
    return f"{value:,.6g}" if abs(value) < 10 else f"{value:,.0f}"


def shades(count: int) -> Any:
    """Colours of lines that have an order, from dark to light; none repeats."""
    from matplotlib import colormaps

    return colormaps["viridis"]([0.92 * i / max(count - 1, 1) for i in range(count)])
