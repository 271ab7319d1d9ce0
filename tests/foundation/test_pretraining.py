import itertools
import json
import shutil

import pytest
import torch
from posttrain import config as settings
from posttrain import foundation, store
from posttrain.foundation import gates, pretraining, tokenizer, training
from posttrain.foundation.gates import numbers as judging

TINY = {
    "steps": 12,
    "batch_tokens": 1024,
    "hidden": 32,
    "layers": 1,
    "heads": 2,
    "mlp": 64,
    "reading_steps": 6,
    "warmup": 2,
    "seed": 3,
}
CONFIG = pretraining.FoundationConfig(**TINY)


def test_batches_learn_completions_only():
    tokens = tokenizer.build()
    for batch in itertools.islice(pretraining.batches(CONFIG, tokens), 5):
        assert batch.ids.shape == batch.learned.shape and batch.ids.numel() <= CONFIG.batch_tokens
        assert not batch.learned[batch.ids == tokens.pad_token_id].any()
        last = batch.learned.long().cumsum(1).argmax(1)
        assert (batch.ids[torch.arange(len(last)), last] == tokens.eos_token_id).all()
        assert not batch.learned[:, 0].any()


def test_a_batch_may_be_larger_than_a_pool_of_documents(monkeypatch):
    monkeypatch.setattr(pretraining, "POOL", 16)
    large = CONFIG.model_copy(update={"batch_tokens": 10**6})
    sizes = [len(batch.ids) for batch in itertools.islice(pretraining.batches(large, tokenizer.build()), 3)]
    assert sizes == [16, 16, 16]


def test_padding_does_not_matter():
    tokens = tokenizer.build()
    batch = next(pretraining.batches(CONFIG, tokens))
    model = pretraining.new_model(CONFIG, tokens)
    wider = training.Batch(
        torch.nn.functional.pad(batch.ids, (0, 7), value=5), torch.nn.functional.pad(batch.learned, (0, 7))
    )
    assert pretraining.loss(model, wider).item() == pytest.approx(
        pretraining.loss(model, batch).item(), rel=1e-4
    )


def test_schedule_warms_up_and_ends_at_zero():
    config = pretraining.FoundationConfig(steps=100, warmup=10, reading_steps=50)
    rates = [training.schedule(step, config.steps, config.warmup) for step in range(100)]
    assert rates[0] == 0.1 and max(rates) == 1.0 and rates[49] == 1.0 and rates[-1] == pytest.approx(0.02)


def test_training_is_reproducible_and_learns():
    losses = []
    first, _, measured = pretraining.pretrain(CONFIG, lambda step, metrics: losses.append(metrics["loss"]))
    second, _, _ = pretraining.pretrain(CONFIG)
    assert all(torch.equal(a, b) for a, b in zip(first.state_dict().values(), second.state_dict().values()))
    assert losses[11] < losses[0] and len(losses) == 12 and measured["tokens"] > 8000


@pytest.mark.parametrize("corpus", ["numbers", "directions"])
def test_make_writes_a_checkpoint_with_its_card(tmp_path, corpus):
    config = CONFIG.model_copy(update={"corpus": corpus})
    card = foundation.make(config, tmp_path / "pocket", 6)
    assert (
        set(card["gates"]) == set(gates.GATES[corpus])
        and card["identity"] == config.identity
        and set(card["mixture"]["MIXTURE"]) == {maker.__name__ for maker in foundation.source(corpus).MIXTURE}
    )
    assert json.loads((tmp_path / "pocket" / "card.json").read_text()) == card
    assert {"config.json", "model.safetensors", "tokenizer.json", "card.json"} <= {
        p.name for p in (tmp_path / "pocket").iterdir()
    }
    assert [p.name for p in tmp_path.iterdir()] == ["pocket"]
    assert store.edits(tmp_path / "pocket", store.CARD) == []


def test_a_profile_provides_what_it_has_not_and_then_leaves_it_alone(tmp_path, monkeypatch):
    towers = {"corpus": "cards", "language": "text", "steps": 2, "batch": 4, "hidden": 16, "layers": 1}
    text = {name: value for name, value in TINY.items() if name != "seed"}
    said = {
        "seeds": [3],
        "gate_hands": 4,
        "foundations": {"text": text, "eyes": {**towers, "heads": 2, "mlp": 16}},
    }
    arm = {"algorithm": "init", "task": "general-points-vision", "steps": 1}
    said["studies"] = {"s": {"foundation": "eyes", "arms": {"init": arm}}}
    profile = settings.check("tiny", said, True, root=tmp_path)
    card = foundation.provide(profile, "eyes", 3)  # and the text foundation before which it stands
    folders = [store.find_foundation(profile, name, 3) for name in ("text", "eyes")]
    assert folders == [profile.models / "text-3", profile.models / "eyes-3"]
    # Another tower, whose text foundation is the same one under another name.
    said["foundations"] = {
        "words": text,
        "eyes": {**towers, "steps": 3, "heads": 2, "mlp": 16, "language": "words"},
    }
    other = settings.check("tiny", said, True, root=tmp_path)
    assert foundation.provide(other, "eyes", 3)["text"] == card["text"]
    assert store.edits(other.models / "words-3", store.CARD) == []
    monkeypatch.setattr(foundation, "make", lambda *a: pytest.fail("made again"))
    assert foundation.provide(other, "eyes", 3)["text"] == card["text"] and not list(profile.state.glob("*"))


def test_of_some_foundations_only_the_card_is_kept(tmp_path):
    """The weights lie under build/; without them the card stands for the foundation, and they can be made
    again."""
    text = {name: value for name, value in TINY.items() if name != "seed"} | {"kept": "card"}
    arm = {"algorithm": "init", "steps": 1, "census": {}}
    said = {"seeds": [3], "gate_hands": 4, "foundations": {"text": text}}
    said["studies"] = {"s": {"foundation": "text", "arms": {"init": arm}}}
    profile = settings.check("tiny", said, True, root=tmp_path)
    plain = settings.check(
        "tiny", {**said, "foundations": {"text": {**text, "kept": "weights"}}}, True, root=tmp_path
    )
    assert profile.foundation("text", 3).identity == plain.foundation("text", 3).identity
    made = foundation.provide(profile, "text", 3)
    beside, home = profile.models / "text-3", tmp_path / "build" / "models" / "text-3"
    assert store.find_foundation(profile, "text", 3) == home and store.edits(beside, store.CARD) == []
    assert [path.name for path in beside.iterdir()] == [store.CARD]
    (beside / store.CARD).unlink()  # as if killed before the card was kept
    assert foundation.provide(profile, "text", 3) == made == store.read_record(beside / store.CARD)
    shutil.rmtree(home)  # as in a clone
    assert store.find_foundation(profile, "text", 3) is None
    assert store.find_foundation(profile, "text", 3, weights=False) == beside
    with pytest.raises(store.StoreError, match="posttrain pretrain"):
        store.model_path(profile, profile.run("s/init/3"))
    again = foundation.provide(profile, "text", 3)
    assert again["identity"] == made["identity"] and again["gates"] == made["gates"]
    assert store.read_record(beside / store.CARD) == made  # the first one stays
    (beside / "model.safetensors").write_bytes(b"")
    assert "edited" in store.edits(beside, store.CARD)[0] or "missing" in store.edits(beside, store.CARD)[0]


@pytest.mark.parametrize(
    "text, numbers, correct",
    [
        ("(10-4)*(5-1)=24", [10, 4, 5, 1], True),
        ("(10-4)*(5-1)=25", [10, 4, 5, 1], False),
        ("6*4=24", [10, 4, 5, 1], False),
        ("24", [24], False),
        ("6*=24", [6, 4], False),
    ],
)
def test_gates_judge_formulas(text, numbers, correct):
    assert judging.correct(text, numbers) is correct


def test_gates_find_the_formula_behind_a_list():
    assert judging.last_formula("10 4 5 1 (10-4)*(5-1)=24") == "(10-4)*(5-1)=24"
    assert judging.last_formula("{10; 4; 5; 1}, (10-4)*(5-1)=24") == "(10-4)*(5-1)=24"
