"""From a report in a real browser to a model that stopped relying on what was marked there."""

import json
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image

from browsers import launched, needs_browser, opened
from wherenot.audit import AuditConfig, audit
from wherenot.data import Dataset, Sample
from wherenot.models import load_classifier
from wherenot.report import load_run, write_report
from wherenot.report.stored import load_evidence
from wherenot.train.config import MethodConfig, OptimizationConfig, TrainConfig
from wherenot.train.training import train

pytestmark = needs_browser

NUM, SIDE = 16, 28
SQUARE = (2, 2)  # inside of the coloured square in the upper left corner


def nobody():
    return None


def samples(split, num):
    """Dim vertical or horizontal bars; a bright square in the corner gives the class away."""
    rng = np.random.default_rng(len(split))
    for place in range(num):
        label = place % 2
        pixels = rng.integers(0, 60, (SIDE, SIDE, 3), dtype=np.uint8)
        bars = pixels[8:24, 8:24]
        (bars[:, ::4] if label else bars[::4])[:] += 90
        pixels[:7, :7] = (255, 0, 0) if label else (0, 0, 255)
        yield Sample(f"{split}/{place:02d}.png", label, split, None, partial(Image.fromarray, pixels), nobody)


DATA = Dataset("bars", ("rows", "columns"), (*samples("train", NUM), *samples("validation", 10)))


def trained(out, method="finetune", feedback=None):
    config = TrainConfig(
        data="bars",
        feedback=feedback,
        method=MethodConfig(name=method, **({} if method == "finetune" else LOG)),
        optimization=OptimizationConfig(epochs=12, batch_size=16, learning_rate=3e-3),
    )
    return train(config, out, dataset=DATA, quiet=True)


LOG = {"interval": 1, "confidence_above": 0.0, "partition": "grid:4x4", "max_regions": 4, "weight": 3.0}


def audited(model, out):
    config = AuditConfig(splits=("train",), partition="grid:4x4", noise=(), batch_size=NUM)
    return audit(load_classifier(str(model), classes=DATA.classes), DATA, out, config, name="bars", model=str(model))


def corner_evidence(run):
    """Mean evidence on the square over all images."""
    files = [run / record.evidence_file for record in load_run(run).records]
    return float(np.mean([load_evidence(file).map[SQUARE] for file in files]))


@pytest.fixture(scope="module")
def before(tmp_path_factory):
    root = tmp_path_factory.mktemp("before")
    run = audited(trained(root / "model"), root / "audit")
    write_report([run], root / "report.html")
    return root


@pytest.fixture(scope="module")
def page(before):
    with launched() as chromium, opened(chromium, before / "report.html") as page:
        yield page


def test_what_is_marked_in_the_report_loses_its_evidence(before, page, tmp_path):
    page.locator("button.tile").first.click()
    for _ in range(NUM):
        stage = page.locator(".markable").first
        frame = stage.bounding_box()
        page.mouse.click(*(frame[edge] + frame["width"] * SQUARE[0] / SIDE for edge in ("x", "y")))
        page.keyboard.press("n")
    with page.expect_download() as download:
        page.locator("#view button.download").click()
    feedback = tmp_path / download.value.suggested_filename
    download.value.save_as(feedback)

    lines = [json.loads(line) for line in feedback.read_text().splitlines()]
    assert feedback.name == "feedback.jsonl"
    assert [line["id"] for line in lines] == [sample.id for sample in DATA.split("train").samples]
    corner = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    corner[:7, :7] = True
    for line in lines:
        turns = torch.arange(len(line["forbidden"]["runs"])) % 2 == 1
        marked = turns.repeat_interleave(torch.tensor(line["forbidden"]["runs"])).view(line["height"], line["width"])
        assert torch.equal(marked, corner)
    after = audited(trained(tmp_path / "model", "log", str(feedback)), tmp_path / "audit")
    assert corner_evidence(before / "audit") > 0.8
    assert corner_evidence(after) < 0.5
