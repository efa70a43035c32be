"""margin: book, risk arrays and a margin model become a statement."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from portfolio_margin.book import Book
from portfolio_margin.collateral import equity
from portfolio_margin.dollars import money_step
from portfolio_margin.lacking import gather
from portfolio_margin.margin_notes import statement_notes
from portfolio_margin.requirement import (
    MarginModel,
    check_covers,
    check_scenarios,
    covered,
    excluded,
    haircut_of,
    has_every_rule,
)
from portfolio_margin.statement import (
    AccountStatus,
    MarginStatement,
    account_status,
    down,
    health,
    nearest_step,
    ratio,
    up_to_what_covers,
)
from portfolio_margin.version import VERSION
from pricing.arrays import BoolArray, FloatArray, IntArray
from pricing.digest import hash_parts
from pricing.errors import ConfigError, DataError, NumericalError, Problem
from pricing.market import Market
from scenarios.risk_arrays import RiskArrays

if TYPE_CHECKING:
    from portfolio_margin.order_margin import OrderMargins
    from portfolio_margin.worst_fill import OpenOrders


# Name of the charge for open orders.
OPEN_ORDERS = "open_orders"


class Amounts(NamedTuple):
    """What a statement says of every account, (A,) each, rounded; the columns of `MarginStatement` by the same names.

    Beside them `unseen`, a line for every position that the model has no rule for, and `orders`, the margin for open
    orders, None where there are none.
    """

    equity: FloatArray
    collateral_value_before_haircut: FloatArray
    haircut: FloatArray
    uncounted_option_value: FloatArray
    margin_balance: FloatArray
    initial_margin: FloatArray
    maintenance_margin: FloatArray
    available_funds: FloatArray
    excess_liquidity: FloatArray
    mm_rate: FloatArray
    health: FloatArray
    delta_total: FloatArray
    status: IntArray
    worst_scenario: IntArray
    excluded: IntArray
    unmargined: BoolArray
    charges: dict[str, FloatArray]
    unseen: tuple[str, ...]
    orders: OrderMargins | None = None


def margin(
    book: Book,
    arrays: RiskArrays,
    market: Market | None,
    model: MarginModel,
    *,
    backend: str = "numba",
    threads: int | None = None,
    positions_excluded: tuple[str, ...] = (),
    orders: OpenOrders | None = None,
) -> MarginStatement:
    """The margin statement of every account of the book.

    market  the snapshot the arrays were made from, to check that they belong together; None where the
            arrays come from a file
    positions_excluded  what the caller has left out already; the model adds the positions it has no rule for,
            whose value still counts in equity
    orders  open orders, which initial margin counts: the worst subset of them that could fill, `order_margin`
    Raises ConfigError where the model needs other scenarios than those of the arrays, or has a rule for no contract
    at all and the book holds some; DataError where arrays and market do not belong together, a quantity is off its step
    or a position stands in another group than that of its expiry row; NumericalError where a margin cannot be computed
    exactly: never a small number instead.
    """
    check_belongs(arrays, market, model)
    found = amounts(book, arrays, model, backend=backend, threads=threads, orders=orders)
    figures = found._asdict()
    unseen = figures.pop("unseen")
    return MarginStatement(
        account=book.account_id,
        **figures,
        scenario_label=arrays.scenario_set.label,
        as_of_ms=arrays.valuation_time,
        currency=arrays.currency,
        model=model,
        parameters_hash=hash_parts([model.model_id, vars(model.params)])[:16],
        input_hash=hash_parts([arrays.digest, *columns_of(book), *([] if orders is None else columns_of(orders))])[:16],
        engine_version=VERSION,
        positions_excluded=(*positions_excluded, *unseen),
        money_step=money_step(arrays),
        notes=statement_notes(book, arrays, model, found.charges),
    )


def columns_of(table: Book | OpenOrders) -> list[Any]:
    """The columns of a table, for its hash."""
    return [getattr(table, column.name) for column in fields(table)]


def check_belongs(arrays: RiskArrays, market: Market | None, model: MarginModel) -> None:
    """ConfigError where a model cannot use the arrays, DataError where they are of another market than `market`."""
    if not hasattr(model, "requirement"):
        raise ConfigError(f"model = {model!r}: must be a margin model, such as worst_case.Model(worst_case.Params())")
    if arrays.method != "full":
        raise ConfigError(f"the risk arrays are a {arrays.method} expansion, for screening: margin needs method='full'")
    if market is not None:
        _check_same_moment(arrays, market)
    check_scenarios(model, arrays)


def amounts(
    book: Book,
    arrays: RiskArrays,
    model: MarginModel,
    *,
    backend: str = "numba",
    threads: int | None = None,
    orders: OpenOrders | None = None,
) -> Amounts:
    """The figures of a statement for every account of the book, of arrays that `check_belongs` lets pass."""
    found = _of_positions(book, arrays, model, backend=backend, threads=threads)
    if orders is None:
        return found
    from portfolio_margin.order_margin import Funds, order_margins

    def funds(other: Book) -> Funds:
        after = _of_positions(other, arrays, model, backend=backend, threads=threads)
        return Funds(after.available_funds, after.unmargined, after.charges)

    return with_order_margin(found, order_margins(book, arrays, model, orders, funds, money_step(arrays)), arrays)


def with_order_margin(found: Amounts, orders: OrderMargins, arrays: RiskArrays) -> Amounts:
    """Figures of positions with the margin for open orders: a part of initial margin, and of nothing else."""
    step = money_step(arrays)
    added = nearest_step(orders.added, step)
    available = nearest_step(found.available_funds - added, step)
    called = (added > 0.0) & (available < -0.5 * step) & (found.status == AccountStatus.NORMAL)
    return found._replace(
        initial_margin=nearest_step(found.initial_margin + added, step),
        available_funds=available,
        status=np.where(called, int(AccountStatus.MARGIN_CALL), found.status),
        unmargined=found.unmargined | orders.unmargined,
        charges={**found.charges, OPEN_ORDERS: np.column_stack([added, np.zeros_like(added)])},
        orders=orders,
        unseen=(*orders.left_out, *found.unseen),
    )


def _of_positions(book: Book, arrays: RiskArrays, model: MarginModel, *, backend: str, threads: int | None) -> Amounts:
    """`amounts` of what is held alone."""
    check_covers(model, book, arrays)
    seen, unseen = covered(model, book, arrays)
    count, unmargined = _left_out(model, book, arrays)
    required, haircut_rows = gather(
        (lambda: model.requirement(seen, arrays, backend=backend, threads=threads), lambda: haircut_of(model, arrays))
    )
    options = model.traits.options_counted
    held = equity(book, arrays, haircut_rows, options_counted=options, backend=backend, threads=threads)
    marked = held.equity if required.revaluation is None else held.equity + required.revaluation
    step = money_step(arrays)
    value, counted = down(marked, step), down(marked - held.uncounted, step)
    haircut = up_to_what_covers(held.haircut, marked - held.uncounted, counted, step)
    balance, left = down(counted - haircut, step), marked - held.haircut - held.uncounted
    initial = up_to_what_covers(required.initial, left, balance, step)
    maintenance = up_to_what_covers(required.maintenance, left, balance, step)
    if not (np.all(np.isfinite(initial)) and np.all(np.isfinite(balance))):
        raise NumericalError("a margin came out as no finite number; nothing is reported")
    return Amounts(
        equity=value,
        collateral_value_before_haircut=down(held.collateral, step),
        haircut=haircut,
        uncounted_option_value=nearest_step(value - counted, step),
        margin_balance=balance,
        initial_margin=initial,
        maintenance_margin=maintenance,
        available_funds=down(balance - initial, step),
        excess_liquidity=down(balance - maintenance, step),
        mm_rate=ratio(maintenance, balance),
        health=health(balance, maintenance),
        status=account_status(marked, left, required.initial, required.maintenance, step),
        delta_total=held.delta,
        worst_scenario=required.worst_scenario,
        excluded=count,
        unmargined=unmargined,
        charges=required.charges,
        unseen=unseen,
    )


def _left_out(model: MarginModel, book: Book, arrays: RiskArrays) -> tuple[IntArray, BoolArray]:
    """(A,) number of positions without a rule, and whether one of them bears risk: a balance of one's own does not."""
    if has_every_rule(model, arrays):
        return np.zeros(len(book), dtype=np.int64), np.zeros(len(book), dtype=np.bool_)
    out = np.flatnonzero(excluded(model, book, arrays) != "")
    account = np.repeat(np.arange(len(book)), np.diff(book.position_ptr))[out]
    owned = arrays.is_collateral[book.instrument_idx[out]] & (book.quantity[out] > 0)
    return np.bincount(account, minlength=len(book)), np.bincount(account[~owned], minlength=len(book)) > 0


def _check_same_moment(arrays: RiskArrays, market: Market) -> None:
    if arrays.valuation_time != market.valuation_time:
        remedy = f"the market is of {market.valuation_time}; revalue it, or pass the market the arrays came from"
        raise DataError([Problem("risk arrays", None, "valuation_time", arrays.valuation_time, remedy)])
    if arrays.currency != str(market.currency_id[0]):
        remedy = f"the market's margin currency is {market.currency_id[0]}"
        raise DataError([Problem("risk arrays", None, "currency", arrays.currency, remedy)])
    if arrays.market_digest not in ("", market.digest):
        remedy = "they were made from another market of the same time; revalue this one"
        raise DataError([Problem("risk arrays", None, "market_digest", arrays.market_digest[:16], remedy)])
