"""The tables of a venue, a portfolio, one order and a SPAN file: `python -m benchmarks.venue_report [--build build]`.

Reads what `benchmarks.venue` wrote on one thread and on all, and what `benchmarks.engine` and `benchmarks.span` wrote,
and puts every goal with its verdict and the tables behind it between two markers of docs/benchmarks.md; the last step
of `make bench-peers`.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from benchmarks import goals
from benchmarks.report import ROOT, between, number

RUNS, ENGINE, SPAN = ("peers-venue-1.json", "peers-venue.json"), "peers-engine.json", "peers-span.json"
FILES = (*RUNS, ENGINE, SPAN)
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
        rows.append(f"| {name} | " + " | ".join([*cells, goals.goal_text(runs, place, name)]) + " |")
    return [*rows, ""]


def _cells(line: dict[str, Any] | None) -> str:
    if line is None:
        return " | "
    return f"{number(line['best'])} | {number(line['ratios']['best'])} ({number(line['ratios']['processor'])})"


def bound_text(runs: list[dict[str, Any]]) -> str:
    """How the account kernel stands to the bound of the second-level cache."""
    parts = []
    for run in runs:
        race = run["races"][0]
        share = race["contestants"]["account kernel"]["best"] / race["cache_bound_ms"]
        parts.append(f"{share:.2f} on {run['threads']} thread(s) ({race['cache_bound_ms']:.0f} ms)")
    return "The account kernel over the bound of the second-level cache: " + ", ".join(parts) + "."


def curve_rows(run: dict[str, Any]) -> list[str]:
    """Markdown: what grows with accounts, scenarios and contracts."""
    rows = ["| grows | to | `revalue` ms | `worst_loss` ms | ns a product |", "|---|--:|--:|--:|--:|"]
    for name, points in run["curves"].items():
        for point in points:
            figures = number(point["revalue_ms"]), number(point["worst_loss_ms"]), f"{point['ns_per_product']:.3f}"
            rows.append(f"| {name} | {point[name]:,} | " + " | ".join(figures) + " |")
    return rows


def latency_rows(engine: dict[str, Any]) -> list[str]:
    """Markdown: one call after the other, by the number of accounts."""
    rows = [
        "| accounts | one call from Python | p50 us | p99 us | p99.9 us | p99 over p50 |",
        "|--:|---|--:|--:|--:|--:|",
    ]
    for run in engine["runs"]:
        for name, line in run["latencies"].items():
            figures = [number(line[key]) for key in ("p50", "p99", "p99.9")]
            figures.append(number(line["p99"] / line["p50"]))
            rows.append(f"| {run['accounts']:,} | {name} | " + " | ".join(figures) + " |")
    return rows


def batch_rows(engine: dict[str, Any]) -> list[str]:
    """Markdown: orders in batch and ticks, by the number of accounts."""
    rows = ["| accounts | orders in batch | ns an order (processor) | a second |", "|--:|---|--:|--:|"]
    for run in engine["runs"]:
        for name, line in run["checks"].items():
            each = f"{number(line['best'])} ({number(line['processor'])})"
            rows.append(f"| {run['accounts']:,} | {name} | {each} | {1e9 / line['best']:,.0f} |")
    rows += ["", "| accounts | tick of one underlying | ms (processor) |", "|--:|---|--:|"]
    for run in engine["runs"]:
        for name, line in run["ticks"].items():
            rows.append(f"| {run['accounts']:,} | {name} | {number(line['best'])} ({number(line['processor'])}) |")
    return rows


def span_rows(span: dict[str, Any]) -> list[str]:
    """Markdown: ways to read a SPAN file."""
    rows = ["| reading | ms (processor) | times ours | MB/s (of processor time) |", "|---|--:|--:|--:|"]
    for name, line in span["contestants"].items():
        rates = [number(1e3 * span["megabytes"] / line[key]) for key in ("best", "processor")]
        times = f"{number(line['best'])} ({number(line['processor'])})"
        rows.append(f"| {name} | {times} | {number(line['ratios']['best'])} | {rates[0]} ({rates[1]}) |")
    return rows


def busy_text(results: dict[str, dict[str, Any]]) -> str:
    """What other work there was when the races began, where there was more of it than a core."""
    busy = {name: result["load"] for name, result in results.items() if result.get("load", 0.0) > 1.0}
    if not busy:
        return ""
    return (
        f" Up to {max(busy.values()):.0f} other jobs ran on the machine during {', '.join(busy)}: there processor "
        "times tell more, and latencies and rates by the clock are worse than they would be alone."
    )


def section(runs: list[dict[str, Any]], engine: dict[str, Any], span: dict[str, Any]) -> str:
    """Everything that stands between the markers."""
    about = runs[0]["machine"]
    named = {f"the accounts and the portfolio on {run['threads']} thread(s)": run for run in runs}
    first = f"{about['date']}, {about['processor']}, {about['cores']} cores; best of alternating rounds."
    lines = [
        first + busy_text({**named, "the orders and ticks": engine, "the SPAN file": span}),
        "",
        "### Every goal",
        "",
        *goals.table(runs, engine, span),
    ]
    for place in range(len(runs[0]["races"])):
        lines += race_rows(runs, place)
    lines += [bound_text(runs), "", "### One order, orders in batch and ticks", ""]
    lines += [*latency_rows(engine), "", *batch_rows(engine), ""]
    lines += [f"### A SPAN file of {span['megabytes']:.0f} MB, {span['values']:,} values", "", *span_rows(span), ""]
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
    *runs, engine, span = (json.loads((build / name).read_text(encoding="utf-8")) for name in FILES)
    path = ROOT / "docs" / "benchmarks.md"
    path.write_text(between(path.read_text(encoding="utf-8"), section(runs, engine, span), MARKERS), encoding="utf-8")
    print(f"written: {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
