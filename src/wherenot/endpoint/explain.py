"""Which regions of an image carry what a model behind an endpoint says?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int
from PIL import Image

from wherenot.endpoint.answers import AnswerTokens, learn_answer
from wherenot.endpoint.chosen import ChosenTokens, choose
from wherenot.endpoint.client import Endpoint
from wherenot.endpoint.config import EndpointConfig
from wherenot.endpoint.cost import EndpointCost, endpoint_cost
from wherenot.endpoint.errors import EndpointError, NoLogProbabilities
from wherenot.endpoint.pictures import MaskedPictures
from wherenot.endpoint.readings import Readings, fingerprint
from wherenot.endpoint.score import EndpointScore, Inquiry
from wherenot.explain import ranked_evidence
from wherenot.generation_evidence import GenerationEvidence
from wherenot.masking import FillName
from wherenot.objective import EVALUATION, Objective
from wherenot.regions import Slico, region_centres
from wherenot.search import Exact, Memo, Request, Search, greedy_search
from wherenot.types import Partition


def explain_endpoint(
    image: Image.Image,
    prompt: str,
    *,
    url: str,
    model: str,
    readings: Path,
    config: EndpointConfig = EndpointConfig(),
    answer: str | None = None,
    tokens: str = "answer",
    counter: str | None = None,
    regions: Partition | Int[np.ndarray, "H W"] = Slico(),
    fill: FillName = "black",
    objective: Objective = EVALUATION,
    search: Search = Exact(),
    max_regions: int | None = None,
    stop_above: float | None = None,
    max_tokens: int = 128,
    on_cost: Callable[[EndpointCost], None] | None = None,
    on_forward: Callable[[int], None] | None = None,
    on_partial: Callable[[GenerationEvidence], None] | None = None,
) -> GenerationEvidence:
    """Find the order of regions that best carries the chosen tokens of what a model behind an endpoint says.

    As `explain_generation`, with what the chat completions protocol lets one see of a model: masked pictures go there
    as PNG, hidden in the image's own pixels, and log-probabilities come back. A server that gives those of a prompt
    (vLLM) is asked once for each masked picture; any other once for each masked picture and chosen token, and a token
    that is not among its likeliest 20 counts as 0.

    Args:
        image: RGB. It is sent to the endpoint, whole and masked.
        prompt: What the user says.
        url: Base of the endpoint's API, such as ``http://localhost:8000/v1``.
        model: What the endpoint calls the model.
        readings: JSONL file that every reading is added to as it comes; the same call with the same file goes on where
            it stopped. It holds the answer and probabilities, neither key nor image.
        config: How the endpoint is asked.
        answer: What the model is taken to say; None lets it generate greedily.
        tokens: Which tokens are explained (`tokens.choose_tokens`).
        counter: A word that would contradict the answer; see `Question`.
        regions: How to cut the image, or a label map (values 0..K-1) in its pixels.
        fill: What hidden pixels show: ``black``, ``mean`` (the image's mean colour) or ``blur``.
        objective: The set function to climb.
        search: How the order is found.
        max_regions: Stop after so many regions; None orders them all.
        stop_above: Stop once the chosen regions alone give the chosen tokens more than this on average.
        max_tokens: Longest answer that is generated.
        on_cost: Called once, before the search, with what it costs at most; an exception it raises stops it.
        on_forward: Called with the number of masked pictures that have been read.
        on_partial: Called with what was found so far, if it stops early and a region at least is ranked.

    Raises:
        ValueError: If URL, answer, choice of tokens or regions do not fit.
        EndpointError: If the endpoint cannot be reached, refuses, gives no log-probabilities, or has cost as much as it
            may.

    References:
        EAGLE, its variant for models behind an API.
    """
    labels = regions if isinstance(regions, np.ndarray) else regions(np.asarray(image.convert("RGB")))
    if int(labels.max()) < 1:
        raise ValueError("explain_endpoint: a single region, there is nothing to rank; use a finer partition.")
    if answer is not None and not answer.strip():
        raise ValueError("explain_endpoint: the answer to explain is empty; leave it out to let the model answer.")
    endpoint = Endpoint(url, model, config)
    pictures = MaskedPictures(image, labels, fill, kept=2 * config.parallel)
    asked = fingerprint(
        np.asarray(image.convert("RGB")), prompt, answer, max_tokens, model, endpoint.url, config.reading,
        config.top_logprobs,
    )  # fmt: skip
    kept = Readings(readings, asked, pictures.fingerprint)
    inquiry = Inquiry(endpoint, pictures, prompt, kept)
    climb: _Climb | None = None
    try:
        said = _answer(inquiry, answer, max_tokens)
        chosen = choose(inquiry, said, tokens, counter)
        if on_cost is not None:
            on_cost(
                endpoint_cost(
                    search, pictures.num_regions, max_regions, requests_each=len(chosen.questions),
                    tokens_each=endpoint.largest, kept=sum(map(len, kept.known.values())),
                )
            )  # fmt: skip
        score = EndpointScore(inquiry, chosen.questions, chosen.names, said.dialect, on_forward=on_forward)
        climb = _Climb(score, pictures, prompt, said, chosen, objective, search, stop_above)
        return climb.evidence(max_regions)
    except (EndpointError, KeyboardInterrupt) as error:
        if climb is not None and on_partial is not None and (found := climb.so_far()) is not None:
            on_partial(found)
        if isinstance(error, EndpointError):
            text = error.of(endpoint.name) if isinstance(error, NoLogProbabilities) else f"{error}"
            goes_on = f" What was read is kept in {kept.path}; the same command goes on from there."
            error.args = (text + goes_on if kept.known else text,)
        raise


def _answer(inquiry: Inquiry, answer: str | None, max_tokens: int) -> AnswerTokens:
    """The answer as it was found before, or as it is found now."""
    endpoint, readings = inquiry.endpoint, inquiry.readings
    if readings.answer is None:
        readings.set_answer(learn_answer(inquiry, answer, max_tokens=max_tokens).facts())
    assert readings.answer is not None
    said = AnswerTokens.from_facts(readings.answer)
    endpoint.largest = max(endpoint.largest, said.tokens_each)
    return said


@dataclass(frozen=True)
class _Climb:
    """A search whose readings come from an endpoint."""

    score: EndpointScore
    pictures: MaskedPictures
    prompt: str
    said: AnswerTokens
    chosen: ChosenTokens
    objective: Objective
    search: Search
    stop_above: float | None

    def evidence(self, max_regions: int | None) -> GenerationEvidence:
        """The first regions by rank."""
        labels, everything = self.pictures.labels, self.pictures.everything
        memo = Memo(self.score, [self.pictures.num_regions])
        [ends] = memo.ask([Request(0, [0, everything])])
        [ranking] = greedy_search(
            memo, self.objective, search=self.search, max_regions=max_regions, stop_above=self.stop_above,
            centres=[region_centres(torch.from_numpy(labels))],
        )  # fmt: skip
        evidence = ranked_evidence(
            memo, ranking, image=0, column=0, objective=self.objective, ends=ends, labels=labels, target=-1,
            search=type(self.search).__name__.lower(), fill=self.pictures.fill,
        )  # fmt: skip
        return GenerationEvidence.from_readings(
            evidence, memo.known[0], slice(1, None), prompt=self.prompt, pieces=self.said.pieces,
            chosen=self.chosen.places, targets=self.chosen.targets,
        )  # fmt: skip

    def so_far(self) -> GenerationEvidence | None:
        """As many regions as can be ranked by what has been read; nothing more is asked."""
        found = None
        self.score.asks = False
        for count in range(1, self.pictures.num_regions + 1):
            try:
                found = self.evidence(count)
            except EndpointError:
                break
        return found
