"""price_paths: prices with jumps and a vol that moves, simulated under a mixture of proposals, with their weights.

    dx = (-s^2 v^2 / 2 - lambda m) dt + s v dW + J dN,    m = E[exp(J)] - 1,    x = ln(price / today's)
    d ln v = -kappa ln v dt + xi dB,                      dW dB = rho dt

so that the price is expected to stay where it is, along the forward. J is normal (Merton 1976, Option pricing when
underlying stock returns are discontinuous) or double exponential (Kou 2002, A jump-diffusion model for option pricing).
s is what is left of the total vol when the jumps have their share of the variance: s^2 = vol^2 - lambda E[J^2].

What is rare is sampled more often: parts of the paths have a drift, or more and larger jumps, towards an edge. With
all densities in the denominator (balance heuristic, Veach and Guibas 1995) weights stay below one over the share of
paths without a change, however wrong a proposal is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from pricing.arrays import FloatArray, IntArray
from pricing.errors import ConfigError
from scenarios.shocks import check_bounds

KINDS = ("merton", "kou")
# Of BTC, hourly closes from March 2020 to July 2026, jumps being returns beyond six deviations (`estimate_jumps`): 29 a
# year with 15 % of the variance, mean -0.0085 and deviation 0.0445 at a total vol of 0.618.
JUMPS_PER_YEAR, MEAN_OF_VOL, DEVIATION_OF_VOL = 29.0, -0.0137, 0.0720
UP_SHARE, UP_OF_VOL, DOWN_OF_VOL = 0.44, 0.0528, 0.0660
# Of ln DVOL, daily closes from January 2023 to June 2026 (`estimate_vol`).
MEAN_REVERSION, VOL_OF_VOL, CORRELATION = 10.2, 0.85, -0.08


@dataclass(frozen=True)
class Dynamics:
    """How price and vol move.

    vol              of the price in all, jumps included, per sqrt(year)
    jump             "merton" or "kou"
    jumps_per_year   lambda; 0 for none
    jump_mean, jump_deviation   of normal jumps in the logarithm
    up_share, up_mean, down_mean   of double exponential jumps: share of those up, mean sizes, positive
    mean_reversion   kappa of ln v, per year
    vol_of_vol       xi, per sqrt(year); 0 for a vol that stays
    correlation      rho of vol and price

    ConfigError for values out of bounds, and where the jumps have more variance than there is.
    """

    vol: float
    jump: str = "merton"
    jumps_per_year: float = 0.0
    jump_mean: float = 0.0
    jump_deviation: float = 0.0
    up_share: float = 0.5
    up_mean: float = 0.01
    down_mean: float = 0.01
    mean_reversion: float = 0.0
    vol_of_vol: float = 0.0
    correlation: float = 0.0

    def __post_init__(self) -> None:
        if self.jump not in KINDS:
            raise ConfigError(f"jump = {self.jump!r}: must be one of {', '.join(KINDS)}")
        bounds = {
            "vol": (1e-4, 20.0),
            "jumps_per_year": (0.0, 1e5),
            "jump_mean": (-5.0, 5.0),
            "jump_deviation": (0.0, 5.0),
            "up_share": (0.0, 1.0),
            "up_mean": (1e-9, 0.9),
            "down_mean": (1e-9, 5.0),
            "mean_reversion": (0.0, 1e4),
            "vol_of_vol": (0.0, 20.0),
            "correlation": (-1.0, 1.0),
        }
        check_bounds(self, bounds)
        if self.jump_variance >= self.vol**2:
            raise ConfigError(
                f"vol = {self.vol:g}: the jumps alone have a vol of {self.jump_variance**0.5:.4g}; it must be higher"
            )

    @classmethod
    def usual(cls, vol: float, jump: str = "merton") -> Dynamics:
        """The dynamics measured on BTC, sizes of jumps in proportion to the vol."""
        return cls(
            vol=vol,
            jump=jump,
            jumps_per_year=JUMPS_PER_YEAR,
            jump_mean=MEAN_OF_VOL * vol,
            jump_deviation=DEVIATION_OF_VOL * vol,
            up_share=UP_SHARE,
            up_mean=min(UP_OF_VOL * vol, 0.9),
            down_mean=DOWN_OF_VOL * vol,
            mean_reversion=MEAN_REVERSION,
            vol_of_vol=VOL_OF_VOL,
            correlation=CORRELATION,
        )

    @property
    def jump_variance(self) -> float:
        """Variance per year that jumps make: lambda E[J^2]."""
        if self.jump == "merton":
            second = self.jump_mean**2 + self.jump_deviation**2
        else:
            second = 2.0 * (self.up_share * self.up_mean**2 + (1.0 - self.up_share) * self.down_mean**2)
        return self.jumps_per_year * second

    @property
    def diffusion(self) -> float:
        """s, per sqrt(year), at today's vol."""
        return float(np.sqrt(self.vol**2 - self.jump_variance))

    @property
    def jump_drift(self) -> float:
        """lambda m per year."""
        if self.jump == "merton":
            growth = np.exp(self.jump_mean + self.jump_deviation**2 / 2.0)
        else:
            growth = self.up_share / (1.0 - self.up_mean) + (1.0 - self.up_share) / (1.0 + self.down_mean)
        return float(self.jumps_per_year * (growth - 1.0))


class Proposal(NamedTuple):
    """What part of the paths is drawn from.

    share      of the paths
    drift      added to the normal numbers of the price, of every step
    vol_drift  added to those of the vol that are independent of it
    intensity  of jumps, per year
    jump_mean  of normal jumps
    up_share, up_mean, down_mean   of double exponential jumps
    """

    share: float
    drift: float
    vol_drift: float
    intensity: float
    jump_mean: float
    up_share: float
    up_mean: float
    down_mean: float


class Paths(NamedTuple):
    """n simulated paths at M times.

    log_price  (M,n) ln of the price over today's
    log_vol    (M,n) ln of the vol over today's
    likelihood (n,J) density of each proposal over that of the mixture; the first proposal is the model itself, so that
               column 0 is the weight of a path, and every column has the mean 1
    proposal   (n,) which proposal a path was drawn from
    mirrored   whether two and two, one beside the other, have mirrored noise; else all are independent
    """

    log_price: FloatArray
    log_vol: FloatArray
    likelihood: FloatArray
    proposal: IntArray
    mirrored: bool


def proposals(dynamics: Dynamics, years: float, steps: int, edges: Sequence[tuple[float, float]]) -> list[Proposal]:
    """The model itself, and what leads to edges, (ln price, ln vol) each, of today's.

    For one along the price (ln vol 0): one with a drift all the way to it, one with jumps all the way, and one with
    half of either: most paths that get there have a part of both. The vol goes where the correlation takes it. For any
    other edge: one with a drift of price and vol all the way to it; where ln price is 0, the price goes along.
    """
    jumps = dynamics.jumps_per_year, dynamics.jump_mean, dynamics.up_share, dynamics.up_mean, dynamics.down_mean
    plain = Proposal(1.0, 0.0, 0.0, *jumps)
    found = [plain]
    for edge, vol_edge in edges:
        drift = edge / (dynamics.diffusion * np.sqrt(years * steps))
        if vol_edge != 0.0:
            found += _towards_vol(dynamics, years, steps, plain, drift, vol_edge)
            continue
        found.append(plain._replace(drift=drift))
        if dynamics.jumps_per_year > 0.0:
            # What cannot happen under the model is not drawn either.
            up = (0.95 if edge > 0 else 0.05) if 0.0 < dynamics.up_share < 1.0 else dynamics.up_share
            jumping = plain._replace(intensity=max(dynamics.jumps_per_year, 1.0 / years), up_share=up)
            for part in (1.0, 0.5):
                mean = part * edge if dynamics.jump_deviation > 0.0 else dynamics.jump_mean
                led = jumping._replace(drift=(1.0 - part) * drift, jump_mean=mean)
                size = {"up_mean": max(part * edge, plain.up_mean), "down_mean": max(-part * edge, plain.down_mean)}
                found.append(led._replace(**size))
    return [proposal._replace(share=1.0 / len(found)) for proposal in found]


def _towards_vol(
    dynamics: Dynamics, years: float, steps: int, plain: Proposal, drift: float, vol_edge: float
) -> list[Proposal]:
    """A drift to an edge that is not today's vol; none where vols do not move, or the price alone moves them."""
    rho = dynamics.correlation
    if dynamics.vol_of_vol == 0.0 or abs(rho) == 1.0:
        return []
    step = years / steps
    kept, spread = _vol_step(dynamics, step)
    # What a number added in every step adds to ln v at the end.
    sum_of_steps = spread * float(np.sum(kept ** np.arange(steps)))
    needed = vol_edge / sum_of_steps
    drift = rho * needed if drift == 0.0 else drift
    return [plain._replace(drift=drift, vol_drift=(needed - rho * drift) / np.sqrt(1.0 - rho * rho))]


def simulated(
    dynamics: Dynamics,
    years: float,
    steps: int,
    paths: int,
    seed: int | Sequence[int],
    drawn: Sequence[Proposal],
    mirrored: bool = True,
) -> Paths:
    """Paths over `years` in `steps` equal steps.

    paths  number of paths, rounded up to two for every proposal at least; each proposal has its share of them
    seed   of the generator: the same seed gives the same paths
    drawn  the proposals, the first being the model itself
    mirrored  whether paths come in pairs with mirrored noise
    """
    random = np.random.default_rng(seed)
    pairs = [max(int(np.ceil(paths * proposal.share / 2.0)), 1) for proposal in drawn]
    proposal = np.repeat(np.arange(len(drawn)), [2 * count for count in pairs])
    noise, other, jumps, sums = _drawn(dynamics, years, steps, random, drawn, pairs, mirrored)
    step = years / steps
    log_vol = _log_vol(dynamics, step, noise, other)
    before = np.exp(np.vstack([np.zeros(len(proposal)), log_vol[:-1]]))
    diffusion = dynamics.diffusion * before
    moves = (-0.5 * diffusion**2 - dynamics.jump_drift) * step + diffusion * np.sqrt(step) * noise + jumps
    shares = np.bincount(proposal) / len(proposal)
    densities = np.column_stack([_log_density(dynamics, years, steps, p, (noise, other), jumps, sums) for p in drawn])
    top = densities.max(axis=1, keepdims=True)
    relative = np.exp(densities - top)
    likelihood = relative / (relative @ shares)[:, None]
    return Paths(np.cumsum(moves, axis=0), log_vol, likelihood, proposal, mirrored)


def _drawn(
    dynamics: Dynamics,
    years: float,
    steps: int,
    random: np.random.Generator,
    drawn: Sequence[Proposal],
    pairs: list[int],
    mirrored: bool,
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """(steps,n) normal numbers of price and of vol, and jumps; (4,n) number of jumps and of those up, and what those
    up and those down add up to, both positive, for double exponential ones.

    The noise of a mirrored pair is mirrored about its drift; the jumps are the same.
    """
    columns = []
    twins = 2 if mirrored else 1
    for proposal, pair_count in zip(drawn, pairs, strict=True):
        count = 2 * pair_count // twins
        normal = random.standard_normal((2, steps, count))
        number = random.poisson(proposal.intensity * years / steps, (steps, count))
        if dynamics.jump == "merton":
            up, rise, fall = np.zeros_like(number), np.zeros(number.shape), np.zeros(number.shape)
            spread = np.sqrt(number) * random.standard_normal((steps, count))
            jump = number * proposal.jump_mean + dynamics.jump_deviation * spread
        else:
            up = random.binomial(number, proposal.up_share)
            rise = proposal.up_mean * random.standard_gamma(up)
            fall = proposal.down_mean * random.standard_gamma(number - up)
            jump = rise - fall
        both = np.repeat(normal, twins, axis=2)
        if mirrored:
            both[:, :, 1::2] *= -1.0
        summed = np.stack([part.sum(axis=0) for part in (number, up, rise, fall)])
        noise = both[0] + proposal.drift, both[1] + proposal.vol_drift
        columns.append((*noise, np.repeat(jump, twins, axis=1), np.repeat(summed, twins, axis=1)))
    price, vol, jumps, sums = (np.concatenate(parts, axis=1) for parts in zip(*columns, strict=True))
    return price, vol, jumps, sums


def _log_vol(dynamics: Dynamics, step: float, noise: FloatArray, other: FloatArray) -> FloatArray:
    """(M,n) ln v by the exact transition of its equation."""
    rho = dynamics.correlation
    kept, spread = _vol_step(dynamics, step)
    shocks = spread * (rho * noise + np.sqrt(1.0 - rho * rho) * other)
    result = np.empty_like(noise)
    level = np.zeros(noise.shape[1])
    for m in range(len(noise)):
        level = kept * level + shocks[m]
        result[m] = level
    return result


def _vol_step(dynamics: Dynamics, step: float) -> tuple[float, float]:
    """What is left of ln v after a step, and the deviation of what comes new."""
    kappa = dynamics.mean_reversion
    variance = step if kappa == 0.0 else -np.expm1(-2.0 * kappa * step) / (2.0 * kappa)
    return float(np.exp(-kappa * step)), float(dynamics.vol_of_vol * np.sqrt(variance))


def _log_density(
    dynamics: Dynamics,
    years: float,
    steps: int,
    proposal: Proposal,
    noise: tuple[FloatArray, FloatArray],
    jumps: FloatArray,
    sums: FloatArray,
) -> FloatArray:
    """(n,) ln of the density of what was drawn under a proposal, over that under the model."""
    result = np.zeros(noise[0].shape[1])
    for drift, numbers in zip((proposal.drift, proposal.vol_drift), noise, strict=True):
        if drift != 0.0:
            result += drift * numbers.sum(axis=0) - steps * drift**2 / 2.0
    if dynamics.jumps_per_year == 0.0:
        return np.asarray(result)
    number, up, rise, fall = sums
    result += number * np.log(proposal.intensity / dynamics.jumps_per_year)
    result -= (proposal.intensity - dynamics.jumps_per_year) * years
    if dynamics.jump == "merton":
        if proposal.jump_mean != dynamics.jump_mean:
            away = proposal.jump_mean - dynamics.jump_mean
            middle = (proposal.jump_mean + dynamics.jump_mean) / 2.0
            result += away / dynamics.jump_deviation**2 * (jumps.sum(axis=0) - number * middle)
        return np.asarray(result)
    for amount, size, share, mean, plain, usual in (
        (up, rise, proposal.up_share, proposal.up_mean, dynamics.up_share, dynamics.up_mean),
        (number - up, fall, 1.0 - proposal.up_share, proposal.down_mean, 1.0 - dynamics.up_share, dynamics.down_mean),
    ):
        if plain > 0.0:
            result += amount * np.log(share / plain * usual / mean) + size * (1.0 / usual - 1.0 / mean)
    return np.asarray(result)
