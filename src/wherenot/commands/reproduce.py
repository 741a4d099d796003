"""`wherenot reproduce`: a study, its table, or what it would cost."""

from __future__ import annotations

from wherenot import cli
from wherenot.commands.printing import console
from wherenot.commands.results import say_result
from wherenot.progress import progress_bar


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
        words = plan_markdown(lines, tflops=command.tflops, measured=speed, dollars_per_hour=price)
        console.print(Markdown(words))
        say_result({"rows": lines, "dollars": price * sum(line.hours for line in lines)}, words)
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
    unfinished = [{"trial": ran.name, "outcome": ran.outcome, "error": ran.error} for ran in made.unfinished]
    say_result({"files": made.files, "unfinished": unfinished}, "\n".join(map(str, made.files)))
    if made.unfinished:
        raise ValueError(f"reproduce: {len(made.unfinished)} trials are not finished; the same command tries again.")
