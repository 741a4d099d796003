"""Adapters of vision-language models: every family is asked right, whatever is hidden and however many at a time."""

import copy

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.data import astronaut

from wherenot.explain_generation import explain_generation
from wherenot.masking import show_elements
from wherenot.models import VisionLanguageModel, load_vlm
from wherenot.models.answers import AnswerReader, Asked
from wherenot.models.tiny_vlms import FAMILIES, tiny_vlm
from wherenot.models.vlm_families import VlmFamily
from wherenot.regions import Grid

WIDE = Image.fromarray(astronaut()).resize((130, 70))
TALL = Image.fromarray(astronaut()).resize((60, 110))
LABELS = Grid(4, 6)(np.asarray(WIDE))


@pytest.fixture(scope="module", params=FAMILIES)
def vlm(request):
    return VisionLanguageModel(*tiny_vlm(request.param))


def asked_of(vlm, image=WIDE, prompt="What is this?", tokens=5):
    encoding = vlm.encode(image, prompt)
    answer = tuple(vlm.generate(encoding, max_tokens=tokens))
    return Asked(encoding, answer, tuple(range(len(answer))), answer)


def some_keeps(copies=7):
    return torch.rand(copies, 24, generator=torch.Generator().manual_seed(3)) < 0.5


def masked_copies(vlm, asked, keep, image=WIDE, labels=LABELS):
    return show_elements(
        asked.encoding.inputs["pixel_values"], vlm.layout(image, labels), keep, vlm.filled(image, "black")
    )


def by_the_whole_model(vlm, asked, pixels):
    """One forward of the whole model with all its logits, one image."""
    inputs = vlm.family.longer(asked.encoding.inputs, torch.tensor(asked.answer))
    with torch.no_grad():
        logits = vlm.model(**{**inputs, "pixel_values": pixels}, use_cache=False).logits[0]
    first = asked.encoding.num_tokens - 1
    rows = logits[first : first + len(asked.answer)].softmax(-1)
    return rows[range(len(asked.answer)), list(asked.answer)]


def test_batched_answers_equal_those_of_the_whole_model_one_by_one(vlm):
    asked = asked_of(vlm)
    pixels = masked_copies(vlm, asked, some_keeps())
    with torch.no_grad():
        found = AnswerReader(vlm, [asked])(pixels)
        plain = AnswerReader(vlm, [asked], reuse=False)(pixels)
    expected = torch.stack([by_the_whole_model(vlm, asked, one) for one in pixels])
    assert (found - expected).abs().max() < 1e-5
    assert (plain - expected).abs().max() < 1e-5
    assert expected.std(0).max() > 1e-3, "what is hidden must matter, or this tests nothing"


def test_teacher_forcing_gives_what_generating_gives(vlm):
    asked = asked_of(vlm)
    with torch.no_grad():
        found = AnswerReader(vlm, [asked])(asked.encoding.inputs["pixel_values"][None])[0]
        generated = vlm.model.generate(
            **asked.encoding.inputs, do_sample=False, max_new_tokens=len(asked.answer), output_scores=True,
            return_dict_in_generate=True,
        )  # fmt: skip
    steps = torch.stack(generated.scores)[:, 0].softmax(-1)
    assert (found - steps[range(len(asked.answer)), list(asked.answer)]).abs().max() < 1e-5


def test_several_questions_equal_each_alone(vlm):
    asked = [asked_of(vlm), asked_of(vlm, prompt="Where are the other things?", tokens=3), asked_of(vlm, tokens=2)]
    pixels = masked_copies(vlm, asked[0], some_keeps(3))
    with torch.no_grad():
        together = AnswerReader(vlm, asked)(pixels)
        alone = torch.cat([AnswerReader(vlm, [each])(pixels) for each in asked], dim=1)
    assert (together - alone).abs().max() < 1e-5


@pytest.mark.parametrize("image", [WIDE, TALL], ids=["wide", "tall"])
def test_masked_pixels_are_those_the_processor_makes_of_the_masked_image(vlm, image):
    labels = Grid(4, 6)(np.asarray(image))
    asked = Asked(vlm.encode(image, "?"), (1,), (0,), (1,))
    # Whole halves are hidden: the border between them is the only place where interpolation mixes both.
    keep = torch.zeros(1, 24, dtype=torch.bool)
    keep[0, :12] = True
    found = masked_copies(vlm, asked, keep, image, labels)[0]
    hidden = np.asarray(image) * (labels < 12)[..., None].astype(np.uint8)
    expected = vlm.encode(Image.fromarray(hidden), "?").inputs["pixel_values"]
    differs = (found - expected).abs() > 0.02
    assert differs.float().mean() < 0.08
    near = _near_the_border(vlm, image, labels)
    assert not (differs & ~near).any(), "only at the border of regions"
    assert (found - vlm.encode(image, "?").inputs["pixel_values"]).abs().max() > 0.1


def _near_the_border(vlm, image, labels):
    """Where numbers of ``pixel_values`` stem from pixels around the border of the hidden half."""
    row = int((labels >= 12).any(1).argmax())
    reach = max(4, image.height // 12)
    around = np.zeros(labels.shape, dtype=np.int64)
    around[max(0, row - reach) : row + reach] = 1
    return vlm.layout(image, around) != 0


def test_layout_knows_more_regions_than_a_byte_can_count(vlm):
    labels = np.arange(70 * 130).reshape(70, 130) // 13  # 700 regions
    layout = vlm.layout(WIDE, labels)
    assert int(layout.max()) > 255
    assert layout.shape == vlm.encode(WIDE, "?").inputs["pixel_values"].shape
    low = vlm.layout(WIDE, labels % 200)
    assert ((layout % 200 == low) | (layout < 0)).all()


def test_the_order_does_not_depend_on_the_chunk(vlm):
    found = [
        explain_generation(vlm, WIDE, "What is this?", answer="a thin hen", regions=Grid(2, 3), chunk=chunk)
        for chunk in (1, 5)
    ]
    assert found[0].evidence.order.tolist() == found[1].evidence.order.tolist()
    assert np.abs(found[0].insertion - found[1].insertion).max() < 1e-5


def test_nothing_is_left_behind(vlm):
    before = {name: copy.deepcopy(value) for name, value in vars(vlm.model.model).items() if "rope" in name}
    weights = {name: value.clone() for name, value in vlm.model.state_dict().items()}
    explain_generation(vlm, WIDE, "What is this?", regions=Grid(1, 2), max_tokens=3)
    hooks = _hooks(vlm.model)  # those that transformers itself adds on a model's first call
    vlm.model.train()
    explain_generation(vlm, WIDE, "What is this?", regions=Grid(1, 2), max_tokens=3)
    assert all(module.training for module in vlm.model.modules())
    vlm.model.eval()
    assert {name: value for name, value in vars(vlm.model.model).items() if "rope" in name} == before
    assert all(torch.equal(value, weights[name]) for name, value in vlm.model.state_dict().items())
    assert _hooks(vlm.model) == hooks


def _hooks(model):
    return [(len(module._forward_hooks), len(module._forward_pre_hooks)) for module in model.modules()]


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated")  # by peft
def test_a_lora_wrapped_model_is_asked_with_its_adapter(vlm):
    peft = pytest.importorskip("peft")
    model, processor = copy.deepcopy(vlm.model), vlm.processor
    config = peft.LoraConfig(target_modules=r".*(language_model|text_model).*(q_proj|v_proj)", init_lora_weights=False)
    wrapped = VisionLanguageModel(peft.get_peft_model(model, config), processor)
    asked = asked_of(vlm)
    pixels = masked_copies(vlm, asked, some_keeps(2))
    with torch.no_grad():
        plain, tuned = (AnswerReader(each, [asked])(pixels) for each in (vlm, wrapped))
    assert (plain - tuned).abs().max() > 1e-3
    expected = torch.stack([by_the_whole_model(wrapped, asked, one) for one in pixels])
    assert (tuned - expected).abs().max() < 1e-5


def test_the_mean_fill_is_no_padding(vlm):
    """SmolVLM and Idefics3 drop an image that is 0 everywhere; all families must answer about a plain grey one."""
    asked = asked_of(vlm)
    nothing = torch.zeros(1, 24, dtype=torch.bool)
    layout = vlm.layout(WIDE, LABELS)
    pixels = show_elements(asked.encoding.inputs["pixel_values"], layout, nothing, vlm.filled(WIDE, "mean"))
    assert 0 < pixels[0][layout >= 0].abs().max() < 0.05
    with torch.no_grad():
        assert AnswerReader(vlm, [asked])(pixels).isfinite().all()


def test_hiding_everything_shows_the_fill_and_padding_stays(vlm):
    asked = asked_of(vlm)
    pixels = masked_copies(vlm, asked, torch.zeros(1, 24, dtype=torch.bool))[0]
    assert torch.equal(pixels, vlm.filled(WIDE, "black"))
    everything = masked_copies(vlm, asked, torch.ones(1, 24, dtype=torch.bool))[0]
    assert torch.equal(everything, asked.encoding.inputs["pixel_values"])


@pytest.mark.parametrize("family", ["qwen2_5_vl", "smolvlm"])
def test_saved_models_are_loaded_with_their_processor(family, tmp_path):
    model, processor = tiny_vlm(family)
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    loaded, here = load_vlm(tmp_path, device="cpu"), VisionLanguageModel(model, processor)
    asked = asked_of(here)
    pixels = asked.encoding.inputs["pixel_values"][None]
    with torch.no_grad():
        assert torch.equal(AnswerReader(loaded, [asked])(pixels), AnswerReader(here, [asked])(pixels))


def test_a_folder_without_a_model_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"load_vlm: .* cannot be loaded"):
        load_vlm(tmp_path)


@pytest.fixture(scope="module")
def llava():
    return VisionLanguageModel(*tiny_vlm("llava"))


def test_an_unknown_family_says_what_an_adapter_must_provide():
    model, processor = tiny_vlm("llava_onevision")
    model.config.model_type = "unheard_of"
    with pytest.raises(ValueError, match=r"'unheard_of' is no family known here .*several.*longer.*positions.*logits"):
        VisionLanguageModel(model, processor)
    VisionLanguageModel(model, processor, family=VlmFamily())


def test_an_unknown_family_with_one_plain_image_is_asked_in_the_general_way():
    model, processor = tiny_vlm("llava")
    model.config.model_type = "unheard_of"
    vlm = VisionLanguageModel(model, processor)
    assert type(vlm.family) is VlmFamily
    asked = asked_of(vlm)
    pixels = masked_copies(vlm, asked, some_keeps(2))
    expected = torch.stack([by_the_whole_model(vlm, asked, one) for one in pixels])
    with torch.no_grad():
        assert (AnswerReader(vlm, [asked])(pixels) - expected).abs().max() < 1e-5


def test_a_template_without_an_image_is_refused(llava):
    vlm = VisionLanguageModel(*tiny_vlm("llava"))
    vlm.processor.chat_template = "{{ 'USER: hello ASSISTANT:' }}"
    with pytest.raises(ValueError, match=r"encode: the processor of .* refuses the image"):
        vlm.encode(WIDE, "What is this?")


def test_a_sequence_longer_than_the_model_takes_is_refused(llava):
    with pytest.raises(ValueError, match=r"encode: image of 130 x 70 px and prompt make \d+ tokens"):
        llava.encode(WIDE, "word " * 5000)


def test_bad_answers_are_refused(llava):
    encoding = llava.encode(WIDE, "What is this?")
    with pytest.raises(ValueError, match="has no token"):
        llava.answer_ids(encoding, "")
    with pytest.raises(ValueError, match="chosen are"):
        Asked(encoding, (1, 2), (2,), (5,))
    with pytest.raises(ValueError, match="at least one"):
        Asked(encoding, (1, 2), (), ())


def test_questions_about_different_images_are_refused(llava):
    one, other = asked_of(llava), asked_of(llava, TALL)
    with pytest.raises(ValueError, match="same image"):
        AnswerReader(llava, [one, other])
    with pytest.raises(ValueError, match="needs a question"):
        AnswerReader(llava, [])


def test_a_map_of_another_size_is_refused(llava):
    with pytest.raises(ValueError, match="layout: label map"):
        llava.layout(WIDE, LABELS[:-1])
    with pytest.raises(ValueError, match="black, mean or blur"):
        llava.filled(WIDE, "drop")


def test_pieces_give_the_answer_back(llava):
    ids = llava.answer_ids(llava.encode(WIDE, "?"), "the 像 fine hen")
    assert "".join(llava.pieces(ids)) == "the 像 fine hen"
    assert "像" in llava.pieces(ids)
