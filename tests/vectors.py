"""Where the tests find published numbers and market data.

Vectors     PORTFOLIO_MARGIN_REFERENCE, by default tests/reference and then ../shared/reference,
            each file name once.
Data        PORTFOLIO_MARGIN_DATA, by default ../shared/data.

When a variable is set only its folder counts. A test whose file is missing is skipped; where CI is set
and the folders are the default ones it fails instead, so that a moved folder cannot turn a run green.
"""

from __future__ import annotations

import json
import os
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

import pytest

ROOT = Path(__file__).resolve().parent.parent
REFERENCE_VARIABLE = "PORTFOLIO_MARGIN_REFERENCE"
DATA_VARIABLE = "PORTFOLIO_MARGIN_DATA"
LITERATURE = "literature-vectors.json"
WORKED = "worked-examples.json"
_ASKED: dict[str, list[str]] = {}


def folders(variable: str, defaults: tuple[Path, ...]) -> tuple[Path, ...]:
    """The folders to look in, in order of precedence."""
    given = os.environ.get(variable)
    return (Path(given).expanduser(),) if given else defaults


def reference_folders() -> tuple[Path, ...]:
    return folders(REFERENCE_VARIABLE, (ROOT / "tests" / "reference", ROOT.parent / "shared" / "reference"))


def data_folders() -> tuple[Path, ...]:
    return folders(DATA_VARIABLE, (ROOT.parent / "shared" / "data",))


def reference_files() -> dict[str, Path]:
    """Every vector file by its name; where two folders hold the same name the first one counts."""
    found: dict[str, Path] = {}
    for folder in reference_folders():
        for path in sorted(folder.glob("*.json")):
            found.setdefault(path.name, path)
    return found


def reference_file(name: str) -> Path:
    """The vector file of that name; skips the calling test, or module, where there is none."""
    _ask(name)
    return _existing(name, reference_folders(), REFERENCE_VARIABLE)


def data_file(relative: str) -> Path:
    """A data file by its path below the data folder; skips the calling test, or module, where there is none."""
    _ask(relative.rpartition("/")[2])
    return _existing(relative, data_folders(), DATA_VARIABLE)


def asked() -> list[str]:
    """Files, each with a kind where one was asked for, since this was last cleared."""
    return [" ".join((name, *kinds)) for name, kinds in _ASKED.items()]


def forget_asked() -> None:
    """Begin a new list of what is asked for."""
    _ASKED.clear()


def _ask(name: str, *kinds: str) -> None:
    known = _ASKED.setdefault(name, [])
    known += [kind for kind in kinds if kind not in known]


def reference_json(name: str) -> dict[str, Any]:
    """The parsed vector file of that name."""
    return _parsed(reference_file(name))


def literature_vectors(kind: str) -> list[dict[str, Any]]:
    """The literature vectors of one kind; skips where the file, or the kind in a file given by variable, is missing."""
    return _selected(LITERATURE, "vectors", "kind", kind)


def worked_examples(system: str) -> list[dict[str, Any]]:
    """The worked examples of one system; `worked_shared` holds what their *_ref keys point to."""
    return _selected(WORKED, "examples", "system", system)


def worked_shared() -> dict[str, Any]:
    """The tables of parameters, scenarios and portfolios that worked examples share."""
    shared: dict[str, Any] = reference_json(WORKED)["shared"]
    return shared


@cache
def _parsed(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def _selected(name: str, table: str, field: str, value: str) -> list[dict[str, Any]]:
    _ask(name, value)
    vectors = [vector for vector in reference_json(name)[table] if vector[field] == value]
    if not vectors:
        _missing(f"{name} holds no vector with {field} {value!r}", REFERENCE_VARIABLE)
    return vectors


def _existing(relative: str, places: tuple[Path, ...], variable: str) -> Path:
    for folder in places:
        if (folder / relative).is_file():
            return folder / relative
    _missing(f"{relative} is in none of {', '.join(str(folder) for folder in places)}; set {variable}", variable)


def _missing(reason: str, variable: str) -> NoReturn:
    if os.environ.get("CI") and not os.environ.get(variable):
        pytest.fail(f"{reason} (in CI a missing file is a failure)", pytrace=False)
    pytest.skip(reason, allow_module_level=True)
