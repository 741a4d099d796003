"""Tiny vision-language models: real classes, processors that fit them, and images that matter."""

import numpy as np
import pytest
import torch
from PIL import Image

from wherenot.models import tiny_vlms
from wherenot.models.images_only import images_only, no_videos
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


def test_what_the_tokenizer_puts_first():
    named = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>"}
    assert tiny_tokenizer(named, starts_with_bos=True)("a")["input_ids"][0] == tiny_tokenizer(named).bos_token_id
    assert len(tiny_tokenizer(named)("a")["input_ids"]) == 1


def test_transformers_is_as_it_was():
    from transformers import processing_utils
    from transformers.models.auto import video_processing_auto
    from transformers.models.smolvlm import processing_smolvlm

    modules = (processing_utils.transformers_module, video_processing_auto, processing_smolvlm)
    before = [dict(vars(module)) for module in modules]
    with pytest.raises(KeyError), images_only():
        raise KeyError
    assert [dict(vars(module)) for module in modules] == before


def test_videos_are_refused():
    with pytest.raises(ValueError, match="videos need torchvision"):
        no_videos()()([])


def test_families_are_named_once():
    assert len(set(FAMILIES)) == len(FAMILIES)
    assert tiny_vlms.FAMILIES is FAMILIES
