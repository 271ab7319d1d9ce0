"""The headless browser of these tests: skipped, and said so, where there is none."""

import sys

import pytest
from posttrain import config

sys.path.insert(0, str(config.ROOT / "tools"))
from browser import find as find_browser  # noqa: E402


@pytest.fixture(scope="module")
def chromium():
    try:
        path = find_browser()
    except ValueError as error:
        pytest.fail(str(error))
    if path is None:
        pytest.skip("no browser here: install Chromium, or set BROWSER to the path of one")
    playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield opened
        opened.close()
