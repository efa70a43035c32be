"""Plain-Python twin of the sorting of orders by account."""

from __future__ import annotations


def in_turn(account: list[int], accounts: int, bits: int) -> list[int]:
    """Orders by the first `bits` of their account, those of the same ones as they came."""
    last = max(accounts - 1, 0)
    shift = max(last.bit_length() - bits, 0)
    return sorted(range(len(account)), key=lambda order: min(max(account[order], 0), last) >> shift)
