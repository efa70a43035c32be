"""The passes of `derive_screen` over some accounts, whose numbers stay in the first caches from one pass to the next.

What is held of an expiry is mostly one position or two, at random, and a processor that guesses wrong which loses more
time than counting takes. So two are always counted: where there is one, the second is the place behind the last
position, where nothing is held. More than two are rare. For the same reason choices are made by places and masks.

Everything comes as addresses. Numbers by position begin with position `low`, the first of the accounts, numbers by
group with their first group. A set is what an account holds on one underlying.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from portfolio_margin.backends import lanes
from portfolio_margin.backends.derive_parts import (
    AGAIN,
    EXPIRY_COLUMNS,
    EXPIRY_SPOT,
    LONG,
    MOVES,
    PLAIN,
    SHORT,
    UNDERLYING,
    WEIGHT,
)
from portfolio_margin.backends.derive_single import ENDS, MARKED
from portfolio_margin.backends.steps import CLEARLY_WHOLE, QUOTIENT_ROUNDING
from pricing.xp import numba as XP

# Columns of a contract, which lie side by side, for each cache line that is asked for takes time: 1 / unit, NaN for an
# asset; units of an option, 0 for what is none; magnitude; a number of its own for each strike of an expiry, else NaN.
PER_UNIT, OPTION_UNITS, MAGNITUDE, STRIKE = range(4)
CONTRACT_COLUMNS = 4
# Rows of so many positions ahead are asked for. Singles of a cache line.
ROWS_AHEAD = 16
SINGLES_OF_LINE = 16


def steps_template(tag: str) -> Any:
    """The part that counts what positions hold, to be compiled."""

    def count_steps(first, last, picked, contracts, counted):
        """Of positions first to last - 1: rows held, 0 where that needs another look, and the same as singles; units
        that options are short; magnitude, for G of the bound; strike, and where their row begins.

        Returns how many are no options, how many contracts no clear multiple of their step, and how many options stand
        beside another of their strike.
        """
        tag  # noqa: B018 - enters the key of the disk cache
        XP.vector_loop()
        instrument_idx, quantity = picked
        held, near, short, size, strike, start = counted
        others, doubtful, pairs, count = 0, 0, 0, last - first
        for p in range(first, last):
            n, q = instrument_idx[p], quantity[p]
            column = n * CONTRACT_COLUMNS
            per_unit, option_units = contracts[column + PER_UNIT], contracts[column + OPTION_UNITS]
            quotient = q * per_unit
            whole = lanes.nearest(quotient)
            clear = abs(quotient - whole) + abs(quotient) * QUOTIENT_ROUNDING <= CLEARLY_WHOLE
            asset = per_unit != per_unit
            here = whole if clear else (q if asset else 0.0)
            held[p - first], near[p - first] = here, here
            size[p - first] = abs(here) * contracts[column + MAGNITUDE] + (OF_ROUNDED if asset else 0.0)  # noqa: F821
            strike[p - first], start[p - first] = contracts[column + STRIKE], n * ROW  # noqa: F821
            units = q * option_units
            short[p - first] = -units if units < 0.0 else 0.0
            others += 1 if option_units == 0.0 else 0
            doubtful += 0 if clear or asset else 1
        # The place where nothing is held, and rows that are asked for ahead of the last position.
        held[count], near[count], short[count], size[count], strike[count] = 0.0, 0.0, 0.0, 0.0, np.nan
        for p in range(count, count + ROWS_AHEAD + 2):
            start[p] = 0
        for p in range(1, count):
            pairs += strike[p] == strike[p - 1]
        return others, doubtful, pairs

    return count_steps


def look_template(tag: str) -> Any:
    """The part that adds up in single precision, to be compiled."""

    def look(span, book, single, expiries, counted, again, found):
        """Sums of groups and gains of sets in single precision; the groups of more than two positions, and how many.

        found  by account the first of its sets, by set the group it ends before and its gains, by group its ends
        """
        tag  # noqa: B018
        (first, last, low), (account_ptr, group_ptr, group_key, _) = span, book
        rows, factors, dampening, signs = single
        held, near, start = counted
        opens, set_end, gains_of, ends = found
        k, listed, low_g, nothing = 0, 0, account_ptr[first], group_ptr[account_ptr[last]] - low
        for a in range(first, last):
            opens[a - first] = k
            g, end = account_ptr[a], account_ptr[a + 1]
            while g < end:
                x = group_key[g] * EXPIRY_COLUMNS
                underlying, open_set, gains = expiries[x + UNDERLYING], True, OPENED()  # noqa: F821
                while open_set:
                    p, until = group_ptr[g] - low, group_ptr[g + 1] - low
                    for ahead in (p + ROWS_AHEAD, p + ROWS_AHEAD + 1):
                        for line in range(LINES):  # noqa: F821
                            XP.prefetch(rows, start[ahead] + line * SINGLES_OF_LINE)
                    one, two = p if until > p else nothing, p + 1 if until > p + 1 else nothing
                    sums = ADD(NOTHING(), rows, start[one], near[one], held[one])  # noqa: F821
                    sums = ADD(sums, rows, start[two], near[two], held[two])  # noqa: F821
                    if until > p + 2:
                        again[listed] = g
                        listed += 1
                        for q in range(p + 2, until):
                            sums = ADD(sums, rows, start[q], near[q], held[q])  # noqa: F821
                    PUT_ENDS(sums, lanes.offset(ends, ENDS * (g - low_g)))  # noqa: F821
                    gains = FOLDED(gains, sums, lanes.offset(factors, x), signs)  # noqa: F821
                    g += 1
                    open_set = g < end
                    if open_set:
                        x = group_key[g] * EXPIRY_COLUMNS
                        open_set = expiries[x + UNDERLYING] == underlying
                PUT(gains, lanes.offset(gains_of, k * WIDTH), dampening)  # noqa: F821
                set_end[k] = g
                k += 1
        opens[last - first] = k
        return listed

    return look


def pairs_template(tag: str) -> Any:
    """The part that finds groups of two options of one strike, to be compiled."""

    def pairs(first, last, low, group_ptr, strike, again, listed):
        """Add to the listed groups those of two options of one strike; how many there are then."""
        tag  # noqa: B018
        for g in range(first, last):
            p = group_ptr[g] - low
            two = group_ptr[g + 1] - low == p + 2
            again[listed] = g
            listed += two & (strike[p] == strike[p + 1 if two else p])
        return listed

    return pairs


def netted_template(tag: str) -> Any:
    """The part that nets shorts of such groups, to be compiled."""

    def netted(listed, low, group_ptr, picked, terms, counted, nets, again):
        """Of listed groups the first position has the magnitude of all, and is short what they are after netting by
        strike; the second has nothing."""
        tag  # noqa: B018
        short, size, strike = counted
        for j in range(listed):
            p, until = group_ptr[again[j]] - low, group_ptr[again[j] + 1] - low
            for q in range(p + 1, until):
                size[p] += size[q]
            naked, few = 0.0, until == p + 3
            if few:
                # Of three strikes, where one is short of nothing: a sum of two numbers has no order.
                s, t, u = strike[p], strike[p + 1], strike[p + 2]
                some = (short[p] == 0.0) | (short[p + 1] == 0.0) | (short[p + 2] == 0.0)
                few = (s != t) & (s != u) & (t != u) & some
                naked = short[p] + short[p + 1] + short[p + 2]
            if not few:
                naked = NAKED(p + low, until + low, picked, terms[0], terms[1], nets)  # noqa: F821
            short[p], short[p + 1], size[p + 1] = naked, 0.0, 0.0

    return netted


def weigh_template(tag: str) -> Any:
    """The part that finds the scenarios that can be the worst, to be compiled."""

    def weigh(span, book, tables, counted, found, sets, out):
        """Basis contingency, revaluation and naked shorts, and which scenarios of a set can be the worst.

        sets  bits of these, basis contingency and the column of its worse direction
        Returns the largest magnitude of an account.
        """
        tag  # noqa: B018
        (first, last, low), (account_ptr, group_ptr, group_key, _) = span, book
        expiries, tick, scenarios, scale, valid = tables
        short, size = counted
        opens, set_end, gains_of, ends = found
        left, contingency, direction = sets
        revalued, on_naked = out
        low_g, largest, nothing = account_ptr[first], 0.0, group_ptr[account_ptr[last]] - low
        for a in range(first, last):
            g, changed, weighed, shorts = account_ptr[a], 0.0, 0.0, 0.0
            for k in range(opens[a - first], opens[a - first + 1]):
                begins, gross, lost = g, 0.0, NO_LOSSES()  # noqa: F821
                for g in range(begins, set_end[k]):
                    x, p, until = group_key[g] * EXPIRY_COLUMNS, group_ptr[g] - low, group_ptr[g + 1] - low
                    one, two = p if until > p else nothing, p + 1 if until > p + 1 else nothing
                    naked, weight = short[one] + short[two], size[one] + size[two]
                    again, share = expiries[x + AGAIN], expiries[x + WEIGHT]
                    lost = WITH_BASIS(lost, lanes.offset(ends, ENDS * (g - low_g)), tick, again, share)  # noqa: F821
                    shorts += naked * expiries[x + EXPIRY_SPOT]
                    weighed += weight
                    gross += weight * expiries[x + MOVES]
                g = set_end[k]
                up, down, basis, restated = LOSSES(lost)  # noqa: F821
                roundings = float(group_ptr[g] - group_ptr[begins] + 2 * (g - begins))
                gains = lanes.offset(gains_of, k * WIDTH)  # noqa: F821
                limit = LIMIT(float(LOWEST(gains)), basis, roundings, gross, scale)  # noqa: F821
                left[k] = BELOW(gains, np.float32(limit)) & (valid if gross > 0.0 else 0)  # noqa: F821
                contingency[k], direction[k] = basis, scenarios + (down < up)
                changed += restated
            revalued[a - first], on_naked[a - first] = changed, shorts
            # What is no number is larger than any.
            largest = max(largest, weighed if weighed == weighed else np.inf)
        return largest

    return weigh


def totals_template(tag: str) -> Any:
    """The part that adds up what is held times a scenario, to be compiled."""

    def add_totals(count, instrument_idx, held, column, totals):
        """What so many positions gain in the scenario of a column, running: whole ticks, of balances rounded to them.

        Differences of such sums are exact, so that a group needs no loop of its own.
        """
        tag  # noqa: B018
        total = 0.0
        for p in range(count):
            totals[p] = total
            total += lanes.nearest(held[p] * column[instrument_idx[p]])
        totals[count] = total

    return add_totals


def exact_template(tag: str) -> Any:
    """The part that counts the gain of a scenario, to be compiled."""

    def exact(begins, end, groups, totals, ends, tables, damped):
        """What groups begins to end - 1 gain in a scenario, as `derive_numba` counts it."""
        tag  # noqa: B018
        group_ptr, group_key, low, low_g = groups
        (expiries, tick, _), (factor, tilt), gain = tables, damped, 0.0
        for g in range(begins, end):
            x = group_key[g] * EXPIRY_COLUMNS
            change = (totals[group_ptr[g + 1] - low] - totals[group_ptr[g] - low]) * tick
            if expiries[x + PLAIN] == 0.0:
                marked, again = ends[ENDS * (g - low_g) + MARKED] * tick, expiries[x + AGAIN]
                shocked = (change + marked) * again
                discount = expiries[x + (LONG if shocked > 0.0 else SHORT)]
                change = discount * shocked - marked * again
            if tilt != 0.0:
                change = -abs(change)
            gain += change * factor
        return gain

    return exact


def settle_template(tag: str) -> Any:
    """The part that counts the scenarios that are left, to be compiled."""

    def settle(span, book, counted, tables, exactly, found, sets, out):
        """Losses of accounts and where the underlying that loses most loses it; how many scenarios were summed.

        exactly  (n,N) ticks by scenario and contract, N, scenario of a place, dampening and tilts of scenarios
        """
        tag  # noqa: B018
        (first, last, low), (account_ptr, group_ptr, group_key, (instrument_idx, _)) = span, book
        columns, contracts, order, dampening, tilt = exactly
        (held, totals), (opens, set_end, _, ends), scenarios, at = counted, found, tables[2], lanes.offset
        left, contingency, direction = sets
        loss, worst = out
        g, summed = account_ptr[first], 0
        groups = group_ptr, group_key, low, g
        # The first scenario of all sets, and some scenario of those that have none: quicker than to guess which.
        for k in range(opens[last - first]):
            p, column = group_ptr[g], at(columns, order[lanes.first_place(left[k] | 1 << WIDTH)] * contracts)  # noqa: F821
            g = set_end[k]
            TOTALS(group_ptr[g] - p, at(instrument_idx, p), at(held, p - low), column, at(totals, p - low + k))  # noqa: F821
        for a in range(first, last):
            g, lost, most, place = account_ptr[a], 0.0, 0.0, -1
            for k in range(opens[a - first], opens[a - first + 1]):
                remain, lowest, where, end, tried = left[k], contingency[k], direction[k], set_end[k], 0
                while remain != 0:
                    s = order[lanes.first_place(remain)]
                    if tried > 0:
                        p, column = group_ptr[g], at(columns, s * contracts)
                        places, rows_held = at(instrument_idx, p), at(held, p - low)
                        TOTALS(group_ptr[end] - p, places, rows_held, column, at(totals, p - low + k))  # noqa: F821
                    remain, tried = remain & (remain - 1), tried + 1
                    gain = EXACT(g, end, groups, at(totals, k), ends, tables, (dampening[s], tilt[s]))  # noqa: F821
                    # The venue takes a scenario only where it is below the basis contingency; of equal ones the first.
                    if gain < lowest or (gain == lowest and s < where and where < scenarios):
                        lowest, where = gain, s
                summed += tried
                lost += -lowest
                if -lowest > most:
                    most, place = -lowest, where
                g = end
            loss[a - first], worst[a - first] = lost, place
        return summed

    return settle


def others_template(tag: str) -> Any:
    """The part that adds up perpetuals and haircuts, to be compiled."""

    def others(first, last, book, terms, out):
        """Perpetuals of accounts in money, and the two haircuts of their assets."""
        tag  # noqa: B018
        account_ptr, group_ptr, _, (instrument_idx, quantity) = book
        per_unit, strike, units, spot, price, mm_haircut, im_haircut = terms
        on_perpetual, on_mm, on_im = out
        for a in range(first, last):
            futures, mm, im = 0.0, 0.0, 0.0
            for p in range(group_ptr[account_ptr[a]], group_ptr[account_ptr[a + 1]]):
                n, q = instrument_idx[p], quantity[p]
                if strike[n] >= 0:
                    continue
                if per_unit[n] == per_unit[n]:
                    futures += abs(q * units[n]) * spot[n]
                else:
                    mm += abs(q) * price[n] * mm_haircut[n]
                    im += abs(q) * price[n] * im_haircut[n]
            on_perpetual[a - first], on_mm[a - first], on_im[a - first] = futures, mm, im

    return others
