"""What is one contract worth?"""

from pricing.errors import ConfigError, DataError, EngineError, NumericalError, Status
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
    "Status",
    "greeks",
    "price",
    "resolve",
]
