"""Do the prices of a chain agree with each other? A digit lost in one row moves its margin without a trace otherwise.

The limits are several times what 142 real snapshots hold, a crash of 24 % within a week among them: there forwards
lie within 0.4 % of the median of their expiry and 5 % of the index, indexes within 0.7 % of their median, vols between
0.27 and 2.7 times the median of their expiry, and marks, as shares of the forward, within 0.0005 and 0.5 % of delta
from Black-76 at the mark vol.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from portfolio_margin.io.chain_rows import NO_TIME, ChainRows, Findings
from portfolio_margin.io.symbols import OPTION, SymbolRecord
from pricing.arrays import MILLISECONDS_PER_YEAR, BoolArray, FloatArray, StrArray
from pricing.market_limits import MAX_RATE, UNDATED_SLACK, VOL_RATIO
from pricing.price import greeks

FORWARD_SHARE = 0.05
INDEX_SHARE = 0.05
# A mark may be off by this share of the forward, and by this share of delta: prices of one moment differ in time.
MARK_SHARE, DELTA_SHARE = 0.0005, 0.01


def check_consistency(
    rows: ChainRows, records: list[SymbolRecord | None], valuation_time: int, findings: Findings
) -> None:
    """Add rows that contradict the rest of the chain, or themselves, to the findings: one cause a row.

    Rows of a contract that has a finding already are passed over, and all are where a whole column is of another unit.
    """
    if any(position is None for position, _ in findings.problems):
        return
    known = np.array([record is not None for record in records], dtype=np.bool_)
    option = np.array([record is not None and record.kind == OPTION for record in records], dtype=np.bool_)
    coin = _texts(records, lambda record: f"{record.underlying}/{record.settle}")
    pair = _texts(records, lambda record: f"{record.underlying}/{record.settle}/{record.expiry_ms}")
    index, forward, vol = rows.index_price, rows.forward, rows.mark_vol

    def add(name: str, bad: BoolArray, values: object, remedy: str) -> None:
        named = {rows.instrument[position] for position, _ in findings.problems if position is not None}
        findings.add(rows, name, bad & ~np.isin(rows.instrument, sorted(named)), values, remedy)

    bad = known & _apart(index, _medians(index, coin, known), 1.0 + INDEX_SHARE)
    add("index_price", bad, index, f"more than {INDEX_SHARE:.0%} from the other rows of its underlying")
    bad = option & _apart(forward, _medians(forward, pair, option), 1.0 + FORWARD_SHARE)
    add("forward", bad, forward, f"more than {FORWARD_SHARE:.0%} from the other rows of its expiry")
    years = np.array([_years(record, valuation_time) for record in records])
    basis = np.exp(UNDATED_SLACK + MAX_RATE * np.nan_to_num(years))
    remedy = f"further from the index price than a carry of {MAX_RATE:.0%} a year explains"
    add("forward", option & _apart(forward, index, basis), forward, remedy)
    add("mark", known & ~option & _apart(rows.mark, index, basis), rows.mark, remedy)
    remedy = f"more than {VOL_RATIO:g} times apart from the median vol of its expiry: a slip of the decimal point?"
    add("mark_vol", option & _apart(vol, _medians(vol, pair, option), VOL_RATIO), vol, remedy)
    value, delta = _model_marks(rows, records, option, valuation_time)
    inverse = np.array([record is not None and record.inverse for record in records], dtype=np.bool_)
    bad = np.abs(rows.mark - value) > (MARK_SHARE + DELTA_SHARE * delta) * np.where(inverse, 1.0, forward)
    shown = [f"{mark:g} beside {worth:.4f}" for mark, worth in zip(rows.mark, value, strict=True)]
    add("mark", bad, shown, "the mark price and the value at its forward and mark vol contradict each other")


def _model_marks(
    rows: ChainRows, records: list[SymbolRecord | None], option: BoolArray, valuation_time: int
) -> tuple[FloatArray, FloatArray]:
    """(R,) Black-76 at the row's own forward, mark vol and time, in settlement currency, and its absolute delta.

    NaN where they cannot be had.
    """
    strike = np.array([np.nan if r is None or r.strike is None else r.strike for r in records])
    expiry = np.array([0 if r is None or r.expiry_ms is None else r.expiry_ms for r in records], dtype=np.int64)
    sign = np.array([-1.0 if r is not None and r.option_type == "P" else 1.0 for r in records])
    inverse = np.array([r is not None and r.inverse for r in records], dtype=np.bool_)
    moment = np.where(rows.time_ms == NO_TIME, valuation_time, rows.time_ms)
    tau = (expiry - moment) / MILLISECONDS_PER_YEAR
    usable = option & _positive(rows.forward) & _positive(rows.mark_vol) & _positive(strike) & (tau >= 0)
    value, delta = np.full(len(records), np.nan), np.full(len(records), np.nan)
    here = tuple(column[usable] for column in (rows.forward, strike, tau, rows.mark_vol, sign))
    found = greeks(*here, order=1, backend="numpy")
    value[usable] = found["price"] / np.where(inverse[usable], rows.forward[usable], 1.0)
    delta[usable] = np.abs(found["delta"])
    return value, delta


def _years(record: SymbolRecord | None, valuation_time: int) -> float:
    """Years to expiry, NaN where the contract does not expire."""
    if record is None or record.expiry_ms is None:
        return np.nan
    return max(record.expiry_ms - valuation_time, 0) / MILLISECONDS_PER_YEAR


def _texts(records: list[SymbolRecord | None], text: Callable[[SymbolRecord], str]) -> StrArray:
    return np.array(["" if record is None else text(record) for record in records], dtype=np.str_)


def _medians(values: FloatArray, key: StrArray, counted: BoolArray) -> FloatArray:
    """(R,) median of the counted values above 0 with the same key, NaN where there is none."""
    counted = counted & _positive(values)
    result = np.full(len(values), np.nan)
    for name in np.unique(key[counted]):
        here = key == name
        result[here] = np.median(values[here & counted])
    return result


def _apart(values: FloatArray, typical: FloatArray, factor: float | FloatArray) -> BoolArray:
    """Where a value is above `factor` times what is typical, or below 1/factor of it; never for NaN or 0."""
    good = _positive(values) & _positive(typical)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(
            good & (np.abs(np.log(np.where(good, values, 1.0) / np.where(good, typical, 1.0))) > np.log(factor))
        )


def _positive(values: FloatArray) -> BoolArray:
    return np.asarray(np.isfinite(values) & (values > 0))
