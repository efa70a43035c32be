"""What is one contract worth?"""

from pricing.american import american_greeks, american_price, exercise_boundary
from pricing.butterfly import butterfly_free
from pricing.calendar_spread import calendar_free
from pricing.dividends import american_call_with_dividend, american_with_dividends
from pricing.errors import ConfigError, DataError, EngineError, NumericalError, Status, UnsolvedError
from pricing.fit import Quotes, Surface, fit, quotes_from_prices, slices_of
from pricing.forwards import ForwardCurve, forward_at, implied_forwards
from pricing.implied_vol import implied_vol
from pricing.instruments import Exercise, Instruments, Kind, Payoff
from pricing.interpolation import total_variance_at, vol_at
from pricing.market import UNDATED, Market
from pricing.price import greeks, price
from pricing.resolve import PricingInputs, resolve
from pricing.slice_sensitivities import parameter_derivatives

__all__ = [
    "UNDATED",
    "ConfigError",
    "DataError",
    "EngineError",
    "Exercise",
    "ForwardCurve",
    "Instruments",
    "Kind",
    "Market",
    "NumericalError",
    "Payoff",
    "PricingInputs",
    "Quotes",
    "Status",
    "Surface",
    "UnsolvedError",
    "american_call_with_dividend",
    "american_greeks",
    "american_price",
    "american_with_dividends",
    "butterfly_free",
    "calendar_free",
    "exercise_boundary",
    "fit",
    "forward_at",
    "greeks",
    "implied_forwards",
    "implied_vol",
    "parameter_derivatives",
    "price",
    "quotes_from_prices",
    "resolve",
    "slices_of",
    "total_variance_at",
    "vol_at",
]
