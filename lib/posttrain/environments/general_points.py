"""GeneralPoints: four cards, one formula that makes the target, and a verifier that lets the player try
again.

Paper: sections 3 and 4.1, appendix A. One answer is one action; the episode ends when an answer is correct or
`verify_steps` answers are used. Only solvable hands are dealt, and a fixed fifth of the number-multisets is
held out from training, which the paper does not do. With `vision` the list of cards is a picture (GP-VL),
which stands where the list stood. Left out on purpose: any solving at deal time - the solvable hands are
enumerated once per rule, after that a deal costs microseconds.

    env = gymnasium.make("posttrain/GeneralPoints-v0", rule="11/12/13", split="test")
    task, info = env.reset(seed=1)
    answer = '{"cards": [...], "number": [...], "formula": "...=24"}'
    feedback, reward, correct, used_up, info = env.step(answer)
"""

from __future__ import annotations

from bisect import bisect
from collections import Counter
from collections.abc import Iterable
from functools import cache
from itertools import accumulate, combinations_with_replacement, compress, permutations, product
from math import comb, factorial, prod
from typing import Any

import numpy as np

from posttrain import formulas
from posttrain.environments import prompts
from posttrain.environments.revision import RevisionEnv, one_of, whole
from posttrain.rendering import Picture, cards
from posttrain.rendering.cards import BLACK, POCKET, RED, STYLES, Layout, Style
from posttrain.verifiers.answers import MAX_REPLY
from posttrain.verifiers.general_points import FACES, FIELDS, RANKS, TARGET, Deal, GeneralPointsVerifier, Rule

Hand = tuple[str, ...]  # four ranks, sorted as in RANKS

SUITS = {"mixed": ("S", "H", "D", "C"), "black": BLACK, "red": RED}
SPLITS = ("all", "train", "test", "shown", "faces")
DECKS = ("with_replacement", "without_replacement")
IN_RANGE_RULES = ("5/7/9", "8/3/6")  # the crossed design's unseen rules with numbers 1-10
TEST_SHARE, FACES_SHARE = 0.2, 0.25
SPLIT_SEED = 2501_17161  # another number would be another split, and results would no longer be comparable

_ORDERS = tuple(permutations(range(4)))
_SUITS = {name: tuple(product(suits, repeat=4)) for name, suits in SUITS.items()}
_style = cache(Style.of)


# --- which hands there are ----------------------------------------------------------------------------------


@cache
def _held_out(target: int) -> frozenset[tuple[int, ...]]:
    """The number-multisets of 1 to 10 that are held out: a fixed fifth of those that can make `target`."""
    multisets = list(combinations_with_replacement(range(1, 11), 4))
    solvable = [*compress(multisets, formulas.solvable(multisets, target))]
    order = np.random.default_rng(np.random.SeedSequence([SPLIT_SEED])).permutation(len(solvable))
    return frozenset(solvable[i] for i in order[: round(TEST_SHARE * len(solvable))])


def split_of(numbers: Iterable[int], target: int = TARGET) -> str:
    """ "train" or "test"; a multiset with a number above 10 was never trained on, so it is always "test"."""
    numbers = tuple(sorted(numbers))
    return "test" if numbers[-1] > 10 or numbers in _held_out(target) else "train"


@cache
def _unseen_faces(target: int) -> frozenset[Hand]:
    """Of the training hands that hold a ten, a fixed quarter of those with the same numbers: they differ from
    hands that are trained in nothing but which of 10, J, Q, K makes a ten."""
    alike: dict[tuple[int, ...], list[Hand]] = {}
    for hand in _hands(Rule(10, 10, 10), target, "train", False):
        alike.setdefault(tuple(sorted(Rule(10, 10, 10).numbers(hand))), []).append(hand)
    rng, kept = np.random.default_rng(np.random.SeedSequence([SPLIT_SEED, 1])), []
    for _, same in sorted(alike.items()):
        kept += [same[i] for i in rng.permutation(len(same))[: round(FACES_SHARE * len(same))]]
    return frozenset(kept)


def hands(
    rule: Rule | str = "10", target: int = TARGET, split: str = "all", faces: bool = False
) -> tuple[Hand, ...]:
    """Every solvable hand under `rule`, in the order of RANKS; `faces` keeps those with at least one J, Q or
    K.

    The split is by number-multiset: "train" and "test". "faces" holds some of the training hands with a ten,
    "shown" all others: every hand of "faces" has the numbers of hands in "shown", under the rule 10. Raises
    ValueError for an unknown rule or split, or a target below 1.
    """
    return _hands(Rule.parse(rule), whole("target", target), one_of("split", split, SPLITS), bool(faces))


@cache
def _hands(rule: Rule, target: int, split: str, faces: bool) -> tuple[Hand, ...]:
    every = list(combinations_with_replacement(RANKS, 4))
    return tuple(
        hand
        for hand in compress(every, formulas.solvable([rule.numbers(hand) for hand in every], target))
        if (not faces or not set(FACES).isdisjoint(hand))
        and split in ("all", *_splits(hand, rule, target, split))
    )


def _splits(hand: Hand, rule: Rule, target: int, asked: str) -> tuple[str, ...]:
    """The splits that `hand` is in, as far as `asked` may be one of them."""
    half = split_of(rule.numbers(hand), target)
    if asked not in ("shown", "faces") or half == "test":
        return (half,)
    return half, "faces" if hand in _unseen_faces(target) else "shown"


def _orders(hand: Iterable[str]) -> int:
    counts = Counter(hand).values()
    return factorial(sum(counts)) // prod(map(factorial, counts))


def _weight(hand: Hand, deck: str, forced_face: bool, suits: str = "mixed") -> int:
    """In how many ways `hand` comes up: a table of weights deals as redrawing until solvable would."""
    if deck == "without_replacement":
        return prod(comb(len(SUITS[suits]), count) for count in Counter(hand).values())
    if forced_face:  # as released: three uniform ranks and one face card, shuffled
        return sum(_orders((Counter(hand) - Counter([face])).elements()) for face in FACES if face in hand)
    return _orders(hand)


# --- the environment ----------------------------------------------------------------------------------------


class GeneralPointsEnv(RevisionEnv):
    """Sequential revision on GeneralPoints (paper, Figure 2 and appendix A). See `RevisionEnv` for what is
    observed.

    Settings::

        rule            what J, Q, K count as: "10", "11/12/13", "a/b/c" or {"J": a, "Q": b, "K": c}
        target          what the formula must make
        verify_steps    answers per episode
        split, faces    which hands are dealt, see `hands`; or `hands`, the only ones dealt (four ranks each)
        feedback        "informative", "verdict" or "none"
        protocol        "clean", or "as_released": one more answer is asked for, not read, punished with -1;
                        with `faces`, three uniform ranks and one face card are dealt instead of four uniform
                        ranks with at least one face card
        deck            "with_replacement" (the released code) or "without_replacement" (the paper: 52 cards)
        vision          show the hand as a picture; the verifier then asks for the right cards too
        suits           "mixed", "black" (the paper's training) or "red" (its visual shift)
        pixels, styles  of the picture: its side (the paper: 1200), and from how many seeds of
                        `rendering.cards.Style.of` its look is drawn

    `reset(options={"ranks": ["A", "5", "J", "K"]})` deals that hand, in that order, whatever the split.
    `info` holds "deal" (Deal). Raises ValueError for an unknown setting or one that has no hand.
    """

    OPTION, FIELDS = "ranks", FIELDS

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
        super().__init__(GeneralPointsVerifier(protocol, feedback, vision), verify_steps, vision)
        self.rule, self.target = Rule.parse(rule), whole("target", target)
        self.split, self.faces = one_of("split", split, SPLITS), bool(faces)
        self.deck, self.suits = one_of("deck", deck, DECKS), one_of("suits", suits, SUITS)
        self.layout, self.styles = Layout.square(pixels), whole("styles", styles)
        if hands is None:
            self.hands = _hands(self.rule, self.target, split, self.faces)
        else:
            given = (tuple(sorted(self._checked(hand), key=RANKS.index)) for hand in hands)
            self.hands = tuple(dict.fromkeys(given))
        if not self.hands:
            raise ValueError(
                f"no solvable hand for rule {self.rule}, target {target}, split {split!r}, "
                f'faces={self.faces}, hands={hands!r} (numbers above 10 are in split "test" only)'
            )
        forced_face = self.faces and protocol == "as_released"
        self._cumulative = list(accumulate(_weight(hand, deck, forced_face, suits) for hand in self.hands))
        self._set_spaces(2 * MAX_REPLY, pixels)

    def _checked(self, ranks: Iterable[str]) -> tuple[str, ...]:
        ranks = tuple(ranks)
        if len(ranks) != 4 or not set(ranks) <= set(RANKS):
            raise ValueError(f"a hand is four ranks of {', '.join(RANKS)}, as texts; not {ranks!r}")
        numbers = list(self.rule.numbers(ranks))
        if not formulas.solve(numbers, self.target):
            raise ValueError(
                f"no formula makes {self.target} from {', '.join(ranks)} under the rule {self.rule}: "
                f"posttrain.formulas.solve({numbers}, {self.target}) is empty; "
                "take a hand for which it is not"
            )
        return ranks

    def _draw(self) -> tuple[str, ...]:
        random = self.np_random.random
        hand = self.hands[bisect(self._cumulative, random() * self._cumulative[-1])]
        return tuple(hand[i] for i in _ORDERS[int(random() * len(_ORDERS))])

    def _draw_suits(self, ranks: tuple[str, ...]) -> tuple[str, ...]:
        most = max(Counter(ranks).values())
        if self.deck == "without_replacement" and most > len(SUITS[self.suits]):
            raise ValueError(
                f"{', '.join(ranks)}: a deck has no {most} {self.suits} cards of one rank; "
                "use suits mixed or deck with_replacement"
            )
        while True:
            suits = _SUITS[self.suits][int(self.np_random.random() * len(_SUITS[self.suits]))]
            if self.deck == "with_replacement" or len(set(zip(ranks, suits))) == 4:
                return suits

    def _begin(self, options: dict[str, Any] | None) -> None:
        ranks = self._checked(options["ranks"]) if options else self._draw()
        deal = Deal(ranks, self.rule.numbers(ranks), self.target, self._draw_suits(ranks))
        if not self.vision:
            return self._pose(deal, prompts.task(deal, self.rule))
        style = _style(int(self.np_random.random() * self.styles))
        task = prompts.with_picture(prompts.task_for(self.target, self.rule), prompts.CARDS[0])
        self._pose(deal, task, Picture(cards.draw, (deal.ranks, deal.suits, self.layout, style)))

    def _about(self) -> dict[str, Any]:
        return {"deal": self._truth}

    def expert(self, rng: np.random.Generator) -> str:
        """One of the deal's solutions, drawn uniformly, in the format that the task asks for."""
        deal = self._truth
        solutions = formulas.solve(list(deal.numbers), self.target)
        solution = solutions[int(rng.integers(len(solutions)))]
        return prompts.answer(deal.ranks, deal.numbers, solution, self.target)

    def guess(self) -> str:
        return prompts.answer(self._truth.ranks, self._truth.numbers, "", self.target).rpartition("=")[0]
