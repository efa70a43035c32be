"""Pictures; each comes with the tidy frame it shows. Needs matplotlib: portfolio-margin[plot]."""

from portfolio_margin.plots.comparison import margin_map
from portfolio_margin.plots.exercise import exercise
from portfolio_margin.plots.picture import Picture
from portfolio_margin.plots.stress import loss_waterfall, timeline
from portfolio_margin.plots.surface import butterfly, fan, residuals, smile

__all__ = [
    "Picture",
    "butterfly",
    "exercise",
    "fan",
    "loss_waterfall",
    "margin_map",
    "residuals",
    "smile",
    "timeline",
]
