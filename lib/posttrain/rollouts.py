"""Rollouts: batched multi-turn generation against text environments (paper, section 4.1 and Figure 3).

One answer is one action. A dialogue is one task prompt with its answers; a game is what an environment plays
between two resets: one dialogue in GeneralPoints, one for each point of a route in navigation. `play` plays
games, `roll` rolls out a batch of dialogues, `answer` gives one answer in each. The key-value cache is kept
across turns, and across the points of a route as far as their prompts begin alike: only new tokens cost
something. The gaps that rows of different lengths leave in the cache are masked, and positions count real
tokens: the trainer, which sees each dialogue as one gapless sequence, computes the same probabilities.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch

from posttrain.decoding import Decoder, decoder_for
from posttrain.decoding.drafting import Draft, accepted, guessed
from posttrain.decoding.prefixes import Prefixes
from posttrain.decoding.sampling import Sampler
from posttrain.environments.prompts import Message
from posttrain.policy import Chat, Policy
from posttrain.policy.batching import Pictures, right_aligned
from posttrain.rendering import Picture

# (row, text) -> reward, what the verifier says, whether the dialogue is over, verdict
Judge = Callable[[int, str], tuple[float, str, bool, object]]


@dataclass(frozen=True)
class Sampling:
    """How answers are drawn: `temperature`, one for all dialogues or one each; 0 is greedy."""

    max_tokens: int = 48  # per answer
    temperature: float | list[float] | torch.Tensor = 1.0
    generator: torch.Generator | None = None

    def temperatures(self, rows: int, device: torch.device | str = "cpu") -> torch.Tensor:
        """FloatTensor[rows]."""
        return torch.as_tensor(self.temperature, dtype=torch.float32, device=device).expand(rows)


@dataclass(frozen=True)
class Opening:
    """What a dialogue begins with. `guess`: the probable answer; it saves time and changes nothing."""

    messages: list[Message]
    picture: Picture | None = None  # all openings of a batch have one, or none
    guess: str = ""
    task: object = None  # the truth that the dialogue is about


@dataclass
class Dialogue:
    """One dialogue as the trainer sees it. Lists over tokens have equal length; lists over answers too."""

    ids: list[int] = field(default_factory=list)
    sampled: list[bool] = field(default_factory=list)  # true where the policy chose the token
    logprobs: list[float] = field(default_factory=list)  # of sampled tokens, float32, 0 elsewhere
    ask: list[int] = field(default_factory=list)  # per answer: index of the last prompt token
    texts: list[str] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)
    values: list[float] = field(default_factory=list)  # before each answer, where there is a value head
    verdicts: list = field(default_factory=list)
    correct: bool = False
    task: object = None
    inputs: Pictures = field(default_factory=dict)  # what the model gets for the picture, if there is one

    def read(self, ids: list[int]) -> None:
        """Tokens that the policy did not choose."""
        self.ids += ids
        self.sampled += [False] * len(ids)
        self.logprobs += [0.0] * len(ids)

    def say(self, ids: list[int], logprobs: list[float]) -> None:
        """Tokens that it chose."""
        self.ids += ids
        self.sampled += [True] * len(ids)
        self.logprobs += logprobs

    def judged(self, text: str, reward: float, verdict, values: list[float]) -> None:
        """What these tokens say, and what that was worth."""
        self.texts.append(text)
        self.rewards.append(reward)
        self.verdicts.append(verdict)
        self.correct = verdict.correct
        self.values += values


class _Game:
    """An environment that is played, its last info, and its dialogues."""

    def __init__(self, environment, info: dict):
        self.environment, self.info, self.dialogues = environment, info, []

    def opening(self) -> Opening:
        guess = self.environment.guess() if hasattr(self.environment, "guess") else ""
        return Opening(self.info["messages"], self.info.get("picture"), guess, self.info.get("place"))

    def judge(self, text: str) -> tuple[float, str, bool, object]:
        _, reward, terminated, truncated, self.info = self.environment.step(text)
        over = terminated or truncated or self.info.get("moved", False)
        return reward, self.info["messages"][-1]["content"], over, self.info["verdict"]


def play(
    policy: Policy, environments: Sequence, infos: Sequence[dict], sampling: Sampling = Sampling()
) -> list[list[Dialogue]]:
    """Play environments that have just been reset (`infos`) to their ends: the dialogues of each, in order.

    `info["messages"]` opens a dialogue, about `info["place"]`; `info["picture"]` draws what it shows, and
    `environment.guess()` guesses answers, where there is one. With `info["moved"]` the next dialogue begins.
    """
    games = [_Game(environment, info) for environment, info in zip(environments, infos)]
    playing, temperature, prefixes = list(range(len(games))), sampling.temperatures(len(games)), Prefixes()
    while playing:
        batch = [games[index] for index in playing]
        judge = lambda row, text, batch=batch: batch[row].judge(text)  # noqa: E731
        drawn = replace(sampling, temperature=temperature[playing])
        dialogues = roll(policy, [game.opening() for game in batch], judge, drawn, prefixes)
        for game, dialogue in zip(batch, dialogues):
            game.dialogues.append(dialogue)
        moved = [row for row, game in enumerate(batch) if game.info.get("moved", False)]
        prefixes.keep(moved)
        playing = [playing[row] for row in moved]
    return [game.dialogues for game in games]


@torch.no_grad()
def roll(
    policy: Policy,
    openings: Sequence[Opening],
    judge: Judge,
    sampling: Sampling = Sampling(),
    prefixes: Prefixes | None = None,
) -> list[Dialogue]:
    """Roll out one dialogue for each opening. The policy should be `merged` (the caller's context).

    `judge(row, text)` steps the environment of that row. `prefixes`: what was read for the batch before.
    """
    chat, decoder, device = Chat(policy.tokenizer, policy.processor), decoder_for(policy), policy.device
    pictures = [opening.picture for opening in openings] if openings[0].picture else None
    opened, inputs = chat.openings([opening.messages for opening in openings], pictures)
    dialogues = [Dialogue(task=opening.task) for opening in openings]
    for row, (dialogue, ids) in enumerate(zip(dialogues, opened)):
        dialogue.read(ids)
        dialogue.inputs = {name: value[row] for name, value in inputs.items()}
    prefixes = prefixes or Prefixes()
    mask, unread = prefixes.begin(decoder, opened, device)
    if inputs:
        decoder.see({name: value.to(device) for name, value in inputs.items()})
    guess = guessed(chat, [opening.guess for opening in openings], sampling.max_tokens).to(device)
    temperature = sampling.temperatures(len(openings), device)
    rows = list(range(len(openings)))  # the dialogue of each row of the batch
    while rows:
        for row in rows:
            dialogues[row].ask.append(len(dialogues[row].ids) - 1)
        drawn = replace(sampling, temperature=temperature)
        answers = answer(policy, decoder, unread, mask, drawn, Draft(guess[rows]))
        if not dialogues[0].texts:  # the first turn
            prefixes.hold(decoder, opened, answers.mask[:, : mask.shape[1] + max(map(len, unread))])
        texts = chat.tokenizer.batch_decode(answers.ids, skip_special_tokens=True)
        left, unread = [], []
        for r, (row, ids, text) in enumerate(zip(rows, answers.ids, texts)):
            reward, says, over, verdict = judge(row, text)
            dialogue = dialogues[row]
            dialogue.say(ids, answers.logprobs[r])
            dialogue.judged(text, reward, verdict, answers.values[r : r + 1])
            if not over:
                # An answer cut off by the limit has no end token; the dialogue gets one as context.
                new = ([] if ids[-1] == chat.end else [chat.end]) + chat.feedback(says)
                dialogue.read(new)
                left.append(r)
                unread.append(ids[-1:] + new)  # an answer's last token is not in the cache yet
        if left:
            index = torch.tensor(left, device=device)
            mask, temperature = decoder.select(index, answers.mask), temperature[index]
        rows = [rows[r] for r in left]
    return dialogues


@dataclass(frozen=True)
class Answers:
    """One a row; values: of the dialogues before (none without a value head); mask: of the cache behind."""

    ids: list[list[int]]
    logprobs: list[list[float]]
    values: list[float]
    mask: torch.Tensor


def answer(
    policy: Policy,
    decoder: Decoder,
    unread: list[list[int]],
    mask: torch.Tensor,
    sampling: Sampling,
    draft: Draft,
) -> Answers:
    """Read the `unread` tokens of every row behind the cache (of `mask`: LongTensor[rows, columns]), and draw
    an answer, token by token or as many at once as were guessed right."""
    end, most, device = policy.tokenizer.eos_token_id, sampling.max_tokens, policy.device
    sampler = Sampler(sampling.temperatures(len(unread), device), most, sampling.generator)
    ids, real = (tensor.to(device) for tensor in right_aligned(unread, policy.tokenizer.pad_token_id))
    tokens = torch.zeros(len(unread), most, dtype=torch.long, device=device)
    logprobs, values = torch.zeros(len(unread), most, device=device), []
    lengths = torch.zeros(len(unread), dtype=torch.long, device=device)
    rows = torch.arange(len(unread), device=device)  # those that the decoder goes on with
    running = torch.ones(len(unread), dtype=torch.bool, device=device)  # those of them that have not ended
    while True:
        drafted = draft.next(rows, lengths[rows])
        steps = drafted.shape[1] + 1
        ids = torch.cat([ids, drafted.clamp(min=0)], 1)
        hidden, mask = read(decoder, mask, rows, ids, torch.cat([real, (drafted >= 0).long()], 1), steps)
        if not values and policy.value_head is not None:
            values = policy.value_head(hidden[:, 0]).tolist()
        positions = lengths[rows, None] + torch.arange(steps, device=device)
        drawn, scores = sampler.draw(decoder.logits(hidden), rows, positions)
        taken = accepted(drawn, drafted, end) & (positions < most) & running[:, None]
        count = taken.sum(1)
        where = rows[:, None].expand_as(taken)[taken], positions[taken]
        tokens[where], logprobs[where] = drawn[taken], scores[taken]
        lengths[rows] += count
        if steps > 1:
            # In the cache stays what another token follows; an answer's last one enters with the next turn.
            mask[rows, 1 - steps :] = taken[:, 1:].long()
            draft.drop(rows[count <= 1])
        last = drawn.gather(1, (count[:, None] - 1).clamp(min=0))
        running = running & (last[:, 0] != end) & (lengths[rows] < most)
        left = int(running.sum())
        if not left:
            break
        if decoder.narrows and left < 0.7 * len(rows):  # a few long answers must not cost as much as all
            decoder.narrow(running.nonzero().squeeze(1), rows[running])
            last, rows, running = last[running], rows[running], running[running]
        ids, real = last, running[:, None].long()

    def cut(rows: torch.Tensor) -> list[list]:
        return [row[:length] for row, length in zip(rows.tolist(), lengths.tolist())]

    return Answers(cut(tokens), cut(logprobs), values, mask)


def read(
    decoder: Decoder, mask: torch.Tensor, rows: torch.Tensor, ids: torch.Tensor, real: torch.Tensor, last: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Hidden states of the `last` columns of `ids` [n, new], read in `rows` [n], and the mask with them."""
    added = torch.zeros(len(mask), ids.shape[1], dtype=torch.long, device=mask.device)
    added[rows] = real
    mask = torch.cat([mask, added], 1)
    seen = mask[rows]
    return decoder.extend(ids, seen, (seen.cumsum(1) - 1).clamp(min=0)[:, -ids.shape[1] :], last), mask
