"""What an account of the sample is before it is funded, and how it is funded."""

from __future__ import annotations

from typing import NamedTuple

from portfolio_margin.sample.strategies import Legs

NO_COVER = 0.0
BANKRUPT_SHARE = -0.25


class Account(NamedTuple):
    """One account before it is funded.

    name   says what it holds
    legs   instrument -> contracts
    coins  coin -> amount held
    cover  margin balance wanted, as a multiple of initial margin; reached with USD, but never by owing any,
           except where it is below 0
    """

    name: str
    legs: Legs
    coins: dict[str, float]
    cover: float
