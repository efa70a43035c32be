"""Moves: how prices and vol move together over a time, for draws and for the distance of a move from nothing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pricing.arrays import FloatArray, StrArray, freeze_fields
from pricing.errors import DataError, Problem

HOURS_PER_DAY = 24.0


@dataclass(frozen=True)
class Moves:
    """Joint log moves of prices and of the vol of 30 days over a day: a multivariate t distribution with mean 0.

    underlying_id  (U,) names; all vols move as one
    scale          (U+1,U+1) scale matrix, prices first, then vol; the covariance is scale df / (df - 2)
    df             degrees of freedom, above 2
    source         what it was estimated on

    Raises DataError where scale is no covariance matrix.
    """

    underlying_id: StrArray
    scale: FloatArray
    df: float
    source: str = ""

    def __post_init__(self) -> None:
        freeze_fields(self, {"underlying_id": np.str_, "scale": np.float64})
        size = len(self.underlying_id) + 1
        problems = []
        if self.scale.shape != (size, size) or not np.allclose(self.scale, self.scale.T, rtol=1e-9, atol=0.0):
            problems.append(Problem("moves", None, "scale", self.scale.shape, f"must be symmetric, ({size}, {size})"))
        elif not np.all(np.linalg.eigvalsh(self.scale) > 0.0):
            problems.append(Problem("moves", None, "scale", "", "must have eigenvalues above 0"))
        if not self.df > 2.0:
            problems.append(Problem("moves", None, "df", self.df, "must be above 2, for a variance"))
        if problems:
            raise DataError(problems)

    def over(self, hours: float) -> FloatArray:
        """(U+1,U+1) scale over so many hours, with the square root of time."""
        return np.asarray(self.scale * (hours / HOURS_PER_DAY))

    def for_underlyings(self, names: StrArray) -> Moves:
        """The same with underlyings in this order. DataError naming every one that it knows nothing of."""
        row_of = {str(name): row for row, name in enumerate(self.underlying_id)}
        unknown = [str(name) for name in names if str(name) not in row_of]
        if unknown:
            remedy = "no moves of it are known; known are " + ", ".join(row_of)
            raise DataError([Problem("moves", None, "underlying", name, remedy) for name in unknown])
        rows = [*(row_of[str(name)] for name in names), len(row_of)]
        return Moves(np.array(names), self.scale[np.ix_(rows, rows)], self.df, self.source)

    def draws(self, count: int, hours: float, seed: int) -> FloatArray:
        """(count,U+1) log moves."""
        random = np.random.default_rng(seed)
        normal = random.standard_normal((count, len(self.scale)))
        heavy = np.sqrt(self.df / random.chisquare(self.df, count))
        return np.asarray(heavy[:, None] * (normal @ np.linalg.cholesky(self.over(hours)).T))

    def distance(self, moves: FloatArray, hours: float) -> FloatArray:
        """(M,) Mahalanobis distance of log moves (M,U+1) under the scale: standard deviations of a normal body."""
        white = np.linalg.solve(np.linalg.cholesky(self.over(hours)), np.asarray(moves, dtype=np.float64).T)
        return np.sqrt((white * white).sum(axis=0))


# Maximum likelihood (`fitted`) on 1,185 days, 2023-01-02 to 2026-03-31: BTC spot and ETH perpetual on Binance, DVOL of
# BTC for vol. The moves of vols and prices are hardly correlated over all days; in crashes they are.
RECENT = Moves(
    np.array(["BTC", "ETH"]),
    1e-4 * np.array([[2.812, 2.992, -0.086], [2.992, 5.115, -0.572], [-0.086, -0.572, 9.415]]),
    3.6,
    "BTC, ETH and DVOL, daily, January 2023 to March 2026",
)


def fitted(returns: FloatArray, names: StrArray, source: str = "", rounds: int = 200) -> Moves:
    """Moves of daily log returns (T,U+1), vol last: maximum likelihood of a t distribution with mean 0.

    names   (U,) of the underlyings
    source  what the returns are
    rounds  of the EM algorithm for the scale, for each number of degrees of freedom tried

    Lange, Little and Taylor (1989), equations 3 and 4; degrees of freedom by the profile likelihood on a grid.
    """
    from scipy.special import gammaln

    data = np.asarray(returns, dtype=np.float64)
    count, size = data.shape
    if count <= size or not np.all(np.isfinite(data)):
        raise DataError([Problem("moves", None, "returns", data.shape, "needs more rows than columns, all finite")])
    best: tuple[float, float, FloatArray] | None = None
    for df in np.arange(2.2, 12.1, 0.1):
        scale = data.T @ data / count
        for _ in range(rounds):
            distance = np.einsum("ti,ti->t", data @ np.linalg.inv(scale), data)
            weight = (df + size) / (df + distance)
            again = (weight[:, None] * data).T @ data / count
            if np.allclose(again, scale, rtol=1e-9, atol=0.0):
                break
            scale = again
        constant = gammaln((df + size) / 2) - gammaln(df / 2) - 0.5 * size * np.log(df * np.pi)
        logarithm = np.linalg.slogdet(scale)[1]
        likelihood = count * (constant - 0.5 * logarithm) - 0.5 * (df + size) * np.log1p(distance / df).sum()
        if best is None or likelihood > best[0]:
            best = (float(likelihood), float(df), scale)
    assert best is not None
    return Moves(names, 0.5 * (best[2] + best[2].T), round(best[1], 1), source)
