"""What the README and the examples say, run."""

import re
from pathlib import Path

import pytest

from wherenot import Normalization
from wherenot.experiments.decoy import METHODS, decoy_config
from wherenot.train.config import read_config
from wherenot.train.recipe import build_method

ROOT = Path(__file__).parent.parent
SNIPPETS = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)


@pytest.mark.parametrize("number", range(4))
def test_snippets_run(number, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert len(SNIPPETS) == 4
    names = {"__name__": "snippet"}
    exec(compile(SNIPPETS[number], f"README snippet {number}", "exec"), names)
    expected = ("espresso [", "report.html", "'aligned': ", "")[number]
    assert expected in capsys.readouterr().out
    if number == 3:
        assert names["AlignedTrainer"].method.form == "log"
        assert names["AlignedSFTTrainer"].compute_loss.__qualname__ == "AgentMethodMixin.compute_loss"


def test_readme_s_commands_exist():
    readme, makefile = (ROOT / "README.md").read_text(), (ROOT / "Makefile").read_text()
    for target in re.findall(r"(?:`|^    )make ([a-z]+)", readme, flags=re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE)
    for linked in re.findall(r"\]\(((?!http)[^)]+)\)", readme):
        file, _, place = linked.partition("#")
        assert (ROOT / file).exists(), linked
        assert not place or place in _places(ROOT / file), linked


def test_the_example_configuration_is_the_demo_s():
    assert read_config(ROOT / "examples" / "decoy.yaml").optimization == decoy_config("log").optimization


@pytest.mark.parametrize("method", METHODS)
def test_every_method_of_the_study_can_be_built(method):
    built = build_method(decoy_config(method).method, Normalization(), seed=0)
    assert (built is None) == (method == "finetune")


def _places(file):
    """Headings of a page, as links name them."""
    headings = re.findall(r"^#+ (.+)$", file.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
