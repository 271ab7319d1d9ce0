"""tools/versions.py notices what differs between Python versions, and finds the tests that need no torch."""

import importlib.util
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def load():
    spec = importlib.util.spec_from_file_location("versions", ROOT / "tools" / "versions.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def versions(monkeypatch, tmp_path):
    """The tool with two versions whose interpreters are shell scripts, the texts in `versions.scripts`."""
    module = load()
    module.scripts = dict.fromkeys(("3.11", "3.12"), "echo same")

    def environment(version, python):
        path = tmp_path / version
        path.write_text(f"#!/bin/sh\n{module.scripts[version]}\n")
        path.chmod(0o755)
        return str(path)

    monkeypatch.setattr(module, "environment", environment)
    monkeypatch.setattr(module, "interpreter", lambda version: version if version in module.scripts else None)
    return module


def test_it_covers_what_pyproject_declares_and_every_test_without_torch(versions):
    assert versions.supported() == ["3.11", "3.12", "3.13"]
    found = versions.tests()
    assert "tests/test_exercises.py" not in found, "the tool that it imports trains"
    assert "tests/trainers/test_processes.py" not in found, "what it takes from the file beside it does"
    assert {"tests/test_config.py", "tests/verifiers/test_released.py", "tests/analysis/test_study.py"} <= {
        *found
    }
    needing = (
        "test_cli",
        "analysis/test_quoting",
        "decoding/test_prefixes",
        "policy/test_chat",
        "test_tasks",
    )
    assert not {*found} & {f"tests/{name}.py" for name in (*needing, "test_workflow", "pages/test_pages")}


def test_profiles_of_a_model_that_is_not_here_are_left_out(versions, monkeypatch, tmp_path):
    folder = tmp_path / "notebooks" / "profiles"
    folder.mkdir(parents=True)
    texts = {"own": "seeds: [0]", "real": "model: ./build/real", "more": "extends: real", "hub": "model: a/b"}
    for name, text in texts.items():
        (folder / f"{name}.yaml").write_text(f"# a profile\n{text}\n")
    monkeypatch.setattr(versions, "ROOT", tmp_path)
    assert versions.profiles() == ["hub", "own"]
    (tmp_path / "build" / "real").mkdir(parents=True)
    assert versions.profiles() == ["hub", "more", "own", "real"]


def test_a_version_that_agrees_or_is_not_there_is_no_fault(versions, capfd):
    assert versions.main() == 0
    said = capfd.readouterr().out
    assert "3.13: not on this machine" in said and said.endswith("the same under 3.11, 3.12\n")


def test_without_any_supported_version_it_fails(versions, capfd):
    versions.scripts.clear()
    assert versions.main() == 1
    assert "none of the supported versions" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("script", "fault"),
    [
        ("echo other", "the plans differ"),
        ('test "$3" != plan', "Python 3.12: plan of cpu"),
        ('echo same; test "$3" != verify', "Python 3.12: verify"),
        ('echo same; test "$2" != pytest', "Python 3.12: tests"),
    ],
)
def test_what_fails_or_differs_is_named(versions, capfd, script, fault):
    versions.scripts["3.12"] = script
    assert versions.main() == 1
    assert fault in capfd.readouterr().out


def test_only_an_interpreter_that_starts_counts(monkeypatch, tmp_path):
    module = load()
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    shim = tmp_path / "python3.12"
    shim.write_text("#!/bin/sh\nexit 127\n")
    shim.chmod(0o755)
    assert module.interpreter("3.12") is None
    real = tmp_path / ".pyenv" / "versions" / "3.12.9" / "bin" / "python"
    real.parent.mkdir(parents=True)
    real.symlink_to(sys.executable)
    assert module.interpreter("3.12") == str(real)
