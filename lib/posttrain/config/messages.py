"""What is said about settings: a line for an error, a row for a field."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from pydantic import ValidationError

from posttrain.config.settings import Problem, Settings, brief

_MUST = {
    "greater_than": "above {gt:.10g}",
    "greater_than_equal": "at least {ge:.10g}",
    "less_than": "below {lt:.10g}",
    "less_than_equal": "at most {le:.10g}",
    "int_type": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "string_type": "a text",
    "string_pattern_mismatch": "like {pattern}",
    "literal_error": "{expected}",
    "tuple_type": "a list, such as [a, b]",
    "too_short": "of {min_length} or more",
    "dict_type": "a mapping of names to settings",
    "model_type": "a mapping of settings",
}


def line(error: ValidationError, said: dict) -> str:
    """The first problem with what a profile said, in one line, and how many more there are."""
    lines = dict.fromkeys(_line(problem, said) for problem in error.errors(include_url=False))
    return next(iter(lines)) + (f" (and {len(lines) - 1} more)" if len(lines) > 1 else "")


def _line(problem: dict[str, Any], said: dict) -> str:
    path = [part for part in problem["loc"] if not re.fullmatch(r"<\w+>|\[key\]", str(part))]
    context, value = problem.get("ctx", {}), problem["input"]
    if isinstance(error := context.get("error"), Problem):
        path, text = [*path, *error.path], error.text
    elif error:
        text = str(error)
    elif problem["loc"][-1] == "[key]":
        text = "a name has only a-z, 0-9 and -, does not begin with -, and has at most 60 characters"
    else:
        must = _MUST[problem["type"]].format(**context) if problem["type"] in _MUST else problem["msg"]
        text = f"must be {must}, not {brief(value)}"
    # What stands in a study is checked in each of its arms, and told of once.
    shared = path[:2] + path[4:]
    in_arm = len(path) > 4 and path[:3:2] == ["studies", "arms"]
    if in_arm and _standing(said, shared) - 2 > _standing(said, path) - 4:
        path = shared
    return f"{''.join(map(_step, path)).removeprefix('.')}: {text}"


def _standing(said: Any, path: list) -> int:
    """How many steps of `path` a profile holds."""
    for steps, part in enumerate(path):
        if not isinstance(said, dict) or part not in said:
            return steps
        said = said[part]
    return len(path)


def _step(part: Any) -> str:
    if isinstance(part, str) and re.fullmatch(r"[\w-]+", part):
        return f".{part}"
    return f"[{part if type(part) is int else brief(part)}]"


class Row(NamedTuple):
    """One setting: its path in a profile, type, default, what is allowed, what it means."""

    path: str
    type: str
    default: str
    allowed: str
    sentence: str


_TYPES = {
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
    "string": "text",
    "array": "list",
    "object": "mapping",
}
_BOUNDS = {
    "exclusiveMinimum": "above {:.10g}",
    "minimum": "at least {:.10g}",
    "exclusiveMaximum": "below {:.10g}",
    "maximum": "at most {:.10g}",
    "pattern": "like {}",
}


def rows(path: str, settings: type[Settings]) -> list[Row]:
    """The settings of a group, without the groups inside it."""
    schema = settings.model_json_schema()
    listed = []
    for name in settings.names():
        field = schema["properties"][name]
        of = next((choice for choice in field.get("anyOf", ()) if choice["type"] != "null"), field)
        if "type" in of:
            item = of.get("items", of)
            allowed = [text.format(item[key]) for key, text in _BOUNDS.items() if key in item]
            allowed = ", ".join([f"one of {', '.join(item['enum'])}"] if "enum" in item else allowed)
            default = "required" if name in schema.get("required", ()) else _shown(field.get("default"))
            listed.append(Row(f"{path}{name}", _TYPES[of["type"]], default, allowed, field["description"]))
    return listed


def _shown(default: Any) -> str:
    if isinstance(default, list):
        return ", ".join(map(str, default))
    if default in (None, {}):
        return ""
    return str(default).lower() if isinstance(default, bool) else str(default)
