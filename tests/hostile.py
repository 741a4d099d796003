"""Data sets that something bad happened to: a tiny one in every format, and accidents for its files."""

import copy
import json
import os
import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from dataset_layouts import WNIDS, rgb_ids, write
from gui_tasks import node, save_tree, task
from photo_folder import save_image, save_lines

SIZE = (24, 16)  # width and height of every image
CORPUS = Path(__file__).parent / "corpus"
MASK = np.zeros((16, 24), dtype=np.uint8)
MASK[2:9, 3:11] = 1

ODD = (
    None, True, -1, 0, 2.5, 10**400, -(10**400), 1e308, float("nan"), float("inf"), "", "\x00", "\ud800", "[",
    "../a.png", "/etc/passwd", "a\nb", "\x1b[2J", [], {}, [[]], [{}], [None], [1, 2, 3, 4], [[0, 0, 1, 1]],
    [[5, 5, 1, 1]], [[0, 0, float("nan"), 3]], [[0, 0, 10**400, 3]], {"size": [16, 24], "counts": [0, 384]},
    {"size": [16.0, 24.0], "counts": [384]}, {"size": [16, 24], "counts": [2**62] * 4 + [384]},
    {"size": [16, 24], "counts": "PPPPPPPP"}, {"size": [16, 24], "counts": {}}, "a" * 5000, "e\u0301\U0001f600\u202e",
)  # fmt: skip


def save_npy(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, values)


def make_folder(root):
    for name in ("train/a.png", "train/b.jpg", "test/cat/c.png"):
        save_image(root / name, SIZE)
    save_npy(root / "train/masks/a.npy", MASK)
    Image.fromarray(MASK).save(root / "train/masks/b.png")
    save_lines(
        root / "train/metadata.jsonl",
        {"file_name": "a.png", "label": "cat", "mask_file_name": "masks/a.npy", "group": "g",
         "rle": {"size": [16, 24], "counts": [3, 5, 376]}, "click": {"x": 2, "y": 3, "radius": 2},
         "prior_from": {"kind": "boxes", "model": "m", "score": 0.5, "boxes": [[1, 2, 3.5, 4]], "accepted": True}},
        {"file_name": "b.jpg", "label": "dog", "ignore_mask_file_name": "masks/b.png", "split": "validation",
         "objects": {"bbox": [[1, 2, 12, 9]], "bbox_format": "xyxy"}, "polygons": [[0, 0, 20, 0, 3, 12]]},
    )  # fmt: skip
    (root / "dataset.json").write_text('{"name": "zoo", "classes": ["cat", "dog"]}')
    return f"folder:{root}"


def make_list(root):
    for name in "ab":
        save_image(root / f"images/{name}.png", SIZE)
        save_npy(root / f"masks/{name}.npy", MASK)
    (root / "train.txt").write_text("images/a.png masks/a.npy cat\nimages/b.png\tmasks/b.npy\tdog one\n")
    (root / "classes.txt").write_text("cat\ndog one\n")
    return f"list:{root}"


def make_image_text(root):
    save_image(root / "a.png", SIZE)
    Image.fromarray(MASK).save(root / "m.png")
    save_lines(
        root / "pairs.jsonl",
        {"image": "a.png", "prompt": "A dog?", "label": "No", "boxes": [[0, 0, 3, 4]], "tokens": "word:No",
         "answer": "No dog.", "counter": "Yes", "id": "one", "rle": {"size": [16, 24], "counts": "35h;"}},
        {"image": "a.png", "prompt": "Why?", "mask": "m.png", "polygons": [[0, 0, 20, 0, 3, 12]], "group": "g"},
    )  # fmt: skip
    return f"image-text:{root / 'pairs.jsonl'}"


def make_imagenet_s(root):
    write(root / "ImageNetS_categories_im50.txt", "\n".join(WNIDS[:50]))
    write(root / "LOC_synset_mapping.txt", "\n".join(f"{wnid} thing {place}" for place, wnid in enumerate(WNIDS[:50])))
    for place, wnid in enumerate(WNIDS[:2], start=1):
        for part in ("train-semi", "validation"):
            save_image(root / part / wnid / f"{wnid}_1.JPEG", SIZE)
            (root / f"{part}-segmentation" / wnid).mkdir(parents=True)
            Image.fromarray(rgb_ids(MASK.astype(int) * place)).save(
                root / f"{part}-segmentation" / wnid / f"{wnid}_1.png"
            )
    return f"imagenet-s50:{root}"


def make_saliency_bench(root):
    lines, at = [], "Saliency-Bench/pascal"
    for name in ("cat", "dog"):
        save_image(root / f"pascal/image/{name}/1.png", SIZE)
        save_npy(root / f"pascal/attention_mask/{name}/1.npy", MASK * 0.5)
        lines.append(f"{at}/image/{name}/1.png {at}/attention_mask/{name}/1.npy {name}")
    write(root / "train.txt", "\n".join(lines))
    return f"saliency-bench:{root}"


def make_coco(root):
    for name in ("1.jpg", "2.jpg"):
        save_image(root / "val2017" / name, SIZE)
    shapes = [[[1, 1, 20, 1, 3, 12]], {"size": [16, 24], "counts": [3, 5, 376]}, {"size": [16, 24], "counts": "35h;"}]
    content = {
        "images": [{"id": id, "file_name": f"{id}.jpg", "height": 16, "width": 24} for id in (1, 2)],
        "annotations": [
            {"id": place, "image_id": 1 + place % 2, "category_id": 1 + place % 2, "area": 30.5, "segmentation": shape,
             "iscrowd": int(place == 2)}
            for place, shape in enumerate(shapes)
        ],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
    }  # fmt: skip
    write(root / "annotations/instances_val2017.json", json.dumps(content))
    return f"coco:{root}"


def make_voc(root, format="voc"):
    ids = ("2007_1", "2007_2")
    for place, id in enumerate(ids):
        save_image(root / f"JPEGImages/{id}.jpg", SIZE)
        (root / "SegmentationClass").mkdir(exist_ok=True)
        Image.fromarray(MASK * (place + 1)).save(root / f"SegmentationClass/{id}.png")
        box = "<bndbox><xmin>2</xmin><ymin>3</ymin><xmax>9</xmax><ymax>8</ymax></bndbox>"
        what = f"<name>{('cat', 'dog')[place]}</name><difficult>0</difficult>"
        size = "<size><width>24</width><height>16</height></size>"
        write(root / f"Annotations/{id}.xml", f"<annotation>{size}<object>{what}{box}</object></annotation>")
    for kind in ("Main", "Segmentation"):
        write(root / f"ImageSets/{kind}/train.txt", "\n".join(ids))
    return f"{format}:{root}"


def make_gui(root, format="gui"):
    save_image(root / "img/s.png", SIZE)
    save_tree(root / "ui.xml", node("[0,0][20,10]", node("[1,1][9,9]", text="OK", clickable="true")))
    element = {"text": "a", "class_name": "b", "bbox_pixels": {"x_min": 1, "x_max": 5, "y_min": 1, "y_max": 5}}
    (root / "ui.json").write_text(json.dumps([element]))
    tasks = [
        task(bounding_box=[2, 1, 9, 9], elements="ui.xml", kind="k"),
        task(id="1", bounding_box=None, elements="ui.json", split="test"),
    ]
    (root / "tasks.json").write_text(json.dumps(tasks))
    return f"{format}:{root / 'tasks.json'}"


def make_screenspot(root):
    save_image(root / "screenspot_imgs/m.png", SIZE)
    spot = {
        "img_filename": "m.png", "bbox": [2, 4, 4, 3], "instruction": "open", "data_type": "text", "data_source": "ios",
    }  # fmt: skip
    (root / "screenspot_mobile.json").write_text(json.dumps([spot, {**spot, "instruction": "close"}]))
    return f"screenspot:{root}"


def make_screenspot_pro(root):
    save_image(root / "images/m.png", SIZE)
    spot = {
        "img_filename": "m.png", "bbox": [2, 4, 6, 7], "instruction": "add", "id": "0", "img_size": [*SIZE],
        "ui_type": "icon", "group": "CAD",
    }  # fmt: skip
    write(root / "annotations/cad.json", json.dumps([spot, {**spot, "id": "1"}]))
    return f"screenspot-pro:{root}"


def make_android_steps(root):
    save_image(root / "s.png", SIZE)
    save_tree(root / "ui.xml", node("[0,0][20,10]"))
    step = {
        "episode_id": "5", "step_id": 0, "instruction": "go", "image_path": "s.png", "result_action_type": 4,
        "result_touch_yx": "[0.15, 0.2]", "result_lift_yx": [0.15, 0.2], "ui_positions": "[[0.1, 0.1, 0.1, 0.2]]",
        "ui_text": '["Clock"]', "ui_types": '["TEXT"]',
    }  # fmt: skip
    episode = {
        "episode_id": 1, "goal": "g", "screenshots": ["s.png"] * 3, "step_instructions": ["s", "t"],
        "actions": [{"action_type": "click", "x": 1, "y": 2}, {"action_type": "scroll", "direction": "up"}],
        "accessibility_trees": ["ui.xml", "ui.xml", None],
    }  # fmt: skip
    save_lines(root / "a.jsonl", step, episode)
    return f"android-steps:{root}"


MAKERS = {
    "folder": make_folder,
    "list": make_list,
    "image-text": make_image_text,
    "imagenet-s50": make_imagenet_s,
    "imagenet-s50-legacy": lambda root: make_imagenet_s(root).replace("s50", "s50-legacy", 1),
    "saliency-bench": make_saliency_bench,
    "coco": make_coco,
    "voc": make_voc,
    "voc-masks": lambda root: make_voc(root, "voc-masks"),
    "gui": make_gui,
    "agentcpm": lambda root: make_gui(root, "agentcpm"),
    "screenspot": make_screenspot,
    "screenspot-pro": make_screenspot_pro,
    "android-steps": make_android_steps,
}


def harm(root, chance):
    """Let accidents happen to one or two files below a folder."""
    files = sorted(path for path in root.rglob("*") if path.is_file() and not path.is_symlink())
    for path in chance.sample(files, min(len(files), chance.choice((1, 1, 1, 2)))):
        chance.choice(_accidents(path))(path, chance)


def _accidents(path):
    own = {
        ".json": [_odd_value] * 8,
        ".jsonl": [_odd_value] * 8,
        ".xml": [_odd_words] * 5,
        ".txt": [_odd_words] * 5,
        ".npy": [_other_file] * 3,
    }
    return [*own.get(path.suffix, [_other_file] * 3), _bytes, _bytes, _bytes, _place]


def _odd_value(path, chance):
    """Another value somewhere in JSON, or a key gone, or twice."""
    try:
        lines = path.read_text().split("\n") if path.suffix == ".jsonl" else [path.read_text()]
        at = chance.randrange(len(lines))
        value = json.loads(lines[at])
    except ValueError:
        return
    where = chance.choice([*places(value)])
    odd = chance.choice([*ODD, chance.uniform(-50, 50), chance.randrange(-3, 40)])
    lines[at] = json.dumps(replaced(value, where, odd, gone=chance.random() < 0.15))
    path.write_text("\n".join(lines))


def places(value, path=()):
    """Paths to everything in a value of JSON."""
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inner:
        yield from places(each, (*path, key))


def replaced(value, path, odd, *, gone=False):
    """The value with another one, or none, at a path."""
    if not path:
        return odd
    value = copy.deepcopy(value)
    holder = value
    for key in path[:-1]:
        holder = holder[key]
    if gone:
        del holder[path[-1]]
    else:
        holder[path[-1]] = odd
    return value


WORDS = (
    "", "\t", "\n", " ", "..", "../", "/", "\\", "\x00", "#", "-1", "0", "1e400", "nan", "inf", "99999999999999999999",
    "<object>", "</object>", "<bndbox>", "<name>", "&x;", "<!DOCTYPE a>", "]]>", "[1,2][3,4]",
    "\ufeff", "\u2028", "\x85", "a" * 3000, "\x1b[2J", "é", "e\u0301", "\U0001f600", "\u202e",
)  # fmt: skip


def _odd_words(path, chance):
    text = path.read_text(errors="replace")
    for _ in range(chance.choice((1, 1, 3))):
        start = chance.randrange(len(text) + 1)
        stop = min(len(text), start + chance.choice((0, 1, 4, 20)))
        text = text[:start] + chance.choice(WORDS) + text[stop:]
    path.write_text(text)


def _bytes(path, chance):
    data = bytearray(path.read_bytes())
    for _ in range(chance.choice((1, 1, 2, 8))):
        at = chance.randrange(len(data) + 1)
        kind = chance.randrange(5)
        if kind == 0:
            del data[at:]
        elif kind == 1:
            del data[at : at + chance.randrange(1, 9)]
        elif kind == 2:
            data[at:at] = chance.randbytes(chance.choice((1, 4, 64)))
        else:
            data[at : at + (1 if kind == 3 else 4)] = chance.choice((chance.randbytes(1), b"\xff", b"\0"))
    path.write_bytes(data)


def _other_file(path, chance):
    shutil.copy(chance.choice(sorted(path for path in CORPUS.iterdir() if path.suffix != ".py")), path)


def _place(path, chance):
    """Something that is no file, or nothing, in its place."""
    kind = chance.randrange(6)
    path.unlink()
    if kind == 0:
        path.mkdir()
    elif kind == 1:
        path.symlink_to(path.name)  # leads to itself
    elif kind == 2:
        path.symlink_to("/etc/passwd")
    elif kind == 3:
        os.mkfifo(path)
    elif kind == 4:
        path.write_bytes(b"")
