import json
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gui_outputs
from gui_outputs import SCALES, actions
from wherenot.gui import CODECS, CONVENTIONS, FAULTS, Action, Codec, agentcpm_schema, parse_codec, schema_violations
from wherenot.gui.coordinates import FAMILIES

THOUSAND = SCALES["0-1000"]
QUICK = settings(max_examples=100, deadline=None, derandomize=True, database=None)


def read(name, text, scale=THOUSAND):
    return parse_codec(name).read(text, scale=scale)


def click(x, y):
    return Action(kind="click", point=(x / 1000, y / 1000))


def expressible(name, action):
    """What each format can say, by its description."""
    kind, ends = action.kind, action.status in ("finish", "impossible")
    if name == "agentcpm":
        return {
            "long_press": (action.duration_ms or 0) > 200,
            "swipe": action.point is not None,
            "press": action.key in ("home", "back", "enter"),
            "wait": action.duration_ms is not None,
            "status": action.text is None,
        }.get(kind, True)
    if kind == "status" and name in ("mobile_use", "computer_use"):
        return (action.text is None and ends) or action.status == "finish"
    if name == "mobile_use":
        return kind != "swipe" or action.duration_ms is None
    if name == "computer_use":
        return kind not in ("long_press", "swipe")
    if kind == "status":
        return action.status == "finish" or (action.status == "need_feedback" and action.text is None)
    return action.duration_ms is None and (kind != "swipe" or action.point is not None)


@pytest.mark.parametrize("name", CODECS)
def test_what_is_written_is_read_back(name):
    codec = parse_codec(name)
    kinds = set()

    @settings(QUICK, max_examples=200)
    @given(
        st.sampled_from(sorted(SCALES)).flatmap(lambda named: st.tuples(st.just(SCALES[named]), actions(SCALES[named])))
    )
    def check(case):
        scale, action = case
        if not expressible(name, action):
            with pytest.raises(ValueError, match=r"\.write: "):
                codec.write(action, scale=scale)
            return
        reply = codec.read(codec.write(action, scale=scale), scale=scale)
        assert (reply.action, reply.thought, reply.faults) == (action, None, ())
        kinds.add(action.kind)

    check()
    assert kinds == {"click", "press", "type", "wait", "status"} | (
        set() if name == "computer_use" else {"long_press", "swipe"}
    )


@pytest.mark.parametrize("name", CODECS)
def test_thoughts_are_read_back_word_for_word(name):
    codec, action = parse_codec(name), click(1, 2)
    awkward = [
        "{", '"}', "```", "a\nThought: b", "x Action: click(point='<point>9 9</point>')", "<think>a</think>",
        "</thinking>", "</tool_call>", '{"POINT":[3,4]}', "\\", "Action", "Thought: a", "a <thinking>b", "POINT",
        "é\u2028🙂",
    ]  # fmt: skip

    @QUICK
    @given(st.sampled_from(awkward) | st.text(min_size=1).filter(lambda text: text == text.strip()))
    def check(thought):
        reply = codec.read(codec.write(action, scale=THOUSAND, thought=thought), scale=THOUSAND)
        assert (reply.action, reply.thought, reply.faults) == (action, thought, ())

    check()


@pytest.mark.parametrize(
    ("name", "thought"),
    [
        ("mobile_use", ""),
        ("mobile_use", " a"),
        ("computer_use", "a <tool_call> b"),
        ("ui_tars", ""),
        ("ui_tars", "a\n"),
        ("ui_tars", "a\n Action: b"),
        ("ui_tars_v1", "Action: b"),
    ],
)
def test_thoughts_that_could_not_be_read_back_are_refused(name, thought):
    with pytest.raises(ValueError, match="the thought"):
        parse_codec(name).write(click(1, 2), scale=THOUSAND, thought=thought)


def test_exact_spelling():
    written = {name: codec.write(click(591, 915), scale=THOUSAND, thought="T.") for name, codec in CODECS.items()}
    assert written["agentcpm"] == '{"thought":"T.","POINT":[591,915]}'
    assert written["mobile_use"] == (
        "<thinking>\nT.\n</thinking>\n<tool_call>\n"
        '{"name": "mobile_use", "arguments": {"action": "click", "coordinate": [591, 915]}}\n</tool_call>'
    )
    assert '"action": "left_click", "coordinate": [591, 915]' in written["computer_use"]
    assert written["ui_tars"] == "Thought: T.\nAction: click(point='<point>591 915</point>')"
    assert written["ui_tars_v1"] == "Thought: T.\nAction: click(start_box='(591,915)')"
    down = Action(kind="swipe", point=(0.5, 0.2), to="down")
    assert parse_codec("agentcpm").write(down, scale=THOUSAND) == '{"POINT":[500,200],"to":"down"}'
    # The finger goes down, so that more of what is above shows.
    assert parse_codec("ui_tars").write(down, scale=THOUSAND).endswith("direction='up')")
    pause = Action(kind="wait", duration_ms=1500)
    assert '"time": 1.5' in parse_codec("mobile_use").write(pause, scale=THOUSAND)
    assert parse_codec("agentcpm").write(pause, scale=THOUSAND) == '{"duration":1500}'


@pytest.mark.parametrize("text", ["\\", "\\n", "\n", "\\\\n", "\\'", "'\\", '"', "')\nAction: wait()", "</tool_call>"])
@pytest.mark.parametrize("name", CODECS)
def test_awkward_texts_are_read_back(name, text):
    codec = parse_codec(name)
    written = codec.write(Action(kind="type", text=text), scale=THOUSAND)
    assert codec.read(written, scale=THOUSAND).action == Action(kind="type", text=text)
    assert codec.read(written, scale=THOUSAND).faults == ()


@pytest.mark.parametrize("duration_ms", [0, 1, 201, 999, 1000, 1001, 1009, 4097, 10**9 + 1])
def test_seconds_hold_milliseconds(duration_ms):
    action = Action(kind="wait", duration_ms=duration_ms)
    assert read("mobile_use", parse_codec("mobile_use").write(action, scale=THOUSAND)).action == action


FINISH = Action(kind="status", status="finish")


@pytest.mark.parametrize(
    ("text", "action", "faults"),
    [
        ('{"thought":"Locate and tap {the} icon.","POINT": [591,915]}', click(591, 915), ()),
        ('{"POINT":[480,320],"duration":1000}', Action(kind="long_press", point=(0.48, 0.32), duration_ms=1000), ()),
        ('{"POINT":[480,320],"duration":200}', click(480, 320), ()),
        ('{"POINT":[0,1000],"STATUS":"continue"}', click(0, 1000), ()),
        ('{"POINT":[500,200],"to":[500,800]}', Action(kind="swipe", point=(0.5, 0.2), to=(0.5, 0.8)), ()),
        ('{"duration":500}', Action(kind="wait", duration_ms=500), ()),
        ('{"duration":500.0}', Action(kind="wait", duration_ms=500), ()),
        ('{"STATUS":"continue"}', Action(kind="status", status="continue"), ()),
        ('{"STATUS":"finish","POINT":[1,2]}', FINISH, ("unused_key",)),
        ('{"POINT":[1,2],"STATUS":"interrupt"}', Action(kind="status", status="interrupt"), ("unused_key",)),
        ('{"PRESS":"HOME","TYPE":"a"}', Action(kind="type", text="a"), ("unused_key",)),
        ('```json\n{"STATUS":"finish"}\n```', FINISH, ("fenced",)),
        ('```{"STATUS":"finish"}```', FINISH, ("fenced",)),
        ('Here {you} go: {"STATUS":"finish"}.', FINISH, ("extra_text",)),
        ('{"POINT":[591.0,915]}', click(591, 915), ("float_coordinates",)),
        ('{"POINT":[591.5,915]}', click(591.5, 915), ("float_coordinates",)),
        ('{"POINT":[1,2],"confidence":0.5}', click(1, 2), ("unknown_key",)),
        (' \n', None, ("empty",)),
        ("I cannot see it {x}.", None, ("no_action",)),
        ("[591,915]", None, ("no_action",)),
        ("{}", None, ("no_action",)),
        ('{"thought":"a"}', None, ("no_action",)),
        ('{"point":[1,2]}', None, ("unknown_key", "no_action")),
        ("{'POINT':[1,2]}", None, ("no_action",)),
        ('{"POINT":[591,', None, ("bad_syntax",)),
        ('{"POINT":[NaN,1]}', None, ("bad_syntax",)),
        ('{"a":' * 100_000, None, ("bad_syntax",)),
        ('{"POINT":[1,2]}{"POINT":[3,4]}', None, ("several_actions",)),
        ('{"POINT":[1,2],"POINT":[3,4]}', None, ("repeated_key",)),
        ('{"to":"down"}', None, ("no_point",)),
        ('{"POINT":null}', None, ("bad_point",)),
        ('{"POINT":[1,2,3]}', None, ("bad_point",)),
        ('{"POINT":["1","2"]}', None, ("bad_point",)),
        ('{"POINT":[true,2]}', None, ("bad_point",)),
        ('{"POINT":[591,1001]}', None, ("out_of_range",)),
        ('{"POINT":[-1,5]}', None, ("out_of_range",)),
        ('{"POINT":[1e999,5]}', None, ("out_of_range",)),
        ('{"POINT":[' + "9" * 4000 + ",5]}", None, ("out_of_range",)),
        ('{"POINT":[1,2],"to":"north"}', None, ("bad_value",)),
        ('{"PRESS":"home"}', None, ("bad_value",)),
        ('{"STATUS":"done"}', None, ("bad_value",)),
        ('{"TYPE":5}', None, ("bad_value",)),
        ('{"duration":-1}', None, ("bad_value",)),
        ('{"duration":0.5}', None, ("bad_value",)),
        ('{"duration":1e999}', None, ("bad_value",)),
        ('{"duration":true}', None, ("bad_value",)),
        ('{"thought":5,"POINT":[1,2]}', None, ("bad_value",)),
    ],
)  # fmt: skip
def test_agentcpm_reads(text, action, faults):
    reply = read("agentcpm", text)
    assert (reply.action, reply.faults) == (action, faults)
    assert reply.malformed == (action is None)


def call(arguments, name="mobile_use"):
    return f'<tool_call>\n{{"name": "{name}", "arguments": {arguments}}}\n</tool_call>'


CLICK = call('{"action": "click", "coordinate": [447, 81]}')


@pytest.mark.parametrize(
    ("text", "action", "thought", "faults"),
    [
        (CLICK, click(447, 81), None, ()),
        ("I see {x}.\n" + CLICK, click(447, 81), "I see {x}.", ()),
        ('<think>a {"b": 1 c</think>\n' + CLICK, click(447, 81), 'a {"b": 1 c', ()),
        (CLICK.removesuffix("</tool_call>"), click(447, 81), None, ("no_marker",)),
        (CLICK[12:-12], click(447, 81), None, ("no_marker",)),
        ('Ok {"action": "click", "coordinate": [447, 81]}', click(447, 81), "Ok", ("no_marker",)),
        (f"<tool_call>```json\n{CLICK[12:-12]}```</tool_call> Done.", click(447, 81), None, ("fenced", "extra_text")),
        (CLICK + CLICK, None, None, ("several_actions",)),
        (call('{"action": "swipe", "coordinate": [1, 2], "coordinate2": [3, 4]}'),
         Action(kind="swipe", point=(0.001, 0.002), to=(0.003, 0.004)), None, ()),
        (call('{"action": "swipe", "direction": "up"}'), Action(kind="swipe", to="up"), None, ()),
        (call('{"action": "swipe", "coordinate": [1, 2]}'), None, None, ("no_point",)),
        (call('{"action": "system_button", "button": "back"}'), Action(kind="press", key="back"), None, ()),
        (call('{"action": "system_button", "button": "Power"}'), None, None, ("bad_value",)),
        (call('{"action": "wait", "time": 2}'), Action(kind="wait", duration_ms=2000), None, ()),
        (call('{"action": "wait", "time": 1e308}'), None, None, ("bad_value",)),
        (call('{"action": "terminate", "status": "fail"}'), Action(kind="status", status="impossible"), None, ()),
        (call('{"action": "answer", "text": "5"}'), Action(kind="status", status="finish", text="5"), None, ()),
        (call('{"action": "click", "coordinate": [447, 81], "text": "a"}'), click(447, 81), None, ("unused_key",)),
        (call('{"action": "click", "coordinate": [447, 81], "x": 1}'), click(447, 81), None, ("unknown_key",)),
        (call('{"action": "click"}'), None, None, ("no_point",)),
        (call('{"action": "click", "coordinate": [1, 2, 3, 4]}'), None, None, ("bad_point",)),
        (call('{"action": "type"}'), None, None, ("missing_key",)),
        (call('{"action": "open", "text": "Maps"}'), None, None, ("unknown_action",)),
        (call('{"action": ["click"]}'), None, None, ("unknown_action",)),
        (call('{"coordinate": [1, 2]}'), None, None, ("no_action",)),
        (call('"click"'), None, None, ("bad_value",)),
        (call('{"action": "click", "coordinate": [447, 81]}', "browser"), None, None, ("unknown_action",)),
        ('<tool_call>{"name": "mobile_use"}</tool_call>', None, None, ("missing_key",)),
        ("<tool_call>click</tool_call>", None, None, ("bad_syntax",)),
        ('<tool_call>{"name": "mobile_use", "arguments": {"action": "click"', None, None, ("bad_syntax",)),
        ("No button here.", None, None, ("no_marker", "no_action")),
    ],
)  # fmt: skip
def test_mobile_use_reads(text, action, thought, faults):
    reply = read("mobile_use", text)
    assert (reply.action, reply.thought, reply.faults) == (action, thought, faults)


@pytest.mark.parametrize(
    ("arguments", "action", "faults"),
    [
        ('{"action": "left_click", "coordinate": [447, 81]}', click(447, 81), ()),
        ('{"action": "key", "keys": ["Ctrl", "c"]}', Action(kind="press", key="ctrl c"), ()),
        ('{"action": "key", "keys": []}', None, ("bad_value",)),
        ('{"action": "key", "keys": "ctrl"}', None, ("bad_value",)),
        ('{"action": "key", "keys": [5]}', None, ("bad_value",)),
        ('{"action": "double_click", "coordinate": [447, 81]}', None, ("unknown_action",)),
        ('{"action": "click", "coordinate": [447, 81]}', None, ("unknown_action",)),
        ('{"action": "scroll", "pixels": -5}', None, ("unknown_action",)),
    ],
)
def test_computer_use_reads(arguments, action, faults):
    reply = read("computer_use", call(arguments, "computer_use"))
    assert (reply.action, reply.faults) == (action, faults)


@pytest.mark.parametrize("name", ["ui_tars", "ui_tars_v1"])
@pytest.mark.parametrize(
    ("text", "action", "thought", "faults"),
    [
        ("Thought: a\nb\nAction: click(point='<point>447 81</point>')", click(447, 81), "a\nb", ()),
        ("Action: click(start_box='(447,81)')", click(447, 81), None, ()),
        ("Action: click(start_box='<|box_start|>(447, 81)<|box_end|>')", click(447, 81), None, ()),
        ('Action: click(point="<point>447 81</point>")', click(447, 81), None, ()),
        ("Action: click(start_box='[400, 80, 600, 100]')", click(500, 90), None, ()),
        ("Action: click(start_box='<bbox>400 80 501 80</bbox>')", click(450.5, 80), None, ()),
        ("Thought: x Action: type(content='Action: y')", Action(kind="type", text="Action: y"), "x", ()),
        ("Action: type(content='it\\'s\\nso')", Action(kind="type", text="it's\nso"), None, ()),
        ("Action: type(content='it's')", Action(kind="type", text="it's"), None, ("unescaped_quote",)),
        ("Action: finished(content='it's')\n", Action(kind="status", status="finish", text="it's"), None,
         ("unescaped_quote",)),
        ("Action: type(content='it's')\n\nAction: wait()", None, None,
         ("unescaped_quote", "several_actions")),
        ("Action: scroll(point='<point>500 200</point>', direction='down')",
         Action(kind="swipe", point=(0.5, 0.2), to="up"), None, ()),
        ("Action: drag(start_box='(1,2)', end_box='(3,4)')",
         Action(kind="swipe", point=(0.001, 0.002), to=(0.003, 0.004)), None, ()),
        ("Action: press_back()", Action(kind="press", key="back"), None, ()),
        ("Action: hotkey(key='Ctrl C')", Action(kind="press", key="ctrl c"), None, ()),
        ("Action: hotkey(key=' ')", None, None, ("bad_value",)),
        ("Action: call_user()", Action(kind="status", status="need_feedback"), None, ()),
        ("click(point='<point>447 81</point>')", click(447, 81), None, ("no_marker",)),
        ("<think>h</think>\nThought: a\nAction: wait()", Action(kind="wait"), "a", ("extra_text",)),
        ("Tap.\nAction: wait()", Action(kind="wait"), "Tap.", ("extra_text",)),
        ("Action: ```wait()```", Action(kind="wait"), None, ("fenced",)),
        ("Action:\n```python\nwait()\n```", Action(kind="wait"), None, ("fenced",)),
        ("Action: wait() # five seconds", Action(kind="wait"), None, ("extra_text",)),
        ("Action: wait(time='5')", Action(kind="wait"), None, ("unknown_key",)),
        ("Action: click(point='<point>4.5 81</point>')", click(4.5, 81), None, ("float_coordinates",)),
        ("Action: wait()\n\nwait()", None, None, ("several_actions",)),
        ("Action: click(point='<point>447 81</point>', point='(1,2)')", None, None, ("repeated_key",)),
        ("Action: left_double(point='<point>447 81</point>')", None, None, ("unknown_action",)),
        ("Action: click()", None, None, ("no_point",)),
        ("Action: click(point='here')", None, None, ("bad_point",)),
        ("Action: click(point='(1,2,3)')", None, None, ("bad_point",)),
        ("Action: click(point='(1,2000)')", None, None, ("out_of_range",)),
        ("Action: click(point='(1," + "9" * 5000 + ")')", None, None, ("out_of_range",)),
        ("Action: click(point='(1,-2)')", None, None, ("out_of_range",)),
        ("Action: scroll(point='(1,2)', direction='north')", None, None, ("bad_value",)),
        ("Action: scroll(point='(1,2)')", None, None, ("missing_key",)),
        ("Action: type()", None, None, ("missing_key",)),
        ("Action: click(447, 81)", None, None, ("bad_syntax",)),
        ("Action: click(point='<point>447 81</point>'", None, None, ("bad_syntax",)),
        ("Thought: a\nAction: I would tap it.", None, "a", ("bad_syntax",)),
        ("I would tap it.", None, None, ("no_marker", "no_action")),
    ],
)  # fmt: skip
def test_ui_tars_reads(name, text, action, thought, faults):
    reply = read(name, text)
    assert (reply.action, reply.thought, reply.faults) == (action, thought, faults)


def test_the_scale_decides_what_a_number_means():
    text, resized = "Action: click(point='<point>336 728</point>')", SCALES["resized"]
    assert read("ui_tars", text, resized).action == Action(kind="click", point=(0.5, 0.5))
    assert read("ui_tars", text.replace("728", "1456"), resized).action.point == (0.5, 1.0)
    assert read("ui_tars", text.replace("336", "700"), resized).faults == ("out_of_range",)
    assert read("agentcpm", '{"POINT":[0.25,0.5]}', SCALES["unit"]).action == Action(kind="click", point=(0.25, 0.5))
    assert read("agentcpm", '{"POINT":[0.25,0.5]}', SCALES["unit"]).faults == ()
    assert read("agentcpm", '{"POINT":[0.25,0.5]}').faults == ("float_coordinates",)  # the wrong convention shows


def test_every_codec_is_one():
    assert all(isinstance(codec, Codec) for codec in CODECS.values())


def test_the_schema_has_all_its_keys_where_they_count():
    from jsonschema import Draft202012Validator

    for thought_required in (False, True):
        schema = agentcpm_schema(thought_required=thought_required)
        Draft202012Validator.check_schema(schema)
        assert list(schema)[3] == ("required" if thought_required else "optional")
        assert set(schema) - {"required", "optional"} == {
            "type", "description", "additionalProperties", "properties", "$defs"
        }  # fmt: skip
    assert schema_violations('{"POINT":[1,2]}') == []
    assert schema_violations('{"POINT":[1,2]}', thought_required=True) == ["action: 'thought' is a required property"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"POINT":[1,1001]}', "POINT.1: 1001 is greater than the maximum of 1000"),
        ('{"POINT":[1.5,2]}', "POINT.0: 1.5 is not of type 'integer'"),
        ('{"POINT":[1]}', "POINT: [1] is too short"),
        ('{"DO":1}', "action: Additional properties are not allowed ('DO' was unexpected)"),
        ('{"duration":-1}', "duration: -1 is less than the minimum of 0"),
        ('{"to":"north","POINT":[1,2]}', "to: 'north' is not valid under any of the given schemas"),
        ('{"STATUS":"start"}', "STATUS: 'start' is not one of"),
        ("```", "not JSON"),
        ("[" * 100_000, "not JSON"),
    ],
)
def test_violations_of_the_schema_are_named(text, message):
    found = schema_violations(text)
    assert len(found) == 1
    assert message in found[0]


@QUICK
@given(actions(THOUSAND), st.text(max_size=10))
def test_what_agentcpm_writes_keeps_its_schema(action, thought):
    if expressible("agentcpm", action):
        written = parse_codec("agentcpm").write(action, scale=THOUSAND, thought=thought)
        assert schema_violations(written, thought_required=True) == []
        assert json.dumps(json.loads(written), ensure_ascii=False, separators=(",", ":")) == written


LOOSE = st.one_of(
    st.integers(-5, 1100), st.floats(), st.booleans(), st.none(), st.sampled_from(["up", "HOME", "finish", "a"]),
    st.lists(st.integers(-5, 1100) | st.floats(0, 1000), min_size=1, max_size=3), st.just({"POINT": [1, 2]}),
)  # fmt: skip
SCHEMA_KEYS = ["thought", "POINT", "to", "duration", "PRESS", "TYPE", "STATUS", "Point"]


@settings(QUICK, max_examples=400)
@given(st.dictionaries(st.sampled_from(SCHEMA_KEYS), LOOSE, min_size=1, max_size=4))
def test_an_output_without_faults_keeps_the_schema(values):
    text = json.dumps(values)
    reply = read("agentcpm", text)
    if not reply.faults:
        assert schema_violations(text) == []
    if reply.malformed and schema_violations(text) == []:  # conforms, and yet says nothing to do
        assert set(reply.faults) <= {"no_action", "no_point"}


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "jsonschema", None)
    with pytest.raises(ValueError, match=r"pip install 'wherenot\[mllm\]'"):
        schema_violations("{}")


def test_outputs_for_the_fuzz_tests_are_what_they_claim():
    read_by_one = [
        any(not codec.read(text, scale=THOUSAND).malformed for codec in CODECS.values())
        for text in gui_outputs.well_formed()
    ]
    assert read_by_one == [True] * (len(read_by_one) - 1) + [False]


def test_the_page_runs_and_names_every_format_fault_and_family(capsys):
    page = (Path(__file__).parent.parent / "docs" / "gui_actions.md").read_text()
    [snippet] = re.findall(r"```python\n(.*?)\n```\n", page, flags=re.DOTALL)
    exec(compile(snippet, "gui_actions.md", "exec"), {"__name__": "snippet"})
    assert capsys.readouterr().out == "(0.591, 0.915) ('fenced',)\n"
    named = set(re.findall(r"`([\w-]+)`", page))
    assert set(CODECS) | set(FAULTS) | set(CONVENTIONS) <= named
    for convention in CONVENTIONS:
        [row] = [line.lower() for line in page.splitlines() if line.startswith(f"| `{convention}`")]
        listed = {name for name in FAMILIES if re.search(rf"(?<=[ |]){re.escape(name)}(?=[, ])", row)}
        assert listed == {name for name, family in FAMILIES.items() if family.convention == convention}
