"""While numba compiles, the collector of cycles rests; afterwards it is as it was."""

from __future__ import annotations

import gc
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numba
import pytest
from numba.extending import intrinsic

from pricing.xp import numba as XP


def compiled(seen: list[bool]) -> Any:
    """A function that tells, as it is compiled, whether the collector works."""

    @intrinsic
    def look(typing_context: Any, number: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            seen.append(gc.isenabled())
            return arguments[0]

        return number(number), codegen

    @numba.njit
    def function(number: float) -> Any:
        return look(number)

    return function


@pytest.mark.parametrize("works", [True, False])
def test_the_collector_is_as_it_was(works: bool) -> None:
    assert XP.COMPILED is not None and gc.isenabled()
    seen: list[bool] = []
    (gc.enable if works else gc.disable)()
    try:
        assert compiled(seen)(2.0) == 2.0
        assert gc.isenabled() is works
    finally:
        gc.enable()
    assert seen and not any(seen)


def test_threads_that_compile_at_once_leave_it_on() -> None:
    seen: list[bool] = []
    functions = [compiled(seen) for _ in range(6)]
    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(lambda function: function(1.0), functions)) == [1.0] * 6
    assert gc.isenabled() and len(seen) >= 6 and not any(seen)


def test_an_error_of_the_compiler_leaves_it_on() -> None:
    @numba.njit
    def wrong(number: float) -> Any:
        return number.nothing  # type: ignore[attr-defined]

    with pytest.raises(numba.core.errors.TypingError):
        wrong(1.0)
    assert gc.isenabled()
