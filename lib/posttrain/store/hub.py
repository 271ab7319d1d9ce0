"""Models of the hub, at the commit that identities name: what was downloaded once is what is loaded."""

from __future__ import annotations

from pathlib import Path

from posttrain import numerics
from posttrain.store.files import StoreError

OTHER_FORMATS = ["original/*", "onnx/*", "*.pth", "*.gguf", "*.onnx", "*.msgpack", "*.h5", "*.ot"]


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
