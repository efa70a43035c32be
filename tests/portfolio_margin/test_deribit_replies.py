"""Deribit's own numbers: replies of the venue and worked examples; parameters from its replies."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from portfolio_margin import load_parameters
from portfolio_margin.deribit_matrix import Params, scenario_set
from portfolio_margin.io.deribit_margin import Simulation, margin_parameters, params_from, simulate
from pricing import DataError, Instruments, Market
from pricing.market import UNDATED
from pricing.resolve import resolve
from scenarios import bind, revalue
from tests.examples import DAY_MS, NOW_MS
from tests.portfolio_margin.books import INSTRUMENTS, MARKET
from tests.portfolio_margin.deribit_examples import PAIR, live_reply, params_of, simulate_example
from tests.vectors import worked_examples

SYSTEM = "Deribit portfolio margin"
VOL_SHOCK = "Deribit portfolio margin (vol shock, third-party form)"


def differences(ours: Any, theirs: Any, path: str = "") -> list[tuple[str, float]]:
    """(where, by how much) for every number of their document; everything else must be equal."""
    if isinstance(theirs, dict):
        return [d for key in theirs for d in differences(ours[key], theirs[key], f"{path}/{key}")]
    if isinstance(theirs, list):
        return [d for a, b in zip(ours, theirs, strict=True) for d in differences(a, b, path)]
    if isinstance(theirs, bool) or not isinstance(theirs, int | float):
        assert ours == theirs, path
        return []
    return [(path, abs(ours - theirs))]


@pytest.mark.reference
def test_the_documented_reply_in_every_field(report_vectors: Any) -> None:
    for name, reply in (("documented", simulate_example()["result"]), ("live", live_reply())):
        found = differences(simulate(reply).document, reply)
        worst = max(found, key=lambda pair: pair[1])
        assert len(found) > 90
        assert worst[1] <= 1e-9, worst
        report_vectors(len(found), worst[1], "coin, 1e-09 allowed", f"Deribit pme/simulate, {name} reply")


def examples(system: str, name: str) -> list[dict[str, Any]]:
    return [e for e in worked_examples(system) if e["id"].startswith(name)]


def perpetual_reply(inputs: dict[str, Any]) -> dict[str, Any]:
    """What a worked example states, in the form of a reply."""
    p = inputs["params"]
    pair = {name: p[name] for name in PAIR if name in p}
    pair["delta_total_liq_shock_threshold"] = p["delta_total_liq_shock_threshold_usd"]
    coin = {name: p[name] for name in ("annualised_move_risk", "min_annualised_move", "pnl_offset")}
    coin |= {"extended_dampener": p["extended_dampener_usd"], "max_offsetable_pnl": 0, "haircut": 0,
             "equity_side_impact": "both", "correlation_set": False}  # fmt: skip
    name = inputs["currency"].lower()
    general = {
        "timestamp": inputs["calc_timestamp_ms"],
        "mm_factor": p["mm_factor"],
        "buckets_count": p["buckets_count"],
    }
    orders = {"mmp_margin": inputs["mmp_margin"], "open_orders_margin": inputs["open_orders_margin"], "spot_margin": 0}
    return {
        "model_params": {
            "general": general,
            "currency": {name: coin},
            "currency_pair": {f"{name}_usd": pair},
        },
        "portfolio": {"position": {k: v["size_btc"] for k, v in inputs["positions"].items()}},
        "ticker": {k: {"mark_price": v["mark"]} for k, v in inputs["positions"].items()},
        "index_price": {f"{name}_usd": inputs["index_usd"]},
        "margins": {name: {"initial_margin_details": orders}},
    }


@pytest.mark.reference
def test_worked_simulation(report_vectors: Any) -> None:
    errors = []
    for example in examples(SYSTEM, "deribit-pme-simulate"):
        document, want = simulate(perpetual_reply(example["inputs"])).document, example["expected"]
        (found,) = document["margins"].values()
        details = found["initial_margin_details"]
        matrix = details["risk_matrix_margin_details"]
        assert matrix["worst_case_bucket"]["bucket"] == want["worst_case_bucket"]
        (perpetual,) = (v for k, v in document["initial_risk_vectors"].items() if k.endswith("PERPETUAL"))
        pairs = list(zip(perpetual["standard"][::3], want["perpetual_pnl_by_bucket"], strict=True))
        names = ("worst_case", "roll_shock", "delta_shock", "correlation_contingency")
        pairs += [(matrix[name], want[name]) for name in names]
        pairs += [(details["risk_matrix_margin"], want["risk_matrix_margin"])]
        pairs += [(found[name], want[name]) for name in ("initial_margin", "maintenance_margin")]
        errors += [abs(a - b) / example["tolerance"]["abs"] for a, b in pairs]
        in_dollars = dollar_model(simulate(perpetual_reply(example["inputs"])), names)
        errors += [
            abs(at - want[name]) / example["tolerance"]["abs"] for name, at in zip(names, in_dollars, strict=True)
        ]
    assert max(errors) <= 1.0
    report_vectors(len(errors), max(errors), "of the tolerance", "Deribit portfolio margin")


def dollar_model(done: Simulation, names: tuple[str, ...]) -> list[float]:
    """Charges in coins, from a market whose margin currency is the dollar."""
    (coin,), (index,) = done.market.currency_id.tolist(), done.market.spot
    instruments = replace(done.instruments, currency_idx=np.ones(len(done.instruments)))
    market = replace(
        done.market,
        currency_id=np.array(["USD", coin]),
        fx=np.array([1.0, index]),
        currency_underlying=np.array([-1, 0]),
    )
    arrays = revalue(instruments, market, done.model.scenario_set(market), tick=None)
    required = done.model.requirement(done.book, arrays)
    return [float(required.charges[name][0, 0]) / index for name in names]


def test_options_cost_the_same_in_coin_and_in_dollars() -> None:
    """The premium is held in coin in one market and in dollars in the other; nothing else differs."""
    reply = live_reply()
    for name, size, vol in (("ETH-27MAR26-2000-C", -900.0, 60.0), ("ETH-25DEC26-1200-P", -2500.0, 75.0)):
        reply["portfolio"]["position"][name] = size
        reply["ticker"][name] = {"mark_iv": vol, "underlying_price": 1_955.0}
    done = simulate(reply)
    details = done.document["margins"]["eth"]["initial_margin_details"]["risk_matrix_margin_details"]
    names = ("worst_case", "roll_shock", "delta_shock")
    assert [details[name] for name in names] == pytest.approx(dollar_model(done, names), rel=1e-12)
    assert details["worst_case"] > 100.0
    assert details["roll_shock"] > 1.0
    extended = done.document["aggregated_risk_vectors"]["eth_eth"]["extended"]
    assert min(extended) < 0.0


@pytest.mark.reference
def test_worked_identity_of_extended_cells(report_vectors: Any) -> None:
    """Extended cells of a linear contract equal those at the edge of the range."""
    errors = []
    for example in examples(SYSTEM, "deribit-extended"):
        vectors = simulate(live_reply()).document["initial_risk_vectors"]["ETH-PERPETUAL"]
        want = example["expected"]
        errors += [abs(a - b) for a, b in zip(vectors["extended"], want["ext"], strict=True)]
        errors += [abs(vectors["standard"][0] - want["edge_down"]), abs(vectors["standard"][-1] - want["edge_up"])]
        assert max(errors) <= example["tolerance"]["abs"]
    report_vectors(len(errors), max(errors), f"coin, {example['tolerance']['abs']:g} allowed", "Deribit extended cells")


@pytest.mark.reference
def test_worked_vol_shocks(report_vectors: Any) -> None:
    errors = []
    for example in worked_examples(VOL_SHOCK):
        i = example["inputs"]
        pair = {**PAIR, "volatility_range_up": i["volatility_range_up"],
                "volatility_range_down": i["volatility_range_down"],
                "min_volatility_for_shock_up": i["min_volatility_for_shock_up"],
                "short_term_vega_power": i["short_power"], "long_term_vega_power": i["long_power"]}  # fmt: skip
        market, instruments = MARKET, INSTRUMENTS
        for days, want in zip(i["dte"], example["expected"]["up_down"], strict=True):
            times = np.where(market.expiry_time == UNDATED, UNDATED, NOW_MS + days * DAY_MS)
            keep = np.array([0, 2, 3, 5])
            here = replace(market, expiry_underlying=market.expiry_underlying[keep], expiry_time=times[keep],
                           forward=market.forward[keep], discount=np.ones(4), svi=np.full((4, 5), np.nan),
                           fixed_share=np.zeros(4),
                           mark_vol=np.where(instruments.is_option, i["iv"], np.nan))  # fmt: skip
            moved = np.array([0, 0, 1, 2, 2, 3])[instruments.expiry_idx]
            contracts = replace(instruments, expiry_idx=np.where(instruments.expiry_idx < 0, -1, moved))
            vols = shocked(contracts, here, params_of({"BTC": pair, "ETH": pair}))
            errors += [abs(vols[0] - want[0]), abs(vols[2] - want[1])]
        assert max(errors) <= example["tolerance"]["abs"]
    report_vectors(len(errors), max(errors), f"vol, {example['tolerance']['abs']:g} allowed", "Deribit vol shock")


def shocked(instruments: Instruments, market: Market, params: Params) -> np.ndarray:
    """Vols of the first option in the first three cells."""
    found = bind(scenario_set(params, market), market, resolve(instruments, market))
    vols: np.ndarray = found.vol[np.flatnonzero(instruments.is_option)[0], :3]
    return vols


def test_parameters_come_from_the_venue_s_own_reply() -> None:
    reply = simulate_example()
    params = params_from(reply)
    assert params.mm_factor == 0.8
    assert params.pair("BTC").price_range == 0.16
    assert params.risk("usd").extended_dampener == 25_000
    assert params_from({"result": reply["result"]["model_params"]}) == params
    assert params_from(reply, days_floor=2.0).days_floor == 2.0
    found = margin_parameters(reply)
    for place, name in (("general", "margin_floor"), ("currency_pair", "btc_eur")):
        changed = json.loads(json.dumps(reply))
        changed["result"]["model_params"][place][name] = {"price_range": 0.1} if place != "general" else 1
        with pytest.raises(DataError, match=r"unknown in|missing in"):
            margin_parameters(changed)
    assert set(found) == {"mm_factor", "buckets_count", "currency", "currency_pair"}
    for nonsense in ({}, {"result": []}, "text", None):
        with pytest.raises(DataError, match="needs the objects general, currency and currency_pair"):
            margin_parameters(nonsense)


def spread_reply(order: tuple[int, int], underlying_price: float | None, more: dict[str, float] | None = None) -> Any:
    """The documented reply with a future and a short call of its expiry, in either order."""
    held = [("BTC-28JUN24", -50.0), ("BTC-28JUN24-70000-C", -30.0)]
    reply: dict[str, Any] = json.loads(json.dumps(simulate_example()["result"]))
    reply["portfolio"]["position"] = dict(held[k] for k in order)
    option = {"mark_iv": 55.0, "mark_price": 0.03}
    reply["ticker"] = {
        "BTC-28JUN24": {"mark_price": 72_000.0},
        held[1][0]: option if underlying_price is None else {**option, "underlying_price": underlying_price},
    }
    for name, price in (more or {}).items():
        reply["portfolio"]["position"][name] = -1.0
        reply["ticker"][name] = {"mark_iv": 60.0, "underlying_price": price}
    return reply


@pytest.mark.data
def test_no_order_of_the_positions_changes_a_margin() -> None:
    for underlying_price in (72_000.0, 71_990.0, None):
        first, second = (simulate(spread_reply(order, underlying_price)) for order in ((0, 1), (1, 0)))
        assert first.document["margins"] == second.document["margins"]
        # The future keeps its own mark, also where the option states a little less, or nothing.
        assert 72_000.0 in first.market.forward and 71_990.0 not in first.market.forward
        assert first.document["margins"] == simulate(spread_reply((0, 1), 72_000.0)).document["margins"]
        vector = first.document["initial_risk_vectors"]["BTC-28JUN24"]["standard"]
        assert vector[0] == pytest.approx(-50.0 * -0.16 / (1 - 0.16), rel=1e-6)


@pytest.mark.data
def test_forwards_that_contradict_each_other_are_refused() -> None:
    for order in ((0, 1), (1, 0)):
        with pytest.raises(DataError, match=r"BTC-28JUN24-70000-C.*underlying_price = 66000.*72000"):
            simulate(spread_reply(order, 66_000.0))
    names = ("BTC-27SEP24-70000-C", "BTC-27SEP24-60000-P", "BTC-27SEP24-50000-P")
    near = simulate(spread_reply((0, 1), None, dict(zip(names, (73_000.0, 73_010.0, 73_020.0), strict=True))))
    assert 73_010.0 in near.market.forward
    with pytest.raises(DataError, match=r"50000-P.*underlying_price = 80000.*73000"):
        simulate(spread_reply((0, 1), None, dict(zip(names, (73_000.0, 73_000.0, 80_000.0), strict=True))))


@pytest.mark.data
def test_an_option_without_a_forward_is_refused() -> None:
    reply = spread_reply((0, 1), None)
    del reply["portfolio"]["position"]["BTC-28JUN24"]
    with pytest.raises(DataError, match=r"BTC-28JUN24-70000-C.*underlying_price.*forward"):
        simulate(reply)


def test_a_reply_without_what_options_need_is_refused() -> None:
    reply = live_reply()
    reply["portfolio"]["position"]["ETH-27MAR26-2000-C"] = -1.0
    with pytest.raises(DataError, match="underlying_price"):
        simulate(reply)
    reply["ticker"]["ETH-27MAR26-2000-C"] = {"underlying_price": 1_955.0}
    with pytest.raises(DataError, match="mark_iv"):
        simulate(reply)
    reply["ticker"]["ETH-27MAR26-2000-C"] = {"mark_iv": 60.0, "underlying_price": 1_955.0}
    vectors = simulate(reply).document["initial_risk_vectors"]["ETH-27MAR26-2000-C"]
    assert min(vectors["standard"]) < -0.05
    assert vectors["standard"][13] == 0.0


def test_the_set_of_the_documentation_is_that_of_its_reply() -> None:
    shipped, reply = load_parameters("deribit_spm", "docs")[0], params_from(simulate_example())
    assert shipped.pair("BTC") == reply.pair("BTC")
    assert [shipped.risk(name) for name in ("BTC", "USD")] == [reply.risk(name) for name in ("BTC", "USD")]
    assert (shipped.mm_factor, shipped.buckets_count) == (reply.mm_factor, reply.buckets_count)
