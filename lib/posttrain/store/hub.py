"""Models of the hub, at the commit that identities name: what was downloaded once is what is loaded."""

from __future__ import annotations

from pathlib import Path

from posttrain import numerics
from posttrain.config import FOLDERS
from posttrain.store.files import StoreError

OTHER_FORMATS = ["original/*", "onnx/*", "*.pth", "*.gguf", "*.onnx", "*.msgpack", "*.h5", "*.ot"]


def named(model: str) -> bool:
    """Whether `model` is a hub's name, not a folder."""
    return not model.startswith(FOLDERS) and not Path(model).is_dir()


def told(model: str) -> str:
    """One line on a hub's model: the revision that identities name (the commit, or "main" before there is
    one), whether its weights were downloaded and, if not, what gets them. Nothing is fetched."""
    from huggingface_hub import constants, try_to_load_from_cache

    identity = numerics.model_identity(model)
    config = try_to_load_from_cache(model, "config.json", revision=identity.rpartition("@")[2])
    folder = Path(config).parent if isinstance(config, str) else None
    if folder and any(path.suffix in (".safetensors", ".bin") for path in folder.iterdir()):
        return f"model {identity}: downloaded"
    get = f"hf download {model}"
    if constants.HF_HUB_OFFLINE:
        return f"model {identity}: not downloaded, and HF_HUB_OFFLINE=1 forbids it: HF_HUB_OFFLINE=0 {get}"
    return f"model {identity}: not downloaded; the first run does it, or {get}"


def held(model: str) -> Path:
    """The folder of a hub's model on this machine; it is downloaded first where that is allowed. An identity
    that was asked for before that named no commit, so it is to be asked for again. StoreError where it is not
    there."""
    from huggingface_hub import snapshot_download

    commit = numerics.model_identity(model).rpartition("@")[2]
    try:
        folder = snapshot_download(model, revision=commit, ignore_patterns=OTHER_FORMATS)
    except (OSError, ValueError, RuntimeError) as error:
        why = " ".join(str(error).split()).split(". ")[0][:200]
        told = f"download it first, with HF_HUB_OFFLINE=0 and access to it: hf download {model}"
        raise StoreError(f"model {model} is not on this machine ({why}); {told}") from None
    if commit == "main":
        numerics.model_identity.cache_clear()  # from now on the commit, and no other in this process
    return Path(folder)
