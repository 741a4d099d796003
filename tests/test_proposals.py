"""Priors by models and methods: what each source proposes, what is asked about, and what an interruption keeps."""

import json
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image

from wherenot.data import Dataset, Sample, decoy
from wherenot.data.origins import Origin
from wherenot.models.detectors import Found
from wherenot.models.segmenters import CutOut
from wherenot.priors import Prior
from wherenot.proposals import Proposal, ProposalConfig, Source, Task, asked_about, build_source, propose
from wherenot.proposals.grabcut import grab_cut
from wherenot.proposals.proposing import JOURNAL
from wherenot.proposals.saliency import salient, spectral_residual
from wherenot.proposals.sources import detecting
from wherenot.run import RunFolder

GROUNDING = ProposalConfig(kind="grounding", model="some/detector")
BLACK = partial(Image.new, "RGB", (8, 6))


def nobody():
    return None


def given(prior):
    return prior


def sample(id, label=0, prior=None, **more):
    return Sample(id, label, "train", None, BLACK, partial(given, prior), **more)


def data(*samples):
    return Dataset("pets", ("cat", "big_dog"), samples)


class FixedDetector:
    """Finds what it is told to, by text."""

    prompt, threshold = "a {}", 0.25

    def __init__(self, found):
        self.found, self.asked = found, []

    def __call__(self, images, texts, threshold):
        self.asked += texts
        pairs = [self.found.get(text, ()) for text in texts]
        return [
            Found(*zip(*[(box, score) for box, score in each if score > threshold], strict=True))
            if any(score > threshold for _, score in each)
            else Found((), ())
            for each in pairs
        ]


class Diagonal:
    """Cuts out the diagonal of each box, and thinks little of it."""

    def __call__(self, images, boxes):
        cut = []
        for image, each in zip(images, boxes, strict=True):
            cut.append([])
            for x0, y0, x1, y1 in each:
                inside = torch.zeros(image.height, image.width, dtype=torch.bool)
                for at in range(int(min(x1 - x0, y1 - y0))):
                    inside[int(y0) + at, int(x0) + at] = True
                cut[-1].append(CutOut(inside, 0.25))
        return cut


class FixedSegmenter:
    """Thinks the same of every image, half as much of each further one."""

    prompt = "{}"

    def __init__(self, likely):
        self.likely = likely

    def __call__(self, images, texts):
        return [self.likely / 2**place for place, _ in enumerate(texts)]


DOG = [((0.0, 0.0, 2.0, 3.0), 0.9), ((5.0, 4.0, 8.0, 6.0), 0.5), ((0.0, 0.0, 8.0, 6.0), 0.2)]


# --- sources ----------------------------------------------------------------------------------------------------------


def test_boxes_above_the_threshold_are_united_and_the_best_score_is_kept():
    detector = FixedDetector({"a big dog": DOG})
    source = detecting(detector, GROUNDING, ("cat", "big_dog"), name="some/detector")
    assert (source.texts, source.threshold) == (("a cat", "a big dog"), 0.25)
    nothing, found = source.propose([Task(image=BLACK(), text=text) for text in source.texts])
    expected = torch.zeros(6, 8, dtype=torch.bool)
    expected[:3, :2] = expected[4:, 5:] = True
    assert torch.equal(found.inside, expected)
    assert found.score == 0.9
    assert (nothing.inside, nothing.score) == (None, None)


def test_prompts_are_templates_or_words_for_a_class():
    config = ProposalConfig(kind="grounding", model="m", prompt="one {}!", class_prompts={"big_dog": "{} hound"})
    source = detecting(FixedDetector({}), config, ("cat", "big_dog"), name="m")
    assert source.texts == ("one cat!", "{} hound")
    odd = detecting(FixedDetector({}), GROUNDING, ("{0.__class__}", "a{}b"), name="m")
    assert odd.texts == ("a {0.  class  }", "a a{}b")
    with pytest.raises(ValueError, match="names 'dig_bog', which is no class of the data: 'cat', 'big_dog'"):
        detecting(
            FixedDetector({}),
            ProposalConfig(kind="grounding", model="m", class_prompts={"dig_bog": "x"}),
            ("cat", "big_dog"),
            name="m",
        )


def test_what_is_cut_out_of_a_detectors_boxes_has_the_detectors_score():
    detector = FixedDetector({"a big dog": DOG})
    source = detecting(detector, GROUNDING, ("cat", "big_dog"), name="two", cutter=Diagonal())
    nothing, found = source.propose([Task(image=BLACK(), text=text) for text in source.texts])
    assert found.inside.nonzero().tolist() == [[0, 0], [1, 1], [4, 5], [5, 6]]
    assert found.score == 0.9
    assert nothing.inside is None


def test_boxes_by_hand_are_cut_with_the_mean_of_the_cutters_scores():
    from wherenot.proposals.sources import _by_cutter

    [found] = _by_cutter([Task(image=BLACK(), boxes=((0.0, 0.0, 2.0, 2.0), (4.0, 1.0, 7.0, 4.0)))], cutter=Diagonal())
    assert found.inside.sum() == 5
    assert found.score == 0.25


def test_pixels_of_a_text_above_the_threshold_with_their_mean():
    from wherenot.proposals.sources import _by_text

    likely = torch.zeros(6, 8)
    likely[2, 3], likely[2, 4] = 0.6, 0.8
    found, nothing = _by_text(
        [Task(image=BLACK(), text="cat"), Task(image=BLACK(), text="dog")],
        segmenter=FixedSegmenter(likely),
        threshold=0.5,
    )
    assert found.inside.nonzero().tolist() == [[2, 3], [2, 4]]
    assert found.score == pytest.approx(0.7)
    assert nothing.inside is None


def test_saliency_finds_a_mark_and_nothing_in_one_colour():
    image = Image.new("RGB", (120, 80), (90, 120, 90))
    image.paste((200, 40, 40), (70, 30, 84, 44))
    [found, nothing] = build_source(ProposalConfig(kind="saliency"), ["cat"]).propose(
        [Task(image=image), Task(image=Image.new("RGB", (120, 80), (90, 120, 90)))]
    )
    rows, columns = found.inside.nonzero().float().mean(0).tolist()
    assert abs(rows - 37) < 4
    assert abs(columns - 77) < 4
    assert 0.3 < found.score <= 1
    assert nothing.inside is None
    values = spectral_residual(image)
    assert values.shape == (80, 120)
    assert values.mean() == pytest.approx(1)
    few, _ = salient(values, 9.0)
    many, _ = salient(values, 3.0)
    assert 0 < few.sum() < many.sum()


def test_specks_do_not_stand_out():
    values = np.ones((20, 20))
    values[0, 0] = 4.0  # a hundredth of all
    assert not salient(values)[0].any()


def test_grabcut_finds_an_object_of_another_colour_in_its_box():
    rng = np.random.default_rng(0)
    pixels = rng.integers(60, 90, (60, 80, 3), dtype=np.uint8)
    truth = np.zeros((60, 80), bool)
    truth[20:40, 30:50] = np.hypot(*np.mgrid[-10:10, -10:10]) < 10
    pixels[truth] = (200, 180, 20)
    image = Image.fromarray(pixels)
    cut = grab_cut(image, [(26.0, 16.0, 54.0, 44.0)])
    assert (cut & truth).sum() / (cut | truth).sum() > 0.95
    assert np.array_equal(cut, grab_cut(image, [(26.0, 16.0, 54.0, 44.0)]))
    large = image.resize((1600, 1200), Image.Resampling.NEAREST)
    big = grab_cut(large, [(520.0, 320.0, 1080.0, 880.0)])
    assert big.shape == (1200, 1600)
    theirs = np.kron(truth, np.ones((20, 20), bool))
    assert (big & theirs).sum() / (big | theirs).sum() > 0.9


def test_grabcut_stays_in_the_box_where_a_pixel_of_the_copy_does_not():
    image = Image.new("RGB", (1600, 1200), (60, 90, 60))
    image.paste((200, 180, 20), (520, 320, 1080, 880))
    cut = grab_cut(image, [(521.5, 322.0, 1078.5, 877.0)])
    rows, columns = np.flatnonzero(cut.any(1)), np.flatnonzero(cut.any(0))
    assert (columns[0], columns[-1] + 1, rows[0], rows[-1] + 1) == (521, 1079, 322, 877)


def test_grabcut_gives_up_where_it_cannot_know():
    image = Image.new("RGB", (40, 30), "green")
    assert not grab_cut(image, [(0.0, 0.0, 40.0, 30.0)]).any()
    assert not grab_cut(image, []).any()


def test_without_opencv_boxes_need_a_model(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(ValueError, match=r"pip install 'wherenot\[opencv\]', or name a SAM 2"):
        build_source(ProposalConfig(kind="boxes"), ["cat"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "grounding"}, "grounding needs --model: a Grounding DINO"),
        ({"kind": "segment"}, "segment needs --model: a CLIPSeg"),
        ({"kind": "saliency", "model": "m"}, "saliency takes no --model.*would only say again"),
        ({"kind": "grounding", "model": "m", "detector": "d"}, "has no use for --detector"),
        ({"kind": "saliency", "prompt": "a {}"}, "reads no text"),
        ({"kind": "boxes", "class_prompts": {"cat": "x"}}, "reads no text"),
        ({"kind": "boxes", "threshold": 0.5}, "has no --threshold"),
        ({"kind": "grounding", "model": "m", "prompt": "a photo"}, "has no {} for the class"),
        ({"kind": "grounding", "model": "m", "threshold": 1.0}, "threshold 1.0 is not a score from 0, below 1"),
        ({"kind": "saliency", "threshold": -1.0}, "is not means of the map"),
        ({"kind": "segment", "model": "m", "threshold": float("nan")}, "nan is not a score"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        ProposalConfig(**settings)


# --- what is asked about, and what becomes of it ----------------------------------------------------------------------

HAND = Prior.from_boxes([[1, 1, 4, 3]], 6, 8)
NOT_HERE = Prior.from_boxes([[0, 0, 2, 6]], 6, 8, forbidden=True)


def fixed(kind="grounding", **proposals):
    """A source that proposes by text, and says what it was asked."""
    asked = []

    def propose_all(tasks):
        asked.append([task.text for task in tasks])
        return [proposals.get(task.text, Proposal()) for task in tasks]

    return Source(kind=kind, model="fixed", propose=propose_all, texts=("cat", "dog"), threshold=0.3), asked


LEFT = Proposal(inside=torch.arange(8).expand(6, 8) < 4, score=0.75)


def test_a_prior_by_hand_is_kept_and_what_is_forbidden_stays(tmp_path):
    source, asked = fixed(cat=LEFT)
    pets = data(sample("a"), sample("b", prior=HAND), sample("c", prior=NOT_HERE), sample("d", 1))
    samples = asked_about(pets, source)
    assert [each.id for each in samples] == ["a", "c", "d"]
    proposed = propose(pets, source, samples, RunFolder(tmp_path), batch_size=2)
    assert asked == [["cat", "cat"], ["dog"]]
    assert (proposed.made, proposed.nothing, proposed.kept) == (2, ("d",), 1)
    a, b, c, d = proposed.dataset.samples
    assert torch.equal(a.read_prior().allowed, LEFT.inside)
    assert a.origin == Origin(
        kind="grounding", model="fixed", prompt="cat", score=0.75, threshold=0.3, wherenot=a.origin.wherenot
    )
    assert b.read_prior() is HAND
    assert b.origin is None
    assert torch.equal(c.read_prior().forbidden, NOT_HERE.forbidden)
    assert c.read_prior().evidence_allowed().sum() == 6 * 2
    assert d.read_prior() is None
    assert d.origin is None
    everything = asked_about(pets, source, replace_priors=True)
    replaced = propose(pets, source, everything, RunFolder(tmp_path / "other")).dataset
    assert torch.equal(replaced.samples[1].read_prior().allowed, LEFT.inside)


def test_what_leaves_evidence_nowhere_was_not_found(tmp_path):
    source, _ = fixed(cat=Proposal(inside=NOT_HERE.forbidden, score=1.0))
    pets = data(sample("a", prior=NOT_HERE))
    proposed = propose(pets, source, pets.samples, RunFolder(tmp_path))
    assert proposed.nothing == ("a",)
    assert proposed.dataset.samples[0].read_prior() is NOT_HERE


def test_boxes_are_those_of_the_data_or_masks_made_of_them():
    mask = torch.zeros(6, 8, dtype=torch.bool)
    mask[1:3, 2:5] = mask[4:6, 6:8] = True
    odd = mask.clone()
    odd[3, 2] = True
    machine = sample("e", prior=HAND, origin=Origin(kind="saliency"))
    pets = data(
        sample("a", prior=HAND, boxes=((1.0, 1.0, 4.0, 3.0),)),
        sample("b", prior=Prior.from_mask(mask)),
        sample("c", prior=Prior.from_mask(odd)),
        sample("d"), machine, sample("f", prior=NOT_HERE), sample("g", prior=Prior.from_mask(torch.ones(6, 8) > 0)),
    )  # fmt: skip
    source, _ = fixed("boxes")
    found = asked_about(pets, source)
    assert {each.id: each.boxes for each in found} == {
        "a": ((1.0, 1.0, 4.0, 3.0),),
        "b": ((2.0, 1.0, 5.0, 3.0), (6.0, 4.0, 8.0, 6.0)),
    }


def test_refined_boxes_are_remembered(tmp_path):
    source, _ = fixed("boxes", cat=LEFT)
    pets = data(sample("a", prior=HAND))
    proposed = propose(pets, source, asked_about(pets, source), RunFolder(tmp_path)).dataset
    assert proposed.samples[0].origin.boxes == ((1.0, 1.0, 4.0, 3.0),)
    assert proposed.samples[0].boxes == ()


def test_only_the_splits_named_are_asked_about():
    from dataclasses import replace

    source, _ = fixed()
    pets = data(sample("a"), replace(sample("b"), split="test"))
    assert [each.id for each in asked_about(pets, source, splits=["test"])] == ["b"]
    with pytest.raises(ValueError, match="has no split 'tset'"):
        asked_about(pets, source, splits=["tset"])


def test_nothing_to_ask_about_is_an_error():
    source, _ = fixed()
    with pytest.raises(ValueError, match="every sample of pets asked about has a prior already; --replace"):
        asked_about(data(sample("a", prior=HAND)), source)
    source, _ = fixed("boxes")
    with pytest.raises(ValueError, match="no sample of pets has a prior that is boxes alone"):
        asked_about(data(sample("a")), source)


def test_an_interrupted_run_goes_on_and_comes_to_the_same(tmp_path):
    pets = decoy(num_train=10).split("train")
    saliency = build_source(ProposalConfig(kind="saliency"), pets.classes)
    whole = propose(pets, saliency, pets.samples, RunFolder(tmp_path / "whole"), batch_size=4)

    calls = []

    def breaking(tasks):
        calls.append(len(tasks))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return saliency.propose(tasks)

    broken = Source(kind="saliency", model=saliency.model, propose=breaking, threshold=saliency.threshold)
    folder = RunFolder(tmp_path / "broken")
    with pytest.raises(KeyboardInterrupt):
        propose(pets, broken, pets.samples, folder, batch_size=4)
    with (folder.path / JOURNAL).open("a") as file:
        file.write('{"split": "train", "id": "cut sho')
    done = []
    resumed = propose(pets, broken, pets.samples, folder, batch_size=3, on_samples=done.append)
    assert calls == [4, 4, 3, 3]
    assert done == [4, 3, 3]
    for one, other in zip(whole.dataset.samples, resumed.dataset.samples, strict=True):
        assert one.origin == other.origin
        first, second = one.read_prior(), other.read_prior()
        assert torch.equal(first.allowed, second.allowed)
    assert len([json.loads(line) for line in (folder.path / JOURNAL).read_text().splitlines()]) == 10


def test_batches_are_halved_where_memory_is_short(tmp_path):
    calls = []

    def hungry(tasks):
        calls.append(len(tasks))
        if len(tasks) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return [LEFT for _ in tasks]

    source = Source(kind="saliency", model="m", propose=hungry)
    pets = data(*(sample(str(place)) for place in range(5)))
    assert propose(pets, source, pets.samples, RunFolder(tmp_path), batch_size=5).made == 5
    assert calls == [5, 2, 3, 1, 2]
