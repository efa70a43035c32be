"""What the benchmarks report: errors that are known beforehand are found, and figures become the table they should."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mpmath as mp
import numba
import numpy as np
import pytest

from benchmarks import __main__ as command
from benchmarks import exchange, goals, parts, report, slices, venue, venue_peers, venue_report
from benchmarks.accuracy import (
    black_greeks,
    exact_greeks,
    exact_prices,
    exact_vols,
    greek_errors,
    price_errors,
    vol_errors,
)
from benchmarks.contestants import Peer, first_results
from benchmarks.formula_peers import textbook_greeks
from benchmarks.pricing import contracts, quotes
from portfolio_margin import worst_loss
from scenarios import portfolio_pnl, revalue
from tests.naive import exact
from tests.vectors import ROOT


def line(median: float, ratio: float, *, ours: bool = False, version: str = "", **more: Any) -> dict[str, Any]:
    figures = ("median", "best", "processor")
    return {
        "ours": ours,
        "version": version,
        **dict.fromkeys(figures, median),
        "ratios": dict.fromkeys(figures, ratio),
        **more,
    }


def race(job: str, threads: int, contestants: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"job": job, "size": 1_000_000, "threads": threads, "rounds": 7, "contestants": contestants, **more}


def price_race(threads: int, torch_ratio: float) -> dict[str, Any]:
    errors = {"error / max(F, K)": 5e-16, "relative out of the money": 3e-15}
    contestants = {
        "price(out=...)": line(10.0, 1.0, ours=True, errors=errors),
        "price(), more": line(12.0, 1.2, ours=True, errors=errors),
        "its kernel": line(9.0, 0.9, ours=True, errors=errors),
        report.TWO_FORMULAS: line(80.0, 8.0, version="2.4", errors=errors),
        "iv-engine": line(90.0, 9.0, version="0.1", errors=errors),
        "torch eager": line(10.0 * torch_ratio, torch_ratio, version="2.13", errors=errors),
        "QuantLib blackFormula loop": line(1234.5, 123.4, version="1.44", errors=errors),
    }
    return race("price", threads, contestants)


def greek_race(threads: int) -> dict[str, Any]:
    right, wrong = {"price": 2e-16, "gamma": 3e-15}, {"price": 2e-16, "gamma": 0.3}
    contestants = {
        "greeks(out=...)": line(20.0, 1.0, ours=True, outputs=9, errors=right),
        "wrong": line(21.0, 1.05, version="1", outputs=8, errors=wrong),
        "few fields": line(60.0, 3.0, version="1", outputs=6, errors=right),
        report.TWO_FORMULAS: line(120.0, 6.0, version="2.4", outputs=8, errors=right),
        report.ONE_FORMULA: line(140.0, 7.0, version="2.4", outputs=8, errors=right),
    }
    shares = {
        "seven Greeks": {"by median time": 1.55, "in cache": 1.45},
        "eight Greeks": {"by median time": 1.75, "in cache": 1.5},
    }
    return race("greeks", threads, contestants, **{"over the price alone": shares})


def results() -> list[dict[str, Any]]:
    machine = {"date": "2026-01-02", "processor": "A processor", "cores": 4, "python": "3.11"}
    versions = {"python": "3.11", "numpy": "2.4", "lbriv": "1.0"}
    one, all_threads = [price_race(1, 4.4), greek_race(1)], [price_race(4, 3.6), greek_race(4)]
    return [{"machine": machine, "versions": versions, "races": races} for races in (one, all_threads)]


def test_the_short_table_is_the_one_of_the_figures() -> None:
    section, _ = report.sections(results())
    assert section.splitlines() == [
        "2026-01-02, A processor, 4 cores; python 3.11, numpy 2.4; medians of 7 alternating rounds, "
        "in parentheses ratios of processor times.",
        "",
        "| job | contestant | ms, 1 thread | times ours | ms, 4 threads | times ours | goal | errors |",
        "|---|---|--:|--:|--:|--:|---|---|",
        "| price | `price(out=...)` | 10.0 | 1.00 (1.00) | 10.0 | 1.00 (1.00) |  "
        "| 5e-16 of max(F, K), 3e-15 of itself |",
        "|  | torch eager 2.13 | 44.0 | 4.40 (4.40) | 36.0 | 3.60 (3.60) | 4, met on one thread only "
        "| 5e-16 of max(F, K), 3e-15 of itself |",
        "|  | numpy + scipy, both formulas and np.where 2.4 | 80.0 | 8.00 (8.00) | 80.0 | 8.00 (8.00) | 10, missed "
        "| 5e-16 of max(F, K), 3e-15 of itself |",
        "|  | QuantLib blackFormula loop 1.44 | 1,234 | 123 (123) | 1,234 | 123 (123) | 45, met "
        "| 5e-16 of max(F, K), 3e-15 of itself |",
        "| price and seven Greeks | `greeks(out=...)` | 20.0 | 1.00 (1.00) | 20.0 | 1.00 (1.00) |  | 3e-15 (gamma) |",
        "|  | wrong 1 | 21.0 | 1.05 (1.05) | 21.0 | 1.05 (1.05) |  | 3e-01 (gamma) |",
        "|  | few fields 1 | 60.0 | 3.00 (3.00) | 60.0 | 3.00 (3.00) |  | 3e-15 (gamma), 6 of 8 |",
        "|  | numpy + scipy, both formulas and np.where 2.4 | 120 | 6.00 (6.00) | 120 | 6.00 (6.00) | 10, missed "
        "| 3e-15 (gamma) |",
        "|  | numpy + scipy, one formula by sign 2.4 | 140 | 7.00 (7.00) | 140 | 7.00 (7.00) |  | 3e-15 (gamma) |",
        "",
        "Price and Greeks over the price alone (goal for seven: at most 1.6): seven Greeks 1.55 on 1 and 1.55 on 4 "
        "thread(s) for columns of a million rows, 1.45 in the second cache; eight Greeks 1.75 on 1 and 1.75 on 4 "
        "thread(s) for columns of a million rows, 1.50 in the second cache.",
    ]


def test_the_full_table_has_every_contestant_of_every_run() -> None:
    _, full = report.sections(results())
    assert (
        full.count("| its kernel |") == full.count("| `price()`, more |") == 2 and full.count("| iv-engine 0.1 |") == 2
    )
    assert "| torch eager 2.13 | 4 | 36.0 | 36.0 | 36.0 | 3.60 | 3.60 | 3.60 |" in full


def test_a_job_of_one_run_has_empty_columns_for_all_threads() -> None:
    errors = {"largest error": 4e-5, "rms": 5e-6}
    contestants = {
        'american_price(accuracy="fast")': line(10.0, 1.0, ours=True, errors=errors),
        "QuantLib QdFp fast": line(70.0, 7.0, version="1.44", errors=errors),
    }
    section = report.short_table([race("american", 1, contestants)], 4)
    assert (
        section[-1] == "|  | QuantLib QdFp fast 1.44 | 70.0 | 7.00 (7.00) |  |  | 5, met | largest 4e-05, rms 5e-06 |"
    )


def test_a_busy_machine_is_told() -> None:
    busy, quiet = price_race(1, 4.0), greek_race(1)
    for contestant in busy["contestants"].values():
        contestant["processor"] = 0.5 * contestant["median"]
    assert "busy during price on 1 thread(s)" in report.busy_text([busy, quiet])
    assert report.busy_text([quiet]) == ""


def test_a_goal_that_only_a_busy_neighbour_reaches_is_missed() -> None:
    disturbed = line(50.0, 5.0, version="1")
    disturbed["ratios"]["processor"] = 3.9
    assert report.goal_text(report.Entry("torch eager", disturbed, None, 4.0)) == "4, missed"


def test_only_inversions_without_a_failure_answer_right() -> None:
    fails, solves = ({"errors": {"failures per million": count, "roundings": 3.0}} for count in (5.0, 0.0))
    assert not report.answers_right("implied_vol", fails)
    assert report.answers_right("implied_vol", solves)


@pytest.mark.parametrize("path", [ROOT / "README.md", ROOT / "docs" / "benchmarks.md"], ids=lambda path: path.name)
def test_the_tables_have_their_place(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count(report.BEGIN) == text.count(report.END) == 1
    written = report.insert(text, "the table")
    assert f"{report.BEGIN}\nthe table\n{report.END}" in written
    assert report.insert(written, "the table") == written


def test_a_text_without_markers_is_refused() -> None:
    with pytest.raises(ValueError, match="benchmarks: begin"):
        report.insert("no markers here", "the table")


def test_exact_greeks_are_derivatives_of_the_price() -> None:
    forward, strike, tau, vol, discount, sign = 100.0, 117.0, 0.7, 0.35, 0.96, -1.0
    with mp.workdps(60):
        rate = -mp.log(mp.mpf(discount)) / mp.mpf(tau)

        def value(f: mp.mpf, t: mp.mpf, v: mp.mpf, r: mp.mpf = rate) -> mp.mpf:
            return mp.exp(-r * t) * exact.black(f, mp.mpf(strike), t, v, int(sign))

        numeric = exact.derivatives(value, (forward, tau, vol))
        f, t, v = (mp.mpf(number) for number in (forward, tau, vol))
        numeric["rho"] = float(mp.diff(lambda r: value(f * mp.exp((r - rate) * t), t, v, r), rate))
        numeric["rho, forward held"] = float(mp.diff(lambda r: value(f, t, v, r), rate))
    for name, greek in black_greeks(forward, strike, tau, vol, discount, sign).items():
        assert float(greek) == pytest.approx(numeric[name], rel=1e-14), name


def test_errors_that_were_put_in_are_found() -> None:
    columns = contracts(50)
    truth = exact_greeks(columns)
    right = textbook_greeks(np, lambda x: np.array([float(exact.normal_cdf(mp.mpf(z))) for z in x]), columns)
    assert max(greek_errors(truth, Peer(lambda c, t: None), right).values()) < 1e-13
    wrong = tuple(
        values + (1e-5 if name == "delta" else 0.0) for name, values in zip(Peer(print).fields, right, strict=True)
    )
    found = greek_errors(truth, Peer(print), wrong)
    assert found["delta"] == pytest.approx(1e-5) and found["gamma"] < 1e-13
    per_point = tuple(
        values / 100 if name == "vega" else values for name, values in zip(Peer(print).fields, right, strict=True)
    )
    assert greek_errors(truth, Peer(print, units={"vega": 100.0}), per_point)["vega"] < 1e-13

    prices = exact_prices(columns)
    off = price_errors(prices, right[0] + 1e-7 * prices.size)
    assert off["error / max(F, K)"] == pytest.approx(1e-7, rel=1e-6)


def test_failures_of_implied_vols_are_counted_and_the_rest_measured() -> None:
    columns, vols = quotes(40)
    truth = exact_vols(columns, vols)
    assert truth.firm.all()
    found = np.empty(len(vols))
    for row, root in zip(truth.rows, truth.root, strict=True):
        found[row] = float(root)
    assert vol_errors(truth, found) == {"failures per million": 0.0, "roundings": pytest.approx(0.25, abs=0.25)}
    found[3], found[5] = np.nan, 1.1 * found[5]
    assert vol_errors(truth, found)["failures per million"] == pytest.approx(2e6 / 40)


def test_a_slice_that_did_not_reach_its_minimum_is_stuck() -> None:
    data = slices.noisy_slices(4)
    ours = slices.our_fits(data)
    worse, outside = ours.copy(), ours.copy()
    worse[1, 0] += 0.1  # far above the quotes
    outside[2] = [-1.0, 5.0, 0.0, 0.0, 1.0]  # a slope of 5, which nobody may choose
    assert slices.stuck(data, {"ours": ours, "worse": worse}) == {"ours": 0, "worse": 1}
    assert slices.stuck(data, {"ours": ours, "outside": outside}) == {"ours": 0, "outside": 1}


def test_a_contestant_that_fails_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    calls = {"works": lambda: 1, "fails": lambda: 1 / 0}
    assert first_results(calls) == {"works": 1} and list(calls) == ["works"]
    assert "fails: left out" in capsys.readouterr().out


def test_peers_of_the_whole_venue_answer_what_they_are_asked() -> None:
    instruments, market = exchange.options(200)
    arrays = revalue(instruments, market, exchange.scenario_set(market, 20))
    book = exchange.book(200, 150, venue.POSITIONS)
    ours, _ = worst_loss(book, arrays)
    job = venue_peers.Job(book, arrays.pnl, venue.POSITIONS)
    for run in (venue_peers.scipy_blocks(job), venue_peers.numba_loop(job, 1), venue_peers.pandas_frames(job)):
        assert run() == pytest.approx(ours, rel=1e-12)
    assert np.array_equal(venue_peers.scipy_blocks(job.first(10))(), venue_peers.scipy_blocks(job)()[:10])


def test_the_plain_loop_takes_as_many_threads_as_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """When it is called: numba's setting is one of the process, and other contestants run in between."""
    used: list[int] = []
    monkeypatch.setattr(venue_peers, "_plain_loop", lambda *_: used.append(numba.get_num_threads()))
    job = venue_peers.Job(exchange.book(20, 3, 2), np.zeros((20, 4)), 2)
    loops = [venue_peers.numba_loop(job, threads) for threads in (1, 2, 1)]
    before = numba.get_num_threads()
    for loop in loops:
        loop()
    assert used == [1, min(2, numba.config.NUMBA_NUM_THREADS), 1] and numba.get_num_threads() == before


def test_peers_of_one_portfolio_answer_what_they_are_asked() -> None:
    held = venue.portfolio(8)
    ours, size = portfolio_pnl(*held).pnl, np.abs(held.quantity) @ held.forward
    assert np.abs(venue_peers.numpy_broadcast(held)() - ours).max() < 1e-13 * size
    # Of the loops the sum over everything is all they keep; values before the moves are not taken off.
    before = np.array(
        [
            float(exact.black(*map(mp.mpf, row[:2]), *map(mp.mpf, row[2:4]), int(row[4])))
            for row in zip(*held[:5], strict=True)
        ]
    )
    scenarios = ours.size
    total = ours.sum() + scenarios * float(held.quantity @ before)
    assert venue_peers.quantlib_formula(held, 8)() == pytest.approx(total, abs=1e-9 * size)


@pytest.mark.parametrize("scenarios", [16, 64, 300, 301, 2_048])
def test_the_venue_has_as_many_scenarios_as_asked(scenarios: int) -> None:
    _, market = exchange.options(10)
    assert len(exchange.scenario_set(market, scenarios)) == scenarios


def venue_run(threads: int, times: dict[str, float], race: str = "worst loss of accounts") -> dict[str, object]:
    """A race that `benchmarks.venue` writes of one run; processor times are twice those of the clock."""
    first = next(iter(times.values()))
    lines = {
        name: {"best": ms, "processor": 2.0 * ms, "ratios": {"best": ms / first, "processor": 2.0 * ms / first}}
        for name, ms in times.items()
    }
    return {"title": f"{race}, {threads} thread(s)", "contestants": lines, "cache_bound_ms": 40.0}


def both_runs() -> list[dict[str, object]]:
    """Runs on one thread and on two. The goal of the CSR and that of Derive's rules are missed by the clock on two."""
    curves = {"accounts": [{"accounts": 1_000, "revalue_ms": 1.0, "worst_loss_ms": 2.0, "ns_per_product": 0.0625}]}
    about = {"date": "2026-01-01", "processor": "P", "cores": 2}
    races = [
        {"account kernel": 80.0, "worst_loss()": 90.0, "derive_pmrm2 requirement()": 180.0, "scipy CSR, blocks": 900.0},
        {"account kernel": 50.0, "worst_loss()": 60.0, "derive_pmrm2 requirement()": 240.0, "scipy CSR, blocks": 450.0},
    ]
    one = {"portfolio_pnl()": 0.09, "its kernel": 0.06, "numpy broadcast": 0.18}
    return [
        {
            "machine": about, "threads": threads, "curves": curves,
            "races": [venue_run(threads, times), venue_run(threads, one, "one portfolio")],
        }
        for threads, times in enumerate(races, 1)
    ]  # fmt: skip


def engine_run(accounts: int, tick: float) -> dict[str, object]:
    """What `benchmarks.engine` writes of one number of accounts."""
    latency = {"p50": 7.0, "p99": 35.0, "p99.9": 50.0, "mean": 8.0, "stretch": 6.4}
    return {
        "accounts": accounts,
        "latencies": {goals.WHAT_IF: latency, goals.ARITHMETIC: {**latency, "p99": 14.0}},
        "checks": {goals.CHECK: {"best": 125.0, "processor": 250.0}},
        "ticks": {name: {"best": ms, "processor": ms} for name, ms in ((goals.NARROW, tick), (goals.WIDE, 900.0))},
    }


def span_run(milliseconds: float) -> dict[str, object]:
    """What `benchmarks.span` writes, of a file of 40 MB; processor time is half of that by the clock."""
    line = {"best": milliseconds, "processor": milliseconds / 2.0, "ratios": {"best": 1.0, "processor": 1.0}}
    return {
        "machine": {}, "load": 9.0, "values": 2_200_000, "megabytes": 40.0, "contestants": {"read_spn": line},
        "peak_mb": 50.0, "arrays_mb": 20.0,
    }  # fmt: skip


def test_the_tables_of_the_venue_are_those_of_its_figures() -> None:
    engine = {"machine": {}, "runs": [engine_run(10_000, 4.0), engine_run(1_000_000, 9.0)]}
    text = venue_report.section(both_runs(), engine, span_run(4_000.0))
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert "### Worst loss of accounts\n" in text
    verdict = "met on 1 thread(s) by the clock, met by processor time"
    assert f"| scipy CSR, blocks | 900 | 11.2 (22.5) | 450 | 9.00 (18.0) | 10, {verdict} |" in rows
    assert "2.00 on 1 thread(s) (40 ms), 1.25 on 2 thread(s) (40 ms)" in text
    assert "| accounts | 1,000 | 1.00 | 2.00 | 0.062 |" in rows
    assert "Up to 9 other jobs ran on the machine during the SPAN file:" in text
    derive = (
        "| all accounts: derive_pmrm2 requirement() | at most 3 x worst_loss() | 2.00 (2.00) on 1, 4.00 (4.00) on 2 |"
    )
    assert f"{derive} met on 1 thread(s) |" in rows
    bound = "| all accounts: account kernel | at most 2 x the bound of the second-level cache"
    assert f"{bound} | 2.00 on 1, 1.25 on 2 | met |" in rows
    assert "| one portfolio: numpy broadcast | 8 x ours | 2.00 (4.00) on 1, 2.00 (4.00) on 2 | missed |" in rows
    assert (
        "| one portfolio: portfolio_pnl() | at most 1.5 x its kernel | 1.50 (1.50) on 1, 1.50 (1.50) on 2 | met |"
        in rows
    )
    page = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    assert f"{venue_report.MARKERS[0]}\n{text}\n" in report.between(page, text, venue_report.MARKERS)


def test_goals_of_one_order_and_of_a_span_file() -> None:
    rows = goals.order_rows({"runs": [engine_run(10_000, 4.0), engine_run(1_000_000, 9.0)]})
    assert [row[-1] for row in rows] == ["missed", "met", "met", "missed"]
    assert "5.00 x; arithmetic alone, about as long, 2.00 x" in rows[0][2]
    assert rows[1][2].startswith("156,250 by the mean of the best stretch, 125,000 by that of all calls")
    assert rows[2][2].startswith("8,000,000;")
    assert "2.25 x" in rows[3][2]
    assert [row[-1] for row in goals.span_rows(span_run(1_900.0))] == ["met", "met"]
    assert goals.span_rows(span_run(4_000.0))[0][-1] == "missed by the clock, met by processor time"
    assert goals.span_rows({**span_run(1.0), "peak_mb": 61.0})[1][-1] == "missed"


def test_parts_of_the_benchmarks_are_modules_with_a_command_line() -> None:
    for name in parts.PARTS:
        source = (ROOT / "benchmarks" / f"{name}.py").read_text(encoding="utf-8")
        assert "def run" in source
        assert 'if __name__ == "__main__":' in source
        assert f"  {name} " in parts.listed()


def test_what_is_no_part_is_refused(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["python -m benchmarks", "venu"])
    with pytest.raises(SystemExit):
        command.main()
    assert "venu: no such part; there are pricing" in capsys.readouterr().err


def test_the_curve_of_accounts_ends_where_asked() -> None:
    assert venue.sizes_up_to((1_000, 10_000, 100_000), 50_000) == [1_000, 10_000, 50_000]
    assert venue.sizes_up_to((1_000, 10_000), 10_000) == [1_000, 10_000]
    assert goals.of_full_size(1_000_000)
    assert not goals.of_full_size(999_999)
