"""What a reader sees on a telephone and without scripts: pictures that can be read, and what is said of what
is pointed at, in sight."""

import pytest

from tests.pages.test_pages import AXE, HTML, PAGES, SETTLED

READABLE = 640  # pixels that a chart is wide at least
WINDOWS = {"telephone": (390, 844), "desk": (1400, 900)}
# Boxes with pictures: how wide the picture is, whether the box scrolls, and what it is marked with.
BOXES = """() => [...document.querySelectorAll(".wide")].filter((box) => box.offsetParent).map((box) => {
    const image = box.querySelector("img");
    return [image.clientWidth, image.naturalWidth, box.scrollWidth > box.clientWidth + 1, box.tabIndex,
        box.getAttribute("role"), box.getAttribute("aria-label")];
})"""
RULES = ["scrollable-region-focusable", "aria-allowed-role", "aria-allowed-attr"]
REACHED = """async (rules) => (await axe.run(document, {runOnly: rules})).violations
    .map((found) => [found.id, found.nodes[0].html.slice(0, 200)])"""
# Of a box: whether all of its first line can be seen and has the page's ground behind it.
SEEN = """(box) => {
    const {left, top} = box.getBoundingClientRect(), look = getComputedStyle(box.closest("#play-look, div"));
    const hit = document.elementFromPoint(left + 20, top + 8);
    return top >= 0 && top + 20 <= innerHeight && (box === hit || box.contains(hit)) &&
        look.backgroundColor !== "rgba(0, 0, 0, 0)";
}"""

# Whether the sentence with the rule lies within what is seen of the prompt.
RULE = """() => {
    const box = document.getElementById("play-prompt"), seen = box.getBoundingClientRect();
    let text = "";
    const first = [...box.children].find((token) => (text += token.textContent).includes("J counts as"));
    const {top, bottom} = first.getBoundingClientRect();
    return top >= seen.top - 1 && bottom <= Math.min(seen.bottom, innerHeight) + 1;
}"""


@pytest.fixture(params=[(window, scheme) for window in WINDOWS for scheme in ("light", "dark")])
def page(chromium, request):
    if not PAGES:
        pytest.skip("the book is not built: make book")
    window, scheme = request.param
    width, height = WINDOWS[window]
    desk = {"viewport": {"width": width, "height": height}, "reduced_motion": "reduce"}
    with chromium.new_context(**desk, color_scheme=scheme) as context:
        opened = context.new_page()
        opened.scheme, opened.narrow = scheme, window == "telephone"
        yield opened


def visit(page, name):
    page.goto((HTML / name).as_uri(), wait_until="load")
    page.evaluate(SETTLED, page.scheme)


def reached(page):
    """Whether the keyboard reaches everything that scrolls."""
    page.evaluate(AXE)
    return page.evaluate(REACHED, RULES) == []


@pytest.mark.parametrize("name", ["book/intro.html", "notebooks/rule-generalization.html"])
def test_charts_keep_a_width_at_which_they_can_be_read(page, name):
    visit(page, name)
    boxes = page.evaluate(BOXES)
    assert boxes
    for number, (wide, natural, scrolls, tab, role, label) in enumerate(boxes, 1):
        assert wide >= min(READABLE, natural)
        assert scrolls == page.narrow, "at a desk all of it is seen"
        if scrolls:
            assert (tab, role) == (0, "region") and str(number) in label
        else:
            assert (tab, role, label) == (-1, None, None), "nothing to reach where nothing scrolls"
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert reached(page)
    if page.narrow:
        box = page.locator(".wide").first
        box.focus()
        page.keyboard.press("ArrowRight")
        page.wait_for_function("document.querySelector('.wide').scrollLeft > 0")


def test_what_is_said_of_a_token_is_in_sight(page):
    visit(page, "book/play.html")
    page.locator("#play[data-done]").wait_for(timeout=60_000)
    for arm in ("Init", "SFT", "RL"):
        token = page.locator(f"#play-{arm} .play-token").nth(20)
        token.evaluate("(token) => token.scrollIntoView({block: 'center'})")
        token.hover()
        said = page.locator("#play-said")
        assert said.inner_text().startswith(f"“{token.inner_text()}”: probability")
        assert said.evaluate(SEEN)
        assert page.locator("#play-prompt").is_visible()
        assert page.evaluate(RULE), "the rule's sentence is in sight too"
    assert reached(page) and not page.locator("#pst-back-to-top").is_visible()


def test_a_hand_without_a_solution_has_a_colour_of_its_own(page):
    visit(page, "book/play.html")
    page.locator("#play[data-done]").wait_for(timeout=60_000)
    badge, grounds = page.locator("#play-badge"), {}
    for hand, rule in {"A A A A": "10", "2 3 4 5": "10", "A K Q J": "11/12/13"}.items():
        page.locator("#play-rule").select_option(rule)
        for number, rank in enumerate(hand.split()):
            page.locator(f"#play-card-{number}").select_option(rank)
        grounds[hand] = badge.evaluate("(badge) => getComputedStyle(badge).backgroundColor")
        assert ("No formula" in badge.inner_text()) == (hand == "A A A A")
    assert len(set(grounds.values())) == 3


def test_what_is_said_of_a_hand_is_in_sight(page):
    visit(page, "notebooks/every-hand.html")
    for arm in ("Init", "SFT", "RL"):
        cell = page.locator(f"#explorer-arm-{arm} rect").nth(30)
        cell.evaluate("(cell) => cell.scrollIntoView({block: 'center'})")
        cell.click()
        assert page.locator("#explorer-about strong").inner_text() == cell.get_attribute("data-hand")
        assert page.locator("#explorer-about").evaluate(SEEN)
    assert reached(page)


def test_without_scripts_stored_dialogues_stand_in_for_the_models(chromium):
    if not PAGES:
        pytest.skip("the book is not built: make book")
    with chromium.new_context(java_script_enabled=False) as context:
        page = context.new_page()
        page.goto((HTML / "book" / "play.html").as_uri())
        still = page.locator("#play-still")
        assert still.is_visible() and page.locator("#play").is_hidden()
        text = still.inner_text()
        assert "JavaScript" in text and all(arm in text for arm in ("Init", "SFT", "RL"))
        assert still.locator(".told li").count() >= 3
