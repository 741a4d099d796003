"""The result of explaining one decision."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from wherenot.objective import FourTermObjective, Objective

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_ARRAYS = {"order": np.int64, "insertion": np.float64, "deletion": np.float64, "values": np.float64}


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Which regions of one image carry the decision for one target, most important first.

    Attributes:
        labels: The partition: a region index per pixel.
        order: Region indices by rank; may cover only the first few regions.
        insertion: p(target | the first r + 1 regions alone), in [0, 1].
        deletion: p(target | everything except them), in [0, 1].
        values: The objective of each prefix.
        empty: p(target | nothing visible).
        full: p(target | the whole image).
        empty_value: The objective of the empty set, a p(empty) + b (1 - p(full)).
        full_value: The objective of all regions.
        target: The class explained.
        objective: The set function that ranked the regions.
        forwards: Masked images the model was shown for this result, the empty and the full one included.
        search: Name of the search.
        fill: Name of what hidden pixels showed.

    Example:
        >>> import numpy as np
        >>> evidence = Evidence(
        ...     labels=np.array([[0, 1, 1]]), order=np.array([1, 0]), insertion=np.array([0.8, 0.9]),
        ...     deletion=np.array([0.2, 0.1]), values=np.array([1.6, 1.8]), empty=0.1, full=0.9,
        ...     empty_value=0.2, full_value=1.8, target=3, objective=Objective(), forwards=8,
        ...     search="exact", fill="mean")
        >>> evidence.gains.round(2).tolist()
        [1.4, 0.2]
        >>> evidence.map().tolist()
        [[0.0, 1.0, 1.0]]
    """

    labels: Int[np.ndarray, "H W"]
    order: Int[np.ndarray, " R"]
    insertion: Float[np.ndarray, " R"]
    deletion: Float[np.ndarray, " R"]
    values: Float[np.ndarray, " R"]
    empty: float
    full: float
    empty_value: float
    full_value: float
    target: int
    objective: Objective | FourTermObjective
    forwards: int
    search: str
    fill: str

    @property
    def num_regions(self) -> int:
        """Regions of the partition, ranked or not."""
        return int(self.labels.max()) + 1

    @property
    def complete(self) -> bool:
        """Whether every region has its place in the order; a search that stopped early leaves some without."""
        return len(self.order) == self.num_regions

    @property
    def gains(self) -> Float[np.ndarray, " R"]:
        """What each region added to the objective, the first over the empty set; may be negative."""
        return np.diff(self.values, prepend=self.empty_value)

    @property
    def areas(self) -> Float[np.ndarray, " R"]:
        """Share of the image that each prefix covers, in (0, 1], rising."""
        pixels = np.bincount(self.labels.ravel(), minlength=self.num_regions)
        return np.cumsum(pixels[self.order]) / self.labels.size

    @property
    def top_region(self) -> Bool[np.ndarray, "H W"]:
        """True on the most important region."""
        return self.labels == self.order[0]

    def prefix(self, rank: int) -> Bool[np.ndarray, "H W"]:
        """True on the first `rank` regions."""
        return np.isin(self.labels, self.order[:rank])

    def map(self) -> Float[np.ndarray, "H W"]:
        r"""Evidence per pixel, constant within a region: 1 for the first region, falling with rank, at least 0.

        A region's value lies $|F_r - F_{r-1}|$ below that of the region before it; the map is then stretched to
        [0, 1]. Pixels that the order does not cover count as one last region and get the minimum. A map without any
        spread (all steps 0) is 1 on the first region and 0 elsewhere.

        References:
            `add_value` of the authors' code, with two faults mended: its base is F(empty) for a = b = 1 only, and it
            leaves uncovered pixels at 0, which is the *largest* value before stretching.
        """
        ranked = -np.cumsum(np.abs(self.gains))
        uncovered = ranked[-1] - abs(self.full_value - self.values[-1])
        by_region = np.full(self.num_regions, uncovered)
        by_region[self.order] = ranked
        spread = by_region.max() - by_region.min()
        if spread == 0:
            return self.top_region.astype(np.float64)
        return ((by_region - by_region.min()) / spread)[self.labels]

    def save(self, path: Path) -> None:
        """Write the label map to ``path`` with suffix .npz and everything else beside it as .json, each in one piece.

        Raises:
            OSError: If the place cannot be written.
        """
        path = Path(path)
        facts = {name: value for name, value in asdict(self).items() if name != "labels"}
        facts |= {name: facts[name].tolist() for name in _ARRAYS}
        partial = path.with_suffix(".npz.part")
        with partial.open("wb") as file:
            np.savez_compressed(file, labels=self.labels)
        partial.replace(path.with_suffix(".npz"))
        partial = path.with_suffix(".json.part")
        partial.write_text(json.dumps(facts, indent=1) + "\n")
        partial.replace(path.with_suffix(".json"))

    @classmethod
    def load(cls, path: Path) -> Evidence:
        """Read what `save` wrote.

        Raises:
            ValueError: If a file is missing or is not evidence, naming it.
        """
        path = Path(path)
        try:
            with np.load(path.with_suffix(".npz"), allow_pickle=False) as arrays:
                labels = arrays["labels"]
            facts = json.loads(path.with_suffix(".json").read_text())
            facts |= {name: np.array(facts[name], dtype=dtype) for name, dtype in _ARRAYS.items()}
            kind = FourTermObjective if "consistency" in facts["objective"] else Objective
            return cls(labels=labels, **{**facts, "objective": kind(**facts["objective"])})
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"Evidence.load: {path} holds no evidence that can be read ({error}).") from error

    def plot(self, image: UInt8[np.ndarray, "H W 3"], allowed: Bool[np.ndarray, "H W"] | None = None) -> Figure:
        """Draw the image, the map over it and the first regions by rank; nothing is shown, the figure is returned."""
        from wherenot.report import evidence_figure

        return evidence_figure(image, self.map(), allowed, labels=self.labels, order=self.order.tolist())

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        from wherenot.report.notebook import evidence_html

        return evidence_html(self)


def attribution_arrays(
    found: Sequence[Evidence], *, of: Literal["map", "gain"] = "map", channels: int = 1
) -> Float[np.ndarray, "B C H W"]:
    """Evidence as other libraries take attributions: one array, channels first, pixels of a region all alike.

    ``map`` is `Evidence.map`: unsigned, 1 on the strongest region of each image, 0 on the weakest. ``gain`` has the
    sign: what the region added to the objective, in its units (of p(target), within -(a + b) and a + b), positive where
    it speaks for the target; 0 on regions that the order leaves out. It is given to every pixel of the region, not
    divided among them, as Captum's methods with a `feature_mask` do.

    Args:
        found: Evidence for images of one size.
        of: What a pixel's value is.
        channels: 1, which Quantus takes beside images of 3, or as many as the image has, as Captum's methods give; the
            copies are equal.

    Returns:
        float32, in the order of `found`. For Quantus' ``a_batch`` as it is, beside ``x_batch`` of the same height and
        width; ``torch.from_numpy`` makes of it what Captum's ``attribute`` returns.

    Raises:
        ValueError: If there is none, sizes differ, or there is no channel.

    Example:
        >>> evidence = Evidence(
        ...     labels=np.array([[0, 1, 2]]), order=np.array([1, 0]), insertion=np.array([0.8, 0.7]),
        ...     deletion=np.array([0.2, 0.2]), values=np.array([1.5, 1.25]), empty=0.1, full=0.9,
        ...     empty_value=0.5, full_value=1.75, target=3, objective=Objective(), forwards=8,
        ...     search="exact", fill="mean")
        >>> attribution_arrays([evidence], of="gain")
        array([[[[-0.25,  1.  ,  0.  ]]]], dtype=float32)

    References:
        Quantus (Hedstroem et al., JMLR 2023) wants as many dimensions as ``x_batch`` has, and refuses arrays that are 0
        or 1 everywhere; Captum (Kokhlikyan et al., 2020).
    """
    shapes = {evidence.labels.shape for evidence in found}
    if len(shapes) != 1 or channels < 1:
        raise ValueError(
            f"attribution_arrays: {len(found)} images of sizes {sorted(shapes)} and {channels} channels; pass at least "
            "one image, all of one size, and at least one channel."
        )
    planes = [evidence.map() if of == "map" else _gains_on_pixels(evidence) for evidence in found]
    return np.repeat(np.stack(planes).astype(np.float32)[:, None], channels, axis=1)


def _gains_on_pixels(evidence: Evidence) -> Float[np.ndarray, "H W"]:
    by_region = np.zeros(evidence.num_regions)
    by_region[evidence.order] = evidence.gains
    return by_region[evidence.labels]
