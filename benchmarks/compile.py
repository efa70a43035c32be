"""Time to compile the pricing layer, `revalue` and an engine: in a new process, without a cache and then from it.

`python -m benchmarks.compile [--rounds N --json FILE]` prints seconds on the clock and of processor time by kernel, of
all that price, of those of scenarios, of an engine on 64 scenarios from its start to the first what-if and of what else
it is asked, and of the whole process with its imports.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
GROUPS = ("pricing layer", "scenarios", "engine of 64 scenarios")
PROGRAM = """
import json, time
from portfolio_margin.kernels import changed_variables_jobs, order_jobs, pricing_jobs, scenario_jobs
from pricing.xp.numba import COMPILED
took = []
def ready(): return sum(len(kernel.signatures) for kernel in COMPILED)
engine = [job for job in order_jobs("numba") if job[0].endswith(" of 64")]
groups = [*pricing_jobs("numba"), *changed_variables_jobs("numba")], scenario_jobs("numba"), engine
for group, jobs in enumerate(groups):
    for name, job in jobs:
        start, busy, before = time.perf_counter(), time.process_time(), ready()
        job()
        seconds = time.perf_counter() - start, time.process_time() - busy
        took.append((name.removeprefix("numba: "), group, *seconds, ready() - before))
print(json.dumps(took))
"""


def one_process(cache: str) -> dict[str, Any]:
    """[seconds on the clock, of processor time, compiled kernels] by job and by group of jobs, and the seconds of the
    process."""
    environment = {**os.environ, "NUMBA_CACHE_DIR": cache, "PYTHONPATH": str(ROOT)}
    start, busy = time.perf_counter(), _children_seconds()
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, check=True, capture_output=True, text=True)
    process = [time.perf_counter() - start, _children_seconds() - busy]
    jobs = json.loads(done.stdout)
    found: dict[str, Any] = {"kernels": {name: seconds for name, _, *seconds in jobs}, "process": process}
    for group, title in enumerate(GROUPS):
        found[title] = [sum(column) for column in zip(*(job[2:] for job in jobs if job[1] == group), strict=True)]
    return found


def _children_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def run(rounds: int = 1) -> dict[str, Any]:
    """Print the table of the best of some rounds, and return it: "cold" and "cached"."""
    best: dict[str, Any] = {}
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            for state in ("cold", "cached"):
                found = one_process(folder)
                if state not in best or found[GROUPS[0]][1] < best[state][GROUPS[0]][1]:
                    best[state] = found
    cold, cached = best["cold"], best["cached"]
    count, others, orders = (cold[title][2] for title in GROUPS)
    made = f"{count} kernels, {others} of scenarios and {orders} of an engine"
    print(f"\ncompiling the pricing layer: {made}, in a new process, seconds")
    print(f"  {'':<34}{'cold':>8}{'processor':>12}{'cached':>10}{'processor':>12}{'kernels':>9}")
    rows = [(name, cold["kernels"][name], cached["kernels"][name]) for name in cold["kernels"]]
    rows += [(name, cold[name], cached[name]) for name in (*GROUPS, "process")]
    for name, before, after in rows:
        count = before[2] if len(before) > 2 else ""
        print(f"  {name:<34}{before[0]:>8.2f}{before[1]:>12.2f}{after[0]:>10.3f}{after[1]:>12.3f}{count:>9}")
    return best


def main() -> None:
    """Parse, run, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compile", description=__doc__)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--json", type=Path, default=None)
    given = parser.parse_args()
    found = run(given.rounds)
    if given.json is not None:
        given.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
