"""Style that the import rules cannot show, read from the sources: lengths, purity, names, documents.

Each rule walks the tree as it stands, so a new file is held to it untouched.
"""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.vectors import ROOT

PACKAGES = ("pricing", "scenarios", "portfolio_margin")
# The shell: what talks to files, terminals, other machines and clocks. Everything else is the core, and pure.
SHELL = ("portfolio_margin/io", "portfolio_margin/cli", "portfolio_margin/service", "portfolio_margin/plots",
         "portfolio_margin/report", "portfolio_margin/sample", "portfolio_margin/cluster",
         "portfolio_margin/residents")  # fmt: skip

MAX_FILE_LINES = 500
MAX_FUNCTION_LINES = 70
MAX_PARAMETERS = 10
MAX_FILE_BYTES = 5_000_000

FORBIDDEN_CALLS = {"print", "open", "input", "breakpoint", "exec", "eval"}
FORBIDDEN_METHODS = {"read_text", "read_bytes", "write_text", "write_bytes", "tofile", "savez", "savetxt"}
FORBIDDEN_MODULES = {"time", "random", "secrets", "logging", "sqlite3", "subprocess", "tempfile", "shutil"}
CLOCKS = {("datetime", "now"), ("datetime", "today"), ("datetime", "utcnow"), ("date", "today"), ("Timestamp", "now")}
SEEDED = {"default_rng", "Generator", "PCG64", "SeedSequence"}

VERSIONED_NAME = re.compile(r"(?:_v\d+|_new|_old|_plus|_final|_copy|_\d{1,2}_\d{1,2})$", re.I)
UNFINISHED = re.compile(r"\b(?:TO" + r"DO|FIX" + r"ME|XX" + r"X|HA" + r"CK|place" + r"holder|dum" + r"my)\b", re.I)
MACHINE_PATH = re.compile(r"(?<![\w.:/])/(?:root|home|work|farm|tmp|Users)/[\w-]+")
INDEX_ADDRESS = re.compile(r"index[-_]url|find[-_]links|pypi\.org/simple|file:/" + "/", re.I)
TABLE_ROW = re.compile(r"^\s*([a-z]\w*(?:, [a-z]\w*)*)\s{2,}\S")
PLAIN_TYPE = re.compile(r"\b(?:str|int|float|bool|ArrayLike|\w+Array)\b")
TEXT_SUFFIXES = {"", ".py", ".md", ".toml", ".txt", ".cfg", ".yml", ".yaml", ".json", ".ipynb", ".html", ".js", ".csv"}


def sources(*folders: str) -> list[Path]:
    return sorted(
        path for folder in folders for path in (ROOT / folder).rglob("*.py") if "__pycache__" not in path.parts
    )


def core_sources() -> list[Path]:
    shell = tuple(ROOT / place for place in SHELL)
    return [
        path
        for path in sources(*PACKAGES)
        if not any(path.is_relative_to(p) or path == p.with_suffix(".py") for p in shell)
    ]


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def where(path: Path, node: ast.AST | None = None) -> str:
    line = getattr(node, "lineno", None)
    return f"{path.relative_to(ROOT)}" + (f":{line}" if line else "")


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree(path)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def parameter_names(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    given = function.args
    every = [*given.posonlyargs, *given.args, *given.kwonlyargs, *([given.vararg] if given.vararg else [])]
    every += [given.kwarg] if given.kwarg else []
    return [argument.arg for argument in every if argument.arg not in ("self", "cls")]


def tracked_files() -> list[Path]:
    """Files that are, or would be, in the repository; without git, every file outside dotted folders."""
    command = ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    except (OSError, subprocess.CalledProcessError):
        return [path for path in ROOT.rglob("*") if path.is_file() and not any(p.startswith(".") for p in path.parts)]
    return [ROOT / name for name in listed if (ROOT / name).is_file()]


def test_the_packages_are_found() -> None:
    assert all(sources(package) for package in PACKAGES)
    assert len(core_sources()) > 20


def test_every_source_folder_is_a_package() -> None:
    """A folder without __init__.py would be left out of the wheel."""
    folders = {path.parent for path in sources(*PACKAGES)}
    assert not [where(folder) for folder in sorted(folders) if not (folder / "__init__.py").exists()]


@pytest.mark.parametrize("folders", [PACKAGES, ("tests", "benchmarks")], ids=["packages", "tests"])
def test_file_length(folders: tuple[str, ...]) -> None:
    lengths = {where(path): path.read_text(encoding="utf-8").count("\n") for path in sources(*folders)}
    assert not {name: lines for name, lines in lengths.items() if lines > MAX_FILE_LINES}


def test_function_length_and_parameters() -> None:
    offenders = []
    for path in sources(*PACKAGES, "tests", "benchmarks"):
        for node in functions(path):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > MAX_FUNCTION_LINES:
                offenders.append(f"{where(path, node)} {node.name}: {lines} lines")
            if len(parameter_names(node)) > MAX_PARAMETERS:
                offenders.append(f"{where(path, node)} {node.name}: {len(parameter_names(node))} parameters")
    assert not offenders


def impure(node: ast.AST) -> str | None:
    """What makes a node depend on, or change, the world outside its arguments; None for most."""
    if isinstance(node, ast.Import):
        found = [name.name for name in node.names if name.name.split(".")[0] in FORBIDDEN_MODULES]
        return f"imports {found[0]}" if found else None
    if isinstance(node, ast.ImportFrom):
        return f"imports {node.module}" if (node.module or "").split(".")[0] in FORBIDDEN_MODULES else None
    if isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv"):
        return f"reads os.{node.attr}"
    if isinstance(node, ast.Call):
        return impure_call(node)
    return None


def impure_call(node: ast.Call) -> str | None:
    called = node.func
    if isinstance(called, ast.Name):
        return f"calls {called.id}" if called.id in FORBIDDEN_CALLS else None
    if not isinstance(called, ast.Attribute):
        return None
    owner = called.value.attr if isinstance(called.value, ast.Attribute) else getattr(called.value, "id", "")
    if called.attr in FORBIDDEN_METHODS or (owner, called.attr) in CLOCKS:
        return f"calls {owner}.{called.attr}"
    if called.attr in SEEDED and not node.args and not node.keywords:
        return f"calls {called.attr} without a seed"
    global_state = isinstance(called.value, ast.Attribute) and ast.unparse(called.value) in (
        "np.random",
        "numpy.random",
    )
    return f"calls np.random.{called.attr}" if global_state and called.attr not in SEEDED else None


def test_the_core_is_pure() -> None:
    """No print, file, clock, environment or random state outside the shell: time and seed are arguments."""
    found = [(path, node, impure(node)) for path in core_sources() for node in ast.walk(tree(path))]
    assert not [f"{where(path, node)} {reason}" for path, node, reason in found if reason]


@pytest.mark.parametrize(
    "line",
    ["print(1)", "open('x')", "import time", "from random import random", "np.random.normal()", "datetime.now()",
     "np.random.default_rng()", "os.environ['X']", "path.read_text()", "datetime.datetime.now()"],
)  # fmt: skip
def test_the_purity_rule_sees(line: str) -> None:
    assert any(impure(node) for node in ast.walk(ast.parse(line)))


def test_the_purity_rule_lets_pass() -> None:
    lines = "np.random.default_rng(seed)\nimport io\nmath.exp(1.0)\nstamp.as_unit('ms')"
    assert not [impure(node) for node in ast.walk(ast.parse(lines)) if impure(node)]


def public_definitions(path: Path) -> list[ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]:
    kinds = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    return [node for node in tree(path).body if isinstance(node, kinds) and not node.name.startswith("_")]


def test_modules_and_public_names_have_docstrings() -> None:
    missing = []
    for path in sources(*PACKAGES):
        if path.name == "__init__.py" and not tree(path).body:
            continue
        missing += [] if ast.get_docstring(tree(path)) else [where(path)]
        if path.parent.name != "xp":  # its names are those of the array libraries
            missing += [
                f"{where(path, node)} {node.name}" for node in public_definitions(path) if not ast.get_docstring(node)
            ]
    assert not missing


def documented_rows(docstring: str) -> set[str]:
    """First column of a table in a docstring, where every row reads: name, or names, then two blanks, then text."""
    rows = [match.group(1) for line in docstring.splitlines() if (match := TABLE_ROW.match(line))]
    return {name for row in rows for name in row.split(", ")}


def undocumented(names: set[str], docstring: str) -> list[str]:
    """The names that a docstring does not mention, where it has a table of two or more of them."""
    if len(documented_rows(docstring) & names) < 2:
        return []
    return sorted(name for name in names if not name.startswith("_") and not re.search(rf"\b{name}\b", docstring))


def test_documented_fields_are_the_fields() -> None:
    offenders = []
    for path in sources(*PACKAGES):
        for node in (node for node in ast.walk(tree(path)) if isinstance(node, ast.ClassDef)):
            fields = {i.target.id for i in node.body if isinstance(i, ast.AnnAssign) and isinstance(i.target, ast.Name)}
            missing = undocumented(fields, ast.get_docstring(node) or "")
            offenders += [f"{where(path, node)} {node.name} lacks {name}" for name in missing]
    assert not offenders


def plain_parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> set[str]:
    """Parameters that are numbers, texts or arrays; one of our own tables says by its type what it is."""
    given = function.args
    every = [*given.posonlyargs, *given.args, *given.kwonlyargs]
    return {
        argument.arg
        for argument in every
        if argument.annotation and PLAIN_TYPE.search(ast.unparse(argument.annotation))
    }


def test_documented_parameters_are_the_parameters() -> None:
    offenders = []
    for path in sources(*PACKAGES):
        for node in functions(path):
            missing = undocumented(plain_parameters(node), ast.get_docstring(node) or "")
            offenders += [f"{where(path, node)} {node.name} lacks {name}" for name in missing]
    assert not offenders


def test_the_document_rule_sees_what_is_missing() -> None:
    assert undocumented({"strike", "vol", "tau"}, "strike  in quote currency\nvol     per sqrt(year)") == ["tau"]
    assert not undocumented({"strike", "vol"}, "strike  in quote currency\nvol     per sqrt(year)")
    assert not undocumented({"strike", "vol"}, "No table here.")


def test_no_versions_by_copying() -> None:
    names = [(where(path), path.stem) for path in sources(*PACKAGES)]
    names += [(where(path, node), node.name) for path in sources(*PACKAGES) for node in public_definitions(path)]
    assert not [f"{place} {name}" for place, name in names if VERSIONED_NAME.search(name)]


def test_nothing_unfinished() -> None:
    offenders = []
    for path in sources(*PACKAGES):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if UNFINISHED.search(line):
                offenders.append(f"{where(path)}:{number} {line.strip()[:80]}")
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Raise) and node.exc and "NotImplementedError" in ast.dump(node.exc):
                offenders.append(f"{where(path, node)} raises NotImplementedError")
    assert not offenders


def test_no_trace_of_a_machine() -> None:
    """No absolute path of a developer's machine and no address of a package index, in any text file."""
    offenders = []
    for path in tracked_files():
        if path.suffix not in TEXT_SUFFIXES:
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if MACHINE_PATH.search(line) or INDEX_ADDRESS.search(line):
                offenders.append(f"{where(path)}:{number} {line.strip()[:80]}")
    assert not offenders


def test_no_large_file() -> None:
    assert not [where(path) for path in tracked_files() if path.stat().st_size > MAX_FILE_BYTES]


def modules_with_public_names() -> list[str]:
    named = [path for path in sources(*PACKAGES) if any(is_all(node) for node in tree(path).body)]
    parts = [path.relative_to(ROOT).with_suffix("").parts for path in named]
    return [".".join(part[:-1] if part[-1] == "__init__" else part) for part in parts]


def is_all(node: ast.stmt) -> bool:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return any(isinstance(target, ast.Name) and target.id == "__all__" for target in targets)


@pytest.mark.parametrize("module", modules_with_public_names())
def test_public_names_exist(module: str) -> None:
    loaded = importlib.import_module(module)
    names = list(loaded.__all__)
    assert len(set(names)) == len(names)
    assert not [name for name in names if not hasattr(loaded, name)]


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_declare_their_public_names(package: str) -> None:
    assert package in modules_with_public_names()
