"""An audit of a vision-language model: what it says to questions about images, and on which regions that rests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from PIL import Image

from wherenot.audit_agents import (
    COMPARED_REGIONS,
    agent_facts,
    consistency,
    judged_answer,
    measured_reliance,
    scale_for,
)
from wherenot.auditing import AuditSettings, Engine, Here, Plan, Prepared, measures, run_audit, save_picture
from wherenot.correction import correct_hallucination
from wherenot.data import Dataset, GuiSample, ImageTextSample, Sample
from wherenot.explain_generation import Question, explain_questions
from wherenot.frames import film_labels
from wherenot.generation_evidence import GenerationEvidence
from wherenot.gui.clicks import element_labels
from wherenot.gui.codecs import CodecName
from wherenot.gui.coordinates import ConventionName
from wherenot.masking import FillName
from wherenot.metrics import answer_agrees, answer_faithfulness, area_axis, correction_rate
from wherenot.models.vlm import VisionLanguageModel
from wherenot.priors import Prior
from wherenot.search import parse_search
from wherenot.tokens import check_choice, choose_tokens

_SENSITIVE = ("insertion_auc", "deletion_auc", "highest_confidence")
_WITHIN = 0.1  # of CSR
_APART = {"thought": "thought", "action": "answer"}  # which tokens belong to each


@dataclass(frozen=True, kw_only=True)
class AnswerAuditConfig(AuditSettings):
    """What an audit of a vision-language model looks at, and how."""

    fill: FillName = "black"
    """What hidden pixels show: black, mean or blur."""
    max_tokens: int = 128
    """Longest answer that is generated."""
    tokens: str | None = None
    """Which tokens of the answers are explained; None: those that each sample names (all but thoughts)."""
    actions: CodecName = "agentcpm"
    """Tasks on screenshots: the format in which the model writes actions."""
    coordinates: ConventionName = "0-1000"
    """Tasks on screenshots: the numbers in which it writes places; resized: pixels of the image as the model has it."""
    elements: bool = False
    """Tasks on screenshots: regions are the elements of the interface, and cells between them."""
    thinking: bool = False
    """Tasks on screenshots: thought and action are explained apart, too, and compared; three searches in place of one.
    What is explained jointly is the whole answer then, unless tokens says otherwise."""
    correct: bool = False
    """Whether wrong answers that have a counter word are corrected by hiding regions; up to one answer per region."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.fill == "drop":
            raise ValueError("AnswerAuditConfig: a vision-language model cannot drop patches; use black, mean or blur.")
        if self.tokens is not None:
            check_choice(self.tokens)
        if self.max_tokens < 1:
            raise ValueError(f"AnswerAuditConfig: max_tokens must be at least 1, got {self.max_tokens}.")
        if self.thinking and self.max_regions is not None and self.max_regions < COMPARED_REGIONS:
            raise ValueError(
                f"AnswerAuditConfig: thinking compares {COMPARED_REGIONS} regions of thought and action; max_regions "
                f"{self.max_regions} orders fewer. Raise it."
            )


def audit_answers(
    vlm: VisionLanguageModel,
    dataset: Dataset,
    out: Path,
    config: AnswerAuditConfig = AnswerAuditConfig(),
    *,
    name: str,
    model: str,
    engine: Engine = Here(),
    on_images: Callable[[int, int], None] | None = None,
) -> Path:
    """Ask a vision-language model every question of a data set, and find on what its answers rest.

    Accuracy is of what the model says, whatever answer the data take it to say; evidence is for the latter where there
    is one, and for the counter word where there is one. Run folder, records and metrics are those of `audit`, so that
    the same report and comparison read them. In a record, ``label`` and ``predicted`` are texts and ``true`` are the
    measures of the evidence. ``evidence/`` keeps a picture and the `GenerationEvidence` of each searched sample.

    Interrupted and called again with the same configuration it goes on where it stopped, sample by sample. A sample
    that cannot be read, asked or explained becomes a record with an ``error``: it counts as a miss, where there are
    priors, and as wrong, where there is a right answer and the model was not brought to say one.

    Args:
        vlm: What is audited.
        dataset: Of `ImageTextSample` (`data.read_image_text`).
        out: The run folder.
        config: Splits, regions, fill, search, correction.
        name: What tables and reports call this run.
        model: Where the model came from, for the record.
        engine: Where records are made: in this process, or on a cluster (`audit_ray.RayEngine`).
        on_images: Called with samples done and samples in all.

    Returns:
        The run folder.

    Raises:
        ValueError: If a sample has no prompt, a split does not exist, ``elements`` or ``thinking`` are asked of data
            that have none, or the folder cannot be used.

    References:
        EAGLE: faithfulness of answers and of their sensitive tokens, influence, AMCR and CSR@10%. Its pointing game is
        ``pointing_touch``.
    """
    for sample in dataset.samples:
        if not isinstance(sample, ImageTextSample):
            raise ValueError(
                f"audit_answers: sample {sample.id!r} of {dataset.name} has no prompt; read questions about images "
                "(image-text:PATH)."
            )
    for option in ("elements", "thinking"):
        if getattr(config, option) and not any(isinstance(sample, GuiSample) for sample in dataset.samples):
            raise ValueError(
                f"audit_answers: {option}=True, but {dataset.name} has no task on a screenshot (gui:PATH); leave it "
                "out."
            )
    auditor = AnswerAuditor(vlm, config)
    return run_audit(
        auditor, dataset, out, config, name=name, model=model, at_once=1, engine=engine, on_images=on_images
    )


@dataclass(frozen=True)
class _Read:
    """A screenshot or photograph, where evidence may lie, and if it is searched how it is cut, or why it cannot be."""

    image: Image.Image
    prior: Prior | None
    labels: Int[np.ndarray, "H W"] | str


@dataclass(frozen=True)
class _Preparer:
    """Reads pictures, and cuts those that are searched."""

    config: AnswerAuditConfig

    def __call__(self, sample: Sample, /, *, searched: bool) -> _Read:
        image, prior = sample.read_image(), sample.read_prior()
        return _Read(image=image, prior=prior, labels=self._cut(sample, image) if searched else "not searched")

    def _cut(self, sample: Sample, image: Image.Image) -> Int[np.ndarray, "H W"] | str:
        try:
            if self.config.elements and isinstance(sample, GuiSample):
                return element_labels(sample, image)
            return film_labels(image, self.config.cut())
        except ValueError as error:  # what the model says is asked for all the same
            return str(error)


class AnswerAuditor:
    """Makes the records of samples, one after the other: what could be shared between them is little."""

    def __init__(self, vlm: VisionLanguageModel, config: AnswerAuditConfig) -> None:
        self._vlm = vlm
        self._config = config

    @property
    def preparer(self) -> _Preparer:
        """Reads and cuts."""
        return _Preparer(self._config)

    def records(self, prepared: list[Prepared], plan: Plan, /) -> list[dict[str, Any]]:
        """Ask the model about each sample, and search the evidence of those that were drawn for it."""
        return [self._record(each, plan) for each in prepared]

    def _record(self, prepared: Prepared, plan: Plan) -> dict[str, Any]:
        sample = prepared.sample
        assert isinstance(sample, ImageTextSample)
        record = _facts(sample)
        if prepared.error is not None:
            return {**record, "error": prepared.error}
        image = prepared.content.image
        try:
            encoding = self._vlm.encode(image, sample.prompt, _system(sample))
            answer = self._vlm.generate(encoding, max_tokens=self._config.max_tokens)
            said = self._vlm.text(answer).strip()
            record |= {"predicted": said, **self._judged(sample, said, image)}
            if plan.is_searched(sample):
                if sample.answer is not None:
                    answer = self._vlm.answer_ids(encoding, sample.answer)
                record |= self._searched(sample, prepared.content, tuple(answer), plan, correct=record["correct"])
        except (OSError, ValueError) as error:
            record["error"] = str(error)
        return record

    def _searched(
        self,
        sample: ImageTextSample,
        read: _Read,
        answer: tuple[int, ...],
        plan: Plan,
        *,
        correct: bool | None,
    ) -> dict[str, Any]:
        """What an answer rests on; what the model said stays on record where that cannot be found."""
        record: dict[str, Any] = {}
        image, prior = read.image, read.prior
        explained, unexplained = self._explained(sample, read, answer)
        found = explained[""]
        if sample.answer is None and sample.counter is None:
            record["p_predicted"] = found.evidence.full
            record["p_label"] = found.evidence.full if correct else None
        record["explained"] = "".join(found.targets)
        record["true"] = {**measures(found.evidence, prior), **_of_tokens(found)}
        if self._config.correct and sample.counter is not None and sample.right is not None and not correct:
            corrected = correct_hallucination(
                self._vlm, image, found, label=sample.right, max_tokens=self._config.max_tokens
            )
            removed = corrected.removed_area
            record["corrected"] = None if corrected.answer is None else corrected.answer.strip()
            record["true"]["removed_area"] = 1.0 if removed is None else removed
            record["true"][f"correction_rate@{_WITHIN}"] = correction_rate([removed], _WITHIN) == 1
        for name, each in explained.items():
            if name:
                record[f"{name}_evidence"] = {**measures(each.evidence, prior), **_of_tokens(each)}
        record["true"]["forwards"] = sum(each.evidence.forwards for each in explained.values())
        if self._config.thinking and isinstance(sample, GuiSample):
            record["unexplained"] = unexplained
            if not unexplained:
                record["consistency"] = consistency(explained["thought"].evidence, explained["action"].evidence, prior)
        record["evidence_file"] = place = plan.picture(sample)
        if place is not None:
            picture = plan.folder / place
            for name, each in explained.items():
                each.save(picture.with_name(f"{picture.stem}-{name or 'answer'}"))
            elements = sample.elements() if isinstance(sample, GuiSample) else ()
            save_picture(picture, np.asarray(image), found.evidence, prior, elements=elements)
        return record

    def _judged(self, sample: ImageTextSample, said: str, image: Image.Image) -> dict[str, Any]:
        """Whether an answer is right; of a task on a screenshot, what it does and whether the agent looked."""
        if not isinstance(sample, GuiSample):
            return {"correct": None if sample.right is None else answer_agrees(said, sample.right)}
        scale = scale_for(self._vlm, image, self._config.coordinates)
        return {
            **judged_answer(sample, said, image, codec=self._config.actions, scale=scale),
            **measured_reliance(self._vlm, sample, codec=self._config.actions, scale=scale, fill=self._config.fill),
        }

    def _explained(
        self, sample: ImageTextSample, read: _Read, answer: tuple[int, ...]
    ) -> tuple[dict[str, GenerationEvidence], dict[str, str]]:
        """Evidence for the answer, by "", and apart for its thought and action; and why one of them has none."""
        if isinstance(read.labels, str):
            raise ValueError(read.labels)
        apart = self._config.thinking and isinstance(sample, GuiSample)
        choices = {"": self._config.tokens or ("all" if apart else sample.tokens)}
        unexplained: dict[str, str] = {}
        for name, choice in _APART.items() if apart else ():
            try:
                choose_tokens(self._vlm.pieces(answer), choice)
                choices[name] = choice
            except ValueError as error:
                unexplained[name] = str(error)
        found = explain_questions(
            self._vlm,
            read.image,
            [
                Question(
                    prompt=sample.prompt, answer=answer, tokens=choice, counter=sample.counter, system=_system(sample)
                )
                for choice in choices.values()
            ],
            regions=read.labels,
            fill=self._config.fill,
            search=parse_search(self._config.search),
            max_regions=self._config.max_regions,
            max_tokens=self._config.max_tokens,
        )
        return dict(zip(choices, found, strict=True)), unexplained


def _system(sample: ImageTextSample) -> str | None:
    return sample.system if isinstance(sample, GuiSample) else None


def _of_tokens(found: GenerationEvidence) -> dict[str, Any]:
    """What is measured on single tokens of an answer; what needs the whole curve is None where it was cut short."""
    faithful = influence = None
    if found.evidence.complete:
        curves = {name: torch.from_numpy(getattr(found, name)) for name in ("insertion", "deletion", "empty", "full")}
        axis = area_axis(torch.from_numpy(np.diff(found.evidence.areas, prepend=0.0)))
        influence = float(found.influence.mean())
        faithful = answer_faithfulness(**curves, area=axis, counted=torch.from_numpy(found.sensitive))
    of_sensitive = {} if faithful is None else asdict(faithful)
    return {
        "influence": influence,
        "sensitive_tokens": float(found.sensitive.mean()),
        **{f"{name}_sensitive": of_sensitive.get(name) for name in _SENSITIVE},
    }


def _facts(sample: ImageTextSample) -> dict[str, Any]:
    """What a record says before the model was asked."""
    return {
        "id": sample.id,
        "split": sample.split,
        "group": sample.group,
        "prompt": sample.prompt,
        "label": sample.right,
        "predicted": None,
        "correct": None,
        "p_label": None,
        "p_predicted": None,
        "explained": None,
        "corrected": None,
        "true": None,
        "evidence_file": None,
        "error": None,
        **(agent_facts(sample) if isinstance(sample, GuiSample) else {}),
    }
