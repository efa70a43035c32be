"""Every notebook runs top to bottom: its code cells in order, in one namespace, and what it leaves is as it says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.vectors import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def read(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text(encoding="utf-8")))


def run_cells(path: Path) -> dict[str, Any]:
    """The names that the cells leave behind; a cell that fails is named."""
    names: dict[str, Any] = {"__name__": "__main__"}
    for number, cell in enumerate(read(path)["cells"]):
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), f"{path.name}, cell {number}", "exec"), names)
    return names


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_are_valid_and_kept_without_outputs(path: Path) -> None:
    notebook = read(path)
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    identifiers = [cell["id"] for cell in notebook["cells"]]
    assert len(set(identifiers)) == len(identifiers)
    for cell in notebook["cells"]:
        assert cell["cell_type"] in ("code", "markdown")
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            assert cell["execution_count"] is None


def test_the_hedging_bot(monkeypatch: pytest.MonkeyPatch) -> None:
    """It trades, hedges, and ends within its limits; the engine's figures are those of a margin computed anew."""
    monkeypatch.setenv("MPLBACKEND", "Agg")
    names = run_cells(ROOT / "notebooks" / "06_hedging_bot.ipynb")
    day = names["day"]
    assert len(day) == 12
    assert (day["hedge"] != "").any()
    assert (day["trade"] != "").all()
    assert day["available_funds"].min() >= names["LEAST_FUNDS"] > 0
    assert day["delta"].abs().max() <= names["DELTA_LIMIT"]
    assert names["spent"] == pytest.approx(day["cost"].sum())
    assert names["edge"] > 0
    gained = names["edge"] - names["spent"] + names["moved"]
    assert names["summary"].loc["equity", "change"] == pytest.approx(gained, abs=0.5)
    own = names["engine"].state.statement("market-maker-01")
    assert day["available_funds"].iloc[-1] == own.available_funds[0]
