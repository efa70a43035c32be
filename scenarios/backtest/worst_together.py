"""Do books have their worst losses at the same moments? The share of worst moments that pairs have in common.

Netting across books, and a fund that several of them draw on, rest on the answer: correlation over all days says little
of the days that count. The measure is the sample form of the coefficient of tail dependence at a level (Joe 1997,
section 2.1.10): P(b among its worst | a among its worst).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from pricing.arrays import FloatArray
from pricing.errors import ConfigError


def worst_together(lost: ArrayLike, share: float) -> FloatArray:
    """(B,B) share of the worst moments of one book at which the other has one of its worst, too; symmetric.

    lost   (R,B) losses, + lost
    share  of the moments that are a book's worst, above 0 and below 1: the largest losses, so many of the rows, one at
           least; of equal losses the earlier ones

    1 on the diagonal; `share` on average for books that have nothing to do with each other. ConfigError for losses that
    are no table with a row, or no numbers.
    """
    if not 0.0 < share < 1.0:
        raise ConfigError(f"share = {share!r}: must be above 0 and below 1")
    losses = np.asarray(lost, dtype=np.float64)
    if losses.ndim != 2 or not losses.size or not np.all(np.isfinite(losses)):
        raise ConfigError(
            f"losses of shape {losses.shape}: needs a table of numbers, one row a moment, one column a book"
        )
    count = max(1, round(share * len(losses)))
    worst = np.zeros(losses.shape)
    np.put_along_axis(worst, np.argsort(-losses, axis=0, kind="stable")[:count], 1.0, axis=0)
    return np.asarray(worst.T @ worst / count)


def by_group(together: ArrayLike, group: ArrayLike) -> tuple[tuple[str, ...], FloatArray]:
    """Names of G groups in the order in which they come, and (G,G) means over the pairs of different books of two.

    together  (B,B) `worst_together`
    group     (B,) name of the group of every book

    NaN for a group of one book with itself.
    """
    pairs, names = np.asarray(together, dtype=np.float64), np.asarray(group, dtype=np.str_)
    if pairs.shape != (len(names), len(names)):
        raise ConfigError(f"a table of shape {pairs.shape} for {len(names)} books: needs a row and a column a book")
    order = tuple(dict.fromkeys(names.tolist()))
    member = np.array([names == name for name in order], dtype=np.float64)
    different = 1.0 - np.eye(len(names))
    total, count = member @ (pairs * different) @ member.T, member @ different @ member.T
    return order, np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0.0)
