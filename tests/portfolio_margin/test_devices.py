"""The jax backend on several devices: the bits of numba's kernels, whatever shares the work.

The devices are pretended on the processor, in a process of their own, since jax decides about them when it starts.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from tests.vectors import ROOT

DEVICES = 4


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    flags = {"XLA_FLAGS": f"--xla_force_host_platform_device_count={DEVICES}", "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-m", "tests.portfolio_margin.devices_program"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env={**os.environ, **flags})
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def test_account_kernels_and_statements_have_the_bits_of_numba(found: dict[str, Any]) -> None:
    assert len(found["devices"]) == DEVICES
    assert found["positions"]["large"] > found["positions"]["at once"]
    assert len(found["same"]) == 23
    assert not [name for name, same in found["same"].items() if not same]


def test_revaluation_is_the_same_to_a_tick_and_devices_do_not_matter(found: dict[str, Any]) -> None:
    for revaluation in found["revaluations"]:
        assert revaluation["ticks"] <= 1.0, revaluation
        assert revaluation["differ"] < 1e-4, revaluation
        assert revaluation["devices matter"] == []
        assert revaluation["digests"] == 1


def test_devices_that_are_not_there_are_refused(found: dict[str, Any]) -> None:
    said = found["refusals"]
    assert said["jax:5"] == f"backend = 'jax:5': jax sees {DEVICES} devices (cpu)"
    for backend in ("jax:0", "jax:", "jax:-1", "jax:two"):
        assert "after the colon stands how many devices" in said[backend]
    for backend in ("numba:2", "cuda"):
        assert "must be one of numpy, numba, jax" in said[backend]
    assert "prices and Greeks use one device" in said["price"]
