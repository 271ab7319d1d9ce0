"""Route files of the released schema: what is read, what is written, and what is refused with file and field
named."""

import json
import os
import pickle

import pytest
from posttrain.environments import cities, routes
from posttrain.environments.routes import Leg, Route, RouteError

from . import released

A, B, C = (40.0, -74.0), (40.001, -74.0), (40.001, -73.999)
ROUTE = Route(A, (Leg(0, B, "Blue Bakery", "right"), Leg(90, C, "Elm Hotel", "left behind")), 270, "Here")
# The shape of the routes that the V-IRL repository ships, filled with our own words.
RELEASED = {
    "start_place": {"name": "x", "geocode": [40.5, -73.9], "relocated_geocode": list(A), "region": "Here"},
    "dest_place": {"name": "Elm Hotel", "geocode": list(C)},
    "route_results": {"geocode_list": [list(B), list(C)], "polyline": ["a", "b"], "landmark_list": [None]},
    "init_heading": 0,
    "instruction": "prose",
    "milestone_info": '\n{\n"intersection_idx": "1",\n"landmarks": "No landmark nearby",\n'
    '"distance": "111 meters",\n"human_heading": "0",\n'
    '"to_next_intersection_heading": "1 (north)",\n}\n\n{\n"intersection_idx": "2",\n'
    '"landmarks": "The destination Elm Hotel is on your left",\n'
    '"distance": "85 meters",\n"human_heading": "1",\n"to_next_intersection_heading": "90 (east)",\n}\n',
}


def write(folder, data, name="route_infos.json"):
    path = folder / name
    path.write_text(data if isinstance(data, str) else json.dumps(data))
    return path


@pytest.mark.parametrize("wrap", [lambda r: [[r, r], 2], lambda r: [r], lambda r: r])
def test_released_files_are_read(tmp_path, wrap):
    found = routes.read(write(tmp_path, wrap(RELEASED)))
    assert found[-1] == Route(A, (Leg(1, B), Leg(90, C, "Elm Hotel", "left")), None, "Here")


def test_what_is_written_is_read_back(tmp_path):
    released.dump([ROUTE, *cities.routes("Calvero", "wide")], tmp_path / "r.json")
    assert routes.read(tmp_path / "r.json") == [ROUTE, *cities.routes("Calvero", "wide")]
    data, count = json.loads((tmp_path / "r.json").read_text())
    assert count == 49 and set(data[0]) <= set(RELEASED)


def test_headings_and_odd_names_survive(tmp_path):
    path = tmp_path / "r.json"
    for heading, expected in ((None, None), (0, 0), (1, 1), (359, 359)):
        released.dump([ROUTE._replace(heading=heading)], path)
        assert routes.read(path)[0].heading == expected
    assert routes.read(write(tmp_path, changed(init_heading=359.7)))[0].heading == 0
    middle = ROUTE._replace(
        legs=(
            ROUTE.legs[0]._replace(landmark="The destination Cafe"),
            ROUTE.legs[1]._replace(landmark='Joe "B" Bar'),
        )
    )
    released.dump([middle], path)
    assert routes.read(path) == [middle]
    assert (
        routes.read(write(tmp_path, changed(start_place={"relocated_geocode": None, "geocode": list(A)})))[
            0
        ].start
        == A
    )


def changed(**fields):
    """RELEASED with fields replaced; a name with two underscores goes one level deeper, ... deletes."""
    data = json.loads(json.dumps(RELEASED))
    for name, value in fields.items():
        place, *rest = name.split("__")
        holder, key = (data[place], rest[0]) if rest else (data, place)
        if value is ...:
            del holder[key]
        else:
            holder[key] = value
    return data


def legs(old, new):
    assert old in RELEASED["milestone_info"]
    return changed(milestone_info=RELEASED["milestone_info"].replace(old, new))


MALFORMED = {
    "no json": ("{", "no JSON"),
    "not utf-8": (None, "no JSON"),
    "nested too deeply": ("[" * 200_000, "nested too deeply"),
    "empty list": ([], "expected a list of routes"),
    "a number": (3, "expected a list of routes"),
    "a route is a text": (["x"], "route 0: expected an object"),
    "no milestones": (changed(milestone_info=...), "route 0: milestone_info is missing"),
    "no results": (changed(route_results=...), "route 0: route_results is missing"),
    "no points": (changed(route_results__geocode_list=...), "route_results: geocode_list is missing"),
    "no start": (changed(start_place=...), "start_place is missing"),
    "start without place": (changed(start_place={"name": "x"}), "start_place.relocated_geocode: expected"),
    "milestones are a list": (changed(milestone_info=[]), "milestone_info: expected str"),
    "points are a text": (changed(route_results__geocode_list="x"), "geocode_list: expected list"),
    "a point of three": (
        changed(route_results__geocode_list=[[1, 2, 3], list(C)]),
        r"geocode_list\[0\]: expected \[latitude",
    ),
    "a point is true": (
        changed(route_results__geocode_list=[[True, 2], list(C)]),
        r"geocode_list\[0\]: expected \[latitude",
    ),
    "nowhere on earth": (changed(route_results__geocode_list=[[140, 2], list(C)]), "no place on earth"),
    "not a number": (
        json.dumps(changed(init_heading=0)).replace('"init_heading": 0', '"init_heading": NaN'),
        "init_heading: expected degrees",
    ),
    "heading out of range": (changed(init_heading=400), "init_heading: expected degrees"),
    "heading beyond numbers": (
        json.dumps(changed(init_heading=0)).replace('"init_heading": 0', '"init_heading": 1' + "0" * 400),
        "init_heading: expected degrees",
    ),
    "place beyond numbers": (
        json.dumps(changed()).replace('"geocode_list": [[40.001', '"geocode_list": [[1' + "0" * 400),
        "expected \\[latitude",
    ),
    "deep milestones": (changed(milestone_info='{"a": ' + "[" * 100_000 + "}"), "leg 1: no list of"),
    "a middle leg's destination": (
        legs("No landmark nearby", "The destination is near"),
        "leg 1, landmarks: expected",
    ),
    "unknown heading": (
        legs("(north)", "(upwards)"),
        "leg 1, to_next_intersection_heading: unknown heading 'upwards'",
    ),
    "heading without degrees": (
        legs("1 (north)", "north"),
        'leg 1, to_next_intersection_heading: expected a text like "259',
    ),
    "degrees against the word": (
        legs("90 (east)", "270 (east)"),
        "leg 2, to_next_intersection_heading: 270 degrees is not east",
    ),
    "leg without heading": (
        legs('"to_next_intersection_heading": "90 (east)",\n', ""),
        "leg 2: to_next_intersection_heading is missing",
    ),
    "unknown bearing": (legs("on your left", "on your nose"), "leg 2, landmarks: expected"),
    "braces": (legs("}\n\n{", "\n\n{"), "braces do not match"),
    "broken pair": (legs('"intersection_idx": "2"', '"intersection_idx" "2"'), "leg 2: no list of"),
    "no legs": (changed(milestone_info="nothing"), "holds no leg"),
    "legs and points differ": (
        changed(route_results__geocode_list=[list(C)]),
        "2 legs, but route_results.geocode_list has 1 points",
    ),
    "empty leg": (
        changed(route_results__geocode_list=[list(B), list(B)]),
        r"geocode_list\[1\]: leg 2 is empty",
    ),
    "cycle": (
        changed(route_results__geocode_list=[list(B), list(A)]),
        r"geocode_list\[1\]: the route comes back to point 0",
    ),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_files_are_refused_with_file_and_field(tmp_path, case):
    data, message = MALFORMED[case]
    path = write(tmp_path, "" if data is None else data)
    if data is None:
        path.write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(RouteError, match=message) as error:
        routes.read(path)
    assert str(error.value).startswith(str(path))


def test_missing_folders_and_huge_files(tmp_path, monkeypatch):
    with pytest.raises(RouteError, match="no such file"):
        routes.read(tmp_path / "none.json")
    with pytest.raises(RouteError, match="folder"):
        routes.read(tmp_path)
    path = tmp_path / "huge.json"
    with open(path, "wb") as file:
        os.truncate(file.fileno(), routes.MAX_BYTES + 1)  # sparse: takes no space
    with pytest.raises(RouteError, match="split it"):
        routes.read(path)
    many = changed(
        route_results__geocode_list=[[40 + i / 1000, -74] for i in range(1, 70)],
        milestone_info=RELEASED["milestone_info"].partition("}\n")[0] * 1
        + "}\n"
        + (RELEASED["milestone_info"].partition("}\n")[0] + "}\n") * 68,
    )
    with pytest.raises(RouteError, match="69 legs; routes of up to"):
        routes.read(write(tmp_path, many))


class Hostile:
    def __reduce__(self):
        return os.system, ("touch hacked",)


def bomb():
    """A small pickle of nested, shared lists: printed, it would fill the memory."""
    value = []
    for _ in range(60):
        value = [value, value]
    return pickle.dumps(value)


HOSTILE = {
    "a bomb": bomb(),
    "a bomb as id": pickle.dumps({(1.0, 2.0): pickle.loads(bomb())}),
    "a function": pickle.dumps({(1.0, 2.0): Hostile()}),
    "an object": pickle.dumps({(1.0, 2.0): ROUTE}),
    "damaged": pickle.dumps({(1.0, 2.0): "a"})[:-4],
    "no pickle": b"hello",
    "empty": b"",
    "a list": pickle.dumps([1]),
    "no ids": pickle.dumps({(1.0, 2.0): 3}),
    "no places": pickle.dumps({"x": "pano"}),
    "nowhere": pickle.dumps({(100.0, 2.0): "pano"}),
    "outside": b"\x80\x02Pme\n.",
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_pickles_are_refused_and_nothing_runs(tmp_path, case, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "map.pkl"
    path.write_bytes(HOSTILE[case])
    with pytest.raises(RouteError, match="map.pkl"):
        routes.read_panoramas(path)
    assert not (tmp_path / "hacked").exists()


def test_the_map_of_panoramas(tmp_path):
    path = tmp_path / "map.pkl"
    path.write_bytes(pickle.dumps({A: "p1", B: "p2"}))
    assert routes.read_panoramas(path) == {A: "p1", B: "p2"}
    with pytest.raises(RouteError, match="no such file"):
        routes.read_panoramas(tmp_path / "none.pkl")


@pytest.mark.parametrize(
    "heading, towards, word",
    [
        (0, 0, "front"),
        (350, 10, "front"),
        (0, 90, "right"),
        (90, 0, "left"),
        (10, 190, "behind"),
        (0, 45, "right front"),
        (0, 135, "right behind"),
        (0, 225, "left behind"),
        (0, 315, "left front"),
        (0, 338, "front"),
        (0, 337, "left front"),
    ],
)
def test_bearings(heading, towards, word):
    assert routes.bearing(heading, towards) == word


def test_directions_and_distances():
    assert (
        routes.direction(A, B) == 0
        and round(routes.direction(B, C)) == 90
        and round(routes.direction(C, A)) == 217
    )
    assert routes.metres(A, B) == pytest.approx(111.2, abs=0.1) and routes.metres(B, C) == pytest.approx(
        85.2, abs=0.1
    )
    assert [routes.compass(h) for h in (0, 359, 22, 23, 90, 337, 338)] == [
        "north",
        "north",
        "north",
        "northeast",
        "east",
        "northwest",
        "north",
    ]
