"""What `make` does before anything runs, and what it says while it does."""

import logging
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from posttrain import config

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))
import snakemake_logger_plugin_calm as calm  # noqa: E402


def make(*words, **environment):
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, **environment}
    return subprocess.run(
        ["make", *words], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120
    )


CHAPTERS = len(set(ROOT.glob("notebooks/*.ipynb"))) - 1  # all but the one that carries out a run


def dry_run(target="book", *words, **environment):
    command = ["snakemake", target, "-n", "--cores", "2", "--nolock", "--logger", "calm", "--config", *words]
    tools = {
        "PYTHONPATH": f"{ROOT / 'tools'}{os.pathsep}{ROOT / 'lib'}",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    return subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, **tools, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_from_published_results_nothing_is_trained():
    done = dry_run("book", "profile=cpu")
    lines = done.stderr.splitlines()
    assert done.returncode == 0, done.stderr
    assert all("chapter" in line or "pages" in line for line in lines) and len(lines) <= 1 + CHAPTERS


def test_made_anew_a_profile_trains_every_run_once():
    done = dry_run("results", "profile=smoke", "fresh=1")
    runs = [line.split("] ")[1] for line in done.stderr.splitlines() if "] run " in line]
    foundations = [line for line in done.stderr.splitlines() if "] foundation " in line]
    wanted = {run.identity for run in config.load("smoke", fresh=True).runs()}
    assert done.returncode == 0 and len(set(runs)) == len(runs) <= len(wanted) and len(foundations) <= 4


@pytest.mark.parametrize(
    "figure, studies",
    [
        ("fig10", {"gp-l-steps"}),
        ("fig20", {"gp-l-base", "gp-l-start"}),
        ("fig19", {"gp-l-late", "virl-l-late", "virl-vl-late"}),
    ],
)
def test_one_figure_made_anew_trains_its_own_runs_alone(figure, studies):
    done = dry_run("figures", "profile=smoke", "fresh=1", f"figure={figure}")
    lines = done.stderr.splitlines()
    runs = {line.split("] run ")[1].split()[0] for line in lines if "] run " in line}
    assert done.returncode == 0, done.stderr
    assert {run.split("/")[0] for run in runs} <= studies and sum("chapter" in line for line in lines) == 1


def test_chapters_whose_studies_a_profile_lacks_are_left_out():
    """The trials have no gp-l-steps, and a gp-l of fewer sets than are published."""
    studies = config.load("tuning").studies
    assert "gp-l" in studies and "gp-l-steps" not in studies
    done = dry_run("figures", "profile=tuning")
    chapters = {line.split('"')[1] for line in done.stderr.splitlines() if '] chapter "' in line}
    assert done.returncode == 0, done.stderr
    assert {"gallery", "foundation", "before-the-runs"} <= chapters
    assert not chapters & {"rule-generalization", "every-hand", "verification-steps"}


@pytest.mark.parametrize("name", ["../../victim", "no-such-profile", "/tmp", "cpu;true"])
def test_a_name_that_is_no_profile_touches_nothing(tmp_path, name):
    done = make("reproduce", f"PROFILE={name}")
    assert done.returncode == 2
    told = [line for line in done.stderr.splitlines() if not line.startswith("make")]
    assert len(told) == 1 and "unknown profile" in told[0] and "choose one of" in told[0]


@pytest.mark.parametrize("name", ["a b", "it's", "a' b", "cpu;true"])
def test_a_book_of_a_name_that_is_no_profile_is_one_line(name):
    done = make("book", f"PROFILE={name}")
    told = [line for line in done.stderr.splitlines() if not line.startswith("make")]
    assert done.returncode == 2 and len(told) == 1 and "unknown profile" in told[0], done.stderr


@pytest.mark.parametrize("cores", ["0", "", "-1", "many"])
def test_a_build_without_cores_is_refused(cores):
    done = make("book", f"CORES={cores}")
    told = [line for line in done.stderr.splitlines() if not line.startswith("make")]
    assert done.returncode == 2 and len(told) == 1 and "1 or more, or all" in told[0], done.stderr


def test_what_is_left_empty_is_not_made_anew():
    done = dry_run("results", "profile=cpu", "fresh=")
    assert done.returncode == 0 and "run " not in done.stderr, done.stderr


def test_a_figure_that_does_not_exist_is_one_line():
    done = dry_run("figures", "profile=cpu", "figure=fig99")
    assert (
        done.returncode == 1
        and len(done.stderr.splitlines()) == 1
        and "no chapter draws 'fig99'" in done.stderr
    )


def test_the_notebook_of_a_run_reads_what_is_published(tmp_path):
    """notebooks/train.ipynb on a finished run; a reviewer's way to carry one out."""
    tool = str(Path(sys.executable).parent / "papermill")
    command = [
        tool,
        "--no-progress-bar",
        "--cwd",
        ".",
        "notebooks/train.ipynb",
        str(tmp_path / "x.ipynb"),
        "-p",
        "run",
        "gp-l/init/0",
    ]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT / "lib")}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "gp-l/init/0" in (tmp_path / "x.ipynb").read_text()


def test_clean_says_what_it_keeps():
    recipe = make("-n", "clean").stdout
    removed = recipe.split("rm -rf ")[1].split("\n")[0].split()
    assert all(
        path.startswith(("build/site", "build/logs", "build/stamps", "build/records", "book/_build"))
        for path in removed
    )
    assert "Kept: " in recipe and "build/state" in recipe


# --- what is printed ----------------------------------------------------------------------------------------


class Handler(calm.LogHandler):
    def __init__(self):
        logging.Handler.__init__(self)
        self.lines = []
        self.__post_init__()

    def say(self, text):
        self.lines.append(text)


def event(kind, **fields):
    return SimpleNamespace(event=calm.LogEvent[kind], levelno=20, **fields)


def test_a_job_is_two_lines_with_how_far_the_build_is(tmp_path, monkeypatch):
    clock = iter([0.0, 0.0, 7.0, 7.0, 7.0, 10.0, 10.0, 10.0])
    monkeypatch.setattr(calm.time, "monotonic", lambda: next(clock))
    monkeypatch.setitem(calm.EXPECTED, "html", 15)
    handler = Handler()
    handler.emit(event("RUN_INFO", stats={"chapter": 2, "html": 1, "book": 1, "total": 4}))
    for job in (1, 2):
        handler.emit(event("JOB_INFO", jobid=job, rule_name="chapter", rule_msg=f'chapter "{job}"'))
    handler.emit(event("JOB_FINISHED", job_id=1))
    assert handler.lines == [
        '[1/3] chapter "1"',
        '[2/3] chapter "2"',
        '[1/3] chapter "1": done in 7 s; 2 to go, about 15 s',
    ]
    log = tmp_path / "x.log"
    log.write_text("\n".join(map(str, range(40))))
    handler.emit(
        event("JOB_ERROR", jobid=2, rule_name="chapter", log=[f"{log} (check log file(s) for error details)"])
    )
    assert handler.lines[-2] == '[2/3] chapter "2": FAILED' and handler.lines[-1].split() == list(
        map(str, range(25, 40))
    )
    handler.emit(event("JOB_INFO", jobid=2, rule_name="chapter", rule_msg='chapter "2"'))
    assert handler.lines[-1] == '[2/3] chapter "2"', "tried again it is the same job"


@pytest.mark.parametrize(
    "seconds, text", [(0.2, "1 s"), (89, "89 s"), (100, "2 min"), (3 * 3600 + 125, "3 h 2 min")]
)
def test_spans(seconds, text):
    assert calm.span(seconds) == text
