"""Verifiers judge an answer against the truth of its task."""
from posttrain.verifiers.general_points import GeneralPointsVerifier, Verdict

__all__ = ["GeneralPointsVerifier", "Verdict"]
