"""The browser of tests: the Chromium of this machine, and how it is started."""

import shutil

import pytest

CHROMIUM = next(
    (one for one in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if one), None
)
ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--no-first-run",
]  # fmt: skip
browser_needed = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")
