"""The corpora of texts by the names that a foundation's settings give them."""

from __future__ import annotations

from types import ModuleType

from posttrain.foundation import corpus, directions

CORPORA = {"numbers": corpus, "directions": directions}


def source(name: str) -> ModuleType:
    """The module of the corpus `name`, with its READING, MIXTURE and vocabulary(); ValueError if there is
    none."""
    if name not in CORPORA:
        raise ValueError(f"unknown corpus {name!r}: choose one of {', '.join(CORPORA)}")
    return CORPORA[name]
