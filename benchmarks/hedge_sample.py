"""hedge on the sample: every account below initial margin under six models, beside perpetuals alone and what is held.

`python -m benchmarks.hedge_sample [every] [model ...]` prints the table of docs/hedging.md: what may be traded are the
account's own contracts, perpetuals, and every so manieth of the others (100).
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Sequence
from time import process_time
from typing import Any, NamedTuple

import numpy as np

from portfolio_margin import Target, hedge, load_parameters, load_sample, margin
from portfolio_margin.hedge_terms import contract_rows
from pricing.errors import InfeasibleError
from pricing.instruments import Kind
from scenarios import revalue
from scenarios.families import grid

MODELS = ("worst_case", "derive_pmrm", "derive_pmrm2", "deribit_spm", "deribit_xpm", "span")
FUNDS = Target("available_funds", 0.0)
# Costs this near to each other, as a share, are the same.
SAME = 1e-6
PROVEN = 0.002
HEAD = (
    "| model | below | hedged | proven to 0.2 % | perpetuals alone do | for less | held alone do | for less "
    "| processor s, median, most |"
)


class Row(NamedTuple):
    """One account: cost of all, of perpetuals and of what is held alone, inf where none; processor seconds."""

    cost: float
    gap: float
    perpetuals: float
    held: float
    seconds: float


def worlds(names: Sequence[str]) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """(name, (book, arrays, market, model)) of the sample."""
    sample = load_sample()
    for name in names:
        module = importlib.import_module(f"portfolio_margin.models.{name}")
        plain = name in ("span", "worst_case")
        model = module.Model() if plain else module.Model(*load_parameters(name, at=sample.market.valuation_time))
        moves = model.scenario_set(sample.market) or grid.scenarios(grid.Params(), sample.market)
        yield name, (sample.book, revalue(sample.instruments, sample.market, moves), sample.market, model)


def hedged(world: tuple[Any, ...], account: str, every: int) -> Row:
    """The hedge of one account, and those of two of its subsets."""
    book, arrays, _, model = world
    rows = contract_rows(arrays, model, None)
    held = np.intersect1d(book.select(account).instrument_idx, rows)
    perpetuals = rows[arrays.kind[rows] == Kind.PERPETUAL]
    start = process_time()
    cost, gap = cost_of(world, account, np.unique(np.concatenate([rows[::every], perpetuals, held])))
    seconds = process_time() - start
    return Row(cost, gap, cost_of(world, account, perpetuals)[0], cost_of(world, account, held)[0], seconds)


def cost_of(world: tuple[Any, ...], account: str, rows: Any) -> tuple[float, float]:
    """Cost and gap of a hedge by the contracts of some rows; inf where there is none."""
    if not len(rows):
        return np.inf, np.nan
    try:
        book, arrays, market, model = world
        names = [str(name) for name in arrays.instrument_id[rows]]
        found = hedge(book, arrays, market, model, account, FUNDS, instruments=names)
    except InfeasibleError:
        return np.inf, np.nan
    return found.cost, found.gap


def line(name: str, rows: Sequence[Row]) -> str:
    """One row of the table."""
    cost, gap, perpetuals, held, seconds = (np.array(column) for column in zip(*rows, strict=True))
    counts = [len(rows), int(np.isfinite(cost).sum()), int((gap <= PROVEN).sum())]
    for alone in (perpetuals, held):
        counts += [int(np.isfinite(alone).sum()), int((alone < cost * (1.0 - SAME)).sum())]
    times = f"{np.median(seconds):.2f}, {seconds.max():.1f}"
    return f"| `{name}` | " + " | ".join(str(count) for count in counts) + f" | {times} |"


def run(names: Sequence[str], every: int) -> None:
    """Print the table."""
    print(HEAD)
    print("|---" * 9 + "|")
    for name, world in worlds(names):
        statement = margin(*world)
        below = statement.account[(statement.available_funds < 0) & ~statement.unmargined]
        rows = [hedged(world, str(account), every) for account in below]
        if rows:
            print(line(name, rows), flush=True)


if __name__ == "__main__":
    run(sys.argv[2:] or MODELS, int(sys.argv[1]) if len(sys.argv) > 1 else 100)
