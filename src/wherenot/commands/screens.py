"""`wherenot screens`: rendered."""

from __future__ import annotations

from wherenot import cli
from wherenot.commands.data import write_data
from wherenot.data.folder import new_folder
from wherenot.gui.screens.config import SPLITS
from wherenot.gui.screens.dataset import render_dataset
from wherenot.gui.screens.render import open_renderer
from wherenot.progress import progress_bar


def run_screens(command: cli.Screens) -> None:
    """Render tasks, with a bar, and write them."""
    new_folder("screens render", command.out)  # before minutes of rendering
    config = command.screens
    with progress_bar() as bar, open_renderer(config.width) as renderer:
        task = bar.add_task("screens render", total=sum(config.number(split) for split in SPLITS), note="tasks")
        dataset = render_dataset(config, renderer, on_task=lambda: bar.advance(task))
    write_data("write", dataset, command.out)
