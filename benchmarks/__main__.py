"""Run the benchmarks, all or those that are named: `python -m benchmarks [PART...] [--contracts 2000 ...]`."""

from __future__ import annotations

import argparse
import time

from benchmarks import goals
from benchmarks.parts import PARTS, listed


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="parts, with seconds of processor time where measured, usual sizes, compilation included:\n"
        f"{listed()}\n\npython -m benchmarks.PART --help shows the options of one part.",
    )
    made.add_argument("parts", nargs="*", metavar="PART", help="what to run, by the names below; all without any")
    made.add_argument("--contracts", type=int, default=2_000)
    made.add_argument("--scenarios", type=int, default=64)
    made.add_argument("--accounts", type=int, default=100_000, help=f"the speed goals are of {goals.ACCOUNTS:,}")
    made.add_argument("--largest", type=int, default=goals.ACCOUNTS, help="accounts that the scaling curve goes up to")
    made.add_argument("--positions", type=int, default=20)
    made.add_argument("--slices", type=int, default=1_000)
    made.add_argument(
        "--commodities", type=int, default=212, help="of the SPAN file; 212 make the 2.2 million values of NSE Clearing"
    )
    made.add_argument("--rounds", type=int, default=5)
    made.add_argument("--rows", type=int, default=1_000_000)
    return made


def main() -> None:
    """Parse parts and sizes, run them and say how long each took."""
    arguments = parser()
    sizes = arguments.parse_args()
    if unknown := [name for name in sizes.parts if name not in PARTS]:
        arguments.error(f"{', '.join(unknown)}: no such part; there are {', '.join(PARTS)}")
    taken = {}
    for name in sizes.parts or PARTS:
        start = time.perf_counter()
        PARTS[name].run(name, sizes)
        taken[name] = time.perf_counter() - start
        print(f"  {name} took {taken[name]:.0f} s", flush=True)
    print(f"\n{len(taken)} part(s) in {sum(taken.values()):.0f} s")


if __name__ == "__main__":
    main()
