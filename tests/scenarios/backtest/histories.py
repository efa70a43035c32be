"""Histories that tests make up."""

from __future__ import annotations

import numpy as np

from scenarios.backtest import history

DAY = 86_400_000
START = 1_600_041_600_000  # a midnight


def walked(days: int = 700, seed: int = 4, steps_per_day: int = 1, index_from: float = 0.5) -> history.History:
    """Fat-tailed returns, and an index of vol over the last part of the days."""
    random = np.random.default_rng(seed)
    count = days * steps_per_day
    level = 0.03 * np.exp(np.cumsum(random.normal(0.0, 0.02 / np.sqrt(steps_per_day), count)))
    returns = level / np.sqrt(steps_per_day) * random.standard_t(4, count) / np.sqrt(2.0)
    price = 100.0 * np.exp(np.cumsum(returns))
    index = np.sqrt(365.0) * level * np.exp(random.normal(0.0, 0.03, count))
    index[: int(index_from * count)] = np.nan
    time = START + (1 + np.arange(count)) * (DAY // steps_per_day)
    return history.history(time, price, index, steps_per_day=steps_per_day)


def changed_after(given: history.History, row: int, seed: int = 9) -> history.History:
    """The same up to a row, and quite another market from there on."""
    random = np.random.default_rng(seed)
    later = len(given) - row - 1
    price, vol, proxy = given.price.copy(), given.vol.copy(), given.stand_in.copy()
    price[row + 1 :] *= np.exp(np.cumsum(random.normal(0.0, 0.2, later)))
    vol[row + 1 :] = np.clip(vol[row + 1 :] * random.uniform(0.3, 3.0, later), 1e-3, 10.0)
    proxy[row + 1 :] = np.clip(proxy[row + 1 :] * random.uniform(0.3, 3.0, later), 1e-3, 10.0)
    return history.History(given.time_ms, price, vol, proxy, given.indexed, given.days_per_year, given.steps_per_day)
