"""Greeks by name: which there are at which order, which of them are wanted, and their units."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pricing.arrays import DAYS_PER_YEAR, FloatArray
from pricing.errors import ConfigError

GREEK_NAMES = ("price", "delta", "gamma", "vega", "theta", "rho", "vanna", "volga", "charm")
THIRD_ORDER = ("veta", "speed", "zomma", "color", "ultima")
FIRST_ORDER = ("price", "delta", "vega", "theta", "rho")
OWN_NAMES = {"inverse": ("delta_pa",), "black_scholes_merton": ("dividend_rho",)}  # of a model, at every order

# Divisors from raw to trader units: vega per vol point, theta and charm per day, rho per 1 %,
# vanna and zomma per vol point, volga per vol point squared, ultima cubed, veta per vol point and day.
TRADER_DIVISOR = {
    "vega": 100.0,
    "theta": DAYS_PER_YEAR,
    "rho": 100.0,
    "dividend_rho": 100.0,
    "vanna": 100.0,
    "volga": 10_000.0,
    "charm": DAYS_PER_YEAR,
    "veta": 100.0 * DAYS_PER_YEAR,
    "zomma": 100.0,
    "color": DAYS_PER_YEAR,
    "ultima": 1_000_000.0,
}
UNITS = ("raw", "trader")


def names_of(model: str, order: int) -> tuple[str, ...]:
    """The names of the Greeks of a model up to an order, and of its price."""
    by_order = {1: FIRST_ORDER, 2: GREEK_NAMES, 3: (*GREEK_NAMES, *THIRD_ORDER)}
    return (*by_order[order], *OWN_NAMES.get(model, ()))


def wanted_names(model: str, order: int, only: Sequence[str] | None) -> tuple[str, ...]:
    """The names that are asked for: `only`, or all of the order. ConfigError for names that it does not have."""
    names = names_of(model, order)
    if only is None:
        return names
    wanted = () if isinstance(only, str) else tuple(only)
    of_higher = [name for name in wanted if name in names_of(model, 3) and name not in names]
    if of_higher:
        needed = 2 if set(of_higher) <= set(names_of(model, 2)) else 3
        raise ConfigError(f"only = {only!r}: order={needed} is needed for {', '.join(of_higher)}")
    if not wanted or len(set(wanted)) < len(wanted) or not set(wanted) <= set(names):
        raise ConfigError(f"only = {only!r}: must be different names of {', '.join(names)}")
    return wanted


def trader_units(raw: dict[str, FloatArray], tau: FloatArray, in_place: bool = False) -> dict[str, FloatArray]:
    """The same Greeks per vol point, per day and per percent, in place of the raw ones where nobody else has those.

    Theta is that of one day or of the remaining life, whichever is shorter, and an option loses no
    more than its value: Deribit's convention, within its print rounding.
    """
    scaled = {name: values if in_place and values.flags.writeable else values.copy() for name, values in raw.items()}
    for name, values in scaled.items():
        if name in TRADER_DIVISOR and name != "theta":
            values /= TRADER_DIVISOR[name]
    if "theta" in scaled:
        scaled["theta"] *= np.minimum(1.0 / DAYS_PER_YEAR, tau)
        np.maximum(scaled["theta"], -scaled["price"], out=scaled["theta"])
    return scaled
