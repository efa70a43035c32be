"""segregated: accounts at a venue that margins every settlement currency by itself, in that currency.

Risk arrays and statements have one margin currency, so a statement adds the currencies of an account up, and a surplus
in one of them counts for the others. A segregated venue does not let it: this is the table it shows instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from portfolio_margin.balances_owed import CHARGE
from portfolio_margin.book import Book
from portfolio_margin.collateral import equity
from portfolio_margin.requirement import MarginModel, check_scenarios, covered
from pricing.arrays import FloatArray, StrArray
from scenarios.risk_arrays import RiskArrays


@dataclass(frozen=True)
class SegregatedMargins:
    """One row an account and settlement currency it holds anything in, amounts in that currency, not rounded.

    account, currency      (R,) names
    equity                 (R,) value of cash and contracts that settle in the currency
    margin_balance         (R,) of it what counts: all, or all but options
    initial, maintenance   (R,) requirements
    short_of               (R,) what is lacking to the maintenance margin, 0 or more; above 0 the venue liquidates
    """

    account: StrArray
    currency: StrArray
    equity: FloatArray
    margin_balance: FloatArray
    initial: FloatArray
    maintenance: FloatArray
    short_of: FloatArray

    def columns(self) -> dict[str, Any]:
        """Named columns."""
        return dict(vars(self))


def segregated_margins(
    book: Book, arrays: RiskArrays, model: MarginModel, *, backend: str = "numba", threads: int | None = None
) -> SegregatedMargins:
    """Margin of every account by settlement currency, for models that margin these by themselves.

    backend, threads  as for `margin`
    Every currency is an account of its own to the model. Raises what `margin` raises.
    """
    check_scenarios(model, arrays)
    seen, _ = covered(model, book, arrays)
    rows: dict[str, list[Any]] = {name: [] for name in SegregatedMargins.__dataclass_fields__}
    for c, name in enumerate(arrays.terms.currency_id.tolist()):
        held, margined = (b.keep(arrays.terms.currency_idx[b.instrument_idx] == c) for b in (book, seen))
        required = model.requirement(margined, arrays, backend=backend, threads=threads)
        counted, none = model.traits.options_counted, np.zeros(len(arrays))
        value = equity(held, arrays, none, options_counted=counted, backend=backend, threads=threads)
        there = np.diff(held.position_ptr) > 0
        rate = arrays.terms.fx[c]
        # Counted in the currency itself a balance owed has no price to bear: it is equity that is missing.
        initial, maintenance = (required.charges[CHARGE] if CHARGE in required.charges else np.zeros((len(book), 2))).T
        amounts = {
            "equity": value.equity / rate,
            "margin_balance": (value.equity - value.uncounted) / rate,
            "initial": (required.initial - initial) / rate,
            "maintenance": (required.maintenance - maintenance) / rate,
        }
        amounts["short_of"] = np.maximum(amounts["maintenance"] - amounts["margin_balance"], 0.0)
        rows["account"].append(book.account_id[there])
        rows["currency"].append(np.full(int(there.sum()), name))
        for field, values in amounts.items():
            rows[field].append(values[there])
    joined = {field: np.concatenate(parts) for field, parts in rows.items()}
    order = np.argsort(joined["account"], kind="stable")
    return SegregatedMargins(**{field: values[order] for field, values in joined.items()})
