"""What is one contract worth?"""

from pricing.american import american_greeks, american_price, exercise_boundary
from pricing.dividends import american_call_with_dividend
from pricing.errors import ConfigError, DataError, EngineError, NumericalError, Status
from pricing.fit import Quotes, Surface, fit, quotes_from_prices
from pricing.implied_vol import implied_vol
from pricing.instruments import Exercise, Instruments, Kind, Payoff
from pricing.market import UNDATED, Market
from pricing.price import greeks, price
from pricing.resolve import PricingInputs, resolve

__all__ = [
    "UNDATED",
    "ConfigError",
    "DataError",
    "EngineError",
    "Exercise",
    "Instruments",
    "Kind",
    "Market",
    "NumericalError",
    "Payoff",
    "PricingInputs",
    "Quotes",
    "Status",
    "Surface",
    "american_call_with_dividend",
    "american_greeks",
    "american_price",
    "exercise_boundary",
    "fit",
    "greeks",
    "implied_vol",
    "price",
    "quotes_from_prices",
    "resolve",
]
