"""Fit raw SVI slices to the option quotes of one moment, with diagnostics that hide nothing.

Whatever the method, a surface is one raw SVI slice per expiry; methods differ in what they promise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np

from pricing.arbitrage import butterfly_minimum, calendar_minimum, wing_slopes
from pricing.arrays import BoolArray, FloatArray, IntArray, freeze_fields, row_problems
from pricing.errors import ConfigError, DataError
from pricing.joint_fit import fit_joint, wings_from_raw
from pricing.market import UNDATED, Market
from pricing.quotes import Quotes, QuoteUse, Selection, quotes_from_prices, select_quotes, without_outliers
from pricing.resolve import slice_vol, years_to_expiry
from pricing.slice_fit import SliceData, SliceFit, fit_slice, fit_slices, flat_slice, remove_butterfly
from pricing.ssvi_fit import SurfaceFit, fit_essvi, fit_ssvi
from pricing.surfaces import svi

__all__ = [
    "Expiries",
    "FitDiagnostics",
    "QuoteUse",
    "Quotes",
    "SliceStatus",
    "Surface",
    "expiries_of",
    "fit",
    "quotes_from_prices",
]

METHODS = ("svi", "svi_joint", "essvi", "ssvi_power_law", "ssvi_heston_like")
BACKENDS = ("numpy", "numba")
FEWEST_STRIKES = 5
OUTLIER_ROUNDS = 3
VOL_POINTS = 100.0


class SliceStatus(IntEnum):
    """How the slice of one expiry came about."""

    NO_QUOTES = 0
    FLAT = 1
    FITTED = 2
    REPAIRED = 3
    ARBITRAGE = 4


@dataclass(frozen=True)
class Expiries:
    """The expiry rows a surface is fitted for: underlying_idx (X,) and tau (X,) years ACT/365, NaN where undated."""

    underlying_idx: IntArray
    tau: FloatArray

    def __post_init__(self) -> None:
        freeze_fields(self, {"underlying_idx": np.int64, "tau": np.float64})
        if self.underlying_idx.shape != self.tau.shape or self.tau.ndim != 1:
            raise AssertionError("underlying_idx and tau are both (X,)")

    def __len__(self) -> int:
        return len(self.tau)


@dataclass(frozen=True)
class FitDiagnostics:
    """What a fit did with the quotes and how good the slices are.

    Per expiry (X,), NaN where there is no slice:
      status            `SliceStatus`
      converged         the search ended by its tolerance, not by its limit (true where none was needed)
      quote_count       (X, len(QuoteUse)) quotes by what became of them; MID + MARK are the ones used
      k_low, k_high     range of ln(K/F) of the quotes used
      rmse              vol points, fitted vol less the mid or mark used, every used quote alike
      rmse_mid          the same over quotes fitted to their mid only
      rmse_vega         the same over used quotes, squares weighted by vega: what prices feel
      rmse_unconstrained   `rmse` of the slice before butterfly arbitrage was removed
      inside_count      used quotes with both sides, which `inside_share` is a share of
      inside_share      share of those whose fitted vol lies in [bid_vol, ask_vol]
      minimum_g, minimum_g_k   smallest Durrleman g on the whole line, and where; below 0 = arbitrage
      minimum_g_unconstrained  the same before butterfly arbitrage was removed
      minimum_total_variance   smallest w of the slice
      wing_slope        (X,2) slopes of w to the left and right; Lee's bound is 2
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


@dataclass(frozen=True)
class Surface:
    """Fitted slices svi (X,5), a b rho m sigma of raw total variance, NaN rows where there is none; diagnostics."""

    svi: FloatArray
    diagnostics: FitDiagnostics

    def __post_init__(self) -> None:
        freeze_fields(self, {"svi": np.float64})


def expiries_of(market: Market) -> Expiries:
    """The expiry rows of a market, at its valuation time."""
    undated = market.expiry_time == UNDATED
    return Expiries(market.expiry_underlying, np.where(undated, np.nan, years_to_expiry(market)))


def fit(
    quotes: Quotes,
    expiries: Expiries,
    *,
    method: str = "svi",
    remove_arbitrage: bool = True,
    reject_outliers: bool = False,
    oldest_seconds: float = np.inf,
    backend: str = "numpy",
) -> Surface:
    """Raw SVI slices for one moment's quotes, by weighted least squares in vol, to first order.

    method            what is fitted, and what it promises
      "svi"              each expiry on its own, w > 0, wing slopes of at most 2; where g(k) < 0 somewhere, a refit
                         that removes it (REPAIRED). Calendar arbitrage is measured, not prevented
      "svi_joint"        the same slices where they are free of butterfly and calendar arbitrage, else all slices of
                         an underlying together until they are (REPAIRED)
      "essvi"            extended SSVI, three numbers per expiry, free of both by construction
      "ssvi_power_law", "ssvi_heston_like"   SSVI, free of both by construction; smoothest, and coarsest
    remove_arbitrage  off, with "svi": the best slice, whatever its g
    reject_outliers   fit again without quotes that lie far from the first fit, see `without_outliers`
    oldest_seconds    quotes made earlier than this before the valuation time are not used (STALE)
    backend           "numba": slices by the compiled kernel, equal to the "numpy" ones to about 1e-6 of a vol point

    Where arbitrage could not be removed the slice says so (ARBITRAGE). Fewer than five strikes give a flat slice
    (FLAT) where the method does not lean on the other expiries, no usable quote a row of NaN (NO_QUOTES).

    A slice stands for vol = sqrt(w / tau) with the tau of its expiry row and k = ln(K/F) with the
    forward of the quote's own row. Raises DataError for quotes that point to no dated expiry, ConfigError for a
    method that does not exist.
    """
    if method not in METHODS:
        raise ConfigError(f"method = {method!r}: must be one of {', '.join(METHODS)}")
    if method != "svi" and not remove_arbitrage:
        raise ConfigError(f'remove_arbitrage is a choice of method "svi"; {method!r} is free of arbitrage by itself')
    if backend not in BACKENDS:
        raise ConfigError(f"backend = {backend!r}: must be one of {', '.join(BACKENDS)}")
    _check_rows(quotes, expiries)
    way = _Way(method, remove_arbitrage, backend)
    every = selection = select_quotes(quotes, expiries.tau[quotes.expiry_idx], oldest_seconds)
    found = _fit_selection(quotes, expiries, selection, way)
    for _ in range(OUTLIER_ROUNDS if reject_outliers else 0):
        # Judged among all quotes again: what an outlier had bent the first fit away from comes back.
        kept = without_outliers(quotes, every, _vols(quotes, expiries, found.slices))
        if np.array_equal(kept.use, selection.use):
            break
        selection = kept
        found = _fit_selection(quotes, expiries, selection, way)
    return Surface(found.slices, _diagnostics(quotes, expiries, selection, found))


class _Slices(NamedTuple):
    """Raw slices (X,5), the same before arbitrage was removed, status and convergence (X,)."""

    slices: FloatArray
    unconstrained: FloatArray
    status: IntArray
    converged: BoolArray


class _Way(NamedTuple):
    method: str
    remove_arbitrage: bool
    backend: str


def _fit_selection(quotes: Quotes, expiries: Expiries, selection: Selection, way: _Way) -> _Slices:
    slices = np.full((len(expiries), 5), np.nan)
    found = _Slices(
        slices,
        slices.copy(),
        np.full(len(expiries), SliceStatus.NO_QUOTES, dtype=np.int64),
        np.ones(len(expiries), dtype=np.bool_),
    )
    rows = np.unique(quotes.expiry_idx[selection.used])
    rows = rows[np.lexsort((expiries.tau[rows], expiries.underlying_idx[rows]))]
    for underlying in np.unique(expiries.underlying_idx[rows]):
        here = rows[expiries.underlying_idx[rows] == underlying]
        data = [_slice_data(quotes, selection, x, expiries.tau[x]) for x in here]
        if way.method in ("svi", "svi_joint"):
            part = _apart(data, way)
            part = _joined(data, part) if way.method == "svi_joint" else part
        else:
            part = _by_construction(fit_essvi(data) if way.method == "essvi" else fit_ssvi(data, way.method[5:]))
        for whole, values in zip(found, part, strict=True):
            whole[here] = values
    return found


def _slice_data(quotes: Quotes, selection: Selection, expiry: int, tau: float) -> SliceData:
    row = selection.used & (quotes.expiry_idx == expiry)
    vol = selection.target_vol[row]
    return SliceData(quotes.log_moneyness[row], vol * vol * tau, selection.weight[row] / (2.0 * vol * tau))


def _apart(data: Sequence[SliceData], way: _Way) -> _Slices:
    """Each expiry on its own."""
    enough = [one for one in data if len(one.k) >= FEWEST_STRIKES]
    best = iter(fit_slices(enough) if way.backend == "numba" and enough else map(fit_slice, enough))
    free = way.method == "svi" and way.remove_arbitrage
    parts = [_finished(one, next(best) if len(one.k) >= FEWEST_STRIKES else None, free) for one in data]
    return _Slices(*(np.array(column) for column in zip(*parts, strict=True)))


def _by_construction(fitted: SurfaceFit) -> _Slices:
    count = len(fitted.parameters)
    status = np.full(count, SliceStatus.FITTED, dtype=np.int64)
    return _Slices(fitted.raw, fitted.raw, status, np.full(count, fitted.converged))


def _joined(data: Sequence[SliceData], apart: _Slices) -> _Slices:
    """The slices of one underlying in the order of time, free of both arbitrages; from eSSVI where that fails."""
    joint = fit_joint(data, wings_from_raw(apart.slices))
    if not joint.free.all():
        joint = fit_joint(data, wings_from_raw(fit_essvi(data).raw))
    slices = joint.raw
    same = np.all(np.isclose(slices, apart.slices, rtol=1e-6, atol=1e-9), axis=1)
    kept = np.where(apart.status == SliceStatus.FLAT, SliceStatus.FLAT, SliceStatus.FITTED)
    status = np.where(~joint.free, SliceStatus.ARBITRAGE, np.where(same, kept, SliceStatus.REPAIRED))
    return _Slices(slices, apart.slices, status, apart.converged & joint.converged)


def _vols(quotes: Quotes, expiries: Expiries, slices: FloatArray) -> FloatArray:
    row = quotes.expiry_idx
    return slice_vol(quotes.strike, quotes.forward, expiries.tau[row], slices[row])


def _diagnostics(quotes: Quotes, expiries: Expiries, selection: Selection, found: _Slices) -> FitDiagnostics:
    slices = found.slices
    fitted, before = (_vols(quotes, expiries, of) for of in (slices, found.unconstrained))
    butterfly = butterfly_minimum(slices)
    about_quotes = _quote_diagnostics(quotes, selection, fitted, len(expiries))
    return FitDiagnostics(
        status=found.status,
        converged=found.converged,
        rmse_unconstrained=_rms(before - selection.target_vol, selection.used, quotes, len(expiries)),
        minimum_g=butterfly.value,
        minimum_g_k=butterfly.k,
        minimum_g_unconstrained=butterfly_minimum(found.unconstrained).value,
        minimum_total_variance=svi.minimum_total_variance(np, *slices.T),
        wing_slope=wing_slopes(slices),
        quote_use=selection.use,
        target_vol=selection.target_vol,
        fitted_vol=fitted,
        **about_quotes,
        **_calendar_diagnostics(slices, expiries, about_quotes["k_low"], about_quotes["k_high"]),
    )


def _check_rows(quotes: Quotes, expiries: Expiries) -> None:
    row = quotes.expiry_idx
    outside = (row < 0) | (row >= len(expiries))
    problems = row_problems("quotes", "expiry_idx", outside, row, f"there are {len(expiries)} expiry rows")
    if not problems:
        undated = np.isnan(expiries.tau[row])
        problems = row_problems("quotes", "expiry_idx", undated, row, "an option quote needs a dated expiry row")
    if problems:
        raise DataError(problems)


def _finished(
    data: SliceData, best: SliceFit | None, remove_arbitrage: bool
) -> tuple[FloatArray, FloatArray, SliceStatus, bool]:
    """Final slice, slice before butterfly arbitrage was removed, status, converged; a flat slice where none fits."""
    if best is None:
        flat = flat_slice(data)
        return flat, flat, SliceStatus.FLAT, True
    if butterfly_minimum(best.raw).value[0] >= 0:
        return best.raw, best.raw, SliceStatus.FITTED, best.converged
    if not remove_arbitrage:
        return best.raw, best.raw, SliceStatus.ARBITRAGE, best.converged
    refit = remove_butterfly(data, best)
    repaired = butterfly_minimum(refit.raw).value[0] >= 0
    return refit.raw, best.raw, SliceStatus.REPAIRED if repaired else SliceStatus.ARBITRAGE, refit.converged


def _quote_diagnostics(quotes: Quotes, selection: Selection, fitted: FloatArray, expiry_count: int) -> dict[str, Any]:
    used, k = selection.used, quotes.log_moneyness
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
        "k_low": np.where(np.isfinite(k_low), k_low, np.nan),
        "k_high": np.where(np.isfinite(k_high), k_high, np.nan),
        "rmse": _rms(error, used, quotes, expiry_count),
        "rmse_mid": _rms(error, selection.use == QuoteUse.MID, quotes, expiry_count),
        "rmse_vega": _rms(error, used, quotes, expiry_count, selection.vega),
        "inside_count": inside_count.astype(np.int64),
        "inside_share": _ratio(_sums(inside.astype(np.float64), quotes, expiry_count), inside_count),
    }


def _calendar_diagnostics(
    slices: FloatArray, expiries: Expiries, k_low: FloatArray, k_high: FloatArray
) -> dict[str, Any]:
    """Each fitted slice against the preceding fitted expiry of the same underlying."""
    gap, k, quoted = (np.full(len(expiries), np.nan) for _ in range(3))
    slope_gap = np.full((len(expiries), 2), np.nan)
    fitted = np.flatnonzero(np.isfinite(slices).all(axis=1))
    order = fitted[np.lexsort((expiries.tau[fitted], expiries.underlying_idx[fitted]))]
    same = np.diff(expiries.underlying_idx[order]) == 0
    earlier, later = order[:-1][same], order[1:][same]
    if len(later):
        gap[later], k[later] = calendar_minimum(slices[earlier], slices[later])
        low, high = np.maximum(k_low[earlier], k_low[later]), np.minimum(k_high[earlier], k_high[later])
        quoted[later] = calendar_minimum(slices[earlier], slices[later], low, high).value
        slope_gap[later] = wing_slopes(slices[later]) - wing_slopes(slices[earlier])
    return {"calendar_gap": gap, "calendar_gap_k": k, "calendar_gap_quoted": quoted, "calendar_slope_gap": slope_gap}


def _rms(
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
