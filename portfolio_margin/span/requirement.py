"""The SPAN requirement of accounts: scan risk, spreads, credits, minimums and net option value, in this order.

super-inter-commodity spreads, intra-commodity spreads, delivery charge, inter-commodity credits;
risk = max(scan + intra + delivery - credits, short option minimum); requirement = (risk - option value used)+ by
currency. Amounts are in margin currency. Everything is a pure function over rows (combined commodity, account).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from portfolio_margin.span.credits import Credits
from portfolio_margin.span.holdings import Holdings
from portfolio_margin.span.rules import SpanRules
from portfolio_margin.span.scan import scan_risk, weighted_price_risk
from portfolio_margin.span.spreads import (
    NEAREST,
    FormedSpread,
    form_intra_spreads,
    formed_spreads,
    rounded,
    spot_charges,
)
from pricing.arrays import FloatArray, IntArray

BEFORE_VALUE, AFTER_VALUE = "before_option_value", "after_option_value"


class CommodityRisk(NamedTuple):
    """Risk of every commodity of every account, (U,A) each.

    active                    scenario of the largest loss of the whole commodity, from 0
    scan, time, volatility, price, weighted_price   see `portfolio_margin.span.scan`
    net_delta                 scaled deltas
    super_credit, intra, delivery, inter_credit     credits and charges, 0 or more
    minimum                   short option minimum
    risk                      max(scan + intra + delivery - both credits, minimum)
    option_value              net option value
    exposure                  notional of futures, long or short, and of short options
    """

    active: IntArray
    scan: FloatArray
    time: FloatArray
    volatility: FloatArray
    price: FloatArray
    weighted_price: FloatArray
    net_delta: FloatArray
    super_credit: FloatArray
    intra: FloatArray
    delivery: FloatArray
    inter_credit: FloatArray
    minimum: FloatArray
    risk: FloatArray
    option_value: FloatArray
    exposure: FloatArray


class Totals(NamedTuple):
    """Requirement of accounts, (A,2) each: initial and maintenance.

    risk              sum of the adjusted risks
    option_value      net option value, in both columns
    option_value_used what of it counts against the risk
    requirement       risk less the option value used, by currency never below 0
    """

    risk: FloatArray
    option_value: FloatArray
    option_value_used: FloatArray
    requirement: FloatArray


def commodity_risk(
    rules: SpanRules, held: Holdings, *, attribution: str = NEAREST, rounding_unit: float = 0.0
) -> CommodityRisk:
    """Risk of every combined commodity of a block of accounts.

    attribution    whose deltas a spread between tiers takes: "nearest" periods first, or "proportional"
    rounding_unit  money that scan risks and the amount of every spread are rounded to, 0 for none
    """
    count, accounts = held.loss.shape[:2]
    paired = np.broadcast_to(rules.paired[:, None, :], held.loss.shape).reshape(-1, held.loss.shape[2])
    flat = scan_risk(held.loss.reshape(-1, held.loss.shape[2]), paired)
    shape = (count, accounts)
    scan, price = rounded(flat.risk, rounding_unit).reshape(shape), flat.price.reshape(shape)
    scan = _scanned_apart(rules, held, scan, rounding_unit)
    net = _sums_by_commodity(rules, held.delta)
    weighted = weighted_price_risk(price, net, rules.price_method[:, None], rules.scan_range[:, None])
    left = held.delta.copy()
    state = Credits(rules, held, weighted, attribution, rounding_unit)
    # Credits are of the scanned risk: charges of spreads and of delivery stay owed.
    super_credit = np.minimum(state.form(rules.before, left), scan)
    remaining = left.copy()
    intra, used = form_intra_spreads(remaining, rules.intra, weighted, attribution, rounding_unit)
    delivery = spot_charges(remaining, used, rules.spot, count)
    inter_credit = np.minimum(state.form(rules.between, left), scan - super_credit)
    minimum = _minimums(rules, held)
    risk = np.maximum(scan + intra + delivery - super_credit - inter_credit, minimum)
    return CommodityRisk(
        active=flat.active.reshape(shape),
        scan=scan,
        time=flat.time.reshape(shape),
        volatility=flat.volatility.reshape(shape),
        price=price,
        weighted_price=weighted,
        net_delta=net,
        super_credit=super_credit,
        intra=intra,
        delivery=delivery,
        inter_credit=inter_credit,
        minimum=minimum,
        risk=risk,
        option_value=held.option_value,
        exposure=held.exposure,
    )


def intra_by_spread(
    rules: SpanRules, held: Holdings, weighted: FloatArray, *, attribution: str = NEAREST, rounding_unit: float = 0.0
) -> list[list[FormedSpread]]:
    """How accounts have formed each spread of `rules.intra`, in their order; arguments as of `commodity_risk`.

    weighted  (U,A) price risk of one delta, as found there
    """
    left, how = held.delta.copy(), (attribution, rounding_unit)
    Credits(rules, held, weighted, *how).form(rules.before, left)
    return [list(formed_spreads(left, spread, weighted, *how)) for spread in rules.intra]


def totals_by_currency(
    rules: SpanRules, risk: CommodityRisk, *, initial_ratio: str = BEFORE_VALUE
) -> dict[str, Totals]:
    """Requirement of accounts in each currency group, from the risks of its commodities; margin currency.

    Option value of a commodity whose value is capped helps up to its own risk, that of others helps all commodities of
    their currency; value owed always counts in full.
    initial_ratio  "before_option_value": initial = (factor x risk - value)+; "after_option_value": initial margin is
                   the maintenance requirement times the ratio of the two adjusted risks
    """
    adjusted = risk.risk[..., None] * rules.factors[:, None, :]
    value = risk.option_value[..., None] + np.zeros(2)
    capped = rules.cap_option_value[:, None, None]
    usable = np.where(capped, np.minimum(value, adjusted), value)
    found: dict[str, Totals] = {}
    for currency in dict.fromkeys(rules.currency.tolist()):
        mine = rules.currency == currency
        group_risk, group_value = adjusted[mine].sum(axis=0), usable[mine].sum(axis=0)
        group = np.maximum(group_risk - group_value, 0.0)
        if initial_ratio == AFTER_VALUE:
            base = group_risk[:, 1]
            ratio = np.where(base > 0.0, group_risk[:, 0] / np.where(base > 0.0, base, 1.0), 1.0)
            group[:, 0] = group[:, 1] * ratio
        used = np.minimum(group_value, group_risk)
        found[currency] = Totals(group_risk, value[mine].sum(axis=0), used, group)
    return found


def totals(rules: SpanRules, risk: CommodityRisk, *, initial_ratio: str = BEFORE_VALUE) -> Totals:
    """Requirement of accounts over all currencies; see `totals_by_currency`."""
    nothing = np.zeros((risk.risk.shape[1], 2))
    groups = totals_by_currency(rules, risk, initial_ratio=initial_ratio).values()
    return Totals(*(sum((group[n] for group in groups), nothing) for n in range(len(Totals._fields))))


def _scanned_apart(rules: SpanRules, held: Holdings, scan: FloatArray, unit: float) -> FloatArray:
    """Scan risks, for commodities with parts that are scanned apart the sum of those of the parts."""
    if not len(rules.scan_tier):
        return scan
    result = scan.copy()
    result[rules.scan_commodity] = 0.0
    for part, commodity in enumerate(rules.scan_commodity.tolist()):
        result[commodity] += rounded(np.maximum(held.scan_loss[part].max(axis=1), 0.0), unit)
    return result


def _sums_by_commodity(rules: SpanRules, delta: FloatArray) -> FloatArray:
    total = np.zeros((len(rules.code), delta.shape[1]))
    np.add.at(total, rules.period_commodity, delta)
    return total


def _minimums(rules: SpanRules, held: Holdings) -> FloatArray:
    """(U,A) short option minimum: of calls and puts together, or of the larger of the two."""
    calls, puts = held.short_calls, held.short_puts
    by_tier = np.where(rules.larger_minimum[:, None], np.maximum(calls, puts), calls + puts)
    total = np.zeros((len(rules.code), calls.shape[1]))
    np.add.at(total, rules.tier_commodity, by_tier)
    return total
