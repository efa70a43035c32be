"""What is one contract worth?"""

from pricing.american import american_greeks, american_price, exercise_boundary
from pricing.american_implied import american_implied_vol
from pricing.butterfly import butterfly_free, largest_psi, mass_interval, smallest_sigma
from pricing.calendar_spread import calendar_free
from pricing.dividends import american_call_with_dividend, american_with_dividends
from pricing.errors import ConfigError, DataError, EngineError, NumericalError, Status, UnsolvedError
from pricing.fit import (
    Expiries,
    Quotes,
    QuoteUse,
    SliceStatus,
    Surface,
    expiries_of,
    fit,
    quotes_from_prices,
    slices_of,
)
from pricing.forwards import ForwardCurve, forward_at, implied_forwards, settlement_forward
from pricing.implied_vol import implied_vol
from pricing.instruments import Exercise, Instruments, Kind, Payoff
from pricing.interpolation import total_variance_at, vol_at
from pricing.market import UNDATED, Market
from pricing.market_limits import MarketLimits
from pricing.parametrisations import (
    jump_wing_from_raw,
    natural_from_raw,
    raw_from_jump_wing,
    raw_from_natural,
    raw_from_ssvi,
)
from pricing.perpetuals import perpetual_futures_price
from pricing.price import greeks, price
from pricing.repair import repair_slices
from pricing.resolve import PricingInputs, resolve
from pricing.slice_fit import SliceData, SliceFit, fit_slices
from pricing.slice_sensitivities import parameter_derivatives

__all__ = [
    "UNDATED",
    "ConfigError",
    "DataError",
    "EngineError",
    "Exercise",
    "Expiries",
    "ForwardCurve",
    "Instruments",
    "Kind",
    "Market",
    "MarketLimits",
    "NumericalError",
    "Payoff",
    "PricingInputs",
    "QuoteUse",
    "Quotes",
    "SliceData",
    "SliceFit",
    "SliceStatus",
    "Status",
    "Surface",
    "UnsolvedError",
    "american_call_with_dividend",
    "american_greeks",
    "american_implied_vol",
    "american_price",
    "american_with_dividends",
    "butterfly_free",
    "calendar_free",
    "exercise_boundary",
    "expiries_of",
    "fit",
    "fit_slices",
    "forward_at",
    "greeks",
    "implied_forwards",
    "implied_vol",
    "jump_wing_from_raw",
    "largest_psi",
    "mass_interval",
    "natural_from_raw",
    "parameter_derivatives",
    "perpetual_futures_price",
    "price",
    "quotes_from_prices",
    "raw_from_jump_wing",
    "raw_from_natural",
    "raw_from_ssvi",
    "repair_slices",
    "resolve",
    "settlement_forward",
    "slices_of",
    "smallest_sigma",
    "total_variance_at",
    "vol_at",
]
