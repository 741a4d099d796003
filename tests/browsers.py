"""Opens pages in Chromium."""

import shutil
from contextlib import contextmanager

import pytest

needs_browser = pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium on the PATH")


@contextmanager
def launched():
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=30_000)  # 5 seconds are too few on a busy machine
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        yield chromium
        chromium.close()


@contextmanager
def opened(chromium, path, **options):
    """A page from a file; whatever it complains of fails the test."""
    faults = []
    page = chromium.new_page(**options)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda message: faults.append(message.text))
    page.goto(path.as_uri())
    yield page
    page.close()
    assert not faults, faults
