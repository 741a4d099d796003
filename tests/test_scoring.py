"""What the score refuses, how it batches, what it leaves behind."""

import gc
import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from toys import RecordingModel, SmallBatchNormNet, seeded
from wherenot.explain import explain
from wherenot.microbatch import MicroBatch, default_chunk, measured
from wherenot.regions import Grid
from wherenot.scoring import RegionScore
from wherenot.search import SEARCHES, Exact, Fast


def net(seed=0):
    return seeded(SmallBatchNormNet, seed).eval()


def batch(count=2, seed=0):
    return torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(seed)) * 2


def answers(function):
    """A model that answers with something of its own making, whatever it sees."""
    return lambda images: function(images.mean((2, 3)))


@pytest.mark.usefixtures("unhooked")
@pytest.mark.parametrize(
    ("model", "message"),
    [
        (answers(lambda logits: logits.softmax(1)), "seems to give probabilities"),
        (answers(lambda logits: logits[:, 0]), r"logits of shape \(\d+, classes\), it gave \(\d+,\)"),
        (answers(lambda logits: logits[:1]), r"logits of shape \(\d+, classes\)"),
        (answers(lambda logits: logits[:, None]), r"logits of shape \(\d+, classes\)"),
        (answers(lambda logits: {"logits": logits}), "it gave dict"),
        (answers(lambda logits: logits * math.nan), "a score must be finite"),
        (answers(lambda logits: torch.full_like(logits, math.inf)), "a score must be finite"),
        (answers(lambda logits: logits[:, :1]), "at least 2 classes"),
    ],
)
def test_anything_but_finite_logits_is_refused(model, message):
    with pytest.raises(ValueError, match=message):
        explain(model, batch(), torch.tensor([0, 0]), regions=Grid(2, 2), chunk=4)


@pytest.mark.usefixtures("unhooked")
def test_wrong_partitions_and_targets_are_named():
    with pytest.raises(ValueError, match="image 0 has a single region"):
        explain(net(), batch(), regions=Grid(1, 1))
    with pytest.raises(ValueError, match="do not fit into 8 x 8 pixels"):
        explain(net(), batch(), regions=Grid(9, 9))
    with pytest.raises(ValueError, match="50 regions do not fit"):
        explain(net(), torch.rand(1, 3, 7, 7))
    with pytest.raises(ValueError, match="must use every label"):
        explain(net(), batch(1), regions=torch.full((1, 8, 8), 1))
    for target in ([0, 3], [0, -1]):
        with pytest.raises(ValueError, match=r"targets must be in 0\.\.2"):
            explain(net(), batch(), torch.tensor(target), regions=Grid(2, 2))
    with pytest.raises(ValueError, match=r"must hold one entry per image, got 2, 2, 1 and 2"):
        explain(net(), batch(), torch.tensor([0]), regions=Grid(2, 2))
    for chunk in (0, -1, "fast"):
        with pytest.raises(ValueError, match="chunk must be a number >= 1"):
            RegionScore(net(), batch(), torch.zeros(2, 8, 8).long(), torch.tensor([0, 0]), batch(), chunk=chunk)


def test_an_image_with_nan_is_named():
    images = batch(3)
    images[1, 0, 2, 2] = math.nan
    with pytest.raises(ValueError, match="a subset of image 1 is"):
        explain(net(), images, torch.tensor([0, 0, 0]), regions=Grid(2, 2))


@pytest.mark.parametrize("search", list(SEARCHES.values()), ids=list(SEARCHES))
def test_order_is_the_same_in_every_chunk_and_company_and_on_repeat(search):
    model, images = net(), batch(3)
    settings = {"regions": Grid(4, 4), "search": search, "max_regions": 6}
    plain = explain(model, images, chunk=7, **settings)
    for chunk in (1, 3, 1000, "measure", None):
        for one, other in zip(plain, explain(model, images, chunk=chunk, **settings), strict=True):
            assert one.order.tolist() == other.order.tolist()
            assert one.forwards == other.forwards
    for index in range(3):
        [alone] = explain(model, images[index : index + 1], chunk=7, **settings)
        assert alone.order.tolist() == plain[index].order.tolist()
        assert alone.forwards == plain[index].forwards
    for _ in range(2):
        first, second = (explain(model, images, **settings) for _ in range(2))
        for one, other in zip(first, second, strict=True):
            assert one.values.tobytes() == other.values.tobytes()


@pytest.mark.parametrize("search", list(SEARCHES.values()), ids=list(SEARCHES))
def test_other_names_for_the_regions_give_the_same_order(search):
    labels = torch.from_numpy(Grid(4, 4)(np.zeros((8, 8, 3), np.uint8)))[None]
    names = torch.randperm(16, generator=torch.Generator().manual_seed(3))
    [plain] = explain(net(), batch(1), regions=labels, search=search)
    [renamed] = explain(net(), batch(1), regions=names[labels], search=search)
    assert renamed.order.tolist() == names[torch.from_numpy(plain.order)].tolist()


def test_forwards_are_the_images_shown():
    for search in SEARCHES.values():
        model = RecordingModel(net())
        evidence = explain(model, batch(), torch.tensor([0, 1]), regions=Grid(3, 3), search=search, chunk=5)
        assert sum(one.forwards for one in evidence) == len(model.shown)
        assert len({image.numpy().tobytes() for image in model.shown}) == len(model.shown)


def test_several_targets_of_one_image():
    model, images = net(), batch(2)
    targets = torch.tensor([[0, 2], [1, 1]])
    found = explain(model, images, targets, regions=Grid(3, 3), max_regions=4)
    assert [one.target for one in found] == [0, 2, 1, 1]
    for index, one in enumerate(found):
        image = index // 2
        [alone] = explain(
            model, images[image : image + 1], torch.tensor([one.target]), regions=Grid(3, 3), max_regions=4
        )
        assert one.order.tolist() == alone.order.tolist()
        assert one.empty == pytest.approx(alone.empty, abs=1e-6)
        assert one.full == pytest.approx(alone.full, abs=1e-6)
        assert one.forwards <= alone.forwards
    assert found[3].forwards == 0  # the same target again
    both = sum(explain(model, images[:1], targets[0, [one]], regions=Grid(3, 3))[0].forwards for one in (0, 1))
    assert found[0].forwards + found[1].forwards < both


def test_autocast_keeps_the_softmax_in_full_precision():
    seen = []

    class Watched(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = net()

        def forward(self, images):
            logits = self.inner(images)
            seen.append(logits.dtype)
            return logits

    [half] = explain(Watched(), batch(1), torch.tensor([0]), regions=Grid(2, 2), autocast=torch.bfloat16)
    [plain] = explain(net(), batch(1), torch.tensor([0]), regions=Grid(2, 2))
    assert torch.bfloat16 in seen
    assert half.insertion == pytest.approx(plain.insertion, abs=0.05)
    assert half.insertion.tobytes() != plain.insertion.tobytes()


def test_measuring_prefers_what_is_faster_per_image():
    asked = []

    def forward(images):
        asked.append(len(images))
        # A fixed price per forward, and from five images on a price that grows out of bounds.
        torch.zeros(2_000_000 if len(images) <= 4 else 2_000_000 * len(images)).exp()

    model = nn.Identity()
    best = measured(model, torch.zeros(1, 1, 8, 8), forward)
    assert best == MicroBatch(4)
    count = len(asked)
    assert measured(model, torch.zeros(5, 1, 8, 8), forward) == best
    assert len(asked) == count
    measured(model, torch.zeros(1, 1, 9, 9), forward)
    assert len(asked) > count


def test_measuring_stops_at_the_edge_of_memory():
    def forward(images):
        if len(images) > 8:
            raise torch.OutOfMemoryError

    assert measured(nn.Identity(), torch.zeros(1, 1, 8, 8), forward).size <= 8


def test_where_nothing_can_be_remembered_the_default_serves():
    class Unhashable:
        __hash__ = None

        def __call__(self, images):
            return images.mean((2, 3))

    images = torch.rand(1, 3, 16, 16)
    assert measured(Unhashable(), images, lambda shown: shown) == MicroBatch(default_chunk(images))
    assert len(explain(Unhashable(), images, torch.tensor([0]), regions=Grid(7, 7), max_regions=2)) == 1


def test_what_is_measured_goes_with_the_model():
    from wherenot import microbatch

    model = nn.Identity()
    before = len(microbatch._measured)
    measured(model, torch.zeros(1, 1, 8, 8), lambda shown: shown)
    assert len(microbatch._measured) == before + 1
    del model
    gc.collect()
    assert len(microbatch._measured) == before


def test_a_compiled_model_gives_the_same_evidence():
    model = net()
    compiled = torch.compile(model, backend="eager")
    [plain] = explain(model, batch(1), torch.tensor([0]), regions=Grid(3, 3), search=Fast())
    [fast] = explain(compiled, batch(1), torch.tensor([0]), regions=Grid(3, 3), search=Fast())
    assert fast.order.tolist() == plain.order.tolist()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads the resident set of Linux")
def test_memory_is_flat_over_two_hundred_explanations_in_a_training_loop():
    program = """
import ctypes, gc, sys, torch
sys.path.insert(0, "tests")
from toys import SmallBatchNormNet
from wherenot import Alignment, Batch, Prior
from wherenot.explain import explain
from wherenot.regions import Grid
from wherenot.search import Exact, Fast

def resident_mib():
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # else it is what the allocator keeps for later
    pages = int(open("/proc/self/statm").read().split()[1])
    return pages * 4096 / 2**20

torch.manual_seed(0)
torch.set_num_threads(1)
model = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 3, padding=1), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(4),
                            torch.nn.Flatten(), torch.nn.Linear(32, 3))
optimizer = torch.optim.SGD(model.parameters(), 1e-3)
align = Alignment(interval=1, confidence_above=0.0, partition=Grid(4, 4), search=Fast(), max_regions=3)
prior = Prior.from_boxes([[0, 0, 20, 20]], 64, 64)
for step in range(1, 101):  # two images each
    images, targets = torch.rand(2, 3, 64, 64), torch.tensor([0, 1])
    explain(model, images, targets, regions=Grid(4, 4), search=Exact(), max_regions=3)
    logits = model(images)
    batch = Batch(images=images, targets=targets, logits=logits, priors=[prior] * 2)
    loss = torch.nn.functional.cross_entropy(logits, targets) + align(model, batch, step).loss
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step == 25:
        before = resident_mib()
print(resident_mib() - before)
"""
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    grown_mib = float(done.stdout)
    one_image_mib = 3 * 64 * 64 * 4 / 2**20
    assert grown_mib < 75 * one_image_mib  # not even one image kept per step


def test_exact_is_the_default():
    [plain] = explain(net(), batch(1), torch.tensor([0]), regions=Grid(3, 3))
    [exact] = explain(net(), batch(1), torch.tensor([0]), regions=Grid(3, 3), search=Exact())
    assert plain.search == exact.search == "exact"
    assert plain.order.tolist() == exact.order.tolist()
