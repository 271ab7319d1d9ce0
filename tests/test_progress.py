"""Progress: a bar on a terminal, a line now and then elsewhere."""

import io
import sys

from posttrain import progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def told(monkeypatch, seconds, terminal=False, total=100, first=0, **how):
    """What is written when a tenth is done every `seconds`."""
    clock, stream = [0.0], Terminal() if terminal else io.StringIO()
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(sys, "stderr", stream)
    with progress.Progress(total, "step", "gp-l/ppo/0", **how) as shown:
        for done in range(first, total + 1, total // 10):
            shown.update(done, loss=0.31415, tokens_per_s=12345.6)
            clock[0] += seconds
    return stream.getvalue()


def test_a_line_every_half_minute_without_a_terminal(monkeypatch):
    lines = told(monkeypatch, 20).splitlines()
    assert lines[0] == "gp-l/ppo/0  20 %  3 min left  loss=0.314 tokens_per_s=12346"
    assert [line.split("  ")[1] for line in lines] == ["20 %", "40 %", "60 %", "80 %", "100 %"]
    assert lines[-1].split("  ")[2] == "0 min left"


def test_jobs_beside_each_other_write_lines_on_a_terminal_too(monkeypatch):
    monkeypatch.setenv("TQDM_DISABLE", "1")
    assert len(told(monkeypatch, 20, terminal=True).splitlines()) == 5


def test_what_was_done_before_does_not_enter_the_time_left(monkeypatch):
    assert told(monkeypatch, 30, first=50).splitlines()[0].startswith("gp-l/ppo/0  60 %  2 min left")


def test_nothing_is_said_of_something_short_or_by_the_silent(monkeypatch):
    assert told(monkeypatch, 1) == "" and told(monkeypatch, 60, silent=True) == ""
    assert told(monkeypatch, 60, terminal=True, silent=True) == ""


def test_a_bar_on_a_terminal(monkeypatch):
    text = told(monkeypatch, 20, terminal=True)
    assert "\r" in text and "100%" in text and "loss=0.314" in text and "min left" not in text
