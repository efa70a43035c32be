"""The sample exchange that ships with the package: one real moment of the BTC and ETH option market."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from portfolio_margin.book import Book
from pricing.instruments import Instruments
from pricing.market import Market

MARKET_FILE = "market.json.gz"
POSITIONS_FILE = "positions.csv"
COLLATERAL_FILE = "collateral.csv"


@dataclass(frozen=True)
class Sample:
    """Instruments, market and book of the sample exchange."""

    instruments: Instruments
    market: Market
    book: Book


def sample_path(name: str) -> Path:
    """Where a file of the sample lies."""
    return Path(str(files(__package__).joinpath(name)))


def load_sample() -> Sample:
    """The sample exchange: BTC and ETH options on 2026-02-26, some fifty accounts that hold them."""
    from portfolio_margin.io.market_json import read_market
    from portfolio_margin.io.positions import read_book

    instruments, market = read_market(sample_path(MARKET_FILE))
    book = read_book(sample_path(POSITIONS_FILE), sample_path(COLLATERAL_FILE), instruments)
    return Sample(instruments, market, book)
