"""What an agent is trained on and which weights train, for every family; against trl's own collator."""

import json

import pytest
import torch

from agent_runs import clicks
from wherenot.models import VisionLanguageModel, load_vlm
from wherenot.models.answers import AnswerReader, read_together
from wherenot.models.tiny_vlms import FAMILIES, tiny_vlm
from wherenot.train.agents.collating import AgentCollator
from wherenot.train.agents.config import LoraConfig
from wherenot.train.agents.lora import PARTS, attach, linear_parts, summary

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated")  # by peft
SYSTEM = "You click."
UNSERVED = {
    "llava": "leaves out the first token, and the template does not end an answer",
    "paligemma": "calls the processor without an image",
}


@pytest.fixture(scope="module", params=FAMILIES)
def vlm(request):
    return VisionLanguageModel(*tiny_vlm(request.param))


def samples(*, system=False):
    from dataclasses import replace

    from PIL import Image

    [red, green, *_] = clicks(("train",)).samples
    wide = green.read_image().resize((130, 70), Image.Resampling.NEAREST)
    red = replace(red, system=SYSTEM if system else None)
    return [red, replace(green, read_image=lambda: wide, prompt="Tap the green one, please.", right='{"POINT":[9,9]}')]


def test_a_batch_holds_what_methods_ask_about_and_the_end(vlm):
    batch = AgentCollator(vlm, samples(system=True))([{"row": 0}, {"row": 1}])
    for row, task in enumerate(batch["tasks"]):
        asked, learned = task.asked, batch["labels"][row] != -100
        whole = [*asked.encoding.inputs["input_ids"][0].tolist(), *asked.answer, *vlm.frame[1]]
        assert batch["input_ids"][row][batch["attention_mask"][row].bool()].tolist() == whole
        assert batch["labels"][row][learned].tolist() == [*asked.answer, *vlm.frame[1]]
        assert int(learned.nonzero()[0]) == asked.encoding.num_tokens
        assert vlm.text(asked.answer) == vlm.frame[0] + task.sample.right
        assert set(vlm.frame[1]) & set(vlm.ends)
        image, sample = task.sample.read_image(), task.sample
        expected = vlm.encode(image, sample.prompt, sample.system).inputs
        assert all(torch.equal(asked.encoding.inputs[name], value) for name, value in expected.items())
    assert SYSTEM in vlm.text(batch["input_ids"][0].tolist())


def test_batches_are_those_of_trl(vlm):
    from trl.trainer.sft_trainer import DataCollatorForVisionLanguageModeling

    family = vlm.model.config.model_type
    given = samples()
    records = [
        {
            "images": [sample.read_image()],
            "prompt": [{"role": "user", "content": sample.prompt}],
            "completion": [{"role": "assistant", "content": sample.right}],
        }
        for sample in given
    ]
    theirs_of = DataCollatorForVisionLanguageModeling(vlm.processor, completion_only_loss=True)
    ours = AgentCollator(vlm, given)([{"row": 0}, {"row": 1}])
    if family == "paligemma":
        with pytest.warns(DeprecationWarning, match="copy"), pytest.raises(ValueError, match="images"):
            theirs_of(records)
        return
    theirs = theirs_of(records)
    for row in range(2):
        mine, other = (each["input_ids"][row][each["attention_mask"][row].bool()].tolist() for each in (ours, theirs))
        learned, also = (each["labels"][row][each["labels"][row] != -100].tolist() for each in (ours, theirs))
        first = 1 if family == "llava" else 0
        end = len(other) + first
        assert mine[first:end] == other
        assert learned[: len(also)] == also
        added = [*mine[:first], *mine[end:]]
        assert bool(added) == (family in UNSERVED or not set(also) & set(vlm.ends))
    for name in set(theirs) - {"input_ids", "attention_mask", "labels"}:
        if ours[name].ndim == 2 and ours[name].shape == ours["input_ids"].shape:
            shown = theirs["attention_mask"].bool()
            assert torch.equal(ours[name][:, first : first + shown.shape[1]][shown], theirs[name][shown]), name
        else:
            assert torch.equal(ours[name], theirs[name]), name


def test_the_system_speaks_first(vlm):
    image = clicks().samples[0].read_image()
    plain, told = (vlm.encode(image, "Tap red.", system) for system in (None, SYSTEM))
    assert told.system == SYSTEM
    text = vlm.text(told.inputs["input_ids"][0].tolist())
    assert SYSTEM in text
    assert text.index(SYSTEM) < text.index("Tap red.")
    assert SYSTEM not in vlm.text(plain.inputs["input_ids"][0].tolist())


def test_different_tasks_read_together_are_read_as_each_alone(vlm):
    tasks = [AgentCollator(vlm, []).task(sample) for sample in samples()]
    asked = [tasks[0].asked, tasks[1].asked, tasks[0].asked]
    pixels = [each.encoding.inputs["pixel_values"] for each in asked]
    pixels[2] = pixels[2] * 0.5
    before = getattr(vlm.model.model, "rope_deltas", None)
    with torch.no_grad():
        together = read_together(vlm, asked, pixels)
        assert getattr(vlm.model.model, "rope_deltas", None) is before, "positions are given, none are kept"
        alone = [AnswerReader(vlm, [each])(shown[None])[0] for each, shown in zip(asked, pixels, strict=True)]
    assert all((ours - theirs).abs().max() < 1e-5 for ours, theirs in zip(together, alone, strict=True))
    assert (together[0] - together[2]).abs().max() > 1e-5, "what is shown must matter"
    with pytest.raises(ValueError, match="read_together: 3 questions and 2 images"):
        read_together(vlm, asked, pixels[:2])


def test_every_linear_layer_but_the_last_belongs_to_one_part(vlm):
    parts = linear_parts(vlm.model)
    named = [name for part in PARTS for name in parts[part]]
    head = vlm.model.get_output_embeddings()
    everything = [
        name for name, module in vlm.model.named_modules() if isinstance(module, torch.nn.Linear) and module is not head
    ]
    assert sorted(named) == sorted(everything)
    assert all(".language_model." in name or ".text_model." in name for name in parts["language"])
    assert all("vis" in name for name in parts["vision"])
    assert all(any(word in name for word in ("merger", "projector", "connector")) for name in parts["projector"])
    assert bool(parts["projector"]) == (vlm.model.config.model_type != "gemma3")  # whose projector is no linear layer


@pytest.mark.parametrize("scope", ["language", "vision", "projector", "all"])
def test_nothing_outside_the_scope_trains_and_adapters_load_back_equal(vlm, scope, tmp_path):
    kind = vlm.model.config.model_type
    vlm.model.save_pretrained(tmp_path / "base")
    vlm.processor.save_pretrained(tmp_path / "base")
    fresh = load_vlm(tmp_path / "base")
    if kind == "gemma3" and scope == "projector":
        with pytest.raises(ValueError, match="has no linear layer in the scope 'projector'"):
            attach(fresh, LoraConfig(scope=scope))
        return
    parts = linear_parts(fresh.model)
    wanted = [name for part in PARTS if scope in (part, "all") for name in parts[part]]
    tuned, names = attach(fresh, LoraConfig(scope=scope, rank=2))
    assert names == wanted
    trains = {name for name, weight in tuned.wrapped.named_parameters() if weight.requires_grad}
    expected = {f"base_model.model.{name}.lora_{side}.default.weight" for name in wanted for side in "AB"}
    assert trains == expected
    with torch.no_grad():
        for name, weight in tuned.wrapped.named_parameters():
            if name in trains:
                weight.normal_(std=0.1, generator=torch.Generator().manual_seed(len(name)))
    tuned.wrapped.save_pretrained(tmp_path / "model")
    tuned.processor.save_pretrained(tmp_path / "model")
    again = load_vlm(tmp_path / "model")
    task = AgentCollator(vlm, []).task(samples()[0])
    shown = task.asked.encoding.inputs["pixel_values"][None]
    with torch.no_grad():
        before, after, loaded = (AnswerReader(each, [task.asked])(shown) for each in (vlm, tuned, again))
    assert (after - before).abs().max() > 1e-4
    assert (after - loaded).abs().max() < 1e-6
    kept = {name: weight for name, weight in tuned.wrapped.named_parameters() if name in trains}
    assert kept.keys() == trains
    found = dict(again.model.named_parameters())
    for name, weight in kept.items():
        assert torch.equal(found[name.removeprefix("base_model.model.")], weight), name


def test_full_trains_everything():
    vlm, names = attach(VisionLanguageModel(*tiny_vlm("llava")), LoraConfig(scope="full"))
    assert names == []
    assert all(weight.requires_grad for weight in vlm.wrapped.parameters())


def test_names_are_told_together():
    assert summary(["a.0.q", "a.1.q", "b.mlp.0", "head"]) == "a.*.q (2), b.mlp.*, head"


def test_screenshots_shrink_and_the_task_with_them():
    from dataclasses import replace

    from wherenot.train.agents.records import shrunk

    sample = clicks().samples[3]
    small, image = shrunk(replace(sample, read_image=lambda: sample.read_image().resize((168, 84))), 42)
    assert image.size == (42, 21)
    assert small.box == pytest.approx((10.5, 10.5, 21.0, 21.0))
    assert small.elements()[1].box == pytest.approx((10.5, 0.0, 21.0, 10.5))
    assert small.right == sample.right
    assert small.read_image().size == (42, 21)
    whole, image = shrunk(sample, 84)
    assert whole is sample
    assert image.size == (84, 84)


def test_thoughts_can_be_left_out():
    from wherenot.train.agents.config import AgentTrainConfig
    from wherenot.train.agents.records import agent_data

    kept, plain = (agent_data(AgentTrainConfig(thought=thought), clicks()) for thought in (True, False))
    assert kept.samples[0].right == '{"thought":"red","POINT":[250,250]}'
    assert plain.samples[0].right == '{"POINT":[250,250]}'
    assert json.loads(kept.samples[0].right)["POINT"] == json.loads(plain.samples[0].right)["POINT"]


def test_encoded_tasks_are_kept_while_there_is_room(vlm):
    collator = AgentCollator(vlm, samples())
    first, again = (collator([{"row": 0}])["tasks"][0] for _ in range(2))
    assert first is again
    size = sum(value.nbytes for value in first.asked.encoding.inputs.values())
    small = AgentCollator(vlm, samples(), keep_bytes=size - 1)
    assert small([{"row": 0}])["tasks"][0] is not small([{"row": 0}])["tasks"][0]
