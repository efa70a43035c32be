"""A chain of a listed stock given on the command line, with what its table does not say given beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any

import click
import numpy as np

from portfolio_margin.io.deribit import moment_of
from portfolio_margin.io.dividends import NONE, read_dividends
from portfolio_margin.io.equity_chain import EquityChain, read_equity_chain, underlying_of
from portfolio_margin.io.equity_market import TOLD_GAP, TOLD_GAP_RATE, equity_market, forward_gaps
from portfolio_margin.io.tables import Table
from pricing.errors import ConfigError
from pricing.instruments import Exercise, Instruments
from pricing.market import Market

EXERCISES = {"american": Exercise.AMERICAN, "european": Exercise.EUROPEAN}
USUAL_EXERCISE = "american"

STOCK_OPTIONS: tuple[Callable[..., Any], ...] = (
    click.option("--stock", metavar="NAME", help="Chain of a stock: its name, where no OSI symbols say it."),
    click.option("--spot", type=float, metavar="PRICE", help="Chain of a stock: its price, USD."),
    click.option("--rate", type=float, metavar="RATE", help="Chain of a stock: per year, 0.042 for 4.2 %."),
    click.option(
        "--exercise",
        type=click.Choice(tuple(EXERCISES)),
        default=USUAL_EXERCISE,
        show_default=True,
        help="Chain of a stock: exercise of its options.",
    ),
    click.option(
        "--dividends", metavar="FILE", help="Chain of a stock: known dividends, a table of ex_date and amount."
    ),
)


@dataclass(frozen=True)
class StockTerms:
    """What the table of a chain of a stock does not say; the defaults are those of the options."""

    stock: str | None = None
    spot: float | None = None
    rate: float | None = None
    exercise: str = USUAL_EXERCISE
    dividends: str | None = None

    @classmethod
    def take(cls, values: dict[str, Any]) -> StockTerms:
        """Take the options out of the keyword arguments of a command."""
        return cls(**{field.name: values.pop(field.name) for field in fields(cls)})

    def given(self) -> list[str]:
        """The options that were given a value of their own, as they are written."""
        return [f"--{field.name}" for field in fields(self) if getattr(self, field.name) != field.default]


def read_stock_chain(
    table: Table, terms: StockTerms, snapshot: str | None, fx: Mapping[str, float]
) -> tuple[EquityChain, Instruments, Market]:
    """The chain, every strike of it listed, and its market without slices.

    ConfigError naming everything that is not given.
    """
    stock = terms.stock or underlying_of(table)
    wanted = {
        "--snapshot TIME (when it was quoted, UTC unless a zone is given)": snapshot,
        "--spot PRICE (of the stock, USD)": terms.spot,
        "--rate RATE (a year, 0.042 for 4.2 %)": terms.rate,
        "--stock NAME": stock,
    }
    missing = [text for text, value in wanted.items() if value is None]
    if snapshot is None or terms.spot is None or terms.rate is None or stock is None:
        raise ConfigError(f"{table.file} is a chain of a listed stock, which needs {', '.join(missing)}")
    if not 0.0 < terms.spot < float("inf"):
        raise ConfigError(f"--spot {terms.spot:g}: must be above 0")
    moment = datetime.fromtimestamp(moment_of(snapshot, table.file) / 1000, tz=UTC)
    chain = read_equity_chain(table, valuation_time=moment, rate=terms.rate)
    instruments, market = equity_market(
        chain,
        stock,
        spot=terms.spot,
        valuation_time=moment,
        rate=terms.rate,
        exercise=EXERCISES[terms.exercise],
        every_strike=True,
        fx=fx,
        dividends=NONE if terms.dividends is None else read_dividends(terms.dividends),
    )
    return chain, instruments, market


def notes_of(chain: EquityChain, instruments: Instruments, market: Market, terms: StockTerms) -> tuple[str, ...]:
    """What was assumed of a chain of a stock, for people."""
    option = instruments.is_option
    unquoted = int(np.sum(option & np.isnan(market.mark_vol)))
    vols = "vols are those of mid prices out of the money, a call and a put of one strike alike"
    notes = [
        f"{terms.exercise} options on 100 shares each, the stock at {terms.spot:g}, rate {terms.rate:g}, forwards "
        "from the chain: what they lack of the rate counts as a yield",
        f"{vols}; {unquoted} of {int(option.sum())} contracts have no two-sided quote and take that of their slice",
    ]
    ahead = (NONE if terms.dividends is None else read_dividends(terms.dividends)).after(market.valuation_time)
    gap, paid = forward_gaps(chain, float(market.spot[0]), float(terms.rate or 0.0), ahead)
    far = np.flatnonzero(np.abs(gap) > TOLD_GAP + TOLD_GAP_RATE * chain.expiries.tau + paid)
    if len(far):
        worst = far[np.argmax(np.abs(gap[far]))]
        notes.append(
            f"{len(far)} of {len(gap)} forwards lie further from spot and rate than usual dividends explain, by up to "
            f"{np.expm1(gap[worst]):+.1%} ({market.expiry_name[worst]}): check the spot and its moment"
        )
    last = int(market.expiry_time[instruments.expiry_idx[option]].max(initial=0))
    before = int(np.sum(market.dividend_time < last))
    if before and terms.exercise == USUAL_EXERCISE:
        notes.append(
            f"{before} known dividends before the last expiry say when early exercise pays; what they are worth "
            "is what spot, forward and rate say"
        )
    return tuple(notes)
