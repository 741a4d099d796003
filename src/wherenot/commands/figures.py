"""`wherenot figures`: what run folders hold, drawn for a paper."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wherenot import cli
from wherenot.commands.printing import console
from wherenot.commands.results import say_result
from wherenot.data.samples import printable
from wherenot.report import load_run, load_training, paper_figures, save_figure
from wherenot.report.paper import training_of
from wherenot.run import RunFolder

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, kw_only=True)
class _Found:
    """Folders by what wrote them."""

    audits: list[Path] = field(default_factory=list)
    trainings: list[Path] = field(default_factory=list)
    studies: list[Path] = field(default_factory=list)


def run_figures(command: cli.Figures) -> None:
    """Draw what the folders have the numbers for, write it, and say what is left out and why."""
    found = _Found()
    for path in command.runs:
        _sort_in(found, path)
    figures: dict[str, Figure] = {}
    left_out: list[str] = []
    if found.audits or found.trainings:
        audits = [load_run(path) for path in found.audits]
        paths = [*found.trainings, *(path for run in audits if (path := training_of(run)) is not None)]
        trainings = [load_training(path) for path in {path.resolve(): path for path in paths}.values()]
        drawn = paper_figures(
            audits, trainings, splits=command.splits, samples=command.samples, top_regions=command.top_regions,
            seed=command.seed, width=command.width,
        )  # fmt: skip
        figures |= drawn.figures
        left_out += drawn.left_out
    for path in found.studies:
        _draw_study(path, figures, left_out)
    folder = RunFolder(command.out)
    files: list[Path] = []
    for name, figure in figures.items():
        for file in save_figure(figure, folder.path / name):
            console.print(f"written: {file}", soft_wrap=True, markup=False, highlight=False)
            files.append(file)
    for line in left_out:
        console.print(f"left out: {printable(line)}", soft_wrap=True, markup=False, highlight=False)
    say_result({"files": files, "left_out": left_out}, "\n".join(map(str, files)) or None)
    if not figures:
        raise ValueError("figures: nothing could be drawn; the lines above say why.")


def _sort_in(found: _Found, path: Path) -> None:
    """Tell what a folder holds, and add it, or the runs that a comparison names."""
    about = _read(path / "run.json")
    if (path / "study.json").is_file():
        found.studies.append(path)
    elif about.get("command") == "audit":
        found.audits.append(path)
    elif about.get("command") == "train":
        found.trainings.append(path)
    elif (path / "comparison.json").is_file():
        for run in _read(path / "comparison.json").get("runs", ()):
            _sort_in(found, Path(run))
    elif studies := sorted(each.parent for each in path.glob("*/study.json")):
        found.studies.extend(studies)
    else:
        raise ValueError(
            f"figures: {path} holds no audit, training, comparison or study; pass the folder that wherenot audit, "
            "train, compare or reproduce wrote."
        )


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"figures: {path} is not valid JSON: {error}") from error
    return content if isinstance(content, dict) else {}


def _draw_study(path: Path, figures: dict[str, Figure], left_out: list[str]) -> None:
    from wherenot.experiments.drawing import stored_drawings

    drawings = stored_drawings(path)
    if not drawings:
        left_out.append(f"{path.name}: a study without finished trials, or one whose result is a table")
    for drawing in drawings:
        name = drawing.name if drawing.name not in figures else f"{path.parent.name}-{drawing.name}"
        if drawing.figure is None:
            left_out.append(f"{name}: {drawing.reason}")
        else:
            figures[name] = drawing.figure
