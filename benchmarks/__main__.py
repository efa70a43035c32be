"""Run the benchmarks: `python -m benchmarks [--contracts 2000 --scenarios 64 ...]`."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from benchmarks import (
    accelerator,
    american,
    backtest,
    edge,
    engine,
    hedge,
    liquidation,
    margin_models,
    pairing,
    pricing,
    revalue,
    slices,
    span,
    startup,
    stress,
    venue,
    what_if,
    worst_loss,
)

BUILD = Path("build")


def main() -> None:
    """Parse the sizes and run everything."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--contracts", type=int, default=2_000)
    parser.add_argument("--scenarios", type=int, default=64)
    parser.add_argument("--accounts", type=int, default=100_000)
    parser.add_argument("--largest", type=int, default=venue.LARGEST, help="accounts that the scaling curve goes up to")
    parser.add_argument("--positions", type=int, default=20)
    parser.add_argument("--slices", type=int, default=1_000)
    parser.add_argument(
        "--commodities", type=int, default=212, help="of the SPAN file; 212 make the 2.2 million values of NSE Clearing"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=1_000_000)
    sizes = parser.parse_args()
    pricing.run_and_write(sizes.rows, sizes.rounds)
    revalue.run(sizes.contracts, sizes.scenarios, sizes.rounds)
    worst_loss.run(sizes.contracts, sizes.scenarios, sizes.accounts, sizes.positions, sizes.rounds)
    venue.run(sizes.accounts, os.cpu_count() or 1, sizes.rounds, BUILD / "venue-scaling.png", sizes.largest)
    accelerator.run(sizes.contracts, sizes.scenarios, sizes.accounts, sizes.positions, sizes.rounds)
    margin_models.run(sizes.accounts, sizes.positions, sizes.rounds)
    american.run(5_000, sizes.rounds, BUILD / "bench-american.json")
    what_if.run(sizes.accounts, sizes.positions, sizes.rounds)
    what_if.by_model(100 * sizes.rounds)
    liquidation.run(sizes.accounts // 20, sizes.positions, sizes.rounds)
    stress.run(sizes.accounts, sizes.positions, max(1, sizes.rounds // 4))
    backtest.run(1, hours=24 * 1_000)
    edge.run(200, 20_000, max(1, sizes.rounds // 2))
    hedge.run(100, (64, 256, 1_000), max(1, sizes.rounds // 2))
    engine.run_all(sizes.contracts, sizes.scenarios, sizes.accounts, sizes.positions, sizes.rounds)
    slices.run(sizes.slices, sizes.rounds, output=BUILD / "bench-slices.json")
    pairing.run(100, sizes.rounds)
    span.run(sizes.commodities, sizes.accounts // 5, sizes.positions, sizes.rounds)
    startup.run(sizes.rounds)


if __name__ == "__main__":
    main()
