"""City routes: what a route is, and the released route files.

Paper: section 3 and appendix B.1 (V-IRL). A route is a chain of straight legs; each ends at an intersection
or at the destination, perhaps beside a landmark. `read` loads files of the released schema
(`route_infos.json`); every error names the file, the route and the field.

Trap: `milestone_info` is one *string* holding a brace block for each leg, and no valid JSON (trailing
commas). It is parsed, never evaluated. The released map of panoramas is a pickle: `read_panoramas` refuses
whatever is not a plain value.

    routes = read("route_infos.json")
"""

from __future__ import annotations

import io
import json
import math
import pickle
import re
from pathlib import Path
from typing import Any, NamedTuple

from posttrain.verifiers.navigation import COMPASS

# Clockwise, 45 degrees each.
BEARINGS = (*("front", "right front", "right", "right behind", "behind", "left behind", "left"), "left front")
MAX_BYTES = 64_000_000
MAX_LEGS = 64
DESTINATION = "The destination "  # what the last leg's landmark phrase begins with
NEAR = 1.0  # metres: two turning points closer than this are one place
EARTH = 6_371_000.0  # metres

Point = tuple[float, float]  # latitude, longitude in degrees


class RouteError(ValueError):
    """A route file that cannot be used; the message names the file, the route and the field."""


class Leg(NamedTuple):
    """A straight walk to `end`. heading: degrees clockwise from north; bearing: where the landmark lies at
    its end."""

    heading: int
    end: Point
    landmark: str | None = None
    bearing: str | None = None


class Route(NamedTuple):
    """heading: where one looks at the start; None where the episode draws it (0 in the released files)."""

    start: Point
    legs: tuple[Leg, ...]
    heading: int | None = None
    city: str = ""


def compass(heading: float) -> str:
    """The nearest of the eight compass words."""
    return COMPASS[round(heading / 45) % 8]


def bearing(heading: float, towards: float) -> str:
    """Where something in direction `towards` lies for somebody who looks in direction `heading` (degrees)."""
    return BEARINGS[round((towards - heading) / 45) % 8]


def metres(a: Point, b: Point) -> float:
    """Distance of two near points."""
    north = math.radians(b[0] - a[0])
    east = math.radians(b[1] - a[1]) * math.cos(math.radians(a[0]))
    return EARTH * math.hypot(north, east)


def direction(a: Point, b: Point) -> float:
    """Degrees clockwise from north, 0 to 360, from a to b (near points)."""
    north, east = b[0] - a[0], (b[1] - a[1]) * math.cos(math.radians(a[0]))
    return math.degrees(math.atan2(east, north)) % 360


def phrase(leg: Leg) -> str:
    """What one sees at a leg's end."""
    return f"{leg.landmark} is on your {leg.bearing}" if leg.landmark else "No landmark nearby"


# --- reading ------------------------------------------------------------------------------------------------


def read(path: str | Path, city: str = "") -> list[Route]:
    """Routes of a released file: [[route, …], count], a list of routes, or one route.

    RouteError says what is wrong and where.
    """
    path = Path(path)
    try:
        data = json.loads(_bytes(path, "route files", "split it"))
    except RecursionError:
        raise RouteError(f"{path}: nested too deeply for a route file") from None
    except RouteError:
        raise
    except ValueError as error:
        raise RouteError(f"{path}: no JSON text: {error}") from None
    if isinstance(data, dict):
        data = [data]
    elif isinstance(data, list) and len(data) == 2 and isinstance(data[0], list):
        data = data[0]
    if not isinstance(data, list) or not data:
        raise RouteError(
            f"{path}: expected a list of routes, [[route, …], count] or one route, not {_kind(data)}"
        )
    return [_route(record, f"{path}: route {index}", city) for index, record in enumerate(data)]


def _bytes(path: Path, kind: str, remedy: str = "") -> bytes:
    try:
        if (size := path.stat().st_size) > MAX_BYTES:
            limit = f"{kind} are read up to {MAX_BYTES:,}{remedy and ': '}{remedy}"
            raise RouteError(f"{path}: {size:,} bytes; {limit}")
        return path.read_bytes()
    except FileNotFoundError:
        raise RouteError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise RouteError(f"{path}: is a folder, not a file") from None


def _route(record: Any, where: str, city: str) -> Route:
    results = _field(record, where, "route_results", dict)
    points = [
        _point(point, f"{where}, route_results.geocode_list[{i}]")
        for i, point in enumerate(_field(results, f"{where}, route_results", "geocode_list", list))
    ]
    place = _field(record, where, "start_place", dict)
    start = place.get("relocated_geocode") or place.get("geocode")
    start = _point(start, f"{where}, start_place.relocated_geocode")
    heading = record.get("init_heading", 0)
    if not _is_number(heading) or not 0 <= heading <= 360:
        raise RouteError(f"{where}, init_heading: expected degrees from 0 to 360, not {_kind(heading)}")
    milestones = f"{where}, milestone_info"
    blocks = _blocks(_field(record, where, "milestone_info", str), milestones)
    if not blocks:
        raise RouteError(f"{milestones}: holds no leg (a block in braces for each)")
    if len(blocks) != len(points):
        raise RouteError(
            f"{milestones}: {len(blocks)} legs, but route_results.geocode_list has {len(points)} points"
        )
    if len(blocks) > MAX_LEGS:
        raise RouteError(f"{milestones}: {len(blocks)} legs; routes of up to {MAX_LEGS} are read")
    legs = [
        _leg(block, end, i == len(points), f"{milestones}, leg {i}")
        for i, (block, end) in enumerate(zip(blocks, points), 1)
    ]
    _check_path([start, *points], where)
    region = place.get("region")
    city = city or (region if isinstance(region, str) else "")
    return Route(start, tuple(legs), None if heading == 0 else round(heading) % 360, city)


def _leg(block: dict[str, str], end: Point, last: bool, where: str) -> Leg:
    name = f"{where}, to_next_intersection_heading"
    text = _field(block, where, "to_next_intersection_heading", str)
    match = re.fullmatch(r"\s*(\d{1,3})\s*\(([a-z]+)\)\s*", text)
    if not match:
        raise RouteError(f'{name}: expected a text like "259 (west)", not {text!r}')
    degrees, word = int(match[1]), match[2]
    if word not in COMPASS:
        raise RouteError(f"{name}: unknown heading {word!r}: use {', '.join(COMPASS)}")
    if degrees > 360 or abs((degrees - 45 * COMPASS.index(word) + 180) % 360 - 180) > 45:
        raise RouteError(f"{name}: {degrees} degrees is not {word}")
    seen = _field(block, where, "landmarks", str).strip()
    if re.fullmatch(r"no landmarks? nearby\.?", seen, re.IGNORECASE):
        return Leg(degrees % 360, end)
    match = re.fullmatch(r"(.+) is on your ([a-z ]+)", seen.removeprefix(DESTINATION) if last else seen)
    if not match or match[2] not in BEARINGS:
        expected = f'"<name> is on your <{"|".join(BEARINGS)}>" or "No landmark nearby"'
        raise RouteError(f"{where}, landmarks: expected {expected}, not {seen!r}")
    return Leg(degrees % 360, end, match[1], match[2])


def _blocks(text: str, where: str) -> list[dict[str, str]]:
    if text.count("{") != text.count("}"):
        raise RouteError(f"{where}: braces do not match")
    blocks = []
    for number, body in enumerate(re.findall(r"\{([^{}]*)\}", text), 1):
        try:
            blocks.append(json.loads("{" + body.strip().rstrip(",") + "}"))
        except (ValueError, RecursionError) as error:
            raise RouteError(f'{where}, leg {number}: no list of "key": "value" pairs: {error}') from None
    return blocks


def _check_path(points: list[Point], where: str) -> None:
    for i, point in enumerate(points):
        for j in range(i):
            if metres(point, points[j]) < NEAR:
                name = f"{where}, route_results.geocode_list[{i - 1}]"
                if j == i - 1:
                    raise RouteError(f"{name}: leg {i} is empty: it ends where it starts")
                raise RouteError(f"{name}: the route comes back to point {j}: routes have no cycles")


def _point(value: Any, where: str) -> Point:
    if not (isinstance(value, (list, tuple)) and len(value) == 2 and all(_is_number(v) for v in value)):
        raise RouteError(f"{where}: expected [latitude, longitude], not {_kind(value)}")
    if not (-90 <= value[0] <= 90 and -180 <= value[1] <= 180):
        raise RouteError(f"{where}: {value} is no place on earth (latitude -90 to 90, longitude -180 to 180)")
    return float(value[0]), float(value[1])


def _field(record: Any, where: str, name: str, kind: type) -> Any:
    if not isinstance(record, dict):
        raise RouteError(f"{where}: expected an object with {name}, not {_kind(record)}")
    if name not in record:
        raise RouteError(f"{where}: {name} is missing; it has {', '.join(map(str, record)) or 'nothing'}")
    if not isinstance(record[name], kind):
        raise RouteError(f"{where}, {name}: expected {kind.__name__}, not {_kind(record[name])}")
    return record[name]


def _is_number(value: Any) -> bool:  # and not NaN: every comparison with it is false
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e9


def _kind(value: Any) -> str:
    """What `value` is, briefly; a container is not printed: it may be endless."""
    if value is None:
        return "nothing"
    if isinstance(value, (str, bool, float)):
        return f"{type(value).__name__} {value[:40] if isinstance(value, str) else value!r}"
    return f"a number, {value}" if isinstance(value, int) and abs(value) < 10**9 else type(value).__name__


# --- the released map of panoramas --------------------------------------------------------------------------


class _Plain(pickle.Unpickler):
    """Reads plain values only: a pickle that names any class or function is refused before it is called."""

    def find_class(self, module: str, name: str):
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")

    def persistent_load(self, pid: Any):
        raise pickle.UnpicklingError("it refers to something outside")


def read_panoramas(path: str | Path) -> dict[Point, str]:
    """`gps_pano_mapping.pkl`: (latitude, longitude) -> panorama id; RouteError for all but plain values."""
    path = Path(path)
    content = _bytes(path, "maps")
    try:
        data = _Plain(io.BytesIO(content)).load()
    except Exception as error:  # a damaged pickle may raise anything
        raise RouteError(
            f"{path}: not a pickle of plain values ({error}); nothing of it was executed"
        ) from None
    if not isinstance(data, dict) or not data:
        raise RouteError(
            f"{path}: expected a map from (latitude, longitude) to panorama ids, not {_kind(data)}"
        )
    for name in data.values():
        if not isinstance(name, str):
            raise RouteError(f"{path}: expected panorama ids (text), not {_kind(name)}")
    return {_point(key, f"{path}, a key"): name for key, name in data.items()}
