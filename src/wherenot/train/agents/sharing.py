"""Tasks on one screenshot go through the model together: it is read once, for all of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Sampler

from wherenot.data import GuiSample
from wherenot.models.vlm import VisionLanguageModel
from wherenot.models.vlm_families import Inputs


def shared(vlm: VisionLanguageModel, sequences: Sequence[Inputs]) -> dict[str, Any] | None:
    """The inputs of sequences of which several begin with the same image, so that each image is read once.

    Args:
        vlm: For whom; its family must look back only (`VlmFamily.looks_back`).
        sequences: Prompts with their answers, each a batch of one.

    Returns:
        What follows the images as a batch, filled up at the end, with an ``attention_mask`` over whole sequences, and
        ``seen``: the different images with what stands before them, and to which of them each sequence belongs
        (`cache_of`). None if there is nothing to share, or images end at different places.

    Example:
        >>> from PIL import Image
        >>> from wherenot.models.tiny_vlms import tiny_vlm
        >>> vlm = VisionLanguageModel(*tiny_vlm("llava"))
        >>> asked = [vlm.encode(Image.new("RGB", (84, 84)), f"Tap {name}.").inputs for name in ("red", "blue")]
        >>> batch = shared(vlm, asked)
        >>> len(batch["input_ids"]), len(batch["seen"]["inputs"]["pixel_values"]), batch["seen"]["rows"].tolist()
        (2, 1, [0, 0])
    """
    ends = {int((inputs["input_ids"][0] == vlm.image_token).nonzero()[-1]) + 1 for inputs in sequences}
    if len(ends) > 1:
        return None
    [end] = ends
    heads = [{**vlm.family.part(inputs, 0, end), **vlm.family.of_image(inputs)} for inputs in sequences]
    different: list[int] = []
    rows = []
    for place, head in enumerate(heads):
        same = next((known for known, first in enumerate(different) if _equal(heads[first], head)), None)
        if same is None:
            same = len(different)
            different.append(place)
        rows.append(same)
    if len(different) == len(sequences):
        return None
    positions = [vlm.family.positions(vlm.model, inputs) for inputs in sequences]
    tails = [vlm.family.part(inputs, end, inputs["input_ids"].shape[1]) for inputs in sequences]
    masks = [tail.pop("attention_mask") for tail in tails]
    batch: dict[str, Any] = {
        name: pad_sequence([tail[name][0] for tail in tails], batch_first=True) for name in tails[0]
    }
    batch["attention_mask"] = pad_sequence([mask[0] for mask in masks], batch_first=True)
    batch["position_ids"] = _filled([each[..., end:] for each in positions])
    batch["seen"] = {
        "inputs": vlm.family.together([heads[first] for first in different]),
        "positions": torch.cat([positions[first][..., :end] for first in different], dim=-2),
        "rows": torch.tensor(rows),
        "end": end,
    }
    return batch


def cache_of(vlm: VisionLanguageModel, seen: dict[str, Any]) -> Any:
    """Read the images, with gradients if they are on, and return what the model remembers, for each sequence.

    Args:
        vlm: Who reads; its mode is the caller's.
        seen: From `shared`.
    """
    out = vlm.model.model(**seen["inputs"], position_ids=seen["positions"], use_cache=True)
    cache = out.past_key_values
    cache.batch_select_indices(seen["rows"])
    return cache


def _equal(head: Inputs, other: Inputs) -> bool:
    return head.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in head.items())


def _filled(positions: Sequence[Tensor]) -> Tensor:
    length = max(each.shape[-1] for each in positions)
    return torch.cat([torch.nn.functional.pad(each, (0, length - each.shape[-1])) for each in positions], dim=-2)


class ScreenSampler(Sampler[int]):
    """Draws tasks in random order, but some of a screenshot's always one after the other.

    Args:
        samples: The tasks; those with the same `screenshot` belong together.
        together: How many of a screenshot's follow each other, in [1, inf); the last ones may be fewer.
        seed: Of the order, which is another one in each epoch.

    Example:
        >>> samples = [GuiSample(str(place), 0, "train", None, lambda: None, lambda: None, "Tap.",
        ...     screenshot="ab"[place % 2]) for place in range(6)]
        >>> order = list(ScreenSampler(samples, together=3, seed=0))
        >>> sorted(order), {place % 2 for place in order[:3]} in ({0}, {1})
        ([0, 1, 2, 3, 4, 5], True)
    """

    def __init__(self, samples: Sequence[GuiSample], *, together: int, seed: int) -> None:
        self._of_screens: defaultdict[str, list[int]] = defaultdict(list)
        for row, sample in enumerate(samples):
            self._of_screens[sample.screenshot or f"\0{sample.id}"].append(row)
        self._together, self._seed, self._epoch = together, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of an epoch; the trainer calls it."""
        self._epoch = epoch

    def __len__(self) -> int:
        return sum(len(rows) for rows in self._of_screens.values())

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self._seed * 1_000_003 + self._epoch)
        parts = []
        for rows in self._of_screens.values():
            drawn = [rows[place] for place in torch.randperm(len(rows), generator=generator).tolist()]
            parts += [drawn[start : start + self._together] for start in range(0, len(drawn), self._together)]
        for place in torch.randperm(len(parts), generator=generator).tolist():
            yield from parts[place]
