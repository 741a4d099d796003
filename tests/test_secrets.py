"""What must never happen: code from a download that runs unasked, YAML that makes objects, a key in a file."""

import ast
import json
import re
from dataclasses import asdict
from pathlib import Path

import pytest
import yaml

import wherenot
from wherenot.endpoint import EndpointConfig
from wherenot.models import load_classifier, load_vlm
from wherenot.run import RunFolder
from wherenot.train.config import read_config

SOURCE = Path(wherenot.__file__).parent
FILES = sorted(SOURCE.rglob("*.py"))
MADE = "import pathlib\npathlib.Path(__file__).with_name('ran').touch()\nraise RuntimeError('remote code ran')\n"


def calls():
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                yield path.relative_to(SOURCE), ast.unparse(node.func), node


def test_no_code_of_a_model_is_ever_trusted():
    """There is no option for it: what needs its own code is refused by transformers, which says so."""
    loaders = [(path, node) for path, name, node in calls() if name.endswith(("from_pretrained", "from_config"))]
    assert len(loaders) >= 3
    for path, _, node in calls():
        said = [ast.unparse(option.value) for option in node.keywords if option.arg == "trust_remote_code"]
        assert said in ([], ["False"]), path


@pytest.mark.parametrize("load", [load_classifier, load_vlm])
def test_a_model_that_brings_its_own_code_is_refused(tmp_path, load):
    own = {"AutoConfig": "own.OwnConfig", "AutoModelForImageClassification": "own.Own"}
    own |= {"AutoModelForImageTextToText": "own.Own", "AutoProcessor": "own.OwnProcessor"}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "own", "auto_map": own}))
    (tmp_path / "own.py").write_text(MADE)
    with pytest.raises((ValueError, OSError)):
        load(str(tmp_path))
    assert not list(tmp_path.rglob("ran"))


def test_nothing_is_unpickled_or_evaluated():
    for path, name, node in calls():
        options = {option.arg: ast.unparse(option.value) for option in node.keywords}
        if name in ("np.load", "numpy.load"):
            assert options.get("allow_pickle") == "False", path
        if name == "torch.load":
            assert options.get("weights_only") == "True", path
        if path.name == "audit_ray.py":  # samples on their way within a cluster, which Ray pickles in any case
            assert name not in ("eval", "exec", "pickle.load", "os.system")
            continue
        assert name not in ("eval", "exec", "pickle.load", "pickle.loads", "yaml.load", "os.system"), path
        assert options.get("shell") != "True", path
        if name.startswith("yaml.") and "load" in name:
            assert name == "yaml.safe_load", path


@pytest.mark.parametrize("text", ["!!python/object/apply:os.system ['touch ran']", "model: !!python/name:os.system"])
def test_yaml_makes_no_objects(tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run.yaml").write_text(text)
    with pytest.raises(ValueError, match=r"run\.yaml"):
        read_config(tmp_path / "run.yaml")
    assert [path.name for path in tmp_path.iterdir()] == ["run.yaml"]
    with pytest.raises(yaml.YAMLError):
        yaml.safe_load(text)


SECRET = "sk-very-secret-0123456789"


def holding(root, secret):
    """Files that hold a text."""
    return [path for path in root.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()]


def test_a_run_records_the_name_of_the_key_and_never_the_key(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    folder = RunFolder(tmp_path / "r")
    folder.begin("explain", "a", asdict(EndpointConfig()))
    assert holding(tmp_path, SECRET) == []
    assert "OPENAI_API_KEY" in (tmp_path / "r" / "run.json").read_text()
    with pytest.raises(ValueError, match="must be the name of an environment variable, not a key") as caught:
        EndpointConfig(key_variable=SECRET)
    assert SECRET not in str(caught.value)


def test_only_the_endpoint_reads_keys():
    """Who looks into the environment is known, and what for."""
    found = {
        (str(path), match)
        for path in (path.relative_to(SOURCE) for path in FILES)
        for match in re.findall(r'environ(?:\.get\(|\[)"?([\w.]+)', (SOURCE / path).read_text())
    }
    assert found == {
        ("commands/results.py", "TQDM_DISABLE"),
        ("doctor.py", "CHROMIUM"),
        ("gui/screens/render.py", "CHROMIUM"),
        ("ranks.py", "RANK"),
        ("ranks.py", "WORLD_SIZE"),
        ("region_cache.py", "WHERENOT_CACHE"),
        ("region_cache.py", "XDG_CACHE_HOME"),
        ("train/sharding.py", "FSDP_CPU_RAM_EFFICIENT_LOADING"),
        ("endpoint/client.py", "self.config.key_variable"),
    }
