"""Made cities: deterministic, sound, and enough of them."""

import os
import subprocess
import sys

import numpy as np
import pytest
from posttrain.environments import cities, routes


def test_the_splits_have_their_sizes_and_share_no_route():
    for city, splits in cities.SPLITS.items():
        found = [route for split in splits for route in cities.routes(city, split)]
        assert [len(cities.routes(city, split)) for split in splits] == list(splits.values()) and len(
            set(found)
        ) == len(found)
        assert all(route.city == city for route in found)
        assert len({cities.reading(route) for route in found}) == len(
            found
        )  # a text could not tell two equal readings apart
    assert len(cities.routes(cities.TRAINING_CITY, "train")) >= 1000 and len(cities.OTHER_CITIES) == 9
    assert (
        sum(len(cities.routes(city, "benchmark")) for city in cities.OTHER_CITIES) == 18
    )  # as many as the paper's benchmark


@pytest.mark.parametrize("city", [cities.TRAINING_CITY, *cities.OTHER_CITIES])
def test_routes_are_walks_along_streets_with_true_headings_and_landmarks(city):
    graph, corners = cities.city(city), {}
    for node, point in graph.points.items():
        corners[point] = node
    for route in cities.routes(city, list(cities.SPLITS[city])[-1])[:40]:
        here, visited = route.start, [corners[route.start]]
        for leg in route.legs:
            a, b = corners[here], corners[leg.end]
            span = max(abs(b[0] - a[0]), abs(b[1] - a[1]))
            step = ((b[0] - a[0]) // span, (b[1] - a[1]) // span)
            way = cities.STEPS.index(step)
            for k in range(span):  # every block on the way has its street
                assert way in graph.streets[a[0] + k * step[0], a[1] + k * step[1]]
                visited.append((a[0] + (k + 1) * step[0], a[1] + (k + 1) * step[1]))
            assert abs((routes.direction(here, leg.end) - leg.heading + 180) % 360 - 180) <= 0.5
            name, place = graph.landmarks.get(b, (None, None))
            assert leg.landmark == name and leg.bearing == (
                routes.bearing(leg.heading, routes.direction(leg.end, place)) if name else None
            )
            here = leg.end
        assert len(set(visited)) == len(visited) and route.legs[-1].landmark and 2 <= len(route.legs) <= 5
        turns = [(b.heading - a.heading + 180) % 360 - 180 for a, b in zip(route.legs, route.legs[1:])]
        assert all(15 < abs(turn) < 175 for turn in turns)  # a leg ends with a turn


def test_landmarks_have_different_names():
    for name in cities.SPLITS:
        names = [landmark for landmark, _ in cities.city(name).landmarks.values()]
        assert len(set(names)) == len(names) > 60


def test_a_city_follows_from_its_name_in_every_process():
    code = "from posttrain.environments.cities import routes; "
    code += "print(hash(0), [repr(r) for r in routes('Dunmarsh', 'benchmark')])"
    other = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONHASHSEED": "5"},
    ).stdout
    assert other.strip() == f"0 {[repr(r) for r in cities.routes('Dunmarsh', 'benchmark')]}"
    assert cities.City("Dunmarsh").points != cities.City("Calvero").points


def test_global_generators_are_left_alone():
    np.random.seed(1)
    before = np.random.get_state()[1].copy()
    cities.City("Somewhere").route(np.random.default_rng(0))
    assert (np.random.get_state()[1] == before).all()


def test_unknown_names():
    with pytest.raises(ValueError, match="unknown city 'Paris'"):
        cities.routes("Paris")
    with pytest.raises(ValueError, match="unknown split 'train' of Calvero: choose one of benchmark, wide"):
        cities.routes("Calvero", "train")
    with pytest.raises(ValueError, match="needs a name"):
        cities.City("")


def test_a_wanted_number_of_legs():
    rng = np.random.default_rng(0)
    assert {len(cities.city("Calvero").route(rng, legs=n).legs) == n for n in (1, 2, 5, 8)} == {True}
    for legs, message in ((0, "at least one leg"), (-1, "at least one leg"), (100, "ask for fewer")):
        with pytest.raises(ValueError, match=message):
            cities.city("Calvero").route(rng, legs=legs)
