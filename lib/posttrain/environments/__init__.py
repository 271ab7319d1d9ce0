"""Environments pose tasks; importing this package makes them known to `gymnasium.make`.

Importing gymnasium takes a third of a second, so a bare `import posttrain` leaves it alone: write `import posttrain.environments`.
"""
import gymnasium

from posttrain.environments.general_points import GeneralPointsEnv, hands

gymnasium.register(id="posttrain/GeneralPoints-v0", entry_point=GeneralPointsEnv)

__all__ = ["GeneralPointsEnv", "hands"]
