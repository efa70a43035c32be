"""The table of a whole venue and of one portfolio: `python -m benchmarks.venue_report [--build build]`.

Reads what `benchmarks.venue` wrote on one thread and on all, and puts the table between two markers of
docs/benchmarks.md; the last step of `make bench-peers`.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from benchmarks.report import ROOT, between, number

FILES = ("peers-venue-1.json", "peers-venue.json")
# Beside docs/benchmarks.md; the second run of `make bench-peers` draws it.
FIGURE = "scaling.png"
MARKERS = ("<!-- venue: begin, written by make bench-peers -->", "<!-- venue: end -->")


def race_rows(runs: list[dict[str, Any]], place: int) -> list[str]:
    """Markdown: the contestants of one race on one thread and on all."""
    title = runs[0]["races"][place]["title"].rpartition(",")[0]
    threads = [run["threads"] for run in runs]
    rows = [f"### {title[0].upper()}{title[1:]}", ""]
    heads = " | ".join(f"ms, {count} thread{'s' if count > 1 else ''} | times ours (processor)" for count in threads)
    rows += [f"| contestant | {heads} | goal |", "|---|" + "--:|--:|" * len(runs) + "---|"]
    names = dict.fromkeys(name for run in runs for name in run["races"][place]["contestants"])
    for name in names:
        lines = [run["races"][place]["contestants"].get(name) for run in runs]
        cells = [_cells(line) for line in lines]
        rows.append(f"| {name} | " + " | ".join([*cells, goal_text(lines)]) + " |")
    return [*rows, ""]


def _cells(line: dict[str, Any] | None) -> str:
    if line is None:
        return " | "
    return f"{number(line['best'])} | {number(line['ratios']['best'])} ({number(line['ratios']['processor'])})"


def goal_text(lines: list[dict[str, Any] | None]) -> str:
    """The goal, and on which threads the ratios of best times reach it."""
    known = [line for line in lines if line]
    goal = next((line["goal"] for line in known if line["goal"]), None)
    if goal is None:
        return ""
    reached = [line["ratios"]["best"] >= goal for line in known]
    if all(reached) or not any(reached):
        return f"{goal:g}, {'met' if all(reached) else 'missed'}"
    return f"{goal:g}, met on {'one thread' if reached[0] else 'all threads'} only"


def bound_text(runs: list[dict[str, Any]]) -> str:
    """How the account kernel stands to the bound of the second-level cache."""
    parts = []
    for run in runs:
        race = run["races"][0]
        share = race["contestants"]["account kernel"]["best"] / race["cache_bound_ms"]
        parts.append(f"{share:.2f} on {run['threads']} thread(s) ({race['cache_bound_ms']:.0f} ms)")
    return "The account kernel over the bound of the second-level cache (goal: at most 2): " + ", ".join(parts) + "."


def curve_rows(run: dict[str, Any]) -> list[str]:
    """Markdown: what grows with accounts, scenarios and contracts."""
    rows = ["| grows | to | `revalue` ms | `worst_loss` ms | ns a product |", "|---|--:|--:|--:|--:|"]
    for name, points in run["curves"].items():
        for point in points:
            figures = number(point["revalue_ms"]), number(point["worst_loss_ms"]), f"{point['ns_per_product']:.3f}"
            rows.append(f"| {name} | {point[name]:,} | " + " | ".join(figures) + " |")
    return rows


def section(runs: list[dict[str, Any]]) -> str:
    """Everything that stands between the markers."""
    about = runs[0]["machine"]
    lines = [f"{about['date']}, {about['processor']}, {about['cores']} cores; best of alternating rounds.", ""]
    for place in range(len(runs[0]["races"])):
        lines += race_rows(runs, place)
    lines += [bound_text(runs), ""]
    lines += [f"### Scaling, {runs[-1]['threads']} threads; else 2,000 contracts, 64 scenarios, 50,000 accounts", ""]
    lines += [f"![revalue and worst_loss as accounts, scenarios and contracts grow]({FIGURE})", ""]
    return "\n".join([*lines, *curve_rows(runs[-1])])


def main() -> None:
    """Read what the races wrote, write the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.venue_report", description=__doc__)
    parser.add_argument("--build", type=Path, default=ROOT / "build", help="where the races wrote their JSON")
    build = parser.parse_args().build
    missing = [name for name in FILES if not (build / name).exists()]
    if missing:
        parser.error(f"{build} lacks {', '.join(missing)}; make bench-peers writes them")
    runs = [json.loads((build / name).read_text(encoding="utf-8")) for name in FILES]
    path = ROOT / "docs" / "benchmarks.md"
    path.write_text(between(path.read_text(encoding="utf-8"), section(runs), MARKERS), encoding="utf-8")
    print(f"written: {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
