"""What the tests of a cluster have its workers do; a module of its own, as a worker imports it before it starts."""

from __future__ import annotations

import os
import signal

from pricing.errors import DataError, Problem


def refuses(shared: dict[int, list[Problem]], part: int) -> int:
    if part in shared:
        raise DataError(shared[part])
    return part


def kills(shared: int, part: int) -> int:
    if part == shared:
        os.kill(os.getpid(), signal.SIGKILL)
    return part


def divides(shared: int, part: int) -> float:
    return shared / part
