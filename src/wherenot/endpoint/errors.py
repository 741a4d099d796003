"""What goes wrong with an endpoint, each as one readable block."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from typing import Any

_QUOTED = 300  # characters of a server's own words in an error
_REFUSES_FIELDS = frozenset({400, 422, 500, 501})


class EndpointError(ValueError):
    """An endpoint did not do what it was asked.

    Attributes:
        status: The HTTP status, if it answered at all.
    """

    def __init__(self, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status

    @property
    def may_be_the_fields(self) -> bool:
        """Whether the same question in other words may be answered."""
        return self.status in _REFUSES_FIELDS


class NoLogProbabilities(EndpointError):
    """An endpoint answers, but not with the log-probabilities it was asked for.

    Where it arises nobody knows the endpoint; its words go on after model and URL (`of`).
    """

    def of(self, who: str) -> str:
        """The error as a block about model and URL."""
        advice = "vLLM, llama.cpp and OpenAI's models without reasoning give them: see docs/endpoint.md."
        return f"explain: {who} {self} {advice}"


class BudgetSpent(EndpointError):
    """The next request might cost more tokens than are left to spend."""


def what_it_says(body: bytes | str, secret: str | None) -> str:
    """The words of a server, on one line, short, and without the key should it repeat it.

    Example:
        >>> what_it_says('{"error": {"message": "no such key: abc"}}', "abc")
        'no such key: ***'
    """
    text = body.decode(errors="replace") if isinstance(body, bytes) else body
    with suppress(ValueError):
        text = _message(json.loads(text)) or text
    if secret:
        text = text.replace(secret, "***")
    text = re.sub(r"\s+", " ", text).strip()
    return text if len(text) <= _QUOTED else f"{text[:_QUOTED]}..."


def error_code(body: bytes) -> str:
    """The word that an OpenAI-like error has for programs; empty if it has none."""
    try:
        error = json.loads(body)["error"]
        return str(error.get("code") or error.get("type") or "")
    except (ValueError, KeyError, TypeError, AttributeError):
        return ""


def refusal(who: str, status: int, said: str, key_variable: str, has_key: bool) -> str:
    """One block about a request that will not be answered however often it is sent.

    Args:
        who: Model and URL.
        status: The HTTP status.
        said: What the server says.
        key_variable: Name of the environment variable for the key.
        has_key: Whether it is set.
    """
    told = f"{who} answers {status}: {said!r}." if said else f"{who} answers {status}."
    match status:
        case 401 | 403 if has_key:
            todo = f"The key in the environment variable {key_variable} is not accepted for this model; check it."
        case 401 | 403:
            todo = f"Put the key for this endpoint into the environment variable {key_variable}."
        case 404:
            todo = (
                "Either the endpoint does not know the model, or the URL is not the base of its API (mostly it ends "
                "in /v1)."
            )
        case 413:
            todo = "The image is too large for it; make the image smaller."
        case status if 300 <= status < 400:
            todo = "It redirects elsewhere, where the key is not sent; name the URL that it redirects to."
        case _:
            todo = "It will not take such a request; see what it says."
    return f"{told} {todo}"


def _message(content: Any) -> str:
    """Where servers put what they say: OpenAI and vLLM, FastAPI, others."""
    if isinstance(content, dict):
        for name in ("error", "message", "detail"):
            if content.get(name):
                return _message(content[name])
        return ""
    return content if isinstance(content, str) else json.dumps(content)
