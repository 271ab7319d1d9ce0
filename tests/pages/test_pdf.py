"""`make pdf`: the whole book, in the order of its table of contents, with an outline."""

import os
import subprocess
import sys

import pypdf
import pytest
import yaml
from posttrain import config

SCRIPT = config.ROOT / "tools" / "pdf.py"
OUT = config.ROOT / "book" / "_build" / "sft-memorizes-rl-generalizes.pdf"


def test_the_book_on_paper():
    if not (config.ROOT / "book" / "_build" / "html" / "index.html").is_file():
        pytest.skip("the book is not built: make book")
    done = subprocess.run([sys.executable, SCRIPT], capture_output=True, text=True)
    if "no browser here" in done.stderr:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0 and "pages" in done.stdout, done.stderr
    toc = yaml.safe_load((config.ROOT / "book" / "_toc.yml").read_text())
    listed = 1 + sum(len(part["chapters"]) for part in toc["parts"])
    book = pypdf.PdfReader(OUT)
    assert len(book.outline) == listed - 4, "all but the library's pages and how chapters were computed"
    starts = [book.get_destination_page_number(place) for place in book.outline]
    assert starts == sorted(set(starts)) and starts[0] == 0
    assert "SFT memorizes, RL generalizes?" in book.pages[0].extract_text().replace("\n", " ")


def test_without_a_browser_one_line_says_so(tmp_path):
    env = {**os.environ, "PATH": str(tmp_path)}
    env.pop("BROWSER", None)
    done = subprocess.run([sys.executable, SCRIPT], capture_output=True, text=True, env=env)
    assert done.returncode == 1
    assert done.stderr == "no browser here: install Chromium, or set BROWSER to the path of one\n"


def test_a_browser_that_is_not_there_is_named():
    env = {**os.environ, "BROWSER": "/no/such/browser"}
    done = subprocess.run([sys.executable, SCRIPT], capture_output=True, text=True, env=env)
    assert done.returncode == 1 and done.stderr == "BROWSER=/no/such/browser: there is no such program\n"
