"""Versions of what decides numbers: one for each part of the library whose behaviour enters a result.

Raise a part's version when its numbers change on purpose, and record its goldens anew
(`python -m tests.invariant.record`). The goldens in tests/invariant/ fail where numbers move and no version does.
"""

VERSIONS: dict[str, int] = {
    "general-points": 1,  # deals, prompts, expert answers, rewards and messages
    "navigation": 1,  # cities, routes, prompts, rewards and messages
    "pictures": 1,  # pixels of cards and streets
    "chat": 1,  # a dialogue as tokens
    "rollout": 1,  # decoding and sampling
    "sft": 1,  # batches, loss, optimizer and schedule of supervised fine-tuning
    "ppo": 1,  # advantages, objective, optimizer and value head
    "census": 1,  # cases and their order, outcomes, divergence
    "foundation": 1,  # corpora, tokenizer, pretraining and gates of the pocket foundations
}
