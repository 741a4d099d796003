"""Where a person says a model's evidence may lie, where it may not, and how far a region agrees.

A `Prior` belongs to one image and lives on that image's pixel grid; resize the two together. Shapes become pixels in
`wherenot.rasters`, which says exactly how.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from wherenot import rasters

Phi: TypeAlias = Literal["coverage", "iou", "prior_fraction", "min"]


@dataclass(frozen=True, eq=False)
class Prior:
    """A person's statement about one image: evidence may lie here, and may not lie there.

    Evidence may lie on the pixels ``allowed & ~forbidden``: where the two meet, `forbidden` wins. A prior always says
    something that can be met. Not counting ignored pixels: at least one of `allowed` and `forbidden` is given, a given
    one is not empty, and evidence may lie on at least one pixel. Nobody's opinion is None, not a `Prior`.

    Attributes:
        allowed: True where evidence may lie; None = everywhere.
        forbidden: True where evidence may not lie (a *where-not* prior); None = nowhere.
        ignore: True on pixels that count neither as region nor as prior (void borders, crowds); None = none.

    Raises:
        ValueError: If the masks are not boolean, differ in size, or break the rule above.

    Example:
        >>> prior = Prior.from_boxes([[0, 0, 2, 4]], height=4, width=4)
        >>> prior.off_prior(torch.tensor([[0, 0, 1, 1]] * 4), num_regions=2)
        tensor([False,  True])
    """

    allowed: Bool[Tensor, "H W"] | None = None
    forbidden: Bool[Tensor, "H W"] | None = None
    ignore: Bool[Tensor, "H W"] | None = None

    def __post_init__(self) -> None:
        given = {name: grid for name, grid in vars(self).items() if grid is not None}
        if self.allowed is None and self.forbidden is None:
            raise ValueError("Prior: neither allowed nor forbidden is given; where nobody said, pass None as prior.")
        for name, grid in given.items():
            if grid.ndim != 2 or grid.dtype != torch.bool:
                raise ValueError(f"Prior: {name} is {grid.ndim}-D {grid.dtype}; pass a 2-D boolean tensor (x != 0).")
        shapes = {name: tuple(grid.shape) for name, grid in given.items()}
        if len(set(shapes.values())) > 1:
            raise ValueError(f"Prior: the masks differ in size: {shapes}; resize them to one grid first.")
        for name in ("allowed", "forbidden"):
            if name in given and not (given[name] & self._countable()).any():
                where = "outside ignore" if given[name].any() else "at all"
                raise ValueError(
                    f"Prior: an empty prior: {name}, of size {shapes[name]}, has no True pixel {where};"
                    " correct the annotation or leave it out."
                )
        if not (self.evidence_allowed() & self._countable()).any():
            raise ValueError(
                "Prior: forbidden covers every pixel that is allowed and not ignored: evidence may lie nowhere;"
                " make forbidden smaller or allowed larger."
            )

    @classmethod
    def from_mask(cls, inside: Bool[Tensor, "H W"], *, forbidden: bool = False) -> Prior:
        """Make a prior of a mask.

        Args:
            inside: True inside the marked area.
            forbidden: Whether evidence may not lie in the area, instead of only there.

        Returns:
            The prior; it shares the mask's memory and device.

        Raises:
            ValueError: If the mask is empty, or is forbidden and full.

        Example:
            >>> Prior.from_mask(torch.eye(2) > 0, forbidden=True).evidence_allowed()
            tensor([[False,  True],
                    [ True, False]])
        """
        return cls(forbidden=inside) if forbidden else cls(allowed=inside)

    @classmethod
    def from_boxes(
        cls, boxes: Sequence[rasters.Coordinates], height: int, width: int, *, forbidden: bool = False
    ) -> Prior:
        """Make a prior of one or several boxes, united.

        Args:
            boxes: ``[x0, y0, x1, y1]`` each, half-open, in pixels; with fractions, every pixel it touches is inside.
            height: Image height in pixels.
            width: Image width in pixels.
            forbidden: Whether evidence may not lie in the boxes, instead of only there.

        Returns:
            The prior, on the CPU.

        Raises:
            ValueError: If there is no box, or one is not four finite numbers, has no area or leaves the image.

        Example:
            >>> Prior.from_boxes([[0, 0, 2, 1]], height=1, width=3).evidence_allowed()
            tensor([[ True,  True, False]])
        """
        return cls.from_mask(rasters.fill_boxes(boxes, height, width), forbidden=forbidden)

    @classmethod
    def from_polygons(
        cls, polygons: Sequence[rasters.Coordinates], height: int, width: int, *, forbidden: bool = False
    ) -> Prior:
        """Make a prior of one or several polygons, united; a pixel is inside one when its centre is (even-odd rule).

        Args:
            polygons: ``[x, y, x, y, ...]`` each, in pixels, three or more points.
            height: Image height in pixels.
            width: Image width in pixels.
            forbidden: Whether evidence may not lie in the polygons, instead of only there.

        Returns:
            The prior, on the CPU.

        Raises:
            ValueError: If a polygon is not pairs of finite numbers, has fewer than three points or leaves the image,
                or if all together hold no pixel centre.

        Example:
            >>> Prior.from_polygons([[0, 0, 2, 0, 0, 2]], height=2, width=2).evidence_allowed()
            tensor([[ True, False],
                    [False, False]])
        """
        return cls.from_mask(rasters.fill_polygons(polygons, height, width), forbidden=forbidden)

    @classmethod
    def from_rle(cls, rle: Mapping[str, Any], *, forbidden: bool = False) -> Prior:
        """Make a prior of a COCO run-length encoding.

        Args:
            rle: ``{"size": [height, width], "counts": ...}``, the counts column by column and starting outside, as a
                list of integers or as COCO's compressed string.
            forbidden: Whether evidence may not lie in the area, instead of only there.

        Returns:
            The prior, on the CPU.

        Raises:
            ValueError: If it is malformed or does not fill height x width, or the area is empty.

        Example:
            >>> Prior.from_rle({"size": [1, 4], "counts": [1, 2, 1]}).evidence_allowed()
            tensor([[False,  True,  True, False]])
        """
        return cls.from_mask(rasters.decode_rle(rle), forbidden=forbidden)

    @classmethod
    def from_click(
        cls, x: float | int, y: float | int, height: int, width: int, radius_px: float | int, *, forbidden: bool = False
    ) -> Prior:
        """Make a prior of one click: the disc around it, cut off at the image border.

        Args:
            x: Position in pixels, in [0, width).
            y: Position in pixels, in [0, height).
            height: Image height in pixels.
            width: Image width in pixels.
            radius_px: How far the centre of a pixel may be from the click; the clicked pixel is always inside.
            forbidden: Whether evidence may not lie in the disc, instead of only there.

        Returns:
            The prior, on the CPU.

        Raises:
            ValueError: If the click is outside the image, or the radius is negative or not finite.

        Example:
            >>> Prior.from_click(1.5, 0.5, height=1, width=4, radius_px=1).evidence_allowed()
            tensor([[ True,  True,  True, False]])
        """
        return cls.from_mask(rasters.fill_disc(x, y, height, width, radius_px), forbidden=forbidden)

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the grid, in pixels."""
        height, width = self.evidence_allowed().shape
        return height, width

    @property
    def device(self) -> torch.device:
        """Where the masks live."""
        return self.evidence_allowed().device

    def __or__(self, other: Prior) -> Prior:
        """Unite what two priors of one image say, mask by mask; a mask that one does not give is the other's."""
        if self.shape != other.shape:
            raise ValueError(f"Prior: cannot unite sizes {self.shape} and {other.shape}; resize one of them first.")
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        return Prior(*(_either(one, another) for one, another in pairs))

    def with_forbidden(self, forbidden: Bool[Tensor, "H W"]) -> Prior:
        """Forbid an area as well.

        Args:
            forbidden: True where evidence may not lie, united with what was forbidden before.

        Returns:
            A new prior.

        Raises:
            ValueError: If the area is empty, has another size, or leaves evidence nowhere to lie.

        Example:
            >>> prior = Prior.from_boxes([[0, 0, 2, 1]], height=1, width=3)
            >>> prior.with_forbidden(torch.tensor([[True, False, False]])).evidence_allowed()
            tensor([[False,  True, False]])
        """
        return self | Prior(forbidden=forbidden)

    def with_ignore(self, ignore: Bool[Tensor, "H W"]) -> Prior:
        """Leave pixels out of every count as well.

        Args:
            ignore: True on pixels to leave out, united with those left out before; may be empty.

        Returns:
            A new prior.

        Raises:
            ValueError: If the size differs, or nothing that is allowed or forbidden is left.

        Example:
            >>> prior = Prior.from_boxes([[0, 0, 2, 1]], height=1, width=3)
            >>> prior = prior.with_ignore(torch.tensor([[False, True, True]]))
            >>> prior.overlap(torch.tensor([[0, 0, 1]]), num_regions=2)  # region 1 has no countable pixel
            tensor([1., 0.], dtype=torch.float64)
        """
        if tuple(ignore.shape) != self.shape:
            sizes = f"{tuple(ignore.shape)}, the prior {self.shape}"
            raise ValueError(f"Prior.with_ignore: ignore is {sizes}; resize one of them first.")
        return replace(self, ignore=_either(self.ignore, ignore))

    def to(self, device: torch.device | str) -> Prior:
        """Move all masks to a device.

        Args:
            device: Where to.

        Returns:
            A new prior; masks already there are shared.
        """
        return Prior(**{name: None if grid is None else grid.to(device) for name, grid in vars(self).items()})

    def resize(self, height: int, width: int) -> Prior:
        r"""Bring the prior to another grid by nearest neighbour; it never becomes empty.

        Output row $i$ reads input row $\lfloor (i + 1/2) H / h \rfloor$, columns likewise: the centre-sampling
        convention of Pillow's ``NEAREST`` and torch's ``nearest-exact``, here in exact integers. Thin marks can fall
        between the samples. If evidence could then lie nowhere, each output pixel that touches an input pixel where it
        may lie is allowed, not forbidden and not ignored. If nothing would be forbidden any more, each output pixel
        that touches a forbidden one is, as far as evidence still finds a place.

        Args:
            height: New height in pixels.
            width: New width in pixels.

        Returns:
            A new prior.

        Raises:
            ValueError: If a side is below 1, or the grid is too coarse to hold an allowed and a forbidden pixel.

        Example:
            >>> column = Prior.from_boxes([[0, 0, 1, 4]], height=4, width=4)
            >>> column.resize(2, 2).evidence_allowed()  # the samples are columns 1 and 3
            tensor([[ True, False],
                    [ True, False]])
        """
        size = rasters.checked_size("Prior.resize", height, width)
        off = torch.zeros(size, dtype=torch.bool, device=self.device)
        allowed = ~off if self.allowed is None else rasters.sample_nearest(self.allowed, size)
        forbidden = off if self.forbidden is None else rasters.sample_nearest(self.forbidden, size)
        ignore = off if self.ignore is None else rasters.sample_nearest(self.ignore, size)
        if not (allowed & ~forbidden & ~ignore).any():
            touched = rasters.any_touched(self.evidence_allowed() & self._countable(), size)
            allowed, forbidden, ignore = allowed | touched, forbidden & ~touched, ignore & ~touched
        if self.forbidden is not None and not (forbidden & ~ignore).any():
            evidence, touched = allowed & ~forbidden, rasters.any_touched(self.forbidden & self._countable(), size)
            if not (evidence & ~ignore & ~touched).any():
                touched &= ~evidence
            if not touched.any():
                raise ValueError(
                    f"Prior.resize: {height} x {width} is too coarse to hold both an allowed and a forbidden pixel;"
                    " resize to a finer grid."
                )
            forbidden, ignore = forbidden | touched, ignore & ~touched
        return Prior(
            None if self.allowed is None else allowed,
            None if self.forbidden is None else forbidden,
            None if self.ignore is None else ignore,
        )

    def dilate(self, radius_px: int) -> Prior:
        """Let evidence lie a little around the allowed area.

        Grows `allowed` by a square of side ``2 * radius_px + 1`` (3 x 3 for radius 1: all eight neighbours), cut off
        at the border. `forbidden` and `ignore` stay and still win. Without `allowed` there is nothing to grow: evidence
        may lie everywhere already, and the prior comes back as it is.

        Args:
            radius_px: How far to grow, from 0.

        Returns:
            A new prior.

        Raises:
            ValueError: If the radius is negative.

        Example:
            >>> Prior.from_boxes([[0, 0, 1, 1]], height=1, width=3).dilate(1).evidence_allowed()
            tensor([[ True,  True, False]])
        """
        if radius_px < 0:
            raise ValueError(f"Prior.dilate: radius_px is {radius_px}; pass a whole number of pixels >= 0.")
        if self.allowed is None:
            return self
        height, width = self.shape
        down, right = min(radius_px, height), min(radius_px, width)
        grown = self.allowed.float()[None]
        grown = F.max_pool2d(grown, (2 * down + 1, 1), stride=1, padding=(down, 0))
        grown = F.max_pool2d(grown, (1, 2 * right + 1), stride=1, padding=(0, right))
        return replace(self, allowed=grown[0] > 0)

    def overlap(self, labels: Int[Tensor, "H W"], num_regions: int, phi: Phi = "coverage") -> Float[Tensor, " K"]:
        r"""How far each region lies inside the allowed area.

        With $v$ a region and $H$ the allowed area, both without ignored pixels:

        - coverage $|v \cap H| / |v|$: 1 = the region lies inside.
        - prior_fraction $|v \cap H| / |H|$: 1 = the region holds the whole area.
        - iou $|v \cap H| / |v \cup H|$: 1 = the two are the same.
        - min $|v \cap H| / \min(|v|, |H|)$: 1 = one holds the other.

        Args:
            labels: The region of each pixel, 0..K-1, on the grid and device of the prior.
            num_regions: K; may exceed the labels in use.
            phi: Which of the four.

        Returns:
            One value in [0, 1] per region: a quotient of pixel counts in float64, on the device of the masks. 0 for a
            region without a countable pixel. Without `allowed`, 1 for all others, whatever `phi`.

        Raises:
            ValueError: If the grid or device differs from the prior's, or a label is outside 0..K-1.

        Example:
            >>> prior = Prior.from_boxes([[0, 0, 1, 2]], height=2, width=3)
            >>> prior.overlap(torch.tensor([[0, 0, 1], [0, 0, 1]]), num_regions=2)
            tensor([0.5000, 0.0000], dtype=torch.float64)

        References:
            "Where Not to Learn", arXiv 2602.07008: phi of eq. 3 and 4, given there as "IoU or mask coverage"; the
            authors' code takes coverage. prior_fraction and min are ours.
        """
        area = self._areas(labels, num_regions)
        if self.allowed is None:
            return (area > 0).double()
        return self._phi(self.allowed, area, labels, phi, epsilon=0.0)

    def off_prior(
        self,
        labels: Int[Tensor, "H W"],
        num_regions: int,
        *,
        phi: Phi = "coverage",
        tau: float | int = 0.15,
        strict: bool = False,
    ) -> Bool[Tensor, " K"]:
        r"""Which regions evidence should not rest on: $\phi(v, allowed) < \tau$ or $\phi(v, forbidden) \ge \tau$.

        Args:
            labels: The region of each pixel, 0..K-1, on the grid and device of the prior.
            num_regions: K; may exceed the labels in use.
            phi: See `overlap`.
            tau: The threshold, in (0, 1]; an exact tie, as 3/20 with .15, reaches it.
            strict: Whether a region must exceed `tau` to reach it, with 1e-6 added to the denominator: the rule of the
                authors' older scripts, where the tie does not reach. `tau` is then in [0, 1).

        Returns:
            True where a region is off-prior; never for a region without a countable pixel.

        Raises:
            ValueError: If `tau` is outside its range, or as `overlap` does.

        Example:
            >>> prior = Prior.from_boxes([[0, 0, 1, 2]], height=2, width=3)
            >>> prior.off_prior(torch.tensor([[0, 0, 1], [0, 0, 1]]), num_regions=2)
            tensor([False,  True])

        References:
            "Where Not to Learn", arXiv 2602.07008: the indicator of eq. 3 and 4. The paper gives no tau; .15 and
            ``>=`` are the authors' code's. The rule for `forbidden` is ours.
        """
        if not (0 <= tau < 1 if strict else 0 < tau <= 1):
            raise ValueError(f"Prior.off_prior: tau is {tau}; pass a value in {'[0, 1)' if strict else '(0, 1]'}.")
        reaches, epsilon = (torch.gt, 1e-6) if strict else (torch.ge, 0.0)
        area = self._areas(labels, num_regions)
        off = torch.zeros_like(area, dtype=torch.bool)
        if self.allowed is not None:
            off |= ~reaches(self._phi(self.allowed, area, labels, phi, epsilon), tau)
        if self.forbidden is not None:
            off |= reaches(self._phi(self.forbidden, area, labels, phi, epsilon), tau)
        return off & (area > 0)

    def evidence_allowed(self) -> Bool[Tensor, "H W"]:
        """Pixels where evidence may lie: ``allowed & ~forbidden``. `ignore` plays no part.

        Returns:
            True where evidence may lie, on the device of the masks.

        Example:
            >>> Prior.from_boxes([[0, 0, 1, 1]], height=1, width=2, forbidden=True).evidence_allowed()
            tensor([[False,  True]])
        """
        if self.forbidden is None:
            assert self.allowed is not None
            return self.allowed
        return ~self.forbidden if self.allowed is None else self.allowed & ~self.forbidden

    def _countable(self) -> Tensor:
        return torch.ones_like(self.evidence_allowed()) if self.ignore is None else ~self.ignore

    def _areas(self, labels: Tensor, num_regions: int) -> Tensor:
        if tuple(labels.shape) != self.shape or labels.device != self.device:
            found = f"{tuple(labels.shape)} on {labels.device}, the prior {self.shape} on {self.device}"
            raise ValueError(f"Prior: the labels are {found}; resize or move the prior first.")
        if labels.min() < 0 or labels.max() >= num_regions:
            found = f"from {labels.min()} to {labels.max()}, num_regions is {num_regions}"
            raise ValueError(f"Prior: the labels run {found}; number the regions 0..num_regions-1.")
        return torch.bincount(labels[self._countable()].long(), minlength=num_regions)

    def _phi(self, prior: Tensor, area: Tensor, labels: Tensor, phi: Phi, epsilon: float) -> Tensor:
        # Pixel counts are exact, and a float64 quotient of two integers is the double nearest to it, as the literal of
        # `tau` is: equal fractions compare equal, whatever precision the caller computes in.
        prior = prior & self._countable()
        inside = torch.bincount(labels[prior].long(), minlength=len(area))
        size = prior.sum()
        denominator = {
            "coverage": area,
            "iou": area + size - inside,
            "prior_fraction": size.expand_as(area),
            "min": area.minimum(size),
        }[phi]
        value = inside.double() / (denominator.double() + epsilon)
        return torch.where(area > 0, value, torch.zeros_like(value))


def allowed_pixels(priors: Sequence[Prior | None], height: int, width: int) -> Bool[Tensor, "B H W"]:
    """Stack where evidence may lie for a batch.

    Args:
        priors: One per image; None = nobody said anything, so evidence may lie everywhere.
        height: Height of the images in pixels.
        width: Width of the images in pixels.

    Returns:
        `Prior.evidence_allowed` of each, all True for None, on the device of the first prior (CPU if there is none).

    Raises:
        ValueError: If a prior has another size than the images.

    Example:
        >>> allowed_pixels([None, Prior.from_boxes([[0, 0, 1, 1]], 1, 2)], height=1, width=2)
        tensor([[[ True,  True]],
                [[ True, False]]])
    """
    wrong = {
        index: prior.shape for index, prior in enumerate(priors) if prior is not None and prior.shape != (height, width)
    }
    if wrong:
        raise ValueError(f"allowed_pixels: priors of size {wrong}, images of {(height, width)}; resize them first.")
    device = next((prior.device for prior in priors if prior is not None), None)
    everywhere = torch.ones(height, width, dtype=torch.bool, device=device)
    allowed = [everywhere if prior is None else prior.evidence_allowed() for prior in priors]
    return torch.stack(allowed) if allowed else everywhere.new_empty(0, height, width)


def _either(one: Tensor | None, other: Tensor | None) -> Tensor | None:
    if one is None or other is None:
        return other if one is None else one
    return one | other
