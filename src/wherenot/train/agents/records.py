"""From a task on a screenshot to what an agent is trained on: screenshot, conversation, answer."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from PIL import Image

from wherenot.data import DataError, Dataset, GuiSample, UiElement, hold_out, limit, load_dataset, with_train_feedback
from wherenot.data.gui.compact import write_compact
from wherenot.priors import Prior
from wherenot.train.agents.config import AgentMethodConfig, AgentTrainConfig


def agent_data(config: AgentTrainConfig, dataset: Dataset | None = None) -> Dataset:
    """The data of a training run as it is used: limited, with a validation split, answers as they are learned.

    Args:
        config: Data, seed, how many tasks per split, and the share to hold out where there is no validation split.
        dataset: The data, if already read; None reads ``config.data``.

    Raises:
        ValueError: If the data cannot be read, have no train split, or tasks to train on have no right answer.
    """
    if dataset is None and not config.data:
        raise DataError("train: no data; name them with data: gui:PATH in the file, or --set.data.")
    dataset = load_dataset(config.data, seed=config.seed) if dataset is None else dataset
    samples = [sample for sample in dataset.samples if isinstance(sample, GuiSample)]
    if len(samples) < len(dataset.samples):
        raise DataError(f"agent_data: {dataset.name} holds no tasks on screenshots; read them as gui:PATH.")
    if "train" not in dataset.splits:
        raise DataError(f"agent_data: {dataset.name} has no train split, only {', '.join(dataset.splits)}.")
    if config.feedback is not None:
        if not uses_priors(config.method):
            raise DataError(
                f"agent_data: {config.feedback}: method {config.method.name} asks for no evidence, so that marks could "
                "do nothing; add --set.method.name paper, or necessity."
            )
        dataset = with_train_feedback(dataset, config.feedback)
    if config.tasks_per_split is not None:
        dataset = limit(dataset, config.tasks_per_split, config.seed)
    dataset = hold_out(dataset, config.holdout_frac, config.seed)
    wanted = [sample for sample in dataset.samples if sample.split in ("train", "validation")]
    without = [f"{sample.id}: no right answer" for sample in wanted if getattr(sample, "right", None) is None]
    if without:
        raise DataError.listing(f"agent_data: {dataset.name}", without, "Leave these tasks out, or add their answers.")
    learned = [each for each in wanted if isinstance(each, GuiSample)]
    return replace(dataset, samples=tuple(each if config.thought else without_thought(each) for each in learned))


def uses_priors(method: AgentMethodConfig) -> bool:
    """Whether a method asks where evidence lies, or hides the target.

    Example:
        >>> uses_priors(AgentMethodConfig(name="paper")), uses_priors(AgentMethodConfig(name="rearrange"))
        (True, False)
    """
    return method.name in ("paper", "necessity", "paste", "random_regions") or method.evidence is not None


def without_thought(sample: GuiSample) -> GuiSample:
    """The task with an answer that acts and says nothing of why.

    Example:
        >>> task = GuiSample("a", 0, "train", None, lambda: None, lambda: None, "Tap.", thought="There.",
        ...     right='{"thought":"There.","POINT":[125,300]}')
        >>> without_thought(task).right
        '{"POINT":[125,300]}'
    """
    if sample.right is None:
        return sample
    said = {key: value for key, value in json.loads(sample.right).items() if key != "thought"}
    return replace(sample, right=write_compact(**said), thought=None)


def shrunk(sample: GuiSample, max_side: int) -> tuple[GuiSample, Image.Image]:
    """A task as the model gets it, with its screenshot no larger than it may be, and that screenshot.

    Places in the answer are shares of the screen and stay; the target and the elements shrink with the screenshot.

    Args:
        sample: The task.
        max_side: Longest side of the screenshot in pixels.

    Example:
        >>> image = Image.new("RGB", (200, 100))
        >>> task = GuiSample("a", 0, "train", None, lambda: image, lambda: None, "Tap.", box=(0.0, 20.0, 50.0, 40.0))
        >>> small, screenshot = shrunk(task, 100)
        >>> screenshot.size, small.box
        ((100, 50), (0.0, 10.0, 25.0, 20.0))
    """
    image = sample.read_image().convert("RGB")
    factor = max_side / max(image.size)
    if factor >= 1:
        return sample, image
    size = max(1, round(image.width * factor)), max(1, round(image.height * factor))
    scale = (size[0] / image.width, size[1] / image.height)
    small = replace(
        sample,
        read_image=partial(_small_image, sample.read_image, size),
        read_prior=partial(_small_prior, sample.read_prior, size),
        elements=partial(_small_elements, sample.elements, scale),
        box=None if sample.box is None else _scaled(sample.box, scale),
    )
    return small, image.resize(size, Image.Resampling.LANCZOS)


def _small_image(read: Callable[[], Image.Image], size: tuple[int, int]) -> Image.Image:
    return read().convert("RGB").resize(size, Image.Resampling.LANCZOS)


def _small_prior(read: Callable[[], Prior | None], size: tuple[int, int]) -> Prior | None:
    prior = read()
    return None if prior is None else prior.resize(size[1], size[0])


def _small_elements(read: Callable[[], Sequence[UiElement]], scale: tuple[float, float]) -> tuple[UiElement, ...]:
    return tuple(replace(element, box=_scaled(element.box, scale)) for element in read())


def _scaled(box: tuple[float, float, float, float], scale: tuple[float, float]) -> tuple[float, float, float, float]:
    left, top, right, bottom = box
    return left * scale[0], top * scale[1], right * scale[0], bottom * scale[1]
