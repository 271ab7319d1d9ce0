"""Tasks: what a set holds and what an outcome counts; navigation through the census, told by scripted
players."""

import json

import numpy as np
import pytest
import torch
from posttrain import config, rollouts, tasks
from posttrain.environments import baselines, cities
from posttrain.environments.general_points import hands
from posttrain.environments.navigation import NavigationEnv
from posttrain.evaluation import CensusConfig, census
from posttrain.rollouts import Dialogue, Sampling, play
from posttrain.verifiers.navigation import FORWARD, STOP


class Scripted:
    """Stands in for a policy and for `roll`: answers by one of the baselines, which see the dialogue and the
    environment's info."""

    device, has_start = torch.device("cpu"), False

    def __init__(self, policy):
        self.policy, self.rounds = policy, []

    def merged(self):
        return torch.no_grad()

    def play(self, policy, environments, infos, sampling):
        games = []
        for environment, info in zip(environments, infos):
            game, over = [], False
            while not over:
                dialogue, moved = Dialogue(ids=[0] * 7, task=info["place"]), False
                while not (over or moved):
                    dialogue.texts.append(self.policy(info["messages"], info))
                    _, reward, terminated, truncated, info = environment.step(dialogue.texts[-1])
                    over, moved = terminated or truncated, info["moved"]
                    dialogue.rewards.append(reward)
                    dialogue.verdicts.append(info["verdict"])
                    dialogue.correct = info["verdict"].correct
                game.append(dialogue)
            games.append(game)
        return games


def judged(monkeypatch, policy, **settings):
    player = Scripted(policy)
    monkeypatch.setattr("posttrain.evaluation.play", player.play)
    summary, hands = census(
        player, CensusConfig(task="navigation", **{"limit": 12, "decodings": ("greedy",), **settings})
    )
    return summary.set_index("set"), hands


def test_an_oracle_arrives_on_every_route_of_every_set(monkeypatch):
    sets = tuple(tasks.TASKS["navigation"].sets)
    summary, hands = judged(monkeypatch, baselines.oracle, sets=sets)
    assert set(summary.index) == set(sets)
    for measure in (
        "first_try",
        "within",
        "first_route",
        "first_turns",
        "rule_following",
        "valid",
        "strict",
        "per_step",
    ):
        assert (summary[measure] == 1).all(), measure
    assert (summary.fake == 0).all() and (summary.n == 12).all() and (hands.points == hands.right).all()


def test_the_blind_baseline_is_told_apart_from_one_that_sees(monkeypatch):
    """It always arrives, within two answers; at once it is right where one walks on, and at the first turn of
    each route."""
    summary, hands = judged(monkeypatch, baselines.blind, sets=("id", "ood"))
    assert (summary.within == 1).all() and (summary.first_route == 0).all()
    forward = 1 - (hands.turns + 1) / hands.points  # all but the turns and the stop
    assert hands.first_try.to_numpy() == pytest.approx((forward + 1 / hands.points).to_numpy())
    assert (
        hands.answers.tolist() == (2 * hands.points - hands["first"]).tolist()
        and (summary.per_step < 1).all()
    )


def test_a_player_of_the_old_actions_is_fake_and_its_paper_score_ends_at_the_first_turn(monkeypatch):
    """The paper's SFT: right in the action space of the training, whatever the prompt says."""

    def old(messages, info):
        place = info["place"]
        return baselines.reply("", "", place.action if place.actions == "absolute" else place.other)

    summary, hands = judged(monkeypatch, old, sets=("id", "ood"))
    assert summary.loc["id", "first_try"] == 1 and summary.loc["id", "fake"] == 0
    ood, routes = summary.loc["ood"], hands[hands.set == "ood"]
    assert (
        ood.fake == ood.valid == 1
        and ood.rule_following == ood.first_turns == ood.per_step == ood.within == 0
    )
    assert (routes.answers == 2).all() and (routes.right == 0).all()
    assert ood.first_try == pytest.approx(
        (1 - routes.turns / routes.points).mean()
    )  # later points are measured all the same


def test_sets_are_fixed_and_their_parts_have_nothing_in_common():
    sets = tasks.TASKS["navigation"].sets
    cases = {name: where.cases(np.random.default_rng(3), None) for name, where in sets.items()}
    assert cases["id"] == sets["ood"].cases(np.random.default_rng(3), None) and not set(cases["id"]) & set(
        cases["id_seen"]
    )
    assert cases["cities"][:5] == sets["cities"].cases(np.random.default_rng(3), 5)
    assert len(cases["id"]) == 250 and len(cases["benchmark"]) == 18 and len(cases["cities"]) == 9 * 50
    assert all(city != cities.TRAINING_CITY for city, _, _ in cases["cities"])
    environment, info = sets["ood"].pose(cases["ood"][0], verify_steps=2)
    again = sets["ood"].pose(cases["ood"][0], verify_steps=2)[1]
    assert (
        info["messages"] == again["messages"]
        and environment.actions == "relative"
        and environment.skip_failed
    )


def test_a_game_goes_on_with_a_new_dialogue_where_the_environment_moves(policy, monkeypatch):
    routes = NavigationEnv(split="held_out").routes[:2]
    environments = [
        NavigationEnv(routes=routes, skip_failed=True, actions=actions)
        for actions in ("absolute", "relative")
    ]
    infos = [environment.reset(seed=i, options={"route": i})[1] for i, environment in enumerate(environments)]
    seen, roll = [], rollouts.roll
    monkeypatch.setattr(
        rollouts,
        "roll",
        lambda policy, openings, *rest: seen.append(openings) or roll(policy, openings, *rest),
    )
    games = play(policy(brief=True), environments, infos, Sampling(4, 0.0))
    points = [len(environment.places) for environment in environments]
    assert [len(game) for game in games] == points and [len(openings) for openings in seen] == [2] * min(
        points
    ) + [1] * (max(points) - min(points))
    for environment, game in zip(environments, games):
        assert [d.task for d in game] == environment.places and all(len(d.texts) == 2 for d in game)
    assert all(
        opening.messages[0]["content"].count("O_") == i + 1
        for i, openings in enumerate(seen)
        for opening in openings
    )
    assert games[0][0].task.action not in (FORWARD, STOP)


def test_an_unknown_task_says_which_there_are():
    with pytest.raises(ValueError, match="general-points, general-points-vision, navigation"):
        CensusConfig(task="chess")
    with pytest.raises(ValueError, match="choose one of id, ood, id_seen, ood_seen, cities"):
        CensusConfig(task="navigation", sets=("in_range_a",))


def test_the_chapter_counts_the_sets_of_the_study():
    written = json.loads((config.ROOT / "figures" / "values" / "general-points.json").read_text())
    sets = tasks.TASKS["general-points"].sets
    assert {name.removeprefix("hands_"): n for name, n in written.items() if name.startswith("hands_")} == {
        name: len(hands(s.rule, split=s.split, faces=s.faces))
        for name, s in sets.items()
        if name in config.TASKS["general-points"].sets
    }
