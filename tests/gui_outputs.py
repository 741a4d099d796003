"""Actions, outputs of models that say them, and ways to spoil those."""

import random

from hypothesis import strategies as st

from wherenot.gui import CODECS, CONVENTIONS, Action, Scale
from wherenot.gui.actions import DIRECTIONS, STATUSES, key_name

SCALES = {
    "0-1000": CONVENTIONS["0-1000"].scale(),
    "0-999": CONVENTIONS["0-999"].scale(),
    "resized": CONVENTIONS["resized"].scale((1456, 672)),
    "unit": CONVENTIONS["unit"].scale(),
}
KEYS = ["home", "back", "enter", "menu", "ctrl c", "volume_up", "alt f4", "é", "'", "\\n"]


def points(scale: Scale):
    """Places that the scale can write exactly."""
    steps = 10**scale.decimals
    return st.tuples(st.integers(0, scale.width * steps), st.integers(0, scale.height * steps)).map(
        lambda numbers: scale.to_screen(*(number / steps if scale.decimals else number for number in numbers))
    )


@st.composite
def actions(draw, scale: Scale):
    """Any action whose places the scale can write exactly."""
    point, text = points(scale), st.text(max_size=20) | st.text("\\n'\"{}\n a", max_size=8)
    duration_ms = st.none() | st.integers(0, 5000)
    key = (
        st.sampled_from(KEYS[:3])
        | st.sampled_from(KEYS)
        | st.text(min_size=1, max_size=6).filter(lambda name: name == key_name(name))
    )
    fields = {
        "click": {"point": point},
        "long_press": {"point": point, "duration_ms": duration_ms},
        "swipe": {"point": point, "to": point | st.sampled_from(DIRECTIONS), "duration_ms": duration_ms},
        "press": {"key": key},
        "type": {"text": text},
        "wait": {"duration_ms": duration_ms},
        "status": {"status": st.sampled_from(STATUSES), "text": st.none() | text},
    }
    kind = draw(st.sampled_from(sorted(fields)))
    values = {name: draw(strategy) for name, strategy in fields[kind].items()}
    if isinstance(values.get("to"), str) and draw(st.booleans()):
        values["point"] = None
    return Action(kind=kind, **values)


def well_formed() -> list[str]:
    """Outputs of every format, and what models are known to make of them."""
    scale = SCALES["0-1000"]
    said = [
        Action(kind="click", point=(0.591, 0.915)),
        Action(kind="long_press", point=(0.1, 0.2)),
        Action(kind="long_press", point=(0.1, 0.2), duration_ms=1000),
        Action(kind="swipe", point=(0.5, 0.2), to="down"),
        Action(kind="swipe", point=(0.5, 0.2), to=(0.5, 0.8)),
        Action(kind="press", key="home"),
        Action(kind="type", text='a "b" {c} \\ \'d\'\n"POINT":[1,2]'),
        Action(kind="wait"),
        Action(kind="wait", duration_ms=1500),
        Action(kind="status", status="finish"),
        Action(kind="status", status="impossible"),
    ]
    outputs = []
    for codec in CODECS.values():
        for action in said:
            try:
                outputs.append(codec.write(action, scale=scale, thought="Tap {the} 'browser' \"icon\": [1, 2]."))
            except ValueError:
                continue
    return [
        *outputs,
        '```json\n{"thought":"a {b} c","POINT":[591,915]}\n```',
        'Sure! {"POINT":[480.5,320]} Done.',
        '{"STATUS":"finish"}',
        '{"POINT":[5,6],"PRESS":"HOME","duration":300}',
        "<think>hm</think>\nThought: a\nAction: click(start_box='<|box_start|>(1,2)<|box_end|>')",
        "I cannot see the button.",
    ]


def spoil(text: str, chance: random.Random) -> str:
    """A few random accidents."""
    for _ in range(chance.randint(1, 4)):
        at, to = sorted(chance.randint(0, len(text)) for _ in range(2))
        piece = text[at:to]
        text = chance.choice(
            [
                text[:at] + text[to:],
                text[:at],
                text[at:],
                text[:at] + piece + piece + text[to:],
                text[:at] + piece[::-1] + text[to:],
                text[:at] + chance.choice(ACCIDENTS) + text[at:],
                text.replace(chance.choice('"{}[]:,()<>'), chance.choice(ACCIDENTS), 1),
                text + chance.choice(["\n", " ", ""]) + text,
                text.upper(),
                text.translate({ord(digit): chance.choice(ACCIDENTS) for digit in chance.sample("0123456789", 2)}),
            ]
        )[:20_000]
    return text


ACCIDENTS = [
    "", " ", "\n", "\t", "\0", '"', "'", "\\", "{", "}", "[", "]", ",", ":", "(", ")", "<", "null", "true", "NaN",
    "Infinity", "-1", "1e999", "9" * 400, "9" * 5000, "0.5", "1001", "-0", "٣", "½", "é", "\u2028", "\ud800", "🙂",
    "```", "```json", "<tool_call>", "</tool_call>", "<point>", "</point>", "Action:", "Thought:", "click(",
    '"POINT":[1,2],', '"STATUS":"finish"', "[" * 3000, '{"a":' * 3000, '{"POINT":[1,2]}', "start_box='(1,2,3,4)'",
    "POINT", "coordinate2",
]  # fmt: skip
