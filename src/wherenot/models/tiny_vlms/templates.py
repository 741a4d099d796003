"""Chat templates in the manner of each family: who speaks, where the image stands, what opens the answer."""

from __future__ import annotations

import json

_ROLE = "message['role']"


def chatml(image: str, *, system: str = "", after_turn: str = "\n", images_first: bool = False) -> str:
    """The turns of Qwen and those who build on it: ``<|im_start|>user ... <|im_end|>``.

    Args:
        image: What stands for an image.
        system: What the system says where the conversation says nothing; empty for no such turn.
        after_turn: Between turns.
        images_first: See `turns`.
    """
    start = ""
    if system:
        said = _say(f"<|im_start|>system\n{system}<|im_end|>\n")
        start = "{% if messages[0]['role'] != 'system' %}" + said + "{% endif %}"
    opening = "{{ '<|im_start|>' + " + _ROLE + " }}" + _say("\n")
    closing = "<|im_end|>" + after_turn
    return turns(
        image, start=start, opening=opening, closing=closing, reply="<|im_start|>assistant\n", images_first=images_first
    )


def spoken(image: str, *, start: str) -> str:
    """The turns of Idefics3 and SmolVLM: ``User:<image>What is this?<end_of_utterance>``."""
    first = "message['content'][0]['type']"
    opening = "{{ " + _ROLE + " | capitalize + (':' if " + first + " == 'image' else ': ') }}"
    return turns(image, start=_say(start), opening=opening, closing="<end_of_utterance>\n", reply="Assistant:")


def vicuna(image: str) -> str:
    """The turns of LLaVA 1.5: ``USER: <image> What is this? ASSISTANT:``."""
    opening = "{% if " + _ROLE + " != 'system' %}{{ " + _ROLE + " | upper + ': ' }}{% endif %}"
    return turns(image, opening=opening, closing=" ", reply="ASSISTANT:", images_first=True)


def gemma(image: str) -> str:
    """Gemma's turns, which know a user and a model: ``<start_of_turn>user ... <end_of_turn>``."""
    role = "{{ '<start_of_turn>' + ('model' if " + _ROLE + " == 'assistant' else 'user') }}" + _say("\n")
    return turns(
        image, start="{{ bos_token }}", opening=role, closing="<end_of_turn>\n", reply="<start_of_turn>model\n"
    )


def plain(image: str) -> str:
    """No turns at all: PaliGemma reads the image, then the prompt."""
    return turns(image, opening="", closing="", reply="")


def turns(image: str, *, opening: str, closing: str, reply: str, start: str = "", images_first: bool = False) -> str:
    """Write a template: one turn after the other, and what opens the answer if one is asked for.

    What the assistant says is marked as generated, so that a mask of its tokens can be asked for.

    Args:
        image: What stands for an image.
        opening: Jinja that opens the turn of ``message``.
        closing: What ends a turn.
        reply: What opens the assistant's turn that is yet to be written.
        start: Jinja before the first turn.
        images_first: Whether images stand before the text of their turn, wherever the conversation has them.
    """
    parts = "message['content']" + (" | sort(attribute='type')" if images_first else "")  # "image" < "text"
    said = (
        "{% if message['content'] is string %}{{ message['content'] }}{% else %}{% for part in " + parts + " %}"
        "{% if part['type'] == 'image' %}" + _say(image) + "{% elif part['type'] == 'text' %}{{ part['text'] }}"
        "{% endif %}{% endfor %}{% endif %}" + _say(closing)
    )
    return (
        start + "{% for message in messages %}" + opening + "{% if " + _ROLE + " == 'assistant' %}"
        "{% generation %}" + said + "{% endgeneration %}{% else %}" + said + "{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}" + _say(reply) + "{% endif %}"
    )


def _say(text: str) -> str:
    return "{{ " + json.dumps(text) + " }}" if text else ""
