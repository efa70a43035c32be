"""What crypto venues list: options on stocks are none of it, and no rate for coins is applied to them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from portfolio_margin import compare, margin
from portfolio_margin.compare import comparison, revaluing
from portfolio_margin.grid_units import Grid
from portfolio_margin.io.parameter_sets import load_parameters
from portfolio_margin.models import (
    aevo_standard,
    bybit_standard,
    delta_exchange_pm,
    deribit_standard,
    derive_pmrm,
    okx_pm,
)
from portfolio_margin.standard_margin import OptionRates, Params
from pricing import ConfigError, Exercise, Instruments, Kind
from pricing.errors import NumericalError
from scenarios import revalue
from scenarios.families import grid
from tests.portfolio_margin.equities import Listed, arrays_for, book_of, equity_market

OPTIONS = [Listed("SPY", right, 100.0, 40.0) for right in "CP"]
STANDARD = Params({"any": OptionRates()})
DELTA = delta_exchange_pm.Params({"any": Grid((-0.1, 0.0, 0.1), 0.3, 0.3)}, 0.01, 0.01, 0.01)
OKX = replace(load_parameters("okx_pm")[0], term_structure_vol=0.05, rate_move=0.02, haircut={"any": 0.05})
MODELS = {
    "Aevo": aevo_standard.Model(STANDARD),
    "Bybit": bybit_standard.Model(STANDARD),
    "Deribit": deribit_standard.Model(STANDARD),
    "Delta Exchange": delta_exchange_pm.Model(DELTA),
    "OKX": okx_pm.Model(OKX),
}


AEVO = aevo_standard.Model(load_parameters("aevo_standard")[0])
PMRM = derive_pmrm.Model(load_parameters("derive_pmrm")[0])


@pytest.mark.parametrize("venue", MODELS)
def test_options_on_stocks_are_left_out_by_name(venue: str) -> None:
    model: Any = MODELS[venue]
    arrays = arrays_for(model, {"SPY": 100.0}, OPTIONS, exercise=Exercise.AMERICAN)
    reason = dict(zip(arrays.instrument_id.tolist(), model.not_covered(arrays).tolist(), strict=True))
    assert {reason[o.name] for o in OPTIONS} == {f"{venue} lists European options only"}
    assert reason["SPY"] == reason["USD"] == ""
    _, market = equity_market({"SPY": 100.0}, OPTIONS, exercise=Exercise.AMERICAN)
    with pytest.raises(ConfigError, match=f"no rule for any contract here; of the first, {venue} lists European"):
        margin(book_of(arrays, {"a": {OPTIONS[0].name: -1.0, "USD": 1e5}}), arrays, market, model)


def test_a_coin_beside_a_stock_keeps_its_rule() -> None:
    """Rates of the stock are not even asked for: nothing on it is margined."""
    american, market = equity_market(
        {"BTC": 100.0, "SPY": 100.0}, [Listed("BTC", "P", 90.0), *OPTIONS], exercise=Exercise.AMERICAN
    )
    coin = np.char.startswith(american.instrument_id, "BTC")
    early = np.where(coin, int(Exercise.EUROPEAN), american.exercise)
    held_as_cash = american.instrument_id != "BTC"  # what is held as spot is a stock
    columns = {**vars(american), "exercise": early * (american.kind == Kind.OPTION)}
    mixed = Instruments(**{name: values[held_as_cash] for name, values in columns.items()})
    market = replace(market, mark_vol=market.mark_vol[held_as_cash])
    model = deribit_standard.Model(Params({"btc": OptionRates()}))
    moves = grid.scenarios(grid.Params(), market)
    arrays = revalue(mixed, market, moves)
    book = book_of(arrays, {"a": {"BTC-30D-90-P": -1.0, OPTIONS[0].name: -1.0, "USD": 1e5}})
    statement = compare(book, market, {"it": model}, instruments=mixed, scenario_set=moves).statements["it"]
    assert statement.positions_excluded == (f"a {OPTIONS[0].name}: Deribit lists European options only",)
    assert statement.unmargined.tolist() == [True]
    alone = book_of(arrays, {"a": {"BTC-30D-90-P": -1.0, "USD": 1e5}})
    only = compare(alone, market, {"it": model}, instruments=mixed, scenario_set=moves)
    assert statement.initial_margin[0] == only.initial[0, 0] > 0


@pytest.mark.parametrize("model", [*MODELS.values(), AEVO, PMRM], ids=lambda model: model.model_id)
def test_european_options_on_stocks_are_no_contracts_of_coins_either(model: Any) -> None:
    """Rates that stand for any coin are none for a stock, and Derive's scenarios are those of coins."""
    _, market = equity_market({"SPY": 100.0}, OPTIONS)
    arrays = arrays_for(model, {"SPY": 100.0}, OPTIONS)
    reason = dict(zip(arrays.instrument_id.tolist(), model.not_covered(arrays).tolist(), strict=True))
    assert all("lists nothing on stocks" in reason[o.name] for o in OPTIONS)
    with pytest.raises(ConfigError, match=r"no rule for any contract here; of the first, \w.* lists nothing on stocks"):
        margin(book_of(arrays, {"a": {OPTIONS[0].name: -1.0, "USD": 1e5}}), arrays, market, model)


def test_missing_parameters_stand_before_what_cannot_be_computed() -> None:
    """A model is refused for what it lacks, before a scenario that cannot be computed."""
    _, market = equity_market({"SPY": 100.0}, OPTIONS, exercise=Exercise.AMERICAN)
    arrays = arrays_for(MODELS["OKX"], {"SPY": 100.0}, OPTIONS)
    book = book_of(arrays, {"a": {OPTIONS[0].name: -1.0}})

    def fails(moves: Any) -> Any:
        raise NumericalError("the forward drifts away")

    models = {"okx": okx_pm.Model(load_parameters("okx_pm")[0]), "given": MODELS["OKX"]}
    with pytest.raises(ConfigError) as caught:
        comparison(book, market, models, revaluing(market, fails, None))
    assert [line.partition(" must")[0] for line in str(caught.value).splitlines()[1:]] == [
        "okx: term_structure_vol", "okx: rate_move", "okx: the forward drifts away", "given: the forward drifts away",
    ]  # fmt: skip
