"""The library's own lines in a chapter, below the equation that they compute.

prose.show(quoting.lines(ppo.gae, "for t in", "advantages[:, t]"))
"""

from __future__ import annotations

import inspect
import textwrap
from typing import Any

from posttrain.config import ROOT


def lines(thing: Any, first: str, last: str = "") -> str:
    """Markdown: the lines of a function or class from the first that holds `first` to the next that holds
    `last` (the same one by default), and where they stand. ValueError if it has none."""
    thing = inspect.unwrap(thing)
    source, start = inspect.getsourcelines(thing)
    begin = next((i for i, line in enumerate(source) if first in line), None)
    end = None if begin is None else next((i for i in range(begin, len(source)) if last in source[i]), None)
    if end is None:
        raise ValueError(f"{thing.__qualname__} has no lines from {first!r} to {last!r}")
    path = inspect.getsourcefile(thing)
    where = f"{str(path).removeprefix(f'{ROOT}/')}, {'lines' if end > begin else 'line'} {start + begin}"
    where += f" to {start + end}" if end > begin else ""
    text = textwrap.dedent("".join(source[begin : end + 1]))
    return f"```python\n{text}```\n*`{thing.__qualname__}` in {where}*"
