"""What is asked of an endpoint about one picture, and how its replies are read: the chat completions protocol."""

from __future__ import annotations

import math
import re
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from wherenot.endpoint.errors import NoLogProbabilities
from wherenot.endpoint.spelling import plain, spell

_GO_ON = (
    "The last message is the beginning of your own answer. Go on exactly where it stops, in the middle of a word if "
    "need be. Do not repeat it, do not begin anew, and add nothing before what comes next."
)

Reply = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """What an endpoint understands beyond the common core of the protocol.

    Attributes:
        whole: It gives log-probabilities of a prompt, and so of a whole answer at once.
        continues: It can be told to go on with the last message; otherwise the model itself is asked to.
    """

    whole: bool = False
    continues: bool = True


@runtime_checkable
class Question(Protocol):
    """One request about a masked picture, and what it tells of the answer's tokens."""

    @property
    def names(self) -> tuple[str, ...]:
        """Which readings it gives."""
        ...

    def body(self, picture: str, prompt: str, dialect: Dialect) -> dict[str, Any]:
        """The request about a picture, which is given as a data URL."""
        ...

    def read(self, reply: Reply) -> dict[str, float] | None:
        """The probabilities, by name; None if the reply has none and another may."""
        ...


@dataclass(frozen=True)
class NextToken:
    """How likely a token is next, given the answer so far: it is looked up among the likeliest.

    Attributes:
        name: Of the reading.
        said: The answer so far.
        token: The token as the server writes it.
        top: How many of the likeliest are asked for.

    References:
        EAGLE's variant for models behind an API: the probability is 0 if neither the token nor the token without its
        leading blank is among the 20 likeliest.
    """

    name: str
    said: str
    token: str
    top: int

    @property
    def names(self) -> tuple[str, ...]:
        """The one reading."""
        return (self.name,)

    def body(self, picture: str, prompt: str, dialect: Dialect) -> dict[str, Any]:
        """One token more, whichever it is: at temperature 1 every server's probabilities are those of the model."""
        wanted = {"temperature": 1, "top_p": 1, "logprobs": True, "top_logprobs": self.top, "max_tokens": 1}
        return {**conversation(picture, prompt, self.said, dialect), **wanted}

    def read(self, reply: Reply) -> dict[str, float] | None:
        """Its probability."""
        if (likeliest := likeliest_next(reply)) is None:
            return None
        for text in (self.token, self.token.lstrip()):
            if text and text in likeliest:
                return {self.name: likeliest[text]}
        return {self.name: 0.0}


@dataclass(frozen=True)
class WholeAnswer:
    """How likely each token of an answer is, all at once: the answer is part of the prompt.

    Attributes:
        answer: The answer.
        tokens: Its tokens as the server writes them; empty where they are not known yet.
        wanted: Name and place of each reading; all places under their number if empty.
    """

    answer: str
    tokens: tuple[str, ...] = ()
    wanted: tuple[tuple[str, int], ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """A reading for each token, or those that are wanted."""
        return tuple(name for name, _ in self.wanted) or tuple(str(place) for place in range(len(self.tokens)))

    def body(self, picture: str, prompt: str, dialect: Dialect) -> dict[str, Any]:
        """A token more than the answer has to be generated; it is not read."""
        said = conversation(picture, prompt, self.answer, dialect)
        return {**said, "temperature": 1, "prompt_logprobs": 0, "max_tokens": 1}

    def read(self, reply: Reply) -> dict[str, float] | None:
        """The probabilities of its tokens."""
        tokens, probabilities = self.spelled(reply)
        if self.tokens and tokens != self.tokens:
            raise NoLogProbabilities(
                f"cuts the answer {self.answer!r} into other tokens for one picture than for another; use --reading "
                "token."
            )
        wanted = self.wanted or [(str(place), place) for place in range(len(tokens))]
        return {name: probabilities[place] for name, place in wanted}

    def spelled(self, reply: Reply) -> tuple[tuple[str, ...], list[float]]:
        """The answer's tokens as the server writes them, and the probability of each."""
        # A position is a mapping from token ids; the token that stands there comes first.
        positions = [next(iter(each.values()), {}) if each else {} for each in reply.get("prompt_logprobs") or []]
        tokens = [str(each.get("decoded_token") or "") for each in positions]
        found = spell(tokens, self.answer)
        if found is None:
            raise NoLogProbabilities("gives no log-probabilities of the answer when it is given; use --reading token.")
        first = found[0]
        return tuple(tokens[first:]), [probability(each.get("logprob")) for each in positions[first:]]


def conversation(picture: str, prompt: str, said: str, dialect: Dialect) -> dict[str, Any]:
    """A picture and a prompt, and the beginning of the answer if there is one.

    Example:
        >>> list(conversation("data:,", "What?", "A", Dialect()))
        ['messages', 'continue_final_message', 'add_generation_prompt']
    """
    image = {"type": "image_url", "image_url": {"url": picture}}
    messages: list[dict[str, Any]] = [{"role": "user", "content": [image, {"type": "text", "text": prompt}]}]
    if not said:
        return {"messages": messages}
    messages.append({"role": "assistant", "content": said})
    if dialect.continues:
        return {"messages": messages, "continue_final_message": True, "add_generation_prompt": False}
    return {"messages": [{"role": "system", "content": _GO_ON}, *messages]}


def data_url(pixels: UInt8[np.ndarray, "H W 3"]) -> str:
    """A picture as text, lossless."""
    file = BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return "data:image/png;base64," + b64encode(file.getvalue()).decode()


def spoken(reply: Reply) -> str:
    """What the model says; empty if it says nothing."""
    content = reply["choices"][0]["message"].get("content")
    return content if isinstance(content, str) else ""


def tokens_spoken(reply: Reply) -> list[tuple[str, float]]:
    """The tokens that the model has generated, as the server writes them, and their probabilities.

    Raises:
        NoLogProbabilities: If the reply has none.
    """
    given = _logprobs(reply)
    return [(str(each.get("token", "")), probability(each.get("logprob"))) for each in given]


def likeliest_next(reply: Reply) -> dict[str, float] | None:
    """Probabilities of the likeliest first tokens; None if the model stopped without a token.

    Raises:
        NoLogProbabilities: If the reply has none.
    """
    given = _logprobs(reply)
    if not given:
        return None
    first = given[0]
    found: dict[str, float] = {}
    for each in [*(first.get("top_logprobs") or []), first]:
        token, likely = plain(str(each.get("token", ""))), probability(each.get("logprob"))
        found[token] = max(likely, found.get(token, 0.0))
    return found


def probability(logprob: object) -> float:
    """What a server's log-probability stands for; servers write very small ones as None or -9999.

    Example:
        >>> probability(0.0), probability(None), probability(-9999.0)
        (1.0, 0.0, 0.0)
    """
    return min(1.0, math.exp(logprob)) if isinstance(logprob, int | float) and not math.isnan(logprob) else 0.0


def words(text: str) -> list[str]:
    """A text in words and signs with the blanks before them; joined they are the text.

    Example:
        >>> words("A dog.")
        ['A', ' dog', '.']
    """
    return re.findall(r"\s*\w+|\s*[^\w\s]|\s+", text)


def _logprobs(reply: Reply) -> list[dict[str, Any]]:
    given = (reply["choices"][0].get("logprobs") or {}).get("content")
    if not isinstance(given, list):
        raise NoLogProbabilities("gives no log-probabilities of what it says.")
    return given
