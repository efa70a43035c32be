"""Scenario families, binding, risk arrays: shapes, limits, published numbers, equal backends, file form."""

from __future__ import annotations

import math
import pkgutil
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import scenarios.families
from pricing import UNDATED, ConfigError, DataError, Instruments, Kind, Market, NumericalError, Payoff
from pricing.resolve import load_model, model_names, resolve
from scenarios import RiskArrays, ScenarioSet, VolDynamics, bind, concat, revalue
from scenarios.dynamics import tenor_scale
from scenarios.families import grid, span
from scenarios.shocks import make
from scenarios.taylor import taylor_change, taylor_error
from tests.examples import DAY_MS, NOW_MS, market_and_instruments
from tests.naive import scenarios as naive
from tests.vectors import literature_vectors, worked_examples, worked_shared

FAMILIES = [module.name for module in pkgutil.iter_modules(scenarios.families.__path__)]
BACKENDS = ("numpy", "numba", "jax")
INSTRUMENTS, MARKET = market_and_instruments()
DEFAULTS = {"span": {"price_scan_range": {"BTC": 7_000.0, "ETH": 300.0}, "vol_scan_range": 0.25}}


def family_set(name: str) -> ScenarioSet:
    module = __import__(f"scenarios.families.{name}", fromlist=["Params"])
    return module.scenarios(module.Params(**DEFAULTS.get(name, {})), MARKET)


def one_option(
    price: float, strike: float, tau: float, vol: float, sign: float, **market: Any
) -> tuple[Instruments, Market]:
    """A linear European option on one underlying, multiplier 1."""
    instruments = Instruments(
        instrument_id=np.array(["O"]),
        kind=np.array([Kind.OPTION]),
        payoff=np.array([Payoff.LINEAR]),
        underlying_idx=np.array([0]),
        expiry_idx=np.array([0]),
        strike=np.array([strike]),
        sign=np.array([sign]),
        exercise=np.array([0]),
        multiplier=np.array([market.pop("multiplier", 1.0)]),
        quantity_step=np.array([1.0]),
        currency_idx=np.array([0]),
    )
    years_ms = 365 * DAY_MS
    fields = {
        "spot": np.array([price]),
        "forward": np.array([price, price]),
        "discount": np.ones(2),
        **market,
    }
    return instruments, Market(
        valuation_time=NOW_MS,
        underlying_id=np.array(["U"]),
        expiry_underlying=np.array([0, 0]),
        expiry_time=np.array([NOW_MS + round(tau * years_ms), UNDATED]),
        svi=np.full((2, 5), np.nan),
        mark_vol=np.array([vol]),
        currency_id=np.array(["USD"]),
        fx=np.ones(1),
        currency_underlying=np.array([-1]),
        **fields,
    )


@pytest.mark.parametrize("name", FAMILIES)
def test_contract_of_a_family(name: str) -> None:
    first, second = family_set(name), family_set(name)
    assert first.price_move.shape[0] == len(first)
    assert first.price_move.shape[1] in (1, len(MARKET.spot))
    assert np.all((first.weight >= 0) & (first.weight <= 1))
    assert np.any(np.all(first.price_move == 0, axis=1))
    assert len(set(first.label.tolist())) == len(first)
    for field in ("label", "price_move", "vol_move", "vol_shift", "time_step_years", "weight", "tier"):
        assert np.array_equal(getattr(first, field), getattr(second, field))


def test_span_order_and_weights() -> None:
    params = span.Params(price_scan_range=6.0, vol_scan_range=0.2, extreme_multiplier=3.0)
    moves = span.scenarios(params, replace_spot())
    points = moves.price_move[[0, 2, 4, 6, 8, 10, 12, 14, 15], 0] * 100
    assert points == pytest.approx([0, 2, -2, 4, -4, 6, -6, 18, -18])
    assert moves.vol_move[:4, 0].tolist() == [0.2, -0.2, 0.2, -0.2]
    assert moves.vol_move[14:, 0].tolist() == [0, 0]
    assert moves.weight[13:].tolist() == [1, 0.35, 0.35]


def replace_spot() -> Market:
    return one_option(100.0, 100.0, 1.0, 0.2, 1.0)[1]


@pytest.mark.parametrize(
    ("params", "values"),
    [
        (grid.Params, {"price_range": 0.0}),
        (grid.Params, {"price_range": math.nan}),
        (grid.Params, {"buckets": 0}),
        (grid.Params, {"buckets": 2.5}),
        (grid.Params, {"vol_up": -0.1}),
        (grid.Params, {"days": ()}),
        (grid.Params, {"days": (-1.0,)}),
        (grid.Params, {"tail_moves": (-1.0,)}),
        (VolDynamics, {"short_power": 2.0}),
        (VolDynamics, {"rule": "sticky"}),
        (VolDynamics, {"carry": "x"}),
        (span.Params, {"price_scan_range": 1.0, "vol_scan_range": -1.0}),
    ],
)
def test_parameters_have_bounds(params: Any, values: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        params(**values)


def test_span_refuses_a_price_below_zero() -> None:
    with pytest.raises(ConfigError, match="0 or below"):
        span.scenarios(span.Params(price_scan_range=60.0, vol_scan_range=0.2), replace_spot())


@pytest.mark.reference
def test_worked_vol_shock_table(report_vectors: Any) -> None:
    (example,) = worked_examples("Deribit portfolio margin (vol shock, third-party form)")
    i = example["inputs"]
    worst = 0.0
    for days, (up, down) in zip(i["dte"], example["expected"]["up_down"], strict=True):
        dynamics = VolDynamics(
            short_power=i["short_power"], long_power=i["long_power"], minimum_vol_up=i["min_volatility_for_shock_up"]
        )
        # The page's 30-day boundary belongs to the long power; ours to the short one: both scale by 1 there.
        instruments, market = one_option(100.0, 100.0, days / 365, i["iv"], 1.0)
        moves = make(
            ["up", "down"],
            np.zeros((2, 1)),
            np.array([i["volatility_range_up"], -i["volatility_range_down"]]),
            dynamics=dynamics,
        )
        vol = bind(moves, market, resolve(instruments, market)).vol[0]
        worst = max(worst, abs(vol[0] - up), abs(vol[1] - down))
    report_vectors(2 * len(i["dte"]), worst, "of vol")
    assert worst < example["tolerance"]["abs"]


@pytest.mark.reference
def test_worked_deribit_perpetual_by_bucket(report_vectors: Any) -> None:
    example = next(e for e in worked_examples("Deribit portfolio margin") if e["id"] == "deribit-pme-simulate-btc")
    i = example["inputs"]
    index, size = i["index_usd"], i["positions"]["BTC-PERPETUAL"]["size_btc"]
    instruments, market = market_and_instruments()
    row = instruments.index_of()["BTC-PERPETUAL"]
    ratio = index / market.spot[0]
    market = replace(
        market,
        spot=market.spot * [ratio, 1],
        forward=np.where(market.expiry_underlying == 0, market.forward * ratio, market.forward),
        fx=market.fx * [1, ratio, 1],
    )
    params = grid.Params(price_range=i["params"]["price_range"], vol_up=0.0, vol_down=0.0, days=(0.0,), tail_moves=())
    moves = grid.scenarios(params, market)
    pnl = revalue(instruments, market, moves, tick=None).pnl[row] * (size * index / 10.0)
    coins = pnl[::3] / (index * (1 + moves.price_move[::3, 0]))
    error = np.abs(coins - example["expected"]["perpetual_pnl_by_bucket"]).max()
    report_vectors(9, error, "coin")
    assert error < 1e-9


@pytest.mark.reference
def test_worked_span_risk_array(report_vectors: Any) -> None:
    errors = []
    for example in worked_examples("SPAN risk array"):
        i, expected = example["inputs"], np.array(example["expected"]["risk_array"])
        shared = worked_shared()[i["scenario_ref"]]
        spot, t, carry = i["underlying"], i["T_years"], i["rate"] - i["div"]
        discount, forward = math.exp(-i["rate"] * t), spot * math.exp(carry * t)
        cvf = i["contract_value_factor"]
        instruments, market = one_option(
            forward,
            i["strike"],
            t,
            i["vol"],
            1.0 if i["type"] == "C" else -1.0,
            multiplier=cvf,
            spot=np.array([spot]),
            forward=np.array([forward, spot]),
            discount=np.array([discount, 1.0]),
        )
        params = span.Params(
            price_scan_range=i["price_scan"] / cvf,
            vol_scan_range=i["vol_scan_relative"],
            extreme_multiplier=shared["price"][14],
            cover_fraction=shared["weight"][14],
            look_ahead_years=shared["lookahead_years"],
            carry="rolled",
        )
        losses = -revalue(instruments, market, span.scenarios(params, market), tick=None).pnl[0]
        errors.append(float(np.abs(losses - expected).max() / example["tolerance"]["array_abs"]))
    report_vectors(len(errors), max(errors), "of the tolerance")
    assert max(errors) <= 1


@pytest.mark.reference
def test_literature_full_reval_vs_taylor(report_vectors: Any) -> None:
    from pricing import greeks

    errors = []
    for v in literature_vectors("full_reval_vs_taylor"):
        i, e = v["inputs"], v["expected"]
        sign = 1.0 if i["option"] == "call" else -1.0
        assert i["rate"] == 0
        instruments, market = one_option(i["forward"], i["strike"], i["t_years"], i["vol"], sign)
        moves = make(["s"], np.array([[i["relative_price_move"]]]), np.array([i["relative_vol_move"]]))
        full = revalue(instruments, market, moves, tick=None).pnl[0, 0]
        approximate = revalue(instruments, market, moves, method="taylor", tick=None).pnl[0, 0]
        g = greeks(i["forward"], i["strike"], i["t_years"], i["vol"], sign)
        change = (i["forward"] * i["relative_price_move"], i["vol"] * i["relative_vol_move"], 0.0)
        first = (g["delta"], g["gamma"], g["vega"], g["theta"], 0.0, 0.0)
        plain = float(taylor_change(first, *(np.asarray(c) for c in change)))
        for name, ours in (("full_pnl", full), ("with_vanna_volga", approximate), ("delta_gamma_vega", plain)):
            # Expiry is a whole millisecond here, 1e-8 of these lives.
            errors.append(abs(float(ours) - e[name]) / abs(e[name]))
    report_vectors(len(errors), max(errors), "relative")
    assert max(errors) < 2e-8


def test_zero_shock_is_exactly_zero() -> None:
    moves = make(["none"], np.zeros((1, 1)))
    for backend in BACKENDS:
        arrays = revalue(INSTRUMENTS, MARKET, moves, backend=backend)
        assert np.all(arrays.rows == 0)


@pytest.mark.parametrize("name", FAMILIES)
def test_backends_agree_to_one_tick(name: str) -> None:
    moves = family_set(name)
    reference = revalue(INSTRUMENTS, MARKET, moves, backend="numpy")
    contract = ~reference.is_collateral
    for backend in ("numba", "jax"):
        for threads in (1, 2):
            other = revalue(INSTRUMENTS, MARKET, moves, backend=backend, threads=threads)
            assert np.abs(other.rows - reference.rows)[contract].max() <= 1
            assert np.array_equal(other.value_rows, reference.value_rows)


def test_threads_do_not_change_a_bit() -> None:
    moves = family_set("grid")
    rows = [revalue(INSTRUMENTS, MARKET, moves, threads=threads, tick=None).rows for threads in (1, 2)]
    assert np.array_equal(*rows)


def test_naive_twin() -> None:
    moves = family_set("grid")
    inputs = resolve(INSTRUMENTS, MARKET)
    shocked = bind(moves, MARKET, inputs)
    arrays = revalue(INSTRUMENTS, MARKET, moves, tick=None)
    names = model_names(INSTRUMENTS)
    for n in range(0, len(INSTRUMENTS), 5):
        x, c = inputs.expiry_idx[n], inputs.currency_idx[n]
        contract = {f: float(getattr(inputs, f)[n]) for f in inputs._fields if not f.endswith("_idx")}
        contract |= {"fx": float(MARKET.fx[c]), "linear": float(names[n] == "linear")}
        steps = [
            {
                "forward": shocked.forward[x, s],
                "tau": shocked.tau[x, s],
                "vol": shocked.vol[n, s],
                "discount": shocked.discount[x, s],
                "fx": shocked.fx[c, s],
                "weight": shocked.weight[s],
            }
            for s in range(len(moves))
        ]
        assert arrays.pnl[n] == pytest.approx(naive.unit_pnl(contract, steps), rel=1e-9, abs=1e-7)


def test_rows_are_whole_ticks_and_rounding_is_at_most_half() -> None:
    moves = family_set("grid")
    exact = revalue(INSTRUMENTS, MARKET, moves, tick=None)
    for tick in (1e-6, 1e-3, 0.01):
        arrays = revalue(INSTRUMENTS, MARKET, moves, tick=tick)
        contract = ~arrays.is_collateral
        assert np.array_equal(arrays.rows[contract], np.rint(arrays.rows[contract]))
        assert np.abs((arrays.pnl - exact.pnl) * arrays.unit[:, None])[contract].max() <= tick * 0.5000001
        assert arrays.pnl[~contract] == pytest.approx(exact.pnl[~contract], rel=1e-14)


def test_a_tick_too_fine_is_refused() -> None:
    with pytest.raises(NumericalError, match="would fit"):
        revalue(INSTRUMENTS, MARKET, family_set("grid"), tick=1e-15)
    for tick in (0.0, -1.0, 2.0, math.nan):
        with pytest.raises(ConfigError):
            revalue(INSTRUMENTS, MARKET, family_set("grid"), tick=tick)


def test_tenor_floor_shift_and_time() -> None:
    assert tenor_scale(np.array([30 / 365, 120 / 365, 1 / 3650]), VolDynamics(short_power=0.5, long_power=0.25)) == (
        pytest.approx([1.0, 0.25**0.25, 30**0.5])
    )
    instruments, market = one_option(100.0, 100.0, 30 / 365, 0.10, 1.0)
    dynamics = VolDynamics(minimum_vol_up=0.5, vol_floor=0.08)
    moves = make(
        ["a", "b", "c"],
        np.zeros((3, 1)),
        np.array([0.1, -0.9, 0.0]),
        vol_shift=np.array([0.0, 0.0, -1.0]),
        time_step_years=np.array([0, 0, 1.0]),
        dynamics=dynamics,
    )
    shocked = bind(moves, market, resolve(instruments, market))
    assert shocked.vol[0].tolist() == [0.5, 0.08, 0.0]
    assert shocked.tau[0, 2] == 0.0


def test_sticky_moneyness_moves_along_the_slice() -> None:
    moves = make(["down"], np.array([[-0.1]]), dynamics=VolDynamics(rule="sticky_moneyness"))
    inputs = resolve(INSTRUMENTS, MARKET)
    shocked = bind(moves, MARKET, inputs)
    from pricing.resolve import slice_vol

    option = np.flatnonzero(INSTRUMENTS.is_option & np.isnan(MARKET.mark_vol))
    row = inputs.expiry_idx[option]
    expected = slice_vol(inputs.strike[option], MARKET.forward[row] * 0.9, inputs.tau[option], MARKET.svi[row])
    assert shocked.vol[option, 0] == pytest.approx(expected, rel=1e-12)


def test_linear_products_by_hand() -> None:
    moves = make(["up"], np.array([[0.25]]))
    arrays = revalue(INSTRUMENTS, MARKET, moves, tick=None)
    row = INSTRUMENTS.index_of()
    index = MARKET.spot[0]
    # 10 USD of perpetual: 10 (1/F0 - 1/F1) coins at the new index.
    coins = 10 * (1 / index - 1 / (1.25 * index))
    assert arrays.pnl[row["BTC-PERPETUAL"], 0] == pytest.approx(coins * 1.25 * index)
    assert arrays.value[row["BTC-PERPETUAL"]] == 0
    assert arrays.pnl[row["BTC"], 0] == pytest.approx(0.25 * index)
    assert arrays.pnl[row["USD"], 0] == 0
    assert arrays.value[row["USD"]] == 1


def test_delta_is_the_derivative_of_value() -> None:
    step = 1e-6
    up = revalue(INSTRUMENTS, MARKET, make(["u", "d"], np.array([[step], [-step]])), tick=None)
    assert (up.pnl[:, 0] - up.pnl[:, 1]) / (2 * step) == pytest.approx(up.delta, rel=1e-5, abs=1e-2)


def test_digest_follows_every_input() -> None:
    moves = family_set("grid")
    base = revalue(INSTRUMENTS, MARKET, moves).digest
    assert revalue(INSTRUMENTS, MARKET, moves).digest == base
    others = [
        revalue(INSTRUMENTS, replace(MARKET, spot=MARKET.spot * 1.0001), moves).digest,
        revalue(INSTRUMENTS, replace(MARKET, discount=MARKET.discount * 0.999), moves).digest,
        revalue(replace(INSTRUMENTS, multiplier=INSTRUMENTS.multiplier * 2), MARKET, moves).digest,
        revalue(INSTRUMENTS, MARKET, replace(moves, weight=moves.weight * 0.5)).digest,
        revalue(INSTRUMENTS, MARKET, replace(moves, dynamics=VolDynamics())).digest,
        revalue(INSTRUMENTS, MARKET, moves, tick=1e-5).digest,
        revalue(INSTRUMENTS, MARKET, moves, method="taylor").digest,
    ]
    assert len({base, *others}) == len(others) + 1


def test_file_form_round_trip_and_corruption() -> None:
    arrays = revalue(INSTRUMENTS, MARKET, family_set("grid"))
    content = arrays.to_bytes()
    again = RiskArrays.from_bytes(content)
    for field in ("instrument_id", "rows", "value_rows", "delta", "notional", "cash_row", "expiry_name"):
        assert np.array_equal(getattr(again, field), getattr(arrays, field))
    assert again.scenario_set.dynamics == arrays.scenario_set.dynamics
    assert (again.tick, again.digest, again.valuation_time) == (arrays.tick, arrays.digest, arrays.valuation_time)
    broken = bytearray(content)
    broken[len(content) // 2] ^= 0xFF
    for bad in (b"", b"hello", content[: len(content) // 2], bytes(broken)):
        with pytest.raises(DataError):
            RiskArrays.from_bytes(bad, "x.npz")


def test_a_stranger_reads_the_file_with_numpy_alone(tmp_path: Any) -> None:
    import json

    arrays = revalue(INSTRUMENTS, MARKET, family_set("grid"))
    path = tmp_path / "arrays.npz"
    path.write_bytes(arrays.to_bytes())
    with np.load(path, allow_pickle=False) as archive:
        metadata = json.loads(str(archive["metadata"]))
        row = archive["instrument_id"].tolist().index("BTC-7D-68000-C")
        pnl = metadata["tick"] * archive["rows"][row] / archive["quantity_step"][row]
    assert pnl == pytest.approx(arrays.pnl[row], rel=1e-15)


def test_taylor_error_is_measured() -> None:
    small = make(["a", "b"], np.array([[0.001], [-0.001]]), np.array([0.01, -0.01]))
    full, approximate = (revalue(INSTRUMENTS, MARKET, small, method=m, tick=None) for m in ("full", "taylor"))
    near = taylor_error(full, approximate)
    wide = family_set("grid")
    far = taylor_error(
        revalue(INSTRUMENTS, MARKET, wide, tick=None), revalue(INSTRUMENTS, MARKET, wide, tick=None, method="taylor")
    )
    assert near.largest < 1.0 < far.largest
    assert far.by_scenario.shape == (len(wide),)
    assert far.largest == pytest.approx(abs(far.full_pnl - far.taylor_pnl))


def test_sets_join_and_mismatches_are_refused() -> None:
    moves = family_set("grid")
    assert len(concat(moves, moves)) == 2 * len(moves)
    with pytest.raises(ConfigError):
        concat(moves, replace(moves, dynamics=VolDynamics()))
    three = replace(moves, price_move=np.zeros((len(moves), 3)))
    with pytest.raises(ConfigError, match="2 underlyings"):
        revalue(INSTRUMENTS, MARKET, three)
    with pytest.raises(ConfigError):
        revalue(INSTRUMENTS, MARKET, moves, backend="fortran")
    with pytest.raises(ConfigError):
        revalue(INSTRUMENTS, MARKET, moves, method="guess")


def test_what_the_market_cannot_price_is_named() -> None:
    moves = family_set("grid")
    expired = replace(MARKET, valuation_time=NOW_MS + 8 * DAY_MS)
    with pytest.raises(DataError, match="expired"):
        revalue(INSTRUMENTS, expired, moves)
    no_slice = replace(MARKET, svi=np.full_like(MARKET.svi, np.nan))
    with pytest.raises(DataError, match="no mark vol and no usable SVI slice"):
        revalue(INSTRUMENTS, no_slice, moves)
    american = replace(INSTRUMENTS, exercise=np.where(INSTRUMENTS.is_option, 1, 0))
    with pytest.raises(DataError, match="early exercise into coins"):
        revalue(american, MARKET, moves)
    with pytest.raises(DataError, match="mark_vol"):
        revalue(INSTRUMENTS, replace(MARKET, mark_vol=MARKET.mark_vol[:-1]), moves)


@pytest.mark.parametrize(
    "change",
    [
        {"spot": [math.nan, 1.0]},
        {"spot": [-1.0, 1.0]},
        {"fx": [2.0, 1.0, 1.0]},
        {"fx": [1.0, math.inf, 1.0]},
        {"forward": [math.nan] * 6},
        {"discount": [0.0] * 6},
        {"mark_vol": np.full(len(INSTRUMENTS), -0.5)},
        {"expiry_underlying": [1, 0, 0, 1, 1, 1]},
    ],
)
def test_bad_markets_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(DataError):
        replace(MARKET, **{name: np.asarray(value) for name, value in change.items()})


def test_duplicate_instruments_are_refused() -> None:
    names = INSTRUMENTS.instrument_id.copy()
    names[4] = names[5]
    with pytest.raises(DataError, match="more than once"):
        replace(INSTRUMENTS, instrument_id=names)


def test_models_are_files() -> None:
    assert load_model("black76").__name__ == "pricing.models.black76"
    for name in ("nothing", "../x", ""):
        with pytest.raises(ConfigError):
            load_model(name)
