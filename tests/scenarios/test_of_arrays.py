"""of_arrays: results are kept with the arrays they were made of, and with nothing else."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from typing import NamedTuple

import numpy as np
import pytest

from pricing.arrays import FloatArray, freeze
from pricing.errors import ConfigError
from scenarios import RiskArrays
from scenarios.of_arrays import MOST_KEPT, of_arrays
from tests.portfolio_margin.books import ARRAYS

CALLS: list[str] = []


@dataclass(frozen=True)
class Policy:
    """What a model is to the functions here."""

    factor: float

    @of_arrays
    def scaled(self, arrays: RiskArrays) -> FloatArray:
        """(N,) a method's result."""
        CALLS.append("scaled")
        return arrays.value_rows * self.factor


class Pair(NamedTuple):
    """A result of several arrays, one of them inside another tuple."""

    first: FloatArray
    others: tuple[FloatArray, ...]


@of_arrays
def doubled(arrays: RiskArrays) -> FloatArray:
    CALLS.append("doubled")
    return 2.0 * arrays.value_rows


@of_arrays
def weighted(arrays: RiskArrays, weight: FloatArray, sign: float = 1.0) -> Pair:
    CALLS.append("weighted")
    return Pair(sign * weight * arrays.value_rows, (weight + 0.0,))


@of_arrays
def refused(arrays: RiskArrays, name: str) -> FloatArray:
    CALLS.append("refused")
    raise ConfigError(f"{name} is no name")


@pytest.fixture
def arrays() -> RiskArrays:
    """Arrays that nothing is known of."""
    CALLS.clear()
    return replace(ARRAYS)


@contextmanager
def no_collector() -> Iterator[None]:
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def test_a_result_is_made_once_for_each_set_of_arrays(arrays: RiskArrays) -> None:
    other = replace(arrays, value_rows=arrays.value_rows + 1.0)
    assert doubled(arrays) is doubled(arrays)
    assert doubled(other).tolist() == (2.0 * other.value_rows).tolist()
    assert doubled(arrays).tolist() == (2.0 * arrays.value_rows).tolist()
    assert CALLS == ["doubled", "doubled"]


def test_other_arguments_are_told_apart(arrays: RiskArrays) -> None:
    one, equal, other = Policy(3.0), Policy(3.0), Policy(4.0)
    first = one.scaled(arrays)
    assert one.scaled(arrays) is first
    # Equal and another object: whether parameters are equal would take longer to find out than is saved.
    assert equal.scaled(arrays) is not first
    assert equal.scaled(arrays).tobytes() == first.tobytes()
    assert other.scaled(arrays).tolist() == (4.0 * arrays.value_rows).tolist()
    assert len(CALLS) == 3


def test_numbers_are_told_apart_by_value_and_type(arrays: RiskArrays) -> None:
    weight = freeze(np.ones(len(arrays)), np.float64)
    up = weighted(arrays, weight, 1.0)
    assert weighted(arrays, weight, float("1")) is up
    assert weighted(arrays, weight, sign=1.0) is up
    assert weighted(arrays=arrays, weight=weight, sign=1.0) is up
    assert weighted(arrays, weight, -1.0).first.tolist() == (-up.first).tolist()
    assert len(CALLS) == 2


def test_an_array_that_may_change_is_no_key(arrays: RiskArrays) -> None:
    weight = np.ones(len(arrays))
    before = weighted(arrays, weight, 1.0).first.copy()
    weight *= 5.0
    assert weighted(arrays, weight, 1.0).first.tolist() == (5.0 * before).tolist()
    assert len(CALLS) == 2


def test_results_cannot_be_written_to(arrays: RiskArrays) -> None:
    found = weighted(arrays, freeze(np.ones(len(arrays)), np.float64), 1.0)
    for column in (doubled(arrays), found.first, found.others[0]):
        with pytest.raises(ValueError, match="read-only"):
            column[0] = 1.0


def test_what_raises_raises_again(arrays: RiskArrays) -> None:
    for _ in range(2):
        with pytest.raises(ConfigError, match="x is no name"):
            refused(arrays, "x")
    assert CALLS == ["refused", "refused"]


def test_so_many_are_kept_and_the_latest_of_them(arrays: RiskArrays) -> None:
    policies = [Policy(float(factor)) for factor in range(MOST_KEPT + 1)]
    for policy in policies:
        policy.scaled(arrays)
    CALLS.clear()
    for policy in policies[1:]:
        policy.scaled(arrays)
    assert not CALLS
    policies[0].scaled(arrays)
    assert CALLS == ["scaled"]


def test_a_model_that_is_gone_leaves_its_place(arrays: RiskArrays) -> None:
    """Its address may be another model's by then."""
    with no_collector():
        for factor in range(50):
            policy = Policy(float(factor))
            assert policy.scaled(arrays).tolist() == (float(factor) * arrays.value_rows).tolist()
            gone = weakref.ref(policy)
            del policy
            assert gone() is None


def test_arrays_are_given_back_without_the_collector(arrays: RiskArrays) -> None:
    with no_collector():
        mine = replace(arrays)
        policy = Policy(2.0)
        doubled(mine)
        policy.scaled(mine)
        gone = weakref.ref(mine)
        del mine
        assert gone() is None


def test_what_is_kept_goes_into_no_copy(arrays: RiskArrays) -> None:
    before = len(pickle.dumps(replace(arrays)))
    doubled(arrays)
    _ = arrays.value, arrays.unit, arrays.is_coin
    content = pickle.dumps(arrays)
    assert len(content) == before
    for other in (pickle.loads(content), copy.copy(arrays), replace(arrays)):
        assert set(vars(other)) == {column.name for column in fields(arrays)}
        assert doubled(other).tobytes() == doubled(arrays).tobytes()
    assert len(CALLS) == 4
