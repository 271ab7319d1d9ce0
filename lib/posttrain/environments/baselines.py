"""Navigation without learning: policies that a trained one must beat, and what they score.

What a success rate means is seen beside these: with two answers a point and the verifier's verdict in
between, a policy that never looks at where it is finishes every route, because at each point only two actions
are possible (the book's ledger, "what a success means").

    play(copy_the_word, NavigationEnv(actions="relative"), range(100))
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

import numpy as np
import pandas as pd

from posttrain.environments import cities, prompts
from posttrain.environments.navigation import (
    CROSSING,
    NOTHING,
    SPACES,
    TASK,
    TURN,
    WALK,
    NavigationEnv,
    answer,
    reply,
)
from posttrain.environments.prompts import Message
from posttrain.verifiers.navigation import ACTIONS, FORWARD, STOP, turn

Policy = Callable[[list[Message], dict], str]  # (the dialogue at a point, the environment's info) -> answer

_TURN = re.compile(re.escape(TURN[0]) + "(.+?)" + re.escape(TURN[1]) + "(.+?)" + re.escape(TURN[2]) + "\n")


def _read(messages: list[Message]) -> tuple[str, str, int, str, int]:
    """From the dialogue alone: the action that ends this leg, what is seen, turns so far, the last sentence,
    failed answers here."""
    task = prompts.text(messages[0])
    listed = task.removeprefix(TASK[0]).partition(TASK[1])[0]
    turns = _TURN.findall(listed + "\n")
    # Without the open A_n.
    past = task.partition(TASK[2])[2].partition(TASK[3])[0].strip("\n").split("\n")[:-1]
    done = sum(line.startswith("A_") and "turn_direction" in line for line in past)
    ends = turn(turns[done][SPACES["relative"] not in task]) if done < len(turns) else STOP
    return ends, past[-1].partition(": ")[2], done, listed.strip("\n").split("\n")[-1], len(messages) // 2


def _next(first: str, ends: str, failed: int) -> str:
    """The first guess, and after each failed answer the other of the two that are possible: walk on, or end
    the leg."""
    return first if failed % 2 == 0 else ends if first == FORWARD else FORWARD


def oracle(messages: list[Message], info: dict) -> str:
    """Knows the truth."""
    return answer(info["place"], info["sentence"])


def copy_the_word(messages: list[Message], info: dict) -> str:
    """Reads the prompt: turns at intersections by copying the word from the instruction, stops beside the
    destination's landmark."""
    ends, seen, done, last, failed = _read(messages)
    landmark = seen.partition(";")[0]
    arrived = ends == STOP and landmark != NOTHING and landmark in last and WALK[1] in last
    here = ends if not done or CROSSING in seen or arrived else FORWARD
    return reply(seen, "", _next(here, ends, failed))


def blind(messages: list[Message], info: dict) -> str:
    """Reads the prompt and never what is observed now: walks on, and if that was wrong ends the leg."""
    ends, _, done, _, failed = _read(messages)
    first = FORWARD if done else ends
    return reply("", "", _next(first, ends, failed))


def uniform(seed: int = 0) -> Policy:
    """A random action of the action space."""
    rng = np.random.default_rng(seed)

    def policy(messages: list[Message], info: dict) -> str:
        actions = ACTIONS[info["place"].actions]
        return reply("", "", actions[int(rng.integers(len(actions)))])

    return policy


def play(policy: Policy, environment: NavigationEnv, routes: Iterable[int], seed: int = 0) -> pd.DataFrame:
    """One row a route: success (right at every point), points (reached), first (right first answers), right,
    answers.

    The paper's per-step accuracy is right.sum() / answers.sum(), where an answer repeated after a failure
    counts as one more. first.sum() / points.sum() is the share of the points reached that were right at once;
    of all points if the environment skips failed ones.
    """
    rows = []
    for index in routes:
        _, info = environment.reset(seed=seed + index, options={"route": index})
        row, over = {"route": index, "points": 0, "first": 0, "right": 0, "answers": 0}, False
        while not over:
            attempt = info["attempt"] if not info.get("moved") else 0
            _, _, terminated, truncated, info = environment.step(policy(info["messages"], info))
            over, correct = terminated or truncated, info["verdict"].correct
            row["points"] += attempt == 0
            row["first"] += attempt == 0 and correct
            row["right"] += correct
            row["answers"] += 1
        rows.append({**row, "success": terminated and info["success"]})
    return pd.DataFrame(rows)


def scores(labels: Iterable[str], actions: str, policies: dict[str, Policy]) -> dict[str, dict[str, float]]:
    """What policies score on routes that a study played, in its measures; `labels`: "city, split, index", as
    in its tables."""
    cases = [label.rsplit(", ", 2) for label in labels]
    routes = [cities.routes(city, split)[int(index)] for city, split, index in cases]

    def walked(policy: Policy, skip: bool) -> pd.DataFrame:
        environment = NavigationEnv(actions, routes=routes, skip_failed=skip)
        return play(policy, environment, range(len(routes)))

    measures = {}
    for name, policy in policies.items():
        every_point, ending = walked(policy, True), walked(policy, False)
        measures[name] = {
            "first try": (every_point["first"] / every_point["points"]).mean(),
            "per step": ending["right"].sum() / ending["answers"].sum(),
            "route": ending["success"].mean(),
        }
    return measures
