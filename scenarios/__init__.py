"""What can happen by the horizon, and what is each contract worth then?"""

from scenarios.bind import bind
from scenarios.portfolio import portfolio_pnl
from scenarios.revalue import revalue
from scenarios.risk_arrays import RiskArrays
from scenarios.shocks import ScenarioSet, VolDynamics, concat, product

__all__ = ["RiskArrays", "ScenarioSet", "VolDynamics", "bind", "concat", "portfolio_pnl", "product", "revalue"]
