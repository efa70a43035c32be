"""Legs and expiries of Derive's Standard Manager: isolated margins, and the margin of the worst payoff.

Source: Derive v2, StandardManager at 7736900d (2026-01-21), in our own words; the formulas stand in
portfolio_margin/models/derive_standard.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from portfolio_margin.book import Book
from portfolio_margin.derive_feeds import contracts_of, summed
from portfolio_margin.payoffs import Payoffs, lowest_payoffs
from pricing.arrays import BoolArray, FloatArray, IntArray
from pricing.errors import ConfigError
from scenarios.risk_arrays import RiskArrays
from scenarios.shocks import check_bounds


@dataclass(frozen=True)
class OptionMargin:
    """Shares of spot max_spot_req, min_spot_req, mm_call_spot_req, mm_put_spot_req, of the mark mm_put_mtm_req, 0 to 2;
    unpaired_im_scale, unpaired_mm_scale 0 to 10 of the forward; mm_offset_scale 0 to 10."""

    max_spot_req: float
    min_spot_req: float
    mm_call_spot_req: float
    mm_put_spot_req: float
    mm_put_mtm_req: float
    unpaired_im_scale: float
    unpaired_mm_scale: float
    mm_offset_scale: float

    def __post_init__(self) -> None:
        shares = ("max_spot_req", "min_spot_req", "mm_call_spot_req", "mm_put_spot_req", "mm_put_mtm_req")
        scales = ("unpaired_im_scale", "unpaired_mm_scale", "mm_offset_scale")
        check_bounds(self, {**dict.fromkeys(shares, (0.0, 2.0)), **dict.fromkeys(scales, (0.0, 10.0))})


@dataclass(frozen=True)
class PerpMargin:
    """Shares of the price of a perpetual, mm_perp_req and im_perp_req, 0 to 1."""

    mm_perp_req: float
    im_perp_req: float

    def __post_init__(self) -> None:
        check_bounds(self, {"mm_perp_req": (0.0, 1.0), "im_perp_req": (0.0, 1.0)})


@dataclass(frozen=True)
class OracleContingency:
    """Thresholds of confidence 0 to 1, 0 for none, and oc_factor 0 to 2."""

    perp_threshold: float
    option_threshold: float
    base_threshold: float
    oc_factor: float

    def __post_init__(self) -> None:
        thresholds = dict.fromkeys(("perp_threshold", "option_threshold", "base_threshold"), (0.0, 1.0))
        check_bounds(self, {**thresholds, "oc_factor": (0.0, 2.0)})


@dataclass(frozen=True)
class BaseMargin:
    """margin_factor 0 to 1, the share of a coin's value that counts for maintenance margin, 0 where the coin is not
    taken; im_scale 0 to 1 of that for initial margin."""

    margin_factor: float
    im_scale: float

    def __post_init__(self) -> None:
        check_bounds(self, {"margin_factor": (0.0, 1.0), "im_scale": (0.0, 1.0)})


@dataclass(frozen=True)
class Standard:
    """The parameters of one market."""

    option_margin: OptionMargin
    perp_margin: PerpMargin
    oracle_contingency: OracleContingency
    base_margin: BaseMargin


class Rates(NamedTuple):
    """(U+1,) each: the parameters by underlying, 0 in the last row, for what no underlying moves.

    unpaired, perpetual and base are (U+1,2), initial and maintenance; known is False for a market without parameters
    """

    known: BoolArray
    max_spot: FloatArray
    min_spot: FloatArray
    mm_call: FloatArray
    mm_put: FloatArray
    mm_put_mark: FloatArray
    unpaired: FloatArray
    offset: FloatArray
    perpetual: FloatArray
    perp_threshold: FloatArray
    option_threshold: FloatArray
    base_threshold: FloatArray
    oc_factor: FloatArray
    base: FloatArray


class Legs(NamedTuple):
    """(P,) each, of the positions of a block of accounts: amount in units, mark value of options, underlying -> U+1,
    spot, and (P,2) initial and maintenance isolated margin, 0 or less."""

    amount: FloatArray
    value: FloatArray
    underlying: IntArray
    spot: FloatArray
    isolated: FloatArray


class Block(NamedTuple):
    """A block of accounts: its first and last account, its book, its legs, and by group of its book (account and
    expiry) the payoffs (G,), isolated margin, payoff margin and their maximum (G,2)."""

    first: int
    last: int
    own: Book
    legs: Legs
    payoffs: Payoffs
    isolated: FloatArray
    bounded: FloatArray
    margin: FloatArray

    @property
    def group(self) -> IntArray:
        """(P,) -> G."""
        return np.repeat(np.arange(len(self.own.group_key)), np.diff(self.own.group_ptr))

    @property
    def account(self) -> IntArray:
        """(P,) account, counted from the block's first."""
        return np.repeat(np.arange(len(self.own)), np.diff(self.own.position_ptr))


def rates_of(markets: Mapping[str, Standard], arrays: RiskArrays) -> Rates:
    """Parameters by underlying, 0 for a market without: what is held there cannot be margined."""
    found = [markets.get(str(name)) for name in arrays.underlying_id]

    def column(group: str, *names: str) -> FloatArray:
        nothing = tuple(0.0 for _ in names)
        rows = [nothing if m is None else tuple(getattr(getattr(m, group), n) for n in names) for m in found]
        values = np.array([*rows, nothing], dtype=np.float64)
        return values[:, 0] if len(names) == 1 else values

    base = column("base_margin", "margin_factor", "im_scale")
    return Rates(
        known=np.array([*(m is not None for m in found), True]),
        max_spot=column("option_margin", "max_spot_req"),
        min_spot=column("option_margin", "min_spot_req"),
        mm_call=column("option_margin", "mm_call_spot_req"),
        mm_put=column("option_margin", "mm_put_spot_req"),
        mm_put_mark=column("option_margin", "mm_put_mtm_req"),
        unpaired=column("option_margin", "unpaired_im_scale", "unpaired_mm_scale"),
        offset=column("option_margin", "mm_offset_scale"),
        perpetual=column("perp_margin", "im_perp_req", "mm_perp_req"),
        perp_threshold=column("oracle_contingency", "perp_threshold"),
        option_threshold=column("oracle_contingency", "option_threshold"),
        base_threshold=column("oracle_contingency", "base_threshold"),
        oc_factor=column("oracle_contingency", "oc_factor"),
        base=np.column_stack([base[:, 0] * base[:, 1], base[:, 0]]),
    )


def block_of(own: Book, first: int, last: int, arrays: RiskArrays, rates: Rates) -> Block:
    """Legs and expiries of the accounts first to last - 1, whose book is `own`."""
    option = contracts_of(arrays).option[own.instrument_idx]
    legs = _legs(own, arrays, rates)
    amount = np.where(option, legs.amount, 0.0)
    strike = np.where(option, arrays.terms.strike[own.instrument_idx], 0.0)
    payoffs = lowest_payoffs(strike, arrays.terms.sign[own.instrument_idx], amount, own.group_ptr)
    key = own.group_key
    unpaired = rates.unpaired[np.append(arrays.terms.expiry_underlying, -1)[key]]
    forward = np.append(arrays.terms.forward, 0.0)[key]
    beyond = np.minimum(payoffs.net_calls, 0.0) * forward
    bounded = np.minimum(payoffs.lowest, 0.0)[:, None] + beyond[:, None] * unpaired
    group = np.repeat(np.arange(len(key)), np.diff(own.group_ptr))
    isolated = added(group, legs.isolated, len(key))
    return Block(first, last, own, legs, payoffs, isolated, bounded, np.maximum(isolated, bounded))


def _legs(own: Book, arrays: RiskArrays, rates: Rates) -> Legs:
    """Isolated margins of the options, and what they are made of."""
    contracts, row = contracts_of(arrays), own.instrument_idx
    underlying, spot = arrays.underlying_idx[row], contracts.spot[row]
    amount = own.quantity * contracts.units[row]
    unknown = np.flatnonzero(~rates.known[underlying] & (own.quantity != 0))
    if len(unknown):
        names = np.unique(arrays.underlying_id[underlying[unknown]])
        give = ", ".join(f"markets.{name}" for name in names)
        raise ConfigError(f"derive_standard has no parameters of market {', '.join(names)}: give {give}")
    strike, sign = np.nan_to_num(arrays.terms.strike[row]), arrays.terms.sign[row]
    value = own.quantity * arrays.value[row] / np.append(arrays.terms.discount, 1.0)[arrays.expiry_idx[row]]
    out = np.maximum(sign * (strike - spot), 0.0) / np.where(spot > 0.0, spot, 1.0)
    spread = np.maximum(rates.max_spot[underlying] - out, rates.min_spot[underlying]) * spot * amount
    call = np.column_stack([value + spread, value + rates.mm_call[underlying] * spot * amount])
    put = value + np.minimum(rates.mm_put[underlying] * spot * amount, rates.mm_put_mark[underlying] * value)
    puts = np.column_stack([np.minimum(value + spread, put * rates.offset[underlying]), put])
    short = contracts.option[row] & (amount < 0.0)
    isolated = np.where(short[:, None], np.where((sign > 0.0)[:, None], call, puts), 0.0)
    return Legs(amount, np.where(contracts.option[row], value, 0.0), underlying, spot, isolated)


def margin_shares(block: Block, arrays: RiskArrays, rates: Rates) -> FloatArray:
    """(P,2) of every option in the margin of its expiry: its isolated margin, or its part of the worst payoff."""
    row, legs, group = block.own.instrument_idx, block.legs, block.group
    option = contracts_of(arrays).option[row]
    strike, sign = np.nan_to_num(arrays.terms.strike[row]), arrays.terms.sign[row]
    payoff = legs.amount * np.maximum(sign * (block.payoffs.price[group] - strike), 0.0)
    payoff = np.where(option & (block.payoffs.lowest[group] < 0.0), payoff, 0.0)
    naked = option & (sign > 0.0) & (block.payoffs.net_calls[group] < 0.0)
    beyond = np.where(naked, legs.amount, 0.0) * np.append(arrays.terms.forward, 0.0)[arrays.expiry_idx[row]]
    bounded = payoff[:, None] + beyond[:, None] * rates.unpaired[legs.underlying]
    return np.where((block.isolated >= block.bounded)[group], legs.isolated, bounded)


def added(row: IntArray, values: FloatArray, count: int) -> FloatArray:
    """(count,2) values (n,2) added up by row, in their order."""
    return np.column_stack([summed(row, values[:, side], count) for side in (0, 1)])
