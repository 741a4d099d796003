"""Detectors that look for what a text names: Grounding DINO, OWL-ViT, OWLv2."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from PIL import Image

Box = tuple[float, float, float, float]

# The words a family was shown most, and the score from which its makers count a box.
_FAMILIES: dict[str, tuple[str, float]] = {
    "grounding-dino": ("{}", 0.25),
    "mm-grounding-dino": ("{}", 0.25),
    "owlvit": ("a photo of a {}", 0.1),
    "owlv2": ("a photo of a {}", 0.1),
}


@dataclass(frozen=True)
class Found:
    """What a detector found in one image.

    Attributes:
        boxes: xyxy, half-open, in pixels of the image and within it; each has an area.
        scores: One per box, in [0, 1].
    """

    boxes: tuple[Box, ...]
    scores: tuple[float, ...]


@runtime_checkable
class Detector(Protocol):
    """Looks for what a text names.

    Attributes:
        prompt: How the name of a class is put into words, with ``{}`` for the name.
        threshold: The score from which its makers count a box.
    """

    prompt: str
    threshold: float

    def __call__(self, images: Sequence[Image.Image], texts: Sequence[str], threshold: float) -> list[Found]:
        """Find what each image's text names, with scores above a threshold."""
        ...


class ZeroShotDetector:
    """A zero-shot detector of transformers, asked for one thing per image.

    Args:
        model: A ``GroundingDinoForObjectDetection``, ``OwlViTForObjectDetection`` or ``Owlv2ForObjectDetection``.
        processor: The one it was trained with.

    Raises:
        ValueError: If the model is of another family.
    """

    def __init__(self, model: Any, processor: Any) -> None:
        self.family = str(model.config.model_type).replace("_", "-")
        if self.family not in _FAMILIES:
            raise ValueError(
                f"ZeroShotDetector: a model of type {model.config.model_type!r}; known are {', '.join(_FAMILIES)}."
            )
        self.model = model.eval()
        self.processor = processor
        self.prompt, self.threshold = _FAMILIES[self.family]

    def __call__(self, images: Sequence[Image.Image], texts: Sequence[str], threshold: float) -> list[Found]:
        """Find what each image's text names.

        Args:
            images: RGB.
            texts: One per image. Grounding DINO reads them in lower case with a full stop, as it was trained.
            threshold: Boxes with a score above it count.

        Returns:
            One entry per image, its boxes by falling score.

        Raises:
            ValueError: If a text is longer than the model reads.
        """
        words = [self._put(text) for text in texts]
        self._refuse_long(words)
        # Grounding DINO pads images to the largest and texts to the longest, and its scores feel it: one at a time, an
        # image's boxes do not depend on its neighbours. The others squeeze all images to one size.
        at_once = 1 if self._is_dino else len(images)
        found: list[Found] = []
        for start in range(0, len(images), at_once):
            part = slice(start, start + at_once)
            found += self._found(images[part], words[part], threshold)
        return found

    @property
    def _is_dino(self) -> bool:
        return self.family.endswith("dino")

    def _put(self, text: str) -> str:
        return f"{text.strip().rstrip('.').lower()}." if self._is_dino else text

    def _found(self, images: Sequence[Image.Image], words: Sequence[str], threshold: float) -> list[Found]:
        # OWL-ViT takes a list of texts per image; as one flat list they would all be for the first.
        asked = list(words) if self._is_dino else [[text] for text in words]
        padding = {} if self._is_dino else {"padding": "max_length"}
        inputs = self.processor(images=list(images), text=asked, return_tensors="pt", **padding).to(self.model.device)
        with torch.inference_mode():
            outputs = self.model(**inputs)
        sizes = [(image.height, image.width) for image in images]
        options: dict[str, Any] = {"threshold": threshold, "target_sizes": torch.tensor(sizes)}
        if self._is_dino:
            options["input_ids"] = inputs["input_ids"]
        results = self.processor.post_process_grounded_object_detection(_on_cpu(outputs), **options)
        return [_cut_off(each, size) for each, size in zip(results, sizes, strict=True)]

    def _refuse_long(self, words: Sequence[str]) -> None:
        config = self.model.config
        longest = getattr(config, "max_text_len", None) or config.text_config.max_position_embeddings
        for text in dict.fromkeys(words):
            count = len(self.processor.tokenizer(text)["input_ids"])
            if count > longest:
                raise ValueError(
                    f"ZeroShotDetector: {text!r} is {count} tokens, the model reads {longest}; name the class in fewer "
                    "words (--prompt, --class-prompts)."
                )


def load_detector(spec: str, *, device: str = "cpu") -> ZeroShotDetector:
    """Load a zero-shot detector.

    Args:
        spec: Id or path of a Grounding DINO, OWL-ViT or OWLv2 of transformers, such as
            ``IDEA-Research/grounding-dino-tiny`` or ``google/owlv2-base-patch16-ensemble``.
        device: Where it runs.

    Raises:
        ValueError: If there is none by that name, or transformers is missing.
    """
    model = loaded_part("AutoModelForZeroShotObjectDetection", spec, "a zero-shot detector", dtype=torch.float32)
    return ZeroShotDetector(model.to(device), loaded_part("AutoProcessor", spec, "a zero-shot detector"))


def loaded_part(name: str, spec: str, what: str, **options: Any) -> Any:
    """Load a part of a model with a class of transformers, or say in a line why it cannot be.

    Args:
        name: The class.
        spec: Id or path of the model.
        what: What was looked for, for the message.
        options: Of ``from_pretrained``.

    Raises:
        ValueError: If there is no such model, it is of another kind, or transformers is missing.
    """
    try:
        import transformers
    except ImportError as error:
        raise ValueError("This needs transformers; run: pip install 'wherenot[hf]'") from error
    try:
        return getattr(transformers, name).from_pretrained(spec, **options)
    except (OSError, ValueError, ImportError) as error:
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise ValueError(f"{spec!r} cannot be loaded as {what} of transformers: {reason}") from error


def _on_cpu(outputs: Any) -> Any:
    """The two parts that a post-processing reads, where the sizes of the images are."""
    outputs.logits, outputs.pred_boxes = outputs.logits.float().cpu(), outputs.pred_boxes.float().cpu()
    return outputs


def _cut_off(result: Any, size: tuple[int, int]) -> Found:
    """Boxes cut off at the image's border, by falling score; those without an area are left out."""
    height, width = size
    limits = torch.tensor([width, height, width, height], dtype=torch.float32)
    boxes = torch.minimum(result["boxes"].float().clamp(min=0), limits)
    scores = result["scores"].float()
    order = torch.argsort(scores, descending=True, stable=True)
    good = [at for at in order.tolist() if boxes[at, 0] < boxes[at, 2] and boxes[at, 1] < boxes[at, 3]]
    corners = ((x0, y0, x1, y1) for x0, y0, x1, y1 in boxes[good].tolist())
    return Found(tuple(corners), tuple(scores[good].tolist()))
