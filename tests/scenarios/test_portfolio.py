"""portfolio_pnl: the naive twin, QuantLib, expiry and no vol, and the limits of what it takes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import QuantLib as ql

from pricing import ConfigError, DataError, price
from scenarios import portfolio_pnl
from scenarios.backends import portfolio_numba
from tests.naive import scenarios as naive

MOVES = (np.linspace(-0.3, 0.3, 13), [-0.5, 0.0, 0.4], [0.0, 1.0 / 365.0, 0.1])
NAMES = ("forward", "strike", "tau", "vol", "sign", "quantity")
BACKENDS = ("numpy", "numba")


def legs(count: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Options from an hour to two years, near and far, some of them expired or without vol."""
    random = np.random.default_rng(seed)
    tau = np.exp(random.uniform(np.log(1e-4), np.log(2.0), count))
    vol = random.uniform(0.05, 2.0, count)
    tau[::17], vol[5::19] = 0.0, 0.0
    forward = random.uniform(90.0, 110.0, count)
    strike = forward * np.exp(random.normal(0.0, 0.3, count))
    return {
        "forward": forward,
        "strike": strike,
        "tau": tau,
        "vol": vol,
        "sign": np.where(random.random(count) < 0.5, 1.0, -1.0),
        "quantity": np.round(random.normal(0.0, 10.0, count), 1),
        "discount": np.exp(-0.04 * tau),
    }


def pnl_of(held: dict[str, np.ndarray], backend: str = "numba", **options: Any) -> np.ndarray:
    given = [held[name] for name in NAMES]
    return portfolio_pnl(*given, MOVES, held["discount"], backend=backend, **options).pnl


def gross(held: dict[str, np.ndarray]) -> float:
    return float(np.abs(held["quantity"]) @ held["forward"])


@pytest.mark.parametrize("backend", BACKENDS)
def test_naive_twin(backend: str) -> None:
    held = legs(60)
    rows = [
        dict(zip(held, row, strict=True)) for row in zip(*(column.tolist() for column in held.values()), strict=True)
    ]
    expected = naive.portfolio_pnl(rows, *(list(map(float, moves)) for moves in MOVES))
    found = pnl_of(held, backend)
    assert found.shape == (3, 3, 13)
    assert np.abs(found.ravel() - expected).max() < 1e-13 * gross(held)


def test_every_leg_agrees_with_the_reference() -> None:
    """One leg at a time, so that nothing hides in a sum: within a few roundings of the larger of forward and strike."""
    held = legs(150, seed=3)
    for n in range(150):
        one = {name: column[n : n + 1] for name, column in held.items()} | {"quantity": np.ones(1)}
        size = max(1.3 * held["forward"][n], held["strike"][n])
        assert np.abs(pnl_of(one) - pnl_of(one, "numpy")).max() < 2e-15 * size


def test_quantlib() -> None:
    held = legs(40, seed=5)
    tau, vol = np.maximum(held["tau"], 0.02), np.maximum(held["vol"], 0.1)
    found = portfolio_pnl(held["forward"], held["strike"], tau, vol, held["sign"], held["quantity"], MOVES).pnl
    for v, vol_move in enumerate(MOVES[1]):
        for m, move in enumerate(MOVES[0]):
            total = 0.0
            for n in range(40):
                kind = ql.Option.Call if held["sign"][n] > 0 else ql.Option.Put
                terms = kind, float(held["strike"][n])
                root = float(np.sqrt(tau[n]))
                after = ql.blackFormula(*terms, float(held["forward"][n] * (1 + move)), vol[n] * (1 + vol_move) * root)
                total += held["quantity"][n] * (
                    after - ql.blackFormula(*terms, float(held["forward"][n]), vol[n] * root)
                )
            assert found[v, 0, m] == pytest.approx(total, abs=1e-12 * gross(held))


def test_threads_and_groups_leave_no_trace() -> None:
    """Several groups of legs, the last one not full, and enough of them for two threads."""
    held = legs(8 * portfolio_numba.GROUP_LEGS - 5, seed=7)
    assert len(held["tau"]) * 117 > 2 * portfolio_numba.PRICES_OF_A_THREAD
    found = [pnl_of(held, threads=threads) for threads in (1, 2)]
    assert found[0].tobytes() == found[1].tobytes()
    assert np.abs(found[0] - pnl_of(held, "numpy")).max() < 1e-14 * gross(held)


@pytest.mark.parametrize("vol", [0.0, 1e-150, 1e-9, 1e-4, 3.0, 1_000.0])
@pytest.mark.parametrize("tau", [0.0, 1e-200, 1e-6, 1_000.0])
def test_vols_and_times_of_any_size(tau: float, vol: float) -> None:
    """Beside `price`, which keeps the digits of every price: here they are those of the smaller of F and K."""
    strike = np.array([1e-99, 1e-3, 90.0, 99.999_999, 100.0, 100.000_001, 1e3, 1e99])
    for sign in (1.0, -1.0):
        for grown in (99.0, 100.0):
            value = price(grown, strike, tau=tau, vol=vol, sign=sign) - price(
                100.0, strike, tau=tau, vol=vol, sign=sign
            )
            for number, expected in enumerate(value.tolist()):
                given = 100.0, strike[number], tau, vol, sign, 1.0, (grown / 100.0 - 1.0, 0.0, 0.0)
                found = portfolio_pnl(*given).pnl[0, 0, 0]
                # A put on a strike of any size is worth about that strike.
                assert found == pytest.approx(expected, abs=1e-13 + 4e-16 * float(strike[number]))


@pytest.mark.parametrize("backend", BACKENDS)
def test_no_move_gains_nothing_and_the_worst_is_named(backend: str) -> None:
    call = portfolio_pnl(100.0, 110.0, 0.25, 0.6, 1.0, 2.0, ([-0.1, 0.0, 0.1], [0.0], [0.0]), backend=backend)
    assert call.pnl[0, 0, 1] == pytest.approx(0.0, abs=1e-13)
    assert call.worst == (0, 0, 0)
    lost = 2.0 * (price(100.0, 110.0, tau=0.25, vol=0.6, sign=1.0) - price(90.0, 110.0, tau=0.25, vol=0.6, sign=1.0))
    assert call.loss == pytest.approx(float(lost), rel=1e-13)
    safe = portfolio_pnl(100.0, 110.0, 0.25, 0.6, 1.0, 2.0, (0.1, [0.0, 0.5], 0.0), backend=backend)
    assert (safe.loss, safe.worst) == (0.0, None)
    # Both moves lose the same: of equals the first.
    pair = portfolio_pnl([100.0, 100.0], 100.0, 0.0, 0.5, [1.0, -1.0], -1.0, ([0.1, -0.1], 0.0, 0.0), backend=backend)
    assert pair.worst == (0, 0, 0) and pair.loss == pytest.approx(10.0)


def test_columns_of_any_kind_compile_nothing_anew() -> None:
    """Scalars, lists, and arrays that may be written to or not are one signature of the kernel."""
    held = {name: column[:9] for name, column in legs(9).items()}
    expected = pnl_of(held)
    signatures = len(portfolio_numba._kernel().signatures)
    frozen = {name: column.copy() for name, column in held.items()}
    for column in frozen.values():
        column.flags.writeable = False
    assert pnl_of(frozen).tobytes() == expected.tobytes()
    assert pnl_of({name: column.tolist() for name, column in held.items()}).tobytes() == expected.tobytes()
    portfolio_pnl(100.0, held["strike"], 0.5, 0.4, 1.0, [1.0] * 9, (0.1, 0.0, 0.0))
    assert len(portfolio_numba._kernel().signatures) == signatures


@pytest.mark.parametrize("backend", BACKENDS)
def test_arguments_broadcast(backend: str) -> None:
    """Arrays of any shape are the legs that they broadcast to, and a discount of 1 is none, however it is given."""
    strike, vol = np.array([[90.0], [100.0], [120.0]]), np.array([0.3, 0.5])
    found = portfolio_pnl(100.0, strike, 0.3, vol, [1.0, -1.0], 2, MOVES, backend=backend)
    rows = [np.ravel(column) for column in np.broadcast_arrays(100.0, strike, 0.3, vol, [1.0, -1.0], 2.0)]
    single = portfolio_pnl([100.0], rows[1], [0.3], *rows[3:], MOVES, [1.0], backend=backend)
    assert single.pnl.tobytes() == found.pnl.tobytes()
    for discount in (1.0, 1, np.float64(1.0), np.ones(6), [1.0] * 6):
        assert portfolio_pnl(*rows, MOVES, discount, backend=backend).pnl.tobytes() == found.pnl.tobytes()
    turned = [column[::-1] for column in rows]
    assert portfolio_pnl(*turned, MOVES, backend=backend).pnl == pytest.approx(found.pnl, abs=1e-12)
    with pytest.raises(DataError, match="do not broadcast"):
        portfolio_pnl(100.0, strike, 0.3, [0.3, 0.5, 0.7, 0.9], [1.0, -1.0], 2, MOVES, backend=backend)


BAD = {
    "forward": 0.0, "strike": -1.0, "tau": -0.1, "vol": np.nan, "sign": 0.5, "quantity": np.inf, "discount": 0.0,
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_legs_are_named(name: str) -> None:
    held = {key: column[:5].copy() for key, column in legs(10).items()}
    held[name][3] = BAD[name]
    with pytest.raises(DataError, match=rf"portfolio_pnl, row 3, {name} = "):
        pnl_of(held)


@pytest.mark.parametrize(
    ("moves", "message"),
    [
        (([-1.0], [0.0], [0.0]), "price moves = -1.0: must be above -1"),
        (([0.0], [-1.1], [0.0]), "vol moves = -1.1"),
        (([0.0], [0.0], [np.nan]), "time steps = nan"),
        (([], [0.0], [0.0]), "price moves"),
        (([0.0], [0.0]), "2 arrays"),
        ((np.zeros(70), np.zeros(60), [0.0]), "4,200 scenarios: at most 4,096"),
    ],
)
def test_bad_moves_are_named(moves: Any, message: str) -> None:
    with pytest.raises((DataError, ConfigError), match=message):
        portfolio_pnl(100.0, 100.0, 0.1, 0.5, 1.0, 1.0, moves)


@pytest.mark.parametrize("backend", ["numpy", "numba"])
@pytest.mark.parametrize("quantity", [1.1e100, -1e300, 1.7e308])
def test_more_than_sums_can_hold_is_refused(backend: str, quantity: float) -> None:
    moves = np.linspace(-0.16, 0.16, 17), [0.0], [0.0]
    with pytest.raises(DataError, match=r"quantity = .*must be at most 1e\+100"):
        portfolio_pnl(100.0, 100.0, 0.1, 0.5, 1.0, quantity, moves, backend=backend)
    largest = portfolio_pnl(9e99, 9e99, 0.1, 0.5, 1.0, [-1e100] * 600, moves, backend=backend)
    assert np.isfinite(largest.pnl).all() and largest.loss > 1e200
    with pytest.raises(DataError, match=r"above 0 and at most 1e\+06"):
        portfolio_pnl(100.0, 100.0, 0.1, 0.5, 1.0, 1.0, moves, np.inf, backend=backend)


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_calls_that_are_long_lose_nothing_where_prices_rise(backend: str) -> None:
    random = np.random.default_rng(4)
    for _ in range(40):
        strike, tau = random.uniform(40_000, 110_000, 5), random.uniform(0.02, 0.5, 5)
        moves = np.linspace(0.0, 0.2, 21), [0.0, 0.5], [0.0]
        found = portfolio_pnl(68_000.0, strike, tau, 0.55, 1.0, random.uniform(0.1, 5.0, 5), moves, backend=backend)
        assert (found.loss, found.worst) == (0.0, None)
    tiny = portfolio_pnl(100.0, 100.0, 0.1, 0.5, 1.0, 1.0, (-1e-9, 0.0, 0.0), backend=backend)
    assert tiny.worst == (0, 0, 0) and tiny.loss == pytest.approx(5.3e-8, rel=0.02)


def test_what_it_does_not_take() -> None:
    with pytest.raises(ConfigError, match="backend = 'jax'"):
        portfolio_pnl(100.0, 100.0, 0.1, 0.5, 1.0, 1.0, (0.0, 0.0, 0.0), backend="jax")
    with pytest.raises(DataError, match="a leg at least"):
        portfolio_pnl([], [], 0.1, 0.5, 1.0, 1.0, (0.0, 0.0, 0.0))
