"""Slices: many fits of raw SVI to 30 noisy quotes, beside scipy and quantkit-rs on the same quotes in the same run.

`python -m benchmarks.slices [--slices 1000 --rounds 5 --json FILE]` prints times, errors and slices that are stuck.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import least_squares

from benchmarks.contestants import Table, first_results, installed, machine, show_errors, show_times, timed, version
from pricing.joint_fit import wings_from_raw
from pricing.slice_fit import SliceData, fit_slice, fit_slices, raw_from_wings, slice_bounds
from pricing.surfaces import svi

LOOP_SHARE = 10  # contestants of a millisecond and more a slice take each tenth one
STUCK = 1e-2  # relative, above the lowest error that an admissible slice reached
QUANTKIT_NAMES = ("a", "b", "rho", "m", "sigma")
Fits = dict[str, np.ndarray]


def noisy_slices(count: int, quotes: int = 30, seed: int = 0) -> list[SliceData]:
    """Slices with vol noise of 0.4 % times 1 + |z| at z standard deviations."""
    random = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        tau = random.uniform(0.02, 1.0)
        deviation = random.uniform(0.3, 1.0) * np.sqrt(tau)
        left, right = np.sqrt(deviation * random.uniform(0.1, 0.8, 2))
        shape = [deviation**2 * random.uniform(0.4, 1.0), left, right]
        shape += [deviation * random.uniform(-0.7, 0.7), deviation * random.uniform(0.3, 1.5)]
        z = np.sort(random.uniform(-3.0, 3.0, quotes))
        vol = np.sqrt(svi.total_variance(np, deviation * z, *raw_from_wings(np.array(shape))) / tau)
        vol = np.maximum(vol + 0.004 * (1.0 + np.abs(z)) * random.standard_normal(quotes), 0.02)
        found.append(SliceData(deviation * z, vol * vol * tau, 1.0 / (2.0 * vol * tau)))
    return found


def scipy_fit(data: SliceData) -> np.ndarray:
    """Raw parameters by scipy's Levenberg-Marquardt in a b rho m sigma, exact Jacobian, one usual start, no bounds."""

    def residuals(raw: np.ndarray) -> np.ndarray:
        return np.asarray(data.weight * (svi.total_variance(np, data.k, *raw) - data.w))

    def jacobian(raw: np.ndarray) -> np.ndarray:
        _, b, rho, m, sigma = raw
        x = data.k - m
        root = np.sqrt(x * x + sigma * sigma)
        columns = (np.ones_like(x), rho * x + root, b * x, -b * (rho + x / root), b * sigma / root)
        return np.asarray(data.weight[:, None] * np.stack(columns, axis=1))

    lowest = int(np.argmin(data.w))
    slope = max(float(np.ptp(data.w) / np.ptp(data.k)), 1e-3)
    start = [0.5 * data.w[lowest], slope, 0.0, data.k[lowest], 0.3 * float(np.ptp(data.k))]
    return np.asarray(least_squares(residuals, start, jacobian, method="lm").x)


def in_the_box(data: SliceData, raw: np.ndarray) -> bool:
    """Whether a slice is one that our fit may choose: w > 0, wing slopes in [0, 2], m and sigma of the quotes' size."""
    low, high = slice_bounds(data)
    with np.errstate(invalid="ignore"):
        wings = wings_from_raw(raw[None, :])[0]
    return bool(np.all((wings >= low) & (wings <= high)))


def vol_rmse(data: SliceData, raw: np.ndarray) -> float:
    """Root mean square of the vol errors, to first order; the weights are 1 / (2 vol tau)."""
    return float(np.sqrt(np.mean((data.weight * (svi.total_variance(np, data.k, *raw) - data.w)) ** 2)))


def equally_weighted(data: list[SliceData]) -> list[SliceData]:
    """The same quotes, every error of total variance counted alike."""
    return [SliceData(one.k, one.w, np.ones_like(one.w)) for one in data]


def our_fits(data: list[SliceData]) -> np.ndarray:
    """(slices, 5) raw parameters of the compiled kernel."""
    return np.array([found.raw for found in fit_slices(data)])


def quantkit_fits(quantkit: Any, data: list[SliceData]) -> np.ndarray:
    """(slices, 5) raw parameters of its `svi_fit`, which takes no weights."""
    found = [quantkit.svi_fit(one.k, one.w) for one in data]
    return np.array([[slice_[name] for name in QUANTKIT_NAMES] for slice_ in found])


def rmse(data: list[SliceData], raws: np.ndarray) -> np.ndarray:
    """(slices,) weighted root mean square errors."""
    return np.array([vol_rmse(one, raw) for one, raw in zip(data, raws, strict=True)])


def stuck(data: list[SliceData], fits: Fits) -> dict[str, int]:
    """Slices of each that end more than STUCK above the lowest error of an admissible slice that anybody found."""
    errors = {name: rmse(data, raws) for name, raws in fits.items()}
    admissible = {
        name: np.array([in_the_box(one, raw) for one, raw in zip(data, raws, strict=True)])
        for name, raws in fits.items()
    }
    lowest = np.min([np.where(admissible[name], errors[name], np.inf) for name in fits], axis=0)
    return {name: int(np.sum(error > lowest * (1 + STUCK))) for name, error in errors.items()}


def quality(data: list[SliceData], quantkit: Any) -> tuple[dict[str, dict[str, float]], dict[str, dict[str, float]]]:
    """Errors of each: of vols, and with equal weights, the only ones that quantkit-rs knows.

    Slices that are stuck are counted in the problem that a contestant solves.
    """
    equal = equally_weighted(data)
    fits: Fits = {"ours": our_fits(data), "scipy": np.array([scipy_fit(one) for one in data])}
    alike: Fits = {"ours": our_fits(equal), "scipy": np.array([scipy_fit(one) for one in equal])}
    counts, same = stuck(data, fits), {}
    if quantkit:
        fits["quantkit"] = alike["quantkit"] = quantkit_fits(quantkit, data)
    same = stuck(equal, alike)
    of_vols, of_variance = {}, {}
    for name in fits:
        errors, variance = rmse(data, fits[name]), rmse(equal, alike[name])
        of_vols[name] = {
            "rmse of vols, median": float(np.median(errors)),
            "largest": float(errors.max()),
            "stuck": counts.get(name, same[name]),
        }
        of_variance[name] = {
            "rmse of total variance, median": float(np.median(variance)),
            "largest": float(variance.max()),
            "stuck": same[name],
        }
    return of_vols, of_variance


def show_against_scipy(data: list[SliceData]) -> None:
    """Print how many slices end above scipy's error, and above the search from a finer grid."""
    free = [scipy_fit(one) for one in data]
    ours, peer = rmse(data, our_fits(data)), rmse(data, np.array(free))
    above = np.flatnonzero(ours > peer * (1 + 1e-6))
    admissible = sum(in_the_box(data[row], free[row]) for row in above)
    some = data[::LOOP_SHARE]
    searched = np.array([fit_slice(one).cost for one in some])
    again = np.array([found.cost for found in fit_slices(some)])
    print(f"  slices above scipy lm's rmse: {len(above)}, of which scipy's is admissible {admissible}", end="")
    print(f"; below it: {np.sum(ours < peer * (1 - 1e-6))}", end="")
    print(f"; above the finer grid: {np.sum(again > searched * (1 + 1e-6))} of {len(some)}")


def run(slices: int, rounds: int, threads: int = 2, output: Path | None = None) -> dict[str, Any]:
    """Time everyone on the same slices, compare errors slice by slice; JSON where a path is given."""
    data, quantkit = noisy_slices(slices), installed("quantkit")
    some = data[::LOOP_SHARE]
    one_thread, more = "fit_slices(), 1 thread", f"fit_slices(), {threads} threads"
    finer, scipy_lm, rust = (
        "fit_slice(), numpy and scipy",
        "scipy least_squares lm, exact Jacobian",
        "quantkit-rs svi_fit",
    )
    calls: dict[str, Callable[[], Any]] = {
        one_thread: lambda: fit_slices(data),
        more: lambda: fit_slices(data, threads),
        finer: lambda: [fit_slice(one) for one in some],
        scipy_lm: lambda: [scipy_fit(one) for one in some],
    }
    if quantkit:
        calls[rust] = lambda: [quantkit.svi_fit(one.k, one.w) for one in data]
    first_results(calls)
    scale = dict.fromkeys((finer, scipy_lm), len(data) / len(some))
    table: Table = dict(timed(calls, rounds, scale).items())
    of_vols, of_variance = quality(data, quantkit)
    known = {one_thread: "ours", more: "ours", scipy_lm: "scipy", rust: "quantkit"}
    distributions = {scipy_lm: "scipy", rust: "quantkit-rs"}
    for name, line in table.items():
        line["version"], line["ours"] = version(distributions.get(name, "")), name not in distributions
        line["errors"] = of_vols.get(known.get(name, ""), {})
    show_times(f"SVI: {slices:,} slices of 30 noisy quotes, {rounds} rounds", table, one_thread)
    show_errors("errors with the quotes' weights; quantkit-rs has none", table)
    show_errors("errors with equal weights", {name: {"errors": errors} for name, errors in of_variance.items()})
    show_against_scipy(data)
    job = {"job": "slices", "size": slices, "threads": 1, "rounds": rounds, "contestants": table}
    about = machine()
    versions = {"python": about["python"], **{name: version(name) for name in ("numpy", "scipy", "quantkit-rs")}}
    result = {"machine": about, "versions": versions, "races": [job | {"equal weights": of_variance}]}
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return result


def main() -> None:
    """Parse the sizes and run."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.slices", description=__doc__)
    parser.add_argument("--slices", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    run(given.slices, given.rounds, output=given.json)


if __name__ == "__main__":
    main()
