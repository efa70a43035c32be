"""What numba and jax say about themselves, for reports."""

from __future__ import annotations

import numba
import numpy as np

from portfolio_margin.backends import numba as account_kernels
from portfolio_margin.kernel_inputs import Positions, Table
from pricing.arrays import freeze
from pricing.xp import numba as compiler
from pricing.xp.devices import device_kinds
from pricing.xp.jax import double_precision


def threading_state() -> tuple[int, str]:
    """Threads that kernels may use, and the threading layer numba chose."""
    # Read-only as in a book: writeable arrays would be another signature, compiled for this question alone.
    none = freeze(np.zeros(1), np.int64)
    nobody = Positions(none, none, np.zeros(1, np.int64), none, freeze(np.zeros(0), np.float64), none)
    table = Table(np.zeros((1, 1)), np.ones(1), np.ones(1, np.bool_), np.ones(1), np.zeros(1), True)
    account_kernels.account_sums(nobody, table)
    return numba.get_num_threads(), numba.threading_layer()


def may_overlap() -> bool:
    """Whether parallel kernels may run in several threads of a process at a time: not on numba's own work queue."""
    return threading_state()[1] != "workqueue"


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
