"""`crowding`: sides counted by the command against those of the Greeks that it does not use."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from portfolio_margin import load_sample
from portfolio_margin.greeks import account_rows, contract_greeks, position_greeks
from tests.portfolio_margin import test_cli
from tests.portfolio_margin.test_cli import check_fails

run = test_cli.run


def test_sides_of_the_sample_are_those_of_its_greeks(run: Any, tmp_path: Path) -> None:
    """By delta and vega of every contract, added up by account in plain floats."""
    file = tmp_path / "measured.toml"
    found = json.loads(run("crowding", "--json", "--measured", str(file)).out)
    sample = load_sample()
    contracts, book = sample.instruments, sample.book
    held = position_greeks(book, contracts, sample.market, contract_greeks(contracts, sample.market))
    owner = account_rows(book)
    kept = ~contracts.is_collateral[book.instrument_idx]
    for row, shares in enumerate(found["rows"]):
        own = kept & (contracts.underlying_idx[book.instrument_idx] == row)
        delta = np.bincount(owner[own], held["delta_cash"][own], minlength=len(book))
        vega = np.bincount(owner[own], held["vega"][own], minlength=len(book))
        assert shares["long_share"] == pytest.approx(np.mean(delta[np.abs(delta) > 1e-9] > 0.0), abs=1e-6)
        # Vols move by tenor and far: of accounts with little vega the sign may be another.
        assert shares["short_vol_share"] == pytest.approx(np.mean(vega[np.abs(vega) > 1e-9] < 0.0), abs=0.05)
    tables = tomllib.loads(file.read_text(encoding="utf-8"))["measured"]
    assert {row.pop("underlying"): row for row in found["rows"]} == tables


def test_what_it_cannot_count_is_said(run: Any) -> None:
    check_fails(run("crowding", "--market", "crash.json"), "--market needs --positions FILE")
