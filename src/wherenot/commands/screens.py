"""`wherenot screens`: rendered, and an agent that clicks on them."""

from __future__ import annotations

from pathlib import Path

from wherenot import cli
from wherenot.commands.data import write_data
from wherenot.commands.printing import console
from wherenot.commands.results import say_result
from wherenot.data.folder import new_folder
from wherenot.gui.agent.recipe import AgentRecipe, Lesson, make_agent
from wherenot.gui.screens.config import SPLITS
from wherenot.gui.screens.dataset import render_dataset
from wherenot.gui.screens.render import open_renderer
from wherenot.progress import progress_bar


def run_screens(command: cli.Screens) -> None:
    """Render tasks, or make the tiny agent, with a bar, and write them."""
    new_folder(f"screens {command.what}", command.out)  # before minutes of work
    if command.what == "agent":
        return _agent(command.agent, command.out)
    config = command.screens
    with progress_bar() as bar, open_renderer(config.width) as renderer:
        task = bar.add_task("screens render", total=sum(config.number(split) for split in SPLITS), note="tasks")
        dataset = render_dataset(config, renderer, on_task=lambda: bar.advance(task))
    say_result(write_data("write", dataset, command.out), command.out)


def _agent(recipe: AgentRecipe, out: Path) -> None:
    lessons: tuple[Lesson, ...] = ("render", "see", "answer")
    with progress_bar() as bar:
        tasks = {name: bar.add_task(name, total=recipe.steps(name), note="") for name in lessons}

        def tell(lesson: Lesson, well: float) -> None:
            bar.update(tasks[lesson], advance=1, note=f"{well:.0%}")

        model, processor = make_agent(recipe, on_step=tell)
    model.save_pretrained(out)
    processor.save_pretrained(out)
    console.print(f"model: {out}", soft_wrap=True)
    say_result({"model": out}, out)
