"""`wherenot explain`: photographs, one after the other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from wherenot import cli
from wherenot.commands.printing import console
from wherenot.commands.results import say_result
from wherenot.evidence import Evidence
from wherenot.explain import explain
from wherenot.frames import read_frames
from wherenot.masking import FillName
from wherenot.models import Classifier, load_classifier, read_photograph
from wherenot.progress import progress_bar
from wherenot.regions import label_maps, parse_partition
from wherenot.report import evidence_figure, png_bytes
from wherenot.run import RunFolder
from wherenot.search import SearchName, parse_search, search_cost


def run_explain(command: cli.Explain) -> None:
    """Explain photographs, one after the other; those done are kept when a later one fails."""
    if not command.images:
        raise ValueError("explain: name at least one photograph.")
    for path in command.images:  # every file is looked at before the first hour of search
        read_photograph(path) if command.frames is None else read_frames(path, command.frames)
    if command.prompt is not None:
        from wherenot.commands.answers import run_explain_answers

        run_explain_answers(command)
        return
    given = (command.answer, command.counter, command.boxes, command.endpoint, command.frames)
    if any(option is not None for option in given):
        raise ValueError(
            "explain: --answer, --counter, --boxes, --frames and --endpoint are for vision-language models; give "
            "--prompt, too."
        )
    classifier = load_classifier(command.model, classes=command.classes)
    target = None if command.target is None else classifier.class_index(command.target)
    folder = RunFolder(command.out)
    for path in command.images:
        name = picture_name(path, command.images)
        evidence = explain_photograph(
            classifier,
            path,
            folder.path / name,
            target=target,
            partition=command.partition,
            fill=command.fill or "mean",
            search=command.search,
            max_regions=command.max_regions,
        )
        console.print(f"{path}: {sentence(classifier, evidence)}", soft_wrap=True)
        picture = folder.path / f"{name}.png"
        console.print(f"  picture: {picture}", soft_wrap=True)
        facts = {"says": classifier.classes[evidence.target], "order": evidence.order.tolist(), **numbers(evidence)}
        say_result({"image": path, "picture": picture, **facts}, picture)


def numbers(evidence: Evidence) -> dict[str, Any]:
    """What is known of the regions in ranked order, for ``--json``."""
    return {
        "full": evidence.full,
        "areas": evidence.areas.tolist(),
        "insertion": evidence.insertion.tolist(),
        "deletion": evidence.deletion.tolist(),
        "forwards": evidence.forwards,
    }


def picture_name(path: Path, paths: tuple[Path, ...]) -> str:
    """File name of a photograph's results: its stem, with a number where stems collide."""
    namesakes = [other for other in paths if other.stem == path.stem]
    return path.stem if len(namesakes) == 1 else f"{path.stem}-{paths.index(path) + 1}"


def explain_photograph(
    classifier: Classifier,
    path: Path,
    out: Path,
    *,
    target: int | None = None,
    partition: str = "slico:50",
    fill: FillName = "mean",
    search: SearchName = "exact",
    max_regions: int | None = None,
) -> Evidence:
    """Explain one photograph, with a bar, and write picture, numbers and regions to ``out`` .png, .json and .npz."""
    import numpy as np
    import torch

    photograph = read_photograph(path)
    images = classifier.preprocess(photograph)[None]
    labels = label_maps(images, parse_partition(partition), classifier.normalization)
    how = parse_search(search)
    with progress_bar() as bar:
        cost = search_cost(how, int(labels.max()) + 1, max_regions) + 2
        task = bar.add_task(f"explain {path.name}", total=cost, note="forwards")
        [evidence] = explain(
            classifier,
            images,
            None if target is None else torch.tensor([target]),
            regions=labels,
            fill=fill,
            search=how,
            max_regions=max_regions,
            on_forward=lambda count: bar.advance(task, count),
        )
        bar.update(task, total=evidence.forwards, completed=evidence.forwards)  # the bound has spared the rest
    evidence.save(out)
    pixels = np.array(classifier.preprocess.pixels(photograph))
    title = f"{classifier.classes[evidence.target]}: {evidence.full:.0%} sure"
    figure = evidence_figure(pixels, evidence.map(), labels=evidence.labels, order=evidence.order.tolist(), title=title)
    out.with_suffix(".png").write_bytes(png_bytes(figure))
    return evidence


def sentence(classifier: Classifier, evidence: Evidence) -> str:
    """What was found, in one sentence."""
    reach = int((evidence.insertion < 0.9 * evidence.full).argmin()) + 1
    enough = evidence.insertion[reach - 1] >= 0.9 * evidence.full
    found = (
        f"{reach} of {evidence.num_regions} regions ({evidence.areas[reach - 1]:.0%} of the image) alone reach "
        f"{evidence.insertion[reach - 1]:.0%}"
        if enough
        else f"the {len(evidence.order)} regions found reach {evidence.insertion[-1]:.0%}"
    )
    return f"{classifier.classes[evidence.target]!r} with {evidence.full:.0%}; {found} ({evidence.forwards} forwards)."
