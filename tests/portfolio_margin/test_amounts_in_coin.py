"""Amounts that rules state in dollars or quote currency, where the margin currency is a coin: converted, or refused.

What a model asks for in coin, times the coin's price, is what it asks for in dollars, wherever the rule looks at
amounts alone. Losses in scenarios differ by nature: one is in coin, the other in dollars at the price of the scenario;
so do deltas of options, whose premium is held in coin.
"""

from __future__ import annotations

from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from portfolio_margin import Book, MarginStatement, margin
from portfolio_margin.dollars import dollars, money_of_amounts
from pricing import ConfigError
from scenarios import RiskArrays, revalue
from tests.portfolio_margin.books import GRID, MARKET, Held
from tests.portfolio_margin.test_coin_margin import COIN, COIN_MARKET
from tests.portfolio_margin.test_contracts import SHIPPED, model_of, statement_of

SPOT = float(MARKET.spot[0])
ROW = COIN.index_of()
SMALL = {"BTC-7D-68000-C": -100.0, "BTC-7D-68000-P": -10.0, "BTC-7D-40800-P": -50.0}
FUTURES = {"BTC-PERPETUAL": -6.8e6, "BTC-60D": 3.4e6}
# Twice the limits of every tier, without a price to move.
HEDGED = {"BTC-PERPETUAL": 4e7, "BTC-60D": -4e7}
BOX = {"BTC-7D-61200-C": 100.0, "BTC-7D-61200-P": -100.0, "BTC-7D-68000-C": -100.0, "BTC-7D-68000-P": 100.0}
ACCOUNTS = {"small": SMALL, "futures": FUTURES, "hedged": HEDGED, "box": BOX}
REFUSED = {"deribit_xpm": "gains in USD", **dict.fromkeys(("derive_pmrm", "derive_pmrm2", "derive_standard"), "stable")}
# Every other model, and its charges that are the same amount in both; "all" where none of them is a loss in dollars.
SAME = {
    "aevo_standard": ("all",),
    "bybit_pm": ("short_options", "futures"),
    "bybit_standard": ("all",),
    "deribit_legacy_pm": ("all",),
    "deribit_spm": ("all",),
    "deribit_standard": ("all",),
    "dynamic_worst_case": ("liquidity",),
    "historical_simulation": ("concentration",),
    "paradex_pm": ("fees",),
    "reg_t": ("all",),
}
# Accounts whose whole requirement is a floor, a minimum or a tier.
FAR_PUTS = {"BTC-7D-40800-P": -1_000.0}
FLOORS = {"delta_exchange_pm": BOX, "okx_pm": HEDGED, "span": FAR_PUTS, "tims": FAR_PUTS, "worst_case": BOX}


@cache
def coin_arrays(name: str, **change: Any) -> RiskArrays:
    moves = model_of(name, **change).scenario_set(COIN_MARKET)
    return revalue(COIN, COIN_MARKET, GRID if moves is None else moves, tick=None)


def in_coin(name: str, accounts: dict[str, Held], **change: Any) -> MarginStatement:
    rows = [(account, ROW[i], q) for account, held in accounts.items() for i, q in held.items()]
    columns = [list(column) for column in zip(*rows, strict=True)]
    model = model_of(name, **change)
    book = Book.from_arrays(*columns, COIN.expiry_idx)
    return margin(book, coin_arrays(name), COIN_MARKET, model)


def total(statement: MarginStatement) -> np.ndarray:
    """(A,2) before rounding to cents, which are 680 dollars of a coin."""
    return np.asarray(sum(statement.charges.values()))


def test_every_model_has_its_place() -> None:
    assert {*SAME, *FLOORS, *REFUSED} == set(SHIPPED)


@pytest.mark.parametrize("name", REFUSED)
def test_rules_in_dollars_alone_refuse_a_coin(name: str) -> None:
    with pytest.raises(ConfigError, match=REFUSED[name]):
        in_coin(name, ACCOUNTS)


@pytest.mark.parametrize("name", SAME)
def test_amounts_are_the_same_in_coin_and_in_dollars(name: str) -> None:
    coin, quote = in_coin(name, ACCOUNTS), statement_of(name, ACCOUNTS)
    # A contract's margin is rounded up to a millionth of the margin currency, of a coin to 7 cents.
    close = {"rtol": 2e-4, "atol": 1.0}
    if "all" in SAME[name]:
        assert np.allclose(total(coin) * SPOT, total(quote), **close)
        return
    for charge in SAME[name]:
        alike = np.isin(quote.account, ("futures", "hedged")) | (charge not in ("concentration", "liquidity"))
        assert np.any(quote.charges[charge][alike] > 0), charge
        assert np.allclose(coin.charges[charge][alike] * SPOT, quote.charges[charge][alike], **close), charge


@pytest.mark.parametrize("name", FLOORS)
def test_floors_are_the_same_in_coin_and_in_dollars(name: str) -> None:
    coin, quote = (of(name, {"a": FLOORS[name]}) for of in (in_coin, statement_of))
    assert np.all(total(quote) > 0)
    assert np.allclose(total(coin) * SPOT, total(quote), rtol=1e-3)


def test_the_tiers_of_okx_are_in_dollars() -> None:
    """MR7 is more than all else here; its tiers multiply it up to twelve times."""
    coin = in_coin("okx_pm", {"a": HEDGED})
    untiered = in_coin("okx_pm", {"a": HEDGED}, tier_limits=(1e12,), tier_multipliers=(1.0, 1.0))
    assert total(coin)[0, 0] > 5.0 * total(untiered)[0, 0]


def test_the_minimum_of_tims_is_in_quote_currency() -> None:
    """Puts so far out that no point of the range reaches them, and a box: the minimum is all they ask for."""
    held = {"a": {"BTC-7D-40800-P": -1_000.0}, "b": {"BTC-7D-40800-P": -1_000.0, "BTC-7D-95200-C": 1_000.0}}
    change = {"contract_minimum": 100.0}
    coin, quote = in_coin("tims", held, **change), statement_of("tims", held, **change)
    assert total(quote)[:, 0] == pytest.approx([1e5, 2e5], rel=1e-3)
    assert np.allclose(total(coin) * SPOT, total(quote), rtol=1e-3)


def test_capacities_are_in_quote_currency() -> None:
    """Far beyond the capacity the add-on is the last factor; read in coin, the position would be far below it."""
    sizes = {"liquidity_sizes": (0.0, 0.5, 0.6, 1.0), "liquidity_factors": (0.0, 0.0, 1.0, 1.0), "half_spread": 0.0}
    change = {**sizes, "liquidity_alpha": 1.0, "capacity": {"BTC": 1e6}}
    held = {"large": {"BTC-PERPETUAL": 6.8e6}, "small": {"BTC-PERPETUAL": 1e4}}
    for statement in (in_coin("historical_simulation", held, **change),
                      statement_of("historical_simulation", held, **change)):  # fmt: skip
        assert statement.charges["liquidity"][0, 0] > 0.9 * statement.charges["historical"][0, 0]
        assert statement.charges["liquidity"][1, 0] == 0.0


def test_one_rate_whatever_an_underlying_is_quoted_in() -> None:
    """ETH quoted in BTC: a dollar is what the spot of the coin of margin says, for rows of ETH as well."""
    terms = SimpleNamespace(currency_id=np.array(["BTC"]), fx=np.ones(1), spot=np.array([0.03, 66_000.0]))
    arrays: Any = SimpleNamespace(currency="BTC", underlying_id=np.array(["ETH", "BTC"]), terms=terms)
    assert dollars(arrays, "limits").tolist() == money_of_amounts(arrays).tolist() == [1 / 66_000.0] * 2
