"""Reports and figures on audits of agents: clicks, elements, words and faults on the page, figures from run folders."""

import json
import re
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from browsers import launched, needs_browser, opened
from record_files import records_of, tables
from report_runs import record, row, write_evidence, write_run
from test_audit_agents import SeeingReader, audited
from test_gui_judging import SIDE, showing, task
from test_report_html import Elements, page
from wherenot import explain_generation as explaining
from wherenot.data import UiElement
from wherenot.gui import FAULTS
from wherenot.gui import clicks as gui_clicks
from wherenot.report import clicks_figure, failures_figure, load_run, thinking_figure, write_report
from wherenot.report.spoken import Word, read_curves, read_words
from wherenot.report.stored import load_evidence
from wherenot.report.tiles import SCREEN_PX, boxes_path, draw_tile
from wherenot.report.wording import base_metric, group_of, is_detail, is_share, kind_of, meaning, number
from wherenot.summary import metric_rows

GOOD, POOR = '{"thought":"left","POINT":[250,250]}', '{"thought":"left","POINT":[750,250]}'
EVIL = "<script>alert(1)</script>"
NAMED = "Mail <b>"


def silent(seen):
    return {1: EVIL, 2: '{"STATUS":"finish"}', 3: POOR}.get(len(seen), GOOD)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two agents on four screens: one always clicks, the other does not on two of them."""
    root = tmp_path_factory.mktemp("runs")
    boxes = [UiElement(box=(1.0, 2.0, 31.0, 42.0), text=NAMED)]
    samples = [
        task(str(seen), read_image=partial(showing, seen), elements=partial(tuple, boxes), group="home")
        for seen in (1, 2, 3, 4)
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(explaining, "AnswerReader", SeeingReader)
        patch.setattr(gui_clicks, "AnswerReader", SeeingReader)
        audited(root / "steady", samples, lambda _: GOOD, thinking=True)
        audited(root / "silent", samples, silent, thinking=True)
    return root / "steady", root / "silent"


class TestPage:
    def test_clicks_elements_words_and_faults_are_shown(self, runs):
        html = page(*runs)
        text = " ".join(" ".join(Elements(html).text).split())
        assert html.count('class="star"') == 1 + 4 + 2  # the legend's, and one per click
        outlines = {path["d"]: path["id"] for path in Elements(html).all("path") if "id" in path}
        elements = boxes_path(np.array([[1.0, 2.0, 31.0, 42.0]]))
        assert html.count(f'<use href="#{outlines[elements]}" class="line element"/>') == 4
        assert f"no_action: {FAULTS['no_action']}" in text
        assert "malformed" in text
        assert "no click" in text
        assert f"clicks {0.25 * SIDE:.1f} px beside the box" in text
        assert "clicks into the box" in text
        assert "reliance 0.600" in text
        assert "thought ○ off prior 0%" in text
        assert "action ● on prior 100%" in text
        assert EVIL in "".join(Elements(html).text).replace("\N{MINUS SIGN}60", "")
        assert "<script>alert" not in html

    def test_words_say_what_they_lose_without_the_image(self, runs):
        words = read_words(runs[0] / "evidence" / "000000.npz")
        assert "".join(word.text for word in words) == GOOD
        assert {(word.full, word.empty) for word in words} == {(0.9, 0.3), (0.3, 0.3)}
        html = page(runs[0])
        shown = re.findall(
            r'<span class="word needs" style="--fall:0\.60" title="0\.90; 0\.30 with the image hidden">', html
        )
        assert len(shown) == sum(word.is_sensitive for at in range(4) for word in _words(runs[0], at))
        assert "\N{MINUS SIGN}60" in html
        assert Word(text="a", full=0.2, empty=0.5).fall == 0
        assert read_words(runs[0] / "evidence" / "999999.npz") == ()

    def test_a_broken_file_of_words_leaves_the_plain_answer(self, tmp_path, runs):
        folder = tmp_path / "r"
        found = record("a", prompt="Tap.", predicted="Yes", label="Yes", malformed=True, faults=["empty", "new_fault"],
                       evidence_file="evidence/000000.npz")  # fmt: skip
        write_evidence(folder / "evidence" / "000000.npz")
        (folder / "evidence" / "000000-answer.tokens.json").write_text("{")
        text = " ".join(Elements(page(write_run(folder, records=[found], rows=[row("top1", 1.0)]))).text)
        assert "Yes" in text
        assert "new_fault" in text  # of a later version

    def test_what_cannot_be_explained_still_says_what_was_said(self, tmp_path):
        found = record("a", prompt="Tap.", predicted="I tap.", malformed=True, error="names no token", true=None,
                       evidence_file="evidence/000000.npz")  # fmt: skip
        write_evidence(tmp_path / "r" / "evidence" / "000000.npz")
        text = " ".join(" ".join(Elements(page(write_run(tmp_path / "r", records=[found]))).text).split())
        assert "failed: names no token says I tap." in text

    def test_screens_are_larger_than_photographs(self, tmp_path):
        stored = load_evidence(write_evidence(tmp_path / "x.npz", height=960, width=400))
        tile = draw_tile(stored, side=SCREEN_PX)
        assert (tile.width, tile.height, tile.elements) == (200, 480, "")

    def test_bad_elements_are_named(self, tmp_path):
        path = write_evidence(tmp_path / "x.npz", elements=np.zeros((2, 3), np.float32))
        with pytest.raises(ValueError, match=r"elements are float32 \(2, 3\)"):
            load_evidence(path)


def _words(run, number):
    return read_words(run / "evidence" / f"{number:06d}.npz")


class TestFigures:
    def test_clicks(self, runs):
        figure = clicks_figure([load_run(run) for run in runs], tasks=9)
        axes = _grid(figure, columns=3)
        assert [each.get_title() for each in axes[0]] == ["image and prior", "agent", "agent"]
        assert len(axes) == 4
        stars = [[(line.get_xdata()[0], line.get_ydata()[0]) for line in each.lines] for each in axes[3]]
        assert stars == [[], [(0.25 * SIDE - 0.5, 0.25 * SIDE - 0.5)], [(0.25 * SIDE - 0.5, 0.25 * SIDE - 0.5)]]
        assert _said(axes[2][2]) == f"{0.25 * SIDE:.0f} px beside the target"
        assert [_said(line[2]) for line in axes[:2]] == ["malformed", "no click"]
        assert not axes[0][2].lines

    def test_thinking(self, runs):
        lines = _grid(thinking_figure([load_run(run) for run in runs]), columns=5)
        assert len(lines) == 2  # of the others one agent has no thought
        line = lines[1]
        names = ["agent: thought", "agent: action"] * 2
        assert [each.get_title() for each in lines[0]] == ["image and prior", *names]
        thought, action = (np.asarray(line[place].images[1].get_array()) for place in (1, 2))
        assert thought[-1, -1] == action[0, 0] == 1  # quarter 3, and the target
        assert _said(line[1]) == "left"
        with pytest.raises(ValueError, match="no task"):
            thinking_figure([_without_thinking(load_run(run)) for run in runs])

    def test_failures_come_with_their_words(self, runs):
        lines = _grid(failures_figure([load_run(run) for run in runs]), columns=3)
        assert [_said(line[2]) for line in lines] == [f"{EVIL}\n(no_action)", '{"STATUS":"finish"}']
        with pytest.raises(ValueError, match="no task that agent all searched"):
            failures_figure([load_run(runs[0])])

    def test_failures_of_all_come_before_those_of_some(self, runs):
        run = load_run(runs[1])
        assert [_said(line[2]) for line in _grid(failures_figure([load_run(runs[0]), run], tasks=1), 3)] in (
            [f"{EVIL}\n(no_action)"], ['{"STATUS":"finish"}']
        )  # fmt: skip
        every = _grid(failures_figure([run, run], tasks=9, seed=3), columns=3)
        assert len(every) == 2

    def test_the_draw_is_the_seeds(self, runs):
        loaded = [load_run(runs[0])]
        drawn = {_said(_grid(clicks_figure(loaded, tasks=1, seed=seed), 2)[0][0]) for seed in range(4)}
        assert drawn == {"Tap it."}
        with pytest.raises(ValueError, match="0 tasks"):
            clicks_figure(loaded, tasks=0)
        with pytest.raises(ValueError, match="0 runs"):
            clicks_figure([])

    def test_a_missing_file_is_named(self, tmp_path, runs):
        run = write_run(tmp_path / "r", records=records_of(runs[0]))
        with pytest.raises(ValueError, match=r"000000\.npz"):
            clicks_figure([load_run(run)], tasks=4)

    def test_runs_of_classifiers_have_nothing_to_draw(self, tmp_path):
        run = load_run(write_run(tmp_path / "r", records=[record("a", evidence_file="evidence/000000.npz")]))
        with pytest.raises(ValueError, match="no task"):
            clicks_figure([run])


def _grid(figure, columns):
    axes = figure.axes
    return [axes[start : start + columns] for start in range(0, len(axes), columns)]


def _said(axes):
    [text] = axes.texts
    return text.get_text()


def _without_thinking(run):
    return replace(run, records=tuple(replace(each, consistency=None) for each in run.records))


class TestWording:
    def test_every_metric_of_agents_has_a_meaning(self, runs):
        records = records_of(runs[1])
        for found in metric_rows(tables(records), seed=0):
            assert meaning(found["metric"]), found["metric"]

    def test_groups_and_kinds(self):
        metric = "pointing_coverage@0.2 [home screen]"
        assert (base_metric(metric), group_of(metric), is_share(metric)) == ("pointing_coverage", "home screen", True)
        assert meaning(metric).startswith("in this group: share of images whose strongest region")
        assert "0.2 of its area" in meaning(metric)
        assert kind_of("pointing_coverage@0.2 (thought)") == "thought"
        assert meaning("pointing_coverage@0.2 (thought)").startswith(
            "for the words of the agent's thought alone: share"
        )
        assert not is_detail("pointing_coverage@0.2 (action)")
        assert is_detail("insertion_auc (action)")
        assert is_detail(metric)
        assert group_of("click_distance_px (median)") is None
        assert meaning("top1 [a]") == "share of images of this group that the model gets right."

    def test_numbers(self):
        assert number("click_success_given_pointing_touch", 0.5) == "50.0%"
        assert number("click_distance_px_given_pointing_touch", 7.114) == "7.1"
        assert number("reliance [home]", 0.25) == "0.250"


@pytest.fixture(scope="module")
def view(runs, tmp_path_factory):
    """The first task's, open in a browser."""
    report = write_report(list(runs[:1]), tmp_path_factory.mktemp("view") / "report.html")
    with launched() as chromium, opened(chromium, report) as tab:
        tab.locator("button.tile").first.click()
        yield tab


@needs_browser
class TestView:
    """A task opened in a browser."""

    def test_words_gain_what_the_slider_shows(self, view):
        """Every word but the thought's needs the target, the first quarter; the rest of this screen is black."""
        words = view.locator("#view .spoken .word")
        assert "".join(view.locator("#view .spoken > span").all_inner_texts()) == GOOD
        gains = "words => words.map((each) => Number(each.style.getPropertyValue('--fall')))"
        needs = words.evaluate_all("words => words.map((each) => each.classList.contains('needs'))")
        assert any(needs)
        view.keyboard.press("ArrowLeft")  # nothing is shown
        assert set(words.evaluate_all(gains)) == {0.0}
        for _ in range(4):
            view.keyboard.press("ArrowRight")
        assert words.evaluate_all(gains) == [0.6 if need else 0.0 for need in needs]
        view.locator("#rest").check()
        assert set(words.evaluate_all(gains)) == {0.0}  # all are hidden
        view.locator("#rest").uncheck()
        assert "90% with the whole image, 30% with nothing of it" in words.first.get_attribute("title")

    def test_elements_are_outlined_listed_and_marked(self, view):
        assert view.locator("#view .stages .line.element").get_attribute("d") == "M1 2H31V42H1Z"
        assert view.locator("#tiles .line.element").count() == 0
        listed = view.locator("#view details.elements")
        listed.locator("summary").click()
        [button] = listed.locator("button").all()
        assert button.inner_text().split() == ["100%", *NAMED.split(), "on", "prior"]
        button.hover()
        assert view.locator("#view .pointed").get_attribute("d") == "M1 2H31V42H1Z"
        button.click()
        with view.expect_download() as download:
            view.locator("#view button.download").click()
        line = json.loads(download.value.path().read_text())
        assert line["forbidden"]["boxes"] == [[1, 2, 31, 42]]
        assert (line["width"], line["height"]) == (SIDE, SIDE)
        button.click()  # takes the mark away
        assert view.locator("#view button.download").is_disabled()


def test_elements_keep_their_names(runs):
    stored = load_evidence(runs[0] / "evidence" / "000000.npz")
    assert stored.element_names == (NAMED,)
    assert stored.elements.tolist() == [[1.0, 2.0, 31.0, 42.0]]


def test_curves_of_words_belong_to_the_pictures_order(runs):
    file = runs[0] / "evidence" / "000000.npz"
    curves = read_curves(file, 4)
    assert len(curves.shown) == len(curves.rest) == 5 * len(curves.chosen)
    assert set(curves.shown[: len(curves.chosen)]) == {30}
    assert curves.rest[-len(curves.chosen) :] == curves.shown[: len(curves.chosen)]
    assert read_curves(file, 3) is None
