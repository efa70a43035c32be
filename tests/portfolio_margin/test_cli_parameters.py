"""Parameters on the command line: from options and TOML files, checked by name, type and bounds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from portfolio_margin import load_parameters
from portfolio_margin.cli.parameters import FAMILIES, MODELS, Layer, assignments, build, load_registered, registered
from portfolio_margin.models import worst_case
from portfolio_margin.sample import load_sample
from pricing.errors import ConfigError
from scenarios.families import grid
from tests.portfolio_margin import test_cli
from tests.portfolio_margin.test_cli import check_fails

run = test_cli.run


def initial(run: Any, account: str, *options: str) -> float:
    done = run("margin", "--json", "--account", account, *options)
    assert done.code == 0, done.err
    return float(json.loads(done.out)["accounts"][0]["initial_margin"])


def test_values_of_options() -> None:
    given = assignments(["days=0,1", "dynamics.rule=sticky_strike", "buckets=3", "price_range.BTC=0.1", "vol_up=1e-1"])
    assert given == {
        "days": [0, 1],
        "dynamics": {"rule": "sticky_strike"},
        "buckets": 3,
        "price_range": {"BTC": 0.1},
        "vol_up": 0.1,
    }


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["haircut"], "name=value"),
        (["=1"], "name=value"),
        (["haircut=1", "haircut=0.5"], "twice"),
        (["price_range=0.1", "price_range.BTC=0.2"], "both a value and parts"),
    ],
)
def test_options_that_say_nothing_clear(options: list[str], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        assignments(options)


def test_later_layers_win_part_by_part() -> None:
    below = Layer("p.toml [grid]", {"buckets": 3, "days": [0, 2], "dynamics": {"short_power": 0.1, "long_power": 0.2}})
    above = Layer("--scenario", {"buckets": 5, "dynamics": {"long_power": 0.4}})
    params = build(grid.Params, below, above)
    assert (params.buckets, params.days) == (5, (0, 2))
    assert (params.dynamics.short_power, params.dynamics.long_power) == (0.1, 0.4)
    # What no layer names keeps the family's own default, not that of the dynamics.
    assert params.dynamics.minimum_vol_up == grid.Params().dynamics.minimum_vol_up
    assert build(grid.Params) == grid.Params()


def test_every_wrong_parameter_is_listed_with_its_place() -> None:
    layers = (Layer("p.toml [worst_case]", {"haircutt": 0.1, "netting": 3}), Layer("--param", {"haircut": "much"}))
    with pytest.raises(ConfigError) as caught:
        build(worst_case.Params, *layers)
    lines = str(caught.value).splitlines()
    assert len(lines) == 3
    assert "p.toml [worst_case]: unknown parameter haircutt; did you mean haircut" in lines[0]
    assert "netting = 3: must be a text" in lines[1]
    assert "--param: haircut = 'much': must be a number" in lines[2]


@pytest.mark.parametrize(
    ("option", "texts"),
    [
        (("--param", "haircut_by_asset=1"), ("haircut_by_asset = 1", "by name")),
        (("--param", "haircut_by_asset.BTC=2"), ("BTC", "0 to 1")),
        (("--param", "haircut_by_asset.DOGE=0.1"), ("DOGE", "BTC, ETH")),
        (("--param", "netting=jont"), ("jont", "joint, per_underlying")),
        (("--param", "haircut=nan"), ("haircut = nan",)),
        (("--scenario", "dynamics=1"), ("dynamics = 1", "short_power")),
        (("--scenario", "dynamics.rule=loose"), ("loose", "sticky_strike")),
        (("--scenario", "dynamics.ruel=loose"), ("dynamics.ruel", "did you mean rule")),
        (("--scenario", "days=x"), ("days = 'x'", "numbers")),
        (("--scenario", "tail_moves=a,b"), ("tail_moves", "numbers")),
        (("--scenario", "buckets=2.5"), ("buckets = 2.5", "whole")),
        (("--scenario", "price_range.BTC=0.1"), ("ETH",)),
        (("--model", "worstcase"), ("worstcase", "did you mean worst_case or dynamic_worst_case?")),
        (("--model", "os"), ("'os'", "known: aevo_standard")),
        (("--family", "gird"), ("did you mean grid?",)),
        (("--family", "span"), ("price_scan_range, vol_scan_range",)),
        (("--tick", "0"), ("tick",)),
    ],
)
def test_bad_parameters(run: Any, option: tuple[str, str], texts: tuple[str, ...]) -> None:
    check_fails(run("margin", *option), *texts)


@pytest.mark.parametrize(
    ("text", "texts"),
    [
        ("[worst_case]\nhaircutt = 0.1\n", ("p.toml [worst_case]", "did you mean haircut")),
        ("[worst_case]\nhaircut = 7\n", ("p.toml [worst_case]", "haircut = 7")),
        ("[worst_cas]\n", ("p.toml", "did you mean worst_case?")),
        ("haircut = 0.1\n", ("p.toml", "haircut", "[worst_case], [grid]")),
        ("[worst_case\n", ("p.toml", "not valid TOML")),
        ("[grid]\ndays = ['x']\n", ("p.toml [grid]", "days")),
    ],
)
def test_bad_parameter_files(run: Any, tmp_path: Path, text: str, texts: tuple[str, ...]) -> None:
    (tmp_path / "p.toml").write_text(text)
    check_fails(run("margin", "--params", "p.toml", "--output", "out.json"), *texts)
    assert [path.name for path in tmp_path.iterdir()] == ["p.toml"]


def test_parameter_files_that_cannot_be_read(run: Any, tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_bytes(b"\xff\xfe[\0")
    check_fails(run("margin", "--params", "p.toml"), "p.toml", "UTF-8")
    check_fails(run("margin", "--params", "none.toml"), "none.toml", "No such file")
    (tmp_path / "folder.toml").mkdir()
    check_fails(run("margin", "--params", "folder.toml"), "folder.toml", "directory")


def test_a_parameter_file_is_named_where_it_is_used(run: Any, tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text("[worst_case]\ninitial_factor = 3.0\n")
    (tmp_path / "q.toml").write_text("[grid]\nprice_range = 0.08\n")
    for name, said in (("p.toml", "p.toml over defaults"), ("q.toml", "defaults")):
        document = json.loads(run("margin", "--json", "--params", name, "--account", "perpetual-long-01").out)
        assert document["parameter_set"] == said


def test_options_stand_over_the_file(run: Any, tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text("[worst_case]\ninitial_factor = 3.0\n[grid]\nprice_range = 0.08\n")
    base = initial(run, "perpetual-long-01", "--scenario", "tail_moves=0.5")
    doubled = initial(run, "perpetual-long-01", "--params", "p.toml", "--param", "initial_factor=2")
    half_range = initial(run, "perpetual-long-01", "--params", "p.toml", "--param", "initial_factor=1")
    assert base > 0
    assert doubled == pytest.approx(2 * half_range, abs=0.02)
    # A long perpetual loses the price move; half the range is half the margin, as no tail weighs more.
    assert half_range == pytest.approx(base / 2, abs=0.02)


def test_parts_reach_the_model(run: Any) -> None:
    options = ("margin", "--json", "--account", "coin-only-01")
    whole = json.loads(run(*options).out)["accounts"][0]
    half = json.loads(run(*options, "--param", "haircut_by_asset.BTC=0.5").out)["accounts"][0]
    sample = load_sample()
    book = sample.book.select("coin-only-01")
    row = sample.instruments.index_of()["BTC"]
    held = float(book.quantity[book.instrument_idx == row][0])
    value = held * float(sample.market.fx[list(sample.market.currency_id).index("BTC")])
    # A haircut of 0.5 in place of 0.05 on the bitcoin, and the ether as before.
    assert float(half["haircut"]) - float(whole["haircut"]) == pytest.approx(0.45 * value, abs=0.02)


def test_another_family(run: Any) -> None:
    moves = ("--family", "span", "--scenario", "price_scan_range.BTC=7000", "--scenario", "price_scan_range.ETH=200")
    done = run("margin", "--account", "perpetual-long-01", "--json", *moves, "--scenario", "vol_scan_range=0.2")
    account = json.loads(done.out)["accounts"][0]
    assert account["worst_scenario"]["id"].startswith("SPAN-")


def test_arrays_share_the_parameter_file_of_margin(run: Any, tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text("[worst_case]\nhaircut = 0.2\n[grid]\nprice_range = 0.1\n")
    assert run("arrays", "--output", "a.npz", "--params", "p.toml").code == 0
    (tmp_path / "m.toml").write_text("[worst_case]\nhaircut = 0.2\n")
    ready = run("margin", "--arrays", "a.npz", "--params", "m.toml", "--csv")
    assert ready.out.replace("m.toml over", "p.toml over") == run("margin", "--params", "p.toml", "--csv").out
    check_fails(run("margin", "--arrays", "a.npz", "--scenario", "price_range=0.1"), "--scenario")
    (tmp_path / "q.toml").write_text("[grd]\n")
    check_fails(run("arrays", "--output", "b.npz", "--params", "q.toml"), "q.toml", "grd")
    assert not (tmp_path / "b.npz").exists()


def test_the_file_name_is_the_registry() -> None:
    assert "worst_case" in registered(MODELS)
    assert {"grid", "span"} <= set(registered(FAMILIES))
    assert load_registered(MODELS, "worst_case") is worst_case
    with pytest.raises(ConfigError, match="known: "):
        load_registered(MODELS, "../os")


def test_parameters_from_a_reply_of_the_venue(run: Any, tmp_path: Path) -> None:
    """Of the models that take it; others refuse it, and they refuse what is no such reply."""
    values, _ = load_parameters("deribit_spm", "2026-02-15")
    names = ("btc", "eth")
    pairs = {f"{name}_usd": {**vars(values.pair(name)), "price_range": 0.3} for name in names}
    general = {"mm_factor": 0.5, "buckets_count": 2, "vol_scenarios_count": 3, "timestamp": 1_718_697_601_000}
    reply = {"general": general, "currency_pair": pairs, "currency": {name: vars(values.risk(name)) for name in names}}
    (tmp_path / "reply.json").write_text(json.dumps({"jsonrpc": "2.0", "result": reply}))
    amounts = []
    for options in ((), ("--params", "reply.json")):
        done = run("margin", "--model", "deribit_spm", "--account", "perpetual-long-01", *options, "--json")
        (row,) = json.loads(done.out)["accounts"]
        amounts.append((float(row["initial_margin"]), float(row["maintenance_margin"])))
    before, after = amounts
    assert after[0] > 1.5 * before[0]
    assert after[1] == pytest.approx(0.5 * after[0], abs=0.02)
    # The statement says whose parameters they are, of when, and what they lie over.
    document = json.loads(done.out)
    assert document["parameter_set"] == "reply.json of 2024-06-18T08:00:01Z over 2026-02-15"
    assert document["parameters_overlaid"] == "2026-02-15"
    (tmp_path / "inner").mkdir()
    del general["timestamp"]
    for envelope, said in (({"usOut": 1_718_697_601_000_000}, " of 2024-06-18T08:00:01Z"), ({}, "")):
        (tmp_path / "inner" / "sent.json").write_text(json.dumps({**envelope, "result": reply}))
        done = run("margin", "--model", "deribit_spm", "--params", "inner/sent.json", "--account", "perpetual-long-01")
        assert f"deribit_spm: sent.json{said} over parameter set 2026-02-15" in " ".join(done.out.split())
    check_fails(run("margin", "--params", "reply.json"), "reply.json", "get_params", "deribit_spm and deribit_xpm")
    (tmp_path / "other.json").write_text("[]")
    check_fails(run("margin", "--model", "deribit_xpm", "--params", "other.json"), "other.json", "currency_pair")


def test_only_what_differs_is_called_changed(run: Any, tmp_path: Path) -> None:
    """Of a file that states every parameter those with another value; of a set its own values are no change."""
    text = "netting = 'per_underlying'\ninitial_factor = 1.25\nmaintenance_factor = 1.0\nhaircut = 0.05\n"
    (tmp_path / "own.toml").write_text(f"[worst_case]\n{text}[worst_case.haircut_by_asset]\nBTC = 0.2\n")
    used = ("margin", "--params", "own.toml", "--json")
    stated = ["initial_factor", "maintenance_factor", "haircut_by_asset.BTC"]
    assert json.loads(run(*used).out)["parameters_changed"] == stated
    more = json.loads(run(*used, "--param", "haircut=0.1").out)["parameters_changed"]
    assert more == ["initial_factor", "maintenance_factor", "haircut", "haircut_by_asset.BTC"]
    of_set = ("margin", "--model", "derive_pmrm", "--parameter-set", "2026-01-21-test", "--json", "--param")
    for value, changed in (("0.25", []), ("0.3", ["basis_contingency.add_factor"])):
        done = run(*of_set, f"basis_contingency.add_factor={value}")
        assert done.code == 0 and json.loads(done.out)["parameters_changed"] == changed, done.err
