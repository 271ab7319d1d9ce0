"""Profiles: what is refused in one line that names the setting and what is allowed; a run's settings."""

# ruff: noqa: E501 - one case a line

import functools
import inspect
import re

import pytest
import yaml
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from posttrain import cli, config, tasks
from posttrain.config import files
from posttrain.config.tasks import SPLITS
from posttrain.environments import GeneralPointsEnv, NavigationEnv, cities
from posttrain.rendering import cards, streets
from posttrain.verifiers.answers import FEEDBACK, PROTOCOLS
from posttrain.verifiers.general_points import Rule

PUBLISHED = ("smoke", "cpu", "gpu")
SAID = {name: (config.PROFILES / f"{name}.yaml").read_text() for name in PUBLISHED}
CPU = yaml.safe_load(SAID["cpu"])
NUMBERS = ("budget_gflop", "learning_rate")  # of the leaves; the other ones are whole

SMALL = {
    "seeds": [0, 1],
    "foundations": {"pocket-text": {"steps": 300}, "pocket-cards": {"corpus": "cards"}},
    "studies": {
        "one": {
            "checkpoints": 2,
            "ppo": {"episodes": 8},
            "arms": {
                "init": {"algorithm": "init", "steps": 3},
                "sft": {"algorithm": "sft", "start": "init", "budget_gflop": 5},
                "ppo": {"algorithm": "ppo", "start": "init", "budget_gflop": 5, "ppo": {"epochs": 2}},
            },
        }
    },
}


class Plain(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):
    """YAML without aliases, which no profile may hold."""

    def ignore_aliases(self, data):
        return True


@pytest.fixture
def profiles(tmp_path, monkeypatch):
    """profiles(name=content): files of a folder of profiles, the published ones among them; content: text, bytes or data."""
    monkeypatch.setattr(config, "PROFILES", tmp_path)

    def write(**named):
        for name, content in named.items():
            content = content if isinstance(content, str | bytes) else yaml.dump(content, Dumper=Plain)
            (tmp_path / f"{name}.yaml").write_bytes(content.encode() if isinstance(content, str) else content)

    write(**SAID)
    published, read = functools.cache(files.read), files.read  # they are read hundreds of times here
    monkeypatch.setattr(files, "read", lambda path: (published if path.stem in PUBLISHED else read)(path))
    return write


@pytest.fixture
def refusal(profiles, capsys, monkeypatch):
    """refusal(content): what `posttrain plan` says of a profile "mine", after it refused it in one line."""
    monkeypatch.setattr(cli, "_parser", functools.cache(cli._parser))  # a third of each of a thousand calls

    def refuse(content):
        profiles(mine=content)
        code = cli.main(["plan", "--profile", "mine"])
        out, err = capsys.readouterr()
        assert (code, out, err.count("\n")) == (2, "", 1), (content, code, out[:200], err)
        assert "Traceback" not in err and len(err) < 600
        return err.removesuffix("\n").removeprefix("posttrain plan: ").removeprefix("profile mine: ")

    return refuse


def leaves(said, path=()):
    if isinstance(said, dict):
        for key, value in said.items():
            yield from leaves(value, (*path, key))
    else:
        yield path, said


def at(path, value):
    """The mapping that holds nothing but `value` at `path`."""
    for key in reversed(path):
        value = {key: value}
    return value


def alone(path, value):
    """The published profile with `value` at `path`, of its studies only the one that this is in, or one: to check all the others
    anew each time takes most of a minute."""
    study = path[1] if path[0] == "studies" else "gp-l"
    others = dict.fromkeys(name for name in CPU["studies"] if name != study)
    return config.merged({"extends": "cpu", "studies": others}, at(path, value))


def tried(leaf_values):
    """(path, value) of leaves: all values at the first of a kind, which is the same setting of the same task and algorithm, one
    value at every other."""
    seen = set()
    for path, values in leaf_values:
        study = CPU["studies"][path[1]] if path[0] == "studies" else {}
        arm = study["arms"][path[3]] if path[2:3] == ("arms",) else {}
        setting = tuple(key for i, key in enumerate(path) if not study or i not in (1, 3))
        kind = (study.get("task"), arm.get("algorithm"), setting)
        yield from ((path, value) for value in (values[:1] if kind in seen else values))
        seen.add(kind)


def under(path, settings=SMALL, **changed):
    """`settings` with some keys below the dotted `path` changed; None takes one away."""
    return config.merged(settings, at([part for part in path.split(".") if part], changed))


# --- every leaf of the published profile ---------------------------------------------------------------------------


def wrong_types(path, value):
    if isinstance(value, bool):
        return ["no", 1]
    if isinstance(value, int | float):
        return ["lots", True, [1], *([] if path[-1] in NUMBERS else [1.5])]
    if isinstance(value, list):
        return [0, "id", [*value, value[0]], [], [{}]] if path[-1] != "revised" else [0, [*value, value[0]]]
    return [True, ["id"], {"a": 1}, "no such name"]


@pytest.mark.no_cover  # others run the same lines, and it runs them a thousand times
def test_every_leaf_of_the_published_profile_refuses_a_wrong_type(refusal):
    refused = list(tried((path, wrong_types(path, value)) for path, value in leaves(CPU)))
    for path, wrong in refused:
        said = refusal(alone(path, wrong))
        assert said.startswith(".".join(path)) and re.search("must|choose one of", said), said
    assert len(refused) > 400


@pytest.mark.no_cover  # others run the same lines, and it runs them a thousand times
def test_every_number_of_the_published_profile_has_bounds(refusal):
    numbers = [
        p for p, value in leaves(CPU) if isinstance(value, int | float) and not isinstance(value, bool)
    ]
    for path, wrong in tried((path, (-3, 10**16, float("nan"), float("inf"))) for path in numbers):
        said = refusal(alone(path, wrong))
        assert said.startswith(f"{'.'.join(path)}: must be "), said
    assert len(numbers) >= 80


@pytest.mark.no_cover  # others run the same lines, and it runs them a thousand times
def test_every_key_of_the_published_profile_misspelt_is_named_and_the_right_one_suggested(refusal):
    keys = [path for path, _ in leaves(CPU)]
    for path in keys:
        misspelt = (*path[:-1], path[-1][:-1] + path[-1][-1] * 2)
        said = refusal(alone(misspelt, 1))
        assert said.startswith(f"{'.'.join(misspelt)}: unknown; did you mean {path[-1]}? choose one of "), (
            said
        )
    assert len(keys) > 140


def test_every_setting_has_bounds_that_refuse(refusal):
    """Of every setting, also those that no published profile sets."""
    arm = "studies.one.arms.ppo."
    tried = 0
    for row in config.table():
        path = row.path.replace("studies.*.arms.*.", arm).replace("studies.*.", "studies.one.")
        path = path.replace("foundations.TEXT", "foundations.pocket-text").replace("TOWER", "pocket-cards")
        path = path.replace(f"{arm}sft", "studies.one.sft")
        parent, _, name = path.rpartition(".")
        wrong = {"number": ["1", -1, True], "whole number": [0.5, -1, "1"], "true or false": [0, "true"]}
        wrong |= {"text": [True, [17]], "list": [17, "x", [{}]], "mapping": [17, "x"]}
        for value in wrong[row.type]:
            said = refusal(under(parent, **{name: value}))
            known = "environment" in path and row.sentence and "unknown" in said  # the other task's
            assert said.startswith(path) and ("must be" in said or "choose" in said or known), (row, said)
            tried += 1
    assert tried > 200


# --- by hand -------------------------------------------------------------------------------------------------------

ARMS = "studies.one.arms"
WRONG = [
    # the top level
    (under("", sedes=[0]), "sedes: unknown; did you mean seeds"),
    (under("", name="x"), "name: unknown"),
    (under("", root="/tmp"), "root: unknown"),
    (under("", fresh=True), "fresh: unknown"),
    (under("", seeds=None), "seeds: is missing"),
    (under("", seeds=0), "seeds: must be a list"),
    (under("", seeds=[]), "seeds: must be of 1 or more"),
    (under("", seeds=[0, 0]), r"seeds: must name each one once, not \[0, 0\]"),
    (under("", seeds=[0, -1]), r"seeds\[1\]: must be at least 0, not -1"),
    (under("", seeds=[0.5]), r"seeds\[0\]: must be a whole number"),
    (under("", seeds=[True]), r"seeds\[0\]: must be a whole number, not true"),
    (under("", seeds=[2**32]), r"seeds\[0\]: must be below"),
    (under("", seeds="0"), "seeds: must be a list"),
    (under("", device="gpu"), "device: must be like"),
    (under("", gate_hands=0), "gate_hands: must be at least 1, not 0"),
    (under("", kept="results"), "kept: must be another name: data/results is the published profile's"),
    (under("", kept="models"), "kept: must be another name"),
    (under("", kept="../x"), "kept: a name has only|kept: must be like"),
    (under("", studies=None), "studies: is missing"),
    ("studies: []\nseeds: [0]", "studies: must be a mapping"),
    ("studies: {}\nseeds: [0]", "studies: must be of 1 or more"),
    ("studies:\nseeds: [0]", "studies: must be a mapping of names to settings, not null"),
    # names
    (under("", studies={"../x": SMALL["studies"]["one"]}), "studies.*: a name has only"),
    (under("", studies={"A": SMALL["studies"]["one"]}), r"studies\.A: a name has only"),
    (under("", studies={"a/b": SMALL["studies"]["one"]}), "studies.*: a name has only"),
    (under("", studies={"a" * 61: SMALL["studies"]["one"]}), "studies.a*: a name has only"),
    (under("", studies={7: SMALL["studies"]["one"]}), r"studies\[7\]: a name has only"),
    (under("", studies={"-a": SMALL["studies"]["one"]}), "studies.-a: a name has only"),
    (under(ARMS, **{"..": {"algorithm": "sft", "steps": 1}}), "studies.one.arms.*: a name has only"),
    (under("foundations", **{"a b": {}}), "foundations.*: a name has only"),
    # foundations
    (under("foundations.pocket-text", hiden=3), "foundations.pocket-text.hiden: unknown; did you mean hidden"),
    (under("foundations.pocket-text", seed=3), "foundations.pocket-text.seed: unknown"),
    (under("foundations.pocket-cards", text={}), "foundations.pocket-cards.text: unknown"),
    (under("foundations.pocket-text", hidden=130), "foundations.pocket-text.hidden: must be a multiple of 8 with 4 heads"),
    (under("foundations.pocket-text", heads=3), "foundations.pocket-text.hidden: must be a multiple of 6 with 3 heads"),
    (under("foundations.pocket-text", corpus="words"), "foundations.pocket-text.corpus: must be 'numbers' or 'directions'"),
    (under("foundations.pocket-text", steps=0), "foundations.pocket-text.steps: must be at least 1"),
    (under("foundations.pocket-text", steps=10), r"foundations.pocket-text.reading_steps: must be at most steps \(10\)"),
    (under("foundations.pocket-text", warmup=0), "foundations.pocket-text.warmup: must be at least 1"),
    (under("foundations.pocket-text", warmup=301), r"foundations.pocket-text.warmup: must be at most steps \(300\), not 301"),
    (under("foundations.pocket-cards", warmup=201), r"foundations.pocket-cards.warmup: must be at most steps \(200\), not 201"),
    (under("foundations.pocket-text", language="x", corpus="numbers"), "foundations.pocket-text.corpus: must be 'cards' or"),
    (under("foundations.pocket-cards", size=57), r"foundations.pocket-cards.size: must be a multiple of patch \(14\), not 57"),
    (under("foundations.pocket-cards", patch=0), "foundations.pocket-cards.patch: must be at least 1"),
    (under("foundations.pocket-cards", heads=5), "foundations.pocket-cards.hidden: must be a multiple of 5"),
    (under("foundations.pocket-cards", language="pocket"), "foundations.pocket-cards.language: must be a foundation of the corpus numbers, not 'pocket'; did you mean pocket-text"),
    (under("foundations.pocket-cards", language="pocket-cards"), "foundations.pocket-cards.language: must be a foundation of the corpus numbers"),
    (under("foundations.pocket-cards", corpus="streets"), "foundations.pocket-cards.language: .*directions.*there is none"),
    (under("foundations", **{"pocket-text": 5}), "foundations.pocket-text: must be a mapping of settings, not 5"),
    # studies
    (under("studies.one", chekpoints=3), "studies.one.chekpoints: unknown; did you mean checkpoints"),
    (under("studies.one", foundation="pocket"), "studies.one.foundation: must be a foundation of the corpus numbers, not 'pocket'; did you mean pocket-text"),
    (under("studies.one", foundation="pocket-cards"), "studies.one.foundation: must be a foundation of the corpus numbers"),
    (under("studies.one", task="general-points-vision"), "studies.one.foundation: must be a foundation of the corpus cards"),
    (under("studies.one", task="navigation"), "studies.one.foundation: .*directions.*there is none"),
    (under("studies.one", task="chess"), "studies.one.task: unknown 'chess'; choose one of general-points"),
    (under("studies.one", task=["navigation"]), "studies.one.task: unknown"),
    (under("studies.one", seeds=[]), "studies.one.seeds: must be of 1 or more"),
    (under("studies.one", arms=None), "studies.one.arms: is missing"),
    (under("studies.one", arms=[1]), "studies.one.arms: must be a mapping"),
    (under("", studies={"one": [1]}), "studies.one: must be a mapping of settings"),
    (under("studies.one", lora=5), "studies.one.lora: must be a mapping"),
    (under("studies.one", lora={"parts": "eyes"}), "studies.one.lora.parts: must be 'language', 'projector' or 'vision', not 'eyes'"),
    (under("studies.one", lora={"parts": "vision"}), "studies.one.lora.parts: must be language"),
    (under("studies.one", lora={"rank": 65537}), "studies.one.lora.rank: must be at most 65536, not 65537"),
    # arms
    (under(ARMS, dpo={"algorithm": "dpo", "steps": 1}), "studies.one.arms.dpo.algorithm: must be 'init', 'sft' or 'ppo', not 'dpo'"),
    (under(ARMS, sft={"algorithm": None}), "studies.one.arms.sft.algorithm: is missing"),
    (under(f"{ARMS}.sft", budget=3), "studies.one.arms.sft.budget: unknown; did you mean budget_gflop"),
    (under(f"{ARMS}.sft", budget_gflop=-3), "studies.one.arms.sft.budget_gflop: must be above 0, not -3"),
    (under(f"{ARMS}.sft", budget_gflop=0), "studies.one.arms.sft.budget_gflop: must be above 0, not 0"),
    (under(f"{ARMS}.sft", budget_gflop="lots"), "studies.one.arms.sft.budget_gflop: must be a number, not 'lots'"),
    (under(f"{ARMS}.sft", budget_gflop=None), "studies.one.arms.sft.budget_gflop: is missing.*or give steps"),
    (under(f"{ARMS}.ppo", budget_gflop=None), "studies.one.arms.ppo.budget_gflop: is missing"),
    (under(f"{ARMS}.sft", steps=3), "studies.one.arms.sft.steps: must be left out where budget_gflop"),
    (under(f"{ARMS}.ppo", steps=3), "studies.one.arms.ppo.steps: must be left out"),
    (under(f"{ARMS}.init", steps=0), "studies.one.arms.init.steps: must be at least 1"),
    (under(f"{ARMS}.init", ppo={"epochs": 2}), "studies.one.arms.init.ppo: must be left out"),
    (under(f"{ARMS}.ppo", sft={"warmup": 0}), "studies.one.arms.ppo.sft: must be left out"),
    (under(f"{ARMS}.sft", checkpoints=0), "studies.one.arms.sft.checkpoints: must be at least 1"),
    (under("studies.one", checkpoints=0), "studies.one.checkpoints: must be at least 1"),
    (under("studies.one", checkpoints=1001), "studies.one.checkpoints: must be at most 1000"),
    (under(f"{ARMS}.init", checkpoints=50), "studies.one.arms.init.checkpoints: must be at most 3 for an arm of 3 steps, not 50"),
    (under(f"{ARMS}.init", checkpoints=4, spacing="doubling"), "studies.one.arms.init.checkpoints: must be at most 3 for"),
    (under("studies.one", checkpoints=4), "studies.one.checkpoints: must be at most 3 for an arm of 3 steps, not 4"),
    (under(f"{ARMS}.sft", bf16="no"), "studies.one.arms.sft.bf16: must be true or false, not 'no'"),
    (under(f"{ARMS}.sft", start="base"), "studies.one.arms.sft.start: must be an init or .* not 'base'; .*init"),
    (under(f"{ARMS}.sft", start="ppo"), "studies.one.arms.sft.start: must be an init or sft arm"),
    (under(f"{ARMS}.init", start="init"), "studies.one.arms.init.start: .*there is none"),
    (under(f"{ARMS}.sft", task="navigation"), "studies.one.arms.sft.start: .*there is none"),
    # trainers
    (under("studies.one.ppo", episodes=9), r"studies.one.ppo.episodes: must be a multiple of minibatches \(4\), not 9"),
    (under("studies.one.ppo", minibatches=0), "studies.one.ppo.minibatches: must be at least 1"),
    (under("studies.one.ppo", temperature=0), "studies.one.ppo.temperature: must be above 0"),
    (under("studies.one.ppo", temperature=-1.0), "studies.one.ppo.temperature: must be above 0"),
    (under("studies.one.ppo", temperature=float("inf")), "studies.one.ppo.temperature: must be a finite number"),
    (under("studies.one.ppo", clip=float("nan")), "studies.one.ppo.clip: must be a finite number"),
    (under("studies.one.ppo", gamma=1.5), "studies.one.ppo.gamma: must be at most 1"),
    (under("studies.one.ppo", ratio="word"), "studies.one.ppo.ratio: must be 'token' or 'answer'"),
    (under("studies.one.ppo", thought_coefficient=0.5), "studies.one.ppo.thought_coefficient: must be 1 unless"),
    (under("studies.one.ppo", detach_value=1), "studies.one.ppo.detach_value: must be true or false"),
    (under("studies.one", sft={"batch_size": 0}), "studies.one.sft.batch_size: must be at least 1"),
    (under("studies.one", sft={"batch_size": True}), "studies.one.sft.batch_size: must be a whole number, not true"),
    (under("studies.one", sft={"warmup": 2}), "studies.one.sft.warmup: must be at most 1"),
    (under("studies.one", sft={"learning_rate": -1e-3}), "studies.one.sft.learning_rate: must be at least 0"),
    # environment and census
    (under("studies.one", environment={"rules": "10"}), "studies.one.environment.rules: unknown; did you mean rule"),
    (under("studies.one", environment={"actions": "absolute"}), "studies.one.environment.actions: unknown"),
    (under("studies.one", environment={"task": "navigation"}), "studies.one.environment.task: unknown"),
    (under("studies.one", environment={"vision": True}), "studies.one.environment.vision: unknown"),
    (under("studies.one", environment={"rule": "ten"}), "studies.one.environment.rule: must be .*11/12/13"),
    (under("studies.one", environment={"rule": "11/12"}), "studies.one.environment.rule: must be"),
    (under("studies.one", environment={"rule": 0}), "studies.one.environment.rule: must be"),
    (under("studies.one", environment={"rule": 100}), "studies.one.environment.rule: must be"),
    (under("studies.one", environment={"rule": {"J": 11, "Q": 12}}), "studies.one.environment.rule: must be"),
    (under("studies.one", environment={"rule": "11", "faces": True}), "studies.one.environment.split: must be all or test"),
    (under("studies.one", environment={"target": 851}), "studies.one.environment.target: must be a number that a hand can make; none makes 851 under the rule 10 in the split train"),
    (under("studies.one", environment={"target": 851, "split": "shown"}), "studies.one.environment.target: .*in the split shown"),
    (under("studies.one", environment={"pixels": 56}), "studies.one.environment.pixels: must be left out"),
    (under("studies.one", environment={"feedback": "loud"}), "studies.one.environment.feedback: must be 'informative'"),
    (under("studies.one", environment={"verify_steps": 0}), "studies.one.environment.verify_steps: must be at least 1"),
    (under("studies.one", census={"sets": ["ido"]}), "studies.one.census.sets: unknown set 'ido'; did you mean id"),
    (under("studies.one", census={"sets": ["cities"]}), "studies.one.census.sets: unknown set 'cities'; choose one of id"),
    (under("studies.one", census={"sets": []}), "studies.one.census.sets: must be of 1 or more"),
    (under("studies.one", census={"sets": "id"}), "studies.one.census.sets: must be a list"),
    (under("studies.one", census={"sets": ["id", "id"]}), "studies.one.census.sets: must name each one once"),
    (under("studies.one", census={"revised": ["all"]}), "studies.one.census.revised: unknown set 'all'"),
    (under("studies.one", census={"decodings": ["beam"]}), r"studies.one.census.decodings\[0\]: must be 'greedy' or"),
    (under("studies.one", census={"decodings": []}), "studies.one.census.decodings: must be of 1 or more"),
    (under("studies.one", census={"sets": ["id"], "revised": ["ood"]}), r"studies.one.census.revised: must be among sets \(id\), not 'ood'"),
    (under("studies.one", census={"decodings": ["greedy"], "revising": ["sampled"]}), r"studies.one.census.revising: must be among decodings \(greedy\), not 'sampled'"),
    (under("studies.one", census={"decodings": ["greedy"], "draws": 8}), "studies.one.census.draws: must be 1 where decodings has no sampled, not 8"),
    (under("studies.one", census={"revising": ["greedy"], "dialogues": 2, "draws": 2}), "studies.one.census.dialogues: must be 1 where revising has no sampled, not 2"),
    (under("studies.one", census={"kl_hands": 0}), "studies.one.census.kl_hands: must be at least 1"),
    (under("studies.one", census={"batch": 0}), "studies.one.census.batch: must be at least 1"),
    (under("studies.one", census={"pixels": 56}), "studies.one.census.pixels: must be left out"),
    (under("studies.one", census={"task": "navigation"}), "studies.one.census.task: unknown"),
    ({"extends": "cpu", **at(("studies", "gp-vl", "census", "pixels"), 80)}, "studies.gp-vl.census.pixels: must be 56, as in environment, not 80"),
    ({"extends": "cpu", **at(("studies", "virl-l", "environment", "city"), "Paris")}, "studies.virl-l.environment.city: must be 'Alderby'"),
    ({"extends": "cpu", **at(("studies", "virl-l", "environment", "city"), "Brennick")}, "studies.virl-l.environment.split: Brennick has no split train; choose one of benchmark, wide"),
    ({"extends": "cpu", **at(("studies", "gp-vl", "foundation"), "pocket-text")}, "studies.gp-vl.foundation: must be a foundation of the corpus cards, not 'pocket-text'; .*pocket-cards"),
    ({"extends": "cpu", **at(("studies", "gp-l", "foundation"), "pocket-cards")}, "studies.gp-l.foundation: must be a foundation of the corpus numbers"),
    ({"extends": "smoke", "foundations": {"pocket-text": None}}, "foundations.pocket-cards.language: .*there is none"),
    # models
    (under("", model="./no/such/folder"), "model: must be a folder with a config.json, not './no/such/folder'"),
    (under("", model="/no/such/folder"), "model: must be a folder"),
    (under("", model="~/no/such/folder"), "model: must be a folder"),
    (under("", model="~nobody-here/x"), "model: must be a folder with a config.json, not '~nobody-here/x'"),
    (under("", model="gpt2", studies=under("studies.one", foundation="no-such")["studies"]), "studies.one.foundation: must be left out where model is given, not 'no-such'"),
    (under("", model="gpt2", studies=under("studies.one", lora={"parts": "vision"})["studies"]), "studies.one.lora.parts: must be language"),
    (under("", model="a/b/c"), "model: must be a folder .* or a name"),
    (under("", model=""), "model: must be a folder"),
    (under("", model="owner/mo del"), "model: must be a folder"),
    (under("", model=5), "model: must be a text, not 5"),
    # extends
    ({"extends": "cpuu"}, "extends: unknown profile 'cpuu'; did you mean cpu"),
    ({"extends": "../cpu"}, "extends: unknown profile '../cpu'"),
    ({"extends": "mine"}, "extends: goes round in circles: mine -> mine"),
    ({"extends": 5}, "extends: unknown profile 5"),
    ({"extends": ["cpu"]}, "extends: unknown profile"),
    # files
    ("", "the file is empty"),
    ("# nothing\n", "the file is empty"),
    ("- a\n- b\n", "the file is a list"),
    ("cpu", "the file is a single value"),
    ("seeds: [0]\nseeds: [1]\nstudies: {}\n", "line 2: duplicate key 'seeds'"),
    ("seeds: [0]\nstudies:\n  a: {arms: {}}\n  a: {arms: {}}\n", "line 4: duplicate key 'a'"),
    ("seeds: [0\nstudies: {}\n", "line 2: "),
    ("seeds: [0]\n\tstudies: {}\n", "line 2: "),
    ("seeds: &a [0]\nstudies: *a\n", r"line 2: an alias \(\*\) is not read"),
    ("seeds: !!python/object/apply:os.system ['true']\n", "line 1: could not determine a constructor"),
    ("seeds: !!set {0, 1}\n", "line 1: "),
    ("? [1]\n: 2\n", "line 1: a key must be a name"),
    ("seeds: [0]\n---\nseeds: [1]\n", "line 2: "),
    ("seeds: [0]\n<<: {studies: {}}\n", r"\['<<'\]: unknown"),
    (b"seeds: [0]\nstudies: \xff\n", "line 2: the file is not UTF-8"),
    (b"seeds: [0]\x00\n", "no YAML: "),
    ("[" * 1200, "the file is nested too deeply"),
    ("seeds: " + "9" * 5000, "Exceeds the limit"),
    ("# " + "x" * 2_000_000, "the file has more than 1,000,000 bytes"),
    ("seeds: [no]\nstudies: {}", r"seeds\[0\]: must be a whole number, not 'no'"),
    ("seeds: [010]\nstudies: {}", r"seeds\[0\]: must be a whole number, not '010'"),
    ("seeds: [1:30]\nstudies: {}", r"seeds\[0\]: must be a whole number, not '1:30'"),
    ("seeds: [1_000]\nstudies: {}", r"seeds\[0\]: must be a whole number, not '1_000'"),
    ('"a\\nb": 1\nseeds: [0]\n', r"\['a\\nb'\]: unknown"),
    ("? null\n: 1\n", r"\[null\]: unknown"),
    ("seeds: [0]\nstudies: {one: {arms: {a: {~: 1}}}}\n", r"studies\.one\.arms\.a\[null\]: unknown"),
]  # fmt: skip


@pytest.mark.parametrize("content, said", WRONG, ids=[said[:60] for _, said in WRONG])
def test_a_wrong_profile_is_refused_in_one_line(refusal, content, said):
    line = refusal(content)
    assert re.match(said, line), line


def test_there_are_enough_of_them():
    assert len(WRONG) >= 120


@pytest.mark.parametrize("name", ["huge", "../cpu", "cpu.yaml", "", "CPU", "/etc/passwd", "cpu\n", "a\0b"])
def test_a_profile_that_is_not_there(profiles, capsys, name):
    assert cli.main(["plan", "--profile", name]) == 2
    out, err = capsys.readouterr()
    assert not out and err.startswith("posttrain plan: unknown profile ") and err.count("\n") == 1
    assert "choose one of cpu, gpu, smoke" in err


def test_several_problems_are_counted(profiles):
    profiles(mine=under("studies.one.ppo", episodes=0, clip=-1, gamma=7))
    with pytest.raises(config.ConfigError, match=r"episodes: must be at least 1, not 0 \(and 2 more\)$"):
        config.load("mine")


def test_a_text_model_is_refused_where_pictures_are_shown(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    told = under("", model=str(tmp_path))
    assert config.check("mine", told).run("one/ppo/1").model == str(tmp_path)
    told = under("studies.one", told, task="general-points-vision")
    with pytest.raises(config.ConfigError, match="model: must read pictures"):
        config.check("mine", told)
    (tmp_path / "config.json").write_text('{"model_type": "llava", "vision_config": {}}')
    assert config.check("mine", told).run("one/init/0").foundation is None


@pytest.mark.parametrize("content", ["5", "null", "[]", "{", "[" * 9000])
@pytest.mark.parametrize("task", ["general-points", "general-points-vision"])
def test_a_model_whose_config_holds_no_settings_is_refused(tmp_path, content, task):
    (tmp_path / "config.json").write_text(content)
    told = under("studies.one", under("", model=str(tmp_path)), task=task)
    with pytest.raises(config.ConfigError, match="model: must be a folder with a config.json"):
        config.check("mine", told)


def test_what_only_a_default_says_is_no_reason_to_refuse():
    """A task's revised sets, eight checkpoints, a warm-up: they were never said, and stored runs have them."""
    census = {"sets": ["seen"], "decodings": ["greedy"]}
    few = under("studies.one", under("foundations.pocket-text", steps=20, reading_steps=0), census=census)
    few["studies"]["one"].pop("checkpoints")
    assert config.check("mine", few).run("one/init/0").settings.checkpoints == 8


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["id", "init"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8) | st.integers(), inner, max_size=3)
    ),
    max_leaves=6,
)
PATHS = sorted({path[:n] for path, _ in leaves(CPU) for n in range(1, len(path) + 1)})


@examples(max_examples=150, deadline=None)
@given(st.sampled_from(PATHS), VALUES)
def test_whatever_stands_there_is_taken_or_refused_in_one_line(path, value):
    try:
        profile = config.check("mine", config.merged(CPU, at(path, value)))
        assert profile.runs() and all(run.resolved() for run in profile.runs())
    except config.ConfigError as error:
        assert "\n" not in str(error) and len(str(error)) < 600


@examples(max_examples=150, deadline=None)
@given(st.binary(max_size=60) | st.text(alphabet="ab:-[]{}&*!|>?'\"#%@`,. \n\t0e", max_size=60))
def test_whatever_the_file_holds_is_read_or_refused_in_one_line(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    try:
        assert isinstance(files.read(path), dict)
    except ValueError as error:
        assert str(error) and "\n" not in str(error)


# --- what is taken -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_profiles_are_taken(name):
    profile = config.load(name)
    arms = sum(len(study.arms) * len(study.seeds or profile.seeds) for study in profile.studies.values())
    assert profile.name == name and len(profile.runs()) == arms >= 15
    for run in profile.runs():
        start = profile.studies[run.study].arms[run.arm].start
        assert profile.run(run.name) == run and (run.parent.arm if run.parent else None) == start
        assert all(one.algorithm == "init" for one in run.ancestors[:1]), "every chain begins with Init"


def test_numbers_as_people_write_them(profiles):
    text = "extends: cpu\nstudies: {virl-vl: {arms: {sft: {sft: {learning_rate: %s}, budget_gflop: %s}}}}\n"
    for rate, budget in (("1e-4", "3e4"), ("1.0e-4", "30000"), ("0.0001", "3.0e+4"), ("+1E-4", "30000.")):
        profiles(mine=text % (rate, budget))
        run = config.load("mine").run("virl-vl/sft/0")
        assert run.settings.sft.learning_rate == 1e-4 and run.settings.budget_gflop == 30000
    assert files._Loader("a: [~, true, .5, 0]").get_single_data() == {"a": [None, True, 0.5, 0]}


@pytest.mark.parametrize("rule", ["10", 10, "11/12/13", {"J": 11, "Q": 12, "K": 13}, "5/5/5", "99", 1])
def test_rules_are_those_of_the_verifier_in_one_spelling(rule):
    assert config.GeneralPointsConfig(rule=rule).rule == str(Rule.parse(rule))
    assert (
        config.GeneralPointsConfig(rule=rule).rule
        == config.GeneralPointsConfig(rule=str(Rule.parse(rule))).rule
    )


def test_only_a_profile_that_extends_another_and_says_so_shares_its_folder(profiles):
    profiles(
        base={"extends": "cpu", "kept": "base"},
        more={"extends": "base"},
        same={"extends": "more", "kept": "base"},
        own={"extends": "more", "kept": "own"},
        none={"extends": "more", "kept": None},
        other={"extends": "cpu", "kept": "base"},
        last={"extends": "other"},
        free={"extends": "cpu", "kept": "results-of-mine"},
    )
    kept = {name: config.load(name).kept for name in ("base", "more", "same", "own", "none")}
    assert kept == {"base": "base", "more": None, "same": "base", "own": "own", "none": None}
    guards = {name: config.load(name).guard for name in ("base", "same", "none")}
    assert guards["base"] == guards["same"] == config.ROOT != guards["none"]
    for name, said in (("other", "other"), ("last", "other"), ("free", "free")):
        with pytest.raises(
            config.ConfigError, match=f"^profile {said}: kept: must be {said}, its own name, .*"
        ):
            config.load(name)


def test_a_profile_that_extends_another_says_only_what_it_changes(profiles):
    profiles(
        mine={"extends": "between", "studies": {"virl-vl": {"arms": {"ppo": {"ppo": {"clip": 0.3}}}}}},
        between={
            "extends": "cpu",
            "seeds": [7],
            "studies": {
                "gp-l": None,
                "virl-l": {"seeds": [0]},
                "virl-vl": {"census": {"limit_others": None}},
            },
        },
    )
    mine, cpu = config.load("mine"), config.load("cpu")
    assert list(mine.studies) == [name for name in cpu.studies if name != "gp-l"] and mine.seeds == (7,)
    assert mine.name == "mine" and mine.root == config.ROOT / "build" / "profiles" / "mine"
    before, after = (p.run(f"virl-vl/ppo/{p.seeds[0]}").resolved() for p in (cpu, mine))
    assert after["ppo"] == {**before["ppo"], "clip": 0.3} and after["census"] == {
        **before["census"],
        "limit_others": None,
    }
    for name in ("virl-l/ppo", "virl-l/sft", "virl-l/init"):  # its own seeds stay
        assert mine.run(f"{name}/0").resolved() == cpu.run(f"{name}/0").resolved()
    assert {run.seed for run in mine.runs() if run.study == "virl-vl"} == {7}
    profiles(one={"extends": "two"}, two={"extends": "one"})
    with pytest.raises(
        config.ConfigError, match="profile two: extends: goes round in circles: one -> two -> one"
    ):
        config.load("one")


def test_only_the_published_profile_writes_beside_the_sources():
    cpu, fresh, smoke = config.load("cpu"), config.load("cpu", fresh=True), config.load("smoke")
    assert cpu.root == config.ROOT and not cpu.fresh and fresh.fresh
    assert fresh.root == config.ROOT / "build" / "reproduce" / "cpu"
    assert smoke.root == config.ROOT / "build" / "profiles" / "smoke"
    assert cpu.models == config.ROOT / "data" / "models" and cpu.results == config.ROOT / "data" / "results"
    assert cpu.state == config.ROOT / "build" / "state"


def test_runs_are_arms_with_seeds(tmp_path):
    profile = config.check("mine", SMALL, root=tmp_path)
    assert [run.name for run in profile.runs()] == [
        f"one/{arm}/{seed}" for seed in (0, 1) for arm in ("init", "sft", "ppo")
    ]
    ppo = profile.run("one/ppo/1")
    assert (ppo.algorithm, ppo.task, ppo.foundation) == ("ppo", "general-points", "pocket-text")
    assert ppo.parent == profile.run("one/init/1") and ppo.parent.parent is None
    assert ppo.model == profile.foundation("pocket-text", 1)
    assert ppo.settings.ppo == config.PPOConfig(episodes=8, epochs=2) and ppo.settings.checkpoints == 2
    with pytest.raises(
        config.ConfigError, match="no run 'one/pro/0'; did you mean one/ppo/0. choose one of one/init/0"
    ):
        profile.run("one/pro/0")
    own = config.check("mine", under("studies.one", seeds=[5]))
    assert {run.seed for run in own.runs()} == {5}


def test_foundations_come_with_their_seed_and_what_they_stand_before():
    profile = config.check("mine", SMALL)
    tower = profile.foundation("pocket-cards", 3)
    assert tower == config.VisionConfig(seed=3, text=config.FoundationConfig(seed=3, steps=300))
    assert tower.resolved()["text"] == profile.foundation("pocket-text", 3).resolved()
    with pytest.raises(config.ConfigError, match="no foundation 'pocket'; did you mean pocket-text"):
        profile.foundation("pocket", 0)


# --- what a run's settings are -------------------------------------------------------------------------------------

# The defaults that the published runs were made with. A new default belongs here only with a new version of the numerics.
SFT = {
    "learning_rate": 1e-3,
    "batch_size": 128,
    "shuffle": 1,
    "warmup": 0.03,
    "adam_beta2": 0.98,
    "max_grad_norm": 1.0,
}
PPO = {
    **{"learning_rate": 1e-3, "value_learning_rate": 3e-3, "episodes": 256, "epochs": 1, "minibatches": 4},
    **{
        "clip": 0.2,
        "value_clip": 5.0,
        "value_coefficient": 0.5,
        "entropy_coefficient": 0.0,
        "kl_coefficient": 0.0,
    },
    **{"gamma": 0.9, "gae_lambda": 0.95, "temperature": 1.0, "max_tokens": 40, "max_grad_norm": 1.0},
    **{"ratio": "token", "thought_coefficient": 1.0, "bootstrap_truncated": False, "detach_value": True},
    "microbatch_tokens": 8192,
}
LORA = {"rank": 32, "alpha": 64, "parts": "language"}
CENSUS = {
    **{
        "decodings": ["greedy", "sampled"],
        "limit": None,
        "limit_others": None,
        "batch": 512,
        "max_tokens": 40,
    },
    **{"kl_hands": 256, "feedback": "informative", "protocol": "clean", "pixels": None},
}
JUDGED = {
    "general-points": {"verify_steps": 5, "sets": ["id", "id_seen", "ood", "in_range_a", "in_range_b"], "revised": ["id", "ood"]},
    "general-points-vision": {"verify_steps": 5, "sets": ["id", "id_seen", "ood", "visual"], "revised": ["id", "ood", "visual"], "pixels": 56},
    "navigation": {"verify_steps": 2, "sets": ["id", "ood", "id_seen", "ood_seen", "cities", "cities_ood", "benchmark"]},
    "navigation-vision": {"verify_steps": 2, "sets": ["id", "ood", "id_seen", "cities", "benchmark"], "pixels": 40},
}  # fmt: skip
HANDS = {
    **{
        "rule": "10",
        "target": 24,
        "verify_steps": 5,
        "split": "train",
        "faces": False,
        "feedback": "informative",
    },
    **{"protocol": "clean", "deck": "with_replacement", "suits": "mixed", "pixels": None, "styles": None},
}
ROUTES = {
    **{"actions": "absolute", "city": "Alderby", "split": "train", "verify_steps": 2, "skip_failed": False},
    **{"feedback": "informative", "protocol": "clean", "pixels": None},
}
POSED = {
    "general-points": HANDS,
    "general-points-vision": {**HANDS, "suits": "black", "pixels": 56, "styles": 64},
    "navigation": ROUTES,
    "navigation-vision": {**ROUTES, "pixels": 40},
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_settings_are_what_the_profile_says_over_the_defaults_of_the_published_runs(name):
    said = yaml.safe_load(SAID[name])
    for run in config.load(name).runs():
        study = said["studies"][run.study]
        arm = study["arms"][run.arm]
        task = study.get("task", "general-points")
        both = lambda part: {**study.get(part, {}), **arm.get(part, {})}  # noqa: B023, E731
        census = {**CENSUS, **JUDGED[task]}
        census = {**census, "revised": census.get("revised", census["sets"]), **both("census")}
        trainer = ("ppo", PPO) if arm["algorithm"] == "ppo" else ("sft", SFT)
        assert run.resolved() == {
            "algorithm": arm["algorithm"],
            "task": task,
            **{length: arm[length] for length in ("steps", "budget_gflop") if length in arm},
            "checkpoints": arm.get("checkpoints", study["checkpoints"]),
            "bf16": study.get("bf16", False),
            **({"spacing": study["spacing"]} if "spacing" in study else {}),
            "environment": {**POSED[task], **both("environment")},
            "lora": {**LORA, **both("lora")},
            trainer[0]: {**trainer[1], **both(trainer[0])},
            "census": census,
        }


def test_foundations_are_what_the_published_ones_were_made_with():
    text = {
        "seed": 0,
        "corpus": "numbers",
        "steps": 4500,
        "batch_tokens": 4096,
        "hidden": 128,
        "layers": 4,
        "heads": 4,
        "mlp": 384,
    }
    text |= {
        "muon_lr": 0.02,
        "muon_decay": 0.2,
        "adam_lr": 3e-3,
        "reading_steps": 300,
        "warmup": 100,
        "threads": 1,
    }
    tower = {
        "seed": 0,
        "corpus": "cards",
        "language": "pocket-text",
        "steps": 200,
        "reading_steps": 0,
        "batch": 96,
        "size": 56,
    }
    tower |= {
        "patch": 14,
        "hidden": 96,
        "layers": 2,
        "heads": 4,
        "mlp": 192,
        "learning_rate": 2e-3,
        "warmup": 50,
        "threads": 1,
    }
    assert config.FoundationConfig().resolved() == text and config.VisionConfig().resolved() == {
        **tower,
        "text": None,
    }
    for name in ("smoke", "cpu"):
        profile = config.load(name)
        for foundation, said in yaml.safe_load(SAID[name])["foundations"].items():
            of = {**tower, "text": None} if "language" in said else text
            said = {key: value for key, value in said.items() if key != "kept"}
            made = profile.foundation(foundation, 2)
            of = {**of, **said, "seed": 2, **({"text": made.text.resolved()} if "language" in said else {})}
            assert made.resolved() == of


def test_what_the_settings_say_of_the_tasks_is_so():
    assert list(config.TASKS) == [name for name in config.TASKS if name in tasks.TASKS] and len(
        config.TASKS
    ) == len(tasks.TASKS)
    for name, task in tasks.TASKS.items():
        told = config.TASKS[name]
        assert {*told.sets, *told.more} == {*task.sets} >= {*told.revised}
        run = config.Arm(algorithm="sft", steps=1, task=name)
        defaults = inspect.signature(task.environment).parameters
        posed = run.environment.arguments()
        assert task.training.items() <= posed.items()
        for key, value in {key: value for key, value in posed.items() if key not in task.training}.items():
            assert value == defaults[key].default, key
        assert isinstance(task.environment(**posed), GeneralPointsEnv | NavigationEnv)
        assert set(defaults) - set(posed) <= {"hands", "routes", "pixels", "styles"}
    trained_in = {city: tuple(splits) for city, splits in cities.SPLITS.items()}
    assert trained_in == SPLITS | {cities.CALIBRATION_CITY: ("calibration",)}
    assert (cards.POCKET.width, cards.STYLES, streets.POCKET) == (56, 64, 40)
    for given_to in (config.CensusConfig, config.GeneralPointsConfig, config.NavigationConfig):
        fields = given_to.model_json_schema()["properties"]
        assert (tuple(fields["feedback"]["enum"]), tuple(fields["protocol"]["enum"])) == (FEEDBACK, PROTOCOLS)


def test_settings_stay_as_they_are_and_copies_are_checked():
    ppo = config.PPOConfig()
    with pytest.raises(ValueError, match="frozen"):
        ppo.clip = 1.0
    assert ppo.model_copy(update={"episodes": 8}).episodes == 8 and ppo.episodes == 256
    for wrong in ({"episodes": 9}, {"clip": "0.2"}, {"klip": 0.2}):
        with pytest.raises(ValueError, match="multiple of minibatches|valid number|did you mean clip"):
            ppo.model_copy(update=wrong)
    census = config.CensusConfig(task="navigation", limit=3)
    assert census.model_copy(update={"limit": 4}) == config.CensusConfig(task="navigation", limit=4)


def test_a_later_field_at_its_neutral_value_keeps_identities():
    class Later(config.PPOConfig):
        clip_high: float | None = config.settings.setting(None, "…", json_schema_extra={"neutral": None})

    assert Later().resolved() == config.PPOConfig().resolved()
    assert Later(clip_high=0.3).resolved() == {**config.PPOConfig().resolved(), "clip_high": 0.3}


def test_every_setting_has_a_sentence_and_numbers_have_bounds():
    rows = config.table()
    assert len({(row.path, row.sentence) for row in rows}) == len(rows) > 90
    for row in rows:
        assert row.sentence.endswith(".") and len(row.sentence) < 110, row
        assert row.allowed or "number" not in row.type, row
    by_path = {row.path: row for row in rows}
    assert by_path["studies.*.arms.*.ppo.clip"] == (
        "studies.*.arms.*.ppo.clip", "number", "0.2", "above 0", "How far the probability ratio may leave 1."
    )  # fmt: skip
    assert by_path["seeds"].default == "required" and by_path["studies.*.arms.*.bf16"].default == "false"
    assert by_path["studies.*.arms.*.census.decodings"].allowed == "one of greedy, sampled"


def test_the_released_settings_of_the_book_are_a_profile_s():
    text = (config.ROOT / "book" / "paper-versus-code.md").read_text()
    arms = yaml.safe_load(
        next(block for block in re.findall("```yaml\n(.*?)```", text, re.S) if "start" in block)
    )
    for run in config.check("mine", under(ARMS, **arms)).runs()[-1:]:
        assert run.arm in arms and run.parent.arm == "init" and run.settings.ppo.clip == 0.1
