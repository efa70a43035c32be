"""OKX's portfolio margin: the printed reply, a plain twin on random books, and what the rule implies."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portfolio_margin import Book, load_parameters
from portfolio_margin.models import okx_pm
from portfolio_margin.models.okx_pm import Group
from portfolio_margin.risk_units import vega_per_contract
from pricing import UNDATED, ConfigError, Instruments, Kind, Market
from scenarios import RiskArrays, revalue
from scenarios.shocks import make
from tests.naive import okx as naive
from tests.portfolio_margin.deribit_examples import CONTRACTS, LINEAR, LINEAR_MARKET, ROW, linear_book, plain
from tests.vectors import worked_examples

SHIPPED, _ = load_parameters("okx_pm")
GIVEN = replace(SHIPPED, term_structure_vol=0.07, rate_move=0.03, haircut={"any": 0.1})
LINEAR_CONTRACTS = [name for name in CONTRACTS if name.startswith("ETH_USDC")]


def arrays_for(params: Any) -> RiskArrays:
    return revalue(LINEAR, LINEAR_MARKET, okx_pm.Model(params).scenario_set(LINEAR_MARKET), backend="numpy", tick=None)


EXACT = arrays_for(GIVEN)


# Of the printed reply, in USDT: index and mark. The index stands in no field; the printed losses are at these prices to
# the last digit, which are whole ticks, as the printed gain in dollars is that in USDT at this rate.
QUOTES = {"BTC": (97_078.9, 97_093.7), "LTC": (101.9951, 102.0)}
USDT = 0.99954


def perpetuals(units: list[str]) -> tuple[Instruments, Market]:
    """A perpetual of each unit, settled in USDT."""
    count = len(units)
    index, mark = np.array([QUOTES.get(unit, (1_000.0, 1_000.0)) for unit in units]).T
    instruments = Instruments(
        instrument_id=np.array([f"{unit}-USDT-SWAP" for unit in units]),
        kind=np.full(count, Kind.PERPETUAL),
        payoff=np.zeros(count),
        underlying_idx=np.arange(count),
        expiry_idx=np.arange(count),
        strike=np.full(count, np.nan),
        sign=np.ones(count),
        exercise=np.zeros(count),
        multiplier=np.ones(count),
        quantity_step=np.full(count, 1e-9),
        currency_idx=np.ones(count),
    )
    return instruments, Market(
        valuation_time=1_736_936_801_642,
        underlying_id=np.array([f"{unit}_USDT" for unit in units]),
        spot=index,
        expiry_underlying=np.arange(count),
        expiry_time=np.full(count, UNDATED),
        forward=mark,
        discount=np.ones(count),
        svi=np.full((count, 5), np.nan),
        mark_vol=np.full(count, np.nan),
        currency_id=np.array(["USD", "USDT"]),
        fx=np.array([1.0, USDT]),
        currency_underlying=np.array([-1, -1]),
    )


@pytest.mark.reference
def test_printed_reply(report_vectors: Any) -> None:
    """Two units of one perpetual each; positions from the printed delta, everything else computed."""
    errors = []
    for example in worked_examples("OKX portfolio margin"):
        i, want = example["inputs"], example["expected"]
        names = [unit["unit"] for unit in i["risk_units"]]
        groups = {
            unit["unit"].lower(): Group(
                tuple(unit["mr1_max_move"] * k / 3 for k in (1, 2, 3)), unit["mr4_rate"], 0.0, unit["mr7_rate"]
            )
            for unit in i["risk_units"]
        }
        params = replace(SHIPPED, groups=groups, group_of={n: n for n in groups}, initial_factor=i["im_factor"])
        model, (instruments, market) = okx_pm.Model(params), perpetuals(names)
        arrays = revalue(instruments, market, model.scenario_set(market), backend="numpy", tick=None)
        held = np.array([unit["delta_usd"] for unit in i["risk_units"]]) / arrays.delta
        for row, unit in enumerate(i["risk_units"]):
            printed = want[unit["unit"].lower()]
            required = model.requirement(Book.from_arrays(["a"], [row], held[[row]], instruments.expiry_idx), arrays)
            assert params.extreme_multiple * unit["mr1_max_move"] == pytest.approx(unit["mr6_max_move"])
            extreme = arrays.pnl[row, -2:] * okx_pm.by_index(arrays)[row, -2:] * held[row]
            found = {
                "mr1": required.charges["scan"][0, 1],
                "mr4": required.charges["basis"][0, 1],
                "mr6": -extreme.min() * params.extreme_share,
                "mr7": model._tiered(np.abs([unit["delta_usd"]]) * unit["mr7_rate"])[0],
                "mmr": required.maintenance[0],
                "imr": required.initial[0],
            }
            errors += [abs(found[name] / number - 1.0) for name, number in printed.items()]
        account = Book.from_arrays(["a"] * len(held), np.arange(len(held)), held, instruments.expiry_idx)
        both = model.requirement(account, arrays)
        total = np.array([both.initial[0], both.maintenance[0]])
        borrowed = i["borrow_mmr"] * np.array([i["borrow_im_factor"], 1.0])
        errors += [abs(total[1] / want["deriv_mmr"] - 1.0)]
        errors += (np.abs((total + borrowed) / [want["total_imr"], want["total_mmr"]] - 1.0)).tolist()
        assert max(errors) <= example["tolerance"]["rel"]
    report_vectors(
        len(errors), max(errors), f"relative, {example['tolerance']['rel']:g} allowed", "OKX portfolio margin"
    )


def test_the_shipped_groups_are_those_of_the_printed_reply() -> None:
    for example in worked_examples("OKX portfolio margin"):
        for unit in example["inputs"]["risk_units"]:
            group = SHIPPED.group(unit["unit"])
            assert group.price_moves[-1] == unit["mr1_max_move"]
            assert (group.basis_perpetual, group.minimum) == (unit["mr4_rate"], unit["mr7_rate"])


def test_an_inverse_perpetual_moves_by_its_index_too() -> None:
    """10 USD a contract at the mark of BTC-PERPETUAL: what it gains in coin, at the coin's price after the move."""
    factor, row = okx_pm.by_index(EXACT), ROW["BTC-PERPETUAL"]
    move, index, mark = EXACT.scenario_set.price_move[:, 0], 68_000.0, 68_000.0 * 1.0002
    gain = 10.0 * (1.0 / mark - 1.0 / (mark + index * move)) * index * (1.0 + move)
    assert EXACT.pnl[row] * factor[row] == pytest.approx(gain, rel=1e-12, abs=1e-12)
    assert np.all(factor[EXACT.kind != Kind.PERPETUAL] == 1.0)


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(st.sampled_from(LINEAR_CONTRACTS), st.integers(-400, 400), min_size=1, max_size=6))
def test_the_model_is_its_plain_twin(steps: dict[str, int]) -> None:
    held = {name: n * float(LINEAR.quantity_step[ROW[name]]) * 3_000 for name, n in steps.items()}
    want = naive.maintenance([(plain(name), q) for name, q in held.items()], GIVEN, GIVEN.group("ETH"))
    required = okx_pm.Model(GIVEN).requirement(linear_book(held), EXACT, backend="numpy")
    found = {name: parts[0, 1] for name, parts in required.charges.items()}
    assert found["scan"] == pytest.approx(max(want["mr1"], want["mr2"], want["mr6"]), rel=1e-9, abs=1e-6)
    for name, number in (("vega", 3), ("basis", 4), ("rate", 5)):
        assert found[name] == pytest.approx(want[f"mr{number}"], rel=1e-9, abs=1e-6)
    assert required.maintenance[0] == pytest.approx(want["mmr"], rel=1e-9, abs=1e-6)
    assert required.initial[0] == pytest.approx(1.3 * want["mmr"], rel=1e-9, abs=1e-6)


def test_vega_is_the_gain_of_a_small_move_of_vol() -> None:
    small = make(["up", "down"], np.zeros(2), vol_shift=np.array([1e-5, -1e-5]))
    pnl = revalue(LINEAR, LINEAR_MARKET, small, backend="numpy", tick=None).pnl
    option = LINEAR.kind == Kind.OPTION
    assert vega_per_contract(EXACT)[option] == pytest.approx((pnl[:, 0] - pnl[:, 1])[option] / 2e-5, rel=1e-5, abs=1e-4)
    assert not vega_per_contract(EXACT)[~option].any()


def test_what_is_not_published_must_be_given() -> None:
    option, perpetual = linear_book({"BTC-30D-1.0-+1": -1.0}), linear_book({"BTC-PERPETUAL": 1.0})
    model = okx_pm.Model(SHIPPED)
    assert model.requirement(perpetual, EXACT).initial[0] > 0.0
    with pytest.raises(ConfigError, match="term_structure_vol must be given for options"):
        model.requirement(option, EXACT)
    with pytest.raises(ConfigError, match="rate_move must be given for dated contracts"):
        okx_pm.Model(replace(SHIPPED, term_structure_vol=0.05)).requirement(option, EXACT)
    # What nobody holds needs no haircut; nothing of it would count.
    coins = EXACT.is_coin
    assert np.all(model.haircut(EXACT)[coins] == 1.0)
    held = Book.from_arrays(["a"], [int(np.flatnonzero(coins)[0])], [1.0], LINEAR.expiry_idx)
    with pytest.raises(ConfigError, match=r"no haircut\.[a-z]+ among the parameters"):
        model.requirement(held, EXACT)
    with pytest.raises(ConfigError, match=r"no group_of\.btc among the parameters, which BTC needs"):
        okx_pm.Model(replace(SHIPPED, group_of={})).scenario_set(LINEAR_MARKET)


@pytest.mark.parametrize(
    ("field", "value"),
    [("vol_points", (0.1,)), ("vol_days", (0.0, 0.0, 1.0)), ("tier_limits", (2.0, 1.0, 3.0, 4.0, 5.0, 6.0)),
     ("tier_multipliers", (1.0,)), ("tier_multipliers", (0.5,) * 7), ("groups", {"a": 1}), ("groups", None),
     ("group_of", {"btc": "minor"}), ("haircut", {"btc": 1.5}), ("term_structure_vol", -1.0), ("rate_move", 2.0)],
)  # fmt: skip
def test_parameters_outside_their_bounds_are_refused(field: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=field):
        replace(SHIPPED, **{field: value})


def test_groups_have_bounds() -> None:
    for change in ({"price_moves": ()}, {"price_moves": (0.2, 0.1)}, {"price_moves": (0.5,)}, {"minimum": 2.0},
                   {"basis_perpetual": -0.1}, {"basis_annual": float("nan")}):  # fmt: skip
        with pytest.raises(ConfigError, match=next(iter(change))):
            replace(SHIPPED.group("BTC"), **change)
    with pytest.raises(ConfigError, match="same number of price_moves"):
        replace(SHIPPED, groups={**SHIPPED.groups, "major": Group((0.1,), 0.0, 0.0, 0.0)})
