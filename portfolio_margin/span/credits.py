"""Credits of spreads between commodities: from their deltas, and by scanning commodities together.

What a commodity has to offset, it offsets once. A spread between deltas takes deltas, the price risk of these deltas
and the same share of the losses that may be scanned together later; a scanning spread takes all that is left, so that
no later spread finds deltas of its commodities. Otherwise two spreads on the same positions would both be credited.
"""

from __future__ import annotations

import numpy as np

from portfolio_margin.span.holdings import Holdings
from portfolio_margin.span.rules import SpanRules
from portfolio_margin.span.scan import scan_risk, weighted_price_risk
from portfolio_margin.span.spreads import FLAT, ScanSpread, Spread, formed_between, rounded, scan_together
from pricing.arrays import BoolArray, FloatArray

# Less than this share of a commodity is what subtraction leaves of nothing.
TRIFLE = 1e-12
WHOLE = 0


class Credits:
    """What accounts have left to offset while spreads between commodities are formed in their order.

    price     (U,A) price risk not used yet, of the net deltas; the sum over parts that are scanned apart
    merged    (U,A) True where the losses of a commodity were scanned together with others
    parts     commodity -> number of the scan tier, 0 for the whole, -> (A,16) losses not used yet; only of commodities
              that a scanning spread names
    """

    def __init__(
        self, rules: SpanRules, held: Holdings, weighted: FloatArray, attribution: str, rounding_unit: float
    ) -> None:
        self.weighted, self.tier_weighted = weighted, tier_weighted(rules, held)
        self.attribution, self.unit = attribution, rounding_unit
        self.price = _price_risks(rules, held, weighted)
        self.merged = np.zeros(weighted.shape, dtype=bool)
        self.parts: dict[int, dict[int, FloatArray]] = {}
        for spread in (*rules.before, *rules.between):
            for row in (*spread.legs, spread.target) if isinstance(spread, ScanSpread) else ():
                mine = np.flatnonzero(rules.scan_commodity == row).tolist()
                apart = {int(rules.scan_number[part]): held.scan_loss[part] for part in mine}
                self.parts[row] = apart or {WHOLE: held.loss[row]}

    def form(self, spreads: tuple[Spread | ScanSpread, ...], left: FloatArray) -> FloatArray:
        """Credits (U,A) of spreads in their order; deltas left are changed in place."""
        credit = np.zeros(self.price.shape)
        for spread in spreads:
            if isinstance(spread, ScanSpread):
                self._scan(spread, credit)
            else:
                self._pair(spread, left, credit)
        return credit

    def _pair(self, spread: Spread, left: FloatArray, credit: FloatArray) -> None:
        """A spread between deltas: a share of their price risk, or money (FLAT) up to it; a charge where below 0."""
        free: BoolArray = np.logical_not(self.merged[[leg.commodity for leg in spread.legs]].any(axis=0))
        for count, shares in formed_between(left, spread, free, self.attribution):
            for leg, share in zip(spread.legs, shares, strict=True):
                row = leg.commodity
                each = self.weighted[row] if leg.tier < 0 else self.tier_weighted[leg.tier]
                used = np.minimum(each * count * leg.ratio, self.price[row])
                self.price[row] -= used
                # Each commodity gets an equal part of money.
                money = np.minimum(count * (leg.rate / len(spread.legs)), used)
                credit[row] += rounded(money if spread.method == FLAT else used * leg.rate, self.unit)
                rest = np.where(1.0 - share > TRIFLE, 1.0 - share, 0.0)
                for number, own in self.parts.get(row, {}).items():
                    self.parts[row][number] = own * rest[:, None]

    def _scan(self, spread: ScanSpread, credit: FloatArray) -> None:
        rows = (*spread.legs, spread.target)
        present = np.array([_any(self.parts[row]) for row in rows])
        needed = np.array(spread.required)
        formed = present[needed].all(axis=0) & (present[:-1].sum(axis=0) >= spread.fewest) & (present.sum(axis=0) > 1)
        # A credit of 0 % is none: losses of one scenario for all would be one.
        if not formed.any() or not np.any(spread.rate > 0.0):
            return
        together = scan_together([self.parts[row] for row in rows], spread.rate)
        for row in rows:
            credit[row] += np.where(formed, self._risk(self.parts[row]), 0.0)
        credit[spread.target] -= np.where(formed, self._risk(together), 0.0)
        for row in rows:
            kept = {number: np.where(formed[:, None], 0.0, own) for number, own in self.parts[row].items()}
            if row == spread.target:
                for number, own in together.items():
                    kept[number] = np.where(formed[:, None], own, kept.get(number, 0.0))
            self.parts[row] = kept
            self.merged[row] |= formed

    def _risk(self, parts: dict[int, FloatArray]) -> FloatArray:
        """(A,) scan risk of what is scanned in parts: the sum of theirs."""
        total = np.zeros(self.price.shape[1])
        for loss in parts.values():
            total = total + rounded(np.maximum(loss.max(axis=1), 0.0), self.unit)
        return total


def tier_weighted(rules: SpanRules, held: Holdings) -> FloatArray:
    """(T,A) price risk of one delta by tier that legs between commodities are on, of the positions in it alone."""
    return _weighted_in(rules, held, rules.inter_tier, held.tier_loss)[0]


def _weighted_in(
    rules: SpanRules, held: Holdings, inside: BoolArray, losses: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """(T,A) price risk of one delta by group of periods, and of all its net deltas.

    inside  (T,D) True for the periods of each group, which are of one commodity
    losses  (T,A,16) of the positions in them
    """
    groups, accounts = losses.shape[:2]
    each, whole = np.zeros((groups, accounts)), np.zeros((groups, accounts))
    for group in range(groups):
        periods = np.flatnonzero(inside[group])
        commodity = int(rules.period_commodity[periods[0]]) if len(periods) else 0
        part = scan_risk(losses[group], rules.paired[commodity])
        net = held.delta[periods].sum(axis=0)
        method, scan = rules.price_method[commodity : commodity + 1], rules.scan_range[commodity : commodity + 1]
        each[group] = weighted_price_risk(part.price, net, method, scan)
        whole[group] = each[group] * np.abs(net)
    return each, whole


def _price_risks(rules: SpanRules, held: Holdings, weighted: FloatArray) -> FloatArray:
    """(U,A) price risk of the net deltas of commodities, or if that is more of each part that is scanned apart.

    Deltas of tiers may add up to more than the commodity is net, but no more risk is scanned than this.
    """
    net = np.zeros(weighted.shape)
    np.add.at(net, rules.period_commodity, held.delta)
    risk: FloatArray = weighted * np.abs(net)
    apart = np.zeros(weighted.shape)
    np.add.at(apart, rules.scan_commodity, _weighted_in(rules, held, rules.scan_tier, held.scan_loss)[1])
    return np.maximum(risk, apart)


def _any(parts: dict[int, FloatArray]) -> BoolArray:
    held: BoolArray = np.any([np.any(loss != 0.0, axis=1) for loss in parts.values()], axis=0)
    return held
