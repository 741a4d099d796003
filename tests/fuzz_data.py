"""Reads data sets that something bad happened to: `python tests/fuzz_data.py 1500` has 1500 accidents per format.

Whatever happens to its files, a reader gives samples or a complaint that is a ValueError, in finite time, and what it
gives can be read, or says that it cannot, and can be printed and written.
"""

import json
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

from hostile import MAKERS, harm
from wherenot.data import Dataset, GuiSample, load_dataset

SECONDS = 20


def read_all(dataset: Dataset) -> None:
    """Read every pixel, prior and element, as far as they can be read."""
    for sample in dataset.samples:
        try:
            image = sample.read_image()
        except ValueError:
            continue
        assert image.mode == "RGB"
        prior = sample.read_prior()  # it could be read before, and no file has changed since
        assert prior is None or prior.shape == (image.height, image.width)
        if isinstance(sample, GuiSample):
            sample.elements()


def survives(spec: str) -> str:
    """Read a data set strictly and leniently; returns what came of it."""
    said = ""
    try:
        strict = load_dataset(spec, on_bad="error")
    except ValueError as error:
        strict, said = None, str(error)
        said.encode()
    assert len(said) < 30_000
    try:
        lenient = load_dataset(spec, on_bad="skip")
    except ValueError:
        assert strict is None, "what is good enough for the strict reading is good enough for the lenient one"
        return "refused"
    assert (strict is None) == any(bad.faulty for bad in lenient.rejected)
    read_all(lenient)
    said = [vars(bad) for bad in lenient.rejected], [sample.id for sample in lenient.samples], lenient.classes
    text = json.dumps(said, ensure_ascii=False)
    text.encode()
    assert "\x1b" not in "".join(bad.reason for bad in lenient.rejected)
    return "whole" if strict else "in part"


class Bench:
    """One format's tiny data set, and a copy of it for each accident."""

    def __init__(self, format: str, folder: Path) -> None:
        self.whole = folder / "whole"
        self.whole.mkdir(parents=True)
        self.spec = MAKERS[format](self.whole)

    def run(self, seed: int) -> str:
        """Let the accidents of a seed happen, and read."""
        copy = self.whole.with_name("copy")
        shutil.copytree(self.whole, copy)
        try:
            harm(copy, random.Random(seed))
            return survives(self.spec.replace(str(self.whole), str(copy)))
        finally:
            shutil.rmtree(copy)


def _too_long(*_):
    raise TimeoutError(f"more than {SECONDS} seconds")


def main(count: int, first: int = 0) -> int:
    """Print what came of so many accidents per format; 1 if a reader fell over."""
    signal.signal(signal.SIGALRM, _too_long)
    outcomes, crashes, start = Counter(), {}, time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        for format in MAKERS:
            bench = Bench(format, Path(folder, format))
            for seed in range(first, first + count):
                signal.alarm(SECONDS)
                try:
                    outcomes[bench.run(seed)] += 1
                except Exception as error:  # noqa: BLE001 that there is none is what is tried
                    place = traceback.extract_tb(error.__traceback__)[-1]
                    where = format, type(error).__name__, place.filename, place.lineno
                    crashes.setdefault(where, (seed, str(error)[:200]))
                signal.alarm(0)
            print(f"{format}: {sum(outcomes.values())} so far", flush=True)
    print(f"{sum(outcomes.values())} executions in {time.monotonic() - start:.0f} s: {dict(outcomes)}")
    for where, (seed, said) in crashes.items():
        print(f"CRASH {where}, seed {seed}: {said}")
    return 1 if crashes else 0


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
