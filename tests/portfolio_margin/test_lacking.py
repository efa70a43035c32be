"""What a model lacks is said in one message: nobody supplies parameters one after the other."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from portfolio_margin import load_parameters, margin
from portfolio_margin.lacking import gather
from portfolio_margin.models import (
    aevo_standard,
    bybit_pm,
    bybit_standard,
    delta_exchange_pm,
    deribit_xpm,
    derive_standard,
    okx_pm,
    paradex_pm,
)
from pricing import ConfigError
from scenarios import revalue
from tests.portfolio_margin.books import ARRAYS, INSTRUMENTS, MARKET, book_of

OPTION = next(name for name in INSTRUMENTS.instrument_id if name.startswith("BTC-60D-"))
EVERYTHING = book_of({"a": {OPTION: -1.0, "BTC-60D": 10.0, "ETH-PERPETUAL": 5.0, "BTC-PERPETUAL": -5.0, "BTC": 1.0}})


def refusal(model: Any) -> list[str]:
    """The lines in which an account with everything is refused, wherever the model first notices."""
    with pytest.raises(ConfigError) as caught:
        margin(EVERYTHING, revalue(INSTRUMENTS, MARKET, model.scenario_set(MARKET)), MARKET, model)
    return str(caught.value).splitlines()


def check(found: list[str], *wanted: str) -> None:
    assert len(found) == len(wanted), found
    for text in wanted:
        assert any(text in line for line in found), (text, found)


def test_okx_lacks_vols_rates_and_haircuts() -> None:
    params, _ = load_parameters("okx_pm")
    found = refusal(okx_pm.Model(params))
    check(found, "term_structure_vol must", "rate_move must", "no haircut.btc")  # the only coin that is held
    check(refusal(okx_pm.Model(replace(params, group_of={}))), "no group_of.btc", "no group_of.eth")


def test_bybit_lacks_grids_rates_and_a_word_on_spreads() -> None:
    found = refusal(bybit_pm.Model(bybit_pm.Params()))
    rates = "short_option_coefficient, futures_factor, initial_factor, coin_haircut must be given"
    check(found, "no grids.btc", "no grids.eth", "give spreads=left_out", rates)
    grid = bybit_pm.Grid((-0.1, 0.1), 0.2, 0.2)
    found = refusal(bybit_pm.Model(bybit_pm.Params({"any": grid})))
    rates = "short_option_coefficient, futures_factor, initial_factor must be given"
    check(found, "give spreads=left_out", rates, "coin_haircut must be given")


def test_delta_exchange_lacks_grids_and_floors() -> None:
    found = refusal(delta_exchange_pm.Model(delta_exchange_pm.Params()))
    check(found, "no grids.btc", "no grids.eth", "futures_floor, short_option_floor, long_option_floor must be given")


@pytest.mark.parametrize(("name", "module"), [("bybit_standard", bybit_standard), ("aevo_standard", aevo_standard)])
def test_standard_margins_lack_options_and_futures_of_every_coin(name: str, module: Any) -> None:
    params, _ = load_parameters(name)
    for options, wanted in ((params.options, []), ({}, ["no options.btc"])):  # of BTC alone are options held
        with pytest.raises(ConfigError) as caught:
            margin(EVERYTHING, ARRAYS, MARKET, module.Model(replace(params, options=options)))
        check(str(caught.value).splitlines(), "no futures.btc", "no futures.eth", *wanted)


def test_paradex_lacks_assets_and_funding() -> None:
    params, _ = load_parameters("paradex_pm", "2026-04-22")
    bare = replace(params, assets={}, funding_rate_8h={})
    names = [f"no {table}.{coin}" for table in ("assets", "funding_rate_8h") for coin in ("btc", "eth")]
    check(refusal(paradex_pm.Model(bare)), *names)
    check(refusal(paradex_pm.Model(replace(params, funding_rate_8h={}))), *names[2:])


def test_deribit_lacks_pairs_and_currencies() -> None:
    params, _ = load_parameters("deribit_xpm")
    bare = replace(params, currency_pair={}, currency={})
    check(refusal(deribit_xpm.Model(bare)), "pair.btc_usd", "pair.eth_usd", "no currency.btc", "no currency.eth")


def test_derive_lacks_markets() -> None:
    params, _ = load_parameters("derive_standard")
    model = derive_standard.Model(replace(params, markets={"SOL": params.markets["ETH"]}))
    book = book_of({"a": {"ETH-PERPETUAL": 5.0, "BTC-PERPETUAL": -5.0}})
    with pytest.raises(ConfigError, match=r"market BTC, ETH: give markets\.BTC, markets\.ETH"):
        margin(book, ARRAYS, MARKET, model)


def test_gathering_keeps_order_and_says_nothing_twice() -> None:
    def refuse(text: str) -> Any:
        raise ConfigError(text)

    assert gather([lambda: 1, lambda: 2], [lambda: refuse("unheard")]) == [1, 2]
    with pytest.raises(ConfigError) as caught:
        gather([lambda: refuse("b\na"), lambda: 1, lambda: refuse("a")], [lambda: refuse("c")])
    assert str(caught.value) == "b\na\nc"
    with pytest.raises(ZeroDivisionError):
        gather([lambda: 1 // 0])
