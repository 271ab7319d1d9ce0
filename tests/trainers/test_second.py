"""A study as the second edition makes it, at the smallest size: carried out, decided, drawn."""

import json

import pandas as pd
import pytest
import yaml
from matplotlib import pyplot as plt
from posttrain import config, store
from posttrain.analysis import answers, claims, study, told
from posttrain.analysis.claims import Measure, Outcomes
from posttrain.policy import Chat, words
from posttrain.trainers import arm as arms

RULES = yaml.safe_load((config.ROOT / "data" / "claims.yaml").read_text())
SECOND = config.read("cpu")["studies"]["gp-l"]
SMALL = {
    "limit": 4,
    "limit_others": 3,
    "limit_between": 2,
    "dialogues": 2,
    "draws": 3,
    "told": 2,
    "kl_hands": 3,
    "max_tokens": 6,
}
PPO = {"episodes": 4, "max_tokens": 6, "gamma": 0.0, "value_warmup": 1}
ARMS = {
    "init": {"algorithm": "init", "steps": 4, "checkpoints": 1},
    "sft": {"algorithm": "sft", "start": "init", "budget_gflop": 0.3},
    "ppo": {"algorithm": "ppo", "start": "init", "budget_gflop": 0.3, "ppo": PPO},
}


@pytest.fixture(scope="module")
def made(tmp_path_factory, checkpoints):
    tiny = {"checkpoints": 3, "lora": {"rank": 4, "alpha": 8}, "sft": {"batch_size": 4}, "arms": ARMS}
    said = {**SECOND, **tiny, "seeds": None, "census": {**SECOND["census"], **SMALL}}
    settings = {"seeds": [0, 1], "model": checkpoints["pocket"], "studies": {"gp-l": said}}
    profile = config.check("tiny", settings, True, root=tmp_path_factory.mktemp("second"))
    for run in profile.runs():
        arms.carry_out(profile, run)
    return profile


def test_arms_start_from_arms_and_learn_from_errors(tmp_path, checkpoints):
    """Figures 15 and 19: SFT on the starting model's own errors, and RL from where that ended."""
    tiny = {"checkpoints": 1, "lora": {"rank": 4, "alpha": 8}, "sft": {"batch_size": 4}}
    start = {"algorithm": "sft", "start": "init", "steps": 2, "sft": {"errors": 2}}
    late = {**ARMS["ppo"], "start": "errors", "budget_gflop": 0.05}
    census = {"sets": ["id"], "limit": 2, "max_tokens": 6}
    study = {**tiny, "census": census, "arms": {"init": ARMS["init"], "errors": start, "late": late}}
    settings = {"seeds": [0], "model": checkpoints["pocket"], "studies": {"gp-l": study}}
    profile = config.check("tiny", settings, True, root=tmp_path)
    run = profile.run("gp-l/late/0")
    assert [one.arm for one in run.ancestors] == ["init", "errors"]
    arms.carry_out(profile, run)
    assert store.read(profile, run).checkpoints.step.max() > 0
    tokens = {
        arm: store.read(profile, profile.run(f"gp-l/{arm}/0")).training.tokens for arm in ("init", "errors")
    }
    assert tokens["errors"].iloc[1] > 1.2 * tokens["init"].iloc[1]  # errors and messages are read as well
    models = [arms.start(profile, profile.run(f"gp-l/{arm}/0")) for arm in ("errors", "late")]
    names = [name for name, _ in models[0].model.named_parameters() if "base_layer" in name]
    weights = [dict(model.model.named_parameters()) for model in models]
    assert any(not weights[0][name].equal(weights[1][name]) for name in names)


def test_checkpoints_double_and_have_fewer_cases_in_between(made):
    for arm in ("sft", "ppo"):
        _, checkpoints, _, hands = store.read(made, made.run(f"gp-l/{arm}/0"))[:4]
        spent = checkpoints.groupby("step").gflops.first().tolist()
        assert spent[0] == 0 and len(spent) == 4 and spent[-1] >= 0.3
        assert all(later > 1.3 * earlier for earlier, later in zip(spent[1:], spent[2:]))
        cases = hands[(hands.set == "id") & (hands.decoding == "sampled")].groupby("step").size().tolist()
        assert cases == [4, 2, 2, 4]
        # The cases in between are among the others, and every seed and arm meets the same ones.
        by_step = [set(rows.hand) for _, rows in hands[hands.set == "id"].groupby("step")]
        assert all(few <= by_step[0] == by_step[-1] for few in by_step)
    tables = [store.read(made, made.run(f"gp-l/{name}")).hands for name in ("sft/0", "ppo/1")]
    assert set(tables[0][tables[0].set == "ood"].hand) == set(tables[1][tables[1].set == "ood"].hand)


def test_the_critic_learns_alone_first(made):
    training = store.read(made, made.run("gp-l/ppo/0")).training
    assert training.grad_norm.iloc[0] == 0 and (training.grad_norm.iloc[1:] > 0).all()


def test_both_divergences_are_measured(made):
    table = store.read(made, made.run("gp-l/sft/0")).checkpoints.query("decoding == 'sampled'")
    assert table[table.step == 0][["kl", "kl_back"]].eq(0).all(axis=None)
    assert table[table.step > 0][["kl", "kl_back"]].gt(0).all(axis=None)


def test_what_was_said_at_the_end_is_kept(made):
    run = made.run("gp-l/ppo/0")
    kept = store.dialogues(made, run)
    assert set(kept.set) == set(SECOND["census"]["sets"]) and kept.groupby("set").hand.nunique().eq(2).all()
    assert kept[(kept.set == "id") & (kept.decoding == "sampled")].answer.max() == 5
    record = json.loads((store.find(made, run) / "run.json").read_text())
    assert "dialogues.parquet" in record["files"]
    assert set(told.kept(made, "gp-l")["seed"]) == {0, 1} and set(told.kept(made, "gp-l", [1])["seed"]) == {1}
    both = told.told(made, "gp-l", 0, "ood")
    assert set(both.arm) == {"Init", "SFT", "RL"} and both.hand.nunique() == 2
    assert told.side_by_side(both, told.telling(both)).count("<strong>") == 3
    with pytest.raises(ValueError, match="kept no dialogues on cities, sampled; census: {told: 12}"):
        told.told(made, "gp-l", 0, "cities")


@pytest.mark.parametrize("name", ["paper", "strict"])
def test_every_claim_of_the_study_is_decided(made, name):
    outcomes = Outcomes(store.collect(made, "gp-l")[3])
    mine = [said for said in RULES["claims"] if claims.study_of(said, RULES) == "gp-l"]
    assert len(mine) == 10
    for said in mine:
        row = claims.decide(outcomes, said, name, claims.measures(said, RULES)[name], RULES)
        # Two seeds, and an Init that solves nothing: neither can decide.
        assert row["state"] in ("undecided", "no headroom") and row["seeds"] == 2
        if said["test"] != "matched":
            assert row["low"] <= row["estimate"] <= row["high"]
    level = outcomes.level("init", 0, "seen", Measure("first_try", "sampled"))
    assert 0 <= level <= 1


def test_its_figures_can_be_drawn(made, monkeypatch):
    monkeypatch.setattr(study.config, "load", lambda *_: made)
    points = study.Book("tiny").study("gp-l")
    sets = {"seen": "seen", "same_numbers": "same numbers", "id": "held out", "ood": "another rule"}
    for figure in (
        answers.distances({"GP-L": points}, sets),
        answers.growth({"GP-L": (points, "first_try")}, {"seen": "seen", "id": "held out"}),
    ):
        assert figure.axes
        plt.close(figure)
    assert isinstance(points.checkpoints, pd.DataFrame)


def test_the_verdicts_are_a_list_that_pages_read(made, monkeypatch, tmp_path):
    monkeypatch.setattr(study.config, "load", lambda *_: made)
    book = study.Book("tiny")
    book.claims, book.figures = RULES, tmp_path
    rows = claims.verdicts(book)
    assert len(rows) == 20 and {row["task"] for row in rows} == {"gp-l"}
    assert {row["measure"] for row in rows} == {"paper", "strict"}
    assert {row["state"] for row in rows} <= set(claims.STATES)
    keys = "task claim measure metric decoding estimate low high seeds_low seeds_high seeds init state"
    assert all(list(row) == keys.split() for row in rows)
    book.write("verdicts", rows)
    assert json.loads((tmp_path / "values" / "verdicts.json").read_text()) == rows


def test_a_model_whose_answers_do_not_fit_is_refused(checkpoints):
    def run(most: int) -> config.Run:
        census, late = {"sets": ["id"], "max_tokens": most}, {"max_tokens": 2 * most, "episodes": 4}
        only = {"ppo": {"algorithm": "ppo", "budget_gflop": 1, "ppo": late}}
        study = {"census": census, "arms": only}
        settings = {"seeds": [0], "model": checkpoints["pocket"], "studies": {"one": study}}
        return config.check("tiny", settings, True).run("one/ppo/0")

    chat = Chat(words(checkpoints["pocket"])[0])
    longest = "one/ppo/0: an expert's answer has up to [0-9]+ tokens of this model, and census.max_tokens is "
    with pytest.raises(ValueError, match=f"^{longest}8 and ppo.max_tokens is 16: .*raise it$"):
        arms.check_room(run(8), chat)
    with pytest.raises(ValueError, match=f"^{longest}16: no answer could be right; raise it$"):
        arms.check_room(run(16), chat)
    arms.check_room(run(64), chat)
