"""A process that runs trials, one after the other, as it is told on its standard input.

It reads the path of a trial's ``trial.json`` per line and answers ``done`` or ``busy``. A trial that fails ends the
process; the trial's ``log.txt`` says why. It ends, too, as soon as whoever started it is gone.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path
from queue import SimpleQueue

from wherenot.experiments.trials import BusyError, parse_trial, run_trial


def main() -> None:
    """Run trials until there is no more input."""
    orders: SimpleQueue[str] = SimpleQueue()
    threading.Thread(target=_listen, args=(orders,), daemon=True).start()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    while order := orders.get():
        path = Path(order)
        with (path.parent / "log.txt").open("a") as log:
            os.dup2(log.fileno(), 2)
            os.dup2(log.fileno(), 1)
        content = json.loads(path.read_text())
        try:
            run_trial(parse_trial(content), Path(content["root"]))
            answer = "done"
        except BusyError:
            answer = "busy"
        answers.write(answer + "\n")
        answers.flush()


def _listen(orders: SimpleQueue[str]) -> None:
    """Pass orders on; end the process when nobody is left to give them, though a trial be under way."""
    for line in sys.stdin:
        orders.put(line.strip())
    os._exit(0)


if __name__ == "__main__":
    main()
