"""Plain-Python twins of Derive's managers, from the text of the rules: one account, one option, one scenario at a time.

Markets, portfolios and parameters are dictionaries as in the vectors of the venue.
"""

from __future__ import annotations

import math
from typing import Any

from tests.naive.pricing import value

YEAR = 365 * 86_400
Given = dict[str, Any]


def portfolio_margin(market: Given, portfolio: Given, params: Given) -> Given:
    """PMRM where the portfolio has a base_position, PMRM_2 where it has collaterals."""
    first = "base_position" in portfolio
    spot, stable, perp = market["spot"], market["stable_price"], portfolio["perp_position"]
    seen = min(market["spot_confidence"], market["perp_confidence"]) if perp else market["spot_confidence"]
    assets = assets_of(market, portfolio)
    expiries = expiries_of(market, portfolio)
    value_now = sum(a["value"] for a in assets) + sum(options_value(e, params, first, 1.0, None) for e in expiries)
    value_now += portfolio["perp_unsettled_value"] if perp else 0.0
    pnl = [scenario_pnl(s, market, perp, assets, expiries, params, first) for s in params["scenarios"]]
    basis = sum(basis_contingency(e, params, first) for e in expiries)
    worst = min([basis, *pnl])
    naked = sum(naked_shorts(e["options"]) for e in expiries)
    other = params["other_contingency"]
    doubt = doubted(market, expiries, perp, assets, seen, first, other)
    depeg = max(0.0, other["peg_loss_threshold"] - stable) * other["peg_loss_factor"]
    factor = params["margin"]["im_factor"] + depeg
    total = value_now + portfolio["cash"]
    if first:
        coins = portfolio["base_position"] * other["base_percent"]
        static = spot * (abs(perp) * other["perp_percent"] + coins + naked * other["option_percent"])
        initial, maintenance = (worst - static) * factor - doubt + total, worst - static + total
    else:
        mm, im = (
            contingency(kind, spot, perp, naked, portfolio["collaterals"], stable, other) for kind in ("mm", "im")
        )
        initial = worst * factor - im - doubt - mm + total
        maintenance = worst * params["margin"]["mm_factor"] - mm + total
    return {"initial": initial, "maintenance": maintenance, "value": total, "pnl": pnl, "basis": basis}


def contingency(
    kind: str, spot: float, perp: float, naked: float, collaterals: list[Given], stable: float, other: Given
) -> float:
    """What PMRM_2 asks statically of maintenance ("mm"), and on top of it of initial margin ("im")."""
    amount = abs(perp) * spot * other[f"{kind}_perp_percent"] + naked * spot * other[f"{kind}_option_percent"]
    for asset in collaterals:
        amount += asset["amount"] * asset["price"] / stable * asset[f"{kind}_haircut"]
    return amount


def assets_of(market: Given, portfolio: Given) -> list[Given]:
    """Coins and other collateral: value, whether it moves with the spot, units and confidence."""
    stable, spot = market["stable_price"], market["spot"]
    if "base_position" in portfolio:
        held = portfolio["base_position"]
        return [{"value": held * spot / stable, "moves": True, "units": held}]
    return [
        {
            "value": a["amount"] * a["price"] / stable,
            "moves": a["is_risk_cancelling"],
            "confidence": min(a["confidence"], market["spot_confidence"]),
        }
        for a in portfolio["collaterals"]
    ]


def expiries_of(market: Given, portfolio: Given) -> list[Given]:
    """Expiries that hold an option, with their options."""
    found = []
    for index, expiry in enumerate(market["expiries"]):
        options = [o for o in portfolio["options"] if o["expiry_index"] == index]
        if options:
            found.append({**expiry, "options": options})
    return found


def options_value(expiry: Given, params: Given, first: bool, spot_shock: float, vol_shock: str | None) -> float:
    """Value of the options of one expiry, before any static discount."""
    years = expiry["sec_to_expiry"] / YEAR
    unshocked = expiry["forward_fixed"] + expiry["forward_variable"]
    forward = expiry["forward_fixed"] + expiry["forward_variable"] * spot_shock
    discount = 1.0 if first else math.exp(-max(expiry.get("rate", 0.0), 0.0) * years)
    total = 0.0
    for o in expiry["options"]:
        vol = shocked_vol(o["vol"], o["strike"], unshocked, expiry["sec_to_expiry"], params, vol_shock)
        total += o["amount"] * value(forward, o["strike"], years, vol, discount, 1.0 if o["is_call"] else -1.0)
    return total


def shocked_vol(vol: float, strike: float, forward: float, seconds: float, params: Given, kind: str | None) -> float:
    """The vol of an option in a scenario."""
    if kind in (None, "none"):
        return vol
    if kind in ("linear", "abs"):
        skew, root = params["skew_shock"], math.sqrt(seconds / YEAR)
        cap = skew[f"{kind}_base_cap"] + skew[f"{kind}_c_base"] * root
        spread = skew["vol_param_static"] + root * skew["vol_param_scale"]
        width = max(skew["min_k_star"], root * skew["width_scale"] * spread)
        k = math.log(strike / forward)
        k = abs(k) if kind == "abs" else k
        tilt = max(k * cap / width, -cap) if k < 0 else min(k * cap / width, cap)
        return vol * max(0.0, 1.0 + tilt)
    shock = params["vol_shock"]
    power = shock["short_term_power"] if seconds <= 30 * 86_400 else shock["long_term_power"]
    scale = (30 * 86_400 / max(seconds, shock["dte_floor_sec"])) ** power
    if kind == "down":
        return vol * max(0.0, 1.0 - shock["vol_range_down"] * scale)
    return max(shock.get("min_vol_up_shock", 0.0), vol * (1.0 + shock["vol_range_up"] * scale))


def static_discount(amount: float, expiry: Given, params: Given, first: bool) -> float:
    """What a shocked expiry value is multiplied with."""
    years, margin = expiry["sec_to_expiry"] / YEAR, params["margin"]
    rate = max(expiry["rate"], 0.0)
    if first:
        decay = math.exp(-years * (rate * margin["rate_mult_scale"] + margin["rate_add_scale"]))
        return margin["base_static_discount"] * decay if amount > 0 else 1.0
    if amount > 0:
        decay = math.exp(-years * (rate * margin["long_rate_mult_scale"] + margin["long_rate_add_scale"]))
        return float(margin["long_base_static_discount"] * decay)
    growth = math.exp(years * (rate * margin["short_rate_mult_scale"] + margin["short_rate_add_scale"]))
    return min(math.exp(rate * years), margin["short_base_static_discount"] * growth)


def scenario_pnl(
    scenario: Given, market: Given, perp: float, assets: list[Given], expiries: list[Given], params: Given, first: bool
) -> float:
    """P&L of one scenario."""
    shock, kind = scenario["spot_shock"], scenario["vol_shock"]
    total = perp * (shock - 1.0) * market["perp_price"]
    total += sum(a["value"] for a in assets if a["moves"]) * (shock - 1.0)
    for expiry in expiries:
        after = options_value(expiry, params, first, shock, kind)
        change = after * static_discount(after, expiry, params, first)
        change -= options_value(expiry, params, first, 1.0, None)
        total += -abs(change) if kind in ("linear", "abs") else change
    return total * float(scenario.get("dampening_factor", 1.0))


def basis_contingency(expiry: Given, params: Given, first: bool) -> float:
    """Loss of one expiry when its forward moves alone; 0 or less."""
    basis = params["basis_contingency"]
    now = options_value(expiry, params, first, 1.0, None)
    moved = (options_value(expiry, params, first, basis[f"scenario_spot_{way}"], None) - now for way in ("up", "down"))
    return min(*moved, 0.0) * (basis["add_factor"] + basis["mult_factor"] * expiry["sec_to_expiry"] / YEAR)


def naked_shorts(options: list[Given]) -> float:
    """Units short at each strike that nothing long at the same strike covers."""
    total = 0.0
    for strike in {o["strike"] for o in options}:
        amounts = [o["amount"] for o in options if o["strike"] == strike]
        short, long = -sum(a for a in amounts if a < 0), sum(a for a in amounts if a > 0)
        total += max(short - long, 0.0)
    return total


def doubted(
    market: Given, expiries: list[Given], perp: float, assets: list[Given], seen: float, first: bool, other: Given
) -> float:
    """Confidence contingency."""

    def step(confidence: float, size: float) -> float:
        return (1.0 - confidence) * other["conf_margin"] * size if confidence < other["conf_threshold"] else 0.0

    spot = market["spot"]
    coins = sum(a["units"] for a in assets) if first else 0.0
    total = step(seen, (abs(perp) + coins) * spot)
    for e in expiries:
        lowest = min(seen, e["forward_confidence"], e["rate_confidence"], e["vol_confidence"])
        total += step(lowest, sum(abs(o["amount"]) for o in e["options"]) * spot)
    return total if first else total + sum(step(a["confidence"], a["value"]) for a in assets)


def standard_margin(account: Given) -> Given:
    """The Standard Manager."""
    stable, depeg = account["stable_price"], account["depeg_params"]
    penalty = max(0.0, depeg["threshold"] - stable) * depeg["depeg_factor"]
    initial = maintenance = total = account["cash"]
    for m in account["markets"]:
        market, portfolio, p = m["market"], m["portfolio"], m["params"]
        spot, perp, base = market["spot"], portfolio["perp_position"], portfolio["base_position"]
        oracle, unsettled = p["oracle_contingency"], portfolio["perp_unsettled_value"] if perp else 0.0
        shorts = sum(max(-o["amount"], 0.0) for o in portfolio["options"])
        notional = abs(perp) * market["perp_price"]
        initial += unsettled - notional * p["perp_margin"]["im_perp_req"] - (abs(perp) + shorts) * spot * penalty
        maintenance += unsettled - notional * p["perp_margin"]["mm_perp_req"]
        seen = min(market["spot_confidence"], market["perp_confidence"])
        if seen < oracle["perp_threshold"]:
            initial -= abs(perp) * spot * (1.0 - seen) * oracle["oc_factor"]
        taken = base * spot * p["base_margin"]["margin_factor"]
        initial += taken * p["base_margin"]["im_scale"]
        maintenance += taken
        if market["spot_confidence"] < oracle["base_threshold"] and p["base_margin"]["margin_factor"] > 0:
            initial -= base * spot * (1.0 - market["spot_confidence"]) * oracle["oc_factor"]
        total += base * spot / stable + unsettled
        for e in expiries_of(market, portfolio):
            both, worth = expiry_margin(e, spot, p["option_margin"])
            lowest = min(market["spot_confidence"], e["forward_confidence"], e["vol_confidence"])
            held = sum(max(-o["amount"], 0.0) for o in e["options"])
            if lowest < oracle["option_threshold"]:
                initial -= held * spot * (1.0 - lowest) * oracle["oc_factor"]
            initial, maintenance, total = initial + both[0], maintenance + both[1], total + worth
    return {"initial": initial, "maintenance": maintenance, "value": total}


def expiry_margin(expiry: Given, spot: float, o: Given) -> tuple[tuple[float, float], float]:
    """Initial and maintenance margin of the options of one expiry, and their value."""
    years, forward = expiry["sec_to_expiry"] / YEAR, expiry["forward_fixed"] + expiry["forward_variable"]
    isolated, worth = [0.0, 0.0], 0.0
    for leg in expiry["options"]:
        strike, amount, sign = leg["strike"], leg["amount"], 1.0 if leg["is_call"] else -1.0
        mark = amount * value(forward, strike, years, leg["vol"], 1.0, sign)
        worth += mark
        if amount >= 0:
            continue
        out = max(sign * (strike - spot), 0.0) / spot
        initial = mark + max(o["max_spot_req"] - out, o["min_spot_req"]) * spot * amount
        if leg["is_call"]:
            maintenance = mark + o["mm_call_spot_req"] * spot * amount
        else:
            maintenance = mark + min(o["mm_put_spot_req"] * spot * amount, o["mm_put_mtm_req"] * mark)
            initial = min(initial, maintenance * o["mm_offset_scale"])
        isolated = [isolated[0] + initial, isolated[1] + maintenance]
    prices = [0.0, *(leg["strike"] for leg in expiry["options"] if leg["amount"] != 0)]
    lowest = min(0.0, *(payoff(expiry["options"], price) for price in prices))
    calls = min(sum(leg["amount"] for leg in expiry["options"] if leg["is_call"]), 0.0)
    bounded = [lowest + calls * forward * o[f"unpaired_{kind}_scale"] for kind in ("im", "mm")]
    return (max(isolated[0], bounded[0]), max(isolated[1], bounded[1])), worth


def payoff(options: list[Given], price: float) -> float:
    """What options pay where the underlying ends at a price."""
    return sum(o["amount"] * max((price - o["strike"]) * (1 if o["is_call"] else -1), 0.0) for o in options)
