"""What can happen by the horizon, and what is each contract worth then?"""

from scenarios.bind import bind
from scenarios.revalue import revalue
from scenarios.risk_arrays import RiskArrays
from scenarios.shocks import ScenarioSet, VolDynamics, concat, product

__all__ = ["RiskArrays", "ScenarioSet", "VolDynamics", "bind", "concat", "product", "revalue"]
