"""N(d) of registers of numbers: what stands in tables, and what comes of it."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import mpmath
import numba
import numpy as np
import pytest
from llvmlite import binding
from numba import types
from numba.extending import intrinsic

from scenarios.backends import normal_nodes, normal_tail
from scenarios.backends.registers import LANES, line

HALF_A_ROUNDING = 2.0**-54
WIDE = pytest.mark.skipif(
    not binding.get_host_cpu_features().get("avx512f", False), reason="no look-ups in registers on this processor"
)


def test_tails_from_the_table() -> None:
    """Right to half a rounding of 1 wherever they are looked up, and 0 on the last interval."""
    table = normal_tail.tail_coefficients()
    middle = np.arange(normal_tail.INTERVALS - 1)
    random = np.random.default_rng(11)
    for places in (middle, middle + 0.499, middle[1:] - 0.499, random.uniform(0.0, 14.5, 500)):
        nearest = np.rint(places).astype(int)
        for place, k in zip(places.tolist(), nearest.tolist(), strict=True):
            with mpmath.workdps(30):
                rest, numbers = mpmath.mpf(place) - k, table[:, k].tolist()
                found = sum(number * rest**power for power, number in enumerate(numbers))
                assert abs(found - mpmath.ncdf(-normal_tail.INTERVAL * mpmath.mpf(place))) < HALF_A_ROUNDING
    assert not table[:, -1].any() and float(mpmath.ncdf(-14.5 * normal_tail.INTERVAL)) < HALF_A_ROUNDING


def test_tails_around_nodes() -> None:
    """Right to half a rounding of 1 wherever they are looked up, and 0 at the last node."""
    table, interval, rows = normal_nodes.node_values(), normal_nodes.INTERVAL, normal_nodes.series()
    places = np.arange(normal_nodes.NODES - 1)
    random = np.random.default_rng(12)
    ends = np.arange(5, normal_nodes.NODES - 1, 7)
    for found in (places, ends + 0.5, ends - 0.5, random.uniform(0.0, normal_nodes.NODES - 1.5, 500)):
        nearest = np.rint(found).astype(int)
        for place, k in zip(found.tolist(), nearest.tolist(), strict=True):
            with mpmath.workdps(30):
                rest = mpmath.mpf(place) - k
                total = sum(
                    number * (k * rest) ** m * rest ** (2 * n)
                    for n, row in enumerate(rows)
                    for m, number in enumerate(row)
                )
                tail = table[k, 0] + table[k, 1] * rest * total
                assert abs(tail - mpmath.ncdf(-interval * mpmath.mpf(place))) < HALF_A_ROUNDING
    assert not table[-1].any() and float(mpmath.ncdf(-interval * (normal_nodes.NODES - 1.5))) < HALF_A_ROUNDING


@pytest.mark.parametrize("normal", [normal_nodes, pytest.param(normal_tail, marks=WIDE)])
def test_cumulative_normals(normal: ModuleType) -> None:
    """In all lanes, both signs and beyond the table, to two roundings of 1."""

    @intrinsic
    def cumulative(typing_context: Any, given: Any, place: Any, out: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            given, place, out = arguments
            start, target = (
                context.make_array(kind)(context, builder, array).data
                for kind, array in ((signature.args[0], given), (signature.args[2], out))
            )
            (found,) = normal.cumulative(builder, [builder.load(line(builder, start, place), align=8)])
            builder.store(found, line(builder, target, place), align=8)
            return context.get_dummy_value()

        return types.none(given, types.int64, out), codegen

    @numba.njit
    def all_of(given: Any, out: Any) -> None:
        for block in range(len(given) // LANES):
            cumulative(given, block * LANES, out)

    random = np.random.default_rng(13)
    far = [0.0, -0.0, 1e-300, 8.3, 8.4, 37.0, 1e30, 1e300]
    d = np.concatenate([random.normal(0.0, 3.0, 20 * LANES), far, np.negative(far)])
    found = np.full(len(d), np.nan)
    all_of(d / normal.INTERVAL, found)
    with mpmath.workdps(30):
        expected = np.array([float(mpmath.ncdf(x)) for x in np.clip(d, -40.0, 40.0)])
    # The last rounding of d counts as well, which the density weighs.
    assert np.abs(found - expected).max() < 2.0**-52
    assert found[-1] == 0.0 and found[len(d) - LANES - 1] == 1.0
