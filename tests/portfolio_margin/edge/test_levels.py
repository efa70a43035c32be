"""Levels in moved markets: against statements of a market moved by hand, and stacks against single markets."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from portfolio_margin import Book, margin
from portfolio_margin.derivatives import with_price
from portfolio_margin.edge import levels as levels_module
from portfolio_margin.edge.expiries import ageing
from portfolio_margin.edge.levels import levels, levels_where_ruled, open_case
from portfolio_margin.edge.prices import INTO, Span, liquidation_prices
from portfolio_margin.models import worst_case
from pricing import ConfigError, DataError
from pricing.arrays import MILLISECONDS_PER_YEAR
from pricing.instruments import Exercise
from scenarios import revalue
from tests.examples import DAY_MS
from tests.portfolio_margin import books
from tests.portfolio_margin.edge.cases import JOINT, NO_DEBTS, case_of, linear_case, linear_market, random_case
from tests.portfolio_margin.test_coin_margin import COIN, COIN_MARKET
from tests.portfolio_margin.test_contracts import MODELS, arrays_of, model_of

PRICES = np.array([0.05, 0.4, 0.9, 0.99, 1.0, 1.02, 1.3, 2.0, 5.0])
VOLS = np.array([1.0, 1.6, 0.5, 1.0, 1.0, 1.2, 0.8, 1.0, 1.0])


def test_they_are_statements_of_the_moved_market() -> None:
    """A market moved by hand, and what the futures paid booked by hand; vols are those of the slices."""
    slices = replace(books.MARKET, mark_vol=np.full(len(books.INSTRUMENTS), np.nan))
    option = next(name for name in books.CONTRACTS if name.startswith("BTC-7D-") and name.endswith("P"))
    held = {"USD": 50_000.0, "BTC": 3.0, "BTC-PERPETUAL": 2_000.0, "BTC-60D": -500.0, option: -2.0}
    book = books.book_of({"a": held})
    case = open_case(book, books.INSTRUMENTS, slices, JOINT, books.GRID, "a")
    assert case.underlying == "BTC"
    for move in (-0.3, 0.0, 0.25):
        market = with_price(slices, 0, move)
        forward = {"BTC-PERPETUAL": slices.forward[2], "BTC-60D": slices.forward[1]}
        coins = sum(10.0 * held[n] * (1 / f - 1 / (f * (1 + move))) for n, f in forward.items())
        paid = books.book_of({"a": {**held, "BTC": held["BTC"] + coins}})
        statement = margin(paid, revalue(books.INSTRUMENTS, market, books.GRID), market, JOINT)
        found = levels(case, np.array([1.0 + move]))
        assert found.equity[0] == pytest.approx(statement.equity[0], abs=0.02)
        assert found.balance[0] == pytest.approx(statement.margin_balance[0], abs=0.02)
        assert found.initial[0] == pytest.approx(statement.initial_margin[0], abs=0.02)
        assert found.maintenance[0] == pytest.approx(statement.maintenance_margin[0], abs=0.02)


@pytest.mark.parametrize("name", MODELS)
def test_one_market_of_all_states_gives_what_each_gives(name: str) -> None:
    model = model_of(name)
    calls = [n for n in books.CONTRACTS if n.startswith("BTC-60D-") and n.endswith("C")]
    held = {"USD": 4e5, "BTC": 40.0, "ETH": 30.0, calls[3]: -2.0, calls[7]: 1.5, "BTC-PERPETUAL": 300.0}
    rules = model.not_covered(arrays_of(model))
    held = {instrument: q for instrument, q in held.items() if rules[books.ROW[instrument]] == ""}
    if "BTC" not in held:  # where coins have no rule, what a perpetual loses in coin has none
        held.pop("BTC-PERPETUAL", None)
    assert len(held) >= 3
    case = case_of(held, model)
    assert case.at_once == 1 if name == "span" else case.at_once > 100
    single = levels(replace(case, at_once=1), PRICES, VOLS)
    together = levels(case, PRICES, VOLS)
    for one, other in zip(single, together, strict=True):
        assert other == pytest.approx(one, rel=1e-10, abs=1e-9 * case.scale)
    book, arrays = books.book_of({"a": held}), arrays_of(model)
    statement, today = margin(book, arrays, books.MARKET, model), levels(case, np.ones(1))
    for figure, stated in (("balance", "margin_balance"), ("initial", "initial_margin"), ("equity", "equity")):
        assert getattr(today, figure)[0] == pytest.approx(getattr(statement, stated)[0], abs=0.03)
    days = 3.0 / 365.0
    later = levels(replace(case, at_once=1), PRICES[3:6], 1.1, days).excess
    assert levels(case, PRICES[3:6], 1.1, days).excess == pytest.approx(later, rel=1e-10, abs=1e-9 * case.scale)


def test_stacks_are_cut_where_they_are_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    case = random_case(3)
    whole = levels(case, np.linspace(0.5, 2.0, 50))
    parts = levels(replace(case, at_once=7), np.linspace(0.5, 2.0, 50))
    assert np.array_equal(whole.excess, parts.excess)


def test_a_model_whose_stack_disagrees_is_margined_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rule that looks at other accounts, as none may, is found out."""

    class Crowd(worst_case.Model):
        def requirement(self, book: Book, arrays: object, **how: object) -> object:
            found = super().requirement(book, arrays, **how)
            return found._replace(maintenance=found.maintenance * len(book))

    case = case_of({"USD": 1e5, "BTC-PERPETUAL": 100.0}, Crowd())
    assert case.at_once == 1


def test_vols_are_sticky_as_asked() -> None:
    """By strike an option keeps its vol; by moneyness it changes as the slice does at its strike; both scale."""
    name = next(n for n in books.CONTRACTS if n.startswith("BTC-60D-") and n.endswith("C"))
    by_strike, by_moneyness = (case_of({name: 1.0}, sticky=rule) for rule in ("strike", "moneyness"))
    states = levels_module.States(np.array([1.0, 1.2]), np.array([1.0, 1.5]))
    row = int(np.flatnonzero(by_strike.mover.instruments.instrument_id == name)[0])
    own = float(by_strike.mover.inputs.vol[row])
    assert by_strike.mover.vols(states)[:, row] == pytest.approx([own, 1.5 * own], rel=1e-14)
    a, b, rho, m, sigma = books.MARKET.svi[1]

    def slice_vol(forward: float) -> float:
        k = np.log(books.INSTRUMENTS.strike[books.ROW[name]] / forward) - m
        return float(np.sqrt((a + b * (rho * k + np.hypot(k, sigma))) / (60.0 / 365.0)))

    change = slice_vol(1.2 * books.MARKET.forward[1]) - slice_vol(books.MARKET.forward[1])
    assert change != 0.0
    assert by_moneyness.mover.vols(states)[:, row] == pytest.approx([own, 1.5 * (own + change)], rel=1e-12)
    # Under either rule the slices that scenarios look into give that change at the strike.
    slices = by_strike.mover.slices(states)[1, 1]
    k = np.log(books.INSTRUMENTS.strike[books.ROW[name]] / (1.2 * books.MARKET.forward[1])) - slices[3]
    total = slices[0] + slices[1] * (slices[2] * k + np.hypot(k, slices[4]))
    assert np.sqrt(total / (60.0 / 365.0)) == pytest.approx(1.5 * slice_vol(books.MARKET.forward[1]), rel=1e-12)


def test_time_alone_earns_nothing_but_decay() -> None:
    """Vols and dated forwards stay, spot and coin slide along the curve; at the last moment an option is intrinsic."""
    case = case_of({"BTC": 2.0})
    mover, years = case.mover, 60 * DAY_MS / MILLISECONDS_PER_YEAR
    assert mover.slide(years)[0] == pytest.approx(books.MARKET.forward[1] / books.MARKET.spot[0], rel=1e-14)
    assert mover.slide(7 * DAY_MS / MILLISECONDS_PER_YEAR)[1] == pytest.approx(
        books.MARKET.forward[3] / books.MARKET.spot[1], rel=1e-14
    )
    cash = 100.0
    call = linear_case(cash, {"U-1000-C": 1.0})
    at_end = levels(call, np.array([0.9, 1.0, 1.3]), 1.0, call.first_expiry_years).equity
    assert at_end == pytest.approx([cash, cash, cash + 300.0], abs=1e-6)


def test_what_has_no_edge_is_named() -> None:
    with pytest.raises(DataError, match=r"instrument = 'BTC-PERPETUAL': .*the edge is of a whole account"):
        case_of({"BTC-PERPETUAL": 5.0, "USD": 1.0}, model_of("reg_t", default_class="", product_class={}))
    with pytest.raises(DataError, match=r"underlying = 'BTX': no such underlying.*BTC"):
        case_of({"USD": 1.0}, underlying="BTX")
    with pytest.raises(ConfigError, match="sticky = 'delta'"):
        case_of({"USD": 1.0}, sticky="delta")
    case = case_of({"USD": 1e5, books.CONTRACTS[-1]: 1.0})
    with pytest.raises(DataError, match=r"row 1, price = -1\.0: must be a multiple above 0"):
        levels(case, np.array([1.0, -1.0]))
    with pytest.raises(DataError, match=r"years = 1\.0: .* when the first contract held expires"):
        levels(case, np.ones(1), 1.0, 1.0)


def test_a_debt_on_the_way_that_the_model_has_no_rule_for_is_named_with_its_price() -> None:
    """A perpetual in coin that loses makes a debt of coins, which a model may have no rule for."""
    case = case_of({"BTC": 5.0, "BTC-PERPETUAL": 10_000.0}, NO_DEBTS)
    owed_below = 1.0 / (1.0 / 68_000.0 + 5.0 / 100_000.0)
    prices = np.array([0.9, 0.2, 1.01 * owed_below / 68_000.0, 0.99 * owed_below / 68_000.0])
    assert np.all(np.isfinite(levels(case, prices[[0, 2]]).excess))
    with pytest.raises(DataError, match=r"instrument = 'BTC': a balance owed.* with BTC at 15,300"):
        levels(case, prices)
    found, reasons = levels_where_ruled(case, prices)
    assert np.isfinite(found.excess).tolist() == [True, False, True, False]
    assert len(reasons) == 1 and reasons[0].startswith("BTC: a balance owed")
    searched = liquidation_prices(case)
    assert searched.span.low == pytest.approx(owed_below / 68_000.0, rel=0.03)
    assert searched.span.low > owed_below / 68_000.0
    assert searched.without_rule[0].startswith("BTC: a balance owed")


def test_slopes_and_days_end_where_the_rules_do() -> None:
    """As time passes ETH slides along its curve and a long perpetual pays out or in: without coins that is a debt."""
    held = {"BTC": 1.0, "BTC-PERPETUAL": 15_000.0, "ETH-PERPETUAL": -5_000.0}
    case = case_of(held, NO_DEBTS)
    found = liquidation_prices(case, Span(0.5, 2.0, 61))
    assert len(found) >= 1
    assert np.all(np.isfinite(found.price_slope)) and np.all(np.isnan(found.time_slope))
    alone = ageing(case, 30.0)
    assert (alone.days, alone.days_searched) == (np.inf, 0.0)
    assert alone.without_rule[0].startswith("ETH: a balance owed")


def test_a_contract_without_cash_to_pay_into_is_named() -> None:
    instruments = books.INSTRUMENTS
    kept = np.flatnonzero(instruments.instrument_id != "BTC")
    columns = {name: getattr(instruments, name)[kept] for name in instruments.__dataclass_fields__}
    table = type(instruments)(**columns)
    market = replace(books.MARKET, mark_vol=books.MARKET.mark_vol[kept])
    book = Book.from_arrays(["a"], [table.index_of()["BTC-PERPETUAL"]], [1.0])
    with pytest.raises(DataError, match="instrument = 'BTC-PERPETUAL': its settlement currency is not among"):
        open_case(book, table, market, JOINT, books.GRID, "a")


def test_a_coin_as_margin_currency_is_counted_in_coin() -> None:
    """A perpetual margined in its coin: equity is the deposit and N (1/F - 1/F'); states have no common market."""
    row = COIN.index_of()["BTC-PERPETUAL"]
    book = Book.from_arrays(["a", "a"], [0, row], [2.0, 3_000.0])
    case = open_case(book, COIN, COIN_MARKET, JOINT, books.GRID, "a")
    assert case.at_once == 1
    prices, forward = np.array([0.7, 1.0, 1.5]), float(COIN_MARKET.forward[2])
    coins = 2.0 + 30_000.0 * (1.0 / forward - 1.0 / (forward * prices))
    assert levels(case, prices).equity == pytest.approx(coins, rel=1e-12)
    found = liquidation_prices(case, Span(0.1, 4.0, 31))
    assert found.currency == "BTC" and found.side.tolist() == [INTO] and found.move[0] < 0


def test_american_options_have_an_edge_as_well() -> None:
    instruments, market, scenario_set = linear_market()
    early = replace(instruments, exercise=np.where(instruments.is_option, int(Exercise.AMERICAN), 0))
    book = Book.from_arrays(["a"] * 3, [0, 2, 3], [4_000.0, -10.0, -10.0])
    case = open_case(book, early, market, JOINT, scenario_set, "a")
    european = linear_case(4_000.0, {"U-1000-C": -10.0, "U-1000-P": -10.0}, factor=0.8)
    american, plain = (liquidation_prices(c, Span(0.5, 2.0, 21)) for c in (case, european))
    # At no rate and no carry early exercise is worth nothing.
    assert american.price == pytest.approx(plain.price, rel=1e-4)
