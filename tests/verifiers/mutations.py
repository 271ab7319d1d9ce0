"""Replies that begin as an expert's and are then damaged: characters, fields, quotes, cuts, nesting."""

from __future__ import annotations

import json
from random import Random

from posttrain import formulas
from posttrain.environments import navigation
from posttrain.verifiers.general_points import RANKS, Deal, Rule
from posttrain.verifiers.navigation import ACTIONS, Place

RULES = tuple(map(Rule.parse, ("10", "11/12/13", "5/7/9")))
PLACES = tuple(
    Place(action, other, actions, landmark, crossing, 2, 90)
    for actions, action, other in (
        ("absolute", "turn_direction(north)", "turn_direction(left)"),
        ("relative", "turn_direction(slightly left)", "turn_direction(northwest)"),
        ("absolute", "forward()", "forward()"),
        ("relative", "stop()", "stop()"),
    )
    for landmark, crossing in (("Blue Bakery is on your right", True), ("No landmarks nearby", False))
)
PIECES = (
    *"{}[]\"',:=\\/()+-*0123456789 \n",
    *('\\"', "\\u0066", "\\u006f", "null", "true", "```", "\ud800", "é", "Here is my answer: "),
)


def pick(rng: Random, items):
    return items[int(rng.random() * len(items))]


def _deals(count: int = 200) -> list[Deal]:
    rng, deals = Random(0), []
    while len(deals) < count:
        ranks, rule = tuple(pick(rng, RANKS) for _ in range(4)), pick(rng, RULES)
        if formulas.solve(list(rule.numbers(ranks))):
            deals.append(Deal(ranks, rule.numbers(ranks)))
    return deals


DEALS = _deals()


def answer(rng: Random, deal: Deal) -> dict[str, object]:
    """Mostly right; else right under the old rule, of other numbers, with another value or ending."""
    solutions = formulas.solve(list(deal.numbers)) * 3
    solutions += formulas.solve(list(Rule.parse("10").numbers(deal.ranks)))[:3] + [
        "12*2",
        "+".join(map(str, deal.numbers)),
    ]
    ending = "=24" if rng.random() < 0.9 else pick(rng, ("", "=25", " = 24 ", "=24=24"))
    return {"cards": list(deal.ranks), "number": list(deal.numbers), "formula": pick(rng, solutions) + ending}


def step(rng: Random, place: Place) -> dict[str, object]:
    """The expert's step half of the time, else another one or another observation."""
    data = json.loads(navigation.answer(place, "Turn left to face north."))
    if rng.random() < 0.5:
        data["action"] = pick(rng, (*ACTIONS["absolute"], *ACTIONS["relative"], "fly()", "\ud800"))
    if rng.random() < 0.2:
        data["current observation"] = pick(rng, ("", "You observe an intersection", "No landmarks nearby; "))
    return data


def mutate(rng: Random, data: dict[str, object], other: dict[str, object]) -> tuple[str, list[str]]:
    """A reply made of `data`, and what was done to it; `other`: another answer, put within or beside it."""
    done, data = [], dict(data)
    for _ in range(int(rng.random() * 3)):
        kind = pick(rng, ("drop", "retype", "extra", "rename", "nest", "reorder", "string", "data"))
        done.append(kind)
        name = pick(rng, list(data)) if data else "x"
        if kind == "drop":
            data.pop(name, None)
        elif kind == "retype":
            data[name] = pick(
                rng, (None, 24, [data.get(name)], {"text": data.get(name)}, str(data.get(name)), [], True)
            )
        elif kind == "extra":
            data[pick(rng, ("note", "Formula", "x"))] = pick(rng, (1, "words", [1, 2], {"a": 1}))
        elif kind == "rename":
            data[pick(rng, ("answer", name.upper(), f" {name}"))] = data.pop(name, None)
        elif kind == "nest":
            data["x"] = pick(rng, (other, {name: other.get(name)}, [other]))
        elif kind == "reorder":
            data = dict(sorted(data.items(), key=lambda item: rng.random()))
        elif kind == "string":
            data["note"] = pick(rng, (json.dumps(other), repr(other), repr({name: other.get(name)})[1:-1]))
        else:
            data[pick(rng, ("note", "x"))] = pick(rng, list(other))
    text = json.dumps(data, ensure_ascii=rng.random() < 0.5)
    if rng.random() < 0.2:
        done.append("quotes")
        text = repr(data)
    for _ in range(int(rng.random() * 4)):
        kind = pick(
            rng,
            (
                "insert",
                "delete",
                "replace",
                "cut",
                "double",
                "escape",
                "around",
                "beside",
                "comma",
                "bracket",
            ),
        )
        done.append(kind)
        at = int(rng.random() * (len(text) + 1))
        if kind == "insert":
            text = text[:at] + pick(rng, PIECES) + text[at:]
        elif kind == "delete":
            text = text[:at] + text[at + 1 + int(rng.random() * 3) :]
        elif kind == "replace":
            text = text[:at] + pick(rng, PIECES) + text[at + 1 :]
        elif kind == "cut":
            text = pick(rng, (text[:at], text[at:], text[: len(text) - 3]))
        elif kind == "double":
            name = pick(rng, list(other))
            text = text.replace("{", "{" + json.dumps({name: other[name]})[1:-1] + ", ", 1)
        elif kind == "escape":
            name = pick(rng, list(other))
            text = text.replace(name, f"{name[0]}\\u{ord(name[1]):04x}{name[2:]}", int(rng.random() * 2) + 1)
        elif kind == "around":
            text = pick(rng, ("Here it is: ", "```json\n", "[1, 2] ", "null ", "[", '{"a": 1} ')) + text
            text += pick(rng, ("", "\n```", " I hope so.", ",", "]", " [1]"))
        elif kind == "beside":
            text = pick(
                rng, (text + json.dumps(other), json.dumps(other) + "\n" + text, f"[{text}, {other}]")
            )
        elif kind == "comma":
            text = text.replace(pick(rng, (", ", "}")), pick(rng, (" ", ",}", ", , ")), 1)
        else:
            text = text.replace(pick(rng, "{}[]"), "", 1)
    return text, done


def points_reply(rng: Random) -> tuple[str, Deal]:
    """A mutated answer to a deal, and the deal."""
    truth = pick(rng, DEALS)
    return mutate(rng, answer(rng, truth), answer(rng, pick(rng, DEALS)))[0], truth


def navigation_reply(rng: Random) -> tuple[str, Place]:
    """A mutated answer at a place, and the place."""
    truth = pick(rng, PLACES)
    return mutate(rng, step(rng, truth), step(rng, pick(rng, PLACES)))[0], truth
