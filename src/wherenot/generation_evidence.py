"""The result of explaining what a vision-language model says."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from wherenot.evidence import Evidence
from wherenot.objective import Objective
from wherenot.search.memo import Reading, Subset
from wherenot.tokens import SENSITIVE

_ARRAYS = ("insertion", "deletion", "empty", "full")


@dataclass(frozen=True, kw_only=True)
class GenerationEvidence:
    r"""Which regions of an image carry an answer, and what each of its tokens owes them.

    Tokens that were not chosen take no part; arrays have a column for each chosen one.

    Attributes:
        evidence: Regions by rank, for the mean over the chosen tokens.
        prompt: What was asked.
        pieces: The text of each token of the answer; joined they are the answer.
        chosen: Places of the chosen tokens.
        targets: The text of the token whose probability was read at each of them: its own, or what would contradict it.
        insertion: Insight, $q_t$ given the first r + 1 regions alone, in [0, 1].
        deletion: $q_t$ given everything except them; necessity is one minus it.
        empty: $q_t$ given nothing of the image.
        full: $q_t$ given all of it.

    References:
        EAGLE.
    """

    evidence: Evidence
    prompt: str
    pieces: tuple[str, ...]
    chosen: tuple[int, ...]
    targets: tuple[str, ...]
    insertion: Float[np.ndarray, "R T"]
    deletion: Float[np.ndarray, "R T"]
    empty: Float[np.ndarray, " T"]
    full: Float[np.ndarray, " T"]

    @classmethod
    def from_readings(
        cls,
        evidence: Evidence,
        known: Mapping[Subset, Reading],
        of_tokens: slice,
        *,
        prompt: str,
        pieces: Sequence[str],
        chosen: Sequence[int],
        targets: Sequence[str],
    ) -> GenerationEvidence:
        """Put evidence together with what was read of each token along its order.

        Args:
            evidence: Of the mean over the chosen tokens.
            known: The readings it rests on.
            of_tokens: Where in a reading the chosen tokens' probabilities are.
            prompt: What was asked.
            pieces: The text of each token of the answer.
            chosen: Places of the chosen tokens.
            targets: The text of the token that was read at each of them.
        """
        everything = (1 << evidence.num_regions) - 1
        subset, insertion, deletion = 0, [], []
        for region in evidence.order.tolist():
            subset |= 1 << region
            insertion.append(known[subset][of_tokens])
            deletion.append(known[everything & ~subset][of_tokens])
        return cls(
            evidence=evidence,
            prompt=prompt,
            pieces=tuple(pieces),
            chosen=tuple(chosen),
            targets=tuple(targets),
            insertion=np.stack(insertion),
            deletion=np.stack(deletion),
            empty=known[0][of_tokens],
            full=known[everything][of_tokens],
        )

    @property
    def answer(self) -> str:
        """The whole answer."""
        return "".join(self.pieces)

    @property
    def influence(self) -> Float[np.ndarray, " T"]:
        r"""How far perception, and not the language, decides each token: 0 where the image changes nothing, below 1.

        $I_t = \int q_t\,d(\text{area}) - \min q_t$ along the order, from nothing to the last ranked region.

        References:
            EAGLE's modality analysis, which stretches the values of a sentence to [0, 1] for display; these are as they
            are.
        """
        curves = np.concatenate([self.empty[None], self.insertion])
        areas = np.concatenate([[0.0], self.evidence.areas])
        return np.trapezoid(curves, areas, axis=0) - curves.min(0)

    @property
    def sensitive(self) -> Bool[np.ndarray, " T"]:
        """Whether each token's probability falls by more than 0.2 when nothing of the image is visible."""
        return self.full - self.empty > SENSITIVE

    def of_token(self, place: int) -> Evidence:
        """The evidence of one chosen token, along the order that was found for all of them together.

        Args:
            place: Of the token in the answer.

        Raises:
            ValueError: If it was not chosen.
        """
        if place not in self.chosen:
            raise ValueError(f"of_token: token {place} was not chosen; chosen are {list(self.chosen)}.")
        column = self.chosen.index(place)
        insertion, deletion = self.insertion[:, column], self.deletion[:, column]
        empty, full = float(self.empty[column]), float(self.full[column])
        objective = self.evidence.objective
        assert isinstance(objective, Objective)  # tokens have no other
        return replace(
            self.evidence,
            insertion=insertion,
            deletion=deletion,
            values=objective.insertion * insertion + objective.deletion * (1 - deletion),
            empty=empty,
            full=full,
            empty_value=objective.insertion * empty + objective.deletion * (1 - full),
            full_value=objective.insertion * full + objective.deletion * (1 - empty),
        )

    def save(self, path: Path) -> None:
        """Write the evidence as `Evidence.save` does, and beside it what is known of the tokens (suffix .tokens.json).

        Raises:
            OSError: If the place cannot be written.
        """
        path = Path(path)
        self.evidence.save(path)
        facts: dict[str, Any] = {
            "prompt": self.prompt,
            "pieces": self.pieces,
            "chosen": self.chosen,
            "targets": self.targets,
            **{name: getattr(self, name).tolist() for name in _ARRAYS},
        }
        partial = path.with_suffix(".tokens.json.part")
        partial.write_text(json.dumps(facts, indent=1, ensure_ascii=False) + "\n")
        partial.replace(path.with_suffix(".tokens.json"))

    @classmethod
    def load(cls, path: Path) -> GenerationEvidence:
        """Read what `save` wrote.

        Raises:
            ValueError: If a file is missing or is not such evidence, naming it.
        """
        path = Path(path)
        try:
            facts = json.loads(path.with_suffix(".tokens.json").read_text())
            arrays = {name: np.array(facts[name], dtype=np.float64) for name in _ARRAYS}
            return cls(
                evidence=Evidence.load(path),
                prompt=facts["prompt"],
                pieces=tuple(facts["pieces"]),
                chosen=tuple(facts["chosen"]),
                targets=tuple(facts["targets"]),
                **arrays,
            )
        except (OSError, KeyError, TypeError, json.JSONDecodeError) as error:
            raise ValueError(f"GenerationEvidence.load: {path} holds none that can be read ({error}).") from error

    def sentence(self) -> str:
        """What was found, in a few words: the tokens that the image decides, the most decided first."""
        ranked = np.argsort(-self.influence, kind="stable").tolist()
        seen = [self.pieces[self.chosen[column]].strip() for column in ranked if self.sensitive[column]]
        told = ", ".join(repr(piece) for piece in seen[:5]) or "none of its tokens"
        return f"{self.answer.strip()!r} - the image decides {told}"

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        from wherenot.report.notebook import generation_html

        return generation_html(self)
