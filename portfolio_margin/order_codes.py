"""Numbers that the order kernels and their callers agree on: columns of an account's figures, faults of an order."""

from __future__ import annotations

# Columns of an account's figures, by the names of a statement; those that a what-if compares come first, then what it
# tells besides.
NAMES = (
    "equity",
    "margin_balance",
    "initial_margin",
    "maintenance_margin",
    "available_funds",
    "excess_liquidity",
    "mm_rate",
    "delta_total",
    "status",
    "worst_scenario",
    "unmargined",
    "collateral_value_before_haircut",
    "haircut",
    "health",
    "excluded",
)
WIDTH = len(NAMES)
COMPARED, TOLD = 8, 11
EQUITY, BALANCE, INITIAL, MAINTENANCE, AVAILABLE, EXCESS, MM_RATE, DELTA = range(COMPARED)
STATUS, WORST, UNMARGINED = range(COMPARED, TOLD)
COLLATERAL, HAIRCUT, HEALTH, EXCLUDED = range(TOLD, WIDTH)

# What is wrong with an order; INEXACT: its sums are too large for whole doubles.
OK, NO_INSTRUMENT, NOT_FINITE, ASSET, OFF_STEP, NOTHING, NO_CASH, NO_ACCOUNT, INEXACT = range(9)
