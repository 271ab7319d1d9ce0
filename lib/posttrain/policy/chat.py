"""A chat template as tokens: what must be appended to a running dialogue, so that all of it is what the
template renders at once."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from posttrain.environments.prompts import Message
from posttrain.policy.batching import Pictures
from posttrain.rendering import Picture


class Chat:
    """The chat template of one tokenizer; `processor`: for tasks with pictures. `end`: the token that ends an
    answer."""

    def __init__(self, tokenizer, processor=None):
        self.tokenizer, self.processor = tokenizer, processor
        self.end = tokenizer.eos_token_id
        self.feedback = lru_cache(maxsize=4096)(self._feedback)

    def render(self, messages: list[Message], generate: bool = True) -> str:
        """The dialogue as text; with `generate` up to where an answer begins."""
        return self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=generate)

    def encode(self, text: str) -> list[int]:
        """Token ids of `text` alone, no special tokens added."""
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    def opening(self, messages: list[Message]) -> list[int]:
        """Token ids of a dialogue in text up to where the answer begins."""
        return self.encode(self.render(messages))

    def openings(
        self, dialogues: Sequence[list[Message]], pictures: Sequence[Picture] | None = None
    ) -> tuple[list[list[int]], Pictures]:
        """The same for many dialogues, with a picture each if there are any: ids with the image tokens in
        them, and what the model gets for the pictures. ValueError where there are pictures and the model
        reads text only."""
        texts = [self.render(messages) for messages in dialogues]
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
        return ids, self._inputs(processed)

    def pixels(self, pictures: Sequence[Picture]) -> Pictures:
        """What the model gets for pictures, one a row, without the text."""
        images = [[picture()] for picture in pictures]
        return self._inputs(self.processor.image_processor(images=images, return_tensors="pt"))

    def _inputs(self, processed) -> Pictures:
        names = self.processor.image_processor.model_input_names
        return {name: processed[name] for name in names if name in processed}

    def _feedback(self, text: str) -> list[int]:
        """Token ids from behind an answer's end token up to where the next answer begins."""
        start = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "answer"}]
        answered = self.render(start, False)
        tail = answered[answered.rindex("answer") + len("answer") :].partition(self.tokenizer.eos_token)[2]
        turn = self.render([*start, {"role": "user", "content": text}])[len(answered) :]
        return self.encode(tail + turn)
