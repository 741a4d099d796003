"""`wherenot data prior --from spreading`: what people marked in some images, carried over to the others."""

import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image

from photo_folder import save_lines
from wherenot.data import Dataset, read_folder, write_folder
from wherenot.data.origins import Origin
from wherenot.priors import Prior
from wherenot.proposals import ProposalConfig, asked_about, build_source, spreading_source
from wherenot.proposals.sources import Task

MODEL = "efficientnet-lite0@96"
MARKED = 8


def corner(place):
    return 10 + 13 * (place % 4), 12 + 17 * (place % 5)  # top, left


@pytest.fixture
def photos(tmp_path):
    """Twenty noisy images with a red disc each, of two sizes; eight have a mask of it."""
    root = tmp_path / "photos/train"
    (root / "masks").mkdir(parents=True)
    rng = np.random.default_rng(0)
    lines = []
    for place in range(20):
        width = 150 if place % 3 else 120
        pixels = rng.integers(60, 140, (100, width, 3), dtype=np.uint8)
        disc = wanted(place, width)
        pixels[disc] = (220, 30, 30)
        Image.fromarray(pixels).save(root / f"{place:02}.png")
        lines.append({"file_name": f"{place:02}.png", "label": ("cat", "dog")[place % 2]})
        if place < MARKED:
            Image.fromarray(disc.astype(np.uint8) * 255).save(root / f"masks/{place:02}.png")
            lines[-1]["mask_file_name"] = f"masks/{place:02}.png"
    save_lines(root / "metadata.jsonl", *lines)
    return root.parent


def wanted(place, width):
    top, left = corner(place)
    rows, columns = np.mgrid[:100, :width]
    return np.hypot(rows - top - 18, columns - left - 18) < 18


def overlap(sample):
    inside = sample.read_prior().allowed.numpy()
    disc = wanted(int(sample.id[-6:-4]), inside.shape[1])
    return (inside & disc).sum() / (inside | disc).sum()


def test_what_people_marked_is_found_in_the_other_images(photos, tmp_path, typed):
    out = tmp_path / "out"
    printed = typed("data", "prior", photos, "-o", out, "--from", "spreading", "--model", MODEL)
    assert "learned from the priors of 8 images by people" in printed
    assert f"12 priors by spreading ({MODEL}) in 20 images: {out}" in printed
    assert "8 images not asked about: they have a prior" in printed
    samples = read_folder(out).samples
    assert all(overlap(sample) == 1 and sample.origin is None for sample in samples[:MARKED])
    assert np.mean([overlap(sample) for sample in samples[MARKED:]]) > 0.85
    assert {sample.origin.named() for sample in samples[MARKED:]} == {f"spreading ({MODEL})"}
    assert f"8 by hand; 12 by spreading ({MODEL})" in typed("data", "check", out)


def test_who_learns_from_whom(photos, tmp_path):
    """A machine's guess teaches nobody before a person accepted it."""
    samples = list(read_folder(photos).samples)
    for place in range(4):
        samples[place] = replaced(samples[place], accepted=place < 2)
    learned = spreading_source(Dataset("discs", ("cat", "dog"), tuple(samples)), MODEL)
    assert learned.learned_from == MARKED - 2
    assert learned.doubtful == ()


def test_what_people_forbade_teaches_and_stays(photos):
    """Blue signs, which the images with a mask do not show: told from objects by who said so, in images without one."""
    samples = list(read_folder(photos).samples)
    for place in range(MARKED, 20):
        samples[place] = replace(samples[place], read_image=partial(signed, samples[place].read_image))
    warned = [replace(sample, read_prior=partial(sign, sample.read_image)) for sample in samples[MARKED : MARKED + 4]]
    guesses = [replaced(sample, accepted=False) for sample in warned]
    missed = []
    for among in (samples[MARKED : MARKED + 4], warned, guesses):
        data = Dataset("discs", ("cat", "dog"), (*samples[:MARKED], *among, *samples[MARKED + 4 :]))
        learned = spreading_source(data, MODEL)
        assert learned.learned_from == MARKED
        asked = asked_about(data, learned.source)
        tasks = [Task(image=sample.read_image(), key=(sample.split, sample.id)) for sample in asked[-8:]]
        proposed = [proposal.inside.numpy() for proposal in learned.source.propose(tasks)]
        missed.append(np.mean([inside[80:, :20].mean() for inside in proposed]))
    assert missed[0] > 2 * missed[1]
    assert missed[1] == missed[2]


def signed(read_image):
    pixels = np.array(read_image())
    pixels[80:, :20] = (235, 20, 60)
    return Image.fromarray(pixels)


def sign(read_image):
    width = read_image().width
    return Prior.from_boxes([[0, 80, 20, 100]], 100, width, forbidden=True)


def replaced(sample, accepted):
    return replace(sample, origin=Origin(kind="saliency", accepted=accepted))


def test_replacing_takes_no_persons_word_away(photos, tmp_path, typed):
    samples = list(read_folder(photos).samples)
    samples[0], samples[1] = replaced(samples[0], accepted=False), replaced(samples[1], accepted=True)
    write_folder(Dataset("discs", ("cat", "dog"), tuple(samples)), tmp_path / "in")
    command = ("data", "prior", tmp_path / "in", "--from", "spreading", "--model", MODEL)
    assert "12 priors by spreading" in typed(*command, "-o", tmp_path / "kept")
    printed = typed(*command, "-o", tmp_path / "out", "--replace")
    assert "13 priors by spreading" in printed
    assert "7 images not asked about: a person made or accepted their prior" in printed
    kinds = [each.origin and each.origin.kind for each in read_folder(tmp_path / "out").samples]
    assert kinds == ["spreading", "saliency", *[None] * 6, *["spreading"] * 12]


def test_a_prior_that_the_others_do_not_bear_out_is_named(photos, tmp_path, typed):
    wrong = np.zeros((100, 150), np.uint8)
    wrong[85:, 100:] = 255
    Image.fromarray(wrong).save(photos / "train/masks/02.png")
    command = ("data", "prior", photos, "-o", tmp_path / "out", "--from", "spreading", "--model", MODEL)
    printed = typed(*command, "--json")
    assert json.loads(printed[printed.index("{") : printed.rindex("}") + 1])["doubtful"] == ["train/02.png"]


def test_an_interruption_while_it_learns_leaves_nothing(photos, tmp_path, typed, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    command = ("data", "prior", photos, "-o", tmp_path / "out", "--from", "spreading", "--model", MODEL)
    with monkeypatch.context() as here:
        here.setattr("wherenot.proposals.spread._Inputs.__getitem__", interrupted)
        typed(*command, expect=130)
    assert not list(tmp_path.glob("out*"))
    assert "12 priors" in typed(*command)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "spreading needs --model: a classifier, such as efficientnet-lite0"),
        (("--model", MODEL, "--threshold", "0.5"), "its priors are as large as those it learned from"),
        (("--model", MODEL, "--prompt", "a {}"), "reads no text"),
        (("--model", "no/such"), "no/such"),
    ],
)
def test_wrong_settings(photos, tmp_path, typed, arguments, message):
    assert message in typed("data", "prior", photos, "-o", tmp_path / "o", "--from", "spreading", *arguments, expect=1)
    assert not list(tmp_path.glob("o*"))


def test_nothing_is_left_to_ask_about(photos, tmp_path, typed):
    data = read_folder(photos)
    write_folder(Dataset("discs", data.classes, data.samples[:MARKED]), tmp_path / "in")
    command = ("data", "prior", tmp_path / "in", "-o", tmp_path / "out", "--from", "spreading", "--model", MODEL)
    assert "has a prior already; --replace makes new ones" in typed(*command, expect=1)
    assert "--from spreading leaves those by people alone" in typed(*command, "--replace", expect=1)


def test_one_prior_teaches_nothing(photos):
    samples = read_folder(photos).samples
    with pytest.raises(ValueError, match="discs has 1 in the splits asked about; mark two images"):
        spreading_source(Dataset("discs", ("cat", "dog"), samples[MARKED - 1 :]), MODEL)


def test_it_learns_from_data_only():
    with pytest.raises(ValueError, match="call spreading_source"):
        build_source(ProposalConfig(kind="spreading", model=MODEL), ["cat"])


def test_seed_of_torch_is_left_alone(photos):
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    spreading_source(read_folder(photos), MODEL)
    assert torch.equal(torch.random.get_rng_state(), before)
