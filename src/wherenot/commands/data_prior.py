"""`wherenot data prior` and `data review`: priors by models and methods, and a page to accept or reject them."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from wherenot import cli
from wherenot.commands.printing import console, readable_data, say_left_out
from wherenot.commands.results import say_result
from wherenot.data import Dataset, GuiSample, ImageTextSample, load_dataset, write_folder
from wherenot.data.folder import new_folder
from wherenot.data.samples import printable
from wherenot.progress import progress_bar
from wherenot.proposals import (
    ProposalConfig,
    Proposed,
    Source,
    Spreading,
    asked_about,
    build_source,
    propose,
    spreading_source,
)
from wherenot.proposals.proposing import JOURNAL
from wherenot.ranks import own_device
from wherenot.run import RunFolder

_ABOUT = "run.json"

_COMMAND = "data prior"
_NAMED = 5


def run_data_prior(action: cli.DataPrior) -> None:
    """Make priors, keep them as they are made, and write the data with them in one piece."""
    config = ProposalConfig(
        kind=action.source,
        model=action.model,
        detector=action.detector,
        prompt=action.prompt,
        class_prompts=action.class_prompts,
        threshold=action.threshold,
    )
    if action.batch_size < 1:
        raise ValueError(f"data prior: --batch-size {action.batch_size}; pass at least 1.")
    new_folder("data prior", action.out)
    dataset = readable_data(action.data, action.seed, strict=action.strict)
    _refuse_prompts(dataset)
    learned = _learned(action, dataset) if config.kind == "spreading" else None
    source = learned.source if learned else build_source(config, dataset.classes, device=_device(action))
    samples = asked_about(dataset, source, replace_priors=action.replace, splits=action.splits)
    work = _begun(action, dataset, config)
    with progress_bar() as bar:
        task = bar.add_task(f"priors by {source.kind}", total=len(samples), note="images")
        proposed = propose(
            dataset, source, samples, work, batch_size=action.batch_size,
            on_samples=lambda count: bar.advance(task, count),
        )  # fmt: skip
    _write(proposed.dataset, work.path, action.out)
    say_left_out(dataset.rejected, len(dataset))
    _say_made(proposed, source, action, learned)


def _device(action: cli.DataPrior) -> str:
    return action.device or own_device()


def _learned(action: cli.DataPrior, dataset: Dataset) -> Spreading:
    with progress_bar() as bar:
        images = sum(len(dataset.split(split)) for split in action.splits or dataset.splits)
        task = bar.add_task("learn from priors", total=images, note="images")
        return spreading_source(
            dataset, action.model or "", splits=action.splits, device=_device(action), batch_size=action.batch_size,
            on_images=lambda count: bar.advance(task, count),
        )  # fmt: skip


def _begun(action: cli.DataPrior, dataset: Dataset, config: ProposalConfig) -> RunFolder:
    """The folder where the work lies until it is done; a run that had found nothing yet binds nobody."""
    path = action.out.with_name(f"{action.out.name}.part")
    if path.exists() and (not path.is_dir() or any(path.iterdir())) and not (path / _ABOUT).is_file():
        raise ValueError(
            f"data prior: {path}, where the work is to lie, holds something else; move it, or choose another --out."
        )
    work = RunFolder(path)
    if (work.read(_ABOUT) or {}).get("command") == _COMMAND and not (path / JOURNAL).is_file():
        (path / _ABOUT).unlink()
    settings = {**vars(config), "class_prompts": dict(config.class_prompts), "replace": action.replace}
    settings["splits"] = list(action.splits)
    work.begin(_COMMAND, dataset.name, {"data": action.data, "seed": action.seed, **settings})
    return work


def _refuse_prompts(dataset: Dataset) -> None:
    for sample in dataset.samples:
        if isinstance(sample, ImageTextSample):
            what = "a task on a screenshot" if isinstance(sample, GuiSample) else "a question"
            raise ValueError(
                f"data prior: {sample.id!r} is {what}; priors are made for images with classes. The prior of a task is "
                "its target, that of a question the boxes beside it (docs/data.md)."
            )


def _write(dataset: Dataset, work: Path, out: Path) -> None:
    """Write the data beside the journal, and move them when they are whole; then the journal has done its work."""
    whole = work / "folder"
    shutil.rmtree(whole, ignore_errors=True)  # of an interrupted run
    with progress_bar() as bar:
        task = bar.add_task("write", total=len(dataset), note="images")
        write_folder(dataset, whole, on_sample=lambda: bar.advance(task))
    if out.is_dir():
        out.rmdir()
    whole.rename(out)
    for name in (JOURNAL, _ABOUT):
        (work / name).unlink()
    if not any(work.iterdir()):
        work.rmdir()


def _say_made(proposed: Proposed, source: Source, action: cli.DataPrior, learned: Spreading | None) -> None:
    def say(line: str) -> None:
        console.print(printable(line), soft_wrap=True, markup=False, highlight=False)

    if learned is not None:
        say(f"learned from the priors of {_images(learned.learned_from)} by people")
        if learned.doubtful:
            count = len(learned.doubtful)
            say(f"{_images(count)} whose prior the others do not bear out, look at it: {_names(learned.doubtful)}")
    if proposed.nothing:
        say(f"nothing found in {_images(len(proposed.nothing))}, left as it was: {_names(proposed.nothing)}")
    if proposed.kept:
        say(f"{_images(proposed.kept)} not asked about: {_why_kept(source, action)}")
    made = "1 prior" if proposed.made == 1 else f"{proposed.made} priors"
    say(f"{made} by {source.kind} ({source.model}) in {_images(len(proposed.dataset))}: {action.out}")
    if proposed.made:
        say(f"Look at them: wherenot data review {action.out} -o review.html")
    facts = {
        "out": action.out, "source": source.kind, "model": source.model, "images": len(proposed.dataset),
        "made": proposed.made, "nothing_found": proposed.nothing, "not_asked": proposed.kept,
        "left_out": proposed.dataset.rejected,
    }  # fmt: skip
    if learned is not None:
        facts |= {"learned_from": learned.learned_from, "doubtful": learned.doubtful}
    say_result(facts, action.out)


def _names(ids: Sequence[str]) -> str:
    return ", ".join(ids[:_NAMED]) + (", ..." if len(ids) > _NAMED else "")


def _why_kept(source: Source, action: cli.DataPrior) -> str:
    if action.splits:
        return f"of other splits than {', '.join(action.splits)}, or they have a prior"
    if source.kind == "boxes":
        return "their prior is no box by hand"
    return "a person made or accepted their prior" if action.replace else "they have a prior"


def _images(count: int) -> str:
    return "1 image" if count == 1 else f"{count} images"


def run_data_review(action: cli.DataReview) -> None:
    """Draw the page; samples that cannot be read are named."""
    from wherenot.report.review import write_review

    dataset = load_dataset(action.data, on_bad="skip")
    with progress_bar() as bar:
        waiting = sum(sample.origin is not None and not sample.origin.accepted for sample in dataset.samples)
        task = bar.add_task("data review", total=min(waiting, action.max_images), note="priors")
        page = write_review(
            dataset, action.out, at_most=action.max_images, splits=action.splits, on_sample=lambda: bar.advance(task)
        )
    for each in page.bad:
        console.print(f"cannot be read: {each.reason}", soft_wrap=True, markup=False, highlight=False)
    say_left_out(dataset.rejected, len(dataset))
    left = f" of {page.undecided} undecided" if page.undecided > page.shown else ""
    count = "1 prior" if page.shown == 1 else f"{page.shown} priors"
    console.print(f"{count}{left}: {action.out}", soft_wrap=True, markup=False, highlight=False)
    console.print(
        f"Then: wherenot data convert {action.data} NEW --review review.jsonl",
        soft_wrap=True, markup=False, highlight=False,
    )  # fmt: skip
    facts = {"page": action.out, "shown": page.shown, "undecided": page.undecided, "bad": page.bad}
    say_result(facts, action.out)
