"""Small equity markets for tests of the securities rules: stocks, and options on them at printed prices."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from portfolio_margin import Book
from pricing import Exercise, Instruments, Kind, Market, Payoff
from pricing.market import UNDATED
from scenarios import RiskArrays, revalue
from scenarios.shocks import ScenarioSet

DAY_MS = 86_400_000
NOW_MS = 1_172_264_400_000  # 2007-02-23 21:00 UTC


class Listed(NamedTuple):
    """An option: underlying, C or P, strike, days to expiry, vol or None, printed price or None."""

    underlying: str
    right: str
    strike: float
    days: float = 30.0
    vol: float = 0.25
    price: float | None = None

    @property
    def name(self) -> str:
        return f"{self.underlying}-{self.days:g}D-{self.strike:g}-{self.right}"


def equity_market(
    spots: dict[str, float],
    options: Sequence[Listed],
    rate: float = 0.0,
    dividend_yield: float = 0.0,
    exercise: Exercise = Exercise.EUROPEAN,
) -> tuple[Instruments, Market]:
    """US dollars, the stocks, and options of 100 shares; forwards S exp((r - q) T)."""
    names = list(spots)
    days = {name: sorted({o.days for o in options if o.underlying == name}) for name in names}
    dated = [(name, d) for name in names for d in [*days[name], None]]
    rows: list[dict[str, Any]] = [_row("USD", Kind.CASH, -1, -1, 1e-8)]
    rows += [_row(name, Kind.SPOT, u, dated.index((name, None)), 1e-4) for u, name in enumerate(names)]
    for o in options:
        row = _row(o.name, Kind.OPTION, names.index(o.underlying), dated.index((o.underlying, o.days)), 1.0)
        row |= {"strike": o.strike, "sign": 1.0 if o.right == "C" else -1.0, "multiplier": 100.0}
        rows.append({**row, "exercise": int(exercise)})
    years = [0.0 if d is None else d / 365 for _, d in dated]
    market = Market(
        valuation_time=NOW_MS,
        underlying_id=np.array(names),
        spot=np.array([spots[name] for name in names]),
        expiry_underlying=np.array([names.index(name) for name, _ in dated]),
        expiry_time=np.array([UNDATED if d is None else NOW_MS + round(d * DAY_MS) for _, d in dated]),
        forward=np.array(
            [spots[n] * math.exp((rate - dividend_yield) * t) for (n, _), t in zip(dated, years, strict=True)]
        ),
        discount=np.array([math.exp(-rate * t) for t in years]),
        svi=np.full((len(dated), 5), np.nan),
        mark_vol=np.array([np.nan] * (1 + len(names)) + [o.vol for o in options]),
        currency_id=np.array(["USD"]),
        fx=np.ones(1),
        currency_underlying=np.array([-1]),
    )
    return Instruments(**{key: np.array([row[key] for row in rows]) for key in rows[0]}), market


def priced(arrays: RiskArrays, options: Sequence[Listed]) -> RiskArrays:
    """The arrays with every option at its printed price, where it has one."""
    row, value = arrays.index_of(), arrays.value_rows.copy()
    for o in options:
        if o.price is not None:
            value[row[o.name]] = round(100.0 * o.price / arrays.tick_size)
    return replace(arrays, value_rows=value)


def arrays_for(model: Any, spots: dict[str, float], options: Sequence[Listed], **market: Any) -> RiskArrays:
    """Risk arrays under the scenarios of the model, or unmoved where it has none, at printed prices."""
    instruments, snapshot = equity_market(spots, options, **market)
    moves: ScenarioSet | None = model.scenario_set(snapshot)
    if moves is None:
        from scenarios.shocks import make

        moves = make(["still"], np.zeros(1))
    return priced(revalue(instruments, snapshot, moves), options)


def book_of(arrays: RiskArrays, accounts: dict[str, dict[str, float]]) -> Book:
    """A book by names, grouped by expiry."""
    row = arrays.index_of()
    held = [(a, row[name], q) for a, positions in accounts.items() for name, q in positions.items()]
    account, instrument, quantity = zip(*held, strict=True) if held else ((), (), ())
    names = np.array(account, dtype=np.str_)
    return Book.from_arrays(names, list(instrument), list(quantity), arrays.expiry_idx, accounts=list(accounts))


def _row(name: str, kind: Kind, underlying: int, expiry: int, step: float) -> dict[str, Any]:
    return {
        "instrument_id": name,
        "kind": int(kind),
        "payoff": int(Payoff.LINEAR),
        "underlying_idx": underlying,
        "expiry_idx": expiry,
        "strike": np.nan,
        "sign": 1.0,
        "exercise": 0,
        "multiplier": 1.0,
        "quantity_step": step,
        "currency_idx": 0,
    }
