"""`greeks(only=...)`: the same numbers for those that are wanted, nothing for the others."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pricing import ConfigError, DataError, greeks, implied_vol
from pricing.backends import numba as kernels
from pricing.greek_names import GREEK_NAMES, THIRD_ORDER, names_of
from pricing.models import bachelier, black76
from pricing.price import BACKENDS

SEVEN = ("price", "delta", "gamma", "vega", "theta", "rho", "vanna", "volga")
OPTIONS: dict[str, dict[str, float]] = {
    "black76": {},
    "bachelier": {},
    "inverse": {},
    "displaced": {"displacement": 3.0},
    "black_scholes_merton": {"rate": 0.03, "dividend_yield": 0.01},
}


def options_of_all_kinds(size: int) -> tuple[np.ndarray, ...]:
    """forward, strike, tau, vol, sign: most within 8 deviations, some beyond, some expired, some without vol."""
    random = np.random.default_rng(size)
    forward, tau = random.uniform(50, 150, size), random.uniform(0.01, 2, size)
    vol, sign = random.uniform(0.05, 2, size), random.choice([-1.0, 1.0], size)
    strike = forward * np.exp(random.normal(0, 4, size) * vol * np.sqrt(tau))
    tau[::11], vol[5::13] = 0.0, 0.0
    return forward, strike, tau, vol, sign


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("model", OPTIONS)
def test_only_leaves_out_and_changes_nothing(model: str, backend: str) -> None:
    """Every name alone and some together, raw and in trader units, in the order asked for, returned or written."""
    columns = options_of_all_kinds(200)
    given: dict[str, Any] = {"model": model, "backend": backend, **OPTIONS[model]}
    for order, units in ((1, "trader"), (2, "raw"), (3, "trader")):
        names = names_of(model, order)
        everything = greeks(*columns, order=order, units=units, **given)
        assert tuple(everything) == names
        sets = [names[::-1], names[1::2], ("theta", "price"), *((name,) for name in names)]
        for only in sets:
            some = greeks(*columns, order=order, units=units, only=only, **given)
            out = {name: np.full(200, 7.0) for name in only}
            assert greeks(*columns, order=order, units=units, only=only, out=out, **given) is out
            assert tuple(some) == only
            for name in only:
                assert np.array_equal(some[name], everything[name]) and np.array_equal(out[name], everything[name])


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("size", [5, 40, 3_001])
def test_kernels_write_what_is_wanted(size: int, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With results past the caches and with usual stores, on any number of threads; None for what is not wanted."""
    forward, strike, tau, vol, sign = options_of_all_kinds(size)
    columns = (forward, strike, tau, vol, np.exp(-0.03 * tau), sign)
    for model in (black76, bachelier):
        expected = kernels.greeks(model, columns)
        for cached in (0, kernels.CACHED_ROWS):
            monkeypatch.setattr(kernels, "CACHED_ROWS", cached)
            for wanted in (SEVEN, ("price", "charm"), ("price",)):
                out = tuple(np.full(size, 7.0) if name in wanted else None for name in GREEK_NAMES)
                assert kernels.greeks(model, columns, threads, out=out) is out
                for name, result, right in zip(GREEK_NAMES, out, expected, strict=True):
                    assert (result is None) == (name not in wanted)
                    assert result is None or np.array_equal(result, right)
        monkeypatch.undo()


def test_a_scalar_and_bad_rows() -> None:
    """The shape is that of the arguments; a row that is no contract is named though its price is not wanted."""
    assert greeks(100.0, 110.0, 0.5, 0.3, 1, only=["vega"]) == {"vega": greeks(100.0, 110.0, 0.5, 0.3, 1)["vega"]}
    with pytest.raises(DataError, match=r"row 1.*vol.*-0\.3"):
        greeks([100.0, 100.0], 110.0, 0.5, [0.3, -0.3], 1, only=("vega",))


@pytest.mark.parametrize("only", [(), ("delta", "delta"), ("delta_pa",), "delta", ("Delta",)])
def test_names_that_it_does_not_have(only: Any) -> None:
    """No name, one name twice, one of another model, a text."""
    with pytest.raises(ConfigError, match=r"only = .*must be different names of price, delta, gamma"):
        greeks(100.0, 110.0, 0.5, 0.3, 1, only=only)
    assert set(THIRD_ORDER).isdisjoint(names_of("black76", 2))


def test_out_holds_what_is_wanted() -> None:
    """Neither more nor less."""
    for names in (("delta",), ("delta", "vega", "price")):
        with pytest.raises(DataError, match="must be a dict of arrays named delta, vega"):
            greeks(100.0, 110.0, 0.5, 0.3, 1, only=("delta", "vega"), out={name: np.empty(()) for name in names})


def test_a_row_has_the_same_bits_in_any_company() -> None:
    """In a vector of rows and among the few after the last one: the compiler fuses nothing as it likes."""
    size, few = 70_000, 7
    forward, strike, tau, vol, sign = options_of_all_kinds(size)
    columns = (forward, strike, tau, vol, np.exp(-0.05 * tau), sign)
    together = (kernels.value(black76, columns), *kernels.greeks(black76, columns))
    for start in range(0, size, few):
        part = tuple(column[start : start + few] for column in columns)
        alone = (kernels.value(black76, part), *kernels.greeks(black76, part))
        for ours, theirs in zip(alone, together, strict=True):
            assert np.array_equal(ours, theirs[start : start + few])


@pytest.mark.parametrize(
    ("given", "needed"),
    [({"only": ["speed"]}, 3), ({"only": ["gamma"], "order": 1}, 2), ({"only": ["gamma", "ultima"], "order": 1}, 3)],
)
def test_a_greek_of_a_higher_order_is_asked_for_with_that_order(given: dict[str, Any], needed: int) -> None:
    with pytest.raises(ConfigError, match=f"order={needed} is needed for .*{given['only'][-1]}"):
        greeks(100.0, 100.0, 0.5, 0.2, 1, **given)
    assert greeks(100.0, 100.0, 0.5, 0.2, 1, **{**given, "order": needed}).keys() == set(given["only"])


def test_letters_for_a_sign_and_a_model_without_a_vol_are_told_what_to_do() -> None:
    for ask in (lambda: greeks(100.0, 100.0, 0.5, 0.2, "C"), lambda: implied_vol(5.0, 100.0, 100.0, 0.5, ["C"])):
        with pytest.raises(DataError, match=r"sign = .*C.*\+1 for a call, -1 for a put"):
            ask()
    with pytest.raises(ConfigError, match=r"model = 'linear': its price does not depend on vol"):
        implied_vol(5.0, 100.0, 100.0, 0.5, 1, model="linear")


def test_one_array_for_two_names_is_refused() -> None:
    room = np.empty(4)
    for second in (room[:3], room[1:]):
        with pytest.raises(DataError, match=r"out\['vega'\].*must not share memory with out\['delta'\]"):
            greeks(
                100.0,
                [90.0, 100.0, 110.0],
                1.0,
                0.2,
                1,
                only=("delta", "vega"),
                out={"delta": room[:3], "vega": second},
            )
