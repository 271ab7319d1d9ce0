"""Drawings: dialogues, pictures, routes on their city's map.

Paper: figures 2 to 4 and 11 to 14. Everything is drawn from live objects of the environments, on axes that
the caller makes.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from matplotlib.patheffects import withStroke

from posttrain.analysis.charts import AUXILIARY, COLOURS, INK, MINUS, PAPER, QUIET
from posttrain.environments.cities import City, plane
from posttrain.environments.routes import Route

ROLES = {  # title, edge, fill
    "system": ("system", "#7f7f7f", "#f4f4f4"),
    "task": ("task", "#7f7f7f", "#f4f4f4"),
    "assistant": ("answer", "#0072b2", "#eaf3fa"),
    "user": ("verifier", "#d55e00", "#fdf0e6"),
    "correct": ("verifier", "#009e73", "#e6f5f0"),
}
GAP, HEAD, LINE = 0.7, 2.1, 1.32  # between boxes and around a box's text, in lines; a line, in font sizes
INDENT, LETTER = 6, 0.602  # of answers, in letters; a letter of DejaVu Sans Mono, in font sizes
MARGIN = 90.0  # metres that a map shows around its route


def picture(ax: Axes, image: Any, title: str = "", interpolation: str | None = "nearest") -> None:
    """A picture without axes, pixel by pixel (`interpolation` None: smoothed, for large ones)."""
    ax.imshow(image, interpolation=interpolation)
    ax.set_title(title, fontsize=9)
    ax.axis("off")


def dialogue(
    ax: Axes, messages: Sequence[Mapping[str, Any]], verdicts: Sequence[Any] = (), columns: int = 100
) -> None:
    """A sequential revision as text boxes: the task, answers with their rewards, the verifier's messages.

    messages: chat messages, as `prompts.dialogue` makes them. verdicts: one for each answer, with `reward`,
    `message` and `correct`; the last one, which no message follows, gets a closing box. `columns`: letters to
    a line. Alone in its figure, the dialogue sets the figure's height; else the text shrinks until it fits
    the axes. `ValueError` if there is no message, an unknown role, or not one verdict for each answer.
    """
    boxes = [(*rest, _wrap(text, columns - INDENT - 4)) for *rest, text in _boxes(messages, verdicts)]
    tall = sum(len(lines) + HEAD + GAP for *_, lines in boxes) - GAP
    fig = ax.figure
    if len(fig.axes) == 1:
        fig.set_layout_engine("none")
        ax.set_position((0, 0, 1, 1))
        fig.set_figheight(fig.get_figwidth() * tall * LINE / (columns * LETTER))
    else:
        fig.draw_without_rendering()  # a layout engine sets the size of the axes only then
    frame = ax.get_window_extent().transformed(fig.dpi_scale_trans.inverted())
    size = 72 * min(frame.width / (columns * LETTER), frame.height / (tall * LINE))
    ax.set(xlim=(0, columns), ylim=(tall, 0))
    ax.axis("off")
    top, font = 0.0, {"family": "monospace", "fontsize": size, "va": "center", "parse_math": False}
    for role, title, note, lines in boxes:
        _, edge, fill = ROLES[role]
        left = INDENT if role == "assistant" else 0
        right, high = left + columns - INDENT, len(lines) + HEAD
        corner, width, shape = (left + 0.3, top + 0.1), right - left - 0.6, "round,pad=0,rounding_size=0.5"
        style = {"edgecolor": edge, "facecolor": fill, "linewidth": 0.9}
        ax.add_patch(FancyBboxPatch(corner, width, high - 0.2, boxstyle=shape, **style))
        ax.text(left + 2, top + 0.95, title, color=edge, fontweight="bold", **font)
        ax.text(right - 2, top + 0.95, note, color=edge, fontweight="bold", ha="right", **font)
        for row, line in enumerate(lines):
            ax.text(left + 2, top + HEAD + row, line, color=INK, **font)
        top += high + GAP


def _boxes(messages: Sequence[Mapping[str, Any]], verdicts: Sequence[Any]) -> list[tuple[str, str, str, str]]:
    """Role, title, note and text of each box of a dialogue."""
    answers = sum(message["role"] == "assistant" for message in messages)
    if not messages:
        raise ValueError("no messages to draw")
    if verdicts and len(verdicts) != answers:
        raise ValueError(f"{answers} answers, but {len(verdicts)} verdicts")
    if unknown := {message["role"] for message in messages} - set(ROLES):
        raise ValueError(f"unknown roles: {', '.join(sorted(unknown))}")
    boxes, number = [], 0
    for message in messages:
        role, note = message["role"], ""
        if role == "user" and not number:
            role = "task"
        title = ROLES[role][0]
        if role == "assistant":
            note = f"reward {verdicts[number].reward:+g}".replace("-", MINUS) if verdicts else ""
            number += 1
            title = f"{title} {number}"
        content = message["content"]
        if not isinstance(content, str):
            content = "".join(part.get("text", "(picture)") for part in content)
        boxes.append((role, title, note, content))
    if verdicts and messages[-1]["role"] == "assistant":
        last = verdicts[-1]
        role = "correct" if last.correct else "user"
        boxes.append((role, ROLES[role][0], "", last.message or ("correct" if last.correct else "wrong")))
    return boxes


def _wrap(text: str, columns: int) -> list[str]:
    """Lines of at most `columns` letters; the text's own line breaks and blank lines stay."""
    paragraphs = text.strip().split("\n")
    return [
        line for part in paragraphs for line in textwrap.wrap(part, columns, break_on_hyphens=False) or [""]
    ]


def street_map(ax: Axes, city: City, route: Route, others: bool = True) -> None:
    """A route on its city's streets, north up: numbered turning points, landmarks, the destination a square.

    `others`: show landmarks that the route does not tell of. The city may be any whose crossings hold the
    route's points.
    """
    metres = plane(route.start)
    turns = np.array([metres(point) for point in (route.start, *(leg.end for leg in route.legs))])
    low, high = turns.min(0) - MARGIN, turns.max(0) + MARGIN
    street = {"color": "#d9d9d9", "linewidth": 5, "solid_capstyle": "round", "zorder": 1}
    for ends in city.edges():
        ax.plot(*zip(*(metres(city.points[node]) for node in ends)), **street)
    ax.plot(*turns.T, color=COLOURS["RL"], linewidth=2.2, zorder=3)
    ax.plot(*turns[:-1].T, "o", color=COLOURS["RL"], markersize=12, zorder=4)
    ax.plot(*turns[-1], "s", color=COLOURS["SFT"], markersize=12, zorder=4)
    for number, turn in enumerate(turns, 1):
        ax.annotate(str(number), turn, color=PAPER, fontsize=8, ha="center", va="center", zorder=5)
    named = {leg.landmark for leg in route.legs}
    for name, point in city.landmarks.values():
        spot = np.array(metres(point))
        if not ((spot > low).all() and (spot < high).all()) or not (others or name in named):
            continue
        ax.plot(*spot, "D", color=AUXILIARY[0] if name in named else QUIET, markersize=4, zorder=4)
        nearest = turns[np.square(turns - spot).sum(1).argmin()]
        right, up = spot > nearest  # the name stands away from the route
        ax.annotate(
            name,
            spot,
            (5 if right else -5, 4 if up else -4),
            textcoords="offset points",
            ha="left" if right else "right",
            va="bottom" if up else "top",
            fontsize=6.5,
            color=INK if name in named else QUIET,
            zorder=5,
            annotation_clip=True,
            path_effects=[withStroke(linewidth=2, foreground=PAPER)],
        )
    arrow = {"arrowstyle": "->", "color": INK}
    where = {"xycoords": "axes fraction", "ha": "center", "va": "center"}
    ax.annotate("N", (0.96, 0.99), (0.96, 0.88), fontsize=8, color=INK, arrowprops=arrow, **where)
    ax.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), aspect="equal", xticks=[], yticks=[])
    ax.spines.bottom.set_visible(False)


def chain() -> Figure:
    """What one seed decides, from random weights to the evaluation of both arms."""
    fig, ax = plt.subplots(figsize=(9, 3), layout="constrained")
    ax.set(xlim=(0, 90), ylim=(0, 30))
    ax.axis("off")
    middle, up, down = 15, 23.5, 6.5
    boxes = {  # left edge, middle, title, what it is, colour
        "foundation": (0, middle, "Foundation", "random weights, then\nsynthetic documents", INK),
        "init": (23, middle, "Init", "a few steps on an\nexpert's answers", COLOURS["Init"]),
        "sft": (46, up, "SFT", "more of the\nexpert's answers", COLOURS["SFT"]),
        "rl": (46, down, "RL (PPO)", "own answers,\nthe verifier's rewards", COLOURS["RL"]),
        "end": (
            70,
            middle,
            "Evaluation",
            "what was trained,\nheld-out cases, another\nrule, another look",
            INK,
        ),
    }
    for left, y, title, what, colour in boxes.values():
        style = {"edgecolor": colour, "facecolor": PAPER, "linewidth": 1.4}
        ax.add_patch(FancyBboxPatch((left + 0.5, y - 5.2), 18, 10.4, boxstyle="round,pad=0.3", **style))
        ax.text(left + 9.5, y + 2.9, title, ha="center", va="center", fontweight="bold", color=colour)
        ax.text(left + 9.5, y - 1.7, what, ha="center", va="center", fontsize=9, color=INK)
    for before, behind in (
        ("foundation", "init"),
        ("init", "sft"),
        ("init", "rl"),
        ("sft", "end"),
        ("rl", "end"),
    ):
        start, end = ((boxes[before][0] + 19, boxes[before][1]), (boxes[behind][0] + 0.1, boxes[behind][1]))
        ax.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "color": QUIET, "linewidth": 1.1})
    ax.text(55.5, middle, "equal compute", ha="center", va="center", fontsize=9, color=QUIET, style="italic")
    return fig
