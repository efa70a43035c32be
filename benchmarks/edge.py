"""The edge of an account: markets stacked beside one by one, and paths saved against plain simulation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from benchmarks.parts import command_line
from benchmarks.timing import best_seconds, report
from portfolio_margin import load_sample
from portfolio_margin.edge.levels import Case, levels, open_case
from portfolio_margin.edge.overview import edge
from portfolio_margin.edge.price_paths import Dynamics
from portfolio_margin.edge.prices import liquidation_prices
from portfolio_margin.edge.probability import Simulation, breach_probability
from portfolio_margin.models import worst_case
from scenarios.families import grid

ACCOUNT = "iron-condor-07"
OTHERS = ("perpetual-short-03", "iron-condor-01", "credit-put-spread-01", "delta-hedged-gamma-03", ACCOUNT)


def sample_case(account: str) -> Case:
    """The case of an account of the sample under `worst_case`."""
    sample = load_sample()
    moves = grid.scenarios(grid.Params(), sample.market)
    return open_case(sample.book, sample.instruments, sample.market, worst_case.Model(), moves, account)


def run(markets: int, paths: int, rounds: int) -> None:
    """Time levels in so many moved markets and a whole edge; print what variance reduction saves."""
    case, price = sample_case(ACCOUNT), np.linspace(0.3, 3.0, markets)
    single = replace(case, at_once=1)
    seconds = best_seconds(
        {
            "levels, stacked": lambda: levels(case, price),
            "levels, one market after the other": lambda: levels(single, price),
            "liquidation_prices": lambda: liquidation_prices(case),
            "edge, all of it": lambda: edge(case),
        },
        rounds,
    )
    report(f"edge of {ACCOUNT}: {markets} moved markets", seconds, "levels, stacked")
    print(f"\nbreach within a day, {paths:,} paths of 24 steps: paths that plain simulation needs for the same error")
    for account in OTHERS:
        chosen = sample_case(account)
        for jump in ("merton", "kou"):
            found = breach_probability(chosen, 1.0, _usual(chosen, jump), Simulation(paths))
            text = f"{found.probability:.3g} +- {found.standard_error:.1g}"
            print(f"  {account:<28}{jump:<8}{text:<24}{found.reduction:>12.3g} times")


def _usual(case: Case, jump: str) -> Dynamics:
    from portfolio_margin.edge.distance import implied_vol_over

    return Dynamics.usual(implied_vol_over(case, 1.0 / 365.0), jump)


if __name__ == "__main__":
    command_line(run, __doc__, markets=200, paths=20_000, rounds=2)
