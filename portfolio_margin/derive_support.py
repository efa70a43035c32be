"""What supports the requirement of PMRM from below: rates of the scenario, or of the basis contingency, that counts.

Of an expiry min(d V, V) counts for a value V after a move: d V where V is above 0, else V, and either of them is no
less anywhere. So the gains of any scenario with any choice of discounts bound the worst of every account from above.
"""

from __future__ import annotations

import numpy as np

from portfolio_margin.derive_feeds import Contracts
from portfolio_margin.derive_portfolio import Rule, scan_rows
from pricing.arrays import BoolArray, FloatArray
from scenarios.risk_arrays import RiskArrays


def scan_rates(arrays: RiskArrays, quantity: FloatArray, rule: Rule) -> FloatArray:
    """(N,) rates of the loss of every underlying, added up, for quantity (N,); without tilts of vol."""
    rates = np.zeros(len(arrays))
    held = np.flatnonzero(quantity)
    # Of what nobody holds only the rows of the scenario that counts are looked at.
    rows = scan_rows(arrays, rule) * (arrays.tick_size / arrays.unit)[:, None]
    key = arrays.expiry_idx
    owner = np.append(arrays.terms.expiry_underlying, -1)[key]
    for one in np.unique(owner[held]):
        mine = held[owner[held] == one]
        expiries = np.unique(key[mine])
        gains = np.array([quantity[here] @ rows[here] for here in (mine[key[mine] == x] for x in expiries)])
        moved, value = gains[:, :-2], gains[:, -2]
        shocked = (moved + value[:, None]) * rule.restate[expiries, None]
        discount = np.where(shocked > 0.0, rule.discount_long[expiries, None], rule.discount_short[expiries, None])
        pnl = ((discount * shocked - (value * rule.restate[expiries])[:, None]) * rule.dampening).sum(axis=0)
        basis = moved[:, -2:] * (rule.restate * rule.basis_weight)[expiries, None]
        worst, contingency = int(np.argmin(pnl[:-2])), float(np.minimum(basis.min(axis=1), 0.0).sum())
        if min(float(pnl[worst]), contingency) >= 0.0:
            continue
        for e, x in enumerate(expiries):
            own = (owner == one) & (key == x)
            if contingency <= pnl[worst]:
                side = int(np.argmin(basis[e]))
                if basis[e, side] < 0.0:
                    rates[own] = -rows[own, rows.shape[1] - 4 + side] * (rule.restate * rule.basis_weight)[x]
                continue
            gain, still = rows[own, worst], rows[own, -2]
            factor = rule.dampening[worst] * rule.restate[x]
            rates[own] = -factor * (discount[e, worst] * (gain + still) - still)
        if contingency > pnl[worst]:
            # An expiry of which nothing is held is worth nothing after any move, where either discount bounds it.
            rates += _unheld(arrays, rows, rule, (owner == one) & ~np.isin(key, expiries), worst)
    return rates


def _unheld(arrays: RiskArrays, rows: FloatArray, rule: Rule, own: BoolArray, worst: int) -> FloatArray:
    """(N,) rates of contracts in expiries of which an account holds nothing, as of what is bought."""
    key, gain, still = arrays.expiry_idx, rows[:, worst], rows[:, -2]
    factor = rule.dampening[worst] * rule.restate[key]
    return np.where(own, -factor * (rule.discount_long[key] * (gain + still) - still), 0.0)


def revaluation_rates(arrays: RiskArrays, rule: Rule) -> FloatArray:
    """(N,) what the venue's own value of a contract is above that of the arrays."""
    rows = scan_rows(arrays, rule)
    value = rows[:, -2] * rule.restate[arrays.expiry_idx] - rows[:, -1]
    return np.asarray(value * (arrays.tick_size / arrays.unit))


def naked_rates(arrays: RiskArrays, quantity: FloatArray, contracts: Contracts) -> FloatArray:
    """(N,) rates of naked shorts x spot: of every option at a strike that is short, calls and puts netted."""
    option = np.flatnonzero(contracts.option)
    strike = np.column_stack([arrays.expiry_idx[option].astype(np.float64), arrays.terms.strike[option]])
    place = np.unique(strike, axis=0, return_inverse=True)[1].ravel()
    net = np.bincount(place, quantity[option] * contracts.units[option])
    rates = np.zeros(len(arrays))
    rates[option] = np.where(net[place] < 0.0, -contracts.units[option] * contracts.spot[option], 0.0)
    return rates


def size_rates(quantity: FloatArray, contracts: Contracts, which: BoolArray) -> FloatArray:
    """(N,) rates of |quantity| x spot of some contracts; of what is not held 0, which is between its two sides."""
    return np.where(which, np.sign(quantity) * np.abs(contracts.units) * contracts.spot, 0.0)
