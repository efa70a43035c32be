"""What `dynamic_worst_case` needs of the positions of an account, compiled: two passes over a block of accounts.

The first counts steps and adds up, underlying by underlying, what has to be closed: delta and vega by bucket in
registers, sizes and what is netted by expiry beside them. The second adds risk arrays, a vector of scenarios at a time,
while steps and positions of the block are near. No sum is ever stored that only its lowest cell is wanted of.

Sums are of whole ticks and exact in any order. What is no whole number is computed in the order of the array code in
`portfolio_margin.dynamic`, so that the bits are the same.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from portfolio_margin.backends import lanes, steps
from portfolio_margin.backends import numba as accounts
from portfolio_margin.kernel_inputs import EXACT_LIMIT, Positions, Table
from pricing.arrays import FloatArray, IntArray, read_only
from pricing.xp import numba as XP

TIERS = 4
# numpy adds up a row of so many numbers in eight running sums; of more it halves the row.
ONE_RUN = 128
RUNNING = 8


class Columns(NamedTuple):
    """Scenarios in vectors of one width, none of two tiers.

    width   of a vector
    tier    (V,) of each vector, not decreasing
    column  (V * width,) -> S; -1 where a vector is filled up
    """

    width: int
    tier: IntArray
    column: IntArray


class Contracts(NamedTuple):
    """What one unit of each contract counts, whole ticks; 0 for collateral.

    net     (N,1+K) delta, and vega by bucket
    plain   (N,5) gap to both sides, delta of futures, delta, notional, floor of an option sold
    owner   (N,) -> U, -1 for what no underlying moves
    """

    net: FloatArray
    plain: FloatArray
    owner: IntArray


class Terms(NamedTuple):
    """What sizes are compared with.

    stated   (U,8) daily volume, daily vega volume, the three sizes of one horizon (delta, vega, contracts), half
             spread, move of the price and of vol in a day
    spreads  (K,) half spreads of the buckets
    impact   of the square-root law
    years    (X,) to expiry
    tick_size  margin currency per tick
    """

    stated: FloatArray
    spreads: FloatArray
    impact: float
    years: FloatArray
    tick_size: float


class Parts(NamedTuple):
    """Underlyings of a block of accounts, R of them: account counted from the first, size in horizons, worst loss."""

    account: IntArray
    size: FloatArray
    loss: FloatArray


class Found(NamedTuple):
    """Of every account, ticks.

    added        (A,4) worst loss of the first tier and what each further one adds
    worst        (A,) -> S of the underlying that loses most, -1 for none
    near_expiry, floor, cost   (A,) gaps that cost, floor of options sold, cost of closing
    turn, sizes  (A,U) years times net delta, and its size, over the expiries of each underlying
    """

    added: FloatArray
    worst: IntArray
    near_expiry: FloatArray
    floor: FloatArray
    cost: FloatArray
    turn: FloatArray
    sizes: FloatArray


def _close_template(tag: str) -> Any:
    def close(net, gross, legs, u, terms, costs):
        """Size in horizons of the net of an underlying, and the cost of closing it; `costs` (K,) is room."""
        tag  # noqa: B018 - enters the key of the disk cache
        XP.vector_loop()
        stated, spreads, impact, _, _ = terms
        spread, change, vega_volume = stated[u, 5], impact * stated[u, 7], stated[u, 1]
        delta, vega, buckets = abs(net[0]), 0.0, len(spreads)
        for k in range(buckets):
            size = abs(net[1 + k])
            costs[k] = size * (spreads[k] + change * np.sqrt(size / vega_volume))
        for k in range(buckets):
            vega += abs(net[1 + k])
        horizons = max(delta / stated[u, 2], vega / stated[u, 3], gross / stated[u, 4])
        hedge = delta * (spread + impact * stated[u, 6] * np.sqrt(delta / stated[u, 0]))
        return horizons, hedge + max(legs - delta, 0.0) * spread + ADDED_UP(costs, buckets)  # noqa: F821

    return close


def _added_up_template(tag: str) -> Any:
    def added_up(numbers, count):
        """The sum of the first so many numbers, at most ONE_RUN, in the order in which numpy adds up a row."""
        tag  # noqa: B018
        total, done = 0.0, 0
        if count >= RUNNING:
            for k in range(RUNNING, count - count % RUNNING):
                numbers[k % RUNNING] += numbers[k]
            first = (numbers[0] + numbers[1]) + (numbers[2] + numbers[3])
            total, done = first + ((numbers[4] + numbers[5]) + (numbers[6] + numbers[7])), count - count % RUNNING
        for k in range(done, count):
            total += numbers[k]
        return total

    return added_up


def _expiry_template(tag: str) -> Any:
    def expiry(first, last, low, picked, table, held, total, sums):
        """Net of the positions first to last - 1 of one expiry added to `total`, and `sums` with them.

        Returns besides the gap, the futures and the delta of the expiry; in `sums` are counted sizes of contracts, the
        floor of options sold, a bound, how many positions the reference must look at, and whether there are assets.
        """
        tag  # noqa: B018
        instrument_idx, quantity, owner = picked
        rows, plain, per_unit, (unit, contract, long_weight, magnitude) = table
        gross, floor, bound, doubtful, assets = sums
        gap, futures, delta, u = 0.0, 0.0, 0.0, owner[instrument_idx[first]]
        for p in range(first, last):
            n, q = lanes.take(instrument_idx, p), lanes.take(quantity, p)
            ratio = q * lanes.take(per_unit, n)
            units = lanes.nearest(ratio)
            if not steps.is_clear(ratio, units):
                units, off = UNITS(q, unit[n], contract[n], long_weight[n])  # noqa: F821
                doubtful += off
                if not contract[n]:
                    bound += abs(units) * magnitude[n]
                    units, assets = 0.0, True
            doubtful += owner[n] != u
            held[p - low] = units
            total = ADD_ROW(total, rows, n, units)  # noqa: F821
            gap += units * plain[n, 0]
            futures += units * plain[n, 1]
            delta += units * plain[n, 2]
            gross += abs(units) * plain[n, 3]
            floor += max(-units, 0.0) * plain[n, 4]
            bound += abs(units) * magnitude[n]
        return total, (gap, futures, delta), (gross, floor, bound, doubtful, assets)

    return expiry


def _sizes_template(tag: str) -> Any:
    def sizes(first, last, positions, table, terms, room, parts, out):
        """Sizes and costs of accounts first to last - 1 and their underlyings.

        Returns how many underlyings there are, and how many accounts and positions the reference must look at.
        """
        tag  # noqa: B018
        account_ptr, group_ptr, group_key, instrument_idx, quantity, owner = positions
        rows, plain, per_unit, closely, limit = table
        years, tick = terms[3], terms[4]
        held, net, costs = room
        start, account, odd, horizons = parts
        near, floor, cost, turn, spans = out
        picked, by_contract, r, odd_ones = (instrument_idx, quantity, owner), (rows, plain, per_unit, closely), 0, 0
        low = group_ptr[account_ptr[first]]
        for a in range(first, last):
            g, end = account_ptr[a], account_ptr[a + 1]
            of_gaps, sold, closing, bound = 0.0, 0.0, 0.0, 0.0
            while g < end:
                u = owner[instrument_idx[group_ptr[g]]]
                start[r], account[r] = group_ptr[g], a - first
                total, legs, turned, size = ZEROS(), 0.0, 0.0, 0.0  # noqa: F821
                sums = (0.0, sold, bound, 0, False)
                while g < end and owner[instrument_idx[group_ptr[g]]] == u:
                    total, (gap, futures, delta), sums = EXPIRY(  # noqa: F821
                        group_ptr[g], group_ptr[g + 1], low, picked, by_contract, held, total, sums
                    )
                    of_gaps += max(-gap, 0.0)
                    legs += abs(futures)
                    turned += years[max(group_key[g], 0)] * delta
                    size += abs(delta)
                    g += 1
                gross, sold, bound, doubtful, odd[r] = sums
                odd_ones += doubtful
                horizons[r] = 0.0
                if u >= 0:
                    STORE(total, net)  # noqa: F821
                    # As amounts are made of ticks and ticks of amounts.
                    horizons[r], added = CLOSE(net, gross * tick / tick, legs, u, terms, costs)  # noqa: F821
                    closing += added
                    turn[a, u], spans[a, u] = turned, size
                r += 1
            near[a], floor[a], cost[a] = of_gaps, sold, closing
            odd_ones += not bound <= limit
        start[r] = group_ptr[account_ptr[last]]
        return r, odd_ones

    return sizes


def _losses_template(tag: str) -> Any:
    def losses(parts, count, picked, values, closely, tiers, held, found):
        """Worst losses of so many underlyings up to each tier, where, and of their contracts alone."""
        tag  # noqa: B018
        XP.vector_loop()
        start, odd = parts
        instrument_idx, quantity = picked
        unit, contract, long_weight = closely
        worst, place, contracts, by_tier = found
        rows, low = len(unit), start[0]
        for v in range(len(tiers)):
            shift = v * rows
            for r in range(count):
                total = ZEROS()  # noqa: F821
                for p in range(start[r], start[r + 1]):
                    total = ADD_ROW(total, values, shift + lanes.take(instrument_idx, p), lanes.take(held, p - low))  # noqa: F821
                least, where = LOWEST(total)  # noqa: F821
                if v == 0:
                    worst[r], place[r], contracts[r] = 0.0, -1, 0.0
                if -least > contracts[r]:
                    contracts[r] = -least
                if odd[r]:
                    for p in range(start[r], start[r + 1]):
                        n = instrument_idx[p]
                        if not contract[n]:
                            units, _ = UNITS(quantity[p], unit[n], False, long_weight[n])  # noqa: F821
                            total = ADD_ROUNDED(total, values, shift + n, units)  # noqa: F821
                    least, where = LOWEST(total)  # noqa: F821
                # Of equal losses the first one counts.
                if -least > worst[r]:
                    worst[r], place[r] = -least, v * WIDTH + where  # noqa: F821
                for tier in range(tiers[v], 4):
                    by_tier[r, tier] = worst[r]

    return losses


def _tiers_template(tag: str) -> Any:
    def tiers(first, count, account, by_tier, place, column, added, scenario, largest):
        """Accounts from their underlyings: what tiers add, and the scenario of the one that loses most."""
        tag  # noqa: B018
        for r in range(count):
            i, before = account[r], 0.0
            for tier in range(by_tier.shape[1]):
                added[first + i, tier] += by_tier[r, tier] - before
                before = by_tier[r, tier]
            if before > largest[i]:
                largest[i], scenario[first + i] = before, column[place[r]]

    return tiers


@functools.cache
def _size_kernel(width: int) -> Any:
    """The kernel of the first pass."""
    vector = lanes.operations(width)
    tag = f"{width} {XP.source_hash(lanes, steps)}"

    def part(template: Any, names: dict[str, Any], **options: Any) -> Any:
        return XP.compile_kernel(template(""), tag, None, names, fastmath=False, **options)

    close = part(_close_template, {"ADDED_UP": part(_added_up_template, {})})
    expiry = part(_expiry_template, {"ADD_ROW": vector.add_row, "UNITS": steps.looked_at}, forceinline=True)
    names = {"ZEROS": vector.zeros, "STORE": vector.store, "EXPIRY": expiry, "CLOSE": close}
    return part(_sizes_template, names)


@functools.cache
def _loss_kernels(width: int) -> tuple[Any, Any]:
    """Those of the second."""
    vector = lanes.operations(width)
    names = {
        "ZEROS": vector.zeros, "ADD_ROW": vector.add_row, "ADD_ROUNDED": vector.add_rounded, "LOWEST": vector.lowest,
        "UNITS": steps.looked_at, "WIDTH": width,
    }  # fmt: skip
    tag = f"{width} {XP.source_hash(lanes, steps)}"
    losses = XP.compile_kernel(_losses_template(""), tag, None, names, fastmath=False)
    return losses, XP.compile_kernel(_tiers_template(""), tag, None, {}, fastmath=False)


def columns_of(distinct: IntArray, tier: IntArray) -> Columns:
    """Scenarios (D,) -> S that differ, in rising order, in vectors; tier (S,) is not decreasing."""
    by_tier = [distinct[tier[distinct] == k] for k in range(TIERS)]
    width = max(lanes.width_of(len(columns))[0] for columns in by_tier)
    tiers, placed = [], []
    for k, columns in enumerate(by_tier):
        for first in range(0, len(columns), width):
            here = columns[first : first + width]
            placed.append(np.concatenate([here, np.full(width - len(here), -1)]))
            tiers.append(k)
    return Columns(width, np.array(tiers, dtype=np.int64), np.concatenate(placed).astype(np.int64))


class Prepared(NamedTuple):
    """What the kernels take beside positions.

    table    with the risk arrays under all scenarios, its magnitudes those of what contracts count as well
    scanned  the same with the columns that the kernels look at
    columns, contracts, terms   beside it
    net      (N,W) what is netted by underlying, on cache lines, and width W of the vector that holds all of that
    """

    table: Table
    scanned: Table
    columns: Columns
    contracts: Contracts
    terms: Terms
    net: FloatArray
    width: int


def prepared(table: Table, columns: Columns, contracts: Contracts, terms: Terms) -> Prepared:
    """Tables and numbers as the kernels take them."""
    columns = Columns(columns.width, read_only(columns.tier), read_only(columns.column))
    contracts = Contracts(read_only(contracts.net), read_only(contracts.plain), read_only(contracts.owner))
    numbers = read_only(terms.stated), read_only(terms.spreads), terms.impact, read_only(terms.years)
    terms = Terms(*numbers, terms.tick_size)
    scanned = np.where(columns.column >= 0, table.rows[:, columns.column], 0.0)
    width = lanes.width_of(contracts.net.shape[1], lanes.WIDTHS[-1])[0]
    net = read_only(lanes.chunked(contracts.net, width, 1))
    beside = read_only(table.unit), read_only(table.contract), read_only(table.long_weight), read_only(table.magnitude)
    table = Table(table.rows, *beside, table.rounded, table.kept)
    return Prepared(table, table._replace(rows=scanned, kept={}), columns, contracts, terms, net, width)


@dataclass(frozen=True)
class _Scan:
    """What the blocks of one call share: arguments of `scan_accounts`, and their tables as the kernels take them."""

    positions: Positions
    group_key: IntArray
    given: Prepared
    per_unit: FloatArray

    def block(self, first: int, last: int, values: FloatArray, found: Found) -> tuple[Parts, bool]:
        """Fill accounts first to last - 1; their underlyings, and whether all are usual ones."""
        held, closely = self.positions, self.given.table[1:5]
        groups = int(held.account_ptr[last] - held.account_ptr[first])
        units = np.empty(int(held.group_ptr[held.account_ptr[last]] - held.group_ptr[held.account_ptr[first]]))
        start, account, odd = np.empty(groups + 1, np.int64), np.empty(groups, np.int64), np.empty(groups, np.bool_)
        picked, size = (held.instrument_idx, held.quantity), np.empty(groups)
        given = held.account_ptr, held.group_ptr, self.group_key, *picked, self.given.contracts.owner
        table = self.given.net, self.given.contracts.plain, self.per_unit, closely, EXACT_LIMIT
        room = units, np.empty(self.given.width), np.empty(len(self.given.terms.spreads))
        parts, out = (start, account, odd, size), (found.near_expiry, found.floor, found.cost, found.turn, found.sizes)
        count, doubtful = _size_kernel(self.given.width)(first, last, given, table, self.given.terms, room, parts, out)
        worst, place, alone = np.empty(count), np.empty(count, np.int64), np.empty(count)
        by_tier, losses, tiers = np.empty((count, TIERS)), *_loss_kernels(self.given.columns.width)
        filled = worst, place, alone, by_tier
        losses((start, odd), count, picked, values, closely[:3], self.given.columns.tier, units, filled)
        largest = np.zeros(last - first)
        tiers(first, count, account, by_tier, place, self.given.columns.column, found.added, found.worst, largest)
        return Parts(account[:count], size[:count], alone), doubtful == 0


def scan_accounts(
    positions: Positions,
    group_key: IntArray,
    given: Prepared,
    then: Callable[[int, int, Parts], None],
    threads: int = 1,
) -> Found | None:
    """Losses, sizes and costs of every account; None where one is no usual one, so that the array code must look.

    group_key  (G,) -> X of every group
    given      what the kernels take beside it; threads  how many share the accounts out
    then       is handed first and last account of every block with its underlyings, while they are near

    No usual account is off a step, beyond what sums of ticks hold, or has a contract in another underlying's group.
    """
    count, underlyings = len(positions.account_ptr) - 1, len(given.terms.stated)
    wide = given.contracts.net.shape[1] > lanes.WIDTHS[-1]
    if not given.table.rounded or wide or np.any(np.diff(positions.group_ptr) == 0):
        return None
    job = accounts.Job(positions, given.scanned, given.columns.width)
    scan = _Scan(positions, group_key, given, job.rows.per_unit)
    found = Found(
        np.zeros((count, TIERS)), np.full(count, -1), *(np.empty(count) for _ in range(3)),
        *(np.zeros((count, underlyings)) for _ in range(2)),
    )  # fmt: skip
    usual: list[bool] = []

    def run(first: int, last: int, rows: accounts.Rows) -> accounts.Found:
        parts, fine = scan.block(first, last, rows.values, found)
        usual.append(fine)
        then(first, last, parts)
        return accounts.Found(0, 0, 0)

    job.run(run, threads)
    return found if all(usual) else None
