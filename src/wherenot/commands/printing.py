"""Where commands print."""

from __future__ import annotations

import sys

from rich.console import Console

# Into a file or a pipe, wide enough for a table; a terminal knows its own width.
console = Console(width=None if sys.stdout.isatty() else 160)
