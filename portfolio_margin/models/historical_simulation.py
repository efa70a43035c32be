"""historical_simulation: 99 % expected shortfall or value at risk over filtered historical and stressed scenarios.

The shape that CME SPAN 2, OCC STANS and Eurex PRISMA share, as far as they publish it; their data and weights are
private, so every factor is a parameter.

measure     tail mean or quantile of the loss, averaged over sub-samples of the history (one per starting day)
correlation break   clip(k sqrt(mean over windows of (measure of the window - measure)+^2), floor, cap as shares)
market      "larger": max(history + break, w stress)       (PRISMA)
            "blend": max((1 - w)(history + break) + w stress, floor stress)       (SPAN 2)
liquidity   alpha sum over contracts of (measure of the position alone x factor(size / capacity) + half spread)
            alpha = max(floor, measure of the account / sum of the measures of its positions)
concentration   sum over underlyings of Y sigma |delta| sqrt(|delta| / daily volume)       (square-root impact)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal, localcontext
from itertools import pairwise
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from portfolio_margin.aggregate import account_sums
from portfolio_margin.blocks import blocks
from portfolio_margin.book import Book
from portfolio_margin.collateral import haircuts, moved_assets
from portfolio_margin.contributions import exact_amounts, position_line, position_ticks, underlying_name
from portfolio_margin.dollars import money_of_amounts
from portfolio_margin.order_bounds import Excess, Reach, most, per_contract, range_of, turning_rates
from portfolio_margin.requirement import EXACT, Contribution, ParameterSet, Requirement, Traits
from portfolio_margin.tail_measures import MEASURES, QUANTILES, blended, scenario_weights, tail_measure, tail_weights
from pricing.arrays import BoolArray, FloatArray, IntArray, StrArray
from pricing.errors import ConfigError
from pricing.instruments import Kind
from scenarios.families import historical
from scenarios.of_arrays import of_arrays
from scenarios.risk_arrays import RiskArrays
from scenarios.shocks import MarketRows, ScenarioSet, check_bounds, list_of_numbers

CHARGES = ("historical", "correlation_break", "stress", "liquidity", "concentration")
NONE: Mapping[str, float] = MappingProxyType({})
# Contracts whose tails are sought at once, some 30 MB.
ROWS_AT_ONCE = 1000


@dataclass(frozen=True)
class Params:
    """Parameters, with their bounds.

    history               returns, filter, horizon and stressed set: `scenarios.families.historical.Params`
    measure               "es" or "var"
    confidence            0.5 to 0.9999
    quantile              "plotting" or "order": what a quantile of few losses is, see `tail_measures`
    subsamples            sub-samples of the history, its scenarios taken in turn, 1 to 20
    stress_confidence     of the same measure over the stressed set, 0.5 to 0.9999
    combine               "larger" or "blend"
    stress_weight         w, 0 to 2 ("larger"), at most 1 ("blend")
    stress_floor          least share of the stressed part in "blend", 0 to 1
    break_factor          k of the correlation break, 0 to 5
    break_floor           its least share of the historical part, 0 to 1
    break_cap             its largest share, 0 to 2
    break_window          scenarios of a window inside a sub-sample, 10 to 4,000, at most those of the shortest one
    break_step            scenarios from one window to the next, 1 to 1,000
    liquidity_sizes       sizes in shares of the capacity at which factors are given, rising from 0
    liquidity_factors     factors at these sizes, 0 to 10, linear between them and flat beyond
    capacity              underlying -> notional that the market takes over a horizon, in margin currency, where that is
                          a coin in its quote currency, and so are volumes, 1 to 1e15
    default_capacity      of underlyings not named, 1 to 1e15
    liquidity_alpha       least alpha, 0 to 1
    half_spread           cost of closing a contract as a share of its notional, 0 to 0.1
    impact                Y of the concentration charge, 0 to 10
    daily_volume          underlying -> notional traded a day, 1 to 1e15
    default_daily_volume  of underlyings not named, 1 to 1e15
    initial_factor        initial margin per unit of requirement, 1 to 5
    maintenance_factor    maintenance margin per unit of requirement, 0.01 to 1
    haircut               of every asset but the margin currency, on top of its scenarios, 0 to 1
    """

    history: historical.Params
    measure: str = "es"
    confidence: float = 0.99
    quantile: str = "plotting"
    subsamples: int = 1
    stress_confidence: float = 0.95
    combine: str = "larger"
    stress_weight: float = 0.8
    stress_floor: float = 0.0
    break_factor: float = 0.5
    break_floor: float = 0.0
    break_cap: float = 0.5
    break_window: int = 250
    break_step: int = 50
    liquidity_sizes: tuple[float, ...] = (0.0, 0.01, 0.1, 1.0)
    liquidity_factors: tuple[float, ...] = (0.0, 0.05, 0.25, 1.0)
    capacity: Mapping[str, float] = field(default_factory=lambda: NONE)
    default_capacity: float = 1e8
    liquidity_alpha: float = 0.2
    half_spread: float = 0.0005
    impact: float = 0.5
    daily_volume: Mapping[str, float] = field(default_factory=lambda: NONE)
    default_daily_volume: float = 1e9
    initial_factor: float = 1.0
    maintenance_factor: float = 0.8
    haircut: float = 0.05

    def __post_init__(self) -> None:
        check_bounds(self, BOUNDS)
        for name in ("subsamples", "break_window", "break_step"):
            if int(getattr(self, name)) != getattr(self, name):
                raise ConfigError(f"{name} = {getattr(self, name)!r}: must be a whole number")
        choices = {"measure": MEASURES, "quantile": QUANTILES, "combine": ("larger", "blend")}
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise ConfigError(f"{name} = {getattr(self, name)!r}: must be {' or '.join(known)}")
        if self.combine == "blend" and self.stress_weight > 1.0:
            raise ConfigError(f"stress_weight = {self.stress_weight!r}: must be at most 1 with combine = 'blend'")
        if self.break_floor > self.break_cap:
            raise ConfigError(f"break_floor = {self.break_floor!r}: must not exceed break_cap = {self.break_cap!r}")
        if not isinstance(self.history, historical.Params):
            raise ConfigError(f"history = {self.history!r}: must be scenarios.families.historical.Params(...)")
        if self.subsamples > self.history.horizons:
            text = f"must not exceed the {self.history.horizons} horizons of the history"
            raise ConfigError(f"subsamples = {self.subsamples!r}: {text}")
        shortest = self.history.horizons // int(self.subsamples)
        if self.break_factor > 0.0 and self.break_window > shortest:
            text = f"no window fits a sub-sample of {shortest} scenarios; give a shorter one, or break_factor = 0"
            raise ConfigError(f"break_window = {self.break_window!r}: {text}")
        self._check_liquidity()

    def _check_liquidity(self) -> None:
        names = ("liquidity_sizes", "liquidity_factors")
        sizes, factors = (list_of_numbers(name, getattr(self, name)) for name in names)
        if not len(sizes) or sizes[0] != 0.0 or not np.all(np.diff(sizes) > 0):
            raise ConfigError(f"liquidity_sizes = {self.liquidity_sizes!r}: must rise from 0")
        if factors.shape != sizes.shape or not np.all((factors >= 0.0) & (factors <= 10.0)):
            raise ConfigError(f"liquidity_factors = {self.liquidity_factors!r}: one from 0 to 10 for every size")
        for name in ("capacity", "daily_volume"):
            values = getattr(self, name)
            if not isinstance(values, Mapping):
                raise ConfigError(f"{name} = {values!r}: must be a mapping from underlying to notional")
            for key, value in values.items():
                if isinstance(value, bool) or not isinstance(value, (int, float)) or not 1.0 <= value <= 1e15:
                    raise ConfigError(f"{name} {key} = {value!r}: must be a number from 1 to 1e15")
            object.__setattr__(self, name, MappingProxyType(dict(values)))


BOUNDS = {
    "confidence": (0.5, 0.9999),
    "subsamples": (1, 20),
    "stress_confidence": (0.5, 0.9999),
    "stress_weight": (0.0, 2.0),
    "stress_floor": (0.0, 1.0),
    "break_factor": (0.0, 5.0),
    "break_floor": (0.0, 1.0),
    "break_cap": (0.0, 2.0),
    "break_window": (10, 4000),
    "break_step": (1, 1000),
    "default_capacity": (1.0, 1e15),
    "liquidity_alpha": (0.0, 1.0),
    "half_spread": (0.0, 0.1),
    "impact": (0.0, 10.0),
    "default_daily_volume": (1.0, 1e15),
    "initial_factor": (1.0, 5.0),
    "maintenance_factor": (0.01, 1.0),
    "haircut": (0.0, 1.0),
}


class MarketRisk(NamedTuple):
    """(A,) each, in the unit of the losses.

    historical, correlation_break, stress   the charges; stress is what the stressed set adds to the other two
    measure, stressed   of the history and of the stressed set, before they are combined
    """

    historical: FloatArray
    correlation_break: FloatArray
    stress: FloatArray
    measure: FloatArray
    stressed: FloatArray


class Alone(NamedTuple):
    """(N,) measure of one unit held by itself, long and short, ticks, 0 for what the book does not hold; (U,) standard
    deviation of the price moves."""

    long: FloatArray
    short: FloatArray
    sigma: FloatArray


@dataclass(frozen=True)
class Model:
    """Historical simulation; its parameters have no defaults without a history."""

    params: Params
    parameter_set: ParameterSet = field(default_factory=ParameterSet)
    model_id: str = field(default="historical_simulation", init=False)
    traits: Traits = field(default=Traits(), init=False)

    def scenario_set(self, market: MarketRows) -> ScenarioSet:
        """The history and the stressed set."""
        return historical.scenarios(self.params.history, market)

    def not_covered(self, arrays: RiskArrays) -> StrArray:
        """(N,) names contracts and stock whose underlying has no history."""
        known = np.append(self._known(arrays), True)[arrays.underlying_idx]
        lacks = ~known & (arrays.kind != Kind.CASH)
        named = np.append(arrays.underlying_id, "")[arrays.underlying_idx]
        reason = np.array([f"no price history for {name}: give history.returns.{name}" for name in named], np.str_)
        return np.where(lacks, reason, "")

    def debts_covered(self, arrays: RiskArrays) -> BoolArray:
        """(N,) assets that a scenario moves; a fixed rate of exchange loses nowhere."""
        return moved_assets(arrays)

    @of_arrays
    def haircut(self, arrays: RiskArrays) -> FloatArray:
        """(N,) share of a long balance that does not count; all of a coin without a history."""
        blind = arrays.is_collateral & ~np.append(self._known(arrays), True)[arrays.underlying_idx]
        return np.where(blind, 1.0, haircuts(arrays, self.params.haircut, {}))

    def requirement(
        self, book: Book, arrays: RiskArrays, *, backend: str = "numba", threads: int | None = None
    ) -> Requirement:
        """Requirement of every account; charges "historical", "correlation_break", "stress", "liquidity",
        "concentration"."""
        ticks = {name: np.zeros(len(book)) for name in CHARGES}
        worst, measure = np.full(len(book), -1), np.zeros(len(book))
        for block in blocks(book, arrays, haircut=self.haircut(arrays), backend=backend, threads=threads):
            here = slice(block.first, block.last)
            found = self.market_risk(-block.ticks, arrays.scenario_set.tier)
            measure[here] = found.measure
            for name in ("historical", "correlation_break", "stress"):
                ticks[name][here] = getattr(found, name)
            lowest = np.argmin(block.ticks, axis=1)
            loses = block.ticks[np.arange(len(block)), lowest] < 0
            worst[here] = np.where(loses, lowest, -1)
        alone = self._alone(book, arrays)
        positions = self._liquidity_ticks(book, arrays, alone, measure)
        account = np.repeat(np.arange(len(book)), np.diff(book.position_ptr))
        np.add.at(ticks["liquidity"], account, positions)
        delta = self._delta(book, arrays, backend, threads)
        ticks["concentration"] = self._concentration(delta, alone.sigma, arrays).sum(axis=1) / arrays.tick_size
        factors = np.array([self.params.initial_factor, self.params.maintenance_factor]) * arrays.tick_size
        charges = {name: ticks[name][:, None] * factors for name in CHARGES}
        total = sum(charges.values(), np.zeros((len(book), 2)))
        return Requirement(total[:, 0], total[:, 1], worst, charges)

    def order_excess(self, arrays: RiskArrays, reach: Reach) -> tuple[Excess, ...]:
        """Ceilings of liquidity and impact, from the measure of the worst fills scenario by scenario. An expected
        shortfall is never more together than apart; a quantile by no more than the largest loss of the other part. The
        correlation break is at most its cap, or moves by no more than the larger of twice its factor and its cap."""
        p, factor = self.params, self.params.initial_factor
        rows, haircut = per_contract(arrays, arrays.rows), self.haircut(arrays)
        found = self.market_risk(most(reach, -rows, haircut=haircut), arrays.scenario_set.tier)
        share = 1.0 if p.combine == "larger" else 1.0 - p.stress_weight
        largest = np.abs(rows).max(axis=1, initial=0.0)
        weight = max(share, p.stress_weight) if p.combine == "larger" else max(1.0, p.stress_floor)
        rates = turning_rates(arrays, haircut, factor * weight)
        rates += factor * weight * largest if p.measure == "var" else 0.0
        ceilings = {
            "liquidity": factor * self._liquidity_ceiling(arrays, reach, float(found.measure[0])),
            "concentration": factor * self._impact_ceiling(arrays, reach),
        }
        moved = factor * share * max(2.0 * p.break_factor, p.break_cap) * largest
        cap = factor * share * p.break_cap * float(found.measure[0])
        return Excess(rates, ceilings, cap), Excess(rates + moved, ceilings)

    def _liquidity_ceiling(self, arrays: RiskArrays, reach: Reach, measure: float) -> float:
        """The most of the liquidity charge where the account's measure is at most `measure`: alpha is the measure over
        the sum of those alone, or its least, and 1 at most."""
        p, alone, size = self.params, self._alone(reach.book, arrays), reach.size
        contract = ~arrays.is_collateral
        units = np.where(contract, size / arrays.unit, 0.0) * arrays.tick_size
        risk = units * np.maximum(alone.long, alone.short)
        notional = np.where(contract, size * arrays.notional, 0.0)
        capacity = _by_underlying(arrays, p.capacity, p.default_capacity)[arrays.underlying_idx]
        grown = np.interp(notional / capacity, p.liquidity_sizes, np.maximum.accumulate(p.liquidity_factors))
        whole = float(risk @ grown)
        risky = min(max(measure * float(grown.max(initial=0.0)), p.liquidity_alpha * whole), whole)
        return risky + p.half_spread * float(notional.sum())

    def _impact_ceiling(self, arrays: RiskArrays, reach: Reach) -> float:
        """The most of the square-root impact, every underlying at its largest delta."""
        delta = np.where(arrays.is_collateral, 0.0, arrays.delta)[:, None]
        largest = range_of(reach, delta, arrays.underlying_idx, len(arrays.underlying_id)).T
        return float(self._concentration(largest, self._alone(reach.book, arrays).sigma, arrays).sum())

    def market_risk(self, losses: FloatArray, tier: IntArray) -> MarketRisk:
        """Market risk of accounts from their losses (A,S), with the tier (S,) of every scenario."""
        p = self.params
        history = losses[:, tier == historical.HISTORY]
        samples = [history[:, first :: int(p.subsamples)] for first in range(int(p.subsamples))]
        measured = [self._measure(sample, p.confidence) for sample in samples]
        broken = [self._break(sample, found) for sample, found in zip(samples, measured, strict=True)]
        count = len(samples)
        base, extra = sum(measured, np.zeros(len(losses))) / count, sum(broken, np.zeros(len(losses))) / count
        stressed = self._measure(losses[:, tier == historical.STRESS], p.stress_confidence)
        if p.combine == "larger":
            adds = np.maximum(p.stress_weight * stressed - (base + extra), 0.0)
            return MarketRisk(base, extra, adds, base, stressed)
        share = 1.0 - p.stress_weight
        mixed = blended(base + extra, stressed, p.stress_weight, p.stress_floor)
        adds = np.maximum(mixed - share * base - share * extra, 0.0)
        return MarketRisk(share * base, share * extra, adds, base, stressed)

    def contributions(self, book: Book, arrays: RiskArrays) -> list[Contribution]:
        """Market risk by what every position loses in the scenarios of the tail; liquidity by position; the rest by
        account and underlying."""
        product = position_ticks(book, arrays, haircut=self.haircut(arrays))
        losses = -product.sum(axis=0)[None, :]
        tier = arrays.scenario_set.tier
        found = self.market_risk(losses, tier)
        with localcontext(EXACT):
            lines = self._market_lines(book, arrays, -product, losses[0], found)
            alone = self._alone(book, arrays)
            charged = self._liquidity_ticks(book, arrays, alone, found.measure)
            for p in np.flatnonzero(charged):
                amounts = exact_amounts(float(charged[p]), arrays, self._factors)
                lines.append(position_line(book, arrays, int(p), "liquidity", amounts))
            delta = self._delta(book, arrays, "numpy", 1)
            for u, amount in enumerate(self._concentration(delta, alone.sigma, arrays)[0] / arrays.tick_size):
                if amount > 0:
                    name = str(arrays.underlying_id[u])
                    amounts = exact_amounts(float(amount), arrays, self._factors)
                    lines.append(Contribution("concentration", name, "", f"delta of {name}", 0.0, "", *amounts))
            return lines

    @property
    def _factors(self) -> tuple[float, float]:
        return self.params.initial_factor, self.params.maintenance_factor

    def _known(self, arrays: RiskArrays) -> np.ndarray:
        return np.array([str(name) in self.params.history.returns for name in arrays.underlying_id], dtype=np.bool_)

    def _measure(self, losses: FloatArray, confidence: float) -> FloatArray:
        if not losses.shape[1]:
            return np.zeros(len(losses))
        weights = tail_weights(losses.shape[1], confidence, self.params.measure, self.params.quantile)
        return tail_measure(losses, weights)

    def _break(self, sample: FloatArray, measure: FloatArray) -> FloatArray:
        """Correlation break of one sub-sample: how far windows of it exceed the whole, in the mean square."""
        p, square = self.params, np.zeros(len(sample))
        window = int(p.break_window)
        starts = range(0, sample.shape[1] - window + 1, int(p.break_step)) if p.break_factor > 0 else range(0)
        for start in starts:
            excess = self._measure(sample[:, start : start + window], p.confidence) - measure
            square += np.maximum(excess, 0.0) ** 2
        size = p.break_factor * np.sqrt(square / max(len(starts), 1))
        return np.asarray(np.clip(size, p.break_floor * measure, p.break_cap * measure))

    def _alone(self, book: Book, arrays: RiskArrays) -> Alone:
        chosen = arrays.scenario_set.tier == historical.HISTORY
        held = np.unique(book.instrument_idx)
        held = held[~arrays.is_collateral[held]]
        sigma = _deviation(arrays)
        long, short = np.zeros(len(arrays)), np.zeros(len(arrays))
        for first in range(0, len(held), ROWS_AT_ONCE):
            rows = held[first : first + ROWS_AT_ONCE]
            gains = arrays.rows[np.ix_(rows, np.flatnonzero(chosen))]
            long[rows], short[rows] = (self._measure(side * gains, self.params.confidence) for side in (-1.0, 1.0))
        return Alone(long, short, sigma)

    def _liquidity_ticks(self, book: Book, arrays: RiskArrays, alone: Alone, measure: FloatArray) -> FloatArray:
        """(P,) liquidity add-on of every position, ticks; measure (A,) of the accounts."""
        p, row = self.params, book.instrument_idx
        account = np.repeat(np.arange(len(book)), np.diff(book.position_ptr))
        size = np.abs(book.quantity)
        units = np.where(arrays.is_collateral[row], 0.0, size / arrays.unit[row])
        risk = units * np.where(book.quantity > 0, alone.long[row], alone.short[row])
        notional = np.where(arrays.is_collateral[row], 0.0, size * arrays.notional[row])
        capacity = _by_underlying(arrays, p.capacity, p.default_capacity)[arrays.underlying_idx[row]]
        factor = np.interp(notional / capacity, p.liquidity_sizes, p.liquidity_factors)
        gross = np.zeros(len(book))
        np.add.at(gross, account, risk)
        share = np.where(gross > 0, measure / np.where(gross > 0, gross, 1.0), 0.0)
        alpha = np.clip(share, p.liquidity_alpha, 1.0)
        return np.asarray(alpha[account] * (risk * factor + p.half_spread * notional / arrays.tick_size))

    def _delta(self, book: Book, arrays: RiskArrays, backend: str, threads: int | None) -> FloatArray:
        """(A,U) delta of the contracts, margin currency for a relative move of 1."""
        return account_sums(book, arrays, _delta_rows(arrays), backend=backend, threads=threads)

    def _concentration(self, delta: FloatArray, sigma: FloatArray, arrays: RiskArrays) -> FloatArray:
        """(A,U) square-root impact of closing the delta, margin currency."""
        volume = _by_underlying(arrays, self.params.daily_volume, self.params.default_daily_volume)[:-1]
        size = np.abs(delta)
        return np.asarray(self.params.impact * sigma * size * np.sqrt(size / volume))

    def _market_lines(
        self, book: Book, arrays: RiskArrays, loss: FloatArray, total: FloatArray, found: MarketRisk
    ) -> list[Contribution]:
        """Lines of the market risk: loss (P,S) of the positions, total (S,) of the account, ticks."""
        p, tier = self.params, arrays.scenario_set.tier
        share = 1.0 if p.combine == "larger" else 1.0 - p.stress_weight
        lines: list[Contribution] = []
        if found.measure[0] > 0 and share > 0:
            weight = share * self._history_weights(total, tier)
            lines += self._tail_lines(book, arrays, loss, weight, "historical")
        if found.correlation_break[0] > 0:
            amounts = exact_amounts(float(found.correlation_break[0]), arrays, self._factors)
            lines.append(Contribution("correlation_break", "account", "", "windows of the history", 0.0, "", *amounts))
        if found.stress[0] <= 0:
            return lines
        stressed = tier == historical.STRESS
        weight = np.zeros(len(tier))
        ranks = tail_weights(int(stressed.sum()), p.stress_confidence, p.measure, p.quantile)
        weight[stressed] = p.stress_weight * scenario_weights(total[stressed], ranks)
        adds = self._tail_lines(book, arrays, loss, weight, "stress")
        lines += adds
        # What the historical part covers already, or the floor adds: the charge is the difference.
        parts = [Decimal(float(v)) * Decimal(repr(float(arrays.tick_size))) for v in found.stress[:1]]
        for name, side in (("initial", 0), ("maintenance", 1)):
            wanted = parts[0] * Decimal(repr(float(self._factors[side])))
            parts.append(wanted - sum((getattr(line, name) for line in adds), Decimal(0)))
        lines.append(Contribution("stress", "account", "", "less historical part", 0.0, "", parts[1], parts[2]))
        return lines

    def _history_weights(self, total: FloatArray, tier: IntArray) -> FloatArray:
        """(S,) weight of every scenario in the average of the sub-samples."""
        p, weight = self.params, np.zeros(len(tier))
        columns = np.flatnonzero(tier == historical.HISTORY)
        for first in range(int(p.subsamples)):
            own = columns[first :: int(p.subsamples)]
            ranks = tail_weights(len(own), p.confidence, p.measure, p.quantile)
            chosen = scenario_weights(total[own], ranks)
            # A sub-sample whose measure is below 0 counts as 0.
            if float(chosen @ total[own]) > 0:
                weight[own] = chosen / p.subsamples
        return weight

    def _tail_lines(
        self, book: Book, arrays: RiskArrays, loss: FloatArray, weight: FloatArray, charge: str
    ) -> list[Contribution]:
        scenarios = np.flatnonzero(weight)
        label = str(arrays.scenario_set.label[scenarios[0]]) if len(scenarios) == 1 else ""
        lines = []
        for first, last in pairwise(book.group_ptr):
            for position in range(int(first), int(last)):
                exact = sum(
                    (Decimal(float(loss[position, s])) * Decimal(float(weight[s])) for s in scenarios), Decimal(0)
                )
                if exact:
                    name = underlying_name(arrays, book.instrument_idx[position])
                    amounts = exact_amounts(exact, arrays, self._factors)
                    line = position_line(book, arrays, position, charge, amounts, netting_set=name, scenario=label)
                    lines.append(line)
        return lines


@of_arrays
def _deviation(arrays: RiskArrays) -> FloatArray:
    """(U,) standard deviation of the price moves of the history."""
    moves = arrays.scenario_set.price_move[arrays.scenario_set.tier == historical.HISTORY]
    return np.asarray(np.broadcast_to(moves, (len(moves), len(arrays.underlying_id))).std(axis=0))


@of_arrays
def _delta_rows(arrays: RiskArrays) -> FloatArray:
    """(N,U) delta of contracts by underlying, ticks per unit."""
    rows = np.zeros((len(arrays), len(arrays.underlying_id)))
    contract = np.flatnonzero(~arrays.is_collateral)
    delta = (arrays.delta * arrays.unit / arrays.tick_size)[contract]
    rows[contract, arrays.underlying_idx[contract]] = delta if arrays.tick is None else np.rint(delta)
    return rows


def _by_underlying(arrays: RiskArrays, values: Mapping[str, float], default: float) -> FloatArray:
    """(U+1,) the value of every underlying in margin currency, and one for what has none."""
    stated = np.array([values.get(str(name), default) for name in arrays.underlying_id], dtype=np.float64)
    return np.append(stated * money_of_amounts(arrays), default)
