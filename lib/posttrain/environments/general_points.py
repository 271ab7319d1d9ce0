"""GeneralPoints: four cards, one formula that makes the target, and a verifier that lets the player try again.

Paper: sections 3 and 4.1, appendix A. One answer is one action; the episode ends when an answer is correct or `verify_steps`
answers are used. Only solvable hands are dealt, and a fixed fifth of the number-multisets is held out from training, which
the paper does not do. With `vision` the list of cards is a picture (GP-VL), which stands where the list stood. Left out on purpose:
any solving at deal time - the solvable hands are enumerated once per rule, after that a deal costs microseconds.

    env = gymnasium.make("posttrain/GeneralPoints-v0", rule="11/12/13", split="test")  # after `import posttrain.environments`
    task, info = env.reset(seed=1)
    feedback, reward, correct, used_up, info = env.step('{"cards": [...], "number": [...], "formula": "...=24"}')
"""

from __future__ import annotations

import string
from bisect import bisect
from collections import Counter
from functools import lru_cache
from itertools import accumulate, combinations_with_replacement, permutations, product
from math import comb, factorial, prod
from typing import Any, Iterable

import gymnasium
import numpy as np

from posttrain import formulas
from posttrain.environments import prompts
from posttrain.rendering import Picture, cards
from posttrain.rendering.cards import BLACK, POCKET, RED, STYLES, Layout, Style
from posttrain.verifiers.general_points import (
    FACES,
    FIELDS,
    MAX_REPLY,
    RANKS,
    STEP_LIMIT,
    TARGET,
    Deal,
    GeneralPointsVerifier,
    Rule,
    Verdict,
)

Hand = tuple[str, ...]  # four ranks, sorted as in RANKS

SUITS = {"mixed": ("S", "H", "D", "C"), "black": BLACK, "red": RED}
SPLITS = ("all", "train", "test")
DECKS = ("with_replacement", "without_replacement")
TEST_SHARE = 0.2
SPLIT_SEED = 2501_17161  # another number would be another split, and results would no longer be comparable

SOLVED = "correct"  # what the observation says once an episode is over and no feedback is due
STOPPED = "the step limit is reached"

_CHARACTERS = frozenset(string.printable) - frozenset("\t\r\x0b\x0c")
_ORDERS = tuple(permutations(range(4)))
_SUITS = {name: tuple(product(suits, repeat=4)) for name, suits in SUITS.items()}


def _one_of(name: str, given: Any, known: tuple[str, ...]) -> str:
    if given not in known:
        raise ValueError(f"unknown {name} {given!r}: use one of {', '.join(known)}")
    return given


def _whole(name: str, given: Any) -> int:
    if not isinstance(given, int) or isinstance(given, bool) or given < 1:
        raise ValueError(f"{name} must be a whole number from 1 up, not {given!r}")
    return given


_style = lru_cache(maxsize=None)(Style.of)


# --- which hands there are ---------------------------------------------------------------------------------------


@lru_cache(maxsize=None)
def _held_out(target: int) -> frozenset[tuple[int, ...]]:
    """The number-multisets of 1 to 10 that are held out: a fixed fifth of those that can make `target`."""
    solvable = [
        numbers
        for numbers in combinations_with_replacement(range(1, 11), 4)
        if formulas.solve(list(numbers), target)
    ]
    order = np.random.default_rng(np.random.SeedSequence([SPLIT_SEED])).permutation(len(solvable))
    return frozenset(solvable[i] for i in order[: round(TEST_SHARE * len(solvable))])


def split_of(numbers: Iterable[int], target: int = TARGET) -> str:
    """ "train" or "test"; a multiset with a number above 10 was never trained on, so it is always "test"."""
    numbers = tuple(sorted(numbers))
    return "test" if numbers[-1] > 10 or numbers in _held_out(target) else "train"


def hands(
    rule: Rule | str = "10", target: int = TARGET, split: str = "all", faces: bool = False
) -> tuple[Hand, ...]:
    """Every solvable hand under `rule`, in the order of RANKS; `faces` keeps those with at least one J, Q or K.

    The split is by number-multiset, so two hands that differ only in which of 10, J, Q, K makes a ten are on the same side.
    Raises ValueError for an unknown rule or split, or a target below 1.
    """
    return _hands(Rule.parse(rule), _whole("target", target), _one_of("split", split, SPLITS), bool(faces))


@lru_cache(maxsize=None)
def _hands(rule: Rule, target: int, split: str, faces: bool) -> tuple[Hand, ...]:
    return tuple(
        hand
        for hand in combinations_with_replacement(RANKS, 4)
        if (not faces or not set(FACES).isdisjoint(hand))
        and formulas.solve(list(rule.numbers(hand)), target)
        and split in ("all", split_of(rule.numbers(hand), target))
    )


def _orders(hand: Iterable[str]) -> int:
    counts = Counter(hand).values()
    return factorial(sum(counts)) // prod(map(factorial, counts))


def _weight(hand: Hand, deck: str, forced_face: bool, suits: str = "mixed") -> int:
    """In how many ways `hand` comes up: so a table of weights deals as redrawing until solvable would, without redrawing."""
    if deck == "without_replacement":
        return prod(comb(len(SUITS[suits]), count) for count in Counter(hand).values())
    if forced_face:  # as released: three uniform ranks and one face card, shuffled
        return sum(_orders((Counter(hand) - Counter([face])).elements()) for face in FACES if face in hand)
    return _orders(hand)


# --- the environment ---------------------------------------------------------------------------------------------


class GeneralPointsEnv(gymnasium.Env):
    """Sequential revision on GeneralPoints in text (paper, Figure 2 and appendix A).

    Settings::

        rule            what J, Q, K count as: "10", "11/12/13", "a/b/c" or {"J": a, "Q": b, "K": c}
        target          what the formula must make
        verify_steps    answers per episode
        split, faces    which hands are dealt, see `hands`; or `hands`, the only ones to deal (each four ranks)
        feedback        "informative", "verdict" or "none"
        protocol        "clean", or "as_released": one more answer is asked for, not read and punished with -1; with `faces`, three
                        uniform ranks and one face card are dealt instead of four uniform ranks with at least one face card
        deck            "with_replacement" (the released code) or "without_replacement" (the paper: 52 cards)
        vision          show the hand as a picture; the verifier then asks for the right cards too
        suits           "mixed", "black" (the paper's training) or "red" (its visual shift)
        pixels, styles  of the picture: its side (the paper: 1200), and from how many seeds of `rendering.cards.Style.of` its look is drawn

    Observation: the newest user turn, a text: the task, then the verifier's feedback. Action: the answer, any text. With `vision` the
    observation is {"text", "image": uint8 [height, width, 3]}, and `info` holds "picture", which draws the hand.
    `info`: "deal" (Deal), "attempt" (answers so far), "messages" (the dialogue as chat messages; the last one is the
    observation) and, after a step, "verdict" (Verdict). Raises ValueError for an unknown setting or one that has no hand.
    """

    metadata: dict[str, Any] = {"render_modes": []}
    FIELDS = FIELDS  # of an answer, in order

    def __init__(
        self,
        rule: Rule | str = "10",
        target: int = TARGET,
        verify_steps: int = 5,
        split: str = "train",
        faces: bool = False,
        feedback: str = "informative",
        protocol: str = "clean",
        deck: str = "with_replacement",
        hands: Iterable[Iterable[str]] | None = None,
        vision: bool = False,
        suits: str = "mixed",
        pixels: int = POCKET.width,
        styles: int = STYLES,
    ):
        self.rule, self.target, self.verify_steps = (
            Rule.parse(rule),
            _whole("target", target),
            _whole("verify_steps", verify_steps),
        )
        self.verifier = GeneralPointsVerifier(protocol, feedback, vision)
        self.vision, self.suits, self.layout, self.styles = (
            bool(vision),
            _one_of("suits", suits, tuple(SUITS)),
            Layout.square(pixels),
            _whole("styles", styles),
        )
        self.split, self.faces, self.deck = (
            _one_of("split", split, SPLITS),
            bool(faces),
            _one_of("deck", deck, DECKS),
        )
        if hands is None:
            self.hands = _hands(self.rule, self.target, split, self.faces)
        else:
            self.hands = tuple(
                dict.fromkeys(tuple(sorted(self._checked(hand), key=RANKS.index)) for hand in hands)
            )
        if not self.hands:
            raise ValueError(
                f"no solvable hand for rule {self.rule}, target {target}, split {split!r}, faces={self.faces}, hands={hands!r} "
                '(numbers above 10 are in split "test" only)'
            )
        as_released = protocol == "as_released"
        self._steps = self.verify_steps + as_released
        self._cumulative = list(
            accumulate(_weight(hand, deck, self.faces and as_released, suits) for hand in self.hands)
        )
        self._open = False
        self.observation_space = gymnasium.spaces.Text(2 * MAX_REPLY, charset=_CHARACTERS)
        if self.vision:
            self.observation_space = gymnasium.spaces.Dict(
                {
                    "text": self.observation_space,
                    "image": gymnasium.spaces.Box(0, 255, (pixels, pixels, 3), np.uint8),
                }
            )
        self.action_space = gymnasium.spaces.Text(MAX_REPLY, min_length=0, charset=_CHARACTERS)

    def _checked(self, ranks: Iterable[str]) -> tuple[str, ...]:
        ranks = tuple(ranks)
        if len(ranks) != 4 or not set(ranks) <= set(RANKS):
            raise ValueError(f"a hand is four ranks of {', '.join(RANKS)}, as texts; not {ranks!r}")
        numbers = list(self.rule.numbers(ranks))
        if not formulas.solve(numbers, self.target):
            raise ValueError(
                f"no formula makes {self.target} from {', '.join(ranks)} under the rule {self.rule}: "
                f"posttrain.formulas.solve({numbers}, {self.target}) is empty; take a hand for which it is not"
            )
        return ranks

    def _draw(self) -> tuple[str, ...]:
        random = self.np_random.random
        hand = self.hands[bisect(self._cumulative, random() * self._cumulative[-1])]
        a, b, c, d = _ORDERS[int(random() * len(_ORDERS))]
        return hand[a], hand[b], hand[c], hand[d]

    def _draw_suits(self, ranks: tuple[str, ...]) -> tuple[str, ...]:
        if self.deck == "without_replacement" and (most := max(Counter(ranks).values())) > len(
            SUITS[self.suits]
        ):
            raise ValueError(
                f"{', '.join(ranks)}: a deck has no {most} {self.suits} cards of one rank; use suits mixed or deck with_replacement"
            )
        while True:
            suits = _SUITS[self.suits][int(self.np_random.random() * len(_SUITS[self.suits]))]
            if self.deck == "with_replacement" or len(set(zip(ranks, suits))) == 4:
                return suits

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        """Deal a hand; `options={"ranks": ["A", "5", "J", "K"]}` deals that one, in that order, whatever the split."""
        super().reset(seed=seed)
        if unknown := set(options or ()) - {"ranks"}:
            raise ValueError(f"unknown options {sorted(unknown)}: the only one is ranks")
        ranks = self._checked(options["ranks"]) if options else self._draw()
        self._deal = Deal(ranks, self.rule.numbers(ranks), self.target, self._draw_suits(ranks))
        self._task, self._attempts, self._open = prompts.task(self._deal, self.rule), [], True
        if self.vision:
            text = prompts.task_for(self.target, self.rule)
            self._task = prompts.with_picture(text, prompts.CARDS[0])
            self._picture = Picture(
                cards.draw,
                (
                    self._deal.ranks,
                    self._deal.suits,
                    self.layout,
                    _style(int(self.np_random.random() * self.styles)),
                ),
            )
            self._image = np.asarray(self._picture())
        info = self._info(messages=prompts.dialogue(self._task))
        return self._observation(text if self.vision else self._task), info

    def _info(self, **more: Any) -> dict[str, Any]:
        return {
            "deal": self._deal,
            "attempt": len(self._attempts),
            **({"picture": self._picture} if self.vision else {}),
            **more,
        }

    def _observation(self, text: str) -> str | dict[str, Any]:
        return {"text": text, "image": self._image.copy()} if self.vision else text

    def expert(self, rng: np.random.Generator) -> str:
        """One of the deal's solutions, drawn uniformly, in the format that the task asks for."""
        solutions = formulas.solve(list(self._deal.numbers), self.target)
        return prompts.answer(
            self._deal.ranks, self._deal.numbers, solutions[int(rng.integers(len(solutions)))], self.target
        )

    def guess(self) -> str:
        """How an answer probably begins: what can be read off the task, without the formula. Saves decoding steps, changes no outcome."""
        return prompts.answer(self._deal.ranks, self._deal.numbers, "", self.target).rpartition("=")[0]

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Judge one answer. Any text is a legal action; TypeError for anything else, ResetNeeded when no episode is open."""
        if not isinstance(action, str):
            raise TypeError(f"an answer is a text (str), not {type(action).__name__}")
        if not self._open:
            raise gymnasium.error.ResetNeeded("no episode is open: call reset() first")
        attempt = len(self._attempts) + 1
        unread = attempt > self.verify_steps
        verdict = (
            Verdict(STEP_LIMIT, STOPPED, outcome="step limit")
            if unread
            else self.verifier.judge(action, self._deal)
        )
        self._attempts.append((action, verdict.message))
        messages = prompts.dialogue(self._task, self._attempts)
        if verdict.correct or unread:
            messages[-1]["content"] = SOLVED if verdict.correct else STOPPED
        terminated, truncated = verdict.correct, not verdict.correct and attempt == self._steps
        self._open = not (terminated or truncated)
        return (
            self._observation(messages[-1]["content"]),
            verdict.reward,
            terminated,
            truncated,
            self._info(verdict=verdict, messages=messages),
        )
