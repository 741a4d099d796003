"""Tasks on one screenshot share the reading of it: the same gradients, in an order that keeps them together."""

from collections import Counter
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from PIL import ImageOps

pytest.importorskip("trl")

from agent_runs import clicks, one_step
from test_agents_trainer import ROUNDING, far
from wherenot.models import VisionLanguageModel
from wherenot.models.tiny_vlms import FAMILIES, tiny_vlm
from wherenot.train.agents.collating import AgentCollator
from wherenot.train.agents.sharing import ScreenSampler, cache_of, shared

pytestmark = [
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated"),  # by peft
    pytest.mark.filterwarnings("ignore:.*lr_scheduler.*"),
    pytest.mark.filterwarnings("ignore:`gradient_checkpointing"),
]
LOOKING_BACK = ("llava", "llava_onevision", "internvl", "smolvlm", "idefics3", "qwen2_vl", "qwen2_5_vl", "qwen3_vl")


def test_every_family_that_looks_back_is_tried():
    found = {name for name in FAMILIES if VisionLanguageModel(*tiny_vlm(name)).family.looks_back}
    assert found == set(LOOKING_BACK)


@pytest.mark.parametrize("family", LOOKING_BACK)
def test_gradients_are_the_same(tmp_path, family, monkeypatch):
    alone, [told], _ = one_step(tmp_path, family=family)
    read = []
    monkeypatch.setattr(
        "wherenot.train.agents.trainer.cache_of", lambda vlm, seen: (read.append(seen), cache_of(vlm, seen))[1]
    )
    together, [again], _ = one_step(tmp_path, family=family, share=True)
    assert [seen["rows"].tolist() for seen in read] == [[0, 0, 0, 0]]
    assert far(together, alone) < ROUNDING
    assert again == pytest.approx(told, abs=1e-5)


@pytest.fixture(scope="module", params=LOOKING_BACK)
def vlm(request):
    return VisionLanguageModel(*tiny_vlm(request.param))


def on_two_screens():
    """Two tasks on one screen, one on another, and again one on the first."""
    red, green, blue, yellow = clicks(("train",)).samples
    turned = ImageOps.mirror(blue.read_image())
    return [red, green, replace(blue, read_image=lambda: turned), yellow]


@torch.no_grad()
def test_each_sequence_is_told_what_it_would_be_told_alone(vlm):
    whole, parts = (AgentCollator(vlm, on_two_screens(), share=share).batch for share in (False, True))
    collator = AgentCollator(vlm, on_two_screens())
    tasks = [collator.task(sample) for sample in on_two_screens()]
    whole, parts = whole(tasks), parts(tasks)
    seen = parts.pop("seen")
    assert seen["rows"].tolist() == [0, 0, 1, 0]
    logits = vlm.model(**{name: whole[name] for name in whole if name not in ("tasks", "labels")}).logits
    parts["past_key_values"] = cache_of(vlm, seen)
    again = vlm.model(**{name: parts[name] for name in parts if name not in ("tasks", "labels")}).logits
    learned, here = whole["labels"] != -100, parts["labels"] != -100
    assert torch.equal(whole["labels"][learned], parts["labels"][here])
    before = logits[:, :-1][learned[:, 1:]]
    assert (again[:, :-1][here[:, 1:]] - before).abs().max() < 1e-5 * before.abs().max()
    assert not here[:, 0].any()  # what the first token of an answer is read from is there


def test_nothing_is_shared_where_nothing_can_be(vlm):
    red, _, blue, _ = on_two_screens()
    collator = AgentCollator(vlm, [], share=True)
    assert "seen" not in collator.batch([collator.task(red), collator.task(blue)])  # different screens
    longer = replace(red, system="You click on what is asked for.")  # what stands before the image differs
    system = collator.task(longer).asked.encoding.inputs
    assert shared(vlm, [collator.task(red).asked.encoding.inputs, system]) is None


def screens(counts):
    red = clicks(("train",)).samples[0]
    return [replace(red, id=f"{n}/{k}", screenshot=str(n)) for n, count in enumerate(counts) for k in range(count)]


def test_tasks_of_a_screenshot_follow_each_other():
    samples = screens([8, 8, 5, 1, 3])
    sampler = ScreenSampler(samples, together=4, seed=3)
    order = list(sampler)
    assert sorted(order) == list(range(25))
    assert len(sampler) == 25
    runs = [samples[order[0]].screenshot]
    for before, after in pairwise(order):
        if samples[before].screenshot != samples[after].screenshot:
            runs.append(samples[after].screenshot)
    assert len(runs) <= 8  # parts: 2 + 2 + 2 + 1 + 1
    assert order != sorted(order)


def test_the_order_depends_on_seed_and_epoch_alone():
    samples = screens([6, 6, 6])
    sampler = ScreenSampler(samples, together=3, seed=0)
    first = list(sampler)
    assert list(sampler) == first
    sampler.set_epoch(1)
    assert list(sampler) != first
    again = ScreenSampler(samples, together=3, seed=0)
    again.set_epoch(1)
    assert list(again) == list(sampler)
    assert list(ScreenSampler(samples, together=3, seed=1)) != first


def test_tasks_without_a_named_screenshot_are_on_one_each():
    red = clicks(("train",)).samples[0]
    samples = [replace(red, id=str(place)) for place in range(40)]
    order = list(ScreenSampler(samples, together=20, seed=0))
    assert sorted(order) == list(range(40))
    assert order != sorted(order)


def test_readers_name_screenshots():
    from wherenot.data import load_dataset

    train = load_dataset("screens").split("train").samples
    count = Counter(sample.screenshot for sample in train)
    assert None not in count
    assert max(count.values()) <= 8 < len(train) / len(count) + 2
    first = next(iter(count))
    images = {sample.read_image().tobytes() for sample in train if sample.screenshot == first}
    assert len(images) == 1
