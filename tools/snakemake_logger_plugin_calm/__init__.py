"""Snakemake's messages as a reader wants them: one line when a job begins, one when it ends, with how far the
build is.

    [ 3/14] chapter "recognition"
    [ 3/14] chapter "recognition": done in 7 s; 11 to go, about 40 s

`make` passes `--logger calm`. A job's name is its rule's `message`; what one costs, where this build has not
yet seen, is what the Snakefile writes into EXPECTED (seconds, by rule). Errors are shown with the log file's
last lines, and nothing else is printed.
"""

import sys
import time
from collections import Counter, defaultdict
from pathlib import Path

from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent

EXPECTED: dict[str, float] = {}
CORES = 1
TAIL = 15  # lines of a failed job's log


def span(seconds: float) -> str:
    """A length of time in words that are exact enough: 8 s, 3 min, 2 h 10 min."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def plain(message: str) -> str:
    """What is left to say of an error: a failed job was told of already, and an error of the Snakefile
    itself is one line that says what to do."""
    if message.startswith(("RuleException", "Exiting because", "WorkflowError:\nAt least one job")):
        return ""
    if not message.startswith("WorkflowError in "):
        return message.strip()
    return "\n".join(line for line in message.splitlines()[1:] if not line.startswith("  File "))


class LogHandler(LogHandlerBase):
    writes_to_stream, writes_to_file, has_filter, has_formatter, needs_rulegraph = (
        True,
        False,
        True,
        True,
        False,
    )

    def __post_init__(self) -> None:
        self.left: Counter[str] = Counter()  # jobs to do, by rule
        self.jobs: dict[int, tuple[str, str, int, float]] = {}  # id -> rule, name, number, when it began
        self.seen: dict[str, list[float]] = defaultdict(list)  # seconds of finished jobs, by rule
        self.numbers: dict[int, int] = {}  # id -> number, which a job that is tried again keeps
        self.total = 0

    def emit(self, record) -> None:
        handle = {
            LogEvent.RUN_INFO: self.plan,
            LogEvent.JOB_INFO: self.begin,
            LogEvent.JOB_FINISHED: self.end,
            LogEvent.JOB_ERROR: self.fail,
        }.get(getattr(record, "event", None))
        if handle:
            handle(record)
        elif record.levelno >= 40 and (text := plain(record.getMessage())):
            self.say(text)

    def plan(self, record) -> None:
        self.left = Counter({rule: int(count) for rule, count in record.stats.items() if rule != "total"})
        for target in ("book", "figures", "results"):  # they only gather
            self.left.pop(target, None)
        self.total = sum(self.left.values())

    def begin(self, record) -> None:
        if record.rule_name not in self.left:
            return
        number = self.numbers.setdefault(record.jobid, len(self.numbers) + 1)
        self.jobs[record.jobid] = (
            record.rule_name,
            record.rule_msg or record.rule_name,
            number,
            time.monotonic(),
        )
        self.say(f"{self.place(number)} {record.rule_msg}")

    def end(self, record) -> None:
        if record.job_id not in self.jobs:
            return
        rule, name, number, began = self.jobs.pop(record.job_id)
        seconds = time.monotonic() - began
        self.left[rule] -= 1
        self.seen[rule].append(seconds)
        todo = sum(self.left.values())
        rest = f"; {todo} to go, about {span(self.expected())}" if todo else ""
        self.say(f"{self.place(number)} {name}: done in {span(seconds)}{rest}")

    def expected(self) -> float:
        """Seconds left: what is not finished, at the mean of its rule's finished jobs, on all cores."""
        mean = {rule: sum(s) / len(s) for rule, s in self.seen.items()}
        work = sum(count * mean.get(rule, EXPECTED.get(rule, 8.0)) for rule, count in self.left.items())
        running = sum(time.monotonic() - began for *_, began in self.jobs.values())
        return max(1.0, (work - running) / min(CORES, max(1, sum(self.left.values()))))

    def fail(self, record) -> None:
        _, name, number, _ = self.jobs.pop(record.jobid, (None, record.rule_name, len(self.numbers), 0))
        self.say(f"{self.place(number)} {name}: FAILED")
        for log in record.log:
            path = Path(str(log).split(" ")[0])
            if path.is_file() and path.suffix == ".log":
                self.say(
                    "".join(
                        f"    {line}\n" for line in path.read_text(errors="replace").splitlines()[-TAIL:]
                    ).rstrip()
                )

    def place(self, number: int) -> str:
        width = len(str(self.total))
        return f"[{number:{width}}/{self.total}]"

    def say(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)
