"""What every pricing model promises; the test walks pricing/models, so a new file is put through it untouched."""

from __future__ import annotations

import ast
import functools
import math
import pkgutil
import subprocess
import sys
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import pricing.models
from pricing import greeks, price
from pricing.greek_names import GREEK_NAMES
from pricing.price import BACKENDS
from pricing.resolve import load_model
from tests.vectors import ROOT

FILES = sorted(module.name for module in pkgutil.iter_modules(pricing.models.__path__))
MODELS = [name for name in FILES if hasattr(load_model(name), "value")]
RATE = 0.03


def points(size: int = 200, seed: int = 5) -> tuple[np.ndarray, ...]:
    """forward near 100, strike, tau, vol, sign of ordinary contracts."""
    random = np.random.default_rng(seed)
    forward = random.uniform(60, 150, size)
    strike = forward * np.exp(random.normal(0, 0.25, size))
    tau, vol = np.exp(random.uniform(-5, 1, size)), np.exp(random.uniform(-2.5, 0.5, size))
    return forward, strike, tau, vol, random.choice([-1.0, 1.0], size)


def has_strike(name: str) -> bool:
    return float(price(100.0, 90.0, 1.0, 0.2, 1, model=name)) != float(price(100.0, 95.0, 1.0, 0.2, 1, model=name))


OPTIONS = [name for name in MODELS if has_strike(name)]


def test_a_model_is_a_formula_or_is_solved_and_tested_by_itself() -> None:
    for name in sorted(set(FILES) - set(MODELS)):
        assert hasattr(load_model(name), "SCHEMES"), name
        assert (ROOT / "tests" / "pricing" / f"test_{name}.py").is_file(), name


def test_there_are_models() -> None:
    assert {"black76", "linear"} <= set(MODELS)
    assert "black76" in OPTIONS
    assert "linear" not in OPTIONS


@pytest.mark.parametrize("name", MODELS)
def test_backends_agree(name: str) -> None:
    columns = points(2_000)
    discount = np.exp(-RATE * columns[2])
    named = greeks(*columns, discount, model=name, backend="numpy")
    assert tuple(named) == GREEK_NAMES
    for backend in BACKENDS:
        other = greeks(*columns, discount, model=name, backend=backend)
        again = price(*columns, discount, model=name, backend=backend)
        assert np.abs(again - named["price"]).max() < 1e-13 * 150
        for greek in GREEK_NAMES:
            assert np.all(np.isfinite(other[greek]))
            scale = np.abs(named[greek]).max() or 1.0
            assert np.abs(other[greek] - named[greek]).max() < 1e-12 * scale, (backend, greek)


@pytest.mark.parametrize("name", MODELS)
def test_one_row_alone_is_the_row_among_others(name: str) -> None:
    """Vectors and scalar remainders agree: to rounding, and in every bit where the numbers are of record."""
    columns = points(37)
    columns[1][::5] *= 3.0  # some so far out that they are not usual ones
    for backend in BACKENDS:
        together = price(*columns, model=name, backend=backend)
        assert np.array_equal(together, price(*columns, model=name, backend=backend))
        alone = np.array([float(price(*(c[n] for c in columns), model=name, backend=backend)) for n in range(37)])
        assert np.abs(together - alone).max() < 1e-13 * 150
        assert backend != "numba" or np.array_equal(together, alone)
    for order in (2, 3):
        every = greeks(*columns, model=name, order=order)
        for n in range(37):
            single = greeks(*(c[n] for c in columns), model=name, order=order)
            assert {key: float(values[n]) for key, values in every.items()} == {k: float(v) for k, v in single.items()}


@functools.cache
def differentiated(name: str) -> Any:
    """Greeks by automatic differentiation of value(), with a discount that follows the rate as time passes."""
    import jax
    import jax.numpy as jnp

    from pricing.xp import jax as xp

    model = load_model(name)

    def value(forward: Any, vol: Any, tau: Any, strike: Any, sign: Any) -> Any:
        return model.value(xp, forward, strike, tau, vol, jnp.exp(-RATE * tau), sign)

    def all_greeks(*at: Any) -> Any:
        by_forward, by_vol, by_tau = (jax.grad(value, n)(*at) for n in range(3))
        second = [jax.grad(lambda *x, n=n: jax.grad(value, n)(*x), m)(*at) for n, m in ((0, 0), (0, 1), (1, 1), (0, 2))]
        gamma, vanna, volga, charm = second
        return by_forward, gamma, by_vol, -by_tau, vanna, volga, -charm

    return jax.jit(jax.vmap(all_greeks))


AUTOMATIC = ("delta", "gamma", "vega", "theta", "vanna", "volga", "charm")


def check_derivatives(name: str, columns: tuple[np.ndarray, ...]) -> None:
    from pricing.xp import jax as xp

    forward, strike, tau, vol, sign = columns
    with xp.double_precision():
        exact = [np.asarray(column) for column in differentiated(name)(forward, vol, tau, strike, sign)]
    closed = greeks(*columns, np.exp(-RATE * tau), model=name)
    for greek, expected in zip(AUTOMATIC, exact, strict=True):
        size = max(np.abs(expected).max(), 1e-2)
        assert closed[greek] == pytest.approx(expected, rel=1e-8, abs=1e-11 * size), greek


@pytest.mark.parametrize("name", MODELS)
def test_greeks_are_the_derivatives_of_value(name: str) -> None:
    check_derivatives(name, points(200))
    forward, _, tau, vol, sign = points(200)
    # At the money itself, where every minimum and maximum has two sides.
    check_derivatives(name, (forward, forward.copy(), tau, vol, sign))


@pytest.mark.parametrize("name", MODELS)
def test_the_time_derivative_is_finite_at_expiry(name: str) -> None:
    """The argument is guarded before the square root, or the derivative of jax is NaN at tau = 0."""
    import jax

    from pricing.xp import jax as xp

    with xp.double_precision():
        by_tau = jax.jit(jax.grad(functools.partial(load_model(name).value, xp), 2))
        for strike in (90.0, 110.0):
            slope = by_tau(100.0, strike, 0.0, 0.4, 1.0, 1.0)
            assert math.isfinite(float(slope)), strike


@pytest.mark.parametrize("name", MODELS)
def test_rho_moves_the_forward_with_the_rate(name: str) -> None:
    """dV/dr at a fixed spot, F = S exp(r tau), D = exp(-r tau); a contract that is not discounted has none."""
    spot, strike, tau, vol, sign = points(50)
    step = 1e-6

    def value(rate: float) -> np.ndarray:
        return price(spot * np.exp(rate * tau), strike, tau, vol, sign, np.exp(-rate * tau), model=name)

    rho = greeks(spot * np.exp(RATE * tau), strike, tau, vol, sign, np.exp(-RATE * tau), model=name)["rho"]
    if name in OPTIONS:
        assert rho == pytest.approx((value(RATE + step) - value(RATE - step)) / (2 * step), rel=1e-6, abs=1e-6)
    else:
        assert np.all(rho == 0)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", MODELS)
def test_limits(name: str, backend: str) -> None:
    """At expiry, without vol, and in the last microsecond; an option is then worth what exercise brings."""
    for tau, vol in ((0.0, 0.5), (1.0, 0.0), (0.0, 0.0), (-0.0, 0.5), (1.0, -0.0), (1e-13, 0.5), (1e-300, 1e-300)):
        for strike in (50.0, 100.0, 200.0):
            for sign in (1.0, -1.0):
                ours = greeks(100.0, strike, tau, vol, sign, 0.97, model=name, backend=backend)
                assert all(np.isfinite(value) for value in ours.values()), (tau, vol, strike, ours)
                if name in OPTIONS and min(tau, vol) < 1e-200:
                    undiscounted = price(100.0, strike, tau, vol, sign, model=name, backend=backend)
                    assert undiscounted == max(sign * (100.0 - strike), 0.0)


@pytest.mark.parametrize("name", OPTIONS)
def test_parity_and_lower_bound(name: str) -> None:
    forward, strike, tau, vol, _ = points(500)
    discount = np.exp(-RATE * tau)
    call, put = (price(forward, strike, tau, vol, sign, discount, model=name) for sign in (1.0, -1.0))
    assert call - put == pytest.approx(discount * (forward - strike), abs=1e-12)
    for value, sign in ((call, 1.0), (put, -1.0)):
        assert np.all(value >= discount * np.maximum(sign * (forward - strike), 0.0) - 1e-13)


@pytest.mark.parametrize("name", OPTIONS)
def test_monotone(name: str) -> None:
    """In vol and life upwards; in the forward and against the strike with the sign."""
    forward, strike, tau, vol, sign = points(500)

    def value(f: float = 1.0, k: float = 1.0, t: float = 1.0, v: float = 1.0) -> np.ndarray:
        return price(forward * f, strike * k, tau * t, vol * v, sign, model=name)

    base = value()
    for factor in (1.0 + 1e-9, 1.01, 2.0):
        assert np.all(value(v=factor) >= base - 1e-12)
        assert np.all(value(t=factor) >= base - 1e-12)
        assert np.all(sign * (value(f=factor) - base) >= -1e-12)
        assert np.all(sign * (value(k=factor) - base) <= 1e-12)


def kernels(model: ModuleType, tag: str) -> list[Any]:
    """Kernels of both packages over one formula, compiled as if its sources had the hash `tag`."""
    from pricing.backends import numba as pricing_kernels
    from pricing.xp import numba as xp
    from scenarios.backends import numba as scenario_kernels

    return [
        xp.compile_kernel(pricing_kernels._value_template(""), tag, model.value),
        xp.compile_kernel(pricing_kernels._greeks_template(""), tag, model.greeks),
        xp.compile_kernel(scenario_kernels._template(""), tag, model.value),
    ]


@pytest.mark.parametrize("name", MODELS)
def test_an_edit_of_a_formula_changes_the_cache_key(name: str) -> None:
    """numba's disk cache sees the contents of a closure, not an edit in another file; the same sources share a key."""
    model = load_model(name)
    keys = [
        [kernel._cache._index_key((), kernel.targetctx.codegen()) for kernel in kernels(model, tag)]
        for tag in ("source A", "source B", "source A")
    ]
    assert keys[0] == keys[2]
    assert all(first != second for first, second in zip(keys[0], keys[1], strict=True))


def test_the_hash_covers_formula_and_primitives(monkeypatch: pytest.MonkeyPatch) -> None:
    import inspect

    from pricing.models import black76, linear
    from pricing.xp import coefficients
    from pricing.xp import numba as xp

    base = xp.source_hash(black76)
    assert base == xp.source_hash(black76)
    assert base != xp.source_hash(linear)
    plain = inspect.getsource
    imported = {getattr(value, "__module__", None) or getattr(value, "__name__", "") for value in vars(xp).values()}
    imported |= {node.module for node in ast.walk(ast.parse(plain(xp))) if isinstance(node, ast.ImportFrom)}
    ours = [sys.modules[name] for name in sorted(filter(None, imported)) if name.startswith("pricing.xp.")]
    assert coefficients in ours
    for edited in (black76, *ours):
        monkeypatch.setattr(inspect, "getsource", lambda m, e=edited: plain(m) + ("# edited" if m is e else ""))
        assert xp.source_hash(black76) != base
    monkeypatch.setattr(inspect, "getsource", plain)
    assert xp.source_hash(black76) == base


def test_the_host_keeps_its_own_precision() -> None:
    """jax computes in float64 inside our calls and in float32, its default, outside."""
    code = (
        "import jax.numpy as jnp, numpy as np; from pricing import price;"
        "p = price(100.0, 100.0, 1.0, 0.2, 1, backend='jax');"
        "print(jnp.asarray(1.0).dtype, p.dtype, abs(float(p) - 7.965567455405804) < 1e-13)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.split() == ["float32", "float64", "True"], done.stderr
