"""Which regions of an image carry what a vision-language model says?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from wherenot.explain import ranked_evidence
from wherenot.frames import film_labels
from wherenot.generation_evidence import GenerationEvidence
from wherenot.masking import FillName
from wherenot.models.answers import AnswerReader, Asked
from wherenot.models.vlm import Encoding, Picture, VisionLanguageModel
from wherenot.objective import EVALUATION, Objective
from wherenot.regions import Slico, region_centres
from wherenot.scoring import evaluating
from wherenot.search import Exact, Memo, Request, Search, greedy_search
from wherenot.token_score import TokenScore
from wherenot.tokens import choose_tokens
from wherenot.types import Partition


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is asked about an image, and what of the answer is to be explained.

    Attributes:
        prompt: What the user says.
        answer: What the model is taken to say, as text or as token ids; None lets it generate greedily.
        tokens: Which tokens of the answer (`tokens.choose_tokens`).
        counter: A word that would contradict the answer ("No"). Then only the first chosen token counts, and in its
            place the counter's first token is read: the evidence found speaks against what was said.
        system: What the system says before; None = what the chat template says by itself.
    """

    prompt: str
    answer: str | tuple[int, ...] | None = None
    tokens: str = "answer"
    counter: str | None = None
    system: str | None = None


def explain_generation(
    vlm: VisionLanguageModel,
    image: Picture,
    prompt: str,
    *,
    answer: str | tuple[int, ...] | None = None,
    tokens: str = "answer",
    counter: str | None = None,
    regions: Partition | Int[np.ndarray, "H W"] = Slico(),
    fill: FillName = "black",
    objective: Objective = EVALUATION,
    search: Search = Exact(),
    max_regions: int | None = None,
    stop_above: float | None = None,
    max_tokens: int = 128,
    chunk: int | None = None,
    on_forward: Callable[[int], None] | None = None,
) -> GenerationEvidence:
    """Find the order of regions that best carries the chosen tokens of an answer.

    The answer is given to the model word for word, once with only some regions of the image visible, once without them,
    and the probability of each chosen token is read.

    Args:
        vlm: The model.
        image: RGB; or frames of a film, which the model sees one after the other, as several images.
        prompt: What the user says.
        answer: What the model is taken to say, as text or as token ids; None lets it generate greedily.
        tokens: Which tokens are explained: ``all``, ``answer``, ``thought``, ``sensitive``, ``word:cat``,
            ``regex:...``, ``field:POINT``, ``3``, ``3:7`` (`tokens.choose_tokens`).
        counter: A word that would contradict the answer; see `Question`.
        regions: How to cut the image (each frame), or a label map (values 0..K-1) in its pixels (those of the
            `frames.film_strip`, which is also what the evidence of a film is on).
        fill: What hidden pixels show: ``black``, ``mean`` or ``blur``.
        objective: The set function to climb.
        search: How the order is found.
        max_regions: Stop after so many regions; None orders them all.
        stop_above: Stop once the chosen regions alone give the chosen tokens more than this on average.
        max_tokens: Longest answer that is generated.
        chunk: Masked copies per forward; None chooses by device and image size.
        on_forward: Called with the number of masked copies after each forward.

    Raises:
        ValueError: If the prompt, the answer, the choice of tokens or the regions do not fit.

    Example:
        >>> from wherenot.models.tiny_vlms import tiny_vlm
        >>> from wherenot.regions import Grid
        >>> vlm = VisionLanguageModel(*tiny_vlm("llava"))
        >>> from PIL import Image
        >>> image = Image.radial_gradient("L").convert("RGB")
        >>> found = explain_generation(vlm, image, "What is this?", tokens="0:2", regions=Grid(2, 2), max_tokens=4)
        >>> found.chosen, len(found.evidence.order), found.insertion.shape
        ((0, 1), 4, (4, 2))

    References:
        EAGLE: F is the mean of insight plus necessity over the tokens.
    """
    question = Question(prompt=prompt, answer=answer, tokens=tokens, counter=counter)
    [found] = explain_questions(
        vlm, image, [question], regions=regions, fill=fill, objective=objective, search=search,
        max_regions=max_regions, stop_above=stop_above, max_tokens=max_tokens, chunk=chunk, on_forward=on_forward,
    )  # fmt: skip
    return found


def explain_questions(
    vlm: VisionLanguageModel,
    image: Picture,
    questions: Sequence[Question],
    *,
    regions: Partition | Int[np.ndarray, "H W"] = Slico(),
    fill: FillName = "black",
    objective: Objective = EVALUATION,
    search: Search = Exact(),
    max_regions: int | None = None,
    stop_above: float | None = None,
    max_tokens: int = 128,
    chunk: int | None = None,
    on_forward: Callable[[int], None] | None = None,
) -> list[GenerationEvidence]:
    """Explain several answers about one image, which share its masked copies.

    As `explain_generation` otherwise. What the model computes of a masked copy before the first word of a question is
    computed once for all questions, where its family allows it.

    Returns:
        One result per question. A masked copy that several questions share is counted once, for the first that asks.

    Raises:
        ValueError: If there is no question, or one does not fit.
    """
    if not questions:
        raise ValueError("explain_questions: needs a question at least.")
    labels = regions if isinstance(regions, np.ndarray) else film_labels(image, regions)
    count = int(labels.max()) + 1
    if count < 2:
        raise ValueError("explain_questions: a single region, there is nothing to rank; use a finer partition.")
    with evaluating(vlm.wrapped):
        filled, layout = vlm.filled(image, fill), vlm.layout(image, labels)
        asked = [
            _asked(vlm, vlm.encode(image, each.prompt, each.system), each, filled, max_tokens) for each in questions
        ]
        pixels = asked[0].encoding.inputs["pixel_values"]
        score = TokenScore(AnswerReader(vlm, asked), pixels, layout, filled, chunk=chunk, on_forward=on_forward)
        memo = Memo(score, [count], device=pixels.device)
        rankings = greedy_search(
            memo, objective, search=search, max_regions=max_regions, stop_above=stop_above, targets=len(asked),
            centres=[region_centres(torch.from_numpy(labels))],
        )  # fmt: skip
        [ends] = memo.ask([Request(0, [0, memo.everything(0)])])
    found, first = [], len(asked)
    for column, (each, ranking) in enumerate(zip(asked, rankings, strict=True)):
        evidence = ranked_evidence(
            memo, ranking, image=0, column=column, objective=objective, ends=ends if column == 0 else 0, labels=labels,
            target=each.targets[0] if len(each.targets) == 1 else -1, search=type(search).__name__.lower(), fill=fill,
        )  # fmt: skip
        of_tokens = slice(first, first + len(each.chosen))
        found.append(
            GenerationEvidence.from_readings(
                evidence, memo.known[0], of_tokens, prompt=each.encoding.prompt, pieces=vlm.pieces(each.answer),
                chosen=each.chosen, targets=[vlm.text([target]) for target in each.targets],
            )
        )  # fmt: skip
        first = of_tokens.stop
    return found


def _asked(vlm: VisionLanguageModel, encoding: Encoding, question: Question, filled: Tensor, max_tokens: int) -> Asked:
    """The question with its answer and the places in it that are read."""
    if isinstance(question.answer, str):
        answer = vlm.answer_ids(encoding, question.answer)
    else:
        answer = vlm.generate(encoding, max_tokens=max_tokens) if question.answer is None else list(question.answer)
        if not answer:
            raise ValueError(
                f"explain_generation: {vlm.name} says nothing to {question.prompt!r}; give the answer to explain."
            )
    pieces = vlm.pieces(answer)
    whole = Asked(encoding, tuple(answer), tuple(range(len(answer))), tuple(answer))
    full = empty = None
    if question.tokens == "sensitive":
        with torch.no_grad():
            full, empty = AnswerReader(vlm, [whole])(torch.stack([encoding.inputs["pixel_values"], filled]))
    chosen = choose_tokens(pieces, question.tokens, full=full, empty=empty)
    targets = [answer[place] for place in chosen]
    if question.counter is not None:
        chosen = chosen[:1]
        said = pieces[chosen[0]]
        blank = said[: len(said) - len(said.lstrip())]
        targets = vlm.answer_ids(encoding, blank + question.counter)[:1]
        if targets[0] == answer[chosen[0]]:
            raise ValueError(
                f"explain_generation: {question.counter!r} begins with the same token as what the model says, "
                f"{said!r}; it contradicts nothing."
            )
    return Asked(encoding, tuple(answer), tuple(chosen), tuple(targets))
