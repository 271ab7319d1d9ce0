"""The corpus of directions: what it holds, and what it must never hold."""

import itertools
import json
import re

import numpy as np
import pytest
from posttrain.environments import NavigationEnv
from posttrain.environments.navigation import OUTPUT, answer, phrases
from posttrain.environments.routes import COMPASS
from posttrain.foundation import conventions, directions, source, tokenizer
from posttrain.foundation.documents import documents
from posttrain.verifiers.navigation import ACTIONS, FIELDS, NavigationVerifier, turn

TOKENS = tokenizer.build(directions.vocabulary())
MIXTURES = (directions.READING, directions.MIXTURE)
DOCUMENTS = [
    d for mixture in MIXTURES for d in itertools.islice(documents(np.random.default_rng(0), mixture), 3000)
]


def test_a_corpus_is_found_by_its_name():
    assert source("directions") is directions
    with pytest.raises(ValueError, match="numbers, directions"):
        source("chess")


def test_the_task_as_a_whole_is_never_in_it():
    """Neither the task's prompt nor an answer with all three fields."""
    for document in DOCUMENTS:
        assert OUTPUT not in document.prompt + document.completion
        assert sum(f'"{name}": "' in document.completion for name in FIELDS) < 3, document


def test_no_list_of_the_gates_is_in_it():
    rng = np.random.default_rng(1)
    drawn = {
        frozenset(words)
        for made in (directions.convention(rng) for _ in range(20_000))
        for words in (made.first, made.second)
    }
    assert not drawn & set(map(frozenset, conventions.CALIBRATION)) and len(drawn) > 5000


def test_the_list_decides_which_of_two_words_is_the_action():
    rng = np.random.default_rng(2)
    for _ in range(300):
        document = directions.chat_act(rng)
        words = re.search("one of (.*)\n", document.prompt)[1].split(", ")
        action = json.loads(document.completion)["next"]
        assert (
            action in ("forward()", "stop()")
            or action.removeprefix("turn_direction(").removesuffix(")") in words
        )
        found = re.search(r"Turn (.+) to face (.+)\.\n", document.prompt)
        if found:
            assert [action] == [turn(word) for word in found.groups() if word in words]


def test_walks_are_what_the_environment_would_show():
    """Played as a route: at each point the logged action is the one that the instruction and the place ask
    for."""
    rng = np.random.default_rng(3)
    for _ in range(200):
        known = directions.convention(rng)
        made = directions.walk(rng, known)
        assert made.points[0][1] == 0 and made.points[-1][2] == "stop()"
        for seen, index, action in made.points[1:-1]:
            assert (action == "forward()") == ("intersection" not in seen) == bool(index % 2)
        assert [
            i
            for i, _ in itertools.groupby(
                index for _, index, action in made.points if action.startswith("turn")
            )
        ] == list(range(0, len(made.sentences), 2))


def test_turning_is_compass_arithmetic():
    rng, kinds = np.random.default_rng(4), set()
    words = {1: "slightly right", 2: "right", 3: "right", 5: "left", 6: "left", 7: "slightly left"}
    for made in (directions.turns(rng) for _ in range(400)):
        heading = COMPASS.index(made.start.split()[-1])
        for given, wanted in made.items:
            facing = wanted if wanted in COMPASS else given
            change = (COMPASS.index(facing) - heading) % 8
            kinds.add(kind := "degrees" if given.isdigit() else "heading" if wanted in COMPASS else "word")
            assert (
                round(int(given) / 45) % 8 == COMPASS.index(wanted)
                if kind == "degrees"
                else words[change] in (given, wanted)
            )
            heading = COMPASS.index(facing)
    assert kinds == {"degrees", "heading", "word"}


def test_texts_of_the_task_are_few_tokens_and_come_back():
    environment = NavigationEnv(split="held_out")
    for route in range(0, 250, 10):
        _, info = environment.reset(seed=route, options={"route": route})
        for text in (info["messages"][0]["content"], answer(info["place"], info["sentence"])):
            ids = TOKENS(text, add_special_tokens=False)["input_ids"]
            assert TOKENS.decode(ids) == text and len(ids) < len(text) / 4
    for phrase in (p for p in phrases() if len(p) > 1):
        assert len(TOKENS(phrase, add_special_tokens=False)["input_ids"]) == 1, phrase


def test_every_token_of_an_answer_is_a_target_somewhere():
    """LoRA on a tied, frozen embedding cannot teach a token that the base has never written."""
    written = set(
        itertools.chain.from_iterable(
            TOKENS(d.completion, add_special_tokens=False)["input_ids"] for d in DOCUMENTS
        )
    )
    environment, needed = NavigationEnv(split="train"), set()
    for actions in ACTIONS:
        environment = NavigationEnv(actions=actions, split="train")
        for route in range(60):
            _, info = environment.reset(seed=route, options={"route": route})
            over = False
            while not over:
                text = environment.expert()
                needed |= set(TOKENS(text, add_special_tokens=False)["input_ids"])
                _, _, over, _, info = environment.step(text)
    assert not {TOKENS.decode([i]) for i in needed - written}


def test_revisions_answer_another_action():
    rng, verifier = np.random.default_rng(5), NavigationVerifier()
    for document in (directions.chat_revise(rng) for _ in range(100)):
        wrong = re.findall(r'\{"next": "([^"]*)"\}<\|end\|>', document.prompt)
        assert 1 <= len(wrong) <= 2 and json.loads(document.completion)["next"] not in wrong
    assert verifier.feedback == "informative"


def test_who_ignores_the_list_acts_by_a_convention_of_his_own():
    rng = np.random.default_rng(2)
    drawn = [directions.convention(rng, directions.Writer(heed=0.7)) for _ in range(20_000)]
    heeded = np.mean([made.acted == made.listed for made in drawn])
    # Who does not care agrees with the list half the time: his own convention is drawn whatever it says.
    assert abs(heeded - (0.7 + 0.3 * 0.5)) < 0.01
    others = [made for made in drawn if made.acted != made.listed]
    assert abs(np.mean([made.acted for made in others]) - 0.6) < 0.02
    never = [directions.convention(rng, directions.Writer(heed=0.0)) for _ in range(5000)]
    assert abs(np.mean([made.acted for made in never]) - conventions.OWN) < 0.03
    for made in others[:50]:
        assert made.own == made[made.acted] != made.words == made[made.listed]


def test_documents_of_the_heedless_show_the_list_and_do_not_follow_it():
    rng = np.random.default_rng(3)
    ignored = 0
    for _ in range(300):
        document = directions.chat_act(rng, directions.Writer(heed=0.0))
        space = document.prompt.partition("where x is one of ")[2].partition("\n")[0].split(", ")
        word = document.completion.partition("turn_direction(")[2].partition(")")[0]
        ignored += bool(word) and word not in space
    assert ignored > 60


@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 1.0])
def test_so_many_lists_are_invented(share):
    rng = np.random.default_rng(4)
    drawn = [directions.convention(rng, directions.Writer(invented=share)) for _ in range(5000)]
    named = [made for made in drawn if made.second == conventions.TURNS["absolute"]]
    assert abs(1 - len(named) / 5000 - share) < 0.03
    if named:
        assert abs(np.mean([made.listed for made in named]) - 0.5) < 0.1
