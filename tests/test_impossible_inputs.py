"""Inputs that no market and no book is like: refused by name, never a plausible number."""

from __future__ import annotations

import gzip
import io
import json
import math
import subprocess
import sys
from dataclasses import fields, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from portfolio_margin import Book, margin, what_if, worst_loss
from portfolio_margin.models import worst_case
from portfolio_margin.sample import MARKET_FILE, sample_path
from pricing import ConfigError, DataError, Instruments, Kind, Market, NumericalError, Payoff, price
from pricing.digest import hash_parts
from pricing.market import UNDATED
from scenarios import RiskArrays, revalue
from scenarios.families import grid
from scenarios.risk_arrays import _checksum
from scenarios.shocks import make
from tests.portfolio_margin import test_cli
from tests.portfolio_margin.books import ARRAYS, BACKENDS, BOOK, GRID, INSTRUMENTS, MARKET, ROW
from tests.portfolio_margin.test_cli import check_fails
from tests.vectors import ROOT

run = test_cli.run
MODEL = worst_case.Model()


def changed(table: Any, name: str, row: Any, value: Any) -> Any:
    column = np.array(getattr(table, name), dtype=np.result_type(getattr(table, name), np.asarray(value)))
    column[row] = value
    return replace(table, **{name: column})


@pytest.mark.parametrize(
    ("field", "row", "value"),
    [
        ("discount", 0, 0.01),
        ("forward", 0, 680_000.0),
        ("forward", 1, 6_800.0),
        ("forward", 2, 75_000.0),
        ("svi", 0, [1e-6, 0.0, 0.0, 0.0, 0.1]),
        ("svi", 0, [40.0, 0.0, 0.0, 0.0, 0.1]),
        ("svi", 0, [0.01, -0.1, 0.0, 0.0, 0.1]),
        ("svi", 0, [0.01, 0.1, 1.5, 0.0, 0.1]),
        ("svi", 0, [0.01, 0.1, 0.0, 0.0, -0.1]),
        ("expiry_time", 0, MARKET.valuation_time * 3),
    ],
)
def test_what_no_market_has(field: str, row: int, value: Any) -> None:
    with pytest.raises(DataError) as caught:
        changed(MARKET, field, row, value)
    assert field in {problem.field for problem in caught.value.problems}


def test_a_time_in_seconds_is_refused() -> None:
    with pytest.raises(DataError, match="seconds"):
        replace(MARKET, valuation_time=MARKET.valuation_time // 1_000)


@pytest.mark.parametrize("moment", [math.nan, math.inf, "noon", None, 1.5, True, UNDATED])
def test_a_moment_is_a_whole_number(moment: Any) -> None:
    with pytest.raises(DataError, match="valuation_time"):
        replace(MARKET, valuation_time=moment)


@pytest.mark.parametrize(
    ("table", "field", "values"),
    [
        (INSTRUMENTS, "kind", INSTRUMENTS.kind + 0.5),
        (INSTRUMENTS, "underlying_idx", INSTRUMENTS.underlying_idx + 0.5),
        (INSTRUMENTS, "strike", INSTRUMENTS.strike + 1j),
        (INSTRUMENTS, "strike", ["x"] * len(INSTRUMENTS)),
        (INSTRUMENTS, "multiplier", np.ma.masked_greater(INSTRUMENTS.multiplier, 5.0)),
        (INSTRUMENTS, "multiplier", np.ones(len(INSTRUMENTS), bool)),
        (INSTRUMENTS, "instrument_id", np.arange(len(INSTRUMENTS))),
        (MARKET, "expiry_underlying", MARKET.expiry_underlying + 0.5),
        (MARKET, "expiry_time", np.full(6, np.nan)),
    ],
)
def test_columns_are_never_cut_to_fit(table: Any, field: str, values: Any) -> None:
    with pytest.raises(DataError, match=field):
        replace(table, **{field: values})


def test_a_tick_too_coarse_for_a_contract() -> None:
    for tick in (1e-5, 0.1, 1.0):
        with pytest.raises(NumericalError, match="too coarse for ETH"):
            revalue(INSTRUMENTS, MARKET, GRID, tick=tick)
    fine = changed(INSTRUMENTS, "quantity_step", ROW["BTC-PERPETUAL"], 1e-6)
    with pytest.raises(NumericalError, match=r"BTC-PERPETUAL.*tick=1e-10"):
        revalue(fine, MARKET, GRID)
    exact = revalue(fine, MARKET, GRID, tick=None)
    advised = revalue(fine, MARKET, GRID, tick=1e-10)
    assert np.allclose(advised.pnl, exact.pnl, rtol=1e-4, atol=1e-9)


def test_a_tick_too_fine_for_doubles() -> None:
    exact = revalue(INSTRUMENTS, MARKET, GRID, tick=None)
    largest = float(max(np.abs(exact.rows).max(), np.abs(exact.value_rows).max()))
    with pytest.raises(NumericalError, match="too fine"):
        revalue(INSTRUMENTS, MARKET, GRID, tick=largest / 2.0**53 / 1.1)
    assert revalue(INSTRUMENTS, MARKET, GRID, tick=largest / 2.0**53 * 1.1).tick is not None


@pytest.mark.parametrize("number", [True, "1e-6", 0, -1, 2.0, math.nan])
def test_ticks_are_numbers(number: Any) -> None:
    with pytest.raises(ConfigError, match="tick"):
        revalue(INSTRUMENTS, MARKET, GRID, tick=number)


@pytest.mark.parametrize("threads", [0, -3, 1.5, "2", True])
def test_threads_are_whole_numbers(threads: Any) -> None:
    for call in (
        lambda: revalue(INSTRUMENTS, MARKET, GRID, threads=threads),
        lambda: worst_loss(BOOK, ARRAYS, threads=threads),
        lambda: margin(BOOK, ARRAYS, MARKET, MODEL, threads=threads),
    ):
        with pytest.raises(ConfigError, match="threads"):
            call()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("groups", [np.zeros(len(INSTRUMENTS), int), INSTRUMENTS.expiry_idx[::-1]])
def test_groups_that_would_net_two_underlyings(backend: str, groups: Any) -> None:
    """Gains of one underlying must not offset losses of another because a book was grouped otherwise."""
    book = Book.from_arrays(["a", "a"], [ROW["BTC-PERPETUAL"], ROW["ETH-PERPETUAL"]], [-1e5, 1e6], groups)
    try:
        loss, _ = worst_loss(book, ARRAYS, netting="per_underlying", backend=backend)
    except DataError as error:
        assert error.problems[0].field == "group"
    else:
        right = Book.from_arrays(["a", "a"], book.instrument_idx, book.quantity, INSTRUMENTS.expiry_idx)
        assert loss == worst_loss(right, ARRAYS, netting="per_underlying")[0]
    assert worst_loss(book, ARRAYS, netting="joint", backend=backend)[0][0] >= 0.0


@pytest.mark.parametrize("groups", [np.zeros(3), INSTRUMENTS.expiry_idx + 0.5, ["x"] * len(INSTRUMENTS)])
def test_groups_are_whole_numbers_for_every_instrument(groups: Any) -> None:
    with pytest.raises(DataError):
        Book.from_arrays(["a"], [len(INSTRUMENTS) - 1], [1.0], groups)


@pytest.mark.parametrize("names", [["a\0", "a"], [1, "1"], [None, "a"], [math.nan, "a"], ["", "a"], [1.5, 2.5]])
def test_accounts_are_never_merged_by_their_names(names: Any) -> None:
    with pytest.raises(DataError, match="account_id"):
        Book.from_arrays(names, [0, 1], [1.0, 1.0])


@pytest.mark.parametrize("quantity", [["1", "x"], [True, False], [None, 1.0]])
def test_quantities_are_numbers(quantity: Any) -> None:
    with pytest.raises(DataError, match="quantity"):
        Book.from_arrays(["a", "b"], [0, 1], quantity)


@pytest.mark.parametrize(
    "order",
    [("BTC-PERPETUAL", "2"), ("BTC-PERPETUAL", None), ("BTC-PERPETUAL",), "BTC=1", ("BTC-PERPETUAL", Decimal(1))],
)
def test_orders_are_pairs_of_a_name_and_a_number(order: Any) -> None:
    with pytest.raises(DataError, match="orders"):
        what_if(BOOK, ARRAYS, MARKET, MODEL, account=str(BOOK.account_id[0]), orders=[order])


@pytest.mark.parametrize("asset", ["BTC", "USD"])
def test_cash_is_no_order(asset: str) -> None:
    with pytest.raises(DataError, match="no order"):
        what_if(BOOK, ARRAYS, MARKET, MODEL, account=str(BOOK.account_id[0]), orders=[(asset, 1.0)])


@pytest.mark.parametrize("account", [5, None])
def test_accounts_are_asked_for_by_name(account: Any) -> None:
    with pytest.raises(DataError, match="no such account"):
        what_if(BOOK, ARRAYS, MARKET, MODEL, account=account, orders=[])


@pytest.mark.parametrize(
    "params", [{"days": 5}, {"days": ("a",)}, {"tail_moves": None}, {"dynamics": None}, {"dynamics": {}}]
)
def test_parameters_of_the_wrong_type(params: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(params))):
        grid.Params(**params)


@pytest.mark.parametrize("haircuts", [None, [("BTC", 0.1)], 0.1])
def test_haircuts_are_given_by_name(haircuts: Any) -> None:
    with pytest.raises(ConfigError, match="haircut_by_asset"):
        worst_case.Params(haircut_by_asset=haircuts)


def test_parameters_are_no_model() -> None:
    with pytest.raises(ConfigError, match=r"worst_case\.Model"):
        margin(BOOK, ARRAYS, MARKET, worst_case.Params())  # type: ignore[arg-type]


def test_order_of_haircuts_leaves_the_hash_alone() -> None:
    models = [
        worst_case.Model(worst_case.Params(haircut_by_asset=dict(pairs)))
        for pairs in ([("BTC", 0.1), ("ETH", 0.2)], [("ETH", 0.2), ("BTC", 0.1)])
    ]
    first, second = (margin(BOOK, ARRAYS, MARKET, model) for model in models)
    assert first.parameters_hash == second.parameters_hash != margin(BOOK, ARRAYS, MARKET, MODEL).parameters_hash


def test_a_margin_is_never_computed_from_an_expansion(run: Any) -> None:
    arrays = revalue(INSTRUMENTS, MARKET, GRID, method="taylor")
    with pytest.raises(ConfigError, match="taylor"):
        margin(BOOK, arrays, MARKET, MODEL)
    done = run("arrays", "--method", "taylor", "--output", "t.npz")
    assert done.code == 0 and "from full revaluation" in done.err
    check_fails(run("margin", "--arrays", "t.npz"), "taylor", "full")


def test_arrays_belong_to_one_market() -> None:
    other = changed(MARKET, "mark_vol", np.flatnonzero(np.isfinite(MARKET.mark_vol))[0], 0.6)
    with pytest.raises(DataError, match="another market"):
        margin(BOOK, ARRAYS, other, MODEL)


def rewritten(change: dict[str, Any], metadata: dict[str, Any]) -> bytes:
    """An array file that somebody else made, with a right checksum."""
    with np.load(io.BytesIO(ARRAYS.to_bytes()), allow_pickle=False) as archive:
        columns = {name: archive[name] for name in archive.files}
    stated = {**json.loads(str(columns.pop("metadata"))), **metadata}
    columns |= change
    stated["checksum"] = _checksum(columns, {name: value for name, value in stated.items() if name != "checksum"})
    buffer = io.BytesIO()
    np.savez(buffer, metadata=np.array(json.dumps(stated)), **columns)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("change", "metadata", "field"),
    [
        ({}, {"currency": "EUR"}, "currency"),
        ({}, {"currency": 5}, "currency"),
        ({}, {"valuation_time_ms": "abc"}, "valuation_time_ms"),
        ({}, {"valuation_time_ms": 10**30}, "valuation_time_ms"),
        ({}, {"method": "guess"}, "method"),
        ({"cash_row": np.full(len(ARRAYS), ROW["BTC-PERPETUAL"])}, {}, "cash_row"),
        ({"kind": ARRAYS.kind + 0.5}, {}, "kind"),
        ({"rows": ARRAYS.rows + 1j}, {}, "rows"),
        ({"rows": np.where(ARRAYS.kind[:, None] == Kind.PERPETUAL, 0.0, ARRAYS.rows)}, {}, "rows"),
        (
            {"rows": np.rint(ARRAYS.rows / 1e6), "value_rows": np.rint(ARRAYS.value_rows / 1e6)},
            {"tick": 1.0},
            "notional",
        ),
        ({"underlying_idx": np.zeros(len(ARRAYS), int)}, {}, "underlying_idx"),
        ({}, {"currency": "BTC"}, "currency"),
        ({"terms_currency_id": np.array(["BTC", "USD", "ETH"])}, {"currency": "BTC"}, "value_rows"),
        ({"value_rows": ARRAYS.value_rows * np.where(ARRAYS.instrument_id == "USD", 2.0, 1.0)}, {}, "value_rows"),
        ({"value_rows": ARRAYS.value_rows + (ARRAYS.kind == Kind.FUTURE)}, {}, "value_rows"),
        ({"value_rows": -ARRAYS.value_rows}, {}, "value_rows"),
    ],
)
def test_files_of_strangers_are_checked(change: dict[str, Any], metadata: dict[str, Any], field: str) -> None:
    assert RiskArrays.from_bytes(rewritten({}, {})).digest == ARRAYS.digest
    with pytest.raises(DataError) as caught:
        RiskArrays.from_bytes(rewritten(change, metadata), "a.npz")
    assert field in {problem.field for problem in caught.value.problems}


@pytest.mark.parametrize(
    ("old", "new", "texts"),
    [
        ('"discount": [', '"discount": [0.05], "discount": [', ("discount", "twice")),
        ('"format":', '"haircut": 0.5, "format":', ("haircut", "unknown entry")),
        ('"BTC-27FEB26-40000-C"', '"\\ud800"', ("instruments.instrument",)),
        ('"BTC-27FEB26-40000-C"', '"BTC\\u0000"', ("instruments.instrument",)),
        ('"multiplier": [1.0', '"multiplier": [0.01', ("multiplier", "0.01")),
    ],
)
def test_market_files_that_say_two_things(run: Any, tmp_path: Path, old: str, new: str, texts: tuple[str, ...]) -> None:
    text = gzip.decompress(sample_path(MARKET_FILE).read_bytes()).decode()
    assert old in text
    (tmp_path / "m.json").write_text(text.replace(old, new, 1))
    check_fails(run("greeks", "--instruments", "--market", "m.json"), "m.json", *texts)


def test_texts_of_any_kind_have_a_digest() -> None:
    assert hash_parts([np.array(["\ud800"])]) != hash_parts([np.array(["\ud801"])])
    assert {f.name for f in fields(Market)} and {f.name for f in fields(Instruments)}


def test_a_coin_as_margin_currency_stands_alone() -> None:
    """Beside it other currencies would have to move against it; standing still they would ask for no margin."""
    with pytest.raises(DataError, match="only currency"):
        replace(MARKET, currency_id=np.array(["BTC", "USD", "ETH"]), currency_underlying=np.array([-1, -1, 1]))


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("currency_id", ["USD", "USD", "ETH"]),
        ("currency_id", ["USD", "", "ETH"]),
        ("underlying_id", ["BTC", "BTC"]),
        ("expiry_time", MARKET.expiry_time[[0, 0, 2, 3, 4, 5]]),
    ],
)
def test_names_and_expiries_stand_once(field: str, values: Any) -> None:
    with pytest.raises(DataError, match=field):
        replace(MARKET, **{field: np.asarray(values)})


@pytest.mark.parametrize(
    ("field", "name", "value"),
    [
        ("sign", "BTC-PERPETUAL", -1.0),
        ("multiplier", "USD", 100.0),
        ("payoff", "BTC", int(Payoff.INVERSE)),
        ("instrument_id", "BTC-PERPETUAL", ""),
        ("currency_idx", "ETH", 1),
    ],
)
def test_terms_a_kind_cannot_have(field: str, name: str, value: Any) -> None:
    with pytest.raises(DataError, match=field):
        changed(INSTRUMENTS, field, ROW[name], value)


@pytest.mark.parametrize(
    "change",
    [
        {"group_ptr": [0, 50]},
        {"group_ptr": [1, 2]},
        {"account_ptr": [0, 0]},
        {"account_ptr": [0]},
        {"quantity": [1.0]},
        {"instrument_idx": [-1, 2]},
        {"instrument_idx": [[1, 2]]},
    ],
)
def test_a_book_leads_to_its_positions(change: dict[str, Any]) -> None:
    book = Book.from_arrays(["a", "a"], [1, 2], [1.0, 1.0])
    with pytest.raises(DataError, match="from_arrays"):
        replace(book, **{name: np.asarray(values) for name, values in change.items()})


@pytest.mark.parametrize(
    "forward",
    [np.ma.array([100.0, 101.0], mask=[False, True]), np.array([1 + 2j]), np.datetime64("2026-01-01"), True, "100"],
)
def test_prices_are_of_numbers(forward: Any) -> None:
    with pytest.raises(DataError, match="forward"):
        price(forward, 110.0, 0.5, 0.4, 1)
    with pytest.raises(DataError, match="forward"):
        price(10**400, 110.0, 0.5, 0.4, 1)


@pytest.mark.parametrize(
    ("arguments", "streams", "code"),
    [
        ("margin --check", "2>&1 >/dev/null | true", 1),
        ("margin --check", ">&-", 1),
        ("margin --check", "2>&-", 1),
        ("margin --check --account box-01", ">&- 2>&-", 0),
        ("margin --json", ">&-", 0),
        ("margin --positions nowhere.csv", "2>&-", 2),
        ("margin --positions nowhere.csv", "2>&1 >/dev/null | true", 2),
        ("margin --positions -", "<&-", 2),
    ],
)
def test_closed_streams_do_not_change_how_a_command_ends(arguments: str, streams: str, code: int) -> None:
    command = f"{sys.executable} -m portfolio_margin {arguments} {streams}; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], cwd=ROOT, check=False)
    assert done.returncode == code


def test_our_own_files_are_read_whatever_moves() -> None:
    """A stress of one underlying leaves the futures of the other alone, and a tiny move rounds to no tick."""
    for moves in (np.array([[-0.3, 0.0]]), np.array([[1e-9, 1e-9]])):
        arrays = revalue(INSTRUMENTS, MARKET, make(["s"], moves))
        assert RiskArrays.from_bytes(arrays.to_bytes()).digest == arrays.digest
    for tick in (np.float64(1e-6), np.float32(1e-6)):
        arrays = revalue(INSTRUMENTS, MARKET, GRID, tick=tick)  # type: ignore[arg-type]
        assert RiskArrays.from_bytes(arrays.to_bytes()).tick == float(tick)


def test_cash_is_named_like_its_currency() -> None:
    """Or it would not be found as the margin currency, and lose a haircut that does not apply to it."""
    renamed = changed(INSTRUMENTS, "instrument_id", ROW["USD"], "USD-CASH")
    with pytest.raises(DataError, match="name of its currency"):
        revalue(renamed, MARKET, GRID)
