import pytest
from posttrain import cli, runs


def test_help_lists_the_commands(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["--help"])
    assert stop.value.code == 0
    assert {"plan", "pretrain", "train", "verify"} <= set(capsys.readouterr().out.split())


def test_plan_lists_every_run(capsys):
    assert cli.main(["plan", "--profile", "smoke"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(runs.profile("smoke").runs())


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["train", "--run", "gp-l/ppo/99"], "choose one of"),
        (["plan", "--profile", "huge"], "unknown profile"),
    ],
)
def test_bad_input_says_what_to_do(arguments, said, capsys):
    assert cli.main(arguments) == 2
    assert said in capsys.readouterr().err


def test_verify_names_what_is_missing(monkeypatch, tmp_path, capsys):
    profile = runs.profile("smoke")
    monkeypatch.setattr(
        runs, "profile", lambda name, fresh=False: runs.Profile(profile.name, profile.settings, tmp_path)
    )
    assert cli.main(["verify", "--profile", "smoke"]) == 1
    assert "missing: gp-l-init-s0" in capsys.readouterr().out
