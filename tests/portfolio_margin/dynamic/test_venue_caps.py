"""Caps of an asset over all accounts: pro rata, whatever the order of accounts and the parts they are computed in."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portfolio_margin import explain, margin
from portfolio_margin.chunks import Work, run_in_chunks
from portfolio_margin.cluster import connect
from portfolio_margin.compare import compare_on
from portfolio_margin.dynamic.assets import Asset
from portfolio_margin.models import dynamic_worst_case as model_file
from portfolio_margin.models import worst_case
from portfolio_margin.sample import COLLATERAL_FILE, POSITIONS_FILE, sample_path
from portfolio_margin.venue_caps import has_caps, of_venue, steps_of, with_steps
from pricing import ConfigError
from tests.naive import dynamic as naive
from tests.portfolio_margin import test_cli
from tests.portfolio_margin.books import MARKET, Held, book_of, shuffled
from tests.portfolio_margin.dynamic.test_model import PARAMS, UNDER
from tests.portfolio_margin.test_contracts import check_tree

run = test_cli.run
SPOT = float(MARKET.spot[0])
TIERS = ((0.0, 1e5, 1e6), (1.0, 0.6, 0.2))
CAP = 4e5
HELD = {"a": {"BTC": 20.0}, "b": {"BTC": 5.0, "USD": 1e4}, "c": {"BTC": -2.0, "USD": 5e5}, "d": {"USD": 7.0}}


def model_of(cap: float | None = CAP, **change: Any) -> model_file.Model:
    asset = Asset(*TIERS, venue_cap=cap, **change)
    return model_file.Model(replace(PARAMS, assets={"BTC": asset}))


def naive_shares(accounts: dict[str, Held], cap: float) -> tuple[float, dict[str, float]]:
    """What counts of the coins of every account by its tiers, and the share of it that all keep, in plain sums."""
    counts = {
        n: naive.counted(0.95 * max(h.get("BTC", 0.0), 0.0) * SPOT, *map(list, TIERS)) for n, h in accounts.items()
    }
    total = sum(counts.values())
    return min(1.0, cap / total) if total > 0.0 else 1.0, counts


@pytest.mark.parametrize("cap", [0.0, CAP, 1e15])
def test_every_account_keeps_the_same_share_of_what_counts(cap: float) -> None:
    book = book_of(HELD)
    model = of_venue(model_of(cap), book, UNDER)
    found = margin(book, UNDER, MARKET, model)
    share, counts = naive_shares(HELD, cap)
    kept = found.margin_balance - found.charges["collateral_limit"][:, 0]
    other = {"a": 0.0, "b": 1e4, "c": 5e5 - 2.0 * SPOT, "d": 7.0}
    assert kept == pytest.approx([counts[n] * share + other[n] for n in HELD], rel=1e-9, abs=0.03)
    # All that counts of it, over the venue, is the cap where there is more.
    counted = sum(counts.values()) * share
    assert counted == pytest.approx(min(cap, sum(counts.values())))
    for name in HELD:
        check_tree(explain(found, book, UNDER, name), found, name)


def test_a_cap_that_does_not_bind_changes_nothing_and_no_total_is_refused() -> None:
    book = book_of(HELD)
    plain, capped = model_of(None), of_venue(model_of(1e15), book, UNDER)
    for name, column in margin(book, UNDER, MARKET, plain).columns().items():
        assert np.array_equal(column, margin(book, UNDER, MARKET, capped).columns()[name]), name
    with pytest.raises(ConfigError, match=r"venue_cap = 400000.0: the total over all accounts must be taken first"):
        margin(book, UNDER, MARKET, model_of())
    assert has_caps(model_of(), book_of({}), UNDER) and not has_caps(plain, book, UNDER)
    other = worst_case.Model()
    assert of_venue(other, book, UNDER) is other and of_venue(plain, book, UNDER) is plain
    for eligible, total in (("none", 0), ("maintenance", steps_of(model_of(), book, UNDER)["BTC"])):
        assert steps_of(model_of(eligible=eligible), book, UNDER) == {"BTC": total}


balances = st.lists(st.floats(-50.0, 500.0), min_size=1, max_size=12)


@settings(max_examples=30, deadline=None)
@given(balances, st.integers(0, 11), st.randoms())
def test_neither_order_nor_parts_matter(coins: list[float], cut: int, random: Any) -> None:
    book = book_of({f"{n:02d}": {"BTC": amount, "USD": 1e4} for n, amount in enumerate(coins)})
    model, cut = model_of(), min(cut, len(book))
    whole = of_venue(model, book, UNDER)
    mixed = of_venue(model, shuffled(book, np.random.default_rng(random.randrange(1000))), UNDER)
    parts = [steps_of(model, book.accounts(*ends), UNDER) for ends in ((0, cut), (cut, len(book)))]
    joined = with_steps(model, UNDER, random.sample(parts, 2))
    assert whole.params == mixed.params == joined.params
    statement = margin(book, UNDER, MARKET, whole)
    for ends in ((0, cut), (cut, len(book))):
        part = margin(book.accounts(*ends), UNDER, MARKET, whole)
        assert part.available_funds.tobytes() == statement.available_funds[slice(*ends)].tobytes()


def test_chunks_take_the_total_of_all_and_a_comparison_too(tmp_path: Path) -> None:
    book = book_of(HELD)
    model = of_venue(model_of(), book, UNDER)
    whole = margin(book, UNDER, MARKET, model)
    run_in_chunks(Work(book, UNDER, MARKET, model), tmp_path / "parts", 1)
    frame = pd.concat([pd.read_parquet(file) for file in sorted((tmp_path / "parts").glob("*.parquet"))])
    assert frame["available_funds"].tolist() == whole.available_funds.tolist()
    found = compare_on(book, UNDER, {"dynamic": model_of()})
    assert found.initial[0].tolist() == whole.initial_margin.tolist()


RULES = """[dynamic_worst_case.assets.BTC]
venue_cap = 1000000.0
"""


def test_commands_and_a_cluster_take_it_from_the_whole_book(run: Any, tmp_path: Path) -> None:
    (tmp_path / "rules.toml").write_text(RULES, encoding="utf-8")
    files = []
    for option, name in (("--positions", POSITIONS_FILE), ("--collateral", COLLATERAL_FILE)):
        pd.read_csv(sample_path(name)).to_parquet(tmp_path / f"{name}.parquet", row_group_size=50)
        files += [option, str(tmp_path / f"{name}.parquet")]
    rules = ("--model", "dynamic_worst_case", "--params", "rules.toml", "--tick", "1e-6")
    assert run("margin", *files, *rules, "--parquet", "whole.parquet").code == 0
    whole = pd.read_parquet(tmp_path / "whole.parquet")
    assert run("margin", *files, *rules[:2], "--parquet", "plain.parquet").code == 0
    plain = pd.read_parquet(tmp_path / "plain.parquet")
    assert (whole["available_funds"] < plain["available_funds"]).any()
    assert run("margin", *files, *rules, "--chunk-accounts", "9", "--output", "chunks").code == 0
    with connect("local", 1) as client:
        on = ("--cluster", client.scheduler.address, "--chunk-accounts", "9", "--output", "parts")
        done = run("margin", *files, *rules, *on)
        assert done.code == 0, done.err
    chunks, parts = ({f.name: f.read_bytes() for f in (tmp_path / name).iterdir()} for name in ("chunks", "parts"))
    assert chunks == parts
    for folder in ("chunks", "parts"):
        frame = pd.concat([pd.read_parquet(file) for file in sorted((tmp_path / folder).glob("*.parquet"))])
        assert frame["available_funds"].tolist() == whole["available_funds"].tolist(), folder
    name = str(whole["account"][0])
    asked = json.loads(run("what-if", name, *files, *rules, "--order", "BTC-PERPETUAL=10", "--json").out)
    funds = {row["measure"]: row["pre"] for row in asked["measures"]}["available_funds"]
    assert float(funds) == whole["available_funds"][0]
