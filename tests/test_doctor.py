"""What the doctor finds: what pip knows of this package, what is missing, too old, or cannot be written."""

import json
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from wherenot import doctor
from wherenot.cli import main
from wherenot.doctor import diagnose

ROOT = Path(__file__).parent.parent


def test_every_extra_is_explained():
    import tomllib

    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    found = diagnose()
    assert {feature.extra for feature in found.features} == {"", *extras} - {"all"}
    assert found.healthy


def test_it_tells_what_is_missing_and_what_is_too_old(monkeypatch):
    versions = {"numpy": "2.0.0", "torch": "2.1.0", "peft": "0.30", "transformers": "5.1"}

    def version(name):
        if name not in versions:
            raise metadata.PackageNotFoundError(name)
        return versions[name]

    required = [
        "numpy>=1.26", "torch>=2.6", 'transformers>=5.0; extra == "hf"', 'wherenot[hf]; extra == "mllm"',
        'peft>=0.21; extra == "mllm"', 'playwright>=1.50; extra == "screens"', 'tomli>=2; python_version < "3"',
    ]  # fmt: skip
    monkeypatch.setattr(doctor.metadata, "version", version)
    monkeypatch.setattr(doctor.metadata, "requires", lambda _: required)
    found = {feature.extra: feature for feature in diagnose().features}
    assert set(found) == {"", "hf", "mllm", "screens"}
    assert [(each.name, each.status) for each in found[""].packages] == [("numpy", "ready"), ("torch", "too old")]
    assert [each.name for each in found["mllm"].packages] == ["transformers", "peft"]
    assert found["mllm"].ready
    [missing] = found["screens"].packages
    assert (missing.status, missing.installed, missing.wanted) == ("missing", None, ">=1.50")
    assert not diagnose().healthy


def test_a_cache_that_cannot_be_written_is_named(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("WHERENOT_CACHE", str(tmp_path / "deep" / "cache"))
    assert diagnose().cache == (str(tmp_path / "deep" / "cache"), True)
    monkeypatch.setattr(doctor.os, "access", lambda *_: False)
    assert main(["doctor"]) == 0
    assert "set WHERENOT_CACHE" in " ".join(capsys.readouterr().out.split())


def test_the_command_for_people_and_for_machines(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["doctor", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["healthy"] is True
    assert told["devices"][-1]["name"] == "cpu"
    assert main(["doctor"]) == 0
    shown = capsys.readouterr().out
    assert told["versions"]["torch"] in shown
    assert all(feature["use"].split(",")[0] in shown for feature in told["features"])


def test_a_core_that_lacks_something_is_an_error(monkeypatch, capsys):
    monkeypatch.setattr(doctor.metadata, "requires", lambda _: ["nowhere-to-be-found>=1"])
    assert main(["doctor"]) == 1
    printed = capsys.readouterr()
    assert "no nowhere-to-be-found" in printed.out
    assert re.search(r"run: pip install --upgrade wherenot", printed.err)


@pytest.mark.skipif(sys.platform == "win32", reason="needs a shell")
def test_a_reader_that_has_read_enough_is_no_error():
    done = subprocess.run(
        f"{sys.executable} -m wherenot doctor --json | true", shell=True, capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
