"""Start-up: import time over the bare interpreter, and the first margin of a new process."""

from __future__ import annotations

import subprocess
import sys
import time

from benchmarks.parts import command_line

PROGRAMS = {
    "bare interpreter": "pass",
    "import numpy": "import numpy",
    "import portfolio_margin": "import portfolio_margin",
    "first margin of the sample (warm cache)": (
        "from portfolio_margin import load_sample, margin\n"
        "from portfolio_margin.models import worst_case\n"
        "from scenarios import revalue\n"
        "from scenarios.families import grid\n"
        "s = load_sample()\n"
        "a = revalue(s.instruments, s.market, grid.scenarios(grid.Params(), s.market))\n"
        "margin(s.book, a, s.market, worst_case.Model())\n"
    ),
}


def run(rounds: int) -> None:
    """Best of several fresh processes each, bare interpreter subtracted."""
    best = {}
    for name, program in PROGRAMS.items():
        times = []
        for _ in range(rounds + 1):
            start = time.perf_counter()
            subprocess.run([sys.executable, "-c", program], check=True)
            times.append(time.perf_counter() - start)
        best[name] = min(times)
    bare = best.pop("bare interpreter")
    print("\nstart-up of a new process, over the bare interpreter")
    for name, seconds in best.items():
        print(f"  {name:<44}{seconds - bare:>10.3f} s")


if __name__ == "__main__":
    command_line(run, __doc__, rounds=5)
