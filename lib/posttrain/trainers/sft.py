"""Supervised fine-tuning on expert answers: Init and the SFT arm (paper, section 5 and appendix C.1).

trl.SFTTrainer does the training; this module makes its data (token ids, loss on the answer only) and lets
`Policy.score` compute the logits. In GeneralPoints an expert answer is any of the hand's solutions, drawn
uniformly, as in the released data, which hold one record per pair of hand and solution; in navigation there
is one answer at each point. Single turns, no verifier text (appendix C.1); `with_errors` makes the
suboptimal trajectories of Figure 15.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import datasets
import numpy as np
import torch
import trl
from accelerate import PartialState
from torch.nn.functional import cross_entropy
from torch.utils.data import SequentialSampler
from transformers import TrainerCallback
from transformers.trainer_callback import PrinterCallback

from posttrain.config import SFTConfig
from posttrain.policy import Chat, Policy
from posttrain.policy.batching import parts
from posttrain.rendering import Picture
from posttrain.rollouts import Sampling, play
from posttrain.trainers.processes import average_gradients


@dataclass(frozen=True)
class Example:
    """ids: prompt and answer; the last `answer` of them carry the loss. picture: draws what the prompt shows,
    if it shows one."""

    ids: list[int]
    answer: int
    picture: Picture | None = None


AT_ONCE = 64  # pictures that go through the processor together: one by one they take longer than the training


def examples(environment, chat: Chat, rng: np.random.Generator, shuffle: int = 1) -> Iterator[Example]:
    """Expert demonstrations without end: every answer of episodes that the environment's expert plays, drawn
    from a buffer of `shuffle`."""
    buffer = []
    for example in _played(environment, chat, rng):
        buffer.append(example)
        if len(buffer) >= shuffle:
            yield buffer.pop(int(rng.integers(shuffle)) if shuffle > 1 else 0)


def _played(environment, chat: Chat, rng: np.random.Generator) -> Iterator[Example]:
    """The expert's answers in the order of its episodes."""
    waiting: list[tuple[list, list[int], Picture]] = []
    environment.reset(seed=int(rng.integers(2**31)))
    while True:
        (_, info), over = environment.reset(), False
        while not over:
            text = environment.expert(rng)
            answer = [*chat.encode(text), chat.end]
            if "picture" in info:
                waiting.append((info["messages"], answer, info["picture"]))
            else:
                yield Example(chat.opening(info["messages"]) + answer, len(answer))
            if len(waiting) == AT_ONCE:
                messages, answers, pictures = zip(*waiting)
                for opening, answer, picture in zip(chat.openings(messages, pictures)[0], answers, pictures):
                    yield Example(opening + answer, len(answer), picture)
                waiting.clear()
            _, _, terminated, truncated, info = environment.step(text)
            over = terminated or truncated


def with_errors(
    policy: Policy,
    environments: list,
    chat: Chat,
    rng: np.random.Generator,
    errors: int,
    max_tokens: int = Sampling.max_tokens,
) -> Iterator[Example]:
    """Demonstrations behind failed tries: up to `errors` wrong answers that `policy` itself gives, drawn at
    temperature 1 and of at most `max_tokens`, each with the verifier's message, then an expert's answer,
    which alone carries the loss.

    environments: of GeneralPoints, with `verify_steps` of at least `errors` + 1; played side by side. Where a
    right answer comes before the drawn number of wrong ones, the expert's stands in its place.
    """
    generator = torch.Generator(device=policy.device).manual_seed(int(rng.integers(2**63)))
    for environment in environments:
        environment.reset(seed=int(rng.integers(2**31)))
    while True:
        infos = [environment.reset()[1] for environment in environments]
        with policy.merged():
            games = play(policy, environments, infos, Sampling(max_tokens=max_tokens, generator=generator))
        for environment, info, (dialogue,) in zip(environments, infos, games):
            wrong = min(int(rng.integers(errors + 1)), len(dialogue.ask) - 1)
            answer = [*chat.encode(environment.expert(rng)), chat.end]
            prompt = dialogue.ids[: dialogue.ask[wrong] + 1]
            yield Example(prompt + answer, len(answer), info.get("picture"))


@dataclass(frozen=True)
class Demonstrations:
    """Examples as SFTTrainer takes them. The pictures are drawn when a batch is made: kept, they would fill
    the memory."""

    rows: datasets.Dataset  # input_ids; labels (-100 where nothing is learned); index of the picture
    pictures: list[Picture | None]


def take(
    stream: Iterator[Example], steps: int | None, tokens: int | None, batch_size: int
) -> tuple[Demonstrations, list[int]]:
    """Whole batches from `stream`: `steps` of them, or until they have cost `tokens`. Also the running token
    count after each.

    A batch holds `batch_size` examples for every process; all processes make the same data and train on their
    share. ValueError where neither limit is given.
    """
    if steps is None and tokens is None:
        raise ValueError("an SFT arm needs steps or a budget")
    batch_size *= PartialState().num_processes
    ids, labels, pictures, counts, total = [], [], [], [], 0
    while (steps is None or len(counts) < steps) and (tokens is None or total < tokens):
        for example in (next(stream) for _ in range(batch_size)):
            ids.append(example.ids)
            pictures.append(example.picture)
            labels.append([-100] * (len(example.ids) - example.answer) + example.ids[-example.answer :])
            total += len(example.ids)
        counts.append(total)
    rows = {"input_ids": ids, "labels": labels, "index": range(len(ids))}
    return Demonstrations(datasets.Dataset.from_dict(rows), pictures), counts


class _Trainer(trl.SFTTrainer):
    """SFTTrainer with `Policy.score` for the logits; examples are taken in the order of the data set."""

    policy: Policy
    at_once: int  # tokens, `SFTConfig.microbatch_tokens`

    def _get_train_sampler(self, dataset=None):
        return SequentialSampler(dataset if dataset is not None else self.train_dataset)

    def training_step(self, model, inputs, num_items_in_batch=None):
        inputs = self._prepare_inputs(inputs)
        ids, learned = inputs.pop("input_ids"), inputs.pop("labels") != -100
        lengths = inputs.pop("attention_mask").sum(1)
        learned[:, 0] = False
        self.last_loss = torch.zeros((), device=ids.device)
        with self.policy.accumulating():
            for rows in parts(lengths.tolist(), self.at_once):
                width = lengths[rows].max()
                shown, predicted = ids[rows, :width], learned[rows, :width]
                pictures = {name: _taken(value, rows) for name, value in inputs.items()}
                logits, _ = self.policy.score(shown, predicted, **pictures)
                loss = cross_entropy(logits, shown[predicted], reduction="sum") / learned.sum()
                self.accelerator.backward(loss)
                self.last_loss += loss.detach()
        average_gradients(self.policy.trainable())
        return self.last_loss

    # Full tuning. Trap: transformers stores some models (Mllama) under other names than its Trainer looks for
    # when it goes on, and would go on from the starting weights with no more than a warning.

    def _save(self, output_dir=None, state_dict=None):
        if self.policy.origin is None:
            super()._save(output_dir, state_dict)
        else:
            self.policy.save_adapter(output_dir)

    def _load_from_checkpoint(self, resume_from_checkpoint, model=None):
        if self.policy.origin is None:
            super()._load_from_checkpoint(resume_from_checkpoint, model)
        else:
            self.policy.read_weights(resume_from_checkpoint)


def _taken(values: torch.Tensor | list, rows: list[int]) -> torch.Tensor | list:
    if isinstance(values, torch.Tensor):
        return values[rows]
    return [values[row] for row in rows]  # some processors count tiles in a list


class _Callback(TrainerCallback):
    """Calls `on_step(step, logs)`; a true answer makes the trainer save its state."""

    def __init__(self, on_step: Callable[[int, dict], bool]):
        self.on_step, self.trainer = on_step, None

    def on_step_end(self, args, state, control, **kwargs):
        # Not the trainer's own logs: it logs after this event, so they would be the step before's.
        control.should_save = self.on_step(state.global_step, {"loss": self.trainer.last_loss.item()})

    def on_save(self, args, state, control, **kwargs):
        # The mark is what tells a complete checkpoint from one that a kill left half-written, all of them.
        PartialState().wait_for_everyone()
        (Path(args.output_dir) / f"checkpoint-{state.global_step}" / "complete").touch()


def train(
    policy: Policy,
    data: Demonstrations,
    config: SFTConfig,
    folder: str | Path,
    seed: int = 0,
    on_step: Callable[[int, dict], bool] = lambda step, logs: False,
) -> None:
    """Train the adapter of `policy` on `data`, one pass in order; resumes from `folder` if a state was saved
    there.

    `on_step(step, {"loss": …})` is called after every optimizer step; where it returns true the state is
    saved. ValueError if `data` is empty.
    """
    if not len(data.rows):
        raise ValueError("no examples to train on")
    steps = len(data.rows) // (config.batch_size * PartialState().num_processes)
    arguments = trl.SFTConfig(
        output_dir=str(folder),
        max_steps=steps,
        per_device_train_batch_size=config.batch_size,
        learning_rate=config.learning_rate,
        lr_scheduler_type="constant_with_warmup",
        warmup_steps=int(config.warmup * steps),
        adam_beta2=config.adam_beta2,
        max_grad_norm=config.max_grad_norm,
        weight_decay=0.0,
        seed=seed,
        data_seed=seed,
        logging_steps=1,
        save_strategy="no",
        save_total_limit=2,
        report_to="none",
        use_cpu=policy.device.type == "cpu",
        disable_tqdm=True,
        gradient_checkpointing=False,  # where it is asked for, the policy has it switched on already
        bf16=False,
        dataset_kwargs={"skip_prepare_dataset": True},
        remove_unused_columns=False,
        max_length=None,
        dataloader_pin_memory=False,
    )
    callback, chat = _Callback(on_step), Chat(policy.tokenizer, policy.processor)
    trainer = _Trainer(
        model=policy.model,
        args=arguments,
        train_dataset=data.rows,
        processing_class=policy.tokenizer,
        callbacks=[callback],
    )
    collate_texts = trainer.data_collator

    def collate(rows: list[dict]) -> dict[str, torch.Tensor]:
        pictures = [data.pictures[row.pop("index")] for row in rows]
        return {**collate_texts(rows), **(chat.pixels(pictures) if pictures[0] else {})}

    trainer.data_collator = collate
    trainer.policy, trainer.at_once, callback.trainer = policy, config.microbatch_tokens, trainer
    trainer.remove_callback(PrinterCallback)
    trainer.train(resume_from_checkpoint=last_checkpoint(folder))
    policy.model.eval()


def last_checkpoint(folder: str | Path) -> str | None:
    """The newest complete checkpoint under `folder`, or None."""
    complete = [path.parent for path in Path(folder).glob("checkpoint-*/complete")]
    return str(max(complete, key=lambda path: int(path.name.rpartition("-")[2]))) if complete else None
