"""Pictures; each comes with the tidy frame it shows. Needs matplotlib: portfolio-margin[plot]."""

from portfolio_margin.plots.comparison import margin_map
from portfolio_margin.plots.contributions import contribution_bars
from portfolio_margin.plots.edge import edge_contour, payoff_prices, payoff_with_marks
from portfolio_margin.plots.exercise import exercise
from portfolio_margin.plots.payoff import payoff
from portfolio_margin.plots.picture import Picture
from portfolio_margin.plots.risk_matrix import risk_matrix
from portfolio_margin.plots.stress import loss_waterfall, timeline
from portfolio_margin.plots.surface import butterfly, fan, residuals, smile
from portfolio_margin.plots.waterfall import margin_waterfall

__all__ = [
    "Picture",
    "butterfly",
    "contribution_bars",
    "edge_contour",
    "exercise",
    "fan",
    "loss_waterfall",
    "margin_map",
    "margin_waterfall",
    "payoff",
    "payoff_prices",
    "payoff_with_marks",
    "residuals",
    "risk_matrix",
    "smile",
    "timeline",
]
