"""The parts of `python -m benchmarks`: what each measures, how long it takes, and with which of the sizes it runs.

A module is imported when its part runs, so that a part needs what it uses and nothing else. A module that has no
command line of its own gets one from the signature of its `run`.
"""

from __future__ import annotations

import argparse
import inspect
import json
import os
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

BUILD = Path("build")


class Part(NamedTuple):
    """A part: one line about it, seconds of processor time with the usual sizes (None: not measured), and the call."""

    about: str
    seconds: int | None
    call: Callable[[Any, argparse.Namespace], Any]

    def run(self, name: str, sizes: argparse.Namespace) -> None:
        """Import the module of that name and run it."""
        self.call(import_module(f"benchmarks.{name}"), sizes)


PARTS: dict[str, Part] = {
    "pricing": Part("prices, Greeks, implied vols", 63, lambda m, s: m.run_and_write(s.rows, s.rounds)),
    "revalue": Part("risk arrays", 8, lambda m, s: m.run(s.contracts, s.scenarios, s.rounds)),
    "worst_loss": Part(
        "worst loss of every account", 31,
        lambda m, s: m.run(s.contracts, s.scenarios, s.accounts, s.positions, s.rounds),
    ),
    "venue": Part(
        "a whole venue, one portfolio, scaling curves with a figure", None,
        lambda m, s: m.run(s.accounts, os.cpu_count() or 1, s.rounds, BUILD / "venue-scaling.png", s.largest),
    ),
    "accelerator": Part(
        "the same jobs on jax", 11, lambda m, s: m.run(s.contracts, s.scenarios, s.accounts, s.positions, s.rounds)
    ),
    "margin_models": Part(
        "requirements under every model", None, lambda m, s: m.run(s.accounts, s.positions, s.rounds)
    ),
    "american": Part("American options", 42, lambda m, s: m.run(5_000, s.rounds, BUILD / "bench-american.json")),
    "what_if": Part(
        "one what-if without an engine; in an engine under every model", None,
        lambda m, s: (m.run(s.accounts, s.positions, s.rounds), m.by_model(100 * s.rounds)),
    ),
    "liquidation": Part("cuts and plans", 22, lambda m, s: m.run(s.accounts // 20, s.positions, s.rounds)),
    "stress": Part("a crash of the venue", None, lambda m, s: m.run(s.accounts, s.positions, max(1, s.rounds // 4))),
    "backtest": Part("margins of a history", 35, lambda m, s: m.run(1, hours=24 * 1_000)),
    "edge": Part("moved markets and paths", 20, lambda m, s: m.run(200, 20_000, max(1, s.rounds // 2))),
    "hedge": Part("the cheapest hedge", None, lambda m, s: m.run(100, max(1, s.rounds // 2))),
    "engine": Part(
        "one order, orders in batch, fills, ticks", None,
        lambda m, s: m.run_all(s.contracts, s.scenarios, s.accounts, s.positions, s.rounds),
    ),
    "slices": Part(
        "fits of SVI slices", None,
        lambda m, s: m.run(s.slices, s.rounds, output=BUILD / "bench-slices.json"),
    ),
    "pairing": Part("strategies of Reg T", None, lambda m, s: m.run(100, s.rounds)),
    "span": Part(
        "a SPAN file and its margins", None,
        lambda m, s: m.run(s.commodities, s.accounts // 5, s.positions, s.rounds),
    ),
    "startup": Part("a new process", None, lambda m, s: m.run(s.rounds)),
}  # fmt: skip


def listed() -> str:
    """The parts as a text, one a line, each with what it takes."""
    lines = []
    for name, (about, seconds, _) in PARTS.items():
        lines.append(f"  {name:<15}{about:<60}" + ("" if seconds is None else f"{seconds:>5} s"))
    return "\n".join(lines)


def write_figures(path: Path | None, figures: dict[str, Any]) -> None:
    """As JSON, where a file is given."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def command_line(run: Callable[..., Any], about: str | None, **usual: int) -> None:
    """Run from the command line: an option for every parameter that has a usual value here."""
    parser = argparse.ArgumentParser(
        prog=f"python -m {inspect.getmodule(run).__spec__.name}",  # type: ignore[union-attr]
        description=about,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    for name, value in usual.items():
        parser.add_argument(f"--{name}", type=int, default=value, help=" ")
    run(**vars(parser.parse_args()))
