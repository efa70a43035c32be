"""Whole-market stress: a crash over a venue, with the liquidation of its accounts in the loop. docs/stress.md."""

from portfolio_margin.stress.path import StressPath
from portfolio_margin.stress.result import Result
from portfolio_margin.stress.rules import Rules
from portfolio_margin.stress.run import run

__all__ = ["Result", "Rules", "StressPath", "run"]
