"""The pocket tokenizer: byte-level, hence lossless for any text, with the domain's own words as single
tokens.

A prompt of GeneralPoints costs about 22 tokens and an answer about 27; GPT-style merges would need four times
as many, and every token is paid for in every training step. Left out on purpose: learned merges (text outside
the domain is spelled in bytes).
"""

from __future__ import annotations

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from posttrain.foundation import corpus

PAD, USER, ASSISTANT, END = "<|pad|>", "<|user|>", "<|assistant|>", "<|end|>"
CHAT_TEMPLATE = (
    "{% for m in messages %}{% if m['role'] not in ('user', 'assistant') %}"
    "{{ raise_exception('the pocket model knows the roles user and assistant only') }}{% endif %}"
    "<|{{ m['role'] }}|>{{ m['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def build(vocabulary: list[str] | None = None) -> PreTrainedTokenizerFast:
    """The tokenizer of a corpus' `vocabulary` (None: of `corpus`), the same every time."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={character: i for i, character in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    words = [
        *map(str, range(10, 101)),
        *dict.fromkeys(p for p in vocabulary or corpus.vocabulary() if len(p) > 1),
    ]
    tokenizer.add_special_tokens([PAD, USER, ASSISTANT, END])
    tokenizer.add_tokens([AddedToken(word, normalized=False) for word in words])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=END,
        chat_template=CHAT_TEMPLATE,
        padding_side="left",
        clean_up_tokenization_spaces=False,
        model_input_names=["input_ids", "attention_mask"],
    )
