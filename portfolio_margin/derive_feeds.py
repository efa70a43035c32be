"""What the three managers of Derive share: the feeds they look at beside prices, units, strikes, refusals.

Source: Derive v2 (formerly Lyra), contracts PMRM, PMRM_2, StandardManager at 7736900d (2026-01-21); in our own words.
Amounts are in units of the underlying, prices in the stable currency that is the margin currency of the arrays.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from portfolio_margin.book import Book
from portfolio_margin.nearest import did_you_mean_or_known
from portfolio_margin.requirement import early_exercise, of_stocks
from pricing.arrays import BoolArray, FloatArray, IntArray, StrArray
from pricing.errors import ConfigError, DataError, Problem
from pricing.instruments import Kind
from scenarios.of_arrays import of_arrays
from scenarios.risk_arrays import RiskArrays
from scenarios.shocks import check_bounds

# The price of settlement is the average of the last seconds before an expiry (LyraForwardFeed).
SETTLEMENT_WINDOW_SECONDS = 1_800.0
MILLISECONDS = 1_000.0
CONFIDENCES = (
    "spot_confidence",
    "perp_confidence",
    "forward_confidence",
    "rate_confidence",
    "vol_confidence",
    "collateral_confidence",
)


@dataclass(frozen=True)
class Feeds:
    """What the venue's oracles say beside prices. Left out: nothing is in doubt, nothing unsettled.

    stable_price           US dollars per unit of the stable currency, 0.01 to 100; prices are in dollars
    spot_confidence        underlying -> 0 to 1, of its spot
    perp_confidence        underlying -> 0 to 1, of its perpetual
    forward_confidence, rate_confidence, vol_confidence   expiry -> 0 to 1: "ETH-2026-03-27", all of that day, or
                           "ETH-2026-03-27T08:00:00", that one
    collateral_confidence  asset -> 0 to 1
    unsettled              account -> underlying -> gain of its perpetual and funding not yet paid, margin currency;
                           counts only while the account holds the perpetual
    """

    stable_price: float = 1.0
    spot_confidence: Mapping[str, float] = field(default_factory=dict)
    perp_confidence: Mapping[str, float] = field(default_factory=dict)
    forward_confidence: Mapping[str, float] = field(default_factory=dict)
    rate_confidence: Mapping[str, float] = field(default_factory=dict)
    vol_confidence: Mapping[str, float] = field(default_factory=dict)
    collateral_confidence: Mapping[str, float] = field(default_factory=dict)
    unsettled: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_bounds(self, {"stable_price": (0.01, 100.0)})
        for name in CONFIDENCES:
            object.__setattr__(self, name, _numbers(name, getattr(self, name), 0.0, 1.0))
        if not isinstance(self.unsettled, Mapping):
            raise ConfigError(f"unsettled = {self.unsettled!r}: must be amounts by account and underlying")
        accounts = {
            str(account): _numbers(f"unsettled {account}", amounts, -np.inf, np.inf)
            for account, amounts in sorted(self.unsettled.items())
        }
        object.__setattr__(self, "unsettled", MappingProxyType(accounts))

    @property
    def quiet(self) -> bool:
        """Whether nothing is in doubt and nothing unsettled."""
        return not self.unsettled and not any(getattr(self, name) for name in CONFIDENCES)


def _numbers(name: str, values: object, low: float, high: float) -> Mapping[str, float]:
    """Numbers by name within bounds, sorted, so that their order changes no hash."""
    if not isinstance(values, Mapping):
        raise ConfigError(f"{name} = {values!r}: must be numbers by name")
    for key, value in values.items():
        number = isinstance(value, (int, float)) and not isinstance(value, bool) and np.isfinite(value)
        if not number or not low <= value <= high:
            kind = f"a number from {low:g} to {high:g}" if np.isfinite(low) else "a number"
            raise ConfigError(f"{name} {key} = {value!r}: must be {kind}")
    return MappingProxyType(dict(sorted(values.items())))


class Confidence(NamedTuple):
    """Confidences by row: spot, perpetual (U,); expiry (X,), the lowest of its feeds; asset (N,)."""

    spot: FloatArray
    perpetual: FloatArray
    expiry: FloatArray
    asset: FloatArray


@of_arrays
def confidence_of(feeds: Feeds, arrays: RiskArrays, with_rates: bool) -> Confidence:
    """The feeds by row of these arrays, 1 where none is given. ConfigError for a name that is no row of them.

    with_rates  whether the expiry's interest rate is among its feeds (PMRM, PMRM_2)
    """
    expiries = [feeds.forward_confidence, feeds.vol_confidence] + [feeds.rate_confidence] * with_rates
    owner = arrays.underlying_id[arrays.terms.expiry_underlying]
    moment = arrays.terms.expiry_time.astype("datetime64[ms]").astype("datetime64[s]").astype(np.str_)
    names = (arrays.expiry_name, np.char.add(np.char.add(owner, "-"), moment))
    return Confidence(
        spot=_by_row("spot_confidence", feeds.spot_confidence, arrays.underlying_id),
        perpetual=_by_row("perp_confidence", feeds.perp_confidence, arrays.underlying_id),
        expiry=np.min([_by_row("confidence of expiry", values, *names) for values in expiries], axis=0),
        asset=_by_row("collateral_confidence", feeds.collateral_confidence, arrays.instrument_id),
    )


def _by_row(name: str, values: Mapping[str, float], *names: StrArray) -> FloatArray:
    """(n,) values by row, 1 where none is given; rows go by any of their names, a later kind before an earlier."""
    result = np.ones(len(names[0]))
    if not values:
        return result
    given = np.array(list(values), dtype=np.str_)
    unknown = given[~np.any([np.isin(given, rows) for rows in names], axis=0)]
    if len(unknown):
        hint = did_you_mean_or_known(str(unknown[0]), names[0].tolist())
        raise ConfigError(f"{name} {unknown[0]}: not in this market{hint}")
    for rows in names:
        for key, value in values.items():
            result[rows == key] = value
    return result


def unsettled_of(
    feeds: Feeds, arrays: RiskArrays, names: StrArray, underlying: IntArray, held: BoolArray
) -> FloatArray:
    """(M,) unsettled amounts of accounts `names` in underlyings, 0 where no perpetual is held."""
    result = np.zeros(len(names))
    if not feeds.unsettled:
        return result
    known = np.array(sorted(feeds.unsettled), dtype=np.str_)
    table = np.zeros((len(known), len(arrays.underlying_id)))
    column = {str(name): u for u, name in enumerate(arrays.underlying_id)}
    for line, account in enumerate(known):
        for name, amount in feeds.unsettled[str(account)].items():
            if name not in column:
                hint = did_you_mean_or_known(name, list(column))
                raise ConfigError(f"unsettled {account} {name}: not in this market{hint}")
            table[line, column[name]] = amount
    row = np.minimum(np.searchsorted(known, names), len(known) - 1)
    found = (known[row] == names) & held & (underlying >= 0)
    result[found] = table[row[found], underlying[found]]
    return result


class Contracts(NamedTuple):
    """(N,) each: what a contract is to Derive, units of underlying per contract, the spot of its underlying.

    coin  assets that are the coin of their underlying, which the managers with a base asset take as such
    """

    option: BoolArray
    perpetual: BoolArray
    asset: BoolArray
    coin: BoolArray
    units: FloatArray
    spot: FloatArray


@of_arrays
def contracts_of(arrays: RiskArrays) -> Contracts:
    """The contracts behind the arrays. ConfigError where a coin is the margin currency: the rules are in dollars.
    DataError where part of a forward is fixed before the settlement window: it would not move in any scenario.

    asset is what is held beside the margin currency. A coin-settled contract counts with its units of the coin.
    """
    if arrays.currency in arrays.underlying_id:
        raise ConfigError(f"Derive margins are in a stable currency, and these arrays are in {arrays.currency}")
    _check_window(arrays)
    terms, settled = arrays.terms, (arrays.kind == Kind.PERPETUAL) | (arrays.kind == Kind.FUTURE)
    forward = np.append(terms.forward, 1.0)[arrays.expiry_idx]
    return Contracts(
        option=np.asarray(arrays.kind == Kind.OPTION),
        perpetual=np.asarray(arrays.kind == Kind.PERPETUAL),
        asset=np.asarray(arrays.is_collateral & (arrays.instrument_id != arrays.currency)),
        coin=arrays.is_coin,
        units=np.where(terms.is_inverse & settled, terms.multiplier / forward, terms.multiplier),
        spot=np.append(terms.spot, 0.0)[arrays.underlying_idx],
    )


def _check_window(arrays: RiskArrays) -> None:
    fixed, time = arrays.terms.fixed_share, arrays.terms.expiry_time
    early = (fixed > 0.0) & ((time - arrays.valuation_time) / MILLISECONDS > SETTLEMENT_WINDOW_SECONDS)
    if early.any():
        remedy = f"must be 0 until {SETTLEMENT_WINDOW_SECONDS:g} s before the expiry, when the average begins"
        rows = np.flatnonzero(early).tolist()
        raise DataError([Problem("market", str(arrays.expiry_name[x]), "fixed_share", float(fixed[x]), remedy)
                         for x in rows])  # fmt: skip


@of_arrays
def not_at_derive(arrays: RiskArrays) -> StrArray:
    """(N,) why a contract has no rule at this venue, "" where it may have one."""
    reason = np.full(len(arrays), "", dtype="<U96")
    reason[arrays.kind == Kind.FUTURE] = "Derive lists no dated futures"
    reason[of_stocks(arrays)] = "Derive lists nothing on stocks"
    reason[early_exercise(arrays)] = "Derive lists European options only"
    return reason


def summed(row: IntArray, values: FloatArray | BoolArray, count: int) -> FloatArray:
    """(count,) values (n,) added up by row, in their order."""
    return np.asarray(np.bincount(row, values, minlength=count), dtype=np.float64)


class StrikeNets(NamedTuple):
    """Options of a book netted by expiry and strike, calls with puts.

    position (O,) -> P options held, sorted by group and strike; strike_of (O,) -> T; group (T,) -> G; net (T,) units
    """

    position: IntArray
    strike_of: IntArray
    group: IntArray
    net: FloatArray


def net_by_strike(book: Book, arrays: RiskArrays, amount: FloatArray) -> StrikeNets:
    """Net amount of options at each strike of each group of the book; amount (P,) in units, + long."""
    group_of = np.repeat(np.arange(len(book.group_key)), np.diff(book.group_ptr))
    position = np.flatnonzero((arrays.kind == Kind.OPTION)[book.instrument_idx])
    strike, group = arrays.terms.strike[book.instrument_idx[position]], group_of[position]
    order = np.lexsort((strike, group))
    position, strike, group = position[order], strike[order], group[order]
    opens = np.ones(len(position), dtype=np.bool_)
    opens[1:] = (np.diff(group) != 0) | (np.diff(strike) != 0)
    strike_of = np.cumsum(opens) - 1
    net = summed(strike_of, amount[position], int(opens.sum()))
    return StrikeNets(position, strike_of, group[opens], net)


def naked_shorts(nets: StrikeNets, groups: int) -> FloatArray:
    """(G,) units short at each group's strikes, calls and puts of one strike netted: a long put covers a short call.

    One leg counts what it is short, two short legs their sum, opposite legs what the short one has more: in one word
    max(-net, 0).
    """
    return summed(nets.group, np.maximum(-nets.net, 0.0), groups)


class NetMargin(NamedTuple):
    """(A,) each, margin currency: equity less requirement as the venue states it, 0 or more passes; mark to market.

    trusted is the maintenance margin of a trusted risk assessor (the matching engine), over fewer scenarios. The
    numbers are the venue's own, not lifted where its parameters contradict each other.
    """

    initial: FloatArray
    maintenance: FloatArray
    mark_to_market: FloatArray
    trusted: FloatArray


def short_confidence(confidence: FloatArray, threshold: float | FloatArray) -> FloatArray:
    """1 - c where the confidence c is below its threshold, else 0: a step, as at the venue."""
    return np.where(confidence < threshold, 1.0 - confidence, 0.0)


def doubt_ceiling(feeds: Feeds, arrays: RiskArrays, threshold: float, margin: float, size: FloatArray) -> float:
    """The most that the contingency for doubted oracles may be where nothing is held beyond size (N,): all of it at the
    lowest confidence there is, whichever of them a position is seen with."""
    if feeds.quiet:
        return 0.0
    seen, contracts = confidence_of(feeds, arrays, with_rates=True), contracts_of(arrays)
    least = float(np.min(np.concatenate([[1.0], *seen])))
    in_doubt = float(short_confidence(np.array(least), threshold))
    price = np.where(contracts.asset, np.abs(arrays.value) / feeds.stable_price, contracts.units * contracts.spot)
    spot = np.where(contracts.asset, np.maximum(price, contracts.units * contracts.spot), price)
    counted = contracts.option | contracts.perpetual | contracts.asset
    return float(np.sum(np.where(counted, size * spot, 0.0))) * in_doubt * margin


def with_floor(charges: dict[str, FloatArray], accounts: int) -> dict[str, FloatArray]:
    """The charges and a last one, "floor" (A,2): what lifts maintenance to 0 and initial margin to maintenance.

    The venue's rules give less only where parameters contradict each other, or prices admit arbitrage. The sum of all
    charges is then ordered to the last bit.
    """
    asked = total_of(charges, accounts)
    floor = np.zeros((accounts, 2))
    floor[:, 1] = np.maximum(-asked[:, 1], 0.0)
    maintenance = asked[:, 1] + floor[:, 1]
    floor[:, 0] = np.maximum(maintenance - asked[:, 0], 0.0)
    # a + (b - a) may miss b by a rounding.
    missed = (floor[:, 0] > 0.0) & (asked[:, 0] + floor[:, 0] < maintenance)
    floor[:, 0] += np.where(missed, np.spacing(np.maximum(maintenance, floor[:, 0])), 0.0)
    return {**charges, "floor": floor}


def total_of(charges: dict[str, FloatArray], accounts: int) -> FloatArray:
    """(A,2) sum of charges in their order."""
    return np.asarray(sum(charges.values(), np.zeros((accounts, 2))))
