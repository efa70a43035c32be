"""The command that plans liquidations, on the sample: four of its accounts are below maintenance margin."""

from __future__ import annotations

import csv
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from portfolio_margin import load_sample
from portfolio_margin.cli.liquidate import POLICIES
from scenarios import revalue
from scenarios.families import grid
from scenarios.risk_arrays import RiskArrays
from tests.portfolio_margin import test_cli
from tests.portfolio_margin.test_cli import check_fails

run = test_cli.run
BELOW = [
    "delta-hedged-gamma-04",
    "naked-wing-seller-underwater",
    "perpetual-long-liquidated",
    "short-straddle-bankrupt",
]


@pytest.mark.parametrize("policy", POLICIES)
def test_all_below_maintenance_are_planned(run: Any, policy: str) -> None:
    rates = ("--cost", "0.0005", "--penalty", "0.001")
    document = json.loads(run("liquidate", "--policy", policy, *rates, "--json").out)
    plans = document["plans"]
    assert [plan["account"] for plan in plans] == BELOW and document["policy"] == policy
    assert [plan["outcome"] for plan in plans] == ["restored"] * 3 + ["bankrupt"]
    for plan in plans[:3]:
        before, after = plan["before"], plan["after"]
        charged = Decimal(plan["cost"]) + Decimal(plan["penalty"])
        assert before["status"] == "LIQUIDATION" and after["status"] in ("NORMAL", "MARGIN_CALL", "REDUCE_ONLY")
        # Equity is rounded down in either statement.
        assert abs(Decimal(before["equity"]) - Decimal(after["equity"]) - charged) <= Decimal("0.01")
        needed = (1 + Decimal(document["buffer"])) * Decimal(after["maintenance_margin"])
        assert Decimal(after["margin_balance"]) >= needed
        assert charged == sum(Decimal(trade["cost"]) + Decimal(trade["penalty"]) for trade in plan["trades"])


def test_outputs_agree(run: Any) -> None:
    rows = list(csv.DictReader(run("liquidate", "--csv").out.splitlines()))
    plans = json.loads(run("liquidate", "--json").out)["plans"]
    assert len(rows) == sum(max(len(plan["trades"]), 1) for plan in plans)
    assert rows[-1]["account"] == BELOW[-1] and rows[-1]["step"] == "0"
    table = run("liquidate", BELOW[2])
    assert table.code == 0 and "restored" in table.out and "ETH-PERPETUAL" in table.out
    assert "safe" in run("liquidate", "iron-condor-07").out


def test_the_buffer_that_was_restored_is_said(run: Any) -> None:
    """Costs of two policies can be compared at one buffer, where the cheapest plan costs no more."""
    told = {policy: run("liquidate", "--policy", policy).out for policy in ("cheapest", "proportional")}
    assert all(f"rules: policy {policy}, buffer 0.111111 of the" in out for policy, out in told.items())
    assert "buffer 0.2 of the" in run("liquidate", "--policy", "cheapest", "--buffer", "0.2").out
    costs = {}
    for policy in ("cheapest", "proportional"):
        rows = list(csv.DictReader(run("liquidate", "--policy", policy, "--buffer", "0.15", "--csv").out.splitlines()))
        assert {row["buffer"] for row in rows} == {"0.15"}
        costs[policy] = [
            sum(Decimal(row["cost"]) + Decimal(row["penalty"]) for row in rows if row["account"] == name)
            for name in BELOW[:3]
        ]
    assert all(least <= other for least, other in zip(costs["cheapest"], costs["proportional"], strict=True))


def test_a_larger_buffer_closes_more(run: Any) -> None:
    def left(buffer: str) -> Decimal:
        document = json.loads(run("liquidate", BELOW[2], "--buffer", buffer, "--json").out)
        return Decimal(document["plans"][0]["after"]["maintenance_margin"])

    assert left("0.5") < left("0.1")


@pytest.mark.parametrize(
    ("arguments", "texts"),
    [
        (("liquidate", "nobody"), ("nobody", "no such account")),
        (("liquidate", "--cost", "-1"), ("--cost = -1.0", "from 0 to 1")),
        (("liquidate", "--penalty-share", "2"), ("--penalty-share",)),
        (("liquidate", "--buffer", "-0.1"), ("buffer = -0.1",)),
        (("liquidate", "--policy", "none"), ("proportional",)),
    ],
)
def test_bad_input_is_named(run: Any, arguments: tuple[str, ...], texts: tuple[str, ...]) -> None:
    check_fails(run(*arguments), *texts)


def test_a_picture_of_every_plan(run: Any, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    assert run("liquidate", *BELOW[2:], "--plots", "pictures").code == 0
    made = sorted((tmp_path / "pictures").iterdir())
    assert [file.name for file in made] == [f"ladder-{name}.png" for name in BELOW[2:]]
    assert all(file.read_bytes()[:4] == b"\x89PNG" for file in made)
    (tmp_path / "a-file").write_text("kept")
    check_fails(run("liquidate", BELOW[2], "--plots", "a-file"), "--plots a-file is a file")
    assert (tmp_path / "a-file").read_text() == "kept"


def test_what_a_bankrupt_account_owes_and_by_which_rules(run: Any) -> None:
    """Its equity below 0 and what closing everything costs; the rules are told, and the hash is of them too."""
    account = "short-straddle-bankrupt"
    document = json.loads(run("liquidate", account, "--json").out)
    (plan,) = document["plans"]
    sample = load_sample()
    own = sample.book.select(account)
    notional = sample_arrays().notional[own.instrument_idx]
    closing = 0.0005 * float(np.abs(own.quantity) @ notional)
    assert plan["outcome"] == "bankrupt"
    assert float(plan["deficit"]) == pytest.approx(closing - float(plan["before"]["equity"]), abs=0.02)
    told = run("liquidate", account).out
    assert "rules: policy largest_contributor, buffer 0.111111" in told and f"owes {plan['deficit']} USD" in told
    assert f"inputs {document['input_hash']}" in told
    other = json.loads(run("liquidate", account, "--penalty", "0.001", "--json").out)
    assert other["input_hash"] != document["input_hash"] and other["plans"][0]["deficit"] == plan["deficit"]
    restored = json.loads(run("liquidate", "perpetual-long-liquidated", "--json").out)["plans"][0]
    assert restored["outcome"] == "restored" and "deficit" not in restored


def sample_arrays() -> RiskArrays:
    sample = load_sample()
    return revalue(sample.instruments, sample.market, grid.scenarios(grid.Params(), sample.market), backend="numpy")
