"""Derive's managers against the contracts: every number of the published vectors, and the venue's own test cases."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest

from portfolio_margin import Book
from portfolio_margin.derive_feeds import Feeds, confidence_of
from portfolio_margin.derive_portfolio import exposures
from portfolio_margin.io.parameters import Layer, build
from portfolio_margin.models import derive_pmrm, derive_pmrm2, derive_standard
from pricing.forwards import settlement_forward
from tests.portfolio_margin.derive_cases import ACCOUNT, CONFIDENCES, Case, unrounded
from tests.vectors import reference_json

SECONDS_OF_AVERAGE = 1800
RATIO_TOLERANCE = 1e-14
# Worked examples are given to 12 digits.
SMALLEST_MONEY = 1e-6


@dataclass
class Errors:
    """The largest error, absolute and as a share of what is allowed, and how many numbers were compared."""

    largest: float = 0.0
    share: float = 0.0
    numbers: int = 0
    failed: list[str] = field(default_factory=list)

    def compare(self, label: str, found: Any, expected: Any, allowed: float) -> None:
        found, expected = np.asarray(found, float), np.asarray(expected, float)
        assert found.shape == expected.shape, label
        gap = float(np.max(np.abs(found - expected), initial=0.0))
        self.numbers += expected.size
        self.largest, self.share = max(self.largest, gap), max(self.share, gap / allowed)
        if not gap <= allowed:
            self.failed.append(f"{label}: off by {gap:.3g}, {allowed:.3g} allowed")


def plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters of a vector by the names of ours."""
    given = {name: value for name, value in values.items() if name not in ("name", "source")}
    if "scenarios" in given:
        given["scenarios"] = [{**s, "vol_shock": s["vol_shock"].lower()} for s in given["scenarios"]]
    return given


def params_of(module: Any, values: Mapping[str, Any], feeds: Feeds) -> Any:
    return replace(build(module.Params, Layer("", values)), feeds=feeds)


def set_of(content: dict[str, Any], named: Any) -> dict[str, Any]:
    return named if isinstance(named, dict) else content["header"]["param_sets"][named]


def gross_notional(market: dict[str, Any], portfolio: dict[str, Any]) -> float:
    """By the header: the largest price times everything held."""
    options = portfolio["options"]
    forwards = [e["forward_fixed"] + e["forward_variable"] for e in market["expiries"]]
    held = sum(abs(o["amount"]) for o in options) + abs(portfolio["perp_position"]) + portfolio.get("base_position", 0)
    return float(max(market["spot"], *forwards, *(o["strike"] for o in options), 0.0) * held)


def with_market(case: Case, name: str, given: dict[str, Any], portfolio: dict[str, Any]) -> list[int]:
    """An underlying of a vector with expiries and options; the rows of its expiries."""
    case.underlying(name, given, portfolio["perp_position"], portfolio["perp_unsettled_value"])
    rows = [
        case.expiry(
            e["sec_to_expiry"],
            e["forward_fixed"],
            e["forward_variable"],
            e.get("rate", 0.0),
            {kind: e[kind] for kind in CONFIDENCES if kind in e},
        )
        for e in given["expiries"]
    ]
    for option in portfolio["options"]:
        case.option(rows[option["expiry_index"]], option["strike"], option["is_call"], option["amount"], option["vol"])
    return rows


def portfolio_case(vector: dict[str, Any]) -> tuple[Case, dict[str, Any], list[int]]:
    """Tables of a PMRM or PMRM_2 vector, parameters of its collateral, rows of its expiries."""
    portfolio = vector["portfolio"]
    case = Case(vector["market"]["stable_price"])
    case.cash(portfolio["cash"])
    rows = with_market(case, "ETH", vector["market"], portfolio)
    if "collaterals" not in portfolio:
        case.coin("ETH", portfolio["base_position"], vector["market"]["spot"], True)
        return case, {}, rows
    names = ("mm_haircut", "im_haircut", "is_risk_cancelling")
    for asset in portfolio["collaterals"]:
        case.coin(asset["name"], asset["amount"], asset["price"], asset["is_risk_cancelling"], asset["confidence"])
    return case, {a["name"]: {n: a[n] for n in names} for a in portfolio["collaterals"]}, rows


def check_portfolio(errors: Errors, module: Any, content: dict[str, Any], vector: dict[str, Any]) -> None:
    """Every number of one vector of derive-pmrm-v1.json or derive-pmrm-v2.json."""
    case, collateral, rows = portfolio_case(vector)
    instruments, tables, book, feeds = case.finish()
    values = plain(set_of(content, vector["params"]))
    model = module.Model(params_of(module, values | ({"collateral": collateral} if collateral else {}), feeds))
    arrays, expected, ident = unrounded(instruments, tables, model), vector["expected"], vector["id"]
    allowed = max(1e-6, 1e-12 * gross_notional(vector["market"], vector["portfolio"]))
    margin, required = model.net_margin(book, arrays), model.requirement(book, arrays)
    (part,) = model.portfolios(book, arrays)

    def money(name: str, found: Any) -> None:
        errors.compare(f"{ident} {name}", found, expected[name], allowed)

    money("initial_margin", margin.initial[0])
    money("maintenance_margin", margin.maintenance[0])
    money("mark_to_market", margin.mark_to_market[0])
    money("portfolio_mtm_without_cash", margin.mark_to_market[0] - vector["portfolio"]["cash"])
    money("maintenance_margin_basis_scenarios_only", margin.trusted[0])
    money("scenario_pnl", part.by_account(part.pnl)[0])
    money("basis_contingency", part.by_account(part.basis)[0])
    check_worst(expected, int(required.worst_scenario[0]), allowed, ident)
    check_expiries(errors, model, arrays, part, expected["expiries"], rows, allowed, ident)
    check_contingencies(money, model, arrays, part, required, expected)
    seen = confidence_of(feeds, arrays, with_rates=True)
    lowest = min(seen.spot[0], seen.perpetual[0]) if vector["portfolio"]["perp_position"] else seen.spot[0]
    errors.compare(f"{ident} portfolio_min_confidence", lowest, expected["portfolio_min_confidence"], RATIO_TOLERANCE)


def check_worst(expected: dict[str, Any], found: int, allowed: float, ident: str) -> None:
    """The worst scenario, where it is alone; in ours the basis moves follow the scenarios, and -1 is no loss."""
    everything = np.append(expected["scenario_pnl"], expected["basis_contingency"])
    lowest, second = np.partition(everything, 1)[:2]
    if second - lowest <= allowed or lowest > -allowed:
        return
    index = expected["worst_scenario_index"]
    assert min(found, len(everything) - 1) == index, ident
    assert expected["worst_is_basis_contingency"] == (index == len(everything) - 1)


def check_expiries(
    errors: Errors, model: Any, arrays: Any, part: Any, expected: list[Any], rows: list[int], allowed: float, ident: str
) -> None:
    """Values, multipliers, discounts and confidence of every expiry that is held."""
    rule, years = model.rule(arrays), arrays.years_to_expiry
    up, down = model.params.vol_shock.multipliers(years)
    seen = exposures(part, arrays, confidence_of(model.params.feeds, arrays, with_rates=True))
    of_position = np.repeat(part.expiries.expiry, np.diff(part.own.group_ptr))
    for row, wanted in zip(rows, expected, strict=True):
        if wanted is None:
            continue
        (group,) = np.flatnonzero(part.expiries.expiry == row)
        found = {
            "mtm": part.expiries.value[group],
            "basis_scenario_up_mtm": part.expiries.up[group],
            "basis_scenario_down_mtm": part.expiries.down[group],
            "net_options": part.expiries.size[group],
            "vol_shock_up": up[row],
            "vol_shock_down": down[row],
            "static_discount": rule.discount_long[row],
            "static_discount_pos": rule.discount_long[row],
            "static_discount_neg": rule.discount_short[row],
            "discount": min(arrays.terms.discount[row], 1.0),
            "min_confidence": seen.confidence[of_position == row].min(),
        }
        assert set(wanted) <= set(found)
        for name, value in wanted.items():
            is_money = name.endswith("mtm") or name == "net_options"
            limit = allowed if is_money else RATIO_TOLERANCE
            errors.compare(f"{ident} expiry {row} {name}", found[name], value, limit)


def check_contingencies(
    money: Callable[[str, Any], None], model: Any, arrays: Any, part: Any, required: Any, expected: dict[str, Any]
) -> None:
    """Contingencies part by part, from the charges."""
    asked = {name: parts[0] for name, parts in required.charges.items()}
    if "static_contingency" in expected:
        parts = {"perp": "perpetual", "base": "base", "option": "option"}
        for name, charge in parts.items():
            money(f"static_contingency_{name}", asked[charge][1])
        money("static_contingency", sum(asked[charge][1] for charge in parts.values()))
        money("confidence_contingency", asked["confidence"][0])
        stable = model.params.feeds.stable_price
        coin = part.own.quantity[arrays.instrument_id[part.own.instrument_idx] == "ETH"][0]
        money("base_value", coin * arrays.terms.spot[0] / stable)
        return
    parts = {"perp": "perpetual", "option": "option", "collateral": "collateral"}
    for name, charge in parts.items():
        money(f"mm_contingency_{name}", asked[charge][1])
    money("mm_contingency", sum(asked[charge][1] for charge in parts.values()))
    more = sum(asked[charge][0] - asked[charge][1] for charge in parts.values())
    money("im_contingency", more + asked["confidence"][0])
    money("im_contingency_oracle_part", asked["confidence"][0])
    held = {str(arrays.instrument_id[i]): q for i, q in zip(part.own.instrument_idx, part.own.quantity, strict=True)}
    prices = dict(zip(arrays.instrument_id.tolist(), arrays.value, strict=True))
    names = [str(name) for name in arrays.instrument_id if str(name) in model.params.collateral]
    money("collateral_values", [held[n] * prices[n] / model.params.feeds.stable_price for n in names])


@pytest.mark.reference
@pytest.mark.parametrize(
    ("name", "section", "module"),
    [("derive-pmrm-v1.json", "vectors", derive_pmrm), ("derive-pmrm-v2.json", "vectors", derive_pmrm2)],
)
def test_portfolio_vectors(name: str, section: str, module: Any, report_vectors: Callable[..., None]) -> None:
    content, errors = reference_json(name), Errors()
    for vector in content[section]:
        check_portfolio(errors, module, content, vector)
    report_vectors(len(content[section]), errors.largest, f"money, {errors.share:.1e} of the tolerance", name)
    assert not errors.failed, errors.failed[:10]


def standard_case(vector: dict[str, Any]) -> tuple[Case, list[list[int]], list[list[int]]]:
    """Tables of a Standard Manager vector, by market the rows of its expiries and of its options."""
    case, rows, legs = Case(vector["stable_price"]), [], []
    case.cash(vector["cash"])
    for given in vector["markets"]:
        rows.append(with_market(case, given["asset"], given["market"], given["portfolio"]))
        count = len(given["portfolio"]["options"])
        legs.append(list(range(len(case.rows) - count, len(case.rows))))
        case.coin(given["asset"], given["portfolio"]["base_position"], given["market"]["spot"], True)
    return case, rows, legs


def alone(book: Book, arrays: Any, keep: np.ndarray) -> Book:
    """The account with some positions only; a new book, so that groups are those of what is left."""
    chosen = keep[book.instrument_idx]
    names = [ACCOUNT] * int(chosen.sum())
    return Book.from_arrays(
        np.array(names, dtype=np.str_),
        book.instrument_idx[chosen],
        book.quantity[chosen],
        arrays.expiry_idx,
        accounts=[ACCOUNT],
    )


def check_standard(errors: Errors, content: dict[str, Any], vector: dict[str, Any]) -> None:
    """Every number of one vector of derive-standard.json."""
    case, rows, legs = standard_case(vector)
    instruments, tables, book, feeds = case.finish()
    markets = {m["asset"]: plain(set_of(content, m["params"])) for m in vector["markets"]}
    values = {"markets": markets, "depeg": vector["depeg_params"]}
    model = derive_standard.Model(params_of(derive_standard, values, feeds))
    arrays, expected = unrounded(instruments, tables, model), vector["expected"]
    allowed = max(1e-6, 1e-12 * sum(gross_notional(m["market"], m["portfolio"]) for m in vector["markets"]))

    def compare(label: str, kept: np.ndarray, wanted: dict[str, float]) -> None:
        margin = model.net_margin(alone(book, arrays, kept), arrays)
        for name in ("initial", "maintenance"):
            found = getattr(margin, name)[0]
            errors.compare(f"{vector['id']} {label} {name}", found, wanted[f"{name}_margin"], allowed)
        errors.compare(f"{vector['id']} {label}", margin.mark_to_market[0], wanted["mark_to_market"], allowed)

    compare("account", np.ones(len(arrays), bool), expected)
    (block,) = model.blocks(book, arrays)
    position = {int(row): p for p, row in enumerate(block.own.instrument_idx)}
    for u, wanted in enumerate(expected["markets"]):
        own = arrays.underlying_idx == u
        compare("perp", own & (arrays.kind == 3), wanted["perp"])
        compare("base", own & arrays.is_collateral, wanted["base"])
        for row, parts in zip(rows[u], wanted["expiries"], strict=True):
            if parts is not None:
                compare("expiry", own & (arrays.expiry_idx == row) & (arrays.kind == 4), parts)
        for row, leg in zip(legs[u], wanted["legs"], strict=True):
            found = block.legs.isolated[position[row]]
            pair = [leg["isolated_initial_margin"], leg["isolated_maintenance_margin"]]
            errors.compare(f"{vector['id']} leg", found, pair, allowed)
            errors.compare(f"{vector['id']} leg", block.legs.value[position[row]], leg["mark_to_market"], allowed)


@pytest.mark.reference
def test_standard_vectors(report_vectors: Callable[..., None]) -> None:
    content, errors = reference_json("derive-standard.json"), Errors()
    for vector in content["vectors"]:
        check_standard(errors, content, vector)
    label = f"money, {errors.share:.1e} of the tolerance"
    report_vectors(len(content["vectors"]), errors.largest, label, "derive-standard.json")
    assert not errors.failed, errors.failed[:10]


@pytest.mark.reference
def test_forward_feed_vectors(report_vectors: Callable[..., None]) -> None:
    """derive-svi.json: the split of a forward inside the last half hour."""
    content = reference_json("derive-svi.json")
    vectors, errors = content["forward_feed_vectors"], Errors()
    limit = content["header"]["tolerance"]["forward_abs"]
    for vector in vectors:
        forward, share = settlement_forward(
            vector["spot"] + vector["forward_minus_spot"],
            vector["twap_spot_so_far"],
            vector["seconds_to_expiry"],
            SECONDS_OF_AVERAGE,
        )
        expected = vector["expected"]
        errors.compare(f"{vector['id']} forward", forward, expected["forward"], limit)
        errors.compare(f"{vector['id']} fixed", forward * share, expected["forward_fixed"], limit)
        errors.compare(f"{vector['id']} variable", forward * (1.0 - share), expected["forward_variable"], limit)
    report_vectors(len(vectors), errors.largest, f"quote currency, {limit:g} allowed", "derive-svi.json forward feed")
    assert not errors.failed, errors.failed[:10]
