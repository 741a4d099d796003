"""ScreenSpot: short instructions on screenshots, with the box of the element that each is about.

    ScreenSpot/ or ScreenSpot-v2/                       ScreenSpot-Pro/
      screenspot_mobile.json, _desktop, _web              annotations/*.json
      (screenspot_mobile_v2.json, ...)                    images/<application>/*.png
      screenspot_imgs/*.png or screenspotv2_image/

All are lists of objects with ``img_filename``, ``instruction`` and ``bbox`` in pixels. ScreenSpot and v2 give it as
``[x, y, width, height]``, and ``data_type`` (``text`` or ``icon``) and ``data_source``; Pro gives ``[x0, y0, x1, y1]``,
and ``id``, ``img_size``, ``ui_type`` and ``group``. Numbers cannot tell the two ways apart: the format has to be named.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal, TypeAlias

from wherenot.data.checked import OnBad, Problems
from wherenot.data.gui.draft import Draft, find_image, gui_dataset, listed_objects
from wherenot.data.gui.elements import four_numbers
from wherenot.data.pictures import image_size
from wherenot.data.samples import DataError, Dataset

Version: TypeAlias = Literal["screenspot", "pro"]

_FOLDERS = ("images", "screenspot_imgs", "screenspotv2_image", ".")
_PLATFORMS = {"ios": "mobile", "android": "mobile", "windows": "desktop", "macos": "desktop"}


def read_screenspot(path: str | Path, version: Version = "screenspot", *, on_bad: OnBad = "error") -> Dataset:
    """Read ScreenSpot, ScreenSpot-v2 or ScreenSpot-Pro (see the module); all but the images' pixels is checked.

    Args:
        path: The folder, or one of its JSON files.
        version: "screenspot" for the first and for v2, "pro" for Pro.
        on_bad: Whether a bad task makes the whole an error, or is left out and listed in `rejected`.

    Returns:
        The data set, of `GuiSample`, all of it `test`. Kind and group are those the benchmarks report on: platform and
        type, such as ``mobile text``, or with Pro field and type, such as ``CAD icon``. The platform is the one in the
        file's name, as web pages shown on phones count as mobile. There are boxes, but no answers.

    Raises:
        DataError: If there is no such folder or file, or no task is good; and with `on_bad` "error" if any is bad: a
            key missing or of the wrong type, an image missing or of another size than it should have, a box that is
            empty or leaves the screen.

    Example:
        >>> read_screenspot("nowhere")
        Traceback (most recent call last):
        wherenot.data.samples.DataError: read_screenspot: nowhere does not exist; pass the folder or a JSON file.

    References:
        Cheng et al., "SeeClick", ACL 2024; Wu et al., "OS-ATLAS", ICLR 2025 (v2); Li et al., "ScreenSpot-Pro", 2025.
    """
    root = Path(path).absolute()
    if not root.exists():
        raise DataError(f"read_screenspot: {path} does not exist; pass the folder or a JSON file.")
    files = [root] if root.is_file() else sorted([*root.glob("*.json"), *root.glob("annotations/*.json")])
    drafts = []
    for file in files:
        for where, keys, problems in listed_objects("read_screenspot", file):
            draft = Draft(where, keys, problems, split="test")
            drafts.append(draft)
            if not problems:
                _fill(draft, file, version)
    return gui_dataset("read_screenspot", path, root.stem, drafts, on_bad)


def _fill(draft: Draft, file: Path, version: Version) -> None:
    if (name := draft.text("img_filename", needed=True)) is not None:
        draft.image, draft.image_name = find_image(file, name, _FOLDERS), name
    if (prompt := draft.text("instruction", needed=True)) is not None:
        draft.prompt = prompt.strip()
    _take_box(draft, version)
    if version == "pro":
        draft.id = draft.text("id", needed=True) or ""
        kinds = [draft.text("group", needed=True), draft.text("ui_type", needed=True)]
        _check_size(draft)
    else:
        source = draft.text("data_source", needed=True)
        named = re.search("mobile|desktop|web", file.stem)
        platform = named[0] if named else _PLATFORMS.get(source or "", "web")
        kinds = [platform, draft.text("data_type", needed=True)]
    draft.kind = draft.group = " ".join(kind for kind in kinds if kind is not None)


def _take_box(draft: Draft, version: Version) -> None:
    given = draft.keys.get("bbox")
    box = four_numbers(given)
    if box is None:
        way = "[x0, y0, x1, y1]" if version == "pro" else "[x, y, width, height]"
        draft.problems.append("bbox: missing" if given is None else f"bbox: {given!r} is not four numbers {way}")
        return
    x, y, right, bottom = box
    draft.box = box if version == "pro" else (x, y, x + right, y + bottom)


def _check_size(draft: Draft) -> None:
    given, size = draft.keys.get("img_size"), None
    if draft.image is not None and given is not None:
        with Problems().noting():  # an image that cannot be read is named later
            size = image_size(draft.image)
        if size is not None and given != [size[1], size[0]]:
            draft.problems.append(f"img_size: {given}, the image's is {[size[1], size[0]]} (width, height)")
