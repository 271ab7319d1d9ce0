"""Routes as models walked them: how points ended, and what is told of them."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from posttrain import config
from posttrain.analysis import replays, told, walked

from .walks import ROUTES, SETS


def test_how_points_end(said):
    ends = walked.points(said).set_index(["set", "arm", "seed"]).sort_index()
    assert set(ends.loc[("ood", "RL")]["end"]) == {"right"}
    assert set(ends.loc[("ood", "Init")]["end"]) == {"later"}
    sft = ends.loc[("ood", "SFT", 3)]
    assert set(sft.loc[sft["turn"], "end"]) <= {"words", "right"} and "words" in set(sft["end"])
    assert set(sft.loc[~sft["turn"], "end"]) == {"right"}
    assert set(ends.loc[("id", "SFT", 3)]["end"]) == {"right"}
    assert set(ends.loc[("id", "SFT", 4)].query("turn or stop")["end"]) == {"wrong"}
    points = sum(len(walked.rails("id", f"Alderby, held_out, {index}").places) for index in ROUTES)
    assert len(ends.loc[("id", "RL", 3)]) == points, "failed points do not end a route"


def test_a_table_of_other_routes_is_refused(kept):
    moved = kept.assign(hand=kept["hand"].replace("Alderby, held_out, 141", "Alderby, held_out, 7"))
    with pytest.raises(ValueError, match=r"Alderby, held_out, 7 .* does not fit the route"):
        walked.judged(moved, SETS)


@pytest.mark.parametrize("number", [1, 5, None])
def test_a_walk_that_misses_a_point_is_refused(kept, number):
    """Else what was answered there would stand at another point."""
    walk = kept[(kept["arm"] == "RL") & (kept["hand"] == "Alderby, held_out, 141")]
    last = walk["dialogue"].max()
    there = kept.index.isin(walk.index[walk["dialogue"] == (number or last)])
    assert there.any()
    for table in (kept[~there], kept.assign(dialogue=kept["dialogue"].mask(there, (number or last) - last))):
        with pytest.raises(ValueError, match=r"Alderby, held_out, 141 \(id\): .* does not fit the route"):
            walked.judged(table, SETS)


def test_routes_that_not_all_arms_walked_are_left_out(kept):
    fewer = kept[(kept["arm"] != "RL") | (kept["hand"] != "Alderby, held_out, 141")]
    assert set(walked.judged(fewer, SETS)["hand"]) == {"Alderby, held_out, 7"}
    assert walked.judged(pd.DataFrame(), SETS).empty


def test_the_stories_begin_where_something_happens(said):
    stories = walked.stories(said, SETS)
    assert list(stories) == list(walked.STORIES)
    first = {"set": "ood", "decoding": "greedy", "hand": "Alderby, held_out, 141", "seed": 3, "arm": "SFT"}
    assert stories["differ"].items() >= first.items()
    ends = walked.points(said).set_index(["set", "seed", "arm", "hand", "dialogue"])["end"]
    for name in ("differ", "words"):
        one = stories[name]
        assert ends[one["set"], one["seed"], one["arm"], one["hand"], one["point"]] == "words"
    endless = stories["unstopping"]
    assert (endless["seed"], endless["arm"]) == (4, "SFT")
    assert endless["point"] == len(walked.rails("ood", endless["hand"]).places)
    alike = said[said["arm"] == "RL"]
    alike = pd.concat([alike.assign(arm=arm) for arm in ("Init", "SFT", "RL")])
    assert walked.stories(alike, SETS) == {} and walked.first_look(alike, SETS)["point"] == 1


def test_what_was_found(said):
    values = walked.found(said, SETS)
    text = values["found"]
    assert text.startswith("2 routes under each list of actions, 2 repetitions of each model")
    assert "up to 2 answers a point" in text
    assert "Init finishes 100%, SFT 0% and RL 100% of the routes" in text and "SFT of repetition 5." in text
    assert ", SFT 50% and RL " in text and re.search(
        r"fails there, SFT has [1-9]\d?% answered rightly, but in the trained", text
    )
    assert text.endswith("Never once stopping at the end of a route: SFT of repetition 5.")
    assert values["shown"] == "It is of relative actions, repetition 4, likeliest answers (greedy)."
    fewer = said[(said["set"] == "id") | (said["hand"] == "Alderby, held_out, 7")]
    assert walked.found(fewer, SETS)["found"].startswith("1 to 2 routes")


def test_pictures(said):
    figure = walked.one_route(said, walked.first_look(said, SETS))
    titles = [ax.get_title("left") + ax.get_title() for ax in figure.axes]
    length = len(walked.rails("ood", "Alderby, held_out, 141").places)
    assert titles[2] == f"RL: {length} of {length} points right" and titles[0] == titles[2].replace(
        "RL", "Init"
    )
    cells = [ax.collections[0].get_array() for ax in walked.overview(said, SETS).axes]
    assert len(cells) == 6 and np.unique(cells[5].compressed()).tolist() == [0]
    assert cells[4].count() == cells[5].count()
    plt.close("all")


def test_spots_lie_in_order(said):
    route, places, _ = walked.rails("id", "Alderby, held_out, 141")
    spots = walked.spots(route, places)
    assert spots[0] == route.start and spots[-1] == pytest.approx(route.legs[-1].end)
    turns = [spot for spot, place in zip(spots, places) if place.instruction % 2 == 0]
    assert turns == [route.start, *(leg.end for leg in route.legs[:-1])]
    assert len(set(spots)) == len(spots)


@pytest.mark.parametrize("decoding", ["greedy", "sampled"])
def test_stored_trials_fit_their_routes(decoding):
    """Runs that are in the repository, whatever they are for."""
    folders = {
        arm: config.ROOT / f"data/tuning/results/virl-l/{arm}/100" for arm in ("init", "sft-5", "ppo-5")
    }
    tables = [
        pd.read_parquet(folder / "dialogues.parquet").assign(arm=arm, seed=100)
        for arm, folder in zip(("Init", "SFT", "RL"), folders.values())
    ]
    table = pd.concat(tables, ignore_index=True).query("decoding == @decoding")
    said = walked.judged(table, {"id": "", "calibration": ""})
    assert said["hand"].nunique() == 24
    data = replays.page(said, {"id": "absolute", "calibration": "invented"})
    assert len(json.dumps(data)) < 500_000
    solved = told.solved(said[said["set"] == "id"])
    assert set(solved.columns) == {"Init", "SFT", "RL"} and len(solved) == 12
