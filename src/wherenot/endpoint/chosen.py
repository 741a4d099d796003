"""Which tokens of an answer are explained through an endpoint, and which questions read them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from wherenot.endpoint.answers import AnswerTokens
from wherenot.endpoint.questions import NextToken, Question, WholeAnswer
from wherenot.endpoint.score import Inquiry
from wherenot.endpoint.spelling import spell
from wherenot.search.memo import Subset
from wherenot.tokens import choose_tokens


@dataclass(frozen=True, kw_only=True)
class ChosenTokens:
    """The tokens that are explained.

    Attributes:
        places: Their places in the answer.
        targets: The text of the token that is read at each of them.
        names: The reading of each.
        questions: What has to be asked about each masked picture.
    """

    places: tuple[int, ...]
    targets: tuple[str, ...]
    names: tuple[str, ...]
    questions: tuple[Question, ...]


def choose(inquiry: Inquiry, answer: AnswerTokens, choice: str, counter: str | None) -> ChosenTokens:
    """Find the tokens that a choice names, and the questions that read them.

    Args:
        inquiry: Puts the questions that the choice itself needs.
        answer: The answer.
        choice: As for `tokens.choose_tokens`.
        counter: A word that would contradict the answer, read in place of the first chosen token, and alone.

    Raises:
        ValueError: If the choice names no token or one that cannot be read, or the counter does not contradict.
        EndpointError: If the endpoint fails.
    """
    full = empty = None
    if choice == "sensitive":
        full, empty = (_readings_of_all(inquiry, answer, subset) for subset in (inquiry.pictures.everything, 0))
    places = choose_tokens(answer.pieces, choice, full=full, empty=empty)
    places = places[:1] if counter else places
    _check_readable(inquiry, answer, places)
    names = [str(place) for place in places]
    targets = [answer.pieces[place] for place in places]
    questions = _questions(inquiry, answer, places[1:] if counter else places)
    if counter:
        targets[0], names[0] = _counter_text(answer, places[0], counter), f"{places[0]}:{counter}"
        questions = [_counter_question(inquiry, answer, places[0], targets[0], names[0]), *questions]
    return ChosenTokens(places=tuple(places), targets=tuple(targets), names=tuple(names), questions=tuple(questions))


def _check_readable(inquiry: Inquiry, answer: AnswerTokens, places: Sequence[int]) -> None:
    lost = [answer.pieces[place] or answer.tokens[place] for place in places if not answer.readable[place]]
    if not lost:
        return
    name, top = inquiry.endpoint.name, inquiry.endpoint.config.top_logprobs
    why = (
        f"they are not among its {top} likeliest tokens, or parts of a character. Choose other tokens (--tokens "
        "word:WORD), or let the model give the answer itself."
    )
    if not answer.continued:
        why = (
            "it does not go on with an answer that is begun for it, or these words are not among its "
            f"{top} likeliest. What it says first can still be explained: --tokens 0."
        )
    raise ValueError(
        f"explain: {name} does not tell how likely {', '.join(map(repr, lost[:5]))} of the answer "
        f"{''.join(answer.pieces)!r} {'is' if len(lost) == 1 else 'are'}: {why}"
    )


def _questions(inquiry: Inquiry, answer: AnswerTokens, places: Sequence[int]) -> list[Question]:
    if answer.dialect.whole:
        return [WholeAnswer("".join(answer.pieces), answer.tokens)] if places else []
    top = inquiry.endpoint.config.top_logprobs
    return [NextToken(str(place), "".join(answer.pieces[:place]), answer.tokens[place], top) for place in places]


def _readings_of_all(inquiry: Inquiry, answer: AnswerTokens, subset: Subset) -> Float[Tensor, " T"]:
    """The probability of each token given a subset; 0 where it cannot be read."""
    places = [place for place, readable in enumerate(answer.readable) if readable]
    inquiry.ask([subset], _questions(inquiry, answer, places), answer.dialect)
    known = inquiry.readings.known[subset]
    return torch.tensor([known[str(place)] if place in places else 0.0 for place in range(len(answer.pieces))])


def _counter_text(answer: AnswerTokens, place: int, counter: str) -> str:
    said = answer.pieces[place]
    return said[: len(said) - len(said.lstrip())] + counter


def _counter_question(inquiry: Inquiry, answer: AnswerTokens, place: int, target: str, name: str) -> Question:
    """Reads the first token of a word that stands where the answer has another."""
    before, everything = "".join(answer.pieces[:place]), inquiry.pictures.everything
    if answer.dialect.whole:
        instead = WholeAnswer(before + target)
        tokens, _ = instead.spelled(inquiry.reply(everything, instead, answer.dialect))
        found = spell(tokens, before + target)
        assert found is not None  # `spelled` has spelled it
        starts = [len("".join(found[1][:index])) for index in range(len(tokens))]
        if len(before) not in starts:
            raise ValueError(f"explain: after {before!r}, {target!r} does not begin with a token of its own.")
        at = starts.index(len(before))
        if found[1][at] == answer.pieces[place]:
            raise _no_counter(target, answer.pieces[place])
        return WholeAnswer(before + target, tokens, ((name, at),))
    if target == answer.pieces[place]:
        raise _no_counter(target, answer.pieces[place])
    question = NextToken(name, before, target, inquiry.endpoint.config.top_logprobs)
    inquiry.ask([0, everything], [question], answer.dialect)
    if not any(inquiry.readings.known[subset][name] for subset in (0, everything)):
        raise ValueError(
            f"explain: {target!r} is not among the {question.top} likeliest tokens of {inquiry.endpoint.name}, with or "
            "without the image; take a word that is a single token."
        )
    return question


def _no_counter(target: str, said: str) -> ValueError:
    return ValueError(
        f"explain: {target!r} begins with the same token as what the model says, {said!r}; it contradicts nothing."
    )
