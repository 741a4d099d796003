"""What the README and the examples say, run."""

import re
from pathlib import Path

import pytest

from wherenot import Normalization
from wherenot.experiments.decoy import METHODS, decoy_config
from wherenot.search import SEARCHES
from wherenot.train.config import read_config
from wherenot.train.recipe import build_method

ROOT = Path(__file__).parent.parent
SNIPPETS = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)


@pytest.mark.parametrize("number", range(3))
def test_snippets_run(number, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert len(SNIPPETS) == 3
    exec(compile(SNIPPETS[number], f"README snippet {number}", "exec"), {"__name__": "snippet"})
    expected = ("espresso [", "report.html", "'aligned': ")[number]
    assert expected in capsys.readouterr().out


def test_the_snippet_on_searching_runs(capsys):
    _run_snippet("search.md")
    assert capsys.readouterr().out.count("[") == 1 + 8


def test_the_snippet_of_the_answers_page_runs(capsys):
    _run_snippet("answers.md")
    assert "'a ring' - the image decides" in capsys.readouterr().out


def _run_snippet(page):
    [snippet] = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / page).read_text(), flags=re.DOTALL)
    exec(compile(snippet, page, "exec"), {"__name__": "snippet"})


def test_the_table_of_searches_is_whole():
    named = re.findall(r"^\| `([a-z]+)` \|", (ROOT / "docs" / "search.md").read_text(), flags=re.MULTILINE)
    assert sorted(named) == sorted(SEARCHES)


def test_readme_s_commands_exist():
    readme, makefile = (ROOT / "README.md").read_text(), (ROOT / "Makefile").read_text()
    for target in re.findall(r"(?:`|^    )make ([a-z]+)", readme, flags=re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE)
    for linked in re.findall(r"\]\(((?!http)[^)]+)\)", readme):
        assert (ROOT / linked).exists(), linked


def test_the_example_configuration_is_the_demo_s():
    assert read_config(ROOT / "examples" / "decoy.yaml").optimization == decoy_config("log").optimization


@pytest.mark.parametrize("method", METHODS)
def test_every_method_of_the_study_can_be_built(method):
    built = build_method(decoy_config(method).method, Normalization(), seed=0)
    assert (built is None) == (method == "finetune")
