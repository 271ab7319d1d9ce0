"""Curves are what the tables tell, point by point, also of a run that was cut off; they change no number."""

import importlib.util

import pandas as pd
import pytest
from posttrain import cli, config, store
from posttrain.config import profiles
from posttrain.trainers import arm as arms
from posttrain.trainers import curves, ppo, sft

from .test_arm import CLOCKS, SETTINGS


def profile(root, model, **said):
    return config.check("tiny", {"model": model, **SETTINGS, **said}, True, root=root)


def read(folder):
    """{name: {step: number}} of a folder of event files, as TensorBoard reads them; a point that is there
    twice fails."""
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    loaded = events.EventAccumulator(str(folder), size_guidance={events.SCALARS: 0}).Reload()
    points = {}
    for name in loaded.Tags()["scalars"]:
        steps = [event.step for event in loaded.Scalars(name)]
        assert steps == sorted(set(steps)), name
        points[name] = {event.step: event.value for event in loaded.Scalars(name)}
    return points


def expected(stored):
    """The same from the tables of a finished run."""
    points = {}
    training = stored.training.set_index("iteration")
    for name in training:
        points[f"train/{name}"] = training[name].dropna().to_dict()
    for (of, decoding), rows in stored.checkpoints.groupby(["set", "decoding"]):
        measures = rows.set_index("step").drop(columns=["set", "decoding"])
        for name in measures.columns.difference([*curves.COUNTS, "gflops", "gflops_published"]):
            points[f"{name}/{of}-{decoding}"] = measures[name].dropna().to_dict()
    return {name: numbers for name, numbers in points.items() if numbers}


@pytest.fixture(scope="module")
def plain(tmp_path_factory, checkpoints):
    """The arms without curves."""
    made = profile(tmp_path_factory.mktemp("plain"), checkpoints["pocket"])
    for run in made.runs():
        arms.carry_out(made, run)
    assert not (made.root / "build" / "watch").exists()
    return made


class Cut(Exception):
    pass


CUTS = {"sft": (sft._Trainer, "training_step", 9), "ppo": (ppo.PPO, "iterate", 6)}


@pytest.mark.parametrize("arm", CUTS)
def test_curves_are_the_tables_also_of_a_run_that_was_cut_off(plain, tmp_path, monkeypatch, arm):
    pytest.importorskip("tensorboard")
    made = profile(tmp_path, plain.model, watch="tensorboard")
    run = made.run(f"tiny/{arm}/0")
    assert run.identity == plain.run(f"tiny/{arm}/0").identity
    owner, name, calls = CUTS[arm]
    real, count = getattr(owner, name), []

    def cut(*given, **named):
        count.append(1)
        if len(count) == calls:
            raise Cut
        return real(*given, **named)

    arms.carry_out(made, run.parent)
    with monkeypatch.context() as patched:
        patched.setattr(owner, name, cut)
        with pytest.raises(Cut):
            arms.carry_out(made, run)
    folder = made.root / "build" / "watch" / run.name
    begun = read(folder)["train/gflops"]
    assert len(begun) == calls - 1  # all of them, as they came, and more than the state that was saved
    assert calls - 1 not in store.Tables(made.state / run.identity / "tables").steps("checkpoints")
    arms.carry_out(made, run)
    assert len(list(folder.glob("events*"))) == 2
    points, stored = read(folder), store.read(made, run)
    gflops = points.pop("train/gflops")
    ends = stored.checkpoints.groupby("step").gflops.first()
    assert [gflops[step] for step in ends.index[1:]] == pytest.approx(ends.tolist()[1:], rel=1e-4)
    wanted = expected(stored)
    assert points.keys() == wanted.keys() and list(gflops) == list(points["train/tokens"])
    for name, numbers in wanted.items():
        assert points[name] == pytest.approx(numbers, rel=1e-4, abs=1e-5), name
    for got, same in zip(stored[1:4], store.read(plain, plain.run(run.name))[1:4]):
        pd.testing.assert_frame_equal(
            got.drop(columns=CLOCKS, errors="ignore"), same.drop(columns=CLOCKS, errors="ignore")
        )
    before = sorted(folder.iterdir())
    (made.root / "build" / "adapters" / run.identity / "adapter_model.safetensors").unlink()
    arms.adapter(made, run)  # made again, which nobody watches: its curves are there
    assert sorted(folder.iterdir()) == before


def test_a_run_that_begins_anew_has_none_of_the_old_points(tmp_path):
    pytest.importorskip("tensorboard")
    for steps, number in ((8, 1.0), (3, 2.0)):
        one = curves.Curves(tmp_path / "run")
        for step in range(steps):
            one.add(step, {"train/loss": number, "train/none": float("nan")})
        one.close()
    assert read(tmp_path / "run") == {"train/loss": {0: 2.0, 1: 2.0, 2: 2.0}}


def test_without_the_package_nothing_begins(tmp_path, monkeypatch, capsys):
    found = importlib.util.find_spec
    monkeypatch.setattr(profiles, "find_spec", lambda name: None if name == "tensorboard" else found(name))
    monkeypatch.setattr(config, "PROFILES", tmp_path)
    (tmp_path / "mine.yaml").write_text((profiles.ROOT / "notebooks/profiles/smoke.yaml").read_text())
    assert cli.main(["plan", "--profile", "mine"]) == 0
    with (tmp_path / "mine.yaml").open("a") as file:
        file.write("\nwatch: tensorboard\n")
    capsys.readouterr()
    for command in (["plan"], ["train", "--run", "gp-l/ppo/0"]):
        assert cli.main([*command, "--profile", "mine"]) == 2
        told = capsys.readouterr().err
        assert "watch: needs the package tensorboard: `pip install -e '.[watch]'`" in told
        assert told.count("\n") == 1
