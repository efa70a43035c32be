"""Margin models of the engine along a history, against the walk's own margins."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from portfolio_margin import load_parameters
from portfolio_margin.backtest.venue import model_margins
from portfolio_margin.models import tims, worst_case
from scenarios.backtest import models, parameters, walk
from scenarios.backtest.books import standard_books
from scenarios.families import grid
from tests.scenarios.backtest.histories import walked

GIVEN, BOOKS, ROWS = walked(60), standard_books(60), np.array([30, 45])


def test_the_worst_case_is_that_of_the_walk() -> None:
    """Up to a cent of a price near 100, which a statement rounds to."""
    model = worst_case.Model(worst_case.Params(short_option_minimum=0.0))
    told: list[str] = []
    found = model_margins(GIVEN, BOOKS, model, ROWS, "X", step=told.append)
    params = grid.Params()
    path = parameters.fixed(params.price_range, params.vol_up, params.vol_down)(GIVEN)  # type: ignore[arg-type]
    wanted = walk.margins(GIVEN, BOOKS, models.over_layout(path, np.arange(60), models.grid_layout(1.0)), ROWS)
    assert GIVEN.vol[ROWS].min() * 1.4 > 0.5  # where the least vol of the grid's rises does not bind
    assert found == pytest.approx(wanted, abs=3e-4)
    assert told == ["worst_case"] * 2


def test_another_model_asks_for_something_of_every_book() -> None:
    params, _ = load_parameters("tims")
    model = tims.Model(replace(params, default_class="equity"))
    found = model_margins(GIVEN, BOOKS, model, ROWS, "X")
    assert found.shape == (2, 60) and np.all(np.isfinite(found)) and found[:, 0].min() > 0.05
