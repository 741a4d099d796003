"""Batches of tasks: every screenshot goes through the processor once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from wherenot.data import GuiSample
from wherenot.gui.clicks import asked_whole
from wherenot.gui.penalties import Augmenting
from wherenot.models.answers import Asked
from wherenot.models.vlm import VisionLanguageModel
from wherenot.train.agents.records import shrunk
from wherenot.train.agents.sharing import shared

KEPT_BYTES = 2**30
_IGNORED = -100  # label of a token that is not learned


@dataclass(frozen=True)
class Task:
    """A task as a trainer and a method want it.

    Attributes:
        sample: The task, with its screenshot as small as the model gets it.
        asked: Its screenshot, prompt and right answer, about all tokens of the answer.
    """

    sample: GuiSample
    asked: Asked


@dataclass
class AgentCollator:
    """Makes batches of tasks on the CPU, with labels for the answer and what ends it.

    The model learns the tokens that methods ask about: those of `VisionLanguageModel.encode` and of the answer as the
    chat template writes it. They are those of trl's collator, but for families that it cannot serve: it leaves out the
    first token of LLaVA 1.5, whose template does not end an answer either, and fails with PaliGemma's processor.

    A batch brings ``tasks`` along, a list of `Task`, which a trainer takes out before it asks the model.

    Args:
        vlm: Whose processor is used.
        samples: All tasks; a batch names some by their places, ``{"row": place}``.
        max_side: Longest side of a screenshot in pixels (`shrunk`).
        method: Changes tasks first, if it is `Augmenting`.
        seed: Of these changes; a batch's depend on this and on what is in it alone.
        keep_bytes: Encoded tasks are kept until they take so much memory.
        share: Let tasks on one screenshot share it (`shared`); for models that look back only.
    """

    vlm: VisionLanguageModel
    samples: Sequence[GuiSample]
    max_side: int = 1120
    method: Any = None
    seed: int = 0
    keep_bytes: int = KEPT_BYTES
    share: bool = False
    _kept: dict[int, Task] = field(default_factory=dict)
    _bytes: int = 0

    def __call__(self, items: Sequence[Mapping[str, int]]) -> dict[str, Any]:
        """Return the inputs of the model, ``labels`` and ``tasks``; with what is shared, ``seen``."""
        rows = [item["row"] for item in items]
        samples = [self.samples[row] for row in rows]
        seen = self.method.augment(samples, (self.seed, *rows)) if isinstance(self.method, Augmenting) else samples
        return self.batch([self._task(row, sample) for row, sample in zip(rows, seen, strict=True)])

    def batch(self, tasks: Sequence[Task]) -> dict[str, Any]:
        """The same for given tasks."""
        closing = self.vlm.frame[1]
        sequences, labels = [], []
        for task in tasks:
            learned = torch.tensor([*task.asked.answer, *closing])
            sequences.append(self.vlm.family.longer(task.asked.encoding.inputs, learned))
            unlearned = learned.new_full((task.asked.encoding.num_tokens,), _IGNORED)
            labels.append(torch.cat([unlearned, learned]))
        filled = torch.nn.utils.rnn.pad_sequence(labels, batch_first=True, padding_value=_IGNORED)
        parts = shared(self.vlm, sequences) if self.share else None
        if parts is not None:
            return {**parts, "labels": filled[:, parts["seen"]["end"] :], "tasks": list(tasks)}
        return {**self.vlm.family.together(sequences), "labels": filled, "tasks": list(tasks)}

    def task(self, sample: GuiSample) -> Task:
        """Encode a task."""
        sample, image = shrunk(sample, self.max_side)
        encoding = self.vlm.encode(image, sample.prompt, sample.system, device="cpu")
        answer = self.vlm.answer_ids(encoding, self.vlm.frame[0] + (sample.right or ""))
        return Task(sample, asked_whole(encoding, answer))

    def _task(self, row: int, sample: GuiSample) -> Task:
        if sample is not self.samples[row]:
            return self.task(sample)
        if row not in self._kept:
            task = self.task(sample)
            size = sum(value.nbytes for value in task.asked.encoding.inputs.values() if isinstance(value, Tensor))
            if self._bytes + size > self.keep_bytes:
                return task
            self._bytes += size
            self._kept[row] = task
        return self._kept[row]
