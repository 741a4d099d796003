"""The score of subsets of regions for the tokens of an answer, read from an endpoint."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from wherenot.endpoint.client import Endpoint
from wherenot.endpoint.errors import EndpointError
from wherenot.endpoint.pictures import MaskedPictures
from wherenot.endpoint.questions import Dialect, Question, Reply
from wherenot.endpoint.readings import Readings
from wherenot.search.memo import Subset, subset_of

_TRIES = 3  # of a model that stops where a token should come


class Inquiry:
    """Puts questions about masked pictures to an endpoint, several at once, each once at most.

    Args:
        endpoint: Who is asked.
        pictures: What about.
        prompt: What the user says.
        readings: What is known already, and where all that comes is kept.
    """

    def __init__(self, endpoint: Endpoint, pictures: MaskedPictures, prompt: str, readings: Readings) -> None:
        self.endpoint, self.pictures, self.prompt, self.readings = endpoint, pictures, prompt, readings

    def one(self, subset: Subset, question: Question, dialect: Dialect) -> None:
        """Make sure that the answer to one question about a subset is among the readings.

        Raises:
            EndpointError: If it cannot be had.
        """
        if not self._unknown(subset, question):
            return
        for _ in range(_TRIES):
            found = question.read(self.reply(subset, question, dialect))
            if found is not None:
                break
        else:
            # The server hides the likeliest tokens of a model that stops, and it always stopped.
            found = dict.fromkeys(question.names, 0.0)
        self.readings.add(subset, found)

    def reply(self, subset: Subset, question: Question, dialect: Dialect, *, probing: bool = False) -> Reply:
        """Ask one question, whether its answer is known or not, and keep nothing.

        Args:
            subset: The regions that are visible.
            question: What is asked.
            dialect: How it is asked.
            probing: Whether the endpoint may not understand it.
        """
        body = question.body(self.pictures.url(subset), self.prompt, dialect)
        return self.endpoint.complete(body, probing=probing)

    def ask(
        self,
        subsets: Sequence[Subset],
        questions: Sequence[Question],
        dialect: Dialect,
        *,
        on_subset: Callable[[int], None] | None = None,
    ) -> None:
        """Make sure that the answers to all questions about all subsets are among the readings.

        When one fails, those under way are waited for: they are paid for, and what they bring is kept.

        Raises:
            EndpointError: If one cannot be had. The endpoint takes no more questions then.
        """
        with ThreadPoolExecutor(self.endpoint.config.parallel) as pool:
            asked: dict[Future[None], Subset] = {}
            for subset in subsets:
                for question in questions:
                    if self._unknown(subset, question):
                        asked[pool.submit(self.one, subset, question, dialect)] = subset
            left = Counter(asked.values())
            _tell(on_subset, len(subsets) - len(left))
            try:
                for answered in as_completed(asked):
                    answered.result()
                    left[asked[answered]] -= 1
                    _tell(on_subset, int(not left[asked[answered]]))
            except BaseException:
                self.endpoint.stop()
                pool.shutdown(wait=True, cancel_futures=True)
                raise

    def _unknown(self, subset: Subset, question: Question) -> bool:
        return not set(question.names) <= {*self.readings.known.get(subset, ())} or not question.names


class EndpointScore:
    r"""The `SubsetScore` of one image for an answer, as `TokenScore` is that of a model at hand.

    A reading of a subset S is the mean over the chosen tokens of $q_t(S)$, and then all $q_t(S)$.

    Args:
        inquiry: Puts the questions.
        questions: What is asked about each subset.
        names: The reading of each chosen token.
        dialect: How it is asked.
        on_forward: Called with the number of masked pictures whose readings are known now.

    Attributes:
        asks: Whether the endpoint may be asked; what is not known is an error otherwise.
    """

    def __init__(
        self,
        inquiry: Inquiry,
        questions: Sequence[Question],
        names: Sequence[str],
        dialect: Dialect,
        *,
        on_forward: Callable[[int], None] | None = None,
    ) -> None:
        self._inquiry, self._questions, self._names, self._dialect = inquiry, list(questions), list(names), dialect
        self._on_forward = on_forward
        self.asks = True

    def __call__(self, image: Int[Tensor, " N"], keep: Bool[Tensor, "N K"]) -> Float[Tensor, "N R"]:
        """Return the readings of subsets of the one image."""
        subsets = [subset_of(row.nonzero().flatten().tolist()) for row in keep]
        if self.asks:
            self._inquiry.ask(subsets, self._questions, self._dialect, on_subset=self._on_forward)
        known = self._inquiry.readings.known
        try:
            rows = [[known[subset][name] for name in self._names] for subset in subsets]
        except KeyError:
            raise EndpointError(
                "EndpointScore: a subset has not been read, and the endpoint must not be asked."
            ) from None
        each = torch.tensor(rows, dtype=torch.float64).view(len(image), len(self._names))
        return torch.cat([each.mean(1, keepdim=True), each], dim=1)


def _tell(on_subset: Callable[[int], None] | None, count: int) -> None:
    if on_subset is not None and count:
        on_subset(count)
