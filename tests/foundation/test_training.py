"""The loop that trains foundations: who is killed goes on, to the same bit."""

import json
import multiprocessing
import os
import signal
import time

import pytest
import torch
from posttrain import foundation, store
from posttrain.foundation import pretraining, training, vision
from safetensors.torch import load_file

from tests import processes

TINY = {
    "batch_tokens": 1024,
    "hidden": 32,
    "layers": 1,
    "heads": 2,
    "mlp": 64,
    "reading_steps": 6,
    "warmup": 2,
}
TEXT = {**TINY, "seed": 3, "steps": 12}
SIGHT = {
    **{"corpus": "streets", "language": "pocket-directions", "seed": 3, "steps": 12, "reading_steps": 5},
    **{"batch": 4, "size": 28, "hidden": 16, "layers": 1, "heads": 2, "mlp": 16, "warmup": 2},
}


def make_slowly(settings, folder, state, saved):
    """Makes a foundation, saves each step, tells `saved` of it and waits, so that the kill finds it alive."""
    write, training.SAVE_SECONDS = training.write_state, 0

    def slowly(path, at):
        write(path, at)
        saved.send(at["step"])
        time.sleep(0.2)

    training.write_state = slowly
    foundation.make(config(settings), folder, 3, state)


def config(settings):
    return (vision.VisionConfig if "language" in settings else pretraining.FoundationConfig)(**settings)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    settings = {**TEXT, "corpus": "directions", "steps": 1, "reading_steps": 1, "warmup": 1}
    foundation.make(config(settings), folder / "pocket-directions-3", 3)
    return folder


@pytest.mark.parametrize(("settings", "kills"), [(TEXT, (2, 12)), (SIGHT, (8,))])
def test_a_killed_pretraining_goes_on_to_the_same_bits(tmp_path, models, settings, kills):
    """Killed behind the steps `kills`, in a process of its own each time; 12 is behind the last, before the
    gates."""
    state = tmp_path / "state"
    whole, killed = models / f"whole-{len(kills)}", models / f"killed-{len(kills)}"
    card = foundation.make(config(settings), whole, 3, state)
    assert not state.exists()
    for step in kills:
        told, saved = multiprocessing.Pipe(duplex=False)
        child = processes.start(make_slowly, settings, killed, state, saved)
        saved.close()
        steps = []
        while not steps or steps[-1] < step:
            steps.append(told.recv())  # EOFError if the child ended before it was killed
        child.kill()
        child.join()
        assert child.exitcode == -signal.SIGKILL and not killed.exists()
        assert steps == list(range(steps[0], step + 1))
    assert len(list(state.glob("*.state"))) == 1
    resumed = foundation.make(config(settings), killed, 3, state)
    weights = load_file(whole / "model.safetensors")
    again = load_file(killed / "model.safetensors")
    assert weights.keys() == again.keys() and all(torch.equal(weights[name], again[name]) for name in weights)
    told = [{k: v for k, v in one.items() if k not in ("seconds", "seal")} for one in (card, resumed)]
    assert card["seconds"] > 0 and resumed["seconds"] > 0 and told[0] == told[1]
    assert not state.exists()


def test_a_pool_is_continued_where_it_was_left():
    """Also behind the first pool, where reading is over."""
    settings = config({**TEXT, "batch_tokens": 60_000})
    tokens, place = pretraining.tokenizer.build(), {}
    stream = pretraining.batches(settings, tokens, 0, place)
    batches, places = [], []
    for _ in range(13):
        batches.append(next(stream))
        places.append(json.loads(json.dumps(place)))  # numbers and texts only
    assert places[0]["before"] == 0 and places[-1]["before"] > 0
    for step in (1, places[-1]["before"], 12):
        batch = next(pretraining.batches(settings, tokens, step, places[step - 1]))
        assert torch.equal(batch.ids, batches[step].ids) and torch.equal(batch.learned, batches[step].learned)


def test_pictures_are_continued_where_they_were_left(models):
    settings = config(SIGHT)
    tokens = vision.new_policy(settings, models / "pocket-directions-3").tokenizer
    stream = vision.batches(settings, tokens)
    batches = [next(stream) for _ in range(8)]
    again = next(vision.batches(settings, tokens, 7))
    assert torch.equal(again.ids, batches[7].ids) and again.pictures == batches[7].pictures


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: bytes(len(b))])
def test_a_damaged_state_is_ignored_with_one_line(tmp_path, capsys, damage):
    path = tmp_path / "state" / "x.state"
    assert training.read_state(path) is None and capsys.readouterr().err == ""
    training.write_state(path, {"step": 3, "weights": [torch.ones(2)], "measured": {"loss": 0.5}})
    assert training.read_state(path)["measured"] == {"loss": 0.5}
    assert [p.name for p in path.parent.iterdir()] == ["x.state"]
    path.write_bytes(damage(path.read_bytes()))
    assert training.read_state(path) is None
    line = capsys.readouterr().err
    assert line.count("\n") == 1 and f"{path} is damaged" in line


def test_training_begins_anew_behind_a_damaged_state(tmp_path):
    settings, path = config({**TEXT, "steps": 3, "reading_steps": 2}), tmp_path / "a.state"
    path.write_bytes(b"nothing")
    steps = []
    model, _, _ = pretraining.pretrain(settings, lambda step, measured: steps.append(step), path)
    other, _, _ = pretraining.pretrain(settings)
    assert steps == [0, 1, 2]
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), other.state_dict().values()))


def test_a_full_disk_leaves_the_last_state(tmp_path, monkeypatch):
    path = tmp_path / "x.state"
    training.write_state(path, {"step": 1})

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        training.write_state(path, {"step": 2})
    assert training.read_state(path) == {"step": 1}


def test_a_state_holds_no_code(tmp_path):
    """A pickle that would run something is refused, whatever its digest."""

    class Evil:
        def __reduce__(self):
            return os.system, ("true",)

    path = tmp_path / "x.state"
    training.write_state(path, {"step": Evil()})
    with pytest.raises(Exception, match="[Ww]eights"):
        training.read_state(path)


def test_the_state_is_written_now_and_then(tmp_path, monkeypatch):
    written, clock = [], iter(range(0, 10_000, 25))  # 25 seconds a look
    monkeypatch.setattr(training, "write_state", lambda path, state: written.append(state["step"]))
    monkeypatch.setattr(training.time, "monotonic", lambda: next(clock))
    pretraining.pretrain(pretraining.FoundationConfig(**TEXT), state=tmp_path / "x.state")
    assert 1 < len(written) < 12 and written[-1] == 12


def test_a_foundation_is_sealed_by_its_card(models):
    folder = models / "pocket-directions-3"
    assert store.edits(folder, store.CARD) == []
    content = (folder / "model.safetensors").read_bytes()
    for edited in (bytes(len(content)), content[:-1]):
        (folder / "model.safetensors").write_bytes(edited)
        assert len(store.edits(folder, store.CARD)) == 1
    (folder / "model.safetensors").write_bytes(content)


def test_time_is_counted_over_all_parts(tmp_path):
    settings = config({**TEXT, "steps": 2, "reading_steps": 1})
    path, began = tmp_path / "x.state", time.perf_counter()
    _, _, first = pretraining.pretrain(settings, state=path)
    _, _, second = pretraining.pretrain(settings, state=path)  # nothing is left to do
    assert second == first and first["seconds"] <= time.perf_counter() - began
