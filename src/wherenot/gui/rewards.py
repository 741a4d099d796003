"""What an agent's answer is worth in reinforcement learning: for the right click, and for looking where it clicks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, Protocol, runtime_checkable

import torch

from wherenot.data import GuiSample
from wherenot.gui.clicks import Tokens, prepare_click, read_chosen
from wherenot.gui.codecs import CODECS
from wherenot.gui.coordinates import CONVENTIONS
from wherenot.gui.judging import judge
from wherenot.gui.penalties import strongest_regions
from wherenot.gui.violation import first_violation
from wherenot.masking import FillName
from wherenot.models.answers import AnswerReader
from wherenot.models.vlm import VisionLanguageModel
from wherenot.regions import Grid
from wherenot.scoring import evaluating
from wherenot.search import Exact, Search
from wherenot.types import Partition


@runtime_checkable
class Reward(Protocol):
    """Says what an answer is worth."""

    def __call__(self, vlm: VisionLanguageModel, sample: GuiSample, said: str) -> float:
        """Return what the answer `said` to a task is worth; the model's mode is left as found."""
        ...


@dataclass(frozen=True, kw_only=True)
class TaskReward:
    """1 for the right action (a click into the target's box), 0 for a wrong one, less for one that cannot be read.

    Args:
        malformed: What an answer is worth from which no action can be read.

    Example:
        >>> sample = GuiSample("a", 0, "train", None, lambda: None, lambda: None, "Tap.", box=(0.0, 0.0, 10.0, 10.0))
        >>> judge_it = TaskReward()
        >>> [judge_it.worth(sample, said, (100, 100)) for said in ('{"POINT":[50,50]}', '{"POINT":[500,50]}', "here")]
        [1.0, 0.0, -0.5]
    """

    malformed: float = -0.5

    def __call__(self, vlm: VisionLanguageModel, sample: GuiSample, said: str) -> float:  # noqa: ARG002
        """Judge an answer; the model is not asked."""
        image = sample.read_image()
        return self.worth(sample, said, (image.height, image.width))

    def worth(self, sample: GuiSample, said: str, size: tuple[int, int]) -> float:
        """The same for a screenshot of that height and width."""
        judged = judge(sample, said, size, codec=CODECS["agentcpm"], scale=CONVENTIONS["0-1000"].scale())
        return self.malformed if judged.reply.malformed else float(bool(judged.correct))


@dataclass(frozen=True, kw_only=True)
class EvidenceReward:
    r"""What the evidence of a right answer is worth: how much it lies on the target. Wrong answers get 0.

    What makes a model click wrongly need not be rewarded, wherever it lies; so a model gains nothing by looking at the
    target and clicking elsewhere.

    Args:
        form: ``reliance``: how far the mean probability of the counted tokens falls when the target is hidden, in
            [0, 1]; two forwards. ``pointing``: 1 if the first region of a search is on the target, else 0; a forward
            for each region and each of its complements.
        tokens: Which tokens of the model's answer count (`chosen_tokens`).
        fill: What hidden pixels show.
        search: How the first region is searched.
        tau: Overlap from which on it is on the target.
        partition: Cuts the screenshot; None: elements where the data tell them, and a grid of 8 x 4 elsewhere.

    References:
        "Where Not to Learn" names rewards for evidence as future work, without a form.
    """

    form: Literal["reliance", "pointing"] = "reliance"
    tokens: Tokens = "location"
    fill: FillName = "black"
    search: Search = Exact()
    tau: float = 0.15
    partition: Partition | None = None

    def __call__(self, vlm: VisionLanguageModel, sample: GuiSample, said: str) -> float:
        """Ask the model about its own answer, with parts of the screenshot hidden."""
        if sample.read_prior() is None or TaskReward()(vlm, sample, said) < 1:
            return 0.0
        cut = self.partition or (None if any(each.visible for each in sample.elements()) else Grid(8, 4))
        click = prepare_click(vlm, replace(sample, right=said), partition=cut, fill=self.fill)
        with torch.no_grad(), evaluating(vlm.wrapped):
            [(chosen, full)] = read_chosen(vlm, [click], self.tokens)
            if self.form == "reliance":
                hidden = AnswerReader(vlm, [chosen.asked])(chosen.without_target[None])[0]
                return max(0.0, float((full - hidden).mean()))
            [first] = strongest_regions(vlm, chosen, search=self.search, max_regions=1)
        regions = [click.labels == first]
        return float(first_violation(regions, click.target, tau=self.tau, forbidden=click.forbidden) is None)
