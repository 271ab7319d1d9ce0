"""Documents, and what the corpora of texts have in common: random layouts, the chat frame, mixtures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.random import Generator

JOINTS = ("; ", " | ", "\n", ". ", " / ", ", ")
ANSWER = ("answer: ", "=> ", "solution ", "so ", "\n")


class Document(NamedTuple):
    """Loss is taken on `completion` only. Both are texts; chat documents hold the chat markers."""

    kind: str
    prompt: str
    completion: str


Mixture = dict[Callable[..., Document], float]  # maker -> share of the documents
CHUNK = 1024  # documents whose kinds are drawn together


def documents(rng: Generator, mixture: Mixture, *more: Any) -> Iterator[Document]:
    """Documents without end, drawn from `mixture`; `more`: what its makers take besides the generator."""
    makers, shares = list(mixture), np.array(list(mixture.values()))
    while True:
        for i in rng.choice(len(makers), size=CHUNK, p=shares / shares.sum()).tolist():
            yield makers[i](rng, *more)


def pick(rng: Generator, options: Sequence[Any]) -> Any:
    """One of `options`, each as probable."""
    return options[int(rng.integers(len(options)))]


def shuffled(rng: Generator, *fields: str) -> str:
    """`fields` in random order, and the words after which an answer begins."""
    return pick(rng, JOINTS).join(fields[i] for i in rng.permutation(len(fields)).tolist()) + ask(rng)


def ask(rng: Generator) -> str:
    """The words after which an answer begins."""
    return pick(rng, JOINTS) + pick(rng, ANSWER)


def chat(turns: list[str]) -> str:
    """The chat template's text up to the next answer; `turns` alternate user, assistant, user, …"""
    roles = ("<|user|>", "<|assistant|>")
    return "".join(f"{roles[i % 2]}{turn}<|end|>" for i, turn in enumerate(turns)) + "<|assistant|>"
