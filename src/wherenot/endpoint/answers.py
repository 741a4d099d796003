"""What a model behind an endpoint says, in tokens, and how the endpoint wants to be asked about them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from wherenot.endpoint.errors import EndpointError, NoLogProbabilities, NotContinued
from wherenot.endpoint.questions import (
    Dialect,
    NextToken,
    Reply,
    WholeAnswer,
    conversation,
    likeliest_next,
    spoken,
    tokens_spoken,
    words,
)
from wherenot.endpoint.score import Inquiry
from wherenot.endpoint.spelling import next_piece, plain, readable_alone, spell

_WHOLE, _TOKEN, _ASKED = Dialect(whole=True), Dialect(), Dialect(continues=False)
_DIALECTS = {"auto": (_WHOLE, _TOKEN, _ASKED), "whole": (_WHOLE,), "token": (_TOKEN, _ASKED)}
_CLOSING = 3  # tokens after an answer that end it
_SURE, _LOOKED_AT = 0.1, 4  # tokens whose probability shows whether an answer is continued: how likely, how many


@dataclass(frozen=True, kw_only=True)
class AnswerTokens:
    """An answer in the tokens of the model behind an endpoint.

    Attributes:
        pieces: What each token adds; joined they are the answer.
        tokens: The tokens as the server writes them.
        readable: Whether the probability of each can be read.
        dialect: How the endpoint is asked about them.
    """

    pieces: tuple[str, ...]
    tokens: tuple[str, ...]
    readable: tuple[bool, ...]
    dialect: Dialect

    def facts(self) -> dict[str, Any]:
        """As JSON can write it."""
        return asdict(self)

    @classmethod
    def from_facts(cls, facts: dict[str, Any]) -> AnswerTokens:
        """What `facts` gave."""
        lists = {name: tuple(facts[name]) for name in ("pieces", "tokens", "readable")}
        return cls(**lists, dialect=Dialect(**facts["dialect"]))


def learn_answer(
    inquiry: Inquiry, answer: str | None, *, max_tokens: int, explained: Callable[[Sequence[str]], Sequence[int]]
) -> AnswerTokens:
    """Let a model say its answer, or take one, and find out what its tokens are and how they can be read.

    Args:
        inquiry: Puts the questions; what they bring about the whole image is kept.
        answer: What the model is taken to say; None lets it generate.
        max_tokens: Longest answer that is generated.
        explained: Places of the tokens that will be read, given the pieces.

    Raises:
        EndpointError: If it says nothing, gives no log-probabilities, or does not go on with an answer.
    """
    generated = None
    limit = Dialect().limit
    if answer is None:
        limit, generated = _generate(inquiry, max_tokens)
    failed: EndpointError | None = None
    for dialect in _DIALECTS[inquiry.endpoint.config.reading]:
        for spoken_as in _with_limits(replace(dialect, limit=limit)):
            try:
                if dialect.whole:
                    text = generated.answer if generated else (answer or "").strip()
                    return _whole(inquiry, text, spoken_as)
                if generated:
                    return _continued(inquiry, generated, spoken_as, explained)
                return _walked(inquiry, (answer or "").strip(), spoken_as)
            except EndpointError as error:
                if not (isinstance(error, NoLogProbabilities | NotContinued) or error.may_be_the_fields):
                    raise
                failed = error
                if not _wants_other_limit(error):
                    break
    assert failed is not None
    raise failed.of(inquiry.endpoint.name) if isinstance(failed, NoLogProbabilities) else failed


@dataclass(frozen=True)
class _Generated:
    answer: str
    pieces: tuple[str, ...]
    tokens: tuple[str, ...]
    probabilities: tuple[float, ...]


def _generate(inquiry: Inquiry, max_tokens: int) -> tuple[str, _Generated]:
    """The likeliest answer, and what the endpoint calls the limit of its length."""
    endpoint, pictures = inquiry.endpoint, inquiry.pictures
    for dialect in _with_limits(Dialect()):
        body = {
            **conversation(pictures.url(pictures.everything), inquiry.prompt, "", dialect),
            **{"temperature": 0, "logprobs": True, "top_logprobs": endpoint.config.top_logprobs},
            dialect.limit: max_tokens,
        }
        try:
            reply = endpoint.complete(body)
        except EndpointError as error:
            if _wants_other_limit(error) and dialect.limit == Dialect().limit:
                continue
            raise
        return dialect.limit, _generated(inquiry, reply)
    raise AssertionError("the second limit returns or raises")


def _generated(inquiry: Inquiry, reply: Reply) -> _Generated:
    answer = spoken(reply).strip()
    if not answer:
        raise EndpointError(
            f"explain: {inquiry.endpoint.name} says nothing to {inquiry.prompt!r}; give the answer to explain."
        )
    try:
        said = tokens_spoken(reply)
    except NoLogProbabilities as error:
        raise error.of(inquiry.endpoint.name) from None
    for closing in range(min(_CLOSING, len(said)) + 1):
        tokens = [token for token, _ in said[: len(said) - closing]]
        if (found := spell(tokens, answer)) is None:
            continue
        first, pieces = found
        if "".join(map(plain, tokens[:first])).strip():
            raise EndpointError(
                f"explain: {inquiry.endpoint.name} thinks before it answers, and its answer cannot be read without its "
                "thoughts; switch its thinking off on the server, or give the answer to explain."
            )
        probabilities = [probability for _, probability in said[first : first + len(pieces)]]
        return _Generated(answer, tuple(pieces), tuple(map(plain, tokens[first:])), tuple(probabilities))
    raise EndpointError(
        f"explain: {inquiry.endpoint.name} gives log-probabilities of tokens that do not spell its answer {answer!r}."
    )


def _whole(inquiry: Inquiry, answer: str, dialect: Dialect) -> AnswerTokens:
    """One request tells all tokens and their probabilities, if the endpoint reads the prompt's."""
    question = WholeAnswer(answer)
    everything = inquiry.pictures.everything
    reply = inquiry.reply(everything, question, dialect, probing=True)
    tokens, probabilities = question.spelled(reply)
    inquiry.readings.add(everything, {str(place): each for place, each in enumerate(probabilities)})
    found = spell(tokens, answer)
    assert found is not None  # `spelled` has spelled it
    return AnswerTokens(pieces=tuple(found[1]), tokens=tokens, readable=tuple([True] * len(tokens)), dialect=dialect)


def _continued(
    inquiry: Inquiry, generated: _Generated, dialect: Dialect, explained: Callable[[Sequence[str]], Sequence[int]]
) -> AnswerTokens:
    """The tokens as they were generated, if the endpoint goes on with the beginning of the answer as it did itself."""
    readable = readable_alone(generated.pieces)
    everything = inquiry.pictures.everything
    sure = [
        place
        for place in explained(generated.pieces)
        if place > 0 and readable[place] and generated.probabilities[place] > _SURE
    ][:_LOOKED_AT]
    readings: dict[str, float] = {}
    for place in sure:
        said, token = "".join(generated.pieces[:place]), generated.tokens[place]
        question = NextToken(str(place), said, token, inquiry.endpoint.config.top_logprobs)
        readings |= question.read(inquiry.reply(everything, question, dialect, probing=True)) or {}
    agree = [readings.get(str(place), 0.0) > generated.probabilities[place] / 2 for place in sure]
    if 2 * sum(agree) < len(sure):
        raise _not_continued(inquiry)
    inquiry.readings.add(everything, readings)
    return AnswerTokens(pieces=generated.pieces, tokens=generated.tokens, readable=tuple(readable), dialect=dialect)


def _walked(inquiry: Inquiry, answer: str, dialect: Dialect) -> AnswerTokens:
    """The tokens of a given answer, each found among the likeliest after those before it."""
    if not answer:
        raise ValueError("explain: the answer to explain is empty.")
    everything, top = inquiry.pictures.everything, inquiry.endpoint.config.top_logprobs
    pieces: list[str] = []
    tokens: list[str] = []
    found: list[bool] = []
    readings: dict[str, float] = {}
    while len(said := "".join(pieces)) < len(answer):
        question = NextToken(str(len(pieces)), said, "", top)
        likeliest = likeliest_next(inquiry.reply(everything, question, dialect, probing=True)) or {}
        best = next_piece(likeliest, answer[len(said) :])
        token, piece = best or [words(answer[len(said) :])[0]] * 2
        found.append(best is not None)
        if best is not None:
            readings[str(len(pieces))] = likeliest[token]
        tokens.append(token)
        pieces.append(piece)
    if len(found) > 1 and not any(found[1:]):
        raise _not_continued(inquiry)
    inquiry.readings.add(everything, readings)
    return AnswerTokens(pieces=tuple(pieces), tokens=tuple(tokens), readable=tuple(found), dialect=dialect)


def _with_limits(dialect: Dialect) -> Iterator[Dialect]:
    """The dialect, and the same with the newer name of the limit, which some endpoints demand."""
    yield dialect
    if dialect.limit == Dialect().limit:
        yield replace(dialect, limit="max_completion_tokens")


def _wants_other_limit(error: EndpointError) -> bool:
    return error.status == 400 and "max_completion_tokens" in str(error)


def _not_continued(inquiry: Inquiry) -> NotContinued:
    return NotContinued(
        f"explain: {inquiry.endpoint.name} does not go on with an answer that is begun for it, so only the first token "
        "can be explained (--tokens 0); or the words of the answer are not among the likeliest."
    )
