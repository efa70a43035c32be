"""Back-tests: nine years of hours and twenty of days with a library of books, beside plain numpy of the same books."""

from __future__ import annotations

import argparse

import numpy as np
from scipy.special import erf

from benchmarks.timing import best_seconds, report
from portfolio_margin.backtest.plan import Plan
from portfolio_margin.backtest.run import back_test
from portfolio_margin.backtest.sets import Fixed
from pricing.arrays import FloatArray, IntArray
from scenarios.backtest.books import Books, standard_books
from scenarios.backtest.history import History, history
from scenarios.backtest.models import Layout, over_layout
from scenarios.backtest.revaluation import CALENDAR_DAYS, DYNAMICS
from scenarios.backtest.walk import day_of_rows, margins
from scenarios.dynamics import tenor_scale

START_MS = 1_500_000_000_000 // 86_400_000 * 86_400_000
# Rows that the peer works through; its time is taken times as many as there are over these.
PEER_ROWS = 200


def made_up(days: int, steps_per_day: int, days_per_year: float, vol: float, seed: int = 3) -> History:
    """A history of fat-tailed returns with an index of vol."""
    random, count = np.random.default_rng(seed), days * steps_per_day
    step = vol / np.sqrt(days_per_year * steps_per_day)
    price = 1_000.0 * np.exp(np.cumsum(step * random.standard_t(5, count) / np.sqrt(5.0 / 3.0)))
    index = vol * np.exp(np.cumsum(random.normal(0.0, 0.005, count)) * np.sqrt(1.0 / steps_per_day))
    moment = START_MS + (1 + np.arange(count)) * (86_400_000 // steps_per_day)
    return history(moment, price, np.clip(index, 0.05, 3.0), days_per_year=days_per_year, steps_per_day=steps_per_day)


def plain_margins(given: History, books: Books, fixed: Fixed, layout: Layout, rows: IntArray) -> FloatArray:
    """(R,B) the same margins as one would write them down: a row at a time, arrays over options and scenarios."""
    tau = books.tenor_days / CALENDAR_DAYS
    scale, asked = tenor_scale(tau, DYNAMICS), np.empty((len(rows), len(books)))
    is_tail = layout.tail != 0.0
    move = np.where(is_tail, layout.tail, layout.price * fixed.price_range)
    weight = np.where(is_tail, np.minimum(1.0, fixed.price_range / np.where(is_tail, np.abs(layout.tail), 1.0)), 1.0)
    swing = np.where(layout.vol > 0.0, fixed.vol_up, -fixed.vol_down) * np.abs(layout.vol)
    left = np.maximum(tau[:, None] - layout.days / CALENDAR_DAYS, 0.0)
    for place, row in enumerate(rows):
        vol = given.vol[row]
        strike = np.exp(books.deviations * vol * np.sqrt(tau))[:, None]
        value, delta = _black(1.0, strike, tau[:, None], vol, books.sign[:, None])
        shocked = vol * np.maximum(1.0 + scale[:, None] * swing, 0.0)
        moved, _ = _black(1.0 + move, strike, left, shocked, books.sign[:, None])
        forwards = np.where(books.hedged, -(books.quantity @ delta[:, 0]), books.forwards)
        pnl = weight * (books.quantity @ (moved - value) + forwards[:, None] * move)
        asked[place] = np.maximum(-pnl.min(axis=1), 0.0)
    return asked


def _black(
    forward: FloatArray | float, strike: FloatArray, tau: FloatArray, vol: FloatArray | float, sign: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Values and forward deltas at zero rates (Black 1976)."""
    deviation = np.maximum(vol * np.sqrt(tau), 1e-12)
    d1 = np.log(forward / strike) / deviation + 0.5 * deviation
    first, second = (0.5 * (1.0 + erf(sign * d / np.sqrt(2.0))) for d in (d1, d1 - deviation))
    return np.asarray(sign * (forward * first - strike * second)), np.asarray(sign * first)


def run(rounds: int, books: int = 200, hours: int = 78_000, days: int = 5_000) -> None:
    """Time margins and whole back-tests; the peer's margins are checked against ours to 1e-9 of the price first."""
    library, fixed = standard_books(books), Fixed()
    layout = fixed.scenarios.made(1.0)
    jobs = {
        "BTC hourly": made_up(hours // 24, 24, 365.0, 0.7),
        "SPX daily": made_up(days, 1, 252.0, 0.18),
    }
    for name, given in jobs.items():
        plan = Plan(given, library, least_days=500)
        ends = given.days()
        model = over_layout(fixed.rule(500, 1)(given.at(ends, 1)), day_of_rows(ends, len(given)), layout)
        rows = np.arange(500 * given.steps_per_day, len(given) - plan.horizon)
        few = rows[:: max(1, len(rows) // PEER_ROWS)]
        gap = np.abs(plain_margins(given, library, fixed, layout, few) - margins(given, library, model, few)).max()
        assert gap < 1e-9, f"plain numpy and the walk differ by {gap}"
        ours = f"margins of {len(rows):,} rows"
        seconds = best_seconds(
            {
                ours: lambda given=given, model=model, rows=rows: margins(given, library, model, rows),
                "whole back-test, tests and verdicts": lambda plan=plan: back_test(plan, {"fixed": fixed}),
                "plain numpy": lambda given=given, few=few: plain_margins(given, library, fixed, layout, few),
            },
            rounds,
        )
        seconds["plain numpy"] *= len(rows) / len(few)
        report(f"back-test: {name}, {books} books, plain numpy measured on {len(few)} rows", seconds, ours)


def main() -> None:
    """Parse the sizes and run."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.backtest", description=__doc__)
    parser.add_argument("--books", type=int, default=200)
    parser.add_argument("--hours", type=int, default=78_000, help="of the hourly history")
    parser.add_argument("--days", type=int, default=5_000, help="of the daily history")
    parser.add_argument("--rounds", type=int, default=2)
    sizes = parser.parse_args()
    run(sizes.rounds, sizes.books, sizes.hours, sizes.days)


if __name__ == "__main__":
    main()
