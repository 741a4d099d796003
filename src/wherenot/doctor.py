"""What this installation can do, what it runs on, and what is missing for which feature."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from typing import Any, Literal

import torch
from packaging.requirements import Requirement

import wherenot
from wherenot.region_cache import default_cache

Status = Literal["ready", "missing", "too old"]

_USES = {
    "": "attribution, audits and reports of your own torch models",
    "hf": "training, and classifiers from transformers",
    "mllm": "vision-language models and GUI agents",
    "timm": "classifiers from timm",
    "opencv": "regions as the authors cut them (opencv-slico, seeds); boxes cut to masks by colours (data prior)",
    "screens": "rendering click tasks (wherenot screens)",
    "cluster": "audits on a Ray cluster (--engine ray)",
    "demo": "wherenot demo, and data: decoy",
}


@dataclass(frozen=True)
class Package:
    """A package that a feature needs.

    Attributes:
        name: As pip knows it.
        wanted: Which versions will do, such as ``>=5.0``; empty = any.
        installed: Its version; None = it is not there.
        status: Whether it will do.
    """

    name: str
    wanted: str
    installed: str | None
    status: Status


@dataclass(frozen=True)
class Feature:
    """Something the library can do if some packages are there.

    Attributes:
        extra: What to ask pip for, ``wherenot[EXTRA]``; empty = nothing, it always has to work.
        use: What it is for.
        packages: What it needs.
    """

    extra: str
    use: str
    packages: tuple[Package, ...]

    @property
    def ready(self) -> bool:
        """Whether all of its packages will do."""
        return all(package.status == "ready" for package in self.packages)


@dataclass(frozen=True)
class Device:
    """Something models can run on.

    Attributes:
        name: As torch names it, such as ``cuda:0``.
        what: Its make.
        memory_gb: Its memory in units of 1e9 bytes; None where it shares the machine's.
        bf16: Whether it computes in bfloat16 natively.
    """

    name: str
    what: str
    memory_gb: float | None
    bf16: bool


@dataclass(frozen=True)
class Diagnosis:
    """What was found.

    Attributes:
        versions: Of wherenot, Python, torch and the system.
        devices: The first is what commands use.
        features: The core first, then the extras.
        browser: A Chromium for rendering screens; None = none was found outside of Playwright.
        cache: Where label maps are kept, and whether that can be written.
    """

    versions: dict[str, str]
    devices: tuple[Device, ...]
    features: tuple[Feature, ...]
    browser: str | None
    cache: tuple[str, bool]

    @property
    def healthy(self) -> bool:
        """Whether the core works; extras may be missing."""
        return self.features[0].ready

    def as_dict(self) -> dict[str, Any]:
        """Everything, for JSON."""
        return {**asdict(self), "healthy": self.healthy}


def diagnose() -> Diagnosis:
    """Look at packages, devices, the browser and the cache; nothing is imported that might not be there.

    Example:
        >>> found = diagnose()
        >>> found.healthy, found.features[0].extra, found.devices[-1].name
        (True, '', 'cpu')
    """
    return Diagnosis(
        versions={
            "wherenot": wherenot.__version__,
            "python": platform.python_version(),
            "torch": str(torch.__version__),
            "system": platform.platform(),
        },
        devices=_devices(),
        features=_features(metadata.requires("wherenot") or []),
        browser=os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser"),
        cache=_cache(),
    )


def _features(required: Sequence[str]) -> tuple[Feature, ...]:
    """The core and each extra with its own packages; extras that the installation does not know are left out."""
    requirements = [Requirement(line) for line in required]
    core = [each for each in requirements if _wanted_by(each, "")]
    extras = {
        extra: core if not extra else [each for each in requirements if _wanted_by(each, extra) and each not in core]
        for extra in _USES
    }
    return tuple(
        Feature(extra, _USES[extra], tuple(_package(each) for each in _unfolded(own, extras)))
        for extra, own in extras.items()
        if own
    )


def _wanted_by(requirement: Requirement, extra: str) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"extra": extra})


def _unfolded(own: Sequence[Requirement], extras: dict[str, list[Requirement]]) -> list[Requirement]:
    """Requirements, with those of other extras in the place of ``wherenot[...]``."""
    found = []
    for each in own:
        if each.name != "wherenot":
            found.append(each)
        else:
            found += [inner for extra in sorted(each.extras) for inner in _unfolded(extras.get(extra, []), extras)]
    return found


def _package(required: Requirement) -> Package:
    try:
        installed = metadata.version(required.name)
    except metadata.PackageNotFoundError:
        return Package(required.name, str(required.specifier), None, "missing")
    fits = required.specifier.contains(installed, prereleases=True)
    return Package(required.name, str(required.specifier), installed, "ready" if fits else "too old")


def _devices() -> tuple[Device, ...]:
    found = []
    for index in range(torch.cuda.device_count()):
        about = torch.cuda.get_device_properties(index)
        found.append(Device(f"cuda:{index}", about.name, round(about.total_memory / 1e9, 1), about.major >= 8))
    if torch.backends.mps.is_available():
        found.append(Device("mps", "Apple GPU", None, bf16=False))
    threads = torch.get_num_threads()
    cpu = f"{platform.processor() or platform.machine()}, {threads} thread{'s' if threads > 1 else ''}"
    return (*found, Device("cpu", cpu, None, bf16=False))


def _cache() -> tuple[str, bool]:
    folder = default_cache()
    there = next(place for place in (folder, *folder.parents) if place.exists())
    return str(folder), os.access(there, os.W_OK)
