"""What `hedge` and `optimise` share: contracts, costs and limits from options, and how trades are shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from fnmatch import fnmatchcase
from typing import Any

import click
import numpy as np

from portfolio_margin.cli.inputs import Options, Session, collect, open_session, source, statement_of
from portfolio_margin.cli.output import (
    Column,
    Output,
    chosen_output,
    count_text,
    deliver,
    excluded_lines,
    moment_text,
    money,
    quantity_text,
    show_table,
)
from portfolio_margin.cli.tell import tell
from portfolio_margin.dollars import money_digits, money_step
from portfolio_margin.hedge_result import Hedge
from portfolio_margin.hedge_terms import Costs, Limits, contract_rows
from portfolio_margin.io.results import json_rows
from portfolio_margin.nearest import did_you_mean_or_known
from portfolio_margin.requirement import parameters_text
from pricing.errors import ConfigError, DataError, Problem
from pricing.instruments import Kind

OUTPUT_NAMES = ("as_json", "as_csv", "parquet_file", "output_file")
SHOWN = ("margin_balance", "initial_margin", "maintenance_margin", "available_funds", "excess_liquidity")
MONEY = ("target", "cost", "lower_bound", *(f"{when}_{name}" for when in ("pre", "post") for name in SHOWN))

TRADE_OPTIONS = (
    click.option(
        "--instruments",
        metavar="PATTERN",
        multiple=True,
        help="Contracts that may be traded; repeatable. 'BTC-27MAR26-*' are the options of an expiry, "
        "'BTC-27MAR26*' those and its future. [default: those the account holds, futures and perpetuals]",
    ),
    click.option(
        "--cost", "cost", metavar="NAME=VALUE", multiple=True, help="option_fee, future_fee, ...; repeatable."
    ),
    click.option("--quotes", metavar="FILE", help="instrument, bid, ask as the venue quotes (.csv, .parquet; -)."),
    click.option("--size", type=float, help="The most contracts of each, either way."),
    click.option("--limit", metavar="INSTRUMENT=SIZE", multiple=True, help="The most contracts of one; repeatable."),
    click.option("--total-cost", type=float, help="The most that the trades may cost together."),
    click.option("--gap", type=float, default=Limits().gap, show_default=True, help="Relative gap to stop at."),
)


class TradeInput:
    """The options of `TRADE_OPTIONS` and of every output, taken out of the keyword arguments of a command."""

    def __init__(self, values: dict[str, Any]) -> None:
        self.output: Output = chosen_output(*(values.pop(name) for name in OUTPUT_NAMES))
        self.patterns, self.cost, self.quotes = (values.pop(name) for name in ("instruments", "cost", "quotes"))
        self.size, self.limit = values.pop("size"), values.pop("limit")
        self.total_cost, self.gap = values.pop("total_cost"), values.pop("gap")
        self.options: Options = collect(values)
        self.identity: dict[str, Any] = {}
        self.costs = Costs(**numbers("--cost", self.cost, [f.name for f in fields(Costs) if f.name != "quotes"]),
                           quotes={} if self.quotes is None else read_quotes(self.quotes))  # fmt: skip
        if self.size is not None and self.limit:
            raise ConfigError("--size is of every contract and --limit of one; give one of the two")
        size = dict(numbers("--limit", self.limit, None)) or self.size
        self.limits = Limits(size=size, total_cost=self.total_cost, gap=self.gap)

    def session(self) -> Session:
        """The session, with what its statement warns of among what is told."""
        session = open_session(self.options)
        statement = statement_of(session, self.options)
        self.identity = statement.identity()
        return session.warned(statement)

    def instruments(self, session: Session, account: str) -> list[str]:
        """Names of the contracts that may be traded; ConfigError for a pattern that none has.

        Of what a pattern matches, contracts that the model has no rule for are left out, and told; where it has none
        for any, or one is given by its whole name, `contract_rows` says why.
        """
        arrays = session.arrays
        if not self.patterns:
            rows = contract_rows(arrays, session.model, None)
            held = np.isin(rows, session.book.select(account).instrument_idx)
            linear = np.isin(arrays.kind[rows], (int(Kind.FUTURE), int(Kind.PERPETUAL)))
            return [str(name) for name in arrays.instrument_id[rows[held | linear]]]
        names = [str(name) for name in arrays.instrument_id[~arrays.is_collateral]]
        chosen: dict[str, None] = {}
        for pattern in self.patterns:
            found = [name for name in names if fnmatchcase(name, pattern)]
            if not found:
                raise ConfigError(f"--instruments {pattern}: no contract{did_you_mean_or_known(pattern, names)}")
            chosen |= dict.fromkeys(found)
        whole = chosen.keys() & set(self.patterns)
        reason = dict(zip(arrays.instrument_id.tolist(), session.model.not_covered(arrays).tolist(), strict=True))
        without = [name for name in chosen if reason[name] and name not in whole]
        if not without or len(without) == len(chosen):
            return list(chosen)
        tell(
            f"--instruments: {len(without)} of {len(chosen)} left out, for which {session.model.model_id} has no rule, "
            f"such as {without[0]}: {reason[without[0]]}"
        )
        return [name for name in chosen if name not in set(without)]


def numbers(option: str, given: tuple[str, ...], known: list[str] | None) -> dict[str, float]:
    """NAME=VALUE options as numbers; known, the names there are. DataError naming every bad or repeated one."""
    problems: list[Problem] = []
    found: dict[str, float] = {}
    for row, text in enumerate(given, start=1):
        name, separator, value = text.rpartition("=")
        if name in found:
            problems.append(Problem(option, row, "name", name, "given twice; keep one"))
        try:
            found[name] = float(value)
        except ValueError:
            separator = ""
        if not separator or not name:
            problems.append(Problem(option, row, "option", text, "write NAME=NUMBER"))
        elif known is not None and name not in known:
            remedy = "no such name" + did_you_mean_or_known(name, known)
            problems.append(Problem(option, row, "name", name, remedy))
    if problems:
        raise DataError(problems)
    return found


def read_quotes(path: str) -> Mapping[str, tuple[float | None, float | None]]:
    """instrument, bid, ask; an empty or zero price is no quote. DataError naming bad prices and repeated contracts."""
    from portfolio_margin.io.tables import number_column, read_table, require_columns, row_problems_of, text_column

    table = read_table(source(path), "quotes")
    require_columns(table, ("instrument", "bid", "ask"), only=True)
    prices = {}
    problems: list[Problem] = []
    names = text_column(table, "instrument")
    first = dict(zip(names[::-1], table.row[::-1].tolist(), strict=True))
    again = names.duplicated().to_numpy()
    for problem, name in zip(row_problems_of(table, "instrument", again, ""), names[again], strict=True):
        problems.append(replace(problem, remedy=f"has a quote in row {first[name]} already; keep one row"))
    for name in ("bid", "ask"):
        prices[name], bad = number_column(table, name)
        bad = bad | np.isinf(prices[name]) | (prices[name] < 0)
        problems += row_problems_of(table, name, bad, "must be a price, 0 or more, or empty where there is none")
    if problems:
        raise DataError(problems)
    sides = [[None if not price > 0 else float(price) for price in prices[name]] for name in ("bid", "ask")]
    return dict(zip(names.tolist(), zip(*sides, strict=True), strict=True))


def show_trades(
    found: Hedge, session: Session, given: TradeInput, headline: Sequence[str], more: Mapping[str, Any] | None = None
) -> None:
    """The trades as a table for people, or as programs want them; more, what else the command states."""
    stated = {**given.identity, **found.identity(), **(more or {})}
    identity = {**stated, "as_of_ms": session.arrays.valuation_time, **session.told.document()}
    identity["notes"] = [*found.notes, *identity.get("notes", [])]
    columns, digits = found.columns(), money_digits(money_step(session.arrays))

    def document() -> dict[str, Any]:
        (amounts,) = json_rows({name: [identity[name]] for name in MONEY}, MONEY, digits)
        return {**identity, **amounts, "trades": json_rows(columns, ("cost",), digits)}

    if deliver(given.output, columns, identity, document):
        return
    table = [
        Column("instrument", columns["instrument"], right=False),
        Column("side", columns["side"], right=False),
        Column("quantity", [quantity_text(quantity) for quantity in columns["quantity"]]),
        Column("price", [format(price, ".8g") for price in columns["price"]], keep=False),
        Column(f"cost [{found.currency}]", money(columns["cost"], digits)),
    ]
    pairs = {name: money([identity[f"pre_{name}"], identity[f"post_{name}"]], digits) for name in SHOWN}
    lines = [f"{name}: {' -> '.join(pair)}" for name, pair in pairs.items()]
    binding = f"binding scenarios: {', '.join(found.binding) or 'none'}"
    cost = f"cost {money([found.cost], digits)[0]} {found.currency}, {_proven(found)}"
    footer = [
        *headline, *lines, cost, binding, *found.notes,
        *(excluded_lines(found.margins.positions_excluded) if found.margins.positions_excluded else ()),
        f"{found.model_id}: {parameters_text(identity)}",
        f"market rows left out: {count_text(len(session.told.left_out))}", *session.told.remarks(),
    ]  # fmt: skip
    title = f"{found.account} under {found.model_id}, market {session.source}"
    show_table(f"{title} at {moment_text(identity['as_of_ms'])}", table, "\n".join(footer))


def _proven(found: Hedge) -> str:
    """What is proven of the cost, or of margin and cost together where a book is made smallest."""
    if not found.gap < 1.0:
        return "no bound is proven"
    if found.measure and not found.trades:
        return "which is the least possible: no trade costs less than nothing"
    # The gap is a share of what was found, not of the least possible.
    return f"at most {100 * found.gap / (1.0 - found.gap):.2g} % above the least possible"
