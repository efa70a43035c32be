"""Everything that a history of surfaces says: shocks over tenors, their components, basis and rate."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from scenarios.calibrate.levels import Side
from scenarios.calibrate.settings import Settings
from scenarios.calibrate.surfaces import BasisShock, Components, SurfaceHistory, basis_shock, components
from scenarios.calibrate.vol_shocks import REFERENCE_DAYS, TenorFit, fit_tenors


class SurfaceShocks(NamedTuple):
    """Shocks of a surface.

    up, down  vols at the money over tenors, a (30/days)^p
    term      components of vols at the money over tenors
    smile     components of the 30-day smile over moneyness
    basis     forwards against the spot, and rates
    """

    up: TenorFit
    down: TenorFit
    term: Components
    smile: Components
    basis: BasisShock


def surface_shocks(history: SurfaceHistory, settings: Settings) -> SurfaceShocks:
    """Shocks from a history of surfaces, one row a day. ConfigError where it is too short for one of them."""
    at_the_money = np.diff(np.log(history.at_the_money), axis=0)
    month = int(np.argmin(np.abs(history.days - REFERENCE_DAYS)))
    return SurfaceShocks(
        up=fit_tenors(history.days, at_the_money, settings, Side.UP),
        down=fit_tenors(history.days, at_the_money, settings, Side.DOWN),
        term=components(at_the_money, settings),
        smile=components(np.diff(np.log(history.vol[:, month]), axis=0), settings),
        basis=basis_shock(history.days, history.rate, settings),
    )
