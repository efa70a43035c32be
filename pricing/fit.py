"""Fit raw SVI slices to the option quotes of one moment, with diagnostics that hide nothing.

Whatever the method, a surface is one raw SVI slice per expiry; methods differ in what they promise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from pricing.arbitrage import butterfly_minimum, wing_slopes
from pricing.arrays import BoolArray, FloatArray, IntArray, freeze_fields, row_problems
from pricing.errors import ConfigError, DataError, Problem
from pricing.fit_diagnostics import FitDiagnostics, SliceStatus, calendar_diagnostics, quote_diagnostics, rms
from pricing.joint_fit import JointFit, fit_joint, joint_bounds, wings_from_raw
from pricing.market import UNDATED, Market
from pricing.quotes import (
    SMALLEST_WIDTH_VOL,
    Quotes,
    QuoteUse,
    Selection,
    quotes_from_prices,
    select_quotes,
    vega_share,
    without_outliers,
)
from pricing.resolve import slice_vol, years_to_expiry
from pricing.slice_fit import (
    FEWEST_STRIKES,
    SliceData,
    at_bound,
    flat_slice,
    raw_from_wings,
    remove_butterflies,
    search_slices,
    slice_boxes,
    weighted_squares,
)
from pricing.ssvi_fit import SurfaceFit, fit_essvi, fit_ssvi
from pricing.surfaces import svi

__all__ = [
    "Expiries",
    "FitDiagnostics",
    "QuoteUse",
    "Quotes",
    "SliceStatus",
    "Surface",
    "UnderlyingSlices",
    "expiries_of",
    "fit",
    "quotes_from_prices",
    "slices_of",
]

METHODS = ("svi", "svi_joint", "essvi", "ssvi_power_law", "ssvi_heston_like")
BACKENDS = ("numpy", "numba")
WEIGHTINGS = ("spread", "vega")
OUTLIER_ROUNDS = 3
# A joint search that ends with more than this times the least squares of the slices apart is tried from nearer by.
FAR_FROM_QUOTES = 2.0
# A hundredth of a vol point: what a slice may move by in the joint fit without being called repaired.
MOVED_VOL = 1e-4
MOVED_DEVIATIONS = 4.0


@dataclass(frozen=True)
class Expiries:
    """The expiry rows a surface is fitted for: underlying_idx (X,) and tau (X,) years ACT/365, NaN where undated."""

    underlying_idx: IntArray
    tau: FloatArray

    def __post_init__(self) -> None:
        freeze_fields(self, {"underlying_idx": np.int64, "tau": np.float64})
        if self.underlying_idx.shape != self.tau.shape or self.tau.ndim != 1:
            shapes = f"underlying_idx {self.underlying_idx.shape}, tau {self.tau.shape}"
            raise DataError([Problem("Expiries", None, "shapes", shapes, "underlying_idx and tau are both (X,)")])

    def __len__(self) -> int:
        return len(self.tau)


@dataclass(frozen=True)
class Surface:
    """Fitted slices svi (X,5), a b rho m sigma of raw total variance, NaN rows where there is none; diagnostics."""

    svi: FloatArray
    diagnostics: FitDiagnostics

    def __post_init__(self) -> None:
        freeze_fields(self, {"svi": np.float64})


class UnderlyingSlices(NamedTuple):
    """The slices of one underlying in the order of time: svi (Y,5), tau (Y,) years, and their expiry rows (Y,)."""

    svi: FloatArray
    tau: FloatArray
    expiry_idx: IntArray


def slices_of(surface: Surface, expiries: Expiries, underlying_idx: int = 0) -> UnderlyingSlices:
    """The slices of one underlying, nearest expiry first, without undated rows and rows that have no slice.

    This is what `total_variance_at`, `vol_at`, `butterfly_free` and, row beside next row, `calendar_free` take. Raises
    DataError where the surface is of other expiries or the underlying has no slice.
    """
    if len(surface.svi) != len(expiries):
        remedy = f"the surface has {len(surface.svi)} expiry rows: give the expiries it was fitted for"
        raise DataError([Problem("surface", None, "expiries", len(expiries), remedy)])
    fitted = np.isfinite(surface.svi).all(axis=1)
    rows = np.flatnonzero(fitted & (expiries.underlying_idx == underlying_idx))
    if not len(rows):
        known = ", ".join(map(str, np.unique(expiries.underlying_idx[fitted]))) or "none"
        remedy = f"no slice of this underlying; underlyings with slices: {known}"
        raise DataError([Problem("surface", None, "underlying_idx", underlying_idx, remedy)])
    rows = rows[np.argsort(expiries.tau[rows], kind="stable")]
    return UnderlyingSlices(surface.svi[rows], expiries.tau[rows], rows)


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
    weighting: str = "spread",
    backend: str = "numba",
) -> Surface:
    """Raw SVI slices for one moment's quotes, by weighted least squares in vol, to first order.

    method            what is fitted, and what it promises
      "svi"              each expiry on its own, w > 0, wing slopes of at most 2; where g(k) < 0 somewhere, a refit
                         that removes it (REPAIRED). Calendar arbitrage is measured, not prevented
      "svi_joint"        the same slices where they are free of butterfly and calendar arbitrage, else all slices of
                         an underlying together until they are (REPAIRED: the vol of the slice moved by more than 0.01
                         vol points). Where that succeeds only from extended SSVI, often far from the quotes: FALLBACK
      "essvi"            extended SSVI, three numbers per expiry, free of both by construction
      "ssvi_power_law", "ssvi_heston_like"   SSVI, free of both by construction; smoothest, and coarsest; the
                         last holds no skew at short expiries, and is FITTED all the same: see `warnings`
    remove_arbitrage  off, with "svi": the best slice, whatever its g
    reject_outliers   fit again without quotes that lie far from the first fit, see `without_outliers`; off, one bad
                      quote drags its slice along, and `FitDiagnostics.warnings` names the slice
    oldest_seconds    quotes made earlier than this before the valuation time are not used (STALE)
    weighting         "spread": an error of vol counts by 1 / (ask - bid), see `select_quotes`; "vega": by the
                      vega of its quote, so that sum (vega error)^2 is least, whatever the spread
    backend           "numba": compiled searches; "numpy": scipy's, from a finer grid, fifty times as slow. Where
                      both end in one minimum slices agree to 1e-4 of a vol point, repaired ones to some 1e-2

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
    if (
        not isinstance(oldest_seconds, (int, float, np.integer, np.floating))
        or isinstance(oldest_seconds, bool)
        or not oldest_seconds >= 0
    ):
        raise ConfigError(f"oldest_seconds = {oldest_seconds!r}: must be a number, 0 or more")
    for name, value, known in (("backend", backend, BACKENDS), ("weighting", weighting, WEIGHTINGS)):
        if value not in known:
            raise ConfigError(f"{name} = {value!r}: must be one of {', '.join(known)}")
    _check_rows(quotes, expiries)
    way = _Way(method, remove_arbitrage, weighting, backend)
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
    """Raw slices (X,5), the same before arbitrage was removed, status and convergence (X,), `at_bound` (X,5)."""

    slices: FloatArray
    unconstrained: FloatArray
    status: IntArray
    converged: BoolArray
    at_bound: BoolArray

    def of(self, rows: IntArray) -> _Slices:
        """Some rows."""
        return _Slices(
            self.slices[rows], self.unconstrained[rows], self.status[rows], self.converged[rows], self.at_bound[rows]
        )


class _Way(NamedTuple):
    method: str
    remove_arbitrage: bool
    weighting: str
    backend: str


def _fit_selection(quotes: Quotes, expiries: Expiries, selection: Selection, way: _Way) -> _Slices:
    slices = np.full((len(expiries), 5), np.nan)
    found = _Slices(
        slices,
        slices.copy(),
        np.full(len(expiries), SliceStatus.NO_QUOTES, dtype=np.int64),
        np.ones(len(expiries), dtype=np.bool_),
        np.zeros((len(expiries), 5), dtype=np.bool_),
    )
    rows, data = _slice_data(quotes, expiries, selection, way.weighting)
    if not len(rows):
        return found
    underlying = expiries.underlying_idx[rows]
    apart = _apart(data, way) if way.method in ("svi", "svi_joint") else None
    for here in np.split(np.arange(len(rows)), np.flatnonzero(np.diff(underlying)) + 1):
        own = data[here[0] : here[-1] + 1]
        if apart is None:
            part = _by_construction(fit_essvi(own) if way.method == "essvi" else fit_ssvi(own, way.method[5:]))
        else:
            part = apart.of(here)
            part = _joined(own, expiries.tau[rows[here]], part, way.backend) if way.method == "svi_joint" else part
        for whole, values in zip(found, part, strict=True):
            whole[rows[here]] = values
    return found


def _slice_data(
    quotes: Quotes, expiries: Expiries, selection: Selection, weighting: str
) -> tuple[IntArray, list[SliceData]]:
    """The expiry rows with quotes that are used, by underlying and in the order of time, and those quotes."""
    used = np.flatnonzero(selection.used)
    expiry = quotes.expiry_idx[used]
    order = np.lexsort((expiry, expiries.tau[expiry], expiries.underlying_idx[expiry]))
    used, expiry = used[order], expiry[order]
    vol, weight = selection.target_vol[used], selection.weight[used]
    if weighting == "vega":
        assert quotes.weight is not None
        weight = quotes.weight[used] / quotes.weight.max() * vega_share(selection.vega[used], expiry)
        weight = weight / SMALLEST_WIDTH_VOL
    w = vol * vol * expiries.tau[expiry]
    first = np.flatnonzero(np.diff(expiry, prepend=-1))
    columns = (quotes.log_moneyness[used], w, weight / (2.0 * vol * expiries.tau[expiry]))
    parts = (np.split(column, first[1:]) for column in columns)
    return expiry[first], [SliceData(*part) for part in zip(*parts, strict=True)]


def _apart(data: Sequence[SliceData], way: _Way) -> _Slices:
    """Each expiry on its own; a flat slice where there are too few strikes."""
    enough = np.array([len(one.k) >= FEWEST_STRIKES for one in data])
    raw, status = np.empty((len(data), 5)), np.full(len(data), SliceStatus.FLAT, dtype=np.int64)
    converged = np.ones(len(data), dtype=np.bool_)
    for x in np.flatnonzero(~enough).tolist():
        raw[x] = flat_slice(data[x])
    before, rows = raw, np.flatnonzero(enough)
    if len(rows):
        wings, converged[rows] = search_slices([data[x] for x in rows.tolist()], way.backend)
        raw[rows] = raw_from_wings(wings)
        bad: BoolArray = butterfly_minimum(raw[rows]).value < 0
        status[rows], before = np.where(bad, SliceStatus.ARBITRAGE, SliceStatus.FITTED), raw.copy()
        if way.method == "svi" and way.remove_arbitrage and bad.any():
            held = rows[bad]
            freed = _freed([data[x] for x in held.tolist()], wings[bad], way.backend)
            raw[held], status[held], converged[held] = freed
    ends = at_bound(wings_from_raw(raw), *slice_boxes(data)) & (status != SliceStatus.FLAT)[:, None]
    return _Slices(raw, before, status, converged, ends)


def _freed(data: Sequence[SliceData], wings: FloatArray, backend: str) -> tuple[FloatArray, IntArray, BoolArray]:
    """Raw slices (X,5) with their butterflies removed, REPAIRED or ARBITRAGE (X,), and convergence (X,)."""
    refit, converged = remove_butterflies(data, wings, backend)
    raw = raw_from_wings(refit)
    bad: BoolArray = butterfly_minimum(raw).value < 0
    # The penalty may hold the search just short of freedom: the joint search, on this expiry alone, ends inside.
    for x in np.flatnonzero(bad).tolist():
        alone = _better([data[x]], *(fit_joint([data[x]], start[None]) for start in (wings[x], refit[x])))
        if alone.free.all():
            raw[x], converged[x], bad[x] = alone.raw[0], alone.converged, False
    return raw, np.where(bad, SliceStatus.ARBITRAGE, SliceStatus.REPAIRED), converged


def _by_construction(fitted: SurfaceFit) -> _Slices:
    count = len(fitted.parameters)
    status = np.full(count, SliceStatus.FITTED, dtype=np.int64)
    inside = np.zeros((count, 5), dtype=np.bool_)
    return _Slices(fitted.raw, fitted.raw, status, np.full(count, fitted.converged), inside)


def _joined(data: Sequence[SliceData], tau: FloatArray, apart: _Slices, backend: str) -> _Slices:
    """The slices of one underlying in the order of time, free of both arbitrages, from the first start that does.

    The starts: the slices themselves; the same with their butterflies removed one by one, where the first search ends
    with an arbitrage or far from the quotes; extended SSVI, which is told (FALLBACK), where both end with one.
    """
    start = wings_from_raw(apart.slices)
    best = fit_joint(data, start)
    if not best.free.all() or _squares(data, best) > FAR_FROM_QUOTES * weighted_squares(data, apart.slices).sum():
        alone = raw_from_wings(start)
        bad = np.flatnonzero(butterfly_minimum(alone).value < 0)
        alone[bad] = _freed([data[x] for x in bad.tolist()], start[bad], backend)[0] if len(bad) else alone[bad]
        best = _better(data, best, fit_joint(data, wings_from_raw(alone)))
    fallback = not best.free.all()
    if fallback:
        best = _better(data, best, fit_joint(data, wings_from_raw(fit_essvi(data).raw)))
    moved = np.array([_moved(*row) for row in zip(data, tau, best.raw, apart.slices, strict=True)])
    kept = np.where(apart.status == SliceStatus.FLAT, SliceStatus.FLAT, SliceStatus.FITTED)
    status = np.where(moved, SliceStatus.FALLBACK if fallback else SliceStatus.REPAIRED, kept)
    status = np.where(best.free, status, SliceStatus.ARBITRAGE)
    low, high = (np.stack(ends) for ends in zip(*map(joint_bounds, data), strict=True))
    ends = at_bound(wings_from_raw(best.raw), low, high) & (kept != SliceStatus.FLAT)[:, None]
    return _Slices(best.raw, apart.slices, status, apart.converged & best.converged, ends)


def _squares(data: Sequence[SliceData], found: JointFit) -> float:
    return float(weighted_squares(data, found.raw).sum())


def _better(data: Sequence[SliceData], one: JointFit, other: JointFit) -> JointFit:
    """The one with fewer slices in violation, then the one nearer to the quotes."""
    return min((one, other), key=lambda found: (int((~found.free).sum()), _squares(data, found)))


def _moved(data: SliceData, tau: float, slice_now: FloatArray, slice_before: FloatArray) -> bool:
    """Whether the vol of a slice moved by more than `MOVED_VOL` at a quote or within 4 deviations of the money."""
    reach = MOVED_DEVIATIONS * np.sqrt(data.w[np.argmin(np.abs(data.k))])
    k = np.concatenate([data.k, np.linspace(-reach, reach, 81)])
    now, before = (np.sqrt(svi.total_variance(np, k, *raw) / tau) for raw in (slice_now, slice_before))
    return bool(np.max(np.abs(now - before)) > MOVED_VOL)


def _vols(quotes: Quotes, expiries: Expiries, slices: FloatArray) -> FloatArray:
    row = quotes.expiry_idx
    return slice_vol(quotes.strike, quotes.forward, expiries.tau[row], slices[row])


def _diagnostics(quotes: Quotes, expiries: Expiries, selection: Selection, found: _Slices) -> FitDiagnostics:
    slices = found.slices
    fitted, before = (_vols(quotes, expiries, of) for of in (slices, found.unconstrained))
    butterfly = butterfly_minimum(slices)
    before_g, moved = butterfly.value.copy(), (slices != found.unconstrained).any(axis=1)
    before_g[moved] = butterfly_minimum(found.unconstrained[moved]).value
    about_quotes = quote_diagnostics(quotes, selection, fitted, len(expiries))
    return FitDiagnostics(
        status=found.status,
        converged=found.converged,
        at_bound=found.at_bound,
        rmse_unconstrained=rms(before - selection.target_vol, selection.used, quotes, len(expiries)),
        minimum_g=butterfly.value,
        minimum_g_k=butterfly.k,
        minimum_g_unconstrained=before_g,
        minimum_total_variance=svi.minimum_total_variance(np, *slices.T),
        wing_slope=wing_slopes(slices),
        quote_use=selection.use,
        target_vol=selection.target_vol,
        fitted_vol=fitted,
        **about_quotes,
        **calendar_diagnostics(
            slices, expiries.underlying_idx, expiries.tau, about_quotes["k_low"], about_quotes["k_high"]
        ),
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
