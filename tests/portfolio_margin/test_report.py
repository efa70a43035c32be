"""A report of one account: its pictures show the numbers of the statement, and the page stands alone."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from portfolio_margin import account_pnl, load_sample, margin, position_margins
from portfolio_margin.models import worst_case
from portfolio_margin.plots import contribution_bars, margin_waterfall, payoff, risk_matrix
from portfolio_margin.report import Column, Section, html_page
from pricing import DataError
from scenarios import revalue
from scenarios.families import grid
from scenarios.shocks import make
from tests.portfolio_margin.test_cli import check_fails, run  # noqa: F401 - a fixture

pytest.importorskip("matplotlib")

SAMPLE = load_sample()
MODEL = worst_case.Model()
ARRAYS = revalue(SAMPLE.instruments, SAMPLE.market, grid.scenarios(grid.Params(), SAMPLE.market))
STATEMENT = margin(SAMPLE.book, ARRAYS, SAMPLE.market, MODEL)
CONDOR, MAKER = "iron-condor-07", "market-maker-03"


@pytest.mark.parametrize("account", [CONDOR, MAKER, "empty", "short-straddle-bankrupt"])
@pytest.mark.parametrize(("part", "left"), [("initial", "available_funds"), ("maintenance", "excess_liquidity")])
def test_a_waterfall_ends_at_what_is_left(account: str, part: str, left: str) -> None:
    bars = margin_waterfall(STATEMENT, account, part).frame
    row = SAMPLE.book.row_of(account)
    assert bars["amount"].iloc[[0, -1]].tolist() == [STATEMENT.equity[row], getattr(STATEMENT, left)[row]]
    moves = bars[bars["kind"] != "level"]
    assert np.isclose(bars["amount"].iloc[0] + moves["amount"].sum(), bars["amount"].iloc[-1], atol=0.01)
    assert (bars["above"] - bars["below"]).to_numpy() == pytest.approx(bars["amount"].abs().to_numpy())
    # Each bar that moves starts where the one before it has ended.
    ends = [(r.above if r.amount >= 0 else r.below, r.below if r.amount >= 0 else r.above) for r in bars.itertuples()]
    for before, bar, (_, start) in zip(ends, bars.itertuples(), ends[1:], strict=False):
        if bars["kind"].iloc[bar.Index + 1] != "level":
            assert start == pytest.approx(before[0], abs=1e-6)


def test_a_waterfall_of_nobody() -> None:
    with pytest.raises(DataError, match="account = 'nobody'"):
        margin_waterfall(STATEMENT, "nobody")
    with pytest.raises(DataError, match="part = 'both'"):
        margin_waterfall(STATEMENT, CONDOR, "both")


@pytest.mark.parametrize("underlying", [None, "BTC", "ETH"])
def test_the_worst_cell_of_a_risk_matrix_is_framed(underlying: str | None) -> None:
    picture = risk_matrix(SAMPLE.book, ARRAYS, MAKER, underlying)
    own = SAMPLE.book.select(MAKER)
    if underlying is not None:
        u = ARRAYS.underlying_id.tolist().index(underlying)
        own = own.keep(ARRAYS.underlying_idx[own.instrument_idx] == u)
    pnl = account_pnl(own, ARRAYS, backend="numpy")[0]
    assert picture.frame["pnl"].to_numpy().tobytes() == pnl.tobytes()
    worst = picture.frame[picture.frame["worst"]]
    assert worst["scenario"].tolist() == [ARRAYS.scenario_set.label[np.argmin(pnl)]]
    assert not picture.frame.duplicated(["row", "column"]).any()
    (frame,) = picture.figure.axes[0].patches
    assert (frame.get_x() + 0.5, frame.get_y() + 0.5) == (worst["column"].item(), worst["row"].item())
    # Rows have one vol move and one time, columns one price move.
    moves = ARRAYS.scenario_set
    for name, values in (
        ("row", np.column_stack([moves.vol_move[:, 0], moves.time_step_years])),
        ("column", moves.price_move),
    ):
        for _, some in picture.frame.groupby(name):
            assert np.ptp(values[some.index], axis=0).max() == 0.0


def test_scenarios_that_are_no_grid_stand_in_order() -> None:
    random = np.random.default_rng(1)
    moves = make([f"day {n}" for n in range(100)], random.normal(0.0, 0.05, 100), random.normal(0.0, 0.1, 100))
    arrays = revalue(SAMPLE.instruments, SAMPLE.market, moves)
    picture = risk_matrix(SAMPLE.book, arrays, CONDOR)
    place = picture.frame["row"] * (picture.frame["column"].max() + 1) + picture.frame["column"]
    assert place.tolist() == list(range(100))
    nothing = risk_matrix(SAMPLE.book, arrays, "empty").frame
    assert not nothing["worst"].any() and (nothing["pnl"] == 0).all()
    with pytest.raises(DataError, match="underlying = 'SPY'"):
        risk_matrix(SAMPLE.book, arrays, CONDOR, "SPY")


def test_a_payoff_at_expiry_is_what_the_contracts_pay() -> None:
    """By hand: coin-settled options of one expiry pay their intrinsic value over the forward, in coin."""
    book, table, market = SAMPLE.book, SAMPLE.instruments, SAMPLE.market
    lines = payoff(book, table, market, CONDOR, "BTC").frame
    assert lines["line"].unique().tolist() == ["now", "tomorrow", "at expiry, 2026-03-27"]
    own = book.select(CONDOR)
    option = own.instrument_idx[table.is_option[own.instrument_idx]]
    quantity = own.quantity[table.is_option[own.instrument_idx]] * table.multiplier[option]
    spot = float(market.spot[market.underlying_id.tolist().index("BTC")])
    forward = market.forward[table.expiry_idx[option]]
    last = lines[lines["line"].str.startswith("at expiry")]
    move = last["price"].to_numpy()[:, None] / spot
    paid = np.maximum(table.sign[option] * (forward * move - table.strike[option]), 0.0) / forward * spot
    now = ARRAYS.value[option] / table.multiplier[option]
    assert last["pnl"].to_numpy() == pytest.approx((paid - now) @ quantity, abs=0.02)
    still = lines[(lines["line"] == "now") & np.isclose(lines["price"], spot)]
    assert still["pnl"].tolist() == pytest.approx([0.0], abs=1e-6)
    with pytest.raises(DataError, match="underlying = 'SPY'"):
        payoff(book, table, market, CONDOR, "SPY")
    with pytest.raises(DataError, match=r"span = 1\.0"):
        payoff(book, table, market, CONDOR, "BTC", span=1.0)


@pytest.mark.parametrize("part", ["initial", "maintenance"])
def test_contributions_add_up_to_the_requirement(part: str) -> None:
    parts = position_margins(STATEMENT, SAMPLE.book, ARRAYS, MAKER)
    bars = contribution_bars(parts, part).frame
    required = getattr(STATEMENT, f"{part}_margin")[SAMPLE.book.row_of(MAKER)]
    assert bars["share"].sum() == pytest.approx(required, abs=1e-6)
    assert len(bars) == 27 and bars["position"].iloc[-2].endswith("more positions")
    assert bars["share"].abs().iloc[:25].is_monotonic_decreasing


class Page(HTMLParser):
    """What a page holds; an address that leads out of it, or a tag that is not closed, fails."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.opened: list[str] = []
        self.texts: list[str] = []
        self.pictures: list[bytes] = []
        self.feed(text)
        assert not self.opened

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        assert tag not in ("script", "link", "iframe", "object", "base")
        named = dict(attrs)
        assert not {"href", "srcset", "onload", "action"} & set(named)
        if "src" in named:
            kind, _, content = named["src"].partition(";base64,")
            assert (tag, kind) == ("img", "data:image/png") and named["alt"]
            self.pictures.append(base64.b64decode(content, validate=True))
        if tag not in ("meta", "img"):
            self.opened.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.opened.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts += [data.strip()] if data.strip() else []


def test_a_page_reads_no_text_as_markup() -> None:
    name = "<script>alert('x')</script>&"
    page = Page(html_page(name, name, [Section(name, [name], [[Column(name, [name], True)]])]))
    assert (
        page.texts.count(name) == 7
    )  # title, heading of the page, line below it, section, note, and a table of one cell


def test_the_report(run: Any, tmp_path: Path) -> None:  # noqa: F811
    done = run("report", MAKER, "--output", "maker.html")
    assert (done.code, done.out) == (0, "") and "wrote maker.html" in done.err
    text = (tmp_path / "maker.html").read_text(encoding="utf-8")
    assert not re.search(r"https?:|url\(|@import", text)
    page = Page(text)
    for heading in ("Statement", "Where the margin comes from", "Risk matrix", "Payoff", "Contributions"):
        assert heading in page.texts
    row = SAMPLE.book.row_of(MAKER)
    assert f"{STATEMENT.initial_margin[row]:.2f}" in page.texts and f"inputs {STATEMENT.input_hash}" in text
    # Two waterfalls, the matrix of all and of each of two underlyings, their payoffs, contributions.
    assert len(page.pictures) == 8 and all(content[:4] == b"\x89PNG" for content in page.pictures)
    run("report", MAKER, "--output", "again.html")
    assert (tmp_path / "again.html").read_bytes() == (tmp_path / "maker.html").read_bytes()


def test_a_report_from_risk_arrays_alone(run: Any, tmp_path: Path) -> None:  # noqa: F811
    assert run("arrays", "--output", "a.npz").code == 0
    assert run("report", CONDOR, "--arrays", "a.npz", "--output", "page.html").code == 0
    page = Page((tmp_path / "page.html").read_text(encoding="utf-8"))
    assert len(page.pictures) == 4 and any("give a market" in text for text in page.texts)
    check_fails(run("report", CONDOR, "--output", "page.pdf"), "--output page.pdf", ".html")
    check_fails(run("report", "nobody", "--output", "x.html"), "nobody")
    check_fails(run("report", CONDOR, "--arrays", "a.npz", "--output", "a.npz"), "a.npz")
