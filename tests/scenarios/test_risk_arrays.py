"""The file of risk arrays: a stranger reads it, a damaged or doctored one is refused in words."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import numpy as np
import pytest

from pricing import DataError, EngineError
from pricing.digest import hash_parts
from pricing.resolve import resolve
from scenarios import RiskArrays, VolDynamics, revalue
from scenarios.families import grid, span
from scenarios.risk_arrays import FORMAT, SCENARIO_COLUMNS, TERMS_COLUMNS
from scenarios.shocks import make, same_scenarios
from scenarios.terms import BY_EXPIRY, Terms, implied_notional
from tests.examples import market_and_instruments

INSTRUMENTS, MARKET = market_and_instruments(strikes=3)
MOVES = make(["up", "down"], np.array([[0.1, 0.2], [-0.1, -0.2]]), dynamics=VolDynamics(vol_floor=0.01))
ARRAYS = revalue(INSTRUMENTS, MARKET, MOVES)
CONTENT = ARRAYS.to_bytes()


def same(first: RiskArrays, second: RiskArrays) -> bool:
    """Every field, bit for bit."""
    for field in fields(RiskArrays):
        ours, theirs = getattr(first, field.name), getattr(second, field.name)
        if isinstance(ours, np.ndarray):
            if ours.dtype != theirs.dtype or ours.tobytes() != theirs.tobytes() or theirs.flags.writeable:
                return False
        elif field.name == "scenario_set":
            if ours.dynamics != theirs.dynamics or not all(
                np.array_equal(getattr(ours, name), getattr(theirs, name)) for name in SCENARIO_COLUMNS
            ):
                return False
        elif field.name == "terms":
            if not all(
                getattr(ours, name).tobytes() == getattr(theirs, name).tobytes()
                and not getattr(theirs, name).flags.writeable
                for name in TERMS_COLUMNS
            ):
                return False
        elif ours != theirs:
            return False
    return True


def rewritten(edit: Callable[[Any], Any] | None = None, drop: tuple[str, ...] = (), **columns: Any) -> bytes:
    """The file with metadata or columns changed by somebody who knows the format and puts the right checksum."""
    with np.load(io.BytesIO(CONTENT)) as archive:
        content = {name: archive[name] for name in archive.files}
    metadata: Any = json.loads(str(content.pop("metadata")))
    del metadata["checksum"]
    content = {name: values for name, values in {**content, **columns}.items() if name not in drop}
    metadata = edit(metadata) if edit else metadata
    parts = [part for name in sorted(content) for part in (name, content[name])]
    checksum = hash_parts([*parts, json.dumps(metadata, sort_keys=True)])
    buffer = io.BytesIO()
    text = np.array(json.dumps({"checksum": checksum, **metadata}))
    np.savez_compressed(buffer, metadata=text, **content)
    return buffer.getvalue()


def refused(content: bytes) -> str:
    with pytest.raises(DataError) as caught:
        RiskArrays.from_bytes(content, "arrays.npz")
    (problem,) = caught.value.problems
    assert problem.file == "arrays.npz"
    assert problem.remedy
    return problem.field


@pytest.mark.parametrize("tick", [1e-6, 1e-8, None])
def test_round_trip(tick: float | None) -> None:
    for moves in (MOVES, grid.scenarios(grid.Params(), MARKET)):
        arrays = revalue(INSTRUMENTS, MARKET, moves, tick=tick)
        content = arrays.to_bytes()
        assert content == arrays.to_bytes()
        assert same(RiskArrays.from_bytes(content), arrays)
        assert RiskArrays.from_bytes(content).to_bytes() == content


def test_the_archive_holds_columns_and_nothing_else() -> None:
    """An option of the writer that an older numpy does not know would be stored as a column."""
    with np.load(io.BytesIO(CONTENT), allow_pickle=False) as archive:
        names = set(archive.files)
    columns = {f.name for f in fields(RiskArrays) if isinstance(getattr(ARRAYS, f.name), np.ndarray)}
    columns |= {f"scenario_{name}" for name in SCENARIO_COLUMNS} | {f"terms_{name}" for name in TERMS_COLUMNS}
    assert names == columns | {"metadata"}


def test_a_stranger_reads_the_file_with_numpy_alone() -> None:
    with np.load(io.BytesIO(CONTENT), allow_pickle=False) as archive:
        metadata = json.loads(str(archive["metadata"]))
        row = archive["instrument_id"].tolist().index("BTC-7D-68000-C")
        steps = -2.0 / archive["quantity_step"][row]
        pnl = metadata["tick"] * steps * archive["rows"][row]
    assert metadata["format"] == FORMAT
    assert pnl == pytest.approx(-2.0 * ARRAYS.pnl[ARRAYS.index_of()["BTC-7D-68000-C"]], rel=1e-15)


def test_a_rewritten_file_is_the_same_file() -> None:
    """The test's own writer changes nothing where it is told to change nothing."""
    assert same(RiskArrays.from_bytes(rewritten()), ARRAYS)
    assert same(RiskArrays.from_bytes(rewritten(rows=ARRAYS.rows)), ARRAYS)


def test_cut_short_anywhere() -> None:
    for length in range(0, len(CONTENT), 41):
        assert refused(CONTENT[:length]) == "content"


def test_not_such_a_file_at_all() -> None:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, a=np.ones(3))
    for content in (b"", b"hello", b"PK\x03\x04", b"\x1f\x8b\x08", buffer.getvalue()):
        assert refused(content) == "content"


def test_a_single_array_is_refused() -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.ones(3))
    assert refused(buffer.getvalue()) == "content"


def outcome(content: bytes) -> str:
    try:
        return "as it was" if same(RiskArrays.from_bytes(content, "x"), ARRAYS) else "other numbers"
    except DataError:
        return "refused"
    except Exception as error:
        return type(error).__name__


@pytest.mark.parametrize("mask", [0xFF, 0x01])
def test_a_damaged_byte_is_refused_in_words(mask: int) -> None:
    """Damage where no content lies (dates, names twice stored) does no harm."""
    found = {outcome(CONTENT[:n] + bytes([CONTENT[n] ^ mask]) + CONTENT[n + 1 :]) for n in range(0, len(CONTENT), 7)}
    assert "refused" in found
    assert found <= {"refused", "as it was"}


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"edit": lambda m: {**m, "format": "something else 2"}}, "format"),
        ({"edit": lambda m: {**m, "checksum": "0" * 64}}, "checksum"),
        ({"edit": lambda m: {k: v for k, v in m.items() if k != "dynamics"}}, "columns"),
        ({"edit": lambda m: {**m, "dynamics": {"unheard_of": 1.0}}}, "columns"),
        ({"drop": ("delta",)}, "columns"),
        ({"drop": ("scenario_weight",)}, "columns"),
        ({"rows": ARRAYS.rows[:, :1]}, "columns"),
        ({"extra": np.ones(3)}, "columns"),
    ],
)
def test_what_is_checked(change: dict[str, Any], field: str) -> None:
    assert refused(rewritten(**change)) == field


def test_bad_scenarios_in_a_file() -> None:
    for change in ({"scenario_weight": np.array([2.0, 1.0])}, {"scenario_price_move": np.array([[-1.0], [0.0]])}):
        with pytest.raises(EngineError):
            RiskArrays.from_bytes(rewritten(**change))


def replaced(field: str, row: Any, value: Any) -> dict[str, np.ndarray]:
    changed = getattr(ARRAYS, field).copy()
    changed[row] = value
    return {field: changed}


def terms_replaced(field: str, row: int, value: Any) -> dict[str, np.ndarray]:
    changed = getattr(ARRAYS.terms, field).copy()
    changed[row] = value
    return {f"terms_{field}": changed}


IMPOSSIBLE: dict[str, dict[str, Any]] = {
    "a gain that is no number": replaced("rows", (7, 0), math.nan),
    "an infinite gain": replaced("rows", (7, 0), math.inf),
    "half a tick": replaced("rows", (7, 0), 0.5),
    "a value that is no number": replaced("value_rows", 7, math.nan),
    "half a tick of value": replaced("value_rows", 7, 0.5),
    "a delta that is no number": replaced("delta", 7, math.nan),
    "a kind that is none": replaced("kind", 7, 9),
    "cash in no row": replaced("cash_row", 7, 10_000_000),
    "an expiry without a name": replaced("expiry_idx", 7, 99),
    "an underlying without a name": replaced("underlying_idx", 7, 99),
    "a step of nothing": replaced("quantity_step", 7, 0.0),
    "one contract twice": {"instrument_id": np.full(len(ARRAYS), "BTC")},
    "a column cut short": {"kind": ARRAYS.kind[:-1]},
    "a table of deltas": {"delta": np.ones((len(ARRAYS), 2))},
    "an option without a strike": terms_replaced("strike", 7, math.nan),
    "a future with a strike": {"terms_strike": np.full(len(ARRAYS), 100.0)},
    "a sign of a half": terms_replaced("sign", 7, 0.5),
    "another multiplier": terms_replaced("multiplier", 7, 2.0),
    "a vol that is no number": terms_replaced("vol", 7, math.nan),
    "a payoff that is none": terms_replaced("payoff", 7, 2),
    "an exercise that is none": terms_replaced("exercise", 7, 5),
    "a currency that is none": terms_replaced("currency_idx", 7, 9),
    "a spot of nothing": terms_replaced("spot", 0, 0.0),
    "an expiry of no underlying": terms_replaced("expiry_underlying", 0, 7),
    "an expiry of another underlying": terms_replaced("expiry_underlying", 0, 1),
    "another forward": terms_replaced("forward", 0, 1.0),
    "a discount above 2": terms_replaced("discount", 0, 3.0),
    "more than all of a forward fixed": terms_replaced("fixed_share", 0, 1.5),
    "an index that is fixed": terms_replaced("fixed_share", 2, 0.5),
    "a currency worth nothing": terms_replaced("fx", 1, 0.0),
    "margin currency at another rate": terms_replaced("fx", 0, 2.0),
    "terms in another currency": terms_replaced("currency_id", 0, "EUR"),
    "a coin moved by nobody known": terms_replaced("currency_underlying", 1, 5),
    "too few forwards": {f"terms_{name}": getattr(ARRAYS.terms, name)[:-1] for name in BY_EXPIRY},
    "a forward too few": {"terms_forward": ARRAYS.terms.forward[:-1]},
    "scenarios of other expiries": {"scenario_basis_move": np.zeros((3, 1))},
}


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_impossible_columns_are_refused(name: str) -> None:
    """Someone else's file meets the same checks as our own tables: a NaN gain must not end as a margin of 0."""
    with pytest.raises(EngineError):
        RiskArrays.from_bytes(rewritten(**IMPOSSIBLE[name]))


def test_the_terms_are_those_of_contracts_and_market() -> None:
    terms = ARRAYS.terms
    for name in (f.name for f in fields(Terms) if f.name not in ("vol", "strike")):
        source = INSTRUMENTS if hasattr(INSTRUMENTS, name) else MARKET
        assert np.array_equal(getattr(terms, name), getattr(source, name))
    option = INSTRUMENTS.is_option
    assert np.array_equal(terms.strike[option], INSTRUMENTS.strike[option])
    assert np.isnan(terms.strike[~option]).all()
    assert np.array_equal(terms.vol, resolve(INSTRUMENTS, MARKET).vol)
    assert terms.is_inverse.sum() == (INSTRUMENTS.payoff == 1).sum()
    assert ARRAYS.years_to_expiry == pytest.approx([7 / 365, 60 / 365, 0.0] * 2)
    assert implied_notional(terms, ARRAYS.kind, ARRAYS.expiry_idx) == pytest.approx(ARRAYS.notional, rel=1e-14)


def test_scenarios_made_from_the_file_are_those_of_the_market() -> None:
    rows = RiskArrays.from_bytes(CONTENT).market_rows
    for name in rows._fields:
        assert np.array_equal(getattr(rows, name), getattr(MARKET, name))
    assert same_scenarios(grid.scenarios(grid.Params(), rows), grid.scenarios(grid.Params(), MARKET))
    ranges = span.Params(price_scan_range=500.0, vol_scan_range=0.1)
    assert same_scenarios(span.scenarios(ranges, rows), span.scenarios(ranges, MARKET))


def test_the_format_before_is_refused_by_name() -> None:
    content = rewritten(lambda m: {**m, "format": "portfolio-margin risk arrays 3"})
    with pytest.raises(DataError, match=r"risk arrays 3': this version reads 'portfolio-margin risk arrays 4'"):
        RiskArrays.from_bytes(content, "arrays.npz")


def test_amounts_per_contract() -> None:
    row = ARRAYS.index_of()
    option, coin = row["BTC-7D-68000-C"], row["BTC"]
    assert (ARRAYS.unit[option], ARRAYS.unit[coin]) == (0.1, 1.0)
    assert ARRAYS.pnl[option, 0] == pytest.approx(ARRAYS.rows[option, 0] * 1e-6 / 0.1)
    assert ARRAYS.pnl[coin].tolist() == pytest.approx([6_800.0, -6_800.0])
    assert ARRAYS.value[coin] == pytest.approx(68_000.0)
    assert len(ARRAYS) == len(INSTRUMENTS)
    assert ARRAYS.tick_size == 1e-6
    assert revalue(INSTRUMENTS, MARKET, MOVES, tick=None).tick_size == 1.0


def test_hashes_tell_things_apart() -> None:
    pairs = [
        (["ab", "c"], ["a", "bc"]),
        ([np.zeros(2), np.zeros(1)], [np.zeros(1), np.zeros(2)]),
        ([np.zeros(2)], [np.zeros((1, 2))]),
        ([np.zeros(1, np.int64)], [np.zeros(1)]),
        ([0.0], [-0.0]),
        ([None], ["None"]),
    ]
    for first, second in pairs:
        assert hash_parts(first) != hash_parts(second)
        assert hash_parts(first) == hash_parts(list(first))
