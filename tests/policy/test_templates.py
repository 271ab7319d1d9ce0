"""Chat templates of many kinds: a dialogue that grows says what the template renders, or the checkpoint is
refused."""

import datetime

import pytest
from posttrain.environments import prompts
from posttrain.policy import Chat, templates
from posttrain.policy.chat import settle
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

MARKS = ["<s>", "</s>", "<|im_start|>", "<|im_end|>", "<|user|>", "<|assistant|>", "<|end|>", "<|eot_id|>"]
MARKS += ["<start_of_turn>", "<end_of_turn>", "[INST]", "[/INST]", "<think>", "</think>"]


def turns(user: str, answer: str, ask: str = "", before: str = "") -> str:
    """A template: what stands for a user's turn and for an answer (M: the content), before an answer that is
    asked for, and before all."""
    user, answer = (text.replace("M", "{{ m['content'] }}") for text in (user, answer))
    each = "{% if m['role'] == 'user' %}" + user + "{% else %}" + answer + "{% endif %}"
    asked = "{% if add_generation_prompt %}" + ask + "{% endif %}" if ask else ""
    return before + "{% for m in messages %}" + each + "{% endfor %}" + asked


CHATML = "<|im_start|>user\nM<|im_end|>\n", "<|im_start|>assistant\nM<|im_end|>\n"
ASK = "<|im_start|>assistant\n"
LLAMA3 = "<|user|>user\n\nM<|eot_id|>", "<|user|>assistant\n\nM<|eot_id|>", "<|user|>assistant\n\n"
CLOCK = "{{ strftime_now('%d %b %Y') }}"
THOUGHT = "<think>\n\n</think>\n\n"
EQUAL = {
    "chatml": turns(*CHATML, ASK),
    "chatml with a system turn": turns(*CHATML, ASK, "<|im_start|>system\nYou are kind.<|im_end|>\n"),
    "the date by the clock": turns(*LLAMA3, f"<s>Today: {CLOCK}\n"),
    "the date as a variable": turns(
        *LLAMA3, "<s>{% if date_string is defined %}{{ date_string }}{% else %}" + CLOCK + "{% endif %}\n"
    ),
    "the model's own role": turns(
        "<start_of_turn>user\nM<end_of_turn>\n",
        "<start_of_turn>model\nM<end_of_turn>\n",
        "<start_of_turn>model\n",
    ),
    "trimmed": turns(*CHATML, ASK).replace("['content']", "['content'] | trim"),
    "no blank between": turns("[INST]M[/INST]", "M</s>", before="<s>"),
    "a leading blank": turns("[INST] M [/INST]", " M</s>", before="<s>"),
    "another end than eos": turns("<|user|>\nM<|end|>\n", "<|assistant|>\nM<|end|>\n", "<|assistant|>\n"),
    "thoughts left out of earlier answers": turns(*CHATML, ASK).replace(
        "['content']", "['content'].split('</think>')[-1]"
    ),
}
REFUSED = {
    "no end of turn": (
        turns("### Task:\nM\n\n", "### Answer:\nM\n\n", "### Answer:\n"),
        "ends an answer with .* no token of its own",
    ),
    "a blank before the end": (
        turns("[INST] M [/INST]", " M </s>", before="<s>"),
        "ends an answer with ' </s>', no token of its own",
    ),
    "earlier answers rewritten": (
        turns(CHATML[0], CHATML[1].replace("M", "{% if loop.revindex < 3 %}M{% else %}...{% endif %}"), ASK),
        "put together piece by piece reads .* where the template says",
    ),
    "thoughts before the last answer": (
        turns(CHATML[0], CHATML[1].replace("M", "{% if loop.last %}" + THOUGHT + "{% endif %}M"), ASK),
        "renders an answer otherwise than it asks for one",
    ),
    "turns counted": (
        turns(*CHATML, ASK, "{{ messages | length }} turns\n"),
        "renders an answer otherwise than it asks for one",
    ),
    "user turns only": (
        turns("M<|end|>", "{{ raise_exception('only user turns') }}"),
        "refuses user and assistant in turn: only user turns",
    ),
    "no generation prompt": (turns(*CHATML), "renders an answer otherwise than it asks for one"),
    "answers in capitals": (
        turns(*CHATML, ASK).replace("['content']", "['content'] | upper"),
        "renders an answer otherwise than it asks for one",
    ),
}


def bytewise() -> Tokenizer:
    """Single bytes, as a byte-level BPE without merges."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE({letter: i for i, letter in enumerate(letters)}, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made.decoder = decoders.ByteLevel()
    return made


def pieces(scheme: str) -> Tokenizer:
    """Single letters and bytes with a mark for blanks, as in SentencePiece; `scheme`: where one is added."""
    letters = [chr(i) for i in range(33, 127)] + ["▁"] + [f"<0x{i:02X}>" for i in range(256)]
    made = Tokenizer(models.BPE({letter: i for i, letter in enumerate(letters)}, [], byte_fallback=True))
    made.normalizer = normalizers.Replace(" ", "▁")
    made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=False)
    made.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    return made


KINDS = {
    "bytes": bytewise,
    "pieces": lambda: pieces("never"),
    "pieces after a blank": lambda: pieces("always"),
}


def tokenizer(kind: str, template: str) -> PreTrainedTokenizerFast:
    made = KINDS[kind]()
    made.add_special_tokens([AddedToken(mark, special=True, normalized=False) for mark in MARKS])
    fast = PreTrainedTokenizerFast(tokenizer_object=made, eos_token="</s>", pad_token="<s>")
    fast.chat_template = template
    return fast


def grown(chat: Chat, attempts: list[tuple[str, str]]) -> list[int]:
    """The ids of a dialogue as rollouts put it together."""
    ids = chat.opening(prompts.dialogue("Cards: [A, 10]"))
    for text, says in attempts:
        ids = [*ids, *chat.encode(text), chat.end, *chat.feedback(prompts.feedback(says))]
    return ids


@pytest.mark.parametrize("kind", ["bytes", "pieces"])
@pytest.mark.parametrize("name", EQUAL)
def test_a_dialogue_that_grows_says_what_the_template_renders(name, kind):
    one = tokenizer(kind, EQUAL[name])
    settle(one, "a model")
    chat, attempts = Chat(one), [('{"formula": "1+1=24"}', "the formula makes 2"), ("x", ""), ("[1]", "no")]
    for count in range(4):
        messages = prompts.dialogue("Cards: [A, 10]", attempts[:count])
        whole = one.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=True, date_string=templates.DATE
        )
        assert chat.decode(grown(chat, attempts[:count])) == whole + chat.lead


@pytest.mark.parametrize("name", REFUSED)
def test_a_template_that_rewrites_is_refused_in_one_line(name):
    template, reason = REFUSED[name]
    with pytest.raises(ValueError, match=f"^some/model: .*{reason}.*"):
        settle(tokenizer("bytes", template), "some/model")


def test_blanks_that_a_tokenizer_adds_before_each_piece_are_refused():
    with pytest.raises(ValueError, match="^some/model: a dialogue put together piece by piece reads"):
        settle(tokenizer("pieces after a blank", EQUAL["chatml"]), "some/model")


def test_the_date_stands_still(monkeypatch):
    one = tokenizer("bytes", EQUAL["the date by the clock"])
    settle(one, "a model")
    first = Chat(one).render(prompts.dialogue("x"))

    class Later(datetime.datetime):
        @classmethod
        def now(cls, tz=None):
            return cls(2031, 5, 1)

    monkeypatch.setattr("transformers.utils.chat_template_utils.datetime", Later)
    assert Chat(one).render(prompts.dialogue("x")) == first and templates.DATE in first
    settle(one, "a model")  # twice is once
    assert one.chat_template.count("macro strftime_now") == 1


def test_the_end_of_an_answer_is_the_templates():
    ends = {
        "another end than eos": "<|end|>",
        "chatml": "<|im_end|>",
        "the model's own role": "<end_of_turn>",
    }
    for name, end in ends.items():
        one = tokenizer("bytes", EQUAL[name])
        settle(one, "a model")
        assert one.eos_token == end and Chat(one).end == one.convert_tokens_to_ids(end)
