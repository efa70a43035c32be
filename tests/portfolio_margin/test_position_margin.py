"""Margin by position: alone, at the margin, and shares that add up."""

from __future__ import annotations

import json
from decimal import Decimal, localcontext
from typing import Any

import pytest

from portfolio_margin import explain, margin, position_margins
from portfolio_margin import position_margin as module
from portfolio_margin.models import worst_case
from portfolio_margin.requirement import EXACT
from pricing import ConfigError
from tests.portfolio_margin import test_cli
from tests.portfolio_margin.books import ARRAYS, BOOK, MARKET, Held, book_of

run = test_cli.run
PARAMS = (worst_case.Params(), worst_case.Params(netting="joint"), worst_case.Params(short_option_minimum=0.5))
HELD: Held = {"BTC-7D-68000-C": -2.0, "BTC-PERPETUAL": 5_000.0, "ETH-60D-2050-P": 7.0, "USD": 900.0, "BTC": -0.25}


def required(held: Held, model: worst_case.Model) -> tuple[float, float]:
    statement = margin(book_of({"a": held}), ARRAYS, MARKET, model)
    return float(statement.initial_margin[0]), float(statement.maintenance_margin[0])


@pytest.mark.parametrize("params", PARAMS)
def test_each_figure_is_that_of_an_account_made_for_it(params: worst_case.Params) -> None:
    model, book = worst_case.Model(params), book_of({"a": HELD, "b": {"USD": 1.0}})
    found = position_margins(margin(book, ARRAYS, MARKET, model), book, ARRAYS, "a")
    assert set(found.instrument) == set(HELD)
    whole = required(HELD, model)
    for row, name in enumerate(found.instrument):
        assert found.quantity[row] == HELD[name]
        assert found.standalone[row].tolist() == list(required({name: HELD[name]}, model))
        without = required({other: q for other, q in HELD.items() if other != name}, model)
        assert found.marginal[row] == pytest.approx([w - o for w, o in zip(whole, without, strict=True)], abs=1e-6)


@pytest.mark.parametrize("params", PARAMS)
def test_shares_add_up_to_the_requirement(params: worst_case.Params) -> None:
    statement = margin(BOOK, ARRAYS, MARKET, worst_case.Model(params))
    for row, account in enumerate(map(str, BOOK.account_id[:20])):
        found = position_margins(statement, BOOK, ARRAYS, account)
        with localcontext(EXACT):
            for part, total in enumerate((statement.initial_margin[row], statement.maintenance_margin[row])):
                shares = sum((share[part] for share in found.share), Decimal(0)) + found.other[part]
                assert shares == Decimal(repr(float(total)))


def test_blocks_of_positions_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    book = book_of({"a": HELD})
    statement = margin(book, ARRAYS, MARKET, worst_case.Model())
    whole = position_margins(statement, book, ARRAYS, "a").columns()
    monkeypatch.setattr(module, "ROWS_AT_ONCE", 1)
    assert position_margins(statement, book, ARRAYS, "a").columns() == whole


def test_who_holds_nothing_or_one_thing() -> None:
    book = book_of({"a": {}, "b": {"BTC-PERPETUAL": 100.0}}, grouped=False)
    statement = margin(book, ARRAYS, MARKET, worst_case.Model(PARAMS[1]))
    assert position_margins(statement, book, ARRAYS, "a").columns()["instrument"] == [module.OTHER]
    one = position_margins(statement, book, ARRAYS, "b")
    assert (
        one.standalone.tolist()
        == one.marginal.tolist()
        == [[statement.initial_margin[1], statement.maintenance_margin[1]]]
    )
    assert len(one.frame()) == 2


def test_on_the_command_line(run: Any) -> None:
    document = json.loads(run("explain", "iron-condor-07", "--by-position", "--json").out)
    assert [row["instrument"] for row in document["positions"]][-1] == module.OTHER
    total = sum(Decimal(row["share_initial"]) for row in document["positions"])
    statement = json.loads(run("margin", "--account", "iron-condor-07", "--json").out)["accounts"][0]
    assert total == Decimal(statement["initial_margin"])
    assert "standalone" in run("explain", "iron-condor-07", "--by-position").out
    assert "share_initial" in run("explain", "iron-condor-07", "--by-position", "--csv").out


def test_arguments_of_another_kind_are_told() -> None:
    statement = margin(BOOK, ARRAYS, MARKET, worst_case.Model())
    account = str(BOOK.account_id[0])
    wrong: list[tuple[Any, ...]] = [
        (BOOK, ARRAYS, MARKET, worst_case.Model()),
        (statement, ARRAYS, BOOK, account),
        (statement, BOOK, MARKET, account),
    ]
    told = ["statement is a Book: must be a MarginStatement", "book is a RiskArrays: must be a Book",
            "arrays is a Market: must be a RiskArrays"]  # fmt: skip
    for arguments, text in zip(wrong, told, strict=True):
        for asked in (position_margins, explain):
            with pytest.raises(ConfigError, match=text):
                asked(*arguments)
