"""Risk matrix of one account: its P&L in every scenario as colours, the worst cell framed.

Scenarios that come in named tiers, "scan:...", "oracle:...", are a matrix each; tiers in which an account has the same
P&L everywhere are one.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from portfolio_margin.aggregate import account_pnl
from portfolio_margin.book import Book
from portfolio_margin.io.frames import frame
from portfolio_margin.plots.picture import Picture, grouped, new_axes
from pricing.arrays import DAYS_PER_YEAR, BoolArray, FloatArray, IntArray
from pricing.errors import DataError, Problem
from scenarios.risk_arrays import RiskArrays
from scenarios.shocks import ScenarioSet

# More price moves than this are no grid but a list, which is laid out row by row.
MOST_COLUMNS = 40
# Numbers stand in the cells of matrices up to so many columns.
MOST_NUMBERS = 24
NO_SCENARIO = "0.88"
UNITS = ((1e9, "G"), (1e6, "M"), (1e3, "k"))


class _Tiers(NamedTuple):
    """Scenarios of one matrix: name of the tier, other tiers with the same cells, and (S,) which scenarios."""

    name: str
    same: tuple[str, ...]
    chosen: BoolArray


class _Layout(NamedTuple):
    """(S,) row and column of every scenario's cell, names of rows and columns, and what the columns are."""

    row: IntArray
    column: IntArray
    rows: list[str]
    columns: list[str]
    across: str


def risk_matrix(
    book: Book, arrays: RiskArrays, account: str, underlying: str | None = None, title: str = ""
) -> Picture:
    """P&L of an account in every scenario, price moves across and vol and time down; its worst cell is framed.

    underlying  only what is held of this one; None for everything
    The frame, one row a scenario: scenario, row, column (of the matrix, from 0), pnl (margin currency, gain positive,
    as far as the scenario counts it), worst (True for the framed one; none where nothing is lost). Scenarios that
    are no grid, such as those of a history, stand in their order, row by row. DataError for an unknown name.
    """
    own, pnl = _pnl(book, arrays, account, underlying)
    every = np.ones(len(pnl), dtype=np.bool_)
    return _picture(own, arrays, pnl, every, title or _heading(account, underlying))


def risk_matrices(book: Book, arrays: RiskArrays, account: str, underlying: str | None = None) -> list[Picture]:
    """The same as a matrix a tier where scenarios come in tiers with names, else one matrix.

    The frame has the column tier beside those of `risk_matrix`. Tiers that move what is held alike are one matrix, that
    of the first; its heading names the others.
    """
    own, pnl = _pnl(book, arrays, account, underlying)
    heading = _heading(account, underlying)
    pictures = []
    for tier in _tiers(arrays.scenario_set, _shown_underlying(own, arrays), pnl):
        title = f"{heading}, {tier.name.replace('_', ' ')}" if tier.name else heading
        if tier.same:
            title += f" (the same: {', '.join(tier.same).replace('_', ' ')})"
        picture = _picture(own, arrays, pnl, tier.chosen, title)
        picture.frame.insert(0, "tier", tier.name)
        pictures.append(picture)
    return pictures


def _heading(account: str, underlying: str | None) -> str:
    return f"{account}: P&L by scenario{f', {underlying} alone' if underlying else ''}"


def _pnl(book: Book, arrays: RiskArrays, account: str, underlying: str | None) -> tuple[Book, FloatArray]:
    """What of the account is looked at, and (S,) its P&L."""
    own = book.select(account)
    names = arrays.underlying_id.tolist()
    if underlying is not None and underlying not in names:
        raise DataError([Problem("risk matrix", None, "underlying", underlying, f"none of {', '.join(names)}")])
    if underlying is not None:
        own = own.keep(arrays.underlying_idx[own.instrument_idx] == names.index(underlying))
    return own, account_pnl(own, arrays)[0]


def _shown_underlying(own: Book, arrays: RiskArrays) -> int:
    """The one whose price moves name the columns: the first that is held."""
    held = arrays.underlying_idx[own.instrument_idx]
    held = held[held >= 0]
    return int(held[0]) if len(held) else 0


def _tiers(moves: ScenarioSet, underlying: int, pnl: FloatArray) -> list[_Tiers]:
    """The scenarios of every matrix. A tier has a name where all its labels begin with it and a colon, and no other
    tier's do; where one has none, all scenarios are one matrix."""
    names: list[str] = []
    for tier in np.unique(moves.tier):
        heads = {str(label).partition(":")[0] for label in moves.label[moves.tier == tier] if ":" in str(label)}
        lacking = any(":" not in str(label) for label in moves.label[moves.tier == tier])
        if lacking or len(heads) != 1 or heads & set(names):
            return [_Tiers("", (), np.ones(len(pnl), dtype=np.bool_))]
        names.append(heads.pop())
    found: dict[bytes, _Tiers] = {}
    for tier, name in zip(np.unique(moves.tier), names, strict=True):
        chosen = moves.tier == tier
        moved = (_of(getattr(moves, field), underlying)[chosen] for field in ("price_move", "vol_move", "vol_shift"))
        key = np.column_stack([*moved, moves.time_step_years[chosen], pnl[chosen]]).tobytes()
        first = found.get(key)
        found[key] = _Tiers(name, (), chosen) if first is None else first._replace(same=(*first.same, name))
    return list(found.values())


def _picture(own: Book, arrays: RiskArrays, pnl: FloatArray, chosen: BoolArray, title: str) -> Picture:
    """The matrix of some of the scenarios (S,)."""
    rows = np.flatnonzero(chosen)
    values = pnl[rows]
    names, held = arrays.underlying_id.tolist(), arrays.underlying_idx[own.instrument_idx]
    layout = _layout(arrays.scenario_set, rows, names, _shown_underlying(own, arrays), len(np.unique(held[held >= 0])))
    worst = np.arange(len(rows)) == (int(np.argmin(values)) if values.min() < 0 else -1)
    figure, axes = new_axes(title, layout.across, "")
    _draw(figure, axes, layout, values, worst, arrays.currency)
    columns = {"scenario": arrays.scenario_set.label[rows], "row": layout.row, "column": layout.column, "pnl": values}
    return Picture(figure, frame({**columns, "worst": worst}))


def _of(values: FloatArray, underlying: int) -> FloatArray:
    return np.asarray(values[:, min(underlying, values.shape[1] - 1)])


def _layout(moves: ScenarioSet, chosen: IntArray, names: list[str], underlying: int, held: int) -> _Layout:
    """The layout of some scenarios by the moves of an underlying; `held` is how many the account holds."""
    price, vol, shift = (
        np.round(_of(getattr(moves, name), underlying)[chosen], 9) for name in ("price_move", "vol_move", "vol_shift")
    )
    prices, column = np.unique(price, return_inverse=True)
    # Moves that differ by expiry are told by which way they go.
    by_expiry = np.sign(moves.expiry_vol_move.mean(axis=1)) + np.sign(moves.expiry_vol_shift.mean(axis=1))
    days = np.round(moves.time_step_years[chosen] * DAYS_PER_YEAR, 6)
    tier = moves.tier[chosen]
    # One tier alone needs no name in every row.
    tier = tier if np.ptp(tier) else np.zeros_like(tier)
    keys = np.column_stack([tier, days, -vol, -shift, -np.sign(by_expiry)[chosen], moves.skew[chosen]])
    rows, row = np.unique(keys, axis=0, return_inverse=True)
    row = row.ravel()
    if len(prices) > MOST_COLUMNS or len(np.unique(row * len(prices) + column)) < len(price):
        count = len(price)
        wide = min(MOST_COLUMNS, int(np.ceil(np.sqrt(2 * count))))
        first = [str(1 + wide * n) for n in range(-(-count // wide))]
        place = np.arange(count)
        return _Layout(place // wide, place % wide, first, [""] * wide, "scenarios in their order, row by row")
    texts = [_row_name(*key) for key in rows.tolist()]
    across = f"price move of {names[underlying]}"
    if held > 1 and np.ptp(moves.price_move[chosen], axis=1).max() > 0.0:
        across += ", each other underlying by its own range"
    return _Layout(row, column, texts, [f"{100 * p:+.3g} %" if p else "0 %" for p in prices], across)


def _row_name(tier: float, days: float, vol: float, shift: float, ways: float, skew: float) -> str:
    vols = [f"vol {-100 * vol:+.3g} %" if vol else "", f"vol {-100 * shift:+.3g} points" if shift else ""]
    vols += [f"vols {'down' if ways > 0 else 'up'} by expiry" if ways else "", f"skew {skew:g}" if skew else ""]
    rest = [f"{days:g} d" if days else "", f"tier {tier:g}" if tier else ""]
    return ", ".join(part for part in [*(vols if any(vols) else ["vol unchanged"]), *rest] if part)


def _draw(figure: Any, axes: Any, layout: _Layout, pnl: FloatArray, worst: Any, currency: str) -> None:
    from matplotlib.patches import Rectangle

    shape = len(layout.rows), len(layout.columns)
    table = np.full(shape, np.nan)
    table[layout.row, layout.column] = pnl
    figure.set_size_inches(max(8.0, 3.0 + 0.5 * shape[1]), max(3.2, 1.8 + 0.3 * shape[0]))
    most = float(np.abs(pnl).max()) or 1.0
    image = axes.imshow(np.ma.masked_invalid(table), aspect="auto", cmap="RdBu", vmin=-most, vmax=most)
    figure.colorbar(image, label=f"P&L [{currency}]", fraction=0.04, pad=0.02, format=grouped)
    axes.grid(visible=False)
    if np.isnan(table).any():
        axes.set_facecolor(NO_SCENARIO)
        axes.set_xlabel(f"{layout.across}; grey: no scenario there")
    axes.set_yticks(range(shape[0]), layout.rows, fontsize="small")
    if any(layout.columns):
        axes.set_xticks(range(shape[1]), layout.columns, fontsize="small", rotation=35, ha="right")
    else:
        axes.set_xticks([])
    if shape[1] <= MOST_NUMBERS:
        for (row, column), value in np.ndenumerate(table):
            if np.isfinite(value):
                color = "white" if abs(value) > 0.6 * most else "black"
                axes.text(column, row, _amount(float(value)), ha="center", va="center", fontsize=6.5, color=color)
    for s in np.flatnonzero(worst):
        corner = layout.column[s] - 0.5, layout.row[s] - 0.5
        axes.add_patch(Rectangle(corner, 1.0, 1.0, fill=False, edgecolor="black", linewidth=2.2, zorder=5))


def _amount(value: float) -> str:
    for size, letter in UNITS:
        if abs(value) >= size:
            return f"{value / size:.3g} {letter}"
    return f"{value:.0f}"
