"""Published vectors of liquidation, one kind at a time: every expected number within its stated tolerance."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

Answer = Callable[[dict[str, Any]], dict[str, Any]]


def check(vectors: Iterable[dict[str, Any]], answer: Answer, report: Callable[..., None], label: str) -> None:
    """Compare what `answer` makes of the inputs with all that a vector expects, and report the largest error."""
    largest, count = 0.0, 0
    for vector in vectors:
        found, expected = answer(vector["inputs"]), vector["expected"]
        assert set(found) == set(expected), vector["id"]
        for name, value in expected.items():
            tolerance = vector["tolerance"][name]
            if tolerance == "exact":
                assert found[name] == value, f"{vector['id']} {name}: {found[name]!r}, expected {value!r}"
                continue
            ours, theirs = np.asarray(found[name], float), np.asarray(value, float)
            assert ours.shape == theirs.shape, f"{vector['id']} {name}"
            gap, size = np.abs(ours - theirs), np.abs(theirs)
            allowed = tolerance["abs"] if "abs" in tolerance else tolerance["rel"] * size
            assert np.all(gap <= allowed), f"{vector['id']} {name}: {found[name]!r}, expected {value!r}"
            largest = max(largest, float(np.max(gap / np.maximum(size, 1.0), initial=0.0)))
        count += 1
    report(count, largest, "of max(1, value)", label)
