"""Replies with values of wrong types and keys that stand twice: one line that names file, field and value."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from portfolio_margin import load_sample
from portfolio_margin.io.deribit_json import read_payloads
from portfolio_margin.io.deribit_margin import (
    margin_parameters,
    params_from,
    read_margin_parameters,
    reply_time,
    simulate,
)
from portfolio_margin.io.market_json import read_market, write_market
from pricing import DataError
from pricing.errors import EngineError
from tests.portfolio_margin.deribit_examples import live_reply
from tests.portfolio_margin.test_cli import run  # noqa: F401 - a fixture

WRONG = (None, [], {}, "x", 3, -1.5, True, [1], {"a": None}, 10**400)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every member, at any depth."""
    if isinstance(value, dict):
        for name in value:
            yield (*path, name)
            yield from places(value[name], (*path, name))


def replaced(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    copy = json.loads(json.dumps(document))
    inner = copy
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    return copy


@pytest.mark.parametrize("read", [margin_parameters, params_from, simulate])
def test_no_type_of_a_value_ends_in_a_traceback(read: Callable[[Any], Any], tmp_path: Path) -> None:
    reply = live_reply()
    inputs = {name: reply[name] for name in ("model_params", "portfolio", "ticker", "index_price", "margins")
              if name in reply}  # fmt: skip
    document = inputs if read is simulate else inputs["model_params"]
    read(document)
    refused = 0
    for path in places(document):
        for value in WRONG[:3] if read is simulate else WRONG:
            try:
                read(replaced(document, path, value))
            except EngineError as error:
                refused += 1
                assert len(str(error).splitlines()[0]) < 600
    assert refused > 50
    for value in WRONG:
        with pytest.raises(EngineError):
            read(value)


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("general",), None, "general = None: must be an object"),
        (("currency",), [], "currency = []: must be an object"),
        (("currency_pair",), "x", "currency_pair = 'x': must be an object"),
    ],
)
def test_the_field_and_its_value_are_named(path: tuple[str, ...], value: Any, said: str, tmp_path: Path) -> None:
    file = tmp_path / "reply.json"
    file.write_text(json.dumps(replaced(live_reply()["model_params"], path, value)))
    with pytest.raises(DataError, match=r"reply\.json") as caught:
        read_margin_parameters(file)
    assert str(caught.value) == f"{file}, {said}"
    assert reply_time(file) is None or path != ("general",)


def test_what_a_simulation_needs_is_named() -> None:
    reply = live_reply()
    held = next(iter(reply["portfolio"]["position"]))
    for path, value, said in (
        (("portfolio",), None, "simulate, portfolio = None: must be an object"),
        (("portfolio", "position"), [1], r"simulate, portfolio.position = \[1\]: must be an object"),
        (("portfolio", "position", held), "5", f"simulate, row portfolio.position, {held} = '5': must be a number"),
        (("ticker",), 3, "simulate, ticker = 3: must be an object"),
        (("ticker", held), None, f"simulate, ticker.{held} = None: must be an object"),
        (("index_price",), [], r"simulate, index_price = \[\]: must be an object"),
        (
            ("model_params", "general", "timestamp"),
            "now",
            "simulate, general.timestamp = 'now': must be a whole number",
        ),
        (("margins",), [], r"simulate, margins = \[\]: must be an object"),
    ):
        with pytest.raises(DataError, match=said):
            simulate(replaced(reply, path, value))


def test_the_command_ends_with_one_line(run: Any, tmp_path: Path) -> None:  # noqa: F811
    parameters = live_reply()["model_params"]
    for path, value in ((("general",), None), (("currency",), [])):
        (tmp_path / "p.json").write_text(json.dumps(replaced(parameters, path, value)))
        done = run("margin", "--model", "deribit_spm", "--params", "p.json")
        assert (done.code, done.err) == (2, f"error: p.json, {path[0]} = {value}: must be an object\n")


def twice(text: str, key: str, value: str) -> str:
    place = text.index(f'"{key}":')
    return f'{text[:place]}"{key}": {value}, {text[place:]}'


def test_a_key_that_stands_twice(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    parameters = json.dumps(live_reply()["model_params"])
    path.write_text(twice(parameters, "mm_factor", "0.01"))
    with pytest.raises(DataError, match=r"x.json, mm_factor = '0.01 and .*': mm_factor given twice"):
        read_margin_parameters(path)
    with pytest.raises(DataError, match="mm_factor given twice"):
        reply_time(path)
    path.write_text(twice(json.dumps({"result": [{"instrument_name": "BTC-PERPETUAL"}]}), "instrument_name", '"X"'))
    with pytest.raises(DataError, match="instrument_name given twice"):
        read_payloads(path)
    sample = load_sample()
    write_market(path, sample.instruments, sample.market, "sample")
    path.write_text(twice(path.read_text(), "valuation_time_ms", "1"))
    with pytest.raises(DataError, match="valuation_time_ms given twice"):
        read_market(path)


def test_names_that_differ_by_case_alone() -> None:
    parameters = live_reply()["model_params"]
    for table in ("currency", "currency_pair"):
        name = next(iter(parameters[table]))
        other = name.upper() if name != name.upper() else name.lower()
        both = {**parameters, table: {**parameters[table], other: parameters[table][name]}}
        with pytest.raises(DataError, match=f"{table} = '{other}': {name} is the same to the models"):
            margin_parameters(both)
