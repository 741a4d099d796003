"""Segmenters that are told what to cut out: CLIPSeg by a text, SAM 2 by boxes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from PIL import Image
from torch import Tensor

from wherenot.models.detectors import Box, loaded_part

_TEXT = "a CLIPSeg"
_BOXES = "a SAM 2"


@runtime_checkable
class TextSegmenter(Protocol):
    """Says of each pixel how likely it shows what a text names.

    Attributes:
        prompt: How the name of a class is put into words, with ``{}`` for the name.
    """

    prompt: str

    def __call__(self, images: Sequence[Image.Image], texts: Sequence[str]) -> list[Float[Tensor, "H W"]]:
        """Give one map in [0, 1] per image, on its pixels."""
        ...


@dataclass(frozen=True, eq=False)
class CutOut:
    """The object in a box.

    Attributes:
        inside: True on it, on the image's pixels; may be empty.
        score: How good the segmenter thinks the cut is, in [0, 1].
    """

    inside: Bool[Tensor, "H W"]
    score: float


@runtime_checkable
class BoxSegmenter(Protocol):
    """Cuts out the object in each of an image's boxes."""

    def __call__(self, images: Sequence[Image.Image], boxes: Sequence[Sequence[Box]]) -> list[list[CutOut]]:
        """Cut out the object in each box."""
        ...


class ClipSeg:
    """CLIPSeg of transformers, asked for one thing per image.

    Args:
        model: A ``CLIPSegForImageSegmentation``.
        processor: The one it was trained with.
    """

    prompt = "a photo of a {}"

    def __init__(self, model: Any, processor: Any) -> None:
        self.model = model.eval()
        self.processor = processor

    def __call__(self, images: Sequence[Image.Image], texts: Sequence[str]) -> list[Float[Tensor, "H W"]]:
        """Say of each pixel how likely it shows what the image's text names.

        Args:
            images: RGB.
            texts: One per image.

        Returns:
            One map in [0, 1] per image: the model's, drawn bilinearly to the image's size.

        Raises:
            ValueError: If a text is longer than the model reads.
        """
        longest = self.model.config.text_config.max_position_embeddings
        words = self.processor.tokenizer(list(texts), padding=True, return_tensors="pt")
        if words["input_ids"].shape[1] > longest:
            text = max(texts, key=len)
            raise ValueError(
                f"ClipSeg: {text!r} is more than {longest} tokens, all that the model reads; name the class in fewer "
                "words (--prompt, --class-prompts)."
            )
        pixels = self.processor.image_processor(list(images), return_tensors="pt")["pixel_values"]
        device = self.model.device
        with torch.inference_mode():
            logits = self.model(
                input_ids=words["input_ids"].to(device),
                attention_mask=words["attention_mask"].to(device),
                pixel_values=pixels.to(device),
            ).logits
        maps = logits.float().cpu().reshape(len(images), 1, *logits.shape[-2:]).sigmoid()
        sizes = [(image.height, image.width) for image in images]
        return [
            F.interpolate(each[None], size, mode="bilinear", align_corners=False)[0, 0]
            for each, size in zip(maps, sizes, strict=True)
        ]


class Sam2:
    """SAM 2 of transformers, shown boxes.

    Its own image processor needs torchvision; what it does is done here: squeezed to a square (bilinear), normalised.

    Args:
        model: A ``Sam2Model``.
        mean: Of the channels, in [0, 1].
        std: Of the channels.
    """

    def __init__(
        self,
        model: Any,
        mean: Sequence[float] = (0.485, 0.456, 0.406),
        std: Sequence[float] = (0.229, 0.224, 0.225),
    ) -> None:
        self.model = model.eval()
        self.side = int(model.config.prompt_encoder_config.image_size)
        self.mean, self.std = (torch.tensor([float(each) for each in of])[:, None, None] for of in (mean, std))

    def __call__(self, images: Sequence[Image.Image], boxes: Sequence[Sequence[Box]]) -> list[list[CutOut]]:
        """Cut out the object in each box.

        Args:
            images: RGB.
            boxes: Of each image, xyxy in its pixels; an image may have none.

        Returns:
            One cut-out per box, with the overlap with the truth that the model itself predicts as its score.
        """
        asked = [place for place, each in enumerate(boxes) if each]
        cut: list[list[CutOut]] = [[] for _ in images]
        if not asked:
            return cut
        device = self.model.device
        with torch.inference_mode():
            pixels = torch.stack([self._input(images[place]) for place in asked]).to(device)
            features = self.model.get_image_embeddings(pixels)
            for row, place in enumerate(asked):  # images have different numbers of boxes, which SAM 2 does not pad
                image = images[place]
                scale = torch.tensor([self.side / image.width, self.side / image.height] * 2)
                output = self.model(
                    image_embeddings=[level[row : row + 1] for level in features],
                    input_boxes=(torch.tensor(boxes[place], dtype=torch.float32) * scale)[None].to(device),
                    multimask_output=False,
                )
                masks = output.pred_masks[0, :, :1].float().cpu()
                masks = F.interpolate(masks, (image.height, image.width), mode="bilinear", align_corners=False) > 0
                scores = output.iou_scores[0, :, 0].float().cpu().clamp(0, 1).tolist()
                cut[place] = [CutOut(mask[0], score) for mask, score in zip(masks, scores, strict=True)]
        return cut

    def _input(self, image: Image.Image) -> Float[Tensor, "3 S S"]:
        squeezed = image.convert("RGB").resize((self.side, self.side), Image.Resampling.BILINEAR)
        pixels = torch.from_numpy(np.array(squeezed)).permute(2, 0, 1).float() / 255
        return (pixels - self.mean) / self.std


def is_clipseg(spec: str) -> bool:
    """Whether an id or path names a CLIPSeg; if not, it has to be a SAM 2.

    Raises:
        ValueError: If it is neither, or cannot be read.
    """
    kind = loaded_part("AutoConfig", spec, f"{_TEXT} or {_BOXES}").model_type
    if kind not in ("clipseg", "sam2", "sam2_video"):
        raise ValueError(f"{spec!r} is a {kind}; segmenters are CLIPSeg, which reads a text, and SAM 2, shown boxes.")
    return kind == "clipseg"


def load_clipseg(spec: str, *, device: str = "cpu") -> ClipSeg:
    """Load a CLIPSeg.

    Args:
        spec: Id or path, such as ``CIDAS/clipseg-rd64-refined``.
        device: Where it runs.

    Raises:
        ValueError: If there is none by that name, or transformers is missing.
    """
    model = loaded_part("CLIPSegForImageSegmentation", spec, _TEXT, dtype=torch.float32)
    return ClipSeg(model.to(device), loaded_part("AutoProcessor", spec, _TEXT))


def load_sam2(spec: str, *, device: str = "cpu") -> Sam2:
    """Load a SAM 2.

    Args:
        spec: Id or path, such as ``facebook/sam2.1-hiera-small``.
        device: Where it runs.

    Raises:
        ValueError: If there is none by that name, or transformers is missing.
    """
    model = loaded_part("Sam2Model", spec, _BOXES, dtype=torch.float32).to(device)
    from transformers.image_processing_base import ImageProcessingMixin

    try:
        settings, _ = ImageProcessingMixin.get_image_processor_dict(spec)
    except OSError:  # without the file, SAM 2's own mean and spread
        return Sam2(model)
    given = {key: settings[name] for key, name in (("mean", "image_mean"), ("std", "image_std")) if settings.get(name)}
    return Sam2(model, **given)
