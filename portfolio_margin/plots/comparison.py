"""Heat map of margins: accounts down, models across, on a logarithmic scale."""

from __future__ import annotations

from textwrap import wrap
from typing import Any

import numpy as np

from portfolio_margin.compare import Comparison
from portfolio_margin.io.frames import frame
from portfolio_margin.plots.picture import Picture, new_axes
from pricing.arrays import BoolArray, FloatArray, StrArray
from pricing.errors import ConfigError

SCALES = ("amount", "notional")
MOST_ACCOUNTS = 120
INCHES_PER_ACCOUNT = 0.19
INCHES_PER_MODEL = 1.0
LEGEND_LETTERS_PER_INCH = 14
TITLE_LETTERS_PER_INCH = 7
# A share of notional below this is no longer told apart.
SMALLEST_SHARE = 1e-5
# What a cell holds where it has no number of its own, and what a number of a part carries.
MARKS = {
    "zero": ("0", "nothing required"),
    "nothing held": ("–", "nothing required, no contract held"),
    "not computed": ("×", "not computed: no rule for what is held"),
}
OF_A_PART = ("*", "of a part: no rule for some positions")
NOT_VALID = ("†", "parameters not valid at the time of the market")
AMOUNT = "no contract held, or a part of what bears risk, so no share but an amount, in"
UNITS = ((1e9, "G"), (1e6, "M"), (1e3, "k"))


def margin_map(result: Comparison, scale: str = "notional", title: str = "") -> Picture:
    """Initial margin of every account under every model as colours, with the numbers in the cells.

    scale  "notional": as a share of the notional of what the account holds, which tells strict from lenient models;
           "amount": in the margin currency
    title  by default what is shown, the currency and the time of the market
    The frame: model, account, initial_margin, notional, value (NaN where there is no number), state: "number", "part"
    (a number, but the model has no rule for some of what is held), or why there is none: "amount" (no share of
    notional: no contract is held, but coins or stock need margin, or the margin is of a part of what bears risk; the
    cell has the amount, without a colour), "zero" (nothing is required), "nothing held" (nor is a contract held), "not
    computed" (no rule for the positions that bear risk).
    Accounts of which every model asks nothing are left out of the picture, unless all are such; ConfigError for more
    than 120 accounts. Models that could not be computed are named below.
    """
    if scale not in SCALES:
        raise ConfigError(f"scale = {scale!r}: must be one of {', '.join(SCALES)}")
    telling = ((result.initial > 0) | result.unmargined).any(axis=0)
    shown = np.flatnonzero(telling | ~telling.any())
    if len(shown) > MOST_ACCOUNTS:
        raise ConfigError(f"{len(shown)} accounts: a picture holds {MOST_ACCOUNTS}; choose some with --account")
    initial, notional = result.initial[:, shown], result.notional[shown]
    first = next(iter(result.statements.values()))
    with np.errstate(divide="ignore", invalid="ignore"):
        value = initial / notional if scale == "notional" else initial
    left_out = result.unmargined[:, shown], result.excluded[:, shown] > 0
    state = _states(initial, np.broadcast_to(notional, initial.shape), *left_out, scale)
    value = np.where(np.isin(state, ("number", "part")), value, np.nan)
    unit = "share of notional" if scale == "notional" else first.currency
    shown_as = f"as a share of notional, both in {first.currency}" if scale == "notional" else f"[{first.currency}]"
    moment = np.datetime64(first.as_of_ms, "ms").astype("datetime64[s]")
    figure, axes = new_axes("", "", "")
    _draw(figure, axes, value, _texts(value, initial, state, left_out[1], scale), scale, unit)
    names = [n if valid else f"{n} {NOT_VALID[0]}" for n, valid in zip(result.model, result.applies, strict=True)]
    axes.set_xticks(range(len(result.model)), names, rotation=35, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(shown)), result.account[shown].tolist(), fontsize="x-small")
    letters = int(LEGEND_LETTERS_PER_INCH * figure.get_figwidth())
    title = title or f"initial margin {shown_as}, at {moment}Z"
    lines = wrap(title, int(TITLE_LETTERS_PER_INCH * figure.get_figwidth()), break_on_hyphens=False)
    axes.set_title("\n".join(lines))
    marks = _marks(state, left_out[1], first.currency, result.applies)
    figure.supxlabel(legend(marks, list(result.left_out), letters), fontsize="x-small", ha="left", x=0.01)
    models, accounts = value.shape
    return Picture(
        figure,
        frame(
            {
                "model": np.repeat(np.array(result.model, dtype=np.str_), accounts),
                "account": np.tile(result.account[shown], models),
                "initial_margin": initial.ravel(),
                "notional": np.tile(notional, models),
                "value": value.ravel(),
                "state": state.ravel(),
            }
        ),
    )


def _states(
    initial: FloatArray, notional: FloatArray, unmargined: BoolArray, excluded: BoolArray, scale: str
) -> StrArray:
    """(M,A) what each cell is: "number", "part", "amount", or one of MARKS."""
    return np.select(
        [
            unmargined & (initial == 0),
            (notional == 0) & (initial == 0),
            initial == 0,
            ((notional == 0) | unmargined) & (scale == "notional"),
            excluded,
        ],
        ["not computed", "nothing held", "zero", "amount", "part"],
        "number",
    )


def _starred(state: StrArray, excluded: BoolArray) -> BoolArray:
    """(M,A) True for amounts and shares of a part of the account."""
    return np.asarray(excluded & np.isin(state, ("part", "amount")))


def _marks(state: StrArray, excluded: BoolArray, currency: str, applies: BoolArray) -> list[str]:
    """What the marks that are there mean."""
    marks = [f"{mark} {meaning}" for name, (mark, meaning) in MARKS.items() if np.any(state == name)]
    marks += [f"1 k {AMOUNT} {currency}"] if np.any(state == "amount") else []
    marks += [" ".join(OF_A_PART)] if np.any(_starred(state, excluded)) else []
    return marks if applies.all() else [*marks, " ".join(NOT_VALID)]


def legend(marks: list[str], left_out: list[str], letters: int) -> str:
    """The marks, and the models without a column, in lines of so many letters."""
    lines = ["; ".join(marks), f"not computed for any account: {', '.join(left_out)}" if left_out else ""]
    return "\n".join("\n".join(wrap(line, letters)) for line in lines if line)


def _draw(figure: Any, axes: Any, value: FloatArray, texts: np.ndarray, scale: str, unit: str) -> None:
    from matplotlib.colors import LogNorm

    models, accounts = value.shape
    figure.set_size_inches(3.6 + INCHES_PER_MODEL * models, 2.2 + INCHES_PER_ACCOUNT * max(accounts, 4))
    known = value[np.isfinite(value)]
    low, high = (known.min(), known.max()) if len(known) else (0.1, 1.0)
    norm = LogNorm(max(low, SMALLEST_SHARE if scale == "notional" else 1.0), max(high, 2 * low), clip=True)
    image = axes.imshow(np.ma.masked_invalid(value.T), aspect="auto", cmap="viridis", norm=norm)
    figure.colorbar(image, label=unit, fraction=0.04, pad=0.02)
    axes.grid(visible=False)
    for (model, account), number in np.ndenumerate(value):
        dark = np.isfinite(number) and norm(number) < 0.6
        color = "white" if dark else "black"
        axes.text(model, account, texts[model, account], ha="center", va="center", fontsize=6, color=color)


def _texts(value: FloatArray, initial: FloatArray, state: StrArray, excluded: BoolArray, scale: str) -> np.ndarray:
    """(M,A) what stands in the cells."""
    texts = np.empty(state.shape, dtype=object)
    starred = _starred(state, excluded)
    for cell, name in np.ndenumerate(state):
        shown = initial[cell] if name == "amount" else value[cell]
        number = MARKS[name][0] if name in MARKS else _number(float(shown), "amount" if name == "amount" else scale)
        texts[cell] = number + (OF_A_PART[0] if starred[cell] else "")
    return texts


def _number(number: float, scale: str) -> str:
    if scale == "notional":
        return f"{100 * number:.2g} %" if number < 1 else f"{100 * number:.0f} %"
    for size, letter in UNITS:
        if number >= size:
            return f"{number / size:.3g} {letter}"
    return f"{number:.0f}"
