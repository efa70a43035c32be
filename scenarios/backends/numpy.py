"""unit_pnl on numpy arrays: the reference, short and always available."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from types import ModuleType

import numpy as np

from pricing.arrays import FloatArray
from pricing.backends import numpy as pricing_numpy
from pricing.errors import Problem, UnsolvedError
from pricing.resolve import PricingInputs, is_solved, model_columns
from pricing.xp import numpy as xp
from scenarios.bind import ShockedInputs


def unit_pnl(
    model: ModuleType, inputs: PricingInputs, shocked: ShockedInputs, threads: int = 1, accuracy: str = "default"
) -> FloatArray:
    """(N,S) P&L of one long contract in margin currency, weighted; every row priced by `model`.

    accuracy is that of a model that is solved.
    """
    if is_solved(model):
        return solved_pnl(functools.partial(pricing_numpy.value, accuracy=accuracy), model, inputs, shocked)
    row, column = inputs.expiry_idx, lambda values: values[:, None]
    with np.errstate(under="ignore"):
        base = model.value(xp, inputs.forward, inputs.strike, inputs.tau, inputs.vol, inputs.discount, inputs.sign)
        value = model.value(
            xp,
            shocked.forward[row],
            column(inputs.strike),
            shocked.tau[row],
            shocked.vol,
            shocked.discount[row],
            column(inputs.sign),
        )
    return weighted_gain(base, value, inputs, shocked)


def solved_pnl(
    price: Callable[..., FloatArray], model: ModuleType, inputs: PricingInputs, shocked: ShockedInputs
) -> FloatArray:
    """unit_pnl of a model that a solver prices: `price(model, columns)` sees all contracts and scenarios at once, so
    that those with the same terms share one solution.

    UnsolvedError naming contracts by row, and by scenario where it is not the contract as it stands.
    """
    row, shape = inputs.expiry_idx, shocked.vol.shape

    def spread(column: FloatArray) -> FloatArray:
        return np.repeat(column, shape[1])

    columns = (
        shocked.forward[row].ravel(),
        spread(inputs.strike),
        shocked.tau[row].ravel(),
        shocked.vol.ravel(),
        shocked.discount[row].ravel(),
        spread(inputs.sign),
        spread(inputs.carry),
    )
    values: list[FloatArray] = []
    problems: list[Problem] = []
    for given, width in ((model_columns(model, inputs), None), (columns, shape[1])):
        try:
            values.append(price(model, given))
        except UnsolvedError as error:
            problems += [problem if width is None else _of_scenario(problem, width) for problem in error.problems]
    if problems:
        raise UnsolvedError(problems)
    return weighted_gain(values[0], values[1].reshape(shape), inputs, shocked)


def _of_scenario(problem: Problem, width: int) -> Problem:
    row, scenario = divmod(int(problem.row or 0), width)
    return replace(problem, row=row, scenario=scenario)


def weighted_gain(base: FloatArray, value: FloatArray, inputs: PricingInputs, shocked: ShockedInputs) -> FloatArray:
    """(N,S) gain in margin currency from values (N,) before and (N,S) after, in quoted currency.

    A contract that is paid for gains value' c' - value c, with c the margin currency per unit of what
    the price is quoted in (fx, or fx / forward for inverse payoffs, before and after the shock). A
    future gains (value' - value) c': only the variation margin is converted.
    """
    inverse = inputs.inverse > 0
    shocked_unit = np.where(inverse[:, None], shocked.forward[inputs.expiry_idx], 1.0)
    conversion = shocked.fx[inputs.currency_idx] / shocked_unit
    base_conversion = shocked.base_fx[inputs.currency_idx] / np.where(inverse, inputs.forward, 1.0)
    kept = (base * base_conversion * (1.0 - inputs.settled))[:, None]
    gain = (value - (base * inputs.settled)[:, None]) * conversion - kept
    return np.asarray(shocked.weight * (inputs.multiplier[:, None] * gain))
