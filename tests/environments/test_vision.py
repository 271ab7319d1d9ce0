"""The two environments with pictures: what is shown, what is hidden from the text, what the verifier asks for
besides."""

import gymnasium
import numpy as np
import posttrain.environments  # noqa: F401
import pytest
from gymnasium.utils.env_checker import check_env
from posttrain.environments import GeneralPointsEnv, cities, navigation, prompts
from posttrain.environments.navigation import CROSSING, NavigationEnv
from posttrain.environments.routes import Leg, Route
from posttrain.rendering import cards, streets
from posttrain.tasks import TASKS

NAMES = ("posttrain/GeneralPoints-v0", "posttrain/Navigation-v0")


@pytest.mark.parametrize("name", NAMES)
def test_gymnasiums_checker_passes(name):
    check_env(gymnasium.make(name, vision=True).unwrapped, skip_render_check=True)


def content(messages):
    """The first user message as (text before, text behind) of its picture."""
    before, image, behind = messages[0]["content"]
    assert image == {"type": "image"}
    return before["text"], behind["text"]


# --- cards --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("suits", "known"), [("black", cards.BLACK), ("red", cards.RED), ("mixed", cards.SUITS)]
)
def test_a_hand_is_shown_and_not_told(suits, known):
    env, drawn = GeneralPointsEnv(vision=True, suits=suits), set()
    for seed in range(40):
        observation, info = env.reset(seed=seed)
        deal = info["deal"]
        before, behind = content(info["messages"])
        assert (
            before + behind == observation["text"] == prompts.task_for(24, "10")
            and before.endswith(prompts.CARDS[0])
            and behind.startswith("]")
        )
        assert (
            before + ", ".join(deal.ranks) + behind
            == GeneralPointsEnv().reset(options={"ranks": deal.ranks})[1]["messages"][0]["content"]
        )
        func, ranks, shown, layout, style = (info["picture"].draw, *info["picture"].arguments)
        assert func is cards.draw and ranks == deal.ranks and shown == deal.suits and layout == cards.POCKET
        assert np.array_equal(observation["image"], np.asarray(info["picture"]())) and np.array_equal(
            env.reset(seed=seed)[0]["image"], observation["image"]
        )
        drawn |= set(deal.suits)
        assert style in {cards.Style.of(seed) for seed in range(cards.STYLES)}
    assert drawn == set(known)


def test_who_names_the_wrong_cards_is_told_so():
    env = GeneralPointsEnv(vision=True, hands=[["8", "3", "8", "3"]])
    env.reset(options={"ranks": ["8", "3", "8", "3"]})
    right, formula = ("8", "3", "8", "3"), "8/(3-8/3)"
    observation, reward, terminated, _, info = env.step(
        prompts.answer(("8", "3", "8", "5"), (8, 3, 8, 3), formula)
    )
    assert (
        reward == -1.5
        and not terminated
        and "the cards are not the ones shown" in observation["text"]
        and not info["verdict"].recognized
    )
    assert env.step(prompts.answer(right[::-1], right, formula))[1:3] == (
        5.0,
        True,
    )  # order and suits are not asked for


def test_settings_that_cannot_be_are_errors():
    with pytest.raises(ValueError, match="unknown suits 'blue': use one of mixed, black, red"):
        GeneralPointsEnv(vision=True, suits="blue")
    with pytest.raises(ValueError, match="too small for four cards"):
        GeneralPointsEnv(vision=True, pixels=20)
    env = GeneralPointsEnv(vision=True, suits="black", deck="without_replacement", split="all")
    assert all(
        len(set(zip(d.ranks, d.suits))) == 4 for d in (env.reset(seed=s)[1]["deal"] for s in range(200))
    )
    with pytest.raises(ValueError, match="a deck has no 3 black cards of one rank"):
        env.reset(options={"ranks": ["8", "8", "8", "A"]})


def test_text_is_dealt_as_before():
    """The settings of pictures take no random number from a text episode."""
    text, seen = GeneralPointsEnv(), GeneralPointsEnv(vision=True)
    assert [text.reset(seed=s)[1]["deal"] for s in range(20)] == [
        seen.reset(seed=s)[1]["deal"] for s in range(20)
    ]


# --- streets ------------------------------------------------------------------------------------------------


def walk(env, route):
    """Every info of an expert's episode."""
    _, info = env.reset(seed=route, options={"route": route})
    infos, over = [], False
    while not over:
        infos.append(info)
        _, _, terminated, truncated, info = env.step(env.expert())
        over = terminated or truncated
    assert terminated
    return infos


@pytest.mark.parametrize("protocol", ["clean", "as_released"])
def test_what_is_seen_now_is_hidden_from_the_text_and_drawn(protocol):
    env, text = NavigationEnv(vision=True, protocol=protocol), NavigationEnv(protocol=protocol)
    crossings = landmarks = 0
    for route in range(12):
        for shown, told in zip(walk(env, route), walk(text, route)):
            place, (before, behind) = shown["place"], content(shown["messages"])
            assert place == told["place"]
            hidden = navigation.observation(place)
            flag = f"; {CROSSING if place.intersection and protocol == 'as_released' else ''}"
            assert (
                before + hidden + behind.removeprefix(flag) == told["messages"][0]["content"]
            )  # all else is told
            scene, heading, pixels, views = shown["picture"].arguments
            assert (heading, pixels, views) == (place.heading, streets.POCKET, protocol)
            if place.landmark == navigation.NOTHING:
                assert scene.landmark is None
            elif scene.landmark:
                assert scene.landmark in place.landmark
            if protocol == "clean" and scene.landmark:  # the sign stands where the words say
                side = navigation.BEARINGS[round((scene.towards - place.heading) / 45) % 8]
                assert place.landmark == f"{scene.landmark} is on your {side}"
            crossings += place.intersection
            landmarks += scene.landmark is not None
            assert scene.crossing == place.intersection
            if not place.intersection:
                assert len(scene.streets) == 2  # the street that one walks
    assert crossings > 20 and landmarks > 20


def test_pictures_tell_places_apart_and_cities_look_different():
    env = NavigationEnv(vision=True)
    infos = walk(env, 3)
    images = [np.asarray(info["picture"](), int) for info in infos]
    assert all(image.shape == (streets.side(streets.POCKET),) * 2 + (3,) for image in images)
    forward = [i for i, info in enumerate(infos) if info["place"].action == "forward()"]
    turning = [i for i, info in enumerate(infos) if info["place"].intersection]
    assert forward and turning and np.abs(images[forward[0]] - images[turning[0]]).mean() > 5
    other = (
        NavigationEnv(vision=True, city="Calvero", split="benchmark").reset(seed=0)[0]["image"].astype(int)
    )
    assert np.abs(other - images[0]).mean() > 10


def test_only_made_cities_have_pictures():
    with pytest.raises(ValueError, match="no pictures of 'Nowhere': routes of Alderby"):
        NavigationEnv(
            vision=True,
            routes=[Route((40.0, -74.0), (Leg(0, (40.001, -74.0), "Elm Hotel", "right"),), 0, "Nowhere")],
        )


def test_the_benchmark_is_eighteen_routes_in_nine_cities():
    sets = TASKS["navigation-vision"].sets
    cases = sets["benchmark"].cases(np.random.default_rng(0), None)
    assert (
        len(cases) == 18
        and {city for city, _, _ in cases} == set(cities.OTHER_CITIES)
        and sets["benchmark"].vision
    )
