"""The words of an answer, by how much of their probability they owe the image."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from wherenot.generation_evidence import GenerationEvidence
from wherenot.tokens import SENSITIVE


@dataclass(frozen=True, kw_only=True, slots=True)
class Word:
    """A token of an answer.

    Attributes:
        text: As it stands in the answer; joined they are the answer.
        full: Its probability given the image; None for a token that was not explained.
        empty: Given nothing of it.
    """

    text: str
    full: float | None = None
    empty: float | None = None

    @property
    def fall(self) -> float:
        """Probability lost when the image is hidden, in [0, 1]; 0 where it rises, or was not read."""
        return 0.0 if self.full is None or self.empty is None else max(0.0, self.full - self.empty)

    @property
    def is_sensitive(self) -> bool:
        """Whether it needs the image, as `GenerationEvidence.sensitive` has it."""
        return self.fall > SENSITIVE


@dataclass(frozen=True, kw_only=True, slots=True)
class SpokenCurves:
    """What the words of an answer are worth along the order of the regions, in per cent.

    Attributes:
        pieces: The text of each token; joined they are the answer.
        chosen: Places of the tokens that were explained.
        shown: Probability of each of them given nothing, the first region alone, the first two, and so on; row by row.
        rest: The same given everything, everything but the first region, and so on.
    """

    pieces: tuple[str, ...]
    chosen: tuple[int, ...]
    shown: tuple[int, ...]
    rest: tuple[int, ...]


def read_curves(evidence_file: Path, regions: int) -> SpokenCurves | None:
    """Read what an audit kept of an answer's tokens along the order.

    Args:
        evidence_file: As for `read_words`.
        regions: So many are ranked in the picture.

    Returns:
        The curves; None if the audit kept nothing that can be read, or of another order.
    """
    try:
        found = GenerationEvidence.load(evidence_file.with_name(f"{evidence_file.stem}-answer"))
    except ValueError:
        return None
    if len(found.insertion) != regions:
        return None
    shown, rest = np.vstack([found.empty, found.insertion]), np.vstack([found.full, found.deletion])
    return SpokenCurves(pieces=found.pieces, chosen=found.chosen, shown=_percent(shown), rest=_percent(rest))


def _percent(probabilities: Float[np.ndarray, "P T"]) -> tuple[int, ...]:
    return tuple(np.round(100 * np.clip(np.nan_to_num(probabilities), 0, 1)).astype(int).ravel().tolist())


def read_words(evidence_file: Path) -> tuple[Word, ...]:
    """Read what an audit kept of an answer's tokens.

    Args:
        evidence_file: The record's, in the run folder; the answer's files lie beside it.

    Returns:
        Its tokens; none if the audit kept nothing that can be read.
    """
    try:
        found = GenerationEvidence.load(evidence_file.with_name(f"{evidence_file.stem}-answer"))
    except ValueError:
        return ()
    read = {place: column for column, place in enumerate(found.chosen)}
    return tuple(
        Word(text=piece)
        if place not in read
        else Word(text=piece, full=float(found.full[read[place]]), empty=float(found.empty[read[place]]))
        for place, piece in enumerate(found.pieces)
    )
