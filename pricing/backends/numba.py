"""value and greeks of flat arrays compiled by numba: production.

Kernels are serial loops over one array per column and output, which LLVM turns into full-width vector code;
rows are shared out among threads outside, because a parallel kernel takes three times as long to compile.
"""

from __future__ import annotations

import functools
from types import ModuleType
from typing import Any

import numpy as np

from pricing import exercise
from pricing.arrays import FloatArray, into, read_only
from pricing.backends import american_numba
from pricing.models import black76
from pricing.resolve import is_solved
from pricing.xp import numba as XP

COLUMNS = 6
GREEKS = 9
ALL_GREEKS = 14
# Eight results of so many rows are twice what the second cache of a processor usually holds.
CACHED_ROWS = 65_536
# Rows that are worked on while those AHEAD of them are fetched, cache line by cache line; measured.
GROUP, LINE, AHEAD = 32, XP.LINE, 96
# What a group begins with, three numbers a row, and what tells whether its results go past the caches.
TERMS_ROOM, FLAG = 3 * GROUP + LINE, 3 * GROUP
# Deviations from the money of a row that is not a usual one.
NOT_USUAL = 100.0
# A group of one result, with a line of rows before it.
WIDE = GROUP + LINE


def _value_template(tag: str) -> Any:
    def value(forward, strike, tau, vol, discount, sign, out):
        tag  # noqa: B018 - enters the key of the disk cache
        XP.vector_loop()
        for n in range(out.shape[0]):
            value = FORMULA(XP, forward[n], strike[n], tau[n], vol[n], discount[n], sign[n])  # noqa: F821
            fit = XP.fit_row(forward[n], strike[n], tau[n], vol[n], discount[n], sign[n], SIGNED)  # noqa: F821
            out[n] = XP.nan_unless(fit, value)

    return value


def _usual_value_template(tag: str) -> Any:
    def value(forward, strike, tau, vol, discount, sign, out, left_groups):
        tag  # noqa: B018 - enters the key of the disk cache
        XP.vector_loop()
        room = XP.scratch(TERMS_ROOM)
        groups = 0
        rows = np.uint64(out.shape[0])
        for group in range((out.shape[0] + GROUP - 1) // GROUP):
            # Unsigned, so that no index is looked at for whether it counts from the end.
            start = np.uint64(group) * np.uint64(GROUP)
            for line in range(GROUP // LINE):
                soon = start + np.uint64(AHEAD) + np.uint64(line) * np.uint64(LINE)
                XP.prefetch(forward, soon), XP.prefetch(strike, soon), XP.prefetch(tau, soon)
                XP.prefetch(vol, soon), XP.prefetch(discount, soon), XP.prefetch(sign, soon)
            count = min(np.uint64(GROUP), rows - start)
            for m in range(count):
                n = start + m
                s, per_s, x = TERMS(XP, forward[n], strike[n], tau[n], vol[n])  # noqa: F821
                usual = XP.usual_row(forward[n], strike[n], tau[n], vol[n], discount[n], sign[n])
                room[m], room[GROUP + m] = XP.where(usual, s, 1.0), XP.where(usual, per_s, 1.0)
                room[2 * GROUP + m] = XP.where(usual, x, NOT_USUAL)
            left = 0
            for m in range(count):
                n = start + m
                terms = room[m], room[GROUP + m], room[2 * GROUP + m]
                usual, value = FORMULA(XP, terms, forward[n], strike[n], discount[n], sign[n])  # noqa: F821
                out[n] = XP.nan_unless(usual, value)
                left += 0 if usual else 1
            left_groups[groups] = start
            groups += 1 if left else 0
        return groups

    return value


def _left_value_template(tag: str) -> Any:
    def value(forward, strike, tau, vol, discount, sign, out, left_groups, rows):
        tag  # noqa: B018 - enters the key of the disk cache
        XP.vector_loop()
        left, end = 0, 0
        for group in range(left_groups.shape[0]):
            start, end = max(left_groups[group], end), min(left_groups[group] + GROUP, out.shape[0])
            for n in range(start, end):
                if XP.is_marked(out[n]):
                    rows[left] = n
                    left += 1
        unfit = 0
        for i in range(left):
            n = rows[i]
            value = FORMULA(XP, forward[n], strike[n], tau[n], vol[n], discount[n], sign[n])  # noqa: F821
            fit = XP.fit_row(forward[n], strike[n], tau[n], vol[n], discount[n], sign[n], False)
            out[n] = XP.nan_unless(fit, value)
            unfit += 0 if fit else 1
        return unfit

    return value


def _greeks_template(tag: str) -> Any:
    # Separate outputs: the compiler cannot prove the rows of one array apart.
    def greeks(columns, price, others):
        tag  # noqa: B018 - enters the key of the disk cache
        XP.vector_loop()
        forward, strike, tau, vol, discount, sign = columns
        delta, gamma, vega, theta, rho, vanna, volga, charm = others
        for n in range(price.shape[0]):
            row = FORMULA(XP, forward[n], strike[n], tau[n], vol[n], discount[n], sign[n])  # noqa: F821
            fit = XP.fit_row(forward[n], strike[n], tau[n], vol[n], discount[n], sign[n], SIGNED)  # noqa: F821
            price[n] = XP.nan_unless(fit, row[0])
            delta[n], gamma[n], vega[n], theta[n], rho[n], vanna[n], volga[n], charm[n] = row[1:]

    return greeks


def _usual_greeks_template(tag: str) -> Any:
    def greeks(columns, price, others, left_groups, past):
        tag  # noqa: B018 - enters the key of the disk cache
        XP.vector_loop()
        forward, strike, tau, vol, discount, sign = columns
        delta, gamma, vega, theta, rho, vanna, volga, charm = others
        first = XP.scratch(TERMS_ROOM)
        logarithms = XP.scratch(GROUP)
        r0, r1, r2 = XP.scratch(WIDE), XP.scratch(WIDE), XP.scratch(WIDE)
        r3, r4, r5 = XP.scratch(WIDE), XP.scratch(WIDE), XP.scratch(WIDE)
        r6, r7, r8 = XP.scratch(WIDE), XP.scratch(WIDE), XP.scratch(WIDE)
        # Read again for each group, lest the compiler makes two loops of one, of which it vectorises but the first.
        first[FLAG] = 1.0 if past else 0.0
        groups = 0
        rows, start, count = np.uint64(price.shape[0]), np.uint64(0), np.uint64(LINE)
        done, held = np.uint64(0), np.uint64(0)
        while done < rows:
            for line in range(GROUP // LINE):
                soon = start + np.uint64(AHEAD) + np.uint64(line) * np.uint64(LINE)
                XP.prefetch(forward, soon), XP.prefetch(strike, soon), XP.prefetch(tau, soon)
                XP.prefetch(vol, soon), XP.prefetch(discount, soon), XP.prefetch(sign, soon)
            count = min(count, rows - start)
            for m in range(count):
                n = start + m
                s, per_s, x = TERMS(XP, forward[n], strike[n], tau[n], vol[n])  # noqa: F821
                usual = XP.usual_row(forward[n], strike[n], tau[n], vol[n], discount[n], sign[n])
                first[m], first[GROUP + m] = XP.where(usual, s, 1.0), XP.where(usual, per_s, 1.0)
                first[2 * GROUP + m] = XP.where(usual, x, NOT_USUAL)
                logarithms[m] = XP.log(discount[n])
            # Results of the group before: those of this one would be waited for, and everything behind them.
            beyond = first[FLAG] > 0.0
            XP.group_out(r0, price, done, held, beyond, GROUP), XP.group_out(r1, delta, done, held, beyond, GROUP)
            XP.group_out(r2, gamma, done, held, beyond, GROUP), XP.group_out(r3, vega, done, held, beyond, GROUP)
            XP.group_out(r4, theta, done, held, beyond, GROUP), XP.group_out(r5, rho, done, held, beyond, GROUP)
            XP.group_out(r6, vanna, done, held, beyond, GROUP), XP.group_out(r7, volga, done, held, beyond, GROUP)
            XP.group_out(r8, charm, done, held, beyond, GROUP)
            done += held
            left = 0
            for m in range(count):
                n = start + m
                terms, given = (first[m], first[GROUP + m], first[2 * GROUP + m]), (forward[n], strike[n])
                times = tau[n], vol[n], discount[n]
                usual, row = FORMULA(XP, terms, logarithms[m], *given, *times, sign[n])  # noqa: F821
                k = LINE + m
                r0[k] = XP.nan_unless(usual, row[0])
                r1[k], r2[k], r3[k], r4[k], r5[k], r6[k], r7[k], r8[k] = row[1:]
                left += 0 if usual else 1
            left_groups[groups] = start
            groups += 1 if left else 0
            start, held, count = start + count, count, np.uint64(GROUP)
        XP.settle()
        return groups

    return greeks


def _left_greeks_template(tag: str) -> Any:
    def greeks(columns, price, others, left_groups, rows):
        tag  # noqa: B018 - enters the key of the disk cache
        XP.vector_loop()
        forward, strike, tau, vol, discount, sign = columns
        delta, gamma, vega, theta, rho, vanna, volga, charm = others
        left, end = 0, 0
        for group in range(left_groups.shape[0]):
            start, end = max(left_groups[group], end), min(left_groups[group] + GROUP, price.shape[0])
            for n in range(start, end):
                if XP.is_marked(price[n]):
                    rows[left] = n
                    left += 1
        unfit = 0
        for i in range(left):
            n = rows[i]
            row = FORMULA(XP, forward[n], strike[n], tau[n], vol[n], discount[n], sign[n])  # noqa: F821
            fit = XP.fit_row(forward[n], strike[n], tau[n], vol[n], discount[n], sign[n], False)
            price[n] = XP.nan_unless(fit, row[0])
            XP.put(delta, n, row[1]), XP.put(gamma, n, row[2]), XP.put(vega, n, row[3]), XP.put(theta, n, row[4])
            XP.put(rho, n, row[5]), XP.put(vanna, n, row[6]), XP.put(volga, n, row[7]), XP.put(charm, n, row[8])
            unfit += 0 if fit else 1
        return unfit

    return greeks


def _all_greeks_template(tag: str) -> Any:
    def greeks(columns, first, charm, veta, speed, zomma, color, ultima):
        tag  # noqa: B018 - enters the key of the disk cache
        XP.vector_loop()
        forward, strike, tau, vol, discount, sign = columns
        price, delta, gamma, vega, theta, rho, vanna, volga = first
        for n in range(price.shape[0]):
            row = FORMULA(XP, forward[n], strike[n], tau[n], vol[n], discount[n], sign[n])  # noqa: F821
            fit = XP.fit_row(forward[n], strike[n], tau[n], vol[n], discount[n], sign[n], SIGNED)  # noqa: F821
            price[n] = XP.nan_unless(fit, row[0])
            delta[n], gamma[n], vega[n], theta[n], rho[n], vanna[n], volga[n] = row[1:8]
            charm[n], veta[n], speed[n], zomma[n], color[n], ultima[n] = row[8:]

    return greeks


def _compiled(template: Any, model: ModuleType, formula: Any) -> Any:
    bound = {"SIGNED": getattr(model, "SIGNED_PRICES", False)}
    if hasattr(model, "usual_terms"):
        bound["TERMS"] = XP.compile_formula(model.usual_terms)
    return XP.compile_kernel(template, XP.source_hash(model), formula, bound)


@functools.cache
def _value_kernel(model: ModuleType) -> Any:
    return _compiled(_value_template(""), model, model.value)


@functools.cache
def _greeks_kernel(model: ModuleType) -> Any:
    return _compiled(_greeks_template(""), model, model.greeks)


@functools.cache
def _all_greeks_kernel(model: ModuleType) -> Any:
    return _compiled(_all_greeks_template(""), model, model.greeks_to_third_order)


@functools.cache
def _usual_value_kernels(model: ModuleType) -> tuple[Any, Any]:
    usual = _compiled(_usual_value_template(""), model, model.usual_value)
    return usual, _compiled(_left_value_template(""), model, model.value)


@functools.cache
def _usual_greeks_kernels(model: ModuleType) -> tuple[Any, Any]:
    usual = _compiled(_usual_greeks_template(""), model, model.usual_greeks)
    return usual, _compiled(_left_greeks_template(""), model, model.greeks)


def _in_two_ways(kernels: tuple[Any, Any], arrays: tuple[Any, ...], rows: int, *last: Any) -> int:
    """The short way for all rows, then the long way for those that it is not enough for.

    Returns how many rows are not within bounds.
    """
    usual, left = kernels
    # Groups of rows of which some are left, by their first; the first group of Greeks is one line.
    left_groups = np.empty(rows // GROUP + 3, dtype=np.int64)
    groups = usual(*arrays, left_groups, *last)
    if not groups:
        return 0
    return int(left(*arrays, left_groups[:groups], np.empty(groups * GROUP, dtype=np.int64)))


def _told(unfit: list[int] | None, counts: list[int]) -> None:
    if unfit is not None:
        unfit += counts


def value(
    model: ModuleType,
    columns: tuple[FloatArray, ...],
    threads: int = 1,
    out: FloatArray | None = None,
    accuracy: str = "default",
    unfit: list[int] | None = None,
) -> FloatArray:
    """Value of each row, into `out` if given; NaN where an input is not finite or out of bounds.

    unfit   is given the number of such rows, part by part, by a formula
    """
    if is_solved(model):
        european = value(black76, columns[:6], threads)
        return into(out, exercise.value(american_numba, columns, european, accuracy=accuracy, threads=threads))
    result = np.empty(columns[0].shape) if out is None else out
    given = tuple(read_only(column) for column in columns)

    def run(rows: slice) -> int:
        arrays = (*(column[rows] for column in given), result[rows])
        if hasattr(model, "usual_value"):
            return _in_two_ways(_usual_value_kernels(model), arrays, arrays[-1].size)
        _value_kernel(model)(*arrays)
        return int(np.count_nonzero(np.isnan(arrays[-1])))

    _told(unfit, XP.run_in_threads(run, result.size, threads))
    return result


def greeks(
    model: ModuleType,
    columns: tuple[FloatArray, ...],
    threads: int = 1,
    third_order: bool = False,
    out: tuple[FloatArray | None, ...] | None = None,
    accuracy: str = "default",
    unfit: list[int] | None = None,
) -> tuple[Any, ...]:
    """value and eight Greeks of each row, or thirteen, into `out` if given; the value is NaN as in `value`.

    out   None in the place of one of the others that is not wanted, and of it in the result
    """
    if is_solved(model):
        exercise.check_order(third_order)
        european_rows = greeks(black76, columns[:6], threads)
        rows = exercise.greeks(american_numba, columns, european_rows, accuracy=accuracy, threads=threads)
        return (
            rows
            if out is None
            else tuple(None if t is None else into(t, row) for t, row in zip(out, rows, strict=True))
        )
    if out is None:
        out = tuple(np.empty(columns[0].shape) for _ in range(ALL_GREEKS if third_order else GREEKS))
    given = tuple(read_only(column) for column in columns)

    def run(rows: slice) -> int:
        inputs, short = tuple(column[rows] for column in given), hasattr(model, "usual_greeks") and not third_order
        # One number takes the place of results that nobody wants: the short way computes them, and leaves it at that.
        room = 1 if short else rows.stop - rows.start
        price, *others = (np.empty(room) if array is None else array[rows] for array in out)
        if third_order:
            _all_greeks_kernel(model)(inputs, (price, *others[:7]), *others[7:])
        elif short:
            past_caches = price.size > CACHED_ROWS and all(array.flags.aligned for array in out if array is not None)
            arrays = (inputs, price, tuple(others))
            return _in_two_ways(_usual_greeks_kernels(model), arrays, price.size, past_caches)
        else:
            _greeks_kernel(model)(inputs, price, tuple(others))
        return int(np.count_nonzero(np.isnan(price)))

    _told(unfit, XP.run_in_threads(run, columns[0].size, threads))
    return out
