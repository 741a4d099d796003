import multiprocessing
from dataclasses import dataclass

import numpy as np
import pytest

from wherenot.region_cache import CachedPartition, default_cache
from wherenot.regions import Grid, Slico

IMAGE = np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8)


@dataclass(frozen=True)
class Counting:
    """A partition that leaves a mark whenever it cuts."""

    marks: str
    cells: int = 4

    def __call__(self, image):
        with open(self.marks, "a") as file:  # noqa: PTH123 - one atomic append per cut
            file.write(".")
        return Grid(1, self.cells)(image)


def files(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


def test_an_image_is_cut_once(tmp_path):
    marks = tmp_path / "marks"
    cached = CachedPartition(Counting(str(marks)), tmp_path / "cache")
    first = cached(IMAGE)
    assert np.array_equal(cached(IMAGE.copy()), first)
    assert np.array_equal(first, Grid(1, 4)(IMAGE))
    assert marks.read_text() == "."
    first[:] = 7  # what a caller does to its map stays with the caller
    assert cached(IMAGE).max() == 3


def test_other_pixels_shapes_and_parameters_are_other_maps(tmp_path):
    marks = tmp_path / "marks"
    cached = CachedPartition(Counting(str(marks)), tmp_path / "cache")
    other = IMAGE.copy()
    other[3, 3, 1] ^= 1
    for image in (IMAGE, other, IMAGE.reshape(30, 40, 3), IMAGE[:, ::-1]):
        assert cached(image).shape == image.shape[:2]
    assert CachedPartition(Counting(str(marks), cells=5), tmp_path / "cache")(IMAGE).max() == 4
    assert len(marks.read_text()) == len(files(tmp_path / "cache")) == 5


def test_a_damaged_map_is_made_anew(tmp_path):
    cached = CachedPartition(Slico(9), tmp_path)
    right = cached(IMAGE)
    [stored] = files(tmp_path)
    for damage in (b"", b"nonsense", stored.read_bytes()[:-20]):
        stored.write_bytes(damage)
        assert np.array_equal(cached(IMAGE), right)
        assert np.array_equal(CachedPartition(Slico(9), tmp_path)(IMAGE), right)


def test_nothing_is_kept_where_nothing_can_be_written(tmp_path):
    (tmp_path / "file").write_text("in the way")
    cached = CachedPartition(Grid(2, 2), tmp_path / "file" / "cache")
    assert np.array_equal(cached(IMAGE), Grid(2, 2)(IMAGE))


def cut_many(folder, seed, results):
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (24, 24, 3), dtype=np.uint8) for _ in range(8)]
    order = np.random.default_rng(seed).permutation(8)
    maps = {int(i): CachedPartition(Slico(6), folder)(images[i]).tolist() for i in order}
    results.put([maps[i] for i in range(8)])


def test_processes_may_share_a_folder(tmp_path):
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    workers = [context.Process(target=cut_many, args=(tmp_path, seed, results)) for seed in range(2)]
    for worker in workers:
        worker.start()
    cut_many(tmp_path, 2, results)  # the third is this one
    found = [results.get(timeout=120) for _ in range(3)]
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    assert found[0] == found[1] == found[2]
    assert len(files(tmp_path)) == 8


def test_parameters_must_be_known(tmp_path):
    with pytest.raises(ValueError, match="must be a dataclass"):
        CachedPartition(lambda image: Grid(2, 2)(image), tmp_path)


def test_where_maps_are_kept(monkeypatch, tmp_path):
    monkeypatch.delenv("WHERENOT_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache() == tmp_path / "wherenot"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_cache() == tmp_path / ".cache" / "wherenot"
    monkeypatch.setenv("WHERENOT_CACHE", str(tmp_path / "own"))
    assert default_cache() == tmp_path / "own"
