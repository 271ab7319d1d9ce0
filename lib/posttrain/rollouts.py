"""Rollouts: batched multi-turn generation against text environments (sequential revision, paper section 4.1 and Figure 3).

One answer is one action. A dialogue is one task prompt with its answers; a game is what an environment plays between two resets, one
dialogue in GeneralPoints, one for each point of a route in navigation. The key-value cache is kept across turns, and across the points of
a route as far as their prompts begin alike: only new tokens cost something. Rows of a batch may differ in length; the gaps this leaves in the
cache are masked, and positions count real tokens, so that the trainer, which sees each dialogue as one gapless sequence, computes the
same probabilities.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Callable, Sequence

import torch
from torch.nn import functional as F
from transformers.cache_utils import DynamicCache

from posttrain.environments import prompts
from posttrain.policy.load import Policy
from posttrain.rendering import Picture


class _Transformers:
    """Decoding through transformers, for any model; the same calls as `posttrain.decoding.fast.Llama`, all rows to the end."""

    narrows = shares = False

    def __init__(self, policy: Policy):
        self.policy, self.model = policy, policy.base
        self.cache = DynamicCache(config=self.model.config.get_text_config())
        self.inputs: dict[str, torch.Tensor] = {}
        self.seen = False

    def see(self, inputs: dict[str, torch.Tensor]) -> None:
        self.inputs = inputs

    def extend(
        self, ids: torch.Tensor, mask: torch.Tensor, positions: torch.Tensor, last: int = 1
    ) -> torch.Tensor:
        inputs = self.policy.visible(ids, self.inputs, self.seen)
        if self.seen:  # the pictures are in the cache
            inputs = {name: value for name, value in inputs.items() if name == "cross_attention_mask"}
        with self.policy.autocast():
            hidden = self.model.model(
                input_ids=ids,
                attention_mask=mask,
                position_ids=positions,
                past_key_values=self.cache,
                use_cache=True,
                **inputs,
            )
        self.seen = True
        return hidden.last_hidden_state[:, -last:]

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        with self.policy.autocast():
            return self.policy.logits(hidden)

    def select(self, rows: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        if len(rows) < len(mask):
            self.cache.batch_select_indices(rows)
            self.inputs = {name: value[rows] for name, value in self.inputs.items()}
        return mask[rows]


class Chat:
    """The chat template of one tokenizer, cut into what must be appended to a running dialogue; `processor`: for tasks with pictures."""

    def __init__(self, tokenizer, processor=None):
        self.tokenizer, self.processor = tokenizer, processor
        self.end = tokenizer.eos_token_id
        self.feedback = lru_cache(maxsize=4096)(self._feedback)

    def _render(self, messages, generate: bool) -> str:
        return self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=generate)

    def opening(self, messages: list[prompts.Message]) -> list[int]:
        """Token ids of a dialogue in text up to the place where the answer begins."""
        return self.openings([messages])[0][0]

    def openings(
        self, messages: Sequence[list[prompts.Message]], pictures: Sequence[Picture] | None = None
    ) -> tuple[list[list[int]], dict[str, torch.Tensor]]:
        """The same for many dialogues, with a picture each if there are any: ids with the image tokens in them, and what the model gets for the pictures."""
        if pictures is None:
            return self.tokenizer([self._render(m, True) for m in messages], add_special_tokens=False)[
                "input_ids"
            ], {}
        if self.processor is None:
            raise ValueError(
                "this model reads text only: a task with pictures needs an image-text-to-text checkpoint with its processor"
            )
        made = self.processor(
            text=[self._render(m, True) for m in messages],
            images=[[picture()] for picture in pictures],
            padding=True,
            return_tensors="pt",
            add_special_tokens=False,
        )
        return [
            ids[mask.bool()].tolist() for ids, mask in zip(made["input_ids"], made["attention_mask"])
        ], self._pixels(made)

    def pixels(self, pictures: Sequence[Picture]) -> dict[str, torch.Tensor]:
        """What the model gets for pictures, one a row, without the text."""
        return self._pixels(
            self.processor.image_processor(images=[[picture()] for picture in pictures], return_tensors="pt")
        )

    def _pixels(self, made) -> dict[str, torch.Tensor]:
        return {name: made[name] for name in self.processor.image_processor.model_input_names if name in made}

    def _feedback(self, text: str) -> list[int]:
        """Token ids from behind an answer's end token up to where the next answer begins."""
        start = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "answer"}]
        answered = self._render(start, False)
        tail = answered[answered.rindex("answer") + len("answer") :].partition(self.tokenizer.eos_token)[2]
        turn = self._render([*start, {"role": "user", "content": text}], True)[len(answered) :]
        return self.tokenizer(tail + turn, add_special_tokens=False)["input_ids"]


@dataclass
class Dialogue:
    """One dialogue as the trainer sees it. Lists over tokens have equal length; lists over answers too."""

    ids: list[int] = field(default_factory=list)
    sampled: list[bool] = field(default_factory=list)  # true where the policy chose the token
    logprobs: list[float] = field(default_factory=list)  # of sampled tokens, float32, 0 elsewhere
    ask: list[int] = field(default_factory=list)  # per answer: index of the last prompt token
    texts: list[str] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)
    values: list[float] = field(
        default_factory=list
    )  # of the dialogue before each answer, where the policy has a value head
    verdicts: list = field(default_factory=list)
    correct: bool = False
    task: object = None
    inputs: dict[str, torch.Tensor] = field(
        default_factory=dict
    )  # what the model gets for the picture, if there is one


def stacked(dialogues: Sequence[Dialogue]) -> dict[str, torch.Tensor]:
    """The pictures of dialogues as one batch; empty where they have none."""
    return {name: torch.stack([d.inputs[name] for d in dialogues]) for name in dialogues[0].inputs}


def parts(lengths: Sequence[int], tokens: int) -> list[list[int]]:
    """Rows by length, the longest first, cut so that each part holds at most `tokens`, padding included (or one row)."""
    made: list[list[int]] = []
    for row in sorted(range(len(lengths)), key=lambda r: -lengths[r]):
        if not made or (len(made[-1]) + 1) * lengths[made[-1][0]] > tokens:
            made.append([])
        made[-1].append(row)
    return made


Judge = Callable[
    [int, str], tuple[float, str, bool, object]
]  # (row, text) -> reward, what the verifier says, dialogue over, verdict


def play(
    policy: Policy,
    environments: Sequence,
    infos: Sequence[dict],
    max_tokens: int = 48,
    temperature: float | list[float] = 1.0,
    generator: torch.Generator | None = None,
) -> list[list[Dialogue]]:
    """Play environments that have just been reset (`infos`) to their ends: the dialogues of each game, in order.

    A dialogue's `task` is the truth it was about (`info["place"]`). Where a step says `info["moved"]`, the next dialogue begins.
    `info["picture"]` draws what is seen, where a task has pictures.
    """
    games: list[list[Dialogue]] = [[] for _ in environments]
    infos, heat, playing = (
        list(infos),
        torch.as_tensor(temperature, dtype=torch.float32).expand(len(environments)),
        list(range(len(environments))),
    )
    memory = _Memory()
    while playing:
        moved = dict.fromkeys(playing, False)

        def judge(row: int, text: str):
            game = playing[row]
            _, reward, terminated, truncated, infos[game] = environments[game].step(text)
            moved[game] = infos[game].get("moved", False)
            return (
                reward,
                infos[game]["messages"][-1]["content"],
                terminated or truncated or moved[game],
                infos[game]["verdict"],
            )

        tasks = [infos[game].get("place") for game in playing]
        pictures = [infos[game]["picture"] for game in playing] if "picture" in infos[playing[0]] else None
        guesses = [
            environments[game].guess() if hasattr(environments[game], "guess") else "" for game in playing
        ]
        rolled = roll(
            policy,
            [infos[game]["messages"] for game in playing],
            judge,
            max_tokens,
            heat[playing],
            generator,
            pictures,
            guesses,
            memory,
        )
        for game, task, dialogue in zip(playing, tasks, rolled):
            dialogue.task = task
            games[game].append(dialogue)
        memory.keep([row for row, game in enumerate(playing) if moved[game]])
        playing = [game for game in playing if moved[game]]
    return games


class _Memory:
    """What the decoder has read of the openings of one batch: where the next dialogues of the same games begin alike (an earlier point of
    the same route), nothing is read twice."""

    def __init__(self):
        self.openings: list[list[int]] = []
        self.cache, self.mask = [], torch.zeros(0, 0)

    def hold(self, openings: list[list[int]], cache: list, mask: torch.Tensor) -> None:
        """`cache` as it is now: what follows is written behind it, or elsewhere."""
        self.openings, self.cache, self.mask, self.rows = (
            openings,
            [tuple(pair) for pair in cache],
            mask,
            list(range(len(openings))),
        )

    def keep(self, rows: list[int]) -> None:
        """The next batch will be these rows."""
        self.rows = rows

    def recall(self, openings: list[list[int]], image: int) -> tuple[list[int], torch.Tensor, torch.Tensor]:
        """For each row how many tokens are known already, in which of the old rows, and LongTensor[rows, most] of their columns there.

        A picture (its token is `image`) is never known: another one's tokens are the same.
        """
        known = [
            next(
                (i for i, (a, b) in enumerate(zip(self.openings[row], new)) if a != b or a == image),
                min(len(self.openings[row]), len(new) - 1),
            )
            for row, new in zip(self.rows, openings)
        ]
        rows = torch.tensor(self.rows, device=self.mask.device)
        return known, rows, self.mask[rows].argsort(dim=1, descending=True, stable=True)[:, : max(known)]


@torch.no_grad()
def roll(
    policy: Policy,
    openings: Sequence[list[prompts.Message]],
    judge: Judge,
    max_tokens: int = 48,
    temperature: float | list[float] | torch.Tensor = 1.0,
    generator: torch.Generator | None = None,
    pictures: Sequence[Picture] | None = None,
    guesses: Sequence[str] | None = None,
    memory: _Memory | None = None,
) -> list[Dialogue]:
    """Roll out one dialogue for each opening (and picture); temperature (one, or one a dialogue) 0 is greedy. The policy should be `merged` (the caller's context).

    `judge(row, text)` steps the environment of that row. Tokens are sampled from the float32 softmax of the full vocabulary.
    """
    chat, decoder = (
        Chat(policy.tokenizer, policy.processor),
        policy.folded() if policy.is_fast else _Transformers(policy),
    )
    heat = torch.as_tensor(temperature, dtype=torch.float32, device=policy.device).expand(len(openings))
    dialogues = [Dialogue() for _ in openings]
    rows = list(range(len(openings)))  # the dialogue of each row of the batch
    pending, inputs = chat.openings(openings, pictures)
    for dialogue, opening in zip(dialogues, pending):
        dialogue.ids, dialogue.sampled, dialogue.logprobs = (
            list(opening),
            [False] * len(opening),
            [0.0] * len(opening),
        )
    guess = _guess(chat, guesses or [""] * len(openings), max_tokens).to(policy.device)
    mask = torch.zeros(len(rows), 0, dtype=torch.long, device=policy.device)
    whole = pending
    if decoder.shares and memory is not None and memory.openings:
        known, *where = memory.recall(pending, decoder.image)
        decoder.recall(memory.cache, *where)
        mask = (torch.arange(max(known)) < torch.tensor(known)[:, None]).long().to(policy.device)
        pending = [opening[n:] for n, opening in zip(known, pending)]
    elif decoder.shares and (shared := decoder.common(pending)):  # what all rows begin with is read once
        begin = torch.tensor(pending[0][:shared], device=policy.device)[None]
        decoder.extend(begin, torch.ones_like(begin), torch.arange(shared, device=policy.device)[None])
        mask, pending = (
            torch.ones(len(rows), shared, dtype=torch.long, device=policy.device),
            [opening[shared:] for opening in pending],
        )
    if inputs:
        for dialogue, *row in zip(dialogues, *inputs.values()):
            dialogue.inputs = dict(zip(inputs, row))
        inputs = {name: value.to(policy.device) for name, value in inputs.items()}
        decoder.see(policy.features(inputs) if policy.is_fast else inputs)
    while rows:
        width, begun = max(map(len, pending)), mask.shape[1]
        ids = torch.tensor([[policy.tokenizer.pad_token_id] * (width - len(new)) + new for new in pending])
        real = (torch.arange(width) >= width - torch.tensor([len(new) for new in pending])[:, None]).long()
        for row in rows:
            dialogues[row].ask.append(len(dialogues[row].ids) - 1)
        answers, scores, values, mask = _answer(
            policy,
            decoder,
            ids.to(policy.device),
            real.to(policy.device),
            mask,
            max_tokens,
            heat,
            generator,
            guess[rows],
        )
        if memory is not None and decoder.shares and len(rows) == len(dialogues) and not dialogues[0].texts:
            memory.hold(whole, decoder.first, mask[:, : begun + width])
        texts = policy.tokenizer.batch_decode(answers, skip_special_tokens=True)
        kept, pending = [], []
        for r, row in enumerate(rows):
            dialogue, answer = dialogues[row], answers[r]
            dialogue.ids += answer
            dialogue.sampled += [True] * len(answer)
            dialogue.logprobs += scores[r][: len(answer)]
            dialogue.texts.append(texts[r])
            reward, says, over, verdict = judge(row, texts[r])
            dialogue.rewards.append(reward)
            dialogue.values += values[r : r + 1]
            dialogue.verdicts.append(verdict)
            dialogue.correct = verdict.correct
            if not over:
                kept.append(r)
                # An answer cut off by the limit has no end token of its own; the dialogue gets one as context.
                new = ([] if answer[-1] == chat.end else [chat.end]) + chat.feedback(says)
                pending.append(answer[-1:] + new)  # an answer's last token is not in the cache yet
                dialogue.ids += new
                dialogue.sampled += [False] * len(new)
                dialogue.logprobs += [0.0] * len(new)
        if kept:
            index = torch.tensor(kept, device=policy.device)
            mask, heat = decoder.select(index, mask), heat[index]
        rows = [rows[r] for r in kept]
    return dialogues


def _guess(chat: Chat, texts: Sequence[str], most: int) -> torch.Tensor:
    """LongTensor[rows, tokens] of what answers are guessed to be, at most `most` tokens, -1 where nothing is guessed."""
    ids = [row[:most] for row in chat.tokenizer(list(texts), add_special_tokens=False)["input_ids"]]
    width = max(map(len, ids))
    return torch.tensor([row + [-1] * (width - len(row)) for row in ids], dtype=torch.long).view(
        len(ids), width
    )


def _answer(policy, decoder, ids, real, mask, max_tokens, heat, generator, guess):
    """One answer for every row: token ids, log-probabilities, values, and the mask of what the cache now holds.

    guess: LongTensor[rows, tokens] of what an answer will probably be, -1 where nothing is guessed. Guessed tokens are read along with what
    is known, many at once, and stay as far as the policy draws the very same ones (speculative decoding: Leviathan et al. 2023).
    """
    end, device, whole = policy.tokenizer.eos_token_id, ids.device, len(ids)
    # A number for each token an answer may have: what a row draws depends neither on its guess nor on when the others end.
    uniform = torch.rand(whole, max_tokens, generator=generator, device=device)
    answers, scores = (
        torch.zeros(whole, max_tokens, dtype=torch.long, device=device),
        torch.zeros(whole, max_tokens, device=device),
    )
    lengths, rows, values = (
        torch.zeros(whole, dtype=torch.long, device=device),
        torch.arange(whole, device=device),
        [],
    )
    running, greedy = torch.ones(whole, dtype=torch.bool, device=device), heat == 0
    scale, some_greedy, scaled = (
        torch.where(greedy, 1.0, heat)[:, None, None],
        bool(greedy.any()),
        bool(((heat != 1) & ~greedy).any()),
    )
    while True:
        # What is guessed to follow: position by position, so that one other token (a number, a word) does not spoil the rest.
        places = lengths[rows, None] + torch.arange(guess.shape[1] + 1, device=device)
        drafted = (
            F.pad(guess, (0, 1), value=-1)[rows].gather(1, places[:, :-1].clamp(max=guess.shape[1]))
            if guess.shape[1]
            else guess[rows]
        )
        drafted = drafted[
            :, : int(((drafted >= 0).sum(0) * 2 > len(rows)).sum())
        ]  # as long as most rows have one: all read as many tokens
        places, drafts = places[:, : drafted.shape[1] + 1], drafted.shape[1]
        added = torch.zeros(whole, ids.shape[1] + drafts, dtype=torch.long, device=device)
        added[rows] = torch.cat([real, (drafted >= 0).long()], 1)
        mask = torch.cat([mask, added], 1)
        seen = mask[rows]
        hidden = decoder.extend(
            torch.cat([ids, drafted.clamp(min=0)], 1),
            seen,
            (seen.cumsum(1) - 1).clamp(min=0)[:, -added.shape[1] :],
            drafts + 1,
        )
        if not lengths.any() and policy.value_head is not None:
            values = policy.value_head(hidden[:, 0]).tolist()
        logits = decoder.logits(hidden)
        chances = (logits / scale[rows] if scaled else logits).softmax(-1)
        up_to = chances.cumsum(-1)
        chosen = (
            up_to <= uniform[rows].gather(1, places.clamp(max=max_tokens - 1))[..., None] * up_to[..., -1:]
        ).sum(-1)
        if some_greedy:
            chosen = torch.where(greedy[rows, None], logits.argmax(-1), chosen)
        score = chances.gather(2, chosen[..., None]).squeeze(2).log()
        # A token counts if all before it were as guessed, none of them ended the answer, and there is room.
        taken = (
            F.pad(
                ((chosen[:, :-1] == drafted) & (chosen[:, :-1] != end)).long().cumprod(1), (1, 0), value=1
            ).bool()
            & (places < max_tokens)
            & running[:, None]
        )
        count = taken.sum(1)
        where = rows[:, None].expand_as(taken)[taken], places[taken]
        answers[where], scores[where] = chosen[taken], score[taken]
        lengths[rows] += count
        # In the cache stays what another token of the answer follows; an answer's last token enters with the next turn.
        if drafts:
            mask[rows, -drafts:] = taken[:, 1:].long()
            guess[rows[count <= 1]] = -1  # nothing of it was right
        last = chosen.gather(1, (count[:, None] - 1).clamp(min=0))
        running = running & (last[:, 0] != end) & (lengths[rows] < max_tokens)
        left = int(running.sum())
        if not left:
            break
        if decoder.narrows and left < 0.7 * len(
            rows
        ):  # a few long answers must not cost as much as all of them
            decoder.narrow(running.nonzero().squeeze(1), rows[running])
            last, rows, running = last[running], rows[running], running[running]
        ids, real = last, running[:, None].long()
    lengths = lengths.tolist()
    return [row[:n] for row, n in zip(answers.tolist(), lengths)], scores.tolist(), values, mask
