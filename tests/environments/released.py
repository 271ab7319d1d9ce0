"""Writes routes in the released schema, for tests of what reads them: none of the fields that only Google
fills."""

import json
from pathlib import Path

from posttrain.environments.routes import DESTINATION, compass, metres, phrase


def dump(routes, path):
    Path(path).write_text(json.dumps([[record(route) for route in routes], len(routes)], indent=0) + "\n")


def record(route):
    first = looking = 0 if route.heading is None else route.heading or 360  # in the schema 0 means: draw it
    blocks, points = [], [route.start, *(leg.end for leg in route.legs)]
    for number, (begin, leg) in enumerate(zip(points, route.legs), 1):
        last = number == len(route.legs) and leg.landmark
        pairs = {
            "intersection_idx": number,
            "landmarks": (DESTINATION if last else "") + phrase(leg),
            "distance": f"{round(metres(begin, leg.end))} meters",
            "human_heading": looking,
            "to_next_intersection_heading": f"{leg.heading} ({compass(leg.heading)})",
        }
        lines = (f'"{key}": {json.dumps(str(value))},\n' for key, value in pairs.items())
        blocks.append("{\n" + "".join(lines) + "}\n")
        looking = leg.heading
    start, end = list(route.start), list(points[-1])
    return {
        "start_place": {"name": "start", "geocode": start, "relocated_geocode": start, "region": route.city},
        "dest_place": {
            "name": route.legs[-1].landmark or "destination",
            "geocode": end,
            "region": route.city,
        },
        "route_results": {"geocode_list": [list(leg.end) for leg in route.legs]},
        "init_heading": first,
        "milestone_info": "\n".join(blocks),
    }
