"""Greeks of contracts, positions and accounts: units, signs, multiplier and quantity, and sums."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import numpy as np
import pytest

from portfolio_margin.book import Book
from portfolio_margin.greeks import (
    CONTRACT_UNIT,
    POSITION_UNIT,
    account_rows,
    contract_greeks,
    position_greeks,
    sums_by,
)
from portfolio_margin.sample import load_sample
from pricing.errors import ConfigError
from pricing.instruments import Kind
from pricing.price import price
from pricing.resolve import resolve
from scenarios.families import grid
from scenarios.revalue import revalue
from tests.examples import market_and_instruments, random_book
from tests.portfolio_margin import test_cli

run = test_cli.run
INSTRUMENTS, MARKET = market_and_instruments()
ROW = INSTRUMENTS.index_of()
DAY_YEARS = 1.0 / 365.0


def option_values(forward: float = 1.0, vol: float = 0.0, days: float = 0.0, rate: float = 0.0) -> np.ndarray:
    """Values of the options, forward scaled, vol and days added, the forward moved by a rate."""
    inputs = resolve(INSTRUMENTS, MARKET)
    chosen = INSTRUMENTS.is_option
    tau = inputs.tau[chosen] - days * DAY_YEARS
    moved = inputs.forward[chosen] * forward * np.exp(rate * inputs.tau[chosen])
    columns = (moved, inputs.strike[chosen], tau, inputs.vol[chosen] + vol, inputs.sign[chosen])
    return price(*columns, np.exp(-rate * inputs.tau[chosen]), backend="numpy")


def test_contract_greeks_are_differences_of_values_in_trader_units() -> None:
    """Central differences with a step each Greek's unit is small against; tolerances are their next order."""
    greeks = contract_greeks(INSTRUMENTS, MARKET, backend="numpy")
    found = {name: values[INSTRUMENTS.is_option] for name, values in greeks.items()}
    inputs = resolve(INSTRUMENTS, MARKET)
    forward = inputs.forward[INSTRUMENTS.is_option]
    h, v, d, r = 1e-4, 1e-4, 1e-2, 1e-6
    up, base, down = (option_values(1 + s * h) for s in (1, 0, -1))
    np.testing.assert_allclose(found["price"], base, rtol=1e-12)
    np.testing.assert_allclose(found["delta"], (up - down) / (2 * h * forward), atol=1e-5)
    np.testing.assert_allclose(found["gamma"] * forward, (up - 2 * base + down) / (h * h * forward), atol=1e-3)
    vega = (option_values(vol=v) - option_values(vol=-v)) / (2 * v)
    np.testing.assert_allclose(found["vega"], vega / 100, rtol=1e-5, atol=1e-5)
    volga = (option_values(vol=v) - 2 * base + option_values(vol=-v)) / v**2
    np.testing.assert_allclose(found["volga"], volga / 1e4, rtol=1e-4, atol=1e-3)
    theta = (option_values(days=d) - option_values(days=-d)) / (2 * d)
    # A day takes no more than the option is worth.
    np.testing.assert_allclose(found["theta"], np.maximum(theta, -base), rtol=1e-4, atol=1e-6)
    rho = (option_values(rate=r) - option_values(rate=-r)) / (2 * r)
    np.testing.assert_allclose(found["rho"], rho / 100, rtol=1e-5, atol=1e-4)
    vanna = (
        option_values(1 + h, v) - option_values(1 - h, v) - option_values(1 + h, -v) + option_values(1 - h, -v)
    ) / (4 * h * v * forward)
    np.testing.assert_allclose(found["vanna"], vanna / 100, atol=1e-6)
    later, earlier = (option_values(1 + h, days=s * d) - option_values(1 - h, days=s * d) for s in (1, -1))
    charm = (later - earlier) / (4 * h * d * forward)
    np.testing.assert_allclose(found["charm"], charm, atol=1e-5)


def test_raw_and_trader_units_differ_by_their_definition() -> None:
    raw = contract_greeks(INSTRUMENTS, MARKET, units="raw", backend="numpy")
    trader = contract_greeks(INSTRUMENTS, MARKET, backend="numpy")
    for name, divisor in {
        "delta": 1,
        "gamma": 1,
        "vega": 100,
        "rho": 100,
        "vanna": 100,
        "volga": 1e4,
        "charm": 365,
    }.items():
        np.testing.assert_allclose(trader[name], raw[name] / divisor, rtol=1e-14)
    assert list(raw) == list(trader) == list(CONTRACT_UNIT)
    with pytest.raises(ConfigError, match="units"):
        contract_greeks(INSTRUMENTS, MARKET, units="points")


def test_premium_adjusted_delta_is_the_delta_of_the_value_counted_in_coin() -> None:
    """F d(V/F)/dF, the coins an option gains for a relative move of 1.00: delta less the premium in coin."""
    greeks = contract_greeks(INSTRUMENTS, MARKET, backend="numpy")
    option = INSTRUMENTS.is_option
    forward = resolve(INSTRUMENTS, MARKET).forward[option]
    h = 1e-5
    in_coin = (option_values(1 + h) / (forward * (1 + h)) - option_values(1 - h) / (forward * (1 - h))) / (2 * h)
    np.testing.assert_allclose(greeks["delta_pa"][option], in_coin, atol=1e-7)
    np.testing.assert_allclose(greeks["price_coin"][option], option_values() / forward, rtol=1e-12)


def test_what_is_no_option_moves_with_the_unit_it_stands_for() -> None:
    greeks = contract_greeks(INSTRUMENTS, MARKET, backend="numpy")
    expected = {"USD": (0, 0), "BTC": (1, 0), "ETH": (1, 0), "BTC-PERPETUAL": (1, 1), "ETH-60D": (1, 1)}
    for name, (delta, delta_pa) in expected.items():
        assert (greeks["delta"][ROW[name]], greeks["delta_pa"][ROW[name]]) == (delta, delta_pa)
        assert all(
            greeks[other][ROW[name]] == 0 for other in ("gamma", "vega", "theta", "rho", "vanna", "volga", "charm")
        )
        assert np.isnan(greeks["price_coin"][ROW[name]])


def test_multiplier_and_quantity_enter_once() -> None:
    """A perpetual of 10 USD a contract is 10 / F coins; an option is one coin; a balance is itself."""
    contract = contract_greeks(INSTRUMENTS, MARKET, backend="numpy")
    call = next(name for name in ROW if name.startswith("BTC-60D-") and name.endswith("-C"))
    held = {"BTC-PERPETUAL": -700.0, call: 3.0, "BTC": 2.0, "USD": 500.0}
    book = Book.from_arrays(["a"] * 4, [ROW[name] for name in held], list(held.values()), INSTRUMENTS.expiry_idx)
    greeks = position_greeks(book, INSTRUMENTS, MARKET, contract)
    at = {name: int(np.flatnonzero(book.instrument_idx == ROW[name])[0]) for name in held}
    spot, forward = 68_000.0, 68_000.0 * 1.01
    assert greeks["delta"][at["BTC-PERPETUAL"]] == pytest.approx(-7_000 / spot)
    assert greeks["delta_cash"][at["BTC-PERPETUAL"]] == pytest.approx(-7_000)
    assert (greeks["delta"][at["BTC"]], greeks["delta_cash"][at["BTC"]]) == (2.0, 2 * spot)
    assert not any(greeks[name][at["USD"]] for name in POSITION_UNIT)
    unit, rate = {name: values[ROW[call]] for name, values in contract.items()}, spot / forward
    expected = {
        "delta": 3 * unit["delta"],
        "delta_pa": 3 * unit["delta_pa"],
        "gamma": 3 * unit["gamma"],
        "delta_cash": 3 * unit["delta"] * forward * rate,
        "gamma_cash_1pct": 3 * unit["gamma"] * forward**2 * rate / 100,
        "vega": 3 * unit["vega"] * rate,
        "vega_norm": 3 * unit["vega"] * rate * np.sqrt(30 / 60),
        "theta": 3 * unit["theta"] * rate,
        "rho": 3 * unit["rho"] * rate,
        "vanna": 3 * unit["vanna"],
        "volga": 3 * unit["volga"] * rate,
        "charm": 3 * unit["charm"],
    }
    assert set(expected) == set(POSITION_UNIT)
    assert {name: greeks[name][at[call]] for name in expected} == pytest.approx(expected, rel=1e-12)


def test_sums_are_those_of_the_risk_arrays() -> None:
    """delta_cash of an account, from the Greeks, against the deltas that risk arrays carry."""
    arrays = revalue(INSTRUMENTS, MARKET, grid.scenarios(grid.Params(), MARKET), backend="numpy", tick=None)
    book = random_book(INSTRUMENTS, accounts=40)
    held = position_greeks(book, INSTRUMENTS, MARKET, contract_greeks(INSTRUMENTS, MARKET, backend="numpy"))
    sums = sums_by(account_rows(book), held, len(book))
    expected = np.add.reduceat(book.quantity * arrays.delta[book.instrument_idx], book.position_ptr[:-1])
    np.testing.assert_allclose(sums["delta_cash"], expected, rtol=1e-9, atol=1e-6)


def test_accounts_without_positions_have_no_greeks() -> None:
    book = Book.from_arrays(["b"], [ROW["BTC"]], [1.0], INSTRUMENTS.expiry_idx, accounts=["a", "c"])
    held = position_greeks(book, INSTRUMENTS, MARKET, contract_greeks(INSTRUMENTS, MARKET, backend="numpy"))
    sums = sums_by(account_rows(book), held, len(book))
    assert sums["delta"].tolist() == [0.0, 1.0, 0.0]


@pytest.mark.parametrize("backend", ["numba", "jax"])
def test_backends_agree(backend: str) -> None:
    sample = load_sample()
    reference = contract_greeks(sample.instruments, sample.market, backend="numpy")
    other = contract_greeks(sample.instruments, sample.market, backend=backend)
    for name, values in reference.items():
        np.testing.assert_allclose(other[name], values, rtol=1e-9, atol=1e-9, err_msg=name)


def test_command_levels(run: Any) -> None:
    def rows(*arguments: str) -> list[dict[str, str]]:
        return list(csv.DictReader(io.StringIO(run("greeks", "--csv", *arguments).out)))

    sample = load_sample()
    accounts, positions, options = rows(), rows("--by-position"), rows("--instruments")
    assert len(accounts) == len(sample.book)
    assert len(positions) == len(sample.book.quantity)
    assert len(options) == int(np.sum(sample.instruments.kind == Kind.OPTION))
    one = [row for row in positions if row["account"] == "market-maker-02"]
    assert rows("--account", "market-maker-02") == one
    total = next(row for row in accounts if row["account"] == "market-maker-02")
    for name in ("delta_cash", "vega", "theta", "vega_norm"):
        assert float(total[name]) == pytest.approx(sum(float(row[name]) for row in one), rel=1e-9)
    document = json.loads(run("greeks", "--json", "--instruments").out)
    assert document["units"]["vega"] == "quote ccy / 1 vol pt"
    assert document["as_of_ms"] == sample.market.valuation_time
    assert json.loads(run("greeks", "--json").out)["units"]["delta_cash"] == "USD"
