"""The preset `paper` in a training loop equals the paper's sentences, step by step."""

import copy
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

import reference_training as reference
from toys import SmallBatchNormNet, seeded
from vits import family
from wherenot import Batch, Prior
from wherenot.masking import Normalization
from wherenot.methods import PRESETS

SETTINGS = {"interval": 4, "confidence_above": 0.4, "max_regions": 5, "stop_above": 0.6}
CLASSES, IMAGES, STEPS = 3, 6, 20
RATE, DECAY = 0.01, 0.05


def cnn():
    model = seeded(SmallBatchNormNet)
    model.drop.p = 0.0
    return model, 8


def vit():
    return family("ViT"), 32


def batches(side, count=4):
    """Images of noise with an object inside the prior and a telltale corner outside; the last image has no prior."""
    random = torch.Generator().manual_seed(1)
    cell = side // 4
    made = []
    for _ in range(count):
        images = 0.5 * torch.randn(IMAGES, 3, side, side, generator=random, dtype=torch.float64)
        targets = torch.randint(CLASSES, (IMAGES,), generator=random)
        inside = torch.zeros(IMAGES, side, side, dtype=torch.bool)
        for index, target in enumerate(targets.tolist()):
            x, y = (cell * torch.randint(0, 2, (2,), generator=random)).tolist()
            inside[index, y : y + cell, x : x + 2 * cell] = True
            images[index, target, y : y + cell, x : x + 2 * cell] += 1.0
            images[index, target, -cell:, -cell:] += 2.0
        # Six to eight regions, each of scattered cells; a region of one image is another of the next.
        numbers = torch.stack(
            [torch.cat([torch.arange(6 + i % 3), torch.randint(6, (10 - i % 3,), generator=random)])[
                torch.randperm(16, generator=random)] for i in range(IMAGES)]
        )  # fmt: skip
        labels = numbers.view(-1, 4, 4).repeat_interleave(cell, 1).repeat_interleave(cell, 2)
        made.append((images, labels, targets.tolist(), [*inside[:-1], None]))
    return made


def library_batch(model, batch):
    images, labels, targets, priors = batch
    return Batch(
        images=images, targets=torch.tensor(targets), logits=model(images), labels=labels,
        priors=[None if inside is None else Prior(allowed=inside) for inside in priors],
    )  # fmt: skip


@pytest.mark.parametrize("build", [cnn, vit])
def test_twenty_steps_of_the_paper(build):
    model, side = build()
    model = model.double()
    slow = copy.deepcopy(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=DECAY)
    slow_optimizer = reference.AdamW(slow.parameters(), RATE, DECAY)
    align = replace(PRESETS["paper"], **SETTINGS, normalization=Normalization())
    shuffled = batches(side)
    seen = []
    for step in range(1, STEPS + 1):
        expected = reference.Step(slow, shuffled[step % len(shuffled)], step, **SETTINGS)
        expected.loss.backward()

        model.train()
        batch = library_batch(model, shuffled[step % len(shuffled)])
        terms = align(model, batch, step)
        loss = F.cross_entropy(batch.logits, batch.targets) + terms.loss
        optimizer.zero_grad()
        loss.backward()

        assert loss.item() == pytest.approx(expected.loss.item(), rel=1e-8)
        assert terms.log.get("deviation", 0.0) == pytest.approx(expected.deviation.item(), rel=1e-8)
        assert terms.log.get("redundancy", 0.0) == pytest.approx(expected.redundancy.item(), rel=1e-8)
        assert terms.log.get("aligned", 0.0) == len(expected.orders)
        for (name, weight), other in zip(model.named_parameters(), slow.parameters(), strict=True):
            # A bias before BatchNorm has a gradient of rounding noise, which AdamW makes larger.
            assert torch.allclose(weight.grad, other.grad, rtol=1e-6, atol=1e-8), (step, name)
        seen.append(expected)
        optimizer.step()
        slow_optimizer.step()
    for (name, value), other in zip(model.state_dict().items(), slow.state_dict().values(), strict=True):
        assert torch.allclose(value, other, rtol=1e-6, atol=1e-8), name
    assert_every_rule_mattered(seen)


def assert_every_rule_mattered(seen):
    """On the way images were passed over, searches ended early and late, and both losses pulled or rested."""
    acted = [step for number, step in enumerate(seen, start=1) if number % SETTINGS["interval"] == 0]
    orders = [order for step in acted for order in step.orders.values()]
    redundancies = [gain.item() for step in acted for gain in step.redundancies]
    assert all(not step.orders for step in seen if step not in acted)
    assert len({len(step.orders) for step in acted}) > 1
    assert min(map(len, orders)) < max(map(len, orders)) == SETTINGS["max_regions"]
    assert 0 < sum(len(step.deviations) for step in acted) < len(orders)
    assert min(redundancies) == 0 < max(redundancies)
