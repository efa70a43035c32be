"""Rows of contracts with early exercise on shares that pay known dividends in cash; see `pricing.cash_dividends`."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from pricing import cash_dividends
from pricing.arrays import BoolArray, FloatArray, IntArray
from pricing.cash_dividends import Contracts, schedule_of
from pricing.errors import Problem, UnsolvedError
from pricing.instruments import Instruments
from pricing.market import Market
from pricing.resolve import PricingInputs
from scenarios.bind import ShockedInputs


class Rows(NamedTuple):
    """What pricing inputs lack of these contracts: underlying and unit of dividends (R,), time steps in years (S,)."""

    underlying: IntArray
    unit: FloatArray
    time_step_years: FloatArray


def rows_of(
    tables: tuple[Instruments, Market], inputs: PricingInputs, wanted: BoolArray, time_step_years: FloatArray
) -> Rows:
    """Those of the contracts where `wanted` (N,) is true. DataError as from `pricing.cash_dividends.dividend_unit`."""
    instruments, market = tables
    row = np.flatnonzero(wanted)
    unit = cash_dividends.dividend_unit(instruments, market, inputs, row)
    return Rows(instruments.underlying_idx[row], unit, time_step_years)


def unit_pnl(inputs: PricingInputs, shocked: ShockedInputs, market: Market, rows: Rows, backend: str) -> FloatArray:
    """(R,S) P&L of one long contract in margin currency, weighted, as that of a backend; inputs are of these rows.

    UnsolvedError naming contracts by row, and by scenario where it is not the contract as it stands.
    """
    from scenarios.backends.numpy import weighted_gain  # with scipy, which importing the package does not load

    row, problems = inputs.expiry_idx, list[Problem]()
    base, after = np.empty(len(row)), np.empty(shocked.vol.shape)
    for u in np.unique(rows.underlying):
        mine = np.flatnonzero(rows.underlying == u)
        try:
            base[mine] = cash_dividends.value(_now(inputs, rows, mine), schedule_of(market, int(u)), backend)
        except UnsolvedError as error:
            problems += [replace(problem, row=int(mine[int(problem.row or 0)])) for problem in error.problems]
        for step in np.unique(rows.time_step_years):
            scenario = np.flatnonzero(rows.time_step_years == step)
            n, s = (grid.ravel() for grid in np.meshgrid(mine, scenario, indexing="ij"))
            contracts = Contracts(
                forward=shocked.forward[row[n], s],
                strike=inputs.strike[n],
                tau=shocked.tau[row[n], s],
                vol=shocked.vol[n, s],
                discount=shocked.discount[row[n], s],
                sign=inputs.sign[n],
                unit=rows.unit[n],
            )
            try:
                after[n, s] = cash_dividends.value(contracts, schedule_of(market, int(u), float(step)), backend)
            except UnsolvedError as error:
                at = [int(problem.row or 0) for problem in error.problems]
                problems += [
                    replace(problem, row=int(n[k]), scenario=int(s[k]))
                    for k, problem in zip(at, error.problems, strict=True)
                ]
    if problems:
        raise UnsolvedError(problems)
    return weighted_gain(base, after, inputs, shocked)


def base_greeks(inputs: PricingInputs, market: Market, rows: Rows, backend: str) -> tuple[FloatArray, FloatArray]:
    """(R,) value and delta of one unit, in quoted currency, by a forward that moves spot and dividends along."""
    value, delta = np.empty(len(rows.unit)), np.empty(len(rows.unit))
    for u in np.unique(rows.underlying):
        mine = np.flatnonzero(rows.underlying == u)
        contracts = _now(inputs, rows, mine)
        value[mine], delta[mine] = cash_dividends.base_greeks(contracts, schedule_of(market, int(u)), backend)
    return value, delta


def _now(inputs: PricingInputs, rows: Rows, mine: IntArray) -> Contracts:
    terms = (inputs.forward, inputs.strike, inputs.tau, inputs.vol, inputs.discount, inputs.sign, rows.unit)
    return Contracts(*(column[mine] for column in terms))
