"""What a fit did with the quotes, how good its slices are, and what arbitrage is left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np

from pricing.arbitrage import calendar_minimum, wing_slopes
from pricing.arrays import BoolArray, FloatArray, IntArray, freeze_fields
from pricing.calendar_spread import calendar_free
from pricing.quotes import Quotes, QuoteUse, Selection, without_outliers
from pricing.slice_fit import FEWEST_STRIKES

VOL_POINTS = 100.0
# What is called rough: by vega, which prices feel, and over all quotes alike, which far wings rule.
ROUGH_VOL_POINTS, ROUGH_WING_VOL_POINTS = 2.0, 10.0
# The wing parameters of a raw slice, whose box a search stays in.
WING_NAMES = ("lowest", "left", "right", "m", "sigma")


class SliceStatus(IntEnum):
    """How the slice of one expiry came about.

    REPAIRED  refitted to be free of arbitrage; by "svi_joint" only where its vol moved by more than 0.01 vol points
    FALLBACK  "svi_joint" found slices free of arbitrage only by a search from extended SSVI: compare rmse with
              rmse_unconstrained
    """

    NO_QUOTES = 0
    FLAT = 1
    FITTED = 2
    REPAIRED = 3
    ARBITRAGE = 4
    FALLBACK = 5


@dataclass(frozen=True)
class FitDiagnostics:
    """What a fit did with the quotes and how good the slices are.

    Per expiry (X,), NaN where there is no slice:
      status            `SliceStatus`
      converged         the search ended by its tolerance, not by its limit (true where none was needed)
      quote_count       (X, len(QuoteUse)) quotes by what became of them; MID + MARK are the ones used
      k_low, k_high     range of ln(K/F) of the quotes used
      at_bound          (X,5) raw slices that the quotes would have beyond the box of the search: smallest w, the roots
                        of the left and right wing slope, m, sigma, each at an end of it; false for SSVI
      far_count         used quotes that `without_outliers` would take for outliers: the slice may lean towards them
      rmse              vol points, fitted vol less the mid or mark used, every used quote alike
      rmse_mid          the same over quotes fitted to their mid only
      rmse_vega         the same over used quotes, errors weighted by vega: root of sum (vega error)^2 / sum vega^2,
                        what weighting="vega" makes least; vega times an error of vol is one of price
      rmse_unconstrained   `rmse` of the slice before butterfly arbitrage was removed
      inside_count      used quotes with both sides, which `inside_share` is a share of
      inside_share      share of those whose fitted vol lies in [bid_vol, ask_vol]
      minimum_g, minimum_g_k   smallest Durrleman g on the whole line, and where; below 0 = arbitrage
      minimum_g_unconstrained  the same before butterfly arbitrage was removed
      minimum_total_variance   smallest w of the slice
      wing_slope        (X,2) slopes of w to the left and right; Lee's bound is 2
      crosses_previous  w falls below w of the preceding fitted expiry of the underlying somewhere: exact, by
                        `calendar_free` on the whole line; false for the first
      calendar_gap, calendar_gap_k   smallest w less w of the preceding fitted expiry of the underlying,
                        within 10 standard deviations, and where; below 0 = arbitrage; NaN for the first
      calendar_gap_quoted      the same over the strikes that both expiries have quotes for
      calendar_slope_gap   (X,2) wing slopes less those of the preceding expiry; below 0 the slices
                        cross somewhere in that wing
    Per quote (Q,): quote_use (`QuoteUse`), target_vol (NaN unless used), fitted_vol.
    """

    status: IntArray
    converged: BoolArray
    quote_count: IntArray
    at_bound: BoolArray
    far_count: IntArray
    k_low: FloatArray
    k_high: FloatArray
    rmse: FloatArray
    rmse_mid: FloatArray
    rmse_vega: FloatArray
    rmse_unconstrained: FloatArray
    inside_count: IntArray
    inside_share: FloatArray
    minimum_g: FloatArray
    minimum_g_k: FloatArray
    minimum_g_unconstrained: FloatArray
    minimum_total_variance: FloatArray
    wing_slope: FloatArray
    crosses_previous: BoolArray
    calendar_gap: FloatArray
    calendar_gap_k: FloatArray
    calendar_gap_quoted: FloatArray
    calendar_slope_gap: FloatArray
    quote_use: IntArray
    target_vol: FloatArray
    fitted_vol: FloatArray

    def __post_init__(self) -> None:
        kinds = {"FloatArray": np.float64, "IntArray": np.int64, "BoolArray": np.bool_}
        freeze_fields(self, {name: kinds[str(field.type)] for name, field in self.__dataclass_fields__.items()})

    @property
    def used_count(self) -> IntArray:
        """(X,) quotes the slice was fitted to."""
        return self.quote_count[:, QuoteUse.MID] + self.quote_count[:, QuoteUse.MARK]

    @property
    def rejected_count(self) -> IntArray:
        """(X,) quotes that could not be used; the in-the-money twin of a used quote is not among them."""
        return self.quote_count.sum(axis=1) - self.used_count - self.quote_count[:, QuoteUse.TWIN]

    @property
    def bounds_reached(self) -> tuple[str, ...]:
        """(X,) the names of the wing parameters that are `at_bound`, "" where none is."""
        return tuple(", ".join(np.array(WING_NAMES)[ends]) for ends in self.at_bound)

    def warnings(self, names: Sequence[str] | None = None, rows: BoolArray | None = None) -> tuple[str, ...]:
        """What a reader of the slices should know before using them, with the expiries concerned.

        names  (X,) of the expiry rows; numbers where not given
        rows   (X,) those that are spoken of; those with quotes where not given
        """
        concerned = self.quote_count.sum(axis=1) > 0 if rows is None else rows
        called = np.arange(len(self.status)) if names is None else np.asarray(names)
        found = ((text, called[mask & concerned]) for text, mask in self._doubts().items())
        return tuple(f"{text}: {', '.join(map(str, at))}" for text, at in found if len(at))

    def _doubts(self) -> dict[str, BoolArray]:
        with np.errstate(invalid="ignore"):
            return {
                "a slice has butterfly arbitrage (g below 0)": self.minimum_g < 0,
                "a slice crosses the one before it (calendar arbitrage)": self.crosses_previous,
                "a slice crosses the one before it within quoted strikes": self.calendar_gap_quoted < 0,
                "the joint search ended free of arbitrage only from extended SSVI, maybe far from the quotes": (
                    self.status == SliceStatus.FALLBACK
                ),
                "arbitrage could not be removed from a slice": self.status == SliceStatus.ARBITRAGE,
                "the search for a slice ended by its limit": ~self.converged,
                f"a slice misses its quotes by more than {ROUGH_VOL_POINTS:g} vol points by vega": (
                    self.rmse_vega > ROUGH_VOL_POINTS
                ),
                f"a slice misses its wings by more than {ROUGH_WING_VOL_POINTS:g} vol points, every quote alike": (
                    self.rmse > ROUGH_WING_VOL_POINTS
                ),
                "a slice may lean towards quotes far from the others (reject_outliers leaves them out)": (
                    self.far_count > 0
                ),
                f"a slice rests on fewer than {FEWEST_STRIKES} strikes: its skew is assumed, not quoted": (
                    (self.used_count > 0) & (self.used_count < FEWEST_STRIKES)
                ),
                "no slice: no quote could be used": self.used_count == 0,
            }


def quote_diagnostics(quotes: Quotes, selection: Selection, fitted: FloatArray, expiry_count: int) -> dict[str, Any]:
    """The fields of `FitDiagnostics` that compare fitted vols (Q,) with the quotes used."""
    used, k = selection.used, quotes.log_moneyness
    far = without_outliers(quotes, selection, fitted).use[used] == QuoteUse.OUTLIER
    error = fitted - selection.target_vol
    two_sided = used & (quotes.bid_vol > 0) & (quotes.ask_vol > 0)
    inside = two_sided & (fitted >= quotes.bid_vol) & (fitted <= quotes.ask_vol)
    count = np.zeros((expiry_count, len(QuoteUse)), dtype=np.int64)
    np.add.at(count, (quotes.expiry_idx, selection.use), 1)
    k_low, k_high = np.full(expiry_count, np.inf), np.full(expiry_count, -np.inf)
    np.minimum.at(k_low, quotes.expiry_idx[used], k[used])
    np.maximum.at(k_high, quotes.expiry_idx[used], k[used])
    inside_count = _sums(two_sided.astype(np.float64), quotes, expiry_count)
    return {
        "quote_count": count,
        "far_count": np.bincount(quotes.expiry_idx[used][far], minlength=expiry_count),
        "k_low": np.where(np.isfinite(k_low), k_low, np.nan),
        "k_high": np.where(np.isfinite(k_high), k_high, np.nan),
        "rmse": rms(error, used, quotes, expiry_count),
        "rmse_mid": rms(error, selection.use == QuoteUse.MID, quotes, expiry_count),
        "rmse_vega": rms(error, used, quotes, expiry_count, selection.vega**2),
        "inside_count": inside_count.astype(np.int64),
        "inside_share": _ratio(_sums(inside.astype(np.float64), quotes, expiry_count), inside_count),
    }


def calendar_diagnostics(
    slices: FloatArray, underlying_idx: IntArray, tau: FloatArray, k_low: FloatArray, k_high: FloatArray
) -> dict[str, Any]:
    """The fields that hold each fitted slice against the preceding fitted expiry of the same underlying."""
    gap, k, quoted = (np.full(len(tau), np.nan) for _ in range(3))
    slope_gap, crosses = np.full((len(tau), 2), np.nan), np.zeros(len(tau), dtype=np.bool_)
    fitted = np.flatnonzero(np.isfinite(slices).all(axis=1))
    order = fitted[np.lexsort((tau[fitted], underlying_idx[fitted]))]
    same = np.diff(underlying_idx[order]) == 0
    earlier, later = order[:-1][same], order[1:][same]
    if len(later):
        gap[later], k[later] = calendar_minimum(slices[earlier], slices[later])
        low, high = np.maximum(k_low[earlier], k_low[later]), np.minimum(k_high[earlier], k_high[later])
        quoted[later] = calendar_minimum(slices[earlier], slices[later], low, high).value
        slope_gap[later] = wing_slopes(slices[later]) - wing_slopes(slices[earlier])
        crosses[later] = ~calendar_free(slices[earlier], slices[later])
    return {
        "crosses_previous": crosses,
        "calendar_gap": gap,
        "calendar_gap_k": k,
        "calendar_gap_quoted": quoted,
        "calendar_slope_gap": slope_gap,
    }


def rms(
    error: FloatArray, counted: BoolArray, quotes: Quotes, expiry_count: int, weight: FloatArray | None = None
) -> FloatArray:
    """(X,) root mean square of the errors counted, in vol points; NaN where there is none."""
    share = counted.astype(np.float64) if weight is None else np.where(counted, weight, 0.0)
    square = np.where(counted, error, 0.0) ** 2
    return VOL_POINTS * np.sqrt(_ratio(_sums(share * square, quotes, expiry_count), _sums(share, quotes, expiry_count)))


def _sums(values: FloatArray, quotes: Quotes, expiry_count: int) -> FloatArray:
    return np.bincount(quotes.expiry_idx, weights=values, minlength=expiry_count).astype(np.float64)


def _ratio(numerator: FloatArray, denominator: FloatArray) -> FloatArray:
    positive = denominator > 0
    return np.where(positive, numerator / np.where(positive, denominator, 1.0), np.nan)
