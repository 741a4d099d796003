"""Cutouts: a photographic benchmark whose shortcut is chosen: alpha objects on photographs, made on the spot."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Literal, TypeAlias, get_args

import numpy as np
import torch
import yaml
from PIL import Image
from pydantic import ConfigDict, TypeAdapter

from wherenot.data.cutout_priors import CutoutPrior, spoil
from wherenot.data.cutout_sources import (
    Family,
    ObjectClass,
    find_photographs,
    object_files,
    photograph_families,
    read_object_classes,
)
from wherenot.data.pictures import opened
from wherenot.data.samples import DataError, Dataset, Sample
from wherenot.data.shortcuts import Cue, paint_tint, paint_watermark, paste_corner
from wherenot.priors import Prior

Shortcut: TypeAlias = Literal["background", "object", "watermark", "tint"]

_TESTS = ("test_biased", "test_unbiased", "test_conflict", "test_swapped")
_CROP_FRAC = (0.5, 1.0)
_TURN_DEGREES = 15.0


@dataclass(frozen=True, kw_only=True)
class CutoutsConfig:
    """What cutouts are made of, and how strong and how well annotated their shortcut is."""

    __pydantic_config__ = ConfigDict(extra="forbid", strict=False)

    objects: Path = Path("/usr/share/tuxpaint/stamps")
    """Folder with a folder of images with transparency for each class."""
    backgrounds: tuple[Path, ...] = (Path("/usr/share/backgrounds"), Path("/usr/share/wallpapers"))
    """Folders of photographs, searched with their subfolders."""
    classes: tuple[str, ...] = (
        "cattle=animals/mammals/bovines",
        "coins=symbols/money/us/coins+symbols/money/euro/coins+symbols/money/canadian/coins",
        "plants/flowers",
        "hands=symbols/alphabets/asl",
        "houses=town/houses/cartoon",
    )
    """FOLDER, NAME=FOLDER or NAME=FOLDER+FOLDER of each class, below the objects."""
    shortcut: Shortcut = "background"
    """What gives the class away: the family of the background, a second object, a watermark or a tinted border."""
    second_objects: str = "household/tools"
    """Folder, below the objects, of the second objects; one file for each class."""
    rho: float = 0.95
    """Share of the images of train, validation and test_biased that show their own class's cue for sure; the others
    show any. 0 makes images without a shortcut."""
    cue_scale: float = 1.0
    """Size of second object, watermark or border, relative to the usual."""
    object_frac: tuple[float, float] = (0.35, 0.6)
    """Smallest and largest longer side of an object, as a share of the image's."""
    context: float = 0.0
    """Share of all images, those of the tests included, that stand on their class's own background: context that may
    be used. Not with the background as shortcut."""
    prior: CutoutPrior | Literal["forbidden"] = "exact"
    """What annotators drew for train and validation: the object exactly, its box, a loose box, a shifted box, a part of
    the object, or a box where it is not. Or where evidence may NOT lie: a box around the cue, or the tinted border; not
    with the background as shortcut, which is all but the object. Tests are always exact."""
    prior_frac: float = 1.0
    """Share of the images of train and validation that were annotated at all."""
    num_train: int = 480
    """Images in train."""
    num_validation: int = 120
    """Images in validation, made of other objects than train."""
    num_test: int = 240
    """Images in each of the four tests, made of objects and photographs that are in no other split."""
    size_px: int = 128
    """Sides of the images."""
    seed: int = 0
    """Same seed, same images; prior and prior_frac change no image."""

    def __post_init__(self) -> None:
        """Check ranges."""
        for name in ("rho", "context", "prior_frac"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"CutoutsConfig: {name} must lie in [0, 1], got {getattr(self, name)}.")
        if len(self.classes) < 2 or min(self.num_train, self.num_validation, self.num_test) < 1 or self.size_px < 32:
            raise ValueError("CutoutsConfig: needs two classes, one image per split and size_px of 32 at least.")
        if self.shortcut == "background" and self.context:
            raise ValueError("CutoutsConfig: with the background as shortcut it cannot be context, too; set context 0.")
        if self.shortcut == "background" and self.prior == "forbidden":
            raise ValueError(
                "CutoutsConfig: with the background as shortcut, forbidden is all but the object; set prior exact."
            )
        if not 0 < self.object_frac[0] <= self.object_frac[1] <= 1:
            raise ValueError(
                f"CutoutsConfig: object_frac must be (smallest, largest) in (0, 1], got {self.object_frac}."
            )
        if not self.cue_scale > 0:
            raise ValueError(f"CutoutsConfig: cue_scale must be > 0, got {self.cue_scale}.")


def cutouts(config: CutoutsConfig = CutoutsConfig()) -> Dataset:
    """Make the benchmark: objects cut out of photographs, pasted on other photographs beside or on a cue.

    Every class has a cue: a family of backgrounds that look alike, a second object, a watermark or a colour of the
    border. In train, validation and `test_biased` the cue is mostly the class's own, in `test_unbiased` any, in
    `test_conflict` any other class's, and in `test_swapped` always the next class's, so that a model that reads cues is
    misled as a rule. The four tests show the same objects in the same places and differ in the cue alone. Objects
    are in one split only, photographs are not both in a test and in train or validation.

    A model that sees objects scores alike on all tests. What could be reached shows a run on ``rho=0``.

    Args:
        config: Sources, shortcut, priors and sizes.

    Returns:
        Six splits of RGB images; `group` is "aligned" where the cue is the class's own, else "conflicting".
        Images are composed when read.

    Raises:
        DataError: If folders are missing, or hold too few objects or photographs.

    References:
        Ours, after the recipe of Waterbirds: Sagawa et al., "Distributionally Robust Neural Networks", ICLR 2020.
    """
    classes = read_object_classes(config.objects, config.classes, config.seed)
    photographs = find_photographs(config.backgrounds, 2 * config.size_px)
    families = photograph_families(photographs, len(classes), config.seed)
    second = object_files(config.objects / config.second_objects) if config.shortcut == "object" else []
    if config.shortcut == "object" and len(second) < len(classes):
        raise DataError(
            f"cutouts: {config.objects / config.second_objects} has {len(second)} objects with transparency; "
            f"each of the {len(classes)} classes needs one."
        )
    samples: list[Sample] = []
    for stage, (split, count) in enumerate(
        (("train", config.num_train), ("validation", config.num_validation), ("test", config.num_test))
    ):
        annotated = _annotated(config, stage, count)
        for index in range(count):
            label = index % len(classes)
            scene = _Scene(config, classes, families, tuple(second[: len(classes)]), split, stage, index, label)
            for name in _TESTS if split == "test" else (split,):
                cue = _cue(config, name, stage, index, label)
                samples.append(
                    Sample(
                        id=f"{name}/{index:05d}.png",
                        label=label,
                        split=name,
                        group="aligned" if cue == label else "conflicting",
                        read_image=partial(_image, scene, cue),
                        read_prior=partial(_prior, scene, cue) if split == "test" or annotated[index] else _no_prior,
                    )
                )
    return Dataset(f"cutouts:{config.shortcut}", tuple(one.name for one in classes), tuple(samples))


def cutouts_config(spec: str) -> CutoutsConfig:
    """Read what cutouts are made of.

    Args:
        spec: A YAML file with fields of `CutoutsConfig`, or the name of a shortcut, with the usual values of all else.

    Raises:
        DataError: If there is no such file or shortcut, or the file holds an unknown key or a wrong value.

    Example:
        >>> cutouts_config("watermark").shortcut
        'watermark'
    """
    for shortcut in get_args(Shortcut):
        if spec == shortcut:
            return CutoutsConfig(shortcut=shortcut)
    try:
        return TypeAdapter(CutoutsConfig).validate_python(yaml.safe_load(Path(spec).read_text()))
    except OSError as error:
        raise DataError(
            f"cutouts_config: {spec} cannot be read ({error.strerror}); name a YAML file or one of "
            f"{', '.join(get_args(Shortcut))}."
        ) from error
    except (ValueError, yaml.YAMLError) as error:
        raise DataError(f"cutouts_config: {spec}: {error}") from error


@dataclass(frozen=True)
class _Scene:
    """Everything that is drawn for an image except its cue."""

    config: CutoutsConfig
    classes: tuple[ObjectClass, ...]
    families: tuple[Family, ...]
    second: tuple[Path, ...]
    split: str
    stage: int
    index: int
    label: int

    def random(self, purpose: int) -> np.random.Generator:
        """Draws for one purpose do not depend on how many are made for another."""
        return np.random.default_rng([self.config.seed, self.stage, self.index, purpose])


def _annotated(config: CutoutsConfig, stage: int, count: int) -> np.ndarray:
    """Which images have a prior: the wanted share, one at least unless nobody annotates."""
    number = max(1, round(config.prior_frac * count)) if config.prior_frac else 0
    chosen = np.zeros(count, dtype=bool)
    # Round robin over the classes, so that a tenth of the images is a tenth of every class.
    order = np.random.default_rng([config.seed, stage, 7]).permutation(count)
    seen: Counter[int] = Counter()
    turn = np.empty(count, dtype=int)  # how many images of the same class come before this one
    for index in order.tolist():
        label = index % len(config.classes)
        turn[index], seen[label] = seen[label], seen[label] + 1
    chosen[sorted(order.tolist(), key=lambda index: turn[index])[:number]] = True
    return chosen


def _cue(config: CutoutsConfig, split: str, stage: int, index: int, label: int) -> int:
    """The class whose cue an image of a split shows."""
    random = np.random.default_rng([config.seed, stage, index, 1])
    sure, other, any_class = (
        random.random() < config.rho,
        random.integers(1, len(config.classes)),
        random.integers(len(config.classes)),
    )
    match split:
        case "test_unbiased":
            return int(any_class)
        case "test_conflict":
            return int((label + other) % len(config.classes))
        case "test_swapped":
            return (label + 1) % len(config.classes)
        case _:
            return label if sure else int(any_class)


def _image(scene: _Scene, cue: int) -> Image.Image:
    return _composed(scene, cue, _background(scene, cue))


def _composed(scene: _Scene, cue: int | None, image: Image.Image) -> Image.Image:
    """Draw second object, object and paint on a background, in place; the object alone where there is no cue."""
    config = scene.config
    if config.shortcut == "object" and cue is not None:
        paste_corner(image, _cut_out(scene.second[cue]), config.cue_scale, scene.random(4))
    object_, corner = _object(scene)
    image.paste(object_, corner, object_)
    if config.shortcut in ("watermark", "tint") and cue is not None:
        paint = paint_watermark if config.shortcut == "watermark" else paint_tint
        paint(image, Cue(cue, len(config.classes)), config.cue_scale, scene.random(4))
    return image


def _background(scene: _Scene, cue: int) -> Image.Image:
    config, random = scene.config, scene.random(2)
    part = "test" if scene.split == "test" else "train"
    own, any_family = random.random() < config.context, int(random.integers(len(scene.families)))
    family = cue if config.shortcut == "background" else scene.label if own else any_family
    files = getattr(scene.families[family], part)
    # The same draw picks the photograph in every family and the same place in it.
    photograph = _photograph(files[int(random.random() * len(files))], config.size_px)
    side = int(min(photograph.size) * random.uniform(*_CROP_FRAC))
    left, top = (int(random.random() * (whole - side + 1)) for whole in photograph.size)
    crop = photograph.crop((left, top, left + side, top + side))
    crop = crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if random.random() < 0.5 else crop
    return crop.resize((config.size_px, config.size_px), Image.Resampling.LANCZOS)


def _object(scene: _Scene) -> tuple[Image.Image, tuple[int, int]]:
    """The object as it is pasted, and the place of its upper left corner."""
    random, size = scene.random(3), scene.config.size_px
    files = scene.classes[scene.label].files[scene.split]
    object_ = _cut_out(files[int(random.integers(len(files)))])
    if random.random() < 0.5:
        object_ = object_.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    degrees = random.uniform(-_TURN_DEGREES, _TURN_DEGREES)
    object_ = object_.rotate(degrees, Image.Resampling.BICUBIC, expand=True)
    object_ = object_.crop(object_.getchannel("A").getbbox())
    scale = size * random.uniform(*scene.config.object_frac) / max(object_.size)
    width, height = (max(2, round(side * scale)) for side in object_.size)
    object_ = object_.resize((width, height), Image.Resampling.LANCZOS)
    return object_, (int(random.integers(size - width + 1)), int(random.integers(size - height + 1)))


def _prior(scene: _Scene, cue: int) -> Prior | None:
    size, quality = scene.config.size_px, "exact" if scene.split == "test" else scene.config.prior
    if quality == "forbidden":
        return _forbidden(scene, cue)
    object_, corner = _object(scene)
    alpha = Image.new("L", (size, size))
    alpha.paste(object_.getchannel("A"), corner)
    return Prior.from_mask(torch.from_numpy(spoil(np.asarray(alpha) > 127, quality, scene.random(5))))


def _forbidden(scene: _Scene, cue: int) -> Prior | None:
    """What a person marks who sees that the cue must not count: its box, or the border; None where it is hidden."""
    size = scene.config.size_px
    shown, hidden = (_composed(scene, each, Image.new("RGB", (size, size), "gray")) for each in (cue, None))
    changed = torch.from_numpy((np.asarray(shown) != np.asarray(hidden)).any(-1))
    if not changed.any():
        return None
    if scene.config.shortcut != "tint":
        rows, columns = (changed.any(axis).nonzero() for axis in (1, 0))
        changed[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] = True
    return Prior.from_mask(changed, forbidden=True)


def _no_prior() -> None:
    return None


@lru_cache(maxsize=512)
def _cut_out(file: Path) -> Image.Image:
    with opened(file, "cannot be decoded", "; remove it") as image:
        whole = image.convert("RGBA")
    whole.thumbnail((512, 512))
    opaque = Image.fromarray(np.asarray(whole.getchannel("A")) > 127)
    if (box := opaque.getbbox()) is None:
        raise DataError(f"cutouts: {file} is transparent everywhere; remove it.")
    return whole.crop(box)


@lru_cache(maxsize=512)
def _photograph(file: Path, size_px: int) -> Image.Image:
    with opened(file, "cannot be decoded", "; remove it") as image:
        image.draft("RGB", (4 * size_px, 4 * size_px))
        whole = image.convert("RGB")
    scale = 2 * size_px / min(whole.size)
    return whole.resize((round(whole.width * scale), round(whole.height * scale)), Image.Resampling.LANCZOS)
