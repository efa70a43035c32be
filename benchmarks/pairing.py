"""Strategy margin: the cheapest pairing beside a greedy one, in amount and in time, in the same run."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial

import numpy as np

from benchmarks.timing import best_seconds
from portfolio_margin.models.reg_t import OPTION_RATES, Model, Params
from portfolio_margin.pairing import Columns, Holding, columns_of
from portfolio_margin.pairing_program import choose
from portfolio_margin.strategy_table import Legs, Rates

SPOT = 100.0


def holdings(accounts: int, series: int, seed: int = 7) -> list[Holding]:
    """Accounts of so many series on one stock: strikes 80 to 120, two expiries, 1 to 29 contracts either way."""
    random, found = np.random.default_rng(seed), []
    rates = Model(Params(default_class="equity")).rates("U", next(iter(OPTION_RATES)))
    assert isinstance(rates, Rates)
    for _ in range(accounts):
        listed = random.choice(2 * 2 * 17, size=series, replace=False)
        call, strike, late = listed % 2 == 0, 80.0 + 2.5 * (listed // 4), (listed // 2) % 2
        inside = np.maximum(np.where(call, SPOT - strike, strike - SPOT), 0.0)
        value = 100.0 * (inside + (2.0 + late) * np.exp(-(((strike - SPOT) / 12.0) ** 2)))
        legs = Legs(
            call=call,
            long=random.random(series) < 0.5,
            strike=strike,
            expiry=late.astype(float),
            style=np.zeros(series),
            steps=random.integers(1, 30, series).astype(float),
            size=np.full(series, 100.0),
            value=value,
            shares=np.full(series, 100.0),
            long_dated=np.zeros(series, dtype=bool),
        )
        found.append(Holding(legs, 0.0, SPOT, rates, 1.0))
    return found


def greedy(held: Holding, columns: Columns) -> float:
    """What is asked where the strategy that saves most comes first, as often as it goes, then the next."""
    left = held.legs.steps.copy()
    alone = [columns.cost[row][0] for row in range(len(left))]
    saving = [
        (cost[0] - sum(alone[m] for m in members), row)
        for row, (members, cost) in enumerate(zip(columns.members, columns.cost, strict=True))
        if len(members) > 1
    ]
    total = 0.0
    for _, row in sorted(saving):
        needed = np.bincount(columns.members[row], minlength=len(left))
        times = int((left[needed > 0] // needed[needed > 0]).min())
        total += times * columns.cost[row][0]
        left = left - times * needed
    return total + float(left @ np.array(alone))


def run(accounts: int, rounds: int) -> None:
    """Print amounts as ratios to the optimum, and accounts a second."""
    print(f"strategy margin, {accounts} accounts of one underlying; greedy = largest saving first, four legs")
    for series in (4, 8, 16):
        held = holdings(accounts, series)
        four = [columns_of(one, spreads=True) for one in held]
        few = [columns_of(one, spreads=False) for one in held]
        ways: dict[str, Callable[[], list[float]]] = {
            "cheapest, four legs": partial(_costs, held, four, False),
            "cheapest, any legs": partial(_costs, held, few, True),
            "greedy": partial(_greedy_costs, held, four),
        }
        amount = {name: np.array(way()) for name, way in ways.items()}
        seconds = best_seconds(ways, rounds)
        best = amount["cheapest, any legs"]
        for name in ways:
            more = amount[name].sum() / best.sum()
            worst = (amount[name] / np.maximum(best, 1e-9)).max()
            print(
                f"  {series:>2} series  {name:<20} {more:7.4f} of the optimum in all, {worst:6.3f} at most, "
                f"{accounts / seconds[name]:8,.0f} accounts/s"
            )


def _costs(held: list[Holding], columns: list[Columns], any_legs: bool) -> list[float]:
    chosen = [choose(one, ways, 0, any_legs) for one, ways in zip(held, columns, strict=True)]
    return [float(sum(count * found.cost[row] for row, count in found.used)) for found in chosen]


def _greedy_costs(held: list[Holding], columns: list[Columns]) -> list[float]:
    return [greedy(one, ways) for one, ways in zip(held, columns, strict=True)]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--accounts", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    run(given.accounts, given.rounds)
