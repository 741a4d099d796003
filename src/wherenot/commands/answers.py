"""`wherenot explain --prompt`: what a vision-language model says about images, explained one after the other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int
from PIL import Image

from wherenot import cli
from wherenot.commands.explain import numbers, picture_name
from wherenot.commands.printing import console
from wherenot.commands.results import say_result
from wherenot.endpoint import explain_endpoint
from wherenot.explain_generation import explain_generation
from wherenot.frames import film_labels, film_strip, read_frames
from wherenot.generation_evidence import GenerationEvidence
from wherenot.given_regions import from_boxes
from wherenot.models import VisionLanguageModel, load_vlm, read_photograph
from wherenot.models.vlm import Picture
from wherenot.progress import progress_bar
from wherenot.regions import parse_partition
from wherenot.report import answer_figure, png_bytes
from wherenot.run import RunFolder
from wherenot.search import parse_search, search_cost


def run_explain_answers(command: cli.Explain) -> None:
    """Explain the answer to one prompt for each image; those done are kept when a later one fails."""
    if command.target is not None or command.classes:
        raise ValueError("explain: --target and --classes are for classifiers; leave out --prompt, or them.")
    if command.frames is not None and (command.boxes is not None or command.endpoint is not None):
        raise ValueError("explain: --frames goes neither with --boxes nor with --endpoint.")
    vlm = load_vlm(command.model) if command.endpoint is None else None
    folder = RunFolder(command.out)
    for path in command.images:
        out = folder.path / picture_name(path, command.images)
        found = explain_answer(vlm, path, out, command)
        console.print(f"{path}: {found.sentence()} ({found.evidence.forwards} forwards)", soft_wrap=True, markup=False)
        console.print(f"  picture: {out}.png", soft_wrap=True, markup=False)
        facts = {"says": found.answer, "explained": found.targets, "order": found.evidence.order.tolist()}
        say_result({"image": path, "picture": f"{out}.png", **facts, **numbers(found.evidence)}, f"{out}.png")


def explain_answer(vlm: VisionLanguageModel | None, path: Path, out: Path, command: cli.Explain) -> GenerationEvidence:
    """Explain the answer about one image, with a bar, and write ``out`` .png, .json, .npz and .tokens.json."""
    assert command.prompt is not None
    image = read_photograph(path) if command.frames is None else read_frames(path, command.frames)
    labels = _labels(image, command)
    search = parse_search(command.search)
    with progress_bar() as bar:
        cost = search_cost(search, int(labels.max()) + 1, command.max_regions) + 2
        task = bar.add_task(f"explain {path.name}", total=cost, note="forwards")

        def on_forward(count: int) -> None:
            bar.advance(task, count)

        asked: dict[str, Any] = {
            "answer": command.answer, "tokens": command.tokens, "counter": command.counter, "regions": labels,
            "fill": command.fill or "black", "search": search, "max_regions": command.max_regions,
            "max_tokens": command.max_tokens, "on_forward": on_forward,
        }  # fmt: skip
        if vlm is not None:
            found = explain_generation(vlm, image, command.prompt, **asked)
        else:
            assert command.endpoint is not None
            assert isinstance(image, Image.Image)
            found = explain_endpoint(
                image,
                command.prompt,
                url=command.endpoint,
                model=command.model,
                readings=out.with_suffix(".readings.jsonl"),
                config=command.asking,
                on_cost=lambda cost: bar.console.print(cost.sentence(), soft_wrap=True, markup=False),
                on_partial=lambda partial: write_answer(image, partial, out),
                **asked,
            )
        bar.update(task, total=found.evidence.forwards, completed=found.evidence.forwards)
    write_answer(film_strip(image), found, out)
    return found


def write_answer(image: Image.Image, found: GenerationEvidence, out: Path) -> None:
    """Write the picture and the numbers of what was found."""
    found.save(out)
    out.with_suffix(".png").write_bytes(png_bytes(answer_figure(np.asarray(image), found)))


def _labels(image: Picture, command: cli.Explain) -> Int[np.ndarray, "H W"]:
    if command.boxes is None or not isinstance(image, Image.Image):
        return film_labels(image, parse_partition(command.partition))
    try:
        boxes = json.loads(command.boxes.read_text())
    except (OSError, json.JSONDecodeError) as error:
        raise ValueError(f"explain: {command.boxes} cannot be read as JSON ({error}).") from error
    if not isinstance(boxes, list) or not all(isinstance(box, list) for box in boxes):
        raise ValueError(f"explain: {command.boxes} must hold a list of boxes [left, top, right, bottom].")
    return from_boxes(boxes, image.height, image.width)
