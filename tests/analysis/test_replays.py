"""The replay's data are what was said, and nothing in it is markup of a model's."""

import json
import re

from posttrain.analysis import explorer, replays, walked
from posttrain.environments.navigation import observation
from posttrain.verifiers.navigation import FIELDS

from .walks import SETS


def test_the_page_holds_what_was_said(said):
    data = replays.page(said, SETS)
    assert data["seeds"] == [3, 4] and list(data["decodings"]) == ["greedy"]
    one = data["sets"]["ood"]
    assert not one["trained"] and one["other"] == "absolute" and "slightly left" in one["words"]
    for (set_, seed, arm, hand, number), rows in said.groupby(["set", "seed", "arm", "hand", "dialogue"]):
        at = [route["label"] for route in data["sets"][set_]["routes"]].index(hand)
        answers = data["walks"][set_]["greedy"][str(seed)][arm][at][number - 1]
        place = walked.rails(set_, hand).places[number - 1]
        assert data["sets"][set_]["routes"][at]["points"][number - 1][5:] == [
            observation(place),
            place.action,
        ]
        for (text, message, mark), row in zip(answers, rows.itertuples()):
            read = data["answers"][text]
            assert (
                read["text"] if isinstance(read, dict) else json.dumps(dict(zip(FIELDS, read)))
            ) == row.text
            assert data["messages"][message] == row.message and mark == (1 if row.correct else 2 * row.fake)
    assert data["stories"][0]["route"] == 0


def test_the_fragment_holds_its_data_and_no_markup_of_theirs(said):
    data = replays.page(said, SETS)
    text = replays.fragment(data)
    assert "relative, &lt;never&gt; trained" in text and "<never>" not in text
    assert text.count("</script>") == 2, "a model's text closes nothing"
    (inside,) = re.findall(r"<script type='application/json'[^>]*>(.*?)</script>", text)
    assert json.loads(inside) == json.loads(json.dumps(data))
    assert explorer.script("a", {"b": "</script>"}, "c.js").count("</script>") == 2
