"""Pictures; each comes with the tidy frame it shows. Needs matplotlib: portfolio-margin[plot]."""

from portfolio_margin.plots.backtest import (
    coverage_map,
    exceedances,
    mean_excess_plot,
    quantile_plot,
)
from portfolio_margin.plots.backtest_parameters import parameter_paths, worst_losses_together
from portfolio_margin.plots.calibration import (
    correlation_matrix,
    grid_error_curve,
    tail_quantile_plot,
    tenor_shocks,
    threshold_mean_excess,
    threshold_stability,
)
from portfolio_margin.plots.comparison import margin_map
from portfolio_margin.plots.contributions import contribution_bars
from portfolio_margin.plots.edge import edge_contour, payoff_prices, payoff_with_marks
from portfolio_margin.plots.exercise import exercise
from portfolio_margin.plots.liquidation import liquidation_ladder
from portfolio_margin.plots.payoff import payoff
from portfolio_margin.plots.picture import Picture
from portfolio_margin.plots.risk_matrix import risk_matrices, risk_matrix
from portfolio_margin.plots.stress import loss_waterfall, timeline
from portfolio_margin.plots.surface import butterfly, fan, residuals, smile
from portfolio_margin.plots.waterfall import margin_waterfall

__all__ = [
    "Picture",
    "butterfly",
    "contribution_bars",
    "correlation_matrix",
    "coverage_map",
    "edge_contour",
    "exceedances",
    "exercise",
    "fan",
    "grid_error_curve",
    "liquidation_ladder",
    "loss_waterfall",
    "margin_map",
    "margin_waterfall",
    "mean_excess_plot",
    "parameter_paths",
    "payoff",
    "payoff_prices",
    "payoff_with_marks",
    "quantile_plot",
    "residuals",
    "risk_matrices",
    "risk_matrix",
    "smile",
    "tail_quantile_plot",
    "tenor_shocks",
    "threshold_mean_excess",
    "threshold_stability",
    "timeline",
    "worst_losses_together",
]
