"""Screens and tasks for the tests of GUI data, in the layouts of those who make them."""

import json

from photo_folder import save_image

SIDE = (200, 400)  # width, height of the screens
BOX = [20, 40, 60, 80]
SAYS = '{"thought":"There.","POINT":[200,150]}'  # (40, 60) in pixels


def turns(user="<Question>Open it.</Question>\nNow: <image_00>", assistant=SAYS, system="# Role"):
    said = [("system", system), ("user", user), ("assistant", assistant)]
    return [{"role": role, "content": content} for role, content in said if content is not ...]


def task(**keys):
    """A good task of the paper's format; `...` leaves a key out."""
    given = {
        "id": "0",
        "image": {"<image_00>": "img/s.png"},
        "conversations": turns(),
        "bounding_box": BOX,
        **keys,
    }
    return {key: value for key, value in given.items() if value is not ...}


def save_tasks(root, *tasks, name="tasks.json", image="img/s.png", size=SIDE):
    if not (root / image).exists():
        save_image(root / image, size)
    (root / name).write_text(json.dumps(tasks, ensure_ascii=False))
    return root / name


def node(bounds, inner="", **attributes):
    said = {"bounds": bounds, **attributes}
    text = " ".join(f'{key.replace("_", "-")}="{value}"' for key, value in said.items() if value is not None)
    return f"<node {text}>{inner}</node>"


def save_tree(path, *nodes):
    path.write_text(f"<?xml version='1.0' encoding='UTF-8'?><hierarchy rotation=\"0\">{''.join(nodes)}</hierarchy>")
    return path


def said(sample):
    """Everything a sample says, to compare."""
    late = ("read_image", "read_prior", "elements", "screenshot")  # where it lies says nothing of the task
    return {key: value for key, value in vars(sample).items() if key not in late} | {"elements": sample.elements()}
