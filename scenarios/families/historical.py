"""Historical simulation: what happened over every past horizon happens now, as it was or scaled to today's volatility.

All factors of one date move together. Returns are log returns, moves of a horizon are sums of consecutive steps, from
every starting step (overlapping); a factor is a price or a vol. Beside the scenarios of the history stands a set of
stressed ones, never scaled. tier 0 is the scenario in which nothing moves, 1 the history, 2 the stressed set.

Sources: Hull and White (1998), Barone-Adesi, Giannopoulos and Vosper (1999); one ratio for all factors after
Gurrola-Perez and Murphy (Bank of England working paper 525, 2015).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np

from pricing.arrays import DAYS_PER_YEAR, MAX_SCENARIOS, FloatArray
from pricing.errors import ConfigError
from scenarios.filters import ewma_variance, garch_variance, overlapping_sums, scaled_returns
from scenarios.shocks import MarketRows, ScenarioSet, VolDynamics, check_bounds, make

STILL, HISTORY, STRESS = 0, 1, 2
MAX_STEPS = 20_000
# Beyond a factor of 20 either way a log return is a slip of a digit.
LARGEST_RETURN = 3.0
Columns = Mapping[str, tuple[float, ...]]


@dataclass(frozen=True)
class Params:
    """Parameters of the family, with their bounds.

    returns         underlying -> log returns of its price, one a step, oldest first, each -3 to 3 and not all 0
    vol_returns     underlying -> log changes of its vol at 30 days over the same steps; one not named keeps its vol
    dates           last day of each step, names of the scenarios; () for numbers
    step_days       days a step lasts, 0.001 to 30
    horizon_steps   steps of a liquidation horizon, 1 to 60
    windows         latest horizons taken, 1 to 4,000
    method          "plain": as it was; "scaled": scaled to the volatility forecast
    filter          "ewma" or "garch"; both start from the variance of the whole history
    decay           weight of what was known in "ewma", 0 to 0.9999
    garch_alpha     weight of the last return squared in "garch", 0 to 1
    garch_beta      weight of what was known in "garch", 0 to 0.9999, alpha + beta below 1; the long-run variance is
                    that of the history
    scaling         "each": every factor by its own ratio; "common": prices by one ratio, vols by one
    scale_floor     smallest ratio, 0 to 1
    scale_cap       largest ratio, 1 to 100
    stress_returns, stress_vol_returns   the same for the stressed set, over the whole horizon each; never scaled
    stress_dates    names of the stressed scenarios; () for numbers
    passing         "held": no time passes; "passes": the horizon passes
    dynamics        tenor scaling, floors and stickiness of vols
    """

    returns: Mapping[str, tuple[float, ...]]
    vol_returns: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    dates: tuple[str, ...] = ()
    step_days: float = 1.0
    horizon_steps: int = 1
    windows: int = 1000
    method: str = "scaled"
    filter: str = "ewma"
    decay: float = 0.97
    garch_alpha: float = 0.08
    garch_beta: float = 0.90
    scaling: str = "common"
    scale_floor: float = 0.5
    scale_cap: float = 4.0
    stress_returns: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    stress_vol_returns: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    stress_dates: tuple[str, ...] = ()
    passing: str = "held"
    dynamics: VolDynamics = field(default_factory=lambda: VolDynamics(short_power=0.30, long_power=0.13))

    def __post_init__(self) -> None:
        bounds = {
            "step_days": (1e-3, 30.0),
            "horizon_steps": (1, 60),
            "windows": (1, 4000),
            "decay": (0.0, 0.9999),
            "garch_alpha": (0.0, 1.0),
            "garch_beta": (0.0, 0.9999),
            "scale_floor": (0.0, 1.0),
            "scale_cap": (1.0, 100.0),
        }
        check_bounds(self, bounds)
        for name in ("horizon_steps", "windows"):
            if int(getattr(self, name)) != getattr(self, name):
                raise ConfigError(f"{name} = {getattr(self, name)!r}: must be a whole number")
        if self.garch_alpha + self.garch_beta >= 1.0:
            raise ConfigError(f"garch_alpha + garch_beta = {self.garch_alpha + self.garch_beta:g}: must be below 1")
        choices = {
            "method": ("plain", "scaled"),
            "filter": ("ewma", "garch"),
            "scaling": ("each", "common"),
            "passing": ("held", "passes"),
        }
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise ConfigError(f"{name} = {getattr(self, name)!r}: must be {' or '.join(known)}")
        if not isinstance(self.dynamics, VolDynamics):
            raise ConfigError(f"dynamics = {self.dynamics!r}: must be VolDynamics(...)")
        self._check_histories()

    @property
    def horizons(self) -> int:
        """Scenarios of the history: the horizons taken."""
        steps = len(next(iter(self.returns.values())))
        return int(min(self.windows, steps - self.horizon_steps + 1))

    def _check_histories(self) -> None:
        steps = _check_columns("returns", self.returns, None)
        if steps == 0:
            raise ConfigError("returns is empty: give log returns of at least one underlying")
        if not self.horizon_steps <= steps <= MAX_STEPS:
            raise ConfigError(f"returns holds {steps} steps: needs {self.horizon_steps} (horizon_steps) to {MAX_STEPS}")
        for key, values in self.returns.items():
            if not np.any(values[-(self.horizons + int(self.horizon_steps) - 1) :]):
                raise ConfigError(f"returns {key}: every log return that is taken is 0; leave out what has no history")
        _check_columns("vol_returns", self.vol_returns, steps)
        stressed = _check_columns("stress_returns", self.stress_returns, None)
        _check_columns("stress_vol_returns", self.stress_vol_returns, stressed)
        for name, count in (("dates", steps), ("stress_dates", stressed)):
            dates = getattr(self, name)
            if not isinstance(dates, (tuple, list)) or len(dates) not in (0, count):
                raise ConfigError(f"{name} = {dates!r}: must be one text a step, {count} of them, or none")
        scenarios = 1 + min(self.windows, steps - self.horizon_steps + 1) + stressed
        if scenarios > MAX_SCENARIOS:
            raise ConfigError(f"windows = {self.windows} makes {scenarios} scenarios, at most {MAX_SCENARIOS}")
        for name in ("returns", "vol_returns", "stress_returns", "stress_vol_returns"):
            frozen = {key: tuple(float(v) for v in values) for key, values in getattr(self, name).items()}
            object.__setattr__(self, name, MappingProxyType(frozen))
        object.__setattr__(self, "dates", tuple(self.dates))
        object.__setattr__(self, "stress_dates", tuple(self.stress_dates))


def scenarios(params: Params, market: MarketRows, history: None = None) -> ScenarioSet:
    """Nothing moves, then the latest horizons, oldest first, then the stressed set; underlyings without a history stand
    still."""
    names = [str(name) for name in market.underlying_id]
    price = overlapping_sums(moves(params, params.returns), params.horizon_steps)
    vol = overlapping_sums(moves(params, params.vol_returns), params.horizon_steps) if params.vol_returns else None
    taken = slice(max(0, len(price) - int(params.windows)), None)
    ends = [params.dates[n + params.horizon_steps - 1] if params.dates else str(n) for n in range(len(price))]
    rows = len(price[taken])
    stressed = len(next(iter(params.stress_returns.values()), ()))
    still = np.zeros((1, len(names)))
    prices = [still, _by_name(params.returns, price[taken], names, rows)]
    prices.append(_by_name(params.stress_returns, _table(params.stress_returns), names, stressed))
    vols = [still, _by_name(params.vol_returns, None if vol is None else vol[taken], names, rows)]
    vols.append(_by_name(params.stress_vol_returns, _table(params.stress_vol_returns), names, stressed))
    marks = params.stress_dates or tuple(str(n) for n in range(stressed))
    passed = params.horizon_steps * params.step_days / DAYS_PER_YEAR if params.passing == "passes" else 0.0
    label = ["still", *(f"history {end}" for end in ends[taken]), *(f"stress {mark}" for mark in marks)]
    made = make(
        label=label,
        price_move=np.expm1(np.vstack(prices)),
        vol_move=np.expm1(np.vstack(vols)),
        time_step_years=np.append(0.0, np.full(rows + stressed, passed)),
        dynamics=params.dynamics,
    )
    tier = np.repeat([STILL, HISTORY, STRESS], [1, rows, stressed])
    return ScenarioSet(**{**vars(made), "tier": tier})


def moves(params: Params, columns: Columns) -> FloatArray:
    """(T,F) log returns of every factor in the order of its name, scaled where the method asks for it."""
    table = _table(columns)
    if params.method == "plain" or not table.size:
        return table
    variance = table.var(axis=0)
    if params.filter == "ewma":
        known = ewma_variance(table, params.decay, variance)
    else:
        omega = (1.0 - params.garch_alpha - params.garch_beta) * variance
        known = garch_variance(table, omega, params.garch_alpha, params.garch_beta, variance)
    return scaled_returns(table, known, params.scale_floor, params.scale_cap, params.scaling == "common")


def _table(columns: Columns) -> FloatArray:
    """(T,F) factors in the order of their names."""
    if not columns:
        return np.zeros((0, 0))
    return np.array([columns[name] for name in sorted(columns)], dtype=np.float64).T


def _by_name(columns: Columns, table: FloatArray | None, names: list[str], rows: int) -> FloatArray:
    """(rows,U) the columns of a table by underlying; 0 for one that has none."""
    result = np.zeros((rows, len(names)))
    order = sorted(columns)
    for u, name in enumerate(names):
        if table is not None and name in columns:
            result[:, u] = table[:, order.index(name)]
    return result


def _check_columns(name: str, columns: object, steps: int | None) -> int:
    """Steps of the columns, 0 where there are none; ConfigError where they are no log returns or of unequal length."""
    if not isinstance(columns, Mapping):
        raise ConfigError(f"{name} = {columns!r}: must be a mapping from underlying to log returns")
    for key, values in columns.items():
        numbers = isinstance(values, (tuple, list)) and {type(value) for value in values} <= {float, int, np.float64}
        if not numbers or not np.all(np.abs(np.asarray(values, dtype=np.float64)) <= LARGEST_RETURN):
            raise ConfigError(f"{name} {key}: must be log returns from {-LARGEST_RETURN:g} to {LARGEST_RETURN:g}")
        if steps is not None and len(values) != steps:
            raise ConfigError(f"{name} {key} holds {len(values)} steps: needs {steps} like the others")
        steps = len(values)
    return steps or 0
