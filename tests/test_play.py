"""The page "Play the model": its model and its verifier answer as the library does (in V8, by mini-racer)."""

import json
import random
import sys

import numpy as np
import pytest
import torch
from posttrain import config, formulas, policy
from posttrain.environments import prompts
from posttrain.environments.general_points import Deal, Rule, hands
from posttrain.policy import Chat
from posttrain.verifiers.general_points import GeneralPointsVerifier
from py_mini_racer import MiniRacer
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

sys.path.insert(0, str(config.ROOT / "tools"))
import every_hand  # noqa: E402
import export_play  # noqa: E402

PAGE = config.ROOT / "book" / "play"
RULES = ("10", "11/12/13", "5/7/9")


def opened(*names: str) -> MiniRacer:
    """An engine that has read these scripts of the page."""
    context = MiniRacer()
    for name in names:
        context.eval((PAGE / f"{name}.js").read_text())
    context.eval("const flat = (_, value) => (typeof value === 'bigint' ? Number(value) : value);")
    return context


@pytest.fixture(scope="module")
def engine():
    return opened("formulas", "verifier", "llama")


def call(engine, function: str, *arguments):
    """What a function of the page returns, through JSON."""
    given = ", ".join(json.dumps(argument) for argument in arguments)
    return json.loads(engine.eval(f"JSON.stringify(({function})({given}), flat)"))


# --- the model ----------------------------------------------------------------------------------------------

MOST, NEAR = 48, 1e-3  # tokens of an answer; logits that are nearer than this may change places


def transformer(data: dict, arm: str, folder: str) -> LlamaForCausalLM:
    """The page's model of an arm, for transformers: the same rounded weights."""
    weights = every_hand.matrices(data["base"])
    for name in data["arms"][arm]:
        halves = every_hand.matrices(data["adapters"][name])
        for layer in {one[:-2] for one in halves}:
            delta = halves[f"{layer}.B"] @ halves[f"{layer}.A"] * data["adapters"][name]["scale"]
            weights[layer] = weights[layer] + delta
    model = LlamaForCausalLM(LlamaConfig.from_pretrained(folder)).float().eval()
    names = {ours: theirs for theirs, ours in export_play.PARTS.items()}
    state = {theirs: weights.pop(ours) for theirs, ours in export_play.WHOLE.items()}
    for name, value in weights.items():
        layer, part = name.split(".")
        state[f"model.layers.{layer}.{names[part]}.weight"] = value
    state = {name: value[0] if "norm" in name else value for name, value in state.items()}
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert missing in ([], ["lm_head.weight"]) and not unexpected
    return model


def made_up(checkpoint: str, folder) -> dict:
    """The page's data of a foundation with two adapters that were never trained."""
    chat = Chat(AutoTokenizer.from_pretrained(checkpoint))
    adapters = {}
    for seed, name in enumerate(("init", "sft")):
        tuned = policy.add_lora(policy.load(checkpoint), config.LoraSettings(rank=4, alpha=8), seed=seed)
        with torch.random.fork_rng(), torch.no_grad():
            torch.manual_seed(seed)
            for parameter in tuned.trainable():
                parameter.add_(0.02 * torch.randn_like(parameter))
        tuned.save_adapter(folder / name)
        adapters[name] = export_play.adapter(folder / name)
    said = tuned.model.config
    shape = {"layers": said.num_hidden_layers, "heads": said.num_attention_heads, "hidden": said.hidden_size}
    shape |= {"epsilon": said.rms_norm_eps, "theta": said.rope_parameters["rope_theta"]}
    arms = {"Init": ["init"], "SFT": ["init", "sft"]}
    base = export_play.base(checkpoint)
    return {"config": shape, "base": base, "adapters": adapters, "arms": arms, **export_play.words(chat)}


@pytest.fixture(scope="module")
def page(tmp_path_factory, engine):
    """The page's data, and the folder of its foundation."""
    foundation = str(config.ROOT / "data" / "models" / "pocket-text-0")
    data = made_up(foundation, tmp_path_factory.mktemp("play"))
    engine.eval(f"globalThis.PLAY_DATA = {json.dumps(data)};")
    return data, foundation


def asked(count: int) -> list[tuple[list[str], list[int]]]:
    rng, dealt = random.Random(1), {rule: hands(rule) for rule in RULES}
    rules = [rng.choice(RULES) for _ in range(count)]
    return [(rng.sample(rng.choice(dealt[rule]), 4), list(Rule.parse(rule))) for rule in rules]


def test_prompts_are_the_librarys(engine, page):
    data, foundation = page
    chat = Chat(AutoTokenizer.from_pretrained(foundation))
    function = """(all) => { const words = new Play.Tokenizer(PLAY_DATA.tokenizer);
      return all.map(([ranks, rule]) => words.encode(Play.opening(PLAY_DATA, ranks, rule))); }"""
    given = asked(100)
    for (ranks, rule), ids in zip(given, call(engine, function, given)):
        task = prompts.task(Deal(tuple(ranks), ()), Rule(*rule))
        assert ids == chat.opening([{"role": "user", "content": task}])
    messages = ["it must not use 11", "the formula makes 7/2", "é \u2028 <|end|>10"]
    function = """(all) => { const words = new Play.Tokenizer(PLAY_DATA.tokenizer);
      return all.map((text) =>
        [words.encode(Play.feedback(PLAY_DATA, text)), words.decode(words.encode(text))]); }"""
    for message, (ids, text) in zip(messages, call(engine, function, messages)):
        assert ids == chat.feedback(prompts.feedback(message))
        assert text == chat.tokenizer.decode(chat.encode(message), skip_special_tokens=True)


@pytest.mark.parametrize("arm", ["Init", "SFT"])
def test_greedy_answers_are_the_librarys(engine, page, arm):
    data, foundation = page
    answer_as_transformers(engine, data, arm, foundation, 40)


def answer_as_transformers(engine, data: dict, arm: str, foundation, count: int, kept=False) -> None:
    """The greedy answers of `engine` to `count` prompts, token by token; two logits that are near may change
    places. kept: what a prompt has in common with the one before it stays in the memory, which saves time."""
    given = sorted(asked(count), key=lambda one: one[1])
    function = """(arm, all, most, kept) => { const model = Play.model(PLAY_DATA, arm);
      const words = new Play.Tokenizer(PLAY_DATA.tokenizer);
      let memory = model.fresh(), before = [];
      return all.map(([ranks, rule]) => { const ids = words.encode(Play.opening(PLAY_DATA, ranks, rule));
        let common = 0;
        while (kept && common < ids.length - 1 && ids[common] === before[common]) common++;
        memory.length = common;
        for (const layer of [...memory.keys, ...memory.values]) layer.length = common;
        before = ids;
        const said = model.answer(ids.slice(common), memory, PLAY_DATA.end, most);
        return [ids, [...said].map((one) => one.id)]; }); }"""
    model, ends = transformer(data, arm, str(foundation)), 0
    for opening, answer in call(engine, function, arm, given, MOST, kept):
        with torch.no_grad():
            logits = model(torch.tensor([opening + answer])).logits[0, len(opening) - 1 : -1]
        for place, (score, drawn) in enumerate(zip(logits, answer)):
            assert score.max() - score[drawn] < NEAR, f"token {place}: {drawn}, not {score.argmax()}"
        ends += answer[-1] == data["end"]
        assert data["end"] not in answer[:-1] and len(answer) <= MOST
    assert ends > 0


@pytest.fixture(scope="module")
def published():
    """The page as readers have it: an engine of its own, with the data in the book."""
    return opened("formulas", "verifier", "llama", "data")


@pytest.mark.parametrize("arm", ["Init", "SFT", "RL"])
def test_published_models_answer_300_prompts_as_the_librarys_do(published, arm):
    folder = config.ROOT / "data" / "models" / "pocket-text-0"
    answer_as_transformers(published, every_hand.played(), arm, folder, 300, kept=True)


def test_every_hand_was_put_to_the_same_models():
    """Those whose weights are the foundation's and the page's adapters."""
    data, folder = every_hand.played(), config.ROOT / "data" / "models" / "pocket-text-0"
    prompt = torch.tensor(
        [Chat(AutoTokenizer.from_pretrained(folder)).opening([{"role": "user", "content": "24"}])]
    )
    for arm in data["arms"]:
        with torch.no_grad():
            ours = every_hand.tuned(data, arm, str(folder)).model(prompt).logits
            assert (ours - transformer(data, arm, str(folder))(prompt).logits).abs().max() < 0.05


@pytest.mark.parametrize("said", ["unknown profile", "there is no foundation pocket-text-0; make it with"])
def test_what_cannot_be_exported_is_one_line(said, monkeypatch, tmp_path):
    empty = config.load("smoke", fresh=True).model_copy(update={"root": tmp_path})
    if "foundation" in said:
        monkeypatch.setattr(config, "load", lambda name: empty)
    with pytest.raises(SystemExit, match=f"^{said}.*$"):
        export_play.main([str(tmp_path / "data.js"), "--profile", "huge"])
    assert not (tmp_path / "data.js").exists()


def test_published_models_are_those_of_published_runs():
    said = (PAGE / "data.js").read_text()
    profile = config.load("cpu")
    runs = [f"gp-l/{arm}/{profile.seeds[0]}" for arm in ("init", "sft", "ppo")]
    assert json.dumps(runs, separators=(",", ":")) in said
    assert {profile.run(run).name for run in runs} == set(runs)


def test_draws_follow_the_probabilities_and_the_seed(engine, page):
    function = """(seed, count) => { const model = Play.model(PLAY_DATA, "Init"), random = Play.seeded(seed);
      return Array.from({ length: count }, () => [...model.answer([1, 2], model.fresh(), -1, 2, random)]
        .map(({ id, probability, attention: seen }) =>
          [id, probability, seen.length, seen.reduce((a, b) => a + b)])); }"""
    first, again, other = (call(engine, function, seed, 60) for seed in (3, 3, 4))
    assert first == again != other
    for draws in first:
        for place, (_, probability, seen, attention) in enumerate(draws):
            assert 0 < probability <= 1 and seen == place + 2 and abs(attention - 1) < 1e-4
    likely = {draws[0][0]: draws[0][1] for draws in first + other}
    most = max(likely, key=likely.get)
    share = sum(draws[0][0] == most for draws in first + other) / 120
    assert abs(share - likely[most]) < 4 * (likely[most] * (1 - likely[most]) / 120) ** 0.5 + 0.01


# --- formulas and verifier ----------------------------------------------------------------------------------


def mutated(text: str, rng: random.Random) -> str:
    """A reply as a model might garble it."""
    for _ in range(rng.choice((0, 1, 1, 2, 3, 6))):
        at = rng.randrange(len(text) + 1)
        kind = rng.randrange(6)
        if kind == 0:
            text = text[:at] + text[at + 1 :]
        elif kind == 1:
            text = text[:at] + rng.choice("0123456789+-*/()=\" ',:[]{}\\nJQKA\u2028\x1c\xa0é“”.e") + text[at:]
        elif kind == 2:
            text = text[:at] + text[at + rng.randrange(12) :]
        elif kind == 3:
            start = rng.randrange(len(text) + 1)
            text = text[:at] + text[start : start + rng.randrange(40)] + text[at:]
        elif kind == 4:
            old, new = rng.choice(
                [
                    ('"', "'"),
                    ("formula", "f\\u006frmula"),
                    ('"', '\\"'),
                    ("number", "Number"),
                    (" ", "\n"),
                    ("=24", ""),
                ]
            )
            text = text.replace(old, new, rng.choice((1, -1)))
        else:
            text = rng.choice(
                [f"{{{text}}}", f"[{text}]", f"{text} {text}", json.dumps(text), f"Answer: {text}!"]
            )
    return text


def replies(count: int):
    """(reply, deal, rule), from right answers and wrong ones, garbled."""
    rng, verifier = random.Random(0), GeneralPointsVerifier()
    dealt = {rule: hands(rule) for rule in RULES}
    for _ in range(count):
        rule = rng.choice(RULES)
        ranks = list(rng.choice(dealt[rule]))
        rng.shuffle(ranks)
        numbers = list(Rule.parse(rule).numbers(ranks))
        kind, said = rng.randrange(4), numbers
        if kind == 1:
            said = list(Rule.parse("10").numbers(ranks))
        elif kind == 2:
            said = [rng.randint(1, 13) for _ in range(rng.choice((3, 4, 4, 5)))]
        found = formulas.solve(said[:4], 24) if kind != 3 else []
        text = rng.choice(found) if found else "".join(f"{rng.choice('+-*/')}{n}" for n in said)[1:]
        reply = mutated(prompts.answer(ranks, said, text), rng)
        deal = Deal(tuple(ranks), tuple(numbers))
        yield reply, ranks, list(Rule.parse(rule)), verifier.judge(reply, deal)


FLAGS = ("reward", "message", "correct", "strict", "valid", "follows_rule", "recognized", "fake", "outcome")


def test_verdicts_are_the_librarys_on_20000_garbled_answers(engine):
    cases = list(replies(20_000))
    outcomes: dict[str, int] = {}
    for start in range(0, len(cases), 2000):
        part = cases[start : start + 2000]
        function = "(given) => given.map((one) => Verifier.judge(...one))"
        theirs = call(engine, function, [[text, ranks, rule] for text, ranks, rule, _ in part])
        for (text, ranks, rule, ours), other in zip(part, theirs):
            expected = {name: getattr(ours, name) for name in FLAGS}
            assert {name: other[name] for name in FLAGS} == expected, (text, ranks, rule)
            outcomes[ours.outcome] = outcomes.get(ours.outcome, 0) + 1
    assert min(outcomes.values()) > 200 and len(outcomes) == 5, outcomes


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "3",
        "03",
        "3+",
        "+3",
        "(3",
        "3)",
        "()",
        "3 3",
        "2(3)",
        "3/0",
        "3/(2-2)",
        "8/(3-8/3)",
        "1" * 201,
        "é",
        "3=3",
    ]
    + [
        "(" * 21 + "3" + ")" * 21,
        "(" * 20 + "3" + ")" * 20,
        "1/3+1/3",
        "\t3\n*8 ",
        "3\x0b*8",
        "12345678901234567890*3",
    ],
)
def test_formulas_are_read_as_the_library_reads_them(engine, text):
    function = """(text) => { try { return [Formulas.shown(Formulas.valueOf(Formulas.parse(text))), ""]; }
                              catch (error) { return ["", error.message]; } }"""
    try:
        expected = [str(formulas.evaluate(text)), ""]
    except formulas.FormulaError as error:
        expected = ["", error.reason]
    assert call(engine, function, text) == expected


def test_a_solution_is_found_where_there_is_one(engine):
    rng = np.random.default_rng(0)
    given = [sorted(map(int, rng.integers(1, 14, 4))) for _ in range(150)]
    for numbers, found in zip(given, call(engine, "(all) => all.map((one) => Formulas.solve(one))", given)):
        assert (found is not None) == bool(formulas.solve(numbers, 24))
        assert found is None or formulas.evaluate(found) == 24
