"""Derive's managers against the venue's own test cases: 21 of PMRM, 139 of PMRM_2, 28 of the Standard Manager."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from portfolio_margin.models import derive_pmrm, derive_pmrm2, derive_standard
from pricing import UNDATED, ConfigError
from tests.portfolio_margin.derive_cases import Case, unrounded
from tests.portfolio_margin.test_derive_vectors import Errors, params_of
from tests.vectors import worked_examples, worked_shared

# Of money: the cases are given to 12 digits or to a few of them, and 0 stands for less than this.
SMALLEST_MONEY = 1e-6
WINDOW_SECONDS = 1800
# A tilt of vols that moves the spot as well is refused by the venue, and by us.
REFUSED = "derive-pmrm2-067"
VOL_SHOCKS = {"skew_linear": "linear", "skew_abs": "abs"}


def compare(errors: Errors, example: dict[str, Any], name: str, found: Any, expected: Any) -> None:
    """By the relative tolerance of the example."""
    scale = float(np.max(np.abs(expected), initial=0.0))
    errors.compare(f"{example['id']} {name}", found, expected, max(example["tolerance"]["rel"] * scale, SMALLEST_MONEY))


def scenario_list(rows: list[list[Any]]) -> list[dict[str, Any]]:
    """Scenarios given as spot, vol and, in PMRM_2, dampening."""
    names = ("spot_shock", "vol_shock", "dampening_factor")
    return [dict(zip(names, [row[0], VOL_SHOCKS.get(row[1], row[1]), *row[2:]], strict=False)) for row in rows]


def derive_vol(strike: float, svi: list[float]) -> float:
    """Vol of a slice as the venue reads it: by the slice's own forward and time, log-moneyness clamped."""
    a, b, rho, m, sigma, forward, tau = svi
    reach = 4.0 * math.sqrt(a + b * sigma)
    k = min(max(math.log(strike / forward), -reach), reach)
    return math.sqrt(min(a + b * (rho * (k - m) + math.sqrt((k - m) ** 2 + sigma**2)), 144.0) / tau)


def portfolio_case(given: dict[str, Any]) -> Case:
    """What PMRM and PMRM_2 cases have in common: cash, spot, perpetual."""
    case = Case(given["stable_price"])
    case.cash(given["cash"])
    market = {
        "spot": given["spot"],
        "spot_confidence": given["spot_conf"],
        "perp_price": given["perp_price"],
        "perp_confidence": given["perp_conf"],
    }
    unsettled = given["perp_unrealised_pnl"] + given["perp_unrealised_funding"]
    case.underlying("X", market, given["perps"], unsettled)
    return case


def first_params(p: dict[str, float], scenarios: list[list[Any]]) -> dict[str, Any]:
    """PMRM parameters by our names."""
    return {
        "scenarios": scenario_list(scenarios),
        "basis_contingency": {
            "scenario_spot_up": p["up"], "scenario_spot_down": p["dn"],
            "add_factor": p["add"], "mult_factor": p["mult"],
        },
        "other_contingency": {
            "peg_loss_threshold": p["peg"], "peg_loss_factor": p["pegf"], "conf_threshold": p["ct"],
            "conf_margin": p["cm"], "base_percent": p["base"], "perp_percent": p["perp"], "option_percent": p["opt"],
        },
        "margin": {
            "im_factor": p["im"], "base_static_discount": p["bsd"],
            "rate_mult_scale": p["rm"], "rate_add_scale": p["ra"],
        },
        "vol_shock": {
            "vol_range_up": p["vu"], "vol_range_down": p["vd"], "short_term_power": p["st"], "long_term_power": p["lt"],
            "dte_floor_sec": p["floor"],
        },
    }  # fmt: skip


@pytest.mark.reference
def test_pmrm_examples(report_vectors: Callable[..., None]) -> None:
    examples, shared, errors = worked_examples("Derive PMRM (v1)"), worked_shared(), Errors()
    values = first_params(shared["pmrm1_params"], shared["pmrm1_scenarios"])
    for example in examples:
        given, expected = example["inputs"], example["expected"]
        case, rows = portfolio_case(given), {}
        vol_confidence = {option[0]: option[5] for option in given["options"]}
        for seconds, fixed, variable, forward, rate, rate_confidence in given["feeds"]:
            seen = {"forward_confidence": forward, "rate_confidence": rate_confidence}
            seen["vol_confidence"] = vol_confidence[seconds]
            if seconds not in rows:
                rows[seconds] = case.expiry(seconds, fixed, variable, rate, seen)
        for seconds, strike, kind, amount, vol, _ in given["options"]:
            case.option(rows[seconds], strike, kind == "C", amount, vol)
        case.coin("X", given["base"], given["spot"], True)
        instruments, market, book, feeds = case.finish()
        model = derive_pmrm.Model(params_of(derive_pmrm, values, feeds))
        arrays = unrounded(instruments, market, model)
        margin = model.net_margin(book, arrays)
        (part,) = model.portfolios(book, arrays)
        found = {"IM": margin.initial[0], "MM": margin.maintenance[0], "mtm": margin.mark_to_market[0]}
        found["min_scenario"] = part.pnl[part.underlying == 0].min()
        assert set(found) == set(expected)
        for name, value in expected.items():
            compare(errors, example, name, found[name], value)
    report_vectors(len(examples), errors.largest, f"money, {errors.share:.1e} of the tolerance", "Derive PMRM examples")
    assert not errors.failed, errors.failed[:10]


def second_params(p: dict[str, float], scenarios: list[list[Any]], collateral: dict[str, Any]) -> dict[str, Any]:
    """PMRM_2 parameters by our names."""
    return {
        "scenarios": scenario_list(scenarios),
        "collateral": collateral,
        "basis_contingency": {
            "scenario_spot_up": p["SCENARIO_SPOT_UP"], "scenario_spot_down": p["SCENARIO_SPOT_DOWN"],
            "add_factor": p["BASIS_CONT_ADD_FACTOR"], "mult_factor": p["BASIS_CONT_MULT_FACTOR"],
        },
        "other_contingency": {
            "peg_loss_threshold": p["PEG_LOSS_THRESHOLD"], "peg_loss_factor": p["PEG_LOSS_FACTOR"],
            "conf_threshold": p["CONF_THRESHOLD"], "conf_margin": p["CONF_MARGIN"],
            "mm_perp_percent": p["MM_PERP_PERCENT"], "im_perp_percent": p["IM_PERP_PERCENT"],
            "mm_option_percent": p["MM_OPTION_PERCENT"], "im_option_percent": p["IM_OPTION_PERCENT"],
        },
        "margin": {
            "im_factor": p["IM_LOSS_FACTOR"], "mm_factor": p["MM_LOSS_FACTOR"],
            "short_rate_mult_scale": p["SHORT_RATE_MULTSCALE"], "long_rate_mult_scale": p["LONG_RATE_MULTSCALE"],
            "short_rate_add_scale": p["SHORT_RATE_ADDSCALE"], "long_rate_add_scale": p["LONG_RATE_ADDSCALE"],
            "short_base_static_discount": p["BASE_STATIC_DISCOUNT_NEG"],
            "long_base_static_discount": p["BASE_STATIC_DISCOUNT"],
        },
        "vol_shock": {
            "vol_range_up": p["VOLRANGEUP"], "vol_range_down": p["VOLRANGEDOWN"],
            "short_term_power": p["SHORTTERMPOWER"], "long_term_power": p["LONGTERMPOWER"],
            "dte_floor_sec": 86_400 * p["DTE_FLOOR"], "min_vol_up_shock": p["MIN_VOL_EVAL_SHOCKED"],
        },
        "skew_shock": {
            "linear_base_cap": p["LINEAR_SCALE_CAP"], "linear_c_base": p["LINEAR_CBASE"],
            "abs_base_cap": p["ABS_SCALE_CAP"], "abs_c_base": p["ABS_CBASE"], "min_k_star": p["MIN_K_STAR"],
            "width_scale": p["MIN_WIDTH_SCALE"], "vol_param_static": p["VOL_PARAM_STATIC"],
            "vol_param_scale": p["VOL_PARAM_SCALE"],
        },
    }  # fmt: skip


def second_case(given: dict[str, Any]) -> tuple[Case, dict[str, Any]]:
    """Tables of a PMRM_2 case, and the parameters of its collateral."""
    case, rows, collateral = portfolio_case(given), {}, {}
    for feed in given["feeds"]:
        seconds = feed["sec_to_expiry"]
        left = min(seconds / WINDOW_SECONDS, 1.0)
        seen = {"forward_confidence": feed["forward_conf"], "rate_confidence": feed["rate_conf"]}
        seen["vol_confidence"] = feed["vol_conf"]
        forward = feed["forward"]
        rows[seconds] = (
            case.expiry(seconds, forward * (1.0 - left), forward * left, feed["rate"], seen),
            feed["svi"],
        )
    for seconds, strike, kind, amount in given["options"]:
        row, svi = rows[seconds]
        case.option(row, strike, kind == "C", amount, derive_vol(strike, svi))
    for number, asset in enumerate(given["collaterals"]):
        case.coin(f"C{number}", asset["amount"], asset["price"], asset["risk_cancelling"], asset["confidence"])
        collateral[f"C{number}"] = {
            "mm_haircut": asset["mm_haircut"],
            "im_haircut": asset["im_haircut_extra"],
            "is_risk_cancelling": asset["risk_cancelling"],
        }
    return case, collateral


@pytest.mark.reference
def test_pmrm_2_examples(report_vectors: Callable[..., None]) -> None:
    examples, shared, errors = worked_examples("Derive PMRM_2"), worked_shared(), Errors()
    for example in examples:
        inputs, expected = example["inputs"], dict(example["expected"])
        scenarios = shared["pmrm2_scenarios"][inputs["scenarios_ref"]]
        case, collateral = second_case(shared["pmrm2_portfolios"][inputs["portfolio_ref"]])
        instruments, market, book, feeds = case.finish()
        params = shared["pmrm2_params"][inputs["params_ref"]]
        if example["id"] == REFUSED:
            with pytest.raises(ConfigError, match="spot_shock"):
                params_of(derive_pmrm2, second_params(params, scenarios, collateral), feeds)
            scenarios = [[1.0 if row[1] in VOL_SHOCKS else row[0], *row[1:]] for row in scenarios]
        model = derive_pmrm2.Model(params_of(derive_pmrm2, second_params(params, scenarios, collateral), feeds))
        arrays = unrounded(instruments, market, model)
        margin = model.net_margin(book, arrays)
        (part,) = model.portfolios(book, arrays)
        found = {"IM": margin.initial[0], "MM": margin.maintenance[0]}
        found["scenario_pnl"] = part.by_account(part.pnl)[0]
        # In the venue's files this includes cash.
        found["portfolio_mtm_ex_cash"] = margin.mark_to_market[0]
        for name, value in expected.items():
            compare(errors, example, name, found[name], value)
    label = f"money, {errors.share:.1e} of the tolerance"
    report_vectors(len(examples), errors.largest, label, "Derive PMRM_2 examples")
    assert not errors.failed, errors.failed[:10]


def standard_params(p: dict[str, Any]) -> dict[str, Any]:
    """Standard Manager parameters by our names, the same for both markets."""
    o, thresholds, base = p["option"], p["oracle_threshold_and_factor"], p["base_margin_factor_and_im_scale"]
    market = {
        "option_margin": {
            "max_spot_req": o["maxS"], "min_spot_req": o["minS"], "mm_call_spot_req": o["mmC"],
            "mm_put_spot_req": o["mmP"], "mm_put_mtm_req": o["mmPm"], "unpaired_im_scale": o["uIM"],
            "unpaired_mm_scale": o["uMM"], "mm_offset_scale": o["off"],
        },
        "perp_margin": {"mm_perp_req": p["perp_mm"], "im_perp_req": p["perp_im"]},
        "oracle_contingency": {
            "perp_threshold": thresholds["perp"], "option_threshold": thresholds["opt"],
            "base_threshold": thresholds["base"], "oc_factor": thresholds["f"],
        },
        "base_margin": {"margin_factor": base[0], "im_scale": base[1]},
    }  # fmt: skip
    depeg = {"threshold": p["depeg"][0], "depeg_factor": p["depeg"][1]}
    return {"markets": {"ETH": market, "BTC": market}, "depeg": depeg}


def standard_case(given: dict[str, Any]) -> Case:
    """Tables of a Standard Manager case."""
    case = Case(given["USDCValue"])
    case.cash(given["Cash"])
    for u, name in enumerate(("ETH", "BTC")):
        perps = given[f"Perps_{name}"]
        spot, perp = given["SpotPerpConfidences"][u]
        market = {"spot": given[f"{name}SpotPrice"], "spot_confidence": spot, "perp_confidence": perp}
        market["perp_price"] = given["PerpPrice"][u]
        entry, index = given[f"LastEntry{name}"] or 0.0, given[f"Account{name}FundingIndex"] or 0.0
        unsettled = perps * (market["perp_price"] - entry + index - given[f"{name}GlobalFundingIndex"])
        case.underlying(name, market, perps, unsettled)
        rows: dict[int, int] = {}
        for o, owner in enumerate(given["OptionUnderlying"]):
            if owner != name:
                continue
            seconds = given["OptionExpiries"][o]
            if seconds not in rows:
                forward, averaged = given["Forwards"][o], seconds < WINDOW_SECONDS
                share = given[f"PercentFixed{name}"] if averaged else 0.0
                fixed = given[f"TWAP_{name}"] * share
                seen = {"forward_confidence": given["ForwardConfidences"][o]}
                seen["vol_confidence"] = given["OptionVolConfidences"][o]
                rows[seconds] = case.expiry(seconds, fixed, forward * (1.0 - share), 0.0, seen)
            strike, is_call = given["OptionStrikes"][o], bool(given["OptionIsCall"][o])
            case.option(rows[seconds], strike, is_call, given["OptionAmounts"][o], given["OptionVols"][o])
        case.coin(name, given[f"w{name}"], given[f"{name}SpotPrice"], True)
    return case


def bounded_as_stated(block: Any, groups: np.ndarray, market: Any, given: dict[str, Any]) -> float:
    """What the files call bounded: of the first expiry of ETH, gains not cut off at 0, calls beyond the last strike at
    the forward before settlement fixes a part of it. The margins of the same files are with cut and fixed part."""
    if not len(groups):
        return 0.0
    first = groups[np.argmin(market.expiry_time[block.own.group_key[groups]])]
    seconds = (market.expiry_time[block.own.group_key[first]] - market.valuation_time) // 1000
    owned = zip(given["OptionUnderlying"], given["OptionExpiries"], given["Forwards"], strict=True)
    forward = next(f for owner, expiry, f in owned if owner == "ETH" and expiry == seconds)
    scale = worked_shared()["srm_params"]["option"]["uIM"]
    return float(block.payoffs.lowest[first] + min(block.payoffs.net_calls[first], 0.0) * scale * forward)


@pytest.mark.reference
def test_standard_examples(report_vectors: Callable[..., None]) -> None:
    examples, errors = worked_examples("Derive Standard Manager"), Errors()
    values = standard_params(worked_shared()["srm_params"])
    for example in examples:
        given, expected = example["inputs"], example["expected"]
        instruments, market, book, feeds = standard_case(given).finish()
        model = derive_standard.Model(params_of(derive_standard, values, feeds))
        arrays = unrounded(instruments, market, model)
        margin = model.net_margin(book, arrays)
        (block,) = model.blocks(book, arrays)
        key = block.own.group_key
        (groups,) = np.nonzero((key >= 0) & (market.expiry_underlying[key] == 0) & (market.expiry_time[key] != UNDATED))
        found = {"IM": margin.initial[0], "MM": margin.maintenance[0], "mtm": margin.mark_to_market[0]}
        found["eth_option_isolated_im"] = block.isolated[groups, 0].sum()
        found["eth_option_bounded_im"] = bounded_as_stated(block, groups, market, given)
        for name, value in expected.items():
            compare(errors, example, name, found[name], value)
    label = f"money, {errors.share:.1e} of the tolerance"
    report_vectors(len(examples), errors.largest, label, "Derive Standard Manager examples")
    assert not errors.failed, errors.failed[:10]
