"""Routes as models walked them: how every point ended, which routes are worth a look, pictures of both.

Only kept dialogues are shown (`census: {told: 12}`), nothing is played again: the environment says once more
what it asked, and the verifier is asked once more, for what a table does not hold (would an answer have been
right in the other list of actions?). A table that does not fit the routes is refused.

    said = walked.judged(told.kept(book.profile, "virl-l"), SETS)
    walked.overview(said, SETS)

Trap: in an evaluation a route goes on behind a failed point, as if its right action had been taken, so that
every point is measured. The paper's episode ends there.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from posttrain.analysis import drawings, told
from posttrain.analysis.charts import AUXILIARY, INK, PAPER
from posttrain.analysis.study import ARMS
from posttrain.environments import cities
from posttrain.environments.routes import Point, Route
from posttrain.tasks import TASKS
from posttrain.verifiers import NavigationVerifier
from posttrain.verifiers.navigation import FORWARD, STOP, Place

TASK = TASKS["navigation"]
TRAINED = TASK.training["actions"]
RIGHT, LATER, WORDS, WRONG = "right", "later", "words", "wrong"
ENDS = {  # how a point ended, and what it is called
    RIGHT: "right at once",
    LATER: "right at a later answer",
    WORDS: "wrong, but right in the trained words",
    WRONG: "wrong",
}
FAILED = (WORDS, WRONG)
DECODINGS = {  # in the order in which they are preferred
    "greedy": "likeliest answers (greedy)",
    "sampled": "drawn answers (sampled)",
}
KEY = ["set", "decoding", "seed", "arm", "hand", "dialogue"]  # of a point
MARKS = {RIGHT: "o", LATER: "s", WORDS: "^", WRONG: "X"}
COLOURS = dict(zip(ENDS, (AUXILIARY[0], AUXILIARY[2], AUXILIARY[4], AUXILIARY[1])))
EDGES = {"edgecolors": PAPER, "linewidth": 1.2}
STORIES = {
    "differ": "One finishes, another does not",
    "words": "Right in the trained words only",
    "unstopping": "It never stops",
}


class Rails(NamedTuple):
    """A route of a set, its points in order, and its instructions."""

    route: Route
    places: list[Place]
    sentences: list[str]


@cache
def rails(set_: str, label: str, protocol: str = "clean") -> Rails:
    """What an evaluation asks on the route with this label of the table, "Alderby, held_out, 3"."""
    city, split, index = label.rsplit(", ", 2)
    environment, _ = TASK.sets[set_].pose((city, split, int(index)), protocol=protocol)
    return Rails(environment.routes[int(index)], environment.places, environment.sentences)


def judged(table: pd.DataFrame, sets: Mapping[str, Any], protocol: str = "clean") -> pd.DataFrame:
    """The kept dialogues of `sets` (as `told.kept` has them) on routes that all arms walked, with the columns
    turn and stop (a point where one turns, the destination) and fake (right in the other list of actions).

    ValueError where not every point was walked, or an answer was judged otherwise than its route says: the
    table is of other routes."""
    table = told.common(table[table["set"].isin(list(sets))]) if len(table) else table
    verifier, more = NavigationVerifier(protocol), []
    for (set_, *_, hand), numbers in table.groupby(KEY[:-1])["dialogue"] if len(table) else ():
        if set(numbers) != set(range(1, len(rails(set_, hand, protocol).places) + 1)):
            raise ValueError(f"{hand} ({set_}): what was walked does not fit the route")
    for row in table.itertuples():
        place = rails(row.set, row.hand, protocol).places[row.dialogue - 1]
        verdict = verifier.judge(row.text, place)
        if verdict.correct != row.correct and row.outcome != "step limit":
            raise ValueError(
                f"{row.hand} ({row.set}), point {row.dialogue}: the stored verdict does not fit the route"
            )
        more.append((place.action not in (FORWARD, STOP), place.action == STOP, verdict.fake))
    columns = pd.DataFrame(more, columns=["turn", "stop", "fake"], index=table.index)
    return table.join(columns) if len(table) else table


def points(said: pd.DataFrame) -> pd.DataFrame:
    """A row for each point that was walked, in the order of the evaluation: `KEY`, turn, stop, and how it
    ended (`ENDS`). Right in the trained words only: under another list of actions, and never right."""
    grouped = said.groupby(KEY, sort=False)
    table = grouped[["turn", "stop"]].first()
    first, right, fake = grouped["correct"].first(), grouped["correct"].any(), grouped["fake"].any()
    other = pd.Series(table.index.get_level_values("set").map(is_other), index=table.index)
    table["end"] = np.select([first, right, fake & other], [RIGHT, LATER, WORDS], WRONG)
    return table.reset_index()


def is_other(set_: str) -> bool:
    """Is the set's list of actions another than the trained one?"""
    return TASK.sets[set_].actions != TRAINED


def decodings(said: pd.DataFrame) -> list[str]:
    """Those that were kept; the first one is shown."""
    return [name for name in DECODINGS if name in set(said["decoding"])]


def chosen(said: pd.DataFrame, set_: str, decoding: str, seed: int | None = None) -> pd.DataFrame:
    """The rows of a set and a decoding, of one seed if it is named."""
    rows = said[(said["set"] == set_) & (said["decoding"] == decoding)]
    return rows if seed is None else rows[rows["seed"] == seed]


def stories(said: pd.DataFrame, sets: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Where a reader may begin, by the names of STORIES: set, decoding, seed, arm, hand and point (from 1).

    differ: the first route in the order of the evaluation that one arm finishes and another does not, at the
    first point that the latter fails, of the first seed, where there is one under actions that were not
    trained. words: the first answer that is right in the trained words only. unstopping: the destination of
    the first arm and seed that stop on none of their routes."""
    found: dict[str, dict[str, Any]] = {}
    ends, first = points(said), said["seed"].min()
    order = sorted((set_ for set_ in sets if set_ in set(said["set"])), key=is_other, reverse=True)
    for set_, decoding in [(set_, decoding) for decoding in decodings(said) for set_ in order]:
        heard, every = chosen(said, set_, decoding, first), chosen(ends, set_, decoding)
        chain, hand = every[every["seed"] == first], told.telling(heard)
        failed = chain[(chain["hand"] == hand) & chain["end"].isin(FAILED)]
        if told.solved(heard).loc[hand].nunique() > 1:
            # What has been trained tells more than where it began.
            found.setdefault(
                "differ", _begin(failed.sort_values("arm", key=lambda arm: arm == "Init", kind="stable"))
            )
        if (chain["end"] == WORDS).any():
            found.setdefault("words", _begin(chain[chain["end"] == WORDS]))
        if len(endless := unstopping(every)):
            found.setdefault("unstopping", _begin(endless))
    return {name: found[name] for name in STORIES if name in found}


def unstopping(ends: pd.DataFrame) -> pd.DataFrame:
    """The destinations, as `points` has them, of arms and seeds that stop at none of theirs."""
    goals = ends[ends["stop"]]
    stopped = ~goals["end"].isin(FAILED)
    by = [goals[name] for name in ("set", "decoding", "seed", "arm")]
    return goals[~stopped.groupby(by).transform("any")]


def _begin(rows: pd.DataFrame) -> dict[str, Any]:
    row = rows.iloc[0]
    named = {name: row[name] for name in ("set", "decoding", "arm", "hand")}
    return named | {"seed": int(row["seed"]), "point": int(row["dialogue"])}


def first_look(said: pd.DataFrame, sets: Mapping[str, Any]) -> dict[str, Any]:
    """What is shown first: the first of the stories, or where there is none the first route."""
    return next(iter(stories(said, sets).values()), None) or _begin(
        points(chosen(said, said["set"].iloc[0], decodings(said)[0]))
    )


def found(said: pd.DataFrame, sets: Mapping[str, Any]) -> dict[str, str]:
    """What prose says, `found`: which share of its routes each arm finishes, over all seeds and with the
    preferred decoding, which share of the points that it fails is right in the trained words, and who never
    stops. `shown`: what `first_look` is of."""
    ends, decoding, look = points(said), decodings(said)[0], first_look(said, sets)
    seeds, routes = sorted(said["seed"].unique()), sorted(said.groupby("set")["hand"].nunique())
    actions, number = TASK.sets[look["set"]].actions, look["seed"] + 1
    shown = f"It is of {actions} actions, repetition {number}, {DECODINGS[look['decoding']]}."
    many = f"{len(seeds)} repetitions" if len(seeds) > 1 else "one repetition"
    most = said.loc[said["decoding"] == decoding, "answer"].max()
    most = "one answer" if most == 1 else f"up to {most} answers"
    clauses = [f"{' to '.join(dict.fromkeys(map(str, routes)))} routes under each list of actions, {many} of"]
    clauses[0] += f" each model, its {DECODINGS[decoding]}, {most} a point."
    clauses.append("A route is finished if every point is right in the end.")
    for set_ in (set_ for set_ in sets if set_ in set(ends["set"])):
        rows, finished, words = chosen(ends, set_, decoding), {}, {}
        for arm in ARMS.values():
            own = rows[rows["arm"] == arm]
            failed = own["end"].isin(FAILED)
            finished[arm] = float(1 - failed.groupby([own["seed"], own["hand"]]).any().mean())
            if is_other(set_) and failed.any():
                words[arm] = float((own["end"] == WORDS)[failed].mean())
        trained = "which were never trained" if is_other(set_) else "as in training"
        what = f"Under {TASK.sets[set_].actions} actions, {trained},"
        clauses.append(f"{what} {_listed(finished, 'finishes')} of the routes.")
        if words:
            shares = _listed(words, "has")
            clauses.append(
                f"Of the points that it fails there, {shares} answered rightly, but in the trained words."
            )
    endless = unstopping(ends[ends["decoding"] == decoding])
    chains = dict.fromkeys(zip(endless["arm"], endless["seed"]))
    if who := ", ".join(f"{arm} of repetition {seed + 1}" for arm, seed in chains):
        clauses.append(f"Never once stopping at the end of a route: {who}.")
    return {"found": " ".join(clauses), "shown": shown}


def _listed(shares: Mapping[str, float], verb: str) -> str:
    """ "Init finishes 1%, SFT 2% and RL 3%"."""
    (first, share), *others = shares.items()
    said = [f"{first} {verb} {share:.0%}", *(f"{arm} {share:.0%}" for arm, share in others)]
    return " and ".join(filter(None, (", ".join(said[:-1]), said[-1])))


# --- pictures -----------------------------------------------------------------------------------------------


def spots(route: Route, places: list[Place]) -> list[Point]:
    """Where a map shows each point: at crossings, and evenly between them. (The text does not say how far one
    has walked.)"""
    corners, shown = (route.start, *(leg.end for leg in route.legs)), []
    for number, place in enumerate(places):
        leg, walking = divmod(place.instruction, 2)
        on_leg = [i for i, other in enumerate(places[:-1]) if other.instruction == place.instruction]
        share = (on_leg.index(number) + 1) / (len(on_leg) + 1) if walking and number in on_leg else walking
        (a, b), (c, d) = corners[leg], corners[leg + 1]
        shown.append((a + share * (c - a), b + share * (d - b)))
    return shown


def one_route(said: pd.DataFrame, look: Mapping[str, Any], protocol: str = "clean") -> Figure:
    """A route on its map, beside each other as Init, SFT and RL walked it; large and with their numbers the
    points where one turns or stops. look: as `stories` has them."""
    route, places, _ = rails(look["set"], look["hand"], protocol)
    city, metres = cities.city(route.city), cities.plane(route.start)
    where = np.array([metres(spot) for spot in spots(route, places)])
    ends = points(chosen(said, look["set"], look["decoding"], look["seed"]))
    fig, axes = plt.subplots(1, len(ARMS), figsize=(9.5, 4.2), layout="constrained")
    for ax, arm in zip(axes, ARMS.values()):
        drawings.street_map(ax, city, route, others=False)
        walk = ends[(ends["hand"] == look["hand"]) & (ends["arm"] == arm)]
        for at, end in zip(walk["dialogue"] - 1, walk["end"]):
            large = places[at].action != FORWARD
            style = {"color": COLOURS[end], "markersize": 16 if large else 7, "markeredgecolor": PAPER}
            ax.plot(*where[at], MARKS[end], zorder=6, **style)
            if large:
                ax.annotate(at + 1, where[at], fontsize=7.5, ha="center", va="center", zorder=7, color=INK)
        right = ~walk["end"].isin(FAILED)
        ax.set_title(f"{arm}: {right.sum()} of {len(walk)} points right")
    _legend(fig, MARKS)
    return fig


def overview(said: pd.DataFrame, sets: Mapping[str, str]) -> Figure:
    """How every point of every kept route ended, of the first seed, with the preferred decoding: a row a set
    (with its title), a column an arm; within, a row a route and a cell a point. The last cell is the
    destination."""
    ends, order, seed = points(said), list(ENDS), said["seed"].min()
    shown = {set_: chosen(ends, set_, decodings(said)[0], seed) for set_ in sets}
    shown = {set_: rows for set_, rows in shown.items() if len(rows)}
    longest = max(rows["dialogue"].max() for rows in shown.values())
    heights = [rows["hand"].nunique() for rows in shown.values()]
    size = (9, 0.17 * sum(heights) + 0.6 * len(shown) + 0.4)
    grid = {"squeeze": False, "layout": "constrained", "height_ratios": heights}
    fig, axes = plt.subplots(len(shown), len(ARMS), figsize=size, **grid)
    for line, (set_, rows) in zip(axes, shown.items()):
        hands = list(rows["hand"].unique())
        for ax, arm in zip(line, ARMS.values()):
            cells = np.full((len(hands), longest), np.nan)
            own = rows[rows["arm"] == arm]
            at = [hands.index(hand) for hand in own["hand"]], own["dialogue"] - 1
            cells[at] = [order.index(end) for end in own["end"]]
            ax.pcolormesh(cells, cmap=ListedColormap(list(COLOURS.values())), vmin=-0.5, vmax=3.5, **EDGES)
            failed = own["end"].isin(FAILED).groupby(own["hand"]).any()
            ax.set(xticks=[], yticks=[], ylim=(len(hands), 0))
            ax.set_title(f"{arm}: finishes {(~failed).sum()} of {len(hands)}", fontsize=9)
            for side in ax.spines.values():
                side.set_visible(False)
        line[0].set_ylabel(sets[set_].replace(", ", ",\n"), rotation=0, ha="right", va="center", fontsize=9)
    _legend(fig, dict.fromkeys(ENDS, "s"))
    return fig


def _legend(fig: Figure, marks: Mapping[str, str]) -> None:
    style = {"linestyle": "", "markersize": 9, "markeredgecolor": PAPER}
    handles = [
        Line2D([], [], marker=marks[end], color=COLOURS[end], label=text, **style)
        for end, text in ENDS.items()
    ]
    fig.legend(handles=handles, loc="outside upper left", ncols=len(ENDS), labelcolor=INK)
