"""Golden components without a model: hands, routes, prompts, verdicts, pixels, tokens, the order of a
census. Each guards one part alone.
"""

from __future__ import annotations

import zlib
from collections import Counter
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from types import SimpleNamespace
from unittest import mock

import numpy as np
import torch
from PIL import Image

from tests.invariant import library as lib
from tests.invariant.goldens import Golden, numbers, sha
from tests.invariant.trajectories import paths

_FEW = ContextVar("few", default=False)


@contextmanager
def brief():
    """Goldens computed in here hold some of their values only, in a fraction of the time."""
    token = _FEW.set(True)
    try:
        yield
    finally:
        _FEW.reset(token)


def few() -> bool:
    return _FEW.get()


def some(things):
    """All things, or within `brief` the first alone."""
    return things[:1] if few() else things


RULES = ("10", "11/12/13", "5/7/9", "8/3/6")
DEALS = (
    (("A", "2", "10", "K"), "10"),
    (("3", "3", "8", "8"), "10"),
    (("K", "K", "2", "7"), "11/12/13"),
    (("J", "Q", "K", "5"), "5/7/9"),
)


def _replies(deal, solution: str, old: str) -> list[str]:
    """Right, wrong, malformed and cheating answers to a deal; `old` solves it under the training rule, if
    anything does.
    """
    a, b, c, d = deal.numbers
    cards, number = ", ".join(f'"{r}"' for r in deal.ranks), ", ".join(map(str, deal.numbers))
    formulas = [
        *(solution, old, f"{solution}+0", f"({solution})", f"{solution}*1", f" {solution} ", f"+{solution}"),
        *(f"{a}+{b}+{c}+{d}", f"{a}*{b}-{c}-{d}", f"{a}/{b}/{c}/{d}", f"{a}*{b}*{c}*{d}"),
        f"({a}+{b})*({c}-{d})",
        *(f"{a}+{b}", f"{a}", f"{a}+{b}+{c}", f"{a}+{b}+{c}+{d}+{a}", f"{a}+{a}+{a}+{a}", "24", "6*4"),
        "1+23",
        *(f"{a}/({b}-{b})+{c}+{d}", f"{a}**{b}", f"{a}//{b}", f"{a}^{b}", f"{a}x{b}"),
        *(f"sum([{a},{b}])", "__import__('os')"),
        *(f"({a}+{b}", f"{a}+{b})", f"{a}({b})", f"({a}){b}", f"{a} {b}", f"{a}+*{b}", f"{a}-", f"*{a}", ""),
        *("()", "=", "24=24"),
        *("9" * 30, f"{'(' * 30}{a}{')' * 30}", f"{a}.0+{b}", f"{a}e1", "٢٤"),
        *(f"{solution[:3]}", f"{solution[:-1]}"),
    ]  # fmt: skip
    texts = []
    for formula in formulas:
        for end in ("=24", "", "=25") if len(texts) < 20 else ("=24",):
            texts.append(f'{{"cards": [{cards}], "number": [{number}], "formula": "{formula}{end}"}}')
    whole = texts[0]
    texts += [
        whole.replace('"', "'"),
        whole.replace("}", ",}"),
        whole + whole,
        f"Here it is: {whole} Good luck.",
        whole.replace(", ", ","),
        whole.replace('"formula"', '"formula": "1=24", "formula"'),
        f'{{"answer": {whole}}}',
        f"[{whole}]",
        whole[:-1],
        whole[: len(whole) // 2],
        whole * 40,
        "",
        "null",
        "24",
        f'"{solution}=24"',
        solution,
        whole.replace("=24", " = 24"),
        whole.replace(cards, ", ".join(deal.ranks)),
        whole.replace(cards, ""),
        whole.replace(f"[{number}]", f"[{number}, 1]"),
        whole.replace(f"[{number}]", "[true, 1, 1, 1]"),
        whole.replace(f"[{number}]", "[1, 1, 1, 1]"),
        whole.replace(f"[{number}]", "[]").replace('"number"', '"numbers"'),
        whole.replace(f"[{cards}]", '["A", "A", "A", "A"]'),
        whole.replace(f"[{cards}]", f"[{', '.join(reversed(cards.split(', ')))}]"),
        f'{{"cards": [{", ".join(deal.ranks)}], "number": [{number}], "formula": "{solution}=24"}}',
        f'{{"formula": "{solution}=24"}}',
        '{"formula": null}',
        '{"formula": ["1+2"]}',
        '{"cards": 1, "number": 2, "formula": 3}',
    ]
    return texts


def _told(verdict) -> tuple:
    flags = (verdict.correct, verdict.strict, verdict.valid, verdict.follows_rule, verdict.recognized)
    return verdict.reward, verdict.message, *flags, verdict.fake, verdict.outcome


def _verdicts(verifier, cases, **how) -> dict:
    """Verdicts on (text, truth) under both protocols and every kind of feedback."""
    table = {}
    for protocol in ("clean", "as_released"):
        for feedback in ("informative", "verdict", "none"):
            judge = verifier(protocol, feedback, **how).judge
            told = [_told(judge(text, truth)) for text, truth in cases]
            outcomes = Counter(t[-1] for t in told)
            table[f"{protocol} {feedback}"] = [
                sha(told),
                sum(t[0] for t in told),
                dict(sorted(outcomes.items())),
            ]
    return table


def _without_pictures(info: dict) -> tuple:
    """What an episode says, the picture's own pixels left out."""
    shown = info["picture"].arguments[:2] if "picture" in info else None
    return info["messages"], info["attempt"], shown


def general_points() -> dict:
    exact, env = {}, lib.general_points.GeneralPointsEnv
    for rule in some(RULES):
        for split in ("all", "train", "test"):
            for faces in (False, True):
                found = lib.general_points.hands(rule, split=split, faces=faces)
                exact[f"hands {rule} {split}{' faces' * faces}"] = sha(found)
    deals = [
        lib.points_verifier.Deal(ranks, lib.points_verifier.Rule.parse(rule).numbers(ranks))
        for ranks, rule in DEALS
    ]
    exact["prompts"] = sha(lib.prompts.task(deal, rule) for deal, (_, rule) in zip(deals, DEALS))
    exact["a prompt"] = lib.prompts.task(deals[0], "10")
    exact["feedback"] = [lib.prompts.feedback("the reason"), lib.prompts.feedback("")]
    exact["phrases"] = sha(lib.prompts.phrases())
    solve = lib.formulas.solve
    exact["solutions"] = sha(solve(list(deal.numbers)) for deal in deals)
    for deal, (ranks, rule) in some(list(zip(deals, DEALS))):
        old = lib.points_verifier.Rule.parse("10").numbers(deal.ranks)
        solutions, before = solve(list(deal.numbers)), solve(list(old))
        answers = _replies(deal, (solutions or ["1+23"])[0], (before or ["1+23"])[0])
        cases, name = [(text, deal) for text in answers], f"{', '.join(ranks)} under {rule}"
        exact[f"answers to {name}"] = sha(answers)
        verifier = lib.points_verifier.GeneralPointsVerifier
        exact[f"verdicts on {name}"] = _verdicts(verifier, cases)
        exact[f"verdicts on a picture of {name}"] = _verdicts(verifier, cases[::4], vision=True)
    settings = {
        "plain": {},
        "ood": {"rule": "11/12/13", "split": "all", "faces": True},
        "deck": {"deck": "without_replacement", "split": "test"},
        "as released": {"protocol": "as_released", "faces": True, "verify_steps": 2},
        "black": {"vision": True, "suits": "black", "split": "all"},
        "red": {"vision": True, "suits": "red", "protocol": "as_released", "deck": "without_replacement"},
        "given": {"hands": [["A", "2", "3", "4"], ["10", "10", "4", "4"]], "feedback": "verdict"},
    }
    for name, how in some(list(settings.items())):
        game, rng, told = env(**how), np.random.default_rng(0), []
        for seed in range(6):
            told.append(_without_pictures(game.reset(seed=seed)[1]))
            told.append((game.guess(), game.expert(rng)))
            over, last = False, "{}" if seed % 2 else game.expert(rng)
            while not over:
                _, reward, terminated, truncated, info = game.step(last if seed % 3 else "{}")
                told.append((reward, terminated, truncated, _told(info["verdict"]), _without_pictures(info)))
                over = terminated or truncated
        exact[f"episodes {name}"] = sha(told)
    return {"exact": exact}


def navigation() -> dict:
    exact, env = {}, lib.navigation.NavigationEnv
    for city, splits in some(list(lib.cities.SPLITS.items())):
        for split in splits:
            found = [repr(route) for route in lib.cities.routes(city, split)]
            exact[f"routes {city} {split}"] = sha(found)
    exact["phrases"] = sha(lib.navigation.phrases())
    settings = {
        "absolute": {},
        "relative": {"actions": "relative", "split": "held_out"},
        "other city": {"city": lib.cities.OTHER_CITIES[0], "feedback": "verdict", "skip_failed": True},
        "as released": {"protocol": "as_released", "actions": "relative", "skip_failed": True},
        "pictures": {"vision": True, "feedback": "none"},
        "pictures as released": {"vision": True, "protocol": "as_released", "actions": "relative"},
    }
    for name, how in some(list(settings.items())):
        game, told, cases = env(**how), [], []
        for seed in range(2):
            info, over, count = game.reset(seed=seed)[1], False, 0
            while not over:
                right, place = game.expert(), info["place"]
                cases += [(text, place) for text in _walkers(right, place)] if seed == 0 else []
                shown = repr(info["picture"].arguments) if "picture" in info else ""
                told.append((info["messages"], place, info["sentence"], info["success"], shown, game.guess()))
                wrong = count % 3 == 1 or (seed == 1 and count > 4)
                _, reward, terminated, truncated, info = game.step("forward()" if wrong else right)
                told.append((reward, terminated, truncated, _told(info["verdict"]), info["moved"]))
                over, count = terminated or truncated, count + 1
        exact[f"walks {name}"] = sha(told)
        exact[f"answers {name}"] = sha(cases)
        exact[f"verdicts {name}"] = _verdicts(lib.navigation_verifier.NavigationVerifier, cases[::2])
    exact["a prompt"] = env().reset(seed=0)[1]["messages"][0]["content"]
    return {"exact": exact}


def _walkers(right: str, place) -> list[str]:
    """Right, wrong, malformed and cheating answers at a place."""
    actions = [a for space in lib.navigation_verifier.ACTIONS.values() for a in space]
    texts = [right.replace(f'"{place.action}"', f'"{action}"') for action in actions]
    texts += [
        right.replace("You observe an intersection", ""),
        right.replace('; "', '; You observe an intersection"'),
        right.replace('"', "'"),
        right.replace("}", ",}"),
        right + right,
        f"Answer: {right}",
        f'{{"action": "{place.action}"}}',
        f'{{"action": "{place.other}"}}',
        '{"action": null}',
        f'{{"current observation": "intersection", "action": "{place.action} "}}',
        right[:-1],
        right * 30,
        place.action,
        "",
        "[]",
    ]
    return texts


def pictures() -> dict:
    exact, cards, streets = {}, lib.cards, lib.streets
    deck = [(rank, suit) for suit in cards.SUITS for rank in cards.RANKS]
    hands = [[deck[(7 * i + 13 * j) % 52] for j in range(4)] for i in range(64)]
    for part in some(range(8)):
        drawn = [
            cards.draw(*zip(*hands[i]), cards.POCKET, cards.Style.of(i))
            for i in range(8 * part, 8 * part + 8)
        ]
        exact[f"cards, styles from {8 * part}"] = sha(zlib.crc32(picture.tobytes()) for picture in drawn)
    plain = [cards.draw(*zip(*deck[i : i + 4]), cards.POCKET).tobytes() for i in range(0, 52, 4)]
    exact["cards, plain style"] = sha(zlib.crc32(pixels) for pixels in plain)
    exact["styles"] = sha(repr(cards.Style.of(seed)) for seed in range(64))
    for side in () if few() else (200, 400):
        layout = cards.Layout.square(side)
        large = [cards.draw(*zip(*hands[i]), layout, cards.Style.of(i)).tobytes() for i in range(0, 64, 9)]
        exact[f"cards of {side} pixels"] = sha(zlib.crc32(pixels) for pixels in large)
    for name in some((lib.cities.TRAINING_CITY, *lib.cities.OTHER_CITIES[:4])):
        city = lib.cities.city(name)
        nodes = list(city.points)[5::29]
        middle = [
            tuple(np.mean([city.points[a], city.points[b]], 0).tolist()) for a, b in zip(nodes, nodes[1:])
        ]
        scenes = [city.around(point) for point in (*(city.points[n] for n in nodes), *middle[:2])]
        exact[f"look {name}"] = sha([streets.Look.of(name)])
        for protocol in ("clean", "as_released"):
            seen = [streets.draw(s, 37.0 * i, protocol=protocol).tobytes() for i, s in enumerate(scenes)]
            exact[f"streets {name} {protocol}"] = sha(zlib.crc32(pixels) for pixels in seen)
        exact[f"streets {name} large"] = sha(np.asarray(streets.draw(scenes[0], 90.0, 240)))
    panorama = np.add.outer(np.arange(64) * 3, np.arange(128) * 2)[..., None] * np.array([1, 2, 3]) % 256
    cut = streets.cut(Image.fromarray(panorama.astype(np.uint8)), 20.0, 100.0, 32, "as_released")
    exact["cut"] = sha(np.asarray(cut))
    return {"exact": exact}


# --- chat -------------------------------------------------------------------------------------------------

TALKS = [
    [{"role": "user", "content": "You are an expert. Cards: [A, 2, 10, K]"}],
    [{"role": "user", "content": "Turn left to face north.\nA_1: "}],
    [
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": '{"formula": "1+2=24"}'},
        {"role": "user", "content": "the answer is wrong. Answer again."},
    ],
]


def pattern(seed: int) -> Image.Image:
    """A picture that no part of the library draws."""
    rng = np.random.default_rng(np.random.SeedSequence([seed, 9]))
    return Image.fromarray(rng.integers(0, 256, (28, 28, 3), dtype=np.uint8))


def chat() -> dict:
    exact, floats = {}, {}
    for name in some(("pocket", "llava", "mllama")):
        loaded = _tokens(name)
        talk = lib.rollouts.Chat(loaded.tokenizer, loaded.processor)
        exact[name] = {
            "opening": talk.openings(TALKS)[0][0],
            "openings": sha(talk.openings(TALKS)[0]),
            "one": sha(talk.opening(TALKS[1])),
            "feedback": talk.feedback("You failed: the formula makes 23."),
            "feedbacks": sha(talk.feedback(text) for text in ("", "correct", "ü 12 \n", "wrong" * 9)),
            "end": talk.end,
        }
        if loaded.processor is not None:
            image = dict(lib.prompts.IMAGE)
            texts = [{"type": "text", "text": f"{'look ' * i}["} for i in range(2)]
            shown = [[{"role": "user", "content": [text, image]}] for text in texts]
            pictures = [lib.Picture(pattern, (seed,)) for seed in range(2)]
            ids, inputs = talk.openings(shown, pictures)
            exact[name]["with pictures"] = ids
            exact[name]["inputs"] = {key: list(value.shape) for key, value in sorted(inputs.items())}
            floats[name] = numbers(inputs["pixel_values"].flatten()[::97].tolist()[:40])
            alone = talk.pixels(pictures)
            floats[f"{name} alone"] = numbers(alone["pixel_values"].flatten()[::97].tolist()[:40])
    return {"exact": exact, "floats": floats}


@cache
def _tokens(name: str):
    return lib.models.load(paths()[name])


# --- census -----------------------------------------------------------------------------------------------


class _Player:
    """Stands in for `play`: dialogues with verdicts that follow from the case's place in its batch, never
    from a text.
    """

    def __init__(self):
        self.seen: list = []

    def __call__(self, policy, environments, infos, sampling):
        seed = sampling.generator.initial_seed()
        self.seen.append((len(environments), sampling.max_tokens, sampling.temperature, seed))
        games = []
        for row, (environment, info) in enumerate(zip(environments, infos)):
            game = []
            for at, place in enumerate(self._places(environment, info)):
                bits = [bool((row * 5 + at * 3 + k) % (3 + k)) for k in range(6)]
                first = SimpleNamespace(**dict(zip(_FLAGS, bits)), message=f"said {row}", outcome=at)
                texts = ["x"] * (1 + (row + at) % 2)
                made = lib.rollouts.Dialogue(
                    ids=[0] * (5 + row % 7), texts=texts, rewards=[-1.0, 5.0][: len(texts)]
                )
                made.verdicts, made.correct = [first] * len(texts), bits[0] or (row + at) % 3 > 0
                made.task = place
                game.append(made)
            games.append(game)
        return games

    @staticmethod
    def _places(environment, info) -> list:
        """What a game is about: the places of a route, one place that is asked, or a hand."""
        if "deal" in info:
            return [None]
        return environment.places if hasattr(environment, "places") else [environment.truth]


_FLAGS = ("correct", "strict", "valid", "follows_rule", "recognized", "fake")


def census() -> dict:
    exact, floats, evaluation = {}, {}, lib.evaluation
    for task in some(list(lib.tasks.TASKS)):
        sets = {} if task.startswith("general") else {"limit": 3}
        config = evaluation.CensusConfig(task=task, **{"limit": 12, "limit_others": 7, "batch": 50, **sets})
        exact[f"{task} settings"] = evaluation.CensusConfig(task=task).resolved()
        player = _Player()
        with mock.patch.object(evaluation, "play", player):
            nobody = SimpleNamespace(device=torch.device("cpu"), has_start=False, merged=torch.no_grad)
            summary, hands = evaluation.census(nobody, config, seed=4)
        exact[f"{task} batches"] = sha(player.seen)
        exact[f"{task} cases"] = sha(list(zip(hands["set"], hands["decoding"], hands["hand"])))
        exact[f"{task} outcomes"] = sha(
            [list(hands.columns), *hands.drop(columns=["hand"]).round(6).values.tolist()]
        )
        exact[f"{task} columns"] = " ".join(summary.columns)
        floats[task] = numbers(summary.drop(columns=["set", "decoding", "kl"]).values.astype(float).flatten())
    policy, dialogues = lib.policy(paths()["pocket"]), _short_dialogues()
    with lib.one_thread():
        kl = [evaluation.divergence(policy, dialogues, tokens) for tokens in (8192, 40)]
        kl += [evaluation.divergence(policy, dialogues[:1])]
    floats["divergence"] = numbers(kl)
    return {"exact": exact, "floats": floats}


def _short_dialogues() -> list:
    rng, dialogues = np.random.default_rng(3), []
    for i in range(5):
        ids = rng.integers(4, 600, 20 + 3 * i).tolist()
        sampled = [8 <= t < 14 + i or t >= 17 + i for t in range(len(ids))]
        dialogues.append(lib.rollouts.Dialogue(ids=ids, sampled=sampled, ask=[7, 16 + i]))
    return dialogues


DRAWN = {"revising": ["sampled"], "cases_seed": 0, "dialogues": 2, "draws": 4, "told": 2, "both_ways": True}
SEVERAL = {
    "general-points": {"sets": ["seen", "id", "ood"], "limit": 9, "limit_others": 6, "limit_between": 4},
    "navigation": {"sets": ["id_seen", "id"], "limit": 3, "limit_between": 2},
}


def census_draws() -> dict:
    """A census that draws several answers a case, keeps what was said and measures both divergences, at a
    checkpoint and between two."""
    exact, floats, evaluation = {}, {}, lib.evaluation
    nobody = {"merged": torch.no_grad, "start": torch.no_grad, "device": torch.device("cpu")}

    def apart(policy, dialogues, back=False):
        return len(dialogues) + sum(len(d.ids) for d in dialogues) / 1000 + 100 * back

    for task, how in some(list(SEVERAL.items())):
        config = evaluation.CensusConfig(task=task, batch=50, kl_hands=5, **DRAWN, **how)
        exact[f"{task} settings"] = config.resolved()
        for name, between in (("end", False), ("between", True)):
            player, told = _Player(), []
            with (
                mock.patch.object(evaluation, "play", player),
                mock.patch.object(evaluation, "divergence", apart),
            ):
                policy = SimpleNamespace(has_start=True, **nobody)
                summary, hands = evaluation.census(policy, config, 4, between, told)
            where = f"{task} {name}"
            exact[f"{where} batches"] = sha(player.seen)
            exact[f"{where} cases"] = sha(list(zip(hands["set"], hands["decoding"], hands["hand"])))
            exact[f"{where} outcomes"] = sha(
                [list(hands.columns), *hands.drop(columns=["hand"]).round(6).values.tolist()]
            )
            exact[f"{where} told"] = sha([list(told[0]), *(list(row.values()) for row in told)])
            floats[where] = numbers(summary.drop(columns=["set", "decoding"]).values.astype(float).flatten())
    with lib.one_thread():
        back = evaluation.divergence(lib.policy(paths()["pocket"]), _short_dialogues(), back=True)
    floats["divergence"] = numbers([back])
    return {"exact": exact, "floats": floats}


COMPONENTS = {
    "general-points": Golden(("general-points",), general_points),
    "navigation": Golden(("navigation",), navigation),
    "pictures": Golden(("pictures",), pictures),
    "chat": Golden(("chat",), chat),
    "census": Golden(("census",), census),
    "census-draws": Golden(("census",), census_draws),
}
