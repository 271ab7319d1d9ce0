"""City routes: what a route is, and the released route files.

Paper: section 3 and appendix B.1 (V-IRL). A route is a chain of straight legs; each ends at an intersection or at the destination,
perhaps beside a landmark. `read` loads files of the released schema (`route_infos.json`) and `dump` writes it, so that made cities
(`posttrain.environments.cities`) and the authors' data go the same way. Every error names the file, the route and the field.

Trap: `milestone_info` is one *string* holding a brace block for each leg, and no valid JSON (trailing commas). It is parsed,
never evaluated. The released map of panoramas is a pickle: `read_panoramas` refuses whatever is not a plain value.

    routes = read("route_infos.json"); dump(routes, "copy.json")
"""

from __future__ import annotations

import io
import json
import math
import pickle
import re
from pathlib import Path
from typing import Any, Iterable, NamedTuple

COMPASS = ("north", "northeast", "east", "southeast", "south", "southwest", "west", "northwest")
BEARINGS = (
    "front",
    "right front",
    "right",
    "right behind",
    "behind",
    "left behind",
    "left",
    "left front",
)  # clockwise, 45 degrees each
MAX_BYTES = 64_000_000
MAX_LEGS = 64
DESTINATION = "The destination "  # what the last leg's landmark phrase begins with
NEAR = 1.0  # metres: two turning points closer than this are one place
EARTH = 6_371_000.0  # metres

Point = tuple[float, float]  # latitude, longitude in degrees


class RouteError(ValueError):
    """A route file that cannot be used; the message names the file, the route and the field."""


class Leg(NamedTuple):
    """A straight walk. heading: degrees clockwise from north; landmark: its name, or None; bearing: where it lies at the leg's end."""

    heading: int
    end: Point
    landmark: str | None = None
    bearing: str | None = None


class Route(NamedTuple):
    """heading: where one looks at the start, or None where the episode draws it (the released files store 0 for that)."""

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


# --- reading -----------------------------------------------------------------------------------------------------


def read(path: str | Path, city: str = "") -> list[Route]:
    """Routes of a released file: [[route, …], count], a list of routes, or one route. RouteError says what is wrong and where."""
    path = Path(path)
    data = _json(path)
    if isinstance(data, dict):
        data = [data]
    elif isinstance(data, list) and len(data) == 2 and isinstance(data[0], list):
        data = data[0]
    if not isinstance(data, list) or not data:
        raise RouteError(
            f"{path}: expected a list of routes, [[route, …], count] or one route, not {_kind(data)}"
        )
    return [_route(record, f"{path}: route {index}", city) for index, record in enumerate(data)]


def _json(path: Path) -> Any:
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise RouteError(f"{path}: {size:,} bytes; route files are read up to {MAX_BYTES:,}: split it")
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        raise RouteError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise RouteError(f"{path}: is a folder, not a route file") from None
    except RecursionError:
        raise RouteError(f"{path}: nested too deeply for a route file") from None
    except ValueError as error:
        if isinstance(error, RouteError):
            raise
        raise RouteError(f"{path}: no JSON text: {error}") from None


def _route(record: Any, where: str, city: str) -> Route:
    places = _field(record, where, "route_results", dict)
    points = [
        _point(p, f"{where}, route_results.geocode_list[{i}]")
        for i, p in enumerate(_field(places, f"{where}, route_results", "geocode_list", list))
    ]
    start_place = _field(record, where, "start_place", dict)
    start = _point(
        start_place.get("relocated_geocode") or start_place.get("geocode"),
        f"{where}, start_place.relocated_geocode",
    )
    first = record.get("init_heading", 0)
    if not _is_number(first) or not 0 <= first <= 360:
        raise RouteError(f"{where}, init_heading: expected degrees from 0 to 360, not {_kind(first)}")
    blocks = _blocks(_field(record, where, "milestone_info", str), f"{where}, milestone_info")
    if not blocks:
        raise RouteError(f"{where}, milestone_info: holds no leg (a block in braces for each)")
    if len(blocks) != len(points):
        raise RouteError(
            f"{where}, milestone_info: {len(blocks)} legs, but route_results.geocode_list has {len(points)} points"
        )
    if len(blocks) > MAX_LEGS:
        raise RouteError(f"{where}, milestone_info: {len(blocks)} legs; routes of up to {MAX_LEGS} are read")
    legs = [
        _leg(block, point, i == len(points) - 1, f"{where}, milestone_info, leg {i + 1}")
        for i, (block, point) in enumerate(zip(blocks, points))
    ]
    _check_path([start, *points], where)
    return Route(
        start,
        tuple(legs),
        None if first == 0 else round(first) % 360,
        city or str(_first(start_place, "region", "")),
    )


def _leg(block: dict[str, str], end: Point, last: bool, where: str) -> Leg:
    text = _field(block, where, "to_next_intersection_heading", str)
    match = re.fullmatch(r"\s*(\d{1,3})\s*\(([a-z]+)\)\s*", text)
    if not match:
        raise RouteError(
            f'{where}, to_next_intersection_heading: expected a text like "259 (west)", not {text!r}'
        )
    degrees, word = int(match[1]), match[2]
    if word not in COMPASS:
        raise RouteError(
            f"{where}, to_next_intersection_heading: unknown heading {word!r}: use {', '.join(COMPASS)}"
        )
    if degrees > 360 or abs((degrees - 45 * COMPASS.index(word) + 180) % 360 - 180) > 45:
        raise RouteError(f"{where}, to_next_intersection_heading: {degrees} degrees is not {word}")
    phrase = _field(block, where, "landmarks", str).strip()
    if re.fullmatch(r"no landmarks? nearby\.?", phrase, re.IGNORECASE):
        return Leg(degrees % 360, end)
    match = re.fullmatch(r"(.+) is on your ([a-z ]+)", phrase.removeprefix(DESTINATION) if last else phrase)
    if not match or match[2] not in BEARINGS:
        raise RouteError(
            f'{where}, landmarks: expected "<name> is on your <{"|".join(BEARINGS)}>" or "No landmark nearby", not {phrase!r}'
        )
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
                raise RouteError(
                    f"{name}: leg {i} is empty: it ends where it starts"
                    if j == i - 1
                    else f"{name}: the route comes back to point {j}: routes have no cycles"
                )


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


def _first(record: dict, name: str, default: Any) -> Any:
    return record[name] if isinstance(record.get(name), str) else default


def _is_number(value: Any) -> bool:
    return (
        isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e9
    )  # false for NaN too


def _kind(value: Any) -> str:
    """What `value` is, briefly; a container is not printed: it may be endless."""
    if isinstance(value, (str, bool, float)):
        return f"{type(value).__name__} {value[:40] if isinstance(value, str) else value!r}"
    return (
        "nothing"
        if value is None
        else f"a number, {value}"
        if isinstance(value, int) and abs(value) < 10**9
        else type(value).__name__
    )


# --- writing -----------------------------------------------------------------------------------------------------


def phrase(leg: Leg) -> str:
    """What one sees at a leg's end."""
    return f"{leg.landmark} is on your {leg.bearing}" if leg.landmark else "No landmark nearby"


def dump(routes: Iterable[Route], path: str | Path) -> None:
    """Write `routes` in the released schema: what the study reads, and none of the fields that only Google fills."""
    routes = list(routes)
    Path(path).write_text(json.dumps([[record(route) for route in routes], len(routes)], indent=0) + "\n")


def record(route: Route) -> dict[str, Any]:
    """A route in the released schema."""
    looking, blocks = (
        0 if route.heading is None else route.heading or 360,
        [],
    )  # in the schema 0 means: draw it
    first = looking
    before = [route.start, *(leg.end for leg in route.legs)]
    for i, leg in enumerate(route.legs):
        if leg.landmark and not re.fullmatch(r"[^{}\n]+", leg.landmark):
            raise RouteError(
                f"the schema cannot hold the landmark {leg.landmark!r}: no braces and no line breaks"
            )
        seen = (DESTINATION if i == len(route.legs) - 1 and leg.landmark else "") + phrase(leg)
        pairs = {
            "intersection_idx": i + 1,
            "landmarks": seen,
            "distance": f"{round(metres(before[i], leg.end))} meters",
            "human_heading": looking,
            "to_next_intersection_heading": f"{leg.heading} ({compass(leg.heading)})",
        }
        blocks.append(
            "{\n" + "".join(f'"{key}": {json.dumps(str(value))},\n' for key, value in pairs.items()) + "}\n"
        )
        looking = leg.heading
    landmarks = [
        {
            "name": leg.landmark,
            "geocode": list(leg.end),
            "spatial_relation": leg.bearing,
            "expression": phrase(leg),
        }
        if leg.landmark
        else None
        for leg in route.legs
    ]
    return {
        "start_place": {
            "name": "start",
            "geocode": list(route.start),
            "relocated_geocode": list(route.start),
            "region": route.city,
        },
        "dest_place": {
            "name": route.legs[-1].landmark or "destination",
            "geocode": list(route.legs[-1].end),
            "region": route.city,
        },
        "route_results": {
            "geocode_list": [list(leg.end) for leg in route.legs],
            "landmark_list": landmarks[:-1],
            "distance": round(sum(metres(a, b) for a, b in zip(before, before[1:]))),
        },
        "init_heading": first,
        "milestone_info": "\n".join(blocks),
    }


# --- the released map of panoramas -----------------------------------------------------------------------------------


class _Plain(pickle.Unpickler):
    """Reads plain values only: a pickle that names any class or function is refused before it is called."""

    def find_class(self, module: str, name: str):
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")

    def persistent_load(self, pid: Any):
        raise pickle.UnpicklingError("it refers to something outside")


def read_panoramas(path: str | Path) -> dict[Point, str]:
    """`gps_pano_mapping.pkl`: (latitude, longitude) -> panorama id. A pickle with anything but plain values is a RouteError."""
    path = Path(path)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise RouteError(f"{path}: {path.stat().st_size:,} bytes; maps are read up to {MAX_BYTES:,}")
        data = _Plain(io.BytesIO(path.read_bytes())).load()
    except FileNotFoundError:
        raise RouteError(f"{path}: no such file") from None
    except RouteError:
        raise
    except Exception as error:  # a damaged pickle may raise anything
        raise RouteError(
            f"{path}: not a pickle of plain values ({error}); nothing of it was executed"
        ) from None
    if not isinstance(data, dict) or not data:
        raise RouteError(
            f"{path}: expected a map from (latitude, longitude) to panorama ids, not {_kind(data)}"
        )
    for key, value in data.items():
        if not isinstance(value, str):
            raise RouteError(f"{path}: expected panorama ids (text), not {_kind(value)}")
    return {_point(key, f"{path}, a key"): value for key, value in data.items()}
