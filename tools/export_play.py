"""Make book/play/data.js: the models, the tokenizer and the words that the page "Play the model" needs.

    python tools/export_play.py [--profile cpu] [--study gp-l] [--seed 0] [OUTPUT]

The foundation is written once, each arm as its adapter, all in half precision. An adapter that is not kept is
made again by the run's own training. `make export-play` calls this with the published settings.
"""

from __future__ import annotations

import argparse
import base64
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from posttrain import config, policy, store
from posttrain.analysis.claims import ARMS
from posttrain.config import Profile, Run
from posttrain.environments import general_points, prompts
from posttrain.policy import Chat
from posttrain.trainers import arm
from safetensors.torch import load_file
from transformers.convert_slow_tokenizer import bytes_to_unicode

OUTPUT = config.ROOT / "book" / "play" / "data.js"
PARTS = {  # of a layer: its name in a Llama's checkpoint -> in the page
    "self_attn.q_proj": "q",
    "self_attn.k_proj": "k",
    "self_attn.v_proj": "v",
    "self_attn.o_proj": "o",
    "mlp.gate_proj": "gate",
    "mlp.up_proj": "up",
    "mlp.down_proj": "down",
    "input_layernorm": "before_attention",
    "post_attention_layernorm": "before_network",
}
WHOLE = {"model.embed_tokens.weight": "embeddings", "model.norm.weight": "last"}


def packed(weights: Iterable[tuple[str, np.ndarray]]) -> dict[str, Any]:
    """Named matrices as `Play.unpack` reads them: shapes, and all numbers in half precision."""
    weights = [(name, np.atleast_2d(array)) for name, array in weights]
    data = b"".join(array.astype("<f2").tobytes() for _, array in weights)
    shapes = [[name, *array.shape] for name, array in weights]
    return {"shapes": shapes, "data": base64.b64encode(data).decode()}


def base(folder: str | Path) -> dict[str, Any]:
    """The weights of a Llama's checkpoint with one matrix of embeddings."""
    named = {}
    for name, array in load_file(Path(folder) / "model.safetensors").items():
        array = array.float().numpy()  # foundations are kept in bfloat16, which numpy does not have
        if name in WHOLE:
            named[WHOLE[name]] = array
        elif name.startswith("model.layers."):
            layer, part = name.removeprefix("model.layers.").removesuffix(".weight").split(".", 1)
            named[f"{layer}.{PARTS[part]}"] = array
    return packed(sorted(named.items()))


def adapter(folder: Path) -> dict[str, Any]:
    """A LoRA adapter: A and B of each layer, and what their product is multiplied by."""
    named = {}
    for name, array in load_file(folder / "adapter_model.safetensors").items():
        layer, part = name.partition(".layers.")[2].removesuffix(".weight").split(".", 1)
        part, _, half = part.rpartition(".lora_")
        named[f"{layer}.{PARTS[part]}.{half}"] = array.numpy()
    said = json.loads((folder / "adapter_config.json").read_text())
    return {**packed(sorted(named.items())), "scale": said["lora_alpha"] / said["r"]}


def words(chat: Chat) -> dict[str, Any]:
    """Tokens and phrases: what a prompt, an answer and a message are made of."""
    tokenizer = chat.tokenizer
    said = json.loads(tokenizer.backend_tokenizer.to_str())
    letters = said["model"]["vocab"]
    phrases = [[token["content"], token["id"], token["special"]] for token in said["added_tokens"]]
    opening = chat.render([{"role": "user", "content": "\0"}]).split("\0")
    return {
        "tokenizer": {
            "phrases": phrases,
            "bytes": [letters[letter] for _, letter in sorted(bytes_to_unicode().items())],
        },
        "end": chat.end,
        "end_text": tokenizer.eos_token,
        "turn": opening,
        "prompt": {"task": prompts.TASK, "rule": prompts.RULE, "cards": prompts.CARDS},
        "again": [prompts.FAILED, prompts.AGAIN],
    }


def data(profile: Profile, runs: dict[str, Run]) -> dict[str, Any]:
    """All that the page needs, of runs (by what they are called) that have one foundation."""
    first = next(iter(runs.values()))
    model = policy.load(store.model_path(profile, first))
    said = model.model.config
    held_out = {
        tuple(sorted(general_points.Rule.parse("10").numbers(hand)))
        for hand in general_points.hands("10", split="test")
    }
    chains = {name: [*run.ancestors, run] for name, run in runs.items()}
    made = {run.arm: adapter(arm.adapter(profile, run)) for chain in chains.values() for run in chain}
    return {
        "config": {
            "layers": said.num_hidden_layers,
            "heads": said.num_attention_heads,
            "hidden": said.hidden_size,
            "epsilon": said.rms_norm_eps,
            "theta": said.rope_parameters["rope_theta"],
        },
        "base": base(store.model_path(profile, first)),
        "adapters": made,
        "arms": {name: [run.arm for run in chain] for name, chain in chains.items()},
        **words(Chat(model.tokenizer)),
        "most": first.settings.census.max_tokens,
        "tries": 5,
        "held_out": sorted(held_out),
        "runs": [run.name for run in runs.values()],
    }


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", nargs="?", type=Path, default=OUTPUT)
    parser.add_argument("--profile", default="cpu")
    parser.add_argument("--study", default="gp-l")
    parser.add_argument("--seed", type=int, default=0)
    said = parser.parse_args(arguments)
    try:
        profile = config.load(said.profile)
        runs = {name: profile.run(f"{said.study}/{one}/{said.seed}") for name, one in ARMS.items()}
        exported = data(profile, runs)
    except (ValueError, OSError) as error:  # settings, or what is not stored
        sys.exit(str(error))
    text = "globalThis.PLAY_DATA = " + json.dumps(exported, separators=(",", ":")) + ";\n"
    said.output.write_text(text)
    print(f"{said.output}: {len(text) / 1e6:.1f} MB, {', '.join(run.name for run in runs.values())}")


if __name__ == "__main__":
    main()
