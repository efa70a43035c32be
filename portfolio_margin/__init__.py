"""Open portfolio margin for options: exact, fast, explained."""

from importlib.util import find_spec as _find_spec
from pathlib import Path as _Path


def _check_siblings() -> None:
    """Refuse to run on a foreign `pricing` or `scenarios` that stands in front of ours."""
    home = _Path(__file__).resolve().parent.parent
    for name in ("pricing", "scenarios"):
        spec = _find_spec(name)
        places = [] if spec is None else [spec.origin, *(spec.submodule_search_locations or ())]
        found = [_Path(place).resolve() for place in places if place]
        if home / name / "__init__.py" not in found:
            raise ImportError(
                f"portfolio_margin needs its own package {name!r} beside it, but Python finds "
                f"{found[0] if found else 'none'}: rename that file or change its place on the import path"
            )


_check_siblings()

from portfolio_margin.aggregate import account_pnl, worst_loss  # noqa: E402
from portfolio_margin.blocks import Block, blocks  # noqa: E402
from portfolio_margin.book import Book  # noqa: E402
from portfolio_margin.compare import Comparison, compare, compare_on  # noqa: E402
from portfolio_margin.derivatives import (  # noqa: E402
    MarketDerivatives,
    market_derivatives,
    quantity_derivatives,
    scenario_derivatives,
    with_price,
    with_time,
)
from portfolio_margin.engine import MarginEngine  # noqa: E402
from portfolio_margin.explain import Explanation, explain  # noqa: E402
from portfolio_margin.hedge import hedge  # noqa: E402
from portfolio_margin.hedge_result import Hedge, HedgeTrade  # noqa: E402
from portfolio_margin.hedge_terms import Costs, Limits, Target  # noqa: E402
from portfolio_margin.io.parameter_archive import keep_parameters  # noqa: E402
from portfolio_margin.io.parameter_sets import load_parameters  # noqa: E402
from portfolio_margin.margin import margin  # noqa: E402
from portfolio_margin.near import NearScenarios, near_scenarios  # noqa: E402
from portfolio_margin.optimise import GreekProfile, account_greeks, greek_profile, optimise_book  # noqa: E402
from portfolio_margin.position_margin import PositionMargins, position_margins  # noqa: E402
from portfolio_margin.requirement import ParameterSet, Requirement  # noqa: E402
from portfolio_margin.sample import Sample, load_sample  # noqa: E402
from portfolio_margin.sensitivities import WhatIf, what_if  # noqa: E402
from portfolio_margin.statement import AccountStatus, MarginStatement  # noqa: E402
from portfolio_margin.version import VERSION as __version__  # noqa: E402

__all__ = [
    "AccountStatus",
    "Block",
    "Book",
    "Comparison",
    "Costs",
    "Explanation",
    "GreekProfile",
    "Hedge",
    "HedgeTrade",
    "Limits",
    "MarginEngine",
    "MarginStatement",
    "MarketDerivatives",
    "NearScenarios",
    "ParameterSet",
    "PositionMargins",
    "Requirement",
    "Sample",
    "Target",
    "WhatIf",
    "__version__",
    "account_greeks",
    "account_pnl",
    "blocks",
    "compare",
    "compare_on",
    "explain",
    "greek_profile",
    "hedge",
    "keep_parameters",
    "load_parameters",
    "load_sample",
    "margin",
    "market_derivatives",
    "near_scenarios",
    "optimise_book",
    "position_margins",
    "quantity_derivatives",
    "scenario_derivatives",
    "what_if",
    "with_price",
    "with_time",
    "worst_loss",
]
