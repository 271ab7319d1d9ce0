"""A replay of routes: a fragment of HTML in which one follows a model from point to point of a city.

It shows kept dialogues (`posttrain.analysis.walked`); nothing is simulated.

    HTML(replays.fragment(replays.page(said, SETS)))
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from posttrain.analysis import explorer, walked
from posttrain.analysis.study import ARMS
from posttrain.environments import cities
from posttrain.environments.navigation import observation, reply
from posttrain.environments.routes import compass
from posttrain.verifiers import answers
from posttrain.verifiers.navigation import FORM, OTHER, TURNS

SYMBOLS = dict(zip(walked.ENDS, "✓↻▲✗"))


def page(said: pd.DataFrame, sets: Mapping[str, str], protocol: str = "clean") -> dict[str, Any]:
    """What a page needs. said: as `walked.judged` returns it; sets: name -> title.

    cities: streets (x, y of both ends) and landmarks, in metres east and north of the city's corner. answers:
    every different answer, as its three fields where it is just these, else as its text and the action in
    it. walks: set -> decoding -> seed -> arm -> for each of the set's routes its points, for each point its
    answers, as the answer's place in `answers`, the message's in `messages`, and whether it was right (1) or
    right in the other list of actions (2); null for a route that was not walked."""
    data: dict[str, Any] = {"arms": list(ARMS.values()), "seeds": sorted(map(int, said["seed"].unique()))}
    data |= {"symbols": SYMBOLS}
    data |= {"decodings": {name: walked.DECODINGS[name] for name in walked.decodings(said)}, "cities": {}}
    sets = {set_: title for set_, title in sets.items() if set_ in set(said["set"])}
    data["sets"] = {set_: _set(data["cities"], said, set_, title, protocol) for set_, title in sets.items()}
    places = {set_: [route["label"] for route in one["routes"]] for set_, one in data["sets"].items()}
    texts: dict[str, int] = {}
    messages: dict[str, int] = {}
    data["walks"] = {}
    for (set_, decoding, seed, arm), rows in said.groupby(walked.KEY[:4], sort=False):
        routes: list[list | None] = [None] * len(places[set_])
        for hand, walk in rows.groupby("hand", sort=False):
            walk = walk.sort_values(["dialogue", "answer"])
            answered = [
                (
                    texts.setdefault(row.text, len(texts)),
                    messages.setdefault(row.message, len(messages)),
                    1 if row.correct else 2 * bool(row.fake),
                )
                for row in walk.itertuples()
            ]
            ends = walk["dialogue"].duplicated(keep="last").to_numpy()
            route = routes[places[set_].index(hand)] = [[]]
            for one, more in zip(answered, ends):
                route[-1].append(one)
                route += [] if more else [[]]
            route.pop()
        data["walks"].setdefault(set_, {}).setdefault(decoding, {}).setdefault(str(seed), {})[arm] = routes
    data |= {"answers": [_fields(text) for text in texts], "messages": list(messages)}
    data["stories"] = [
        {**one, "title": walked.STORIES[name], "route": places[one["set"]].index(one["hand"])}
        for name, one in walked.stories(said, sets).items()
    ]
    return data


def _set(drawn: dict[str, Any], said: pd.DataFrame, set_: str, title: str, protocol: str) -> dict[str, Any]:
    """A set's actions and routes, in the order of the evaluation; draws cities that are not `drawn` yet."""
    actions, routes = walked.TASK.sets[set_].actions, []
    for label in said.loc[said["set"] == set_, "hand"].unique():
        route, places, sentences = walked.rails(set_, label, protocol)
        city = cities.city(route.city)
        metres = cities.plane(city.origin)
        if route.city not in drawn:
            streets = [_rounded(metres(city.points[node]) for node in edge) for edge in city.edges()]
            marks = [[name, *_rounded([metres(where)])] for name, where in city.landmarks.values()]
            drawn[route.city] = {"streets": streets, "landmarks": marks}
        asked = [
            [*_rounded([metres(spot)]), place.heading, compass(place.heading), place.instruction]
            + [observation(place), place.action]
            for spot, place in zip(walked.spots(route, places), places)
        ]
        corners = [_rounded([metres(point)]) for point in (route.start, *(leg.end for leg in route.legs))]
        named = [leg.landmark for leg in route.legs if leg.landmark]
        one = {"label": label, "city": route.city, "corners": corners, "named": named}
        routes.append({**one, "sentences": sentences, "points": asked})
    words = TURNS.get(actions, ())
    about = {"title": title, "actions": actions, "other": OTHER[actions], "words": words}
    return {**about, "trained": not walked.is_other(set_), "routes": routes}


def _rounded(points: Any) -> list[int]:
    return [round(x) for point in points for x in point]


def _fields(text: str) -> list[str] | dict[str, str]:
    """An answer's fields, where they are all it says; else its text, and the action that was read in it."""
    fields = answers.read(text, FORM).fields.values()
    if None not in fields and reply(*fields) == text.strip():
        return list(fields)
    return {"text": text, "action": answers.read(text, FORM).fields[FORM.asked[-1]] or ""}


def fragment(data: Mapping[str, Any]) -> str:
    """The replay as HTML; book/explore/routes.js brings it to life, and without it only a sentence stands
    there."""

    def choice(label: str, name: str, options: Mapping[Any, str]) -> str:
        return f"<label>{label} <select id='replay-{name}'>{explorer.options(options)}</select></label> "

    seeds = {seed: str(seed + 1) for seed in data["seeds"]}
    sets = {name: one["title"] for name, one in data["sets"].items()}
    legend = " ".join(
        f"<span><span class='replay-end {end}'>{SYMBOLS[end]}</span> {text}</span>"
        for end, text in walked.ENDS.items()
    )
    return (
        "<p id='replay-still'>Here one walks the routes step by step, with JavaScript; the pictures above "
        "show how all of them ended, and one of them on its map.</p><div id='replay' hidden>"
        "<p class='play-line' id='replay-stories'>Begin with: </p><div class='play-line'>"
        f"{choice('Model', 'arm', {arm: arm for arm in data['arms']})}{choice('Actions', 'set', sets)}"
        f"{choice('Route', 'route', {})}{choice('Repetition', 'seed', seeds)}"
        f"{choice('Answers', 'decoding', data['decodings'])}</div>"
        "<div class='explorer-scroll' tabindex='0' role='region' aria-label='How every point ended'>"
        f"<table id='replay-ends'></table></div><p id='replay-legend'>{legend}</p>"
        "<div class='play-line' id='replay-steps'><button type='button' id='replay-back'>Back</button>"
        "<button type='button' id='replay-on'>Forward</button>"
        "<button type='button' id='replay-play'>Play</button>"
        "<label>Point <input type='range' id='replay-at' min='1' value='1'></label></div>"
        "<div id='replay-stage'><svg id='replay-map' role='img'></svg>"
        "<div id='replay-now' aria-live='polite'></div></div>"
        "<details><summary>All instructions of this route</summary><ol id='replay-all'></ol></details></div>"
        f"{explorer.script('replay-data', data, 'routes.js')}"
    )
