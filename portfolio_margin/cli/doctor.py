"""doctor: what this installation is made of, and whether it is ready."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import sys
from pathlib import Path

import click

from portfolio_margin.version import VERSION

NOT_READY = 1
REQUIRED = ("numpy", "scipy", "numba", "llvmlite", "jax", "jaxlib", "pandas", "click", "rich")
OPTIONAL = ("pyarrow", "matplotlib")
KERNEL_FOLDERS = ("pricing", "scenarios", "portfolio_margin")


@click.command("doctor")
def command() -> None:
    """Versions, cores, threads and the state of the compilation cache. Exits 1 where something is missing."""
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
    healthy &= _threads_and_precision()
    _cache()
    if not healthy:
        sys.exit(NOT_READY)


def _threads_and_precision() -> bool:
    from portfolio_margin.backends.state import double_precision_works, threading_state

    threads, layer = threading_state()
    works = double_precision_works()
    _line("cores", f"{os.cpu_count()}, numba threads {threads}, threading layer {layer}")
    _line("jax float64 in a context", "works" if works else "FAILS: the jax backend would round to float32")
    return works


def _cache() -> None:
    from portfolio_margin.backends.state import kernels_compiled_here
    from portfolio_margin.kernels import compile_jobs

    for _, job in compile_jobs(("numba",)):
        job()
    compiled, loaded = kernels_compiled_here()
    state = "warm: every kernel came from disk" if not compiled else f"was cold: {compiled} kernels compiled just now"
    _line("numba cache", f"{state} ({compiled + loaded} kernels)")
    home = Path(__file__).resolve().parent.parent.parent
    files = [path for name in KERNEL_FOLDERS for path in (home / name).rglob("__pycache__/*.nbc")]
    size = sum(path.stat().st_size for path in files)
    where = os.environ.get("NUMBA_CACHE_DIR") or "__pycache__ beside each kernel"
    _line("numba cache files", f"{len(files)} in {where}, {size / 1e6:.1f} MB")


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _line(name: str, value: str) -> None:
    click.echo(f"{name:<28}{value}")
