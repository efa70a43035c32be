"""The example of docs/liquidation.md runs as it stands, and the page names every policy and file."""

from __future__ import annotations

import re

import pytest

from tests.vectors import ROOT

PAGE = (ROOT / "docs" / "liquidation.md").read_text(encoding="utf-8")
FOLDER = ROOT / "portfolio_margin" / "liquidation"


def test_the_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (block,) = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    exec(compile(block, "docs/liquidation.md", "exec"), {})
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("restored ") and second == "True 0"


def test_every_file_is_told_of() -> None:
    for path in FOLDER.glob("*.py"):
        assert path.name == "__init__.py" or f"`{path.name}`" in PAGE, path.name
    for path in (FOLDER / "policies").glob("*.py"):
        assert path.name == "__init__.py" or f"| `{path.stem}` |" in PAGE, path.name
