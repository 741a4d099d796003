import json
import os

import pytest

from wherenot.run import RunFolder, git_commit, installed_versions


def test_a_run_keeps_what_it_was_told(tmp_path):
    folder = RunFolder(tmp_path / "a" / "b")
    folder.begin("audit", "mine", {"splits": ("test",), "seed": 3}, data="decoy")
    run = json.loads((tmp_path / "a" / "b" / "run.json").read_text())
    assert (run["command"], run["name"], run["data"]) == ("audit", "mine", "decoy")
    assert run["config"] == {"splits": ["test"], "seed": 3}
    assert run["versions"]["torch"] == installed_versions()["torch"]
    folder.amend(seconds=1.5)
    assert folder.read("run.json")["seconds"] == 1.5


def test_the_same_configuration_goes_on_and_another_is_refused(tmp_path):
    folder = RunFolder(tmp_path)
    folder.begin("audit", "mine", {"splits": ("test",), "seed": 3})
    started = folder.read("run.json")["started"]
    folder.amend(seconds=2.0)
    folder.begin("audit", "mine", {"splits": ("test",), "seed": 3})
    assert folder.read("run.json")["started"] == started
    assert folder.read("run.json")["seconds"] == 2.0
    with pytest.raises(ValueError, match=r"another configuration \(differs in: seed\)"):
        folder.begin("audit", "mine", {"splits": ("test",), "seed": 4})
    assert folder.read("run.json")["config"]["seed"] == 3


@pytest.mark.parametrize("cut", ['{"id": 3, "sco', '{"id": 3}'])
def test_records_survive_an_interruption_in_the_middle_of_a_line(tmp_path, cut):
    folder = RunFolder(tmp_path)
    folder.append("records.jsonl", {"id": 1}, {"id": 2})
    with (tmp_path / "records.jsonl").open("a") as file:
        file.write(cut)
    assert [record["id"] for record in folder.records("records.jsonl")] == [1, 2]
    folder.append("records.jsonl", {"id": 3})
    assert [record["id"] for record in folder.records("records.jsonl")] == [1, 2, 3]


def test_damage_elsewhere_is_named(tmp_path):
    (tmp_path / "records.jsonl").write_text('{"id": 1}\n{"id"\n{"id": 3}\n')
    with pytest.raises(ValueError, match=r"records\.jsonl, line 2: not JSON"):
        list(RunFolder(tmp_path).records("records.jsonl"))


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="cannot write into"):
        RunFolder(tmp_path / "file" / "run")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_no_permission_is_named(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(ValueError, match="Permission denied"):
        RunFolder(tmp_path / "run")


def test_writing_leaves_no_part_behind(tmp_path):
    RunFolder(tmp_path).write("metrics.json", {"rows": []})
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.json"]


def test_commit_is_a_hash_or_nothing():
    commit = git_commit()
    assert commit is None or len(commit.rstrip("+")) == 12
