"""``python -m wherenot``, the same as the ``wherenot`` command."""

import sys

from wherenot.cli import main

if __name__ == "__main__":
    sys.exit(main())
