"""Checkpoints as policies: any Hugging Face causal or image-text-to-text model, LoRA adapters, a value head.

Paper: section 5 (backbone) and appendix C.2 (tuned parts). The pocket checkpoints and Llama-3.2-Vision go
through the same `load`. The paper tunes every weight, which `full` does; LoRA (peft) is this study's
substitute, on all linear layers of the language model.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn
from transformers import AutoProcessor
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING

from posttrain.config import LoraSettings
from posttrain.policy import faults
from posttrain.policy.chat import settle
from posttrain.policy.model import WEIGHTS, Policy, ValueHead

PARTS = ("language", "projector", "vision")


def words(path: str | Path) -> tuple[Any, Any]:
    """The tokenizer of a checkpoint folder or hub name, fit for dialogues that grow, and its processor if it
    sees. Raises as `load` does."""
    path, processor = str(path), None
    if path.startswith((".", "/", "data/", "build/")) and not (Path(path) / "config.json").is_file():
        raise FileNotFoundError(
            f"no checkpoint at {path}: expected a folder with config.json, model.safetensors and "
            "tokenizer.json (make one with `posttrain pretrain`, or name a Hugging Face model)"
        )
    config = faults.settings(path)
    if config.model_type in faults.SEES:
        processor = _processor(path, config)
    tokenizer = getattr(processor, "tokenizer", None) or faults.tokenizer(path)
    tokenizer.chat_template = tokenizer.chat_template or getattr(processor, "chat_template", None)
    if tokenizer.chat_template is None:
        raise ValueError(f"{path} has no chat template: use an instruction-tuned checkpoint")
    used = settle(tokenizer, path)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    faults.check_vocabulary(path, config, tokenizer, used)
    return tokenizer, processor


def _processor(path: str, config: Any) -> Any:
    """The processor of a vision checkpoint; None for a text-only copy of one, which has a tokenizer alone.
    Its part for films is left out where it needs torchvision, and that is missing: nothing shows films."""
    told, kind = "", PROCESSOR_MAPPING.get(type(config), None)
    for one in (AutoProcessor, kind and _without_films(kind)):
        try:
            if one:
                return one.from_pretrained(path)
        except ImportError as error:
            told = told or " ".join(str(error).split()).split(". ")[0]
        except (OSError, ValueError):
            continue
        except TypeError:  # a class that insists on films
            if not told:
                raise
    if told:
        raise ValueError(f"{path}: its processor cannot be loaded: {told}")
    return None


def _without_films(kind: type) -> type:
    names = [name for name in kind.get_attributes() if name != "video_processor"]
    return type(kind.__name__, (kind,), {"get_attributes": classmethod(lambda cls: names)})


def load(
    path: str | Path,
    dtype: torch.dtype | str = torch.float32,
    device: str = "cpu",
    bf16: bool = False,
    checkpointing: bool = False,
) -> Policy:
    """Load a checkpoint folder or hub name as a policy without adapter. `checkpointing`: of what its layers
    compute for a backward pass they keep their inputs alone.

    Raises FileNotFoundError for a local path that holds no checkpoint, ValueError for one that is not a
    language model, that has no chat template, whose processor needs a package that is missing, or with
    another fault (`posttrain.policy.faults`).
    """
    path = str(path)
    tokenizer, processor = words(path)
    config = faults.settings(path)
    options, language = {"dtype": dtype}, getattr(config, "language_foundation", None)
    if device == "cpu" and getattr(config.get_text_config(), "hidden_size", 10**9) <= 512:
        # Pocket dialogues are so short that eager attention beats the fused CPU kernel.
        options["attn_implementation"] = "eager"
    model = faults.weighted(path, config, bool(language), **options).to(device).eval()
    if language:
        read_language(model, Path(path).parent / language)
    faults.check_finite(path, model)
    model.requires_grad_(False)
    if checkpointing:
        recompute(path, model)
    return Policy(model, tokenizer, processor, bf16=bf16, checkpointing=checkpointing)


def outline(path: str | Path) -> nn.Module:
    """The model of a checkpoint without weights, on torch's device "meta". Raises as `load` does where the
    files' heads tell what is wrong."""
    config = faults.settings(str(path))
    return faults.weighted(str(path), config, hasattr(config, "language_foundation"), device_map="meta")


def recompute(path: str | Path, model: nn.Module) -> None:
    """Let a model's layers compute their inside again in a backward pass. ValueError if it has no such
    layers."""
    told = ("it has no layers that compute their inside again", "leave checkpointing out")
    with faults.told(str(path), *told, ValueError):
        model.activation_checkpointing_enable({"use_reentrant": False})


def read_language(model: nn.Module, folder: Path) -> None:
    """Read the language model of a pocket vision-language checkpoint, which stores only what is its own: it
    is the text foundation's in `folder`, to the bit. FileNotFoundError where there is none, ValueError where
    it is another one.

    The image token has an embedding that nobody reads, and is never to be said: it gets the padding token's,
    which never is.
    """
    if not (folder / "model.safetensors").is_file():
        raise FileNotFoundError(
            f"no text foundation at {folder}: the vision-language model beside it reads with that one's "
            "language model (make it with `posttrain pretrain`)"
        )
    advice, kinds = "make it with `posttrain pretrain`", (SafetensorError, KeyError, RuntimeError)
    with faults.told(str(folder), "its weights are not the language model's", advice, *kinds):
        _take_over(model, load_file(folder / "model.safetensors"))


def _take_over(model: nn.Module, weights: dict[str, torch.Tensor]) -> None:
    config, embedding = model.config.text_config, weights.pop("model.embed_tokens.weight")
    added = embedding[config.pad_token_id].expand(config.vocab_size - len(embedding), -1)
    state = {name.removeprefix("model."): weight for name, weight in weights.items()}
    state["embed_tokens.weight"] = torch.cat([embedding, added])
    with torch.no_grad():
        model.model.language_model.load_state_dict(state)


def _inside(model: nn.Module) -> dict[nn.Module, str]:
    """The part that each module is of, where that is told by where it stands.

    The vision tower and the decoder are where transformers says; "language" are the decoder's blocks, with
    their cross-attention, "projector" is what stands between, within the tower too: what comes behind its
    blocks and is as wide as the language model.
    """
    tower, decoder = model.get_encoder(modality="image"), model.get_decoder()
    if decoder in tower.modules():  # a text model has no tower: transformers gives the model itself
        tower = nn.Module()
    blocks = [child for child in decoder.children() if isinstance(child, nn.ModuleList)]
    inside = {module: "language" for block in blocks for module in block.modules()}
    inside |= dict.fromkeys(tower.modules(), "vision")
    width, behind = model.config.get_text_config().hidden_size, False
    for child in tower.children():
        widths = [layer.out_features for layer in child.modules() if isinstance(layer, nn.Linear)]
        if behind and width in widths:
            inside |= dict.fromkeys(child.modules(), "projector")
        behind = behind or isinstance(child, nn.ModuleList)
    return inside


def linear_layers(model: nn.Module) -> dict[str, str]:
    """The linear layers of a model but the last one, by name, with the part that each is of."""
    inside, head = _inside(model), model.get_output_embeddings()
    return {
        name: inside.get(module, "projector")
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and module is not head
    }


def weights(model: nn.Module) -> dict[str, str]:
    """Every parameter of a model by name, tied ones once, with the part that it is of: embeddings, norms and
    the last layer are the language model's."""
    language = {*model.get_decoder().modules(), model.get_output_embeddings()}
    inside = dict.fromkeys(language, "language") | _inside(model)
    owners = dict(model.named_modules())
    return {
        name: inside.get(owners[name.rpartition(".")[0]], "projector") for name, _ in model.named_parameters()
    }


def moved(model: nn.Module, settings: LoraSettings) -> list[str]:
    """The names of what training moves: linear layers that get an adapter or, in full tuning, parameters."""
    parts = PARTS[: PARTS.index(settings.parts) + 1]
    among = weights(model) if settings.full else linear_layers(model)
    return [name for name, part in among.items() if part in parts]


def add_lora(
    policy: Policy, settings: LoraSettings = LoraSettings(), seed: int = 0, value: bool = False
) -> Policy:
    """The policy with a fresh adapter, which changes nothing yet, and a fresh value head if `value`. With
    `settings.full` the weights themselves are free to move, in place, and a copy of them stays. ValueError
    for a model without layers to adapt."""
    model, head = policy.model, policy.model.get_output_embeddings()
    targets = moved(model, settings)
    if settings.full:
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name in targets)
        policy = replace(policy, origin=[parameter.detach().clone() for parameter in policy.trainable()])
    elif not targets:
        kind = f"a {type(model).__name__} has no linear layers that an adapter could stand on"
        raise ValueError(f"{model.name_or_path}: {kind}; tune every weight (lora.full) or use a Llama's like")
    config = LoraConfig(
        r=settings.rank, lora_alpha=settings.alpha, lora_dropout=0.0, target_modules=targets, bias="none"
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = model if settings.full else get_peft_model(model, config)
        value_head = ValueHead(head.weight.shape[1]).to(policy.device) if value else None
    return replace(policy, model=model, value_head=value_head)


def is_saved(folder: str | Path) -> bool:
    """Whether `folder` holds what a policy's `save_adapter` writes."""
    return any((Path(folder) / name).is_file() for name in ("adapter_model.safetensors", WEIGHTS))


def load_adapter(policy: Policy, folder: str | Path) -> Policy:
    """`policy` with what was trained, merged into its weights for good: the starting model of the next stage.

    FileNotFoundError where `folder` holds nothing that was trained, ValueError where it is of another model.
    """
    if not is_saved(folder):
        raise FileNotFoundError(
            f"no adapter at {folder}: the run that makes it has not been carried out (`posttrain train` does)"
        )
    model = policy.model
    if (Path(folder) / WEIGHTS).is_file():
        policy.read_weights(folder)
    else:
        model = PeftModel.from_pretrained(model, str(folder)).merge_and_unload()
    model.requires_grad_(False)
    return replace(policy, model=model.eval(), value_head=None, origin=None)
