"""The numbers of an audit's records, column by column: what metrics are made of, without the texts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

FLAGS = ("searched", "failed", "labelled", "answered")


def flat_numbers(record: Mapping[str, Any], *, below: str = "") -> dict[str, float]:
    """Every number of a record by its path, nan where there is none; texts and lists are left out.

    Args:
        record: Of an audit.
        below: Path of what is flattened.

    Returns:
        Numbers; True is 1.

    Example:
        >>> flat_numbers({"id": "a", "correct": True, "true": {"coverage": 0.5, "energy_pointing": None}})
        {'correct': 1.0, 'true.coverage': 0.5, 'true.energy_pointing': nan}
    """
    numbers: dict[str, float] = {}
    for name, value in record.items():
        path = f"{below}.{name}" if below else name
        if isinstance(value, Mapping):
            numbers |= flat_numbers(value, below=path)
        elif value is None:
            numbers[path] = math.nan
        elif isinstance(value, bool | int | float):
            numbers[path] = float(value)
    return numbers


def flags(record: Mapping[str, Any]) -> tuple[bool, bool, bool, bool]:
    """`FLAGS` of a record: was its evidence to be searched, did it fail, has it a label, has it an answer."""
    return (
        bool(record["searched"]),
        record["error"] is not None,
        record["label"] is not None,
        record["predicted"] is not None,
    )


@dataclass(frozen=True, eq=False, kw_only=True)
class RecordTable:
    """Records of one split as columns.

    Attributes:
        group: Of each record, None where it has none.
        flag: By name of `FLAGS`, whether it is true of each record.
        columns: By path, the numbers of all records, nan where one has none.
    """

    group: np.ndarray
    flag: Mapping[str, Bool[np.ndarray, " B"]]
    columns: Mapping[str, Float[np.ndarray, " B"]]

    @staticmethod
    def of(records: Iterable[Mapping[str, Any]]) -> RecordTable:
        """Make columns of records.

        Example:
            >>> record = {"searched": True, "error": None, "label": 1, "predicted": 1, "group": None, "p_label": 0.5}
            >>> RecordTable.of([record]).numbers("p_label")
            tensor([0.5000], dtype=torch.float64)
        """
        records = list(records)
        flat = [flat_numbers(record) for record in records]
        paths = dict.fromkeys(path for numbers in flat for path in numbers)
        return RecordTable(
            group=np.array([record["group"] for record in records], dtype=object),
            flag=dict(zip(FLAGS, np.array([flags(record) for record in records], bool).reshape(-1, 4).T, strict=True)),
            columns={path: np.array([numbers.get(path, math.nan) for numbers in flat]) for path in paths},
        )

    @staticmethod
    def joined(parts: Sequence[RecordTable]) -> RecordTable:
        """Put tables under each other; a column that one of them lacks is nan there."""
        paths = dict.fromkeys(path for part in parts for path in part.columns)
        return RecordTable(
            group=np.concatenate([part.group for part in parts]),
            flag={name: np.concatenate([part.flag[name] for part in parts]) for name in FLAGS},
            columns={
                path: np.concatenate([part.columns.get(path, np.full(len(part), math.nan)) for part in parts])
                for path in paths
            },
        )

    def __len__(self) -> int:
        return len(self.group)

    def where(self, chosen: Bool[np.ndarray, " B"]) -> RecordTable:
        """Some of the records."""
        return RecordTable(
            group=self.group[chosen],
            flag={name: values[chosen] for name, values in self.flag.items()},
            columns={path: values[chosen] for path, values in self.columns.items()},
        )

    def has(self, field: str) -> bool:
        """Whether records have a field, be it empty."""
        return field in self.columns or bool(self.below(field))

    def below(self, field: str) -> list[str]:
        """Names of the numbers that a field holds."""
        return [path[len(field) + 1 :] for path in self.columns if path.startswith(f"{field}.")]

    def numbers(self, path: str) -> Float[Tensor, " B"]:
        """Numbers of all records as float64, nan where there is none."""
        found = self.columns.get(path)
        return torch.full((len(self),), math.nan, dtype=torch.float64) if found is None else torch.from_numpy(found)

    def groups(self) -> list[str]:
        """Names of the groups, sorted."""
        return sorted({group for group in self.group if group is not None})
