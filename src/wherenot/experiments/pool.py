"""Many trials over several processes: what is finished is skipped, what fails stops nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from wherenot.experiments.trials import AnyTrial, failure_of, note_failure
from wherenot.run import RunFolder

Outcome = Literal["finished", "failed", "busy"]


@dataclass(frozen=True, kw_only=True)
class Ran:
    """What became of one trial.

    Attributes:
        trial: Which.
        outcome: ``busy``: another process is running it.
        error: Why it failed.
    """

    trial: AnyTrial
    outcome: Outcome
    error: str | None = None

    @property
    def name(self) -> str:
        """Data, model, method and seed."""
        train = self.trial.train
        return f"{train.data}, {train.model}, {train.method.name}, seed {train.seed}"


def run_trials(
    trials: Sequence[AnyTrial],
    root: Path,
    *,
    processes: int = 1,
    threads: int | None = None,
    on_trial: Callable[[Ran], None] | None = None,
) -> list[Ran]:
    """Run trials, each in a process that runs nothing else meanwhile.

    Args:
        trials: Which; one that occurs twice runs once.
        root: The study's folder.
        processes: How many run at once.
        threads: Of each; None shares the cores.
        on_trial: Called as each ends that was not finished before.

    Returns:
        One entry per distinct trial, in their order.

    Raises:
        ValueError: If `processes` or `threads` is below 1, or the folder cannot be written.
    """
    if processes < 1 or (threads is not None and threads < 1):
        raise ValueError(f"run_trials: processes={processes}, threads={threads}; pass at least 1 of each.")
    RunFolder(root)
    unique = list(dict.fromkeys(trials))
    found = {trial: Ran(trial=trial, outcome="finished") for trial in unique if trial.is_finished(root)}
    left = [trial for trial in unique if trial not in found]
    workers = [_Worker(threads or max(1, (os.cpu_count() or 1) // processes)) for _ in range(processes)]

    def work(worker: _Worker) -> None:
        while left:
            try:
                trial = left.pop(0)
            except IndexError:  # another thread was faster
                return
            found[trial] = worker.run(trial, root)
            if on_trial is not None:
                on_trial(found[trial])

    try:
        with ThreadPoolExecutor(processes) as pool:
            try:
                list(pool.map(work, workers))
            except BaseException:
                left.clear()
                for worker in workers:
                    worker.stop()  # its thread returns, and the pool can end
                raise
    finally:
        for worker in workers:
            worker.close()
    return [found[trial] for trial in unique]


class _Worker:
    """One process at a time; a new one after each that died."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._process: subprocess.Popen[str] | None = None
        self._stopped = False
        self._died_of = 0
        self._starting = threading.Lock()

    def run(self, trial: AnyTrial, root: Path) -> Ran:
        """Have one trial run."""
        folder = RunFolder(trial.folder(root))
        order = folder.path.resolve() / f"trial-{trial.audit_folder(root).name}.json"
        folder.write(order.name, {**trial.content(), "root": str(root.resolve())})
        answer = self._ask(order)
        if answer == "busy":
            return Ran(trial=trial, outcome="busy")
        if answer == "done":
            return Ran(trial=trial, outcome="finished")
        if self._stopped:
            return Ran(trial=trial, outcome="failed", error="stopped")
        note_failure(trial, root, self._last_words(folder.path / "log.txt"))
        return Ran(trial=trial, outcome="failed", error=failure_of(trial, root))

    def stop(self) -> None:
        """End the process, with whatever it is doing; no other will start."""
        with self._starting:
            self._stopped = True
            if self._process is not None:
                self._process.kill()

    def close(self) -> None:
        """Stop, once nobody waits for an answer any more."""
        self.stop()
        if self._process is not None:
            _close(self._process)

    def _ask(self, order: Path) -> str:
        """Send an order and wait for the answer; nothing if the process died over it."""
        with self._starting:
            if self._stopped:
                return ""
            process = self._process = self._process or self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        answer = ""
        with suppress(BrokenPipeError):  # it died before it could listen
            process.stdin.write(f"{order}\n")
            process.stdin.flush()
            answer = process.stdout.readline().strip()
        if not answer:
            with self._starting:
                self._process = None
            _close(process)
            self._died_of = process.returncode
        return answer

    def _last_words(self, log: Path) -> str:
        """Why the last process died: the last line it wrote, mostly its error."""
        if self._died_of < 0:
            return f"its process was ended from outside, by signal {-self._died_of} (9: perhaps for lack of memory)"
        lines = log.read_text(errors="replace").strip().splitlines() if log.is_file() else []
        return lines[-1] if lines else "its process died without a word"

    def _start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "wherenot.experiments.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C is for whoever waits, who then ends it
            env={**os.environ, "OMP_NUM_THREADS": str(self._threads)},
        )


def _close(process: subprocess.Popen[str]) -> None:
    """Wait for the end of a process and let go of its streams."""
    process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with suppress(BrokenPipeError):
                stream.close()
