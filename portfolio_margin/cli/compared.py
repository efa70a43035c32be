"""What compare computes on: a market that is revalued for every model, or risk arrays as they stand in a file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from portfolio_margin.book import Book
from portfolio_margin.cli.chain import ChainOptions, tell_left_out
from portfolio_margin.cli.inputs import (
    DEFAULT_ACCURACY,
    MarketInput,
    only_needed,
    read_book_option,
    read_market_option,
    revalued,
    with_book_notes,
)
from portfolio_margin.cli.policy import ModelInput
from portfolio_margin.compare import Prepare, revaluing
from portfolio_margin.io.told import Told
from portfolio_margin.models import worst_case
from portfolio_margin.requirement import MarginModel
from portfolio_margin.worst_fill import OpenOrders
from pricing.errors import ConfigError
from pricing.market import Market
from scenarios.risk_arrays import DEFAULT_TICK, RiskArrays
from scenarios.shocks import ScenarioSet


class Compared(NamedTuple):
    """A book and the arrays that each model is given.

    source    what tables call the market
    at        its time, ms UTC
    market    None where the arrays come from a file
    told      what is told of the market and the book
    prepared  as `comparison` takes it
    """

    book: Book
    source: str
    at: int
    market: Market | None
    told: Told
    prepared: Prepare


def check_inputs(options: Mapping[str, Any], chain: ChainOptions, inputs: Mapping[str, ModelInput]) -> None:
    """ConfigError for options that contradict, or have no effect beside --arrays."""
    if options["arrays"] is None:
        if options["market"] is not None and options["positions"] is None:
            raise ConfigError("--market needs --positions FILE: the sample's accounts hold other contracts")
        return
    if options["market"] is not None:
        raise ConfigError("--arrays is used instead of --market; give one of the two")
    unused = {
        "--scenario": bool(options["scenario"]),
        "--family": options["family"] is not None,
        "--tick": options["tick"] != DEFAULT_TICK,
        "--american-accuracy": options["american_accuracy"] != DEFAULT_ACCURACY,
    }
    given = [name for name, used in unused.items() if used] + chain.given()
    if given:
        raise ConfigError(f"{', '.join(given)} has no effect beside --arrays; leave it out or revalue a --market")
    first = next(iter(inputs.values()))
    if first.family_name in first.tables:
        raise ConfigError(f"[{first.family_name}] of {first.params_file} has no effect beside --arrays; leave it out")


def of_market(
    options: Mapping[str, Any], chain: ChainOptions, inputs: Mapping[str, ModelInput], orders: Any = None
) -> Compared:
    """Of --market, or the sample; with the contracts of a table of open orders, None for none."""
    from portfolio_margin.io.open_orders import ordered_contracts

    family = next(iter(inputs.values())).family_input(options["scenario"])
    given = read_market_option(options["market"], chain)
    positions, collateral = options["positions"], options["collateral"]
    book = read_book_option(positions, collateral, given.instruments, given.market, given.left_out)
    # Rules made from all arrays of a market need all of them.
    if not any(hasattr(policy.module.Model, "for_arrays") for policy in inputs.values()):
        book, given = only_needed(book, given, [] if orders is None else ordered_contracts(orders))
    moves = family.scenarios(given.market)
    how = {name: options[name] for name in ("backend", "threads", "tick", "american_accuracy")}
    told = with_book_notes(given.told, positions, collateral)
    at = given.market.valuation_time
    return Compared(book, given.source, at, given.market, told, _revaluing(given, moves, how))


def orders_of(table: Any, given: Compared) -> OpenOrders:
    """The open orders of a table. What fills gain at their limits is the same on the arrays of any scenarios."""
    from portfolio_margin.io.open_orders import read_orders

    _, arrays = given.prepared("worst_case", worst_case.Model())
    return read_orders(table, given.book, arrays, given.market, left_out=given.told.left_out_by_name())


def _revaluing(given: MarketInput, moves: ScenarioSet, how: Mapping[str, Any]) -> Prepare:
    def arrays_of(scenario_set: ScenarioSet) -> RiskArrays:
        return revalued(given, scenario_set, **how)

    return revaluing(given.market, arrays_of, moves)


def of_arrays(options: Mapping[str, Any]) -> Compared:
    """Of --arrays: every model on the arrays of the file; of a SPAN file, with its rules where the model takes any."""
    from portfolio_margin.io.arrays_file import read_arrays
    from portfolio_margin.io.span_source import is_span_name

    file = options["arrays"]
    if is_span_name(file):
        return _of_span(file, options)
    arrays = read_arrays(file)
    return _on_arrays(arrays, Told.of_lines(arrays.notes), file, options, lambda _, model: (model, arrays))


def _of_span(file: str, options: Mapping[str, Any]) -> Compared:
    from portfolio_margin.cli.span_input import SpanInput

    if options["positions"] is None:
        raise ConfigError("a SPAN file needs --positions FILE beside it: the sample's accounts hold other contracts")
    given = SpanInput(file)
    arrays, told = given.usual_arrays()

    def prepared(_: str, model: MarginModel) -> tuple[MarginModel, RiskArrays]:
        ruled, own, _told = given.arrays_for(model)
        if own.instrument_id.tolist() != arrays.instrument_id.tolist():
            remedy = "compare models on one book of the others, and margin this one by itself"
            raise ConfigError(f"{file} has arrays of other contracts for the account type of this model: {remedy}")
        return ruled, own

    return _on_arrays(arrays, given.checked(told), file, options, prepared)


def _on_arrays(arrays: RiskArrays, told: Told, file: str, options: Mapping[str, Any], prepared: Prepare) -> Compared:
    positions, collateral = options["positions"], options["collateral"]
    tell_left_out(told.left_out)
    book = read_book_option(positions, collateral, arrays, None, told.left_out_by_name())
    return Compared(book, file, arrays.valuation_time, None, with_book_notes(told, positions, collateral), prepared)
