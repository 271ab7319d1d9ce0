"""The extension `parallel` of the book: all cores, and no extension left that would make the build serial."""

import os
import sys
from types import SimpleNamespace

from posttrain.config import ROOT

sys.path.insert(0, str(ROOT / "book" / "_ext"))
import parallel  # noqa: E402


def test_pages_are_dealt_to_twice_as_many_processes_as_there_are_cores():
    known = {name: SimpleNamespace(parallel_read_safe=None) for name in (*parallel.UNSAID, "another")}
    events = {}
    config = {"numfig": True}
    app = SimpleNamespace(
        parallel=1, extensions=known, config=config, connect=lambda name, do: events.update({name: do})
    )
    assert parallel.setup(app)["parallel_read_safe"] and app.parallel == 2 * os.cpu_count()
    events["builder-inited"](app)
    assert [known[name].parallel_read_safe for name in parallel.UNSAID] == [True, True]
    assert config == {"numfig": False}
    assert known["another"].parallel_read_safe is None, "what says nothing else is not vouched for"
    del known[parallel.UNSAID[0]]
    events["builder-inited"](app)
    app.parallel, pages = 3, list("abcdefgh")
    events["env-before-read-docs"](app, None, pages)
    assert pages == list("adgbehcf"), "neighbours lie apart, and none is lost"
