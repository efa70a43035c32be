"""What a hedge is asked for: the target, what trading costs, how much may be traded, and which Greeks must stay."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from portfolio_margin.nearest import did_you_mean
from portfolio_margin.requirement import MarginModel
from portfolio_margin.search_watch import SearchProgress, unheard
from pricing.arrays import FloatArray, IntArray
from pricing.errors import ConfigError, DataError, Problem
from pricing.instruments import Kind
from scenarios.risk_arrays import RiskArrays
from scenarios.shocks import check_bounds

# Measures that must come down to the target, and those that must rise to it.
CEILINGS = ("initial_margin", "maintenance_margin")
FLOORS = ("available_funds", "excess_liquidity")
MEASURES = (*CEILINGS, *FLOORS)
# Without a limit of its own a contract is traded up to so many times the notional of the account.
DEFAULT_NOTIONALS = 2.0
MOST_LOTS = 1e9


@dataclass(frozen=True)
class Target:
    """What must hold after the trades, margin currency.

    measure  "initial_margin" or "maintenance_margin": at most `amount`; "available_funds" (margin balance less initial
             margin) or "excess_liquidity" (less maintenance margin): at least `amount`, after the costs of the trades
    amount   finite; 0 or more for a margin
    """

    measure: str = "available_funds"
    amount: float = 0.0

    def __post_init__(self) -> None:
        if self.measure not in MEASURES:
            raise ConfigError(f"target measure = {self.measure!r}: must be one of {', '.join(MEASURES)}")
        if not _is_number(self.amount) or not np.isfinite(self.amount):
            raise ConfigError(f"target amount = {self.amount!r}: must be a finite number, in margin currency")
        if self.measure in CEILINGS and self.amount < 0:
            raise ConfigError(f"target amount = {self.amount!r}: a margin is never below 0")

    def missed_by(self, value: float) -> float:
        """By how much a value of the measure misses the target; 0 or less where it is met."""
        return value - self.amount if self.measure in CEILINGS else self.amount - value


@dataclass(frozen=True)
class Costs:
    """What trading costs beside the mark, paid in margin currency. All of it is 0 or more.

    option_fee          share of the notional of an option, 0 to 1
    option_fee_cap      the most of it, share of the option's value, 0 to 1; 0 for no cap
    future_fee          share of the notional of a future or perpetual, 0 to 1
    option_half_spread  from mark to bid or ask, share of the option's value, 0 to 1
    option_least_half_spread   the least of it, share of the notional, 0 to 1: nobody sells an option for nothing
    future_half_spread  the same for futures and perpetuals, share of the notional, 0 to 1
    quotes              contract -> (bid, ask) in place of the half spread, as the venue quotes: an option that pays in
                        coin in coin, others in quote currency. None for a side that nobody quotes, which is not traded
    """

    option_fee: float = 0.0003
    option_fee_cap: float = 0.125
    future_fee: float = 0.0005
    option_half_spread: float = 0.02
    option_least_half_spread: float = 0.0001
    future_half_spread: float = 0.0001
    quotes: Mapping[str, tuple[float | None, float | None]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shares = [f.name for f in fields(self) if f.name != "quotes"]
        check_bounds(self, dict.fromkeys(shares, (0.0, 1.0)))
        if not isinstance(self.quotes, Mapping):
            raise ConfigError(f"quotes = {self.quotes!r}: must be a mapping from contract to (bid, ask)")
        for name, pair in self.quotes.items():
            if not isinstance(pair, (tuple, list)) or len(pair) != 2 or not all(_is_price(price) for price in pair):
                raise ConfigError(f"quotes {name} = {pair!r}: must be (bid, ask), each 0 or more, or None for no quote")
            if None not in pair and pair[0] > pair[1]:  # type: ignore[operator]
                raise ConfigError(f"quotes {name} = {pair!r}: the bid is above the ask")
        object.__setattr__(self, "quotes", MappingProxyType({str(k): tuple(v) for k, v in self.quotes.items()}))


@dataclass(frozen=True)
class Limits:
    """How much may be traded, and how far it is searched.

    size        contracts of each instrument, either way: one number for all, or contract -> number, or contract ->
                (sold, bought); None: up to twice the notional of the account in each
    total_cost  the most that trades may cost together, margin currency; None for no limit
    nodes       branches the solver may look at in one program, 1 to 1e6; what was found until then is used, and its
                gap stated. A number of branches and not a time, so that the same question has the same answer
    gap         relative gap between costs and their lower bound at which the solver may stop, 0 to 0.5
    time_limit  seconds, 0 to 1e9, after which `optimise_book` ends with the best it has found and what is proven of it;
                None: when it is finished, which alone has the same answer every time. A hedge takes none
    progress    called after every step of `optimise_book` with what is found and proven so far
    """

    size: float | Mapping[str, float | tuple[float, float]] | None = None
    total_cost: float | None = None
    nodes: int = 200
    gap: float = 1e-3
    time_limit: float | None = None
    progress: Callable[[SearchProgress], None] = unheard

    def __post_init__(self) -> None:
        timed = {} if self.time_limit is None else {"time_limit": (0.0, 1e9)}
        check_bounds(self, {"nodes": (1, 1e6), "gap": (0.0, 0.5), **timed})
        if self.total_cost is not None and not (_is_number(self.total_cost) and 0.0 <= self.total_cost < np.inf):
            raise ConfigError(f"total_cost = {self.total_cost!r}: must be a finite number, 0 or more, or None")
        given = self.size.values() if isinstance(self.size, Mapping) else (self.size,)
        for size in given:
            sides = size if isinstance(size, (tuple, list)) and len(size) == 2 else (size,)
            if not all(s is None or (_is_number(s) and 0.0 <= s < np.inf) for s in sides):
                raise ConfigError(f"limit size = {size!r}: must be contracts, 0 or more, or (sold, bought)")
        if isinstance(self.size, Mapping):
            object.__setattr__(self, "size", MappingProxyType({str(k): v for k, v in self.size.items()}))


class TradeTerms(NamedTuple):
    """(n,) each, by lot of the contracts that may be traded.

    buy_cost, sell_cost   margin currency per lot beside the mark, 0 or more
    most_bought, most_sold   lots
    buy_price, sell_price    of a contract as the venue quotes it, fees not included: the mark and what lies beside it
    """

    buy_cost: FloatArray
    sell_cost: FloatArray
    most_bought: FloatArray
    most_sold: FloatArray
    buy_price: FloatArray
    sell_price: FloatArray


def contract_rows(arrays: RiskArrays, model: MarginModel, instruments: Sequence[str] | None) -> IntArray:
    """(n,) -> N contracts that may be traded; None: all that the model has a rule for.

    DataError naming every one that is unknown, listed twice, an asset, or without a rule in the model.
    """
    reason = np.asarray(model.not_covered(arrays), dtype=np.str_)
    if instruments is None:
        return np.flatnonzero(~arrays.is_collateral & (reason == ""))
    try:
        names = [] if isinstance(instruments, str) else list(instruments)
    except TypeError:  # what nobody can list
        names = []
    if not names:
        raise ConfigError(f"instruments = {instruments!r}: must be names of one contract or more, or None for all")
    row_of = arrays.index_of()
    problems: list[Problem] = []
    rows: list[int] = []
    for number, name in enumerate(names, start=1):
        row = row_of.get(str(name))
        remedy = ""
        if row is None:
            remedy = "no such instrument" + did_you_mean(str(name), row_of)
        elif arrays.is_collateral[row]:
            remedy = "an asset that is held, not a contract that can be traded here"
        elif reason[row]:
            remedy = f"the model has no rule for it: {reason[row]}"
        elif row in rows:
            remedy = "listed twice"
        if remedy:
            problems.append(Problem("instruments", number, "instrument", str(name), remedy))
        elif row is not None:
            rows.append(row)
    if problems:
        raise DataError(problems)
    return np.array(rows, dtype=np.int64)


def trade_terms(arrays: RiskArrays, rows: IntArray, costs: Costs, limits: Limits, scale: float) -> TradeTerms:
    """Costs and limits by lot; DataError naming every contract of them that is not among the instruments.

    scale  notional of the account, which limits what has no limit of its own
    """
    _check_named(arrays, costs, limits)
    step = arrays.quantity_step[rows]
    notional, value = arrays.notional[rows], arrays.value[rows]
    option = arrays.kind[rows] == Kind.OPTION
    fee = np.where(option, costs.option_fee, costs.future_fee) * notional
    if costs.option_fee_cap:
        fee = np.where(option, np.minimum(fee, costs.option_fee_cap * value), fee)
    spread = np.maximum(costs.option_half_spread * value, costs.option_least_half_spread * notional)
    half = np.where(option, spread, costs.future_half_spread * notional)
    buy, sell = half.copy(), half.copy()
    bought, sold = _sizes(arrays, rows, limits, scale)
    for k, row in enumerate(rows):
        name = str(arrays.instrument_id[row])
        if name in costs.quotes:
            bid, ask = (_beside_mark(arrays, int(row), price) for price in costs.quotes[name])
            # A quote better than the mark counts as the mark: no hedge is paid for by a mark that is off.
            buy[k], sell[k] = max(ask or 0.0, 0.0), max(-(bid or 0.0), 0.0)
            bought[k], sold[k] = 0.0 if ask is None else bought[k], 0.0 if bid is None else sold[k]
    most_bought, most_sold = (np.floor(np.minimum(size / step, MOST_LOTS) + 1e-9) for size in (bought, sold))
    return TradeTerms(
        buy_cost=(buy + fee) * step,
        sell_cost=(sell + fee) * step,
        most_bought=most_bought,
        most_sold=most_sold,
        buy_price=_price(arrays, rows, buy),
        sell_price=_price(arrays, rows, -sell),
    )


def _price(arrays: RiskArrays, rows: IntArray, beside: FloatArray) -> FloatArray:
    """(n,) price as the venue quotes it, of margin currency per contract beside the mark."""
    terms, forward = arrays.terms, arrays.terms.forward[arrays.expiry_idx[rows]]
    coin = terms.multiplier[rows] * terms.fx[terms.currency_idx[rows]]
    option = (arrays.value[rows] + beside) / coin
    return np.where(arrays.kind[rows] == Kind.OPTION, option, forward * (1.0 + beside / arrays.notional[rows]))


def _beside_mark(arrays: RiskArrays, row: int, price: float | None) -> float | None:
    """Margin currency per contract that a price lies above the mark."""
    if price is None:
        return None
    terms = arrays.terms
    if arrays.kind[row] == Kind.OPTION:
        quoted = price * terms.multiplier[row] * terms.fx[terms.currency_idx[row]]
        return float(quoted - arrays.value[row])
    return float(arrays.notional[row] * (price / terms.forward[arrays.expiry_idx[row]] - 1.0))


def _sizes(arrays: RiskArrays, rows: IntArray, limits: Limits, scale: float) -> tuple[FloatArray, FloatArray]:
    """(n,) contracts bought and sold at most."""
    default = np.maximum(DEFAULT_NOTIONALS * scale / arrays.notional[rows], arrays.quantity_step[rows])
    if not isinstance(limits.size, Mapping):
        every = default if limits.size is None else np.full(len(rows), float(limits.size))
        return every.copy(), every.copy()
    bought, sold = default.copy(), default.copy()
    for k, row in enumerate(rows):
        size = limits.size.get(str(arrays.instrument_id[row]))
        if size is not None:
            sold[k], bought[k] = size if isinstance(size, (tuple, list)) else (size, size)
    return bought, sold


def _check_named(arrays: RiskArrays, costs: Costs, limits: Limits) -> None:
    row_of = arrays.index_of()
    named = [("costs", "quotes", name) for name in costs.quotes]
    named += [("limits", "size", name) for name in (limits.size if isinstance(limits.size, Mapping) else ())]
    problems = [
        Problem(file, None, field_name, name, "no such instrument" + did_you_mean(name, row_of))
        for file, field_name, name in named
        if name not in row_of
    ]
    if problems:
        raise DataError(problems)


def _is_number(value: object) -> bool:
    """Whether a value is a number that a double holds, infinity and NaN among them."""
    if isinstance(value, int):
        return not isinstance(value, bool) and abs(value) <= sys.float_info.max
    return isinstance(value, (float, np.integer, np.floating))


def _is_price(value: object) -> bool:
    return value is None or (_is_number(value) and 0.0 <= value < np.inf)  # type: ignore[operator]
