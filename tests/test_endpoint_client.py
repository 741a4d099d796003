"""Requests over real HTTP to a server that misbehaves."""

import json
import socket
import threading
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from traceback import TracebackException

import pytest

from chat_server import ChatServer, error, late, serving
from wherenot.endpoint import BudgetSpent, EndpointConfig, EndpointError
from wherenot.endpoint.client import Endpoint
from wherenot.endpoint.config import base_url

SECRET = "sk-very-secret"
SAID = {"choices": [{"message": {"role": "assistant", "content": "A dog."}}], "usage": {"total_tokens": 100}}
GOOD = 200, {}, json.dumps(SAID).encode()


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)


@pytest.fixture
def server():
    server = ChatServer(None)
    server.always = lambda _: GOOD
    return server


@pytest.fixture
def url(server):
    with serving(server) as url:
        yield url


def ask(url, model="tiny", **options):
    return Endpoint(url, model, EndpointConfig(**options)).complete({"messages": []})


def failing(url, **options):
    with pytest.raises(EndpointError) as caught:
        ask(url, **options)
    message = str(caught.value)
    assert message.startswith(f"explain: tiny at {url} ")
    assert SECRET not in message
    assert "\n" not in message
    return message


def test_the_key_comes_from_the_variable_that_is_named(server, url, monkeypatch):
    monkeypatch.setenv("MY_KEY", "other")
    ask(url)
    ask(url, key_variable="MY_KEY")
    ask(url, key_variable="UNSET_KEY")
    assert [headers.get("Authorization") for headers in server.headers] == [f"Bearer {SECRET}", "Bearer other", None]
    assert SECRET not in json.dumps(server.asked)


def test_the_key_is_in_nothing_that_is_shown(server, url):
    endpoint = Endpoint(url, "tiny")
    endpoint.complete({"messages": []})
    assert SECRET not in repr(vars(endpoint)) + repr(endpoint) + repr(endpoint.config)
    server.always = error(401, f"Incorrect API key: {SECRET}")
    assert "'Incorrect API key: ***'. The key in the environment variable OPENAI_API_KEY is not" in failing(url)
    server.always = 200, {}, f"<html>{SECRET}</html>".encode()
    assert "'<html>***</html>'" in failing(url)


def test_a_failure_with_its_whole_traceback_does_not_show_the_key(server, url):
    server.always = error(500, SECRET)
    with pytest.raises(EndpointError, match=r"answers 500 once, the last time: '\*\*\*'") as caught:
        ask(url, retries=0)
    told = TracebackException.from_exception(caught.value, capture_locals=False)
    assert SECRET not in "".join(told.format())
    assert caught.value.__suppress_context__


@pytest.mark.parametrize("bad", ["sk-very\nsecret", "sk-verÿ"])
def test_a_key_that_cannot_be_sent_is_not_repeated(url, bad, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", bad)
    with pytest.raises(EndpointError, match="OPENAI_API_KEY cannot be a key") as caught:
        ask(url)
    assert "very" not in str(caught.value)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-fine\n")
    ask(url)


def test_a_key_in_the_place_of_its_name_is_not_repeated():
    with pytest.raises(ValueError, match="must be the name") as caught:
        EndpointConfig(key_variable=SECRET)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("status", [301, 302, 303, 307])
def test_a_redirect_is_not_followed(server, url, status):
    other = ChatServer(None)
    with serving(other) as elsewhere:
        server.always = status, {"Location": f"{elsewhere}/chat/completions"}, b""
        assert f"answers {status}. It redirects elsewhere, where the key is not sent" in failing(url)
    assert not other.headers


def test_too_many_requests_for_a_while(server, url):
    server.mishaps.extend([error(429, "slow down"), error(503, "loading", {"Retry-After": "1"})])
    begin = time.monotonic()
    assert ask(url)["choices"] == SAID["choices"]
    assert 0.25 + 1.5 < time.monotonic() - begin < 6
    assert len(server.asked) == 3


def test_too_many_requests_for_ever(server, url):
    server.always = error(429, "slow down")
    message = failing(url, retries=1)
    assert "answers 429 (too many requests) 2 times in a row, the last time: 'slow down'. Lower --parallel" in message
    assert len(server.asked) == 2


def test_a_wait_that_is_too_long_is_said_and_not_waited(server, url):
    tomorrow = format_datetime(datetime.now(UTC) + timedelta(days=1), usegmt=True)
    server.always = error(429, "no more today", {"Retry-After": tomorrow})
    assert "asks to wait 86" in failing(url)
    server.always = error(429, "quota", code="insufficient_quota")
    assert "answers 429: 'quota'" in failing(url)
    assert len(server.asked) == 2


@pytest.mark.parametrize("said", ["soon", "-3"])
def test_a_wait_that_cannot_be_read_is_our_own(server, url, said):
    server.mishaps.append(error(429, "slow down", {"Retry-After": said}))
    ask(url)
    assert len(server.asked) == 2


def test_a_slow_server(server, url):
    server.always = late(3.0)
    begin = time.monotonic()
    assert "does not answer within 0.3 s, 2 times in a row" in failing(url, timeout_s=0.3, retries=1)
    assert time.monotonic() - begin < 2.5
    assert len(server.asked) == 2


def test_a_server_that_trickles():
    listening = socket.create_server(("127.0.0.1", 0))

    def trickle():
        connection, _ = listening.accept()
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        try:
            for _ in range(100):
                connection.sendall(b" ")
                time.sleep(0.05)
        except OSError:
            pass
        connection.close()

    thread = threading.Thread(target=trickle)
    thread.start()
    url = f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
    begin = time.monotonic()
    assert "does not answer within 0.3 s" in failing(url, timeout_s=0.3, retries=0)
    assert time.monotonic() - begin < 2
    thread.join()
    listening.close()


def test_an_answer_cut_short_is_asked_for_again(server, url):
    server.mishaps.append((200, {"Content-Length": "999", "Connection": "close"}, b'{"choices"'))
    server.mishaps.append((500, {}, b""))
    assert ask(url)["choices"] == SAID["choices"]
    assert len(server.asked) == 3


def test_no_server():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    begin = time.monotonic()
    message = failing(f"http://127.0.0.1:{port}/v1")
    assert "cannot be reached" in message
    assert "Is it running, and is this the base of its API" in message
    assert time.monotonic() - begin < 2


@pytest.mark.parametrize(
    "content", [b"", b"<html>", b"[]", b"{}", b'{"choices": []}', b'{"choices": [{}]}', b"null", b"\xff\xfe"]
)
def test_something_that_is_no_chat_completion(server, url, content):
    server.always = 200, {}, content
    assert "answers with something that is no chat completion" in failing(url)
    assert len(server.asked) == 1


def test_an_unknown_model_and_what_there_is(server, url):
    server.always = error(404, "The model `tiny` does not exist.")
    message = failing(url)
    assert "answers 404: 'The model `tiny` does not exist.'" in message
    assert message.endswith("It offers: tiny.")


def test_who_may_not(server, url, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    server.always = 401, {}, b'{"detail": "Not authenticated"}'
    assert "answers 401: 'Not authenticated'. Put the key for this endpoint into the environment" in failing(url)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'{"error": {"message": "no\\n image"}}', "'no image'"),
        (b'{"error": "no image"}', "'no image'"),
        (b'{"detail": [{"msg": "no image"}]}', '"msg": "no image"'),
        (b"no image " * 100, "..."),
        (b"", "answers 400. It"),
    ],
)
def test_what_a_server_says_about_a_request_it_refuses(server, url, content, said):
    server.always = 400, {}, content
    message = failing(url)
    assert said in message
    assert len(message) < 700
    assert len(server.asked) == 1


def test_a_request_that_may_not_be_understood_is_not_sent_again(server, url):
    server.always = error(500, "KeyError")
    with pytest.raises(EndpointError) as caught:
        Endpoint(url, "tiny").complete({}, probing=True)
    assert caught.value.may_be_the_fields
    assert len(server.asked) == 1


def test_the_budget(server, url):
    endpoint = Endpoint(url, "tiny", EndpointConfig(max_total_tokens=250))
    endpoint.complete({})
    endpoint.complete({})
    with pytest.raises(BudgetSpent, match="has cost 200 tokens"):
        endpoint.complete({})
    assert (endpoint.requests, endpoint.tokens, len(server.asked)) == (2, 200, 2)


def test_stopped_requests_do_not_wait(server, url):
    server.always = error(429, "slow down", {"Retry-After": "60"})
    endpoint = Endpoint(url, "tiny")
    threading.Timer(0.3, endpoint.stop).start()
    begin = time.monotonic()
    with pytest.raises(EndpointError, match="were stopped"):
        endpoint.complete({})
    assert time.monotonic() - begin < 5


@pytest.mark.parametrize(
    "endpoint",
    [
        "localhost:8000", "ftp://host/v1", "http://", "http://host:x/v1", "",
        f"http://user:{SECRET}@host/v1", f"http://host/v1?key={SECRET}", f"http://host/v1#{SECRET}",
    ],
)  # fmt: skip
def test_a_url_that_is_none_or_has_credentials_is_refused_and_not_repeated(endpoint):
    with pytest.raises(ValueError, match="base_url: the ") as caught:
        base_url(endpoint)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("endpoint", "base"),
    [
        ("http://h:1/", "http://h:1/v1"),
        ("https://h/v1/", "https://h/v1"),
        (" http://h/openai/v1/chat/completions ", "http://h/openai/v1"),
    ],
)
def test_the_base_of_the_api(endpoint, base):
    assert base_url(endpoint) == base


@pytest.mark.parametrize(
    "options",
    [{"parallel": 0}, {"timeout_s": 0.0}, {"retries": -1}, {"max_total_tokens": 0}, {"top_logprobs": 0}],
)
def test_settings_that_make_no_sense(options):
    with pytest.raises(ValueError, match=f"EndpointConfig: .*{next(iter(options))}"):
        EndpointConfig(**options)


def test_a_model_without_a_name():
    with pytest.raises(ValueError, match="name the model"):
        Endpoint("http://h", "")
