"""Cases for the tests of the edge: accounts of the small exchange, and a market of linear contracts alone."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from portfolio_margin import Book, load_sample
from portfolio_margin.edge.levels import Case, open_case
from portfolio_margin.models import worst_case
from pricing.arrays import BoolArray
from pricing.instruments import Instruments, Kind, Payoff
from pricing.market import UNDATED, Market
from scenarios.families import grid
from scenarios.risk_arrays import RiskArrays
from scenarios.shocks import ScenarioSet, make
from tests.examples import DAY_MS, NOW_MS
from tests.portfolio_margin import books

JOINT = worst_case.Model(worst_case.Params(netting="joint", short_option_minimum=0.0, haircut=0.0))
PRICE, SCAN = 1_000.0, 0.2


class WithoutDebts(worst_case.Model):
    """A model that has no rule for balances owed."""

    def debts_covered(self, arrays: RiskArrays) -> BoolArray:
        return np.zeros(len(arrays), dtype=np.bool_)


NO_DEBTS = WithoutDebts(JOINT.params)


def case_of(held: books.Held, model: Any = JOINT, underlying: str | None = "BTC", sticky: str = "moneyness") -> Case:
    """The case of an account of the small exchange."""
    book = books.book_of({"a": held})
    return open_case(book, books.INSTRUMENTS, books.MARKET, model, books.GRID, "a", underlying, sticky=sticky)


def random_case(number: int, model: Any = JOINT, sticky: str = "moneyness") -> Case:
    """The case of one of the random accounts."""
    name = str(books.BOOK.account_id[number])
    return open_case(books.BOOK, books.INSTRUMENTS, books.MARKET, model, books.GRID, name, "BTC", sticky=sticky)


@cache
def linear_market(vol: float = 0.6) -> tuple[Instruments, Market, ScenarioSet]:
    """USD, a perpetual and an option on U paid in USD, at a flat vol; the scenarios are +-20 % of the price."""
    years = 30 * DAY_MS / (365 * DAY_MS)
    instruments = Instruments(
        instrument_id=np.array(["USD", "U-PERPETUAL", "U-1000-C", "U-1000-P"]),
        kind=np.array([Kind.CASH, Kind.PERPETUAL, Kind.OPTION, Kind.OPTION]),
        payoff=np.full(4, Payoff.LINEAR),
        underlying_idx=np.array([-1, 0, 0, 0]),
        expiry_idx=np.array([-1, 1, 0, 0]),
        strike=np.array([np.nan, np.nan, PRICE, PRICE]),
        sign=np.array([1.0, 1.0, 1.0, -1.0]),
        exercise=np.zeros(4, np.int64),
        multiplier=np.ones(4),
        quantity_step=np.array([1e-8, 1.0, 1.0, 1.0]),
        currency_idx=np.zeros(4, np.int64),
    )
    market = Market(
        valuation_time=NOW_MS,
        underlying_id=np.array(["U"]),
        spot=np.array([PRICE]),
        expiry_underlying=np.array([0, 0]),
        expiry_time=np.array([NOW_MS + 30 * DAY_MS, UNDATED]),
        forward=np.array([PRICE, PRICE]),
        discount=np.ones(2),
        svi=np.array([[vol * vol * years, 0.0, 0.0, 0.0, 0.1], [np.nan] * 5]),
        mark_vol=np.full(4, np.nan),
        currency_id=np.array(["USD"]),
        fx=np.ones(1),
        currency_underlying=np.array([-1]),
    )
    return instruments, market, make(["down", "still", "up"], np.array([-SCAN, 0.0, SCAN]))


def linear_case(cash: float, quantities: dict[str, float], factor: float = 0.5, vol: float = 0.6) -> Case:
    """An account of the linear market; the maintenance margin of a perpetual is its price x 0.2 x factor."""
    instruments, market, scenario_set = linear_market(vol)
    row = instruments.index_of()
    held = {"USD": cash, **quantities}
    book = Book.from_arrays(["a"] * len(held), [row[name] for name in held], list(held.values()))
    params = worst_case.Params(maintenance_factor=factor, short_option_minimum=0.0, netting="joint")
    return open_case(book, instruments, market, worst_case.Model(params), scenario_set, "a")


@cache
def short_of_vol(cash: float = 225_000.0) -> Case:
    """A calendar of the sample exchange, short vega and long gamma: it stands 4 % of vols, or more with more cash, and
    no price is near."""
    sample = load_sample()
    row = sample.instruments.index_of()
    far, near = "BTC-25DEC26-68000", "BTC-24APR26-68000"
    held = {f"{far}-C": -10.0, f"{far}-P": -10.0, f"{near}-C": 8.0, f"{near}-P": 8.0, "BTC-PERPETUAL": 30_000.0}
    held["USD"] = cash
    rows, amounts = [row[name] for name in held], list(held.values())
    book = Book.from_arrays(["a"] * len(held), rows, amounts, sample.instruments.expiry_idx)
    moves = grid.scenarios(grid.Params(), sample.market)
    return open_case(book, sample.instruments, sample.market, worst_case.Model(), moves, "a")
