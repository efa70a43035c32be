"""Contracts of a risk parameter file joined with their period and family: one row a contract, everything looked up."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from portfolio_margin.span.tables import FUTURES_LIKE, OPTION_TYPES, RiskParameterFile
from pricing.arrays import BoolArray, FloatArray, IntArray, StrArray

DEFAULT_LOOK_AHEAD_YEARS = 0.004
PREMIUM = "EQTY"


@dataclass(frozen=True)
class ContractView:
    """Columns of the contracts of a file, (N,) each, computed when first asked for.

    file  the tables they come from
    """

    file: RiskParameterFile

    @cached_property
    def family(self) -> IntArray:
        """-> families."""
        return self.file.periods.family_idx[self.file.contracts.period_idx]

    @cached_property
    def kind(self) -> StrArray:
        """PHY, FUT, OOP, OOF ..."""
        return self.file.families.kind[self.family]

    @cached_property
    def is_option(self) -> BoolArray:
        """True for options of any sort."""
        # By family: texts by contract are the largest of all columns.
        return np.isin(self.file.families.kind, OPTION_TYPES)[self.family]

    @cached_property
    def period(self) -> StrArray:
        """Period code of the contract."""
        return self.file.periods.period[self.file.contracts.period_idx]

    @cached_property
    def commodity(self) -> IntArray:
        """-> combined commodities, -1 for a family that belongs to none."""
        return commodity_of_family(self.file)[self.family]

    @cached_property
    def delta_scale(self) -> FloatArray:
        """Deltas a contract counts for: the scale of the contract or period, times that of its family."""
        own = self.file.contracts.delta_scale
        stated = np.where(np.isfinite(own), own, self.file.periods.delta_scale[self.file.contracts.period_idx])
        of_family = np.ones(len(self.file.families))
        of_family[self.file.links.family_idx] = self.file.links.delta_scale
        return np.where(np.isfinite(stated), stated, 1.0) * of_family[self.family]

    @cached_property
    def factor(self) -> FloatArray:
        """Money per price point: as stated, else 1."""
        return np.where(np.isnan(self.stated_factor), 1.0, self.stated_factor)

    @cached_property
    def stated_factor(self) -> FloatArray:
        """Money per price point: of the contract, else of its period, else of its family, where 0 states none; NaN
        where it is stated nowhere.
        """
        steps = (
            self.file.contracts.contract_value_factor,
            self.file.periods.contract_value_factor[self.file.contracts.period_idx],
            self.file.families.contract_value_factor[self.family],
        )
        result = np.full(len(self.family), np.nan)
        for values in steps:
            with np.errstate(invalid="ignore"):
                result = np.where(np.isnan(result) & (values > 0), values, result)
        return result

    @cached_property
    def currency(self) -> StrArray:
        """Currency the contract is settled in."""
        return self.file.families.currency[self.family]

    @cached_property
    def pays_premium(self) -> BoolArray:
        """True where the contract is worth its price; False where gains are settled daily."""
        valuation = self.file.families.valuation[self.family]
        return np.where(self.is_option, valuation == PREMIUM, ~np.isin(self.kind, (*FUTURES_LIKE, "CMB")))

    @cached_property
    def value_price(self) -> FloatArray:
        """Price as the value of the contract, which a file may round to money, over its factor; else the price."""
        value = self.file.contracts.value
        with np.errstate(invalid="ignore"):
            return np.where(value > 0, value / self.factor, self.file.contracts.price)

    @cached_property
    def underlying_value_price(self) -> FloatArray:
        """`value_price` of the contract an option or future is on, NaN where the file does not have it."""
        return self._of_underlying(self.value_price)

    @cached_property
    def underlying_price(self) -> FloatArray:
        """Price of the contract an option or future is on, NaN where the file does not have it."""
        return self._of_underlying(self.file.contracts.price)

    def _of_underlying(self, price: FloatArray) -> FloatArray:
        periods, families = self.file.periods, self.file.families
        exchange = self.file.exchanges.code[families.exchange_idx]
        keys = zip(exchange[self.family].tolist(), families.family_id[self.family].tolist(),
                   self.file.contracts.contract_id.tolist(), strict=True)  # fmt: skip
        row_of = {key: row for row, key in enumerate(keys)}
        wanted = zip(periods.underlying_exchange.tolist(), periods.underlying_family_id.tolist(),
                     periods.underlying_contract_id.tolist(), strict=True)  # fmt: skip
        rows = np.array([row_of.get(key, -1) for key in wanted], dtype=np.int64)
        if not len(rows) or not len(price):
            return np.empty(0)
        of_period = np.where(rows >= 0, price[rows], np.nan)
        # Positional files name the underlying future by its month alone.
        return np.where(np.isnan(of_period), self._future_prices(price), of_period)[self.file.contracts.period_idx]

    def _future_prices(self, price: FloatArray) -> FloatArray:
        """(periods,) price of the future of the same combined commodity with the period's underlying month."""
        future = np.isin(self.kind, FUTURES_LIKE)
        keys = zip(self.commodity[future].tolist(), self.period[future].tolist(), strict=True)
        price_of = dict(zip(keys, price[future].tolist(), strict=True))
        of_family = np.full(len(self.file.families), -1, dtype=np.int64)
        of_family[self.file.links.family_idx] = self.file.links.commodity_idx
        wanted = zip(of_family[self.file.periods.family_idx].tolist(), self.file.periods.underlying_period.tolist(),
                     strict=True)  # fmt: skip
        return np.array([price_of.get(key, np.nan) for key in wanted])

    @cached_property
    def name(self) -> StrArray:
        """Names to hold positions by: that of the market which a file was written from, where it states one; else
        family code, kind and period, and right and strike of an option, with hyphens between, behind the code of the
        exchange where there is more than one; with # and the file's number of the contract where two would have one
        name.
        """
        families, contracts = self.file.families, self.file.contracts
        codes = families.code.astype(object)
        if len(self.file.exchanges) > 1:
            codes = self.file.exchanges.code[families.exchange_idx].astype(object) + "-" + codes
        names = codes[self.family] + "-" + self.kind.astype(object) + "-" + self.period.astype(object)
        strikes = np.array([repr(value + 0.0).removesuffix(".0") for value in contracts.strike.tolist()], dtype=object)
        names = np.where(self.is_option, names + "-" + contracts.right.astype(object) + "-" + strikes, names)
        own = contracts.own_name.astype(object)
        names = np.where(own != "", own, names)
        for numbers in (contracts.contract_id, families.family_id[self.family]):
            counts = Counter(names.tolist())
            alike = np.array([counts[name] > 1 for name in names.tolist()], dtype=bool)
            if not alike.any():
                break
            names = np.where(alike, names + "#" + numbers.astype(str).astype(object), names)
        return names.astype(np.str_)


def within_tier(file: RiskParameterFile, tier: int, period: StrArray) -> BoolArray:
    """Whether period codes are within a tier; bounds are compared by as many characters as they have."""
    start, end = str(file.tiers.start[tier]), str(file.tiers.end[tier])
    inside = np.ones(len(period), dtype=bool)
    if start:
        inside &= np.array([code[: len(start)] >= start for code in period.tolist()], dtype=bool)
    if end:
        inside &= np.array([code[: len(end)] <= end for code in period.tolist()], dtype=bool)
    return inside


def look_ahead_years(file: RiskParameterFile, given: float | None = None) -> float:
    """Years that pass in a scenario: as given, else as the file states, else 0.004, which Takasbank uses unstated."""
    if given is not None:
        return given
    stated = file.header.look_ahead_years
    return stated if np.isfinite(stated) else DEFAULT_LOOK_AHEAD_YEARS


def commodity_of_family(file: RiskParameterFile) -> IntArray:
    """-> combined commodities by family, -1 for one that belongs to none."""
    found = np.full(len(file.families), -1, dtype=np.int64)
    found[file.links.family_idx] = file.links.commodity_idx
    return found
