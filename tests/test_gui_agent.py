"""The tiny agent's screens in memory, on cases solved on paper."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from wherenot.gui.agent import answering
from wherenot.gui.agent.answering import draw_questions, learn_to_answer
from wherenot.gui.agent.bank import ACROSS, DOWN, NAMES, Bank
from wherenot.gui.agent.model import HEIGHT, WIDTH, build_agent
from wherenot.gui.agent.seeing import features, learn_to_see, right_patches


def bank(*screens):
    """Black screens with these elements: (name, box in patches)."""
    most = max(len(elements) for elements in screens)
    names, boxes = torch.full((len(screens), most), -1), torch.zeros(len(screens), most, 4)
    for row, elements in enumerate(screens):
        for place, (name, box) in enumerate(elements):
            names[row, place] = name
            boxes[row, place] = torch.tensor(box) / torch.tensor([ACROSS, DOWN, ACROSS, DOWN])
    images = torch.zeros(len(screens), HEIGHT, WIDTH, 3, dtype=torch.uint8)
    return Bank(images, names, boxes, torch.zeros_like(names))


def on(bank, row=0, element=0):
    """Patches (x, y) that show an element."""
    shown = bank.on_targets(torch.tensor([row]))[0, element]
    assert len(shown) == ACROSS * DOWN
    return {(place % ACROSS, place // ACROSS) for place in shown.nonzero().flatten().tolist()}


def test_patches_show_what_covers_their_middle():
    assert on(bank([(3, (2.0, 1.0, 4.0, 2.0))])) == {(2, 1), (3, 1)}
    assert on(bank([(3, (2.4, 1.4, 3.6, 2.4))])) == {(2, 1), (3, 1)}  # the middles, no more of them
    assert on(bank([(5, (0.0, 0.0, float(ACROSS), float(DOWN)))])) == {
        (x, y) for y in range(DOWN) for x in range(ACROSS)
    }


def test_what_lies_between_middles_is_shown_by_the_patch_that_holds_its_own():
    assert on(bank([(3, (2.6, 1.0, 3.3, 1.3))])) == {(2, 1)}
    assert on(bank([(3, (7.6, 15.6, 8.0, 16.0))])) == {(7, 15)}


def test_rows_are_asked_for_in_any_order_and_missing_elements_are_shown_nowhere():
    three = bank([(7, (0.0, 0.0, 1.0, 1.0)), (0, (1.0, 0.0, 2.0, 1.0))], [(1, (7.0, 15.0, 8.0, 16.0))], [])
    assert on(three, 0, 0) == {(0, 0)}
    assert on(three, 0, 1) == {(1, 0)}
    assert on(three, 1, 0) == {(7, 15)}
    assert on(three, 1, 1) == set()
    assert on(three, 2, 0) == set()
    both = three.on_targets(torch.tensor([1, 0]))
    assert both.shape == (2, 2, ACROSS * DOWN)
    assert len(three) == 3
    assert three.middles(torch.tensor([1]))[0, 0].tolist() == [7.5 / ACROSS, 15.5 / DOWN]


def test_pixels_are_channels_first_and_between_minus_one_and_one():
    two = bank([], [(0, (0.0, 0.0, 1.0, 1.0))])
    two.images[1, 2, 5] = torch.tensor([255, 51, 0], dtype=torch.uint8)
    black, shown = two.pixels(torch.tensor([0, 1]))
    assert black.shape == (3, HEIGHT, WIDTH)
    assert black.unique().tolist() == [-1.0]
    assert shown[:, 2, 5].tolist() == pytest.approx([1.0, -0.6, -1.0])
    assert (shown > -1).sum() == 2
    assert two.images.max() == 255  # not what is kept


def test_pixels_are_what_the_agents_processor_makes_of_the_screen():
    images = torch.randint(0, 256, (2, HEIGHT, WIDTH, 3), generator=torch.Generator().manual_seed(0)).byte()
    two = Bank(images, torch.full((2, 1), -1), torch.zeros(2, 1, 4), torch.zeros(2, 1, dtype=torch.long))
    processor = build_agent()[1].image_processor
    for row, image in enumerate(images):
        made = processor(images=Image.fromarray(image.numpy()), return_tensors="pt")["pixel_values"]
        assert torch.allclose(two.pixels(torch.tensor([row])), made, atol=1e-6)


def screens(count=6):
    """Screens whose elements are squares of a colour of their own, in two corners."""
    made = bank(*[[(row % 3, (0.0, 0.0, 2.0, 2.0)), (3 + row % 2, (6.0, 14.0, 8.0, 16.0))] for row in range(count)])
    for row in range(count):
        made.images[row, :32, :32, row % 3] = 255
        made.images[row, -32:, -32:, row % 2] = 128
    return made


def test_patches_that_resemble_the_name_are_the_right_ones():
    shown = screens(2)
    names = torch.eye(len(NAMES))
    found = torch.zeros(2, ACROSS * DOWN, names.shape[1])
    on = shown.on_targets(torch.tensor([0, 1]))
    for row in range(2):
        for element in range(2):
            found[row, on[row, element]] = names[shown.names[row, element]]
    right = right_patches(found, names, shown, torch.tensor([0, 1])).exp()
    assert right.shape == (4,)
    assert right.min() > 0.999
    blind = right_patches(torch.zeros_like(found)[:1], names, shown, torch.tensor([0])).exp()
    assert blind.tolist() == pytest.approx([4 / 128, 4 / 128])  # four patches of 128


def test_seeing_is_learned_by_the_eyes_alone():
    model, processor = build_agent()
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    state, well = torch.get_rng_state(), []
    learn_to_see(model, processor.tokenizer, screens(), steps=40, batch_size=3, on_step=well.append)
    assert torch.equal(torch.get_rng_state(), state)
    assert not model.training
    moved = {name for name, weight in model.state_dict().items() if not torch.equal(weight, before[name])}
    assert all("vision_tower" in name or "multi_modal_projector" in name for name in moved)
    assert len(well) == 40
    assert well[-1] > 0.5 > 4 * well[0]


def test_questions_have_their_answers():
    processor = build_agent()[1]
    words, shown = processor.tokenizer, screens()
    asked = draw_questions(words, shown, [0, 1], 4, np.random.default_rng(0))
    assert asked.ids.shape[0] == 8
    styles = set()
    for ids, labels, patches, box in zip(asked.ids, asked.labels, asked.patches, asked.boxes, strict=True):
        assert words.unk_token_id not in ids.tolist()
        answer = labels[labels >= 0].tolist()
        assert answer[-1] == words.eos_token_id
        said = words.decode(answer[:-1])
        assert torch.equal(ids[labels >= 0], labels[labels >= 0])
        x, y = json.loads(said)["POINT"]
        assert box[0] <= x / 1000 <= box[2]
        assert box[1] <= y / 1000 <= box[3]
        assert patches.sum() == 4
        styles.add(words.decode(ids[labels < 0]).split()[0])
    assert len(styles) > 1


def test_answering_is_learned_without_new_eyes():
    model, processor = build_agent()
    model.set_attn_implementation("eager")
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    well = []
    learn_to_answer(model, processor.tokenizer, screens(), steps=60, screens=2, tasks=2, on_step=well.append)
    moved = {name for name, weight in model.state_dict().items() if not torch.equal(weight, before[name])}
    assert all(
        name.startswith(("model.language_model.layers", "model.language_model.norm", "lm_head")) for name in moved
    )
    assert well[-1] > 0.3 > 5 * well[0]


def test_looking_is_learned_where_it_is_guided():
    looked = {}
    for guidance in (0.0, 2.0):
        model, processor = build_agent()
        model.set_attn_implementation("eager")
        shown = screens()
        learn_to_answer(model, processor.tokenizer, shown, steps=12, screens=2, tasks=2, guidance=guidance)
        asked = draw_questions(processor.tokenizer, shown, [0, 1], 2, np.random.default_rng(1))
        with torch.no_grad():
            _, attentions = answering._answers(
                model, features(model, shown.pixels(torch.tensor([0, 1]))), asked.ids, watch=True
            )
        looked[guidance] = float(-answering._looked_away(attentions, asked))
    assert looked[2.0] > looked[0.0] + 0.5
