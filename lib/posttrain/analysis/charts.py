"""Plots: one style, one function for each kind of figure.

Paper: figures 5 to 7, 9 and 10 (curves and bars), 2, 3 and 12 (dialogues and their cards). The functions draw on an
`Axes` they are given, from tidy tables or intervals, and compute nothing that a caption would have to explain. `save`
writes the same bytes for the same figure on one machine. Text in SVG stays text, so it can be searched; the
background is white, so a figure can be read on a dark page too.

Left out on purpose: smoothing (the paper's curves are Savitzky-Golay filtered; ours show every checkpoint).

    fig, axes = panels(["GP-L"]); curves(axes[1, 0], table, "flops", "success"); save(fig, "fig05-rule-gp-l")
"""

from __future__ import annotations

import os
import re
import textwrap
from pathlib import Path
from typing import Any, Iterable, Mapping, Sequence

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyBboxPatch, PathPatch, Polygon
from matplotlib.path import Path as Outline
from matplotlib.patheffects import withStroke
from matplotlib.ticker import EngFormatter, MaxNLocator
from PIL import Image

from posttrain.analysis.statistics import Interval
from posttrain.environments.cities import DEGREE, STEPS, City
from posttrain.environments.routes import Route

INK, QUIET, PAPER = "#222222", "#6b6b6b", "#ffffff"
MINUS = "\N{MINUS SIGN}"
INIT = "Init"
# Okabe and Ito's colours, told apart with every common kind of colour blindness.
COLOURS = {INIT: "#7f7f7f", "SFT": "#d55e00", "RL": "#0072b2", "PPO": "#0072b2"}
AUXILIARY = ("#009e73", "#cc79a7", "#56b4e9", "#000000")
NAME = re.compile(r"(fig\d\d|ext)-[a-z0-9-]+")
STYLE = {
    "figure.facecolor": PAPER,
    "savefig.facecolor": PAPER,
    "axes.facecolor": PAPER,
    "figure.constrained_layout.use": True,
    "axes.unicode_minus": True,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial", "sans-serif"],
    "font.monospace": ["DejaVu Sans Mono", "Menlo", "Consolas", "monospace"],
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.labelsize": 9,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "axes.edgecolor": QUIET,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.8,
    "svg.fonttype": "none",
    "svg.hashsalt": "posttrain",
    "axes.linewidth": 0.8,
    "xtick.major.width": 0.8,
    "xtick.major.size": 3,
    "ytick.major.size": 0,
    "legend.frameon": False,
}


def use_style() -> None:
    """Make every figure of this process look alike."""
    sns.set_theme(style="ticks", rc=STYLE)


def colours(arms: Iterable[str]) -> dict[str, str]:
    """A colour for each arm: always the same for Init, SFT and RL; the others take the auxiliary ones in order."""
    arms = list(dict.fromkeys(arms))
    others = [arm for arm in arms if arm not in COLOURS]
    if len(others) > len(AUXILIARY):
        raise ValueError(
            f"{len(others)} auxiliary arms, but only {len(AUXILIARY)} colours: {', '.join(others)}"
        )
    return {arm: COLOURS.get(arm) or AUXILIARY[others.index(arm)] for arm in arms}


def panels(
    columns: Sequence[str], rows: Sequence[str] = ("In distribution", "Out of distribution")
) -> tuple[Figure, np.ndarray]:
    """Figure 5's grid: a column for each task (1 to 4), a row for each distribution; axes are [rows, columns]."""
    if not 1 <= len(columns) <= 4 or not rows:
        raise ValueError(
            f"a grid has 1 to 4 columns and at least one row, not {len(columns)} and {len(rows)}"
        )
    width = {1: 4.6, 2: 3.4}.get(len(columns), 2.6)  # inches
    size = (width * len(columns), 2.3 * len(rows) + 0.5)
    fig, axes = plt.subplots(len(rows), len(columns), figsize=size, sharex="col", squeeze=False)
    for ax, column in zip(axes[0], columns):
        ax.set_title(column, fontweight="bold")
    for ax, row in zip(axes[:, 0], rows):
        ax.set_ylabel(row)
    return fig, axes


def curves(
    ax: Axes,
    table: pd.DataFrame,
    x: str,
    y: str,
    arm: str = "arm",
    seed: str = "seed",
    step: str = "checkpoint",
    band: tuple[str, str] | None = None,
    percent: bool = True,
    flops: bool = True,
) -> None:
    """Mean over seeds against `x`, the range of the seeds as a band, each seed as a thin line.

    table: one row for each (arm, seed, checkpoint). Means are taken checkpoint by checkpoint, of `x` as well, because
    seeds may reach a checkpoint with different compute. Rows of the arm Init become a dashed line at their mean, over
    the whole width. `band` names two columns that hold an interval (equal in all rows of a checkpoint), to be drawn
    instead of the range; one seed has no range. `ValueError` if the table is empty, lacks a column, or repeats a row.
    """
    low, high = band or (y, y)
    table = _tidy(table, (arm, seed, step, x, y, low, high))
    twice = table.duplicated([arm, seed, step])
    if twice.any():
        raise ValueError(f"{twice.sum()} rows repeat an ({arm}, {seed}, {step}); pass one metric at a time")
    for name, colour in colours(table[arm]).items():
        rows = table[table[arm] == name]
        if name == INIT:
            ax.axhline(
                rows[y].mean(), color=colour, linestyle=(0, (4, 2)), linewidth=1.2, label=name, zorder=1
            )
            continue
        for _, run in rows.sort_values(x).groupby(seed):
            ax.plot(run[x], run[y], color=colour, linewidth=0.6, alpha=0.45, zorder=2)
        mean = rows.groupby(step).agg(x=(x, "mean"), y=(y, "mean"), low=(low, "min"), high=(high, "max"))
        mean = mean.sort_values("x")
        ax.fill_between(mean["x"], mean["low"], mean["high"], color=colour, alpha=0.15, linewidth=0, zorder=1)
        ax.plot(
            mean["x"], mean["y"], color=colour, linewidth=1.8, marker="o", markersize=3, label=name, zorder=3
        )
    _axes(ax, percent)
    if percent and not table[[y, low, high]].any(axis=None):
        ax.set_ylim(0, 0.01)  # nothing but zeros: matplotlib would centre them
    ax.grid(axis="x", visible=False)
    if flops:
        ax.xaxis.set_major_formatter(EngFormatter(unit="FLOP"))
        ax.xaxis.set_major_locator(MaxNLocator(3))


def bars(
    ax: Axes,
    estimates: Mapping[str, Interval],
    published: Mapping[str, float] | None = None,
    percent: bool = True,
) -> None:
    """Figure 6's bars: for each label an estimate with interval and value; the paper's number as a hollow diamond.

    Estimates and `published` are fractions when `percent`. `ValueError` if there is nothing to draw or a published
    label has no bar.
    """
    published = published or {}
    if not estimates:
        raise ValueError("no estimates to draw")
    if unknown := set(published) - set(estimates):
        raise ValueError(f"published values without a bar: {', '.join(sorted(unknown))}")
    palette = colours(estimates)
    for place, (label, interval) in enumerate(estimates.items()):
        estimate, low, high = interval
        ax.bar(place, estimate, width=0.55, color=palette[label], zorder=2)
        ax.vlines(place, low, high, color=INK, linewidth=1.2, zorder=3)
        ax.hlines([low, high], place - 0.06, place + 0.06, color=INK, linewidth=1.2, zorder=3)
        text = f"{100 * estimate:.1f} %" if percent else f"{estimate:.3g}"
        above = estimate >= 0
        ax.annotate(
            text.replace("-", MINUS),
            (place, high if above else low),
            (0, 3 if above else -3),
            fontsize=8,
            textcoords="offset points",
            ha="center",
            va="bottom" if above else "top",
            color=INK,
            bbox={"facecolor": PAPER, "edgecolor": "none", "pad": 0.4, "alpha": 0.8},
        )
        if label in published:
            ax.plot(
                place + 0.39,
                published[label],
                "D",
                markersize=6,
                markerfacecolor="none",
                markeredgecolor=INK,
                label="paper" if label == next(iter(published)) else None,
                zorder=4,
                clip_on=False,
            )
    ax.set_xticks(range(len(estimates)), estimates, color=INK)
    ax.set_xlim(-0.6, len(estimates) - 0.4)
    ax.tick_params(axis="x", length=0)
    ax.margins(y=0.15)
    _axes(ax, percent)
    if any(interval.low < 0 for interval in estimates.values()):
        ax.axhline(0, color=QUIET, linewidth=0.8)
        ax.spines.bottom.set_visible(False)


def pairs(
    ax: Axes,
    table: pd.DataFrame,
    x: str,
    y: str,
    shade: str = "flops",
    arm: str = "arm",
    set_: str = "set",
    step: str = "checkpoint",
) -> None:
    """Figure 8's pairs: for each arm and checkpoint two points, joined; filled for the first set of the table and hollow for the second.

    table: one row for each (arm, seed, checkpoint, set), exactly two sets; means over seeds are drawn, the fuller in colour the larger `shade`, the
    range of the seeds as thin bars in both directions. Init is in full colour, as squares.
    `ValueError` if the table is empty, lacks a column, or has not two sets.
    """
    table = _tidy(table, (arm, set_, step, x, y, shade))
    names = list(dict.fromkeys(table[set_]))
    if len(names) != 2:
        raise ValueError(f"a pair has two sets, not {len(names)}: {', '.join(map(str, names))}")
    strongest = table[shade].max() or 1.0
    for name, colour in colours(table[arm]).items():
        own = table[table[arm] == name].groupby([step, set_])[[x, y, shade]]
        means, low, high = own.mean().reset_index(), own.min(), own.max()
        for at, pair in means.groupby(step):
            strength = 1.0 if name == INIT else 0.25 + 0.75 * float(pair[shade].mean()) / strongest
            pair = pair.set_index(set_).loc[names]
            for where in names:
                (left, bottom), (right, top) = (ends.loc[(at, where), [x, y]] for ends in (low, high))
                ax.hlines(
                    pair.loc[where, y],
                    left,
                    right,
                    color=colour,
                    linewidth=0.6,
                    alpha=0.3 * strength,
                    zorder=1,
                )
                ax.vlines(
                    pair.loc[where, x],
                    bottom,
                    top,
                    color=colour,
                    linewidth=0.6,
                    alpha=0.3 * strength,
                    zorder=1,
                )
            ax.plot(pair[x], pair[y], color=colour, linewidth=0.7, alpha=0.5 * strength, zorder=1)
            for place, (_, point) in enumerate(pair.iterrows()):
                ax.plot(
                    point[x],
                    point[y],
                    "s" if name == INIT else "o",
                    markersize=5.5,
                    color=colour,
                    alpha=strength,
                    markerfacecolor=PAPER if place else colour,
                    zorder=2,
                    label=f"{name}, {names[place]}" if at == means[step].max() else None,
                )
    _axes(ax, True)
    ax.xaxis.set_major_formatter(ax.yaxis.get_major_formatter())


def legend(fig: Figure, **options: Any) -> None:
    """One legend for the whole figure, above it, each label once."""
    handles = {}
    for ax in fig.axes:
        for handle, label in zip(*ax.get_legend_handles_labels()):
            handles.setdefault(label, handle)
    if handles:
        options = {"loc": "outside upper center", "ncols": len(handles)} | options
        fig.legend(handles.values(), handles.keys(), **options)


def footer(fig: Figure, profile: str, seeds: Sequence[int], run_ids: Sequence[str], seconds: float) -> None:
    """Where the figure comes from, small and grey under it: profile, seeds, runs and their total time."""
    hours, rest = divmod(round(seconds), 3600)
    time = f"{hours} h {rest // 60} min" if hours else f"{rest // 60} min {rest % 60} s"
    text = (
        f"profile {profile} · {len(seeds)} seed{'s' * (len(seeds) != 1)} ({', '.join(map(str, seeds))}) · "
        f"{time} in all · {len(run_ids)} run{'s' * (len(run_ids) != 1)}: {', '.join(run_ids)}"
    )
    size = 6
    letters = int(fig.get_figwidth() * 72 / (0.58 * size))
    # Below the figure, not in it: `save` crops to what is drawn, so it never overlaps whatever the layout.
    text = textwrap.fill(text, letters, break_on_hyphens=False)
    fig.text(0.01, -0.02, text, va="top", fontsize=size, color=QUIET, linespacing=1.4)


def save(fig: Figure, name: str, folder: str | Path = "figures") -> tuple[Path, Path]:
    """Write `<folder>/<name>.svg` and `.png` (150 dpi), each whole or not at all; returns both paths.

    `name` starts with the paper's figure ("fig05-rule-gp-l") or "ext-". `ValueError` if it does not. The layout, which
    costs as much as drawing, is made once for both.
    """
    if not NAME.fullmatch(name):
        raise ValueError(f'a figure is called "fig05-some-words" or "ext-some-words", not {name!r}')
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = folder / f"{name}.svg", folder / f"{name}.png"
    dpi, engine = fig.dpi, fig.get_layout_engine()
    try:
        fig.set_dpi(150)
        fig.draw_without_rendering()
        box = fig.get_tightbbox().padded(0.08)
        with mpl.rc_context({"figure.constrained_layout.use": False}):
            fig.set_layout_engine(None)  # with any engine, also a "none" one, every file is drawn twice
        for path, metadata in zip(paths, ({"Date": None, "Creator": None}, {"Software": None})):
            draft = folder / f".{path.name}.{os.getpid()}"
            try:
                with mpl.rc_context({key: STYLE[key] for key in ("svg.fonttype", "svg.hashsalt")}):
                    fast = (
                        {"pil_kwargs": {"compress_level": 1}} if path.suffix == ".png" else {}
                    )  # it is packed again below
                    fig.savefig(
                        draft,
                        format=path.suffix[1:],
                        dpi=150,
                        bbox_inches=box,
                        facecolor=PAPER,
                        metadata=metadata,
                        **fast,
                    )
                if path.suffix == ".png":  # a palette is a third of the size, and no plot needs more colours
                    with Image.open(draft) as image:
                        small = image.convert("RGB").quantize(256, dither=Image.Dither.NONE)
                    small.save(
                        draft, format="png", compress_level=8
                    )  # 9 takes twice the time for one percent
                os.replace(draft, path)
            finally:
                draft.unlink(missing_ok=True)
    finally:
        fig.set_dpi(dpi)
        fig.set_layout_engine(engine)
    return paths


def show(fig: Figure, name: str, folder: str | Path = "figures") -> None:
    """`save`, then show the saved picture in the notebook and close the figure: to draw it again would cost as much as the rest of a cell."""
    from IPython.display import Image as Picture
    from IPython.display import display

    _, png = save(fig, name, folder)
    display(Picture(data=png.read_bytes(), format="png"))
    plt.close(fig)


ROLES = {  # title, edge, fill
    "system": ("system", "#7f7f7f", "#f4f4f4"),
    "task": ("task", "#7f7f7f", "#f4f4f4"),
    "assistant": ("answer", "#0072b2", "#eaf3fa"),
    "user": ("verifier", "#d55e00", "#fdf0e6"),
    "correct": ("verifier", "#009e73", "#e6f5f0"),
}
GAP, HEAD, LINE = 0.7, 2.1, 1.32  # between boxes and around a box's text, in lines; a line, in font sizes
INDENT, LETTER = 6, 0.602  # of answers, in letters; a letter of DejaVu Sans Mono, in font sizes


def dialogue(
    ax: Axes, messages: Sequence[Mapping[str, str]], verdicts: Sequence[Any] = (), columns: int = 100
) -> None:
    """A sequential revision as text boxes: the task, then answers, each with its reward, and the verifier's messages.

    messages: chat messages, as `prompts.dialogue` makes them. verdicts: one for each answer, with `reward`, `message`
    and `correct`; the last one, which no message follows, gets a closing box. `columns`: letters to a line. Alone in
    its figure, the dialogue sets the figure's height; else the text shrinks until it fits the axes. `ValueError` if
    there is no message or not one verdict for each answer.
    """
    boxes = _boxes(messages, verdicts)
    lines = [_wrap(text, columns - INDENT - 4) for *_, text in boxes]
    tall = sum(len(part) + HEAD + GAP for part in lines) - GAP
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
    for (role, title, note, _), part in zip(boxes, lines):
        _, edge, fill = ROLES[role]
        left = INDENT if role == "assistant" else 0
        right, high = left + columns - INDENT, len(part) + HEAD
        ax.add_patch(
            FancyBboxPatch(
                (left + 0.3, top + 0.1),
                right - left - 0.6,
                high - 0.2,
                edgecolor=edge,
                boxstyle="round,pad=0,rounding_size=0.5",
                facecolor=fill,
                linewidth=0.9,
            )
        )
        ax.text(left + 2, top + 0.95, title, color=edge, fontweight="bold", **font)
        ax.text(right - 2, top + 0.95, note, color=edge, fontweight="bold", ha="right", **font)
        for row, line in enumerate(part):
            ax.text(left + 2, top + HEAD + row, line, color=INK, **font)
        top += high + GAP


def _boxes(messages: Sequence[Mapping[str, str]], verdicts: Sequence[Any]) -> list[tuple[str, str, str, str]]:
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
        boxes.append(
            (
                role,
                title,
                note,
                content
                if isinstance(content, str)
                else "".join(part.get("text", "(picture)") for part in content),
            )
        )
    if verdicts and messages[-1]["role"] == "assistant":
        last = verdicts[-1]
        role = "correct" if last.correct else "user"
        boxes.append((role, ROLES[role][0], "", last.message or ("correct" if last.correct else "wrong")))
    return boxes


def hand(ax: Axes, ranks: Sequence[str], suits: Sequence[str] = ()) -> None:
    """Playing cards side by side, rank in two corners and suit (S, H, D, C or its symbol) in the middle.

    Without `suits`, as in the text task, the rank stands in the middle.
    """
    if not ranks or (suits and len(suits) != len(ranks)):
        raise ValueError(f"a hand needs cards, and a suit for each or none: {list(ranks)}, {list(suits)}")
    if unknown := [suit for suit in suits if suit not in SUITS]:
        raise ValueError(f"unknown suits {unknown}; use {', '.join(SUITS)}")
    ax.set(xlim=(-0.08, 1.1 * len(ranks) - 0.02), ylim=(-0.08, 1.48), aspect="equal")
    ax.axis("off")
    fig = ax.figure
    fig.draw_without_rendering()  # only then is the size of a card known
    size = 0.24 * abs(np.subtract(*ax.transData.transform([(0, 0), (1, 0)]))[0]) * 72 / fig.dpi
    for place, rank in enumerate(ranks):
        left, suit = 1.1 * place, SUITS[suits[place]] if suits else ""
        colour = "#c4342d" if suit in ("heart", "diamond") else INK
        ax.add_patch(
            FancyBboxPatch(
                (left, 0),
                1,
                1.4,
                boxstyle="round,pad=0,rounding_size=0.09",
                facecolor=PAPER,
                edgecolor=QUIET,
                linewidth=1,
            )
        )
        font = {"fontsize": size, "fontweight": "bold", "color": colour, "ha": "center", "va": "center"}
        if not suit:
            ax.text(left + 0.5, 0.7, rank, **font | {"fontsize": 2 * size})
            continue
        corner = 0.2 if len(rank) == 1 else 0.26
        ax.text(left + corner, 1.2, rank, **font)
        ax.text(left + 1 - corner, 0.2, rank, rotation=180, **font)
        _suit(ax, suit, left + 0.5, 0.7, 0.3, colour)


def street_map(ax: Axes, city: City, route: Route, margin: float = 90.0) -> None:
    """A route on its city's streets, north up: turning points numbered, landmarks named, a square at the destination.

    `margin`: metres shown around the route. The city may be any whose crossings hold the route's points.
    """
    scale = DEGREE, DEGREE * np.cos(np.radians(route.start[0]))
    xy = lambda point: ((point[1] - route.start[1]) * scale[1], (point[0] - route.start[0]) * scale[0])
    path = np.array([xy(point) for point in (route.start, *(leg.end for leg in route.legs))])
    low, high = path.min(0) - margin, path.max(0) + margin
    for node, ways in city.streets.items():
        for way in ways:
            if way < 4:  # each street once
                there = node[0] + STEPS[way][0], node[1] + STEPS[way][1]
                ax.plot(
                    *zip(xy(city.points[node]), xy(city.points[there])),
                    color="#d9d9d9",
                    linewidth=5,
                    solid_capstyle="round",
                    zorder=1,
                )
    ax.plot(*path.T, color=COLOURS["RL"], linewidth=2.2, zorder=3)
    ax.plot(*path[:-1].T, "o", color=COLOURS["RL"], markersize=12, zorder=4)
    ax.plot(*path[-1], "s", color=COLOURS["SFT"], markersize=12, zorder=4)
    for number, place in enumerate(path, 1):
        ax.annotate(str(number), place, color=PAPER, fontsize=8, ha="center", va="center", zorder=5)
    named = {leg.landmark for leg in route.legs}
    for name, place in city.landmarks.values():
        spot = np.array(xy(place))
        if (spot > low).all() and (spot < high).all():
            ax.plot(*spot, "D", color=AUXILIARY[0] if name in named else QUIET, markersize=4, zorder=4)
            right, up = (
                spot - path[np.square(path - spot).sum(1).argmin()] > 0
            )  # away from the route's nearest turning point
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
    ax.annotate(
        "N",
        (0.96, 0.99),
        (0.96, 0.88),
        xycoords="axes fraction",
        ha="center",
        va="center",
        fontsize=8,
        color=INK,
        arrowprops={"arrowstyle": "->", "color": INK},
    )
    ax.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), aspect="equal", xticks=[], yticks=[])
    ax.spines.bottom.set_visible(False)


SUITS = {
    "S": "spade",
    "H": "heart",
    "D": "diamond",
    "C": "club",
    "♠": "spade",
    "♥": "heart",
    "♦": "diamond",
    "♣": "club",
    "spades": "spade",
    "hearts": "heart",
    "diamonds": "diamond",
    "clubs": "club",
}


def _suit(ax: Axes, suit: str, x: float, y: float, size: float, colour: str) -> None:
    """Own drawing: a font's symbols would turn into coloured emoji on some screens."""
    paint = {"facecolor": colour, "edgecolor": "none"}
    if suit == "diamond":
        ax.add_patch(
            Polygon([(x, y + size), (x + 0.75 * size, y), (x, y - size), (x - 0.75 * size, y)], **paint)
        )
        return
    if suit == "club":
        for dx, dy, radius in ((0, 0.5, 0.45), (-0.5, -0.2, 0.45), (0.5, -0.2, 0.45), (0, 0, 0.25)):
            ax.add_patch(Circle((x + dx * size, y + dy * size), radius * size, **paint))
    else:
        up = -1 if suit == "spade" else 1  # a spade is a heart on its head, with a stem
        half = [(0, 0.55), (0.1, 1.05), (0.95, 1.05), (0.95, 0.4), (0.95, -0.1), (0.3, -0.5), (0, -0.95)]
        points = half + [(-a, b) for a, b in half[-2::-1]]
        codes = [Outline.MOVETO] + [Outline.CURVE4] * 12
        path = Outline(
            [(x + a * size, y + b * up * size + (0.12 * size if up < 0 else 0)) for a, b in points], codes
        )
        ax.add_patch(PathPatch(path, **paint))
    if suit != "heart":
        ax.add_patch(Polygon([(x, y), (x + 0.32 * size, y - size), (x - 0.32 * size, y - size)], **paint))


def _tidy(table: pd.DataFrame, columns: Iterable[str]) -> pd.DataFrame:
    if missing := [column for column in columns if column not in table]:
        raise ValueError(f"the table lacks {', '.join(missing)}; it has {', '.join(map(str, table))}")
    if table.empty:
        raise ValueError("the table is empty")
    return table


def _axes(ax: Axes, percent: bool) -> None:
    ax.grid(axis="y")
    ax.set_axisbelow(True)
    if percent:
        ax.yaxis.set_major_formatter(lambda value, _: f"{round(100 * value, 6):g} %".replace("-", MINUS))


def _wrap(text: str, columns: int) -> list[str]:
    """Lines of at most `columns` letters; the text's own line breaks and blank lines stay."""
    lines = (
        textwrap.wrap(line, columns, break_on_hyphens=False) or [""] for line in text.strip().split("\n")
    )
    return [piece for line in lines for piece in line]
