"""Evidence that is known: a tiny model learns to name the colour of a square, and is asked where it saw it."""

import numpy as np
import pytest
import torch
from PIL import Image

from wherenot.explain_generation import explain_generation
from wherenot.models import VisionLanguageModel
from wherenot.models.tiny_vlms import tiny_vlm
from wherenot.regions import Grid

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 30), "blue": (30, 60, 220), "white": (240, 240, 240)}
PROMPT = "Which colour?"
STEPS, BATCH = 90, 16


def picture(random):
    """Grey noise with a square in one of nine cells: image, colour, cell."""
    pixels = random.integers(60, 140, (84, 84, 1)).repeat(3, axis=2).astype(np.uint8)
    name = list(COLOURS)[random.integers(len(COLOURS))]
    row, column = random.integers(3, size=2)
    pixels[28 * row + 2 : 28 * row + 26, 28 * column + 2 : 28 * column + 26] = COLOURS[name]
    return Image.fromarray(pixels), name, int(3 * row + column)


@pytest.fixture(scope="module")
def trained():
    """LLaVA's architecture, answering "it is red": the first words are settled, the last needs the square."""
    vlm = VisionLanguageModel(*tiny_vlm("llava"))
    model, random = vlm.model, np.random.default_rng(0)
    prompt = vlm.encode(picture(random)[0], PROMPT)
    answers = {name: vlm.answer_ids(prompt, f"it is {name}") for name in COLOURS}
    start, longest = prompt.num_tokens, max(map(len, answers.values()))
    ids = torch.full((BATCH, start + longest), vlm.processor.tokenizer.eos_token_id)
    ids[:, :start] = prompt.inputs["input_ids"]
    as_pixels = vlm.processor.image_processor  # what `encode` makes of an image, for many at once
    optimizer = torch.optim.AdamW(model.parameters())
    for step in range(STEPS):
        pictures = [picture(random) for _ in range(BATCH)]
        pixels = as_pixels(images=[image for image, _, _ in pictures], return_tensors="pt")["pixel_values"]
        labels = torch.full_like(ids, -100)
        for row, (_, name, _) in enumerate(pictures):
            end = start + len(answers[name])
            ids[row, start:end] = labels[row, start:end] = torch.tensor(answers[name])
        optimizer.param_groups[0]["lr"] = 2e-3 * min(1, (step + 1) / 20, (STEPS - step) / 40)
        loss = model(input_ids=ids, pixel_values=pixels, attention_mask=torch.ones_like(ids), labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return vlm


def test_the_first_region_is_where_the_answer_was_planted(trained):
    random, hits, right = np.random.default_rng(99), 0, 0
    for _ in range(20):
        image, name, cell = picture(random)
        right += trained.text(trained.generate(trained.encode(image, PROMPT), max_tokens=8)).startswith(f"it is {name}")
        found = explain_generation(
            trained, image, PROMPT, answer=f"it is {name}", tokens=f"word:{name}", regions=Grid(3, 3), max_regions=1
        )
        hits += found.evidence.order[0] == cell
    assert right >= 18
    assert hits >= 18


def test_words_that_the_language_settles_owe_the_image_nothing(trained):
    image, name, _ = picture(np.random.default_rng(7))
    found = explain_generation(trained, image, PROMPT, answer=f"it is {name}", tokens="all", regions=Grid(3, 3))
    owed = dict(zip(found.chosen, found.influence.tolist(), strict=True))
    settled = found.answer.index(name)
    places = np.cumsum([0, *(len(piece) for piece in found.pieces)])[:-1]
    assert max(value for place, value in owed.items() if places[place] < settled) < 0.02
    first = next(place for place in owed if places[place] >= settled)
    assert owed[first] > 0.5
    assert found.sensitive[found.chosen.index(first)]
