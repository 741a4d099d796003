"""Several processes on this machine that make one training step together, with what `accelerate launch` tells them."""

import importlib
import os
import socket
import traceback
import warnings
from pathlib import Path

import torch
from accelerate import DistributedType
from accelerate.state import AcceleratorState

from forked import CONTEXT

FSDP2 = {
    "ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2", "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
    "FSDP_RESHARD_AFTER_FORWARD": "true", "FSDP_STATE_DICT_TYPE": "FULL_STATE_DICT",
}  # fmt: skip


def _shards_on_cpus():
    """accelerate shards models on GPUs only, and trains plainly on CPUs whatever it is told."""
    made = AcceleratorState.__init__

    def init(self, *arguments, fsdp_plugin=None, **options):
        made(self, *arguments, fsdp_plugin=fsdp_plugin, **options)
        if fsdp_plugin is not None and self._mixed_precision != "no":
            fsdp_plugin.set_mixed_precision(self._mixed_precision)
        plugin = fsdp_plugin or getattr(self, "fsdp_plugin", None)
        if plugin is not None:  # each further one would take the kind of the processes
            self.distributed_type, self.fsdp_plugin = DistributedType.FSDP, plugin

    AcceleratorState.__init__ = init


def _process(settings, log, module, arguments, options):
    os.environ.update(settings)
    os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
    os.dup2(2, 1)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    _shards_on_cpus()
    try:
        importlib.import_module(module).main(*arguments, **options)
    except BaseException:  # noqa: BLE001 - also of what ends a process; the others are not to wait for it
        traceback.print_exc()
        os._exit(1)
    os._exit(0)  # nothing waits for the others any more


def launch(module, place, *arguments, processes=2, timeout=240, settings=None, **options):
    """Call `main` of a module of this folder in each process; what one says is raised if it fails."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(processes),
        "ACCELERATE_USE_CPU": "true", **(settings or {}),
    }  # fmt: skip
    started = [
        CONTEXT.Process(
            target=_process,
            args=(
                {**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)}, f"{place}/{rank}.log", module,
                (place, *arguments), options,
            ),
        )
        for rank in range(processes)
    ]  # fmt: skip
    for process in started:
        process.start()
    try:
        for rank, process in enumerate(started):
            process.join(timeout)
            assert process.exitcode == 0, f"process {rank}: {Path(place, f'{rank}.log').read_text()}"
    finally:
        for process in started:
            process.kill()
            process.join()
