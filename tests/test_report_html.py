"""The page: self-contained, escaped, complete, and pictures that show what the arrays say."""

import base64
import hashlib
import io
import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from report_runs import failed, record, row, write_evidence, write_run
from wherenot.report import build_content, evidence_figure, load_run, png_bytes, render_html, write_report
from wherenot.report.stored import load_evidence
from wherenot.report.tiles import SIDE_PX, draw_tile, evidence_colormap, outline_path, outline_segments

DASH = "\N{EN DASH}"


def pictured_run(folder, ids=("a.png", "b.png"), size=(8, 8), records=(), **about):
    """A run with evidence for each id, one miss and one failed image among the others."""
    for number, _ in enumerate(ids):
        write_evidence(folder / "evidence" / f"{number:06d}.npz", height=size[0], width=size[1], seed=number)
    pictured = [
        record(id, hit=False, coverage=0.0, evidence_file=f"evidence/{number:06d}.npz") for number, id in enumerate(ids)
    ]
    rows = [row("top1", 0.714, 0.67, 0.75), row("pointing_coverage@0.2", 0.47, 0.43, 0.51)]
    return write_run(folder, records=[*pictured, *records], **{"rows": rows, **about})


def page(*folders, **options):
    return render_html(build_content([load_run(folder) for folder in folders], **options))


class Elements(HTMLParser):
    """Collects tags with their attributes, the visible text, and apart from it what is in script elements."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.text, self.scripts = [], [], []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        (self.scripts if self.cdata_elem == "script" else self.text).append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def decoded(uri):
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))


class TestSafety:
    EVIL = "<script>alert(1)</script>\"'&.png"

    def test_names_from_runs_are_escaped(self, tmp_path):
        folder = pictured_run(
            tmp_path / "r",
            ids=[self.EVIL],
            records=[failed("b", error=self.EVIL), record("c", split=self.EVIL, group=self.EVIL)],
            name=self.EVIL,
            data=self.EVIL,
            model=self.EVIL,
            classes=["zero", self.EVIL],
            config={self.EVIL: self.EVIL},
            versions={self.EVIL: self.EVIL},
            rejected=[{"id": self.EVIL, "reason": self.EVIL}],
            training_warnings=[{"kind": self.EVIL, "seen": self.EVIL, "advice": self.EVIL}],
            rows=[row(f"top1 [{self.EVIL}]", 0.5, split=self.EVIL), row("pointing_coverage@0.2", 0.5)],
        )
        html = page(folder, write_run(tmp_path / "other", name=f"{self.EVIL}2"))
        elements = Elements(html)
        *blocks, script = elements.all("script")
        assert blocks
        assert all(block["type"] == "application/json" for block in blocks)
        assert script == {}
        assert html.lower().count("<script") == html.lower().count("</script") == len(elements.scripts)
        index, sample, text = (elements.scripts[place] for place in (0, 1, -1))
        assert "<" not in index + sample
        assert json.loads(index)["samples"][0]["id"] == self.EVIL
        assert "alert" not in text
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        [policy] = [meta["content"] for meta in elements.all("meta") if "http-equiv" in meta]
        assert f"; script-src 'sha256-{digest}';" in policy
        assert "".join(elements.text).count("<script>alert(1)</script>") > 10
        assert all("alert" not in name for _, attributes in elements.tags for name in attributes)

    def test_nothing_is_loaded_from_elsewhere(self, tmp_path):
        html = page(pictured_run(tmp_path / "r"))
        assert not re.search(r"(https?:)?//[a-z]", re.sub(r"base64,[A-Za-z0-9+/=]*", "", html))
        for _, attributes in Elements(html).tags:
            for name in ("src", "href", "srcset", "action", "poster"):
                assert attributes.get(name, "data:").startswith(("data:", "#")), attributes
        assert "url(" not in html
        assert "@import" not in html


FELL = {"kind": "accuracy_fell", "seen": "Accuracy fell from 95% to < 70%.", "advice": "Lower method.weight."}


class TestTrainingWarnings:
    def test_they_stand_between_headline_and_numbers(self, tmp_path):
        html = page(pictured_run(tmp_path / "r", name="log", training_warnings=[FELL]))
        assert "Accuracy fell from 95% to &lt; 70%." in html
        text = " ".join(" ".join(Elements(html).text).split())
        assert "The training of log looks wrong (runs/train-r)" in text
        assert "Accuracy fell from 95% to < 70%. Try: Lower method.weight." in text
        assert text.index("right on") < text.index("looks wrong") < text.index("Numbers")

    def test_each_run_has_its_own(self, tmp_path):
        runs = [
            pictured_run(tmp_path / "good", name="log", seed=0),
            pictured_run(tmp_path / "bad", name="log", seed=1, training_warnings=[FELL]),
        ]
        html = page(*runs)
        assert html.count("looks wrong") == 1
        assert "The training of log, seed 1 looks wrong" in html

    def test_none_leave_no_trace(self, tmp_path):
        assert "looks wrong" not in page(pictured_run(tmp_path / "r"))


class TestNumbers:
    def test_every_value_is_on_the_page(self, tmp_path):
        rows = [
            row("top1", 0.7143, 0.6701, 0.7502, n=497, missing=3),
            row("deletion_auc", 0.2345, 0.2001, 0.2702, higher_is_better=False),
            row("forwards_per_image", 274.2, 274, 275, higher_is_better=None),
            row("pointing_argmax", 0.111, 0.0, 0.222, split="other"),
        ]
        text = " ".join(" ".join(Elements(page(write_run(tmp_path / "r", rows=rows))).text).split())
        for expected in (
            "top1 ↑ 71.4% [67.0, 75.0] 3 missing 497",
            "deletion_ auc ↓ 0.234 [0.200, 0.270]",
            "274 [274, 275]",
            "11.1% [0.0, 22.2]",
        ):
            assert expected in text, expected

    def test_a_missing_value_is_a_dash(self, tmp_path):
        rows = [row("top1", None, n=0, missing=5), row("insertion_auc", float("nan"))]
        text = " ".join(" ".join(Elements(page(write_run(tmp_path / "r", rows=rows))).text).split())
        assert f"top1 ↑ {DASH} 5 missing 0" in text
        assert f"insertion_ auc ↑ {DASH} 100" in text
        assert "nan" not in text.lower().replace("finance", "")
        assert "None" not in text.replace("None: every sample", "").replace("None.", "")

    def test_differences_from_the_first(self, tmp_path):
        folders = []
        for name, right in (("finetune", 30), ("log", 80)):
            records = [record(str(i), correct=i < right) for i in range(100)]
            value = right / 100
            folders.append(
                write_run(tmp_path / name, records=records, rows=[row("top1", value, value - 0.05, value + 0.05)])
            )
        html = page(*folders)
        text = " ".join(" ".join(Elements(html).text).split())
        assert "Differences from finetune on the same images" in text
        assert "+50.0 better [+" in text
        assert "100 shared" in text
        assert html.count('<td class="best"') == 1

    def test_unequal_counts_are_shown_per_model(self, tmp_path):
        first = write_run(tmp_path / "first", rows=[row("top1", 0.5, n=90)])
        second = write_run(tmp_path / "second", rows=[row("top1", 0.6, n=80)])
        text = " ".join(Elements(page(first, second)).text)
        assert "n = 90" in text
        assert "n = 80" in text

    def test_figures_exist_for_light_and_dark_and_say_their_numbers(self, tmp_path):
        elements = Elements(page(pictured_run(tmp_path / "r")))
        pairs = [elements.all("img")[place : place + 2] for place in (0, 2)]
        assert [[image["class"] for image in pair] for pair in pairs] == [["on-light", "on-dark"]] * 2
        said = ["top1 with intervals. test: r 71.4%", "pointing_coverage@0.2 with intervals. test: r 47.0%"]
        assert [[image["alt"] for image in pair] for pair in pairs] == [[each] * 2 for each in said]
        for pair in pairs:
            light, dark = (np.asarray(decoded(image["src"]).convert("RGBA")) for image in pair)
            assert light.shape == dark.shape
            assert (light != dark).any()


class TestPictures:
    def test_the_same_image_for_all_models_is_stored_once(self, tmp_path):
        folders = [pictured_run(tmp_path / name) for name in ("finetune", "paper", "log")]
        elements = Elements(page(*folders))
        stored = [image for image in elements.all("image") if "id" in image]
        assert [image["id"] for image in stored] == ["image0", "image1"]
        pictures = [svg for svg in elements.all("svg") if svg.get("role") == "img"]
        assert len(pictures) == 2 * (1 + 3) + 3 * 2  # gallery: image and three models, twice; offenders: two each
        assert "a.png: evidence of log for one, strongest region off the prior" in [p["aria-label"] for p in pictures]
        ids = {attributes["id"] for _, attributes in elements.tags if "id" in attributes}
        assert {use["href"].removeprefix("#") for use in elements.all("use")} <= ids

    def test_layers(self, tmp_path):
        folder = pictured_run(tmp_path / "r", ids=["a.png"])
        forbidden = np.zeros((8, 8), bool)
        forbidden[:2, :2] = True
        stored = load_evidence(write_evidence(folder / "evidence" / "000000.npz", forbidden=forbidden))
        tile = draw_tile(stored)
        html = page(folder)
        plain, evidence, _ = re.findall(r'<svg class="picture" viewBox="0 0 8 8".*?</svg>', html, flags=re.DOTALL)
        outlines = {path["d"]: path["id"] for path in Elements(html).all("path") if "id" in path}
        assert set(outlines) == {outline_path(stored.allowed), outline_path(forbidden)}
        for picture in (plain, evidence):
            assert f'<use href="#{outlines[tile.prior]}" class="line prior"/>' in picture
            assert f'<use href="#{outlines[tile.forbidden]}" class="line forbidden"/>' in picture
        assert '<use href="#image0"/>' in plain
        assert "data:" not in plain
        assert '<use href="#image0" class="grey"/>' in evidence
        assert f'<image href="{tile.evidence}"' in evidence
        assert f'<path d="{tile.top_region}" class="line top"/>' in evidence

    def test_captions(self, tmp_path):
        records = [
            record("wrong", correct=False, hit=True, coverage=0.42, evidence_file="evidence/000000.npz"),
            failed("broken") | {"evidence_file": "evidence/000001.npz"},
        ]
        text = " ".join(" ".join(Elements(page(pictured_run(tmp_path / "r", records=records))).text).split())
        assert "r says one ✓ 90% ○ off prior 0%" in text
        assert "r says zero ✗ 70% label one: 20% ● on prior 42%" in text
        assert "failed: cannot identify image file" in text

    def test_tiny_images_keep_their_pixels(self, tmp_path):
        folder = pictured_run(tmp_path / "r", size=(28, 28))
        [image, _] = [image for image in Elements(page(folder)).all("image") if "id" in image]
        assert image["class"] == "pixels"
        stored = np.load(folder / "evidence" / "000000.npz")["image"]
        np.testing.assert_array_equal(np.asarray(decoded(image["href"])), stored)

    def test_large_images_are_made_smaller(self, tmp_path):
        tile = draw_tile(load_evidence(write_evidence(tmp_path / "x.npz", height=300, width=600)))
        assert (tile.width, tile.height) == (SIDE_PX, SIDE_PX // 2)
        assert decoded(tile.image).size == decoded(tile.evidence).size == (tile.width, tile.height)
        assert tile.image.startswith("data:image/webp")
        assert not tile.is_tiny

    def test_the_map_has_one_colour_scale(self, tmp_path):
        weak = np.full((8, 8), 0.25, np.float32)
        weak[0, 0] = 0.5
        tiles = [
            draw_tile(load_evidence(write_evidence(tmp_path / f"{name}.npz", map=map)))
            for name, map in (("weak", weak), ("strong", weak * 2))
        ]
        weak_pixels, strong_pixels = (np.asarray(decoded(tile.evidence).convert("RGBA")) for tile in tiles)
        np.testing.assert_array_equal(weak_pixels[0, 0], strong_pixels[4, 4])  # 0.5 looks the same in both
        expected = np.rint(255 * np.array(evidence_colormap()(1.0)))
        np.testing.assert_array_equal(strong_pixels[0, 0], expected)
        assert weak_pixels[4, 4, 3] < weak_pixels[0, 0, 3]  # weaker evidence is more transparent

    def test_no_evidence_is_transparent(self, tmp_path):
        tile = draw_tile(load_evidence(write_evidence(tmp_path / "x.npz", map=np.zeros((8, 8), np.float32))))
        assert not np.asarray(decoded(tile.evidence).convert("RGBA"))[:, :, 3].any()

    def test_without_a_prior_nothing_is_outlined(self, tmp_path):
        stored = write_evidence(tmp_path / "x.npz", allowed=np.ones((8, 8), bool))
        tile = draw_tile(load_evidence(stored))
        assert (tile.prior, tile.forbidden) == ("", "")
        assert tile.top_region == outline_path(load_evidence(stored).top_region) != ""

    @pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(b"PK\x03\x04 cut short")])
    def test_an_unreadable_evidence_file_leaves_a_note(self, tmp_path, damage):
        folder = pictured_run(tmp_path / "r")
        damage(folder / "evidence" / "000001.npz")
        elements = Elements(page(folder))
        assert "evidence/000001.npz is missing or broken" in " ".join(elements.text)
        assert len([image for image in elements.all("image") if "id" in image]) == 1

    def test_five_models_and_twelve_photographs_stay_small(self, tmp_path):
        y, x = np.mgrid[:224, :224]
        folders = []
        for name in "abcde":
            folder = tmp_path / name
            for i in range(12):
                photograph = np.stack([(x * (i + 1)) % 256, (y * 2 + i * 20) % 256, (x * y) // 200 % 256], axis=-1)
                regions = (x // 32 + 7 * (y // 32)) / 49 * (1 + "abcde".index(name)) % 1
                write_evidence(
                    folder / "evidence" / f"{i:06d}.npz",
                    height=224,
                    width=224,
                    image=photograph.astype(np.uint8),
                    map=regions.astype(np.float32),
                )
            records = [record(str(i), hit=False, evidence_file=f"evidence/{i:06d}.npz") for i in range(12)]
            write_run(folder, records=records, rows=[row("pointing_coverage@0.2", 0.5)])
            folders.append(folder)
        assert 200_000 < len(page(*folders).encode()) < 3_000_000


def slow_outline(inside):
    """Unit edges between inside and outside, by loops."""
    height, width = inside.shape
    edges = set()
    for y in range(-1, height + 1):
        for x in range(-1, width + 1):
            here, below, right = (
                0 <= v < height and 0 <= u < width and inside[v, u] for u, v in ((x, y), (x, y + 1), (x + 1, y))
            )
            if here != below:
                edges.add((x, y + 1, x + 1, y + 1))
            if here != right:
                edges.add((x + 1, y, x + 1, y + 1))
    return edges


@pytest.mark.parametrize("seed", range(5))
def test_outline_follows_the_pixel_edges(seed):
    rng = np.random.default_rng(seed)
    inside = rng.random(tuple(rng.integers(1, 9, 2))) < 0.5
    inside.flat[0], inside.flat[-1] = True, False
    if inside.size == 1:
        inside = np.array([[True, False]])
    unit = set()
    for x0, y0, x1, y1 in outline_segments(inside).tolist():
        unit |= {(x, y0, x + 1, y0) for x in range(x0, x1)} | {(x0, y, x0, y + 1) for y in range(y0, y1)}
    assert unit == slow_outline(inside)


@pytest.mark.parametrize("inside", [np.ones((3, 3), bool), np.zeros((3, 3), bool)])
def test_all_and_nothing_have_no_outline(inside):
    assert outline_path(inside) == ""


def test_problems_are_listed_by_name(tmp_path):
    rejected = [{"id": f"sample-{i}.png", "reason": "empty prior"} for i in range(7)]
    folder = write_run(tmp_path / "r", rejected=rejected, records=[failed("x.png")], failed=1)
    text = " ".join(" ".join(Elements(page(folder)).text).split())
    assert "rejected 7 empty prior sample-0.png and 6 more" in text
    assert all(entry["id"] in text for entry in rejected)
    assert "failed 1 cannot identify image file test/x.png" in text
    assert "every sample was accepted" in page(write_run(tmp_path / "clean"))


def test_how_it_was_made(tmp_path):
    text = " ".join(Elements(page(write_run(tmp_path / "r", config={"fill": "blur"}, seed=7))).text)
    for expected in ('"fill": "blur"', "seed 7", "commit abc1234", "torch 2.13.0", "12 s"):
        assert expected in " ".join(text.split()), expected


class TestWriteReport:
    def test_writes_one_file(self, tmp_path):
        out = tmp_path / "deep" / "report.html"
        assert write_report([pictured_run(tmp_path / "r")], out) == out
        assert [path.name for path in out.parent.iterdir()] == ["report.html"]
        assert out.read_text(encoding="utf-8").startswith("<!doctype html>")

    def test_a_failure_leaves_the_old_report(self, tmp_path, monkeypatch):
        out = tmp_path / "report.html"
        out.write_text("old")

        def no_space(self, text, **_):
            self.touch()
            raise OSError(28, "No space left on device")

        folder = write_run(tmp_path / "r")
        monkeypatch.setattr(Path, "write_text", no_space)
        with pytest.raises(OSError, match=r"cannot write .*report\.html: No space left"):
            write_report([folder], out)
        assert out.read_text() == "old"
        assert sorted(path.name for path in tmp_path.iterdir()) == ["r", "report.html"]

    def test_no_permission_names_the_file(self, tmp_path, monkeypatch):
        folder = write_run(tmp_path / "r")

        def refuse(self, target):
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(Path, "replace", refuse)
        with pytest.raises(PermissionError, match=r"cannot write .*report\.html: Permission denied"):
            write_report([folder], tmp_path / "report.html")

    def test_a_file_in_place_of_the_folder(self, tmp_path):
        (tmp_path / "taken").write_text("")
        with pytest.raises(OSError, match=r"cannot write .*report\.html"):
            write_report([write_run(tmp_path / "r")], tmp_path / "taken" / "report.html")


class TestEvidenceFigure:
    IMAGE = np.zeros((8, 8, 3), np.uint8)
    MAP = np.linspace(0.2, 0.6, 64, dtype=np.float32).reshape(8, 8)

    def test_the_scale_is_fixed(self):
        _, right = evidence_figure(self.IMAGE, self.MAP).axes[:2]
        overlay = right.images[-1]
        assert overlay.get_clim() == (0, 1)
        np.testing.assert_array_equal(overlay.get_array(), self.MAP)

    def test_the_first_five_regions_are_numbered_in_order(self):
        labels = np.kron(np.arange(16).reshape(4, 4), np.ones((2, 2), np.int64))
        order = [15, 0, 3, 12, 5, 6, 7]
        right = evidence_figure(self.IMAGE, self.MAP, labels=labels, order=order).axes[1]
        found = {text.get_text(): labels[tuple(reversed(text.get_position()))] for text in right.texts}
        assert found == {"1": 15, "2": 0, "3": 3, "4": 12, "5": 5}

    def test_the_prior_is_outlined_in_both(self):
        allowed = np.zeros((8, 8), bool)
        allowed[2:4, 3:6] = True
        for axes in evidence_figure(self.IMAGE, self.MAP, allowed).axes[:2]:
            corners = np.concatenate(axes.collections[0].get_segments())
            assert (corners.min(axis=0).tolist(), corners.max(axis=0).tolist()) == ([2.5, 1.5], [5.5, 3.5])

    def test_everything_allowed_draws_without_warning(self):
        figure = evidence_figure(self.IMAGE, self.MAP, np.ones((8, 8), bool), title=r"$\frac$ is no formula")
        assert png_bytes(figure).startswith(b"\x89PNG")

    def test_letters_the_font_lacks_do_not_warn(self):
        assert png_bytes(evidence_figure(self.IMAGE, self.MAP, title="猫")).startswith(b"\x89PNG")

    def test_sizes_must_agree(self, unhooked):
        with pytest.raises(ValueError, match=r"allowed has shape \(4, 8\), the image \(8, 8\)"):
            evidence_figure(self.IMAGE, self.MAP, np.ones((4, 8), bool))

    def test_labels_need_an_order(self):
        with pytest.raises(ValueError, match="labels and order together"):
            evidence_figure(self.IMAGE, self.MAP, labels=np.zeros((8, 8), np.int64))


def test_matplotlib_is_imported_late_and_pyplot_never():
    code = """
import sys
import numpy as np
from wherenot.report import evidence_figure, png_bytes
assert "matplotlib" not in sys.modules, "imported before anything is drawn"
png_bytes(evidence_figure(np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8), np.float32)))
assert "matplotlib.pyplot" not in sys.modules, "pyplot keeps figures alive and may open windows"
"""
    source = Path(__file__).parents[1] / "src"
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": str(source)})
