"""What every benchmark needs: a place for its numbers, and the name of the machine that made them."""

import json
import platform
import re
from pathlib import Path

import pytest


def cpu() -> str:
    """The processor's name, where the system tells it."""
    info = Path("/proc/cpuinfo")
    match = re.search(r"^model name\s*:\s*(.+)$", info.read_text(), re.MULTILINE) if info.exists() else None
    return match[1] if match else platform.processor() or platform.machine()


@pytest.fixture
def record():
    """`record(name, **numbers)` prints the numbers and writes them to results/<name>.json."""

    def write(name: str, **numbers: float) -> None:
        content = {
            "cpu": cpu(),
            "python": platform.python_version(),
            **{key: float(f"{value:.3g}") for key, value in numbers.items()},
        }
        folder = Path(__file__).with_name("results")
        folder.mkdir(exist_ok=True)
        (folder / f"{name}.json").write_text(json.dumps(content, indent=2) + "\n")
        print(f"\n{name}: " + ", ".join(f"{key} {value}" for key, value in content.items()))

    return write
