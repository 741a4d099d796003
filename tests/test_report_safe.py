"""The report in a real browser: whatever data are called shows as text, runs nothing and asks nobody."""

import shutil
import socket

import numpy as np
import pytest

from report_runs import failed, record, row, write_evidence, write_run
from study_runs import finish, row_of
from wherenot.experiments.results import read_results
from wherenot.experiments.tables import build_table
from wherenot.experiments.writing import page
from wherenot.report import write_report

pytest.importorskip("playwright")
pytestmark = pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium on the PATH")

EVIL = [
    "<script>window.caught = 1; alert(1)</script>",
    '"><img src=x onerror=window.caught=1>',
    "'><svg onload=window.caught=1>",
    "</script><script>window.caught=1</script>",
    "</style><script>window.caught=1</script>",
    "</title><script>window.caught=1</script>",
    "--><script>window.caught=1</script>",
    "{{ 7 * 7 }}{% raw %}",
    "javascript:window.caught=1",
    "http://127.0.0.1:1/ask.png",
    "url(http://127.0.0.1:1/ask.css)",
    "line\u2028separator\u2029end",
    "turned \u202e round",
    "$\\frac$ \x1b[2J &amp; &#60;b&#62;",
]


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        yield chromium
        chromium.close()


def opened(browser, path):
    """Open a page; returns it, what it asked for, and what it said."""
    tab = browser.new_page()
    asked, said = [], []
    tab.on("request", lambda request: asked.append(request.url))
    tab.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
    tab.on("console", lambda message: said.append(message.text))
    tab.on("pageerror", lambda error: said.append(str(error)))
    tab.goto(path.as_uri())
    tab.wait_for_load_state("networkidle")
    return tab, [url for url in asked if not url.startswith("data:")], said


def evil_run(folder, evil, short=EVIL[1], name=EVIL[0]):
    """A run in which everything that may come from data is called something bad; what figures show, something short."""
    arrays = {"elements": np.array([[0, 0, 3, 3]], dtype=np.float32)}
    write_evidence(folder / "evidence" / "000000.npz", **arrays)
    return write_run(
        folder,
        records=[
            record(evil, hit=False, coverage=0.0, evidence_file="evidence/000000.npz", group=evil),
            record(f"{evil}2", split=short, group=evil),
            failed("b", error=evil),
        ],
        rows=[row(f"top1 [{evil}]", 0.5, split=short), row("pointing_coverage@0.2", 0.5), row("top1", 0.5)],
        name=name, data=evil, model=evil, classes=[evil, f"{evil}1"], config={evil: evil}, versions={evil: evil},
        rejected=[{"id": evil, "reason": evil}],
        training_warnings=[{"kind": evil, "seen": evil, "advice": evil}],
    )  # fmt: skip


def test_whatever_data_are_called_shows_as_text(browser, tmp_path):
    runs = [evil_run(tmp_path / "a", " ".join(EVIL)), write_run(tmp_path / "b", name=EVIL[2])]
    out = write_report(runs, tmp_path / "r.html")
    tab, asked, said = opened(browser, out)
    assert asked == [out.as_uri()]
    assert said == []
    # The page's own script, and data that nothing runs.
    running = "[...document.scripts].filter(each => each.type !== 'application/json').length"
    assert tab.evaluate(f"[window.caught, {running}]") == [None, 1]
    assert tab.locator("iframe, object, embed, form[action], base, [onerror], [onload], [onclick]").count() == 0
    shown = " ".join(tab.locator("body").inner_text().split())
    for each in EVIL:
        assert shown.count(" ".join(each.split())) >= 5, each


def test_the_policy_stops_what_an_escape_would_let_through(browser, tmp_path):
    """The second line of defence: a page into which a script and a picture were put all the same."""
    out = write_report([evil_run(tmp_path / "a", "a")], tmp_path / "r.html")
    with socket.create_server(("127.0.0.1", 0)) as server:
        place = f"http://127.0.0.1:{server.getsockname()[1]}"
        evil = f"<script>window.caught=1</script><img src='{place}/a.png' onerror='window.caught=1'>"
        out.write_text(out.read_text().replace("<body>", f"<body>{evil}"))
        tab, _, said = opened(browser, out)
        server.settimeout(0.2)
        with pytest.raises(TimeoutError):
            server.accept()
    assert tab.evaluate("window.caught") is None
    assert sum("Content Security Policy" in line for line in said) >= 2


def test_tables_of_studies_are_safe_too(browser, tmp_path):
    rows = [row_of("finetune", (0,), label=evil, data=evil, model=evil) for evil in EVIL[:9]]
    for each in rows:
        for one in each.trials:
            finish(one, tmp_path, {("test", "top1"): 0.5})
    table = build_table("table1", rows, read_results(rows, tmp_path), tmp_path)
    out = tmp_path / "table.html"
    out.write_text(page(table), encoding="utf-8")
    tab, asked, said = opened(browser, out)
    assert (asked, said, tab.evaluate("window.caught")) == ([out.as_uri()], [], None)
    assert EVIL[0] in tab.locator("body").inner_text()
