"""A chat completions endpoint over HTTP around a real, tiny vision-language model; it can be told to misbehave."""

from __future__ import annotations

import base64
import io
import json
import threading
import time
from collections import deque
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import torch
from PIL import Image

VLLM, PLAIN, STRICT = "vllm", "plain", "strict"
_EXTRA = {"continue_final_message", "add_generation_prompt", "prompt_logprobs"}
_CORE = {"model", "messages", "temperature", "top_p", "logprobs", "top_logprobs", "max_tokens"}


class ChatServer:
    """What is behind the endpoint.

    Args:
        vlm: The model.
        kind: ``vllm`` gives log-probabilities of prompts, too; ``plain`` continues a begun answer and ignores fields
            that it does not know; ``strict`` refuses them.

    Attributes:
        asked: Bodies of the requests, in the order in which they came.
        headers: Their headers.
        mishaps: What happens instead of answering, one for each request to come; None answers. A mishap is called with
            the request and may answer itself, or return a status, headers and body.
        always: The same for all requests.
        most: Requests that were under way at once.
    """

    def __init__(self, vlm, kind=VLLM, name="tiny"):
        self.vlm, self.kind, self.name = vlm, kind, name
        self.asked, self.headers, self.mishaps, self.always = [], [], deque(), None
        self.continues, self.counts_tokens, self.closes = True, True, ""
        self.under_way = self.most = 0
        self.lock, self.model_lock = threading.Lock(), threading.Lock()
        self.known = {}

    def answer(self, body):
        """The reply to a request, by the protocol."""
        if unknown := set(body) - _CORE - (set() if self.kind == STRICT else _EXTRA):
            return error(400, f"Unrecognized request arguments supplied: {', '.join(sorted(unknown))}")
        if body["model"] != self.name:
            return error(404, f"The model `{body['model']}` does not exist.")
        messages = body["messages"]
        [user] = [message for message in messages if message["role"] == "user"]
        image, prompt = picture(user["content"][0]["image_url"]["url"]), user["content"][1]["text"]
        said = messages[-1]["content"] if messages[-1]["role"] == "assistant" and self.continues else ""
        with self.model_lock:
            rows, start, ids = self.rows(image, prompt, said)
            limit = body["max_tokens"]
            made, tops = ([], []) if limit == 1 else self.generate(image, prompt, limit)
        if limit == 1:
            made, tops = [int(rows[-1].argmax())], [rows[-1]]
        reply = {
            "object": "chat.completion",
            "choices": [{"index": 0, "finish_reason": "stop", "message": self.message(made), "logprobs": None}],
        }
        if body.get("logprobs"):
            content = [
                self.entry(token, row, body.get("top_logprobs") or 0) for token, row in zip(made, tops, strict=True)
            ]
            reply["choices"][0]["logprobs"] = {"content": content}
        if self.kind == VLLM and body.get("prompt_logprobs") is not None:
            reply["prompt_logprobs"] = self.prompt_logprobs(rows, start, ids)
        if self.counts_tokens:
            reply["usage"] = {"prompt_tokens": len(ids), "completion_tokens": len(made)}
            reply["usage"]["total_tokens"] = len(ids) + len(made)
        return 200, {}, json.dumps(reply).encode()

    def message(self, made):
        ends = self.vlm.processor.tokenizer.eos_token_id
        return {"role": "assistant", "content": self.vlm.text([token for token in made if token != ends])}

    @torch.no_grad()
    def rows(self, image, prompt, said):
        """Log-probabilities of what follows the prompt and each token of the begun answer."""
        encoding = self.vlm.encode(image, prompt)
        answer = self.vlm.processor.tokenizer(said, add_special_tokens=False)["input_ids"] if said else []
        shown = torch.tensor(answer, dtype=torch.long)
        family = self.vlm.family
        inputs = family.longer(encoding.inputs, shown)
        positions = family.positions(self.vlm.model, inputs)
        hidden = self.vlm.model.model(**inputs, position_ids=positions)[0][0]
        logits = family.logits(self.vlm.model, hidden).float()
        return logits.log_softmax(-1)[encoding.num_tokens - 1 :], encoding.num_tokens, inputs["input_ids"][0].tolist()

    def generate(self, image, prompt, limit):
        """Greedily, a token at a time, as the answer is short."""
        encoding = self.vlm.encode(image, prompt)
        made = self.vlm.generate(encoding, max_tokens=limit)
        text = self.vlm.text(made)
        again = self.vlm.processor.tokenizer(text, add_special_tokens=False)["input_ids"]
        assert again == made, "the tiny tokenizer would cut this answer into other tokens; choose another image"
        rows = list(self.rows(image, prompt, text)[0])
        if self.closes:
            made = [*made, self.vlm.processor.tokenizer.eos_token_id]
        return made, rows[: len(made)]

    def entry(self, token, row, top):
        likeliest = row.topk(min(top, len(row)))
        tops = [
            {"token": self.vlm.text([int(other)]), "logprob": float(logprob), "bytes": None}
            for logprob, other in zip(likeliest.values, likeliest.indices, strict=True)
        ]
        return {"token": self.vlm.text([token]), "logprob": float(row[token]), "bytes": None, "top_logprobs": tops}

    def prompt_logprobs(self, rows, start, ids):
        listed = [None] + [{str(token): {"logprob": -1.0, "rank": 9, "decoded_token": "x"}} for token in ids[1:start]]
        for place, token in enumerate(ids[start:]):
            name = self.vlm.text([token]).replace(" ", "Ġ")
            listed.append({str(token): {"logprob": float(rows[place][token]), "rank": 1, "decoded_token": name}})
        return listed


def picture(url):
    """The image of a data URL."""
    head, _, data = url.partition(",")
    assert head == "data:image/png;base64"
    return Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")


def error(status, message, headers=None, code=None):
    """An error as OpenAI's API gives it."""
    said = {"error": {"message": message, "type": "invalid_request_error", "code": code}}
    return status, headers or {}, json.dumps(said).encode()


def late(seconds):
    """A mishap: nothing comes for a while."""

    def happen(_):
        time.sleep(seconds)
        return error(500, "too late")

    return happen


@contextmanager
def serving(server):
    """Serve on a free port; gives the URL of the API."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def do_GET(self):
            server.headers.append(dict(self.headers))
            self.send(200, {}, json.dumps({"data": [{"id": server.name}]}).encode())

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with server.lock:
                server.asked.append(body)
                server.headers.append(dict(self.headers))
                server.under_way += 1
                server.most = max(server.most, server.under_way)
                mishap = server.mishaps.popleft() if server.mishaps else server.always
            try:
                said = mishap(body) if callable(mishap) else mishap
                if said is None and self.path != "/v1/chat/completions":
                    said = error(404, "Not Found")
                said = server.answer(body) if said is None else said
            finally:
                with server.lock:
                    server.under_way -= 1
            self.send(*said)

        def send(self, status, headers, content):
            try:
                self.send_response(status)
                for name, value in {"Content-Length": str(len(content)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{http.server_port}/v1"
    finally:
        http.shutdown()
        thread.join()
        http.server_close()
