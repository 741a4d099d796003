"""The real command line, as a user types it."""

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import skimage.data
import torch
from PIL import Image

from record_files import records_of
from wherenot.cli import main
from wherenot.data import Dataset, decoy, write_folder
from wherenot.evidence import Evidence


@pytest.fixture
def typed(capsys, monkeypatch):
    """Run the command in this process: the same `main`, without seconds of imports."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("COLUMNS", "160")

    def run(*arguments, cwd=None, expect=0):
        if cwd is not None:
            monkeypatch.chdir(cwd)
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as stop:
            code = stop.code
        assert (code or 0) == expect
        printed = capsys.readouterr()
        return printed.out + printed.err

    return run


def wherenot(*arguments, cwd, expect=0):
    """Run the command in a process of its own and return what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "wherenot", *map(str, arguments)],
        cwd=cwd, capture_output=True, text=True, timeout=300, check=False,
        env={**os.environ, "COLUMNS": "160", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    assert done.returncode == expect, done.stderr + done.stdout
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a small data set, a configuration and two photographs, as a user might have them."""
    place = tmp_path_factory.mktemp("user")
    data = decoy(0, num_train=48, num_validation=20, num_test=8)
    keep = tuple(s for s in data.samples if s.split in ("train", "validation", "test_biased", "test_swapped"))
    write_folder(Dataset("digits", data.classes, keep), place / "digits")
    (place / "run.yaml").write_text(
        "data: digits\noptimization: {epochs: 1, batch_size: 16}\n"
        "method: {name: log, weight: 1, interval: 2, confidence_above: 0.0, partition: 'grid:2x2'}\n"
    )
    for name in ("cat", "coffee"):
        Image.fromarray(getattr(skimage.data, name)()).save(place / f"{name}.png")
    return place


@pytest.fixture(scope="module")
def trained(place):
    wherenot("train", "run.yaml", "--out", "runs/log", cwd=place)
    with pytest.MonkeyPatch.context() as here:
        here.chdir(place)
        plain = ["--set.method.weight", "0.0", "--set.name", "plain", "--out", "runs/plain"]
        assert main(["train", "run.yaml", *plain]) == 0
    return place


def test_version_and_help(typed):
    assert wherenot("--version", cwd=None).startswith("wherenot 0.1.0")
    overview = typed("--help")
    for command in (
        "demo",
        "explain",
        "audit",
        "train",
        "compare",
        "report",
        "figures",
        "export",
        "reproduce",
        "advise",
    ):
        assert command in overview
        page = typed(command, "--help")
        assert f"wherenot {command} " in page.replace("\n", " ")


def test_train_writes_a_run_and_goes_on(trained, typed):
    run = json.loads((trained / "runs" / "log" / "run.json").read_text())
    assert run["config"]["method"]["weight"] == 1.0
    assert json.loads((trained / "runs" / "plain" / "run.json").read_text())["name"] == "plain"
    assert "model" in typed("train", "run.yaml", "--out", "runs/log", cwd=trained)
    complaint = typed("train", "run.yaml", "--set.seed", "1", "--out", "runs/log", cwd=trained, expect=1)
    assert "another configuration (differs in: seed)" in complaint


def test_audit_and_compare(trained, typed):
    for name in ("plain", "log"):
        printed = typed(
            "audit", "--model", f"runs/{name}", "--data", "digits", "--partition", "grid:2x2", "--name", name,
            "--splits", "test_swapped", cwd=trained,
        )  # fmt: skip
        assert "report: " in printed
    run = trained / "runs" / "audit-log"
    assert len(records_of(run)) == 8
    page = (run / "report.html").read_text()
    assert "test_swapped" in page
    printed = typed("compare", "runs/audit-plain", "runs/audit-log", "--out", "both", cwd=trained)
    assert "pointing" in printed
    table = (trained / "both" / "comparison.md").read_text()
    assert table.count("|") > 50
    assert "plain" in (trained / "both" / "report.html").read_text()


def test_explain_writes_picture_numbers_and_regions(trained, typed):
    digit = next((trained / "digits").rglob("*.png"))
    printed = typed("explain", digit, "--model", "runs/log", "--partition", "grid:4x4", "--out", "ex", cwd=trained)
    assert "regions" in printed
    stem = trained / "ex" / digit.stem
    evidence = Evidence.load(stem)
    assert sorted(evidence.order.tolist()) == list(range(16))
    with Image.open(stem.with_suffix(".png")) as picture:
        assert picture.width > 400


def test_explain_a_photograph_for_a_named_class(place, typed):
    printed = typed(
        "explain", "coffee.png", "--model", "efficientnet-lite0", "--target", "espresso", "--partition", "grid:3x3",
        "--max-regions", "2", "--out", "ex", cwd=place,
    )  # fmt: skip
    assert "'espresso' with 9" in printed
    assert json.loads((place / "ex" / "coffee.json").read_text())["search"] == "exact"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["explain", "none.png", "--model", "efficientnet-lite0"], "none.png does not exist"),
        (["explain", "broken.png", "--model", "efficientnet-lite0"], "broken.png: cannot be read as an image"),
        (["explain", "cat.png", "--model", "efficientnet-lite0", "--target", "tabby"], "did you mean"),
        (["explain", "cat.png", "--model", "no/such-model"], "no/such-model"),
        (["explain", "--model", "efficientnet-lite0"], "at least one photograph"),
        (["explain", "cat.png", "--model", "efficientnet-lite0", "--partition", "hexagon"], "hexagon"),
        (["explain", "cat.png", "--model", "efficientnet-lite0", "--out", "run.yaml/x"], "cannot write into run.yaml"),
        (["audit", "--model", "efficientnet-lite0", "--data", "nowhere"], "nowhere"),
        (["audit", "--model", "efficientnet-lite0", "--data", "digits"], "10 of the data's are none of the model's"),
        (["train", "none.yaml"], "none.yaml cannot be read"),
        (["train", "typo.yaml"], "method.wieght: no such key"),
        (["compare", "digits"], "digits"),
    ],
)
def test_wrong_input_is_named(place, typed, arguments, message):
    (place / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    (place / "typo.yaml").write_text("method: {wieght: 1}")
    printed = typed(*arguments, cwd=place, expect=1)
    assert message in " ".join(printed.split())


def test_bad_data_are_named_counted_and_skipped_on_request(trained, typed):
    import shutil

    bad = trained / "bad"
    shutil.copytree(trained / "digits", bad)
    masks = sorted(path for path in bad.rglob("*.png") if "mask" in str(path.relative_to(bad)) and "test" in str(path))
    images = sorted(path for path in bad.rglob("*.png") if path not in masks and "test_swapped" in str(path))
    images[0].unlink()
    images[1].write_bytes(b"no image at all")
    wrong_size = next(path for path in masks if path.stem[-5:] == images[2].stem[-5:] and "test_swapped" in str(path))
    Image.new("L", (5, 5), 255).save(wrong_size)
    audit = ("audit", "--model", "runs/log", "--data", "bad", "--partition", "grid:2x2", "--out", "bad-audit")
    complaint = typed(*audit, "--strict", cwd=trained, expect=1)
    assert images[0].name in complaint
    assert images[1].name in complaint
    assert "3" in complaint
    printed = typed(*audit, "--splits", "test_swapped", cwd=trained)
    assert "samples cannot be used and are left out, bad-audit/rejected.jsonl names all" in " ".join(printed.split())
    run = json.loads((trained / "bad-audit" / "run.json").read_text())
    assert len(run["rejected"]) == 3
    page = (trained / "bad-audit" / "report.html").read_text()
    assert images[0].name in page


def test_the_three_lines_in_a_loop_of_ones_own():
    torch.manual_seed(0)
    from wherenot import Alignment, Batch, Prior
    from wherenot.regions import Grid

    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 64, 2))
    align = Alignment(form="log", interval=1, confidence_above=0.0, partition=Grid(2, 2))
    images, targets = torch.rand(4, 3, 8, 8), torch.tensor([0, 1, 0, 1])
    logits = model(images)
    batch = Batch(images=images, targets=targets, logits=logits, priors=[Prior.from_boxes([[0, 0, 4, 4]], 8, 8)] * 4)
    loss = torch.nn.functional.cross_entropy(logits, targets) + align(model, batch, step=1).loss
    loss.backward()
    assert model[1].weight.grad.abs().sum() > 0


def test_an_interruption_says_what_is_kept(place, typed, monkeypatch):
    import wherenot.commands

    def interrupted(command):
        raise KeyboardInterrupt

    monkeypatch.setattr(wherenot.commands, "run", interrupted)
    printed = typed("compare", "runs/a", cwd=place, expect=130)
    assert "what was finished is kept" in printed


class ReadEnough(io.StringIO):
    """Standard output whose reader has gone, as head does."""

    def __init__(self):
        super().__init__()
        self.spare = os.open(os.devnull, os.O_WRONLY)

    def write(self, text):
        raise BrokenPipeError

    def fileno(self):
        return self.spare


@pytest.mark.parametrize("arguments", [["doctor"], ["doctor", "--json"]])
def test_a_reader_that_has_read_enough_is_no_failure(monkeypatch, arguments):
    from wherenot.commands.printing import console

    monkeypatch.setattr(console, "quiet", False)
    monkeypatch.setattr(sys, "stdout", ReadEnough())
    assert main(arguments) == 0


def test_exit_codes_are_those_of_the_page(typed):
    page = (Path(__file__).parent.parent / "docs" / "commands.md").read_text()
    assert re.findall(r"^\| (\d+) \|", page, flags=re.MULTILINE) == ["0", "1", "2", "130", "143"]  # the last two: kills
    typed("--version")
    assert typed("data", "check", "nowhere", expect=1).startswith("wherenot: load_dataset: 'nowhere' is neither")
    assert "--nope" in typed("audit", "--nope", expect=2)
