"""Levels of requirement: which rate number risk is computed with, and what initial and maintenance margin are of it."""

from __future__ import annotations

import numpy as np

from portfolio_margin.span.choices import Choices
from portfolio_margin.span.tables import RiskParameterFile
from pricing.arrays import FloatArray
from pricing.errors import ConfigError


def array_rate(file: RiskParameterFile, choices: Choices | None = None) -> int:
    """Number of the arrays that margin of the account type is computed from."""
    return levels(file, choices or Choices())[1]


def levels(file: RiskParameterFile, choices: Choices) -> tuple[FloatArray, int]:
    """Factors (U,2) of initial and maintenance margin on the risk, and the rate number the risk is computed with."""
    table = file.levels
    types = list(dict.fromkeys(table.account_type.tolist()))
    wanted = choices.account_type or (types[0] if types else "")
    if types and wanted not in types:
        raise ConfigError(f"account_type = {wanted!r}: the file has {', '.join(types)}")
    mine = [row for row in range(len(table)) if table.account_type[row] == wanted]
    held = set(file.arrays.rate.tolist())
    chained = chained_factors(file)
    count = len(file.commodities)
    base_rates: list[int] = []
    factors = np.full((count, 2), np.nan)
    for row in mine:
        column = 1 if table.is_maintenance[row] else 0
        for commodity in range(count):
            base, factor = chain_of(chained, commodity, int(table.rate[row]))
            if base in held and np.isnan(factors[commodity, column]):
                factors[commodity, column] = factor
                base_rates.append(base)
    if not base_rates:
        base_rates = [min(held, default=1)]
    alone = np.where(np.isnan(factors[:, 0]), factors[:, 1], factors[:, 0])
    single = np.isnan(factors).any(axis=1)
    alone = np.where(np.isnan(alone), 1.0, alone)
    initial = np.maximum(alone, 1.0) if choices.adjustment == "maintenance" else alone
    factors[single] = np.column_stack([initial, alone])[single]
    factors[:, 0] = np.maximum(factors[:, 0], factors[:, 1])
    return factors, max(set(base_rates), key=base_rates.count)


def chained_factors(file: RiskParameterFile) -> dict[tuple[int, int], tuple[int, float]]:
    """Commodity and rate number -> the rate number that its factor is on, and the factor."""
    table = file.adjustments
    columns = (table.commodity_idx.tolist(), table.rate.tolist(), table.base_rate.tolist(), table.factor.tolist())
    return {(commodity, rate): (base, factor) for commodity, rate, base, factor in zip(*columns, strict=True)}


def chain_of(table: dict[tuple[int, int], tuple[int, float]], commodity: int, rate: int) -> tuple[int, float]:
    """The rate at the end of the chain of adjustments, and the product of the factors on the way."""
    product, seen = 1.0, set()
    while (commodity, rate) in table and rate not in seen:
        seen.add(rate)
        base, factor = table[commodity, rate]
        product *= factor
        if base == rate:
            break
        rate = base
    return rate, product
