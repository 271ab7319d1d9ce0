"""The GeneralPoints environment: which hands it deals, how episodes run and end, what it refuses."""

import random
import warnings
from collections import Counter
from itertools import combinations, combinations_with_replacement, product

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from posttrain import formulas
from posttrain.environments import GeneralPointsEnv, hands, prompts
from posttrain.environments.general_points import split_of
from posttrain.environments.revision import SOLVED, STOPPED
from posttrain.verifiers.general_points import FACES, RANKS, Rule

RULES = ("10", "11/12/13")


def right(deal) -> str:
    return prompts.answer(
        deal.ranks, deal.numbers, formulas.solve(list(deal.numbers), deal.target)[0], deal.target
    )


def wrong(deal) -> str:
    return prompts.answer(deal.ranks, deal.numbers, "1", deal.target)


def deals(env: GeneralPointsEnv, count: int, seed: int | None = None) -> list:
    return [env.reset(seed=seed if i == 0 else None)[1]["deal"] for i in range(count)]


# --- which hands there are ----------------------------------------------------------------------------------


def test_counts_of_hands():
    assert len(list(combinations_with_replacement(RANKS, 4))) == 1820
    assert sum(not set(FACES).isdisjoint(hand) for hand in combinations_with_replacement(RANKS, 4)) == 1105
    assert len(hands("11/12/13")) == 1362
    ten, eleven = (set(hands(rule, faces=True)) for rule in RULES)
    assert (len(ten), len(eleven), len(ten & eleven)) == (670, 796, 529)


def test_the_split_is_a_fixed_fifth_of_the_number_multisets():
    multisets = {
        split: {tuple(sorted(Rule.parse("10").numbers(hand))) for hand in hands("10", split=split)}
        for split in ("train", "test", "all")
    }
    assert {split: len(found) for split, found in multisets.items()} == {
        "train": 453,
        "test": 113,
        "all": 566,
    }
    assert not multisets["train"] & multisets["test"]
    assert {split: len(hands("10", split=split)) for split in ("train", "test", "all")} == {
        "train": 955,
        "test": 281,
        "all": 1236,
    }
    first = [(1, 1, 1, 8), (1, 1, 2, 9), (1, 1, 3, 6), (1, 1, 3, 7), (1, 1, 4, 8)]
    assert sorted(multisets["test"])[:5] == first, "another split makes results incomparable"


@pytest.mark.parametrize("rule", [*RULES, "5/7/9", "10/11/9"])
@pytest.mark.parametrize("target", [24, 36])
def test_hands_are_solvable_sorted_and_split_by_numbers(rule, target):
    parse = Rule.parse(rule)
    train, test = (hands(rule, target, split) for split in ("train", "test"))
    assert sorted(train + test) == sorted(hands(rule, target)) and not set(train) & set(test)
    for hand in train + test:
        assert list(hand) == sorted(hand, key=RANKS.index) and formulas.solve(
            list(parse.numbers(hand)), target
        )
        assert (hand in train) is (
            max(parse.numbers(hand)) <= 10 and split_of(parse.numbers(hand), target) == "train"
        )
    assert set(hands(rule, target, faces=True)) == {hand for hand in train + test if set(hand) & set(FACES)}


def test_rules_agree_on_the_split_of_equal_numbers():
    ten = {tuple(sorted(Rule.parse("10").numbers(hand))) for hand in hands("10", split="train")}
    assert all(
        tuple(sorted(Rule.parse("5/7/9").numbers(hand))) in ten for hand in hands("5/7/9", split="train")
    )


# --- dealing ------------------------------------------------------------------------------------------------


def _frequencies(env: GeneralPointsEnv, expected: Counter, count: int = 20_000) -> float:
    """Chi-squared of dealt hands against `expected` weights, per degree of freedom: near 1 if they agree."""
    seen = Counter(tuple(sorted(deal.ranks, key=RANKS.index)) for deal in deals(env, count, seed=5))
    assert set(seen) <= set(expected)
    scale = count / sum(expected.values())
    return sum((seen[hand] - weight * scale) ** 2 / (weight * scale) for hand, weight in expected.items()) / (
        len(expected) - 1
    )


def _sorted(ranks) -> tuple:
    return tuple(sorted(ranks, key=RANKS.index))


@pytest.mark.parametrize(
    ("settings", "draws"),
    [
        ({"split": "all"}, product(RANKS, repeat=4)),
        ({"split": "test", "rule": "11/12/13", "faces": True}, product(RANKS, repeat=4)),
        (
            {"split": "all", "rule": "11/12/13", "faces": True, "protocol": "as_released"},
            product(RANKS, RANKS, RANKS, FACES),
        ),
    ],
    ids=["uniform", "uniform with a face", "as released"],
)
def test_hands_come_up_as_if_redrawn_until_solvable(settings, draws):
    env = GeneralPointsEnv(**settings)
    expected = Counter(hand for hand in map(_sorted, draws) if hand in set(env.hands))
    assert set(expected) == set(env.hands)
    assert 0.8 < _frequencies(env, expected) < 1.2


def test_without_replacement_is_a_deck_of_52():
    env = GeneralPointsEnv(deck="without_replacement", split="all")
    drawn = Counter(combinations(sorted(RANKS * 4, key=RANKS.index), 4))  # all 270,725 hands
    assert 0.8 < _frequencies(env, Counter({hand: drawn[hand] for hand in env.hands})) < 1.2
    assert all(len(set(zip(deal.ranks, deal.suits))) == 4 for deal in deals(env, 2000))
    with_replacement = GeneralPointsEnv(split="all")
    assert any(len(set(zip(deal.ranks, deal.suits))) < 4 for deal in deals(with_replacement, 2000, seed=1))


def test_every_order_and_suit_is_dealt():
    env = GeneralPointsEnv(hands=[["2", "3", "4", "5"], ["5", "4", "3", "2"]])
    assert env.hands == (("2", "3", "4", "5"),), "a hand given twice is dealt no more often"
    dealt = deals(env, 3000, seed=0)
    orders, suits = Counter(deal.ranks for deal in dealt), Counter(deal.suits for deal in dealt)
    assert len(orders) == 24 and min(orders.values()) > 80 and len(suits) == 256


@pytest.mark.parametrize("split", ["train", "test"])
def test_deals_keep_to_split_and_faces(split):
    for deal in deals(GeneralPointsEnv(split=split, faces=True), 300, seed=3):
        assert split_of(deal.numbers) == split and set(deal.ranks) & set(FACES)
        assert deal.numbers == Rule(10, 10, 10).numbers(deal.ranks) and deal.target == 24


def test_a_seed_decides_the_deals_whatever_the_global_generators_do():
    first = deals(GeneralPointsEnv(), 50, seed=7)
    random.seed(0), np.random.seed(0)
    second = GeneralPointsEnv()
    before = random.getstate(), np.random.get_state()[1].tolist()
    assert deals(second, 50, seed=7) == first
    assert before == (random.getstate(), np.random.get_state()[1].tolist()), "the global generators were used"
    assert deals(GeneralPointsEnv(), 50, seed=8) != first


def test_children_of_a_seed_sequence_deal_differently():
    seeds = [int(child.generate_state(1)[0]) for child in np.random.SeedSequence(7).spawn(20)]
    assert len({tuple(deals(GeneralPointsEnv(), 3, seed=seed)) for seed in seeds}) == 20


def test_a_given_hand_is_dealt_in_its_order():
    env = GeneralPointsEnv(rule="11/12/13")
    task, info = env.reset(options={"ranks": ["K", "3", "A", "8"]})
    assert (
        info["deal"].ranks == ("K", "3", "A", "8")
        and info["deal"].numbers == (13, 3, 1, 8)
        and "[K, 3, A, 8]" in task
    )
    assert env.step(right(info["deal"]))[1:4] == (5.0, True, False)


# --- episodes -----------------------------------------------------------------------------------------------


def test_a_correct_answer_ends_the_episode():
    env = GeneralPointsEnv()
    _, info = env.reset(seed=1)
    assert info["attempt"] == 0 and "verdict" not in info
    env.step(wrong(info["deal"]))
    observation, reward, terminated, truncated, info = env.step(right(info["deal"]))
    assert (observation, reward, terminated, truncated) == (SOLVED, 5.0, True, False)
    assert info["attempt"] == 2 and info["verdict"].correct
    with pytest.raises(gymnasium.error.ResetNeeded, match="reset"):
        env.step("again")


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_clean_episodes_have_exactly_so_many_answers(steps):
    env = GeneralPointsEnv(verify_steps=steps)
    _, info = env.reset(seed=1)
    for attempt in range(1, steps + 1):
        observation, reward, terminated, truncated, info = env.step(wrong(info["deal"]))
        assert (reward, terminated, truncated, info["attempt"]) == (-2.0, False, attempt == steps, attempt)
        assert observation == prompts.feedback(info["verdict"].message)
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(right(info["deal"]))
    _, info = env.reset()
    *_, terminated, truncated, info = env.step(right(info["deal"]))
    assert terminated and not truncated and info["attempt"] == 1


def test_a_correct_last_answer_is_terminal_and_not_cut_off():
    env = GeneralPointsEnv(verify_steps=1)
    _, info = env.reset(seed=1)
    assert env.step(right(info["deal"]))[2:4] == (True, False)


def test_as_released_asks_once_more_and_does_not_read():
    env = GeneralPointsEnv(verify_steps=2, protocol="as_released")
    _, info = env.reset(seed=1)
    for _ in range(2):
        assert env.step(wrong(info["deal"]))[2:4] == (False, False)
    observation, reward, terminated, truncated, info = env.step(right(info["deal"]))
    assert (observation, reward, terminated, truncated) == (STOPPED, -1.0, False, True)
    assert info["attempt"] == 3 and info["verdict"].outcome == "step limit" and not info["verdict"].correct
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step("again")


@pytest.mark.parametrize("feedback", ["informative", "verdict", "none"])
def test_messages_are_the_whole_dialogue(feedback):
    env = GeneralPointsEnv(feedback=feedback)
    task, info = env.reset(options={"ranks": ["10", "7", "4", "5"]})
    assert info["messages"] == [{"role": "user", "content": task}]
    first, *_, after_first = env.step("first")
    after_first["messages"].clear()  # a caller may do what it likes with it
    observation, *_, info = env.step(prompts.answer(["10"], [10], "7*7*7*7"))
    assert [message["role"] for message in info["messages"]] == [
        "user",
        "assistant",
        "user",
        "assistant",
        "user",
    ]
    assert [message["content"] for message in info["messages"]][:3] == [task, "first", first]
    assert (
        info["messages"][-1]["content"]
        == observation
        == prompts.feedback(
            {
                "informative": "it must not use 7, 7, 7 and it leaves out 4, 5, 10",
                "verdict": "the answer is wrong",
                "none": "",
            }[feedback]
        )
    )


@pytest.mark.parametrize("protocol", ["clean", "as_released"])
def test_any_text_is_a_legal_action(protocol):
    env = GeneralPointsEnv(protocol=protocol, verify_steps=10)
    env.reset(seed=0)
    for text in [
        "",
        "\x00",
        "\ud800",
        "9" * 100_000,
        '{"formula": "' + "9" * 1900 + '"}',
        "[" * 1900,
        '"formula": "' + "1+" * 950 + '1"',
        "24",
    ]:
        observation, reward, *_ = env.step(text)
        assert observation in env.observation_space and reward < 0
    for other in (None, 3, b"24", ["24"]):
        with pytest.raises(TypeError, match="text"):
            env.step(other)


def test_no_step_before_a_reset():
    with pytest.raises(gymnasium.error.ResetNeeded):
        GeneralPointsEnv().step("24")


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {
            "rule": "11/12/13",
            "split": "all",
            "protocol": "as_released",
            "faces": True,
            "deck": "without_replacement",
        },
    ],
)
def test_gymnasium_accepts_the_environment(settings):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env = gymnasium.make("posttrain/GeneralPoints-v0", **settings)
        check_env(env.unwrapped)
        task, _ = env.reset(seed=0)
        assert task in env.observation_space and env.step("24")[0] in env.observation_space


# --- what it refuses ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rule": "ten"}, "unknown rule 'ten'.*11/12/13"),
        ({"split": "valid"}, "unknown split 'valid': use one of all, train, test"),
        ({"feedback": "loud"}, "unknown feedback 'loud': use one of informative, verdict, none"),
        ({"protocol": "dirty"}, "unknown protocol 'dirty': use one of clean, as_released"),
        ({"deck": "52"}, "unknown deck '52': use one of with_replacement, without_replacement"),
        ({"verify_steps": 0}, "verify_steps must be a whole number from 1 up, not 0"),
        ({"verify_steps": 2.0}, "verify_steps must be a whole number"),
        ({"verify_steps": True}, "verify_steps must be a whole number"),
        ({"target": -24}, "target must be a whole number from 1 up, not -24"),
        ({"target": "24"}, "target must be a whole number"),
        ({"target": 10**9}, "no solvable hand for rule 10, target 1000000000"),
        (
            {"rule": "11/12/13", "faces": True, "split": "train"},
            "no solvable hand for rule 11/12/13.*above 10",
        ),
        ({"hands": []}, "no solvable hand"),
        ({"hands": [["A", "A", "A", "A"]]}, "no formula makes 24 from A, A, A, A"),
        ({"hands": [["A", "2", "3"]]}, "a hand is four ranks of A, 2, .*, K"),
    ],
)
def test_bad_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        GeneralPointsEnv(**settings)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ranks": ["1", "2", "3", "4"]}, "a hand is four ranks of A, 2, .*not .'1'"),
        ({"ranks": [10, 7, 4, 5]}, "as texts"),
        (
            {"ranks": ["A", "A", "A", "A"]},
            r"no formula makes 24 from A, A, A, A under the rule 10.*formulas.solve\(\[1, 1, 1, 1\], 24\)",
        ),
        ({"cards": ["2", "3", "4", "5"]}, "unknown options .*cards.*ranks"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        GeneralPointsEnv().reset(options=options)
