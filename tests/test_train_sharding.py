"""Classifiers on several processes, plain and sharded: the gradients of one process, and nothing left behind."""

import json
from contextlib import suppress
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from accelerate import DistributedType
from torch import nn
from torch.distributed.fsdp import FSDPModule, fully_shard

from classifier_runs import METHOD, SIDE, items, network, one_step
from launches import FSDP2, launch
from train_runs import one_run
from wherenot import Prior
from wherenot.methods import Batch
from wherenot.methods.rrr import RRR
from wherenot.models import load_classifier
from wherenot.train.sharding import check_sharding, check_whole, unsharded, whole_weights
from wherenot.train.trainer import LogitsOf, collate

pytestmark = [pytest.mark.filterwarnings("ignore:.*lr_scheduler.*")]
LAYERS = FSDP2 | {"FSDP_TRANSFORMER_CLS_TO_WRAP": "ViTLayer"}
WHOLE = FSDP2 | {"FSDP_AUTO_WRAP_POLICY": "NO_WRAP"}


def far(ours, theirs):
    """The largest difference of two sets of gradients, as a share of the largest gradient."""
    assert ours.keys() == theirs.keys()
    largest = max(float(each.abs().max()) for each in theirs.values())
    return max(float((ours[name] - theirs[name]).abs().max()) for name in ours) / largest


def together(place, settings, *cases, size, accumulation=1):
    """Two processes make the gradients of one; returns how many images each aligned, and how far gradients are."""
    cut = {"size": size, "accumulation": accumulation}
    launch("classifier_runs", place, [case | cut for case in cases], settings=settings)
    ranks = [torch.load(place / f"{rank}.pt") for rank in range(2)]
    aligned, distances = [], []
    for case, *found in zip(cases, *ranks, strict=True):
        expected, [alone], _ = one_step(place, **case)
        for gradients, _, sharded in found:
            assert sharded == bool(settings)
            distances.append(far(gradients, expected))
        aligned.append({said.get("aligned") for _, [said], _ in found})
        assert sum(said.get("aligned", 0) for _, [said], _ in found) == alone.get("aligned", 0)
    assert max(distances) < 1e-12
    return aligned


@pytest.mark.parametrize("family", ["vit", "plain", "cnn"])
@pytest.mark.parametrize("marked", [range(8), (0, 1, 5), (1,), ()])
def test_accumulating_changes_nothing(tmp_path, family, marked):
    """``vit`` scales its own loss by the accumulation steps, the others do not."""
    one, [told], _ = one_step(tmp_path, family=family, marked=marked)
    cut, [again], _ = one_step(tmp_path, family=family, marked=marked, size=2, accumulation=4)
    plain, _, _ = one_step(tmp_path, family=family, marked=marked, method=None)
    assert far(cut, one) < 1e-6
    assert (far(plain, one) > 1e-3) == bool(marked)
    told.pop("seconds", None)
    assert {name: again[name] for name in told} == pytest.approx(told, abs=1e-6)
    assert told["aligned"] == len(marked)


@pytest.mark.parametrize("reduction", ["batch", "sum"])
def test_accumulating_changes_no_other_reduction(tmp_path, reduction):
    method = replace(METHOD, reduction=reduction)
    one, _, _ = one_step(tmp_path, marked=(0, 1, 5), method=method)
    cut, _, _ = one_step(tmp_path, marked=(0, 1, 5), method=method, size=2, accumulation=4)
    assert far(cut, one) < 1e-12


@pytest.mark.parametrize(("reduction", "counts"), [("mean", (2, 2)), ("batch", (3, 3)), ("sum", ())])
def test_alignment_says_what_its_losses_are_means_of(reduction, counts):
    rows = items("cnn", range(3), (1, 2))[:3]  # the first is not right
    batch = collate(rows)
    model = LogitsOf(network("cnn").eval())
    given = Batch(
        images=batch["pixel_values"], targets=batch["labels"], logits=model(batch["pixel_values"]),
        priors=[Prior.from_boxes([[0, 0, 3, 3]], SIDE, SIDE)] * 3,
    )  # fmt: skip
    method = replace(METHOD, reduction=reduction, max_regions=2, tau=1.0)  # no region is wholly on the prior
    terms = method(model, given, 1)
    assert tuple(count for _, count in terms.parts) == counts
    assert not counts or torch.allclose(sum(part for part, _ in terms.parts), terms.loss)
    none = replace(method, confidence_above=2.0)(model, given, 1)
    assert [(float(part), count) for part, count in none.parts] == {
        "mean": [(0, 0), (0, 0)], "batch": [(0, 3), (0, 3)], "sum": [],
    }[reduction]  # fmt: skip


def test_a_broken_step_is_forgotten(tmp_path):
    _, _, trainer = one_step(tmp_path, size=2, accumulation=4)
    trainer._kept = ("something",)
    trainer.get_batch_samples(iter([]), 1, torch.device("cpu"))
    assert trainer._kept == ()


def test_ranks_without_images_to_align_do_not_hold_up_sharded_ones(tmp_path):
    assert together(tmp_path, LAYERS, {"marked": (1,)}, size=2, accumulation=2) == [{0, 1}]


def test_buffers_do_not_hold_up_plain_ones(tmp_path):
    assert together(tmp_path, {}, {"family": "cnn", "marked": (1,)}, size=4) == [{0, 1}]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "family"),
    [({}, "vit"), ({}, "plain"), ({}, "cnn"), (LAYERS, "vit"), (LAYERS, "plain"), (WHOLE, "cnn")],
    ids=["plain-vit", "plain-plain", "plain-cnn", "layers-vit", "layers-plain", "whole-cnn"],
)
@pytest.mark.parametrize("cut", [{"size": 4}, {"size": 2, "accumulation": 2}, {"size": 1, "accumulation": 4}])
def test_two_processes_make_the_gradients_of_one(tmp_path, settings, family, cut):
    marked = (tuple(range(8)), (0, 1, 5), (1,), ())
    together(tmp_path, settings, *({"family": family, "marked": which} for which in marked), **cut)


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{}, LAYERS], ids=["plain", "layers"])
def test_other_methods_make_the_gradients_of_one(tmp_path, settings):
    methods = (RRR(weight=1e6), replace(METHOD, reduction="batch"))
    cases = [{"marked": (0, 1, 5), "method": method} for method in methods]
    plain, _, _ = one_step(tmp_path, method=None)
    for case in cases:
        assert far(plain, one_step(tmp_path, **case)[0]) > 1e-3
    together(tmp_path, settings, *cases, size=4)


class Body(nn.Module):
    """Two sharded parts that are called one after the other, and weights of its own."""

    def __init__(self):
        super().__init__()
        self.parts = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)])
        self.own = nn.Linear(4, 2)

    def forward(self, rows):
        for part in self.parts:
            rows = part(rows).relu()
        return self.own(rows)


@pytest.fixture
def sharded(tmp_path):
    """A model sharded over one process."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    torch.manual_seed(0)
    model = Body()
    for part in model.parts:
        fully_shard(part)
    yield fully_shard(model)
    torch.distributed.destroy_process_group()


def condition(model):
    """Which parts are sharded, and what is called around forwards."""
    parts = [part for part in model.modules() if isinstance(part, FSDPModule)]
    groups = [group for part in parts for group in part._get_fsdp_state()._fsdp_param_groups]
    hooks = [[*part._forward_pre_hooks.items(), *part._forward_hooks.items()] for part in parts]
    return [group._sharded_state for group in groups], hooks


@pytest.mark.parametrize("forward_before", [False, True])
def test_a_sharded_model_is_left_as_found(sharded, forward_before):
    """Before the first forward nothing is gathered; after one the weights of the whole are, those of parts are not."""
    rows = torch.rand(3, 4)
    if forward_before:
        sharded(rows)
    before = condition(sharded)
    with unsharded(sharded):
        states, hooks = condition(sharded)
        assert len(set(states)) == 1
        assert states != before[0]
        assert hooks != before[1]
        assert sharded.parts[1](rows).shape == (3, 4)  # past the whole
        alone = sharded(rows)
    assert condition(sharded) == before
    assert torch.equal(sharded(rows), alone)


def test_gradients_made_alone_are_summed_up_with_those_of_all(sharded):
    rows, others = torch.rand(2, 3, 4).unbind()
    plain = Body()
    plain.load_state_dict(whole_weights(sharded))
    (plain(rows).square().mean() + plain(others).square().sum()).backward()
    loss = sharded(others).square().sum()
    with unsharded(sharded):
        sharded(rows).square().mean().backward()
        assert all(weight.grad is not None for weight in sharded.parameters())
    loss.backward()
    for (name, weight), expected in zip(sharded.named_parameters(), plain.parameters(), strict=True):
        assert torch.allclose(weight.grad.full_tensor(), expected.grad, atol=1e-6), name


def test_an_exception_leaves_nothing_behind(sharded):
    rows = torch.rand(3, 4)
    before = condition(sharded)
    with suppress(KeyError), unsharded(sharded):
        sharded(rows).sum().backward()
        raise KeyError
    assert condition(sharded) == before
    sharded(rows).square().sum().backward()
    once = [weight.grad.full_tensor().clone() for weight in sharded.parameters()]
    sharded.zero_grad()
    sharded(rows).square().sum().backward()
    again = [weight.grad.full_tensor() for weight in sharded.parameters()]
    assert all(torch.equal(*pair) for pair in zip(once, again, strict=True))


def test_a_plain_model_is_left_alone():
    model = Body()
    rows = torch.rand(3, 4)
    with unsharded(model):
        model(rows).sum().backward()
    assert all(weight.grad is not None for weight in model.parameters())


@pytest.mark.parametrize(
    ("kind", "is_fsdp2", "message"),
    [(DistributedType.DEEPSPEED, False, "DeepSpeed"), (DistributedType.FSDP, False, "fsdp_version: 2")],
)
def test_what_cannot_be_gathered_is_refused(kind, is_fsdp2, message):
    with pytest.raises(ValueError, match=message):
        check_sharding(SimpleNamespace(distributed_type=kind, is_fsdp2=is_fsdp2))
    for fine in (DistributedType.FSDP, DistributedType.MULTI_GPU, DistributedType.NO):
        check_sharding(SimpleNamespace(distributed_type=fine, is_fsdp2=fine == DistributedType.FSDP))


def test_a_model_that_only_the_first_process_has_is_not_asked(monkeypatch):
    """`accelerate launch` turns this on where its configuration says nothing."""
    monkeypatch.setenv("FSDP_CPU_RAM_EFFICIENT_LOADING", "true")
    with pytest.raises(ValueError, match="fsdp_cpu_ram_efficient_loading: false"):
        check_whole(SimpleNamespace(distributed_type=DistributedType.FSDP, num_processes=2))
    check_whole(SimpleNamespace(distributed_type=DistributedType.FSDP, num_processes=1))
    check_whole(SimpleNamespace(distributed_type=DistributedType.MULTI_GPU, num_processes=2))
    monkeypatch.setenv("FSDP_CPU_RAM_EFFICIENT_LOADING", "false")
    check_whole(SimpleNamespace(distributed_type=DistributedType.FSDP, num_processes=2))


@pytest.mark.slow
def test_a_method_that_prepares_trains_sharded_as_plainly(tmp_path):
    for out, settings in (("plain", {}), ("sharded", LAYERS)):
        launch("train_runs", tmp_path, out, settings=settings, batch_size=8, name="wherenot")
    plain, sharded = (load_classifier(str(tmp_path / name)).state_dict() for name in ("plain", "sharded"))
    assert all(torch.allclose(plain[name], sharded[name], atol=1e-4) for name in plain)


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{}, LAYERS], ids=["plain", "sharded"])
@pytest.mark.parametrize("keep", ["last", "best"])
def test_several_processes_go_on_to_the_same_bits(tmp_path, settings, keep):
    options = {"settings": settings, "batch_size": 8, "keep": keep}
    launch("train_runs", tmp_path, "whole", **options)
    launch("train_runs", tmp_path, "cut", cut=6, **options)  # 3 steps and 2 batches of validation to the epoch
    assert (tmp_path / "cut/checkpoints/checkpoint-3/whole.json").is_file()
    assert not (tmp_path / "cut/metrics.json").exists()
    launch("train_runs", tmp_path, "cut", **options)
    assert json.loads((tmp_path / "cut/run.json").read_text())["resumed"]
    whole, cut = (load_classifier(str(tmp_path / name)).state_dict() for name in ("whole", "cut"))
    assert all(torch.equal(whole[name], cut[name]) for name in whole)
    assert (tmp_path / "whole/metrics.json").read_text() == (tmp_path / "cut/metrics.json").read_text()
    alone = load_classifier(str(one_run(tmp_path / "alone", keep=keep))).state_dict()
    assert all(torch.allclose(whole[name], alone[name], atol=1e-4) for name in whole)
    lines = [[json.loads(line) for line in (tmp_path / name / "steps.jsonl").read_text().splitlines()] for name in (
        "whole", "alone")]  # fmt: skip
    assert len(lines[0]) == len(lines[1])
    assert not list((tmp_path / "whole").rglob("*.bin")) + list((tmp_path / "whole").rglob("*.pt"))
