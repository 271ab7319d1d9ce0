"""What a run asks of a card: bytes of memory and hours, by arithmetic.

Paper: appendix C.2 (one node of eight 80 GB cards). Bytes a token are what autograd keeps of transformers'
Llama with fused attention, counted product by product; the tests compare them with what torch really keeps.
Pictures are counted for a Mllama with adapters in bfloat16, the paper's model. Left out on purpose: other
models' pictures, fragments between allocations, what the kernels need while they run. With text, a Mllama
passes over its layers of cross-attention.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import nn

from posttrain.config import Arm, LoraSettings
from posttrain.policy import linear_layers, moved

GB = 1e9
COPIES = 4  # of the logits, in float32, at once: they, their logarithms, and the gradients of both


class Card(NamedTuple):
    """A card by its maker's data sheet, and the shares of it that are assumed to be reached."""

    memory: float = 80 * GB
    flops: float = 989e12  # a second, dense bfloat16
    bandwidth: float = 3.35e12  # bytes a second
    used: float = 0.4  # of the FLOPs, where many tokens go through at once
    read: float = 0.3  # of the bandwidth, where one token of each dialogue does


H100 = Card()


class Shape(NamedTuple):
    """A decoder's sizes: `queries` and `keys` are the widths of all query heads and of all key heads;
    `layers`: those that attend to text."""

    hidden: int
    layers: int
    heads: int
    queries: int
    keys: int
    mlp: int
    vocabulary: int


class Dialogues(NamedTuple):
    """Lengths of a task in tokens, as a tokenizer of general text cuts it. `answers` in a dialogue, `rounds`
    of answers in an episode, one after the other."""

    prompt: int
    answer: int
    message: int
    answers: int
    rounds: int

    def length(self, answer: int | None = None) -> int:
        """Tokens of a dialogue; `answer`: with answers so long."""
        return self.prompt + self.answers * ((answer or self.answer) + self.message)


# Measured with the tokenizer of SmolLM2-135M; in navigation a prompt has 203 to 738 tokens.
DIALOGUES = {"general-points": Dialogues(175, 50, 45, 5, 5), "navigation": Dialogues(470, 40, 45, 1, 13)}


def shape(config) -> Shape:
    """The sizes in a transformers config of a Llama, or of the language model in one that sees."""
    text = config.get_text_config()
    width = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    heads, crossed = text.num_attention_heads, getattr(text, "cross_attention_layers", None) or ()
    return Shape(
        text.hidden_size,
        text.num_hidden_layers - len(crossed),
        heads,
        heads * width,
        text.num_key_value_heads * width,
        text.intermediate_size,
        text.vocab_size,
    )


# --- bytes a token ------------------------------------------------------------------------------------------


def activations(shape: Shape, lora: LoraSettings, bf16: bool, checkpointing: bool = False) -> float:
    """Bytes that a token keeps in all layers between forward and backward pass.

    Of a layer: what its two norms read, in float32, what they give (once for each product that casts it to
    bfloat16), queries, keys, values and the attention's result, and four times the width inside the
    feed-forward part. `checkpointing`: each layer's input, and one layer's rest while it is computed again.
    """
    h, product = shape.hidden, 2 if bf16 else 4
    small = 4 * (2 + shape.heads)  # a scale of each norm, a normaliser of each head
    normed = (5 if bf16 else 2) * h
    mixed = shape.queries * (2 if bf16 and not lora.full else 1)  # peft casts it again
    inside = normed + shape.queries + 2 * shape.keys + mixed + 4 * shape.mlp
    norms = 4 * 2 * h * (2 if lora.full else 1)  # a scale that learns keeps what it scales
    layer = norms + small + product * (inside + (0 if lora.full else 7 * lora.rank))
    if checkpointing:
        return shape.layers * h * (2 if bf16 and not lora.full else 4) + layer
    return shape.layers * layer


def cache(shape: Shape, size: int = 2) -> int:
    """Bytes of a token's keys and values while a dialogue is rolled out, in numbers of `size` bytes."""
    return shape.layers * 2 * shape.keys * size


def logits(shape: Shape) -> int:
    """Bytes of a learned token where the loss and its gradient are computed, in float32."""
    return COPIES * 4 * shape.vocabulary


# --- pictures -----------------------------------------------------------------------------------------------


class Sight(NamedTuple):
    """What a Mllama makes of a picture, whatever its size: all tiles that there may be, empty ones too.
    `positions` in its tower, and `read` by the `crossed` layers of cross-attention; one token of text."""

    positions: int
    read: int
    crossed: int


def sight(config) -> Sight:
    """Of a transformers config. ValueError for another model than a Mllama."""
    if config.model_type != "mllama":
        raise ValueError(f"pictures are counted for a mllama, not for a {config.model_type}")
    seen = config.vision_config
    patches = (seen.image_size // seen.patch_size) ** 2 + 1  # and one for the whole tile
    padded = -(-patches // 8) * 8
    crossed = len(config.text_config.cross_attention_layers)
    return Sight(seen.max_num_tiles * padded, seen.max_num_tiles * patches, crossed)


def picture(config, lora: LoraSettings) -> float:
    """Bytes that a picture keeps in a Mllama between forward and backward pass on a GPU, in bfloat16 with
    adapters on all parts.

    Of a layer of the tower: what two norms read, in float32, what they give for each product, queries, keys,
    values and the attention's result, twice (peft casts it), and twice the width inside. Where layers
    of cross-attention read it: its copies for keys and values, keys in float32 before their norm, both for
    every query head. ValueError for other settings and other models.
    """
    if lora.full or lora.parts != "vision":
        raise ValueError("pictures are counted for adapters on all parts (lora.parts: vision)")
    seen, own, (positions, read, crossed) = config.vision_config, shape(config), sight(config)
    h, heads, rank = seen.hidden_size, seen.attention_heads, lora.rank
    layer = 26 * h + 4 * seen.intermediate_size + 12 * rank + 4 * heads + 16
    tower = positions * (seen.num_hidden_layers + seen.num_global_layers) * layer
    mask = 2 * positions**2
    projected = read * 2 * (seen.vision_output_dim + rank)
    head = own.queries // own.heads
    across = 4 * (own.hidden + own.keys + own.queries + rank + own.keys // head)
    return tower + mask + projected + read * crossed * across


def looking(model: nn.Module) -> float:
    """FLOPs of a picture's forward pass: through tower and projector, and as keys and values of a Mllama's
    cross-attention. What text then asks of them is left out. ValueError for another model."""
    seen, (positions, read, _) = model.config.vision_config, sight(model.config)
    parts = linear_layers(model)
    size = {name: model.get_submodule(name).weight.numel() for name in parts}
    tower = sum(size[name] for name, part in parts.items() if part == "vision")
    tower += seen.num_channels * seen.patch_size**2 * seen.hidden_size  # patches
    behind = sum(size[name] for name, part in parts.items() if part == "projector")
    crossed = (".cross_attn.k_proj", ".cross_attn.v_proj")
    behind += sum(count for name, count in size.items() if name.endswith(crossed))
    attention = 4 * positions**2 * seen.hidden_size * (seen.num_hidden_layers + seen.num_global_layers)
    return 2 * (positions * tower + read * behind) + attention


# --- bytes of a model ---------------------------------------------------------------------------------------


def trained(model: nn.Module, lora: LoraSettings) -> int:
    """How many numbers are trained: of the adapters, or in full tuning of the parts themselves. `model` may
    be on torch's meta device."""
    names = moved(model, lora)
    if lora.full:
        return sum(model.get_parameter(name).numel() for name in names)
    layers = map(model.get_submodule, names)
    return sum(lora.rank * (layer.in_features + layer.out_features) for layer in layers)


def memory(model: nn.Module, arm: Arm, sharing: int = 1) -> dict[str, float]:
    """Bytes that an arm needs on each GPU, by what they are for, and the `peak` of them.

    The larger of an update and a rollout comes on top of what always lies there. While rolling out, adapters
    stand in a copy of the weights. Answers are taken to be as long as `max_tokens` where they are sampled.
    `sharing`: so many cards hold a part of the weights and of all that belongs to them, as ZeRO-3 does and
    this library does not.
    """
    own, lora, task = shape(model.config), arm.lora, DIALOGUES[arm.task.removesuffix("-vision")]
    sees = arm.task.endswith("-vision")
    if sees:
        if not arm.bf16:
            raise ValueError("pictures are counted in bfloat16 (bf16: true)")
        seen = sight(model.config)
    # A layer of cross-attention keeps of a token hardly less than others: keys and values are a picture's.
    deep = own._replace(layers=own.layers + seen.crossed) if sees else own
    count, moving = sum(p.numel() for p in model.parameters()), trained(model, lora)
    size = 2 if arm.bf16 and not lora.full else 4
    need = {"weights": size * count, "gradients": 4 * moving, "optimizer": 8 * moving}
    need["start"] = 4 * moving if lora.full else 0
    if arm.algorithm == "ppo":
        length, learned = task.length(), task.answers * task.answer / task.length()
        at_once, episodes, room = max(arm.ppo.microbatch_tokens, length), arm.ppo.episodes, arm.ppo.max_tokens
    else:
        length, learned = task.prompt + task.answer, task.answer / (task.prompt + task.answer)
        most = max(arm.sft.microbatch_tokens, length)
        at_once, episodes, room = min(most, arm.sft.batch_size * length), 0, 0
    need["cast"] = 2 * moving if lora.full and arm.bf16 else 0
    need["merged"] = 0 if lora.full else size * count
    need = {name: value / sharing for name, value in need.items()}
    need["activations"] = at_once * activations(deep, lora, arm.bf16, arm.checkpointing)
    need["logits"] = at_once * learned * logits(own)
    need["pictures"] = max(1, int(at_once / length)) * picture(model.config, lora) if sees else 0
    judged = arm.census.batch * task.length(arm.census.max_tokens)
    need["cache"] = max(episodes * task.length(room), judged) * cache(own, size)
    if sees:
        need["cache"] += max(episodes, arm.census.batch) * seen.read * seen.crossed * 2 * own.keys * size
    always = sum(need[name] for name in ("weights", "gradients", "optimizer", "start"))
    update = need["activations"] + need["logits"] + need["pictures"] + need["cast"]
    return {**need, "peak": always + max(update, need["merged"] + need["cache"])}


# --- hours --------------------------------------------------------------------------------------------------


def hours(model: nn.Module, arm: Arm, card: Card = H100, cards: int = 1) -> float:
    """Hours of training, evaluations apart, of an arm with a budget: its FLOPs at the share of the card that
    is `used`, and for PPO the reading of all weights for every token of an answer.

    Of the budget's 6N a trained token LoRA computes 4N: frozen weights have no gradient. Pictures, which no
    budget counts, come on top: one for each dialogue that is read. Cards share the episodes. ValueError for
    an arm that is given steps.
    """
    if arm.budget_gflop is None:
        raise ValueError("an arm without budget_gflop has no hours")
    count, task = sum(p.numel() for p in model.parameters()), DIALOGUES[arm.task.removesuffix("-vision")]
    factor = 6 if arm.lora.full else 4
    size = 2 if arm.bf16 and not arm.lora.full else 4
    look = looking(model) if arm.task.endswith("-vision") else 0
    if arm.algorithm != "ppo":
        tokens = arm.budget_gflop * 1e9 / (6 * count)
        looked = tokens / (task.prompt + task.answer) * factor / 2 * look
        return (factor * count * tokens + looked) / (card.flops * card.used * cards) / 3600
    tokens = arm.budget_gflop * 1e9 / ((6 + 2 / arm.ppo.epochs) * count)  # trained ones
    looked = tokens / task.length() * (factor / 2 + 1 / arm.ppo.epochs) * look
    operations = (factor + 2 / arm.ppo.epochs) * count * tokens + looked
    computed = operations / (card.flops * card.used * cards)
    episode = task.length() * (task.rounds / task.answers)
    iterations = tokens / arm.ppo.epochs / (cards * arm.ppo.episodes * episode)
    reading = iterations * task.rounds * task.answer * size * count / (card.bandwidth * card.read)
    return (computed + reading) / 3600
