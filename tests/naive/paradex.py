"""Plain-Python twin of Paradex's portfolio margin, one underlying of linear contracts."""

from __future__ import annotations

from typing import Any

from tests.naive.deribit import delta
from tests.naive.pricing import value

Held = list[tuple[dict[str, Any], float]]


def price(contract: dict[str, Any], spot_shock: float, vol_shock: float, asset: Any) -> float:
    forward = contract["forward"] * (1 + spot_shock)
    if contract["kind"] != "option":
        return forward
    days = contract["years"] * 365
    power = asset.vega_power_short_dte if days < 30 else asset.vega_power_long_dte
    vol = contract["vol"] * (1 + vol_shock * (30 / max(days, asset.dte_floor_days)) ** power)
    if vol_shock > 0:
        vol = max(vol, asset.min_vol_shock_up)
    return value(forward, contract["strike"], contract["years"], max(vol, 0.0), 1.0, contract["sign"])


def requirement(held: Held, spot: float, asset: Any, params: Any, funding_rate: float) -> tuple[float, float]:
    """Initial and maintenance margin."""
    worst = 0.0
    for spot_shock, vol_shock, weight in asset.scenarios:
        gain = 0.0
        for contract, quantity in held:
            change = price(contract, spot_shock, vol_shock, asset) - price(contract, 0.0, 0.0, asset)
            left = min(1.0, contract["years"] * 365 * 24 * 2) if contract["kind"] == "option" else 1.0
            gain += left * weight * quantity * contract["units"] * change
        worst = max(worst, -gain)
    at_mark = [q * delta(c) * c["forward"] / spot for c, q in held]
    net, gross = sum(at_mark), sum(abs(d) for d in at_mark)
    hedged = (gross - abs(net)) / 2
    floor = (asset.unhedged_margin_factor * abs(net) + asset.hedged_margin_factor * hedged) * spot
    perpetuals = sum(q * c["units"] for c, q in held if c["kind"] == "perpetual")
    funding = max(0.0, funding_rate * perpetuals * spot)
    fees = 0.0
    for contract, quantity in held:
        mark = price(contract, 0.0, 0.0, asset)
        fee = params.perpetual_fee_rate * mark
        if contract["kind"] == "option":
            fee = min(params.option_fee_rate * spot, params.option_fee_cap * mark)
        fees += fee * abs(quantity) * contract["units"]
    most = max(worst, floor)
    return most + funding + fees, asset.mmf_factor * most + funding + fees
