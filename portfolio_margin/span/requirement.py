"""The SPAN requirement of accounts: scan risk, spreads, credits, minimums and net option value, in this order.

super-inter-commodity spreads, intra-commodity spreads, delivery charge, inter-commodity credits;
risk = max(scan + intra + delivery - credits, short option minimum); requirement = (risk - option value used)+ by
currency. Amounts are in margin currency. Everything is a pure function over rows (combined commodity, account).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from portfolio_margin.span.rules import SpanRules
from portfolio_margin.span.scan import scan_risk, weighted_price_risk
from portfolio_margin.span.spreads import (
    NEAREST,
    FormedSpread,
    ScanSpread,
    Spread,
    form_inter_spread,
    form_intra_spreads,
    formed_spreads,
    rounded,
    scan_together,
    spot_charges,
)
from pricing.arrays import FloatArray, IntArray

BEFORE_VALUE, AFTER_VALUE = "before_option_value", "after_option_value"


class Holdings(NamedTuple):
    """What a block of accounts holds, summed up.

    loss         (U,A,16) losses in every scenario
    scan_loss    (K,A,16) the same by the parts that are scanned apart
    tier_loss    (T,A,16) the same by the tiers that legs between commodities are on
    delta        (D,A) scaled deltas by contract period
    short_calls, short_puts  (M,A) short option minimum of the calls, and of the puts, by tier
    option_value (U,A) net option value
    exposure     (U,A) notional of futures, long or short, and of short options
    """

    loss: FloatArray
    scan_loss: FloatArray
    tier_loss: FloatArray
    delta: FloatArray
    short_calls: FloatArray
    short_puts: FloatArray
    option_value: FloatArray
    exposure: FloatArray


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
    tier_weighted = _tier_weighted(rules, held)
    left = held.delta.copy()
    # Scanning spreads merge losses.
    merges = any(isinstance(spread, ScanSpread) for spread in (*rules.before, *rules.between))
    loss = held.loss.copy() if merges else held.loss
    state = _Credits(rules, loss, scan.copy(), weighted, tier_weighted, (attribution, rounding_unit))
    super_credit = state.form(rules.before, left)
    remaining = left.copy()
    intra, used = form_intra_spreads(remaining, rules.intra, weighted, attribution, rounding_unit)
    delivery = spot_charges(remaining, used, rules.spot, count)
    inter_credit = state.form(rules.between, left)
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
    state = _Credits(rules, held.loss.copy(), np.zeros(weighted.shape), weighted, _tier_weighted(rules, held), how)
    state.form(rules.before, left)
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


class _Credits:
    """Losses and scan risks while spreads between commodities are formed."""

    def __init__(
        self, rules: SpanRules, loss: FloatArray, scan: FloatArray, weighted: FloatArray, tier_weighted: FloatArray,
        how: tuple[str, float],
    ) -> None:  # fmt: skip
        self.rules, self.loss, self.scan, self.weighted = rules, loss, scan, weighted
        self.tier_weighted, self.how = tier_weighted, how

    def form(self, spreads: tuple[Spread | ScanSpread, ...], left: FloatArray) -> FloatArray:
        """Credits (U,A) of spreads in their order; deltas left are changed in place."""
        credit = np.zeros(self.scan.shape)
        for spread in spreads:
            if isinstance(spread, ScanSpread):
                self._scan(spread, credit)
            else:
                form_inter_spread(left, spread, self.weighted, self.tier_weighted, credit, *self.how)
        return credit

    def _scan(self, spread: ScanSpread, credit: FloatArray) -> None:
        rows = (*spread.legs, spread.target)
        present = np.array([np.any(self.loss[row] != 0.0, axis=1) for row in rows])
        needed = np.array(spread.required)
        formed = present[needed].all(axis=0) & (present[:-1].sum(axis=0) >= spread.fewest) & (present.sum(axis=0) > 1)
        if not formed.any():
            return
        together = scan_together(
            self.loss[list(spread.legs)], self.loss[spread.target], spread.rate, formed.astype(np.float64)
        )
        merged = np.maximum(together.max(axis=1), 0.0)
        credit[spread.target] += np.where(formed, self.scan[spread.target] - merged, 0.0)
        self.scan[spread.target] = np.where(formed, merged, self.scan[spread.target])
        self.loss[spread.target] = together
        for row in spread.legs:
            credit[row] += np.where(formed, self.scan[row], 0.0)
            self.scan[row] = np.where(formed, 0.0, self.scan[row])
            self.loss[row] = np.where(formed[:, None], 0.0, self.loss[row])


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


def _tier_weighted(rules: SpanRules, held: Holdings) -> FloatArray:
    """(T,A) price risk of one delta by tier, from the positions in the tier alone."""
    tiers, accounts = held.tier_loss.shape[:2]
    result = np.zeros((tiers, accounts))
    for tier in range(tiers):
        periods = np.flatnonzero(rules.inter_tier[tier])
        commodity = int(rules.period_commodity[periods[0]]) if len(periods) else 0
        part = scan_risk(held.tier_loss[tier], rules.paired[commodity])
        net = held.delta[periods].sum(axis=0)
        method, scan = rules.price_method[commodity : commodity + 1], rules.scan_range[commodity : commodity + 1]
        result[tier] = weighted_price_risk(part.price, net, method, scan)
    return result


def _minimums(rules: SpanRules, held: Holdings) -> FloatArray:
    """(U,A) short option minimum: of calls and puts together, or of the larger of the two."""
    calls, puts = held.short_calls, held.short_puts
    by_tier = np.where(rules.larger_minimum[:, None], np.maximum(calls, puts), calls + puts)
    total = np.zeros((len(rules.code), calls.shape[1]))
    np.add.at(total, rules.tier_commodity, by_tier)
    return total
