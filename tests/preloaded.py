"""What the processes of `tests.processes` would each have to do again: imports, also late ones, and solving
the hands of every set."""

import pytest  # noqa: F401
import torch
from posttrain import config, policy, tasks
from posttrain.environments import hands
from posttrain.foundation import training  # noqa: F401
from posttrain.trainers import arm, ppo, sft  # noqa: F401

torch.set_num_threads(1)
policy.load(str(config.ROOT / "data" / "models" / "pocket-text-0"))
for each in tasks.TASKS["general-points"].sets.values():
    hands(each.rule, split=each.split, faces=each.faces)
