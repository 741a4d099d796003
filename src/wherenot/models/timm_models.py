"""Networks of timm, by name."""

from __future__ import annotations

from typing import Any

from PIL import Image
from torch import nn

from wherenot.masking import Normalization
from wherenot.models.preprocess import Preprocess

_RESAMPLE = {name.lower(): Image.Resampling[name] for name in ("NEAREST", "BILINEAR", "BICUBIC", "LANCZOS")}


def timm_network(name: str, num_classes: int | None, *, pretrained: bool) -> tuple[nn.Module, Preprocess, list[str]]:
    """Build a network of timm.

    Args:
        name: As in `timm.create_model`.
        num_classes: Of a fresh head; None keeps its own classes.
        pretrained: Load timm's weights.

    Returns:
        The network, the preprocessing it was evaluated with, and the names of its own classes: timm knows few, the
        rest are numbers.

    Raises:
        ValueError: If timm cannot be imported, has no such model, or its preprocessing cannot be reproduced.
    """
    try:
        import timm  # pyright: ignore[reportMissingImports]
        from timm.data import resolve_model_data_config  # pyright: ignore[reportMissingImports]
    except (ImportError, RuntimeError) as error:  # torchvision built for another torch fails with a RuntimeError
        raise ValueError(
            f"build_classifier: 'timm:{name}' needs timm and the torchvision that fits this torch ({error}); "
            "run: pip install 'wherenot[timm]'"
        ) from error
    options: dict[str, Any] = {} if num_classes is None else {"num_classes": num_classes}
    try:
        network = timm.create_model(name, pretrained=pretrained, **options)
    except (RuntimeError, OSError, ValueError) as error:
        raise ValueError(f"build_classifier: timm cannot make {name!r}: {str(error).splitlines()[0]}") from error
    own = (getattr(network, "pretrained_cfg", None) or {}).get("label_names")
    names = [str(label) for label in own or range(int(network.num_classes))]
    return network, preprocess_of(resolve_model_data_config(network), name), names


def preprocess_of(settings: dict[str, Any], name: str) -> Preprocess:
    """Read what `timm.data.resolve_model_data_config` gives.

    Raises:
        ValueError: If it does something else than resize and centre-crop, or resize all of it, and normalise colours.

    Example:
        >>> settings = {"input_size": (3, 224, 224), "crop_pct": 0.95, "mean": (0.5,) * 3, "std": (0.5,) * 3}
        >>> preprocess_of(settings, "vit").short_side
        235
    """
    channels, height, width = settings["input_size"]
    mode, interpolation = settings.get("crop_mode") or "center", settings.get("interpolation") or "bicubic"
    crop_pct = settings.get("crop_pct") or 0.875
    known = (mode == "squash" and crop_pct == 1) or (mode == "center" and height == width)
    if channels != 3 or not known or interpolation not in _RESAMPLE:
        raise ValueError(
            f"build_classifier: cannot reproduce the preprocessing of timm's {name!r} ({settings}); wrap the network "
            "in a Classifier with a Preprocess of your own."
        )
    short_side = None if mode == "squash" else int(height / crop_pct)
    return Preprocess(
        height=height,
        width=width,
        short_side=short_side,
        resample=_RESAMPLE[interpolation].value,
        normalization=Normalization(tuple(settings["mean"]), tuple(settings["std"])),
    )
