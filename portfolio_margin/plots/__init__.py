"""Pictures; each comes with the tidy frame it shows. Needs matplotlib: portfolio-margin[plot]."""

from portfolio_margin.plots.comparison import margin_map
from portfolio_margin.plots.edge import edge_contour, payoff_prices, payoff_with_marks
from portfolio_margin.plots.exercise import exercise
from portfolio_margin.plots.picture import Picture
from portfolio_margin.plots.surface import butterfly, fan, residuals, smile

__all__ = [
    "Picture",
    "butterfly",
    "edge_contour",
    "exercise",
    "fan",
    "margin_map",
    "payoff_prices",
    "payoff_with_marks",
    "residuals",
    "smile",
]
