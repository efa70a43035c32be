"""MarginEngine: after any events its figures are, bit by bit, those of a fresh computation; for every margin model."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest

from portfolio_margin import Book, margin
from portfolio_margin.engine import MarginEngine, apply
from portfolio_margin.events import (
    AccountsOpened,
    ArraysPublished,
    CollateralChanged,
    DeficitRecorded,
    Fill,
    InstrumentsChanged,
    LiquidationEnded,
    LiquidationStarted,
    MarketUpdated,
    OrdersRestricted,
    PolicyChanged,
    PositionsChanged,
    StatementChanged,
)
from portfolio_margin.models import worst_case
from portfolio_margin.state import State, start, start_from_arrays
from portfolio_margin.statement import AccountStatus
from pricing import ConfigError, DataError, Instruments, Market
from scenarios import RiskArrays, revalue
from tests.portfolio_margin.books import ARRAYS, BOOK, CONTRACTS, GRID, INSTRUMENTS, MARKET, ROW, Held, book_of, loose
from tests.portfolio_margin.engines import check_fresh, check_statement, engine_state, random_event, taken
from tests.portfolio_margin.test_balances_owed import with_currency
from tests.portfolio_margin.test_contracts import MODELS, model_of
from tests.scenarios.test_update import ticked

MODEL = worst_case.Model()
# Models with a solver for every account take their time.
EVENTS = {"reg_t": 12, "historical_simulation": 8}


def holdings(accounts: int) -> dict[str, Held]:
    """The first accounts of the book as dictionaries, and one that holds nothing."""
    book = BOOK.accounts(0, accounts)
    names = INSTRUMENTS.instrument_id
    found = zip(book.account_id.tolist(), loose(book), strict=True)
    return {**{name: {str(names[row]): q for row, q in held if q} for name, held in found}, "new": {}}


def test_a_hundred_thousand_events() -> None:
    """A random stream of fills, transfers and ticks: looked at along the way, and at the end."""
    random = np.random.default_rng(11)
    accounts = holdings(40)
    names = list(accounts)
    engine = MarginEngine(engine_state(MODEL, accounts))
    for number in range(100_000):
        assert engine.state.listing is not None
        event = random_event(random, names, engine.state.listing.market, ticks=0.005)
        arrays = engine.state.arrays
        engine.apply(event)
        taken(accounts, event, arrays)
        if number % 20_000 == 50:
            check_fresh(engine.state, accounts, MODEL)
    check_fresh(engine.state, accounts, MODEL)
    assert engine.state.sequence == 100_000


@pytest.mark.parametrize("name", MODELS)
def test_every_model_after_a_few_events(name: str) -> None:
    random = np.random.default_rng(3)
    model = model_of(name)
    accounts = holdings(6)
    names = list(accounts)
    state = engine_state(model, accounts)
    check_fresh(state, accounts, model)
    for _ in range(EVENTS.get(name, 25)):
        assert state.listing is not None
        event = random_event(random, names, state.listing.market, ticks=0.25)
        taken(accounts, event, state.arrays)
        state, _ = apply(state, event)
    check_fresh(state, accounts, model)


@pytest.mark.parametrize("netting", ["joint", "per_underlying"])
@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_other_policies_and_backends(netting: str, backend: str) -> None:
    random = np.random.default_rng(5)
    accounts = holdings(10)
    names = list(accounts)
    model = worst_case.Model(worst_case.Params(netting=netting, short_option_minimum=0.1, haircut=0.3))
    state = engine_state(MODEL, accounts, backend=backend)
    state, _ = apply(state, PolicyChanged(model))
    for _ in range(60):
        assert state.listing is not None
        event = random_event(random, names, state.listing.market)
        taken(accounts, event, state.arrays)
        state, _ = apply(state, event)
    assert state.listing is not None
    arrays = revalue(INSTRUMENTS, state.listing.market, GRID, backend=backend)
    check_statement(state, margin(book_of(accounts), arrays, state.listing.market, model, backend=backend))


def test_a_state_stays_what_it_was() -> None:
    """Two histories from one state, and the state itself, do not see each other."""
    accounts = holdings(20)
    names = list(accounts)
    first = engine_state(MODEL, accounts)
    ends = []
    for seed in (1, 2):
        random, state = np.random.default_rng(seed), first
        mine = {name: dict(held) for name, held in accounts.items()}
        if seed == 2:
            state, _ = apply(state, AccountsOpened(("late",)))
            mine["late"] = {}
        for _ in range(200):
            assert state.listing is not None
            event = random_event(random, [*names, *(["late"] if seed == 2 else [])], state.listing.market, ticks=0.03)
            taken(mine, event, state.arrays)
            state, _ = apply(state, event)
        ends.append((state, mine))
    for state, mine in [*ends, (first, accounts)]:
        check_fresh(state, mine, MODEL)


def test_buffers_are_renewed_when_they_are_full() -> None:
    accounts = holdings(20)
    state = engine_state(MODEL, accounts)
    buffers = state.ledger.buffers
    for column in ("pages", "instrument_idx", "quantity", "figures"):
        place = {"pages": 0, "figures": 2}.get(column, 1)
        setattr(buffers, column, getattr(buffers, column)[: buffers.used[place] + 30])
    random = np.random.default_rng(8)
    for _ in range(100):
        event = random_event(random, list(accounts), MARKET, ticks=0.0)
        taken(accounts, event, state.arrays)
        state, _ = apply(state, event)
    assert state.ledger.buffers is not buffers
    check_fresh(state, accounts, MODEL)


def test_accounts_open_deposit_and_trade() -> None:
    state = engine_state(MODEL, {"a": {"USD": 1e4}})
    state, effects = apply(state, AccountsOpened(("b", "c")))
    assert (effects, len(state.ledger)) == ((), 3)
    state, effects = apply(state, CollateralChanged("c", "BTC", 0.5))
    assert [e.rows.tolist() for e in effects if isinstance(e, StatementChanged)] == [[2]]
    state, _ = apply(state, PositionsChanged((Fill("c", "BTC-PERPETUAL", 3.0, 0.001), Fill("a", "BTC-60D", -2.0))))
    held = {"a": {"USD": 1e4, "BTC-60D": -2.0}, "b": {}, "c": {"BTC": 0.5 - 0.001, "BTC-PERPETUAL": 3.0}}
    check_fresh(state, held, MODEL)
    assert state.sequence == 3
    assert state.figures("c")["initial_margin"] > 0
    assert state.status("b") == AccountStatus.NORMAL


def test_what_an_event_brings_about() -> None:
    state = engine_state(MODEL, {"a": {"USD": 1_000.0}, "b": {"USD": 1e6}})

    def go(event: Any) -> list[Any]:
        nonlocal state
        state, effects = apply(state, event)
        return [effect for effect in effects if not isinstance(effect, StatementChanged)]

    def fill(contracts: float, paid: float | None = None) -> PositionsChanged:
        return PositionsChanged((Fill("a", "BTC-PERPETUAL", contracts, paid),))

    assert go(fill(-300.0)) == []
    needed = state.figures("a")["initial_margin"]
    more = float(np.ceil(300.0 * 1_020.0 / needed) - 300.0)
    assert go(fill(-more)) == [OrdersRestricted("a", AccountStatus.MARGIN_CALL)]
    assert go(CollateralChanged("a", "USD", -120.0)) == [OrdersRestricted("a", AccountStatus.REDUCE_ONLY)]
    assert go(CollateralChanged("a", "USD", -120.0)) == [LiquidationStarted("a")]
    assert go(CollateralChanged("a", "USD", 5_000.0)) == [
        LiquidationEnded("a"),
        OrdersRestricted("a", AccountStatus.NORMAL),
    ]
    owed = state.figures("a")["equity"] + 100.0
    assert go(CollateralChanged("a", "USD", -owed)) == [LiquidationStarted("a"), DeficitRecorded("a", 100.0)]


def test_a_tick_touches_only_those_who_hold() -> None:
    accounts: dict[str, Held] = {"btc": {"BTC-PERPETUAL": 5.0, "USD": 1e5}, "eth": {"ETH-60D-2050-P": 5.0, "USD": 1e5}}
    accounts |= {"coin": {"ETH": 3.0}, "cash": {"USD": 5.0}, "left": {"ETH-60D": 1.0, "USD": 1e5}}
    state = engine_state(MODEL, accounts)
    state, _ = apply(state, PositionsChanged((Fill("left", "ETH-60D", -1.0),)))
    state, (changed,) = apply(state, MarketUpdated(ticked(MARKET, 1, 0.02)))
    assert isinstance(changed, StatementChanged)
    assert set(state.ledger.names(changed.rows).tolist()) == {"eth", "coin"}
    assert apply(state, MarketUpdated(ticked(MARKET, 1, 0.02)))[1] == ()


def test_a_model_with_scenarios_of_its_own() -> None:
    accounts = holdings(8)
    state = engine_state(MODEL, accounts)
    model = model_of("toy_model")
    state, _ = apply(state, PolicyChanged(model))
    check_fresh(state, accounts, model)
    state, _ = apply(state, PolicyChanged(MODEL))
    check_fresh(state, accounts, MODEL)
    with pytest.raises(DataError, match="scenario_set"):
        start(BOOK, MODEL, INSTRUMENTS, MARKET)


def test_published_arrays_take_the_place_of_a_market() -> None:
    accounts = holdings(8)
    state = start_from_arrays(book_of(accounts), MODEL, ARRAYS)
    check_statement(state, margin(book_of(accounts), ARRAYS, None, MODEL))
    after = ticked(MARKET, 0, 0.05)
    arrays = RiskArrays.from_bytes(revalue(INSTRUMENTS, after, GRID).to_bytes())
    state, _ = apply(state, ArraysPublished(arrays))
    check_statement(state, margin(book_of(accounts), arrays, None, MODEL))
    for event in (MarketUpdated(after), InstrumentsChanged(INSTRUMENTS, after)):
        with pytest.raises(ConfigError, match="published"):
            apply(state, event)
    fewer = revalue(*without("BTC-60D"), GRID)
    with pytest.raises(DataError, match="other contracts"):
        apply(state, ArraysPublished(fewer))
    with pytest.raises(ConfigError, match="MarketUpdated"):
        apply(engine_state(MODEL, accounts), ArraysPublished(arrays))


def without(name: str) -> tuple[Instruments, Market]:
    keep = np.flatnonzero(INSTRUMENTS.instrument_id != name)
    fewer = {f.name: getattr(INSTRUMENTS, f.name)[keep] for f in fields(INSTRUMENTS)}
    return Instruments(**fewer), replace(MARKET, mark_vol=MARKET.mark_vol[keep])


def test_contracts_come_and_go() -> None:
    accounts = {"a": {"BTC-PERPETUAL": 4.0, "BTC-7D-68000-C": -0.5, "USD": 1e5}, "b": {"BTC-60D": 2.0, "BTC": 1.0}}
    state = engine_state(MODEL, accounts)
    fewer, market = without("BTC-60D")
    with pytest.raises(DataError, match="is held"):
        apply(state, InstrumentsChanged(fewer, market))
    state, _ = apply(state, PositionsChanged((Fill("b", "BTC-60D", -2.0),)))
    state, effects = apply(state, InstrumentsChanged(fewer, market))
    assert effects == ()
    held = [("a", name, q) for name, q in accounts["a"].items()] + [("b", "BTC", 1.0)]
    row = fewer.index_of()
    book = Book.from_arrays(
        [a for a, _, _ in held], [row[n] for _, n, _ in held], [q for *_, q in held], fewer.expiry_idx
    )
    check_statement(state, margin(book, revalue(fewer, market, GRID), market, MODEL))
    state, _ = apply(state, InstrumentsChanged(INSTRUMENTS, MARKET))
    check_fresh(state, {"a": accounts["a"], "b": {"BTC": 1.0}}, MODEL)


def everything(state: State) -> list[bytes]:
    """All that a reader can see of a state."""
    book = state.book()
    rows = state.ledger.all_rows()
    columns = [getattr(book, field.name) for field in fields(Book)]
    return [column.tobytes() for column in (*columns, state.ledger.figures(rows), state.arrays.rows)]


def test_backwards_is_yes_or_no() -> None:
    for backwards in ("no", float("nan"), [1.0], 1):
        with pytest.raises(ConfigError, match=r"backwards = .*must be True or False"):
            MarketUpdated(MARKET, backwards)  # type: ignore[arg-type]
    assert MarketUpdated(MARKET, np.True_).backwards


BAD: dict[str, tuple[Any, str]] = {
    "unknown account": (PositionsChanged((Fill("nobody", "BTC-PERPETUAL", 1.0),)), "no such account"),
    "near account": (PositionsChanged((Fill("account-00001", "BTC-PERPETUAL", 1.0),)), "did you mean"),
    "two unknown": (PositionsChanged((Fill("x", "BTC-60D", 1.0), Fill("y", "BTC-60D", 1.0))), "row 2, account = 'y'"),
    "unknown contract": (PositionsChanged((Fill("account-000001", "BTC-PERP", 1.0),)), "no such instrument"),
    "wrong step": (PositionsChanged((Fill("account-000001", "BTC-7D-68000-C", 0.05),)), "multiples of 0.1"),
    "dust": (PositionsChanged((Fill("account-000001", "BTC-7D-68000-C", 9e-8),)), "multiples of 0.1"),
    "nan": (PositionsChanged((Fill("account-000001", "BTC-PERPETUAL", float("nan")),)), "finite"),
    "infinite": (PositionsChanged((Fill("account-000001", "BTC-PERPETUAL", float("inf")),)), "finite"),
    "nothing": (PositionsChanged((Fill("account-000001", "BTC-PERPETUAL", 0.0),)), "order of nothing"),
    "text": (PositionsChanged((Fill("account-000001", "BTC-PERPETUAL", "1"),)), "quantity a number"),  # type: ignore[arg-type]
    "asset": (PositionsChanged((Fill("account-000001", "BTC", 1.0),)), "held, not a contract"),
    "paid": (PositionsChanged((Fill("account-000001", "BTC-PERPETUAL", 1.0, float("nan")),)), "paid = nan"),
    "no fill": (PositionsChanged(()), "no fill"),
    "one of two": (
        PositionsChanged((Fill("account-000001", "BTC-60D", 1.0), Fill("account-000002", "BTC-60D", 0.5))),
        "row 2, quantity = 0.5",
    ),
    "deposit of a contract": (CollateralChanged("account-000001", "BTC-60D", 1.0), "not an asset"),
    "deposit of nothing": (CollateralChanged("account-000001", "BTC", 0.0), "transfer of nothing"),
    "deposit nan": (CollateralChanged("account-000001", "BTC", float("nan")), "finite"),
    "deposit to nobody": (CollateralChanged("nobody", "BTC", 1.0), "no such account"),
    "open again": (AccountsOpened(("late", "account-000001")), "row 2, account"),
    "open no name": (AccountsOpened(("",)), "text that is not empty"),
    "other market": (MarketUpdated(replace(MARKET, underlying_id=np.array(["BTC", "SOL"]))), "underlying_id"),
    "held": (InstrumentsChanged(*without("BTC-PERPETUAL")), "is held"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_events_leave_everything_as_it_was(kind: str) -> None:
    event, said = BAD[kind]
    engine = MarginEngine(engine_state(MODEL, {**holdings(4), "p": {"BTC-PERPETUAL": 1.0}}))
    before, seen = engine.state, everything(engine.state)
    with pytest.raises(DataError, match=said):
        engine.apply(event)
    assert engine.state is before
    assert everything(engine.state) == seen


def test_other_bad_events() -> None:
    engine = MarginEngine(engine_state(MODEL, holdings(4)))
    before = engine.state
    with pytest.raises(ConfigError, match="must be one of MarketUpdated"):
        engine.apply("tick")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="must be a margin model"):
        engine.apply(PolicyChanged(3))  # type: ignore[arg-type]
    beyond = Book.from_arrays(["a"], [len(ROW)], [1.0])
    with pytest.raises(DataError, match="there are only"):
        start(beyond, MODEL, INSTRUMENTS, MARKET, GRID)
    with pytest.raises(DataError, match="whole multiples"):
        engine_state(MODEL, {"a": {"BTC-PERPETUAL": 0.5}})
    assert engine.state is before


@pytest.mark.parametrize("name", ["deribit_spm", "deribit_xpm", "okx_pm", "worst_case"])
def test_a_dollar_worth_another_amount_touches_everybody(name: str) -> None:
    """Margin in EUR: limits of rules are in dollars, whose rate no account need hold to depend on it."""
    instruments, market = with_currency("OTHER", 0.9)
    renamed = {"USD": "EUR", "OTHER": "USD"}
    ids = [renamed.get(each, each) for each in instruments.instrument_id.tolist()]
    instruments = replace(instruments, instrument_id=np.array(ids))
    money = [renamed.get(each, each) for each in market.currency_id.tolist()]
    market = replace(market, currency_id=np.array(money))
    row, model = instruments.index_of(), model_of(name)
    held = {"EUR": 1e6, "BTC-25DEC26-100000-C" if "BTC-25DEC26-100000-C" in row else CONTRACTS[-1]: -20.0}
    perpetual = next(each for each in ids if each.startswith("ETH") and "PERP" in each)
    rows = [row["EUR"], row[perpetual], *(row[each] for each in held)]
    book = Book.from_arrays(["a", "a", "b", "b"], rows, [1e6, 4e7, *held.values()], instruments.expiry_idx)
    engine = MarginEngine.start(book, model, instruments, market, GRID)
    later = replace(market, fx=np.append(market.fx[:-1], 0.45))
    engine.apply(MarketUpdated(later))
    wanted = model.scenario_set(later)
    arrays = revalue(instruments, later, GRID if wanted is None else wanted)
    check_statement(engine.state, margin(book, arrays, later, model))
