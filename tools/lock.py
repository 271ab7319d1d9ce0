"""Write requirements.lock and environment.yml from the direct dependencies in pyproject.toml.

Installs them into a fresh temporary environment and freezes what came out, so nothing that merely happens to be
installed on this machine gets in. Run it with `make lock`. Left out on purpose: hashes (wheels differ between the
CPU and the CUDA build of torch) and the `cluster` extra (it belongs to the cluster's own environment).
"""

import re
import subprocess
import tempfile
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EXTRAS = ("book", "test")
HEADER = "# Exact versions of everything, written by `make lock` from pyproject.toml. Do not edit by hand.\n"

# The CUDA build of torch pins these itself and the CPU build has none, so one lock serves both without them.
FROM_TORCH = re.compile(r"(nvidia-|cuda-|triton)")


def normalise(name: str) -> str:
    """The canonical spelling of a distribution's name (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def direct_dependencies(pyproject: Path = ROOT / "pyproject.toml") -> list[str]:
    """Requirement strings of the project and of the extras that the lock covers."""
    project = tomllib.loads(pyproject.read_text())["project"]
    return project["dependencies"] + [
        line for extra in EXTRAS for line in project["optional-dependencies"][extra]
    ]


def pins(frozen: str) -> list[str]:
    """`name==version` lines of a `pip freeze`, without local version labels such as +cpu; sorted."""
    lines = [line.split("+")[0] for line in frozen.splitlines() if re.match(r"[\w.-]+==", line)]
    return sorted((line for line in lines if not FROM_TORCH.match(normalise(line))), key=str.lower)


def conda_environment(lines: list[str]) -> str:
    """The text of environment.yml holding the same pins."""
    head = "name: posttrain\nchannels:\n  - conda-forge\ndependencies:\n  - python=3.11\n  - pip\n  - pip:\n"
    return HEADER + head + "".join(f"      - {line}\n" for line in lines)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        pip = [str(Path(folder, "bin", "python")), "-m", "pip"]
        subprocess.run([*pip, "install", *direct_dependencies()], check=True)
        freeze = [*pip, "freeze", "--all", "--exclude", "pip"]
        lines = pins(subprocess.run(freeze, check=True, capture_output=True, text=True).stdout)
    (ROOT / "requirements.lock").write_text(HEADER + "\n".join(lines) + "\n")
    (ROOT / "environment.yml").write_text(conda_environment(lines))
    print(f"pinned {len(lines)} packages")


if __name__ == "__main__":
    main()
