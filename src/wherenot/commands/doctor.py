"""`wherenot doctor`."""

from __future__ import annotations

from rich.markup import escape
from rich.table import Table

from wherenot import cli
from wherenot.commands.printing import console
from wherenot.commands.results import say_result
from wherenot.doctor import Diagnosis, Feature, diagnose


def run_doctor(command: cli.Doctor) -> None:
    """Print what was found, for people or for machines.

    Raises:
        ValueError: If the core lacks something.
    """
    found = diagnose()
    if command.output.json:  # the same twice in a terminal would help nobody
        say_result(found.as_dict())
    else:
        show(found)
    if not found.healthy:
        raise ValueError("doctor: the core lacks packages, see above; run: pip install --upgrade wherenot")


def show(found: Diagnosis) -> None:
    """Print the diagnosis."""
    console.print(", ".join(f"{name} {version}" for name, version in found.versions.items()), soft_wrap=True)
    for device in found.devices:
        memory = "" if device.memory_gb is None else f", {device.memory_gb:g} GB"
        console.print(f"{device.name}: {device.what}{memory}{', bf16' if device.bf16 else ''}", soft_wrap=True)
    table = Table(show_edge=False, pad_edge=False)
    for head in ("for", "what is there", "what to do"):
        table.add_column(head, overflow="fold")
    for feature in found.features:
        there = ", ".join(_told(feature))
        table.add_row(feature.use, there, "" if feature.ready else escape(f"pip install --upgrade {_wanted(feature)}"))
    console.print(table)
    console.print(f"browser for screens: {found.browser or 'only what Playwright may have installed'}", soft_wrap=True)
    folder, writable = found.cache
    trouble = "" if writable else " (cannot be written: regions are cut anew every time; set WHERENOT_CACHE)"
    console.print(f"cache: {folder}{trouble}", soft_wrap=True)


def _told(feature: Feature) -> list[str]:
    return [
        f"{package.name} {package.installed}"
        if package.status == "ready"
        else f"[red]no {package.name}[/red]"
        if package.installed is None
        else f"[red]{package.name} {package.installed}, needs {package.wanted}[/red]"
        for package in feature.packages
    ]


def _wanted(feature: Feature) -> str:
    return f"'wherenot[{feature.extra}]'" if feature.extra else "wherenot"
