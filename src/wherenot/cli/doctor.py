"""Arguments of the command that looks at the installation."""

from __future__ import annotations

from dataclasses import dataclass

from wherenot.cli.output import Command


@dataclass(frozen=True, kw_only=True)
class Doctor(Command):
    """What this installation can do: versions, devices, and what is missing for which feature.

    Shell completion: wherenot --tyro-print-completion bash (or zsh, fish) prints a script for your shell.

    Try:
      wherenot doctor
      wherenot doctor --json
    """
