"""stack: many moved markets as one, so that an account is margined in all of them by one revaluation.

The contracts on the underlying that moves stand there once a state, each on rows of underlying, expiries and coin of
its own, and what they share with nobody is named as before; every state is an account. The requirement of an account
depends on nothing but its own positions and their rows (see CONTRIBUTING.md), so that this is what each market gives by
itself; `levels` tries that out on the account before it relies on it.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from portfolio_margin.edge.moved import Mover, States
from pricing.arrays import MAX_EXPIRIES, MAX_INSTRUMENTS, IntArray, StrArray
from pricing.instruments import Instruments
from pricing.market import UNDATED, Market
from scenarios.shocks import BY_EXPIRY, BY_UNDERLYING, ScenarioSet
from scenarios.terms import MarketSnapshotRows


@dataclass(frozen=True)
class Copied:
    """Rows of a table in the stack: those that stay, once, and those that move, once a state.

    still, moving   rows of the table
    states          K
    """

    still: IntArray
    moving: IntArray
    states: int

    @property
    def origin(self) -> IntArray:
        """Row of the table behind each row of the stack."""
        return np.concatenate([self.still, np.tile(self.moving, self.states)])

    @property
    def state(self) -> IntArray:
        """State of each row of the stack; -1 for rows that stay."""
        return np.append(np.full(len(self.still), -1), np.repeat(np.arange(self.states), len(self.moving)))

    def place(self, rows: IntArray, state: IntArray) -> IntArray:
        """Row of the stack of rows of the table, in a state; rows below 0 stay as they are."""
        size = max(int(max(self.still.max(initial=-1), self.moving.max(initial=-1))) + 1, 1)
        at, moves = np.full(size, -1), np.zeros(size, dtype=np.bool_)
        at[self.still] = np.arange(len(self.still))
        at[self.moving] = np.arange(len(self.moving))
        moves[self.moving] = True
        known = np.where(rows >= 0, rows, 0)
        offset = np.where(moves[known], len(self.still) + state * len(self.moving), 0)
        return np.where(rows >= 0, at[known] + offset, rows)


@dataclass(frozen=True)
class Stack:
    """K states in one market.

    instruments, market   with names that differ, as tables need it
    underlyings, expiries, currencies, contracts   where rows come from
    """

    instruments: Instruments
    market: Market
    underlyings: Copied
    expiries: Copied
    currencies: Copied
    contracts: Copied

    def rows(self, names: StrArray) -> MarketSnapshotRows:
        """What a model makes its scenarios from, underlyings under the names (U,) they have."""
        rows = {field: getattr(self.market, field) for field in MarketSnapshotRows._fields}
        return MarketSnapshotRows(**{**rows, "underlying_id": names[self.underlyings.origin]})

    def spread(self, scenario_set: ScenarioSet) -> ScenarioSet:
        """A scenario set of the market as it was, with a column for every row of the stack."""
        columns = {}
        for names, copied in ((BY_UNDERLYING, self.underlyings), (BY_EXPIRY, self.expiries)):
            for name in names:
                given = getattr(scenario_set, name)
                columns[name] = given if given.shape[1] == 1 else given[:, copied.origin]
        return replace(scenario_set, **columns)


def most_states(mover: Mover, scenarios: int, numbers: int) -> int:
    """States that fit into one stack: by the limits of tables, and `numbers` of doubles in risk arrays."""
    parts = _parts(mover, 1)
    contracts = max(len(parts["contracts"].moving), 1)
    by_expiry = (MAX_EXPIRIES - len(parts["expiries"].still)) // max(len(parts["expiries"].moving), 1)
    by_contract = min((MAX_INSTRUMENTS - len(parts["contracts"].still)), numbers // max(scenarios, 1)) // contracts
    return max(min(by_expiry, by_contract), 1)


def stacked(mover: Mover, states: States) -> Stack:
    """The stack of all states; at most `most_states` of them."""
    parts = _parts(mover, len(states))
    market = _market(mover, states, parts)
    return Stack(_instruments(mover.instruments, parts, market), market, **parts)


def _parts(mover: Mover, states: int) -> dict[str, Copied]:
    market, table = mover.market, mover.instruments
    needed = np.flatnonzero(np.isin(np.arange(len(market.forward)), table.expiry_idx) | (market.expiry_time == UNDATED))
    coin = market.currency_underlying == mover.underlying
    moves = {
        "underlyings": np.arange(len(market.spot)) == mover.underlying,
        "expiries": market.expiry_underlying[needed] == mover.underlying,
        "currencies": coin,
        "contracts": (table.underlying_idx == mover.underlying) | coin[table.currency_idx],
    }
    every = {"expiries": needed}
    result = {}
    for name, moved in moves.items():
        rows = every.get(name, np.arange(len(moved)))
        result[name] = Copied(rows[~moved], rows[moved], states)
    return result


def _market(mover: Mover, states: States, parts: dict[str, Copied]) -> Market:
    market = mover.market
    u, x, c, n = (parts[name] for name in ("underlyings", "expiries", "currencies", "contracts"))

    def picked(values: Any, copied: Copied) -> Any:
        """Of (K, rows, ...): the row of its state for what moves, of any state for what stays."""
        return values[np.maximum(copied.state, 0), copied.origin]

    return replace(
        market,
        valuation_time=mover.moment(states.years),
        underlying_id=_names(market.underlying_id, u),
        spot=picked(mover.spots(states), u),
        expiry_underlying=u.place(market.expiry_underlying[x.origin], x.state),
        expiry_time=market.expiry_time[x.origin],
        forward=picked(mover.forwards(states), x),
        discount=mover.discounts(states.years)[x.origin],
        svi=picked(mover.slices(states), x),
        mark_vol=picked(mover.vols(states), n),
        currency_id=_names(market.currency_id, c),
        fx=picked(mover.fx(states), c),
        currency_underlying=u.place(market.currency_underlying[c.origin], c.state),
        fixed_share=market.fixed_share[x.origin],
        fx_basis_limit=market.fx_basis_limit[c.origin],
    )


def _instruments(table: Instruments, parts: dict[str, Copied], market: Market) -> Instruments:
    n = parts["contracts"]
    columns = {field.name: getattr(table, field.name)[n.origin] for field in fields(table)}
    for name, part in (("underlying", "underlyings"), ("expiry", "expiries"), ("currency", "currencies")):
        columns[f"{name}_idx"] = parts[part].place(columns[f"{name}_idx"], n.state)
    # A cash row has the name of its currency.
    named = np.where(columns["kind"] == 0, market.currency_id[columns["currency_idx"]], _names(table.instrument_id, n))
    return Instruments(**{**columns, "instrument_id": named})


def _names(names: StrArray, copied: Copied) -> StrArray:
    """Names of the rows of a stack: those that move with the number of their state behind them."""
    suffix = np.where(copied.state < 0, "", np.char.add(" @", copied.state.astype(np.str_)))
    return np.asarray(np.char.add(names[copied.origin], suffix))
