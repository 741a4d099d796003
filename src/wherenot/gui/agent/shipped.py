"""The tiny agents that come with the package, made as `gui.agent.recipe` says."""

from __future__ import annotations

from pathlib import Path

_WEIGHTS = Path(__file__).with_name("weights")

AGENTS: dict[str, Path] = {"tiny-agent": _WEIGHTS / "grounded", "tiny-agent-weak": _WEIGHTS / "weak"}
"""Folders by the name that `load_vlm` knows. ``tiny-agent`` finds almost everything, wherever it lies.
``tiny-agent-weak`` was stopped early and finds about a third; fine-tuning on habitual layouts is tried on it."""
