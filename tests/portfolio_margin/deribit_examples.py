"""For the tests of Deribit's margins: a market in coin and in USDC, parameters, replies of the venue."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from portfolio_margin import Book
from portfolio_margin.deribit_matrix import CurrencyPair, CurrencyRisk, Params, scenario_set
from portfolio_margin.models import deribit_spm, deribit_xpm
from pricing import Instruments, Kind, Market
from pricing.market import UNDATED
from scenarios import revalue
from tests.examples import DAY_MS, NOW_MS
from tests.vectors import data_file

RISK: dict[str, Any] = {
    "annualised_move_risk": 0.08,
    "min_annualised_move": 0.005,
    "extended_dampener": 20_000.0,
    "pnl_offset": 0.6,
    "max_offsetable_pnl": 30_000.0,
    "haircut": 0.1,
    "equity_side_impact": "both",
}
PAIR = {
    "price_range": 0.16,
    "volatility_range_up": 0.5,
    "volatility_range_down": 0.25,
    "min_volatility_for_shock_up": 0.5,
    "short_term_vega_power": 0.3,
    "long_term_vega_power": 0.13,
    "extended_table_factor": 1.0,
    "m_inc": 5e-5,
    "max_delta_shock": 0.1,
    "delta_total_liq_shock_threshold": 2e5,
}
# Not the same for both coins, so that a mix-up shows.
PAIRS = {
    "BTC": PAIR,
    "ETH": {**PAIR, "price_range": 0.18, "volatility_range_up": 0.4, "min_volatility_for_shock_up": 0.7,
            "short_term_vega_power": 0.25, "long_term_vega_power": 0.2, "m_inc": 4e-4, "extended_table_factor": 0.9},
}  # fmt: skip
RISKS = {"BTC": RISK, "ETH": {**RISK, "extended_dampener": 5_000.0, "min_annualised_move": 0.01, "haircut": 0.2}}
MODELS = {"deribit_spm": deribit_spm.Model, "deribit_xpm": deribit_xpm.Model}


def params_of(pairs: dict[str, Any] = PAIRS, risks: dict[str, Any] = RISKS, **more: Any) -> Params:
    currency = {name.lower(): CurrencyRisk(**values) for name, values in risks.items()}
    return Params(
        {f"{name.lower()}_usd": CurrencyPair(**values) for name, values in pairs.items()},
        {**currency, "usd": CurrencyRisk(**{**RISK, "equity_side_impact": "none", "haircut": 0.0})},
        **more,
    )


def market_with_linear() -> tuple[Instruments, Market]:
    """BTC and ETH contracts in coin, and an ETH perpetual, a future and options in USDC; cash in all of them."""
    spots, expiries = {"BTC": 68_000.0, "ETH": 2_050.0, "ETH_USDC": 2_050.0}, (3, 30, 90)
    forward, time, owner = [], [], []
    rows: list[tuple[Any, ...]] = [("USD", Kind.CASH, 0, -1, -1, np.nan, 1.0, 1.0, 0)]
    rows += [(c, Kind.CASH, 0, u, 4 * u + 3, np.nan, 1.0, 1.0, u + 1) for u, c in enumerate(("BTC", "ETH"))]
    rows.append(("USDC", Kind.CASH, 0, -1, -1, np.nan, 1.0, 1.0, 3))
    for u, (name, spot) in enumerate(spots.items()):
        inverse, currency = int("_" not in name), (1, 2, 3)[u]
        size = {"BTC": 10.0, "ETH": 1.0, "ETH_USDC": 0.01}[name]
        forward += [spot * 1.001, spot * 1.004, spot * 1.01, spot * 1.0002]
        time += [NOW_MS + days * DAY_MS for days in expiries] + [UNDATED]
        owner += [u] * 4
        rows.append((f"{name}-PERPETUAL", Kind.PERPETUAL, inverse, u, 4 * u + 3, np.nan, 1.0, size, currency))
        rows.append((f"{name}-90D", Kind.FUTURE, inverse, u, 4 * u + 2, np.nan, 1.0, size, currency))
        for e, days in enumerate(expiries):
            for ratio in (0.8, 1.0, 1.3):
                for sign in (1.0, -1.0):
                    label = f"{name}-{days}D-{ratio}-{sign:+.0f}"
                    strike = round(spot * ratio, -1)
                    rows.append((label, Kind.OPTION, inverse, u, 4 * u + e, strike, sign, 1.0, currency))
    columns = [np.array(column) for column in zip(*rows, strict=True)]
    ids, kind, payoff, underlying, expiry, strike, sign, multiplier, currency = columns
    option = kind == Kind.OPTION
    zeros = np.zeros(len(rows), np.int64)
    instruments = Instruments(
        ids, kind, payoff, underlying, expiry, strike, sign, zeros, multiplier, np.where(option, 0.1, 1.0), currency
    )
    market = Market(
        valuation_time=NOW_MS,
        underlying_id=np.array(list(spots)),
        spot=np.array(list(spots.values())),
        expiry_underlying=np.array(owner),
        expiry_time=np.array(time),
        forward=np.array(forward),
        discount=np.ones(len(forward)),
        svi=np.full((len(forward), 5), np.nan),
        mark_vol=np.where(option, 0.4 + 0.03 * (np.arange(len(rows)) % 7), np.nan),
        currency_id=np.array(["USD", "BTC", "ETH", "USDC"]),
        fx=np.array([1.0, 68_000.0, 2_050.0, 1.0]),
        currency_underlying=np.array([-1, 0, 1, -1]),
    )
    return instruments, market


LINEAR, LINEAR_MARKET = market_with_linear()
ROW = LINEAR.index_of()
CONTRACTS = [str(n) for n in LINEAR.instrument_id[~LINEAR.is_collateral]]
PARAMS = params_of()
EXACT_ARRAYS = revalue(LINEAR, LINEAR_MARKET, scenario_set(PARAMS, LINEAR_MARKET), backend="numpy", tick=None)
INDEX = {"BTC": 68_000.0, "ETH": 2_050.0}


def plain(name: str) -> dict[str, Any]:
    """A contract as the twin takes it."""
    row, x = ROW[name], int(LINEAR.expiry_idx[ROW[name]])
    kind = {Kind.OPTION: "option", Kind.FUTURE: "future", Kind.PERPETUAL: "perpetual"}[Kind(LINEAR.kind[row])]
    inverse = bool(LINEAR.payoff[row])
    forward = float(LINEAR_MARKET.forward[x])
    units = float(LINEAR.multiplier[row]) / (forward if inverse and kind != "option" else 1.0)
    time = int(LINEAR_MARKET.expiry_time[x])
    coin = name.split("_")[0].split("-")[0]
    return {
        "coin": coin,
        "settle": coin if inverse else "USDC",
        "kind": kind,
        "strike": float(LINEAR.strike[row]),
        "sign": float(LINEAR.sign[row]),
        "forward": forward,
        "index": INDEX[coin],
        "years": 0.0 if time == UNDATED else (time - NOW_MS) / (365 * DAY_MS),
        "vol": float(LINEAR_MARKET.mark_vol[row]),
        "units": units,
        "inverse": inverse,
    }


def linear_book(held: dict[str, float]) -> Book:
    rows = [ROW[name] for name in held]
    return Book.from_arrays(["a"] * len(rows), rows, list(held.values()), LINEAR.expiry_idx, accounts=["a"])


def simulate_example() -> dict[str, Any]:
    text = data_file("margins/deribit_api_examples.json").read_text(encoding="utf-8")
    reply: dict[str, Any] = json.loads(text)["/private/pme/simulate"]["response"]
    return reply


def live_reply() -> dict[str, Any]:
    """Of 2026-02-15, as a user of the venue published it: one ETH perpetual sold, gains offset by 0.6."""
    size, moves = -0.999487053, [-0.18, -0.135, -0.09, -0.045, 0.0, 0.045, 0.09, 0.135, 0.18]
    pair = {**PAIR, "price_range": 0.18, "m_inc": 0.000004, "volatility_range_up": 0.4,
            "delta_total_liq_shock_threshold": 20_000_000}  # fmt: skip
    coin = {"min_annualised_move": 0.005, "annualised_move_risk": 0.05, "pnl_offset": 0.6, "correlation_set": False,
            "equity_side_impact": "both", "haircut": 0, "extended_dampener": 200_000,
            "max_offsetable_pnl": 20_000_000}  # fmt: skip
    general = {"timestamp": 1771197609587, "mm_factor": 0.8, "buckets_count": 4, "vol_scenarios_count": 3}
    printed = [0.21939959699999997, 0.155989308849711, 0.09885036787912087, 0.04709624857068063, 0.0,
               -0.04304011233014354, -0.08252645391743119, -0.11888171996035243, -0.15246412672881357]  # fmt: skip
    gains = [0.13163975819999998, 0.09359358530982659, 0.05931022072747252, 0.028257749142408375, *printed[4:]]
    edges = [printed[0]] * 2 + [printed[-1]] * 6
    assert [size * m / (1 + m) for m in moves] == pytest.approx(printed, abs=1e-15)

    def table(values: list[float], extended: list[float]) -> dict[str, Any]:
        return {"standard": [v for v in values for _ in range(3)], "extended": extended}

    details = {"correlation_contingency": 0, "worst_case": 0.15246412672881357, "roll_shock": 0.004997435265,
               "worst_case_bucket": {"index": 25, "source": "standard", "bucket": 9, "side": "right"},
               "delta_shock": 0}  # fmt: skip
    orders = {"open_orders_margin": 0, "mmp_margin": 0, "spot_margin": 0}
    return {
        "ticker": {"ETH-PERPETUAL": {"index_price": 1949.34, "mark_price": 1949.49}},
        "index_price": {"eth_usd": 1949.34},
        "portfolio": {"position": {"ETH-PERPETUAL": size}, "currency": {}},
        "model_params": {"general": general, "currency": {"eth": coin}, "currency_pair": {"eth_usd": pair}},
        "initial_risk_vectors": {"ETH-PERPETUAL": table(printed, edges)},
        "pre_aggregated_risk_vectors": {"eth_eth": table(printed, edges)},
        "aggregated_risk_vectors": {"eth_eth": table(gains, [0.0] * 8)},
        "margins": {
            "eth": {
                "maintenance_margin": 0.125969249812,
                "initial_margin": 0.157461562,
                "initial_margin_details": {
                    **orders,
                    "risk_matrix_margin": 0.157461562265,
                    "risk_matrix_margin_details": details,
                },
            }
        },
    }
