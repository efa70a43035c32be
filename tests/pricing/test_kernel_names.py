"""Kernels for different constants, compiled one a process and taken from the disk cache by a third, stay apart."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_kernels_from_the_cache_are_not_mistaken_for_each_other(tmp_path: Path) -> None:
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path), "PYTHONPATH": str(ROOT)}

    def run(*constants: str) -> str:
        command = [sys.executable, "-m", "tests.pricing.kernel_names_program", *constants]
        return subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=True).stdout

    assert run("5") == "[5]\n" and run("11") == "[11]\n"
    assert run("5", "11") == "[5, 11]\n"
