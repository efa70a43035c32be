"""What numba and jax say about themselves, for reports."""

from __future__ import annotations

import numba
import numpy as np

from pricing.xp import numba as compiler
from pricing.xp.devices import device_kinds
from pricing.xp.jax import double_precision


def threading_state() -> tuple[int, str]:
    """Threads that kernels may use, and the threading layer numba chose."""
    # Asking for the number makes numba choose the layer.
    return numba.get_num_threads(), numba.threading_layer()


def kernels_compiled_here() -> tuple[int, int]:
    """How many kernels this process compiled itself, and how many it loaded from disk; every signature counts."""
    stats = [kernel.stats for kernel in compiler.COMPILED]
    return sum(len(s.cache_misses) for s in stats), sum(len(s.cache_hits) for s in stats)


def double_precision_works() -> bool:
    """True where jax computes in float64 inside our context."""
    import jax.numpy

    with double_precision():
        return bool(jax.numpy.asarray(1.0).dtype == np.float64)


def jax_devices() -> tuple[str, ...]:
    """The devices that backend "jax:N" takes the first N of; the first is where "jax" computes by default."""
    return device_kinds()
