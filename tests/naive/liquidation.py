"""Liquidation once more: one number at a time, in exact fractions, sharing nothing with what it checks."""

from __future__ import annotations

import math
from fractions import Fraction


def exact(number: float | int) -> Fraction:
    """The decimal that a number is written as."""
    return Fraction(repr(number))


def linear_price(top: float, elapsed_s: int, duration_s: float) -> Fraction:
    if elapsed_s >= duration_s:
        return Fraction(0)
    return exact(top) * (exact(duration_s) - elapsed_s) / exact(duration_s)


def exponential_price(top: float, elapsed_s: int, cut_per_second: float) -> Fraction:
    price = Fraction(top)
    for _ in range(elapsed_s):
        price *= Fraction(cut_per_second)
    return price


def stairstep_price(top: float, elapsed_s: int, cut_per_step: float, step_s: int) -> Fraction:
    return exponential_price(top, elapsed_s // step_s, cut_per_step)


def two_phase_share(elapsed_s: int, start: float, cutoff: float, fast_s: int, slow_s: int) -> Fraction:
    if elapsed_s < fast_s:
        return exact(start) - (exact(start) - exact(cutoff)) * elapsed_s / fast_s
    later = elapsed_s - fast_s
    if later >= slow_s:
        return Fraction(0)
    return exact(cutoff) - Fraction(math.floor(exact(cutoff) * later), slow_s)


def apportion(amount: int, weights: list[int]) -> list[int]:
    """Every tick of the remainder to the one whose exact share is furthest above what he has."""
    total = sum(weights)
    if not amount:
        return [0] * len(weights)
    exact_shares = [Fraction(amount * weight, total) for weight in weights]
    shares = [math.floor(share) for share in exact_shares]
    gaps = [share - given for share, given in zip(exact_shares, shares, strict=True)]
    for _ in range(amount - sum(shares)):
        row = max(range(len(gaps)), key=lambda i: (gaps[i], -i))
        shares[row] += 1
        gaps[row] = Fraction(-1)
    return shares


def queue_haircut(shortfall: int, profits: list[int], order: list[int]) -> list[int]:
    """Tick by tick would be the same; account by account is quicker."""
    taken = [0] * len(profits)
    for row in order:
        while shortfall and taken[row] < profits[row]:
            step = min(shortfall, profits[row] - taken[row])
            taken[row] += step
            shortfall -= step
    return taken


def next_state(
    state: int, called: int, now: int, status: int, figures: dict[str, float], exits: dict[str, float]
) -> tuple[int, int]:
    """State (0 normal, 1 call, 2 reduce only, 3 liquidation, 4 bankrupt) and time of the call, of one account."""
    balance = figures["balance"]
    reached = status
    if state == 4 and figures["equity"] <= 0 and balance < exits["liquidation"] * figures["maintenance"]:
        reached = max(reached, 4)
    if state >= 3 and balance < exits["liquidation"] * figures["maintenance"]:
        reached = max(reached, 3)
    if state >= 2 and balance < exits["reduce_only"] * figures["maintenance"]:
        reached = max(reached, 2)
    if state >= 1 and balance < exits["margin_call"] * figures["initial"]:
        reached = max(reached, 1)
    if reached == 0:
        return 0, -1
    since = now if called == -1 else called
    if reached == 1 and now - since >= exits["call_hours"] * 3_600_000:
        return 2, since
    return reached, since
