"""Models without numbers take what the same models with numbers take."""

import json
from itertools import accumulate

import pytest
import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

pytest.importorskip("trl")

from transformers.modeling_layers import GradientCheckpointingLayer

from agent_runs import clicks
from real_sizes import real_size
from wherenot.gui.penalties import penalties_of
from wherenot.models import VisionLanguageModel, load_vlm
from wherenot.models.hollow import Hollow, hollow_vlm
from wherenot.models.tiny_vlms import tiny_vlm
from wherenot.train.agents.collating import AgentCollator
from wherenot.train.agents.config import LoraConfig
from wherenot.train.agents.lora import attach, count_weights
from wherenot.train.agents.rehearsing import off, prepare, recompute, rehearse, task_loss

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated")  # by peft
ATTENTION = {  # torch counts it on GPUs alone
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: lambda q, k, v, *_, **__: sdpa_flop_count(q, k, v),
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: lambda grad, q, k, v, *_, **__: (
        sdpa_backward_flop_count(grad, q, k, v)
    ),
}
CASES = [  # the last: by how much more a plan may tell; what recomputing Qwen2.5-VL keeps is 29 % less
    ("qwen2_5_vl", {}, False, 0.15),
    (
        "qwen2_5_vl",
        {"num_hidden_layers": 3, "layer_types": ["full_attention"] * 3, "intermediate_size": 320},
        True,
        0.35,
    ),
    ("qwen3_vl", {"num_hidden_layers": 4, "intermediate_size": 64}, False, 0.15),
    ("minicpmv4_6", {"intermediate_size": 512}, False, 0.15),
    ("llava", {"num_hidden_layers": 5}, True, 0.15),
]
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}


def pair(family, *, recomputes=False, precision="fp32", **text):
    """A model, and the same without numbers."""
    model, processor = tiny_vlm(family)
    for name, value in text.items():
        setattr(model.config.get_text_config(), name, value)
    with torch.device("meta"):
        empty = type(model)(model.config)
    model = type(model)(model.config) if text else model
    both = []
    for each in (model, empty):
        vlm = VisionLanguageModel(each.to(PRECISIONS[precision]), processor)
        both.append(attach(vlm, LoraConfig(rank=4))[0])
    hollow = Hollow()
    with hollow:
        hollow.take(both[1].wrapped)
        prepare(both[1])
    prepare(both[0])
    for vlm in both if recomputes else ():
        recompute(vlm)
    return (*both, hollow)


def batch_of(vlm, count):
    collator = AgentCollator(vlm, [])
    return collator.batch([collator.task(sample) for sample in clicks(("train",)).samples[:count]])


class Saved:
    """Bytes of what autograd keeps, each storage once, and of what recomputing layers are given; not of weights."""

    def __init__(self, model):
        self._left_out = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
        self._kept = {}
        for layer in model.modules():
            if isinstance(layer, GradientCheckpointingLayer) and layer.gradient_checkpointing:
                layer.register_forward_pre_hook(self._given)

    def _given(self, _, inputs):
        self.pack(inputs[0])

    def pack(self, value):
        storage = value.untyped_storage()
        if storage.data_ptr() not in self._left_out:
            self._kept[storage.data_ptr()] = storage.nbytes(), value  # held, or its place would be taken by others
        return value

    @property
    def bytes(self):
        return sum(size for size, _ in self._kept.values())


@pytest.mark.parametrize(("family", "text", "recomputes", "rel"), CASES)
def test_memory_is_what_autograd_keeps(family, text, recomputes, rel):
    real, empty, hollow = pair(family, recomputes=recomputes, **text)
    for count in (1, 3):
        batch = batch_of(real, count)
        with hollow:
            kept = rehearse(hollow, empty, batch, precision="fp32").kept
        saved = Saved(real.wrapped)
        with torch.autograd.graph.saved_tensors_hooks(saved.pack, lambda value: value):
            task_loss(real, batch)
        assert kept == pytest.approx(saved.bytes, rel=rel)


@pytest.mark.parametrize(("family", "precision", "recomputes"), [("qwen3_vl", "bf16", False), ("llava", "fp32", True)])
def test_the_peak_is_that_of_the_allocator(family, precision, recomputes):
    real, empty, hollow = pair(family, recomputes=recomputes, precision=precision)
    batch = batch_of(real, 3)
    with hollow:
        peak = rehearse(hollow, empty, batch, precision=precision).peak
    for _ in range(2):  # the first makes what stays
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
                loss = task_loss(real, batch)
            loss.backward()
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    sizes = [event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())]
    assert peak == pytest.approx(max(accumulate(sizes)), rel=0.25)


def test_operations_are_counted_as_torch_counts_them():
    real, empty, hollow = pair("qwen3_vl")
    batch = batch_of(real, 2)
    with hollow:
        flops = rehearse(hollow, empty, batch, copies=1, precision="fp32").flops
    with FlopCounterMode(display=False, custom_mapping=ATTENTION) as counter:
        loss = task_loss(real, batch) + penalties_of(real, [off(task, 1) for task in batch["tasks"]]).sum()
        loss.backward()
    assert flops == counter.get_total_flops() > 1e8


@pytest.mark.parametrize("family", ["idefics3", "gemma3"])
def test_shapes_that_depend_on_numbers(family):
    real, empty, hollow = pair(family)
    with hollow:
        found = rehearse(hollow, empty, batch_of(real, 2), copies=1, precision="fp32")
    assert 0 < found.kept < found.peak
    assert found.flops > 1e7
    assert all(weight.grad is not None for weight in empty.wrapped.parameters() if weight.requires_grad)


def test_what_is_freed_is_no_longer_alive():
    layer = nn.Linear(8, 4, bias=False, device="meta")
    with Hollow() as hollow:
        hollow.take(layer)
        assert hollow.live == 4 * 8 * 4
        out = layer(torch.zeros(5, 8))
        assert hollow.live == 4 * (8 * 4 + 5 * 4)
        shown = out[:2].T
        del out
        assert hollow.live == 4 * (8 * 4 + 5 * 4)  # a part of it is held
        del shown
        assert hollow.live == 4 * 8 * 4
        assert hollow.peak == 4 * (8 * 4 + 5 * 4)


def test_tied_weights_stay_tied_and_count_once():
    model, _ = tiny_vlm("gemma3")
    model.config.tie_word_embeddings = model.config.get_text_config().tie_word_embeddings = True
    with torch.device("meta"):
        empty = type(model)(model.config)
    with Hollow() as hollow:
        hollow.take(empty)
    assert empty.get_output_embeddings().weight is empty.get_input_embeddings().weight
    assert hollow.live >= 4 * empty.num_parameters()
    assert hollow.live < 4.1 * empty.num_parameters()


BILLIONS = {
    "qwen2.5-vl-3b": 3.75, "qwen2.5-vl-7b": 8.29, "qwen3-vl-4b": 4.44, "minicpm-v-4.6": 1.30,
}  # fmt: skip


@pytest.mark.parametrize("name", BILLIONS)
def test_models_of_real_size_have_as_many_weights_as_published(tmp_path, name):
    vlm = hollow_vlm(real_size(name, tmp_path), torch.bfloat16)
    counts = count_weights(vlm.model)
    assert sum(counts.values()) == vlm.model.num_parameters()
    assert sum(counts.values()) / 1e9 == pytest.approx(BILLIONS[name], abs=0.006)
    assert counts["language"] > counts["vision"] > counts["projector"] > 0


def test_no_weight_is_read_and_no_code_is_run(tmp_path, monkeypatch):
    model, processor = tiny_vlm("qwen3_vl")
    model.config.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    assert not list(tmp_path.glob("*.safetensors"))
    assert hollow_vlm(tmp_path, torch.float32).model.device.type == "meta"
    with pytest.raises(ValueError, match="cannot be built as a vision-language model"):
        hollow_vlm(tmp_path / "nowhere", torch.float32)
    # as openbmb/AgentCPM-GUI: a type that transformers does not know, and code
    config = {"model_type": "minicpmv", "auto_map": {"AutoConfig": "configuration_minicpm.MiniCPMVConfig"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "configuration_minicpm.py").write_text("raise SystemExit('run')")
    monkeypatch.setattr("builtins.input", lambda _: pytest.fail("asked"))
    for load in (lambda: hollow_vlm(tmp_path, torch.float32), lambda: load_vlm(tmp_path)):
        with pytest.raises(ValueError, match="custom code"):
            load()
