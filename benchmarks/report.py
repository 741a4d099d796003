"""How large a report is and how soon it shows something: ``python benchmarks/report.py FOLDER [--samples 500]``.

Samples are noisy crops of photographs that scikit-image ships, no two of them alike, cut by SLIC; what an audit
would have found is drawn by chance. Needs Playwright and a Chromium on the PATH.
"""

import argparse
import shutil
import sys
import time
from pathlib import Path

import numpy as np
import skimage.data
from PIL import Image
from playwright.sync_api import sync_playwright
from skimage.segmentation import slic

from wherenot.report import write_report

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from report_runs import record, row, write_evidence, write_run

SIDE, CROPS, REPEATS = 224, 40, 5
PAINT = "performance.getEntriesByName('first-contentful-paint')[0].startTime"


def crops(rng):
    """Crops of photographs, and their superpixels."""
    photographs = [Image.fromarray(getattr(skimage.data, name)()) for name in ("cat", "coffee", "astronaut", "rocket")]
    for number in range(CROPS):
        photograph = photographs[number % len(photographs)]
        side = min(photograph.size) * 2 // 3
        left, top = rng.integers(0, photograph.width - side), rng.integers(0, photograph.height - side)
        crop = np.asarray(photograph.crop((left, top, left + side, top + side)).resize((SIDE, SIDE)))
        yield crop, slic(crop, n_segments=50, start_label=0, slic_zero=True).astype(np.int32)


def write_audit(folder, samples):
    """A run folder with so many searched samples."""
    rng = np.random.default_rng(0)
    cut = list(crops(rng))
    rows, columns = np.mgrid[:SIDE, :SIDE] - SIDE / 2
    records = []
    for number in range(samples):
        crop, labels = cut[number % CROPS]
        order = rng.permutation(labels.max() + 1).astype(np.int32)
        values = np.empty(len(order), np.float32)
        values[order] = np.linspace(1, 0, len(order))
        curve = np.linspace(0, 1, len(order) + 1).astype(np.float32)
        write_evidence(
            folder / f"evidence/{number}.npz", height=SIDE, width=SIDE, labels=labels, order=order, map=values[labels],
            image=np.clip(crop.astype(int) + rng.integers(-8, 9, crop.shape), 0, 255).astype(np.uint8),
            insertion=curve, deletion=1 - curve, top_region=labels == order[0],
            allowed=rows**2 + columns**2 < (SIDE / 3) ** 2, forbidden=np.zeros((SIDE, SIDE), bool),
        )  # fmt: skip
        found = {"hit": bool(number % 3), "correct": bool(number % 5)}
        records.append(record(f"{number:05d}.jpg", evidence_file=f"evidence/{number}.npz", **found))
    return write_run(folder, records=records, rows=[row("top1", 0.8), row("pointing_coverage@0.2", 0.67)])


def main():
    """Write the report, open it several times, and print size and times."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("folder", type=Path)
    arguments.add_argument("--samples", type=int, default=500)
    given = arguments.parse_args()
    run = write_audit(given.folder, given.samples)
    started = time.perf_counter()
    report = write_report([run], given.folder / "report.html")
    print(f"written in {time.perf_counter() - started:.1f} s, {report.stat().st_size / 1e6:.1f} MB")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        paints = []
        for _ in range(REPEATS):
            page = chromium.new_page(viewport={"width": 1280, "height": 900})
            page.goto(report.resolve().as_uri())
            page.wait_for_timeout(500)
            paints.append(page.evaluate(PAINT))
            page.close()
        print(f"first paint after {min(paints):.0f} to {max(paints):.0f} ms")


if __name__ == "__main__":
    main()
