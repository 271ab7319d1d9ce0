"""The built book as one PDF: every page of the table of contents, printed by a headless Chromium.

make pdf       (after make book; BROWSER names a Chromium where none is on the path)
"""

import io
import sys
from pathlib import Path

import browser
import pypdf
import yaml
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parent.parent
HTML = ROOT / "book" / "_build" / "html"
OUT = HTML.parent / "sft-memorizes-rl-generalizes.pdf"
ON_SCREEN = ("book/api", "book/api-models", "book/api-results", "book/execution-status")
PAPER = {"format": "A4", "margin": dict.fromkeys(("top", "bottom", "left", "right"), "16mm")}
# What only a screen needs; code is printed where the page shows it, and its folded cells stay folded.
PRINTED = """
    .bd-sidebar, .bd-header-article, .prev-next-footer, .bd-footer, .copybtn, #explorer, #jb-print-toc,
    details.hide, .tag_parameters { display: none !important; }
    h1, h2, h3 { break-after: avoid; }
    img, tr, pre { break-inside: avoid; }
    mjx-container svg, mjx-container svg * { stroke-width: 0 !important; }
    main, .bd-main, .bd-content, .bd-article-container
        { max-width: none !important; display: block !important; }
    pre { white-space: pre-wrap !important; overflow-wrap: anywhere; }
    table { font-size: 0.8em; overflow-wrap: anywhere; }
"""


def pages(toc: dict) -> list[str]:
    """The files of a table of contents, the first page first, without those that nobody reads on paper."""
    listed = [toc["root"], *(chapter["file"] for part in toc["parts"] for chapter in part["chapters"])]
    return [name for name in listed if name not in ON_SCREEN]


def title(text: str) -> str:
    """A page's title, without the book's."""
    return text.partition(" — ")[0]


def main() -> None:
    try:
        path = browser.find()
    except ValueError as error:
        sys.exit(str(error))
    if path is None:
        sys.exit("no browser here: install Chromium, or set BROWSER to the path of one")
    names = pages(yaml.safe_load((ROOT / "book" / "_toc.yml").read_text()))
    if missing := [name for name in names if not (HTML / f"{name}.html").is_file()]:
        sys.exit(f"the book is not built, {missing[0]} is missing: make book")
    whole = pypdf.PdfWriter()
    with sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        page = opened.new_page(color_scheme="light")
        for name in names:
            page.goto((HTML / f"{name}.html").as_uri(), wait_until="load")
            page.add_style_tag(content=PRINTED)
            page.wait_for_function(
                "!window.MathJax || !MathJax.startup || MathJax.startup.promise.then(() => true)"
            )
            whole.append(pypdf.PdfReader(io.BytesIO(page.pdf(**PAPER))), title(page.title()))
        opened.close()
    whole.add_metadata({"/Title": "SFT memorizes, RL generalizes?", "/Author": "The posttrain authors"})
    whole.compress_identical_objects()
    whole.write(OUT)
    print(f"{OUT.relative_to(ROOT)}: {len(whole.pages)} pages, {OUT.stat().st_size / 2**20:.1f} MB")


if __name__ == "__main__":
    main()
