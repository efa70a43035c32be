"""Time to compile the pricing layer: every kernel there is, in a new process, without a cache and then from it.

`python -m benchmarks.compile [--rounds N --json FILE]` prints seconds on the clock and of processor time by kernel, of
all kernels, and of the whole process with its imports.
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
PROGRAM = """
import json, time
from portfolio_margin.kernels import pricing_jobs
took = []
for name, job in pricing_jobs("numba"):
    start, busy = time.perf_counter(), time.process_time()
    job()
    took.append((name.removeprefix("numba: "), time.perf_counter() - start, time.process_time() - busy))
print(json.dumps(took))
"""


def one_process(cache: str) -> dict[str, Any]:
    """[seconds on the clock, seconds of processor time] by kernel, of all, and of the process."""
    environment = {**os.environ, "NUMBA_CACHE_DIR": cache, "PYTHONPATH": str(ROOT)}
    start, busy = time.perf_counter(), _children_seconds()
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, check=True, capture_output=True, text=True)
    process = [time.perf_counter() - start, _children_seconds() - busy]
    kernels = {name: [wall, processor] for name, wall, processor in json.loads(done.stdout)}
    total = [sum(seconds) for seconds in zip(*kernels.values(), strict=True)]
    return {"kernels": kernels, "all kernels": total, "process": process}


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
                if state not in best or found["all kernels"][1] < best[state]["all kernels"][1]:
                    best[state] = found
    cold, cached = best["cold"], best["cached"]
    print(f"\ncompiling the pricing layer: {len(cold['kernels'])} jobs in a new process, seconds")
    print(f"  {'':<34}{'cold':>8}{'processor':>12}{'cached':>10}{'processor':>12}")
    rows = [(name, cold["kernels"][name], cached["kernels"][name]) for name in cold["kernels"]]
    rows += [(name, cold[name], cached[name]) for name in ("all kernels", "process")]
    for name, before, after in rows:
        print(f"  {name:<34}{before[0]:>8.2f}{before[1]:>12.2f}{after[0]:>10.3f}{after[1]:>12.3f}")
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
