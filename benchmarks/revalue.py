"""revalue: risk arrays of a whole market, against plain numpy and QuantLib in the same run."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from scipy.special import ndtr

from benchmarks import exchange
from benchmarks.parts import command_line
from benchmarks.timing import best_seconds, report
from pricing.resolve import resolve
from scenarios import bind, revalue


def plain_numpy(inputs: Any, shocked: Any) -> np.ndarray:
    """What one writes in numpy and scipy without thinking about it: F N(d1) - K N(d2), broadcast."""
    row = inputs.expiry_idx
    forward, tau, strike = shocked.forward[row], shocked.tau[row], inputs.strike[:, None]
    sign = inputs.sign[:, None]
    deviation = shocked.vol * np.sqrt(tau)
    d1 = np.log(forward / strike) / deviation + 0.5 * deviation
    value = sign * (forward * ndtr(sign * d1) - strike * ndtr(sign * (d1 - deviation)))
    d1 = np.log(inputs.forward / inputs.strike) / (inputs.vol * np.sqrt(inputs.tau))
    d1 = d1 + 0.5 * inputs.vol * np.sqrt(inputs.tau)
    d2 = d1 - inputs.vol * np.sqrt(inputs.tau)
    base = inputs.sign * (inputs.forward * ndtr(inputs.sign * d1) - inputs.strike * ndtr(inputs.sign * d2))
    after = value / forward * shocked.fx[inputs.currency_idx]
    before = base / inputs.forward * shocked.base_fx[inputs.currency_idx]
    return np.asarray(shocked.weight * (after - before[:, None]))


def quantlib_loop(inputs: Any, shocked: Any, contracts: int) -> float:
    """blackFormula of the first contracts in every scenario, one call each."""
    import QuantLib

    total = 0.0
    deviation = shocked.vol * np.sqrt(shocked.tau[inputs.expiry_idx])
    forward = shocked.forward[inputs.expiry_idx]
    for n in range(contracts):
        kind = QuantLib.Option.Call if inputs.sign[n] > 0 else QuantLib.Option.Put
        strike = float(inputs.strike[n])
        for s in range(deviation.shape[1]):
            total += QuantLib.blackFormula(kind, strike, float(forward[n, s]), float(deviation[n, s]))
    return total


def run(contracts: int, scenarios: int, rounds: int) -> None:
    """Time `revalue` (resolve, bind, price, round) and its pricing kernel alone."""
    instruments, market = exchange.options(contracts)
    moves = exchange.scenario_set(market, scenarios)
    inputs = resolve(instruments, market)
    shocked = bind(moves, market, inputs)
    ours = revalue(instruments, market, moves, tick=None)
    gap = np.abs(plain_numpy(inputs, shocked) - ours.pnl).max()
    quantlib_rows = max(1, contracts // 50)
    cores = os.cpu_count() or 1
    contestants = {
        "revalue, numba, 1 thread": lambda: revalue(instruments, market, moves, threads=1),
        f"revalue, numba, {cores} threads": lambda: revalue(instruments, market, moves, threads=cores),
        "revalue, numpy": lambda: revalue(instruments, market, moves, backend="numpy"),
        "revalue, jax": lambda: revalue(instruments, market, moves, backend="jax"),
        "plain numpy broadcast (pricing only)": lambda: plain_numpy(inputs, shocked),
        "QuantLib blackFormula loop (1/50 of rows)": lambda: quantlib_loop(inputs, shocked, quantlib_rows),
    }
    seconds = best_seconds(contestants, rounds)
    seconds["QuantLib blackFormula loop (times 50)"] = (
        seconds.pop("QuantLib blackFormula loop (1/50 of rows)") * contracts / quantlib_rows
    )
    report(f"revalue: {contracts:,} contracts x {scenarios} scenarios", seconds, "revalue, numba, 1 thread")
    print(f"  largest difference from plain numpy: {gap:.1e} of the margin currency per contract")


if __name__ == "__main__":
    command_line(run, __doc__, contracts=2_000, scenarios=64, rounds=5)
