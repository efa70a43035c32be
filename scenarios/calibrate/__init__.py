"""From history to parameters: scan ranges, vol shocks, tails, joint moves, scenario sets and grids, with bands.

Every function takes plain arrays, oldest first, and says what the parameters of the day after are. Those that end in
_path say it for every day of a history, from what was known on it.
"""

from scenarios.calibrate.price_range import PriceRange, price_range, scan_range, scan_range_path
from scenarios.calibrate.settings import Settings
from scenarios.calibrate.tail_weights import TailWeights, tail_weights
from scenarios.calibrate.tails import Tail, fit_tail
from scenarios.calibrate.underlying import Calibrated, calibrate_underlying
from scenarios.calibrate.vol_shocks import VolShock, leverage, vol_shock, vol_shock_path
from scenarios.calibrate.volatility import Filter, ewma, fit_garch

__all__ = [
    "Calibrated",
    "Filter",
    "PriceRange",
    "Settings",
    "Tail",
    "TailWeights",
    "VolShock",
    "calibrate_underlying",
    "ewma",
    "fit_garch",
    "fit_tail",
    "leverage",
    "price_range",
    "scan_range",
    "scan_range_path",
    "tail_weights",
    "vol_shock",
    "vol_shock_path",
]
