"""What each command does, once its arguments are parsed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.panel import Panel
from rich.text import Text

from wherenot import cli
from wherenot.audit import AuditConfig, audit, default_splits
from wherenot.auditing import AuditSettings
from wherenot.data import DataError, Dataset, ImageTextSample, cutouts, load_dataset, write_folder
from wherenot.evidence import Evidence
from wherenot.explain import explain
from wherenot.masking import FillName
from wherenot.models import Classifier, load_classifier, load_vlm, read_photograph
from wherenot.progress import progress_bar
from wherenot.regions import label_maps, parse_partition
from wherenot.report import (
    comparison_markdown,
    comparison_rows,
    comparison_table,
    evidence_figure,
    load_run,
    png_bytes,
    warnings_markdown,
    write_report,
)
from wherenot.run import RunFolder, RunWarning, read_warnings
from wherenot.search import SearchName, parse_search, search_cost

if TYPE_CHECKING:
    from wherenot.bench.run import Table as BenchTable

# Into a file or a pipe, wide enough for a table; a terminal knows its own width.
console = Console(width=None if sys.stdout.isatty() else 160)


def run(command: object) -> None:
    """Run a parsed command."""
    match command:
        case cli.Demo():
            from wherenot.demo import run_demo

            run_demo(command.out, command.seed)
        case cli.Explain():
            run_explain(command)
        case cli.Audit():
            run_audit(command)
        case cli.Train():
            from wherenot.train.training import train

            config = command.set
            out = train(config, command.out or Path("runs") / f"{config.title}-{config.seed}")
            warn(config.title, read_warnings(out))
            console.print(f"model: {out / 'model'}", soft_wrap=True)
        case cli.Compare():
            run_compare(command.runs, command.out)
        case cli.Bench(action=cli.BenchSearch() as action):
            run_bench_search(action)
        case cli.Bench(action=cli.BenchMllm() as action):
            run_bench_mllm(action)
        case cli.Data(action=cli.DataCheck() as action):
            run_data_check(load_dataset(action.data, seed=action.seed, on_bad="skip"), action.data)
        case cli.Data(action=cli.DataConvert() as action):
            on_bad = "skip" if action.skip_bad else "error"
            write_data("convert", load_dataset(action.data, seed=action.seed, on_bad=on_bad), action.out)
        case cli.Data(action=cli.DataMake() as action):
            write_data("make", cutouts(action.cutouts), action.out)
        case cli.Reproduce():
            run_reproduce(command)
        case cli.Advise():
            from wherenot.experiments.advice import advice_text

            runs = [load_run(path) for path in command.runs]
            known = {"priors": command.priors, "priors_frac": command.priors_frac, "context": command.context}
            console.print(advice_text(runs, **known), markup=False, highlight=False)
        case _:
            raise AssertionError(f"no such command: {command}")


def warn(name: str, warnings: Sequence[RunWarning]) -> None:
    """Print what looks wrong in a training run, as one block on standard error; nothing if nothing does."""
    if not warnings:
        return
    lines = [f"\n{warning.seen}\n  Try: {warning.advice}" for warning in warnings]
    Console(stderr=True, width=console.width).print(
        Panel(Text("\n".join(lines).strip()), title=Text(f"training of {name} looks wrong"), border_style="red")
    )


def run_explain(command: cli.Explain) -> None:
    """Explain photographs, one after the other; those done are kept when a later one fails."""
    if not command.images:
        raise ValueError("explain: name at least one photograph.")
    for path in command.images:
        read_photograph(path)  # every file is looked at before the first hour of search
    if command.prompt is not None:
        from wherenot.explain_answers import run_explain_answers

        run_explain_answers(command)
        return
    given = (command.answer, command.counter, command.boxes, command.endpoint)
    if any(option is not None for option in given):
        raise ValueError(
            "explain: --answer, --counter, --boxes and --endpoint are for vision-language models; give --prompt, too."
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
        console.print(f"  picture: {folder.path / name}.png", soft_wrap=True)


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


def run_audit(command: cli.Audit) -> None:
    """Audit one model on one data set and write the report."""
    dataset = load_dataset(command.data, seed=command.seed, on_bad="skip" if command.skip_bad else "error")
    name = command.name or Path(command.model).name
    out = command.out or Path("runs") / f"audit-{name}"
    shared: dict[str, Any] = {
        "splits": command.splits, "max_images": command.max_images, "partition": command.partition,
        "search": command.search, "seed": command.seed,
    }  # fmt: skip
    if any(isinstance(sample, ImageTextSample) for sample in dataset.samples):
        from wherenot.audit_answers import AnswerAuditConfig, audit_answers

        config = AnswerAuditConfig(fill=command.fill or "black", correct=command.correct, **shared)
        asking = partial(audit_answers, load_vlm(command.model), dataset, out, config)
    else:
        if command.correct:
            raise ValueError("audit: --correct is for questions about images (image-text:FILE, docs/answers_audit.md).")
        config = AuditConfig(fill=command.fill or "mean", **shared)
        asking = partial(audit, load_classifier(command.model, classes=dataset.classes), dataset, out, config)
    with_bar(asking, dataset, config, name, command.model)
    report = write_report([out], out / "report.html")
    console.print(comparison_table(comparison_rows([load_run(out)])))
    console.print(f"report: {report}", soft_wrap=True)


def audit_with_bar(
    classifier: Classifier, dataset: Dataset, out: Path, config: AuditConfig, name: str, model: str
) -> Path:
    """Audit a classifier with a progress bar."""
    return with_bar(partial(audit, classifier, dataset, out, config), dataset, config, name, model)


def with_bar(asking: Callable[..., Path], dataset: Dataset, config: AuditSettings, name: str, model: str) -> Path:
    """Run an audit with a progress bar."""
    total = sum(len(dataset.split(split)) for split in config.splits or default_splits(dataset))
    with progress_bar() as bar:
        task = bar.add_task(f"audit {name}", total=total, note="images")
        return asking(name=name, model=model, on_images=lambda done, _: bar.update(task, completed=done))


def run_compare(paths: tuple[Path, ...], out: Path) -> None:
    """Print the comparison, and write it as Markdown and as a page."""
    runs = [load_run(path) for path in paths]
    rows = comparison_rows(runs)
    folder = RunFolder(out)
    (folder.path / "comparison.md").write_text(comparison_markdown(rows) + warnings_markdown(runs))
    report = write_report(list(paths), folder.path / "report.html")
    console.print(comparison_table(rows))
    console.print(f"table: {folder.path / 'comparison.md'}\nreport: {report}", soft_wrap=True)


def run_bench_search(command: cli.BenchSearch) -> None:
    """Measure the searches, with a bar, and print the table."""
    from wherenot.bench.run import bench_search

    classifier = load_classifier(command.model)
    out = command.out or Path("runs") / f"bench-search-{Path(command.model).name}"
    with progress_bar() as bar:
        task = bar.add_task("bench search", total=None, note="images")

        def on_image(name: str, left: int) -> None:
            done = bar.tasks[task].completed
            bar.update(task, total=done + left, advance=float(not name.startswith("time of")), note=name)

        measured = bench_search(
            classifier,
            out,
            model=command.model,
            images=command.images,
            fill=command.fill,
            searches=command.searches,
            partition=command.partition,
            limit=command.limit,
            timed=command.timed,
            authors=command.against == "authors",
            compiled=command.compile,
            on_image=on_image,
        )
    print_bench(measured, out)


def run_bench_mllm(command: cli.BenchMllm) -> None:
    """Measure how answers are explained, and print the table."""
    from wherenot.bench.mllm import bench_mllm
    from wherenot.bench.photographs import wide_photograph

    image = wide_photograph() if command.image is None else read_photograph(command.image)
    out = command.out or Path("runs") / f"bench-mllm-{command.size}"
    with progress_bar() as bar:
        task = bar.add_task("bench mllm", total=None, note="")
        measured = bench_mllm(
            out,
            size=command.size,
            image=image,
            partition=command.partition,
            max_regions=command.max_regions,
            device=command.device,
            chunk=command.chunk,
            on_way=lambda way: bar.update(task, note=way),
        )
    print_bench(measured, out)


def print_bench(measured: BenchTable, out: Path) -> None:
    """Print what was measured, and say where it is."""
    from rich.table import Table

    shown = Table(title=measured.title, caption=measured.legend)
    for place, heading in enumerate(measured.headings):
        shown.add_column(heading, justify="right" if place else "left")
    for line in measured.lines:
        shown.add_row(*line)
    console.print(shown)
    console.print(f"table: {out / 'table.md'}", soft_wrap=True)


def write_data(title: str, dataset: Dataset, out: Path) -> None:
    """Write a data set in the native format, with a bar, and say what was left out."""
    with progress_bar() as bar:
        task = bar.add_task(f"data {title}", total=len(dataset), note="images")
        write_folder(dataset, out, on_sample=lambda: bar.advance(task))
    for left_out in dataset.rejected:
        console.print(f"left out: {left_out.reason}", soft_wrap=True, markup=False)
    console.print(f"{len(dataset)} images, {len(dataset.rejected)} left out: {out}", soft_wrap=True)


def run_data_check(dataset: Dataset, data: str) -> None:
    """Print what is in a data set; what is wrong with it is an error."""
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
    problems = [each.reason for each in found.bad]
    for duplicate in found.duplicates:
        if duplicate.crosses:
            problems.append(f"the same image in {' and '.join(duplicate.splits)}: {', '.join(duplicate.ids)}")
    if problems:
        raise DataError.listing(f"data check: {data}", problems, "Correct or remove these before you rely on a number.")
    console.print("nothing wrong found.")


def _images(count: int, one: str, many: str) -> str:
    return f"1 image {one}" if count == 1 else f"{count} images {many}"


def run_reproduce(command: cli.Reproduce) -> None:
    """Run a study, with a bar, and print its table; or print what it would cost."""
    from rich.markdown import Markdown

    from wherenot.experiments.reproduce import Ran, StudyOptions, plan, reproduce
    from wherenot.experiments.writing import markdown, plan_markdown

    options = StudyOptions(
        data=command.data,
        models=command.models,
        methods=command.methods,
        preset=command.preset,
        seeds=command.seeds,
        changes=command.set,
        sweeps=command.sweep,
        splits=command.splits,
        partition=command.partition,
        max_images=command.max_images,
        images_per_split=command.images_per_split,
        noise=command.noise,
        corruptions=command.corruptions,
    )
    if command.plan:
        speed, price = command.forwards_per_second, command.dollars_per_hour
        lines = plan(command.study, options, command.out, grid=command.grid, tflops=command.tflops, measured=speed)
        console.print(Markdown(plan_markdown(lines, tflops=command.tflops, measured=speed, dollars_per_hour=price)))
        return
    with progress_bar() as bar:
        task = bar.add_task(f"reproduce {command.study}", total=None, note="trials")
        failed = 0

        def on_trial(ran: Ran) -> None:
            nonlocal failed
            failed += ran.outcome == "failed"
            bar.update(task, advance=1, note=f"trials, {failed} failed" if failed else "trials")

        made = reproduce(
            command.study,
            options,
            command.out,
            grid=command.grid,
            processes=command.processes,
            threads=command.threads,
            pictures=command.pictures,
            on_start=lambda done, total: bar.update(task, completed=done, total=total),
            on_trial=on_trial,
        )
    console.print(Markdown(markdown(made.table, differences=False)))
    for ran in made.unfinished:
        console.print(f"{ran.outcome}: {ran.name}: {ran.error or 'call again later'}", markup=False, soft_wrap=True)
    for file in made.files:
        console.print(f"written: {file}", soft_wrap=True)
    if made.unfinished:
        raise ValueError(f"reproduce: {len(made.unfinished)} trials are not finished; the same command tries again.")
