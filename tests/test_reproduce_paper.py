"""Dry runs of the paper's tables and figures: its data layouts and its three architectures, at a tiny size."""

import csv
import json

import pytest
from PIL import Image

from dataset_layouts import make_imagenet_s, make_saliency_bench
from study_runs import in_this_process
from tiny_backbones import BUILDERS
from wherenot.cli import main
from wherenot.experiments import pool

IMAGENET, SALIENCY = "imagenet-s50:data", "saliency-bench:data/Saliency-Bench"
SMALL = (
    "--seeds", "0", "--images-per-split", "12", "--max-images", "2", "--partition", "grid:2x2", "--out", "study",
    "--set", "optimization.epochs=1", "optimization.batch_size=4", "optimization.learning_rate=0.01",
    "method.confidence_above=0.0", "method.interval=1",
)  # fmt: skip
# Each study with what it is made on here, its rows and its figures; no pair of data and model twice.
STUDIES = {
    "table1": (SALIENCY, "resnet", ["--methods", "finetune", "rrr", "xil", "megl", "paper"],
               ["finetune", "rrr", "xil", "megl", "paper"], []),
    "table2": (SALIENCY, "vit", [], ["neither", "deviation", "deviation + redundancy"], []),
    "table3": (SALIENCY, "clip", ["--noise", "0.1"], ["finetune", "paper"], []),
    "fig2": (IMAGENET, "resnet", ["--methods", "finetune", "paper"], ["finetune", "paper"], ["fig2-1"]),
    "fig3": (IMAGENET, "vit", ["--sweep", "interval=2", "weight=5"], ["finetune", "interval=2", "weight=5"],
             ["fig3-1-accuracy", "fig3-1-pointing"]),
}  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("paper")
    make_imagenet_s(place / "data", images=4)
    make_saliency_bench(place / "data", images=4)
    for name, build in BUILDERS.items():
        build(place / f"tiny-{name}")
    return place


@pytest.mark.parametrize("study", STUDIES)
def test_dry_run(study, place, monkeypatch, capsys):
    data, model, options, methods, figures = STUDIES[study]
    monkeypatch.chdir(place)
    monkeypatch.setattr(pool._Worker, "run", in_this_process)
    assert main(["reproduce", study, "--data", data, "--models", f"tiny-{model}", *options, *SMALL]) == 0
    assert "written" in capsys.readouterr().out
    folder = place / "study" / study
    assert (folder / "unfinished.md").read_text() == ""
    rows = list(csv.DictReader((folder / "table.csv").read_text().splitlines()))
    assert [(row["data"], row["split"], row["method"]) for row in rows] == [(data, "test", name) for name in methods]
    for row in rows:
        # Accuracy given a hit is not known without one.
        assert {row[name] for name in row if name.endswith(":seeds") and "given" not in name} == {"1"}
        assert (float(row["forwards"]) > 0) == (row["method"] not in ("finetune", "neither"))
    for ending in ("md", "tex", "html"):
        text = (folder / f"table.{ending}").read_text()
        assert all(name.partition("=")[0] in text for name in methods)
    for name in figures:
        with Image.open(folder / f"{name}.png") as picture:
            assert len(picture.convert("RGB").getcolors(maxcolors=1_000_000)) > 10
    runs = [json.loads(path.read_text()) for path in (place / "study/trials").glob(f"*tiny_{model}*/*/train/run.json")]
    assert {run["config"]["resize"] for run in runs} == {"whole"}
    assert {run["config"]["optimization"]["weight_decay"] for run in runs} == {0.1 if model == "clip" else 0.05}
