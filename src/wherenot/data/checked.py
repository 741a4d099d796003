"""What readers share: every fault is noted, every sample tried once, and what is bad is named and counted."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeAlias
from xml.etree import ElementTree

from defusedxml import DTDForbidden
from defusedxml import ElementTree as DefusedTree

from wherenot.data.origins import Box, Origin
from wherenot.data.pictures import image_size, read_image
from wherenot.data.samples import DataError, Dataset, Rejected, Sample
from wherenot.priors import Prior

OnBad: TypeAlias = Literal["error", "skip"]

_HALF = re.compile(r"\\u[dD][89a-fA-F]|[\ud800-\udfff]")  # of a pair of UTF-16, escaped or as itself


class Problems(list[str]):
    """What is wrong with one sample."""

    @contextmanager
    def noting(self) -> Iterator[None]:
        """Turn a complaint about the data, or about a file such as one whose name is too long, into a problem."""
        try:
            yield
        except (OSError, ValueError) as error:
            self.append(str(error))
        except RecursionError:  # of a value that could just be read, but not shown
            self.append("nested too deeply to be read")


def checked_sample(
    id: str,
    label: int,
    split: str,
    image: Path,
    read_prior: Callable[[tuple[int, int]], Prior | None],
    *,
    group: str | None = None,
    where: str | None = None,
    problems: Sequence[str] = (),
    boxes: tuple[Box, ...] = (),
    origin: Origin | None = None,
) -> Sample | Rejected:
    """Make a sample if the image has a header and the prior can be read; both are read again when asked for.

    Args:
        id: Unique within the data set.
        label: Index into the classes.
        split: Name of the split.
        image: The image's file.
        read_prior: Gives the prior for an image of height and width; must be picklable, such as a partial.
        group: A subset to report on separately.
        where: File and line that described the sample, for the messages; left out, the id.
        problems: What is known to be wrong already.
        boxes: What the prior is made of, if of boxes alone.
        origin: Where the prior came from; None = from a person.

    Returns:
        The sample, or why it is none.
    """
    found = Problems(problems)
    size = None
    with found.noting():
        is_text(id)
        size = image_size(image)
    if size is not None:
        with found.noting():
            read_prior(size)
    if found or size is None:
        return Rejected(id, f"{where or id}: {'; '.join(found)}")
    read = partial(read_image, image, size)
    return Sample(id, label, split, group, read, partial(read_prior, size), boxes=boxes, origin=origin)


def checked_dataset(
    reader: str,
    path: str | Path,
    name: str,
    classes: Sequence[str],
    found: Sequence[Sample | Rejected],
    on_bad: OnBad,
    outside: Sequence[Rejected] = (),
) -> Dataset:
    """Put what a reader found together.

    Args:
        reader: The reader's name, for the message.
        path: What it read, for the message.
        name: Of the data set.
        classes: Class names in the order of their indices.
        found: Samples and bad samples.
        on_bad: Whether a bad sample makes the whole an error, or is left out and listed in `rejected`.
        outside: What is sound but no sample, such as images without an object; listed, never an error.

    Returns:
        The data set.

    Raises:
        DataError: If no sample is good, and with `on_bad` "error" if any is bad.
    """
    samples = tuple(each for each in found if isinstance(each, Sample))
    bad = tuple(each for each in found if isinstance(each, Rejected))
    if bad and (on_bad == "error" or not samples):
        skip = "Correct them, or pass on_bad='skip' to leave these samples out and list them in `rejected`."
        remedy = skip if samples else "No sample is good; correct them."
        raise DataError.listing(f"{reader}: {path}", [each.reason for each in bad], remedy)
    if not samples:
        raise DataError(f"{reader}: {path} holds no samples; check that it is the folder of this format.")
    return Dataset(name, tuple(classes), samples, bad + tuple(outside))


def is_file(path: Path) -> bool:
    """Whether a file is there; one whose name is too long, or whose folder may not be read, is not."""
    try:
        return path.is_file()
    except OSError:
        return False


def is_text(name: str) -> str:
    """Return a name if it is all characters; file systems allow others.

    Raises:
        ValueError: If it is not.
    """
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise ValueError("the name is not UTF-8; rename the file") from error
    return name


def existing_folder(reader: str, path: str | Path) -> Path:
    """Return a folder's absolute path, or complain in the reader's name."""
    root = Path(path).absolute()
    if not root.is_dir():
        what = "is not a folder" if root.exists() else "does not exist"
        raise DataError(f"{reader}: {path} {what}; pass the folder that holds the images.")
    return root


def read_text(reader: str, file: Path) -> str:
    """Read a text file, or complain in the reader's name."""
    try:
        if file.exists() and not file.is_file():  # a pipe would be waited for
            raise OSError("not a file")
        return file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{reader}: {file} cannot be read ({error}); check the file.") from error


def parse_json(text: str | bytes, **options: Any) -> Any:
    """Parse JSON whose texts are all characters.

    Args:
        text: The JSON; bytes are UTF-8.
        options: Of `json.loads`.

    Returns:
        What it says.

    Raises:
        ValueError: If it is no JSON, is nested too deeply, or a text in it holds half a character, which no file, no
            terminal and no tokenizer would take.

    Example:
        >>> parse_json(b'{"label": "dog"}')
        {'label': 'dog'}
        >>> parse_json("[" * 5000)
        Traceback (most recent call last):
        ValueError: nested too deeply to be read
    """
    try:
        text = text.decode("utf-8-sig") if isinstance(text, bytes) else text
        value = json.loads(text, **options)
        if _HALF.search(text) is not None:
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        half = ascii(error.object[error.start])
        raise ValueError(f"half a character ({half}), as where a text was cut in the middle of one") from error
    except RecursionError as error:
        raise ValueError("nested too deeply to be read") from error
    return value


def read_xml(file: Path) -> ElementTree.Element:
    """Read an XML file that declares no document type: entities, which could read files or fill the memory, need one.

    Args:
        file: The file.

    Returns:
        The root of the tree.

    Raises:
        DataError: If there is no such file, it is not XML, or it declares a document type.
    """
    if not file.is_file():
        raise DataError(f"{file}: no such file")
    try:
        return DefusedTree.fromstring(file.read_bytes(), forbid_dtd=True)
    except DTDForbidden as error:
        raise DataError(f"{file}: the XML declares a document type; remove the declaration") from error
    except (OSError, ElementTree.ParseError, LookupError, ValueError) as error:
        raise DataError(f"{file}: not XML that can be read ({error})") from error
