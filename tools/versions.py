"""Plan, check of stored results and the tests without torch: the same under every Python?

For each supported Python of this machine: an environment under build/versions with the direct dependencies at
their locked versions, except those that need torch; `posttrain plan` of every profile, `posttrain verify`,
and the tests that need no torch. Left out on purpose: training, where torch counts, not Python. Run it with
`make versions`.
"""

import ast
import glob
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
NEED_TORCH = {"torch", "trl", "peft", "accelerate"}
# A test file that imports one of these (`exercises`: the tool), or has a test that asks for such a fixture,
# needs torch.
TORCH = re.compile(
    r"(torch|transformers|safetensors|trl|peft|accelerate)\b"
    r"|posttrain\.(policy|decoding|rollouts|compute|evaluation|trainers|hardware)\b"
    r"|posttrain\.foundation\.(gates|pretraining|training|vision)\b"
    r"|(checkpoints|seeing|plain_llama|policy|exercises)$"
)
# Tests with Sphinx or Snakemake, which are not installed here.
BOOK = {"hover", "preview", "val_role", "workflow"}


def supported() -> list[str]:
    """Versions that pyproject.toml declares, e.g. "3.12"."""
    return re.findall(r"Python :: (3\.\d+)", "\n".join(PROJECT["classifiers"]))


def interpreter(version: str) -> str | None:
    """A Python of that version, on the PATH or pyenv's, that starts: some of pyenv's shims do not."""
    on_path = shutil.which(f"python{version}")
    pyenv = glob.glob(f"{Path.home()}/.pyenv/versions/{version}.*/bin/python")
    for candidate in [on_path, *pyenv] if on_path else pyenv:
        if subprocess.run([candidate, "-c", ""], capture_output=True).returncode == 0:
            return candidate
    return None


def environment(version: str, python: str) -> str:
    """The interpreter of an environment with everything but torch and what needs it."""
    folder = ROOT / "build" / "versions" / version
    wanted = PROJECT["dependencies"] + PROJECT["optional-dependencies"]["test"]
    light = [line for line in wanted if re.match(r"[\w-]+", line)[0] not in NEED_TORCH]
    uv = ["uv", "--quiet", "--no-progress"]
    subprocess.run([*uv, "venv", "--allow-existing", "--python", python, folder], check=True)
    inside = str(folder / "bin" / "python")
    install = [*uv, "pip", "install", "--python", inside, "--constraint", "requirements.lock"]
    subprocess.run([*install, *light], cwd=ROOT, check=True)
    return inside


def profiles() -> list[str]:
    """The names of all profiles but those of a model that is not here (`tools.smollm` makes one)."""
    said = {path.stem: path.read_text() for path in sorted((ROOT / "notebooks" / "profiles").glob("*.yaml"))}

    def folder(name: str) -> str:
        model, below = (
            re.search(rf"^{key}: (\S+)", said[name], re.MULTILINE) for key in ("model", "extends")
        )
        return model[1] if model else folder(below[1]) if below else "."

    return [name for name in said if not folder(name).startswith(".") or (ROOT / folder(name)).is_dir()]


def needed(path: Path) -> list[str]:
    """What a test file imports, or a file beside it that it imports from, and the fixtures its tests ask
    for."""
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names += [f"{node.module}.{alias.name}" for alias in node.names]
            beside = path.parent / f"{node.module}.py"
            names += needed(beside) if node.level == 1 and beside.is_file() else []
        elif isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            names += [argument.arg for argument in node.args.args]
    return names


def tests() -> list[str]:
    """The files of all tests that need neither torch nor what builds the book."""
    found = []
    for path in sorted(ROOT.glob("tests/**/test_*.py")):
        skipped = {"pages", "invariant"} & set(path.parts) or path.stem.removeprefix("test_") in BOOK
        if not skipped and not any(map(TORCH.match, needed(path))):
            found.append(str(path.relative_to(ROOT)))
    return found


def main() -> int:
    settings = {**os.environ, "PYTHONPATH": str(ROOT / "lib")}
    plans, faults = {}, []
    for version in supported():
        python = interpreter(version)
        if python is None:
            print(f"Python {version}: not on this machine")
            continue
        inside = environment(version, python)

        def run(*command, inside=inside, **options):
            return subprocess.run([inside, "-m", *command], cwd=ROOT, env=settings, text=True, **options)

        plan = hashlib.sha256()
        for profile in profiles():
            planned = run("posttrain.cli", "plan", "--profile", profile, stdout=subprocess.PIPE)
            plan.update(planned.stdout.encode())
            faults += [f"Python {version}: plan of {profile}"] if planned.returncode else []
        plans[version] = plan.hexdigest()[:12]
        print(f"Python {version}: plan {plans[version]}", flush=True)
        for part, command in (("verify", ("posttrain.cli", "verify")), ("tests", ("pytest", *tests()))):
            faults += [f"Python {version}: {part}"] if run(*command).returncode else []
    if len(set(plans.values())) != 1:
        faults.append(f"the plans differ: {plans}" if plans else "none of the supported versions is here")
    print("\n".join(faults) or f"the same under {', '.join(plans)}")
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
