"""Log: what has happened to a section of accounts since the start, from which whoever can read it makes it again.

Marks of the market, fills and payments, each small beside the positions: so quantities stay where a section is
computed. Every state between two entries has a name that follows from all entries before it, so that a process which
has kept a state knows from where to go on, and one that has kept none goes from the start.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import NamedTuple

import numpy as np

from portfolio_margin.stress.holdings import Holdings
from pricing.arrays import BoolArray, FloatArray, IntArray
from scenarios.risk_arrays import RiskArrays

START = "start"


class Prices(NamedTuple):
    """(N,) value and smallest quantity of each contract, as far as a mark has them; NaN and 1 of the others."""

    value: FloatArray
    quantity_step: FloatArray


class Mark(NamedTuple):
    """Gains are paid, then what has expired is settled and held no more.

    paying, gains   (M,) -> N futures and perpetuals, and the settlement currency that each pays a contract
    gone            (K,) -> N contracts that have expired
    priced, value, step   (L,) -> N those and all assets where there are any, their values and smallest quantities
    """

    paying: IntArray
    gains: FloatArray
    gone: IntArray
    priced: IntArray
    value: FloatArray
    step: FloatArray

    def of(self, held: Holdings, size: int) -> Holdings:
        """Holdings after it; size: number of contracts N."""
        gains, gone = np.zeros(size), np.zeros(size, dtype=np.bool_)
        gains[self.paying], gone[self.gone] = self.gains, True
        prices = Prices(np.full(size, np.nan), np.ones(size))
        prices.value[self.priced], prices.quantity_step[self.priced] = self.value, self.step
        return held.paid(gains).without(gone, prices)


class Fill(NamedTuple):
    """place (M,) -> P positions that have changed, and the quantity (M,) of each from then on."""

    place: IntArray
    quantity: FloatArray

    def write(self, held: Holdings, quantity: FloatArray) -> None:
        """Into quantities (P,)."""
        quantity[self.place] = self.quantity


class Payment(NamedTuple):
    """account (M,) -> A, each once, and the margin currency (M,) that each is paid; below 0: pays."""

    account: IntArray
    amount: FloatArray

    def write(self, held: Holdings, quantity: FloatArray) -> None:
        """Into quantities (P,)."""
        quantity[held.cash[self.account]] += self.amount


Entry = Mark | Fill | Payment


class Log(NamedTuple):
    """Entries in order, and the names of the states before, between and after them.

    A log that begins at START is whole; any other goes on from a state that its reader has to know.
    """

    entries: tuple[Entry, ...] = ()
    names: tuple[str, ...] = (START,)

    def then(self, entry: Entry) -> Log:
        """With one entry more."""
        name = blake2b(f"{self.names[-1]} {type(entry).__name__}".encode(), digest_size=16)
        for column in entry:
            name.update(len(column).to_bytes(8, "little"))
            name.update(np.ascontiguousarray(column).tobytes())
        return Log((*self.entries, entry), (*self.names, name.hexdigest()))

    def since(self, count: int) -> Log:
        """Without its first entries."""
        return Log(self.entries[count:], self.names[count:])


class Kept:
    """What a process keeps of a section: holdings at the start, the digest of their rows, and the last state asked for.

    Only a memory: what `after` says of a log that is whole does not depend on it.
    """

    def __init__(self, start: Holdings, digest: str = "") -> None:
        self.start, self.digest = start, digest
        self.last = START, start

    def after(self, log: Log, size: int) -> Holdings | None:
        """Holdings at the end of a log; None where it goes on from a state that was not kept.

        size  number of contracts N
        """
        name, held = self.last
        if name not in log.names:
            if log.names[0] != START:
                return None
            name, held = START, self.start
        held = replayed(held, log.entries[log.names.index(name) :], size)
        self.last = log.names[-1], held
        return held


def replayed(held: Holdings, entries: Sequence[Entry], size: int) -> Holdings:
    """Holdings after entries, in their order; size: number of contracts N."""
    quantity: FloatArray | None = None
    for entry in entries:
        if isinstance(entry, Mark):
            held, quantity = entry.of(held if quantity is None else held.holding(quantity), size), None
            continue
        if quantity is None:
            quantity = held.quantity.copy()
        entry.write(held, quantity)
    return held if quantity is None else held.holding(quantity)


def mark_of(gains: FloatArray, gone: BoolArray, arrays: RiskArrays) -> Mark:
    """The mark at new prices.

    gains (N,) settlement currency that futures and perpetuals pay a contract; gone (N,) contracts that have expired
    """
    paying, out = np.flatnonzero(gains), np.flatnonzero(gone)
    priced = np.flatnonzero(gone | arrays.is_collateral) if len(out) else out
    return Mark(paying, gains[paying], out, priced, arrays.value[priced], arrays.quantity_step[priced])


def fill_of(before: Holdings, after: Holdings) -> Fill:
    """What trades have changed."""
    place = np.flatnonzero(after.quantity != before.quantity)
    return Fill(place, after.quantity[place])


def payment_of(amounts: FloatArray) -> Payment:
    """Of amounts (A,), those that are not 0."""
    account = np.flatnonzero(amounts)
    return Payment(account, np.asarray(amounts[account], dtype=np.float64))
