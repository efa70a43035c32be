"""Strategy-based margin: printed examples, every pairing of small accounts tried out, and what pairing promises."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portfolio_margin import explain, load_parameters, load_sample, margin
from portfolio_margin.models import reg_t
from pricing import ConfigError, Instruments, Kind, Market
from scenarios import RiskArrays, revalue
from scenarios.shocks import make
from tests.naive import reg_t as naive
from tests.portfolio_margin.equities import Listed, arrays_for, book_of, equity_market
from tests.portfolio_margin.test_tims import DAYS, IBM, POSITIONS, SPX, STOCK, STRADDLE

EQUITY = reg_t.Model(reg_t.Params(default_class="equity"))
MODELS = {name: reg_t.Model(reg_t.Params(default_class="equity", spread_legs=name)) for name in ("any", "four")}

# One account a row: class or leverage, spot, legs (right, strike, price, contracts, days), what the source prints, and
# whether that includes what was received for naked options. Cboe margin manual, as coded in the tests of
# tastyware/margin-estimator (MIT).
MANUAL: list[tuple[str, float, list[tuple[str, float, float, int, float]], float]] = [
    ("equity", 128.5, [("C", 125, 5, 1, 30)], 500),
    ("broad", 433.35, [("P", 430, 5.5, 1, 30)], 550),
    ("equity", 78, [("C", 80, 12, 1, 540)], 900),
    ("equity", 1290, [("C", 1325, 16.8, 1, 600)], 1260),
    ("equity", 95, [("P", 80, 2, -1, 30)], 1000),
    ("equity", 19.5, [("P", 20, 1.5, -1, 30)], 540),
    ("2", 970, [("P", 725, 3, -1, 30)], 14_800),
    ("3", 390.7, [("P", 400, 15.5, -1, 30)], 24_992),
    ("broad", 445.35, [("P", 410, 0.1, -1, 30)], 4_110),
    ("broad", 433.35, [("P", 430, 7.8, -1, 30)], 6_945.25),
    ("broad", 43.34, [("P", 45, 2.85, -1, 720)], 935.1),
    ("broad1.5", 460, [("P", 390, 4, -1, 30)], 6_250),
    ("equity", 128.5, [("C", 120, 8.4, -1, 30)], 3_410),
    ("equity", 26.38, [("C", 30, 0.05, -1, 30)], 268.8),
    ("2", 815.5, [("C", 810, 10.1, -1, 30)], 33_630),
    ("1.5", 1050.3, [("C", 1250, 2, -1, 30)], 15_954.5),
    ("broad", 433.35, [("C", 430, 8.7, -1, 30)], 7_370.25),
    ("broad", 43.34, [("C", 45, 1.35, -1, 30)], 619.1),
    ("broad", 378.5, [("C", 370, 12.85, -1, 30)], 6_962.5),
    ("broad1.5", 410, [("C", 450, 3, -1, 30)], 6_450),
    ("equity", 255, [("P", 250, 3, 1, 30), ("P", 240, 0.95, -1, 30)], 205),
    ("broad", 433.35, [("P", 425, 6.4, 1, 30), ("P", 430, 7.8, -1, 30)], 360),
    ("equity", 43.34, [("P", 42.5, 2, 1, 30), ("P", 45, 2.9, -1, 30)], 160),
    ("equity", 128.5, [("C", 125, 3.8, 1, 30), ("C", 120, 8.4, -1, 30)], 40),
    ("equity", 75, [("C", 70, 5, 1, 30), ("C", 70, 8, -1, 60)], 2_800),
    ("broad", 433.35, [("C", 425, 13.1, 1, 30), ("C", 430, 12.2, -1, 60)], 9_030.25),
    ("equity", 92.63, [("C", 90, 7, -1, 30), ("P", 90, 3.7, -1, 30)], 2_922.6),
    ("broad", 433.35, [("C", 435, 5.5, -1, 30), ("P", 435, 7.2, -1, 30)], 7_770.25),
    ("broad", 43.34, [("C", 45, 1.35, -1, 30), ("P", 45, 2.85, -1, 30)], 1_070.1),
    ("equity", 550, [("P", 540, 5.6, 1, 30), ("P", 550, 7.2, -2, 30), ("P", 555, 9.8, 1, 30)], 600),
    ("equity", 550, [("C", 545, 12.4, 1, 30), ("C", 550, 8.8, -2, 30), ("C", 565, 2, 1, 30)], 680),
    (
        "equity",
        1160,
        [("P", 1050, 47.1, 1, 30), ("P", 1075, 55.7, -1, 30), ("P", 1100, 66.3, -1, 30), ("P", 1125, 85.4, 1, 30)],
        1_050,
    ),
    (
        "equity",
        26.75,
        [("P", 16, 0.1, 1, 30), ("P", 20, 0.2, -1, 30), ("C", 20, 7, -1, 30), ("C", 24, 4, 1, 30)],
        90,
    ),
    (
        "equity",
        1060,
        [("P", 1000, 32, 1, 30), ("P", 1025, 35.1, -1, 30), ("C", 1150, 9.4, -1, 30), ("C", 1175, 6.3, 1, 30)],
        1_880,
    ),
    (
        "broad",
        587.88,
        [("P", 567, 4.78, 1, 30), ("P", 572, 5.61, -1, 30), ("C", 602, 5.23, -1, 30), ("C", 607, 3.68, 1, 30)],
        262,
    ),
    # Brokers' help pages: a naked put, a strangle.
    ("equity", 209, [("P", 200, 1.2, -1, 30)], 3_400),
    ("equity", 45, [("C", 47, 2.1, -1, 30), ("P", 43, 1.2, -1, 30)], 1_030),
    # Amounts beside the value of the position: 10 iron condors 10 wide, 6 short butterflies 5 wide, a long one.
    ("width", 175, [("P", 160, 1, 10, 30), ("P", 170, 3, -10, 30), ("C", 180, 3, -10, 30), ("C", 190, 1, 10, 30)], 1e4),
    ("width", 80, [("P", 75, 1.5, -3, 30), ("P", 80, 4, 6, 30), ("P", 85, 6, -3, 30)], 1_500),
    ("width", 37, [("P", 42, 0.9, -6, 30), ("P", 37, 0.15, 12, 30), ("P", 32, 0.05, -6, 30)], 3_000),
    ("equity", 50, [("C", 40, 12.5, 4, 30), ("C", 50, 6, -8, 30), ("C", 60, 1.5, 4, 30)], 800),
    # SEC release 34-67752: short 50 call against long 60 call.
    ("width", 55, [("C", 60, 2, 1, 30), ("C", 50, 7, -1, 30)], 1_000),
]


def model_for(kind: str) -> reg_t.Model:
    broad = kind.startswith("broad")
    factor = kind.removeprefix("broad") if kind not in ("equity", "width") else ""
    leverage = {"U": float(factor)} if factor else {}
    return reg_t.Model(reg_t.Params(default_class="broad_index" if broad else "equity", leverage=leverage))


def required(model: reg_t.Model, spot: float, legs: list[Any], stock: float = 0.0) -> Any:
    options = [Listed("U", right, strike, days, price=price) for right, strike, price, _, days in legs]
    arrays = arrays_for(model, {"U": spot}, options)
    held = {o.name: float(leg[3]) for o, leg in zip(options, legs, strict=True)}
    return model.requirement(book_of(arrays, {"a": {"U": stock, **held}}), arrays)


@pytest.mark.reference
def test_printed_amounts(report_vectors: Any) -> None:
    """The manual's amount less what was received for naked options; spreads are printed net."""
    errors = []
    for kind, spot, legs, printed in MANUAL:
        ours = required(model_for(kind), spot, legs).initial[0]
        value = sum(100 * price * n for _, _, price, n, _ in legs)
        spread = sum(n for *_, n, _ in legs) == 0 and len({d for *_, d in legs}) == 1
        received = 0 if spread else sum(100 * price * max(-n, 0) for _, _, price, n, _ in legs)
        expected = printed + value if kind == "width" else printed - received
        errors.append(abs(ours - expected))
    report_vectors(len(errors), max(errors), "USD, 1e-06 allowed", "Cboe margin manual, reg_t")
    assert max(errors) < 1e-6


PRINTED = {
    "IBM": [172_760, 195_460, 471_850, 498_850, 212_260, 132_960, 494_850, 41_300, 48_600],
    "SPX": [2_088_685, 2_176_785, None, None, 2_393_385, 1_875_885, None, 216_100, 462_900],
}


@pytest.mark.reference
@pytest.mark.parametrize("name", ["IBM", "SPX"])
def test_printed_examples_of_cboe(name: str, report_vectors: Any) -> None:
    """The strategy-based column of the table that TIMS is tested with; 48,600 is what the printed premiums of the IBM
    straddle add up to, where 48,500 is printed. Index options covered by shares of a fund are not paired here."""
    model = reg_t.Model(load_parameters("reg_t")[0]) if name == "SPX" else EQUITY
    options = [Listed(name, r, k, DAYS, price=p) for r, k, p in (IBM if name == "IBM" else SPX)]
    arrays = arrays_for(model, {name: 97.73 if name == "IBM" else 1451.19}, options)
    accounts: dict[str, dict[str, float]] = {}
    positions = [*POSITIONS.values(), STRADDLE[name]]
    wanted = [(held, value) for held, value in zip(positions, PRINTED[name], strict=True) if value is not None]
    for row, (held, _) in enumerate(wanted):
        named = {(name if key == STOCK else options[key].name): float(q) for key, q in held.items()}
        accounts[str(row)] = {**named, **({name: 10_000.0} if STOCK in held else {})}
    statement = margin(book_of(arrays, accounts), arrays, None, model)
    errors = np.abs(statement.initial_margin - [value for _, value in wanted])
    report_vectors(len(errors), errors.max(), "USD, 0.02 allowed", f"Cboe examples of {name}, reg_t")
    assert errors.max() < 0.02


RIGHTS, STRIKES, LIVES = "CP", (90.0, 95.0, 100.0, 105.0, 110.0), (30.0, 60.0)
SERIES = [
    Listed(
        "U", right, strike, days, price=round(max((100 - strike) * (1 if right == "C" else -1), 0) + 2 + days / 30, 2)
    )
    for right in RIGHTS
    for strike in STRIKES
    for days in LIVES
]
ARRAYS = arrays_for(EQUITY, {"U": 100.0}, SERIES)
small = st.lists(st.tuples(st.integers(0, len(SERIES) - 1), st.booleans()), min_size=1, max_size=7)


def holding(chosen: list[tuple[int, bool]]) -> dict[str, float]:
    held: dict[str, float] = {}
    for row, long in chosen:
        held[SERIES[row].name] = held.get(SERIES[row].name, 0.0) + (1.0 if long else -1.0)
    return {name: q for name, q in held.items() if q}


@pytest.mark.parametrize("legs", ["any", "four"])
@settings(max_examples=150, deadline=None)
@given(small, st.sampled_from([0, 100, 200, -100]))
def test_every_pairing_of_a_small_account_tried_out(legs: str, chosen: list[tuple[int, bool]], shares: int) -> None:
    held = holding(chosen)
    book = book_of(ARRAYS, {"a": {**held, "U": float(shares)}})
    ours = MODELS[legs].requirement(book, ARRAYS)
    by_name = {o.name: o for o in SERIES}
    options = [
        (o.right, o.strike, o.days, q > 0, float(o.price or 0))
        for o, q in ((by_name[name], q) for name, q in held.items())
        for _ in range(round(abs(q)))
    ]
    most = 4 if legs == "four" else 7
    for side, amount in (("initial", ours.initial[0]), ("maintenance", ours.maintenance[0])):
        assert amount == pytest.approx(naive.cheapest(options, shares, 100.0, 0.2, side, most), abs=1e-4)


many = st.dictionaries(st.sampled_from([o.name for o in SERIES]), st.integers(-20, 20), max_size=12)


@pytest.mark.parametrize("legs", ["any", "four"])
@settings(max_examples=25, deadline=None)
@given(many, st.integers(-3000, 3000))
def test_bounds_prove_the_pairing(legs: str, held: dict[str, int], shares: int) -> None:
    book = book_of(ARRAYS, {"a": {**{k: float(v) for k, v in held.items()}, "U": float(shares)}})
    for maintenance in (False, True):
        found = MODELS[legs].pairing(book, ARRAYS, "a", maintenance=maintenance)
        assert found.relaxation <= found.required + 1e-3
        assert found.bound == pytest.approx(found.required, abs=1e-3, rel=1e-9)
        used: dict[str, float] = {}
        for strategy in found.strategies:
            for name in strategy.instrument:
                used[name] = used.get(name, 0.0) + strategy.count
        assert all(used.get(name, 0.0) == abs(q) for name, q in held.items())


def test_spreads_that_lose_on_different_sides_ride_on_each_other() -> None:
    """Calls 95/97 lose 200 and 105/120 lose 1,500, both where the price has risen: 1,700 together. A put spread 1,000
    wide loses where it has fallen, and adds its value only. Two put spreads and one call spread: the width of the two.
    """
    calls = [("C", 95, 8, -1, 30), ("C", 97, 7, 1, 30), ("C", 105, 3, -1, 30), ("C", 120, 1, 1, 30)]
    puts = [("P", 80, 1, 1, 30), ("P", 90, 2, -1, 30)]
    assert required(EQUITY, 100.0, calls).initial[0] == pytest.approx(1_700 - 300)
    assert required(EQUITY, 100.0, [*calls, *puts]).initial[0] == pytest.approx(1_700 - 300 - 100)
    wings = [("P", 90, 1, 2, 30), ("P", 95, 2, -2, 30), ("C", 105, 2, -1, 30), ("C", 110, 1, 1, 30)]
    found = required(EQUITY, 100.0, wings)
    assert found.initial[0] == pytest.approx(2 * 500 - 300)
    assert found.charges["spreads"][0, 0] == found.initial[0]


@settings(max_examples=25, deadline=None)
@given(many)
def test_more_ways_never_ask_for_more(held: dict[str, int]) -> None:
    """Any number of legs, four at most, and every option by itself."""
    book = book_of(ARRAYS, {"a": {k: float(v) for k, v in held.items()}})
    least, four = (MODELS[legs].requirement(book, ARRAYS).initial[0] for legs in ("any", "four"))
    alone = sum(
        float(EQUITY.requirement(book_of(ARRAYS, {"a": {k: float(v)}}), ARRAYS).initial[0])
        for k, v in held.items()
        if v
    )
    assert least <= four + 1e-4 <= alone + 2e-4


def test_strategies_are_named() -> None:
    options = [Listed("U", *row) for row in (("P", 90), ("P", 95), ("C", 105), ("C", 110), ("C", 95), ("P", 105))]
    arrays = arrays_for(EQUITY, {"U": 100.0}, options)
    low_put, put, call, high_call, deep_call, deep_put = (o.name for o in options)
    accounts = {
        "condor": {low_put: 1.0, put: -1.0, call: -1.0, high_call: 1.0},
        "short box": {deep_call: -1.0, put: 1.0, call: 1.0, deep_put: -1.0},
        "covered": {"U": 150.0, call: -1.0},
        "collar": {"U": 100.0, put: 1.0, call: -1.0},
        "conversion": {"U": 100.0, put: 1.0, deep_call: -1.0},
        "reverse": {"U": -100.0, put: -1.0, deep_call: 1.0},
        "straddle": {put: -1.0, call: -1.0},
    }
    book = book_of(arrays, {name: {k: float(v) for k, v in held.items()} for name, held in accounts.items()})
    named = {a: {s.strategy for s in EQUITY.pairing(book, arrays, a, maintenance=True).strategies} for a in accounts}
    assert named == {
        "condor": {"short iron condor"},
        "short box": {"short box"},
        "covered": {"covered call", "long stock"},
        "collar": {"collar"},
        "conversion": {"conversion"},
        "reverse": {"reverse conversion"},
        "straddle": {"short straddle or strangle"},
    }


@pytest.mark.parametrize(("strike", "price", "initial"), [(90.0, 12.0, 4_300.0), (110.0, 1.0, 4_900.0)])
def test_stock_behind_a_call_is_worth_its_strike_at_most(strike: float, price: float, initial: float) -> None:
    """Paid for with a loan of half of what it is valued at: 10,000 - 1,200 - 4,500 for a call at 90 sold for 12."""
    found = required(EQUITY, 100.0, [("C", strike, price, -1, 30)], 100.0)
    assert found.initial[0] == initial
    assert found.initial[0] == 100 * (100.0 - price - 0.5 * min(100.0, strike))


def test_a_leveraged_short_may_ask_for_more_than_it_is_worth() -> None:
    model = reg_t.Model(reg_t.Params(default_class="equity", leverage={"U": 4.0}))
    asked = [required(model, 100.0, [], shares) for shares in (100.0, -100.0)]
    assert [(r.initial[0], r.maintenance[0]) for r in asked] == [(10_000, 10_000), (12_000, 12_000)]


def test_stock() -> None:
    """Half to open, a quarter to keep; short 30 %, at least five dollars a share, or the whole price below five."""
    asked = [required(EQUITY, spot, [], shares) for spot, shares in ((80.0, 100.0), (80.0, -100.0), (8.0, -100.0))]
    assert [(r.initial[0], r.maintenance[0]) for r in asked] == [(4000, 2000), (4000, 2400), (500, 500)]
    cheap = [required(EQUITY, spot, [], -100.0).maintenance[0] for spot in (4.0, 2.0)]
    assert cheap == [400.0, 250.0]


def test_an_option_of_just_nine_months_is_paid_in_full() -> None:
    """The rule gives a loan value to options of more than nine months."""
    options = [Listed("A", "C", 100.0, days, price=10.0) for days in (275.0, 276.0)]
    arrays = arrays_for(EQUITY, {"A": 100.0}, options)
    book = book_of(arrays, {str(n): {o.name: 1.0} for n, o in enumerate(options)})
    assert EQUITY.requirement(book, arrays).initial == pytest.approx([1_000.0, 750.0])


def test_crypto_is_named_and_left_out() -> None:
    sample = load_sample()
    model = reg_t.Model(load_parameters("reg_t")[0])
    from scenarios import revalue
    from scenarios.families import grid

    arrays = revalue(sample.instruments, sample.market, grid.scenarios(grid.Params(), sample.market))
    with pytest.raises(ConfigError, match=r"no rule for any contract.*no product class for BTC"):
        margin(sample.book, arrays, sample.market, model)
    named = reg_t.Model(reg_t.Params(default_class="equity")).not_covered(arrays)
    assert set(named.tolist()) == {"", "strategy rules cover stock and options, not futures"}


def two_currencies() -> tuple[RiskArrays, Market]:
    """One stock held in US dollars, and in Canadian ones at 0.7, listed before and after it; a call on it."""
    instruments, market = equity_market({"X": 100.0}, [Listed("X", "C", 120.0, 30.0, 0.2)])
    spot = int(np.flatnonzero(instruments.kind == Kind.SPOT)[0])
    rows = [0, spot, spot, spot, *range(spot + 1, len(instruments))]
    columns = {f.name: getattr(instruments, f.name)[rows].copy() for f in fields(Instruments)}
    columns["instrument_id"] = np.array(["USD", "X-CAD", "X", "Y-CAD", *instruments.instrument_id[spot + 1 :]])
    columns["currency_idx"][[1, 3]] = 1
    vols = market.mark_vol[rows]
    money = {"currency_id": np.array(["USD", "CAD"]), "fx": np.array([1.0, 0.7])}
    basis = {"currency_underlying": np.array([-1, -1]), "fx_basis_limit": np.array([0.01, 0.01])}
    both = replace(market, mark_vol=vols, **money, **basis)
    return revalue(Instruments(**columns), both, make(["still"], np.zeros(1))), both


def test_stock_in_two_currencies_is_two_assets() -> None:
    """Half of 100 shares at 100 USD and half of 100 at 70 USD, whichever stands first; long and short do not net."""
    arrays, market = two_currencies()
    model = reg_t.Model(reg_t.Params(default_class="equity"))
    held = {
        "both": {"X": 100.0, "X-CAD": 100.0},
        "later": {"X": 100.0, "Y-CAD": 100.0},
        "same": {"X-CAD": 60.0, "Y-CAD": 40.0},
        "opposed": {"X": 100.0, "X-CAD": -100.0},
        "opposed later": {"X": 100.0, "Y-CAD": -100.0},
        "short": {"X": -300.0, "X-CAD": 100.0},
    }
    statement = margin(book_of(arrays, held), arrays, market, model)
    initial = dict(zip(statement.account.tolist(), statement.initial_margin.tolist(), strict=True))
    assert initial == {
        "both": 8_500.0, "later": 8_500.0, "same": 3_500.0, "opposed": 8_500.0, "opposed later": 8_500.0,
        "short": 18_500.0,
    }  # fmt: skip
    assert statement.maintenance_margin[statement.account == "both"] == 0.25 * 17_000.0
    call = str(arrays.instrument_id[-1])
    covered = {"a": {call: -1.0, "X": 100.0}, "b": {call: -1.0, "X": 100.0, "X-CAD": 50.0}}
    asked = margin(book_of(arrays, covered), arrays, market, model).initial_margin
    assert asked[1] - asked[0] == pytest.approx(0.5 * 50.0 * 70.0)
    book = book_of(arrays, covered)
    lines = explain(margin(book, arrays, market, model), book, arrays, "b").lines
    assert {line.name for line in lines if line.level == "position"} >= {"X-CAD", call}
