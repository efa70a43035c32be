"""Every notebook runs top to bottom: its code cells in order, in one namespace, and what it leaves is as it says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from portfolio_margin.liquidation.plan import DEFAULT_BUFFER
from portfolio_margin.plots.picture import Picture
from tests.vectors import DATA_VARIABLE, ROOT, data_file

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


def pictures(names: dict[str, Any]) -> dict[str, Picture]:
    """The pictures that a notebook leaves, each drawn as a notebook would show it."""
    found = {name: value for name, value in names.items() if isinstance(value, Picture)}
    assert all(picture._repr_png_().startswith(b"\x89PNG") and len(picture.frame) for picture in found.values())
    return found


@pytest.fixture(params=["made", "real"])
def data(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """What notebooks find of real data: nothing, so that they make their own, or the folder of data."""
    pytest.importorskip("matplotlib")
    monkeypatch.setenv("MPLBACKEND", "Agg")
    folder = tmp_path
    if request.param == "real":
        folder = data_file("deribit_chain/raw_snapshot_20260226T094105Z.csv.gz").parent.parent
    monkeypatch.setenv(DATA_VARIABLE, str(folder))
    return str(request.param)


def test_price_and_fit(data: str) -> None:
    """A surface free of arbitrage that runs through its quotes, and Greeks that agree with moved prices."""
    names = run_cells(ROOT / "notebooks" / "01_price_and_fit.ipynb")
    assert len(pictures(names)) == 4
    assert (names["file"] is None) == (data == "made")
    table = names["table"].loc[["delta", "vega"]]
    assert table["greek"].to_numpy() == pytest.approx(table["by moving the price"].to_numpy(), rel=1e-4)
    frame = names["surface_frame"](names["surface"], names["expiries"], names["names"])
    dated = frame[frame["tau"] > 0]
    assert (dated["minimum_g"] >= 0).all() and not dated["crosses_previous"].any()
    assert dated["rmse_vega"].median() < 1.0  # vol points


def test_scenarios_and_risk_arrays(data: str) -> None:
    names = run_cells(ROOT / "notebooks" / "02_scenarios_and_risk_arrays.ipynb")
    assert len(pictures(names)) == 3
    assert names["arrays"].pnl.shape == (len(names["instruments"]), len(names["scenario_set"]))
    assert np.argmin(names["account_pnl"](names["own"], names["arrays"])[0]) == names["worst"]
    if data == "real":
        assert 0.0 < names["share"].abs().median() < 0.02
    else:
        assert names["file"] is None


def test_margin_of_an_exchange(data: str) -> None:
    names = run_cells(ROOT / "notebooks" / "03_margin_of_an_exchange.ipynb")
    assert len(pictures(names)) == 4
    assert (names["file"] is None) == (data == "made")
    assert set(names["frame"]["status"]) == {"NORMAL", "MARGIN_CALL", "REDUCE_ONLY", "LIQUIDATION", "BANKRUPT"}
    assert not names["by_model"].left_out and (names["total"] > 1e6).all()
    assert names["parts"].standalone[:, 0].sum() > names["frame"].loc["iron-condor-07", "initial_margin"]
    assert (names["table"] >= 0).all().all() and len(names["table"]) > 40


def test_calibrate_a_grid(data: str) -> None:
    """What was calibrated holds on the history, in sample and walked; of made data the truth is near what is found."""
    names = run_cells(ROOT / "notebooks" / "04_calibrate_a_grid.ipynb")
    assert len(pictures(names)) == 5
    assert (names["file"] is None) == (data == "made")
    ranged, fitted = names["ranged"], names["fitted"]
    assert ranged.chosen == max(ranged.held, ranged.floor) >= ranged.current
    assert fitted.error <= names["settings"].grid_error < fitted.equal[0]
    garch = names["garch"]
    if data == "made":
        assert garch.alpha == pytest.approx(0.08, abs=0.03) and garch.beta == pytest.approx(0.90, abs=0.04)
    assert 0.9 < garch.persistence < 1.0
    # The set that is margined with has the days for which the error of its nodes is stated.
    assert names["measured"].days == names["terms"].days == (0.0, 2.0)
    assert names["measured"].price_nodes == tuple(np.round(fitted.nodes, 4))
    summary = names["summary"].set_index("set")
    assert (summary.loc[["measured", "calibrated"], "worst_coverage"] > 0.99).all()
    assert (summary["failing"] == 0).all() and list(summary.index.unique()) == ["measured", "calibrated", "fixed"]


def test_liquidation_and_a_crash(data: str) -> None:
    """Plans restore their buffer, the cheapest costs least, and losses are borne to the cent."""
    names = run_cells(ROOT / "notebooks" / "05_liquidation_and_a_crash.ipynb")
    assert len(pictures(names)) == 3
    plans = names["plans"]
    assert all(plan.after.shortfall(DEFAULT_BUFFER) <= 0.0 for plan in plans.values())
    spent = {name: plan.cost + plan.penalty for name, plan in plans.items()}
    assert min(spent.values()) == spent["cheapest"]
    settled = names["settled"]
    assert settled.deficit == settled.from_fund + settled.deleveraged + settled.socialised + settled.uncovered > 0
    crash = names["crash"]
    assert crash.path.name == ("crash_2026" if data == "made" else "2020-03-11 to 2020-03-13")
    borne = sum(crash.total(name) for name in ("from_fund", "deleveraged", "socialised"))
    assert crash.total("shortfall") == pytest.approx(borne + crash.rows[-1].uncovered, abs=0.01)
    assert names["table"]["fund needed"].iloc[-1] < names["table"]["fund needed"].iloc[0]


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
    # A hedge has what it was for, buys back nothing that is quoted, and the batch has one order that is refused.
    assert ((day["breach"] != "") == (day["hedge"] != "")).all()
    assert not any(name in orders for orders in day["orders"] for name in names["NAMES"])
    assert list(names["checks"].allowed) == [True, True, False]
    assert names["spent"] == pytest.approx(day["cost"].sum())
    assert names["edge"] > 0
    gained = names["edge"] - names["spent"] + names["moved"]
    assert names["summary"].loc["equity", "change"] == pytest.approx(gained, abs=0.5)
    own = names["engine"].state.statement("market-maker-01")
    assert day["available_funds"].iloc[-1] == own.available_funds[0]
