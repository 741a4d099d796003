import json

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image

from toys import SmallBatchNormNet, seeded
from wherenot import Normalization
from wherenot.bench.authors import efficient_loop, exact_loop
from wherenot.bench.photographs import benchmark_images, crops
from wherenot.bench.quality import measure_quality, plain_order, quality_rows
from wherenot.bench.timing import measure_time
from wherenot.cli import main
from wherenot.explain import explain
from wherenot.models import Classifier
from wherenot.models.preprocess import Preprocess
from wherenot.objective import TRAINING
from wherenot.regions import Grid
from wherenot.search import SEARCHES, Scoped


@pytest.fixture(scope="module")
def classifier():
    preprocess = Preprocess(height=8, width=8, normalization=Normalization((0.5,) * 3, (0.25,) * 3))
    return Classifier(seeded(SmallBatchNormNet), preprocess, ["a", "b", "c"], "toy").eval()


def image(seed):
    return torch.randn(3, 8, 8, generator=torch.Generator().manual_seed(seed)) * 2


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("stop_above", [None, 0.6])
def test_the_authors_loops_find_the_orders_of_exact_and_scoped(classifier, seed, stop_above):
    labels = torch.from_numpy(Grid(4, 4)(np.zeros((8, 8, 3), np.uint8)))
    settings = {"max_regions": 9, "stop_above": stop_above}
    common = {"regions": labels[None], "objective": TRAINING, "fill": torch.zeros(3, 1, 1), **settings}
    for loop, search in ((exact_loop, SEARCHES["exact"]), (efficient_loop, Scoped(8, 20))):
        [evidence] = explain(classifier, image(seed)[None], torch.tensor([1]), search=search, **common)
        assert loop(classifier, image(seed), labels, 1, **settings) == evidence.order.tolist()


def test_the_efficient_loop_scans_again_as_scoped_does(classifier):
    labels = torch.from_numpy(Grid(4, 4)(np.zeros((8, 8, 3), np.uint8)))
    [evidence] = explain(
        classifier, image(5)[None], torch.tensor([0]), regions=labels[None], objective=TRAINING,
        fill=torch.zeros(3, 1, 1), search=Scoped(3, 4), max_regions=12,
    )  # fmt: skip
    found = efficient_loop(classifier, image(5), labels, 0, scope=3, update=4, max_regions=12)
    assert found == evidence.order.tolist()


def test_quality_compares_with_the_plain_loop(classifier):
    rows = measure_quality(classifier, "noise", image(1), Grid(4, 4), ["exact", "scoped", "turbo"])
    exact, scoped, turbo = rows
    assert exact.same_order
    assert exact.rank1
    assert exact.sum_f == exact.sum_f_stop == 1.0
    assert exact.plain == sum(2 * (16 - step) for step in range(10))
    assert exact.forwards <= exact.plain
    assert scoped.forwards == 2 * 16 + 2 * sum(min(8, 16 - step) for step in range(1, 10))
    assert turbo.same_order == (turbo.sum_f == 1.0) or turbo.sum_f != 1.0
    assert 0 <= turbo.insertion_auc <= 1
    mean = quality_rows([*rows, *measure_quality(classifier, "more", image(2), Grid(4, 4), ["exact", "scoped"])])
    assert [(row["search"], row["images"]) for row in mean] == [("exact", 2), ("scoped", 2), ("turbo", 1)]
    assert mean[0]["same_order"] == 1.0


def test_the_plain_loop_asks_everything_every_time():
    asked = []

    def score(image, keep):
        asked.append(len(image))
        return keep.double() @ torch.tensor([[0.1], [0.3], [0.2]], dtype=torch.float64)

    assert plain_order(score, 3, 2) == [1, 2]
    assert asked == [3, 3, 2, 2]


def test_timing_counts_forwards_and_agrees_with_the_authors(classifier):
    images = torch.stack([image(seed) for seed in range(3)])
    timings = {
        timing.search: timing
        for timing in measure_time(classifier, images, Grid(4, 4), ["exact", "scoped"], authors=True)
    }
    assert set(timings) == {"exact", "scoped", "authors' exact", "authors' efficient"}
    assert timings["authors' exact"].agrees == timings["authors' efficient"].agrees == 3
    assert timings["authors' exact"].forwards >= timings["exact"].forwards
    for timing in timings.values():
        assert 0 < timing.outside < 1
        assert timing.seconds > 0


def test_sixty_six_views_of_eleven_photographs():
    names = [name for name, _ in benchmark_images()]
    assert len(names) == len(set(names)) == 66
    square = Image.new("RGB", (100, 60))
    assert {view.size for name, view in crops(square) if name != "whole"} == {(36, 36)}


def test_images_of_a_folder_and_of_a_data_set(tmp_path):
    (tmp_path / "sub").mkdir()
    Image.new("RGB", (9, 9)).save(tmp_path / "sub" / "b.png")
    assert [name for name, _ in benchmark_images(str(tmp_path))] == ["sub/b.png"]
    (tmp_path / "broken.jpg").write_text("no image")
    with pytest.raises(ValueError, match=r"broken\.jpg"):
        list(benchmark_images(str(tmp_path)))
    with pytest.raises(ValueError, match="neither a folder nor built in"):
        next(benchmark_images("nothing-there"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="holds no"):
        next(benchmark_images(str(tmp_path / "empty")))
    name, view = next(benchmark_images("decoy"))
    assert name.startswith("test_")
    assert view.size == (28, 28)


def test_bench_search_from_the_command_line(tmp_path, capsys, monkeypatch):
    from wherenot.models import build_classifier

    build_classifier("small-cnn", classes=["a", "b"]).save(tmp_path / "model")
    arguments = [
        "bench", "search", "--model", str(tmp_path / "model"), "--images", "decoy", "--partition", "grid:4x4",
        "--limit", "2", "--timed", "2", "--searches", "exact", "fast", "--against", "authors",
        "--out", str(tmp_path / "out"),
    ]  # fmt: skip
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert "authors' exact" in printed
    assert "rank 1" in printed
    lines = (tmp_path / "out" / "quality.jsonl").read_text().splitlines()
    assert len(lines) == 4
    assert json.loads(lines[0])["search"] == "exact"
    assert "| search |" in (tmp_path / "out" / "table.md").read_text()
    timing = (tmp_path / "out" / "timing.json").read_text()
    capsys.readouterr()
    assert main([*arguments, "--json"]) == 0  # nothing is measured again
    told = json.loads(capsys.readouterr().out)
    assert [line["search"] for line in told["lines"]][:2] == ["exact", "fast"]
    assert (tmp_path / "out" / "timing.json").read_text() == timing
    assert main([*arguments, "--partition", "grid:2x2"]) == 1
    assert "another configuration" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore:`torch.jit.script_method`:DeprecationWarning")  # torch.compile's own
def test_compiled_forwards_are_timed(tmp_path, capsys):
    from wherenot.models import build_classifier

    build_classifier("small-cnn", classes=["a", "b"]).save(tmp_path / "model")
    arguments = ["--images", "decoy", "--partition", "grid:2x2", "--limit", "1", "--timed", "2", "--searches", "exact"]
    with torch.compiler.set_stance("force_eager"):  # wrapped as for compiling, which takes a minute
        assert (
            main(
                [
                    "bench",
                    "search",
                    "--model",
                    str(tmp_path / "model"),
                    *arguments,
                    "--compile",
                    "--out",
                    str(tmp_path / "out"),
                ]
            )
            == 0
        )
    assert "exact" in capsys.readouterr().out


def test_answers_are_measured_against_the_authors_way(tmp_path, capsys):
    # Of a size that the processor does not resize: hiding before it and after it are the same.
    Image.fromarray(skimage.data.coffee()).resize((168, 112)).save(tmp_path / "shot.png")
    out = tmp_path / "bench"
    command = ["bench", "mllm", "--size", "tiny", "--image", str(tmp_path / "shot.png"), "--partition", "grid:2x3"]
    command += ["--max-regions", "2", "--out", str(out)]
    assert main(command) == 0
    table = (out / "table.md").read_text()
    rows = {cells[1].strip(): cells for cells in (line.split("|") for line in table.splitlines()) if len(cells) > 5}
    assert [rows[way][-2].strip() for way in ("authors", "exact")] == ["same", "same"]
    assert int(rows["authors"][2]) == 2 * (6 + 5)
    assert int(rows["8 questions together"][2]) <= int(rows["8 questions, one by one"][2]) / 3
    before = (out / "ways.jsonl").read_text()
    capsys.readouterr()
    assert main([*command, "--quiet"]) == 0
    assert capsys.readouterr() == (f"{out / 'table.md'}\n", "")
    assert (out / "ways.jsonl").read_text() == before, "nothing is measured twice"
