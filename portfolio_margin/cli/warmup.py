"""warmup: compile everything once, so that no order and no tick waits for a compiler."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import click

from portfolio_margin.cli.output import progress
from portfolio_margin.kernels import compile_jobs


@click.command("warmup")
@click.option("--jax/--no-jax", "with_jax", default=True, show_default=True, help="Also compile the jax backend.")
def command(with_jax: bool) -> None:
    """Compile every kernel once. numba keeps its results on disk; jax keeps them by the shape of the arrays."""
    jobs: list[tuple[str, Callable[[], Any]]] = compile_jobs(("numba", "jax") if with_jax else ("numba",))
    took = []
    with progress("compiling", len(jobs)) as step:
        for name, job in jobs:
            start = time.perf_counter()
            job()
            took.append((name, time.perf_counter() - start))
            step(name)
    for name, seconds in took:
        click.echo(f"{name:<44}{seconds:8.2f} s")
    click.echo(f"{len(took)} kernels ready in {sum(seconds for _, seconds in took):.1f} s")
