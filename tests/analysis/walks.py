"""Walks whose outcomes are known: policies that are no models, on two routes, as a census keeps them."""

import pandas as pd
from posttrain.environments.navigation import answer
from posttrain.tasks import TASKS

SETS = {"id": "absolute, as in training", "ood": "relative, <never> trained"}
ROUTES = (141, 7)


def expert(env):
    return answer(env.places[env._at], env.sentences[env.places[env._at].instruction])


def trained_words(env):
    place = env.places[env._at]
    return answer(place._replace(action=place.action if place.actions == "absolute" else place.other), "x")


def walks_on(env):
    return answer(env.places[env._at]._replace(action="forward()"), "y") if env._at else "nothing </script>"


def second_try(env):
    return expert(env) if env._attempts else "no answer"


def walk(set_, arm, policy, seed=0, decoding="greedy", steps=2):
    """Rows of a table of kept dialogues, as a census keeps them: a failed point is skipped."""
    rows = []
    for index in ROUTES:
        case = ("Alderby", "held_out", index)
        env, _ = TASKS["navigation"].sets[set_].pose(case, verify_steps=steps)
        point, number, over = 1, 1, False
        while not over:
            text = policy(env)
            _, _, arrived, used_up, info = env.step(text)
            verdict, over = info["verdict"], arrived or used_up
            row = {"set": set_, "decoding": decoding, "hand": TASKS["navigation"].sets[set_].label(case)}
            row |= {"dialogue": point, "answer": number, "text": text, "message": verdict.message}
            row |= {"correct": verdict.correct, "outcome": verdict.outcome, "arm": arm, "seed": seed}
            rows.append(row)
            moved = info["moved"] or over
            point, number = (point + 1, 1) if moved else (point, number + 1)
    return rows


def table():
    """Two seeds, as a table of dialogues: Init needs two answers a point, RL one; the first seed's SFT
    answers in the trained words, the second one's walks on."""
    rows = []
    for seed, sft in ((3, trained_words), (4, walks_on)):
        for set_ in SETS:
            for arm, policy in (("Init", second_try), ("SFT", sft), ("RL", expert)):
                rows += walk(set_, arm, policy, seed)
    return pd.DataFrame(rows)
