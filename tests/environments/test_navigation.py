"""Navigation: the rails, the prompt, the episode; both action spaces and protocols."""

import gymnasium
import numpy as np
import posttrain.environments  # noqa: F401
import pytest
from gymnasium.utils.env_checker import check_env
from posttrain.environments import cities, navigation, revision
from posttrain.environments.navigation import NavigationEnv, answer, relative_word
from posttrain.environments.routes import Leg, Route
from posttrain.verifiers.navigation import ACTIONS, FORWARD, STOP

# North 100 m, east to the next crossing, and slightly right to the destination.
ROUTE = Route(
    (40.0, -74.0),
    (
        Leg(0, (40.001, -74.0), "Blue Bakery", "right"),
        Leg(90, (40.001, -73.999)),
        Leg(130, (40.0, -73.998), "Elm Hotel", "left behind"),
    ),
    350,
    "X",
)


def one(**settings):
    return NavigationEnv(routes=[ROUTE], **settings)


def right(info):
    return answer(info["place"], info["sentence"])


def walk(env, seed=0, policy=right):
    """All (info before, reward, terminated, truncated, info after) of an episode."""
    _, info = env.reset(seed=seed)
    steps, over = [], False
    while not over:
        before = info
        _, reward, terminated, truncated, info = env.step(policy(info))
        steps.append((before, reward, terminated, truncated, info))
        over = terminated or truncated
    return steps


def test_gymnasium_knows_it_and_its_checker_is_content():
    env = gymnasium.make("posttrain/Navigation-v0", actions="relative", city="Calvero", split="benchmark")
    check_env(env.unwrapped, skip_render_check=True)
    assert env.unwrapped.actions == "relative" and len(env.unwrapped.routes) == 2


def test_the_expert_arrives():
    for protocol in ("clean", "as_released"):
        for actions in ACTIONS:
            env = NavigationEnv(actions=actions, protocol=protocol, split="held_out")
            for seed in range(20):
                steps = walk(env, seed)
                assert [s[1] for s in steps] == [1] * len(steps) and [s[2] for s in steps] == [False] * (
                    len(steps) - 1
                ) + [True]
                assert (
                    not any(s[3] for s in steps)
                    and steps[-1][4]["success"]
                    and all(s[4]["moved"] for s in steps[:-1])
                )
                assert all(s[0]["place"].action in ACTIONS[actions] for s in steps)


@pytest.mark.parametrize(
    "actions, turns",
    [
        ("absolute", ["north", "east", "southeast"]),
        ("relative", ["slightly right", "right", "slightly right"]),
    ],
)
def test_the_rails(actions, turns):
    counts = set()
    for seed in range(60):
        places = [s[0]["place"] for s in walk(one(actions=actions), seed)]
        assert [p.action for p in places if p.action not in (FORWARD, STOP)] == [
            f"turn_direction({t})" for t in turns
        ]
        at = [i for i, p in enumerate(places) if p.action.startswith("turn")]
        # A turn point, up to five forward points, …, the stop; what a leg's end shows stands at the next.
        assert at[0] == 0 and places[-1].action == STOP and sum(p.action == STOP for p in places) == 1
        assert [places[i].landmark for i in at] == [
            "No landmarks nearby",
            "Blue Bakery is on your right",
            "No landmarks nearby",
        ]
        assert [places[i].intersection for i in at] == [False, True, True] and not places[-1].intersection
        assert places[-1].landmark == "Elm Hotel is on your left behind"
        assert all(
            p.landmark == "No landmarks nearby" and not p.intersection for p in places if p.action == FORWARD
        )
        assert [p.instruction for p in places] == sorted(p.instruction for p in places) and places[
            -1
        ].instruction == 5
        counts |= {b - a - 1 for a, b in zip(at, [*at[1:], len(places) - 1])}
        assert [places[i].heading for i in at] == [350, 0, 90]
    assert counts == set(range(navigation.FORWARD_POINTS + 1))


def test_the_instructions_hold_both_words_and_only_the_action_space_differs():
    texts = {actions: one(actions=actions).reset(seed=1)[0] for actions in ACTIONS}
    assert [
        texts["absolute"].index(part)
        for part in ("[Instructions]", "[Actions]", "[Observations and actions]", "[Output]")
    ] == sorted(
        texts["absolute"].index(part)
        for part in ("[Instructions]", "[Actions]", "[Observations and actions]", "[Output]")
    )  # the paper's order
    assert (
        texts["absolute"].replace(navigation.SPACES["absolute"], navigation.SPACES["relative"])
        == texts["relative"]
    )
    listed = texts["absolute"].removeprefix(navigation.TASK[0]).partition(navigation.TASK[1])[0]
    assert listed == (
        "1. Turn slightly right to face north.\n"
        "2. Walk on to the next intersection, where Blue Bakery is on your right.\n"
        "3. Turn right to face east.\n4. Walk on to the next intersection.\n"
        "5. Turn slightly right to face southeast.\n"
        "6. Walk on to the destination, where Elm Hotel is on your left behind.\n"
    )


def test_the_history_holds_the_right_actions_only():
    env = one()
    text, info = env.reset(seed=2)
    assert "O_1: No landmarks nearby; \nA_1: \n\n[Output]" in text and "A_2" not in text
    says, reward, *_, info = env.step(right(info).replace("north", "south"))
    assert (
        reward == -1
        and says.startswith("You failed this attempt: turn_direction(south) is the wrong action here")
        and not info["moved"]
    )
    assert (
        [m["role"] for m in info["messages"]] == ["user", "assistant", "user"]
        and info["attempt"] == 1
        and info["success"]
    )
    text, reward, *_, info = env.step(right(info))
    assert (
        reward == 1
        and info["moved"]
        and info["attempt"] == 0
        and len(info["messages"]) == 1
        and info["messages"][0]["content"] == text
    )
    assert (
        "O_1: No landmarks nearby; \nA_1: turn_direction(north)\nO_2: " in text
        and "south" not in text.partition("[Obs")[2]
    )


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_a_failed_point_ends_the_episode(steps):
    played = walk(one(verify_steps=steps), policy=lambda info: "no")
    assert (
        [s[1] for s in played] == [-1] * steps
        and played[-1][3]
        and not played[-1][2]
        and not played[-1][4]["success"]
    )
    assert all(s[4]["verdict"].outcome == "no answer" for s in played)


def test_the_released_protocol_asks_once_more_and_does_not_read_it():
    env = one(protocol="as_released")
    env.reset(seed=0)
    env.step("no")
    _, info = env.step("no")[3:]
    says, reward, terminated, truncated, info = env.step(right(info))  # right, and refused
    assert (says, reward, terminated, truncated) == (revision.STOPPED, -1, False, True) and info[
        "verdict"
    ].outcome == "step limit"


def test_a_failed_point_can_be_skipped():
    env = one(skip_failed=True)
    whole = walk(env, 3)
    failed = walk(env, 3, policy=lambda info: "no" if info["place"].intersection else right(info))
    assert (
        len(failed) == len(whole) + 2 and failed[-1][2] and not failed[-1][4]["success"]
    )  # two crossings, one answer more at each
    assert [s[0]["place"] for s in failed if s[0]["attempt"] == 0] == [s[0]["place"] for s in whole]
    stopped = walk(env, 3, policy=lambda info: "no" if info["place"].action == STOP else right(info))
    assert stopped[-1][3] and not stopped[-1][2]


@pytest.mark.parametrize(
    "change, word",
    [
        (-180, "left"),
        (-46, "left"),
        (-45, "slightly left"),
        (0, "slightly left"),
        (1, "slightly right"),
        (45, "slightly right"),
        (46, "right"),
    ],
)
def test_relative_words_have_the_released_thresholds(change, word):
    assert relative_word(change) == word


def test_only_the_clean_protocol_wraps_angles():
    """From 350 to 10 degrees one turns 20 degrees to the right; as released it is 340 to the left."""
    route = ROUTE._replace(legs=(Leg(10, (40.001, -74.0), "Blue Bakery", "right"),))
    words = {
        protocol: NavigationEnv(routes=[route], actions="relative", protocol=protocol)
        .reset(seed=0)[1]["place"]
        .action
        for protocol in ("clean", "as_released")
    }
    assert words == {"clean": "turn_direction(slightly right)", "as_released": "turn_direction(left)"}


def test_an_unknown_first_heading_is_drawn():
    env = NavigationEnv(routes=[ROUTE._replace(heading=None)], actions="relative")
    first = {env.reset(seed=seed)[1]["place"].action for seed in range(40)}
    assert first == {f"turn_direction({w})" for w in ("left", "right", "slightly left", "slightly right")}


def test_the_seed_decides_everything_and_global_generators_nothing():
    import random

    def episodes():
        env = NavigationEnv()
        texts = [env.reset(seed=5)[0], *(env.reset()[0] for _ in range(10))]
        return texts

    first = episodes()
    random.seed(1)
    np.random.seed(1)
    state = random.getstate(), np.random.get_state()[1].tolist()
    assert episodes() == first and (random.getstate(), np.random.get_state()[1].tolist()) == state
    assert len(set(first)) > 5


def test_bad_settings_and_bad_calls():
    for settings, message in (
        ({"actions": "north"}, "unknown actions 'north'"),
        ({"verify_steps": 0}, "whole number"),
        ({"routes": []}, "no routes"),
        ({"city": "Paris"}, "unknown city 'Paris'"),
        ({"split": "test"}, "unknown split 'test'"),
        ({"protocol": "x"}, "unknown protocol"),
    ):
        with pytest.raises(ValueError, match=message):
            NavigationEnv(**settings)
    env = one()
    with pytest.raises(gymnasium.error.ResetNeeded, match="call reset"):
        env.step("x")
    with pytest.raises(ValueError, match="there is no route 1: routes are 0 to 0"):
        env.reset(options={"route": 1})
    with pytest.raises(ValueError, match="there is no route False"):
        env.reset(options={"route": False})
    assert env.reset(options={"route": np.int64(0)})[1]["route"] == 0
    with pytest.raises(ValueError, match="unknown options"):
        env.reset(options={"leg": 1})
    env.reset(options={"route": 0})
    with pytest.raises(TypeError, match="not int"):
        env.step(3)


def test_a_refused_reset_leaves_the_episode_as_it_is():
    env = NavigationEnv(split="held_out")
    _, info = env.reset(seed=0, options={"route": 3})
    with pytest.raises(ValueError):
        env.reset(options={"route": 999})
    assert env.step(right(info))[-1]["route"] == 3


def test_any_landmark_name_gives_valid_json_inside_the_spaces():
    legs = tuple(
        leg._replace(landmark=name, bearing="left")
        for leg, name in zip(ROUTE.legs, ('Joe "B" Bar', "Back\\slash", "Café de la Presse"))
    )
    env = NavigationEnv(routes=[ROUTE._replace(legs=legs)])
    for before, *_, info in walk(env):
        assert (
            info["verdict"].strict
            and before["messages"][-1]["content"] in env.observation_space
            and right(before) in env.action_space
        )


def test_as_released_the_destination_says_what_it_is():
    seen = {
        protocol: walk(one(protocol=protocol))[-1][0]["place"].landmark
        for protocol in ("clean", "as_released")
    }
    assert seen == {
        "clean": "Elm Hotel is on your left behind",
        "as_released": "The destination Elm Hotel is on your left behind",
    }
    crossing = {
        protocol: [
            s[0]["place"].landmark for s in walk(one(protocol=protocol)) if s[0]["place"].intersection
        ][1]
        for protocol in ("clean", "as_released")
    }
    assert crossing == {"clean": "No landmarks nearby", "as_released": "No landmark nearby"}


def test_messages_are_the_callers_to_keep():
    """A trainer keeps the messages of every point; later steps must not change them."""
    env = one()
    _, info = env.reset(seed=0)
    kept = info["messages"]
    env.step("no")
    assert len(kept) == 1


def test_every_city_can_be_walked():
    for city, splits in cities.SPLITS.items():
        for split in splits:
            assert walk(NavigationEnv(city=city, split=split, actions="relative"), 1)[-1][4]["success"]
