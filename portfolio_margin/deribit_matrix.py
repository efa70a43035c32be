"""Deribit's risk matrix: the parameters of its portfolio margin and the scenarios they make.

27 standard cells (nine prices from -price_range to +price_range, three vols each) and eight extended cells of large
moves with the vol up. Source: the venue's support article on portfolio margin and `public/pme/get_params`; the
formula of the vol shock is second-hand, see docs/models/deribit_spm.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from portfolio_margin.dollars import DOLLARS, dollars
from portfolio_margin.lacking import gather
from portfolio_margin.nearest import did_you_mean_or_known
from pricing.arrays import MILLISECONDS_PER_YEAR, FloatArray, IntArray, StrArray
from pricing.errors import ConfigError
from pricing.market import UNDATED
from scenarios.dynamics import tenor_scale
from scenarios.risk_arrays import RiskArrays
from scenarios.shocks import MarketRows, ScenarioSet, VolDynamics, check_bounds, make

VOL_CASES = ("up", "same", "down")
COINS = ("worst_each", "cell_by_cell")
EXTENDED_MOVES = (-0.66, -0.33, 0.5, 1.0, 2.0, 3.0, 4.0, 5.0)
QUOTED_IN = ("_usd", "_usdc", "_usdt")


@dataclass(frozen=True)
class CurrencyPair:
    """What the venue states per currency pair ("btc_usd"), under its own names.

    price_range                      largest move of the standard table, 0.01 to 0.9
    volatility_range_up              relative vol shock at 30 days, 0.05 to 5
    volatility_range_down            the same down, 0.05 to 1
    min_volatility_for_shock_up      a vol that is shocked up is at least this, 0 to 10
    short_term_vega_power, long_term_vega_power   of 30 days / days to expiry, up to 30 days and beyond, 0 to 1
    extended_table_factor            share of the extended P&L that counts, 0 to 10
    m_inc                            price move per coin of delta above the threshold, 0 to 1
    max_delta_shock                  the most that the delta shock assumes, 0 to 1
    delta_total_liq_shock_threshold  USD of delta without a shock, 0 to 1e12
    """

    price_range: float
    volatility_range_up: float
    volatility_range_down: float
    min_volatility_for_shock_up: float
    short_term_vega_power: float
    long_term_vega_power: float
    extended_table_factor: float
    m_inc: float
    max_delta_shock: float
    delta_total_liq_shock_threshold: float

    def __post_init__(self) -> None:
        bounds = {
            "price_range": (0.01, 0.9),
            "volatility_range_up": (0.05, 5.0),
            "volatility_range_down": (0.05, 1.0),
            "min_volatility_for_shock_up": (0.0, 10.0),
            "short_term_vega_power": (0.0, 1.0),
            "long_term_vega_power": (0.0, 1.0),
            "extended_table_factor": (0.0, 10.0),
            "m_inc": (0.0, 1.0),
            "max_delta_shock": (0.0, 1.0),
            "delta_total_liq_shock_threshold": (0.0, 1e12),
        }
        check_bounds(self, bounds)


@dataclass(frozen=True)
class CurrencyRisk:
    """What the venue states per currency ("btc"), under its own names; amounts in USD.

    annualised_move_risk  growth of the roll shock with time to expiry, per year, 0 to 5
    min_annualised_move   the least roll shock, which perpetuals pay, 0 to 1
    extended_dampener     taken off an extended cell per multiple of the price range beyond the first, 0 to 1e12
    pnl_offset            share of a gain of this currency that may offset losses, 0 to 1
    max_offsetable_pnl    the most of it, 0 to 1e15
    haircut               share of a balance that is no collateral (cross only), 0 to 1
    equity_side_impact    "both": the currency's equity moves in the matrix (cross only); "none": it does not
    correlation_set       True: the currency moves together with the others of which this is True
    """

    annualised_move_risk: float
    min_annualised_move: float
    extended_dampener: float
    pnl_offset: float
    max_offsetable_pnl: float
    haircut: float = 0.0
    equity_side_impact: str = "both"
    correlation_set: bool = False

    def __post_init__(self) -> None:
        bounds = {
            "annualised_move_risk": (0.0, 5.0),
            "min_annualised_move": (0.0, 1.0),
            "extended_dampener": (0.0, 1e12),
            "pnl_offset": (0.0, 1.0),
            "max_offsetable_pnl": (0.0, 1e15),
            "haircut": (0.0, 1.0),
        }
        check_bounds(self, bounds)
        if self.equity_side_impact not in ("both", "none"):
            raise ConfigError(f"equity_side_impact = {self.equity_side_impact!r}: must be both or none")
        if not isinstance(self.correlation_set, bool):
            raise ConfigError(f"correlation_set = {self.correlation_set!r}: must be true or false")


@dataclass(frozen=True)
class Params:
    """Parameters of Deribit's portfolio margin.

    currency_pair    "btc_usd" -> CurrencyPair, for every underlying of the market
    currency         "btc" -> CurrencyRisk, for every underlying and every asset that is collateral
    mm_factor        maintenance margin per unit of initial margin, 0.01 to 1
    buckets_count    price moves on each side of the standard table, 1 to 50
    extended_moves   relative price moves of the extended table, above -1, 0 left out
    vol_shock        "tenor_scaled": vol shocks grow with (30 / days)^power; "unscaled": they do not. Second-hand
    days_floor       days to expiry below which vol shocks grow no more, 0.001 to 30. Second-hand
    delta_shock      "long_options_hedge": see docs/models/deribit_spm.md; "none". Second-hand
    coins            of deribit_xpm: "worst_each": the worst cells of the coins add up; "cell_by_cell": the coins add up
                     cell by cell, move k of one with move k of the others, and the account has one worst cell
    correlation_contingency  share, 0 to 1, of what currencies in a correlation set save by moving together that is
                     charged all the same. Not published: without it no currency can be in a correlation set
    """

    currency_pair: Mapping[str, CurrencyPair]
    currency: Mapping[str, CurrencyRisk]
    mm_factor: float = 0.8
    buckets_count: int = 4
    extended_moves: tuple[float, ...] = EXTENDED_MOVES
    vol_shock: str = "tenor_scaled"
    days_floor: float = 1.0
    delta_shock: str = "long_options_hedge"
    coins: str = COINS[0]
    correlation_contingency: float | None = None

    def __post_init__(self) -> None:
        check_bounds(self, {"mm_factor": (0.01, 1.0), "buckets_count": (1, 50), "days_floor": (0.001, 30.0)})
        if self.buckets_count != int(self.buckets_count):
            raise ConfigError(f"buckets_count = {self.buckets_count!r}: must be a whole number")
        if self.correlation_contingency is not None:
            check_bounds(self, {"correlation_contingency": (0.0, 1.0)})
        for name, known in (
            ("vol_shock", ("tenor_scaled", "unscaled")),
            ("delta_shock", ("long_options_hedge", "none")),
            ("coins", COINS),
        ):
            if getattr(self, name) not in known:
                raise ConfigError(f"{name} = {getattr(self, name)!r}: must be {' or '.join(known)}")
        moves = tuple(self.extended_moves)
        if not all(isinstance(m, (int, float)) and -1.0 < m <= 100.0 and m != 0.0 for m in moves):
            raise ConfigError(f"extended_moves = {moves!r}: must be numbers above -1, at most 100, and not 0")
        for name, kind in (("currency_pair", CurrencyPair), ("currency", CurrencyRisk)):
            table = getattr(self, name)
            if not isinstance(table, Mapping) or not all(isinstance(value, kind) for value in table.values()):
                raise ConfigError(f"{name} = {table!r}: must be a mapping from name to {kind.__name__}")
            object.__setattr__(self, name, MappingProxyType({str(k).lower(): v for k, v in table.items()}))
        together = [name for name, risk in self.currency.items() if risk.correlation_set]
        if self.coins == "cell_by_cell" and (together or self.correlation_contingency is not None):
            raise ConfigError(
                "coins = 'cell_by_cell': all coins move together, so that correlation_set and "
                "correlation_contingency have no effect; leave them out"
            )
        if together and self.correlation_contingency is None:
            raise ConfigError(
                f"correlation_set of {', '.join(together)} needs correlation_contingency, a share from 0 to 1 "
                "of what moving together saves: the venue does not publish its formula"
            )

    def pair(self, underlying: str) -> CurrencyPair:
        """Of an underlying, by its own name or its coin in dollars. ConfigError where it is missing."""
        name, coin = underlying.lower(), coin_of(underlying)
        for key in (name, *(coin + quote for quote in QUOTED_IN)):
            if key in self.currency_pair:
                return self.currency_pair[key]
        key = name if "_" in name else f"{name}_usd"
        known = did_you_mean_or_known(key, list(self.currency_pair))
        raise ConfigError(f"no currency_pair.{key} among the parameters, which {underlying} needs{known}")

    def risk(self, asset: str) -> CurrencyRisk:
        """Of a currency, or of the coin of an underlying; dollars go by "usd". ConfigError where it is missing."""
        key = coin_of(asset)
        if key not in self.currency and asset.upper() in DOLLARS:
            key = "usd"
        if key not in self.currency:
            known = did_you_mean_or_known(key, list(self.currency))
            raise ConfigError(f"no currency.{key} among the parameters, which {asset} needs{known}")
        return self.currency[key]


def coin_of(name: str) -> str:
    """The coin of an underlying, lower case: of BTC and of BTC_USDC it is btc."""
    return name.lower().partition("_")[0]


def standard_moves(price_range: float, buckets_count: int) -> FloatArray:
    """(2n+1,) relative price moves of the standard table, lowest first."""
    steps = np.arange(-buckets_count, buckets_count + 1)
    return np.asarray(price_range * steps / buckets_count)


def scenario_set(params: Params, market: MarketRows) -> ScenarioSet:
    """The cells of the matrix in the venue's order: buckets from the lowest price, vol up, same, down; then extended.

    vol up = max(vol (1 + up g), minimum), vol down = max(vol (1 - down g), 0) with g = (30 / days)^power.
    """
    names = [str(name) for name in market.underlying_id]
    pairs = gather((partial(params.pair, name) for name in names), (partial(params.risk, name) for name in names))
    buckets = 2 * params.buckets_count + 1
    case = np.append(np.tile([1.0, 0.0, -1.0], buckets), np.ones(len(params.extended_moves)))
    moves = [
        np.append(np.repeat(standard_moves(pair.price_range, params.buckets_count), 3), params.extended_moves)
        for pair in pairs
    ]
    up, down, floor = (
        np.array([getattr(pair, name) for pair in pairs])
        for name in ("volatility_range_up", "volatility_range_down", "min_volatility_for_shock_up")
    )
    owner = market.expiry_underlying
    relative = np.maximum(case, 0.0)[:, None] * up[owner] + np.minimum(case, 0.0)[:, None] * down[owner]
    return make(
        [f"bucket {b + 1} vol {vol}" for b in range(buckets) for vol in VOL_CASES]
        + [f"extended {100 * move:+.0f}%" for move in params.extended_moves],
        np.column_stack(moves),
        expiry_vol_move=relative * _growth(params, pairs, market),
        vol_floor=np.where(case[:, None] > 0.0, floor, 0.0),
    )


def _growth(params: Params, pairs: list[CurrencyPair], market: MarketRows) -> FloatArray:
    """(X,) what vol shocks are multiplied by at each expiry."""
    if params.vol_shock == "unscaled":
        return np.ones(len(market.expiry_time))
    left = np.where(market.expiry_time == UNDATED, market.valuation_time, market.expiry_time) - market.valuation_time
    tau = np.maximum(left / MILLISECONDS_PER_YEAR, 0.0)
    growth = np.ones(len(tau))
    for u, pair in enumerate(pairs):
        here = market.expiry_underlying == u
        powers = VolDynamics(pair.short_term_vega_power, pair.long_term_vega_power, params.days_floor)
        growth[here] = tenor_scale(tau[here], powers)
    return growth


class Terms(NamedTuple):
    """What the parameters mean for one set of risk arrays; amounts in margin currency.

    moves          (U,S) relative price moves of the cells
    extended       (S,) True for cells of the extended table
    scale          (U,S) share of the P&L that counts: extended_table_factor price_range / |move|, 1 in standard cells
    edge           (U,S) 1 + price_range on the side of the move in extended cells, 1 + move in standard cells
    dampener       (U,S) what extended cells are damped by at most, 0 in standard cells
    offset, cap    (U,) share of gains that offsets, and the most of it
    roll           (X,) roll shock per unit of delta
    unit           (U,) one coin
    m_inc, max_shock, threshold   (U,) of the delta shock; the threshold an amount
    together       (U,) True for underlyings in the correlation set
    family         (U,) -> U the first underlying of the same coin: BTC for BTC_USDC
    """

    moves: FloatArray
    extended: np.ndarray
    scale: FloatArray
    edge: FloatArray
    dampener: FloatArray
    offset: FloatArray
    cap: FloatArray
    roll: FloatArray
    unit: FloatArray
    m_inc: FloatArray
    max_shock: FloatArray
    threshold: FloatArray
    together: np.ndarray
    family: IntArray


def terms_for(params: Params, arrays: RiskArrays) -> Terms:
    """The parameters by underlying and expiry of risk arrays that were made under `scenario_set`."""
    names = [str(name) for name in arrays.underlying_id]
    pairs = gather((partial(params.pair, name) for name in names), (partial(params.risk, name) for name in names))
    risks = gather(partial(params.risk, name) for name in names)
    coins = [coin_of(name) for name in names]

    def of(rows: list[CurrencyPair] | list[CurrencyRisk], name: str) -> FloatArray:
        return np.array([getattr(row, name) for row in rows], dtype=np.float64)

    moves = np.ascontiguousarray(arrays.scenario_set.price_move.T)
    extended = np.arange(moves.shape[1]) >= moves.shape[1] - len(params.extended_moves)
    price_range = of(pairs, "price_range")[:, None]
    multiple = np.where(extended, np.abs(moves) / price_range, 1.0)
    factor = np.where(extended, of(pairs, "extended_table_factor")[:, None], 1.0)
    dollar = dollars(arrays, "Deribit's parameters")
    owner, years = arrays.terms.expiry_underlying, arrays.years_to_expiry
    growth = np.expm1(of(risks, "annualised_move_risk")[owner] * years)
    return Terms(
        moves=moves,
        extended=extended,
        scale=factor / multiple,
        edge=1.0 + np.where(extended, np.sign(moves) * price_range, moves),
        dampener=np.maximum(multiple - 1.0, 0.0) * (of(risks, "extended_dampener") * dollar)[:, None],
        offset=of(risks, "pnl_offset"),
        cap=of(risks, "max_offsetable_pnl") * dollar,
        roll=np.maximum(of(risks, "min_annualised_move")[owner], growth),
        unit=arrays.terms.spot * dollar,
        m_inc=of(pairs, "m_inc"),
        max_shock=of(pairs, "max_delta_shock"),
        threshold=of(pairs, "delta_total_liq_shock_threshold") * dollar,
        together=np.array([risk.correlation_set for risk in risks], dtype=np.bool_),
        family=np.array([coins.index(coin) for coin in coins], dtype=np.int64),
    )


def settlement(arrays: RiskArrays) -> tuple[StrArray, IntArray]:
    """Names of the settlement legs and (N,) the leg of each contract, -1 for collateral.

    All contracts that pay in the coin of their underlying are one leg; linear contracts are one leg by currency.
    """
    currency = arrays.terms.currency_id[arrays.terms.currency_idx]
    name = np.where(arrays.terms.is_inverse, "coin", currency)
    legs = np.unique(name[~arrays.is_collateral])
    leg = np.searchsorted(legs, name) if len(legs) else np.zeros(len(arrays), np.int64)
    return legs, np.where(arrays.is_collateral, -1, leg)
