"""distance: how far the nearest edge is, in price, vol, deviations of the two and days, and the bands of warning."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from portfolio_margin.edge.expiries import Ageing, ageing
from portfolio_margin.edge.levels import Case
from portfolio_margin.edge.prices import LiquidationPrices
from pricing.arrays import DAYS_PER_YEAR, FloatArray
from pricing.errors import ConfigError, DataError, Problem
from pricing.market import UNDATED
from pricing.surfaces import svi

BANDS = ("safe", "watch", "warning", "critical", "liquidation")


@dataclass(frozen=True)
class Bands:
    """Distances below which an account is in a band; the nearer of the two decides.

    sigmas  critical, warning, watch, rising: deviations of the price over the horizon
    days    the same, days until time alone, decay or an expiry, brings the account to its edge

    A breach by an expiry comes without any move: the account is on watch at least, however far away the day is, and
    where that is within the horizon its band is at least warning.

    ConfigError where they are not three numbers, 0 or more, that rise.
    """

    sigmas: tuple[float, float, float] = (1.0, 2.0, 3.0)
    days: tuple[float, float, float] = (1.0, 3.0, 7.0)

    def __post_init__(self) -> None:
        for name in ("sigmas", "days"):
            values = getattr(self, name)
            rising = len(values) == 3 and 0.0 <= values[0] <= values[1] <= values[2] < np.inf
            if not rising:
                raise ConfigError(f"{name} = {values!r}: must be three finite numbers, 0 or more, not falling")

    def of(
        self, sigmas: float, days: float, liquidated: bool = False, *, by_expiry: bool = False, horizon: float = 1.0
    ) -> str:
        """The band of an account so far from its edge.

        sigmas, days  to the edge
        liquidated    whether the account is beyond it
        by_expiry     whether it is an expiry that brings it there in so many days
        horizon       days
        """
        if liquidated:
            return BANDS[-1]
        least = (1 + (days <= horizon)) if by_expiry else 0
        reached = max(
            sum(distance < bound for bound in bounds) for distance, bounds in ((sigmas, self.sigmas), (days, self.days))
        )
        return BANDS[max(reached, least)]


@dataclass(frozen=True)
class VolDistance:
    """How far the edge is along the vols, the price staying where it is.

    below, above  relative moves of the vols to the nearest edges, -1 and inf where there is none
    deviation     of ln(vol) over the horizon
    """

    below: float = -1.0
    above: float = np.inf
    deviation: float = 0.0

    @property
    def sigmas(self) -> float:
        """Deviations to the nearer of the two, inf where there is none or vols do not move."""
        away = float(_sigmas(np.array([self.below, self.above]), 1.0).min())
        return away / self.deviation if self.deviation > 0.0 else np.inf


@dataclass(frozen=True)
class Distance:
    """How far an account is from its edge.

    below, above    relative price moves to the nearest edges, -1 and inf where none was found
    sigmas_below, sigmas_above  the same in deviations: |ln(1 + move)| / deviation, inf where there is none
    vols_below, vols_above      relative moves of the vols to the nearest edges at today's price, -1 and inf where none
                    was found or it was not looked for
    sigmas_vols     deviations of the vol to the nearer of these, inf where there is none
    sigmas_joint    deviations to the nearest point over price and vol, inf where it was not looked for
    ageing          what time alone does to the account, along the forward and through the expiries of what it holds
    deviation       of ln(price) over the horizon
    horizon_days    the horizon
    band            of `Bands`
    """

    below: float
    above: float
    sigmas_below: float
    sigmas_above: float
    vols_below: float
    vols_above: float
    sigmas_vols: float
    sigmas_joint: float
    ageing: Ageing
    deviation: float
    horizon_days: float
    band: str

    @property
    def days(self) -> float:
        """Until time alone, decay or an expiry, brings the account to its edge; inf where it does not."""
        return self.ageing.days

    @property
    def days_searched(self) -> float:
        """How far ahead was looked: as far as asked for, the last expiry held, or as the model has rules."""
        return self.ageing.days_searched

    @property
    def sigmas(self) -> float:
        """Deviations to the nearest edge; 0 where the account is beyond it."""
        if self.band == BANDS[-1]:
            return 0.0
        return min(self.sigmas_below, self.sigmas_above, self.sigmas_vols, self.sigmas_joint)


def implied_vol_over(case: Case, years: float) -> float:
    """Vol at the money over a time from today, per sqrt(year): total variance of the slices of the underlying, linear
    in time from 0 to the first and from one to the next; beyond the last its vol.

    DataError where the underlying has no slice and no option of the account has a vol: give one.
    """
    market, left = case.mover.market, case.mover.years_left
    own = (market.expiry_underlying == case.mover.underlying) & (market.expiry_time != UNDATED) & (left > 0.0)
    known = np.flatnonzero(own & np.isfinite(market.svi).all(axis=1))
    if not len(known):
        return _vol_of_options(case)
    known = known[np.argsort(left[known])]
    total = svi.total_variance(np, 0.0, *market.svi[known].T)
    times = left[known]
    if years > times[-1]:
        return float(np.sqrt(total[-1] / times[-1]))
    return float(np.sqrt(np.interp(years, np.append(0.0, times), np.append(0.0, total)) / years))


def vol_source(case: Case, years: float) -> str:
    """What `implied_vol_over` reads its vol from, for people: the slices around the time, or an option held."""
    market, left = case.mover.market, case.mover.years_left
    own = (market.expiry_underlying == case.mover.underlying) & (market.expiry_time != UNDATED) & (left > 0.0)
    known = np.flatnonzero(own & np.isfinite(market.svi).all(axis=1))
    if not len(known):
        return "of the option held nearest to the money"
    known = known[np.argsort(left[known])]
    place = int(np.searchsorted(left[known], years))
    around = [str(market.expiry_name[x]) for x in known[max(place - 1, 0) : place + 1]]
    return f"at the money, slice{'s' if len(around) > 1 else ''} {' and '.join(around)}"


def _vol_of_options(case: Case) -> float:
    """Of the options held on the underlying, that whose strike is nearest to its forward, the first expiry first."""
    table, inputs = case.mover.instruments, case.mover.inputs
    rows = np.flatnonzero(table.is_option & (table.underlying_idx == case.mover.underlying) & (inputs.tau > 0.0))
    if not len(rows):
        remedy = "the market has no slice of it, so there is no implied vol: give a vol"
        raise DataError([Problem("market", None, "underlying", case.underlying, remedy)])
    away = np.abs(np.log(inputs.strike[rows] / inputs.forward[rows]))
    return float(inputs.vol[rows[np.lexsort((away, inputs.tau[rows]))[0]]])


def distance(
    case: Case,
    prices: LiquidationPrices,
    horizon_days: float = 1.0,
    *,
    vol: float | None = None,
    vols: VolDistance | None = None,
    joint: float = np.inf,
    most_days: float = 365.0,
    bands: Bands | None = None,
) -> Distance:
    """How far an account is from the nearest of its liquidation prices.

    horizon_days  over which a deviation is meant, above 0
    vol           per sqrt(year); None for the implied vol over the horizon
    vols          edges along the vols at today's price, where they are known
    joint         deviations to the nearest point over price and vol, `nearest_point`, where it is known
    most_days     how far ahead time is followed
    bands         None for the usual ones
    """
    if not 0.0 < horizon_days < np.inf or not 0.0 < most_days < np.inf:
        raise ConfigError(f"horizon_days = {horizon_days!r}, most_days = {most_days!r}: must be finite and above 0")
    years = horizon_days / DAYS_PER_YEAR
    used = implied_vol_over(case, years) if vol is None else vol
    if not 0.0 < used < np.inf:
        raise ConfigError(f"vol = {used!r}: must be finite and above 0")
    deviation = used * np.sqrt(years)
    below, above = prices.nearest
    sigmas = _sigmas(np.array([below, above]), deviation)
    alone = ageing(case, most_days)
    along = vols or VolDistance()
    least = min(float(sigmas.min()), along.sigmas, joint)
    band = (bands or Bands()).of(
        least, alone.days, prices.liquidated, by_expiry=alone.cause is not None, horizon=horizon_days
    )
    both = float(sigmas[0]), float(sigmas[1])
    return Distance(
        below,
        above,
        *both,
        along.below,
        along.above,
        along.sigmas,
        joint,
        alone,
        deviation,
        horizon_days,
        band,
    )


def _sigmas(move: FloatArray, deviation: float) -> FloatArray:
    with np.errstate(divide="ignore"):
        return np.abs(np.log1p(move)) / deviation
