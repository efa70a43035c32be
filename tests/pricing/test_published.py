"""Published prices and Greeks: every vector of the kinds that closed formulas answer.

Every expected name of a vector is either computed by NAMES below or stands in UNANSWERED_NAMES with what will
answer it; any other name fails, and so does a listed name that has come to be computed. Errors are shares of the
tolerance that comes with the vector.
"""

from __future__ import annotations

import math
import os
import warnings
from typing import Any

import numpy as np
import pytest

from pricing import greeks, price
from pricing.inverse import coin_value
from pricing.price import BACKENDS
from tests.vectors import REFERENCE_VARIABLE, literature_vectors, reference_json, worked_examples

pytestmark = pytest.mark.reference

UNANSWERED_NAMES: set[str] = set()
YEAR_SECONDS = 31_536_000


def signed(inputs: dict[str, Any]) -> float:
    return {"call": 1.0, "put": -1.0}[inputs["option"]]


def spot_greeks(i: dict[str, Any], sign: float, backend: str = "numba") -> dict[str, float]:
    """Every Greek by a published name: with respect to the spot, the forward, rates and the strike.

    V(S, K) is homogeneous of degree one, which gives the derivatives by the strike.
    """
    spot, strike, rate, t = i["spot"], i["strike"], i["rate"], i["t_years"]
    b = rate - i.get("dividend_yield", 0.0)
    carry, discount = math.exp(b * t), math.exp(-rate * t)
    forward, terms = spot * carry, (strike, t, i["vol"], sign)
    rates = {"rate": rate, "dividend_yield": i.get("dividend_yield", 0.0), "backend": backend}
    s = {k: float(v) for k, v in greeks(spot, *terms, model="black_scholes_merton", order=3, **rates).items()}
    g = {k: float(v) for k, v in greeks(forward, *terms, discount, backend=backend).items()}
    return {
        **s,
        "delta_spot": s["delta"],
        "delta_forward": g["delta"],
        "gamma_spot": s["gamma"],
        "gamma_forward": g["gamma"],
        "vanna_spot_vol": s["vanna"],
        "theta_per_day": s["theta"] / 365,
        "carry_rho": t * spot * s["delta"],
        "elasticity": s["delta"] * spot / s["price"] if s["price"] else math.nan,
        "elasticity_forward": g["delta"] * forward / g["price"] if g["price"] else math.nan,
        **dict.fromkeys(("dual_delta", "strike_sensitivity"), (s["price"] - spot * s["delta"]) / strike),
        **dict.fromkeys(("dual_gamma", "strike_gamma"), s["gamma"] * (spot / strike) ** 2),
        "itm_cash_probability": sign * g["rho"] / (t * strike * discount),
        "itm_asset_probability": sign * g["delta"] / discount,
    }


def share(value: float, expected: float, tolerance: dict[str, float]) -> float:
    """Error as a share of the tolerance; at most 1 passes."""
    allowed = max(tolerance.get("abs", 0.0), tolerance.get("rel", 0.0) * abs(expected))
    return abs(value - expected) / allowed


def compare(
    ours: dict[str, float], vector: dict[str, Any], prefix: str = "", others: tuple[str, ...] = ()
) -> list[float]:
    """Errors of all names of a vector; names that start with one of `others` belong to the other side."""
    errors = []
    for name, expected in vector["expected"].items():
        key = name.removeprefix(prefix)
        if key in ours:
            assert key not in UNANSWERED_NAMES, f"{key} is computed now: take it off the list"
            errors.append(share(ours[key], expected, vector["tolerance"][name]))
        elif key not in UNANSWERED_NAMES and not name.startswith(others or ("\0",)):
            unknown(vector["id"], name)
    return errors


def unknown(vector: str, name: str) -> None:
    """Somebody else's folder may hold names that ours does not."""
    text = f"{vector}: {name} is neither computed nor listed as unanswered"
    assert os.environ.get(REFERENCE_VARIABLE), text
    warnings.warn(text, stacklevel=2)


def check_settled(report_vectors: Any, errors: list[float], unit: str = "of the tolerance") -> None:
    assert errors
    report_vectors(len(errors), max(errors), unit)
    assert max(errors) <= 1


@pytest.mark.parametrize("backend", BACKENDS)
def test_derive_black76(backend: str, report_vectors: Any) -> None:
    """From a total vol of 24 on the contract sets a call to D F; beyond about 17 that is Black-76 to every digit."""
    vectors = reference_json("derive-black76.json")["vectors"]
    column = {name: np.array([v[name] for v in vectors], float) for name in ("forward", "strike", "vol", "discount")}
    tau = np.array([v["time_to_expiry_sec"] for v in vectors]) / YEAR_SECONDS
    terms = (column["forward"], column["strike"], tau, column["vol"])
    size = np.maximum(column["forward"], column["strike"])
    errors = []
    for sign, field in ((1.0, "call_price"), (-1.0, "put_price")):
        expected = np.array([v["expected"][field] for v in vectors])
        errors += (np.abs(price(*terms, sign, column["discount"], backend=backend) - expected) / size).tolist()
    delta = greeks(*terms, 1.0, column["discount"], order=1, backend=backend)["delta"]
    delta_error = np.abs(delta - np.array([v["expected"]["call_delta"] for v in vectors])).max()
    report_vectors(len(vectors), max(errors), f"of max(forward, strike); delta {delta_error:.1e}")
    assert max(errors) < 2e-14
    assert delta_error < 1e-13


@pytest.mark.parametrize("kind", ["european_price", "european_greek", "european_price_and_all_greeks"])
def test_literature_european(kind: str, report_vectors: Any) -> None:
    errors = [e for v in literature_vectors(kind) for e in compare(spot_greeks(v["inputs"], signed(v["inputs"])), v)]
    check_settled(report_vectors, errors)


def test_literature_european_price_and_greeks(report_vectors: Any) -> None:
    errors = []
    for v in literature_vectors("european_price_and_greeks"):
        errors += compare(spot_greeks(v["inputs"], 1.0), v, "call_", ("put_",))
        errors += compare(spot_greeks(v["inputs"], -1.0), v, "put_", ("call_",))
    check_settled(report_vectors, errors)


@pytest.mark.parametrize("kind", ["black76_price", "black76_greek"])
def test_literature_black76(kind: str, report_vectors: Any) -> None:
    """Terms are a forward, a total deviation or vol, and a discount; the spot and the rates follow from them."""
    errors = []
    for v in literature_vectors(kind):
        i = v["inputs"]
        t = i.get("t_years", 1.0)
        vol = i["vol"] if "vol" in i else i["std_dev"] / math.sqrt(t)
        discount = i["discount"] if "discount" in i else math.exp(-i.get("rate", 0.0) * t)
        rate = -math.log(discount) / t
        spot = i.get("spot", i["forward"])
        carry = math.log(i["forward"] / spot) / t
        terms = {"spot": spot, "strike": i["strike"], "t_years": t, "vol": vol, "rate": rate}
        ours = spot_greeks({**terms, "dividend_yield": rate - carry}, signed(i))
        # A spot is what the formula of a price is not about: take it from the forward as it is given.
        ours["price"] = float(price(i["forward"], i["strike"], t, vol, signed(i), discount))
        errors += compare(ours, v)
    check_settled(report_vectors, errors)


def test_literature_fx_delta(report_vectors: Any) -> None:
    """Spot and forward delta, with and without the premium paid in the foreign currency (Castagna 2009)."""
    errors = []
    for v in literature_vectors("fx_delta"):
        i = v["inputs"]
        carry = i["foreign_discount"] / i["domestic_discount"]
        terms = (i["spot"] * carry, i["strike"], 1.0, i["std_dev"], signed(i))
        domestic = greeks(*terms, i["domestic_discount"])
        undiscounted = greeks(*terms)
        coin = greeks(*terms, model="inverse")
        known = {
            "forward": undiscounted["delta"],
            "spot": domestic["delta"] * carry,
            "premium_adjusted_forward": coin["delta_pa"],
            "premium_adjusted_spot": coin["delta_pa"] * i["foreign_discount"],
        }
        if i["convention"] not in known:
            unknown(v["id"], i["convention"])
            continue
        errors += compare({"delta": float(known[i["convention"]])}, v)
        paid = domestic["delta"] * carry - domestic["price"] / i["spot"]
        assert known["premium_adjusted_spot"] == pytest.approx(paid, rel=1e-13)
    check_settled(report_vectors, errors)


def test_literature_coin_settled_black(report_vectors: Any) -> None:
    errors = []
    for v in literature_vectors("coin_settled_black"):
        i = v["inputs"]
        terms = (i["forward"], i["strike"], i["t_years"], i["vol"], signed(i))
        carry = i["forward"] / i["spot"]
        discount = math.exp(-i["rate"] * i["t_years"])
        # In coin the discount is that of the coin: D F / S.
        coin = greeks(*terms, discount * carry, model="inverse")
        usd = greeks(*terms, discount)
        ours = {
            "coin_price": coin["price"],
            "usd_price": usd["price"],
            "coin_delta_per_usd": coin["delta"] * carry,
            "coin_gamma_per_usd2": coin["gamma"] * carry**2,
            "coin_vega": coin["vega"],
            "usd_spot_delta": usd["delta"] * carry,
            "premium_adjusted_delta": coin["delta_pa"],
        }
        errors += compare({name: float(value) for name, value in ours.items()}, v)
        assert float(coin_value(usd["price"], i["spot"])) == pytest.approx(float(coin["price"]), rel=1e-14)
    check_settled(report_vectors, errors)


def test_worked_black76_values(report_vectors: Any) -> None:
    (example,) = worked_examples("Black-76 values (student SPAN model)")
    expected, tolerance = example["expected"], example["tolerance"]["abs"]
    named = {"premium": "price", "delta": "delta"}
    errors = []
    for row, option in enumerate(example["inputs"]["options"]):
        g = greeks(option["F"], option["K"], option["T"], option["vol"], 1.0 if option["type"] == "C" else -1.0)
        for name, ours in named.items():
            allowed = example["tolerance"]["premium_third_abs"] if (name, row) == ("premium", 2) else tolerance
            errors.append(abs(float(g[ours]) - expected[name][row]) / allowed)
        if row == 0:
            errors.append(abs(float(g["gamma"]) - expected["gamma_first"]) / tolerance)
            errors.append(abs(float(g["vega"]) / 100 - expected["vega_per_point_first"]) / tolerance)
    check_settled(report_vectors, errors)
