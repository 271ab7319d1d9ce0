"""Numbers in prose come from results: {val}`notebook.key|format`, read in figures/values/<notebook>.json.

{val}`rule-generalization.rl.ood|.1%` reads key "ood" within "rl" and formats it like Python's
format(value, ".1%"). {val}`verdicts.gp-l-rl-gains-ood.paper.state` is a column of the row with that claim and
measure. Without a format, whole numbers get thousands separators and other numbers three significant digits.
What cannot be inserted is a warning, so `jupyter-book build -W` fails. Left out on
purpose: arithmetic; a notebook computes.
"""

import json
from pathlib import Path

from docutils import nodes
from sphinx.util import logging
from sphinx.util.docutils import SphinxRole

ABSENT = {"absent": True}  # tools/stage_book.py: the profile has no study for that chapter
DASH = "–"  # and what stands in the place of its numbers


class ValueMissing(Exception):
    """A {val} role that cannot be filled; the message says which notebook should have written what."""


def split(text: str) -> tuple[str, str, str]:
    """Notebook, key and format of a role's text."""
    name, _, spec = text.partition("|")
    notebook, _, key = name.strip().partition(".")
    if not notebook or not key:
        raise ValueMissing(f"{text!r} is not of the form notebook.key or notebook.key|format")
    return notebook, key, spec.strip()


def look_up(folder: Path, notebook: str, key: str):
    """The value under `key` in `folder`/`notebook`.json: the whole key if it is there, else part by part."""
    path = folder / f"{notebook}.json"
    hint = f"notebooks/{notebook}.ipynb should write it"
    if not path.is_file():
        raise ValueMissing(f"no {path.name} to take {key!r} from: {hint}")
    value = json.loads(path.read_text())
    if value == ABSENT:
        return DASH
    if isinstance(value, list):  # verdicts: a row for each claim and measure
        value = {f"{row['claim']}.{row['measure']}": row for row in value}
        row, _, column = key.rpartition(".")
        if column in value.get(row, {}):
            return value[row][column]
        value = {}
    if key in value:
        return value[key]
    for part in key.split("."):
        if not isinstance(value, dict) or part not in value:
            raise ValueMissing(f"no {key!r} in {path.name}: {hint}")
        value = value[part]
    return value


def show(value, spec: str = "") -> str:
    """`value` as text. Raises ValueMissing for null, for anything but a number or a string, and for a bad
    format."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueMissing(f"{value!r} is neither a number nor a string")
    default = {int: ",", float: ".3g", str: ""}[type(value)]
    try:
        return value if value == DASH else format(value, spec or default)
    except ValueError as error:
        raise ValueMissing(f"cannot format {value!r} as {spec!r}: {error}") from error


class ValueRole(SphinxRole):
    def run(self):
        folder = Path(self.env.app.srcdir, "figures", "values")
        try:
            notebook, key, spec = split(self.text)
            self.env.note_dependency(str(folder / f"{notebook}.json"))
            text = show(look_up(folder, notebook, key), spec)
        except ValueMissing as error:
            logging.getLogger(__name__).warning(f"val: {error}", location=self.get_location())
            text = "(missing)"
        return [nodes.inline(self.rawtext, text, classes=["value"])], []


def setup(app):
    app.add_role("val", ValueRole())
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
