import json
from functools import partial

import wherenot.demo
from wherenot.cli import Output
from wherenot.commands.results import speaking
from wherenot.data import decoy


def test_the_demo_in_small(tmp_path, monkeypatch, capsys):
    small = partial(decoy, num_train=64, num_validation=20, num_test=8)
    monkeypatch.setattr(wherenot.demo, "load_dataset", lambda name, seed: small(seed))
    monkeypatch.setattr(wherenot.demo, "METHODS", ("finetune", "log"))
    monkeypatch.setattr(wherenot.demo, "AUDITED_IMAGES", 2)
    monkeypatch.setattr(wherenot.demo, "PHOTOGRAPHS", ())
    report = wherenot.demo.run_demo(tmp_path / "demo", seed=0)
    page = report.read_text()
    assert "finetune" in page
    assert "log" in page
    printed = " ".join(capsys.readouterr().out.split())
    assert "report:" in printed
    with speaking(Output(json=True)):
        again = wherenot.demo.run_demo(tmp_path / "demo", seed=0)
    told = json.loads(capsys.readouterr().out)
    assert (told["report"], set(told["metrics"])) == (str(report), {"finetune", "log"})
    assert again.read_text() == page  # nothing was done twice
    other = wherenot.demo.run_demo(tmp_path / "twin", seed=0)
    for name in ("audit-finetune", "audit-log"):
        assert (tmp_path / "demo" / name / "metrics.json").read_text() == (
            tmp_path / "twin" / name / "metrics.json"
        ).read_text()
    assert other.is_file()
