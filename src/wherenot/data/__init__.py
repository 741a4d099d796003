"""Data sets: images with classes and priors, from folders or built in."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Literal

from wherenot.data.decoy import decoy as decoy
from wherenot.data.folder import read_folder as read_folder
from wherenot.data.folder import write_folder as write_folder
from wherenot.data.samples import DataError as DataError
from wherenot.data.samples import Dataset as Dataset
from wherenot.data.samples import Rejected as Rejected
from wherenot.data.samples import Sample as Sample
from wherenot.data.samples import hold_out as hold_out
from wherenot.data.samples import limit as limit

BUILT_IN: dict[str, Callable[[int], Dataset]] = {
    "decoy": decoy,
    "decoy:shifted": partial(decoy, prior="shifted"),
    "decoy:half": partial(decoy, prior="half"),
    "decoy:no-shortcut": partial(decoy, shortcut=False),
}


def load_dataset(spec: str, *, seed: int = 0, on_bad: Literal["error", "skip"] = "error") -> Dataset:
    """Load a data set by name or path.

    Args:
        spec: ``decoy``, ``decoy:shifted``, ``decoy:half`` or ``decoy:no-shortcut``; anything else is a folder
            (`read_folder`; write ``./decoy`` for a folder of that name).
        seed: For built-in data sets; a folder has no use for it.
        on_bad: For folders: whether bad samples are an error or left out and listed.

    Returns:
        The data set.

    Raises:
        ValueError: If there is neither such a built-in data set nor such a folder; as `DataError` if the data are bad.

    Example:
        >>> load_dataset("decoy").splits
        ('train', 'validation', 'test_biased', 'test_unbiased', 'test_swapped')
    """
    if spec in BUILT_IN:
        return BUILT_IN[spec](seed)
    if Path(spec).exists():
        return read_folder(spec, on_bad=on_bad)
    raise ValueError(f"load_dataset: {spec!r} is neither a folder nor built in; built in are {', '.join(BUILT_IN)}.")
