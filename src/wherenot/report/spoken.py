"""The words of an answer, by how much of their probability they owe the image."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

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
