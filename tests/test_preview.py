"""What a page tells of itself elsewhere, and the boxes in which its pictures scroll."""

import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "book" / "_ext"))
import accessible  # noqa: E402
import preview  # noqa: E402

CONF = """
extensions = ["myst_parser", "values", "accessible", "preview"]
root_doc = "book/first"
project = html_title = "Rules & games?"
html_favicon = "icon.svg"
html_theme = "basic"
"""
FIRST = """# Rules & games?

**In short.** With "J" &amp; 11, *RL* solves {val}`rules.rl|.0%` and SFT {val}`rules.sft|.0%`.

```{figure} ../figures/ext-distances.png
:alt: a > b
What it shows.
```

```{toctree}
second
```
"""
SECOND = "# Second\n\n```{note}\nAside.\n```\n\n" + "All of this is said at length. " * 9


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    from sphinx.application import Sphinx

    folder = tmp_path_factory.mktemp("preview")
    texts = {"conf.py": CONF, "book/first.md": FIRST, "book/second.md": SECOND, "icon.svg": "<svg/>"}
    texts |= {"figures/values/rules.json": '{"rl": 0.15, "sft": 0}', "figures/ext-distances.png": "picture"}
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    places = [str(folder)] * 2 + [str(folder / name) for name in ("out", "trees")]
    Sphinx(*places, "html", status=None).build()
    out = folder / "out"
    assert (out / "_images" / "ext-distances.png").is_file() and (out / "_static" / "icon.svg").is_file()
    return {path.relative_to(out).as_posix(): path.read_text() for path in out.rglob("*.html")}


def told(page: str) -> dict[str, str]:
    return dict(re.findall(r'<meta (?:name|property)="(description|og:\w+)" content="([^"]*)" />', page))


def test_the_first_page_tells_its_first_paragraph_with_its_numbers(pages):
    said = "With “J” &amp; 11, RL solves 15% and SFT 0%."
    assert told(pages["book/first.html"]) == {
        "description": said,
        "og:title": "Rules &amp; games?",
        "og:type": "article",
        "og:description": said,
        "og:image": "../_images/ext-distances.png",
    }


def test_the_address_of_the_book_tells_what_its_first_page_does(pages):
    front = pages["index.html"]
    assert told(front) == told(pages["book/first.html"]) | {"og:image": "_images/ext-distances.png"}
    assert "<title>Rules &amp; games?</title>" in front and 'href="_static/icon.svg' in front
    assert 'content="0; url=book/first.html"' in front


def test_no_title_says_itself_twice(pages):
    titles = {name: re.search("<title>(.*)</title>", text)[1] for name, text in pages.items()}
    assert titles["book/first.html"] == "Rules &amp; games?"
    assert titles["book/second.html"] == "Second &#8212; Rules &amp; games?"


def test_long_paragraphs_are_cut_at_a_word_and_other_boxes_are_passed_over(pages):
    description = told(pages["book/second.html"])["description"]
    assert description.startswith("All of this is said") and description.endswith("…")
    assert 120 < len(description) <= preview.MOST + 1
    assert preview.cut("a" * 200) == "a" * 159 + "…" and preview.cut("one,\n two") == "one, two"
    assert preview.cut("one, two", 6) == "one…"


def test_pages_of_sphinx_have_a_description_too(pages):
    assert told(pages["search.html"])["description"] == "Search of the book “Rules &amp; games?”"


def test_pictures_get_a_box_once(pages):
    page = pages["book/first.html"]
    assert re.search(r'<span class="wide"><img alt="a &gt; b" src="[^"]*ext-distances.png" ?/></span>', page)
    assert accessible.mend(page) == page
