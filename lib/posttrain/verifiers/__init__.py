"""Verifiers judge an answer against the truth of its task."""

from posttrain.verifiers.answers import Verdict
from posttrain.verifiers.general_points import GeneralPointsVerifier
from posttrain.verifiers.navigation import NavigationVerifier

__all__ = ["GeneralPointsVerifier", "NavigationVerifier", "Verdict"]
