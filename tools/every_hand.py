"""What the models of the page "Play the model" answer to every hand: data/every-hand.parquet.

    python tools/every_hand.py

A row for each arm, set and hand: shares of eight sampled first answers. The models are those of
book/play/data.js, the ends of one repetition; its runs judged some of these hands only. `make export-play`
calls this after it.
"""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np
import pandas as pd
import torch
from export_play import OUTPUT, PARTS
from posttrain import config, evaluation, policy, store
from posttrain.analysis import explorer
from posttrain.config import CensusConfig
from posttrain.policy import Policy

CENSUS = {"sets": tuple(explorer.WHOLE), "revised": (), "decodings": ("sampled",), "draws": 8}


def played() -> dict[str, Any]:
    """The page's data."""
    text = OUTPUT.read_text()
    return json.loads(text[text.index("{") : text.rindex("}") + 1])


def matrices(part: dict) -> dict[str, torch.Tensor]:
    """The matrices of a part of the page's data, by name."""
    numbers = np.frombuffer(base64.b64decode(part["data"]), "<f2").astype(np.float32)
    ends = np.cumsum([rows * columns for _, rows, columns in part["shapes"]])
    cut = np.split(numbers, ends[:-1])
    return {name: torch.from_numpy(a.reshape(shape)) for (name, *shape), a in zip(part["shapes"], cut)}


def tuned(data: dict[str, Any], arm: str, folder: str) -> Policy:
    """The foundation in `folder` with the page's adapters of an arm added to its weights."""
    made = policy.load(folder)
    weights = dict(made.model.named_parameters())
    names = {ours: theirs for theirs, ours in PARTS.items()}
    with torch.no_grad():
        for one in data["arms"][arm]:
            halves = matrices(data["adapters"][one])
            for place in {name[:-2] for name in halves}:
                layer, part = place.split(".")
                delta = halves[f"{place}.B"] @ halves[f"{place}.A"] * data["adapters"][one]["scale"]
                weights[f"model.layers.{layer}.{names[part]}.weight"] += delta
    return made


def main() -> None:
    data, profile = played(), config.load("cpu")
    folder = store.model_path(profile, profile.run(data["runs"][0]))
    tables = []
    for arm in data["arms"]:
        _, hands = evaluation.census(tuned(data, arm, folder), CensusConfig(**CENSUS), run=arm)
        tables.append(hands[["set", "hand", *explorer.MEASURES]].assign(arm=arm))
    store.write(explorer.EVERY, pd.concat(tables, ignore_index=True).to_parquet(**store.PACKED))
    print(f"{store.shown(explorer.EVERY)}: {len(tables[0])} hands and rules, {len(tables)} arms")


if __name__ == "__main__":
    main()
