"""Pages for everybody: axe-core finds nothing in reports and tables of studies, light and dark, in a real browser."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest

from browsers import launched, needs_browser, opened
from report_runs import failed, record, row, write_evidence, write_run
from study_runs import finish, row_of
from test_audit_agents import SeeingReader, audited
from test_audit_answers import FOUR, run
from test_gui_judging import showing, task
from test_report_agents import GOOD, silent
from vlms import BrightReader, RuleVlm
from wherenot import explain_generation as explaining
from wherenot.data import UiElement
from wherenot.experiments.results import read_results
from wherenot.experiments.tables import build_table
from wherenot.experiments.writing import page as study_page
from wherenot.gui import clicks
from wherenot.report import write_report

axe = pytest.importorskip("axe_playwright_python.base")
pytestmark = needs_browser

PAGES = ("classifier", "comparison", "answers", "agents", "study")
WARNED = [{"kind": "accuracy_fell", "seen": "Accuracy fell from 95% to 70%.", "advice": "Lower method.weight."}]


def classifier(folder, name):
    """A run with all that a page may show: right and wrong, on and off, failed, forbidden, warned of, rejected."""
    verdicts = [(right, hit) for right in (True, False) for hit in (True, False)]
    records = [failed("broken.png")]
    for number, (right, hit) in enumerate(verdicts):
        forbidden = np.zeros((8, 8), dtype=bool)
        forbidden[: 4 * number % 8, :4] = True
        write_evidence(folder / f"evidence/{number}.npz", seed=number, forbidden=forbidden)
        records.append(
            record(
                f"{number}.png", correct=right, hit=hit, p_predicted=0.99, group="odd" if number % 2 else "even",
                evidence_file=f"evidence/{number}.npz",
            )
        )  # fmt: skip
    rows = [row(metric, 0.75, 0.7, 0.8) for metric in ("top1", "pointing_coverage@0.2", "insertion_auc")]
    return write_run(
        folder, records=records, rows=rows, name=name, training_warnings=WARNED,
        rejected=[{"id": f"{number}.png", "reason": "no picture"} for number in range(9)],
    )  # fmt: skip


def agents(root):
    boxes = partial(tuple, [UiElement(box=(1.0, 2.0, 31.0, 42.0), text="Mail")])
    samples = [task(str(seen), read_image=partial(showing, seen), elements=boxes) for seen in (1, 2, 3, 4)]
    for name, rule in (("steady", lambda _: GOOD), ("silent", silent)):
        audited(root / name, samples, rule, thinking=True)
    return [root / "steady", root / "silent"]


def study(root):
    rows = [row_of(method) for method in ("finetune", "paper")]
    for each in rows:
        for seed, one in enumerate(each.trials):
            finish(one, root, {("test", "top1"): 0.5 + seed / 10 + 0.3 * (each.label == "paper")})
    table = build_table("table1", rows, read_results(rows, root), root)
    (root / "table.html").write_text(study_page(table), encoding="utf-8")
    return root / "table.html"


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    root = tmp_path_factory.mktemp("pages")
    plain, other = (classifier(root / name, name) for name in ("plain", "other"))
    written = {"study": study(root)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(explaining, "AnswerReader", BrightReader)
        answers = [run(RuleVlm(lambda seen: "Yes, it is."), FOUR, root / "answers")]
        patch.setattr(explaining, "AnswerReader", SeeingReader)
        patch.setattr(clicks, "AnswerReader", SeeingReader)
        runs = {"classifier": [plain], "comparison": [plain, other], "answers": answers, "agents": agents(root)}
    return written | {name: write_report(paths, root / f"{name}.html") for name, paths in runs.items()}


@pytest.fixture(scope="module")
def chromium():
    with launched() as chromium:
        yield chromium


def found_by_axe(page):
    """What axe-core complains of, at any weight, and where."""
    page.evaluate(Path(axe.AXE_FILE_PATH).read_text(encoding="utf-8"))
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    assert len(found["passes"]) > 10  # it looked
    return [
        f"{each['impact']}: {each['id']}: {node['html'][:200]}: {node['failureSummary']}"
        for each in found["violations"]
        for node in each["nodes"]
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_axe_finds_nothing(chromium, pages, name, scheme):
    with opened(chromium, pages[name], color_scheme=scheme, viewport={"width": 1100, "height": 900}) as page:
        for each in page.locator("details").all():
            each.evaluate("element => element.open = true")
        assert found_by_axe(page) == []
        if name == "study":
            return
        page.locator("button.tile").first.scroll_into_view_if_needed()
        page.locator("button.tile").first.click()
        page.keyboard.press("f")  # a mark: its download can be pressed now
        page.locator("#view").wait_for()
        for each in page.locator("#view details").all():
            each.evaluate("element => element.open = true")
        assert found_by_axe(page) == []


def test_axe_sees_a_fault(chromium, pages):
    with opened(chromium, pages["classifier"]) as page:
        page.evaluate("document.querySelector('h1').style.color = '#ddd'")
        assert any(each.startswith("serious: color-contrast: <h1") for each in found_by_axe(page))
