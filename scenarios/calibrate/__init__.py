"""From history to parameters: scan ranges, vol shocks, tails, joint moves, scenario sets and grids, with bands.

Every function takes plain arrays, oldest first, and says what the parameters of the day after are. Those that end in
_path say it for every day of a history, from what was known on it.
"""

from scenarios.calibrate.grid_nodes import GridTerms, equal_nodes, fit_grid, grid_error
from scenarios.calibrate.grid_set import Figures, figures_path, grid_params
from scenarios.calibrate.history_set import history_params
from scenarios.calibrate.joint_moves import shrunk_correlation, spread_credit
from scenarios.calibrate.price_range import PriceRange, price_range, scan_range, scan_range_path
from scenarios.calibrate.scenario_sets import compress, compress_tails, stress_periods
from scenarios.calibrate.settings import Settings
from scenarios.calibrate.surface_shocks import surface_shocks
from scenarios.calibrate.tail_weights import TailWeights, tail_weights
from scenarios.calibrate.tails import Tail, fit_tail
from scenarios.calibrate.underlying import Calibrated, calibrate_underlying
from scenarios.calibrate.vol_shocks import VolShock, leverage, vol_shock, vol_shock_path
from scenarios.calibrate.volatility import Filter, ewma, fit_garch
from scenarios.calibrate.worst_book import worst_book

__all__ = [
    "Calibrated",
    "Figures",
    "Filter",
    "GridTerms",
    "PriceRange",
    "Settings",
    "Tail",
    "TailWeights",
    "VolShock",
    "calibrate_underlying",
    "compress",
    "compress_tails",
    "equal_nodes",
    "ewma",
    "figures_path",
    "fit_garch",
    "fit_grid",
    "fit_tail",
    "grid_error",
    "grid_params",
    "history_params",
    "leverage",
    "price_range",
    "scan_range",
    "scan_range_path",
    "shrunk_correlation",
    "spread_credit",
    "stress_periods",
    "surface_shocks",
    "tail_weights",
    "vol_shock",
    "vol_shock_path",
    "worst_book",
]
