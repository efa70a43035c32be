"""The examples of the documents run as they stand there."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from pricing import american_price
from tests.vectors import ROOT


def run_blocks(name: str) -> dict[str, Any]:
    """Every block of Python of a document, one after the other; what they leave behind."""
    names: dict[str, Any] = {}
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / name).read_text(encoding="utf-8"), re.DOTALL)
    assert blocks, name
    for block in blocks:
        exec(compile(block, name, "exec"), names)
    return names


def test_american_contracts_in_risk_arrays() -> None:
    arrays = run_blocks("docs/american.md")["arrays"]
    expected = 100 * american_price(100.0, 110.0, 0.5, 0.25, [-1, 1], 0.04, 0.015)
    assert arrays.value[2:] == pytest.approx(expected, abs=1e-3)
    assert np.ptp(arrays.pnl[2]) > 100.0


def test_examples_of_dynamic_margin() -> None:
    names = run_blocks("docs/dynamic-margin.md")
    assert ((names["placed"].long_share > 0.0) & (names["placed"].long_share < 1.0)).all()
    charges = names["statement"].charges
    assert {name for name, parts in charges.items() if parts.sum() > 0.0} >= {"scan", "liquidity", "concentration"}


def test_examples_of_hedging() -> None:
    names = run_blocks("docs/hedging.md")
    assert names["found"].after("available_funds") >= 0.0
    assert names["found"].trades
    loss_by_price = -names["by_scenario"].price[:, names["worst"]]
    assert names["by_market"].price[:, 0] == pytest.approx(loss_by_price, rel=1e-6)
    assert len(names["near"].gap) > 1 and names["near"].gap[0] == 0.0
    assert names["by_quantity"].bought.shape == (2, 2)
    best = names["best"]
    assert best.trades
    assert best.margins.post["initial_margin"] + best.cost < best.margins.pre["initial_margin"]


def test_examples_of_stress() -> None:
    names = run_blocks("docs/stress.md")
    assert names["result"].survived and names["result"].fund_needed < 50_000.0
    assert names["size"].amount > 0 and names["nearest"].loss >= 1e6


def test_examples_of_the_edge() -> None:
    names = run_blocks("docs/edge.md")
    assert names["prices"].side.tolist() == ["into", "into"]
    assert names["found"].prices.price == pytest.approx(names["prices"].price)


def test_examples_of_the_readme() -> None:
    """They run, and leave what they say: a statement an account, a vol, a loss of each account."""
    names = run_blocks("README.md")
    assert len(names["frame"]) == len(names["sample"].book)
    assert (names["frame"]["initial_margin"] >= names["frame"]["maintenance_margin"]).all()
    assert int(names["status"]) == 0
    assert 0.1 < float(names["vol"]) < 2.0
    assert names["loss"].shape == names["scenario"].shape == (2,)
    assert names["strangle"].pnl.shape == (4, 2, 16) and names["strangle"].worst == (3, 0, 15)
    assert names["trades"].after("available_funds") >= 0.0
    assert names["trades"].convex
    assert (names["by_model"].initial >= names["by_model"].maintenance).all()
    answer, engine, largest = names["answer"], names["engine"], names["largest"]
    assert answer.change["initial_margin"] > 0
    assert answer.fits == (largest.quantity <= -2.0)
    held = engine.state.statement("iron-condor-07")
    assert held.available_funds[0] == engine.state.figures("iron-condor-07")["available_funds"]
    alone = [engine.what_if("iron-condor-07", [(names["option"], size)]).fits for size in (1.0, -0.1, -100.0)]
    assert names["checks"].fits.tolist() == alone
    assert engine.state.sequence == 2 + answer.fits
