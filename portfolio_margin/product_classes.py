"""Product classes: which rule of a securities margin system an underlying falls under, as a mapping says.

A securities rule book knows equities, narrow and broad indices; a market knows names. What stands between them is a
mapping, a default for names that it lacks, and a reason for contracts that are left without a class.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from pricing.arrays import BoolArray, StrArray
from pricing.errors import ConfigError
from pricing.instruments import Kind
from scenarios.risk_arrays import RiskArrays


def check_product_classes(product_class: object, default_class: object, known: Mapping[str, object]) -> None:
    """ConfigError where an underlying, or the default, is given a class that is none of the known ones.

    product_class   underlying -> class
    default_class   class of underlyings not named, "" for none
    """
    if not isinstance(product_class, Mapping):
        raise ConfigError(f"product_class = {product_class!r}: must be a mapping from underlying to class")
    for name, value in product_class.items():
        if value not in known:
            raise ConfigError(f"product_class {name} = {value!r}: must be one of {', '.join(known)}")
    if default_class != "" and default_class not in known:
        raise ConfigError(f"default_class = {default_class!r}: must be one of {', '.join(known)}, or empty for none")


def classes_of(underlying_id: StrArray, product_class: Mapping[str, str], default_class: str) -> StrArray:
    """(U,) class of every underlying, "" where it has none."""
    return np.array([product_class.get(str(name), default_class) for name in underlying_id], dtype=np.str_)


def is_stock(arrays: RiskArrays, classes: StrArray) -> BoolArray:
    """(N,) the underlying itself, held as such and margined as a position: stock, and coins whose underlying (U,) has a
    class. Other assets are collateral, cut by a haircut."""
    return np.asarray(arrays.is_coin & (np.append(classes, "")[arrays.underlying_idx] != ""))


def without_class(arrays: RiskArrays, classes: StrArray, known: Iterable[str]) -> StrArray:
    """(N,) why a contract or stock has no rule, "" where its underlying (U,) has a class, and for cash; known, the
    classes there are."""
    owner = arrays.underlying_idx
    lacks = (arrays.kind != Kind.CASH) & (np.append(classes, "")[owner] == "")
    named = np.append(arrays.underlying_id, "")[owner]
    remedy = f"or default_class, one of {', '.join(known)}"
    reason = [f"no product class for {name}: give product_class.{name}=..., {remedy}" for name in named]
    return np.where(lacks, np.array(reason, dtype=np.str_), "")
