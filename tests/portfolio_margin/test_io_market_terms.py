"""A market file whose contracts are not what their names say, or whose vols are not of one kind, is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from portfolio_margin.io.market_json import read_market, write_market
from tests.portfolio_margin.io_examples import refused, snapshot

FUTURE, PERPETUAL = 16, 19


def altered(tmp_path: Path, change: Any) -> Path:
    read = snapshot()
    path = tmp_path / "m.json"
    write_market(path, read.instruments, read.market, "")
    document = json.loads(path.read_text())
    change(document["instruments"], document)
    path.write_text(json.dumps(document))
    return path


def put(field: str, value: Any, row: int = 0) -> Any:
    return lambda columns, _: columns[field].__setitem__(row, value)


def rename(name: str, row: int = 0) -> Any:
    return put("instrument", name, row)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (put("strike", 60_001.0), "strike"),
        (put("option_type", "P"), "option_type"),
        (put("expiry", 1), "expiry"),
        (put("payoff", "linear"), "payoff"),
        (put("currency", "ETH"), "currency"),
        (put("mark_vol", 0.01), "mark_vol"),
        (put("mark_vol", 0.02), "mark_vol"),
        (rename("BTC-6MAR26-61000-C"), "strike"),
        (rename("BTC-7MAR26-60000-C"), "expiry"),
        (rename("ETH-6MAR26-60000-C"), "underlying"),
        (rename("BTC-26JUN26", PERPETUAL), "kind"),
    ],
)
def test_a_contradiction_is_named(tmp_path: Path, change: Any, field: str) -> None:
    found = refused(lambda: read_market(altered(tmp_path, change)))
    assert field in {name for _, name, _, _ in found}, found


def test_names_that_no_venue_uses_are_taken(tmp_path: Path) -> None:
    instruments, _ = read_market(altered(tmp_path, rename("call struck at sixty thousand")))
    assert str(instruments.instrument_id[0]) == "call struck at sixty thousand"


def test_a_name_that_two_venues_use_agrees_with_one_of_them(tmp_path: Path) -> None:
    """BTC-6MAR26-60000-C is coin-settled on one venue and USDC-settled on another."""

    def linear(columns: Any, document: Any) -> None:
        document["currencies"]["currency"].append("USDC")
        document["currencies"]["fx"].append(1.0)
        document["currencies"]["underlying"].append(None)
        columns["payoff"][0], columns["currency"][0] = "linear", "USDC"

    instruments, market = read_market(altered(tmp_path, linear))
    assert str(market.currency_id[instruments.currency_idx[0]]) == "USDC"
