"""Street views: what stands where, how cities differ, and how released panoramas are cut."""

import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from posttrain.environments import cities, routes
from posttrain.rendering import streets
from posttrain.rendering.streets import Look, Scene, cut, draw, grid, view

CITY = "Calvero"
EMPTY = Scene(CITY, (), None, 0.0, 3)


def array(image):
    return np.asarray(image, int)


def parts(image, size):
    """The four views of a grid: upper left, upper right, lower left, lower right."""
    pixels, far = array(image), image.width - size
    return pixels[:size, :size], pixels[:size, far:], pixels[far:, :size], pixels[far:, far:]


def test_the_grid_is_front_right_back_left_with_a_black_cross():
    scene = Scene(CITY, (0.0,), "Blue Bakery", 100.0, 5)
    image = draw(scene, 20, 240)
    for part, turn in zip(parts(image, 240), (0, 90, 180, 270)):
        assert (part == array(view(scene, 20 + turn, 240))).all()
    assert image.size == (481, 481) and not array(image)[240].any() and not array(image)[:, 240].any()
    assert draw(scene, 20).size == (80, 80)  # too small for a cross: a multiple of the tower's patches
    assert draw(scene, 20, 1200).size == (2405, 2405)  # the paper's


def test_as_released_the_grid_is_turned():
    scene = Scene(CITY, (0.0, 90.0), "Blue Bakery", 100.0, 5)
    for part, turn in zip(parts(draw(scene, 20, 60, "as_released"), 60), (-135, -45, 45, 135)):
        assert (part == array(view(scene, 20 + turn, 60))).all()
    with pytest.raises(ValueError, match="unknown protocol"):
        draw(scene, 0, 60, "x")


@pytest.mark.parametrize("bearing", routes.BEARINGS)
@pytest.mark.parametrize("heading", [0, 77, 200])
def test_a_landmarks_sign_stands_in_its_bearing(bearing, heading):
    """The pixels that the sign changes lie in the views (and halves) that the bearing names."""
    angle = 45 * routes.BEARINGS.index(bearing)
    scene = EMPTY._replace(landmark="Blue Bakery", towards=heading + angle)
    changed = [
        (a != b).any(2)
        for a, b in zip(parts(draw(scene, heading, 80), 80), parts(draw(EMPTY, heading, 80), 80))
    ]
    seen = {name for name, part in zip(("front", "right", "behind", "left"), changed) if part.any()}
    assert (
        seen
        == {
            "front": {"front"},
            "right front": {"front", "right"},
            "right": {"right"},
            "right behind": {"right", "behind"},
            "behind": {"behind"},
            "left behind": {"behind", "left"},
            "left": {"left"},
            "left front": {"left", "front"},
        }[bearing]
    )


def test_streets_open_the_houses_where_they_run():
    look = Look.of(CITY)
    walls = Scene(CITY, (), None, 0.0, 4)
    open_ = walls._replace(streets=(30.0,))
    assert (
        array(view(open_, 30, 80))[36:40, 38:42] != array(view(walls, 30, 80))[36:40, 38:42]
    ).any()  # one sees to the horizon
    assert (array(view(open_, 30, 80))[-1, 40] == look.road).all() or (
        array(view(open_, 30, 80))[-1, 40] > 200
    ).all()
    assert (array(view(open_, 210, 80)) == array(view(walls, 210, 80))).all()  # and nothing changes behind


def test_streets_that_meet_have_zebra_crossings():
    plain = EMPTY._replace(streets=(0.0, 90.0))
    stripes = [
        (a != b).any(2).mean()
        for a, b in zip(parts(draw(plain, 0, 80), 80), parts(draw(plain._replace(crossing=True), 0, 80), 80))
    ]
    assert (
        stripes[0] > 0.05 and stripes[1] > 0.05 and not stripes[2] and not stripes[3]
    )  # where the streets are, and nowhere else


@pytest.mark.parametrize("size", [40, 300])
def test_a_signs_halves_have_the_colours_of_the_landmarks_two_words(size):
    shown = [
        array(view(EMPTY._replace(landmark=name), 0, size))
        for name in ("Blue Bakery", "Blue Museum", "Amber Bakery", "Inn", "North Star Bakery")
    ]
    above, below = (
        (slice(round(size * 0.32), round(size * 0.46)), slice(size // 2 - 3, size // 2 + 3)),
        (slice(round(size * 0.54), round(size * 0.68)), slice(size // 2 - 3, size // 2 + 3)),
    )

    def same(a, b, part):
        return bool((shown[a][part] == shown[b][part]).all())

    assert same(0, 1, above) and not same(0, 1, below) and not same(0, 2, above) and same(0, 2, below)
    assert same(0, 4, below) and not same(0, 4, above)  # a first word of two words
    assert (
        shown[3][above] != array(view(EMPTY, 0, size))[above]
    ).any()  # a landmark of the released routes: some colours


def test_every_landmark_of_a_city_can_be_told_apart_at_pocket_size():
    """By at least ten pixels that differ by 40 grey levels in some colour."""
    signs = np.stack(
        [
            array(view(EMPTY._replace(landmark=f"{a} {b}"), 0))[8:26, 10:30].ravel()
            for a in cities.FIRST
            for b in cities.SECOND
        ]
    ).astype(np.int16)
    for i, sign in enumerate(signs[1:], 1):
        differ = (np.abs(signs[:i] - sign) > 40).reshape(i, -1, 3).any(2).sum(1)
        assert differ.min() >= 10, (i, int(differ.argmin()))


def test_cities_differ_in_looks_and_a_city_is_the_same_in_every_process():
    grids = [array(draw(Scene(city, (0.0, 180.0), None, 0.0, 1), 0)) for city in cities.SPLITS]
    for i, a in enumerate(grids):
        assert all(np.abs(a - b).mean() > 10 for b in grids[:i])
    code = (
        "from posttrain.environments import cities; from posttrain.rendering import streets; import zlib;"
        "c = cities.city('Calvero');"
        "print(zlib.crc32(streets.draw(c.around(c.points[4, 4]), 10).tobytes()))"
    )
    seen = {
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout
        for seed in "12"
    }
    assert len(seen) == 1


def test_around_a_crossing_and_along_a_street():
    city = cities.city(CITY)
    node = next(node for node in city.points if node in city.landmarks and len(city.streets[node]) > 2)
    here = city.around(city.points[node])
    name, place = city.landmarks[node]
    assert (
        here.crossing
        and len(here.streets) == len(city.streets[node])
        and here.landmark == name
        and here.towards == routes.direction(city.points[node], place)
    )
    way = sorted(city.streets[node])[0]
    there = city.points[node[0] + cities.STEPS[way][0], node[1] + cities.STEPS[way][1]]
    middle = tuple((a + b) / 2 for a, b in zip(city.points[node], there))
    ahead = routes.direction(city.points[node], there)
    along = city.around(middle)
    assert (
        along.landmark is None
        and not along.crossing
        and min(abs(streets._offset(s - ahead)) for s in along.streets) < 0.1
        and len(along.streets) == 2
    )


def panorama(height=180):
    """Equirectangular: red is the direction (0-255 for 0-360 degrees from the left), green the height."""
    columns = np.broadcast_to(np.linspace(0, 255, 2 * height), (height, 2 * height))
    rows = np.broadcast_to(np.linspace(0, 255, height)[:, None], (height, 2 * height))
    return Image.fromarray(np.stack([columns, rows, rows * 0], 2).astype(np.uint8))


@pytest.mark.parametrize("rotation, heading", [(0, 0), (0, 90), (50, 120), (300, 10)])
def test_panoramas_are_cut_in_the_order_of_the_prompt(rotation, heading):
    for part, turn in zip(parts(cut(panorama(), rotation, heading, 101), 101), (0, 90, 180, 270)):
        towards = (heading + turn - rotation + 180) % 360  # degrees from the panorama's left edge
        middle, left = part[50, 50], part[50, 0]
        if 10 < towards < 350:
            assert middle[0] == pytest.approx(towards / 360 * 255, abs=2)
        if towards > 56:
            assert left[0] == pytest.approx((towards - 44.7) / 360 * 255, abs=3)
        assert middle[1] == pytest.approx(127.5, abs=2)
        assert part[0, 50][1] == pytest.approx(
            127.5 - 44.7 / 180 * 255, abs=3
        )  # half the height at 45 degrees up
    released = parts(cut(panorama(), 0, 0, 101, "as_released"), 101)
    assert released[1][50, 50][0] == pytest.approx(135 / 360 * 255, abs=2)


def test_bad_pictures_are_refused():
    with pytest.raises(ValueError, match="twice as wide as high"):
        cut(Image.new("RGB", (100, 100)), 0, 0)
    with pytest.raises(ValueError, match="four square views"):
        grid([Image.new("RGB", (4, 4))] * 3)
    with pytest.raises(ValueError, match="four square views"):
        grid([Image.new("RGB", (4, 5))] * 4)
