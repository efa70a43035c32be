"""A report of one account: its pictures show the numbers of the statement, and the page stands alone."""

from __future__ import annotations

import base64
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from portfolio_margin import account_pnl, load_sample, margin, position_margins
from portfolio_margin.edge.levels import account_at, levels, open_case
from portfolio_margin.edge.prices import liquidation_prices
from portfolio_margin.liquidation.plan import Costs
from portfolio_margin.liquidation.policies import largest_contributor
from portfolio_margin.models import worst_case
from portfolio_margin.plots import (
    contribution_bars,
    liquidation_ladder,
    margin_waterfall,
    payoff,
    risk_matrices,
    risk_matrix,
)
from portfolio_margin.plots.liquidation import MOST_RUNGS
from portfolio_margin.report import Column, Section, html_page
from pricing import DataError
from scenarios import revalue
from scenarios.families import grid
from scenarios.risk_arrays import RiskArrays
from scenarios.shocks import make, product
from tests.portfolio_margin.test_cli import check_fails, run  # noqa: F401 - a fixture

pytest.importorskip("matplotlib")

SAMPLE = load_sample()
MODEL = worst_case.Model()
ARRAYS = revalue(SAMPLE.instruments, SAMPLE.market, grid.scenarios(grid.Params(), SAMPLE.market))
STATEMENT = margin(SAMPLE.book, ARRAYS, SAMPLE.market, MODEL)
CONDOR, MAKER, BANKRUPT = "iron-condor-07", "market-maker-03", "short-straddle-bankrupt"


@pytest.mark.parametrize("account", [CONDOR, MAKER, "empty", BANKRUPT])
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


def tiered() -> RiskArrays:
    """Three tiers, of which the third is the second again, with moves of ETH a half more than those of BTC."""
    price, vol, _ = product((-0.1, 0.0, 0.1), (-0.2, 0.0, 0.2), (0.0,))
    wide = (1.0, 2.0, 2.0)
    labels = [f"{name}:{n}" for name in ("narrow", "wide", "wide_again") for n in range(len(price))]
    moves = np.concatenate([w * price for w in wide])[:, None] * [1.0, 1.5]
    made = make(labels, moves, np.concatenate([w * vol for w in wide]))
    return revalue(SAMPLE.instruments, SAMPLE.market, replace(made, tier=np.repeat([0, 1, 2], len(price))))


@pytest.mark.parametrize("underlying", [None, "BTC", "ETH"])
def test_tiers_are_a_matrix_each_and_equal_ones_are_one(underlying: str | None) -> None:
    arrays = tiered()
    pictures = risk_matrices(SAMPLE.book, arrays, MAKER, underlying)
    every = risk_matrix(SAMPLE.book, arrays, MAKER, underlying).frame.set_index("scenario")["pnl"]
    assert [picture.frame["tier"].iloc[0] for picture in pictures] == ["narrow", "wide"]
    assert "(the same: wide again)" in pictures[1].figure.axes[0].get_title()
    for picture in pictures:
        table = picture.frame
        assert len(table) == 9 and not table.duplicated(["row", "column"]).any()
        assert table["pnl"].tolist() == every[table["scenario"]].tolist()
        assert table.loc[table["worst"], "pnl"].tolist() == [table["pnl"].min()]
        # Every cell has its number, and rows say what moves and not which tier.
        assert len(picture.figure.axes[0].texts) == 9
        assert not any("tier" in tick.get_text() for tick in picture.figure.axes[0].get_yticklabels())
    # Where nothing has names it is one matrix, the same as without tiers.
    (alone,) = risk_matrices(SAMPLE.book, ARRAYS, MAKER, underlying)
    assert alone.frame.drop(columns="tier").equals(risk_matrix(SAMPLE.book, ARRAYS, MAKER, underlying).frame)


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


@pytest.mark.parametrize("account", [CONDOR, "perpetual-short-03", BANKRUPT])
def test_a_payoff_is_marked_where_the_account_is_liquidated(account: str) -> None:
    """The marks are roots of the excess; between them stands what the excess of every single point says."""
    book, table, market = SAMPLE.book, SAMPLE.instruments, SAMPLE.market
    case = open_case(book, table, market, MODEL, ARRAYS.scenario_set, account, "BTC", sticky="strike")
    prices = liquidation_prices(case)
    picture = payoff(book, table, market, account, "BTC", marks=prices)
    bare = payoff(book, table, market, account, "BTC")
    assert picture.frame.drop(columns="liquidated").equals(bare.frame)
    now = picture.frame[picture.frame["line"] == "now"]
    excess = levels(case, now["price"].to_numpy() / case.spot).excess
    assert now["liquidated"].tolist() == (excess < 0).tolist()
    low, high = now["price"].min(), now["price"].max()
    markers = [line for line in picture.figure.axes[0].lines if line.get_marker() in "<>"]
    inside = prices.price[(prices.price >= low) & (prices.price <= high)]
    assert [float(line.get_xdata()[0]) for line in markers] == inside.tolist()
    with pytest.raises(DataError, match=r"marks = .* must be of market-maker-03 along BTC"):
        payoff(book, table, market, MAKER, "BTC", marks=prices)


def test_an_account_in_a_moved_market_is_what_its_levels_say() -> None:
    book, table, market = SAMPLE.book, SAMPLE.instruments, SAMPLE.market
    for account in (CONDOR, "perpetual-short-03"):
        case = open_case(book, table, market, MODEL, ARRAYS.scenario_set, account, "BTC", sticky="strike")
        for price in (0.8, 1.1):
            own, arrays = account_at(case, price)
            found, want = margin(own, arrays, None, MODEL), levels(case, np.array([price]))
            assert own.account_id.tolist() == [account]
            assert found.equity == pytest.approx(want.equity, abs=0.02)
            assert found.maintenance_margin == pytest.approx(want.maintenance, abs=0.02)


@pytest.mark.parametrize("account", ["delta-hedged-gamma-04", "perpetual-long-liquidated", BANKRUPT])
def test_a_ladder_has_a_rung_a_step(account: str) -> None:
    costs = Costs.of(ARRAYS, 0.0005 * ARRAYS.notional)
    plan = largest_contributor.plan(SAMPLE.book.select(account), ARRAYS, MODEL, costs)
    picture = liquidation_ladder(plan, ARRAYS, buffer=0.15)
    rungs, axes = picture.frame, picture.figure.axes[0]
    assert rungs["step"].tolist() == list(range(len(plan.steps) + 1))
    assert rungs["maintenance_margin"].tolist() == [plan.before.maintenance, *(s.after.maintenance for s in plan.steps)]
    assert rungs["margin_balance"].iloc[-1] == plan.after.balance and rungs["cost"].sum() == pytest.approx(plan.cost)
    for trade in (trade for step in plan.steps for trade in step.trades[:1]):
        assert rungs["trades"].str.contains(str(ARRAYS.instrument_id[trade.row]), regex=False).any()
    bars = sorted((bar.get_y(), bar.get_width(), bar.get_facecolor()[0] > 0.5) for bar in axes.patches)
    assert [width for _, width, _ in bars] == rungs["maintenance_margin"].tolist()
    assert [red for *_, red in bars] == (rungs["margin_balance"] < rungs["maintenance_margin"]).tolist()


def test_a_long_ladder_leaves_out_the_middle_of_the_picture_alone() -> None:
    account = "perpetual-long-liquidated"
    plan = largest_contributor.plan(SAMPLE.book.select(account), ARRAYS, MODEL, Costs.of(ARRAYS))
    long = replace(plan, steps=plan.steps * 50)
    picture = liquidation_ladder(long, ARRAYS)
    axes = picture.figure.axes[0]
    assert len(picture.frame) == 51 and len(axes.patches) == MOST_RUNGS
    assert [text.get_text() for text in axes.texts] == [f"{51 - MOST_RUNGS} steps left out"]


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
    headings = ("Statement", "Where the margin comes from", "Risk matrix", "Payoff", "Liquidation ladder")
    for heading in (*headings, "Contributions", "Stress of the venue: crash_2026"):
        assert heading in page.texts
    row = SAMPLE.book.row_of(MAKER)
    assert f"{STATEMENT.initial_margin[row]:.2f}" in page.texts and f"inputs {STATEMENT.input_hash}" in text
    # Two waterfalls, the matrix of all and of each of two underlyings, their payoffs, the ladder, contributions,
    # timeline and loss waterfall.
    assert len(page.pictures) == 11 and all(content[:4] == b"\x89PNG" for content in page.pictures)


def test_a_report_of_an_account_below_maintenance_without_the_crash(run: Any, tmp_path: Path) -> None:  # noqa: F811
    for name in ("page.html", "again.html"):
        assert run("report", BANKRUPT, "--no-stress", "--policy", "proportional", "--output", name).code == 0
    assert (tmp_path / "again.html").read_bytes() == (tmp_path / "page.html").read_bytes()
    page = Page((tmp_path / "page.html").read_text(encoding="utf-8"))
    said = " ".join(page.texts)
    assert (
        "what would be closed now" in said
        and "proportional" in said
        and "Outcome: bankrupt" in said
        and "so no trade helps" in said
    )
    assert "rules: policy proportional, buffer 0.111111" in said
    assert "--stress computes it" in said and "The account is liquidated at every price of ETH" in said


def test_a_report_under_tiers_has_a_matrix_each_with_names(run: Any, tmp_path: Path) -> None:  # noqa: F811
    done = run("report", CONDOR, "--model", "dynamic_worst_case", "--no-stress", "--output", "page.html")
    assert done.code == 0
    page = Page((tmp_path / "page.html").read_text(encoding="utf-8"))
    assert not any(re.search(r"tier [0-9]", text) for text in page.texts)
    assert not any(text.startswith("position ") for text in page.texts)
    assert any("forward of BTC-2026-03-27 against the others" in text for text in page.texts)


def test_a_report_from_risk_arrays_alone(run: Any, tmp_path: Path) -> None:  # noqa: F811
    assert run("arrays", "--output", "a.npz").code == 0
    assert run("report", CONDOR, "--arrays", "a.npz", "--output", "page.html").code == 0
    page = Page((tmp_path / "page.html").read_text(encoding="utf-8"))
    assert len(page.pictures) == 4 and any("give a market" in text for text in page.texts)
    check_fails(run("report", CONDOR, "--output", "page.pdf"), "--output page.pdf", ".html")
    check_fails(run("report", "nobody", "--output", "x.html"), "nobody")
    check_fails(run("report", CONDOR, "--arrays", "a.npz", "--output", "a.npz"), "a.npz")
