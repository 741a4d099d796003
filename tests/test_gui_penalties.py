"""Penalties for agents: against the golden cases, a slow reference, and paper."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image

from wherenot.data import GuiSample, UiElement
from wherenot.data.gui.elements import target_prior
from wherenot.gui.clicks import chosen_tokens, prepare_click, reliance
from wherenot.gui.penalties import EvidencePenalty, Necessity, Paste
from wherenot.gui.violation import first_violation
from wherenot.models import VisionLanguageModel
from wherenot.models.answers import AnswerReader, read_together
from wherenot.models.tiny_vlms import tiny_vlm
from wherenot.objective import EVALUATION
from wherenot.regions import Grid

SIDE = 84
ANSWER = '{"POINT":[250,250]}'
ALWAYS = {"interval": 1, "right_above": -1.0, "tokens": "all"}


def area(rows, columns):
    inside = np.zeros((10, 10), bool)
    inside[slice(*rows), slice(*columns)] = True
    return inside


TARGET = area((2, 6), (2, 6))
PARTS = {"in": area((2, 5), (2, 6)), "half": area((0, 4), (2, 6)), "small": area((2, 4), (2, 6)),
         "outside": area((8, 10), (8, 10))}  # fmt: skip


@pytest.mark.parametrize(
    ("walk", "violates"),
    [("in outside", None), ("half in", 0), ("outside in", 0), ("small outside", 1)],
)
def test_golden_g22_the_strict_walk(walk, violates):
    assert first_violation([PARTS[name] for name in walk.split()], TARGET, test="strict") == violates


def test_other_readings_of_the_walk():
    parts = [PARTS["small"], PARTS["outside"]]
    assert first_violation(parts, TARGET, test="coverage") == 0  # half of the target is not enough
    assert first_violation(parts, TARGET, test="overlap") == 1
    assert first_violation([PARTS["half"]], TARGET, test="overlap", tau=0.5) is None
    assert first_violation([PARTS["half"]], TARGET, test="overlap", tau=0.51) == 0
    assert first_violation([np.ones((10, 10), bool)], TARGET, test="overlap") is None  # holds all of the target
    assert first_violation([np.ones((10, 10), bool)], TARGET, test="strict") == 0
    with pytest.raises(ValueError, match="need a pixel each"):
        first_violation([~TARGET], np.zeros((10, 10), bool))


def quarters(right=ANSWER, box=(0.0, 0.0, 42.0, 42.0), elements=None):
    """A screen of four coloured squares; the upper left is asked for."""
    pixels = np.zeros((SIDE, SIDE, 3), np.uint8)
    boxes = [(x, y, x + 42.0, y + 42.0) for y in (0.0, 42.0) for x in (0.0, 42.0)]
    shades = ((220, 40, 40), (40, 200, 40), (40, 40, 220), (220, 220, 40))
    for shade, (left, top, right_, bottom) in zip(shades, boxes, strict=True):
        pixels[int(top) : int(bottom), int(left) : int(right_)] = shade
    listed = tuple(UiElement(box=each, clickable=True) for each in boxes) if elements is None else elements
    image = Image.fromarray(pixels)
    return GuiSample(
        id="screen", label=0, split="train", group=None, read_image=lambda: image,
        read_prior=partial(target_prior, box, None, lambda _: (), (SIDE, SIDE)), prompt="Tap red.", right=right,
        instruction="Tap red.", box=box, point=(0.25, 0.25), elements=partial(tuple, listed),
    )  # fmt: skip


@pytest.fixture(scope="module")
def vlm():
    return VisionLanguageModel(*tiny_vlm("llava"))


@pytest.fixture(scope="module")
def click(vlm):
    return prepare_click(vlm, quarters())


def probabilities(vlm, click, pixels):
    """The slow way: one image through the whole model, everything read off its logits."""
    inputs = vlm.family.longer(click.asked.encoding.inputs, torch.tensor(click.asked.answer))
    logits = vlm.model(**{**inputs, "pixel_values": pixels}, use_cache=False).logits[0]
    first = click.asked.encoding.num_tokens - 1
    answer = list(click.asked.answer)
    return logits[first : first + len(answer)].softmax(-1)[range(len(answer)), answer]


def utility(vlm, click, regions):
    inside = torch.isin(click.layout, torch.tensor(regions))
    alone = torch.where(inside | (click.layout < 0), click.pixels, click.fill)
    rest = torch.where(inside, click.fill, click.pixels)
    return probabilities(vlm, click, alone).mean() + 1 - probabilities(vlm, click, rest).mean()


def by_the_slow_way(vlm, click):
    """Algorithm 2: the best two regions by brute force, and the utility of the first that is off the target."""
    count = int(click.labels.max()) + 1
    with torch.no_grad():
        first = max(range(count), key=lambda region: float(utility(vlm, click, [region])))
        others = [region for region in range(count) if region != first]
        second = max(others, key=lambda region: float(utility(vlm, click, [first, region])))
    for region in (first, second):
        inside = click.labels == region
        both = (inside & click.target).sum()
        if both / min(inside.sum(), click.target.sum()) < 0.15:
            return utility(vlm, click, [region]), (first, second)
        if both / click.target.sum() >= 0.75:
            return None, (first, second)
    return None, (first, second)


def gradients(vlm, loss):
    vlm.model.zero_grad()
    loss.backward()
    found = {name: weight.grad.clone() for name, weight in vlm.model.named_parameters() if weight.grad is not None}
    vlm.model.zero_grad()
    return found


@pytest.mark.parametrize("box", [(0.0, 0.0, 42.0, 42.0), (42.0, 0.0, 84.0, 42.0), (0.0, 42.0, 42.0, 84.0)])
def test_the_papers_penalty_equals_the_slow_way(vlm, box):
    click = prepare_click(vlm, quarters(box=box))
    expected, _ = by_the_slow_way(vlm, click)
    found = EvidencePenalty(weight=0.5, **ALWAYS)(vlm, [click], step=1)
    if expected is None:
        assert found.log == {"aligned": 1.0, "penalised": 0.0}
        assert not found.loss.requires_grad
        return
    assert found.loss.item() == pytest.approx(0.5 * expected.item(), abs=1e-5)
    ours, theirs = gradients(vlm, found.loss), gradients(vlm, 0.5 * expected)
    moved = [name for name, gradient in theirs.items() if gradient.abs().max() > 0]
    assert moved
    for name in moved:
        assert torch.allclose(ours[name], theirs[name], atol=1e-5), name


def off_target(vlm):
    """A task whose best region is off its target."""
    for box in [(0.0, 0.0, 42.0, 42.0), (42.0, 42.0, 84.0, 84.0)]:
        click = prepare_click(vlm, quarters(box=box))
        if by_the_slow_way(vlm, click)[0] is not None:
            return click
    raise AssertionError("one of two opposite corners is off")


def test_forms_and_which_have_a_gradient(vlm):
    click = off_target(vlm)
    of = {
        form: EvidencePenalty(weight=1.0, form=form, **ALWAYS)(vlm, [click], step=1).loss
        for form in ("utility", "insertion", "deviation_redundancy", "constant")
    }
    assert not of["constant"].requires_grad
    assert float(of["constant"]) == 1.0
    assert 0 < of["insertion"].item() < of["utility"].item()
    for form in ("utility", "insertion", "deviation_redundancy"):
        assert any(gradient.abs().max() > 0 for gradient in gradients(vlm, of[form]).values()), form


def test_deviation_and_redundancy_equal_the_slow_way(vlm):
    seen = set()
    for box in [(x, y, x + 42.0, y + 42.0) for x in (0.0, 42.0) for y in (0.0, 42.0)]:
        click = prepare_click(vlm, quarters(box=box))
        _, (first, second) = by_the_slow_way(vlm, click)
        off = [not ((click.labels == region) & click.target).any() for region in (first, second)]
        before, after = utility(vlm, click, [first]), utility(vlm, click, [first, second])
        expected = off[0] * before + off[1] * torch.relu(after - before.detach())
        found = EvidencePenalty(weight=1.0, form="deviation_redundancy", **ALWAYS)(vlm, [click], step=1).loss
        assert found.item() == pytest.approx(expected.item(), abs=1e-5)
        ours, theirs = gradients(vlm, found), gradients(vlm, expected)
        assert all(torch.allclose(ours[name], theirs[name], atol=1e-5) for name in ours)
        seen.add((off[0], off[1] and bool(after > before)))
    assert {gain for _, gain in seen} == {False, True}


def test_golden_g24_the_objective_and_its_gradient():
    logits = torch.tensor([[0.9, 0.4], [0.5, 0.2]]).logit().requires_grad_()
    q_ins, q_del = logits.sigmoid().mean(1)
    value = EVALUATION(q_ins, q_del)
    assert value.item() == pytest.approx(1.3)
    value.backward()
    assert logits.grad.flatten().tolist() == pytest.approx([0.045, 0.12, -0.125, -0.08])


@pytest.mark.parametrize("form", ["probability", "log"])
def test_necessity_reads_the_answer_without_its_target(vlm, click, form):
    found = Necessity(weight=2.0, form=form, **ALWAYS)(vlm, [click], step=1)
    image = np.asarray(click.image).copy()
    image[:42, :42] = 0
    hidden = vlm.encode(Image.fromarray(image), "Tap red.").inputs["pixel_values"]
    assert (click.without_target - hidden).abs().max() < 1e-6
    q = probabilities(vlm, click, hidden)
    expected = q.mean() if form == "probability" else -torch.log(1 - q).mean()
    assert found.loss.item() == pytest.approx(2 * expected.item(), rel=1e-4)
    ours, theirs = gradients(vlm, found.loss), gradients(vlm, 2 * expected)
    assert all(torch.allclose(ours[name], theirs[name], atol=1e-5) for name in ours)


def test_paste_shows_another_element_in_place_of_the_target(vlm, click):
    shown = Paste().shown(vlm, click)
    image = np.asarray(click.image).copy()
    image[:42, :42] = image[:42, 42:]  # the first of three of the same size
    assert torch.equal(shown, vlm.encode(Image.fromarray(image), "Tap red.").inputs["pixel_values"])
    alone = prepare_click(vlm, quarters(elements=(UiElement(box=(0.0, 0.0, 42.0, 42.0)),)))
    assert torch.equal(Paste().shown(vlm, alone), alone.without_target)


@pytest.mark.parametrize("penalty", [Necessity, Paste, EvidencePenalty])
def test_tasks_that_share_forwards_are_penalised_as_each_alone(vlm, penalty, monkeypatch):
    monkeypatch.setattr("wherenot.gui.clicks.TOGETHER", 2)
    monkeypatch.setattr("wherenot.gui.penalties.TOGETHER", 3)
    boxes = [(0.0, 0.0, 42.0, 42.0), (42.0, 42.0, 84.0, 84.0), (42.0, 0.0, 84.0, 42.0)]
    tasks = [
        prepare_click(vlm, replace(quarters(right=right, box=box), prompt=prompt))
        for right, box, prompt in zip(
            (ANSWER, '{"POINT":[9,9]}', '{"thought":"there","POINT":[750,250]}'), boxes, ("A", "The next.", "C"),
            strict=True,
        )
    ]  # fmt: skip
    method = penalty(weight=2.0, **ALWAYS)
    together, alone = method(vlm, tasks, step=1), [method(vlm, [task], step=1) for task in tasks]
    acted = [each for each in alone if each.log["penalised"]]
    assert together.log["penalised"] == len(acted) > 0
    mean = torch.stack([each.loss for each in acted]).mean()
    assert together.loss.item() == pytest.approx(mean.item(), abs=1e-5)
    ours, theirs = gradients(vlm, together.loss), gradients(vlm, mean)
    assert all(torch.allclose(ours[name], theirs[name], atol=1e-5) for name in theirs)


def test_when_penalties_act(vlm, click):
    necessity = Necessity(interval=5, right_above=-1.0)
    assert necessity(vlm, [click], step=4).log == {}
    assert necessity(vlm, [click], step=10).log["penalised"] == 1
    unsure = Necessity(interval=1, right_above=1.0)(vlm, [click, click], step=1)
    assert unsure.log == {"aligned": 0.0, "penalised": 0.0}
    assert float(unsure.loss) == 0
    one, two = (Necessity(**ALWAYS)(vlm, [click] * times, step=1).loss for times in (1, 2))
    assert one.item() == pytest.approx(two.item())  # a mean over tasks
    with pytest.raises(ValueError, match="Necessity: interval must be >= 1"):
        Necessity(interval=0)


def test_the_model_is_left_as_it_was(vlm, click):
    before = {name: weight.clone() for name, weight in vlm.model.state_dict().items()}
    vlm.model.train()
    EvidencePenalty(**ALWAYS)(vlm, [click], step=1)
    assert vlm.model.training
    vlm.model.eval()
    assert all(torch.equal(weight, before[name]) for name, weight in vlm.model.state_dict().items())
    assert all(weight.grad is None for weight in vlm.model.parameters())


def test_tokens_that_count(vlm, click):
    with torch.no_grad():
        full, hidden, blank = AnswerReader(vlm, [click.asked])(
            torch.stack([click.pixels, click.without_target, click.fill])
        )
    for tokens, less in (("location", hidden), ("sensitive", blank)):
        chosen = chosen_tokens(vlm, click, tokens).asked.chosen
        assert list(chosen) == ((full - less > 0.2).nonzero().flatten().tolist() or [int((full - less).argmax())])
    assert chosen_tokens(vlm, click, "all") is click
    first = chosen_tokens(vlm, click, "location").asked.chosen[0]
    assert reliance(vlm, click) == pytest.approx(float(full[first] - hidden[first]))


@pytest.mark.parametrize(("tokens", "seen"), [("location", 2), ("sensitive", 2), ("all", 1)])
def test_the_whole_screenshot_is_read_once(vlm, click, monkeypatch, tokens, seen):
    shown = []

    def counting(read):
        def counted(*arguments):
            shown.extend(arguments[-1])
            return read(*arguments)

        return counted

    monkeypatch.setattr(AnswerReader, "__call__", counting(AnswerReader.__call__))
    monkeypatch.setattr("wherenot.gui.clicks.read_together", counting(read_together))
    Necessity(interval=1, right_above=1.0, tokens=tokens)(vlm, [click], step=1)  # the gate alone
    assert len(shown) == seen
    assert sum(torch.equal(pixels, click.pixels) for pixels in shown) == 1
    shown.clear()
    reliance(vlm, click)
    assert len(shown) == 2


@pytest.mark.parametrize("tokens", ["location", "sensitive", "all"])
def test_the_gate_looks_at_the_mean_of_the_counted_tokens(vlm, click, tokens):
    asked = chosen_tokens(vlm, click, tokens).asked
    with torch.no_grad():
        mean = float(AnswerReader(vlm, [asked])(click.pixels[None]).mean())
    for above, acts in ((mean - 1e-4, 1.0), (mean + 1e-4, 0.0)):
        assert Necessity(interval=1, right_above=above, tokens=tokens)(vlm, [click], step=1).log["aligned"] == acts


def test_tasks_that_cannot_be_prepared(vlm):
    with pytest.raises(ValueError, match="has no right answer or no target"):
        prepare_click(vlm, quarters(right=None))
    with pytest.raises(ValueError, match="tells no elements"):
        prepare_click(vlm, quarters(elements=()))
    cut = prepare_click(vlm, quarters(elements=()), partition=Grid(3, 3))
    assert int(cut.labels.max()) == 8
