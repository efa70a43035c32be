"""What a stress has done, as tables and sentences: by step, by account, and how it is divided."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from portfolio_margin.cli.output import MONEY_DIGITS, Column, money, number
from portfolio_margin.stress.result import Result
from pricing.arrays import FloatArray

MONEY = ("shortfall", "from_fund", "deleveraged", "socialised", "uncovered", "costs", "penalties", "fund", "equity",
         "owed", "initial_margin", "maintenance_margin")  # fmt: skip
ACCOUNT_MONEY = ("cost", "penalty", "shortfall", "equity_before", "equity_after")
WORST_SHOWN = 5
# On a terminal all amounts of the table have one unit, so that the largest keeps within nine characters.
UNITS = ((1e11, 1e6, "million "), (1e8, 1e3, "thousand "), (1e4, 1.0, ""))
PRICE_DIGITS = 4


@dataclass(frozen=True)
class Needs:
    """The smallest fund that bears the path, and the smallest without the debts of accounts below 0 before it; NaN
    where none does."""

    fund: float
    beside: float

    @classmethod
    def of(cls, ample: Result) -> Needs:
        """By a run that its fund survived."""
        return cls(ample.fund_needed, ample.fund_needed_beside)


def summary(result: Result, needs: Needs) -> dict[str, Any]:
    """The figures of a stress in all."""
    last = result.rows[-1]
    amounts = {name: result.total(name) for name in ("shortfall", "from_fund", "deleveraged", "socialised")}
    amounts |= {"owed": last.owed, "fund_before": result.fund, "fund_after": last.fund}
    of_path = result.total("shortfall") - result.shortfall_before
    return {
        "accounts": len(result.liquidated),
        "accounts_liquidated": int(result.liquidated.sum()),
        "accounts_bankrupt": int(result.total("bankrupt")),
        "before_path": {
            "accounts_below_0": result.accounts_below_before,
            "owed": round(result.owed_before, MONEY_DIGITS),
            "shortfall": round(result.shortfall_before, MONEY_DIGITS),
        },
        "shortfall_of_path": round(of_path, MONEY_DIGITS),
        # Whole cents, in which the run counts, without the binary noise of cents times their number.
        **{name: round(amount, MONEY_DIGITS) for name, amount in amounts.items()},
        "fund_needed": None if np.isnan(needs.fund) else round(needs.fund, MONEY_DIGITS),
        "fund_needed_of_path": None if np.isnan(needs.beside) else round(needs.beside, MONEY_DIGITS),
        "survived": result.survived,
        "longest_step_hours": round(longest_step(result), 4),
    }


def longest_step(result: Result) -> float:
    """Hours between two steps at most, 0 where there is one step."""
    return float(np.diff(result.path.hours).max(initial=0.0))


def step_columns(result: Result) -> list[Column]:
    """The table of steps. Where it is narrow the last columns go first; whole units on a terminal, cents elsewhere."""
    table = result.columns()
    amounts, unit = _amounts(result)
    names = [str(name) for name in result.underlying_id]
    columns = [Column("step", [str(n) for n in table["step"]]), Column("hours", number(table["hours"], 1))]
    columns += [Column(name, _prices(table[f"price_{name}"]), keep=not place) for place, name in enumerate(names)]
    columns += [Column(name, [str(n) for n in table[name]], keep=name != "waiting")
                for name in ("liquidated", "bankrupt", "waiting")]  # fmt: skip
    columns += [Column(f"{name} [{unit}]", amounts(table[name])) for name in ("shortfall", "fund")]
    later = {name: name for name in ("from_fund", "deleveraged", "socialised")}
    later |= {"maintenance": "maintenance_margin", "initial": "initial_margin"}
    columns += [Column(f"{header} [{unit}]", amounts(table[name]), keep=False) for header, name in later.items()]
    columns += [Column(f"vol {name}", number(table[f"vol_{name}"], 2), keep=False) for name in names]
    return columns + [Column(f"{name} [{unit}]", amounts(table[name]), keep=False) for name in ("costs", "penalties")]


def _amounts(result: Result) -> tuple[Callable[[Any], list[str]], str]:
    """How amounts of the table are written, and their unit."""
    table = result.columns()
    largest = max(float(np.abs(table[name]).max(initial=0.0)) for name in ("fund", "shortfall", "maintenance_margin"))
    if not sys.stdout.isatty():
        return money, result.currency
    size, word = next(((size, word) for least, size, word in UNITS if largest >= least), (0.0, ""))
    if not size:
        return money, result.currency
    return (lambda values: number(np.asarray(values) / size, 0)), f"{word}{result.currency}"


def _prices(values: FloatArray) -> list[str]:
    """Prices with as many decimals as four digits of the largest need."""
    largest = float(np.max(values))
    return number(values, max(0, PRICE_DIGITS - 1 - int(np.floor(np.log10(largest)))))


def lines(result: Result, needs: Needs, refined: bool) -> list[str]:
    """What happened in all: before the path, by it, to the fund, and how far steps are apart."""

    def text(amount: float) -> str:
        return f"{money([amount])[0]} {result.currency}"

    told = summary(result, needs)
    borne = ", ".join(
        f"{word} {text(told[name])}"
        for word, name in (("fund", "from_fund"), ("deleveraged", "deleveraged"), ("socialised", "socialised"))
    )
    return [
        f"path: {result.path.source}",
        _before_line(told, text),
        f"{told['accounts_liquidated']} of {told['accounts']} accounts liquidated, {told['accounts_bankrupt']} of them "
        f"bankrupt (closed, and owing); shortfall {text(told['shortfall'])}, borne by: {borne}; still owed at the end "
        f"{text(told['owed'])}",
        f"fund {text(told['fund_before'])} before, {text(told['fund_after'])} after; {_needs_text(told, text)}",
        *_step_lines(told, refined),
    ]


def _before_line(told: dict[str, Any], text: Callable[[float], str]) -> str:
    before = told["before_path"]
    count = before["accounts_below_0"]
    of_path = text(told["shortfall_of_path"])
    if not count:
        return f"before the path: no account is below 0; the path makes a shortfall of {of_path}"
    who, owe = ("1 account is", "owes") if count == 1 else (f"{count} accounts are", "owe")
    return (
        f"before the path: {who} below 0 and {owe} {text(before['owed'])}, with the cost of closing "
        f"{text(before['shortfall'])} of the shortfall; the path adds {of_path}"
    )


def _needs_text(told: dict[str, Any], text: Callable[[float], str]) -> str:
    if told["fund_needed"] is None:
        return "no fund is enough for this path, as accounts that owe stay open"
    needs = f"this path needs {text(told['fund_needed'])}"
    if told["before_path"]["accounts_below_0"]:
        needs += f", or {text(told['fund_needed_of_path'])} but for the debts from before it"
    return f"{needs} (penalties paid into the fund until then count)"


def _step_lines(told: dict[str, Any], refined: bool) -> list[str]:
    hours = told["longest_step_hours"]
    if refined or hours <= 1.0:
        return []
    return [
        f"steps are up to {hours:.3g} hours apart and nobody is liquidated in between: the result depends on that; "
        "--refine 1 puts steps of an hour in between"
    ]


def worst_lines(table: dict[str, Any], currency: str) -> list[str]:
    """The accounts that it hit most, by what they owed and paid; `table` as of `fates.account_columns`."""
    count = len(table["account"])
    if not count:
        return []
    found = [f"worst hit, of {count}:" if count > WORST_SHOWN else "who was liquidated:"]
    for row in range(min(count, WORST_SHOWN)):
        last = "" if table["steps"][row] == 1 else f" to {table['last_hours'][row]:.1f} in {table['steps'][row]} steps"
        fate = "" if np.isnan(table["closed_hours"][row]) else f", closed whole at {table['closed_hours'][row]:.1f}"
        cost, penalty, owed = (money([table[name][row]])[0] for name in ("cost", "penalty", "shortfall"))
        debt = f", bankrupt owing {owed} {currency}" if table["bankrupt"][row] else ""
        debt += " (below 0 before the path)" if table["below_0_before"][row] else ""
        found.append(
            f"  {table['account'][row]}: hour {table['liquidated_hours'][row]:.1f}{last}{fate}{debt}; "
            f"cost {cost}, penalty {penalty} {currency}"
        )
    return found + (["  all of them: --accounts FILE, or --json"] if count > WORST_SHOWN else [])
