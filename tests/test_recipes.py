"""The table of hyper-parameters of the paper's runs, column by column."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from tiny_backbones import tiny_vit
from wherenot import Normalization, cli
from wherenot.experiments.recipes import RECIPES
from wherenot.methods import Alignment
from wherenot.search import Exact, Scoped
from wherenot.train.config import MethodConfig, config_dict, parse_config, read_config
from wherenot.train.recipe import build_method

# batch size, learning rate, weight decay, epochs, scope, interval, gate, search stops, search, regions, legacy
TABLE = {
    "paper/clip": (64, 1e-6, 0.1, 20, "vision", 10, 0.75, 0.8, Scoped, 10, False),
    "paper/clip-imagenet-s": (64, 1e-6, 0.1, 10, "vision", 10, 0.75, 0.8, Scoped, 10, False),
    "paper/vit": (32, 1e-4, 0.05, 20, "full", 10, 0.75, 0.8, Exact, 10, False),
    "paper/vit-imagenet-s": (32, 1e-4, 0.05, 10, "full", 10, 0.75, 0.8, Exact, 10, False),
    "paper/resnet": (32, 1e-5, 0.05, 20, "full", 10, 0.75, 0.8, Scoped, 10, False),
    "paper/resnet-imagenet-s": (32, 1e-5, 0.05, 10, "full", 10, 0.75, 0.8, Scoped, 10, False),
    "paper-tables/clip": (64, 1e-6, 0.1, 10, "vision", 6, 0.75, 0.75, Scoped, 11, True),
    "paper-tables/vit": (32, 1e-4, 0.05, 20, "full", 6, 0.75, 0.75, Exact, 11, True),
    "paper-tables/resnet": (64, 1e-4, 0.05, 10, "full", 11, 0.75, 0.75, Scoped, 11, True),
    "paper-tables/vit-imagenet-s": (32, 1e-4, 0.05, 10, "full", 21, 0.8, 0.8, Scoped, 11, True),
    "paper-tables/resnet-imagenet-s": (32, 1e-5, 0.05, 10, "full", 21, 0.75, 0.75, Scoped, 11, True),
}
MODELS = {
    "clip": "openai/clip-vit-large-patch14",
    "vit": "google/vit-base-patch16-224",
    "resnet": "microsoft/resnet-101",
}


@pytest.mark.parametrize("name", TABLE)
def test_a_recipe_is_its_row_of_the_table(name):
    recipe = RECIPES[name]
    plan, method = recipe.optimization, build_method(recipe.method, Normalization(), seed=0)
    assert isinstance(method, Alignment)
    assert (
        plan.batch_size, plan.learning_rate, plan.weight_decay, plan.epochs, plan.scope, method.interval,
        method.confidence_above, method.stop_above, type(method.search), method.max_regions, method.legacy,
    ) == TABLE[name]  # fmt: skip
    assert (method.deviation_weight, method.redundancy_weight, method.tau) == (0.5, 0.5, 0.15)
    assert method.fill == "mean"


def test_the_documented_table_is_that_of_the_recipes():
    text = (Path(__file__).parent.parent / "docs" / "models.md").read_text()
    rows = re.findall(r"^\| `(paper[^`]*)` \|(.*)\|$", text, flags=re.MULTILINE)
    assert len(rows) == 8
    for name, cells in rows:
        plan, method = RECIPES[name].optimization, RECIPES[name].method
        *numbers, search, until, _ = (cell.strip() for cell in cells.split("|"))
        expected = [plan.batch_size, plan.learning_rate, plan.weight_decay, plan.epochs, method.interval]
        assert [float(number) for number in numbers] == [*expected, method.confidence_above]
        assert (search, float(until)) == (method.search, method.stop_above)


def test_what_all_recipes_share():
    assert set(TABLE) <= set(RECIPES)
    for name, recipe in RECIPES.items():
        assert recipe.model == next(model for key, model in MODELS.items() if key in name)
        assert (recipe.data, recipe.resize, recipe.templates) == ("", "whole", ("a photo of a {name}.",))
        plan = recipe.optimization
        assert (plan.schedule, plan.warmup_frac, plan.precision, plan.keep) == ("constant", 0.0, "fp16", "best")
        assert parse_config(config_dict(recipe)) == recipe


def test_fine_tuning_differs_in_the_method_alone():
    for backbone in ("clip", "vit", "resnet"):
        nothing = MethodConfig(name="finetune")
        assert replace(RECIPES[f"paper/{backbone}"], method=nothing) == RECIPES[f"finetune/{backbone}"]


def test_a_file_changes_a_recipe(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("recipe: paper/vit\ndata: photos\nmethod: {interval: 5}\noptimization:\n  precision: fp32\n")
    config, base = read_config(path, RECIPES), RECIPES["paper/vit"]
    assert config == replace(
        base,
        data="photos",
        method=replace(base.method, interval=5),
        optimization=replace(base.optimization, precision="fp32"),
    )
    path.write_text("recipe: paper/vgg\n")
    with pytest.raises(ValueError, match=r"no recipe 'paper/vgg'; there are paper/clip"):
        read_config(path, RECIPES)
    path.write_text("recipe: paper/vit\nmethod: log\n")
    with pytest.raises(ValueError, match="method: "):
        read_config(path, RECIPES)


def test_a_recipe_from_the_command_line(tmp_path, capsys):
    assert cli.main(["train", "paper/vit"]) == 1
    assert "leaves the data to you" in capsys.readouterr().err
    assert cli.main(["train", "paper/vgg"]) == 1
    assert "paper/vgg cannot be read (No such file or directory). Recipes: paper/clip" in capsys.readouterr().err
    model, out = tiny_vit(tmp_path / "vit"), tmp_path / "run"
    changes = {"data": "photos", "model": str(model), "optimization.precision": "fp32", "optimization.epochs": "1"}
    arguments = [word for key, value in changes.items() for word in (f"--set.{key}", value)]
    assert cli.main(["train", "paper/vit", *arguments, "--out", str(out)]) == 1
    assert "photos" in capsys.readouterr().err
    photos = tmp_path / "photos"
    write_photos(photos)
    arguments[1] = str(photos)
    assert cli.main(["train", "paper/vit", *arguments, "--out", str(out)]) == 0
    stored = json.loads((out / "run.json").read_text())["config"]
    assert stored == json.loads(json.dumps(config_dict(replace(
        RECIPES["paper/vit"], data=str(photos), model=str(model),
        optimization=replace(RECIPES["paper/vit"].optimization, precision="fp32", epochs=1),
    ))))  # fmt: skip


def write_photos(folder):
    from PIL import Image

    for split in ("train", "validation"):
        for index, name in enumerate(("cat", "dog") * 2):
            (folder / split / name).mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (40, 50), (60 * index, 90, 30)).save(folder / split / name / f"{index}.png")
