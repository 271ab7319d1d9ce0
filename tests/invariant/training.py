"""Golden components with a tiny model: decoding and sampling, supervised fine-tuning, PPO, pretraining.
Each guards one part alone.

What belongs to other parts is replaced by stubs: a judge that reads no answer, demonstrations and dialogues
made of fixed ids.
"""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import numpy as np
import torch

from tests.invariant import library as lib
from tests.invariant.components import TALKS, few, pattern, some
from tests.invariant.goldens import Golden, numbers, sha
from tests.invariant.trajectories import paths

SAID = '{"cards": ["A", "2", "10", "K"], "number": [1, 2, 10, 10], "formula": "(1+2)*(10-2)=24"}'

# --- rollout ----------------------------------------------------------------------------------------------


def _judge(turns: list[int]):
    """Says something of another length to every row, and ends row r after turns[r] answers."""
    seen = [0] * len(turns)

    def judge(row: int, text: str):
        seen[row] += 1
        said = f"You failed this attempt: {'wrong, ' * (row + seen[row])}"
        return float(seen[row]), said, seen[row] >= turns[row], SimpleNamespace(correct=row == 0)

    return judge


class _Stub:
    """An environment of three points whose prompts begin alike, with a guess at what is answered."""

    FIELDS = ("cards", "number", "formula")

    def __init__(self, seed: int, guess: str):
        self.seed, self.at, self.tries, self.said = seed, 0, 0, guess

    def guess(self) -> str:
        return self.said

    def _info(self, **more) -> dict:
        shown = f"Walk {self.seed}: north, east, south. " + "".join(
            f"O_{i}: A_{i}: " for i in range(self.at + 1)
        )
        return {"messages": [{"role": "user", "content": shown}], "place": self.at, **more}

    def reset(self) -> dict:
        return self._info()

    def step(self, text: str):
        self.tries += 1
        moved = self.tries % 2 == 0 or len(text) % 3 == 0
        self.at += moved
        over = self.at == 1 + self.seed % 3
        verdict = SimpleNamespace(correct=len(text) % 2 == 0)
        info = self._info(verdict=verdict, moved=moved and not over)
        if not moved:
            info["messages"] = [*info["messages"], {"role": "user", "content": "Answer again, please."}]
        return None, -1.0, over, False, info


def _brief(policy, factor: float = 3.0):
    """The end token is likelier, so that answers differ in length."""
    with torch.no_grad():
        policy.base.get_output_embeddings().weight[policy.tokenizer.eos_token_id].mul_(factor)
    return policy


def _dialogues(dialogues) -> tuple[list, dict]:
    ids = [[d.ids, d.sampled, d.ask, d.texts, d.rewards, d.correct] for d in dialogues]
    return ids, {
        "logprobs": numbers(x for d in dialogues for x, chosen in zip(d.logprobs, d.sampled) if chosen),
        "values": numbers(x for d in dialogues for x in d.values),
    }


def rollout() -> dict:
    exact, here, floats, after = {}, {}, {}, {}
    turns = [1, 3, 2]
    looks = [
        [{"role": "user", "content": [{"type": "text", "text": f"{'look ' * i}here: ["}, {"type": "image"}]}]
        for i in range(3)
    ]
    pictures = [lib.Picture(pattern, (seed,)) for seed in range(3)]
    kinds = {
        "pocket": ("pocket", {}),
        "pocket bf16": ("pocket", {"bf16": True}),
        "transformers": ("pocket", {"fast": False}),
        "grouped": ("grouped", {"fast": False}),
        "llava": ("llava", {"parts": "vision"}),
        "mllama": ("mllama", {"parts": "vision"}),
    }
    with lib.one_thread():
        for name, (checkpoint, how) in some(list(kinds.items())):
            policy = _brief(lib.policy(paths()[checkpoint], value=True, **how))
            seeing = policy.processor is not None
            openings, shown = (looks, pictures) if seeing else (TALKS, None)
            for way, heat in (("greedy", 0.0), ("sampled", 1.0), ("mixed", [0.0, 0.7, 1.3])):
                noise = torch.Generator().manual_seed(11)
                with policy.merged():
                    dialogues = lib.roll(
                        policy, openings, _judge(turns), 9, heat, noise, shown, [SAID, "", SAID[:30]]
                    )
                ids, series = _dialogues(dialogues)
                steady = way == "greedy" and "bf16" not in name
                (exact if steady else here)[f"{name} {way}"] = sha(ids)
                for kind, values in series.items():
                    (floats if steady else after)[f"{name} {way} {kind}"] = values
            if seeing:
                continue
            games, rng = (
                [_Stub(seed, SAID if seed % 2 else "") for seed in range(5)],
                [0.0, 1.0, 1.0, 0.0, 1.0],
            )
            with policy.merged():
                played = lib.play(
                    policy, games, [g.reset() for g in games], 7, rng, torch.Generator().manual_seed(2)
                )
            ids, series = _dialogues([dialogue for game in played for dialogue in game])
            here[f"{name} games"] = [[len(game) for game in played], sha(ids)]
            after |= {f"{name} games {kind}": values for kind, values in series.items()}
    return {"exact": exact, "here": here, "floats": floats, "after": after}


# --- sft --------------------------------------------------------------------------------------------------


class _Demonstrator:
    """An environment whose expert says fixed things of different lengths; every third episode has two
    answers.
    """

    def __init__(self, picture: bool = False):
        self.count, self.at, self.picture = 0, 0, picture

    def _info(self) -> dict:
        text = f"case {self.count}: " + "x, " * (self.count % 5)
        if not self.picture:
            return {"messages": [{"role": "user", "content": text}]}
        content = [{"type": "text", "text": text}, {"type": "image"}]
        return {
            "messages": [{"role": "user", "content": content}],
            "picture": lib.Picture(pattern, (self.count,)),
        }

    def reset(self, seed: int | None = None):
        self.count, self.at = self.count + 1 if seed is None else seed % 7, 0
        return None, self._info()

    def expert(self, rng) -> str:
        return f'{{"answer": {int(rng.integers(100))}}}' + "y" * (self.count % 4)

    def step(self, text: str):
        self.at += 1
        return None, 0.0, self.at > (self.count % 3 == 0), False, self._info()


def sft() -> dict:
    exact, floats, trainer = {}, {}, lib.sft
    kinds = (
        ("pocket", "pocket", {"shuffle": 4, "warmup": 0.5, "learning_rate": 0.01}),
        ("pocket bf16", "pocket", {}),
        ("transformers", "grouped", {}),
        ("llava", "llava", {}),
    )
    for name, checkpoint, how in some(kinds):
        fast = {"bf16": "bf16" in name, "fast": checkpoint != "grouped"}
        fast |= {"parts": "projector"} if checkpoint == "llava" else {}
        policy = lib.policy(paths()[checkpoint], seed=None, **fast)
        config = trainer.SFTConfig(batch_size=4, **how)
        talk = lib.rollouts.Chat(policy.tokenizer, policy.processor)
        rng = np.random.default_rng(6)
        stream = trainer.examples(_Demonstrator(checkpoint == "llava"), talk, rng, config.shuffle)
        limits = (None, 900) if name == "pocket bf16" else (6, None)
        data, counts = trainer.take(stream, *limits, config.batch_size)
        exact[name] = [counts, sha(zip(data.rows["input_ids"], data.rows["labels"]))]
        steps: list[tuple[int, float]] = []

        def note(step: int, logs: dict, steps=steps) -> bool:
            steps.append((step, logs["loss"]))
            return False

        floats[f"{name} fresh adapter"] = numbers(lib.weights(policy))
        with tempfile.TemporaryDirectory() as folder, lib.one_thread():
            log = lib.sft_log(policy, data, config, Path(folder), note)
        exact[f"{name} steps"] = [step for step, _ in steps]
        floats[f"{name} loss"] = numbers(loss for _, loss in steps)
        for column in ("grad_norm", "learning_rate"):
            floats[f"{name} {column}"] = numbers(entry[column] for entry in log)
        floats[f"{name} adapter"] = numbers(lib.weights(policy))
    exact["settings"] = trainer.SFTConfig().resolved()
    return {"exact": exact, "floats": floats}


def sft_errors() -> dict:
    """Demonstrations behind failed tries, which are played by a stub."""
    exact, trainer, seen = {}, lib.sft, []
    for picture in (False, True):
        loaded = lib.models.load(paths()["llava" if picture else "pocket"])
        talk = lib.rollouts.Chat(loaded.tokenizer, loaded.processor)
        tries = [_Demonstrator(picture) for _ in range(5)]

        def play(policy, environments, infos, sampling):
            drawn = sampling.max_tokens, sampling.temperature, sampling.generator.initial_seed()
            seen.append([len(environments), *drawn, [info["messages"] for info in infos]])
            ids = [list(range(40 + row + len(seen))) for row in range(len(environments))]
            asked = [[9, 19, 29][: 1 + (row + len(seen)) % 3] for row in range(len(environments))]
            return [[lib.rollouts.Dialogue(ids=i, ask=a)] for i, a in zip(ids, asked)]

        nobody = SimpleNamespace(device=torch.device("cpu"), merged=torch.no_grad)
        with mock.patch.object(trainer, "play", play):
            stream = trainer.with_errors(nobody, tries, talk, np.random.default_rng(6), 2)
            data, counts = trainer.take(stream, 3, None, 4)
        shown = [p and p.arguments for p in data.pictures]
        exact["picture" if picture else "text"] = [
            counts,
            sha([*zip(data.rows["input_ids"], data.rows["labels"]), shown]),
        ]
    exact["played"] = sha(seen)
    exact["settings"] = trainer.SFTConfig(errors=2).resolved()
    return {"exact": exact}


# --- ppo --------------------------------------------------------------------------------------------------


def _games(policy, seeds: range, spread: float) -> list[list]:
    """Dialogues of fixed ids; what the sampler would have said of them lies `spread` nats beside what the
    trainer says.
    """
    games = []
    said = policy.tokenizer(SAID, add_special_tokens=False)["input_ids"]
    for seed in seeds:
        rng = np.random.default_rng(np.random.SeedSequence([seed, 77]))
        game = []
        for _ in range(1 + seed % 2):
            made = lib.rollouts.Dialogue()
            for answer in range(1 + seed % 3):
                asked = rng.integers(4, 600, 4 + int(rng.integers(5))).tolist()
                answered = (
                    said[: 6 + int(rng.integers(20))] if answer % 2 == 0 else rng.integers(4, 600, 5).tolist()
                )
                made.ids += asked + answered
                made.sampled += [False] * len(asked) + [True] * len(answered)
                made.ask.append(len(made.ids) - len(answered) - 1)
                made.rewards.append(float(rng.choice([-3.0, -2.0, -1.0, 5.0])))
                made.values.append(float(rng.standard_normal()))
            made.correct = made.rewards[-1] == 5.0
            made.logprobs = [0.0] * len(made.ids)
            if policy.processor is not None:
                image = lib.rollouts.Chat(policy.tokenizer, policy.processor).pixels(
                    [lib.Picture(pattern, (seed,))]
                )
                made.inputs = {key: value[0] for key, value in image.items()}
                made.ids[:4] = [policy.base.config.image_token_id] * 4
            ids, learned = torch.tensor([made.ids]), torch.tensor([made.sampled])
            with torch.no_grad():
                logits, _ = policy.score(ids, learned, **lib.batching.stacked([made.inputs]))
            scores = logits.log_softmax(-1).gather(1, ids[learned][:, None]).squeeze(1).tolist()
            noise = spread * rng.standard_normal(len(scores))
            for at, score, more in zip(np.flatnonzero(made.sampled).tolist(), scores, noise.tolist()):
                made.logprobs[at] = score + more
            game.append(made)
        games.append(game)
    return games


WAYS = {
    "token": {},
    "answer": {"ratio": "answer", "thought_coefficient": 0.5, "clip": 0.5},
    "entropy": {"entropy_coefficient": 0.02, "temperature": 0.8, "microbatch_tokens": 80},
    "kl": {"kl_coefficient": 0.05, "detach_value": False, "gamma": 1.0, "value_clip": 0.1},
    "released": {"bootstrap_truncated": True, "epochs": 2, "gae_lambda": 0.5},
    "bf16": {},
    "transformers": {},
    "llava": {},
}


def ppo() -> dict:
    exact, floats, trainer = {"settings": lib.ppo.PPOConfig().resolved()}, {}, lib.ppo
    rng = np.random.default_rng(1)
    rewards, values = (torch.from_numpy(rng.standard_normal((5, 4)).astype(np.float32)) for _ in range(2))
    answered = torch.arange(4) < torch.tensor([4, 1, 3, 2, 4])[:, None]
    floats["gae"] = numbers(trainer.gae(rewards, values, answered, 0.9, 0.95).flatten())
    after = values[:, 0].roll(-1)
    floats["gae, bootstrapped"] = numbers(trainer.gae(rewards, values, answered, 0.8, 0.5, after).flatten())
    fresh = lib.policy(paths()["pocket"], seed=None, value=True)
    floats["fresh"] = numbers(lib.weights(fresh))
    for name, how in some(list(WAYS.items())):
        checkpoint = {"transformers": "grouped", "llava": "llava"}.get(name, "pocket")
        lora = {"parts": "vision"} if checkpoint == "llava" else {}
        how_fast = {"bf16": name == "bf16", "fast": checkpoint != "grouped"}
        policy = lib.policy(paths()[checkpoint], value=True, **how_fast, **lora)
        config = trainer.PPOConfig(**{"episodes": 6, "minibatches": 2, **how})
        with lib.one_thread():
            games = _games(policy, range(6), 0.2)
            stub = [SimpleNamespace(FIELDS=_Stub.FIELDS) for _ in games]
            learner = trainer.PPO(policy, stub, config, seed=8)
            batch = trainer.collate(games, policy.tokenizer.pad_token_id)
            if config.thought_coefficient != 1:
                learner._weigh_thoughts([d for game in games for d in game], batch)
                exact[f"{name} weight"] = sha(batch.weight.tolist())
            exact[f"{name} batch"] = sha([batch.ids.tolist(), batch.turn.tolist(), batch.ask.tolist()])
            learner._estimate(batch)
            floats[f"{name} advantages"] = numbers(batch.advantages[batch.answered])
            floats[f"{name} returns"] = numbers(batch.returns[batch.answered])
            rows = torch.arange(len(batch.ids))
            loss, parts = learner.loss(batch, rows, float(batch.answered.sum()))
            loss.backward()
            exact[f"{name} measured"] = " ".join(parts)
            floats[f"{name} loss"] = numbers([loss.detach(), *parts.values()])
            gradients = [*policy.trainable(), *policy.value_head.parameters()]
            floats[f"{name} gradients"] = numbers(
                0.0 if p.grad is None else p.grad.double().norm() for p in gradients
            )
            updates = [learner._update(batch) for _ in range(2)]
            floats[f"{name} updates"] = numbers(x for update in updates for x in update.values())
            floats[f"{name} weights"] = numbers(lib.weights(policy))
            if name == "token":  # a second trainer goes on from the first one's state
                again = trainer.PPO(lib.policy(paths()["pocket"], value=True), stub, config, seed=9)
                again.load_state(learner.state())
                floats["resumed"] = numbers(again._update(batch).values())
    return {"exact": exact, "floats": floats}


def ppo_warmup() -> dict:
    """Two iterations of which the first teaches the critic alone."""
    config = lib.ppo.PPOConfig(episodes=6, minibatches=2, gamma=0.0, value_warmup=1)
    exact, floats = {"settings": config.resolved()}, {}
    policy = lib.policy(paths()["pocket"], value=True)
    with lib.one_thread():
        games = _games(policy, range(6), 0.2)
        learner = lib.ppo.PPO(policy, [_Stub(seed, "") for seed in range(6)], config, seed=8)
        batch = learner._estimate(lib.ppo.collate(games, policy.tokenizer.pad_token_id))
        floats["before"] = numbers(lib.weights(policy))
        for iteration in range(2):
            learner.iteration = iteration
            floats[f"update {iteration}"] = numbers(learner._update(batch).values())
            floats[f"weights {iteration}"] = numbers(lib.weights(policy))
    return {"exact": exact, "floats": floats}


# --- foundation -------------------------------------------------------------------------------------------

TINY = {"steps": 6, "batch_tokens": 256, "hidden": 16, "layers": 1, "heads": 2, "mlp": 16, "warmup": 3}


def _copies(rng) -> SimpleNamespace:
    words = " ".join(str(int(n)) for n in rng.integers(0, 120, int(rng.integers(1, 6))))
    return SimpleNamespace(kind="copies", prompt=f"say {words}: ", completion=words)


def _sums(rng) -> SimpleNamespace:
    a, b = rng.integers(0, 50, 2).tolist()
    return SimpleNamespace(kind="sums", prompt=f"{a}+{b}=", completion=str(a + b))


def foundation() -> dict:
    """Tokenizer, batches, schedule and optimizer, on texts of the golden's own."""
    exact, floats, training = {}, {}, lib.pretraining
    tokens = lib.tokenizer.build(["say ", ": ", "sum", "twelve", "12"])
    exact["tokens"] = tokens("say 12: 7 twelve sums é<|end|>", add_special_tokens=False)["input_ids"]
    exact["vocabulary"] = sha(sorted(tokens.get_vocab().items()))
    exact["template"] = tokens.apply_chat_template(TALKS[2], tokenize=False, add_generation_prompt=True)
    for name, steps, warmup in (("short", 6, 3), ("long", 40, 10)):
        floats[f"schedule {name}"] = numbers(lib.schedule(step, steps, warmup) for step in range(steps))
    own = SimpleNamespace(
        READING={_copies: 1.0},
        MIXTURE={_copies: 0.5, _sums: 0.5},
        vocabulary=lambda: ["say ", ": ", "sum"],
        arguments=lambda config: (),
    )
    with mock.patch.object(training, "source", lambda name: own), lib.one_thread():
        config = training.FoundationConfig(**TINY, reading_steps=2, seed=3)
        stream = training.batches(config, tokens)
        made = [next(stream) for _ in range(6)]
        exact["batches"] = sha([b.ids.tolist(), b.learned.tolist()] for b in made)
        losses: list[float] = []
        model, _, measured = training.pretrain(config, lambda step, metrics: losses.append(metrics["loss"]))
        exact["read"] = measured["tokens"]
        floats["losses"] = numbers(losses)
        floats["weights"] = numbers(p.detach().double().norm() for p in model.parameters())
    exact["settings"] = [training.FoundationConfig().resolved(), lib.vision.VisionConfig().resolved()]
    return {"exact": exact, "floats": floats}


TEXTS = {"numbers": lib.corpus, "directions": lib.directions}


def _asked(source: str) -> dict:
    """What the gates of a corpus ask: their prompts, without a model."""
    asked = []

    def complete(model, tokens, texts, **how):
        asked.append(list(texts))
        return [""] * len(texts)

    def said(policy, contents, pictures, temperature=0.0):
        asked.append([contents, [sha(np.asarray(picture())) for picture in pictures]])
        return [""] * len(contents)

    asking = lib.gates.numbers, lib.gates.sights
    with mock.patch.object(asking[0], "complete", complete), mock.patch.object(asking[1], "answers", said):
        if source in TEXTS:
            table = lib.gates.measure(None, None, count=9, source=source)
        else:
            table = lib.gates.measure_sight(None, source, count=9)
    return {"gates asked": sha(asked), "gates": table[["gate", "bound", "at_least"]].values.tolist()}


def texts(source: str) -> dict:
    """A corpus of texts: its documents, its vocabulary, the first steps on it, what its gates ask."""
    module = TEXTS[source]
    exact, floats = _asked(source), {}
    exact["vocabulary"] = sha(module.vocabulary())
    for stage in ("READING", "MIXTURE"):
        mixture = getattr(module, stage)
        exact[stage] = {maker.__name__: share for maker, share in mixture.items()}
        stream = lib.documents(np.random.default_rng(5), mixture)
        for part in some(range(4)):
            exact[f"{stage} documents, part {part}"] = sha(tuple(next(stream)) for _ in range(100))
    if few():
        return {"exact": exact}
    losses: list[float] = []
    with lib.one_thread():
        config = lib.pretraining.FoundationConfig(**{**TINY, "steps": 4}, corpus=source, reading_steps=2)
        _, _, measured = lib.pretraining.pretrain(
            config, lambda step, metrics: losses.append(metrics["loss"])
        )
    exact["read"] = measured["tokens"]
    floats["losses"] = numbers(losses)
    return {"exact": exact, "floats": floats}


def sights(source: str) -> dict:
    """A corpus of pictures: its documents, pixels and all, the first steps of a tower, what its gates ask."""
    exact, floats, vision = _asked(source), {}, lib.vision
    stream = lib.sights.corpus_of(source).documents(np.random.default_rng(5), 8)
    for part in some(range(5)):
        documents = [next(stream) for _ in range(40)][::5]
        exact[f"documents, part {part}"] = sha(
            [d.before, d.behind, d.completion, sha(np.asarray(d.picture()))] for d in documents
        )
    exact["mixture"] = {
        maker.__name__: share for maker, share in lib.sights.corpus_of(source).mixture.items()
    }
    if few():
        return {"exact": exact}
    losses: list[float] = []
    size = {"size": 28, "patch": 14, "hidden": 16, "layers": 1, "heads": 2, "mlp": 16}
    with lib.one_thread():
        config = vision.VisionConfig(corpus=source, steps=4, reading_steps=1, batch=6, warmup=2, **size)
        policy, measured = vision.pretrain(
            config, Path(paths()["pocket"]), lambda step, metrics: losses.append(metrics["loss"])
        )
    exact["read"] = measured["tokens"]
    floats["losses"] = numbers(losses)
    tower = [p for name, p in policy.model.named_parameters() if "language" not in name]
    floats["weights"] = numbers(p.detach().double().norm() for p in tower)
    return {"exact": exact, "floats": floats}


COMPONENTS = {
    "rollout": Golden(("rollout",), rollout),
    "sft": Golden(("sft",), sft),
    "sft-errors": Golden(("sft",), sft_errors),
    "ppo": Golden(("ppo",), ppo),
    "ppo-warmup": Golden(("ppo",), ppo_warmup),
    "foundation": Golden(("foundation",), foundation),
    **{
        f"foundation-{corpus}": Golden(
            lib.numerics.foundation_parts(corpus), partial(texts if corpus in TEXTS else sights, corpus)
        )
        for corpus in lib.numerics.CORPORA
    },
}
