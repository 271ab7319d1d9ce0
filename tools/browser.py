"""The Chromium that prints the book and looks at its pages."""

import os
import shutil

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")


def find() -> str | None:
    """The one that BROWSER names, else one on the path; ValueError if what BROWSER names is no program."""
    named = os.environ.get("BROWSER")
    if named and not shutil.which(named):
        raise ValueError(f"BROWSER={named}: there is no such program")
    return named or next(filter(None, map(shutil.which, NAMES)), None)
