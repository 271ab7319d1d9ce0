"""How RL learned: each iteration of PPO by seed, drawn and in words.

figure(Book("cpu").study("gp-l"))
"""

from __future__ import annotations

from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from posttrain.analysis import prose
from posttrain.analysis.study import Study

FEW = 5  # iterations that a point, and a number in words, is the mean of


def metrics(study: Study) -> dict[str, str]:
    """What is shown of an iteration, and its title."""
    titles = {"first_try": "first-try success\n(training hands, T = 1)", "within": "success within 5"}
    if study.task.startswith("navigation"):
        titles = {"first_try": "right at once\n(training points, T = 1)"}
        titles["within"] = "route success\n(two answers a point)"
    return titles | {"entropy": "entropy\n(nats per token)", "approx_kl": "KL per iteration"}


def figure(study: Study) -> Figure:
    """Success, entropy and KL of each iteration by seed, as means of five iterations."""
    fig, axes = plt.subplots(1, 4, figsize=(10, 2.6), layout="constrained")
    for ax, (metric, title) in zip(axes, metrics(study).items()):
        for seed, run in study.training[study.training["arm"] == "RL"].groupby("seed"):
            smooth = run[metric].rolling(FEW, min_periods=1).mean()
            ax.plot(run["iteration"], smooth, linewidth=1, label=f"seed {seed}")
        ax.set_title(title, fontsize=9)
        ax.set_xlabel("iteration")
    axes[0].legend(fontsize=7)
    return fig


def in_words(study: Study) -> str:
    """The same for those who do not see it: means of the seeds in their first and last five iterations, the
    last ones also of the lowest and the highest seed."""
    runs, said = study.training[study.training["arm"] == "RL"].sort_values("iteration").groupby("seed"), []
    for metric, title in metrics(study).items():
        first, last = (part.groupby("seed")[metric].mean() for part in (runs.head(FEW), runs.tail(FEW)))
        spec = ".0%" if metric in ("first_try", "within") else ".2f"
        a, b, low, high = (prose.number(x, spec) for x in (first.mean(), last.mean(), last.min(), last.max()))
        said.append(f"{' '.join(title.split())} from {a} to {b} (repetitions {low} to {high})")
    return f"From the first to the last {FEW} iterations, means: {'; '.join(said)}."
