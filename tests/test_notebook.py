"""What notebooks show: well-formed HTML, nothing to be fetched, nothing of the data run as markup."""

import base64
import io
from html.parser import HTMLParser

import numpy as np
from PIL import Image

from wherenot.evidence import Evidence
from wherenot.generation_evidence import GenerationEvidence
from wherenot.objective import Objective


def evidence(**changes):
    facts = {
        "labels": np.array([[0, 1, 1], [2, 2, 1]]), "order": np.array([1, 0, 2]),
        "insertion": np.array([0.8, 0.85, 0.9]), "deletion": np.array([0.2, 0.15, 0.1]),
        "values": np.array([1.6, 1.7, 1.8]), "empty": 0.1, "full": 0.9, "empty_value": 0.2, "full_value": 1.8,
        "target": 3, "objective": Objective(), "forwards": 8, "search": "exact", "fill": "mean",
    }  # fmt: skip
    return Evidence(**{**facts, **changes})


class Page(HTMLParser):
    """What a page holds, and whether every element that opens closes."""

    def __init__(self, text):
        super().__init__()
        self.open, self.cells, self.pictures, self.shades, self.words = [], [], [], [], ""
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        assert tag in ("div", "p", "b", "br", "span", "img", "table", "caption", "thead", "tbody", "tr", "th", "td")
        if tag == "img":
            self.pictures.append(dict(attrs))
        elif tag != "br":
            self.open.append(tag)
        if tag == "span":
            self.shades.append(dict(attrs)["style"])

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words += data
        if self.open[-1] == "td":
            self.cells.append(data)


def test_evidence_shows_its_map_and_its_first_regions():
    page = Page(evidence()._repr_html_())
    assert page.cells[:5] == ["1", "1", "50%", "0.800", "0.200"]
    assert len(page.cells) == 15
    assert "3 regions; search exact" in page.words
    [picture] = page.pictures
    kind, data = picture["src"].split(",")
    assert kind == "data:image/png;base64"
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("L"), dtype=int)
    assert pixels[0, 1] == pixels[0, 2] == pixels[1, 2] == pixels.max()  # the first region is the brightest
    assert pixels[0, 1] > pixels[0, 0] >= pixels[1, 0]


def test_an_order_cut_short_says_so():
    cut = evidence(order=np.array([1]), **{name: np.array([0.5]) for name in ("insertion", "deletion", "values")})
    assert "3 regions, 1 of them ordered" in Page(cut._repr_html_()).words


def test_words_are_as_dark_as_the_image_decides_them_and_never_markup():
    found = GenerationEvidence(
        evidence=evidence(), prompt="<script>alert(1)</script>", pieces=("<b>", "cat", "&"), chosen=(0, 1),
        targets=("<b>", "cat"), insertion=np.array([[0.4, 0.8]] * 3),
        deletion=np.zeros((3, 2)), empty=np.array([0.4, 0.0]),
        full=np.array([0.4, 0.8]),
    )  # fmt: skip
    page = Page(found._repr_html_())
    # From 0 to .8 with the first region, half of the area: a mean of .6 over the area.
    assert page.shades == ["background:rgba(230,159,0,0.00)", "background:rgba(230,159,0,0.60)"]
    assert "<script>alert(1)</script><b>cat&" in page.words
