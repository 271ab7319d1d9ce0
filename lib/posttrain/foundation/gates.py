"""The gates a foundation must pass before any post-training, on rules (lists of actions, a city) that no experiment uses.

Fixed before the first post-training run. A gate has a bound; `measure` returns a table with one row a gate.
Only measuring imports torch: the book's table of gates is read from the cards.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from posttrain import formulas
from posttrain.environments import cities, navigation, prompts
from posttrain.environments.navigation import NOTHING, TURN, NavigationEnv
from posttrain.foundation import corpus, directions, sights
from posttrain.rendering import Picture, cards
from posttrain.rendering.cards import Style
from posttrain.verifiers.general_points import (
    RANKS,
    Deal,
    GeneralPointsVerifier,
    Rule,
    Verdict,
    listed,
    read_object,
)
from posttrain.verifiers.navigation import FIELDS, FORWARD, STOP, TURNS, NavigationVerifier, turn

if TYPE_CHECKING:
    from posttrain.policy.load import Policy

# gate -> (bound, True where the measured share must be at least the bound, what it says)
Gates = dict[str, tuple[float, bool, str]]
NUMBERS: Gates = {
    "reads an unseen rule": (
        0.95,
        True,
        "cards -> numbers under rules that the corpus never held, chat frame",
    ),
    "follows a swapped rule": (0.90, True, "both answers right when only the rule's text is exchanged"),
    "solves hands without faces": (0.03, True, "target 24, plain layout, greedy"),
    "solves hands with faces": (0.03, True, "the same, under unseen rules"),
    "solves hands with 11-13": (
        0.03,
        True,
        "numbers -> formula in the chat frame, a number above 10 in each hand, greedy",
    ),
    "revises": (
        0.05,
        True,
        "success within 5 minus first-try success, numbers -> formula, T = 1, informative feedback",
    ),
    "cannot do the task yet": (
        0.01,
        False,
        "correct answers to the whole task in the chat frame, zero-shot, T = 1",
    ),
}
DIRECTIONS: Gates = {
    "reads an unseen list of actions": (
        0.95,
        True,
        "instruction with two words -> the one that is listed, lists that the corpus never held, chat frame",
    ),
    "follows a swapped list": (0.90, True, "both answers right when only the list is exchanged"),
    "turns a heading": (
        0.90,
        True,
        "a relative word or degrees -> the heading, a heading -> the relative word, in a row of turns, plain layout",
    ),
    "finds its place": (
        0.80,
        True,
        "instructions and log -> observation and instruction that holds, routes of a city that no experiment uses",
    ),
    "follows instructions": (
        0.80,
        True,
        "the next action of a log, the same routes, absolute and relative actions in turn",
    ),
    "revises": (0.70, True, "the right action after a wrong one and its verdict, T = 1"),
    "cannot do the task yet": (
        0.01,
        False,
        "correct answers to the whole task in the chat frame, zero-shot, T = 1",
    ),
}
CARDS: Gates = {
    "recognizes black hands": (
        0.60,
        True,
        "all four ranks of a picture as a multiset, greedy, chat frame, suits of the training",
    ),
    "recognizes red hands": (0.60, True, "the same, suits of the visual shift"),
    "is not perfect yet": (
        0.98,
        False,
        "the same, mean of both: post-training has something to gain and to lose",
    ),
    "reads an unseen rule": (
        0.60,
        True,
        "picture -> cards and numbers under rules that the corpus never held",
    ),
    "cannot do the task yet": (
        0.01,
        False,
        "correct answers to the whole task in the chat frame, zero-shot, T = 1",
    ),
}
STREETS: Gates = {
    "recognizes landmarks": (
        0.60,
        True,
        "name and bearing of a landmark in a picture of a city that no experiment uses, greedy, chat frame",
    ),
    "is not perfect yet": (0.98, False, "the same: post-training has something to gain and to lose"),
    # Four points of five are no intersection, so a blind reader of the text passes these two as well: they say that nothing was lost.
    "sees intersections": (
        0.80,
        True,
        "an intersection or none, in pictures of the same city (without looking: about 82 %)",
    ),
    "finds its place": (
        0.60,
        True,
        "instructions, log and a picture -> the instruction that holds (without looking: about 82 %)",
    ),
    "cannot do the task yet": (
        0.01,
        False,
        "correct answers to the whole task in the chat frame, zero-shot, T = 1",
    ),
}
GATES = {"numbers": NUMBERS, "directions": DIRECTIONS, "cards": CARDS, "streets": STREETS}
CALIBRATION_CITY = "Kelwick"  # the gates' own


def complete(
    model, tokens, prompts_: list[str], sample: bool = False, new_tokens: int = 48, batch: int = 512
) -> list[str]:
    """One completion each, greedy or sampled at temperature 1."""
    texts = []
    for start in range(0, len(prompts_), batch):
        inputs = tokens(
            prompts_[start : start + batch], return_tensors="pt", padding=True, add_special_tokens=False
        )
        out = model.generate(
            **inputs,
            max_new_tokens=new_tokens,
            do_sample=sample,
            temperature=1.0 if sample else None,
            top_k=0 if sample else None,
            pad_token_id=tokens.pad_token_id,
            eos_token_id=tokens.eos_token_id,
        )
        texts += tokens.batch_decode(out[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    return texts


def _hands(rng: np.random.Generator, count: int, keep, rule: Rule | None = None) -> list[tuple[str, ...]]:
    """`count` random hands that `keep` accepts, solvable for 24 where a rule is given."""
    found = []
    while len(found) < count:
        ranks = tuple(RANKS[i] for i in rng.integers(0, 13, 4))
        if keep(ranks) and (rule is None or formulas.solve(list(rule.numbers(ranks)))):
            found.append(ranks)
    return found


def _faces(ranks) -> bool:
    return any(rank in "JQK" for rank in ranks)


def _correct(text: str, numbers, target: int = 24) -> bool:
    expression, _, stated = text.rpartition("=")
    try:
        tree = formulas.parse(expression)
        return (
            sorted(formulas.numbers(tree)) == sorted(numbers)
            and formulas.value(tree) == target
            and stated.strip() == str(target)
        )
    except formulas.FormulaError:
        return False


def measure(model, tokens, count: int = 512, seed: int = 0, source: str = "numbers") -> pd.DataFrame:
    """One row a gate of the corpus `source`: measured share, bound, passed, meaning. `count` hands (or places) a gate."""
    import torch

    torch.manual_seed(seed)
    rng = np.random.default_rng(np.random.SeedSequence([seed, 2]))
    return _table({"numbers": _numbers, "directions": _directions}[source](model, tokens, count, rng), source)


def measure_sight(policy: Policy, source: str, count: int = 512, seed: int = 0) -> pd.DataFrame:
    """The same for a vision-language foundation: one row a gate of what it sees (`source`)."""
    rng = np.random.default_rng(np.random.SeedSequence([seed, 4]))
    return _table({"cards": _cards, "streets": _streets}[source](policy, count, rng), source)


def _table(shares: dict[str, float], source: str) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "gate": name,
                "measured": float(shares[name]),
                "bound": bound,
                "at_least": least,
                "passed": bool(shares[name] >= bound if least else shares[name] <= bound),
                "meaning": meaning,
            }
            for name, (bound, least, meaning) in GATES[source].items()
        ]
    )


def _numbers(model, tokens, count: int, rng: np.random.Generator) -> dict[str, float]:
    rules = [Rule.parse(r) for r in corpus.CALIBRATION_RULES]
    each = count // len(rules)
    shares = {}

    reading = [(rule, ranks) for rule in rules for ranks in _hands(rng, each, _faces)]
    read = lambda pairs: [
        text == corpus.read_answer(ranks, rule.numbers(ranks))
        for text, (rule, ranks) in zip(
            complete(model, tokens, [corpus.chat([corpus.read_prompt(r, h)]) for r, h in pairs]), pairs
        )
    ]
    first = np.array(read(reading))
    swapped = np.array(
        read([(rules[(rules.index(rule) + 1) % len(rules)], ranks) for rule, ranks in reading])
    )
    shares["reads an unseen rule"], shares["follows a swapped rule"] = first.mean(), (first & swapped).mean()

    def plain(rule: Rule, ranks) -> str:
        return f"make 24; J={rule.J} Q={rule.Q} K={rule.K}; cards: {listed(ranks)}; answer: "

    for name, keep in (
        ("solves hands without faces", lambda r: not _faces(r)),
        ("solves hands with faces", _faces),
    ):
        pairs = [(rule, ranks) for rule in rules for ranks in _hands(rng, each, keep, rule)]
        texts = complete(model, tokens, [plain(*pair) for pair in pairs])
        # The layout leaves the joint between the list of numbers and the formula free: the formula is what stands last.
        shares[name] = np.mean(
            [_correct(_last_formula(text), rule.numbers(ranks)) for text, (rule, ranks) in zip(texts, pairs)]
        )

    large = [rule.numbers(r) for rule in (Rule(11, 12, 13),) for r in _hands(rng, count, _faces, rule)]
    chats = [[corpus.write_prompt(numbers, 24)] for numbers in large]
    answers = complete(model, tokens, [corpus.chat(c) for c in chats])
    shares["solves hands with 11-13"] = np.mean([_correct(_formula(a), n) for a, n in zip(answers, large)])

    solved_first, solved = _revise(model, tokens, chats, large)
    shares["revises"] = solved - solved_first

    verifier = GeneralPointsVerifier()
    deals = [
        (rule, Deal(ranks, rule.numbers(ranks)))
        for rule in rules
        for ranks in _hands(rng, each, lambda r: True, rule)
    ]
    replies = complete(
        model, tokens, [corpus.chat([prompts.task(deal, rule)]) for rule, deal in deals], sample=True
    )
    shares["cannot do the task yet"] = np.mean(
        [verifier.judge(text, deal).correct for text, (_, deal) in zip(replies, deals)]
    )

    return shares


def _directions(model, tokens, count: int, rng: np.random.Generator) -> dict[str, float]:
    say = lambda chats, **how: complete(model, tokens, [directions.chat(turns) for turns in chats], **how)
    shares = {}
    first, second = directions.CALIBRATION
    pairs = [(str(rng.choice(first)), str(rng.choice(second))) for _ in range(count)]
    right = []
    for words, place in ((first, 0), (second, 1)):
        asked = [
            [directions.act_prompt(f"{TURN[0]}{a}{TURN[1]}{b}{TURN[2]}", f"{NOTHING}; ", words)]
            for a, b in pairs
        ]
        right.append(
            np.array(
                [text == directions.act_answer(turn(pair[place])) for text, pair in zip(say(asked), pairs)]
            )
        )
    shares["reads an unseen list of actions"], shares["follows a swapped list"] = (
        np.mean(right),
        np.mean(right[0] & right[1]),
    )

    made = [directions.turns(rng) for _ in range(count)]
    asked = [int(rng.integers(len(m.items))) for m in made]
    texts = complete(
        model,
        tokens,
        [f"{m.start}{m.text(i)}{m.joint if i else ''}{m.items[i][0]}{m.at}" for m, i in zip(made, asked)],
        new_tokens=1,
    )
    shares["turns a heading"] = np.mean([text == m.items[i][1] for text, m, i in zip(texts, made, asked)])

    walks, tasks = _walks(count, rng)
    shares["finds its place"] = np.mean(
        [
            text == directions.find_answer(made, at)
            for text, (made, at, _) in zip(
                say([[directions.find_prompt(made, at)] for made, at, _ in walks]), walks
            )
        ]
    )
    logs = [
        directions.chat([directions.log_prompt(made.sentences, words)])
        + directions.log(made.points[:at], made.points[at][0])
        for made, at, words in walks
    ]
    texts = complete(
        model, tokens, [f"{log}A_{at + 1}: " for log, (_, at, _) in zip(logs, walks)], new_tokens=6
    )
    shares["follows instructions"] = np.mean(
        [text.partition("\n")[0] == made.points[at][2] for text, (made, at, _) in zip(texts, walks)]
    )

    chats = []
    for made, at, words in walks:
        seen, index, action = made.points[at]
        wrong = str(rng.choice([a for a in (FORWARD, STOP, *map(turn, words)) if a != action]))
        chats.append(
            (
                [
                    directions.act_prompt(made.sentences[index], seen, words),
                    directions.act_answer(wrong),
                    prompts.feedback(directions.complaint(rng, wrong)),
                ],
                action,
            )
        )
    shares["revises"] = np.mean(
        [
            text == directions.act_answer(action)
            for text, (_, action) in zip(say([chat for chat, _ in chats], sample=True), chats)
        ]
    )

    verifier = NavigationVerifier()
    replies = say([[task] for task, _ in tasks], sample=True)
    shares["cannot do the task yet"] = np.mean(
        [verifier.judge(text, place).correct for text, (_, place) in zip(replies, tasks)]
    )
    return shares


def _walks(count: int, rng: np.random.Generator) -> tuple[list, list]:
    """Routes of the calibration city, half in each action space, a point on each: (walk, point, action words) and (task prompt, place)."""
    city, walks, tasks = cities.City(CALIBRATION_CITY), [], []
    environments = {
        actions: NavigationEnv(actions=actions, routes=[city.route(rng) for _ in range(count)])
        for actions in TURNS
    }
    for i in range(count):
        environment = environments[tuple(TURNS)[i % 2]]
        _, info = environment.reset(seed=i, options={"route": i})
        at = int(rng.integers(len(environment._places)))
        for place in environment._places[:at]:
            info = environment.step(navigation.answer(place, ""))[-1]
        points = [
            (navigation.observation(place), place.instruction, place.action) for place in environment._places
        ]
        walks.append((directions.Walk(environment._sentences, points), at, TURNS[environment.actions]))
        tasks.append((info["messages"][0]["content"], info["place"]))
    return walks, tasks


def _said(policy: Policy, contents: list, pictures: list, temperature: float = 0.0) -> list[str]:
    """One answer to each user message with its picture."""
    import torch

    from posttrain.rollouts import roll

    over = lambda row, text: (0.0, "", True, Verdict(0.0, "", False))
    generator = torch.Generator().manual_seed(0)
    dialogues = roll(
        policy,
        [[{"role": "user", "content": content}] for content in contents],
        over,
        48,
        temperature,
        generator,
        pictures,
    )
    return [dialogue.texts[0] for dialogue in dialogues]


def _cards(policy: Policy, count: int, rng: np.random.Generator) -> dict[str, float]:
    rules, shares, right = [Rule.parse(r) for r in corpus.CALIBRATION_RULES], {}, []
    show = lambda text: prompts.with_picture(text, prompts.CARDS[0])
    picture = lambda ranks, suits: Picture(
        cards.draw,
        (
            tuple(ranks),
            tuple(suits[i] for i in rng.integers(0, 2, 4)),
            cards.POCKET,
            Style.of(int(rng.integers(cards.STYLES))),
        ),
    )
    asked = [(rules[i % len(rules)], _hands(rng, 1, lambda ranks: True)[0]) for i in range(count)]
    for name, suits in (("black", cards.BLACK), ("red", cards.RED)):
        texts = _said(
            policy,
            [show(corpus.read_prompt(rule, ())) for rule, _ in asked],
            [picture(ranks, suits) for _, ranks in asked],
        )
        shares[f"recognizes {name} hands"] = np.mean(
            [_named(text) == sorted(ranks) for text, (_, ranks) in zip(texts, asked)]
        )
        right += [
            text == corpus.read_answer(ranks, rule.numbers(ranks))
            for text, (rule, ranks) in zip(texts, asked)
        ]
    shares["is not perfect yet"] = (shares["recognizes black hands"] + shares["recognizes red hands"]) / 2
    shares["reads an unseen rule"] = np.mean(right)
    verifier = GeneralPointsVerifier(vision=True)
    deals = [Deal(ranks, rule.numbers(ranks)) for rule, ranks in asked]
    replies = _said(
        policy,
        [show(prompts.task_for(24, rule)) for rule, _ in asked],
        [picture(ranks, cards.BLACK) for _, ranks in asked],
        1.0,
    )
    shares["cannot do the task yet"] = np.mean(
        [verifier.judge(text, deal).correct for text, deal in zip(replies, deals)]
    )
    return shares


def _streets(policy: Policy, count: int, rng: np.random.Generator) -> dict[str, float]:
    walks, tasks = _walks(5 * count, rng)
    points = [made.points[at] for made, at, _ in walks]
    named = [i for i, (told, _, _) in enumerate(points) if not told.startswith(NOTHING)][
        :count
    ]  # one point in four or five
    chosen = sorted({*range(count), *named})
    pictures = [
        sights.seen(rng, told, at == 0, CALIBRATION_CITY) for (told, _, _), (_, at, _) in zip(points, walks)
    ]

    def show(text: str, told: str) -> list[dict[str, str]]:
        before, _, behind = text.rpartition(f": {told}\n")
        return prompts.with_picture(f"{before}: ; \n{behind}", f"{before}: ")

    texts = _said(
        policy,
        [show(directions.find_prompt(walks[i][0], walks[i][1]), points[i][0]) for i in chosen],
        [pictures[i] for i in chosen],
    )
    answers = {i: read_object(text, FIELDS[0], "")[0] or {} for i, text in zip(chosen, texts)}
    observed = {
        i: str(answer.get(FIELDS[0])).partition("; ") for i, answer in answers.items()
    }  # an answer without "; " sees nothing
    told = [seen.partition("; ") for seen, _, _ in points]
    shares = {
        "recognizes landmarks": np.mean([observed[i][0] == told[i][0] for i in named]),
        "sees intersections": np.mean([observed[i][1:] == told[i][1:] for i in range(count)]),
        "finds its place": np.mean(
            [answers[i].get(FIELDS[1]) == walks[i][0].sentences[points[i][1]] for i in range(count)]
        ),
    }
    shares["is not perfect yet"] = shares["recognizes landmarks"]
    verifier = NavigationVerifier()
    replies = _said(
        policy,
        [show(task, told) for (told, _, _), (task, _) in zip(points[:count], tasks)],
        pictures[:count],
        1.0,
    )
    shares["cannot do the task yet"] = np.mean(
        [verifier.judge(text, place).correct for text, (_, place) in zip(replies, tasks)]
    )
    return shares


def _named(text: str) -> list[str]:
    """The cards that a reply names, sorted; empty where it is no answer."""
    data, _ = read_object(text, "cards", "")
    named = (data or {}).get("cards")
    return sorted(map(str, named)) if isinstance(named, list) else []


def _formula(text: str) -> str:
    return text.partition(prompts.ANSWER[2])[2].removesuffix(prompts.ANSWER[3])


def _last_formula(text: str) -> str:
    """The longest tail of `text` that parses as <formula>=<number>."""
    expression, _, stated = text.rpartition("=")
    for start in range(len(expression)):
        try:
            tree = formulas.parse(expression[start:])
        except formulas.FormulaError:
            continue
        if len(formulas.numbers(tree)) == 4:
            return f"{expression[start:].lstrip()}={stated}"
    return text


def _revise(model, tokens, chats: list[list[str]], hands, attempts: int = 5) -> tuple[float, float]:
    """First-try and within-`attempts` success when the verifier's message is put into the dialogue."""
    chats, open_, history = [list(c) for c in chats], list(range(len(hands))), []
    for _ in range(attempts):
        texts = complete(model, tokens, [corpus.chat(chats[i]) for i in open_], sample=True)
        still = []
        for i, text in zip(open_, texts):
            formula = _formula(text)
            if not _correct(formula, hands[i]):
                chats[i] += [text, prompts.feedback(_complaint(formula, hands[i]))]
                still.append(i)
        open_ = still
        history.append(1 - len(open_) / len(hands))
    return history[0], history[-1]


def _complaint(formula: str, hand) -> str:
    # The same messages as in the task: the verifier judges the formula as if the numbers were the cards of these values.
    deal = Deal(tuple(RANKS[n - 1] for n in hand), tuple(hand))
    return (
        GeneralPointsVerifier()
        .judge(prompts.answer(deal.ranks, hand, formula.rpartition("=")[0]), deal)
        .message
    )
