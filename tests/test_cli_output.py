"""--quiet and --json of every command: what is on standard output, whole and alone, as scripts and programs read it."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from report_runs import record, row, write_evidence, write_run
from wherenot import cli
from wherenot.cli import main
from wherenot.commands.results import say_result, speaking
from wherenot.data import Dataset, decoy, write_folder

ROOT = Path(__file__).parent.parent
# Where commands that take longer are run with --json or --quiet.
ELSEWHERE = {
    "Demo": "test_demo", "BenchSearch": "test_bench", "BenchMllm": "test_bench", "Screens": "test_screens_cli",
    "TrainAgent": "test_agents_train", "Reproduce": "test_reproduce", "DataMake": "test_data_cutouts",
}  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Data, a photograph, a configuration, and two audits, as they lie in somebody's folder."""
    place = tmp_path_factory.mktemp("place")
    digits = decoy(0, num_train=24, num_validation=20, num_test=4)
    keep = tuple(each for each in digits.samples if each.split in ("train", "validation", "test_biased"))
    write_folder(Dataset("digits", digits.classes, keep), place / "digits")
    Image.fromarray(np.zeros((28, 28, 3), np.uint8)).save(place / "black.png")
    (place / "run.yaml").write_text("data: digits\noptimization: {epochs: 1, batch_size: 16}\n")
    for name in ("one", "two"):
        write_evidence(place / name / "evidence/0.npz")
        found = [record("a.png", evidence_file="evidence/0.npz"), record("b.png", evidence_file="evidence/0.npz")]
        write_run(place / name, name=name, records=found, rows=[row("top1", 0.5), row("insertion_auc", None)])
    with pytest.MonkeyPatch.context() as here:
        here.chdir(place)
        assert main(["train", "run.yaml", "--out", "trained", "--quiet"]) == 0
        assert main(["data", "prior", "digits", "-o", "priors", "--from", "saliency", "--replace", "--quiet"]) == 0
    return place


@pytest.fixture
def typed(place, monkeypatch, capsys):
    """What a command writes to standard output."""
    monkeypatch.chdir(place)

    def run(*arguments, expect=0):
        capsys.readouterr()
        assert main(list(map(str, arguments))) == expect
        return capsys.readouterr()

    return run


CASES = {  # arguments, what --quiet leaves, keys of the object
    "Train": (["train", "run.yaml", "--out", "trained"], "trained/model", {"run", "model", "validation", "warnings"}),
    "Audit": (
        ["audit", "--model", "trained", "--data", "digits", "--partition", "grid:2x2", "--out", "audit"],
        "audit/report.html",
        {"report", "metrics", "images", "left_out", "failed"},
    ),
    "Explain": (
        ["explain", "black.png", "--model", "trained", "--partition", "grid:2x2", "--out", "explained"],
        "explained/black.png",
        {"image", "says", "full", "order", "areas", "picture"},
    ),
    "Compare": (["compare", "one", "two", "--out", "both"], "both/report.html", {"rows", "table", "report"}),
    "Report": (["report", "one", "two", "-o", "page.html"], "page.html", {"report"}),
    "Advise": (["advise", "one"], r"one: 2 images searched.*\n(.*\n)*", {"runs"}),
    "Figures": (["figures", "one", "-o", "figs"], r"(figs/[a-z0-9-]+\.(pdf|png)\n?)+", {"files", "left_out"}),
    "Export": (["export", "one", "-o", "{new}"], "{new}", {"out", "samples", "left_out"}),
    "DataCheck": (["data", "check", "digits"], "", {"classes", "splits", "duplicates", "bad"}),
    "DataPreview": (["data", "preview", "digits", "-o", "sheet.png"], "sheet.png", {"picture", "shown", "bad"}),
    "DataSplit": (
        ["data", "split", "digits", "{new}", "--val", "0", "--test", "0.5"],
        "{new}",
        {"out", "splits", "left_out"},
    ),
    "DataConvert": (["data", "convert", "digits", "{new}"], "{new}", {"out", "splits", "left_out"}),
    "DataPrior": (
        ["data", "prior", "digits", "-o", "{new}", "--from", "saliency", "--replace"],
        "{new}",
        {"out", "source", "made", "nothing_found", "left_out"},
    ),
    "DataReview": (
        ["data", "review", "priors", "-o", "review.html"],
        "review.html",
        {"page", "shown", "undecided", "bad"},
    ),
    "Doctor": (["doctor"], "", {"versions", "devices", "features", "healthy"}),
}


@pytest.mark.parametrize("name", CASES)
def test_quiet_leaves_one_result_and_json_one_object(typed, name):
    told, brief, keys = CASES[name]

    def arguments(how):
        return [each.replace("{new}", f"{name}-{how}") for each in told]

    said = typed(*arguments("quiet"), "--quiet")
    pattern = brief.replace("{new}", f"{name}-quiet")
    assert re.fullmatch(f"({pattern})\n?", said.out), said.out
    assert said.err == ""
    said = typed(*arguments("json"), "--json")
    [line] = said.out.splitlines()
    assert keys <= set(json.loads(line))
    said = typed(*arguments("both"), "--json", "--quiet")
    assert (len(said.out.splitlines()), said.err) == (1, "")
    assert keys <= set(json.loads(said.out))


def test_the_numbers_are_those_of_the_files(typed, place):
    told = json.loads(typed(*CASES["Audit"][0], "--json").out)
    kept = json.loads((place / "audit" / "metrics.json").read_text())["rows"]
    assert {(each["split"], each["metric"]): each["value"] for each in told["metrics"]} == {
        (each["split"], each["metric"]): each["value"] for each in kept
    }
    [row] = [each for each in json.loads(typed(*CASES["Compare"][0], "--json").out)["rows"] if each["run"] == "two"][:1]
    assert (row["metric"], row["value"]["value"], row["verdict"]) == ("top1", 0.5, "")


def test_one_line_for_each_image(typed, place):
    Image.fromarray(np.full((28, 28, 3), 200, np.uint8)).save(place / "grey.png")
    said = typed("explain", "black.png", "grey.png", *CASES["Explain"][0][2:], "--json")
    assert [json.loads(line)["image"] for line in said.out.splitlines()] == ["black.png", "grey.png"]


def test_what_fails_says_so_on_standard_error(typed, place):
    for how in ("--quiet", "--json"):
        said = typed("report", "nowhere", how, expect=1)
        assert said.out == ""
        assert said.err.startswith("wherenot: ")
    (place / "broken").mkdir(exist_ok=True)
    (place / "broken" / "list.txt").write_text("train.txt none.png\n")
    said = typed("data", "check", "list:broken/list.txt", "--json", expect=1)
    assert "none.png" in said.err


def test_of_several_processes_the_first_speaks(monkeypatch, capsys):
    for rank, said in (("0", '{"model": "m"}\n'), ("1", "")):
        monkeypatch.setenv("RANK", rank)
        monkeypatch.setenv("WORLD_SIZE", "2")
        with speaking(cli.Output(json=True)):
            say_result({"model": Path("m")})
        assert capsys.readouterr().out == said


def test_a_process_of_its_own_is_as_quiet(place):
    done = subprocess.run(
        [sys.executable, "-m", "wherenot", *CASES["Audit"][0], "--quiet"],
        cwd=place, capture_output=True, text=True, check=True, timeout=300,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("audit/report.html\n", "")


def test_every_command_is_tested_so():
    commands = {name for name in cli.__all__ if isinstance(getattr(cli, name), type)} - {"Command", "Output"}
    leaves = {name for name in commands if issubclass(getattr(cli, name), cli.Command)}
    assert commands - leaves == {"Bench", "Data"}  # their actions are
    assert leaves == {*CASES, *ELSEWHERE}
    for file in ELSEWHERE.values():
        assert re.search("--json|--quiet|json=True", (ROOT / "tests" / f"{file}.py").read_text()), file


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_for_the_shell_knows_commands_and_options(capsys, shell):
    with pytest.raises(SystemExit) as stop:
        main(["--tyro-print-completion", shell])
    assert not stop.value.code
    script = capsys.readouterr().out
    assert all(word in script for word in ("audit", "preview", "--max-images", "--json"))
    assert shell in (ROOT / "docs" / "commands.md").read_text()


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
def test_bash_completes(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["--tyro-print-completion", "bash"])
    (tmp_path / "script").write_text(capsys.readouterr().out)
    asked = r"""
    source ./script
    run=$(complete -p wherenot | sed 's/.*-F \([^ ]*\).*/\1/')
    for words in "wherenot au" "wherenot audit --max-r" "wherenot data pre" "wherenot audit --search t"; do
      COMP_WORDS=($words) COMP_CWORD=$(($(wc -w <<< "$words") - 1)) COMPREPLY=()
      $run
      echo "${COMPREPLY[*]}"
    done
    """
    done = subprocess.run(["bash", "-c", asked], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines() == ["audit", "--max-regions", "preview", "turbo"]
