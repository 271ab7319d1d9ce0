"""The replay of routes in a real browser, from a file. The walks are of policies that are known, and no book
is needed."""

import shutil

import pandas as pd
import pytest
from analysis import walks
from posttrain import config
from posttrain.analysis import replays, walked

from .test_pages import AUDIT, AXE, CLIPPED, WIDE, WIDTHS

PAGE = """<!doctype html>
<html lang="en" data-theme="{theme}">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Replay</title>
<style>{style}
html {{ --pst-color-background: {paper}; background: {paper}; color: {ink}; color-scheme: {theme}; }}</style>
</head>
<body><main class="bd-content"><h1>Replay</h1>
<div class="cell_output"><div class="text_html">{fragment}</div></div></main></body></html>"""
COLOURS = {"light": ("#ffffff", "#222832"), "dark": ("#121212", "#ced6dd")}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("replay")
    said = walked.judged(walks.table(), walks.SETS)
    for name in ("_static", "notebooks"):
        (folder / name).mkdir()
    shutil.copy(config.ROOT / "book" / "explore" / "routes.js", folder / "_static")
    for theme in COLOURS:
        write(folder / "notebooks" / f"{theme}.html", said, theme)
    return folder / "notebooks"


def write(path, said, theme="light"):
    style, (paper, ink) = (config.ROOT / "book" / "style.css").read_text(), COLOURS[theme]
    fragment = replays.fragment(replays.page(said, walks.SETS))
    path.write_text(PAGE.format(style=style, theme=theme, paper=paper, ink=ink, fragment=fragment))


@pytest.fixture
def opened(chromium, folder):
    """opened(theme, width, **options): the page; nothing may fail in it, nothing be asked elsewhere."""
    failed, contexts = [], []

    def go(theme="light", width=1400, **options):
        contexts.append(chromium.new_context(viewport={"width": width, "height": 900}, **options))
        page = contexts[-1].new_page()
        page.on("console", lambda message: failed.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: failed.append(str(error)))
        page.on("request", lambda request: request.url.startswith("file:") or failed.append(request.url))
        page.goto((folder / f"{theme}.html").as_uri())
        return page

    yield go
    for context in contexts:
        context.close()
    assert not failed


def where(page):
    return page.locator("#replay-now strong").first.inner_text()


@pytest.mark.parametrize("theme", COLOURS)
@pytest.mark.parametrize("width", WIDTHS)
def test_it_can_be_read(opened, theme, width):
    page = opened(theme, width)
    assert not page.evaluate(CLIPPED) and not page.evaluate(WIDE)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.locator("#replay summary").click()
    for story in page.locator("#replay-stories button").all():
        story.click()
        assert not page.evaluate(WIDE)
        page.evaluate(AXE)
        assert not page.evaluate(AUDIT)
    texts, size = (
        "document.querySelectorAll('#replay-map text')",
        "parseFloat(getComputedStyle(text).fontSize)",
    )
    sizes = page.evaluate(f"[...{texts}].map((text) => {size})")
    scale = page.evaluate("document.querySelector('#replay-map').getScreenCTM().a")
    assert min(sizes) * scale >= 10


def test_it_begins_where_the_arms_part(opened):
    page = opened()
    assert page.locator("#replay-still").is_hidden()
    assert page.locator("#replay-set").input_value() == "ood"
    assert page.locator("#replay-arm").input_value() == "SFT"
    now = page.locator("#replay-now").inner_text()
    assert "right only in the trained words: an absolute word under relative actions" in now
    assert (
        "that is none of the actions" in now and "never trained" in now and "Right was turn_direction(" in now
    )
    assert page.locator("#replay-ends tr").last.inner_text().endswith("finishes")
    page.locator("#replay-arm").select_option("RL")
    assert "right only" not in page.locator("#replay-now").inner_text()
    assert "\u2713 right" in page.locator("#replay-now").inner_text()


def test_a_route_is_walked_by_keyboard(opened):
    page = opened()
    page.locator("#replay-at").focus()
    page.keyboard.press("Home")
    length = len(walked.rails("ood", "Alderby, held_out, 141").places)
    assert where(page) == f"Point 1 of {length}" and page.locator("#replay-back").is_disabled()
    stood, faced = (page.locator("#replay-here").get_attribute("transform"), where(page))
    page.keyboard.press("ArrowRight")
    assert where(page) == f"Point 2 of {length}" != faced
    assert page.locator("#replay-here").get_attribute("transform") != stood
    page.locator("#replay-on").focus()
    page.keyboard.press("Enter")
    page.locator("#replay-back").focus()
    page.keyboard.press("Enter")
    assert where(page) == f"Point 2 of {length}"
    page.locator("#replay-at").focus()
    page.keyboard.press("End")
    assert where(page) == f"Point {length} of {length}, the destination"
    assert page.locator("#replay-on").is_disabled()


def test_it_plays_to_the_end(opened):
    page = opened()
    page.clock.install()
    length = len(walked.rails("ood", "Alderby, held_out, 141").places)
    page.locator("#replay-at").fill("1")
    page.locator("#replay-play").click()
    page.clock.run_for(3000)
    assert where(page).startswith("Point 3 of") and page.locator("#replay-play").inner_text() == "Pause"
    page.locator("#replay-play").click()
    page.clock.run_for(3000)
    assert where(page).startswith("Point 3 of") and page.locator("#replay-play").inner_text() == "Play"
    page.locator("#replay-play").click()
    page.clock.run_for(60_000)
    assert (
        where(page).startswith(f"Point {length} of") and page.locator("#replay-play").inner_text() == "Play"
    )


def test_the_one_that_never_stops(opened):
    page = opened()
    page.get_by_role("button", name="It never stops").click()
    assert page.locator("#replay-seed").input_value() == "4" and "the destination" in where(page)
    now = page.locator("#replay-now").inner_text()
    assert "Right was stop(). Here the route ends all the same." in now
    assert page.locator("#replay-now ol > li").count() == 2, "two answers"
    page.locator("#replay-at").fill("1")
    assert "nothing </script>" in page.locator("#replay-now").inner_text(), "a model's text is only text"


def test_cells_and_points_can_be_clicked(opened):
    page = opened()
    page.locator("#replay-ends tr").nth(0).locator("td").nth(3).click()
    assert page.locator("#replay-arm").input_value() == "Init" and where(page).startswith("Point 4 of")
    assert page.locator("#replay-now ol > li").count() == 2, "Init needs a second answer"
    page.locator("#replay-map [data-point='1']").click()
    assert where(page).startswith("Point 2 of")
    page.locator("#replay-set").select_option("id")
    page.locator("#replay-route").select_option("1")
    assert (
        where(page).startswith("Point 1 of")
        and "the trained list" in page.locator("#replay-now").inner_text()
    )


def test_without_javascript_a_sentence_stands_there(opened):
    page = opened(java_script_enabled=False)
    assert page.locator("#replay-still").is_visible() and page.locator("#replay").is_hidden()


ODD = (
    "",
    "<img src=x onerror='document.title = 1'>",
    "\u2028\"'</script><!--<script>document.title = 1</script>",
    "x" * 3000,
    '{"action": "<b>turn</b>"}',
    "\u05d0\u202e\U0001f600\0",
)


@pytest.mark.parametrize("width", WIDTHS)
def test_odd_answers_are_text_and_a_second_answer_may_be_missing(folder, opened, width):
    def odd(env):
        return ODD[env._at % len(ODD)]

    arms = {"Init": walks.expert, "SFT": odd, "RL": walks.expert}
    rows = [row for arm, policy in arms.items() for row in walks.walk("ood", arm, policy, steps=1)]
    write(folder / "odd.html", walked.judged(pd.DataFrame(rows), walks.SETS))
    page = opened("odd", width)
    now, texts = page.locator("#replay-now"), []
    for number in range(1, len(ODD) + 1):
        page.locator("#replay-at").fill(str(number))
        texts.append(now.locator("code").first.text_content())
        said = "ends here if a second answer is wrong too" in now.inner_text()
        assert said == (number == 1) and "had ended" not in now.inner_text()
        assert not page.evaluate(CLIPPED) and not page.evaluate(WIDE)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert texts == list(ODD)
    assert page.title() == "Replay" and now.locator("img, b, script").count() == 0
