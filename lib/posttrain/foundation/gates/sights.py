"""Gates of the towers: recognizing hands and landmarks, and doing with a picture what the text foundation
does."""

from __future__ import annotations

import numpy as np
import torch
from numpy.random import Generator

from posttrain.environments import cities, prompts
from posttrain.environments.navigation import NOTHING
from posttrain.foundation import directions, sights
from posttrain.foundation.corpus import read_answer, read_prompt
from posttrain.foundation.gates.directions import stops
from posttrain.foundation.gates.numbers import RULES, hands
from posttrain.policy import Policy
from posttrain.rendering import Picture
from posttrain.rendering.cards import BLACK, POCKET, RED, STYLES, Style, draw
from posttrain.rollouts import Opening, Sampling, roll
from posttrain.verifiers.answers import Verdict, read_json
from posttrain.verifiers.general_points import Deal, GeneralPointsVerifier
from posttrain.verifiers.navigation import FIELDS, NavigationVerifier


def answers(policy: Policy, contents: list, pictures: list[Picture], temperature: float = 0.0) -> list[str]:
    """One answer to each user message with its picture."""

    def over(row: int, text: str) -> tuple[float, str, bool, Verdict]:
        return 0.0, "", True, Verdict(0.0, "", False)

    openings = [Opening([{"role": "user", "content": c}], picture) for c, picture in zip(contents, pictures)]
    dialogues = roll(policy, openings, over, Sampling(48, temperature, torch.Generator().manual_seed(0)))
    return [dialogue.texts[0] for dialogue in dialogues]


def _named(text: str) -> list[str]:
    """The cards that a reply names, sorted; empty where it is no answer."""
    data, _ = read_json(text, ["cards"])
    named = (data or {}).get("cards")
    return sorted(map(str, named)) if isinstance(named, list) else []


def cards(policy: Policy, count: int, rng: Generator) -> dict[str, float]:
    """The measured share of each gate of the cards."""
    asked = [(RULES[i % len(RULES)], hands(rng, 1)[0]) for i in range(count)]

    def picture(hand: tuple[str, ...], suits: tuple[str, str]) -> Picture:
        drawn = tuple(suits[i] for i in rng.integers(0, 2, 4))
        return Picture(draw, (hand, drawn, POCKET, Style.of(int(rng.integers(STYLES)))))

    def show(texts: list[str], suits: tuple[str, str], temperature: float = 0.0) -> list[str]:
        contents = [prompts.with_picture(text, prompts.CARDS[0]) for text in texts]
        return answers(policy, contents, [picture(hand, suits) for _, hand in asked], temperature)

    shares, right = {}, []
    for name, suits in (("black", BLACK), ("red", RED)):
        texts = show([read_prompt(rule, ()) for rule, _ in asked], suits)
        named = [_named(text) == sorted(hand) for text, (_, hand) in zip(texts, asked)]
        shares[f"recognizes {name} hands"] = np.mean(named)
        right += [text == read_answer(hand, rule.numbers(hand)) for text, (rule, hand) in zip(texts, asked)]
    shares["is not perfect yet"] = (shares["recognizes black hands"] + shares["recognizes red hands"]) / 2
    shares["reads an unseen rule"] = np.mean(right)
    verifier, deals = (
        GeneralPointsVerifier(vision=True),
        [Deal(hand, rule.numbers(hand)) for rule, hand in asked],
    )
    replies = show([prompts.task_for(24, rule) for rule, _ in asked], BLACK, 1.0)
    right = [verifier.judge(reply, deal).correct for reply, deal in zip(replies, deals)]
    shares["cannot do the task yet"] = np.mean(right)
    return shares


def _content(text: str, told: str) -> list[dict[str, str]]:
    """`text` with a picture in the place of its last observation, which `told` tells."""
    before, _, behind = text.rpartition(f": {told}\n")
    return prompts.with_picture(f"{before}: ; \n{behind}", f"{before}: ")


def streets(policy: Policy, count: int, rng: Generator) -> dict[str, float]:
    """The measured share of each gate of the streets."""
    drawn = stops(5 * count, rng, tasks=count)  # one point in four or five has a landmark
    points = [stop.route.points[stop.at] for stop in drawn]
    named = [i for i, (told, _, _) in enumerate(points) if not told.startswith(NOTHING)][:count]
    pictures = [
        sights.seen(rng, told, stop.at == 0, cities.CALIBRATION_CITY)
        for (told, _, _), stop in zip(points, drawn)
    ]
    chosen = sorted({*range(count), *named})
    asked = [_content(directions.find_prompt(drawn[i].route, drawn[i].at), points[i][0]) for i in chosen]
    texts = answers(policy, asked, [pictures[i] for i in chosen])
    replies = {i: read_json(text, FIELDS[:1])[0] or {} for i, text in zip(chosen, texts)}
    # An answer without "; " sees nothing.
    seen = {i: str(reply.get(FIELDS[0])).partition("; ") for i, reply in replies.items()}
    truth = [told.partition("; ") for told, _, _ in points]
    sentences = [stop.route.sentences[index] for stop, (_, index, _) in zip(drawn, points)]
    shares = {
        "recognizes landmarks": np.mean([seen[i][0] == truth[i][0] for i in named]),
        "sees intersections": np.mean([seen[i][1:] == truth[i][1:] for i in range(count)]),
        "finds its place": np.mean([replies[i].get(FIELDS[1]) == sentences[i] for i in range(count)]),
    }
    shares["is not perfect yet"] = shares["recognizes landmarks"]
    verifier, tasks = NavigationVerifier(), [stop.task for stop in drawn[:count]]
    asked = [_content(text, told) for (text, _), (told, _, _) in zip(tasks, points)]
    texts = answers(policy, asked, pictures[:count], 1.0)
    right = [verifier.judge(text, place).correct for text, (_, place) in zip(texts, tasks)]
    shares["cannot do the task yet"] = np.mean(right)
    return shares
