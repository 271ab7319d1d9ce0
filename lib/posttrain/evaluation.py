"""Census evaluation: every solvable hand, or a fixed set of routes, is a case once (paper, section 5.1 and
appendix C.3, there 234 random hands). `limit` draws some of them, the same ones at every checkpoint.

A census plays the sets of a task (`posttrain.tasks`) with each way of decoding and keeps every case's
outcome. Sampled success is a mean over several draws of a case: of first answers (pass@1) and, fewer of them,
of whole dialogues.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch

from posttrain.config import CensusConfig
from posttrain.decoding import decoder_for
from posttrain.decoding.prefixes import Prefixes
from posttrain.environments.sets import Hands, Routes
from posttrain.policy import Policy
from posttrain.policy.batching import Pictures, parts, right_aligned, stacked
from posttrain.progress import Progress
from posttrain.rollouts import Dialogue, Sampling, play, read
from posttrain.tasks import TASKS

Game = list[Dialogue]


class Played(NamedTuple):
    """How one case was played: whole games, and draws more of first answers alone, a game each."""

    whole: list[Game]
    firsts: list[Game]


class _Posed(NamedTuple):
    """A game before it is played: its set and decoding, its case, the draw; `whole`: to its end."""

    key: tuple[str, str]
    case: int
    draw: int
    whole: bool
    environment: Any
    info: dict


def census(
    policy: Policy,
    config: CensusConfig = CensusConfig(),
    seed: int = 0,
    between: bool = False,
    told: list[dict[str, Any]] | None = None,
    run: str = "",
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Evaluate `policy` on every set: (summary, one row per set and decoding; hands, one row per case).

    Deterministic in `seed` on one machine. Summary columns: n (cases), the task's (`Hands.summary`,
    `Routes.summary`), kl (nats per first answer to the starting model; sampled decoding only), tokens; with
    `both_ways` kl_back, from the starting model. `between`: a checkpoint between the first and the last.
    told: a list that gets what was said, a mapping for each answer of the first `config.told` cases. run: the
    name under which progress is told; without it none is.
    """
    sets = TASKS[config.task].sets
    cases = {name: _cases(config, name, seed, between) for name in config.sets}
    summaries, outcomes = [], []
    for (name, decoding), played in _play(policy, config, cases, seed, run).items():
        table = pd.DataFrame([_outcome(sets[name], one) for one in played])
        table.insert(0, "hand", [sets[name].label(case) for case in cases[name]])
        summary = {
            "set": name,
            "decoding": decoding,
            "n": len(table),
            "kl": float("nan"),
            **sets[name].summary(table),
            "tokens": sum(len(d.ids) for one in played for game in one.whole + one.firsts for d in game),
        }
        if decoding == "sampled" and policy.has_start:
            dialogues = [dialogue for one in played for dialogue in one.whole[0]]
            summary["kl"] = divergence(policy, dialogues[: config.kl_hands])
            if config.both_ways:
                asked = cases[name][: config.kl_hands]
                summary["kl_back"] = _back(policy, config, sets[name], asked, seed)
        summaries.append(summary)
        outcomes.append(table.assign(set=name, decoding=decoding))
        if told is not None:
            for label, one in zip(table["hand"], played[: config.told]):
                told += [{"set": name, "decoding": decoding, "hand": label, **row} for row in _said(one)]
    hands = pd.concat(outcomes, ignore_index=True)
    # A flag of one draw and a mean of several are numbers in one column.
    mixed = [name for name in hands.columns[1:-2] if hands[name].dtype == object]
    return pd.DataFrame(summaries), hands.astype(dict.fromkeys(mixed, float))


def _outcome(set_: Hands | Routes, played: Played) -> dict[str, Any]:
    """What one case came to; where it was played more than once, means over draws."""
    whole = [set_.outcome(game) for game in played.whole]
    if len(whole) == 1 and not played.firsts:
        return whole[0]
    mean = {column: float(np.mean([row[column] for row in whole])) for column in whole[0]}
    firsts = [set_.first(game) for game in played.firsts]
    for column in firsts[0] if firsts else ():
        mean[column] = float(np.mean([row[column] for row in whole + firsts]))
    return mean


def _said(played: Played) -> Iterator[dict[str, Any]]:
    """The answers of a case's first game: which dialogue of it and which answer there, from 1 on."""
    for number, dialogue in enumerate(played.whole[0], 1):
        for answer, (text, verdict) in enumerate(zip(dialogue.texts, dialogue.verdicts), 1):
            said = {"dialogue": number, "answer": answer, "text": text, "message": verdict.message}
            yield said | {"correct": verdict.correct, "outcome": verdict.outcome}


def _cases(config: CensusConfig, name: str, seed: int, between: bool) -> list:
    """The same cases (and order of cards) at every checkpoint: differences between checkpoints are paired."""
    sets = TASKS[config.task].sets
    chosen_by = seed if config.cases_seed is None else config.cases_seed
    rng = np.random.default_rng(np.random.SeedSequence([chosen_by, list(sets).index(name)]))
    limits = (
        config.limit,
        None if name in config.revised else config.limit_others,
        config.limit_between if between else None,
    )
    return sets[name].cases(rng, min(filter(None, limits), default=None))


def _how(config: CensusConfig) -> dict[str, Any]:
    """What environments are posed with."""
    how = {"feedback": config.feedback, "protocol": config.protocol}
    return how | ({"pixels": config.pixels} if config.pixels else {})


def _pose(config: CensusConfig, cases: dict[str, list]) -> list[_Posed]:
    """All games of a census. Draws of one question stand side by side: what it says is read once."""
    posed, how = [], _how(config)
    for key in ((name, decoding) for name in config.sets for decoding in config.decodings):
        name, decoding = key
        set_, revised = TASKS[config.task].sets[name], name in config.revised and decoding in config.revising
        whole, draws = (config.dialogues if revised else 1, config.draws) if decoding == "sampled" else (1, 1)
        for i, case in enumerate(cases[name]):
            for draw in range(whole):
                steps = config.verify_steps if revised else 1
                environment, info = set_.pose(case, verify_steps=steps, **how)
                posed.append(_Posed(key, i, draw, True, environment, info))
            for question, info in set_.questions(case, **how) if draws > whole else ():
                posed += [_Posed(key, i, draw, False, question, info) for draw in range(whole, draws)]
    return posed


def _play(
    policy: Policy, config: CensusConfig, cases: dict[str, list], seed: int, run: str = ""
) -> dict[tuple[str, str], list[Played]]:
    """What was played of each case, by set and decoding; games of all of them share batches."""
    posed = _pose(config, cases)
    played = {
        (name, decoding): [Played([], []) for _ in cases[name]]
        for name in config.sets
        for decoding in config.decodings
    }
    firsts: dict[tuple, Game] = {}  # the questions of a route are one game, as its points are
    generator = torch.Generator(device=policy.device).manual_seed(seed)
    # Whole games first: questions are asked once, in batches of their own.
    kinds = [[one for one in posed if one.whole is whole] for whole in (True, False)]
    batches = [kind[i : i + config.batch] for kind in kinds for i in range(0, len(kind), config.batch)]
    progress = Progress(len(batches), "batch", f"{run}, evaluation", silent=not run)
    with policy.merged(), progress:
        for done, batch in enumerate(batches):
            progress.update(done)
            heat = [float(one.key[1] == "sampled") for one in batch]
            sampling = Sampling(config.max_tokens, heat, generator)
            games = play(policy, [one.environment for one in batch], [one.info for one in batch], sampling)
            for one, game in zip(batch, games):
                if one.whole:
                    played[one.key][one.case].whole.append(game)
                else:
                    firsts.setdefault((one.key, one.case, one.draw), []).extend(game)
    for (key, case, _), game in firsts.items():
        played[key][case].firsts.append(game)
    return played


def _back(policy: Policy, config: CensusConfig, set_: Hands | Routes, cases: list, seed: int) -> float:
    """KL(starting model || policy) of the starting model's own first answers, which are sampled here."""
    how = _how(config)
    questions = [pair for case in cases for pair in set_.questions(case, **how)][: config.kl_hands]
    generator = torch.Generator(device=policy.device).manual_seed(seed)
    dialogues: list[Dialogue] = []
    with policy.start():
        for start in range(0, len(questions), config.batch):
            asked, infos = zip(*questions[start : start + config.batch])
            games = play(policy, asked, infos, Sampling(config.max_tokens, 1.0, generator))
            dialogues += [dialogue for game in games for dialogue in game]
    return divergence(policy, dialogues, back=True)


@torch.no_grad()
def divergence(policy: Policy, dialogues: list[Dialogue], tokens: int = 8192, back: bool = False) -> float:
    """Mean KL(policy || starting model) of the first answer, in nats: summed over its tokens, exact at each
    position; with `back` KL(starting model || policy). The answers should be the former model's.

    `tokens`: so many are held at once, padding included. ValueError if the policy keeps no starting model.
    """
    total, prompts, answers = 0.0, [], []
    for dialogue in dialogues:
        begin = dialogue.ask[0] + 1
        end = dialogue.ask[1] if len(dialogue.ask) > 1 else len(dialogue.ids)
        last = max(i for i in range(begin, end) if dialogue.sampled[i])
        prompts.append(dialogue.ids[:begin])
        answers.append(dialogue.ids[begin : last + 1])
    # In alphabetical order the points of a route, whose prompts begin alike, are read side by side.
    order = sorted(range(len(prompts)), key=prompts.__getitem__)
    for part in parts([len(prompts[i]) + len(answers[i]) for i in order], tokens, sort=False):
        rows = [order[i] for i in part]
        inputs = stacked([dialogues[i].inputs for i in rows])
        said = [prompts[i] for i in rows], [answers[i] for i in rows], inputs
        ours = _weighed(policy, *said)
        with policy.start():
            theirs = _weighed(policy, *said)
        ours, theirs = (theirs, ours) if back else (ours, theirs)
        total += float((ours.exp() * (ours - theirs)).sum())
    return total / len(dialogues)


def _weighed(
    policy: Policy, prompts: list[list[int]], answers: list[list[int]], inputs: Pictures
) -> torch.Tensor:
    """Log-probabilities of every token where the answers' tokens stand, FloatTensor[tokens, vocabulary]."""
    decoder, device = decoder_for(policy), policy.device
    mask, unread = Prefixes().begin(decoder, prompts, device)
    if inputs:
        decoder.see({name: value.to(device) for name, value in inputs.items()})
    unread = [new + answer[:-1] for new, answer in zip(unread, answers)]
    ids, real = (t.to(device) for t in right_aligned(unread, policy.tokenizer.pad_token_id))
    asked = right_aligned(answers, 0)[1].bool().to(device)
    hidden, _ = read(decoder, mask, torch.arange(len(ids), device=device), ids, real, asked.shape[1])
    return decoder.logits(hidden[asked]).log_softmax(-1)
