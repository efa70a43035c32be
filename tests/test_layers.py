"""Promises about importing: what is loaded when, whose module wins, and which parts mirror each other.

Who may import whom is checked by import-linter (pyproject.toml); this file holds what it cannot see.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.test_tidy import PACKAGES, sources, tree, where
from tests.vectors import ROOT

# Beside numpy alone, 2.4 to 4 times here: 0.3 s where numpy takes 0.06 s. What must not be loaded stands below.
IMPORT_OF_NUMPY = 5.0
IMPORT_ATTEMPTS = 5
LOADED_ON_FIRST_USE = {"jax", "numba", "pandas", "scipy"}
FORMULA_FOLDERS = ("pricing/models", "pricing/surfaces", "pricing/inversions")


def run_python(code: str, folder: Path, *first: Path) -> subprocess.CompletedProcess[str]:
    """Run `code` in a bare interpreter whose module path starts with the folders `first`, then ours."""
    path = os.pathsep.join(str(place) for place in (*first, ROOT))
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONSAFEPATH": "1"}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd=folder)


def test_import_loads_nothing_heavy(tmp_path: Path) -> None:
    done = run_python(
        "import sys, portfolio_margin; print(*sorted({name.split('.')[0] for name in sys.modules}))", tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert not LOADED_ON_FIRST_USE & set(done.stdout.split())


def test_import_is_quick(tmp_path: Path) -> None:
    """A few times what numpy alone takes in the same process, of processor time: whatever the machine's speed."""
    code = (
        "import time; start = time.process_time(); import numpy; middle = time.process_time(); "
        "import portfolio_margin; print(middle - start, time.process_time() - middle)"
    )
    numpy_alone, ours = float("inf"), float("inf")
    for _ in range(IMPORT_ATTEMPTS):
        done = run_python(code, tmp_path)
        assert done.returncode == 0, done.stderr
        of_numpy, of_ours = map(float, done.stdout.split())
        numpy_alone, ours = min(numpy_alone, of_numpy), min(ours, of_ours)
    assert ours < IMPORT_OF_NUMPY * numpy_alone


@pytest.mark.parametrize("as_package", [False, True], ids=["module", "package"])
@pytest.mark.parametrize("name", ["pricing", "scenarios"])
def test_a_foreign_module_is_named(name: str, as_package: bool, tmp_path: Path) -> None:
    foreign = tmp_path / name / "__init__.py" if as_package else tmp_path / f"{name}.py"
    foreign.parent.mkdir(exist_ok=True)
    foreign.write_text("", encoding="utf-8")
    done = run_python("import portfolio_margin", tmp_path, tmp_path)
    assert done.returncode == 1
    last_line = done.stderr.strip().splitlines()[-1]
    assert "ImportError" in last_line
    assert str(foreign) in last_line


def test_a_foreign_module_behind_ours_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / "pricing.py").write_text("", encoding="utf-8")
    done = run_python(f"import sys; sys.path.append({str(tmp_path)!r}); import portfolio_margin", tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("folder", FORMULA_FOLDERS)
def test_formulas_import_nothing(folder: str) -> None:
    imports = (ast.Import, ast.ImportFrom)
    assert not [where(p, node) for p in sources(folder) for node in ast.walk(tree(p)) if isinstance(node, imports)]


def public_functions(path: Path) -> set[str]:
    defined = (node for node in tree(path).body if isinstance(node, ast.FunctionDef))
    return {node.name for node in defined if not node.name.startswith("_")}


@pytest.mark.parametrize("package", PACKAGES)
def test_backends_have_the_same_functions(package: str) -> None:
    reference, compiled, differentiable = (
        public_functions(ROOT / package / "backends" / f"{name}.py") for name in ("numpy", "numba", "jax")
    )
    assert compiled
    assert compiled == differentiable
    assert compiled <= reference


@pytest.mark.parametrize("package", PACKAGES)
def test_every_kernel_has_a_naive_twin(package: str) -> None:
    """tests/naive holds a plain-Python function of the same name for each public function of a compiled backend."""
    twins = {name for path in sources("tests/naive") for name in public_functions(path)}
    assert not public_functions(ROOT / package / "backends" / "numba.py") - twins


def imported(path: Path) -> set[str]:
    """Top-level names of the modules that a file imports."""
    nodes = list(ast.walk(tree(path)))
    names = [name.name for node in nodes if isinstance(node, ast.Import) for name in node.names]
    names += [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)]
    return {name.split(".")[0] for name in names}


def test_naive_twins_share_nothing_with_what_they_check() -> None:
    shared = {*PACKAGES, "numba", "jax", "scipy", "pandas"}
    assert not {where(path): imported(path) & shared for path in sources("tests/naive") if imported(path) & shared}
