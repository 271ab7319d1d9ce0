"""The built book in a real browser: `make pages`, after `make book`.

Every page, narrow and wide, light and dark: nothing is asked of another machine, nothing fails in the
console, nothing is wider than the window, and an audit of accessibility (axe-core) finds nothing serious.
BROWSER names a Chromium where none is on the path; where there is none at all, everything here is skipped and
says so.
"""

import pytest
from posttrain import config

HTML = config.ROOT / "book" / "_build" / "html"
FOUND = (page.relative_to(HTML) for page in HTML.rglob("*.html"))
PAGES = sorted(str(page) for page in FOUND if page.parts[0] != "_static" and page.name != "index.html")
WIDTHS = (390, 1400)  # a telephone's and a desk's, in pixels
THEME = "Got invalid theme mode: . Resetting to auto."  # what the book's theme says on a first visit
# The theme's scripts: once in some hundred pages, on a busy machine, they look for what is not there yet.
THEIRS = tuple(
    f"_static/scripts/{name}"
    for name in ("bootstrap", "fontawesome", "pydata-sphinx-theme", "sphinx-book-theme")
)
# Texts that stick out of a box which hides what sticks out, and boxes that the page is wider for.
CLIPPED = """() => [...document.querySelectorAll("main *")].filter((element) => {
    const style = getComputedStyle(element), text = element.textContent.trim();
    if (!text || style.visibility === "hidden" || !element.offsetParent) return false;
    if (style.clipPath !== "none" || style.clip !== "auto") return false;  // for screen readers only
    if (element.matches("span.math")) return false;  // MathJax keeps a hidden reading of it within
    return style.overflowX === "hidden" && element.scrollWidth > element.clientWidth + 1;
}).map((element) => element.outerHTML.slice(0, 120))"""
WIDE = """() => document.documentElement.scrollWidth <= innerWidth ? [] :
    [...document.querySelectorAll("main *")].filter((element) => {
        for (let box = element.parentElement; box; box = box.parentElement)
            if (["auto", "scroll", "hidden"].includes(getComputedStyle(box).overflowX)) return false;
        return element.getBoundingClientRect().right > innerWidth + 1;
    }).map((element) => element.outerHTML.slice(0, 120)).slice(0, 5)"""

# The theme chooses its colours once the page is there; an audit in between would compare one scheme's text
# with the other's ground. Where its script fails (above), the page stays as it is after two seconds.
SETTLED = """async (scheme) => {
    const late = performance.now() + 2000;
    while (document.documentElement.dataset.theme !== scheme && performance.now() < late)
        await new Promise(requestAnimationFrame);
    await Promise.all(document.getAnimations().map((animation) => animation.finished.catch(() => null)));
}"""
AXE = (config.ROOT / "tests" / "pages" / "vendor" / "axe.min.js").read_text()
AUDIT = """async () => (await axe.run(document, {resultTypes: ["violations"]})).violations
    .filter((found) => ["serious", "critical"].includes(found.impact))
    .map((found) => [found.id, found.nodes[0].html.slice(0, 200)])"""


@pytest.fixture(scope="module")
def browser(chromium):
    if not PAGES:
        pytest.skip("the book is not built: make book")
    return chromium


def test_the_book_is_there(browser):
    assert {"book/intro.html", "book/api.html", "search.html"} <= set(PAGES)
    page = browser.new_page()
    page.goto((HTML / "index.html").as_uri())
    page.wait_for_url("**/book/intro.html")  # the first page
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", PAGES or ["none"])
def test_a_page(browser, name, width, scheme):
    desk = {"viewport": {"width": width, "height": 900}, "color_scheme": scheme, "reduced_motion": "reduce"}
    with browser.new_context(**desk) as context:
        page = context.new_page()
        asked, failed = [], []
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: failed.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: failed.append(f"{error} {error.stack}"))
        page.on("requestfailed", lambda request: failed.append(request.url))
        page.goto((HTML / name).as_uri(), wait_until="load")
        page.evaluate(SETTLED, scheme)
        assert not [url for url in asked if not url.startswith(("file:", "data:", "blob:"))]
        assert not [text for text in failed if text != THEME and not any(name in text for name in THEIRS)]
        assert not page.evaluate(CLIPPED)
        assert not page.evaluate(WIDE)
        if width == max(WIDTHS):
            page.evaluate(AXE)
            assert not page.evaluate(AUDIT)


def test_the_models_play(browser):
    """The first hand, under a rule that was not trained: SFT's answer would be right under the old one,
    RL's is right. The first answer is there within a second of a free core, and the rest comes fast."""
    page = browser.new_page()
    page.goto((HTML / "book" / "play.html").as_uri(), wait_until="commit")
    page.locator("#play[data-done]").wait_for(timeout=60_000)
    first = page.evaluate("performance.getEntriesByName('play-first')[0].startTime")
    speeds = page.evaluate(
        "[...document.querySelectorAll('#play-arms ol')].map((list) => +list.dataset.speed)"
    )
    print(f"first answer {first:.0f} ms after the page was asked for; tokens/s {speeds}")
    assert first < 5000 and min(speeds) > 20, "ten times the time that an idle core takes"
    assert "would be right if J, Q, K were 10" in page.locator("#play-SFT li").first.inner_text()
    assert "✓ right" in page.locator("#play-RL li").last.inner_text()
    page.locator("#play-RL code").first.focus()
    page.keyboard.press("ArrowRight")
    assert "probability" in page.locator("#play-said").inner_text()
    page.locator("#play-rule").select_option("10")
    page.get_by_role("button", name="Ask").click()
    page.locator("#play[data-done='2']").wait_for(timeout=60_000)
    page.close()


def test_the_explorer_moves(browser):
    page = browser.new_page()
    page.goto((HTML / "notebooks" / "every-hand.html").as_uri())
    said = page.locator("#explorer-arm-RL p")
    end = said.inner_text()
    page.locator("#explorer-time").focus()
    for _ in range(20):
        page.keyboard.press("ArrowLeft")
    assert said.inner_text() != end and "after 0 GFLOP" in said.inner_text()
    page.locator("#explorer-arm-SFT rect").nth(7).click()
    chosen = page.locator("#explorer-hand").input_value()
    assert page.locator("#explorer-about strong").inner_text() == chosen
    assert page.locator("rect.chosen").count() == 3, "the same hand in every arm"
    page.locator("#explorer-set").select_option("ood")
    assert page.locator("#explorer-about strong").inner_text() == page.locator("#explorer-hand").input_value()
    page.close()


def test_a_route_is_walked_again(browser):
    """What the replay does is tested in test_replay.py; here it is in the book, or the book says why not."""
    page = browser.new_page()
    page.goto((HTML / "notebooks" / "every-route.html").as_uri())
    if not page.locator("#replay").count():
        assert "no route to show" in page.locator("main").inner_text() or "has no study" in page.content()
        page.close()
        pytest.skip("the runs of this book kept no dialogues of navigation")
    begun = page.locator("#replay-now strong").first.inner_text()
    page.locator("#replay-at").focus()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    assert page.locator("#replay-now strong").first.inner_text().startswith("Point 2 of ") and begun
    assert page.locator("#replay-ends td.here").count() == 1
    page.close()
