"""The passes of `derive_screen` over some accounts, whose numbers stay in the first caches from one pass to the next.

What is held of an expiry is mostly one position or two, at random, and a processor that guesses wrong which loses more
time than counting takes. So two are always counted, as `derive_pairs` keeps them of a book. For the same reason choices
are made by places and masks.

Everything comes as addresses. What is kept of the book is counted by its groups; what a pass leaves to the next begins
with the first group, or set, of the accounts. A set is what an account holds on one underlying.
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
from pricing.xp import numba as XP

# Rows of so many groups ahead are asked for. Singles of a cache line.
GROUPS_READ_AHEAD = 8
SINGLES_OF_LINE = 16
# How far ahead of what is counted the book is asked for from memory: groups of some twenty accounts.
AHEAD, APART_AHEAD = 320, 64


def ahead_template(tag: str) -> Any:
    """The part that asks for groups ahead, to be compiled."""

    def ask_ahead(book, pairs, low, high):
        """Ask for what lies ahead of groups low to high - 1, line by line."""
        tag  # noqa: B018 - enters the key of the disk cache
        (_, _, group_key, _), (row, steps, naked) = book, pairs
        for g in range(low + AHEAD, high + AHEAD, XP.LINE):
            XP.prefetch(group_key, g)
            XP.prefetch(naked, g)
            XP.prefetch(steps, 2 * g)
        for g in range(low + AHEAD, high + AHEAD, 2 * XP.LINE):
            XP.prefetch(row, 2 * g)

    return ask_ahead


def look_template(tag: str) -> Any:
    """The part that adds up in single precision, to be compiled."""

    def look(span, book, single, tables, read, found):
        """Sums of groups and gains of sets in single precision; returns the largest magnitude of an account.

        found  by account the first of its sets; by set the group it ends before, its first position apart, its
               magnitude and its gains; by group its ends
        """
        tag  # noqa: B018
        (first, last), (account_ptr, _, group_key, _) = span, book
        rows, factors, dampening, signs = single
        expiries, magnitude, per_unit = tables
        (row, steps, _), (apart_row, apart_held, apart) = read
        opens, set_end, apart_of, gross_of, gains_of, ends = found
        k, low_g, largest = 0, account_ptr[first], 0.0
        for a in range(first, last):
            opens[a - first] = k
            g, end, weighed = account_ptr[a], account_ptr[a + 1], 0.0
            while g < end:
                x = group_key[g] * EXPIRY_COLUMNS
                underlying, open_set, gains, gross = expiries[x + UNDERLYING], True, OPENED(), 0.0  # noqa: F821
                apart_of[k] = apart
                while open_set:
                    for ahead in (2 * (g + GROUPS_READ_AHEAD), 2 * (g + GROUPS_READ_AHEAD) + 1):
                        for line in range(LINES):  # noqa: F821
                            XP.prefetch(rows, np.int64(row[ahead]) * ROW + line * SINGLES_OF_LINE)  # noqa: F821
                    one, two, n, m = steps[2 * g], steps[2 * g + 1], np.int64(row[2 * g]), np.int64(row[2 * g + 1])
                    if one == one:
                        sums = ADD_STEPS(ADD_STEPS(NOTHING(), rows, n * ROW, one), rows, m * ROW, two)  # noqa: F821
                        weight = abs(float(one)) * magnitude[n] + abs(float(two)) * magnitude[m]
                    else:
                        sums, weight = NOTHING(), 0.0  # noqa: F821
                        for _ in range(np.int64(two)):
                            held, n = apart_held[apart], np.int64(apart_row[apart])
                            sums = ADD(sums, rows, n * ROW, np.float32(held), held)  # noqa: F821
                            weight += abs(held) * magnitude[n] + (0.0 if per_unit[n] == per_unit[n] else OF_ROUNDED)  # noqa: F821
                            apart += 1
                        XP.prefetch(apart_held, apart + APART_AHEAD)
                        XP.prefetch(apart_row, apart + APART_AHEAD)
                        for line in range(LINES):  # noqa: F821
                            XP.prefetch(rows, np.int64(apart_row[apart + 2]) * ROW + line * SINGLES_OF_LINE)  # noqa: F821
                    weighed += weight
                    gross += weight * expiries[x + MOVES]
                    PUT_ENDS(sums, lanes.offset(ends, ENDS * (g - low_g)))  # noqa: F821
                    gains = FOLDED(gains, sums, lanes.offset(factors, x), signs)  # noqa: F821
                    g += 1
                    open_set = g < end
                    if open_set:
                        x = group_key[g] * EXPIRY_COLUMNS
                        open_set = expiries[x + UNDERLYING] == underlying
                PUT(gains, lanes.offset(gains_of, k * WIDTH), dampening)  # noqa: F821
                set_end[k], gross_of[k] = g, gross
                k += 1
            # What is no number is larger than any.
            largest = max(largest, weighed if weighed == weighed else np.inf)
        opens[last - first], apart_of[k] = k, apart
        return largest

    return look


def weigh_template(tag: str) -> Any:
    """The part that finds the scenarios that can be the worst, to be compiled."""

    def weigh(span, book, tables, naked, found, sets, out):
        """Basis contingency, revaluation and naked shorts, and which scenarios of a set can be the worst.

        sets  bits of these, basis contingency and the column of its worse direction
        """
        tag  # noqa: B018
        (first, last), (account_ptr, _, group_key, _) = span, book
        expiries, tick, scenarios, scale, valid = tables
        opens, set_end, apart_of, gross_of, gains_of, ends = found
        left, contingency, direction = sets[:3]
        revalued, on_naked = out
        low_g = account_ptr[first]
        for a in range(first, last):
            g, changed, shorts = account_ptr[a], 0.0, 0.0
            for k in range(opens[a - first], opens[a - first + 1]):
                begins, lost = g, NO_LOSSES()  # noqa: F821
                for g in range(begins, set_end[k]):
                    x = group_key[g] * EXPIRY_COLUMNS
                    again, share = expiries[x + AGAIN], expiries[x + WEIGHT]
                    lost = WITH_BASIS(lost, lanes.offset(ends, ENDS * (g - low_g)), tick, again, share)  # noqa: F821
                    shorts += naked[g] * expiries[x + EXPIRY_SPOT]
                g = set_end[k]
                up, down, basis, restated = LOSSES(lost)  # noqa: F821
                # Two positions of each group, as they are counted, and those that stand apart.
                roundings = float(4 * (g - begins) + apart_of[k + 1] - apart_of[k])
                gains, gross = lanes.offset(gains_of, k * WIDTH), gross_of[k]  # noqa: F821
                limit = LIMIT(float(LOWEST(gains)), basis, roundings, gross, scale)  # noqa: F821
                left[k] = BELOW(gains, np.float32(limit)) & (valid if gross > 0.0 else 0)  # noqa: F821
                contingency[k], direction[k] = basis, scenarios + (down < up)
                changed += restated
            revalued[a - first], on_naked[a - first] = changed, shorts

    return weigh


def ticks_template(tag: str) -> Any:
    """The part that adds up what is held times a scenario, to be compiled."""

    def add_ticks(begins, end, apart, read, column, ticks):
        """What groups begins to end - 1 gain in the scenario of a column: whole ticks, of balances rounded to them.

        A loop of its own: a short one, because it waits for the column. apart is their first position apart.
        """
        tag  # noqa: B018
        (row, steps, _), (apart_row, apart_held, _) = read
        for g in range(begins, end):
            one = steps[2 * g]
            if one == one:
                n, m = np.int64(row[2 * g]), np.int64(row[2 * g + 1])
                ticks[g - begins] = float(one) * column[n] + float(steps[2 * g + 1]) * column[m]
            else:
                total = 0.0
                for _ in range(np.int64(steps[2 * g + 1])):
                    total += lanes.nearest(apart_held[apart] * column[np.int64(apart_row[apart])])
                    apart += 1
                ticks[g - begins] = total

    return add_ticks


def exact_template(tag: str) -> Any:
    """The part that counts the gain of a scenario, to be compiled."""

    def exact(begins, end, groups, ticks, ends, tables, damped):
        """What groups begins to end - 1 gain in a scenario, as `derive_numba` counts it."""
        tag  # noqa: B018
        (group_key, low_g), (expiries, tick, _), (factor, tilt), gain = groups, tables, damped, 0.0
        for g in range(begins, end):
            x = group_key[g] * EXPIRY_COLUMNS
            change = ticks[g - low_g] * tick
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

    def settle(span, book, read, tables, exactly, found, sets, out):
        """Losses of accounts and where the underlying that loses most loses it; how many scenarios were summed.

        exactly  (n,N) ticks by scenario and contract, N, scenario of a place, dampening and tilts of scenarios
        """
        tag  # noqa: B018
        (first, last), (account_ptr, _, group_key, _) = span, book
        columns, contracts, order, dampening, tilt = exactly
        (opens, set_end, apart_of, _, _, ends), scenarios, at = found, tables[2], lanes.offset
        left, contingency, direction, ticks = sets
        loss, worst = out
        g, summed, low_g = account_ptr[first], 0, account_ptr[first]
        # The first scenario of all sets, and some scenario of those that have none: quicker than to guess which.
        for k in range(opens[last - first]):
            column = at(columns, order[lanes.first_place(left[k] | 1 << WIDTH)] * contracts)  # noqa: F821
            TICKS(g, set_end[k], apart_of[k], read, column, at(ticks, g - low_g))  # noqa: F821
            g = set_end[k]
        for a in range(first, last):
            g, lost, most, place = account_ptr[a], 0.0, 0.0, -1
            for k in range(opens[a - first], opens[a - first + 1]):
                remain, lowest, where, end, tried = left[k], contingency[k], direction[k], set_end[k], 0
                while remain != 0:
                    s = order[lanes.first_place(remain)]
                    if tried > 0:
                        column = at(columns, s * contracts)
                        TICKS(g, end, apart_of[k], read, column, at(ticks, g - low_g))  # noqa: F821
                    remain, tried = remain & (remain - 1), tried + 1
                    gain = EXACT(g, end, (group_key, low_g), ticks, ends, tables, (dampening[s], tilt[s]))  # noqa: F821
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
