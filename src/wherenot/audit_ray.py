"""An audit on a cluster: Ray Data reads and cuts images on CPU workers and asks the model on GPU actors."""

from __future__ import annotations

import json
import pickle
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from wherenot.auditing import Auditor, Plan, Prepared, Preparer, made, prepared
from wherenot.data import Sample

if TYPE_CHECKING:
    from ray.data import Dataset as Rows

_BATCHES_PER_BLOCK = 4  # what is done again when a node dies is at most a block


@dataclass(frozen=True, kw_only=True)
class RayEngine:
    """Makes records on a Ray cluster, one that runs or one that is started on this machine.

    CPU workers read and cut images and stay no further ahead than memory allows; each actor holds the model. A worker,
    actor or node that dies is replaced and what it was doing done again; records and pictures come back to this
    process, which alone writes, each once. All nodes must see the images under the same paths. What travels between
    them is pickled: a cluster's nodes trust each other.

    Args:
        load: Makes the auditor, in each actor, on its device; None sends a copy of this process's.
        address: Of the cluster, as ``ray.init`` takes it (``auto``, ``ray://HOST:10001``); None starts one here.
        actors: How many hold the model; None: one per GPU, or without any one per two CPUs.

    Raises:
        ValueError: If `actors` is below 1.
    """

    load: Callable[[], Auditor] | None = None
    address: str | None = None
    actors: int | None = None

    def __post_init__(self) -> None:
        if self.actors is not None and self.actors < 1:
            raise ValueError(f"RayEngine: actors is {self.actors}; pass at least 1, or None.")

    def batches(
        self, auditor: Auditor, samples: list[Sample], plan: Plan, *, at_once: int
    ) -> Iterator[list[tuple[int, dict[str, Any]]]]:
        """Yield each sample's number and record once, as they come, after its pictures are in the folder.

        Raises:
            ValueError: If Ray is missing or the cluster cannot be reached.
        """
        if not samples:
            return
        ray = _started(self.address)
        try:
            resources = ray.cluster_resources()
            gpus, cpus = int(resources.get("GPU", 0)), int(resources.get("CPU", 1))
            actors = self.actors or gpus or max(1, cpus // 2)
            prepare: Any = partial(_prepare, preparer=auditor.preparer)  # Ray's types know no columns
            asked = _rows(samples, plan, at_once).map_batches(
                prepare, batch_size=at_once, num_cpus=1,
            ).map_batches(
                _Ask, fn_constructor_args=(self.load or _Sent(auditor),), batch_size=at_once,
                compute=ray.data.ActorPoolStrategy(size=actors), num_cpus=1, num_gpus=1 if gpus else 0,
            )  # fmt: skip
            for batch in asked.iter_batches(batch_size=None):
                for names, contents in zip(batch["names"], batch["contents"], strict=True):
                    for name, content in zip(names, contents, strict=True):
                        _write(plan.folder / name, content)
                yield list(zip(batch["number"].tolist(), map(json.loads, batch["record"]), strict=True))
        finally:
            if self.address is None:
                ray.shutdown()


@dataclass(frozen=True)
class _Sent:
    """The auditor of this process, as it goes to actors."""

    auditor: Auditor

    def __call__(self) -> Auditor:
        return self.auditor


def _prepare(batch: Mapping[str, np.ndarray], *, preparer: Preparer) -> dict[str, Any]:
    """Reads and cuts, on a CPU worker."""
    from ray import cloudpickle

    samples: list[Sample] = [pickle.loads(each) for each in batch["sample"]]
    ready = [
        cloudpickle.dumps(prepared(preparer, sample, searched=searched))  # pyright: ignore[reportPrivateImportUsage]
        for sample, searched in zip(samples, batch["searched"].tolist(), strict=True)
    ]
    return {**batch, "sample": np.array(ready, dtype=object)}


class _Ask:
    """Holds a model."""

    def __init__(self, load: Callable[[], Auditor]) -> None:
        self._auditor = load()

    def __call__(self, batch: Mapping[str, np.ndarray]) -> dict[str, Any]:
        ready: list[Prepared] = [pickle.loads(each) for each in batch["sample"]]
        columns = (batch[name].tolist() for name in ("number", "searched", "pictured"))
        rows = [
            (number, each.sample, searched, pictured)
            for each, number, searched, pictured in zip(ready, *columns, strict=True)
        ]
        with tempfile.TemporaryDirectory() as folder:
            plan = _plan(Path(folder), rows)
            (plan.folder / "evidence").mkdir()
            records = made(self._auditor, ready, plan)
            files = sorted((plan.folder / "evidence").iterdir())
            kept = [[path for path in files if re.split("[.-]", path.name)[0] == f"{n:06d}"] for n, _ in records]
            return {
                "number": [number for number, _ in records],
                "record": [json.dumps(record) for _, record in records],
                "names": [[path.relative_to(plan.folder).as_posix() for path in paths] for paths in kept],
                "contents": [[path.read_bytes() for path in paths] for paths in kept],
            }


def _plan(folder: Path, rows: list[tuple[int, Sample, bool, bool]]) -> Plan:
    """What a worker has to know of the plan."""
    keys = [(sample.split, sample.id) for _, sample, _, _ in rows]
    return Plan(
        folder=folder,
        numbers={key: number for key, (number, _, _, _) in zip(keys, rows, strict=True)},
        searched={key for key, (_, _, searched, _) in zip(keys, rows, strict=True) if searched},
        pictured={key for key, (_, _, _, pictured) in zip(keys, rows, strict=True) if pictured},
    )


def _rows(samples: list[Sample], plan: Plan, at_once: int) -> Rows:
    import ray.data
    from ray import cloudpickle

    rows = [
        {
            "number": plan.number(sample),
            "sample": cloudpickle.dumps(sample),  # pyright: ignore[reportPrivateImportUsage]
            "searched": plan.is_searched(sample),
            "pictured": plan.picture(sample) is not None,
        }
        for sample in samples
    ]
    return ray.data.from_items(rows, override_num_blocks=-(-len(rows) // (at_once * _BATCHES_PER_BLOCK)))


def _started(address: str | None) -> Any:
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ValueError("RayEngine: needs Ray; run: pip install 'wherenot[cluster]'") from error
    if not ray.is_initialized():
        try:
            ray.init(address=address, include_dashboard=False, log_to_driver=False)
        except (ConnectionError, OSError, RuntimeError) as error:
            raise ValueError(
                f"RayEngine: no cluster at {address} ({error}); start one (ray start --head), or leave --address out "
                "to start one on this machine."
            ) from error
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    return ray


def _write(path: Path, content: bytes) -> None:
    partial = path.with_name(f"{path.name}.part")
    partial.write_bytes(content)
    partial.replace(path)
