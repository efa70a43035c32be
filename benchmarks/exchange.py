"""A made-up exchange of any size, for benchmarks only."""

from __future__ import annotations

import numpy as np

from portfolio_margin import Book
from portfolio_margin.book import UNGROUPED
from pricing import UNDATED, Instruments, Kind, Market
from scenarios import ScenarioSet
from scenarios.families import grid

DAY_MS = 86_400_000
EXPIRIES = 12


def options(contracts: int, seed: int = 1) -> tuple[Instruments, Market]:
    """European options of one underlying over twelve expiries, vols marked by the venue."""
    random = np.random.default_rng(seed)
    now, spot = 1_772_098_865_000, 68_000.0
    days = np.geomspace(1, 400, EXPIRIES)
    expiry = np.sort(random.integers(0, EXPIRIES, contracts))
    strike = np.round(spot * np.exp(random.normal(0, 0.35, contracts)), -2)
    instruments = Instruments(
        instrument_id=np.array([f"O{row:06d}" for row in range(contracts)]),
        kind=np.full(contracts, int(Kind.OPTION)),
        payoff=np.ones(contracts),
        underlying_idx=np.zeros(contracts),
        expiry_idx=expiry,
        strike=strike,
        sign=np.where(random.random(contracts) < 0.5, 1.0, -1.0),
        exercise=np.zeros(contracts),
        multiplier=np.ones(contracts),
        quantity_step=np.full(contracts, 0.1),
        currency_idx=np.ones(contracts),
    )
    market = Market(
        valuation_time=now,
        underlying_id=np.array(["BTC"]),
        spot=np.array([spot]),
        expiry_underlying=np.zeros(EXPIRIES + 1),
        expiry_time=np.append(now + (days * DAY_MS).astype(np.int64), UNDATED),
        forward=np.append(spot * (1 + 0.03 * days / 365), spot),
        discount=np.ones(EXPIRIES + 1),
        svi=np.full((EXPIRIES + 1, 5), np.nan),
        mark_vol=random.uniform(0.4, 1.2, contracts),
        currency_id=np.array(["USD", "BTC"]),
        fx=np.array([1.0, spot]),
        currency_underlying=np.array([-1, 0]),
    )
    return instruments, market


def scenario_set(market: Market, scenarios: int) -> ScenarioSet:
    """A grid of price moves, vol up, same and down, as few horizons as fit; cut to the number asked for."""
    times = -(-scenarios // 300)
    buckets = max(1, -(-scenarios // (6 * times)))
    days = tuple(day / 8.0 for day in range(times))
    full = grid.scenarios(grid.Params(buckets=buckets, days=days, tail_moves=()), market)
    columns = ("label", "price_move", "vol_move", "vol_shift", "time_step_years", "weight", "tier")
    return ScenarioSet(**{name: getattr(full, name)[:scenarios] for name in columns}, dynamics=full.dynamics)


def book(contracts: int, accounts: int, positions: int, seed: int = 2) -> Book:
    """Accounts with distinct random contracts each, both signs, whole steps of 0.1."""
    random = np.random.default_rng(seed)
    stride = contracts // positions
    instrument = random.integers(0, stride, (accounts, positions)) + stride * np.arange(positions)
    quantity = 0.1 * random.integers(1, 500, (accounts, positions)) * random.choice([-1, 1], (accounts, positions))
    names = np.strings.zfill(np.arange(accounts).astype(np.str_), len(str(accounts)))
    columns = (np.repeat(np.arange(accounts), positions), instrument.ravel(), quantity.ravel())
    return Book.from_codes(names, *columns, np.full(contracts, UNGROUPED))
