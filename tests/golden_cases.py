"""The stored golden numbers."""

import json
from pathlib import Path

GOLDEN = json.loads((Path(__file__).parent / "golden" / "cases.json").read_text())
