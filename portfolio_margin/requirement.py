"""Requirement: what a margin model answers, and what a margin model is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Context, Decimal
from typing import Any, NamedTuple, Protocol

import numpy as np

from portfolio_margin.book import UNGROUPED, Book
from portfolio_margin.dollars import is_own_money
from pricing.arrays import BoolArray, FloatArray, IntArray, StrArray
from pricing.errors import ConfigError, DataError, Problem
from pricing.instruments import Exercise, Kind
from scenarios.of_arrays import of_arrays
from scenarios.risk_arrays import RiskArrays
from scenarios.shocks import MarketRows, ScenarioSet, same_scenarios

# Every double has at most 1,075 significant decimal digits and a factor 17: no sum of their products is rounded.
EXACT = Context(prec=1_200)
UNCHARGED_DEBT = "a balance owed, for which the model has no rule: nothing here stands against its price"
UNCHARGED_HOLDING = "money owed against {assets}: no haircut and no charge here stands against the price of it"
# Characters of a list of parameters in a line for people, and names that stand for a longer one.
LONGEST_LIST, NAMES_SHOWN = 200, 3


class Requirement(NamedTuple):
    """Margin required of every account, margin currency, not yet rounded.

    initial, maintenance  (A,) initial >= maintenance >= 0
    worst_scenario        (A,) -> S, -1 where no scenario loses
    charges               name -> (A,2) initial and maintenance part; the parts sum to the two totals
    revaluation           (A,) what the venue's own mark to market has above the value of the arrays, part of equity;
                          None where the two are the same
    """

    initial: FloatArray
    maintenance: FloatArray
    worst_scenario: IntArray
    charges: dict[str, FloatArray]
    revaluation: FloatArray | None = None


@dataclass(frozen=True)
class Contribution:
    """Share of one position in one charge of one account, in exact decimals of the margin currency.

    netting_set and expiry name the group; instrument is "" for a line of the whole netting set;
    scenario is the worst scenario the share is measured in, "" where no scenario is involved.
    level is what `expiry` names where it is none: "currency", "strategy".
    """

    charge: str
    netting_set: str
    expiry: str
    instrument: str
    quantity: float
    scenario: str
    initial: Decimal
    maintenance: Decimal
    level: str = "expiry"


@dataclass(frozen=True)
class ParameterSet:
    """Where the parameters of a model come from.

    name         of the file without its ending, "2024-06-28" or "2024-06-28-test"; "defaults" where there is none
    valid_from   first day it applies, YYYY-MM-DD; "" for defaults
    valid_to     last day, "" where it applies until the next set
    next_from    first day of the next set, from which on this one does not apply any more; "" where none is known
    source       who published it
    note         what else there is to know
    second_hand  parameters whose value is not from the venue itself
    doubtful     parameters that the venue publishes and that look wrong; the note says why
    doubt        what they do to margins, and which set has them otherwise; "" where nothing is doubtful
    changed      parameters that were given another value than the set's
    overlay      name and time of a file whose parameters were laid over the set, "" where none was
    archive      name of the folder it is from, "" for a set of this package
    applies      False where it is not valid at the time it was loaded for; a statement decides anew, for its own moment
    """

    name: str = "defaults"
    valid_from: str = ""
    valid_to: str = ""
    source: str = ""
    note: str = ""
    second_hand: tuple[str, ...] = ()
    doubtful: tuple[str, ...] = ()
    doubt: str = ""
    changed: tuple[str, ...] = ()
    overlay: str = ""
    archive: str = ""
    applies: bool = True
    next_from: str = ""

    @property
    def label(self) -> str:
        """What a statement calls it: its name, or the file that was laid over it and its name."""
        return f"{self.overlay} over {self.name}" if self.overlay else self.name

    def valid_at(self, moment: int) -> bool:
        """Whether the day of a moment, ms UTC, lies in its time; of defaults, which have none, what `applies` says."""
        if not self.valid_from:
            return self.applies
        day = _day(moment)
        ended = (self.valid_to and self.valid_to < day) or (self.next_from and self.next_from <= day)
        return self.valid_from <= day and not ended

    def decided_at(self, moment: int) -> ParameterSet:
        """The same with `applies` as it is at a moment, ms UTC."""
        return replace(self, applies=self.valid_at(moment))

    def warning(self, moment: int) -> str:
        """A sentence where it is not valid at a moment, ms UTC; "" where it is."""
        if self.valid_at(moment):
            return ""
        last = f" to {self.valid_to}" if self.valid_to else ""
        if self.next_from and not (self.valid_to and self.valid_to < self.next_from):
            last = f" until the next set, of {self.next_from}"
        since = f", only from {self.valid_from}{last}" if self.valid_from else ""
        return f"parameter set {self.name} is not valid at the time of the market, {_day(moment)}{since}"

    @property
    def doubt_in_use(self) -> str:
        """A sentence on what doubtful parameters do to the margins, where any is in use; "" where none is."""
        used = [name for name in self.doubtful if name not in self.changed]
        return f"doubtful parameters ({_few(used)}): {self.doubt}" if used and self.doubt else ""

    def text(self) -> str:
        """One line for people; of a long list the first names and how many there are, `identity` has all."""
        return parameters_text(self.identity())

    def identity(self) -> dict[str, Any]:
        """What a statement says of it; second-hand parameters as far as they are in use."""
        return {
            "parameter_set": self.label,
            "parameters_overlaid": self.name if self.overlay else "",
            "parameters_archive": self.archive,
            "parameters_valid_from": self.valid_from,
            "parameters_apply": self.applies,
            "parameters_changed": list(self.changed),
            "parameters_second_hand": [name for name in self.second_hand if name not in self.changed],
            "parameters_doubtful": [name for name in self.doubtful if name not in self.changed],
            "parameters_doubt": self.doubt_in_use,
        }


def parameters_text(stated: Mapping[str, Any]) -> str:
    """`ParameterSet.text` of what a statement says of a set, `ParameterSet.identity` as it stands or read back."""
    label, since = stated["parameter_set"], stated["parameters_valid_from"]
    name = stated["parameters_overlaid"] or label
    dated = name if not since or since in name else f"{name} of {since}"
    laid_over = label.removesuffix(name)  # "FILE over ", or nothing
    parts = [laid_over + (f"parameter set {dated}" if since else "default parameters")]
    parts += [f"from the archive {stated['parameters_archive']}"] if stated["parameters_archive"] else []
    parts += [] if stated["parameters_apply"] else ["not valid at the time of this market"]
    for mark, word in (("changed", "changed"), ("second_hand", "second-hand"), ("doubtful", "doubtful")):
        names = stated[f"parameters_{mark}"]
        parts += [f"{word}: {_few(names)}"] if names else []
    return "; ".join(parts)


def _few(names: Sequence[str]) -> str:
    """The names, or the number and the first of them where all would be too long for a line."""
    whole = ", ".join(names)
    if len(whole) <= LONGEST_LIST:
        return whole
    return f"{len(names)} parameters ({', '.join(names[:NAMES_SHOWN])} and {len(names) - NAMES_SHOWN} more)"


def _day(moment: int) -> str:
    return str(np.datetime64(moment, "ms").astype("datetime64[D]"))


@dataclass(frozen=True)
class Traits:
    """What holds for a model in general, for those who test or display it.

    proportional  charges that grow in proportion where every contract of an account is multiplied
    credits       charges that may be negative; all others are 0 or more
    of_equity     charges that stand for no risk but take back value that equity holds and the rule does not credit
    rows_by_name  True where rules are looked up by the name of a row, so that every name must stand for one row
    of_equity_with_risk  whether these stand for risk as well: no more of them than the net value of the options of an
                  account takes that back
    ours          charges that no rule of the venue has and that we add: a statement marks them as ours
    options_counted  whether the margin balance counts the value of options; False where a venue's is balances and gains
                  of futures alone, and short options are asked for their mark beside the risk
    """

    proportional: tuple[str, ...] = ()
    credits: tuple[str, ...] = ()
    of_equity: tuple[str, ...] = ()
    rows_by_name: bool = False
    of_equity_with_risk: bool = False
    options_counted: bool = True
    ours: tuple[str, ...] = ()


class MarginModel(Protocol):
    """Parameters plus `requirement`: the policy. One file in portfolio_margin/models each."""

    @property
    def model_id(self) -> str:
        """Name of the model, the name of its file."""
        ...

    @property
    def params(self) -> object:
        """The frozen parameter set; every field is bounded."""
        ...

    @property
    def parameter_set(self) -> ParameterSet:
        """Where the parameters come from."""
        ...

    @property
    def traits(self) -> Traits:
        """What holds for the model in general."""
        ...

    def scenario_set(self, market: MarketRows) -> ScenarioSet | None:
        """The scenarios the model needs, for risk arrays made under exactly these; None: those of the caller."""
        ...

    def not_covered(self, arrays: RiskArrays) -> StrArray:
        """(N,) why the model has no rule for a contract, or ""; such positions are left out and named."""
        ...

    def debts_covered(self, arrays: RiskArrays) -> BoolArray:
        """(N,) True for assets whose balance owed costs margin under this model, or is money of its own; a balance owed
        of any other asset but the margin currency is left out and named, and counts as risk without a rule. So is
        money owed where an asset held against it is none of these and has no haircut either. A model whose holdings
        differ from its debts in this has `holdings_covered` as well, (N,) True for assets whose fall costs margin."""
        ...

    def haircut(self, arrays: RiskArrays) -> FloatArray:
        """(N,) share of a long balance of collateral that does not count, in [0, 1]."""
        ...

    def requirement(
        self, book: Book, arrays: RiskArrays, *, backend: str = "numba", threads: int | None = None
    ) -> Requirement:
        """Requirement of every account."""
        ...

    def contributions(self, book: Book, arrays: RiskArrays) -> list[Contribution]:
        """The requirement of the one account of `book`, position by position; sums exactly."""
        ...


def everything(arrays: RiskArrays) -> StrArray:
    """(N,) `not_covered` of a model that has a rule for every contract."""
    return np.full(len(arrays), "", dtype=np.str_)


def early_exercise(arrays: RiskArrays) -> BoolArray:
    """(N,) True for options that may be exercised before they expire."""
    return np.asarray((arrays.kind == Kind.OPTION) & (arrays.terms.exercise != Exercise.EUROPEAN))


def of_stocks(arrays: RiskArrays) -> BoolArray:
    """(N,) True for stocks and contracts on them: what is held as spot only is a stock, what is held as cash a coin."""
    stock = np.zeros(len(arrays.underlying_id) + 1, dtype=np.bool_)
    stock[arrays.underlying_idx[arrays.kind == Kind.SPOT]] = True
    stock[arrays.underlying_idx[arrays.kind == Kind.CASH]] = False
    stock[-1] = False  # cash in a currency that no underlying moves
    return stock[arrays.underlying_idx]


def european_on_coins(arrays: RiskArrays, venue: str) -> StrArray:
    """(N,) `not_covered` of a venue whose model has a rule for everything it lists: contracts on coins, none of them
    with early exercise."""
    contract = (arrays.kind != Kind.CASH) & (arrays.kind != Kind.SPOT)
    reason = np.where(of_stocks(arrays) & contract, f"{venue} lists nothing on stocks", "")
    return np.where(early_exercise(arrays), f"{venue} lists European options only", reason)


@of_arrays
def _groups(arrays: RiskArrays) -> IntArray:
    """(N+1,) group of each row, UNGROUPED for what is none."""
    return np.append(arrays.expiry_idx, UNGROUPED)


def check_groups(book: Book, arrays: RiskArrays) -> None:
    """DataError where a position stands in another group than that of its expiry row, naming the first of them.

    Models read expiries and underlyings off the groups, so that any other grouping nets what must not net. A book
    without groups has none that could be wrong.
    """
    key = np.repeat(book.group_key, np.diff(book.group_ptr))
    wrong = key != _groups(arrays)[np.minimum(book.instrument_idx, len(arrays))]
    wrong &= (key != UNGROUPED) & (book.instrument_idx < len(arrays))
    if np.any(wrong):
        position = int(np.argmax(wrong))
        account = book.account_id[np.searchsorted(book.position_ptr, position, side="right") - 1]
        row = book.instrument_idx[position]
        remedy = (
            f"{arrays.instrument_id[row]} belongs to group {arrays.expiry_idx[row]}: "
            "build the book with group_of_instrument=instruments.expiry_idx, of the same instruments"
        )
        raise DataError([Problem("book", str(account), "group", int(key[position]), remedy)])


@of_arrays
def reasons(model: MarginModel, arrays: RiskArrays) -> StrArray:
    """(N,) `not_covered` of a model. ConfigError where it gives no text an instrument."""
    reason = np.asarray(model.not_covered(arrays), dtype=np.str_)
    if reason.shape != (len(arrays),):
        raise ConfigError(f"{model.model_id}.not_covered gives {reason.shape}: needs one text an instrument")
    return reason


@of_arrays
def haircut_of(model: MarginModel, arrays: RiskArrays) -> FloatArray:
    """(N,) `haircut` of a model."""
    return np.asarray(model.haircut(arrays), dtype=np.float64)


@of_arrays
def debts_of(model: MarginModel, arrays: RiskArrays) -> BoolArray:
    """(N,) `debts_covered` of a model."""
    return np.asarray(model.debts_covered(arrays), dtype=np.bool_)


class _Excluded(NamedTuple):
    """What `excluded` looks up; (N+1,) each, the last for rows that are none.

    reason  `not_covered`, and any, whether there is one at all
    asset   held as such, and not the margin currency;  charged, it owed
    money   of the margin currency's own
    """

    reason: StrArray
    any: bool
    asset: BoolArray
    charged: BoolArray
    money: BoolArray


@of_arrays
def _looked_up(model: MarginModel, arrays: RiskArrays) -> _Excluded:
    reason = reasons(model, arrays)
    asset = np.append(arrays.is_collateral & (arrays.instrument_id != arrays.currency), False)
    charged = np.append(debts_of(model, arrays), True)
    return _Excluded(
        np.append(reason, ""), bool(np.any(reason != "")), asset, charged, np.append(is_own_money(arrays), False)
    )


def covered(model: MarginModel, book: Book, arrays: RiskArrays) -> tuple[Book, tuple[str, ...]]:
    """The book as far as the model has rules for it, and a line "account instrument: reason" for what is left out.

    An asset held that has none, and one where it is owed, is in both: it stands against what is owed.

    Whatever asks a model about a book comes through here, so groups are checked here, as by `check_groups`.
    """
    check_groups(book, arrays)
    if has_every_rule(model, arrays):
        return book, ()
    reason = excluded(model, book, arrays)
    out = reason != ""
    if not np.any(out):
        return book, ()
    # What is held without a rule of its own may stand against a debt, which is charged there.
    asset = np.append(arrays.is_collateral, False)[np.minimum(book.instrument_idx, len(arrays))]
    backs = asset & (book.quantity > 0)
    if np.any(out & backs):
        backs &= np.append(debts_of(model, arrays), False)[np.minimum(book.instrument_idx, len(arrays))]
    account = np.repeat(book.account_id, np.diff(book.position_ptr))
    name = arrays.instrument_id[np.where(out, book.instrument_idx, 0)]
    lines = tuple(f"{account[p]} {name[p]}: {reason[p]}" for p in np.flatnonzero(out))
    return book.keep(~out | backs), lines


def excluded(model: MarginModel, book: Book, arrays: RiskArrays) -> StrArray:
    """(P,) why the model has no rule for a position that is not 0, or ""."""
    look = _looked_up(model, arrays)
    inside = (book.instrument_idx < len(arrays)) & (book.quantity != 0)
    row = np.where(inside, book.instrument_idx, -1)
    found = np.full(len(row), "")
    if look.any:
        found = np.where(inside, look.reason[row], "")
    owed = look.asset[row] & (book.quantity < 0)
    if np.any(owed):
        debt = np.where(look.charged[row], "", np.where(found == "", UNCHARGED_DEBT, found))
        found = np.where(owed, debt, found)
    money = look.money[row]
    if not np.any(money & (book.quantity < 0)):
        return np.asarray(found)
    return _unbacked(model, book, arrays, row, money, np.asarray(found))


def _unbacked(
    model: MarginModel, book: Book, arrays: RiskArrays, row: IntArray, money: BoolArray, found: StrArray
) -> StrArray:
    """`found` with a reason for money owed where nothing stands against the price of what is held against it.

    row    (P,) -> N, -1 for what is none
    money  (P,) positions that are money of the margin currency's own
    """
    account = np.repeat(np.arange(len(book)), np.diff(book.position_ptr))
    amount = np.where(money, book.quantity * np.append(arrays.value, 0.0)[row], 0.0)
    short = np.bincount(account, amount, minlength=len(book)) < 0.0
    held = short[account] & ~money & (book.quantity > 0) & np.append(arrays.is_collateral, False)[row]
    if not np.any(held):
        return found
    held &= ~np.append(holdings_covered(model, arrays), True)[row]
    if not np.any(held):
        return found
    held &= np.append(haircut_of(model, arrays), 1.0)[row] == 0.0
    result = found.astype(object)
    for a in np.unique(account[held]):
        names = ", ".join(arrays.instrument_id[row[held & (account == a)]].tolist())
        mine = (account == a) & money & (book.quantity < 0) & (found == "")
        result[mine] = UNCHARGED_HOLDING.format(assets=names)
    return np.asarray(result, dtype=np.str_)


@of_arrays
def has_every_rule(model: MarginModel, arrays: RiskArrays) -> bool:
    """Whether `excluded` finds nothing in any book on these arrays."""
    assets = arrays.is_collateral & (arrays.instrument_id != arrays.currency)
    charged = debts_of(model, arrays) & holdings_covered(model, arrays)
    return bool(np.all(reasons(model, arrays) == "") and np.all(charged[assets]))


@of_arrays
def holdings_covered(model: MarginModel, arrays: RiskArrays) -> BoolArray:
    """(N,) assets whose fall costs margin where they are held against money owed."""
    own = getattr(model, "holdings_covered", model.debts_covered)
    return np.asarray(own(arrays), dtype=np.bool_)


def check_covers(model: MarginModel, book: Book, arrays: RiskArrays) -> None:
    """ConfigError where the book holds contracts and the model has a rule for none there is: margins of nothing."""
    reason = _if_all_lack_one(model, arrays)
    if not reason:
        return
    held = book.instrument_idx[book.quantity != 0]
    held = held[held < len(arrays)]
    if not np.all(arrays.is_collateral[held]):
        raise ConfigError(f"{model.model_id} has no rule for any contract here; of the first, {reason}")


@of_arrays
def _if_all_lack_one(model: MarginModel, arrays: RiskArrays) -> str:
    """Why the model has no rule for the first contract, "" where it has a rule for any."""
    reason = reasons(model, arrays)[~arrays.is_collateral]
    return str(reason[0]) if len(reason) and np.all(reason != "") else ""


def check_scenarios(model: MarginModel, arrays: RiskArrays) -> None:
    """ConfigError where the model needs other scenarios than those the arrays were made under."""
    wanted = model.scenario_set(arrays.market_rows)
    if wanted is not None and not same_scenarios(wanted, arrays.scenario_set):
        remedy = f"revalue(instruments, market, model.scenario_set(market)), arrays --model {model.model_id}"
        if not arrays.market_digest:
            remedy = (
                "they come from no market that could be revalued; such arrays serve span, from the SPAN file itself, "
                "and models that look at no scenario or take any (worst_case, reg_t)"
            )
        raise ConfigError(
            f"{model.model_id} has scenarios of its own, {len(wanted)} of them, and these risk arrays were made under "
            f"others: {remedy}"
        )
