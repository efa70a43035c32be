"""The how-tos of docs/howto run as they stand: blocks of Python and of commands, in the order of the page."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest

from portfolio_margin.cli.main import main
from tests.vectors import ROOT

PAGES = sorted(path for path in (ROOT / "docs" / "howto").glob("*.md") if path.stem != "index")
BLOCK = re.compile(r"^```(python|sh)\n(.*?)^```", re.DOTALL | re.MULTILINE)
WRITTEN = re.compile(r"^cat > (\S+) <<'EOF'\n(.*?)^EOF\n", re.DOTALL | re.MULTILINE)


def run_commands(text: str, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Write the files that a block of shell writes, run its commands in this process; their exit codes."""
    for name, content in WRITTEN.findall(text):
        Path(name).write_text(content, encoding="utf-8")
    codes, held = [], {}
    for line in WRITTEN.sub("", text).splitlines():
        if named := re.fullmatch(r'([A-Z]+)="(.*)"', line):
            held[named[1]] = named[2]
            continue
        words = shlex.split(re.sub(r"\$([A-Z]+)", lambda found: held[found[1]], line), comments=True)
        if not words:
            continue
        assert words[0] == "portfolio-margin", f"the test runs no other command: {line}"
        monkeypatch.setattr(sys, "argv", words)
        with pytest.raises(SystemExit) as ended:
            main()
        codes.append(int(ended.value.code or 0))
    return codes


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_howto(path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = BLOCK.findall(path.read_text(encoding="utf-8"))
    assert blocks, path.name
    names: dict[str, Any] = {"__name__": "howto"}
    for number, (kind, text) in enumerate(blocks):
        if kind == "python":
            exec(compile(text, f"{path.name}, block {number + 1}", "exec", dont_inherit=True), names)
        else:
            codes = run_commands(text, monkeypatch)
            assert codes and not any(codes), f"{path.name}, block {number + 1}: exit codes {codes}"


def test_the_index_lists_every_page() -> None:
    index = (ROOT / "docs" / "howto" / "index.md").read_text(encoding="utf-8").splitlines()
    assert {path.stem for path in PAGES} <= set(index)
