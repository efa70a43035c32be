"""What each position adds to the charges of Derive's managers; of one account, exact."""

from __future__ import annotations

from decimal import Decimal

import numpy as np

from portfolio_margin.book import Book
from portfolio_margin.contributions import ScenarioLosses, position_line, position_ticks, underlying_name
from portfolio_margin.derive_feeds import contracts_of, net_by_strike
from portfolio_margin.derive_portfolio import Portfolio, Rule, scan_rows
from portfolio_margin.requirement import Contribution
from pricing.arrays import FloatArray, IntArray, StrArray
from scenarios.risk_arrays import RiskArrays

BASIS = "basis contingency"


def scan_losses(part: Portfolio, arrays: RiskArrays, rule: Rule) -> tuple[FloatArray, StrArray]:
    """(P,) what every position loses in the worst of its account and underlying, and the scenario; of one account.

    The value of an expiry is discounted as a whole, so a position counts with the discount of its expiry's sign.
    """
    book = part.own
    product = position_ticks(book, arrays, scan_rows(arrays, rule)) * arrays.tick_size
    labels = arrays.scenario_set.label
    loss, scenario = np.zeros(len(product)), np.full(len(product), "", dtype=labels.dtype)
    count = product.shape[1] - 4
    for m, column in enumerate(part.worst_column):
        if column < 0:
            continue
        for group in np.flatnonzero(part.of_expiry == m):
            here = slice(book.group_ptr[group], book.group_ptr[group + 1])
            gains, marked = product[here, :-2], product[here, -2]
            key = int(part.expiries.expiry[group])
            scenario[here] = labels[column]
            if column < count:
                loss[here] = -_counted(gains[:, column], marked, key, int(column), rule)
            else:
                loss[here], worse = _basis(gains[:, count:], key, rule)
                scenario[here] = labels[count + worse]
    return loss, scenario


def scenario_losses(parts: list[Portfolio], arrays: RiskArrays) -> list[ScenarioLosses]:
    """By underlying, of one account: every scenario, damped and discounted, and the basis contingency beside them,
    which takes of each expiry the worse of two moves."""
    names = np.append(arrays.underlying_id, "account")
    return [
        ScenarioLosses(
            str(names[part.underlying[m]]),
            np.append(arrays.scenario_set.label[: part.pnl.shape[1]], BASIS),
            -np.append(part.pnl[m], part.basis[m]),
        )
        for part in parts
        for m in range(len(part.pnl))
    ]


def _counted(gain: FloatArray, marked: FloatArray, key: int, column: int, rule: Rule) -> FloatArray:
    """P&L of the positions of one expiry in one scenario, as the model counts it."""
    value = marked * rule.restate[key]
    shocked = (gain + marked) * rule.restate[key]
    factor = rule.discount_long[key] if shocked.sum() > 0.0 else rule.discount_short[key]
    pnl = gain if factor == 1.0 and rule.restate[key] == 1.0 else shocked * factor - value
    if rule.skew[column]:
        pnl = -np.sign(pnl.sum()) * pnl
    return np.asarray(pnl * rule.dampening[column])


def _basis(gains: FloatArray, key: int, rule: Rule) -> tuple[FloatArray, int]:
    """Losses of the positions of one expiry in its worse basis move, and which one it is."""
    total = gains.sum(axis=0)
    worse = int(total[1] < total[0])
    counts = rule.basis_weight[key] * rule.restate[key] if total[worse] < 0.0 else 0.0
    return -gains[:, worse] * counts, worse


def naked_shares(book: Book, arrays: RiskArrays) -> FloatArray:
    """(P,) notional that each option adds to the naked shorts of its strike; what covers a short is negative."""
    contracts = contracts_of(arrays)
    amount = book.quantity * contracts.units[book.instrument_idx]
    nets = net_by_strike(book, arrays, amount)
    share = np.zeros(len(amount))
    short = (nets.net < 0.0)[nets.strike_of]
    share[nets.position] = np.where(short, -amount[nets.position], 0.0)
    return share * contracts.spot[book.instrument_idx]


def charge_lines(
    book: Book,
    arrays: RiskArrays,
    charge: str,
    amounts: FloatArray,
    total: FloatArray,
    scenario: StrArray | None = None,
) -> list[Contribution]:
    """Lines of one charge; amounts (P,2) sum to total (2,) but for the rounding of doubles.

    The largest amount takes that rounding, so that the lines sum to the total exactly; where no position stands
    for the charge it is a line of the account. Call inside localcontext(EXACT).
    """
    held = np.flatnonzero(np.any(amounts != 0.0, axis=1))
    exact = [[Decimal(float(value)) + 0 for value in amounts[position]] for position in held]
    largest: IntArray = np.argmax(np.abs(amounts[held]), axis=0) if len(held) else np.zeros(2, np.int64)
    for side in (0, 1):
        rest = Decimal(float(total[side])) - sum((pair[side] for pair in exact), Decimal(0))
        if len(held):
            exact[int(largest[side])][side] += rest
    if not len(held):
        initial, maintenance = (Decimal(float(value)) + 0 for value in total)
        line = Contribution(charge, "account", "", "", 0.0, "", initial, maintenance)
        return [line] if initial or maintenance else []
    return [
        position_line(
            book,
            arrays,
            int(position),
            charge,
            (initial, maintenance),
            netting_set=underlying_name(arrays, int(book.instrument_idx[position])),
            scenario="" if scenario is None else str(scenario[position]),
        )
        for position, (initial, maintenance) in zip(held, exact, strict=True)
    ]
