"""okx_pm: OKX's portfolio margin, as far as it is published.

per underlying: MMR = max(max(MR1, MR2, MR6) + MR3 + MR4 + MR5, MR7), initial margin 1.3 x MMR
MR1 worst of a grid of price and vol, MR2 decay of a day, MR6 half of the worst loss at twice the largest move,
MR3 vols of expiries apart, MR4 basis, MR5 rates, MR7 a minimum by size

A perpetual moves by the move of its index, not by its own price in proportion.

MR3 and MR5 are ours in form and need their parameters; borrowing (MR8) and stablecoins (MR9) are not part of it.
Source: docs/models/okx_pm.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from types import MappingProxyType

import numpy as np

from portfolio_margin import risk_units
from portfolio_margin.balances_owed import CHARGE
from portfolio_margin.book import Book
from portfolio_margin.collateral import moved_assets
from portfolio_margin.currency_debts import CurrencyCells, cells_in_dollars, currency_debt_lines, with_currency_debts
from portfolio_margin.deribit_matrix import coin_of
from portfolio_margin.dollars import dollars, is_dollar, is_own_money
from portfolio_margin.lacking import gather
from portfolio_margin.nearest import did_you_mean_or_known
from portfolio_margin.order_bounds import Excess, Reach, debts_ceiling, sizes_of
from portfolio_margin.requirement import Contribution, ParameterSet, Requirement, Traits, european_on_coins
from portfolio_margin.risk_units import UnitRows, Units, vega_per_contract, whole_ticks
from pricing.arrays import DAYS_PER_YEAR, MILLISECONDS_PER_YEAR, BoolArray, FloatArray, IntArray, StrArray
from pricing.errors import ConfigError
from pricing.instruments import Kind
from pricing.market import UNDATED
from scenarios.risk_arrays import RiskArrays
from scenarios.shocks import MarketRows, ScenarioSet, VolDynamics, check_bounds, make

ANY = "any"
VOL_CASES = ((1.0, "up"), (0.0, "same"), (-1.0, "down"))


@dataclass(frozen=True)
class Group:
    """What the venue states per group of underlyings.

    price_moves      of MR1, on each side, ascending, 0.001 to 0.45
    basis_perpetual  MR4 of a perpetual per unit of delta, 0 to 1
    basis_annual     MR4 of a dated expiry per unit of delta and year, where it is more, 0 to 5
    minimum          MR7 per unit of delta, whatever its side, 0 to 1
    """

    price_moves: tuple[float, ...]
    basis_perpetual: float
    basis_annual: float
    minimum: float

    def __post_init__(self) -> None:
        check_bounds(self, {"basis_perpetual": (0.0, 1.0), "basis_annual": (0.0, 5.0), "minimum": (0.0, 1.0)})
        moves = self.price_moves
        inside = bool(moves) and all(isinstance(m, (int, float)) and 0.001 <= m <= 0.45 for m in moves)
        if not inside or any(b <= a for a, b in pairwise(moves)):
            raise ConfigError(f"price_moves = {moves!r}: must be numbers from 0.001 to 0.45, ascending")


@dataclass(frozen=True)
class Params:
    """Parameters of OKX's portfolio margin.

    groups              name -> Group; as many price moves for each
    group_of            "btc" -> name of its group; "any" for underlyings that are not named
    haircut             asset -> share of its balance that is no collateral, 0 to 1; "any" for others but dollars
    vol_days            days to expiry at which vol shocks are stated, in between on straight lines
    vol_points, vol_percent   vol shocks there, absolute and relative; the larger one applies, 0 to 5
    theta_days          time that passes in MR2, 0 to 30
    extreme_multiple    of the largest move in MR6, 1 to 3
    extreme_share       of the loss there, 0 to 1
    tier_limits         raw MR7 in USD from which on the next multiplier applies, ascending
    tier_multipliers    of the parts of raw MR7 between the limits, one more than limits, 1 to 100
    initial_factor      initial margin per unit of maintenance margin, 1 to 5
    term_structure_vol  vol by which expiries move apart in MR3, 0 to 5; not published, needed for options
    rate_move           rate by which curves move in MR5, 0 to 1; not published as a rule, needed for dated contracts
    """

    groups: Mapping[str, Group]
    group_of: Mapping[str, str]
    haircut: Mapping[str, float] = field(default_factory=dict)
    vol_days: tuple[float, ...] = (0.0, 30.0, 60.0)
    vol_points: tuple[float, ...] = (0.30, 0.25, 0.20)
    vol_percent: tuple[float, ...] = (0.50, 0.35, 0.25)
    theta_days: float = 1.0
    extreme_multiple: float = 2.0
    extreme_share: float = 0.5
    tier_limits: tuple[float, ...] = (10e3, 70e3, 170e3, 300e3, 470e3, 700e3)
    tier_multipliers: tuple[float, ...] = (1.0, 2.0, 4.0, 6.0, 8.0, 10.0, 12.0)
    initial_factor: float = 1.3
    term_structure_vol: float | None = None
    rate_move: float | None = None

    def __post_init__(self) -> None:
        bounds = {"theta_days": (0.0, 30.0), "extreme_multiple": (1.0, 3.0), "extreme_share": (0.0, 1.0)}
        check_bounds(self, {**bounds, "initial_factor": (1.0, 5.0)})
        for name, high in (("term_structure_vol", 5.0), ("rate_move", 1.0)):
            if getattr(self, name) is not None:
                check_bounds(self, {name: (0.0, high)})
        if len({len(self.vol_days), len(self.vol_points), len(self.vol_percent)}) != 1 or not self.vol_days:
            raise ConfigError("vol_days, vol_points, vol_percent: need as many entries each, and one at least")
        if len(self.tier_multipliers) != len(self.tier_limits) + 1:
            raise ConfigError("tier_multipliers: needs one entry more than tier_limits")
        self._check_lists()
        for name in ("groups", "group_of", "haircut"):
            if not isinstance(getattr(self, name), Mapping):
                raise ConfigError(f"{name} = {getattr(self, name)!r}: must be a mapping")
            table = {str(key).lower(): value for key, value in getattr(self, name).items()}
            object.__setattr__(self, name, MappingProxyType(table))
        if not all(isinstance(group, Group) for group in self.groups.values()):
            raise ConfigError(f"groups = {self.groups!r}: must be a mapping from name to Group")
        if len({len(group.price_moves) for group in self.groups.values()}) > 1:
            raise ConfigError("groups: every group needs the same number of price_moves")
        for name, group in self.group_of.items():
            if group not in self.groups:
                raise ConfigError(f"group_of {name} = {group!r}{did_you_mean_or_known(group, list(self.groups))}")
        for name, share in self.haircut.items():
            if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0.0 <= share <= 1.0:
                raise ConfigError(f"haircut {name} = {share!r}: must be a number from 0 to 1")

    def _check_lists(self) -> None:
        ascending = ("vol_days", "tier_limits")
        for name, low, high in (
            ("vol_days", 0.0, 1e4),
            ("vol_points", 0.0, 5.0),
            ("vol_percent", 0.0, 5.0),
            ("tier_limits", 0.0, 1e12),
            ("tier_multipliers", 1.0, 100.0),
        ):
            values = getattr(self, name)
            fits = all(not isinstance(v, bool) and isinstance(v, (int, float)) and low <= v <= high for v in values)
            if not fits or (name in ascending and any(b <= a for a, b in pairwise(values))):
                order = ", ascending" if name in ascending else ""
                raise ConfigError(f"{name} = {values!r}: must be numbers from {low:g} to {high:g}{order}")

    def group(self, underlying: str) -> Group:
        """The group of an underlying. ConfigError where it has none."""
        base = underlying.lower().partition("_")[0]
        if base not in self.group_of and ANY not in self.group_of:
            known = did_you_mean_or_known(base, list(self.group_of)) if self.group_of else ""
            raise ConfigError(f"no group_of.{base} among the parameters, which {underlying} needs{known}")
        return self.groups[self.group_of.get(base, self.group_of.get(ANY, ""))]

    def haircut_of(self, asset: str) -> float:
        """That of an asset. ConfigError where it has none."""
        if asset.lower() not in self.haircut and ANY not in self.haircut:
            raise ConfigError(f"no haircut.{asset.lower()} among the parameters: the venue's discounts go by tiers")
        return float(self.haircut.get(asset.lower(), self.haircut.get(ANY, 0.0)))


@dataclass(frozen=True)
class Model:
    """OKX's portfolio margin."""

    params: Params
    parameter_set: ParameterSet = field(default_factory=ParameterSet)
    model_id: str = field(default="okx_pm", init=False)
    traits: Traits = field(
        default=Traits(proportional=("scan", "vega", "basis", "rate"), ours=("vega", "rate", CHARGE)), init=False
    )

    def scenario_set(self, market: MarketRows) -> ScenarioSet:
        """MR1: prices from the lowest, vol up, same, down; then MR2; then MR6, down and up."""
        groups = gather(partial(self.params.group, str(name)) for name in market.underlying_id)
        side = np.array([group.price_moves for group in groups], dtype=np.float64).reshape(len(groups), -1)
        steps = side.shape[1]
        ladder = np.column_stack([-side[:, ::-1], np.zeros(len(groups)), side])
        ends = self.params.extreme_multiple * side[:, -1:]
        moves = np.column_stack([np.repeat(ladder, len(VOL_CASES), axis=1), 0.0 * ends, -ends, ends])
        case = np.append(np.tile([sign for sign, _ in VOL_CASES], 2 * steps + 1), np.zeros(3))
        left = np.where(market.expiry_time == UNDATED, market.valuation_time, market.expiry_time)
        days = np.maximum((left - market.valuation_time) / MILLISECONDS_PER_YEAR, 0.0) * DAYS_PER_YEAR
        percent, points = (
            np.interp(days, self.params.vol_days, getattr(self.params, name)) for name in ("vol_percent", "vol_points")
        )
        labels = [f"price {step:+d}/{steps} vol {name}" for step in range(-steps, steps + 1) for _, name in VOL_CASES]
        passed = np.zeros(len(case))
        passed[-3] = self.params.theta_days / DAYS_PER_YEAR
        return make(
            [*labels, "decay", "extreme down", "extreme up"],
            np.ascontiguousarray(moves.T),
            time_step_years=passed,
            expiry_vol_move=case[:, None] * percent,
            expiry_vol_shift=case[:, None] * points,
            dynamics=VolDynamics(combine="larger"),
        )

    def not_covered(self, arrays: RiskArrays) -> StrArray:
        """(N,) options with early exercise and contracts on stocks; what lacks parameters is refused."""
        return european_on_coins(arrays, "OKX")

    def debts_covered(self, arrays: RiskArrays) -> BoolArray:
        """(N,) dollars, where the margin currency is one, and coins that rise in some scenario."""
        return is_own_money(arrays) | moved_assets(arrays)

    def haircut(self, arrays: RiskArrays) -> FloatArray:
        """(N,) that of each asset, none on dollars; 1 of assets without one, which `requirement` refuses where any is
        held."""
        asset = arrays.is_collateral & ~is_dollar(arrays)
        known = [not {ANY, str(name).lower()}.isdisjoint(self.params.haircut) for name in arrays.instrument_id]
        result = np.where(asset, 1.0, 0.0)
        rows = np.flatnonzero(asset & np.array(known, dtype=np.bool_))
        result[rows] = [self.params.haircut_of(str(arrays.instrument_id[row])) for row in rows]
        return result

    def _haircuts(self, arrays: RiskArrays, rows: IntArray) -> FloatArray:
        result = np.zeros(len(arrays))
        result[rows] = gather(partial(self.params.haircut_of, str(arrays.instrument_id[row])) for row in rows)
        return result

    def requirement(
        self, book: Book, arrays: RiskArrays, *, backend: str = "numba", threads: int | None = None
    ) -> Requirement:
        """Requirement of every account; "scan" is max(MR1, MR2, MR6), "minimum" what MR7 adds to the others."""
        rows = self._rows(arrays, book)
        found = risk_units.requirement(
            book, arrays, rows, lambda units: self._charges(units, arrays), backend=backend, threads=threads
        )
        view, factors = self._currencies(arrays, rows, book), (float(self.params.initial_factor), 1.0)
        return with_currency_debts(found, book, arrays, view, factors, backend=backend, threads=threads)

    def order_excess(self, arrays: RiskArrays, reach: Reach) -> tuple[Excess, ...]:
        """Vegas of unlike expiries that another part takes apart, the minimum at the highest tier in reach less the
        lowest; a ceiling of what debts cost."""
        p, rows = self.params, self._rows(arrays, reach.book)
        apart = (p.term_structure_vol or 0.0) * np.abs(vega_per_contract(arrays))
        least = np.array([p.group(str(name)).minimum for name in arrays.underlying_id] + [0.0])[arrays.underlying_idx]
        size = np.where(arrays.is_collateral, 0.0, np.abs(arrays.delta) * least)
        raw = sizes_of(reach, size[:, None], arrays.underlying_idx, len(arrays.underlying_id))[:, 0]
        tier = np.searchsorted(np.array(p.tier_limits), raw / dollars(arrays, "the tiers of MR7"), side="right")
        rates = np.array(p.tier_multipliers)
        grown = np.append(rates[tier] - rates[0], 0.0)[arrays.underlying_idx]
        contract = p.initial_factor * np.where(arrays.is_collateral, 0.0, np.maximum(apart, size * grown))
        debts = debts_ceiling(arrays, self._currencies(arrays, rows, reach.book), reach, float(p.initial_factor))
        return (Excess(contract, {CHARGE: debts}),)

    def contributions(self, book: Book, arrays: RiskArrays) -> list[Contribution]:
        """The scan position by position, the other charges by underlying."""
        rows = self._rows(arrays, book)
        lines = risk_units.contributions(book, arrays, rows, lambda units: self._charges(units, arrays))
        view, factors = self._currencies(arrays, rows, book), (float(self.params.initial_factor), 1.0)
        return lines + currency_debt_lines(book, arrays, view, factors)

    def _currencies(self, arrays: RiskArrays, unit_rows: UnitRows, book: Book) -> CurrencyCells:
        """Coins beside the scan; what they cost stands in for MR8, whose rates are not published."""
        haircut = self._haircuts(arrays, _coins_held(arrays, book))
        scan = unit_rows.net[:, : unit_rows.scenarios]
        rows = np.where(arrays.is_collateral[:, None], arrays.rows * self._weight(arrays), scan)
        coins = [coin_of(str(name)) for name in arrays.underlying_id]
        return cells_in_dollars(arrays, rows, coins, haircut, is_own_money(arrays))

    def _weight(self, arrays: RiskArrays) -> FloatArray:
        """(S,) share of the P&L of each scenario that counts."""
        weight = np.ones(len(arrays.scenario_set))
        weight[-2:] = self.params.extreme_share
        return weight

    def _charges(self, units: Units, arrays: RiskArrays) -> dict[str, FloatArray]:
        """Ticks; net columns are delta and vega."""
        delta, vega = units.net_by_expiry.T
        years = arrays.years_to_expiry[units.expiry]
        groups = [self.params.group(str(name)) for name in arrays.underlying_id]
        owner = arrays.terms.expiry_underlying[units.expiry]
        perpetual, annual, least = (
            np.array([getattr(group, name) for group in groups], dtype=np.float64)
            for name in ("basis_perpetual", "basis_annual", "minimum")
        )
        basis = units.over_expiries(np.abs(delta) * np.maximum(perpetual[owner], annual[owner] * years))
        apart = units.over_expiries(np.abs(vega)) - np.abs(units.net[:, 1])
        moved = np.abs(units.over_expiries(delta * years))
        raw = units.gross[:, 0] * least[units.underlying] * units.tick_size
        parts = {
            "scan": units.scan,
            "vega": (self.params.term_structure_vol or 0.0) * np.maximum(apart, 0.0) / 2.0,
            "basis": basis,
            "rate": (self.params.rate_move or 0.0) * moved,
        }
        all_of_them = np.sum(list(parts.values()), axis=0)
        dollar = dollars(arrays, "the tiers of MR7")[units.underlying]
        parts["minimum"] = np.maximum(self._tiered(raw / dollar) * dollar / units.tick_size - all_of_them, 0.0)
        return {name: values[:, None] * [self.params.initial_factor, 1.0] for name, values in parts.items()}

    def _tiered(self, raw: FloatArray) -> FloatArray:
        """(R,) MR7 in USD: every part of the raw charge (R,) times the multiplier of its tier."""
        edges = np.array([0.0, *self.params.tier_limits, np.inf])
        inside = np.clip(raw[:, None], edges[:-1], edges[1:]) - edges[:-1]
        return np.asarray(inside @ np.array(self.params.tier_multipliers))

    def _check_options(self, kinds: set[int]) -> None:
        if self.params.term_structure_vol is None and Kind.OPTION in kinds:
            raise ConfigError("term_structure_vol must be given for options: the table of MR3 is not published")

    def _check_dated(self, kinds: set[int]) -> None:
        if self.params.rate_move is None and kinds & {Kind.OPTION, Kind.FUTURE}:
            raise ConfigError("rate_move must be given for dated contracts: the rule of MR5 is not published")

    def lacking(self) -> list[str]:
        """What options and dated contracts need and nobody gave; `compare` says it where there is no margin."""
        try:
            gather((partial(self._check_options, {Kind.OPTION}), partial(self._check_dated, {Kind.OPTION})))
        except ConfigError as error:
            return str(error).splitlines()
        return []

    def _rows(self, arrays: RiskArrays, book: Book) -> UnitRows:
        kinds = set(arrays.kind[book.instrument_idx[book.quantity != 0]].tolist())
        checks = partial(self._check_options, kinds), partial(self._check_dated, kinds)
        gather((*checks, partial(self._haircuts, arrays, _coins_held(arrays, book))))
        weight = self._weight(arrays)
        net = np.column_stack([arrays.pnl * by_index(arrays) * weight, arrays.delta, vega_per_contract(arrays)])
        size = whole_ticks(np.abs(arrays.delta)[:, None], arrays)
        return UnitRows(whole_ticks(net, arrays), size, np.zeros_like(size), len(weight))


def _coins_held(arrays: RiskArrays, book: Book) -> IntArray:
    """Rows of assets other than dollars of which some account has some."""
    held = np.unique(book.instrument_idx[book.quantity > 0])
    return np.asarray(held[(arrays.is_collateral & ~is_dollar(arrays))[held]])


def by_index(arrays: RiskArrays) -> FloatArray:
    """(N,S) P&L of a perpetual that moves by what its index moves by, per unit of P&L where it moves in proportion.

    index / mark; of an inverse one, whose gain is counted at the coin's price after the move m,
    index (1 + m) / (mark + index m). 1 for all other contracts.
    """
    count = len(arrays.scenario_set)
    moves = np.broadcast_to(arrays.scenario_set.price_move, (count, len(arrays.underlying_id))).T
    owner, expiry = np.maximum(arrays.underlying_idx, 0), np.maximum(arrays.expiry_idx, 0)
    move = moves[owner] if len(moves) else np.zeros((len(arrays), count))
    index, mark = (np.append(column, 1.0) for column in (arrays.terms.spot, arrays.terms.forward))
    index, mark = index[owner][:, None], mark[expiry][:, None]
    inverse = arrays.terms.is_inverse[:, None]
    after = np.where(inverse, index * (1.0 + move) / (mark + index * move), index / mark)
    return np.where((arrays.kind == Kind.PERPETUAL)[:, None], after, 1.0)
