"""Real runs: healthy ones are silent, those made to fail are not, on the screen as in the report."""

import json
from dataclasses import replace

import pytest

from wherenot import Prior
from wherenot.cli import main
from wherenot.data import Dataset, decoy, write_folder
from wherenot.report import load_run
from wherenot.run import RunWarning, read_warnings
from wherenot.train.config import MethodConfig, OptimizationConfig, TrainConfig

ALIGNED = {"interval": 2, "partition": "grid:4x4", "max_regions": 3, "max_images": 8, "search": "fast"}


def corner():
    return Prior.from_boxes([[0, 0, 5, 5]], height=28, width=28)


@pytest.fixture(scope="module")
def digits():
    return decoy(0, num_train=320, num_validation=100, num_test=5)


@pytest.fixture(scope="module")
def cornered():
    """Digits without a shortcut whose priors show a corner instead of the digit."""
    data = decoy(0, num_train=320, num_validation=100, num_test=5, shortcut=False)
    return replace(data, samples=tuple(replace(sample, read_prior=corner) for sample in data.samples))


def trained(folder, data, *, epochs=4, learning_rate=2e-3, schedule="cosine", **method):
    from wherenot.train.training import train

    optimization = OptimizationConfig(epochs=epochs, batch_size=16, learning_rate=learning_rate, schedule=schedule)
    return train(
        TrainConfig(method=MethodConfig(**method), optimization=optimization), folder, dataset=data, quiet=True
    )


def kinds(folder):
    return [warning.kind for warning in read_warnings(folder)]


@pytest.mark.parametrize(
    "method",
    [
        {"name": "finetune"},
        {"name": "log", "weight": 2.0, **ALIGNED},
        {"name": "wherenot"},
        {"name": "rrr", "weight": 100.0},
    ],
    ids=lambda method: method["name"],
)
def test_healthy_runs_are_silent(tmp_path, digits, method):
    out = trained(tmp_path, digits, **method)
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["warnings"] == []
    for epoch in metrics["validation"]["epochs"]:
        assert 0.1 < epoch["confidence"] < 1


@pytest.mark.slow
def test_priors_that_do_not_show_the_class(tmp_path, cornered):
    assert "recomposed_not_learned" in kinds(trained(tmp_path / "own", cornered, epochs=6, name="wherenot"))
    log = trained(tmp_path / "log", cornered, epochs=6, name="log", **ALIGNED | {"confidence_above": 0.3})
    assert "evidence_stays_off" in kinds(log)


def test_a_gate_that_never_opens(tmp_path, digits):
    out = trained(tmp_path, digits, epochs=1, learning_rate=1e-6, name="log", **ALIGNED)
    [warning] = read_warnings(out)
    assert warning.kind == "never_acted"
    assert "with more than 75%" in warning.seen


def test_losses_that_are_no_numbers(tmp_path, digits):
    with pytest.raises(ValueError, match=r"the (loss|gradient) at step \d+ is not a finite number"):
        trained(tmp_path, digits, epochs=1, learning_rate=1e30)


def test_from_the_command_line_to_the_report(tmp_path, digits, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    keep = tuple(s for s in digits.samples if s.split != "test_unbiased")[:120] + digits.samples[-5:]
    write_folder(Dataset("digits", digits.classes, keep), tmp_path / "digits")
    (tmp_path / "run.yaml").write_text(
        "{data: digits, name: '[b]log', optimization: {epochs: 1, learning_rate: 1.0e-6}, method: {name: log}}"
    )
    for _ in range(2):  # the second time the run is finished, and says it again
        main(["train", "run.yaml", "--out", "runs/log"])
        printed = capsys.readouterr()
        said = " ".join(printed.err.replace("│", " ").split())
        assert "training of [b]log looks wrong" in said
        assert "The method log never acted" in said
        assert "Try: " in said
        assert "never acted" not in printed.out
    main(["audit", "--model", "runs/log", "--data", "digits", "--partition", "grid:2x2", "--splits", "test_swapped"])
    [warning] = load_run(tmp_path / "runs" / "audit-log").training_warnings
    assert warning == read_warnings("runs/log/model")[0]
    page = (tmp_path / "runs" / "audit-log" / "report.html").read_text()
    assert "The training of log looks wrong" in page
    assert "The method log never acted: its interval is longer than the run." in page
    main(["compare", "runs/audit-log", "--out", "both"])
    assert "- log: The method log never acted" in (tmp_path / "both" / "comparison.md").read_text()


def test_models_that_no_training_run_wrote_have_no_warnings(tmp_path):
    assert read_warnings("efficientnet-lite0") == []
    (tmp_path / "metrics.json").write_text('{"warnings": "other"}')
    assert read_warnings(tmp_path) == []
    (tmp_path / "run.json").write_text('{"command": "audit"}')
    assert read_warnings(tmp_path) == []
    (tmp_path / "run.json").write_text('{"command": "train"}')
    assert read_warnings(tmp_path / "elsewhere") == []
    (tmp_path / "metrics.json").write_text('{"finished": true}')
    assert read_warnings(tmp_path) == []
    found = {"kind": "gate_closed", "seen": "Hardly any.", "advice": "Lower it."}
    (tmp_path / "metrics.json").write_text(json.dumps({"warnings": [found]}))
    assert read_warnings(tmp_path) == read_warnings(str(tmp_path / "model")) == [RunWarning(**found)]


@pytest.mark.parametrize("content", ["{", "[]", '{"warnings": ["fell"]}', '{"warnings": [{"kind": "fell"}]}'])
def test_files_that_cannot_be_read_are_named(tmp_path, content):
    (tmp_path / "run.json").write_text('{"command": "train"}')
    (tmp_path / "metrics.json").write_text(content)
    with pytest.raises(ValueError, match=r"read_warnings: .*metrics\.json"):
        read_warnings(tmp_path)
