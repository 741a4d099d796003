"""The page in a real browser: quadrants, filters, the view of a sample with its slider, marks, runs, and no script."""

import json

import numpy as np
import pytest

from browsers import launched, needs_browser, opened
from report_runs import failed, record, row, write_evidence, write_run
from wherenot.report import write_report
from wherenot.report.samples import pack, runs_of

pytestmark = needs_browser

EVIL = "</script><!--<script><img src=x onerror=alert(1)>.png"
HEIGHT, WIDTH = 12, 20
GRID = (np.arange(HEIGHT)[:, None] // 4 * 5 + np.arange(WIDTH) // 4).astype(np.int32) * 40  # labels up to 560
ORDER = np.random.default_rng(0).permutation(np.unique(GRID)).astype(np.int32)
VERDICTS = {  # right, on the prior, confidence, coverage
    "a.png": (True, True, 0.9, 0.8),
    "b.png": (True, False, 0.95, 0.1),
    EVIL: (False, False, 0.6, 0.0),
    "d.png": (True, False, 0.4, 0.05),
}


def written(folder, order, **about):
    """A run on four samples of 15 regions each, and one that failed."""
    curve = np.linspace(0, 1, len(order) + 1)
    values = np.zeros(GRID.max() + 1, np.float32)
    values[order] = np.linspace(1, 0, len(order))
    allowed = np.zeros((HEIGHT, WIDTH), bool)
    allowed[2:7, 3:11] = True
    records = [failed("broken.png") | {"evidence_file": None}]
    for number, (id, (right, hit, sure, coverage)) in enumerate(VERDICTS.items()):
        write_evidence(
            folder / f"evidence/{number}.npz", height=HEIGHT, width=WIDTH, labels=GRID, order=order,
            map=values[GRID], insertion=curve, deletion=1 - curve, top_region=order[0] == GRID, allowed=allowed,
        )  # fmt: skip
        records.append(
            record(
                id, correct=right, hit=hit, coverage=coverage, p_predicted=sure, group="odd" if number % 2 else "even",
                evidence_file=f"evidence/{number}.npz",
            )
        )  # fmt: skip
    return write_run(folder, records=records, rows=[row("top1", 0.75), row("pointing_coverage@0.2", 0.25)], **about)


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    root = tmp_path_factory.mktemp("report")
    runs = [written(root / "plain", ORDER, name="plain"), written(root / "other", ORDER[::-1].copy(), name=EVIL)]
    return write_report(runs, root / "report.html")


@pytest.fixture(scope="module")
def chromium():
    with launched() as chromium:
        yield chromium


@pytest.fixture
def page(chromium, report):
    """A page of each test's own: what one leaves open, filtered or marked is not the next one's."""
    with opened(chromium, report, viewport={"width": 1100, "height": 900}) as page:
        yield page


def names(page):
    return page.locator("#tiles .name").all_inner_texts()


def test_quadrants_filters_order_and_search(page):
    from playwright.sync_api import expect  # waits

    quadrants = page.locator("button[data-quadrant]:not([hidden])")
    assert [each.split()[0] for each in quadrants.all_inner_texts()] == ["1", "2", "0", "1"]
    assert names(page) == list(VERDICTS)
    page.locator("[data-quadrant=right-off]").click()
    assert names(page) == ["b.png", "d.png"]
    page.locator("select[name=order]").select_option("off")
    assert names(page) == ["d.png", "b.png"]
    page.locator("input[name=sure]").fill("90")
    assert names(page) == ["b.png"]
    assert page.locator("#found").inner_text() == "1 of 4 samples"
    page.locator("#filters button[type=reset]").click()
    page.locator("input[name=search]").fill("ONERROR")
    assert names(page) == [EVIL]
    page.locator("input[name=search]").fill("")
    page.locator("select[name=group]").select_option("odd")
    assert names(page) == ["b.png", "d.png"]
    page.locator("#filters button[type=reset]").click()
    expect(page.locator("button.tile")).to_have_count(4)


def test_the_slider_uncovers_regions_in_order_under_every_run(page):
    from playwright.sync_api import expect  # waits

    page.locator("button.tile").nth(1).click()
    expect(page.locator("#view-title")).to_have_text("b.png")
    assert page.locator("#view h3").all_inner_texts() == ["plain", EVIL]
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    expect(page.locator("#view-says")).to_have_text("first 4 of 15 regions")
    shown = [
        page.locator("#view .run").nth(run).locator("canvas").nth(1).evaluate(
            "canvas => [...canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data]"
        )
        for run in (0, 1)
    ]  # fmt: skip
    for pixels, order in zip(shown, (ORDER, ORDER[::-1]), strict=True):
        is_open = np.array(pixels).reshape(HEIGHT, WIDTH, 4)[..., 3] == 0
        np.testing.assert_array_equal(is_open, np.isin(GRID, order[:4]))
    assert page.locator("#view .key.shown").first.inner_text() == f"alone {round(400 / 15)}%"
    assert page.locator("#view .marker circle").first.get_attribute("cx") == f"{256 * 4 / 15:.1f}"
    page.keyboard.press("n")
    expect(page.locator("#view-title")).to_have_text(EVIL)
    expect(page.locator("#view-place")).to_have_text("3 of 4")
    page.keyboard.press("Escape")
    expect(page.locator("#view")).not_to_be_visible()


def test_marks_by_key_click_and_box_are_downloaded_and_kept(page):
    page.locator("button.tile").first.click()
    page.keyboard.press("f")  # the strongest region of the first run
    page.locator("input[value=allowed]").check()
    stage = page.locator(".markable").first
    stage.scroll_into_view_if_needed()
    frame = stage.bounding_box()
    scale = frame["width"] / WIDTH
    other = ORDER[-1]
    for region in (other, ORDER[-2], ORDER[-2]):  # the second click on a region takes its mark away
        y, x = np.argwhere(region == GRID)[0] + 0.5
        page.mouse.click(frame["x"] + x * scale, frame["y"] + y * scale)
    page.mouse.move(frame["x"] + 2.4 * scale, frame["y"] + 1.4 * scale)
    page.mouse.down()
    page.mouse.move(frame["x"] + 9.6 * scale, frame["y"] + 4.5 * scale, steps=4)
    page.mouse.up()
    with page.expect_download() as download:
        page.locator("#view button.download").click()
    [line] = [json.loads(text) for text in download.value.path().read_text().splitlines()]
    page.keyboard.press("Escape")
    assert (line["split"], line["id"], line["height"], line["width"]) == ("test", "a.png", HEIGHT, WIDTH)
    assert line["view"] == [0, 0, 1, 1]
    assert line["allowed"]["boxes"] == [[2, 1, 10, 5]]
    for kind, region in (("forbidden", ORDER[0]), ("allowed", other)):
        lengths = line[kind]["runs"]
        inside = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths).reshape(HEIGHT, WIDTH)
        np.testing.assert_array_equal(inside, region == GRID)
    page.wait_for_timeout(500)  # what a page keeps reaches the next one a moment later
    page.reload()
    assert page.locator("#samples button.download").inner_text() == "Download feedback.jsonl, 1 marked sample"
    page.locator("input[name=marked]").check()
    assert names(page) == ["a.png"]
    page.locator("button.tile").first.click()
    page.locator("#view-clear").click()
    page.keyboard.press("Escape")
    assert page.locator("#samples button.download").is_disabled()


def test_without_a_script_the_rest_is_there(chromium, report):
    with opened(chromium, report, java_script_enabled=False) as page:
        assert page.locator("h2").first.inner_text() == "Numbers"
        assert not page.locator("#samples").is_visible()
        assert not page.locator("#view").is_visible()
        assert page.locator("article.sample").count() == 4


def test_numbers_are_packed_as_the_page_unpacks_them():
    labels = np.array([[0, 0, 300], [300, 300, 2]])
    assert runs_of(labels) == [0, 2, 300, 3, 2, 1]
    assert pack([0, 2, 300]) == "AAKsAg=="


def test_one_figure_shows_and_paper_is_light(chromium, report):
    for scheme, media, shown in (
        ("light", "screen", "on-light"), ("dark", "screen", "on-dark"), ("dark", "print", "on-light"),
    ):  # fmt: skip
        with opened(chromium, report, color_scheme=scheme) as page:
            page.emulate_media(media=media, color_scheme=scheme)
            figures = page.locator(".panels img")
            assert [each.get_attribute("class") for each in figures.all() if each.is_visible()] == [shown] * 2
            ink = page.evaluate("getComputedStyle(document.body).color")
            assert ink == ("rgb(232, 230, 227)" if shown == "on-dark" else "rgb(30, 34, 39)")
