"""Arguments of the command that looks at the installation."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Doctor:
    """What this installation can do: versions, devices, and what is missing for which feature.

    Shell completion: wherenot --tyro-print-completion bash (or zsh, tcsh) prints a script for your shell.

    Try:
      wherenot doctor
      wherenot doctor --json
    """

    json: bool = False
    """Print JSON, for machines."""
