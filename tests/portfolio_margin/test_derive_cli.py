"""Derive's managers on the command line: parameter sets, feeds from the parameter file, what is told of doubts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.portfolio_margin import test_cli

run = test_cli.run
ACCOUNT = "perpetual-long-01"
FEEDS = """
[derive_pmrm2.feeds]
stable_price = 0.97
[derive_pmrm2.feeds.spot_confidence]
BTC = 0.5
[derive_pmrm2.feeds.unsettled.perpetual-long-01]
{underlying} = 1250.0
"""


def statement(run: Any, model: str, *options: str) -> dict[str, Any]:
    done = run("margin", "--model", model, "--json", "--account", ACCOUNT, *options)
    assert done.code == 0, done.err
    document: dict[str, Any] = json.loads(done.out)
    return document


@pytest.mark.parametrize("model", ["derive_pmrm", "derive_pmrm2", "derive_standard"])
def test_the_sample_is_margined_without_further_input(run: Any, model: str) -> None:
    document = statement(run, model)
    (account,) = document["accounts"]
    assert float(account["initial_margin"]) > float(account["maintenance_margin"]) > 1_000.0
    assert document["parameter_set"] == "2026-01-21"
    assert document["parameters_apply"]
    assert all("dated futures" in line for line in document["positions_excluded"])


def test_feeds_come_from_the_parameter_file(run: Any, tmp_path: Path) -> None:
    path = tmp_path / "feeds.toml"
    path.write_text(FEEDS.format(underlying="BTC"), encoding="utf-8")
    (plain,), document = (
        statement(run, "derive_pmrm2")["accounts"],
        statement(run, "derive_pmrm2", "--params", str(path)),
    )
    (account,) = document["accounts"]
    assert float(account["equity"]) == pytest.approx(float(plain["equity"]) + 1250.0)
    assert float(account["components"]["confidence"]["initial"]) > 0
    assert float(account["components"]["depeg"]["initial"]) > 0
    assert account["maintenance_margin"] == plain["maintenance_margin"]
    assert "feeds.unsettled.perpetual-long-01.BTC" in document["parameters_changed"]


def test_feeds_of_no_such_underlying_are_told(run: Any, tmp_path: Path) -> None:
    path = tmp_path / "feeds.toml"
    path.write_text(FEEDS.format(underlying="BTX"), encoding="utf-8")
    done = run("margin", "--model", "derive_pmrm2", "--params", str(path))
    assert done.code == 2
    assert "unsettled perpetual-long-01 BTX" in done.err


def test_a_doubtful_parameter_is_told_until_it_is_given(run: Any) -> None:
    long, short = ("margin.long_base_static_discount", "margin.short_base_static_discount")
    assert statement(run, "derive_pmrm2")["parameters_doubtful"] == [long, short]
    changed = statement(run, "derive_pmrm2", "--param", f"{long}=0.95", "--param", f"{short}=1.04")
    assert changed["parameters_doubtful"] == []
    assert statement(run, "derive_pmrm2", "--parameter-set", "cases")["parameters_doubtful"] == []


def test_a_scenario_tells_its_vol_moves_by_expiry(run: Any) -> None:
    (account,) = statement(run, "derive_pmrm2")["accounts"]
    moves = account["worst_scenario"]
    assert moves["id"] == "S-18.0%/V up"
    assert moves["spot_shift"] == pytest.approx(-0.18)
    shifts = moves["expiry_vol_shift"]
    # The shorter the time left the larger the move, at most that of the floor of one day.
    assert shifts["BTC-2026-02-27"] == pytest.approx(0.5 * 30**0.3)
    assert shifts["BTC-2026-02-27"] > shifts["BTC-2026-03-27"] > shifts["BTC-2026-12-25"] > 0.3
