"""What the site needs beyond `mkdocs.yml`: doctests read as examples, formulas drawn without a script."""

import re
from html import escape, unescape
from typing import Any

import griffe
from matplotlib.path import Path
from matplotlib.textpath import TextPath

_MATH = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', flags=re.DOTALL)
# What LaTeX knows and matplotlib does not.
_SPELLED = (
    (r"\\[bB]ig(?=[()|])", ""),
    (r"\\(le|ge)(?![a-z])", r"\\\1q"),
    (r"\\sqrt (\w)", r"\\sqrt{\1}"),
    (r"\\[lr]Vert|\\\|", r"\\Vert "),
    (r"\s+", " "),
)
_LETTERS = {Path.MOVETO: "M", Path.LINETO: "L", Path.CURVE3: "Q", Path.CURVE4: "C", Path.CLOSEPOLY: "Z"}


class Doctests(griffe.Extension):
    """Reads the section ``Example:``, as this project calls it, as one of doctests."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rename the section where there is one."""
        if obj.docstring is not None:
            obj.docstring.value = re.sub(r"^Example:$", "Examples:", obj.docstring.value, flags=re.MULTILINE)


def on_page_content(html: str, **_: Any) -> str:
    """Draw the formulas of a page; mkdocs calls this.

    Args:
        html: The page, with formulas as ``pymdownx.arithmatex`` leaves them.

    Returns:
        The page with drawings, and their LaTeX for whoever cannot see them.
    """
    return _MATH.sub(lambda found: drawn(unescape(found[2]), block=found[1] == "div"), html)


def drawn(latex: str, *, block: bool) -> str:
    """A formula as an SVG that stands on the line of the text, in its colour and size.

    Raises:
        ValueError: If matplotlib cannot read it.
    """
    spelled = latex
    for theirs, ours in _SPELLED:
        spelled = re.sub(theirs, ours, spelled)
    path = TextPath((0, 0), f"${spelled}$", size=100)  # 100 to an em
    box = path.get_extents()
    shape = " ".join(
        _LETTERS[code] + " ".join(f"{number:.0f}" for number in ([] if code == Path.CLOSEPOLY else numbers))
        for numbers, code in path.iter_segments(curves=True, simplify=False)
    )
    size = f"width:{box.width / 100:.2f}em;height:{box.height / 100:.2f}em;vertical-align:{box.y0 / 100:.2f}em"
    view = f"{box.x0:.0f} {-box.y1:.0f} {box.width:.0f} {box.height:.0f}"
    svg = (
        f'<svg class="formula" role="img" aria-label="{escape(latex, quote=True)}" style="{size}" viewBox="{view}">'
        f'<path transform="scale(1,-1)" d="{shape}"/></svg>'
    )
    return f'<div class="formula">{svg}</div>' if block else svg
