"""Risk arrays and composite deltas from the scan ranges, vols, rates and times that a file states itself.

loss_i = weight_i factor (V(S, vol, T) - V(S + m_i scan / factor, vol + v_i vol_scan, T - look_ahead)), one long
contract, for price moves m and vol moves v in scan ranges; V is the generalised Black-Scholes value, on the spot of a
physical with its cost of carry, on the price of a future as it is. The composite delta is the weighted sum of the
deltas at the delta points, after the look-ahead too. Confirmed on all 2,628 options of a Takasbank file.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from portfolio_margin.span.contracts import ContractView, look_ahead_years
from portfolio_margin.span.tables import FUTURES_LIKE, RiskParameterFile
from pricing.arrays import BoolArray, FloatArray, IntArray, StrArray
from pricing.errors import ConfigError, DataError, Problem
from pricing.price import greeks, price

VOL_FLOOR = 1e-9


class Recomputed(NamedTuple):
    """What a recomputation found, one row an array of the file that could be recomputed.

    contract         (K,) -> contracts
    loss, composite_delta   (K,16), (K,) as recomputed
    loss_error       (K,) largest difference over the 16 values, as a share of the price scan range
    delta_error      (K,) difference of the composite deltas
    last_digit       (K,) half of the last digit that the file prints of the losses, as a share of the price scan range
    skipped          contracts that were not, and why
    """

    contract: IntArray
    loss: FloatArray
    composite_delta: FloatArray
    loss_error: FloatArray
    delta_error: FloatArray
    last_digit: FloatArray
    skipped: tuple[tuple[int, str], ...]


class Terms(NamedTuple):
    """Inputs of the value, (K,) each."""

    underlying: FloatArray
    strike: FloatArray
    years: FloatArray
    vol: FloatArray
    rate: FloatArray
    carry: FloatArray
    sign: FloatArray
    factor: FloatArray
    price_scan: FloatArray
    vol_scan: FloatArray
    vol_scan_relative: FloatArray


def recompute(
    file: RiskParameterFile,
    rate: int = 1,
    *,
    look_ahead: float | None = None,
    point_multiple: str = "decimal",
    underlying: str = "value",
    backend: str = "numba",
) -> Recomputed:
    """Arrays and composite deltas of every contract with a scan range, beside those in the file.

    rate            number of the scan rates and arrays
    look_ahead      years, where the file's own or the usual ones are not meant
    point_multiple  "decimal" takes moves as the file prints them, "fraction" as numerator over denominator
    underlying      "value": what an option is on has the price that its value in money stands for, where the file
                    states one (Takasbank rounds it to money, and computes with that); "price": its price
    backend         of the option values

    ConfigError where the file has no scenarios for the whole clearing organisation.
    """
    view = ContractView(file)
    price_move, vol_move, weight = _points(file, point_multiple)
    rows = np.flatnonzero(file.arrays.rate == rate)
    contract = file.arrays.contract_idx[rows]
    terms, reason = _terms(file, view, contract, (rate, underlying))
    good = reason == ""
    skipped = tuple((int(contract[n]), str(reason[n])) for n in np.flatnonzero(~good))
    contract, rows = contract[good], rows[good]
    terms = Terms(*(column[good] for column in terms))
    passed = look_ahead_years(file, look_ahead)
    option = view.is_option[contract]
    loss = _future_losses(terms, price_move, weight)
    if option.any():
        chosen = Terms(*(column[option] for column in terms))
        loss[option] = _option_losses(chosen, price_move, vol_move, weight, passed, backend)
    # A future has one delta; what the file says of physicals follows no formula.
    delta = np.where(np.isin(view.kind[contract], FUTURES_LIKE), 1.0, file.arrays.composite_delta[rows])
    if option.any():
        delta[option] = _composite_deltas(chosen, file, passed, point_multiple, backend)
    scan = np.where(terms.price_scan > 0, terms.price_scan, 1.0)
    return Recomputed(
        contract=contract,
        loss=loss,
        composite_delta=delta,
        loss_error=np.abs(loss - file.arrays.loss[rows]).max(axis=1, initial=0.0) / scan,
        delta_error=np.abs(delta - file.arrays.composite_delta[rows]),
        last_digit=0.5 * 10.0 ** -_precision(file, view)[contract] / scan,
        skipped=skipped,
    )


def _precision(file: RiskParameterFile, view: ContractView) -> FloatArray:
    """(contracts,) decimals of the losses in the file; infinite where it does not say."""
    stated = np.array([_decimals(text) for text in file.links.array_precision.tolist()])
    of_family = np.full(len(file.families), np.inf)
    of_family[file.links.family_idx] = stated
    return of_family[view.family]


def _decimals(text: str) -> float:
    return float(text) if text.lstrip("-").isdigit() else float("inf")


def _points(file: RiskParameterFile, multiple: str) -> tuple[FloatArray, FloatArray, FloatArray]:
    points = file.scan_points
    rows = np.flatnonzero(points.commodity_idx < 0)[:16]
    if len(rows) < 16:
        raise ConfigError("the file states no scenarios of the clearing organisation to recompute its arrays from")
    return _moves(points, rows, "price", multiple), _moves(points, rows, "vol", multiple), points.weight[rows]


def _moves(points: object, rows: IntArray, name: str, multiple: str) -> FloatArray:
    if multiple not in ("decimal", "fraction"):
        raise ConfigError(f"point_multiple = {multiple!r}: must be decimal or fraction")
    decimal: FloatArray = getattr(points, name)[rows]
    if multiple == "decimal":
        return decimal
    top, bottom = getattr(points, f"{name}_numerator")[rows], getattr(points, f"{name}_denominator")[rows]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(np.isfinite(top / bottom), top / bottom, decimal)


def _terms(
    file: RiskParameterFile, view: ContractView, contract: IntArray, how: tuple[int, str]
) -> tuple[Terms, StrArray]:
    """Inputs of every contract, and why it cannot be recomputed, "" where it can."""
    rate, prices = how
    if prices not in ("value", "price"):
        raise ConfigError(f"underlying = {prices!r}: must be value or price")
    periods, contracts = file.periods, file.contracts
    period = contracts.period_idx[contract]
    scan_row = np.full(len(periods), -1, dtype=np.int64)
    mine = np.flatnonzero(file.scan_rates.rate == rate)
    scan_row[file.scan_rates.period_idx[mine]] = mine
    scan = scan_row[period]
    found = scan >= 0

    def scanned(name: str) -> FloatArray:
        return np.where(found, getattr(file.scan_rates, name)[scan], np.nan)

    option = view.is_option[contract]
    on_future = np.isin(view.kind[contract], ("OOF", "OOC"))
    own_vol = contracts.vol[contract]
    vol = np.where(np.isfinite(own_vol) & (own_vol > 0), own_vol, periods.vol[period])
    factor = view.factor[contract]
    of = view.underlying_value_price if prices == "value" else view.underlying_price
    underlying = np.where(option, of[contract], contracts.price[contract])
    interest = np.nan_to_num(periods.rate[period])
    price_scan = scanned("price_scan")
    percent = scanned("price_scan_percent")
    price_scan = np.where(np.isnan(price_scan), percent / 100.0 * underlying * factor, price_scan)
    terms = Terms(
        underlying=underlying,
        strike=contracts.strike[contract],
        years=periods.years[period],
        vol=vol,
        rate=interest,
        carry=np.where(on_future, 0.0, interest - np.nan_to_num(periods.dividend_yield[period])),
        sign=np.where(contracts.right[contract] == "P", -1.0, 1.0),
        factor=factor,
        price_scan=price_scan,
        vol_scan=np.nan_to_num(scanned("vol_scan")),
        vol_scan_relative=np.nan_to_num(scanned("vol_scan_relative")),
    )
    reason = np.full(len(contract), "", dtype="U80")
    checks = (
        (~np.isfinite(price_scan), "no price scan range"),
        (option & ~np.isfinite(underlying), "the price of its underlying is not in the file"),
        (option & ~(underlying > 0), "its underlying has no price above 0"),
        (option & ~(np.isfinite(vol) & (vol >= 0)), "no vol"),
        (option & ~np.isfinite(terms.years), "no time to expiry"),
        (option & ~(terms.strike > 0), "no strike above 0"),
    )
    for bad, text in checks:
        reason[bad & (reason == "")] = text
    return terms, reason


def _future_losses(terms: Terms, price_move: FloatArray, weight: FloatArray) -> FloatArray:
    return -(terms.price_scan[:, None] * price_move) * weight


def _shocked(terms: Terms, price_move: FloatArray, vol_move: FloatArray) -> tuple[FloatArray, FloatArray]:
    """(K,points) underlying prices, not below 0, and vols."""
    column = Terms(*(values[:, None] for values in terms))
    underlying = np.maximum(column.underlying + price_move * column.price_scan / column.factor, 0.0)
    vol = column.vol * (1.0 + vol_move * column.vol_scan_relative) + vol_move * column.vol_scan
    return underlying, np.maximum(vol, VOL_FLOOR)


def _option_losses(
    terms: Terms, price_move: FloatArray, vol_move: FloatArray, weight: FloatArray, passed: float, backend: str
) -> FloatArray:
    underlying, vol = _shocked(terms, price_move, vol_move)
    before = _value(terms, terms.underlying[:, None], terms.vol[:, None], terms.years[:, None], backend)
    left = np.maximum(terms.years - passed, 0.0)[:, None]
    after = _value(terms, underlying, vol, left, backend)
    # Adding 0 turns -0 into 0.
    return (before - after) * terms.factor[:, None] * weight + 0.0


def _value(terms: Terms, underlying: FloatArray, vol: FloatArray, years: FloatArray, backend: str) -> FloatArray:
    forward = underlying * np.exp(terms.carry[:, None] * years)
    discount = np.exp(-terms.rate[:, None] * years)
    return price(forward, terms.strike[:, None], years, vol, terms.sign[:, None], discount, backend=backend)


def _composite_deltas(terms: Terms, file: RiskParameterFile, passed: float, multiple: str, backend: str) -> FloatArray:
    points = file.delta_points
    rows = np.flatnonzero(points.commodity_idx < 0)
    if not len(rows):
        raise DataError([Problem("SPAN file", None, "deltaPointDef", None, "the file states no delta points")])
    move, weight = _moves(points, rows, "price", multiple), points.weight[rows]
    return composite_delta(terms, move, weight, passed, backend)


def composite_delta(
    terms: Terms, move: FloatArray, weight: FloatArray, passed: float, backend: str = "numba"
) -> FloatArray:
    """(K,) weighted delta by the underlying over the moves, after `passed` years."""
    underlying, vol = _shocked(terms, move, np.zeros(len(move)))
    years = np.maximum(terms.years - passed, 0.0)[:, None]
    growth = np.exp(terms.carry[:, None] * years)
    discount = np.exp(-terms.rate[:, None] * years)
    by_forward = greeks(
        underlying * growth, terms.strike[:, None], years, vol, terms.sign[:, None], discount, backend=backend
    )["delta"]
    return np.asarray(by_forward * growth @ weight)


def worst(errors: FloatArray, contract: IntArray, names: StrArray) -> str:
    """Name of the contract with the largest error, "" where there is none."""
    return str(names[contract[int(np.argmax(errors))]]) if len(errors) else ""


def within(found: Recomputed, tolerance: float, delta_tolerance: float) -> BoolArray:
    """(K,) whether an array is reproduced; tolerance as a share of the scan range, delta_tolerance of 1.

    What the file rounds its losses to is allowed on top.
    """
    return np.asarray((found.loss_error <= tolerance + found.last_digit) & (found.delta_error <= delta_tolerance))
