"""Quoted lines are those of the library, with their numbers, or the page fails."""

import re

import pytest
from posttrain import evaluation
from posttrain.analysis import quoting
from posttrain.config import ROOT
from posttrain.trainers import ppo


@pytest.mark.parametrize(
    ("thing", "first", "last", "path"),
    [
        (ppo.gae, "delta = rewards", "running = torch.where", "lib/posttrain/trainers/ppo.py"),
        (evaluation.divergence, "total +=", "", "lib/posttrain/evaluation.py"),  # decorated
    ],
)
def test_lines_stand_where_the_page_says(thing, first, last, path):
    shown = quoting.lines(thing, first, last)
    code, told = re.fullmatch(r"```python\n(.*)```\n\*(.*)\*", shown, re.DOTALL).groups()
    assert f"`{thing.__qualname__}` in {path}, line" in told
    numbers = [int(n) for n in re.findall(r"\d+", told)]
    text = (ROOT / path).read_text().splitlines()[numbers[0] - 1 : numbers[-1]]
    assert [line.strip() for line in text] == [line.strip() for line in code.splitlines()]
    assert code[0] != " " and first in code.splitlines()[0] and last in code.splitlines()[-1]


@pytest.mark.parametrize(("first", "last"), [("no such line", ""), ("delta = rewards", "no such line")])
def test_lines_that_are_not_there_are_an_error(first, last):
    with pytest.raises(ValueError, match=f"gae has no lines from '{first}' to '{last}'"):
        quoting.lines(ppo.gae, first, last)
