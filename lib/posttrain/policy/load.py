"""Policies: any Hugging Face causal or image-text-to-text checkpoint, a LoRA adapter, a value head.

Paper: section 5 (backbone) and appendix C.2 (tuned parts). The pocket checkpoints and Llama-3.2-Vision go through the same
`load`. The released code tunes every weight; LoRA (peft) is this study's substitute, on all linear layers of the language model.

Trap: at pocket size the low-rank products cost more kernels than the layers they adapt, so a small Llama is computed by
`posttrain.decoding.fast` on the folded weights W + s*B*A, formed once a step and differentiated through: the same function and
gradient at less than half the time. Everything else takes peft's and transformers' own path.
"""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import PartialState
from accelerate.utils import reduce
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer
from safetensors.torch import load_file
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoProcessor,
    AutoTokenizer,
)
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES
from transformers.utils import logging

from posttrain.config import LoraSettings
from posttrain.decoding import fast as llama

class ValueHead(nn.Module):
    """Value of the dialogue so far, read at the last prompt token: FloatTensor[n, hidden] -> FloatTensor[n]."""

    def __init__(self, hidden: int, width: int = 128):
        super().__init__()
        self.layers = nn.Sequential(
            nn.LayerNorm(hidden), nn.Linear(hidden, width), nn.GELU(), nn.Linear(width, 1)
        )
        nn.init.zeros_(self.layers[-1].weight)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return self.layers(hidden.float()).squeeze(-1)


@dataclass
class Policy:
    """A model with its tokenizer (or processor), an optional adapter and an optional value head."""

    model: nn.Module
    tokenizer: object
    processor: object | None = None
    value_head: ValueHead | None = None
    bf16: bool = False
    fast: bool = True  # False keeps a pocket model on the transformers path (tests compare the two)
    kept: llama.Llama | None = None  # within `accumulating`

    @property
    def base(self) -> nn.Module:
        """The transformers model, its linear layers wrapped by peft where an adapter is present."""
        return self.model.get_base_model() if isinstance(self.model, PeftModel) else self.model

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    def autocast(self):
        return torch.autocast(self.device.type, dtype=torch.bfloat16) if self.bf16 else nullcontext()

    def adapter_layers(self) -> list[tuple[str, LoraLayer]]:
        return [(name, module) for name, module in self.base.named_modules() if isinstance(module, LoraLayer)]

    def score(self, ids: torch.Tensor, learned: torch.Tensor, **inputs) -> tuple[torch.Tensor, torch.Tensor]:
        """Differentiable logits at the learned positions.

        ids: LongTensor[batch, time], padded on the right; learned: BoolTensor[batch, time], true where ids[:, t] is predicted.
        inputs: what the processor made of the rows' pictures, one a row (pixel_values, ...). Without it the model reads text alone.
        Returns (FloatTensor[learned.sum(), vocabulary], FloatTensor[learned.sum(), hidden]): float32 logits, and the states that they are read from.
        """
        if self.is_fast:
            folded = self.kept or self.folded()
            hidden = folded.hidden(ids[:, :-1], self.features(inputs), learned[:, 1:])
            return folded.logits(hidden), hidden
        with self.autocast():
            # No attention mask: rows are padded on the right, where causal attention never looks back from.
            hidden = self.base.model(
                input_ids=ids, use_cache=False, **self.visible(ids, inputs)
            ).last_hidden_state[:, :-1][learned[:, 1:]]
            return self.logits(hidden), hidden

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """float32 logits of hidden states [..., hidden] on the transformers path. The image token is never said."""
        return llama.silenced(
            self.base.get_output_embeddings()(hidden).float(),
            getattr(self.base.config, "image_token_id", None),
        )

    def features(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor | None:
        """The language model's view of the pictures in `inputs`, FloatTensor[batch, image tokens, hidden]; None without pictures.

        In float32: the tower is small, and the sampler, which merges the adapter, must see what the trainer sees.
        """
        return (
            torch.stack(tuple(self.base.model.get_image_features(**inputs).pooler_output)) if inputs else None
        )

    def visible(
        self, ids: torch.Tensor, inputs: dict[str, torch.Tensor], seen: bool = False
    ) -> dict[str, torch.Tensor]:
        """`inputs` with the mask that a model with cross-attention (Mllama) needs: a token sees the picture from its marker on;
        `seen`: the marker stands before `ids`."""
        if "aspect_ratio_mask" not in inputs:
            return inputs
        behind = (
            torch.ones_like(ids) if seen else (ids == self.base.config.image_token_id).cumsum(1).clamp(max=1)
        )
        return {
            **inputs,
            "cross_attention_mask": behind[:, :, None, None] * inputs["aspect_ratio_mask"][:, None],
        }

    @property
    def is_fast(self) -> bool:
        return self.fast and llama.supports(self.base)

    def folded(self) -> llama.Llama:
        """The model with the adapter, where one is active, folded into its weights; gradients reach the adapter."""

        def weight(layer: nn.Module) -> torch.Tensor:
            if not isinstance(layer, LoraLayer):
                return layer.weight
            return (
                layer.base_layer.weight
                if layer.disable_adapters or layer.merged
                else layer.base_layer.weight + _delta(layer)
            )

        return llama.Llama(self.base, weight, self.bf16)

    @contextmanager
    def accumulating(self):
        """Several backward passes through one folding; what they sum up reaches the adapter at the end."""
        if not self.is_fast:
            yield self
            return
        folded = self.folded()
        whole = [weight for layer in folded.layers for weight in layer]
        leaves = [weight.detach().requires_grad_(weight.requires_grad) for weight in whole]
        folded.layers = list(zip(*[iter(leaves)] * 4))
        self.kept = folded
        try:
            yield self
        finally:
            self.kept = None
        torch.autograd.backward(
            [w for w, leaf in zip(whole, leaves) if leaf.grad is not None],
            [leaf.grad for leaf in leaves if leaf.grad is not None],
        )

    @contextmanager
    def merged(self):
        """While rolling out, the adapter stands in the weights; afterwards the very same base weights are back (no drift)."""
        layers = (
            [] if not isinstance(self.model, PeftModel) else [layer for _, layer in self.adapter_layers()]
        )
        kept = [layer.base_layer.weight.data for layer in layers]
        with torch.no_grad():
            for layer in layers:
                layer.base_layer.weight.data = layer.base_layer.weight.data + _delta(layer)
        try:
            with self.start() if layers else nullcontext():
                yield self
        finally:
            for layer, weight in zip(layers, kept):
                layer.base_layer.weight.data = weight

    @contextmanager
    def start(self):
        """The model that the adapter started from (Init, or the base): the reference of the KL."""
        if not isinstance(self.model, PeftModel):
            raise ValueError(
                "the policy has no adapter, so it has no starting model; call models.add_lora first"
            )
        wanted, kept = [p for p in self.model.parameters() if p.requires_grad], self.kept
        self.kept = None
        with self.model.disable_adapter():
            yield self
        self.kept = kept
        for parameter in wanted:
            parameter.requires_grad_(True)

    def trainable(self) -> list[nn.Parameter]:
        return [p for p in self.model.parameters() if p.requires_grad]

    def save_adapter(self, folder: str | Path) -> None:
        self.model.save_pretrained(str(folder))


def average_gradients(parameters: list[nn.Parameter]) -> None:
    """Over all processes of `accelerate launch`. Explicit, because `Policy.score` never calls a wrapped model's forward."""
    if PartialState().num_processes > 1:
        for parameter in parameters:
            parameter.grad = reduce(
                parameter.grad if parameter.grad is not None else torch.zeros_like(parameter), "mean"
            )


def _delta(layer: LoraLayer) -> torch.Tensor:
    """s * B * A of one layer, differentiable (peft's own get_delta_weight is not, in every version)."""
    with torch.autocast(layer.base_layer.weight.device.type, enabled=False):
        delta = (layer.lora_B["default"].weight @ layer.lora_A["default"].weight) * layer.scaling["default"]
        return delta.to(layer.base_layer.weight.dtype)  # the adapter is float32 also where the model is not


def load(
    path: str | Path, dtype: torch.dtype | str = torch.float32, device: str = "cpu", bf16: bool = False
) -> Policy:
    """Load a checkpoint folder or hub name as a policy without adapter.

    Raises FileNotFoundError for a local path that holds no checkpoint, ValueError for one that is not a language model.
    """
    path = str(path)
    if path.startswith((".", "/", "data/", "build/")) and not (Path(path) / "config.json").is_file():
        raise FileNotFoundError(
            f"no checkpoint at {path}: expected a folder with config.json, model.safetensors and tokenizer.json "
            "(make one with `posttrain pretrain`, or name a Hugging Face model)"
        )
    config = AutoConfig.from_pretrained(path)
    kind = (
        AutoModelForImageTextToText
        if config.model_type in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES
        else AutoModelForCausalLM
    )
    processor = None
    if kind is AutoModelForImageTextToText:
        try:
            processor = AutoProcessor.from_pretrained(path)
        except (
            OSError,
            ValueError,
        ):  # a text-only copy of a vision checkpoint has a tokenizer and no image processor
            processor = None
    tokenizer = getattr(processor, "tokenizer", None) or AutoTokenizer.from_pretrained(path)
    if tokenizer.chat_template is None:
        raise ValueError(f"{path} has no chat template: use an instruction-tuned checkpoint")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    # Pocket dialogues are so short that eager attention beats the fused CPU kernel; elsewhere the library's choice stands.
    small = device == "cpu" and getattr(config.get_text_config(), "hidden_size", 10**9) <= 512
    language, loud = getattr(config, "language_foundation", None), logging.get_verbosity()
    if language:
        logging.set_verbosity(logging.CRITICAL)  # what is missing is read next
    try:
        model = (
            kind.from_pretrained(path, dtype=dtype, **({"attn_implementation": "eager"} if small else {}))
            .to(device)
            .eval()
        )
    finally:
        logging.set_verbosity(loud)
    if language:
        read_language(model, Path(path).parent / language)
    model.requires_grad_(False)
    return Policy(model, tokenizer, processor, bf16=bf16)


def read_language(model: nn.Module, folder: Path) -> None:
    """The language model of a pocket vision-language checkpoint, which stores only what is its own; it is the text foundation's, to the bit.

    The image token has an embedding that nobody reads, and is never to be said: it gets the padding token's, which never is.
    """
    if not (folder / "model.safetensors").is_file():
        raise FileNotFoundError(
            f"no text foundation at {folder}: the vision-language model beside it reads with that one's language model "
            "(make it with `posttrain pretrain`)"
        )
    weights = load_file(folder / "model.safetensors")
    embedding = weights.pop("model.embed_tokens.weight")
    with torch.no_grad():
        model.model.language_model.load_state_dict(
            {
                **{name.removeprefix("model."): w for name, w in weights.items()},
                "embed_tokens.weight": torch.cat(
                    [
                        embedding,
                        embedding[model.config.text_config.pad_token_id].expand(
                            model.config.text_config.vocab_size - len(embedding), -1
                        ),
                    ]
                ),
            }
        )


def add_lora(
    policy: Policy, settings: LoraSettings = LoraSettings(), seed: int = 0, value: bool = False
) -> Policy:
    """The policy with a fresh adapter (its function unchanged) and, if `value`, a fresh value head; weights from `seed`."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        # An image-text-to-text class has linear layers of its own in the vision tower and the projector.
        others = {"language": ("projector", "vision"), "projector": ("vision",), "vision": ()}[settings.parts]
        targets = [
            name
            for name, module in policy.model.named_modules()
            if isinstance(module, nn.Linear)
            and module is not policy.model.get_output_embeddings()
            and not any(part in name for part in others)
        ]
        config = LoraConfig(
            r=settings.rank, lora_alpha=settings.alpha, lora_dropout=0.0, target_modules=targets, bias="none"
        )
        model = get_peft_model(policy.model, config)
        hidden = policy.model.get_output_embeddings().weight.shape[1]
        head = ValueHead(hidden).to(policy.device) if value else None
    return Policy(model, policy.tokenizer, policy.processor, head, policy.bf16, policy.fast)


def load_adapter(policy: Policy, folder: str | Path) -> Policy:
    """`policy` with a saved adapter merged into its weights for good: the starting model of the next stage."""
    if not (Path(folder) / "adapter_config.json").is_file():
        raise FileNotFoundError(
            f"no adapter at {folder}: the run that makes it has not been carried out (`posttrain train` does)"
        )
    model = PeftModel.from_pretrained(policy.model, str(folder)).merge_and_unload()
    model.requires_grad_(False)
    return Policy(model.eval(), policy.tokenizer, policy.processor, None, policy.bf16, policy.fast)
