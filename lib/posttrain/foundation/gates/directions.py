"""Gates of the directions: choosing the listed word, compass arithmetic, finding one's place, acting,
revising."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.random import Generator

from posttrain.environments import cities, navigation, prompts
from posttrain.environments.navigation import NOTHING, TURN, NavigationEnv
from posttrain.foundation import conventions, directions
from posttrain.foundation.directions import Walk, act_answer, act_prompt
from posttrain.foundation.documents import chat
from posttrain.foundation.gates import numbers
from posttrain.verifiers.navigation import FORWARD, STOP, TURNS, NavigationVerifier, Place, turn


class Stop(NamedTuple):
    """A point (`at`) of a route, and the action words of its space; `task`: the whole task's prompt there
    and its truth."""

    route: Walk
    at: int
    words: tuple[str, ...]
    task: tuple[str, Place] | None


def stops(count: int, rng: Generator, tasks: int) -> list[Stop]:
    """`count` points of routes of the calibration city, half in each action space; the first `tasks` with
    the task."""
    city = cities.city(cities.CALIBRATION_CITY)
    environments = [
        NavigationEnv(actions=actions, routes=[city.route(rng) for _ in range(count)]) for actions in TURNS
    ]
    drawn = []
    for i in range(count):
        environment = environments[i % 2]
        _, info = environment.reset(seed=i, options={"route": i})
        places, sentences = environment.places, environment.sentences
        at = int(rng.integers(len(places)))
        for place in places[: at if i < tasks else 0]:
            info = environment.step(navigation.answer(place, ""))[-1]
        points = [(navigation.observation(place), place.instruction, place.action) for place in places]
        task = (info["messages"][0]["content"], info["place"]) if i < tasks else None
        drawn.append(Stop(Walk(sentences, points), at, TURNS[environment.actions], task))
    return drawn


def shares(model, tokens, count: int, rng: Generator) -> dict[str, float]:
    """The measured share of each gate."""

    def say(dialogues: list[list[str]], sample: bool = False) -> list[str]:
        return numbers.complete(model, tokens, [chat(turns) for turns in dialogues], sample=sample)

    shares, (first, second) = {}, conventions.CALIBRATION
    pairs = [(str(rng.choice(first)), str(rng.choice(second))) for _ in range(count)]
    right = []
    for listed, words in enumerate(conventions.CALIBRATION):
        sentences = [f"{TURN[0]}{a}{TURN[1]}{b}{TURN[2]}" for a, b in pairs]
        answers = say([[act_prompt(sentence, f"{NOTHING}; ", words)] for sentence in sentences])
        right.append(np.array([a == act_answer(turn(pair[listed])) for a, pair in zip(answers, pairs)]))
    shares["reads an unseen list of actions"] = np.mean(right)
    shares["follows a swapped list"] = np.mean(right[0] & right[1])

    rows = [directions.turns(rng) for _ in range(count)]
    asked = [int(rng.integers(len(row.items))) for row in rows]
    texts = [
        f"{row.start}{row.text(i)}{row.joint if i else ''}{row.items[i][0]}{row.at}"
        for row, i in zip(rows, asked)
    ]
    answers = numbers.complete(model, tokens, texts, new_tokens=1)
    shares["turns a heading"] = np.mean([a == row.items[i][1] for a, row, i in zip(answers, rows, asked)])

    points = stops(count, rng, tasks=count)
    answers = say([[directions.find_prompt(stop.route, stop.at)] for stop in points])
    right = [answer == directions.find_answer(s.route, s.at) for answer, s in zip(answers, points)]
    shares["finds its place"] = np.mean(right)
    texts = []
    for (sentences, passed), at, words, _ in points:
        log = directions.log(passed[:at], passed[at][0])
        texts.append(f"{chat([directions.log_prompt(sentences, words)])}{log}A_{at + 1}: ")
    answers = numbers.complete(model, tokens, texts, new_tokens=6)
    actions = [stop.route.points[stop.at][2] for stop in points]
    shares["follows instructions"] = np.mean([a.partition("\n")[0] == b for a, b in zip(answers, actions)])

    dialogues = []
    for (sentences, passed), at, words, _ in points:
        seen, index, action = passed[at]
        wrong = str(rng.choice([a for a in (FORWARD, STOP, *map(turn, words)) if a != action]))
        verdict = prompts.feedback(directions.complaint(rng, wrong))
        dialogues.append([act_prompt(sentences[index], seen, words), act_answer(wrong), verdict])
    answers = say(dialogues, sample=True)
    shares["revises"] = np.mean([answer == act_answer(action) for answer, action in zip(answers, actions)])

    verifier, tasks = NavigationVerifier(), [stop.task for stop in points]
    replies = say([[text] for text, _ in tasks], sample=True)
    right = [verifier.judge(reply, place).correct for reply, (_, place) in zip(replies, tasks)]
    shares["cannot do the task yet"] = np.mean(right)
    return shares
