"""`wherenot data`: checked, converted, made."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TypeAlias

from wherenot import cli
from wherenot.commands.printing import console, readable_data, say_left_out
from wherenot.commands.results import say_result
from wherenot.data import (
    DataError,
    Dataset,
    GuiSample,
    cutouts,
    duplicates_across_splits,
    load_dataset,
    sayable_in_coco,
    split_off,
    write_coco,
    write_folder,
    write_gui,
)
from wherenot.data.folder import new_folder
from wherenot.data.origins import told_origins
from wherenot.data.review import Decision, read_review, with_review
from wherenot.data.samples import printable
from wherenot.progress import progress_bar
from wherenot.rejected import write_rejected
from wherenot.run import RunFolder

_Action: TypeAlias = (
    cli.DataCheck | cli.DataPreview | cli.DataSplit | cli.DataConvert | cli.DataPrior | cli.DataReview | cli.DataMake
)


def run_data(action: _Action) -> None:
    """Check, show, split, convert or make a data set, or give it priors."""
    match action:
        case cli.DataCheck():
            if action.strict:
                readable_data(action.data, action.seed, strict=True)
            run_data_check(load_dataset(action.data, seed=action.seed, on_bad="skip"), action.data, action.out)
        case cli.DataPreview():
            _preview(action)
        case cli.DataSplit():
            _split(action)
        case cli.DataConvert():
            new_folder("data convert", action.out)  # before every image is read
            decisions = None if action.review is None else read_review(action.review)
            dataset = readable_data(action.data, action.seed, strict=action.strict)
            if decisions is not None:
                dataset = _reviewed(dataset, decisions)
            if action.to == "coco":
                dataset = sayable_in_coco(dataset)
            say_result(write_data("convert", dataset, action.out, to=action.to), action.out)
        case cli.DataPrior():
            from wherenot.commands.data_prior import run_data_prior

            run_data_prior(action)
        case cli.DataReview():
            from wherenot.commands.data_prior import run_data_review

            run_data_review(action)
        case cli.DataMake():
            say_result(write_data("make", cutouts(action.cutouts), action.out), action.out)


def write_data(
    title: str, dataset: Dataset, out: Path, *, to: Literal["native", "coco"] = "native"
) -> dict[str, object]:
    """Write a data set in the native format, tasks on screenshots in theirs, or COCO, and say what was left out.

    Returns:
        The facts, for `say_result`.
    """
    write = write_gui if any(isinstance(sample, GuiSample) for sample in dataset.samples) else write_folder
    if to == "coco":
        write = write_coco
    with progress_bar() as bar:
        task = bar.add_task(f"data {title}", total=len(dataset), note="images")
        write(dataset, out, on_sample=lambda: bar.advance(task))
    for left_out in dataset.rejected:
        console.print(f"left out: {left_out.reason}", soft_wrap=True, markup=False, highlight=False)
    console.print(f"{len(dataset)} images, {len(dataset.rejected)} left out: {out}", soft_wrap=True)
    splits = {split: len(dataset.split(split)) for split in dataset.splits}
    return {"out": out, "images": len(dataset), "splits": splits, "left_out": dataset.rejected}


def _reviewed(dataset: Dataset, decisions: Sequence[Decision]) -> Dataset:
    """Apply decisions, and say how many."""
    reviewed = with_review(dataset, decisions)
    for each in reviewed.skipped:
        console.print(f"not applied: {each.reason}", soft_wrap=True, markup=False, highlight=False)
    more = f", {len(reviewed.skipped)} not applied" if reviewed.skipped else ""
    console.print(f"priors: {reviewed.accepted} accepted, {reviewed.rejected} rejected{more}", highlight=False)
    return reviewed.dataset


def _preview(action: cli.DataPreview) -> None:
    """Draw the sheet; samples that cannot be read are named."""
    from wherenot.report.contact_sheet import contact_sheet, drawn_sheet
    from wherenot.report.figures import boxes_for_unknown_letters

    if action.out.suffix not in (".png", ".pdf"):
        raise ValueError(f"data preview: {action.out} is no .png or .pdf; name the picture so.")
    dataset = load_dataset(action.data, seed=action.seed, on_bad="error" if action.strict else "skip")
    chosen = drawn_sheet(dataset, action.max_images, splits=action.splits, seed=action.seed)
    sheet = contact_sheet(chosen, title=f"{dataset.name}: {len(chosen)} of {len(dataset)} samples")
    action.out.parent.mkdir(parents=True, exist_ok=True)
    with boxes_for_unknown_letters():
        sheet.figure.savefig(action.out, dpi=160)
    for each in sheet.bad:
        console.print(f"cannot be read: {each.reason}", soft_wrap=True, markup=False, highlight=False)
    if action.strict and sheet.bad:
        raise DataError.listing("data preview", [each.reason for each in sheet.bad], "Correct them.")
    say_left_out(dataset.rejected, len(dataset))
    console.print(f"{len(chosen)} of {len(dataset)} samples: {action.out}", soft_wrap=True)
    facts = {"picture": action.out, "shown": len(chosen), "samples": len(dataset), "bad": sheet.bad}
    say_result(facts, action.out)


def _split(action: cli.DataSplit) -> None:
    """Cut validation, and test if asked, off train; write all, and say what is in several splits all the same."""
    parts = {name: frac for name, frac in (("validation", action.val), ("test", action.test)) if frac}
    if not parts or min(parts.values()) < 0 or sum(parts.values()) >= 1:
        raise ValueError(
            f"data split: --val {action.val} and --test {action.test}; pass shares of train, together above 0 and "
            "below 1."
        )
    new_folder("data split", action.out)
    dataset = readable_data(action.data, action.seed, strict=action.strict)
    left = 1.0
    for name, frac in parts.items():
        with progress_bar() as bar:
            task = bar.add_task(f"choose {name}", total=sum(s.split == "train" for s in dataset.samples), note="images")
            dataset = split_off(
                dataset, name, frac / left, seed=action.seed, keep_groups=action.keep_groups,
                on_sample=lambda bar=bar, task=task: bar.advance(task),
            )  # fmt: skip
        left -= frac
    facts = write_data("split", dataset, action.out)
    counts = ", ".join(f"{split} {len(dataset.split(split))}" for split in dataset.splits)
    console.print(f"{counts}", soft_wrap=True, markup=False, highlight=False)
    across = duplicates_across_splits(dataset)
    say_result({**facts, "across_splits": len(across)}, action.out)
    if across:
        several = _images(len(across), "was", "were")
        console.print(
            f"{several} in train and elsewhere before: wherenot data check {action.out} names them.",
            style="bold red", soft_wrap=True, markup=False, highlight=False,
        )  # fmt: skip


def run_data_check(dataset: Dataset, data: str, out: Path | None = None) -> None:
    """Print what is in a data set; what is wrong with it is an error, and listed whole in a folder if there is one."""
    from rich.table import Table

    from wherenot.data.check import check_dataset

    with progress_bar() as bar:
        task = bar.add_task("data check", total=len(dataset), note="images")
        found = check_dataset(dataset, on_sample=lambda: bar.advance(task))
    shown = Table(title=f"{dataset.name}: {len(dataset.classes)} classes")
    for heading in ("split", "images", "classes", "with prior", "forbids", "ignores"):
        shown.add_column(heading, justify="left" if heading == "split" else "right")
    for count in found.counts:
        numbers = (count.images, count.classes, count.priors, count.forbidden, count.ignore)
        shown.add_row(count.split, *(str(number) for number in numbers))
    console.print(shown)
    if found.origins:
        told = printable(told_origins(found.origins))
        console.print(f"priors: {told}", soft_wrap=True, markup=False, highlight=False)
    if found.left_out:
        console.print(f"{_images(found.left_out, 'is', 'are')} no sample: without an object there is no class.")
    within = [duplicate for duplicate in found.duplicates if not duplicate.crosses]
    if within:
        several = sum(len(duplicate.labels) > 1 for duplicate in within)
        console.print(
            f"{_images(len(within), 'occurs', 'occur')} more than once within train, within validation or among the"
            f" test splits, {several} of them with several classes."
        )
    if out is not None:
        listed = write_rejected(RunFolder(out).path, [vars(each) for each in found.bad])
        console.print(f"{len(found.bad)} bad samples: {listed}", soft_wrap=True, markup=False)
    problems = [each.reason for each in found.bad]
    for duplicate in found.duplicates:
        if duplicate.crosses:
            problems.append(f"the same image in {' and '.join(duplicate.splits)}: {', '.join(duplicate.ids)}")
    say_result(
        {
            "name": dataset.name, "classes": dataset.classes, "splits": found.counts, "left_out": found.left_out,
            "duplicates": found.duplicates, "bad": found.bad, "problems": len(problems),
        }
    )  # fmt: skip
    if problems:
        raise DataError.listing(f"data check: {data}", problems, "Correct or remove these before you rely on a number.")
    console.print("nothing wrong found.")


def _images(count: int, one: str, many: str) -> str:
    return f"1 image {one}" if count == 1 else f"{count} images {many}"
