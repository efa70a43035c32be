"""optimise_book: the smallest margin with Greeks in bands, against brute force and Greeks computed anew."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from portfolio_margin import (
    Book,
    Costs,
    GreekProfile,
    Limits,
    greek_profile,
    hedge_enumeration,
    load_sample,
    margin,
    optimise_book,
)
from portfolio_margin.greeks import contract_greeks, position_greeks
from portfolio_margin.hedge_enumeration import MOST_LISTED
from portfolio_margin.hedge_terms import trade_terms
from portfolio_margin.models import worst_case
from portfolio_margin.optimise import account_greeks
from portfolio_margin.sensitivities import with_orders
from pricing import ConfigError
from pricing.errors import InfeasibleError
from tests.portfolio_margin import books
from tests.portfolio_margin.hedge_examples import sample_under

MODEL = worst_case.Model()
WORLD = (books.BOOK, books.ARRAYS, books.MARKET, MODEL)
PROFILE = greek_profile(books.INSTRUMENTS, books.MARKET, {})
NAMES = [books.CONTRACTS[k] for k in (0, 5, len(books.CONTRACTS) - 1)]


def own(row: int) -> Book:
    return books.BOOK.select(str(books.BOOK.account_id[row]))


def greeks_anew(book: Book) -> dict[str, float]:
    """By the tables of Greeks, which know nothing of profiles."""
    contract = contract_greeks(books.INSTRUMENTS, books.MARKET)
    found = position_greeks(book, books.INSTRUMENTS, books.MARKET, contract)
    return {name: float(values.sum()) for name, values in found.items()}


def bands_about(now: dict[str, float], width: float) -> dict[str, tuple[float, float]]:
    return {
        name: (now[name] - width * abs(now[name]), now[name] + width * abs(now[name])) for name in ("vega", "theta")
    }


def test_greeks_of_a_profile_are_those_of_the_tables() -> None:
    for row in (0, 7, 33):
        anew = greeks_anew(own(row))
        for name, value in account_greeks(own(row), PROFILE).items():
            assert value == pytest.approx(anew[name], rel=1e-9, abs=1e-6)


def test_one_future_more_to_choose_from_makes_it_no_worse() -> None:
    """A condor of the sample under SPAN, which is not convex: with what it holds, a future, a perpetual, or both."""
    book, arrays, market, model = sample_under("span")
    own_rows = book.select("iron-condor-07").instrument_idx
    held = [str(name) for name in arrays.instrument_id[own_rows[~arrays.is_collateral[own_rows]]]]
    profile = greek_profile(load_sample().instruments, market, {"delta_cash": (-13_000.0, -10_700.0)})

    def reached(*more: str) -> float:
        given = book, arrays, market, model, "iron-condor-07", profile
        found = optimise_book(*given, instruments=[*held, *more])
        return found.after("initial_margin") + found.cost

    one, other = reached("BTC-27MAR26"), reached("BTC-PERPETUAL")
    assert reached("BTC-27MAR26", "BTC-PERPETUAL") <= min(one, other, reached()) + 0.01


@pytest.mark.parametrize("row", [3, 20])
@pytest.mark.parametrize("price", [0.02, 1.0])
@pytest.mark.parametrize("most", [0, MOST_LISTED])
def test_the_best_of_all_whole_lots(row: int, price: float, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """By programs, and by a list of all there are."""
    monkeypatch.setattr(hedge_enumeration, "MOST_LISTED", most)
    account = str(books.BOOK.account_id[row])
    bands = bands_about(greeks_anew(own(row)), 0.05)
    rows = np.array([books.ROW[name] for name in NAMES])
    terms = trade_terms(books.ARRAYS, rows, Costs(), Limits(), 1e12)
    step = books.ARRAYS.quantity_step[rows]
    best = np.inf
    for lots in itertools.product(range(-2, 3), repeat=3):
        orders = [(n, float(q)) for n, q in zip(NAMES, np.round(np.array(lots) * step, 12), strict=True) if q]
        after = with_orders(own(row), books.ARRAYS, orders)
        greeks = greeks_anew(after)
        if all(low - 1e-6 <= greeks[name] <= high + 1e-6 for name, (low, high) in bands.items()):
            cost = sum(n * terms.buy_cost[k] if n > 0 else -n * terms.sell_cost[k] for k, n in enumerate(lots))
            best = min(best, cost + price * margin(after, *WORLD[1:]).initial_margin[0])
    limits = Limits(size={n: 2 * float(s) for n, s in zip(NAMES, step, strict=True)}, gap=0.0)
    found = optimise_book(
        *WORLD, account, GreekProfile(bands, PROFILE.by_contract),
        instruments=NAMES, limits=limits, objective=("initial_margin", price),
    )  # fmt: skip
    assert found.cost + price * found.margins.post["initial_margin"] == pytest.approx(best, abs=0.02)
    after = greeks_anew(with_orders(own(row), books.ARRAYS, found.orders))
    assert all(low - 1e-6 <= after[name] <= high + 1e-6 for name, (low, high) in bands.items())
    assert found.gap <= 1e-6


def test_margin_never_rises_and_wider_bands_never_cost_more() -> None:
    account = str(books.BOOK.account_id[11])
    now = greeks_anew(own(11))
    objectives = []
    for width in (0.0, 0.1, 1.0):
        profile = GreekProfile(bands_about(now, width), PROFILE.by_contract)
        found = optimise_book(*WORLD, account, profile, instruments=books.CONTRACTS[:8], limits=Limits(gap=1e-6))
        objectives.append(found.cost + found.margins.post["initial_margin"])
        assert objectives[-1] <= found.margins.pre["initial_margin"] + 0.02
    assert objectives[0] >= objectives[1] - 0.02
    assert objectives[1] >= objectives[2] - 0.02


def test_bands_that_cannot_be_reached_are_told() -> None:
    account = str(books.BOOK.account_id[3])
    profile = GreekProfile({"vega": (1e9, np.inf)}, PROFILE.by_contract)
    with pytest.raises(InfeasibleError, match="vega in"):
        optimise_book(*WORLD, account, profile, instruments=NAMES)


def test_bad_profiles_are_refused() -> None:
    with pytest.raises(ConfigError, match="did you mean vega"):
        GreekProfile({"vegaa": (0.0, 1.0)}, PROFILE.by_contract)
    with pytest.raises(ConfigError, match="low at most high"):
        GreekProfile({"vega": (1.0, 0.0)}, PROFILE.by_contract)
    with pytest.raises(ConfigError, match="objective measure"):
        optimise_book(*WORLD, str(books.BOOK.account_id[3]), PROFILE, objective=("available_funds", 1.0))
    with pytest.raises(ConfigError, match="price"):
        optimise_book(*WORLD, str(books.BOOK.account_id[3]), PROFILE, objective=("initial_margin", float("nan")))


def test_nothing_is_less_than_no_costs_where_margin_has_no_price() -> None:
    world = sample_under("deribit_spm")
    profile = greek_profile(load_sample().instruments, world[2], {})
    limits = Limits(time_limit=0.5)
    found = optimise_book(*world, "iron-condor-07", profile, limits=limits, objective=("initial_margin", 0.0))
    assert (found.trades, found.cost, found.lower_bound, found.gap) == ((), 0.0, 0.0, 0.0)
