"""`wherenot data`: checked, converted, made."""

from __future__ import annotations

from pathlib import Path

from wherenot import cli
from wherenot.commands.printing import console, readable_data
from wherenot.data import DataError, Dataset, GuiSample, cutouts, load_dataset, write_folder, write_gui
from wherenot.progress import progress_bar
from wherenot.rejected import write_rejected
from wherenot.run import RunFolder


def run_data(action: cli.DataCheck | cli.DataConvert | cli.DataMake) -> None:
    """Check, convert or make a data set."""
    match action:
        case cli.DataCheck():
            if action.strict:
                readable_data(action.data, action.seed, strict=True)
            run_data_check(load_dataset(action.data, seed=action.seed, on_bad="skip"), action.data, action.out)
        case cli.DataConvert():
            write_data("convert", readable_data(action.data, action.seed, strict=action.strict), action.out)
        case cli.DataMake():
            write_data("make", cutouts(action.cutouts), action.out)


def write_data(title: str, dataset: Dataset, out: Path) -> None:
    """Write a data set in the native format, or tasks on screenshots in theirs, and say what was left out."""
    write = write_gui if any(isinstance(sample, GuiSample) for sample in dataset.samples) else write_folder
    with progress_bar() as bar:
        task = bar.add_task(f"data {title}", total=len(dataset), note="images")
        write(dataset, out, on_sample=lambda: bar.advance(task))
    for left_out in dataset.rejected:
        console.print(f"left out: {left_out.reason}", soft_wrap=True, markup=False, highlight=False)
    console.print(f"{len(dataset)} images, {len(dataset.rejected)} left out: {out}", soft_wrap=True)


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
    if problems:
        raise DataError.listing(f"data check: {data}", problems, "Correct or remove these before you rely on a number.")
    console.print("nothing wrong found.")


def _images(count: int, one: str, many: str) -> str:
    return f"1 image {one}" if count == 1 else f"{count} images {many}"
