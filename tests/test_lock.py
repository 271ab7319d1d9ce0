"""requirements.lock holds pyproject.toml's dependencies, environment.yml refers to it, neither knows this
machine."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
LOCKED = ("book", "test", "dev")  # the extras that `make lock` covers; `cluster` belongs to the cluster


def name(requirement):
    """The canonical spelling of a requirement's name (PEP 503)."""
    return re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", requirement)[0]).lower()


@pytest.fixture(scope="module")
def direct():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [line for extra in LOCKED for line in project["optional-dependencies"][extra]]
    return project["dependencies"] + extras


@pytest.fixture(scope="module")
def lock():
    return [line for line in (ROOT / "requirements.lock").read_text().splitlines() if line.strip()[0] != "#"]


def test_every_line_is_one_exact_public_version(lock):
    """No index, path, editable or local build such as +cpu; at most a marker about Python or the platform."""
    for line in lock:
        assert re.fullmatch(r"[a-z\d-]+==[a-z\d.]+( ; [\w\s.*<>=!'()]+)?", line), line
    assert len({name(line) for line in lock}) == len(lock)


def test_every_direct_dependency_is_locked(direct, lock):
    missing = {name(line) for line in direct} - {name(line) for line in lock}
    assert not missing, f"run `make lock`: {sorted(missing)} not in requirements.lock"


def test_exact_pins_of_pyproject_are_kept_on_every_platform(direct, lock):
    exact = [line for line in direct if "==" in line]
    assert "torch==2.13.0" in exact
    assert not set(exact) - set(lock)


def test_the_cpu_build_of_torch_brings_nothing_of_cuda(lock):
    assert not [line for line in lock if re.match("nvidia-|cuda-|triton", line)]


def test_the_conda_environment_takes_the_lock_and_this_package():
    conda = yaml.safe_load((ROOT / "environment.yml").read_text())
    (pip,) = [entry["pip"] for entry in conda["dependencies"] if isinstance(entry, dict)]
    assert pip == ["-r requirements.lock", "-e ."]
    assert "==" not in (ROOT / "environment.yml").read_text() and conda["name"] == "posttrain"
    assert conda["channels"] == ["conda-forge"]


def test_the_container_builds_what_the_makefile_knows_and_copies_nothing_that_was_built():
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    commands = " ".join(line for line in lines if line.startswith(("RUN", "CMD")))
    targets = set(re.findall(r"make ([\w./-]+)", commands))
    made = re.findall(r"^([\w./-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert targets == {"book", ".venv/.installed"} <= set(made)
    (base,) = [line for line in lines if line.startswith("ARG BASE=")]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert re.search(r"python:(3\.\d+)", base)[1] in " ".join(project["classifiers"])
    ignored = (ROOT / ".dockerignore").read_text().split()
    built = {".venv", "build", "book/_build", ".snakemake"}
    here = {line.strip("/") for line in (ROOT / ".gitignore").read_text().split()}
    assert built < set(ignored) and built <= here
