"""The trades of a round over the whole venue: put together from its partitions, counted, and what going with the crowd
costs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from portfolio_margin.statement import up
from portfolio_margin.stress.balances import TICK, Losses
from portfolio_margin.stress.fates import Round
from portfolio_margin.stress.measured import Measured
from portfolio_margin.stress.sections import Section, Traded, Trades, joined
from pricing.arrays import BoolArray, FloatArray, IntArray

FLAGS = ("touched", "converted", "over", "beside")


@dataclass
class Tally:
    """What happens within a step."""

    touched: BoolArray
    sold: FloatArray
    bankrupt: int = 0
    costs: int = 0
    penalties: int = 0
    capacity: float = 0.0
    losses: list[Losses] = field(default_factory=list)
    rounds: list[Round] = field(default_factory=list)
    before: Measured | None = None

    def sum(self, name: str) -> float:
        """Margin currency of a kind of loss."""
        return TICK * sum(getattr(loss, name) for loss in self.losses)


class Done(NamedTuple):
    """A round's trades over the whole venue, before their costs.

    sections   what is held afterwards
    trades     contracts of all accounts, then assets
    exchanging accounts of the latter
    below      (A,) accounts that were below maintenance margin
    touched, converted, over, beside   (A,) as in `Traded`
    """

    sections: tuple[Section, ...]
    trades: Trades
    exchanging: IntArray
    below: BoolArray
    touched: BoolArray
    converted: BoolArray
    over: BoolArray
    beside: BoolArray


def together(sections: Sequence[Section], below: BoolArray, found: Sequence[tuple[int, int, Traded]]) -> Done:
    """The trades of partitions as those of the venue.

    sections  what is held before, by partition
    below     (A,) accounts below maintenance margin
    found     number, first account and trades of each partition that has any
    """
    after, flags = list(sections), {name: np.zeros(len(below), dtype=np.bool_) for name in FLAGS}
    contracts, assets = [], []
    for k, first, part in found:
        after[k] = after[k].then(part.fill)
        for name, column in flags.items():
            column[first : first + len(part.beside)] = getattr(part, name)
        contracts.append(part.contracts._replace(account=part.contracts.account + first))
        assets.append(part.assets._replace(account=part.assets.account + first))
    # First all contracts, then all assets that go with them: the order in which amounts are added.
    exchanging = np.concatenate([mine.account for mine in assets])
    return Done(tuple(after), joined([*contracts, *assets]), exchanging, below, **flags)


def by_account(account: IntArray, amounts: FloatArray, size: int) -> FloatArray:
    """(A,) sums of the amounts (M,) of accounts, added in their order."""
    return np.bincount(account, amounts, minlength=size).astype(np.float64)


def in_ticks(amounts: FloatArray) -> IntArray:
    """Whole ticks, rounded up: what is charged."""
    return np.asarray(np.rint(up(amounts) / TICK)).astype(np.int64)


def slippage_of(
    owner: IntArray, sold: FloatArray, by_name: FloatArray, push: FloatArray, exponent: float
) -> FloatArray:
    """What it costs, trade by trade, to go with the crowd while the price gives way: the average of the way, which is
    1 / (1 + exponent) of it. Who trades against the crowd pays nothing for it."""
    crowd = np.append(np.sign(by_name), 0.0)[owner]
    rate = np.append(np.abs(push), 0.0)[owner] / (1.0 + exponent)
    return np.asarray(np.where(sold * crowd > 0.0, np.abs(sold) * rate, 0.0))
