"""Goldens bite: what decides numbers is changed, one thing at a time, and exactly the goldens that should
notice do.

Component goldens are computed briefly (`components.brief`: the first of each kind of value), for every patch
all of those that call what is patched, which the others cannot notice; with some patches the runs of one task
too. What is written down for a patch is the whole set that moves, no more and no less.
"""

import json
import math
from contextlib import contextmanager, nullcontext

import pytest
import torch
from posttrain.policy import templates

from tests.invariant import components, goldens, training, trajectories
from tests.invariant import library as lib

COMPONENTS = {**components.COMPONENTS, **training.COMPONENTS}
RUNS = [f"general-points.{algorithm}" for algorithm in trajectories.ALGORITHMS]
SECOND = [f"second.{algorithm}" for algorithm in trajectories.ALGORITHMS]


class _Reversed:
    """A policy whose start and present are exchanged: the divergence the other way round."""

    def __init__(self, policy):
        self.policy, self.starting = policy, False

    def __getattr__(self, name):
        return getattr(self.policy, name)

    @contextmanager
    def start(self):
        self.starting = True
        yield
        self.starting = False

    def score(self, *arguments, **keywords):
        with nullcontext() if self.starting else self.policy.start():
            return self.policy.score(*arguments, **keywords)


def _before(owner, name, change):
    """`owner.name` called with what `change` makes of its arguments."""
    real = getattr(owner, name)
    return lambda *arguments, **keywords: real(*change(*arguments), **keywords)


def _behind(owner, name, change):
    """What `change` makes of the result of `owner.name`."""
    real = getattr(owner, name)
    return lambda *arguments, **keywords: change(real(*arguments, **keywords))


def _shortened(owner, name):
    """Feedback without its last token, but for what a checkpoint is tried with: it would be refused."""
    real, tried = getattr(owner, name), {says for _, says in templates.PROBES}
    return lambda self, text: real(self, text)[: None if text in tried else -1]


def _dotted(picture):
    picture.putpixel((3, 3), (255, 0, 255))
    return picture


def _keyed(owner, name, **more):
    real = getattr(owner, name)
    return lambda *arguments, **keywords: real(*arguments, **{**keywords, **more})


def _fresh_head(owner, name):
    real = getattr(owner, name)

    def init(self, *arguments, **keywords):
        real(self, *arguments, **keywords)
        torch.nn.init.constant_(self.layers[-1].weight, 0.01)

    return init


def _clipped(owner, name):
    real = getattr(owner, name)

    def init(self, policy, environments, config, seed=0):
        real(self, policy, environments, config.model_copy(update={"clip": config.clip / 2}), seed)

    return init


def _configured(owner, name, **changes):
    """PPO with other settings than it is given."""
    real = getattr(owner, name)

    def init(self, policy, environments, config, seed=0):
        real(self, policy, environments, config.model_copy(update=changes), seed)

    return init


def _half(set_, played):
    """Half of the draws of first answers alone."""
    return set_, played._replace(firsts=played.firsts[: len(played.firsts) // 2])


def _own_cases(config, *more):
    return config.model_copy(update={"cases_seed": None}), *more


def _tripled(owner, name):
    """Each checkpoint at three times the compute of the last, where it should be twice."""
    real = getattr(owner, name).fget
    return property(
        lambda self: [share**LOG3 if self.spacing == "doubling" else share for share in real(self)]
    )


LOG3 = math.log(3, 2)
GP, NAV = lib.points_verifier, lib.navigation_verifier
# what -> owner, attribute, value or its maker, components that move, runs of a study that move (None: no run)
PATCHES = {
    "a reward": (GP, "WRONG_NUMBERS", -2.5, {"general-points"}, set(RUNS)),
    "a reward of navigation": (NAV, "WRONG_ACTION", -1.25, {"navigation"}, None),
    "a word of the feedback": (
        lib.prompts,
        "AGAIN",
        ". Try again in the same format.",
        {"general-points", "navigation", "foundation-numbers", "foundation-directions"},
        None,
    ),
    "a word of the prompt": (
        lib.prompts,
        "TASK",
        ("You are a skilled card player. Make ", *lib.prompts.TASK[1:]),
        {"general-points", "foundation-numbers", "foundation-cards"},
        None,
    ),
    "a word of navigation's prompt": (
        lib.navigation,
        "TASK",
        ("You walk through a city.", *lib.navigation.TASK[1:]),
        {"navigation", "foundation-directions", "foundation-streets"},
        None,
    ),
    "a pixel of cards": (
        lib.cards,
        "draw",
        lambda *at: _behind(*at, _dotted),
        {"pictures", "foundation-cards"},
        None,
    ),
    "a pixel of streets": (
        lib.streets,
        "view",
        lambda *at: _behind(*at, _dotted),
        {"pictures", "foundation-streets"},
        None,
    ),
    "the order of hands": (
        lib.general_points,
        "_hands",
        lambda *at: _behind(*at, lambda hands: hands[::-1]),
        {"general-points", "census", "census-draws"},
        None,
    ),
    "the order of routes": (
        lib.cities,
        "routes",
        lambda *at: _behind(*at, lambda routes: routes[::-1]),
        {"navigation"},
        None,
    ),
    "the tokens of feedback": (
        lib.rollouts.Chat,
        "_feedback",
        lambda *at: _shortened(*at),
        {"chat", "rollout"},
        None,
    ),
    "the sampling rule": (
        lib.rollouts.Sampler,
        "__init__",
        lambda *at: _before(*at, lambda self, heat, *more: (self, heat * 0.8, *more)),
        {"rollout"},
        set(RUNS),
    ),
    "the adapter's scale": (
        lib.policy_model,
        "_delta",
        lambda *at: _behind(*at, lambda delta: delta * 1.01),
        {"rollout", "sft", "ppo", "ppo-warmup", "census", "census-draws"},
        None,
    ),
    "the schedule of SFT": (
        lib.sft.trl,
        "SFTConfig",
        lambda *at: _keyed(*at, lr_scheduler_type="linear"),
        {"sft"},
        set(RUNS),
    ),
    "a beta of SFT's optimizer": (
        lib.sft.trl,
        "SFTConfig",
        lambda *at: _keyed(*at, adam_beta1=0.95),
        {"sft"},
        None,
    ),
    "the GAE term": (
        lib.ppo,
        "gae",
        lambda *at: _before(*at, lambda r, v, a, gamma, lam, *after: (r, v, a, gamma, lam * 0.9, *after)),
        {"ppo"},
        None,
    ),
    "PPO's clip": (lib.ppo.PPO, "__init__", _clipped, {"ppo", "ppo-warmup"}, None),
    "the value head's start": (
        lib.models.ValueHead,
        "__init__",
        _fresh_head,
        {"ppo"},
        {"general-points.ppo"},
    ),
    "the order of the census": (
        lib.tasks.Hands,
        "cases",
        lambda *at: _behind(*at, lambda cases: cases[::-1]),
        {"census", "census-draws"},
        None,
    ),
    "the direction of the KL": (
        lib.evaluation,
        "divergence",
        lambda *at: _before(*at, lambda policy, *more: (_Reversed(policy), *more)),
        {"census", "census-draws"},
        None,
    ),
    "the schedule of pretraining": (
        lib.training,
        "schedule",
        lambda *at: _behind(*at, lambda share: share**2),
        {"foundation"},
        None,
    ),
    "the order of the tokenizer": (
        lib.tokenizer,
        "build",
        lambda *at: _before(*at, lambda words=None: (words and words[::-1],)),
        {"foundation"},
        None,
    ),
    "the first weights of a foundation": (
        lib.pretraining,
        "new_model",
        lambda *at: _behind(*at, lambda model: (model.lm_head.weight.data.mul_(1.1), model)[1]),
        {"foundation"},
        None,
    ),
    # What the second edition measures, and how it trains.
    "half of the draws": (
        lib.evaluation,
        "_outcome",
        lambda *at: _before(*at, _half),
        {"census-draws"},
        None,
    ),
    "the divergence back": (
        lib.evaluation,
        "_back",
        lambda *at: _behind(*at, lambda kl: 2 * kl),
        {"census-draws"},
        None,
    ),
    "the seed of cases": (
        lib.evaluation,
        "_cases",
        lambda *at: _before(*at, _own_cases),
        {"census-draws"},
        None,
    ),
    "the cases in between": (
        lib.evaluation,
        "_cases",
        lambda *at: _before(*at, lambda config, name, seed, between: (config, name, seed, False)),
        {"census-draws"},
        None,
    ),
    "what is kept of what was said": (
        lib.evaluation,
        "_said",
        lambda *at: _behind(*at, lambda rows: list(rows)[:1]),
        {"census-draws"},
        None,
    ),
    "where checkpoints lie": (lib.config.Arm, "shares", _tripled, set(), {"second.sft"}),
    "demonstrations with errors": (
        lib.sft,
        "with_errors",
        lambda *at: _before(*at, lambda *given: (*given[:-1], 0)),
        {"sft-errors"},
        None,
    ),
    "the critic's warm-up": (
        lib.ppo.PPO,
        "__init__",
        lambda *at: _configured(*at, value_warmup=0),
        {"ppo-warmup"},
        None,
    ),
}


def forget():
    lib.forget()
    trajectories.carried_out.cache_clear()


def _runs(thing) -> bool:
    return callable(thing) or isinstance(thing, property)


@contextmanager
def _watched(called):
    """Whatever is patched below, and can be called, adds itself to the set `called` when it is."""

    def watched(target):
        real = getattr(*target)
        if isinstance(real, property):
            return property(lambda self: (called.add(target), real.fget(self))[1])
        return lambda *arguments, **keywords: (called.add(target), real(*arguments, **keywords))[1]

    with pytest.MonkeyPatch.context() as patch:
        for target in {target[:2] for target in PATCHES.values() if _runs(getattr(*target[:2]))}:
            patch.setattr(*target, watched(target))
        yield


@pytest.fixture(scope="module")
def plain():
    """What this machine computes without a patch, as goldens hold it: compared with that, everything counts,
    whatever machine the goldens were recorded on. And what each component calls."""
    values, calls = {}, {name: set() for name in COMPONENTS}
    for name, golden in COMPONENTS.items():
        forget()
        with components.brief(), _watched(calls[name]):
            values[name] = golden.compute()
    forget()
    values |= {name: trajectories.TRAJECTORIES[name].compute() for name in [*RUNS, *SECOND]}
    return {name: json.loads(json.dumps(value)) for name, value in values.items()}, calls


@pytest.fixture
def unpatched(plain):
    return plain[0]


def _moved(unpatched, among) -> set[str]:
    return {
        name
        for name, golden in among.items()
        if goldens.moved(golden, unpatched[name], golden.compute(), strict=True, partly=True)
    }


@pytest.fixture(autouse=True)
def nothing_cached():
    """No patch finds what was computed before it, and none is found behind it."""
    forget()
    yield
    forget()


def test_nothing_moves_without_a_patch(unpatched):
    with components.brief():
        assert _moved(unpatched, COMPONENTS) == set()


@pytest.mark.parametrize("what", PATCHES)
def test_exactly_the_right_goldens_move(what, plain, monkeypatch):
    (unpatched, calls), (owner, name, value, expected, runs) = plain, PATCHES[what]
    at, constant = (owner, name), not _runs(getattr(owner, name))
    among = {name: golden for name, golden in COMPONENTS.items() if constant or at in calls[name]}
    monkeypatch.setattr(owner, name, value(owner, name) if callable(value) else value)
    with components.brief():
        assert _moved(unpatched, among) == expected
    if runs is not None:
        study = RUNS if runs <= set(RUNS) else SECOND
        assert _moved(unpatched, {name: trajectories.TRAJECTORIES[name] for name in study}) == runs
