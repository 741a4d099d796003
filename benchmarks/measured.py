"""What a study has measured: a file per run while it goes on, and one here that outlives the runs' folders."""

import json
from functools import cached_property
from pathlib import Path


class Measured:
    """The runs of a study: measured in its folder, or kept before in `benchmarks/measured/NAME.jsonl`.

    A run has a place, such as `watermark/tenth/wherenot/0`, which is its folder below the study's.
    """

    def __init__(self, name, out):
        self.out = out
        self.file = Path(__file__).parent / "measured" / f"{name}.jsonl"

    @cached_property
    def kept(self):
        if not self.file.is_file():
            return {}
        found = [json.loads(line) for line in self.file.read_text().splitlines()]
        return {each.pop("run"): each for each in found}

    def read(self, place):
        """What was measured there; None before."""
        file = self.out / place / "measured.json"
        return json.loads(file.read_text()) if file.is_file() else self.kept.get(place)

    def write(self, place, found):
        part = self.out / place / "measured.part"
        part.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps(found))
        part.replace(part.with_suffix(".json"))

    def keep(self):
        """Take what the study's folder holds into the file, one line per run, in the order of places."""
        here = self.out.rglob("measured.json")
        found = self.kept | {str(file.parent.relative_to(self.out)): json.loads(file.read_text()) for file in here}
        self.file.parent.mkdir(exist_ok=True)
        part = self.file.with_suffix(".part")
        part.write_text("".join(json.dumps({"run": place} | found[place]) + "\n" for place in sorted(found)))
        part.replace(self.file)
