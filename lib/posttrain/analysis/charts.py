"""Charts: one style, one function for each kind of figure.

Paper: figures 5 to 10. The functions draw on axes or make a whole figure, from tidy tables, intervals or a
study, and compute nothing that a caption would have to explain.

Left out on purpose: smoothing (the paper's curves are Savitzky-Golay filtered; ours show every checkpoint).

    fig, axes = grid(points, {"id": "In distribution"}, [("greedy", "first_try", "greedy")])
    show(fig, "fig05-success", book, points, alt="RL ends above SFT.")
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator

from posttrain.analysis.saving import PAPER, save
from posttrain.store import shown

if TYPE_CHECKING:
    from posttrain.analysis.statistics import Interval
    from posttrain.analysis.study import Book, Results, Study

SVG = "image/svg+xml"
INK, QUIET = "#222222", "#6b6b6b"
MINUS = "\N{MINUS SIGN}"
INIT = "Init"
# Okabe and Ito's colours, told apart with every common kind of colour blindness.
COLOURS = {INIT: "#7f7f7f", "SFT": "#d55e00", "RL": "#0072b2"}
AUXILIARY = ("#009e73", "#cc79a7", "#56b4e9", "#000000", "#e69f00")


def use_style() -> None:
    """Make every figure of this process look alike."""
    plt.style.use(Path(__file__).with_name("book.mplstyle"))


def colours(arms: Iterable[str]) -> dict[str, str]:
    """A colour for each arm: the same everywhere for Init, SFT and RL; others take the auxiliary ones."""
    arms = list(dict.fromkeys(arms))
    others = [arm for arm in arms if arm not in COLOURS]
    if len(others) > len(AUXILIARY):
        raise ValueError(f"{len(others)} other arms, but {len(AUXILIARY)} colours: {', '.join(others)}")
    return {arm: COLOURS.get(arm) or AUXILIARY[others.index(arm)] for arm in arms}


def curves(
    ax: Axes, table: pd.DataFrame, metric: str, percent: bool = True, palette: Mapping[str, str] | None = None
) -> None:
    """Mean of `metric` over seeds against compute, the seeds' range as a band, each seed as a thin line.

    table: one row for each (arm, seed, checkpoint), with `flops`. Means are taken checkpoint by checkpoint,
    of compute as well, because seeds may reach a checkpoint with different compute. Rows of the arm Init
    become a dashed line at their mean, over the whole width. palette: the arms' colours, else `colours`.
    `ValueError` if the table is empty, lacks a column, or repeats a row.
    """
    _require(table, ("arm", "seed", "checkpoint", "flops", metric))
    if repeated := table.duplicated(["arm", "seed", "checkpoint"]).sum():
        raise ValueError(f"{repeated} rows repeat an arm, seed and checkpoint; pass one set and decoding")
    palette = palette or colours(table["arm"])
    for arm, rows in table.groupby("arm", sort=False):
        if arm == INIT:
            init_line(ax, rows[metric].mean())
            continue
        colour = palette[arm]
        for _, run in rows.sort_values("flops").groupby("seed"):
            ax.plot(run["flops"], run[metric], color=colour, linewidth=0.6, alpha=0.45, zorder=2)
        over = rows.groupby("checkpoint").agg(
            x=("flops", "mean"), mean=(metric, "mean"), low=(metric, "min"), high=(metric, "max")
        )
        over = over.sort_values("x")
        ax.fill_between(over["x"], over["low"], over["high"], color=colour, alpha=0.15, linewidth=0, zorder=1)
        style = {"linewidth": 1.8, "marker": "o", "markersize": 3, "zorder": 3}
        ax.plot(over["x"], over["mean"], color=colour, label=arm, **style)
    value_axis(ax, percent)
    if percent and not table[metric].any():
        ax.set_ylim(0, 0.01)  # nothing but zeros: matplotlib would centre them
    ax.xaxis.set_major_formatter(EngFormatter(unit="FLOP"))
    ax.xaxis.set_major_locator(MaxNLocator(3))


def init_line(ax: Axes, mean: float) -> None:
    """Where the arms start from, dashed, over the whole width."""
    ax.axhline(mean, color=COLOURS[INIT], label=INIT, linestyle=(0, (4, 2)), linewidth=1.2, zorder=1)


def bars(
    ax: Axes,
    estimates: Mapping[str, Interval],
    published: Mapping[str, float] | None = None,
    seeds: Mapping[str, Iterable[float]] | None = None,
) -> None:
    """Figure 6's bars: a share for each label with its interval; the paper's number as a hollow diamond;
    `seeds`: each repetition's share, a dot.

    All are fractions. `ValueError` if there is nothing to draw or a published label has no bar.
    """
    published, seeds = published or {}, seeds or {}
    if not estimates:
        raise ValueError("no estimates to draw")
    if unknown := set(published) - set(estimates):
        raise ValueError(f"published values without a bar: {', '.join(sorted(unknown))}")
    palette = colours(estimates)
    for x, (label, (estimate, low, high)) in enumerate(estimates.items()):
        ax.bar(x, estimate, width=0.55, color=palette[label], zorder=2)
        ax.vlines(x, low, high, color=INK, linewidth=1.2, zorder=3)
        ax.hlines([low, high], x - 0.06, x + 0.06, color=INK, linewidth=1.2, zorder=3)
        if label in seeds:
            each = [*seeds[label]]
            ax.plot([x - 0.2] * len(each), each, "o", color=INK, markersize=3, alpha=0.6, zorder=4)
            high = max(high, *each)
        above = estimate >= 0
        ax.annotate(
            f"{100 * estimate:.1f} %".replace("-", MINUS),
            (x, high if above else low),
            (0, 3 if above else -3),
            textcoords="offset points",
            fontsize=8,
            ha="center",
            va="bottom" if above else "top",
            bbox={"facecolor": PAPER, "edgecolor": "none", "pad": 0.4, "alpha": 0.8},
        )
        if label in published:
            style = {"markersize": 6, "markerfacecolor": "none", "markeredgecolor": INK, "zorder": 4}
            once = "paper" if label == next(iter(published)) else None
            ax.plot(x + 0.39, published[label], "D", label=once, clip_on=False, **style)
    ax.set_xticks(range(len(estimates)), estimates, color=INK)
    ax.set_xlim(-0.6, len(estimates) - 0.4)
    ax.tick_params(axis="x", length=0)
    ax.margins(y=0.15)
    value_axis(ax)
    if any(interval.low < 0 for interval in estimates.values()):
        ax.axhline(0, color=QUIET, linewidth=0.8)
        ax.spines.bottom.set_visible(False)


def _require(table: pd.DataFrame, columns: Iterable[str]) -> None:
    if missing := [column for column in columns if column not in table]:
        raise ValueError(f"the table lacks {', '.join(missing)}; it has {', '.join(map(str, table))}")
    if table.empty:
        raise ValueError("the table is empty")


def value_axis(ax: Axes, percent: bool = True) -> None:
    """Lines across the axes, at ticks of values; shares (`percent`) are labelled in percent."""
    ax.grid(axis="y")
    if percent:
        in_percent(ax.yaxis)


def in_percent(*axes: Axis) -> None:
    """Label the ticks of some axes, whose values are shares, in percent."""
    for axis in axes:
        axis.set_major_formatter(lambda value, _: f"{round(100 * value, 6):g} %".replace("-", MINUS))


def panels(columns: Sequence[str], rows: Sequence[str]) -> tuple[Figure, np.ndarray]:
    """Figure 5's grid: 1 to 4 titled columns and labelled rows; axes are [rows, columns]."""
    if not 1 <= len(columns) <= 4 or not rows:
        raise ValueError(f"a grid has 1 to 4 columns and a row, not {len(columns)} and {len(rows)}")
    width = {1: 4.6, 2: 3.4}.get(len(columns), 2.6)  # inches
    size = (width * len(columns), 2.3 * len(rows) + 0.5)
    fig, axes = plt.subplots(len(rows), len(columns), figsize=size, sharex="col", squeeze=False)
    for ax, column in zip(axes[0], columns):
        ax.set_title(column, fontweight="bold")
    for ax, row in zip(axes[:, 0], rows):
        ax.set_ylabel(row)
    return fig, axes


def grid(
    study: Study, sets: Mapping[str, str], measures: Sequence[tuple[str, str, str]]
) -> tuple[Figure, np.ndarray]:
    """Curves of a study: a labelled row for each set, a column for each measure (decoding, metric, title)."""
    fig, axes = panels([title for *_, title in measures], list(sets.values()))
    for row, set_ in zip(axes, sets):
        for ax, (decoding, metric, _) in zip(row, measures):
            curves(ax, study.along(set_, decoding), metric)
    legend(fig)
    return fig, axes


def causes(study: Study, sets: Mapping[str, str], metrics: Mapping[str, str], height: float) -> Figure:
    """Sampled curves of what may explain success, titled "metric, set"; `height` in inches, KL in nats."""
    fig, axes = plt.subplots(len(sets), len(metrics), figsize=(10, height), layout="constrained")
    for row, (set_, label) in zip(axes, sets.items()):
        for ax, (metric, title) in zip(row, metrics.items()):
            curves(ax, study.along(set_, "sampled"), metric, percent=metric != "kl")
            ax.set_title(f"{title}, {label}", fontsize=9)
    legend(fig)
    return fig


def legend(fig: Figure) -> None:
    """One legend for the whole figure, above it, each label once; many labels in two lines."""
    handles = {}
    for ax in fig.axes:
        for handle, label in zip(*ax.get_legend_handles_labels()):
            handles.setdefault(label, handle)
    if handles:
        columns = len(handles) if len(handles) <= 7 else -(-len(handles) // 2)
        fig.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=columns)


def footer(fig: Figure, profile: str, seeds: Sequence[int], seconds: float, note: str = "") -> None:
    """Where the figure comes from, small under it; a `note` such as "superseded results" stands out."""
    hours, rest = divmod(round(seconds), 3600)
    time = f"{hours} h {rest // 60} min" if hours else f"{rest // 60} min {rest % 60} s"
    text = f"profile {profile} · seed{'s' * (len(seeds) != 1)} {', '.join(map(str, seeds))} · {time} in all"
    text, colour = (f"{note} · {text}", COLOURS["SFT"]) if note else (text, QUIET)
    # Below the figure, not in it: `save` crops to what is drawn, so it never overlaps whatever the layout.
    fig.text(0.01, -0.02, text, va="top", fontsize=6, color=colour)


def source(name: str, book: Book, studies: Sequence[Results]) -> str:
    """Markdown for below a figure: the drawing to take away, and where its numbers and runs lie."""
    said = [f"{{download}}`drawing <../figures/{name}.svg>`"]
    if studies:
        folder = shown(book.profile.results)
        said.append(f"tables in {', '.join(f'`{folder}/{study.name}`' for study in studies)}")
        said.append(f"{sum(len(study.run_ids) for study in studies)} runs ({{doc}}`/book/execution-status`)")
    return f"```{{div}} figure-source\n{'; '.join(said)}\n```"


def show(fig: Figure, name: str, book: Book, *studies: Results, alt: str, png: bool = False) -> None:
    """`save` with a footer on the studies read, show the saved drawing in the notebook, close the figure.

    To draw it again would cost as much as the rest of a cell. alt: what the picture says, for those who do
    not see it, the result and not only what is drawn. `ValueError` if it says nothing.
    """
    from IPython.display import Markdown, display

    if not alt.strip():
        raise ValueError(f"{name} needs an alt: what the picture says, for those who do not see it")
    if studies:
        seeds = sorted({seed for study in studies for seed in study.seeds})
        note = "; ".join(dict.fromkeys(study.note for study in studies if study.note))
        footer(fig, book.profile.name, seeds, sum(study.seconds for study in studies), note)
    drawing = {SVG: save(fig, name, book.figures, png)[0].read_text(), "text/plain": alt}
    display(drawing, metadata={SVG: {"alt": alt}}, raw=True)
    display(Markdown(source(name, book, studies)))
    plt.close(fig)
