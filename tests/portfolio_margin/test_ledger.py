"""A ledger beside plain dictionaries, in buffers that are always full: changes, moves, branches, no long pause."""

from __future__ import annotations

import numpy as np
import pytest

from portfolio_margin import Book, ledger
from portfolio_margin.ledger import Ledger, Positions

WIDTH = 3
Plain = dict[int, tuple[list[int], list[float], list[float]]]


def started(accounts: int, random: np.random.Generator) -> tuple[Ledger, Plain]:
    """A ledger and its dictionary of positions and figures."""
    counts = random.integers(0, 6, accounts)
    rows = np.repeat(np.arange(accounts), counts)
    instrument = np.concatenate([np.sort(random.choice(50, n, replace=False)) for n in counts])
    quantity = random.integers(1, 9, len(rows)).astype(float)
    book = Book.from_arrays([f"a{row:04d}" for row in rows], instrument, quantity,
                            accounts=[f"a{row:04d}" for row in range(accounts)])  # fmt: skip
    made = Ledger.from_book(book, WIDTH, np.arange(50))
    plain = {row: (instrument[rows == row].tolist(), quantity[rows == row].tolist(), [0.0] * WIDTH)
             for row in range(accounts)}  # fmt: skip
    return made, plain


def check(made: Ledger, plain: Plain) -> None:
    rows = made.all_rows()
    pointer, instrument, quantity = made.positions(rows)
    assert len(made) == len(plain) and made.held == pointer[-1] == sum(len(held[0]) for held in plain.values())
    assert instrument.tolist() == [row for account in range(len(plain)) for row in plain[account][0]]
    assert quantity.tolist() == [amount for account in range(len(plain)) for amount in plain[account][1]]
    assert made.figures(rows).tolist() == [plain[account][2] for account in range(len(plain))]


def changed(made: Ledger, plain: Plain, random: np.random.Generator) -> tuple[Ledger, Plain]:
    """After a random change: of one account or several, of positions, figures or both, or accounts opened."""
    plain, kind = dict(plain), int(random.integers(0, 6))
    if kind == 5:
        more = int(random.integers(1, 4))
        made = made.opened([f"n{len(plain) + n}" for n in range(more)])
        return made, plain | {len(plain) + n: ([], [], [0.0] * WIDTH) for n in range(more)}
    count = 1 if kind < 2 else int(random.integers(1, 9))
    rows = np.sort(random.choice(len(plain), count, replace=False))
    held = [(np.sort(random.choice(50, n, replace=False)).tolist(), random.integers(1, 9, n).astype(float).tolist())
            for n in random.integers(0, 6, count)]  # fmt: skip
    figures = random.integers(0, 99, (count, WIDTH)).astype(float)
    pointer = np.append(0, np.cumsum([len(one[0]) for one in held]))
    columns = [np.array([x for one in held for x in one[n]], dtype=kind) for n, kind in ((0, np.int64), (1, float))]
    if kind < 2:
        made = made.with_account(int(rows[0]), columns[0].astype(np.int32), columns[1], figures[0])
    else:
        made = made.changed(rows, None if kind == 3 else Positions(pointer, *columns), None if kind == 4 else figures)
    for place, row in enumerate(rows.tolist()):
        before = plain[row]
        own = before[:2] if kind == 3 else held[place]
        plain[row] = (*own, before[2] if kind == 4 else figures[place].tolist())
    return made, plain


@pytest.mark.parametrize("seed", range(4))
def test_any_changes_leave_what_a_dictionary_holds(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With moves all the time, and ledgers that go on from one before, which share its buffers."""
    monkeypatch.setattr(ledger, "SPARE_ROWS", 40)
    monkeypatch.setattr(ledger, "MOVED_AT_ONCE", 16)
    random = np.random.default_rng(seed)
    made, plain = started(200, random)
    kept, buffers, begun = [], {id(made.buffers)}, 0
    for number in range(900):
        if number % 150 == 149:
            kept.append((made, plain))
            made, plain = kept[int(random.integers(0, len(kept)))]
        before = made.moving
        made, plain = changed(made, plain, random)
        begun += before is None and made.moving is not None
        buffers.add(id(made.buffers))
        if number % 50 == 0:
            check(made, plain)
    for one in (*kept, (made, plain)):
        check(*one)
    assert begun > 2 and len(buffers) > 2


def test_no_change_of_one_account_moves_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is full first: some moves from one end to the other, never all accounts at once."""
    monkeypatch.setattr(ledger, "SPARE_ROWS", 100)
    monkeypatch.setattr(Ledger, "_renewed", lambda *_: pytest.fail("all accounts were moved at once"))
    random = np.random.default_rng(5)
    made, plain = started(2_000, random)
    follow, most, moves = Ledger._followed_by, [0], [made.buffers]

    def followed(self: Ledger, other: Ledger, last: int) -> Ledger | None:
        most[0] = max(most[0], min(last, other.count) - self.count)
        return follow(self, other, last)

    monkeypatch.setattr(Ledger, "_followed_by", followed)
    for _ in range(9_000):
        row, count = int(random.integers(0, 2_000)), int(random.integers(0, 6))
        instrument = np.sort(random.choice(50, count, replace=False)).astype(np.int32)
        made = made.with_account(row, instrument, np.ones(count), np.full(WIDTH, 1.0))
        plain[row] = (instrument.tolist(), [1.0] * count, [1.0] * WIDTH)
        if made.buffers is not moves[-1]:
            moves.append(made.buffers)
    check(made, plain)
    assert len(moves) > 3 and most[0] <= ledger.MOVED_AT_ONCE + ledger.PAGE
