"""Option quotes of one snapshot as vols, and which of them a fit uses with what weight."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from pricing.arrays import BoolArray, FloatArray, IntArray, freeze_fields, row_problems
from pricing.columns import numbers
from pricing.errors import ConfigError, DataError, Problem

PERCENT_SUSPECTED = 3.0
# 0.01 %: below it, squares of errors are lost in rounding; so they are for prices and weights beyond a quadrillion.
SMALLEST_VOL = 1e-4
LARGEST_NUMBER = 1e15
SHORTEST_TAU_YEARS = 30.0 / (365.0 * 24.0 * 60.0)
SMALLEST_WIDTH_VOL = 0.005
WIDEST_SHARE_OF_MID = 0.5
SMALLEST_VEGA_SHARE = 1e-4
SECONDS_PER_YEAR = 365.0 * 86_400.0
OUTLIER_SPREADS = 2.0
OUTLIER_SCALES = 6.0
SCALE_OF_MEDIAN = 1.4826
LARGEST_OUTLIER_SHARE = 0.2
# In-the-money asks whose median is below this share of intrinsic value are no quotes in the forward's currency.
COIN_SUSPECTED_SHARE = 0.5


class QuoteUse(IntEnum):
    """What became of one quote in a fit."""

    MID = 0
    MARK = 1
    TWIN = 2
    CROSSED = 3
    ONE_SIDED = 4
    NO_VOL = 5
    TOO_SHORT = 6
    STALE = 7
    OUTLIER = 8


PRICE_MODELS = ("black76", "inverse")
USED = (QuoteUse.MID, QuoteUse.MARK)


@dataclass(frozen=True)
class Quotes:
    """Option quotes of one moment, one row each (Q,).

    expiry_idx  row of the market's expiry table
    strike, forward   quote currency per unit; the forward is the row's own
    sign        +1 call, -1 put
    tau         years to expiry at the moment of the quote; 0 or less once expired
    bid_vol, ask_vol, mark_vol   per sqrt(year), decimal; NaN or 0 where there is none
    weight      relative trust in the row, above 0; all 1 where not given

    Raises DataError naming every row that cannot be a quote: a negative vol, a strike or forward that
    is not above 0, a sign other than 1 or -1, the same contract twice; and vols given in percent
    (their median is above 3).
    """

    expiry_idx: IntArray
    strike: FloatArray
    sign: FloatArray
    forward: FloatArray
    tau: FloatArray
    bid_vol: FloatArray
    ask_vol: FloatArray
    mark_vol: FloatArray
    weight: FloatArray | None = None

    def __post_init__(self) -> None:
        if self.weight is None:
            object.__setattr__(self, "weight", np.ones(np.shape(self.strike)))
        floats = ("strike", "sign", "forward", "tau", "bid_vol", "ask_vol", "mark_vol", "weight")
        freeze_fields(self, {"expiry_idx": np.int64, **dict.fromkeys(floats, np.float64)})
        problems = self._shape_problems() or self._value_problems()
        if problems:
            raise DataError(problems)

    def __len__(self) -> int:
        return len(self.strike)

    @property
    def log_moneyness(self) -> FloatArray:
        """(Q,) ln(strike / forward), each with the row's own forward."""
        return np.log(self.strike / self.forward)

    def _shape_problems(self) -> list[Problem]:
        shape = (len(self.strike),) if self.strike.ndim == 1 else ("Q",)
        problems = [
            Problem("quotes", None, name, getattr(self, name).shape, f"needs the shape {shape}")
            for name in self.__dataclass_fields__
            if getattr(self, name).shape != shape
        ]
        if not problems and len(self) == 0:
            problems.append(Problem("quotes", None, "rows", 0, "no quotes: nothing to fit a surface to"))
        return problems

    def _value_problems(self) -> list[Problem]:
        assert self.weight is not None
        problems: list[Problem] = []
        for field in ("strike", "forward", "weight"):
            values = getattr(self, field)
            sized = (values > 0) & (values < LARGEST_NUMBER)
            remedy = f"must be above 0 and below {LARGEST_NUMBER:g}"
            problems += row_problems("quotes", field, ~sized, values, remedy)
        problems += row_problems("quotes", "sign", np.abs(self.sign) != 1.0, self.sign, "1 for a call, -1 for a put")
        problems += row_problems("quotes", "tau", ~np.isfinite(self.tau), self.tau, "must be a number of years")
        for field in ("bid_vol", "ask_vol", "mark_vol"):
            values = getattr(self, field)
            remedy = "must be 0 or more, decimal; NaN where there is none"
            problems += row_problems("quotes", field, (values < 0) | np.isinf(values), values, remedy)
            remedy = f"below {SMALLEST_VOL:g}: no vol; NaN where there is none"
            problems += row_problems("quotes", field, (values > 0) & (values < SMALLEST_VOL), values, remedy)
        problems += row_problems("quotes", "strike", self._repeated(), self.strike, "the same contract twice")
        middle = _median_vol(self)
        if middle > PERCENT_SUSPECTED:
            remedy = "volatility looks like percent: give it in decimal, 0.62 for 62 %"
            problems.append(Problem("quotes", None, "median vol", round(middle, 4), remedy))
        return problems

    def _repeated(self) -> BoolArray:
        columns = np.stack([self.expiry_idx.astype(np.float64), self.strike, self.sign])
        _, first = np.unique(columns, axis=1, return_index=True)
        repeated = np.ones(len(self), dtype=np.bool_)
        repeated[first] = False
        return repeated


def _median_vol(quotes: Quotes) -> float:
    """Median of the mark vols, of the mids where there is no mark at all; 0 where there is neither."""
    for values in (quotes.mark_vol, 0.5 * (quotes.bid_vol + quotes.ask_vol)):
        present = values[values > 0]
        if len(present):
            return float(np.median(present))
    return 0.0


def quotes_from_prices(
    expiry_idx: ArrayLike,
    strike: ArrayLike,
    sign: ArrayLike,
    forward: ArrayLike,
    tau: ArrayLike,
    bid: ArrayLike,
    ask: ArrayLike,
    mark_vol: ArrayLike | None = None,
    *,
    model: str = "black76",
) -> Quotes:
    """Quotes from bid and ask prices, each argument (Q,) as in `Quotes`, by `implied_vol` with a discount of 1.

    model  "black76": prices are in the forward's currency, as of expiry (a price paid today is divided by the discount
           factor first). "inverse": prices are in coin, as venues of coin-settled options quote them

    A price is NaN or 0 where a side is empty. One outside the no-arbitrage bounds, or one that determines no vol, gives
    an empty side (a bid below intrinsic value says nothing about vol).
    Raises DataError for a negative or infinite price, for columns of different lengths, for prices that are those of
    the other model (a bid in coin at or above all that the option can pay, 1 for a call, K/F for a put; asks of options
    in the money that are, in the median, below half of what exercise would pay), and whatever `Quotes` refuses.
    """
    if model not in PRICE_MODELS:
        raise ConfigError(f"model = {model!r}: must be one of {', '.join(PRICE_MODELS)}")
    named = {"strike": strike, "sign": sign, "forward": forward, "tau": tau, "bid": bid, "ask": ask}
    columns = {name: numbers("quotes_from_prices", name, column) for name, column in named.items()}
    shapes = {name: column.shape for name, column in columns.items()}
    if len(set(shapes.values())) > 1 or columns["strike"].ndim != 1:
        text = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise DataError([Problem("quotes_from_prices", None, "shapes", text, "all must be (Q,), one entry a quote")])
    strike, sign, forward, tau, bid, ask = columns.values()
    problems: list[Problem] = []
    for field, price in (("bid", bid), ("ask", ask)):
        remedy = "must be 0 or more; NaN where there is none"
        problems += row_problems("quotes", field, (price < 0) | np.isinf(price), price, remedy)
    problems = problems or _other_model(strike, sign, forward, bid, ask, model)
    if problems:
        raise DataError(problems)
    bid_vol, ask_vol = (_side_vol(price, forward, strike, tau, sign, model) for price in (bid, ask))
    mark_vol = np.full(len(bid), np.nan) if mark_vol is None else mark_vol
    return Quotes(expiry_idx, strike, sign, forward, tau, bid_vol, ask_vol, mark_vol)  # type: ignore[arg-type]


def _other_model(
    strike: FloatArray, sign: FloatArray, forward: FloatArray, bid: FloatArray, ask: FloatArray, model: str
) -> list[Problem]:
    """What shows that prices are in coin where they should be in the forward's currency, or the other way round.

    Of a bid nobody would pay: asks beyond those bounds stand in real books, so they alone show nothing.
    """
    if model == "inverse":
        with np.errstate(divide="ignore", invalid="ignore"):  # a forward of 0 is for `Quotes` to refuse
            most = np.where(sign > 0.0, 1.0, strike / forward)
        remedy = "more coin than the option can pay: prices in the forward's currency need model = 'black76'"
        return row_problems("quotes", "bid", bid >= most, bid, remedy)
    exercised = sign * (forward - strike)
    asked = (exercised > 0.0) & (ask > 0.0)
    if not asked.any() or (share := float(np.median(ask[asked] / exercised[asked]))) >= COIN_SUSPECTED_SHARE:
        return []
    text = "of what exercise would pay, in the median in the money: prices in coin need model = 'inverse'"
    return [Problem("quotes", None, "ask", round(share, 6), text)]


def _side_vol(
    price: FloatArray, forward: FloatArray, strike: FloatArray, tau: FloatArray, sign: FloatArray, model: str
) -> FloatArray:
    from pricing.implied_vol import implied_vol

    row = np.flatnonzero((price > 0) & (np.asarray(tau) > 0))
    vol = np.full(len(price), np.nan)
    columns = (np.asarray(column, dtype=np.float64)[row] for column in (forward, strike, tau, sign))
    vol[row] = implied_vol(price[row], *columns, model=model, backend="numpy")[0]
    return vol


class Selection(NamedTuple):
    """Per quote (Q,): what became of it, the vol to fit (NaN unless used), the weight of an error of that vol, vega.

    vega is relative to the forward and to sqrt(tau), exp(-d1^2 / 2); weight and vega are 0 unless used.
    """

    use: IntArray
    target_vol: FloatArray
    weight: FloatArray
    vega: FloatArray

    @property
    def used(self) -> BoolArray:
        """(Q,) whether the quote takes part in the fit."""
        return np.isin(self.use, USED)


def select_quotes(quotes: Quotes, expiry_tau: FloatArray, oldest_seconds: float = np.inf) -> Selection:
    """Choose one vol per strike and expiry, and say how much it counts.

    expiry_tau (Q,) is the time to expiry of the row's expiry at the valuation time; half an hour before
    expiry, when settlement averaging begins, vol has lost its meaning and quotes are not used. By the same
    token a quote was made tau - expiry_tau before the valuation; beyond oldest_seconds it is not used.

    A strike is represented by its out-of-the-money side (call for k >= 0, put for k < 0), and by the
    other side only where that one is unusable. The vol is the mid where both sides stand and are no
    wider apart than half the mid, else the venue's mark, else the wide mid.

    The weight is 1 / width in vol. Width is ask less bid, floored; where the mark is used it is the
    width in vol that the expiry's median bid-ask width in price has at this strike, so that a vol which
    no price determines counts for next to nothing.
    """
    use, target = _usable(quotes, expiry_tau, oldest_seconds)
    use = _without_twins(quotes, use)
    used = np.isin(use, USED)
    target = np.where(used, target, np.nan)
    deviation = np.where(used, target * np.sqrt(np.maximum(quotes.tau, 0.0)), 1.0)
    d1 = -quotes.log_moneyness / deviation + 0.5 * deviation
    vega = np.where(used, np.exp(-0.5 * d1 * d1), 0.0)
    return Selection(use, target, _weights(quotes, use, vega), vega)


def without_outliers(quotes: Quotes, selection: Selection, fitted: FloatArray) -> Selection:
    """The selection without quotes that lie far from fitted vols (Q,).

    A quote is an outlier where its error is above 2 widths and above 6 robust standard deviations (1.4826 times
    the median size) of the errors of its expiry, both in units of the quotes' own widths. Where more than a fifth
    of an expiry would go, it is the fit that is wrong, and none goes.
    """
    used = selection.used
    error = np.where(used, np.abs(fitted - selection.target_vol) * selection.weight, 0.0)
    row, count = quotes.expiry_idx, int(quotes.expiry_idx.max()) + 1
    scale = SCALE_OF_MEDIAN * _medians(error[used], row[used], count)
    beyond = used & (error > np.maximum(OUTLIER_SPREADS, OUTLIER_SCALES * scale)[row])
    few = np.bincount(row[beyond], minlength=count) <= LARGEST_OUTLIER_SHARE * np.bincount(row[used], minlength=count)
    far = beyond & few[row]
    kept = [np.where(far, nothing, values) for values, nothing in zip(selection[1:], (np.nan, 0.0, 0.0), strict=True)]
    return Selection(np.where(far, QuoteUse.OUTLIER, selection.use), *kept)


def vega_share(vega: FloatArray, expiry_idx: IntArray) -> FloatArray:
    """(Q,) vegas relative to the largest of their expiry, floored so that no quote is quite without weight."""
    largest = np.zeros(int(expiry_idx.max(initial=-1)) + 1)
    np.maximum.at(largest, expiry_idx, vega)
    return np.maximum(vega / largest[expiry_idx], SMALLEST_VEGA_SHARE)


def _usable(quotes: Quotes, expiry_tau: FloatArray, oldest_seconds: float) -> tuple[IntArray, FloatArray]:
    has_bid, has_ask, has_mark = quotes.bid_vol > 0, quotes.ask_vol > 0, quotes.mark_vol > 0
    both = has_bid & has_ask
    mid = 0.5 * (quotes.bid_vol + quotes.ask_vol)
    width = quotes.ask_vol - quotes.bid_vol
    too_short = np.minimum(quotes.tau, expiry_tau) < SHORTEST_TAU_YEARS
    narrow = both & (width <= WIDEST_SHARE_OF_MID * mid)
    stale = (quotes.tau - expiry_tau) * SECONDS_PER_YEAR > oldest_seconds
    cases = (
        (too_short, QuoteUse.TOO_SHORT),
        (stale, QuoteUse.STALE),
        (both & (width < 0), QuoteUse.CROSSED),
        (narrow, QuoteUse.MID),
        (has_mark, QuoteUse.MARK),
        (both, QuoteUse.MID),
        (has_bid | has_ask, QuoteUse.ONE_SIDED),
    )
    use = np.select([case for case, _ in cases], [code for _, code in cases], QuoteUse.NO_VOL)
    return use, np.where(use == QuoteUse.MID, mid, quotes.mark_vol)


def _without_twins(quotes: Quotes, use: IntArray) -> IntArray:
    """Of the usable call and put of one strike keep one: the out-of-the-money side if it is usable."""
    out_of_the_money = (quotes.sign > 0) == (quotes.log_moneyness >= 0)
    row = np.flatnonzero(np.isin(use, USED))
    order = row[np.lexsort((~out_of_the_money[row], quotes.strike[row], quotes.expiry_idx[row]))]
    same = (np.diff(quotes.strike[order]) == 0) & (np.diff(quotes.expiry_idx[order]) == 0)
    use = use.copy()
    use[order[1:][same]] = QuoteUse.TWIN
    return use


def _weights(quotes: Quotes, use: IntArray, vega: FloatArray) -> FloatArray:
    assert quotes.weight is not None
    used, quoted = np.isin(use, USED), use == QuoteUse.MID
    width = np.maximum(np.where(quoted, quotes.ask_vol - quotes.bid_vol, SMALLEST_WIDTH_VOL), SMALLEST_WIDTH_VOL)
    row, share = quotes.expiry_idx, np.ones(len(quotes))
    share[used] = vega_share(vega[used], row[used])
    price_width = _medians((width * share)[quoted], row[quoted], int(row.max()) + 1)
    price_width = np.where(np.isnan(price_width), SMALLEST_WIDTH_VOL, price_width)[row]
    width = np.where(used & ~quoted, np.maximum(price_width / share, SMALLEST_WIDTH_VOL), width)
    # Only the ratios of weights count: scaled, so that the size they come in moves no penalty and no tolerance.
    return np.where(used, quotes.weight / quotes.weight.max() / width, 0.0)


def _medians(values: FloatArray, group: IntArray, count: int) -> FloatArray:
    """(count,) median of the values of each group, NaN where it has none."""
    order = np.lexsort((values, group))
    size = np.bincount(group, minlength=count)
    first, some = np.cumsum(size) - size, size > 0
    found, ordered = np.full(count, np.nan), values[order]
    low, high = (first[some] + shift // 2 for shift in (size[some] - 1, size[some]))
    found[some] = 0.5 * (ordered[low] + ordered[high])
    return found
