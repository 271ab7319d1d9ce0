"""A chat template as tokens: what must be appended to a running dialogue, so that all of it is what the
template renders at once."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from jinja2 import TemplateError

from posttrain.environments.prompts import Message
from posttrain.policy import templates
from posttrain.policy.batching import Pictures, one_a_row
from posttrain.rendering import Picture


class Chat:
    """The chat template of one tokenizer; `processor`: for tasks with pictures. `end`: the token that ends an
    answer; `lead`: blanks that the template puts before it."""

    def __init__(self, tokenizer, processor=None):
        self.tokenizer, self.processor = tokenizer, processor
        self.end, self.lead = tokenizer.eos_token_id, templates.lead(tokenizer)
        self.feedback = lru_cache(maxsize=4096)(self._feedback)

    def render(self, messages: list[Message], generate: bool = True) -> str:
        """The dialogue as text; with `generate` up to where an answer begins."""
        return templates.render(self.tokenizer, messages, generate)

    def encode(self, text: str) -> list[int]:
        """Token ids of `text` alone, no special tokens added."""
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    def decode(self, ids: list[int]) -> str:
        """What token ids say, every mark of the template included."""
        how = {"skip_special_tokens": False, "clean_up_tokenization_spaces": False}
        return self.tokenizer.decode(ids, **how)

    def opening(self, messages: list[Message]) -> list[int]:
        """Token ids of a dialogue in text up to where the answer begins."""
        return self.encode(self.render(messages) + self.lead)

    def openings(
        self, dialogues: Sequence[list[Message]], pictures: Sequence[Picture] | None = None
    ) -> tuple[list[list[int]], Pictures]:
        """The same for many dialogues, with a picture each if there are any: ids with the image tokens in
        them, and what the model gets for the pictures. ValueError where there are pictures and the model
        reads text only, or its processor does not keep them apart."""
        texts = [self.render(messages) + self.lead for messages in dialogues]
        if pictures is None:
            return self.tokenizer(texts, add_special_tokens=False)["input_ids"], {}
        if self.processor is None:
            raise ValueError(
                "this model reads text only: a task with pictures needs an image-text-to-text checkpoint "
                "with its processor"
            )
        processed = self.processor(
            text=texts,
            images=[[picture()] for picture in pictures],
            padding=True,
            return_tensors="pt",
            add_special_tokens=False,
        )
        ids = [
            row[mask.bool()].tolist()
            for row, mask in zip(processed["input_ids"], processed["attention_mask"])
        ]
        return ids, self._inputs(processed, len(pictures))

    def pixels(self, pictures: Sequence[Picture]) -> Pictures:
        """What the model gets for pictures, one a row, without the text."""
        images = [[picture()] for picture in pictures]
        made = self.processor.image_processor(images=images, return_tensors="pt")
        return self._inputs(made, len(images))

    def _inputs(self, processed, count: int) -> Pictures:
        names = self.processor.image_processor.model_input_names
        return one_a_row({name: processed[name] for name in names if name in processed}, count)

    def _feedback(self, text: str) -> list[int]:
        """Token ids from behind an answer's end token up to where the next answer begins."""
        start = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "answer"}]
        answered = self.render(start, False)
        tail = answered[answered.rindex("answer") + len("answer") :].partition(self.tokenizer.eos_token)[2]
        turn = self.render([*start, {"role": "user", "content": text}])[len(answered) :]
        return self.encode(tail + turn + self.lead)


def settle(tokenizer: Any, where: str) -> list[int]:
    """Make `tokenizer` fit for dialogues that grow, whose tokens are put together piece by piece: they must
    say what the template renders for the whole dialogue, whatever it does with earlier answers, ends of turn,
    blanks, a system turn or the date. ValueError, one line that begins with `where`, if they do not. Returns
    the tokens of the dialogue that was tried."""
    try:
        templates.steady(tokenizer)
        return _try(tokenizer)
    except TemplateError as error:
        reason = f"its chat template refuses user and assistant in turn: {' '.join(str(error).split())}"
    except ValueError as error:
        reason = str(error)
    raise ValueError(f"{where}: {reason}; use another instruction-tuned checkpoint")


def _try(tokenizer: Any) -> list[int]:
    chat = Chat(tokenizer)
    for count in range(len(templates.PROBES) + 1):
        messages = templates.dialogue(templates.PROBES[:count])
        ids = chat.opening(messages[:1])
        for answer, says in templates.PROBES[:count]:
            ids = [*ids, *chat.encode(answer), chat.end, *chat.feedback(says)]
        said, whole = chat.decode(ids), chat.render(messages) + chat.lead
        if said != whole:
            at = next((i for i, (a, b) in enumerate(zip(said, whole)) if a != b), min(len(said), len(whole)))
            told = f"{said[at : at + 20]!r} where the template says {whole[at : at + 20]!r}"
            raise ValueError(f"a dialogue put together piece by piece reads {told}")
    return ids
