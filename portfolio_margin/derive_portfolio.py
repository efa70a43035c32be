"""The scenario part that PMRM and PMRM_2 of Derive share: P&L of every account and underlying, block by block.

Per expiry, with V the value of all its options in a scenario and V0 the value now,

    P&L = q (V d - V0),   d = the long discount where V > 0, else the short one;  -|P&L| in skew scenarios;

perpetuals and coins that move with the underlying add q times their gain. Dampening q, discounts and scenarios come
from the model. The basis contingency min(V_up - V0, V_down - V0, 0) (add + multiple T), summed over expiries, competes
with the scenarios: the worst of an account is the lower of the two, 0 at most. An account that holds several
underlyings is margined as the venue would margin one account for each.

Source: Derive v2, PMRMLib and PMRMLib_2 at 7736900d (2026-01-21), in our own words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from portfolio_margin.aggregate import kernel_positions, kernel_table, threads_for
from portfolio_margin.blocks import Block, blocks
from portfolio_margin.book import Book
from portfolio_margin.derive_feeds import (
    Confidence,
    Feeds,
    contracts_of,
    naked_shorts,
    net_by_strike,
    summed,
    total_of,
    unsettled_of,
    with_floor,
)
from pricing.arrays import BoolArray, FloatArray, IntArray
from pricing.market import UNDATED
from scenarios.of_arrays import of_arrays
from scenarios.risk_arrays import RiskArrays

# Numbers in the sums of one block: a few MB, so that a dozen passes over them stay near the processor.
NUMBERS_AT_ONCE = 500_000


@dataclass(frozen=True, eq=False)
class Rule:
    """How scenarios are counted: K = n + 2 columns, the last two the basis moves.

    dampening (K,), skew (K,) True for tilts of vol
    discount_long, discount_short (X+1,) on a shocked expiry value above 0, and on others
    restate (X+1,)       venue's option value per value in the arrays
    basis_weight (X+1,)  add factor + multiple x years
    mark (N,)          venue's value of an asset per value in the arrays
    moving (N,)        assets whose gains count

    Undated rows and row X, which cash has, count as they are: 1, 1, 1 and 0; see `by_expiry`.
    """

    dampening: FloatArray
    skew: BoolArray
    discount_long: FloatArray
    discount_short: FloatArray
    restate: FloatArray
    basis_weight: FloatArray
    mark: FloatArray
    moving: BoolArray


def by_expiry(values: FloatArray, arrays: RiskArrays, neutral: float) -> FloatArray:
    """(X+1,) values (X,) of dated expiries, `neutral` for undated rows and for cash."""
    return np.append(np.where(arrays.terms.expiry_time == UNDATED, neutral, values), neutral)


@of_arrays
def scan_rows(arrays: RiskArrays, rule: Rule) -> FloatArray:
    """(N,K+2) ticks per unit: gain in every scenario; value, of assets as the venue marks them; value in the arrays."""
    asset = arrays.is_collateral
    pnl = np.where(asset[:, None], arrays.rows * (rule.mark * rule.moving)[:, None], arrays.rows)
    marked = np.where(asset, arrays.value_rows * rule.mark, arrays.value_rows)
    return np.column_stack([pnl, marked, arrays.value_rows])


class Expiries(NamedTuple):
    """(R,) each, one row an account and expiry (undated rows and cash included), margin currency.

    account counted from the block's first; expiry -> X, -1 for cash; value as the venue marks it, up and down after
    the basis moves; size: sum of |amount| of options; naked: units short after netting by strike
    """

    account: IntArray
    expiry: IntArray
    value: FloatArray
    up: FloatArray
    down: FloatArray
    size: FloatArray
    naked: FloatArray


class Portfolio(NamedTuple):
    """A block of accounts; M rows, one an account and underlying (-1 for what no underlying moves).

    first, last        accounts of the block, and `own`, their book of P positions
    expiries           rows by expiry; of_expiry (R,) -> M; of_position (P,) -> M
    account, underlying (M,)
    pnl (M,n)          of every scenario
    trusted (M,3)      of basis up, basis down and no move: what a trusted risk assessor looks at
    basis (M,)         basis contingency, 0 or less
    worst (M,)         the lower of basis and scenarios, 0 or less; worst_column (M,) -> K, -1 where nothing is lost
    holds_perpetual (M,)
    value (M,)         mark to market without what is unsettled
    revalued (M,)      of that, what the arrays have otherwise
    """

    first: int
    last: int
    own: Book
    expiries: Expiries
    of_expiry: IntArray
    of_position: IntArray
    account: IntArray
    underlying: IntArray
    pnl: FloatArray
    trusted: FloatArray
    basis: FloatArray
    worst: FloatArray
    worst_column: IntArray
    holds_perpetual: BoolArray
    value: FloatArray
    revalued: FloatArray

    def by_account(self, values: FloatArray) -> FloatArray:
        """(M,...) values added up by account, (last - first, ...)."""
        total = np.zeros((self.last - self.first, *values.shape[1:]))
        np.add.at(total, self.account, values)
        return total

    def by_position(self, values: FloatArray) -> FloatArray:
        """(P,) values of positions added up by account, (last - first,)."""
        return summed(self.account[self.of_position], values, self.last - self.first)

    def worst_scenario(self) -> IntArray:
        """(last - first,) column of the underlying that loses most, -1 where none does."""
        scenario = np.full(self.last - self.first, -1)
        order = np.lexsort((-np.arange(len(self.worst)), -self.worst))
        order = order[self.worst[order] < 0.0]
        scenario[self.account[order]] = self.worst_column[order]
        return scenario


def portfolios(
    book: Book, arrays: RiskArrays, rule: Rule, *, backend: str = "numba", threads: int | None = None
) -> Iterator[Portfolio]:
    """Scenario results of every account, in blocks of accounts."""
    rows = scan_rows(arrays, rule)
    at_once = NUMBERS_AT_ONCE
    for block in blocks(book, arrays, rows, by="expiry", backend=backend, threads=threads, numbers=at_once):
        yield _portfolio(book.accounts(block.first, block.last), block, arrays, rule)


class Totals(NamedTuple):
    """(A,) of every account: column of the underlying that loses most, revaluation."""

    worst: IntArray
    revalued: FloatArray


class Asked(NamedTuple):
    """How charges are asked for: formula(loss, perpetual, naked, mm_haircut, im_haircut, confidence, rates) returns
    initial and maintenance part of each of `charges`; see `charges_numba`."""

    formula: Callable[..., Any]
    rates: tuple[float, ...]
    charges: tuple[str, ...]


def charged_at_once(
    book: Book,
    arrays: RiskArrays,
    rule: Rule,
    asset_price: FloatArray,
    haircuts: FloatArray,
    asked: Asked,
    threads: int | None = None,
) -> tuple[Totals, dict[str, FloatArray], FloatArray] | None:
    """Totals, charges and their sum (A,2) of every account by one compiled pass, bit for bit those of `portfolios`.

    None where one of them is no usual one and `portfolios` has to look: quantities off their step or of very many
    steps, accounts beyond the bound.

    asset_price (N,) venue's price of an asset; haircuts (N,2) maintenance and initial share of it
    """
    from portfolio_margin.backends import charges_numba, derive_numba, derive_parts

    prepared = _prepared(arrays, rule, asset_price, haircuts)
    positions = kernel_positions(book, arrays, None)
    charged = charges_numba.Charged(asked.formula, asked.rates, len(asked.charges), len(book))

    def charge(first: int, last: int, sums: derive_parts.Sums) -> None:
        charged.fill(first, last, (sums.loss, sums.perpetual, sums.naked, sums.mm_haircut, sums.im_haircut))

    workers = threads_for(book, len(rule.dampening) + 2, threads)
    found = derive_numba.scan_accounts(positions, book.group_key, prepared, charge, workers)
    if found is None:
        return None
    charges = dict(zip(asked.charges, charged.charges, strict=True))
    if charged.lifted:
        charges = with_floor(charges, len(book))
        return Totals(*found), charges, total_of(charges, len(book))
    return Totals(*found), {**charges, "floor": np.zeros((len(book), 2))}, charged.total


@of_arrays
def _prepared(arrays: RiskArrays, rule: Rule, asset_price: FloatArray, haircuts: FloatArray) -> Any:
    """The arrays as the compiled pass takes them."""
    from portfolio_margin.backends import derive_numba, derive_parts

    rows, contracts = scan_rows(arrays, rule), contracts_of(arrays)
    option_strike = np.where(contracts.option, arrays.terms.strike, 0.0)
    strike = np.full(len(arrays), -1)
    for key in np.unique(arrays.expiry_idx[contracts.option]):
        here = contracts.option & (arrays.expiry_idx == key)
        strike[here] = np.unique(option_strike[here], return_inverse=True)[1]
    owner = np.append(arrays.terms.expiry_underlying, -1)
    scan = derive_parts.Scan(
        owner, np.append(arrays.terms.spot, 0.0)[owner], rule.dampening[:-2], rule.skew[:-2],
        rule.discount_long, rule.discount_short, rule.restate, rule.basis_weight, arrays.tick_size,
    )  # fmt: skip
    held = derive_parts.Held(
        contracts.perpetual, contracts.asset, arrays.expiry_idx, contracts.units, contracts.spot, strike, asset_price,
        np.ascontiguousarray(haircuts[:, 0]), np.ascontiguousarray(haircuts[:, 1]),
    )  # fmt: skip
    return derive_numba.prepared(kernel_table(arrays, rows, None), scan, held)


class Shocked(NamedTuple):
    """(R,...) of expiries: P&L counted (R,K), shocked values before discounts (R,K), value now and without a move."""

    pnl: FloatArray
    shocked: FloatArray
    value: FloatArray
    still: FloatArray


def shocked_expiries(amounts: FloatArray, key: IntArray, rule: Rule) -> Shocked:
    """What expiries gain; amounts (R,K+2) are sums of `scan_rows` in margin currency, key (R,) -> X or -1."""
    gain, marked = amounts[:, :-2], amounts[:, -2]
    long, short, restate = rule.discount_long[key], rule.discount_short[key], rule.restate[key]
    value = marked * restate
    shocked = gain + marked[:, None]
    shocked *= restate[:, None]
    pnl = np.where(shocked > 0.0, long[:, None], short[:, None])
    pnl *= shocked
    pnl -= value[:, None]
    # What is not discounted is not taken apart either: gains are exact sums of ticks.
    plain = (long == 1.0) & (short == 1.0) & (restate == 1.0)
    pnl[plain] = gain[plain]
    pnl[:, rule.skew] = -np.abs(pnl[:, rule.skew])
    pnl *= rule.dampening
    still = np.where(plain, 0.0, value * np.where(value > 0.0, long, short) - value)
    return Shocked(pnl, shocked, value, still)


def _portfolio(own: Book, block: Block, arrays: RiskArrays, rule: Rule) -> Portfolio:
    key = block.key
    owner = np.append(arrays.terms.expiry_underlying, -1)[key]
    opens = np.ones(len(key), dtype=np.bool_)
    opens[1:] = (np.diff(block.account) != 0) | (np.diff(owner) != 0)
    start, of_expiry = np.flatnonzero(opens), np.cumsum(opens) - 1
    state = shocked_expiries(block.amounts, key, rule)
    count = state.pnl.shape[1] - 2
    up, down = state.shocked[:, count], state.shocked[:, count + 1]
    basis = _basis_losses(state, key, rule)
    gains = _consecutive(state.pnl, start)
    still, contingency, up_loss, down_loss = (
        summed(of_expiry, values, len(start)) for values in (state.still, basis[0] + basis[1], *basis)
    )
    pnl = np.ascontiguousarray(gains[:, :count])
    column = np.argmin(pnl, axis=1) if len(start) else np.zeros(0, np.int64)
    lowest = pnl[np.arange(len(start)), column]
    direction = count + (down_loss < up_loss)
    # The venue starts from the basis contingency and takes a scenario only where it is lower.
    column = np.where(contingency <= lowest, direction, column)
    worst = np.minimum(contingency, lowest)
    size, naked, holds = _sizes(own, arrays, of_expiry, len(start))
    revalued = state.value - block.amounts[:, -1]
    return Portfolio(
        first=block.first,
        last=block.last,
        own=own,
        expiries=Expiries(block.account, key, state.value, up, down, size, naked),
        of_expiry=of_expiry,
        of_position=np.repeat(of_expiry, np.diff(own.group_ptr)),
        account=block.account[start],
        underlying=owner[start],
        pnl=pnl,
        trusted=np.column_stack([gains[:, count:], still]),
        basis=contingency,
        worst=worst,
        worst_column=np.where(worst < 0.0, column, -1),
        holds_perpetual=holds,
        value=summed(of_expiry, state.value, len(start)),
        revalued=summed(of_expiry, revalued, len(start)),
    )


def _basis_losses(state: Shocked, key: IntArray, rule: Rule) -> tuple[FloatArray, FloatArray]:
    """(R,) basis contingency of every expiry by the direction it is worse in, up and down; 0 or less."""
    weight = rule.basis_weight[key]
    up, down = ((state.shocked[:, column] - state.value) * weight for column in (-2, -1))
    worse_up = up <= down
    return np.where(worse_up, np.minimum(up, 0.0), 0.0), np.where(worse_up, 0.0, np.minimum(down, 0.0))


def _consecutive(values: FloatArray, start: IntArray) -> FloatArray:
    """Sums of consecutive rows, each from one start to the next, one row after the other: numpy's own sums of eight
    and more have another order, and another last bit."""
    sizes = np.diff(np.append(start, len(values)))
    total = values[start]
    for place in range(1, int(sizes.max(initial=0))):
        longer = np.flatnonzero(sizes > place)
        total[longer] += values[start[longer] + place]
    return total


def _sizes(own: Book, arrays: RiskArrays, of_expiry: IntArray, count: int) -> tuple[FloatArray, FloatArray, BoolArray]:
    """By expiry: |options| and naked shorts; by underlying: whether a perpetual is held."""
    contracts, row = contracts_of(arrays), own.instrument_idx
    group = np.repeat(np.arange(len(own.group_key)), np.diff(own.group_ptr))
    amount = own.quantity * contracts.units[row]
    size = summed(group, np.where(contracts.option[row], np.abs(amount), 0.0), len(own.group_key))
    naked = naked_shorts(net_by_strike(own, arrays, amount), len(own.group_key))
    perpetual = contracts.perpetual[row] & (own.quantity != 0)
    return size, naked, summed(of_expiry[group], perpetual, count) > 0


class Exposure(NamedTuple):
    """(P,) each, of the positions of a block: |units| x spot; what they are; the confidence they are seen with.

    confidence  of options the lowest of expiry, spot and, where one is held, perpetual; of others without the expiry
    """

    notional: FloatArray
    option: BoolArray
    perpetual: BoolArray
    asset: BoolArray
    confidence: FloatArray


def exposures(part: Portfolio, arrays: RiskArrays, confidence: Confidence) -> Exposure:
    """What the contingencies of a block are counted on."""
    contracts, row = contracts_of(arrays), part.own.instrument_idx
    spot, perpetual = (np.append(values, 1.0)[part.underlying] for values in (confidence.spot, confidence.perpetual))
    seen = np.where(part.holds_perpetual, np.minimum(spot, perpetual), spot)[part.of_position]
    option = contracts.option[row]
    expiry = np.append(confidence.expiry, 1.0)[arrays.expiry_idx[row]]
    return Exposure(
        notional=np.abs(part.own.quantity * contracts.units[row]) * contracts.spot[row],
        option=option,
        perpetual=contracts.perpetual[row],
        asset=contracts.asset[row],
        confidence=np.where(option, np.minimum(seen, expiry), seen),
    )


def naked_notional(part: Portfolio, arrays: RiskArrays) -> FloatArray:
    """(last - first,) naked shorts x spot of every account."""
    spot = np.append(arrays.terms.spot, 0.0)[part.underlying][part.of_expiry]
    owner = part.account[part.of_expiry]
    return summed(owner, part.expiries.naked * spot, part.last - part.first)


def unsettled_gains(part: Portfolio, arrays: RiskArrays, feeds: Feeds) -> FloatArray:
    """(M,) gains of perpetuals held that are not paid yet."""
    return unsettled_of(feeds, arrays, part.own.account_id[part.account], part.underlying, part.holds_perpetual)


def venue_value(
    book: Book, arrays: RiskArrays, rule: Rule, feeds: Feeds, *, backend: str = "numba", threads: int | None = None
) -> tuple[FloatArray, FloatArray]:
    """(A,) mark to market as the venue has it, cash and unsettled gains included, and (A,) the worst P&L of a trusted
    risk assessor, who looks at the basis contingency, the two basis moves and no move only."""
    value, trusted = np.zeros(len(book)), np.zeros(len(book))
    for part in portfolios(book, arrays, rule, backend=backend, threads=threads):
        here = slice(part.first, part.last)
        value[here] = part.by_account(part.value + unsettled_gains(part, arrays, feeds))
        lowest = np.minimum(part.trusted.min(axis=1, initial=0.0), part.basis)
        trusted[here] = part.by_account(lowest)
    return value, trusted
