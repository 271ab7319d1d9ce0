"""Reading a profile's file: YAML 1.2's plain values, every key once, no tags and no aliases.

PyYAML follows YAML 1.1, where 1e-4 is a text, `no` is false, 010 is 8 and 1:30 is 90. Here the first is a
number and the others are texts.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

LARGEST, DEEPEST = 1_000_000, 50  # bytes; mappings and lists within each other


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # in C it takes a fifth of the time
    yaml_implicit_resolvers: dict = {}
    yaml_constructors: dict = {}

    def each_once(self, node):
        keys = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.MarkedYAMLError(problem="a key must be a name", problem_mark=key.start_mark)
            if keys.setdefault(key.value, key) is not key:
                raise yaml.MarkedYAMLError(
                    problem=f"duplicate key {key.value!r}", problem_mark=key.start_mark
                )
        return {
            self.construct_object(key): self.construct_object(value, deep=True) for key, value in node.value
        }


_PLAIN = {
    "null": (r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    "bool": (r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    "int": (r"[-+]?(0|[1-9][0-9]*)", list("-+0123456789")),
    "float": (
        r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))([eE][-+]?[0-9]+)?|[-+]?\.inf|\.nan",
        list("-+.0123456789"),
    ),
}
for _kind, (_pattern, _first) in _PLAIN.items():
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_kind}", re.compile(f"(?:{_pattern})\\Z"), _first)
for _kind in (*_PLAIN, "str", "seq"):
    _tag = f"tag:yaml.org,2002:{_kind}"
    _Loader.add_constructor(_tag, yaml.SafeLoader.yaml_constructors[_tag])
_Loader.add_constructor("tag:yaml.org,2002:map", _Loader.each_once)
_Loader.add_constructor(None, yaml.SafeLoader.construct_undefined)


def read(path: Path) -> dict[str, Any]:
    """The mapping that a YAML file holds; ValueError (one line, with the line's number) for anything else."""
    try:
        content = path.read_bytes()
        if len(content) > LARGEST:
            raise ValueError(f"the file has more than {LARGEST:,} bytes")
        text = content.decode("utf-8-sig")
        depth = 0
        for event in yaml.parse(text, _Loader):  # as it is read: what is nested without end takes for ever
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > DEEPEST:
                raise RecursionError
            if isinstance(event, yaml.AliasEvent):
                wrong = "an alias (*) is not read; write it out"
                raise yaml.MarkedYAMLError(problem=wrong, problem_mark=event.start_mark)
        data = yaml.load(text, _Loader)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(f"line {line}: the file is not UTF-8; save it as UTF-8") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise ValueError(f"line {mark.line + 1}: {' '.join((error.problem or 'no YAML').split())}") from None
    except yaml.YAMLError as error:
        raise ValueError(f"no YAML: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise ValueError("the file is nested too deeply") from None
    except OSError as error:
        raise ValueError(f"the file cannot be read: {error.strerror}") from None
    if not isinstance(data, dict):
        what = "empty" if data is None else f"a {'list' if isinstance(data, list) else 'single value'}"
        raise ValueError(f"the file is {what}; it must hold settings, such as `seeds: [0]` and `studies:`")
    return data
