"""Charges of accounts by an elementwise formula of the model, compiled: no pass over all accounts an operation.

The formula is plain arithmetic, which numpy does as well: `formula(*columns, rates)` returns pairs of initial and
maintenance part, one a charge. Nothing in it is fused or reordered, so that the bits are those of numpy.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any

import numba
import numpy as np

from pricing.arrays import FloatArray
from pricing.xp import numba as XP

Formula = Callable[..., Any]


class Charged:
    """The charges of so many accounts, filled block by block.

    charges (C,A,2), initial and maintenance part; total (A,2) their sum in their order; lifted: whether some account
    is asked for less than nothing, or for less initial than maintenance margin
    """

    def __init__(self, formula: Formula, rates: tuple[float, ...], charges: int, accounts: int) -> None:
        self.kernel, self.rates = _kernel(formula), rates
        # Of charges that nobody is asked for no memory is touched.
        self.charges, self.total = np.zeros((charges, accounts, 2)), np.empty((accounts, 2))
        self.lifted = False

    def fill(self, first: int, last: int, columns: tuple[FloatArray, ...]) -> None:
        """Charges of accounts first to last - 1 from columns (last - first,) each."""
        # Of several threads none takes back what another has found.
        if self.kernel(first, last, columns, self.rates, self.charges, self.total) > 0:
            self.lifted = True


def _template(tag: str) -> Any:
    def charged(first, last, columns, rates, charges, total):
        """Fill charges and total; returns how many accounts are lifted."""
        tag  # noqa: B018 - enters the key of the disk cache
        loss, perpetual, naked, mm_haircut, im_haircut = columns
        lifted = 0
        for a in range(first, last):
            i = a - first
            parts = FORMULA(  # noqa: F821
                loss[i], perpetual[i], naked[i], mm_haircut[i], im_haircut[i], 0.0, rates
            )
            initial, maintenance = 0.0, 0.0
            for c in range(len(parts)):
                of_initial, of_maintenance = parts[c]
                # What is there is zero, and minus zero becomes that.
                if of_initial != 0.0 or of_maintenance != 0.0:
                    charges[c, a, 0], charges[c, a, 1] = of_initial + 0.0, of_maintenance + 0.0
                initial += of_initial
                maintenance += of_maintenance
            total[a, 0], total[a, 1] = initial, maintenance
            lifted += 0 if maintenance >= 0.0 and initial >= maintenance else 1
        return lifted

    return charged


@functools.cache
def _kernel(formula: Formula) -> Any:
    compiled = numba.njit(nogil=True, error_model="numpy")(formula)
    tag = f"{formula.__qualname__} {XP.source_hash(sys.modules[formula.__module__])}"
    return XP.compile_kernel(_template(""), tag, None, {"FORMULA": compiled}, fastmath=False)
