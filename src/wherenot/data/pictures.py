"""Reads files of pixels that may hold anything: what cannot be read, or is too large, is an error that names it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from jaxtyping import Bool
from PIL import Image, ImageOps

from wherenot.data.samples import DataError

# Whatever a file is called, Pillow goes by what it holds, and for some formats runs programs (Ghostscript for EPS).
FORMATS = ("BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
ORIENTATION = 0x0112  # EXIF; 5 to 8 are turned by a quarter


@contextmanager
def opened(path: Path, what: str = "not an image that can be read", remedy: str = "") -> Iterator[Image.Image]:
    """Open an image of one of `FORMATS`, and turn whatever goes wrong with it into a complaint that names the file.

    Args:
        path: The file.
        what: What cannot be done, for the message.
        remedy: What to do, for its end.

    Yields:
        The image; of one that moves, the first frame.

    Raises:
        DataError: If there is no such file, it is no such image, it has more than ``PIL.Image.MAX_IMAGE_PIXELS``
            pixels (a file of some kilobytes can unfold to gigabytes), or the body fails.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    try:
        with Image.open(path, formats=FORMATS) as image:
            _refuse_bombs(path, image.height, image.width)
            yield image
    except DataError:
        raise
    except Exception as error:  # a decoder that meets nonsense raises anything
        raise DataError(f"{path}: {what} ({error}){remedy}") from error


def image_size(path: Path) -> tuple[int, int]:
    """Read an image's header.

    Args:
        path: The file.

    Returns:
        Height and width in pixels, upright as EXIF says: what `read_image` will give.

    Raises:
        DataError: If there is no such file, its header cannot be read, or it has too many pixels or more than 8 bits
            per channel.
    """
    with opened(path) as image:
        if image.mode.startswith(("I", "F")):
            raise DataError(f"{path}: mode {image.mode} has more than 8 bits per channel; convert it to 8")
        # Asking a PNG for EXIF data that come last would decode its pixels.
        asked = image.format != "PNG" or "exif" in image.info
        quarter_turn = asked and image.getexif().get(ORIENTATION, 1) in (5, 6, 7, 8)
        return (image.width, image.height) if quarter_turn else (image.height, image.width)


def read_image(path: Path, size: tuple[int, int]) -> Image.Image:
    """Read an image, turned upright as EXIF says; transparency is dropped.

    Args:
        path: The file.
        size: Height and width that its annotation was checked against.

    Returns:
        The image as RGB.

    Raises:
        DataError: If the pixels cannot be decoded, as in a truncated file, or have another size.
    """
    with opened(path, "the pixels cannot be decoded", "; replace the file") as image:
        upright = ImageOps.exif_transpose(image)
        upright = upright.convert("RGBA") if upright.has_transparency_data else upright
        rgb = upright.convert("RGB")
    if (rgb.height, rgb.width) != size:
        raise DataError(f"{path}: {rgb.height} x {rgb.width} pixels, was {size[0]} x {size[1]}; read the data again")
    return rgb


def read_mask(path: Path) -> Bool[np.ndarray, "H W"]:
    """Read a mask: True where the file is not zero.

    Args:
        path: A lossless image of one channel (mode 1, L, P or 16 bit), where a palette's index counts, or a 2-D .npy.

    Returns:
        The mask.

    Raises:
        DataError: If there is no such file, it is not such a mask, or it has too many pixels.
    """
    if path.suffix.lower() == ".npy":
        values = _read_array(path)
    else:
        with opened(path, "not a mask that can be read") as image:
            if image.format == "JPEG":
                raise DataError(f"{path}: JPEG blurs zero and non-zero; save masks as PNG")
            if image.mode not in ("1", "L", "P", "I", "I;16"):
                raise DataError(f"{path}: a mask of mode {image.mode}; save it with one channel (1, L or P)")
            values = np.asarray(image)
    if values.ndim != 2 or values.dtype.kind not in "biuf" or np.isnan(values).any():
        raise DataError(f"{path}: {values.dtype} of shape {values.shape}; a mask is 2-D and numeric, without NaN")
    return values != 0


def _read_array(path: Path) -> np.ndarray:
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    try:
        # Mapped, the file has to be as long as its header says, and nothing is read before the size is known.
        values = np.lib.format.open_memmap(path, mode="r")
        if values.ndim == 2:
            _refuse_bombs(path, *values.shape)
        return np.array(values)
    except DataError:
        raise
    except Exception as error:  # numpy parses the header as Python, which raises anything
        raise DataError(f"{path}: not a mask that can be read ({error})") from error


def _refuse_bombs(path: Path, height: int, width: int) -> None:
    most = Image.MAX_IMAGE_PIXELS
    if most is not None and height * width > most:
        raise DataError(
            f"{path}: {height} x {width} pixels are more than {most}; shrink the image, or raise"
            " PIL.Image.MAX_IMAGE_PIXELS if you trust it"
        )
