"""The log of a section: whoever goes on from a state, or from the start, comes to the same holdings, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portfolio_margin.stress.holdings import Holdings, prepare_holdings
from portfolio_margin.stress.log import START, Entry, Fill, Kept, Log, Payment, fill_of, mark_of, payment_of
from tests.portfolio_margin.books import ARRAYS, BOOK

HELD = prepare_holdings(BOOK, ARRAYS)
SIZE = len(ARRAYS)
NONE = np.zeros(SIZE, dtype=np.bool_)


def entry(seed: int) -> Entry:
    """A mark, some of them with contracts that have expired, a fill or a payment."""
    random = np.random.default_rng(seed)
    if seed % 3 == 0:
        gains = np.where(random.random(SIZE) < 0.5, random.normal(size=SIZE), 0.0)
        return mark_of(gains, ~ARRAYS.is_collateral & (random.random(SIZE) < 0.2 * (seed % 2)), ARRAYS)
    if seed % 3 == 1:
        place = np.sort(random.choice(len(HELD.quantity), 5, replace=False))
        return Fill(place, random.normal(size=5).round(1))
    return payment_of(np.where(random.random(len(HELD)) < 0.1, random.normal(size=len(HELD)).round(2), 0.0))


def plainly(held: Holdings, entries: list[Entry]) -> list[float]:
    """Quantities after entries, position by position."""
    quantity = held.quantity.tolist()
    for one in entries:
        if isinstance(one, Fill):
            for place, new in zip(one.place.tolist(), one.quantity.tolist(), strict=True):
                quantity[place] = new
        elif isinstance(one, Payment):
            for account, amount in zip(one.account.tolist(), one.amount.tolist(), strict=True):
                quantity[held.cash[account]] += amount
        else:
            gains = dict(zip(one.paying.tolist(), one.gains.tolist(), strict=True))
            paid = {int(p): quantity[p] * gains.get(int(held.rows[p]), 0.0) for p in held.settled}
            for place, amount in paid.items():
                quantity[held.payer[place]] += amount
            for place in range(len(quantity)):
                row = int(held.rows[place])
                if row in one.gone.tolist() and quantity[place] != 0.0:
                    coin = held.payer[place]
                    value = quantity[place] * ARRAYS.value[row]
                    quantity[coin] += value / ARRAYS.value[held.rows[coin]]
                    quantity[place] = 0.0
    return quantity


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 10_000), min_size=1, max_size=6), st.data())
def test_replayed_from_anywhere(seeds: list[int], data: st.DataObject) -> None:
    entries, log = [entry(seed) for seed in seeds], Log()
    for one in entries:
        log = log.then(one)
    once = Kept(HELD).after(log, SIZE)
    assert once is not None
    np.testing.assert_allclose(once.quantity, plainly(HELD, entries), rtol=0.0, atol=1e-9)
    first = data.draw(st.integers(0, len(seeds)))
    kept = Kept(HELD)
    assert kept.after(Log(log.entries[:first], log.names[: first + 1]), SIZE) is not None
    again = kept.after(log.since(first), SIZE)
    assert again is not None and again.quantity.tobytes() == once.quantity.tobytes()
    # Whoever is behind can go on from the whole log alone, also one that has gone another way.
    assert Kept(HELD).after(log.since(first), SIZE) is None or first == 0
    lost = Kept(HELD)
    lost.after(Log().then(payment_of(np.full(len(HELD), 7.0))), SIZE)
    assert lost.after(log.since(first), SIZE) is None or first == 0
    back = lost.after(log, SIZE)
    assert back is not None and back.quantity.tobytes() == once.quantity.tobytes()


def test_states_are_named_by_all_that_was_before() -> None:
    one, other = entry(1), entry(4)
    assert Log().then(one).names == Log().then(entry(1)).names
    names = {log.names[-1] for log in (Log(), Log().then(one), Log().then(other), Log().then(one).then(other))}
    names |= {Log().then(other).then(one).names[-1]}
    assert len(names) == 5 and START in names
    place, amount = np.array([1, 2]), np.array([1.0, 2.0])
    assert Log().then(Fill(place, amount)).names != Log().then(Payment(place, amount)).names


def test_a_fill_says_what_has_changed() -> None:
    """Trades of three positions at the mark: their places, and the cash that they pay in."""
    place = np.flatnonzero(~HELD.asset & (HELD.quantity != 0.0))[[0, 5, 9]]
    after = HELD.traded(place, -HELD.quantity[place], ARRAYS, np.zeros(len(HELD)))
    fill = fill_of(HELD, after)
    assert set(place.tolist()) <= set(fill.place.tolist()) <= {*place.tolist(), *HELD.payer[place].tolist()}
    done = Kept(HELD).after(Log().then(fill), SIZE)
    assert done is not None and np.array_equal(done.quantity, after.quantity)
    with pytest.raises(ValueError, match="read-only"):
        done.quantity[0] = 1.0
