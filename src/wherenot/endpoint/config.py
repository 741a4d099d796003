"""How an endpoint is asked."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit, urlunsplit

ReadingName = Literal["auto", "whole", "token"]


@dataclass(frozen=True, kw_only=True)
class EndpointConfig:
    """How an OpenAI-compatible endpoint is asked; the key comes from the environment and from nowhere else."""

    reading: ReadingName = "auto"
    """whole: one request per masked image, where the server gives log-probabilities of a prompt (vLLM); token: one per
    masked image and explained token, where it gives those of the next token; auto: the first that works."""
    parallel: int = 4
    """Requests under way at once."""
    timeout_s: float = 120.0
    """Seconds that one request may take."""
    retries: int = 6
    """How often a request that failed for a passing reason (429, 5xx, no answer) is sent again."""
    max_total_tokens: int | None = None
    """Stop before the tokens that the server counts, those of the images included, exceed this; none: no limit."""
    top_logprobs: int = 20
    """Likeliest tokens asked for at each place; one that is not among them counts as probability 0."""
    key_variable: str = "OPENAI_API_KEY"
    """Environment variable with the key; its value is sent to the endpoint and written nowhere."""

    def __post_init__(self) -> None:
        if min(self.parallel, self.top_logprobs) < 1 or self.retries < 0 or self.timeout_s <= 0:
            raise ValueError(
                "EndpointConfig: parallel and top_logprobs must be >= 1, retries >= 0 and timeout_s > 0; got "
                f"{self.parallel}, {self.top_logprobs}, {self.retries} and {self.timeout_s}."
            )
        if self.max_total_tokens is not None and self.max_total_tokens < 1:
            raise ValueError(f"EndpointConfig: max_total_tokens must be >= 1, got {self.max_total_tokens}.")
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", self.key_variable):
            # What stands here in its place may well be the key; it is not repeated.
            raise ValueError("EndpointConfig: key_variable must be the name of an environment variable, not a key.")


def base_url(endpoint: str) -> str:
    """The base of an endpoint's API; ``/v1`` where the URL has no path.

    Raises:
        ValueError: If it is no http(s) URL, or has a user, a password, a query or a fragment, which are not repeated.

    Example:
        >>> base_url("http://localhost:8000"), base_url("https://api.openai.com/v1/chat/completions")
        ('http://localhost:8000/v1', 'https://api.openai.com/v1')
    """
    try:
        parts = urlsplit(endpoint.strip())
        known = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        known, parts = False, urlsplit("")
    if not known:
        raise ValueError("base_url: the endpoint must be a URL such as http://localhost:8000/v1.")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ValueError(
            f"base_url: the URL of the endpoint at {parts.hostname} must have no user, password, query or fragment; "
            "a key belongs into an environment variable."
        )
    path = parts.path.rstrip("/").removesuffix("/chat/completions").rstrip("/")
    return urlunsplit((parts.scheme, parts.netloc, path or "/v1", "", ""))
