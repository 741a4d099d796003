"""The small pictures of the gallery: image, evidence and outlines as layers that a page puts on top of each other."""

from __future__ import annotations

import base64
import io
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from PIL import Image

from wherenot.report.stored import StoredEvidence

if TYPE_CHECKING:
    from matplotlib.colors import ListedColormap

SIDE_PX = 224
SCREEN_PX = 480
TINY_PX = 64

_COLORS = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class Tile:
    """The layers of one picture, all on one pixel grid.

    Attributes:
        image: Data URI of the image as the model saw it.
        evidence: Data URI of the map, transparent where the evidence is weak.
        prior: SVG path around the prior; empty where it covers all or nothing.
        forbidden: SVG path around what a person forbade.
        top_region: SVG path around the region the search took first.
        elements: SVG path around the elements of a screenshot; empty where none are known.
        is_tiny: Whether single pixels should stay visible.
    """

    width: int
    height: int
    image: str
    evidence: str
    prior: str
    forbidden: str
    top_region: str
    elements: str
    is_tiny: bool

    def star(self, place: tuple[float, float]) -> str:
        """SVG path of a star where an agent clicked.

        Args:
            place: x and y in [0, 1] of the picture.
        """
        return star_path(place[0] * self.width, place[1] * self.height, max(5.0, 0.045 * max(self.width, self.height)))


def draw_tile(stored: StoredEvidence, side: int = SIDE_PX) -> Tile:
    """Turn the arrays of one image into layers, at most `side` long; smaller images keep their size.

    Args:
        stored: The arrays of one image.
        side: In pixels; `SCREEN_PX` for screenshots, whose words should stay legible.

    Returns:
        The layers. Images up to `TINY_PX` are stored without loss, larger ones as WebP.
    """
    height, width = stored.map.shape
    scale = min(1.0, side / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    is_tiny = max(size) <= TINY_PX
    return Tile(
        width=size[0],
        height=size[1],
        image=image_uri(stored.image, size, lossless=is_tiny),
        evidence=_map_uri(stored.map, size),
        prior=outline_path(resized(stored.allowed, size)),
        forbidden=outline_path(resized(stored.forbidden, size)),
        top_region=outline_path(resized(stored.top_region, size)),
        elements=boxes_path(stored.elements * np.float32(scale)),
        is_tiny=is_tiny,
    )


def outline_segments(inside: Bool[np.ndarray, "H W"]) -> Int[np.ndarray, "edges 4"]:
    """Trace the pixel edges between inside and outside.

    Args:
        inside: True on the area to outline; beyond the image is outside.

    Returns:
        One row per straight edge, `x0, y0, x1, y1` in pixel corners: 0..W and 0..H. Empty where the area covers
        the whole image or nothing of it, since then there is no border to show.

    Example:
        >>> outline_segments(np.array([[True, True], [False, False]])).tolist()
        [[0, 0, 2, 0], [0, 1, 2, 1], [0, 0, 0, 1], [2, 0, 2, 1]]
    """
    if inside.all() or not inside.any():
        return np.zeros((0, 4), dtype=np.int64)
    padded = np.pad(inside, 1)
    across = _runs_along_rows(padded[1:, 1:-1] != padded[:-1, 1:-1])
    down = _runs_along_rows((padded[1:-1, 1:] != padded[1:-1, :-1]).T)[:, [1, 0, 3, 2]]
    return np.concatenate([across, down])


def outline_path(inside: Bool[np.ndarray, "H W"]) -> str:
    """Write an outline as an SVG path.

    Args:
        inside: True on the area to outline.

    Returns:
        The `d` attribute; empty where there is no border to show.

    Example:
        >>> outline_path(np.array([[True, True], [False, False]]))
        'M0 0H2M0 1H2M0 0V1M2 0V1'
    """
    return "".join(
        f"M{x0} {y0}H{x1}" if y0 == y1 else f"M{x0} {y0}V{y1}" for x0, y0, x1, y1 in outline_segments(inside)
    )


def boxes_path(boxes: Float[np.ndarray, "E 4"]) -> str:
    """Write boxes as one SVG path.

    Args:
        boxes: xyxy.

    Returns:
        The `d` attribute; empty without boxes.

    Example:
        >>> boxes_path(np.array([[1.0, 2.0, 5.0, 8.25]]))
        'M1 2H5V8.2H1Z'
    """
    edges = ([f"{edge:.1f}".removesuffix(".0") for edge in box] for box in boxes.tolist())
    return "".join(f"M{x0} {y0}H{x1}V{y1}H{x0}Z" for x0, y0, x1, y1 in edges)


def star_path(x: float, y: float, radius: float) -> str:
    """Write a five-pointed star as an SVG path.

    Args:
        x: Of its middle.
        y: Of its middle.
        radius: Of its points.

    Returns:
        The `d` attribute.

    Example:
        >>> star_path(10.0, 20.0, 8.0).startswith("M10.0 12.0L")
        True
    """
    corners = []
    for corner in range(10):
        reach = radius if corner % 2 == 0 else 0.45 * radius
        angle = math.pi * corner / 5
        corners.append(f"{x + reach * math.sin(angle):.1f} {y - reach * math.cos(angle):.1f}")
    return f"M{'L'.join(corners)}Z"


def evidence_colormap() -> ListedColormap:
    """Return the one colour scale for evidence: 0 is transparent, 1 is bright; the same in every picture.

    Returns:
        Colours that differ in lightness, so that they can be told apart without colour vision.
    """
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap

    value = np.linspace(0, 1, _COLORS)
    colors = colormaps["inferno"](0.25 + 0.72 * value)
    colors[:, 3] = 0.8 * value**0.7
    return ListedColormap(colors, name="evidence")


def css_gradient() -> str:
    """Write the colour scale as a CSS gradient from 0 (left) to 1 (right).

    Returns:
        A value for `background-image`.
    """
    stops = color_table()[:: _COLORS // 16]
    colors = [f"rgba({r},{g},{b},{a / 255:.2f})" for r, g, b, a in stops.tolist()]
    return f"linear-gradient(to right,{','.join(colors)})"


def data_uri(data: bytes, mime: str) -> str:
    """Write bytes so that a page can hold them.

    Args:
        data: File content.
        mime: Its type, such as `image/png`.

    Returns:
        A `data:` URI.

    Example:
        >>> data_uri(b"hi", "text/plain")
        'data:text/plain;base64,aGk='
    """
    return f"data:{mime};base64,{base64.b64encode(data).decode('ascii')}"


def _runs_along_rows(edge: Bool[np.ndarray, "rows columns"]) -> Int[np.ndarray, "edges 4"]:
    """Join neighbouring edges of a row: one `x0, y, x1, y` per run."""
    steps = np.diff(np.pad(edge, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    rows, starts = np.nonzero(steps == 1)
    ends = np.nonzero(steps == -1)[1]
    return np.stack([starts, rows, ends, rows], axis=1)


def image_uri(image: UInt8[np.ndarray, "H W 3"], size: tuple[int, int], *, lossless: bool) -> str:
    """Encode an image at a size, as PNG if nothing may be lost, or else as WebP.

    Args:
        image: RGB.
        size: Width and height.
        lossless: Whether every pixel must stay as it is.

    Returns:
        A `data:` URI.
    """
    picture = Image.fromarray(np.ascontiguousarray(image))
    if picture.size != size:
        picture = picture.resize(size, Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    if lossless:
        picture.save(buffer, "PNG", optimize=True)
        return data_uri(buffer.getvalue(), "image/png")
    picture.save(buffer, "WEBP", quality=82, method=4)
    return data_uri(buffer.getvalue(), "image/webp")


def _map_uri(values: Float[np.ndarray, "H W"], size: tuple[int, int]) -> str:
    """Encode a map with the shared colour scale; values outside [0, 1] are clipped, NaN counts as 0."""
    levels = np.rint(np.clip(np.nan_to_num(values), 0, 1) * (_COLORS - 1)).astype(np.uint8)
    picture = Image.fromarray(levels).resize(size, Image.Resampling.NEAREST)
    colors = color_table()
    picture.putpalette(colors[:, :3].tobytes())
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True, transparency=colors[:, 3].tobytes())
    return data_uri(buffer.getvalue(), "image/png")


def color_table() -> UInt8[np.ndarray, "colors 4"]:
    """Return the colour scale as bytes, from no evidence to the strongest.

    Returns:
        Red, green, blue and opacity of each step.
    """
    return np.rint(255 * np.asarray(evidence_colormap()(np.arange(_COLORS)))).astype(np.uint8)


def resized(inside: Bool[np.ndarray, "H W"], size: tuple[int, int]) -> Bool[np.ndarray, "h w"]:
    """Bring an area to another size by nearest neighbour.

    Args:
        inside: True on the area.
        size: Width and height.

    Returns:
        The area at that size; the same array if it has it already.
    """
    if inside.shape == size[::-1]:
        return inside
    return np.asarray(Image.fromarray(inside).resize(size, Image.Resampling.NEAREST))
