"""Photograph a sample in the view of a report: ``python docs/report_picture.py REPORT.html PICTURE.png [ID]``.

Without an id the first sample is taken that the first run gets right off the prior and the last run on it.
"""

import io
import json
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

SIZE = {"width": 1120, "height": 1004}
STEPS = 2  # regions that the slider uncovers beyond the first


def photograph(report: Path, picture: Path, id: str | None = None) -> None:
    """Open a report, then a sample, and write what the window shows, in 256 colours."""
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = chromium.new_page(viewport=SIZE, color_scheme="light")
        page.goto(report.resolve().as_uri())
        page.locator("input[name=search]").fill(id or _telling(page))
        page.locator("button.tile").first.click()
        for _ in range(STEPS):
            page.keyboard.press("ArrowRight")
        shot = Image.open(io.BytesIO(page.screenshot()))
        chromium.close()
    shot.convert("RGB").quantize(256).save(picture, optimize=True)


def _telling(page: Page) -> str:
    for sample in json.loads(page.locator("#index").inner_text())["samples"]:
        first, last = sample["runs"][0], sample["runs"][-1]
        if first["right"] and not first["hit"] and last["right"] and last["hit"]:
            return sample["id"]
    raise SystemExit("no sample is right off the prior in the first run and on it in the last; name one by its id")


if __name__ == "__main__":
    photograph(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:4])
