"""derive_standard: the Standard Manager of Derive: every market by rule, one account for all of them.

net margin = cash + sum over markets of perpetual + base + options + unsettled gains - depeg, where
perpetual  = - |amount| x its price x requirement;  base = amount x spot x margin factor (initial: x im_scale)
options    = by expiry, the better of the sum over short legs of their isolated margins and the margin of their worst
             payoff: the lowest over the prices 0 and every strike, 0 at most, less unpaired_scale x forward x net short
             calls. Long options count nothing by themselves.
Isolated, with mark V < 0 and amount a < 0 of a short leg, spot S, out of the money by o = max(K - S, 0) or (S - K, 0):
  call  maintenance V + mm_call_spot_req S a;  initial V + max(max_spot_req - o/S, min_spot_req) S a
  put   maintenance V + min(mm_put_spot_req S a, mm_put_mtm_req V);
        initial min(V + max(max_spot_req - o/S, min_spot_req) S a, maintenance x mm_offset_scale)
Initial only: S (1 - c) oc_factor x size where a confidence c is below its threshold (perpetuals, short options, base),
and depeg = S (|perpetual| + short options) x max(0, threshold - stable price) x depeg_factor.
Requirement = mark to market - net margin.

Source: Derive v2, StandardManager at 7736900d (2026-01-21), read and run by others; in our own words.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import localcontext
from types import MappingProxyType

import numpy as np

from portfolio_margin.aggregate import account_sums
from portfolio_margin.book import UNGROUPED, Book
from portfolio_margin.derive_contributions import charge_lines
from portfolio_margin.derive_feeds import (
    Confidence,
    Feeds,
    NetMargin,
    confidence_of,
    contracts_of,
    not_at_derive,
    short_confidence,
    summed,
    total_of,
    unsettled_of,
    with_floor,
)
from portfolio_margin.derive_legs import Block, Legs, Rates, Standard, added, block_of, margin_shares, rates_of
from portfolio_margin.order_bounds import Excess, Reach
from portfolio_margin.requirement import EXACT, Contribution, ParameterSet, Requirement, Traits, covered
from pricing.arrays import BoolArray, FloatArray, IntArray, StrArray
from pricing.errors import ConfigError
from scenarios.of_arrays import of_arrays
from scenarios.risk_arrays import RiskArrays
from scenarios.shocks import MarketRows, ScenarioSet, check_bounds

CHARGES = ("perpetual", "base", "option", "depeg", "confidence")
# Positions that are taken together: columns of half a MB, so that many passes over them stay near the processor.
POSITIONS_AT_ONCE = 50_000


@dataclass(frozen=True)
class Depeg:
    """threshold 0 to 1 of the stable price, depeg_factor 0 to 10."""

    threshold: float
    depeg_factor: float

    def __post_init__(self) -> None:
        check_bounds(self, {"threshold": (0.0, 1.0), "depeg_factor": (0.0, 10.0)})


@dataclass(frozen=True)
class Params:
    """markets: underlying -> its parameters; an account that holds another market cannot be margined. feeds is the
    market's side: its oracles."""

    markets: Mapping[str, Standard]
    depeg: Depeg
    feeds: Feeds = field(default_factory=Feeds)

    def __post_init__(self) -> None:
        if not isinstance(self.markets, Mapping) or not self.markets:
            raise ConfigError(f"markets = {self.markets!r}: must be parameters by underlying, one at least")
        for name, market in self.markets.items():
            if not isinstance(market, Standard):
                raise ConfigError(f"markets {name} = {market!r}: must be Standard(...)")
        object.__setattr__(self, "markets", MappingProxyType(dict(sorted(self.markets.items()))))


@dataclass(frozen=True)
class Model:
    """The Standard Manager of Derive."""

    params: Params
    parameter_set: ParameterSet = field(default_factory=ParameterSet)
    model_id: str = field(default="derive_standard", init=False)
    traits: Traits = field(
        default=Traits(
            proportional=("perpetual",), credits=("base", "option"), of_equity=("option",), of_equity_with_risk=True
        ),
        init=False,
    )

    def scenario_set(self, market: MarketRows) -> ScenarioSet | None:
        """None: the rule looks at no scenario, so any arrays will do."""
        return None

    def not_covered(self, arrays: RiskArrays) -> StrArray:
        """(N,) why a contract has no rule here: dated futures, early exercise, stocks, assets of no market."""
        contracts, reason = contracts_of(arrays), not_at_derive(arrays)
        listed = np.isin(np.append(arrays.underlying_id, "")[arrays.underlying_idx], list(self.params.markets))
        reason = np.where(contracts.asset & ~listed, "no parameters of a market for this asset", reason)
        token = contracts.asset & ~contracts.coin & (reason == "")
        return np.where(token, "not the coin of its market: it has a price of its own", reason)

    def debts_covered(self, arrays: RiskArrays) -> BoolArray:
        """(N,) coins: "base" charges a balance owed like one held."""
        return np.asarray(contracts_of(arrays).coin & arrays.is_collateral)

    def haircut(self, arrays: RiskArrays) -> FloatArray:
        """(N,) 1 for assets that the venue does not take; what it asks for others is among the charges."""
        return np.where(arrays.is_collateral & (self.not_covered(arrays) != ""), 1.0, 0.0)

    @of_arrays
    def rates(self, arrays: RiskArrays) -> Rates:
        """The parameters by underlying."""
        return rates_of(self.params.markets, arrays)

    def blocks(self, book: Book, arrays: RiskArrays) -> Iterator[Block]:
        """Legs and expiries of every account, in blocks of accounts."""
        if np.any(book.group_key == UNGROUPED):
            raise ConfigError(
                "derive_standard needs a book with groups: "
                "Book.from_arrays(..., group_of_instrument=instruments.expiry_idx)"
            )
        rates, first = self.rates(arrays), 0
        ends = book.position_ptr
        while first < len(book):
            last = max(first + 1, int(np.searchsorted(ends, ends[first] + POSITIONS_AT_ONCE, side="right")) - 1)
            yield block_of(book.accounts(first, last), first, last, arrays, rates)
            first = last

    def requirement(
        self, book: Book, arrays: RiskArrays, *, backend: str = "numba", threads: int | None = None
    ) -> Requirement:
        """Requirement of every account; no scenario is worst. "option" is below 0 where quotes admit arbitrage."""
        # Quantities are checked as for every other model; the sums themselves are not needed.
        account_sums(book, arrays, _values(arrays), backend=backend, threads=threads)
        charges = {name: np.zeros((len(book), 2)) for name in CHARGES}
        revaluation = np.zeros(len(book))
        for block in self.blocks(book, arrays):
            here = slice(block.first, block.last)
            for name, amounts in self._by_position(block, arrays).items():
                charges[name][here] = added(block.account, amounts, len(block.own))
            value = summed(block.group, block.legs.value, len(block.own.group_key))
            owner = np.repeat(np.arange(len(block.own)), np.diff(block.own.account_ptr))
            charges["option"][here] = added(owner, value[:, None] - block.margin, len(block.own))
            revaluation[here] = self._revaluation(block, arrays)
        charges = with_floor({name: amounts + 0.0 for name, amounts in charges.items()}, len(book))
        total = total_of(charges, len(book))
        return Requirement(total[:, 0], total[:, 1], np.full(len(book), -1), charges, revaluation)

    def order_excess(self, arrays: RiskArrays, reach: Reach) -> tuple[Excess, ...]:
        """What the better of two rules for an expiry adds where the parts are margined by different ones: of an option
        sold, the dearer of the two. The worst payoff looks at the strikes that are held, so short calls may pay for a
        higher strike of another part as well, at most up to their isolated margin."""
        contracts, rates = contracts_of(arrays), self.rates(arrays)
        sold = np.flatnonzero(contracts.option & (reach.sold > 0.0) & (self.not_covered(arrays) == ""))
        cost, above = np.zeros(len(arrays)), np.zeros(len(arrays))
        if len(sold):
            single = Book.from_arrays(np.repeat("one", len(sold)), sold, -np.ones(len(sold)), arrays.expiry_idx)
            (block,) = self.blocks(single, arrays)
            row, key = block.own.instrument_idx, arrays.expiry_idx[block.own.instrument_idx]
            isolated, units = -block.legs.isolated, contracts.units[row]
            call, strike = arrays.terms.sign[row] > 0.0, arrays.terms.strike
            top, held = np.zeros(len(arrays.expiry_name) + 1), contracts.option & (reach.size > 0.0)
            np.maximum.at(top, arrays.expiry_idx[held], strike[held])
            higher = np.where(call, (top[key] - strike[row]) * units, 0.0)
            beyond = np.append(arrays.terms.forward, 0.0)[key] * units
            payoff = np.where(call[:, None], beyond[:, None] * rates.unpaired[block.legs.underlying], 0.0)
            payoff += np.where(call, higher, strike[row] * units)[:, None]
            extra = np.minimum(higher[:, None], isolated)
            above[row] = extra.max(axis=1)
            cost[row] = np.maximum(isolated, payoff).max(axis=1) + above[row]
        base = rates.base.max(axis=1)[arrays.underlying_idx] - 1.0 / self.params.feeds.stable_price
        coins = np.where(contracts.asset, np.maximum(base, 0.0) * contracts.units * contracts.spot, 0.0)
        return (Excess(cost + 2.0 * coins, {}, float(above @ reach.sold)),)

    def net_margin(
        self, book: Book, arrays: RiskArrays, *, backend: str = "numba", threads: int | None = None
    ) -> NetMargin:
        """Equity less requirement of every account as the venue states it, cash included; of what it has rules for.

        trusted is maintenance: this manager has no other.
        """
        book, _ = covered(self, book, arrays)
        required = self.requirement(book, arrays, backend=backend, threads=threads)
        held = account_sums(book, arrays, _values(arrays), backend=backend, threads=threads)[:, 0]
        value = held if required.revaluation is None else held + required.revaluation
        charges = {name: amounts for name, amounts in required.charges.items() if name != "floor"}
        initial, maintenance = (value[:, None] - total_of(charges, len(book))).T
        return NetMargin(initial, maintenance, value, maintenance)

    def contributions(self, book: Book, arrays: RiskArrays) -> list[Contribution]:
        """Every position's part of every charge; the floor is a line of the account."""
        required = self.requirement(book, arrays, backend="numpy")
        (block,), rates = self.blocks(book, arrays), self.rates(arrays)
        amounts = self._by_position(block, arrays)
        amounts["option"] = block.legs.value[:, None] - margin_shares(block, arrays, rates)
        amounts["floor"] = np.zeros_like(amounts["option"])
        with localcontext(EXACT):
            return [
                line
                for name in required.charges
                for line in charge_lines(book, arrays, name, amounts[name], required.charges[name][0])
            ]

    def _by_position(self, block: Block, arrays: RiskArrays) -> dict[str, FloatArray]:
        """(P,2) of every position in the charges that are made of single positions."""
        contracts, row, legs = contracts_of(arrays), block.own.instrument_idx, block.legs
        rates, feeds = self.rates(arrays), self.params.feeds
        confidence = confidence_of(feeds, arrays, with_rates=False)
        u, size = legs.underlying, np.abs(legs.amount)
        price = np.append(arrays.terms.forward, 0.0)[arrays.expiry_idx[row]]
        perpetual = np.where(contracts.perpetual[row], size, 0.0)
        short = np.where(contracts.option[row], np.maximum(-legs.amount, 0.0), 0.0)
        coins = np.where(contracts.asset[row], size, 0.0) * legs.spot
        peg = max(0.0, self.params.depeg.threshold - feeds.stable_price) * self.params.depeg.depeg_factor
        return {
            "perpetual": (perpetual * price)[:, None] * rates.perpetual[u],
            "base": coins[:, None] * (1.0 / feeds.stable_price - rates.base[u]),
            "depeg": _initial((perpetual + short) * legs.spot * peg),
            "confidence": _initial(self._in_doubt(arrays, row, legs, (perpetual, short, coins), rates, confidence)),
        }

    def _in_doubt(
        self,
        arrays: RiskArrays,
        row: IntArray,
        legs: Legs,
        sizes: tuple[FloatArray, FloatArray, FloatArray],
        rates: Rates,
        confidence: Confidence,
    ) -> FloatArray:
        """(P,) oracle contingency; sizes are units of perpetuals and short options, and the value of coins."""
        perpetual, short, coins = sizes
        u = legs.underlying
        spot, perp = (np.append(values, 1.0)[u] for values in (confidence.spot, confidence.perpetual))
        expiry = np.append(confidence.expiry, 1.0)[arrays.expiry_idx[row]]
        taken = rates.base[u, 1] > 0.0
        doubted = (
            perpetual * legs.spot * short_confidence(np.minimum(spot, perp), rates.perp_threshold[u])
            + short * legs.spot * short_confidence(np.minimum(spot, expiry), rates.option_threshold[u])
            + np.where(taken, coins, 0.0) * short_confidence(spot, rates.base_threshold[u])
        )
        return doubted * rates.oc_factor[u]

    def _revaluation(self, block: Block, arrays: RiskArrays) -> FloatArray:
        """(last - first,) mark to market of the venue less the value in the arrays."""
        contracts, row, legs = contracts_of(arrays), block.own.instrument_idx, block.legs
        stated = block.own.quantity * arrays.value[row]
        coins = legs.amount * legs.spot / self.params.feeds.stable_price
        marked = np.where(contracts.option[row], legs.value, np.where(contracts.asset[row], coins, stated))
        result = summed(block.account, marked - stated, len(block.own))
        held = contracts.perpetual[row] & (block.own.quantity != 0)
        names = block.own.account_id[block.account]
        gains = unsettled_of(self.params.feeds, arrays, names, legs.underlying, held)
        pair = block.account * (len(arrays.underlying_id) + 1) + legs.underlying
        _, first = np.unique(np.where(held, pair, -1), return_index=True)
        once = np.isin(np.arange(len(row)), first) & held
        return np.asarray(result + summed(block.account, np.where(once, gains, 0.0), len(block.own)))


@of_arrays
def _values(arrays: RiskArrays) -> FloatArray:
    """(N,1) value of one unit, ticks."""
    return arrays.value_rows[:, None]


def _initial(amount: FloatArray) -> FloatArray:
    """(P,2) of what is asked of initial margin only."""
    return np.column_stack([amount, np.zeros_like(amount)])
