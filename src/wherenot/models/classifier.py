"""Image classifiers: a network, the preprocessing it expects and the names of its classes."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from jaxtyping import Float
from PIL import Image
from torch import Tensor, nn

from wherenot.masking import Normalization
from wherenot.models.clip import ZeroShot
from wherenot.models.preprocess import Preprocess

CARD = "classifier.json"
WEIGHTS = "model.safetensors"


def told_apart(names: Sequence[str]) -> tuple[str, ...]:
    """Number those names that came before: ImageNet has two cranes, one of them a bird.

    Example:
        >>> told_apart(["crane", "dog", "crane"])
        ('crane', 'dog', 'crane (2)')
    """
    seen: Counter[str] = Counter()
    apart = []
    for name in names:
        seen[name] += 1
        apart.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return tuple(apart)


class Classifier(nn.Module):
    """A network with what is needed to ask it about photographs.

    Args:
        network: Gives logits, as a tensor or (transformers) as an output with a ``logits`` field.
        preprocess: From a photograph to its input.
        classes: One name per logit.
        architecture: How to build the network again: a name of `ARCHITECTURES`, ``timm:NAME``, ``transformers``, or
            ``zero-shot`` for a `ZeroShot` network.

    Example:
        >>> import torch
        >>> from wherenot.models import build_classifier
        >>> small = build_classifier("small-cnn", classes=["cat", "dog"])
        >>> small(torch.zeros(1, 3, 28, 28)).shape, small.class_index("dog")
        (torch.Size([1, 2]), 1)
    """

    def __init__(self, network: nn.Module, preprocess: Preprocess, classes: Sequence[str], architecture: str) -> None:
        super().__init__()
        self.network = network
        self.preprocess = preprocess
        self.classes = told_apart(classes)
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
        card: dict[str, Any] = {
            "architecture": self.architecture,
            "classes": list(self.classes),
            "preprocess": asdict(self.preprocess),
        }
        if isinstance(self.network, ZeroShot):
            card["templates"] = list(self.network.templates)
        if self.architecture in ("transformers", "zero-shot"):
            self.network.save_pretrained(folder)  # pyright: ignore[reportCallIssue]
        else:
            from safetensors.torch import save_file

            save_file({k: v.contiguous() for k, v in self.network.state_dict().items()}, folder / WEIGHTS)
        (folder / CARD).write_text(json.dumps(card, indent=1))


def read_photograph(path: Path) -> Image.Image:
    """Read an image file as RGB, turned the way its EXIF data says.

    Raises:
        ValueError: If the file is missing or is no image that can be decoded, naming it.
    """
    from PIL import ImageOps

    from wherenot.data.pictures import opened

    if not path.is_file():
        raise ValueError(f"read_photograph: {path} does not exist or is not a file.")
    try:
        with opened(path, "cannot be read as an image") as image:
            return ImageOps.exif_transpose(image).convert("RGB")
    except ValueError as error:
        raise ValueError(f"read_photograph: {error}.") from error
