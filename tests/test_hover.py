"""Words of the glossary: the first on a page says what it means, and only where one reads."""

import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
GLOSSARY = """# Glossary

```{glossary}
nat
nats
  A unit.

held-out
  Set *aside*.
```
"""
PAGE = """# Held-out nats

`nats` [nats](https://example.org) in nats, then a nat: held-out-like, natter, held-out and nats.

    held-out
"""


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    from sphinx.application import Sphinx

    folder = tmp_path_factory.mktemp("hover")
    (folder / "book").mkdir()
    (folder / "conf.py").write_text("extensions = ['myst_parser', 'hover']\nroot_doc = 'page'\n")
    (folder / "book" / "glossary.md").write_text(GLOSSARY)
    (folder / "page.md").write_text(f"{PAGE}\n```{{toctree}}\nbook/glossary\n```\n")
    sys.path.insert(0, str(ROOT / "book" / "_ext"))
    places = [str(folder)] * 2 + [str(folder / name) for name in ("out", "trees")]
    Sphinx(*places, "html", status=None).build()
    sys.path.remove(str(ROOT / "book" / "_ext"))
    return {name: (folder / "out" / f"{name}.html").read_text() for name in ("page", "book/glossary")}


def test_the_first_word_is_a_link_with_its_meaning(pages):
    links = re.findall(
        r'<a class="glossary-word[^"]*" href="([^"]*)" title="([^"]*)">([^<]*)</a>', pages["page"]
    )
    assert links == [
        ("book/glossary.html#term-nats", "A unit.", "nats"),
        ("book/glossary.html#term-held-out", "Set aside.", "held-out"),
    ]
    assert "then a nat: held-out-like, natter, " in pages["page"], "words of another kind are left alone"


def test_the_glossary_does_not_explain_itself(pages):
    assert "glossary-word" not in pages["book/glossary"] and 'id="term-nats"' in pages["book/glossary"]
