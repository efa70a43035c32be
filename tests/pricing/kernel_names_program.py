"""Compiles a kernel of two functions for each constant among the arguments, from the disk cache if it is there."""

from __future__ import annotations

import sys
from typing import Any

from pricing.xp import numba as XP


def _inner_template(tag: str) -> Any:
    def inner(count):
        """The constant, by a loop that LLVM does not inline away."""
        tag  # noqa: B018
        total = 0
        for n in range(count):
            total += CONSTANT * (n % 7 == 3)  # noqa: F821
        return total

    return inner


def _outer_template(tag: str) -> Any:
    def outer(count):
        """The inner function."""
        tag  # noqa: B018
        return INNER(count)  # noqa: F821

    return outer


def kernel(constant: int) -> Any:
    """The kernel for a constant."""
    inner = XP.compile_kernel(_inner_template(""), f"{constant}", None, {"CONSTANT": constant})
    return XP.compile_kernel(_outer_template(""), f"{constant}", None, {"INNER": inner})


if __name__ == "__main__":
    print([kernel(int(constant))(7) for constant in sys.argv[1:]])
