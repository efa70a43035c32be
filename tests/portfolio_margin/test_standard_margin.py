"""Standard margin, position by position: printed examples, a plain twin, and what the rule implies."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portfolio_margin import Book, load_parameters
from portfolio_margin.models import aevo_standard, deribit_standard
from portfolio_margin.standard_margin import FutureRates, OptionRates, Params, contributions, requirement
from pricing import ConfigError, Instruments, Kind, Market
from scenarios import RiskArrays, revalue
from scenarios.shocks import make
from tests.examples import one_option
from tests.naive import standard_margin as naive
from tests.portfolio_margin.deribit_examples import CONTRACTS, INDEX, LINEAR, LINEAR_MARKET, ROW, linear_book, plain
from tests.vectors import worked_examples

STILL = make(["none", "up"], np.array([0.0, 0.1]))
EXACT = revalue(LINEAR, LINEAR_MARKET, STILL, backend="numpy", tick=None)
OPTION = {"initial": 0.15, "initial_minimum": 0.1, "maintenance": 0.075, "put_mark": 0.075}
FUTURE = {"initial": 0.02, "maintenance": 0.01, "initial_per_coin": 5e-5, "maintenance_per_coin": 5e-5}
# Not the same for both coins, so that a mix-up shows; maintenance of ETH options may exceed the initial minimum.
OPTIONS = {"BTC": OPTION, "ETH": {"initial": 0.2, "initial_minimum": 0.12, "maintenance": 0.11, "put_mark": 0.5}}
FUTURES = {"BTC": FUTURE, "ETH": {"initial": 0.03, "maintenance": 0.02, "initial_per_coin": 4e-6}}
PARAMS = Params(
    {name.lower(): OptionRates(**rates) for name, rates in OPTIONS.items()},
    {name.lower(): FutureRates(**rates) for name, rates in FUTURES.items()},
)


def one(arrays: RiskArrays, quantity: float, params: Params) -> tuple[float, float]:
    """Initial and maintenance margin of one position in the first contract."""
    book = Book.from_arrays(["a"], [0], [quantity], np.zeros(len(arrays), np.int64))
    found = requirement(book, arrays, params, backend="numpy")
    return float(found.initial[0]), float(found.maintenance[0])


def marked(arrays: RiskArrays, mark: float) -> RiskArrays:
    """The arrays with another value of the first contract, the exchange's own mark."""
    values = arrays.value_rows.copy()
    values[0] = mark * arrays.unit[0]
    return replace(arrays, value_rows=values)


def option_arrays(spot: float, strike: float, kind: str) -> RiskArrays:
    instruments, market = one_option(spot, strike, 0.1, 0.6, 1.0 if kind == "C" else -1.0)
    return revalue(instruments, market, STILL, backend="numpy", tick=None)


@pytest.mark.reference
def test_printed_option_margins(report_vectors: Any) -> None:
    """A venue that took the formula over prints a linear put."""
    errors = []
    for example in worked_examples("Bit.com USD option margin (Deribit-style standard)"):
        i, want = example["inputs"], example["expected"]
        arrays = marked(option_arrays(i["spot"], i["strike"], i["type"]), i["mark"])
        per_unit = one(arrays, -1.0, Params({"any": OptionRates()}))
        whole = one(arrays, i["size"], Params({"any": OptionRates()}))
        pairs = zip(
            (*per_unit, *whole), (want["im_per_unit"], want["mm_per_unit"], want["im"], want["mm"]), strict=True
        )
        errors += [abs(a - b) for a, b in pairs]
        assert max(errors) <= example["tolerance"]["abs"]
    report_vectors(
        len(errors), max(errors), f"USD, {example['tolerance']['abs']:g} allowed", "standard margin of options"
    )


def perpetual(coin: str, index: float) -> tuple[Instruments, Market]:
    """A linear perpetual of one coin a contract."""
    instruments, market = one_option(index, index, 0.1, 0.5, 1.0)
    instruments = replace(
        instruments, kind=np.array([Kind.PERPETUAL]), strike=np.array([np.nan]), expiry_idx=np.array([1])
    )
    return instruments, replace(market, underlying_id=np.array([f"{coin}_USDC"]), mark_vol=np.array([np.nan]))


@pytest.mark.reference
def test_the_venue_s_own_examples_of_linear_perpetuals(report_vectors: Any) -> None:
    """Deribit's article on linear perpetuals: initial and maintenance margin in USDC by coins held."""
    params, _ = load_parameters("deribit_standard")
    printed = [
        ("BTC", 100_000.0, 25.0, 53_125.0, 28_125.0),
        ("BTC", 100_000.0, 350.0, 1_312_500.0, None),
        ("SOL", 200.0, 25.0, 200.625, 100.625),
        ("SOL", 200.0, 6_000.0, 84_000.0, None),
        ("SOL", 200.0, 0.0, 0.0, 0.0),
    ]
    errors = []
    for coin, index, size, initial, maintenance in printed:
        for side in (1.0, -1.0):
            found = one(revalue(*perpetual(coin, index), STILL, tick=None), side * size, params)
            pairs = zip(found, (initial, maintenance), strict=True)
            errors += [abs(a - b) for a, b in pairs if b is not None]
    assert max(errors) <= 1e-8
    report_vectors(len(errors), max(errors), "USDC, 1e-08 allowed", "Deribit's article on linear perpetuals")


def test_a_position_that_the_venue_reported() -> None:
    """One dollar of ETH-PERPETUAL, February 2026: initial 0.000010187 and maintenance 0.000005093 ETH, 9 decimals."""
    params, _ = load_parameters("deribit_standard")
    mark = 1 / 0.000509344
    forward = LINEAR_MARKET.forward * np.repeat([1.0, mark / 2_050, mark / 2_050], 4)
    forward[7] = mark
    prices = {"spot": np.array([68_000.0, mark, mark]), "fx": np.array([1.0, 68_000.0, mark, 1.0]), "forward": forward}
    arrays = revalue(LINEAR, replace(LINEAR_MARKET, **prices), STILL, tick=None)
    required = requirement(linear_book({"ETH-PERPETUAL": 1.0}), arrays, params)
    assert required.initial[0] / mark == pytest.approx(0.000010187, abs=5e-10)
    assert required.maintenance[0] / mark == pytest.approx(0.000005093, abs=5.5e-10)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.sampled_from(CONTRACTS), st.integers(-400, 400), min_size=1, max_size=8))
def test_standard_margin_is_its_plain_twin(steps: dict[str, int]) -> None:
    held = {name: n * float(LINEAR.quantity_step[ROW[name]]) for name, n in steps.items()}
    want = np.zeros((2, 2))
    for name, quantity in held.items():
        contract = plain(name)
        index = INDEX[contract["coin"]]
        dollars = index if contract["inverse"] else 1.0
        if contract["kind"] == "option":
            row = ROW[name]
            mark = float(EXACT.value[row]) / dollars / contract["units"]
            amounts = naive.short_option({**contract, "index": index, "mark": mark}, OPTIONS[contract["coin"]])
            want[0] += np.array(amounts) * max(-quantity, 0.0) * contract["units"] * dollars
        else:
            price = index
            want[1] += naive.future(quantity * contract["units"], price, FUTURES[contract["coin"]])
    found = requirement(linear_book(held), EXACT, PARAMS, backend="numpy")
    for column, charge in enumerate(("short_options", "futures")):
        assert found.charges[charge][0] == pytest.approx(want[column], rel=1e-9, abs=1e-7)
    lines = contributions(linear_book(held), EXACT, PARAMS)
    assert float(sum(line.initial for line in lines)) == pytest.approx(found.initial[0], rel=1e-12, abs=1e-9)
    assert float(sum(line.maintenance for line in lines)) == pytest.approx(found.maintenance[0], rel=1e-12, abs=1e-9)


def test_rounded_arrays_ask_at_least_as_much_and_no_cent_more() -> None:
    rounded = revalue(LINEAR, LINEAR_MARKET, STILL)
    for name in CONTRACTS:
        book = linear_book({name: -3.0})
        ours, exact = (requirement(book, arrays, PARAMS) for arrays in (rounded, EXACT))
        assert 0.0 <= ours.initial[0] - exact.initial[0] + 2e-4 < 4e-4


def test_a_put_costs_at_least_a_share_of_its_mark() -> None:
    arrays = marked(option_arrays(100.0, 700.0, "P"), 600.0)
    assert one(arrays, -1.0, Params({"any": OptionRates()})) == (645.0, 645.0)
    arrays = marked(option_arrays(100.0, 40.0, "C"), 60.0)
    assert one(arrays, -1.0, Params({"any": OptionRates()})) == (75.0, 67.5)
    assert one(arrays, 1.0, Params({"any": OptionRates()})) == (0.0, 0.0)


def test_aevo_maintains_a_tenth_of_the_underlying() -> None:
    params, _ = load_parameters("aevo_standard")
    arrays = marked(option_arrays(100.0, 140.0, "C"), 2.0)
    assert one(arrays, -1.0, params) == (12.0, 12.0)
    arrays = marked(option_arrays(100.0, 97.0, "P"), 4.0)
    assert one(arrays, -1.0, params) == pytest.approx((16.0, 14.0))
    model = aevo_standard.Model(params)
    with pytest.raises(ConfigError, match=r"no futures\.btc among the parameters"):
        model.requirement(linear_book({"BTC-PERPETUAL": 1.0}), EXACT)
    haircut = model.haircut(EXACT)
    assert haircut[[ROW[name] for name in ("USD", "USDC", "BTC", "ETH")]].tolist() == [0.0, 0.0, 1.0, 1.0]


def test_a_coin_without_rates_is_refused() -> None:
    only_btc = Params({"btc": OptionRates()}, {"btc": FutureRates(0.1, 0.05)})
    with pytest.raises(ConfigError, match=r"no options\.eth among the parameters, which contracts on ETH need"):
        held = linear_book({"BTC-PERPETUAL": 1.0, "ETH-30D-1.0-+1": -1.0})
        deribit_standard.Model(only_btc).requirement(held, EXACT)
    # What is only listed needs none.
    alone = deribit_standard.Model(only_btc).requirement(linear_book({"BTC-PERPETUAL": 1.0}), EXACT)
    assert alone.initial[0] > alone.maintenance[0] > 0.0


@pytest.mark.parametrize("name", list(OPTION))
def test_rates_of_options_have_bounds(name: str) -> None:
    for value in (-0.1, 2.1, float("nan"), "1", True):
        with pytest.raises(ConfigError, match=name):
            OptionRates(**{**OPTION, name: value})


def test_rates_of_futures_have_bounds() -> None:
    for name in FUTURE:
        for value in (-0.1, 1.1, float("nan"), None):
            with pytest.raises(ConfigError, match=name):
                FutureRates(**{**FUTURE, name: value})
    with pytest.raises(ConfigError, match="must not exceed initial"):
        FutureRates(0.01, 0.02)
    for wrong in ({"btc": 1}, 3, None):
        with pytest.raises(ConfigError, match="must be a mapping from coin to"):
            Params(wrong)  # type: ignore[arg-type]
