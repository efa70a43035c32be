"""hedge: planes added where they are needed, beside one linear program of all scenarios, in the same run."""

from __future__ import annotations

import numpy as np

from benchmarks.parts import command_line
from benchmarks.timing import best_seconds, report
from portfolio_margin import Costs, Limits, Target, hedge, load_sample
from portfolio_margin.hedge import Desk, open_desk, program_of
from portfolio_margin.hedge_search import Search
from portfolio_margin.models import worst_case
from pricing.market import Market
from scenarios import RiskArrays, revalue
from scenarios.families import grid
from scenarios.shocks import ScenarioSet

ACCOUNT = "naked-wing-seller-underwater"
FUNDS = Target("available_funds", 0.0)


def scenarios_of(market: Market, count: int) -> ScenarioSet:
    """A product grid of about so many scenarios: the more, the finer its prices and horizons."""
    days = (0.0, 1.0) if count <= 300 else (0.0, 0.5, 1.0, 2.0)
    buckets = max(1, round((count / (3 * len(days)) - 1) / 2))
    return grid.scenarios(grid.Params(buckets=buckets, days=days), market)


def all_at_once(desk: Desk, spent_costs: Costs) -> float:
    """The cost of the program with a row for every scenario, lots not whole; joint netting without a floor."""
    from scipy.optimize import linprog

    program, trials = program_of(desk, spent_costs, Limits(), spent=True), desk.trials
    unit_pnl, value = trials.arrays.pnl[trials.column], trials.arrays.value[trials.column]
    losses, gains, balance = -(trials.base @ unit_pnl), trials.per_lot @ unit_pnl, float(trials.base @ value)
    cost = np.concatenate([program.buy_cost, program.sell_cost])
    rows = np.vstack([np.concatenate([-gains, gains]).T + cost, cost]) / trials.scale
    right = np.append(balance - losses, balance) / trials.scale
    sizes = np.concatenate([program.most_bought, program.most_sold])
    bounds = np.column_stack([np.zeros(len(sizes)), sizes])
    return float(linprog(cost, A_ub=rows, b_ub=right, bounds=bounds, method="highs").fun)


def planes_added(desk: Desk, costs: Costs) -> float:
    """The same cost with planes added where the program was wrong."""
    program = program_of(desk, costs, Limits(), spent=True)
    search = Search(desk.trials, program, FUNDS.measure)
    search.support(np.zeros(len(desk.trials.rows)))
    return search.relax(0.0)


def chosen(arrays: RiskArrays, count: int) -> list[str]:
    """So many contracts, evenly over those there are."""
    contracts = np.flatnonzero(~arrays.is_collateral)
    return [str(name) for name in arrays.instrument_id[contracts[:: max(1, len(contracts) // count)][:count]]]


def run(contracts: int, rounds: int, sizes: tuple[int, ...] = (64, 256, 1_000)) -> None:
    """Time the two programs and a whole hedge for every number of scenarios."""
    sample, costs = load_sample(), Costs()
    model = worst_case.Model(worst_case.Params(netting="joint", short_option_minimum=0.0, haircut=0.0))
    for size in sizes:
        arrays = revalue(sample.instruments, sample.market, scenarios_of(sample.market, size))
        names = chosen(arrays, contracts)
        world = (sample.book, arrays, sample.market, model, ACCOUNT)
        desk = open_desk(*world, names, "numba")
        contestants = {
            "planes added, lots not whole": lambda desk=desk: planes_added(desk, costs),
            "all scenarios at once, lots not whole": lambda desk=desk: all_at_once(desk, costs),
            "hedge(), whole lots, verified": lambda world=world, names=names: hedge(*world, FUNDS, instruments=names),
        }
        seconds = best_seconds(contestants, rounds)
        shape = f"{len(names)} contracts x {len(arrays.scenario_set)} scenarios"
        report(f"hedge: {shape}", seconds, "planes added, lots not whole")


if __name__ == "__main__":
    command_line(run, __doc__, contracts=100, rounds=2)
