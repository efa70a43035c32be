"""compare: what the same accounts must hold under several margin models, side by side."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

import numpy as np

from portfolio_margin.book import Book
from portfolio_margin.comparability import comparable, own_charges, taken_back_value, uncounted_assets, why_not
from portfolio_margin.dollars import money_step
from portfolio_margin.margin import margin
from portfolio_margin.requirement import MarginModel, check_covers
from portfolio_margin.statement import MarginStatement, nearest_step, up
from portfolio_margin.venue_caps import of_venue
from pricing.arrays import BoolArray, FloatArray, IntArray, StrArray
from pricing.errors import ConfigError, EngineError
from pricing.instruments import Instruments
from pricing.market import Market
from scenarios.revalue import revalue
from scenarios.risk_arrays import RiskArrays
from scenarios.shocks import ScenarioSet, same_scenarios

if TYPE_CHECKING:
    import pandas as pd

    from portfolio_margin.worst_fill import OpenOrders

Revalue = Callable[[ScenarioSet], RiskArrays]
# What a model is computed on: the model, with the rules of the arrays where it takes any, and the arrays.
Prepare = Callable[[str, MarginModel], tuple[MarginModel, RiskArrays]]
DEFAULT_REFERENCE = "worst_case"
# A venue's standard model is <venue>_standard; where it has another name, model -> name.
STANDARD_MODELS = {"tims": "reg_t", "reg_t": "reg_t"}


class Revaluation(TypedDict, total=False):
    """How `compare` revalues, beside backend and threads."""

    tick: float | None
    american_accuracy: str


@dataclass(frozen=True)
class Comparison:
    """Margin of A accounts under M models, margin currency; rows are models in the order given.

    statements           by name of the model, all of them
    left_out             name of a model that could not be computed -> why
    references           name of a model -> name of the model that its saving is measured against
    account, row         (A,) name, and row of the statements
    initial, maintenance (M,A) requirements
    saving               (M,A) initial margin of its reference less that of the model, above 0 where the model asks
                         less; NaN where the two are not `comparable`
    worst_scenario       (M,A) label, "" where none loses
    charge, charge_amount (M,A) the largest charge in initial margin and what it adds; "" and 0 where there is none
    notional             (A,) sum of |quantity| x notional of the contracts held
    taken_back           (M,A) of initial margin, what is no risk but takes back option value that equity holds
    uncounted            (M,A) True where the account holds an asset that the model's haircut takes off whole
    """

    statements: Mapping[str, MarginStatement]
    left_out: Mapping[str, str]
    references: Mapping[str, str]
    account: StrArray
    row: IntArray
    initial: FloatArray
    maintenance: FloatArray
    saving: FloatArray
    worst_scenario: StrArray
    charge: StrArray
    charge_amount: FloatArray
    notional: FloatArray
    taken_back: FloatArray
    uncounted: BoolArray

    @property
    def model(self) -> list[str]:
        """(M,) names of the models."""
        return list(self.statements)

    @property
    def reference_initial(self) -> FloatArray:
        """(M,A) initial margin of the model that each one's saving is measured against."""
        return self.initial[[self.model.index(name) for name in self.references.values()]]

    @property
    def unmargined(self) -> BoolArray:
        """(M,A) True where the account holds risk that the model has no rule for: the margin is of the rest."""
        return np.array([statement.unmargined[self.row] for statement in self.statements.values()])

    @property
    def comparable(self) -> BoolArray:
        """(M,A) True where both the model and its reference have a rule for all that the account holds and count it:
        what one of them does not see is no saving."""
        return comparable((self.excluded > 0) | self.uncounted, self.model, self.references)

    @property
    def applies(self) -> BoolArray:
        """(M,) False where the parameters of the model are not valid at the time of the market."""
        return np.array([statement.parameter_set.applies for statement in self.statements.values()])

    @property
    def excluded(self) -> IntArray:
        """(M,A) number of positions of the account that the model has no rule for."""
        return np.array([statement.excluded[self.row] for statement in self.statements.values()])

    @property
    def saving_reason(self) -> StrArray:
        """(M,A) why there is no saving, "" where there is one."""
        return why_not(self.excluded, self.uncounted, self.model, self.references)

    @property
    def _saving_percent(self) -> FloatArray:
        """(M,A) saving in percent of the initial margin of the reference; NaN where that is 0 or there is none."""
        base = self.reference_initial
        return np.asarray(np.where(base > 0, 100.0 * self.saving / np.where(base > 0, base, 1.0), np.nan))

    @property
    def ours(self) -> FloatArray:
        """(M,A) of initial margin, what charges of ours add to the rule of the venue."""
        return np.array([own_charges(statement)[self.row] for statement in self.statements.values()])

    def select(self, rows: list[int]) -> Comparison:
        """The comparison of some accounts; the statements stay whole."""
        tables = (
            "initial",
            "maintenance",
            "saving",
            "worst_scenario",
            "charge",
            "charge_amount",
            "taken_back",
            "uncounted",
        )
        chosen = {name: getattr(self, name)[:, rows] for name in tables}
        return replace(self, account=self.account[rows], row=self.row[rows], notional=self.notional[rows], **chosen)

    def columns(self) -> dict[str, Any]:
        """Named columns, one row a model and account, models slowest."""
        models, accounts = self.initial.shape
        return {
            "model": np.repeat(np.array(self.model, dtype=np.str_), accounts),
            "account": np.tile(self.account, models),
            "initial_margin": self.initial.ravel(),
            "maintenance_margin": self.maintenance.ravel(),
            "saving": self.saving.ravel(),
            "saving_percent": self._saving_percent.ravel(),
            "saving_reason": self.saving_reason.ravel(),
            "reference": np.repeat(np.array(list(self.references.values()), dtype=np.str_), accounts),
            "worst_scenario": self.worst_scenario.ravel(),
            "largest_charge": self.charge.ravel(),
            "largest_charge_amount": self.charge_amount.ravel(),
            "charges_of_ours": self.ours.ravel(),
            "positions_excluded": self.excluded.ravel(),
            "parameter_set": np.repeat(np.array([s.parameter_set.label for s in self.statements.values()]), accounts),
            "parameters_apply": np.repeat(self.applies, accounts),
            "as_of_ms": np.repeat([s.as_of_ms for s in self.statements.values()], accounts),
            "notional": np.tile(self.notional, models),
        }

    def identity(self) -> dict[str, Any]:
        """What reproduces each row: per model its parameter set and hashes, and what was left out."""
        rows = self.row.tolist()
        return {
            "references": dict(self.references),
            "models": {name: statement.identity(rows) for name, statement in self.statements.items()},
            "models_left_out": dict(self.left_out),
        }

    def frame(self) -> pd.DataFrame:
        """pandas frame, one row a model and account."""
        from portfolio_margin.io.frames import frame

        return frame(self.columns(), self.identity())


def compare(
    book: Book,
    market: Market,
    models: Mapping[str, MarginModel],
    *,
    instruments: Instruments,
    scenario_set: ScenarioSet | None = None,
    reference: str | None = None,
    backend: str = "numba",
    threads: int | None = None,
    orders: OpenOrders | None = None,
    **revaluation: Unpack[Revaluation],
) -> Comparison:
    """The margin of every account under every model, each under the scenarios it needs.

    models        name -> model; names are for people and may stand for one model with several parameter sets
    scenario_set  for models without scenarios of their own
    reference     name of the model that savings are measured against; where left out, of each model the standard model
                  of its venue, for a model whose venue has none here `worst_case`, and without that the first one
    backend, threads   as `revalue` takes them
    orders        open orders as `margin` takes them; what their fills gain at their limits is that of any arrays
    revaluation   tick and american_accuracy, as `revalue` takes them

    A model that cannot be computed for this market (ConfigError, NumericalError, contracts it cannot price) is named in
    `left_out` with the reason. Raises ConfigError where none can, or the reference cannot.
    """

    def arrays_of(moves: ScenarioSet) -> RiskArrays:
        return revalue(instruments, market, moves, backend=backend, threads=threads, **revaluation)

    prepared = revaluing(market, arrays_of, scenario_set)
    return comparison(book, market, models, prepared, reference, backend=backend, threads=threads, orders=orders)


def compare_on(
    book: Book,
    arrays: RiskArrays,
    models: Mapping[str, MarginModel],
    *,
    reference: str | None = None,
    backend: str = "numba",
    threads: int | None = None,
) -> Comparison:
    """The margin of every account under every model on risk arrays as they are, published ones above all.

    A model whose own scenarios are others than those of the arrays is named in `left_out`, as are those that `compare`
    leaves out; arguments and errors are those of `compare`.
    """
    return comparison(book, None, models, lambda _, model: (model, arrays), reference, backend=backend, threads=threads)


def revaluing(market: Market, arrays_of: Revalue, scenario_set: ScenarioSet | None) -> Prepare:
    """Every model on the arrays of its own scenarios, else those of `scenario_set`; one call of `arrays_of` for every
    distinct set of scenarios."""
    made: list[RiskArrays] = []

    def prepared(name: str, model: MarginModel) -> tuple[MarginModel, RiskArrays]:
        moves = model.scenario_set(market) or scenario_set
        if moves is None:
            raise ConfigError(f"{name} has no scenarios of its own: give a scenario_set")
        arrays = next((known for known in made if same_scenarios(known.scenario_set, moves)), None)
        if arrays is None:
            arrays = arrays_of(moves)
            made.append(arrays)
        return model, arrays

    return prepared


def comparison(
    book: Book,
    market: Market | None,
    models: Mapping[str, MarginModel],
    prepared: Prepare,
    reference: str | None = None,
    *,
    backend: str = "numba",
    threads: int | None = None,
    refused: Mapping[str, str] = MappingProxyType({}),
    orders: OpenOrders | None = None,
) -> Comparison:
    """`compare` on whatever arrays each model is given.

    market   None where no arrays come from one
    refused  models that could not even be made -> why; they are left out as well
    orders   open orders, None for none
    """
    if not models and not refused:
        raise ConfigError("models = {}: give one at least")
    used: list[RiskArrays] = []
    statements: dict[str, MarginStatement] = {}
    uncounted: dict[str, BoolArray] = {}
    taken_back: dict[str, FloatArray] = {}
    left_out = dict(refused)
    known: RiskArrays | None = None
    for name, given in models.items():
        model = given
        try:
            if known is not None:
                _check_rules(model, book, known)
        except ConfigError as error:
            left_out[name] = str(error)
            continue
        try:
            model, arrays = prepared(name, given)
            model = of_venue(model, book, arrays)
            known = arrays
            statements[name] = margin(book, arrays, market, model, backend=backend, threads=threads, orders=orders)
            used.append(arrays)
            uncounted[name] = uncounted_assets(book, arrays, model)
            taken_back[name] = taken_back_value(book, arrays, statements[name])
        except EngineError as error:
            # What nobody gave stands before what came of it.
            lacking = model.lacking() if hasattr(model, "lacking") else []
            left_out[name] = "\n".join(dict.fromkeys([*lacking, *str(error).splitlines()]))
    if not statements:
        raise ConfigError(
            "\n".join(
                [
                    "no model can be computed here:",
                    *(f"{n}: {line}" for n, reason in left_out.items() for line in reason.splitlines()),
                ]
            )
        )
    if reference is not None and reference not in statements:
        why = left_out.get(reference, f"none of {', '.join(models)}: it must be among the models compared")
        raise ConfigError(f"reference = {reference!r}: {why}")
    references = {name: reference or _standard(name, statements) for name in statements}
    return _table(book, used[0], statements, uncounted, taken_back, left_out, references)


def _check_rules(model: MarginModel, book: Book, arrays: RiskArrays) -> None:
    """ConfigError where a model has a rule for no contract there is, by arrays of any scenarios: what it lacks for them
    does not matter then, nor whether they can be revalued under its own."""
    if not hasattr(model, "for_arrays"):
        check_covers(model, book, arrays)


def _standard(name: str, statements: Mapping[str, MarginStatement]) -> str:
    """What the saving of one model is measured against: its venue's standard model, else worst_case, else the first.

    Of several with different parameters, the one with the set of the same name, else the first.
    """
    mine = statements[name].model
    venue = mine.model_id.partition("_")[0]
    for wanted in (STANDARD_MODELS.get(mine.model_id, f"{venue}_standard"), DEFAULT_REFERENCE):
        found = [other for other, statement in statements.items() if statement.model.model_id == wanted]
        alike = [other for other in found if statements[other].parameter_set.name == mine.parameter_set.name]
        if found:
            return (alike or found)[0]
    return next(iter(statements))


def _table(
    book: Book,
    arrays: RiskArrays,
    statements: Mapping[str, MarginStatement],
    uncounted: Mapping[str, BoolArray],
    taken_back: Mapping[str, FloatArray],
    left_out: Mapping[str, str],
    references: Mapping[str, str],
) -> Comparison:
    initial = np.array([s.initial_margin for s in statements.values()])
    taken_off = np.array([*uncounted.values()])
    hidden = taken_off | np.array([s.excluded > 0 for s in statements.values()])
    saving = initial[[[*statements].index(name) for name in references.values()]] - initial
    saving = nearest_step(saving, money_step(arrays))
    largest = [_largest_charge(s) for s in statements.values()]
    size = np.where(arrays.is_collateral, 0.0, arrays.notional)[book.instrument_idx] * np.abs(book.quantity)
    notional = np.zeros(len(book))
    np.add.at(notional, np.repeat(np.arange(len(book)), np.diff(book.position_ptr)), size)
    return Comparison(
        statements=statements,
        left_out=left_out,
        references=references,
        account=book.account_id,
        row=np.arange(len(book)),
        initial=initial,
        maintenance=np.array([s.maintenance_margin for s in statements.values()]),
        saving=np.where(comparable(hidden, [*statements], references), saving, np.nan),
        worst_scenario=np.array([np.append(s.scenario_label, "")[s.worst_scenario] for s in statements.values()]),
        charge=np.array([names for names, _ in largest]),
        charge_amount=np.array([amounts for _, amounts in largest]),
        notional=notional,
        taken_back=np.array([*taken_back.values()]),
        uncounted=taken_off,
    )


def _largest_charge(statement: MarginStatement) -> tuple[StrArray, FloatArray]:
    """(A,) name of the largest charge in initial margin, "" where none is above 0, and its amount."""
    if not statement.charges:
        return np.full(len(statement), "", dtype=np.str_), np.zeros(len(statement))
    names = np.array([*statement.charges, ""], dtype=np.str_)
    amounts = np.array([parts[:, 0] for parts in statement.charges.values()])
    row = np.argmax(amounts, axis=0)
    amount = np.maximum(amounts[row, np.arange(len(statement))], 0.0)
    return names[np.where(amount > 0, row, -1)], up(amount, statement.money_step)
