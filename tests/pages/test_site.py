"""The built book without a browser: what its pages tell elsewhere, and its size."""

import re

import pytest

from tests.pages.test_pages import HTML, PAGES

BOOK, FILE = 40e6, 8e6  # bytes: of the whole book, and of any page, script or picture
META = re.compile(r'<meta (?:name|property)="(description|og:\w+)" content="([^"]*)" />')


@pytest.fixture(scope="module", autouse=True)
def _built():
    if not PAGES:
        pytest.skip("the book is not built: make book")


@pytest.mark.parametrize("name", [*PAGES, "index.html"])
def test_a_page_tells_what_it_is(name):
    page = HTML / name
    text = page.read_text()
    told, title = dict(META.findall(text)), re.search(r"<title>(.+?)</title>", text)[1]
    assert 10 < len(told["description"]) and told["og:description"] == told["description"]
    assert "missing" not in told["description"] and "{val}" not in told["description"]
    assert told["og:title"] and title.count("SFT memorizes") == 1
    assert (page.parent / told["og:image"]).resolve().is_file()
    icon = re.search(r'<link rel="icon" href="([^"?]+)', text)[1]
    assert (page.parent / icon).resolve().read_text().startswith("<svg")


def test_descriptions_tell_pages_apart():
    told = [dict(META.findall((HTML / name).read_text()))["description"] for name in PAGES]
    assert len(set(told)) == len(told)


def test_the_book_is_small_enough_to_be_read_anywhere():
    sizes = {path: path.stat().st_size for path in HTML.rglob("*") if path.is_file()}
    assert sum(sizes.values()) <= BOOK
    assert [str(path.relative_to(HTML)) for path, size in sizes.items() if size > FILE] == []
