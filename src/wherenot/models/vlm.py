"""Vision-language models: a transformers model and its processor, asked about masked copies of one image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from jaxtyping import Float, Int
from PIL import Image
from torch import Tensor

from wherenot.frames import frames_of
from wherenot.masking import FillName, fill_photograph
from wherenot.models.images_only import images_only
from wherenot.models.vlm_families import Inputs, VlmFamily, family_of
from wherenot.scoring import evaluating

if TYPE_CHECKING:
    from transformers import PreTrainedModel, ProcessorMixin

Picture: TypeAlias = Image.Image | Sequence[Image.Image]
"""An image, or the frames of a film, which models see one after the other, as if they were several images."""

_ANSWER = "wherenot"  # any word, to see what a chat template puts around it
_BYTE = 256  # regions that one pass of the processor can tell apart
_SIZES_KEPT = 7  # of images, of which nothing need be made twice
_UNTOUCHED = {"do_rescale": False, "do_normalize": False, "resample": Image.Resampling.NEAREST}


@dataclass(frozen=True)
class Encoding:
    """An image and a prompt as a model takes them.

    Attributes:
        prompt: What was asked.
        inputs: What the processor made of it, a batch of one: ``input_ids``, ``pixel_values`` and the family's own.
        system: What the system said before; None = nothing.
    """

    prompt: str
    inputs: Inputs
    system: str | None = None

    @property
    def num_tokens(self) -> int:
        """Tokens of the prompt, those of the image included."""
        return self.inputs["input_ids"].shape[1]


class VisionLanguageModel:
    """A vision-language model that can be asked about masked copies of an image.

    The image goes through the processor once. Regions are carried through the same processor, so that they can be
    hidden where the model sees them: in tiles, in patches in the order of windows, at whatever resolution.

    Args:
        model: A transformers model of one of the known families (`vlm_families`), as it is or wrapped by PEFT; it is
            asked in eval mode and left as it was.
        processor: The model's.
        family: How it wants to be asked; found by its type if left out.

    Raises:
        ValueError: If the family is not known and none is given.

    Example:
        >>> from PIL import Image
        >>> from wherenot.models.tiny_vlms import tiny_vlm
        >>> vlm = VisionLanguageModel(*tiny_vlm("llava"))
        >>> encoding = vlm.encode(Image.new("RGB", (90, 60), "red"), "What is this?")
        >>> answer = vlm.generate(encoding, max_tokens=4)
        >>> len(answer), "".join(vlm.pieces(answer)) == vlm.text(answer)
        (4, True)
    """

    def __init__(self, model: PreTrainedModel, processor: ProcessorMixin, *, family: VlmFamily | None = None) -> None:
        # A PEFT wrapper has put its layers into the model that it wraps.
        self.model: Any = model.get_base_model() if hasattr(model, "get_base_model") else model  # pyright: ignore[reportCallIssue]
        self.processor: Any = processor
        self.wrapped = model
        self._made: dict[tuple[Any, ...], Tensor] = {}
        probe = self._process(Image.new("RGB", (64, 64)), "?") if family is None else {}
        self.family = family or family_of(self.model, probe)

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.model.device

    @property
    def name(self) -> str:
        """Name or path that the model was loaded from, or its family."""
        return self.model.config.name_or_path or self.model.config.model_type

    def encode(
        self, image: Picture, prompt: str, system: str | None = None, *, device: torch.device | str | None = None
    ) -> Encoding:
        """Prepare an image and a prompt.

        Args:
            image: RGB, or frames of one size.
            prompt: What the user says; the chat template puts image and prompt where they belong.
            system: What the system says before; None = what the chat template says by itself.
            device: Where the inputs are to be; None = where the model is.

        Raises:
            ValueError: If the sequence has no token of an image, or more tokens than the model can take.
        """
        inputs = self._process(image, prompt, system=system)
        encoding = Encoding(prompt, {name: value.to(device or self.device) for name, value in inputs.items()}, system)
        if "pixel_values" not in inputs or not (inputs["input_ids"] == self.image_token).any():
            raise ValueError(
                f"encode: the sequence made of the prompt {prompt!r} has no token of the image; the chat template of "
                f"{self.name} may not know images, or the prompt replaces it."
            )
        most = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)
        if most is not None and encoding.num_tokens >= most:
            sizes = ", ".join(f"{frame.width} x {frame.height}" for frame in frames_of(image))
            raise ValueError(
                f"encode: image of {sizes} px and prompt make {encoding.num_tokens} tokens, "
                f"{self.name} takes {most} with the answer; make the image smaller or lower the processor's max_pixels."
            )
        return encoding

    def layout(self, image: Picture, labels: Int[np.ndarray, "H W"]) -> Int[Tensor, "*shape"]:
        """Where the regions of an image are in the processor's ``pixel_values``.

        The label map takes the way of the image through the processor: same resizing (to the nearest pixel), crops,
        tiles and order.

        Args:
            image: The image, or frames.
            labels: Its label map, values 0..K-1, in its own pixels; of frames that of their film strip
                (`frames.film_strip`).

        Returns:
            A label for each number of ``pixel_values``; -1 for padding.

        Raises:
            ValueError: If the label map has another size than the image.
        """
        frames = frames_of(image)
        if labels.shape != (frames[0].height, frames[0].width * len(frames)):
            what = f"{len(frames)} frames" if len(frames) > 1 else "an image"
            raise ValueError(
                f"layout: label map of shape {labels.shape} for {what} of {frames[0].width} x {frames[0].height} px."
            )
        parts = np.split(labels, len(frames), axis=1)
        low = self._carried([part % _BYTE for part in parts]) if labels.max() else 0
        high = self._carried([part // _BYTE for part in parts]) if labels.max() >= _BYTE else 0
        # Padding is told by its colour: no processor pads with the next to black.
        inside = self._of_size("inside", frames, lambda: self._carried([np.ones_like(part) for part in parts]) == 1)
        return torch.where(inside, high * _BYTE + low, -1)

    def filled(self, image: Picture, fill: FillName) -> Float[Tensor, "*shape"]:
        """What hidden numbers of ``pixel_values`` show: an image that is filled all over, taken through the processor.

        Args:
            image: The image, or frames.
            fill: ``black``, ``mean`` (the colour that normalisation maps next to 0; not quite 0, which some families
                take for padding) or ``blur``.

        Raises:
            ValueError: For ``drop``, which leaves no image.
        """
        means = self.processor.image_processor.image_mean or (0.5, 0.5, 0.5)
        red, green, blue = (round(255 * mean) for mean in means)

        def make() -> Tensor:
            plain = [
                Image.fromarray(fill_photograph(frame.convert("RGB"), fill, mean=(red, green, blue)))
                for frame in frames_of(image)
            ]
            return self._process(plain, "?")["pixel_values"].to(self.device)

        return make() if fill == "blur" else self._of_size(fill, frames_of(image), make)

    def generate(self, encoding: Encoding, *, max_tokens: int = 128, pixels: Tensor | None = None) -> list[int]:
        """Greedily generate an answer: at each step the likeliest token, whatever the model's own settings are.

        Args:
            encoding: Image and prompt.
            max_tokens: Stop after so many.
            pixels: Other ``pixel_values`` than the encoding's, of a masked copy say.

        Returns:
            Token ids without the closing one; empty if the model has nothing to say.
        """
        from transformers import GenerationConfig

        own, ends = self.model.generation_config, self.ends
        config = GenerationConfig(
            do_sample=False, num_beams=1, max_new_tokens=max_tokens, eos_token_id=ends, pad_token_id=own.pad_token_id
        )
        inputs = encoding.inputs if pixels is None else {**encoding.inputs, "pixel_values": pixels}
        with torch.no_grad(), evaluating(self.wrapped), self.family.remembering_nothing(self.model):
            whole = self.model.generate(**inputs, generation_config=config)
        answer = whole[0, encoding.num_tokens :].tolist()
        return answer[:-1] if answer and answer[-1] in ends else answer

    def answer_ids(self, encoding: Encoding, answer: str) -> list[int]:
        """Token ids of an answer that a person gives.

        Raises:
            ValueError: If it is empty, or the tokenizer does not give it back.
        """
        ids = self.processor.tokenizer(answer, add_special_tokens=False)["input_ids"]
        if not ids:
            raise ValueError(f"answer_ids: the answer {answer!r} to {encoding.prompt!r} has no token.")
        if self.text(ids).strip() != answer.strip():
            raise ValueError(
                f"answer_ids: the tokenizer of {self.name} turns the answer {answer!r} into {self.text(ids)!r}; write "
                "it as the model would, or leave it out to explain what the model generates."
            )
        return ids

    def text(self, ids: Sequence[int]) -> str:
        """Token ids as text, special tokens included."""
        return self.processor.tokenizer.decode(list(ids), clean_up_tokenization_spaces=False)

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """The text that each token adds; joined they are the answer. A character in several tokens goes to the last."""
        ends = []
        for count in range(1, len(ids) + 1):
            text = self.text(ids[:count])
            ends.append(len(text.rstrip("\ufffd")) if count < len(ids) else len(text))
        whole = self.text(ids)
        starts = [0, *ends[:-1]]
        return [whole[start:end] for start, end in zip(starts, ends, strict=True)]

    @property
    def image_token(self) -> int:
        """Id of the token that stands for a piece of the image."""
        config = self.model.config
        return getattr(config, "image_token_id", None) or config.image_token_index

    @property
    def ends(self) -> list[int]:
        """Ids of the tokens that end an answer."""
        own = self.model.generation_config.eos_token_id
        ends = own if own is not None else self.processor.tokenizer.eos_token_id
        return ends if isinstance(ends, list) else [ends]

    @cached_property
    def frame(self) -> tuple[str, list[int]]:
        """What the chat template puts before an answer, such as a blank, and the ids of what comes after it.

        A model is trained on both. What comes after has an end in it: one is added where the template has none (LLaVA),
        or the model would never learn to stop.

        Raises:
            ValueError: If the template does not write an answer word for word.
        """
        asked = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "?"}]}]
        told = [*asked, {"role": "assistant", "content": [{"type": "text", "text": _ANSWER}]}]
        opened = self.processor.apply_chat_template(asked, add_generation_prompt=True, tokenize=False)
        whole = self.processor.apply_chat_template(told, tokenize=False)
        before, found, after = whole.removeprefix(opened).partition(_ANSWER)
        if not whole.startswith(opened) or not found:
            raise ValueError(
                f"frame: the chat template of {self.name} writes {whole!r} where it asks {opened!r}; an answer must "
                "follow what asks for it, word for word."
            )
        ids = self.processor.tokenizer(after, add_special_tokens=False)["input_ids"] if after else []
        return before, ids if set(ids) & set(self.ends) else [*ids, self.ends[0]]

    def _of_size(self, what: str, frames: Sequence[Image.Image], make: Callable[[], Tensor]) -> Tensor:
        """What depends on nothing but the size of an image; made once for images of one size that follow each other."""
        key = (what, self.device, *(frame.size for frame in frames))
        if key not in self._made:
            self._made = dict(list(self._made.items())[-_SIZES_KEPT:])
            self._made[key] = make()
        return self._made[key]

    def _carried(self, numbers: Sequence[Int[np.ndarray, "H W"]]) -> Int[Tensor, "*shape"]:
        """Images of numbers 0..255 on their way through the processor, untouched but for their geometry."""
        grey = [Image.fromarray(np.repeat(each.astype(np.uint8)[..., None], 3, axis=2)) for each in numbers]
        return self._process(grey, "?", _UNTOUCHED)["pixel_values"].to(self.device).long()

    def _process(
        self, image: Picture, prompt: str, images: dict[str, Any] | None = None, system: str | None = None
    ) -> Inputs:
        shown = [{"type": "image", "image": frame.convert("RGB")} for frame in frames_of(image)]
        turns: list[dict[str, Any]] = [{"role": "user", "content": [*shown, {"type": "text", "text": prompt}]}]
        if system is not None:
            turns.insert(0, {"role": "system", "content": [{"type": "text", "text": system}]})
        try:
            with images_only():
                made = self.processor.apply_chat_template(
                    turns,
                    add_generation_prompt=True,
                    tokenize=True,
                    return_dict=True,
                    return_tensors="np",  # PaliGemma's processor cannot make tensors without a warning of numpy's
                    processor_kwargs={"images_kwargs": images or {}},
                )
        except ValueError as error:
            raise ValueError(
                f"encode: the processor of {self.name} refuses the image with the prompt {prompt!r} ({error}). Its "
                "chat template must put one image where it belongs."
            ) from error
        arrays = {name: torch.from_numpy(value) for name, value in made.items() if isinstance(value, np.ndarray)}
        arrays.pop("labels", None)  # PaliGemma's, for training
        return arrays


def load_vlm(
    path: str | Path, *, device: str | None = None, precision: torch.dtype | str = "auto"
) -> VisionLanguageModel:
    """Load a vision-language model by id or path; no code from the hub is run.

    Args:
        path: A transformers id or folder; a folder with a LoRA adapter loads the model it was trained on, too. Or
            ``tiny-agent`` or ``tiny-agent-weak``, which come with the package (`gui.agent.shipped`).
        device: Where to; the GPU if there is one.
        precision: Of the weights; ``auto`` takes the checkpoint's.

    Raises:
        ValueError: If transformers is missing, or the model cannot be loaded or is of no known family.
    """
    try:
        from transformers import AutoModelForImageTextToText, AutoProcessor
    except ImportError as error:
        raise ValueError("load_vlm: needs transformers; run: pip install 'wherenot[mllm]'") from error
    from wherenot.gui.agent.shipped import AGENTS

    place = device or ("cuda" if torch.cuda.is_available() else "cpu")
    found = str(AGENTS.get(str(path), path))
    try:
        # Left out, trust_remote_code would be asked for on the terminal.
        model = AutoModelForImageTextToText.from_pretrained(found, dtype=precision, trust_remote_code=False)
        with images_only():
            processor = AutoProcessor.from_pretrained(found, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"load_vlm: {path} cannot be loaded as a vision-language model ({error}).") from error
    vlm = VisionLanguageModel(model, processor)
    vlm.model.to(place)
    return vlm
