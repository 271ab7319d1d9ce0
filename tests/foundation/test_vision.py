"""The tower before the frozen text foundation: what it learns from, what is stored, that it comes back."""

import itertools
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from posttrain import foundation, store
from posttrain import policy as models
from posttrain.environments import cities, navigation, prompts
from posttrain.environments.routes import BEARINGS
from posttrain.foundation import corpus, gates, pretraining, sights, vision
from posttrain.foundation.gates import sights as judging
from posttrain.rendering import cards, streets
from posttrain.verifiers.general_points import Rule

TEXT = {
    "steps": 2,
    "batch_tokens": 512,
    "hidden": 32,
    "layers": 2,
    "heads": 2,
    "mlp": 48,
    "reading_steps": 1,
    "seed": 0,
}
SETTINGS = {
    "corpus": "cards",
    "language": "pocket-text",
    "steps": 3,
    "batch": 4,
    "hidden": 16,
    "layers": 1,
    "heads": 2,
    "mlp": 16,
    "seed": 0,
    "text": TEXT,
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    foundation.make(pretraining.FoundationConfig(**TEXT), folder / "pocket-text-0", 3)
    return folder, foundation.make(vision.VisionConfig(**SETTINGS), folder / "pocket-cards-0", 3)


def test_documents_show_what_the_text_listed():
    seen, tasks = set(), prompts.TASK[0]
    for document in itertools.islice(sights.hands(np.random.default_rng(0)), 300):
        _, ranks, suits, layout, _ = (document.picture.draw, *document.picture.arguments)
        assert (
            layout == cards.POCKET
            and document.before.endswith(prompts.CARDS[0])
            and document.behind.startswith(prompts.CARDS[1])
        )
        assert (
            tasks not in document.before and prompts.TASK[2] not in document.behind
        )  # parts of the task, never the task
        if document.completion.startswith(prompts.ANSWER[0]):
            assert tuple(json.loads(document.completion)["cards"]) == ranks
        seen.add(
            "black" if set(suits) <= set(cards.BLACK) else "red" if set(suits) <= set(cards.RED) else "mixed"
        )
    assert seen == {"black", "red", "mixed"}


def test_documents_of_streets_show_what_the_text_told():
    kinds, here = set(), set(cities.SPLITS)
    for document in itertools.islice(sights.places(np.random.default_rng(0), reading=10), 0, 6000, 7):
        scene, heading, size = document.picture.arguments
        answer = json.loads(document.completion)
        kinds.add(tuple(answer))
        assert size == streets.POCKET and scene.city not in here and document.behind.startswith("; ")
        assert navigation.TASK[0] not in document.before  # parts of the task, never the task
        if told := answer.get("current observation"):
            landmark, _, crossing = told.partition("; ")
            assert scene.crossing == bool(crossing) and (scene.landmark is None) == (
                landmark == navigation.NOTHING
            )
            assert scene.crossing or abs(
                streets._offset(scene.streets[0] - scene.streets[1])
            ) == pytest.approx(180)
            if scene.landmark:
                name, _, bearing = landmark.partition(" is on your ")
                assert (
                    scene.landmark == name
                    and abs(streets._offset(scene.towards - heading - 45 * BEARINGS.index(bearing))) <= 22.5
                )
    assert kinds == {("current observation",), ("current observation", "current instruction"), ("next",)}
    short = [d.before for d in itertools.islice(sights.places(np.random.default_rng(0), reading=10), 10)]
    assert set(short) == {sights.SAY}
    with pytest.raises(ValueError, match="unknown corpus 'clouds': choose one of cards, streets"):
        sights.corpus_of("clouds")


def test_cards_can_begin_with_reading_alone():
    begun = list(itertools.islice(sights.hands(np.random.default_rng(0), reading=40), 40))
    assert all(set(json.loads(document.completion)) == {"cards", "number"} for document in begun)
    assert any(
        set(json.loads(document.completion)) != {"cards", "number"}
        for document in itertools.islice(sights.hands(np.random.default_rng(0)), 40)
        if document.completion.startswith("{")
    )


def test_only_the_tower_learns_and_is_stored_and_comes_back(made):
    folder, card = made
    policy, again = (
        vision.pretrain(vision.VisionConfig(**SETTINGS), folder / "pocket-text-0")[0] for _ in range(2)
    )
    text, loaded = models.load(folder / "pocket-text-0"), models.load(folder / "pocket-cards-0")
    assert (
        type(loaded.model).__name__ == "LlavaForConditionalGeneration"
        and loaded.is_fast
        and loaded.processor is not None
    )
    for other in (again, loaded):
        weights = other.model.state_dict()
        assert all(torch.equal(weight, weights[name]) for name, weight in policy.model.state_dict().items())
    language = text.model.model.state_dict()
    for name, weight in loaded.model.model.language_model.state_dict().items():
        assert torch.equal(weight[: len(language[name])], language[name]), name
    size = sum(path.stat().st_size for path in (folder / "pocket-cards-0").iterdir())
    assert size < 2_000_000 and card["identity"] == vision.VisionConfig(**SETTINGS).identity
    assert set(card["gates"]) == set(gates.GATES["cards"])
    assert store.edits(folder / "pocket-cards-0", store.CARD) == []


def test_a_tower_without_its_text_foundation_is_an_error(made, tmp_path):
    folder, _ = made
    with pytest.raises(
        FileNotFoundError,
        match="no text foundation at .*posttrain pretrain --foundation pocket-text --seed 0",
    ):
        vision.new_policy(vision.VisionConfig(), tmp_path / "pocket-text-0")
    alone = tmp_path / "pocket-cards-0"
    alone.mkdir()
    for path in (folder / "pocket-cards-0").iterdir():
        (alone / path.name).write_bytes(path.read_bytes())
    with pytest.raises(FileNotFoundError, match="no text foundation at"):
        models.load(alone)
    with pytest.raises(ValueError, match="'cards' or 'streets'"):
        vision.VisionConfig(corpus="clouds")


@pytest.mark.parametrize("blind", [False, True, None])
def test_gates_count_landmarks_and_intersections_that_are_named(monkeypatch, blind):
    def said(policy, contents, pictures, temperature=0.0):
        replies = []
        for content, picture in zip(contents, pictures):
            scene, heading, _ = picture.arguments
            assert (
                scene.city == cities.CALIBRATION_CITY
                and content[1] == prompts.IMAGE
                and content[2]["text"].startswith("; \n")
            )
            bearing = BEARINGS[round(streets._offset(scene.towards - heading) / 45) % 8]
            told = f"{scene.landmark} is on your {bearing}" if scene.landmark else navigation.NOTHING
            crossing = navigation.CROSSING if scene.crossing else ""
            sentences = content[0]["text"].partition("\n1. ")[2].partition("\n\n")[0].split("\n")
            replies.append(
                "what?"
                if blind is None
                else navigation.fields(
                    {
                        "current observation": "; " if blind else f"{told}; {crossing}",
                        "current instruction": sentences[0],
                    }
                )
            )
        return replies

    monkeypatch.setattr(judging, "answers", said)
    table = gates.measure_sight(SimpleNamespace(), "streets", 40).set_index("gate")["measured"]
    assert table["recognizes landmarks"] == (blind is False) and table["cannot do the task yet"] == 0
    assert (
        table["sees intersections"] == 1
        if blind is False
        else 0.6 < table["sees intersections"] < 1
        if blind
        else table["sees intersections"] == 0
    )
    assert (
        0 < table["finds its place"] < 0.5 if blind is not None else table["finds its place"] == 0
    )  # who always says the first sentence is right at the start


def test_gates_count_hands_that_are_named(monkeypatch):
    """A seeing policy passes; one that names the cards of another hand does not."""
    rule = Rule.parse(corpus.CALIBRATION_RULES[0])

    def said(shift):
        def names(picture):
            return [cards.RANKS[(cards.RANKS.index(r) + shift) % 13] for r in picture.arguments[0]]

        def answer(policy, contents, pictures, temperature=0.0):
            return [corpus.read_answer(names(p), rule.numbers(names(p))) for p in pictures]

        return answer

    policy = SimpleNamespace()
    for shift, share in ((0, 1.0), (1, 0.0)):
        monkeypatch.setattr(judging, "answers", said(shift))
        table = gates.measure_sight(policy, "cards", 12).set_index("gate")
        assert (
            table.loc["recognizes black hands", "measured"]
            == table.loc["recognizes red hands", "measured"]
            == share
        )
        assert not table.loc["is not perfect yet", "passed"] == share
        assert table.loc["cannot do the task yet", "measured"] == 0
        assert (
            share / 3 <= table.loc["reads an unseen rule", "measured"] <= share
        )  # one rule of three, and the hands without faces
