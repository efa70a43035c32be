"""In parts: a function of every partition of the accounts, results in order; here in this process, one after another.

What is computed account by account is a function of what all partitions share and of one partition. Whoever calls it
through `Each` does not know where it runs, so that one machine and a cluster have one implementation:
`cluster.Workers`, or `residents.Residents` for parts that are asked many times. What couples accounts is computed by
the caller from the results, which are in order of account.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

Part = TypeVar("Part")
Result = TypeVar("Result")


class Each(Protocol):
    """compute(shared, part) of every part, in their order.

    compute  a function of a module, whose result depends on its arguments alone; it may run more than once for a part
    shared   what all parts take: items that many calls share are sent to other machines once
    parts    small, or columns of their accounts; what they hold beside comes from files and is kept where it was read
    homes    a number for each part, or None: parts of one number go to one machine where they can, which then has kept
             what it has read for them. Results do not depend on it
    """

    def __call__(
        self,
        compute: Callable[[tuple[Any, ...], Part], Result],
        shared: tuple[Any, ...],
        parts: Sequence[Part],
        homes: Sequence[int] | None = None,
    ) -> list[Result]:
        """The results in order of the parts."""


def in_this_process(
    compute: Callable[[tuple[Any, ...], Part], Result],
    shared: tuple[Any, ...],
    parts: Sequence[Part],
    homes: Sequence[int] | None = None,
) -> list[Result]:
    """`Each` on one machine, which needs no `homes`."""
    return [compute(shared, part) for part in parts]
