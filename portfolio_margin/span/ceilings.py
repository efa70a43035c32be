"""The most that the parts of a SPAN requirement beside the scan may be after any subset of open orders.

The scan is a worst loss and never more together than apart. Spreads, delivery, credits, minimums and option value
depend on how deltas are paired, so each has a ceiling:

  spreads inside   every spread takes its ratios of deltas, each of which can be taken once: the dearest by delta taken,
                   times the largest size of every period's delta
  delivery         the larger of the two rates times the largest size of the period's delta
  credits          none; money charged between commodities for as many spreads as any of its legs allows
  minimum          of every option sold
  option value     what is above 0 by commodity, since risk and value together ask for the larger of the two

A spread that is charged by the price risk of one delta has no ceiling where that is a risk over a net delta, which may
be as near to 0 as it likes; under a cap or at the scan range it has.
"""

from __future__ import annotations

import numpy as np

from portfolio_margin.balances_owed import CHARGE
from portfolio_margin.order_bounds import Excess, Reach, backing_ceiling, debts_ceiling, most, per_contract, range_of
from portfolio_margin.span.debts import FACTORS, cells_beside, rates_beside
from portfolio_margin.span.rules import SpanRules
from portfolio_margin.span.scan import NORMAL
from portfolio_margin.span.spreads import FLAT, WEIGHTED, ScanSpread, Spread
from pricing.arrays import FloatArray
from scenarios.risk_arrays import RiskArrays


def span_excess(
    arrays: RiskArrays, rules: SpanRules, haircut: FloatArray, reach: Reach, rounding_unit: float, after_value: bool
) -> tuple[Excess, ...]:
    """The bound of the requirement; nothing where a spread has no ceiling.

    haircut        (N,) share of a balance held that does not count
    rounding_unit  money that scan risks and the amount of every spread are rounded to, 0 for none
    after_value    whether initial margin is the maintenance requirement times the ratio of the two risks
    """
    count, periods = len(rules.code), len(rules.period_code)
    delta = np.where(rules.covered, rules.delta, 0.0)[:, None]
    size = range_of(reach, delta, np.where(rules.covered, rules.period, -1), periods)[:, 0]
    factor = rules.factors[:, 0]
    inside = _inside(rules, size)
    if inside is None:
        return ()
    delivery = np.zeros(count)
    for charge in rules.spot:
        delivery[charge.commodity] += size[charge.period] * max(charge.outright, charge.spread, 0.0)
    least = float(reach.sold @ (rules.minimum * np.append(factor, 0.0)[np.where(rules.covered, rules.commodity, -1)]))
    owner = np.where(rules.covered, rules.commodity, -1)
    value = rules.option_value[:, None]
    highest, lowest = most(reach, value, owner, count)[:, 0], most(reach, -value, owner, count)[:, 0]
    worth = float(np.maximum(highest, 0.0).sum())
    if after_value:
        ratio = float(np.max(rules.factors[:, 0] / rules.factors[:, 1], initial=1.0))
        worth = max(worth, float(np.maximum(lowest, 0.0).sum()) * (ratio - 1.0))
    losses = most(reach, -per_contract(arrays, np.where(rules.covered[:, None], arrays.rows, 0.0)), owner, count)
    between = _between(rules, size, np.maximum(losses.max(axis=1, initial=0.0), 0.0))
    debts = backing_ceiling(arrays, rates_beside(arrays, rules, haircut), reach)
    debts += debts_ceiling(arrays, cells_beside(arrays, rules, haircut), reach, FACTORS[0])
    ceilings = {
        "intra_spread": float(inside @ factor),
        "delivery": float(delivery @ factor),
        "inter_credit": between,
        "short_option_minimum": least,
        "option_value": worth,
        CHARGE: debts,
    }
    spreads = len(rules.intra) + len(rules.before) + len(rules.between)
    scanned = (count + len(rules.scan_tier)) * (reach.parts + 1)
    rounding = 0.5 * rounding_unit * float(factor.max(initial=0.0)) * (scanned + 2 * spreads)
    return (Excess(np.zeros(len(arrays)), ceilings, rounding),)


def _inside(rules: SpanRules, size: FloatArray) -> FloatArray | None:
    """(U,) of the spreads inside commodities, before factors; None where one has no ceiling."""
    dearest = np.zeros(len(rules.code))
    for spread in rules.intra:
        commodity, each = spread.legs[0].commodity, max(spread.rate, 0.0)
        if spread.method == WEIGHTED:
            if rules.price_method[commodity] == NORMAL and each > 0.0:
                return None
            each *= float(rules.scan_range[commodity])
        dearest[commodity] = max(dearest[commodity], each / sum(leg.ratio for leg in spread.legs))
    gross = np.zeros(len(rules.code))
    np.add.at(gross, rules.period_commodity, size)
    return dearest * gross


def _between(rules: SpanRules, size: FloatArray, loss: FloatArray) -> float:
    """What spreads between commodities may charge rather than credit, with factors: flat ones, and where commodities
    that are scanned together have unlike factors, what the losses (U,) that change places cost more there."""
    total, factor = 0.0, rules.factors[:, 0]
    for spread in (*rules.before, *rules.between):
        if isinstance(spread, ScanSpread):
            rows = [*spread.legs, spread.target]
            total += float(loss[rows].sum()) * float(np.ptp(factor[rows]))
        else:
            total += _flat(spread, size, factor)
    return total


def _flat(spread: Spread, size: FloatArray, factor: FloatArray) -> float:
    if spread.method != FLAT:
        return 0.0
    count = min(float(size[leg.periods].sum()) / leg.ratio for leg in spread.legs)
    rates = [max(-leg.rate, 0.0) / len(spread.legs) * float(factor[leg.commodity]) for leg in spread.legs]
    return count * sum(rates)
