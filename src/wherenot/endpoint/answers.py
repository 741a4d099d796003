"""What a model behind an endpoint says, in tokens, and how the endpoint wants to be asked about them."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from wherenot.endpoint.errors import EndpointError, NoLogProbabilities
from wherenot.endpoint.questions import (
    Dialect,
    NextToken,
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
        continued: Whether the endpoint goes on with an answer that is begun for it.
        dialect: How the endpoint is asked about them.
        tokens_each: Tokens that the largest request about them has cost.
    """

    pieces: tuple[str, ...]
    tokens: tuple[str, ...]
    readable: tuple[bool, ...]
    continued: bool = True
    dialect: Dialect
    tokens_each: int = 0

    def facts(self) -> dict[str, Any]:
        """As JSON can write it."""
        return asdict(self)

    @classmethod
    def from_facts(cls, facts: dict[str, Any]) -> AnswerTokens:
        """What `facts` gave."""
        lists = {name: tuple(facts[name]) for name in ("pieces", "tokens", "readable")}
        return cls(**{**facts, **lists, "dialect": Dialect(**facts["dialect"])})


def learn_answer(inquiry: Inquiry, answer: str | None, *, max_tokens: int) -> AnswerTokens:
    """Let a model say its answer, or take one, and find out what its tokens are and how they can be read.

    Args:
        inquiry: Puts the questions; what they bring about the whole image is kept.
        answer: What the model is taken to say; None lets it generate.
        max_tokens: Longest answer that is generated.

    Raises:
        EndpointError: If it says nothing, or gives no log-probabilities.
    """
    said = _generate(inquiry, max_tokens) if answer is None else answer.strip()
    failed: EndpointError | None = None
    found: AnswerTokens | None = None
    for dialect in _DIALECTS[inquiry.endpoint.config.reading]:
        try:
            found = _read_as(inquiry, said, dialect)
        except EndpointError as error:
            if not (isinstance(error, NoLogProbabilities) or error.may_be_the_fields):
                raise
            failed = error
        if found is not None and found.continued:
            break
    if found is not None:
        return replace(found, tokens_each=inquiry.endpoint.largest)
    assert failed is not None
    raise failed


@dataclass(frozen=True)
class _Generated:
    answer: str
    pieces: tuple[str, ...]
    tokens: tuple[str, ...]
    probabilities: tuple[float, ...]


def _generate(inquiry: Inquiry, max_tokens: int) -> _Generated:
    """The likeliest answer, token by token."""
    endpoint, pictures = inquiry.endpoint, inquiry.pictures
    asked = conversation(pictures.url(pictures.everything), inquiry.prompt, "", Dialect())
    wanted = {
        "temperature": 0,
        "max_tokens": max_tokens,
        "logprobs": True,
        "top_logprobs": endpoint.config.top_logprobs,
    }
    reply = endpoint.complete({**asked, **wanted})
    answer = spoken(reply).strip()
    if not answer:
        raise EndpointError(
            f"explain: {inquiry.endpoint.name} says nothing to {inquiry.prompt!r}; give the answer to explain."
        )
    said = tokens_spoken(reply)
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


def _read_as(inquiry: Inquiry, said: _Generated | str, dialect: Dialect) -> AnswerTokens:
    """The tokens of an answer, generated or given, as a dialect lets them be read."""
    if dialect.whole:
        return _whole(inquiry, said if isinstance(said, str) else said.answer, dialect)
    return _walked(inquiry, said, dialect) if isinstance(said, str) else _continued(inquiry, said, dialect)


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


def _continued(inquiry: Inquiry, generated: _Generated, dialect: Dialect) -> AnswerTokens:
    """The tokens as they were generated, each to be looked up after those before it.

    Some of them are, to see whether the endpoint goes on with the beginning of an answer as it did on its own.
    """
    readable = readable_alone(generated.pieces, generated.tokens)
    everything, top = inquiry.pictures.everything, inquiry.endpoint.config.top_logprobs
    likely = [place for place, probability in enumerate(generated.probabilities) if probability > _SURE]
    looked_at = [place for place in likely if place > 0 and readable[place]][:_LOOKED_AT]
    readings: dict[str, float] = {}
    for place in looked_at:
        question = NextToken(str(place), "".join(generated.pieces[:place]), generated.tokens[place], top)
        readings |= question.read(inquiry.reply(everything, question, dialect, probing=True)) or {}
    agree = [readings.get(str(place), 0.0) > generated.probabilities[place] / 2 for place in looked_at]
    continued = 4 * sum(agree) >= 3 * len(agree)
    if continued:
        inquiry.readings.add(everything, readings)
    else:
        readable = [place == 0 and alone for place, alone in enumerate(readable)]
    return AnswerTokens(
        pieces=generated.pieces,
        tokens=generated.tokens,
        readable=tuple(readable),
        continued=continued,
        dialect=dialect,
    )


def _walked(inquiry: Inquiry, answer: str, dialect: Dialect) -> AnswerTokens:
    """The tokens of a given answer, each found among the likeliest after those before it."""
    everything, top = inquiry.pictures.everything, inquiry.endpoint.config.top_logprobs
    pieces: list[str] = []
    tokens: list[str] = []
    found: list[bool] = []
    readings: dict[str, float] = {}
    first: dict[str, float] = {}
    ignored = False
    while len(said := "".join(pieces)) < len(answer):
        question = NextToken(str(len(pieces)), said, "", top)
        likeliest = likeliest_next(inquiry.reply(everything, question, dialect, probing=True)) or {}
        first = first or likeliest
        ignored = ignored or (bool(said) and _alike(likeliest, first))
        best = next_piece(likeliest, answer[len(said) :])
        token, piece = best or [words(answer[len(said) :])[0]] * 2
        found.append(best is not None)
        if best is not None:
            readings[str(len(pieces))] = likeliest[token]
        tokens.append(token)
        pieces.append(piece)
    continued = len(found) == 1 or (any(found[1:]) and not ignored)
    if continued:
        inquiry.readings.add(everything, readings)
    else:
        found = [place == 0 and alone for place, alone in enumerate(found)]
    return AnswerTokens(
        pieces=tuple(pieces),
        tokens=tuple(tokens),
        readable=tuple(found),
        continued=continued,
        dialect=dialect,
    )


def _alike(likeliest: dict[str, float], others: dict[str, float]) -> bool:
    """Whether two places have the same likeliest tokens, as where an endpoint does not see what was said before."""
    return likeliest.keys() == others.keys() and all(abs(likeliest[each] - others[each]) < 1e-3 for each in others)
