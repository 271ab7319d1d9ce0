"""What chapters say: numbers as words, tables, and the sentences that numbers decide.

Nothing is computed here that a figure or a claim depends on (`posttrain.analysis.study`). A sentence that
would be false of other results stands here, where it can be tested, and not in a notebook.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from posttrain.analysis import statistics
from posttrain.analysis.statistics import Interval
from posttrain.analysis.study import ARMS, Results, Study
from posttrain.environments import baselines


def show(content: str | pd.DataFrame, **options) -> None:
    """Display a text of Markdown, or a table as one (`options` of `DataFrame.to_markdown`)."""
    from IPython.display import Markdown, display

    text = content if isinstance(content, str) else content.to_markdown(index=False, **options)
    display(Markdown(re.sub(r"(?<=\d) %", "\u00a0%", text)))  # no line ends between a number and its sign


def number(x: float, spec: str = ".1%") -> str:
    """`x` with more decimals where it would seem to be nought, and is not: the side that a bound lies on
    decides."""
    text, decimals = format(x, spec), re.search(r"\.(\d+)[f%]", spec)
    if abs(x) > 1e-9 and not re.search("[1-9]", text) and decimals and int(decimals[1]) < 6:
        return number(x, spec.replace(decimals[0], f".{int(decimals[1]) + 1}{decimals[0][-1]}"))
    return text if re.search("[1-9]", text) else text.removeprefix("-")


def signed(x: float, spec: str = "+g") -> str:
    """`x` with its sign, as rewards are told: `+5`, `−1`."""
    return format(x, spec).replace("-", "−")


def interval(value: Interval, spec: str = ".1%") -> str:
    """`15.0 % [12.1 %, 18.2 %]`."""
    return f"{number(value.estimate, spec).replace('%', ' %')} {bounds(value.low, value.high, spec)}"


def bounds(low: float, high: float, spec: str = ".1%") -> str:
    """`[12.1 %, 18.2 %]`."""
    return f"[{', '.join(number(x, spec).replace('%', ' %') for x in (low, high))}]"


def spread(values: pd.Series) -> str:
    """Mean of the seeds, and their range: `15.0% (12.1% to 18.2%)`."""
    limits = f" ({values.min():.1%} to {values.max():.1%})" if len(values) > 1 else ""
    return f"{values.mean():.1%}{limits}"


def percentages(table: pd.DataFrame) -> pd.DataFrame:
    """Numbers as percentages, none as an empty cell."""
    return table.map(lambda x: x if isinstance(x, str) else "" if np.isnan(x) else f"{x:.1%}")


# --- tables -------------------------------------------------------------------------------------------------


def runs(results: Results) -> pd.DataFrame:
    """One row a run."""
    return pd.DataFrame(
        {
            "run": name,
            "minutes": round(r["seconds"] / 60, 1),
            "parameters": r["parameters"],
            "made by": r["commit"],
        }
        for name, r in zip(results.run_ids, results.records)
    )


def decided(rows: Sequence[Mapping], claims: Mapping) -> pd.DataFrame:
    """`claims.verdicts` as a table, one row a claim: by each measure the state, the estimate, both of its
    intervals (over seeds and cases; Student's over seeds), Init where headroom is read ("room"), and what was
    measured where that is not the same in all rows."""
    said, shown = {claim["id"]: claim["statement"] for claim in claims["claims"]}, {}
    what = [(one["measure"], f"{one['metric'].replace('_', ' ')}, {one['decoding']}") for one in rows]
    several = {name for name, _ in set(what) if len({words for other, words in what if other == name}) > 1}
    for one, (measure, words) in zip(rows, what):
        row = shown.setdefault(one["claim"], {"claim": said[one["claim"]]})
        cell = f"**{one['state']}**"
        if one["estimate"] is not None:
            cell += f" {interval(Interval(*(one[key] for key in ('estimate', 'low', 'high'))))}"
        if one["seeds_low"] is not None:
            low, high = (number(one[key]).replace("%", " %") for key in ("seeds_low", "seeds_high"))
            cell += f", over repetitions [{low}, {high}]"
        cell += "" if one["init"] is None else f"; room {one['init']:.0%}"
        head, note = (measure, f" ({words})") if measure in several else (f"{measure}: {words}", "")
        row[head] = (cell + note).replace("-", "−")
    return pd.DataFrame(shown.values()).fillna("")


def how_decided(rows: Sequence[Mapping], claims: Mapping) -> str:
    """How to read the numbers, intervals and states of `decided`'s table of the same rows."""
    rule, room = claims["rule"], claims["headroom"]
    about = [claim for claim in claims["claims"] if claim["id"] in {row["claim"] for row in rows}]
    levels = [claim for claim in about if claim["test"] == "level"]
    cases = "routes" if any("virl" in claim["id"] for claim in about) else "hands"
    seeds = min((claim.get("seeds", rule["seeds"]) for claim in about), default=rule["seeds"])
    planned = " (as planned)" if seeds < rule["seeds"] else ""
    said = (
        "A claim holds, or is reversed, only where both lie on one side of its bound (zero, or the number "
        f"that it names), and from {seeds} repetitions on{planned}; not corrected for many claims. "
    )
    both, level = 0 < len(levels) < len(about), f"{rule['level']:.0%} intervals"
    if levels:
        said = (
            f"{'Of a level the' if both else 'A'} number is a share, of all repetitions together. Brackets "
            f"are its {level}: from its {cases}, then from the repetitions alone. {said}"
        )
    if len(levels) < len(about):
        said = (
            f"{'Of a comparison the' if both else 'A'} number is a difference in percentage points, the arm "
            "named first minus the other, or Init where no other is named: *lowers* and *loses* hold where "
            f"it is negative. Brackets are its {level}: from repetitions and {cases} drawn anew, then from "
            f"the repetitions alone. {said}*Room*: Init's success on other {cases}, of the training or of a "
            "calibration that decides nothing; it tells whether a difference has room, and is not what it "
            f"starts from. Below {room['floor']:.0%} there is nothing to lose, above {room['ceiling']:.0%} "
            "little to gain: either way the claim gets no verdict (*no headroom*)."
        )
    return said.strip().replace("%", " %")


def ends(
    study: Results, sets: Mapping[str, str], measures: Sequence[tuple[str, str, str]], what: str = "set"
) -> pd.DataFrame:
    """Last checkpoints, the seeds' mean and range: a row for each set and (decoding, metric, label)."""
    return pd.DataFrame(
        {what: name, "measure": label}
        | {arm: spread(end) for arm, end in study.ends(set_, decoding, metric).items()}
        for set_, name in sets.items()
        for decoding, metric, label in measures
    )


def tens(training: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The "first ten" and the "last ten" iterations of every run, for `iterations`."""
    last = training.groupby(["arm", "seed"])["iteration"].transform("max")
    among = {"first ten": training["iteration"] <= 10, "last ten": last - training["iteration"] < 10}
    return {when: training[those] for when, those in among.items()}


def iterations(parts: Mapping[str, pd.DataFrame], columns: Mapping[str, str], what: str) -> pd.DataFrame:
    """Means over some of RL's iterations: a row for each of `parts` (of `Results.training`), a column for
    each of `columns` (with its heading; shares in percent). Beside the spread of returns, which is the
    deviation between an iteration's episodes, in how many there was none, so nothing to learn from."""
    shares, rows = ("first_try", "within", "valid"), []
    for label, some in parts.items():
        row = {what: label}
        for column, head in columns.items():
            row[head] = format(some[column].mean(), ".0%" if column in shares else ".2f")
        if "spread" in columns:
            row["without any spread"] = f"{(some['spread'] < 1e-3).sum()} of {len(some)}"
        rows.append(row)
    return pd.DataFrame(rows)


def beside_policies(
    study: Study,
    sets: Mapping[str, tuple[str, str]],
    columns: Mapping[str, str],
    policies: Mapping[str, baselines.Policy],
) -> pd.DataFrame:
    """Navigation: last checkpoints beside policies without learning on the same routes.

    sets: their names -> action space and what to add to it; columns: headings -> metrics.
    """
    rows = []
    for set_, (actions, added) in sets.items():
        for decoding in ("greedy", "sampled"):
            for arm in ARMS.values():
                row = {"actions": actions + added, "policy": f"{arm}, {decoding}"}
                means = {
                    head: study.end(arm, set_, decoding, metric).mean() for head, metric in columns.items()
                }
                rows.append(row | means)
        routes = study.hands[study.hands["set"] == set_]["hand"].unique()
        for policy, scores in baselines.scores(routes, actions, dict(policies)).items():
            rows.append({"actions": actions + added, "policy": policy, **scores})
    return percentages(pd.DataFrame(rows))


def wrong_answers(study: Study, sets: Mapping[str, str]) -> pd.DataFrame:
    """Navigation, greedy, by seed: wrong first answers where one turns and elsewhere, and finished routes."""
    rows = []
    for set_, name in sets.items():
        for arm in ARMS.values():
            points, first, turns, right_turns = (
                study.outcomes(arm, set_, "greedy", column).sum(1).astype(int)
                for column in ("points", "first", "turns", "first_turns")
            )
            routes = study.outcomes(arm, set_, "greedy", "within")
            counts = {
                "wrong turns": (turns - right_turns, _of(turns)),
                "wrong elsewhere": (points - turns - (first - right_turns), _of(points - turns)),
                "routes done": (routes.sum(1).astype(int), f"of {routes.shape[1]}"),
            }
            cells = {head: f"{', '.join(map(str, seeds))} {of}" for head, (seeds, of) in counts.items()}
            rows.append({"set": name, "arm": arm, **cells})
    return pd.DataFrame(rows)


def _of(counts: np.ndarray) -> str:
    """Of how many in each seed, which is one number where all seeds were asked the same."""
    return f"of {', '.join(map(str, dict.fromkeys(counts.tolist())))}"


def benchmark(study: Study, printed: Mapping[str, float]) -> pd.DataFrame:
    """Navigation: the benchmark's finished routes by repetition with Wilson's interval; the paper's share."""
    rows = []
    for decoding in ("greedy", "sampled"):
        for arm in ARMS.values():
            row = {"policy": f"{arm}, {decoding}"}
            for seed, routes in zip(study.seeds, study.outcomes(arm, "benchmark", decoding, "within")):
                done, n = routes.sum(), len(routes)  # halves, where one of two walks of a route was finished
                _, low, high = statistics.wilson(round(done), n)
                row[f"repetition {seed + 1}"] = f"{done:g} of {n} ({low:.0%} to {high:.0%})"
            rows.append(row | {"paper (one run)": f"{printed[arm]:.1%}"})
    return pd.DataFrame(rows)


def lowest_recognition(study: Study, set_: str) -> pd.DataFrame:
    """Each seed's checkpoint of lowest recognition (sampled) and its end, with the answers in the format."""
    rows, heads = [], {"recognized": "recognized", "strict": "in the format"}
    for arm in ("SFT", "RL"):
        table = study.along(set_, "sampled")
        for seed, run in table[(table["arm"] == arm) & (table["step"] > 0)].groupby("seed"):
            lowest, end = run.loc[run["recognized"].idxmin()], run.loc[run["step"].idxmax()]
            of = f"{lowest['checkpoint'] - 1:.0f} of {end['checkpoint'] - 1:.0f}"
            row = {"arm": arm, "repetition": seed + 1, "checkpoint": of}
            for checkpoint, when in ((lowest, "then"), (end, "at the end")):
                row |= {f"{head} {when}": f"{checkpoint[column]:.1%}" for column, head in heads.items()}
            rows.append(row)
    return pd.DataFrame(rows)


def among_recognized(study: Study, sets: Mapping[str, str]) -> pd.DataFrame:
    """Sampled first answers at the end, all seeds together: recognized, right, right of those recognized."""
    rows = []
    for set_, name in sets.items():
        for arm in ARMS.values():
            strict, seen, right = (
                study.outcomes(arm, set_, "sampled", column).ravel()
                for column in ("strict", "recognized", "first_try")
            )
            row = {"hands": name, "arm": arm, "in the format": strict.mean(), "recognized": seen.mean()}
            share = right.sum() / seen.sum() if seen.any() else float("nan")
            rows.append(row | {"right": right.mean(), "right, of those recognized": share})
    return pd.DataFrame(rows)


# --- sentences ----------------------------------------------------------------------------------------------


def in_words(
    study: Results, sets: Mapping[str, str], metrics: Mapping[str, str], decoding: str = "sampled"
) -> str:
    """A figure's result for those who do not see it: means of the seeds at the end of each arm, for each
    metric and set (columns and names, with what to call them); what was not measured is left out."""
    said = []
    for metric, title in metrics.items():
        for set_, label in sets.items():
            ends = {arm: end.mean() for arm, end in study.ends(set_, decoding, metric).items()}
            shares = ", ".join(f"{arm} {end:.0%}" for arm, end in ends.items() if np.isfinite(end))
            if shares:
                said.append(f"{title}, {' '.join(label.split())}: {shares}")
    return f"At the end. {'; '.join(said)}."


def judged(answers: Mapping[str, Any], of: str = "The dialogue") -> str:
    """A drawn dialogue for those who do not see it. answers: each, in words, with its verdict."""
    said = [
        f"Answer {number}, {answer}, is paid {signed(verdict.reward)}: "
        + ("right" if verdict.correct else verdict.message)
        for number, (answer, verdict) in enumerate(answers.items(), 1)
    ]
    return f"{of}. {'. '.join(said)}."


def landmarks(study: Study) -> str:
    """Navigation with pictures: what becomes of the landmarks' names, which no reward pays for."""
    seen = study.ends("id", "greedy", "recognized")
    strict = study.end("RL", "id", "greedy", "strict")
    lost = "; no reward pays for the name" if seen["RL"].mean() < seen["Init"].mean() else ""
    by_seed = ", ".join(f"{a:.0%} (in the format: {b:.0%})" for a, b in zip(seen["RL"], strict))
    return (
        f"In distribution, greedy, Init recognizes {seen['Init'].mean():.0%} of the landmarks, the end of "
        f"SFT {seen['SFT'].mean():.0%} and the end of RL {seen['RL'].mean():.0%}{lost}. A right action is "
        "paid in full whatever the answer says it sees, where the verifier of the cards checks that before "
        f"it looks at the formula. By seed, the end of RL: {by_seed}."
    )
