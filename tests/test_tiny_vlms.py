"""Tiny vision-language models: real classes, processors that fit them, and images that matter."""

import json
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from wherenot.models import tiny_vlms
from wherenot.models.images_only import images_only
from wherenot.models.tiny_vlms import FAMILIES, tiny_vlm
from wherenot.models.tiny_vlms.tokenizer import tiny_tokenizer

SIZES = {"portrait": (60, 100), "landscape": (130, 70), "square": (64, 64)}
QUESTION = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What is on the screen?"}]}


@pytest.fixture(scope="module", params=FAMILIES)
def family(request):
    return request.param


@pytest.fixture(scope="module")
def vlm(family):
    return tiny_vlm(family)


def photograph(size, seed=0):
    """Smooth colours, as the resizing of a processor would leave nothing of noise."""
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 5, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


def half_black(image):
    pixels = np.array(image)
    pixels[:, : pixels.shape[1] // 2] = 0
    return Image.fromarray(pixels)


def ask(processor, image, *, answer=None):
    said = [QUESTION] if answer is None else [QUESTION, {"role": "assistant", "content": answer}]
    prompt = processor.apply_chat_template(said, add_generation_prompt=answer is None)
    if type(processor).__name__ == "PaliGemmaProcessor":  # makes an array of a tensor, which NumPy 2 deprecates
        return processor(images=image, text=prompt, return_tensors="np").convert_to_tensors("pt")
    return processor(images=image, text=prompt, return_tensors="pt")


@torch.no_grad()
def logits(model, inputs):
    return model(**inputs).logits[0, -1]


@pytest.mark.parametrize("shape", SIZES)
def test_the_image_decides_about_the_next_token(vlm, shape):
    model, processor = vlm
    image = photograph(SIZES[shape])
    seen = logits(model, ask(processor, image))
    blank = logits(model, ask(processor, Image.new("RGB", image.size)))
    half = logits(model, ask(processor, half_black(image)))
    assert seen.isfinite().all()
    assert (seen - blank).abs().max() > 0.1
    assert (seen.softmax(-1) - half.softmax(-1)).abs().max() > 1e-3
    assert (blank.softmax(-1) - half.softmax(-1)).abs().max() > 1e-3


def test_every_corner_of_the_image_matters(vlm):
    model, processor = vlm
    image = photograph(SIZES["square"])
    whole = logits(model, ask(processor, image))
    for corner in ((0, 0), (0, 48), (48, 0), (48, 48)):
        changed = image.copy()
        changed.paste((0, 0, 0), (*corner, corner[0] + 16, corner[1] + 16))
        assert (logits(model, ask(processor, changed)) - whole).abs().max() > 1e-3, corner


SHAPES = {  # of the landscape: pixels, other inputs for the image, image tokens
    "qwen2_vl": ((72, 1176), {"image_grid_thw": (1, 3), "mm_token_type_ids": (1, 80)}, 18),
    "qwen2_5_vl": ((72, 1176), {"image_grid_thw": (1, 3), "mm_token_type_ids": (1, 80)}, 18),
    "qwen3_vl": ((72, 1536), {"image_grid_thw": (1, 3), "mm_token_type_ids": (1, 51)}, 18),
    "llava": ((1, 3, 84, 84), {}, 36),
    "llava_onevision": ((1, 7, 3, 56, 56), {"image_sizes": (1, 2), "batch_num_images": (1,)}, 94),
    "internvl": ((3, 3, 84, 84), {}, 27),
    "smolvlm": ((1, 5, 3, 64, 64), {"pixel_attention_mask": (1, 5, 64, 64)}, 20),
    "idefics3": ((1, 7, 3, 56, 56), {"pixel_attention_mask": (1, 7, 56, 56)}, 28),
    "gemma3": ((1, 3, 112, 112), {"token_type_ids": (1, 53)}, 16),
    "paligemma": ((1, 3, 84, 84), {"token_type_ids": (1, 53), "labels": (1, 53)}, 36),
    "minicpmv4_6": ((1, 3, 8, 1408), {"target_sizes": (3, 2)}, 11),
}


def test_what_the_model_is_given(vlm, family):
    model, processor = vlm
    inputs = ask(processor, photograph(SIZES["landscape"]))
    pixels, others, tokens = SHAPES[family]
    assert tuple(inputs.pop("pixel_values").shape) == pixels
    ids = inputs.pop("input_ids")[0]
    assert inputs.pop("attention_mask").all()
    assert {name: tuple(value.shape) for name, value in inputs.items()} == others
    assert (ids == model.config.image_token_id).sum() == tokens
    assert (ids[0] == model.config.image_token_id) == (family == "paligemma")  # text before the image


def test_llava_reads_the_square_in_the_middle():
    model, processor = tiny_vlm("llava")
    image = photograph(SIZES["landscape"])
    whole = logits(model, ask(processor, image))
    image.paste((0, 0, 0), (0, 0, 20, 70))
    assert torch.equal(logits(model, ask(processor, image)), whole)
    image.paste((0, 0, 0), (0, 0, 40, 70))
    assert not torch.equal(logits(model, ask(processor, image)), whole)


def test_windows_permute_the_patches():
    from transformers.vision_utils import get_vision_window_index

    model, processor = tiny_vlm("qwen2_5_vl")
    tower = model.config.vision_config
    geometry = {name: getattr(tower, name) for name in ("spatial_merge_size", "window_size", "patch_size")}
    for size in SIZES.values():
        order, borders = get_vision_window_index(ask(processor, photograph(size))["image_grid_thw"], **geometry)
        assert len(borders) > 4
        assert order.tolist() != sorted(order.tolist())


def test_saved_and_loaded_it_answers_the_same(vlm, tmp_path):
    from transformers import AutoModelForImageTextToText, AutoProcessor

    model, processor = vlm
    image = photograph(SIZES["landscape"])
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    with images_only():
        loaded = AutoProcessor.from_pretrained(tmp_path)
    again = AutoModelForImageTextToText.from_pretrained(tmp_path)
    assert type(again) is type(model)
    assert type(loaded) is type(processor)
    assert type(loaded.image_processor) is type(processor.image_processor)
    before, after = ask(processor, image), ask(loaded, image)
    assert {name: value.tolist() for name, value in before.items()} == {
        name: value.tolist() for name, value in after.items()
    }
    assert torch.equal(logits(model, before), logits(again, after))


def test_generates_text(vlm):
    model, processor = vlm
    inputs = ask(processor, photograph(SIZES["square"]))
    said = model.generate(**inputs, max_new_tokens=4, do_sample=False)[0, inputs["input_ids"].shape[1] :]
    text = processor.tokenizer.decode(said)
    assert text.isascii()
    assert text.isprintable()
    assert said[0] == logits(model, inputs).argmax()


def test_the_tokenizer_gives_back_any_text(vlm):
    words = vlm[1].tokenizer
    for text in ("", " two  blanks\n\ttab ", "Straße, 你好 🙂 ﬁ\u0301", 'click {"POINT":[160,140]} .', "a'b n't .?!"):
        assert words.decode(words(text, add_special_tokens=False)["input_ids"]) == text
    assert len(words.tokenize("thing")) < len("thing")


def test_an_answer_continues_the_prompt(vlm):
    processor = vlm[1]
    image = photograph(SIZES["square"])
    prompt = processor.apply_chat_template([QUESTION], add_generation_prompt=True)
    whole = processor.apply_chat_template([QUESTION, {"role": "assistant", "content": "A dog."}])
    assert whole.startswith(prompt)
    assert "A dog." in whole.removeprefix(prompt)
    assert ask(processor, image, answer="A dog.")["input_ids"].shape[1] > ask(processor, image)["input_ids"].shape[1]


def test_what_the_assistant_said_is_marked(vlm):
    processor = vlm[1]
    said = [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "A dog."}]
    tokens = processor.tokenizer.apply_chat_template(
        said, chat_template=processor.chat_template, return_assistant_tokens_mask=True, return_dict=True
    )
    marked = [token for token, is_said in zip(tokens["input_ids"], tokens["assistant_masks"], strict=True) if is_said]
    assert processor.tokenizer.decode(marked).startswith("A dog.")


def test_images_stand_where_the_family_puts_them(vlm, family):
    processor = vlm[1]
    content = [{"type": "text", "text": "This:"}, {"type": "image"}]
    prompt = processor.apply_chat_template([{"role": "user", "content": content}])
    assert (prompt.index(processor.image_token) < prompt.index("This:")) == family.startswith("llava")


def test_placeholders_are_one_token_each_and_known_to_the_config(vlm):
    model, processor = vlm
    ids = ask(processor, photograph(SIZES["landscape"]))["input_ids"][0]
    config = model.config
    token = config.image_token_id
    assert (ids == token).sum() > 8
    assert max(ids) < config.get_text_config().vocab_size
    assert processor.tokenizer.convert_ids_to_tokens([token])[0] in processor.tokenizer.all_special_tokens
    assert config.get_text_config().eos_token_id == processor.tokenizer.eos_token_id
    assert config.get_text_config().pad_token_id == processor.tokenizer.pad_token_id


def test_small_in_float32_and_evaluating(vlm):
    model, _ = vlm
    assert 5e4 < sum(weight.numel() for weight in model.parameters()) < 6e5
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
    assert not model.training


def test_a_seed_fixes_the_weights_and_nothing_else(vlm, family):
    torch.manual_seed(7)
    before = torch.random.get_rng_state()
    weights = vlm[0].state_dict()
    again, other = tiny_vlm(family)[0].state_dict(), tiny_vlm(family, seed=1)[0].state_dict()
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(torch.equal(again[name], value) for name, value in weights.items())
    drawn = [name for name, value in weights.items() if value.dim() > 1 and value.is_floating_point()]
    assert not any(torch.equal(other[name], weights[name]) for name in drawn)


def test_unknown_family():
    with pytest.raises(ValueError, match=r"tiny_vlm: unknown family 'gpt'; choose one of: .*qwen2_5_vl.*llava"):
        tiny_vlm("gpt")


def test_without_transformers(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ValueError, match=r"tiny_vlm: needs transformers; run: pip install 'wherenot\[hf\]'"):
        tiny_vlm("llava")


def test_what_the_tokenizer_puts_first():
    named = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>"}
    assert tiny_tokenizer(named, starts_with_bos=True)("a")["input_ids"][0] == tiny_tokenizer(named).bos_token_id
    assert len(tiny_tokenizer(named)("a")["input_ids"]) == 1


def test_transformers_is_as_it_was():
    from transformers import processing_utils
    from transformers.models.auto import video_processing_auto
    from transformers.models.smolvlm import processing_smolvlm
    from transformers.utils.import_utils import is_torchvision_available

    modules = (processing_utils.transformers_module, video_processing_auto, processing_smolvlm)
    before = [dict(vars(module)) for module in modules]
    with pytest.raises(KeyError), images_only():
        raise KeyError
    assert [dict(vars(module)) for module in modules] == before
    assert hasattr(modules[0], "VideoProcessorMixin") == is_torchvision_available()  # nor left by an earlier test


def test_loads_the_files_of_a_hub_checkpoint(tmp_path):
    """Qwen2.5-VL on the hub has no file for the processor and none for its video processor."""
    from transformers import AutoProcessor

    model, processor = tiny_vlm("qwen2_5_vl")
    model.config.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    (tmp_path / "processor_config.json").unlink()
    sizes = {"min_pixels": 12544, "max_pixels": 50176, "patch_size": 14, "merge_size": 2, "temporal_patch_size": 2}
    named = {"image_processor_type": "Qwen2VLImageProcessor", "processor_class": "Qwen2_5_VLProcessor"}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({**sizes, **named}))
    with images_only():
        loaded = AutoProcessor.from_pretrained(tmp_path)
    image = photograph(SIZES["portrait"])
    assert torch.equal(ask(loaded, image)["pixel_values"], ask(processor, image)["pixel_values"])
    loaded.save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "processor_config.json").read_text())
    assert saved["video_processor"]["video_processor_type"] == "Qwen2VLVideoProcessor"


def test_videos_are_refused():
    _, processor = tiny_vlm("qwen2_5_vl")
    with pytest.raises(ValueError, match="videos need torchvision"):
        processor(videos=[np.zeros((2, 28, 28, 3), dtype=np.uint8)], text="<|video_pad|>")


def test_families_are_named_once():
    assert len(set(FAMILIES)) == len(FAMILIES)
    assert tiny_vlms.FAMILIES is FAMILIES
