"""What notebooks show of evidence: the map, the first regions, and an answer's words by what decides them."""

from __future__ import annotations

import base64
import io
from html import escape
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from wherenot.report.tiles import evidence_colormap

if TYPE_CHECKING:
    from wherenot.evidence import Evidence
    from wherenot.generation_evidence import GenerationEvidence

_SIDE = 224  # of the picture, in pixels of the page
_REGIONS = 5


def evidence_html(evidence: Evidence) -> str:
    """The map as a picture, and a table of the strongest regions.

    Args:
        evidence: Of one image and target; it does not hold the image (`Evidence.plot` takes it).

    Returns:
        HTML without scripts and without anything to be fetched.
    """
    shown = min(_REGIONS, len(evidence.order))
    rows = "".join(
        f"<tr><td>{rank + 1}</td><td>{int(evidence.order[rank])}</td><td>{evidence.areas[rank]:.0%}</td>"
        f"<td>{evidence.insertion[rank]:.3f}</td><td>{evidence.deletion[rank]:.3f}</td></tr>"
        for rank in range(shown)
    )
    heads = "".join(f"<th>{head}</th>" for head in ("rank", "region", "area so far", "p with", "p without"))
    cut = "" if evidence.complete else f", {len(evidence.order)} of them ordered"
    caption = (
        f"target {evidence.target}: p = {evidence.full:.3f} of the whole image, {evidence.empty:.3f} of none; "
        f"{evidence.num_regions} regions{cut}; search {escape(evidence.search)}, fill {escape(evidence.fill)}, "
        f"{evidence.forwards} forwards"
    )
    return (
        f'<div style="display:flex;gap:1em;align-items:flex-start">{_picture(evidence)}'
        f"<table><caption>{caption}</caption><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def generation_html(found: GenerationEvidence) -> str:
    """The evidence of an answer, and its words: the darker, the more the image decides them (`influence`).

    Args:
        found: Of one image, prompt and answer.
    """
    falls = dict(zip(found.chosen, np.clip(found.influence, 0, 1).tolist(), strict=True))
    words = "".join(
        f'<span style="background:rgba(230,159,0,{falls[place]:.2f})">{escape(piece)}</span>'
        if place in falls
        else escape(piece)
        for place, piece in enumerate(found.pieces)
    )
    said = f"<p><b>{escape(found.prompt)}</b><br>{words}</p>"
    return f"<div>{said}{evidence_html(found.evidence)}</div>"


def _picture(evidence: Evidence) -> str:
    colours = (evidence_colormap()(evidence.map())[..., :3] * 255).astype(np.uint8)
    picture = Image.fromarray(colours)
    picture.thumbnail((_SIDE, _SIDE), Image.Resampling.NEAREST)
    file = io.BytesIO()
    picture.save(file, "PNG", optimize=True)
    data = base64.b64encode(file.getvalue()).decode()
    return f'<img alt="evidence map, bright = strongest" width="{picture.width}" src="data:image/png;base64,{data}">'
