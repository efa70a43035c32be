"""overview: the edge of one account, all of it: prices, distance, contour, probability of a breach, score."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from portfolio_margin.edge.contour import Contour, contour
from portfolio_margin.edge.distance import Bands, Distance, VolDistance, distance, implied_vol_over
from portfolio_margin.edge.levels import Case
from portfolio_margin.edge.nearest_point import NearestPoint, nearest_point
from portfolio_margin.edge.price_paths import Dynamics
from portfolio_margin.edge.prices import LiquidationPrices, Span, liquidation_prices
from portfolio_margin.edge.probability import BEYOND, BreachProbability, Simulation, breach_probability
from portfolio_margin.edge.score import ScoreInputs, ScoreParams, risk_score, score_inputs
from portfolio_margin.edge.vols import LiquidationVols
from pricing.arrays import DAYS_PER_YEAR
from pricing.errors import ConfigError


@dataclass(frozen=True)
class EdgeSettings:
    """How an edge is looked for.

    horizon_days  of deviations and of the probability; None for a day, or to the first expiry held if that is sooner
    span          of prices
    dynamics      of price and vol; None for the usual ones at the implied vol
    simulation    of the probability
    bands, score  of warning
    """

    horizon_days: float | None = None
    span: Span = field(default_factory=Span)
    dynamics: Dynamics | None = None
    simulation: Simulation = field(default_factory=Simulation)
    bands: Bands = field(default_factory=Bands)
    score: ScoreParams = field(default_factory=ScoreParams)


@dataclass(frozen=True)
class Edge:
    """Everything about the edge of one account.

    case         the account, and how its market is moved
    prices       all liquidation prices at today's vols
    distance     how far they are, in price, deviations and days
    contour      the boundary over price and vol
    joint        the nearest point of it, in deviations of price and vol
    probability  of a breach within the horizon
    inputs       of the score
    score        0 to 100, see `risk_score`
    dynamics     of price and vol behind deviations and probability
    vol_implied  whether their vol is the one implied over the horizon
    """

    case: Case
    prices: LiquidationPrices
    distance: Distance
    contour: Contour
    joint: NearestPoint
    probability: BreachProbability
    inputs: ScoreInputs
    score: float
    dynamics: Dynamics
    vol_implied: bool


def horizon_of(case: Case, days: float | None) -> float:
    """The horizon in days: as asked, or a day, or to the first expiry held if that is sooner.

    The first expiry as it is printed, with six digits, is the moment itself. ConfigError where the horizon is not above
    0 or ends after it: from there on an account depends on the price of that day.
    """
    latest = case.first_expiry_years * DAYS_PER_YEAR
    chosen = min(1.0, latest) if days is None else days
    if chosen < float("inf") and f"{chosen:.6g}" == f"{latest:.6g}":
        return latest
    if not 0.0 < chosen <= latest or not chosen < float("inf"):
        remedy = f"must be above 0 and at most {latest:.6g}, when the first contract held expires: {BEYOND}"
        raise ConfigError(f"horizon_days = {chosen!r}: {remedy}")
    return chosen


def leads(prices: LiquidationPrices, vols: LiquidationVols, joint: NearestPoint) -> list[tuple[float, float]]:
    """Price and vol multiples of the nearest edges along either and over both, for `breach_probability`."""
    found = [(1.0 + move, 1.0) for move in prices.nearest if -1.0 < move < np.inf]
    found += [(1.0, 1.0 + move) for move in vols.nearest if -1.0 < move < np.inf]
    return [*found, (joint.price, joint.vol)] if np.isfinite(joint.sigmas) else found


def edge(case: Case, settings: EdgeSettings | None = None) -> Edge:
    """The edge of the account of a case.

    settings  None for the usual ones
    ConfigError where the horizon is beyond the first expiry, or a contract expires at this very moment.
    """
    how = settings or EdgeSettings()
    days = horizon_of(case, how.horizon_days)
    years = days / DAYS_PER_YEAR
    dynamics = how.dynamics or Dynamics.usual(implied_vol_over(case, years))
    prices = liquidation_prices(case, how.span)
    around = contour(case, how.span)
    joint = nearest_point(case, dynamics, years, around.span, around.points)
    vols = VolDistance(*around.columns.nearest, dynamics.vol_of_vol * float(np.sqrt(years)))
    away = distance(case, prices, days, vol=dynamics.vol, vols=vols, joint=joint.sigmas, bands=how.bands)
    probability = breach_probability(case, days, dynamics, how.simulation, leads(prices, around.columns, joint))
    inputs = score_inputs(case, prices, away, how.score)
    return Edge(
        case=case,
        prices=prices,
        distance=away,
        contour=around,
        joint=joint,
        probability=probability,
        inputs=inputs,
        score=float(risk_score(inputs, how.score)),
        dynamics=dynamics,
        vol_implied=how.dynamics is None,
    )
