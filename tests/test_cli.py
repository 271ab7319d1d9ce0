import pytest
from posttrain import cli, config


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
