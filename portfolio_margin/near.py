"""Scenarios that nearly count: those of a netting set in which it loses nearly as much as in its worst one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from portfolio_margin.book import Book
from portfolio_margin.requirement import MarginModel, covered
from portfolio_margin.sensitivities import is_finite
from pricing.arrays import FloatArray, StrArray
from pricing.errors import ConfigError
from scenarios.risk_arrays import RiskArrays


@dataclass(frozen=True)
class NearScenarios:
    """Scenarios in which a netting set of an account loses nearly as much as in its worst one, worst first by set.

    netting_set  (K,) underlying, "account" where all are one set
    label   (K,) names
    loss    (K,) margin currency; negative for a gain
    gap     (K,) loss of the worst less the loss here, 0 or more: what the set is from being margined by it
    """

    netting_set: StrArray
    label: StrArray
    loss: FloatArray
    gap: FloatArray


def near_scenarios(book: Book, arrays: RiskArrays, model: MarginModel, account: str, distance: float) -> NearScenarios:
    """Scenarios whose loss of a netting set lies at most `distance` below that of its worst, margin currency.

    Losses are those that the model takes the worst of, before factors: with haircuts, dampers, discounts and limits on
    gains. A set that loses in no scenario has no line. A model says them by `scenario_losses(book, arrays)`, where its
    requirement has a worst loss of each netting set; ConfigError for one that has not, and where `distance` is not a
    finite number, 0 or more.
    """
    if not is_finite(distance) or distance < 0.0:
        raise ConfigError(f"distance = {distance!r}: must be a finite number, 0 or more, in margin currency")
    losses_of = getattr(model, "scenario_losses", None)
    if losses_of is None:
        raise ConfigError(f"{model.model_id} has no losses by netting set: explain names the scenarios that count")
    own, _ = covered(model, book.select(account), arrays)
    names, scenarios, losses, gaps = [], [], [], []
    for name, label, loss in losses_of(own, arrays):
        if not loss.max(initial=0.0) > 0.0:
            continue
        order = np.argsort(-loss, kind="stable")
        near = order[loss[order] >= loss.max() - distance]
        names += [name] * len(near)
        scenarios.append(label[near])
        losses.append(loss[near])
        gaps.append(loss.max() - loss[near])
    if not names:
        nothing = np.zeros(0)
        return NearScenarios(np.zeros(0, np.str_), np.zeros(0, np.str_), nothing, nothing)
    return NearScenarios(np.array(names), *(np.concatenate(column) for column in (scenarios, losses, gaps)))
