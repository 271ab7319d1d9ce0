"""Navigation with a reader's own panoramas in the place of drawn streets: the released data of V-IRL-VL, or a
folder of the same form.

Paper: appendix B and Figure 13; the released routes come with about six thousand panoramas of a map service,
which are not ours to give. The folder holds, as released::

    route_infos.json                        the routes (`posttrain.environments.routes.read`)
    gps_pano_mapping.pkl                    (latitude, longitude) -> panorama id
    street_views/<id>.jpg                   equirectangular, twice as wide as high
    street_views/<id>.metadata.json         {"rotation": where the picture's middle looks, degrees clockwise}

Where routes begin and turn is checked at the start, what lies between when it is walked; nothing is ever
fetched from a network. Left out on purpose: walking off the rails.

    env = PanoramaEnv("VLN_mini/NewYork", actions="relative", pixels=280)
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from PIL import Image

from posttrain.environments import routes
from posttrain.environments.navigation import NavigationEnv
from posttrain.environments.routes import Point, RouteError
from posttrain.rendering import Picture, streets
from posttrain.verifiers.navigation import Place

NEAR = 60.0  # metres: a panorama farther away shows another place


def cut(path: Path, rotation: float, heading: float, size: int, protocol: str) -> Image.Image:
    """`rendering.streets.cut` of a file."""
    with Image.open(path) as panorama:
        return streets.cut(panorama, rotation, heading, size, protocol)


class PanoramaEnv(NavigationEnv):
    """`NavigationEnv` with `vision`, its pictures cut from the panorama nearest to where one stands.

    `folder` as above; `routes` instead of its route_infos.json if given; `pixels`: side of a view; the other
    settings are `NavigationEnv`'s. Also from a step: RouteError if a point of a route has no panorama within
    NEAR metres, FileNotFoundError or ValueError if a picture or its metadata is missing or wrong.
    """

    def __init__(self, folder: str | Path, pixels: int = 300, **settings: Any):
        self.folder = Path(folder)
        ways = settings.pop("routes", None) or routes.read(self.folder / "route_infos.json")
        super().__init__(routes=ways, pixels=pixels, **settings)
        self._ids = routes.read_panoramas(self.folder / "gps_pano_mapping.pkl")
        for name in self._ids.values():
            if not name.isprintable() or not name or "/" in name or "\\" in name:
                where = self.folder / "gps_pano_mapping.pkl"
                raise RouteError(f"{where}: the panorama id {name[:80]!r} names no file in street_views")
        self._points = np.array(list(self._ids))
        turning = {
            point for route in self.routes for point in (route.start, *(leg.end for leg in route.legs))
        }
        self._panoramas = {
            name: self._file(name) for name in sorted({self._nearest(point) for point in turning})
        }
        self.vision = True
        side = streets.side(pixels)
        self.observation_space = gymnasium.spaces.Dict(
            {"text": self.observation_space, "image": gymnasium.spaces.Box(0, 255, (side, side, 3), np.uint8)}
        )

    def _nearest(self, point: Point) -> str:
        north, east = (self._points - point).T
        near = int(np.argmin(np.hypot(north, east * np.cos(np.radians(point[0])))))
        there = tuple(self._points[near].tolist())
        if (far := routes.metres(point, there)) > NEAR:
            raise RouteError(
                f"{self.folder / 'gps_pano_mapping.pkl'}: no panorama within {NEAR:.0f} metres of "
                f"{point[0]:.6f}, {point[1]:.6f}; the nearest is {far:.0f} metres away"
            )
        return self._ids[there]

    def _file(self, name: str) -> tuple[Path, float]:
        """A panorama's picture and the direction of its middle."""
        picture, about = (self.folder / "street_views" / f"{name}{end}" for end in (".jpg", ".metadata.json"))
        for path in (picture, about):
            if not path.is_file():
                raise FileNotFoundError(f"{path}: no such file; the map of panoramas names it")
        try:
            rotation = json.loads(about.read_text())["rotation"]
            if type(rotation) not in (int, float) or not abs(rotation) < 1e6:  # NaN neither
                raise ValueError
        except (ValueError, KeyError, TypeError, RecursionError):
            raise ValueError(
                f'{about}: expected a JSON object with "rotation", a number of degrees'
            ) from None
        with Image.open(picture) as image:
            if image.width != 2 * image.height:
                raise ValueError(
                    f"{picture}: an equirectangular panorama is twice as wide as high, "
                    f"not {image.width} x {image.height}"
                )
        return picture, float(rotation)

    def _look(self, place: Place) -> Picture:
        name = self._nearest(self.standpoint(place))
        if name not in self._panoramas:  # between two crossings
            self._panoramas[name] = self._file(name)
        return Picture(cut, (*self._panoramas[name], place.heading, self.pixels, self.verifier.protocol))
