"""Policies without learning score what the task's structure says."""

import pytest
from posttrain.environments import baselines
from posttrain.environments.navigation import NavigationEnv


@pytest.fixture(scope="module")
def scores():
    def score(policy, actions="absolute", verify_steps=2, protocol="clean", skip_failed=False):
        table = baselines.play(
            policy,
            NavigationEnv(
                actions=actions,
                verify_steps=verify_steps,
                protocol=protocol,
                split="held_out",
                skip_failed=skip_failed,
            ),
            range(40),
        )
        return (
            table.success.mean(),
            table.right.sum() / table.answers.sum(),
            table["first"].sum() / table.points.sum(),
        )

    return score


@pytest.mark.parametrize("actions", ["absolute", "relative"])
def test_who_reads_the_prompt_is_always_right(scores, actions):
    assert scores(baselines.oracle, actions, 1) == (1, 1, 1)
    assert scores(baselines.copy_the_word, actions, 1) == (1, 1, 1)


def test_first_answers_do_not_depend_on_the_number_of_answers_if_failed_points_are_skipped(scores):
    assert scores(baselines.blind, verify_steps=1, skip_failed=True)[2] == pytest.approx(
        scores(baselines.blind, verify_steps=2, skip_failed=True)[2]
    )


@pytest.mark.parametrize("actions", ["absolute", "relative"])
def test_who_never_looks_finishes_every_route_with_two_answers_and_none_with_one(scores, actions):
    success, per_step, first = scores(baselines.blind, actions)
    assert success == 1 and 0.5 < first < per_step < 1
    assert scores(baselines.blind, actions, 1)[0] == 0


def test_chance(scores):
    for actions, share in (("absolute", 1 / 10), ("relative", 1 / 6)):
        success, _, first = scores(baselines.uniform(), actions, skip_failed=True)
        assert success == 0 and first == pytest.approx(share, abs=0.06)


def test_per_step_accuracy_counts_repeated_answers():
    class Stubborn:
        def __call__(self, messages, info):
            return baselines.oracle(messages, info) if len(messages) > 1 else "no"

    table = baselines.play(Stubborn(), NavigationEnv(split="held_out"), [0, 1])
    assert (
        (table.right == table.points).all()
        and (table.answers == 2 * table.points).all()
        and (table["first"] == 0).all()
        and table.success.all()
    )


def test_with_pictures_a_policy_that_reads_alone_finishes_and_errs_at_first():
    for protocol, flag in (("clean", False), ("as_released", True)):
        ending = baselines.play(baselines.blind, NavigationEnv(vision=True, protocol=protocol), range(10))
        assert ending["success"].all()
        told = baselines.play(
            baselines.copy_the_word,
            NavigationEnv(vision=True, protocol=protocol, skip_failed=True),
            range(10),
        )
        hidden = baselines.play(
            baselines.copy_the_word, NavigationEnv(protocol=protocol, skip_failed=True), range(10)
        )
        assert told["first"].sum() < told["points"].sum() and hidden["first"].sum() > told["first"].sum()
        if flag:  # the text gives the turns away
            assert (
                told["first"].sum()
                > baselines.play(
                    baselines.copy_the_word, NavigationEnv(vision=True, skip_failed=True), range(10)
                )["first"].sum()
            )


def test_scores_on_a_studys_routes_are_those_of_playing_them():
    labels = ["Alderby, held_out, 7", "Juniper Bay, benchmark, 1", "Calvero, wide, 0"]
    found = baselines.scores(labels, "relative", {"oracle": baselines.oracle, "blind": baselines.blind})
    assert found["oracle"] == {"first try": 1, "per step": 1, "route": 1}
    assert found["blind"]["route"] == 1 and found["blind"]["first try"] < found["blind"]["per step"] < 1
    with pytest.raises(ValueError, match="unknown city"):
        baselines.scores(["Nowhere, wide, 0"], "relative", {})
