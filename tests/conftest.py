"""What every test shares: the report of how many vectors ran and how far off the worst one was."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator

import pytest
from hypothesis import settings

from tests.vectors import ROOT, asked, forget_asked

PROPERTY = "vectors"

# What jax compiles for one process of the tests serves the others, as numba's kernels do. Before anyone imports jax.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(ROOT / "build" / "jax"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")

# How long an example takes says something of the machine and of what was compiled before, nothing of the code.
settings.register_profile("portfolio-margin", deadline=None)
settings.load_profile("portfolio-margin")


# The collector of cycles comes less often: it is a third of the time in which tests are read, a tenth of that in which
# they run.
gc.set_threshold(50_000, 20, 50)


def pytest_collection_finish() -> None:
    """It leaves alone what stays for the whole run, tests and modules: some million objects, again and again."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def report_vectors(request: pytest.FixtureRequest) -> Callable[..., None]:
    """A function record(count, largest_error, unit="", label="") to call once per set of vectors.

    What it records is printed at the end of the run, passed or failed, on one process or many, under the files and
    kinds that the test has asked `tests.vectors` for and the label, by default the name of the test. A set
    without a vector proves nothing and fails the test.
    """

    forget_asked()

    def record(count: int, largest_error: float, unit: str = "", label: str = "") -> None:
        files = [name for name in asked() if name not in label]
        name = ": ".join(([", ".join(files)] if files else []) + [label or request.node.name])
        line = (name, int(count), float(largest_error), unit)
        request.node.user_properties.append((PROPERTY, line))
        assert count > 0, "no vector ran"

    return record


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    lines = sorted(_recorded(terminalreporter))
    if not lines:
        return
    terminalreporter.section("vectors")
    width = max(len(label) for label, *_ in lines)
    for label, count, largest_error, unit in lines:
        terminalreporter.write_line(
            f"{label:<{width}}  {count:>7,} ran  largest error {largest_error:.2e} {unit}".rstrip()
        )


def _recorded(terminalreporter: pytest.TerminalReporter) -> Iterator[tuple[str, int, float, str]]:
    for reports in terminalreporter.stats.values():
        for report in reports:
            if getattr(report, "when", None) == "call":
                yield from (tuple(value) for name, value in report.user_properties if name == PROPERTY)
