"""One table of all races: `python -m benchmarks.report [--build build]`, the last step of `make bench-peers`.

Reads the JSON files that the races wrote and puts the short table between two markers of README.md, the full one
between those of docs/benchmarks.md. Ratios are always of one run. A goal is met where the
ratios of medians and of processor times both reach it: neither a busy neighbour nor a second thread is a merit.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
FILES = ("peers-pricing-1.json", "peers-pricing.json", "peers-slices.json", "peers-american.json")
BEGIN, END = "<!-- benchmarks: begin, written by make bench-peers -->", "<!-- benchmarks: end -->"
SHOWN_PEERS = 3
ALL_GREEKS = 8
RIGHT_GREEKS = 1e-9  # of the natural scale
LARGEST_SHARE = 1.6
QUIET_SHARE = 0.9  # of the time on the clock that a contestant computes
GENERAL_VERSIONS = ("python", "numpy", "scipy", "numba")


class Job(NamedTuple):
    """A race: what it is called, and how many times ours a peer is to take; "" is the fastest that answers right."""

    title: str
    goals: dict[str, float]


# The two forms in numpy: the goals are about the former, and the latter always stands beside it.
TWO_FORMULAS, ONE_FORMULA = "numpy + scipy, both formulas and np.where", "numpy + scipy, one formula by sign"
JOBS = {
    "price": Job("price", {"torch eager": 4.0, TWO_FORMULAS: 10.0, "QuantLib blackFormula loop": 45.0}),
    "greeks": Job("price and seven Greeks", {"": 5.0, TWO_FORMULAS: 10.0}),
    "implied_vol": Job("implied vol", {"": 10.0}),
    "slices": Job("SVI slices", {"scipy least_squares lm, exact Jacobian": 80.0, "quantkit-rs svi_fit": 30.0}),
    "american": Job("American", {"QuantLib QdFp fast": 5.0}),
}


class Entry(NamedTuple):
    """A contestant of one job: its lines of one thread and of all threads (None where there is no such race)."""

    name: str
    one: dict[str, Any]
    all: dict[str, Any] | None
    goal: float | None

    @property
    def ours(self) -> bool:
        """Whether it is a function of this project."""
        return bool(self.one["ours"])

    def ratios(self) -> list[float]:
        """To our first contestant of the same run: the smaller of those of medians and of processor times."""
        ratios = [line["ratios"] for line in (self.one, self.all) if line]
        return [min(ratio["median"], ratio["processor"]) for ratio in ratios]


def answers_right(job: str, line: dict[str, Any]) -> bool:
    """Whether a peer counts as one that answers: all eight Greeks to nine digits, or no implied vol that fails."""
    errors = line["errors"]
    if job == "greeks":
        return line["outputs"] >= ALL_GREEKS and max(errors.values()) < RIGHT_GREEKS
    return job != "implied_vol" or errors["failures per million"] == 0


def entries(job: str, races: list[dict[str, Any]]) -> list[Entry]:
    """Ours first, then peers from the fastest to the slowest on one thread."""
    ordered = sorted((race for race in races if race["job"] == job), key=lambda race: race["threads"])
    if not ordered:
        return []
    one = ordered[0]["contestants"]
    more = ordered[-1]["contestants"] if ordered[-1]["threads"] > ordered[0]["threads"] else {}
    peers = sorted((name for name in one if not one[name]["ours"]), key=lambda name: one[name]["median"])
    goals = dict(JOBS[job].goals)
    best = next((name for name in peers if answers_right(job, one[name])), None)
    if "" in goals and best is not None:
        goals[best] = max(goals.pop(""), goals.get(best, 0.0))
    names = [name for name in one if one[name]["ours"]] + peers
    return [Entry(name, one[name], more.get(name), goals.get(name)) for name in names]


def short(found: list[Entry]) -> list[Entry]:
    """Our first contestant, the peers that a goal names, the lean form in numpy, and the fastest others up to
    SHOWN_PEERS."""
    peers = [entry for entry in found if not entry.ours]
    named = [entry for entry in peers if entry.goal]
    lean = [entry for entry in peers if not entry.goal and entry.name == ONE_FORMULA]
    others = [entry for entry in peers if entry not in named + lean][: max(0, SHOWN_PEERS - len(named))]
    return found[:1] + [entry for entry in peers if entry in named + lean + others]


def number(value: float) -> str:
    """Three digits, without an exponent where it reads well."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def ratio_text(line: dict[str, Any]) -> str:
    """The ratio of medians, and of processor times in parentheses."""
    return f"{number(line['ratios']['median'])} ({number(line['ratios']['processor'])})"


def error_text(job: str, line: dict[str, Any]) -> str:
    """Errors of a contestant in a few words."""
    errors = line.get("errors")
    if not errors:
        return ""
    if job == "price":
        return f"{errors['error / max(F, K)']:.0e} of max(F, K), {errors['relative out of the money']:.0e} of itself"
    if job == "greeks":
        worst = max(errors, key=lambda name: errors[name])
        fields = f", {line['outputs']} of {ALL_GREEKS}" if line["outputs"] < ALL_GREEKS else ""
        return f"{errors[worst]:.0e} ({worst}){fields}"
    if job == "implied_vol":
        failures, roundings = errors["failures per million"], errors["roundings"]
        return (
            f"{failures:,.0f} failures, "
            + (f"{roundings:,.0f}" if roundings < 1e6 else f"{roundings:.0e}")
            + " roundings"
        )
    if job == "slices":
        median, largest = errors["rmse of vols, median"], errors["largest"]
        return f"rmse {median:.4f}, at most {largest:.4f}; {errors['stuck']:.0f} stuck"
    return f"largest {errors['largest error']:.0e}, rms {errors['rms']:.0e}"


def goal_text(entry: Entry) -> str:
    """The goal and whether the ratios reach it."""
    if not entry.goal:
        return ""
    reached = [ratio >= entry.goal for ratio in entry.ratios()]
    if all(reached) or not any(reached):
        return f"{entry.goal:.0f}, {'met' if all(reached) else 'missed'}"
    return f"{entry.goal:.0f}, met on {'one thread' if reached[0] else 'all threads'} only"


def label(entry: Entry) -> str:
    """Ours with the call as code, peers with their version."""
    call, _, rest = entry.name.partition("), ")
    if entry.ours:
        return f"`{call})`, {rest}" if rest else f"`{entry.name}`" if entry.name.endswith(")") else entry.name
    return f"{entry.name} {entry.one['version']}".strip()


def short_table(races: list[dict[str, Any]], threads: int) -> list[str]:
    """Markdown: a few rows a job."""
    rows = [
        f"| job | contestant | ms, 1 thread | times ours | ms, {threads} threads | times ours | goal | errors |",
        "|---|---|--:|--:|--:|--:|---|---|",
    ]
    for job, about in JOBS.items():
        for place, entry in enumerate(short(entries(job, races))):
            times = [number(line["median"]) if line else "" for line in (entry.one, entry.all)]
            ratios = [ratio_text(line) if line else "" for line in (entry.one, entry.all)]
            cells = [about.title if place == 0 else "", label(entry), times[0], ratios[0], times[1], ratios[1]]
            rows.append("| " + " | ".join([*cells, goal_text(entry), error_text(job, entry.one)]) + " |")
    return rows


def full_table(job: str, races: list[dict[str, Any]]) -> list[str]:
    """Markdown: every contestant of a job; medians, best and processor time, each with its ratio."""
    found = entries(job, races)
    if not found:
        return []
    size = next(race["size"] for race in races if race["job"] == job)
    rows = [f"### {JOBS[job].title}: {size:,}", ""]
    rows += [
        "| contestant | threads | ms: median | best | processor | times ours: median | best | processor | errors |",
        "|---|--:|--:|--:|--:|--:|--:|--:|---|",
    ]
    for race in sorted((race for race in races if race["job"] == job), key=lambda race: race["threads"]):
        for entry in found:
            if line := race["contestants"].get(entry.name):
                times = [number(line[figure]) for figure in ("median", "best", "processor")]
                ratios = [number(line["ratios"][figure]) for figure in ("median", "best", "processor")]
                cells = [label(entry), str(race["threads"]), *times, *ratios, error_text(job, line)]
                rows.append("| " + " | ".join(cells) + " |")
    return [*rows, ""]


def heading(results: list[dict[str, Any]]) -> str:
    """When, where, with what, and how."""
    about, versions = results[0]["machine"], results[0]["versions"]
    rounds = sorted({race["rounds"] for result in results for race in result["races"]})
    named = ", ".join(f"{name} {versions[name]}" for name in GENERAL_VERSIONS if name in versions)
    return (
        f"{about['date']}, {about['processor']}, {about['cores']} cores; {named}; "
        f"medians of {' or '.join(map(str, rounds))} alternating rounds, in parentheses ratios of processor times."
    )


def busy_text(races: list[dict[str, Any]]) -> str:
    """Which races other work on the machine disturbed: where half of the contestants waited for a processor."""
    disturbed = []
    for race in races:
        shares = [line["processor"] / line["median"] for line in race["contestants"].values()]
        if statistics.median(shares) < QUIET_SHARE:
            disturbed.append(f"{JOBS[race['job']].title} on {race['threads']}")
    if not disturbed:
        return ""
    return f" The machine was busy during {', '.join(disturbed)} thread(s): there processor times tell more."


def share_text(races: list[dict[str, Any]]) -> str:
    """How much longer price and Greeks take than the price alone."""
    shares = {race["threads"]: race["over the price alone"] for race in races if race["job"] == "greeks"}
    texts = []
    for title in next(iter(shares.values())):
        by_time = {threads: share[title]["by median time"] for threads, share in sorted(shares.items())}
        shown = " and ".join(f"{share:.2f} on {threads}" for threads, share in by_time.items())
        cached = statistics.median(share[title]["in cache"] for share in shares.values())
        texts.append(f"{title} {shown} thread(s) for columns of a million rows, {cached:.2f} in the second cache")
    return f"Price and Greeks over the price alone (goal for seven: at most {LARGEST_SHARE}): {'; '.join(texts)}."


def sections(results: list[dict[str, Any]]) -> tuple[str, str]:
    """The short text for README.md and the full one for docs/benchmarks.md."""
    races = [race for result in results for race in result["races"]]
    threads = max(race["threads"] for race in races)
    first, table, last = heading(results) + busy_text(races), short_table(races, threads), share_text(races)
    full = [line for job in JOBS for line in full_table(job, races)]
    return "\n".join([first, "", *table, "", last]), "\n".join([first, "", *table, "", last, "", *full]).rstrip()


def insert(text: str, section: str) -> str:
    """The text with what stands between the markers replaced; ValueError where it has no markers."""
    return between(text, section, (BEGIN, END))


def between(text: str, section: str, markers: tuple[str, str]) -> str:
    """The text with what stands between two markers replaced; ValueError where it has none."""
    before, begin, rest = text.partition(markers[0])
    _, end, after = rest.partition(markers[1])
    if not begin or not end:
        raise ValueError(f"no line {markers[0]!r} followed by {markers[1]!r}")
    return f"{before}{begin}\n{section}\n{end}{after}"


def main() -> None:
    """Read what the races wrote, write both tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.report", description=__doc__)
    parser.add_argument("--build", type=Path, default=ROOT / "build", help="where the races wrote their JSON")
    build = parser.parse_args().build
    missing = [name for name in FILES if not (build / name).exists()]
    if missing:
        parser.error(f"{build} lacks {', '.join(missing)}; make bench-peers writes them")
    results = [json.loads((build / name).read_text(encoding="utf-8")) for name in FILES]
    for path, section in zip((ROOT / "README.md", ROOT / "docs" / "benchmarks.md"), sections(results), strict=True):
        path.write_text(insert(path.read_text(encoding="utf-8"), section), encoding="utf-8")
        print(f"written: {path.relative_to(ROOT)}")
    print(sections(results)[0])


if __name__ == "__main__":
    main()
