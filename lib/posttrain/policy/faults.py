"""What is wrong with a checkpoint, before anything is trained: one line each, "PATH: reason; what to do".

Config, tokenizer and weights are read here, once, and every function raises ValueError with such a line. It
names the checkpoint, where transformers' own errors have a page, another class for each fault, or none at
all: it fills weights that are missing with random numbers and goes on. Left out on purpose: whether a model
is any good.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import transformers
from huggingface_hub.constants import is_offline_mode
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText, AutoTokenizer
from transformers.models.auto import modeling_auto
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.utils import logging

SEES = modeling_auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES
WRITES = modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
MASKED = modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES
POINTER = b"version https://git-lfs"
TEXT_MODEL = "use a decoder-only language model"
SAME = "take config.json, tokenizer and weights from one checkpoint"
# What transformers raises where a file does not say what it should, or a setting is impossible.
ODD = (ValueError, KeyError, TypeError, AttributeError, AssertionError, ArithmeticError, StrictDataclassError)


def first(error: BaseException) -> str:
    """The first sentence of an error, in one line; its class where that says more."""
    text = re.split(r"\. |; |: *$", " ".join(str(error).split()))[0].rstrip(".")
    text = text if " " in text else f"{type(error).__name__} {text}".rstrip()
    return textwrap.shorten(text, 120, placeholder=" ...")


@contextmanager
def told(path: str, reason: str, advice: str, *kinds: type[Exception]) -> Iterator[None]:
    """Errors of these kinds are told as ValueError, in one line."""
    try:
        yield
    except kinds as error:
        raise ValueError(f"{path}: {reason} ({first(error)}); {advice}") from error


@contextmanager
def _found(path: str, what: str) -> Iterator[None]:
    """ValueError where `what` is not in the folder, or the hub does not give it."""
    try:
        yield
    except OSError as error:
        if Path(path).is_dir():
            reason = f"it has no {what} that can be read ({first(error)})"
            advice = "copy or download it again"
        elif is_offline_mode():
            reason = f"it was not downloaded, and HF_HUB_OFFLINE=1 forbids it (no {what} in the cache)"
            advice = f"name a folder, or get it with `HF_HUB_OFFLINE=0 hf download {path}`"
        else:
            reason = f"Hugging Face does not give its {what} ({first(error)})"
            advice = "check name and connection, for a gated model `hf auth login`, or name a folder"
        raise ValueError(f"{path}: {reason}; {advice}") from error


def settings(path: str) -> Any:
    """The transformers config of a checkpoint; ValueError for one that is broken, of a kind that is unknown
    or does not write, with code of its own, or quantized."""
    with _found(path, "config.json"):
        said, _ = transformers.PreTrainedConfig.get_config_dict(path)
    kind, wrong = said.get("model_type") if isinstance(said, dict) else None, ""
    if kind not in CONFIG_MAPPING:
        version = transformers.__version__
        wrong = f"transformers {version} knows no model_type {kind!r}; use a model that it knows"
        if kind and "auto_map" in said:
            wrong = f"{kind} has code of its own, which is never run; use a model that transformers knows"
    elif kind not in SEES and kind not in WRITES:
        wrong = f"a {kind} writes no text; {TEXT_MODEL}"
    elif "quantization_config" in said:
        wrong = "its weights are quantized, and such weights are not trained; use the checkpoint from before"
    if wrong:
        raise ValueError(f"{path}: config.json: {wrong}")
    with told(path, "config.json is wrong", "correct it or download it again", *ODD):
        config = AutoConfig.from_pretrained(path, trust_remote_code=False)
    if kind in MASKED and not getattr(config, "is_decoder", False):
        raise ValueError(f"{path}: config.json: a {kind} reads in both directions; {TEXT_MODEL}")
    return config


def tokenizer(path: str) -> Any:
    """The tokenizer of a checkpoint; ValueError for one that is missing or broken."""
    advice = "copy or download tokenizer.json and tokenizer_config.json again"
    try:
        with _found(path, "tokenizer"), told(path, "its tokenizer cannot be read", advice, *ODD, ImportError):
            return AutoTokenizer.from_pretrained(path, trust_remote_code=False)
    except Exception as error:
        if type(error) is not Exception:  # the package tokenizers has no class for its errors
            raise
        raise ValueError(f"{path}: its tokenizer cannot be read ({first(error)}); {advice}") from error


def check_vocabulary(path: str, config: Any, tokenizer: Any, used: list[int]) -> None:
    """ValueError if the model has no embedding for a token. `used`: ids that a dialogue has.

    Added tokens that no dialogue has may lie beyond: in Mllama and Gemma 3 the image token does.
    """
    rows = getattr(config.get_text_config(), "vocab_size", None)
    padding = getattr(config.get_text_config(), "pad_token_id", None) or 0
    needed = 1 + max(tokenizer.vocab_size - 1, tokenizer.pad_token_id, padding, *used)
    if rows is not None and needed > rows:
        reason = f"its tokenizer has {needed} tokens, and the model {rows} (vocab_size in config.json)"
        raise ValueError(f"{path}: {reason}; {SAME}")


def weighted(path: str, config: Any, beside: bool = False, **options: Any) -> nn.Module:
    """The model of a checkpoint with its weights; `options`: of `from_pretrained`; `beside`: its language
    model is stored elsewhere, and is random here.

    ValueError for weights that are missing, unreadable, or not those of config.json. With
    `device_map="meta"` weights are not read, and shapes are all that is known.
    """
    auto = AutoModelForImageTextToText if config.model_type in SEES else AutoModelForCausalLM
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.CRITICAL)  # what is missing is told below, or read next
    logging.disable_progress_bar()  # in a page it is a widget with another name in every build
    options |= {"output_loading_info": True, "ignore_mismatched_sizes": True}
    corrupt = (SafetensorError, UnpicklingError, EOFError, RuntimeError)
    try:
        with (
            _found(path, "weights"),
            told(path, *_unreadable(path), *corrupt),
            told(path, "no model can be made from it", "correct config.json", *ODD, ImportError),
        ):
            model, found = auto.from_pretrained(path, **options)
    finally:
        logging.set_verbosity(verbosity)
    _check_complete(path, model, found, beside)
    return model


def _unreadable(path: str) -> tuple[str, str]:
    """What is told of weights that cannot be read, and what to do."""
    for file in sorted(Path(path).glob("*.safetensors")) + sorted(Path(path).glob("*.bin")):
        with file.open("rb") as opened:
            if opened.read(len(POINTER)) == POINTER:
                return f"{file.name} is a git-LFS pointer in place of weights", "get them with `git lfs pull`"
    return "its weights cannot be read", "copy or download the weights again"


def _check_complete(path: str, model: nn.Module, found: dict[str, Any], beside: bool) -> None:
    """ValueError if weights and config.json are not of one model: `found` is what transformers says."""
    elsewhere = ("model.language_model.", "lm_head.") if beside else ()
    lacking = sorted(name for name in found["missing_keys"] if not name.startswith(elsewhere))
    if found["mismatched_keys"]:
        name, stored, wanted = min(found["mismatched_keys"])
        reason = f"config.json says {list(wanted)} where the weights have {list(stored)} ({name})"
    elif lacking:
        reason = f"the weights lack {len(lacking)} of the tensors that config.json asks for ({lacking[0]})"
    elif further := _further(model, found["unexpected_keys"]):
        reason = f"the weights have {len(further)} tensors of layers that config.json leaves out"
    else:
        return
    raise ValueError(f"{path}: {reason}; {SAME}")


def _further(model: nn.Module, names: set[str]) -> list[str]:
    """Those of `names` that are, but for a number, names in the model: of further layers."""
    known = {re.sub(r"\d+", "0", name) for name in model.state_dict()} if names else set()
    return sorted(name for name in names if re.sub(r"\d+", "0", name) in known)


def check_finite(path: str, model: nn.Module) -> None:
    """ValueError if a weight is no number, or infinite."""
    for name, weight in model.named_parameters():
        if weight.numel() and not all(end.isfinite() for end in weight.detach().aminmax()):
            reason = f"the weights hold values that are not finite ({name})"
            raise ValueError(f"{path}: {reason}; take another copy of the checkpoint")
