"""The lock, the conda environment and pyproject.toml agree."""

import re
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))
import lock  # noqa: E402


@pytest.fixture(scope="module")
def locked():
    lines = [
        line for line in (ROOT / "requirements.lock").read_text().splitlines() if not line.startswith("#")
    ]
    return dict(line.split("==") for line in lines)


def test_conda_environment_holds_the_same_pins(locked):
    conda = yaml.safe_load((ROOT / "environment.yml").read_text())
    (pip,) = [entry["pip"] for entry in conda["dependencies"] if isinstance(entry, dict)]
    assert conda["name"] == "posttrain"
    assert dict(line.split("==") for line in pip) == locked


def test_every_direct_dependency_is_locked(locked):
    names = {lock.normalise(name) for name in locked}
    direct = {lock.normalise(re.match(r"[\w.-]+", line)[0]) for line in lock.direct_dependencies()}
    assert direct <= names, f"run `make lock`: {sorted(direct - names)} not in requirements.lock"


def test_exact_pins_of_pyproject_are_kept(locked):
    exact = dict(line.split("==") for line in lock.direct_dependencies() if "==" in line)
    assert exact["torch"] == "2.13.0"
    assert {name: locked[name] for name in exact} == exact


def test_nothing_local_in_the_lock(locked):
    assert all(re.fullmatch(r"[\w.]+", version) for version in locked.values())
    for name in ("requirements.lock", "environment.yml"):
        assert not re.search(r"://|file:|-e |--", (ROOT / name).read_text()), name


def test_pins_of_a_freeze():
    frozen = (
        "torch==2.13.0+cpu\n# Editable install\n-e /somewhere\nnvidia-cublas==1.0\ntriton==3.0\nattrs==1.0\n"
    )
    assert lock.pins(frozen) == ["attrs==1.0", "torch==2.13.0"]
