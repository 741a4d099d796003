"""What the pages of the documentation say, run; and the pages themselves."""

import importlib.util
import json
import re
import shlex
import sys
import types
from contextlib import nullcontext
from functools import cache
from pathlib import Path
from textwrap import indent

import pytest
import skimage.data
import torch
import yaml
from PIL import Image

import wherenot.commands
from wherenot.cli import main
from wherenot.data import decoy, load_dataset
from wherenot.search import SEARCHES

ROOT = Path(__file__).parent.parent
PAGES = {str(page.relative_to(ROOT / "docs")): page.read_text() for page in (ROOT / "docs").rglob("*.md")}
SCREENS = ROOT / "src" / "wherenot" / "gui" / "screens" / "shipped"
GUIDES = ("getting_started.md", "tutorial_shortcut.md", "tutorial_transformers.md", "tutorial_agent.md")
PRINTED = {  # the last words of each page's snippets
    "answers.md": ["'a ring' - the image decides"],
    "own_loop.md": ["5 7.0", "2 2.0", "1 2.0", "", "Counterfactual"],
    "search.md": ["[(0, ["],
}
ELSEWHERE = {"answers_audit.md", "gui_actions.md", "scaling.md"}  # run in the tests of what they are about
NEEDS_A_NETWORK = {"endpoint.md", "models.md"}
# Commands of the guides that are run in small elsewhere: test_demo, test_feedback_round_trip, test_data_gui,
# test_agents_plan.
RUN_ELSEWHERE = ("wherenot demo", "--feedback", "gui:tasks.json", "--plan")
SMALLER = {  # what makes a command of a guide small
    "explain": ["--max-regions", "1", "--partition", "grid:2x2"],
    "audit": ["--max-regions", "1", "--max-images", "1"],
    "audit decoy": ["--max-regions", "1", "--max-images", "1", "--splits", "test_biased"],
    "audit screens": ["--max-images", "0", "--splits", "test_habitual"],
    "train": ["--set.optimization.epochs", "1"],
    "train photos.yaml": ["--set.optimization.epochs", "1", "--set.model", "small-cnn"],
    "train agent.yaml": ["--set.optimization.steps", "1"],
}
pytestmark = [
    pytest.mark.filterwarnings("ignore:'pin_memory' argument"),
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated"),
    pytest.mark.filterwarnings("ignore:`gradient_checkpointing"),
    pytest.mark.filterwarnings("ignore:.*lr_scheduler.*"),
]


class LightningModule(torch.nn.Module):
    """What the page needs of Lightning's: steps counted, numbers logged."""

    global_step = 0

    def log_dict(self, numbers):
        self.logged = numbers


def snippets(page):
    return re.findall(r"```python\n(.*?)```", PAGES[page], flags=re.DOTALL)


def commands(text):
    """The commands in the blocks of a page, lines that go on put together."""
    text = re.sub(r"```bash\n(.*?)```", lambda block: indent(block[1], "    "), text, flags=re.DOTALL)
    found = re.findall(r"^    (wherenot (?:.*\\\n)*.*)$", text, flags=re.MULTILINE)
    return [re.sub(r"\\\n|\s#\s.*", " ", command) for command in found]


@pytest.mark.parametrize(("page", "number"), [(page, n) for page, said in PRINTED.items() for n in range(len(said))])
def test_snippets_run(page, number, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "lightning", types.SimpleNamespace(LightningModule=LightningModule))
    assert len(snippets(page)) == len(PRINTED[page])
    names = {"__name__": "snippet"}
    exec(compile(snippets(page)[number], f"{page} {number}", "exec"), names)
    assert PRINTED[page][number] in capsys.readouterr().out
    if "AlignedModule" in names:
        _train_a_step(names["AlignedModule"])


def _train_a_step(module):
    from wherenot import Prior

    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 2))
    aligned = module(network)
    priors = [Prior.from_boxes([[0, 0, 2, 2]], 4, 4), None]
    batch = {"images": torch.rand(2, 3, 4, 4), "targets": torch.tensor([0, 1]), "priors": priors}
    aligned.training_step(batch, 0).backward()
    with torch.no_grad():  # only what is right is aligned, so be right
        network[1].bias += torch.tensor([9.0, 0.0])
    aligned.training_step(batch, 1)
    assert aligned.logged["aligned"] == 1
    assert len(aligned.configure_optimizers().param_groups[0]["params"]) == 2


def test_every_snippet_is_run_or_said_to_need_a_network():
    assert {page for page in PAGES if snippets(page)} == (
        {*PRINTED, "tutorial_transformers.md"} | ELSEWHERE | NEEDS_A_NETWORK
    )


@pytest.mark.parametrize("page", GUIDES)
def test_guides_run(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for module in ("audit", "data", "printing"):
        monkeypatch.setattr(importlib.import_module(f"wherenot.commands.{module}"), "load_dataset", _in_small)
    _bring_photographs()
    blocks = r"```(python|yaml)\n((?:.*\n)*?)```|^    (wherenot .*)$"
    for kind, block, command in re.findall(blocks, PAGES[page], flags=re.MULTILINE):
        if kind == "python":
            exec(compile(block, page, "exec"), {"__name__": "snippet"})
        elif kind == "yaml":
            Path(block.split()[1]).write_text(block)
        elif not any(part in command for part in RUN_ELSEWHERE):
            _type(command)
    assert "report.html" in capsys.readouterr().out
    if page == "tutorial_transformers.md":  # what training leaves loads with transformers, as the page says
        from transformers import ViTForImageClassification

        assert ViTForImageClassification.from_pretrained("runs/wherenot-0/model").config.num_labels == 2


def _in_small(data, *, seed=0, **options):
    return _built_in(data) if data in ("decoy", "screens") else load_dataset(data, seed=seed, **options)


@cache
def _built_in(data):
    """A few of the samples that come with the package, read once."""
    if data == "decoy":
        return decoy(0, num_train=64, num_validation=20, num_test=60)
    tasks = [
        task for task in json.loads((SCREENS / "tasks.json").read_text()) if task["id"].endswith(("/00000", "/00001"))
    ]
    for task in tasks:
        task["image"] = {name: str(SCREENS / path) for name, path in task["image"].items()}
        task["elements"] = str(SCREENS / task["elements"])
    Path("few.json").write_text(json.dumps(tasks))
    return load_dataset("gui:few.json")


def _bring_photographs():
    """The folder of the guides, as its reader would have it."""
    Image.fromarray(skimage.data.coffee()).save("photo.jpg")
    for split, numbers in (("train", range(6)), ("test", range(6, 9))):
        lines = []
        for label, photograph in (("cat", skimage.data.cat()), ("mug", skimage.data.coffee())):
            for number in numbers:
                path = Path("photos", split, label, f"{number}.jpg")
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(photograph).crop((5 * number, 0, 250 + 5 * number, 250)).resize((96, 96)).save(path)
                lines.append(
                    f'{{"file_name": "{label}/{path.name}", "objects": {{"bbox": [[30, 20, 90, 80]], '
                    f'"bbox_format": "xyxy"}}}}'
                )
        Path("photos", split, "metadata.jsonl").write_text("\n".join(lines))


def _type(command):
    typed = shlex.split(command)[1:]
    data = typed[typed.index("--data") + 1] if "--data" in typed else typed[:2][-1]
    kinds = (f"{typed[0]} {data}", typed[0])
    assert main([*typed, *next((SMALLER[kind] for kind in kinds if kind in SMALLER), [])]) == 0, command


@pytest.mark.parametrize("page", ["README.md", *sorted(page for page in PAGES if commands(PAGES[page]))])
def test_commands_are_understood(page, tmp_path, monkeypatch, capsys):
    understood = []
    monkeypatch.setattr(wherenot.commands, "run", understood.append)
    monkeypatch.chdir(tmp_path)
    found = commands(PAGES[page] if page in PAGES else (ROOT / page).read_text())
    for command in found:
        typed = shlex.split(command.replace("COMMAND", "audit"))[1:]
        if typed[0] == "train" and typed[1].endswith(".yaml"):
            Path(typed[1]).parent.mkdir(parents=True, exist_ok=True)
            Path(typed[1]).write_text("task: agent" if "agent" in typed[1] else "data: decoy")
        with pytest.raises(SystemExit, match=r"^0$") if "--help" in typed else nullcontext():
            assert main(typed) == 0, command
    capsys.readouterr()


def test_the_table_of_searches_is_whole():
    named = re.findall(r"^\| `([a-z]+)` \|", PAGES["search.md"], flags=re.MULTILINE)
    assert sorted(named) == sorted(SEARCHES)


PACKAGES = ("", ".models", ".data", ".methods", ".search", ".metrics", ".report", ".gui", ".endpoint", ".proposals")


@pytest.mark.parametrize("package", PACKAGES)
def test_public_names_are_in_the_reference(package):
    shown = set(
        re.findall(r"^::: (\S+)", "\n".join(PAGES[page] for page in PAGES if page.startswith("reference/")), re.M)
    )
    module = importlib.import_module(f"wherenot{package}")
    for name, value in vars(module).items():
        home = getattr(value, "__module__", None)
        if isinstance(value, type | types.FunctionType) and not name.startswith("_") and home.startswith("wherenot"):
            assert {home, f"{home}.{name}"} & shown, f"{module.__name__}.{name} of {home}"


def test_every_page_is_in_the_navigation():
    class Loader(yaml.SafeLoader):
        pass

    navigation = yaml.load((ROOT / "mkdocs.yml").read_text(), Loader)["nav"]
    assert set(re.findall(r"[\w/]+\.md", str(navigation))) == set(PAGES)


def test_formulas_are_drawn():
    spec = importlib.util.spec_from_file_location("site_hooks", ROOT / "docs" / "site.py")
    site = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(site)
    page = site.on_page_content(r'so <span class="arithmatex">\(a &lt; \sqrt n\)</span>.')
    assert page.startswith('so <svg class="formula" role="img" aria-label="a &lt; \\sqrt n"')
    assert page.endswith("</svg>.")
