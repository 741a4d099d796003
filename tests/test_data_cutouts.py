"""Cutouts: who is in which split, what the cue does, what annotators draw; on made-up objects and photographs."""

import json
import sys
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from PIL import Image

from wherenot.cli import main
from wherenot.data import DataError, load_dataset, read_folder, write_folder
from wherenot.data.cutout_priors import spoil
from wherenot.data.cutout_sources import find_photographs, photograph_families, read_object_classes
from wherenot.data.cutouts import CutoutsConfig, cutouts

NAMES = ("red", "green", "blue")
COLOURS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (40, 60, 220)}


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """Eight discs per class, three signs, twelve photographs of noise in three brightnesses."""
    root = tmp_path_factory.mktemp("sources")
    random = np.random.default_rng(0)
    for name, colour in COLOURS.items():
        (root / "objects" / "things" / name).mkdir(parents=True)
        for index in range(8):
            _disc(colour, 30 + 4 * index).save(root / "objects" / "things" / name / f"{'abcdefgh'[index]}_thing.png")
    (root / "objects" / "signs").mkdir()
    for index in range(3):
        Image.new("RGBA", (30, 20), (80 * index, 250, 250, 255)).save(root / "objects" / "signs" / f"{index}.png")
    (root / "photographs" / "deep").mkdir(parents=True)
    for index in range(12):
        pixels = random.integers(0, 40, (150, 200, 3)) + 85 * (index % 3) + 7 * (index // 3)
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(root / "photographs" / "deep" / f"{index}.png")
    return root


@pytest.fixture
def config(sources):
    return CutoutsConfig(
        objects=sources / "objects",
        backgrounds=(sources / "photographs",),
        classes=tuple(f"things/{name}" for name in NAMES),
        second_objects="signs",
        num_train=60, num_validation=12, num_test=30, size_px=48,
    )  # fmt: skip


def _disc(colour, side):
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    alpha = np.where(np.hypot(y, x) < side / 2, 255, 0).astype(np.uint8)
    return Image.fromarray(np.dstack([np.full((side, side, 3), colour, np.uint8), alpha]))


def _pixels(sample):
    return np.asarray(sample.read_image(), dtype=int)


@pytest.mark.parametrize("shortcut", ["background", "object", "watermark", "tint"])
def test_same_seed_same_images_and_another_seed_others(config, shortcut):
    config = replace(config, shortcut=shortcut, num_train=6)
    first, second = cutouts(config).samples, cutouts(config).samples
    assert all((_pixels(a) == _pixels(b)).all() for a, b in zip(first, second, strict=True))
    other = cutouts(replace(config, seed=1)).samples
    assert sum((_pixels(a) == _pixels(b)).all() for a, b in zip(first, other, strict=True)) < len(first) / 4


def test_objects_are_in_one_split_and_test_photographs_in_no_other(config, sources):
    classes = read_object_classes(config.objects, config.classes, seed=3)
    for one in classes:
        for a, b in combinations(one.files.values(), 2):
            assert not set(a) & set(b)
        assert sum(map(len, one.files.values())) == 8
        assert all(one.files.values())
    families = photograph_families(find_photographs(config.backgrounds, 96), 3, seed=0)
    train = {file for family in families for file in family.train}
    test = {file for family in families for file in family.test}
    assert not train & test
    assert len(train | test) == 12


def test_files_of_one_object_stay_together(tmp_path):
    for stem in ("cup", "cup_mirror", "pan", "pot"):
        _disc((9, 9, 9), 20).save(tmp_path / f"{stem}.png")
    (kitchen,) = read_object_classes(tmp_path.parent, [f"kitchen={tmp_path.name}"], seed=0)
    assert kitchen.name == "kitchen"
    [home] = [split for split, files in kitchen.files.items() if any("cup" in file.stem for file in files)]
    assert {file.stem for file in kitchen.files[home]} == {"cup", "cup_mirror"}


def test_families_look_alike_and_are_balanced(config):
    families = photograph_families(find_photographs(config.backgrounds, 96), 3, seed=0)
    for family in families:
        files = family.train + family.test
        assert len(files) == 4
        assert len(family.test) == 1
        assert len({int(file.stem) % 3 for file in files}) == 1, "the three brightnesses are the three families"


def test_cues_follow_the_split(config):
    data = cutouts(replace(config, num_train=600, num_test=300, rho=0.8))
    aligned = {split: np.mean([s.group == "aligned" for s in data.split(split).samples]) for split in data.splits}
    assert aligned["train"] == pytest.approx(0.8 + 0.2 / 3, abs=0.05)
    assert aligned["test_biased"] == pytest.approx(0.8 + 0.2 / 3, abs=0.07)
    assert aligned["test_unbiased"] == pytest.approx(1 / 3, abs=0.08)
    assert aligned["test_conflict"] == aligned["test_swapped"] == 0


def test_objects_are_as_large_as_asked(config):
    for smallest, largest in ((0.3, 0.35), (0.7, 0.8)):
        data = cutouts(replace(config, object_frac=(smallest, largest)))
        for sample in data.split("test_unbiased").samples[:12]:
            rows, columns = sample.read_prior().allowed.nonzero(as_tuple=True)
            side = max(int(rows.max() - rows.min()), int(columns.max() - columns.min())) + 1
            assert smallest - 0.1 <= side / config.size_px <= largest + 0.02


def test_no_shortcut_with_rho_zero(config):
    data = cutouts(replace(config, num_train=600, rho=0.0))
    assert np.mean([s.group == "aligned" for s in data.split("train").samples]) == pytest.approx(1 / 3, abs=0.06)


@pytest.mark.parametrize("shortcut", ["object", "watermark", "tint"])
def test_tests_differ_in_the_cue_alone(config, shortcut):
    data = cutouts(replace(config, shortcut=shortcut, cue_scale=0.5))
    for a, b in zip(data.split("test_biased").samples, data.split("test_swapped").samples, strict=True):
        assert a.label == b.label
        differs = (_pixels(a) != _pixels(b)).any(-1)
        assert (a.group == "aligned") <= differs.any(), "another class's cue shows"
        assert differs.mean() < 0.5
        assert (a.read_prior().allowed == b.read_prior().allowed).all()


def test_background_cue_replaces_the_background_and_keeps_the_object(config):
    data = cutouts(config)
    for a, b in zip(data.split("test_biased").samples, data.split("test_swapped").samples, strict=True):
        inside = a.read_prior().allowed.numpy()
        differs = (_pixels(a) != _pixels(b)).any(-1)
        # Half transparent edges mix with the background; the inner pixels do not.
        assert differs[inside].mean() < 0.35
        assert a.group == "conflicting" or differs[~inside].mean() > 0.5


def test_the_prior_is_where_the_object_is(config):
    for sample in cutouts(replace(config, shortcut="tint", rho=0.0)).split("train").samples[:12]:
        inside = sample.read_prior().allowed.numpy()
        colour = np.array(COLOURS[NAMES[sample.label]])
        near = np.abs(_pixels(sample) - colour).max(-1) < 12
        assert near[inside].mean() > 0.55  # turned edges are mixed, and the border may lie on it
        assert near[~inside].mean() < 0.05


def test_context_follows_the_class_in_tests_too(config):
    data = cutouts(replace(config, shortcut="tint", context=1.0, num_test=60))
    # Each class stands on photographs of one brightness, which no test changes.
    outside = {}
    for split in ("train", "test_swapped"):
        for sample in data.split(split).samples:
            inner = _pixels(sample)[10:-10, 10:-10][~sample.read_prior().allowed.numpy()[10:-10, 10:-10]]
            outside.setdefault((split, sample.label), []).extend(inner.ravel())
    spread = [np.mean(outside["train", label]) for label in range(3)]
    for label in range(3):
        nearest = np.argmin([abs(np.mean(outside["test_swapped", label]) - mean) for mean in spread])
        assert nearest == label


@pytest.mark.parametrize("fraction", [0.0, 0.02, 0.1, 0.5, 1.0])
def test_a_share_of_every_class_is_annotated(config, fraction):
    data = cutouts(replace(config, prior_frac=fraction))
    per_class = np.zeros(3, dtype=int)
    for sample in data.split("train").samples:
        per_class[sample.label] += sample.read_prior() is not None
    assert per_class.sum() == max(round(60 * fraction), 1 if fraction else 0)
    assert per_class.max() - per_class.min() <= 1
    assert all(sample.read_prior() is not None for sample in data.split("test_biased").samples)


def test_priors_change_no_image_and_tests_stay_exact(config):
    exact, wrong = cutouts(config), cutouts(replace(config, prior="wrong", prior_frac=0.5))
    for a, b in zip(exact.samples, wrong.samples, strict=True):
        assert (_pixels(a) == _pixels(b)).all()
        if a.split.startswith("test"):
            assert (a.read_prior().allowed == b.read_prior().allowed).all()


@pytest.mark.parametrize("shortcut", ["watermark", "object", "tint"])
def test_forbidden_is_where_the_cue_is(config, shortcut):
    """Images that show another cue differ there and nowhere else; of a second object the hidden part is not marked."""
    config = replace(config, shortcut=shortcut, prior="forbidden")
    own, any_cue = (cutouts(replace(config, rho=rho)) for rho in (1.0, 0.0))
    differing = 0
    for one, other in zip(own.split("train").samples, any_cue.split("train").samples, strict=True):
        priors = [prior for prior in (one.read_prior(), other.read_prior()) if prior is not None]
        assert all(prior.allowed is None for prior in priors)
        marked = np.any([prior.forbidden.numpy() for prior in priors], axis=0)
        changed = (_pixels(one) != _pixels(other)).any(-1)
        differing += changed.any()
        assert not (changed & ~marked).any()
        assert marked.mean() < 0.4
    assert differing > 30
    assert all(sample.read_prior().forbidden is None for sample in own.split("test_biased").samples)


def test_a_hidden_cue_cannot_be_marked(config, monkeypatch):
    monkeypatch.setattr(sys.modules[cutouts.__module__], "paste_corner", lambda *_: None)
    data = cutouts(replace(config, shortcut="object", prior="forbidden"))
    assert all(sample.read_prior() is None for sample in data.split("train").samples)


def _ring():
    y, x = np.mgrid[:40, :40]
    return (np.hypot(y - 14, x - 22) < 8) & (np.hypot(y - 14, x - 22) > 3)


@pytest.mark.parametrize(
    ("quality", "hit", "area"),
    [("exact", (1, 1), 1.0), ("box", (1, 1), 1.5), ("loose", (1, 1), 3.3), ("shifted", (0.3, 0.7), 1.5),
     ("partial", (0.3, 0.7), 0.5), ("wrong", (0, 0), 1.5)],
)  # fmt: skip
def test_qualities(quality, hit, area):
    ring = _ring()
    for seed in range(8):
        drawn = spoil(ring, quality, np.random.default_rng(seed))
        assert hit[0] <= (drawn & ring).sum() / ring.sum() <= hit[1]
        assert drawn.sum() / ring.sum() == pytest.approx(area, rel=0.25)


def test_an_object_that_fills_the_image_has_no_elsewhere():
    assert spoil(np.ones((5, 5), bool), "wrong", np.random.default_rng(0)).all()


def test_bad_sources_are_named(config, sources, tmp_path):
    with pytest.raises(DataError, match=r"nowhere.*is not a folder"):
        cutouts(replace(config, objects=tmp_path / "nowhere"))
    with pytest.raises(DataError, match=r"0 different objects"):
        cutouts(replace(config, classes=("things", "signs")))
    with pytest.raises(DataError, match=r"two classes are called 'red'"):
        cutouts(replace(config, classes=("things/red", "red=things/blue")))
    with pytest.raises(DataError, match=r"12 photographs are too few"):
        photograph_families(find_photographs([sources / "photographs"], 96), 7, 0)
    with pytest.raises(DataError, match=r"has 0 objects.*each of the 3 classes"):
        cutouts(replace(config, shortcut="object", second_objects="things"))
    (tmp_path / "broken.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"broken\.png: cannot be read"):
        find_photographs([tmp_path], 10)
    with pytest.raises(ValueError, match="rho must lie"):
        replace(config, rho=1.5)
    with pytest.raises(ValueError, match="cannot be context"):
        replace(config, context=0.5)
    with pytest.raises(ValueError, match="forbidden is all but the object"):
        replace(config, prior="forbidden")
    with pytest.raises(ValueError, match="needs two classes"):
        replace(config, classes=("things/red",))
    with pytest.raises(ValueError, match="object_frac"):
        replace(config, object_frac=(0.5, 0.4))
    with pytest.raises(ValueError, match="cue_scale"):
        replace(config, cue_scale=0.0)


def test_photographs_that_look_the_same_count_once(tmp_path):
    base = np.random.default_rng(0).integers(0, 255, (100, 100, 3)).astype(np.uint8)
    Image.fromarray(base).save(tmp_path / "large.png")
    Image.fromarray(base).resize((80, 80)).save(tmp_path / "small.png")
    Image.fromarray(255 - base // 2).save(tmp_path / "other.png")
    Image.fromarray(base[:20, :20] // 3).save(tmp_path / "icon.png")
    assert [file.name for file in find_photographs([tmp_path], 50)] == ["large.png", "other.png"]


def test_by_name(config, tmp_path):
    lines = [
        f"objects: {config.objects}", f"backgrounds: [{config.backgrounds[0]}]",
        f"classes: [{', '.join(config.classes)}]", "shortcut: tint", "num_train: 6", "num_test: 3", "size_px: 48",
    ]  # fmt: skip
    (tmp_path / "small.yaml").write_text("\n".join(lines))
    one, other = (load_dataset(f"cutouts:{tmp_path}/small.yaml", seed=seed) for seed in (0, 1))
    assert len(one.split("train")) == 6
    assert (_pixels(one.samples[0]) != _pixels(other.samples[0])).any()
    (tmp_path / "small.yaml").write_text("\n".join([*lines, "colour: red"]))
    with pytest.raises(DataError, match=r"small\.yaml.*\n.*colour"):
        load_dataset(f"cutouts:{tmp_path}/small.yaml")
    with pytest.raises(DataError, match="name a YAML file or one of background, object, watermark, tint"):
        load_dataset("cutouts:nothing")


def test_written_in_the_native_format_and_read_back(config, tmp_path):
    data = cutouts(replace(config, num_train=6, num_validation=3, num_test=3, prior="box", prior_frac=0.5))
    write_folder(data, tmp_path / "written")
    read = read_folder(tmp_path / "written")
    assert read.classes == data.classes
    theirs = {sample.id: sample for sample in read.samples}
    for sample in data.samples:
        copy = theirs[sample.id]
        assert (_pixels(copy) == _pixels(sample)).all()
        assert (copy.label, copy.split, copy.group) == (sample.label, sample.split, sample.group)
        given, found = sample.read_prior(), copy.read_prior()
        assert (given is None) == (found is None)
        assert given is None or (given.allowed == found.allowed).all()


def test_made_by_the_command_line(config, tmp_path, capsys):
    options = {
        "--objects": [config.objects],
        "--backgrounds": config.backgrounds,
        "--classes": config.classes,
        "--shortcut": ["object"],
        "--second-objects": ["signs"],
        "--num-train": [6],
        "--num-validation": [3],
        "--num-test": [3],
        "--size-px": [48],
        "--prior-frac": [0.5],
    }
    asked = ["data", "make", "cutouts", str(tmp_path / "made")]
    asked += [str(word) for name, values in options.items() for word in (name, *values)]
    assert main([*asked, "--json"]) == 0
    out, said = capsys.readouterr()
    assert json.loads(out)["images"] == 21
    assert "21 images, 0 left out" in said
    made = read_folder(tmp_path / "made")
    assert made.classes == NAMES
    assert sum(sample.read_prior() is not None for sample in made.split("train").samples) == 3
    assert main([*asked[:4], "--objects", str(tmp_path / "none")]) == 1
    assert "none/animals/mammals/bovines is not a folder" in capsys.readouterr().err
