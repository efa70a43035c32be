"""The code blocks of docs/surfaces.md run as they stand, in the order of the page, in a folder of their own."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import pricing
from tests.portfolio_margin.io_examples import crossing_frame
from tests.vectors import ROOT

PAGE = ROOT / "docs" / "surfaces.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def test_blocks_of_surfaces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    crossing_frame().to_csv("deribit.csv", index=False)
    assert len(BLOCKS) == 4
    for number, block in enumerate(BLOCKS):
        exec(compile(block, f"{PAGE.name}, block {number + 1}", "exec"), {})
    told = capsys.readouterr().out
    assert told.startswith("[ True  True  True] [ True  True]")
    assert "[False]" in told
    for name in ("chain.csv", "smile.png", "fan.png", "butterfly.png", "residuals.png"):
        assert (tmp_path / name).stat().st_size > 0


def test_names_of_the_table_are_there() -> None:
    """What the page says stands in `pricing` does."""
    lines = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| `pricing` |")]
    names = re.findall(r"`(\w+)`", "".join(line.split("|")[2] for line in lines))
    assert len(names) > 20
    assert set(names) <= set(pricing.__all__)
