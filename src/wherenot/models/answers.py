"""What a vision-language model makes of given answers when parts of the image are hidden."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from wherenot.models.vlm import Encoding, VisionLanguageModel
from wherenot.models.vlm_families import Inputs


@dataclass(frozen=True)
class Asked:
    """An image, a prompt and an answer, and which of its tokens count.

    Attributes:
        encoding: Image and prompt.
        answer: Token ids of the answer.
        chosen: Places in the answer that are read, rising.
        targets: The token whose probability is read at each of them: the answer's own, or one that would contradict it.

    Raises:
        ValueError: If nothing is chosen, or something that is not there.
    """

    encoding: Encoding
    answer: tuple[int, ...]
    chosen: tuple[int, ...]
    targets: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.chosen or len(self.chosen) != len(self.targets):
            raise ValueError(
                f"Asked: needs a target for each chosen token, at least one; got {self.chosen} and {self.targets}."
            )
        if min(self.chosen) < 0 or max(self.chosen) >= len(self.answer):
            raise ValueError(f"Asked: the answer has {len(self.answer)} tokens, chosen are {self.chosen}.")


class AnswerReader:
    r"""Probabilities of the chosen tokens of one or several answers about one image, for masked copies of it.

    Teacher forcing: $q_t = p(y_t \mid x_S, \text{prompt}, y_{<t})$, softmax over the vocabulary in float32. What does
    not change is computed once: the text before the image for all copies, and of each copy the image for all questions.
    Logits are computed where they are read and nowhere else.

    Args:
        vlm: The model.
        asked: Questions about the same image.
        reuse: Keep what was computed of the text before the image; not for gradients.

    Raises:
        ValueError: If there is no question, or not all are about the same image.

    References:
        EAGLE's scores; its code asks one image at a time and computes the logits of the whole sequence.
    """

    def __init__(self, vlm: VisionLanguageModel, asked: Sequence[Asked], *, reuse: bool = True) -> None:
        if not asked:
            raise ValueError("AnswerReader: needs a question at least.")
        images = [each.encoding.inputs["pixel_values"] for each in asked]
        if any(image.shape != images[0].shape or not torch.equal(image, images[0]) for image in images):
            raise ValueError("AnswerReader: all questions must be about the same image.")
        self._vlm, self._model, self._family = vlm, vlm.model, vlm.family
        self._asked = list(asked)
        self._sequences = [_sequence(vlm, each) for each in asked]
        self._positions = [self._family.positions(self._model, inputs) for inputs in self._sequences]
        reuse = reuse and self._family.looks_back
        first = self._sequences[0]["input_ids"][0]
        of_image = (first == vlm.image_token).nonzero().flatten()
        self._start = int(of_image[0]) if reuse else 0
        self._shared = self._common(int(of_image[-1]) + 1) if self._family.looks_back else 0
        self._before: Any = None

    @property
    def num_tokens(self) -> list[int]:
        """Chosen tokens of each answer."""
        return [len(each.chosen) for each in self._asked]

    def __call__(self, pixels: Float[Tensor, "N ..."]) -> Float[Tensor, "N T"]:
        """Return the probabilities of the chosen tokens of all answers, one after the other, in [0, 1].

        Args:
            pixels: ``pixel_values`` of masked copies (`masking.show_elements`). The mode of the model is the caller's.
        """
        copies, start = len(pixels), self._start
        cache = self._text_before(copies) if start else None
        if self._shared:
            _, cache = self._run(0, start, self._shared, pixels, cache, keep=True)
            readings = []
            for index in range(len(self._asked)):
                hidden, cache = self._run(index, self._shared, None, copies, cache, keep=True)
                readings.append(self._read(index, hidden, self._shared))
                cache.crop(-hidden.shape[1])
            return torch.cat(readings, dim=1)
        readings = []
        for index in range(len(self._asked)):
            here = cache if len(self._asked) == 1 or cache is None else copy.deepcopy(cache)
            hidden, _ = self._run(index, start, None, pixels, here, keep=False)
            readings.append(self._read(index, hidden, start))
        return torch.cat(readings, dim=1)

    def _common(self, image_end: int) -> int:
        """How many tokens all sequences share, if these include the image; 0 where nothing is to be shared."""
        if len(self._sequences) == 1:
            return 0
        ids = [inputs["input_ids"][0] for inputs in self._sequences]
        # What the first answer token is read from belongs to a question.
        shared = min(each.encoding.num_tokens for each in self._asked) - 1
        for other in ids[1:]:
            length = min(shared, len(other), len(ids[0]))
            differs = (ids[0][:length] != other[:length]).nonzero()
            shared = int(differs[0]) if len(differs) else length
        return shared if shared >= image_end else 0

    @torch.no_grad()
    def _text_before(self, copies: int) -> Any:
        if self._before is None:
            inputs = self._family.part(self._sequences[0], 0, self._start)
            positions = self._positions[0][..., : self._start]
            self._before = self._model.model(**inputs, position_ids=positions, use_cache=True).past_key_values
        cache = copy.deepcopy(self._before)
        cache.batch_repeat_interleave(copies)
        return cache

    def _run(
        self, index: int, start: int, stop: int | None, pixels: Tensor | int, cache: Any, *, keep: bool
    ) -> tuple[Tensor, Any]:
        """Hidden states of tokens start..stop of one sequence for masked copies; of text alone for a number of them."""
        whole, positions = self._sequences[index], self._positions[index]
        stop = whole["input_ids"].shape[1] if stop is None else stop
        inputs = self._family.part(whole, start, stop)
        copies = pixels if isinstance(pixels, int) else len(pixels)
        if isinstance(pixels, Tensor):
            inputs = self._family.several({**inputs, **self._family.of_image(whole)}, pixels)
        else:
            inputs = {name: torch.cat([value] * copies) for name, value in inputs.items()}
        part = positions[..., start:stop]
        out = self._model.model(
            **inputs,
            position_ids=part.expand(*part.shape[:-2], copies, -1),
            past_key_values=cache,
            use_cache=keep,
        )
        return out[0], out.past_key_values if keep else None

    def _read(self, index: int, hidden: Float[Tensor, "N S D"], start: int) -> Float[Tensor, "N T"]:
        each = self._asked[index]
        places = [each.encoding.num_tokens - 1 + place - start for place in each.chosen]
        targets = torch.tensor(each.targets, device=hidden.device).expand(len(hidden), -1)
        return _probabilities(self._family.logits(self._model, hidden[:, places]), targets)


def read_together(
    vlm: VisionLanguageModel, asked: Sequence[Asked], pixels: Sequence[Float[Tensor, ...]]
) -> list[Float[Tensor, " _"]]:
    """Probabilities of the chosen tokens of answers about different images, in one forward.

    The same numbers as `AnswerReader` gives for each question alone. With gradients, if they are on; the mode of the
    model is the caller's.

    Args:
        vlm: The model.
        asked: The questions; the same one several times for several masked copies.
        pixels: What the model sees of the image of each: its ``pixel_values``.

    Returns:
        For each question the probability of each of its chosen tokens, in [0, 1].

    Raises:
        ValueError: If there is no question, or not as many images.
    """
    if not asked or len(asked) != len(pixels):
        raise ValueError(
            f"read_together: {len(asked)} questions and {len(pixels)} images; pass one each, at least one."
        )
    model, family = vlm.model, vlm.family
    sequences = [_sequence(vlm, each) for each in asked]
    positions = [family.positions(model, inputs) for inputs in sequences]
    dtype = sequences[0]["pixel_values"].dtype
    whole = family.together(
        [{**inputs, "pixel_values": shown.to(dtype)} for inputs, shown in zip(sequences, pixels, strict=True)]
    )
    length = whole["input_ids"].shape[1]
    together = torch.cat([F.pad(each, (0, length - each.shape[-1])) for each in positions], dim=-2)
    hidden = model.model(**whole, position_ids=together, use_cache=False)[0]
    rows = [row for row, each in enumerate(asked) for _ in each.chosen]
    places = [each.encoding.num_tokens - 1 + place for each in asked for place in each.chosen]
    targets = torch.tensor([target for each in asked for target in each.targets], device=hidden.device)
    read = _probabilities(family.logits(model, hidden[rows, places]), targets)
    return list(read.split([len(each.chosen) for each in asked]))


def _sequence(vlm: VisionLanguageModel, each: Asked) -> Inputs:
    # The last token that is read is not shown; nobody asks what follows it.
    shown = torch.tensor(each.answer[: max(each.chosen)], dtype=torch.long, device=vlm.device)
    return vlm.family.longer(each.encoding.inputs, shown)


def _probabilities(logits: Float[Tensor, "*S V"], targets: Int[Tensor, "*S"]) -> Float[Tensor, "*S"]:
    """Of the targets, by a softmax in float32 at least."""
    logits = logits if logits.dtype == torch.float64 else logits.float()
    return logits.log_softmax(-1).gather(-1, targets[..., None])[..., 0].exp()
