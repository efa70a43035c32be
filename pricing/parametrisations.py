"""Exact maps between raw, natural and jump-wing SVI and from SSVI, for lists and arrays, refused outside their domain.

A slice is a row of five numbers, rows are (X,5), and one slice (5,) is a row too:

raw        a b rho m sigma of w(k) = a + b (rho (k - m) + sqrt((k - m)^2 + sigma^2)),  k = ln(K/F)
natural    delta mu rho omega zeta (Gatheral and Jacquier 2014, eq. 3.2)
jump wing  v psi p c v_tilde (same, eq. 3.5): variance and skew at the money, slopes of both wings, smallest variance

The formulas are in pricing/surfaces; here is what they need checked. DataError names row, field and value.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from pricing.arrays import BoolArray, FloatArray, row_problems
from pricing.columns import flat_columns, numbers, slice_rows
from pricing.errors import DataError, Problem
from pricing.surfaces import jump_wing, natural, ssvi, svi


def jump_wing_from_raw(slices: ArrayLike, tau: ArrayLike) -> FloatArray:
    """Jump wings v psi p c v_tilde (X,5) of raw slices (X,5), years tau (X,) or one number.

    Needs b > 0, |rho| of at most 1 (a flat wing), sigma > 0 and a total variance above 0 at the money.
    """
    rows = _raw("jump_wing_from_raw", slices, steepest=1.0)
    years = _years("jump_wing_from_raw", tau, len(rows))
    at_the_money = svi.total_variance(np, 0.0, *rows.T)
    empty: BoolArray = ~(at_the_money > 0.0)
    _refuse("jump_wing_from_raw", {"total variance at the money": (empty, at_the_money, "must be above 0")})
    a, b, rho, m, sigma = rows.T
    return np.stack(jump_wing.from_raw(np, a, b, rho, m, sigma, years), axis=1)


def raw_from_jump_wing(jump_wings: ArrayLike, tau: ArrayLike) -> FloatArray:
    """Raw slices (X,5) of jump wings v psi p c v_tilde (X,5), years tau (X,) or one number.

    Needs v > v_tilde, p and c of 0 or more and not both 0, psi other than 0 (a slice that is lowest at the money: the
    five numbers then do not tell its sigma), and a skew that lies between the wings.
    """
    function = "raw_from_jump_wing"
    rows = slice_rows(function, "jump_wings", jump_wings)
    years = _years(function, tau, len(rows))
    v, psi, p, c, lowest = rows.T
    checks: dict[str, tuple[BoolArray, FloatArray, str]] = {
        "v": (~(v > 0.0), v, "must be above 0"),
        "p": (~(p >= 0.0), p, "must be 0 or more"),
        "c": (~((c >= 0.0) & (p + c > 0.0)), c, "must be 0 or more, and above 0 where p is 0"),
        "psi": (~(np.isfinite(psi) & (psi != 0.0)), psi, "must not be 0: sigma is not determined there"),
        "v_tilde": (~(lowest < v), lowest, "must be below v"),
    }
    _refuse(function, checks)
    with np.errstate(invalid="ignore"):
        raw = np.stack(jump_wing.to_raw(np, v, psi, p, c, lowest, years), axis=1)
    beyond: BoolArray = ~(np.isfinite(raw[:, 4]) & (raw[:, 4] > 0.0))
    _refuse(function, {"psi": (beyond, psi, "no slice has this skew: it must lie between -p/2 and c/2")})
    return raw


def natural_from_raw(slices: ArrayLike) -> FloatArray:
    """Natural parameters delta mu rho omega zeta (X,5) of raw slices (X,5) with b > 0, |rho| < 1, sigma > 0."""
    return np.stack(natural.from_raw(np, *_raw("natural_from_raw", slices).T), axis=1)


def raw_from_natural(naturals: ArrayLike) -> FloatArray:
    """Raw slices (X,5) of natural parameters delta mu rho omega zeta (X,5) with |rho| < 1, omega >= 0, zeta > 0."""
    rows = slice_rows("raw_from_natural", "naturals", naturals)
    _, _, rho, omega, zeta = rows.T
    checks: dict[str, tuple[BoolArray, FloatArray, str]] = {
        "rho": (~(np.abs(rho) < 1.0), rho, "must lie between -1 and 1"),
        "omega": (~(omega >= 0.0), omega, "must be 0 or more"),
        "zeta": (~(zeta > 0.0), zeta, "must be above 0"),
    }
    _refuse("raw_from_natural", checks)
    return np.stack(natural.to_raw(np, *rows.T), axis=1)


def raw_from_ssvi(theta: ArrayLike, rho: ArrayLike, phi: ArrayLike) -> FloatArray:
    """Raw slices (X,5) of SSVI slices: theta = w(0) > 0, |rho| < 1, phi > 0, which broadcast to (X,)."""
    columns, _ = flat_columns("raw_from_ssvi", {"theta": theta, "rho": rho, "phi": phi})
    level, tilt, curvature = columns.values()
    checks: dict[str, tuple[BoolArray, FloatArray, str]] = {
        "theta": (~(level > 0.0), level, "must be above 0"),
        "rho": (~(np.abs(tilt) < 1.0), tilt, "must lie between -1 and 1"),
        "phi": (~(curvature > 0.0), curvature, "must be above 0"),
    }
    _refuse("raw_from_ssvi", checks)
    return np.stack(ssvi.to_raw(np, level, tilt, curvature), axis=1)


def _raw(function: str, slices: ArrayLike, steepest: float = np.nextafter(1.0, 0.0)) -> FloatArray:
    """Raw slices that have another form; steepest is the largest |rho|."""
    rows = slice_rows(function, "slices", slices)
    a, b, rho, m, sigma = rows.T
    checks: dict[str, tuple[BoolArray, FloatArray, str]] = {
        "a": (~np.isfinite(a), a, "must be a finite number"),
        "b": (~(np.isfinite(b) & (b > 0.0)), b, "must be above 0"),
        "rho": (~(np.abs(rho) <= steepest), rho, f"must lie between -1 and 1{' or be one' if steepest == 1.0 else ''}"),
        "m": (~np.isfinite(m), m, "must be a finite number"),
        "sigma": (~(np.isfinite(sigma) & (sigma > 0.0)), sigma, "must be above 0"),
    }
    _refuse(function, checks)
    return rows


def _years(function: str, tau: ArrayLike, count: int) -> FloatArray:
    given = numbers(function, "tau", tau)
    if given.shape not in ((), (1,), (count,)):
        raise DataError([Problem(function, None, "tau", given.shape, f"needs one number or ({count},), one a slice")])
    years = np.broadcast_to(given, (count,))
    _refuse(function, {"tau": (~(np.isfinite(years) & (years > 0.0)), years, "years, above 0")})
    return years


def _refuse(function: str, checks: dict[str, tuple[BoolArray, FloatArray, str]]) -> None:
    problems = [
        problem
        for field, (bad, values, remedy) in checks.items()
        for problem in row_problems(function, field, bad, values, remedy)
    ]
    if problems:
        raise DataError(problems)
