"""Panoramas in the place of drawn streets, on a small folder of the released form."""

import json
import pickle

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from PIL import Image
from posttrain.environments import NavigationEnv, cities, routes
from posttrain.environments.panoramas import PanoramaEnv

from . import released

ROUTES = cities.routes("Calvero", "wide")[:3]


@pytest.fixture
def folder(tmp_path):
    """Two routes; each panorama has one level of blue, so that it is known again, and red tells the direction
    (0 to 255 for 0 to 360 degrees)."""
    released.dump(ROUTES, tmp_path / "route_infos.json")
    points = []
    for route in ROUTES:
        before = [route.start, *(leg.end for leg in route.legs)]
        for a, b in zip(before, before[1:]):
            points += [
                (a[0] + share * (b[0] - a[0]), a[1] + share * (b[1] - a[1]))
                for share in np.linspace(0, 1, 9).tolist()
            ]
    points = list(dict.fromkeys(points))
    (tmp_path / "street_views").mkdir()
    for i, _ in enumerate(points):
        rotation = (i * 37) % 360
        columns = ((np.arange(128) + 0.5) / 128 * 360 - 180 + rotation) % 360 / 360 * 255
        pixels = np.stack(
            [np.broadcast_to(columns, (64, 128)), np.zeros((64, 128)), np.full((64, 128), i % 256)], 2
        )
        Image.fromarray(pixels.astype(np.uint8)).save(
            tmp_path / "street_views" / f"p{i}.jpg", quality=100, subsampling=0
        )
        (tmp_path / "street_views" / f"p{i}.metadata.json").write_text(json.dumps({"rotation": rotation}))
    (tmp_path / "gps_pano_mapping.pkl").write_bytes(
        pickle.dumps({point: f"p{i}" for i, point in enumerate(points)})
    )
    return tmp_path, points


def test_gymnasiums_checker_passes(folder):
    check_env(PanoramaEnv(folder[0], pixels=40), skip_render_check=True)


@pytest.mark.parametrize(
    "protocol, turns", [("clean", (0, 90, 180, 270)), ("as_released", (-135, -45, 45, 135))]
)
def test_the_views_are_those_of_the_place_in_the_order_of_the_prompt(folder, protocol, turns):
    path, points = folder
    env, drawn = (
        PanoramaEnv(path, pixels=40, protocol=protocol),
        NavigationEnv(vision=True, routes=ROUTES, pixels=40, protocol=protocol),
    )
    for number in range(len(ROUTES)):
        (observation, info), (other, told) = (
            e.reset(seed=number, options={"route": number}) for e in (env, drawn)
        )
        over = False
        while not over:
            place = info["place"]
            assert (
                place == told["place"]
                and observation["text"] == other["text"]
                and info["messages"] == told["messages"]
            )  # only the picture differs
            grid = observation["image"].astype(int)
            for view, turn in enumerate(turns):
                middle = grid[20 + 40 * (view // 2), 20 + 40 * (view % 2), 0] / 255 * 360
                assert (
                    abs((middle - place.heading - turn + 180) % 360 - 180) < 8
                    or min(middle, 360 - middle) < 8
                )  # the seam of red
            if place.instruction % 2 == 0:  # where one turns: the panorama of that very point
                route = ROUTES[number]
                here = route.start if place.instruction == 0 else route.legs[place.instruction // 2 - 1].end
                assert (
                    abs(
                        grid[20, 20, 2]
                        - min(range(len(points)), key=lambda i: routes.metres(points[i], here))
                    )
                    < 4
                )
            observation, _, over, _, info = env.step(env.expert())
            other, *_, told = drawn.step(drawn.expert())
        assert info["success"]


def test_what_is_missing_or_wrong_is_said_at_the_start(folder, tmp_path):
    path, _ = folder
    views = path / "street_views"
    about = views / "p0.metadata.json"
    values = (
        "NaN",
        "Infinity",
        "-Infinity",
        "1e999",
        "1e7",
        "9" * 400,
        "true",
        '"12"',
        "null",
        "[0]",
        '"north"',
    )
    for content in ("", "[]", "{}", "[" * 9000, *(f'{{"rotation": {value}}}' for value in values)):
        about.write_text(content)
        with pytest.raises(ValueError, match='p0.metadata.json: expected a JSON object with "rotation"'):
            PanoramaEnv(path)
    about.unlink()
    with pytest.raises(
        FileNotFoundError, match="p0.metadata.json: no such file; the map of panoramas names it"
    ):
        PanoramaEnv(path)
    about.write_text('{"rotation": 0}')
    Image.new("RGB", (64, 64)).save(views / "p0.jpg")
    with pytest.raises(
        ValueError, match="p0.jpg: an equirectangular panorama is twice as wide as high, not 64 x 64"
    ):
        PanoramaEnv(path)
    (views / "p0.jpg").unlink()
    with pytest.raises(FileNotFoundError, match="p0.jpg"):
        PanoramaEnv(path)
    (path / "gps_pano_mapping.pkl").write_bytes(pickle.dumps({(0.0, 0.0): "p0"}))
    with pytest.raises(routes.RouteError, match="no panorama within 60 metres of .*; the nearest is"):
        PanoramaEnv(path)
    (path / "route_infos.json").unlink()
    with pytest.raises(routes.RouteError, match="route_infos.json: no such file"):
        PanoramaEnv(path)


@pytest.mark.parametrize(
    "name", ["../street_views/p0", "/p0", "..\\p0", "a/p0", "p0\0", "p0\ud800", "", "\n"]
)
def test_a_panorama_id_that_leaves_the_folder_is_named_and_refused(folder, name):
    """Each id, not only those that a route needs."""
    path, points = folder
    ids = {point: f"p{i}" for i, point in enumerate(points)}
    (path / "gps_pano_mapping.pkl").write_bytes(pickle.dumps({**ids, (0.0, 0.0): name}))
    with pytest.raises(routes.RouteError) as error:
        PanoramaEnv(path)
    assert repr(name) in str(error.value) and "\n" not in str(error.value)
