import os
import resource
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from filelock import FileLock
from posttrain import cli, config, numerics, store

from tests import processes

LIB = Path(cli.__file__).parents[1]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(LIB)}


def test_help_lists_the_commands(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["--help"])
    assert stop.value.code == 0
    assert {"plan", "pretrain", "train", "verify"} <= set(capsys.readouterr().out.split())


def test_plan_lists_every_run(capsys):
    assert cli.main(["plan", "--profile", "smoke"]) == 0
    out = capsys.readouterr().out
    runs = [run.name for run in config.load("smoke").runs()]
    assert len(runs) > 15 and all(name in out for name in runs)


def test_settings_lists_every_field_with_what_is_allowed(capsys):
    assert cli.main(["settings"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(config.table()) and all(line.endswith(".") for line in lines)
    row = next(line for line in lines if line.startswith("studies.*.arms.*.ppo.ratio "))
    assert "token  text, one of token, answer: Whether a probability ratio" in row


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["train", "--run", "gp-l/ppo/99"], "choose one of"),
        (["plan", "--profile", "huge"], "unknown profile"),
        (["pretrain", "--seed", "-1"], "foundation pocket-text: seed: must be at least 0, not -1"),
        (["train", "--run", "gp-l/init/0", "--threads", "0"], "threads must be at least 1, not 0"),
    ],
)
def test_bad_input_is_one_line_that_says_what_to_do(arguments, said, capsys, monkeypatch, tmp_path):
    empty = config.load("smoke").model_copy(update={"root": tmp_path})
    load = config.load
    monkeypatch.setattr(config, "load", lambda name, fresh: empty if name == "cpu" else load(name, fresh))
    assert cli.main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line


@pytest.mark.parametrize("arguments", [["settings", "--profile", "smoke"], ["clear", "--fresh"]])
def test_options_are_refused_where_they_would_say_nothing(arguments):
    with pytest.raises(SystemExit) as stop:
        cli.main(arguments)
    assert stop.value.code == 2


def test_verify_names_what_is_missing(monkeypatch, tmp_path, capsys):
    profile = config.load("smoke").model_copy(update={"root": tmp_path})
    monkeypatch.setattr(config, "load", lambda name, fresh=False: profile)
    assert cli.main(["verify", "--profile", "smoke"]) == 1
    assert "gp-l/init/0" in capsys.readouterr().out


def test_a_finished_reproduction_is_cleared_unless_it_is_being_built(monkeypatch, tmp_path, capsys):
    profile = config.load("smoke", fresh=True).model_copy(update={"root": tmp_path / "smoke"})
    monkeypatch.setattr(config, "load", lambda name, fresh: profile)
    page = profile.root / "book/_build/html/index.html"
    (profile.root / "build").mkdir(parents=True)
    assert cli.main(["clear"]) == 0 and profile.root.is_dir(), "one that was cut off goes on"
    page.parent.mkdir(parents=True)
    page.write_text("done")
    with FileLock(profile.root / "build" / "book.lock"):
        assert cli.main(["clear"]) == 2 and page.is_file()
    assert "another build of it is going on" in capsys.readouterr().err
    assert cli.main(["clear"]) == 0 and not any(tmp_path.iterdir())


# --- what goes wrong ----------------------------------------------------------------------------------------

DAMAGED = [
    (["train", "--run", "one/init/0"], store.RECORD, "results/one/init/0"),
    (["export", "one/init/0", "{new}"], store.RECORD, "results/one/init/0"),
    (["pretrain"], store.CARD, "models/pocket-text-0"),
]


@pytest.mark.parametrize("arguments, record, place", DAMAGED)
def test_nothing_is_trained_over_a_damaged_record(arguments, record, place, monkeypatch, tmp_path, capsys):
    said = {
        "seeds": [0],
        "foundations": {"pocket-text": {}},
        "studies": {"one": {"arms": {"init": {"algorithm": "init", "steps": 8}}}},
    }
    profile = config.check("tiny", said, True, root=tmp_path)
    monkeypatch.setattr(config, "load", lambda name, fresh=False: profile)
    (profile.data / place).mkdir(parents=True)
    (profile.data / place / record).write_text('{"identity": "0')
    new = tmp_path / "above/new"
    assert cli.main([word.format(new=new) for word in arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{place}/{record}: cannot be read; " in line and not new.parent.exists()


@pytest.mark.parametrize("folder", ["/proc/x/y", "{file}/x/y"])
def test_a_folder_that_cannot_be_made_is_told_before_anything_is_trained(folder, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert cli.main(["export", "gp-l/ppo/0", folder.format(file=tmp_path / "file")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "cannot be made" in line and "name another folder" in line


def test_an_export_that_failed_leaves_nothing(monkeypatch, tmp_path, capsys):
    from posttrain.trainers import arm

    def full(profile, run, folder, *_):
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{}")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(arm, "export", full)
    assert cli.main(["export", "gp-l/ppo/0", str(tmp_path / "a/b/new")]) == 2
    assert "No space left" in capsys.readouterr().err and not list(tmp_path.iterdir())
    (tmp_path / "mine").mkdir()
    assert cli.main(["export", "gp-l/ppo/0", str(tmp_path / "mine")]) == 2
    assert "is there already: name a new folder" in capsys.readouterr().err and (tmp_path / "mine").is_dir()


def fails(what, path):
    """A command that writes or asks for more than there is, where no file may grow beyond 4,096 bytes."""
    import torch
    from posttrain.trainers.processes import save
    from safetensors.torch import save_file

    tensors = {"a": torch.zeros(100_000)}
    tried = {
        "state": lambda _: save(tensors, path),
        "weights": lambda _: save_file(tensors, path),
        "memory": lambda _: torch.empty(10**15),
    }
    options = SimpleNamespace(function=tried[what], command="plan")
    cli._parser = lambda: SimpleNamespace(parse_args=lambda words: options)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
    sys.exit(cli.main([]))


@pytest.mark.parametrize(
    "what, said",
    [("state", "disk full"), ("weights", "disk full"), ("memory", "memory is full: ask for less")],
)
def test_a_full_disk_and_a_full_memory_are_one_line(what, said, tmp_path):
    """With the errors that torch and safetensors raise."""
    told = tmp_path / "told"
    process = processes.start(fails, what, tmp_path / "x", told=told)
    process.join(120)
    (line,) = told.read_text().splitlines()
    assert process.exitcode == 2 and said in line, line


def test_a_full_card_is_one_line_and_a_fault_of_ours_is_not(monkeypatch, capsys):
    class OutOfMemoryError(RuntimeError):
        """As torch names it."""

    def fails(error):
        def load(*_, **__):
            raise error

        monkeypatch.setattr(config, "load", load)
        return cli.main(["plan"])

    assert fails(OutOfMemoryError("CUDA out of memory.\nTried to allocate 2 GiB")) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "memory is full: ask for less at once" in line
    with pytest.raises(RuntimeError, match="shape"):
        fails(RuntimeError("shape mismatch"))


def test_a_reader_who_has_enough_is_no_error():
    command = f"{sys.executable} -m posttrain.cli plan --profile smoke | true"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, env=ENVIRONMENT)
    assert done.returncode == 0 and done.stderr == ""


# --- a hub's model ------------------------------------------------------------------------------------------


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """hub(commit): what a download of owner/tiny leaves in the hub's cache."""
    import huggingface_hub.constants as constants

    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        monkeypatch.setattr(constants, name, str(tmp_path), raising=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    numerics.model_identity.cache_clear()

    def download(commit):
        folder = tmp_path / "models--owner--tiny"
        (folder / "snapshots" / commit).mkdir(parents=True, exist_ok=True)
        (folder / "snapshots" / commit / "config.json").write_text("{}")
        (folder / "refs").mkdir(exist_ok=True)
        (folder / "refs/main").write_text(commit)
        return folder / "snapshots" / commit

    yield download
    numerics.model_identity.cache_clear()


def test_a_hubs_model_is_what_its_identity_names(hub, tmp_path, capsys, monkeypatch):
    study = {"arms": {"init": {"algorithm": "init", "steps": 8}}}
    said = {"seeds": [0], "model": "owner/tiny", "studies": {"one": study}}
    profile = config.check("tiny", said, True, root=tmp_path / "here")
    monkeypatch.setattr(config, "load", lambda name, fresh=False: profile)
    assert profile.run("one/init/0").model_identity == "owner/tiny@main"
    assert cli.main(["train", "--run", "one/init/0"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "is not on this machine" in line and "hf download owner/tiny" in line
    first = hub("a" * 40)
    run, folder = cli._sought(profile, "one/init/0")
    assert folder is None and run.model_identity == f"owner/tiny@{'a' * 40}"
    assert store.model_path(profile, run) == str(first)
    hub("b" * 40)  # downloaded since by another program: this one goes on with what its identity names
    assert store.model_path(profile, run) == str(first)


def test_a_plan_names_a_hubs_revision_and_whether_it_was_downloaded(hub, tmp_path, capsys, monkeypatch):
    import huggingface_hub.constants as constants

    said = {"seeds": [0, 1], "model": "owner/tiny"}
    said["studies"] = {"one": {"arms": {"init": {"algorithm": "init", "steps": 8}}}}
    monkeypatch.setattr(
        config, "load", lambda name, fresh=False: config.check("tiny", said, True, root=tmp_path)
    )

    def planned():
        assert cli.main(["plan"]) == 0
        first, *runs, _ = capsys.readouterr().out.splitlines()
        assert [line.split() for line in runs] == [["missing", f"one/init/{seed}"] for seed in (0, 1)]
        return first

    assert planned() == (
        "model owner/tiny@main: not downloaded, and HF_HUB_OFFLINE=1 forbids it: "
        "HF_HUB_OFFLINE=0 hf download owner/tiny"
    )
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    assert planned().endswith("@main: not downloaded; the first run does it, or hf download owner/tiny")
    folder = hub("a" * 40)
    numerics.model_identity.cache_clear()
    assert planned().startswith(f"model owner/tiny@{'a' * 40}: not downloaded; ")  # its config.json alone
    (folder / "model.safetensors").touch()
    assert planned() == f"model owner/tiny@{'a' * 40}: downloaded"
