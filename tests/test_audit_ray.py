"""An audit on a cluster of this machine: the same records as here, though an actor or a node dies in its midst."""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from photo_folder import save_image, save_lines
from wherenot.audit_ray import RayEngine


@pytest.mark.slow
@pytest.mark.skipif(find_spec("ray") is None, reason="needs ray")
@pytest.mark.parametrize(("dies", "count"), [("actor", 10), ("node", 60)])
def test_a_cluster_makes_the_same_records_once_each_though_something_dies(tmp_path, dies, count):
    lines = [{"file_name": f"{i}.png", "label": ["cat", "dog"][i % 2], "box": [0, 0, 3, 4]} for i in range(count)]
    for line in lines:
        save_image(tmp_path / "data" / line["file_name"], size=(12, 12))
    save_lines(tmp_path / "data" / "metadata.jsonl", *lines)
    (tmp_path / "data" / "4.png").write_bytes((tmp_path / "data" / "4.png").read_bytes()[:60])
    script = Path(__file__).with_name("ray_audits.py")
    done = subprocess.run([sys.executable, script, tmp_path, dies], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["died"]
    here, cluster = (sorted(records, key=lambda record: record["number"]) for records in found["records"])
    assert len(here) == len(cluster) == count
    assert [each["error"] is not None for each in here] == [i == 4 for i in range(count)]
    assert len([each for each in here if each["true"]]) >= 2
    for one, other in zip(here, cluster, strict=True):
        assert numbers(one) == pytest.approx(numbers(other), abs=1e-5)
        assert texts(one) == texts(other)
    if dies == "node":  # what it was doing was done again
        again = (tmp_path / "made.txt").read_text().splitlines()
        assert len(again) > len(set(again)) == count
    assert found["pictures"][0] == found["pictures"][1] != []


def numbers(record):
    measures = record["true"] or {}
    return [value for value in (record["p_label"], *measures.values()) if value is not None]


def texts(record):
    return {name: record[name] for name in ("id", "split", "predicted", "evidence_file", "searched", "error")}


def test_no_actors_are_refused():
    with pytest.raises(ValueError, match="actors is 0"):
        RayEngine(actors=0)
