"""Planes of convex models against their margins anywhere, and hedges of a few lots next to kinks by enumeration."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from portfolio_margin import Book, hedge
from portfolio_margin.hedge import Costs, Limits, Target, open_desk, program_of
from portfolio_margin.hedge_planes import Reach, rounding, supported, supporting_plane
from portfolio_margin.hedge_search import Search
from portfolio_margin.hedge_terms import MEASURES, trade_terms
from portfolio_margin.models import worst_case
from portfolio_margin.trial_margins import FINE, trial_margins
from pricing.errors import InfeasibleError
from pricing.instruments import Kind
from tests.portfolio_margin.hedge_examples import measured, sample_under, tradable

PAIR = ("ETH-PERPETUAL", "BTC-PERPETUAL")
JOINT = worst_case.Model(worst_case.Params(netting="joint", haircut=0.3, short_option_minimum=0.02))


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("name", ["worst_case", "derive_pmrm", "joint"])
def test_planes_touch_the_requirement_and_are_never_above_it(name: str, measure: str) -> None:
    """At trades of whole lots, of parts of lots, and none, to within the rounding of sums."""
    book, arrays, market, model = sample_under("worst_case" if name == "joint" else name)
    model = JOINT if name == "joint" else model
    random, seen = np.random.default_rng(5), 0
    for account in book.account_id[::4]:
        names = tradable(arrays, model, book, str(account), every=200)
        if name != "derive_pmrm" and measure.endswith("margin"):
            # A premium paid in a coin of which nothing is held makes its balance turn: no margin is convex then.
            names = [n for n in names if arrays.kind[arrays.index_of()[n]] != Kind.OPTION]
        desk = open_desk(book, arrays, market, model, str(account), names, "numba")
        trials = desk.trials
        # Few enough lots for no balance to turn.
        most = np.maximum(1.0, np.rint(0.02 * trials.scale / trials.lot_notional))
        limits = Limits(size={n: float(q) for n, q in zip(names, most * trials.step, strict=True)})
        reach = Reach.of(trials, program_of(desk, Costs(), limits, spent=False))
        if not supported(trials, reach, measure):
            continue
        seen += 1
        parts = random.uniform(-1.0, 1.0, (24, len(names))) * most
        points = np.vstack([np.zeros(len(names)), np.rint(parts[:12]), np.rint(parts[12:] / FINE) * FINE])
        points[::2] *= random.random((13, len(names))) < 0.3
        values = _of(measure, trial_margins(trials, points))
        for k in range(0, len(points), 3):
            plane = supporting_plane(trials, reach, measure, 1.0, points[k], "")
            over = plane.constant + points @ plane.gradient - values
            allowed = rounding(trials, points)
            assert np.all(over <= allowed)
            assert abs(over[k]) <= allowed[k]
    assert seen >= 3


def _of(measure: str, found: Any) -> np.ndarray:
    margin = found.initial if measure in ("initial_margin", "available_funds") else found.maintenance
    return np.asarray(margin if "margin" in measure else margin - found.balance)


def times(book: Book, account: str, factor: float, arrays: Any) -> Book:
    own = book.select(account)
    names = np.full(len(own.quantity), account)
    return Book.from_arrays(names, own.instrument_idx, own.quantity * factor, arrays.expiry_idx, accounts=[account])


def enumerated(world: Any, account: str, measure: str, limits: dict[str, int]) -> list[tuple[float, float]]:
    """(cost, measure after) of every combination of whole contracts of one USD or of ten."""
    arrays, found = world[1], []
    rows = np.array([arrays.index_of()[name] for name in limits])
    terms = trade_terms(arrays, rows, Costs(), Limits(), 1e12)
    step = arrays.quantity_step[rows]
    for lots in itertools.product(*(range(-most, most + 1) for most in limits.values())):
        cost = float(np.abs(lots) @ terms.buy_cost)
        orders = [(n, float(k * s)) for n, k, s in zip(limits, lots, step, strict=True) if k]
        found.append((cost, measured(world, account, orders, measure, cost)))
    return found


@pytest.mark.parametrize("name", ["worst_case", "derive_pmrm"])
@pytest.mark.parametrize("measure", ["maintenance_margin", "available_funds"])
def test_a_few_lots_at_a_kink_against_every_combination(name: str, measure: str) -> None:
    """Targets from what the account has to the best there is and beyond; in both orders of the contracts."""
    book, arrays, market, model = sample_under(name)
    account, lots = "naked-wing-seller-01", {"ETH-PERPETUAL": 2, "BTC-PERPETUAL": 2}
    world = (book.select(account), arrays, market, model)
    every = enumerated(world, account, measure, lots)
    sizes = {n: k * float(arrays.quantity_step[arrays.index_of()[n]]) for n, k in lots.items()}
    values = sorted({value for _, value in every}, reverse=measure == "available_funds")
    solved = 0
    for k, amount in enumerate((values[0], values[1], values[len(values) // 3], 2.0 * values[0] - values[-1])):
        cents = 100.0 * amount
        # What costs leave of funds is no whole number of cents.
        target = Target(
            measure, (np.ceil(cents - 1e-6) if measure == "maintenance_margin" else np.floor(cents)) / 100.0
        )
        best = min((cost for cost, value in every if target.missed_by(value) <= 0.0), default=np.inf)
        try:
            found = hedge(*world, account, target, instruments=PAIR[:: 1 - 2 * (k % 2)], limits=Limits(sizes, gap=0.0))
        except InfeasibleError as error:
            assert best == np.inf
            assert "no trades within the limits bring" in str(error)
            continue
        solved += 1
        assert found.convex
        assert found.cost == pytest.approx(best, rel=1e-9, abs=1e-12)
        assert found.lower_bound <= best * (1.0 + 1e-9)
    assert solved == 3


@pytest.mark.parametrize("factor", [1.0, 100.0])
@pytest.mark.parametrize("names", [PAIR, PAIR[::-1]])
def test_gap_0_is_true_of_an_account_of_any_size(factor: float, names: tuple[str, ...]) -> None:
    """672,522.90 is met by two contracts of BTC-PERPETUAL and by nothing cheaper; so is a hundredfold of it."""
    book, arrays, market, model = sample_under("worst_case")
    account = "naked-wing-seller-01"
    world = (times(book, account, factor, arrays), arrays, market, model)
    limits = Limits(size={"ETH-PERPETUAL": 3.0 * factor, "BTC-PERPETUAL": 2.0 * factor}, gap=0.0)
    target = Target("maintenance_margin", round(672_522.90 * factor, 2))
    found = hedge(*world, account, target, instruments=names, limits=limits)
    assert (found.gap, found.convex) == (0.0, True)
    (trade,) = found.trades
    assert trade.instrument == "BTC-PERPETUAL"
    one_less = [(trade.instrument, trade.quantity - 1.0)]
    assert measured(world, account, one_less, "maintenance_margin", 0.0) > target.amount
    lots = {"ETH-PERPETUAL": 3, "BTC-PERPETUAL": 2}
    if factor == 1.0:
        every = enumerated(world, account, "maintenance_margin", lots)
        assert found.cost == pytest.approx(min(c for c, value in every if value <= target.amount), rel=1e-9)


def test_no_bound_without_planes_of_the_model() -> None:
    """A model that declares itself convex and gives no support, or another's, has no bound."""
    book, arrays, market, _ = sample_under("worst_case")
    desk = open_desk(book, arrays, market, Silent(), "perpetual-short-03", ["BTC-PERPETUAL"], "numba")
    search = Search(desk.trials, program_of(desk, Costs(), Limits(), spent=False), "initial_margin")
    assert not search.declared
    other = open_desk(book, arrays, market, Strange(), "perpetual-short-03", ["BTC-PERPETUAL"], "numba")
    search = Search(other.trials, program_of(other, Costs(), Limits(), spent=False), "initial_margin")
    assert search.proven
    search.support(np.zeros(1))
    assert not search.proven


class Silent:
    """worst_case without its support."""

    def __getattr__(self, name: str) -> Any:
        if name == "support":
            raise AttributeError(name)
        return getattr(worst_case.Model(), name)


class Strange:
    """worst_case with the support of one of other factors."""

    def __getattr__(self, name: str) -> Any:
        if name == "support":
            return worst_case.Model(worst_case.Params(initial_factor=1.1)).support
        return getattr(worst_case.Model(), name)
