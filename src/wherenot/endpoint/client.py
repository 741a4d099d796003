"""Requests to an OpenAI-compatible endpoint: time limits, retries, and what they cost."""

from __future__ import annotations

import http.client
import json
import os
import random
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

from wherenot.endpoint.config import EndpointConfig, base_url
from wherenot.endpoint.errors import BudgetSpent, EndpointError, error_code, refusal, what_it_says

_PASSING = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
_NEWER = "max_completion_tokens"
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 60.0
_MOST_PATIENCE_S = 600.0  # a server that asks to wait for longer is not waited for


@dataclass(eq=False)
class _Failure(Exception):
    """One request that came to nothing."""

    what: str
    status: int | None = None
    passing: bool = True
    wait_s: float | None = None


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would carry the key to another host."""

    def redirect_request(self, req, fp, code, msg, headers, newurl) -> None:  # noqa: ARG002
        """Follow none; it becomes an error."""
        return


class Endpoint:
    """A model behind an OpenAI-compatible endpoint. Several threads may ask at once.

    Args:
        url: Base of the API, such as ``http://localhost:8000/v1``.
        model: What the endpoint calls the model.
        config: How it is asked.

    Attributes:
        url: Base of the API.
        model: What the endpoint calls the model.
        requests: Replies so far.
        tokens: Tokens that these have cost by the server's own count.
        largest: The most that one of them has cost.

    Raises:
        ValueError: If the URL is none that can be asked, or the model has no name.
    """

    def __init__(self, url: str, model: str, config: EndpointConfig = EndpointConfig()) -> None:
        if not model:
            raise ValueError("Endpoint: name the model as the endpoint calls it.")
        self.url, self.model, self.config = base_url(url), model, config
        self.requests = self.tokens = self.largest = 0
        self._under_way = 0
        self._limit = "max_tokens"
        self._lock = threading.Lock()
        self._pause_until = 0.0
        self._stopped = threading.Event()
        self._jitter = random.Random()
        self._opener = urllib.request.build_opener(_NoRedirect)

    @property
    def name(self) -> str:
        """Model and URL, for people."""
        return f"{self.model} at {self.url}"

    def stop(self) -> None:
        """Let no request begin any more, nor wait to be sent again."""
        self._stopped.set()

    def complete(self, body: Mapping[str, Any], *, probing: bool = False) -> dict[str, Any]:
        """Ask for a chat completion.

        Args:
            body: Fields of the request apart from the model's name. ``max_tokens`` goes under its newer name where the
                endpoint demands it.
            probing: Whether the endpoint may not understand it; a status of 500 is then no passing failure.

        Returns:
            The reply, with one choice at least.

        Raises:
            EndpointError: If there is none to be had, saying why and what to do.
            BudgetSpent: If it might cost more tokens than are left.
        """
        reserved = self._reserve()
        try:
            for attempt in range(self.config.retries + 1):
                self._wait()
                limit = self._limit
                try:
                    reply = self._checked(self._send("/chat/completions", self._payload(body, limit)))
                except _Failure as failure:
                    if failure.status == 400 and _NEWER in failure.what and limit != _NEWER:
                        self._limit = _NEWER
                        return self.complete(body, probing=probing)
                    failure.passing &= not (probing and failure.status == 500)
                    if not failure.passing or attempt == self.config.retries:
                        raise self._error(failure, attempt + 1) from None
                    self._put_off(failure, attempt)
                else:
                    self._count(reply)
                    return reply
        finally:
            self._release(reserved)
        raise AssertionError("the last attempt returns or raises")

    def _payload(self, body: Mapping[str, Any], limit: str) -> bytes:
        renamed = {limit if name == "max_tokens" else name: value for name, value in body.items()}
        return json.dumps({"model": self.model, **renamed}).encode()

    def _send(self, path: str, payload: bytes | None) -> bytes:
        """One request, read to its end within the time limit."""
        deadline = time.monotonic() + self.config.timeout_s
        headers = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "wherenot"}
        if key := self._key():
            headers["Authorization"] = f"Bearer {key}"
        request = urllib.request.Request(self.url + path, data=payload, headers=headers)
        try:
            with self._opener.open(request, timeout=self.config.timeout_s) as response:
                parts = []
                while part := response.read1(1 << 16):
                    parts.append(part)
                    if time.monotonic() > deadline:
                        raise TimeoutError
                if response.length:  # what was promised and did not come
                    raise http.client.IncompleteRead(b"".join(parts), response.length)
                return b"".join(parts)
        except urllib.error.HTTPError as error:
            said = _body(error)
            wait_s = _seconds(error.headers.get("Retry-After"))
            passing = error.code in _PASSING and error_code(said) != "insufficient_quota"
            passing = passing and (wait_s is None or wait_s <= _MOST_PATIENCE_S)
            raise _Failure(what_it_says(said, key), error.code, passing, wait_s) from None
        except urllib.error.URLError as error:
            if isinstance(error.reason, TimeoutError):
                raise _Failure(self._late()) from None
            # Before the first reply the URL may be wrong, and waiting would not mend it.
            raise _Failure(f"cannot be reached ({error.reason})", passing=self.requests > 0) from None
        except TimeoutError:
            raise _Failure(self._late()) from None
        except (OSError, http.client.HTTPException) as error:
            raise _Failure(f"broke the connection off ({type(error).__name__})") from None

    def _checked(self, raw: bytes) -> dict[str, Any]:
        try:
            reply = json.loads(raw)
            reply["choices"][0]["message"]
        except (ValueError, KeyError, IndexError, TypeError):
            begins = what_it_says(raw, self._key())[:80]
            raise _Failure(f"answers with something that is no chat completion ({begins!r})", None, False) from None
        return reply

    def _error(self, failure: _Failure, tries: int) -> EndpointError:
        status, who = failure.status, f"explain: {self.name}"
        times = f"{tries} times in a row" if tries > 1 else "once"
        if status is None and not failure.passing:
            text = f"{who} {failure.what}. Is it running, and is this the base of its API (mostly it ends in /v1)?"
        elif status is None:
            text = f"{who} {failure.what}, {times}. Is it still running? A slow one wants a larger --timeout-s or a "
            text += "smaller --parallel."
        elif status == 429 and failure.passing:
            text = f"{who} answers 429 (too many requests) {times}, the last time: {failure.what!r}. Lower --parallel, "
            text += "raise --retries, or call again later."
        elif failure.wait_s is not None and failure.wait_s > _MOST_PATIENCE_S:
            text = f"{who} answers {status} and asks to wait {failure.wait_s:.0f} s: {failure.what!r}. Call again then."
        elif failure.passing:
            text = f"{who} answers {status} {times}, the last time: {failure.what!r}. See the server's own log."
        else:
            text = refusal(who, status, failure.what, self.config.key_variable, self._key() is not None)
            text += self._offered() if status == 404 else ""
        return EndpointError(text, status=status)

    def _offered(self) -> str:
        """The models that an endpoint has, as a sentence; nothing if it does not say."""
        try:
            names = [str(each["id"]) for each in json.loads(self._send("/models", None))["data"]]
        except (_Failure, ValueError, KeyError, TypeError):
            return ""
        shown = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
        return f" It offers: {shown}." if names else ""

    def _late(self) -> str:
        return f"does not answer within {self.config.timeout_s:g} s"

    def _key(self) -> str | None:
        """Looked up where it is needed, and not kept."""
        key = os.environ.get(self.config.key_variable, "").strip()
        if not (key.isascii() and key.isprintable()):  # the standard library would quote it in its own error
            raise EndpointError(
                f"explain: the value of the environment variable {self.config.key_variable} cannot be a key: it has "
                "characters other than printable ASCII."
            )
        return key or None

    def _reserve(self) -> int:
        """Tokens put aside for a request, as many as the largest cost so far."""
        with self._lock:
            most = self.config.max_total_tokens
            if most is not None and self.tokens + self._under_way + self.largest > most:
                raise BudgetSpent(
                    f"explain: {self.name} has cost {self.tokens} tokens; the next request may exceed the "
                    f"{most} of --max-total-tokens. Each run counts from 0: call again to go on, or raise it."
                )
            self._under_way += self.largest
            return self.largest

    def _release(self, reserved: int) -> None:
        with self._lock:
            self._under_way -= reserved

    def _count(self, reply: Mapping[str, Any]) -> None:
        cost = total_tokens(reply)
        if cost is None and self.config.max_total_tokens is not None:
            raise EndpointError(
                f"explain: {self.name} does not say what a request costs (no usage in its replies), so "
                "--max-total-tokens cannot be kept; leave it out."
            )
        with self._lock:
            self.requests += 1
            self.tokens += cost or 0
            self.largest = max(self.largest, cost or 0)

    def _wait(self) -> None:
        """Until nobody has been asked to wait any longer."""
        while (left_s := self._pause_until - time.monotonic()) > 0 and not self._stopped.is_set():
            self._stopped.wait(left_s)
        if self._stopped.is_set():
            raise EndpointError(f"explain: the requests to {self.name} were stopped.")

    def _put_off(self, failure: _Failure, attempt: int) -> None:
        """What one request is told to wait, all of them wait."""
        with self._lock:
            longest = min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2**attempt)
            wait_s = self._jitter.uniform(longest / 2, longest) + (failure.wait_s or 0.0)
            self._pause_until = max(self._pause_until, time.monotonic() + wait_s)


def total_tokens(reply: Mapping[str, Any]) -> int | None:
    """Tokens that a reply has cost; None if the server does not say."""
    usage = reply.get("usage")
    total = usage.get("total_tokens") if isinstance(usage, dict) else None
    return total if isinstance(total, int) else None


def _body(error: urllib.error.HTTPError) -> bytes:
    """What a server says about its refusal, as far as it arrives."""
    with error:
        try:
            return error.read(1 << 16)
        except (OSError, http.client.HTTPException):
            return b""


def _seconds(retry_after: str | None) -> float | None:
    """What a Retry-After header asks for, in seconds or until a date."""
    if retry_after is None:
        return None
    try:
        return max(0.0, float(retry_after))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(retry_after).timestamp() - time.time())
    except ValueError:
        return None
