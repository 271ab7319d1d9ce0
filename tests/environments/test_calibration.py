"""Hands held out for their faces, and what settings are judged by: a rule, a list of actions and a city of no
experiment; questions that are asked once."""

import numpy as np
import pytest
from posttrain import tasks
from posttrain.environments import GeneralPointsEnv, NavigationEnv, cities, navigation
from posttrain.environments.general_points import IN_RANGE_RULES, hands
from posttrain.foundation import conventions, corpus
from posttrain.verifiers.general_points import Rule
from posttrain.verifiers.navigation import CALIBRATION, COMPASS, FORWARD, STOP, TURNS

TEN = Rule.parse("10")


def numbers(hand):
    return tuple(sorted(TEN.numbers(hand)))


def test_hands_held_out_for_their_faces_have_the_numbers_of_others():
    train, shown, faces = (hands("10", split=split) for split in ("train", "shown", "faces"))
    assert set(shown) | set(faces) == set(train) and not set(shown) & set(faces)
    assert (len(shown), len(faces)) == (810, 145)
    assert {numbers(hand) for hand in faces} <= {numbers(hand) for hand in shown}
    assert all(10 in numbers(hand) for hand in faces)
    assert not set(faces) & set(hands("10", split="test"))


def test_they_are_never_dealt_where_they_are_held_out():
    environment = GeneralPointsEnv(split="shown")
    environment.reset(seed=0)
    dealt = {tuple(sorted(environment.reset()[1]["deal"].ranks)) for _ in range(3000)}
    held_out = {tuple(sorted(hand)) for hand in hands("10", split="faces")}
    assert not dealt & held_out and len(dealt) > 500


def test_the_calibration_rule_is_of_no_experiment_and_no_corpus():
    for task in ("general-points", "general-points-vision"):
        rule = tasks.TASKS[task].sets["calibration"].rule
        assert rule in corpus.CALIBRATION_RULES
        assert rule not in {s.rule for name, s in tasks.TASKS[task].sets.items() if name != "calibration"}
        assert rule not in IN_RANGE_RULES


@pytest.mark.parametrize("actions, place", [("first", 0), ("second", 1)])
def test_the_calibration_list_stands_where_the_studys_words_stand(actions, place):
    words = tuple(CALIBRATION.values())
    environment = NavigationEnv(actions, cities.CALIBRATION_CITY)
    for seed in range(20):
        _, info = environment.reset(seed=seed)
        text = info["messages"][0]["content"]
        assert f"where x is one of {', '.join(words[place])}" in text
        assert not any(f" {word} to face" in text for word in TURNS["relative"])
        over = False
        while not over:
            at = info["place"]
            if at.action not in (FORWARD, STOP):
                sentence = environment.sentences[at.instruction]
                pair = sentence.removeprefix("Turn ").removesuffix(".").split(" to face ")
                assert pair[0] in words[0] and pair[1] in words[1]
                assert at.action == f"turn_direction({pair[place]})"
                assert at.other == f"turn_direction({pair[1 - place]})"
                fake = environment.verifier.judge(navigation.reply("", sentence, at.other), at)
                assert fake.fake and fake.valid and not fake.follows_rule and not fake.correct
                stray = environment.verifier.judge(
                    navigation.reply("", sentence, "turn_direction(north)"), at
                )
                assert not stray.valid
            _, reward, arrived, used_up, info = environment.step(environment.expert())
            assert reward == 1
            over = arrived or used_up
        assert arrived


def test_words_of_the_study_keep_apart_in_the_calibration():
    stand_ins = navigation.STAND_INS
    assert len({stand_ins[word] for word in TURNS["relative"]}) == 4
    assert len({stand_ins[word] for word in COMPASS}) == 6
    assert set(conventions.CALIBRATION[0]).isdisjoint(conventions.CALIBRATION[1])


def test_the_calibration_city_is_of_no_experiment():
    for task in ("navigation", "navigation-vision"):
        for name, set_ in tasks.TASKS[task].sets.items():
            where = {city for city, _ in set_.where}
            assert (where == {cities.CALIBRATION_CITY}) == (name == "calibration")


def test_a_question_is_asked_at_every_turning_point():
    set_ = tasks.TASKS["navigation"].sets["ood"]
    (case,) = set_.cases(np.random.default_rng(0), 1)
    environment, _ = set_.pose(case)
    turning = [place for place in environment.places if place.action not in (FORWARD, STOP)]
    questions = set_.questions(case)
    assert [info["place"] for _, info in questions] == turning
    for (question, info), place in zip(questions, turning):
        sentence = environment.sentences[place.instruction]
        assert f"{place.landmark}; " in info["messages"][0]["content"]
        for _ in range(2):  # as often as one likes
            _, reward, right, wrong, told = question.step(navigation.answer(place, sentence))
            assert (reward, right, wrong) == (1.0, True, False) and not told.get("moved")
        _, reward, right, wrong, told = question.step(navigation.reply("", sentence, place.other))
        assert reward < 0 and wrong and not right and told["verdict"].fake
        assert question.guess() == navigation.answer(place, sentence)
