"""What all pages share: templates that escape, a policy that names the one script by its hash, whole files."""

from __future__ import annotations

import base64
import hashlib
import os
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined


def page_environment() -> Environment:
    """Return the templates of the pages; what is put into them is escaped, and what is missing is an error."""
    return Environment(
        loader=PackageLoader("wherenot.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def script_hash(script: str) -> str:
    """Name a script as a content security policy does.

    Example:
        >>> script_hash("")
        'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='
    """
    return f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode('ascii')}"


def write_page(writer: str, page: str, out: Path) -> Path:
    """Write a page; the file appears complete or not at all, and an existing one is replaced.

    Args:
        writer: Who writes, for messages.
        page: The HTML.
        out: The file; its folder is made if need be.

    Returns:
        `out`.

    Raises:
        OSError: If `out` cannot be written; the message names it.
    """
    part = out.with_name(f".{out.name}.{os.getpid()}.part")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(page, encoding="utf-8", errors="backslashreplace")  # a name may be no UTF-8
        part.replace(out)
    except OSError as error:
        raise type(error)(f"{writer}: cannot write {out}: {error.strerror or error}") from error
    finally:
        if part.parent.is_dir():
            part.unlink(missing_ok=True)
    return out
