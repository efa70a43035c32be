"""Published risk arrays, vol shocks and scenario results, through the families, bind and revalue."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from portfolio_margin import Book, account_pnl, worst_loss
from pricing import Instruments, Market, greeks
from pricing.resolve import resolve
from scenarios import VolDynamics, bind, revalue
from scenarios.families import grid, span
from scenarios.shocks import make
from scenarios.taylor import taylor_change
from tests.examples import market_and_instruments, one_option
from tests.vectors import literature_vectors, worked_examples, worked_shared

pytestmark = pytest.mark.reference

BACKENDS = ("numpy", "numba", "jax")


def signed(option: str) -> float:
    return {"c": 1.0, "p": -1.0}[option[0].lower()]


def span_contract(i: dict[str, Any]) -> tuple[Instruments, Market]:
    """An option on a spot: the forward is S exp((r - q) T), the discount exp(-r T)."""
    spot, t = i["underlying"], i["T_years"]
    forward, discount = spot * math.exp((i["rate"] - i["div"]) * t), math.exp(-i["rate"] * t)
    return one_option(
        forward,
        i["strike"],
        t,
        i["vol"],
        signed(i["type"]),
        multiplier=i["contract_value_factor"],
        spot=np.array([spot]),
        forward=np.array([forward, spot]),
        discount=np.array([discount, 1.0]),
    )


@pytest.mark.parametrize("backend", BACKENDS)
def test_worked_span_risk_array(backend: str, report_vectors: Any) -> None:
    """16 values of an exchange's file each: base today, scenarios after the look-ahead, losses positive."""
    errors, base = [], []
    for example in worked_examples("SPAN risk array"):
        i, expected = example["inputs"], np.array(example["expected"]["risk_array"])
        shared = worked_shared()[i["scenario_ref"]]
        instruments, market = span_contract(i)
        params = span.Params(
            price_scan_range=i["price_scan"] / i["contract_value_factor"],
            vol_scan_range=i["vol_scan_relative"],
            extreme_multiplier=shared["price"][14],
            cover_fraction=shared["weight"][14],
            look_ahead_years=shared["lookahead_years"],
            carry="rolled",
        )
        moves = span.scenarios(params, market)
        assert moves.weight.tolist() == shared["weight"]
        arrays = revalue(instruments, market, moves, tick=None, backend=backend)
        assert expected.shape == arrays.pnl[0].shape
        errors.append(float(np.abs(-arrays.pnl[0] - expected).max() / example["tolerance"]["array_abs"]))
        base.append(abs(arrays.value[0] / i["contract_value_factor"] - i["base_price"]) / i["underlying"])
    report_vectors(len(errors), max(errors), f"of the tolerance; base price {max(base):.1e} of the underlying")
    assert max(errors) <= 1
    assert max(base) < 1e-9


def test_worked_vol_shock_table(report_vectors: Any) -> None:
    """The page gives 30 days to the long power, we to the short one: both scale by 1 there."""
    worst = 0.0
    (example,) = worked_examples("Deribit portfolio margin (vol shock, third-party form)")
    i = example["inputs"]
    dynamics = VolDynamics(
        short_power=i["short_power"], long_power=i["long_power"], minimum_vol_up=i["min_volatility_for_shock_up"]
    )
    moves = make(
        ["up", "down"],
        np.zeros((2, 1)),
        np.array([i["volatility_range_up"], -i["volatility_range_down"]]),
        dynamics=dynamics,
    )
    for days, expected in zip(i["dte"], example["expected"]["up_down"], strict=True):
        instruments, market = one_option(100.0, 100.0, days / 365, i["iv"], 1.0)
        vol = bind(moves, market, resolve(instruments, market)).vol[0]
        worst = max(worst, float(np.abs(vol - expected).max()))
    report_vectors(2 * len(i["dte"]), worst, f"of vol, {example['tolerance']['abs']:g} allowed")
    assert worst < example["tolerance"]["abs"]


def test_worked_deribit_simulation(report_vectors: Any) -> None:
    """A perpetual by price bucket and the worst bucket of perpetual and future together, in coin.

    What the venue adds to the worst bucket (roll and delta shock, the two factors, open orders) is for the model
    that reproduces it: "Margin models that reproduce the real venues".
    """
    example = next(e for e in worked_examples("Deribit portfolio margin") if e["id"] == "deribit-pme-simulate-btc")
    i, expected = example["inputs"], example["expected"]
    index = i["index_usd"]
    instruments, market = market_and_instruments()
    row = instruments.index_of()
    ratio = index / market.spot[0]
    held = ("BTC-PERPETUAL", "BTC-60D")
    instruments = replace(instruments, quantity_step=np.full(len(instruments), 1e-10))
    market = replace(
        market,
        spot=market.spot * [ratio, 1],
        forward=np.where(market.expiry_underlying == 0, market.forward * ratio, market.forward),
        fx=market.fx * [1, ratio, 1],
    )
    params = grid.Params(price_range=i["params"]["price_range"], vol_up=0.0, vol_down=0.0, days=(0.0,), tail_moves=())
    moves = grid.scenarios(params, market)
    arrays = revalue(instruments, market, moves, tick=None)
    sizes = [position["size_btc"] for position in i["positions"].values()]
    # Contracts of ten dollars that stand for so many coins at the mark.
    contracts = [s * market.forward[instruments.expiry_idx[row[n]]] / 10.0 for s, n in zip(sizes, held, strict=True)]
    book = Book.from_arrays(["a", "a"], [row[n] for n in held], np.round(contracts, 10), instruments.expiry_idx)
    one = Book.from_arrays(["a"], [row[held[0]]], np.round(contracts[:1], 10), instruments.expiry_idx)
    coin_price = index * (1 + moves.price_move[::3, 0])
    buckets = account_pnl(one, arrays)[0, ::3] / coin_price
    together = account_pnl(book, arrays)[0, ::3] / coin_price
    errors = [
        *np.abs(buckets - expected["perpetual_pnl_by_bucket"]),
        abs(-together.min() - expected["worst_case"]),
        abs(int(together.argmin()) + 1 - expected["worst_case_bucket"]),
    ]
    loss, scenario = worst_loss(book, arrays)
    assert scenario[0] // 3 == 0
    assert loss[0] == pytest.approx(expected["worst_case"] * coin_price[0], abs=1e-4)
    report_vectors(len(errors), max(errors), f"coin, {example['tolerance']['abs']:g} allowed")
    assert max(errors) < example["tolerance"]["abs"]


@pytest.mark.parametrize("backend", BACKENDS)
def test_literature_full_reval_vs_taylor(backend: str, report_vectors: Any) -> None:
    errors = []
    for v in literature_vectors("full_reval_vs_taylor"):
        i, e = v["inputs"], v["expected"]
        sign, discount = signed(i["option"]), math.exp(-i["rate"] * i["t_years"])
        terms = (i["forward"], i["strike"], i["t_years"], i["vol"], sign)
        instruments, market = one_option(*terms, discount=np.array([discount, 1.0]))
        moves = make(["s"], np.array([[i["relative_price_move"]]]), np.array([i["relative_vol_move"]]))
        full = revalue(instruments, market, moves, tick=None, backend=backend).pnl[0, 0]
        approximate = revalue(instruments, market, moves, method="taylor", tick=None).pnl[0, 0]
        g = greeks(*terms, discount, backend=backend)
        change = (i["forward"] * i["relative_price_move"], i["vol"] * i["relative_vol_move"], 0.0)
        first = (g["delta"], g["gamma"], g["vega"], g["theta"], 0.0, 0.0)
        plain = float(taylor_change(first, *(np.asarray(c) for c in change)))
        for name, ours in (("full_pnl", full), ("with_vanna_volga", approximate), ("delta_gamma_vega", plain)):
            errors.append(abs(float(ours) - e[name]) / (abs(e[name]) * v["tolerance"][name]["rel"]))
        assert set(e) == {"full_pnl", "with_vanna_volga", "delta_gamma_vega"}
    report_vectors(len(errors), max(errors), "of the tolerance; an expiry is a whole millisecond here")
    assert max(errors) <= 1
