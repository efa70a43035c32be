"""Rules of a stress as its output states them: what the venue did, in a document, a line and a hash."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

from portfolio_margin.stress.path import StressPath
from portfolio_margin.stress.rules import PROPORTIONAL, Rules
from pricing.digest import hash_parts

HASH_DIGITS = 16


def rules_document(rules: Rules, refine: float | None, topped_up: bool) -> dict[str, Any]:
    """Every rule by its name, those of impact and waterfall under theirs; `demand` None where there is no limit."""
    found = {name: value for name, value in _plain(rules).items() if name != "named"}
    return {
        "policy": PROPORTIONAL,
        "policies": dict(rules.named),
        "refine": refine,
        "topped_up": topped_up,
        **found,
        "demand": rules.demand if np.isfinite(rules.demand) else None,
    }


def rules_line(rules: Rules, refine: float | None, topped_up: bool, currency: str) -> str:
    """The same for people, as far as the command has options for it."""
    impact = rules.impact
    demand = f"{rules.demand:,.6g} {currency} of margin an hour" if np.isfinite(rules.demand) else "any amount"
    named = "".join(f", {account} by {policy}" for account, policy in rules.named.items())
    start = "who is short of initial margin pays in at the start" if topped_up else "nobody pays in"
    return (
        f"rules: {PROPORTIONAL} slices{named}, buffer {rules.buffer:.6g}, cost {rules.cost:.6g}, penalty "
        f"{rules.penalty:.6g} of the notional; bidders take {demand}; prices {rules.delay_hours:g} hours late; impact "
        f"{impact.coefficient:g} with exponent {impact.exponent:g}; "
        f"{'steps as the path has them' if refine is None else f'steps of at most {refine:g} hours'}; {start}"
    )


def stress_hash(statement_hash: str, rules: Mapping[str, Any], path: StressPath) -> str:
    """Hash of all that a stress is computed from: the inputs of the statement at its start, rules and path."""
    columns = (path.underlying_id, path.token, path.hours, path.price, path.tenor_days, path.vol, path.peg)
    return hash_parts([statement_hash, rules, *columns])[:HASH_DIGITS]


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return {f.name: _plain(getattr(value, f.name)) for f in fields(value)}
    return {str(key): _plain(each) for key, each in value.items()} if isinstance(value, Mapping) else value
