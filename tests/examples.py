"""Small markets and books for tests: two underlyings, two expiries each, every kind of contract."""

from __future__ import annotations

from typing import Any

import numpy as np

from portfolio_margin.book import Book
from pricing.instruments import Instruments, Kind, Payoff
from pricing.market import UNDATED, Market

NOW_MS = 1_772_098_865_000
DAY_MS = 86_400_000
SVI = [0.004, 0.06, -0.2, 0.02, 0.1]


def market_and_instruments(strikes: int = 9, spots: dict[str, float] | None = None) -> tuple[Instruments, Market]:
    """Cash of USD, BTC and ETH, or of other coins at their `spots`; perpetual, future and inverse options on them."""
    spots = spots or {"BTC": 68_000.0, "ETH": 2_050.0}
    rows: list[dict[str, Any]] = [_row("USD", Kind.CASH, -1, -1, 0)]
    expiry_time, forward, owner = [], [], []
    for u, (name, spot) in enumerate(spots.items()):
        x = 3 * u
        expiry_time += [NOW_MS + 7 * DAY_MS, NOW_MS + 60 * DAY_MS, UNDATED]
        forward += [spot * 1.001, spot * 1.01, spot]
        owner += [u] * 3
        rows.append(_row(name, Kind.CASH, u, x + 2, u + 1))
        contract = 10.0 if name == "BTC" else 1.0
        rows.append(_row(f"{name}-PERPETUAL", Kind.PERPETUAL, u, x + 2, u + 1, Payoff.INVERSE, contract, 1.0))
        rows.append(_row(f"{name}-60D", Kind.FUTURE, u, x + 1, u + 1, Payoff.INVERSE, contract, 1.0))
        for e in (0, 1):
            for strike in np.round(spot * np.linspace(0.6, 1.4, strikes), -1):
                for sign in (1.0, -1.0):
                    label = f"{name}-{(7, 60)[e]}D-{strike:.0f}-{'C' if sign > 0 else 'P'}"
                    option = _row(label, Kind.OPTION, u, x + e, u + 1, Payoff.INVERSE, 1.0, 0.1)
                    rows.append({**option, "strike": strike, "sign": sign})
    instruments = Instruments(**{key: np.array([row[key] for row in rows]) for key in rows[0]})
    tau = np.array([7.0, 60.0, np.nan] * len(spots)) / 365
    svi = np.array([[value * t for value in SVI[:2]] + SVI[2:] for t in tau * 5])
    vol = np.where(instruments.is_option & (np.arange(len(rows)) % 2 == 0), 0.55, np.nan)
    market = Market(
        valuation_time=NOW_MS,
        underlying_id=np.array(list(spots)),
        spot=np.array(list(spots.values())),
        expiry_underlying=np.array(owner),
        expiry_time=np.array(expiry_time),
        forward=np.array(forward),
        discount=np.ones(3 * len(spots)),
        svi=np.where(np.isnan(svi).any(axis=1)[:, None], np.nan, svi),
        mark_vol=vol,
        currency_id=np.array(["USD", *spots]),
        fx=np.array([1.0, *spots.values()]),
        currency_underlying=np.arange(-1, len(spots)),
    )
    return instruments, market


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


def random_book(instruments: Instruments, accounts: int = 200, positions: int = 12, seed: int = 7) -> Book:
    """Accounts with some cash, some coins and random contracts in whole steps, both signs."""
    random = np.random.default_rng(seed)
    contract = np.flatnonzero(~instruments.is_collateral)
    asset = np.flatnonzero(instruments.is_collateral)
    account, instrument, quantity = [], [], []
    for a in range(accounts):
        held = random.choice(contract, size=min(positions, len(contract)), replace=False)
        steps = random.integers(-200, 201, size=len(held))
        account += [f"account-{a:06d}"] * (len(held) + len(asset))
        instrument += [*held, *asset]
        quantity += [*(steps * instruments.quantity_step[held]), *random.uniform(-1, 20, len(asset)).round(8)]
    return Book.from_arrays(account, instrument, quantity, group_of_instrument=instruments.expiry_idx)


def _row(
    name: str,
    kind: Kind,
    underlying: int,
    expiry: int,
    currency: int,
    payoff: Payoff = Payoff.LINEAR,
    multiplier: float = 1.0,
    step: float = 1e-8,
) -> dict[str, Any]:
    return {
        "instrument_id": name,
        "kind": int(kind),
        "payoff": int(payoff),
        "underlying_idx": underlying,
        "expiry_idx": expiry,
        "strike": np.nan,
        "sign": 1.0,
        "exercise": 0,
        "multiplier": multiplier,
        "quantity_step": step,
        "currency_idx": currency,
    }
