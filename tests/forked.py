"""Processes forked off one that has imported torch and what trains, instead of importing it in each: seconds apiece."""

import multiprocessing
import os
import subprocess
import sys
from multiprocessing.connection import Connection

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["wherenot.train.training", "wherenot.experiments.worker", "wherenot.audit"])


def _work(orders, answers):
    from wherenot.experiments import worker

    os.setsid()
    sys.stdin = os.fdopen(orders.fileno())
    os.dup2(answers.fileno(), 1)
    worker.main()


class ForkedWorker(subprocess.Popen):
    """A worker as `pool` starts it: its streams and its end."""

    def __init__(self):  # nothing of Popen's own: another process forks it off
        orders, self_orders = os.pipe()
        self_answers, answers = os.pipe()
        self.stdin, self.stdout = os.fdopen(self_orders, "w"), os.fdopen(self_answers)
        theirs = Connection(orders, writable=False), Connection(answers, readable=False)
        self._process = CONTEXT.Process(target=_work, args=theirs)
        self._process.start()
        for end in theirs:
            end.close()
        self.kill, self.wait = self._process.kill, self._process.join

    @property
    def returncode(self):
        return self._process.exitcode


def _command(arguments, log):
    from wherenot.cli import main

    os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
    sys.exit(main(arguments))


def command(arguments, log):
    """`wherenot` with these arguments, in a process of its own that can be killed; what it says goes to a file."""
    process = CONTEXT.Process(target=_command, args=([str(argument) for argument in arguments], str(log)))
    process.start()
    return process
