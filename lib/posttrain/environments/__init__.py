"""Environments pose tasks; importing this package makes them known to `gymnasium.make`.

Importing gymnasium takes a third of a second, so a bare `import posttrain` leaves it alone.
"""

import gymnasium

from posttrain.environments.general_points import GeneralPointsEnv, hands
from posttrain.environments.navigation import NavigationEnv
from posttrain.environments.panoramas import PanoramaEnv

gymnasium.register(id="posttrain/GeneralPoints-v0", entry_point=GeneralPointsEnv)
gymnasium.register(id="posttrain/Navigation-v0", entry_point=NavigationEnv)
gymnasium.register(id="posttrain/Panoramas-v0", entry_point=PanoramaEnv)

__all__ = ["GeneralPointsEnv", "NavigationEnv", "PanoramaEnv", "hands"]
