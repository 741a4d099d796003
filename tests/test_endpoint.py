"""Evidence through an endpoint: a real model behind real HTTP must give what it gives at hand."""

import json
import threading
import time
from itertools import count

import numpy as np
import pytest
from PIL import Image

from chat_server import PLAIN, STRICT, VLLM, ChatServer, error, picture, serving
from wherenot.endpoint import BudgetSpent, EndpointConfig, EndpointError, explain_endpoint
from wherenot.explain_generation import explain_generation
from wherenot.generation_evidence import GenerationEvidence
from wherenot.models.tiny_vlms import tiny_vlm
from wherenot.models.vlm import VisionLanguageModel
from wherenot.regions import Grid
from wherenot.search import Exact, Fast

# Sizes that the model's processor leaves as they are: hiding before it and after it is then the same.
SIDES = {"llava": 84, "qwen2_5_vl": 112}
EVERY = 100_000
GRID, HALVES = Grid(2, 2), Grid(1, 2)


def photograph(side, seed=1):
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)


@pytest.fixture(scope="module")
def vlms():
    return {family: VisionLanguageModel(*tiny_vlm(family)) for family in SIDES}


@pytest.fixture
def llava(vlms):
    return vlms["llava"]


IMAGE = photograph(84)


def through(server, url, path, image=IMAGE, prompt="What?", *, config=None, **options):
    config = config or EndpointConfig(retries=1, timeout_s=20.0)
    options = {"regions": GRID, "max_tokens": 6, **options}
    return explain_endpoint(
        image, prompt, url=url, model=server.name, readings=path / "x.jsonl", config=config, **options
    )


def assert_same(found, expected, atol=1e-5):
    assert found.evidence.order.tolist() == expected.evidence.order.tolist()
    assert (found.pieces, found.chosen, found.targets) == (expected.pieces, expected.chosen, expected.targets)
    assert found.prompt == expected.prompt
    for name in ("insertion", "deletion", "empty", "full"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), atol=atol)
    for name in ("values", "insertion", "deletion"):
        np.testing.assert_allclose(getattr(found.evidence, name), getattr(expected.evidence, name), atol=atol)
    assert np.array_equal(found.evidence.labels, expected.evidence.labels)
    assert found.evidence.forwards == expected.evidence.forwards
    assert (found.evidence.search, found.evidence.fill) == (expected.evidence.search, expected.evidence.fill)


@pytest.mark.parametrize(
    ("family", "kind"),
    [("llava", VLLM), ("llava", PLAIN), ("llava", STRICT), ("qwen2_5_vl", VLLM), ("qwen2_5_vl", PLAIN)],
)
def test_the_same_as_the_model_at_hand(vlms, family, kind, tmp_path):
    vlm, image = vlms[family], photograph(SIDES[family])
    server = ChatServer(vlm, kind)
    config = EndpointConfig(top_logprobs=EVERY)
    with serving(server) as url:
        found = through(server, url, tmp_path, image, config=config, tokens="1:4")
    assert_same(found, explain_generation(vlm, image, "What?", regions=GRID, max_tokens=6, tokens="1:4"))
    assert found.evidence.target == -1


@pytest.mark.parametrize(("fill", "search"), [("blur", Exact()), ("black", Fast())])
def test_other_fills_and_searches(llava, fill, search, tmp_path):
    server = ChatServer(llava)
    options = {"fill": fill, "search": search, "regions": Grid(3, 2), "answer": "A dog.", "tokens": "word:dog"}
    with serving(server) as url:
        found = through(server, url, tmp_path, max_regions=3, stop_above=0.9, **options)
    expected = explain_generation(llava, IMAGE, "What?", max_regions=3, stop_above=0.9, **options)
    assert len(found.evidence.order) == 3
    assert_same(found, expected)


def test_what_is_not_among_the_likeliest_counts_as_0(llava, tmp_path):
    server = ChatServer(llava, PLAIN)
    with serving(server) as url:
        found = through(server, url, tmp_path, tokens="0:3")
    expected = explain_generation(llava, IMAGE, "What?", regions=GRID, max_tokens=6, tokens="0:3")
    lost = found.deletion == 0
    assert lost.any()
    assert not lost.all()
    np.testing.assert_allclose(found.deletion[~lost], expected.deletion[~lost], atol=1e-5)
    assert expected.deletion[lost].max() < 0.02  # the 20th of a distribution that is not flat


@pytest.mark.parametrize("kind", [VLLM, PLAIN])
def test_the_tokens_of_a_given_answer_are_found(llava, kind, tmp_path):
    server = ChatServer(llava, kind)
    config = EndpointConfig(top_logprobs=EVERY)
    with serving(server) as url:
        found = through(server, url, tmp_path, answer="or] th]", tokens="1:3", config=config)
    assert found.pieces == ("or", "]", " th", "]")
    assert_same(found, explain_generation(llava, IMAGE, "What?", answer="or] th]", tokens="1:3", regions=GRID))


@pytest.mark.parametrize("kind", [VLLM, PLAIN])
def test_sensitive_tokens_and_counters(llava, kind, tmp_path):
    server = ChatServer(llava, kind)
    options = {"regions": HALVES, "max_tokens": 6}
    config = EndpointConfig(top_logprobs=EVERY)
    with serving(server) as url:
        sensitive = through(server, url, tmp_path, tokens="sensitive", config=config, **options)
        countered = through(server, url, tmp_path, tokens="0:3", counter="J", config=config, **options)
    assert_same(sensitive, explain_generation(llava, IMAGE, "What?", tokens="sensitive", **options))
    assert_same(countered, explain_generation(llava, IMAGE, "What?", tokens="0:3", counter="J", **options))
    with serving(server) as url, pytest.raises(ValueError, match="contradicts nothing"):
        through(server, url, tmp_path, counter=sensitive.pieces[0], config=config)


def test_one_request_for_a_picture_or_one_for_each_token(llava, tmp_path):
    asked = {}
    for kind in (VLLM, PLAIN):
        server = ChatServer(llava, kind)
        with serving(server) as url:
            found = through(server, url, tmp_path / kind, tokens="1:4")
        asked[kind] = len(server.asked)
    masked = found.evidence.forwards
    assert asked[VLLM] == 1 + masked  # the answer is said once, and the whole image is one of the masked
    assert asked[PLAIN] <= 1 + 1 + 4 + 3 * masked  # one look for prompt log-probabilities, four at its continuing


def test_what_is_sent(llava, tmp_path):
    server = ChatServer(llava)
    with serving(server) as url:
        found = through(server, url, tmp_path, prompt="Where?")
    pixels, labels = np.asarray(IMAGE), found.evidence.labels
    sent = [body["messages"][0]["content"] for body in server.asked]
    assert {content[1]["text"] for content in sent} == {"Where?"}
    shown = set()
    for content in sent:
        got = np.asarray(picture(content[0]["image_url"]["url"]))
        assert got.shape == pixels.shape
        keep = [bool(got[labels == region].any()) for region in range(4)]
        assert np.array_equal(got, np.where(np.array(keep)[labels][..., None], pixels, 0))
        shown.add(tuple(keep))
    assert len(shown) == found.evidence.forwards


@pytest.mark.parametrize("reading", ["whole", "token"])
def test_the_way_of_reading_can_be_chosen(llava, reading, tmp_path):
    server = ChatServer(llava, PLAIN if reading == "whole" else VLLM)
    with serving(server) as url:
        if reading == "whole":
            with pytest.raises(EndpointError, match="gives no log-probabilities of the answer when it is given"):
                through(server, url, tmp_path, config=EndpointConfig(reading=reading))
        else:
            through(server, url, tmp_path, config=EndpointConfig(reading=reading), tokens="0")
            assert not any("prompt_logprobs" in body for body in server.asked)


def test_an_endpoint_that_does_not_continue_can_still_be_asked_about_the_first_token(llava, tmp_path):
    server = ChatServer(llava, STRICT)
    server.continues = False
    with serving(server) as url:
        with pytest.raises(ValueError, match=r"tiny at http.*does not go on with an answer .* --tokens 0"):
            through(server, url, tmp_path)
        found = through(server, url, tmp_path, tokens="0")
        with pytest.raises(ValueError, match="does not go on"):
            through(server, url, tmp_path, answer="oror", tokens="all")
    assert_same(found, explain_generation(llava, IMAGE, "What?", regions=GRID, max_tokens=6, tokens="0"), atol=0.02)


def test_words_that_are_not_likely_are_named(llava, tmp_path):
    server = ChatServer(llava, PLAIN)
    with serving(server) as url, pytest.raises(ValueError, match=r"how likely .* of the answer 'xylophone"):
        through(server, url, tmp_path, answer="xylophone zebra", config=EndpointConfig(top_logprobs=1))


def test_the_newer_name_of_the_limit(llava, tmp_path):
    server = ChatServer(llava, STRICT)

    def demands(body):
        if "max_tokens" in body:
            return error(400, "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.")
        limit = body["max_completion_tokens"]
        del body["max_completion_tokens"]
        return server.answer({**body, "max_tokens": limit})

    server.always = demands
    with serving(server) as url:
        through(server, url, tmp_path, tokens="0:2")
        given = through(server, url, tmp_path, answer="]", tokens="all")
    assert given.pieces == ("]",)


def test_it_goes_on_where_it_stopped(llava, tmp_path):
    server, whole = ChatServer(llava), ChatServer(llava)
    with serving(whole) as url:
        expected = through(whole, url, tmp_path / "whole")
    stopped, partial = [], []
    with serving(server) as url:
        calls = count()

        def fails(body):
            return error(400, "enough") if next(calls) >= 11 else None

        server.always = fails
        with pytest.raises(EndpointError, match=r"x\.jsonl; the same command goes on") as caught:
            through(server, url, tmp_path, on_partial=partial.append)
        assert caught.value.status == 400
        stopped = len((tmp_path / "x.jsonl").read_text().splitlines())
        server.always = None
        before = len(server.asked)
        found = through(server, url, tmp_path)
        again = len(server.asked)
        through(server, url, tmp_path)
    assert_same(found, expected, atol=0)
    assert stopped == 11  # the answer's tokens, and ten pictures of the eleven requests that were answered
    assert again - before == expected.evidence.forwards - (stopped - 1)
    assert len(server.asked) == again  # all is known
    [first] = partial
    ranked = len(first.evidence.order)
    assert 1 <= ranked < 4
    assert first.evidence.order.tolist() == expected.evidence.order[:ranked].tolist()
    np.testing.assert_array_equal(first.insertion, expected.insertion[:ranked])
    first.save(tmp_path / "so_far")
    assert GenerationEvidence.load(tmp_path / "so_far").answer == expected.answer


def test_an_interruption_leaves_what_was_found(llava, tmp_path):
    server, partial, shown = ChatServer(llava), [], []

    def interrupt(number):
        shown.append(number)
        if sum(shown) > 9:
            raise KeyboardInterrupt

    with serving(server) as url:
        with pytest.raises(KeyboardInterrupt):
            through(server, url, tmp_path, on_forward=interrupt, on_partial=partial.append)
        before = len(server.asked)
        found = through(server, url, tmp_path)
    assert partial[0].evidence.order.tolist() == found.evidence.order[: len(partial[0].evidence.order)].tolist()
    assert len(server.asked) < before + 10


def test_an_endpoint_without_log_probabilities_or_words(llava, tmp_path):
    server = ChatServer(llava, PLAIN)

    def wordless(body, **message):
        _, _, content = server.answer(body)
        said = json.loads(content)
        said["choices"][0] |= message
        return 200, {}, json.dumps(said).encode()

    with serving(server) as url:
        server.always = lambda body: wordless(body, logprobs=None)
        for answer in (None, "or]"):
            with pytest.raises(EndpointError, match=r"explain: tiny at http.*/v1 gives no log-prob.* see docs"):
                through(server, url, tmp_path, answer=answer)
        server.always = lambda body: wordless(body, message={"role": "assistant", "content": None})
        with pytest.raises(EndpointError, match=r"tiny at http.*/v1 says nothing to 'What\?'; give the answer"):
            through(server, url, tmp_path)
        server.always = lambda body: wordless(body, message={"role": "assistant", "content": "something else"})
        with pytest.raises(EndpointError, match="do not spell its answer 'something else'"):
            through(server, url, tmp_path)


def test_a_model_that_thinks_first(llava, tmp_path):
    server = ChatServer(llava, PLAIN)

    def thinks(body):
        _, _, content = server.answer(body)
        said = json.loads(content)
        said["choices"][0]["message"]["content"] = "th"  # the last of its tokens
        return 200, {}, json.dumps(said).encode()

    server.always = thinks
    with serving(server) as url, pytest.raises(EndpointError, match="thinks before it answers"):
        through(server, url, tmp_path)


def test_readings_are_those_of_one_question(llava, tmp_path):
    server = ChatServer(llava)

    def asked(**changed):
        before = len(server.asked)
        through(server, url, tmp_path, **{"regions": HALVES, "tokens": "0", **changed})
        return len(server.asked) - before

    with serving(server) as url:
        assert asked() == 5  # the answer is said, and four pictures
        for changed in (
            {"prompt": "Who?"}, {"image": photograph(84, seed=2)}, {"regions": Grid(2, 1)}, {"fill": "blur"},
            {"answer": "A dog."}, {"config": EndpointConfig(reading="token")},
        ):  # fmt: skip
            assert asked(**changed) >= 3, changed
        assert asked(tokens="2:4") == 0  # other tokens of the same answer are known
        server.name = "other"
        assert asked() == 5
    with serving(server) as url:  # another port
        assert asked() == 5


def test_a_damaged_file_is_named(llava, tmp_path):
    server = ChatServer(llava)
    with serving(server) as url:
        for line in ('{"shown": "f"}', "[]", '{"question"'):
            (tmp_path / "x.jsonl").write_text(f"{line}\n")
            with pytest.raises(ValueError, match=r"x\.jsonl, line 1"):
                through(server, url, tmp_path)


def test_it_stops_before_the_budget_is_exceeded(llava, tmp_path):
    server = ChatServer(llava)
    partial = []
    with serving(server) as url:
        config = EndpointConfig(max_total_tokens=800, parallel=3)
        with pytest.raises(BudgetSpent, match=r"tiny at http.* has cost \d+ tokens; .* 800 of --max-total-tokens"):
            through(server, url, tmp_path, config=config, on_partial=partial.append)
        first = len(server.asked)
        found = through(server, url, tmp_path, config=config)
    cost = 66
    assert (800 - 2 * cost) / cost < first <= 800 / cost
    assert len(partial) == 1
    assert len(found.evidence.order) == 4


def test_a_budget_needs_a_server_that_counts(llava, tmp_path):
    server = ChatServer(llava)
    server.counts_tokens = False
    with serving(server) as url:
        with pytest.raises(EndpointError, match="no usage in its replies"):
            through(server, url, tmp_path, config=EndpointConfig(max_total_tokens=800))
        costs = []
        through(server, url, tmp_path, on_cost=costs.append)
    assert costs[0].tokens == 0
    assert "tokens" not in costs[0].sentence()


def test_the_cost_is_an_upper_bound_and_can_be_refused(llava, tmp_path):
    server, costs = ChatServer(llava, PLAIN), []
    with serving(server) as url:

        def refuse(cost):
            costs.append((cost, len(server.asked)))
            raise ValueError("too dear")

        with pytest.raises(ValueError, match="too dear"):
            through(server, url, tmp_path, tokens="0:2", on_cost=refuse)
        [(cost, before)] = costs
        assert len(server.asked) == before
        shown = []
        found = through(server, url, tmp_path, tokens="0:2", on_cost=costs.append, on_forward=shown.append)
    assert cost.requests == 2 * cost.pictures
    assert found.evidence.forwards <= cost.pictures
    assert len(server.asked) - before <= cost.requests
    assert costs[1].tokens_each == cost.tokens_each == 66  # the answer: image and prompt, six tokens and the end
    assert sum(shown) == found.evidence.forwards


def test_requests_are_under_way_at_once_but_not_too_many(llava, tmp_path):
    server = ChatServer(llava)
    with serving(server) as url:
        through(server, url, tmp_path, config=EndpointConfig(parallel=3))
    assert server.most in (2, 3)


def test_a_counter_is_read_instead_of_the_token_it_contradicts(llava, tmp_path):
    server, costs = ChatServer(llava, PLAIN), []
    with serving(server) as url:
        through(server, url, tmp_path, tokens="0", counter="]", regions=HALVES, on_cost=costs.append)
        assert costs[0].requests == costs[0].pictures
        with pytest.raises(ValueError, match="' xylophone' is not among the 20 likeliest tokens of tiny at"):
            through(server, url, tmp_path, tokens="2:4", counter="xylophone", regions=HALVES)


def test_a_failure_does_not_wait_for_others_that_wait(llava, tmp_path):
    server = ChatServer(llava)
    calls, both_asked = count(), threading.Event()

    def some_fail(_):
        match next(calls):
            case 4:
                both_asked.wait(10)  # once the first has to wait, nothing new is asked
                return error(429, "later", {"Retry-After": "60"})
            case 5:
                both_asked.set()
                time.sleep(0.3)
                return error(400, "never")
        return None

    server.always = some_fail
    begin = time.monotonic()
    with serving(server) as url, pytest.raises(EndpointError, match="answers 400: 'never'"):
        through(server, url, tmp_path)
    assert time.monotonic() - begin < 20


def test_the_image_is_left_alone_and_may_have_any_mode(llava, tmp_path):
    server = ChatServer(llava)
    grey, palette = IMAGE.convert("L"), IMAGE.convert("P")
    with serving(server) as url:
        for image in (grey, palette):
            before = image.tobytes()
            through(server, url, tmp_path, image, tokens="0")
            assert image.tobytes() == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"regions": Grid(1, 1)}, "a single region"),
        ({"regions": np.zeros((3, 3), dtype=np.int64) + np.eye(3, dtype=np.int64)}, r"\(3, 3\).*84 x 84 px"),
        ({"answer": " "}, "answer to explain is empty"),
        ({"fill": "drop"}, "black, mean or blur"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_sent(llava, options, message, tmp_path):
    server = ChatServer(llava)
    with serving(server) as url, pytest.raises(ValueError, match=message):
        through(server, url, tmp_path, **options)
    assert not server.asked


def test_nothing_is_written_but_the_readings(llava, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret")
    server = ChatServer(llava)
    with serving(server) as url:
        through(server, url, tmp_path).save(tmp_path / "shot")
    assert {headers["Authorization"] for headers in server.headers} == {"Bearer sk-very-secret"}
    written = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert set(written) == {"x.jsonl", "shot.json", "shot.npz", "shot.tokens.json"}
    assert not any(b"secret" in content for content in written.values())
    records = [json.loads(line) for line in written["x.jsonl"].splitlines()]
    assert {key for record in records for key in record} == {"question", "answer", "picture", "shown", "found"}
