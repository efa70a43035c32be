"""doctor: what this installation is made of, and whether it is ready."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import sys
from pathlib import Path

import click

from portfolio_margin.cli.output import progress
from portfolio_margin.version import VERSION

NOT_READY = 1
REQUIRED = ("numpy", "scipy", "numba", "llvmlite", "jax", "jaxlib", "pandas", "click", "rich")
OPTIONAL = ("pyarrow", "matplotlib", "distributed")
KERNEL_FOLDERS = ("pricing", "scenarios", "portfolio_margin")


@click.command("doctor")
def command() -> None:
    """Versions, cores, threads and the state of the compilation cache. Exits 1 where something is missing.

    Kernels that are not in the cache yet are compiled, which takes a while the first time.
    """
    healthy = True
    _line("portfolio-margin", VERSION)
    _line("python", f"{platform.python_version()} ({sys.executable})")
    for name in REQUIRED:
        version = _version(name)
        healthy &= version is not None
        _line(name, version or "MISSING: install the project again")
    for name in OPTIONAL:
        _line(name, _version(name) or "not installed (optional)")
    for name in KERNEL_FOLDERS:
        spec = importlib.util.find_spec(name)
        _line(f"package {name}", str(Path(spec.origin).parent) if spec and spec.origin else "MISSING")
    # The rest runs kernels, which takes what was found missing.
    if not (healthy and _threads_and_precision()):
        sys.exit(NOT_READY)
    _cache()


def _threads_and_precision() -> bool:
    from portfolio_margin.backends.state import double_precision_works, jax_devices, threading_state

    threads, layer = threading_state()
    works = double_precision_works()
    _line("cores", f"{os.cpu_count()}, numba threads {threads}, threading layer {layer}")
    _line("jax float64 in a context", "works" if works else "FAILS: the jax backend would round to float32")
    found = jax_devices()
    _line("jax devices", f"{len(found)}: {', '.join(dict.fromkeys(found))}")
    return works


def _cache() -> None:
    from portfolio_margin.backends.state import kernels_compiled_here
    from portfolio_margin.kernels import compile_jobs

    jobs = compile_jobs(("numba",))
    with progress("looking at the kernels", len(jobs)) as step:
        for name, job in jobs:
            job()
            step(name)
    compiled, loaded = kernels_compiled_here()
    state = "warm: every kernel came from disk" if not compiled else f"was cold: {compiled} kernels compiled just now"
    _line("numba cache", f"{state} ({compiled + loaded} kernels)")
    given = os.environ.get("NUMBA_CACHE_DIR")
    home = Path(__file__).resolve().parent.parent.parent
    folders = [Path(given)] if given else [home / name for name in KERNEL_FOLDERS]
    files = [path for folder in folders for path in folder.rglob("*.nbc")]
    size = sum(path.stat().st_size for path in files)
    _line("numba cache files", f"{len(files)} in {given or '__pycache__ beside each kernel'}, {size / 1e6:.1f} MB")
    _line("jax cache", os.environ.get("JAX_COMPILATION_CACHE_DIR", "none"))


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _line(name: str, value: str) -> None:
    click.echo(f"{name:<28}{value}")
