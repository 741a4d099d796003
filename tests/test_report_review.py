"""The review page in a real browser: decide by keys and mouse, filter, download, and apply what was decided."""

import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image

from browsers import launched, needs_browser, opened
from wherenot.cli import main
from wherenot.data import DataError, Dataset, Sample, read_folder, write_folder
from wherenot.data.origins import Origin
from wherenot.data.review import prior_key, read_review, with_review
from wherenot.priors import Prior
from wherenot.report.review import write_review

HEIGHT, WIDTH = 40, 60
EVIL = "</script><!--<script><img src=x onerror=window.caught=1>"
SCORES = {"a": 0.9, "b": 0.2, "c": 0.5, "d": None, "e": 0.3}


def inside(place):
    area = torch.zeros(HEIGHT, WIDTH, dtype=torch.bool)
    area[5 + place : 20, 10:40] = True
    return area


def sample(name, place, score, **more):
    pixels = np.random.default_rng(place).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    origin = Origin(kind="grounding", model="some/model", prompt=f"a {name}", score=score, threshold=0.1)
    if score is None:
        origin = Origin(kind="boxes", model="GrabCut", boxes=((8.0, 3.0, 42.0, 22.0),))
    forbidden = torch.zeros(HEIGHT, WIDTH, dtype=torch.bool)
    forbidden[30:, 50:] = True
    prior = Prior(inside(place), forbidden if name == "a" else None)
    split = more.pop("split", "train")
    return Sample(
        f"{split}/{name}.png", place % 2, split, None, partial(Image.fromarray, pixels), partial(given, prior),
        **{"origin": origin, **more},
    )  # fmt: skip


def given(prior):
    return prior


def proposed():
    samples = [sample(name, place, score) for place, (name, score) in enumerate(SCORES.items())]
    samples.append(sample("f", 5, 0.1, origin=None))
    samples.append(sample("g", 6, 0.1, origin=Origin(kind="grounding", score=0.1, accepted=True)))
    return Dataset("zoo", ("cat", "dog"), tuple(samples))


@pytest.fixture(scope="module")
def chromium():
    with launched() as chromium:
        yield chromium


@pytest.fixture
def page(chromium, tmp_path):
    write_folder(proposed(), tmp_path / "zoo")
    assert main(["data", "review", str(tmp_path / "zoo"), "-o", str(tmp_path / "review.html")]) == 0
    with opened(chromium, tmp_path / "review.html", viewport={"width": 1100, "height": 900}) as page:
        yield page


def names(page):
    return [name.removeprefix("train/").removesuffix(".png") for name in page.locator("#cards .name").all_inner_texts()]


def counts(page):
    return [page.locator(f"#count-{each}").inner_text() for each in ("accepted", "rejected", "undecided")]


def downloaded(page):
    with page.expect_download() as download:
        page.locator("button.download").click()
    assert download.value.suggested_filename == "review.jsonl"
    return download.value


@needs_browser
def test_decisions_by_keys_and_mouse_are_downloaded_and_applied(page, tmp_path):
    assert names(page) == ["b", "e", "c", "a", "d"]  # the least sure first, without a score last
    assert page.locator("button.download").is_disabled()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("r")  # b
    page.keyboard.press("a")  # e
    page.keyboard.press("a")  # c, taken back
    page.keyboard.press("u")
    page.locator(".card", has_text="a.png").get_by_role("button", name="Reject").click()
    page.locator(".card", has_text="d.png").get_by_role("button", name="Accept").click()
    page.locator(".card", has_text="d.png").get_by_role("button", name="Reject").click()
    assert counts(page) == ["1", "3", "1"]
    file = tmp_path / "review.jsonl"
    downloaded(page).save_as(file)
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert {line["id"]: line["decision"] for line in lines} == {
        "train/b.png": "rejected", "train/e.png": "accepted", "train/a.png": "rejected", "train/d.png": "rejected",
    }  # fmt: skip
    assert {line["prior"] for line in lines if line["id"] == "train/e.png"} == {prior_key(Prior(inside(4)))}

    assert main(["data", "convert", str(tmp_path / "zoo"), str(tmp_path / "new"), "--review", str(file)]) == 0
    after = {sample.id[-5]: sample for sample in read_folder(tmp_path / "new").samples}
    assert after["b"].read_prior() is None
    assert after["a"].read_prior().allowed is None  # what a person forbade stays
    assert after["a"].read_prior().forbidden.sum() == 100
    assert after["e"].origin.accepted
    assert torch.equal(after["e"].read_prior().allowed, inside(4))
    assert after["d"].read_prior().allowed.sum() == (42 - 8) * (22 - 3)  # the boxes by hand are back
    assert {name: each.origin and each.origin.accepted for name, each in after.items()} == {
        "a": None, "b": None, "c": False, "d": None, "e": True, "f": None, "g": True,
    }  # fmt: skip
    rejections = [each for each in read_review(file) if each.verdict == "rejected"]
    with pytest.raises(DataError, match="not one decision fits"):
        with_review(read_folder(tmp_path / "new"), rejections)


@needs_browser
def test_filters_order_and_what_the_browser_keeps(page):
    from playwright.sync_api import expect  # waits

    expect(page.locator(".card")).to_have_count(5)
    page.keyboard.press("ArrowRight")
    page.keyboard.press("r")
    expect(page.locator("#count-rejected")).to_have_text("1")
    page.wait_for_timeout(500)  # what a page keeps reaches the next one a moment later
    page.reload()
    expect(page.locator("#count-rejected")).to_have_text("1")
    assert counts(page) == ["0", "1", "4"]
    page.locator("select[name=state]").select_option("undecided")
    assert names(page) == ["e", "c", "a", "d"]
    page.keyboard.press("Tab")
    page.locator(".card").first.focus()
    page.keyboard.press("a")
    assert names(page) == ["e", "c", "a", "d"]  # it stays until the filters change
    page.locator("select[name=state]").select_option("accepted")
    assert names(page) == ["e"]
    page.locator("#filters button[type=reset]").click()
    expect(page.locator(".card")).to_have_count(5)
    page.locator("select[name=order]").select_option("sure")
    assert names(page) == ["a", "c", "e", "b", "d"]
    page.locator("select[name=order]").select_option("small")
    assert names(page) == ["e", "d", "c", "b", "a"]
    page.locator("select[name=label]").select_option("dog")
    assert names(page) == ["d", "b"]
    page.locator("select[name=label]").select_option("")
    page.locator("select[name=origin]").select_option("boxes (GrabCut)")
    assert names(page) == ["d"]
    page.locator("select[name=origin]").select_option("")
    page.locator("input[name=score]").fill("40")
    assert names(page) == ["e", "b"]
    page.locator("input[name=search]").fill("a B")
    assert names(page) == ["b"]
    assert page.locator("#found").inner_text() == "1 of 5 priors"


@needs_browser
def test_the_large_view_moves_and_decides(page):
    from playwright.sync_api import expect

    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    expect(page.locator("#large")).to_be_visible()
    expect(page.locator("#large-facts")).to_contain_text("train/b.png")
    expect(page.locator("#large-facts")).to_contain_text("asked for “a b”")
    page.keyboard.press("a")
    expect(page.locator("#large-facts")).to_contain_text("train/e.png")
    page.locator("#large").get_by_role("button", name="Reject").click()
    assert page.locator("#large").get_by_role("button", name="Reject").get_attribute("aria-pressed") == "true"
    page.keyboard.press("ArrowRight")
    expect(page.locator("#large-place")).to_have_text("3 of 5")
    frame = page.locator("#large-picture .stage").bounding_box()
    assert frame["width"] / frame["height"] == pytest.approx(WIDTH / HEIGHT, rel=0.01)
    page.keyboard.press("Escape")
    expect(page.locator("#large")).not_to_be_visible()
    assert counts(page) == ["1", "1", "3"]
    assert page.locator(".card.chosen .name").inner_text() == "train/c.png"
    page.keyboard.press("ArrowDown")  # four cards are in a row
    assert page.locator(".card.chosen").count() == 1
    page.keyboard.press("o")
    assert not page.locator(".card.chosen .proposal").is_visible()


@needs_browser
def test_outlines_lie_on_the_prior(page):
    from playwright.sync_api import expect

    expect(page.locator(".card .line.prior")).to_have_count(5)
    path = page.locator(".card", has_text="e.png").locator(".line.prior").get_attribute("d")
    assert sorted(path.replace("M", " M").split()) == sorted(
        ["M10", "9H40", "M10", "20H40", "M10", "9V20", "M40", "9V20"]
    )
    assert page.locator(".line.forbidden").count() == 1


@needs_browser
def test_whatever_data_are_called_shows_as_text(chromium, tmp_path):
    origin = Origin(kind=EVIL, model=EVIL, prompt=EVIL, score=0.5)
    evil = replace(sample("a", 0, 0.5, origin=origin), id=f"{EVIL}.png", split=EVIL)
    write_review(Dataset(EVIL, (EVIL, "dog"), (evil,)), tmp_path / "r.html")
    asked = []
    with opened(chromium, tmp_path / "r.html") as page:
        page.on("request", lambda request: asked.append(request.url))
        page.keyboard.press("ArrowRight")
        page.keyboard.press("Enter")
        page.keyboard.press("a")
        [line] = downloaded_in(page)
        assert (line["id"], line["split"]) == (f"{EVIL}.png", EVIL)
        assert page.evaluate("window.caught") is None
        shown = page.locator("body").inner_text()
        assert shown.count(EVIL) >= 8
        assert page.locator("img:not([src^='data:']), iframe, [onerror]").count() == 0
    assert not [url for url in asked if not url.startswith(("data:", "blob:"))]


def downloaded_in(page):
    page.keyboard.press("Escape")
    return [json.loads(line) for line in downloaded(page).path().read_text().splitlines()]


@needs_browser
def test_without_a_script_the_page_says_so(chromium, tmp_path):
    write_review(proposed(), tmp_path / "r.html")
    with opened(chromium, tmp_path / "r.html", java_script_enabled=False) as page:
        assert "needs its own script" in page.locator("noscript p").inner_text()
        assert not page.locator("#work").is_visible()


def test_the_lowest_scores_come_first_and_the_rest_is_counted(tmp_path):
    done = []
    found = write_review(proposed(), tmp_path / "r.html", at_most=2, on_sample=lambda: done.append(1))
    assert (found.shown, found.undecided, found.bad) == (2, 5, ())
    page = (tmp_path / "r.html").read_text()
    assert all(f"train/{name}.png" in page for name in "be")
    assert not any(f"train/{name}.png" in page for name in "acdfg")
    assert "3 more with higher scores" in " ".join(page.split())
    assert len(done) == 2


def test_what_cannot_be_read_is_named(tmp_path):
    def broken():
        raise DataError("a.png: the pixels cannot be decoded")

    zoo = proposed()
    samples = (replace(zoo.samples[0], read_image=broken), *zoo.samples[1:])
    found = write_review(replace(zoo, samples=samples), tmp_path / "r.html")
    assert found.shown == 4
    assert found.bad[0].reason == "a.png: the pixels cannot be decoded"


def test_nothing_to_review_is_an_error(tmp_path):
    zoo = proposed()
    with pytest.raises(DataError, match="every prior is by hand or accepted"):
        write_review(replace(zoo, samples=zoo.samples[5:]), tmp_path / "r.html")
    with pytest.raises(ValueError, match="has no split 'test'"):
        write_review(zoo, tmp_path / "r.html", splits=["test"])
    with pytest.raises(ValueError, match="at_most is 0"):
        write_review(zoo, tmp_path / "r.html", at_most=0)
    assert not (tmp_path / "r.html").exists()
